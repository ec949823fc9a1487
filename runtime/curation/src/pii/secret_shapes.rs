//! Keys that their makers gave a shape: a prefix, a length and an alphabet.

use std::ops::Range;

use super::context::{before, is_wordy, run_end};
use super::secret::entropy;

/// What a key is made of after its prefix.
#[derive(Debug, Clone, Copy)]
enum Of {
    /// Capital letters and digits.
    Capitals,
    /// Letters and digits.
    Letters,
    /// Letters, digits, `_` and `-`.
    Url,
    /// Hexadecimal digits.
    Hex,
    /// Letters, digits, `_`, `-` and `.`: several parts.
    Parts,
    /// Letters, digits and `/`.
    Path,
}

/// A prefix, the alphabet of what follows, and its least and most length in bytes.
struct Shape(&'static str, Of, usize, usize);

const SHAPES: [Shape; 62] = [
    // Amazon, Google, Microsoft.
    Shape("AKIA", Of::Capitals, 16, 16),
    Shape("ASIA", Of::Capitals, 16, 16),
    Shape("ABIA", Of::Capitals, 16, 16),
    Shape("ACCA", Of::Capitals, 16, 16),
    Shape("AIza", Of::Url, 35, 35),
    Shape("ya29.", Of::Parts, 30, 1024),
    Shape("GOCSPX-", Of::Url, 28, 28),
    // Code hosts and package registries.
    Shape("ghp_", Of::Letters, 36, 255),
    Shape("gho_", Of::Letters, 36, 255),
    Shape("ghu_", Of::Letters, 36, 255),
    Shape("ghs_", Of::Letters, 36, 255),
    Shape("ghr_", Of::Letters, 36, 255),
    Shape("github_pat_", Of::Url, 60, 255),
    Shape("glpat-", Of::Parts, 20, 300),
    Shape("gldt-", Of::Url, 20, 64),
    Shape("glrt-", Of::Parts, 20, 300),
    Shape("glptt-", Of::Url, 40, 64),
    Shape("glcbt-", Of::Url, 20, 64),
    Shape("npm_", Of::Letters, 36, 36),
    Shape("pypi-", Of::Url, 50, 1024),
    Shape("rubygems_", Of::Hex, 48, 48),
    Shape("cio", Of::Letters, 32, 32),
    Shape("dckr_pat_", Of::Url, 24, 64),
    // Chat and mail.
    Shape("xoxa-", Of::Url, 10, 255),
    Shape("xoxb-", Of::Url, 10, 255),
    Shape("xoxe-", Of::Url, 10, 255),
    Shape("xoxe.xoxp-", Of::Url, 10, 255),
    Shape("xoxo-", Of::Url, 10, 255),
    Shape("xoxp-", Of::Url, 10, 255),
    Shape("xoxr-", Of::Url, 10, 255),
    Shape("xoxs-", Of::Url, 10, 255),
    Shape("xapp-", Of::Url, 10, 255),
    Shape("hooks.slack.com/services/", Of::Path, 30, 100),
    Shape("SG.", Of::Parts, 60, 80),
    Shape("xkeysib-", Of::Url, 64, 100),
    Shape("key-", Of::Hex, 32, 32),
    // Payment.
    Shape("sk_live_", Of::Letters, 20, 255),
    Shape("rk_live_", Of::Letters, 20, 255),
    Shape("sk_test_", Of::Letters, 20, 255),
    Shape("rk_test_", Of::Letters, 20, 255),
    Shape("whsec_", Of::Letters, 24, 255),
    Shape("sq0atp-", Of::Url, 22, 22),
    Shape("sq0csp-", Of::Url, 43, 43),
    Shape("shpat_", Of::Hex, 32, 32),
    Shape("shpss_", Of::Hex, 32, 32),
    // Models.
    Shape("sk-", Of::Url, 32, 255),
    Shape("hf_", Of::Letters, 30, 64),
    Shape("gsk_", Of::Letters, 40, 80),
    Shape("r8_", Of::Letters, 37, 40),
    Shape("nvapi-", Of::Url, 60, 80),
    Shape("pplx-", Of::Letters, 40, 64),
    // Clouds and tools.
    Shape("dop_v1_", Of::Hex, 64, 64),
    Shape("doo_v1_", Of::Hex, 64, 64),
    Shape("dapi", Of::Hex, 32, 34),
    Shape("hvs.", Of::Url, 24, 255),
    Shape("glsa_", Of::Url, 40, 48),
    Shape("lin_api_", Of::Letters, 32, 64),
    Shape("PMAK-", Of::Url, 50, 70),
    Shape("tskey-", Of::Url, 20, 80),
    Shape("AGE-SECRET-KEY-1", Of::Capitals, 58, 58),
    Shape("SK", Of::Hex, 32, 32),
    Shape("AC", Of::Hex, 32, 32),
];

/// The prefixes that the scan looks for; those of Twilio are too short to announce anything, and are seen by the digits in their keys.
pub(super) fn prefixes() -> impl Iterator<Item = &'static str> {
    SHAPES.iter().map(|shape| shape.0).filter(|prefix| prefix.len() > 2)
}

