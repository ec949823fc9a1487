//! The prose of a document: trigram models know no code, so that code is taken out before its language is judged.

/// So much prose is enough to judge by, bytes.
const MAX_BYTES: usize = 4096;

/// What a document's text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prose {
    /// Text: all of it.
    #[default]
    Text,
    /// Markdown: all but code, tables, links and names.
    Markdown,
    /// Rust source: its comments, read as Markdown.
    Rust,
}

impl Prose {
    /// The prose of a text, up to some thousand bytes.
    pub fn of(self, text: &str) -> String {
        let mut prose = String::new();
        let mut in_fence = false;
        for line in text.lines() {
            if prose.len() >= MAX_BYTES {
                break;
            }
            let line = line.trim_start();
            match self {
                Self::Rust => {
                    let Some(comment) = line.strip_prefix("//").or_else(|| line.strip_prefix("* ")) else {
                        continue;
                    };
                    words(comment.trim_start_matches(['/', '!']), &mut in_fence, &mut prose);
                }
                Self::Markdown => words(line, &mut in_fence, &mut prose),
                Self::Text => {
                    // One line may be the whole document.
                    prose.push_str(&line[..line.floor_char_boundary(MAX_BYTES)]);
                    prose.push('\n');
                }
            }
        }
        prose
    }
}

/// Appends a line's words that are no code, no link and no name.
fn words(line: &str, in_fence: &mut bool, prose: &mut String) {
    let line = line.trim_start();
    if line.starts_with("```") || line.starts_with("~~~") {
        *in_fence = !*in_fence;
        return;
    }
    if *in_fence || line.starts_with('|') {
        return;
    }
    for (index, stretch) in line.split('`').enumerate() {
        if index % 2 == 1 {
            continue;
        }
        for word in stretch.split_whitespace() {
            let plain = word.trim_matches(|c: char| c.is_ascii_punctuation());
            let is_name = plain.contains(['_', '/', ':', '@', '=', '<', '(', '.', '[']);
            if !is_name && !plain.is_empty() {
                let length = plain.floor_char_boundary(MAX_BYTES);
                prose.push_str(&plain[..length]);
                prose.push(' ');
            }
        }
        if prose.len() >= MAX_BYTES {
            break;
        }
    }
    prose.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_links_and_names_are_left_out() {
        let text = "# A *head*\n```\nlet x = 1;\n```\n| a | b |\nSee `x` at https://a.de or a.b, please.\n~~~\ny\n~~~\nEnd.";
        assert_eq!(Prose::Markdown.of(text), "A head \nSee at or please \nEnd \n");
        assert_eq!(
            Prose::Rust.of("//! Docs here.\nfn a() {} // no\n /* x\n * more\n"),
            "Docs here \nmore \n"
        );
        assert_eq!(Prose::Text.of(" a\nb"), "a\nb\n");
        assert!(Prose::Text.of(&"é".repeat(1_000_000)).len() <= MAX_BYTES + 1);
        assert!(Prose::Markdown.of(&"é ".repeat(1_000_000)).len() <= 3_000_010);
    }
}
