//! Markdown without what no reader sees: front matter and HTML comments.
//!
//! Code keeps its comments. What is code is told as CommonMark 0.31 tells it, for fences and inline code; code that is only indented
//! can't be told from the text of a list without parsing all blocks, so a comment in it goes. A comment that starts a line may reach
//! over paragraphs, one amid a line ends in its own; one that never ends is text.

use memchr::memmem;

/// Backticks in a row that may open inline code; nobody writes as many. It bounds how often a paragraph is looked through.
const MAX_TICKS: usize = 32;

/// Markdown without front matter and HTML comments.
pub(super) fn markdown(text: &str) -> String {
    let body = text
        .strip_prefix("---\n")
        .and_then(|rest| rest.split_once("\n---\n").map(|(_, body)| body))
        .unwrap_or(text);
    if memmem::find(body.as_bytes(), b"<!--").is_none() {
        return body.to_owned();
    }
    let mut scan = Scan {
        body,
        at: 0,
        text_start: 0,
        copied: 0,
        unclosed_to: 0,
        unmatched_to: [0; MAX_TICKS + 1],
        clean: String::with_capacity(body.len()),
    };
    while scan.at < body.len() {
        match Fence::opened(line_at(body, scan.at)) {
            Some(fence) => scan.at = fence.end(body, scan.at),
            None => scan.stretch(),
        }
    }
    scan.copy_to(body.len());
    scan.clean
}

/// Where the scan is, and what it kept. No byte is looked at over and over, whatever the text.
struct Scan<'t> {
    body: &'t str,
    /// The next byte to look at; between stretches the begin of a line.
    at: usize,
    /// Where the line's text starts behind blanks and marks, or where a comment at its start ended.
    text_start: usize,
    /// What is kept of the bytes before it is in `clean`.
    copied: usize,
    /// No comment ends between `at` and this byte.
    unclosed_to: usize,
    /// By number of backticks: between `at` and this byte no run of as many ends inline code.
    unmatched_to: [usize; MAX_TICKS + 1],
    clean: String,
}

impl Scan<'_> {
    /// Looks through the lines that inline code can reach over, and leaves `at` at the begin of a line.
    fn stretch(&mut self) {
        let bytes = self.body.as_bytes();
        let mut end = stretch_end(self.body, self.at);
        self.start_line();
        while self.at < end {
            match bytes[self.at] {
                b'\n' => {
                    self.at += 1;
                    self.start_line();
                }
                b'\\' if bytes.get(self.at + 1).is_some_and(u8::is_ascii_punctuation) => self.at += 2,
                b'`' => self.code(end),
                b'<' if self.body[self.at..].starts_with("<!--") => {
                    let starts_line = self.at <= self.text_start;
                    if self.comment(if starts_line { self.body.len() } else { end }) && starts_line {
                        self.text_start = self.at;
                        end = end.max(line_end(self.body, self.at));
                    }
                }
                _ => self.at += 1,
            }
        }
    }

    /// Finds out where the text of the line starts that starts here.
    fn start_line(&mut self) {
        let line = line_at(self.body, self.at);
        self.text_start = self.at + line.len() - past_marks(line).len();
    }

    /// Passes over inline code, or over the backticks that open none.
    fn code(&mut self, end: usize) {
        let bytes = &self.body.as_bytes()[..end];
        let run = |from: usize| bytes[from..].iter().take_while(|byte| **byte == b'`').count();
        let ticks = run(self.at);
        self.at += ticks;
        if ticks > MAX_TICKS || self.unmatched_to[ticks] >= end {
            return;
        }
        let mut from = self.at;
        while let Some(found) = memchr::memchr(b'`', &bytes[from..]) {
            let closing = run(from + found);
            from += found + closing;
            if closing == ticks {
                self.at = from;
                return;
            }
        }
        self.unmatched_to[ticks] = end;
    }

    /// Leaves out the comment that starts here; says whether it ends before `limit`.
    fn comment(&mut self, limit: usize) -> bool {
        if self.unclosed_to < limit {
            // `<!-->` is a whole one.
            let from = self.at + 2;
            if let Some(found) = memmem::find(&self.body.as_bytes()[from..limit], b"-->") {
                self.copy_to(self.at);
                self.at = from + found + 3;
                self.copied = self.at;
                return true;
            }
            self.unclosed_to = limit;
        }
        self.at += 4;
        false
    }

    fn copy_to(&mut self, to: usize) {
        self.clean.push_str(&self.body[self.copied..to]);
        self.copied = to;
    }
}

/// A fence that opened a block of code.
struct Fence {
    mark: char,
    marks: usize,
    is_quoted: bool,
}

impl Fence {
    /// The fence that a line opens, if it does: also in a quotation or behind the mark of a list.
    fn opened(line: &str) -> Option<Self> {
        let text = past_marks(line);
        let mark = text.chars().next().filter(|c| matches!(c, '`' | '~'))?;
        let info = text.trim_start_matches(mark);
        let marks = text.len() - info.len();
        let opens = marks >= 3 && !(mark == '`' && info.contains('`'));
        opens.then(|| Self { mark, marks, is_quoted: line.trim_start().starts_with('>') })
    }

