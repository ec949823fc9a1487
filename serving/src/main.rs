//! `cupola-serve`: serves model folders over OpenAI's API.

mod args;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use cupola_serving::{ServeError, Server, Stop, new_key, openapi};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::args::Args;

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
            let hint = error.downcast_ref().map(ServeError::hint).unwrap_or_default();
            if !hint.is_empty() {
                eprintln!("hint: {hint}");
            }
            ExitCode::from(2)
        }
    }
}

fn run(args: Args) -> anyhow::Result<()> {
    if args.openapi {
        println!("{:#}", openapi());
        return Ok(());
    }
    if let (Some(name), Some(file)) = (&args.new_key, &args.options.keys) {
        println!("{}", new_key(file, name)?);
        eprintln!("{} knows its hash; the key itself is written nowhere", file.display());
        return Ok(());
    }
    let config = args.config();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let (wish, stops) = mpsc::channel(4);
        forward(SignalKind::terminate(), Stop::WithNotice, wish.clone())?;
        forward(SignalKind::interrupt(), Stop::AtOnce, wish)?;
        let server = Server::start(config).await?;
        forward(SignalKind::hangup(), (), server.reload())?;
        println!(
            "listening on {}://{} serving {}",
            server.scheme(),
            server.address(),
            server.house().models()
        );
        server.run(stops).await;
        Ok(())
    });
    // A model that is still being loaded keeps nobody waiting.
    runtime.shutdown_background();
    ended
}

/// Makes a word of each signal of a kind.
fn forward<T: Copy + Send + Sync + 'static>(
    kind: SignalKind,
    word: T,
    wish: mpsc::Sender<T>,
) -> std::io::Result<()> {
    let mut signals = signal(kind)?;
    tokio::spawn(async move { while signals.recv().await.is_some() && wish.send(word).await.is_ok() {} });
    Ok(())
}
