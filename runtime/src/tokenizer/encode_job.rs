//! The tokens step: a corpus and a tokenizer in, memory-mapped token shards out.
//!
//! Each document is preceded by the document token, so a model learns where texts begin, and a cut of the stream at any place
//! still tells them apart. Shards are one file for each side and domain, in the corpus' order, whatever the threads; beside each lies where its
//! documents start, and beside them all how many bytes of text each id stands for. An id that the vocabulary does not have is found here,
//! not in training, and so is a text whose bytes are not those of its tokens.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use cupola_specs::artifact::{CorpusDocument, TokenIndex, TokenShard};
use cupola_specs::job::TokensParams;
use rayon::prelude::*;
use serde_json::json;

use super::job::{for_each_batch, statistics};
use super::{Tokenizer, TokenizerError};
use crate::data::shard::corpus_shards;
use crate::job::{StepContext, Summary};

/// File of the bytes behind each id.
const TOKEN_BYTES: &str = "token_bytes.bin";

/// Encodes the inputs `corpus` with the input `tokenizer`.
pub fn run(ctx: &StepContext, _params: &TokensParams) -> Result<Summary, TokenizerError> {
    let corpus = ctx.input("corpus")?.path.clone();
    let input = ctx.input("tokenizer")?;
    let tokenizer = Tokenizer::load(&input.path)?;
    let id_bytes = if tokenizer.vocab_size() <= 1 << 16 { 2 } else { 4 };
    let token_bytes = write_token_bytes(ctx.staging(), &tokenizer)?;
    let statistics = statistics(&corpus)?;
    let total: u64 = statistics.train.values().chain(statistics.validation.values()).map(|d| d.bytes).sum();
    let mut done = 0;
    let mut sides = Vec::new();
    for side in ["train", "validation"] {
        let mut writers = Shards::create(ctx.staging(), side, (id_bytes, &token_bytes))?;
        for_each_batch(ctx, corpus_shards(&corpus, side)?, &mut |documents| {
            let encoded: Vec<Vec<u32>> = documents
                .par_iter()
                .map_init(
                    || tokenizer.encoder(),
                    |encoder, document| {
                        let mut ids = vec![tokenizer.bos_id()];
                        encoder.encode_into(&document.text, &mut ids);
                        ids
                    },
                )
                .collect();
            for (document, ids) in documents.iter().zip(encoded) {
                writers.append(document, &ids)?;
                done += document.text.len() as u64;
            }
            ctx.events().progress(done as f64, total as f64, "bytes", "encode");
            Ok(())
        })?;
        sides.push(writers.finish()?);
    }
    let validation = sides.pop().unwrap_or_default();
    let train = sides.pop().unwrap_or_default();
    let domain_weights = statistics.domain_weights.clone();
    let index = TokenIndex {
        vocab_size: tokenizer.vocab_size() as u64,
        id_bytes,
        bos_token_id: u64::from(tokenizer.bos_id()),
        domain_weights,
        token_bytes: TOKEN_BYTES.into(),
        train,
        validation,
        tokenizer_fingerprint: input.fingerprint.clone(),
    };
    let path = ctx.staging().join("index.json");
    std::fs::write(&path, format!("{:#}\n", json!(index))).map_err(|e| TokenizerError::io(path, e))?;
    Ok(summary(&index))
}

/// Writes how many bytes of text each id stands for.
fn write_token_bytes(staging: &Path, tokenizer: &Tokenizer) -> Result<Vec<u32>, TokenizerError> {
    // No added token comes out of a text.
    let added: Vec<u32> = tokenizer.added_tokens().iter().map(|token| token.id).collect();
    let of = |id: u32| if added.contains(&id) { 0 } else { tokenizer.decode_bytes(&[id]).len() as u32 };
    let lengths: Vec<u32> = (0..tokenizer.vocab_size() as u32).map(of).collect();
    let path = staging.join(TOKEN_BYTES);
    let bytes: Vec<u8> = lengths.iter().flat_map(|length| length.to_le_bytes()).collect();
    std::fs::write(&path, bytes).map_err(|e| TokenizerError::io(path, e))?;
    Ok(lengths)
}

