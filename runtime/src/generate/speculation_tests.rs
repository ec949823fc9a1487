//! Guesses change no token: over the fake decoder in any traffic, and over real networks to the bit.

use cupola_specs::job::{Family, Precision};

use super::engine_tests::{network_of, request};
use super::fake::{Fake, FakeDecoder};
use super::*;

/// Guesses what is right, where `rightness` of four say so, and something else otherwise.
struct Oracle {
    rightness: usize,
    asked: usize,
}

impl Drafter for Oracle {
    fn draft(&mut self, guesses: &[Guess<'_>]) -> Result<Vec<Vec<u32>>, GenerateError> {
        let guess = |guess: &Guess<'_>| {
            let mut alone = FakeDecoder::paged(64, 1, 64);
            let blocks: Vec<u32> = (0..64).collect();
            let mut sampler = guess.sampler.for_drafts();
            let (mut tokens, mut rows) = (guess.tokens.to_vec(), Rows::default());
            let known = tokens.len();
            while tokens.len() - known < guess.most.min(5) {
                let (start, adapter) = (0, None);
                let chunk = Chunk { tokens: &tokens, start, blocks: &blocks, adapter, wanted: Wanted::Last };
                alone.forward(&[chunk], &mut rows).unwrap();
                let right = sampler.sample(&rows.logits).unwrap().token;
                self.asked += 1;
                let is_right = self.asked % 4 < self.rightness;
                tokens.push(if is_right { right } else { (right + 1) % 50 });
            }
            tokens.split_off(known)
        };
        Ok(guesses.iter().map(guess).collect())
    }
}

fn requests() -> Vec<Request> {
    (0..10u64)
        .map(|number| {
            let ids = (0..=number as u32 * 2).map(|at| (at * 7 + number as u32) % 50).collect();
            let sampling = Sampling {
                temperature: if number.is_multiple_of(3) { 0.0 } else { 0.7 },
                frequency_penalty: if number % 4 == 1 { 0.5 } else { 0.0 },
                ..Sampling::with_temperature(1.0, number)
            };
            let stop_ids = if number.is_multiple_of(2) { vec![9, 3] } else { Vec::new() };
            Request::new(ids, sampling, 3 + number as usize * 2, stop_ids)
        })
        .collect()
}

fn paged(num_blocks: usize, drafter: Option<Box<dyn Drafter>>) -> Engine<Fake> {
    let limits = EngineConfig { max_running: 4, step_tokens: 24 };
    let engine = Engine::new(FakeDecoder::paged(num_blocks, 4, 64), limits).unwrap();
    match drafter {
        Some(drafter) => engine.with_drafter(drafter).unwrap(),
        None => engine,
    }
}

#[test]
fn guesses_right_and_wrong_leave_every_answer_as_it_is() {
    let plain = generate_all(&mut paged(64, None), requests()).unwrap();
    let mut calls = Vec::new();
    for rightness in 0..=4 {
        for num_blocks in [64, 16] {
            let oracle = Oracle { rightness, asked: 0 };
            let mut engine = paged(num_blocks, Some(Box::new(Paced::new(oracle))));
            assert_eq!(generate_all(&mut engine, requests()).unwrap(), plain, "{rightness} of 4, paced");
            let oracle = Box::new(Oracle { rightness, asked: 0 });
            let mut engine = paged(num_blocks, Some(oracle));
            assert_eq!(generate_all(&mut engine, requests()).unwrap(), plain, "{rightness} of 4 are right");
            let stats = engine.stats();
            assert!(stats.drafted_tokens > 0 && (stats.accepted_tokens > 0) == (rightness > 0), "{stats:?}");
            assert_eq!(stats.blocks.used, 0);
            if num_blocks == 64 {
                calls.push(engine.decoder().calls);
            }
        }
    }
    assert!(calls[4] * 2 < calls[0], "right guesses save passes: {calls:?}");
}

