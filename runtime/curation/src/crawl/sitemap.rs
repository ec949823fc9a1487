//! Sitemaps (sitemaps.org, protocol 0.9): lists of pages and lists of lists. Only `<loc>` is looked at, so no XML parser is needed, and none can be
//! made to expand anything.

use std::io::Read;

/// Bytes of an unpacked sitemap: what the protocol allows.
const MAX_SITEMAP_BYTES: u64 = 50 << 20;
/// Addresses of a sitemap: what the protocol allows.
const MAX_ADDRESSES: usize = 50_000;

/// What a sitemap lists.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Sitemap {
    /// Pages.
    pub(super) pages: Vec<String>,
    /// Other sitemaps.
    pub(super) sitemaps: Vec<String>,
}

/// Parses a sitemap, gzipped or not, XML or one address a line. What is over the protocol's limits is cut.
pub(super) fn parse(bytes: &[u8]) -> Sitemap {
    let mut unpacked = Vec::new();
    let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
        // What was unpacked before damage is read.
        let _ = flate2::read::MultiGzDecoder::new(bytes).take(MAX_SITEMAP_BYTES).read_to_end(&mut unpacked);
        unpacked.as_slice()
    } else {
        bytes
    };
    let text = String::from_utf8_lossy(bytes);
    let mut found = Sitemap::default();
    if !text.contains('<') {
        let lines = text.lines().map(str::trim).filter(|line| line.starts_with("http"));
        found.pages = lines.take(MAX_ADDRESSES).map(str::to_owned).collect();
        return found;
    }
    let mut rest = text.as_ref();
    let is_index = rest.contains("<sitemapindex");
    let list = if is_index { &mut found.sitemaps } else { &mut found.pages };
    while list.len() < MAX_ADDRESSES
        && let Some((_, after)) = rest.split_once("<loc>")
    {
        let Some((address, after)) = after.split_once("</loc>") else { break };
        let address = address.trim();
        let address =
            address.strip_prefix("<![CDATA[").and_then(|inner| inner.strip_suffix("]]>")).unwrap_or(address);
        list.push(super::links::unescaped(address.trim()));
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_and_lists_of_sitemaps_are_found() {
        let pages = parse(b"<urlset><url><loc> http://h/a?x=1&amp;y=2 </loc></url><url><loc><![CDATA[http://h/b]]></loc></url>");
        assert_eq!(pages.pages, ["http://h/a?x=1&y=2", "http://h/b"]);
        let index = parse(b"<sitemapindex><sitemap><loc>http://h/s.xml.gz</loc></sitemap></sitemapindex>");
        assert_eq!((index.sitemaps.len(), index.pages.len()), (1, 0));
        assert_eq!(parse(b"http://h/a\nhttp://h/b\n").pages.len(), 2);
        assert_eq!(parse(b"<loc>http://h/a"), Sitemap::default());
    }
}
