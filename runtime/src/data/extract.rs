//! Instruction pairs from Rust: a function with a doc comment is a question and its answer by the person who knew best.

use std::collections::{BTreeMap, HashSet};

use cupola_specs::artifact::CorpusPair;
use cupola_specs::job::PairsParams;
use syn::{Attribute, Block, Expr, ExprLit, ImplItem, Item, Lit, Meta, Signature, TraitItem, Visibility};

use super::doc_text::{answer, answer_key};
use super::document::Document;
use super::personal::is_personal;

/// Shortest function, characters: anything less has no body to speak of.
const MIN_CODE_CHARS: usize = 40;

/// What one document gave.
#[derive(Debug, Default)]
pub(super) struct Extracted {
    /// In the order of the file.
    pub(super) pairs: Vec<CorpusPair>,
    /// Whether the file is Rust that parses.
    pub(super) parsed: bool,
}

/// Finds the functions of a document and makes pairs of those with a doc comment that answers.
pub(super) fn extract(document: &Document, params: &PairsParams) -> Extracted {
    let extracted = match syn::parse_str::<syn::File>(&document.text) {
        Ok(file) => {
            let mut functions = Vec::new();
            collect(&file.items, &mut functions);
            let pairs = functions.iter().filter_map(|function| pair(document, function, params)).collect();
            Extracted { pairs, parsed: true }
        }
        Err(_) => Extracted::default(),
    };
    // Positions are kept by thread for every file it ever parsed: nobody asks for these any more.
    proc_macro2::extra::invalidate_current_thread_spans();
    extracted
}

/// Pairs of the whole corpus, in an order by their ids, which are hashes: of equal answers or equal functions the first stays, and no
/// crate gives more than its limit.
pub(super) fn select(mut pairs: Vec<CorpusPair>, max_per_crate: u64) -> Vec<CorpusPair> {
    pairs.sort_by(|a, b| a.id.cmp(&b.id));
    let mut answers = HashSet::new();
    let mut functions = HashSet::new();
    let mut by_crate: BTreeMap<String, u64> = BTreeMap::new();
    pairs.retain(|pair| {
        let code: String = pair.prompt.split_whitespace().collect();
        if !answers.insert(answer_key(&pair.answer)) || !functions.insert(code) {
            return false;
        }
        let count = by_crate.entry(pair.unit.clone()).or_insert(0);
        *count += 1;
        max_per_crate == 0 || *count <= max_per_crate
    });
    pairs
}

/// A function with a body, where it stands in the text.
struct Function<'f> {
    name: String,
    attributes: &'f [Attribute],
    /// First byte of the signature, the visibility included.
    start: usize,
    body: usize,
    end: usize,
}

impl<'f> Function<'f> {
    fn new(
        attributes: &'f [Attribute],
        visibility: Option<&Visibility>,
        sig: &Signature,
        block: &Block,
    ) -> Self {
        let start = |span: proc_macro2::Span| span.byte_range().start;
        let visible = match visibility {
            Some(Visibility::Public(token)) => Some(start(token.span)),
            Some(Visibility::Restricted(restricted)) => Some(start(restricted.pub_token.span)),
            _ => None,
        };
        let starts = [
            visible,
            sig.constness.as_ref().map(|token| start(token.span)),
            sig.asyncness.as_ref().map(|token| start(token.span)),
            sig.unsafety.as_ref().map(|token| start(token.span)),
            sig.abi.as_ref().map(|abi| start(abi.extern_token.span)),
            Some(start(sig.fn_token.span)),
        ];
        let start = starts.into_iter().flatten().min().unwrap_or(0);
        let braces = block.brace_token.span;
        let (body, end) = (braces.open().byte_range().start, braces.close().byte_range().end);
        Self { name: sig.ident.to_string(), attributes, start, body, end }
    }
}

fn collect<'f>(items: &'f [Item], functions: &mut Vec<Function<'f>>) {
    for item in items {
        match item {
            Item::Fn(item) => {
                functions.push(Function::new(&item.attrs, Some(&item.vis), &item.sig, &item.block));
            }
            Item::Mod(module) if !is_hidden(&module.attrs) => {
                collect(module.content.as_ref().map_or(&[], |(_, items)| items), functions);
            }
            Item::Impl(block) if !is_hidden(&block.attrs) => {
                functions.extend(block.items.iter().filter_map(|item| match item {
                    ImplItem::Fn(item) => {
                        Some(Function::new(&item.attrs, Some(&item.vis), &item.sig, &item.block))
                    }
                    _ => None,
                }));
            }
            Item::Trait(item) => functions.extend(item.items.iter().filter_map(|item| match item {
                TraitItem::Fn(item) => {
                    item.default.as_ref().map(|block| Function::new(&item.attrs, None, &item.sig, block))
                }
                _ => None,
            })),
            _ => {}
        }
    }
}

