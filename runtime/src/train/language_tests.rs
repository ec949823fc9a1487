//! Runs on token shards: the same rows on any ranks, packed as unpacked, longer rows at the end, bits per byte by hand.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cupola_specs::job::{AutoOr, BatchParams, ExtendParams, Family, Packing, Precision, RopeExtension};
use proptest::prelude::*;
use tch::{Device, Kind, Tensor};

use super::tests::{
    CONTEXT, bits, context, optimizer_params, phases, plan_of, tiny_shape, weights_of, write_documents,
    write_tokens,
};
use super::{
    LanguageRun, Objective, Recipe, RowId, RowSet, RowShape, TokenData, TokenProblem, TrainError,
    TrainOutcome, packed_self_test, train, validate,
};
use crate::job::JobError;
use crate::model::{Network, RowLayout, SaveFacts, cross_entropy, depth_shape};

const STEPS: u64 = 10;
const EXTEND: ExtendParams = ExtendParams { length: 16, tokens: 0.3, rope: RopeExtension::Stretched };

/// A run of ten steps of eight rows.
fn language_run(
    data: &TokenData,
    (packing, document_mask): (Packing, bool),
    micro: u64,
    extend: Option<ExtendParams>,
    max_epochs: Option<f64>,
) -> Result<LanguageRun<'_>, TrainError> {
    shared_run(data, (packing, document_mask), (micro, 1), extend, max_epochs)
}

/// The same for each of some ranks.
fn shared_run(
    data: &TokenData,
    (packing, document_mask): (Packing, bool),
    (micro, ranks): (u64, u64),
    extend: Option<ExtendParams>,
    max_epochs: Option<f64>,
) -> Result<LanguageRun<'_>, TrainError> {
    let recipe = Recipe {
        shape: &tiny_shape(),
        tokens: STEPS * 8 * CONTEXT,
        optimizer: &optimizer_params(),
        batch: BatchParams { global_tokens: AutoOr::Value(8 * CONTEXT), micro_batch: AutoOr::Value(micro) },
        phases: &phases(),
        rows: RowShape { context_length: CONTEXT, packing, document_mask },
        extend,
        max_epochs,
        precision: Precision::Fp32,
        micro_batch_halvings: 0,
        ranks,
        init_seed: 5,
        order_seed: 6,
    };
    LanguageRun::new(&recipe, data, Device::Cpu)
}

/// Moves every weight: fresh networks have outputs of zero.
fn stir(network: &Network) {
    tch::no_grad(|| {
        for (place, parameter) in network.parameters().iter().enumerate() {
            let count = parameter.tensor.numel() as i64;
            let noise =
                (Tensor::arange(count, (Kind::Float, Device::Cpu)) * (1.7 + place as f64)).sin() * 0.1;
            let _ = parameter.tensor.shallow_clone().g_add_(&noise.view_as(&parameter.tensor));
        }
    });
}

fn open_tokens(folder: &Path) -> TokenData {
    write_tokens(folder);
    TokenData::train(folder).unwrap()
}

