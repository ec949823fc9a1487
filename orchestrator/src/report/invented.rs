//! A made-up run for tests of the report and of the pages.

use std::collections::BTreeMap;

use cupola_specs::artifact::{
    CorpusStatistics, CurvePoint, DomainStatistics, EvalReport, EvalSample, Forecast, ForecastScore,
    Interval, LawFile, LawFit, PreferenceStatistics, Recommendation, ReportRow, RuleExample, RuleStatistics,
    SourceStatistics, SweepRun, TrainingRecord,
};
use cupola_specs::contract::{ErrorClass, Failure};
use cupola_specs::job::{Family, FitMethod, ModelShape, ModelType, StepKind};

use super::{LineageFacts, ModelFacts, Named, ReportFacts, RunFacts, StepFacts};
use crate::state::{Expected, RunState, StepState};

const BEGUN: i64 = 1_767_261_600_000;

pub(crate) fn facts() -> ReportFacts {
    let steps = steps();
    let lineage = lineage(&steps);
    ReportFacts {
        run: RunFacts {
            id: "quickstart-1".into(),
            spec_name: "quickstart".into(),
            state: RunState::Succeeded,
            created_millis: BEGUN,
            ended_millis: BEGUN + 571_000,
            version: "0.1.0".into(),
        },
        steps,
        corpora: vec![Named { step: "corpus".into(), facts: corpus() }],
        laws: vec![Named { step: "law/fit".into(), facts: law() }],
        models: models(),
        preferences: vec![Named { step: "aligned/preferences".into(), facts: preferences() }],
        evals: vec![Named { step: "report".into(), facts: eval() }],
        lineage,
        unreadable: Vec::new(),
        usd_per_device_hour: 0.1,
        served: Some("promoted: aligned-3 is served: `report.judge.aligned.win_rate.low > 0.5` is true, with report.judge.aligned.win_rate = 0.6100 [0.5200, 0.6900], n 200; `cupola rollback` goes back".to_owned()),
    }
}

pub(crate) fn failed() -> ReportFacts {
    let mut facts = facts();
    facts.served = None;
    facts.run.state = RunState::Failed;
    for step in &mut facts.steps {
        match step.kind {
            StepKind::Data | StepKind::Tokenizer | StepKind::Tokens | StepKind::Sweep | StepKind::Fit => {}
            StepKind::Pretrain => {
                step.state = StepState::Failed;
                step.error = Some(Failure {
                    class: ErrorClass::Bug,
                    code: "nan_loss".into(),
                    message: "the loss of optimiser step 17 is NaN".into(),
                    hint: "lower the learning rate".into(),
                });
            }
            _ => {
                step.state = StepState::Blocked;
                step.reason = "blocked by base".into();
                step.wall_secs = None;
            }
        }
    }
    facts.models.clear();
    facts.evals.clear();
    facts.preferences.clear();
    facts.lineage.truncate(3);
    facts.unreadable.push(("law/fit: runs.csv".into(), "no such file".into()));
    facts
}

fn trains(kind: StepKind) -> bool {
    matches!(kind, StepKind::Sweep | StepKind::Pretrain)
}

