//! The subcommands, their shared options and their exit codes.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::FalseyValueParser;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use super::{
    CliError, apply, approve, bundle, cancel, chaos, chat, completions, daemon, describe, diff, doctor,
    explain, export, gc, get, import, init, logs, pause, plan, promote, reject, report, resume, retry,
    rollback, run_job, schedule, schema, serve, status, validate, watch, why,
};
use crate::audit::act_of_command;
use crate::daemon::OrderFiles;
use crate::state::{Act, Fact, StateDir, StateError};
use crate::telemetry::{self, TelemetryError};

/// Builds language models from declarative specs.
#[derive(Debug, Parser)]
#[command(name = "cupola", version, about, propagate_version = true)]
pub struct Cli {
    /// Options of every subcommand.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every subcommand.
#[derive(Debug, Clone, Args)]
pub struct Global {
    /// The state folder.
    #[arg(long, global = true, env = "CUPOLA_STATE", default_value = ".cupola", value_name = "DIR")]
    pub state: PathBuf,
    /// Prints JSON for machines.
    #[arg(long, global = true)]
    pub json: bool,
    /// On whose behalf the command works, for the audit log: set by the daemon on what it starts.
    #[arg(long, global = true, hide = true, value_name = "WHOM", default_value = "")]
    pub via: String,
    /// Works without the daemon, also where one runs.
    #[arg(long, global = true, env = "CUPOLA_NO_DAEMON", value_parser = FalseyValueParser::new())]
    pub no_daemon: bool,
    /// The order that the command carries out: set by the daemon on what it starts.
    #[arg(long, global = true, hide = true, value_name = "ID", default_value = "")]
    pub order: String,
    /// The command's name: `apply`, `schedule pause`.
    #[arg(skip)]
    pub command: String,
}

impl Global {
    /// The state folder's layout.
    pub fn state_dir(&self) -> StateDir {
        StateDir::new(&self.state)
    }

    /// Says how the order ended that the command carries out. Where another process took it over, that one says so.
    fn end_order(&self, code: u8) -> Result<(), StateError> {
        let files = OrderFiles::new(&self.state_dir());
        let is_others = || files.run(&self.order).is_some_and(|run| run.pid != std::process::id());
        if self.order.is_empty() || is_others() {
            return Ok(());
        }
        files.note_end(&self.order, i32::from(code))
    }

    /// What this command does, and who does it.
    pub fn act(&self) -> Act {
        act_of_command(&self.command, &self.via)
    }

    /// The fact that records it, with what came of it where that is known.
    pub fn acted(&self, result: &str) -> Fact {
        Fact::Acted(Box::new(Act { result: result.to_owned(), ..self.act() }))
    }
}

/// The subcommands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Writes a spec to start from.
    Init(init::InitArgs),
    /// Checks a spec and prints every error in it.
    Validate(validate::ValidateArgs),
    /// Prints the JSON Schema of the spec language.
    Schema(schema::SchemaArgs),
    /// Explains a field of the spec language.
    Explain(explain::ExplainArgs),
    /// Shows what `apply` would run, what is cached, and why.
    Plan(plan::PlanArgs),
    /// Runs what a spec asks for and is not there yet.
    Apply(apply::ApplyArgs),
    /// Shows how a run stands.
    Status(status::StatusArgs),
    /// Prints what a step's worker says.
    Logs(logs::LogsArgs),
    /// Lists runs, steps, artifacts, schedules, models, metrics, alerts, events, promotions or who did what.
    Get(get::GetArgs),
    /// Shows everything about a run, step, artifact or attempt.
    Describe(describe::DescribeArgs),
    /// Says why a job runs, is cached or failed.
    Why(why::WhyArgs),
    /// Compares parameters and metrics of two runs or artifacts.
    Diff(diff::DiffArgs),
    /// Stops a run, or one of its steps, after a checkpoint.
    Cancel(cancel::CancelArgs),
    /// Stops starting new steps and checkpoints the running ones.
    Pause(pause::PauseArgs),
    /// Goes on with a paused run.
    Resume(resume::ResumeArgs),
    /// Runs failed steps again.
    Retry(retry::RetryArgs),
    /// Promotes a model by hand: what is served changes.
    Promote(promote::PromoteArgs),
    /// Approves a model that awaits it, and promotes it.
    Approve(approve::ApproveArgs),
    /// Rejects a model that awaits approval.
    Reject(reject::RejectArgs),
    /// Goes back to the model that was served before.
    Rollback(rollback::RollbackArgs),
    /// Runs one job without a spec file.
    Run(run_job::RunArgs),
    /// Deletes artifacts that nothing needs; only lists them without --yes.
    Gc(gc::GcArgs),
    /// Checks journal, database, store and binaries.
    Doctor(doctor::DoctorArgs),
    /// Writes one file for a bug report, without secrets, models and data.
    Bundle(bundle::BundleArgs),
    /// Follows a run live.
    Watch(watch::WatchArgs),
    /// Writes and prints the report card of a run.
    Report(report::ReportArgs),
    /// Lists, pauses, resumes and fires schedules.
    Schedule(schedule::ScheduleArgs),
    /// Fires schedules and answers the control API.
    Daemon(daemon::DaemonArgs),
    /// Serves a model over HTTP.
    Serve(serve::ServeArgs),
    /// Chats with a model in the terminal.
    Chat(chat::ChatArgs),
    /// Writes a model in another format.
    Export(export::ExportArgs),
    /// Brings an exported artifact into the store.
    Import(import::ImportArgs),
    /// Kills, stops and damages the parts of a drill until it is done anyway.
    Chaos(chaos::ChaosArgs),
    /// Prints a shell's completions.
    Completions(completions::CompletionsArgs),
}

