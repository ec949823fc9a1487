//! MinHash from raw text: documents a second of one core, recall against theory, and the peers beside it.
//!
//! ```sh
//! CUPOLA_SHARED=… cargo bench -p cupola-curation --bench minhash -- speed
//! CUPOLA_SHARED=… cargo bench -p cupola-curation --bench minhash -- peers PYTHON     # an interpreter with the packages of minhash.py
//! CUPOLA_SHARED=… cargo bench -p cupola-curation --bench minhash -- corpus           # signatures to clusters, on disk
//! cargo bench -p cupola-curation --bench minhash -- recall PAIRS
//! cargo bench -p cupola-curation --bench minhash -- bounded DOCUMENTS                # numbers alone: memory and the sort's speed
//! ```
//!
//! Documents are stretches of about 2,000 bytes of the shared texts.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use cupola_curation::dedup::{
    BandFiles, Budget, ExactDedup, MinHashParams, MinHasher, SKETCH_BYTES, Scratch, Signature, Verification,
};

const DOCUMENT_BYTES: usize = 2_000;
const ROUNDS: usize = 5;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let mut words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let mode = if words.is_empty() { "speed".to_owned() } else { words.remove(0) };
    let argument = words.first().map(String::as_str);
    match mode.as_str() {
        "speed" => speed(&documents()?),
        "peers" => peers(&documents()?, argument.unwrap_or("python3")),
        "corpus" => corpus(&documents()?),
        "bounded" => bounded(argument.unwrap_or("2000000").parse()?),
        "recall" => recall(argument.unwrap_or("5000").parse()?),
        _ => Err(format!("no mode {mode:?}").into()),
    }
}

/// The shared texts in stretches.
fn documents() -> Outcome<Vec<String>> {
    let Some(shared) = std::env::var_os("CUPOLA_SHARED") else {
        return Err("CUPOLA_SHARED is not set".into());
    };
    let mut documents = Vec::new();
    for name in ["peps", "rust-rfcs", "rust-book", "classic-books"] {
        let path = Path::new(&shared).join(format!("data/text/{name}.jsonl.gz"));
        let lines = Command::new("gzip").arg("-dc").arg(&path).output()?.stdout;
        for line in String::from_utf8(lines)?.lines() {
            let line: serde_json::Value = serde_json::from_str(line)?;
            let mut text = line["text"].as_str().unwrap_or_default();
            while text.len() >= DOCUMENT_BYTES {
                let cut = text.as_bytes()[DOCUMENT_BYTES..].iter().position(|byte| *byte == b'\n');
                let (document, rest) = text.split_at(cut.map_or(text.len(), |at| DOCUMENT_BYTES + at));
                documents.push(document.to_owned());
                text = rest;
            }
        }
    }
    Ok(documents)
}

/// Seconds for the signatures of all documents.
fn seconds(hasher: &MinHasher, documents: &[String]) -> f64 {
    let mut scratch = Scratch::default();
    let start = Instant::now();
    let mut sum = 0u64;
    for document in documents {
        sum ^= hasher.signature(document, &mut scratch).map_or(0, |signature| signature.keys[0]);
    }
    std::hint::black_box(sum);
    start.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn speed(documents: &[String]) -> Outcome<()> {
    let hasher = MinHasher::new(MinHashParams::default())?;
    let bytes: usize = documents.iter().map(String::len).sum();
    let times: Vec<f64> = (0..ROUNDS).map(|_| seconds(&hasher, documents)).collect();
    let median = median(times);
    println!(
        "{} documents of {} bytes: {:.0} documents/s, {:.1} MB/s",
        documents.len(),
        bytes / documents.len().max(1),
        documents.len() as f64 / median,
        bytes as f64 / median / 1e6
    );
    Ok(())
}

/// Ours and each peer alternately, on the same documents.
fn peers(documents: &[String], python: &str) -> Outcome<()> {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/minhash.py");
    let folder = tempfile::tempdir()?;
    let hasher = MinHasher::new(MinHashParams::default())?;
    for (peer, count) in [("datatrove", 200), ("rensa", 2_000), ("datasketch", 1_000)] {
        let step = (documents.len() / count).max(1);
        let some: Vec<String> = documents.iter().step_by(step).take(count).cloned().collect();
        let path = folder.path().join("documents.jsonl");
        let mut file = fs::File::create(&path)?;
        for text in &some {
            writeln!(file, "{}", serde_json::to_string(text)?)?;
        }
        let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let own = some.len() as f64 / seconds(&hasher, &some);
            let output = Command::new(python).arg(&script).arg(peer).arg(&path).output()?;
            let line = String::from_utf8(output.stdout)?;
            let line: serde_json::Value = serde_json::from_str(line.lines().last().unwrap_or_default())?;
            let peer = some.len() as f64 / line["seconds"].as_f64().unwrap_or(f64::NAN);
            ours.push(own);
            theirs.push(peer);
            ratios.push(own / peer);
        }
        let (ours, theirs, ratio) = (median(ours), median(theirs), median(ratios));
        println!("{peer:12} ours {ours:9.0} documents/s, theirs {theirs:7.0}, ratio {ratio:.0}");
    }
    Ok(())
}

