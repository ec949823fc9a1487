//! Files that are one document: HTML pages, Markdown, text, Rust source.

use std::path::Path;

use super::charset::decode;
use super::format::Format;
use super::input::{Fill, Input};
use super::item::{Refusal, normalized};
use super::markdown::markdown;
use super::media::not_text;
use super::{Content, Cursor, Item, Limits, RawDocument, ReadError, SkipReason, Skipped};

/// A reader of one document.
pub(super) struct Whole {
    input: Input,
    name: String,
    format: Format,
    limits: Limits,
    ended: bool,
}

impl Whole {
    pub(super) fn open(
        path: &Path,
        name: &str,
        format: Format,
        limits: Limits,
        from: Cursor,
    ) -> Result<Self, ReadError> {
        let input = Input::open(path, limits, Cursor::default())?;
        Ok(Self { input, name: name.to_owned(), format, limits, ended: from.ended })
    }

    pub(super) fn cursor(&self) -> Cursor {
        Cursor { index: u64::from(self.ended), ended: self.ended, ..Cursor::default() }
    }

    pub(super) fn next(&mut self) -> Result<Option<Item>, ReadError> {
        if std::mem::replace(&mut self.ended, true) {
            return Ok(None);
        }
        let fill = self.input.ensure((self.limits.record_bytes as usize).saturating_add(1))?;
        let bytes = self.input.bytes();
        let found = match fill {
            Fill::Broken(reason) => Err((reason, String::new())),
            Fill::More => {
                Err((SkipReason::RecordTooLarge, format!("more than {} bytes", self.limits.record_bytes)))
            }
            Fill::End => self.document(bytes),
        };
        Ok(Some(match found {
            Ok(document) => Item::Document(document),
            Err((reason, detail)) => Item::Skipped(Skipped {
                index: 0,
                offset: 0,
                name: self.name.clone(),
                reason,
                detail,
                bytes: bytes.len() as u64,
            }),
        }))
    }

    fn document(&self, bytes: &[u8]) -> Result<RawDocument, Refusal> {
        let (content, charset, num_replaced) = if self.format == Format::Html {
            not_text(bytes)?;
            let decoded = decode(bytes, None, true)?;
            (Content::Html(decoded.text.into_owned()), decoded.charset, decoded.num_replaced)
        } else {
            let text =
                std::str::from_utf8(bytes).map_err(|error| (SkipReason::InvalidUtf8, error.to_string()))?;
            if memchr::memchr(0, bytes).is_some() {
                return Err((SkipReason::Binary, "a NUL character".to_owned()));
            }
            let text = normalized(text);
            let text = if self.format == Format::Markdown { markdown(&text) } else { text };
            (Content::Text(text), "UTF-8", 0)
        };
        if content.as_str().trim().is_empty() {
            return Err((SkipReason::Empty, String::new()));
        }
        Ok(RawDocument {
            index: 0,
            id: None,
            url: None,
            content,
            language: None,
            date: None,
            charset,
            num_replaced,
            truncated: false,
            bytes: bytes.len() as u64,
        })
    }
}
