//! The one checkpoint that all peers serve: a random Llama of 131.7 M parameters, as a folder of Hugging Face's and as files of llama.cpp's.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cupola_runtime::model::{Network, SaveFacts};
use cupola_specs::job::{ModelShape, ModelType};
use serde_json::{Map, Value, json};

/// Tokens of the vocabulary.
pub(crate) const VOCAB: usize = 30_444;
const SPECIALS: [&str; 4] = ["<|bos|>", "<|im_start|>", "<|im_end|>", "<|pad|>"];
const CONTEXT: u64 = 1024;
const TEMPLATE: &str = "{{ bos_token }}{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
                        {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// The checkpoint in each form.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    folder: PathBuf,
}

impl Checkpoint {
    /// Takes the checkpoint that lies there, or makes it: the folder, by our export the GGUF file in bf16, and of that by llama.cpp's own program the
    /// quantised ones, so that they are mixed as its users have them.
    pub(crate) fn at(folder: &Path, (worker, quantize): (&Path, Option<&Path>)) -> Self {
        let made = Self { folder: folder.to_path_buf() };
        if !made.network().join("tokenizer_config.json").is_file() {
            write_network(&made.network());
        }
        let Some(quantize) = quantize else { return made };
        let plain = made.gguf("bf16");
        if !plain.is_file() {
            call(Command::new(worker).arg("gguf").arg(made.network()).arg(folder.join("gguf")).arg("bf16"));
            std::fs::rename(folder.join("gguf/model.gguf"), &plain).unwrap();
        }
        for word in ["q8_0", "q4_0"] {
            if !made.gguf(word).is_file() {
                call(Command::new(quantize).arg(&plain).arg(made.gguf(word)).arg(word).arg("2"));
            }
        }
        made
    }

    /// Hugging Face's folder.
    pub(crate) fn network(&self) -> PathBuf {
        self.folder.join("network")
    }

    /// llama.cpp's file in one of its formats.
    pub(crate) fn gguf(&self, word: &str) -> PathBuf {
        self.folder.join(format!("{word}.gguf"))
    }
}

fn call(command: &mut Command) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn write_network(dir: &Path) {
    std::fs::create_dir_all(dir).unwrap();
    let shape = ModelShape {
        num_hidden_layers: 12,
        hidden_size: 768,
        intermediate_size: 2048,
        num_attention_heads: 12,
        num_key_value_heads: 12,
        tie_word_embeddings: false,
        max_position_embeddings: CONTEXT,
        ..ModelShape::plain(ModelType::Llama)
    };
    let network = Network::init(&shape, VOCAB as i64, 1, tch::Device::Cpu).unwrap();
    tch::manual_seed(1);
    // A fresh head says the same of every token.
    tch::no_grad(|| {
        for parameter in network.parameters().iter().filter(|parameter| parameter.tensor.dim() == 2) {
            let _ = parameter.tensor.shallow_clone().normal_(0.0, 0.05);
        }
    });
    println!("{:.1} M parameters", network.total_params() as f64 / 1e6);
    network.save(dir, &SaveFacts { bos_token_id: 0, stop_token_ids: vec![2], pad_token_id: 3 }).unwrap();
    write_tokenizer(dir);
}

/// A byte-level vocabulary of that size: the bytes, then pairs and triples of printable characters.
fn write_tokenizer(dir: &Path) {
    let added: Vec<Value> = (0..)
        .zip(SPECIALS)
        .map(|(id, content)| {
            json!({"id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    let bytes = (0..=255u8).map(|byte| byte_char(byte).to_string());
    let mut words: Vec<String> = SPECIALS.iter().map(|text| (*text).to_owned()).chain(bytes).collect();
    let letters: Vec<char> = ('a'..='z').chain('A'..='Z').collect();
    let mut merges = Vec::new();
    for first in &letters {
        for second in &letters {
            merges.push(json!([first.to_string(), second.to_string()]));
            words.push(format!("{first}{second}"));
        }
    }
    let pairs: Vec<String> = words[words.len() - merges.len()..].to_vec();
    'full: for pair in &pairs {
        for third in &letters {
            if words.len() == VOCAB {
                break 'full;
            }
            merges.push(json!([pair, third.to_string()]));
            words.push(format!("{pair}{third}"));
        }
    }
    let vocab: Map<String, Value> = (0..).zip(words).map(|(id, word): (u32, _)| (word, json!(id))).collect();
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
        "post_processor": null,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "fuse_unk": false, "byte_fallback": false,
                  "ignore_merges": false, "vocab": vocab, "merges": merges},
    });
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<|bos|>", "eos_token": "<|im_end|>",
        "pad_token": "<|pad|>", "chat_template": TEMPLATE,
    });
    std::fs::write(dir.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    std::fs::write(dir.join("tokenizer_config.json"), config.to_string()).unwrap();
}

/// GPT-2's printable stand-in for a byte: itself where it prints, else the next free character from U+0100.
fn byte_char(byte: u8) -> char {
    let prints = |b: u8| matches!(b, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff);
    if prints(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&b| !prints(b)).count() as u32;
    char::from_u32(0x100 + before).unwrap()
}
