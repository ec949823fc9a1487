//! Files to one tree: `include` merges other files under the one that names them.

use std::collections::HashMap;
use std::path::{Component, Path, PathBuf};

use super::codes::Code;
use super::session::Session;
use super::substitute::substitute_environment;
use super::tree::{Key, Node, Spot, Value};
use super::yaml::{MAX_BYTES, parse_text};

/// Most files of one spec.
const MAX_FILES: usize = 64;

/// The files on the way to the one that is read, to find circles.
#[derive(Default)]
pub(crate) struct Trail {
    open: Vec<PathBuf>,
    files: usize,
}

/// Parses a file's bytes and merges what it includes under it.
pub(crate) fn parse_file(
    path: &Path,
    bytes: &[u8],
    session: &mut Session<'_>,
    trail: &mut Trail,
) -> Option<Node> {
    let name = path.display().to_string();
    let folder = path.parent().unwrap_or(Path::new("")).to_owned();
    let content = match std::str::from_utf8(bytes) {
        Ok(content) if bytes.len() <= MAX_BYTES => content.strip_prefix('\u{feff}').unwrap_or(content),
        outcome => {
            let text = session.add_text(&name, &folder, "");
            let spot = Spot { text, line: 1, column: 1, length: 1 };
            let message = if outcome.is_ok() { "the file is too large" } else { "the file is not UTF-8" };
            session.error(Code::BadText, spot, message).expecting("UTF-8 text of at most 64 MiB");
            return None;
        }
    };
    let text = session.add_text(&name, &folder, content);
    let mut node = parse_text(content, text, session)?;
    let Some((_, includes)) = node.remove("include") else {
        return Some(node);
    };
    trail.open.push(clean(path));
    let base = read_all(&includes, session, trail);
    trail.open.pop();
    match base {
        Some(mut base) => {
            merge(&mut base, node);
            Some(base)
        }
        None => Some(node),
    }
}

/// Reads the files of an `include` list, later ones over earlier ones.
fn read_all(includes: &Node, session: &mut Session<'_>, trail: &mut Trail) -> Option<Node> {
    let mut base: Option<Node> = None;
    let items = match &includes.value {
        Value::List(items) => items.to_vec(),
        Value::Scalar { .. } => vec![includes.clone()],
        _ => {
            super::decode::wrong_type(includes, "a list of files", session);
            return None;
        }
    };
    for item in items {
        let Some(node) = read_one(item, session, trail) else { continue };
        match &mut base {
            Some(base) => merge(base, node),
            None => base = Some(node),
        }
    }
    base
}

/// Reads one included file.
fn read_one(item: Node, session: &mut Session<'_>, trail: &mut Trail) -> Option<Node> {
    let item = substitute_environment(item, session);
    let Some(text) = item.text() else {
        super::decode::wrong_type(&item, "a file", session);
        return None;
    };
    let path = session.folder(item.spot).join(text.strip_prefix("./").unwrap_or(text));
    if let Some(at) = trail.open.iter().position(|open| *open == clean(&path)) {
        let mut circle: Vec<String> =
            trail.open[at..].iter().map(|open| open.display().to_string()).collect();
        circle.push(clean(&path).display().to_string());
        session
            .error(Code::IncludeCycle, item.spot, format!("files include each other: {}", circle.join(" → ")))
            .expecting("files that don't lead back to themselves");
        return None;
    }
    trail.files += 1;
    if trail.files > MAX_FILES {
        session.error(Code::TooLarge, item.spot, format!("the spec includes more than {MAX_FILES} files"));
        return None;
    }
    match session.env.read(&path) {
        Ok(bytes) => parse_file(&path, &bytes, session, trail),
        Err(error) => {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
                other => other.to_string(),
            };
            let message = format!("the included file {} can't be read: {reason}", path.display());
            session
                .error(Code::Unreadable, item.spot, message)
                .expecting("a file; its path starts beside the file that includes it");
            None
        }
    }
}

/// The path without `.` and `..`, as far as its text says.
fn clean(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if out.file_name().is_some() => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

/// Puts `over` on top of `base`: mappings key by key, everything else whole.
pub(crate) fn merge(base: &mut Node, over: Node) {
    match (&mut base.value, over) {
        (Value::Map(entries), Node { value: Value::Map(new), .. }) => {
            let mut merged = entries.to_vec();
            merge_entries(&mut merged, &new);
            *entries = merged.into();
        }
        (_, over) => *base = over,
    }
}

/// Puts entries on top of those that are there.
fn merge_entries(entries: &mut Vec<(Key, Node)>, new: &[(Key, Node)]) {
    let places: HashMap<String, usize> =
        entries.iter().enumerate().map(|(at, (key, _))| (key.name.clone(), at)).collect();
    for (key, node) in new {
        match places.get(&key.name).map(|at| &mut entries[*at]) {
            Some((known, value)) => {
                known.spot = key.spot;
                merge(value, node.clone());
            }
            None => entries.push((key.clone(), node.clone())),
        }
    }
}
