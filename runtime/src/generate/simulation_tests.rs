//! The engine over a fake decoder, in small pools and any traffic: whatever happens, an answer is the one that its request gets alone.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::fake::{Fake, FakeDecoder};
use super::*;

const MAX_LEN: usize = 40;

fn engine(decoder: Fake, max_running: usize, step_tokens: usize) -> Engine<Fake> {
    Engine::new(decoder, EngineConfig { max_running, step_tokens }).unwrap()
}

/// A request by its number: few beginnings, so that many are shared.
fn request(number: u64, len: usize, new_tokens: usize) -> Request {
    let family = number % 3;
    let ids = (0..len as u64).map(|at| ((at * (3 + family) + family) % 50) as u32).collect();
    // An adapter changes what is said, and the draft model has none: its guesses are wrong there.
    let temperature = if number.is_multiple_of(4) { 0.0 } else { 1.0 };
    let sampling = Sampling {
        repetition_penalty: if number.is_multiple_of(5) { 1.3 } else { 1.0 },
        ..Sampling::with_temperature(temperature, number)
    };
    let stop_ids = if number.is_multiple_of(2) { vec![7] } else { Vec::new() };
    Request {
        adapter: (number % 7 == 6).then_some(AdapterId(1)),
        cache_scope: if number % 6 == 5 { "other".into() } else { "".into() },
        ..Request::new(ids, sampling, new_tokens, stop_ids)
    }
}

/// What a request gets in an engine of its own, without a neighbour, a guess or a second try.
fn alone(request: Request) -> Completion {
    let mut engine = engine(FakeDecoder::paged(MAX_LEN, 1, MAX_LEN), 1, MAX_LEN);
    generate_all(&mut engine, vec![request]).unwrap().remove(0)
}

/// Answers so far of one request.
#[derive(Debug, Default)]
struct Heard {
    ids: Vec<u32>,
    logprobs: Vec<f32>,
    finish: Option<FinishReason>,
}

fn hear(outputs: Vec<Output>, heard: &mut BTreeMap<RequestId, Heard>) {
    for output in outputs {
        let answer = heard.get_mut(&output.id).expect("an output of a request that is not there");
        assert_eq!(answer.finish, None, "an output after the last");
        assert!(output.failure.is_none());
        if let Some(token) = output.token {
            answer.ids.push(token.token);
            answer.logprobs.push(token.logprob);
        }
        answer.finish = output.finished;
    }
}

#[derive(Debug, Clone)]
enum Event {
    Arrive { len: usize, new_tokens: usize },
    Cancel(u64),
    Steps(usize),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let event = prop_oneof![
        4 => (1usize..24, 1usize..16).prop_map(|(len, new_tokens)| Event::Arrive { len, new_tokens }),
        1 => (0u64..30).prop_map(Event::Cancel),
        3 => (1usize..6).prop_map(Event::Steps),
    ];
    prop::collection::vec(event, 1..60)
}

/// Plays events, and then steps until all is done; compares each answer, and what is left of those that were cancelled.
fn play(mut engine: Engine<Fake>, events: Vec<Event>) -> EngineStats {
    let mut requests: BTreeMap<RequestId, Request> = BTreeMap::new();
    let mut heard: BTreeMap<RequestId, Heard> = BTreeMap::new();
    let mut number = 0;
    for event in events {
        match event {
            Event::Arrive { len, new_tokens } => {
                let request = request(number, len, new_tokens);
                number += 1;
                let id = engine.submit(request.clone()).unwrap();
                requests.insert(id, request);
                heard.insert(id, Heard::default());
            }
            Event::Cancel(pick) => {
                let id = RequestId(pick);
                let is_open = heard.get(&id).is_some_and(|answer| answer.finish.is_none());
                assert_eq!(engine.cancel(id), is_open);
                if is_open {
                    heard.get_mut(&id).unwrap().finish = Some(FinishReason::Cancelled);
                }
            }
            Event::Steps(count) => (0..count).for_each(|_| hear(engine.step().unwrap(), &mut heard)),
        }
    }
    let mut steps = 0;
    while !engine.is_idle() {
        hear(engine.step().unwrap(), &mut heard);
        steps += 1;
        assert!(steps < 10_000, "a request never ends");
    }
    for (id, request) in requests {
        let (answer, expected) = (&heard[&id], alone(request));
        if answer.finish == Some(FinishReason::Cancelled) {
            assert!(expected.ids.starts_with(&answer.ids), "{id:?}");
        } else {
            assert_eq!((&answer.ids, answer.finish), (&expected.ids, Some(expected.finish)), "{id:?}");
            assert_eq!(answer.logprobs, expected.logprobs);
        }
    }
    let stats = engine.stats();
    assert_eq!(stats.blocks.used, 0, "blocks are held by nobody");
    stats
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn any_traffic_in_any_pool_gives_each_request_its_own_answer(
        block_tokens in 1usize..9, spare in 0usize..6, max_running in 1usize..7, step_tokens in 1usize..30,
        events in events()
    ) {
        let num_blocks = MAX_LEN.div_ceil(block_tokens) + spare;
        play(engine(FakeDecoder::paged(num_blocks, block_tokens, MAX_LEN), max_running, step_tokens), events);
    }

    #[test]
    fn guesses_in_any_traffic_change_no_answer(
        block_tokens in 1usize..9, spare in 0usize..6, draft_tokens in 1usize..5, is_whole: bool, events in events()
    ) {
        let num_blocks = MAX_LEN.div_ceil(block_tokens) + spare;
        let decoder = if is_whole {
            FakeDecoder::whole(4, MAX_LEN, Positions::Whole)
        } else {
            FakeDecoder::paged(num_blocks, block_tokens, MAX_LEN)
        };
        // A draft model that says what the network says, of which only some requests get a place.
        let model = DraftModel::new(FakeDecoder::paged(2 * MAX_LEN, 1, MAX_LEN), draft_tokens, 50).unwrap();
        play(engine(decoder, 4, 20).with_drafter(Box::new(model)).unwrap(), events);
    }

    #[test]
    fn networks_that_cannot_be_cut_give_the_same_answers(
        slots in 1usize..6, step_tokens in 1usize..60, is_running: bool, events in events()
    ) {
        let positions = if is_running { Positions::Running } else { Positions::Whole };
        let stats = play(engine(FakeDecoder::whole(slots, MAX_LEN, positions), slots, step_tokens), events);
        prop_assert_eq!((stats.preemptions, stats.prefix_hit_tokens), (0, 0));
    }
}

