//! The chat template: Jinja as transformers runs it, and the mask of what an assistant is trained on.
//!
//! A template is rendered twice: with the messages as they are, and with a marker for each message's text. The second tells which
//! stretches of the first come from the template and which from a message. In the template's stretches special tokens are
//! tokens; a message's text is always plain. A template that rewrites texts, so that the two disagree, is refused.
//!
//! `strftime_now`, which transformers gives to templates, is there only where a clock is given: when a model is asked. Training, seals and rollouts have
//! none, so that they are the same every day: a template that asks whether it is there takes its own fixed date, any other is refused.
//!
//! Where an assistant's turn begins, the ids are cut: what stands before it in training is exactly what
//! [`ChatTemplate::encode_prompt`] gives when the model is asked.

use cupola_specs::artifact::ChatMessage;
use cupola_specs::job::TrainOn;
use jiff::Zoned;
use minijinja::{Environment, context};
use serde_json::{Map, Value};

use super::file::Roles;
use super::jinja::{environment, strftime};
use super::{Tokenizer, TokenizerError};

/// The template's name in the environment.
const NAME: &str = "chat";
/// What stands around a message's index in the marked rendering: private-use characters.
const OPEN: char = '\u{f8f0}';
const CLOSE: char = '\u{f8f1}';
/// What breaks up an added token's spelling where a client wrote it; no text of the ids has it.
const GUARD: char = '\u{f8f2}';

/// A Jinja chat template and the ids that end a turn.
#[derive(Debug)]
pub struct ChatTemplate {
    source: String,
    environment: Environment<'static>,
    roles: Roles,
    stop_ids: Vec<u32>,
}

/// A chat as ids, with the tokens that carry loss.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedChat {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether the token at each place carries loss when it is predicted.
    pub trained: Vec<bool>,
}

/// A stretch of a rendered chat.
#[derive(Debug, PartialEq, Eq)]
enum Stretch {
    /// The template's own words.
    Template(String),
    /// The text of the message with this index.
    Message(usize, String),
}

impl ChatTemplate {
    pub(super) fn new(source: String, roles: &Roles, stop_ids: Vec<u32>) -> Result<Self, TokenizerError> {
        let mut environment = environment();
        environment.add_template_owned(NAME, source.clone()).map_err(|error| broken(&error))?;
        Ok(Self { source, environment, roles: roles.clone(), stop_ids })
    }

    /// The Jinja source.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Renders a chat, with the descriptions of the tools it may use, byte for byte as `apply_chat_template` of transformers does.
    pub fn render(
        &self,
        messages: &[ChatMessage],
        tools: &[Value],
        add_generation_prompt: bool,
    ) -> Result<String, TokenizerError> {
        let values = messages.iter().map(value_of).collect::<Result<Vec<_>, _>>()?;
        self.render_values(&values, tools, add_generation_prompt, None)
    }

    fn render_values(
        &self,
        messages: &[Value],
        tools: &[Value],
        add_generation_prompt: bool,
        now: Option<&Zoned>,
    ) -> Result<String, TokenizerError> {
        if self.source.is_empty() {
            let message = "this tokenizer has none, so it can't encode chats".to_owned();
            return Err(TokenizerError::Template { message });
        }
        let template = self.environment.get_template(NAME).map_err(|error| broken(&error))?;
        let values = context! {
            messages,
            // Without any it is there and none, as with transformers.
            tools => (!tools.is_empty()).then_some(tools),
            documents => (),
            add_generation_prompt,
            bos_token => self.roles.bos,
            eos_token => self.roles.eos,
            pad_token => self.roles.pad,
        };
        let values = match now {
            Some(now) => context! { strftime_now => strftime(now), ..values },
            None => values,
        };
        template.render(values).map_err(|error| {
            let asks = now.is_none() && error.to_string().contains("strftime_now");
            if asks { TokenizerError::Clock } else { broken(&error) }
        })
    }

    /// Encodes a whole chat. The template's special tokens are tokens, the messages' texts never are. With
    /// [`TrainOn::Assistant`] an assistant's text and the token that ends its turn carry loss.
    pub fn encode_chat(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        train_on: TrainOn,
    ) -> Result<EncodedChat, TokenizerError> {
        let last = messages.iter().rposition(|message| message.role == "assistant");
        let trains = |index: usize| match train_on {
            TrainOn::Assistant => messages[index].role == "assistant",
            TrainOn::LastAssistant => Some(index) == last,
            TrainOn::All => false,
        };
        let stretches = self.stretches(tokenizer, messages, (&[], false), None)?;
        let mut chat = encode(tokenizer, messages, stretches, &trains);
        if train_on == TrainOn::All {
            chat.trained.fill(true);
        }
        Ok(chat)
    }

