//! Estimates from history, and what is said of what does not fit.

use cupola_specs::contract::TrialSecs;
use cupola_specs::job::{
    Device, LoraConfig, LoraTarget, MatrixOptimizer, ModelShape, ModelType, OtherOptimizer, Precision,
    Recompute, StepKind,
};

use super::activations::Pass;
use super::training::Stage;
use super::*;
use crate::plan::decide;
use crate::plan::quickstart::World;
use crate::state::{AttemptOutcome, CommittedArtifact, Expected, Fact, PlannedStep, State, StateDir};

const PLENTY: Resources = Resources { cores: 2, memory_bytes: 1 << 40, free_bytes: 1 << 40 };

/// State in which one step of the plan has been done, in so many FLOPs.
fn done(dir: &StateDir, plan: &Plan, name: &str, training_flops: f64) -> State {
    let planned = plan.step(name).unwrap();
    let (run, step, token) = ("quickstart-1".to_owned(), name.to_owned(), "1.1".to_owned());
    let fingerprint = planned.fingerprint.clone();
    let before = PlannedStep {
        name: step.clone(),
        job: planned.step.job.clone(),
        kind: planned.step.kind(),
        fingerprint: fingerprint.clone(),
        code_version: 1,
        params: serde_json::Value::Null,
        inputs: planned.inputs.clone(),
        needs: Vec::new(),
        sources: planned.sources.clone(),
        seed: 1,
        cores: 2,
        cached: false,
        reason: String::new(),
        training_flops,
        trainings: trainings_json(plan, planned, &Projection::new(dir)).unwrap(),
        expected: Expected::default(),
    };
    let mut state = State::open(dir, "test").unwrap();
    let record = |state: &mut State, fact| state.record(vec![fact]).unwrap();
    let (spec_name, spec_path) = (plan.spec_name.clone(), plan.spec_path.clone());
    record(&mut state, Fact::RunCreated { run: run.clone(), spec_name, spec_path, plan_hash: String::new() });
    record(&mut state, Fact::StepsPlanned { run: run.clone(), steps: vec![before] });
    let dir = "runs/quickstart-1/x".into();
    let (run_of, step_of, token_of) = (|| run.clone(), || step.clone(), || token.clone());
    record(
        &mut state,
        Fact::AttemptIntended { run: run_of(), step: step_of(), number: 1, token: token_of(), dir },
    );
    std::thread::sleep(std::time::Duration::from_millis(40));
    let (outcome, peak_rss_bytes, cpu_millis) = (AttemptOutcome::Succeeded, 3 << 20, 1);
    record(
        &mut state,
        Fact::AttemptEnded {
            run: run_of(),
            step: step_of(),
            token: token_of(),
            outcome,
            peak_rss_bytes,
            cpu_millis,
        },
    );
    let kind = planned.step.kind().artifact_kind().to_owned();
    let (path, size_bytes, summary) = ("store/x".into(), 5 << 20, serde_json::Map::new());
    let artifact = CommittedArtifact {
        run: run_of(),
        step: step_of(),
        token: token_of(),
        fingerprint,
        kind,
        path,
        size_bytes,
        summary,
    };
    record(&mut state, Fact::ArtifactCommitted(Box::new(artifact)));
    state
}

#[test]
fn time_follows_compute_and_the_rest_is_as_it_was() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let (before, now) = (world.plan(&[]), world.plan(&[("jobs.base.tokens", "3M")]));
    let flops = training_flops_of(&before, &before.step("base").unwrap().step).unwrap();
    let state = done(&StateDir::new(folder.path()), &before, "base", flops);
    let decisions = decide(&now, None, state.projection(), &|_, _| false).unwrap();
    let spec = world.spec(&[]);
    let of = |plan: &Plan, resources| {
        estimate(plan, &decisions, state.projection(), &KnownRates::default(), (resources, &spec.budget))
            .unwrap()
    };
    let at = now.steps.iter().position(|planned| planned.step.name == "base").unwrap();
    let (short, long) = (of(&before, PLENTY), of(&now, PLENTY));
    let secs = |estimate: &Estimate| estimate.steps[at].as_ref().unwrap().secs.unwrap();
    let ratio = secs(&long) / secs(&short);
    // Start and validation stay; the passes are twice as many.
    assert!(secs(&short) >= 0.04 && ratio > 1.2 && ratio < 2.0, "{short:?} {long:?}");
    assert_eq!(short.steps[at].as_ref().unwrap().secs_from, Some(SecsFrom::SameStep));
    let base = long.steps[at].as_ref().unwrap();
    // A peak that is far from what such a training holds was another program's: it corrects by a limited factor.
    assert!(base.peak_bytes > Some(100 << 20), "{base:?}");
    assert!(base.disk_bytes > Some(5 << 20), "its checkpoints take more than its weights: {base:?}");
    assert_eq!(base.tokens.unwrap().needed as u64, 3_000_000);
    // Sweeps never ran, and training as such did.
    let sweep = now.steps.iter().position(|planned| planned.step.name == "law/sweep[lstm,1]").unwrap();
    assert!(long.steps[sweep].as_ref().unwrap().secs.is_some_and(|secs| secs > 0.0));
    assert!(long.num_unknown > 0 && long.wall_secs <= long.work_secs && long.warnings.is_empty(), "{long:?}");
}