/// Signatures, band files, sort and clusters of the documents, each fourth of which comes again with a word changed.
fn corpus(documents: &[String]) -> Outcome<()> {
    let mut texts = documents.to_vec();
    texts.extend(documents.iter().step_by(4).map(|text| text.replacen("the", "a", 1)));
    let params = MinHashParams::default();
    let hasher = MinHasher::new(params)?;
    for (name, budget, verification) in [
        ("1 GiB", 1 << 30, Verification::Off),
        ("1 GiB, verified", 1 << 30, Verification::Report),
        ("4 MiB, verified", 4 << 20, Verification::Report),
    ] {
        let folder = tempfile::tempdir()?;
        let start = Instant::now();
        let files = BandFiles::open(folder.path(), Budget::new(budget), &params, verification)?;
        let Some(mut input) = files.input("all")? else { return Err("a new folder has the input".into()) };
        let mut scratch = Scratch::default();
        for (document, text) in (0..).zip(&texts) {
            if let Some(signature) = hasher.signature(text, &mut scratch) {
                input.add(document, 0, &signature)?;
            }
        }
        input.finish()?;
        let gathered = start.elapsed().as_secs_f64();
        let clusters = files.finish()?;
        let (duplicates, pairs) = (clusters.members.num_duplicates, clusters.pairs);
        let num_members = clusters.members.count();
        let whole = start.elapsed().as_secs_f64();
        println!(
            "budget {name}: {} documents, {:.0}/s to files, {:.0}/s to clusters; {num_members} in clusters, {duplicates} duplicates",
            texts.len(),
            texts.len() as f64 / gathered,
            texts.len() as f64 / whole
        );
        for jaccard in [0.5, 0.6, 0.7, 0.8] {
            if let Some(precision) = pairs.precision(jaccard) {
                println!("  {} pairs, precision at {jaccard}: {precision:.4}", pairs.num_pairs);
            }
        }
    }
    Ok(())
}

/// Pairs of known similarity that share a band, beside the theory.
fn recall(pairs: usize) -> Outcome<()> {
    let params = MinHashParams::default();
    let hasher = MinHasher::new(params)?;
    let mut state = 1u64;
    let mut words = |count: usize| {
        let mut text = String::new();
        for _ in 0..count {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            text.extend((0..7).map(|at| char::from(b'a' + ((state >> (24 + 5 * at)) % 26) as u8)));
            text.push(' ');
        }
        text
    };
    let (mut one_scratch, mut other_scratch) = (Scratch::default(), Scratch::default());
    for union in [30, 100, 330, 1_000] {
        let (mut all_found, mut all_expected) = (0.0, 0.0);
        for percent in [30, 40, 50, 60, 65, 70, 75, 80, 85, 90, 95] {
            let own = union * (100 - percent) / 200;
            let (mut found, mut expected) = (0.0, 0.0);
            for _ in 0..pairs {
                let shared = words(union - 2 * own + 4);
                let texts = [(); 2].map(|()| format!("{shared}{}", words(own)));
                expected += params.probability(hasher.jaccard(&texts[0], &texts[1]));
                let one = hasher.signature(&texts[0], &mut one_scratch).ok_or("no words")?;
                let other = hasher.signature(&texts[1], &mut other_scratch).ok_or("no words")?;
                found +=
                    f64::from(u8::from(one.keys.iter().zip(other.keys).any(|(one, other)| one == other)));
            }
            println!(
                "{union:5} shingles, s = {percent}%: found {:.4}, theory {:.4}, ratio {:.3}",
                found / pairs as f64,
                expected / pairs as f64,
                found / expected
            );
            all_found += found;
            all_expected += expected;
        }
        println!("{union:5} shingles, all: ratio {:.4}", all_found / all_expected);
    }
    Ok(())
}

/// Sorts what stands for many documents within 64 MiB: each tenth is a copy of an earlier one.
fn bounded(documents: u64) -> Outcome<()> {
    let budget = Budget::new(64 << 20);
    let text = |document: u64| if (document + 1).is_multiple_of(10) { document / 2 } else { document };
    let mixed =
        |number: u64| (u128::from(number) + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let folder = tempfile::tempdir()?;

    let start = Instant::now();
    let exact = ExactDedup::open(&folder.path().join("exact"), budget)?;
    let Some(mut input) = exact.input("all")? else { return Err("a new folder has the input".into()) };
    for document in 0..documents {
        input.add(document, 0, mixed(text(document)))?;
    }
    input.finish()?;
    let members = exact.finish()?.count();
    report("exact", documents, members, start)?;

    let start = Instant::now();
    let params = MinHashParams::default();
    let files = BandFiles::open(&folder.path().join("bands"), budget, &params, Verification::Report)?;
    let Some(mut input) = files.input("all")? else { return Err("a new folder has the input".into()) };
    for document in 0..documents {
        let keys: Vec<u64> = (0..14).map(|band| (mixed(text(document) * 14 + band) >> 40) as u64).collect();
        let sketch = [(text(document) % 251) as u8; SKETCH_BYTES];
        input.add(document, 0, &Signature { keys: &keys, sketch: &sketch, num_words: 1 })?;
    }
    input.finish()?;
    let members = files.finish()?.members.count();
    report("bands", documents, members, start)
}

fn report(name: &str, documents: u64, members: usize, start: Instant) -> Outcome<()> {
    let seconds = start.elapsed().as_secs_f64();
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    println!(
        "{name}: {documents} documents, {members} in clusters, {:.0}/s; {}",
        documents as f64 / seconds,
        peak.split_whitespace().collect::<Vec<_>>().join(" ")
    );
    Ok(())
}
