//! Random histories of the scheduler against a fake world, by seed.
//!
//! The fake world crashes attempts, loses sight of them, sends events late and twice and from stale attempts, and lets people pause,
//! resume, cancel and retry. Invariants: a step is committed at most once; its inputs are there before it starts; no slot is used
//! twice; a step has one live attempt at most; every run comes to an end.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{Command, End, Happening, Node, Request, Scheduler, Slots};
use crate::state::RunState;
use cupola_specs::contract::{ErrorClass, Failure};

const SLOTS: Slots = Slots { cores: 2, devices: 1 };

struct World {
    rng: StdRng,
    now: i64,
    nodes: Vec<Node>,
    live: Vec<Option<String>>,
    committed: Vec<bool>,
    tokens: u64,
    late: Vec<Happening>,
    stale: Vec<(usize, String)>,
    done: Option<RunState>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let count = rng.random_range(1..12);
        let nodes: Vec<Node> = (0..count)
            .map(|index| Node {
                name: format!("s{index}"),
                fingerprint: format!("{seed}-{index}"),
                needs: (0..index).filter(|_| rng.random_bool(0.3)).collect(),
                cores: rng.random_range(1..4),
                devices: rng.random_range(0..2),
                retries: rng.random_range(0..3),
                timeout_millis: if rng.random_bool(0.2) { 50_000 } else { 0 },
                priority: rng.random_range(-1..2),
                work: rng.random_range(0..3),
                done: false,
            })
            .collect();
        let size = nodes.len();
        Self {
            rng,
            now: 0,
            nodes,
            live: vec![None; size],
            committed: vec![false; size],
            tokens: 0,
            late: Vec::new(),
            stale: Vec::new(),
            done: None,
        }
    }

    fn carry_out(&mut self, commands: Vec<Command>) -> Vec<Happening> {
        let mut next = Vec::new();
        for command in commands {
            match command {
                Command::Start(step) => {
                    assert!(self.live[step].is_none(), "a second live attempt of {step}");
                    assert!(!self.committed[step], "{step} starts after its commit");
                    assert!(
                        self.nodes[step].needs.iter().all(|need| self.committed[*need]),
                        "{step} lacks inputs"
                    );
                    self.tokens += 1;
                    let token = format!("1.{}", self.tokens);
                    self.live[step] = Some(token.clone());
                    next.push(Happening::Submitted { step, token });
                }
                Command::Stop { step, force } => {
                    if (force || self.rng.random_bool(0.7))
                        && let Some(token) = self.live[step].take()
                    {
                        let end = self.failed("cancelled");
                        self.late.push(Happening::Ended { step, token, end });
                    }
                }
                Command::Commit(step) => {
                    assert!(!self.committed[step], "{step} is committed twice");
                    if self.rng.random_bool(0.05) {
                        let End::Failed { failure, .. } = self.failed("store_io") else { unreachable!() };
                        next.push(Happening::CommitFailed { step, failure });
                    } else {
                        self.committed[step] = true;
                        next.push(Happening::Committed { step });
                    }
                }
                Command::Move { .. } => {}
                Command::MoveRun(state) => {
                    self.done = (state != RunState::Paused && state != RunState::Running).then_some(state);
                }
            }
        }
        next
    }

    /// The slots of live attempts as the world sees them; a step that wants more than there is takes all.
    fn occupied(&self) -> Slots {
        let live = self.nodes.iter().zip(&self.live).filter(|(_, token)| token.is_some());
        live.fold(Slots { cores: 0, devices: 0 }, |sum, (node, _)| Slots {
            cores: sum.cores + node.cores.clamp(1, SLOTS.cores),
            devices: sum.devices + node.devices.min(SLOTS.devices),
        })
    }

    fn failed(&mut self, code: &str) -> End {
        let class = match self.rng.random_range(0..8) {
            0 => ErrorClass::User,
            1 => ErrorClass::Bug,
            _ => ErrorClass::Transient,
        };
        let failure = Failure { class, code: code.into(), message: String::new(), hint: String::new() };
        End::Failed { failure, advanced: self.rng.random_bool(0.3) }
    }

    fn something(&mut self) -> Happening {
        let step = self.rng.random_range(0..self.nodes.len());
        match self.rng.random_range(0..100) {
            0..45 => {
                let Some(token) = self.live[step].take() else { return Happening::Tick };
                let end = if self.rng.random_bool(0.6) { End::Finished } else { self.failed("crash") };
                self.stale.push((step, token.clone()));
                Happening::Ended { step, token, end }
            }
            45..55 => match self.live[step].clone() {
                Some(token) => Happening::Seen { step, token, visible: self.rng.random_bool(0.5) },
                None => Happening::Tick,
            },
            55..65 if !self.stale.is_empty() => {
                let pick = self.rng.random_range(0..self.stale.len());
                let (step, token) = self.stale[pick].clone();
                Happening::Ended { step, token, end: End::Finished }
            }
            65..75 if !self.late.is_empty() => self.late.remove(0),
            75 => Happening::Asked(Request::Pause),
            76..79 => Happening::Asked(Request::Resume),
            79 => Happening::Asked(Request::CancelStep(step)),
            80 => Happening::Asked(Request::Retry(Some(step))),
            81 if self.rng.random_bool(0.05) => Happening::Asked(Request::Cancel),
            82 if self.rng.random_bool(0.05) => Happening::Asked(Request::Interrupt),
            _ => {
                self.now += self.rng.random_range(0..5_000);
                Happening::Tick
            }
        }
    }
}

