//! What a response says, read from its bytes.

use serde_json::Value;

use crate::client::Outcome;

/// Whether a response is whole and says what it must, and a rejection is as OpenAI's clients read it.
pub(crate) fn judge(seen: std::io::Result<Vec<u8>>, expected: Option<&str>) -> Outcome {
    let seen = match seen {
        Ok(seen) => seen,
        Err(error) => return Outcome::Wrong(error.to_string()),
    };
    let text = String::from_utf8_lossy(&seen);
    let status = text.split(' ').nth(1).and_then(|word| word.parse::<u16>().ok());
    let (Some(status), Some((head, body))) = (status, text.split_once("\r\n\r\n")) else {
        return Outcome::Wrong(format!("no response: {text:.200}"));
    };
    if status == 200 {
        return match (answer_of(&seen), expected) {
            (None, _) => Outcome::Wrong(format!("cut: {body:.300}")),
            (Some(answer), Some(expected)) if answer != expected => {
                Outcome::Wrong(format!("another answer: {answer:.200}, not {expected:.200}"))
            }
            _ => Outcome::Answered,
        };
    }
    let error = serde_json::from_str::<Value>(body).unwrap_or_default();
    let is_object = error["error"]["message"].is_string() && error["error"]["type"].is_string();
    let has_places = ["param", "code"].iter().all(|name| error["error"].get(name).is_some());
    // Who is told to come again is told when.
    let is_told_when = !matches!(status, 429 | 503) || seconds_to_wait(head).is_some_and(|secs| secs >= 1);
    if is_object && has_places && is_told_when {
        Outcome::Refused(status)
    } else {
        Outcome::Wrong(format!("no error object, or no time to wait: {text:.400}"))
    }
}

fn seconds_to_wait(head: &str) -> Option<u64> {
    head.lines().find_map(|line| line.strip_prefix("retry-after: ")?.trim().parse().ok())
}

/// The text of a whole answer and how it ended; none where a part is missing.
pub(crate) fn answer_of(seen: &[u8]) -> Option<String> {
    let at = seen.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (String::from_utf8_lossy(&seen[..at]), &seen[at + 4..]);
    if !head.contains("text/event-stream") {
        let answer: Value = serde_json::from_slice(body).ok()?;
        let choice = &answer["choices"][0];
        return Some(said(choice["message"]["content"].as_str()?, choice["finish_reason"].as_str()?));
    }
    let events = String::from_utf8(joined(body)?).ok()?;
    let (mut text, mut reason) = (String::new(), None);
    for event in events.strip_suffix("data: [DONE]\n\n")?.split_terminator("\n\n") {
        let chunk: Value = serde_json::from_str(event.strip_prefix("data: ")?).ok()?;
        let choice = &chunk["choices"][0];
        text.push_str(choice["delta"]["content"].as_str().unwrap_or(""));
        reason = choice["finish_reason"].as_str().map(str::to_owned).or(reason);
    }
    Some(said(&text, &reason?))
}

fn said(text: &str, reason: &str) -> String {
    format!("{reason}: {text}")
}

/// The bytes of a body in chunks; none where the last one is missing.
fn joined(mut body: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    loop {
        let line = body.windows(2).position(|two| two == b"\r\n")?;
        let length = usize::from_str_radix(std::str::from_utf8(&body[..line]).ok()?, 16).ok()?;
        let chunk = body.get(line + 2..line + 2 + length)?;
        bytes.extend_from_slice(chunk);
        body = body.get(line + 2 + length..)?.strip_prefix(b"\r\n")?;
        if length == 0 {
            return body.is_empty().then_some(bytes);
        }
    }
}
