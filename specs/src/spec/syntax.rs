//! What is wrong with text that is not YAML, in words that say what to do: the scanner's own words speak of its states.

use super::codes::Code;
use super::recover::is_item;
use super::session::Session;
use super::text::Text;
use super::tree::Spot;

/// Why the scanner stopped.
pub(crate) struct Syntax {
    /// Where.
    pub(crate) spot: Spot,
    /// Its own words.
    pub(crate) info: String,
    /// The collections that were open, outermost first.
    pub(crate) open: Vec<Spot>,
}

/// What a user reads.
struct Words {
    spot: Spot,
    message: String,
    expected: String,
}

/// Reports the problem and gives the place that is to blame, which is on no line that was cut out.
pub(crate) fn explain(problem: &Syntax, is_cut: &dyn Fn(u32) -> bool, session: &mut Session<'_>) -> Spot {
    let Some(text) = session.text(problem.spot.text) else { return problem.spot };
    let words = of_control(problem, text)
        .or_else(|| of_tab(problem, is_cut, text))
        .or_else(|| of_placeholder(problem, text))
        .or_else(|| of_quotes(problem, text))
        .or_else(|| of_open_bracket(problem, text))
        .or_else(|| of_colon(problem, is_cut, text))
        .or_else(|| of_indentation(problem, text))
        .or_else(|| of_character(problem, text))
        .unwrap_or_else(|| Words {
            spot: problem.spot,
            message: format!("this is not YAML: {}", problem.info),
            expected: String::new(),
        });
    let is_elsewhere = words.spot.line != problem.spot.line;
    let origin = session.origin(problem.spot);
    let error = session.error(Code::Syntax, words.spot, words.message);
    error.expecting(words.expected);
    if is_elsewhere {
        error.noting(origin, "here it can't be read on");
    }
    words.spot
}

impl Words {
    #[allow(clippy::unnecessary_wraps, reason = "every caller may also find nothing")]
    fn at(spot: Spot, message: impl Into<String>, expected: impl Into<String>) -> Option<Self> {
        Some(Self { spot, message: message.into(), expected: expected.into() })
    }
}

/// A character that is not printable.
fn of_control(problem: &Syntax, text: &Text) -> Option<Words> {
    let c = text.line(problem.spot.line).chars().nth(problem.spot.column as usize - 1)?;
    if !c.is_control() || c == '\t' {
        return None;
    }
    let message = format!("the control character U+{:04X} stands here", u32::from(c));
    Words::at(Spot { length: 1, ..problem.spot }, message, "printable text")
}

/// A tab that indents the line, one just above it, or the one below.
fn of_tab(problem: &Syntax, is_cut: &dyn Fn(u32) -> bool, text: &Text) -> Option<Words> {
    let last = problem.spot.line;
    let near = [last, last + 1, last.saturating_sub(1), last.saturating_sub(2)];
    let spot = near.into_iter().filter(|number| *number > 0 && !is_cut(*number)).find_map(|number| {
        let line = text.line(number);
        let blank = line.len() - line.trim_start_matches([' ', '\t']).len();
        let tab = line[..blank].find('\t')?;
        let spot = Spot { line: number, column: tab as u32 + 1, length: 1, ..problem.spot };
        (blank < line.len()).then_some(spot)
    });
    if let Some(spot) = spot {
        return Words::at(spot, "a tab indents this line", "spaces: YAML does not indent with tabs");
    }
    let at = problem.spot.column as usize - 1;
    let mut around = text.line(last).chars().enumerate().skip(at.saturating_sub(1)).take(2);
    let (tab, _) = around.find(|(_, c)| *c == '\t')?;
    Words::at(Spot { column: tab as u32 + 1, ..problem.spot }, "a tab stands here", "a space")
}

/// `{ depth: ${vars.depth} }`: the brace of the placeholder opens a mapping.
fn of_placeholder(problem: &Syntax, text: &Text) -> Option<Words> {
    let spot = problem.spot;
    let line: Vec<char> = text.line(spot.line).chars().collect();
    let brace = spot.column as usize - 1;
    if line.get(brace) != Some(&'{') || brace == 0 || line[brace - 1] != '$' {
        return None;
    }
    let end = line[brace..].iter().position(|c| *c == '}')?;
    let placeholder: String = line[brace - 1..=brace + end].iter().collect();
    Words::at(
        Spot { column: spot.column - 1, length: end as u32 + 2, ..spot },
        format!("`{placeholder}` stands without quotes between braces or brackets"),
        format!("\"{placeholder}\""),
    )
}

