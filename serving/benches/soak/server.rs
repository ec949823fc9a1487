//! The program under load, and what it holds.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cupola_specs::job::{ModelShape, ModelType};

use crate::SLOTS;
use crate::client::exchange;
use crate::fixture::{TEMPLATE, wire_get, write_model_as};

/// Memory that may come on top without being a leak: the allocator's, by as much as it keeps of what was free.
const SLACK_BYTES: u64 = 48 << 20;
/// Longer than what the server takes for a rest.
const REST: Duration = Duration::from_secs(8);

/// A server in its own process; killed when dropped.
pub(crate) struct Program {
    process: Child,
    pub(crate) address: String,
    _folder: tempfile::TempDir,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What the server holds at a moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gauges {
    pub(crate) resident_bytes: u64,
    /// The most that it was until then.
    pub(crate) peak_bytes: u64,
    pub(crate) descriptors: u64,
    pub(crate) connections: u64,
    pub(crate) running: u64,
    pub(crate) waiting: u64,
    /// Thousandths of the cache's blocks that answers hold.
    pub(crate) blocks_permille: u64,
    pub(crate) tokens: u64,
}

impl Gauges {
    /// What is not as it was.
    pub(crate) fn differences(&self, start: &Self) -> Vec<String> {
        let pairs = [
            ("descriptors", self.descriptors, start.descriptors),
            ("connections", self.connections, start.connections),
            ("answers that run", self.running, 0),
            ("answers in line", self.waiting, 0),
            ("blocks held", self.blocks_permille, 0),
        ];
        let differ = pairs.into_iter().filter(|(_, now, before)| now > before);
        differ.map(|(name, now, before)| format!("{name}: {now}, {before} at the start")).collect()
    }

    /// Memory that did not come back, and memory that grew under load after all that is made once was made.
    pub(crate) fn growth(&self, start: &Self, warm: &Self) -> Vec<String> {
        let pairs = [
            ("memory at the end", self.resident_bytes, start.resident_bytes),
            ("most memory", self.peak_bytes, warm.peak_bytes),
        ];
        let grew = pairs.into_iter().filter(|(_, now, before)| *now > before + SLACK_BYTES);
        grew.map(|(name, now, before)| format!("{name}: {} MiB, {} before", now >> 20, before >> 20))
            .collect()
    }
}

/// A network that is slower than the rest of the server and than the clients, so that its steps are what there is too little of.
fn shape() -> ModelShape {
    ModelShape {
        num_hidden_layers: 4,
        hidden_size: 256,
        intermediate_size: 768,
        num_attention_heads: 8,
        num_key_value_heads: 4,
        head_dim: 32,
        tie_word_embeddings: true,
        max_position_embeddings: 256,
        ..ModelShape::plain(ModelType::Qwen3)
    }
}

impl Program {
    /// Answers that are let in at once, in slots and in line.
    pub(crate) fn room(num_clients: u64) -> u64 {
        (num_clients / 4).max(SLOTS)
    }

    /// Serves a small model with room for a quarter of the clients.
    pub(crate) fn start(num_clients: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_model_as(folder.path(), 3, TEMPLATE, &shape());
        let (slots, queue) = (SLOTS.to_string(), (Self::room(num_clients) - SLOTS).to_string());
        let model = format!("tiny={}", folder.path().display());
        let options = ["--model", &model, "--listen", "127.0.0.1:0", "--context", "256"];
        let limits = ["--max-slots", &slots, "--max-queue", &queue, "--write-timeout-secs", "10"];
        let mut process = Command::new(env!("CARGO_BIN_EXE_cupola-serve"))
            .args(options)
            .args(limits)
            .args(["--max-connections-per-address", "1024", "--device", "cpu", "--threads", "1"])
            .env("RUST_LOG", "error")
            .env_remove("CUPOLA_API_KEY")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.strip_prefix("listening on http://").unwrap().split(' ').next().unwrap().to_owned();
        Self { process, address, _folder: folder }
    }

    /// What it holds now.
    pub(crate) async fn gauges(&self) -> Gauges {
        let page = exchange(&self.address, &wire_get("/metrics")).await.unwrap_or_default();
        let page = String::from_utf8_lossy(&page).into_owned();
        let number = |name: &str| -> f64 {
            let line = page.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.rsplit(' ').next())
                .and_then(|word| word.parse().ok())
                .unwrap_or(f64::MAX)
        };
        let process = format!("/proc/{}", self.process.id());
        let status = std::fs::read_to_string(format!("{process}/status")).unwrap();
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib: Option<u64> = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
            kib.unwrap_or_else(|| panic!("the server is gone: {status}")) << 10
        };
        Gauges {
            resident_bytes: bytes("VmRSS:"),
            peak_bytes: bytes("VmHWM:"),
            descriptors: std::fs::read_dir(format!("{process}/fd")).unwrap().count() as u64,
            connections: number("cupola_connections_open") as u64,
            running: number("vllm:num_requests_running") as u64,
            waiting: number("vllm:num_requests_waiting") as u64,
            blocks_permille: (1000.0 * number("vllm:kv_cache_usage_perc")) as u64,
            tokens: number("vllm:generation_tokens_total") as u64,
        }
    }

    /// What the server holds when nothing has run for a while: by then it has given the heap's free pages back.
    pub(crate) async fn rested(&self) -> Gauges {
        tokio::time::sleep(REST).await;
        self.gauges().await
    }

    /// Waits for a rest, and then until all is as it was, at most so long; gives how it is then.
    pub(crate) async fn settle(&self, start: &Gauges, patience: Duration) -> Gauges {
        let since = Instant::now();
        let mut now = self.rested().await;
        while !now.differences(start).is_empty() && since.elapsed() <= patience {
            tokio::time::sleep(Duration::from_millis(200)).await;
            now = self.gauges().await;
        }
        now
    }
}
