//! A model folder for llama.cpp and ollama: `model.gguf` and a `Modelfile`.

use std::path::Path;

use cupola_specs::artifact::ChatMessage;
use serde::Serialize;

use super::inspect::InspectError;
use super::{JobError, write_durably};
use crate::model::{BlockType, Network, export_gguf};
use crate::seal;
use crate::tokenizer::{ChatTemplate, Tokenizer, gguf_facts};

/// What was written.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Written {
    /// Bytes of the tensors.
    tensor_bytes: u64,
    /// Root of the mean square of the weights' rounding errors, by that of the weights.
    rounding: f64,
    /// Whether ollama's template says what the chat template says.
    has_template: bool,
}

/// Writes both files.
///
/// # Errors
/// A network or a tokenizer that llama.cpp has no name for.
pub(super) fn write(from: &Path, out: &Path, word: &str) -> Result<Written, InspectError> {
    let kind = match word {
        "fp32" => BlockType::F32,
        "bf16" => BlockType::Bf16,
        "q8_0" => BlockType::Q8_0,
        "q4_0" => BlockType::Q4_0,
        other => {
            return Err(InspectError::Word { expected: "fp32, bf16, q8_0 or q4_0", got: other.to_owned() });
        }
    };
    let network = Network::load(from, tch::Device::Cpu)?;
    let tokenizer = Tokenizer::load(from)?;
    let facts = gguf_facts(from, network.vocab_size() as usize)?;
    std::fs::create_dir_all(out).map_err(|error| JobError::io(out, error))?;
    let name = from.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy());
    let path = out.join("model.gguf");
    let report = export_gguf(&network, (&name, facts.clone()), kind, &path)?;
    // The seal is of what was written, so that the file's own rounding is no difference; it needs the file first, and then a place in it.
    let sealed = seal::seal_of(&Network::load(&path, tch::Device::Cpu)?, &Tokenizer::load(&path)?)?;
    let fact = (seal::GGUF_FACT.to_owned(), seal::text_of(&sealed, &path)?.as_str().into());
    export_gguf(&network, (&name, [facts, vec![fact]].concat()), kind, &path)?;
    let template = go_template(tokenizer.chat());
    let text = modelfile(&tokenizer, network.shape().max_position_embeddings, template.as_deref());
    write_durably(&out.join("Modelfile"), text.as_bytes())?;
    let (tensor_bytes, rounding) = (report.tensor_bytes, report.rounding);
    Ok(Written { tensor_bytes, rounding, has_template: template.is_some() })
}

/// ollama's description of the model.
fn modelfile(tokenizer: &Tokenizer, context: u64, template: Option<&str>) -> String {
    let mut lines = vec!["FROM ./model.gguf".to_owned(), format!("PARAMETER num_ctx {context}")];
    for id in tokenizer.chat().stop_ids() {
        lines.push(format!("PARAMETER stop {:?}", tokenizer.decode(&[id])));
    }
    match template {
        Some(template) => lines.push(format!("TEMPLATE \"\"\"{template}\"\"\"")),
        None => lines.push(
            "# The chat template has no counterpart among ollama's: it takes the one that it knows by model.gguf's own, if any.".to_owned(),
        ),
    }
    lines.join("\n") + "\n"
}

/// The chat template in the language of ollama's, for a template that puts fixed words around each role's text; none for others.
fn go_template(chat: &ChatTemplate) -> Option<String> {
    let render = |roles: &[&str], is_open: bool| {
        let message = |(at, role): (usize, &&str)| ChatMessage::new(*role, format!("text{at}"));
        let messages: Vec<ChatMessage> = roles.iter().enumerate().map(message).collect();
        chat.render(&messages, &[], is_open).ok()
    };
    // What stands before the first message is what two different first roles have in common, without what both begin with.
    let open = render(&["user"], true)?;
    let closed = render(&["user"], false)?;
    let prompt = open.strip_prefix(&closed)?.to_owned();
    let (head, after_user) = closed.split_once("text0")?;
    let turn = render(&["user", "assistant", "user"], false)?;
    let rest = turn.strip_prefix(&closed)?;
    let (before_assistant, rest) = rest.split_once("text1")?;
    let (between, _) = rest.split_once("text2")?;
    let before_user = common_end(head, between);
    let begin = head.strip_suffix(before_user)?;
    let after_assistant = between.strip_suffix(before_user)?;
    let with_system = render(&["system", "user"], false);
    let system = with_system.as_deref().and_then(|text| {
        let (before, rest) = text.strip_prefix(begin)?.split_once("text0")?;
        let (between, after) = rest.split_once("text1")?;
        (after == after_user).then_some(())?;
        Some((before.to_owned(), between.strip_suffix(before_user)?.to_owned()))
    });
    let plain = [begin, before_user, after_user, before_assistant, after_assistant, &prompt];
    if plain.iter().any(|words| words.contains("{{") || words.contains("\"\"\"")) {
        return None;
    }
    let expected = format!(
        "{begin}{before_user}text0{after_user}{before_assistant}text1{after_assistant}{before_user}text2{after_user}{prompt}"
    );
    if render(&["user", "assistant", "user"], true)? != expected {
        return None;
    }
    let system = system.map_or_else(String::new, |(before, after)| {
        format!("{{{{ if eq .Role \"system\" }}}}{before}{{{{ .Content }}}}{after}{{{{ end }}}}")
    });
    Some(format!(
        "{begin}{{{{ range .Messages }}}}{system}{{{{ if eq .Role \"user\" }}}}{before_user}{{{{ .Content }}}}{after_user}{{{{ end }}}}\
         {{{{ if eq .Role \"assistant\" }}}}{before_assistant}{{{{ .Content }}}}{after_assistant}{{{{ end }}}}{{{{ end }}}}{prompt}"
    ))
}