/// Quotes that do not close, text behind them, and escapes.
fn of_quotes(problem: &Syntax, text: &Text) -> Option<Words> {
    let (spot, info) = (problem.spot, problem.info.as_str());
    if info.contains("block scalar") && info.contains("comment or line break") {
        let message = "text stands on the line of `|` or `>`";
        return Words::at(spot, message, "the text on the lines below, indented; or quotes around it all");
    }
    if info.contains("trailing content") {
        return Words::at(spot, "there is text behind the closing quote", "quotes around the whole value");
    }
    if !info.contains("quoted scalar") {
        return None;
    }
    let rest: Vec<char> = text.line(spot.line).chars().skip(spot.column as usize - 1).collect();
    if info.contains("escape") || info.contains("hexadecimal") {
        let escape = bad_escape(&rest);
        let spot = escape.map_or(spot, |at| Spot { column: spot.column + at as u32, length: 2, ..spot });
        return Words::at(
            spot,
            "YAML does not know this escape",
            "`\\\\` for a backslash, or single quotes around the text: in them nothing is escaped",
        );
    }
    let quote = rest.first().copied().unwrap_or('"');
    Words::at(
        Spot { length: 1, ..spot },
        format!("this `{quote}` is not closed"),
        format!("a second `{quote}` at the end of the text"),
    )
}

