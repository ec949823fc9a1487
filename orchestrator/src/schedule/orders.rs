//! Which due slots fire, wait or are skipped.

use cupola_specs::spec::{CatchUp, Overlap, Schedule};
use serde::Serialize;

use super::{ScheduleBook, Timetable, firing_key};

/// A slot that is older than this when it is seen was missed.
pub const GRACE_MILLIS: i64 = 120_000;

/// Most missed slots that are looked at one by one; older ones share a record.
const MOST: usize = 100;

/// Slots that are older are nobody's business any more: a clock that leapt by decades does not keep the daemon counting.
const OLDEST_MILLIS: i64 = 366 * 86_400_000;

/// A schedule with its name and its instants.
#[derive(Debug, Clone, Copy)]
pub struct Named<'a> {
    /// Its full name.
    pub id: &'a str,
    /// What the spec says.
    pub schedule: &'a Schedule,
    /// Its instants.
    pub table: &'a Timetable,
}

/// What happens with a due slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// It fires, after what is queued before it.
    Fire {
        /// The slot.
        slot_millis: i64,
        /// For what else it stands; may be empty.
        note: String,
        /// Whether what runs and waits of the schedule is to be cancelled first.
        cancels: bool,
    },
    /// It is recorded and does not fire.
    Skip {
        /// The slot.
        slot_millis: i64,
        /// Why.
        note: String,
    },
}

/// The orders for the slots that are due and that the book does not have. A slot's delay is that of its jitter.
pub fn orders(named: Named<'_>, book: &ScheduleBook, now_millis: i64) -> Vec<Order> {
    let Named { id, schedule, table } = named;
    let Some(handled) = book.handled_millis(id, now_millis) else { return Vec::new() };
    let jitter_millis = schedule.jitter_secs as i64 * 1000;
    let since = book.schedules.get(id).map_or(handled, |record| record.since_millis);
    // A slot whose delay was longer than that of the one behind it may still be open.
    let delayed = table.between((handled - jitter_millis).max(since), handled, MOST).newest;
    let due = table.between(handled.max(now_millis - OLDEST_MILLIS), now_millis, MOST);
    let mut orders = Vec::new();
    if let Some(slot_millis) = due.last_older_millis {
        let note = format!("stands for {} missed slots, too many to look at one by one", due.older);
        orders.push(Order::Skip { slot_millis, note });
    }
    let is_open = |slot: &i64| {
        let key = firing_key(id, *slot, false);
        !book.firings.contains_key(&key) && slot + jitter_of(&key, jitter_millis) <= now_millis
    };
    let open = delayed.into_iter().chain(due.newest).filter(is_open);
    let delay = |slot: &i64| jitter_of(&firing_key(id, *slot, false), jitter_millis);
    let is_missed = |slot: &i64| now_millis - slot - delay(slot) > GRACE_MILLIS;
    let (missed, on_time): (Vec<i64>, Vec<i64>) = open.partition(is_missed);
    let mut is_busy = book.is_busy(id);
    made_up(schedule, &missed, &mut is_busy, &mut orders);
    for slot in on_time {
        orders.push(by_overlap(schedule.overlap, slot, String::new(), is_busy));
        is_busy = true;
    }
    orders
}

/// The orders for missed slots.
fn made_up(schedule: &Schedule, missed: &[i64], is_busy: &mut bool, orders: &mut Vec<Order>) {
    let Some((last, before)) = missed.split_last() else { return };
    let skip = |slot: &i64, note: &str| Order::Skip { slot_millis: *slot, note: note.to_owned() };
    match schedule.catch_up {
        CatchUp::None => orders.extend(missed.iter().map(|slot| skip(slot, "missed"))),
        CatchUp::Once => {
            orders.extend(before.iter().map(|slot| skip(slot, "missed; a later slot stands for it")));
            let note = match missed.len() {
                1 => "missed".to_owned(),
                many => format!("stands for {many} missed slots"),
            };
            orders.push(by_overlap(schedule.overlap, *last, note, *is_busy));
            *is_busy = true;
        }
        // They wait for each other whatever the overlap says of a running one: all means all.
        CatchUp::All => {
            for slot in missed {
                orders.push(Order::Fire { slot_millis: *slot, note: "missed".to_owned(), cancels: false });
            }
            *is_busy = true;
        }
    }
}

fn by_overlap(overlap: Overlap, slot_millis: i64, note: String, is_busy: bool) -> Order {
    match overlap {
        Overlap::Skip if is_busy => {
            Order::Skip { slot_millis, note: "the firing before it still runs or waits".to_owned() }
        }
        Overlap::CancelPrevious => Order::Fire { slot_millis, note, cancels: is_busy },
        Overlap::Skip | Overlap::Queue => Order::Fire { slot_millis, note, cancels: false },
    }
}

