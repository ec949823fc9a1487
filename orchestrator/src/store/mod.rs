//! The artifact store: `store/<kind>/<fingerprint>/`, immutable folders, each with a manifest.
//!
//! A worker fills a staging folder. The orchestrator hashes every file, writes the manifest last, fsyncs and renames the whole folder
//! into place: what is in the store is complete. Nothing else in the store is ever changed, cut or deleted but by [`Store::delete`].

mod error;

mod commit;
mod committer;
mod gc;

pub use commit::{Store, StoredArtifact};
pub use committer::{ArtifactStore, Committer};
pub use error::StoreError;
pub use gc::{GcItem, GcPlan, plan_gc};
