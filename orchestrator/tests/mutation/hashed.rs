//! Every leaf of the language, changed alone.

use std::collections::{BTreeMap, BTreeSet};

use cupola::plan::{Action, Plan, Reason, decide, hashed_params};
use cupola::state::{CommittedArtifact, Expected, Fact, PlannedStep, Projection, State, StateDir};
use cupola_specs::spec::{Origin, ResolvedSpec};
use serde_yaml::Value;

use super::emit::{double, emit};
use super::language::{Leaf, at, leaves, others, scalars};
use super::world::{World, changed, documents, plan, roots, text_of, with_readers};

/// Other values of a place that are enough.
const ENOUGH: usize = 3;

/// A spec as it ran before.
struct Before {
    name: &'static str,
    document: Value,
    plan: Plan,
    projection: Projection,
    names: Vec<String>,
}

impl Before {
    fn new(world: &World, name: &'static str, document: Value) -> Self {
        let plan = world.plan_of(&text_of(&document));
        let projection = record(&StateDir::new(&world.path().join(name)), &plan);
        let jobs = document["jobs"].as_mapping().unwrap().keys().map(|name| name.as_str().unwrap());
        let parts = [
            "corpus.train",
            "corpus.pairs",
            "corpus.validation",
            "corpus.validation_pairs",
            "second.pairs",
            "aligned.preferences",
        ];
        let names = jobs.chain(parts).map(str::to_owned).collect();
        Self { name, document, plan, projection, names }
    }
}

/// A state in which every step of a plan has ended.
fn record(dir: &StateDir, plan: &Plan) -> Projection {
    let mut state = State::open(dir, "test").unwrap();
    let run = "mutation-1".to_owned();
    let steps = plan.steps.iter().map(|planned| PlannedStep {
        name: planned.step.name.clone(),
        job: planned.step.job.clone(),
        kind: planned.step.kind(),
        fingerprint: planned.fingerprint.clone(),
        code_version: planned.step.kind().code_version(),
        params: hashed_params(&planned.step.params).unwrap(),
        inputs: planned.inputs.clone(),
        needs: planned.step.needs(),
        sources: planned.sources.clone(),
        seed: planned.step.seed,
        cores: 1,
        cached: false,
        reason: String::new(),
        training_flops: 0.0,
        trainings: serde_json::Value::Null,
        expected: Expected::default(),
    });
    let mut facts = vec![
        Fact::RunCreated {
            run: run.clone(),
            spec_name: plan.spec_name.clone(),
            spec_path: plan.spec_path.clone(),
            plan_hash: plan.hash(),
        },
        Fact::StepsPlanned { run: run.clone(), steps: steps.collect() },
    ];
    facts.extend(plan.steps.iter().map(|planned| {
        Fact::ArtifactCommitted(Box::new(CommittedArtifact {
            run: run.clone(),
            step: planned.step.name.clone(),
            token: "1.1".to_owned(),
            fingerprint: planned.fingerprint.clone(),
            kind: planned.step.kind().artifact_kind().to_owned(),
            path: planned.fingerprint.clone().into(),
            size_bytes: 1,
            summary: serde_json::Map::new(),
        }))
    }));
    state.record(facts).unwrap();
    state.projection().clone()
}

/// What changes of a leaf did.
#[derive(Debug, Default)]
struct Seen {
    /// Changes that a spec takes.
    num_changes: usize,
    /// Kinds of the steps that are another one in themselves.
    kinds: BTreeSet<&'static str>,
    problems: Vec<String>,
}

/// Changes one scalar of a document to each of some other values.
fn mutate(world: &World, before: &Before, place: &(Vec<String>, String), leaf: &Leaf) -> Seen {
    let (path, pattern) = place;
    let mut seen = Seen::default();
    let value = at(&mut before.document.clone(), path).clone();
    for other in others(&value, leaf, &before.names) {
        if seen.num_changes == ENOUGH {
            break;
        }
        let mut document = before.document.clone();
        *at(&mut document, path) = other.clone();
        if pattern.ends_with(".weights.*") {
            rest_to_one(&mut document, path);
        }
        let text = emit(&document, 2, &double);
        let Ok(spec) = world.load(&text.text) else { continue };
        let Ok(plan) = plan(&spec) else { continue };
        seen.num_changes += 1;
        let roots = roots(&before.plan, &plan);
        let (expected, got) = (with_readers(&plan, &roots), changed(&before.plan, &plan));
        let of = |name: &String| plan.step(name).map(|planned| planned.step.kind().as_str());
        seen.kinds.extend(roots.iter().filter_map(of));
        let title = format!("{}: {} = {value:?} -> {other:?}", before.name, path.join("."));
        if expected != got {
            seen.problems
                .push(format!("{title}: steps {got:?} have another fingerprint, and not {expected:?}"));
        }
        seen.problems.extend(
            why(before, &spec, &plan, &roots, (path, &text.lines))
                .into_iter()
                .map(|problem| format!("{title}: {problem}")),
        );
    }
    seen
}

