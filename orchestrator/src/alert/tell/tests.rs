use cupola_specs::artifact::{EvalReport, MANIFEST_FILE, ReportRow};
use serde_json::{Value, json};

use super::super::lineage::tests::planned;
use super::super::secret::tests::webhook;
use super::super::{AlertState, DeliveryRecord};
use super::*;
use crate::schedule::tests::schedule;
use crate::state::{PlannedStep, State, StateDir, StepMove};

const SLOT: i64 = 1_800_000_000_000;

/// A state folder with runs of the spec `t`.
struct House {
    folder: tempfile::TempDir,
    state: State,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&StateDir::new(folder.path()), "test").unwrap();
        Self { folder, state }
    }

    /// A run of corpus → base → report; each artifact is named after its version.
    fn run(&mut self, [corpus, base, report]: [u32; 3], state: &StepMove) {
        let run = format!("t-{}", self.state.projection().runs().len() + 1);
        let [corpus, base, report] =
            [format!("corpus-{corpus}"), format!("base-{base}"), format!("report-{report}")];
        let mut last = planned(
            "report",
            StepKind::Eval,
            &report,
            &[("model.base", &base, "base"), ("suite.0", &corpus, "corpus")],
        );
        last.params = json!({ "step": "eval", "suites": [{ "suite": "perplexity", "part": "validation", "max_bytes": 0 }] });
        let steps: Vec<PlannedStep> = vec![
            planned("corpus", StepKind::Data, &corpus, &[]),
            planned("base", StepKind::Pretrain, &base, &[("tokens", &corpus, "corpus")]),
            last,
        ];
        let created = Fact::RunCreated {
            run: run.clone(),
            spec_name: "t".into(),
            spec_path: "t.yaml".into(),
            plan_hash: String::new(),
        };
        let mut facts = vec![created, Fact::StepsPlanned { run: run.clone(), steps }];
        for step in ["corpus", "base", "report"] {
            facts.push(Fact::StepMoved { run: run.clone(), step: step.into(), to: state.clone() });
        }
        self.state.record(facts).unwrap();
    }

    /// Puts a report with this value, plus and minus 0.04, into the store.
    fn report(&self, version: u32, model: &str, value: f64) {
        let row = ReportRow {
            suite: "perplexity".into(),
            model: model.into(),
            metric: "bpb".into(),
            value,
            stderr: 0.02,
            low: value - 0.04,
            high: value + 0.04,
            n: 100,
            method: String::new(),
            chance: None,
            higher_is_better: false,
        };
        let report = EvalReport { models: vec![], rows: vec![row], samples: vec![] };
        self.write(&format!("report/report-{version}/report.json"), &json!(report));
    }

    /// Puts a corpus into the store whose validation part has this hash.
    fn corpus(&self, version: u32, validation: &str) {
        let file = |hash: &str| json!({ "size_bytes": 1, "blake3": hash });
        let manifest = json!({
            "version": 1, "kind": "corpus", "fingerprint": format!("corpus-{version}"), "step": "corpus", "run": "t-1", "code_version": 1,
            "cupola_version": "0", "params": { "step": "tokens" }, "seed": 1, "inputs": {}, "sources_hash": "", "summary": {},
            "files": { "train/0": file(&version.to_string()), "validation/0": file(validation) }, "created_millis": 0,
        });
        self.write(&format!("corpus/corpus-{version}/{MANIFEST_FILE}"), &manifest);
    }

    fn write(&self, path: &str, value: &Value) {
        let path = self.folder.path().join("store").join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, value.to_string()).unwrap();
    }

    fn tell(&self, firing: &FiringRecord, schedule: &Schedule) -> Vec<Fact> {
        let projection = self.state.projection();
        let store = Store::new(projection.dir());
        let redact = |text: &str| text.replace("s3cr3t", "[secret]");
        let told = Told {
            projection,
            store: &store,
            spec: Path::new("no such spec"),
            redact: &redact,
            now_millis: SLOT,
        };
        tell(firing, schedule, &told).unwrap()
    }

    /// Records what is told, as the daemon does; gives the alert among it.
    fn told(&mut self, firing: &FiringRecord, schedule: &Schedule) -> Option<Alert> {
        let facts = self.tell(firing, schedule);
        self.state.record(facts).unwrap();
        let kind =
            if firing.state == FiringState::Failed { AlertKind::RunFailed } else { AlertKind::Regression };
        let book = AlertBook::of(self.state.projection());
        let record = book.alerts.get(&alert_key(&firing.key(), kind))?;
        Some(serde_json::from_value(record.body.clone()).unwrap())
    }

    fn comparison(&self, firing: &FiringRecord) -> Option<ComparedReport> {
        AlertBook::of(self.state.projection())
            .comparisons
            .get(&firing.key())
            .map(|all| all.reports[0].clone())
    }
}

