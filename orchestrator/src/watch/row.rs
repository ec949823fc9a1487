//! One row of the list: mark, name, and what matters most of its state.

use ratatui::style::{Color, Modifier, Style};
use ratatui::text::Span;

use super::draw::{Paint, Scene, dim, has_bar};
use super::eta_secs;
use crate::report::format::{duration, short};
use crate::state::{StepState, StepView};

/// The mark of a state, and its colour.
pub(super) fn mark(state: StepState, paint: Paint) -> (&'static str, Style) {
    match state {
        StepState::Waiting => ("·", dim()),
        StepState::Cached => ("≡", paint.color(Color::Blue)),
        StepState::Submitted => ("◦", paint.color(Color::Cyan)),
        StepState::Running => ("▶", paint.color(Color::Cyan)),
        StepState::Unknown => ("?", paint.color(Color::Magenta)),
        StepState::Backoff => ("↻", paint.color(Color::Yellow)),
        StepState::Succeeded => ("✓", paint.color(Color::Green)),
        StepState::Failed => ("✗", paint.color(Color::Red).add_modifier(Modifier::BOLD)),
        StepState::Blocked => ("⊘", paint.color(Color::Red)),
        StepState::Cancelled => ("–", paint.color(Color::Yellow)),
    }
}

/// The row of a step. `waits_for` names what a waiting one waits for.
pub(super) fn step_row(
    view: &StepView,
    waits_for: &str,
    name_width: usize,
    width: u16,
    scene: &Scene<'_>,
) -> Vec<Span<'static>> {
    let (symbol, style) = mark(view.state, scene.paint);
    let mut spans = vec![
        Span::styled(format!("{symbol} "), style),
        Span::raw(format!("{}  ", fitted(&view.name, name_width))),
    ];
    if has_bar(view) {
        spans.extend(bar(view, width, scene));
    } else {
        let text = state_text(view, waits_for, scene.now_millis);
        let is_quiet = view.state.is_done() || view.state == StepState::Waiting;
        spans.push(Span::styled(text, if is_quiet { dim() } else { Style::new() }));
    }
    spans
}

/// A name in exactly `width` columns: the end of a long one tells more than its middle.
fn fitted(name: &str, width: usize) -> String {
    let length = name.chars().count();
    if length <= width {
        return format!("{name:<width$}");
    }
    let head = width / 2;
    let tail = width.saturating_sub(head + 1);
    let begin: String = name.chars().take(head).collect();
    let end: String = name.chars().skip(length - tail).collect();
    format!("{begin}…{end}")
}

fn bar(view: &StepView, width: u16, scene: &Scene<'_>) -> Vec<Span<'static>> {
    let Some(progress) = &view.progress else { return Vec::new() };
    let share = (progress.done / progress.total).clamp(0.0, 1.0);
    let columns = usize::from(width / 6).clamp(6, 24);
    let done = (share * columns as f64) as usize;
    let mut parts = vec![format!(" {:>3.0} %", (share * 100.0).floor())];
    if progress.rate > 0.0 {
        parts.push(format!("{}/s", short(progress.rate)));
    }
    parts.extend(eta_secs(progress, scene.now_millis).map(|left| format!("{} left", duration(left))));
    vec![
        Span::styled("━".repeat(done), scene.paint.color(Color::Cyan)),
        Span::styled("─".repeat(columns - done), dim()),
        Span::raw(parts.join("  ")),
    ]
}

fn state_text(view: &StepView, waits_for: &str, now_millis: i64) -> String {
    let took =
        view.wall_millis(now_millis).map(|millis| duration(millis as f64 / 1000.0)).unwrap_or_default();
    match view.state {
        StepState::Waiting if waits_for.is_empty() => "waits for a slot".to_owned(),
        StepState::Waiting => format!("waits for {waits_for}"),
        StepState::Cached => "cached".to_owned(),
        StepState::Failed => match &view.error {
            Some(error) => format!("{}: {}", error.code, error.message),
            None => "failed".to_owned(),
        },
        StepState::Blocked => view.reason.clone(),
        StepState::Backoff => match &view.error {
            Some(error) => format!("waits for its next attempt after {}", error.code),
            None => "waits for its next attempt".to_owned(),
        },
        StepState::Unknown => "its worker can't be seen now".to_owned(),
        state if state.is_live() => format!("{}  {took}", state.as_str()),
        StepState::Succeeded => took,
        state => state.as_str().to_owned(),
    }
}
