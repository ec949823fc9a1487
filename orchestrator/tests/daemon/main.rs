//! The command line with a daemon beside it: what is applied through it ends as it would without, whoever dies meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use cupola::state::{RunState, StateDir, read_state};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

const PATIENCE: Duration = Duration::from_mins(1);

/// A process that is killed where the test ends before it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Running {
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.0.id() as i32).unwrap(), signal).unwrap();
    }

    /// Its output, its errors, its exit code.
    fn ended(mut self) -> (String, String, i32) {
        let code = self.0.wait().unwrap().code().unwrap();
        let (mut output, mut errors) = (String::new(), String::new());
        let (out, err) = (self.0.stdout.take(), self.0.stderr.take());
        std::io::Read::read_to_string(&mut out.unwrap(), &mut output).unwrap();
        std::io::Read::read_to_string(&mut err.unwrap(), &mut errors).unwrap();
        (output, errors, code)
    }
}

struct House {
    folder: tempfile::TempDir,
    daemon: Option<Running>,
}

impl Drop for House {
    fn drop(&mut self) {
        // Runs outlive their daemon, and must not outlive the test.
        let _ = std::fs::remove_file(self.path("slow"));
        until("nobody holds the folder", || cupola::state::holder(&self.dir()).is_none());
    }
}

impl House {
    fn new() -> Self {
        let house = Self { folder: tempfile::tempdir().unwrap(), daemon: None };
        house.write("worker.sh", include_str!("worker.sh"));
        let all = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(house.path("worker.sh"), all).unwrap();
        house.write("house.yaml", include_str!("spec.yaml"));
        house.write("text.txt", "Some words to learn from.\n");
        house
    }

    fn with_daemon() -> Self {
        let mut house = Self::new();
        house.start_daemon();
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn dir(&self) -> StateDir {
        StateDir::new(&self.path("state"))
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cupola"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command.env("CUPOLA_STATE", self.path("state")).env("CUPOLA_WORKER", self.path("worker.sh"));
        command.env_remove("CUPOLA_NO_DAEMON").env_remove("CUPOLA_LOG");
        command
    }

    fn start_daemon(&mut self) {
        let mut command = self.command(&["--json", "daemon", "house.yaml", "--listen", "127.0.0.1:0"]);
        let mut daemon = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.daemon = Some(Running(daemon));
    }

    fn spawn(&self, arguments: &[&str]) -> Running {
        Running(self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
    }

    fn tell(&self, arguments: &[&str]) -> (String, String, i32) {
        self.spawn(arguments).ended()
    }

    fn done(&self, arguments: &[&str]) -> String {
        let (output, errors, code) = self.tell(arguments);
        assert_eq!(code, 0, "{arguments:?}: {output}{errors}");
        output
    }

    fn runs(&self) -> Vec<(String, RunState)> {
        let state = read_state(&self.dir()).unwrap();
        state.runs().iter().map(|run| (run.id.clone(), run.state)).collect()
    }

    fn is_live(&self, run: &str, step: &str) -> bool {
        let state = read_state(&self.dir()).unwrap();
        state.run(run).and_then(|run| run.step(step)).is_some_and(|step| step.state.is_live())
    }

    fn has_ended(&self, run: &str, how: RunState) -> bool {
        self.runs().iter().any(|(id, state)| id == run && *state == how)
    }

    fn waiting(&self) -> usize {
        let entries = std::fs::read_dir(self.dir().orders()).into_iter().flatten().flatten();
        entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "json")).count()
    }

    /// On whose behalf each apply was made.
    fn via(&self) -> Vec<String> {
        let Output { stdout, .. } = self.command(&["get", "audit", "--json"]).output().unwrap();
        let log: Value = serde_json::from_slice(&stdout).unwrap();
        let of = |act: &Value| act["actor"]["via"].as_str().unwrap().to_owned();
        log.as_array().unwrap().iter().filter(|act| act["verb"] == "apply").map(of).collect()
    }

    /// An apply whose first step takes as long as the file `slow` stays.
    fn slow_apply(&self) -> Running {
        self.write("slow", "corpus");
        let apply = self.spawn(&["apply", "house.yaml"]);
        until("the run starts", || self.dir().journal().exists() && self.is_live("house-1", "corpus"));
        until("its order is taken away", || self.waiting() == 0);
        apply
    }

