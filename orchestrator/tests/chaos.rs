//! The drill that users can run too: a hundred kills of the orchestrator, and every other fault.

use std::process::Command;

fn chaos(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_cupola"))
        .arg("chaos")
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cupola chaos: {error}"));
    let (said, warned) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{warned}");
    // What this machine lacks is said, not passed over.
    said.lines().filter(|line| line.contains("skipped:")).for_each(|line| println!("{line}"));
    said.into_owned()
}

#[test]
fn a_hundred_kills_lose_nothing_and_double_nothing() {
    let said = chaos(&["--kills", "100", "--histories", "0", "--fault", "none"]);
    assert!(said.contains("| 100 orchestrators killed"), "{said}");
}

#[test]
fn every_fault_ends_with_each_step_committed_once() {
    let said = chaos(&["--kills", "0", "--histories", "0"]);
    assert_eq!(said.lines().count(), 2 + cupola::chaos::FAULTS.len(), "{said}");
    for row in said.lines().filter(|row| !row.contains("skipped:")) {
        assert!(include_str!("../FAULTS.md").contains(row), "FAULTS.md lacks: {row}");
    }
}
