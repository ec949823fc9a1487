//! `cupola export --for`: a pretraining for another engine, before it has run.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use cupola_tests::House;

#[test]
fn a_pretraining_is_handed_over_before_it_has_run() {
    let house = House::new().unwrap();
    let export = |engine: &str| {
        ["export", "base", "--for", engine, "--spec", "spec.yaml", "--out", engine].map(str::to_owned)
    };
    let refused = house.run(export("megatron")).unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(
        text.contains("`tokens[corpus,vocab]`") && text.contains("--only 'tokens[corpus,vocab]'"),
        "{text}"
    );
    house.ok(["apply", "spec.yaml", "--only", "tokens[corpus,vocab]"]).unwrap();
    for engine in ["megatron", "torchtitan"] {
        let said = house.ok(export(engine)).unwrap();
        println!("{said}");
        assert!(said.contains("context.packing") && said.contains("context.extend"), "{said}");
        let page = fs::read_to_string(house.path().join(engine).join("README.md")).unwrap();
        assert!(said.lines().skip(2).all(|line| page.contains(line.trim())), "{page}");
        let mode = fs::metadata(house.path().join(engine).join("train.sh")).unwrap().permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{engine}: train.sh can be run");
        for file in ["train.sh", "tokenizer/tokenizer.json", "tokenizer/config.json"] {
            assert!(house.path().join(engine).join(file).is_file(), "{engine}: {file}");
        }
    }
    let tokens = house.artifact("tokens[corpus,vocab]").unwrap();
    for domain in ["code", "docs"] {
        for side in ["train", "validation"] {
            let file = format!("data/{side}/{domain}");
            let ids = fs::read(house.path().join("megatron").join(format!("{file}.bin"))).unwrap();
            assert_eq!(ids, fs::read(tokens.join(side).join(format!("{domain}.bin"))).unwrap(), "{file}");
            let text = house.path().join("torchtitan").join(format!("{file}.jsonl"));
            let documents = fs::read_to_string(text).unwrap().lines().count() as u64;
            let idx = fs::read(house.path().join("megatron").join(format!("{file}.idx"))).unwrap();
            assert_eq!(u64::from_le_bytes(idx[18..26].try_into().unwrap()), documents, "{file}");
        }
    }
    let again = house.run(export("megatron")).unwrap();
    assert_eq!(again.status.code(), Some(2), "a folder that is not empty is left alone");
    house
        .edit_spec("depth: 1 }\n    tokens: 80K", "depth: 1, sliding_window: 32 }\n    tokens: 80K")
        .unwrap();
    let other = ["export", "base", "--for", "torchtitan", "--spec", "spec.yaml", "--out", "other"];
    let refused = house.run(other).unwrap();
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && text.contains("no sliding window"), "{text}");
}
