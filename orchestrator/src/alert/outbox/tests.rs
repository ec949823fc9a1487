//! Days of deliveries against a fake clock, journal and receiver: daemons that die, clocks that are set, receivers that misbehave.

use std::collections::VecDeque;
use std::sync::Mutex;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::MOST_TRIES;
use super::super::secret::tests::{Known, webhook};
use super::*;
use crate::state::{Record, StateDir};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
const URL: &str = "https://chat.example/hook/s3cr3t";
const KEY: &str = "whsec_czNjcjN0IGtleQ==";

/// What outlives a daemon: the journal, the receiver and true time.
struct World {
    now: i64,
    journal: Projection,
    /// Whether another process holds the folder.
    is_held: bool,
    /// What the receiver answers next; then 200 for ever.
    answers: VecDeque<Result<Answer, SendError>>,
    /// What it got: id, timestamp, signature, body, and when.
    got: Vec<(String, String, String, Vec<u8>, i64)>,
}

type Shared = Arc<Mutex<World>>;

impl World {
    fn fact(&mut self, fact: Fact) {
        let text = format!("{fact:?}");
        assert!(!text.contains("s3cr3t") && !text.contains("czNjcjN0"), "{text}");
        let record = Record { seq: self.journal.seq() + 1, at_millis: self.now, fact, offset: 0 };
        self.journal.apply(&record);
    }
}

struct FakeDesk(Shared);

impl Desk for FakeDesk {
    fn projection(&mut self) -> Result<Arc<Projection>, StateError> {
        Ok(Arc::new(self.0.lock().unwrap().journal.clone()))
    }

    fn record(&mut self, facts: Vec<Fact>) -> Result<bool, StateError> {
        let mut world = self.0.lock().unwrap();
        if world.is_held {
            return Ok(false);
        }
        for fact in facts {
            world.fact(fact);
        }
        Ok(true)
    }
}

struct FakeReceiver(Shared);

impl Sender for FakeReceiver {
    fn send(&mut self, post: &Post<'_>) -> Result<Answer, SendError> {
        let mut world = self.0.lock().unwrap();
        assert_eq!(post.url.expose(), URL);
        let header = |name: &str| {
            let found = post.headers.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone()).unwrap_or_default()
        };
        let (id, at, signed) =
            (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
        let expected = signature(&SecretText::new(KEY), &id, at.parse().unwrap(), post.body).unwrap();
        assert_eq!(signed, expected);
        let now = world.now;
        world.got.push((id, at, signed, post.body.to_vec(), now));
        world.answers.pop_front().unwrap_or_else(|| Ok(answer(200)))
    }
}

fn answer(status: u16) -> Answer {
    Answer { status, retry_after: None, text: format!("no route {URL} with {KEY}") }
}

/// A daemon that may die and start again, on a clock that may be wrong.
struct Life {
    world: Shared,
    outbox: Outbox<FakeDesk, FakeReceiver>,
    secrets: Known,
    clock_error: i64,
}

impl Life {
    fn new(answers: Vec<Result<Answer, SendError>>) -> Self {
        let world = World {
            now: 1_800_000_000_000,
            journal: Projection::new(&StateDir::new(std::path::Path::new("no/such/folder"))),
            is_held: false,
            answers: answers.into(),
            got: Vec::new(),
        };
        let world = Arc::new(Mutex::new(world));
        let secrets = Known::of(&[("HOOK", URL), ("HOOK_KEY", KEY)]);
        let outbox = outbox(&world, &secrets);
        Self { world, outbox, secrets, clock_error: 0 }
    }

    fn dies_and_starts(&mut self) {
        self.outbox = outbox(&self.world, &self.secrets);
    }

    fn intend(&self, key: &str) {
        let mut world = self.world.lock().unwrap();
        let record = AlertRecord {
            schedule: "t.nightly".into(),
            kind: AlertKind::RunFailed,
            made_millis: world.now,
            webhook: webhook("HOOK", Some("HOOK_KEY")),
            body: serde_json::json!({ "id": alert_id(key), "text": key }),
        };
        world.fact(record.fact(key).unwrap());
    }

    fn turn(&mut self) {
        let (world, error) = (Arc::clone(&self.world), self.clock_error);
        self.outbox.turn(&mut || world.lock().unwrap().now + error).unwrap();
    }

