//! The fields behind the files that a step reads, by the label of the files.

use cupola_specs::job::StepParams;

use super::own::suite_field;

/// Paths of the fields that may name the files of a label, the likeliest first; never none.
pub(super) fn files_field(
    job: &str,
    params: &StepParams,
    label: &str,
    is_written: &dyn Fn(&String) -> bool,
) -> Vec<String> {
    let of_job = |field: String| format!("jobs.{job}.{field}");
    match (params, label.split_once('.')) {
        (StepParams::Data(params), Some(("sources", name))) => {
            let at = params.sources.iter().position(|source| source.name == name);
            vec![of_job(at.map_or_else(|| "sources".to_owned(), |at| format!("sources.{at}.paths")))]
        }
        (StepParams::Data(_), Some(("safety", "toxicity"))) => {
            vec![of_job("safety.toxicity.lists".to_owned()), of_job("safety".to_owned())]
        }
        // `safety.classifier.toxic` is the field's own name.
        (StepParams::Data(_), Some(("safety", _))) => {
            let group = ["safety.classifier".to_owned(), "safety".to_owned()];
            std::iter::once(label.to_owned()).chain(group).map(of_job).collect()
        }
        (StepParams::Data(_), Some(("domains", name))) => {
            let labels = "domains.classify.labels";
            vec![of_job(format!("{labels}.{name}")), of_job(labels.to_owned())]
        }
        (StepParams::Data(_), Some(("mixture", _))) => {
            vec![of_job("domains.runs".to_owned()), of_job("domains".to_owned())]
        }
        // They are files of an eval job's suites, which the data job names.
        (StepParams::Data(_), Some(("decontaminate", eval))) => {
            vec![format!("jobs.{eval}.suites"), of_job("decontaminate.against".to_owned())]
        }
        (StepParams::Data(_), Some((head, _))) => vec![of_job(label.to_owned()), of_job(head.to_owned())],
        (StepParams::Eval(params), Some((_, at))) => {
            let fields = suite_field(&params.suites, at, "part").into_iter().map(of_job);
            let written = fields.into_iter().find(is_written);
            vec![written.unwrap_or_else(|| of_job(format!("suites.{at}")))]
        }
        (_, Some(("data", at))) => vec![of_job(format!("data.{at}.paths"))],
        _ => vec![of_job(label.to_owned())],
    }
}
