//! The trainer against one that counts everything anew before each merge, and what must not change its result.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::Room;

#[test]
fn each_algorithm_makes_a_vocabulary_that_encodes_any_text() {
    let text = "the cat and the hat, the bat and the rat; ".repeat(20);
    let made = |algorithm| {
        let specials = ["<s>".to_owned()];
        let mut trainer =
            Trainer::new(TrainerSettings::new(280, &specials), Blanks, CensusLimits::default()).unwrap();
        trainer.add_text(&text).unwrap();
        let learned = trainer.train_with(algorithm, &UnigramSettings::default(), &mut |_| {}).unwrap();
        assert_eq!((learned.algorithm(), learned.tally().num_texts, learned.ended().0), (algorithm, 1, 280));
        assert_eq!(learned.tokens()[0], b"<s>");
        learned
    };
    let lengths =
        [TokenizerAlgorithm::Bytes, TokenizerAlgorithm::Bpe, TokenizerAlgorithm::Unigram].map(|algorithm| {
            let model = made(algorithm).into_model().unwrap();
            let (mut ids, mut room) = (Vec::new(), Room::default());
            for piece in ["the ", "cat ", "日本\u{0} "] {
                model.encode_piece(piece.as_bytes(), &mut room, &mut ids);
            }
            let bytes: Vec<u8> = ids.iter().flat_map(|id| model.tokens()[*id as usize].clone()).collect();
            assert_eq!(bytes, "the cat 日本\u{0} ".as_bytes());
            ids.len()
        });
    assert!(lengths[0] == 16 && lengths[1] < 13 && lengths[2] < 13, "{lengths:?}");
    assert_eq!(made(TokenizerAlgorithm::Bytes).ended().1, Ended::NoPairLeft);
    assert_eq!(serde_json::to_string(&TokenizerAlgorithm::Unigram).unwrap(), "\"unigram\"");
}

/// Letters, blanks before them, and each other character alone: enough to have pieces of all kinds.
#[derive(Debug, Clone, Copy)]
struct Blanks;

impl Pieces for Blanks {
    fn for_each_piece(&self, text: &str, mut each: impl FnMut(&str)) {
        text.split_inclusive(' ').for_each(&mut each);
    }
}

/// Counts all pairs, merges the best, and so on.
fn slow(pieces: &PieceCounts, settings: &TrainerSettings) -> Vec<(u32, u32, u32, u64)> {
    let start = Trained::bytes_only(settings, Tally::default()).vocabulary;
    let (mut tokens, mut merges) = (start.tokens.clone(), Vec::new());
    let mut words: Vec<(Vec<u32>, u64)> = pieces
        .iter()
        .map(|(piece, count)| (piece.iter().map(|byte| start.byte_ids[*byte as usize]).collect(), count))
        .collect();
    while tokens.len() < settings.vocab_size {
        let mut counts: BTreeMap<(u32, u32), u64> = BTreeMap::new();
        for (word, count) in &words {
            word.windows(2).for_each(|pair| *counts.entry((pair[0], pair[1])).or_default() += count);
        }
        let spelled = |pair: (u32, u32)| [&tokens[pair.0 as usize][..], &tokens[pair.1 as usize]].concat();
        let most = settings.max_token_bytes.unwrap_or(usize::MAX);
        let specials: Vec<&[u8]> = settings.specials.iter().map(std::string::String::as_bytes).collect();
        counts.retain(|pair, count| {
            let bytes = spelled(*pair);
            *count >= settings.min_frequency.max(1) && bytes.len() <= most && !specials.contains(&&bytes[..])
        });
        let Some((pair, count)) =
            counts.into_iter().min_by_key(|(pair, count)| (std::cmp::Reverse(*count), *pair))
        else {
            break;
        };
        let bytes = spelled(pair);
        let id = tokens.iter().position(|token| *token == bytes).unwrap_or(tokens.len());
        if id == tokens.len() {
            tokens.push(bytes);
        }
        merges.push((pair.0, pair.1, id as u32, count));
        for (word, _) in &mut words {
            let mut at = 0;
            while at + 1 < word.len() {
                if (word[at], word[at + 1]) == pair {
                    word[at] = id as u32;
                    word.remove(at + 1);
                }
                at += 1;
            }
        }
    }
    merges
}

fn merges(trained: &Trained) -> Vec<(u32, u32, u32, u64)> {
    let counts = trained.counts.iter();
    trained
        .vocabulary
        .merges
        .iter()
        .zip(counts)
        .map(|(merge, count)| (merge.0, merge.1, merge.2, *count))
        .collect()
}

