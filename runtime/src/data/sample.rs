//! Data jobs for tests.

use std::collections::BTreeMap;
use std::path::Path;

use cupola_specs::contract::SourceFile;
use cupola_specs::job::{
    DataParams, DedupParams, DedupScope, ExtractParams, PiiAction, PiiParams, SourceFormat, SourceParams,
    SplitParams, SplitUnit, WordRule,
};

/// A source of files.
pub(crate) fn source(name: &str, format: SourceFormat, domain: &str) -> SourceParams {
    SourceParams {
        name: name.into(),
        format,
        domain: domain.into(),
        max_bytes: 0,
        text_field: "text".into(),
        crawl: None,
    }
}

/// A job in which every station is off; its domains have the same weight.
pub(crate) fn job_of(sources: Vec<SourceParams>) -> DataParams {
    let keep = PiiAction::Keep;
    let domains: BTreeMap<String, f64> = sources.iter().map(|source| (source.domain.clone(), 0.0)).collect();
    let share = 1.0 / domains.len() as f64;
    DataParams {
        sources,
        extract: ExtractParams { main_content: true, keep_math: true, keep_code: true, site_repeats: 0 },
        urls: Vec::new(),
        language: None,
        filters: Vec::new(),
        words: WordRule::Unicode,
        toxicity: None,
        toxicity_classifier: None,
        pii: PiiParams { email: keep, ip: keep, phone: keep, card: keep, secret: keep },
        dedup: DedupParams {
            exact_document: false,
            lines_min_repeats: 0,
            paragraphs: false,
            minhash: None,
            substring_min_bytes: 0,
            scope: DedupScope::Corpus,
        },
        quality: None,
        classify: Vec::new(),
        decontaminate: None,
        domain_weights: domains.into_keys().map(|domain| (domain, share)).collect(),
        split: SplitParams { validation: 0.25, by: SplitUnit::SourceFile },
        pairs: None,
        shard_documents: 0,
    }
}

/// Writes files with their labels and names, and the list of them.
pub(crate) fn write_sources(folder: &Path, files: &[(&str, &str, Vec<u8>)]) {
    let mut list = String::new();
    for (number, (label, name, content)) in files.iter().enumerate() {
        let path = folder.join(format!("source-{number}"));
        std::fs::write(&path, content).unwrap();
        let file = SourceFile {
            label: (*label).into(),
            path,
            name: (*name).into(),
            size_bytes: content.len() as u64,
            blake3: blake3::hash(content).to_hex().to_string(),
        };
        list += &(serde_json::to_string(&file).unwrap() + "\n");
    }
    std::fs::write(folder.join("sources.jsonl"), list).unwrap();
}
