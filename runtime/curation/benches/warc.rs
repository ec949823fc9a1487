//! WARC.gz reading against FastWARC (PyPI, Rust), in alternating runs, one thread each.
//!
//! `CUPOLA_SHARED=… cargo bench -p cupola-curation --bench warc -- PYTHON [PAIRS]`, where PYTHON is an interpreter that has `fastwarc`
//! (`pip install fastwarc==2.0.1`). The well-formed shared archives are repeated to 200 MB of packed bytes. Both sides read every record and all bytes of its
//! block, and must agree on their numbers.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use cupola_curation::read::warc::{Entry, Records};
use cupola_curation::read::{Cursor, FileReader, Format, Item, Limits, Statuses};

/// Archives without damage: on these both sides must count the same.
const ARCHIVES: [&str; 4] =
    ["example.warc.gz", "sample-0000.warc.gz", "sample-0001.warc.gz", "warcfile.warc.gz"];
const PACKED_BYTES: u64 = 200 << 20;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let [python, rest @ ..] = arguments.as_slice() else {
        println!("nothing to do: name an interpreter that has fastwarc");
        return Ok(());
    };
    let pairs: usize = rest.first().map_or(Ok(5), |pairs| pairs.parse())?;
    let shared = std::env::var_os("CUPOLA_SHARED").context("CUPOLA_SHARED is not set")?;
    let folder = tempfile::tempdir()?;
    let path = repeated(&Path::new(&shared).join("data/warc"), folder.path())?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../benches/peers/warc.py");
    let (mut ours, mut peers, mut documents) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..pairs {
        let (seconds, counts) = read_records(&path)?;
        let (peer_seconds, peer_counts) = read_by_peer(python, &script, &path)?;
        ensure!(counts == peer_counts, "records and bytes differ: {counts:?} here, {peer_counts:?} there");
        ours.push(seconds);
        peers.push(peer_seconds);
        documents.push(read_documents(&path)?);
        println!("{counts:?}: {seconds:.3} s, FastWARC {peer_seconds:.3} s");
    }
    let ratios: Vec<f64> = ours.iter().zip(&peers).map(|(ours, peer)| peer / ours).collect();
    let rate = |seconds: f64| PACKED_BYTES as f64 / 1e6 / seconds;
    println!(
        "records: {:.0} MB/s of packed bytes; FastWARC {:.0} MB/s",
        rate(median(ours)),
        rate(median(peers))
    );
    println!("ratio of speeds, median of {pairs} pairs: {:.2}", median(ratios));
    println!("documents (content and charset decoded): {:.0} MB/s of packed bytes", rate(median(documents)));
    Ok(())
}

fn repeated(archives: &Path, folder: &Path) -> Result<PathBuf> {
    let mut bytes = Vec::new();
    for name in ARCHIVES {
        bytes.extend(std::fs::read(archives.join(name))?);
    }
    let path = folder.join("repeated.warc.gz");
    let times = PACKED_BYTES.div_ceil(bytes.len() as u64);
    std::fs::write(&path, bytes.repeat(times as usize))?;
    Ok(path)
}

fn read_records(path: &Path) -> Result<(f64, (u64, u64))> {
    let start = Instant::now();
    let mut records = Records::open(path, Limits::default(), Cursor::default(), false)?;
    let (mut number, mut bytes) = (0, 0);
    while let Some(entry) = records.next()? {
        match entry {
            Entry::Record(record) => {
                number += 1;
                bytes += std::hint::black_box(record.block).len() as u64;
            }
            Entry::Skipped(skipped) => anyhow::bail!("{skipped:?}"),
        }
    }
    Ok((start.elapsed().as_secs_f64(), (number, bytes)))
}

fn read_documents(path: &Path) -> Result<f64> {
    let start = Instant::now();
    let format = Format::Warc(Statuses::Success);
    let reader = FileReader::open(path, "repeated", format, Limits::default(), Cursor::default())?;
    let mut bytes = 0;
    for item in reader {
        if let Item::Document(document) = item? {
            bytes += std::hint::black_box(document.content.as_str()).len();
        }
    }
    ensure!(bytes > 0, "no documents");
    Ok(start.elapsed().as_secs_f64())
}

fn read_by_peer(python: &str, script: &Path, path: &Path) -> Result<(f64, (u64, u64))> {
    let output = Command::new(python).arg(script).arg(path).output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout)?;
    let mut words = text.split_whitespace();
    let mut next = || words.next().context("the peer printed too little");
    Ok((next()?.parse()?, (next()?.parse()?, next()?.parse()?)))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
