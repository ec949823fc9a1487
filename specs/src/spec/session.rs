//! What one load carries along: the world, the texts read so far, and the errors found so far.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::Path;

use super::codes::Code;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::environment::Environment;
use super::origin::Origin;
use super::resolved::ResolvedSpec;
use super::text::Text;
use super::tree::{Node, Spot};

/// Most diagnostics that are kept; what comes after them is counted.
const MAX_KEPT: usize = 100_000;

/// One load of a spec.
pub(crate) struct Session<'a> {
    /// The world.
    pub(crate) env: &'a dyn Environment,
    /// The range that the next number must be in, set by the field that holds it.
    pub(crate) range: Option<(f64, f64)>,
    /// Default texts that were parsed already.
    pub(crate) defaults: HashMap<&'static str, Node>,
    /// Jobs that matrices made so far.
    pub(crate) matrix_jobs: usize,
    /// Whether entries were cut out because they are not YAML: what seems to be missing may be among them.
    pub(crate) is_cut: bool,
    /// Names that stand in entries that were cut out.
    pub(crate) cut_names: HashSet<String>,
    /// The same by the text and the first line of what they were cut out of.
    pub(crate) cut_fields: HashSet<(u32, u32, String)>,
    /// Whether fields with errors get stand-ins, so that the references beside them can be checked.
    pub(crate) is_rough: bool,
    /// The only codes that are recorded, while something with stand-ins is looked at; none records every code.
    pub(crate) only: Option<&'static [Code]>,
    /// Places of fields without errors, in a job that has some: what is wrong with each of them alone is told too.
    pub(crate) sound: Vec<Range<Spot>>,
    /// Where errors were found since the last job began.
    pub(crate) recent: Vec<Spot>,
    /// Fields that a misspelt key of a mapping means: they are not missing.
    pub(crate) misspelt: HashSet<(Spot, String)>,
    /// Mappings with a misspelt key: their fields contradict each other only for that.
    pub(crate) misspelt_in: HashSet<Spot>,
    texts: Vec<Text>,
    found: Vec<Diagnostic>,
    /// What was found, so that the jobs of a matrix say the same thing once.
    seen: HashSet<(Code, Spot, String)>,
    errors: usize,
    /// How many came after the first [`MAX_KEPT`].
    left_out: usize,
    /// What takes the details of a diagnostic that is not kept.
    spare: Option<Diagnostic>,
}

impl<'a> Session<'a> {
    /// Starts with no text and no error.
    pub(crate) fn new(env: &'a dyn Environment) -> Self {
        Self {
            env,
            range: None,
            defaults: HashMap::new(),
            matrix_jobs: 0,
            is_cut: false,
            cut_names: HashSet::new(),
            cut_fields: HashSet::new(),
            is_rough: false,
            only: None,
            sound: Vec::new(),
            recent: Vec::new(),
            misspelt: HashSet::new(),
            misspelt_in: HashSet::new(),
            texts: Vec::new(),
            found: Vec::new(),
            seen: HashSet::new(),
            errors: 0,
            left_out: 0,
            spare: None,
        }
    }

    /// Adds a text and returns its index. `folder` is what relative paths in it start from.
    pub(crate) fn add_text(&mut self, name: &str, folder: &Path, content: &str) -> u32 {
        self.texts.push(Text::new(name, folder, content));
        self.texts.len() as u32 - 1
    }

    /// The text of an index.
    pub(crate) fn text(&self, index: u32) -> Option<&Text> {
        self.texts.get(index as usize)
    }

    /// The names of all texts, by index.
    pub(crate) fn text_names(&self) -> Vec<String> {
        self.texts.iter().map(|text| text.name.clone()).collect()
    }

    /// The folder that relative paths of a place start from.
    pub(crate) fn folder(&self, spot: Spot) -> &Path {
        self.text(spot.text).map_or(Path::new(""), |text| &text.folder)
    }

    /// The place as users see it.
    pub(crate) fn origin(&self, spot: Spot) -> Origin {
        let file = self.text(spot.text).map_or_else(String::new, |text| text.name.clone());
        Origin { file, line: spot.line, column: spot.column }
    }

    /// The part of a token that is this text, where its line has it; else the token.
    pub(crate) fn find(&self, spot: Spot, needle: &str) -> Spot {
        self.text(spot.text).and_then(|text| text.find(spot, needle)).unwrap_or(spot)
    }

