//! `cupola apply` where a daemon runs: the work is handed over, and followed as if it were done here.
//!
//! The daemon's process leaves what it says and its exit code in the state folder, so that this command ends with the same lines and the
//! same code as one that works by itself, and so that it needs the daemon for nothing but taking the order.

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use super::apply::ApplyArgs;
use super::load::Prepared;
use super::{CliError, Global, Outcome};
use crate::alert::{ProcessSecrets, Secrets};
use crate::api::{ApplyBody, ClientError, DaemonClient};
use crate::daemon::OrderFiles;
use crate::run::Signals;
use crate::state::{StateDir, holder, now_millis, read_state};
use crate::watch::{Display, DisplayMode, Follower};

/// Between two looks.
const POLL: Duration = Duration::from_millis(100);
/// How long an order may take to begin before it is said to wait.
const BEGIN: Duration = Duration::from_secs(2);
/// How long a run may be without a process before it is taken for lost: its process says how it ended a moment after letting go.
const LOST: Duration = Duration::from_secs(5);

/// The daemon that the work is handed to; none where it is done here.
pub(super) fn daemon(args: &ApplyArgs, global: &Global) -> Result<Option<DaemonClient>, CliError> {
    // What a daemon started works by itself, and so does a command that has recorded what it does.
    let is_own = global.via.is_empty() && global.order.is_empty() && !args.background && !args.is_recorded;
    if global.no_daemon || !is_own {
        return Ok(None);
    }
    Ok(DaemonClient::find(&global.state_dir())?)
}

/// Hands the work over and follows it to its end.
pub(super) fn order(
    daemon: &DaemonClient,
    args: &ApplyArgs,
    prepared: &Prepared,
    global: &Global,
) -> Result<Outcome, CliError> {
    // From here on ^C is heard: an order is never left behind unsaid.
    let signals = Signals::listen();
    let id = daemon.apply(&body(args, prepared, global))?;
    let mut watch = Watch::new(daemon, &id, global);
    loop {
        if let Some(code) = watch.files.code(&id) {
            return watch.end(code);
        }
        if args.detach
            && let Some(outcome) = watch.let_go()
        {
            return Ok(outcome);
        }
        if signals.count() > 0 {
            return watch.interrupt();
        }
        watch.look()?;
        std::thread::sleep(POLL);
    }
}

/// What the daemon is asked for: all that this command was asked for, and the values by which the spec was read here.
fn body(args: &ApplyArgs, prepared: &Prepared, global: &Global) -> ApplyBody {
    let spec = &args.spec.spec;
    let judges = prepared.spec.judges.iter().filter_map(|judge| judge.api_key.as_ref());
    let schedules = prepared.spec.schedules.iter();
    let hooks = schedules.flat_map(|one| [&one.on_failure, &one.on_regression]).flatten();
    let hooks = hooks.flat_map(|hook| std::iter::once(&hook.url).chain(&hook.signing_key));
    let servers = prepared.spec.telemetry.secrets();
    let secrets = judges.chain(hooks).chain(servers).filter(|secret| ProcessSecrets.find(secret).is_some());
    let mut secrets: Vec<String> = secrets.map(|secret| secret.name.clone()).collect();
    secrets.sort();
    secrets.dedup();
    ApplyBody {
        spec: std::path::absolute(spec).unwrap_or_else(|_| spec.clone()),
        only: args.select.only.clone(),
        from: args.select.from.clone(),
        set: args.spec.overrides.iter().map(|(key, value)| format!("{key}={value}")).collect(),
        folder: std::env::current_dir().ok(),
        environment: prepared.environment.clone(),
        secrets,
        json: global.json,
        verb: global.command.clone(),
    }
}

/// An order as it is followed.
struct Watch<'a> {
    daemon: &'a DaemonClient,
    id: &'a str,
    global: &'a Global,
    dir: StateDir,
    files: OrderFiles,
    display: Display,
    follower: Option<Follower>,
    since: Instant,
    waits_for: Option<String>,
    alone_since: Option<Instant>,
    is_daemon_gone: bool,
}

impl<'a> Watch<'a> {
    fn new(daemon: &'a DaemonClient, id: &'a str, global: &'a Global) -> Self {
        let dir = global.state_dir();
        Self {
            daemon,
            id,
            global,
            files: OrderFiles::new(&dir),
            dir,
            display: Display::new(DisplayMode::detect(global.json)),
            follower: None,
            since: Instant::now(),
            waits_for: None,
            alone_since: None,
            is_daemon_gone: false,
        }
    }

    /// Shows how the order stands.
    fn look(&mut self) -> Result<(), CliError> {
        if let Some(run) = self.files.run(self.id) {
            return self.look_at(&run.run);
        }
        self.say_waiting();
        if !self.is_daemon_gone && !self.daemon.is_alive() {
            self.is_daemon_gone = true;
            if self.files.is_waiting(self.id) {
                self.say("the daemon is gone; the next `cupola daemon` takes the order up, ^C takes it back");
            }
        }
        // Taken away by nobody who says so: its process ended between two words, or somebody deleted it.
        let is_gone = !self.files.is_waiting(self.id);
        self.lost_after(is_gone && self.files.run(self.id).is_none(), "the order is gone")
    }

