//! Text to ids, beside tiktoken, gigatoken and Hugging Face's `tokenizers`: bytes a second on one thread with a cold cache, and whether the ids are the same.
//!
//! `CUPOLA_SHARED=… PEERS_PYTHON=venv/bin/python cargo bench -p cupola-tokenizer --bench encode -- speed [PAIRS [PEER]]` runs us and each peer alternately, every run a
//! process of its own, and prints the medians and their ratio. `… -- ids [PEER]` compares the ids of every document of the shared texts, and of fuzzed ones.
//! The peers are those of `runtime/benches/peers/tokenizer.py`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use cupola_specs::job::Digits;
use cupola_tokenizer::{Bpe, Encoding, Ranks, Splitter, TokenizerJson};
use sha2::{Digest, Sha256};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../benches/peers/tokenizer.py");
/// Peers with the vocabularies that each can be given.
const PEERS: [(&str, &str); 8] = [
    ("gigatoken", "gpt2"),
    ("tiktoken", "gpt2"),
    ("tokenizers", "gpt2"),
    ("gigatoken", "cl100k"),
    ("tiktoken", "cl100k"),
    ("tokenizers", "gpt4"),
    ("gigatoken", "o200k"),
    ("tiktoken", "o200k"),
];

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["one", vocabulary, folder, documents] => {
            one(vocabulary, Path::new(folder), Path::new(documents), None)
        }
        ["one", vocabulary, folder, documents, ids] => {
            one(vocabulary, Path::new(folder), Path::new(documents), Some(Path::new(ids)))
        }
        ["parts", vocabulary, folder, documents] => {
            parts(vocabulary, Path::new(folder), Path::new(documents))
        }
        ["speed", rest @ ..] => {
            speed(rest.first().map_or(Ok(5), |pairs| pairs.parse())?, rest.get(1).copied())
        }
        ["ids", rest @ ..] => ids(rest.first().copied()),
        // What `cargo test --all-targets` calls: nothing is measured.
        _ => {
            println!("usage: encode speed [PAIRS [PEER]] | ids [PEER]");
            Ok(())
        }
    }
}

/// The vocabularies of the shared folder, as the peers read them.
fn encoding(vocabulary: &str, folder: &Path) -> Result<Encoding> {
    let by_ranks = |file: &str, pattern: &str| -> Result<Encoding> {
        let ranks = Ranks::parse(&std::fs::read(folder.join(file))?)?;
        let bpe = Bpe::new(ranks.vocabulary()?, &[], true)?;
        Ok(Encoding::new(Splitter::named(pattern, Digits::UpTo3)?, bpe))
    };
    match vocabulary {
        "gpt2" => {
            let file = TokenizerJson::parse(&std::fs::read(folder.join("gpt2.json"))?)?;
            let specials: Vec<u32> = file.added.iter().map(|token| token.id).collect();
            let bpe = Bpe::new(file.vocabulary, &specials, file.ignore_merges)?;
            Ok(Encoding::new(Splitter::of_patterns(&file.patterns)?, bpe))
        }
        "cl100k" | "gpt4" => by_ranks("cl100k_base.tiktoken", vocabulary),
        "o200k" => by_ranks("o200k_base.tiktoken", vocabulary),
        other => bail!("no vocabulary {other}"),
    }
}

/// One run of ours: prints seconds and ids, as the script does.
fn one(vocabulary: &str, folder: &Path, documents: &Path, ids_path: Option<&Path>) -> Result<()> {
    let start = Instant::now();
    let encoding = encoding(vocabulary, folder)?;
    let loading = start.elapsed().as_secs_f64();
    let texts = read_documents(documents)?;
    let start = Instant::now();
    let mut encoder = encoding.encoder();
    let encode = |text: &String| {
        let mut ids = Vec::new();
        encoder.encode_into(text, &mut ids);
        ids
    };
    let ids: Vec<Vec<u32>> = texts.iter().map(encode).collect();
    let seconds = start.elapsed().as_secs_f64();
    println!("{seconds} {} {loading}", ids.iter().map(Vec::len).sum::<usize>());
    if let Some(path) = ids_path {
        let line = |ids: &Vec<u32>| {
            let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
            format!("{} {:x}\n", ids.len(), Sha256::digest(bytes))
        };
        std::fs::write(path, ids.iter().map(line).collect::<String>())?;
    }
    Ok(())
}