fn step(name: &str, job: &str, kind: StepKind, secs: f64, needs: &[&str]) -> StepFacts {
    StepFacts {
        name: name.into(),
        job: job.into(),
        kind,
        state: if kind == StepKind::Data { StepState::Cached } else { StepState::Succeeded },
        reason: "new".into(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        wall_secs: Some(secs),
        cpu_secs: secs * 1.7,
        peak_rss_bytes: 900_000_000 + (secs * 1e6) as u64,
        expected: Expected {
            secs: trains(kind).then_some(0.9 * secs),
            peak_bytes: trains(kind).then_some(950_000_000),
        },
        attempts: 1,
        warnings: Vec::new(),
        error: None,
    }
}

fn steps() -> Vec<StepFacts> {
    let mut steps = vec![
        step("corpus", "corpus", StepKind::Data, 24.0, &[]),
        step("vocab", "vocab", StepKind::Tokenizer, 9.5, &["corpus"]),
        step("tokens[corpus,vocab]", "", StepKind::Tokens, 6.1, &["corpus", "vocab"]),
    ];
    let mut sweeps = Vec::new();
    for family in ["transformer", "lstm"] {
        for depth in 1..=4 {
            let name = format!("law/sweep[{family},{depth}]");
            let secs = 6.0 * f64::from(depth);
            steps.push(step(&name, "law", StepKind::Sweep, secs, &["tokens[corpus,vocab]"]));
            sweeps.push(name);
        }
    }
    let sweeps: Vec<&str> = sweeps.iter().map(String::as_str).collect();
    steps.push(step("law/fit", "law", StepKind::Fit, 1.2, &sweeps));
    steps.push(step(
        "base",
        "base",
        StepKind::Pretrain,
        231.0,
        &["tokens[corpus,vocab]", "vocab", "law/fit"],
    ));
    steps.push(step("assistant", "assistant", StepKind::Sft, 62.0, &["base", "corpus"]));
    steps.push(step("aligned/preferences", "aligned", StepKind::Preferences, 41.0, &["assistant", "corpus"]));
    steps.push(step(
        "aligned/reward_model",
        "aligned",
        StepKind::RewardModel,
        22.0,
        &["aligned/preferences", "assistant"],
    ));
    steps.push(step(
        "aligned/optimize",
        "aligned",
        StepKind::Optimize,
        48.0,
        &["aligned/preferences", "assistant"],
    ));
    steps.push(step(
        "report",
        "report",
        StepKind::Eval,
        66.0,
        &["base", "assistant", "aligned/optimize", "corpus"],
    ));
    steps[12].warnings =
        vec![("spike".into(), "the loss of step 40 is far above its mean; the step was kept".into()); 2];
    steps
}

fn corpus() -> CorpusStatistics {
    let names: [(&str, u64, u64, u64); 7] = [
        ("language", 212, 1_460_000, 0),
        ("code.generated", 95, 2_900_000, 0),
        ("code.digits", 41, 1_710_000, 0),
        ("gopher_repetition", 160, 1_250_000, 0),
        ("pii.email", 0, 9_000, 431),
        ("exact_document", 388, 1_930_000, 0),
        ("paragraphs", 12, 4_120_000, 2711),
    ];
    let (mut documents, mut bytes) = (5_214, 31_400_000);
    let mut rules = Vec::new();
    for (name, dropped, gone, changed) in names {
        documents -= dropped;
        bytes -= gone;
        rules.push(RuleStatistics {
            rule: name.into(),
            dropped_documents: dropped,
            dropped_bytes: gone,
            changed_documents: changed,
            remaining_documents: documents,
            remaining_bytes: bytes,
            examples: vec![RuleExample {
                file: format!("some-crate/src/{name}.rs"),
                excerpt: "pub const TABLE: [u16; 4096] = [0x0000, 0x1021, …".into(),
                ..RuleExample::default()
            }],
        });
    }
    let side = |documents, bytes| DomainStatistics { documents, bytes };
    let domains = |a, b| BTreeMap::from([("code".to_owned(), a), ("docs".to_owned(), b)]);
    CorpusStatistics {
        sources: BTreeMap::from([(
            "crates".to_owned(),
            SourceStatistics {
                listed_files: 9_120,
                read_files: 5_220,
                read_bytes: 31_400_000,
                documents: 5_214,
                rejected: BTreeMap::from([("not UTF-8".to_owned(), 6)]),
                ..SourceStatistics::default()
            },
        )]),
        rules,
        train: domains(side(3_600, 13_000_000), side(510, 4_100_000)),
        validation: domains(side(170, 700_000), side(26, 221_000)),
        domain_weights: BTreeMap::from([("code".to_owned(), 0.7), ("docs".to_owned(), 0.3)]),
        validation_units: vec!["a".into(), "b".into(), "c".into()],
        train_pairs: 8_312,
        validation_pairs: 433,
        ..CorpusStatistics::default()
    }
}

fn shape(family: Family, depth: u64) -> ModelShape {
    let model_type = if family == Family::Lstm { ModelType::Lstm } else { ModelType::Qwen3 };
    ModelShape {
        num_hidden_layers: depth,
        hidden_size: 64 * depth,
        intermediate_size: 192 * depth,
        num_attention_heads: depth,
        num_key_value_heads: depth,
        tie_word_embeddings: true,
        max_position_embeddings: 256,
        ..ModelShape::plain(model_type)
    }
}

fn at(value: f64, share: f64) -> Interval {
    Interval { value, low: value * (1.0 - share), high: value * (1.0 + share) }
}

fn law() -> LawFile {
    let mut runs = Vec::new();
    let mut fits = Vec::new();
    for (family, e, a) in [(Family::Transformer, 2.1, 30.0), (Family::Lstm, 2.4, 34.0)] {
        for depth in 1..=4u64 {
            let params = 48_000 * depth.pow(3);
            for ratio in [0.25, 0.5, 1.0] {
                let tokens = 400_000.0 * ratio * (depth as f64).sqrt();
                let noise = 1.0 + 0.006 * ((depth * 7 + (ratio * 8.0) as u64) as f64).sin();
                let loss = (e + a / (params as f64).powf(0.33) + 60.0 / tokens.powf(0.28)) * noise;
                runs.push(SweepRun {
                    shape: shape(family, depth),
                    params,
                    total_params: params + 260_000 * depth,
                    tokens: tokens as u64,
                    flops: 6.0 * (params + 260_000 * depth) as f64 * tokens,
                    lr: 3e-3,
                    validation_loss: loss,
                    validation_bpb: loss / 2.3,
                    secs: 2.0 * depth as f64,
                    curve: Vec::new(),
                });
            }
        }
        let parameters = [("A", a), ("B", 60.0), ("E", e), ("alpha", 0.33), ("beta", 0.28)];
        fits.push(LawFit {
            family,
            method: FitMethod::Parametric,
            parameters: parameters
                .iter()
                .map(|(name, value)| ((*name).to_owned(), at(*value, 0.08)))
                .collect(),
            rms_log_residual: 0.0061,
            draws: Vec::new(),
            num_points: 12,
            log_error_per_efold: 0.01,
            caveats: if family == Family::Lstm { vec!["alpha is at its bound".into()] } else { Vec::new() },
        });
    }
    let best = |family| Recommendation {
        shape: shape(family, 4),
        params: 2.9e6,
        tokens: 2.4e6,
        flops: 6.1e13,
        loss: at(3.41, 0.03),
    };
    LawFile {
        runs,
        fits,
        recommendations: [Family::Transformer, Family::Lstm].into_iter().map(|f| (f, best(f))).collect(),
        best_family: Family::Transformer,
        flops_per_sec: BTreeMap::from([(Family::Transformer, 2.9e11), (Family::Lstm, 1.7e11)]),
    }
}

fn curve(steps: u64, stride: u64, from: f64, to: f64, noise: f64) -> Vec<CurvePoint> {
    let value = |step: u64| {
        let share = step as f64 / steps as f64;
        to + (from - to) * (-5.0 * share).exp() + noise * ((step * 37 % 101) as f64 / 50.0 - 1.0)
    };
    (0..=steps / stride)
        .map(|index| CurvePoint { step: index * stride, value: value(index * stride) })
        .collect()
}

fn model(
    step: &str,
    job: &str,
    kind: StepKind,
    stage: &str,
    curves: &[(&str, Vec<CurvePoint>)],
) -> ModelFacts {
    let last = |(name, points): &(&str, Vec<CurvePoint>)| {
        let value = points.last().map_or(0.0, |point| point.value);
        name.starts_with("validation").then(|| ((*name).to_owned(), at(value, 0.01)))
    };
    ModelFacts {
        step: step.into(),
        job: job.into(),
        kind,
        record: TrainingRecord {
            stage: stage.into(),
            total_params: 4_200_000,
            params: 3_150_000,
            steps: 305,
            tokens: 2_500_000,
            flops: 6.3e13,
            data_cursor: 9_765,
            left_out: Vec::new(),
            bad_steps: Vec::new(),
            exported_step: 0,
            phases: Vec::new(),
            domains: BTreeMap::new(),
            chosen: BTreeMap::from([(
                "lr".to_owned(),
                ("3e-3 at width 256, falling with its root".to_owned(), 3e-3),
            )]),
            finals: curves.iter().filter_map(last).collect(),
            curves: curves.iter().map(|(name, points)| ((*name).to_owned(), points.clone())).collect(),
            forecast: None,
            warnings: BTreeMap::new(),
        },
        samples: Vec::new(),
    }
}

fn models() -> Vec<ModelFacts> {
    let loss = |from, to| {
        vec![
            ("loss", curve(305, 1, from, to, 0.12)),
            ("validation_loss", curve(305, 50, from, to + 0.05, 0.0)),
        ]
    };
    let mut base = model("base", "base", StepKind::Pretrain, "pretrain", &loss(8.3, 3.4));
    base.record.forecast = Some(ForecastScore {
        forecast: Forecast {
            law: "7d".repeat(32),
            family: Family::Transformer,
            method: FitMethod::Parametric,
            params: 3.15e6,
            tokens: 2.5e6,
            loss: at(3.41, 0.03),
        },
        actual: 3.46,
        relative_error: 0.0147,
        within_interval: true,
    });
    let accuracy = vec![
        ("loss", curve(60, 1, 0.69, 0.55, 0.05)),
        ("validation_accuracy", curve(60, 10, 0.5, 0.66, 0.0)),
    ];
    let mut reward =
        model("aligned/reward_model", "aligned", StepKind::RewardModel, "reward_model", &accuracy);
    reward.record.finals.insert("accuracy".into(), Interval { value: 0.66, low: 0.58, high: 0.73 });
    vec![
        base,
        model("assistant", "assistant", StepKind::Sft, "sft", &loss(3.5, 2.6)),
        reward,
        model("aligned/optimize", "aligned", StepKind::Optimize, "dpo", &loss(0.69, 0.52)),
    ]
}

fn preferences() -> PreferenceStatistics {
    PreferenceStatistics {
        prompts: 1_000,
        pairs: 781,
        validation_pairs: 98,
        ties: 121,
        truncated_answers: 33,
        mean_chosen_tokens: 21.4,
        mean_rejected_tokens: 27.9,
        mean_chosen_score: 0.268,
        mean_rejected_score: 0.141,
    }
}

fn row(suite: &str, model: &str, metric: &str, value: f64, half: f64) -> ReportRow {
    let share = super::format::is_share(metric);
    ReportRow {
        suite: suite.into(),
        model: model.into(),
        metric: metric.into(),
        value,
        stderr: half / 1.96,
        low: value - half,
        high: value + half,
        n: 433,
        method: match suite {
            "judge" => "aligned against assistant, ROUGE-L to the reference, ties count half".into(),
            _ => "bootstrap over documents, 1,000 draws".into(),
        },
        chance: match suite {
            "multiple_choice" => Some(0.25),
            "judge" => Some(0.5),
            _ => None,
        },
        higher_is_better: share,
    }
}

fn eval() -> EvalReport {
    let mut rows = vec![row("perplexity", "ngram3", "bpb", 2.44, 0.02)];
    for (name, bpb, loss, accuracy) in
        [("base", 1.98, 3.61, 0.31), ("assistant", 2.02, 2.68, 0.36), ("aligned", 2.05, 2.71, 0.37)]
    {
        rows.push(row("perplexity", name, "bpb", bpb, 0.018));
        rows.push(row("chat_loss", name, "loss", loss, 0.05));
        rows.push(row("multiple_choice", name, "accuracy_normalized", accuracy, 0.044));
    }
    rows.push(row("judge", "aligned", "win_rate", 0.571, 0.046));
    rows.push(row("contamination", "", "overlap", 0.007, 0.004));
    EvalReport {
        models: vec!["base".into(), "assistant".into(), "aligned".into()],
        rows,
        samples: vec![EvalSample {
            suite: "judge".into(),
            prompt: "Document this function:\npub fn is_empty(&self) -> bool {\n    self.len() == 0\n}"
                .into(),
            reference: "Returns `true` if the list has no elements.".into(),
            answers: vec![
                (
                    "assistant".into(),
                    "Returns true if the buffer is empty or the length of the given value.".into(),
                ),
                ("aligned".into(), "Returns `true` if the map contains no elements.".into()),
            ],
        }],
    }
}

fn lineage(steps: &[StepFacts]) -> Vec<LineageFacts> {
    let print = |name: &str| blake3::hash(name.as_bytes()).to_hex().to_string();
    let of = |(index, step): (usize, &StepFacts)| LineageFacts {
        step: step.name.clone(),
        kind: step.kind.artifact_kind().into(),
        fingerprint: print(&step.name),
        inputs: step
            .needs
            .iter()
            .enumerate()
            .map(|(place, need)| {
                let role = if need.contains("sweep") {
                    format!("sweep.{place}")
                } else {
                    need.split(['[', '/']).next().unwrap_or("").to_owned()
                };
                (role, print(need))
            })
            .collect(),
        made_by: "quickstart-1".into(),
        size_bytes: 12_300_000 + index as u64 * 1_000,
        created_millis: BEGUN + index as i64 * 30_000,
    };
    steps.iter().enumerate().map(of).collect()
}
