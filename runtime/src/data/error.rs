//! Errors of the data room.

use std::path::PathBuf;

use cupola_curation::classifier::ClassifierError;
use cupola_curation::crawl::CrawlError;
use cupola_curation::dedup::DedupError;
use cupola_curation::language::LanguageError;
use cupola_curation::mixture::MixtureError;
use cupola_curation::read::ReadError;
use cupola_curation::rules::RulesError;
use cupola_curation::urls::UrlError;

use crate::job::{ErrorFacts, JobError, StepError};

/// An error of a data step, or of reading what one wrote.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The frame failed.
    #[error(transparent)]
    Job(#[from] JobError),
    /// A file could not be read or written.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A line of a shard is not what it should be.
    #[error("{path}, line {line}: {message}")]
    Line {
        /// The shard.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A part of a corpus that does not exist was asked for.
    #[error("corpus has no part {part:?}; parts are train, validation, pairs and validation_pairs")]
    UnknownPart {
        /// The part.
        part: String,
    },
    /// A corpus that was made without pairs was asked for them.
    #[error("corpus {corpus} has no pairs")]
    NoPairs {
        /// The corpus.
        corpus: PathBuf,
    },
    /// A source's file could not be read.
    #[error(transparent)]
    Read(Box<ReadError>),
    /// Deduplication failed.
    #[error(transparent)]
    Dedup(#[from] DedupError),
    /// The filters can't be run.
    #[error(transparent)]
    Rules(#[from] RulesError),
    /// A list of addresses can't be read.
    #[error(transparent)]
    Urls(#[from] UrlError),
    /// A language that can't be told.
    #[error(transparent)]
    Language(#[from] LanguageError),
    /// The weights of domains can't be fitted.
    #[error("domains.runs: {0}")]
    Mixture(#[from] MixtureError),
    /// A classifier can't be trained or read.
    #[error(transparent)]
    Classifier(ClassifierError),
    /// The examples of a classifier are more than it holds.
    #[error("a classifier's examples have over {limit} words and pairs of words")]
    TooManyExamples {
        /// How many it holds.
        limit: u64,
    },
    /// A crawl failed.
    #[error(transparent)]
    Crawl(#[from] CrawlError),
    /// A line of an evaluation's file is no question.
    #[error("{file}, line {line}: {message}")]
    TestFile {
        /// The file.
        file: String,
        /// The line, from 1; of an array the item.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A source listed no file.
    #[error("source {source_name:?}: its paths match no file")]
    NoFiles {
        /// The source.
        source_name: String,
    },
    /// A source listed files, and none that is read.
    #[error("source {source_name:?}: no file of a training split that can be read; {unread}")]
    NothingToRead {
        /// The source.
        source_name: String,
        /// The files, with the reasons.
        unread: String,
    },
    /// Nothing was left after the rules.
    #[error("no document is left on the {side} side; the rule that removed most was {rule}")]
    Empty {
        /// `train` or `validation`.
        side: &'static str,
        /// The rule that removed most documents.
        rule: String,
    },
    /// A parameter makes no sense.
    #[error("{field}: expected {expected}, got {got}")]
    Parameter {
        /// The field.
        field: String,
        /// What is right.
        expected: String,
        /// What it is.
        got: String,
    },
}

impl DataError {
    /// Wraps an I/O error with its path.
    pub fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Self {
        Self::Io { path: path.into(), source }
    }
}

impl From<ClassifierError> for DataError {
    fn from(error: ClassifierError) -> Self {
        match error {
            ClassifierError::TooMany { limit } => Self::TooManyExamples { limit },
            other => Self::Classifier(other),
        }
    }
}

impl StepError for DataError {
    fn facts(&self) -> ErrorFacts {
        match self {
            Self::Job(error) => error.facts(),
            Self::Io { source, .. } => ErrorFacts::io(source),
            Self::Line { .. } => ErrorFacts::user("broken_line", ""),
            Self::UnknownPart { .. } => ErrorFacts::user("unknown_part", ""),
            Self::NoPairs { .. } => ErrorFacts::user("no_pairs", "set `pairs` in the data job"),
            Self::Read(error) => match error.as_ref() {
                ReadError::Io { source, .. } => ErrorFacts::io(source),
                ReadError::Dataset { .. } => ErrorFacts::user(
                    "dataset_card",
                    "mend its `configs`, or leave it out of `paths` to go by the names of the files",
                ),
                _ => ErrorFacts::user("source_file", ""),
            },
            Self::Dedup(error) => match error {
                DedupError::Io { source, .. } => ErrorFacts::io(source),
                DedupError::Damaged { .. } | DedupError::OtherWork { .. } | DedupError::Parameter { .. } => {
                    ErrorFacts::user("deduplication", error.hint())
                }
                DedupError::OpenTwice { .. } | DedupError::SuffixArray { .. } => {
                    ErrorFacts::bug("deduplication", error.hint())
                }
            },
            Self::Urls(_) => ErrorFacts::user("urls", ""),
            Self::Language(_) => ErrorFacts::user("language", ""),
            Self::Rules(_) => ErrorFacts::user("filters", ""),
            Self::Mixture(_) => ErrorFacts::user("mixture", ""),
            Self::Classifier(error) => match error {
                ClassifierError::Io { source, .. } => ErrorFacts::io(source),
                ClassifierError::Format { .. } => ErrorFacts::user(
                    "classifier_file",
                    "give it a .bin or .ftz that `fasttext supervised` wrote",
                ),
                _ => ErrorFacts::user("classifier", "give it more examples, and other ones for each label"),
            },
            Self::TooManyExamples { .. } => {
                ErrorFacts::user("classifier", "give it fewer labels, or smaller files of examples")
            }
            Self::Crawl(error) => match error {
                CrawlError::Io { source, .. } => ErrorFacts::io(source),
                CrawlError::Client(_) | CrawlError::InsideRuntime => ErrorFacts::bug("crawl", ""),
                _ => ErrorFacts::user("crawl", ""),
            },
            Self::TestFile { .. } => ErrorFacts::user("test_file", ""),
            Self::NoFiles { .. } => ErrorFacts::user("no_files", "check the source's `paths`"),
            Self::NothingToRead { .. } => ErrorFacts::user(
                "no_files",
                "to read another split, name its files in `paths` with `format: parquet` or `jsonl`",
            ),
            Self::Empty { .. } => {
                ErrorFacts::user("empty_corpus", "loosen that rule, or read more with `max_bytes`")
            }
            Self::Parameter { .. } => ErrorFacts::user("parameter", ""),
        }
    }
}
