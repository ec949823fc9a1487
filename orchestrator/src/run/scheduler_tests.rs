use super::*;
use crate::run::Node;

const SLOTS: Slots = Slots { cores: 2, devices: 1 };

fn chain(retries: u32) -> Scheduler {
    let node = |name: &str, needs: Vec<usize>| Node {
        name: name.into(),
        fingerprint: name.into(),
        needs,
        cores: 1,
        devices: 0,
        retries,
        timeout_millis: 10_000,
        priority: 0,
        work: 0,
        done: false,
    };
    Scheduler::new(vec![node("a", vec![]), node("b", vec![0]), node("c", vec![])], SLOTS)
}

fn transient() -> End {
    let failure = Failure {
        class: ErrorClass::Transient,
        code: "x".into(),
        message: String::new(),
        hint: String::new(),
    };
    End::Failed { failure, advanced: false }
}

#[test]
fn independent_steps_run_side_by_side_and_a_stale_end_changes_nothing() {
    let mut scheduler = chain(1);
    assert_eq!(scheduler.handle(0, Happening::Tick), [Command::Start(0), Command::Start(2)]);
    scheduler.handle(0, Happening::Submitted { step: 0, token: "1.1".into() });
    assert_eq!(
        scheduler.handle(1, Happening::Ended { step: 0, token: "0.9".into(), end: End::Finished }),
        []
    );
    let commit = scheduler.handle(1, Happening::Ended { step: 0, token: "1.1".into(), end: End::Finished });
    assert_eq!(commit, [Command::Commit(0)]);
    assert_eq!(
        scheduler.handle(2, Happening::Ended { step: 0, token: "1.1".into(), end: End::Finished }),
        []
    );
    assert_eq!(scheduler.handle(2, Happening::Committed { step: 0 }), [Command::Start(1)]);
}

#[test]
fn priority_decides_who_starts_first_and_then_the_longer_work() {
    let node = |name: &str, priority: i64, work: u64| Node {
        name: name.into(),
        fingerprint: name.into(),
        needs: vec![],
        cores: SLOTS.cores,
        devices: 0,
        retries: 0,
        timeout_millis: 0,
        priority,
        work,
        done: false,
    };
    let nodes = vec![node("short", 0, 1), node("long", 0, 9), node("urgent", 1, 0), node("unknown", 0, 0)];
    let mut scheduler = Scheduler::new(nodes, SLOTS);
    let mut started = Vec::new();
    let mut commands = scheduler.handle(0, Happening::Tick);
    while let [Command::Start(step)] = commands[..] {
        started.push(step);
        let token = format!("{step}.1");
        scheduler.handle(1, Happening::Submitted { step, token: token.clone() });
        let mut after = scheduler.handle(2, Happening::Ended { step, token, end: End::Finished });
        assert_eq!(after.remove(0), Command::Commit(step));
        // A commit holds no slots: the next step starts beside it.
        commands = after;
        scheduler.handle(3, Happening::Committed { step });
    }
    assert_eq!(started, [2, 1, 0, 3]);
}

#[test]
fn a_transient_failure_waits_and_retries_until_they_are_used_up_and_blocks_what_needs_it() {
    let mut scheduler = chain(1);
    scheduler.handle(0, Happening::Tick);
    scheduler.handle(0, Happening::Submitted { step: 0, token: "1.1".into() });
    let after = scheduler.handle(1, Happening::Ended { step: 0, token: "1.1".into(), end: transient() });
    assert!(matches!(&after[..], [Command::Move { step: 0, to: crate::state::StepMove::Backoff { .. } }]));
    assert_eq!(scheduler.handle(2, Happening::Tick), []);
    assert_eq!(scheduler.handle(5_000, Happening::Tick), [Command::Start(0)]);
    scheduler.handle(5_000, Happening::Submitted { step: 0, token: "1.2".into() });
    let after = scheduler.handle(5_001, Happening::Ended { step: 0, token: "1.2".into(), end: transient() });
    assert!(matches!(
        &after[..],
        [
            Command::Move { step: 0, to: crate::state::StepMove::Failed { .. } },
            Command::Move { step: 1, to: crate::state::StepMove::Blocked { .. } }
        ]
    ));
}

#[test]
fn a_timeout_stops_gently_then_by_force_and_an_unseen_worker_keeps_its_slot() {
    let mut scheduler = chain(0);
    scheduler.handle(0, Happening::Tick);
    scheduler.handle(0, Happening::Submitted { step: 0, token: "1.1".into() });
    scheduler.handle(1, Happening::Seen { step: 0, token: "1.1".into(), visible: false });
    assert_eq!(scheduler.used().cores, 2);
    let stop = |force| [Command::Stop { step: 0, force }];
    assert_eq!(scheduler.handle(10_001, Happening::Tick), stop(false));
    assert_eq!(scheduler.handle(20_000, Happening::Tick), []);
    assert_eq!(scheduler.handle(80_000, Happening::Tick), stop(true));
    assert_eq!(scheduler.handle(90_000, Happening::Tick), []);
}