fn counts_of(text: &str) -> PieceCounts {
    text.split_inclusive(' ').map(|piece| (piece.as_bytes(), 1)).collect()
}

fn train(pieces: &PieceCounts, settings: &TrainerSettings) -> Trained {
    train_bpe(pieces, settings, &mut |_| {}).unwrap()
}

fn trained(words: &[(&str, u64)], vocab_size: usize) -> Vec<String> {
    let counts = words.iter().map(|(word, count)| (word.as_bytes(), *count)).collect();
    let trained = train(&counts, &TrainerSettings::new(vocab_size, &["<s>".to_owned()]));
    trained.vocabulary.tokens[257..].iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()
}

#[test]
fn the_most_frequent_pair_comes_first_and_ties_go_to_smaller_ids() {
    let words = [("hug", 10), ("pug", 5), ("pun", 12), ("bun", 4), ("hugs", 5)];
    assert_eq!(trained(&words, 261), ["ug", "un", "hug", "pun"]);
    assert_eq!(trained(&[("cd", 3), ("ab", 3)], 258), ["ab"]);
}

#[test]
fn overlapping_pairs_are_counted_as_they_merge_and_single_ones_are_left() {
    assert_eq!(trained(&[("aaaa", 2)], 300), ["aa", "aaaa"]);
    assert_eq!(trained(&[("xyz", 1)], 300), Vec::<String>::new());
}

#[test]
fn too_little_text_is_said() {
    let trained = train(&counts_of("ab ab ab"), &TrainerSettings::new(1000, &[]));
    assert_eq!((trained.asked, trained.ended), (1000, Ended::NoPairLeft));
    assert_eq!(trained.vocabulary.tokens.len(), 258);
    let trained = train(&counts_of("ab ab ab"), &TrainerSettings::new(258, &[]));
    assert_eq!(trained.ended, Ended::Full);
}

#[test]
fn counts_beyond_32_bits_are_exact() {
    let pieces: PieceCounts =
        [(&b"ab"[..], 5 << 32), (b"abc", 7), (b"xyz", (5 << 32) + 8)].into_iter().collect();
    let settings = TrainerSettings::new(260, &[]);
    assert_eq!(merges(&train(&pieces, &settings)), slow(&pieces, &settings));
    assert_eq!(train(&pieces, &settings).counts, [(5 << 32) + 8, (5 << 32) + 8, (5 << 32) + 7, 7]);
}

#[test]
fn a_vocabulary_that_cannot_be_is_refused_before_any_text_is_read() {
    let refused = |vocab_size: usize, specials: &[&str]| {
        let specials: Vec<String> = specials.iter().map(|text| (*text).to_owned()).collect();
        let settings = TrainerSettings::new(vocab_size, &specials);
        Trainer::new(settings, Blanks, CensusLimits::default()).unwrap_err().to_string()
    };
    assert!(refused(256, &["<s>"]).contains("at least 257"));
    assert!(refused(usize::MAX, &[]).contains("the most is"));
    assert!(refused(300, &["<s>", "<s>"]).contains("given twice"));
    assert!(refused(300, &[""]).contains("empty"));
    assert!(refused(300, &["x"]).contains("single byte"));
    let limits = CensusLimits { max_memory_bytes: 5, spill_folder: None };
    let error = Census::new(Blanks, limits).unwrap_err().to_string();
    assert!(error.contains("max_memory_bytes is 5"), "{error}");
    let nothing = train_bpe(&PieceCounts::default(), &TrainerSettings::new(300, &[]), &mut |_| {});
    assert!(matches!(nothing, Err(TrainError::Empty)));
}

#[test]
fn text_never_becomes_a_special_token() {
    let pieces = counts_of(&"<s> <s> ".repeat(9));
    let settings = TrainerSettings::new(300, &["<s>".to_owned()]);
    let trained = train(&pieces, &settings);
    assert!(trained.vocabulary.merges.iter().all(|merge| merge.2 != 0));
    assert_eq!(merges(&trained), slow(&pieces, &settings));
}

/// Texts of few different letters, so that pairs repeat, tie and overlap.
fn texts(seed: u64, num_texts: usize, alphabet: &str) -> Vec<String> {
    let letters: Vec<char> = alphabet.chars().collect();
    let mut state = seed | 1;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    (0..num_texts).map(|_| (0..next(300)).map(|_| letters[next(letters.len())]).collect()).collect()
}

