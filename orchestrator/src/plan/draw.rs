//! A plan as a picture: each step in the colour of what happens to it, and no edge that others imply.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use layout::backends::svg::SVGWriter;
use layout::gv::{DotParser, GraphBuilder};
use petgraph::algo::tred::{dag_to_toposorted_adjacency_list, dag_transitive_reduction_closure};
use petgraph::graph::DiGraph;
use petgraph::visit::EdgeRef;

use super::{Action, Decision, Plan, PlanError};

/// A plan of more steps is drawn as SVG by job.
const MOST_DRAWN: usize = 300;
/// A graph of more nodes keeps the edges that others imply: finding them takes the square of its size.
const MOST_REDUCED: usize = 2_000;

/// Nodes with their labels and colours, and edges from what is waited for to what waits.
struct Picture {
    nodes: Vec<(String, Colour)>,
    edges: Vec<(usize, usize)>,
}

/// In order of what is told of a job with several.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Colour {
    Cached,
    Resume,
    Run,
}

impl Colour {
    fn of(action: Action) -> Self {
        match action {
            Action::Cached => Self::Cached,
            Action::Resume { .. } => Self::Resume,
            Action::Run => Self::Run,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Cached => "#d5ecd4",
            Self::Resume => "#ffe3a8",
            Self::Run => "#cfe0ff",
        }
    }
}

/// The graph in DOT: green is cached, blue runs, amber goes on at a checkpoint.
pub fn to_dot(plan: &Plan, decisions: &[Decision]) -> String {
    by_step(plan, decisions).to_dot()
}

/// The graph as an SVG picture; of very many steps one box for each job.
pub fn to_svg(plan: &Plan, decisions: &[Decision]) -> Result<String, PlanError> {
    let picture =
        if plan.steps.len() > MOST_DRAWN { by_job(plan, decisions) } else { by_step(plan, decisions) };
    let dot = picture.to_dot();
    let graph = DotParser::new(&dot).process().map_err(|problem| PlanError::Drawing { problem })?;
    let mut builder = GraphBuilder::new();
    builder.visit_graph(&graph);
    let mut svg = SVGWriter::new();
    builder.get().do_it(false, false, false, &mut svg);
    Ok(svg.finalize())
}

fn by_step(plan: &Plan, decisions: &[Decision]) -> Picture {
    let nodes = plan.steps.iter().zip(decisions);
    let nodes = nodes.map(|(planned, decision)| (planned.step.name.clone(), Colour::of(decision.action)));
    Picture { nodes: nodes.collect(), edges: plan.edges() }
}

fn by_job(plan: &Plan, decisions: &[Decision]) -> Picture {
    let mut place_of: BTreeMap<&str, usize> = BTreeMap::new();
    let mut jobs: Vec<(&str, usize, Colour)> = Vec::new();
    let mut job_of = Vec::with_capacity(plan.steps.len());
    for (planned, decision) in plan.steps.iter().zip(decisions) {
        let step = &planned.step;
        // A step that jobs share stands for itself.
        let name = if step.job.is_empty() { step.name.as_str() } else { step.job.as_str() };
        let colour = Colour::of(decision.action);
        let place = *place_of.entry(name).or_insert_with(|| {
            jobs.push((name, 0, colour));
            jobs.len() - 1
        });
        let (_, count, of_job) = &mut jobs[place];
        *count += 1;
        *of_job = colour.max(*of_job);
        job_of.push(place);
    }
    let edges = plan.edges().into_iter().map(|(from, to)| (job_of[from], job_of[to]));
    let mut edges: Vec<(usize, usize)> = edges.filter(|(from, to)| from != to).collect();
    edges.sort_unstable();
    edges.dedup();
    let label = |name: &str, count: usize| {
        if count == 1 { name.to_owned() } else { format!("{name} ({count} steps)") }
    };
    Picture {
        nodes: jobs.into_iter().map(|(name, count, colour)| (label(name, count), colour)).collect(),
        edges,
    }
}

impl Picture {
    fn to_dot(&self) -> String {
        let mut dot = String::from("digraph plan {\n  rankdir=LR;\n");
        for (at, (label, colour)) in self.nodes.iter().enumerate() {
            let (label, colour) = (label.replace(['"', '\\'], "_"), colour.as_str());
            let _ = writeln!(
                dot,
                "  n{at} [label=\"{label}\", shape=box, style=filled, fillcolor=\"{colour}\"];"
            );
        }
        for (from, to) in self.reduced() {
            let _ = writeln!(dot, "  n{from} -> n{to};");
        }
        dot.push_str("}\n");
        dot
    }

    /// The edges that no others imply.
    fn reduced(&self) -> Vec<(usize, usize)> {
        if self.nodes.len() > MOST_REDUCED {
            return self.edges.clone();
        }
        let mut graph = DiGraph::<(), (), usize>::with_capacity(self.nodes.len(), self.edges.len());
        for _ in &self.nodes {
            graph.add_node(());
        }
        for (from, to) in &self.edges {
            graph.add_edge((*from).into(), (*to).into(), ());
        }
        // Jobs may wait for each other's steps in a circle; their steps never do.
        let Ok(order) = petgraph::algo::toposort(&graph, None) else { return self.edges.clone() };
        let (sorted, _) = dag_to_toposorted_adjacency_list::<_, usize>(&graph, &order);
        let (reduction, _) = dag_transitive_reduction_closure(&sorted);
        let mut edges: Vec<(usize, usize)> = petgraph::visit::IntoEdgeReferences::edge_references(&reduction)
            .map(|edge| (order[edge.source()].index(), order[edge.target()].index()))
            .collect();
        edges.sort_unstable();
        edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::{drill_plan, fan_plan};
    use crate::plan::decide;
    use crate::state::{Projection, StateDir};
    use std::path::Path;

    fn decided(plan: &Plan) -> Vec<Decision> {
        let projection = Projection::new(&StateDir::new(Path::new("/nowhere")));
        let first = plan.steps[0].fingerprint.clone();
        decide(plan, None, &projection, &|_, fingerprint| fingerprint == first).unwrap()
    }

    #[test]
    fn each_step_is_drawn_in_its_colour_and_no_edge_twice() {
        let plan = drill_plan(Path::new("drill.yaml")).unwrap();
        let decisions = decided(&plan);
        let dot = to_dot(&plan, &decisions);
        assert_eq!(dot.matches("label=").count(), plan.steps.len());
        assert_eq!(dot.matches(Colour::Cached.as_str()).count(), 1);
        // `gather` waits for each diamond's bottom, and the bottom for its sides: nothing is said twice.
        assert!(dot.matches(" -> ").count() < plan.edges().len(), "{dot}");
        let svg = to_svg(&plan, &decisions).unwrap();
        assert!(
            svg.contains("<svg") && svg.contains("gather") && svg.contains(Colour::Run.as_str()),
            "{svg}"
        );
    }

    #[test]
    fn of_very_many_steps_each_job_is_a_box() {
        let plan = fan_plan(Path::new("fan.yaml"), 1_000).unwrap();
        let svg = to_svg(&plan, &decided(&plan)).unwrap();
        assert!(svg.contains("fan (1000 steps)") && svg.len() < 10_000, "{}", svg.len());
    }
}
