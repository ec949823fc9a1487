//! One line of text for a step.

use cupola_specs::contract::{Event, EventBody};

use crate::report::format::{bytes, duration, metric, short};
use crate::state::{MetricSeries, ProgressView, StepState, StepView};

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Curves that say how a step does, the most telling first.
const TELLING: [&str; 5] = ["loss", "train_loss", "reward", "validation_loss", "accuracy"];

/// What a running step does: stage, units, rate, time left, and the curve of its loss.
pub fn running_line(step: &StepView, now_millis: i64) -> String {
    let text = match &step.progress {
        Some(progress) => progress_text(progress, now_millis),
        None => step.state.as_str().to_owned(),
    };
    [Some(text), curve(step, 24)].into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// How far a step is: stage, units, rate, time left.
pub fn progress_text(progress: &ProgressView, now_millis: i64) -> String {
    let mut parts = vec![progress.stage.clone()];
    let done = short(progress.done);
    if progress.total > 0.0 {
        parts.push(format!("{done}/{} {}", short(progress.total), progress.unit));
    } else {
        parts.push(format!("{done} {}", progress.unit));
    }
    if progress.rate > 0.0 {
        parts.push(format!("{}/s", short(progress.rate)));
    }
    if let Some(left) = eta_secs(progress, now_millis) {
        parts.push(format!("{} left", duration(left)));
    }
    parts.join("  ")
}

/// How a step ended, in one line.
pub fn ended_line(step: &StepView, now_millis: i64) -> String {
    let mark = match step.state {
        StepState::Succeeded => "✓",
        StepState::Cached => "≡",
        StepState::Failed => "✗",
        _ => "–",
    };
    let time = match step.wall_millis(now_millis) {
        Some(wall) if step.state != StepState::Cached => format!("  {}", duration(wall as f64 / 1000.0)),
        _ => String::new(),
    };
    let more = match (&step.error, step.state) {
        (Some(error), StepState::Failed) => format!("  {}: {}", error.code, error.message),
        (_, StepState::Blocked) => format!("  {}", step.reason),
        _ => curve(step, 16).map(|text| format!("  {text}")).unwrap_or_default(),
    };
    format!("{mark} {}  {}{time}{more}", step.name, step.state.as_str())
}

/// Seconds that the step still needs at its rate; none where that can't be said.
pub fn eta_secs(progress: &ProgressView, now_millis: i64) -> Option<f64> {
    let left = progress.total - progress.done;
    if progress.rate <= 0.0 || progress.total <= 0.0 || left < 0.0 {
        return None;
    }
    let since = (now_millis - progress.at_millis).max(0) as f64 / 1000.0;
    Some((left / progress.rate - since).max(0.0))
}

/// A curve as a line of blocks, `width` characters at most: each is the mean of its share of the points.
pub fn sparkline(points: &[(u64, f64)], width: usize) -> String {
    let values: Vec<f64> = points.iter().map(|point| point.1).filter(|value| value.is_finite()).collect();
    if values.is_empty() || width == 0 {
        return String::new();
    }
    let columns = values.len().min(width);
    let means: Vec<f64> = (0..columns)
        .map(|column| {
            let (from, to) = (column * values.len() / columns, (column + 1) * values.len() / columns);
            let share = &values[from..to.max(from + 1)];
            share.iter().sum::<f64>() / share.len() as f64
        })
        .collect();
    let low = means.iter().copied().fold(f64::INFINITY, f64::min);
    let high = means.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let block = |value: &f64| {
        let share = if high > low { (value - low) / (high - low) } else { 0.0 };
        BLOCKS[((share * 8.0) as usize).min(7)]
    };
    means.iter().map(block).collect()
}

/// The curve that says best how a step does, and its name.
pub fn telling(step: &StepView) -> Option<(&'static str, &MetricSeries)> {
    TELLING.iter().find_map(|name| Some((*name, step.metrics.get(*name)?)))
}

/// What happened, in words.
pub fn event_text(body: &EventBody) -> String {
    match body {
        EventBody::Started { pid, version, .. } => format!("started: process {pid}, version {version}"),
        EventBody::Progress { done, total, unit, stage } => {
            format!("{stage}: {} of {} {unit}", short(*done), short(*total))
        }
        EventBody::Metric { name, step, value } => format!("{name} {value:.5} at step {step}"),
        EventBody::Log { message } => message.clone(),
        EventBody::Checkpoint(record) => {
            format!("checkpoint at step {} ({})", record.step, bytes(record.size_bytes))
        }
        EventBody::Sample { step, prompt, text } => format!("sample at step {step}: {prompt:?} → {text:?}"),
        EventBody::Warning { code, message } => format!("warning: {message} ({code})"),
        EventBody::Finished { .. } => "finished".to_owned(),
        EventBody::Failed(failure) => format!("failed: {} ({})", failure.message, failure.code),
    }
}

/// A line for a log that people read: the time of day, then what happened.
pub fn event_line(event: &Event) -> String {
    let time = jiff::Timestamp::from_millisecond(event.at_millis)
        .map(|at| at.to_zoned(jiff::tz::TimeZone::system()).strftime("%H:%M:%S").to_string())
        .unwrap_or_default();
    format!("{time} {}", event_text(&event.body))
}

fn curve(step: &StepView, width: usize) -> Option<String> {
    let (name, series) = telling(step)?;
    let (_, last) = series.last?;
    Some(format!("{name} {}  {}", metric(name, last), sparkline(&series.all(), width)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_falling_curve_falls() {
        let points: Vec<(u64, f64)> = (0..8u32).map(|x| (u64::from(x), f64::from(8 - x))).collect();
        assert_eq!(sparkline(&points, 8), "█▇▆▅▄▃▂▁");
        assert_eq!(sparkline(&points, 4).chars().count(), 4);
        assert_eq!(sparkline(&[(0, 1.0), (1, f64::NAN)], 8), "▁");
        assert_eq!(sparkline(&[], 8), "");
    }

    #[test]
    fn the_time_left_is_what_is_left_at_the_rate() {
        let mut progress = ProgressView {
            done: 400.0,
            total: 1000.0,
            unit: "tokens".into(),
            stage: "train".into(),
            at_millis: 10_000,
            rate: 100.0,
        };
        assert_eq!(eta_secs(&progress, 10_000), Some(6.0));
        assert_eq!(eta_secs(&progress, 12_000), Some(4.0));
        progress.rate = 0.0;
        assert_eq!(eta_secs(&progress, 10_000), None);
    }
}
