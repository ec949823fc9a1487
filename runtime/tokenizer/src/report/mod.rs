//! What a tokenizer makes of text that it was not trained on, in figures that can be compared between tokenizers.
//!
//! * Bytes per token, by domain and by language, beside those of other tokenizers: the reader names their files, none is shipped.
//! * Which tokens are used, and what kinds of tokens there are.
//! * The longest tokens, and how numbers, code, an address and other languages are split.
//!
//! Nothing here reads or writes a file: texts and encoders are given, a [`TokenizerReport`] is what `serde` writes, and [`page`] shows it. Figures are of the texts alone and
//! do not depend on the number of threads.

mod examples;
mod kind;
mod page;
mod reference;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};

use rayon::iter::{IntoParallelRefIterator, ParallelIterator};
use serde::{Deserialize, Serialize};

pub use self::examples::Example;
pub use self::kind::Kind;
pub use self::page::page;
pub use self::reference::{ReferenceError, ReferenceFile};

/// The longest tokens that are listed.
const NUM_LONGEST: usize = 32;

/// The tokenizer that the report is about.
#[derive(Clone, Copy)]
pub struct Subject<'s> {
    /// Bytes by id; a special token's are those of its spelling, those of an id without a token are none.
    pub tokens: &'s [Vec<u8>],
    /// Ids of the special tokens.
    pub specials: &'s [u32],
    /// Appends a text's ids.
    pub encode: &'s (dyn Fn(&str, &mut Vec<u32>) + Sync),
}

/// Another tokenizer, to compare with.
#[derive(Clone, Copy)]
pub struct Reference<'r> {
    /// Its name in the report.
    pub name: &'r str,
    /// How many tokens it makes of a text.
    pub count: &'r (dyn Fn(&str) -> usize + Sync),
}

/// What texts are grouped by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// What the text is about or where it comes from: `code`, `books`.
    Domain,
    /// The language that it is written in.
    Language,
}

/// A text that the tokenizer was not trained on.
#[derive(Debug, Clone, Copy)]
pub struct Sample<'t> {
    /// What `group` names.
    pub axis: Axis,
    /// The domain or the language.
    pub group: &'t str,
    /// The text.
    pub text: &'t str,
}

/// The report.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TokenizerReport {
    /// The version of this form.
    pub version: u32,
    /// Bytes per token by group: domains, then languages, each by name.
    pub compression: Vec<Compression>,
    /// Which tokens the texts use.
    pub usage: Usage,
    /// The longest tokens, the longest first.
    pub longest: Vec<Token>,
    /// How some texts are split.
    pub examples: Vec<Example>,
}

/// How well the texts of a group are compressed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compression {
    /// What `group` names.
    pub axis: Axis,
    /// The domain or the language.
    pub group: String,
    /// Texts of the group.
    pub num_texts: u64,
    /// Their bytes.
    pub num_bytes: u64,
    /// Their characters: in scripts of three bytes a character, what bytes per token hide.
    pub num_chars: u64,
    /// Their tokens.
    pub num_tokens: u64,
    /// Bytes for each token, more is better; none without tokens.
    pub bytes_per_token: Option<f64>,
    /// The same texts by the other tokenizers.
    pub references: Vec<Compared>,
}

/// What another tokenizer makes of the same texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    /// Its name.
    pub name: String,
    /// Its tokens.
    pub num_tokens: u64,
    /// Its bytes for each token.
    pub bytes_per_token: Option<f64>,
    /// Our bytes for each token by its: above one, ours needs fewer tokens.
    pub ratio: Option<f64>,
}

/// Which tokens texts use.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens of the vocabulary that text can become: neither special nor without bytes.
    pub num_tokens: u64,
    /// How many of them the texts have.
    pub num_used: u64,
    /// How many they never have.
    pub num_unused: u64,
    /// The part of them that the texts have, from 0 to 1; none for an empty vocabulary.
    pub share_used: Option<f64>,
    /// By kind, in the order of [`Kind::ALL`]; kinds without tokens are left out.
    pub kinds: Vec<KindUsage>,
}

/// The tokens of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KindUsage {
    /// The kind.
    pub kind: Kind,
    /// Tokens of it.
    pub num_tokens: u64,
    /// Their part of the vocabulary, from 0 to 1.
    pub share_of_vocabulary: f64,
    /// How many of them the texts have.
    pub num_used: u64,
    /// How often they stand in the texts, all together.
    pub num_occurrences: u64,
    /// Their part of the texts' tokens, from 0 to 1; none without texts.
    pub share_of_text: Option<f64>,
}

/// One token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Token {
    /// Its id.
    pub id: u32,
    /// Its text; bytes that are none are written as `<E6>`.
    pub text: String,
    /// Its bytes.
    pub num_bytes: u64,
    /// What kind it is.
    pub kind: Kind,
}

impl Token {
    fn new(subject: &Subject, id: u32) -> Self {
        let bytes = subject.tokens.get(id as usize).map_or(&[][..], Vec::as_slice);
        let mut text = String::new();
        for chunk in bytes.utf8_chunks() {
            text += chunk.valid();
            let bytes = chunk.invalid().iter().map(|byte| format!("<{byte:02X}>"));
            text.extend(bytes);
        }
        Self { id, text, num_bytes: bytes.len() as u64, kind: kind_of(subject, id) }
    }
}

fn kind_of(subject: &Subject, id: u32) -> Kind {
    if subject.specials.contains(&id) {
        return Kind::Special;
    }
    subject.tokens.get(id as usize).map_or(Kind::Unused, |bytes| Kind::of(bytes))
}

