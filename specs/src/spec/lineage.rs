//! What is behind a model: the pretrain job that it descends from, and the law that speaks of a recipe. Each answer is found once,
//! so that long chains of jobs cost no more than their length.

use std::collections::HashMap;

use super::jobs::WrittenBody;
use super::reference::{Ref, Target};
use super::resolver::Resolver;
use super::wanted::split_part;
use crate::job::written::PretrainJob;

/// Answers so far.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    /// What is behind each job that makes a model.
    bases: HashMap<usize, Found>,
    /// The first pretrain job that refers to each law, found when the first one is asked for.
    users: Option<HashMap<String, usize>>,
}

/// What is behind a model, by index.
#[derive(Debug, Clone, Copy)]
enum Found {
    /// A pretrain job.
    Job(usize),
    /// Something with errors of its own.
    Broken,
    /// Nothing of this spec.
    Outside,
}

/// What a model descends from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Base<'r> {
    /// A pretrain job.
    Job {
        /// Its name.
        name: &'r str,
        /// What it does.
        pretrain: &'r PretrainJob,
        /// Whether it is free of errors: else only its references are what the user wrote.
        is_whole: bool,
    },
    /// Something with errors of its own: nothing more is to be said.
    Broken,
    /// A folder, or nothing that makes a model.
    Outside,
}

impl<'r> Resolver<'r, '_> {
    /// What a model descends from.
    pub(crate) fn base_of(&mut self, model: &Ref) -> Base<'r> {
        let mut way = Vec::new();
        let mut target = &model.target;
        let found = loop {
            let text = match target {
                Target::Job(text) => text,
                Target::Broken => break Found::Broken,
                Target::Path(_) | Target::Huggingface => break Found::Outside,
            };
            let Some(at) = self.first(split_part(text).0) else { break Found::Broken };
            if let Some(known) = self.lineage.bases.get(&at) {
                break *known;
            }
            way.push(at);
            // A circle of references is an error of its own: whoever comes here again finds that.
            self.lineage.bases.insert(at, Found::Broken);
            target = match self.jobs[at].any_body() {
                Some(WrittenBody::Pretrain(_)) => break Found::Job(at),
                Some(WrittenBody::Sft(sft)) => &sft.model.target,
                Some(WrittenBody::Rlhf(rlhf)) => &rlhf.policy.target,
                Some(_) => break Found::Outside,
                None => break Found::Broken,
            };
        };
        for at in way {
            self.lineage.bases.insert(at, found);
        }
        match found {
            Found::Outside => Base::Outside,
            Found::Broken => Base::Broken,
            Found::Job(at) => {
                let job = &self.jobs[at];
                match job.any_body() {
                    Some(WrittenBody::Pretrain(pretrain)) => {
                        Base::Job { name: &job.name, pretrain, is_whole: job.body.is_some() }
                    }
                    _ => Base::Broken,
                }
            }
        }
    }

    /// The first pretrain job that uses a law, by the law's name or that of its matrix.
    pub(crate) fn user_of(&mut self, law: &str) -> Option<&'r PretrainJob> {
        let jobs = self.jobs;
        let users = self.lineage.users.get_or_insert_with(|| {
            let mut users = HashMap::new();
            for (at, job) in jobs.iter().enumerate() {
                let Some(WrittenBody::Pretrain(pretrain)) = &job.body else { continue };
                for law in pretrain.laws() {
                    if let Target::Job(name) = &law.target {
                        users.entry(name.clone()).or_insert(at);
                    }
                }
            }
            users
        });
        let base = law.split('[').next().unwrap_or_default();
        let at = [users.get(law), users.get(base)].into_iter().flatten().min()?;
        match &jobs[*at].body {
            Some(WrittenBody::Pretrain(pretrain)) => Some(pretrain),
            _ => None,
        }
    }
}
