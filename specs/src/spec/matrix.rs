//! `matrix`: a job for each combination of values, named `job[key=value,…]`. A key is a field path in the job: `seed`, `model.depth`.

use std::fmt::Write as _;

use super::codes::Code;
use super::decode::wrong_type;
use super::session::Session;
use super::tree::{Key, Node, Spot, Value};
use super::written::ANY_FIELD;

/// Most jobs that the matrices of one spec may make.
const MAX_JOBS: usize = 200_000;

/// Replaces every job that has a matrix by its combinations.
pub(crate) fn expand(jobs: &mut Node, session: &mut Session<'_>) {
    let entries = jobs.entries();
    if entries.iter().all(|(_, job)| job.get("matrix").is_none()) {
        return;
    }
    let mut out = Vec::with_capacity(entries.len());
    for (key, job) in entries {
        let mut job = job.clone();
        match job.remove("matrix") {
            Some((_, matrix)) if matrix.value != Value::Null => {
                let before = session.error_count();
                let (axes, count) = axes(&matrix, job.spot, session);
                put_first(&mut job, &axes, session);
                if session.error_count() == before {
                    session.matrix_jobs += count;
                    out.extend((0..count).map(|index| one(key, &job, &axes, index)));
                } else {
                    // One job for all: others may name it, and it may have errors of its own.
                    let copies = copies(&job, &axes);
                    out.push((key.clone(), job));
                    out.extend(copies.into_iter().map(|copy| (key.clone(), copy)));
                }
            }
            _ => out.push((key.clone(), job)),
        }
    }
    jobs.value = Value::map(out);
}

/// A field path with its values.
struct Axis<'m> {
    key: &'m Key,
    segments: Vec<&'m str>,
    values: &'m [Node],
}

/// The axes of a matrix that are right, and how many combinations they make. A field that a wrong one would set is not missing in the
/// job at `job`.
fn axes<'m>(matrix: &'m Node, job: Spot, session: &mut Session<'_>) -> (Vec<Axis<'m>>, usize) {
    let expected = "a mapping from field paths to lists of values: {seed: [1, 2]}";
    match &matrix.value {
        Value::Map(entries) if entries.is_empty() => {
            session.error(Code::WrongType, matrix.spot, "this mapping is empty").expecting(expected);
        }
        Value::Map(_) => {}
        _ => {
            wrong_type(matrix, expected, session);
            session.misspelt.insert((job, ANY_FIELD.to_owned()));
        }
    }
    let (mut axes, mut count) = (Vec::new(), 1_usize);
    for (key, values) in matrix.entries() {
        let segments: Vec<&str> = key.name.split('.').take(33).collect();
        let field = segments.first().copied().unwrap_or_default().to_owned();
        session.misspelt.insert((job, field));
        if segments.len() > 32 || segments.iter().any(|segment| segment.is_empty()) {
            session
                .error(Code::UnknownKey, key.spot, "this is not a field path")
                .expecting("a field path such as seed or model.depth");
            continue;
        }
        if segments == ["kind"] {
            session
                .error(Code::UnknownKey, key.spot, "`kind` can't be an axis: each kind has other fields")
                .expecting("a job for each kind");
            continue;
        }
        match &values.value {
            Value::List(items) if !items.is_empty() => {}
            Value::List(_) => {
                session
                    .error(Code::WrongType, values.spot, "this list is empty")
                    .expecting("at least one value");
                continue;
            }
            _ => {
                wrong_type(values, "a list with at least one value", session);
                continue;
            }
        }
        count = count.saturating_mul(values.items().len());
        if session.matrix_jobs.saturating_add(count) > MAX_JOBS {
            session
                .error(Code::TooLarge, key.spot, "this matrix makes too many jobs")
                .expecting(format!("at most {MAX_JOBS} jobs by all matrices of a spec"));
            break;
        }
        check_values(values, session);
        axes.push(Axis { key, segments, values: values.items() });
    }
    (axes, count)
}

/// Values of one axis are different: two equal ones would make one job twice.
fn check_values(values: &Node, session: &mut Session<'_>) {
    let mut seen = std::collections::HashMap::new();
    for value in values.items() {
        if let Some(text) = value.text()
            && let Some(first) = seen.insert(text, value.spot)
        {
            let origin = session.origin(first);
            session
                .error(Code::DuplicateName, value.spot, format!("`{text}` stands twice on this axis"))
                .expecting("each value once: it makes one job")
                .noting(origin, "the first one is here");
        }
    }
}

/// Puts every field of the axes into the job, so that a combination only changes values.
fn put_first(job: &mut Node, axes: &[Axis<'_>], session: &mut Session<'_>) {
    for axis in axes {
        if let Some(value) = axis.values.first() {
            put(job, &axis.segments, axis.key, value, session);
        }
    }
}

/// The job with each value of each axis but the first ones, which it has: so that all values are checked.
fn copies(job: &Node, axes: &[Axis<'_>]) -> Vec<Node> {
    let mut copies = Vec::new();
    for axis in axes {
        for value in axis.values.iter().skip(1) {
            let mut copy = job.clone();
            set(&mut copy, &axis.segments, value);
            copies.push(copy);
        }
    }
    copies
}

/// Sets a field that is there.
fn set(job: &mut Node, segments: &[&str], value: &Node) {
    let field = segments.iter().try_fold(job, |node, segment| node.get_mut(segment));
    if let Some(field) = field {
        field.clone_from(value);
    }
}

/// The job of one combination, the last axis fastest.
fn one(key: &Key, job: &Node, axes: &[Axis<'_>], index: usize) -> (Key, Node) {
    let mut chosen = Vec::with_capacity(axes.len());
    let mut rest = index;
    for axis in axes.iter().rev() {
        chosen.push(&axis.values[rest % axis.values.len()]);
        rest /= axis.values.len();
    }
    chosen.reverse();
    let mut job = job.clone();
    let mut name = key.name.clone();
    for (at, (axis, value)) in axes.iter().zip(chosen).enumerate() {
        let mark = if at == 0 { '[' } else { ',' };
        let _ = write!(name, "{mark}{}=", axis.key.name);
        match &value.value {
            Value::Scalar { text, .. } => name.push_str(text),
            Value::Null | Value::Broken => name.push_str("null"),
            // A list or a mapping is named by its place on the axis.
            Value::List(_) | Value::Map(_) => {
                let place = axis.values.iter().position(|other| std::ptr::eq(other, value)).unwrap_or(0);
                let _ = write!(name, "#{}", place + 1);
            }
        }
        set(&mut job, &axis.segments, value);
    }
    if !axes.is_empty() {
        name.push(']');
    }
    (Key { name, spot: key.spot }, job)
}

/// Puts a value at a field path of the job.
fn put(at: &mut Node, segments: &[&str], path: &Key, value: &Node, session: &mut Session<'_>) {
    let Some((segment, rest)) = segments.split_first() else {
        at.clone_from(value);
        return;
    };
    if let Some(child) = at.get_mut(segment) {
        return put(child, rest, path, value, session);
    }
    if let Value::Map(_) = at.value {
        let mut child = Node::empty_map(path.spot);
        put(&mut child, rest, path, value, session);
        at.push(Key { name: (*segment).to_owned(), spot: path.spot }, child);
    } else {
        session
            .error(Code::UnknownKey, path.spot, format!("`{}` is not a field of this job", path.name))
            .expecting("a field path such as seed or model.depth");
    }
}
