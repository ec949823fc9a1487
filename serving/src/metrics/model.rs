//! The numbers of one model name. Two engines may count for it at once, while one takes over from the other.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use cupola_runtime::generate::EngineStats;

use super::histogram::Histogram;
use super::slot_time::SlotTime;

/// Why an answer ended, in the words of vLLM's `finished_reason`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Finish {
    /// A stop token or a stop string.
    Stop,
    /// Its limit.
    Length,
    /// Its prompt or its text was refused.
    ContentFilter,
    /// The client went, time was up, or it failed.
    Abort,
}

/// The words of [`Finish`], in its order.
pub(super) const FINISHES: [&str; 4] = ["stop", "length", "content_filter", "abort"];

impl Finish {
    /// The words of a set of them, a bit for each in their order.
    pub(crate) fn words(set: u16) -> Vec<&'static str> {
        let is_in = |at: &usize| set & (1 << at) != 0;
        (0..FINISHES.len()).filter(is_in).map(|at| FINISHES[at]).collect()
    }
}

/// What one answer took.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AnswerFacts {
    /// Tokens of its prompt.
    pub(crate) prompt_tokens: u64,
    /// New tokens.
    pub(crate) generated_tokens: u64,
    /// From admission to the first token; none where there was none.
    pub(crate) first_token: Option<Duration>,
    /// From admission to the end.
    pub(crate) whole: Duration,
    /// Why it ended.
    pub(crate) finish: Finish,
}

/// Numbers of one model name.
#[derive(Debug, Default)]
pub(crate) struct ModelMetrics {
    pub(super) running: AtomicUsize,
    pub(super) waiting: AtomicUsize,
    pub(super) blocks_used: AtomicUsize,
    pub(super) blocks: AtomicUsize,
    pub(super) cache_queries: AtomicU64,
    pub(super) cache_hits: AtomicU64,
    pub(super) preemptions: AtomicU64,
    pub(super) drafted: AtomicU64,
    pub(super) accepted: AtomicU64,
    pub(super) prompt_tokens: AtomicU64,
    pub(super) generation_tokens: AtomicU64,
    pub(super) cancelled: AtomicU64,
    pub(super) finished: [AtomicU64; FINISHES.len()],
    pub(super) first_token: Histogram,
    pub(super) between_tokens: Histogram,
    pub(super) whole: Histogram,
    slots: SlotTime,
}

impl ModelMetrics {
    /// Counts an answer that ended, however it ended.
    pub(crate) fn count_answer(&self, answer: &AnswerFacts) {
        self.prompt_tokens.fetch_add(answer.prompt_tokens, Ordering::Relaxed);
        self.generation_tokens.fetch_add(answer.generated_tokens, Ordering::Relaxed);
        self.finished[answer.finish as usize].fetch_add(1, Ordering::Relaxed);
        self.whole.observe(answer.whole);
        if let Some(first) = answer.first_token {
            self.slots.count_answer();
            self.first_token.observe(first);
        }
    }

    /// Counts the time between two tokens of an answer.
    pub(crate) fn count_token(&self, since_last: Duration) {
        self.between_tokens.observe(since_last);
    }

    /// Counts the tokens of texts that became vectors.
    pub(crate) fn count_prompt_tokens(&self, tokens: u64) {
        self.prompt_tokens.fetch_add(tokens, Ordering::Relaxed);
    }

    /// Counts an answer whose client was gone.
    pub(crate) fn count_cancelled(&self) {
        self.cancelled.fetch_add(1, Ordering::Relaxed);
    }

    /// Mean seconds that recent answers held a slot; none before the first ended.
    pub(crate) fn mean_slot_secs(&self) -> Option<f64> {
        self.slots.mean_secs()
    }
}

/// Carries an engine's numbers into those of its model: what changed since the last step. What the engine held is taken back when it goes.
#[derive(Debug)]
pub(crate) struct EngineMeter {
    model: Arc<ModelMetrics>,
    engines: Arc<AtomicUsize>,
    last: EngineStats,
    load: (usize, usize),
    at: Instant,
}

impl EngineMeter {
    /// The meter of an engine, which counts as one that holds memory from now on.
    pub(crate) fn new(model: Arc<ModelMetrics>, engines: Arc<AtomicUsize>, stats: EngineStats) -> Self {
        engines.fetch_add(1, Ordering::Relaxed);
        // What the engine counted before it served, its seal's prompts, is nobody's.
        let last = EngineStats { blocks: EngineStats::default().blocks, ..stats };
        let mut meter = Self { model, engines, last, load: (0, 0), at: Instant::now() };
        meter.update((0, 0), stats);
        meter
    }