/// Its plan could not know how little held-out text there would be.
#[test]
fn a_run_that_was_planned_before_its_data_was_there_corrects_by_what_it_was() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let (before, now) = (world.plan(&[]), world.plan(&[("jobs.base.tokens", "3M")]));
    let mut state = done(&StateDir::new(folder.path()), &before, "base", 1.0);
    let tokens = before.steps.iter().find(|planned| planned.step.kind() == StepKind::Tokens).unwrap();
    let counts = serde_json::json!({ "train.code.tokens": 9_000_000, "validation.code.tokens": 2_000 });
    let artifact = CommittedArtifact {
        run: "quickstart-1".into(),
        step: tokens.step.name.clone(),
        token: "1.1".into(),
        fingerprint: tokens.fingerprint.clone(),
        kind: "tokens".into(),
        path: "store/tokens".into(),
        size_bytes: 1,
        summary: counts.as_object().unwrap().clone(),
    };
    state.record(vec![Fact::ArtifactCommitted(Box::new(artifact))]).unwrap();
    let attempt = &state.projection().attempts(&before.step("base").unwrap().fingerprint)[0];
    let took = (attempt.ended_millis.unwrap() - attempt.submitted_millis) as f64 / 1e3;
    let secs = |plan: &Plan| {
        let decisions = decide(plan, None, state.projection(), &|_, _| false).unwrap();
        let (rates, budget) = (KnownRates::default(), world.spec(&[]).budget);
        let told = estimate(plan, &decisions, state.projection(), &rates, (PLENTY, &budget)).unwrap();
        told.steps[plan.place("base").unwrap()].as_ref().unwrap().secs.unwrap()
    };
    assert!(
        (secs(&before) / took - 1.0).abs() < 1e-9,
        "the same step takes as long: {} {took}",
        secs(&before)
    );
    let ratio = secs(&now) / took;
    assert!(ratio > 1.5 && ratio < 2.1, "twice the tokens take nearly twice as long: {ratio}");
}

#[test]
fn what_does_not_fit_is_said_before_anything_runs() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let (before, plan) = (world.plan(&[]), world.plan(&[("jobs.base.tokens", "3B")]));
    let state = done(&StateDir::new(folder.path()), &before, "base", 1.0);
    let decisions = decide(&plan, None, state.projection(), &|_, _| false).unwrap();
    let spec = world.spec(&[("budget.hours", "0.0001")]);
    let little = Resources { cores: 2, memory_bytes: 1 << 20, free_bytes: 1 << 20 };
    let told =
        estimate(&plan, &decisions, state.projection(), &KnownRates::default(), (little, &spec.budget))
            .unwrap();
    let says = |words: &str| told.warnings.iter().any(|warning| warning.contains(words));
    let refused = |told: &Estimate, words: &str| told.refusals.iter().any(|refusal| refusal.contains(words));
    let words = "of memory, and there are 1 MiB: weights, gradients and optimiser";
    assert!(refused(&told, "`base` takes") && refused(&told, words), "{:?}", told.refusals);
    assert!(!says("`base` takes"), "it is said once: {:?}", told.warnings);
    assert!(says("free on the disk of the state folder"), "{:?}", told.warnings);
    assert!(says("and the budget is 0.4 s"), "{:?}", told.warnings);
}

