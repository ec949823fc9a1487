//! The plan: steps as an acyclic graph, each with its fingerprint. Since a step's identity rests on its inputs' identities, the whole
//! plan is known before anything runs.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use cupola_specs::spec::Telemetry;
use petgraph::acyclic::Acyclic;
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::{Dfs, EdgeRef, IntoEdgeReferences, Reversed};
use rayon::prelude::*;

use super::fingerprint::OwnPart;
use super::order::Edges;
use super::sources::SourceFiles;
use super::{Estimate, FileHashes, Input, PlanError, PlannedStep, Step};
use crate::state::Expected;

/// Steps whose own parts are hashed side by side before their inputs are, one after the other.
const CHUNK: usize = 1024;

/// The plan of a spec.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The spec's name.
    pub spec_name: String,
    /// The spec's file.
    pub spec_path: PathBuf,
    /// Steps in topological order; ties are in spec order.
    pub steps: Vec<PlannedStep>,
    /// Where the curves of its steps go; nothing of it is in a fingerprint.
    pub telemetry: Telemetry,
    graph: Acyclic<StableDiGraph<(), ()>>,
    /// Each step's node.
    nodes: Vec<NodeIndex>,
    /// Where each step stands.
    places: HashMap<String, usize>,
}

impl Plan {
    /// Orders steps, expands and hashes their files, and computes every fingerprint.
    pub fn build(
        spec_name: &str,
        spec_path: &Path,
        steps: Vec<Step>,
        hashes: &mut FileHashes,
    ) -> Result<Self, PlanError> {
        let edges = Edges::of(&steps)?;
        let order = edges.order(&steps)?;
        let graph = graph(&edges, &order)?;
        let steps = arranged(steps, &order);
        let mut plan = Self {
            spec_name: spec_name.to_owned(),
            spec_path: spec_path.to_path_buf(),
            nodes: (0..steps.len()).map(NodeIndex::new).collect(),
            places: steps.iter().enumerate().map(|(at, step)| (step.name.clone(), at)).collect(),
            steps: Vec::with_capacity(steps.len()),
            telemetry: Telemetry::default(),
            graph,
        };
        let mut outside = Outside { hashes, folders: BTreeMap::new(), files: SourceFiles::default() };
        let mut rest = steps.into_iter();
        loop {
            let chunk: Vec<Step> = rest.by_ref().take(CHUNK).collect();
            if chunk.is_empty() {
                return Ok(plan);
            }
            let own: Vec<OwnPart> = chunk
                .par_iter()
                .map(|step| OwnPart::of(&step.params, step.seed))
                .collect::<Result<_, _>>()?;
            for (step, own) in chunk.into_iter().zip(own) {
                let planned = plan.identify(step, own, &mut outside)?;
                plan.steps.push(planned);
            }
        }
    }

    /// A step with its identity; the steps that it reads are in the plan already.
    fn identify(
        &self,
        step: Step,
        own: OwnPart,
        outside: &mut Outside<'_>,
    ) -> Result<PlannedStep, PlanError> {
        let mut inputs = BTreeMap::new();
        for (role, input) in &step.inputs {
            let hash = match input {
                Input::Step(other) => self.step(other).map(|s| s.fingerprint.clone()).unwrap_or_default(),
                Input::Folder(path) => outside.folder(path, role)?,
            };
            inputs.insert(role.clone(), hash);
        }
        let (files, sources) = outside.files.of(&step.sources, outside.hashes)?;
        let fingerprint = own.with(&inputs, &sources);
        Ok(PlannedStep { step, fingerprint, inputs, files, sources, expected: Expected::default() })
    }

    /// A step by name.
    pub fn step(&self, name: &str) -> Option<&PlannedStep> {
        self.steps.get(self.place(name)?)
    }

    /// Where a step stands among the steps of the plan.
    pub fn place(&self, name: &str) -> Option<usize> {
        let place = *self.places.get(name)?;
        self.steps.get(place).filter(|planned| planned.step.name == name).map(|_| place)
    }

    /// Names of the jobs, in order of their first step.
    pub fn jobs(&self) -> Vec<&str> {
        let mut seen = HashSet::new();
        let jobs = self.steps.iter().map(|planned| planned.step.job.as_str());
        jobs.filter(|job| !job.is_empty() && seen.insert(*job)).collect()
    }

