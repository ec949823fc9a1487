//! One optimiser step: its micro-batches, the judgement of what they gave, the update or what is done about a bad one.

use cupola_specs::artifact::BadStep;

use super::Run;
use crate::job::JobError;
use crate::train::TrainError;
use crate::train::gradients::{GROUP_STEPS, group_norms};
use crate::train::part::Part;
use crate::train::permutation::mix;
use crate::train::setback::{Bad, Trouble, Verdict};

/// Rows of a bad step that its record names.
const RECORDED_ROWS: usize = 256;
/// Rows of a bad step that its warning names.
const NAMED_ROWS: usize = 3;

/// What the micro-batches of a step gave.
struct Gradient {
    loss: f64,
    norm: f64,
    tokens: u64,
    metrics: Vec<(&'static str, f64)>,
    bad: Option<Bad>,
    data_secs: f64,
}

impl Run<'_> {
    /// One optimiser step, if it is one that is not left out. Returns the tokens that carried loss.
    pub(super) fn one_step(&mut self, step: u64) -> Result<u64, TrainError> {
        if self.setbacks.leaves_out(step) {
            return Ok(0);
        }
        let Gradient { loss, norm, tokens, mut metrics, bad, data_secs } = self.accumulate(step)?;
        self.meter.passes_done(data_secs);
        let events = self.ctx.events();
        if let Some(bad) = bad {
            self.optimizer.zero_grad();
            events.metric("loss", step, loss);
            self.give_way(step, bad)?;
            return Ok(0);
        }
        let plan = self.plan;
        self.setbacks.take_good(loss, plan.setbacks);
        if step.is_multiple_of(GROUP_STEPS) {
            for (group, norm) in group_norms(self.optimizer.parameters()) {
                events.metric(&format!("grad_norm.{group}"), step, norm);
            }
        }
        // As `torch.nn.utils.clip_grad_norm_` has it.
        let scale = if plan.grad_clip > 0.0 { (plan.grad_clip / (norm + 1e-6)).min(1.0) } else { 1.0 };
        let pace = plan.optimizer.pace(step, plan.steps, plan.schedule.factor(step));
        self.shares.step(&mut self.optimizer, (pace, scale))?;
        self.meter.update_done();
        metrics.extend([("loss", loss), ("grad_norm", norm), ("lr", plan.optimizer.lr * pace.lr)]);
        let stride = (plan.steps / 500).max(1);
        for (name, value) in metrics {
            events.metric(name, step, value);
            if step.is_multiple_of(stride) || step + 1 == plan.steps {
                self.curves.push(name, step, value);
            }
        }
        Ok(tokens)
    }

    /// Forward and backward of every micro-batch of the step, those of this rank here, unless any rank is asked to stop between two of them.
    fn accumulate(&mut self, step: u64) -> Result<Gradient, TrainError> {
        let mut own = self.own_part(step)?;
        if let Some(buckets) = &self.buckets {
            buckets.finish()?;
        }
        let weights = self.optimizer.parameters();
        own.has_gradient = weights.iter().map(|weight| weight.tensor.grad().defined()).collect();
        let data_secs = own.data_secs;
        let Part { is_stopped, bad, loss, tokens, metrics, has_gradient, .. } =
            own.sum(&self.ranks.gather(&own.numbers()?)?);
        if is_stopped {
            return Err(JobError::Cancelled.into());
        }
        let mut sum = Gradient { loss, norm: 0.0, tokens, metrics, bad: None, data_secs };
        if let Some((micro, value)) = bad {
            sum.bad = Some(Bad { trouble: Trouble::Loss(value), micro: Some(micro) });
            return Ok(sum);
        }
        if let Some(buckets) = &self.buckets {
            buckets.hand_out(&has_gradient)?;
        }
        sum.norm = self.ranks.number_of_first(self.optimizer.grad_norm()?)?;
        let of_norm = (!sum.norm.is_finite()).then_some(Trouble::Gradient(sum.norm));
        let trouble = self.setbacks.judge(sum.loss, self.plan.setbacks).or(of_norm);
        sum.bad = trouble.map(|trouble| Bad { trouble, micro: None });
        Ok(sum)
    }

    /// This rank's micro-batches, up to the first whose loss is no number.
    fn own_part(&mut self, step: u64) -> Result<Part, TrainError> {
        let mut own = Part::default();
        let micros = self.ranks.share(self.objective.micro_batches(step));
        let end = micros.end;
        for micro in micros {
            if self.ctx.stop_requested() {
                own.is_stopped = true;
                break;
            }
            // What draws from the library's own generator (dropout) does so as a function of the micro-batch, so that a resumed run draws the
            // same, and any number of ranks.
            tch::manual_seed(mix(self.ctx.seed("train") ^ mix(mix(step).wrapping_add(micro))) as i64);
            let part = self.objective.loss(step, micro)?;
            if part.tokens == 0 {
                return Err(TrainError::NoLoss { step, micro });
            }
            own.data_secs += part.data_secs;
            let value = part.loss.f_double_value(&[])?;
            own.loss += value;
            if !value.is_finite() {
                own.bad = Some((micro, value));
                break;
            }
            if let Some(buckets) = self.buckets.as_ref().filter(|_| micro + 1 == end) {
                buckets.expect_last();
            }
            match &part.auxiliary {
                Some(auxiliary) => (part.loss + auxiliary).f_backward()?,
                None => part.loss.f_backward()?,
            }
            own.add(part.tokens, part.metrics);
        }
        Ok(own)
    }

    /// A bad step is left out, or the run goes back, and both are told with the data that the step read.
    fn give_way(&mut self, step: u64, bad: Bad) -> Result<(), TrainError> {
        let record = self.record_of(step, bad);
        let rows = record.rows.iter().take(NAMED_ROWS).cloned().collect::<Vec<_>>().join("; ");
        let read = format!("it read {rows}{}", if record.rows.len() > NAMED_ROWS { "; …" } else { "" });
        self.setbacks.note(record);
        if self.ranks.is_first() {
            self.setbacks.write_bad(self.folder)?;
        }
        let (trouble, limits) = (bad.trouble, self.plan.setbacks);
        let verdict = self.setbacks.take_bad(step, trouble, limits)?;
        let share = format!("setback {} of at most {}", self.setbacks.count, limits.max_setbacks);
        match verdict {
            Verdict::LeaveOut => {
                let words = trouble.words();
                let message = format!("optimiser step {step}: {words}; it is left out ({share}); {read}");
                self.ctx.events().warning("setback", message);
                Ok(())
            }
            Verdict::GoBack(to) => {
                self.objective.go_back(to)?;
                if self.ranks.is_first() {
                    self.setbacks.write(self.folder)?;
                }
                let error = TrainError::WentBack { step, trouble: trouble.words(), to };
                self.ctx.events().warning("setback", format!("{error} ({share}); {read}"));
                Err(error)
            }
        }
    }

    /// The data of a bad micro-batch, or of all of a step where the whole is bad.
    fn record_of(&mut self, step: u64, bad: Bad) -> BadStep {
        let micros = bad.micro.map_or(0..self.objective.micro_batches(step), |micro| micro..micro + 1);
        let mut rows: Vec<String> = micros.flat_map(|micro| self.objective.row_names(step, micro)).collect();
        let num_rows = rows.len() as u64;
        rows.truncate(RECORDED_ROWS);
        BadStep { step, reason: bad.trouble.words(), micro_batch: bad.micro, num_rows, rows }
    }
}
