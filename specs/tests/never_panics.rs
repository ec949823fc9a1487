//! No input makes the parser panic: random bytes, random YAML-like text, and the quickstart with pieces cut, doubled and changed.

use std::io;
use std::path::{Path, PathBuf};

use cupola_specs::spec::{self, Environment};
use proptest::prelude::*;

/// A world with one file, so that includes run too.
struct World(Vec<u8>);

impl Environment for World {
    fn variable(&self, name: &str) -> Option<String> {
        name.len().is_multiple_of(2).then(|| name.to_owned())
    }

    fn home(&self) -> Option<PathBuf> {
        None
    }

    fn read(&self, _path: &Path) -> io::Result<Vec<u8>> {
        Ok(self.0.clone())
    }
}

/// Parses and renders: neither may panic, and what is refused is refused for a reason.
fn try_all(bytes: &[u8]) {
    let world = World(bytes.to_vec());
    if let Err(errors) = spec::parse(Path::new("a.yaml"), bytes, &[], &world) {
        assert!(!errors.0.is_empty() && !errors.to_text().is_empty());
        assert!(errors.iter().all(|d| d.length >= 1));
    }
}

const QUICKSTART: &str = include_str!("../quickstart.yaml");

const PIECES: &[&str] = &[
    "null",
    "[]",
    "{}",
    "-1",
    "1e999",
    "nan",
    "''",
    "${vars.depth}",
    "${env.X}",
    "${secret.K}",
    "${",
    "&a",
    "*a",
    "<<: *a",
    "cupola",
    "\t",
    "\n",
    "  ",
    ": ",
    "- ",
    "corpus.pairs",
    "include: [./a.yaml]",
    "matrix: { seed: [1, 2] }",
    "99999999999999999999",
    "0x10",
    ".inf",
    "\u{feff}",
    "🦀",
    "!!str",
    "? ",
    "|",
    ">",
    "%YAML 1.2",
    "---",
    "...",
    "#",
    "'",
    "\"",
    "{ path: . }",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        try_all(&bytes);
    }

    #[test]
    fn random_text(pieces in prop::collection::vec(prop::sample::select(PIECES), 0..60)) {
        try_all(pieces.concat().as_bytes());
    }

    #[test]
    fn changed_quickstart(edits in prop::collection::vec((any::<prop::sample::Index>(), 0_usize..30, prop::sample::select(PIECES)), 1..6)) {
        let mut text: Vec<char> = QUICKSTART.chars().collect();
        for (at, length, piece) in edits {
            let at = at.index(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, piece.chars());
        }
        try_all(text.into_iter().collect::<String>().as_bytes());
    }

    #[test]
    fn changed_words(edits in prop::collection::vec((any::<prop::sample::Index>(), prop::sample::select(PIECES)), 1..4)) {
        let mut words: Vec<&str> = QUICKSTART.split_inclusive(' ').collect();
        for (at, piece) in edits {
            let at = at.index(words.len());
            words[at] = piece;
        }
        try_all(words.concat().as_bytes());
    }
}

#[test]
fn hostile_sizes_are_refused_fast() {
    let start = std::time::Instant::now();
    try_all(&vec![b'['; 100_000]);
    try_all(&vec![b'{'; 100_000]);
    try_all(&b"a: ".repeat(100_000));
    try_all(&b"- ".repeat(100_000));
    try_all(&vec![b'x'; 2 << 20]);
    let chain: Vec<String> =
        (1..5000).map(|i| format!("  v{}: \"${{vars.v{i}}}${{vars.v{i}}}\"", i - 1)).collect();
    let chain = chain.join("\n") + "\n";
    try_all(format!("cupola: v1\nname: x\nvars:\n{chain}jobs: {{}}\n").as_bytes());
    let path = "a.".repeat(100_000);
    try_all(
        format!("cupola: v1\nname: x\njobs: {{ a: {{ kind: data, matrix: {{ {path}a: [1] }} }} }}\n")
            .as_bytes(),
    );
    let long: Vec<String> =
        (1..2000).map(|i| format!("  j{}: {{ kind: sft, model: j{i}, data: [] }}", i - 1)).collect();
    let long = long.join("\n");
    try_all(format!("cupola: v1\nname: x\njobs:\n{long}").as_bytes());
    assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
}