    /// The begin of the line behind the block whose fence is at `start`. A quotation's block ends with it, one that is not closed with the text.
    fn end(&self, body: &str, start: usize) -> usize {
        let mut at = line_end(body, start);
        while at < body.len() {
            let line = line_at(body, at);
            let is_quoted = line.trim_start().starts_with('>');
            if self.is_quoted && !is_quoted {
                return at;
            }
            let text = line.trim_start_matches(|c| c == ' ' || c == '\t' || (self.is_quoted && c == '>'));
            at = line_end(body, at);
            let rest = text.trim_start_matches(self.mark);
            if text.len() - rest.len() >= self.marks && rest.trim().is_empty() {
                return at;
            }
        }
        at
    }
}

/// The line that starts at a byte, without its end.
fn line_at(body: &str, start: usize) -> &str {
    body[start..line_end(body, start)].trim_end_matches('\n')
}

/// The begin of the next line.
fn line_end(body: &str, at: usize) -> usize {
    memchr::memchr(b'\n', &body.as_bytes()[at..]).map_or(body.len(), |feed| at + feed + 1)
}

/// The end of the lines from `start` on that are one paragraph, heading or list item.
fn stretch_end(body: &str, start: usize) -> usize {
    let mut end = line_end(body, start);
    let first = line_at(body, start);
    while end < body.len() && !first.starts_with('#') {
        let line = line_at(body, end);
        let text = line.trim_start();
        let opens =
            text.is_empty() || text.starts_with('#') || item(text).is_some() || text.starts_with("<!--");
        if opens || Fence::opened(line).is_some() {
            break;
        }
        end = line_end(body, end);
    }
    end
}

/// A line's text behind blanks and the marks of quotations and lists.
fn past_marks(line: &str) -> &str {
    let mut text = line.trim_start_matches([' ', '\t']);
    while let Some(rest) = text.strip_prefix('>').or_else(|| item(text)) {
        text = rest.trim_start_matches([' ', '\t']);
    }
    text
}

/// What stands behind the mark of a list: `- `, `* `, `+ `, `1. `, `1) `.
fn item(text: &str) -> Option<&str> {
    let behind = text.strip_prefix(['-', '*', '+']).or_else(|| {
        let rest = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = text.len() - rest.len();
        rest.strip_prefix(['.', ')']).filter(|_| (1..=9).contains(&digits))
    })?;
    behind.starts_with([' ', '\t']).then_some(behind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn front_matter_and_comments_go() {
        assert_eq!(markdown("---\ntitle: x\n---\n# A\n<!-- b\nc -->\nd\n"), "# A\n\nd\n");
        assert_eq!(markdown("a <!-- b\nc --> d<!---->e<!-->f\n"), "a  def\n");
        assert_eq!(markdown("- x\n  <!-- b\n\n```\nc --> d <!-- e --> f\n"), "- x\n   d  f\n");
        assert_eq!(markdown("<!-- a --><!--\n\nb `-->x<!-- c -->\n"), "x\n");
        assert_eq!(
            markdown("# one ` tick\n<!-- a -->\n- ` <!-- b -->\n- `\n"),
            "# one ` tick\n\n- ` \n- `\n"
        );
    }

    #[test]
    fn code_keeps_its_comments() {
        for text in [
            "```html\n<!-- a -->\n```\n",
            "~~~\n```\n<!-- a -->\n~~~~\n",
            "1. x\n\n   ````md\n   ```\n   <!-- a -->\n   ````\n",
            "> ```\n> <!-- a -->\n> ```\n",
            "```\n<!-- a -->, never closed\n",
            "the marks `<!--` and `-->` of comments\n",
            "``x ` <!-- a -->`` and `over\nlines <!-- b -->`\n",
            "\\<!-- a -->\n",
        ] {
            assert_eq!(markdown(text), text);
        }
        assert_eq!(markdown("> ```\n> x\n\n<!-- a -->\n"), "> ```\n> x\n\n\n", "it ends with the quotation");
        assert_eq!(markdown("```x``` <!-- a -->\n"), "```x``` \n", "not a fence");
        assert_eq!(markdown("\\`<!-- a --> `\n"), "\\` `\n", "not code");
        assert_eq!(markdown("```\nx\n```\n<!-- a -->é\n"), "```\nx\n```\né\n");
    }

    #[test]
    fn a_comment_that_never_ends_is_text() {
        for text in
            ["a <!-- b\n\nc\n", "<!-- b\n\nc\n", "a <!-- b\n\n```\n<!-- c -->\n```\n", "a <!-", "<!--"]
        {
            assert_eq!(markdown(text), text);
        }
        assert_eq!(markdown("a <!-- b\n\nc <!-- d --> e\n"), "a <!-- b\n\nc  e\n");
    }

    #[test]
    fn hostile_texts_are_read_in_one_pass() {
        let ticks = |n: usize| (1..n).map(|n| "`".repeat(n) + " ").collect::<String>();
        for text in [
            "\\``` ".repeat(400_000),
            "a <!-- ".repeat(300_000),
            "<!--\n\n".repeat(300_000),
            ticks(2000),
            ">".repeat(1_000_000) + &"<!--".repeat(300_000),
        ] {
            let begin = std::time::Instant::now();
            assert_eq!(markdown(&(text.clone() + "\n\n<!-- x")), text + "\n\n<!-- x");
            assert!(begin.elapsed().as_secs() < 5);
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_and_only_loses(text in "(<!--|-->|`{1,4}|~~~|\\\\|\n|> |- |# |é|a){0,40}") {
            let clean = markdown(&text);
            let mut left = text.chars();
            proptest::prop_assert!(clean.chars().all(|c| left.any(|other| other == c)));
            proptest::prop_assert!(text.contains("-->") || clean == text);
        }
    }
}
