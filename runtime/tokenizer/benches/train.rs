use std::time::Instant;
use cupola_tokenizer::train::*;

struct Rough;
fn class(b: u8) -> u8 { match b { b'a'..=b'z' | b'A'..=b'Z' | 0x80.. => 1, b'0'..=b'9' => 2, b' ' | b'\n' | b'\t' | b'\r' | 0x0b | 0x0c => 0, _ => 3 } }
impl Pieces for Rough {
    fn for_each_piece(&self, text: &str, mut each: impl FnMut(&str)) {
        let t = text.as_bytes(); let mut i = 0;
        let mut table = [0u8; 256]; for b in 0..256 { table[b] = class(b as u8); }
        while i < t.len() {
            let s = i;
            if t[i] == b' ' && i + 1 < t.len() && table[t[i + 1] as usize] != 0 { i += 1; }
            let c = table[t[i] as usize];
            while i < t.len() && table[t[i] as usize] == c { i += 1; }
            if c == 0 && i < t.len() && i - s > 1 { i -= 1; }
            each(&text[s..i]);
        }
    }
}
fn main() {
    let path = std::env::args().nth(1).unwrap();
    let data = std::fs::read_to_string(path).unwrap();
    let docs: Vec<&str> = data.split("<|endoftext|>").collect();
    for _ in 0..3 {
        let t = Instant::now();
        let mut trainer = Trainer::new(TrainerSettings::new(32768, &[]), Rough, CensusLimits::default()).unwrap();
        for d in &docs { trainer.add_text(d).unwrap(); }
        println!("count {:?}", t.elapsed());
        let (counts, settings) = trainer.into_counts().unwrap();
        println!("sorted {:?} {:?} bytes {}", t.elapsed(), counts.tally(), counts.num_bytes());
        let v = train_bpe(&counts, &settings, &mut |_| {}).unwrap();
        println!("{:?} {} {:?}", t.elapsed(), v.tokens.len(), v.counts.last());
    }
}