    /// The same in a token of several lines, which holds the text.
    pub(crate) fn find_below(&self, spot: Spot, needle: &str) -> Spot {
        self.text(spot.text).and_then(|text| text.find_below(spot, needle)).unwrap_or(spot)
    }

    /// Records an error; the result takes what was expected, a suggestion and notes.
    pub(crate) fn error(&mut self, code: Code, spot: Spot, message: impl Into<String>) -> &mut Diagnostic {
        let message = message.into();
        self.errors += 1;
        let is_full = self.found.len() >= MAX_KEPT;
        let is_wanted = self.only.is_none_or(|only| only.contains(&code) || self.is_about_sound(code, spot))
            && !(code == Code::Conflict && self.misspelt_in.contains(&spot));
        let is_kept = is_wanted && !is_full && self.seen.insert((code, spot, message.clone()));
        self.left_out += usize::from(is_wanted && is_full);
        if is_wanted {
            self.recent.push(spot);
        }
        let (source, source_column) = match self.text(spot.text) {
            Some(text) if is_kept => text.excerpt(spot),
            _ => (String::new(), 1),
        };
        let diagnostic = Diagnostic {
            code,
            message,
            origin: self.origin(spot),
            length: spot.length.max(1),
            source,
            source_column,
            expected: String::new(),
            suggestion: None,
            notes: Vec::new(),
            ordinal: self.found.len(),
        };
        if is_kept {
            self.found.push(diagnostic);
            let last = self.found.len() - 1;
            &mut self.found[last]
        } else {
            self.spare.insert(diagnostic)
        }
    }

    /// Whether something with stand-ins may say this: a field that is right holds the place, and the code is about that alone.
    fn is_about_sound(&self, code: Code, spot: Spot) -> bool {
        let is_local = matches!(
            code,
            Code::Conflict | Code::OutOfRange | Code::BadWeights | Code::BadPhases | Code::DuplicateName
        );
        is_local && self.sound.iter().any(|field| field.contains(&spot))
    }

    /// Decodes something with stand-ins for what is wrong with it, which was reported before.
    pub(crate) fn roughly<T>(&mut self, decode: impl FnOnce(&mut Self) -> T) -> T {
        let only = self.only.replace(&[]);
        self.is_rough = true;
        let value = decode(self);
        self.is_rough = false;
        self.only = only;
        value
    }

    /// Decodes something only to see whether it can be: nothing is recorded.
    pub(crate) fn quietly<T>(&mut self, decode: impl FnOnce(&mut Self) -> T) -> T {
        let (only, is_rough) = (self.only.replace(&[]), std::mem::take(&mut self.is_rough));
        let value = decode(self);
        (self.only, self.is_rough) = (only, is_rough);
        value
    }

    /// Whether a field of the mapping at a place was cut out, because it is not YAML.
    pub(crate) fn is_cut_out(&self, mapping: Spot, name: &str) -> bool {
        self.is_cut && self.cut_fields.contains(&(mapping.text, mapping.line, name.to_owned()))
    }

    /// How many errors there are.
    pub(crate) fn error_count(&self) -> usize {
        self.errors
    }

    /// The spec, or every error by place.
    pub(crate) fn finish(mut self, spec: Option<ResolvedSpec>) -> Result<ResolvedSpec, Diagnostics> {
        let ranks: HashMap<&str, usize> =
            self.texts.iter().enumerate().rev().map(|(rank, text)| (text.name.as_str(), rank)).collect();
        let rank = |d: &Diagnostic| ranks.get(d.origin.file.as_str()).copied();
        self.found.sort_by_cached_key(|d| (rank(d), d.origin.line, d.origin.column, d.code, d.ordinal));
        self.found.dedup_by(|d, other| {
            (d.code, &d.origin, &d.message) == (other.code, &other.origin, &other.message)
        });
        let wrong: HashSet<Origin> =
            self.found.iter().filter(|d| d.code != Code::Unsupported).map(|d| d.origin.clone()).collect();
        self.found.retain(|d| d.code != Code::Unsupported || !wrong.contains(&d.origin));
        if let (1.., Some(mut last)) = (self.left_out, self.spare) {
            last.message = format!("{} more are not listed; the last one: {}", self.left_out, last.message);
            self.found.push(last);
        }
        match spec {
            Some(spec) if self.errors == 0 => Ok(spec),
            _ => Err(Diagnostics(self.found)),
        }
    }
}
