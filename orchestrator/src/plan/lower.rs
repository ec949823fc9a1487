//! Lowering: each job of a resolved spec to its steps. Pure: no clock, disk or network.

use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;

use cupola_specs::job::{Device, Method, ParallelParams, Precision, Recompute, StepParams, TokensParams};
use cupola_specs::spec::{
    ArtifactRef, Reference, ResolvedJob, ResolvedJobBody, ResolvedSpec, RlhfBody, RowsInput, ScalingBody,
    SourceGlob,
};

use super::order::{Edges, located};
use super::{Input, Machine, PlanError, Step, StepSettings};

/// Lowers every job, in spec order; a step that several jobs share stands before the first of them.
pub fn lower(spec: &ResolvedSpec, machine: Machine) -> Result<Vec<Step>, PlanError> {
    let mut lowering = Lowering {
        spec,
        machine,
        steps: Vec::with_capacity(spec.jobs.len()),
        shared: HashSet::new(),
        of_job: HashMap::with_capacity(spec.jobs.len()),
        looks_ahead: Cell::new(false),
    };
    for job in &spec.jobs {
        let before = lowering.steps.len();
        lowering.job(job)?;
        lowering.of_job.insert(&job.name, before..lowering.steps.len());
    }
    lowering.add_after()?;
    for step in &lowering.steps {
        check_ranks(step, machine)?;
    }
    // Without a reference to a later job there is no circle.
    if lowering.looks_ahead.get()
        && let Err(PlanError::Cycle(edges)) = Edges::of(&lowering.steps)?.order(&lowering.steps)
    {
        return Err(PlanError::Cycle(located(edges, spec)));
    }
    Ok(lowering.steps)
}

/// Name of the step that gives a job's result, or the part of it that a reference names.
pub fn result_step(spec: &ResolvedSpec, reference: &Reference) -> Option<String> {
    let job = spec.job(&reference.job)?;
    let name = &job.name;
    match &job.body {
        ResolvedJobBody::Scaling(_) => Some(format!("{name}/fit")),
        ResolvedJobBody::Rlhf(body) => {
            let has = [
                ("preferences", body.preferences.is_some()),
                ("reward_model", body.reward_model.is_some()),
                ("optimize", body.optimize.is_some()),
            ];
            let stage = match reference.part.as_deref() {
                Some("model") => Some("optimize"),
                Some(part) => Some(part),
                None => has.iter().rev().find(|(_, present)| *present).map(|(stage, _)| *stage),
            };
            has.iter()
                .find(|(known, present)| Some(*known) == stage && *present)
                .map(|(known, _)| format!("{name}/{known}"))
        }
        _ => Some(name.clone()),
    }
}

struct Lowering<'a> {
    spec: &'a ResolvedSpec,
    machine: Machine,
    steps: Vec<Step>,
    /// The steps that encode a corpus with a tokenizer, by name.
    shared: HashSet<String>,
    /// The steps of each job; a shared one among them belongs to none.
    of_job: HashMap<&'a str, Range<usize>>,
    /// Whether a job refers to itself or to one that stands behind it.
    looks_ahead: Cell<bool>,
}

