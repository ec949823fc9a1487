//! The recipes that ship with Cupola resolve, and mean what they say.

mod schema_check;

use std::io;
use std::path::{Path, PathBuf};

use cupola_specs::spec::{self, Environment, ProcessEnvironment, ResolvedSpec, Template};

#[test]
fn the_quickstart_resolves() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("quickstart.yaml");
    let spec = match spec::load(&path, &[], &ProcessEnvironment) {
        Ok(spec) => spec,
        Err(errors) => panic!("{errors}"),
    };
    let names: Vec<&str> = spec.jobs.iter().map(|job| job.name.as_str()).collect();
    assert_eq!(names, ["corpus", "vocab", "law", "base", "assistant", "aligned", "report"]);
}

/// A world with nothing in it.
struct Nowhere;

impl Environment for Nowhere {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn home(&self) -> Option<PathBuf> {
        Some(PathBuf::from("/home/user"))
    }

    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
}

fn resolve(text: &str) -> ResolvedSpec {
    match spec::parse(Path::new("cupola.yaml"), text.as_bytes(), &[], &Nowhere) {
        Ok(spec) => spec,
        Err(errors) => panic!("{errors}"),
    }
}

#[test]
fn each_template_resolves_and_the_schema_takes_it() {
    for template in Template::ALL {
        let spec = resolve(template.text());
        assert_eq!(spec.name, template.as_str());
        let yaml = serde_yaml::from_str(template.text()).unwrap();
        let problems = schema_check::check(&spec::schema(), &yaml);
        assert!(problems.is_empty(), "{}: {problems:#?}", template.as_str());
        assert!(template.text().starts_with("# yaml-language-server: $schema=./schema.json\n"));
        assert!(template.text().lines().filter(|line| line.trim_start().starts_with("# ")).count() >= 8);
    }
}

/// The commented quickstart is the one that ships, tuned and measured.
#[test]
fn the_quickstart_template_means_what_the_quickstart_means() {
    let bodies = |text: &str| {
        let mut value = serde_json::to_value(resolve(text)).unwrap();
        value.as_object_mut().unwrap().remove("origins");
        for key in ["jobs", "schedules"] {
            for entry in value[key].as_array_mut().unwrap() {
                entry.as_object_mut().unwrap().remove("origin");
            }
        }
        value
    };
    assert_eq!(bodies(Template::Quickstart.text()), bodies(include_str!("../quickstart.yaml")));
}