fn summary(index: &TokenIndex) -> Summary {
    let mut summary = Summary::new();
    summary.insert("vocab_size".into(), json!(index.vocab_size));
    for (side, shards) in [("train", &index.train), ("validation", &index.validation)] {
        for (domain, shard) in shards {
            summary.insert(format!("{side}.{domain}.tokens"), json!(shard.num_tokens));
        }
    }
    summary
}

/// The open shards of one side.
struct Shards<'t> {
    root: PathBuf,
    side: &'static str,
    id_bytes: u64,
    /// Bytes of text behind each id.
    token_bytes: &'t [u32],
    open: BTreeMap<String, OpenShard>,
}

/// A shard that is being written.
struct OpenShard {
    ids: BufWriter<File>,
    starts: BufWriter<File>,
    shard: TokenShard,
}

impl<'t> Shards<'t> {
    fn create(
        root: &Path,
        side: &'static str,
        (id_bytes, token_bytes): (u64, &'t [u32]),
    ) -> Result<Self, TokenizerError> {
        let folder = root.join(side);
        std::fs::create_dir_all(&folder).map_err(|e| TokenizerError::io(folder, e))?;
        Ok(Self { root: root.to_path_buf(), side, id_bytes, token_bytes, open: BTreeMap::new() })
    }

    fn append(&mut self, document: &CorpusDocument, ids: &[u32]) -> Result<(), TokenizerError> {
        self.check(document, ids)?;
        if !self.open.contains_key(&document.domain) {
            let shard = OpenShard::create(&self.root, self.side, &document.domain)?;
            self.open.insert(document.domain.clone(), shard);
        }
        let Some(open) = self.open.get_mut(&document.domain) else { return Ok(()) };
        let start = open.shard.num_tokens.to_le_bytes();
        open.starts
            .write_all(&start)
            .map_err(|e| TokenizerError::io(self.root.join(&open.shard.starts), e))?;
        open.shard.num_tokens += ids.len() as u64;
        open.shard.num_documents += 1;
        open.shard.num_bytes += document.text.len() as u64;
        let bytes: Vec<u8> = match self.id_bytes {
            2 => ids.iter().flat_map(|id| (*id as u16).to_le_bytes()).collect(),
            _ => ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
        };
        open.ids.write_all(&bytes).map_err(|e| TokenizerError::io(self.root.join(&open.shard.file), e))
    }

    /// Every id is one of the vocabulary, and the ids are the whole text.
    fn check(&self, document: &CorpusDocument, ids: &[u32]) -> Result<(), TokenizerError> {
        let mut got = 0;
        for &id in ids {
            let Some(bytes) = self.token_bytes.get(id as usize) else {
                let vocab_size = self.token_bytes.len() as u64;
                return Err(TokenizerError::IdOutOfRange { file: document.file.clone(), id, vocab_size });
            };
            got += u64::from(*bytes);
        }
        let expected = document.text.len() as u64;
        if got == expected {
            Ok(())
        } else {
            Err(TokenizerError::TextLost { file: document.file.clone(), expected, got })
        }
    }

    fn finish(self) -> Result<BTreeMap<String, TokenShard>, TokenizerError> {
        let mut shards = BTreeMap::new();
        for (domain, mut open) in self.open {
            open.ids.flush().map_err(|e| TokenizerError::io(self.root.join(&open.shard.file), e))?;
            open.starts.flush().map_err(|e| TokenizerError::io(self.root.join(&open.shard.starts), e))?;
            shards.insert(domain, open.shard);
        }
        Ok(shards)
    }
}

impl OpenShard {
    fn create(root: &Path, side: &str, domain: &str) -> Result<Self, TokenizerError> {
        let file = format!("{side}/{domain}.bin");
        let starts = format!("{side}/{domain}.starts");
        let writer = |file: &str| {
            let path = root.join(file);
            let created = File::create(&path).map_err(|e| TokenizerError::io(path, e))?;
            Ok::<_, TokenizerError>(BufWriter::with_capacity(1 << 20, created))
        };
        let (ids, places) = (writer(&file)?, writer(&starts)?);
        let shard = TokenShard { file, starts, num_tokens: 0, num_documents: 0, num_bytes: 0 };
        Ok(Self { ids, starts: places, shard })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cupola_specs::contract::{InputArtifact, JobFile};
    use cupola_specs::job::{
        DataParams, DedupParams, Digits, PairsParams, SourceFormat, SplitParams, SplitUnit, StepParams,
        TokenizerAlgorithm, TokenizerParams,
    };

    use super::*;
    use crate::data::pairs::read_pairs;
    use crate::data::sample::{job_of, source, write_sources};
    use crate::data::shard::read_jsonl_zst;
    use crate::job::sample::job_in;
    use crate::train::TokenData;

    const LICENCE: &str =
        "// Copyright 2024 The Authors of all these crates. Licensed under the terms of everything.\n\n";

    fn context(dir: &Path, name: &str, params: StepParams, inputs: &[&str]) -> StepContext {
        let input = |kind: &&str| {
            let path = dir.join(kind);
            (
                (*kind).to_owned(),
                InputArtifact { kind: (*kind).into(), path, fingerprint: format!("of {kind}") },
            )
        };
        let staging = dir.join(name);
        std::fs::create_dir_all(&staging).unwrap();
        let inputs = inputs.iter().map(input).collect();
        let job = JobFile { step: name.into(), params, inputs, staging, ..job_in(dir) };
        StepContext::new(job, Arc::default()).unwrap()
    }

    /// Eight crates with a function each, all under one licence; the last is a copy of the first by another name.
    fn write_crates(dir: &Path) {
        let words = ["sum", "product", "minimum", "maximum", "mean", "median", "mode", "sum"];
        let names: Vec<String> = (0..8).map(|n| format!("mirror/crate{n}-1.0.{n}/src/lib.rs")).collect();
        let texts = words.iter().enumerate().map(|(n, word)| {
            format!(
                "{LICENCE}/// Returns the {word} of all values in the given slice.\npub fn {word}_of(values: &[u32]) -> u32 {{\n    \
                 values.iter().{word}::<u32>() + {n} - {n}\n}}\n"
            )
        });
        let files: Vec<_> = names
            .iter()
            .zip(texts)
            .map(|(name, text)| ("sources.crates", name.as_str(), text.into_bytes()))
            .collect();
        write_sources(dir, &files);
    }

    fn data_params() -> DataParams {
        let data = job_of(vec![source("crates", SourceFormat::Rust, "code")]);
        DataParams {
            dedup: DedupParams { exact_document: true, paragraphs: true, ..data.dedup },
            split: SplitParams { validation: 0.25, by: SplitUnit::Crate },
            pairs: Some(PairsParams {
                instruction: "Document this function:\n{code}".into(),
                max_code_chars: 300,
                min_answer_chars: 10,
                max_answer_chars: 200,
                max_per_crate: 0,
            }),
            shard_documents: 3,
            ..data
        }
    }

    fn tokenizer_params() -> TokenizerParams {
        TokenizerParams {
            algorithm: TokenizerAlgorithm::Bpe,
            vocab_size: 300,
            pattern:
                r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
                    .into(),
            digits: Digits::Single,
            special_tokens: ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|pad|>"].map(str::to_owned).to_vec(),
            chat_template: String::new(),
            train_bytes: 0,
        }
    }

    /// The corpus of the crates.
    fn curate(dir: &Path) {
        write_crates(dir);
        let data = data_params();
        let ctx = context(dir, "corpus", StepParams::Data(data.clone()), &[]);
        crate::data::job::run(&ctx, &data).unwrap();
    }

    #[test]
    fn sources_become_a_split_corpus_a_tokenizer_and_shards_that_decode_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        curate(dir);
        let params = tokenizer_params();
        let ctx = context(dir, "tokenizer", StepParams::Tokenizer(params.clone()), &["corpus"]);
        crate::tokenizer::job::run(&ctx, &params).unwrap();
        let ctx = context(dir, "tokens", StepParams::Tokens(TokensParams {}), &["corpus", "tokenizer"]);
        run(&ctx, &TokensParams {}).unwrap();

        let read = |part: &str| -> Vec<CorpusDocument> {
            let shards = corpus_shards(&dir.join("corpus"), part).unwrap();
            shards.iter().flat_map(|shard| read_jsonl_zst(shard).unwrap()).collect()
        };
        let (train, held_out) = (read("train"), read("validation"));
        assert_eq!((train.len(), held_out.len()), (6, 2));
        let licences = train.iter().chain(&held_out).filter(|document| document.text.contains("Copyright"));
        assert_eq!(licences.count(), 1);
        let (pairs, held_out_pairs) = (
            read_pairs(&dir.join("corpus"), "pairs").unwrap(),
            read_pairs(&dir.join("corpus"), "validation_pairs").unwrap(),
        );
        assert_eq!(pairs.len() + held_out_pairs.len(), 7, "one answer stands twice");
        assert!(held_out_pairs.iter().all(|pair| held_out.iter().any(|d| d.file.starts_with(&pair.unit))));
        assert!(pairs.iter().all(|pair| !held_out.iter().any(|d| d.file.starts_with(&pair.unit))));

        let tokenizer = Tokenizer::load(&dir.join("tokenizer")).unwrap();
        let bytes = std::fs::read(dir.join("tokens/train/code.bin")).unwrap();
        let ids: Vec<u32> = bytes.chunks(2).map(|id| u32::from(u16::from_le_bytes([id[0], id[1]]))).collect();
        let expected: String = train.iter().flat_map(|document| ["<|bos|>", &document.text]).collect();
        assert_eq!(tokenizer.decode(&ids), expected);
        let data = TokenData::train(&dir.join("tokens")).unwrap();
        let documents = data.documents(0).unwrap();
        assert_eq!(documents.len(), 6);
        for ((start, len), document) in documents.into_iter().zip(&train) {
            let text = tokenizer.decode(&ids[start as usize..(start + len) as usize]);
            assert_eq!(text, format!("<|bos|>{}", document.text));
        }
        let bytes: usize = train.iter().map(|document| document.text.len()).sum();
        assert_eq!(data.shard(0).num_bytes, bytes as u64);
    }