fn watched() -> Schedule {
    let mut schedule = schedule("0 2 * * *", "UTC");
    schedule.on_failure = Some(webhook("HOOK", None));
    schedule.on_regression = Some(webhook("HOOK", None));
    schedule
}

fn firing(night: i64, run: Option<&str>, state: FiringState) -> FiringRecord {
    FiringRecord {
        schedule: "t.nightly".into(),
        slot_millis: SLOT + night * 86_400_000,
        recorded_millis: SLOT,
        manual: false,
        state,
        note: String::new(),
        run: run.map(str::to_owned),
        exit_code: Some(i32::from(state != FiringState::Succeeded)),
        run_before: None,
        is_cancelled: false,
    }
}

fn failure(message: &str) -> StepMove {
    let failure = cupola_specs::contract::Failure {
        class: ErrorClass::User,
        code: "bad_input".into(),
        message: message.into(),
        hint: "mend it".into(),
    };
    StepMove::Failed { failure }
}

#[test]
fn a_worse_report_is_told_with_the_first_changed_step_and_once() {
    let mut house = House::new();
    house.report(1, "base", 1.80);
    house.report(2, "base", 1.95);
    house.run([1, 1, 1], &StepMove::Cached);
    let first = firing(0, Some("t-1"), FiringState::Succeeded);
    assert_eq!(house.told(&first, &watched()), None, "the first report has none before it");
    house.run([1, 2, 2], &StepMove::Cached);
    let second = firing(1, Some("t-2"), FiringState::Succeeded);
    let alert = house.told(&second, &watched()).unwrap();
    let report = &alert.reports[0];
    assert_eq!((report.older.run.as_str(), report.newer.run.as_str()), ("t-1", "t-2"));
    assert_eq!(
        report.worse[0].line(),
        "perplexity base bpb: 1.8000 [1.7600, 1.8400] → 1.9500 [1.9100, 1.9900], p < 0.0001"
    );
    assert_eq!(report.first_changed.as_ref().unwrap().step, "base");
    assert!(
        alert.text.starts_with("t.nightly: report of run t-2 is worse than of run t-1\n"),
        "{}",
        alert.text
    );
    // The same report again, found in the store: nothing new, whatever run it is in.
    house.run([1, 2, 2], &StepMove::Cached);
    for (night, run) in [(2, Some("t-3")), (3, None)] {
        let again = firing(night, run, FiringState::Succeeded);
        assert!(house.tell(&again, &watched()).is_empty(), "{night}");
    }
}

#[test]
fn a_report_within_chance_or_better_is_recorded_and_nobody_is_told() {
    let mut house = House::new();
    for (version, value) in [(1, 1.80), (2, 1.83), (3, 1.60)] {
        house.report(version, "base", value);
        house.run([1, version, version], &StepMove::Cached);
        let firing = firing(i64::from(version), Some(&format!("t-{version}")), FiringState::Succeeded);
        assert_eq!(house.told(&firing, &watched()), None);
        let verdict = house.comparison(&firing).map(|compared| compared.verdict());
        assert_eq!(verdict, (version > 1).then_some("no regression"));
    }
}

#[test]
fn other_questions_are_not_compared_and_that_is_recorded() {
    let mut house = House::new();
    house.report(1, "base", 1.80);
    house.report(2, "base", 1.95);
    house.report(3, "base", 2.50);
    for (version, validation) in [(1, "a"), (2, "b"), (3, "b")] {
        house.corpus(version, validation);
    }
    house.run([1, 1, 1], &StepMove::Cached);
    house.run([2, 2, 2], &StepMove::Cached);
    let second = firing(1, Some("t-2"), FiringState::Succeeded);
    assert_eq!(house.told(&second, &watched()), None);
    let compared = house.comparison(&second).unwrap();
    assert_eq!(compared.verdict(), "not compared");
    assert_eq!(compared.notes, ["perplexity: not compared, the questions changed: its input is another one"]);
    // A corpus that changed on its training side alone asks the same.
    house.run([3, 3, 3], &StepMove::Cached);
    let alert = house.told(&firing(2, Some("t-3"), FiringState::Succeeded), &watched()).unwrap();
    assert_eq!(alert.reports[0].first_changed.as_ref().unwrap().step, "corpus");
}

