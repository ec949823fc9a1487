use cupola_specs::job::StepKind;

use super::*;
use crate::state::{Expected, Fact, State, StateDir};

/// A step that reads these: role, fingerprint, step; an input without a step is a folder.
pub(crate) fn planned(
    name: &str,
    kind: StepKind,
    fingerprint: &str,
    reads: &[(&str, &str, &str)],
) -> PlannedStep {
    PlannedStep {
        name: name.into(),
        job: name.into(),
        kind,
        fingerprint: fingerprint.into(),
        code_version: 1,
        params: serde_json::Value::Null,
        inputs: reads.iter().map(|(role, print, _)| ((*role).to_owned(), (*print).to_owned())).collect(),
        needs: reads.iter().filter(|read| !read.2.is_empty()).map(|read| read.2.to_owned()).collect(),
        sources: BTreeMap::new(),
        seed: 1,
        cores: 1,
        cached: false,
        reason: "never ran".into(),
        training_flops: 0.0,
        trainings: serde_json::Value::Null,
        expected: Expected::default(),
    }
}

/// corpus → vocab → base (reads both) → chat (base and a folder) → report (base and chat); each digit is a version.
fn chain(versions: [u32; 6]) -> Vec<PlannedStep> {
    let [corpus, vocab, base, folder, chat, report] =
        versions.map(|version| move |name: &str| format!("{name}-{version}"));
    let (corpus, vocab, base, folder, chat) =
        (corpus("corpus"), vocab("vocab"), base("base"), folder("folder"), chat("chat"));
    vec![
        planned("corpus", StepKind::Data, &corpus, &[]),
        planned("vocab", StepKind::Tokenizer, &vocab, &[("corpus", &corpus, "corpus")]),
        planned(
            "base",
            StepKind::Pretrain,
            &base,
            &[("tokens", &corpus, "corpus"), ("tokenizer", &vocab, "vocab")],
        ),
        planned("chat", StepKind::Sft, &chat, &[("model", &base, "base"), ("data.0", &folder, "")]),
        planned(
            "report",
            StepKind::Eval,
            &report("report"),
            &[("model.a", &base, "base"), ("model.b", &chat, "chat")],
        ),
    ]
}

fn name_of(found: Option<ChangedStep<'_>>) -> Option<String> {
    found.map(|changed| changed.newer.name.clone())
}

#[test]
fn the_first_changed_step_is_the_one_whose_inputs_are_equal() {
    let before = chain([1, 1, 1, 1, 1, 1]);
    for (versions, expected) in [
        ([1, 1, 1, 1, 1, 1], None),
        ([2, 2, 2, 1, 2, 2], Some("corpus")),
        ([1, 2, 2, 1, 2, 2], Some("vocab")),
        ([1, 1, 2, 1, 2, 2], Some("base")),
        // A folder is an input that no step made: its reader is where it began.
        ([1, 1, 1, 2, 2, 2], Some("chat")),
        ([1, 1, 1, 1, 1, 2], Some("report")),
        // Two changes: the earlier one.
        ([1, 1, 2, 2, 2, 2], Some("base")),
        // A corpus that changed and gave the same vocabulary all the same.
        ([2, 1, 2, 1, 2, 2], Some("corpus")),
    ] {
        let now = chain(versions);
        assert_eq!(name_of(first_changed(&before, &now)).as_deref(), expected, "{versions:?}");
    }
}

#[test]
fn a_reader_of_another_step_is_the_change_and_not_that_step() {
    let before = chain([1, 1, 1, 1, 1, 1]);
    let mut now = chain([1, 1, 2, 1, 2, 2]);
    now.insert(1, planned("other", StepKind::Data, "other-1", &[]));
    now[3].inputs.insert("tokens".into(), "other-1".into());
    now[3].needs = vec!["other".into(), "vocab".into()];
    assert_eq!(name_of(first_changed(&before, &now)).as_deref(), Some("base"));
}

#[test]
fn a_lineage_is_read_from_the_journal_without_what_is_only_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let dir = StateDir::new(folder.path());
    let mut steps = chain([1, 1, 1, 1, 1, 1]);
    steps.insert(0, planned("first", StepKind::Data, "first-1", &[]));
    steps[3].needs.push("first".into());
    steps.push(planned("later", StepKind::Eval, "later-1", &[("model.a", "base-1", "base")]));
    let created = Fact::RunCreated {
        run: "t-1".into(),
        spec_name: "t".into(),
        spec_path: "t.yaml".into(),
        plan_hash: String::new(),
    };
    let mut state = State::open(&dir, "test").unwrap();
    let plan = steps.chunks(2).map(|some| Fact::StepsPlanned { run: "t-1".into(), steps: some.to_vec() });
    state.record(std::iter::once(created).chain(plan).collect()).unwrap();
    let projection = state.projection();
    let run = projection.run("t-1").unwrap();
    let names = |step: &str| -> Vec<String> {
        lineage_of(projection, run, step).unwrap().into_iter().map(|step| step.name).collect()
    };
    assert_eq!(names("report"), ["corpus", "vocab", "base", "chat", "report"]);
    assert_eq!(names("later"), ["corpus", "vocab", "base", "later"]);
    assert_eq!(names("nothing"), Vec::<String>::new());
}