impl Lowering<'_> {
    fn job(&mut self, job: &ResolvedJob) -> Result<(), PlanError> {
        match &job.body {
            ResolvedJobBody::Data(body) => {
                let mut step = self.step(job, &job.name, StepParams::Data(body.params.clone()));
                step.sources.clone_from(&body.files);
                self.steps.push(step);
            }
            ResolvedJobBody::Tokenizer(body) => {
                let mut step = self.step(job, &job.name, StepParams::Tokenizer(body.params.clone()));
                self.read(&mut step, "corpus", &body.corpus)?;
                step.sources.clone_from(&body.files);
                self.steps.push(step);
            }
            ResolvedJobBody::Scaling(body) => self.scaling(job, body)?,
            ResolvedJobBody::Pretrain(body) => {
                let tokens = self.all_tokens(&body.corpus, &body.other_corpora, &body.tokenizer)?;
                let mut step = self.step(job, &job.name, StepParams::Pretrain(body.params.clone()));
                step.inputs = tokens;
                self.read(&mut step, "tokenizer", &body.tokenizer)?;
                if let Some(law) = &body.law {
                    self.read(&mut step, "law", law)?;
                }
                self.steps.push(step);
            }
            ResolvedJobBody::Sft(body) => {
                let mut step = self.step(job, &job.name, StepParams::Sft(body.params.clone()));
                self.read(&mut step, "model", &body.model)?;
                self.read_some(&mut step, "adapter", body.adapter.as_ref())?;
                for (index, rows) in body.data.iter().enumerate() {
                    self.read_rows(&mut step, &format!("data.{index}"), rows)?;
                }
                self.steps.push(step);
            }
            ResolvedJobBody::Rlhf(body) => self.rlhf(job, body)?,
            ResolvedJobBody::Eval(body) => {
                let mut step = self.step(job, &job.name, StepParams::Eval(body.params.clone()));
                for (name, model) in &body.models {
                    self.read(&mut step, &format!("model.{name}"), model)?;
                }
                for (index, rows) in body.suites.iter().enumerate() {
                    self.read_rows(&mut step, &format!("suite.{index}"), rows)?;
                }
                for (index, train) in body.train.iter().enumerate() {
                    self.read(&mut step, &numbered("train", index), train)?;
                }
                self.steps.push(step);
            }
        }
        Ok(())
    }

    fn scaling(&mut self, job: &ResolvedJob, body: &ScalingBody) -> Result<(), PlanError> {
        let tokens = self.all_tokens(&body.corpus, &body.other_corpora, &body.tokenizer)?;
        let mut inputs = BTreeMap::new();
        for (index, sweep) in body.sweeps.iter().enumerate() {
            let name = format!("{}/sweep[{}]", job.name, sweep.key);
            let mut step = self.step(job, &name, StepParams::Sweep(sweep.params.clone()));
            step.inputs.clone_from(&tokens);
            inputs.insert(format!("sweep.{index}"), Input::Step(name));
            self.steps.push(step);
        }
        let mut fit = self.step(job, &format!("{}/fit", job.name), StepParams::Fit(body.fit.clone()));
        fit.inputs = inputs;
        self.steps.push(fit);
        Ok(())
    }

    fn rlhf(&mut self, job: &ResolvedJob, body: &RlhfBody) -> Result<(), PlanError> {
        let given =
            |reference: &Option<ArtifactRef>| reference.as_ref().map(|r| self.input("rlhf", r)).transpose();
        let mut preferences = given(&body.given_preferences)?;
        let mut reward_model = given(&body.given_reward_model)?;
        if let Some(params) = &body.preferences {
            let name = format!("{}/preferences", job.name);
            let mut step = self.step(job, &name, StepParams::Preferences(params.clone()));
            self.read(&mut step, "policy", &body.policy)?;
            self.read_some(&mut step, "adapter", body.adapter.as_ref())?;
            if let Some(prompts) = &body.prompts {
                self.read_rows(&mut step, "prompts", prompts)?;
            }
            if let Some(model) = &reward_model {
                step.inputs.insert("reward_model".to_owned(), model.clone());
            }
            self.steps.push(step);
            preferences = Some(Input::Step(name));
        }
        if let Some(params) = &body.reward_model {
            let name = format!("{}/reward_model", job.name);
            let mut step = self.step(job, &name, StepParams::RewardModel(params.clone()));
            self.read(&mut step, "policy", &body.policy)?;
            self.read_some(&mut step, "adapter", body.adapter.as_ref())?;
            require(&mut step, "preferences", preferences.as_ref())?;
            self.steps.push(step);
            reward_model = Some(Input::Step(name));
        }
        if let Some(params) = &body.optimize {
            let mut step =
                self.step(job, &format!("{}/optimize", job.name), StepParams::Optimize(params.clone()));
            self.read(&mut step, "policy", &body.policy)?;
            self.read_some(&mut step, "adapter", body.adapter.as_ref())?;
            match params.method {
                Method::Dpo | Method::Ipo | Method::Kto | Method::Direct => {
                    require(&mut step, "preferences", preferences.as_ref())?;
                }
                Method::Ppo | Method::Grpo | Method::BestOfN => {
                    require(&mut step, "reward_model", reward_model.as_ref())?;
                    if let Some(prompts) = &body.prompts {
                        self.read_rows(&mut step, "prompts", prompts)?;
                    }
                }
            }
            self.steps.push(step);
        }
        Ok(())
    }

    /// The inputs `tokens`, `tokens.1`, … of a step that trains on a corpus and on others in some of its phases.
    fn all_tokens(
        &mut self,
        corpus: &ArtifactRef,
        others: &[ArtifactRef],
        tokenizer: &ArtifactRef,
    ) -> Result<BTreeMap<String, Input>, PlanError> {
        let mut inputs = BTreeMap::new();
        for (index, corpus) in std::iter::once(corpus).chain(others).enumerate() {
            let step = self.tokens(corpus, tokenizer)?;
            inputs.insert(numbered("tokens", index), Input::Step(step));
        }
        Ok(inputs)
    }

    /// The shared step that encodes a corpus with a tokenizer; made where it is not there yet.
    fn tokens(&mut self, corpus: &ArtifactRef, tokenizer: &ArtifactRef) -> Result<String, PlanError> {
        let name = format!("tokens[{},{}]", label(corpus), label(tokenizer));
        if self.shared.contains(&name) {
            return Ok(name);
        }
        let settings = StepSettings { cores: self.machine.cores, retries: 2, ..StepSettings::PLAIN };
        let mut step = Step {
            name: name.clone(),
            job: String::new(),
            params: StepParams::Tokens(TokensParams {}),
            inputs: BTreeMap::new(),
            sources: Vec::new(),
            after: Vec::new(),
            seed: 0,
            settings,
        };
        self.read(&mut step, "corpus", corpus)?;
        self.read(&mut step, "tokenizer", tokenizer)?;
        self.shared.insert(name.clone());
        self.steps.push(step);
        Ok(name)
    }

    fn step(&self, job: &ResolvedJob, name: &str, params: StepParams) -> Step {
        let device = match params {
            StepParams::Data(_) | StepParams::Tokenizer(_) | StepParams::Tokens(_) | StepParams::Fit(_) => {
                Device::Cpu
            }
            _ => self.machine.device(job.device),
        };
        let precision = self.machine.precision(job.precision, device);
        let parallel = if trains_by_ranks(&params) { job.parallel } else { ParallelParams::ALONE };
        let recompute = if trains(&params) { job.recompute } else { Recompute::None };
        let cores = match (&params, job.resources.cores) {
            (StepParams::Sweep(_) | StepParams::Fit(_), 0) => 1,
            (_, 0) => self.machine.cores,
            (_, cores) => cores.saturating_mul(parallel.data).min(self.machine.cores),
        };
        let devices = if device == Device::Cuda { job.resources.devices.max(parallel.data) } else { 0 };
        Step {
            name: name.to_owned(),
            job: job.name.clone(),
            params: with_precision(params, precision),
            inputs: BTreeMap::new(),
            sources: Vec::new(),
            after: Vec::new(),
            seed: job.seed,
            settings: StepSettings {
                device,
                deterministic: job.deterministic.given().unwrap_or(device != Device::Cuda),
                cores,
                devices,
                parallel,
                recompute,
                memory_bytes: job.resources.memory_bytes,
                memory_limit_bytes: job.resources.memory_bytes,
                overcommit: job.resources.overcommit,
                disk_bytes: 0,
                retries: job.retries,
                timeout_secs: job.timeout_secs,
                priority: job.priority,
            },
        }
    }

    fn input(&self, step: &str, reference: &ArtifactRef) -> Result<Input, PlanError> {
        match reference {
            ArtifactRef::Path(path) => Ok(Input::Folder(path.clone())),
            ArtifactRef::Job(reference) => {
                if !self.of_job.contains_key(reference.job.as_str()) {
                    self.looks_ahead.set(true);
                }
                result_step(self.spec, reference).map(Input::Step).ok_or_else(|| {
                    let part = reference.part.as_ref().map(|part| format!(".{part}")).unwrap_or_default();
                    PlanError::Reference {
                        step: step.to_owned(),
                        reference: format!("{}{part}", reference.job),
                    }
                })
            }
        }
    }

    fn read(&self, step: &mut Step, role: &str, reference: &ArtifactRef) -> Result<(), PlanError> {
        let input = self.input(&step.name, reference)?;
        step.inputs.insert(role.to_owned(), input);
        Ok(())
    }

    fn read_some(
        &self,
        step: &mut Step,
        role: &str,
        reference: Option<&ArtifactRef>,
    ) -> Result<(), PlanError> {
        reference.map_or(Ok(()), |reference| self.read(step, role, reference))
    }

    fn read_rows(&self, step: &mut Step, role: &str, rows: &RowsInput) -> Result<(), PlanError> {
        match rows {
            RowsInput::Artifact(reference) => self.read(step, role, reference),
            RowsInput::Files(files) => {
                step.sources.push(SourceGlob { label: role.to_owned(), patterns: files.patterns.clone() });
                Ok(())
            }
        }
    }

    /// Edges without an artifact: every step of a job waits for every step of the jobs in its `after`.
    fn add_after(&mut self) -> Result<(), PlanError> {
        for job in self.spec.jobs.iter().filter(|job| !job.after.is_empty()) {
            let own = self.of_job.get(job.name.as_str()).cloned().unwrap_or_default();
            let mut waits: Vec<String> = Vec::new();
            for other in &job.after {
                let steps = self.of_job.get(other.as_str()).cloned().unwrap_or_default();
                if steps.end > own.start {
                    self.looks_ahead.set(true);
                }
                let before = waits.len();
                waits.extend(self.steps[steps].iter().filter(|s| s.job == *other).map(|s| s.name.clone()));
                if waits.len() == before {
                    return Err(PlanError::Reference { step: job.name.clone(), reference: other.clone() });
                }
            }
            for step in self.steps[own].iter_mut().filter(|step| step.job == job.name) {
                step.after.clone_from(&waits);
            }
        }
        Ok(())
    }
}

