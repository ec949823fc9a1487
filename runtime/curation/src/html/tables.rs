//! Tables of data as pipe tables. A table that only lays a page out stays a sequence of paragraphs.

use super::blocks::{Block, Layout, NONE};
use super::dom::{Attr, Dom};
use super::tag::Tag;

/// A cell with more characters on average is layout.
const MAX_CELL_CHARS: usize = 200;

/// Columns that a cell may span.
const MAX_SPAN: usize = 64;

/// Cells of a table; one with more is written as paragraphs.
const MAX_CELLS: usize = 100_000;

/// A row: the region that it is and its cells.
struct TableRow {
    region: u32,
    cells: Vec<(u32, String)>,
    is_header: bool,
}

/// The kept blocks of one table as a pipe table; none where the table is layout.
pub(super) fn pipes(dom: &Dom, blocks: &Layout, table: u32, kept: &[&Block]) -> Option<String> {
    let mut rows: Vec<TableRow> = Vec::new();
    let mut caption = String::new();
    let mut chars = 0;
    for block in kept {
        let (cell, row, in_caption) = cell_of(blocks, block.region, table)?;
        let text = blocks.text_of(block).replace('\n', " ").replace('|', "\\|");
        if in_caption {
            caption.push_str(&text);
            continue;
        }
        chars += text.len();
        if rows.last().is_none_or(|last| last.region != row) {
            rows.push(TableRow { region: row, cells: Vec::new(), is_header: true });
        }
        let last = rows.last_mut()?;
        last.is_header &= blocks.regions.get(cell as usize).is_some_and(|region| region.tag == Tag::Th);
        match last.cells.last_mut() {
            Some((other, before)) if *other == cell => {
                before.push(' ');
                before.push_str(&text);
            }
            _ => last.cells.push((cell, text)),
        }
    }
    let num_cells: usize = rows.iter().map(|row| row.cells.len()).sum();
    let width = rows.iter().map(|row| row.cells.len()).max()?;
    if rows.len() < 2 || width < 2 || chars > MAX_CELL_CHARS * num_cells || num_cells > MAX_CELLS {
        return None;
    }
    Some(write(dom, blocks, &rows, &caption))
}

/// The cell and the row around a region, or that it is in the caption; none where another table or a heading is in between.
fn cell_of(blocks: &Layout, region: u32, table: u32) -> Option<(u32, u32, bool)> {
    let (mut cell, mut row, mut in_caption) = (NONE, NONE, false);
    let mut at = region;
    while at != table {
        let region = blocks.regions.get(at as usize)?;
        match region.tag {
            Tag::Td | Tag::Th if cell == NONE => cell = at,
            Tag::Tr if row == NONE => row = at,
            Tag::Caption => in_caption = true,
            Tag::Table | Tag::Pre => return None,
            tag if tag.is_heading() => return None,
            _ => {}
        }
        at = region.parent;
    }
    (in_caption || (cell != NONE && row != NONE)).then_some((cell, row, in_caption))
}

fn write(dom: &Dom, blocks: &Layout, rows: &[TableRow], caption: &str) -> String {
    let grid: Vec<Vec<String>> = rows.iter().map(|row| cells(dom, blocks, row)).collect();
    let width = grid.iter().map(Vec::len).max().unwrap_or(0);
    let mut lines = Vec::with_capacity(grid.len() + 2);
    if !caption.is_empty() {
        lines.push(format!("{caption}\n"));
    }
    for (index, row) in grid.iter().enumerate() {
        let line = |row: &[String]| {
            let mut line = String::from("|");
            for column in 0..width {
                line.push(' ');
                line.push_str(row.get(column).map_or("", |cell| cell.trim()));
                line.push_str(" |");
            }
            line
        };
        lines.push(line(row));
        if index == 0 {
            lines.push(format!("|{}", " --- |".repeat(width)));
        }
    }
    lines.join("\n")
}

/// A row's cells with the empty ones of the page in between and what spans columns repeated as empty.
fn cells(dom: &Dom, blocks: &Layout, row: &TableRow) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(row.cells.len());
    let node = blocks.regions.get(row.region as usize).map_or(0, |region| region.node);
    let mut texts = row.cells.iter().peekable();
    for child in dom.children(node).filter(|child| matches!(dom.tag(*child), Tag::Td | Tag::Th)) {
        let is_here = |cell: &&(u32, String)| {
            blocks.regions.get(cell.0 as usize).is_some_and(|region| region.node == child)
        };
        out.push(texts.next_if(is_here).map(|cell| cell.1.clone()).unwrap_or_default());
        let span: usize =
            dom.attribute(child, Attr::Colspan).and_then(|span| span.trim().parse().ok()).unwrap_or(1);
        out.extend((1..span.min(MAX_SPAN)).map(|_| String::new()));
    }
    // Cells that are not the row's own children, as scripts make them.
    out.extend(texts.map(|cell| cell.1.clone()));
    while out.last().is_some_and(String::is_empty) {
        out.pop();
    }
    out
}