#[test]
fn answers_with_a_form_have_it_and_are_the_same_with_guesses() {
    let words = (0..50u8).map(|id| match id {
        49 => Word::Special("<|end|>".into()),
        id => Word::Text(vec![b'0' + id]),
    });
    let compiler = GrammarCompiler::new(words, &[49]).unwrap();
    let constraint = compiler.compile(&Grammar::Regex("([0-9]{2,4}[A-F]){1,3}".into())).unwrap();
    let form = regex::Regex::new("^([0-9]{2,4}[A-F]){1,3}$").unwrap();
    let requests: Vec<Request> = requests()
        .into_iter()
        .map(|request| Request {
            max_new_tokens: 40,
            stop_ids: vec![49],
            constraint: Some(constraint.clone()),
            ..request
        })
        .collect();
    let plain = generate_all(&mut paged(64, None), requests.clone()).unwrap();
    for (request, answer) in requests.iter().zip(&plain) {
        let text: String = answer.text_ids().iter().map(|&id| char::from(b'0' + id as u8)).collect();
        assert!(answer.finish == FinishReason::Stop && form.is_match(&text), "{text}");
        let alone = generate_all(&mut paged(64, None), vec![request.clone()]).unwrap();
        assert_eq!(&alone[0], answer);
    }
    let lookup = PromptLookup { longest_match: 2, shortest_match: 1, draft_tokens: 3 };
    for drafter in [Box::new(lookup) as Box<dyn Drafter>, Box::new(Oracle { rightness: 3, asked: 0 })] {
        assert_eq!(generate_all(&mut paged(16, Some(drafter)), requests.clone()).unwrap(), plain);
    }
}

#[test]
fn a_prompts_repetition_is_guessed() {
    let guess = |tokens: &[u32], most: usize| {
        let mut lookup = PromptLookup { longest_match: 3, shortest_match: 1, draft_tokens: 4 };
        let sampler = Sampler::new(Sampling::greedy(), &[], 0);
        lookup.draft(&[Guess { id: RequestId(0), tokens, sampler: &sampler, most }]).unwrap().remove(0)
    };
    assert_eq!(guess(&[1, 2, 3, 4, 5, 6, 1, 2, 3], 9), [4, 5, 6, 1]);
    assert_eq!(guess(&[1, 2, 3, 4, 5, 6, 1, 2, 3], 2), [4, 5]);
    // The longest match counts, and of several the newest with enough behind it.
    assert_eq!(guess(&[9, 2, 3, 7, 7, 7, 7, 1, 2, 3, 8, 8, 8, 8, 2, 3], 9), [8, 8, 8, 8]);
    assert_eq!(guess(&[1, 2, 3], 9), [0u32; 0]);
    assert_eq!(guess(&[5], 9), [0u32; 0]);
    assert_eq!(guess(&[4, 4, 4], 9), [4]);
}

/// Tells how many tokens each pass had.
struct Counting(Fake, std::sync::Arc<std::sync::Mutex<Vec<usize>>>);

