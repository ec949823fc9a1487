//! `served.json`: which models are served, for a server that runs. A projection of the journal, written anew wherever it differs.

use std::io::Write;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{PromotionBook, PromotionRecord};
use crate::state::{Projection, StateDir};

/// The version of the file's layout.
const VERSION: u32 = 1;

/// `served.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Served {
    /// Version of this layout.
    pub version: u32,
    /// The served model of each spec, the newest promotion first.
    pub models: Vec<ServedModel>,
}

/// A model that is served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServedModel {
    /// The spec.
    pub spec: String,
    /// What clients call it.
    pub name: String,
    /// Its folder, absolute.
    pub folder: PathBuf,
    /// Its fingerprint.
    pub fingerprint: String,
    /// blake3 of its `tokenizer.json`; empty where it has none.
    pub tokenizer: String,
    /// blake3 of its chat template; empty where it has none.
    pub template: String,
    /// The promotion.
    pub promotion: String,
    /// When it was promoted, milliseconds since the Unix epoch.
    pub promoted_millis: i64,
}

/// What the journal says is served.
pub fn served_of(projection: &Projection) -> Served {
    let book = PromotionBook::of(projection);
    let mut records: Vec<&PromotionRecord> =
        book.specs().into_iter().filter_map(|spec| Some(book.served(spec)?.now)).collect();
    records.sort_by_key(|record| std::cmp::Reverse(record.order));
    let model = |record: &PromotionRecord| ServedModel {
        spec: record.spec.clone(),
        name: record.name.clone(),
        folder: projection.dir().root().join(&record.model.folder),
        fingerprint: record.model.fingerprint.clone(),
        tokenizer: record.model.tokenizer.clone(),
        template: record.model.template.clone(),
        promotion: record.id.clone(),
        promoted_millis: record.last().map_or(0, |moment| moment.at_millis),
    };
    Served { version: VERSION, models: records.into_iter().map(model).collect() }
}

/// What the file says; none where it is missing or is not ours.
pub fn read_served(dir: &StateDir) -> Option<Served> {
    serde_json::from_slice(&std::fs::read(dir.served()).ok()?).ok()
}

/// Whether the file says what the journal says.
pub fn is_synced(projection: &Projection) -> bool {
    says(projection.dir(), &served_of(projection))
}

fn says(dir: &StateDir, served: &Served) -> bool {
    read_served(dir).as_ref() == Some(served) || (served.models.is_empty() && !dir.served().exists())
}

/// Makes the file say what the journal says; gives whether it had to. A folder that never promoted anything has none.
pub fn sync_served(projection: &Projection) -> std::io::Result<bool> {
    let (dir, served) = (projection.dir(), served_of(projection));
    if says(dir, &served) {
        return Ok(false);
    }
    let mut draft = tempfile::NamedTempFile::new_in(dir.root())?;
    draft.write_all(&serde_json::to_vec_pretty(&served)?)?;
    draft.as_file().sync_all()?;
    draft.persist(dir.served()).map_err(|error| error.error)?;
    std::fs::File::open(dir.root())?.sync_all()?;
    Ok(true)
}