/// The rows of a step, one micro-batch after the other, each of some ranks having one at least.
fn rows_of_step(data: &TokenData, packing: Packing, (ranks, micro): (u64, u64), step: u64) -> Vec<RowId> {
    let run = shared_run(data, (packing, false), (micro, ranks), Some(EXTEND), None).unwrap();
    assert!(run.micro_batches(step) >= ranks);
    (0..run.micro_batches(step)).flat_map(|micro| run.rows_of(step, micro)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn the_rows_of_a_step_are_the_same_on_any_ranks_in_any_micro_batches_and_from_any_step_on(
        ranks in 1..5u64, micro in prop::sample::select(vec![1u64, 2, 4, 8]),
        step in 0..STEPS, best_fit in any::<bool>(),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let data = open_tokens(folder.path());
        let packing = if best_fit { Packing::BestFit } else { Packing::Concat };
        // A run that went all the way, on one rank and in one micro-batch, against one that begins at this step.
        let whole = language_run(&data, (packing, false), 8, Some(EXTEND), None).unwrap();
        let all: Vec<Vec<RowId>> = (0..STEPS).map(|step| whole.rows_of(step, 0)).collect();
        prop_assert_eq!(&rows_of_step(&data, packing, (ranks, micro), step), &all[step as usize]);
        prop_assert_eq!(all[step as usize].len(), if step < 7 { 8 } else { 4 });
    }
}

#[test]
fn the_losses_of_any_number_of_ranks_sum_up_to_the_whole() {
    let folder = tempfile::tempdir().unwrap();
    let data = open_tokens(folder.path());
    let sum = |ranks: u64| -> (f64, u64) {
        let mut run = shared_run(&data, (Packing::BestFit, true), (8, ranks), None, None).unwrap();
        stir(&run.network);
        let parts = (0..run.micro_batches(3)).map(|micro| run.loss(3, micro).unwrap());
        parts
            .fold((0.0, 0), |(loss, tokens), part| (loss + part.loss.double_value(&[]), tokens + part.tokens))
    };
    let whole = sum(1);
    for ranks in 2..9 {
        let shared = sum(ranks);
        assert_eq!(shared.1, whole.1);
        assert!((shared.0 - whole.0).abs() < 1e-6 * whole.0, "{ranks} ranks: {shared:?} and {whole:?}");
    }
}

/// Loss and gradients, end to end.
fn backward(network: &Network, loss: &Tensor) -> (f64, Tensor) {
    loss.backward();
    let flat = network.parameters().iter().map(|parameter| {
        let mut weight = parameter.tensor.shallow_clone();
        let grad = weight.grad().view([-1]).copy();
        weight.zero_grad();
        grad
    });
    (loss.double_value(&[]), Tensor::cat(&flat.collect::<Vec<_>>(), 0))
}

#[test]
fn packed_rows_have_the_loss_and_the_gradients_of_their_documents_alone() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path(), &[("code", &[3, 6, 2, 1, 4, 5, 21, 7, 2])]);
    let data = TokenData::train(folder.path()).unwrap();
    let network = Network::init(&tiny_shape(), 31, 5, Device::Cpu).unwrap();
    stir(&network);
    for packing in [Packing::BestFit, Packing::Concat] {
        let shape = RowShape { context_length: CONTEXT, packing, document_mask: true };
        let rows = RowSet::new(&data, shape).unwrap();
        let all: Vec<RowId> = (0..rows.num_rows(0)).map(|row| (0, row)).collect();
        let batch = rows.batch(&all, Device::Cpu).unwrap();
        let losses = cross_entropy(&network, &batch.inputs, &batch.targets, &batch.layout, Precision::Fp32);
        let (packed_loss, packed) = backward(&network, &losses.sum(Kind::Float));

        let RowLayout::Documents { segment, .. } = &batch.layout else { panic!("documents are apart") };
        let (mut alone_loss, mut alone, mut pieces) = (0.0, packed.zeros_like().to_kind(Kind::Double), 0);
        for row in 0..all.len() as i64 {
            let segments = Vec::<i64>::try_from(segment.get(row)).unwrap();
            let mut start = 0;
            for document in segments.chunk_by(|a, b| a == b) {
                let cut = |ids: &Tensor| ids.narrow(0, row, 1).narrow(1, start, document.len() as i64);
                let (inputs, targets) = (cut(&batch.inputs), cut(&batch.targets));
                start += document.len() as i64;
                if targets.get(0).int64_value(&[0]) < 0 {
                    continue;
                }
                let losses = cross_entropy(&network, &inputs, &targets, &RowLayout::Causal, Precision::Fp32);
                let (loss, gradient) = backward(&network, &losses.sum(Kind::Float));
                alone_loss += loss;
                alone += gradient.to_kind(Kind::Double);
                pieces += 1;
            }
        }
        assert!(pieces > all.len(), "no row of {packing:?} holds two documents");
        let apart = ((&packed - &alone).norm() / alone.norm()).double_value(&[]);
        println!("{packing:?}: loss {:.1e}, gradients {apart:.1e}", (packed_loss / alone_loss - 1.0).abs());
        assert!((packed_loss / alone_loss - 1.0).abs() < 1e-6, "{packed_loss} and {alone_loss}");
        assert!(apart < 1e-6, "{packing:?}: gradients are {apart:e} apart");
        // Without the mask they are not the same: the test can fail.
        let seen =
            cross_entropy(&network, &batch.inputs, &batch.targets, &RowLayout::Causal, Precision::Fp32);
        let (_, mixed) = backward(&network, &seen.sum(Kind::Float));
        assert!(((&mixed - &alone).norm() / alone.norm()).double_value(&[]) > 1e-3);
    }
}

