//! The engine around a tiny random network.

use std::ops::ControlFlow;

use cupola_specs::job::{Family, ModelShape, ModelType, Precision};
use tch::Device;

use super::*;
use crate::model::{Network, RowLayout};

fn network() -> Network {
    network_of(Family::Transformer)
}

pub(super) fn network_of(family: Family) -> Network {
    let model_type = if family == Family::Lstm { ModelType::Lstm } else { ModelType::Qwen3 };
    let shape = ModelShape {
        num_hidden_layers: 2,
        hidden_size: 32,
        intermediate_size: 64,
        num_attention_heads: 4,
        num_key_value_heads: 2,
        head_dim: 8,
        max_position_embeddings: 64,
        ..ModelShape::plain(model_type)
    };
    Network::init(&shape, 90, 11, Device::Cpu).unwrap()
}

pub(super) fn request(length: u32, seed: u64, new_tokens: usize) -> Request {
    let ids = (0..length).map(|at| (at * 7 + length) % 90).collect();
    Request::new(ids, Sampling::with_temperature(1.0, seed), new_tokens, Vec::new())
}

fn engine(network: &Network, slots: usize) -> Engine<TorchDecoder<&Network>> {
    Engine::on_torch(network, TorchConfig::interactive(slots, 64, Precision::Fp32)).unwrap()
}

#[test]
fn sampler_log_probs_equal_the_trainers() {
    let report = self_test(&network(), Precision::Fp32).unwrap();
    assert!(report.tokens >= 60, "{report:?}");
    assert!(report.max_logprob_difference < 2e-5, "{report:?}");
    assert!(self_test(&network_of(Family::Lstm), Precision::Fp32).is_ok());
}

#[test]
fn batched_equals_alone_to_the_bit() {
    for precision in [Precision::Fp32, Precision::Bf16] {
        batched_equals_alone(&network(), precision);
        batched_equals_alone(&network_of(Family::Lstm), precision);
    }
}

fn batched_equals_alone(network: &Network, precision: Precision) {
    let engine = || Engine::on_torch(network, TorchConfig::interactive(4, 64, precision)).unwrap();
    let requests: Vec<Request> =
        (0..9).map(|row| request(1 + row * 3, u64::from(row), 5 + row as usize * 2)).collect();
    let together = generate_all(&mut engine(), requests.clone()).unwrap();
    for (request, answer) in requests.into_iter().zip(together) {
        let alone = generate_all(&mut engine(), vec![request]).unwrap();
        assert_eq!(alone[0], answer);
    }
}

#[test]
fn shrinking_batches_choose_the_same_tokens() {
    let network = network();
    let requests: Vec<Request> =
        (0..12).map(|row| request(1 + row % 5, u64::from(row), 3 + row as usize * 4)).collect();
    let fixed = generate_all(&mut engine(&network, 5), requests.clone()).unwrap();
    let mut shrinking = Engine::on_torch(&network, TorchConfig::batch(5, 64, Precision::Fp32)).unwrap();
    for (a, b) in fixed.iter().zip(generate_all(&mut shrinking, requests).unwrap()) {
        assert_eq!(a.ids, b.ids);
        assert!(a.logprobs.iter().zip(&b.logprobs).all(|(a, b)| (a - b).abs() < 1e-4));
    }
}

#[test]
fn answers_end_at_stop_ids_and_limits() {
    let network = network();
    let greedy = Request::new(vec![1, 2, 3], Sampling::greedy(), 12, Vec::new());
    let free = generate_all(&mut engine(&network, 2), vec![greedy.clone()]).unwrap().remove(0);
    assert_eq!((free.ids.len(), free.finish), (12, FinishReason::Length));
    let stop = free.ids[4];
    let first = free.ids.iter().position(|&id| id == stop).unwrap();
    let stopped = Request { stop_ids: vec![stop], ..greedy };
    let answer = generate_all(&mut engine(&network, 2), vec![stopped]).unwrap().remove(0);
    assert_eq!((answer.ids.as_slice(), answer.finish), (&free.ids[..=first], FinishReason::Stop));
    assert_eq!(answer.text_ids(), &free.ids[..first]);
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let network = network();
    let mut engine = engine(&network, 2);
    let overflow = engine.submit(request(60, 0, 5)).unwrap_err();
    assert!(
        matches!(overflow, GenerateError::ContextOverflow { prompt: 60, max_new: 5, context: 64 }),
        "{overflow}"
    );
    assert!(engine.submit(request(59, 0, 5)).is_ok());
    let unknown = Request::new(vec![90], Sampling::greedy(), 1, Vec::new());
    assert!(matches!(
        engine.submit(unknown),
        Err(GenerateError::UnknownToken { field: "ids", token: 90, .. })
    ));
    let empty = Request::new(Vec::new(), Sampling::greedy(), 1, Vec::new());
    assert!(matches!(engine.submit(empty), Err(GenerateError::EmptyPrompt)));
    assert!(Engine::on_torch(&network, TorchConfig::batch(2, 65, Precision::Fp32)).is_err());
}

