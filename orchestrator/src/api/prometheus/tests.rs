use std::path::PathBuf;

use cupola_specs::contract::{ErrorClass, Failure};
use cupola_specs::job::StepKind;

use super::exposition::tests::parse;
use super::*;
use crate::schedule::ScheduleRecord;
use crate::state::{
    AttemptOutcome, CommittedArtifact, Expected, Fact, PlannedStep, Record, StateDir, StepMove,
};

fn planned(name: &str, cores: u32) -> PlannedStep {
    PlannedStep {
        name: name.into(),
        job: name.into(),
        kind: StepKind::Fit,
        fingerprint: format!("{name:0>64}"),
        code_version: 1,
        params: serde_json::Value::Null,
        inputs: BTreeMap::new(),
        needs: Vec::new(),
        sources: BTreeMap::new(),
        seed: 1,
        cores,
        cached: false,
        reason: "never ran".into(),
        training_flops: 0.0,
        trainings: serde_json::Value::Null,
        expected: Expected::default(),
    }
}

fn intended(step: &str, token: &str) -> Fact {
    let (run, step, token) = ("t-1".into(), step.into(), token.into());
    Fact::AttemptIntended { run, step, number: 1, token, dir: "runs/t-1/x".into() }
}

fn ended(step: &str, token: &str, outcome: AttemptOutcome) -> Fact {
    let (run, step, token) = ("t-1".into(), step.into(), token.into());
    Fact::AttemptEnded { run, step, token, outcome, peak_rss_bytes: 0, cpu_millis: 0 }
}

/// Two alerts, one of which was delivered.
fn alerts() -> [Fact; 3] {
    let noted = |key: &str, topic: &str, value| Fact::Noted { topic: topic.into(), key: key.into(), value };
    let told = serde_json::json!({
        "schedule": "t.nightly", "kind": "run_failed", "made_millis": 1, "body": {},
        "webhook": { "url": { "name": "HOOK" }, "signing_key": null },
    });
    let taken = serde_json::json!({
        "state": "delivered", "tries": 1, "tried_millis": 1, "wait_millis": 0, "outcome": "answered 200",
    });
    [
        noted("t.nightly@1/run_failed", "alert", told.clone()),
        noted("t.nightly@2/run_failed", "alert", told),
        noted("t.nightly@1/run_failed", "alert_delivery", taken),
    ]
}

/// A run with a step that failed once and succeeded, one that runs on three cores, and one that waits; and a schedule that fired late.
fn projection() -> Projection {
    let failure = Failure {
        class: ErrorClass::Transient,
        code: "network".into(),
        message: "m".into(),
        hint: String::new(),
    };
    let artifact = CommittedArtifact {
        run: "t-1".into(),
        step: "a".into(),
        token: "1.2".into(),
        fingerprint: format!("{:0>64}", "a"),
        kind: "law".into(),
        path: PathBuf::from("store/law/a"),
        size_bytes: 700,
        summary: serde_json::Map::new(),
    };
    let schedule = ScheduleRecord { spec: "t.yaml".into(), paused: true, since_millis: 0 };
    let firing = FiringRecord {
        schedule: "t.nightly".into(),
        slot_millis: 60_000,
        recorded_millis: 62_500,
        manual: false,
        state: FiringState::Succeeded,
        note: String::new(),
        run: None,
        exit_code: Some(0),
        run_before: None,
        is_cancelled: false,
    };
    let steps = vec![planned("a", 1), planned("b", 3), planned("c", 1)];
    let created = Fact::RunCreated {
        run: "t-1".into(),
        spec_name: "t\"1".into(),
        spec_path: "t.yaml".into(),
        plan_hash: "p".into(),
    };
    let retried = StepMove::Backoff { until_millis: 0 };
    let facts = [
        created,
        Fact::StepsPlanned { run: "t-1".into(), steps },
        intended("a", "1.1"),
        ended("a", "1.1", AttemptOutcome::Failed { failure }),
        Fact::StepMoved { run: "t-1".into(), step: "a".into(), to: retried },
        intended("a", "1.2"),
        ended("a", "1.2", AttemptOutcome::Succeeded),
        Fact::ArtifactCommitted(Box::new(artifact)),
        intended("b", "1.3"),
        schedule.fact("t.nightly").unwrap(),
        firing.fact().unwrap(),
    ];
    let mut projection = Projection::new(&StateDir::new(std::path::Path::new("/nowhere")));
    for (at, fact) in facts.into_iter().chain(alerts()).enumerate() {
        projection.apply(&Record { seq: at as u64 + 1, at_millis: at as i64 * 2_000, fact, offset: 0 });
    }
    projection
}

#[test]
fn every_family_is_well_formed_and_says_what_state_says() {
    let around = Surroundings {
        is_driven: true,
        cores: 4,
        journal_bytes: 1_234,
        snapshot_age_secs: Some(1.5),
        disk_bytes: Some((10, 20)),
    };
    let series = parse(&render(&projection(), &around, &[], 100_000));
    let expected = [
        ("cupola_runs{state=\"running\"}", 1.0),
        ("cupola_runs{state=\"failed\"}", 0.0),
        ("cupola_steps{spec=\"t\\\"1\",state=\"succeeded\"}", 1.0),
        ("cupola_steps{spec=\"t\\\"1\",state=\"submitted\"}", 1.0),
        ("cupola_steps{spec=\"t\\\"1\",state=\"waiting\"}", 1.0),
        ("cupola_queued_steps", 1.0),
        ("cupola_alerts{state=\"pending\"}", 1.0),
        ("cupola_alerts{state=\"delivered\"}", 1.0),
        ("cupola_alerts{state=\"failed\"}", 0.0),
        ("cupola_slots_used_cores", 3.0),
        ("cupola_slots_cores", 4.0),
        ("cupola_attempts_total{kind=\"fit\",outcome=\"failed\",code=\"network\"}", 1.0),
        ("cupola_attempts_total{kind=\"fit\",outcome=\"succeeded\",code=\"\"}", 1.0),
        ("cupola_attempt_duration_seconds_bucket{kind=\"fit\",le=\"1\"}", 0.0),
        ("cupola_attempt_duration_seconds_bucket{kind=\"fit\",le=\"5\"}", 2.0),
        ("cupola_attempt_duration_seconds_sum{kind=\"fit\"}", 4.0),
        ("cupola_store_bytes{kind=\"law\"}", 700.0),
        ("cupola_journal_records_total", 14.0),
        ("cupola_journal_bytes", 1_234.0),
        ("cupola_snapshot_age_seconds", 1.5),
        ("cupola_disk_free_bytes", 10.0),
        ("cupola_schedule_paused{schedule=\"t.nightly\"}", 1.0),
        ("cupola_schedule_last_timestamp_seconds{schedule=\"t.nightly\"}", 60.0),
        ("cupola_schedule_lag_seconds{schedule=\"t.nightly\"}", 2.5),
        ("cupola_schedule_firings{schedule=\"t.nightly\",state=\"succeeded\"}", 1.0),
    ];
    for (name, value) in expected {
        assert_eq!(series.get(name), Some(&value), "{name} in {series:#?}");
    }
}

#[test]
fn an_empty_state_has_a_whole_page_too() {
    let empty = Projection::new(&StateDir::new(std::path::Path::new("/nowhere")));
    let series = parse(&render(&empty, &Surroundings::default(), &[], 0));
    assert_eq!(series.get("cupola_journal_records_total"), Some(&0.0));
    assert!(!series.contains_key("cupola_snapshot_age_seconds"), "what is not known is left out");
}
