//! Draws, filters and penalties of one sampler.

use serde::Deserialize;

use super::*;

fn sampler(change: impl FnOnce(&mut Sampling)) -> Sampler {
    let mut sampling = Sampling::with_temperature(1.0, 7);
    change(&mut sampling);
    Sampler::new(sampling, &[0], 0)
}

fn frequencies(change: impl Fn(&mut Sampling), logits: &[f32], draws: u64) -> Vec<f64> {
    let mut hits = vec![0.0; logits.len()];
    for seed in 0..draws {
        let mut one = sampler(|sampling| {
            change(sampling);
            sampling.seed = seed;
        });
        hits[one.sample(logits).unwrap().token as usize] += 1.0 / draws as f64;
    }
    hits
}

#[test]
fn samples_follow_the_distribution() {
    let probs = [0.5f32, 0.25, 0.15, 0.1];
    let logits: Vec<f32> = probs.iter().map(|p| p.ln()).collect();
    for (seen, expected) in frequencies(|_| {}, &logits, 20_000).iter().zip(probs) {
        assert!((seen - f64::from(expected)).abs() < 0.012, "{seen} for {expected}");
    }
    // At temperature 0.5 probabilities are squared and normalised.
    let squared: f32 = probs.iter().map(|p| p * p).sum();
    for (seen, p) in frequencies(|s| s.temperature = 0.5, &logits, 20_000).iter().zip(probs) {
        assert!((seen - f64::from(p * p / squared)).abs() < 0.012);
    }
}

#[test]
fn filters_keep_what_they_say() {
    let logits: Vec<f32> = [0.5f32, 0.25, 0.15, 0.1].iter().map(|p| p.ln()).collect();
    let alive = |change: &dyn Fn(&mut Sampling)| {
        frequencies(change, &logits, 3000).iter().map(|&share| share > 0.0).collect::<Vec<_>>()
    };
    assert_eq!(alive(&|s| s.top_k = 2), [true, true, false, false]);
    assert_eq!(alive(&|s| s.top_p = 0.7), [true, true, false, false]);
    assert_eq!(alive(&|s| s.top_p = 0.76), [true, true, true, false]);
    assert_eq!(alive(&|s| s.min_p = 0.29), [true, true, true, false]);
    assert_eq!(alive(&|s| s.logit_bias = vec![(0, -100.0)]), [false, true, true, true]);
    // top-p counts within what top-k left: of 0.5 and 0.25, the first is two thirds.
    assert_eq!(
        alive(&|s| {
            s.top_k = 2;
            s.top_p = 0.66;
        }),
        [true, false, false, false]
    );
}

#[test]
fn penalties_push_repeats_down() {
    let logits = [2.0f32, 1.9, 0.0];
    let mut frequency = sampler(|s| {
        s.temperature = 0.0;
        s.frequency_penalty = 0.15;
    });
    let tokens: Vec<u32> = (0..4).map(|_| frequency.sample(&logits).unwrap().token).collect();
    assert_eq!(tokens, [0, 1, 0, 1]);
    let mut presence = sampler(|s| {
        s.temperature = 0.0;
        s.presence_penalty = 0.2;
    });
    assert_eq!((presence.sample(&logits).unwrap().token, presence.sample(&logits).unwrap().token), (0, 1));
    // The prompt holds token 0: the repetition penalty counts it at once, presence and frequency do not.
    let mut repetition = sampler(|s| {
        s.temperature = 0.0;
        s.repetition_penalty = 1.2;
    });
    assert_eq!(repetition.sample(&logits).unwrap().token, 1);
}

#[test]
fn a_stream_depends_on_seed_and_position_only() {
    let logits = vec![0.0f32; 1000];
    let run = |seed| {
        let mut one = sampler(|s| s.seed = seed);
        (0..20).map(|_| one.sample(&logits).unwrap().token).collect::<Vec<_>>()
    };
    assert_eq!(run(3), run(3));
    assert_ne!(run(3), run(4));
}

#[test]
fn logprobs_are_those_of_the_raw_logits() {
    let mut one =
        Sampler::new(Sampling { logit_bias: vec![(2, 50.0)], ..Sampling::with_temperature(0.3, 1) }, &[0], 2);
    let out = one.sample(&[1.0, 2.0, 0.5]).unwrap();
    let total = 1f64.exp() + 2f64.exp() + 0.5f64.exp();
    assert_eq!(out.token, 2);
    assert!((f64::from(out.logprob) - (0.5 - total.ln())).abs() < 1e-6);
    assert_eq!(out.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 0]);
    assert!((f64::from(out.top[0].1) - (2.0 - total.ln())).abs() < 1e-6);
}

#[test]
fn bad_logits_and_settings_are_refused() {
    for bad in [f32::NAN, f32::INFINITY] {
        assert!(sampler(|_| {}).sample(&[0.0, bad, 1.0]).is_err());
    }
    assert!(sampler(|_| {}).sample(&[f32::NEG_INFINITY; 3]).is_err());
    for sampling in [
        Sampling { temperature: -1.0, ..Sampling::greedy() },
        Sampling { temperature: f64::NAN, ..Sampling::greedy() },
        Sampling { top_p: 0.0, ..Sampling::greedy() },
        Sampling { logit_bias: vec![(9, 1.0)], ..Sampling::greedy() },
    ] {
        assert!(sampling.validate(9).is_err(), "{sampling:?}");
    }
}

/// One case of the fixture: what Hugging Face's processors leave of some logits.
#[derive(Deserialize)]
struct Case {
    name: String,
    logits: Vec<f32>,
    prompt: Vec<u32>,
    answer: Vec<u32>,
    temperature: f64,
    top_k: usize,
    top_p: f64,
    min_p: f64,
    repetition_penalty: f64,
    presence_penalty: f64,
    frequency_penalty: f64,
    chances: Vec<(u32, f64)>,
}

#[test]
fn chances_are_those_of_transformers() {
    let cases: Vec<Case> =
        serde_json::from_str(include_str!("../../../tests/fixtures/sampling/chances.json")).unwrap();
    assert!(cases.len() >= 19);
    for case in cases {
        let sampling = Sampling {
            temperature: case.temperature,
            top_k: case.top_k,
            top_p: case.top_p,
            min_p: case.min_p,
            repetition_penalty: case.repetition_penalty,
            presence_penalty: case.presence_penalty,
            frequency_penalty: case.frequency_penalty,
            ..Sampling::with_temperature(1.0, 0)
        };
        let mut sampler = Sampler::new(sampling, &case.prompt, 0);
        for &token in &case.answer {
            if sampler.sampling.needs_counts() {
                *sampler.counts.entry(token).or_insert(0) += 1;
            }
        }
        let mut logits = case.logits;
        sampler.change(&mut logits);
        let candidates = sampler.filter().candidates(&logits, peak(&logits).unwrap());
        let total: f64 = candidates.iter().map(|&(_, weight)| f64::from(weight)).sum();
        let ids: Vec<u32> = candidates.iter().map(|&(id, _)| id).collect();
        assert_eq!(ids, case.chances.iter().map(|&(id, _)| id).collect::<Vec<_>>(), "{}", case.name);
        for (&(id, weight), &(_, chance)) in candidates.iter().zip(&case.chances) {
            let got = f64::from(weight) / total;
            assert!((got - chance).abs() < 2e-6, "{}: token {id} has {got}, expected {chance}", case.name);
        }
    }
}

#[test]
fn a_temperature_near_zero_is_greedy() {
    let mut one = sampler(|s| s.temperature = 1e-300);
    assert_eq!(one.sample(&[1.0, 1.000_001, 0.0]).unwrap().token, 1);
}
