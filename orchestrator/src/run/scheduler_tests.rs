use cupola_specs::contract::{ErrorClass, Failure};

use super::*;
use crate::run::Node;

const SLOTS: Slots = Slots { cores: 2, devices: 1, memory_bytes: 10 };

fn chain(retries: u32) -> Scheduler {
    let node = |name: &str, needs: Vec<usize>| Node {
        name: name.into(),
        fingerprint: name.into(),
        needs,
        slots: Slots { cores: 1, ..Slots::NONE },
        halvings: 0,
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
        slots: Slots { cores: SLOTS.cores, ..Slots::NONE },
        halvings: 0,
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

fn failed(code: &str) -> End {
    let End::Failed { failure, advanced } = transient() else { unreachable!("it is a failure") };
    End::Failed { failure: Failure { code: code.into(), ..failure }, advanced }
}

/// Two steps that need nothing and take this much memory each.
fn two_of(memory_bytes: u64) -> Scheduler {
    let node = |name: &str| Node {
        name: name.into(),
        fingerprint: name.into(),
        needs: vec![],
        slots: Slots { cores: 1, devices: 0, memory_bytes },
        halvings: 3,
        retries: 0,
        timeout_millis: 0,
        priority: 0,
        work: 0,
        done: false,
    };
    Scheduler::new(vec![node("a"), node("b")], SLOTS)
}

#[test]
fn steps_run_side_by_side_only_where_their_memory_fits_and_one_that_wants_more_than_there_is_runs_alone() {
    assert_eq!(two_of(5).handle(0, Happening::Tick), [Command::Start(0), Command::Start(1)]);
    for memory in [6, 11, u64::MAX] {
        let mut scheduler = two_of(memory);
        assert_eq!(scheduler.handle(0, Happening::Tick), [Command::Start(0)], "{memory}");
        assert_eq!(scheduler.handle(0, Happening::Committed { step: 0 }), [Command::Start(1)], "{memory}");
    }
}

#[test]
fn a_training_step_that_runs_out_of_memory_is_tried_with_less_as_often_as_that_can_be_and_uses_no_retry() {
    const HALVINGS: u32 = 3;
    let mut scheduler = two_of(5);
    scheduler.handle(0, Happening::Tick);
    let mut now = 0;
    for halving in 0..=HALVINGS {
        let token = format!("1.{halving}");
        scheduler.handle(now, Happening::Submitted { step: 0, token: token.clone() });
        let end = failed(Failure::OUT_OF_MEMORY);
        let commands = scheduler.handle(now, Happening::Ended { step: 0, token, end });
        match &commands[..] {
            [Command::Move { to: StepMove::Backoff { until_millis }, .. }] if halving < HALVINGS => {
                now = *until_millis;
            }
            [Command::Move { to: StepMove::Failed { failure }, .. }] if halving == HALVINGS => {
                assert_eq!(failure.code, Failure::OUT_OF_MEMORY);
            }
            other => panic!("after {halving} halvings: {other:?}"),
        }
        scheduler.handle(now, Happening::Tick);
    }
}

#[test]
fn a_full_disk_pauses_the_run_without_using_a_retry_and_room_lets_it_go_on() {
    let mut scheduler = chain(0);
    scheduler.handle(0, Happening::Tick);
    for step in [0, 2] {
        scheduler.handle(0, Happening::Submitted { step, token: "1.1".into() });
    }
    let end = failed(Failure::STORAGE_FULL);
    assert_eq!(
        scheduler.handle(1, Happening::Ended { step: 2, token: "1.1".into(), end }),
        [
            Command::Move { step: 2, to: StepMove::Waiting },
            Command::MoveRun(RunState::Paused),
            Command::AwaitRoom(2)
        ]
    );
    assert!(scheduler.awaits_room());
    // What lives goes on, and an output that finds no room in the store waits there.
    assert_eq!(
        scheduler.handle(2, Happening::Ended { step: 0, token: "1.1".into(), end: End::Finished }),
        [Command::Commit(0)]
    );
    let End::Failed { failure, .. } = failed(Failure::STORAGE_FULL) else { unreachable!("it is a failure") };
    assert_eq!(scheduler.handle(3, Happening::CommitFailed { step: 0, failure }), [Command::AwaitRoom(0)]);
    assert_eq!(
        scheduler.handle(4, Happening::Asked(Request::Resume)),
        [Command::MoveRun(RunState::Running), Command::Commit(0), Command::Start(2)]
    );
    assert!(!scheduler.awaits_room());
    assert_eq!(scheduler.handle(5, Happening::Committed { step: 0 }), [Command::Start(1)]);
}

#[test]
fn a_person_who_pauses_a_run_that_awaits_room_ends_the_wait_and_one_who_cancels_it_ends_the_run() {
    for (request, mode) in [(Request::Pause, RunState::Paused), (Request::Cancel, RunState::Cancelled)] {
        let mut scheduler = two_of(6);
        scheduler.handle(0, Happening::Tick);
        scheduler.handle(0, Happening::Submitted { step: 0, token: "1.1".into() });
        scheduler.handle(1, Happening::Ended { step: 0, token: "1.1".into(), end: End::Finished });
        let End::Failed { failure, .. } = failed(Failure::STORAGE_FULL) else { unreachable!("it is one") };
        scheduler.handle(2, Happening::CommitFailed { step: 0, failure });
        scheduler.handle(2, Happening::Committed { step: 1 });
        assert!(scheduler.awaits_room());
        scheduler.handle(3, Happening::Asked(request));
        assert_eq!((scheduler.awaits_room(), scheduler.mode()), (false, mode));
        assert_eq!(scheduler.is_ended(), request == Request::Cancel);
    }
}

#[test]
fn going_back_on_purpose_uses_no_retry() {
    let mut scheduler = chain(0);
    scheduler.handle(0, Happening::Tick);
    scheduler.handle(0, Happening::Submitted { step: 0, token: "1.1".into() });
    let end = failed(Failure::WENT_BACK);
    let commands = scheduler.handle(1, Happening::Ended { step: 0, token: "1.1".into(), end });
    assert!(matches!(commands[..], [Command::Move { to: StepMove::Backoff { .. }, .. }]), "{commands:?}");
}