/// Where the time goes: splitting alone, then encoding with a cold cache and with a warm one.
fn parts(vocabulary: &str, folder: &Path, documents: &Path) -> Result<()> {
    let encoding = encoding(vocabulary, folder)?;
    let texts = read_documents(documents)?;
    let megabytes = texts.iter().map(String::len).sum::<usize>() as f64 / 1e6;
    let told = |what: &str, start: Instant, count: usize| {
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{what}: {:.0} MB/s, {:.1} ns for each of {count}",
            megabytes / seconds,
            seconds * 1e9 / count as f64
        );
    };
    for _ in 0..2 {
        let (start, mut pieces, mut bytes) = (Instant::now(), 0, 0);
        for text in &texts {
            encoding.splitter().pieces(text, &mut |piece| {
                pieces += 1;
                bytes += piece.len();
            });
        }
        told(&format!("split ({bytes} bytes)"), start, pieces);
    }
    let mut encoder = encoding.encoder();
    let mut ids = Vec::with_capacity((megabytes * 1e6) as usize);
    for what in ["cold", "warm", "warm"] {
        ids.clear();
        let start = Instant::now();
        for text in &texts {
            encoder.encode_into(text, &mut ids);
        }
        told(what, start, ids.len());
    }
    Ok(())
}

fn read_documents(path: &Path) -> Result<Vec<String>> {
    let data = std::fs::read(path)?;
    let mut rest = data.as_slice();
    let mut texts = Vec::new();
    while let Some((size, after)) = rest.split_first_chunk::<4>() {
        let (text, after) =
            after.split_at_checked(u32::from_le_bytes(*size) as usize).context("a short file")?;
        texts.push(String::from_utf8(text.to_vec())?);
        rest = after;
    }
    Ok(texts)
}

fn write_documents(path: &Path, texts: &[String]) -> Result<()> {
    let mut data = Vec::new();
    for text in texts {
        data.extend_from_slice(&u32::try_from(text.len())?.to_le_bytes());
        data.extend_from_slice(text.as_bytes());
    }
    Ok(std::fs::write(path, data)?)
}

/// The shared data, unpacked where every run finds it.
struct Data {
    folder: tempfile::TempDir,
    shared: PathBuf,
    python: String,
}

impl Data {
    /// None where the shared data or the peers are not named.
    fn open() -> Result<Option<Self>> {
        let (Ok(shared), Ok(python)) = (std::env::var("CUPOLA_SHARED"), std::env::var("PEERS_PYTHON")) else {
            println!("skipped: CUPOLA_SHARED and PEERS_PYTHON say where the shared data and the peers are");
            return Ok(None);
        };
        let data = Self { folder: tempfile::tempdir()?, shared: Path::new(&shared).join("data"), python };
        for (from, to) in [
            ("gpt2-tokenizer.json", "gpt2.json"),
            ("cl100k_base.tiktoken", "cl100k_base.tiktoken"),
            ("o200k_base.tiktoken", "o200k_base.tiktoken"),
        ] {
            let text = data.unpacked(&format!("tokenizer/{from}.gz"))?;
            std::fs::write(data.path(to), text)?;
        }
        // GPT-4's tokens as Hugging Face reads them: its own regex engine has another `$` than tiktoken's.
        let ranks = Ranks::parse(&std::fs::read(data.path("cl100k_base.tiktoken"))?)?;
        let patterns = Splitter::named("gpt4", Digits::UpTo3)?.patterns().to_vec();
        let file = TokenizerJson {
            patterns,
            vocabulary: ranks.vocabulary()?,
            ignore_merges: true,
            added: Vec::new(),
        };
        std::fs::write(data.path("gpt4.json"), file.to_value().to_string())?;
        Ok(Some(data))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn unpacked(&self, name: &str) -> Result<String> {
        let path = self.shared.join(name);
        let file = std::fs::File::open(&path).with_context(|| path.display().to_string())?;
        let mut text = String::new();
        flate2::read::MultiGzDecoder::new(file).read_to_string(&mut text)?;
        Ok(text)
    }

    /// The texts of a JSONL file.
    fn jsonl(&self, name: &str) -> Result<Vec<String>> {
        let text = |line: &str| -> Result<String> {
            let row: serde_json::Value = serde_json::from_str(line)?;
            Ok(row["text"].as_str().context("no text")?.to_owned())
        };
        self.unpacked(&format!("text/{name}.jsonl.gz"))?.lines().map(text).collect()
    }

    /// The labelled sentences of each language, one text each.
    fn languages(&self) -> Result<Vec<String>> {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(self.shared.join("labels/language"))?
            .map(|entry| Ok(entry?.path()))
            .collect::<Result<_>>()?;
        paths.sort();
        let read = |path| Ok(String::from_utf8_lossy(&std::fs::read(path)?).into_owned());
        paths.iter().map(read).collect()
    }

    /// One run of ours or of a peer's: seconds.
    fn run(&self, peer: Option<&str>, vocabulary: &str, documents: &str, ids: Option<&Path>) -> Result<f64> {
        let mut command = match peer {
            None => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("one");
                command
            }
            Some(peer) => {
                let mut command = Command::new(&self.python);
                command.args([SCRIPT, peer]);
                command
            }
        };
        command.arg(vocabulary).arg(self.folder.path()).arg(self.path(documents)).args(ids);
        let output = command.output()?;
        if !output.status.success() {
            bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
        }
        let text = String::from_utf8(output.stdout)?;
        Ok(text.split_whitespace().next().context("no figure")?.parse()?)
    }
}

