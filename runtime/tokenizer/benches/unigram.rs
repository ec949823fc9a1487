//! Quality of Unigram models: ours and those of Hugging Face's and SentencePiece's trainers, on text that none of them saw.
//!
//! ```text
//! CUPOLA_SHARED=… cargo bench -p cupola-tokenizer --bench unigram -- --python VENV/bin/python --peers huggingface,sentencepiece
//! ```
//!
//! `pip install tokenizers sentencepiece tiktoken` makes the environment. Other arguments: `--megabytes 10`, `--vocab 16384`, `--longest 16`, the bytes of the
//! longest token. `identity` among the peers encodes the held-out text with our files of each algorithm by Hugging Face's library, and with our `.tiktoken` file
//! by tiktoken, and compares the ids. Every fifth document is held out. Hugging Face's trainer gets the same pieces; its model is read and encoded with by ours, so that
//! both are measured alike: bytes per token, and the logarithm of the text's probability for each byte, in bits, with probabilities that sum to one.
//! SentencePiece splits otherwise (a piece is a word with the blank before it and what follows it); of it there are bytes per token alone.

#![allow(clippy::unwrap_used, reason = "a benchmark ends where its surroundings are not as it needs them")]

mod corpus;

use std::path::Path;
use std::process::Command;
use std::time::Instant;

use cupola_specs::job::{GPT4_PATTERN, TokenizerAlgorithm};
use cupola_tokenizer::train::{Census, CensusLimits, Learned, PieceCounts, Trainer, TrainerSettings};
use cupola_tokenizer::unigram::{Unigram, UnigramJson, UnigramSettings, Viterbi};
use cupola_tokenizer::{Room, Splitter, TiktokenFrame, TokenizerFile, unspell};

/// The algorithms, and our file of each.
const FILES: [(TokenizerAlgorithm, &str); 3] = [
    (TokenizerAlgorithm::Unigram, "unigram.json"),
    (TokenizerAlgorithm::Bpe, "bpe.json"),
    (TokenizerAlgorithm::Bytes, "bytes.json"),
];

#[allow(clippy::too_many_lines, reason = "a table, row by row")]
fn main() {
    let Some(shared) = corpus::shared() else { return };
    let megabytes: usize = corpus::argument("--megabytes", "10").parse().unwrap();
    let vocab_size: usize = corpus::argument("--vocab", "16384").parse().unwrap();
    let max_token_bytes: usize = corpus::argument("--longest", "16").parse().unwrap();
    let documents = corpus::documents(&shared);
    // Every tenth document or so, so that all sources are there.
    let all: usize = documents.iter().map(String::len).sum();
    let step = (all / (megabytes * 1_000_000)).max(1);
    let chosen: Vec<&String> = documents.iter().step_by(step).collect();
    let part = |held_out: bool| -> Vec<&str> {
        let of = chosen.iter().enumerate().filter(|(index, _)| (index % 5 == 4) == held_out);
        of.map(|(_, text)| text.as_str()).collect()
    };
    let folder = tempfile::tempdir().unwrap();
    let (seen, held_out) = (part(false), part(true));
    let splitter = Splitter::of_patterns(&[GPT4_PATTERN.to_owned()]).unwrap();
    let counts = counted(&splitter, &held_out);
    let bytes: usize = held_out.iter().map(|text| text.len()).sum();
    println!("{} bytes to train on, {bytes} held out", seen.iter().map(|text| text.len()).sum::<usize>());
    for (algorithm, file) in FILES {
        let start = Instant::now();
        let settings = TrainerSettings::new(vocab_size, &[]);
        let mut trainer = Trainer::new(settings, &splitter, CensusLimits::default()).unwrap();
        trainer.add_texts(&seen).unwrap();
        let unigram = UnigramSettings { max_token_bytes, ..UnigramSettings::default() };
        let learned = trainer.train_with(algorithm, &unigram, &mut |_| {}).unwrap();
        println!("ours, {algorithm:?}: trained in {:.1} s", start.elapsed().as_secs_f64());
        if let Learned::Unigram(trained) = &learned {
            println!("{} seeds, {} tokens", trained.num_seeds, trained.model.tokens().len());
            print_quality("ours", &trained.model, &counts);
        }
        write(folder.path(), file, &splitter, learned.clone());
        let model = learned.into_model().unwrap();
        let (mut ids, mut room, mut tokens) = (Vec::new(), Room::default(), 0);
        for (piece, count) in counts.iter() {
            ids.clear();
            model.encode_piece(piece, &mut room, &mut ids);
            tokens += ids.len() as u64 * count;
        }
        println!("ours, {algorithm:?}: {:.4} bytes per token", bytes as f64 / tokens as f64);
    }
    let peers = corpus::argument("--peers", "");
    for (name, texts) in [("train.json", &seen), ("held_out.json", &held_out)] {
        std::fs::write(folder.path().join(name), serde_json::to_vec(texts).unwrap()).unwrap();
    }
    std::fs::write(folder.path().join("pattern.txt"), GPT4_PATTERN).unwrap();
    for peer in peers.split(',').filter(|peer| !peer.is_empty()) {
        let (secs, tokens) = theirs(peer, folder.path(), vocab_size, max_token_bytes);
        if peer == "identity" {
            print_identity(folder.path(), &held_out);
            continue;
        }
        println!("{peer}: trained in {secs:.1} s, {:.4} bytes per token", bytes as f64 / tokens as f64);
        if peer == "huggingface" {
            let file = std::fs::read(folder.path().join("tokenizer.json")).unwrap();
            print_quality(peer, &read(&file), &counts);
        }
    }
}

