//! Threads that share the parts of one operation.
//!
//! A token has some sixty operations of a few microseconds: the threads that wait for the next one spin for a moment before they sleep, and
//! taking a part is one atomic exchange. The caller works too, and waits for no thread that has taken nothing: on a machine where others run,
//! a thread that is kept from its core holds nobody up. Who computes a part has no influence on its result.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::Instructions;

/// Turns of a waiting thread before it sleeps: about a tenth of a millisecond.
const SPINS: u32 = 4_000;

type Panic = Box<dyn std::any::Any + Send>;
type Body = *const (dyn Fn(usize) + Sync);

/// Threads, and the instructions that they use.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    instructions: Instructions,
}

/// Operation (24 bits), parts (20), next part (20) in one word: who exchanges it for the next one has a part of that operation, whatever
/// happened since it was read.
#[derive(Clone, Copy)]
struct Place(u64);

impl Place {
    const BITS: u32 = 20;
    const MASK: u64 = (1 << Self::BITS) - 1;

    fn following(self, parts: usize) -> Self {
        assert!(parts as u64 <= Self::MASK, "{parts} parts");
        Self((self.operation() + 1) << (2 * Self::BITS) | (parts as u64) << Self::BITS)
    }

    fn operation(self) -> u64 {
        self.0 >> (2 * Self::BITS)
    }

    fn parts(self) -> usize {
        (self.0 >> Self::BITS & Self::MASK) as usize
    }

    fn next(self) -> usize {
        (self.0 & Self::MASK) as usize
    }
}

struct Shared {
    /// The operation's number, how many parts it has, and the next one: see [`Place`].
    place: AtomicU64,
    done: AtomicU32,
    body: UnsafeCell<Option<Body>>,
    is_over: AtomicBool,
    sleeping: AtomicU32,
    panic: Mutex<Option<Panic>>,
}

// SAFETY: `body` is written by the owner of the pool while no part is taken and none can be (`parts` of the operation before are all taken), and
// read only by a thread that has taken a part, which the owner waits for.
unsafe impl Sync for Shared {}
// SAFETY: as above; the pointer is used only while the operation runs.
unsafe impl Send for Shared {}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Pool {
    /// `threads` threads, the caller among them, with the best instructions of the machine.
    pub fn new(threads: usize) -> Self {
        Self::with_instructions(threads, Instructions::best())
    }

    /// The same with a set of instructions.
    ///
    /// # Panics
    /// Where the machine lacks the set.
    pub fn with_instructions(threads: usize, instructions: Instructions) -> Self {
        assert!(instructions.is_available(), "this machine has no {}", instructions.name());
        let shared = Arc::new(Shared {
            place: AtomicU64::new(0),
            done: AtomicU32::new(0),
            body: UnsafeCell::new(None),
            is_over: AtomicBool::new(false),
            sleeping: AtomicU32::new(0),
            panic: Mutex::new(None),
        });
        let worker = |at: usize| {
            let shared = Arc::clone(&shared);
            std::thread::Builder::new()
                .name(format!("decode-{at}"))
                .spawn(move || shared.work())
                .unwrap_or_else(|error| panic!("a thread of the decoder: {error}"))
        };
        let workers = (1..threads.max(1)).map(worker).collect();
        Self { shared, workers, instructions }
    }

    /// Threads, the caller among them.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// The instructions.
    pub fn instructions(&self) -> Instructions {
        self.instructions
    }

