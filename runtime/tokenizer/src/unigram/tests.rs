//! Training on small texts: what has to hold of every model.

use super::*;
use crate::train::{Ended, PieceCounts, TrainError, TrainerSettings};
use crate::{AddedToken, Splitter};

const TEXT: &str = "the cat sat on the mat and the other cats were sitting on other mats while the rats kept scattering \
    across the scattered mats; nothing else mattered to the cats, the rats or the bats at that matinee, naïve or not. ";

fn pieces() -> PieceCounts {
    let text = TEXT.repeat(3) + &TEXT.to_uppercase();
    text.split_inclusive(' ').map(|piece| (piece.as_bytes(), 1)).collect()
}

fn settings(vocab_size: usize) -> TrainerSettings {
    TrainerSettings::new(vocab_size, &["<|end|>".to_owned(), "<|pad|>".to_owned()])
}

fn train(pieces: &PieceCounts, vocab_size: usize) -> UnigramTrained {
    train_unigram(pieces, &settings(vocab_size), &UnigramSettings::default(), &mut |_| {}).unwrap()
}

fn num_tokens(model: &Unigram, pieces: &PieceCounts) -> u64 {
    let (mut room, mut ids, mut sum) = (Viterbi::default(), Vec::new(), 0);
    for (piece, count) in pieces.iter() {
        ids.clear();
        model.encode_piece(piece, &mut room, &mut ids);
        let bytes: Vec<u8> = ids.iter().flat_map(|id| model.tokens()[*id as usize].clone()).collect();
        assert_eq!(bytes, piece);
        sum += ids.len() as u64 * count;
    }
    sum
}

#[test]
fn a_model_has_the_size_the_specials_the_bytes_and_more_tokens_are_better() {
    let pieces = pieces();
    let (small, large) = (train(&pieces, 270), train(&pieces, 300));
    for (trained, size) in [(&small, 270), (&large, 300)] {
        assert_eq!((trained.model.tokens().len(), trained.ended), (size, Ended::Full));
        assert_eq!(trained.model.tokens()[..2], [b"<|end|>".to_vec(), b"<|pad|>".to_vec()]);
        assert_eq!(trained.model.specials(), [0, 1]);
        assert_eq!(trained.expected.len(), size);
        let probability: f64 = trained.model.scores()[2..].iter().map(|score| score.exp()).sum();
        assert!(probability < 1.0 && probability > 0.6, "{probability}");
    }
    assert!(large.log_likelihood_per_byte > small.log_likelihood_per_byte);
    assert!(num_tokens(&large.model, &pieces) < num_tokens(&small.model, &pieces));
    let unseen: PieceCounts = [("日本語\u{0}".as_bytes(), 1), (b"\xff\xfe", 1)].into_iter().collect();
    assert_eq!(num_tokens(&large.model, &unseen), 12);
    let likely = large.model.log_likelihoods([&b"the "[..], b"eht "].into_iter());
    assert!(likely[0] > likely[1], "{likely:?}");
}

#[test]
fn the_model_does_not_depend_on_threads() {
    let pieces = pieces();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let trained = pool.install(|| train(&pieces, 290));
        let bits: Vec<u64> =
            trained.model.scores().iter().chain(&trained.expected).map(|score| score.to_bits()).collect();
        (trained.model.tokens().to_vec(), bits)
    };
    let one = with(1);
    assert_eq!(one, with(2));
    assert_eq!(one, with(7));
}

#[test]
fn too_little_text_is_said_and_impossible_sizes_are_refused() {
    let trained = train(&pieces(), 100_000);
    assert_eq!((trained.asked, trained.ended), (100_000, Ended::NoPairLeft));
    assert!(trained.model.tokens().len() < 1000);
    let bytes_only = train(&pieces(), 258);
    assert_eq!((bytes_only.model.tokens().len(), bytes_only.ended), (258, Ended::Full));
    let small = train_unigram(&pieces(), &settings(257), &UnigramSettings::default(), &mut |_| {});
    assert!(matches!(small, Err(TrainError::TooSmall { .. })));
    let long = UnigramSettings { max_token_bytes: 1000, ..UnigramSettings::default() };
    assert!(matches!(
        train_unigram(&pieces(), &settings(300), &long, &mut |_| {}),
        Err(TrainError::Limit { .. })
    ));
    let nothing =
        train_unigram(&PieceCounts::default(), &settings(300), &UnigramSettings::default(), &mut |_| {});
    assert!(matches!(nothing, Err(TrainError::Empty)));
}

#[test]
fn text_never_becomes_a_special_token() {
    let text = "x<|end|>x ".repeat(50);
    let pieces: PieceCounts = text.split_inclusive(' ').map(|piece| (piece.as_bytes(), 1)).collect();
    let special_twice = train(&pieces, 400);
    let spelled = special_twice.model.tokens().iter().filter(|token| *token == b"<|end|>").count();
    assert_eq!(spelled, 1);
}

