//! The specs whose schedules the daemon fires, read again when their files change.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cupola_specs::spec::{ProcessEnvironment, ResolvedSpec, Schedule, Webhook, load};

use crate::alert::{ProcessSecrets, secret_warnings};
use crate::schedule::{Named, ScheduleError, Timetable, schedule_id};
use crate::state::Projection;

/// A schedule with its spec and its instants.
#[derive(Debug, Clone)]
pub struct WatchedSchedule {
    /// Full name, `spec.schedule`.
    pub id: String,
    /// The spec's name.
    pub spec_name: String,
    /// The spec's file.
    pub spec: PathBuf,
    /// The schedule.
    pub schedule: Schedule,
    /// Its instants.
    pub table: Timetable,
}

impl WatchedSchedule {
    /// Its name, what the spec says and its instants.
    pub fn named(&self) -> Named<'_> {
        Named { id: &self.id, schedule: &self.schedule, table: &self.table }
    }
}

/// Who is told by a schedule.
#[derive(Debug, PartialEq)]
pub(super) struct Hooks {
    id: String,
    on_failure: Option<Webhook>,
    on_regression: Option<Webhook>,
}

impl Hooks {
    fn of(watched: &WatchedSchedule) -> Self {
        Self {
            id: watched.id.clone(),
            on_failure: watched.schedule.on_failure.clone(),
            on_regression: watched.schedule.on_regression.clone(),
        }
    }
}

/// Specs by file.
#[derive(Debug, Default)]
pub struct WatchedSpecs {
    files: Vec<(PathBuf, Option<SystemTime>)>,
    schedules: Vec<WatchedSchedule>,
}

impl WatchedSpecs {
    /// The specs in these files; without any, those of the runs in the state folder. Gives what is wrong with them as lines, too.
    pub fn open(files: &[PathBuf], projection: &Projection) -> (Self, Vec<String>) {
        let mut paths: Vec<PathBuf> = files.to_vec();
        if paths.is_empty() {
            for run in projection.runs().iter().rev() {
                if !paths.contains(&run.spec_path) && run.spec_path.is_file() {
                    paths.push(run.spec_path.clone());
                }
            }
        }
        let absolute = |path: PathBuf| std::path::absolute(&path).unwrap_or(path);
        let files = paths.into_iter().map(|path| (absolute(path), None)).collect();
        let mut specs = Self { files, schedules: Vec::new() };
        let problems = specs.refresh();
        (specs, problems)
    }

    /// Specs that are there already, for tests.
    pub fn of(schedules: Vec<WatchedSchedule>) -> Self {
        Self { files: Vec::new(), schedules }
    }

    /// Reads again what changed; a spec with errors keeps the schedules that it had.
    pub fn refresh(&mut self) -> Vec<String> {
        let mut problems = Vec::new();
        for (path, known) in &mut self.files {
            let changed = std::fs::metadata(&*path).and_then(|data| data.modified()).ok();
            if changed == *known && known.is_some() {
                continue;
            }
            *known = changed;
            match load(path, &[], &ProcessEnvironment) {
                Err(errors) => problems.push(errors.to_text()),
                Ok(spec) => match watched(&spec, path) {
                    Err(error) => problems.push(format!("{}: {error}", path.display())),
                    Ok(found) => {
                        self.schedules.retain(|schedule| schedule.spec != *path);
                        self.schedules.extend(found);
                    }
                },
            }
        }
        problems
    }

    /// Who is told by each schedule.
    pub(super) fn hooks(&self) -> Vec<Hooks> {
        self.schedules.iter().map(Hooks::of).collect()
    }

    /// What keeps webhooks from working in this process, of schedules that tell others than `before`.
    pub(super) fn hook_warnings(&self, before: &[Hooks]) -> Vec<String> {
        let news = self.schedules.iter().filter(|one| !before.contains(&Hooks::of(one)));
        let warnings = news.flat_map(|one| secret_warnings(&one.schedule, &ProcessSecrets));
        warnings.map(|warning| format!("warning: {warning}")).collect()
    }

    /// Every schedule.
    pub fn schedules(&self) -> &[WatchedSchedule] {
        &self.schedules
    }
}

fn watched(spec: &ResolvedSpec, path: &Path) -> Result<Vec<WatchedSchedule>, ScheduleError> {
    let of = |schedule: &Schedule| {
        Ok(WatchedSchedule {
            id: schedule_id(&spec.name, &schedule.name),
            spec_name: spec.name.clone(),
            spec: path.to_path_buf(),
            schedule: schedule.clone(),
            table: Timetable::new(schedule)?,
        })
    };
    spec.schedules.iter().map(of).collect()
}

/// The schedule of a full name, or of a name that only one spec has.
pub fn find_schedule<'a>(
    schedules: &'a [WatchedSchedule],
    name: &str,
) -> Result<&'a WatchedSchedule, ScheduleError> {
    if let Some(found) = schedules.iter().find(|schedule| schedule.id == name) {
        return Ok(found);
    }
    let named: Vec<&WatchedSchedule> =
        schedules.iter().filter(|schedule| schedule.schedule.name == name).collect();
    match named[..] {
        [found] => Ok(found),
        [] => Err(ScheduleError::Missing(name.to_owned())),
        _ => {
            let ids: Vec<&str> = named.iter().map(|schedule| schedule.id.as_str()).collect();
            Err(ScheduleError::Ambiguous { name: name.to_owned(), ids: ids.join(", ") })
        }
    }
}
