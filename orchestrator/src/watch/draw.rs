//! Drawing the page: head, steps by layer, the selected step, the end of its log, keys. Only the rows in sight are looked at.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Paragraph, Wrap};

use super::page::{Page, View};
use super::row::{mark, step_row};
use super::{Follower, ended_line, forecast::Forecast, progress_text, sparkline, telling};
use crate::report::format::{count, duration, metric};
use crate::state::{RunRow, RunState, StepState, StepView};

const KEYS: &str =
    "↑↓ select  l logs  w why  f follow  p pause  r resume  c cancel  q quit (the run goes on)";
const SHORT_KEYS: &str = "↑↓ l logs w why f follow p pause r resume c cancel q quit";

/// All that a drawing is made of.
pub(super) struct Scene<'a> {
    pub(super) follower: &'a Follower,
    pub(super) forecast: Forecast,
    pub(super) cores: u32,
    pub(super) now_millis: i64,
    pub(super) paint: Paint,
}

/// Colours, or none where `NO_COLOR` is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint {
    pub(super) is_colored: bool,
}

impl Paint {
    /// As `NO_COLOR` says.
    pub(super) fn of_environment() -> Self {
        Self { is_colored: std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    /// A style with this colour, if there are colours.
    pub(super) fn color(self, color: Color) -> Style {
        if self.is_colored { Style::new().fg(color) } else { Style::new() }
    }
}

/// Text that steps back.
pub(super) fn dim() -> Style {
    Style::new().add_modifier(Modifier::DIM)
}

/// Draws the whole page.
pub(super) fn draw(frame: &mut Frame<'_>, page: &mut Page, scene: &Scene<'_>) {
    let Some(run) = scene.follower.run() else { return };
    let rows = Layout::vertical([Constraint::Length(2), Constraint::Min(1), Constraint::Length(1)]);
    let [head, body, foot] = rows.areas(frame.area());
    frame.render_widget(Paragraph::new(head_lines(run, scene)), head);
    frame.render_widget(Paragraph::new(foot_line(page, run, foot.width, scene.paint)), foot);
    if page.view == View::Log {
        draw_log(frame, body, page, scene);
        return;
    }
    let (list, below) = split(body, page.order.len());
    page.list_rows = usize::from(list.height).max(1);
    page.scroll();
    draw_list(frame, list, page, scene);
    match page.step().and_then(|step| scene.follower.view(step).map(|view| (step, view))) {
        Some((step, view)) if page.view == View::Why => draw_why(frame, below, step, &view, scene),
        Some((step, view)) => draw_step(frame, below, step, &view, scene),
        None => {}
    }
}

/// The list's part and what is below: what the list does not need goes to the step, and on a low page the list goes first.
fn split(body: Rect, num_steps: usize) -> (Rect, Rect) {
    let below = if body.height < 8 { body.height.saturating_sub(3).min(3) } else { body.height / 2 };
    let list = (body.height - below).min(u16::try_from(num_steps).unwrap_or(u16::MAX).max(1));
    let [list, below] = Layout::vertical([Constraint::Length(list), Constraint::Min(0)]).areas(body);
    (list, below)
}

fn head_lines(run: &RunRow, scene: &Scene<'_>) -> Vec<Line<'static>> {
    let elapsed = run.ended_millis.unwrap_or(scene.now_millis) - run.created_millis;
    let mut first = vec![
        Span::styled(run.id.clone(), Style::new().add_modifier(Modifier::BOLD)),
        Span::raw(format!("  {}  {}", run.state.as_str(), duration(elapsed.max(0) as f64 / 1000.0))),
    ];
    if !run.state.is_final() {
        if let Some(secs) = scene.forecast.secs {
            let more = if scene.forecast.is_lower_bound { "more than " } else { "about " };
            first.push(Span::raw(format!("  {more}{} left", duration(secs))));
        }
        let live = run.steps.iter().filter(|step| step.state.is_live());
        let used: u32 = live.map(|step| step.cores).sum();
        first.push(Span::raw(format!("  cores {used}/{}", scene.cores)));
        if scene.follower.holder().is_none() {
            let words = "  nobody drives it: `cupola resume` goes on";
            first.push(Span::styled(words, scene.paint.color(Color::Yellow)));
        }
    }
    let mut second = Vec::new();
    if let Some(room) = scene.follower.wanted_room() {
        second.push(Span::styled(format!("{}  ", room.line()), scene.paint.color(Color::Yellow)));
    }
    let warnings = scene.follower.num_warnings();
    if warnings > 0 {
        let text = format!("! {warnings} warning{}  ", if warnings == 1 { "" } else { "s" });
        second.push(Span::styled(text, scene.paint.color(Color::Yellow)));
    }
    for (state, number) in run.counts() {
        let (mark, style) = mark(state, scene.paint);
        second.push(Span::styled(format!("{mark} "), style));
        second.push(Span::raw(format!("{} {}  ", count(number as u64), state.as_str())));
    }
    vec![Line::from(first), Line::from(second)]
}

fn foot_line(page: &Page, run: &RunRow, width: u16, paint: Paint) -> Line<'static> {
    if page.is_asking {
        let text = format!("cancel run {}? its steps save a checkpoint first  y yes  n no", run.id);
        return Line::styled(text, paint.color(Color::Red).add_modifier(Modifier::BOLD));
    }
    if !page.notice.is_empty() {
        return Line::styled(page.notice.clone(), Style::new().add_modifier(Modifier::BOLD));
    }
    let keys = if usize::from(width) < KEYS.chars().count() { SHORT_KEYS } else { KEYS };
    Line::styled(keys, dim())
}

fn draw_list(frame: &mut Frame<'_>, area: Rect, page: &Page, scene: &Scene<'_>) {
    let Some(run) = scene.follower.run() else { return };
    let deepest = page.order.last().map_or(0, |last| scene.follower.depth(*last as usize));
    let gutter = deepest.to_string().len();
    let name_width = page.name_width.min(usize::from(area.width) / 3);
    let mut lines = Vec::new();
    let shown = page.order.iter().enumerate().skip(page.offset).take(usize::from(area.height));
    for (row, at) in shown {
        let (at, depth) = (*at as usize, scene.follower.depth(*at as usize));
        let above = row.checked_sub(1).map(|above| scene.follower.depth(page.order[above] as usize));
        let is_first = row == page.offset || above != Some(depth);
        let layer = if is_first { format!("{depth:>gutter$} ") } else { " ".repeat(gutter + 1) };
        let mut spans = vec![Span::styled(layer, dim())];
        if let Some(view) = scene.follower.view(at) {
            spans.extend(step_row(&view, &waits_for(run, at, scene), name_width, area.width, scene));
        }
        let line = Line::from(spans);
        lines.push(if row == page.selected { line.style(Modifier::REVERSED) } else { line });
    }
    frame.render_widget(Paragraph::new(lines), area);
}

/// The first need of a waiting step that is not done; empty where all are.
fn waits_for(run: &RunRow, step: usize, scene: &Scene<'_>) -> String {
    if run.state == RunState::Paused {
        let words =
            if scene.follower.wanted_room().is_some() { "room on the disk" } else { "`cupola resume`" };
        return words.to_owned();
    }
    let needs = scene.follower.needs(step).iter().filter_map(|need| run.steps.get(*need as usize));
    let mut open = needs.filter(|need| !need.state.is_done());
    open.next().map(|need| need.name.clone()).unwrap_or_default()
}

/// A rule with a title.
fn rule(title: &str, width: u16) -> Line<'static> {
    let text = format!("── {title} ");
    let rest = usize::from(width).saturating_sub(text.chars().count());
    Line::styled(format!("{text}{}", "─".repeat(rest)), dim())
}

fn draw_step(frame: &mut Frame<'_>, area: Rect, step: usize, view: &StepView, scene: &Scene<'_>) {
    let mut lines = vec![rule(&view.name, area.width)];
    lines.push(Line::raw(match &view.progress {
        Some(progress) if view.state.is_live() => progress_text(progress, scene.now_millis),
        _ if view.state.is_final() => ended_line(view, scene.now_millis),
        _ => view.reason.clone(),
    }));
    if let Some((name, series)) = telling(view)
        && let Some((_, last)) = series.last
    {
        let text = format!("{name} {} ", metric(name, last));
        let room = usize::from(area.width).saturating_sub(text.chars().count());
        let curve = Span::styled(sparkline(&series.all(), room.min(120)), scene.paint.color(Color::Cyan));
        lines.push(Line::from(vec![Span::raw(text), curve]));
    }
    if let Some((code, message)) = view.warnings.last() {
        lines.push(Line::styled(format!("! {message} ({code})"), scene.paint.color(Color::Yellow)));
    }
    let room = usize::from(area.height).saturating_sub(lines.len());
    let log = scene.follower.log(step);
    if room > 1 && log.len() > 0 {
        lines.push(rule("log", area.width));
        let skip = log.len().saturating_sub(room - 1);
        lines.extend(log.skip(skip).map(|line| Line::raw(line.to_owned())));
    }
    frame.render_widget(Paragraph::new(lines), area);
}

fn draw_why(frame: &mut Frame<'_>, area: Rect, step: usize, view: &StepView, scene: &Scene<'_>) {
    let mut lines = vec![rule(&format!("why {}", view.name), area.width)];
    lines.push(Line::raw(format!("state: {}", view.state.as_str())));
    if !view.reason.is_empty() {
        lines.push(Line::raw(format!("reason: {}", view.reason)));
    }
    if let Some(error) = &view.error {
        let style = scene.paint.color(Color::Red);
        lines.push(Line::styled(format!("{} ({})", error.message, error.code), style));
        if !error.hint.is_empty() {
            lines.push(Line::raw(error.hint.clone()));
        }
    }
    if let Some(run) = scene.follower.run() {
        for need in scene.follower.needs(step).iter().filter_map(|need| run.steps.get(*need as usize)) {
            let (mark, style) = mark(need.state, scene.paint);
            let state = format!(" needs {}: {}", need.name, need.state.as_str());
            lines.push(Line::from(vec![Span::styled(mark, style), Span::raw(state)]));
        }
    }
    lines.push(Line::styled(format!("fingerprint {}", view.fingerprint), dim()));
    let attempts = view.attempts.iter().map(|attempt| {
        let outcome = if attempt.outcome.is_empty() { "goes on" } else { &attempt.outcome };
        let code = attempt.error.as_ref().map(|error| format!(" ({})", error.code)).unwrap_or_default();
        Line::raw(format!("attempt {}: {outcome}{code}", attempt.number))
    });
    lines.extend(attempts);
    frame.render_widget(Paragraph::new(lines).wrap(Wrap { trim: false }), area);
}

fn draw_log(frame: &mut Frame<'_>, area: Rect, page: &mut Page, scene: &Scene<'_>) {
    let Some(step) = page.step() else { return };
    let name = scene.follower.run().and_then(|run| run.steps.get(step)).map_or("", |step| step.name.as_str());
    let log = scene.follower.log(step);
    let room = usize::from(area.height).saturating_sub(1);
    page.list_rows = room.max(1);
    page.log_scroll = page.log_scroll.min(log.len().saturating_sub(room));
    let skip = log.len().saturating_sub(room + page.log_scroll);
    let mut lines = vec![rule(&format!("log of {name}"), area.width)];
    if log.len() == 0 {
        lines.push(Line::styled("nothing yet", dim()));
    }
    lines.extend(log.skip(skip).take(room).map(|line| {
        let is_bad = line.contains(" warning: ") || line.contains(" failed: ");
        let style = if is_bad { scene.paint.color(Color::Yellow) } else { Style::new() };
        Line::styled(line.to_owned(), style)
    }));
    frame.render_widget(Paragraph::new(lines), area);
}

/// Whether the step's row shows a bar.
pub(super) fn has_bar(view: &StepView) -> bool {
    view.state.is_live()
        && view.progress.as_ref().is_some_and(|progress| progress.total > 0.0)
        && view.state != StepState::Unknown
}
