//! Moving a finished attempt's output into the store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cupola_specs::artifact::Manifest;
use cupola_specs::contract::{ErrorClass, Failure};

use super::attempt::staging_path;
use super::{Clock, Driver, Happening, RunError};
use crate::executor::Executor;
use crate::state::{CommittedArtifact, Fact};

impl<E: Executor, C: Clock> Driver<'_, E, C> {
    /// Moves a finished attempt's output into the store, if the attempt is still the one that may.
    pub(super) fn commit(&mut self, step: usize) -> Result<Happening, RunError> {
        let planned = &self.plan.steps[step];
        let fingerprint = planned.fingerprint.clone();
        let token = self.ended[step].clone();
        let name = planned.step.name.clone();
        if self.state.projection().newest_token(&fingerprint) != Some(token.as_str()) {
            let failure = Failure {
                class: ErrorClass::Transient,
                code: "stale_attempt".to_owned(),
                message: format!("attempt {token} is not the newest one of its step and may not commit"),
                hint: String::new(),
            };
            return Ok(Happening::CommitFailed { step, failure });
        }
        self.state.record(vec![Fact::CommitIntended {
            run: self.run.clone(),
            step: name.clone(),
            token: token.clone(),
            fingerprint: fingerprint.clone(),
        }])?;
        let staging = staging_path(self.state.dir(), &fingerprint, &token);
        let manifest = self.manifest(step);
        let stored = match self.store.commit(&staging, manifest) {
            Ok(stored) => stored,
            Err(error) => {
                let failure = Failure {
                    class: error.class(),
                    code: error.code().to_owned(),
                    message: error.to_string(),
                    hint: error.hint().to_owned(),
                };
                return Ok(Happening::CommitFailed { step, failure });
            }
        };
        let path =
            stored.path.strip_prefix(self.state.dir().root()).map_or(stored.path.clone(), PathBuf::from);
        self.state.record(vec![Fact::ArtifactCommitted(Box::new(CommittedArtifact {
            run: self.run.clone(),
            step: name,
            token,
            fingerprint: fingerprint.clone(),
            kind: stored.manifest.kind.clone(),
            path,
            size_bytes: stored.size_bytes(),
            summary: stored.manifest.summary,
        }))])?;
        // Checkpoints have done their work; `cupola gc` finds them if this fails.
        let _ = std::fs::remove_dir_all(self.state.dir().step(&fingerprint));
        Ok(Happening::Committed { step })
    }

    fn manifest(&mut self, step: usize) -> Manifest {
        let planned = &self.plan.steps[step];
        let kind = planned.step.kind();
        Manifest {
            version: 1,
            kind: kind.artifact_kind().to_owned(),
            fingerprint: planned.fingerprint.clone(),
            step: planned.step.name.clone(),
            run: self.run.clone(),
            code_version: kind.code_version(),
            cupola_version: env!("CARGO_PKG_VERSION").to_owned(),
            params: planned.step.params.clone(),
            seed: planned.step.seed,
            inputs: planned.inputs.clone(),
            sources_hash: planned.sources_hash(),
            files: BTreeMap::new(),
            summary: self.folds[step].finished.clone().unwrap_or_default(),
            created_millis: self.clock.now_millis(),
        }
    }
}
