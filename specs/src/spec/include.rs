//! Files to one tree: `include` merges other files under the one that names them.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use super::codes::Code;
use super::resolve::check_version;
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
    let (text, content) = read_text(&name, &folder, bytes, session)?;
    let mut node = parse_text(&content, text, session)?;
    if !trail.open.is_empty() {
        check_version(&node, session);
    }
    let Some((_, includes)) = node.remove("include") else {
        return Some(node);
    };
    trail.open.push(clean(path));
    let base = read_all(&includes, session, trail);
    trail.open.pop();
    match base {
        Some(mut base) => {
            check_shapes(&base, &node, session);
            merge(&mut base, node);
            Some(base)
        }
        None => Some(node),
    }
}

/// Adds the bytes of a file as a text. What is not UTF-8 is reported and stands as `\u{fffd}`, so that the rest is checked too.
fn read_text<'b>(
    name: &str,
    folder: &Path,
    bytes: &'b [u8],
    session: &mut Session<'_>,
) -> Option<(u32, Cow<'b, str>)> {
    let is_wide = bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff");
    if is_wide || bytes.len() > MAX_BYTES {
        let text = session.add_text(name, folder, "");
        let spot = Spot { text, line: 1, column: 1, length: 1 };
        let message = if is_wide { "the file is UTF-16" } else { "the file is too large" };
        session.error(Code::BadText, spot, message).expecting("UTF-8 text of at most 64 MiB");
        return None;
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let content = String::from_utf8_lossy(bytes);
    let text = session.add_text(name, folder, &content);
    if let Err(error) = std::str::from_utf8(bytes) {
        let spot = session.text(text)?.place_of(error.valid_up_to(), text);
        let byte = bytes.get(error.valid_up_to()).copied().unwrap_or_default();
        session
            .error(Code::BadText, spot, format!("the byte 0x{byte:02X} is not UTF-8"))
            .expecting("a file that is saved as UTF-8");
    }
    Some((text, content))
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
            Some(base) => {
                check_shapes(base, &node, session);
                merge(base, node);
            }
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
            let message = format!("the included file {} can't be read: {}", path.display(), reason(&error));
            session
                .error(Code::Unreadable, item.spot, message)
                .expecting("a file; its path starts beside the file that includes it");
            None
        }
    }
}

/// Why a file can't be read.
pub(super) fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "there is no such file".to_owned(),
        ErrorKind::IsADirectory => "it is a folder".to_owned(),
        ErrorKind::PermissionDenied => "its permissions don't allow it".to_owned(),
        _ => error.to_string(),
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

/// Reports what a file over this one would hide: an entry that should be a mapping, and is none.
fn check_shapes(base: &Node, over: &Node, session: &mut Session<'_>) {
    for (key, value) in base.entries() {
        let is_mapping = matches!(over.get(&key.name), Some(Node { value: Value::Map(_), .. }));
        if is_mapping && !matches!(value.value, Value::Map(_) | Value::Null) {
            super::decode::wrong_type(value, "a mapping, as in the file that includes this one", session);
        }
    }
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
