//! `cupola-serve`: serves one model folder over OpenAI's API.

use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use cupola_serving::{ServeConfig, serve};
use cupola_specs::job::Precision;
use tokio::signal::unix::{SignalKind, signal};

/// Serves a model folder over an OpenAI-compatible API, with a chat page at /.
#[derive(Debug, Parser)]
#[command(name = "cupola-serve", version, max_term_width = 110)]
struct Args {
    /// Model folder in Hugging Face's layout, with its tokenizer
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Name that clients ask for [default: the step in the folder's manifest, or the folder's name]
    #[arg(long)]
    name: Option<String>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Answers generated at the same time
    #[arg(long, default_value_t = 8)]
    max_slots: usize,
    /// Answers that may wait for a slot; more get 429
    #[arg(long, default_value_t = 64)]
    max_queue: usize,
    /// Threads of the tensor library; 0 takes one for a small network, else all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Tokens of prompt and answer together; 0 takes the model's limit
    #[arg(long, default_value_t = 0)]
    context: usize,
    /// Number format: auto, fp32 or bf16
    #[arg(long, default_value = "auto", value_parser = parse_precision)]
    precision: Precision,
    /// Key that clients must send as a bearer token
    #[arg(long, env = "CUPOLA_API_KEY", hide_env_values = true)]
    api_key: Option<String>,
    /// Web origin that may call the API from a browser; may be given several times
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    cors_origins: Vec<String>,
    /// Longest request body, bytes
    #[arg(long, default_value_t = 4 << 20)]
    max_body_bytes: usize,
    /// Seconds that running answers may take to end after SIGTERM
    #[arg(long, default_value_t = 30)]
    drain_secs: u64,
}

fn parse_precision(text: &str) -> Result<Precision, String> {
    match text {
        "auto" => Ok(Precision::Auto),
        "fp32" => Ok(Precision::Fp32),
        "bf16" => Ok(Precision::Bf16),
        other => Err(format!("'{other}' is not auto, fp32 or bf16")),
    }
}

impl From<Args> for ServeConfig {
    fn from(args: Args) -> Self {
        Self {
            model: args.model,
            name: args.name,
            listen: args.listen,
            max_slots: args.max_slots,
            max_queue: args.max_queue,
            threads: args.threads,
            context: args.context,
            precision: args.precision,
            api_key: args.api_key.filter(|key| !key.is_empty()),
            cors_origins: args.cors_origins,
            max_body_bytes: args.max_body_bytes,
            drain: Duration::from_secs(args.drain_secs),
        }
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr).init();
    match run(args) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            let hint = error.downcast_ref().map_or("", cupola_serving::ServeError::hint);
            if !hint.is_empty() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(2)
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let stop = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        Ok(serve(args.into(), stop).await?)
    })
}
