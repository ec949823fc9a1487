//! A record's page or text.

use std::borrow::Cow;

use super::http::{Body, Response};
use super::{Record, RecordKind};
use crate::read::charset::{Decoded, decode};
use crate::read::item::{Refusal, normalized};
use crate::read::media::{Media, media_of, not_text};
use crate::read::{Content, Limits, RawDocument, SkipReason, Statuses};

/// Makes a record a document.
///
/// # Errors
/// Why it is none, with what was there instead.
pub(crate) fn document(
    record: &Record<'_>,
    statuses: Statuses,
    limits: &Limits,
) -> Result<RawDocument, Refusal> {
    let mut language = record.language();
    let (media, charset_from, body) = match record.kind {
        RecordKind::Response if is_http(record) => {
            let response = Response::parse(record.block, limits)?;
            if !statuses.take(response.status) {
                return Err((SkipReason::HttpStatus, response.status.to_string()));
            }
            // What is not text is not worth unpacking.
            let declared = media_of(response.content_type, None)?;
            let body = response.body(limits)?;
            if language.is_none() && !response.language.is_empty() {
                language = Some(String::from_utf8_lossy(response.language).into_owned());
            }
            (declared, response.content_type, body)
        }
        RecordKind::Response | RecordKind::Resource | RecordKind::Conversion => {
            let bytes = Cow::Borrowed(record.block);
            (media_of(record.content_type(), None)?, record.content_type(), Body { bytes, cut: false })
        }
        _ => return Err((SkipReason::UnknownRecordType, record.kind_name().unwrap_or_default())),
    };
    let (media, decoded) = text_of(media, charset_from, &body.bytes)?;
    let content = match media {
        Media::Html => Content::Html(decoded.text.into_owned()),
        Media::Text => Content::Text(normalized(&decoded.text)),
    };
    if content.as_str().trim().is_empty() {
        return Err((SkipReason::Empty, String::new()));
    }
    Ok(RawDocument {
        index: 0,
        id: record.id(),
        url: record.uri(),
        content,
        language,
        date: record.date(),
        charset: decoded.charset,
        num_replaced: decoded.num_replaced,
        truncated: body.cut || record.truncated().is_some(),
        bytes: record.block.len() as u64,
    })
}

/// The decoded text of a body, and what it is.
fn text_of<'a>(
    declared: Option<Media>,
    charset_from: &[u8],
    body: &'a [u8],
) -> Result<(Media, Decoded<'a>), Refusal> {
    let media = match declared {
        Some(media) => media,
        None => media_of(&[], Some(body))?.unwrap_or(Media::Text),
    };
    not_text(body)?;
    Ok((media, decode(body, Some(charset_from), media == Media::Html)?))
}

/// The page of an HTTP message, if it is one.
pub(crate) fn html_of(block: &[u8], limits: &Limits) -> Option<String> {
    let response = Response::parse(block, limits).ok()?;
    let declared = media_of(response.content_type, None).ok()?;
    let body = response.body(limits).ok()?;
    let (media, decoded) = text_of(declared, response.content_type, &body.bytes).ok()?;
    (media == Media::Html).then(|| decoded.text.into_owned())
}

/// Whether the block is an HTTP message: by its type, or, where that is missing, by its begin.
fn is_http(record: &Record<'_>) -> bool {
    let content_type = record.content_type();
    let http = b"application/http";
    content_type.get(..http.len()).is_some_and(|head| head.eq_ignore_ascii_case(http))
        || record.block.starts_with(b"HTTP/")
}
