//! Blocked phrases in a text, while it comes. A phrase is found where it stands as whole words; until a word behind it begins or does not, it is
//! not sure. What may yet become a phrase is known exactly: each place where a word begins is followed through a trie of the phrases for as long as
//! there is one that goes on as the text does.

use std::collections::HashMap;
use std::sync::Arc;

use super::Rule;
use super::escapes::Escapes;
use super::fold::{Folder, begins_between, fold, is_mark, is_unspaced, is_word};

/// The phrases of one scope.
#[derive(Debug, Default)]
pub(super) struct Lexicon {
    edges: HashMap<(u32, char), u32>,
    /// By node: whether phrases go on behind it, and whether one of those is refused.
    nodes: Vec<(bool, bool)>,
    /// The rules of the phrases that end at a node.
    ends: HashMap<u32, Vec<Arc<Rule>>>,
}

impl Lexicon {
    /// Adds a phrase.
    pub(super) fn insert(&mut self, phrase: &str, rule: &Arc<Rule>) {
        if self.nodes.is_empty() {
            self.nodes.push((false, false));
        }
        let mut node = 0;
        for character in folded(phrase).chars() {
            let (goes_on, refuses) = &mut self.nodes[node as usize];
            *goes_on = true;
            *refuses |= rule.refuses();
            let next = self.nodes.len() as u32;
            node = *self.edges.entry((node, character)).or_insert(next);
            if node == next {
                self.nodes.push((false, false));
            }
        }
        let rules = self.ends.entry(node).or_default();
        if !rules.iter().any(|known| Arc::ptr_eq(known, rule)) {
            rules.push(Arc::clone(rule));
        }
    }

    /// Whether there is no phrase.
    pub(super) fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }
}

/// A phrase as it is looked for.
pub(super) fn folded(phrase: &str) -> String {
    fold(phrase).trim().to_owned()
}

/// A phrase that was found.
#[derive(Debug, Clone)]
pub(super) struct Hit {
    /// Where it begins.
    pub(super) start: usize,
    pub(super) rule: Arc<Rule>,
}

/// Looks through one text.
#[derive(Debug, Clone)]
pub(super) struct Scanner {
    lexicon: Arc<Lexicon>,
    /// Where the text may be JSON.
    escapes: Option<Escapes>,
    folder: Folder,
    before: Option<char>,
    /// Where the text begins; a phrase that ends before it is none of its.
    from: usize,
    /// Starts of phrases that the text ends with: nodes and where they begin.
    open: Vec<(u32, usize)>,
    /// Phrases that the text ends with, or nearly.
    ended: Vec<Ended>,
}

/// A whole phrase, behind which the word may yet go on.
#[derive(Debug, Clone)]
struct Ended {
    node: u32,
    start: usize,
    behind: Behind,
}

/// What came behind a phrase.
#[derive(Debug, Clone, Copy)]
enum Behind {
    /// Nothing; the phrase's last character.
    Last(char),
    /// An apostrophe.
    Apostrophe,
    /// `'s`, which is still the word.
    Possessive,
}

impl Scanner {
    /// Looks for the phrases; with `is_json` in the text that its escapes stand for.
    pub(super) fn new(lexicon: &Arc<Lexicon>, is_json: bool) -> Self {
        Self {
            lexicon: Arc::clone(lexicon),
            escapes: is_json.then(Escapes::default),
            folder: Folder::default(),
            before: None,
            from: 0,
            open: Vec::new(),
            ended: Vec::new(),
        }
    }

    /// Reads what stands before the text, which begins at its end: a phrase may begin there.
    pub(super) fn pass_over(&mut self, before: &str) {
        self.from = before.len();
        let mut hits = Vec::new();
        for (at, character) in before.char_indices() {
            self.push(character, at, &mut hits);
        }
    }