impl Decoder for Counting {
    fn vocab_size(&self) -> usize {
        self.0.vocab_size()
    }
    fn hidden_size(&self) -> usize {
        self.0.hidden_size()
    }
    fn max_len(&self) -> usize {
        self.0.max_len()
    }
    fn block_tokens(&self) -> usize {
        self.0.block_tokens()
    }
    fn num_blocks(&self) -> usize {
        self.0.num_blocks()
    }
    fn positions(&self) -> Positions {
        self.0.positions()
    }
    fn forward(&mut self, chunks: &[Chunk<'_>], rows: &mut Rows) -> Result<(), GenerateError> {
        self.1.lock().unwrap().push(chunks.iter().map(|chunk| chunk.tokens.len()).sum());
        self.0.forward(chunks, rows)
    }
}

#[test]
fn a_draft_model_runs_long_prompts_in_parts_and_guesses_when_it_has_them() {
    let passes = std::sync::Arc::default();
    let decoder = Counting(FakeDecoder::paged(400, 16, 2048), std::sync::Arc::clone(&passes));
    let mut draft = DraftModel::new(decoder, 3, 50).unwrap();
    let sampler = Sampler::new(Sampling::greedy(), &[], 0);
    let prompts: [Vec<u32>; 3] = [1300, 5, 700].map(|len| (0..len).map(|at| at % 50).collect());
    let mut firsts: [Option<(usize, Vec<u32>)>; 3] = Default::default();
    for call in 0..6 {
        let guess = |(at, tokens)| Guess { id: RequestId(at), tokens, sampler: &sampler, most: 3 };
        let guesses: Vec<Guess<'_>> = (0..).zip(prompts.iter().map(Vec::as_slice)).map(guess).collect();
        for (at, guessed) in draft.draft(&guesses).unwrap().into_iter().enumerate() {
            assert!(guessed.is_empty() || guessed.len() == 3);
            if !guessed.is_empty() {
                firsts[at].get_or_insert((call, guessed));
            }
        }
    }
    let calls = firsts.each_ref().map(|first| first.as_ref().unwrap().0);
    // The 700 have 507 in the first call and the rest in the second, which leaves 319 of its 512 for the 1,300; those need two more.
    assert_eq!(calls, [3, 0, 1]);
    let longest = *passes.lock().unwrap().iter().max().unwrap();
    assert!(longest <= 512 + 4 * 3, "a pass of {longest} tokens");
    for (prompt, first) in prompts.iter().zip(firsts) {
        let mut whole = DraftModel::new(FakeDecoder::paged(400, 16, 2048), 3, 50).unwrap();
        let mut guessed = Vec::new();
        while guessed.is_empty() {
            let guess = Guess { id: RequestId(9), tokens: prompt, sampler: &sampler, most: 3 };
            guessed = whole.draft(&[guess]).unwrap().remove(0);
        }
        assert_eq!(first.unwrap().1, guessed, "in whatever parts a prompt ran, its guess is the same");
    }
}

#[test]
fn a_real_networks_guesses_are_checked_to_the_bit() {
    let network = network_of(Family::Transformer);
    for precision in [Precision::Fp32, Precision::Bf16] {
        let config = TorchConfig::interactive(4, 64, precision);
        let mut requests: Vec<Request> =
            (0..6).map(|row| request(2 + row * 4, u64::from(row), 12 + row as usize)).collect();
        for request in requests.iter_mut().step_by(2) {
            request.sampling.temperature = 0.0;
        }
        let plain = generate_all(&mut Engine::on_torch(&network, config).unwrap(), requests.clone()).unwrap();
        let lookup = PromptLookup { longest_match: 3, shortest_match: 1, draft_tokens: 4 };
        // The network itself is the best that can draft for it; only its shapes are others.
        let draft = TorchDecoder::new(network.copy().unwrap(), TorchConfig::batch(4, 64, precision)).unwrap();
        let draft = DraftModel::new(draft, 3, 90).unwrap();
        let drafters: [Box<dyn Drafter>; 2] = [Box::new(lookup), Box::new(draft)];
        for (index, drafter) in drafters.into_iter().enumerate() {
            let mut engine = Engine::on_torch(&network, config).unwrap().with_drafter(drafter).unwrap();
            assert_eq!(generate_all(&mut engine, requests.clone()).unwrap(), plain, "{precision:?}");
            let stats = engine.stats();
            println!("{precision:?} drafter {index}: {stats:?}");
            assert!(stats.drafted_tokens > 0, "{stats:?}");
            if index == 1 {
                assert!(stats.accepted_tokens * 10 > stats.drafted_tokens * 9, "{stats:?}");
            }
        }
    }
}

#[test]
fn the_cpu_decoders_answers_are_the_same_to_the_bit_with_any_guesses() {
    let network = network_of(Family::Transformer);
    let _no_grad = tch::no_grad_guard();
    let limits = EngineConfig { max_running: 4, step_tokens: 24 };
    let mut requests: Vec<Request> =
        (0..6).map(|row| request(2 + row * 4, u64::from(row), 20 + row as usize)).collect();
    for request in requests.iter_mut().step_by(2) {
        request.sampling.temperature = 0.0;
    }
    for format in WeightFormat::ALL {
        let config = CpuDecoderConfig { format, num_blocks: 8, max_len: 64, threads: 2 };
        let decoder = || CpuDecoder::new(&network, config).unwrap();
        let plain = generate_all(&mut Engine::new(decoder(), limits).unwrap(), requests.clone()).unwrap();
        let lookup = PromptLookup { longest_match: 3, shortest_match: 1, draft_tokens: 7 };
        let draft = DraftModel::new(decoder(), 5, 90).unwrap();
        let drafters: [Box<dyn Drafter>; 3] =
            [Box::new(lookup), Box::new(Paced::new(lookup)), Box::new(Paced::new(draft))];
        for (index, drafter) in drafters.into_iter().enumerate() {
            let mut engine = Engine::new(decoder(), limits).unwrap().with_drafter(drafter).unwrap();
            assert_eq!(generate_all(&mut engine, requests.clone()).unwrap(), plain, "{format:?} by {index}");
            let stats = engine.stats();
            println!("{format:?} drafter {index}: {} of {}", stats.accepted_tokens, stats.drafted_tokens);
            assert!(stats.drafted_tokens > 0, "{stats:?}");
            assert!(index < 2 || stats.accepted_tokens == stats.drafted_tokens, "its own guesses: {stats:?}");
        }
    }
}

#[test]
fn what_cannot_go_back_takes_no_guesses() {
    let lstm = network_of(Family::Lstm);
    let config = TorchConfig::interactive(2, 64, Precision::Fp32);
    let lookup = PromptLookup { longest_match: 3, shortest_match: 1, draft_tokens: 4 };
    let engine = Engine::on_torch(&lstm, config).unwrap();
    assert!(engine.with_drafter(Box::new(lookup)).is_err());
    assert!(DraftModel::new(TorchDecoder::new(&lstm, config).unwrap(), 3, 90).is_err());
    assert!(DraftModel::new(FakeDecoder::paged(4, 4, 16), 3, 51).is_err());
}
