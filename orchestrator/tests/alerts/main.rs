//! Alerts from end to end: a real daemon fires real runs, and a receiver in this test gets what it posts.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use cupola::alert::{Alert, AlertKind, SecretText, signature};
use cupola::state::{RunState, StateDir, read_state};
use serde_json::Value;

const KEY: &str = "whsec_cGxhbnRlZCBzaWduaW5nIGtleQ==";
const SECRET_PATH: &str = "/hook/planted-s3cr3t-path";
/// Longer than the first wait between two tries.
const PATIENCE: Duration = Duration::from_mins(1);

/// A POST as it came in.
struct Posted {
    head: String,
    body: Vec<u8>,
}

impl Posted {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }

    /// The alert, after its signature is found to be right.
    fn alert(&self) -> Alert {
        let (id, at) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = signature(&SecretText::new(KEY), id, at.parse().unwrap(), &self.body).unwrap();
        assert_eq!(self.header("webhook-signature"), signed);
        assert!(self.head.starts_with(&format!("POST {SECRET_PATH} ")), "{}", self.head);
        let alert: Alert = serde_json::from_slice(&self.body).unwrap();
        assert_eq!(alert.id, id);
        alert
    }
}

/// Gives its address and what it gets. It answers 503 to the first POST, and 200 to all others.
fn receiver() -> (String, Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}{SECRET_PATH}", listener.local_addr().unwrap());
    let (to, from) = channel();
    std::thread::spawn(move || {
        for (at, stream) in listener.incoming().enumerate() {
            let mut stream = BufReader::new(stream.unwrap());
            let (mut head, mut line) = (String::new(), String::new());
            while stream.read_line(&mut line).unwrap() > 2 {
                head.push_str(&line);
                line.clear();
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; length.parse().unwrap()];
            stream.read_exact(&mut body).unwrap();
            let status = if at == 0 { "503 Service Unavailable" } else { "200 OK" };
            let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
            if to.send(Posted { head, body }).is_err() {
                return;
            }
        }
    });
    (url, from)
}

/// A folder with a spec, a worker and a daemon.
struct House {
    folder: tempfile::TempDir,
    url: String,
    daemon: Option<Child>,
    address: String,
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            let _ = daemon.kill();
            let _ = daemon.wait();
        }
    }
}