#[test]
fn the_self_test_of_packed_rows_finds_several_documents_and_holds() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path(), &[("code", &[3, 4, 2, 6, 5, 3]), ("docs", &[2, 5, 4, 4])]);
    let data = TokenData::train(folder.path()).unwrap();
    let run = |mask| language_run(&data, (Packing::BestFit, mask), 2, None, None).unwrap();
    let apart = packed_self_test(&run(true)).unwrap().unwrap();
    assert!(apart < 1e-5, "{apart}");
    assert_eq!(packed_self_test(&run(false)).unwrap(), None);
}

/// Trains a run with longer rows at its end; asked to stop after `stop_at` steps.
fn extended(
    folder: &Path,
    data: &TokenData,
    stop_at: Option<u64>,
) -> (Result<TrainOutcome, TrainError>, Vec<u32>, String) {
    let stop = Arc::new(AtomicBool::new(false));
    let ctx = context(folder, stop.clone());
    let mut run = language_run(data, (Packing::BestFit, true), 2, Some(EXTEND), None).unwrap();
    run.evaluate_with(Box::new(move |network, done, curves| {
        curves.push("positions", done, network.shape().max_position_embeddings as f64);
        stop.store(stop_at == Some(done), Ordering::SeqCst);
        Ok(())
    }));
    let outcome = train(&ctx, &plan_of(&run, 2), &mut run);
    run.settle(STEPS).unwrap();
    let weights = weights_of(&run.network);
    let facts = SaveFacts { bos_token_id: 0, stop_token_ids: Vec::new(), pad_token_id: 0 };
    run.network.save(folder, &facts).unwrap();
    let config = std::fs::read_to_string(folder.join("config.json")).unwrap();
    (outcome, bits(&weights), config)
}

#[test]
fn rows_get_longer_at_the_end_and_a_stop_on_either_side_of_the_border_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data = open_tokens(folder.path());
    let run = language_run(&data, (Packing::BestFit, true), 2, Some(EXTEND), None).unwrap();
    let borders: Vec<(u64, u64, u64, u64)> = run
        .phases
        .iter()
        .map(|phase| (phase.begin_step, phase.end_step, phase.context_length, phase.step_rows))
        .collect();
    // Phases end at 60 % and 100 %, rows are longer from 70 % on: as many tokens a step.
    assert_eq!(borders, [(0, 6, 8, 8), (6, 7, 8, 8), (7, 10, 16, 4)]);
    assert_eq!(run.tokens, STEPS * 8 * CONTEXT);
    // Heads of 8: 10000 · 2^(8/6).
    let theta = 10_000.0 * 2f64.powf(8.0 / 6.0);
    assert!(run.chosen.iter().any(|choice| (choice.value - theta).abs() < 1e-9), "{:?}", run.chosen);

    let whole = tempfile::tempdir().unwrap();
    let (wanted, weights, config) = extended(whole.path(), &data, None);
    let wanted = wanted.unwrap();
    let positions: Vec<f64> = wanted.curves.0["positions"].iter().map(|point| point.value).collect();
    assert_eq!(positions, [8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 8.0, 16.0, 16.0, 16.0]);
    assert_eq!(wanted.data_cursor, 7 * 8 + 3 * 4);
    let json: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(json["max_position_embeddings"], 16);
    assert!((json["rope_theta"].as_f64().unwrap() - theta).abs() < 1e-6, "{config}");
    for stop_at in [3, 7, 8] {
        let broken = tempfile::tempdir().unwrap();
        let (stopped, ..) = extended(broken.path(), &data, Some(stop_at));
        assert!(matches!(stopped, Err(TrainError::Job(JobError::Cancelled))), "{stopped:?}");
        let (resumed, again, config_again) = extended(broken.path(), &data, None);
        assert_eq!(resumed.unwrap(), wanted, "stopped after {stop_at}");
        assert_eq!((again, &config_again), (weights.clone(), &config), "stopped after {stop_at}");
    }
}

