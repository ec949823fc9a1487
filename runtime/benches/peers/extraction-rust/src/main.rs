//! The Rust peers of the extraction bench: `extraction-peers trafilatura|rs-trafilatura FOLDER OUT`, with the protocol of `runtime/curation/benches/extraction.rs`.

use std::io::Read;
use std::path::Path;
use std::time::Instant;

/// A page's name, its address and its HTML.
type Page = (String, String, String);

fn gunzip(path: &Path) -> String {
    let mut bytes = Vec::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).expect("a page")).read_to_end(&mut bytes).expect("gzip");
    String::from_utf8_lossy(&bytes).into_owned()
}

fn pages(folder: &Path, set: &str, prefix: &str) -> Vec<Page> {
    let truth = std::fs::read(folder.join(set).join("ground-truth.json")).ok();
    let truth: serde_json::Value = truth.and_then(|truth| serde_json::from_slice(&truth).ok()).unwrap_or_default();
    let entries = std::fs::read_dir(folder.join(set)).expect("the set's folder");
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.to_string_lossy().ends_with(".html.gz"));
    paths.sort();
    let read = |path: &std::path::PathBuf| {
        let name = path.file_name().map(|name| name.to_string_lossy().replace(".html.gz", "")).unwrap_or_default();
        let own = path.with_file_name(format!("{name}.json.gz"));
        let own: serde_json::Value = if own.exists() { serde_json::from_str(&gunzip(&own)).unwrap_or_default() } else { truth[&name].clone() };
        (format!("{prefix}/{name}"), own["url"].as_str().unwrap_or_default().to_owned(), gunzip(path))
    };
    paths.iter().map(read).collect()
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let [_, name, folder, out] = args.as_slice() else { panic!("usage: extraction-peers NAME FOLDER OUT") };
    let folder = Path::new(folder);
    let mut every = pages(folder, "scrapinghub", "s");
    every.extend(pages(folder, "wcxb", "w"));
    let without_comments = trafilatura::Options::default().with_exclude_comments(true).with_fallback(true);
    let extract = |url: &str, html: &str| match name.as_str() {
        "trafilatura" => trafilatura::extract(html, &without_comments).map(|answer| answer.content_text).unwrap_or_default(),
        _ => {
            let options = rs_trafilatura::Options { url: Some(url.to_owned()), ..rs_trafilatura::Options::default() };
            rs_trafilatura::extract_with_options(html, &options).map(|answer| answer.content_text).unwrap_or_default()
        }
    };
    let start = Instant::now();
    let answers: serde_json::Map<String, serde_json::Value> = every.iter().map(|(page, url, html)| (page.clone(), extract(url, html).into())).collect();
    let seconds = start.elapsed().as_secs_f64();
    let answer = serde_json::json!({ "seconds": seconds, "pages": answers });
    std::fs::write(out, answer.to_string()).expect("the answers' file");
}