/// How a command that was carried out ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Done,
    /// A step failed, or a check found something: exit code 1.
    Failed,
    /// A signal or a user stopped it: exit code 3.
    Interrupted,
    /// Another process did it and said how it ended: its exit code.
    Told(u8),
}

impl Outcome {
    /// The exit code.
    fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Interrupted => 3,
            Self::Told(code) => code,
        }
    }
}

/// Parses the command line, carries it out and gives the exit code.
pub fn main() -> ExitCode {
    end_quietly_on_closed_pipes();
    let matches = Cli::command().get_matches();
    let name = matches.subcommand_name().unwrap_or_default().to_owned();
    let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    let verb = matches.subcommand().and_then(|(_, inner)| inner.subcommand_name());
    cli.global.command = verb.map_or_else(|| name.clone(), |verb| format!("{name} {verb}"));
    let code = match observed(&name, &cli) {
        Ok(outcome) => outcome.code(),
        Err(error) => {
            error.print(cli.global.json);
            error.code()
        }
    };
    if let Err(error) = cli.global.end_order(code) {
        eprintln!("error: {error}");
    }
    ExitCode::from(code)
}

/// Carries a command out inside its span; what telemetry holds at its end goes out before the process does.
fn observed(name: &str, cli: &Cli) -> Result<Outcome, CliError> {
    let kind = match cli.command {
        Command::Daemon(_) => telemetry::Kind::Daemon,
        _ => telemetry::Kind::Command,
    };
    let _telemetry = telemetry::init(kind)?;
    let span = tracing::info_span!("command", otel.name = %format!("cupola {name}"), name);
    telemetry::join_caller(&span);
    span.in_scope(|| carry_out(&cli.command, &cli.global))
}

impl From<TelemetryError> for CliError {
    fn from(error: TelemetryError) -> Self {
        Self::input(error.to_string(), error.hint())
    }
}

/// A reader such as `head` that closes the pipe has seen enough: that is no panic.
fn end_quietly_on_closed_pipes() {
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().map_or("", String::as_str);
        if text.starts_with("failed printing to std") && text.contains("Broken pipe") {
            std::process::exit(0);
        }
        default(info);
    }));
}

fn carry_out(command: &Command, global: &Global) -> Result<Outcome, CliError> {
    match command {
        Command::Init(args) => init::run(args, global),
        Command::Validate(args) => validate::run(args, global),
        Command::Schema(args) => Ok(schema::run(args)),
        Command::Explain(args) => explain::run(args, global),
        Command::Plan(args) => plan::run(args, global),
        Command::Apply(args) => apply::run(args, global),
        Command::Status(args) => status::run(args, global),
        Command::Logs(args) => logs::run(args, global),
        Command::Get(args) => get::run(args, global),
        Command::Describe(args) => describe::run(args, global),
        Command::Why(args) => why::run(args, global),
        Command::Diff(args) => diff::run(args, global),
        Command::Cancel(args) => cancel::run(args, global),
        Command::Pause(args) => pause::run(args, global),
        Command::Resume(args) => resume::run(args, global),
        Command::Retry(args) => retry::run(args, global),
        Command::Promote(args) => promote::run(args, global),
        Command::Approve(args) => approve::run(args, global),
        Command::Reject(args) => reject::run(args, global),
        Command::Rollback(args) => rollback::run(args, global),
        Command::Run(args) => run_job::run(args, global),
        Command::Gc(args) => gc::run(args, global),
        Command::Doctor(args) => doctor::run(args, global),
        Command::Bundle(args) => bundle::run(args, global),
        Command::Watch(args) => watch::run(args, global),
        Command::Report(args) => report::run(args, global),
        Command::Schedule(args) => schedule::run(args, global),
        Command::Daemon(args) => daemon::run(args, global),
        Command::Serve(args) => serve::run(args, global),
        Command::Chat(args) => chat::run(args, global),
        Command::Export(args) => export::run(args, global),
        Command::Import(args) => import::run(args, global),
        Command::Chaos(args) => chaos::run(args, global),
        Command::Completions(args) => completions::run(args, global),
    }
}