fn require(step: &mut Step, role: &str, input: Option<&Input>) -> Result<(), PlanError> {
    let input =
        input.ok_or_else(|| PlanError::Reference { step: step.name.clone(), reference: role.to_owned() })?;
    step.inputs.insert(role.to_owned(), input.clone());
    Ok(())
}

fn label(reference: &ArtifactRef) -> String {
    match reference {
        ArtifactRef::Job(reference) => reference.job.clone(),
        ArtifactRef::Path(path) => path.display().to_string(),
    }
}

/// Whether a step may be shared between ranks: where each micro-batch's loss is a function of the weights, the seed and its place.
fn trains_by_ranks(params: &StepParams) -> bool {
    match params {
        StepParams::Pretrain(_) | StepParams::Sft(_) | StepParams::RewardModel(_) => true,
        StepParams::Optimize(params) => matches!(params.method, Method::Dpo | Method::Ipo),
        _ => false,
    }
}

/// The role of one among several inputs of a kind: the first has no number.
fn numbered(role: &str, index: usize) -> String {
    if index == 0 { role.to_owned() } else { format!("{role}.{index}") }
}

/// Whether a step trains one model.
fn trains(params: &StepParams) -> bool {
    matches!(
        params,
        StepParams::Pretrain(_) | StepParams::Sft(_) | StepParams::RewardModel(_) | StepParams::Optimize(_)
    )
}

