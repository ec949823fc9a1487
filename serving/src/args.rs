//! The command line of `cupola-serve`, and the settings it stands for.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use cupola_serving::{ConnectionLimits, Drain, ModelSource, RequestLimits, ServeConfig, TlsFiles};
use cupola_specs::contract::ServerOptions;

/// Serves a model folder over an OpenAI-compatible API, with a chat page at /.
#[derive(Debug, Parser)]
#[command(name = "cupola-serve", version, max_term_width = 110)]
pub(crate) struct Args {
    /// Model folder in Hugging Face's layout, with its tokenizer, or a GGUF file; several times for several models. NAME
    /// is what clients ask for [default: the step in the folder's manifest, or the folder's name]
    #[arg(long = "model", value_name = "[NAME=]DIR", value_parser = parse_model)]
    models: Vec<ModelSource>,
    /// Serves the promoted models that a state folder's served.json names instead, and follows its changes
    #[arg(long, value_name = "FILE", conflicts_with = "models")]
    follow: Option<PathBuf>,
    /// Address to listen on; port 0 takes a free one
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Makes a key for NAME, appends its hash to the keys file, prints the key and ends
    #[arg(long, value_name = "NAME", requires = "keys", help_heading = "Keys")]
    pub(crate) new_key: Option<String>,
    /// Prints the OpenAPI document of the API and ends
    #[arg(long)]
    pub(crate) openapi: bool,
    /// Everything else.
    #[command(flatten)]
    pub(crate) options: ServerOptions,
}

/// `NAME=DIR` or `DIR`: a folder that is there is taken as it is, whatever signs are in its path.
fn parse_model(text: &str) -> Result<ModelSource, String> {
    let whole = PathBuf::from(text);
    let named = text.split_once('=').filter(|(name, _)| !whole.exists() && !name.contains('/'));
    match named {
        None => Ok(whole.into()),
        Some(("", _) | (_, "")) => Err("expected NAME=DIR".to_owned()),
        Some((name, dir)) => Ok(ModelSource { name: Some(name.to_owned()), ..PathBuf::from(dir).into() }),
    }
}

impl Args {
    /// The settings for a server.
    pub(crate) fn config(self) -> ServeConfig {
        let options = self.options;
        let secs = Duration::from_secs;
        let defaults = ServeConfig::new(PathBuf::new());
        ServeConfig {
            models: self.models,
            follow: self.follow,
            keep_replaced: options.keep_replaced,
            listen: self.listen,
            max_slots: options.max_slots,
            max_queue: options.max_queue,
            threads: options.threads,
            context: options.context,
            device: options.device,
            precision: options.precision,
            quantization: options.quantization,
            cache_tokens: options.cache_tokens,
            adapters: options.adapters,
            speculation: options.speculate,
            api_key: options.api_key.filter(|key| !key.is_empty()),
            keys_file: options.keys,
            moderation_file: options.moderation,
            cors_origins: options.cors_origins,
            tls: options
                .tls_cert
                .zip(options.tls_key)
                .map(|(certificate, key)| TlsFiles { certificate, key }),
            collector: options.otlp_endpoint,
            limits: RequestLimits {
                body_bytes: options.max_body_bytes,
                prompt_tokens: options.max_prompt_tokens,
                output_tokens: options.max_output_tokens,
                time: secs(options.max_request_secs),
            },
            connections: ConnectionLimits {
                max: options.max_connections,
                max_per_address: options.max_connections_per_address,
                header_timeout: secs(options.header_timeout_secs),
                min_body_bytes_per_sec: options.min_body_rate,
                write_timeout: secs(options.write_timeout_secs),
                tcp_keepalive: secs(options.tcp_keepalive_secs),
                ..defaults.connections
            },
            drain: Drain { notice: secs(options.drain_notice_secs), limit: secs(options.drain_secs) },
        }
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
        let config = parse(&["--model", "m"]).unwrap().config();
        let defaults = ServeConfig { api_key: config.api_key.clone(), ..ServeConfig::new("m".into()) };
        assert_eq!(format!("{config:?}"), format!("{defaults:?}"));
    }

    #[test]
    fn a_key_needs_a_file_and_a_model_may_have_a_name() {
        assert!(parse(&["--new-key", "alice"]).is_err());
        assert!(parse(&["--new-key", "alice", "--keys", "keys.yaml"]).is_ok());
        assert!(parse(&["--model", "m", "--follow", "served.json"]).is_err());
        let named = parse(&["--model", "one=a/b", "--model", "c=/d=e", "--model", "./x=y"]).unwrap().models;
        let source = |name: Option<&str>, path: &str| ModelSource {
            name: name.map(str::to_owned),
            ..PathBuf::from(path).into()
        };
        assert_eq!(named, [source(Some("one"), "a/b"), source(Some("c"), "/d=e"), source(None, "./x=y")]);
        assert!(parse(&["--model", "=a"]).is_err());
    }
}
