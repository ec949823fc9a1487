//! Moving a finished attempt's output into the store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use cupola_specs::artifact::Manifest;
use cupola_specs::contract::{ErrorClass, Failure};

use super::attempt::staging_path;
use super::driver::Act;
use super::{Clock, Driver, Happening, RunError};
use crate::executor::Executor;
use crate::state::{CommittedArtifact, Fact};
use crate::store::{ArtifactStore, StoreError, StoredArtifact};

impl<E: Executor, C: Clock, A: ArtifactStore> Driver<'_, E, C, A> {
    /// Intends to commit a finished attempt's output, if the attempt is still the one that may.
    pub(super) fn intend_commit(&mut self, step: usize) {
        let fingerprint = self.plan.steps[step].fingerprint.clone();
        let token = self.ended.get(&step).cloned().unwrap_or_default();
        if self.state.projection().newest_token(&fingerprint) != Some(token.as_str()) {
            let failure = Failure {
                class: ErrorClass::Transient,
                code: "stale_attempt".to_owned(),
                message: format!("attempt {token} is not the newest one of its step and may not commit"),
                hint: String::new(),
            };
            self.queue.push_back(Happening::CommitFailed { step, failure });
            return;
        }
        let (run, step_name) = (self.run.clone(), self.name(step));
        self.facts.push(Fact::CommitIntended { run, step: step_name, token, fingerprint });
        self.acts.push(Act::Commit { step });
    }

    /// Begins the commit whose intent is flushed.
    pub(super) fn begin_commit(&mut self, step: usize) -> Result<(), RunError> {
        let token = self.ended.get(&step).cloned().unwrap_or_default();
        let staging = staging_path(self.state.dir(), &self.plan.steps[step].fingerprint, &token);
        let manifest = self.manifest(step);
        // While attempts live their ends are heard, and this commit with them.
        let awaited = self.scheduler.is_awaited(step) || self.lives.is_empty();
        Ok(self.world.artifacts.begin_commit(step, staging, manifest, awaited)?)
    }

    /// Takes in what came of commits.
    pub(super) fn take_commits(&mut self) {
        for (step, result) in self.world.artifacts.take_commits() {
            match result {
                Ok(stored) => self.note_committed(step, stored),
                Err(error) => {
                    let failure = failure_of(&error);
                    self.queue.push_back(Happening::CommitFailed { step, failure });
                }
            }
        }
    }

    fn note_committed(&mut self, step: usize, stored: StoredArtifact) {
        let fingerprint = self.plan.steps[step].fingerprint.clone();
        let root = self.state.dir().root();
        let path = stored.path.strip_prefix(root).map_or(stored.path.clone(), PathBuf::from);
        // Checkpoints have done their work.
        self.acts.push(Act::Discard(self.state.dir().step(&fingerprint)));
        self.facts.push(Fact::ArtifactCommitted(Box::new(CommittedArtifact {
            run: self.run.clone(),
            step: self.name(step),
            token: self.ended.remove(&step).unwrap_or_default(),
            fingerprint,
            kind: stored.manifest.kind.clone(),
            path,
            size_bytes: stored.size_bytes(),
            summary: stored.manifest.summary,
        })));
        self.queue.push_back(Happening::Committed { step });
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
            created_millis: self.world.clock.now_millis(),
        }
    }
}

fn failure_of(error: &StoreError) -> Failure {
    Failure {
        class: error.class(),
        code: error.code().to_owned(),
        message: error.to_string(),
        hint: error.hint().to_owned(),
    }
}