#[test]
fn the_result_does_not_depend_on_threads_batches_order_or_memory() {
    let mut texts = texts(11, 6000, "aaabbcdeéfghijklmnopqrstuvwxyz  ");
    let settings = TrainerSettings::new(2000, &["<|end|>".to_owned()]);
    let mut one = Trainer::new(settings.clone(), Blanks, CensusLimits::default()).unwrap();
    for text in &texts {
        one.add_text(text).unwrap();
    }
    let expected = one.train(&mut |_| {}).unwrap();
    assert!(expected.tally.num_distinct > 20_000, "{:?}", expected.tally);
    let pool = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    for threads in [1, 2, 7] {
        texts.reverse();
        let many = pool(threads).install(|| {
            let mut many = Trainer::new(settings.clone(), Blanks, CensusLimits::default()).unwrap();
            texts.chunks(100 * threads).for_each(|batch| many.add_texts(batch).unwrap());
            many.train(&mut |_| {}).unwrap()
        });
        assert_eq!(many, expected);
    }
    for threads in [1, 3] {
        let limits = CensusLimits { max_memory_bytes: CensusLimits::LEAST_MEMORY_BYTES, spill_folder: None };
        let census = pool(threads).install(|| {
            let mut census = Census::new(Blanks, limits).unwrap();
            texts.chunks(50).for_each(|batch| census.add_texts(batch).unwrap());
            census.finish_for(0).unwrap()
        });
        assert!(census.tally().num_runs > 1, "{:?}", census.tally());
        assert_eq!(Tally { num_runs: 0, ..census.tally() }, expected.tally);
        assert_eq!(merges(&train(&census, &settings)), merges(&expected));
    }
}

#[test]
fn a_disk_that_fails_is_an_error_and_no_vocabulary() {
    let limits = CensusLimits { max_memory_bytes: 1 << 20, spill_folder: Some("/nonexistent/folder".into()) };
    let words: Vec<String> = (0..100_000).map(|number| number.to_string()).collect();
    let text = words.join(" ");
    let (mut one, mut many) =
        (Census::new(Blanks, limits.clone()).unwrap(), Census::new(Blanks, limits).unwrap());
    assert!(matches!(one.add_text(&text), Err(TrainError::Spill { .. })));
    assert!(matches!(many.add_texts(&[&text]), Err(TrainError::Spill { .. })));
    assert!(matches!(one.finish(), Err(TrainError::Incomplete)));
    assert!(matches!(many.finish(), Err(TrainError::Incomplete)));
}

#[test]
fn beyond_the_memory_the_rarest_pieces_are_left_out_and_counted() {
    let mut census =
        Census::new(Blanks, CensusLimits { max_memory_bytes: 1 << 20, spill_folder: None }).unwrap();
    for round in 1..=4_u32 {
        // A piece of every round up to the fourth stands once more in each: four counts, 500 pieces each.
        let words: Vec<String> = (0..500 * round).map(|number| format!("{number:06} ")).collect();
        census.add_text(&words.concat()).unwrap();
    }
    // Room for 1,250 pieces of seven bytes and one.
    let counts = census.finish_for((1 << 20) / 10_000).unwrap();
    let tally = counts.tally();
    assert_eq!(tally.num_distinct, 2000);
    assert_eq!(counts.len() as u64 + tally.left_out_pieces, 2000);
    assert_eq!(
        counts.iter().map(|(_, count)| count).sum::<u64>() + tally.left_out_occurrences,
        tally.num_pieces
    );
    let kept: Vec<&[u8]> = counts.iter().map(|(piece, _)| piece).collect();
    assert!(kept.len() > 1240 && kept.windows(2).all(|two| two[0] < two[1]), "{}", kept.len());
    assert!(
        kept.contains(&&b"000999 "[..])
            && kept.contains(&&b"001000 "[..])
            && !kept.contains(&&b"001499 "[..])
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn merges_are_those_of_counting_anew(
        seed in any::<u64>(), alphabet in "[ab]{1,4}[a-d ]{0,4} ?", longest in 1..12_usize, min_frequency in 0..4_u64
    ) {
        let pieces = counts_of(&texts(seed, 4, &alphabet).join(" "));
        prop_assume!(!pieces.is_empty());
        let max_token_bytes = (longest < 9).then_some(longest);
        let settings = TrainerSettings { min_frequency, max_token_bytes, ..TrainerSettings::new(330, &["ab".to_owned()]) };
        prop_assert_eq!(merges(&train(&pieces, &settings)), slow(&pieces, &settings));
        let free = TrainerSettings { max_token_bytes, ..TrainerSettings::new(400, &[]) };
        prop_assert_eq!(merges(&train(&pieces, &free)), slow(&pieces, &free));
    }
}
