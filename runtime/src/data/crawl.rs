//! Sources that are crawled: pages are fetched into WARC files, which are read as those of any other source and stay in the corpus.

use std::path::{Path, PathBuf};

use cupola_curation::crawl::{Crawl, CrawlSummary, Progress};
use cupola_specs::contract::SourceFile;
use cupola_specs::job::{CrawlParams, DataParams, SourceParams};
use serde_json::json;

use super::DataError;
use crate::job::StepContext;

/// The folder of the WARC files in the corpus.
const FOLDER: &str = "crawl";
/// The result of a crawl, beside its files.
const SUMMARY: &str = "summary.json";
/// Addresses that differ only in numbers, of which so many are fetched whatever `max_pages` says.
const MIN_ALIKE: u64 = 1_000;
/// Bytes that pages may have on average.
const PAGE_BYTES: u64 = 1 << 20;

/// Crawls what the job's sources want crawled, or goes on with it.
pub(super) fn run(ctx: &StepContext, params: &DataParams) -> Result<(), DataError> {
    for source in &params.sources {
        let Some(crawl) = &source.crawl else { continue };
        let folder = folder(ctx, source);
        if folder.join(SUMMARY).is_file() {
            continue;
        }
        let go_on = |progress: Progress| {
            let most = crawl.max_pages as f64;
            ctx.events().progress(progress.pages as f64, most, "pages", &format!("crawl {}", source.name));
            !ctx.stop_requested()
        };
        let summary = settings(crawl).run(&folder, &go_on)?;
        ctx.check_stop()?;
        tell(ctx, source, &summary);
        let json = format!("{:#}\n", json!(summary));
        let path = folder.join(SUMMARY);
        std::fs::write(&path, json).map_err(|e| DataError::io(path, e))?;
    }
    Ok(())
}

/// What the spec leaves out follows from `max_pages`: one host may have all of them, an endless run of numbered addresses half of them.
fn settings(params: &CrawlParams) -> Crawl {
    Crawl {
        seeds: params.seeds.clone(),
        allowed_hosts: params.seeds.iter().filter_map(|seed| host_of(seed)).collect(),
        max_depth: params.max_depth as u32,
        max_pages: params.max_pages,
        max_pages_per_host: params.max_pages,
        max_alike: MIN_ALIKE.max(params.max_pages / 2),
        max_bytes: Crawl::default().max_bytes.max(params.max_pages.saturating_mul(PAGE_BYTES)),
        rate: params.rate,
        respect_robots: params.respect_robots,
        allow_private_addresses: params.allow_private_addresses,
        user_agent: params.user_agent.clone(),
        ..Crawl::default()
    }
}

/// The host of an address, with its port where it names one.
fn host_of(address: &str) -> Option<String> {
    let rest = address.split_once("://")?.1;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit('@').next().map(str::to_lowercase)
}

/// What a crawl did not fetch is a warning, by reason.
fn tell(ctx: &StepContext, source: &SourceParams, summary: &CrawlSummary) {
    let skipped: Vec<String> =
        summary.skipped.iter().map(|(reason, count)| format!("{count} {reason}")).collect();
    if !skipped.is_empty() || summary.left > 0 {
        let message = format!(
            "source {}: {} pages; not fetched: {}; {} addresses are left",
            source.name,
            summary.pages,
            if skipped.is_empty() { "none".to_owned() } else { skipped.join(", ") },
            summary.left
        );
        ctx.events().warning("crawl", message);
    }
}

/// The files that a crawl made, in order.
pub(super) fn files(ctx: &StepContext, source: &SourceParams) -> Result<Vec<SourceFile>, DataError> {
    let folder = folder(ctx, source);
    let path = folder.join(SUMMARY);
    let summary = std::fs::read(&path).map_err(|e| DataError::io(&path, e))?;
    let summary: CrawlSummary = serde_json::from_slice(&summary)
        .map_err(std::io::Error::from)
        .map_err(|e| DataError::io(&path, e))?;
    summary.files.iter().map(|name| source_file(source, &folder.join(name), name)).collect()
}

fn source_file(source: &SourceParams, path: &Path, name: &str) -> Result<SourceFile, DataError> {
    let mut hasher = blake3::Hasher::new();
    let size_bytes = std::fs::File::open(path)
        .and_then(|file| std::io::copy(&mut std::io::BufReader::new(file), &mut hasher))
        .map_err(|e| DataError::io(path, e))?;
    Ok(SourceFile {
        label: format!("sources.{}", source.name),
        path: path.to_owned(),
        name: name.to_owned(),
        size_bytes,
        blake3: hasher.finalize().to_hex().to_string(),
    })
}

/// Copies the files of all crawls into the corpus: nobody can fetch the same pages again.
pub(super) fn keep(ctx: &StepContext, params: &DataParams) -> Result<(), DataError> {
    for source in params.sources.iter().filter(|source| source.crawl.is_some()) {
        let target = ctx.staging().join(FOLDER).join(&source.name);
        std::fs::create_dir_all(&target).map_err(|e| DataError::io(&target, e))?;
        let from = folder(ctx, source);
        let names = files(ctx, source)?.into_iter().map(|file| file.name).chain([SUMMARY.to_owned()]);
        for name in names {
            std::fs::copy(from.join(&name), target.join(&name))
                .map_err(|e| DataError::io(from.join(&name), e))?;
        }
    }
    Ok(())
}

fn folder(ctx: &StepContext, source: &SourceParams) -> PathBuf {
    ctx.job().checkpoints.join(FOLDER).join(&source.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn max_pages_is_what_ends_a_crawl_of_one_host() {
        let of = |max_pages| {
            settings(&CrawlParams {
                seeds: vec!["https://Example.org:8080/a".into()],
                max_depth: 3,
                max_pages,
                rate: 1.0,
                respect_robots: true,
                allow_private_addresses: false,
                user_agent: String::new(),
            })
        };
        let large = of(1_000_000);
        assert_eq!((large.max_pages_per_host, large.max_alike), (1_000_000, 500_000));
        assert_eq!(large.max_bytes, 1_000_000 << 20);
        assert_eq!(large.allowed_hosts, ["example.org:8080"]);
        let small = of(100);
        assert_eq!((small.max_pages_per_host, small.max_alike), (100, MIN_ALIKE));
        assert_eq!(small.max_bytes, Crawl::default().max_bytes);
    }
}
