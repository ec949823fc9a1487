//! Training on small texts: what has to hold of every model.

use super::*;
use crate::train::{Ended, PieceCounts, TrainError, TrainerSettings};

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
        let bits: Vec<u64> = trained.model.scores().iter().chain(&trained.expected).map(|score| score.to_bits()).collect();
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
    assert!(matches!(train_unigram(&pieces(), &settings(300), &long, &mut |_| {}), Err(TrainError::Limit { .. })));
    let nothing = train_unigram(&PieceCounts::default(), &settings(300), &UnigramSettings::default(), &mut |_| {});
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
