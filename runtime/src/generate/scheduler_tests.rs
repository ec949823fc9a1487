//! The scheduler alone: who runs when, over which blocks.

use proptest::prelude::*;

use super::*;

fn scheduler(num_blocks: usize, max_running: usize, step_tokens: usize, prompts: Prompts) -> Scheduler {
    Scheduler::new(BlockPool::new(num_blocks, 4), StepLimits { max_running, step_tokens, prompts })
}

fn arrival(tokens: std::ops::Range<u32>, max_tokens: usize) -> Arrival {
    let space = CacheSpace { scope: "".into(), adapter: None };
    Arrival { tokens: tokens.collect(), max_tokens, space, skips_known: true }
}

/// Plans a step and acts as if each part ran and a token was chosen where one can be.
fn step(scheduler: &mut Scheduler) -> Vec<(u64, usize, usize)> {
    let plan = scheduler.plan();
    for part in &plan.parts {
        let chosen: &[u32] = if part.is_last { &[77] } else { &[] };
        scheduler.advance(part.id, part.count - part.drafts, chosen);
    }
    scheduler.check();
    plan.parts.iter().map(|part| (part.id.0, part.start, part.count)).collect()
}

#[test]
fn decodes_come_first_and_prompts_share_what_is_left() {
    let mut scheduler = scheduler(100, 3, 10, Prompts::InParts);
    scheduler.enqueue(RequestId(0), arrival(0..4, 20));
    scheduler.enqueue(RequestId(1), arrival(100..115, 30));
    scheduler.enqueue(RequestId(2), arrival(200..203, 9));
    scheduler.enqueue(RequestId(3), arrival(300..303, 9));
    assert_eq!(step(&mut scheduler), [(0, 0, 4), (1, 0, 6)]);
    assert_eq!(step(&mut scheduler), [(0, 4, 1), (1, 6, 9)]);
    // Three may run: the fourth waits, though there are tokens and blocks for it.
    assert_eq!(step(&mut scheduler), [(0, 5, 1), (1, 15, 1), (2, 0, 3)]);
    assert_eq!(step(&mut scheduler), [(0, 6, 1), (1, 16, 1), (2, 3, 1)]);
    assert!(scheduler.release(RequestId(1)) && !scheduler.release(RequestId(1)));
    assert_eq!(step(&mut scheduler), [(0, 7, 1), (2, 4, 1), (3, 0, 3)]);
}

#[test]
fn a_whole_prompt_is_never_cut_and_a_long_one_runs_alone() {
    let mut scheduler = scheduler(100, 4, 10, Prompts::Whole);
    for (id, len) in [(0, 6), (1, 6), (2, 50), (3, 2)] {
        scheduler.enqueue(RequestId(id), arrival(0..len, 60));
    }
    assert_eq!(step(&mut scheduler), [(0, 0, 6)]);
    assert_eq!(step(&mut scheduler), [(0, 6, 1), (1, 0, 6)]);
    assert_eq!(step(&mut scheduler), [(0, 7, 1), (1, 6, 1), (2, 0, 50)]);
    assert_eq!(step(&mut scheduler), [(0, 8, 1), (1, 7, 1), (2, 50, 1), (3, 0, 2)]);
}

#[test]
fn the_newest_goes_back_when_blocks_run_out_and_finds_what_it_wrote() {
    // Four blocks of 4: each request may have 12 tokens.
    let mut scheduler = scheduler(4, 4, 16, Prompts::InParts);
    scheduler.enqueue(RequestId(0), arrival(0..4, 12));
    scheduler.enqueue(RequestId(1), arrival(50..54, 12));
    assert_eq!(step(&mut scheduler), [(0, 0, 4), (1, 0, 4)]);
    for at in 4..8 {
        assert_eq!(step(&mut scheduler), [(0, at, 1), (1, at, 1)]);
    }
    scheduler.enqueue(RequestId(2), arrival(90..91, 2));
    // Position 8 needs a third block for each, and there are four.
    assert_eq!(step(&mut scheduler), [(0, 8, 1)]);
    assert_eq!((scheduler.counts().preemptions, scheduler.num_waiting()), (1, 2));
    for at in 9..11 {
        assert_eq!(step(&mut scheduler), [(0, at, 1)], "the line stays in order, though the last would fit");
    }
    assert!(scheduler.release(RequestId(0)));
    // Its second block was given away; the first is still known.
    assert_eq!(step(&mut scheduler), [(1, 4, 5), (2, 0, 1)]);
    assert_eq!(scheduler.counts().found_tokens, 4);
}

