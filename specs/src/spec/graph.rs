//! Edges between jobs: no circle.

use std::collections::BTreeMap;

use super::codes::Code;
use super::jobs::Edge;
use super::session::Session;

/// Reports each circle once, at the edge that closes it, with every edge and its line.
pub(crate) fn check_cycles(edges: &[Edge], session: &mut Session<'_>) {
    let mut outgoing: BTreeMap<&str, Vec<&Edge>> = BTreeMap::new();
    for edge in edges {
        outgoing.entry(&edge.from).or_default().push(edge);
    }
    let mut state: BTreeMap<&str, State> = BTreeMap::new();
    for edge in edges {
        visit(&edge.from, &outgoing, &mut state, session);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Done,
}

/// Depth-first from one job, with an explicit stack so that long chains are fine.
fn visit<'e>(
    start: &'e str,
    outgoing: &BTreeMap<&'e str, Vec<&'e Edge>>,
    state: &mut BTreeMap<&'e str, State>,
    session: &mut Session<'_>,
) {
    if state.contains_key(start) {
        return;
    }
    let mut trail: Vec<&Edge> = Vec::new();
    let mut stack: Vec<(&str, usize)> = vec![(start, 0)];
    state.insert(start, State::Open);
    while let Some((job, next)) = stack.last_mut() {
        let edge = outgoing.get(*job).and_then(|edges| edges.get(*next)).copied();
        *next += 1;
        match edge {
            None => {
                state.insert(*job, State::Done);
                stack.pop();
                trail.pop();
            }
            Some(edge) => match state.get(edge.to.as_str()) {
                Some(State::Done) => {}
                Some(State::Open) => {
                    let from = trail.iter().position(|step| step.from == edge.to).unwrap_or(trail.len());
                    let circle: Vec<&Edge> = trail[from..].iter().copied().chain([edge]).collect();
                    report(&circle, session);
                }
                None => {
                    state.insert(&edge.to, State::Open);
                    trail.push(edge);
                    stack.push((&edge.to, 0));
                }
            },
        }
    }
}

/// One circle.
fn report(circle: &[&Edge], session: &mut Session<'_>) {
    let Some(first) = circle.first() else { return };
    let names: Vec<&str> =
        circle.iter().map(|edge| edge.from.as_str()).chain([first.from.as_str()]).collect();
    let origins: Vec<_> = circle.iter().map(|edge| session.origin(edge.spot)).collect();
    let error =
        session.error(Code::Cycle, first.spot, format!("jobs need each other: {}", names.join(" → ")));
    error.expecting("an order in which the jobs can run");
    for (edge, origin) in circle.iter().zip(origins) {
        error.noting(origin, format!("`{}` needs `{}`", edge.from, edge.to));
    }
}