    fn live(&mut self, millis: i64, step: i64) {
        let until = self.world.lock().unwrap().now + millis;
        while self.world.lock().unwrap().now < until {
            self.turn();
            self.world.lock().unwrap().now += step;
        }
    }

    fn got(&self) -> Vec<(String, i64)> {
        self.world.lock().unwrap().got.iter().map(|got| (got.0.clone(), got.4)).collect()
    }

    fn delivery(&self, key: &str) -> DeliveryRecord {
        AlertBook::of(&self.world.lock().unwrap().journal).deliveries[key].clone()
    }
}

fn outbox(world: &Shared, secrets: &Known) -> Outbox<FakeDesk, FakeReceiver> {
    Outbox::new(FakeDesk(Arc::clone(world)), FakeReceiver(Arc::clone(world)), Box::new(secrets.clone()))
}

#[test]
fn an_alert_is_delivered_once_and_what_came_of_it_is_recorded() {
    let mut life = Life::new(vec![]);
    life.intend("a");
    life.live(HOUR, MINUTE);
    assert_eq!(life.got().len(), 1);
    let record = life.delivery("a");
    assert_eq!(
        (record.state, record.tries, record.outcome.as_str()),
        (AlertState::Delivered, 1, "answered 200")
    );
    life.dies_and_starts();
    life.live(HOUR, MINUTE);
    assert_eq!(life.got().len(), 1, "a daemon after it finds it delivered");
}

#[test]
fn a_day_of_failures_is_tried_nine_times_with_one_id_and_then_given_up() {
    let mut life = Life::new((0..50).map(|_| Ok(answer(500))).collect());
    life.intend("a");
    life.live(72 * HOUR, 1_000);
    let got = life.got();
    assert_eq!(got.len() as u32, MOST_TRIES);
    assert!(got.iter().all(|(id, _)| *id == alert_id("a")));
    let hours = (got[8].1 - got[0].1) as f64 / HOUR as f64;
    assert!((18.0..32.0).contains(&hours), "{hours}");
    assert!(got.windows(3).all(|w| w[2].1 - w[1].1 > w[1].1 - w[0].1), "each wait is longer: {got:?}");
    let record = life.delivery("a");
    assert_eq!(record.state, AlertState::Failed);
    assert_eq!(record.outcome, "answered 500; it was tried 9 times");
    let world = life.world.lock().unwrap();
    let signatures: std::collections::BTreeSet<&String> = world.got.iter().map(|got| &got.2).collect();
    assert_eq!(signatures.len(), 9, "each try is signed anew, with its own time");
    assert!(world.got.iter().all(|got| got.3 == world.got[0].3), "and has the same body");
}

#[test]
fn a_receiver_that_comes_back_gets_it_and_one_that_has_gone_is_left_alone() {
    let mut life =
        Life::new(vec![Ok(answer(503)), Err(SendError::TimedOut), Ok(answer(302)), Ok(answer(204))]);
    life.intend("a");
    life.live(24 * HOUR, 1_000);
    assert_eq!((life.got().len(), life.delivery("a").state), (4, AlertState::Delivered));
    let mut life = Life::new(vec![Ok(answer(410))]);
    life.intend("a");
    life.live(72 * HOUR, MINUTE);
    assert_eq!((life.got().len(), life.delivery("a").state), (1, AlertState::Failed));
    assert_eq!(life.delivery("a").outcome, "answered 410: nobody takes alerts there any more");
}

#[test]
fn retry_after_is_obeyed_also_by_the_next_daemon() {
    let later = Answer { status: 429, retry_after: Some("7200".into()), text: String::new() };
    let mut life = Life::new(vec![Ok(later)]);
    life.intend("a");
    life.live(30 * MINUTE, 1_000);
    life.dies_and_starts();
    life.live(3 * HOUR, 1_000);
    let got = life.got();
    assert_eq!(got.len(), 2);
    assert!((2 * HOUR..2 * HOUR + 2_000).contains(&(got[1].1 - got[0].1)), "{got:?}");
}

#[test]
fn what_was_sent_and_not_recorded_is_sent_again_with_the_same_id_by_the_next_daemon_and_not_by_this_one() {
    let mut life = Life::new(vec![]);
    life.intend("a");
    life.world.lock().unwrap().is_held = true;
    life.live(HOUR, MINUTE);
    assert_eq!(life.got().len(), 1, "the folder is held: it is kept, and not sent again");
    life.dies_and_starts();
    life.world.lock().unwrap().is_held = false;
    life.live(HOUR, MINUTE);
    let ids: Vec<String> = life.got().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [alert_id("a"), alert_id("a")]);
    assert_eq!(life.delivery("a").state, AlertState::Delivered);
}

