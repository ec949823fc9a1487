//! The peers as processes: how each is started, and what is asked of it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::checkpoint::Checkpoint;
use crate::load::{self, Prompts, Rates};

/// Threads of each peer.
const THREADS: &str = "2";
/// vLLM compiles for a while before it answers.
const START: Duration = Duration::from_mins(4);

/// A number format by the names of both sides.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Format {
    pub(crate) name: &'static str,
    pub(crate) gguf: &'static str,
    /// Options of `cupola-serve`.
    options: [&'static str; 2],
}

pub(crate) const FORMATS: [Format; 3] = [
    Format { name: "bf16", gguf: "bf16", options: ["--precision", "bf16"] },
    Format { name: "int8", gguf: "q8_0", options: ["--quantization", "int8"] },
    Format { name: "int4", gguf: "q4_0", options: ["--quantization", "int4"] },
];

/// A peer that runs; ended when dropped.
pub(crate) struct Peer {
    process: Child,
    face: Face,
}

/// How a peer is asked.
enum Face {
    /// Over HTTP.
    Http(String),
    /// By lines, each answered by one.
    Lines(ChildStdin, BufReader<ChildStdout>),
}

impl Drop for Peer {
    fn drop(&mut self) {
        // The server's children end with it only if it ends them itself.
        let _ = Command::new("kill").arg(self.process.id().to_string()).status();
        for _ in 0..50 {
            if matches!(self.process.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Peer {
    /// Cupola's server of this build.
    pub(crate) async fn cupola(checkpoint: &Checkpoint, format: Format) -> Self {
        let model = format!("peer={}", checkpoint.network().display());
        let mut command = Command::new(env!("CARGO_BIN_EXE_cupola-serve"));
        command.args(["--model", &model, "--threads", THREADS, "--max-slots", "8"]).args(format.options);
        command.env("RUST_LOG", "error").env_remove("CUPOLA_API_KEY");
        Self::http(command, "--listen", |port| format!("127.0.0.1:{port}")).await
    }

    /// llama.cpp's server; it keeps no finished prompts, since none comes twice.
    pub(crate) async fn llama(program: &Path, checkpoint: &Checkpoint, format: Format) -> Self {
        let mut command = Command::new(program);
        command.arg("--model").arg(checkpoint.gguf(format.gguf));
        command.args([
            "--threads",
            THREADS,
            "--threads-batch",
            THREADS,
            "--parallel",
            "8",
            "--ctx-size",
            "8192",
        ]);
        command.args(["--cache-ram", "0", "--host", "127.0.0.1"]);
        Self::http(command, "--port", |port| port.to_string()).await
    }

    /// vLLM's server for processors, in bf16.
    pub(crate) async fn vllm(program: &Path, checkpoint: &Checkpoint) -> Self {
        let mut command = Command::new(program);
        command.arg("serve").arg(checkpoint.network());
        command.args([
            "--served-model-name",
            "peer",
            "--dtype",
            "bfloat16",
            "--max-model-len",
            "1024",
            "--max-num-seqs",
            "8",
        ]);
        command
            .args(["--host", "127.0.0.1"])
            .env("VLLM_CPU_KVCACHE_SPACE", "1")
            .env("VLLM_CPU_OMP_THREADS_BIND", "0-1");
        Self::http(command, "--port", |port| port.to_string()).await
    }

    /// transformers by a script beside this file.
    pub(crate) fn transformers(python: &Path, checkpoint: &Checkpoint) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/transformers_peer.py");
        let mut command = Command::new(python);
        command.arg(script).arg(checkpoint.network()).arg(THREADS).env("OMP_NUM_THREADS", THREADS);
        let mut process =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        lines.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "transformers did not start");
        let input = process.stdin.take().unwrap();
        Self { process, face: Face::Lines(input, lines) }
    }

    async fn http(mut command: Command, option: &str, value: impl Fn(u16) -> String) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        command.arg(option).arg(value(port)).stdout(Stdio::null()).stderr(Stdio::null());
        let process = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let peer = Self { process, face: Face::Http(format!("127.0.0.1:{port}")) };
        let Face::Http(address) = &peer.face else { unreachable!("made above") };
        assert!(load::wait(address, START).await, "{command:?} does not answer");
        peer
    }

    /// The process, whose children are the peer's too.
    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Puts all loads on it; no two calls with one seed.
    pub(crate) async fn measure(&mut self, seed: u64) -> Rates {
        match &mut self.face {
            Face::Http(address) => load::measure(address, &mut Prompts::new(seed)).await,
            Face::Lines(input, lines) => {
                writeln!(input, "{seed}").unwrap();
                let mut line = String::new();
                lines.read_line(&mut line).unwrap();
                serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"))
            }
        }
    }
}
