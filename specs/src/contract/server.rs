//! The options of `cupola-serve`, which `cupola serve` takes too and hands on: one definition, so that both check and explain the same.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches, ValueEnum};

use super::{AdapterSource, Speculation};
use crate::job::{Device, Precision};

/// How weights are kept in fewer bits than the number format's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub enum Quantization {
    /// Not at all.
    #[default]
    None,
    /// 8 bits with a scale for each output.
    Int8,
    /// 4 bits with a scale for each few dozen inputs.
    Int4,
}

impl Quantization {
    /// Its word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Int8 => "int8",
            Self::Int4 => "int4",
        }
    }
}

impl fmt::Display for Quantization {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.word())
    }
}

/// Options of a server, whatever it serves.
#[derive(Debug, Clone, Args)]
pub struct ServerOptions {
    /// Keeps the model that a promotion replaces in memory, one for each name: rolling back takes no time
    #[arg(long)]
    pub keep_replaced: bool,
    /// Answers generated at the same time
    #[arg(long, default_value_t = 8)]
    pub max_slots: usize,
    /// Answers that may wait for a slot; more get 429
    #[arg(long, default_value_t = 64)]
    pub max_queue: usize,
    /// Threads; 0 takes one for a small network, else all cores
    #[arg(long, default_value_t = 0)]
    pub threads: usize,
    /// Tokens of prompt and answer together; 0 takes the model's limit
    #[arg(long, default_value_t = 0)]
    pub context: usize,
    /// Where networks run: auto (a CUDA device where there is one, else the CPU), cpu or cuda
    #[arg(long, default_value = "auto", value_parser = parse_device)]
    pub device: Device,
    /// Number format: auto, fp32 or bf16
    #[arg(long, default_value = "auto", value_parser = parse_precision)]
    pub precision: Precision,
    /// Weights in fewer bits, for a transformer on a CPU: none, int8 or int4
    #[arg(long, value_enum, default_value_t = Quantization::None)]
    pub quantization: Quantization,
    /// Tokens of a transformer whose keys and values are kept, shared prefixes once; 0 takes a whole context for each slot
    #[arg(long, default_value_t = 0)]
    pub cache_tokens: usize,
    /// Adapter in PEFT's format that answers to a name of its own; several times for several adapters. With several models
    /// @MODEL says beside which it stands
    #[arg(long = "adapter", value_name = "NAME=DIR[@MODEL]")]
    pub adapters: Vec<AdapterSource>,
    /// Guesses what follows, so that one pass checks several tokens; answers stay the same. prompt-lookup[:N] guesses up to
    /// N tokens (7) that followed the same ones before, draft=DIR[:N] up to N (4) by a smaller model of the same vocabulary
    #[arg(long, value_name = "prompt-lookup[:N]|draft=DIR[:N]")]
    pub speculate: Option<Speculation>,
    /// Key without limits, which clients send as a bearer token
    #[arg(long, env = "CUPOLA_API_KEY", hide_env_values = true, help_heading = "Keys")]
    pub api_key: Option<String>,
    /// Keys with names and limits: a YAML list of {name, sha256, requests_per_minute?, tokens_per_minute?,
    /// tokens_per_day?}
    #[arg(long, value_name = "FILE", help_heading = "Keys")]
    pub keys: Option<PathBuf>,
    /// Block lists and classifiers of prompts and answers: a YAML file, which SERVING.md explains
    #[arg(long, value_name = "FILE", help_heading = "Moderation")]
    pub moderation: Option<PathBuf>,
    /// Web origin that may call the API from a browser; may be given several times
    #[arg(long = "cors-origin", value_name = "ORIGIN")]
    pub cors_origins: Vec<String>,
    /// Certificate chain, PEM, the server's own first: the server speaks HTTPS. Read again when it changes and at SIGHUP
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "Connections")]
    pub tls_cert: Option<PathBuf>,
    /// Its private key, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Connections")]
    pub tls_key: Option<PathBuf>,
    /// Address of an OpenTelemetry collector that gets a span for each request that generates, over OTLP/HTTP; without it
    /// the server makes no outbound request, ever. OTEL_EXPORTER_OTLP_HEADERS has its key
    #[arg(long, value_name = "URL", value_parser = parse_collector, help_heading = "Traces")]
    pub otlp_endpoint: Option<String>,
    /// Longest request body, bytes
    #[arg(long, default_value_t = 4 << 20, help_heading = "Limits of a request")]
    pub max_body_bytes: usize,
    /// Longest prompt, tokens; 0 takes what the context holds
    #[arg(long, default_value_t = 0, help_heading = "Limits of a request")]
    pub max_prompt_tokens: usize,
    /// Longest answer, tokens; 0 takes what the context leaves
    #[arg(long, default_value_t = 0, help_heading = "Limits of a request")]
    pub max_output_tokens: usize,
    /// Seconds from an answer's admission to its end, waiting included; then it ends with an error
    #[arg(long, default_value_t = 600, help_heading = "Limits of a request")]
    pub max_request_secs: u64,
    /// Open connections; more get 503
    #[arg(long, default_value_t = 1024, help_heading = "Connections")]
    pub max_connections: usize,
    /// Open connections of one address, of IPv6 one /64; more get 429. Behind a proxy: as many as in all
    #[arg(long, default_value_t = 256, help_heading = "Connections")]
    pub max_connections_per_address: usize,
    /// Seconds for a request's line and headers, and for a connection without a request; then it is closed
    #[arg(long, default_value_t = 10, help_heading = "Connections")]
    pub header_timeout_secs: u64,
    /// Least bytes a second of a request's body after its first 10 s; below it the answer is 408; 0 asks for none
    #[arg(long, default_value_t = 1024, help_heading = "Connections")]
    pub min_body_rate: usize,
    /// Seconds that a client may leave its answer unread while buffers are full; then it is cut off
    #[arg(long, default_value_t = 30, help_heading = "Connections")]
    pub write_timeout_secs: u64,
    /// Seconds of silence after which TCP asks whether the client is there; 0 never asks
    #[arg(long, default_value_t = 60, help_heading = "Connections")]
    pub tcp_keepalive_secs: u64,
    /// Seconds after SIGTERM in which /ready says no and requests are still taken; none after Ctrl-C
    #[arg(long, default_value_t = 5, help_heading = "Stopping")]
    pub drain_notice_secs: u64,
    /// Seconds that running answers may go on after that; then they end with an error
    #[arg(long, default_value_t = 30, help_heading = "Stopping")]
    pub drain_secs: u64,
}

