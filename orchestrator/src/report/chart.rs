//! Line and point charts as SVG: drawn for 480 units of width, so that text stays legible on a phone; colours are CSS classes.

use std::fmt::Write;

use super::format::{escape, short};

const WIDTH: f64 = 480.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 52.0;
const RIGHT: f64 = 14.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 46.0;

/// How an axis is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scale {
    /// Equal steps.
    Linear,
    /// Equal ratios.
    Log,
}

/// How a series is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mark {
    /// A line.
    Line,
    /// Dots.
    Dots,
    /// A diamond with a whisker from the first to the last of three points.
    Forecast,
    /// A star.
    Star,
}

/// One series.
#[derive(Debug, Clone)]
pub(super) struct Series {
    /// Its name in the legend; empty hides it there.
    pub name: String,
    /// Colour, 0 to 7.
    pub color: usize,
    /// How it is drawn.
    pub mark: Mark,
    /// Points.
    pub points: Vec<(f64, f64)>,
}

/// A chart.
#[derive(Debug, Clone)]
pub(super) struct Chart {
    /// What it shows, for the heading and for screen readers.
    pub title: String,
    /// The x axis' name and unit.
    pub x_label: String,
    /// The y axis' name and unit.
    pub y_label: String,
    /// Division of the x axis.
    pub x_scale: Scale,
    /// The series.
    pub series: Vec<Series>,
}

/// The part of the plane that is shown.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
    x_scale: Scale,
}

impl Frame {
    fn left(&self, x: f64) -> f64 {
        let (low, high) = self.x;
        let share = match self.x_scale {
            Scale::Linear => (x - low) / (high - low),
            Scale::Log => (x / low).ln() / (high / low).ln(),
        };
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn top(&self, y: f64) -> f64 {
        let (low, high) = self.y;
        TOP + (high - y) / (high - low) * (HEIGHT - TOP - BOTTOM)
    }
}

impl Chart {
    /// The chart as an SVG element; none where no series has two finite points.
    pub(super) fn svg(&self) -> Option<String> {
        let frame = self.frame()?;
        let mut svg = String::new();
        let _ = write!(
            svg,
            r#"<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{}">"#,
            escape(&self.description())
        );
        self.draw_axes(&mut svg, &frame);
        for series in &self.series {
            draw_series(&mut svg, series, &frame);
        }
        svg.push_str("</svg>");
        Some(svg)
    }

    /// Names, colours and shapes for a legend: (name, class).
    pub(super) fn legend(&self) -> Vec<(String, String)> {
        let named = self.series.iter().filter(|series| !series.name.is_empty() && !series.points.is_empty());
        named
            .map(|series| (series.name.clone(), format!("{} s{}", series.mark.class(), series.color)))
            .collect()
    }

    /// The chart in words: its title, and where each named series starts and ends.
    fn description(&self) -> String {
        let mut text = format!("{}. {} against {}.", self.title, self.y_label, self.x_label);
        for series in self.series.iter().filter(|series| !series.name.is_empty()) {
            if let (Some(first), Some(last)) = (series.points.first(), series.points.last()) {
                let _ = write!(text, " {}: from {:.3} to {:.3}.", series.name, first.1, last.1);
            }
        }
        text
    }

    fn frame(&self) -> Option<Frame> {
        let points: Vec<(f64, f64)> = self
            .series
            .iter()
            .flat_map(|series| series.points.iter().copied())
            .filter(|(x, y)| x.is_finite() && y.is_finite() && (self.x_scale == Scale::Linear || *x > 0.0))
            .collect();
        if points.len() < 2 {
            return None;
        }
        let x = bounds(points.iter().map(|point| point.0));
        let y = bounds(points.iter().map(|point| point.1));
        let x = match self.x_scale {
            Scale::Linear => widened(x, 0.02),
            Scale::Log => {
                let (low, high) = widened((x.0.ln(), x.1.ln()), 0.04);
                (low.exp(), high.exp())
            }
        };
        Some(Frame { x, y: widened(y, 0.06), x_scale: self.x_scale })
    }

    fn draw_axes(&self, svg: &mut String, frame: &Frame) {
        let (right, floor) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
        for y in linear_ticks(frame.y, 5) {
            let top = frame.top(y);
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{LEFT}" x2="{right}" y1="{top:.1}" y2="{top:.1}"/><text class="tick" x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
                LEFT - 7.0,
                top + 4.0,
                tick_text(y)
            );
        }
        let ticks = match frame.x_scale {
            Scale::Linear => linear_ticks(frame.x, 6),
            Scale::Log => log_ticks(frame.x),
        };
        for x in ticks {
            let left = frame.left(x);
            let _ = write!(
                svg,
                r#"<line class="grid" x1="{left:.1}" x2="{left:.1}" y1="{floor}" y2="{:.1}"/><text class="tick" x="{left:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
                floor + 4.0,
                floor + 18.0,
                tick_text(x)
            );
        }
        let middle = f64::midpoint(LEFT, right);
        let _ = write!(
            svg,
            r#"<line class="axis" x1="{LEFT}" x2="{right}" y1="{floor}" y2="{floor}"/><text class="label" x="{middle}" y="{:.1}" text-anchor="middle">{}</text><text class="label" transform="rotate(-90)" x="{:.1}" y="13" text-anchor="middle">{}</text>"#,
            HEIGHT - 8.0,
            escape(&self.x_label),
            -f64::midpoint(TOP, floor),
            escape(&self.y_label)
        );
    }
}