#[test]
fn drafts_are_the_first_to_go_when_blocks_are_short() {
    let mut scheduler = scheduler(3, 2, 16, Prompts::InParts);
    scheduler.enqueue(RequestId(0), arrival(0..3, 12));
    step(&mut scheduler);
    assert_eq!(scheduler.room_for_drafts(RequestId(0)), 7);
    scheduler.set_drafts(RequestId(0), &[1, 2, 3, 4, 5, 6, 7, 8]);
    let plan = scheduler.plan();
    assert_eq!((plan.parts[0].count, plan.parts[0].drafts), (8, 7));
    // Two drafts were right.
    scheduler.advance(RequestId(0), 3, &[1, 2, 9]);
    assert_eq!(scheduler.tokens(RequestId(0)), [0, 1, 2, 77, 1, 2, 9]);
    scheduler.release(RequestId(0));
    scheduler.enqueue(RequestId(1), arrival(0..4, 12));
    scheduler.enqueue(RequestId(2), arrival(4..8, 5));
    step(&mut scheduler);
    scheduler.set_drafts(RequestId(1), &[1, 2, 3, 4]);
    let plan = scheduler.plan();
    assert_eq!((plan.parts[0].count, plan.parts[0].drafts), (1, 0));
    assert!(plan.preempted.is_empty() || plan.preempted == [RequestId(2)]);
    scheduler.check();
}

proptest! {
    /// Whatever comes, goes and is planned: the books agree, nobody is overtaken, and all that came ends.
    #[test]
    fn no_request_and_no_block_is_lost_doubled_or_overtaken(
        num_blocks in 3usize..12, max_running in 1usize..6, step_tokens in 1usize..20, in_parts: bool,
        events in prop::collection::vec((0u8..6, 0u64..40, 1u32..14, 0usize..6), 1..150)
    ) {
        let prompts = if in_parts { Prompts::InParts } else { Prompts::Whole };
        let mut scheduler = scheduler(num_blocks, max_running, step_tokens, prompts);
        let (mut next, mut alive, mut admitted) = (0u64, BTreeSet::new(), BTreeSet::new());
        let mut run = |scheduler: &mut Scheduler, alive: &mut BTreeSet<u64>| {
            let plan = scheduler.plan();
            scheduler.check();
            let mut seen = BTreeSet::new();
            for part in &plan.parts {
                assert!(seen.insert(part.id), "one part each");
                let is_new = admitted.insert(part.id.0);
                assert!(!is_new || admitted.last() == Some(&part.id.0), "overtaken");
                assert!(scheduler.blocks(part.id).len() * 4 >= part.start + part.count);
            }
            for part in plan.parts {
                scheduler.advance(part.id, part.count - part.drafts, if part.is_last { &[5] } else { &[] });
                let sequence = &scheduler.sequences[&part.id];
                if sequence.len() == sequence.max_tokens {
                    assert!(scheduler.release(part.id) && alive.remove(&part.id.0));
                }
                scheduler.check();
            }
        };
        for (kind, pick, len, extra) in events {
            match kind {
                0..=2 => {
                    let most = num_blocks * 4;
                    let len = len.min(most as u32 - 1);
                    let max_tokens = (len as usize + 1 + extra).min(most);
                    scheduler.enqueue(RequestId(next), arrival(0..len, max_tokens));
                    alive.insert(next);
                    next += 1;
                }
                3 => prop_assert_eq!(scheduler.release(RequestId(pick)), alive.remove(&pick)),
                4 => scheduler.set_drafts(RequestId(pick), &[1, 2, 3][..extra.min(3)]),
                _ => run(&mut scheduler, &mut alive),
            }
            scheduler.check();
        }
        let mut steps = 0;
        while !alive.is_empty() {
            run(&mut scheduler, &mut alive);
            steps += 1;
            prop_assert!(steps < 20_000, "{} never end", alive.len());
        }
        prop_assert_eq!(scheduler.block_counts().used, 0);
    }
}
