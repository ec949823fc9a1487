//! Where a seal lies: `seal.json` in a folder, a fact of that text in a GGUF file.

use std::path::{Path, PathBuf};

use cupola_specs::artifact::{SEAL_FILE, Seal};

use super::{SealError, seal_of};
use crate::job::write_durably;
use crate::model::{Gguf, Network};
use crate::tokenizer::Tokenizer;

/// The layout that is written and read.
pub(super) const VERSION: u32 = 1;
/// The fact of a GGUF file.
pub(crate) const GGUF_FACT: &str = "cupola.seal";

/// Seals the model of a folder that is being written.
pub fn write(folder: &Path, network: &Network, tokenizer: &Tokenizer) -> Result<(), SealError> {
    let seal = seal_of(network, tokenizer)?;
    let path = folder.join(SEAL_FILE);
    let text = text_of(&seal, &path)?;
    Ok(write_durably(&path, text.as_bytes())?)
}

/// The seal as it is written.
pub(crate) fn text_of(seal: &Seal, path: &Path) -> Result<String, SealError> {
    serde_json::to_string(seal).map_err(|error| format(path, error.to_string()))
}

/// The seal of a model folder or a GGUF file; none where it has none.
pub fn read(model: &Path) -> Result<Option<Seal>, SealError> {
    let (path, text): (PathBuf, String) = if Gguf::is_named(model) {
        let file = Gguf::open(model)?;
        let Some(text) = file.fact(GGUF_FACT).and_then(|fact| fact.text()) else { return Ok(None) };
        (model.to_path_buf(), text.to_owned())
    } else {
        let path = model.join(SEAL_FILE);
        match std::fs::read_to_string(&path) {
            Ok(text) => (path, text),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(format(&path, error.to_string())),
        }
    };
    let seal: Seal = serde_json::from_str(&text).map_err(|error| format(&path, error.to_string()))?;
    match seal.version {
        VERSION => Ok(Some(seal)),
        other => Err(format(&path, format!("a seal of version {other}; this program reads {VERSION}"))),
    }
}

fn format(path: &Path, message: String) -> SealError {
    SealError::Format { path: path.to_path_buf(), message }
}