#[test]
fn cancelling_frees_the_slot_for_the_next_in_line() {
    let network = network();
    let mut engine = engine(&network, 1);
    let first = engine.submit(request(4, 0, 50)).unwrap();
    let second = engine.submit(request(4, 1, 2)).unwrap();
    assert_eq!(engine.step().unwrap().len(), 1);
    assert_eq!((engine.num_running(), engine.num_waiting()), (1, 1));
    assert!(engine.cancel(first));
    assert!(!engine.cancel(first));
    let outputs = engine.step().unwrap();
    assert_eq!(outputs[0].id, second);
    engine.step().unwrap();
    assert!(engine.is_idle());
}

#[test]
fn prompts_are_scored_as_the_trainer_scores_them() {
    let network = network();
    let mut engine = engine(&network, 2);
    let scoring = Request { score_prompt: true, top_logprobs: 2, max_new_tokens: 0, ..request(20, 0, 1) };
    engine.submit(scoring).unwrap();
    let output = engine.step().unwrap().remove(0);
    assert_eq!((output.token, output.finished, output.prompt.len()), (None, Some(FinishReason::Length), 19));
    assert!(output.prompt.iter().all(|scored| scored.top.len() == 2 && scored.top[0].1 >= scored.logprob));
    // A prompt's score is what a sampler would have reported: force the prompt's tokens by a bias and compare.
    let ids = request(20, 0, 1).ids;
    for at in [1usize, 7, 19] {
        let forced = Sampling { logit_bias: vec![(ids[at], 1e4)], ..Sampling::greedy() };
        let answer =
            generate_all(&mut engine, vec![Request::new(ids[..at].to_vec(), forced, 1, Vec::new())]).unwrap();
        assert_eq!(answer[0].ids, [ids[at]]);
        assert!((answer[0].logprobs[0] - output.prompt[at - 1].logprob).abs() < 1e-4);
    }
}

#[test]
fn an_embedding_is_the_training_forwards_hidden_state() {
    for network in [network(), network_of(Family::Lstm)] {
        let ids = request(21, 0, 1).ids;
        let tokens: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let tokens = tch::Tensor::from_slice(&tokens).view([1, -1]); // [1, T]
        let hidden = tch::no_grad(|| network.hidden(&tokens, &RowLayout::Causal, Precision::Fp32)); // [1, T, C]
        let cases = [
            (Pooling::Mean, hidden.mean_dim(1i64, false, tch::Kind::Float)),
            (Pooling::Last, hidden.select(1, -1)),
        ];
        for (pooling, expected) in cases {
            let expected = Vec::<f32>::try_from(expected.view([-1])).unwrap();
            let asked = Request {
                embed: Some(pooling),
                ..Request::new(ids.clone(), Sampling::greedy(), 0, Vec::new())
            };
            let mut engine = engine(&network, 2);
            engine.submit(asked).unwrap();
            let got = engine.step().unwrap().remove(0).embedding.unwrap();
            assert_eq!(got.len(), expected.len());
            assert!(got.iter().zip(&expected).all(|(a, b)| (a - b).abs() < 1e-5), "{got:?} {expected:?}");
        }
    }
}