#[test]
fn repeated_epochs_are_counted_and_refused_where_they_are_forbidden() {
    let folder = tempfile::tempdir().unwrap();
    let data = open_tokens(folder.path());
    let run = language_run(&data, (Packing::Concat, false), 2, None, None).unwrap();
    // Of 80 rows, 48 with weights of 3:1 and 32 of 1:1: 28 of the docs' 22 rows.
    assert!((run.domains["docs"].epochs - 28.0 / 22.0).abs() < 1e-12, "{:?}", run.domains);
    // 170 tokens in 22 rows of 8.
    assert!((run.domains["docs"].padding - 6.0 / 176.0).abs() < 1e-12, "{:?}", run.domains);
    let refused = language_run(&data, (Packing::Concat, false), 2, None, Some(1.2)).err();
    assert!(
        matches!(&refused, Some(TrainError::Exhausted { domain, max_epochs: 1.2, .. }) if domain == "docs"),
        "{refused:?}"
    );
    assert!(language_run(&data, (Packing::Concat, false), 2, None, Some(1.3)).is_ok());
}

#[test]
fn an_lstm_is_not_trained_on_masked_documents() {
    let folder = tempfile::tempdir().unwrap();
    let data = open_tokens(folder.path());
    let recipe = Recipe {
        shape: &depth_shape(Family::Lstm, 1, CONTEXT),
        tokens: 64 * CONTEXT,
        optimizer: &optimizer_params(),
        batch: BatchParams { global_tokens: AutoOr::Auto, micro_batch: AutoOr::Auto },
        phases: &phases(),
        rows: RowShape { context_length: CONTEXT, packing: Packing::BestFit, document_mask: true },
        extend: None,
        max_epochs: None,
        precision: Precision::Fp32,
        micro_batch_halvings: 0,
        ranks: 1,
        init_seed: 5,
        order_seed: 6,
    };
    let refused = LanguageRun::new(&recipe, &data, Device::Cpu).err().unwrap().to_string();
    assert!(refused.contains("document_mask: false"), "{refused}");
}

/// A fresh network's head is zero: every token costs ln(31) nats, whatever came before.
#[test]
fn bits_per_byte_are_those_of_hand_arithmetic() {
    let folder = tempfile::tempdir().unwrap();
    write_documents(folder.path(), &[("code", &[13, 4]), ("docs", &[5])]);
    let data = TokenData::validation(folder.path()).unwrap();
    let network = Network::init(&tiny_shape(), 31, 5, Device::Cpu).unwrap();
    let shape = RowShape { context_length: CONTEXT, packing: Packing::BestFit, document_mask: true };
    let all = validate(&network, &data, shape, Precision::Fp32, 0, &|| Ok(())).unwrap();
    // Ids of the documents of 13, 4 and 5, each with the bytes of its text by the rule 1 + id mod 4 (0 for the one before it).
    let text = |length: u64| (1..length).map(move |i| 1 + (i * i + 3 * i) % 30);
    let bytes = |length: u64| text(length).map(|id| 1 + id % 4).sum::<u64>();
    let (code, docs) = (bytes(13) + bytes(4), bytes(5));
    assert_eq!((all.tokens, all.bytes), (22, code + docs));
    assert_eq!((data.shard(0).num_bytes, data.shard(1).num_bytes), (code, docs));
    let near = |got: f64, wanted: f64| assert!((got - wanted).abs() < 1e-6 * wanted, "{got} and {wanted}");
    near(all.loss, 31f64.ln());
    near(all.bpb, 22.0 * 31f64.log2() / (code + docs) as f64);
    near(all.bpb_by_domain["code"], 17.0 * 31f64.log2() / code as f64);
    near(all.bpb_by_domain["docs"], 5.0 * 31f64.log2() / docs as f64);
    // Every row costs the same a token.
    assert!(all.stderr < 1e-6, "{}", all.stderr);
    // A sample: of code's three rows of 8, 8 and 1 the first two, whose targets are the ids 1 to 16; all of docs.
    let sample = validate(&network, &data, shape, Precision::Fp32, 12, &|| Ok(())).unwrap();
    let sampled = bytes(13) + text(4).map(|id| 1 + id % 4).sum::<u64>();
    assert_eq!((sample.tokens, sample.bytes), (16 + 5, sampled + docs));
}

