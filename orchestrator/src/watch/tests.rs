use std::path::Path;

use cupola_specs::contract::{ErrorClass, Failure};
use cupola_specs::job::StepKind;
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

use super::draw::{Paint, Scene, draw};
use super::page::{Page, View, Wish};
use super::*;
use crate::run::ControlVerb;
use crate::state::{AttemptOutcome, Expected, Fact, PlannedStep, RunState, State, StateDir, StepMove};

fn planned(name: &str, needs: &[&str], cached: bool) -> PlannedStep {
    PlannedStep {
        name: name.into(),
        job: name.into(),
        kind: StepKind::Fit,
        fingerprint: blake3::hash(name.as_bytes()).to_hex().to_string(),
        code_version: 1,
        params: serde_json::Value::Null,
        inputs: std::collections::BTreeMap::new(),
        needs: needs.iter().map(|need| (*need).to_owned()).collect(),
        sources: std::collections::BTreeMap::new(),
        seed: 1,
        cores: 2,
        cached,
        reason: if cached { "in the store" } else { "depth changed from 4 to 6" }.into(),
        training_flops: 0.0,
        trainings: serde_json::Value::Null,
        expected: Expected::default(),
    }
}

fn created(run: &str, steps: Vec<PlannedStep>) -> Vec<Fact> {
    let run = run.to_owned();
    let created = Fact::RunCreated {
        run: run.clone(),
        spec_name: "tiny".into(),
        spec_path: "tiny.yaml".into(),
        plan_hash: "p".into(),
    };
    vec![created, Fact::StepsPlanned { run, steps }]
}

fn intended(step: &str, token: &str) -> Fact {
    let dir = Path::new("runs/tiny-1").join(step);
    Fact::AttemptIntended { run: "tiny-1".into(), step: step.into(), number: 1, token: token.into(), dir }
}

fn started(step: &str, token: &str) -> Fact {
    let (run, step, token) = ("tiny-1".into(), step.into(), token.into());
    Fact::AttemptStarted { run, step, token, worker_pid: 1 }
}

fn failed(step: &str, token: &str) -> Vec<Fact> {
    let failure = Failure {
        class: ErrorClass::User,
        code: "row_too_long".into(),
        message: "row 7 has 700 tokens, the model has 512 positions".into(),
        hint: "shorten it, or give the model more positions".into(),
    };
    let (run, step) = ("tiny-1".to_owned(), step.to_owned());
    let outcome = AttemptOutcome::Failed { failure: failure.clone() };
    let ended = Fact::AttemptEnded {
        run: run.clone(),
        step: step.clone(),
        token: token.into(),
        outcome,
        peak_rss_bytes: 0,
        cpu_millis: 0,
    };
    vec![ended, Fact::StepMoved { run, step, to: StepMove::Failed { failure } }]
}

/// A state folder with a run in the middle: a cached layer, a training with a curve, a failed step, and what waits.
struct House {
    folder: tempfile::TempDir,
    state: State,
}

