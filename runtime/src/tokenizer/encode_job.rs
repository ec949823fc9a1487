//! The tokens step: a corpus and a tokenizer in, memory-mapped token shards out.
//!
//! Each document is preceded by the document token, so a model learns where texts begin, and a cut of the stream at any place
//! still tells them apart. Shards are one file for each side and domain, in the corpus' order, whatever the threads.

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

/// Encodes the inputs `corpus` with the input `tokenizer`.
pub fn run(ctx: &StepContext, _params: &TokensParams) -> Result<Summary, TokenizerError> {
    let corpus = ctx.input("corpus")?.path.clone();
    let input = ctx.input("tokenizer")?;
    let tokenizer = Tokenizer::load(&input.path)?;
    let id_bytes = if tokenizer.vocab_size() <= 1 << 16 { 2 } else { 4 };
    let statistics = statistics(&corpus)?;
    let total: u64 = statistics.train.values().chain(statistics.validation.values()).map(|d| d.bytes).sum();
    let mut done = 0;
    let mut sides = Vec::new();
    for side in ["train", "validation"] {
        let mut writers = Shards::create(ctx.staging(), side, id_bytes)?;
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
        train,
        validation,
        tokenizer_fingerprint: input.fingerprint.clone(),
    };
    let path = ctx.staging().join("index.json");
    std::fs::write(&path, format!("{:#}\n", json!(index))).map_err(|e| TokenizerError::io(path, e))?;
    Ok(summary(&index))
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
struct Shards {
    root: PathBuf,
    side: &'static str,
    id_bytes: u64,
    open: BTreeMap<String, (BufWriter<File>, TokenShard)>,
}

impl Shards {
    fn create(root: &Path, side: &'static str, id_bytes: u64) -> Result<Self, TokenizerError> {
        let folder = root.join(side);
        std::fs::create_dir_all(&folder).map_err(|e| TokenizerError::io(folder, e))?;
        Ok(Self { root: root.to_path_buf(), side, id_bytes, open: BTreeMap::new() })
    }

    fn append(&mut self, document: &CorpusDocument, ids: &[u32]) -> Result<(), TokenizerError> {
        if !self.open.contains_key(&document.domain) {
            let file = format!("{}/{}.bin", self.side, document.domain);
            let path = self.root.join(&file);
            let writer = File::create(&path).map_err(|e| TokenizerError::io(path, e))?;
            let shard = TokenShard { file, num_tokens: 0, num_documents: 0, num_bytes: 0 };
            self.open.insert(document.domain.clone(), (BufWriter::with_capacity(1 << 20, writer), shard));
        }
        let Some((writer, shard)) = self.open.get_mut(&document.domain) else { return Ok(()) };
        shard.num_tokens += ids.len() as u64;
        shard.num_documents += 1;
        shard.num_bytes += document.text.len() as u64;
        let bytes: Vec<u8> = match self.id_bytes {
            2 => ids.iter().flat_map(|id| (*id as u16).to_le_bytes()).collect(),
            _ => ids.iter().flat_map(|id| id.to_le_bytes()).collect(),
        };
        writer.write_all(&bytes).map_err(|e| TokenizerError::io(self.root.join(&shard.file), e))
    }

    fn finish(self) -> Result<BTreeMap<String, TokenShard>, TokenizerError> {
        let mut shards = BTreeMap::new();
        for (domain, (mut writer, shard)) in self.open {
            writer.flush().map_err(|e| TokenizerError::io(self.root.join(&shard.file), e))?;
            shards.insert(domain, shard);
        }
        Ok(shards)
    }
}