    /// Calls `body` once with each number below `parts`, on any thread; returns when all are done. `&mut`, since one operation runs at a time.
    pub fn run(&mut self, parts: usize, body: &(dyn Fn(usize) + Sync)) {
        if parts <= 1 || self.workers.is_empty() {
            (0..parts).for_each(body);
            return;
        }
        let shared = &*self.shared;
        let place = Place(shared.place.load(Ordering::Relaxed)).following(parts);
        // SAFETY: no part of the operation before is open, so nobody reads the body; its lifetime is erased, and it is used only until
        // this function has seen every part done.
        unsafe {
            *shared.body.get() = Some(std::mem::transmute::<&(dyn Fn(usize) + Sync), Body>(body));
        }
        shared.done.store(0, Ordering::Relaxed);
        shared.place.store(place.0, Ordering::SeqCst);
        if shared.sleeping.load(Ordering::SeqCst) > 0 {
            self.workers.iter().for_each(|worker| worker.thread().unpark());
        }
        while shared.take_part() {}
        let mut spins = 0;
        while shared.done.load(Ordering::Acquire) < parts as u32 {
            spins += 1;
            if spins < SPINS { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
        if let Some(panic) = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take() {
            resume_unwind(panic);
        }
    }

    /// Calls `body` with the number of each row of `rows [rows, width]` and the row.
    pub fn each_row<T: Send>(
        &mut self,
        rows: &mut [T],
        width: usize,
        body: &(dyn Fn(usize, &mut [T]) + Sync),
    ) {
        let count = rows.len() / width;
        let base = SharedMut(rows.as_mut_ptr());
        let per_part = count.div_ceil(self.threads() * 4).max(MIN_ROWS);
        self.run(count.div_ceil(per_part), &|part| {
            for row in part * per_part..count.min((part + 1) * per_part) {
                // SAFETY: each row is in exactly one part, and the rows outlive the operation.
                body(row, unsafe { std::slice::from_raw_parts_mut(base.get().add(row * width), width) });
            }
        });
    }
}

/// Fewer rows than this are not worth another thread.
pub(super) const MIN_ROWS: usize = 4;

/// A pointer whose parts different threads write.
pub(super) struct SharedMut<T>(pub(super) *mut T);

impl<T> Clone for SharedMut<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for SharedMut<T> {}

impl<T> SharedMut<T> {
    pub(super) fn get(self) -> *mut T {
        self.0
    }
}

// SAFETY: whoever makes one sees to it that no two threads use one element.
unsafe impl<T: Send> Send for SharedMut<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<T> {}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.is_over.store(true, Ordering::SeqCst);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // It catches what its parts throw, so it ends well.
            let _ = worker.join();
        }
    }
}

impl Shared {
    /// Takes one part of the operation that runs and does it; false where there is none left.
    fn take_part(&self) -> bool {
        let place = Place(self.place.load(Ordering::Acquire));
        let part = place.next();
        if part >= place.parts() {
            return false;
        }
        if self.place.compare_exchange(place.0, place.0 + 1, Ordering::AcqRel, Ordering::Relaxed).is_err() {
            return true;
        }
        // SAFETY: a part of this operation is taken and not done, so its body stays.
        if let Some(body) = unsafe { *self.body.get() } {
            // SAFETY: the body outlives the operation, and the operation outlives this part.
            let body = unsafe { &*body };
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(part))) {
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(panic);
            }
        }
        self.done.fetch_add(1, Ordering::AcqRel);
        true
    }

    fn work(&self) {
        loop {
            let seen = Place(self.place.load(Ordering::Acquire)).operation();
            while self.take_part() {}
            let is_seen = |order| Place(self.place.load(order)).operation() == seen;
            let mut spins = 0;
            while is_seen(Ordering::Acquire) && !self.is_over.load(Ordering::Relaxed) {
                spins += 1;
                if spins < SPINS {
                    std::hint::spin_loop();
                    continue;
                }
                self.sleeping.fetch_add(1, Ordering::SeqCst);
                if is_seen(Ordering::SeqCst) && !self.is_over.load(Ordering::SeqCst) {
                    std::thread::park();
                }
                self.sleeping.fetch_sub(1, Ordering::SeqCst);
            }
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    #[test]
    fn every_part_runs_once_in_every_operation() {
        for threads in [1, 2, 5] {
            let mut pool = Pool::new(threads);
            for parts in (0..300).chain([1_000]) {
                let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
                pool.run(parts, &|part| {
                    counts[part].fetch_add(1, Ordering::Relaxed);
                });
                assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
            }
            // A sleeping pool wakes up.
            std::thread::sleep(std::time::Duration::from_millis(20));
            let sum = AtomicUsize::new(0);
            pool.run(7, &|part| {
                sum.fetch_add(part, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 21);
        }
    }

    #[test]
    fn a_panic_of_a_part_is_the_callers_and_the_pool_goes_on() {
        let mut pool = Pool::new(2);
        let broken = catch_unwind(AssertUnwindSafe(|| pool.run(8, &|part| assert_ne!(part, 5, "part five"))));
        assert!(crate::error::panic_text(&*broken.unwrap_err()).contains("part five"));
        let mut rows = vec![0usize; 30];
        pool.each_row(&mut rows, 3, &|row, values| values.fill(row));
        assert!(rows.iter().enumerate().all(|(at, row)| *row == at / 3));
    }
}
