//! What `cupola plan` says of trainings against what they take: of other families, sizes, rows, micro-batches, optimisers, number formats, ranks and stages,
//! run by the real worker, one after the other. None of them was used to find the estimator's constants,
//! but for `first_aligned`, which showed that answers of pairs leave rows unfilled. The corpus is this repository's source text.
//! When the trainings named `first…` have run, everything is told once by these runs alone, and once more with what `plan --measure` measures:
//! the machine's rates, and a trial of each training.
//!
//! `cargo build --release --workspace --bins`, then `cargo bench -p cupola --bench estimate`. It needs two cores on which nothing else runs.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on has failed")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Pretrainings: name, model, tokens of a row, batch and the rest.
const PRETRAININGS: [(&str, &str, u64, &str); 17] = [
    ("first", "{ depth: 4 }", 256, "tokens: 40K, batch: { global_tokens: 4096, micro_batch: 8 }"),
    (
        "first_lstm",
        "{ arch: lstm, num_hidden_layers: 2, hidden_size: 192 }",
        128,
        "tokens: 36K, batch: { global_tokens: 4096, micro_batch: 16 }",
    ),
    ("qwen3", "{ depth: 5 }", 192, "tokens: 36K, batch: { global_tokens: 4608, micro_batch: 12 }"),
    (
        "llama_adamw",
        "{ model_type: llama, num_hidden_layers: 5, hidden_size: 320, num_attention_heads: 10, num_key_value_heads: 5 }",
        256,
        "tokens: 32K, optimizer: { matrices: adamw }, batch: { global_tokens: 4096, micro_batch: 4 }",
    ),
    (
        "grouped_long",
        "{ model_type: llama, num_hidden_layers: 4, hidden_size: 256, num_attention_heads: 8, num_key_value_heads: 2 }",
        768,
        "tokens: 36K, batch: { global_tokens: 6144, micro_batch: 4 }",
    ),
    (
        "gpt2",
        "{ model_type: gpt2, num_hidden_layers: 6, hidden_size: 192, num_attention_heads: 3 }",
        128,
        "tokens: 56K, batch: { global_tokens: 4096, micro_batch: 16 }",
    ),
    (
        "arcee",
        "{ activation: relu2, num_hidden_layers: 3, hidden_size: 320, num_attention_heads: 5 }",
        320,
        "tokens: 36K, batch: { global_tokens: 3840, micro_batch: 12 }",
    ),
    (
        "nanochat",
        "{ model_type: nanochat, num_hidden_layers: 4, hidden_size: 192, num_attention_heads: 3 }",
        256,
        "tokens: 36K, batch: { global_tokens: 4096, micro_batch: 8 }",
    ),
    (
        "lstm",
        "{ arch: lstm, num_hidden_layers: 3, hidden_size: 256 }",
        96,
        "tokens: 36K, batch: { global_tokens: 3072, micro_batch: 16 }",
    ),
    (
        "z_loss",
        "{ depth: 3 }",
        384,
        "tokens: 36K, optimizer: { z_loss: 0.0001 }, batch: { global_tokens: 6144, micro_batch: 8 }",
    ),
    (
        "wide",
        "{ num_hidden_layers: 3, hidden_size: 640 }",
        128,
        "tokens: 20K, batch: { global_tokens: 2048, micro_batch: 8 }",
    ),
    (
        "bf16",
        "{ depth: 6 }",
        256,
        "tokens: 48K, precision: bf16, batch: { global_tokens: 4096, micro_batch: 8 }",
    ),
    (
        "values",
        "{ model_type: nanochat, num_hidden_layers: 5, hidden_size: 256, num_attention_heads: 4, value_embeddings: true, residual_scalars: true }",
        192,
        "tokens: 32K, optimizer: { ema: { decay: 0.9 } }, batch: { global_tokens: 4608, micro_batch: 6 }",
    ),
    (
        "accumulated",
        "{ model_type: qwen2, num_hidden_layers: 4, hidden_size: 224, num_attention_heads: 7, num_key_value_heads: 1 }",
        160,
        "tokens: 56K, checkpoint: { every: 4 steps }, batch: { global_tokens: 10240, micro_batch: 2 }",
    ),
    (
        "recomputed",
        "{ model_type: llama, num_hidden_layers: 8, hidden_size: 192, num_attention_heads: 6, num_key_value_heads: 6 }",
        384,
        "tokens: 28K, recompute: blocks, batch: { global_tokens: 6144, micro_batch: 8 }",
    ),
    (
        "ranks",
        "{ model_type: llama, num_hidden_layers: 4, hidden_size: 288, num_attention_heads: 6 }",
        224,
        "tokens: 56K, parallel: { data: 2 }, optimizer: { matrices: adamw }, batch: { global_tokens: 7168, micro_batch: 8 }",
    ),
    (
        "ranks_zero",
        "{ depth: 5 }",
        256,
        "tokens: 56K, parallel: { data: 2, zero: 1 }, batch: { global_tokens: 8192, micro_batch: 8 }",
    ),
];