    fn go_on(&self) {
        std::fs::remove_file(self.path("slow")).unwrap();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "it never came about that {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Lines without what differs from run to run: times and shares.
fn words(text: &str) -> Vec<String> {
    let is_said =
        |word: &&str| !word.starts_with(['(', '.']) && !word.starts_with(|c: char| c.is_ascii_digit());
    let line = |line: &str| line.split_whitespace().filter(is_said).collect::<Vec<_>>().join(" ");
    text.lines().map(line).collect()
}

#[test]
fn an_apply_through_the_daemon_ends_with_the_lines_and_the_code_of_one_without() {
    let (alone, house) = (House::new(), House::with_daemon());
    for (broken, expected) in [("base", 1), ("", 0)] {
        alone.write("broken", broken);
        house.write("broken", broken);
        let (output, errors, code) = alone.tell(&["apply", "house.yaml"]);
        let (output_too, errors_too, code_too) = house.tell(&["apply", "house.yaml"]);
        assert_eq!((code, code_too), (expected, expected), "{errors}{errors_too}");
        assert_eq!(words(&output_too), words(&output));
        let is_error = |line: &&str| line.starts_with("error:") || line.starts_with("hint:");
        let of = |text: &str| text.lines().filter(is_error).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(of(&errors_too), of(&errors));
        assert_eq!(of(&errors).is_empty(), expected == 0);
        assert!(
            errors_too.contains("run house-") && errors_too.contains("base"),
            "the display: {errors_too}"
        );
    }
    assert_eq!(house.via(), ["api", "api"]);
    assert_eq!(alone.via(), ["", ""]);
    let left = std::fs::read_dir(house.dir().orders()).unwrap().count();
    assert_eq!(left, 0, "what was fetched is deleted");
}

#[test]
fn json_and_mistakes_of_the_spec_are_as_without_a_daemon() {
    let house = House::with_daemon();
    let text = house.done(&["apply", "house.yaml", "--json"]);
    let object: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&object["run"]["id"], &object["ran"]), (&"house-1".into(), &true.into()));
    house.write("house.yaml", &include_str!("spec.yaml").replace("depth: 1", "depth: none"));
    let (_, errors, code) = house.tell(&["apply", "house.yaml"]);
    assert!(code == 2 && errors.contains("house.yaml:"), "{errors}");
    assert_eq!(house.waiting(), 0);
}

#[test]
fn a_run_outlives_its_terminal() {
    let house = House::with_daemon();
    let apply = house.slow_apply();
    apply.signal(Signal::KILL);
    drop(apply);
    house.go_on();
    until("the run ends", || house.has_ended("house-1", RunState::Succeeded));
}

#[test]
fn a_run_whose_process_is_killed_is_told_and_goes_on_with_the_same_command() {
    let house = House::with_daemon();
    let apply = house.slow_apply();
    let holder = cupola::state::holder(&house.dir()).unwrap();
    kill_process(Pid::from_raw(holder.pid as i32).unwrap(), Signal::KILL).unwrap();
    let (_, errors, code) = apply.ended();
    assert!(code == 1 && errors.contains("ended from outside"), "{errors}");
    house.go_on();
    let text = house.done(&["apply", "house.yaml", "--detach"]);
    assert!(text.contains("run house-1 as process") || text.contains("run house-1: succeeded"), "{text}");
    until("the run ends", || house.has_ended("house-1", RunState::Succeeded));
}

#[test]
fn an_interrupt_lets_go_of_the_display_and_not_of_the_run() {
    let house = House::with_daemon();
    let apply = house.slow_apply();
    apply.signal(Signal::INT);
    let (_, errors, code) = apply.ended();
    assert!(
        code == 3 && errors.contains("run house-1 goes on") && errors.contains("cupola cancel"),
        "{errors}"
    );
    assert!(house.is_live("house-1", "corpus"));
    house.done(&["cancel"]);
    until("it is cancelled", || house.has_ended("house-1", RunState::Cancelled));
    let resumed = house.spawn(&["retry"]);
    house.go_on();
    assert_eq!(resumed.ended().2, 0);
    assert_eq!(house.via(), ["api", "api retry"]);
}

#[test]
fn a_second_apply_waits_for_the_first_and_a_third_is_taken_back() {
    let house = House::with_daemon();
    let first = house.slow_apply();
    let second = house.spawn(&["apply", "house.yaml", "--set", "jobs.vocab.vocab_size=301"]);
    until("the second waits", || house.waiting() == 1);
    let third = house.spawn(&["apply", "house.yaml", "--set", "jobs.vocab.vocab_size=302"]);
    until("the third waits", || house.waiting() == 2);
    let (output, _, code) =
        house.tell(&["apply", "house.yaml", "--detach", "--set", "jobs.vocab.vocab_size=303"]);
    assert!(
        code == 0 && output.contains("waits behind run house-1") && output.contains("2 earlier"),
        "{output}"
    );
    third.signal(Signal::INT);
    let (_, errors, code) = third.ended();
    assert!(code == 3 && errors.contains("one earlier order") && errors.contains("taken back"), "{errors}");
    house.go_on();
    assert_eq!(first.ended().2, 0);
    let (output, errors, code) = second.ended();
    assert!(code == 0 && errors.contains("waits behind run house-1 of process"), "{errors}");
    assert!(output.contains("run house-2: succeeded"), "{output}");
    until("the last run ends", || house.has_ended("house-3", RunState::Succeeded));
    assert_eq!(house.runs().len(), 3);
}

