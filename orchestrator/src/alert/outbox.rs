//! The outbox: sends alerts that are in the journal, and records what came of it, until each is taken or given up.

use std::collections::BTreeMap;
use std::sync::Arc;

use cupola_specs::spec::Webhook;
use serde_json::Value;

use super::message::VERSION;
use super::secret::{is_web_address, unset};
use super::sender::Header;
use super::tell::time;
use super::{
    Alert, AlertBook, AlertError, AlertKind, AlertRecord, AlertState, Answer, DeliveryRecord, Next, Post,
    SecretText, Secrets, SendError, Sender, alert_id, next_step, signature,
};
use crate::state::{Fact, Projection, StateError};

/// What the outbox reads and records.
pub trait Desk: Send {
    /// What is true now.
    fn projection(&mut self) -> Result<Arc<Projection>, StateError>;
    /// Records facts; false where that is not possible now.
    fn record(&mut self, facts: Vec<Fact>) -> Result<bool, StateError>;
}

/// Sends what is pending. It is never the only one that knows of an alert, and what it could not record yet it does not send again.
pub struct Outbox<D, S> {
    desk: D,
    sender: S,
    secrets: Box<dyn Secrets>,
    pending: BTreeMap<String, (AlertRecord, Option<DeliveryRecord>)>,
    /// The record of the journal up to which `pending` was read.
    seen: Option<u64>,
    unrecorded: BTreeMap<String, DeliveryRecord>,
}

/// One delivery: a body with who gets it.
#[derive(Debug, Clone, Copy)]
pub struct Parcel<'a> {
    /// The alert's id.
    pub id: &'a str,
    /// Who gets it.
    pub webhook: &'a Webhook,
    /// What is told.
    pub body: &'a Value,
}

impl<D: Desk, S: Sender> Outbox<D, S> {
    /// An outbox that has sent nothing.
    pub fn new(desk: D, sender: S, secrets: Box<dyn Secrets>) -> Self {
        Self { desk, sender, secrets, pending: BTreeMap::new(), seen: None, unrecorded: BTreeMap::new() }
    }

    /// Sends what is due, oldest first. `clock` gives milliseconds since the Unix epoch; it is asked again after each answer.
    pub fn turn(&mut self, clock: &mut dyn FnMut() -> i64) -> Result<(), AlertError> {
        self.look()?;
        self.flush()?;
        let mut due: Vec<(i64, String)> = Vec::new();
        let now_millis = clock();
        for (key, (alert, known)) in &self.pending {
            let known = self.unrecorded.get(key).or(known.as_ref());
            if known.is_none_or(|known| known.is_due(now_millis)) {
                due.push((alert.made_millis, key.clone()));
            }
        }
        due.sort_unstable();
        for (_, key) in due {
            self.deliver(&key, clock)?;
            self.flush()?;
        }
        Ok(())
    }

    /// Reads what is pending, where the journal grew.
    fn look(&mut self) -> Result<(), AlertError> {
        let projection = self.desk.projection()?;
        if self.seen != Some(projection.seq()) {
            self.pending = AlertBook::pending(&projection);
            self.seen = Some(projection.seq());
        }
        Ok(())
    }

    /// One try of one alert.
    fn deliver(&mut self, key: &str, clock: &mut dyn FnMut() -> i64) -> Result<(), AlertError> {
        let Some((alert, known)) = self.pending.get(key) else { return Ok(()) };
        let tries = self.unrecorded.get(key).or(known.as_ref()).map_or(0, |known| known.tries) + 1;
        let id = alert_id(key);
        let parcel = Parcel { id: &id, webhook: &alert.webhook, body: &alert.body };
        let answer = parcel.send(&mut self.sender, self.secrets.as_ref(), clock())?;
        let tried_millis = clock();
        let (next, outcome) = next_step(&id, tries, &answer, tried_millis);
        let (state, wait_millis) = match next {
            Next::Delivered => (AlertState::Delivered, 0),
            Next::Failed => (AlertState::Failed, 0),
            Next::Again { wait_millis } => (AlertState::Pending, wait_millis),
        };
        match state {
            AlertState::Delivered => tracing::info!("alert {key} was delivered"),
            AlertState::Failed => tracing::warn!("alert {key} was given up: {outcome}"),
            AlertState::Pending => {
                tracing::warn!("alert {key} was not delivered: {outcome}; again in {} s", wait_millis / 1000);
            }
        }
        let record = DeliveryRecord { state, tries, tried_millis, wait_millis, outcome };
        self.unrecorded.insert(key.to_owned(), record);
        Ok(())
    }

