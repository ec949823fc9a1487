//! The audit log of `cupola get audit`.

use jiff::{Span, SpanRelativeTo, Timestamp, Unit};
use serde_json::{Value, json};

use super::tables::{plain_table, text_of};
use super::{CliError, Global};
use crate::audit::{AuditEntry, AuditFilter, read_audit};
use crate::report::format;
use crate::state::now_millis;

/// Who did what, newest last, as JSON and as text.
pub(super) fn listed(
    (since, who): (Option<&str>, Option<&str>),
    global: &Global,
) -> Result<(Value, String), CliError> {
    let since_millis = since.map(|since| moment(since, now_millis())).transpose()?;
    let filter = AuditFilter { since_millis, who: who.map(str::to_owned) };
    let entries = read_audit(&global.state_dir(), &filter)?;
    Ok((json!(entries), table(&entries)))
}

fn table(entries: &[AuditEntry]) -> String {
    let mut table = plain_table(&["SEQ", "TIME", "WHO", "DID", "RUN", "RESULT", "FROM", "ARGUMENTS"]);
    for entry in entries {
        let act = &entry.act;
        table.add_row([
            entry.seq.to_string(),
            format::time(entry.at_millis),
            act.actor.who(),
            act.verb.clone(),
            act.run.clone().unwrap_or_default(),
            act.result.clone(),
            format!("{} {}", act.actor.pid, act.actor.parent).trim_end().to_owned(),
            act.arguments.join(" "),
        ]);
    }
    text_of(&table)
}

/// A moment as people write it: so long ago (`7d`, `12h`, `30m`), or a time with its zone.
fn moment(text: &str, now_millis: i64) -> Result<i64, CliError> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(at.as_millisecond());
    }
    let days = SpanRelativeTo::days_are_24_hours();
    let length = text.parse::<Span>().ok().and_then(|span| span.total((Unit::Millisecond, days)).ok());
    let wrong = || {
        let message = format!("`{text}` is neither a length of time nor a time");
        CliError::input(message, "such as 7d, 12h, 30m or 2026-03-29T01:00:00Z")
    };
    length.map(|length| now_millis - length.abs() as i64).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Act, Actor};

    #[test]
    fn moments_are_lengths_of_time_or_times() {
        let now = 1_800_000_000_000;
        assert_eq!(moment("7d", now).unwrap(), now - 7 * 86_400_000);
        assert_eq!(moment("90m", now).unwrap(), now - 90 * 60_000);
        assert_eq!(moment("1970-01-01T00:00:01Z", now).unwrap(), 1_000);
        assert!(moment("yesterday", now).unwrap_err().to_string().contains("`yesterday`"));
    }

    #[test]
    fn the_table_says_who_did_what() {
        let actor = Actor {
            user: "anna".into(),
            uid: 1000,
            host: "desk".into(),
            pid: 41,
            parent: "bash".into(),
            via: String::new(),
        };
        let by_night =
            Actor { via: "schedule t.nightly".into(), parent: "cupola daemon".into(), ..actor.clone() };
        let act = Act {
            actor,
            verb: "promote".into(),
            arguments: vec![
                "promote".into(),
                "--force".into(),
                "--reason".into(),
                "the judge was down".into(),
            ],
            run: None,
            result: "aligned-3 promoted".into(),
        };
        let nightly = Act {
            actor: by_night,
            verb: "apply".into(),
            arguments: vec!["apply".into(), "t.yaml".into()],
            run: Some("t-4".into()),
            result: "succeeded".into(),
        };
        let entries = [
            AuditEntry { seq: 7, at_millis: 0, act },
            AuditEntry { seq: 19, at_millis: 86_400_000, act: nightly },
        ];
        insta::assert_snapshot!(table(&entries));
    }
}
