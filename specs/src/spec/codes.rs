//! The codes of diagnostics, each with what it means and what to do.

use serde::{Serialize, Serializer};

macro_rules! codes {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $advice:literal;)+) => {
        /// A diagnostic's code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Code {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Code {
            /// Every code in order.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// `E0101`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $code,)+ }
            }

            /// What the code means, one sentence.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc),+).trim_ascii(),)+ }
            }

            /// What to do about it.
            pub fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)+ }
            }
        }
    };
}

codes! {
    /// The file can't be read.
    Unreadable = "E0101", "Check the path; an included file is looked up beside the file that includes it.";
    /// The file is not UTF-8, or larger than 64 MiB.
    BadText = "E0102", "Save the file as UTF-8 and keep data out of the spec.";
    /// The text is not YAML.
    Syntax = "E0103", "YAML indents with spaces, never with tabs; quote texts that hold `: ` or start with `{`, `[`, `*`, `&` or `@`.";
    /// A key stands twice in one mapping.
    DuplicateKey = "E0104", "Keep one of them: the language never picks one silently.";
    /// The tree is too large once its aliases are expanded, or nested too deep.
    TooLarge = "E0105", "A spec holds at most 4,000,000 nodes, 1,000,000 of them by aliases and 200,000 jobs by matrices, nested at most 64 deep.";
    /// Files include each other in a circle.
    IncludeCycle = "E0106", "Remove one of the `include` entries that the message lists.";
    /// The key is not in the language.
    UnknownKey = "E0201", "`cupola explain PATH` lists the keys of a mapping.";
    /// A field that has no default is missing.
    MissingField = "E0202", "Add the field; `cupola explain PATH` shows its type and an example.";
    /// The value has another type than the field.
    WrongType = "E0203", "`cupola explain PATH` shows the field's type and an example.";
    /// The word is not one of those that the field knows.
    UnknownWord = "E0204", "Take one of the words that the message lists.";
    /// Two fields contradict each other, or one lacks the other.
    Conflict = "E0205", "Keep one of the two ways, as the message says.";
    /// The name can't be used.
    BadName = "E0206", "Names start with a letter and hold letters, digits, `_` and `-`.";
    /// The value has no unit.
    MissingUnit = "E0301", "Write the unit with the number: 200MB, 2.5M, 5m, 2%, 2/s.";
    /// The value has a unit that the field does not know.
    WrongUnit = "E0302", "Take one of the units that the message lists.";
    /// The value is outside the field's range.
    OutOfRange = "E0303", "The message names the range.";
    /// Weights don't sum to 1.
    BadWeights = "E0304", "Weights are shares: make them sum to 1.";
    /// Phases don't rise to 100 %.
    BadPhases = "E0305", "Each phase ends after the one before it, and the last one at 100%.";
    /// No such variable.
    UnknownVariable = "E0401", "Define it under `vars`, or with --set vars.NAME=VALUE.";
    /// The environment variable is not set.
    MissingEnvironment = "E0402", "Set it, or give a default: ${env.NAME:-default}.";
    /// The placeholder is not one of the three that the language knows.
    UnknownPlaceholder = "E0403", "Only ${vars.NAME}, ${env.NAME}, ${env.NAME:-default} and ${secret.NAME} exist; `$${` stands for a plain `${`.";
    /// A secret stands where it would be written down.
    MisplacedSecret = "E0404", "Secrets may stand only as the whole value of a judge's api_key, a webhook or its signing_key.";
    /// A value of --set has no place in the spec.
    BadOverride = "E0405", "A key of --set is a field path such as vars.depth or jobs.base.tokens.";
    /// No job has this name.
    UnknownJob = "E0501", "The name must be a key of `jobs`.";
    /// The job has no such part.
    UnknownPart = "E0502", "A data job has the parts train, validation, pairs and validation_pairs; an rlhf job preferences, reward_model and model.";
    /// The job makes another kind of artifact than the field needs.
    WrongKind = "E0503", "Refer to a job of the kind that the message names.";
    /// Jobs need each other in a circle.
    Cycle = "E0504", "Remove one of the edges that the message lists.";
    /// No source has this domain.
    UnknownDomain = "E0505", "Domains are the `domain` of the corpus's sources (a source's name where it has none).";
    /// Two things have the same name.
    DuplicateName = "E0506", "Rename one of them.";
    /// The suite speaks of a model that the job does not evaluate.
    UnknownModel = "E0507", "Add the model to `models`.";
    /// The reference fits more than one job of a matrix.
    AmbiguousMatrix = "E0508", "Name one of them, such as base[seed=1]; lists of jobs take all.";
    /// No judge has this name.
    UnknownJudge = "E0509", "The name must be `reference` or a key of `judges`.";
    /// The cron expression is wrong.
    BadCron = "E0601", "Five fields: minute, hour, day of month, month, day of week; `0 2 * * *` is each night at two.";
    /// No such time zone.
    BadTimezone = "E0602", "Take a name of the IANA data base, such as UTC or Europe/Berlin.";
    /// The address is wrong.
    BadAddress = "E0603", "Write HOST:PORT, such as 127.0.0.1:8080.";
    /// The regular expression or the glob is wrong.
    BadPattern = "E0604", "In a regex `\\` escapes; in a glob `*` is within a folder and `**` is any depth.";
    /// The expression of a gate is wrong.
    BadExpression = "E0605", "A number of a report is JOB.SUITE.MODEL.METRIC with .value, .low, .high or .n, such as report.judge.aligned.win_rate.low > 0.5; `cupola explain serve.promote_if` says more.";
    /// A training takes more memory than this machine has, by its estimate.
    TooMuchMemory = "E0701", "Lower `batch.micro_batch` to what the message names, `context.length` or the model's size; `resources.overcommit: true` runs it all the same.";
    /// The language has it, this version does not carry it out.
    Unsupported = "E0901", "Remove it: it is refused rather than ignored.";
}

impl Code {
    /// The code of this name.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|code| code.as_str().eq_ignore_ascii_case(text))
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}
