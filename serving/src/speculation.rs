//! What guesses for a served model, as the server's options say.

use std::path::Path;

use cupola_runtime::generate::{DraftModel, Drafter, Paced, PromptLookup};
use cupola_runtime::model::Network;
use cupola_runtime::tokenizer::Tokenizer;
use cupola_specs::contract::Speculation;
use cupola_specs::job::Precision;
use tch::Device;

use crate::decoder::decoder_of;
use crate::model_folder::{ServedModel, check_tokenizer};
use crate::{ServeConfig, ServeError};

/// Tokens that must have come before for what followed them to be a guess, most and least.
const MATCH: (usize, usize) = (4, 2);

/// The drafter for a model of `vocab_size` tokens; none where nothing is guessed.
pub(crate) fn drafter_of(
    config: &ServeConfig,
    (model, vocab_size): (&ServedModel, usize),
    threads: usize,
    on: (Device, Precision),
) -> Result<Option<Box<dyn Drafter>>, ServeError> {
    Ok(match &config.speculation {
        None => None,
        Some(Speculation::PromptLookup { tokens }) => {
            let (longest_match, shortest_match) = MATCH;
            let lookup = PromptLookup { longest_match, shortest_match, draft_tokens: *tokens };
            Some(Box::new(Paced::new(lookup)))
        }
        Some(Speculation::Draft { folder, tokens }) => {
            let network = draft_network(folder, model, on)?;
            let context = model.context.min(network.shape().max_position_embeddings as usize);
            // Each answer holds a whole context of it, and no prefix is shared.
            let config = ServeConfig { cache_tokens: 0, ..config.clone() };
            let decoder = decoder_of(network, &config, (context, threads), on, &[])?;
            let draft = DraftModel::new(decoder, *tokens, vocab_size)?;
            tracing::info!(model = model.name, draft = %folder.display(), tokens, "a draft model guesses");
            Some(Box::new(Paced::new(draft)))
        }
    })
}

/// Loads a draft model, which must have the model's tokenizer where it has one.
fn draft_network(
    folder: &Path,
    model: &ServedModel,
    (device, precision): (Device, Precision),
) -> Result<Network, ServeError> {
    let failed = |message: String| ServeError::Draft { path: folder.to_path_buf(), message };
    if folder.is_file() || folder.join("tokenizer.json").is_file() {
        let tokenizer = Tokenizer::load(folder).map_err(|error| failed(error.to_string()))?;
        check_tokenizer(&tokenizer, model).map_err(failed)?;
    }
    Network::load(folder, device)
        .and_then(|network| network.frozen(precision))
        .map_err(|error| failed(error.to_string()))
}