impl Mark {
    fn class(self) -> &'static str {
        match self {
            Self::Line => "line",
            Self::Dots => "dots",
            Self::Forecast => "forecast",
            Self::Star => "star",
        }
    }
}

fn draw_series(svg: &mut String, series: &Series, frame: &Frame) {
    let class = format!("{} s{}", series.mark.class(), series.color);
    let shown = series.points.iter().filter(|(x, y)| x.is_finite() && y.is_finite());
    let places: Vec<(f64, f64)> = shown.map(|(x, y)| (frame.left(*x), frame.top(*y))).collect();
    match series.mark {
        Mark::Line => {
            let points: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
            let _ = write!(svg, r#"<polyline class="{class}" points="{}"/>"#, points.join(" "));
        }
        Mark::Dots => {
            for (x, y) in places {
                let _ = write!(svg, r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3.4"/>"#);
            }
        }
        Mark::Forecast => {
            if let [(x, low), (_, y), (_, high)] = places[..] {
                let _ = write!(
                    svg,
                    r#"<path class="{class} whisker" d="M{x:.1} {low:.1}V{high:.1}M{:.1} {low:.1}h10M{:.1} {high:.1}h10"/><path class="{class}" d="M{x:.1} {:.1}l6 6l-6 6l-6 -6z"/>"#,
                    x - 5.0,
                    x - 5.0,
                    y - 6.0
                );
            }
        }
        Mark::Star => {
            for (x, y) in places {
                let _ = write!(svg, r#"<path class="{class}" d="{}"/>"#, star(x, y, 9.0));
            }
        }
    }
}

/// The path of a star around a point.
pub(super) fn star(x: f64, y: f64, size: f64) -> String {
    let mut path = String::new();
    for corner in 0..10 {
        let radius = if corner % 2 == 0 { size } else { size * 0.42 };
        let angle = f64::from(corner) * std::f64::consts::PI / 5.0 - std::f64::consts::FRAC_PI_2;
        let letter = if corner == 0 { 'M' } else { 'L' };
        let _ = write!(path, "{letter}{:.1} {:.1}", x + radius * angle.cos(), y + radius * angle.sin());
    }
    path.push('z');
    path
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| (low.min(value), high.max(value)))
}

/// The range with a margin; a range of one value becomes a small one around it.
fn widened((low, high): (f64, f64), margin: f64) -> (f64, f64) {
    let size = high - low;
    if size > 0.0 {
        (low - size * margin, high + size * margin)
    } else {
        let around = low.abs().max(1e-3) * 0.05;
        (low - around, high + around)
    }
}

/// At most `most` round numbers within the range.
pub(super) fn linear_ticks((low, high): (f64, f64), most: usize) -> Vec<f64> {
    let rough = (high - low) / most as f64;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].iter().map(|by| by * power).find(|step| *step >= rough).unwrap_or(rough);
    let first = (low / step).ceil() as i64;
    let last = (high / step).floor() as i64;
    (first..=last).map(|index| index as f64 * step).collect()
}

/// Powers of ten within the range, with their doubles and fives where there are few.
fn log_ticks((low, high): (f64, f64)) -> Vec<f64> {
    let decades = (high / low).log10();
    let within: &[f64] = if decades < 2.2 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let powers = (low.log10().floor() as i32)..=(high.log10().ceil() as i32);
    let ticks: Vec<f64> = powers
        .flat_map(|power| within.iter().map(move |by| by * 10f64.powi(power)))
        .filter(|tick| (low..=high).contains(tick))
        .collect();
    if ticks.len() >= 2 { ticks } else { linear_ticks((low, high), 4) }
}

fn tick_text(value: f64) -> String {
    let text = short(value);
    match text.split_once('e') {
        Some((digits, power)) => format!(
            "{}10<tspan class=\"power\" dy=\"-5\">{power}</tspan>",
            if digits == "1.0" { String::new() } else { format!("{}·", digits.trim_end_matches(".0")) }
        ),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chart(points: Vec<(f64, f64)>) -> Chart {
        Chart {
            title: "a < b".into(),
            x_label: "step".into(),
            y_label: "loss".into(),
            x_scale: Scale::Linear,
            series: vec![Series { name: "train".into(), color: 0, mark: Mark::Line, points }],
        }
    }

    #[test]
    fn ticks_are_round_and_inside() {
        assert_eq!(linear_ticks((0.0, 10.0), 5), vec![0.0, 2.0, 4.0, 6.0, 8.0, 10.0]);
        assert_eq!(log_ticks((1e3, 1e6)), vec![1e3, 1e4, 1e5, 1e6]);
        assert_eq!(log_ticks((1.0, 10.0)), vec![1.0, 2.0, 5.0, 10.0]);
    }

    #[test]
    fn a_chart_is_drawn_within_its_frame_and_needs_two_points() {
        assert_eq!(chart(vec![(1.0, 2.0)]).svg(), None);
        assert_eq!(chart(vec![(1.0, f64::NAN), (2.0, f64::NAN)]).svg(), None);
        let svg = chart(vec![(0.0, 4.0), (10.0, 2.0), (20.0, f64::NAN)]).svg().unwrap();
        assert!(svg.contains("a &lt; b") && svg.contains("polyline"));
        let points = svg.split("points=\"").nth(1).unwrap().split('"').next().unwrap();
        for point in points.split(' ') {
            let (x, y) = point.split_once(',').unwrap();
            let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
            assert!((LEFT..=WIDTH).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y), "{point}");
        }
    }

    #[test]
    fn a_flat_curve_is_drawn() {
        assert!(chart(vec![(1.0, 2.0), (2.0, 2.0)]).svg().is_some());
    }
}