    /// blake3 over names and fingerprints of the steps: two plans with the same hash ask for the same things.
    pub fn hash(&self) -> String {
        let mut steps: Vec<(&str, &str)> = self
            .steps
            .iter()
            .map(|planned| (planned.step.name.as_str(), planned.fingerprint.as_str()))
            .collect();
        // As lines `name fingerprint`, where a name may be the start of another one.
        steps.par_sort_unstable_by(|(a, a_hash), (b, b_hash)| {
            let same = a.len().min(b.len());
            a.as_bytes()[..same].cmp(&b.as_bytes()[..same]).then_with(|| {
                let line = |name: &'_ str, hash: &'_ str| format!("{} {hash}", &name[same..]);
                line(a, a_hash).cmp(&line(b, b_hash))
            })
        });
        let mut hasher = blake3::Hasher::new();
        for (name, hash) in steps {
            hasher.update(name.as_bytes()).update(b" ").update(hash.as_bytes()).update(b"\n");
        }
        hasher.finalize().to_hex().to_string()
    }

    /// Keeps the steps of these jobs, everything that they need and, where `downstream` is set, everything that needs them.
    pub fn select(mut self, jobs: &[String], downstream: bool) -> Result<Self, PlanError> {
        let mut wanted: Vec<NodeIndex> = Vec::new();
        for name in jobs {
            let before = wanted.len();
            let of_job = |planned: &PlannedStep| planned.step.job == *name || planned.step.name == *name;
            let found = self.steps.iter().zip(&self.nodes).filter(|(planned, _)| of_job(planned));
            wanted.extend(found.map(|(_, node)| *node));
            if wanted.len() == before {
                return Err(PlanError::unknown_job(name, &self.jobs()));
            }
        }
        if downstream {
            wanted = reach(self.graph.inner(), &wanted, true);
        }
        let kept: HashSet<NodeIndex> = reach(self.graph.inner(), &wanted, false).into_iter().collect();
        let (steps, nodes) =
            self.steps.into_iter().zip(self.nodes).filter(|(_, node)| kept.contains(node)).unzip();
        (self.steps, self.nodes) = (steps, nodes);
        self.places = self.steps.iter().enumerate().map(|(at, p)| (p.step.name.clone(), at)).collect();
        Ok(self)
    }

    /// Every step that waits for this one, directly or not, in the plan's order.
    pub fn downstream(&self, name: &str) -> Vec<String> {
        let Some(place) = self.place(name) else { return Vec::new() };
        let found: HashSet<NodeIndex> =
            reach(self.graph.inner(), &[self.nodes[place]], true).into_iter().collect();
        let after = self.steps.iter().zip(&self.nodes).skip(place + 1);
        after.filter(|(_, node)| found.contains(node)).map(|(p, _)| p.step.name.clone()).collect()
    }

    /// Edges between steps of the plan, as places: from the one that is waited for to the one that waits.
    pub fn edges(&self) -> Vec<(usize, usize)> {
        let place_of: HashMap<NodeIndex, usize> =
            self.nodes.iter().enumerate().map(|(at, node)| (*node, at)).collect();
        let edges = self.graph.inner().edge_references();
        let mut edges: Vec<(usize, usize)> = edges
            .filter_map(|edge| Some((*place_of.get(&edge.source())?, *place_of.get(&edge.target())?)))
            .collect();
        edges.sort_unstable();
        edges
    }
}

impl Plan {
    /// Gives steps what they are expected to take: memory only where the spec does not say.
    pub fn reserve(&mut self, estimate: &Estimate) {
        for (planned, step) in self.steps.iter_mut().zip(&estimate.steps) {
            let Some(step) = step else { continue };
            planned.expected = Expected { secs: step.secs, peak_bytes: step.peak_bytes };
            let settings = &mut planned.step.settings;
            if settings.memory_bytes == 0 {
                settings.memory_bytes = step.total_bytes().unwrap_or(0);
            }
            settings.disk_bytes = step.disk_bytes.unwrap_or(0);
        }
    }
}

/// What identity rests on besides the spec; each folder and each list of patterns is read once for the whole plan.
struct Outside<'h> {
    hashes: &'h mut FileHashes,
    folders: BTreeMap<PathBuf, String>,
    files: SourceFiles,
}

