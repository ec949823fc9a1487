//! `matrix`: a job for each combination of values, named `job[key=value,…]`. A key is a field path in the job: `seed`, `model.depth`.

use super::codes::Code;
use super::decode::wrong_type;
use super::session::Session;
use super::tree::{Key, Node, Value};

/// Most jobs that one matrix may make.
const MAX_COMBINATIONS: usize = 1000;

/// Replaces every job that has a matrix by its combinations.
pub(crate) fn expand(jobs: &mut Node, session: &mut Session<'_>) {
    let Value::Map(entries) = &mut jobs.value else { return };
    let mut out = Vec::with_capacity(entries.len());
    for (key, mut job) in std::mem::take(entries) {
        match job.remove("matrix") {
            Some((_, matrix)) if matrix.value != Value::Null => {
                let Some(combinations) = combinations(&matrix, session) else { continue };
                for combination in combinations {
                    out.push(one(&key, &job, &combination, session));
                }
            }
            _ => out.push((key, job)),
        }
    }
    *entries = out;
}

/// A field path with one of its values.
type Choice<'m> = (&'m Key, &'m Node);

/// Every combination, the last key fastest.
fn combinations<'m>(matrix: &'m Node, session: &mut Session<'_>) -> Option<Vec<Vec<Choice<'m>>>> {
    let Value::Map(entries) = &matrix.value else {
        wrong_type(matrix, "a mapping from field paths to lists of values", session);
        return None;
    };
    let mut all: Vec<Vec<Choice<'m>>> = vec![Vec::new()];
    for (key, values) in entries {
        if key.name.split('.').count() > 32 {
            session.error(Code::UnknownKey, key.spot, "this is not a field path");
            return None;
        }
        let items = values.items();
        if items.is_empty() {
            wrong_type(values, "a list with at least one value", session);
            return None;
        }
        if all.len() * items.len() > MAX_COMBINATIONS {
            session
                .error(Code::TooLarge, key.spot, "this matrix makes too many jobs")
                .expecting(format!("at most {MAX_COMBINATIONS}"));
            return None;
        }
        all = all
            .into_iter()
            .flat_map(|row| items.iter().map(move |item| [row.clone(), vec![(key, item)]].concat()))
            .collect();
    }
    Some(all)
}

/// The job of one combination.
fn one(key: &Key, job: &Node, combination: &[Choice<'_>], session: &mut Session<'_>) -> (Key, Node) {
    let mut job = job.clone();
    let mut names = Vec::new();
    for (path, value) in combination {
        let segments: Vec<&str> = path.name.split('.').collect();
        put(&mut job, &segments, path, value, session);
        names.push(format!("{}={}", path.name, value.text().unwrap_or("…")));
    }
    let name = if names.is_empty() { key.name.clone() } else { format!("{}[{}]", key.name, names.join(",")) };
    (Key { name, spot: key.spot }, job)
}

/// Puts a value at a field path of the job.
fn put(at: &mut Node, segments: &[&str], path: &Key, value: &Node, session: &mut Session<'_>) {
    let Some((segment, rest)) = segments.split_first() else {
        *at = value.clone();
        return;
    };
    if let Some(child) = at.get_mut(segment) {
        return put(child, rest, path, value, session);
    }
    match &mut at.value {
        Value::Map(entries) => {
            let mut child = Node::empty_map(path.spot);
            put(&mut child, rest, path, value, session);
            entries.push((Key { name: (*segment).to_owned(), spot: path.spot }, child));
        }
        _ => {
            session
                .error(Code::UnknownKey, path.spot, format!("`{}` is not a field of this job", path.name))
                .expecting("a field path such as seed or model.depth");
        }
    }
}
