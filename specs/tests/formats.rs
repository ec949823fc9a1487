//! Diagnostics in formats that other programs read.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod sarif_check;

use std::io;
use std::path::{Path, PathBuf};

use cupola_specs::spec::{self, Code, Diagnostics, Environment, Format};

/// The files of `tests/broken`.
struct Fixture;

impl Environment for Fixture {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn home(&self) -> Option<PathBuf> {
        None
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(folder().join(path))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken")
}

/// The diagnostics of every broken spec.
fn all() -> Vec<(String, Diagnostics)> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| Path::new(name).extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let errors = spec::load(Path::new(&name), &[], &Fixture).unwrap_err();
            (name, errors)
        })
        .collect()
}

fn cycle() -> Diagnostics {
    spec::load(Path::new("cycle_through_parts.yaml"), &[], &Fixture).unwrap_err()
}

#[test]
fn each_sarif_log_is_what_the_standard_demands() {
    for (name, errors) in all() {
        let log: serde_json::Value = serde_json::from_str(&errors.to_format(Format::Sarif)).unwrap();
        let problems = sarif_check::check(&log);
        assert!(problems.is_empty(), "{name}: {problems:#?}");
        assert_eq!(log["runs"][0]["results"].as_array().map(Vec::len), Some(errors.0.len()));
    }
}

#[test]
fn the_check_finds_what_is_wrong_with_a_log() {
    let log: serde_json::Value = serde_json::from_str(&cycle().to_format(Format::Sarif)).unwrap();
    let changes: [fn(&mut serde_json::Value); 8] = [
        |log| log["version"] = "2.0.0".into(),
        |log| log["runs"][0]["tool"]["driver"]["name"] = serde_json::Value::Null,
        |log| log["runs"][0]["results"][0]["message"] = serde_json::json!({}),
        |log| log["runs"][0]["results"][0]["ruleId"] = "E0000".into(),
        |log| log["runs"][0]["results"][0]["severity"] = "error".into(),
        |log| log["runs"][0]["results"][0]["level"] = "fatal".into(),
        |log| {
            log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["region"]["startColumn"] =
                0.into();
        },
        |log| {
            log["runs"][0]["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] =
                "a b".into();
        },
    ];
    assert!(sarif_check::check(&log).is_empty());
    for change in changes {
        let mut changed = log.clone();
        change(&mut changed);
        assert!(!sarif_check::check(&changed).is_empty(), "{changed:#}");
    }
}

#[test]
fn a_result_says_code_place_and_what_was_meant() {
    let errors = spec::load(Path::new("unknown_job.yaml"), &[], &Fixture).unwrap_err();
    let log: serde_json::Value = serde_json::from_str(&errors.to_format(Format::Sarif)).unwrap();
    insta::assert_json_snapshot!(log["runs"][0]["results"]);
    let rules = log["runs"][0]["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), Code::ALL.len());
    assert!(
        rules.iter().all(|rule| rule["help"]["text"].as_str().is_some_and(|text| text.contains("Right:")))
    );
    insta::assert_snapshot!(cycle().to_format(Format::Github));
}

#[test]
fn each_github_command_is_one_line_with_its_place() {
    for (name, errors) in all() {
        let text = errors.to_format(Format::Github);
        assert_eq!(text.lines().count(), errors.0.len(), "{name}: {text}");
        for (line, d) in text.lines().zip(errors.iter()) {
            let head = format!(",line={},col={},", d.origin.line, d.origin.column);
            assert!(line.starts_with("::error file=") && line.contains(&head), "{line}");
            assert!(line.contains(&format!(",title={}::", d.code.as_str())), "{line}");
        }
    }
}

#[test]
fn a_value_of_the_command_line_has_no_file() {
    let sets = [("jobs.base.tokens".to_owned(), "2m".to_owned())];
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("quickstart.yaml");
    let errors = spec::load(&path, &sets, &spec::ProcessEnvironment).unwrap_err();
    let log: serde_json::Value = serde_json::from_str(&errors.to_format(Format::Sarif)).unwrap();
    assert!(sarif_check::check(&log).is_empty());
    let place = &log["runs"][0]["results"][0]["locations"][0]["logicalLocations"][0];
    assert_eq!(place["fullyQualifiedName"], "--set jobs.base.tokens");
    assert!(errors.to_format(Format::Github).starts_with("::error title=E0302::`m` is not a unit"));
}
