//! `cupola-shim`: forks the process that each local attempt runs under, at the orders that come on its standard input. It is a binary of
//! its own because what it forks is a copy of it: it is small, and a thousand short steps fork it a thousand times.

use std::io::IsTerminal;
use std::process::ExitCode;

fn main() -> ExitCode {
    if std::env::args_os().len() > 1 || std::io::stdin().is_terminal() {
        eprintln!("usage: cupola-shim < SOCKET\n\nForks a shim for each attempt; `cupola apply` starts it.");
        return ExitCode::from(2);
    }
    match cupola::executor::serve_forks() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("cupola-shim: {error}");
            ExitCode::FAILURE
        }
    }
}
