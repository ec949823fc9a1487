//! The chunked transfer coding (RFC 9112, section 7.1), as crawlers stored it.

/// A body without its chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Dechunked {
    /// What the chunks hold.
    pub(super) body: Vec<u8>,
    /// Whether the last chunk came.
    pub(super) complete: bool,
}

/// Joins the chunks of a body. `None` if it is not chunked: crawlers that store bodies joined leave the header as it was.
///
/// Broken chunks end the body; what came before them stays.
pub(super) fn dechunk(stored: &[u8]) -> Option<Dechunked> {
    let mut body = Vec::new();
    let mut rest = stored;
    let mut first = true;
    loop {
        let Some((length, after)) = chunk_line(rest) else {
            return (!first).then_some(Dechunked { body, complete: false });
        };
        if length == 0 {
            return Some(Dechunked { body, complete: true });
        }
        let chunk = after.get(..length).unwrap_or(after);
        let behind = after.get(length..).unwrap_or_default();
        let ended = behind.strip_prefix(b"\r\n").or_else(|| behind.strip_prefix(b"\n"));
        if first && ended.is_none() && length < after.len() {
            // A first line that only looks like a length.
            return None;
        }
        first = false;
        body.extend_from_slice(chunk);
        let Some(next) = ended else { return Some(Dechunked { body, complete: false }) };
        rest = next;
    }
}

/// The length that a chunk begins with, and what follows its line.
fn chunk_line(bytes: &[u8]) -> Option<(usize, &[u8])> {
    /// A line with its extensions.
    const MAX_LINE_BYTES: usize = 4096;
    let head = bytes.get(..MAX_LINE_BYTES).unwrap_or(bytes);
    let end = memchr::memchr(b'\n', head)?;
    let line = bytes.get(..end)?;
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let digits = std::str::from_utf8(digits).ok()?;
    let hex = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    let length = hex.then(|| usize::from_str_radix(digits, 16).ok()).flatten()?;
    Some((length, bytes.get(end + 1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn joined(stored: &str) -> Option<(String, bool)> {
        dechunk(stored.as_bytes()).map(|found| (String::from_utf8(found.body).unwrap(), found.complete))
    }

    #[test]
    fn chunks_are_joined_and_broken_ones_end_the_body() {
        let some = |body: &str, complete| Some((body.to_owned(), complete));
        assert_eq!(joined("4\r\nWiki\r\n5;x=\"y\"\r\npedia\r\n0\r\n\r\n"), some("Wikipedia", true));
        assert_eq!(joined("4\nWiki\n0\n\n"), some("Wiki", true));
        assert_eq!(joined("4\r\nWiki\r\nzz\r\npedia"), some("Wiki", false));
        assert_eq!(joined("4\r\nWiki\r\n50\r\npedia"), some("Wikipedia", false));
        assert_eq!(joined("4\r\nWikipedia"), None);
        assert_eq!(joined("<html>"), None);
        assert_eq!(joined("ffffffffffffffff\r\nx"), some("x", false));
        assert_eq!(joined("fffffffffffffffff\r\nx"), None);
    }
}
