//! Which due slots fire, wait or are skipped.

use cupola_specs::spec::{CatchUp, Overlap, Schedule};

use super::Timetable;

/// A slot that is older than this when it is seen was missed.
pub const GRACE_MILLIS: i64 = 120_000;

/// Most missed slots that `catch_up: all` makes up for.
const MOST: usize = 100;

/// What happens with a due slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Order {
    /// It fires, after what is queued before it.
    Fire {
        /// The slot.
        slot_millis: i64,
        /// For what else it stands; may be empty.
        note: String,
        /// Whether what runs of the schedule is to be stopped first.
        replaces: bool,
    },
    /// It is recorded and does not fire.
    Skip {
        /// The slot.
        slot_millis: i64,
        /// Why.
        note: String,
    },
}

/// The orders for the slots after `handled_millis` up to `now_millis`; `busy` says whether a firing of the schedule runs or waits.
pub fn orders(
    schedule: &Schedule,
    table: &Timetable,
    handled_millis: i64,
    now_millis: i64,
    busy: bool,
) -> Vec<Order> {
    let due = table.between(handled_millis, now_millis, MOST);
    let (missed, on_time): (Vec<i64>, Vec<i64>) =
        due.iter().partition(|slot| now_millis - **slot > GRACE_MILLIS);
    let mut orders = Vec::new();
    let mut fire: Vec<(i64, String)> = Vec::new();
    match (schedule.catch_up, missed.last()) {
        (_, None) => {}
        (CatchUp::Skip, Some(last)) => {
            orders.push(Order::Skip { slot_millis: *last, note: missed_note(missed.len()) });
        }
        (CatchUp::Once, Some(last)) => fire.push((*last, missed_note(missed.len()))),
        (CatchUp::All, Some(_)) => fire.extend(missed.iter().map(|slot| (*slot, "missed".to_owned()))),
    }
    fire.extend(on_time.into_iter().map(|slot| (slot, String::new())));
    let mut busy = busy;
    for (slot_millis, note) in fire {
        orders.push(match schedule.overlap {
            Overlap::Skip if busy => {
                Order::Skip { slot_millis, note: "the firing before it still runs".to_owned() }
            }
            Overlap::Replace => Order::Fire { slot_millis, note, replaces: busy },
            Overlap::Skip | Overlap::Queue => Order::Fire { slot_millis, note, replaces: false },
        });
        // Slots that are made up for one by one wait for each other whatever the overlap says of a running one.
        busy = busy || schedule.catch_up != CatchUp::All;
    }
    orders
}

fn missed_note(slots: usize) -> String {
    if slots == 1 { "missed".to_owned() } else { format!("stands for {slots} missed slots") }
}

#[cfg(test)]
mod tests {
    use super::super::timetable::tests::{schedule, utc};
    use super::*;

    fn of(catch_up: CatchUp, overlap: Overlap, handled: &str, now: &str, busy: bool) -> Vec<Order> {
        let mut schedule = schedule("0 2 * * *", "Europe/Berlin");
        schedule.catch_up = catch_up;
        schedule.overlap = overlap;
        orders(&schedule, &Timetable::new(&schedule).unwrap(), utc(handled), utc(now), busy)
    }

    fn fire(slot: &str, note: &str) -> Order {
        Order::Fire { slot_millis: utc(slot), note: note.into(), replaces: false }
    }

    #[test]
    fn nothing_is_due_before_its_time_and_one_slot_at_it() {
        let (handled, before) = ("2026-01-10T12:00:00Z", "2026-01-11T00:59:59Z");
        assert_eq!(of(CatchUp::Once, Overlap::Skip, handled, before, false), []);
        let at = of(CatchUp::Once, Overlap::Skip, handled, "2026-01-11T01:00:00Z", false);
        assert_eq!(at, [fire("2026-01-11T01:00:00Z", "")]);
    }

    #[test]
    fn missed_slots_are_made_up_for_as_the_spec_says() {
        let (handled, now) = ("2026-01-10T12:00:00Z", "2026-01-13T12:00:00Z");
        let last = "2026-01-13T01:00:00Z";
        let once = of(CatchUp::Once, Overlap::Skip, handled, now, false);
        assert_eq!(once, [fire(last, "stands for 3 missed slots")]);
        let skip = of(CatchUp::Skip, Overlap::Skip, handled, now, false);
        assert_eq!(skip, [Order::Skip { slot_millis: utc(last), note: "stands for 3 missed slots".into() }]);
        assert_eq!(of(CatchUp::All, Overlap::Skip, handled, now, false).len(), 3);
        assert!(
            of(CatchUp::All, Overlap::Skip, handled, now, false)
                .iter()
                .all(|o| matches!(o, Order::Fire { .. }))
        );
    }

    #[test]
    fn an_overlap_is_skipped_queued_or_replaces() {
        let (handled, now) = ("2026-01-10T12:00:00Z", "2026-01-11T01:00:30Z");
        let skip = of(CatchUp::Once, Overlap::Skip, handled, now, true);
        assert!(matches!(&skip[..], [Order::Skip { note, .. }] if note.contains("still runs")));
        let queue = of(CatchUp::Once, Overlap::Queue, handled, now, true);
        assert_eq!(queue, [fire("2026-01-11T01:00:00Z", "")]);
        let replace = of(CatchUp::Once, Overlap::Replace, handled, now, true);
        assert!(matches!(&replace[..], [Order::Fire { replaces: true, .. }]));
    }
}
