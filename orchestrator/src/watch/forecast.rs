//! How long a run still needs: the longest path over what each step is expected to take, and never less than the work divided by the
//! cores.

use std::collections::BTreeMap;

use cupola_specs::job::StepKind;

use super::eta_secs;
use crate::state::{ProgressView, Projection, RunRow, StepRow, StepState};

/// Earlier runs that are looked into.
const MAX_RUNS: usize = 8;

/// How long steps took before.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Past {
    run: String,
    /// By position in the run: the same step in an earlier run of the same spec.
    by_step: BTreeMap<usize, f64>,
    /// The mean of the run's own steps of a kind.
    by_kind: BTreeMap<&'static str, f64>,
}

/// When a run is expected to end.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
pub struct Forecast {
    /// Seconds; none where nothing is known of any step that is left.
    pub secs: Option<f64>,
    /// Whether some step that is left is of unknown length, so that it takes longer than this.
    pub is_lower_bound: bool,
}

impl Past {
    /// Takes in what the journal knows of the steps of a run: earlier runs once, its own steps each time.
    pub fn learn(&mut self, projection: &Projection, run: &RunRow) {
        if self.run != run.id {
            *self = Self { run: run.id.clone(), by_step: earlier(projection, run), by_kind: BTreeMap::new() };
        }
        let mut sums: BTreeMap<&str, (f64, u32)> = BTreeMap::new();
        for step in run.steps.iter().filter(|step| step.state == StepState::Succeeded) {
            let (sum, count) = sums.entry(step.kind.as_str()).or_default();
            *sum += secs_of(step).unwrap_or(0.0);
            *count += 1;
        }
        self.by_kind = sums.into_iter().map(|(kind, (sum, count))| (kind, sum / f64::from(count))).collect();
    }

    fn expected(&self, at: usize, kind: StepKind) -> Option<f64> {
        self.by_step.get(&at).or_else(|| self.by_kind.get(kind.as_str())).copied()
    }
}

impl Forecast {
    /// The forecast of a run: `needs` are positions of earlier steps, `progress` what running ones say.
    pub fn of<'a>(
        run: &RunRow,
        needs: &[Vec<u32>],
        past: &Past,
        progress: &dyn Fn(usize) -> Option<&'a ProgressView>,
        (cores, now_millis): (u32, i64),
    ) -> Self {
        let mut ends = vec![0.0f64; run.steps.len()];
        let (mut work, mut is_known, mut is_lower_bound) = (0.0, false, false);
        for (at, step) in run.steps.iter().enumerate() {
            let left = if step.state.is_final() {
                0.0
            } else {
                let left = remaining(step, past.expected(at, step.kind), progress(at), now_millis);
                is_known |= left.is_some();
                is_lower_bound |= left.is_none();
                left.unwrap_or(0.0)
            };
            let start = needs.get(at).into_iter().flatten().filter_map(|need| ends.get(*need as usize));
            ends[at] = start.copied().fold(0.0, f64::max) + left;
            work += left * f64::from(step.cores.max(1));
        }
        let longest = ends.iter().copied().fold(0.0, f64::max);
        let secs = is_known.then(|| longest.max(work / f64::from(cores.max(1))));
        Self { secs, is_lower_bound }
    }
}

/// Seconds that a step still needs: by its own rate, else by how long it took before.
fn remaining(
    step: &StepRow,
    expected: Option<f64>,
    progress: Option<&ProgressView>,
    now_millis: i64,
) -> Option<f64> {
    if !step.state.is_live() {
        return expected;
    }
    let by_rate = progress.and_then(|progress| eta_secs(progress, now_millis));
    let elapsed = step.wall_millis(now_millis).unwrap_or(0) as f64 / 1000.0;
    by_rate.or_else(|| expected.map(|secs| (secs - elapsed).max(0.0)))
}