    /// Records what came of tries; later, where another process holds the folder.
    fn flush(&mut self) -> Result<(), AlertError> {
        if self.unrecorded.is_empty() {
            return Ok(());
        }
        let facts: Result<Vec<Fact>, _> =
            self.unrecorded.iter().map(|(key, record)| record.fact(key)).collect();
        if self.desk.record(facts?)? {
            for (key, record) in std::mem::take(&mut self.unrecorded) {
                if record.state != AlertState::Pending {
                    self.pending.remove(&key);
                } else if let Some((_, known)) = self.pending.get_mut(&key) {
                    *known = Some(record);
                }
            }
        }
        Ok(())
    }
}

impl Parcel<'_> {
    /// Sends it once, signed where its webhook has a key.
    pub fn send(
        &self,
        sender: &mut impl Sender,
        secrets: &dyn Secrets,
        now_millis: i64,
    ) -> Result<Result<Answer, SendError>, AlertError> {
        let body = serde_json::to_vec(self.body)?;
        Ok(self.prepare(secrets, now_millis / 1000, &body).and_then(|(url, headers)| {
            let answer = sender.send(&Post { url: &url, headers, body: &body })?;
            Ok(Answer { text: self.hidden(&answer.text, &url, secrets), ..answer })
        }))
    }

    /// The URL and the headers.
    fn prepare(
        &self,
        secrets: &dyn Secrets,
        now_secs: i64,
        body: &[u8],
    ) -> Result<(SecretText, Vec<Header>), SendError> {
        let missing = |secret| SendError::Secret(unset(secret));
        let url = secrets.find(&self.webhook.url).ok_or_else(|| missing(&self.webhook.url))?;
        if !is_web_address(&url) {
            let name = &self.webhook.url.name;
            return Err(SendError::Secret(format!(
                "the value of {name} is no URL that a POST can be sent to"
            )));
        }
        let mut headers =
            vec![("webhook-id", self.id.to_owned()), ("webhook-timestamp", now_secs.to_string())];
        if let Some(key) = &self.webhook.signing_key {
            let value = secrets.find(key).ok_or_else(|| missing(key))?;
            let signature = signature(&value, self.id, now_secs, body)
                .map_err(|error| SendError::Secret(format!("{}: {error}", key.name)))?;
            headers.push(("webhook-signature", signature));
        }
        Ok((url, headers))
    }

    /// What a receiver said, on one line, without the secrets that it may have repeated.
    fn hidden(&self, text: &str, url: &SecretText, secrets: &dyn Secrets) -> String {
        let mut hidden = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let key = self.webhook.signing_key.as_ref().and_then(|key| secrets.find(key));
        let path = reqwest::Url::parse(url.expose()).map(|url| {
            let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
            (format!("{}{query}", url.path()), url.path().to_owned())
        });
        let (whole, path) = path.unwrap_or_default();
        let values =
            [Some(url.expose().to_owned()), key.map(|key| key.expose().to_owned()), Some(whole), Some(path)];
        for value in values.into_iter().flatten().filter(|value| value.len() > 1) {
            hidden = hidden.replace(&value, "[secret]");
        }
        hidden
    }
}

/// An alert that somebody tries a webhook with: its id and its body.
pub fn test_alert(schedule_id: &str, now_millis: i64) -> Result<(String, Value), AlertError> {
    let (spec, schedule) = schedule_id.rsplit_once('.').unwrap_or(("", schedule_id));
    let id = alert_id(&format!("{schedule_id}/test/{now_millis}"));
    let alert = Alert {
        version: VERSION,
        id: id.clone(),
        kind: AlertKind::Test,
        at: time(now_millis),
        text: format!("{schedule_id}: a test alert, nothing happened"),
        spec: spec.to_owned(),
        schedule: schedule.to_owned(),
        firing: None,
        run: None,
        exit_code: None,
        note: String::new(),
        failed_steps: Vec::new(),
        reports: Vec::new(),
        look: Vec::new(),
    };
    Ok((id, serde_json::to_value(&alert)?))
}

#[cfg(test)]
mod tests;
