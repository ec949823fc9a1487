//! `kind: data` as the user writes it.

use super::{DedupScope, PiiAction, SourceFormat, SplitUnit, WordRule};
use crate::job::AutoOr;
use crate::spec::decode::{At, Named};
use crate::spec::list::Filled;
use crate::spec::reference::FilePath;
use crate::spec::units::{Bytes, Rate, Share};
use crate::spec::written::written;

pub(crate) use super::filters::FilterWritten;
pub(crate) use super::mixture::WeightsWritten;

written! {
    /// Curates raw files into a clean, deduplicated, split corpus.
    pub(crate) struct DataJob {
        /// What is read, in order.
        sources: Filled<At<SourceWritten>>,
        /// How the main text of web pages is found.
        extract: Option<ExtractWritten>,
        /// Rules on the addresses of web pages.
        urls: Option<UrlsWritten>,
        /// Which languages stay; without it all do.
        language: Option<LanguageWritten>,
        /// Heuristic filters in order: gopher_quality, gopher_repetition, c4, fineweb, refinedweb, code, each by name or with thresholds; or published pipelines of them: gopher, fineweb_pipeline, dclm.
        filters: Vec<FilterWritten> = "[]",
        /// What a word is for the filters: unicode (word boundaries; punctuation is no word), or spacy_like (as datatrove counts).
        words: WordRule = "unicode",
        /// Rules against toxic text.
        safety: Option<SafetyWritten>,
        /// What happens to each class of personal data.
        pii: PiiWritten = "{}",
        /// Deduplication.
        dedup: DedupWritten = "{}",
        /// Model-based quality filter.
        quality: Option<QualityWritten>,
        /// Domains and their sampling weights; without it each domain has the same weight.
        domains: Option<DomainsWritten>,
        /// Removal of what evaluations test.
        decontaminate: Option<DecontaminateWritten>,
        /// The validation split.
        split: SplitWritten = "{}",
        /// Instruction pairs extracted beside the text; without it none are.
        pairs: Option<PairsWritten>,
        /// Documents a shard at most.
        shards: AutoOr<u64> = "auto"; 1 ..= 1_000_000_000,
    }

    /// One source of a corpus.
    pub(crate) struct SourceWritten {
        /// Its name, unique in the job.
        name: At<String>,
        /// How its files are read.
        format: SourceFormat,
        /// The domain of its documents. Default: the source's name.
        domain: Option<String>,
        /// Files or globs: `*` within a folder, `**` at any depth, `~` is the home folder.
        paths: Option<Filled<At<FilePath>>>,
        /// Most bytes taken, file by file in a seeded order; without it all are.
        max_bytes: Option<Bytes>,
        /// The field of a JSONL line, or the column of a Parquet file, that holds the text. Default: text.
        text_field: Option<At<String>>,
        /// Where a crawl starts; it stays on the hosts of its seeds.
        seeds: Option<At<Filled<At<String>>>>,
        /// Links that a crawl follows from a seed. Default: 3.
        max_depth: Option<At<u64>>; 0 ..= 1000,
        /// Most pages of a crawl, all of which one host may have. Of addresses that differ only in numbers half as many are fetched, but 1000 at least; a crawl ends too at 1 MiB for each of its most pages, but not before 10 GiB. Default: 10000.
        max_pages: Option<At<u64>>; 1 ..= 1_000_000_000,
        /// Requests of a crawl to one host. Default: 1/s.
        rate: Option<At<Rate>>,
        /// Whether a crawl obeys robots.txt. Default: true.
        respect_robots: Option<At<bool>>,
        /// Whether a crawl may ask addresses of private networks and of this machine. Default: false.
        allow_private_addresses: Option<At<bool>>,
        /// Who a crawl says that it is, with a way to reach whoever runs it: `name/1.0 (+https://example.org/bot)`. Default: cupola.
        user_agent: Option<At<String>>,
        /// Data set of a hub, `org/name`.
        dataset: Option<String>,
    }

    /// How the main text of web pages is found.
    pub(crate) struct ExtractWritten {
        /// Drops navigation, advertising and comments.
        main_content: bool = "true",
        /// Keeps formulas.
        keep_math: bool = "true",
        /// Keeps code blocks.
        keep_code: bool = "true",
        /// Pages of a host that a block of text must stand in to be taken for a header or footer of the site; 0 takes none out.
        site_repeats: u64 = "0"; 0 ..= 1_000_000_000,
    }

    /// Rules on the addresses of web pages. Lists hold an entry a line; what follows `#` is a comment, and `.gz` is unpacked.
    pub(crate) struct UrlsWritten {
        /// Files of domains; their subdomains go too.
        block_domains: Option<Filled<At<FilePath>>>,
        /// Files of addresses.
        block_urls: Option<Filled<At<FilePath>>>,
        /// Files of words of which one in an address is enough.
        block_words: Option<Filled<At<FilePath>>>,
        /// Files of words of which two in an address are needed.
        soft_words: Option<Filled<At<FilePath>>>,
        /// Files of texts that no address may hold, wherever they stand in it.
        block_substrings: Option<Filled<At<FilePath>>>,
    }

    /// Which languages stay. Judged on prose and comments; a document whose language can't be told stays.
    pub(crate) struct LanguageWritten {
        /// ISO 639-1 codes that stay.
        keep: Filled<At<String>>,
        /// How far a kept language must be ahead of the next one for a document to stay; with less it is dropped, and so is any other language at any confidence. Source code is dropped only as another language with at least this confidence. A text of fewer than 120 letters is not judged and stays.
        min_confidence: f64 = "0.65"; 0.0 ..= 1.0,
    }

    /// Rules against toxic text.
    pub(crate) struct SafetyWritten {
        /// Word lists.
        toxicity: Option<ToxicityWritten>,
        /// A classifier: one that fastText trained, or one that learns from examples.
        classifier: Option<At<SafetyClassifierWritten>>,
    }

    /// A classifier of toxic text: `model` with `label`, or examples.
    pub(crate) struct SafetyClassifierWritten {
        /// A classifier that fastText trained, `.bin` or `.ftz`.
        model: Option<At<FilePath>>,
        /// The label of the model that is not wanted, with `__label__` in front or without.
        label: Option<At<String>>,
        /// Files of toxic examples: JSONL with `text`, or text, of which each paragraph is one.
        toxic: Option<At<Filled<At<FilePath>>>>,
        /// Files of examples that are not toxic, in the same forms.
        clean: Option<At<Filled<At<FilePath>>>>,
        /// A document goes that is toxic with at least this probability.
        threshold: f64 = "0.5"; 0.0 ..= 1.0,
    }

    /// Word lists.
    pub(crate) struct ToxicityWritten {
        /// Files of words and phrases, one a line.
        lists: Filled<At<FilePath>>,
        /// Most words of the lists, as a share of a document's words, counted as `words: unicode` does.
        max_share: f64 = "0.01"; 0.0 ..= 1.0,
        /// So many of them are always let pass.
        min_matches: u64 = "2",
    }

    /// What happens to each class of personal data: keep, redact (the match becomes a tag such as `<EMAIL>`) or drop (the document goes).
    pub(crate) struct PiiWritten {
        /// E-mail addresses.
        email: PiiAction = "redact",
        /// IP addresses, but for loopback, private and documentation ranges.
        ip: PiiAction = "redact",
        /// Phone numbers.
        phone: PiiAction = "keep",
        /// Payment cards that pass Luhn's check.
        card: PiiAction = "redact",
        /// Keys and tokens.
        secret: PiiAction = "drop",
    }

    /// Deduplication.
    pub(crate) struct DedupWritten {
        /// Exact duplicates: document keeps the first of documents with the same text, null keeps all.
        exact: Option<ExactWritten> = "document",
        /// Drops lines that stand in many documents.
        lines: Option<LinesWritten>,
        /// Keeps only the first of equal paragraphs across documents (licence headers go).
        paragraphs: bool = "false",
        /// Near duplicates.
        minhash: Option<MinhashWritten>,
        /// Long stretches of text that stand in the corpus before.
        substrings: Option<SubstringsWritten>,
        /// Among which documents duplicates are looked for: those of the corpus, or those of one source.
        scope: DedupScope = "corpus",
    }

    /// Stretches of text that stand in the corpus before, found by suffix arrays.
    pub(crate) struct SubstringsWritten {
        /// Shortest stretch, bytes.
        min_bytes: u64 = "200"; 16 ..= 65_536,
    }

    /// Drops lines that stand in many documents.
    pub(crate) struct LinesWritten {
        /// Documents that a line must stand in to be dropped.
        min_repeats: u64 = "6"; 2 ..= 1_000_000_000,
    }

    /// Near duplicates by MinHash and banding.
    pub(crate) struct MinhashWritten {
        /// Words in a shingle.
        ngram: u64 = "5"; 1 ..= 64,
        /// Bands.
        bands: u64 = "14"; 1 ..= 1000,
        /// Rows a band.
        rows: u64 = "8"; 1 ..= 256,
    }

    /// Model-based quality filter.
    pub(crate) struct QualityWritten {
        /// Files of good documents: JSONL with `text`, or text and Markdown, a document a file.
        positive: Option<Filled<At<FilePath>>>,
        /// Files with links that reference works cite (a wiki dump, HTML, or addresses one a line): documents from there are good ones.
        positive_links: Option<Filled<At<FilePath>>>,
        /// The source whose documents are the bad examples, and which the filter looks at.
        negative: At<String>,
        /// Share of the source's documents that stay.
        keep_fraction: f64 = "0.5"; 0.000_001 ..= 1.0,
    }

    /// Domains and their weights.
    pub(crate) struct DomainsWritten {
        /// Sampling weight by domain, which sum to 1; or fit: those of the least loss that the job's `runs` let expect (RegMix). Default: the same for each.
        weights: Option<At<WeightsWritten>>; 0.0 ..= 1.0,
        /// Files of small models' runs, a JSON object a line: {weights: {domain: share, …}, loss: number}. A domain that is not in it has share 0.
        runs: Option<At<Filled<At<FilePath>>>>,
        /// Finds the domain of documents by example.
        classify: Option<ClassifyWritten>,
    }

    /// Finds the domain of documents by example.
    pub(crate) struct ClassifyWritten {
        /// A file of examples for each domain: JSONL with `text`, or text, of which each paragraph is one.
        labels: Named<At<FilePath>>,
    }

    /// Removal of what evaluations test.
    pub(crate) struct DecontaminateWritten {
        /// Eval jobs whose test files are looked for.
        against: Filled<At<String>>,
        /// Words in a row of a test that are a leak whatever they say; shorter stretches are weighed by how rare their words are.
        ngram: u64 = "13"; 5 ..= 100,
        /// What happens to a document that holds one: drop, or redact (the stretch goes).
        action: PiiAction = "drop",
    }

    /// The validation split.
    pub(crate) struct SplitWritten {
        /// Share of units that go to validation.
        validation: Share = "2%"; 0.0 ..= 0.5,
        /// What may not be on both sides.
        by: SplitUnit = "source_file",
    }

    /// Instruction pairs from the doc comments of Rust functions.
    pub(crate) struct PairsWritten {
        /// Where pairs are from.
        from: PairsFrom = "doc_comments",
        /// The user's turn; {code} is the function's signature and body.
        instruction: At<String> = "\"Document this function:\\n{code}\"",
        /// Longest function, characters; longer ones give no pair.
        max_code_chars: u64 = "500"; 1 ..= 1_000_000,
        /// Shortest doc text, characters.
        min_answer_chars: u64 = "20"; 1 ..= 1_000_000,
        /// Longest doc text, characters; of longer docs the first paragraph counts.
        max_answer_chars: u64 = "240"; 1 ..= 1_000_000,
        /// Most pairs of one crate; 0 is no limit.
        max_per_crate: u64 = "0",
    }
}

/// How exact duplicates are found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExactWritten {
    /// By the whole text.
    Document,
}

/// Where pairs are from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum PairsFrom {
    /// Doc comments of Rust functions.
    DocComments,
}

crate::spec::decode::words!(ExactWritten, PairsFrom);