#[test]
fn a_report_that_is_gone_or_broken_is_recorded_and_nobody_is_told() {
    let mut house = House::new();
    house.report(2, "base", 1.95);
    house.run([1, 1, 1], &StepMove::Cached);
    house.run([1, 2, 2], &StepMove::Cached);
    let second = firing(1, Some("t-2"), FiringState::Succeeded);
    assert_eq!(house.told(&second, &watched()), None);
    assert_eq!(
        house.comparison(&second).unwrap().notes,
        ["the report of run t-1 is not in the store any more"]
    );
    house.write("report/report-3/report.json", &json!({ "rows": 3 }));
    house.run([1, 3, 3], &StepMove::Cached);
    let third = firing(2, Some("t-3"), FiringState::Succeeded);
    assert_eq!(house.told(&third, &watched()), None);
    assert!(house.comparison(&third).unwrap().notes[0].starts_with("report.json of run t-3 can't be read"));
}

#[test]
fn a_failure_is_told_with_its_steps_and_without_secrets() {
    let mut house = House::new();
    house.run([1, 1, 1], &failure("no file at https://x/s3cr3t"));
    let failed = firing(0, Some("t-1"), FiringState::Failed);
    let alert = house.told(&failed, &watched()).unwrap();
    let steps: Vec<&str> = alert.failed_steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps, ["corpus", "base", "report"]);
    assert_eq!(alert.failed_steps[0].message, "no file at https://x/[secret]");
    assert_eq!(alert.look[0], "cupola why corpus --run t-1");
    assert!(!alert.text.contains("s3cr3t") && alert.text.contains("mend it"), "{}", alert.text);
    assert_eq!(
        (alert.at.as_str(), alert.firing.as_deref()),
        ("2027-01-15T08:00:00Z", Some(failed.key().as_str()))
    );
}

#[test]
fn a_firing_without_a_run_says_where_to_look_and_what_nobody_waits_for_is_not_told() {
    let mut house = House::new();
    let failed =
        FiringRecord { note: "could not be started: x".into(), ..firing(0, None, FiringState::Failed) };
    let alert = house.told(&failed, &watched()).unwrap();
    assert_eq!(
        alert.note,
        "could not be started: x; it led to no run; daemon.log in the state folder says why"
    );
    let silent = schedule("0 2 * * *", "UTC");
    assert!(house.tell(&failed, &silent).is_empty());
    for state in [FiringState::Cancelled, FiringState::Skipped, FiringState::Succeeded] {
        assert!(house.tell(&firing(0, None, state), &watched()).is_empty(), "{state:?}");
    }
}

#[test]
fn what_was_delivered_stays_so_when_its_alert_is_made_again() {
    let mut house = House::new();
    let failed = firing(0, None, FiringState::Failed);
    house.told(&failed, &watched()).unwrap();
    let key = alert_key(&failed.key(), AlertKind::RunFailed);
    let delivered = DeliveryRecord {
        state: AlertState::Delivered,
        tries: 1,
        tried_millis: SLOT,
        wait_millis: 0,
        outcome: "answered 200".into(),
    };
    house.state.record(vec![delivered.fact(&key).unwrap()]).unwrap();
    house.told(&failed, &watched()).unwrap();
    let book = AlertBook::of(house.state.projection());
    assert_eq!((book.alerts.len(), book.state(&key)), (1, AlertState::Delivered));
    assert!(AlertBook::pending(house.state.projection()).is_empty());
}

#[test]
fn words_of_commands_are_quoted_as_a_shell_wants_it() {
    assert_eq!(quoted("law/fit"), "law/fit");
    assert_eq!(quoted("law/sweep[transformer,2]"), "'law/sweep[transformer,2]'");
    assert_eq!(quoted("it's"), r"'it'\''s'");
}
