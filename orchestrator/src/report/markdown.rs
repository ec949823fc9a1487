//! The Markdown file: the same results, tables and samples without the figures.

use std::fmt::Write;

use super::format::time;
use super::html::problems;
use super::sections::{Sample, Section, Table, sections};
use super::{ReportFacts, headlines};

/// The Markdown file of these facts.
pub(super) fn render(facts: &ReportFacts) -> String {
    let run = &facts.run;
    let mut text = format!("# {}: report card\n\n", inline(&run.spec_name));
    let _ = writeln!(
        text,
        "Run `{}`: **{}**, {} to {}, Cupola {}.\n",
        run.id,
        run.state.as_str(),
        time(run.created_millis),
        time(run.ended_millis),
        run.version
    );
    if let Some(served) = &facts.served {
        let _ = writeln!(text, "{}\n", inline(served));
    }
    let problems = problems(facts);
    if !problems.is_empty() {
        text.push_str("## Problems\n\n");
        bullets(&mut text, &problems);
    }
    text.push_str("## Results\n\n");
    for headline in headlines(facts) {
        let _ = writeln!(
            text,
            "- {} **{}: {}** – {}",
            headline.verdict.mark(),
            inline(&headline.title),
            headline.value,
            inline(&headline.detail)
        );
    }
    text.push_str("\n(✓ holds, ? unclear, ✗ does not hold)\n\n");
    for section in sections(facts) {
        render_section(&mut text, &section);
    }
    while text.ends_with("\n\n") {
        text.pop();
    }
    text
}

fn render_section(text: &mut String, section: &Section) {
    let _ = writeln!(text, "## {}\n\n{}\n", section.title, section.lead);
    for table in section.tables.iter().filter(|table| !table.rows.is_empty()) {
        render_table(text, table);
    }
    for sample in &section.samples {
        render_sample(text, sample);
    }
    bullets(text, &section.notes);
}

fn render_table(text: &mut String, table: &Table) {
    let _ = writeln!(text, "### {}\n\n| {} |", inline(&table.title), table.heads.join(" | "));
    let _ = writeln!(text, "|{}", " --- |".repeat(table.heads.len()));
    for row in &table.rows {
        let cells: Vec<String> = row.iter().map(|cell| inline(cell)).collect();
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text.push('\n');
}

fn render_sample(text: &mut String, sample: &Sample) {
    let _ = writeln!(text, "### {}\n\n{}\n", inline(&sample.title), fenced(&sample.prompt));
    for (name, answer) in &sample.answers {
        let _ = writeln!(text, "- **{}**: {}", inline(name), inline(answer));
    }
    text.push('\n');
}

fn bullets(text: &mut String, lines: &[String]) {
    for line in lines {
        let _ = writeln!(text, "- {}", inline(line));
    }
    if !lines.is_empty() {
        text.push('\n');
    }
}

/// Text on one line that can't open a tag, a table cell or a heading.
fn inline(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    flat.replace('\\', "\\\\").replace('|', "\\|").replace('<', "&lt;").replace('`', "\\`")
}

/// A code block with a fence that is longer than any in the text.
fn fenced(text: &str) -> String {
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}text\n{}\n{fence}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::invented;
    use super::*;

    #[test]
    fn the_report_of_an_invented_run() {
        insta::assert_snapshot!(render(&invented::facts()));
    }

    #[test]
    fn the_report_of_a_failed_run() {
        insta::assert_snapshot!(render(&invented::failed()));
    }

    #[test]
    fn a_text_with_a_fence_stays_in_its_block() {
        assert_eq!(fenced("a\n```\nb"), "````text\na\n```\nb\n````");
        assert_eq!(inline("a | <b>\n`c`"), "a \\| &lt;b> \\`c\\`");
    }
}