impl Outside<'_> {
    fn folder(&mut self, path: &Path, role: &str) -> Result<String, PlanError> {
        super::check_kind(path, role)?;
        if let Some(hash) = self.folders.get(path) {
            return Ok(hash.clone());
        }
        let hash = super::folder_hash(path, self.hashes)?;
        self.folders.insert(path.to_path_buf(), hash.clone());
        Ok(hash)
    }
}

/// The graph, its nodes numbered in the order of the plan.
fn graph(edges: &Edges, order: &[usize]) -> Result<Acyclic<StableDiGraph<(), ()>>, PlanError> {
    let mut rank = vec![0; order.len()];
    order.iter().enumerate().for_each(|(at, step)| rank[*step] = at);
    let num_edges = edges.needs.iter().map(Vec::len).sum();
    let mut graph = StableDiGraph::with_capacity(order.len(), num_edges);
    for _ in order {
        graph.add_node(());
    }
    for (at, needs) in edges.needs.iter().enumerate() {
        for need in needs {
            graph.add_edge(NodeIndex::new(rank[*need]), NodeIndex::new(rank[at]), ());
        }
    }
    // The order that was found proves it; the type keeps the proof.
    Acyclic::try_from_graph(graph).map_err(|_| PlanError::Cycle(Vec::new()))
}

fn arranged(steps: Vec<Step>, order: &[usize]) -> Vec<Step> {
    if order.is_sorted() {
        return steps;
    }
    let mut steps: Vec<Option<Step>> = steps.into_iter().map(Some).collect();
    order.iter().filter_map(|at| steps[*at].take()).collect()
}

/// Every node on a way from or to some nodes, these among them.
fn reach(graph: &StableDiGraph<(), ()>, from: &[NodeIndex], forwards: bool) -> Vec<NodeIndex> {
    let mut found = Vec::new();
    let mut forward = Dfs::empty(graph);
    let reversed = Reversed(graph);
    let mut backward = Dfs::empty(reversed);
    for start in from {
        if forwards {
            forward.move_to(*start);
            while let Some(node) = forward.next(graph) {
                found.push(node);
            }
        } else {
            backward.move_to(*start);
            while let Some(node) = backward.next(reversed) {
                found.push(node);
            }
        }
    }
    found
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use cupola_specs::job::{StepParams, TokensParams};

    use crate::plan::StepSettings;

    /// A step that reads others and is else as small as a step can be.
    pub(in crate::plan) fn step(name: &str, needs: &[&str]) -> Step {
        let inputs = needs.iter().map(|need| (format!("role.{need}"), Input::Step((*need).to_owned())));
        let settings = StepSettings::PLAIN;
        Step {
            name: name.to_owned(),
            job: name.to_owned(),
            params: StepParams::Tokens(TokensParams {}),
            inputs: inputs.collect(),
            sources: Vec::new(),
            after: Vec::new(),
            seed: 1,
            settings,
        }
    }

    fn plan(steps: Vec<Step>) -> Plan {
        Plan::build("test", Path::new("test.yaml"), steps, &mut FileHashes::default()).unwrap()
    }

    #[test]
    fn the_hash_is_that_of_the_sorted_lines() {
        let plan = plan(vec![step("a", &[]), step("a b", &[]), step("a!", &["a"]), step("", &["a b"])]);
        let mut lines: Vec<String> =
            plan.steps.iter().map(|p| format!("{} {}\n", p.step.name, p.fingerprint)).collect();
        lines.sort();
        assert_eq!(plan.hash(), blake3::hash(lines.concat().as_bytes()).to_hex().to_string());
    }

    #[test]
    fn a_selection_keeps_its_places_and_edges() {
        let all = vec![
            step("d", &["b", "c"]),
            step("a", &[]),
            step("b", &["a"]),
            step("c", &["a"]),
            step("x", &[]),
        ];
        let plan = plan(all);
        assert_eq!(plan.downstream("a"), ["b", "c", "d"]);
        let part = plan.select(&["b".to_owned()], false).unwrap();
        assert_eq!(part.steps.iter().map(|p| p.step.name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((part.edges(), part.place("b"), part.place("d")), (vec![(0, 1)], Some(1), None));
        assert_eq!(part.downstream("a"), ["b"]);
    }
}