/// A firing that is to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct Upcoming {
    /// Its slot, milliseconds since the Unix epoch.
    pub slot_millis: i64,
    /// When it starts: its slot and the delay of its jitter.
    pub starts_millis: i64,
    /// When it starts, on the clock of the schedule's zone.
    pub starts: String,
}

/// The next `count` firings of a schedule that the book does not have yet.
pub fn upcoming(named: Named<'_>, book: &ScheduleBook, now_millis: i64, count: usize) -> Vec<Upcoming> {
    let Named { id, schedule, table } = named;
    let jitter_millis = schedule.jitter_secs as i64 * 1000;
    let since = book.schedules.get(id).map_or(now_millis, |record| record.since_millis.min(now_millis));
    let first = table.next((now_millis - jitter_millis).max(since));
    let slots = std::iter::successors(first, |slot| table.next(*slot));
    let open = slots.filter_map(|slot_millis| {
        let key = firing_key(id, slot_millis, false);
        let starts_millis = slot_millis + jitter_of(&key, jitter_millis);
        let is_open = starts_millis > now_millis && !book.firings.contains_key(&key);
        is_open.then(|| Upcoming { slot_millis, starts_millis, starts: table.text(starts_millis) })
    });
    open.take(count).collect()
}

/// By how much later than its slot a firing starts: whole seconds below `jitter_millis`, the same for the same key.
pub fn jitter_of(key: &str, jitter_millis: i64) -> i64 {
    let secs = jitter_millis / 1000;
    if secs <= 0 {
        return 0;
    }
    let hash = blake3::hash(key.as_bytes());
    let bytes = hash.as_bytes().first_chunk().copied().unwrap_or_default();
    (u64::from_le_bytes(bytes) % secs as u64) as i64 * 1000
}

#[cfg(test)]
mod tests {
    use super::super::timetable::tests::{schedule, utc};
    use super::super::{FiringState, ScheduleRecord};
    use super::*;

    struct Case {
        schedule: Schedule,
        book: ScheduleBook,
    }

    fn case(catch_up: CatchUp, overlap: Overlap, since: &str) -> Case {
        let mut schedule = schedule("0 2 * * *", "Europe/Berlin");
        schedule.catch_up = catch_up;
        schedule.overlap = overlap;
        let mut book = ScheduleBook::default();
        let record = ScheduleRecord { spec: "t.yaml".into(), paused: false, since_millis: utc(since) };
        book.schedules.insert("t.nightly".into(), record);
        Case { schedule, book }
    }

    impl Case {
        fn at(&self, now: &str) -> Vec<Order> {
            let table = Timetable::new(&self.schedule).unwrap();
            let named = Named { id: "t.nightly", schedule: &self.schedule, table: &table };
            orders(named, &self.book, utc(now))
        }

        fn busy(mut self, slot: &str) -> Self {
            let firing = super::super::record::tests::firing("t.nightly", utc(slot), FiringState::Started);
            self.book.take(firing);
            self
        }
    }

    fn fire(slot: &str, note: &str) -> Order {
        Order::Fire { slot_millis: utc(slot), note: note.into(), cancels: false }
    }

    fn skipped(orders: &[Order]) -> usize {
        orders.iter().filter(|order| matches!(order, Order::Skip { .. })).count()
    }

    #[test]
    fn nothing_is_due_before_its_time_and_one_slot_at_it() {
        let case = case(CatchUp::Once, Overlap::Skip, "2026-01-10T12:00:00Z");
        assert_eq!(case.at("2026-01-11T00:59:59Z"), []);
        assert_eq!(case.at("2026-01-11T01:00:00Z"), [fire("2026-01-11T01:00:00Z", "")]);
    }

    #[test]
    fn each_missed_slot_has_its_order_and_fires_as_the_spec_says() {
        let (since, now) = ("2026-01-10T12:00:00Z", "2026-01-13T12:00:00Z");
        let once = case(CatchUp::Once, Overlap::Skip, since).at(now);
        assert_eq!((once.len(), skipped(&once)), (3, 2));
        assert_eq!(once[2], fire("2026-01-13T01:00:00Z", "stands for 3 missed slots"));
        let none = case(CatchUp::None, Overlap::Skip, since).at(now);
        assert_eq!((none.len(), skipped(&none)), (3, 3));
        let all = case(CatchUp::All, Overlap::Skip, since).at(now);
        assert_eq!((all.len(), skipped(&all)), (3, 0));
    }

