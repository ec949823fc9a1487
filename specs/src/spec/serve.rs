//! What is served, and the gate that a model passes before it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::codes::Code;
use super::decode::At;
use super::document::ServeWritten;
use super::resolved::{ArtifactRef, ResolvedJob, ResolvedJobBody, ResolvedSpec, Serve};
use super::resolver::Resolver;
use super::session::Session;
use super::wanted::Wanted;
use crate::gate::{Gate, GateNames, GateProblem};
use crate::job::EvalParams;

/// Whether a person decides too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Approval {
    /// A model that passes the gate is served.
    None,
    /// It waits for `cupola approve`.
    Required,
}

/// An eval job that measures the served model.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ServedEval<'s> {
    /// The job.
    pub job: &'s str,
    /// The served model's name in it.
    pub model: &'s str,
    /// What it measures.
    pub params: &'s EvalParams,
}

impl ResolvedSpec {
    /// The eval jobs that measure the served model, in spec order; empty where none is served.
    pub fn served_evals(&self) -> Vec<ServedEval<'_>> {
        let model = self.serve.as_ref().map(|serve| &serve.model);
        model.map_or_else(Vec::new, |model| evals_of(self.jobs.iter(), model))
    }
}

fn evals_of<'s>(jobs: impl Iterator<Item = &'s ResolvedJob>, served: &ArtifactRef) -> Vec<ServedEval<'s>> {
    let measured = |job: &'s ResolvedJob| {
        let ResolvedJobBody::Eval(body) = &job.body else { return None };
        let (model, _) = body.models.iter().find(|(_, model)| model == served)?;
        Some(ServedEval { job: &job.name, model, params: &body.params })
    };
    jobs.filter_map(measured).collect()
}

/// The names that the expression of a gate may use.
pub fn gate_names(evals: &[ServedEval<'_>]) -> GateNames {
    GateNames::of(evals.iter().map(|eval| (eval.job, eval.params)))
}

/// Resolves what is served. `jobs` has nothing in place of those with errors.
pub(crate) fn resolve_serve(
    serve: &ServeWritten,
    jobs: &[Option<ResolvedJob>],
    resolver: &mut Resolver<'_, '_>,
) -> Option<Serve> {
    let listen = serve.listen.value.parse().ok();
    if listen.is_none() {
        let message = format!("`{}` is not an address", serve.listen.value);
        resolver
            .session
            .error(Code::BadAddress, serve.listen.spot, message)
            .expecting("HOST:PORT such as 127.0.0.1:8080");
    }
    let model = resolver.artifact(&serve.model, Wanted::Model);
    let promote_if = serve.promote_if.as_ref();
    let is_right = promote_if.is_none_or(|gate| check_gate(gate, model.as_ref(), jobs, resolver.session));
    if !is_right {
        return None;
    }
    Some(Serve {
        model: model?,
        listen: listen?,
        promote_if: promote_if.map(|gate| gate.value.clone()),
        approval: serve.approval,
    })
}

/// Checks the expression of a gate. Its names are only known where the model and all jobs are right.
fn check_gate(
    written: &At<String>,
    model: Option<&ArtifactRef>,
    jobs: &[Option<ResolvedJob>],
    session: &mut Session<'_>,
) -> bool {
    let gate = match Gate::parse(&written.value) {
        Ok(gate) => gate,
        Err(problem) => {
            tell(&problem, written, session);
            return false;
        }
    };
    let Some(model) = model.filter(|_| jobs.iter().all(Option::is_some)) else { return true };
    let names = gate_names(&evals_of(jobs.iter().flatten(), model));
    let problems = gate.check(&names);
    for problem in &problems {
        tell(problem, written, session);
    }
    problems.is_empty()
}

fn tell(problem: &GateProblem, written: &At<String>, session: &mut Session<'_>) {
    let spot =
        if problem.written.is_empty() { written.spot } else { session.find(written.spot, &problem.written) };
    let error = session.error(Code::BadExpression, spot, problem.message.clone());
    if !problem.expected.is_empty() {
        error.expecting(problem.expected.clone());
    }
    if let Some((word, known)) = &problem.suggestion {
        error.suggesting(word, known);
    }
}