/// Weights sum to 1: one of them is not changed without another one.
fn rest_to_one(document: &mut Value, path: &[String]) {
    let (last, map) = path.split_last().unwrap();
    let map = at(document, map).as_mapping_mut().unwrap();
    let Some(weight) = map[last.as_str()].as_f64() else { return };
    for (key, value) in map.iter_mut() {
        if key.as_str() != Some(last) {
            *value = Value::from(1.0 - weight);
        }
    }
}

/// What is wrong with the decisions: just the changed steps run, and each one that changed in itself names the field and its line.
fn why(
    before: &Before,
    spec: &ResolvedSpec,
    plan: &Plan,
    roots: &BTreeSet<String>,
    (path, lines): (&[String], &BTreeMap<String, usize>),
) -> Vec<String> {
    let known: BTreeSet<&str> =
        before.plan.steps.iter().map(|planned| planned.fingerprint.as_str()).collect();
    let decisions =
        decide(plan, Some(spec), &before.projection, &|_, fingerprint| known.contains(fingerprint)).unwrap();
    let mut problems = Vec::new();
    for decision in &decisions {
        let is_changed = !known.contains(decision.fingerprint.as_str());
        if (decision.action == Action::Run) != is_changed {
            problems.push(format!("{} is decided to be {:?}", decision.step, decision.action));
        }
        if !is_changed || before.plan.step(&decision.step).is_none() {
            continue;
        }
        let is_told = |reason: &Reason| names(reason, path, lines);
        let is_input = |reason: &Reason| matches!(reason, Reason::Input { .. } | Reason::InputRemoved { .. });
        let is_right = if roots.contains(&decision.step) {
            decision.reasons.iter().any(is_told)
                && decision
                    .reasons
                    .iter()
                    .all(|reason| is_told(reason) || is_input(reason) || follows(reason, path))
        } else {
            decision.reasons.iter().all(is_input)
        };
        if !is_right {
            problems.push(format!("{} runs because {}", decision.step, decision.why()));
        }
    }
    problems
}

/// Whether a reason may stand beside the field that was changed, since it follows from it: another method reads other inputs,
/// another corpus has other weights and may be the one of another phase, another source or test has other files, and weights sum to 1.
fn follows(reason: &Reason, path: &[String]) -> bool {
    let last = path.last().map_or("", String::as_str);
    match reason {
        Reason::Parameter { field, .. } => {
            matches!(last, "method" | "stage")
                || last == "corpus"
                    && [".sources", ".domains.weights", ".corpus"].iter().any(|end| field.ends_with(end))
                || path[..path.len() - 1].ends_with(&["weights".to_owned()]) && field.contains(".weights.")
        }
        Reason::Sources { .. } => last == "name" || path.contains(&"against".to_owned()),
        _ => false,
    }
}

/// Whether a reason names the field at a path, or the list or mapping around it that changed as a whole, with its line and both values.
fn names(reason: &Reason, path: &[String], lines: &BTreeMap<String, usize>) -> bool {
    let path = path.join(".");
    let is_around = |field: &str| {
        path.strip_prefix(field).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            && field.contains('.')
    };
    let is_at = |field: &str, origin: Option<&Origin>| {
        let (line, origin) = (lines.get(field).copied(), origin.map(|origin| origin.line as usize));
        line.is_some() && (origin == line || origin == line.map(|line| line + 1))
    };
    match reason {
        Reason::Parameter { field, old, new, origin } => {
            let field = of_matrix(field);
            old != new && is_around(&field) && is_at(&field, origin.as_ref())
        }
        Reason::Sources { origin, .. } => {
            lines.keys().any(|field| is_around(field) && is_at(field, origin.as_ref()))
        }
        Reason::Input { origin, .. } => {
            path.rsplit('.').next() == Some("path")
                && lines.keys().any(|field| is_around(field) && is_at(field, origin.as_ref()))
        }
        _ => false,
    }
}

/// The field of the job with the matrix, for that of one of the jobs that it makes.
fn of_matrix(field: &str) -> String {
    match (field.find('['), field.find(']')) {
        (Some(from), Some(to)) => format!("{}{}", &field[..from], &field[to + 1..]),
        _ => field.to_owned(),
    }
}

