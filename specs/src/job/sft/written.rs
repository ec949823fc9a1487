//! `kind: sft` as the user writes it.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::TrainOn;
use crate::job::Recompute;
use crate::job::lora::written::LoraWritten;
use crate::job::pretrain::optimizer_written::OptimizerWritten;
use crate::job::pretrain::written::{BatchWritten, CheckpointWritten, ParallelWritten, RowLengthWritten};
use crate::spec::decode::{At, Decode, wrong_type};
use crate::spec::list::Filled;
use crate::spec::reference::{FilePath, Ref, is_path};
use crate::spec::session::Session;
use crate::spec::tree::{Node, Value};
use crate::spec::units::Share;
use crate::spec::written::written;

written! {
    /// Fine-tunes a model on chats.
    pub(crate) struct SftJob {
        /// The model to start from.
        model: Ref,
        /// Chats: `corpus.pairs`, {format: chat_jsonl, paths: […]}.
        data: Filled<At<SftDataWritten>>,
        /// The chat template by name.
        template: TemplateWritten = "chatml",
        /// Which tokens carry loss.
        train_on: TrainOn = "assistant",
        /// Passes over the data.
        epochs: f64 = "3"; 0.001 ..= 1000.0,
        /// Share of the chats held out where the data has no held-out part of its own.
        validation: Share = "5%"; 0.0 ..= 0.5,
        /// Row length; chats are packed best-fit. Default: the positions of the model.
        context: Option<At<RowLengthWritten>>,
        /// Optimisers.
        optimizer: OptimizerWritten = "{}",
        /// Batch sizes.
        batch: BatchWritten = "{}",
        /// Ranks.
        parallel: ParallelWritten = "{}",
        /// What the backward pass computes again instead of keeping it: none, or blocks (the inside of each layer), which takes about a third
        /// more time and far less memory. Not in the fingerprint: the result is the same to the bit.
        recompute: Recompute = "none",
        /// When states are saved.
        checkpoint: CheckpointWritten = "{}",
        /// Low-rank adapters in place of full fine-tuning. Default: null, every weight trains.
        lora: Option<LoraWritten>,
    }

    /// Files of chats.
    pub(crate) struct ChatFilesWritten {
        /// How the files are read.
        format: ChatFormat = "chat_jsonl",
        /// Files or globs, one chat a line: {messages: [{role, content}, …]} or {prompt, answer}.
        paths: Filled<At<FilePath>>,
    }

    /// Chats written by a teacher model.
    pub(crate) struct SynthesizeJob {
        /// How they are made.
        synthesize: SynthesizeWritten,
    }

    /// How a teacher writes chats.
    pub(crate) struct SynthesizeWritten {
        /// File of seed tasks.
        seeds: FilePath,
        /// A judge by name.
        teacher: String,
        /// Chats.
        count: u64,
    }
}

/// One source of chats.
#[derive(Debug, Clone)]
pub(crate) enum SftDataWritten {
    /// A part of a corpus.
    Part(Ref),
    /// Files.
    Files(Vec<At<FilePath>>),
    /// A teacher.
    Synthesize,
}

impl Decode for SftDataWritten {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        match &node.value {
            Value::Map(_) if node.get("synthesize").is_some() => {
                SynthesizeJob::decode(node, session).map(|_| Self::Synthesize)
            }
            Value::Map(_)
                if node.get("format").is_some()
                    || node.get("path").is_none() && node.get("huggingface").is_none() =>
            {
                ChatFilesWritten::decode(node, session).map(|files| Self::Files(files.paths.0))
            }
            Value::Scalar { text, .. } if is_path(text) => {
                if let Some(error) = wrong_type(node, "a part of a corpus, or files of chats", session) {
                    error.message = format!("`{text}` is a path, and no part of a corpus");
                    error.suggestion = Some(format!("{{paths: [{text}]}}"));
                }
                None
            }
            _ => Ref::decode(node, session).map(Self::Part),
        }
    }
}

impl JsonSchema for SftDataWritten {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SftData".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A part of a corpus, files of chats, or a teacher.",
            "anyOf": [
                generator.subschema_for::<Ref>(),
                generator.subschema_for::<ChatFilesWritten>(),
                generator.subschema_for::<SynthesizeJob>(),
            ],
            "examples": ["corpus.pairs"],
        })
    }
}

/// Formats of chat files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ChatFormat {
    /// One chat a line.
    ChatJsonl,
}

/// Chat templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum TemplateWritten {
    /// `<|im_start|>role … <|im_end|>`.
    Chatml,
}

crate::spec::decode::words!(ChatFormat, TemplateWritten);