/// Stages behind pretraining, on `first`.
const STAGES: &str = "
  first_tuned: { kind: sft, model: first, data: [corpus.pairs], template: chatml, train_on: assistant, epochs: 1, context: { length: 256 }, precision: fp32, resources: { cores: 1 }, after: [first_lstm] }
  tuned: { kind: sft, model: first, data: [corpus.pairs], template: chatml, train_on: assistant, epochs: 2, context: { length: 192 }, batch: { micro_batch: 8 }, precision: fp32, resources: { cores: 1 }, after: [bf16] }
  adapted: { kind: sft, model: first, data: [corpus.pairs], template: chatml, train_on: assistant, epochs: 1, context: { length: 256 }, lora: { rank: 8 }, precision: fp32, resources: { cores: 1 }, after: [tuned] }
  first_aligned: { kind: rlhf, method: dpo, policy: first_tuned, prompts: corpus.pairs, pairs: 200, samples: 2, epochs: 1, labeler: { kind: reference }, precision: fp32, resources: { cores: 1 }, after: [adapted] }
";

/// What a plan says of a step.
#[derive(Clone, Default)]
struct Told {
    name: String,
    secs: Option<f64>,
    peak: Option<f64>,
}

/// The binaries of this build, and a folder of their own.
struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        for name in ["specs", "kernels", "runtime", "serving", "orchestrator"] {
            copy(&root.join(name), &folder.path().join(format!("crates/{name}-0.1.0")));
        }
        Self { folder }
    }

    fn write_spec(&self) {
        let mut text = String::from(
            "cupola: v1\nname: estimates\ndefaults: { seed: 1, device: cpu, precision: fp32, retries: 0 }\njobs:\n  \
             corpus:\n    kind: data\n    sources: [{ name: crates, format: rust, domain: code, paths: [\"crates/**/*.rs\"] }]\n    \
             split: { validation: 1%, by: source_file }\n    pairs: { from: doc_comments, instruction: \"Document this function:\\n{code}\", max_code_chars: 400, max_answer_chars: 240 }\n  \
             vocab: { kind: tokenizer, corpus: corpus, vocab_size: 3072, pattern: gpt4, special_tokens: chat }\n",
        );
        let mut before = "vocab";
        for (name, model, length, rest) in PRETRAININGS {
            let precision = if rest.contains("precision") { "" } else { ", precision: fp32" };
            let _ = writeln!(
                text,
                "  {name}: {{ kind: pretrain, corpus: corpus, tokenizer: vocab, model: {model}, context: {{ length: {length} }}, \
                 {rest}{precision}, resources: {{ cores: 1 }}, after: [{before}] }}"
            );
            // Each waits for the one before it; the past runs come first.
            before = if name == "first_lstm" { "first_tuned" } else { name };
        }
        text.push_str(STAGES.trim_start_matches('\n'));
        std::fs::write(self.folder.path().join("spec.yaml"), text).unwrap();
    }

    /// Runs `cupola`, which must succeed, and gives what it wrote.
    fn cupola(&self, arguments: &[&str]) -> Vec<u8> {
        let output = Command::new(env!("CARGO_BIN_EXE_cupola"))
            .args(arguments)
            .args(["--no-daemon", "--state", "state"])
            .current_dir(self.folder.path())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success(), "cupola {arguments:?}: {}", String::from_utf8_lossy(&output.stdout));
        output.stdout
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let all: Vec<&str> = arguments.iter().copied().chain(["--json"]).collect();
        serde_json::from_slice(&self.cupola(&all)).unwrap()
    }

    /// Estimates of the steps of a plan.
    fn plan(&self, arguments: &[&str]) -> Vec<Told> {
        let plan = self.json(arguments);
        let of = |step: &Value| {
            let number = |name: &str| step["estimate"][name].as_f64();
            let name = step["step"].as_str().unwrap().to_owned();
            Told { name, secs: number("secs"), peak: number("peak_bytes") }
        };
        plan["steps"].as_array().unwrap().iter().map(of).collect()
    }
}

/// Copies Rust files.
fn copy(from: &Path, to: &Path) {
    for entry in walkdir::WalkDir::new(from).into_iter().filter_map(Result::ok) {
        let path: PathBuf = entry.path().to_path_buf();
        if path.extension().is_some_and(|extension| extension == "rs") {
            let target = to.join(path.strip_prefix(from).unwrap());
            std::fs::create_dir_all(target.parent().unwrap()).unwrap();
            std::fs::copy(&path, &target).unwrap();
        }
    }
}

