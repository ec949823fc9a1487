//! The text of web pages: what a page is about is found in its source, and what all pages of a site have at their top and bottom goes.

use cupola_curation::html::{ExtractOptions, HtmlError, RepeatedLines, SiteBlocks, SiteOptions, extract};
use cupola_curation::urls::host_of;
use cupola_specs::job::ExtractParams;

use super::DataError;
use super::document::Document;
use super::funnel::Outcome;
use super::segment::Segments;

/// Hosts whose repeated lines are looked for: their sampled pages take some 300 MB at most.
const MAX_HOSTS: usize = 10_000;

/// The rules' names.
pub(super) fn rules() -> Vec<String> {
    ["extract.markup", "extract.limit", "extract.empty"].map(str::to_owned).to_vec()
}

/// How pages are read.
pub(super) fn options(params: &ExtractParams) -> ExtractOptions {
    ExtractOptions {
        main_content: params.main_content,
        keep_math: params.keep_math,
        keep_code: params.keep_code,
        ..ExtractOptions::default()
    }
}

/// Finds the text of a page; any other document stays as it is.
pub(super) fn judge(options: &ExtractOptions, document: &Document) -> Outcome {
    if !document.is_page {
        return Outcome::default();
    }
    let page = &document.text;
    match extract(page, document.url.as_deref(), options) {
        Err(error @ HtmlError::Limit { .. }) => Outcome::drop(1, error.to_string()),
        Ok(found) if found.text.trim().is_empty() => {
            Outcome::drop(2, format!("no text in the page's {} blocks", found.num_blocks))
        }
        Ok(found) => {
            let removed = page.len().saturating_sub(found.text.len()) as u64;
            let signals = vec![
                ("page_blocks".to_owned(), found.num_blocks as f64),
                ("page_blocks_kept".to_owned(), found.num_kept as f64),
            ];
            Outcome {
                text: Some(found.text),
                changes: vec![(0, removed, String::new())],
                signals,
                ..Outcome::default()
            }
        }
    }
}

/// Lines that the sites of a corpus repeat.
pub(super) struct Sites(RepeatedLines);

impl Sites {
    /// Finds them among the documents with an address; none where the job takes none out.
    pub(super) fn find(params: &ExtractParams, segments: &Segments) -> Result<Option<Self>, DataError> {
        if params.site_repeats == 0 {
            return Ok(None);
        }
        let min_pages = params.site_repeats as usize;
        let sample_pages = min_pages.max(SiteOptions::default().sample_pages);
        let mut blocks = SiteBlocks::new(SiteOptions {
            min_pages,
            sample_pages,
            max_hosts: MAX_HOSTS,
            ..SiteOptions::default()
        });
        for document in segments.documents() {
            let document = document?;
            if let Some((url, host)) = document.url.as_ref().and_then(|url| Some((url, host_of(url)?))) {
                blocks.add(&host, url, &document.text);
            }
        }
        Ok(Some(Self(blocks.repeated())))
    }

    /// Takes them out of a document.
    pub(super) fn judge(&self, document: &Document) -> Outcome {
        let Some(host) = document.url.as_deref().and_then(host_of) else { return Outcome::default() };
        let (text, stripped) = self.0.strip(&host, &document.text);
        if stripped == 0 {
            return Outcome::default();
        }
        let removed = document.text.len().saturating_sub(text.len()) as u64;
        Outcome { text: Some(text), changes: vec![(0, removed, String::new())], ..Outcome::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_becomes_its_text_and_what_is_no_page_stays() {
        let params = ExtractParams { main_content: true, keep_math: true, keep_code: true, site_repeats: 0 };
        let options = options(&params);
        let body = "This page tells at some length what happened on the river in that winter. ".repeat(8);
        let html = format!(
            "<html><body><nav><a href=/>Home</a></nav><article><h1>River</h1><p>{body}</p></article></body></html>"
        );
        let page = Document { text: html.clone(), is_page: true, ..Document::default() };
        let text = judge(&options, &page).text.unwrap();
        assert!(text.contains(body.trim()) && !text.contains('<'), "{text}");
        let empty =
            Document { text: "<html><body></body></html>".into(), is_page: true, ..Document::default() };
        assert_eq!(judge(&options, &empty).dropped.unwrap().0, 2);
        assert!(judge(&options, &Document { text: html, ..Document::default() }).text.is_none());
    }
}