#[test]
fn every_leaf_changed_alone_runs_just_what_it_is_part_of_and_why_names_it() {
    let world = World::new();
    let leaves = leaves();
    let specs: Vec<Before> =
        documents().into_iter().map(|(name, document)| Before::new(&world, name, document)).collect();
    let places: Vec<(&Before, (Vec<String>, String))> = specs
        .iter()
        .flat_map(|before| scalars(&before.document, &leaves).into_iter().map(move |place| (before, place)))
        .collect();
    let all: Vec<(String, Seen)> = places
        .iter()
        .map(|(before, place)| (place.1.clone(), mutate(&world, before, place, &leaves[&place.1])))
        .collect();
    let mut seen: BTreeMap<String, Seen> = BTreeMap::new();
    for (pattern, one) in all {
        let sum = seen.entry(pattern).or_default();
        sum.num_changes += one.num_changes;
        sum.kinds.extend(one.kinds);
        sum.problems.extend(one.problems);
    }
    let problems: Vec<&str> = seen.values().flat_map(|seen| &seen.problems).map(String::as_str).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
    let effects: BTreeMap<&str, String> = leaves
        .keys()
        .map(|pattern| {
            let effect = match seen.get(pattern) {
                None => "refused".to_owned(),
                Some(seen) if seen.num_changes == 0 => "fixed".to_owned(),
                Some(seen) if seen.kinds.is_empty() => "nothing".to_owned(),
                Some(seen) => seen.kinds.iter().copied().collect::<Vec<_>>().join(" "),
            };
            (pattern.as_str(), effect)
        })
        .collect();
    let table = table();
    let wrong: Vec<String> = effects
        .iter()
        .filter(|(pattern, effect)| table.get(*pattern).is_none_or(|wanted| wanted != *effect))
        .map(|(pattern, effect)| {
            let wanted = table.get(pattern).copied().unwrap_or("nothing about it");
            format!("{pattern}: {effect}, and fields.txt says {wanted}")
        })
        .chain(
            table
                .keys()
                .filter(|pattern| !effects.contains_key(*pattern))
                .map(|pattern| format!("{pattern} is no leaf")),
        )
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `fields.txt` says of each leaf.
fn table() -> BTreeMap<&'static str, &'static str> {
    let lines = include_str!("fields.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    lines.map(|line| line.split_once(": ").unwrap()).collect()
}

/// A leaf that works must be written in a spec here, so that it is changed.
#[test]
fn what_the_table_calls_refused_is_refused() {
    let world = World::new();
    let (_, document) = documents().swap_remove(0);
    let jobs = document["jobs"].as_mapping().unwrap();
    let leaves = leaves();
    for (pattern, _) in table().into_iter().filter(|(_, effect)| *effect == "refused") {
        let (kind, rest) = pattern.split_once('.').unwrap();
        let of_kind = |(_, job): &(&Value, &Value)| job["kind"] == *kind;
        let path: Vec<String> = match jobs.iter().find(of_kind) {
            Some((name, _)) => vec!["jobs".to_owned(), name.as_str().unwrap().to_owned()],
            None => vec![kind.to_owned()],
        };
        let words = leaves[pattern].words.iter().map(|word| Value::from(word.as_str()));
        let samples = ["x", "./src/a.txt", "./folders/model_a", "1s", "1%", "1/s", "corpus"].map(Value::from);
        for value in words.chain(samples).chain([Value::from(1), Value::from(true)]) {
            let mut changed = document.clone();
            let node = at(&mut changed, &path);
            graft(node, rest, value.clone());
            let text = text_of(&changed);
            let plan = world.load(&text).map(|spec| plan(&spec));
            assert!(!matches!(plan, Ok(Ok(_))), "{pattern} may be {value:?}: write it in a spec here");
        }
    }
}

/// Puts a value at a pattern below a node; what stood there in another form is replaced.
fn graft(node: &mut Value, pattern: &str, value: Value) {
    let (key, rest) = pattern.split_once('.').map_or((pattern, None), |(key, rest)| (key, Some(rest)));
    let (name, is_item) = key.strip_suffix("[]").map_or((key, false), |name| (name, true));
    let name = if name == "*" { "a" } else { name };
    if !node.is_mapping() {
        *node = Value::Mapping(serde_yaml::Mapping::new());
    }
    let map = node.as_mapping_mut().unwrap();
    let mut child = map.get(name).cloned().unwrap_or(Value::Null);
    if is_item {
        child = child.as_sequence().and_then(|items| items.first().cloned()).unwrap_or(Value::Null);
    }
    match rest {
        Some(rest) => graft(&mut child, rest, value),
        None => child = value,
    }
    map.insert(name.into(), if is_item { Value::Sequence(vec![child]) } else { child });
}
