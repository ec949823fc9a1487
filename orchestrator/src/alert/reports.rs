//! The last two reports of a step: where they are, how they compare, and where their lineages part.

use std::path::Path;

use cupola_specs::artifact::EvalReport;
use cupola_specs::spec::ResolvedSpec;
use serde_json::json;

use super::compare::TEST;
use super::{
    AlertError, ChangedAncestor, ChangedStep, Comparison, MetricChange, NotCompared, ReportChange, ReportId,
    compare, first_changed, lineage_of, obstacles,
};
use crate::plan::changes_between;
use crate::state::{PlannedStep, Projection, RunRow};
use crate::store::Store;

/// The report of a firing and the one before it.
#[derive(Debug, Clone, Copy)]
pub(super) struct ReportPair<'a> {
    /// The step that made both.
    pub(super) step: &'a str,
    /// The run of the older one.
    pub(super) older: &'a RunRow,
    /// The run of the newer one.
    pub(super) newer: &'a RunRow,
}

/// What came of holding two reports against each other.
#[derive(Debug)]
pub(super) struct Judged {
    /// Which reports.
    pub(super) older: ReportId,
    /// Which reports.
    pub(super) newer: ReportId,
    /// How they compare.
    pub(super) comparison: Comparison,
    /// The lineages, to find where they part.
    lineages: (Vec<PlannedStep>, Vec<PlannedStep>),
}

impl<'a> ReportPair<'a> {
    /// The report of a run and the newest one of an earlier run of the same spec that is another one; none where there is no such.
    pub(super) fn of(projection: &'a Projection, newer: &'a RunRow, step: &'a str) -> Option<Self> {
        let fingerprint = fingerprint_of(newer, step)?;
        let before = projection.runs().iter().rev().skip_while(|run| run.id != newer.id).skip(1);
        let mut same_spec = before.filter(|run| run.spec_name == newer.spec_name);
        let older =
            same_spec.find(|run| fingerprint_of(run, step).is_some_and(|other| other != fingerprint))?;
        Some(Self { step, older, newer })
    }

    /// Which reports they are: the older and the newer one.
    pub(super) fn ids(&self) -> (ReportId, ReportId) {
        let id = |run: &RunRow| ReportId {
            run: run.id.clone(),
            fingerprint: fingerprint_of(run, self.step).unwrap_or_default().to_owned(),
        };
        (id(self.older), id(self.newer))
    }

    /// Compares them. Nothing of this is an error of the firing: what can't be read is told.
    pub(super) fn judge(&self, projection: &Projection, store: &Store) -> Result<Judged, AlertError> {
        let (older, newer) = self.ids();
        let lineages =
            (lineage_of(projection, self.older, self.step)?, lineage_of(projection, self.newer, self.step)?);
        let part_hash = |fingerprint: &str, part: &str| part_hash(store, fingerprint, part);
        let obstacles = obstacles((&lineages.0, &lineages.1), &part_hash);
        let old = read_report(store, &older)?;
        let new = read_report(store, &newer)?;
        Ok(Judged { older, newer, comparison: compare(&old, &new, &obstacles), lineages })
    }
}

impl Judged {
    /// What an alert says of them; `worse` are the metrics that got worse.
    pub(super) fn told(
        self,
        pair: &ReportPair<'_>,
        worse: Vec<MetricChange>,
        spec: Option<&ResolvedSpec>,
    ) -> ReportChange {
        let changed = first_changed(&self.lineages.0, &self.lineages.1);
        ReportChange {
            step: pair.step.to_owned(),
            older: self.older,
            newer: self.newer,
            worse,
            compared: self.comparison.metrics.len(),
            not_compared: self.comparison.not_compared,
            test: TEST.to_owned(),
            first_changed: changed.map(|changed| ancestor(&changed, pair, spec)),
        }
    }
}

/// The step where the lineages part, with what changed in it.
fn ancestor(
    changed: &ChangedStep<'_>,
    pair: &ReportPair<'_>,
    spec: Option<&ResolvedSpec>,
) -> ChangedAncestor {
    let (older, newer) = ((pair.older, changed.older), (pair.newer, changed.newer));
    let (why, reasons) = match changes_between(older, newer, spec) {
        Ok(reasons) => {
            let lines: Vec<String> = reasons.iter().map(ToString::to_string).collect();
            (lines.join("; "), reasons.iter().map(|reason| json!(reason)).collect())
        }
        // Records of another version: the step is known all the same.
        Err(error) => (format!("what changed can't be told: {error}"), Vec::new()),
    };
    ChangedAncestor {
        step: changed.newer.name.clone(),
        kind: changed.newer.kind.as_str().to_owned(),
        why,
        reasons,
        old_fingerprint: changed.older.fingerprint.clone(),
        new_fingerprint: changed.newer.fingerprint.clone(),
    }
}

/// Lines about what was not compared.
pub(super) fn lines_of(not_compared: &[NotCompared]) -> Vec<String> {
    not_compared.iter().map(|one| format!("{}: not compared, {}", one.what, one.why)).collect()
}

/// The fingerprint of a step whose artifact is there in a run.
fn fingerprint_of<'a>(run: &'a RunRow, step: &str) -> Option<&'a str> {
    run.step(step).filter(|row| row.state.is_done()).map(|row| row.fingerprint.as_str())
}

fn read_report(store: &Store, id: &ReportId) -> Result<EvalReport, AlertError> {
    let folder = store.path("report", &id.fingerprint);
    if !folder.is_dir() {
        return Err(AlertError::ReportGone { run: id.run.clone() });
    }
    let path = folder.join("report.json");
    let bytes = std::fs::read(&path).map_err(AlertError::io(&path))?;
    serde_json::from_slice(&bytes)
        .map_err(|error| AlertError::Report { run: id.run.clone(), problem: error.to_string() })
}

/// The hash over the files of a part of a corpus; none where the corpus is not in the store or has no such files.
fn part_hash(store: &Store, fingerprint: &str, part: &str) -> Option<String> {
    let head = match part {
        "pairs" => Path::new("pairs").join("train.jsonl.zst"),
        "validation_pairs" => Path::new("pairs").join("validation.jsonl.zst"),
        "train" | "validation" => Path::new(part).to_path_buf(),
        _ => return None,
    };
    let manifest = store.get("corpus", fingerprint).ok()??.manifest;
    let mut hasher = blake3::Hasher::new();
    let mut is_empty = true;
    for (path, file) in manifest.files.iter().filter(|(path, _)| Path::new(path).starts_with(&head)) {
        is_empty = false;
        hasher.update(path.as_bytes()).update(b"\0").update(file.blake3.as_bytes()).update(b"\n");
    }
    (!is_empty).then(|| hasher.finalize().to_hex().to_string())
}
