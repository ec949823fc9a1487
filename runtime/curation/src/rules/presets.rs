//! Published filters by name, each with a hash of everything that it depends on.

use cupola_specs::job::FilterParams;

/// Version of what the signals mean. It goes up when a definition changes, so that presets and stored values do too.
pub(super) const DEFINITIONS: u32 = 1;

/// A published set of filters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preset {
    /// MassiveText's quality and repetition rules (Rae et al., 2021, arXiv:2112.11446, table A1).
    Gopher,
    /// The rules of the code that made C4 (Raffel et al., 2019, arXiv:1910.10683): 5 words a line, 3 sentences a page.
    C4,
    /// FineWeb's own rules (Penedo et al., 2024, arXiv:2406.17557).
    Fineweb,
    /// FineWeb's pipeline: Gopher's rules, C4's without end punctuation, its own.
    FinewebPipeline,
    /// The heuristics of DCLM's baseline (Li et al., 2024, arXiv:2406.11794), after RefinedWeb (2023, arXiv:2306.01116): its rules in its order
    /// with its thresholds, over what `gopher` counts. What DCLM's code counts (`dclm_baseline_refinedweb.yaml` of mlfoundations/dclm)
    /// differs so:
    /// - *Stop words* are occurrences there (`count_unique: False`): a page with `the` twice passes. Here two different ones are asked for. There
    ///   they are parted by blanks alone, in any case: `The` is one, `the,` is none. Here it is the other way around.
    /// - *Bullets* are `●`, `•`, `*` and `-` there, as a share of the lines that are not blank. Here `•` and `-`, as a share of all lines.
    /// - *Symbols* are `#`, `...`, `. . .` and `…` there, and all of them together may be 0.1 of the words. Here `#` may be 0.1, and so may
    ///   ellipses (`...`, `…`).
    /// - *Lines that end with an ellipsis* may end with `. . .` too there, and are a share of those that are not blank.
    /// - *Words* are what stands between blanks there, marks included, in mean length, letters and symbols; for length of the page and removed
    ///   words those of them that begin with a letter or digit. Runs of words are Unicode's, also those that begin so.
    /// - *Repeated lines and paragraphs* count with their first copy there, without blanks at their ends, over what is not blank; here
    ///   without the first.
    /// - *Repeated runs of words* are a share of the characters of words there, blanks and marks left out, here of the text's. Of the most
    ///   frequent runs the longest counts there, here the first; of runs of 5 to 10 words all copies count there, here those behind the first.
    /// - *`Read more...`* is a pattern there, of any three characters behind the words; here three full stops or `…`.
    ///
    /// What DCLM does before is none of it: lists of addresses, language (English at 0.65), addresses cut out of the text, at most two line
    /// feeds in a row.
    Dclm,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Gopher, Self::C4, Self::Fineweb, Self::FinewebPipeline, Self::Dclm];

    /// Its name, which a spec may have among its filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Gopher => "gopher",
            Self::C4 => "c4",
            Self::Fineweb => "fineweb",
            Self::FinewebPipeline => "fineweb_pipeline",
            Self::Dclm => "dclm",
        }
    }

    /// The preset of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// Its filters in their order.
    pub fn filters(self) -> Vec<FilterParams> {
        match self {
            Self::Gopher => vec![gopher_quality(), gopher_repetition()],
            Self::C4 => vec![c4(true, 5, 3)],
            Self::Fineweb => vec![fineweb()],
            Self::FinewebPipeline => {
                vec![gopher_repetition(), gopher_quality(), c4(false, 3, 5), fineweb()]
            }
            Self::Dclm => vec![gopher_quality(), gopher_repetition(), refinedweb()],
        }
    }

    /// The presets that stand among filters, one behind the other and with every threshold as it was published. One whose filters are all those of another that is there stands in it, and
    /// is there too.
    pub fn among(filters: &[FilterParams]) -> Vec<Self> {
        let is_there = |preset: &Self| {
            let wanted = preset.filters();
            filters.windows(wanted.len()).any(|found| found == wanted)
        };
        Self::ALL.into_iter().filter(is_there).collect()
    }

    /// BLAKE3 over its name, its filters with all thresholds, and the version of the definitions, in hexadecimal.
    pub fn hash(self) -> String {
        let mut hasher = blake3::Hasher::new();
        hasher.update(format!("{DEFINITIONS} {}\n", self.name()).as_bytes());
        for filter in self.filters() {
            hasher.update(serde_json::to_string(&filter).unwrap_or_default().as_bytes());
            hasher.update(b"\n");
        }
        hasher.finalize().to_hex().to_string()
    }
}