/// What may fit is run with a warning, what can't is refused unless the spec says otherwise, and each rank takes as much.
#[test]
fn a_training_is_refused_where_it_cannot_fit_and_told_where_it_may_not() {
    let world = World::new();
    let folder = tempfile::tempdir().unwrap();
    let state = State::open(&StateDir::new(folder.path()), "test").unwrap();
    let of = |sets: &[(&str, &str)], memory_bytes: u64| {
        let plan = world.plan(sets);
        let decisions = decide(&plan, None, state.projection(), &|_, _| false).unwrap();
        let there = Resources { memory_bytes, ..PLENTY };
        let budget = Budget { hours: 0.0, ..world.spec(sets).budget };
        let told = estimate(&plan, &decisions, state.projection(), &KnownRates::default(), (there, &budget))
            .unwrap();
        let at = plan.steps.iter().position(|planned| planned.step.name == "base").unwrap();
        let is_base = |lines: &[String]| lines.iter().any(|line| line.starts_with("`base` takes"));
        (told.steps[at].clone().unwrap(), is_base(&told.warnings), is_base(&told.refusals))
    };
    let peak = of(&[], 0).0.peak_bytes.unwrap();
    assert_eq!(of(&[], peak).0.fitting, None);
    let told = |sets: &[(&str, &str)], bytes: u64| {
        let (_, is_warned, is_refused) = of(sets, bytes);
        (is_warned, is_refused)
    };
    assert_eq!(told(&[], peak), (false, false));
    assert_eq!(told(&[], peak - peak / 20), (true, false), "it may fit: the estimate is off by as much");
    assert_eq!(told(&[], peak / 2), (false, true));
    let overcommit = ("jobs.base.resources.overcommit", "true");
    assert_eq!(told(&[overcommit], peak / 2), (true, false));
    let ranks = ("jobs.base.parallel.data", "2");
    let of_two = of(&[ranks], 0).0;
    assert_eq!((of_two.ranks, of_two.total_bytes()), (2, of_two.peak_bytes.map(|bytes| 2 * bytes)));
    assert_eq!(told(&[ranks], of_two.peak_bytes.unwrap()), (false, true));
}

/// Recomputed, each layer keeps its input alone, and in backward the inside of one is there.
#[test]
fn what_is_computed_again_is_held_for_one_layer() {
    let layers = |num_hidden_layers, recompute| {
        let shape = ModelShape { num_hidden_layers, ..small(MatrixOptimizer::Adamw).shape };
        let training = Training { shape, recompute, ..small(MatrixOptimizer::Adamw) };
        Pass::new(&training, 1.0).peak()
    };
    let more = |recompute| layers(5, recompute) - layers(4, recompute);
    // 4 tokens of 8 channels in fp32.
    assert!((more(Recompute::Blocks) - 128.0).abs() < 0.5, "{}", more(Recompute::Blocks));
    assert!(more(Recompute::None) > 10.0 * more(Recompute::Blocks));
}

/// A rank holds the gradients twice; with shares, of the optimisers' state what it was given alone.
#[test]
fn ranks_hold_buckets_and_shares() {
    let adamw = || small(MatrixOptimizer::Adamw);
    let params = adamw().shape.total_params(10);
    let ranks = Training { ranks: 2, ..adamw() };
    assert_eq!(memory::memory(&ranks).state_bytes, 20 * params);
    let shared = Training { zero: 1, ..ranks.clone() };
    let state = memory::memory(&shared).state_bytes;
    assert!((12 * params + 4 * params..12 * params + 6 * params).contains(&state), "{state} of {params}");
    let passes = |ranks, step_rows| Training { ranks, step_rows, ..adamw() }.passes();
    assert_eq!([passes(1, 8.0), passes(2, 8.0), passes(3, 8.0)].map(|passes| passes as u64), [8, 4, 3]);
}

/// A training of one small Llama layer, in fp32 on a CPU.
fn small(matrices: MatrixOptimizer) -> Training {
    let shape = ModelShape {
        hidden_size: 8,
        intermediate_size: 24,
        num_attention_heads: 2,
        num_key_value_heads: 1,
        head_dim: 4,
        ..ModelShape::plain(ModelType::Llama)
    };
    Training {
        stage: Stage::Language,
        shape,
        vocab_size: 10,
        precision: Precision::Fp32,
        device: Device::Cpu,
        threads: 1,
        ranks: 1,
        zero: 0,
        recompute: Recompute::None,
        row_tokens: 4,
        micro_rows: 1.0,
        step_rows: 2.0,
        steps: Some(3),
        loss_share: 1.0,
        is_masked: false,
        matrices,
        others: OtherOptimizer::Adamw,
        has_ema: false,
        has_z_loss: false,
        lora: None,
        held_out_tokens: 0.0,
        held_out_on_the_way: 0.0,
        state_steps: 0,
        state_secs: 0.0,
        secs: None,
        mapped_bytes: 0.0,
    }
}

