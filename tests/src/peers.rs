//! The peers' own clients and loaders: the `openai` package chats with the endpoint, `transformers` reads the tokenizer.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use cupola_tests::{House, binary, repository};
use walkdir::WalkDir;

use crate::whole_way::applied;

/// The Python with the peers, which `make test` sets up; none where only `cargo test` was called.
fn python() -> Option<PathBuf> {
    let python = repository().join(".venv/bin/python");
    if python.exists() {
        return Some(python);
    }
    println!("skipped: .venv with the peers is missing; `make test` sets it up");
    None
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.env("HF_HUB_OFFLINE", "1").stdin(Stdio::null()).output()?;
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{command:?} ended with {}:\n{text}", output.status);
    Ok(text)
}

/// A server of the aligned model on a free port; killed when dropped.
struct Server {
    process: Child,
    url: String,
}

impl Server {
    fn start(house: &House) -> Result<Self> {
        let mut command = house.command(["serve", "aligned", "--listen", "127.0.0.1:0"])?;
        let mut process =
            command.stdout(Stdio::piped()).stderr(File::create(house.path().join("serve.log"))?).spawn()?;
        let mut lines = BufReader::new(process.stdout.take().context("stdout is piped")?).lines();
        let url = loop {
            let line = lines.next().context("the server ended before it listened")??;
            if let Some(rest) = line.split("http://").nth(1) {
                let address = rest.split(|c: char| c.is_whitespace() || c == '/').next().unwrap_or(rest);
                break format!("http://{address}");
            }
        };
        // The server writes to its standard output as long as it lives.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { process, url })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_openai_client_chats_with_the_endpoint() {
    let Some(python) = python() else { return };
    let house = applied();
    let server = Server::start(&house).unwrap();
    let script = repository().join("tests/python/openai_client.py");
    println!(
        "{}",
        run(Command::new(python).arg(script).args([
            "--base-url",
            &format!("{}/v1", server.url),
            "--model",
            "aligned"
        ]))
        .unwrap()
    );
}

/// Texts that no training saw: guides and sources of the dependencies, cut to a size that a test can wait for.
fn held_out_texts(count: usize) -> Vec<String> {
    let home = std::env::var("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|_| std::env::var("HOME").map(|home| PathBuf::from(home).join(".cargo")));
    let registry = home.unwrap().join("registry/src");
    WalkDir::new(registry)
        .sort_by_file_name()
        .into_iter()
        .filter_map(Result::ok)
        .filter(|entry| {
            entry.path().extension().is_some_and(|extension| extension == "md" || extension == "rs")
        })
        .step_by(7)
        .filter_map(|entry| std::fs::read_to_string(entry.path()).ok())
        .map(|text| text.chars().take(2000).collect())
        .take(count)
        .collect()
}

#[test]
fn transformers_gives_the_same_token_ids_on_a_thousand_texts() {
    let Some(python) = python() else { return };
    let house = applied();
    let folder = house.artifact("aligned/optimize").unwrap();
    let texts = held_out_texts(1000);
    assert_eq!(texts.len(), 1000, "the registry holds enough texts");
    let input = house.path().join("texts.jsonl");
    let mut file = File::create(&input).unwrap();
    for text in &texts {
        writeln!(file, "{}", serde_json::json!({ "text": text })).unwrap();
    }
    let lines = house.path().join("ids.jsonl");
    let output = Command::new(binary("cupola-worker").unwrap())
        .arg("encode")
        .arg(&folder)
        .stdin(File::open(&input).unwrap())
        .stdout(File::create(&lines).unwrap())
        .status()
        .unwrap();
    assert!(output.success());
    let script = repository().join("tests/python/tokenizer_parity.py");
    println!("{}", run(Command::new(python).arg(script).arg(folder).arg(lines)).unwrap());
}