    #[test]
    fn very_many_missed_slots_are_not_lost_silently() {
        let mut case = case(CatchUp::All, Overlap::Skip, "2026-01-10T12:00:00Z");
        case.schedule.cron = "* * * * *".into();
        let found = case.at("2026-01-10T16:00:00Z");
        let Some(Order::Skip { note, .. }) = found.first() else { panic!("{found:?}") };
        assert!(note.starts_with("stands for 140 missed slots"), "{note}");
        assert_eq!(found.len(), 101);
    }

    #[test]
    fn an_overlap_is_skipped_queued_or_cancels() {
        let (since, now) = ("2026-01-10T00:30:00Z", "2026-01-11T01:00:30Z");
        let of = |overlap| case(CatchUp::Once, overlap, since).busy("2026-01-10T01:00:00Z").at(now);
        let skip = of(Overlap::Skip);
        assert!(matches!(&skip[..], [Order::Skip { note, .. }] if note.contains("still runs")), "{skip:?}");
        assert_eq!(of(Overlap::Queue), [fire("2026-01-11T01:00:00Z", "")]);
        let cancel = of(Overlap::CancelPrevious);
        assert!(matches!(&cancel[..], [Order::Fire { cancels: true, .. }]), "{cancel:?}");
    }

    #[test]
    fn a_jitter_delays_a_slot_by_the_same_each_time_and_loses_none() {
        let mut case = case(CatchUp::None, Overlap::Queue, "2026-01-10T00:30:00Z");
        case.schedule.jitter_secs = 3_000;
        case.schedule.cron = "0 2,3 * * *".into();
        let keys = ["2026-01-10T01:00:00Z", "2026-01-10T02:00:00Z"]
            .map(|slot| (utc(slot), jitter_of(&firing_key("t.nightly", utc(slot), false), 3_000_000)));
        for (slot, delay) in keys {
            assert!((0..3_000_000).contains(&delay) && delay % 1000 == 0);
            let at = |millis: i64| jiff::Timestamp::from_millisecond(millis).unwrap().to_string();
            let fires = |now: i64| {
                let order = Order::Fire { slot_millis: slot, note: String::new(), cancels: false };
                case.at(&at(now)).contains(&order)
            };
            assert!(!fires(slot + delay - 1000) && fires(slot + delay) && fires(slot + delay + 60_000));
        }
        assert_ne!(keys[0].1, keys[1].1);
    }

    #[test]
    fn where_spring_brings_two_slots_nearer_than_the_jitter_the_later_one_hides_no_earlier_one() {
        // 01:00 and 03:00 in Berlin are an hour apart on 29 March 2026, and two on any other day.
        let mut case = case(CatchUp::None, Overlap::Queue, "2026-03-28T12:00:00Z");
        case.schedule.cron = "0 1,3 * * *".into();
        case.schedule.jitter_secs = 6_600;
        let case = case.busy("2026-03-29T01:00:00Z");
        let found = case.at("2026-03-29T02:00:00Z");
        assert!(
            matches!(found[..], [Order::Fire { slot_millis, .. } | Order::Skip { slot_millis, .. }] if slot_millis == utc("2026-03-29T00:00:00Z")),
            "{found:?}"
        );
    }

    #[test]
    fn what_is_to_come_is_what_the_orders_will_be() {
        let mut case = case(CatchUp::None, Overlap::Queue, "2026-10-23T12:00:00Z");
        case.schedule.jitter_secs = 600;
        let now = utc("2026-10-23T12:00:00Z");
        let table = Timetable::new(&case.schedule).unwrap();
        let named = Named { id: "t.nightly", schedule: &case.schedule, table: &table };
        let found = upcoming(named, &case.book, now, 5);
        assert_eq!(found.len(), 5);
        for one in &found {
            let before = orders(named, &case.book, one.starts_millis - 1);
            let order = Order::Fire { slot_millis: one.slot_millis, note: String::new(), cancels: false };
            assert!(
                !before.contains(&order) && orders(named, &case.book, one.starts_millis).contains(&order)
            );
        }
        // A firing that waits for its delay is still to come, one that is in the book is not.
        let waits = upcoming(named, &case.book, found[0].starts_millis - 1, 1);
        assert_eq!(waits[0], found[0]);
        let fired =
            super::super::record::tests::firing("t.nightly", found[0].slot_millis, FiringState::Queued);
        case.book.take(fired);
        assert_eq!(
            upcoming(Named { id: "t.nightly", schedule: &case.schedule, table: &table }, &case.book, now, 1)
                [0],
            found[1]
        );
    }
}