#[test]
fn a_hostile_piece_takes_linear_work() {
    let long = vec![b'a'; 3_000_000];
    let pieces: PieceCounts = [(&long[..], 1), (b"ab", 5)].into_iter().collect();
    let settings = settings(262);
    let trained = train_unigram(&pieces, &settings, &UnigramSettings::default(), &mut |_| {}).unwrap();
    assert!(num_tokens(&trained.model, &pieces) < 200_000);
}

/// A model on disk, and the ids that Hugging Face's library gives with it: made by `fixtures/make.py`.
fn fixture(name: &str) -> (serde_json::Value, UnigramJson) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/unigram/fixtures").join(name);
    let file = std::fs::read(path).unwrap();
    (serde_json::from_slice(&file).unwrap(), UnigramJson::parse(&file).unwrap())
}

fn encode(file: &UnigramJson, text: &str) -> Vec<u32> {
    let splitter = Splitter::of_patterns(&file.patterns).unwrap();
    let (mut room, mut ids) = (Viterbi::default(), Vec::new());
    splitter.pieces(text, &mut |piece| {
        file.model.encode_piece(piece.as_bytes(), &mut room, &mut ids);
    });
    ids
}

#[test]
fn ids_are_those_of_hugging_face_with_its_model_and_with_ours() {
    let expected =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/src/unigram/fixtures/ids.json")).unwrap();
    let expected: Vec<(String, String, Vec<u32>)> = serde_json::from_slice(&expected).unwrap();
    assert!(expected.len() > 100);
    for name in ["ours.json", "theirs.json"] {
        let (_, file) = fixture(name);
        for (_, text, ids) in expected.iter().filter(|(of, _, _)| of == name) {
            assert_eq!(&encode(&file, text), ids, "{name} {text:?}");
        }
    }
}

#[test]
fn a_file_is_written_as_it_was_read() {
    let (value, file) = fixture("ours.json");
    assert_eq!(file.to_value(), value);
    let (_, theirs) = fixture("theirs.json");
    let again = UnigramJson::read(&theirs.to_value()).unwrap();
    assert_eq!((again.model.tokens(), again.model.scores()), (theirs.model.tokens(), theirs.model.scores()));
    assert_eq!((again.patterns, again.added), (theirs.patterns, theirs.added));
}

#[test]
fn what_is_no_model_over_bytes_is_refused_by_field() {
    let (value, _) = fixture("ours.json");
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut changed = value.clone();
        change(&mut changed);
        UnigramJson::read(&changed).unwrap_err().to_string()
    };
    assert!(refused(&|file| file["model"]["type"] = "BPE".into()).contains("model.type"));
    assert!(refused(&|file| file["model"]["byte_fallback"] = true.into()).contains("byte_fallback"));
    assert!(refused(&|file| file["normalizer"] = serde_json::json!({"type": "NFC"})).contains("normalizer"));
    assert!(refused(&|file| file["model"]["vocab"][5] = serde_json::json!(["x"])).contains("model.vocab.5"));
    assert!(refused(&|file| file["model"]["vocab"] = serde_json::json!([["a", -1.0]])).contains("vocab"));
    let long = serde_json::json!(["x".repeat(2000), -1.0]);
    assert!(refused(&|file| file["model"]["vocab"][300] = long.clone()).contains("1024 bytes at most"));
    assert!(refused(&|file| file["added_tokens"][0]["id"] = 1000.into()).contains("added_tokens"));
    assert!(refused(&|file| file["added_tokens"][0]["id"] = 5_000_000.into()).contains("gaps"));
    assert!(UnigramJson::parse(b"[1").unwrap_err().to_string().contains("JSON"));
}

#[test]
fn a_token_that_was_added_later_has_the_next_id() {
    let (mut value, file) = fixture("ours.json");
    let next = file.model.tokens().len();
    let mut added = value["added_tokens"][0].clone();
    (added["id"], added["content"]) = (next.into(), "<later>".into());
    value["added_tokens"].as_array_mut().unwrap().push(added);
    let later = UnigramJson::read(&value).unwrap();
    assert_eq!(
        (later.model.tokens()[next].as_slice(), later.model.specials()),
        (&b"<later>"[..], &[0, 1, next as u32][..])
    );
    assert_eq!(encode(&later, "the cats"), encode(&file, "the cats"));
}

#[test]
#[ignore = "writes the model that fixtures/make.py encodes with"]
fn write_our_fixture() {
    let trained = train(&pieces(), 420);
    let patterns = vec![cupola_specs::job::GPT4_PATTERN.to_owned()];
    let added = AddedToken::specials(&["<|end|>".to_owned(), "<|pad|>".to_owned()]);
    let file = UnigramJson { patterns, model: trained.model, added };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/unigram/fixtures/ours.json");
    std::fs::write(path, serde_json::to_string(&file.to_value()).unwrap()).unwrap();
}
