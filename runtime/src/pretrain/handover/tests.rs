//! What is written for other engines: the indexed dataset read back by its format, rates, mixture, and networks that are refused.

use cupola_specs::job::{
    Activation, AutoOr, BatchParams, LrShape, MatrixOptimizer, ModelShape, ModelType, OptimizerParams,
    OtherOptimizer, Packing, PhaseParams, Precision, PretrainParams, RopeScaling, RuleOr, Span,
};

use super::plan::{Fall, RunPlan};
use super::{Engine, HandoverError, megatron, torchtitan};
use crate::job::StepError;
use crate::train::tests::{CONTEXT, phases, tiny_shape, write_tokens};
use crate::train::{LanguageRun, Recipe, RowShape, TokenData};

const STEPS: u64 = 20;
/// Makes a network another one.
type Change = fn(&mut ModelShape);

fn params(shape: &ModelShape, phases: &[PhaseParams]) -> PretrainParams {
    let text = serde_json::json!({
        "model": { "by": "shape" },
        "tokens": { "by": "count", "tokens": STEPS * 8 * CONTEXT },
        "optimizer": OptimizerParams {
            matrices: MatrixOptimizer::Adamw,
            others: OtherOptimizer::Adamw,
            lr: AutoOr::Value(0.003),
            matrix_lr: AutoOr::Value(0.003),
            weight_decay: RuleOr::Value(0.1),
            grad_clip: 1.0,
            warmup: Span::Share(0.1),
            ..OptimizerParams::default()
        },
        "batch": BatchParams { global_tokens: AutoOr::Value(8 * CONTEXT), micro_batch: AutoOr::Value(4) },
        "phases": phases, "context_length": CONTEXT, "packing": "concat", "document_mask": false, "extend": null,
        "max_epochs": null, "precision": "bf16",
        "checkpoint": { "every_secs": 0.0, "every_steps": 0, "keep": 1, "keep_best": null },
        "export": "last", "best_metric": "validation_bpb",
        "evaluate": { "every_steps": 0, "samples": 0, "max_tokens": 0 }, "forecast": false,
    });
    let mut text = text;
    let mut model = serde_json::to_value(shape).unwrap();
    model["by"] = "shape".into();
    text["model"] = model;
    serde_json::from_value(text).unwrap()
}

fn plan_of(
    engine: Engine,
    data: &TokenData,
    params: &PretrainParams,
    shape: &ModelShape,
) -> Result<RunPlan, HandoverError> {
    let recipe = Recipe {
        shape,
        tokens: STEPS * 8 * CONTEXT,
        optimizer: &params.optimizer,
        batch: params.batch,
        phases: &params.phases,
        rows: RowShape {
            context_length: CONTEXT,
            packing: params.packing,
            document_mask: params.document_mask,
        },
        extend: None,
        max_epochs: None,
        precision: Precision::Bf16,
        micro_batch_halvings: 0,
        ranks: 1,
        init_seed: 1,
        order_seed: 1,
    };
    let run = LanguageRun::outline(&recipe, data).unwrap();
    RunPlan::of(engine, params, &run, data, 7)
}

fn phase(until: f64, code: f64, lr: LrShape, lr_final: f64) -> PhaseParams {
    let weights = [("code".to_owned(), code), ("docs".to_owned(), 1.0 - code)].into();
    PhaseParams { until, weights, corpora: Vec::new(), lr, lr_final }
}

/// Reads an indexed dataset by the format alone: the ids of each document.
fn read_back(idx: &[u8], bin: &[u8]) -> Vec<Vec<u16>> {
    let u64_at = |at: usize| u64::from_le_bytes(idx[at..at + 8].try_into().unwrap()) as usize;
    assert_eq!(&idx[..9], b"MMIDIDX\0\0");
    assert_eq!((u64_at(9), idx[17]), (1, 8), "version, code of u16");
    let (sequences, borders) = (u64_at(18), u64_at(26));
    assert_eq!(borders, sequences + 1);
    let (lengths, pointers) = (34, 34 + 4 * sequences);
    let documents = pointers + 8 * sequences;
    assert_eq!(idx.len(), documents + 8 * borders);
    assert!((0..borders).all(|at| u64_at(documents + 8 * at) == at));
    (0..sequences)
        .map(|at| {
            let length = lengths + 4 * at;
            let count = u32::from_le_bytes(idx[length..length + 4].try_into().unwrap()) as usize;
            let from = u64_at(pointers + 8 * at);
            bin[from..from + 2 * count].chunks_exact(2).map(|id| u16::from_le_bytes([id[0], id[1]])).collect()
        })
        .collect()
}

#[test]
fn megatrons_dataset_holds_every_document_to_the_id() {
    let (folder, out) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write_tokens(folder.path());
    let data = TokenData::train(folder.path()).unwrap();
    megatron::write_data(out.path(), &data).unwrap();
    for (domain, name) in data.domains().enumerate() {
        let read = |ending: &str| std::fs::read(out.path().join(format!("{name}.{ending}"))).unwrap();
        let documents = read_back(&read("idx"), &read("bin"));
        let mut all = Vec::new();
        data.read(domain, 0, data.shard(domain).num_tokens, &mut all);
        assert_eq!(documents.len() as u64, data.shard(domain).num_documents);
        assert!(documents.iter().all(|document| document[0] == 0), "each has the token before it");
        assert_eq!(documents.concat().into_iter().map(i64::from).collect::<Vec<_>>(), all, "{name}");
    }
}