#[test]
fn orders_outlive_the_daemon_and_what_it_started_goes_on() {
    let mut house = House::with_daemon();
    let first = house.slow_apply();
    let second = house.spawn(&["apply", "house.yaml", "--set", "jobs.vocab.vocab_size=301"]);
    until("the second waits", || house.waiting() == 1);
    house.daemon.take().unwrap().signal(Signal::KILL);
    house.go_on();
    let (output, _, code) = first.ended();
    assert!(code == 0 && output.contains("run house-1: succeeded"), "{output}");
    assert_eq!((house.waiting(), house.runs().len()), (1, 1));
    house.start_daemon();
    let (output, errors, code) = second.ended();
    assert!(code == 0 && output.contains("run house-2: succeeded"), "{output}{errors}");
    assert!(errors.contains("the daemon is gone"), "{errors}");
}

#[test]
fn the_plan_is_made_by_the_values_and_in_the_folder_of_the_terminal() {
    let house = House::with_daemon();
    std::fs::create_dir(house.path("below")).unwrap();
    let mut command = house.command(&["apply", "../house.yaml"]);
    command.current_dir(house.path("below")).env("WORDS", "321").env("OTHER", "planted-value");
    let Output { status, stdout, .. } = command.output().unwrap();
    let text = String::from_utf8_lossy(&stdout).into_owned();
    assert!(status.success() && text.contains("report: "), "{text}");
    let spec = std::fs::read_to_string(house.dir().run("house-1").join("spec.json")).unwrap();
    assert!(spec.contains("321"), "{spec}");
    let mut again = house.command(&["apply", "house.yaml"]);
    let again = again.env("WORDS", "321").output().unwrap();
    assert!(String::from_utf8_lossy(&again.stdout).contains("nothing to do"));
    assert_eq!(house.via(), ["api"], "the second asked nobody");
}

#[test]
fn a_daemon_that_lacks_a_secret_or_is_of_another_version_is_refused_with_the_way_out() {
    let house = House::with_daemon();
    let hook = "schedules:\n  nightly: { cron: \"0 2 * * *\", jobs: [base], on_failure: { webhook: \"${secret.HOOK_OF_TEST}\" } }\n";
    house.write("house.yaml", &format!("{}{hook}", include_str!("spec.yaml")));
    let apply = |arguments: &[&str]| {
        let Output { status, stderr, .. } =
            house.command(arguments).env("HOOK_OF_TEST", "http://127.0.0.1:9/planted").output().unwrap();
        (String::from_utf8_lossy(&stderr).into_owned(), status.code().unwrap())
    };
    let (errors, code) = apply(&["apply", "house.yaml"]);
    assert!(code == 2 && errors.contains("HOOK_OF_TEST") && errors.contains("--no-daemon"), "{errors}");
    let file = house.dir().root().join("daemon.json");
    let own = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, own.replace(env!("CARGO_PKG_VERSION"), "0.0.9")).unwrap();
    let (errors, code) = apply(&["apply", "house.yaml"]);
    assert!(code == 2 && errors.contains("is of version 0.0.9") && errors.contains("restart"), "{errors}");
    assert!(!house.dir().journal().exists() || house.runs().is_empty());
    let (errors, code) = apply(&["apply", "house.yaml", "--no-daemon"]);
    assert_eq!(code, 0, "{errors}");
    assert_eq!(house.via(), [""]);
}

#[test]
fn the_daemon_of_another_folder_is_given_nothing() {
    let (house, other) = (House::with_daemon(), House::with_daemon());
    let file = |house: &House| house.dir().root().join("daemon.json");
    std::fs::copy(file(&other), file(&house)).unwrap();
    let (_, errors, code) = house.tell(&["apply", "house.yaml"]);
    assert!(code == 2 && errors.contains("is not the daemon of this state folder"), "{errors}");
    assert_eq!((house.waiting(), other.waiting()), (0, 0));
}

#[test]
fn the_file_of_a_dead_daemon_stops_nobody() {
    let mut house = House::with_daemon();
    house.daemon.take().unwrap().signal(Signal::KILL);
    assert!(house.dir().root().join("daemon.json").exists());
    house.done(&["apply", "house.yaml"]);
    assert_eq!(house.via(), [""]);
}

#[test]
fn where_there_is_nothing_to_do_the_daemon_is_not_asked() {
    let house = House::with_daemon();
    house.done(&["apply", "house.yaml"]);
    let file = house.dir().root().join("daemon.json");
    let own = std::fs::read_to_string(&file).unwrap();
    let mut told: Value = serde_json::from_str(&own).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    told["address"] = listener.local_addr().unwrap().to_string().into();
    std::fs::write(&file, told.to_string()).unwrap();
    let text = house.done(&["apply", "house.yaml"]);
    assert!(text.contains("nothing to do") && listener.accept().is_err(), "{text}");
    let text = house.done(&["apply", "house.yaml", "--set", "jobs.vocab.vocab_size=301"]);
    assert!(text.contains("run house-2: succeeded"), "one that does not answer is not waited for: {text}");
    assert!(listener.accept().is_ok(), "it was asked");
    assert_eq!(house.via(), ["api", ""]);
}