fn gopher_quality() -> FilterParams {
    FilterParams::GopherQuality {
        min_words: 50,
        max_words: 100_000,
        min_mean_word_length: 3.0,
        max_mean_word_length: 10.0,
        max_symbol_word_ratio: 0.1,
        max_bullet_lines: 0.9,
        max_ellipsis_lines: 0.3,
        min_alpha_words: 0.8,
        min_stop_words: 2,
    }
}

fn gopher_repetition() -> FilterParams {
    FilterParams::GopherRepetition {
        max_duplicate_lines: 0.3,
        max_duplicate_paragraphs: 0.3,
        max_duplicate_line_chars: 0.2,
        max_duplicate_paragraph_chars: 0.2,
        max_top_ngram_chars: [0.2, 0.18, 0.16],
        max_duplicate_ngram_chars: [0.15, 0.14, 0.13, 0.12, 0.11, 0.1],
    }
}

fn c4(require_terminal_punctuation: bool, min_line_words: u64, min_sentences: u64) -> FilterParams {
    FilterParams::C4 {
        require_terminal_punctuation,
        min_line_words,
        min_sentences,
        drop_curly_bracket: true,
        drop_lorem_ipsum: true,
        drop_javascript_lines: true,
        max_word_length: 1000,
        remove_citations: true,
        drop_policy_lines: true,
        drop_bad_words: false,
        bad_words_keep: 0.0,
    }
}

fn fineweb() -> FilterParams {
    FilterParams::Fineweb {
        min_line_punctuation: 0.12,
        max_short_lines: 0.67,
        short_line_chars: 30,
        max_duplicate_line_chars: 0.01,
        max_newline_word_ratio: 0.3,
    }
}

fn refinedweb() -> FilterParams {
    FilterParams::Refinedweb {
        max_line_uppercase: 0.5,
        drop_numeric_lines: true,
        drop_counter_lines: true,
        min_line_words: 2,
        remove_boilerplate: true,
        max_removed_words: 0.05,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use cupola_specs::spec::{ProcessEnvironment, ResolvedJobBody, parse};

    use super::*;

    #[test]
    fn names_and_hashes_tell_presets_apart() {
        let hashes: std::collections::BTreeSet<String> = Preset::ALL.into_iter().map(Preset::hash).collect();
        assert_eq!(hashes.len(), Preset::ALL.len());
        for preset in Preset::ALL {
            assert_eq!(Preset::of(preset.name()), Some(preset));
            assert_eq!(preset.hash().len(), 64);
        }
        assert_eq!(Preset::of("gophers"), None);
    }

    /// The filters of a job with these.
    fn of_spec(filters: &str) -> Vec<FilterParams> {
        let spec = format!(
            "{{cupola: v1, name: x, jobs: {{c: {{kind: data, sources: [{{name: a, format: text, paths: [a]}}], filters: [{filters}]}}}}}}"
        );
        let parsed = parse(Path::new("x.yaml"), spec.as_bytes(), &[], &ProcessEnvironment);
        let spec = parsed.unwrap_or_else(|errors| panic!("{}", errors.to_text()));
        let ResolvedJobBody::Data(body) = &spec.jobs[0].body else { panic!("a data job") };
        assert_eq!(body.filter_items.len(), body.params.filters.len());
        body.params.filters.clone()
    }

    #[test]
    fn a_spec_has_them_by_name_and_a_changed_threshold_is_none_of_them() {
        for preset in Preset::ALL {
            assert_eq!(of_spec(preset.name()), preset.filters(), "{}", preset.name());
        }
        assert_eq!(Preset::among(&of_spec("code, dclm")), [Preset::Gopher, Preset::Dclm]);
        assert_eq!(Preset::among(&of_spec("gopher_quality, gopher_repetition")), [Preset::Gopher]);
        assert_eq!(
            Preset::among(&of_spec("fineweb_pipeline")),
            [Preset::Fineweb, Preset::FinewebPipeline],
            "its C4 is another one"
        );
        assert_eq!(Preset::among(&of_spec("{gopher_quality: {min_words: 40}}, gopher_repetition")), []);
        assert_eq!(Preset::among(&[]), []);
    }
}
