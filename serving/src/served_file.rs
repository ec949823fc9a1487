//! `served.json` of a state folder: which models are served. The orchestrator writes it; a server only reads it.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::{ModelSource, ServeError};

/// The layout that is read.
const VERSION: u32 = 1;

#[derive(Deserialize)]
struct Served {
    version: u32,
    models: Vec<Model>,
}

#[derive(Deserialize)]
struct Model {
    name: String,
    folder: PathBuf,
    fingerprint: String,
}

/// The models of the file, the newest promotion first; of two with one name the newer one.
pub(crate) fn read_served(path: &Path) -> Result<Vec<ModelSource>, ServeError> {
    let failed = |message: String| ServeError::ServedFile { path: path.to_path_buf(), message };
    let text = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
    let served: Served = serde_json::from_slice(&text).map_err(|error| failed(error.to_string()))?;
    if served.version != VERSION {
        return Err(failed(format!("version {}; this program reads {VERSION}", served.version)));
    }
    let mut sources: Vec<ModelSource> = Vec::new();
    for model in served.models {
        let is_known = sources.iter().any(|source| source.name.as_ref() == Some(&model.name));
        if is_known {
            tracing::warn!(
                name = model.name,
                "two specs serve a model of this name: the newer promotion has it"
            );
            continue;
        }
        let fingerprint = Some(model.fingerprint);
        sources.push(ModelSource { name: Some(model.name), path: model.folder, fingerprint });
    }
    if sources.is_empty() {
        return Err(failed("no model is promoted".into()));
    }
    Ok(sources)
}