#[test]
fn shards_that_are_not_laid_out_as_they_should_be_are_named() {
    let problem = |break_it: &dyn Fn(&Path)| {
        let folder = tempfile::tempdir().unwrap();
        write_tokens(folder.path());
        break_it(folder.path());
        let opened = TokenData::train(folder.path());
        match opened.and_then(|data| data.documents(0).map(|_| ())) {
            Err(TrainError::Tokens { path, problem }) => {
                (path.file_name().unwrap().to_string_lossy().into_owned(), problem)
            }
            other => panic!("{other:?}"),
        }
    };
    let cut = |name: &'static str, bytes: usize| {
        problem(&move |folder| {
            let path = folder.join(name);
            let whole = std::fs::read(&path).unwrap();
            std::fs::write(&path, &whole[..whole.len() - bytes]).unwrap();
        })
    };
    let replace = |from: &'static str, to: &'static str| {
        problem(&move |folder| {
            let path = folder.join("index.json");
            let text = std::fs::read_to_string(&path).unwrap();
            assert!(text.contains(from));
            std::fs::write(&path, text.replace(from, to)).unwrap();
        })
    };
    let start = |document: usize, place: u64| {
        problem(&move |folder| {
            let path = folder.join("code.starts");
            let mut bytes = std::fs::read(&path).unwrap();
            bytes[8 * document..8 * document + 8].copy_from_slice(&place.to_le_bytes());
            std::fs::write(&path, bytes).unwrap();
        })
    };
    let (file, truncated) = cut("code.bin", 1);
    assert_eq!(file, "code.bin");
    assert!(matches!(truncated, TokenProblem::Length { expected: 800, got: 799, .. }), "{truncated:?}");
    assert!(truncated.to_string().starts_with("truncated: expected 800 bytes"), "{truncated}");
    assert!(matches!(cut("code.starts", 8).1, TokenProblem::Length { width: 8, .. }));
    assert!(matches!(cut("bytes.bin", 4).1, TokenProblem::Length { expected: 124, got: 120, .. }));
    assert!(matches!(
        replace("\"id_bytes\":2", "\"id_bytes\":3").1,
        TokenProblem::IdWidth { id_bytes: 3, .. }
    ));
    assert!(matches!(replace("\"vocab_size\":31", "\"vocab_size\":70000").1, TokenProblem::IdWidth { .. }));
    assert!(matches!(replace("\"id_bytes\":2", "\"id_bytes\":4").1, TokenProblem::Length { width: 4, .. }));
    assert!(matches!(replace("\"token_bytes\"", "\"bytes\"").1, TokenProblem::Index(_)));
    assert!(matches!(start(0, 1).1, TokenProblem::Starts { document: 0, start: 1 }));
    assert!(matches!(start(6, 400).1, TokenProblem::Starts { document: 6, start: 400 }));
    // Within, places are checked where they are read.
    assert!(matches!(start(3, 20).1, TokenProblem::Starts { .. }));
}
