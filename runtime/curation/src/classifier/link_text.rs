//! Where links stand in the text of a page and of a wiki article.

/// Whether a tag's value in quotes is open at the end. A quote counts behind a `=` alone.
pub(super) fn is_in_quotes(tag: &[u8]) -> bool {
    let (mut open, mut before) = (None, b' ');
    for byte in tag {
        match open {
            Some(quote) if quote == *byte => open = None,
            None if before == b'=' && matches!(byte, b'"' | b'\'') => open = Some(*byte),
            _ => {}
        }
        if !byte.is_ascii_whitespace() {
            before = *byte;
        }
    }
    open.is_some()
}

/// The value of an attribute.
pub(super) fn attribute(tag: &str, wanted: &str) -> Option<String> {
    let mut rest = tag;
    loop {
        rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace() || c == '/');
        let end =
            rest.find(|c: char| c.is_ascii_whitespace() || matches!(c, '=' | '/')).unwrap_or(rest.len());
        let name = &rest[..end];
        rest = rest[end..].trim_start();
        let mut value = "";
        if let Some(behind) = rest.strip_prefix('=') {
            let behind = behind.trim_start();
            let quote = behind.chars().next().filter(|c| matches!(c, '"' | '\''));
            let (start, length) = match quote {
                Some(quote) => (1, behind[1..].find(quote).unwrap_or(behind.len() - 1)),
                None => (0, behind.find(|c: char| c.is_ascii_whitespace()).unwrap_or(behind.len())),
            };
            value = &behind[start..start + length];
            rest = &behind[(start + length + start).min(behind.len())..];
        } else if name.is_empty() {
            return None;
        }
        if name.eq_ignore_ascii_case(wanted) {
            return Some(value.to_owned());
        }
    }
}

/// Whether an address names a host.
pub(super) fn starts_as_address(link: &str) -> bool {
    let starts = |with: &str| link.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with));
    starts("http://") || starts("https://") || starts("//")
}

/// Undoes the five entities of XML and numeric ones.
pub(super) fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let entity = rest.as_bytes().iter().take(12).position(|byte| *byte == b';').map(|end| &rest[1..end]);
        let decoded = entity.and_then(|name| match name {
            "lt" => Some('<'),
            "gt" => Some('>'),
            "quot" => Some('"'),
            "amp" => Some('&'),
            "apos" => Some('\''),
            _ => {
                let digits = name.strip_prefix('#')?;
                let code = match digits.strip_prefix(['x', 'X']) {
                    Some(hex) => u32::from_str_radix(hex, 16),
                    None => digits.parse(),
                };
                char::from_u32(code.ok()?)
            }
        });
        out.push(decoded.unwrap_or('&'));
        rest = &rest[decoded.and(entity).map_or(1, |name| name.len() + 2)..];
    }
    out.push_str(rest);
    out
}

/// Calls `each` with every external link of a wiki text: behind `http://` or `https://`, or behind `//` in brackets or as a template's value.
pub(super) fn wiki_links(text: &str, mut each: impl FnMut(&str)) {
    let mut from = 0;
    while let Some(found) = text[from..].find("//") {
        let slashes = from + found;
        let before = &text[from..slashes];
        let scheme = ["https:", "http:"].into_iter().find(|scheme| {
            before.len() >= scheme.len()
                && before.as_bytes()[before.len() - scheme.len()..].eq_ignore_ascii_case(scheme.as_bytes())
        });
        let is_bare = before.trim_end().ends_with('=') || before.ends_with('[') && !before.ends_with("[[");
        if scheme.is_none() && !is_bare {
            from = slashes + 2;
            continue;
        }
        let start = slashes - scheme.map_or(0, str::len);
        let end = slashes + 2 + link_end(&text[slashes + 2..]);
        if end > slashes + 2 {
            each(&text[start..end]);
        }
        from = end;
    }
}

/// Where a link ends, as MediaWiki sees it: not with a full stop or its like, and not with a bracket that it has not opened.
fn link_end(text: &str) -> usize {
    let is_end = |c: char| c.is_whitespace() || c.is_control() || "<>\"[]{}|".contains(c);
    let mut end = text.find(is_end).unwrap_or(text.len());
    // Two apostrophes begin italics.
    end = text[..end].find("''").unwrap_or(end);
    let has_bracket = text[..end].contains('(');
    let is_behind = |c: char| ",;.:!?\\".contains(c) || c == ')' && !has_bracket;
    text[..end].trim_end_matches(is_behind).len()
}
