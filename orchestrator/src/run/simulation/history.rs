//! One history: orchestrators that drive a random plan through a random world until its run has ended.

use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

use rand::Rng;

use super::world::{Known, Shown, Truth};
use crate::chaos::random_plan;
use crate::plan::{Action, Decision, Input, Plan, PlanError, Reason};
use crate::run::apply::begin;
use crate::run::{
    Console, ControlRequest, ControlVerb, DriveEnd, Driver, End, Happening, RunError, Signals, Slots, World,
};
use crate::state::{Act, MemoryFile, Projection, RunState, State, StateDir, read_memory_at};

/// Turns until the world becomes kind, so that the run can come to an end.
const WILD_TURNS: u32 = 250;
/// Turns that a kind world may take.
const KIND_TURNS: u32 = 4_000;
/// Orchestrators that may die in one history.
const MOST_CRASHES: u64 = 6;

/// How a history went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// How its run ended.
    pub end: RunState,
    /// Orchestrators that died.
    pub crashes: u64,
    /// Attempts that were started.
    pub attempts: u64,
}

/// Lives through the history of a seed; the error is the invariant that was broken.
pub fn simulate(seed: u64) -> Result<History, String> {
    let mut history = Past::new(seed).map_err(|error| error.to_string())?;
    let end = history.live()?;
    let attempts = history.truth.borrow().num_attempts;
    Ok(History { end, crashes: history.crashes, attempts })
}

/// What outlives an orchestrator.
struct Past {
    dir: StateDir,
    file: MemoryFile,
    plan: Plan,
    truth: Rc<RefCell<Truth>>,
    crashes: u64,
    turns: u32,
}

impl Past {
    /// A random plan, in a world that knows its steps.
    fn new(seed: u64) -> Result<Self, PlanError> {
        let slots = Slots { cores: 2, devices: 1, memory_bytes: 8 };
        let mut truth = Truth::new(seed, slots);
        let plan = random_plan(&mut truth.rng, seed)?;
        for planned in &plan.steps {
            let settings = planned.step.settings;
            let wanted = Slots {
                cores: settings.cores,
                devices: settings.devices,
                memory_bytes: settings.memory_bytes,
            };
            let inputs = planned.inputs.values().cloned().collect();
            let known = Known { inputs, slots: slots.cut(wanted) };
            // Of steps with one identity the first one works.
            truth.steps.entry(planned.fingerprint.clone()).or_insert(known);
        }
        Ok(Self {
            dir: StateDir::new(Path::new("/simulation")),
            file: MemoryFile::default(),
            plan,
            truth: Rc::new(RefCell::new(truth)),
            crashes: 0,
            turns: 0,
        })
    }

    fn live(&mut self) -> Result<RunState, String> {
        loop {
            self.truth.borrow_mut().restart();
            if self.crashes < MOST_CRASHES && self.turns < WILD_TURNS {
                self.plan_a_crash();
            }
            let mut acknowledged = None;
            match self.orchestrate(&mut acknowledged) {
                Ok(RunState::Interrupted) if self.truth.borrow_mut().rng.random_bool(0.8) => {
                    self.check_replay(acknowledged.as_ref())?;
                }
                Ok(end) => {
                    self.check_replay(acknowledged.as_ref())?;
                    self.check_end(end)?;
                    return Ok(end);
                }
                Err(Stop::Broken(invariant)) => return Err(invariant),
                Err(Stop::PowerFailed) => {
                    self.crashes += 1;
                    let share = self.truth.borrow_mut().rng.random_range(0.0..1.0);
                    self.file.restart(share);
                    self.check_replay(acknowledged.as_ref())?;
                }
            }
        }
    }

    /// The power fails at some flush, or around some effect.
    fn plan_a_crash(&self) {
        let mut truth = self.truth.borrow_mut();
        let after = truth.rng.random_range(0..30);
        if truth.rng.random_bool(0.5) {
            self.file.fail_after(after);
        } else {
            truth.effects_left = Some(after / 2);
        }
    }

    /// One orchestrator, from its start to its end.
    fn orchestrate(&mut self, acknowledged: &mut Option<Projection>) -> Result<RunState, Stop> {
        let mut state = State::open_memory(&self.dir, self.file.clone()).map_err(|_| Stop::PowerFailed)?;
        let result = self.drive(&mut state);
        *acknowledged = Some(state.projection().clone());
        if let Some(broken) = self.truth.borrow().broken.clone() {
            return Err(Stop::Broken(broken));
        }
        result
    }

    fn drive(&mut self, state: &mut State) -> Result<RunState, Stop> {
        let shown = Shown(Rc::clone(&self.truth));
        let mut world = World { executor: shown.clone(), clock: shown.clone(), artifacts: shown };
        let decisions = self.decisions();
        let run = begin(state, &self.plan, &decisions, &mut world)?;
        let slots = self.truth.borrow().slots;
        let signals = Signals::default();
        let mut driver = Driver::new(state, &self.plan, &run, slots, world)?;
        let mut stale: Vec<Happening> = Vec::new();
        loop {
            self.turns += 1;
            if self.turns > WILD_TURNS + KIND_TURNS {
                return Err(Stop::Broken("the run does not come to an end".to_owned()));
            }
            let asked = self.live_on(&mut driver, &mut stale, &signals);
            let mut asked = asked.into_iter().collect::<Vec<_>>();
            let mut console = Console {
                signals: &signals,
                requests: &mut || std::mem::take(&mut asked),
                show: &mut |_, _| {},
            };
            if driver.turn(&[], &mut console)? {
                return Ok(RunState::Interrupted);
            }
            if let Some(DriveEnd::Ended(end)) = driver.end() {
                return Ok(end);
            }
            if let Some(broken) = self.truth.borrow().broken.clone() {
                return Err(Stop::Broken(broken));
            }
        }
    }

