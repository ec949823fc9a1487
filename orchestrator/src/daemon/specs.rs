//! The specs whose schedules the daemon fires, read again when their files change.

use std::path::{Path, PathBuf};
use std::time::SystemTime;

use cupola_specs::spec::{ProcessEnvironment, ResolvedSpec, Schedule, Webhook, load};

use crate::alert::{ProcessSecrets, secret_warnings};
use crate::schedule::{Named, ScheduleError, Timetable, schedule_id};
use crate::state::{Projection, RunRow};

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
    files: Vec<SpecFile>,
    /// Those of the files that come first stand first: of two specs with one name the first is meant.
    schedules: Vec<WatchedSchedule>,
    /// How many runs were asked for their specs; none where the files were named.
    runs: Option<usize>,
}

/// A spec's file, and how it was at the last look.
#[derive(Debug)]
struct SpecFile {
    path: PathBuf,
    seen: Seen,
}

#[derive(Debug, PartialEq)]
enum Seen {
    Never,
    Missing,
    Written(SystemTime),
}

impl Seen {
    fn now(path: &Path) -> Self {
        let written = std::fs::metadata(path).and_then(|data| data.modified());
        written.map_or(Self::Missing, Self::Written)
    }
}

impl SpecFile {
    fn new(path: &Path) -> Self {
        Self { path: std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()), seen: Seen::Never }
    }
}

impl WatchedSpecs {
    /// The specs in these files; without any, those of the runs in the state folder, also of runs that begin later. Gives what is
    /// wrong with them as lines, too.
    pub fn open(files: &[PathBuf], projection: &Projection) -> (Self, Vec<String>) {
        let mut specs = Self {
            files: files.iter().map(|path| SpecFile::new(path)).collect(),
            schedules: Vec::new(),
            runs: files.is_empty().then_some(0),
        };
        let problems = specs.refresh(projection);
        (specs, problems)
    }

    /// Specs that are there already, for tests.
    pub fn of(schedules: Vec<WatchedSchedule>) -> Self {
        Self { files: Vec::new(), schedules, runs: None }
    }

    /// Reads again what changed, and the specs of runs that began since; a spec with errors keeps the schedules that it had.
    pub fn refresh(&mut self, projection: &Projection) -> Vec<String> {
        self.follow(projection.runs());
        let mut problems = Vec::new();
        for SpecFile { path, seen } in &mut self.files {
            let now = Seen::now(path);
            if *seen == now {
                continue;
            }
            *seen = now;
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
        let files = &self.files;
        self.schedules.sort_by_key(|schedule| files.iter().position(|file| file.path == schedule.spec));
        problems
    }

    /// Takes the specs of runs that were not there the last time, the newest first.
    fn follow(&mut self, runs: &[RunRow]) {
        let Some(asked) = &mut self.runs else { return };
        let news = runs.get(*asked..).unwrap_or(runs);
        *asked = runs.len();
        for run in news {
            if self.files.iter().all(|file| file.path != run.spec_path) && run.spec_path.is_file() {
                self.files.insert(0, SpecFile::new(&run.spec_path));
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Fact, State, StateDir, read_state};

    fn write(path: &Path, zone: &str) {
        let text = format!(
            "cupola: v1\nname: s\njobs:\n  c: {{ kind: data, sources: [{{ name: t, format: text, paths: [\"*.txt\"] }}] }}\n\
             schedules:\n  nightly: {{ cron: \"0 2 * * *\", timezone: {zone}, jobs: [c] }}\n"
        );
        std::fs::write(path, text).unwrap();
    }

    fn begin(dir: &StateDir, run: &str, spec: &Path) -> Projection {
        let created = Fact::RunCreated {
            run: run.into(),
            spec_name: "s".into(),
            spec_path: spec.to_path_buf(),
            plan_hash: String::new(),
        };
        State::open(dir, "test").unwrap().record(vec![created]).unwrap();
        read_state(dir).unwrap()
    }

    fn zones(specs: &WatchedSpecs) -> Vec<&str> {
        specs.schedules().iter().map(|one| one.schedule.timezone.as_str()).collect()
    }

    #[test]
    fn the_spec_of_a_run_that_began_later_is_watched() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(&folder.path().join("state"));
        let (first, second) = (folder.path().join("first.yaml"), folder.path().join("second.yaml"));
        write(&first, "Europe/Berlin");
        write(&second, "Asia/Tokyo");
        let (mut specs, problems) = WatchedSpecs::open(&[], &read_state(&dir).unwrap());
        assert_eq!((zones(&specs), problems), (vec![], vec![]));

        assert_eq!(specs.refresh(&begin(&dir, "s-1", &first)), Vec::<String>::new());
        assert_eq!(zones(&specs), ["Europe/Berlin"]);
        specs.refresh(&begin(&dir, "s-2", &second));
        assert_eq!(zones(&specs), ["Asia/Tokyo", "Europe/Berlin"], "the newest run's spec comes first");
        let projection = begin(&dir, "s-3", &first);
        specs.refresh(&projection);
        assert_eq!(zones(&specs).len(), 2, "a spec is watched once");

        let (mut named, _) = WatchedSpecs::open(std::slice::from_ref(&first), &projection);
        named.refresh(&begin(&dir, "s-4", &second));
        assert_eq!(zones(&named), ["Europe/Berlin"], "where specs are named, only those");
    }

    #[test]
    fn a_spec_that_is_gone_is_said_once_and_keeps_its_schedules() {
        let folder = tempfile::tempdir().unwrap();
        let dir = StateDir::new(&folder.path().join("state"));
        let spec = folder.path().join("spec.yaml");
        write(&spec, "Europe/Berlin");
        let projection = begin(&dir, "s-1", &spec);
        let (mut specs, _) = WatchedSpecs::open(&[], &projection);
        std::fs::remove_file(&spec).unwrap();
        assert_eq!(specs.refresh(&projection).len(), 1);
        assert_eq!(specs.refresh(&projection), Vec::<String>::new());
        assert_eq!(zones(&specs), ["Europe/Berlin"]);
        write(&spec, "Asia/Tokyo");
        assert_eq!(specs.refresh(&projection), Vec::<String>::new());
        assert_eq!(zones(&specs), ["Asia/Tokyo"]);
    }
}
