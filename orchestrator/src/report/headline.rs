//! The results that a reader looks for first, each with an honest verdict: a difference that its interval does not carry is called
//! unclear, whatever its sign.

use cupola_specs::artifact::{Interval, ReportRow};
use cupola_specs::job::StepKind;

use super::{ModelFacts, ReportFacts, format};

/// How a result stands against what it is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Better, and clear of the interval.
    Good,
    /// Not to be told from no difference.
    Unclear,
    /// Worse.
    Bad,
    /// A fact without a verdict.
    Plain,
}

impl Verdict {
    /// The verdict's CSS class and word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Unclear => "unclear",
            Self::Bad => "bad",
            Self::Plain => "plain",
        }
    }

    /// The sign before a line of text.
    pub fn mark(self) -> &'static str {
        match self {
            Self::Good => "✓",
            Self::Unclear => "?",
            Self::Bad => "✗",
            Self::Plain => "·",
        }
    }
}

/// One result.
#[derive(Debug, Clone, PartialEq)]
pub struct Headline {
    /// What it is.
    pub title: String,
    /// The number.
    pub value: String,
    /// What it is compared with, in one sentence.
    pub detail: String,
    /// How it stands.
    pub verdict: Verdict,
}

impl Headline {
    /// The result as one line of plain text.
    pub fn line(&self) -> String {
        format!("{} {}: {} ({})", self.verdict.mark(), self.title, self.value, self.detail)
    }
}

/// The headline results of a run, those that it has.
pub fn headlines(facts: &ReportFacts) -> Vec<Headline> {
    let mut found = Vec::new();
    found.extend(base_model(facts));
    found.extend(assistant(facts));
    found.extend(reward_model(facts));
    found.extend(rows(facts, "judge").filter(|row| row.metric == "win_rate").map(win_rate));
    found.extend(multiple_choice(facts));
    found.extend(facts.models.iter().filter_map(forecast));
    found.push(time_and_cost(facts));
    found
}

fn rows<'a>(facts: &'a ReportFacts, suite: &'a str) -> impl Iterator<Item = &'a ReportRow> {
    facts.evals.iter().flat_map(|eval| &eval.facts.rows).filter(move |row| row.suite == suite)
}

fn row<'a>(facts: &'a ReportFacts, suite: &'a str, model: &str, metric: &str) -> Option<&'a ReportRow> {
    rows(facts, suite).find(|row| row.model == model && row.metric == metric)
}

fn base_model(facts: &ReportFacts) -> Option<Headline> {
    let base = facts.model_of(StepKind::Pretrain)?;
    let own = row(facts, "perplexity", &base.job, "bpb")?;
    let title = format!("Bits per byte of {} on held-out text", base.job);
    let value = format::metric("bpb", own.value);
    let Some(ngram) = row(facts, "perplexity", "ngram3", "bpb") else {
        let detail = format!("95 % interval {}", interval(own));
        return Some(Headline { title, value, detail, verdict: Verdict::Plain });
    };
    let gain = 1.0 - own.value / ngram.value;
    let verdict = if own.value >= ngram.value {
        Verdict::Bad
    } else if own.high < ngram.low {
        Verdict::Good
    } else {
        Verdict::Unclear
    };
    let detail = format!(
        "{} {} than the {:.3} of an order-3 byte n-gram model of the same training text",
        format::percent(gain.abs()),
        if gain >= 0.0 { "better" } else { "worse" },
        ngram.value
    );
    Some(Headline { title, value, detail, verdict })
}

fn assistant(facts: &ReportFacts) -> Option<Headline> {
    let base = facts.model_of(StepKind::Pretrain)?;
    let tuned = facts.model_of(StepKind::Sft)?;
    let own = row(facts, "chat_loss", &tuned.job, "loss")?;
    let before = row(facts, "chat_loss", &base.job, "loss")?;
    let verdict = if own.value >= before.value {
        Verdict::Bad
    } else if own.high < before.low {
        Verdict::Good
    } else {
        Verdict::Unclear
    };
    Some(Headline {
        title: format!("Loss of {} on held-out answers", tuned.job),
        value: format::metric("loss", own.value),
        detail: format!(
            "{:.3} for {} before fine-tuning: {} {}",
            before.value,
            base.job,
            format::percent((1.0 - own.value / before.value).abs()),
            if own.value < before.value { "lower" } else { "higher" }
        ),
        verdict,
    })
}

fn reward_model(facts: &ReportFacts) -> Option<Headline> {
    let model = facts.model_of(StepKind::RewardModel)?;
    let accuracy =
        ["validation_accuracy", "accuracy"].iter().find_map(|name| model.record.finals.get(*name))?;
    let verdict = against(accuracy, 0.5);
    Some(Headline {
        title: "Reward model on held-out pairs".to_owned(),
        value: format::percent(accuracy.value),
        detail: format!(
            "95 % interval {} to {}: {}",
            format::percent(accuracy.low),
            format::percent(accuracy.high),
            clear_of_half(verdict)
        ),
        verdict,
    })
}