fn simulate(seed: u64) -> RunState {
    let mut world = World::new(seed);
    let mut scheduler = Scheduler::new(world.nodes.clone(), SLOTS);
    for turn in 0..100_000 {
        // In the end the world is kind: what is paused goes on, and nobody asks for anything.
        let happening = if turn < 2_000 { world.something() } else { kind(&mut world, turn) };
        let mut queue = vec![happening];
        while !queue.is_empty() {
            let commands = scheduler.handle(world.now, queue.remove(0));
            queue.extend(world.carry_out(commands));
            let (seen, said) = (world.occupied(), scheduler.used());
            assert!(seen.cores <= SLOTS.cores && seen.devices <= SLOTS.devices, "slots over-used: {seen:?}");
            assert!(
                seen.cores <= said.cores && seen.devices <= said.devices,
                "{seen:?} live, {said:?} accounted for"
            );
        }
        if scheduler.is_ended() {
            let state = world.done.expect("an ended run says how");
            if state == RunState::Succeeded {
                assert!(world.committed.iter().all(|committed| *committed));
            }
            return state;
        }
    }
    panic!("the run does not come to an end");
}

fn kind(world: &mut World, turn: usize) -> Happening {
    world.now += 5_000;
    if !world.late.is_empty() {
        return world.late.remove(0);
    }
    if turn.is_multiple_of(3) {
        return Happening::Asked(Request::Resume);
    }
    let step = turn % world.nodes.len();
    match world.live[step].take() {
        Some(token) => Happening::Ended { step, token, end: End::Finished },
        None => Happening::Tick,
    }
}

#[test]
fn random_histories_hold_every_invariant() {
    let mut ends = std::collections::BTreeMap::new();
    for seed in 0..20_000 {
        let end = std::panic::catch_unwind(|| simulate(seed));
        let end = end.unwrap_or_else(|_| panic!("seed {seed}"));
        *ends.entry(end.as_str()).or_insert(0) += 1;
    }
    for state in ["succeeded", "failed", "cancelled", "interrupted"] {
        assert!(ends.get(state).is_some_and(|count| *count > 10), "the histories are too tame: {ends:?}");
    }
}

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
        assert_eq!(
            scheduler.handle(2, Happening::Ended { step, token, end: End::Finished }),
            [Command::Commit(step)]
        );
        commands = scheduler.handle(3, Happening::Committed { step });
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