impl House {
    fn new(url: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let house = Self { folder, url: url.to_owned(), daemon: None, address: String::new() };
        house.write("spec.yaml", include_str!("spec.yaml"));
        house.write("a.txt", "a text\n");
        house.write("worker.sh", include_str!("worker.sh"));
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(house.path("worker.sh"), mode).unwrap();
        house
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn state(&self) -> StateDir {
        StateDir::new(&self.path("state"))
    }

    fn cupola(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_cupola"));
        command.arg("--state").arg(self.state().root()).args(arguments).current_dir(self.folder.path());
        command.env("CUPOLA_WORKER", self.path("worker.sh"));
        command.env("ALERT_HOOK", &self.url).env("ALERT_KEY", KEY).env("CUPOLA_LOG", "debug");
        command
    }

    fn output(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let output = self.cupola(arguments).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    }

    fn start_daemon(&mut self) {
        let log = std::fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.cupola(&["--json", "daemon", "spec.yaml", "--listen", "127.0.0.1:0"]);
        let mut daemon = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(daemon.stdout.take().unwrap()).read_line(&mut line).unwrap();
        self.daemon = Some(daemon);
        let ready: Value = serde_json::from_str(&line).unwrap();
        ready["address"].as_str().unwrap().clone_into(&mut self.address);
    }

    fn call(&self, method: &str, path: &str) -> String {
        let token = std::fs::read_to_string(self.path("state/daemon.token")).unwrap();
        let client = reqwest::blocking::Client::new();
        let request = client.request(method.parse().unwrap(), format!("http://{}{path}", self.address));
        let response = request.bearer_auth(token.trim()).send().unwrap();
        assert!(response.status().is_success(), "{method} {path}: {}", response.status());
        response.text().unwrap()
    }

    /// Fires the schedule and waits until its run has ended as expected.
    fn fire(&self, num_runs: usize, expected: RunState) {
        self.call("POST", "/api/v1/schedules/yearly/fire");
        until(&format!("run {num_runs} is {expected:?}"), || {
            let state = read_state(&self.state()).unwrap();
            state.runs().len() == num_runs && state.runs()[num_runs - 1].state == expected
        });
    }

    fn alerts(&self) -> Value {
        serde_json::from_str(&self.output(&["--json", "get", "alerts"]).1).unwrap()
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "it never came about that {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Every file below a folder that holds one of these texts.
fn files_with(folder: &Path, texts: &[&str]) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(folder).into_iter().filter_map(Result::ok);
    let files = files.filter(|entry| entry.file_type().is_file());
    files
        .map(walkdir::DirEntry::into_path)
        .filter(|path| {
            let bytes = std::fs::read(path).unwrap();
            texts.iter().any(|text| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
        })
        .collect()
}

#[test]
fn a_failure_and_a_regression_are_posted_signed_and_no_secret_is_written_anywhere() {
    let (url, posted) = receiver();
    let mut house = House::new(&url);
    house.write("bpb", "1.80");
    house.start_daemon();
    a_failure_is_posted_until_it_is_taken(&house, &posted);
    a_regression_is_posted(&house, &posted);
    both_are_told_here(&house);
    nothing_is_posted_again_by_the_next_daemon(&mut house, &posted);
    a_test_alert_is_posted(&house, &posted);
    no_secret_is_written(&house);
}

/// A firing fails: the receiver refuses the alert once and gets it again, the same.
fn a_failure_is_posted_until_it_is_taken(house: &House, posted: &Receiver<Posted>) {
    house.write("broken", "");
    house.fire(1, RunState::Failed);
    let (first, again) = (posted.recv_timeout(PATIENCE).unwrap(), posted.recv_timeout(PATIENCE).unwrap());
    let alert = first.alert();
    assert_eq!((alert.kind, &alert), (AlertKind::RunFailed, &again.alert()));
    assert_eq!((alert.spec.as_str(), alert.schedule.as_str()), ("t", "yearly"));
    assert_eq!((alert.run.as_deref(), alert.exit_code), (Some("t-1"), Some(2)));
    let step = &alert.failed_steps[0];
    assert_eq!(
        (step.step.as_str(), step.code.as_str(), step.message.as_str(), step.hint.as_str()),
        ("base", "bad_input", "no such thing", "mend it")
    );
    assert_eq!(alert.look, ["cupola why base --run t-1", "cupola logs base --run t-1"]);
    assert_eq!(
        alert.text,
        "t.yearly failed, run t-1\nbase: no such thing (bad_input)\n  mend it\nfired by hand"
    );
    std::fs::remove_file(house.path("broken")).unwrap();
}

/// The first report has none before it; a worse one is told with what began to differ.
fn a_regression_is_posted(house: &House, posted: &Receiver<Posted>) {
    house.fire(2, RunState::Succeeded);
    house.write("bpb", "1.95");
    let spec = include_str!("spec.yaml").replace("tokens: 1M", "tokens: 2M");
    house.write("spec.yaml", &spec);
    std::thread::sleep(Duration::from_millis(1_500));
    house.fire(3, RunState::Succeeded);
    let alert = posted.recv_timeout(PATIENCE).unwrap().alert();
    assert_eq!((alert.kind, alert.run.as_deref()), (AlertKind::Regression, Some("t-3")));
    let report = &alert.reports[0];
    assert_eq!((report.older.run.as_str(), report.newer.run.as_str(), report.compared), ("t-2", "t-3", 1));
    let worse = &report.worse[0];
    assert_eq!(
        (worse.name().as_str(), worse.old.value, worse.new.value),
        ("perplexity base bpb", 1.80, 1.95)
    );
    // 0.15 / (sqrt(2) * 0.04 / 1.96) = 5.197.
    assert!((worse.z.unwrap() - 5.197).abs() < 0.001 && worse.p_adjusted < 1e-6, "{worse:?}");
    let changed = report.first_changed.as_ref().unwrap();
    assert_eq!((changed.step.as_str(), changed.kind.as_str()), ("base", "pretrain"));
    let reason = &changed.reasons[0];
    assert_eq!(
        (reason["reason"].as_str(), reason["field"].as_str()),
        (Some("parameter"), Some("jobs.base.tokens"))
    );
    assert_eq!((&reason["old"], &reason["new"]), (&1_000_000.into(), &2_000_000.into()));
    let line = spec.lines().position(|line| line.contains("tokens: 2M")).unwrap() as u64 + 1;
    assert_eq!(reason["origin"]["line"], line);
    assert_eq!(alert.look, ["cupola why base --run t-3", "cupola diff t-2 t-3"]);
}

fn both_are_told_here(house: &House) {
    until("both are delivered", || {
        let known = house.alerts();
        let states: Vec<&Value> =
            known["alerts"].as_array().unwrap().iter().map(|one| &one["state"]).collect();
        states == ["delivered", "delivered"]
    });
    let known = house.alerts();
    assert_eq!(known["alerts"][1]["delivery"]["tries"], 2);
    let compared = known["comparisons"].as_object().unwrap();
    assert_eq!((compared.len(), &compared.values().next().unwrap()["reports"][0]["worse"]), (1, &1.into()));
    let metrics = house.call("GET", "/metrics");
    assert!(metrics.contains("cupola_alerts{state=\"delivered\"} 2\n"), "{metrics}");
}

/// A daemon that is killed and started again has nothing more to say.
fn nothing_is_posted_again_by_the_next_daemon(house: &mut House, posted: &Receiver<Posted>) {
    let mut daemon = house.daemon.take().unwrap();
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    house.start_daemon();
    assert!(posted.recv_timeout(Duration::from_secs(3)).is_err());
}

fn a_test_alert_is_posted(house: &House, posted: &Receiver<Posted>) {
    let (code, text, errors) = house.output(&["schedule", "test-alert", "yearly"]);
    assert_eq!(code, Some(0), "{text} {errors}");
    assert!(text.contains("on_failure: delivered, signed: answered 200"), "{text}");
    for _ in 0..2 {
        assert_eq!(posted.recv_timeout(PATIENCE).unwrap().alert().kind, AlertKind::Test);
    }
}

fn no_secret_is_written(house: &House) {
    let (code, _, errors) = house.output(&["bundle", "--out", "bundle.tar.zst"]);
    assert_eq!(code, Some(0), "{errors}");
    let bundle = zstd::decode_all(std::fs::File::open(house.path("bundle.tar.zst")).unwrap()).unwrap();
    house.write("bundle.tar", "");
    std::fs::write(house.path("bundle.tar"), bundle).unwrap();
    let secrets = ["planted-s3cr3t-path", "cGxhbnRlZCBzaWduaW5nIGtleQ", "planted signing key"];
    assert_eq!(files_with(house.folder.path(), &secrets), Vec::<PathBuf>::new());
    assert!(!files_with(house.folder.path(), &["ALERT_HOOK"]).is_empty(), "names are there");
}

#[test]
fn what_webhooks_lack_is_told_before_anything_fires() {
    let house = House::new("no address");
    let output = house.cupola(&["validate", "spec.yaml"]).env_remove("ALERT_KEY").output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert!(
        errors.contains("the value of ALERT_HOOK is no URL") && !errors.contains("no address"),
        "{errors}"
    );
    assert!(errors.contains("the environment variable ALERT_KEY is not set"), "{errors}");
    let (code, text, _) = house.output(&["schedule", "test-alert", "yearly", "--spec", "spec.yaml"]);
    assert_eq!(code, Some(1));
    assert!(text.contains("not delivered") && !text.contains("no address"), "{text}");
}