/// The place of the first escape in a quoted text that YAML does not know.
fn bad_escape(quoted: &[char]) -> Option<usize> {
    let mut at = 1;
    while at + 1 < quoted.len() {
        match (quoted[at], quoted[at + 1]) {
            ('\\', next) if !"0abt\tnvfre \"/\\N_LP".contains(next) => return Some(at),
            ('\\', _) => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// A brace or bracket that does not close, one that closes nothing, and a comma that is missing.
fn of_open_bracket(problem: &Syntax, text: &Text) -> Option<Words> {
    let (spot, info) = (problem.spot, problem.info.as_str());
    if info == "misplaced bracket" {
        return Words::at(spot, "this closes nothing", "as many closing brackets as opening ones");
    }
    let open = problem.open.last()?;
    let bracket = text.line(open.line).chars().nth(open.column as usize - 1)?;
    let closing = match bracket {
        '{' => '}',
        '[' => ']',
        _ => return None,
    };
    if open.line == spot.line && text.find(spot, &closing.to_string()).is_some() {
        return info.contains("expected ','").then(|| of_missing_comma(spot, closing, text));
    }
    Words::at(*open, format!("this `{bracket}` is not closed"), format!("`{closing}` at its end"))
}

/// Something between braces or brackets that goes on where a comma should be: a key, or brackets behind a word.
fn of_missing_comma(spot: Spot, closing: char, text: &Text) -> Words {
    let line: Vec<char> = text.line(spot.line).chars().collect();
    let at = (spot.column as usize - 1).min(line.len());
    let start = line[..at].iter().rposition(|c| " ,[{".contains(*c)).map_or(0, |before| before + 1);
    let here =
        |from: usize, to: usize| Spot { column: from as u32 + 1, length: (to - from).max(1) as u32, ..spot };
    let word: String = line[start..at].iter().collect();
    let bracket = line.get(at).copied().unwrap_or(' ');
    if "[{".contains(bracket) && start < at {
        let end = line[at..].iter().position(|c| "]}".contains(*c)).map_or(at + 1, |end| at + end + 1);
        let word: String = line[start..end].iter().collect();
        return Words {
            spot: here(start, end),
            message: format!("`{word}` stands without quotes between braces or brackets"),
            expected: format!("\"{word}\""),
        };
    }
    let (spot, this) = if bracket == ':' && start < at {
        (here(start, at), format!("`{word}`"))
    } else {
        (spot, "this".to_owned())
    };
    Words {
        spot,
        message: format!("a `,` or the closing `{closing}` is missing before {this}"),
        expected: "a comma between two entries; quotes around text that holds `: `, `{` or `[`".to_owned(),
    }
}

/// A colon too much, one without a space, and none at all.
fn of_colon(problem: &Syntax, is_cut: &dyn Fn(u32) -> bool, text: &Text) -> Option<Words> {
    let (spot, info) = (problem.spot, problem.info.as_str());
    let above = (1..spot.line).rev().find(|number| !is_empty(text.line(*number)) && !is_cut(*number));
    if info.contains("expect ':'") || info == "simple key expected" {
        let number = above?;
        return Words::at(whole(text, number, spot), "this line has no `: `", "`key: value`");
    }
    if !info.contains("mapping values are not allowed") {
        return None;
    }
    if let Some(number) = above {
        let line = text.line(number);
        let word = line.trim();
        let (key, value) = word.split_once(':').unwrap_or((word, ""));
        if !value.is_empty() && !value.starts_with(' ') && !key.contains([' ', '"', '\'']) {
            let expected = format!("a space behind the colon: `{key}: {value}`");
            return Words::at(whole(text, number, spot), format!("`{word}` is one word"), expected);
        }
        let (own, other) = (indent(text.line(spot.line)), indent(line));
        if own > other && !value.trim().is_empty() {
            let message = format!("this line is indented under `{key}`, which has a value already");
            let expected = format!("{} as in the line above", spaces(other));
            return Words::at(whole(text, spot.line, spot), message, expected);
        }
    }
    Words::at(spot, "a second `: ` stands in this value", "quotes around text that holds `: `")
}

/// Lines that are indented between those around them, and entries of another kind.
fn of_indentation(problem: &Syntax, text: &Text) -> Option<Words> {
    let (spot, info) = (problem.spot, problem.info.as_str());
    if info.contains("'-' indicator") {
        let message = "a list goes on here, and this is no item of it";
        return Words::at(whole(text, spot.line, spot), message, "`- ` in front of it, or less indentation");
    }
    if info.contains("expected key") && is_item(text.line(spot.line)) {
        let above = (1..spot.line).rev().map(|number| text.line(number)).find(|line| !is_empty(line))?;
        let (own, other) = (indent(text.line(spot.line)), indent(above));
        if is_item(above) && own != other {
            let message = format!("this item is indented by {}, the one above it by {other}", spaces(own));
            return Words::at(whole(text, spot.line, spot), message, spaces(other));
        }
        let message = "an item of a list stands between the keys of a mapping";
        return Words::at(
            whole(text, spot.line, spot),
            message,
            "`key: value`, or the items under a key of their own",
        );
    }
    let is_about_it =
        ["expected key", "indentation", "wrongly indented"].iter().any(|word| info.contains(word));
    let own = indent(text.line(spot.line));
    if !is_about_it || info.contains("expected key") && own + 1 != spot.column as usize {
        return None;
    }
    let above = (1..spot.line).rev().map(|number| text.line(number)).find(|line| !is_empty(line))?;
    let mut around: Vec<usize> = problem.open.iter().map(|open| open.column as usize - 1).collect();
    around.push(indent(above));
    around.retain(|other| *other != own);
    around.sort_unstable();
    around.dedup();
    let nearest = &around[around.len().saturating_sub(2)..];
    let nearest: Vec<String> = nearest.iter().map(ToString::to_string).collect();
    Words::at(
        whole(text, spot.line, spot),
        format!("this line is indented by {}, which fits no line above it", spaces(own)),
        format!("{} spaces", nearest.join(" or ")),
    )
}

/// Characters that mean something to YAML.
fn of_character(problem: &Syntax, text: &Text) -> Option<Words> {
    let (spot, info) = (problem.spot, problem.info.as_str());
    let rest: String = text.line(spot.line).chars().skip(spot.column as usize - 1).collect();
    let word = rest.split([' ', ',', ']', '}']).next().unwrap_or_default();
    let spot = Spot { length: word.chars().count().max(1) as u32, ..spot };
    if info.contains("unknown anchor") || info.contains("anchor or alias") {
        let name = word.trim_start_matches(['*', '&']);
        let message = format!("`{word}` is an alias, and no anchor `&{name}` stands above it");
        return Words::at(spot, message, format!("\"{word}\" in quotes, if it is text"));
    }
    if let Some(first) = info.strip_prefix("unexpected character: `").and_then(|rest| rest.chars().next()) {
        return Words::at(
            spot,
            format!("a value can't start with `{first}`"),
            format!("\"{word}\" in quotes"),
        );
    }
    None
}

/// A line without its indentation.
fn whole(text: &Text, number: u32, spot: Spot) -> Spot {
    let line = text.line(number);
    let length = line.trim().chars().count().max(1) as u32;
    Spot { line: number, column: indent(line) as u32 + 1, length, ..spot }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// Whether a line is blank or a comment.
fn is_empty(line: &str) -> bool {
    let line = line.trim();
    line.is_empty() || line.starts_with('#')
}

/// `1 space`, `2 spaces`.
fn spaces(count: usize) -> String {
    if count == 1 { "1 space".to_owned() } else { format!("{count} spaces") }
}
