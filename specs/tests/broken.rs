//! Every rule of the language, broken once: the diagnostic names the right file, line and column.

use std::io;
use std::path::{Path, PathBuf};

use cupola_specs::spec::{self, Environment};

/// The files of `tests/broken`, a fixed home, and no environment variable.
struct Fixture;

impl Environment for Fixture {
    fn variable(&self, _name: &str) -> Option<String> {
        None
    }

    fn home(&self) -> Option<PathBuf> {
        Some(PathBuf::from("/home/user"))
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(folder().join(path))
    }
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken")
}

#[test]
fn each_broken_spec_is_told_where_and_why() {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter_map(|name| name.strip_suffix(".yaml").map(str::to_owned))
        .collect();
    names.sort();
    assert!(names.len() >= 120, "{}", names.len());
    for name in names {
        let Err(errors) = spec::load(Path::new(&format!("{name}.yaml")), &[], &Fixture) else {
            panic!("{name} is accepted");
        };
        insta::assert_snapshot!(name, errors.to_text());
    }
}