#[test]
fn rates_batch_and_mixture_are_those_of_the_run() {
    let folder = tempfile::tempdir().unwrap();
    write_tokens(folder.path());
    let data = TokenData::train(folder.path()).unwrap();
    let shape = tiny_shape();
    let falling = [phase(0.5, 0.75, LrShape::Constant, 0.0), phase(1.0, 0.25, LrShape::OneMinusSqrt, 0.1)];
    let plan = plan_of(Engine::Megatron, &data, &params(&shape, &falling), &shape).unwrap();
    assert_eq!((plan.steps, plan.global_batch, plan.micro_batch, plan.warmup_steps), (STEPS, 8, 4, 2));
    assert_eq!(plan.fall, Fall { shape: LrShape::OneMinusSqrt, steps: 10, last: 0.1 });
    assert!((plan.mixture["code"] - 0.5).abs() < 1e-12 && (plan.mixture["docs"] - 0.5).abs() < 1e-12);
    let told = plan.differences.join("\n");
    assert!(told.contains("phases: the mixture is one") && !told.contains("optimizer:"), "{told}");
    let out = tempfile::tempdir().unwrap();
    megatron::write_run(out.path(), &plan, &data).unwrap();
    let script = std::fs::read_to_string(out.path().join("train.sh")).unwrap();
    for flags in [
        "--num-layers 2 --hidden-size 16",
        "--group-query-attention --num-query-groups 1",
        "--num-attention-heads 2 --kv-channels 8",
        "--swiglu",
        "--qk-layernorm",
        "--micro-batch-size 4 --global-batch-size 8",
        "--train-iters 20 --lr-warmup-iters 2",
        "--lr-decay-style WSD --lr-wsd-decay-style minus_sqrt --lr-wsd-decay-iters 10 --lr-decay-iters 20 --min-lr 3",
        "--train-data-path 0.5 data/train/code 0.5 data/train/docs",
        "--bf16",
    ] {
        assert!(script.contains(flags), "{flags} is not in\n{script}");
    }
    let plan = plan_of(Engine::Torchtitan, &data, &params(&shape, &falling), &shape).unwrap();
    torchtitan::write_run(out.path(), &plan).unwrap();
    let config = std::fs::read_to_string(out.path().join("train.toml")).unwrap();
    for line in [
        "decay_ratio = 0.5",
        "decay_type = \"sqrt\"",
        "min_lr_factor = 0.1",
        "steps = 20",
        "global_batch_size = 8",
    ] {
        assert!(config.lines().any(|own| own == line), "{line} is not in\n{config}");
    }
    // A whole run of one cosine behind the warm-up.
    let cosine = [phase(1.0, 0.5, LrShape::Cosine, 0.1)];
    let plan = plan_of(Engine::Megatron, &data, &params(&shape, &cosine), &shape).unwrap();
    assert_eq!(plan.fall, Fall { shape: LrShape::Cosine, steps: 18, last: 0.1 });
    let twice = [phase(0.5, 0.5, LrShape::Linear, 0.1), phase(1.0, 0.5, LrShape::LinearToZero, 0.0)];
    let error = plan_of(Engine::Megatron, &data, &params(&shape, &twice), &shape).unwrap_err();
    assert_eq!(error.facts().code, "handover_rates");
    assert!(error.to_string().ends_with("Linear, LinearToZero"), "{error}");
}

#[test]
fn what_a_recipe_loses_is_told_and_another_network_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_tokens(folder.path());
    let data = TokenData::train(folder.path()).unwrap();
    let shape = tiny_shape();
    let mut own = params(&shape, &phases());
    own.optimizer.matrices = MatrixOptimizer::Muon;
    own.optimizer.z_loss = 1e-4;
    own.packing = Packing::BestFit;
    own.document_mask = true;
    let told = plan_of(Engine::Torchtitan, &data, &own, &shape).unwrap().differences.join("\n");
    for word in ["by Muon", "z_loss", "context.packing", "context.document_mask", "order:", "start:"] {
        assert!(told.contains(word), "{word} is not in\n{told}");
    }
    let changes: [(Engine, Change, &str); 7] = [
        (
            Engine::Megatron,
            |s| (s.model_type, s.value_embeddings) = (ModelType::Nanochat, true),
            "class Nanochat",
        ),
        (Engine::Megatron, |s| s.sliding_window = 4, "sliding window"),
        (Engine::Megatron, |s| s.rope_scaling = RopeScaling::Linear { factor: 2.0 }, "stretch of RoPE"),
        (Engine::Megatron, |s| s.model_type = ModelType::Gpt2, "class Gpt2"),
        (Engine::Torchtitan, |s| s.model_type = ModelType::Arcee, "class Arcee"),
        (Engine::Torchtitan, |s| s.attention_bias = true, "biases"),
        (Engine::Torchtitan, |s| s.activation = Activation::Relu2, "activation"),
    ];
    for (engine, change, word) in changes {
        let mut changed = shape.clone();
        change(&mut changed);
        let error = super::plan::check_shape(engine, &changed).unwrap_err();
        assert_eq!(error.facts().code, "handover_network");
        assert!(error.to_string().contains(word), "{error}");
    }
}
