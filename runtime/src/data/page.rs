//! `statistics.html`: the data funnel as one self-contained page.

use cupola_specs::artifact::CorpusStatistics;
use minijinja::{Environment, context};

use super::DataError;

/// The page's name; its ending turns escaping on.
const NAME: &str = "statistics.html";

/// Renders the page.
pub(super) fn page(statistics: &CorpusStatistics) -> Result<String, DataError> {
    let render = || {
        let mut environment = Environment::new();
        environment.add_filter("bytes", |bytes: u64| bytes_for_people(bytes));
        environment.add_template(NAME, include_str!("statistics.html"))?;
        let most = statistics.rules.iter().map(|rule| rule.remaining_bytes).max().unwrap_or(1).max(1);
        let most_documents = statistics.lengths.iter().map(|bin| bin.documents).max().unwrap_or(1).max(1);
        environment.get_template(NAME)?.render(context! { s => statistics, most, most_documents })
    };
    render().map_err(|error: minijinja::Error| DataError::Parameter {
        field: NAME.into(),
        expected: "a page".into(),
        got: format!("{error:#}"),
    })
}

fn bytes_for_people(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.2} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use cupola_specs::artifact::{
        ClusterExample, ClusterStatistics, Interval, LengthBin, MixtureStatistics, QualityStatistics,
        RuleExample, RuleStatistics, SiteStatistics, ToxicityStatistics,
    };

    use super::*;

    #[test]
    fn a_domain_of_which_nothing_is_left_has_its_row() {
        let domain_weights = [("prose".to_owned(), 0.8)].into();
        let statistics = CorpusStatistics { domain_weights, ..CorpusStatistics::default() };
        assert!(page(&statistics).unwrap().contains("<td>prose</td><td>0.8</td><td>0</td><td>0 B</td>"));
    }

    #[test]
    fn what_was_measured_of_the_rest_has_its_tables() {
        let example = ClusterExample {
            documents: 4,
            first: "00ff".into(),
            file: "a.jsonl".into(),
            excerpt: "<b>the same</b>".into(),
        };
        let statistics = CorpusStatistics {
            lengths: vec![LengthBin { below_bytes: 4096, documents: 5 }],
            languages: [("de".to_owned(), 3)].into(),
            sites: vec![SiteStatistics { site: "example.org".into(), documents: 5, bytes: 12_000 }],
            near_duplicates: Some(ClusterStatistics { clusters: 1, duplicates: 3, largest: vec![example] }),
            presets: [("dclm".to_owned(), "0123456789abcdef".to_owned())].into(),
            toxicity: Some(ToxicityStatistics { roc_auc: 0.87654, ..ToxicityStatistics::default() }),
            mixture: Some(MixtureStatistics {
                num_runs: 512,
                weights: [("code".to_owned(), Interval { value: 0.41234, low: 0.3, high: 0.5 })].into(),
                predicted_loss: Interval { value: 3.1, low: 3.0, high: 3.2 },
                mean_mixture_loss: Interval { value: 3.3, low: 3.2, high: 3.4 },
                best_run_loss: 3.05,
                regressor: "trees".into(),
                rank_correlation: 0.97,
                caveats: vec!["few runs".into()],
            }),
            quality: Some(QualityStatistics {
                roc_auc: 0.91234,
                kept_documents: 7,
                ..QualityStatistics::default()
            }),
            ..CorpusStatistics::default()
        };
        let page = page(&statistics).unwrap();
        for told in ["4.1 kB", "<td>de</td><td>3</td>", "example.org", "&lt;b&gt;the same", "0.9123"] {
            assert!(page.contains(told), "{told}");
        }
        for told in ["dclm (0123456789ab)", "0.8765", "<td>code</td><td>0.4123</td>", "512 runs", "few runs"]
        {
            assert!(page.contains(told), "{told}");
        }
    }

    #[test]
    fn the_page_escapes_what_the_data_says() {
        let rule = RuleStatistics {
            rule: "exact_document".into(),
            dropped_documents: 7,
            dropped_bytes: 2_500_000,
            examples: vec![RuleExample {
                file: "a.rs".into(),
                excerpt: "<script>alert(1)</script>".into(),
                ..RuleExample::default()
            }],
            ..RuleStatistics::default()
        };
        let statistics = CorpusStatistics { rules: vec![rule], ..CorpusStatistics::default() };
        let page = page(&statistics).unwrap();
        assert!(page.contains("2.50 MB") && page.contains("&lt;script&gt;") && !page.contains("<script>"));
    }
}