#[test]
fn a_watcher_can_stop_a_batch() {
    let network = network();
    let requests = (0..6).map(|seed| request(3, seed, 20)).collect();
    let mut steps = 0;
    let answers = generate_each(&mut engine(&network, 2), requests, &mut |_, total| {
        assert_eq!(total, 6);
        steps += 1;
        if steps == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })
    .unwrap();
    assert!(answers.iter().all(|answer| answer.finish == FinishReason::Cancelled));
    assert_eq!(answers[0].ids.len(), 5);
    assert_eq!(answers[5].ids.len(), 0);
}

#[test]
fn samples_of_one_prompt_equal_separate_runs() {
    let network = network();
    let requests: Vec<Request> = (0..7).map(|seed| request(9, seed, 6)).collect();
    let together = generate_all(&mut engine(&network, 3), requests.clone()).unwrap();
    for (request, answer) in requests.into_iter().zip(&together) {
        assert_eq!(&generate_all(&mut engine(&network, 3), vec![request]).unwrap()[0], answer);
    }
    assert!(together.iter().any(|answer| answer.ids != together[0].ids), "each has its own stream");
}

/// Whatever befalls a request on the way: company, prompts in parts, a prefix that others ran, its blocks taken away, guesses.
#[test]
fn an_answer_by_our_own_kernels_is_the_same_to_the_bit_in_any_traffic() {
    let shape =
        ModelShape { max_position_embeddings: 256, ..network_of(Family::Transformer).shape().clone() };
    let network = stirred(&Network::init(&shape, 90, 11, Device::Cpu).unwrap()).unwrap().unwrap();
    let engine = |format, num_blocks, threads, step_tokens| {
        let config = CpuDecoderConfig { format, num_blocks, max_len: 256, threads };
        let limits = EngineConfig { max_running: 6, step_tokens };
        Engine::new(CpuDecoder::new(&network, config).unwrap(), limits).unwrap()
    };
    // All begin with the same 70 tokens, two whole blocks and a part; every third one repeats itself, so that guesses are right.
    let requests: Vec<Request> = (0..12u32)
        .map(|row| {
            let shared = (0..70).map(|at| (at * 7) % 90);
            let own = (0..20 + 5 * row).map(|at| if row % 3 == 0 { at % 4 } else { (at * 13 + row) % 90 });
            let greedy = Sampling::greedy();
            let sampling = if row % 2 == 0 { greedy } else { Sampling::with_temperature(0.8, row.into()) };
            Request { top_logprobs: 2, ..Request::new(shared.chain(own).collect(), sampling, 90, Vec::new()) }
        })
        .collect();
    for format in WeightFormat::ALL {
        let lookup = PromptLookup { longest_match: 3, shortest_match: 1, draft_tokens: 4 };
        let mut busy = engine(format, 14, 2, 48).with_drafter(Box::new(lookup)).unwrap();
        let together = generate_all(&mut busy, requests.clone()).unwrap();
        let stats = busy.stats();
        assert!(stats.preemptions > 0 && stats.prefix_hit_tokens > 0, "{format:?}: {stats:?}");
        assert!(stats.accepted_tokens > 0, "{format:?}: {stats:?}");
        for (request, answer) in requests.iter().zip(together) {
            let alone = generate_all(&mut engine(format, 8, 1, 512), vec![request.clone()]).unwrap();
            assert_eq!(alone[0], answer, "{format:?}");
        }
    }
}

/// What a server and a trainer say of the same token.
#[test]
fn our_own_kernels_choose_what_the_training_forward_would() {
    let network = network();
    let config = CpuDecoderConfig { format: WeightFormat::Fp32, num_blocks: 8, max_len: 64, threads: 1 };
    let limits = EngineConfig { max_running: 4, step_tokens: 64 };
    let mut own = Engine::new(CpuDecoder::new(&network, config).unwrap(), limits).unwrap();
    let requests: Vec<Request> = (0..6).map(|seed| request(9 + seed, u64::from(seed), 20)).collect();
    let torch = generate_all(&mut engine(&network, 4), requests.clone()).unwrap();
    for (own, torch) in generate_all(&mut own, requests).unwrap().iter().zip(&torch) {
        assert_eq!(own.ids, torch.ids);
        assert!(own.logprobs.iter().zip(&torch.logprobs).all(|(a, b)| (a - b).abs() < 2e-5));
    }
}
