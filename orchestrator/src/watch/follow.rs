//! Following a run without its lock: the journal is read on from where it was read last, and of event files only those that are looked at.
//!
//! One poll costs a look at the journal's length and at the files of the steps that are live or selected, whatever the run's size.

use std::collections::{BTreeMap, HashMap, VecDeque};

use cupola_specs::contract::{Event, EventBody};

use super::forecast::{Forecast, Past};
use super::line::event_line;
use crate::state::WantedRoom;
use crate::state::{
    EventFold, EventTail, Fact, Holder, Position, Projection, Record, RunRow, RunView, StateDir, StateError,
    StepView, events_file, holder, read_journal_after, read_state,
};

/// Lines of a step's log that are kept.
const MAX_LOG_LINES: usize = 1_000;

/// A run as it is followed.
#[derive(Debug)]
pub struct Follower {
    dir: StateDir,
    wanted: Option<String>,
    projection: Projection,
    position: Position,
    run: Option<String>,
    plan: PlanShape,
    feeds: BTreeMap<usize, Feed>,
    holder: Option<Holder>,
    past: Past,
    warnings: BTreeMap<usize, usize>,
    /// Whether the first poll is over: the run that was the newest then stays the one that is followed.
    is_settled: bool,
    /// Grows with every change that a page could show.
    version: u64,
}

/// What a plan's records say of its graph.
#[derive(Debug, Default)]
struct PlanShape {
    needs: Vec<Vec<u32>>,
    depths: Vec<u32>,
    index: HashMap<String, u32>,
}

/// What the events of a step's attempts add up to, and where reading them goes on.
#[derive(Debug, Default)]
struct Feed {
    tails: Vec<EventTail>,
    fold: EventFold,
    log: VecDeque<String>,
    /// Whether it was read after its step's end.
    is_closed: bool,
}

impl Follower {
    /// Follows this run, or the newest.
    pub fn open(dir: &StateDir, wanted: Option<&str>) -> Result<Self, StateError> {
        let mut follower = Self {
            dir: dir.clone(),
            wanted: wanted.map(str::to_owned),
            projection: Projection::new(dir),
            position: Position::FIRST,
            run: None,
            plan: PlanShape::default(),
            feeds: BTreeMap::new(),
            holder: None,
            past: Past::default(),
            warnings: BTreeMap::new(),
            is_settled: false,
            version: 0,
        };
        match follower.poll(&[]) {
            Err(StateError::Schema { .. }) => {
                // Brings an older journal up to this version's.
                read_state(dir)?;
                follower.poll(&[])?;
            }
            other => drop(other?),
        }
        follower.is_settled = follower.run.is_some();
        Ok(follower)
    }

    /// Reads what is new: facts, and events of the steps that are live or that the page looks at. Gives whether anything changed.
    pub fn poll(&mut self, looked_at: &[usize]) -> Result<bool, StateError> {
        let before = self.version;
        // The holder first: what one that has let go recorded before is read after.
        let holder = holder(&self.dir);
        if holder != self.holder {
            self.holder = holder;
            self.version += 1;
        }
        self.read_facts()?;
        self.read_events(looked_at)?;
        Ok(self.version != before)
    }

    /// The run that is followed; none where there is none yet.
    pub fn run(&self) -> Option<&RunRow> {
        self.projection.run(self.run.as_deref()?)
    }

    /// The room on the disk that the run waits for.
    pub fn wanted_room(&self) -> Option<WantedRoom> {
        WantedRoom::of(&self.projection, self.run()?)
    }

    /// The process that works on the folder.
    pub fn holder(&self) -> Option<&Holder> {
        self.holder.as_ref()
    }

    /// The state folder.
    pub fn dir(&self) -> &StateDir {
        &self.dir
    }

    /// The layer of a step: 0 where it needs nothing, else one more than the deepest that it needs.
    pub fn depth(&self, step: usize) -> u32 {
        self.plan.depths.get(step).copied().unwrap_or(0)
    }

    /// The steps that a step needs.
    pub fn needs(&self, step: usize) -> &[u32] {
        self.plan.needs.get(step).map_or(&[], Vec::as_slice)
    }

    /// A step with what its events say, as far as they were read.
    pub fn view(&self, step: usize) -> Option<StepView> {
        let row = self.run()?.steps.get(step)?;
        let mut view = StepView::of(row);
        view.attempts = self.projection.attempts(&row.fingerprint).to_vec();
        if let Some(feed) = self.feeds.get(&step) {
            view.progress.clone_from(&feed.fold.progress);
            view.metrics.clone_from(&feed.fold.metrics);
            view.warnings.clone_from(&feed.fold.warnings);
        }
        Some(view)
    }

    /// The run with what the events of its steps say, as far as they were read.
    pub fn run_view(&self) -> Option<RunView> {
        let mut view = RunView::of(self.run()?);
        view.waits_for = self.wanted_room();
        for (at, step) in view.steps.iter_mut().enumerate() {
            if let Some(seen) = self.feeds.get(&at).and_then(|_| self.view(at)) {
                *step = seen;
            }
        }
        Some(view)
    }

    /// The newest lines that a step's workers said.
    pub fn log(&self, step: usize) -> impl DoubleEndedIterator<Item = &str> + ExactSizeIterator {
        static NONE: VecDeque<String> = VecDeque::new();
        self.feeds.get(&step).map_or(&NONE, |feed| &feed.log).iter().map(String::as_str)
    }

