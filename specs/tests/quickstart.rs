//! The recipes that ship with Cupola resolve, and mean what they say.

use std::path::Path;

use cupola_specs::spec::{self, ProcessEnvironment};

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
