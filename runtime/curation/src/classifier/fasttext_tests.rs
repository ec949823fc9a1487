use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

fn fixture(name: &str) -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "src", "classifier", "fixtures", name].iter().collect()
}

#[derive(serde::Deserialize)]
struct Expected {
    texts: Vec<String>,
    models: BTreeMap<String, Vec<BTreeMap<String, f32>>>,
}

/// fastText prints a probability plus 1e-5, and for a tree the product of such; where nothing is known it gives no label.
#[test]
fn every_kind_of_model_predicts_what_fasttext_does() {
    let expected: Expected =
        serde_json::from_str(&std::fs::read_to_string(fixture("expected.json")).unwrap()).unwrap();
    assert_eq!(expected.models.len(), 8);
    let mut scratch = Scratch::default();
    for (name, predictions) in &expected.models {
        let model = FastText::open(&fixture(name)).unwrap();
        for (text, expected) in expected.texts.iter().zip(predictions) {
            let found = model.predict(text, &mut scratch).to_vec();
            for (label, found) in model.labels().iter().zip(found) {
                let expected = expected.get(label).copied().unwrap_or(0.0);
                assert!(
                    (found - expected).abs() < 5e-5,
                    "{name} {text:?} {label}: {found}, expected {expected}"
                );
            }
        }
    }
}

#[test]
fn both_forms_of_the_scores_are_read() {
    let of = |name| FastText::open(&fixture(name)).unwrap().scores;
    assert!(matches!(of("words.bin"), Scores::Folded { labels: 5, .. }));
    assert!(matches!(of("narrow.bin"), Scores::Factored { dim: 3, .. }));
}

#[test]
fn word_vectors_and_other_files_are_refused_by_name() {
    let refused = |name| FastText::open(&fixture(name)).unwrap_err().to_string();
    assert!(refused("vectors.bin").contains("word vectors"), "{}", refused("vectors.bin"));
    assert!(refused("expected.json").contains("not a model of fastText's"));
    assert!(refused("absent.bin").contains("absent.bin"));
}

#[test]
fn a_damaged_file_is_an_error_or_a_model_but_no_panic() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    let mut scratch = Scratch::default();
    for name in ["characters.bin", "pruned.ftz", "tree.bin"] {
        let bytes = std::fs::read(fixture(name)).unwrap();
        // The head and the dictionary byte by byte, the numbers behind them now and then.
        for at in (0..bytes.len().min(4000)).step_by(7).chain((0..bytes.len()).step_by(997)) {
            for value in [0, 0x7f, 0xff, bytes[at] ^ 1] {
                let mut damaged = bytes.clone();
                damaged[at] = value;
                std::fs::write(&path, &damaged).unwrap();
                if let Ok(model) = FastText::open(&path) {
                    model.predict("the ship of soup", &mut scratch);
                }
            }
        }
        for end in (0..bytes.len()).step_by(301) {
            std::fs::write(&path, &bytes[..end]).unwrap();
            assert!(FastText::open(&path).is_err(), "{name} {end}");
        }
    }
}

#[test]
fn a_tree_has_each_label_once() {
    for counts in [&[1_i64][..], &[9, 5, 5, 1], &[3, 3, 3], &[i64::MAX, i64::MAX, 0, -4]] {
        let branches = tree(counts);
        assert_eq!(branches.len() + 1, counts.len());
        let mut out = Vec::new();
        walk(&branches, &vec![0.3; counts.len()], counts.len(), &mut out);
        assert!((out.iter().sum::<f32>() - 1.0).abs() < 1e-5 && out.iter().all(|p| *p > 0.0), "{out:?}");
    }
}
