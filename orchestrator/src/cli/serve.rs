//! `cupola serve`.

use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use clap::Args;
use cupola_specs::contract::{ErrorClass, GivenServerOptions};

use super::model::{find_model, promoted_model};
use super::select::projection;
use super::{CliError, Global, Outcome};

const DEFAULT_LISTEN: &str = "127.0.0.1:8080";

/// Arguments of `cupola serve`.
#[derive(Debug, Args)]
pub struct ServeArgs {
    /// A job, a step, a model folder or a GGUF file, promoted or not; the promoted model where none is given.
    pub model: Option<String>,
    /// Address to listen on; the spec's, or 127.0.0.1:8080, where none is given.
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<SocketAddr>,
    /// Name that clients ask for; the job's where none is given. With it the promoted model is served as it is now, and later promotions are
    /// not followed.
    #[arg(long)]
    pub name: Option<String>,
    /// Options of the server.
    #[command(flatten)]
    pub server: GivenServerOptions,
}

/// Turns this process into the server.
pub(super) fn run(args: &ServeArgs, global: &Global) -> Result<Outcome, CliError> {
    let projection = projection(global)?;
    // A name is a developer's act: it serves that model as it is, promoted or not.
    let model = match &args.model {
        Some(name) => find_model(&projection, Some(name))?,
        None => promoted_model(&projection)?,
    };
    let listen = args.listen.or(model.listen).map_or(DEFAULT_LISTEN.to_owned(), |listen| listen.to_string());
    let server = server_binary()?;
    let mut command = Command::new(&server);
    command.arg("--listen").arg(&listen);
    let follows = args.model.is_none() && args.name.is_none();
    if follows {
        command.arg("--follow").arg(projection.dir().served());
    } else {
        command.arg("--model").arg(model.named_folder(args.name.as_ref().unwrap_or(&model.name)));
    }
    command.args(&args.server.0);
    if !global.json {
        let how = if follows { ", and what is promoted later" } else { "" };
        eprintln!("serving {} from {}{how}", model.name, super::apply::display_path(&model.folder));
    }
    let source = command.exec();
    Err(CliError::Io { path: server, source })
}

/// The server's binary, beside this one.
pub(super) fn server_binary() -> Result<PathBuf, CliError> {
    let own = std::env::current_exe()
        .map_err(|source| CliError::Io { path: PathBuf::from("/proc/self/exe"), source })?;
    let server = own.with_file_name("cupola-serve");
    if server.is_file() {
        return Ok(server);
    }
    Err(CliError::Other {
        message: format!("there is no server binary at {}", server.display()),
        hint: "build it: cargo build --release -p cupola-serving".to_owned(),
        class: ErrorClass::User,
    })
}