/// Added up by hand, tensor by tensor, of 4 tokens.
#[test]
fn a_pass_holds_what_its_operations_keep() {
    let training = small(MatrixOptimizer::Adamw);
    let numbers = |count: u32| 4.0 * f64::from(count);
    // Two norms with their results, the stream twice, the projection, rotated queries and keys, the mixture and its sums.
    let norms = 2.0 * numbers(2 * 32);
    let attention = numbers(2 * 32) + numbers(4 * 16) + numbers(4 * 12) + numbers(4 * 8 + 2 * 4);
    // Gate and way up in one, the gate's SiLU, their product; the joined weights of both parts.
    let feed_forward = numbers(4 * 4 * 24);
    let joined = numbers(8 * 16 + 2 * 8 * 24);
    // Ids and targets, the stream into the last norm, that norm, the logarithm of the softmax.
    let shared = 16.0 * 4.0 + numbers(32) + numbers(2 * 32);
    let held = norms + attention + feed_forward + joined + shared;
    // On the way back the feed-forward part's gradients are more than two copies of the logits and what the loss kept.
    let back = numbers(3 * 4 * 24);
    assert!((Pass::new(&training, 1.0).peak() - (held + back)).abs() < 0.5);
    let wide = Training { vocab_size: 1000, ..training };
    let at_head = numbers(3 * 4 * 1000);
    assert!((Pass::new(&wide, 1.0).peak() - (held + at_head)).abs() < 0.5);
}

#[test]
fn state_is_weights_gradients_and_moments() {
    let params = small(MatrixOptimizer::Adamw).shape.total_params(10);
    let products = small(MatrixOptimizer::Adamw).shape.product_params();
    let state = |training: &Training| memory::memory(training).state_bytes;
    assert_eq!(state(&small(MatrixOptimizer::Adamw)), 16 * params);
    assert_eq!(state(&small(MatrixOptimizer::Muon)), 16 * params - 4 * products);
    let lora = LoraConfig {
        rank: 2,
        alpha: 4.0,
        use_rslora: false,
        targets: vec![LoraTarget::AllLinear],
        dropout: 0.0,
    };
    let adapted = Training { lora: Some(lora.clone()), ..small(MatrixOptimizer::Adamw) };
    assert_eq!(state(&adapted), 4 * params + 12 * adapted.shape.adapter_params(&lora));
    let saved = Training { state_steps: 2, ..small(MatrixOptimizer::Adamw) };
    assert_eq!(memory::memory(&saved).checkpoint_bytes, 12 * params);
}

#[test]
fn a_smaller_micro_batch_that_fits_is_named() {
    let training = Training {
        micro_rows: 64.0,
        step_rows: 64.0,
        row_tokens: 512,
        vocab_size: 32_000,
        ..small(MatrixOptimizer::Muon)
    };
    let whole = memory::memory(&training).peak_bytes;
    let quarter = memory::memory(&Training { micro_rows: 16.0, ..training.clone() }).peak_bytes;
    assert!(quarter < whole);
    let fits = |micro_rows, recompute| Some(Fitting { micro_rows, recompute });
    assert_eq!(memory::fitting(&training, quarter), fits(16, Recompute::None));
    assert_eq!(memory::fitting(&training, 1 << 20), None, "the program alone is more");
    let deep = |micro_rows| {
        let shape = ModelShape { num_hidden_layers: 64, ..small(MatrixOptimizer::Muon).shape };
        Training { micro_rows, row_tokens: 4096, shape, ..small(MatrixOptimizer::Muon) }
    };
    let again = Training { recompute: Recompute::Blocks, ..deep(1.0) };
    let little = memory::memory(&again).peak_bytes;
    assert!(little < memory::memory(&deep(1.0)).peak_bytes);
    assert_eq!(memory::fitting(&deep(1.0), little), fits(1, Recompute::Blocks));
    assert_eq!(memory::fitting(&again, little - 1), None, "it computes all again already");
}

