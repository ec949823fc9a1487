//! The report as one self-contained page.

use std::fmt::Write as _;

use super::{Axis, Compression, Example, Kind, Token, TokenizerReport, Usage};

/// Characters of a token that are shown.
const MOST_CHARS: usize = 80;

const HEAD: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
<title>Tokenizer</title><style>body{font:15px/1.5 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#222}\
table{border-collapse:collapse;margin:.5rem 0 1.5rem}th,td{padding:.2rem .7rem;text-align:right;border-bottom:1px solid #ddd}\
th:first-child,td:first-child{text-align:left}td.text{text-align:left;font-family:ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}\
.tokens{font-family:ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}.tokens span:nth-child(odd){background:#e3eefc}\
.tokens span:nth-child(even){background:#fdebd0}.good{color:#176e2c}.bad{color:#a12a1b}\
@media(prefers-color-scheme:dark){body{background:#16181c;color:#ddd}th,td{border-color:#444}.tokens span:nth-child(odd){background:#23405f}\
.tokens span:nth-child(even){background:#5a4320}.good{color:#6fce86}.bad{color:#f08b7d}}</style></head><body><h1>Tokenizer</h1>";

/// The page. `facts` stand on top of it: what the tokenizer is and what it was trained on, each a name and a value.
pub fn page(facts: &[(&str, String)], report: &TokenizerReport) -> String {
    let mut page = HEAD.to_owned();
    page += "<table>";
    for (name, value) in facts {
        let _ = write!(page, "<tr><td>{}</td><td>{}</td></tr>", escaped(name), escaped(value));
    }
    page += "</table>";
    for (axis, title) in
        [(Axis::Domain, "Bytes per token by domain"), (Axis::Language, "Bytes per token by language")]
    {
        let groups: Vec<&Compression> =
            report.compression.iter().filter(|group| group.axis == axis).collect();
        if !groups.is_empty() {
            compression(&mut page, title, &groups);
        }
    }
    usage(&mut page, &report.usage);
    longest(&mut page, &report.longest);
    page += "<h2>How texts are split</h2>";
    for example in &report.examples {
        show(&mut page, example);
    }
    page += "</body></html>\n";
    page
}

/// A table of groups, each tokenizer a column.
fn compression(page: &mut String, title: &str, groups: &[&Compression]) {
    let names = groups.first().map_or(&[][..], |group| &group.references[..]);
    let _ = write!(
        page,
        "<h2>{title}</h2><p>Of text that training did not see. More is better{}.</p><table><tr><th></th><th>texts</th><th>bytes</th><th>tokens</th><th>this one</th>",
        if names.is_empty() {
            ""
        } else {
            "; behind each other tokenizer, how many of its tokens one of this one's stands for"
        }
    );
    for other in names {
        let _ = write!(page, "<th>{}</th><th></th>", escaped(&other.name));
    }
    *page += "</tr>";
    for group in groups {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>",
            escaped(&group.group),
            group.num_texts,
            group.num_bytes,
            group.num_tokens,
            figure(group.bytes_per_token)
        );
        for other in &group.references {
            let class = other.ratio.map_or("", |ratio| if ratio >= 1.0 { "good" } else { "bad" });
            let (its, ratio) = (figure(other.bytes_per_token), figure(other.ratio));
            let _ = write!(page, "<td>{its}</td><td class=\"{class}\">{ratio}</td>");
        }
        *page += "</tr>";
    }
    *page += "</table>";
}

fn usage(page: &mut String, usage: &Usage) {
    let _ = write!(
        page,
        "<h2>Vocabulary</h2><p>The texts use {} of {} tokens{}.</p><table><tr><th>kind</th><th>tokens</th><th>of the vocabulary</th><th>used</th><th>of the text</th></tr>",
        usage.num_used,
        usage.num_tokens,
        usage.share_used.map_or_else(String::new, |share| format!(" ({:.1} %)", share * 100.0))
    );
    for kind in &usage.kinds {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{:.1} %</td><td>{}</td><td>{}</td></tr>",
            words(kind.kind),
            kind.num_tokens,
            kind.share_of_vocabulary * 100.0,
            kind.num_used,
            kind.share_of_text.map_or_else(|| "–".to_owned(), |share| format!("{:.1} %", share * 100.0))
        );
    }
    *page += "</table>";
}

fn longest(page: &mut String, tokens: &[Token]) {
    *page +=
        "<h2>The longest tokens</h2><table><tr><th>id</th><th>bytes</th><th>kind</th><th>token</th></tr>";
    for token in tokens {
        let _ = write!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{}</td></tr>",
            token.id,
            token.num_bytes,
            words(token.kind),
            shown(&token.text)
        );
    }
    *page += "</table>";
}

fn show(page: &mut String, example: &Example) {
    let name = example.name.replace('_', " ");
    let _ = write!(page, "<h3>{}: {} tokens</h3><p class=\"tokens\">", escaped(&name), example.num_tokens);
    for token in &example.tokens {
        let _ = write!(page, "<span title=\"{}\">{}</span>", token.id, shown(&token.text));
    }
    if example.tokens.len() < example.num_tokens as usize {
        *page += "…";
    }
    *page += "</p>";
}

fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Special => "special",
        Kind::Unused => "unused ids",
        Kind::Fragment => "parts of characters",
        Kind::Whitespace => "white space",
        Kind::OtherScript => "other scripts",
        Kind::SpacedWord => "words with a space",
        Kind::Word => "words",
        Kind::Digits => "digits",
        Kind::Punctuation => "punctuation",
        Kind::Mixed => "mixed",
    }
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), |value| format!("{value:.3}"))
}

/// A token's text, cut, with its blanks at the ends still seen.
fn shown(text: &str) -> String {
    let cut: String = text.chars().take(MOST_CHARS).collect();
    let dots = if cut.len() < text.len() { "…" } else { "" };
    escaped(&cut).replace('\n', "↵\n") + dots
}

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '&' => safe += "&amp;",
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '"' => safe += "&quot;",
            // A page holds no controls.
            '\t' | '\n' => safe.push(char),
            char if char.is_control() => {
                let _ = write!(safe, "U+{:04X}", u32::from(char));
            }
            char => safe.push(char),
        }
    }
    safe
}