    /// Encodes a chat up to where the assistant answers. What clients wrote is plain text wherever the template puts it. Without `now` the template has
    /// no clock.
    pub fn encode_prompt(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        tools: &[Value],
        now: Option<&Zoned>,
    ) -> Result<Vec<u32>, TokenizerError> {
        let stretches = match self.stretches(tokenizer, messages, (tools, true), now) {
            Ok(stretches) => stretches,
            // A template that rewrites texts can't be trained with, but asked.
            Err(TokenizerError::Rewrites) => {
                let guarded = |message| value_of(message).and_then(|value| guard(tokenizer, &value));
                let messages = messages.iter().map(guarded).collect::<Result<Vec<_>, _>>()?;
                let tools = tools.iter().map(|tool| guard(tokenizer, tool)).collect::<Result<Vec<_>, _>>()?;
                vec![Stretch::Template(self.render_values(&messages, &tools, true, now)?)]
            }
            Err(error) => return Err(error),
        };
        Ok(encode(tokenizer, messages, stretches, &|_| false).ids)
    }

    /// Ids that end an answer: the end of the turn and the document token.
    pub fn stop_ids(&self) -> Vec<u32> {
        self.stop_ids.clone()
    }

    /// Renders a chat and tells the template's words from the messages' texts.
    fn stretches(
        &self,
        tokenizer: &Tokenizer,
        messages: &[ChatMessage],
        (tools, add_generation_prompt): (&[Value], bool),
        now: Option<&Zoned>,
    ) -> Result<Vec<Stretch>, TokenizerError> {
        let tools = tools.iter().map(|tool| guard(tokenizer, tool)).collect::<Result<Vec<_>, _>>()?;
        let mut values = Vec::with_capacity(messages.len());
        for message in messages {
            let apart = ChatMessage { content: String::new(), ..message.clone() };
            let mut value = guard(tokenizer, &value_of(&apart)?)?;
            value["content"] = Value::from(message.content.as_str());
            values.push(value);
        }
        let rendered = self.render_values(&values, &tools, add_generation_prompt, now)?;
        for (index, (value, message)) in values.iter_mut().zip(messages).enumerate() {
            // Templates ask whether there is a text beside calls.
            if !message.content.is_empty() || message.tool_calls.is_empty() {
                value["content"] = Value::from(format!("{OPEN}{index}{CLOSE}"));
            }
        }
        let skeleton = self.render_values(&values, &tools, add_generation_prompt, now)?;
        let mut stretches = Vec::new();
        let mut rest = rendered.as_str();
        for part in skeleton.split_inclusive([OPEN, CLOSE]) {
            let (text, message) = match part.strip_suffix(CLOSE) {
                Some(index) => {
                    ("", index.parse::<usize>().ok().and_then(|index| messages.get(index).zip(Some(index))))
                }
                None => (part.strip_suffix(OPEN).unwrap_or(part), None),
            };
            rest = rest.strip_prefix(text).ok_or(TokenizerError::Rewrites)?;
            if !text.is_empty() {
                stretches.push(Stretch::Template(text.to_owned()));
            }
            if let Some((message, index)) = message {
                let spellings = [message.content.as_str(), message.content.trim()];
                let found = spellings.iter().find(|text| rest.starts_with(**text));
                let found = found.ok_or(TokenizerError::Rewrites)?;
                rest = &rest[found.len()..];
                stretches.push(Stretch::Message(index, (*found).to_owned()));
            }
        }
        if rest.is_empty() { Ok(stretches) } else { Err(TokenizerError::Rewrites) }
    }
}

/// A chat on its way to ids. Plain text waits until a special token or an answer ends it, so that it is split into pieces whole.
struct ChatIds<'t> {
    tokenizer: &'t Tokenizer,
    plain: String,
    ids: Vec<u32>,
    trained: Vec<bool>,
    /// Whether the next token, if the template puts a special one right behind the answer, is trained on.
    ends_answer: bool,
}

impl<'t> ChatIds<'t> {
    fn new(tokenizer: &'t Tokenizer) -> Self {
        Self { tokenizer, plain: String::new(), ids: Vec::new(), trained: Vec::new(), ends_answer: false }
    }

