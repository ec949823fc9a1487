//! What must stay apart, and what must stay fast enough to be typed without thinking.

use std::process::Command;
use std::time::{Duration, Instant};

use cupola_tests::{House, repository};

#[test]
fn the_orchestrator_and_the_specs_never_reach_the_tensor_library() {
    for package in ["cupola", "cupola-specs"] {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--locked",
                "--offline",
                "--edges",
                "normal,build",
                "--prefix",
                "none",
                "-p",
                package,
            ])
            .current_dir(repository())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let tree = String::from_utf8(output.stdout).unwrap();
        assert!(tree.contains("serde"), "the tree of {package} is read");
        assert!(!tree.contains("torch-sys"), "{package} reaches torch-sys:\n{tree}");
    }
}

/// The fastest of a few runs: the machine may be busy, the program is not.
fn fastest(house: &House, arguments: &[&str]) -> Duration {
    (0..15)
        .map(|_| {
            let begin = Instant::now();
            house.ok(arguments).unwrap();
            begin.elapsed()
        })
        .min()
        .unwrap()
}

#[test]
fn help_and_validate_answer_before_a_person_notices() {
    let house = House::new().unwrap();
    let limit = Duration::from_millis(20);
    for arguments in [&["--help"][..], &["validate", "spec.yaml"]] {
        let took = fastest(&house, arguments);
        assert!(took < limit, "cupola {} took {took:?}", arguments.join(" "));
    }
}