fn speed(pairs: usize, only: Option<&str>) -> Result<()> {
    let Some(data) = Data::open()? else { return Ok(()) };
    let books = data.jsonl("classic-books")?.join("\n");
    let mut mix = data.jsonl("peps")?;
    mix.extend(data.jsonl("rust-rfcs")?);
    mix.extend(data.languages()?);
    let some = books.char_indices().nth(8 << 20).map_or(books.len(), |(at, _)| at);
    mix.push(books[..some].to_owned());
    let languages = data.languages()?;
    for (name, texts) in [("books", vec![books]), ("mix", mix), ("languages", languages)] {
        write_documents(&data.path(name), &texts)?;
        let megabytes = texts.iter().map(String::len).sum::<usize>() as f64 / 1e6;
        for (peer, vocabulary) in PEERS.into_iter().filter(|(peer, _)| only.is_none_or(|only| only == *peer))
        {
            let pairs = if peer == "gigatoken" { pairs } else { pairs.min(1) };
            let (mut ours, mut theirs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
            for _ in 0..pairs {
                ours.push(megabytes / data.run(None, vocabulary, name, None)?);
                theirs.push(megabytes / data.run(Some(peer), vocabulary, name, None)?);
                ratios.push(ours[ours.len() - 1] / theirs[theirs.len() - 1]);
            }
            println!(
                "{vocabulary} on {name} ({megabytes:.1} MB): ours {:.0} MB/s, {peer} {:.0} MB/s, ratio {:.2}",
                median(ours),
                median(theirs),
                median(ratios)
            );
        }
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn ids(only: Option<&str>) -> Result<()> {
    let Some(data) = Data::open()? else { return Ok(()) };
    let mut sets = vec![("languages", data.languages()?)];
    for name in ["tinyshakespeare", "wikitext2-test", "wikitext2-valid"] {
        sets.push((name, vec![data.unpacked(&format!("text/{name}.txt.gz"))?]));
    }
    for name in ["peps", "rust-book", "rust-rfcs", "classic-books"] {
        sets.push((name, data.jsonl(name)?));
    }
    let fuzzed = fuzzed(&sets[0].1);
    sets.insert(0, ("fuzzed", fuzzed));
    let mut different = 0;
    for (name, texts) in &sets {
        write_documents(&data.path("documents"), texts)?;
        for (peer, vocabulary) in PEERS.into_iter().filter(|(peer, _)| only.is_none_or(|only| only == *peer))
        {
            let (ours, theirs) = (data.path("ours"), data.path("theirs"));
            data.run(None, vocabulary, "documents", Some(&ours))?;
            data.run(Some(peer), vocabulary, "documents", Some(&theirs))?;
            let (ours, theirs) = (std::fs::read_to_string(ours)?, std::fs::read_to_string(theirs)?);
            let other: Vec<usize> = ours
                .lines()
                .zip(theirs.lines())
                .enumerate()
                .filter(|(_, (a, b))| a != b)
                .map(|(at, _)| at)
                .collect();
            println!(
                "{vocabulary} by {peer} on {name}: {} of {} texts have the same ids",
                texts.len() - other.len(),
                texts.len()
            );
            if let Some(first) = other.first() {
                println!(
                    "  the first that has not: {:?}",
                    texts[*first].chars().take(400).collect::<String>()
                );
            }
            different += other.len();
        }
    }
    println!("{different} differences");
    Ok(())
}

/// Texts of random bytes, of random characters, and of real text with bytes changed, each read as UTF-8 with U+FFFD for what is none.
fn fuzzed(real: &[String]) -> Vec<String> {
    let mut state = 11_u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let alphabet: Vec<char> =
        " \n\r\t  aeiotsnrAEIOTS'.,:;/(_0123é日本語\u{a0}\u{3000}\u{301}ſK😀ǅʰمЖд".chars().collect();
    let mut texts = Vec::new();
    for round in 0..6000 {
        let len = 1 + next(200);
        let bytes: Vec<u8> = match round % 3 {
            0 => (0..len).map(|_| next(256) as u8).collect(),
            1 => (0..len).map(|_| alphabet[next(alphabet.len())]).collect::<String>().into_bytes(),
            _ => {
                let text = real[next(real.len())].as_bytes();
                let from = next(text.len().saturating_sub(len).max(1));
                let mut bytes = text[from..(from + len).min(text.len())].to_vec();
                for _ in 0..next(8) {
                    let at = next(bytes.len());
                    bytes[at] = next(256) as u8;
                }
                bytes
            }
        };
        texts.push(String::from_utf8_lossy(&bytes).into_owned());
    }
    texts
}
