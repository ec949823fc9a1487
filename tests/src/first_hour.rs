//! A new user's first hour, as a shell session that the real binaries go through: `tests/FIRST-HOUR.md` is its record.
//!
//! `UPDATE_FIRST_HOUR=1 cargo test -p cupola-tests first_hour` writes it again. Figures differ from machine to machine and are not compared.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use cupola_tests::{binary, repository};
use rand::SeedableRng;
use rand::prelude::IndexedRandom;
use rand_chacha::ChaCha8Rng;

/// What is told, what is typed, and the exit code that it must have.
const SESSION: &[(&str, &str, i32)] = &[
    ("A spec to start from, for a corpus and a tokenizer.", "cupola init --template corpus", 0),
    (
        "It wants texts and notes, and we have some.",
        "ls texts | wc -l; ls notes | wc -l; head -c 300 texts/story-00.txt",
        0,
    ),
    (
        "A model of our own on top, small enough for a first look. Its vocabulary need not be large either, and here is a slip of the pen.",
        "cat model.yaml >> cupola.yaml; tail -n 6 cupola.yaml; sed -i 's/vocab_size: 16384/vocab_sise: 512/' cupola.yaml",
        0,
    ),
    ("Every mistake is told at once, with its place.", "cupola validate cupola.yaml", 2),
    ("What a code means, with an example:", "cupola explain E0302", 0),
    (
        "Both mended:",
        "sed -i 's/vocab_sise/vocab_size/; s/60k/60K/' cupola.yaml; cupola validate cupola.yaml",
        0,
    ),
    ("What would run, and why:", "cupola plan cupola.yaml", 0),
    ("It runs on its own while we watch.", "cupola apply cupola.yaml --detach", 0),
    ("On a terminal this is a page with bars and curves; here it is read by a file.", "cupola watch", 1),
    ("Not all went well. Why?", "cupola why corpus", 0),
    (
        "Stories that sing their refrains again and again are what that filter is made against. We want them, so it goes.",
        "sed -i '/gopher_repetition/d' cupola.yaml; cupola plan cupola.yaml",
        0,
    ),
    ("", "cupola apply cupola.yaml", 0),
    (
        "A longer training is another model, and only that: the texts, the vocabulary and the tokens stay.",
        "sed -i 's/tokens: 60K/tokens: 90K/' cupola.yaml; cupola plan cupola.yaml",
        0,
    ),
    ("", "cupola apply cupola.yaml", 0),
    ("And again:", "cupola apply cupola.yaml", 0),
    ("", "cupola why base", 0),
];

const MODEL: &str = "
  base:
    kind: pretrain
    corpus: corpus
    tokenizer: vocab
    model: { depth: 1 }
    tokens: 60k
    context: { length: 64 }
";

/// Stories that no two are alike of, in words that a filter for prose takes for prose.
fn write_stories(root: &Path) -> Result<()> {
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut pick = |words: &str| {
        let words: Vec<&str> = words.split('|').collect();
        words.choose(&mut rng).copied().unwrap_or_default().to_owned()
    };
    for folder in ["texts", "notes"] {
        fs::create_dir_all(root.join(folder))?;
    }
    for file in 0..80 {
        let mut text = String::new();
        for _ in 0..10 {
            for _ in 0..4 {
                let who = pick(
                    "The keeper of the harbour|An old sailor from the north|The teacher with the red coat|My neighbour|The youngest of the three|A woman whom nobody knew|The baker's son|Her grandfather",
                );
                let did = pick(
                    "said that|had always believed that|wrote to the council that|dreamed that|was told by the miller that|remembered how|would not hear that|found out that",
                );
                let what = pick(
                    "the boats|the letters from the island|two of the lanterns|the geese|the bells of the chapel|those who had left|the last of the apples|all the roads to the valley",
                );
                let then = pick(
                    "came back before the rain|were not to be trusted in winter|had been there since the war|could be seen from the hill|belonged to no one at all|kept the village awake|made the whole house sing|went with the tide",
                );
                let end = pick(
                    "and this was the end of it|but it was too late for tea|so they sat down and waited|and the dog did not mind|which is how the summer began|and I have never asked again|though the sea was calm|as everyone could hear",
                );
                write!(text, "{who} {did} {what} {then}, {end}. ")?;
            }
            text.push_str("\n\n");
        }
        let name = if file < 64 { format!("texts/story-{file:02}.txt") } else { format!("notes/{file}.md") };
        fs::write(root.join(name), text)?;
    }
    Ok(())
}

/// Types one line, with the built binaries first on the path; gives what it wrote.
fn type_line(folder: &Path, line: &str, code: i32) -> Result<String> {
    let binaries = binary("cupola")?;
    let binaries = binaries.parent().unwrap_or(Path::new("/")).display();
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("exec 2>&1; {line}")])
        .current_dir(folder)
        .env("PATH", format!("{binaries}:{path}"))
        .env_remove("CUPOLA_STATE")
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8(output.stdout)?.replace(&folder.display().to_string(), "~/first-model");
    ensure!(output.status.code() == Some(code), "`{line}` ended with {}\n{text}", output.status);
    Ok(text)
}

/// What is compared: no figures with their units, no fingerprints and curves, no lines that come and go with the speed of a machine.
fn essence(text: &str) -> String {
    let differs = |word: &str| {
        word.contains(|c: char| c.is_ascii_digit() || ('▁'..='█').contains(&c))
            || matches!(word, "ms" | "s" | "m" | "h" | "%" | "KiB" | "MiB" | "GiB")
    };
    let lines = text.lines().filter(|line| !line.starts_with('·'));
    let lines = lines.map(|line| {
        let words = line.split_whitespace().filter(|word| !differs(word));
        words.collect::<Vec<_>>().join(" ")
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn the_first_hour_goes_as_it_is_told() -> Result<()> {
    let folder = tempfile::Builder::new().prefix("first-hour-").tempdir()?;
    write_stories(folder.path())?;
    fs::write(folder.path().join("model.yaml"), MODEL)?;
    let mut record = String::from(
        "# The first hour\n\nFrom an empty folder to a trained model, an error on the way, and nothing done twice. Recorded by a test \
         (`tests/src/first_hour.rs`), which\ngoes this way on each run of the test suite.\n",
    );
    for (told, line, code) in SESSION {
        if !told.is_empty() {
            write!(record, "\n{told}\n")?;
        }
        let said = type_line(folder.path(), line, *code)?;
        write!(record, "\n```console\n$ {line}\n{}\n```\n", said.trim_end())?;
    }
    let file: PathBuf = repository().join("tests/FIRST-HOUR.md");
    if std::env::var_os("UPDATE_FIRST_HOUR").is_some() {
        fs::write(&file, &record)?;
    }
    let known = fs::read_to_string(&file)?;
    assert_eq!(essence(&known), essence(&record), "set UPDATE_FIRST_HOUR=1 to record it again");
    Ok(())
}