#[test]
fn a_prefix_hit_skips_what_is_known_and_changes_nothing() {
    let mut engine = engine(FakeDecoder::paged(32, 4, MAX_LEN), 4, 64);
    let request = request(1, 22, 6);
    let miss = generate_all(&mut engine, vec![request.clone()]).unwrap();
    let ran = engine.decoder().tokens;
    let hit = generate_all(&mut engine, vec![request.clone()]).unwrap();
    assert_eq!(miss, hit);
    // Five whole blocks before the prompt's last token are known.
    assert_eq!(engine.stats().prefix_hit_tokens, 20);
    assert_eq!(engine.decoder().tokens - ran, ran - 20);
    // An answer is known too: the next turn of a chat finds it.
    let mut longer = request.clone();
    longer.ids.extend(&miss[0].ids);
    generate_all(&mut engine, vec![longer]).unwrap();
    assert_eq!(engine.stats().prefix_hit_tokens, 20 + 24);
    let others = [
        Request { cache_scope: "somebody else".into(), ..request.clone() },
        Request { adapter: Some(AdapterId(0)), ..request.clone() },
        Request { score_prompt: true, ..request },
    ];
    for other in others {
        generate_all(&mut engine, vec![other]).unwrap();
        assert_eq!(engine.stats().prefix_hit_tokens, 44, "nothing is shared, or nothing may be skipped");
    }
}

#[test]
fn pre_emption_happens_and_is_counted() {
    let mut engine = engine(FakeDecoder::paged(11, 4, MAX_LEN), 8, 64);
    let requests: Vec<Request> = (0..6).map(|number| request(number * 2 + 1, 4, 30)).collect();
    let answers = generate_all(&mut engine, requests.clone()).unwrap();
    assert!(engine.stats().preemptions > 0, "{:?}", engine.stats());
    for (request, answer) in requests.into_iter().zip(answers) {
        assert_eq!(alone(request), answer);
    }
}

#[test]
fn a_request_that_cannot_go_on_fails_alone() {
    let mut decoder = FakeDecoder::paged(60, 4, MAX_LEN);
    decoder.spoils = Some(40);
    let mut engine = engine(decoder, 12, 64);
    (0..12).for_each(|number| {
        engine.submit(request(number * 2 + 1, 1 + number as usize, 20)).unwrap();
    });
    let (mut failed, mut whole) = (0, 0);
    while !engine.is_idle() {
        for output in engine.step().unwrap() {
            assert_eq!(output.failure.is_some(), output.finished == Some(FinishReason::Failed));
            failed += usize::from(output.failure.is_some());
            whole += usize::from(output.finished == Some(FinishReason::Length));
        }
    }
    assert!(failed > 0 && whole > 0 && failed + whole == 12, "{failed} failed, {whole} did not");
    assert_eq!(engine.stats().blocks.used, 0);
}

#[test]
fn embeddings_pool_the_whole_prompt_however_it_is_cut() {
    for step_tokens in [1, 5, 64] {
        let mut engine = engine(FakeDecoder::paged(32, 4, MAX_LEN), 4, step_tokens);
        for (pooling, expected) in [(Pooling::Mean, 10.5), (Pooling::Last, 21.0)] {
            let asked = Request { embed: Some(pooling), ..request(1, 22, 0) };
            engine.submit(asked).unwrap();
            let mut outputs = Vec::new();
            while !engine.is_idle() {
                outputs.extend(engine.step().unwrap());
            }
            assert_eq!(outputs.len(), 1);
            assert_eq!(outputs[0].embedding.as_deref(), Some([expected].as_slice()));
            assert_eq!(outputs[0].finished, Some(FinishReason::Length));
        }
    }
    let both = Request { embed: Some(Pooling::Last), ..request(1, 3, 4) };
    assert!(engine(FakeDecoder::paged(32, 4, MAX_LEN), 4, 9).submit(both).is_err());
}

#[test]
fn an_adapter_that_is_not_there_is_refused() {
    let mut engine = engine(FakeDecoder::paged(32, 4, MAX_LEN), 4, 9);
    let unknown = Request { adapter: Some(AdapterId(2)), ..request(1, 3, 4) };
    assert!(matches!(engine.submit(unknown), Err(GenerateError::UnknownAdapter(AdapterId(2)))));
    assert!(engine.is_idle());
}