    /// What goes on between two turns: time, people, and words that come late or twice.
    fn live_on(
        &self,
        driver: &mut Driver<'_, Shown, Shown, Shown>,
        stale: &mut Vec<Happening>,
        signals: &Signals,
    ) -> Option<ControlRequest> {
        let mut truth = self.truth.borrow_mut();
        truth.is_kind = self.turns > WILD_TURNS;
        let longest = if truth.is_kind { 20_000 } else { 3_000 };
        let millis = truth.rng.random_range(0..longest);
        truth.pass(millis);
        for (step, token) in driver.live_tokens() {
            if truth.rng.random_bool(0.1) {
                stale.push(Happening::Ended { step, token, end: End::Finished });
            }
        }
        if truth.is_kind {
            let resume = ControlRequest::new(ControlVerb::Resume, None, None, Act::default());
            return Some(resume);
        }
        // Heard before anything else: from here on nothing starts that does not fit.
        if truth.rng.random_bool(0.01) {
            let slots = Slots {
                cores: truth.rng.random_range(2..5),
                devices: truth.rng.random_range(1..3),
                memory_bytes: truth.rng.random_range(8..13),
            };
            truth.slots = slots;
            driver.hear(Happening::SlotsChanged(slots));
        }
        if !stale.is_empty() && truth.rng.random_bool(0.3) {
            let pick = truth.rng.random_range(0..stale.len());
            // Of an attempt that still lives it would not be stale.
            if let Happening::Ended { step, token, .. } = &stale[pick]
                && !driver.live_tokens().contains(&(*step, token.clone()))
            {
                driver.hear(stale[pick].clone());
            }
        }
        if truth.rng.random_bool(0.003) {
            signals.raise();
        }
        let step = truth.rng.random_range(0..self.plan.steps.len());
        let step = Some(self.plan.steps[step].step.name.clone());
        let (verb, step) = match truth.rng.random_range(0..1_000) {
            0..10 => (ControlVerb::Pause, None),
            10..40 => (ControlVerb::Resume, None),
            40..50 => (ControlVerb::Cancel, step),
            50..60 => (ControlVerb::Retry, step),
            60 => (ControlVerb::Cancel, None),
            61..64 => (ControlVerb::Retry, None),
            _ => return None,
        };
        Some(ControlRequest::new(verb, None, step, Act::default()))
    }

    fn decisions(&self) -> Vec<Decision> {
        let truth = self.truth.borrow();
        let decide = |planned: &crate::plan::PlannedStep| Decision {
            step: planned.step.name.clone(),
            job: planned.step.job.clone(),
            kind: planned.step.kind().as_str(),
            fingerprint: planned.fingerprint.clone(),
            action: if truth.has(&planned.fingerprint) { Action::Cached } else { Action::Run },
            reasons: vec![Reason::NeverRan],
        };
        self.plan.steps.iter().map(decide).collect()
    }

    /// The journal replayed up to what was acknowledged gives what was acknowledged.
    fn check_replay(&self, acknowledged: Option<&Projection>) -> Result<(), String> {
        let Some(acknowledged) = acknowledged else { return Ok(()) };
        let replayed =
            read_memory_at(&self.dir, &self.file, acknowledged.seq()).map_err(|error| error.to_string())?;
        if replayed.seq() < acknowledged.seq() {
            return Err(format!("record {} was acknowledged and is lost", acknowledged.seq()));
        }
        if replayed != *acknowledged {
            return Err(format!(
                "the journal replayed to record {} differs from the projection",
                replayed.seq()
            ));
        }
        Ok(())
    }

    /// Success is what the store says too, and what is left undone stands behind something that failed or was cancelled.
    fn check_end(&self, end: RunState) -> Result<(), String> {
        let truth = self.truth.borrow();
        for planned in &self.plan.steps {
            let done = truth.has(&planned.fingerprint);
            if end == RunState::Succeeded && !done {
                return Err(format!("the run succeeded without {}", planned.step.name));
            }
            for input in planned.step.inputs.values() {
                let Input::Step(name) = input else { continue };
                let made = self.plan.step(name).is_some_and(|step| truth.has(&step.fingerprint));
                if done && !made {
                    return Err(format!("{} is done and its input {name} is not", planned.step.name));
                }
            }
        }
        Ok(())
    }
}

/// Why an orchestrator stopped before its run ended.
enum Stop {
    PowerFailed,
    Broken(String),
}

impl From<RunError> for Stop {
    fn from(_: RunError) -> Self {
        Self::PowerFailed
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Fact;

    #[test]
    fn a_run_whose_plan_was_torn_off_gets_it_whole() {
        let mut past = Past::new(1).unwrap();
        let mut state = State::open_memory(&past.dir, past.file.clone()).unwrap();
        let (spec_name, plan_hash) = (past.plan.spec_name.clone(), past.plan.hash());
        let created =
            Fact::RunCreated { run: "torn-1".into(), spec_name, spec_path: "torn.yaml".into(), plan_hash };
        state.record(vec![created]).unwrap();
        past.turns = WILD_TURNS;
        past.truth.borrow_mut().is_kind = true;
        assert!(matches!(past.drive(&mut state), Ok(RunState::Succeeded)));
        let run = state.projection().run("torn-1").unwrap();
        assert_eq!(run.steps.len(), past.plan.steps.len());
    }
}
