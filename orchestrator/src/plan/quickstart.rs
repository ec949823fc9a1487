//! The quickstart as a plan: its steps, and which change runs what again.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use cupola_specs::job::Precision;
use cupola_specs::spec::{Environment, ResolvedSpec, parse};

use super::{FileHashes, Input, Machine, Plan, lower};

const MACHINE: Machine = Machine { cores: 2, devices: 0, cpu_bf16: false };

/// A home with one crate, where the quickstart can be planned.
pub(super) struct World {
    home: tempfile::TempDir,
}

impl World {
    pub(super) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("registry/src/index-1/serde-1.0.0/src");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("lib.rs"), "fn a() {}").unwrap();
        std::fs::write(folder.join("../README.md"), "# serde").unwrap();
        Self { home }
    }

    pub(super) fn spec(&self, overrides: &[(&str, &str)]) -> ResolvedSpec {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/quickstart.yaml");
        let bytes = std::fs::read(&path).unwrap();
        let overrides: Vec<_> = overrides.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        parse(&path, &bytes, &overrides, self).unwrap_or_else(|errors| panic!("{}", errors.to_text()))
    }

    pub(super) fn plan(&self, overrides: &[(&str, &str)]) -> Plan {
        let spec = self.spec(overrides);
        let steps = lower(&spec, MACHINE).unwrap();
        Plan::build(&spec.name, &spec.file, steps, &mut FileHashes::default()).unwrap()
    }

    /// Steps whose fingerprint is another one with these overrides.
    fn changed(&self, overrides: &[(&str, &str)]) -> BTreeSet<String> {
        let before = self.plan(&[]);
        let after = self.plan(overrides);
        let differs = |name: &String| {
            after.step(name).is_none_or(|step| step.fingerprint != before.step(name).unwrap().fingerprint)
        };
        before.steps.iter().map(|planned| planned.step.name.clone()).filter(differs).collect()
    }
}

impl Environment for World {
    fn variable(&self, name: &str) -> Option<String> {
        (name == "CARGO_HOME").then(|| self.home.path().to_string_lossy().into_owned())
    }

    fn home(&self) -> Option<PathBuf> {
        None
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn roles(plan: &Plan, step: &str) -> Vec<(String, String)> {
    let inputs = &plan.step(step).unwrap().step.inputs;
    let text = |input: &Input| match input {
        Input::Step(name) => name.clone(),
        Input::Folder(path) => path.display().to_string(),
    };
    inputs.iter().map(|(role, input)| (role.clone(), text(input))).collect()
}

fn pairs(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect()
}

const AFTER_BASE: [&str; 6] =
    ["base", "assistant", "aligned/preferences", "aligned/reward_model", "aligned/optimize", "report"];

#[test]
fn the_quickstart_lowers_to_its_steps_and_roles() {
    let plan = World::new().plan(&[]);
    let names: Vec<&str> = plan.steps.iter().map(|planned| planned.step.name.as_str()).collect();
    assert_eq!(names[..3], ["corpus", "vocab", "tokens[corpus,vocab]"]);
    assert_eq!(names[names.len() - 6..], AFTER_BASE);
    assert!(names.contains(&"law/sweep[transformer,1]") && names.contains(&"law/fit"));
    let base = [("law", "law/fit"), ("tokenizer", "vocab"), ("tokens", "tokens[corpus,vocab]")];
    assert_eq!(roles(&plan, "base"), pairs(&base));
    assert_eq!(roles(&plan, "assistant"), pairs(&[("data.0", "corpus"), ("model", "base")]));
    let dpo = [("policy", "assistant"), ("preferences", "aligned/preferences")];
    assert_eq!(roles(&plan, "aligned/optimize"), pairs(&dpo));
    let report = roles(&plan, "report");
    assert!(report.contains(&("model.aligned".to_owned(), "aligned/optimize".to_owned())), "{report:?}");
    assert!(report.contains(&("train".to_owned(), "corpus".to_owned())), "{report:?}");
    assert_eq!(plan.step("law/sweep[lstm,1]").unwrap().step.settings.cores, 1);
    assert_eq!(plan.step("base").unwrap().step.settings.cores, 2);
    let names: Vec<&str> = plan.step("corpus").unwrap().files.iter().map(|file| file.name.as_str()).collect();
    assert_eq!(names, ["serde-1.0.0/src/lib.rs", "serde-1.0.0/README.md"]);
}

/// A fingerprint that moves without a raised code version throws away everybody's finished work.
#[test]
fn fingerprints_stay_what_they_are() {
    let world = World::new();
    let mut lines: Vec<String> = Vec::new();
    for (title, plan) in [
        ("dpo", world.plan(&[])),
        ("ppo", world.plan(&[("jobs.aligned.method", "ppo"), ("defaults.seed", "7")])),
    ] {
        lines.push(format!("{title}: plan {}", plan.hash()));
        let mut steps: Vec<String> = plan
            .steps
            .iter()
            .map(|planned| format!("{} {}", planned.fingerprint, planned.step.name))
            .collect();
        steps.sort_by(|a, b| a[65..].cmp(&b[65..]));
        lines.append(&mut steps);
    }
    insta::assert_snapshot!(lines.join("\n"));
}

#[test]
fn ppo_is_one_changed_word() {
    let plan = World::new().plan(&[("jobs.aligned.method", "ppo")]);
    let ppo = [("policy", "assistant"), ("prompts", "corpus"), ("reward_model", "aligned/reward_model")];
    assert_eq!(roles(&plan, "aligned/optimize"), pairs(&ppo));
}

#[test]
fn what_is_no_part_of_a_result_runs_nothing_again() {
    let world = World::new();
    for change in [
        ("description", "another"),
        ("jobs.base.description", "another"),
        ("jobs.base.checkpoint.every", "1m"),
        ("jobs.base.checkpoint.keep", "5"),
        ("jobs.base.retries", "7"),
        ("jobs.base.timeout", "3h"),
        ("serve.listen", "127.0.0.1:9999"),
    ] {
        assert_eq!(world.changed(&[change]), BTreeSet::new(), "{change:?}");
    }
}

#[test]
fn a_changed_field_runs_just_its_step_and_what_is_downstream() {
    let world = World::new();
    assert_eq!(world.changed(&[("jobs.base.tokens", "3M")]), set(&AFTER_BASE));
    assert_eq!(world.changed(&[("jobs.base.seed", "9")]), set(&AFTER_BASE));
    assert_eq!(world.changed(&[("jobs.aligned.pairs", "7")]), set(&AFTER_BASE[2..]));
    let vocab = world.changed(&[("jobs.vocab.vocab_size", "2048")]);
    assert!(!vocab.contains("corpus") && vocab.len() == world.plan(&[]).steps.len() - 1);
    let before = world.plan(&[]).step("corpus").unwrap().fingerprint.clone();
    std::fs::write(world.home.path().join("registry/src/index-1/serde-1.0.0/README.md"), "# other").unwrap();
    assert_ne!(world.plan(&[]).step("corpus").unwrap().fingerprint, before);
}

#[test]
fn only_takes_what_is_needed_and_from_what_follows() {
    let world = World::new();
    let only = world.plan(&[]).select(&["vocab".to_owned()], false).unwrap();
    assert_eq!(only.steps.len(), 2);
    let from = world.plan(&[]).select(&["aligned".to_owned()], true).unwrap();
    assert_eq!(from.steps.len(), world.plan(&[]).steps.len());
    assert!(world.plan(&[]).select(&["nobody".to_owned()], false).is_err());
    assert_eq!(MACHINE.precision(Precision::Auto, cupola_specs::job::Device::Auto), Precision::Fp32);
}
