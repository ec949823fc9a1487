//! `cupola daemon`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

use super::{CliError, Global, Outcome};
use crate::daemon::{DaemonError, DaemonOptions, run_daemon, token_file};

/// Arguments of `cupola daemon`.
#[derive(Debug, Args)]
pub struct DaemonArgs {
    /// Specs whose schedules are fired; where none is given, those of the runs in the state folder, as they begin.
    pub specs: Vec<PathBuf>,
    /// Where the control API and the dashboard listen: a loopback address, port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7070")]
    pub listen: SocketAddr,
}

/// Fires schedules and answers the control API until it is stopped.
pub(super) fn run(args: &DaemonArgs, global: &Global) -> Result<Outcome, CliError> {
    let dir = global.state_dir();
    for spec in &args.specs {
        // Mistakes of the user are said at once; later ones go to the log.
        super::load::load_spec(spec, &[], global.json)?;
    }
    let options = DaemonOptions { specs: args.specs.clone(), listen: args.listen };
    let ready = |address: SocketAddr, token: &str, problems: &[String]| {
        for problem in problems {
            eprintln!("{problem}");
        }
        if global.json {
            println!("{}", serde_json::json!({ "address": address, "token_file": token_file(&dir) }));
        } else {
            println!("dashboard: http://{address}/login?token={token}");
            println!("control API: http://{address}/api/v1, token in {}", token_file(&dir).display());
        }
    };
    run_daemon(&dir, &options, &ready)?;
    Ok(Outcome::Done)
}

impl From<DaemonError> for CliError {
    fn from(error: DaemonError) -> Self {
        Self::Other { message: error.to_string(), hint: error.hint().to_owned(), class: error.class() }
    }
}
