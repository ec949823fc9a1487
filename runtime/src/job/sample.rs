//! A job file for tests.

use std::collections::BTreeMap;
use std::path::Path;

use cupola_specs::contract::{JobFile, TelemetryTargets};
use cupola_specs::job::{Device, ParallelParams, Recompute, StepParams, TokensParams};

/// The job of an attempt whose files are all in one folder, on one thread of the CPU.
pub(crate) fn job_in(folder: &Path) -> JobFile {
    JobFile {
        version: 1,
        run: "run".into(),
        step: "base".into(),
        token: "1.1".into(),
        fingerprint: String::new(),
        params: StepParams::Tokens(TokensParams {}),
        inputs: BTreeMap::new(),
        sources: folder.join("sources.jsonl"),
        staging: folder.join("staging"),
        checkpoints: folder.join("checkpoints"),
        events: folder.join("events.jsonl"),
        seed: 1,
        device: Device::Cpu,
        deterministic: true,
        threads: 1,
        parallel: ParallelParams::ALONE,
        recompute: Recompute::None,
        micro_batch_halvings: 0,
        telemetry: TelemetryTargets::default(),
    }
}
