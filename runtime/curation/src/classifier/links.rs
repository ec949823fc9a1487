//! Which pages reference works cite: links out of a wiki dump, an HTML page or a list.
//!
//! Pages that an encyclopedia's editors link to as sources are good positives for a quality classifier (as in LLaMA's, Touvron et al. 2023, arXiv:2302.13971, section 2.1).
//! A dump is read once, a piece at a time: memory is bounded by the longest article, and that by a limit.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};

use super::link_text::{attribute, is_in_quotes, starts_as_address, unescape, wiki_links};
use super::urls::canonical_url;

/// The longest piece of text between two tags, bytes: an article is 2 MiB at most. What is longer is cut, and counted.
const MAX_PIECE: usize = 16 << 20;
/// The longest tag or line, bytes.
const MAX_TAG: usize = 64 << 10;

/// What links are extracted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFormat {
    /// A dump of MediaWiki: the external links of its articles, in references, citation templates, brackets and bare.
    Wiki,
    /// A page: where its anchors lead, as far as they name a host.
    Html,
    /// An address a line; a `#` begins a comment.
    List,
}

/// The canonical addresses of a source, in its order and with its repeats.
pub struct Links<'a> {
    source: Source<'a>,
    format: LinkFormat,
    found: VecDeque<String>,
    /// Wiki: whether the next piece is an article's text, or its namespace.
    place: Place,
    is_article: bool,
    skipped: u64,
    piece: Vec<u8>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Elsewhere,
    Text,
    Namespace,
    /// HTML: a script or a style sheet, in which nothing is a tag.
    Raw,
}

/// Reads the links of a source that may be compressed by gzip or bzip2. Without a format it is recognised by its beginning: `<mediawiki`, another `<`, else a list.
///
/// # Errors
/// What the reader says; the iterator's items as well.
pub fn extract_links<'a>(reader: impl Read + 'a, format: Option<LinkFormat>) -> io::Result<Links<'a>> {
    let mut packed = BufReader::with_capacity(1 << 16, reader);
    let head = head(&mut packed)?;
    let mut reader: Box<dyn BufRead + 'a> = match head {
        [0x1f, 0x8b, ..] => {
            Box::new(BufReader::with_capacity(1 << 16, flate2::bufread::MultiGzDecoder::new(packed)))
        }
        [b'B', b'Z', b'h', ..] => {
            Box::new(BufReader::with_capacity(1 << 16, bzip2::bufread::MultiBzDecoder::new(packed)))
        }
        _ => Box::new(packed),
    };
    let format = match format {
        Some(format) => format,
        None => detect(self::head(&mut reader)?),
    };
    Ok(Links {
        source: Source { reader },
        format,
        found: VecDeque::new(),
        place: Place::Elsewhere,
        is_article: true,
        skipped: 0,
        piece: Vec::new(),
    })
}