/// The longest end that both have.
fn common_end<'a>(a: &'a str, b: &str) -> &'a str {
    let common = a.chars().rev().zip(b.chars().rev()).take_while(|(a, b)| a == b);
    let length: usize = common.map(|(char, _)| char.len_utf8()).sum();
    &a[a.len() - length..]
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use cupola_specs::job::{ModelShape, ModelType};

    use super::*;
    use crate::model::SaveFacts;

    fn fixtures() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/tokenizer")
    }

    /// The tokenizer of the fixtures, which transformers made.
    fn fixture() -> Tokenizer {
        Tokenizer::load(&fixtures()).unwrap()
    }

    /// Every id, special token and template through the file and back; rows of the embedding beyond the tokenizer's tokens stay unused.
    #[test]
    fn the_tokenizer_comes_back_with_the_same_ids() {
        #[derive(serde::Deserialize)]
        struct Line {
            text: String,
        }
        let (folder, before) = (tempfile::tempdir().unwrap(), fixture());
        let shape = ModelShape { num_hidden_layers: 1, ..ModelShape::plain(ModelType::Llama) };
        let vocab_size = before.vocab_size() as i64 + 5;
        let fresh = Network::init(&shape, vocab_size, 1, tch::Device::Cpu).unwrap();
        let network = crate::generate::stirred(&fresh).unwrap().unwrap_or(fresh);
        let facts = SaveFacts { bos_token_id: before.bos_id(), stop_token_ids: Vec::new(), pad_token_id: 0 };
        network.save(folder.path(), &facts).unwrap();
        before.copy_files(folder.path()).unwrap();
        let out = folder.path().join("out");
        let written = write(folder.path(), &out, "q8_0").unwrap();
        assert!(written.has_template && written.rounding < 0.01, "{written:?}");
        assert!(out.join("Modelfile").is_file());
        let path = out.join("model.gguf");
        let after = Tokenizer::load(&path).unwrap();
        let sealed = seal::read(&path).unwrap().unwrap();
        let loaded = Network::load(&path, tch::Device::Cpu).unwrap();
        assert!(seal::check_network(&sealed, &after, &loaded).unwrap().tokens > 200);
        assert!(
            seal::check_network(&sealed, &after, &network).is_err(),
            "the seal is of the rounded weights"
        );
        assert_eq!(Network::load(&path, tch::Device::Cpu).unwrap().vocab_size(), vocab_size);
        assert_eq!(
            (after.added_tokens(), after.bos_id(), after.eos_id(), after.pad_id(), after.chat().source()),
            (
                before.added_tokens(),
                before.bos_id(),
                before.eos_id(),
                before.pad_id(),
                before.chat().source()
            )
        );
        let lines = std::fs::read_to_string(fixtures().join("texts.jsonl")).unwrap();
        for line in lines.lines() {
            let Line { text } = serde_json::from_str(line).unwrap();
            assert_eq!(after.encode_with_special(&text), before.encode_with_special(&text), "{text}");
        }
        assert!(matches!(write(folder.path(), &out, "q2_k"), Err(InspectError::Word { .. })));
    }

    #[test]
    fn a_template_of_fixed_words_is_put_in_ollamas_language() {
        let tokenizer = fixture();
        let template = go_template(tokenizer.chat()).unwrap();
        assert_eq!(
            template,
            "{{ range .Messages }}{{ if eq .Role \"system\" }}<|im_start|>system\n{{ .Content }}<|im_end|>\n{{ end }}\
             {{ if eq .Role \"user\" }}<|im_start|>user\n{{ .Content }}<|im_end|>\n{{ end }}\
             {{ if eq .Role \"assistant\" }}<|im_start|>assistant\n{{ .Content }}<|im_end|>\n{{ end }}{{ end }}<|im_start|>assistant\n"
        );
        let text = modelfile(&tokenizer, 256, Some(&template));
        assert!(
            text.starts_with("FROM ./model.gguf\nPARAMETER num_ctx 256\nPARAMETER stop \"<|im_end|>\"\n"),
            "{text}"
        );
    }
}
