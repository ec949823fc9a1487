//! How the ranks of a job find each other, and how each learns that the others do not come.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::store::Store;
use crate::KernelError;

/// Where and as whom a rank joins a group; the fields are those of torchrun's environment (`MASTER_ADDR`, `MASTER_PORT`, `RANK`,
/// `WORLD_SIZE`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendezvous {
    /// Host of the store, a name or an address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// This process's number, from 0.
    pub rank: usize,
    /// How many ranks there are.
    pub world_size: usize,
    /// What tells this group from others at the same store: another one for each group and each attempt, the same on all ranks.
    pub run: String,
    /// Whether rank 0 serves the store; not where torchrun's agent does (`TORCHELASTIC_USE_AGENT_STORE`).
    pub serve: bool,
    /// How long joining, and then each operation of the group, may take.
    pub timeout: Duration,
}

const POLL: Duration = Duration::from_millis(10);

impl Rendezvous {
    /// Host and port.
    pub fn address(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// Meets the other ranks and lets `connect` make the group, all within the time-out and on a thread of its own: what blocks without end
    /// in a library is left behind.
    pub(super) fn join<T, C>(&self, connect: C) -> Result<T, KernelError>
    where
        T: Send + 'static,
        C: FnOnce(&Self, Store, Duration) -> Result<T, KernelError> + Send + 'static,
    {
        self.check()?;
        let this = self.clone();
        let started = Instant::now();
        // The thread gives up first, since it can say more.
        let inner = self.timeout.mul_f64(0.9);
        let (sender, receiver) = mpsc::channel();
        let thread = std::thread::Builder::new().name("rendezvous".to_owned()).spawn(move || {
            let joined = this.meet(started, inner).and_then(|store| {
                let rest = inner.saturating_sub(started.elapsed()).max(Duration::from_millis(1));
                connect(&this, store, rest)
            });
            let _nobody_waits = sender.send(joined);
        });
        if let Err(error) = thread {
            return Err(self.error(error.to_string()));
        }
        match receiver.recv_timeout(self.timeout) {
            Ok(Err(KernelError::Torch { message, .. })) => Err(self.error(message)),
            Ok(joined) => joined,
            Err(mpsc::RecvTimeoutError::Timeout) => Err(self.error("no answer from the store".to_owned())),
            Err(mpsc::RecvTimeoutError::Disconnected) => Err(self.error("joining panicked".to_owned())),
        }
    }

    fn check(&self) -> Result<(), KernelError> {
        let fits = self.rank < self.world_size && i32::try_from(self.world_size).is_ok();
        if fits && !self.timeout.is_zero() {
            return Ok(());
        }
        let (rank, world_size, timeout) = (self.rank, self.world_size, self.timeout);
        let message =
            format!("rank {rank} of {world_size} with a time-out of {timeout:?}: ranks count from 0");
        Err(KernelError::Invalid { operation: "rendezvous", message })
    }

    /// Opens the store and waits until every rank is there, with the same world size and each once.
    fn meet(&self, started: Instant, limit: Duration) -> Result<Store, KernelError> {
        let store = Store::open(&self.host, self.port, self.serve && self.rank == 0, limit)?;
        let key = |name: &str| format!("cupola/{}/{name}", self.run);
        if store.add(&key(&format!("rank/{}", self.rank)), 1)? > 1 {
            return self.refuse(&store, format!("two processes are rank {}", self.rank));
        }
        if self.rank == 0 {
            store.set(&key("world"), self.world_size.to_string().as_bytes())?;
        }
        let mut is_known = false;
        loop {
            if store.has(&key("refused"))? {
                let reason = store.get(&key("refused"), POLL)?;
                self.let_others_read();
                return Err(self.error(String::from_utf8_lossy(&reason).into_owned()));
            }
            if !is_known && store.has(&key("world"))? {
                let world = String::from_utf8_lossy(&store.get(&key("world"), POLL)?).into_owned();
                if world != self.world_size.to_string() {
                    let message =
                        format!("rank 0 expects {world} ranks, rank {} {}", self.rank, self.world_size);
                    return self.refuse(&store, message);
                }
                is_known = true;
                store.add(&key("joined"), 1)?;
            }
            if is_known && store.add(&key("joined"), 0)? >= self.world_size as i64 {
                return Ok(store);
            }
            if started.elapsed() + POLL > limit {
                let missing = self.missing(&store);
                return self.refuse(&store, missing);
            }
            std::thread::sleep(POLL);
        }
    }

    /// Tells the others why nobody goes on.
    fn refuse(&self, store: &Store, message: String) -> Result<Store, KernelError> {
        store.set(&format!("cupola/{}/refused", self.run), message.as_bytes())?;
        self.let_others_read();
        Err(self.error(message))
    }

    /// The store goes with the rank that serves it.
    fn let_others_read(&self) {
        if self.serve && self.rank == 0 {
            std::thread::sleep(POLL * 5);
        }
    }

    fn missing(&self, store: &Store) -> String {
        let is_missing =
            |rank: &usize| !store.has(&format!("cupola/{}/rank/{rank}", self.run)).unwrap_or(false);
        let missing: Vec<String> =
            (0..self.world_size).filter(is_missing).map(|rank| rank.to_string()).collect();
        if missing.is_empty() {
            "the others went away".to_owned()
        } else {
            format!("without rank {}", missing.join(", "))
        }
    }

    pub(super) fn error(&self, message: String) -> KernelError {
        KernelError::Rendezvous {
            rank: self.rank,
            world_size: self.world_size,
            address: self.address(),
            seconds: self.timeout.as_secs_f64(),
            message,
        }
    }
}
