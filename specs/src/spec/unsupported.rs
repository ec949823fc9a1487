//! What the language has and this version does not carry out: refused, never ignored. Remove an entry as its feature works.

use super::codes::Code;
use super::session::Session;
use super::tree::{Node, Spot, Value};

/// Which values of a field are refused. `null` never is.
enum Refused {
    /// Every value.
    Any,
    /// These words.
    Words(&'static [&'static str]),
    /// Every value but this one.
    AllBut(&'static str),
}
use Refused::{AllBut, Any, Words};

/// Fields by path: the job's kind and the field path in the job, or a path from the top. `*` is any one segment, `**` any number.
const UNSUPPORTED: &[(&str, Refused)] = &[
    ("data.sources.*.format", Words(&["parquet", "html", "warc", "crawl", "huggingface"])),
    ("data.sources.*.seeds", Any),
    ("data.sources.*.max_depth", Any),
    ("data.sources.*.rate", Any),
    ("data.sources.*.respect_robots", Any),
    ("data.sources.*.dataset", Any),
    ("data.extract", Any),
    ("data.urls", Any),
    ("data.safety", Any),
    ("data.filters.*.custom", Any),
    ("data.dedup.minhash", Any),
    ("data.quality", Any),
    ("data.domains.classify", Any),
    ("data.decontaminate", Any),
    ("pretrain.context.extend", Any),
    ("scaling.context.extend", Any),
    ("sft.context.extend", Any),
    ("rlhf.context.extend", Any),
    ("pretrain.parallel.data", AllBut("1")),
    ("sft.lora", Any),
    ("sft.data.*.synthesize", Any),
    ("rlhf.labeler.kind", Words(&["judge", "human"])),
    ("rlhf.method", Words(&["kto", "grpo", "best_of_n", "direct"])),
    ("eval.suites.*.generate", Any),
    ("eval.suites.*.judge.judge", AllBut("reference")),
    ("eval.suites.*.judge.length_control", AllBut("false")),
    ("eval.suites.*.judge.swap", AllBut("false")),
    ("eval.suites.*.contamination.methods.*", Words(&["ordering"])),
    ("*.resources.nodes", Any),
    ("*.resources.partition", Any),
    ("*.resources.time", Any),
    ("*.resources.account", Any),
    ("*.resources.qos", Any),
    ("serve.promote_if", Any),
    ("schedules.*.on_failure", Any),
    ("**.huggingface", Any),
];

/// Refuses what stands in a tree under a prefix: a job's kind for a job, nothing for the top.
pub(crate) fn refuse(prefix: &str, node: &Node, session: &mut Session<'_>) {
    let mut found: Vec<(String, Spot, Option<String>)> = Vec::new();
    let mut path = prefix.to_owned();
    node.walk(&mut path, &mut |path, key, value| {
        let segments: Vec<&str> = path.split('.').collect();
        let entry = UNSUPPORTED
            .iter()
            .find(|(pattern, _)| matches(&pattern.split('.').collect::<Vec<_>>(), &segments));
        let Some((_, refused)) = entry else { return };
        let text = value.text();
        match refused {
            _ if value.value == Value::Null => {}
            Any => found.push((path.to_owned(), key, None)),
            Words(words) => {
                if let Some(word) = text.filter(|word| words.contains(word)) {
                    found.push((path.to_owned(), value.spot, Some(word.to_owned())));
                }
            }
            AllBut(word) => {
                if text != Some(*word) {
                    found.push((path.to_owned(), value.spot, text.map(str::to_owned)));
                }
            }
        }
    });
    for (path, spot, word) in found {
        let field =
            path.split('.').filter(|segment| segment.parse::<usize>().is_err()).collect::<Vec<_>>().join(".");
        let message = match word {
            Some(word) => format!("`{word}` is not supported yet for {field}"),
            None => format!("{field} is not supported yet"),
        };
        session.error(Code::Unsupported, spot, message);
    }
}

/// Whether a path fits a pattern.
fn matches(pattern: &[&str], path: &[&str]) -> bool {
    match (pattern.split_first(), path.split_first()) {
        (None, None) => true,
        (Some((&"**", rest)), _) => (0..=path.len()).any(|skip| matches(rest, &path[skip..])),
        (Some((first, pattern)), Some((segment, path))) => {
            (*first == "*" || first == segment) && matches(pattern, path)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::explain;

    /// An entry whose field has gone would refuse nothing and tell nobody.
    #[test]
    fn every_entry_is_a_field_of_the_language() {
        for (pattern, _) in UNSUPPORTED {
            let Some(rest) = pattern.strip_prefix("**.") else {
                let path = match pattern.strip_prefix("*.") {
                    Some(rest) => format!("data.{rest}"),
                    None => pattern.replace("schedules.*", "schedules.nightly").replace('*', "0"),
                };
                assert!(explain(&path).is_some(), "{pattern}");
                continue;
            };
            assert!(explain(&format!("sft.model.{rest}")).is_some(), "{pattern}");
        }
    }

    #[test]
    fn stars_match_one_segment_and_two_stars_any() {
        let is = |pattern: &str, path: &str| {
            matches(&pattern.split('.').collect::<Vec<_>>(), &path.split('.').collect::<Vec<_>>())
        };
        assert!(is("data.sources.*.format", "data.sources.0.format"));
        assert!(!is("data.sources.*.format", "data.sources.format"));
        assert!(!is("data.extract", "data.extract.keep_math"));
        assert!(is("**.huggingface", "eval.models.0.huggingface"));
        assert!(is("**.huggingface", "huggingface"));
    }
}