    /// How many warnings the steps said whose events were read.
    pub fn num_warnings(&self) -> usize {
        self.warnings.values().sum()
    }

    /// How long the run still needs on `cores`, by what is known of its steps.
    pub fn forecast(&self, cores: u32, now_millis: i64) -> Forecast {
        let Some(run) = self.run() else { return Forecast::default() };
        let progress = |step: usize| self.feeds.get(&step)?.fold.progress.as_ref();
        Forecast::of(run, &self.plan.needs, &self.past, &progress, (cores, now_millis))
    }

    fn read_facts(&mut self) -> Result<(), StateError> {
        let path = self.dir.journal();
        let length = std::fs::metadata(&path).map_or(0, |data| data.len());
        if length < self.position.end && self.position != Position::FIRST {
            self.begin_again();
        }
        if length <= self.position.end && self.position != Position::FIRST {
            return Ok(());
        }
        let contents = match read_journal_after(&path, &self.position) {
            // Another journal lies where the one was that was read: one that was put back, or made anew.
            Err(StateError::Journal { .. }) if self.position != Position::FIRST => {
                self.begin_again();
                read_journal_after(&path, &self.position)?
            }
            other => other?,
        };
        if contents.records.is_empty() {
            return Ok(());
        }
        for record in &contents.records {
            self.take(record);
        }
        self.position = contents.position;
        self.plan.depths = self.plan.depths();
        if let Some(run) = self.run.as_deref().and_then(|run| self.projection.run(run)) {
            self.past.learn(&self.projection, run);
        }
        self.version += 1;
        Ok(())
    }

    fn begin_again(&mut self) {
        self.projection = Projection::new(&self.dir);
        self.position = Position::FIRST;
        self.wanted = self.run.take().or(self.wanted.take());
        self.plan = PlanShape::default();
        self.past = Past::default();
        self.feeds.clear();
    }

    fn take(&mut self, record: &Record) {
        self.projection.apply(record);
        match &record.fact {
            Fact::RunCreated { run, .. } if self.is_to_follow(run) => {
                self.run = Some(run.clone());
                self.plan = PlanShape::default();
                self.feeds.clear();
            }
            Fact::StepsPlanned { run, steps } if self.run.as_ref() == Some(run) => {
                for step in steps {
                    self.plan.add(&step.name, &step.needs);
                }
            }
            _ => {}
        }
    }

    /// Whether a run that was made is the one to follow: the wanted one, or the newest at the time of the first poll.
    fn is_to_follow(&self, run: &str) -> bool {
        match &self.wanted {
            Some(wanted) => wanted == run,
            None => !self.is_settled || self.run.is_none(),
        }
    }

    fn read_events(&mut self, looked_at: &[usize]) -> Result<(), StateError> {
        let Some(run) = self.run.as_deref().and_then(|run| self.projection.run(run)) else { return Ok(()) };
        self.feeds.retain(|at, feed| !feed.is_closed || looked_at.contains(at));
        let live = run.steps.iter().enumerate().filter(|(_, step)| step.state.is_live()).map(|(at, _)| at);
        let open = self.feeds.iter().filter(|(_, feed)| !feed.is_closed).map(|(at, _)| *at);
        let mut steps: Vec<usize> = live.chain(open).chain(looked_at.iter().copied()).collect();
        steps.sort_unstable();
        steps.dedup();
        for at in steps {
            let Some(row) = run.steps.get(at) else { continue };
            let feed = self.feeds.entry(at).or_default();
            let attempts = self.projection.attempts(&row.fingerprint);
            for attempt in attempts.iter().skip(feed.tails.len()) {
                feed.tails.push(EventTail::new(events_file(&attempt.dir), 0));
            }
            // Its state was read before: what it said up to its end is there now.
            let is_over = row.state.is_final();
            if !(feed.is_closed && is_over) && feed.read()? {
                self.version += 1;
                self.warnings.insert(at, feed.fold.warnings.len());
            }
            feed.is_closed = is_over;
        }
        Ok(())
    }
}

impl PlanShape {
    fn add(&mut self, name: &str, needs: &[String]) {
        let needs = needs.iter().filter_map(|need| self.index.get(need).copied()).collect();
        self.index.insert(name.to_owned(), self.needs.len() as u32);
        self.needs.push(needs);
    }

    /// Steps come after those that they need.
    fn depths(&self) -> Vec<u32> {
        let mut depths: Vec<u32> = Vec::with_capacity(self.needs.len());
        for needs in &self.needs {
            let deepest = needs.iter().filter_map(|need| depths.get(*need as usize)).max();
            depths.push(deepest.map_or(0, |deepest| deepest + 1));
        }
        depths
    }
}

impl Feed {
    /// Reads on. Gives whether anything was said.
    fn read(&mut self) -> Result<bool, StateError> {
        let mut events = Vec::new();
        for tail in &mut self.tails {
            events.extend(tail.read()?);
        }
        let is_news = !events.is_empty();
        for event in events {
            self.take(event);
        }
        Ok(is_news)
    }

    fn take(&mut self, event: Event) {
        // Progress and curves are drawn.
        if !matches!(event.body, EventBody::Progress { .. } | EventBody::Metric { .. }) {
            if self.log.len() == MAX_LOG_LINES {
                self.log.pop_front();
            }
            self.log.push_back(event_line(&event));
        }
        self.fold.push(event);
    }
}