    #[test]
    fn each_algorithm_makes_a_tokenizer_that_encodes_the_corpus_and_tells_of_the_others_that_were_named() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        curate(dir);
        let algorithms = [
            ("bytes", TokenizerAlgorithm::Bytes, 260),
            ("bpe", TokenizerAlgorithm::Bpe, 280),
            ("unigram", TokenizerAlgorithm::Unigram, 280),
        ];
        let mut sizes = Vec::new();
        for (name, algorithm, vocab_size) in algorithms {
            // Those before it are compared with.
            let content = |other: &str| std::fs::read(dir.join(other).join("tokenizer.json"));
            let others: Vec<(&str, String, Vec<u8>)> = algorithms
                .iter()
                .filter_map(|(other, _, _)| Some(("compare", format!("{other}.json"), content(other).ok()?)))
                .collect();
            let others: Vec<(&str, &str, Vec<u8>)> = others
                .iter()
                .map(|(label, name, content)| (*label, name.as_str(), content.clone()))
                .collect();
            write_sources(dir, &others);
            let params = TokenizerParams { algorithm, vocab_size, ..tokenizer_params() };
            let ctx = context(dir, name, StepParams::Tokenizer(params.clone()), &["corpus"]);
            crate::tokenizer::job::run(&ctx, &params).unwrap();
            let folder = dir.join(name);
            let tokenizer = Tokenizer::load(&folder).unwrap();
            assert_eq!(tokenizer.vocab_size() as u64, vocab_size);
            assert_eq!(folder.join("tokenizer.tiktoken").is_file(), algorithm == TokenizerAlgorithm::Bpe);
            let report = std::fs::read_to_string(folder.join("report.json")).unwrap();
            let report: serde_json::Value = serde_json::from_str(&report).unwrap();
            assert_eq!(report["algorithm"], name);
            let compared = report["held_out"]["compression"][0]["references"].as_array().unwrap();
            let names: Vec<&str> = compared.iter().map(|other| other["name"].as_str().unwrap()).collect();
            assert_eq!(names, ["bytes", "bpe", "unigram"][..sizes.len()]);
            let page = std::fs::read_to_string(folder.join("report.html")).unwrap();
            assert!(names.iter().all(|other| page.contains(&format!("<th>{other}</th>"))));
            // The step that encodes a corpus takes the tokenizer by its role.
            let _ = std::fs::remove_dir_all(dir.join("tokenizer"));
            std::fs::create_dir(dir.join("tokenizer")).unwrap();
            tokenizer.copy_files(&dir.join("tokenizer")).unwrap();
            let tokens = format!("tokens_{name}");
            let ctx = context(dir, &tokens, StepParams::Tokens(TokensParams {}), &["corpus", "tokenizer"]);
            run(&ctx, &TokensParams {}).unwrap();
            let data = TokenData::train(&dir.join(&tokens)).unwrap();
            sizes.push((data.shard(0).num_tokens, data.shard(0).num_bytes));
        }
        let [bytes, bpe, unigram] = sizes[..] else { panic!("{sizes:?}") };
        // A token before each document; otherwise each byte is one.
        assert_eq!((bytes.0, bpe.1, unigram.1), (bytes.1 + 6, bytes.1, bytes.1));
        assert!(bpe.0 < bytes.0 && unigram.0 < bytes.0, "{sizes:?}");
    }