/// Seconds and bytes that each step took, by name.
fn taken(status: &Value) -> Vec<(String, f64, f64)> {
    let steps = status["run"]["steps"].as_array().unwrap();
    let of = |step: &Value| {
        let attempts = step["attempts"].as_array().unwrap();
        let millis =
            |attempt: &Value| Some(attempt["ended_millis"].as_f64()? - attempt["submitted_millis"].as_f64()?);
        let secs: f64 = attempts.iter().filter_map(millis).sum::<f64>() / 1e3;
        let peak =
            attempts.iter().filter_map(|attempt| attempt["peak_rss_bytes"].as_f64()).fold(0.0, f64::max);
        (step["name"].as_str().unwrap().to_owned(), secs, peak)
    };
    steps.iter().map(of).collect()
}

/// What was estimated of a step, beside what it took.
struct Line {
    name: String,
    peak: [Option<f64>; 2],
    /// By past runs, by trials, measured.
    secs: [Option<f64>; 3],
}

impl Line {
    fn off(told: Option<f64>, real: Option<f64>) -> Option<f64> {
        Some(told? / real? - 1.0)
    }

    fn print(&self) {
        let percent =
            |off: Option<f64>| off.map_or_else(|| "–".to_owned(), |off| format!("{:+.1}%", 100.0 * off));
        let megabytes = |bytes: Option<f64>| {
            bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{:.0} MB", bytes / 1e6))
        };
        let secs = |secs: Option<f64>| secs.map_or_else(|| "–".to_owned(), |secs| format!("{secs:.2} s"));
        let ([told, real], [past, tried, taken]) = (self.peak, self.secs);
        println!(
            "{:<26} {:>9} {:>9} {:>7} {:>9} {:>9} {:>7} {:>9} {:>7}",
            self.name,
            megabytes(told),
            megabytes(real),
            percent(Self::off(told, real)),
            secs(taken),
            secs(past),
            percent(Self::off(past, taken)),
            secs(tried),
            percent(Self::off(tried, taken)),
        );
    }
}

fn is_shown(name: &str) -> bool {
    PRETRAININGS.iter().any(|(of, ..)| *of == name)
        || ["tuned", "adapted", "first_tuned"].contains(&name)
        || name.starts_with("first_aligned/")
}

/// The middle and the worst of how far estimates were off.
fn summarize(what: &str, mut off: Vec<f64>) {
    for off in &mut off {
        *off = off.abs();
    }
    off.sort_by(f64::total_cmp);
    let (middle, worst) = (off[off.len() / 2], off.last().copied().unwrap_or(0.0));
    println!(
        "{what}: {} estimates, off by {:.1} % at the median and {:.1} % at worst",
        off.len(),
        100.0 * middle,
        100.0 * worst
    );
}

fn main() {
    let bench = Bench::new();
    bench.write_spec();
    let fresh = bench.plan(&["plan", "spec.yaml"]);
    bench.cupola(&["apply", "spec.yaml", "--only", "first", "--only", "first_lstm", "--only", "first_tuned"]);
    let later = bench.plan(&["plan", "spec.yaml"]);
    let tried = bench.plan(&["plan", "spec.yaml", "--measure"]);
    bench.cupola(&["apply", "spec.yaml"]);
    let real = taken(&bench.json(&["status", "--all"]));
    println!(
        "{:<26} {:>9} {:>9} {:>7} {:>9} {:>9} {:>7} {:>9} {:>7}",
        "step", "memory", "measured", "off", "measured", "by past", "off", "by trial", "off"
    );
    let find =
        |all: &[Told], name: &str| all.iter().find(|told| told.name == name).cloned().unwrap_or_default();
    let mut lines = Vec::new();
    for (name, secs, peak) in real.into_iter().filter(|(name, secs, _)| is_shown(name) && *secs > 0.0) {
        // How much is held out is known once there are tokens: the time of the first ones, without which there are none, is not compared.
        let told = if name.starts_with("first") && !name.contains('/') {
            Told { secs: None, ..find(&fresh, &name) }
        } else {
            find(&later, &name)
        };
        let by_trial = find(&tried, &name).secs.filter(|_| told.secs.is_some());
        lines.push(Line { name, peak: [told.peak, Some(peak)], secs: [told.secs, by_trial, Some(secs)] });
    }
    lines.iter().for_each(Line::print);
    let all = |off: &dyn Fn(&Line) -> Option<f64>| lines.iter().filter_map(off).collect::<Vec<_>>();
    summarize("memory", all(&|line| Line::off(line.peak[0], line.peak[1])));
    summarize("time by past runs", all(&|line| Line::off(line.secs[0], line.secs[2])));
    summarize("time by trials", all(&|line| Line::off(line.secs[1], line.secs[2])));
}
