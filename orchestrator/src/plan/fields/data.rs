//! The fields of a data job behind its step's parameters.

use cupola_specs::job::DataParams;

/// The fields that a parameter may come from, the likeliest first.
pub(super) fn data_paths(params: &DataParams, path: &str) -> Vec<String> {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    let number = || rest.split('.').next().and_then(|at| at.parse::<usize>().ok());
    match head {
        "dedup" => vec![format!("dedup.{}", dedup_field(rest)), "dedup".to_owned()],
        "domain_weights" => below("domains.weights", rest),
        "shard_documents" => vec!["shards".to_owned()],
        "filters" => filter_fields(params, rest),
        "sources" => source_fields(params, path),
        "toxicity" => below("safety.toxicity", rest),
        "toxicity_classifier" => below("safety.classifier", rest),
        "quality" => below("quality", quality_field(rest)),
        "urls" => below("urls", number().and_then(|at| params.urls.get(at)).map_or("", |list| list.name())),
        "classify" => {
            let name = number().and_then(|at| params.classify.get(at)).map_or("", String::as_str);
            below("domains.classify.labels", name)
        }
        _ => below(head, rest),
    }
}

/// Renumbers a field of a filter: `items` has for each filter of the step the place in `filters` where it is written.
pub(super) fn at_written_filter(field: &mut String, items: &[usize]) {
    let Some(rest) = field.strip_prefix("filters.") else { return };
    let (at, threshold) = rest.split_once('.').unwrap_or((rest, ""));
    let Some(item) = at.parse().ok().and_then(|at: usize| items.get(at)) else { return };
    *field =
        if threshold.is_empty() { format!("filters.{item}") } else { format!("filters.{item}.{threshold}") };
}

/// A field of a group, and the group.
fn below(group: &str, field: &str) -> Vec<String> {
    let own = (!field.is_empty()).then(|| format!("{group}.{field}"));
    own.into_iter().chain([group.to_owned()]).collect()
}

/// Fields of a source. Its domain is its name where none is written; how it is crawled stands beside its format.
fn source_fields(params: &DataParams, path: &str) -> Vec<String> {
    let mut parts = path.splitn(4, '.').skip(1);
    let at = parts.next().unwrap_or_default();
    let around = |field: &str| {
        if field.is_empty() { format!("sources.{at}") } else { format!("sources.{at}.{field}") }
    };
    match (parts.next(), parts.next()) {
        (Some("crawl"), None) => vec![around("format"), around("")],
        (Some("crawl"), Some(field)) => vec![around(field), around("")],
        (Some("domain"), None) => {
            let source = at.parse().ok().and_then(|at: usize| params.sources.get(at));
            let has_own_name = source.is_some_and(|source| source.name == source.domain);
            std::iter::once(path.to_owned()).chain(has_own_name.then(|| around("name"))).collect()
        }
        _ => vec![path.to_owned()],
    }
}

fn dedup_field(param: &str) -> &str {
    match param {
        "exact_document" => "exact",
        "lines_min_repeats" => "lines.min_repeats",
        "substring_min_bytes" => "substrings.min_bytes",
        other => other,
    }
}

fn quality_field(param: &str) -> &str {
    match param {
        "has_documents" => "positive",
        "has_links" => "positive_links",
        other => other,
    }
}

fn filter_fields(params: &DataParams, rest: &str) -> Vec<String> {
    let (at, threshold) = rest.split_once('.').unwrap_or((rest, ""));
    let rule = at.parse().ok().and_then(|at: usize| serde_json::to_value(params.filters.get(at)?).ok());
    let rule = rule.as_ref().and_then(|rule| rule["rule"].as_str()).unwrap_or_default();
    let threshold = threshold.split('.').next().unwrap_or_default();
    if at.is_empty() {
        return vec!["filters".to_owned()];
    }
    let mut fields =
        vec![format!("filters.{at}.{rule}.{threshold}"), format!("filters.{at}"), "filters".to_owned()];
    match threshold {
        "" | "rule" => drop(fields.remove(0)),
        // A custom rule is its expression.
        "expression" => fields[0] = format!("filters.{at}.{rule}"),
        _ => {}
    }
    fields
}
