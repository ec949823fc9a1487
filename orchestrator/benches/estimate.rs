//! What `cupola plan` says of trainings against what they take: fifteen of other families, sizes, rows, micro-batches, optimisers, number formats and stages
//! run by the real worker, one after the other on one core. None of them was used to find the estimator's constants. The corpus is this repository's source
//! text. The machine's rates are measured first; the trainings named `first…` are the past runs that the later ones of their kind go by.
//!
//! `cargo build --release --workspace --bins`, then `cargo bench -p cupola --bench estimate`.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a benchmark that cannot go on has failed")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;

/// Pretrainings: name, model, tokens of a row, batch and the rest.
const PRETRAININGS: [(&str, &str, u64, &str); 12] = [
    ("first", "{ depth: 4 }", 256, "tokens: 64K, batch: { global_tokens: 4096, micro_batch: 8 }"),
    (
        "first_lstm",
        "{ arch: lstm, num_hidden_layers: 2, hidden_size: 192 }",
        128,
        "tokens: 60K, batch: { global_tokens: 4096, micro_batch: 16 }",
    ),
    ("qwen3", "{ depth: 5 }", 192, "tokens: 60K, batch: { global_tokens: 4608, micro_batch: 12 }"),
    (
        "llama_adamw",
        "{ model_type: llama, num_hidden_layers: 5, hidden_size: 320, num_attention_heads: 10, num_key_value_heads: 5 }",
        256,
        "tokens: 50K, optimizer: { matrices: adamw }, batch: { global_tokens: 4096, micro_batch: 4 }",
    ),
    (
        "grouped_long",
        "{ model_type: llama, num_hidden_layers: 4, hidden_size: 256, num_attention_heads: 8, num_key_value_heads: 2 }",
        768,
        "tokens: 60K, batch: { global_tokens: 6144, micro_batch: 4 }",
    ),
    (
        "gpt2",
        "{ model_type: gpt2, num_hidden_layers: 6, hidden_size: 192, num_attention_heads: 3 }",
        128,
        "tokens: 90K, batch: { global_tokens: 4096, micro_batch: 16 }",
    ),
    (
        "arcee",
        "{ activation: relu2, num_hidden_layers: 3, hidden_size: 320, num_attention_heads: 5 }",
        320,
        "tokens: 60K, batch: { global_tokens: 3840, micro_batch: 12 }",
    ),
    (
        "nanochat",
        "{ model_type: nanochat, num_hidden_layers: 4, hidden_size: 192, num_attention_heads: 3 }",
        256,
        "tokens: 60K, batch: { global_tokens: 4096, micro_batch: 8 }",
    ),
    (
        "lstm",
        "{ arch: lstm, num_hidden_layers: 3, hidden_size: 256 }",
        96,
        "tokens: 60K, batch: { global_tokens: 3072, micro_batch: 16 }",
    ),
    (
        "z_loss",
        "{ depth: 3 }",
        384,
        "tokens: 60K, optimizer: { z_loss: 0.0001 }, batch: { global_tokens: 6144, micro_batch: 8 }",
    ),
    (
        "wide",
        "{ num_hidden_layers: 3, hidden_size: 640 }",
        128,
        "tokens: 24K, batch: { global_tokens: 2048, micro_batch: 8 }",
    ),
    (
        "bf16",
        "{ depth: 6 }",
        256,
        "tokens: 80K, precision: bf16, batch: { global_tokens: 4096, micro_batch: 8 }",
    ),
];

