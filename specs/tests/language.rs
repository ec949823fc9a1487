//! What a spec means once it is resolved: overrides, includes, matrices, placeholders, defaults, origins.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cupola_specs::job::{
    AutoOr, DecayShape, Digits, EmaParams, Family, FitTarget, GPT4_PATTERN, GroupParams, LrRule, LrShape,
    MatrixOptimizer, Method, ModelParams, ModelType, MomentumWarmup, OptimizerParams, Packing, RopeExtension,
    RopeScaling, RuleOr, Span, TokenBudget, TokenizerAlgorithm,
};
use cupola_specs::spec::{
    self, ArtifactRef, Diagnostics, Environment, ResolvedJobBody, ResolvedSpec, RowsInput,
};

/// A world in memory.
#[derive(Default)]
struct World {
    files: BTreeMap<&'static str, String>,
    variables: BTreeMap<&'static str, &'static str>,
}

impl Environment for World {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| (*value).to_owned())
    }

    fn home(&self) -> Option<PathBuf> {
        Some(PathBuf::from("/home/user"))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = path.to_str().and_then(|path| self.files.get(path));
        text.map(|text| text.clone().into_bytes()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

const SMALL: &str = r#"cupola: v1
name: small
vars: { depth: 4, who: "${env.USER:-nobody}" }
description: "by ${vars.who}, not $${vars.who}"
budget: { hours: 0.5, devices: 2 }
jobs:
  corpus:
    kind: data
    sources:
      - { name: crates, format: rust, domain: code, paths: ["${env.CARGO_HOME:-~/.cargo}/**/*.rs"], max_bytes: 24MB }
      - { name: readmes, format: markdown, domain: docs, paths: ["./docs/*.md"] }
    domains: { weights: { code: 0.7, docs: 0.3 } }
    pairs: { from: doc_comments }
  vocab: { kind: tokenizer, corpus: corpus, vocab_size: 4096 }
  law:
    kind: scaling
    corpus: corpus
    tokenizer: vocab
    families: [transformer, lstm]
    grid: { depths: [1, 2], tokens_per_param: [5, 10] }
  base:
    kind: pretrain
    corpus: corpus
    tokenizer: vocab
    model: { depth: "${vars.depth}" }
    tokens: 2.5M
    forecast: law
    context: { length: 256 }
  assistant: { kind: sft, model: base, data: [corpus.pairs] }
  aligned: { kind: rlhf, policy: assistant, prompts: corpus.pairs }
"#;

fn resolve(text: &str, sets: &[(&str, &str)], world: &World) -> Result<ResolvedSpec, Diagnostics> {
    let sets: Vec<(String, String)> = sets.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    spec::parse(Path::new("specs/small.yaml"), text.as_bytes(), &sets, world)
}

fn small(sets: &[(&str, &str)]) -> ResolvedSpec {
    match resolve(SMALL, sets, &World::default()) {
        Ok(spec) => spec,
        Err(errors) => panic!("{errors}"),
    }
}

macro_rules! body {
    ($spec:expr, $name:literal, $kind:ident) => {
        match &$spec.job($name).unwrap().body {
            ResolvedJobBody::$kind(body) => body.clone(),
            other => panic!("{other:?}"),
        }
    };
}

#[test]
fn placeholders_paths_and_units_are_resolved() {
    let spec = small(&[]);
    assert_eq!(spec.description, "by nobody, not ${vars.who}");
    let corpus = body!(spec, "corpus", Data);
    assert_eq!(corpus.files[0].label, "sources.crates");
    assert_eq!(corpus.files[0].patterns, ["/home/user/.cargo/**/*.rs"]);
    assert_eq!(corpus.files[1].patterns, ["specs/docs/*.md"]);
    assert_eq!(corpus.params.sources[0].max_bytes, 24_000_000);
    assert!((corpus.params.split.validation - 0.02).abs() < 1e-12);
    let base = body!(spec, "base", Pretrain);
    assert_eq!(base.params.tokens, TokenBudget::Count { tokens: 2_500_000 });
}

#[test]
fn best_fit_rows_are_masked_and_tunings_have_the_positions_of_longer_rows() {
    let context = ("jobs.base.context", "{ length: 256, packing: best_fit, extend: { length: 1024 } }");
    let spec = small(&[context, ("jobs.law.families", "[transformer]")]);
    assert!(body!(spec, "law", Scaling).sweeps[0].params.document_mask);
    let base = body!(spec, "base", Pretrain).params;
    assert_eq!((base.packing, base.document_mask), (Packing::BestFit, true));
    let extend = base.extend.unwrap();
    assert_eq!((extend.length, extend.rope), (1024, RopeExtension::Stretched));
    assert!((extend.tokens - 0.05).abs() < 1e-12);
    assert_eq!(body!(spec, "assistant", Sft).params.context_length, 1024);
    let plain = body!(small(&[]), "base", Pretrain).params;
    assert_eq!((plain.packing, plain.document_mask, plain.extend), (Packing::Concat, false, None));
}

#[test]
fn a_depth_derives_the_other_sizes() {
    let base = body!(small(&[]), "base", Pretrain);
    let ModelParams::Shape(shape) = base.params.model else { panic!("no shape") };
    assert_eq!((shape.num_hidden_layers, shape.hidden_size, shape.num_attention_heads), (4, 256, 4));
    assert_eq!((shape.intermediate_size, shape.max_position_embeddings), (704, 256));
    assert!(shape.qk_norm && !shape.tie_word_embeddings);
    let wide = body!(small(&[("jobs.base.model.activation", "relu2")]), "base", Pretrain);
    let ModelParams::Shape(shape) = wide.params.model else { panic!("no shape") };
    assert_eq!((shape.intermediate_size, shape.qk_norm), (1024, false));
}

#[test]
fn a_class_decides_the_parts_that_are_not_written() {
    let shape = |written: &str| {
        let base = body!(small(&[("jobs.base.model", written)]), "base", Pretrain);
        let ModelParams::Shape(shape) = base.params.model else { panic!("no shape") };
        assert_eq!(shape.problem(), None, "{written}");
        shape
    };
    assert_eq!(shape("{ depth: 2 }").model_type, ModelType::Qwen3);
    assert_eq!(shape("{ depth: 2, qk_norm: false }").model_type, ModelType::Llama);
    let gpt2 = shape("{ depth: 2, model_type: gpt2 }");
    assert!(gpt2.tie_word_embeddings && gpt2.attention_bias && gpt2.mlp_bias && !gpt2.qk_norm);
    assert_eq!((gpt2.intermediate_size, gpt2.norm_eps), (512, 1e-5));
    let nanochat = shape("{ depth: 3, model_type: nanochat, value_embeddings: true }");
    assert!(nanochat.qk_norm && nanochat.logit_softcap > 14.9 && nanochat.logit_softcap < 15.1);
    let with_tables: Vec<bool> = (0..3).map(|layer| nanochat.has_value_embedding(layer)).collect();
    assert_eq!(with_tables, [true, false, true]);
    let sliding = "{ depth: 4, sliding_window: 32, layer_types: [sliding_attention, full_attention] }";
    let windows: Vec<u64> = (0..4).map(|layer| shape(sliding).window_of(layer)).collect();
    assert_eq!(windows, [32, 0, 32, 0]);
    let yarn =
        shape("{ depth: 1, max_position_embeddings: 1024, rope_scaling: { rope_type: yarn, factor: 4 } }");
    let RopeScaling::Yarn { original_max_position_embeddings, attention_factor, .. } = yarn.rope_scaling
    else {
        panic!("{:?}", yarn.rope_scaling)
    };
    assert_eq!((original_max_position_embeddings, attention_factor), (256, 0.1 * 4f64.ln() + 1.0));
}

#[test]
fn a_part_that_a_class_has_not_is_refused() {
    let cases = [
        ("{ depth: 2, activation: relu2, qk_norm: true }", "arcee has no qk_norm"),
        ("{ depth: 2, model_type: mistral, attention_bias: true }", "mistral has no attention_bias"),
        (
            "{ depth: 2, model_type: gpt2, rope_scaling: { rope_type: linear, factor: 2 } }",
            "gpt2 has no rope_scaling",
        ),
        ("{ depth: 2, model_type: lstm }", "model_type lstm is of another arch"),
        ("{ depth: 2, logit_softcap: 15 }", "qwen3 has no logit_softcap"),
        (
            "{ depth: 2, rope_scaling: { rope_type: linear, factor: 2, beta_fast: 3 } }",
            "belongs to another rope_type",
        ),
    ];
    for (written, wanted) in cases {
        let error = resolve(SMALL, &[("jobs.base.model", written)], &World::default()).unwrap_err();
        assert!(error.to_string().contains(wanted), "{written}: {error}");
    }
}

#[test]
fn phases_default_to_the_weights_of_the_corpus() {
    let base = body!(small(&[]), "base", Pretrain);
    let ends: Vec<(f64, LrShape)> = base.params.phases.iter().map(|phase| (phase.until, phase.lr)).collect();
    assert_eq!(ends, [(0.5, LrShape::Constant), (1.0, LrShape::LinearToZero)]);
    assert!((base.params.phases[0].weights["code"] - 0.7).abs() < 1e-12);
}

#[test]
fn an_optimizer_is_resolved_with_nothing_open() {
    let plain = body!(small(&[]), "base", Pretrain).params.optimizer;
    assert_eq!(plain, OptimizerParams::default());
    // A momentum below where it would begin, and an optimiser without one, do not rise.
    for (written, betas) in
        [("{ momentum: 0.5 }", [0.8, 0.95]), ("{ matrices: adamw, betas: [0.9, 0.99] }", [0.9, 0.99])]
    {
        let optimizer = body!(small(&[("jobs.base.optimizer", written)]), "base", Pretrain).params.optimizer;
        assert_eq!((optimizer.betas, optimizer.momentum_warmup.steps), (betas, 0), "{written}");
    }
    let written = "{ lr: deepseek, weight_decay: 0.2, weight_decay_schedule: cosine, momentum_warmup: { steps: 50 steps }, \
        warmup: 20 steps, ema: {}, groups: [{ pattern: '*.q_proj.weight', lr: 0.1 }], z_loss: 0.0001 }";
    let optimizer = body!(small(&[("jobs.base.optimizer", written)]), "base", Pretrain).params.optimizer;
    let expected = OptimizerParams {
        lr: AutoOr::Rule(LrRule::Deepseek),
        weight_decay: RuleOr::Value(0.2),
        weight_decay_schedule: DecayShape::Cosine,
        weight_decay_final: 0.0,
        momentum_warmup: MomentumWarmup { from: 0.85, steps: 50 },
        warmup: Span::Steps(20),
        ema: Some(EmaParams { decay: 0.999, every_steps: 1 }),
        groups: vec![GroupParams { pattern: "*.q_proj.weight".into(), lr: Some(0.1), weight_decay: None }],
        z_loss: 0.0001,
        ..OptimizerParams::default()
    };
    assert_eq!(optimizer, expected);
    let json = serde_json::to_value(&optimizer).unwrap();
    assert_eq!((&json["lr"], &json["weight_decay"]["value"]), (&"deepseek".into(), &0.2.into()));
    assert_eq!(serde_json::from_value::<OptimizerParams>(json).unwrap(), expected);
}

#[test]
fn a_law_speaks_of_the_recipe_of_the_job_that_uses_it() {
    let spec = small(&[("jobs.base.optimizer", "{ matrices: adamw }")]);
    let law = body!(spec, "law", Scaling);
    let keys: Vec<&str> = law.sweeps.iter().map(|sweep| sweep.key.as_str()).collect();
    assert_eq!(keys, ["transformer,1", "transformer,2", "lstm,1", "lstm,2"]);
    assert_eq!(law.sweeps[0].params.context_length, 256);
    assert_eq!(law.sweeps[0].params.optimizer.matrices, MatrixOptimizer::Adamw);
    assert_eq!(law.sweeps[3].params.shape.family, Family::Lstm);
    assert_eq!(law.fit.target, FitTarget::Budget { device_secs: 3600.0 });
    assert_eq!(body!(spec, "base", Pretrain).law, Some(law_reference()));
}

fn law_reference() -> ArtifactRef {
    ArtifactRef::Job(spec::Reference { job: "law".to_owned(), part: None })
}

#[test]
fn a_law_that_nobody_uses_has_the_recipe_of_a_plain_pretrain_job() {
    let without = SMALL
        .replace("    forecast: law\n", "    context: { length: 512 }\n")
        .replace("    context: { length: 256 }\n", "");
    let spec = resolve(&without, &[], &World::default()).unwrap();
    let (law, base) = (body!(spec, "law", Scaling), body!(spec, "base", Pretrain));
    // A run of a sweep that diverges is a result, and no setback.
    let optimizer = OptimizerParams { max_setbacks: 0, ..base.params.optimizer.clone() };
    assert_eq!((&law.sweeps[0].params.optimizer, base.params.optimizer.max_setbacks), (&optimizer, 8));
    assert_eq!(law.sweeps[0].params.context_length, base.params.context_length);
}

#[test]
fn stages_of_alignment_follow_from_what_is_given() {
    let all = body!(small(&[]), "aligned", Rlhf);
    assert!(all.preferences.is_some() && all.reward_model.is_some());
    let optimize = all.optimize.unwrap();
    assert_eq!((optimize.method, optimize.beta), (Method::Dpo, 0.1));
    assert_eq!(optimize.optimizer.matrices, MatrixOptimizer::Adamw);
    assert_eq!(optimize.optimizer.lr, AutoOr::Auto);
    assert!(matches!(all.prompts, Some(RowsInput::Artifact(ArtifactRef::Job(_)))));
    let ppo = body!(small(&[("jobs.aligned.method", "ppo")]), "aligned", Rlhf).optimize.unwrap();
    assert_eq!((ppo.method, ppo.prompts_part.as_str()), (Method::Ppo, "pairs"));
    let files = body!(small(&[("jobs.aligned.prompts", "./prompts.jsonl")]), "aligned", Rlhf);
    let Some(RowsInput::Files(files)) = files.prompts else { panic!("no files") };
    assert_eq!((files.label.as_str(), files.patterns[0].as_str()), ("prompts", "prompts.jsonl"));
}

#[test]
fn overrides_reach_variables_fields_and_list_items() {
    let spec = small(&[
        ("vars.depth", "2"),
        ("jobs.base.tokens", "{ per_param: 20 }"),
        ("jobs.corpus.sources.0.max_bytes", "1KB"),
        ("defaults.seed", "7"),
    ]);
    let base = body!(spec, "base", Pretrain);
    assert!(matches!(base.params.model, ModelParams::Shape(shape) if shape.hidden_size == 128));
    assert_eq!(base.params.tokens, TokenBudget::PerParam { ratio: 20.0 });
    assert_eq!(body!(spec, "corpus", Data).params.sources[0].max_bytes, 1000);
    assert_eq!(spec.job("base").unwrap().seed, 7);
    let errors = resolve(SMALL, &[("jobs.base.tokns", "2M")], &World::default()).unwrap_err();
    assert_eq!(errors.0[0].origin.to_string(), "--set jobs.base.tokns:1:1");
    assert_eq!(errors.0[0].suggestion.as_deref(), Some("tokens"));
}

#[test]
fn included_files_lie_under_the_one_that_names_them() {
    let mut world = World::default();
    world.files.insert("specs/shared/defaults.yaml", "defaults: { seed: 3, retries: 5 }\n".to_owned());
    world.files.insert(
        "specs/shared/all.yaml",
        "include: [./defaults.yaml]\ndefaults: { retries: 9 }\nvars: { depth: 8 }\n".to_owned(),
    );
    let text = SMALL.replace("budget:", "include: [shared/all.yaml]\nbudget:");
    let spec = resolve(&text, &[], &world).unwrap();
    let base = spec.job("base").unwrap();
    assert_eq!((base.seed, base.retries), (3, 9));
    assert!(
        matches!(body!(spec, "base", Pretrain).params.model, ModelParams::Shape(s) if s.num_hidden_layers == 4)
    );
    assert_eq!(spec.origin("defaults.seed").unwrap().to_string(), "specs/shared/defaults.yaml:1:13");
}

#[test]
fn a_matrix_makes_a_job_for_each_combination() {
    let text = SMALL.replace(
        "    tokens: 2.5M\n",
        "    tokens: 2.5M\n    matrix: { seed: [1, 2], model.depth: [2, 4] }\n",
    );
    let text = text.split("  assistant:").next().unwrap().to_owned();
    let report = "  report:\n    kind: eval\n    models: [base]\n    suites: [{ perplexity: { on: corpus.validation } }]\n";
    let spec = resolve(&(text + report), &[], &World::default()).unwrap();
    let names: Vec<&str> =
        spec.jobs.iter().map(|job| job.name.as_str()).filter(|name| name.starts_with("base")).collect();
    assert_eq!(names[1], "base[seed=1,model.depth=4]");
    assert_eq!(names.len(), 4);
    let job = spec.job("base[seed=2,model.depth=2]").unwrap();
    let ResolvedJobBody::Pretrain(body) = &job.body else { panic!("no pretrain") };
    assert_eq!(job.seed, 2);
    assert!(matches!(&body.params.model, ModelParams::Shape(shape) if shape.hidden_size == 128));
    assert_eq!(body!(spec, "report", Eval).params.models, names);
}

#[test]
fn bytes_need_no_size_and_other_tokenizers_are_files() {
    let text = "cupola: v1\nname: t\njobs:\n  corpus: { kind: data, sources: [{ name: a, format: text, paths: [a.txt] }] }\n  \
        raw: { kind: tokenizer, corpus: corpus, algorithm: bytes, special_tokens: [<|a|>] }\n  \
        words: { kind: tokenizer, corpus: corpus, algorithm: unigram, vocab_size: 300, compare: [x/o200k_base.tiktoken, y.json] }\n";
    let spec = resolve(text, &[], &World::default()).unwrap();
    let (raw, words) = (body!(spec, "raw", Tokenizer), body!(spec, "words", Tokenizer));
    assert_eq!((raw.params.vocab_size, raw.params.pattern.as_str()), (261, ""));
    assert_eq!((raw.params.algorithm, raw.files.len()), (TokenizerAlgorithm::Bytes, 0));
    assert_eq!((words.params.algorithm, words.params.vocab_size), (TokenizerAlgorithm::Unigram, 300));
    assert_eq!((words.params.pattern.as_str(), words.params.digits), (GPT4_PATTERN, Digits::UpTo3));
    assert_eq!((words.files[0].label.as_str(), words.files[0].patterns.len()), ("compare", 2));
}

#[test]
fn every_written_value_has_an_origin() {
    let spec = small(&[]);
    assert_eq!(spec.origin("jobs.base.tokens").unwrap().to_string(), "specs/small.yaml:26:5");
    assert_eq!(spec.origin("jobs.base.optimizer.lr").unwrap().line, 21);
    assert_eq!(spec.origin("jobs.corpus.sources.1.format").unwrap().line, 11);
}

#[test]
fn secrets_are_names_only() {
    let judges =
        "judges:\n  api: { base_url: \"http://127.0.0.1:9000/v1\", model: m, api_key: \"${secret.KEY}\" }\n";
    let mut world = World::default();
    world.variables.insert("KEY", "very-secret");
    let spec = resolve(&format!("{SMALL}{judges}"), &[], &world).unwrap();
    assert_eq!(spec.judges[0].api_key.as_ref().unwrap().name, "KEY");
    assert!(!serde_json::to_string(&spec).unwrap().contains("very-secret"));
}

#[test]
fn anchors_and_merge_keys_are_yaml_as_usual() {
    let text = SMALL.replace(
        "  assistant: { kind: sft, model: base, data: [corpus.pairs] }",
        "  assistant: &sft { kind: sft, model: base, data: [corpus.pairs] }\n  second: { <<: *sft, epochs: 1, model: assistant }",
    );
    let spec = resolve(&text, &[], &World::default()).unwrap();
    assert!((body!(spec, "second", Sft).params.epochs - 1.0).abs() < 1e-12);
}

/// All of the language's reference example parses; what remains are features that this version refuses, and a file.
#[test]
fn the_reference_example_lacks_only_what_is_not_supported_yet() {
    let text = include_str!("reference.yaml");
    let errors = resolve(text, &[], &World::default()).unwrap_err();
    let other: Vec<String> = errors
        .iter()
        .filter(|d| !matches!(d.code.as_str(), "E0901"))
        .map(|d| format!("{} {}", d.code.as_str(), d.message))
        .collect();
    assert_eq!(other, ["E0101 the included file specs/defaults.yaml can't be read: there is no such file"]);
    assert!(errors.0.len() > 5, "{errors}");
}

#[test]
fn resolving_takes_milliseconds() {
    let start = std::time::Instant::now();
    for _ in 0..10 {
        small(&[]);
    }
    assert!(start.elapsed().as_millis() < 500, "{:?}", start.elapsed());
}

#[test]
fn json_says_what_text_says() {
    let errors = resolve("cupola: v1\nname: x\njobs: {}\n", &[], &World::default()).unwrap_err();
    let json = errors.to_json();
    assert_eq!(json["errors"][0]["code"], "E0202");
    assert_eq!(json["errors"][0]["line"], 3);
    assert_eq!(json["errors"][0]["column"], 7);
}

/// An error is told once: what hangs on it is not told as an error of its own.
#[test]
fn what_follows_from_an_error_is_no_error() {
    let report = "  report:\n    kind: eval\n    models: [assistant]\n    suites: [{ contamination: { on: corpus.validation_pairs } }]\n";
    for (key, value) in [
        ("jobs.base.tokens", "2m"),
        ("jobs.base.context", "{ length: long }"),
        ("jobs.base.corpus", "corpsu"),
        ("jobs.base.kind", "pretrian"),
        ("jobs.assistant.epochs", "many"),
        ("jobs.law.target", "{ budgt: true }"),
        ("jobs.corpus.pairs", "{ from: commits }"),
        ("budget", "{ hours: some }"),
        ("judges", "[strict]"),
    ] {
        let text = format!("{SMALL}{report}");
        let errors = resolve(&text, &[(key, value)], &World::default()).unwrap_err();
        assert_eq!(errors.0.len(), 1, "{key}={value}\n{errors}");
        assert!(errors.0[0].origin.file.starts_with("--set "), "{errors}");
    }
}
