//! Corpora as people ask about them: the funnel with its victims, and the fate of one document.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use comfy_table::{Cell, CellAlignment};
use cupola_specs::artifact::{CorpusDocument, CorpusStatistics, DroppedDocument, RuleExample, TokenIndex};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::CliError;
use super::tables::{plain_table, text_of};
use crate::report::format::{bytes, count};
use crate::state::{RunView, StepView};
use crate::store::Store;

/// The fewest digits that name a document.
const MIN_ID_DIGITS: usize = 8;
/// Documents that are shown where an id is the start of several.
const MOST_SHOWN: usize = 20;

/// Whether a word can be the start of a document's id.
pub(super) fn is_document_id(word: &str) -> bool {
    (MIN_ID_DIGITS..=32).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// A corpus in the store.
pub(super) struct Corpus {
    /// The step that made it, or the start of its fingerprint.
    pub(super) name: String,
    /// Its statistics.
    pub(super) statistics: CorpusStatistics,
    folder: PathBuf,
    /// Tokens a byte, where the run made tokens of it.
    tokens_per_byte: Option<f64>,
}

impl Corpus {
    /// The corpus of this fingerprint; none where the artifact is none.
    pub(super) fn of_artifact(
        store: &Store,
        kind: &str,
        fingerprint: &str,
    ) -> Result<Option<Self>, CliError> {
        let Some(stored) = store.get(kind, fingerprint)? else { return Ok(None) };
        let path = stored.path.join("statistics.json");
        if kind != "corpus" || !path.is_file() {
            return Ok(None);
        }
        let statistics = read_json(&path)?;
        let name = fingerprint.chars().take(12).collect();
        Ok(Some(Self { name, statistics, folder: stored.path, tokens_per_byte: None }))
    }

    /// The corpus that a step made; none where it makes another thing, or has not yet.
    pub(super) fn of_step(store: &Store, run: &RunView, step: &StepView) -> Result<Option<Self>, CliError> {
        let Some(corpus) = Self::of_artifact(store, "corpus", &step.fingerprint)? else { return Ok(None) };
        let mut corpus = Self { name: step.name.clone(), ..corpus };
        for other in
            run.steps.iter().filter(|other| other.inputs.values().any(|input| *input == step.fingerprint))
        {
            let Some(tokens) = store.get("tokens", &other.fingerprint)? else { continue };
            let index: TokenIndex = read_json(&tokens.path.join("index.json"))?;
            let (tokens, bytes) = index
                .train
                .values()
                .fold((0, 0), |(tokens, bytes), shard| (tokens + shard.num_tokens, bytes + shard.num_bytes));
            corpus.tokens_per_byte = (bytes > 0).then(|| tokens as f64 / bytes as f64);
        }
        Ok(Some(corpus))
    }

    /// The funnel as a table, with examples of what each rule took.
    pub(super) fn funnel(&self) -> String {
        let tokens = |bytes: u64| match self.tokens_per_byte {
            Some(rate) => count((bytes as f64 * rate).round() as u64),
            None => String::new(),
        };
        let mut heads = vec!["RULE", "DROPPED", "CHANGED", "BYTES GONE", "LEFT", "BYTES LEFT"];
        if self.tokens_per_byte.is_some() {
            heads.extend(["TOKENS GONE", "TOKENS LEFT"]);
        }
        let mut table = plain_table(&heads);
        for rule in &self.statistics.rules {
            let mut cells = vec![
                count(rule.dropped_documents),
                count(rule.changed_documents),
                bytes(rule.dropped_bytes),
                count(rule.remaining_documents),
                bytes(rule.remaining_bytes),
            ];
            if self.tokens_per_byte.is_some() {
                cells.extend([tokens(rule.dropped_bytes), tokens(rule.remaining_bytes)]);
            }
            let cells = cells.into_iter().map(|cell| Cell::new(cell).set_alignment(CellAlignment::Right));
            table.add_row(std::iter::once(Cell::new(&rule.rule)).chain(cells));
        }
        let mut text =
            format!("{}: what each rule took, in the order that they ran\n{}\n", self.name, text_of(&table));
        if self.tokens_per_byte.is_some() {
            text.push_str("(tokens: bytes times the tokens a byte of what is left)\n");
        }
        for rule in self.statistics.rules.iter().filter(|rule| !rule.examples.is_empty()) {
            let _ = writeln!(text, "\n{} took, for example:", rule.rule);
            for RuleExample { document, file, excerpt } in &rule.examples {
                let excerpt: Vec<&str> = excerpt.split_whitespace().collect();
                let _ = writeln!(text, "  {document} {file}: {}", excerpt.join(" "));
            }
        }
        text
    }

    /// The documents whose ids start so, among those that stayed and those that went.
    pub(super) fn find(&self, id: &str) -> Result<Vec<Fate>, CliError> {
        let id = id.to_lowercase();
        let mut found = Vec::new();
        let dropped = self.folder.join("dropped.jsonl.zst");
        search(&dropped, &id, &mut |document: DroppedDocument| {
            found.push(Fate {
                corpus: self.name.clone(),
                id: document.id.clone(),
                kept: None,
                dropped: Some(document),
            });
        })?;
        for side in ["train", "validation"] {
            for shard in shards(&self.folder.join(side))? {
                search(&shard, &id, &mut |document: CorpusDocument| {
                    let kept = Kept { side, shard: shard.clone(), document };
                    let id = kept.document.id.clone();
                    found.push(Fate { corpus: self.name.clone(), id, kept: Some(kept), dropped: None });
                })?;
            }
        }
        found.truncate(MOST_SHOWN);
        Ok(found)
    }
}

/// What became of a document.
#[derive(Debug, Serialize)]
pub(super) struct Fate {
    corpus: String,
    id: String,
    kept: Option<Kept>,
    dropped: Option<DroppedDocument>,
}

/// Where a document is.
#[derive(Debug, Serialize)]
struct Kept {
    side: &'static str,
    shard: PathBuf,
    document: CorpusDocument,
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(dropped) = &self.dropped {
            writeln!(f, "{} of {} (source {}) went", self.id, self.corpus, dropped.source)?;
            writeln!(f, "  by {}: {}", dropped.rule, dropped.reason)?;
            if !dropped.file.is_empty() {
                writeln!(f, "  file {}", dropped.file)?;
            }
            if let Some(url) = &dropped.url {
                writeln!(f, "  from {url}")?;
            }
            write_signals(f, &dropped.signals)?;
        }
        let Some(Kept { side, shard, document }) = &self.kept else { return Ok(()) };
        writeln!(f, "{} of {} (source {}) is in {side}", self.id, self.corpus, document.source)?;
        writeln!(f, "  shard {}", shard.display())?;
        writeln!(
            f,
            "  file {}, domain {}, {}",
            document.file,
            document.domain,
            bytes(document.text.len() as u64)
        )?;
        if let Some(url) = &document.url {
            writeln!(f, "  from {url}")?;
        }
        write_signals(f, &document.signals)
    }
}