    /// The model's numbers.
    pub(crate) fn model(&self) -> &ModelMetrics {
        &self.model
    }

    /// The idle time ends here: no slot was held in it.
    pub(crate) fn wake(&mut self) {
        self.at = Instant::now();
    }

    /// Called after each step, with who runs and who waits: who runs now or ran before held a slot in it.
    pub(crate) fn update(&mut self, load: (usize, usize), stats: EngineStats) {
        let (model, last, now) = (&self.model, &self.last, Instant::now());
        model.slots.add(load.0.max(self.load.0), now.saturating_duration_since(self.at));
        move_gauge(&model.running, self.load.0, load.0);
        move_gauge(&model.waiting, self.load.1, load.1);
        move_gauge(&model.blocks_used, last.blocks.used, stats.blocks.used);
        move_gauge(&model.blocks, last.blocks.total, stats.blocks.total);
        for (counter, before, after) in [
            (&model.cache_queries, last.prompt_tokens, stats.prompt_tokens),
            (&model.cache_hits, last.prefix_hit_tokens, stats.prefix_hit_tokens),
            (&model.preemptions, last.preemptions, stats.preemptions),
            (&model.drafted, last.drafted_tokens, stats.drafted_tokens),
            (&model.accepted, last.accepted_tokens, stats.accepted_tokens),
        ] {
            counter.fetch_add(after - before, Ordering::Relaxed);
        }
        (self.last, self.load, self.at) = (stats, load, now);
    }
}

impl Drop for EngineMeter {
    fn drop(&mut self) {
        let stats = EngineStats { blocks: EngineStats::default().blocks, ..self.last };
        self.update((0, 0), stats);
        self.engines.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Moves a sum over several engines by what one of them changed.
fn move_gauge(gauge: &AtomicUsize, before: usize, after: usize) {
    gauge.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
}

#[cfg(test)]
mod tests {
    use cupola_runtime::generate::BlockCounts;

    use super::*;

    #[test]
    fn two_engines_of_a_model_add_up_and_leave_nothing_behind() {
        let (model, engines) = (Arc::new(ModelMetrics::default()), Arc::new(AtomicUsize::new(0)));
        let stats = |used, prompt_tokens| EngineStats {
            blocks: BlockCounts { total: 10, used, cached: 0, free: 10 - used },
            prompt_tokens,
            ..EngineStats::default()
        };
        let meter =
            |seal_tokens| EngineMeter::new(Arc::clone(&model), Arc::clone(&engines), stats(0, seal_tokens));
        let (mut old, mut new) = (meter(7), meter(7));
        old.update((3, 1), stats(6, 107));
        new.update((2, 0), stats(2, 57));
        let gauges = || {
            [&model.running, &model.waiting, &model.blocks_used, &model.blocks, &engines]
                .map(|g| g.load(Ordering::Relaxed))
        };
        assert_eq!(gauges(), [5, 1, 8, 20, 2]);
        assert_eq!(model.cache_queries.load(Ordering::Relaxed), 150, "the seal's tokens are nobody's");
        drop(old);
        assert_eq!(gauges(), [2, 0, 2, 10, 1]);
        drop(new);
        assert_eq!(gauges(), [0; 5]);
        assert_eq!(model.cache_queries.load(Ordering::Relaxed), 150);
    }

    #[test]
    fn an_answers_time_in_its_slot_is_measured_without_idle_time() {
        let (model, engines) = (Arc::new(ModelMetrics::default()), Arc::new(AtomicUsize::new(0)));
        let mut meter = EngineMeter::new(Arc::clone(&model), engines, EngineStats::default());
        let pass = |millis| std::thread::sleep(Duration::from_millis(millis));
        let answer = AnswerFacts {
            prompt_tokens: 1,
            generated_tokens: 1,
            first_token: Some(Duration::ZERO),
            whole: Duration::from_mins(15),
            finish: Finish::Stop,
        };
        pass(1000);
        meter.wake();
        pass(40);
        meter.update((2, 0), EngineStats::default());
        pass(20);
        meter.update((0, 0), EngineStats::default());
        model.count_answer(&answer);
        model.count_answer(&answer);
        model.count_answer(&AnswerFacts { first_token: None, ..answer });
        // Two slots for 60 ms, one for each answer, the second weighing a little more.
        let mean = model.mean_slot_secs().unwrap();
        assert!((0.058..0.5).contains(&mean), "{mean}");
    }
}