/// Stages behind pretraining, on `first`.
const STAGES: &str = "
  first_tuned: { kind: sft, model: first, data: [corpus.pairs], template: chatml, train_on: assistant, epochs: 1, context: { length: 256 }, precision: fp32, resources: { cores: 1 }, after: [first_lstm] }
  tuned: { kind: sft, model: first, data: [corpus.pairs], template: chatml, train_on: assistant, epochs: 2, context: { length: 192 }, batch: { micro_batch: 8 }, precision: fp32, resources: { cores: 1 }, after: [bf16] }
  adapted: { kind: sft, model: first, data: [corpus.pairs], template: chatml, train_on: assistant, epochs: 1, context: { length: 256 }, lora: { rank: 8 }, precision: fp32, resources: { cores: 1 }, after: [tuned] }
  first_aligned: { kind: rlhf, method: dpo, policy: first_tuned, prompts: corpus.pairs, pairs: 200, samples: 2, epochs: 1, labeler: { kind: reference }, precision: fp32, resources: { cores: 1 }, after: [adapted] }
";

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

    /// Estimates of the steps of a plan by name: seconds and bytes.
    fn plan(&self, arguments: &[&str]) -> Vec<(String, Option<f64>, Option<f64>)> {
        let plan = self.json(arguments);
        let of = |step: &Value| {
            let number = |name: &str| step["estimate"][name].as_f64();
            (step["step"].as_str().unwrap().to_owned(), number("secs"), number("peak_bytes"))
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

fn main() {
    let bench = Bench::new();
    bench.write_spec();
    let first = ["--only", "first", "--only", "first_lstm", "--only", "first_tuned"];
    let with = |words: &[&'static str], more: &[&'static str]| -> Vec<&'static str> {
        words.iter().chain(more).copied().collect()
    };
    let fresh = bench.plan(&["plan", "spec.yaml", "--measure"]);
    bench.cupola(&with(&["apply", "spec.yaml"], &first));
    let mut told = bench.plan(&["plan", "spec.yaml"]);
    // What ran already was told by the measured rates alone.
    for (name, secs, peak) in &mut told {
        if let Some((_, fresh_secs, fresh_peak)) = fresh.iter().find(|(of, ..)| of == name) {
            *secs = secs.or(*fresh_secs);
            *peak = peak.or(*fresh_peak);
        }
    }
    bench.cupola(&["apply", "spec.yaml"]);
    let mut real = taken(&bench.json(&["status", "--all"]));
    real.retain(|(_, secs, _)| *secs > 0.0);
    println!(
        "{:<24} {:>9} {:>9} {:>7} {:>9} {:>9} {:>7}",
        "step", "memory", "measured", "off", "time", "measured", "off"
    );
    let (mut memory, mut time) = (Vec::new(), Vec::new());
    for (name, secs, peak) in told {
        let is_training = PRETRAININGS.iter().any(|(of, ..)| *of == name)
            || ["tuned", "adapted", "first_tuned"].contains(&name.as_str())
            || name.starts_with("first_aligned/optimize");
        let Some((_, real_secs, real_peak)) = real.iter().find(|(of, ..)| *of == name && is_training) else {
            continue;
        };
        let off = |told: Option<f64>, real: f64| told.map(|told| told / real - 1.0);
        let percent =
            |off: Option<f64>| off.map_or_else(|| "–".to_owned(), |off| format!("{:+.1}%", 100.0 * off));
        let (of_peak, of_secs) = (off(peak, *real_peak), off(secs, *real_secs));
        println!(
            "{name:<24} {:>6.0} MB {:>6.0} MB {:>7} {:>7.2} s {:>7.2} s {:>7}",
            peak.unwrap_or(0.0) / 1e6,
            real_peak / 1e6,
            percent(of_peak),
            secs.unwrap_or(0.0),
            real_secs,
            percent(of_secs)
        );
        memory.extend(of_peak.map(f64::abs));
        time.extend(of_secs.map(f64::abs));
    }
    for (what, mut off) in [("memory", memory), ("time", time)] {
        off.sort_by(f64::total_cmp);
        let (middle, worst) = (off[off.len() / 2], off.last().copied().unwrap_or(0.0));
        println!(
            "{what}: {} estimates, off by {:.1} % at the median and {:.1} % at worst",
            off.len(),
            100.0 * middle,
            100.0 * worst
        );
    }
}