    fn look_at(&mut self, run: &str) -> Result<(), CliError> {
        let follower = match &mut self.follower {
            Some(follower) => follower,
            none => none.insert(Follower::open(&self.dir, Some(run))?),
        };
        follower.poll(&[])?;
        if let Some(view) = follower.run_view() {
            self.display.update(&view, now_millis());
        }
        let is_alone = follower.holder().is_none();
        self.lost_after(is_alone, &format!("the process of run {run} is gone"))
    }

    /// An error where what ought to be there has been missing for a while.
    fn lost_after(&mut self, is_missing: bool, what: &str) -> Result<(), CliError> {
        if !is_missing || self.files.code(self.id).is_some() {
            self.alone_since = None;
            return Ok(());
        }
        if self.alone_since.get_or_insert_with(Instant::now).elapsed() < LOST {
            return Ok(());
        }
        let message = format!("{what}, and did not say how it ended");
        let hint = "the same command goes on from what is there; `cupola status` shows it";
        Err(CliError::Other {
            message,
            hint: hint.to_owned(),
            class: cupola_specs::contract::ErrorClass::Transient,
        })
    }

    /// Says once behind what the order waits.
    fn say_waiting(&mut self) {
        let Some(behind) = self.behind() else { return };
        if self.waits_for.as_ref() != Some(&behind) {
            self.say(&format!("waits behind {behind}; ^C takes the order back"));
            self.waits_for = Some(behind);
        }
    }

    /// What an order waits for that has not begun.
    fn behind(&self) -> Option<String> {
        if self.since.elapsed() < POLL * 3 || !self.files.is_waiting(self.id) {
            return None;
        }
        let earlier = self.files.waiting().iter().filter(|order| order.id.as_str() < self.id).count();
        let orders = match earlier {
            0 => String::new(),
            1 => " and one earlier order".to_owned(),
            _ => format!(" and {earlier} earlier orders"),
        };
        let Some(holder) = holder(&self.dir) else {
            let rest = orders.strip_prefix(" and ")?;
            return Some(rest.to_owned());
        };
        let state = read_state(&self.dir).ok();
        let driven =
            state.as_ref().and_then(|state| state.runs().iter().rev().find(|run| !run.state.is_final()));
        let run = driven.map_or_else(String::new, |run| format!("run {} of ", run.id));
        Some(format!("{run}process {} ({}){orders}", holder.pid, holder.command))
    }

    /// Ends a command that need not stay, once the run is recorded or the order waits for others.
    fn let_go(&self) -> Option<Outcome> {
        let run = self.files.run(self.id);
        let behind = self.behind().filter(|_| run.is_none() && self.since.elapsed() > BEGIN);
        let words = match (&run, &behind) {
            (Some(run), _) => {
                format!("run {} as process {}; follow it with `cupola watch`", run.run, run.pid)
            }
            (None, Some(behind)) => format!("order {} waits behind {behind}", self.id),
            (None, None) => return None,
        };
        if self.global.json {
            let (run, pid) = run.map_or((None, None), |run| (Some(run.run), Some(run.pid)));
            println!("{:#}", serde_json::json!({ "order": self.id, "run": run, "pid": pid }));
        } else {
            println!("{words}");
        }
        Some(Outcome::Done)
    }

    /// Lets go of a run that goes on, or takes an order back that has not begun.
    fn interrupt(&mut self) -> Result<Outcome, CliError> {
        let taken_back = match self.daemon.withdraw(self.id) {
            Ok(taken_back) => taken_back,
            // Without a daemon nobody else starts it.
            Err(ClientError::Silent { .. }) if !self.daemon.is_alive() => self.files.withdraw(self.id),
            Err(ClientError::Refused { status: 404, .. }) => false,
            Err(error) => return Err(error.into()),
        };
        if taken_back {
            self.say("the order is taken back");
            return Ok(Outcome::Interrupted);
        }
        let run =
            self.files.run(self.id).map_or_else(|| "the run".to_owned(), |run| format!("run {}", run.run));
        if let Some(view) = self.follower.as_ref().and_then(Follower::run_view) {
            self.display.finish(&view, now_millis());
        }
        self.say(&format!("{run} goes on; `cupola watch` follows it, `cupola cancel` stops it"));
        Ok(Outcome::Interrupted)
    }

    /// Shows the end, and says what the run's process said.
    fn end(mut self, code: i32) -> Result<Outcome, CliError> {
        if let Some(run) = self.files.run(self.id) {
            // The last news, which may be all of them.
            self.look_at(&run.run)?;
            if let Some(view) = self.follower.as_ref().and_then(Follower::run_view) {
                self.display.finish(&view, now_millis());
            }
        }
        let pass_on = |path: &Path, to: &mut dyn Write| {
            let bytes = std::fs::read(path).unwrap_or_default();
            to.write_all(&bytes).and_then(|()| to.flush())
        };
        let output = self.files.output(self.id);
        pass_on(&output, &mut std::io::stdout())
            .and_then(|()| pass_on(&self.files.errors(self.id), &mut std::io::stderr()))
            .map_err(|source| CliError::Io { path: output, source })?;
        self.files.forget(self.id);
        Ok(Outcome::Told(u8::try_from(code).unwrap_or(1)))
    }

    fn say(&self, words: &str) {
        if !self.global.json {
            eprintln!("{words}");
        }
    }
}

impl From<ClientError> for CliError {
    fn from(error: ClientError) -> Self {
        Self::Other { message: error.to_string(), hint: error.hint().to_owned(), class: error.class() }
    }
}
