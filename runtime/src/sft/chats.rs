//! Chats from the pairs of a corpus or from files, and their encoding. A chat that does not fit a row is left out whole and
//! counted: nothing is ever cut.

use cupola_specs::artifact::{ChatMessage, CorpusPair};
use cupola_specs::job::TrainOn;
use serde::Deserialize;

use super::SftError;
use crate::data::pairs::read_pairs;
use crate::job::StepContext;
use crate::tokenizer::{EncodedChat, Tokenizer};

/// One chat with a name for messages to people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chat {
    /// Id of the pair, or `file:line`.
    pub name: String,
    /// Its turns.
    pub messages: Vec<ChatMessage>,
}

/// A line of a chat file: turns, or a prompt with its answer.
#[derive(Deserialize)]
#[serde(untagged)]
enum ChatLine {
    Turns(TurnsLine),
    Answer(AnswerLine),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TurnsLine {
    messages: Vec<ChatMessage>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnswerLine {
    prompt: String,
    answer: String,
}

/// Encoded chats that fit a row, and how many did not.
#[derive(Debug, Clone, Default)]
pub struct EncodedChats {
    /// The chats, in order.
    pub chats: Vec<EncodedChat>,
    /// Index of each in what was given.
    pub kept: Vec<usize>,
    /// Chats longer than a row.
    pub too_long: usize,
}

impl Chat {
    /// A user's turn and the answer to it.
    pub fn of_answer(name: &str, prompt: &str, answer: &str) -> Self {
        Self { name: name.to_owned(), messages: vec![message("user", prompt), message("assistant", answer)] }
    }

    /// A pair of a corpus as a chat.
    pub fn of_pair(pair: &CorpusPair) -> Self {
        Self::of_answer(&pair.id, &pair.prompt, &pair.answer)
    }
}

/// A message of a role.
pub fn message(role: &str, content: &str) -> ChatMessage {
    ChatMessage::new(role, content)
}

/// Reads the chats of a part of the corpus in `role`, or, where `part` is empty, of the files labelled `role`.
pub fn read_chats(ctx: &StepContext, role: &str, part: &str) -> Result<Vec<Chat>, SftError> {
    if !part.is_empty() {
        let pairs = read_pairs(&ctx.input(role)?.path, part)?;
        return Ok(pairs.iter().map(Chat::of_pair).collect());
    }
    let mut chats = Vec::new();
    for file in ctx.sources(role)? {
        chats.extend(parse_chats(&file.name, &ctx.read_source(&file)?)?);
    }
    Ok(chats)
}

/// Parses a chat file: one `{"messages": […]}` or `{"prompt": …, "answer": …}` a line.
pub(super) fn parse_chats(file: &str, content: &[u8]) -> Result<Vec<Chat>, SftError> {
    let wrong = |line: usize, message: String| SftError::Line { file: file.to_owned(), line, message };
    let text = std::str::from_utf8(content).map_err(|error| {
        let line = content[..error.valid_up_to()].split(|byte| *byte == b'\n').count();
        wrong(line, "not UTF-8".into())
    })?;
    let mut chats = Vec::new();
    for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let messages = parse_line(line).map_err(|message| wrong(index + 1, message))?;
        check_turns(&messages).map_err(|message| wrong(index + 1, message))?;
        chats.push(Chat { name: format!("{file}:{}", index + 1), messages });
    }
    Ok(chats)
}

fn parse_line(line: &str) -> Result<Vec<ChatMessage>, String> {
    let line: serde_json::Value = serde_json::from_str(line).map_err(|error| error.to_string())?;
    match serde_json::from_value(line) {
        Ok(ChatLine::Turns(turns)) => Ok(turns.messages),
        Ok(ChatLine::Answer(line)) => {
            Ok(vec![message("user", &line.prompt), message("assistant", &line.answer)])
        }
        Err(_) => Err("expected {messages: [{role, content}, …]} or {prompt, answer}".into()),
    }
}

/// What a chat that trains an assistant must be.
fn check_turns(messages: &[ChatMessage]) -> Result<(), String> {
    for (index, message) in messages.iter().enumerate() {
        if !["system", "user", "assistant"].contains(&message.role.as_str()) {
            return Err(format!(
                "messages[{index}].role: expected system, user or assistant, got {:?}",
                message.role
            ));
        }
        if !message.tool_calls.is_empty() || message.tool_call_id.is_some() || message.name.is_some() {
            return Err(format!(
                "messages[{index}]: calls of tools are not trained on: leave tool_calls, tool_call_id and name out"
            ));
        }
        if message.content.is_empty() {
            return Err(format!("messages[{index}].content: expected text, got nothing"));
        }
    }
    match messages.last() {
        Some(last) if last.role == "assistant" => Ok(()),
        Some(last) => Err(format!("messages: expected the last role to be assistant, got {:?}", last.role)),
        None => Err("messages: expected at least one, got none".into()),
    }
}

/// Encodes chats with the tokenizer's template; those longer than `row_tokens` are left out and counted.
pub fn encode_chats(
    tokenizer: &Tokenizer,
    chats: &[Chat],
    train_on: TrainOn,
    row_tokens: usize,
) -> Result<EncodedChats, SftError> {
    let mut encoded = EncodedChats::default();
    for (index, chat) in chats.iter().enumerate() {
        let ids = tokenizer.chat().encode_chat(tokenizer, &chat.messages, train_on)?;
        if ids.ids.len() > row_tokens {
            encoded.too_long += 1;
        } else {
            encoded.chats.push(ids);
            encoded.kept.push(index);
        }
    }
    Ok(encoded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_line_is_named_with_what_was_expected() {
        let good = r#"{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}"#;
        let short = r#"{"prompt":"a","answer":"b"}"#;
        let chats = parse_chats("c.jsonl", format!("{good}\n\n{short}\n").as_bytes()).unwrap();
        assert_eq!(chats[0].messages, chats[1].messages);
        assert_eq!(chats[1].name, "c.jsonl:3");
        for (bad, needle) in [
            (r#"{"messages":[{"role":"bot","content":"a"}]}"#, "role"),
            (r#"{"messages":[{"role":"user","content":"a"}]}"#, "last role"),
            (r#"{"messages":[]}"#, "at least one"),
            (r#"{"message":[]}"#, "expected {messages"),
            (r#"{"prompt":"a","#, "EOF"),
            (r#"{"messages":[{"role":"assistant","content":""}]}"#, "got nothing"),
        ] {
            let error = parse_chats("c.jsonl", format!("{good}\n{bad}").as_bytes()).unwrap_err().to_string();
            assert!(error.starts_with("c.jsonl:2: ") && error.contains(needle), "{error}");
        }
        let error = parse_chats("c.jsonl", b"\n\xff").unwrap_err().to_string();
        assert!(error.starts_with("c.jsonl:2: not UTF-8"), "{error}");
    }
}
