//! Tokens a second of one answer with and without guesses, with a random Llama of 131.7 M parameters: `cargo bench -p cupola-runtime --bench speculation
//! [-- FORMAT…]`.
//!
//! What an answer repeats is what its drafter is right about, so the drafter here knows the answer: *repeats* guesses all of the next seven tokens as
//! prompt lookup does in a text that repeats; *half* is wrong about every other guess; *nothing repeats* is always wrong. Each is shown as it is
//! served (paced) and with guesses of one length, beside plain decoding and beside prompt lookup on the answer as it comes. Each figure is the
//! best of three runs; `CUPOLA_THREADS` (2) says how many threads.
#![allow(missing_docs, reason = "a program")]

use std::time::Instant;

use cupola_kernels::decode::WeightFormat;
use cupola_runtime::generate::{
    CpuDecoder, CpuDecoderConfig, Drafter, Engine, EngineConfig, GenerateError, Guess, Paced, PromptLookup,
    Request, Sampling, generate_all,
};
use cupola_runtime::model::Network;
use cupola_specs::job::{ModelShape, ModelType};
use tch::Device;

const VOCAB: usize = 30_444;
const PROMPT: usize = 64;
const ANSWER: usize = 192;
const GUESS: usize = 7;
const RUNS: usize = 3;

/// Guesses of a known answer, of which every `wrong`-th is wrong from its first token on.
struct Knows {
    answer: Vec<u32>,
    wrong: usize,
    asked: usize,
}

impl Drafter for Knows {
    fn draft(&mut self, guesses: &[Guess<'_>]) -> Result<Vec<Vec<u32>>, GenerateError> {
        let guess = |guess: &Guess<'_>| {
            self.asked += 1;
            let from = guess.tokens.len() - PROMPT;
            let next = self.answer[from..].iter().take(guess.most.min(GUESS));
            let shift = u32::from(self.wrong > 0 && self.asked.is_multiple_of(self.wrong));
            next.map(|token| (token + shift) % VOCAB as u32).collect()
        };
        Ok(guesses.iter().map(guess).collect())
    }
}

fn shape() -> ModelShape {
    ModelShape {
        num_hidden_layers: 12,
        hidden_size: 768,
        intermediate_size: 2048,
        num_attention_heads: 12,
        num_key_value_heads: 12,
        max_position_embeddings: 1024,
        ..ModelShape::plain(ModelType::Llama)
    }
}

fn request() -> Request {
    let prompt = (0..PROMPT).map(|i| ((i * 7919) % VOCAB) as u32).collect();
    Request::new(prompt, Sampling::with_temperature(1.0, 7), ANSWER, Vec::new())
}

/// Tokens a second, and the answer.
fn run(decoder: CpuDecoder, drafter: Option<Box<dyn Drafter>>) -> (CpuDecoder, f64, Vec<u32>) {
    let limits = EngineConfig { max_running: 1, step_tokens: 512 };
    let engine = Engine::new(decoder, limits).and_then(|engine| match drafter {
        Some(drafter) => engine.with_drafter(drafter),
        None => Ok(engine),
    });
    let mut engine = engine.unwrap_or_else(|error| panic!("{error}"));
    let start = Instant::now();
    let answers = generate_all(&mut engine, vec![request()]).unwrap_or_else(|error| panic!("{error}"));
    let rate = ANSWER as f64 / start.elapsed().as_secs_f64();
    (engine.into_decoder(), rate, answers[0].ids.clone())
}

fn main() {
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let threads = std::env::var("CUPOLA_THREADS").ok().and_then(|threads| threads.parse().ok()).unwrap_or(2);
    let network =
        Network::init(&shape(), VOCAB as i64, 1, Device::Cpu).unwrap_or_else(|error| panic!("{error}"));
    println!(
        "{:.1} M parameters, {threads} threads, {ANSWER} tokens behind {PROMPT}, tokens/s with the prompt's time",
        network.total_params() as f64 / 1e6
    );
    println!(
        "{:8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "", "", "lookup", "repeats", "", "half", "", "nothing", ""
    );
    println!(
        "{:8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "format", "plain", "paced", "paced", "always", "paced", "always", "paced", "always"
    );
    for format in WeightFormat::ALL {
        let name = format!("{format:?}").to_lowercase();
        if !wanted.is_empty() && !wanted.contains(&name) {
            continue;
        }
        let config = CpuDecoderConfig { format, num_blocks: 32, max_len: 1024, threads };
        let decoder = CpuDecoder::new(&network, config).unwrap_or_else(|error| panic!("{error}"));
        let (mut decoder, _, answer) = run(decoder, None);
        let mut best = [0.0f64; 8];
        for _ in 0..RUNS {
            for (at, best) in best.iter_mut().enumerate() {
                let knows = |wrong| Knows { answer: answer.clone(), wrong, asked: 0 };
                let lookup = PromptLookup { longest_match: 4, shortest_match: 2, draft_tokens: GUESS };
                let drafter: Option<Box<dyn Drafter>> = match at {
                    0 => None,
                    1 => Some(Box::new(Paced::new(lookup))),
                    2 => Some(Box::new(Paced::new(knows(0)))),
                    3 => Some(Box::new(knows(0))),
                    4 => Some(Box::new(Paced::new(knows(2)))),
                    5 => Some(Box::new(knows(2))),
                    6 => Some(Box::new(Paced::new(knows(1)))),
                    _ => Some(Box::new(knows(1))),
                };
                let (back, rate, got) = run(decoder, drafter);
                assert_eq!(got, answer, "guesses changed the answer");
                decoder = back;
                *best = best.max(rate);
            }
        }
        let [plain, rest @ ..] = best;
        print!("{name:8} {plain:>8.0}");
        for rate in rest {
            print!(" {rate:>9.0}");
        }
        println!();
    }
}
