//! The clock of a training loop: seconds of a step and of its parts, tokens a second, MFU, memory, and where the run stands in its data.
//!
//! MFU ("model FLOPs utilisation", PaLM, 2022, arXiv:2204.02311) is the FLOPs that a step's forward and backward passes need, by the model's
//! arithmetic alone, over its seconds and over the peak of the device. FLOPs of a token: 6 for each weight of a matrix product, the head
//! included and embeddings not, and 6 · layers · width · context for causal attention: half of PaLM's 12, since half of the scores are
//! masked. Recomputation, validation and checkpoints are no part of it.

use std::time::{Duration, Instant};

use cupola_kernels::cuda_memory;
use cupola_specs::job::Precision;
use tch::Device;

use super::memory::peak_rss_bytes;
use crate::job::StepContext;
use crate::train::Objective;

/// Shortest time between two reports of what changes slowly.
const SLOW: Duration = Duration::from_secs(2);

/// What an optimiser step takes, by the model's arithmetic.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepWork {
    /// FLOPs of its forward and backward passes.
    pub flops: f64,
    /// Number format of its matrix products.
    pub precision: Precision,
}

/// Where a run stands in its data.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct DataPosition {
    /// Rows of the data order read.
    pub rows: u64,
    /// Tokens in them; none where rows differ in length.
    pub tokens: Option<u64>,
    /// How often the run has gone through each domain, by name.
    pub epochs: Vec<(String, f64)>,
}

/// Seconds by part of a step.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Parts {
    data: f64,
    forward_backward: f64,
    optimizer: f64,
    checkpoint: f64,
}

/// Measures a training loop and says what it measured.
#[derive(Debug)]
pub struct StepMeter<'a> {
    ctx: &'a StepContext,
    /// FLOP/s; none until the first step that says what it takes.
    peak: Option<f64>,
    began: Instant,
    lap: Instant,
    /// Since the last report of what changes slowly.
    parts: Parts,
    num_steps: u64,
    reported: Option<Instant>,
}

impl<'a> StepMeter<'a> {
    /// Begins a training loop after `done` steps. A step that trains several times names each one's `series`.
    pub fn start(ctx: &'a StepContext, series: &str, done: u64) -> Self {
        ctx.events().begin_curves(series, done);
        let now = Instant::now();
        let parts = Parts::default();
        Self { ctx, peak: None, began: now, lap: now, parts, num_steps: 0, reported: None }
    }

    /// An optimiser step begins.
    pub fn begin_step(&mut self) {
        self.began = Instant::now();
        self.lap = self.began;
    }

    /// Forward and backward passes are done; `data_secs` of them went by until batches were there.
    pub fn passes_done(&mut self, data_secs: f64) {
        self.parts.data += data_secs;
        self.parts.forward_backward += (self.take_lap() - data_secs).max(0.0);
    }

    /// The weights have moved.
    pub fn update_done(&mut self) {
        self.parts.optimizer += self.take_lap();
    }

    /// Training waited for a checkpoint since `begin`.
    pub fn checkpoint_done(&mut self, begin: Instant) {
        self.parts.checkpoint += begin.elapsed().as_secs_f64();
    }

    /// An optimiser step is over, of `tokens` that carried loss. The last one says where all stands.
    pub fn end_step(&mut self, step: u64, tokens: u64, objective: &mut dyn Objective, is_last: bool) {
        let secs = self.began.elapsed().as_secs_f64();
        self.num_steps += 1;
        let events = self.ctx.events();
        events.metric("tokens_per_sec", step, tokens as f64 / secs);
        events.metric("step_secs", step, secs);
        if tokens > 0
            && let Some(work) = objective.work(step)
            && let Some(peak) = self.peak(work, tokens)
        {
            events.metric("mfu", step, mfu(work.flops, secs, peak));
        }
        if is_last || self.reported.is_none_or(|at| at.elapsed() >= SLOW) {
            self.report(step, &objective.data_position(step + 1));
        }
    }

    fn take_lap(&mut self) -> f64 {
        let secs = self.lap.elapsed().as_secs_f64();
        self.lap = Instant::now();
        secs
    }

    /// The peak of all ranks, which is looked up and told with the first step; none where it can't be measured.
    fn peak(&mut self, work: StepWork, tokens: u64) -> Option<f64> {
        if self.peak.is_none() {
            let ranks = self.ctx.place().world_size;
            let peak = self.ctx.peak(work.precision)?;
            let total = peak.flops * ranks as f64;
            let of = if ranks > 1 {
                format!("{ranks} ranks, each by {}", peak.source)
            } else {
                peak.source.clone()
            };
            self.ctx.events().log(format!(
                "mfu = FLOPs of a step / its seconds / peak: {:.4e} FLOPs ({:.4e} for each of {tokens} trained tokens: 6 for \
                 each weight of a product with the head, and 6 · layers · width · context of causal attention), peak {:.4e} \
                 FLOP/s ({of})",
                work.flops,
                work.flops / tokens as f64,
                total,
            ));
            self.peak = Some(total);
        }
        self.peak
    }

    /// What changes slowly; seconds are means over the steps since the last report, those of checkpoints their sum.
    fn report(&mut self, step: u64, position: &DataPosition) {
        let events = self.ctx.events();
        let (parts, steps) = (std::mem::take(&mut self.parts), self.num_steps.max(1) as f64);
        events.metric("data_secs", step, parts.data / steps);
        events.metric("forward_backward_secs", step, parts.forward_backward / steps);
        events.metric("optimizer_secs", step, parts.optimizer / steps);
        events.metric("checkpoint_secs", step, parts.checkpoint);
        if let Some(bytes) = peak_rss_bytes() {
            events.metric("peak_rss_bytes", step, bytes as f64);
        }
        if let Device::Cuda(index) = self.ctx.tensor_device()
            && let Ok(memory) = cuda_memory(index)
        {
            events.metric("device_reserved_bytes", step, memory.reserved_bytes as f64);
            events.metric("peak_device_allocated_bytes", step, memory.peak_allocated_bytes as f64);
        }
        events.metric("data_rows", step, position.rows as f64);
        if let Some(tokens) = position.tokens {
            events.metric("data_tokens", step, tokens as f64);
        }
        for (domain, epochs) in &position.epochs {
            let name =
                if domain.is_empty() { "data_epochs".to_owned() } else { format!("data_epochs.{domain}") };
            events.metric(&name, step, *epochs);
        }
        (self.num_steps, self.reported) = (0, Some(Instant::now()));
    }
}

/// Model FLOPs utilisation, from 0 to 1.
fn mfu(flops: f64, secs: f64, peak: f64) -> f64 {
    flops / secs / peak
}