fn pair(document: &Document, function: &Function<'_>, params: &PairsParams) -> Option<CorpusPair> {
    if is_hidden(function.attributes) {
        return None;
    }
    let doc = doc_of(function.attributes)?;
    let answer = answer(&doc, &function.name, params.min_answer_chars, params.max_answer_chars)?;
    let text = &document.text;
    let code = dedented(text, function.start, text.get(function.start..function.end)?);
    let signature = dedented(text, function.start, text.get(function.start..function.body)?.trim_end());
    let length = code.chars().count();
    let body = text.get(function.body..function.end)?;
    let has_body = body.chars().filter(|c| c.is_alphanumeric()).count() > 3;
    let gives_it_away = answer_key(&code).contains(&answer_key(&answer));
    if !(MIN_CODE_CHARS..=params.max_code_chars as usize).contains(&length) || !has_body || gives_it_away {
        return None;
    }
    if is_personal(&answer) || is_personal(&code) {
        return None;
    }
    let key = blake3::hash(format!("{}\0{}\0{}", document.id, function.start, signature).as_bytes());
    Some(CorpusPair {
        id: key.to_hex()[..32].to_owned(),
        prompt: params.instruction.replace("{code}", &code),
        answer,
        signature,
        unit: document.unit.clone(),
    })
}

/// The text of the doc comments; none where there is none, or where a macro makes it.
fn doc_of(attributes: &[Attribute]) -> Option<String> {
    let mut lines: Vec<String> = Vec::new();
    for attribute in attributes.iter().filter(|attribute| attribute.path().is_ident("doc")) {
        if let Meta::NameValue(pair) = &attribute.meta {
            let Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) = &pair.value else { return None };
            lines.push(text.value());
        }
    }
    (!lines.is_empty()).then(|| lines.join("\n"))
}

/// Whether an item is a test, hidden from the docs, or on its way out.
fn is_hidden(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::Path(path) => path.is_ident("test") || path.is_ident("deprecated") || path.is_ident("bench"),
        Meta::NameValue(pair) => pair.path.is_ident("deprecated"),
        Meta::List(list) => {
            let tokens = list.tokens.to_string();
            list.path.is_ident("deprecated")
                || list.path.is_ident("doc") && tokens.contains("hidden")
                || list.path.is_ident("cfg") && tokens == "test"
        }
    })
}

/// Code without the indentation of its first line.
fn dedented(text: &str, start: usize, code: &str) -> String {
    let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let indent = text[line_start..start].chars().take_while(|c| c.is_whitespace()).count();
    let mut lines = code.lines();
    let mut plain = lines.next().unwrap_or("").to_owned();
    for line in lines {
        let blank = line.chars().take_while(|c| c.is_whitespace()).count().min(indent);
        plain.push('\n');
        plain.extend(line.chars().skip(blank));
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn params() -> PairsParams {
        PairsParams {
            instruction: "Document this function:\n{code}".into(),
            max_code_chars: 500,
            min_answer_chars: 10,
            max_answer_chars: 200,
            max_per_crate: 2,
        }
    }

    fn pairs(text: &str) -> Vec<CorpusPair> {
        let document =
            Document { text: text.into(), unit: "u".into(), id: "i".into(), ..Document::default() };
        extract(&document, &params()).pairs
    }

    #[test]
    fn a_method_is_taken_with_its_signature_and_body_but_not_its_docs() {
        let text = "/// é\nimpl A {\n    /// Returns the larger of both halves.\n    #[inline]\n    pub fn largest(&self) -> u32 {\n        \
                    self.left.max(self.right)\n    }\n}\n";
        let found = pairs(text);
        assert_eq!(found.len(), 1);
        assert_eq!(
            found[0].prompt,
            "Document this function:\npub fn largest(&self) -> u32 {\n    self.left.max(self.right)\n}"
        );
        assert_eq!(
            (found[0].answer.as_str(), found[0].signature.as_str()),
            ("Returns the larger of both halves.", "pub fn largest(&self) -> u32")
        );
    }

    #[test]
    fn tests_hidden_functions_and_those_that_hold_their_docs_give_no_pair() {
        let function = |attribute: &str, body: &str| {
            format!(
                "/// Returns the sum of all the elements.\n{attribute}\nfn sum_up(all: &[u32]) -> u32 {{\n    {body}\n}}\n"
            )
        };
        assert_eq!(pairs(&function("", "all.iter().sum()")).len(), 1);
        assert!(pairs(&function("#[doc(hidden)]", "all.iter().sum()")).is_empty());
        assert!(pairs(&function("#[test]", "all.iter().sum()")).is_empty());
        assert!(
            pairs(&function("", "// returns the sum of all the elements\n    all.iter().sum()")).is_empty()
        );
        assert!(pairs(&function("#[doc = include_str!(\"a\")]", "all.iter().sum()")).is_empty());
        let document = Document { text: "fn broken( {".into(), ..Document::default() };
        assert!(!extract(&document, &params()).parsed);
    }

    #[test]
    fn equal_answers_and_functions_stay_once_and_a_crate_has_its_limit() {
        let pair = |id: &str, prompt: &str, answer: &str, unit: &str| CorpusPair {
            id: id.into(),
            prompt: prompt.into(),
            answer: answer.into(),
            signature: String::new(),
            unit: unit.into(),
        };
        let all = vec![
            pair("5", "e", "Five of them.", "a"),
            pair("1", "a", "Reads the 8 bits.", "a"),
            pair("2", "b", "Reads the 16 bits.", "b"),
            pair("3", "a ", "Other.", "b"),
            pair("4", "d", "Four of them", "a"),
        ];
        let ids: Vec<String> = select(all, 2).into_iter().map(|pair| pair.id).collect();
        assert_eq!(ids, ["1", "4"]);
    }
}