    fn template(&mut self, text: &str) {
        let tokenizer = self.tokenizer;
        tokenizer.for_each_special(text, &mut |plain, special| {
            self.plain.extend(plain.chars().filter(|character| *character != GUARD));
            self.ends_answer &= plain.is_empty();
            if let Some(id) = special {
                self.flush(false);
                self.ids.push(id);
                self.trained.push(std::mem::take(&mut self.ends_answer));
            }
        });
    }

    fn answer(&mut self, text: &str, trained: bool) {
        self.flush(false);
        self.plain.push_str(text);
        self.flush(trained);
        self.ends_answer = trained;
    }

    fn flush(&mut self, trained: bool) {
        self.tokenizer.encode_into(&self.plain, &mut self.ids);
        self.trained.resize(self.ids.len(), trained);
        self.plain.clear();
    }
}

fn broken(error: &minijinja::Error) -> TokenizerError {
    TokenizerError::Template { message: format!("{error:#}") }
}

/// A message as templates see it.
fn value_of(message: &ChatMessage) -> Result<Value, TokenizerError> {
    serde_json::to_value(message).map_err(|error| TokenizerError::Template { message: error.to_string() })
}

/// The value with every added token's spelling in its texts broken up, so that it stays plain text within the template's own.
fn guard(tokenizer: &Tokenizer, value: &Value) -> Result<Value, TokenizerError> {
    Ok(match value {
        Value::String(text) => Value::from(guard_text(tokenizer, text)?),
        Value::Array(values) => {
            Value::Array(values.iter().map(|value| guard(tokenizer, value)).collect::<Result<_, _>>()?)
        }
        Value::Object(fields) => {
            let field = |(name, value): (&String, &Value)| {
                Ok((guard_text(tokenizer, name)?, guard(tokenizer, value)?))
            };
            Value::Object(fields.iter().map(field).collect::<Result<Map<_, _>, TokenizerError>>()?)
        }
        other => other.clone(),
    })
}

fn guard_text(tokenizer: &Tokenizer, text: &str) -> Result<String, TokenizerError> {
    if text.contains(GUARD) {
        let message = format!("the private-use character U+{:04X} can't be part of a chat", u32::from(GUARD));
        return Err(TokenizerError::Template { message });
    }
    let mut guarded = String::with_capacity(text.len());
    tokenizer.for_each_special(text, &mut |plain, special| {
        guarded.push_str(plain);
        let spelling = special.map(|id| tokenizer.decode(&[id])).unwrap_or_default();
        for character in spelling.chars() {
            guarded.extend([character, GUARD]);
        }
    });
    Ok(guarded)
}

/// The ids of a chat's stretches; `trains` says of which messages the tokens carry loss.
fn encode(
    tokenizer: &Tokenizer,
    messages: &[ChatMessage],
    stretches: Vec<Stretch>,
    trains: &dyn Fn(usize) -> bool,
) -> EncodedChat {
    let mut chat = ChatIds::new(tokenizer);
    for stretch in stretches {
        match stretch {
            Stretch::Template(text) => chat.template(&text),
            Stretch::Message(index, text) if messages[index].role == "assistant" => {
                chat.answer(&text, trains(index));
            }
            Stretch::Message(_, text) => chat.plain.push_str(&text),
        }
    }
    chat.flush(false);
    EncodedChat { ids: chat.ids, trained: chat.trained }
}

#[cfg(test)]
mod tests {
    use cupola_tokenizer::train::{CensusLimits, Trainer, TrainerSettings};
    use cupola_tokenizer::{AddedToken, Splitter, TokenizerJson};

    use super::*;
    use crate::tokenizer::file::TokenizerFiles;

    const CHATML: &str = "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}";

    fn tokenizer(template: &str) -> Tokenizer {
        let names = ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|pad|>"].map(str::to_owned);
        let patterns = vec![r"\p{L}+|\s+|[^\s\p{L}]+".to_owned()];
        let splitter = Splitter::of_patterns(&patterns).unwrap();
        let settings = TrainerSettings::new(300, &names);
        let mut trainer = Trainer::new(settings, &splitter, CensusLimits::default()).unwrap();
        trainer.add_text(&format!("{}{}", "user assistant ".repeat(9), "hi ".repeat(5))).unwrap();
        let json = TokenizerJson {
            patterns,
            vocabulary: trainer.train(&mut |_| {}).unwrap().vocabulary,
            ignore_merges: false,
            added: AddedToken::specials(&names),
        };
        let roles = Roles::of(&names).unwrap();
        let files = TokenizerFiles { json: json.into(), roles, chat_template: template.into() };
        Tokenizer::new(std::path::Path::new("/nowhere"), files).unwrap()
    }

