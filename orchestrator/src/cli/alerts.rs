//! `cupola get alerts` and `cupola schedule test-alert`.

use std::time::Instant;

use cupola_specs::spec::Webhook;
use serde_json::{Value, json};

use super::tables::{plain_table, text_of};
use super::{CliError, Global, Outcome};
use crate::alert::{
    AlertBook, AlertError, AlertRecord, Answer, DeliveryRecord, HttpSender, Parcel, ProcessSecrets,
    SendError, alert_id, test_alert,
};
use crate::daemon::WatchedSchedule;
use crate::report::format;
use crate::state::{Projection, now_millis};

/// Notes of a comparison that the text shows.
const SHOWN_NOTES: usize = 6;

/// Every alert that the journal has, newest first, and the newest comparison of each schedule's reports.
pub(super) fn known_alerts(projection: &Projection) -> (Value, String) {
    let book = AlertBook::of(projection);
    let mut alerts: Vec<(&String, &AlertRecord)> = book.alerts.iter().collect();
    alerts.sort_by_key(|(_, alert)| std::cmp::Reverse(alert.made_millis));
    let mut table = plain_table(&["TIME", "ALERT", "STATE", "TRIES", "LAST", "ABOUT"]);
    let mut objects = Vec::new();
    for (key, alert) in alerts {
        let (state, delivery) = (book.state(key), book.deliveries.get(key));
        table.add_row([
            format::time(alert.made_millis),
            key.clone(),
            state.as_str().to_owned(),
            delivery.map_or(0, |delivery| delivery.tries).to_string(),
            delivery.map_or_else(|| "not sent yet".to_owned(), last),
            alert.body["text"].as_str().unwrap_or_default().lines().next().unwrap_or_default().to_owned(),
        ]);
        objects.push(
            json!({ "key": key, "id": alert_id(key), "state": state, "alert": alert, "delivery": delivery }),
        );
    }
    let mut parts = Vec::new();
    if !objects.is_empty() {
        parts.push(text_of(&table));
    }
    let (compared, text) = comparisons(&book);
    parts.extend((!text.is_empty()).then_some(text));
    if parts.is_empty() {
        parts.push("no alert: a schedule with `on_failure` or `on_regression` makes them".to_owned());
    }
    (json!({ "alerts": objects, "comparisons": compared }), parts.join("\n\n"))
}

/// What came of the newest try, and when the next one is.
fn last(delivery: &DeliveryRecord) -> String {
    match delivery.wait_millis {
        0 => delivery.outcome.clone(),
        wait => format!("{}; again at {}", delivery.outcome, format::time(delivery.tried_millis + wait)),
    }
}

fn comparisons(book: &AlertBook) -> (Value, String) {
    let mut lines = Vec::new();
    let mut schedules: Vec<&String> = book.comparisons.values().map(|record| &record.schedule).collect();
    schedules.sort();
    schedules.dedup();
    for schedule in schedules {
        let Some((_, record)) = book.comparisons_of(schedule).into_iter().next() else { continue };
        for report in &record.reports {
            let (old, new) = (&report.older.run, &report.newer.run);
            let counts = format!("{} metrics, {} worse", report.compared, report.worse);
            let verdict = report.verdict();
            lines.push(format!("{schedule}: {} of {new} beside {old}: {verdict} ({counts})", report.step));
            lines.extend(report.notes.iter().take(SHOWN_NOTES).map(|note| format!("  {note}")));
            let more = report.notes.len().saturating_sub(SHOWN_NOTES);
            lines.extend((more > 0).then(|| format!("  and {more} notes more")));
        }
    }
    (json!(book.comparisons), lines.join("\n"))
}

/// Sends a test alert to everyone whom a schedule tells, once, and says what came back. Secrets are those of this process.
pub(super) fn send_test(found: &WatchedSchedule, global: &Global) -> Result<Outcome, CliError> {
    let hooks =
        [("on_failure", &found.schedule.on_failure), ("on_regression", &found.schedule.on_regression)];
    let hooks: Vec<(&str, &Webhook)> =
        hooks.into_iter().filter_map(|(field, hook)| Some((field, hook.as_ref()?))).collect();
    if hooks.is_empty() {
        return Err(CliError::input(
            format!("schedule {} tells nobody", found.id),
            "give it on_failure or on_regression: `cupola explain schedules.nightly.on_failure`",
        ));
    }
    let (id, body) = test_alert(&found.id, now_millis())?;
    let (mut all_taken, mut rows) = (true, Vec::new());
    for (field, webhook) in hooks {
        let since = Instant::now();
        let parcel = Parcel { id: &id, webhook, body: &body };
        let answer = parcel.send(&mut HttpSender::new(), &ProcessSecrets, now_millis())?;
        let millis = since.elapsed().as_millis() as u64;
        let is_taken = answer.as_ref().is_ok_and(|answer| (200..300).contains(&answer.status));
        all_taken &= is_taken;
        let signed = if webhook.signing_key.is_some() { "signed" } else { "not signed" };
        let said = said(&answer);
        if !global.json {
            let word = if is_taken { "delivered" } else { "not delivered" };
            println!("{field}: {word}, {signed}: {said} ({millis} ms)");
        }
        rows.push(json!({
            "field": field, "url": webhook.url.name, "delivered": is_taken, "signed": webhook.signing_key.is_some(),
            "status": answer.as_ref().ok().map(|answer| answer.status), "outcome": said, "millis": millis,
        }));
    }
    if global.json {
        println!("{:#}", json!({ "schedule": found.id, "id": id, "webhooks": rows }));
    }
    Ok(if all_taken { Outcome::Done } else { Outcome::Failed })
}

/// What came back, in a few words.
fn said(answer: &Result<Answer, SendError>) -> String {
    match answer {
        Ok(answer) if answer.text.is_empty() => format!("answered {}", answer.status),
        Ok(answer) => {
            let text: String = answer.text.chars().take(200).collect();
            format!("answered {}: {text}", answer.status)
        }
        Err(error) => error.to_string(),
    }
}

impl From<AlertError> for CliError {
    fn from(error: AlertError) -> Self {
        Self::Other { message: error.to_string(), hint: error.hint().to_owned(), class: error.class() }
    }
}
