//! The page: one file, no script, nothing loaded from anywhere.

use minijinja::{AutoEscape, Environment, context};

use super::format::time;
use super::sections::{Section, sections};
use super::{ReportError, ReportFacts, Verdict, headlines};

const PAGE: &str = include_str!("page.html.jinja");
/// The style of every page.
pub(crate) const STYLE: &str = include_str!("page.css");

/// A heading of the contents list.
#[derive(serde::Serialize)]
struct Headlined {
    title: String,
    value: String,
    detail: String,
    class: &'static str,
    word: &'static str,
}

/// The page of these facts.
pub(super) fn render(facts: &ReportFacts) -> Result<String, ReportError> {
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_trim_blocks(true);
    environment.set_lstrip_blocks(true);
    environment.add_function("key", |class: &str| key(class));
    environment.add_template("page", PAGE)?;
    let cards: Vec<Headlined> = headlines(facts)
        .into_iter()
        .map(|headline| Headlined {
            title: headline.title,
            value: headline.value,
            detail: headline.detail,
            class: headline.verdict.as_str(),
            word: word(headline.verdict),
        })
        .collect();
    let sections: Vec<Section> = sections(facts);
    let page = environment.get_template("page")?.render(context! {
        style => STYLE,
        name => facts.run.spec_name,
        run => facts.run.id,
        state => facts.run.state.as_str(),
        begun => time(facts.run.created_millis),
        ended => time(facts.run.ended_millis),
        version => facts.run.version,
        served => facts.served,
        cards,
        problems => problems(facts),
        sections,
    })?;
    Ok(page)
}

/// The small drawing beside a legend's entry.
fn key(class: &str) -> String {
    match class.split(' ').next().unwrap_or("") {
        "dots" => format!(r#"<circle class="{class}" cx="11" cy="6" r="4.5"/>"#),
        "box" => format!(r#"<rect class="{class}" x="3" y="0" width="16" height="12" rx="3"/>"#),
        "forecast" => format!(r#"<path class="{class}" d="M11 1l5 5l-5 5l-5 -5z"/>"#),
        "star" => format!(r#"<path class="{class}" d="{}"/>"#, super::chart::star(11.0, 6.0, 6.5)),
        _ => format!(r#"<path class="{class}" d="M1 6H21"/>"#),
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "holds",
        Verdict::Unclear => "unclear",
        Verdict::Bad => "does not hold",
        Verdict::Plain => "",
    }
}

/// What a reader must know before any number: failed steps, and files that could not be read.
pub(super) fn problems(facts: &ReportFacts) -> Vec<String> {
    let mut lines = Vec::new();
    for step in &facts.steps {
        if let (crate::state::StepState::Failed, Some(failure)) = (step.state, &step.error) {
            let hint = if failure.hint.is_empty() { String::new() } else { format!(" – {}", failure.hint) };
            lines.push(format!("{} failed ({}): {}{hint}", step.name, failure.code, failure.message));
        } else if matches!(step.state, crate::state::StepState::Blocked | crate::state::StepState::Cancelled)
        {
            lines.push(format!("{} is {}: {}", step.name, step.state.as_str(), step.reason));
        }
    }
    lines.extend(facts.unreadable.iter().map(|(file, reason)| format!("{file} could not be read: {reason}")));
    lines
}

#[cfg(test)]
mod tests {
    use super::super::invented;
    use cupola_specs::artifact::RuleExample;

    use super::*;

    #[test]
    fn the_page_loads_nothing_and_escapes_what_models_write() {
        let mut facts = invented::facts();
        let attack = "<script>alert(1)</script><img src=x onerror=alert(1)>";
        facts.run.spec_name = attack.into();
        facts.steps[0].name = attack.into();
        facts.evals[0].facts.samples[0].prompt = attack.into();
        facts.evals[0].facts.samples[0].answers[0].1 = attack.into();
        facts.evals[0].facts.rows[0].model = attack.into();
        facts.corpora[0].facts.rules[0].examples.push(RuleExample {
            document: attack.into(),
            file: attack.into(),
            excerpt: attack.into(),
        });
        let page = render(&facts).unwrap();
        assert!(!page.contains("<script") && !page.contains("<img"), "markup of a model reached the page");
        for sign in ["http://", "https://", "src=", "@import", "url("] {
            let found = page.find(sign).map(|at| &page[at.saturating_sub(60)..(at + 60).min(page.len())]);
            assert!(found.is_none() || sign == "src=", "{sign}: {found:?}");
        }
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn every_figure_and_section_has_a_name_for_screen_readers() {
        let page = render(&invented::facts()).unwrap();
        let named = page.matches("role=\"img\"").count() + page.matches("aria-hidden=\"true\"").count();
        assert_eq!(page.matches("<svg").count(), named);
        assert!(page.starts_with("<!doctype html>\n<html lang=\"en\">"));
        assert_eq!(page.matches("<h1").count(), 1);
        assert_eq!(page.matches("<section").count(), page.matches("</section>").count());
        for (open, close) in
            [("<table", "</table>"), ("<figure", "</figure>"), ("<svg", "</svg>"), ("<div", "</div>")]
        {
            assert_eq!(page.matches(open).count(), page.matches(close).count(), "{open}");
        }
    }

    #[test]
    fn a_failed_run_without_artifacts_still_has_a_page_that_says_why() {
        let facts = invented::failed();
        let page = render(&facts).unwrap();
        assert!(page.contains("nan_loss") && page.contains("lower the learning rate"));
        assert!(!page.contains("Evaluation</h2>"));
    }
}