impl House {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let state = State::open(&StateDir::new(folder.path()), "apply").unwrap();
        let mut house = Self { folder, state };
        let steps = vec![
            planned("corpus", &[], true),
            planned("vocab", &["corpus"], true),
            planned("base", &["vocab"], false),
            planned("law/sweep[transformer,2]-with-a-long-name", &["vocab"], false),
            planned("chat", &["base"], false),
            planned("report", &["chat", "base"], false),
        ];
        house.state.record(created("tiny-1", steps)).unwrap();
        house
    }

    fn middle() -> Self {
        let mut house = Self::new();
        let sweep = "law/sweep[transformer,2]-with-a-long-name";
        house
            .state
            .record(vec![intended("base", "1.1"), started("base", "1.1"), intended(sweep, "1.2")])
            .unwrap();
        house.state.record(failed(sweep, "1.2")).unwrap();
        let mut lines =
            vec![r#"{"at_millis":0,"event":"started","token":"1.1","pid":7,"version":"0.1.0"}"#.to_owned()];
        for step in 0..40 {
            let at = step * 250;
            let (done, loss) = (step * 25_000, 6.0 / f64::from(step + 2));
            lines.push(format!(r#"{{"at_millis":{at},"event":"progress","done":{done},"total":2000000,"unit":"tokens","stage":"train"}}"#));
            lines.push(format!(
                r#"{{"at_millis":{at},"event":"metric","name":"loss","step":{step},"value":{loss}}}"#
            ));
        }
        for line in [
            "read 3 shards",
            "compiled the model",
            "a line that says more than sixty columns of a small page can hold",
        ] {
            lines.push(format!(r#"{{"at_millis":9000,"event":"log","message":"{line}"}}"#));
        }
        lines.push(r#"{"at_millis":9500,"event":"warning","code":"spike","message":"the loss rose by half at step 31"}"#.to_owned());
        house.say("base", &lines);
        house
    }

    fn say(&self, step: &str, lines: &[String]) {
        let folder = self.folder.path().join("runs/tiny-1").join(step);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("events.jsonl"), lines.join("\n") + "\n").unwrap();
    }

    fn follower(&self) -> Follower {
        Follower::open(self.state.dir(), None).unwrap()
    }
}

/// The page as text; what differs from one test run to the next is the same here.
fn drawn(follower: &Follower, page: &mut Page, (width, height): (u16, u16)) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    // Ten seconds after the epoch of the events, so that rates and times are fixed; the run itself began later, by the clock.
    let now_millis = 10_000;
    page.settle(follower);
    let scene = Scene {
        follower,
        forecast: Forecast { secs: Some(75.0), is_lower_bound: true },
        cores: 4,
        now_millis,
        paint: Paint { is_colored: true },
    };
    terminal.draw(|frame| draw(frame, page, &scene)).unwrap();
    let text = terminal.backend().to_string();
    let lines = text.lines().map(|line| line.trim_matches('"').trim_end().to_owned());
    let zone = regex::Regex::new(r"\d\d:\d\d:\d\d").unwrap();
    lines.map(|line| zone.replace_all(&line, "hh:mm:ss").into_owned()).collect::<Vec<_>>().join("\n")
}

fn press(page: &mut Page, code: KeyCode) -> Wish {
    page.key(KeyEvent::new(code, KeyModifiers::NONE))
}

#[test]
fn the_page_in_the_middle_of_a_run() {
    let house = House::middle();
    let mut follower = house.follower();
    let mut page = Page::new();
    page.settle(&follower);
    follower.poll(&page.looked_at()).unwrap();
    insta::assert_snapshot!("middle", drawn(&follower, &mut page, (100, 24)));
    insta::assert_snapshot!("middle_small", drawn(&follower, &mut page, (60, 15)));
    insta::assert_snapshot!("middle_tiny", drawn(&follower, &mut page, (30, 5)));
}

#[test]
fn the_log_and_the_reasons_have_pages_of_their_own() {
    let house = House::middle();
    let mut follower = house.follower();
    let mut page = Page::new();
    page.settle(&follower);
    follower.poll(&page.looked_at()).unwrap();
    press(&mut page, KeyCode::Char('l'));
    insta::assert_snapshot!("log", drawn(&follower, &mut page, (60, 9)));
    press(&mut page, KeyCode::Esc);
    press(&mut page, KeyCode::Down);
    press(&mut page, KeyCode::Char('w'));
    insta::assert_snapshot!("why", drawn(&follower, &mut page, (80, 18)));
    press(&mut page, KeyCode::Char('c'));
    let asking = drawn(&follower, &mut page, (80, 18));
    assert!(
        asking.ends_with("cancel run tiny-1? its steps save a checkpoint first  y yes  n no"),
        "{asking}"
    );
}

#[test]
fn no_size_is_too_small_to_draw_on() {
    let house = House::middle();
    let mut follower = house.follower();
    let mut page = Page::new();
    page.settle(&follower);
    follower.poll(&page.looked_at()).unwrap();
    for view in [View::Step, View::Why, View::Log] {
        page.view = view;
        for size in (1..30).flat_map(|width| (1..14).map(move |height| (width, height))) {
            drawn(&follower, &mut page, size);
        }
    }
}

#[test]
fn a_cancel_needs_its_y_and_control_c_only_leaves() {
    let mut page = Page::new();
    assert_eq!(press(&mut page, KeyCode::Char('c')), Wish::Nothing);
    assert_eq!(press(&mut page, KeyCode::Char('q')), Wish::Nothing, "any other key takes the question back");
    assert!(!page.is_asking);
    press(&mut page, KeyCode::Char('c'));
    assert_eq!(press(&mut page, KeyCode::Char('y')), Wish::Ask(ControlVerb::Cancel));
    assert_eq!(page.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL)), Wish::Quit);
    assert_eq!(press(&mut page, KeyCode::Char('p')), Wish::Ask(ControlVerb::Pause));
    press(&mut page, KeyCode::Char('l'));
    assert_eq!(press(&mut page, KeyCode::Esc), Wish::Nothing);
    assert_eq!((page.view, press(&mut page, KeyCode::Esc)), (View::Step, Wish::Quit));
}

#[test]
fn of_a_hundred_thousand_steps_only_those_in_sight_are_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let dir = StateDir::new(folder.path());
    let mut state = State::open(&dir, "apply").unwrap();
    let steps: Vec<PlannedStep> = (0..100_000).map(|at| planned(&format!("step-{at}"), &[], false)).collect();
    state.record(created("tiny-1", Vec::new())).unwrap();
    for part in steps.chunks(2_000) {
        state.record(vec![Fact::StepsPlanned { run: "tiny-1".into(), steps: part.to_vec() }]).unwrap();
    }
    let mut follower = Follower::open(&dir, None).unwrap();
    let mut page = Page::new();
    let since = std::time::Instant::now();
    for _ in 0..20 {
        follower.poll(&page.looked_at()).unwrap();
        drawn(&follower, &mut page, (80, 24));
        press(&mut page, KeyCode::PageDown);
    }
    assert!(since.elapsed().as_secs_f64() < 2.0, "twenty pages took {:?}", since.elapsed());
    press(&mut page, KeyCode::End);
    let text = drawn(&follower, &mut page, (80, 24));
    assert!(text.contains("step-99999") && text.contains("100,000 waiting"), "{text}");
}