/// The key with a prefix at `start`.
pub(super) fn key_at(text: &str, start: usize) -> Option<Range<usize>> {
    let rest = &text.as_bytes()[start..];
    let shapes = SHAPES.iter().filter(|shape| rest.starts_with(shape.0.as_bytes()));
    shapes.filter_map(|shape| shaped(text, start, shape)).max_by_key(|range| range.end)
}

fn shaped(text: &str, start: usize, Shape(prefix, of, least, most): &Shape) -> Option<Range<usize>> {
    let previous = before(text, start);
    let is_link = prefix.ends_with('/');
    if !is_link && (is_wordy(previous) || (previous == Some('-') && prefix.len() < 5)) {
        return None;
    }
    let bytes = text.as_bytes();
    let body = start + prefix.len();
    let belongs = |byte: u8| match of {
        Of::Capitals => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
        Of::Letters => byte.is_ascii_alphanumeric(),
        Of::Url => byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-',
        Of::Hex => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        Of::Parts => byte.is_ascii_alphanumeric() || b"_-.".contains(&byte),
        Of::Path => byte.is_ascii_alphanumeric() || byte == b'/',
    };
    let end = run_end(bytes, body, most + 1, belongs);
    let end = body + text[body..end].trim_end_matches(['.', '/']).len();
    let found = text.get(body..end)?;
    let is_whole =
        (*least..=*most).contains(&found.len()) && (!bytes.get(end).is_some_and(u8::is_ascii_alphanumeric));
    let is_said_example =
        text[start..end].contains("EXAMPLE") || found.to_ascii_lowercase().contains("xxxxx");
    // `sk-some-long-name-of-a-page`: words, not a key.
    let words =
        found.split(['-', '_']).all(|part| part.len() < 16) && matches!(of, Of::Url) && prefix.len() < 5;
    (is_whole && !is_said_example && !words && entropy(found) > 2.5).then_some(start..end)
}

/// A JSON web token: three parts, the first two JSON objects in base64.
pub(super) fn web_token(text: &str, start: usize) -> Option<Range<usize>> {
    if is_wordy(before(text, start)) {
        return None;
    }
    let bytes = text.as_bytes();
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let head = run_end(bytes, start, 4096, is_part);
    let body = run_end(bytes, head + 1, 16_384, is_part);
    let tail = run_end(bytes, body + 1, 4096, is_part);
    let dots = bytes.get(head) == Some(&b'.') && bytes.get(body) == Some(&b'.');
    let is_token = dots
        && head >= start + 13
        && text[head + 1..].starts_with("ey")
        && body >= head + 14
        && tail >= body + 11;
    is_token.then_some(start..tail)
}
