//! `kind: eval` as the user writes it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::Scoring;
use crate::spec::Code;
use crate::spec::decode::{At, Decode, wrong_type};
use crate::spec::list::Filled;
use crate::spec::reference::{FilePath, Ref, Rows};
use crate::spec::session::Session;
use crate::spec::tree::{Key, Node, Value};
use crate::spec::units::Bytes;
use crate::spec::written::written;

written! {
    /// Evaluates models: every number with its interval, in a report card.
    pub(crate) struct EvalJob {
        /// Models: names of jobs, or {name: …, path: DIR}.
        models: Filled<ModelEntry>,
        /// Suites in order.
        suites: Filled<SuiteWritten>,
        /// The corpus that trained the models, for contamination. Default: the one behind the first model.
        train: Option<Ref>,
    }

    /// A model folder with a name.
    pub(crate) struct NamedModel {
        /// Its name in the report. Default: the folder's name.
        name: Option<String>,
        /// Folder of an exported model, or of a Hugging Face model.
        path: Option<FilePath>,
        /// Model of the Hugging Face hub.
        huggingface: Option<String>,
    }

    /// Perplexity and bits per byte on held-out documents.
    pub(crate) struct PerplexityWritten {
        /// `corpus.validation`.
        on: At<Rows>,
        /// Most bytes read, spread over the documents; without it all are.
        max_bytes: Option<Bytes>,
    }

    /// Loss on the assistant's tokens of held-out chats.
    pub(crate) struct ChatLossWritten {
        /// `corpus.validation_pairs`, or files of chats.
        on: At<Rows>,
        /// Most chats; 0 takes all.
        limit: u64 = "0",
    }

    /// Multiple choice.
    pub(crate) struct MultipleChoiceWritten {
        /// `corpus.validation_pairs`: questions are made from pairs.
        on: Option<At<Rows>>,
        /// Files of {question, choices, answer}.
        paths: Option<At<Filled<At<FilePath>>>>,
        /// Choices a question, where questions are made from pairs.
        choices: u64 = "4"; 2 ..= 26,
        /// How a choice is scored; each gives a row.
        scoring: Filled<Scoring> = "[likelihood, normalized]",
        /// Examples before the question.
        shots: u64 = "0"; 0 ..= 100,
        /// Most questions; 0 takes all.
        limit: u64 = "0",
    }

    /// Open-ended tasks.
    pub(crate) struct GenerateWritten {
        /// The task.
        task: String,
        /// Files.
        paths: Vec<FilePath>,
    }

    /// Win rate of one model's answers over another's.
    pub(crate) struct JudgeSuiteWritten {
        /// The model under test.
        model: At<String>,
        /// What it is compared with.
        baseline: At<String>,
        /// `corpus.validation_pairs`, or files of {prompt, answer}.
        prompts: At<Rows>,
        /// reference (the answer nearer to the reference text), or a judge by name.
        judge: At<String> = "reference",
        /// Corrects for longer answers.
        length_control: bool = "false",
        /// Asks the judge in both orders.
        swap: bool = "false",
        /// Most prompts; 0 takes all.
        limit: u64 = "0",
        /// Sampling temperature.
        temperature: f64 = "0.7"; 0.0 ..= 2.0,
        /// Longest answer, tokens.
        max_new_tokens: u64 = "128"; 1 ..= 1_048_576,
    }

    /// Overlap of test texts with what trained the models.
    pub(crate) struct ContaminationWritten {
        /// A part of a corpus that is tested.
        on: Option<At<Rows>>,
        /// Files of tests.
        tests: Option<At<Filled<At<FilePath>>>>,
        /// Words in an n-gram.
        ngram: u64 = "13"; 1 ..= 100,
        /// How overlap is found.
        methods: Filled<ContaminationMethod> = "[ngram]",
    }
}

/// How overlap is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ContaminationMethod {
    /// Shared n-grams of words.
    Ngram,
    /// Whether a model prefers the tests' own order.
    Ordering,
}

crate::spec::decode::words!(ContaminationMethod);

/// A model of an eval job.
#[derive(Debug, Clone)]
pub(crate) struct ModelEntry {
    /// The name that the user gave it.
    pub(crate) name: Option<String>,
    /// The model.
    pub(crate) model: Ref,
}

impl Decode for ModelEntry {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        if !matches!(node.value, Value::Map(_)) {
            return Some(Self { name: None, model: Ref::decode(node, session)? });
        }
        let name = NamedModel::decode(node, session)?.name;
        let mut rest = node.clone();
        rest.remove("name");
        Some(Self { name, model: Ref::decode(&rest, session)? })
    }
}

impl JsonSchema for ModelEntry {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ModelEntry".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "The name of a job that makes a model, or {name: …, path: DIR}.",
            "anyOf": [{ "type": "string" }, generator.subschema_for::<NamedModel>()],
            "examples": ["base"],
        })
    }
}

/// One suite, `{suite: {field: value}}`.
#[derive(Debug, Clone)]
pub(crate) enum SuiteWritten {
    /// Perplexity.
    Perplexity(PerplexityWritten),
    /// Loss on chats.
    ChatLoss(ChatLossWritten),
    /// Multiple choice, with the place of its name.
    MultipleChoice(MultipleChoiceWritten, Key),
    /// Open-ended tasks.
    Generate,
    /// Win rate.
    Judge(JudgeSuiteWritten),
    /// Contamination, with the place of its name.
    Contamination(ContaminationWritten, Key),
}

/// The names of suites.
const SUITES: [&str; 6] =
    ["perplexity", "chat_loss", "multiple_choice", "generate", "judge", "contamination"];

impl Decode for SuiteWritten {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        let [(key, body)] = node.entries() else {
            let suites = SUITES.join(", ");
            let expected =
                format!("one suite such as {{perplexity: {{on: corpus.validation}}}}; suites: {suites}");
            let count = node.entries().len();
            if let (Some(error), 2..) = (wrong_type(node, &expected, session), count) {
                error.message = format!("this item names {count} suites");
            }
            return None;
        };
        match key.name.as_str() {
            "perplexity" => Decode::decode(body, session).map(Self::Perplexity),
            "chat_loss" => Decode::decode(body, session).map(Self::ChatLoss),
            "multiple_choice" => {
                Decode::decode(body, session).map(|suite| Self::MultipleChoice(suite, key.clone()))
            }
            "generate" => GenerateWritten::decode(body, session).map(|_| Self::Generate),
            "judge" => Decode::decode(body, session).map(Self::Judge),
            "contamination" => {
                Decode::decode(body, session).map(|suite| Self::Contamination(suite, key.clone()))
            }
            name => {
                session
                    .error(Code::UnknownWord, key.spot, format!("there is no suite `{name}`"))
                    .expecting(format!("one of {}", SUITES.join(", ")))
                    .suggesting(name, SUITES);
                None
            }
        }
    }
}

impl JsonSchema for SuiteWritten {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Suite".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "One suite by name.",
            "type": "object",
            "properties": {
                "perplexity": generator.subschema_for::<PerplexityWritten>(),
                "chat_loss": generator.subschema_for::<ChatLossWritten>(),
                "multiple_choice": generator.subschema_for::<MultipleChoiceWritten>(),
                "generate": generator.subschema_for::<GenerateWritten>(),
                "judge": generator.subschema_for::<JudgeSuiteWritten>(),
                "contamination": generator.subschema_for::<ContaminationWritten>(),
            },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        })
    }
}
