//! Whole data steps: the same bytes whatever the threads, the shards and the kills, and each station's loss in the funnel.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cupola_specs::artifact::{CorpusDocument, CorpusStatistics, DroppedDocument};
use cupola_specs::contract::JobFile;
use cupola_specs::job::{
    DataParams, DecontaminateParams, DedupParams, MinhashParams, PairsParams, PiiAction, SourceFormat,
    SplitParams, SplitUnit, StepParams, ToxicityClassifierParams,
};

use super::DataError;
use super::pairs::read_pairs;
use super::sample::{job_of, source, write_sources};
use super::shard::{corpus_shards, read_jsonl_zst};
use crate::job::sample::job_in;
use crate::job::{JobError, StepContext};

/// Words that make sentences without being alike.
fn sentence(seed: u64) -> String {
    const WORDS: [&str; 24] = [
        "river", "stone", "seven", "lantern", "garden", "walks", "under", "quiet", "morning", "carries",
        "letters", "across", "bridge", "silver", "winter", "harbour", "sings", "about", "copper", "mountain",
        "turns", "slowly", "before", "evening",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let words = (0..14).map(|_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        WORDS[(state % 24) as usize]
    });
    format!("The {}.", words.collect::<Vec<_>>().join(" "))
}

fn text(seed: u64, num_sentences: u64) -> String {
    (0..num_sentences).map(|n| sentence(seed * 1000 + n)).collect::<Vec<_>>().join("\n")
}

const FOOTER: &str = "Subscribe to our newsletter, it is worth every penny of it.";

/// Lines with everything that a station takes, over several files.
fn files() -> Vec<(&'static str, String, Vec<u8>)> {
    let mut files = Vec::new();
    for file in 0..6_u64 {
        let mut lines = String::new();
        for n in 0..200_u64 {
            let seed = file * 200 + n;
            let text = match n % 20 {
                3 => text(7, 6),
                5 | 15 => format!("{}\n{FOOTER}", text(seed, 6)),
                7 => format!("{}\n{}", text(11, 12), sentence(seed)),
                9 => "x".to_owned(),
                11 => format!("{}\n\n{}", text(5, 3), text(seed, 6)),
                _ => text(seed, 6),
            };
            let line = serde_json::json!({ "text": text, "url": format!("http://h/{seed}") });
            lines += &(line.to_string() + "\n");
            if n % 50 == 1 {
                lines += "no document\n";
            }
        }
        files.push(("sources.web", format!("{file}.jsonl"), lines.into_bytes()));
    }
    files
}

fn params() -> DataParams {
    let job = job_of(vec![source("web", SourceFormat::Jsonl, "prose")]);
    DataParams {
        dedup: DedupParams {
            exact_document: true,
            lines_min_repeats: 100,
            paragraphs: true,
            minhash: Some(MinhashParams { ngram: 5, bands: 14, rows: 8 }),
            substring_min_bytes: 300,
            ..job.dedup
        },
        split: SplitParams { validation: 0.1, by: SplitUnit::Document },
        ..job
    }
}