/// What was measured of a document.
fn write_signals(f: &mut fmt::Formatter<'_>, signals: &BTreeMap<String, f64>) -> fmt::Result {
    signals.iter().try_for_each(|(name, value)| writeln!(f, "  {name} {value}"))
}

/// The id alone: a line whose id is another one is not decoded further.
#[derive(Deserialize)]
struct IdOnly<'a> {
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
}

/// Calls `each` for the lines of a shard whose id starts so.
fn search<T: DeserializeOwned>(path: &Path, id: &str, each: &mut dyn FnMut(T)) -> Result<(), CliError> {
    let wrong = |error: &dyn fmt::Display| CliError::input(format!("{}: {error}", path.display()), "");
    let file = std::fs::File::open(path).map_err(|error| wrong(&error))?;
    let decoder = zstd::Decoder::new(file).map_err(|error| wrong(&error))?;
    for line in BufReader::with_capacity(1 << 17, decoder).lines() {
        let line = line.map_err(|error| wrong(&error))?;
        // Ids are the first field of every line.
        let is_near = line.get(..64.min(line.len())).is_none_or(|start| start.contains(id));
        if !is_near {
            continue;
        }
        let known: IdOnly<'_> = serde_json::from_str(&line).map_err(|error| wrong(&error))?;
        if known.id.starts_with(id) {
            each(serde_json::from_str(&line).map_err(|error| wrong(&error))?);
        }
    }
    Ok(())
}

/// The shards of a side, in order.
fn shards(folder: &Path) -> Result<Vec<PathBuf>, CliError> {
    let wrong = |error: std::io::Error| CliError::input(format!("{}: {error}", folder.display()), "");
    let mut shards = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        if path.to_string_lossy().ends_with(".jsonl.zst") {
            shards.push(path);
        }
    }
    shards.sort();
    Ok(shards)
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, CliError> {
    let wrong = |error: &dyn fmt::Display| CliError::input(format!("{}: {error}", path.display()), "");
    let text = std::fs::read(path).map_err(|error| wrong(&error))?;
    serde_json::from_slice(&text).map_err(|error| wrong(&error))
}
