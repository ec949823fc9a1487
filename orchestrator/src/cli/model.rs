//! Finding the model that a name means: a folder, a job or step of a run, or the one that is promoted.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cupola_specs::job::StepKind;

use super::CliError;
use super::promotions::{check_there, nothing_served, spec_served};
use crate::promote::{PromotionBook, rules_of};
use crate::state::{Projection, StepRow};

/// A model that can be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FoundModel {
    /// What clients call it.
    pub(super) name: String,
    /// Its folder.
    pub(super) folder: PathBuf,
    /// Where its spec wants it served.
    pub(super) listen: Option<SocketAddr>,
    /// The spec that made or serves it; none for a folder.
    pub(super) spec: Option<String>,
    /// The newest run that has it; none for a folder.
    pub(super) run: Option<String>,
    /// The step that made it; empty for a folder.
    pub(super) step: String,
    /// Its fingerprint; none for a folder.
    pub(super) fingerprint: Option<String>,
}

impl FoundModel {
    /// The folder under a name, as `cupola-serve --model` has it.
    pub(super) fn named_folder(&self, name: &str) -> OsString {
        let mut word = OsString::from(format!("{name}="));
        word.push(&self.folder);
        word
    }
}

/// The model that is served: the newest promotion of the newest spec that has one.
pub(super) fn promoted_model(projection: &Projection) -> Result<FoundModel, CliError> {
    let book = PromotionBook::of(projection);
    let spec = spec_served(projection, &book);
    let Some(served) = spec.as_ref().and_then(|spec| book.served(spec)) else {
        return Err(nothing_served(projection));
    };
    check_there(served.now, projection)?;
    Ok(FoundModel {
        name: served.now.name.clone(),
        folder: projection.dir().root().join(&served.now.model.folder),
        listen: spec.as_ref().and_then(|spec| rules_of(projection, spec)).map(|rules| rules.listen),
        spec,
        run: Some(served.now.run.clone()),
        step: served.now.model.step.clone(),
        fingerprint: Some(served.now.model.fingerprint.clone()),
    })
}

/// The model that `name` means: a folder or a GGUF file, a job or step, or the start of a fingerprint; without a name the promoted one, else the newest.
pub(super) fn find_model(projection: &Projection, name: Option<&str>) -> Result<FoundModel, CliError> {
    let is_gguf = |path: &Path| {
        path.is_file() && path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("gguf"))
    };
    let given = name.map(Path::new).filter(|path| path.join("config.json").is_file() || is_gguf(path));
    if let Some(folder) = given {
        return Ok(of_folder(folder));
    }
    if name.is_none()
        && let Ok(promoted) = promoted_model(projection)
    {
        return Ok(promoted);
    }
    let runs = projection.runs().iter().rev();
    let steps = runs.flat_map(|run| run.steps.iter().rev().map(move |step| (run, step)));
    let is_print = |name: &str, step: &StepRow| name.len() >= 6 && step.fingerprint.starts_with(name);
    let fits = |name: &str, step: &StepRow| step.job == name || step.name == name || is_print(name, step);
    let mut done = steps.filter(|(_, step)| is_model(step.kind) && step.state.is_done());
    let found = done.find_map(|(run, step)| {
        let fits = name.is_none_or(|name| fits(name, step));
        let artifact = projection.artifacts().get(&step.fingerprint).filter(|_| fits)?;
        Some(FoundModel {
            name: model_name(step),
            folder: artifact.path.clone(),
            listen: rules_of(projection, &run.spec_name).map(|rules| rules.listen),
            spec: Some(run.spec_name.clone()),
            run: Some(run.id.clone()),
            step: step.name.clone(),
            fingerprint: Some(step.fingerprint.clone()),
        })
    });
    found.ok_or_else(|| missing(projection, name))
}

fn of_folder(folder: &Path) -> FoundModel {
    let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
    let is_file = folder.is_file();
    let name = if is_file { folder.file_stem() } else { folder.file_name() };
    let name = name.map_or("model".to_owned(), |name| name.to_string_lossy().into_owned());
    let (listen, spec, run, fingerprint) = (None, None, None, None);
    FoundModel { name, folder, listen, spec, run, step: String::new(), fingerprint }
}

fn is_model(kind: StepKind) -> bool {
    matches!(kind, StepKind::Pretrain | StepKind::Sft | StepKind::Optimize)
}

fn model_name(step: &StepRow) -> String {
    if step.job.is_empty() { step.name.clone() } else { step.job.clone() }
}

fn missing(projection: &Projection, wanted: Option<&str>) -> CliError {
    let mut known: Vec<String> = Vec::new();
    for step in projection.runs().iter().rev().flat_map(|run| &run.steps) {
        let name = model_name(step);
        if is_model(step.kind) && step.state.is_done() && !known.contains(&name) {
            known.push(name);
        }
    }
    let hint = if known.is_empty() {
        "`cupola apply SPEC` makes models; a folder with a config.json works too".to_owned()
    } else {
        format!("there are {}", known.join(", "))
    };
    match wanted {
        Some(wanted) => CliError::input(format!("there is no finished model `{wanted}`"), hint),
        None => CliError::input("there is no finished model yet", hint),
    }
}