#[test]
fn changes_are_told_once_each_in_words_and_as_objects() {
    let mut house = House::new();
    let mut follower = house.follower();
    let mut changes = Changes::default();
    let lines = |found: Vec<Change>| found.iter().map(Change::line).collect::<Vec<_>>();
    assert_eq!(lines(changes.since(&follower, 0)), ["run tiny-1: 6 steps, 2 of them cached"]);
    assert_eq!(changes.since(&follower, 1), []);
    house.state.record(vec![intended("base", "1.1"), started("base", "1.1")]).unwrap();
    assert!(follower.poll(&[]).unwrap() && !follower.poll(&[]).unwrap(), "a change is one once");
    assert_eq!(lines(changes.since(&follower, 2)), ["· base  running"]);
    house.say(
        "base",
        &[r#"{"at_millis":0,"event":"progress","done":5,"total":10,"unit":"tokens","stage":"train"}"#
            .to_owned()],
    );
    follower.poll(&[]).unwrap();
    assert_eq!(changes.since(&follower, 4_000), []);
    assert_eq!(lines(changes.since(&follower, 6_000)), ["· base  train  5/10 tokens"]);
    house.state.record(failed("base", "1.1")).unwrap();
    house.state.record(vec![Fact::RunMoved { run: "tiny-1".into(), state: RunState::Failed }]).unwrap();
    follower.poll(&[]).unwrap();
    let last = changes.since(&follower, 7_000);
    let objects: Vec<String> = last
        .iter()
        .map(Change::json)
        .map(|object| format!("{} {}", object["change"], object["state"]))
        .collect();
    assert_eq!(objects, [r#""step" "failed""#, r#""run" "failed""#]);
    assert_eq!(lines(last)[1], "run tiny-1: failed");
}

#[test]
fn a_journal_that_was_replaced_is_read_anew_and_the_run_stays() {
    let mut house = House::new();
    house.state.record(vec![intended("base", "1.1")]).unwrap();
    let before = std::fs::read(house.state.dir().journal()).unwrap();
    house.state.record(vec![started("base", "1.1")]).unwrap();
    let mut follower = house.follower();
    assert_eq!(follower.run().unwrap().step("base").unwrap().state.as_str(), "running");
    std::fs::write(house.state.dir().journal(), &before).unwrap();
    assert!(follower.poll(&[]).unwrap());
    assert_eq!(follower.run().unwrap().step("base").unwrap().state.as_str(), "submitted");
    assert_eq!((follower.depth(0), follower.depth(5)), (0, 4));
}