fn win_rate(row: &ReportRow) -> Headline {
    let interval = Interval { value: row.value, low: row.low, high: row.high };
    let verdict = against(&interval, 0.5);
    Headline {
        title: format!("Win rate of {}", row.model),
        value: format::percent(row.value),
        detail: format!(
            "95 % interval {} to {}, n = {}: {}. {}",
            format::percent(row.low),
            format::percent(row.high),
            format::count(row.n),
            clear_of_half(verdict),
            row.method
        ),
        verdict,
    }
}

fn against(interval: &Interval, chance: f64) -> Verdict {
    if interval.low > chance {
        Verdict::Good
    } else if interval.high < chance {
        Verdict::Bad
    } else {
        Verdict::Unclear
    }
}

fn clear_of_half(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "clear of 50 %",
        Verdict::Bad => "below 50 %",
        Verdict::Unclear | Verdict::Plain => "not clear of 50 %",
    }
}

/// The last model's multiple-choice accuracy, the scoring that does best.
fn multiple_choice(facts: &ReportFacts) -> Option<Headline> {
    let eval = facts.evals.iter().find(|eval| !eval.facts.models.is_empty())?;
    let last = eval.facts.models.last()?;
    let best = rows(facts, "multiple_choice")
        .filter(|row| row.model == *last && row.metric.starts_with("accuracy"))
        .max_by(|a, b| a.value.total_cmp(&b.value))?;
    let chance = best.chance?;
    let interval = Interval { value: best.value, low: best.low, high: best.high };
    Some(Headline {
        title: format!("Multiple choice of {last}"),
        value: format::percent(best.value),
        detail: format!(
            "guessing gives {}; 95 % interval {} to {}, n = {}, {}",
            format::percent(chance),
            format::percent(best.low),
            format::percent(best.high),
            format::count(best.n),
            best.method
        ),
        verdict: against(&interval, chance),
    })
}

fn forecast(model: &ModelFacts) -> Option<Headline> {
    let score = model.record.forecast.as_ref()?;
    let loss = &score.forecast.loss;
    Some(Headline {
        title: format!("Forecast of the loss of {}", model.job),
        value: format!("{:+.1} %", score.relative_error * 100.0),
        detail: format!(
            "written before training: {:.3} ({:.3} to {:.3}); measured: {:.3}, {} the interval",
            loss.value,
            loss.low,
            loss.high,
            score.actual,
            if score.within_interval { "inside" } else { "outside" }
        ),
        verdict: if score.within_interval { Verdict::Good } else { Verdict::Bad },
    })
}

fn time_and_cost(facts: &ReportFacts) -> Headline {
    let wall = (facts.run.ended_millis - facts.run.created_millis).max(0) as f64 / 1000.0;
    let work = facts.total_secs();
    let cost = facts.usd(work).map(|usd| format!(", {}", format::usd(usd))).unwrap_or_default();
    let memory = facts.steps.iter().map(|step| step.peak_rss_bytes).max().unwrap_or(0);
    Headline {
        title: "Time".to_owned(),
        value: format::duration(wall),
        detail: format!(
            "{} of work in {} steps{cost}; peak memory of one step {}",
            format::duration(work),
            facts.steps.len(),
            format::memory(memory)
        ),
        verdict: Verdict::Plain,
    }
}

fn interval(row: &ReportRow) -> String {
    format!("{} to {}", format::metric(&row.metric, row.low), format::metric(&row.metric, row.high))
}

#[cfg(test)]
mod tests {
    use super::super::invented;
    use super::*;

    fn of(facts: &ReportFacts, title: &str) -> Headline {
        let found = headlines(facts);
        found.iter().find(|headline| headline.title.contains(title)).cloned().unwrap()
    }

    #[test]
    fn each_result_gets_the_verdict_that_its_interval_carries() {
        let mut facts = invented::facts();
        assert_eq!(of(&facts, "Bits per byte").verdict, Verdict::Good);
        assert!(of(&facts, "Bits per byte").detail.starts_with("18.9 % better"), "{facts:?}");
        assert_eq!(of(&facts, "Win rate").verdict, Verdict::Good);
        for row in &mut facts.evals[0].facts.rows {
            if row.metric == "win_rate" {
                row.low = 0.49;
            }
        }
        let unclear = of(&facts, "Win rate");
        assert_eq!(unclear.verdict, Verdict::Unclear);
        assert!(unclear.detail.contains("not clear of 50 %"));
    }

    #[test]
    fn a_run_without_evals_has_only_what_it_has() {
        let mut facts = invented::facts();
        facts.evals.clear();
        facts.models.clear();
        let found = headlines(&facts);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].title, "Time");
    }
}