impl Links<'_> {
    /// What was left out so far: addresses that are none, lines that are no address, and the ends of pieces that were too long.
    pub fn skipped(&self) -> u64 {
        self.skipped
    }

    /// What the source is read as.
    pub fn format(&self) -> LinkFormat {
        self.format
    }

    /// Reads on; false at the end.
    fn step(&mut self) -> io::Result<bool> {
        match self.format {
            LinkFormat::List => self.line(),
            LinkFormat::Wiki => self.element(),
            LinkFormat::Html => self.anchor(),
        }
    }

    fn line(&mut self) -> io::Result<bool> {
        let Some(whole) = self.source.until(b'\n', MAX_TAG, &mut self.piece)? else { return Ok(false) };
        let line = String::from_utf8_lossy(&self.piece).trim_start_matches('\u{feff}').trim().to_owned();
        if !whole {
            self.skipped += 1;
        } else if !line.is_empty() && !line.starts_with('#') {
            self.offer(&line);
        }
        Ok(true)
    }

    /// A piece of text and the tag behind it. In a dump every `<` of a text is escaped.
    fn element(&mut self) -> io::Result<bool> {
        let Some(whole) = self.source.until(b'<', MAX_PIECE, &mut self.piece)? else { return Ok(false) };
        match self.place {
            Place::Text if self.is_article => {
                self.skipped += u64::from(!whole);
                let text = unescape(&String::from_utf8_lossy(&self.piece));
                wiki_links(&text, |link| self.offer(link));
            }
            Place::Namespace => self.is_article = self.piece.trim_ascii() == b"0",
            Place::Text | Place::Elsewhere | Place::Raw => {}
        }
        self.source.until(b'>', MAX_TAG, &mut self.piece)?;
        let is_closed = self.piece.ends_with(b"/");
        let name = self.piece.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        self.place = match name {
            b"text" if !is_closed => Place::Text,
            b"ns" => Place::Namespace,
            _ => Place::Elsewhere,
        };
        if name == b"page" {
            self.is_article = true;
        }
        Ok(true)
    }

    fn anchor(&mut self) -> io::Result<bool> {
        if self.source.until(b'<', MAX_PIECE, &mut self.piece)?.is_none() {
            return Ok(false);
        }
        self.source.tag(MAX_TAG, self.place == Place::Raw, &mut self.piece)?;
        let tag = String::from_utf8_lossy(&self.piece).into_owned();
        let end = tag.find(|c: char| c.is_ascii_whitespace() || c == '>').unwrap_or(tag.len());
        let name = tag[..end].to_ascii_lowercase();
        match name.as_str() {
            "/script" | "/style" => self.place = Place::Elsewhere,
            _ if self.place == Place::Raw => {}
            "script" | "style" => self.place = Place::Raw,
            "a" | "area" => {
                let link = attribute(&tag[end..], "href").map(|value| unescape(&value));
                if let Some(link) = link.filter(|link| starts_as_address(link.trim())) {
                    self.offer(&link);
                }
            }
            _ => {}
        }
        Ok(true)
    }

    fn offer(&mut self, link: &str) {
        match canonical_url(link) {
            Some(link) => self.found.push_back(link),
            None => self.skipped += 1,
        }
    }
}

impl Iterator for Links<'_> {
    type Item = io::Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(link) = self.found.pop_front() {
                return Some(Ok(link));
            }
            match self.step() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl std::fmt::Debug for Links<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links")
            .field("format", &self.format)
            .field("skipped", &self.skipped)
            .finish_non_exhaustive()
    }
}

/// The beginning of what a reader has to give.
fn head(reader: &mut impl BufRead) -> io::Result<&[u8]> {
    reader.fill_buf()
}

fn detect(head: &[u8]) -> LinkFormat {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head).trim_ascii_start();
    let start = String::from_utf8_lossy(&head[..head.len().min(4096)]).to_ascii_lowercase();
    match () {
        () if start.contains("<mediawiki") => LinkFormat::Wiki,
        () if start.starts_with('<') => LinkFormat::Html,
        () => LinkFormat::List,
    }
}

/// Bytes, taken up to a sign.
struct Source<'a> {
    reader: Box<dyn BufRead + 'a>,
}

impl Source<'_> {
    /// Takes what stands before `end`, and `end`; of more than `limit` bytes the first, and false then. None at the end of all.
    fn until(&mut self, end: u8, limit: usize, out: &mut Vec<u8>) -> io::Result<Option<bool>> {
        out.clear();
        let (mut is_whole, mut is_any) = (true, false);
        loop {
            let bytes = match self.reader.fill_buf() {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                bytes => bytes?,
            };
            if bytes.is_empty() {
                return Ok(is_any.then_some(is_whole));
            }
            is_any = true;
            let found = memchr::memchr(end, bytes);
            let taken = found.unwrap_or(bytes.len());
            let room = (limit - out.len()).min(taken);
            out.extend_from_slice(&bytes[..room]);
            is_whole &= room == taken;
            self.reader.consume(taken + usize::from(found.is_some()));
            if found.is_some() {
                return Ok(Some(is_whole));
            }
        }
    }

    /// Takes a tag to its `>`, which may stand in quotes; where nothing is a tag, to the next `>`.
    fn tag(&mut self, limit: usize, is_raw: bool, out: &mut Vec<u8>) -> io::Result<()> {
        let mut part = Vec::new();
        self.until(b'>', limit, out)?;
        while !is_raw && is_in_quotes(out) && out.len() < limit {
            let whole = self.until(b'>', limit - out.len() - 1, &mut part)?;
            if whole.is_none() {
                break;
            }
            out.push(b'>');
            out.append(&mut part);
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "links_tests.rs"]
mod tests;
