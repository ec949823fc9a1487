//! Edges between jobs: no circle.

use super::codes::Code;
use super::jobs::WrittenJob;
use super::resolver::Edge;
use super::session::Session;

/// Most edges that the notes of all circles list; a circle beyond them is told by the edge that closes it.
const MAX_NOTES: usize = 10_000;

/// Reports each circle once, at its first edge, with every edge and its line.
pub(crate) fn check_cycles(jobs: &[WrittenJob], edges: &[Edge], session: &mut Session<'_>) {
    let graph = Graph::new(jobs.len(), edges);
    let mut state = vec![State::New; jobs.len()];
    let mut notes = 0;
    for edge in edges {
        visit(edge.from, &graph, &mut state, &mut |circle| {
            notes += circle.len();
            report(jobs, circle, notes <= MAX_NOTES, session);
        });
    }
}

/// The edges by the job that needs, in the order of the text.
struct Graph<'e> {
    edges: &'e [Edge],
    /// Indices of edges, those of one job beside each other.
    sorted: Vec<usize>,
    /// Where the edges of each job start in `sorted`.
    starts: Vec<usize>,
}

impl<'e> Graph<'e> {
    fn new(num_jobs: usize, edges: &'e [Edge]) -> Self {
        let mut sorted: Vec<usize> = (0..edges.len()).collect();
        sorted.sort_by_key(|at| edges[*at].from);
        let mut starts = vec![0; num_jobs + 1];
        for edge in edges {
            starts[edge.from + 1] += 1;
        }
        for job in 0..num_jobs {
            starts[job + 1] += starts[job];
        }
        Self { edges, sorted, starts }
    }

    /// An edge of a job by number.
    fn edge(&self, job: usize, number: usize) -> Option<&'e Edge> {
        let at = self.starts[job] + number;
        (at < self.starts[job + 1]).then(|| &self.edges[self.sorted[at]])
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    New,
    /// On the way, this many edges from where it began.
    Open(usize),
    Done,
}

/// Depth-first from one job, with an explicit stack so that long chains are fine.
fn visit(start: usize, graph: &Graph<'_>, state: &mut [State], found: &mut dyn FnMut(&[&Edge])) {
    if state[start] != State::New {
        return;
    }
    let mut trail: Vec<&Edge> = Vec::new();
    let mut stack: Vec<(usize, usize)> = vec![(start, 0)];
    state[start] = State::Open(0);
    while let Some((job, next)) = stack.last_mut() {
        let edge = graph.edge(*job, *next);
        *next += 1;
        match edge {
            None => {
                state[*job] = State::Done;
                stack.pop();
                trail.pop();
            }
            Some(edge) => match state[edge.to] {
                State::Done => {}
                State::Open(from) => {
                    trail.push(edge);
                    found(&trail[from..]);
                    trail.pop();
                }
                State::New => {
                    trail.push(edge);
                    state[edge.to] = State::Open(trail.len());
                    stack.push((edge.to, 0));
                }
            },
        }
    }
}

/// One circle.
fn report(jobs: &[WrittenJob], circle: &[&Edge], is_whole: bool, session: &mut Session<'_>) {
    let (Some(first), Some(last)) = (circle.first(), circle.last()) else { return };
    let name = |at: usize| jobs[at].name.as_str();
    let needs = |edge: &Edge| format!("`{}` needs `{}`", name(edge.from), name(edge.to));
    if !is_whole {
        let (count, start) = (circle.len(), session.origin(first.spot));
        let message =
            format!("jobs need each other: {} → … → {} ({count} jobs)", name(first.from), name(last.to));
        session
            .error(Code::Cycle, last.spot, message)
            .expecting("an order in which the jobs can run")
            .noting(start, needs(first));
        return;
    }
    let names: Vec<&str> = circle.iter().map(|edge| name(edge.from)).chain([name(first.from)]).collect();
    let message = match circle {
        [_] => format!("the job `{}` needs itself", name(first.from)),
        _ => format!("jobs need each other: {}", names.join(" → ")),
    };
    let notes: Vec<_> = circle.iter().map(|edge| (session.origin(edge.spot), needs(edge))).collect();
    let error = session.error(Code::Cycle, first.spot, message);
    error.expecting("an order in which the jobs can run");
    for (origin, note) in notes {
        error.noting(origin, note);
    }
}