/// What the steps of a run took in the newest earlier run of its spec in which they ran.
fn earlier(projection: &Projection, run: &RunRow) -> BTreeMap<usize, f64> {
    let is_earlier = |other: &&RunRow| other.spec_name == run.spec_name && other.id != run.id;
    let runs: Vec<&RunRow> = projection.runs().iter().rev().filter(is_earlier).take(MAX_RUNS).collect();
    let took = |step: &StepRow| {
        let then = |other: &&RunRow| {
            other.step(&step.name).filter(|then| then.state == StepState::Succeeded).and_then(secs_of)
        };
        runs.iter().find_map(then)
    };
    run.steps.iter().enumerate().filter_map(|(at, step)| Some((at, took(step)?))).collect()
}

fn secs_of(step: &StepRow) -> Option<f64> {
    let (start, end) = (step.started_millis?, step.finished_millis?);
    Some((end - start).max(0) as f64 / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Expected, Fact, PlannedStep, Record, StateDir};

    fn planned(name: &str, cores: u32) -> PlannedStep {
        PlannedStep {
            name: name.into(),
            job: name.into(),
            kind: if name.starts_with("fit") { StepKind::Fit } else { StepKind::Data },
            fingerprint: name.into(),
            code_version: 1,
            params: serde_json::Value::Null,
            inputs: BTreeMap::new(),
            needs: Vec::new(),
            sources: BTreeMap::new(),
            seed: 1,
            cores,
            cached: false,
            reason: String::new(),
            training_flops: 0.0,
            trainings: serde_json::Value::Null,
            expected: Expected::default(),
        }
    }

    fn run_of(projection: &mut Projection, run: &str, steps: &[(&str, u32)]) {
        let (run, planned) =
            (run.to_owned(), steps.iter().map(|(name, cores)| planned(name, *cores)).collect());
        let created = Fact::RunCreated {
            run: run.clone(),
            spec_name: "t".into(),
            spec_path: "t.yaml".into(),
            plan_hash: String::new(),
        };
        for fact in [created, Fact::StepsPlanned { run, steps: planned }] {
            projection.apply(&Record { seq: 1, at_millis: 0, fact, offset: 0 });
        }
    }

    /// A projection with an earlier run in which `a` took 10 s, and one that begins.
    fn house(steps: &[(&str, u32)]) -> Projection {
        let mut projection = Projection::new(&StateDir::new(std::path::Path::new("/nowhere")));
        run_of(&mut projection, "t-1", &[("a", 1)]);
        let intended = Fact::AttemptIntended {
            run: "t-1".into(),
            step: "a".into(),
            number: 1,
            token: "1.1".into(),
            dir: "x".into(),
        };
        let committed = crate::state::CommittedArtifact {
            run: "t-1".into(),
            step: "a".into(),
            token: "1.1".into(),
            fingerprint: "a".into(),
            kind: "corpus".into(),
            path: "x".into(),
            size_bytes: 0,
            summary: serde_json::Map::new(),
        };
        projection.apply(&Record { seq: 2, at_millis: 1_000, fact: intended, offset: 0 });
        let committed = Fact::ArtifactCommitted(Box::new(committed));
        projection.apply(&Record { seq: 3, at_millis: 11_000, fact: committed, offset: 0 });
        run_of(&mut projection, "t-2", steps);
        projection
    }

    fn forecast(projection: &Projection, needs: &[Vec<u32>], cores: u32) -> Forecast {
        let run = projection.run("t-2").unwrap();
        let mut past = Past::default();
        past.learn(projection, run);
        Forecast::of(run, needs, &past, &|_| None, (cores, 20_000))
    }

    #[test]
    fn the_longest_path_counts_and_an_unknown_step_makes_it_a_lower_bound() {
        let projection = house(&[("a", 1), ("fit", 1)]);
        let found = forecast(&projection, &[vec![], vec![0]], 4);
        assert_eq!(found, Forecast { secs: Some(10.0), is_lower_bound: true });
    }

    #[test]
    fn a_run_takes_no_less_than_its_work_over_the_cores() {
        let projection = house(&[("a", 4)]);
        assert_eq!(forecast(&projection, &[vec![]], 2).secs, Some(20.0));
        assert_eq!(forecast(&projection, &[vec![]], 8).secs, Some(10.0));
    }

    #[test]
    fn nothing_known_is_nothing_said() {
        let projection = house(&[("fit", 1)]);
        assert_eq!(forecast(&projection, &[vec![]], 2), Forecast { secs: None, is_lower_bound: true });
    }
}