/// Runs the step in a folder; `stop_after` attempts end at their first look at the stop flag after so many microseconds.
fn run(folder: &Path, params: &DataParams, threads: usize, kills: &[u64]) -> BTreeMap<String, Vec<u8>> {
    let files = files();
    let files: Vec<_> =
        files.iter().map(|(label, name, content)| (*label, name.as_str(), content.clone())).collect();
    write_sources(folder, &files);
    let attempt = |micros: Option<u64>| {
        let staging = folder.join("staging");
        let _ = std::fs::remove_dir_all(&staging);
        std::fs::create_dir_all(&staging).unwrap();
        let job = JobFile { params: StepParams::Data(params.clone()), staging, ..job_in(folder) };
        let stop = Arc::new(AtomicBool::new(micros == Some(0)));
        let ctx = StepContext::new(job, Arc::clone(&stop)).unwrap();
        if let Some(micros) = micros {
            std::thread::spawn(move || {
                std::thread::sleep(std::time::Duration::from_micros(micros));
                stop.store(true, Ordering::Relaxed);
            });
        }
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| super::job::run(&ctx, params))
    };
    for micros in kills {
        match attempt(Some(*micros)) {
            Ok(_) | Err(DataError::Job(JobError::Cancelled)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    attempt(None).unwrap();
    contents(&folder.join("staging"))
}

fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(Result::unwrap);
    let files = files.filter(|entry| entry.file_type().is_file());
    files
        .map(|entry| {
            let name = entry.path().strip_prefix(folder).unwrap().to_string_lossy().into_owned();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

fn documents(folder: &Path, part: &str) -> Vec<CorpusDocument> {
    let shards = corpus_shards(&folder.join("staging"), part).unwrap();
    shards.iter().flat_map(|shard| read_jsonl_zst(shard).unwrap()).collect()
}

#[test]
fn threads_and_stops_change_no_byte_and_shards_no_document() {
    let dirs: Vec<_> = (0..5).map(|_| tempfile::tempdir().unwrap()).collect();
    let expected = run(dirs[0].path(), &params(), 1, &[]);
    for (dir, threads) in dirs[1..3].iter().zip([2, 7]) {
        let got = run(dir.path(), &params(), threads, &[]);
        assert!(got == expected, "with {threads} threads");
    }
    let kills: Vec<u64> = (0..12).map(|n| n * 4000).collect();
    assert!(run(dirs[3].path(), &params(), 2, &kills) == expected, "after stops");
    let eight = DataParams { shard_documents: 110, ..params() };
    run(dirs[4].path(), &eight, 2, &[]);
    assert!(corpus_shards(&dirs[4].path().join("staging"), "train").unwrap().len() >= 8);
    for part in ["train", "validation"] {
        assert_eq!(documents(dirs[4].path(), part), documents(dirs[0].path(), part));
    }
}

#[test]
fn every_document_is_kept_or_dropped_once_and_the_funnel_adds_up() {
    let dir = tempfile::tempdir().unwrap();
    let files = run(dir.path(), &params(), 2, &[]);
    let statistics: CorpusStatistics = serde_json::from_slice(&files["statistics.json"]).unwrap();
    let dropped: Vec<DroppedDocument> =
        read_jsonl_zst(&dir.path().join("staging/dropped.jsonl.zst")).unwrap();
    let kept = [documents(dir.path(), "train"), documents(dir.path(), "validation")].concat();
    let mut ids: Vec<&str> =
        kept.iter().map(|d| d.id.as_str()).chain(dropped.iter().map(|d| d.id.as_str())).collect();
    let all = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!((ids.len(), all), (1224, 1224), "1,200 documents and 24 broken lines");
    let of = |rule: &str| statistics.rules.iter().find(|found| found.rule == rule).unwrap();
    let unread = &statistics.rules[0];
    assert_eq!((unread.rule.as_str(), unread.dropped_documents), ("read.bad_json", 24));
    assert_eq!(unread.remaining_documents, 1200);
    assert_eq!(of("exact_document").dropped_documents, 59 + 59, "copies of one text and of `x`");
    let empty: Vec<&str> = dropped
        .iter()
        .filter(|document| document.rule == "empty")
        .map(|document| document.reason.as_str())
        .collect();
    assert_eq!(empty.iter().filter(|reason| reason.starts_with("1 bytes")).count(), 1, "{empty:?}");
    assert_eq!(of("empty").dropped_documents, empty.len() as u64);
    assert_eq!(of("lines").changed_documents, 120);
    assert_eq!(of("paragraphs").changed_documents, 59);
    assert_eq!(of("near_duplicate").dropped_documents, 59);
    let last = statistics.rules.last().unwrap();
    assert_eq!(last.remaining_documents, kept.len() as u64);
    assert_eq!(last.remaining_bytes, kept.iter().map(|document| document.text.len() as u64).sum::<u64>());
    assert_eq!(statistics.sources["web"].rejected["bad_json"], 24);
    assert!(kept.iter().all(|document| !document.text.contains(FOOTER)));
    let broken = dropped.iter().find(|document| document.rule == "read.bad_json").unwrap();
    assert!(broken.reason.contains(".jsonl") && broken.reason.contains("line "), "{}", broken.reason);
}

#[test]
fn a_source_that_changed_since_the_plan_is_named() {
    let dir = tempfile::tempdir().unwrap();
    run(dir.path(), &params(), 1, &[]);
    std::fs::remove_dir_all(dir.path().join("checkpoints")).unwrap();
    std::fs::write(dir.path().join("source-3"), "{}").unwrap();
    let job = JobFile { params: StepParams::Data(params()), ..job_in(dir.path()) };
    let ctx = StepContext::new(job, Arc::default()).unwrap();
    let error = super::job::run(&ctx, &params()).unwrap_err();
    assert!(matches!(error, DataError::Job(JobError::SourceChanged { .. })), "{error}");
}

#[test]
fn toxic_documents_go_under_a_rule_of_their_own_and_what_stays_has_its_signal() {
    let dir = tempfile::tempdir().unwrap();
    let paragraphs = |first: u64, extra: &str| {
        let one = |n: u64| format!("{} {extra}", sentence(first + n));
        (0..40).map(one).collect::<Vec<_>>().join("\n\n").into_bytes()
    };
    let line = |n: u64, extra: &str| {
        serde_json::json!({ "text": format!("{} {extra}", text(n, 3)) }).to_string() + "\n"
    };
    let lines: String =
        (0..40).map(|n| line(n, if n % 4 == 0 { "vile scum filth" } else { "so it is" })).collect();
    let files = [
        ("sources.web", "web.jsonl", lines.into_bytes()),
        ("safety.classifier.toxic", "toxic.txt", paragraphs(90_000, "vile scum filth")),
        ("safety.classifier.clean", "clean.txt", paragraphs(95_000, "so it is")),
    ];
    write_sources(dir.path(), &files);
    let job = job_of(vec![source("web", SourceFormat::Jsonl, "prose")]);
    let params = DataParams {
        toxicity_classifier: Some(ToxicityClassifierParams { label: None, threshold: 0.5 }),
        split: SplitParams { validation: 0.1, by: SplitUnit::Document },
        ..job
    };
    let staging = dir.path().join("staging");
    std::fs::create_dir_all(&staging).unwrap();
    let job = JobFile { params: StepParams::Data(params.clone()), ..job_in(dir.path()) };
    let ctx = StepContext::new(job, Arc::default()).unwrap();
    let summary = super::job::run(&ctx, &params).unwrap();
    let statistics: CorpusStatistics =
        serde_json::from_slice(&std::fs::read(staging.join("statistics.json")).unwrap()).unwrap();
    let rule = statistics.rules.iter().find(|rule| rule.rule == "toxicity_classifier").unwrap();
    let dropped: Vec<DroppedDocument> = read_jsonl_zst(&staging.join("dropped.jsonl.zst")).unwrap();
    let kept = [documents(dir.path(), "train"), documents(dir.path(), "validation")].concat();
    assert_eq!(rule.dropped_documents as usize + kept.len(), 40);
    assert!(dropped.iter().all(|document| document.signals["toxicity"] >= 0.5));
    assert!(kept.iter().all(|document| document.signals["toxicity"] < 0.5));
    let clean = kept.iter().filter(|document| document.text.trim_end().ends_with("so it is")).count();
    assert!(clean >= 27 && kept.len() - clean <= 2, "{clean} of {} that stay", kept.len());
    assert_eq!(summary["toxicity_roc_auc"].as_f64(), statistics.toxicity.map(|toxicity| toxicity.roc_auc));
}

/// What a test asks.
const QUESTION: &str =
    "Which harbour lantern carries seven silver letters across the quiet winter bridge before evening";

/// A note that is the question, one that is not, and six files of Rust with two functions each, of which one has the question for its documentation.
fn files_with_a_question() -> Vec<(&'static str, String, Vec<u8>)> {
    let function = |name: &str, doc: &str| {
        format!(
            "/// {doc}.\npub fn {name}(values: &[u32]) -> u32 {{\n    values.iter().map(|{name}| {name} + 1).sum()\n}}\n"
        )
    };
    let code = |n: u64| {
        let leaked = function("leaked", QUESTION);
        let own = function(&format!("own_{n}"), &format!("Returns what {}", text(n, 1).to_lowercase()));
        (if n == 0 {
            leaked
        } else {
            function(&format!("other_{n}"), &format!("Returns how {}", text(90 + n, 1)))
        }) + &own
    };
    let question = serde_json::json!({ "question": format!("{QUESTION}?"), "choices": ["a gull", "a ship"], "answer": 0 });
    let mut files = vec![
        ("decontaminate.report", "test.jsonl".to_owned(), format!("{question}\n").into_bytes()),
        ("sources.notes", "a.md".to_owned(), format!("{QUESTION}?\n").into_bytes()),
        ("sources.notes", "b.md".to_owned(), text(5, 6).into_bytes()),
    ];
    files.extend((0..6).map(|n| ("sources.code", format!("{n}.rs"), code(n).into_bytes())));
    files
}

#[test]
fn no_pair_and_no_empty_document_is_left_of_a_question() {
    let files = files_with_a_question();
    let files: Vec<_> =
        files.iter().map(|(label, name, text)| (*label, name.as_str(), text.clone())).collect();
    for (action, num_pairs, num_leaked, rule) in
        [(PiiAction::Redact, 11, 1, "empty"), (PiiAction::Drop, 10, 0, "decontaminate")]
    {
        let dir = tempfile::tempdir().unwrap();
        write_sources(dir.path(), &files);
        let job = job_of(vec![
            source("notes", SourceFormat::Markdown, "docs"),
            source("code", SourceFormat::Rust, "code"),
        ]);
        let params = DataParams {
            decontaminate: Some(DecontaminateParams { against: vec!["report".into()], action, ngram: 13 }),
            pairs: Some(PairsParams {
                instruction: "Document this:\n{code}".into(),
                max_code_chars: 500,
                min_answer_chars: 10,
                max_answer_chars: 300,
                max_per_crate: 0,
            }),
            split: SplitParams { validation: 0.3, by: SplitUnit::SourceFile },
            ..job
        };
        let staging = dir.path().join("staging");
        std::fs::create_dir_all(&staging).unwrap();
        let job = JobFile { params: StepParams::Data(params.clone()), ..job_in(dir.path()) };
        let summary = super::job::run(&StepContext::new(job, Arc::default()).unwrap(), &params).unwrap();
        let pairs = ["pairs", "validation_pairs"].map(|part| read_pairs(&staging, part).unwrap()).concat();
        assert!(pairs.iter().all(|pair| !pair.answer.contains("seven silver letters")));
        assert_eq!(
            (pairs.len(), summary["leaked_pairs"].as_u64()),
            (num_pairs, Some(num_leaked)),
            "{action:?}"
        );
        let dropped: Vec<DroppedDocument> = read_jsonl_zst(&staging.join("dropped.jsonl.zst")).unwrap();
        let gone = dropped.iter().find(|document| document.file.ends_with("a.md")).unwrap();
        assert_eq!(gone.rule, rule, "{action:?}");
    }
}
