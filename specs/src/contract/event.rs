//! The event stream: what a worker says while it runs.

use serde::{Deserialize, Serialize};

/// One line of `events.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Milliseconds since the Unix epoch.
    pub at_millis: i64,
    /// What happened.
    #[serde(flatten)]
    pub body: EventBody,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum EventBody {
    /// The first line: the worker runs.
    Started {
        /// The attempt token.
        token: String,
        /// The worker's process id.
        pid: u32,
        /// Version of the binary.
        version: String,
    },
    /// How far the step is.
    Progress {
        /// Units done.
        done: f64,
        /// Units in all.
        total: f64,
        /// The unit: `tokens`, `documents`, `files`, `runs`, `pairs`, `questions`.
        unit: String,
        /// What the step is doing now (`read`, `dedup`, `train`, `evaluate`).
        stage: String,
    },
    /// One number of a curve.
    Metric {
        /// `loss`, `lr`, `grad_norm`, `tokens_per_sec`, `mfu`, `validation_loss`, `validation_bpb`, `reward`, `kl`, `accuracy`, …
        name: String,
        /// Where on the x axis: optimiser step (or rollout, or document).
        step: u64,
        /// The value; a NaN is written as null and reads as NaN.
        #[serde(with = "nan_as_null")]
        value: f64,
    },
    /// A line for people.
    Log {
        /// The line.
        message: String,
    },
    /// A state was saved and is durable.
    Checkpoint(CheckpointRecord),
    /// A text that the model wrote.
    Sample {
        /// Optimiser step.
        step: u64,
        /// What it was given.
        prompt: String,
        /// What it wrote.
        text: String,
    },
    /// Something that a user should know and that did not stop the step.
    Warning {
        /// A stable short name: `micro_batch_without_loss`, `spike`, …
        code: String,
        /// What happened and what was done about it.
        message: String,
    },
    /// The last line of a step that succeeded: staging is complete and fsynced.
    Finished {
        /// Facts for the manifest and for `describe`: small, flat.
        summary: serde_json::Map<String, serde_json::Value>,
    },
    /// The last line of a step that failed.
    Failed(Failure),
}

/// A durable training state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CheckpointRecord {
    /// Optimiser step.
    pub step: u64,
    /// Position in the seeded data order, rows.
    pub data_cursor: u64,
    /// The step's seed. Every random number follows from it, a purpose and a place: there is no other random state.
    #[serde(default)]
    pub seed: u64,
    /// The files below the checkpoint folder, one for each rank that wrote.
    #[serde(default)]
    pub shards: Vec<StateShard>,
    /// Length of all files.
    pub size_bytes: u64,
    /// Whether it is kept as one of the best.
    #[serde(default)]
    pub best: bool,
}

/// One file of a training state: tensors by name, each of them whole or the part that one rank holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct StateShard {
    /// The file below the checkpoint folder.
    pub file: String,
    /// blake3 of the file, as hex.
    pub blake3: String,
    /// Its length.
    pub size_bytes: u64,
}

/// Why a step failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Failure {
    /// What to do about it.
    pub class: ErrorClass,
    /// A stable short name: `source_changed`, `nan_loss`, `out_of_memory`, `panic`, …
    pub code: String,
    /// What, where, expected and got.
    pub message: String,
    /// What the user can do; empty where nothing helps.
    pub hint: String,
}

impl Failure {
    /// The code of a step that ran out of memory.
    pub const OUT_OF_MEMORY: &'static str = "out_of_memory";
    /// The code of a training step that goes back to before a setback.
    pub const WENT_BACK: &'static str = "went_back";
    /// The code of a step that lost one of its ranks.
    pub const RANK_LOST: &'static str = "rank_lost";
    /// The code of a rank other than the first whose part is done.
    pub const PART_DONE: &'static str = "part_done";
    /// The code of a step that was asked to stop.
    pub const CANCELLED: &'static str = "cancelled";
    /// The code of a step that ran out of disk.
    pub const STORAGE_FULL: &'static str = "storage_full";

    /// Whether another attempt with less memory may do: without a smaller micro-batch the class is the user's.
    pub fn is_out_of_memory(&self) -> bool {
        self.class == ErrorClass::Transient && self.code == Self::OUT_OF_MEMORY
    }

    /// Whether the step went back on purpose, as often as it may.
    pub fn is_return(&self) -> bool {
        self.class == ErrorClass::Transient && self.code == Self::WENT_BACK
    }

    /// Whether another attempt may do once there is room on the disk.
    pub fn is_storage_full(&self) -> bool {
        self.class == ErrorClass::Transient && self.code == Self::STORAGE_FULL
    }
}

/// What to do about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ErrorClass {
    /// The input is wrong: exit 2, no retry.
    User,
    /// The world was in the way: retry with back-off.
    Transient,
    /// The code is wrong: stop and keep the logs.
    Bug,
}

/// JSON has no NaN: written as null, read back as NaN.
pub(crate) mod nan_as_null {
    use serde::{Deserialize, Deserializer, Serializer};

    #[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde calls")]
    pub(crate) fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.serialize_none() }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        Ok(Option::<f64>::deserialize(deserializer)?.unwrap_or(f64::NAN))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_an_earlier_version_is_one_without_files() {
        let old = r#"{"step":4,"data_cursor":16,"file":"step-4.safetensors","blake3":"00","size_bytes":9}"#;
        let record: CheckpointRecord = serde_json::from_str(old).unwrap();
        assert_eq!((record.step, record.size_bytes, record.shards.len(), record.best), (4, 9, 0, false));
    }

    #[test]
    fn an_event_is_one_flat_object_and_a_nan_survives() {
        let event =
            Event { at_millis: 5, body: EventBody::Metric { name: "loss".into(), step: 3, value: f64::NAN } };
        let line = serde_json::to_string(&event).unwrap();
        assert_eq!(line, r#"{"at_millis":5,"event":"metric","name":"loss","step":3,"value":null}"#);
        let back: Event = serde_json::from_str(&line).unwrap();
        assert!(matches!(back.body, EventBody::Metric { value, step: 3, .. } if value.is_nan()));
    }
}
