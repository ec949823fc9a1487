//! The command line of `cupola-serve`, and the settings it stands for.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use cupola_serving::{ConnectionLimits, Drain, Quantization, RequestLimits, ServeConfig};
use cupola_specs::job::Precision;

/// Serves a model folder over an OpenAI-compatible API, with a chat page at /.
#[derive(Debug, Parser)]
#[command(name = "cupola-serve", version, max_term_width = 110)]
pub(crate) struct Args {
    /// Model folder in Hugging Face's layout, with its tokenizer, or a GGUF file
    #[arg(long, value_name = "DIR", required_unless_present_any = ["new_key", "openapi"])]
    model: Option<PathBuf>,
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
    /// Threads; 0 takes one for a small network, else all cores
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Tokens of prompt and answer together; 0 takes the model's limit
    #[arg(long, default_value_t = 0)]
    context: usize,
    /// Number format: auto, fp32 or bf16
    #[arg(long, default_value = "auto", value_parser = parse_precision)]
    precision: Precision,
    /// Weights in fewer bits, for a transformer on a CPU: none, int8 or int4
    #[arg(long, default_value_t = Quantization::None, value_parser = parse_quantization)]
    quantization: Quantization,
    /// Tokens whose keys and values are kept on a CPU, shared prefixes once; 0 takes a whole context for each slot
    #[arg(long, default_value_t = 0)]
    cache_tokens: usize,
    /// Key without limits, which clients send as a bearer token
    #[arg(long, env = "CUPOLA_API_KEY", hide_env_values = true, help_heading = "Keys")]
    api_key: Option<String>,
    /// Keys with names and limits: a YAML list of {name, sha256, requests_per_minute?, tokens_per_minute?,
    /// tokens_per_day?}
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    pub(crate) keys: Option<PathBuf>,
    /// Makes a key for NAME, appends its hash to the keys file, prints the key and ends
    #[arg(long, value_name = "NAME", requires = "keys", help_heading = "Keys")]
    pub(crate) new_key: Option<String>,
    /// Prints the OpenAPI document of the API and ends
    #[arg(long)]
    pub(crate) openapi: bool,
    /// Web origin that may call the API from a browser; may be given several times
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    cors_origins: Vec<String>,
    /// Longest request body, bytes
    #[arg(long, default_value_t = 4 << 20, help_heading = "Limits of a request")]
    max_body_bytes: usize,
    /// Longest prompt, tokens; 0 takes what the context holds
    #[arg(long, default_value_t = 0, help_heading = "Limits of a request")]
    max_prompt_tokens: usize,
    /// Longest answer, tokens; 0 takes what the context leaves
    #[arg(long, default_value_t = 0, help_heading = "Limits of a request")]
    max_output_tokens: usize,
    /// Seconds from an answer's admission to its end, waiting included; then it ends with an error
    #[arg(long, default_value_t = 600, help_heading = "Limits of a request")]
    max_request_secs: u64,
    /// Open connections; more get 503
    #[arg(long, default_value_t = 1024, help_heading = "Connections")]
    max_connections: usize,
    /// Open connections of one address, of IPv6 one /64; more get 429. Behind a proxy: as many as in all
    #[arg(long, default_value_t = 256, help_heading = "Connections")]
    max_connections_per_address: usize,
    /// Seconds for a request's line and headers, and for a connection without a request; then it is closed
    #[arg(long, default_value_t = 10, help_heading = "Connections")]
    header_timeout_secs: u64,
    /// Least bytes a second of a request's body after its first 10 s; below it the answer is 408; 0 asks for none
    #[arg(long, default_value_t = 1024, help_heading = "Connections")]
    min_body_rate: usize,
    /// Seconds that a client may leave its answer unread while buffers are full; then it is cut off
    #[arg(long, default_value_t = 30, help_heading = "Connections")]
    write_timeout_secs: u64,
    /// Seconds of silence after which TCP asks whether the client is there; 0 never asks
    #[arg(long, default_value_t = 60, help_heading = "Connections")]
    tcp_keepalive_secs: u64,
    /// Seconds after SIGTERM in which /ready says no and requests are still taken; none after Ctrl-C
    #[arg(long, default_value_t = 5, help_heading = "Stopping")]
    drain_notice_secs: u64,
    /// Seconds that running answers may go on after that; then they end with an error
    #[arg(long, default_value_t = 30, help_heading = "Stopping")]
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

fn parse_quantization(text: &str) -> Result<Quantization, String> {
    let all = [Quantization::None, Quantization::Int8, Quantization::Int4];
    let found = all.into_iter().find(|one| one.word() == text);
    found.ok_or_else(|| format!("'{text}' is not none, int8 or int4"))
}

impl Args {
    /// The settings for a server; none where the command line only asks for a key.
    pub(crate) fn config(self) -> Option<ServeConfig> {
        let secs = Duration::from_secs;
        let defaults = ServeConfig::new(self.model?);
        Some(ServeConfig {
            name: self.name,
            listen: self.listen,
            max_slots: self.max_slots,
            max_queue: self.max_queue,
            threads: self.threads,
            context: self.context,
            precision: self.precision,
            quantization: self.quantization,
            cache_tokens: self.cache_tokens,
            api_key: self.api_key.filter(|key| !key.is_empty()),
            keys_file: self.keys,
            cors_origins: self.cors_origins,
            limits: RequestLimits {
                body_bytes: self.max_body_bytes,
                prompt_tokens: self.max_prompt_tokens,
                output_tokens: self.max_output_tokens,
                time: secs(self.max_request_secs),
            },
            connections: ConnectionLimits {
                max: self.max_connections,
                max_per_address: self.max_connections_per_address,
                header_timeout: secs(self.header_timeout_secs),
                min_body_bytes_per_sec: self.min_body_rate,
                write_timeout: secs(self.write_timeout_secs),
                tcp_keepalive: secs(self.tcp_keepalive_secs),
                ..defaults.connections
            },
            drain: Drain { notice: secs(self.drain_notice_secs), limit: secs(self.drain_secs) },
            model: defaults.model,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from([&["cupola-serve"], args].concat())
    }

    #[test]
    fn options_without_a_word_are_the_defaults() {
        let config = parse(&["--model", "m"]).unwrap().config().unwrap();
        let defaults = ServeConfig { api_key: config.api_key.clone(), ..ServeConfig::new("m".into()) };
        assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn a_key_needs_a_file_and_a_server_a_model() {
        assert!(parse(&[]).is_err());
        assert!(parse(&["--new-key", "alice"]).is_err());
        assert!(parse(&["--new-key", "alice", "--keys", "keys.yaml"]).unwrap().config().is_none());
    }
}
