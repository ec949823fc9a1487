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
        .filter(|name| name.ends_with(".yaml"))
        .collect();
    names.sort();
    assert!(names.len() >= 40);
    for name in names {
        let errors = match spec::load(Path::new(&name), &[], &Fixture) {
            Ok(_) => panic!("{name} is accepted"),
            Err(errors) => errors,
        };
        insta::assert_snapshot!(name.trim_end_matches(".yaml"), errors.to_text());
    }
}
