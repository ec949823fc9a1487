//! How numbers are written for people: counts, bytes, times, shares and money.

/// A count with thousands separators: `1,234,567`.
pub(crate) fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number in three digits with a decimal unit: `1.23M`, `456k`, `3.1e17` beyond the trillions.
pub(crate) fn short(value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let size = value.abs();
    if size >= 1e15 || (size > 0.0 && size < 1e-3) {
        return format!("{value:.1e}");
    }
    let (scaled, unit) = match size {
        _ if size >= 1e12 => (value / 1e12, "T"),
        _ if size >= 1e9 => (value / 1e9, "B"),
        _ if size >= 1e6 => (value / 1e6, "M"),
        _ if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{}{unit}", digits(scaled))
}

/// Three significant digits without a trailing zero after the point.
fn digits(value: f64) -> String {
    let size = value.abs();
    let text = if size >= 100.0 {
        format!("{value:.0}")
    } else if size >= 10.0 {
        format!("{value:.1}")
    } else if size >= 1.0 || size == 0.0 {
        format!("{value:.2}")
    } else {
        format!("{value:.*}", (2 - size.log10().floor() as i32).max(0) as usize)
    };
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// Bytes in decimal units: `24.1 MB`.
pub(crate) fn bytes(value: u64) -> String {
    let value = value as f64;
    match value {
        _ if value >= 1e9 => format!("{:.2} GB", value / 1e9),
        _ if value >= 1e6 => format!("{:.1} MB", value / 1e6),
        _ if value >= 1e3 => format!("{:.1} kB", value / 1e3),
        _ => format!("{value:.0} B"),
    }
}

/// Bytes of memory in binary units: `1.5 GiB`.
pub(crate) fn memory(value: u64) -> String {
    let value = value as f64;
    let (mib, gib) = ((1u64 << 20) as f64, (1u64 << 30) as f64);
    if value >= gib { format!("{:.2} GiB", value / gib) } else { format!("{:.0} MiB", value / mib) }
}

/// A duration: `0.4 s`, `12 s`, `3 m 05 s`, `2 h 14 m`.
pub(crate) fn duration(secs: f64) -> String {
    if !secs.is_finite() || secs < 0.0 {
        return "–".to_owned();
    }
    if secs < 9.95 {
        return format!("{secs:.1} s");
    }
    let whole = secs.round() as u64;
    match whole {
        0..60 => format!("{whole} s"),
        60..3600 => format!("{} m {:02} s", whole / 60, whole % 60),
        3600..172_800 => format!("{} h {:02} m", whole / 3600, whole % 3600 / 60),
        _ => format!("{} d {} h", whole / 86_400, whole % 86_400 / 3600),
    }
}

/// A share as a percentage: `12.3 %`.
pub(crate) fn percent(share: f64) -> String {
    if share.is_finite() { format!("{:.1} %", share * 100.0) } else { "–".to_owned() }
}

/// How far an estimate lies from what was taken: `-12.3 %` where it said less.
pub(crate) fn off(estimated: f64, taken: f64) -> String {
    if taken > 0.0 { format!("{:+.1} %", (estimated / taken - 1.0) * 100.0) } else { "–".to_owned() }
}

/// A value of a metric: shares as percentages, the rest with three decimals.
pub(crate) fn metric(name: &str, value: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    if is_share(name) {
        percent(value)
    } else if value.abs() >= 1000.0 {
        short(value)
    } else {
        format!("{value:.3}")
    }
}

/// Whether a metric of this name is a share of one.
pub(crate) fn is_share(name: &str) -> bool {
    ["accuracy", "rate", "overlap", "share", "contaminat"].iter().any(|word| name.contains(word))
}

/// US dollars, never rounded to nothing.
pub(crate) fn usd(value: f64) -> String {
    if value > 0.0 && value < 0.01 { format!("${value:.4}") } else { format!("${value:.2}") }
}

/// The first twelve digits of a fingerprint.
pub(crate) fn fingerprint(full: &str) -> &str {
    full.get(..12).unwrap_or(full)
}

/// A time in UTC: `2026-03-01 14:05 UTC`.
pub(crate) fn time(millis: i64) -> String {
    jiff::Timestamp::from_millisecond(millis)
        .map_or_else(|_| "–".to_owned(), |time| time.strftime("%Y-%m-%d %H:%M UTC").to_string())
}

/// A metric's or a rule's name in words: `win_rate` to `win rate`.
pub(crate) fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// Text for HTML and SVG.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            _ => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_exact_enough() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(short(1_234_567.0), "1.23M");
        assert_eq!(short(0.5), "0.5");
        assert_eq!(short(0.003), "0.003");
        assert_eq!(short(0.04567), "0.0457");
        assert_eq!(short(100.0), "100");
        assert_eq!(short(3.14e17), "3.1e17");
        assert_eq!(short(f64::NAN), "–");
        assert_eq!(bytes(24_100_000), "24.1 MB");
        assert_eq!(memory(3 << 29), "1.50 GiB");
        assert_eq!(duration(0.42), "0.4 s");
        assert_eq!(duration(185.0), "3 m 05 s");
        assert_eq!(duration(8_040.0), "2 h 14 m");
        assert_eq!(metric("win_rate", 0.5731), "57.3 %");
        assert_eq!(metric("bpb", 1.98), "1.980");
        assert_eq!(usd(0.0012), "$0.0012");
        assert_eq!(escape("<a b=\"c\">"), "&lt;a b=&quot;c&quot;&gt;");
    }
}