#[test]
fn a_missing_secret_is_told_by_name_and_tried_again_once_it_is_there() {
    let mut life = Life::new(vec![]);
    life.secrets = Known::of(&[("HOOK", URL)]);
    life.dies_and_starts();
    life.intend("a");
    life.live(MINUTE, 1_000);
    let record = life.delivery("a");
    assert_eq!(record.state, AlertState::Pending);
    assert!(record.outcome.contains("environment variable HOOK_KEY is not set"), "{record:?}");
    assert!(life.got().is_empty(), "nothing goes out unsigned that is to be signed");
    life.secrets = Known::of(&[("HOOK", URL), ("HOOK_KEY", KEY)]);
    life.dies_and_starts();
    life.live(24 * HOUR, MINUTE);
    assert_eq!(life.delivery("a").state, AlertState::Delivered);
}

#[test]
fn one_receiver_that_fails_holds_up_no_other_alert() {
    let mut life = Life::new(vec![Ok(answer(500))]);
    life.intend("a");
    life.intend("b");
    life.turn();
    let ids: Vec<String> = life.got().into_iter().map(|(id, _)| id).collect();
    assert_eq!(ids, [alert_id("a"), alert_id("b")]);
    assert_eq!(life.delivery("b").state, AlertState::Delivered);
    assert_eq!(life.delivery("a").state, AlertState::Pending);
}

#[test]
fn clocks_that_jump_and_daemons_that_die_lose_no_alert_and_none_is_tried_too_often() {
    let seeds = match std::env::var("CUPOLA_SEED") {
        Ok(seed) => vec![seed.parse().unwrap()],
        Err(_) => (0..50).collect::<Vec<u64>>(),
    };
    for seed in seeds {
        let what = format!("seed {seed} (again with CUPOLA_SEED={seed})");
        let mut rng = StdRng::seed_from_u64(seed);
        let down = rng.random_range(0..8);
        let statuses = [500, 502, 429, 307, 408];
        let answers = (0..down).map(|_| Ok(answer(statuses[rng.random_range(0..5)]))).collect();
        let mut life = Life::new(answers);
        life.intend("a");
        let (mut deaths, until) = (0, life.world.lock().unwrap().now + 4 * 24 * HOUR);
        while life.world.lock().unwrap().now < until {
            let step = rng.random_range(500..MINUTE);
            life.live(rng.random_range(MINUTE..6 * HOUR), step);
            match rng.random_range(0..5) {
                0 => {
                    life.dies_and_starts();
                    deaths += 1;
                }
                1 => life.clock_error = rng.random_range(-48 * HOUR..48 * HOUR),
                2 => {
                    let is_held = life.world.lock().unwrap().is_held;
                    life.world.lock().unwrap().is_held = !is_held;
                }
                _ => life.clock_error = 0,
            }
        }
        (life.clock_error, life.world.lock().unwrap().is_held) = (0, false);
        life.live(100 * HOUR, MINUTE);
        assert_eq!(life.delivery("a").state, AlertState::Delivered, "{what}");
        let tries = life.got().len();
        // At least once: again only where a daemon died before it could record an outcome.
        assert!(
            (down + 1..=down + 1 + deaths).contains(&tries),
            "{what}: {tries} tries, {down} failures, {deaths} deaths"
        );
        assert!(life.got().iter().all(|(id, _)| *id == alert_id("a")), "{what}");
    }
}

#[test]
fn what_a_receiver_repeats_is_shown_without_secrets() {
    let life = Life::new(vec![Ok(answer(404))]);
    let (id, body) = test_alert("t.nightly", 1_800_000_000_000).unwrap();
    let hook = webhook("HOOK", Some("HOOK_KEY"));
    let parcel = Parcel { id: &id, webhook: &hook, body: &body };
    let mut receiver = FakeReceiver(Arc::clone(&life.world));
    let shown = parcel.send(&mut receiver, &life.secrets, 1_800_000_000_000).unwrap().unwrap();
    assert_eq!(shown.text, "no route [secret] with [secret]");
    assert_eq!((body["kind"].as_str(), body["schedule"].as_str()), (Some("test"), Some("nightly")));
}