    /// Goes on by a character at its place; adds the phrases that are sure now.
    pub(super) fn push(&mut self, character: char, at: usize, hits: &mut Vec<Hit>) {
        let mut read = Vec::new();
        match &mut self.escapes {
            Some(escapes) => escapes.push(character, at, &mut read),
            None => read.push((character, at)),
        }
        self.take(&read, hits);
    }

    /// Ends the text: a phrase at its end is one.
    pub(super) fn finish(&mut self, hits: &mut Vec<Hit>) {
        let mut read = Vec::new();
        if let Some(escapes) = &mut self.escapes {
            escapes.finish(&mut read);
        }
        self.take(&read, hits);
        let mut folded = Vec::new();
        self.folder.finish(&mut folded);
        for (character, at) in folded {
            self.step(character, at, hits);
        }
        self.open.clear();
        for ended in std::mem::take(&mut self.ended) {
            self.hit(ended.node, ended.start, hits);
        }
    }

    /// Where the text begins that must not be shown yet; none where all of it may.
    pub(super) fn held(&self) -> Option<usize> {
        let lexicon = &*self.lexicon;
        let refuses =
            |node: &u32| lexicon.ends.get(node).is_some_and(|rules| rules.iter().any(|rule| rule.refuses()));
        let open =
            self.open.iter().filter(|(node, _)| lexicon.nodes[*node as usize].1).map(|(_, start)| *start);
        let ended = self.ended.iter().filter(|ended| refuses(&ended.node)).map(|ended| ended.start);
        let escape = self.escapes.as_ref().and_then(Escapes::open);
        open.chain(ended).chain(escape).min()
    }

    fn take(&mut self, read: &[(char, usize)], hits: &mut Vec<Hit>) {
        let mut folded = Vec::new();
        for &(character, at) in read {
            self.folder.push(character, at, &mut folded);
        }
        for (character, at) in folded {
            self.step(character, at, hits);
        }
    }

    fn step(&mut self, character: char, at: usize, hits: &mut Vec<Hit>) {
        for mut ended in std::mem::take(&mut self.ended) {
            match ended.behind.settle(character) {
                Some(true) => self.hit(ended.node, ended.start, hits),
                Some(false) => {}
                None => {
                    ended.behind = ended.behind.then();
                    self.ended.push(ended);
                }
            }
        }
        let begins = begins_between(self.before, character).then_some((0, at));
        let lexicon = Arc::clone(&self.lexicon);
        for (node, start) in std::mem::take(&mut self.open).into_iter().chain(begins) {
            let Some(&node) = lexicon.edges.get(&(node, character)) else { continue };
            if lexicon.nodes[node as usize].0 {
                self.open.push((node, start));
            }
            if at < self.from || !lexicon.ends.contains_key(&node) {
                continue;
            }
            if is_word(character) {
                self.ended.push(Ended { node, start, behind: Behind::Last(character) });
            } else {
                self.hit(node, start, hits);
            }
        }
        self.before = Some(character);
    }

    fn hit(&self, node: u32, start: usize, hits: &mut Vec<Hit>) {
        let rules = self.lexicon.ends.get(&node).into_iter().flatten();
        hits.extend(rules.map(|rule| Hit { start, rule: Arc::clone(rule) }));
    }
}

impl Behind {
    /// Whether the phrase stands as whole words, by the next character; none where that is not sure yet.
    fn settle(self, next: char) -> Option<bool> {
        match self {
            Self::Last(_) if is_mark(next) => Some(false),
            Self::Last(last) if is_unspaced(last) || is_unspaced(next) => Some(true),
            Self::Last(_) if matches!(next, '\'' | '’') => None,
            Self::Apostrophe if next == 's' => None,
            Self::Last(_) | Self::Apostrophe | Self::Possessive => Some(!is_word(next)),
        }
    }

    /// What it is behind a character that did not settle it.
    fn then(self) -> Self {
        match self {
            Self::Last(_) => Self::Apostrophe,
            Self::Apostrophe | Self::Possessive => Self::Possessive,
        }
    }
}