/// Refuses ranks that this machine has no place for: two on one device would wait for each other for ever, and several on one core gain
/// nothing.
fn check_ranks(step: &Step, machine: Machine) -> Result<(), PlanError> {
    let (settings, ranks) = (&step.settings, step.settings.parallel.data);
    let (has, of) = match settings.device {
        Device::Cuda => (machine.devices, "CUDA devices"),
        Device::Auto | Device::Cpu => (machine.cores, "cores"),
    };
    if ranks == 1 || ranks <= has {
        return Ok(());
    }
    Err(PlanError::Ranks { step: step.name.clone(), ranks, has, of })
}

/// The same parameters with the number format that was resolved for the device.
fn with_precision(mut params: StepParams, precision: Precision) -> StepParams {
    match &mut params {
        StepParams::Sweep(p) => p.precision = precision,
        StepParams::Pretrain(p) => p.precision = precision,
        StepParams::Sft(p) => p.precision = precision,
        StepParams::Preferences(p) => p.precision = precision,
        StepParams::RewardModel(p) => p.precision = precision,
        StepParams::Optimize(p) => p.precision = precision,
        StepParams::Eval(p) => p.precision = precision,
        StepParams::Data(_) | StepParams::Tokenizer(_) | StepParams::Tokens(_) | StepParams::Fit(_) => {}
    }
    params
}