    #[test]
    fn the_ranks_beside_a_tokenizer_give_its_ids() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        curate(dir);
        std::fs::write(dir.join("sources.jsonl"), "").unwrap();
        let params = tokenizer_params();
        let ctx = context(dir, "tokenizer", StepParams::Tokenizer(params.clone()), &["corpus"]);
        crate::tokenizer::job::run(&ctx, &params).unwrap();
        let by_json = Tokenizer::load(&dir.join("tokenizer")).unwrap();
        let by_ranks = Tokenizer::load(&dir.join("tokenizer/tokenizer.tiktoken")).unwrap();
        assert_eq!((by_ranks.bos_id(), by_ranks.eos_id()), (by_json.bos_id(), by_json.eos_id()));
        let text = "pub fn median_of(values: &[u32]) -> u32 {<|im_end|>";
        assert_eq!(by_ranks.encode_with_special(text), by_json.encode_with_special(text));
    }

    #[test]
    fn ids_beyond_the_vocabulary_and_lost_text_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let mut shards = Shards::create(dir.path(), "train", (2, &[0, 1, 1])).unwrap();
        let document = CorpusDocument {
            id: "1".into(),
            text: "ab".into(),
            source: "crates".into(),
            file: "a.rs".into(),
            url: None,
            domain: "code".into(),
            language: None,
            signals: BTreeMap::new(),
        };
        shards.append(&document, &[0, 1, 2]).unwrap();
        let error = shards.append(&document, &[0, 1, 70_000]).unwrap_err().to_string();
        assert_eq!(error, "a.rs: token id 70000, and the vocabulary has 3 tokens");
        let error = shards.append(&document, &[0, 1]).unwrap_err().to_string();
        assert_eq!(error, "a.rs: a text of 2 bytes became tokens of 1 bytes");
        assert_eq!(shards.finish().unwrap()["code"].num_tokens, 3);
    }
}
