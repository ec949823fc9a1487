//! The specs, the folder that they read, and their plans.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use cupola::plan::{FileHashes, Machine, Plan, PlanError, hashed_params, lower};
use cupola_specs::spec::{Diagnostics, Environment, ResolvedSpec, parse};
use serde_yaml::Value;

use super::emit::{double, emit};

pub(crate) const MACHINE: Machine = Machine { cores: 2, devices: 0, cpu_bf16: false };

/// Every job's own fields that say how it is run, and its seed.
const COMMON: &str = "{ description: text, after: [first], device: cpu, deterministic: auto, precision: fp32, priority: 1, retries: 3, seed: 5, timeout: 3h, \
    resources: { cores: 1, memory: 1GB, overcommit: false, devices: 0 } }";
const TUNING: &str = "{ optimizer: { matrices: muon, others: adamw, lr: 0.01, matrix_lr: 0.02, weight_decay: 0.1, betas: [0.9, 0.95], \
    eps: 1.0e-8, weight_decay_schedule: linear, weight_decay_final: 0.1, momentum: 0.9, nesterov: true, \
    momentum_warmup: { from: 0.4, steps: 20 steps }, orthogonalization: polar_express, groups: [{ pattern: '*', lr: 0.01, weight_decay: 0.2 }], \
    grad_clip: 1, warmup: 2%, ema: { decay: 0.9, every: 2 steps }, max_setbacks: 4, spike_sigma: 6 }, batch: { global_tokens: 4096, micro_batch: 4 }, context: { length: 256 } }";
const TRAINING: &str = "{ phases: [{ until: 80%, weights: { code: 0.7, docs: 0.3 }, lr: constant }, \
    { until: 100%, weights: { code: 0.5, docs: 0.5 }, lr: linear, lr_final: 0.1 }], \
    context: { length: 256, packing: concat, document_mask: true } }";

/// The folder of the specs.
pub(crate) struct World {
    folder: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for name in [
            "src/a.txt",
            "src/b.txt",
            "chats/a.jsonl",
            "chats/b.jsonl",
            "vocabularies/a.tiktoken",
            "vocabularies/b.tiktoken",
        ] {
            write(name, &format!("{{\"prompt\": \"{name}\"}}\n"));
        }
        for name in ["same.yaml", "other.yaml"] {
            write(name, "cupola: v1\n");
        }
        for kind in ["corpus", "tokenizer", "law", "model", "reward_model", "preferences"] {
            for which in ["a", "b"] {
                let manifest = serde_json::json!({
                    "version": 1, "kind": kind, "fingerprint": "f", "step": "s", "run": "r", "code_version": 1, "cupola_version": "0",
                    "params": {"step": "tokens"}, "seed": 1, "inputs": {}, "sources_hash": "", "files": {}, "summary": {},
                    "created_millis": 0,
                });
                write(&format!("folders/{kind}_{which}/manifest.json"), &manifest.to_string());
                write(&format!("folders/{kind}_{which}/content"), which);
            }
        }
        for which in ["a", "b"] {
            write(&format!("folders/adapter_{which}/adapter_config.json"), which);
        }
        Self { folder }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn load(&self, text: &str) -> Result<ResolvedSpec, Diagnostics> {
        self.load_as("spec.yaml", text)
    }

    pub(crate) fn load_as(&self, file: &str, text: &str) -> Result<ResolvedSpec, Diagnostics> {
        parse(&self.path().join(file), text.as_bytes(), &[], self)
    }

    /// The plan of a text without errors.
    pub(crate) fn plan_of(&self, text: &str) -> Plan {
        let spec = self.load(text).unwrap_or_else(|errors| panic!("{}", errors.to_text()));
        plan(&spec).unwrap_or_else(|error| panic!("{error}"))
    }
}

/// The plan of a spec, every file hashed anew.
pub(crate) fn plan(spec: &ResolvedSpec) -> Result<Plan, PlanError> {
    Plan::build(&spec.name, &spec.file, lower(spec, MACHINE)?, &mut FileHashes::default())
}

impl Environment for World {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn home(&self) -> Option<PathBuf> {
        None
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
}

/// The specs by name, with the fields that many jobs have.
pub(crate) fn documents() -> Vec<(&'static str, Value)> {
    let chain = include_str!("chain.yaml");
    let folders = include_str!("folders.yaml");
    [("chain", chain), ("folders", folders)]
        .map(|(name, text)| {
            let mut document: Value = serde_yaml::from_str(text).unwrap();
            let jobs = document["jobs"].as_mapping_mut().unwrap();
            for (_, job) in jobs.iter_mut() {
                let job = job.as_mapping_mut().unwrap();
                let Some(parts) = job.remove("defaults_of") else { continue };
                for part in parts.as_str().unwrap().split(' ') {
                    let texts: &[&str] = match part {
                        "common" => &[COMMON],
                        "tuning" => &[TUNING],
                        "phases" => &[TRAINING],
                        _ => &[TUNING, TRAINING],
                    };
                    for text in texts {
                        let fields: Value = serde_yaml::from_str(text).unwrap();
                        job.extend(fields.as_mapping().unwrap().clone());
                    }
                }
            }
            (name, document)
        })
        .into()
}

/// A document as its file has it.
pub(crate) fn text_of(document: &Value) -> String {
    emit(document, 2, &double).text
}

/// What a step's identity rests on besides its inputs' identities.
fn own_part(plan: &Plan, name: &str) -> Option<String> {
    let planned = plan.step(name)?;
    let step = &planned.step;
    let params = hashed_params(&step.params).unwrap();
    let outside: BTreeMap<&String, &String> = planned
        .inputs
        .iter()
        .filter(|(role, _)| !matches!(step.inputs[*role], cupola::plan::Input::Step(_)))
        .collect();
    let steps: BTreeMap<&String, &cupola::plan::Input> =
        step.inputs.iter().filter(|(_, input)| matches!(input, cupola::plan::Input::Step(_))).collect();
    Some(format!(
        "{} {params} {} {outside:?} {steps:?} {:?}",
        step.kind().as_str(),
        step.seed,
        planned.sources
    ))
}

/// Steps that are new, or another one in themselves.
pub(crate) fn roots(before: &Plan, after: &Plan) -> BTreeSet<String> {
    let names = after.steps.iter().map(|planned| planned.step.name.clone());
    names.filter(|name| own_part(before, name) != own_part(after, name)).collect()
}

/// These steps, and every step that reads what they make, directly or not.
pub(crate) fn with_readers(plan: &Plan, roots: &BTreeSet<String>) -> BTreeSet<String> {
    let mut found = roots.clone();
    for planned in &plan.steps {
        let reads = |input: &cupola::plan::Input| matches!(input, cupola::plan::Input::Step(name) if found.contains(name));
        if planned.step.inputs.values().any(reads) {
            found.insert(planned.step.name.clone());
        }
    }
    found
}

/// Steps of the second plan whose fingerprint is not in the first under the same name.
pub(crate) fn changed(before: &Plan, after: &Plan) -> BTreeSet<String> {
    let is_new =
        |name: &str, fingerprint: &str| before.step(name).is_none_or(|old| old.fingerprint != fingerprint);
    let steps = after.steps.iter().filter(|planned| is_new(&planned.step.name, &planned.fingerprint));
    steps.map(|planned| planned.step.name.clone()).collect()
}