/// Of two ranks one measures, with all that is held out: what they share are the passes.
#[test]
fn ranks_share_passes_and_not_what_is_measured() {
    let rates = work::Speed { rates: usual::rates(Precision::Fp32), trial: None };
    let secs = |ranks, held_out_tokens| {
        let training = Training { ranks, held_out_tokens, step_rows: 8.0, ..small(MatrixOptimizer::Adamw) };
        work::training_secs(&training, rates).unwrap()
    };
    let measured = |ranks| secs(ranks, 4_000.0) - secs(ranks, 0.0);
    assert!((measured(2) / measured(1) - 1.0).abs() < 1e-9, "{} {}", measured(2), measured(1));
    let of_passes =
        |ranks| work::step_secs(&Training { ranks, step_rows: 8.0, ..small(MatrixOptimizer::Adamw) }, rates);
    assert!((2.0 * of_passes(2).passes / of_passes(1).passes - 1.0).abs() < 1e-9);
}

/// Twice the rows are twice the time of the passes, and the update's stays.
#[test]
fn time_goes_with_the_work() {
    let rates = work::Speed { rates: usual::rates(Precision::Fp32), trial: None };
    let one = work::step_secs(&small(MatrixOptimizer::Muon), rates);
    let two = work::step_secs(&Training { step_rows: 4.0, ..small(MatrixOptimizer::Muon) }, rates);
    assert!((two.passes / one.passes - 2.0).abs() < 1e-9 && (two.update - one.update).abs() < 1e-12);
    let long = Training { steps: Some(1_003), ..small(MatrixOptimizer::Muon) };
    let secs = |training| work::training_secs(training, rates).unwrap();
    let more = secs(&long) - secs(&small(MatrixOptimizer::Muon));
    assert!((more / (1_000.0 * one.all()) - 1.0).abs() < 1e-9, "{more}");
}

/// What a trial took counts for the passes, the updates and what is only read; the rates then say nothing of them.
#[test]
fn a_trial_tells_the_time_of_its_training() {
    let rates = usual::rates(Precision::Fp32);
    let trial = Some(TrialSecs { forward: 1.0, pass: 3.0, update: 0.5 });
    let speed = work::Speed { rates, trial };
    let training = Training { micro_rows: 2.0, step_rows: 4.0, ..small(MatrixOptimizer::Muon) };
    let step = work::step_secs(&training, speed);
    assert_eq!((step.passes, step.update), (6.0, 0.5));
    let secs = |held_out_tokens| {
        work::training_secs(&Training { held_out_tokens, ..training.clone() }, speed).unwrap()
    };
    // 80 tokens are ten passes of two rows of four.
    assert!((secs(80.0) - secs(0.0) - 10.0).abs() < 1e-9);
    let shared = Training { ranks: 2, zero: 1, ..training };
    let of_rank = work::step_secs(&shared, speed);
    assert_eq!(of_rank.passes.to_bits(), 3f64.to_bits());
    assert!(of_rank.update < 0.5, "{of_rank:?}");
}

/// The journal finds the trial of a training by all that its time depends on, and by nothing else.
#[test]
fn a_trial_is_found_by_what_its_time_depends_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut state = State::open(&StateDir::new(folder.path()), "test").unwrap();
    let training = small(MatrixOptimizer::Muon);
    let key = trial_name(&training.rates_of().key(), &training.trial().unwrap());
    let value = serde_json::json!(TrialSecs { forward: 1.0, pass: 3.0, update: 0.5 });
    state.record(vec![Fact::Noted { topic: TRIALS.to_owned(), key, value }]).unwrap();
    let known = KnownRates::read(state.projection());
    let finds = |training: Training| known.trial(&training).is_some();
    let of = || small(MatrixOptimizer::Muon);
    assert!(finds(of()) && finds(Training { steps: Some(9), step_rows: 8.0, ..of() }));
    let others = [
        Training { vocab_size: 11, ..of() },
        Training { ranks: 2, ..of() },
        Training { micro_rows: 2.0, ..of() },
        Training { has_z_loss: true, ..of() },
        Training { recompute: Recompute::Blocks, ..of() },
        small(MatrixOptimizer::Adamw),
    ];
    for training in others {
        assert!(!finds(training.clone()), "{training:?}");
    }
}
