//! Changes that change nothing that a spec says, and what lies outside a spec.

use std::collections::{BTreeMap, BTreeSet};

use cupola::plan::{FileHashes, Machine, Plan, lower};
use serde_yaml::Value;

use super::emit::{double, emit, single};
use super::world::{MACHINE, World, changed, documents, plan, text_of};

fn fingerprints(plan: &Plan) -> BTreeMap<String, String> {
    plan.steps.iter().map(|planned| (planned.step.name.clone(), planned.fingerprint.clone())).collect()
}

/// Mappings with their keys the other way round, at every depth.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Mapping(map) => {
            let mut entries: Vec<(Value, Value)> =
                map.iter().map(|(key, value)| (key.clone(), reversed(value))).collect();
            entries.reverse();
            Value::Mapping(entries.into_iter().collect())
        }
        Value::Sequence(items) => Value::Sequence(items.iter().map(reversed).collect()),
        other => other.clone(),
    }
}

#[test]
fn how_a_spec_is_written_runs_nothing_again() {
    let world = World::new();
    for (name, document) in documents() {
        let text = text_of(&document);
        let before = fingerprints(&world.plan_of(&text));
        let commented = text.replace('\n', "   # why\n\n# a line: of its own\n");
        let texts: [(&str, String); 7] = [
            ("comments", commented),
            ("the order of keys", text_of(&reversed(&document))),
            ("one line", serde_json::to_string(&document).unwrap()),
            ("single quotes", emit(&document, 2, &single).text),
            ("wide indents", emit(&document, 7, &double).text),
            ("line ends of other systems", text.replace('\n', "\r\n")),
            ("the words of another writer", serde_yaml::to_string(&document).unwrap()),
        ];
        for (change, text) in texts {
            assert_eq!(fingerprints(&world.plan_of(&text)), before, "{name}: {change}");
        }
    }
}

#[test]
fn where_a_spec_stands_runs_nothing_again() {
    let world = World::new();
    for (name, mut document) in documents() {
        let text = text_of(&document);
        let before = fingerprints(&world.plan_of(&text));
        // The name of a step may hold the path of a folder that it reads; its fingerprint does not.
        let sorted = |steps: &BTreeMap<String, String>| steps.values().cloned().collect::<BTreeSet<_>>();
        let elsewhere = fingerprints(&World::new().plan_of(&text));
        assert_eq!(sorted(&elsewhere), sorted(&before), "{name}: another folder");
        let renamed = world.load_as("renamed.yml", &text).unwrap();
        assert_eq!(fingerprints(&plan(&renamed).unwrap()), before, "{name}: another file name");
        let jobs = document.as_mapping_mut().unwrap().remove("jobs").unwrap();
        let mut included = serde_yaml::Mapping::new();
        included.insert("cupola".into(), "v1".into());
        included.insert("jobs".into(), jobs);
        std::fs::write(world.path().join("jobs.yaml"), text_of(&Value::Mapping(included))).unwrap();
        document["include"] = Value::from("./jobs.yaml");
        assert_eq!(fingerprints(&world.plan_of(&text_of(&document))), before, "{name}: jobs in another file");
    }
}

const SMALL: &str = "cupola: v1
name: small
jobs:
  corpus: { kind: data, seed: 7, sources: [{ name: only, format: text, paths: [./src/*.txt] }] }
  vocab: { kind: tokenizer, seed: 7, corpus: corpus, vocab_size: 300 }
  base: { kind: pretrain, seed: 7, corpus: corpus, tokenizer: vocab, model: { depth: 2 }, tokens: 1M }
";

#[test]
fn a_value_counts_and_not_how_it_came_to_be() {
    let world = World::new();
    let before = world.plan_of(SMALL);
    let with_vars =
        SMALL.replace("jobs:", "vars: { d: 2 }\njobs:").replace("depth: 2", "depth: \"${vars.d}\"");
    let same = [
        with_vars.clone(),
        SMALL.replace("seed: 7, ", "").replace("jobs:", "defaults: { seed: 7 }\njobs:"),
        SMALL.replacen("seed: 7", "seed: &seed 7", 1).replace("seed: 7", "seed: *seed"),
        SMALL.replace("tokens: 1M", "tokens: 1000K"),
        SMALL.replace("tokens: 1M", "tokens: 1e6"),
        SMALL.replace("{ depth: 2 }", "{ depth: 2, arch: transformer }"),
    ];
    for text in same {
        assert_eq!(fingerprints(&world.plan_of(&text)), fingerprints(&before), "{text}");
    }
    let other = world.plan_of(&with_vars.replace("d: 2", "d: 3"));
    assert_eq!(changed(&before, &other).into_iter().collect::<Vec<_>>(), ["base"]);
}

#[test]
fn of_a_source_file_content_and_name_count() {
    let world = World::new();
    let before = world.plan_of(SMALL);
    let file = world.path().join("src/a.txt");
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes).unwrap();
    assert_eq!(fingerprints(&world.plan_of(SMALL)), fingerprints(&before), "written again");
    std::fs::rename(world.path().join("src"), world.path().join("moved")).unwrap();
    let moved = SMALL.replace("./src/", "./moved/");
    assert_eq!(fingerprints(&world.plan_of(&moved)), fingerprints(&before), "another folder");
    let file = world.path().join("moved/a.txt");
    let every: Vec<String> = before.steps.iter().map(|planned| planned.step.name.clone()).collect();
    let differ = || changed(&before, &world.plan_of(&moved)).into_iter().collect::<Vec<_>>();
    let mut other = bytes.clone();
    other[0] ^= 1;
    std::fs::write(&file, &other).unwrap();
    assert_eq!(differ().len(), every.len(), "one byte");
    std::fs::write(&file, &bytes).unwrap();
    assert!(differ().is_empty(), "the byte as it was");
    std::fs::rename(&file, world.path().join("moved/c.txt")).unwrap();
    assert_eq!(differ().len(), every.len(), "another name");
}

#[test]
fn an_outside_artifact_counts_by_its_content() {
    let world = World::new();
    let (_, document) = documents().swap_remove(1);
    let text = text_of(&document);
    let before = world.plan_of(&text);
    std::fs::write(world.path().join("folders/model_a/content"), "other").unwrap();
    let differ = changed(&before, &world.plan_of(&text));
    assert!(
        ["assistant", "dpo/optimize", "ppo/preferences", "report"].iter().all(|name| differ.contains(*name))
    );
    assert!(!differ.contains("vocab") && !differ.contains("base"), "{differ:?}");
}

#[test]
fn of_a_machine_only_the_number_format_counts() {
    let world = World::new();
    let spec = world.load(SMALL).unwrap();
    let on = |machine: Machine| {
        let steps = lower(&spec, machine).unwrap();
        Plan::build(&spec.name, &spec.file, steps, &mut FileHashes::default()).unwrap()
    };
    let before = on(MACHINE);
    assert!(changed(&before, &on(Machine { cores: 64, ..MACHINE })).is_empty());
    for machine in [Machine { cpu_bf16: true, ..MACHINE }, Machine { devices: 1, ..MACHINE }] {
        assert_eq!(changed(&before, &on(machine)).into_iter().collect::<Vec<_>>(), ["base"]);
    }
}
