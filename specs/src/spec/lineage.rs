//! What is behind a model: the pretrain job that it descends from, and the law that speaks of a recipe. Each answer is found once,
//! so that long chains of jobs cost no more than their length.

use std::collections::HashMap;

use super::jobs::{Resolver, WrittenBody};
use super::reference::{Ref, Target};
use super::wanted::split_part;
use crate::job::written::PretrainJob;

/// Answers so far.
#[derive(Debug, Default)]
pub(crate) struct Lineage {
    /// The pretrain job behind each job that makes a model, where there is one.
    bases: HashMap<usize, Option<usize>>,
    /// The first pretrain job that refers to each law, found when the first one is asked for.
    users: Option<HashMap<String, usize>>,
}

impl<'r> Resolver<'r, '_> {
    /// The pretrain job that a model descends from, with its name; none where the chain ends outside the spec or goes in a circle.
    pub(crate) fn base_of(&mut self, model: &Ref) -> Option<(&'r str, &'r PretrainJob)> {
        let mut way = Vec::new();
        let mut target = &model.target;
        let base = loop {
            let Target::Job(text) = target else { break None };
            let Some(at) = self.first(split_part(text).0) else { break None };
            if let Some(known) = self.lineage.bases.get(&at) {
                break *known;
            }
            way.push(at);
            // A circle of references is an error of its own: whoever comes here again finds nothing.
            self.lineage.bases.insert(at, None);
            target = match &self.jobs[at].body {
                Some(WrittenBody::Pretrain(_)) => break Some(at),
                Some(WrittenBody::Sft(sft)) => &sft.model.target,
                Some(WrittenBody::Rlhf(rlhf)) => &rlhf.policy.target,
                _ => break None,
            };
        };
        for at in way {
            self.lineage.bases.insert(at, base);
        }
        let job = &self.jobs[base?];
        match &job.body {
            Some(WrittenBody::Pretrain(pretrain)) => Some((&job.name, pretrain)),
            _ => None,
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