/// The report of a tokenizer on texts, beside other tokenizers. A text is encoded once, whatever samples it is in. Which tokens are used is counted over the
/// samples of one axis, since a document is a sample of each: those by domain, which every document has, or those by language where there are no others.
pub fn report(subject: &Subject, samples: &[Sample], references: &[Reference]) -> TokenizerReport {
    let mut texts: Vec<&str> = Vec::new();
    let mut known: HashMap<&str, usize> = HashMap::new();
    let mut place = |text| {
        *known.entry(text).or_insert_with(|| {
            texts.push(text);
            texts.len() - 1
        })
    };
    let places: Vec<usize> = samples.iter().map(|sample| place(sample.text)).collect();
    let measured: Vec<Measured> =
        texts.par_iter().map(|text| Measured::new(subject, text, references)).collect();
    let counted = samples.iter().map(|sample| sample.axis).min();
    let mut groups: BTreeMap<(Axis, &str), Compression> = BTreeMap::new();
    let mut occurrences = vec![0_u64; subject.tokens.len()];
    for (sample, place) in samples.iter().zip(places) {
        let measured = &measured[place];
        let group =
            groups.entry((sample.axis, sample.group)).or_insert_with(|| Compression::new(sample, references));
        group.add(sample, measured);
        for (id, count) in measured.counts.iter().filter(|_| Some(sample.axis) == counted) {
            if let Some(sum) = occurrences.get_mut(*id as usize) {
                *sum += count;
            }
        }
    }
    let compression = groups.into_values().map(Compression::finish).collect();
    let usage = usage(subject, &occurrences);
    TokenizerReport {
        version: 1,
        compression,
        usage,
        longest: longest(subject),
        examples: examples::examples(subject),
    }
}

/// The tokens of one text.
struct Measured {
    counts: BTreeMap<u32, u64>,
    references: Vec<u64>,
}

impl Measured {
    fn new(subject: &Subject, text: &str, references: &[Reference]) -> Self {
        let mut ids = Vec::new();
        (subject.encode)(text, &mut ids);
        let mut counts = BTreeMap::new();
        for id in ids {
            *counts.entry(id).or_default() += 1;
        }
        let references = references.iter().map(|reference| (reference.count)(text) as u64).collect();
        Self { counts, references }
    }
}

impl Compression {
    fn new(sample: &Sample, references: &[Reference]) -> Self {
        let compared = |reference: &Reference| Compared {
            name: reference.name.to_owned(),
            num_tokens: 0,
            bytes_per_token: None,
            ratio: None,
        };
        let references = references.iter().map(compared).collect();
        let (axis, group) = (sample.axis, sample.group.to_owned());
        Self {
            axis,
            group,
            num_texts: 0,
            num_bytes: 0,
            num_chars: 0,
            num_tokens: 0,
            bytes_per_token: None,
            references,
        }
    }

    fn add(&mut self, sample: &Sample, measured: &Measured) {
        self.num_texts += 1;
        self.num_bytes += sample.text.len() as u64;
        self.num_chars += sample.text.chars().count() as u64;
        self.num_tokens += measured.counts.values().sum::<u64>();
        for (compared, count) in self.references.iter_mut().zip(&measured.references) {
            compared.num_tokens += count;
        }
    }

    fn finish(mut self) -> Self {
        let bytes = self.num_bytes;
        self.bytes_per_token = share(bytes, self.num_tokens);
        for compared in &mut self.references {
            compared.bytes_per_token = share(bytes, compared.num_tokens);
            compared.ratio = share(compared.num_tokens, self.num_tokens);
        }
        self
    }
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

fn usage(subject: &Subject, occurrences: &[u64]) -> Usage {
    let mut kinds: BTreeMap<Kind, KindUsage> = BTreeMap::new();
    let all_occurrences: u64 = occurrences.iter().sum();
    for (id, count) in occurrences.iter().enumerate() {
        let kind = kind_of(subject, id as u32);
        let entry = kinds.entry(kind).or_insert(KindUsage {
            kind,
            num_tokens: 0,
            share_of_vocabulary: 0.0,
            num_used: 0,
            num_occurrences: 0,
            share_of_text: None,
        });
        entry.num_tokens += 1;
        entry.num_used += u64::from(*count > 0);
        entry.num_occurrences += count;
    }
    for entry in kinds.values_mut() {
        entry.share_of_vocabulary = share(entry.num_tokens, occurrences.len() as u64).unwrap_or(0.0);
        entry.share_of_text = share(entry.num_occurrences, all_occurrences);
    }
    let of_text = || kinds.values().filter(|entry| !matches!(entry.kind, Kind::Special | Kind::Unused));
    let (num_tokens, num_used) =
        (of_text().map(|entry| entry.num_tokens).sum(), of_text().map(|entry| entry.num_used).sum());
    let share_used = share(num_used, num_tokens);
    Usage {
        num_tokens,
        num_used,
        num_unused: num_tokens - num_used,
        share_used,
        kinds: kinds.into_values().collect(),
    }
}

/// The longest tokens that text can become; of equally long ones those of the smallest ids.
fn longest(subject: &Subject) -> Vec<Token> {
    let mut ids: Vec<u32> =
        (0..subject.tokens.len() as u32).filter(|id| !subject.specials.contains(id)).collect();
    ids.sort_by_key(|id| (std::cmp::Reverse(subject.tokens[*id as usize].len()), *id));
    ids.iter().take(NUM_LONGEST).map(|id| Token::new(subject, *id)).collect()
}
