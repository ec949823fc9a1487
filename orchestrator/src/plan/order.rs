//! The order of steps: each after all that it waits for, and else as the spec has them.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::fmt;

use cupola_specs::spec::{Origin, ResolvedSpec};

use super::fields::reference_field;
use super::{Input, PlanError, Step};

/// One edge of a circle of steps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CycleEdge {
    /// The step that waits.
    pub step: String,
    /// The job that it belongs to; empty for a shared one.
    pub job: String,
    /// The step that it waits for.
    pub needs: String,
    /// The input's role, or `after`.
    pub role: String,
    /// Where the spec says so, once that is known.
    pub origin: Option<Origin>,
}

impl fmt::Display for CycleEdge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` waits for `{}` ({})", self.step, self.needs, self.role)?;
        self.origin.as_ref().map_or(Ok(()), |origin| write!(f, " at {origin}"))
    }
}

/// Steps and edges as numbers: for each step those that it waits for, each once.
pub(super) struct Edges {
    pub(super) needs: Vec<Vec<usize>>,
}

impl Edges {
    /// The edges between steps, or the first name that is given twice or not at all.
    pub(super) fn of(steps: &[Step]) -> Result<Self, PlanError> {
        let mut places: HashMap<&str, usize> = HashMap::with_capacity(steps.len());
        for (at, step) in steps.iter().enumerate() {
            if places.insert(&step.name, at).is_some() {
                return Err(PlanError::SameName { name: step.name.clone() });
            }
        }
        // The last step that an edge from here led to: an edge is taken once.
        let mut last = vec![usize::MAX; steps.len()];
        let mut needs = Vec::with_capacity(steps.len());
        for (at, step) in steps.iter().enumerate() {
            let mut found = Vec::with_capacity(step.inputs.len());
            for name in step.waits_for() {
                let need = places.get(name).copied().ok_or_else(|| PlanError::Reference {
                    step: step.name.clone(),
                    reference: name.to_owned(),
                })?;
                if last[need] != at {
                    last[need] = at;
                    found.push(need);
                }
            }
            needs.push(found);
        }
        Ok(Self { needs })
    }

    /// Whether every step stands behind all that it waits for.
    pub(super) fn are_in_order(&self) -> bool {
        self.needs.iter().enumerate().all(|(at, needs)| needs.iter().all(|need| *need < at))
    }

    /// The order: of those that may come next, the first of the spec. A circle is given whole.
    pub(super) fn order(&self, steps: &[Step]) -> Result<Vec<usize>, PlanError> {
        if self.are_in_order() {
            return Ok((0..self.needs.len()).collect());
        }
        let mut followers: Vec<Vec<usize>> = vec![Vec::new(); self.needs.len()];
        let mut open: Vec<usize> = self.needs.iter().map(Vec::len).collect();
        for (at, needs) in self.needs.iter().enumerate() {
            for need in needs {
                followers[*need].push(at);
            }
        }
        let mut ready: BinaryHeap<Reverse<usize>> =
            (0..open.len()).filter(|at| open[*at] == 0).map(Reverse).collect();
        let mut order = Vec::with_capacity(open.len());
        while let Some(Reverse(at)) = ready.pop() {
            order.push(at);
            for follower in &followers[at] {
                open[*follower] -= 1;
                if open[*follower] == 0 {
                    ready.push(Reverse(*follower));
                }
            }
        }
        if order.len() == open.len() { Ok(order) } else { Err(PlanError::Cycle(self.circle(&open, steps))) }
    }

    /// A circle among the steps that were never ready: each of them waits for another of them.
    fn circle(&self, open: &[usize], steps: &[Step]) -> Vec<CycleEdge> {
        let next = |at: usize| self.needs[at].iter().copied().find(|need| open[*need] > 0);
        let mut trail: Vec<usize> = Vec::new();
        let mut place = vec![usize::MAX; open.len()];
        let mut at = open.iter().position(|count| *count > 0);
        while let Some(here) = at.filter(|here| place[*here] == usize::MAX) {
            place[here] = trail.len();
            trail.push(here);
            at = next(here);
        }
        let circle = &trail[at.map_or(0, |at| place[at])..];
        let edge = |(i, from): (usize, &usize)| {
            let (step, needs) = (&steps[*from], &steps[circle[(i + 1) % circle.len()]].name);
            let reads = |(_, input): &(&String, &Input)| **input == Input::Step(needs.clone());
            let role = step.inputs.iter().find(reads).map_or("after", |(role, _)| role.as_str());
            CycleEdge {
                step: step.name.clone(),
                job: step.job.clone(),
                needs: needs.clone(),
                role: role.to_owned(),
                origin: None,
            }
        };
        circle.iter().enumerate().map(edge).collect()
    }
}

/// The edges of a circle with the lines that say so. A shared step's edges are said by the job of the circle that reads it.
pub(super) fn located(mut edges: Vec<CycleEdge>, spec: &ResolvedSpec) -> Vec<CycleEdge> {
    let jobs: Vec<String> = edges.iter().map(|edge| edge.job.clone()).collect();
    for (at, edge) in edges.iter_mut().enumerate() {
        let reader = (0..jobs.len()).map(|back| &jobs[(at + jobs.len() - back) % jobs.len()]);
        let Some(job) = reader.into_iter().find(|job| !job.is_empty()) else { continue };
        edge.origin = spec.origin(&reference_field(spec, job, &edge.role, &edge.needs));
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::graph::tests::step;

    fn names(steps: &[Step]) -> Vec<&str> {
        let order = Edges::of(steps).unwrap().order(steps).unwrap();
        order.into_iter().map(|at| steps[at].name.as_str()).collect()
    }

    #[test]
    fn ties_are_in_the_order_of_the_spec() {
        assert_eq!(names(&[step("b", &[]), step("a", &[]), step("c", &["a"])]), ["b", "a", "c"]);
        assert_eq!(names(&[step("c", &["a"]), step("b", &[]), step("a", &[])]), ["b", "a", "c"]);
    }

    #[test]
    fn a_circle_is_given_whole_and_what_only_hangs_on_it_is_left_out() {
        let steps = [
            step("hangs", &["a"]),
            step("a", &["c"]),
            step("b", &["a"]),
            step("c", &["free", "b"]),
            step("free", &[]),
        ];
        let error = Edges::of(&steps).unwrap().order(&steps).unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("these steps wait for each other: a → c → b → a\n"), "{text}");
        assert_eq!(text.matches(" waits for ").count(), 3, "{text}");
        let own = [step("a", &["a"])];
        let text = Edges::of(&own).unwrap().order(&own).unwrap_err().to_string();
        assert!(text.starts_with("these steps wait for each other: a → a\n"), "{text}");
    }

    #[test]
    fn a_name_that_is_given_twice_or_not_at_all_is_an_error() {
        let twice = Edges::of(&[step("a", &[]), step("a", &[])]);
        assert!(matches!(twice, Err(PlanError::SameName { .. })));
        assert!(matches!(Edges::of(&[step("a", &["b"])]), Err(PlanError::Reference { .. })));
    }
}
