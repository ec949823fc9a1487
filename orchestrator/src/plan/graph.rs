//! The plan: steps as an acyclic graph, each with its fingerprint. Since a step's identity rests on its inputs' identities, the whole
//! plan is known before anything runs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use petgraph::acyclic::Acyclic;
use petgraph::data::Build;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::{Dfs, EdgeRef, IntoEdgeReferences, Reversed};

use super::{FileHashes, Input, PlanError, PlannedStep, Step, collect_files, fingerprint, sources_by_label};

/// The plan of a spec.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The spec's name.
    pub spec_name: String,
    /// The spec's file.
    pub spec_path: PathBuf,
    /// Steps in topological order.
    pub steps: Vec<PlannedStep>,
    graph: Acyclic<StableDiGraph<String, ()>>,
    nodes: BTreeMap<String, NodeIndex>,
}

impl Plan {
    /// Orders steps, expands and hashes their files, and computes every fingerprint.
    pub fn build(
        spec_name: &str,
        spec_path: &Path,
        steps: Vec<Step>,
        hashes: &mut FileHashes,
    ) -> Result<Self, PlanError> {
        let (graph, nodes) = order(&steps)?;
        let mut by_name: BTreeMap<String, Step> =
            steps.into_iter().map(|step| (step.name.clone(), step)).collect();
        let mut plan = Self {
            spec_name: spec_name.to_owned(),
            spec_path: spec_path.to_path_buf(),
            steps: Vec::with_capacity(by_name.len()),
            graph,
            nodes,
        };
        let names: Vec<String> = plan.graph.nodes_iter().map(|node| plan.graph[node].clone()).collect();
        let mut folders: BTreeMap<PathBuf, String> = BTreeMap::new();
        for name in names {
            let Some(step) = by_name.remove(&name) else { continue };
            let mut inputs = BTreeMap::new();
            for (role, input) in &step.inputs {
                let hash = match input {
                    Input::Step(other) => plan.step(other).map(|s| s.fingerprint.clone()).unwrap_or_default(),
                    Input::Folder(path) => {
                        super::check_kind(path, role)?;
                        if !folders.contains_key(path) {
                            folders.insert(path.clone(), super::folder_hash(path, hashes)?);
                        }
                        folders[path].clone()
                    }
                };
                inputs.insert(role.clone(), hash);
            }
            let files = collect_files(&step.sources, hashes)?;
            let sources = sources_by_label(&files);
            let fingerprint = fingerprint(&step.params, step.seed, &inputs, &sources)?;
            plan.steps.push(PlannedStep { step, fingerprint, inputs, files, sources });
        }
        Ok(plan)
    }

    /// A step by name.
    pub fn step(&self, name: &str) -> Option<&PlannedStep> {
        self.steps.iter().find(|planned| planned.step.name == name)
    }

    /// Names of the jobs, in order of their first step.
    pub fn jobs(&self) -> Vec<&str> {
        let mut jobs: Vec<&str> = Vec::new();
        for planned in &self.steps {
            let job = planned.step.job.as_str();
            if !job.is_empty() && !jobs.contains(&job) {
                jobs.push(job);
            }
        }
        jobs
    }

    /// blake3 over names and fingerprints of the steps: two plans with the same hash ask for the same things.
    pub fn hash(&self) -> String {
        let mut lines: Vec<String> = self
            .steps
            .iter()
            .map(|planned| format!("{} {}\n", planned.step.name, planned.fingerprint))
            .collect();
        lines.sort();
        blake3::hash(lines.concat().as_bytes()).to_hex().to_string()
    }

    /// Keeps the steps of these jobs, everything that they need and, where `downstream` is set, everything that needs them.
    pub fn select(mut self, jobs: &[String], downstream: bool) -> Result<Self, PlanError> {
        let mut wanted: BTreeSet<NodeIndex> = BTreeSet::new();
        for name in jobs {
            let found: Vec<NodeIndex> = self
                .steps
                .iter()
                .filter(|planned| planned.step.job == *name || planned.step.name == *name)
                .filter_map(|planned| self.nodes.get(&planned.step.name).copied())
                .collect();
            if found.is_empty() {
                let known = self.jobs().join(", ");
                return Err(PlanError::UnknownJob { name: name.clone(), known });
            }
            wanted.extend(found);
        }
        if downstream {
            wanted = wanted.iter().flat_map(|node| reach(self.graph.inner(), *node, true)).collect();
        }
        let kept: BTreeSet<NodeIndex> =
            wanted.iter().flat_map(|node| reach(self.graph.inner(), *node, false)).collect();
        let nodes = &self.nodes;
        self.steps.retain(|planned| nodes.get(&planned.step.name).is_some_and(|node| kept.contains(node)));
        Ok(self)
    }

    /// Every step that waits for this one, directly or not.
    pub fn downstream(&self, name: &str) -> Vec<String> {
        let Some(node) = self.nodes.get(name) else { return Vec::new() };
        reach(self.graph.inner(), *node, true)
            .into_iter()
            .filter(|n| n != node)
            .map(|n| self.graph[n].clone())
            .collect()
    }

    /// The graph in DOT, edges from input to consumer.
    pub fn to_dot(&self) -> String {
        let mut dot = String::from("digraph plan {\n  rankdir=LR;\n  node [shape=box];\n");
        for planned in &self.steps {
            let _ = writeln!(dot, "  {:?};", planned.step.name);
        }
        let graph = self.graph.inner();
        for edge in graph.edge_references() {
            let (from, to) = (&graph[edge.source()], &graph[edge.target()]);
            if self.step(from).is_some() && self.step(to).is_some() {
                let _ = writeln!(dot, "  {from:?} -> {to:?};");
            }
        }
        dot.push_str("}\n");
        dot
    }
}

type Ordered = (Acyclic<StableDiGraph<String, ()>>, BTreeMap<String, NodeIndex>);

fn order(steps: &[Step]) -> Result<Ordered, PlanError> {
    let mut graph = Acyclic::<StableDiGraph<String, ()>>::new();
    let mut nodes = BTreeMap::new();
    for step in steps {
        nodes.insert(step.name.clone(), graph.add_node(step.name.clone()));
    }
    for step in steps {
        for needed in step.needs() {
            let from = nodes
                .get(&needed)
                .copied()
                .ok_or_else(|| PlanError::Reference { step: step.name.clone(), reference: needed.clone() })?;
            if graph.try_add_edge(from, nodes[&step.name], ()).is_err() {
                return Err(PlanError::Cycle(format!("{} → {needed} → … → {}", step.name, step.name)));
            }
        }
    }
    Ok((graph, nodes))
}

fn reach(graph: &StableDiGraph<String, ()>, from: NodeIndex, forwards: bool) -> Vec<NodeIndex> {
    let mut found = Vec::new();
    if forwards {
        let mut search = Dfs::new(graph, from);
        while let Some(node) = search.next(graph) {
            found.push(node);
        }
    } else {
        let reversed = Reversed(graph);
        let mut search = Dfs::new(reversed, from);
        while let Some(node) = search.next(reversed) {
            found.push(node);
        }
    }
    found
}