/// Writes the files of what an algorithm made; of merges the `.tiktoken` file and its frame too.
fn write(folder: &Path, name: &str, splitter: &Splitter, learned: Learned) {
    let patterns = match learned.algorithm() {
        TokenizerAlgorithm::Bytes => Vec::new(),
        _ => splitter.patterns().to_vec(),
    };
    let file = learned.into_file(patterns, &[]);
    std::fs::write(folder.join(name), file.to_value().to_string()).unwrap();
    if let (TokenizerFile::Bpe(json), "bpe.json") = (&file, name) {
        let (ranks, frame) = TiktokenFrame::of(json, "ours").unwrap();
        std::fs::write(folder.join("ours.tiktoken"), ranks.write()).unwrap();
        std::fs::write(folder.join("tiktoken.json"), frame.to_value().to_string()).unwrap();
    }
}

/// How many texts have the ids that the peers give with our files.
fn print_identity(folder: &Path, texts: &[&str]) {
    let files = FILES.into_iter().map(|(_, file)| (file, file)).chain([("bpe.json", "tiktoken.json")]);
    for (file, of) in files {
        let encoding = TokenizerFile::parse(&std::fs::read(folder.join(file)).unwrap()).unwrap();
        let encoding = encoding.into_encoding().unwrap();
        let theirs = std::fs::read(folder.join(format!("ids-{of}"))).unwrap();
        let theirs: Vec<Vec<u32>> = serde_json::from_slice(&theirs).unwrap();
        let equal = texts.iter().zip(&theirs).filter(|(text, theirs)| encoding.encode(text) == **theirs);
        println!(
            "identity, {of}: {} of {} texts, {} tokens, have the same ids",
            equal.count(),
            texts.len(),
            theirs.iter().map(Vec::len).sum::<usize>()
        );
    }
}

fn counted(splitter: &Splitter, texts: &[&str]) -> PieceCounts {
    let mut census = Census::new(splitter, CensusLimits::default()).unwrap();
    census.add_texts(texts).unwrap();
    census.finish().unwrap()
}

/// The peer's model. It may lack bytes that the text does not have, and its probabilities need not sum to one.
fn read(file: &[u8]) -> Unigram {
    if let Ok(file) = UnigramJson::parse(file) {
        return file.model;
    }
    let file: serde_json::Value = serde_json::from_slice(file).unwrap();
    let entries = file["model"]["vocab"].as_array().unwrap();
    let entry = |entry: &serde_json::Value| {
        (unspell(entry[0].as_str().unwrap()).unwrap(), entry[1].as_f64().unwrap())
    };
    let (mut tokens, mut scores): (Vec<Vec<u8>>, Vec<f64>) = entries.iter().map(entry).unzip();
    let least = scores.iter().copied().fold(0.0, f64::min);
    for byte in 0..=255_u8 {
        if !tokens.contains(&vec![byte]) {
            tokens.push(vec![byte]);
            scores.push(least);
        }
    }
    Unigram::new(tokens, scores, &[]).unwrap()
}

fn print_quality(name: &str, model: &Unigram, counts: &PieceCounts) {
    let sum: f64 = model.scores().iter().map(|score| score.exp()).sum();
    let scores = model.scores().iter().map(|score| score - sum.ln()).collect();
    let model = Unigram::new(model.tokens().to_vec(), scores, &[]).unwrap();
    let (mut ids, mut room) = (Vec::new(), Viterbi::default());
    let (mut tokens, mut bytes, mut best, mut all) = (0, 0, 0.0, 0.0);
    for ((piece, count), sum) in
        counts.iter().zip(model.log_likelihoods(counts.iter().map(|(piece, _)| piece)))
    {
        ids.clear();
        best += model.encode_piece(piece, &mut room, &mut ids) * count as f64;
        all += sum * count as f64;
        tokens += ids.len() as u64 * count;
        bytes += piece.len() as u64 * count;
    }
    let bits = |nats: f64| -nats / std::f64::consts::LN_2 / bytes as f64;
    println!(
        "{name}: {:.4} bytes per token, {:.4} bits per byte by the best way, {:.4} by all ways",
        bytes as f64 / tokens as f64,
        bits(best),
        bits(all)
    );
}

fn theirs(peer: &str, folder: &Path, vocab_size: usize, longest: usize) -> (f64, u64) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/unigram_training.py");
    let mut command = Command::new(corpus::argument("--python", "python3"));
    command.arg(script).arg(peer).arg(folder).arg(vocab_size.to_string()).arg(longest.to_string());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&std::fs::read(folder.join("result.json")).unwrap()).unwrap()
}