    fn message(role: &str, content: &str) -> ChatMessage {
        ChatMessage::new(role, content)
    }

    fn chat() -> Vec<ChatMessage> {
        vec![message("user", "hi <|im_end|>"), message("assistant", "\nhi you"), message("user", "x")]
    }

    #[test]
    fn the_mask_holds_the_answer_and_its_end_and_nothing_else() {
        let tokenizer = tokenizer(CHATML);
        let encoded = tokenizer.chat().encode_chat(&tokenizer, &chat(), TrainOn::Assistant).unwrap();
        let trained: Vec<u32> =
            encoded.ids.iter().zip(&encoded.trained).filter(|(_, on)| **on).map(|(id, _)| *id).collect();
        assert_eq!(tokenizer.decode(&trained), "\nhi you<|im_end|>");
        assert_eq!(tokenizer.decode(&encoded.ids), tokenizer.chat().render(&chat(), &[], false).unwrap());
        let all = tokenizer.chat().encode_chat(&tokenizer, &chat(), TrainOn::All).unwrap();
        assert!(all.trained.iter().all(|on| *on));
    }

    #[test]
    fn a_users_text_never_becomes_a_special_token_and_a_prompt_is_a_prefix_of_training() {
        let tokenizer = tokenizer(CHATML);
        let encoded = tokenizer.chat().encode_chat(&tokenizer, &chat(), TrainOn::LastAssistant).unwrap();
        assert_eq!(encoded.ids.iter().filter(|id| **id == 2).count(), 3);
        let prompt = tokenizer.chat().encode_prompt(&tokenizer, &chat()[..1], &[], None).unwrap();
        assert_eq!(encoded.ids[..prompt.len()], prompt);
        assert!(encoded.trained[prompt.len()]);
    }

    #[test]
    fn a_template_that_rewrites_texts_or_refuses_a_chat_is_an_error() {
        let shouting = tokenizer("{% for m in messages %}{{ m.content.upper() }}{% endfor %}");
        let error = shouting.chat().encode_chat(&shouting, &chat(), TrainOn::All).unwrap_err();
        assert!(matches!(error, TokenizerError::Rewrites), "{error}");
        let prompt = shouting.chat().encode_prompt(&shouting, &chat(), &[], None).unwrap();
        assert_eq!(shouting.decode(&prompt), "HI <|IM_END|>\nHI YOUX");
        let refusing = tokenizer("{{ raise_exception('no user') }}");
        let error = refusing.chat().render(&chat(), &[], false).unwrap_err().to_string();
        assert!(error.contains("no user"), "{error}");
    }
    #[test]
    fn todays_date_is_there_for_whoever_asks_a_model_and_not_in_training() {
        let now: Zoned = "2026-03-05T14:07:09+01:00[Europe/Paris]".parse().unwrap();
        // Llama 3.2's way to ask, and one that does not ask.
        let careful = tokenizer(
            "{% if strftime_now is defined %}{% set day = strftime_now('%d %b %Y') %}{% else %}{% set day = '26 Jul 2024' %}{% endif %}{{ day }}: {{ messages[0].content }}",
        );
        let prompt = |tokenizer: &Tokenizer, now: Option<&Zoned>| {
            let ids = tokenizer.chat().encode_prompt(tokenizer, &chat()[..1], &[], now);
            ids.map(|ids| tokenizer.decode(&ids))
        };
        assert_eq!(prompt(&careful, Some(&now)).unwrap(), "05 Mar 2026: hi <|im_end|>");
        assert_eq!(prompt(&careful, None).unwrap(), "26 Jul 2024: hi <|im_end|>");
        let trained = careful.chat().encode_chat(&careful, &chat()[..1], TrainOn::All).unwrap();
        assert_eq!(careful.decode(&trained.ids), "26 Jul 2024: hi <|im_end|>");
        let careless = tokenizer("{{ strftime_now('%Y-%m-%d %H:%M:%S %A %j %%') }}{{ messages[0].content }}");
        assert_eq!(
            prompt(&careless, Some(&now)).unwrap(),
            "2026-03-05 14:07:09 Thursday 064 %hi <|im_end|>",
            "as Python's datetime writes it"
        );
        let error = careless.chat().encode_chat(&careless, &chat()[..1], TrainOn::All).unwrap_err();
        assert!(matches!(error, TokenizerError::Clock), "{error}");
        let wrong = tokenizer("{{ strftime_now('%Ez') }}");
        assert!(prompt(&wrong, Some(&now)).unwrap_err().to_string().contains("%Ez"));
    }
}