fn parse_device(text: &str) -> Result<Device, String> {
    match text {
        "auto" => Ok(Device::Auto),
        "cpu" => Ok(Device::Cpu),
        "cuda" => Ok(Device::Cuda),
        other => Err(format!("'{other}' is not auto, cpu or cuda")),
    }
}

fn parse_precision(text: &str) -> Result<Precision, String> {
    match text {
        "auto" => Ok(Precision::Auto),
        "fp32" => Ok(Precision::Fp32),
        "bf16" => Ok(Precision::Bf16),
        other => Err(format!("'{other}' is not auto, fp32 or bf16")),
    }
}

/// A collector's address: it stands in logs, so that nothing secret may be in it.
fn parse_collector(text: &str) -> Result<String, String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://")).unwrap_or("");
    let is_plain = rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"@?#".contains(&byte));
    let authority = rest.split('/').next().unwrap_or_default();
    // The colons of an IPv6 address stand in brackets.
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, port.parse::<u16>().is_ok()),
        _ => (authority, true),
    };
    if host.is_empty() || !port || !is_plain {
        let form = "http:// or https://, a host, and perhaps a port and a path";
        return Err(format!("expected {form}, without a user or a query, as in http://127.0.0.1:4318"));
    }
    if text.trim_end_matches('/').ends_with("/v1/traces") {
        return Err("give the collector's address alone: /v1/traces is added to it".to_owned());
    }
    Ok(text.to_owned())
}

/// The options of [`ServerOptions`] that a command line has, checked, as words for the server's own command line. What came from a variable of the
/// environment is not among them: the server reads it there, and a key does not belong on a command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GivenServerOptions(pub Vec<OsString>);

impl FromArgMatches for GivenServerOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut words = Vec::new();
        for argument in ServerOptions::augment_args(Command::new("")).get_arguments() {
            let id = argument.get_id().as_str();
            let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
            let Some(name) = argument.get_long().filter(|_| is_given) else { continue };
            if argument.get_action().takes_values() {
                for value in matches.get_raw(id).into_iter().flatten() {
                    let mut word = OsString::from(format!("--{name}="));
                    word.push(value);
                    words.push(word);
                }
            } else {
                words.push(format!("--{name}").into());
            }
        }
        Ok(Self(words))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for GivenServerOptions {
    fn augment_args(command: Command) -> Command {
        ServerOptions::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        ServerOptions::augment_args_for_update(command)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(words: &[&str]) -> Result<Vec<OsString>, clap::Error> {
        let command = GivenServerOptions::augment_args(Command::new("serve"));
        let matches = command.try_get_matches_from([&["serve"], words].concat())?;
        Ok(GivenServerOptions::from_arg_matches(&matches)?.0)
    }

    #[test]
    fn what_is_given_is_handed_on_and_nothing_else() {
        let none: [&str; 0] = [];
        assert_eq!(given(&[]).unwrap(), none);
        let words =
            ["--keys", "a b.yaml", "--cors-origin", "http://a", "--cors-origin=http://b", "--keep-replaced"];
        let handed = given(&words).unwrap();
        assert_eq!(
            handed,
            ["--keep-replaced", "--keys=a b.yaml", "--cors-origin=http://a", "--cors-origin=http://b"]
        );
        let again: Vec<&str> = handed.iter().map(|word| word.to_str().unwrap()).collect();
        assert_eq!(given(&again).unwrap(), handed, "the server reads it as it was meant");
        for address in [
            "http://127.0.0.1:4318",
            "https://collector.example/otlp/",
            "http://[::1]:4318",
            "http://[::1]",
            "http://a/b:c",
        ] {
            assert_eq!(
                given(&["--otlp-endpoint", address]).unwrap(),
                [format!("--otlp-endpoint={address}").as_str()]
            );
        }
    }

    #[test]
    fn a_wrong_option_is_refused_before_the_server_starts() {
        for words in [
            ["--max-slots", "many"],
            ["--quantization", "int3"],
            ["--precision", "fp8"],
            ["--device", "gpu"],
            ["--max-slot", "3"],
            ["--adapter", "law"],
            ["--speculate", "n-gram"],
            ["--otlp-endpoint", "127.0.0.1:4318"],
            ["--otlp-endpoint", "http://"],
            ["--otlp-endpoint", "http://:4318"],
            ["--otlp-endpoint", "http:///v1"],
            ["--otlp-endpoint", "http://collector:99999"],
            ["--otlp-endpoint", "http://collector:/otlp"],
            ["--otlp-endpoint", "http://me:secret@collector:4318"],
            ["--otlp-endpoint", "http://collector:4318?key=secret"],
            ["--otlp-endpoint", "http://collector:4318/v1/traces"],
        ] {
            assert!(given(&words).is_err(), "{words:?}");
        }
    }
}
