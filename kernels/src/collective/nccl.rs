//! NCCL: collectives between NVIDIA GPUs, by its C interface. The library is the one that `libtorch_cuda.so` brought along, opened at run
//! time since the binary links no CUDA; the ranks exchange its identifier through the store.
//!
//! Operations run on a stream of their own that follows the caller's, so that they overlap with backward. [`Work::wait`] waits on the host,
//! where a time-out can be told and the communicator aborted: a stream that waits for a dead rank would hang the process at its next
//! synchronisation.
//!
//! NCCL connects to its neighbours when an operation of a kind is first enqueued, and waits there without a limit of its own. With
//! [`NCCL_ENVIRONMENT`] it connects while the ranks join, which has one.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, mpsc};
use std::time::{Duration, Instant};

use libloading::os::unix::Library;
use tch::{Device, Kind, Tensor};

use super::group::{Group, Reduction, Transport};
use super::rendezvous::Rendezvous;
use super::store::Store;
use super::work::{Facts, Pending};
use super::{Collective, ReduceOp, Work};
use crate::KernelError;
use crate::device::cuda_index;
use crate::shim::{self, Message};

/// The environment that a process of several ranks should start with, so that no connection is made outside of the time-out of joining.
pub const NCCL_ENVIRONMENT: (&str, &str) = ("NCCL_RUNTIME_CONNECT", "0");

/// Ranks on NVIDIA GPUs, one for each.
#[derive(Debug)]
pub struct Nccl(Group<NcclTransport>);

impl Nccl {
    /// Meets the other ranks; this one works on CUDA device `device`, which becomes the current one of each thread that calls.
    ///
    /// # Errors
    /// No such device, no NCCL, or as [`super::Gloo::join`].
    pub fn join(rendezvous: &Rendezvous, device: usize) -> Result<Self, KernelError> {
        let index = cuda_index("nccl", device)?;
        let library =
            Interface::open().map_err(|message| KernelError::NoCuda { operation: "nccl", message })?;
        let transport = rendezvous.join(move |rendezvous, store, rest| {
            connect(rendezvous, &store, rest, index, library).map(|transport| (transport, store))
        });
        let (transport, store) = transport?;
        let facts =
            Facts { rank: rendezvous.rank, timeout: rendezvous.timeout, broken: Arc::new(OnceLock::new()) };
        let group = Group::new(transport, facts, rendezvous.world_size);
        group.barrier().map_err(|error| rendezvous.error(error.to_string()))?;
        // Every rank has read the identifier now.
        drop(store);
        Ok(Self(group))
    }
}

type Comm = *mut c_void;
type Status = c_int;
type Stream = *mut c_void;
const SUCCESS: Status = 0;
const IN_PROGRESS: Status = 7;

#[repr(C)]
#[derive(Clone, Copy)]
struct UniqueId([c_char; 128]);

/// The functions of NCCL 2 that are used here, with the signatures of its header.
#[derive(Debug, Clone, Copy)]
struct Interface {
    get_unique_id: unsafe extern "C" fn(*mut UniqueId) -> Status,
    comm_init_rank: unsafe extern "C" fn(*mut Comm, c_int, UniqueId, c_int) -> Status,
    comm_destroy: unsafe extern "C" fn(Comm) -> Status,
    comm_abort: unsafe extern "C" fn(Comm) -> Status,
    comm_async_error: unsafe extern "C" fn(Comm, *mut Status) -> Status,
    error_string: unsafe extern "C" fn(Status) -> *const c_char,
    all_reduce: unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, Stream) -> Status,
    reduce_scatter:
        unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, Stream) -> Status,
    all_gather: unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, Comm, Stream) -> Status,
    broadcast: unsafe extern "C" fn(*const c_void, *mut c_void, usize, c_int, c_int, Comm, Stream) -> Status,
}

impl Interface {
    fn open() -> Result<Self, String> {
        // SAFETY: NCCL's initialisers touch nothing of this process, and the symbols have the signatures of its header, unchanged in
        // version 2. The library stays open.
        unsafe {
            let library = Library::new("libnccl.so.2").map_err(|error| error.to_string())?;
            macro_rules! symbol {
                ($name:literal) => {
                    *library.get(concat!($name, "\0").as_bytes()).map_err(|error| error.to_string())?
                };
            }
            let interface = Self {
                get_unique_id: symbol!("ncclGetUniqueId"),
                comm_init_rank: symbol!("ncclCommInitRank"),
                comm_destroy: symbol!("ncclCommDestroy"),
                comm_abort: symbol!("ncclCommAbort"),
                comm_async_error: symbol!("ncclCommGetAsyncError"),
                error_string: symbol!("ncclGetErrorString"),
                all_reduce: symbol!("ncclAllReduce"),
                reduce_scatter: symbol!("ncclReduceScatter"),
                all_gather: symbol!("ncclAllGather"),
                broadcast: symbol!("ncclBroadcast"),
            };
            std::mem::forget(library);
            Ok(interface)
        }
    }

    fn check(&self, function: &str, status: Status) -> Result<(), String> {
        if status == SUCCESS {
            return Ok(());
        }
        // SAFETY: NCCL returns a constant text for every status.
        let text = unsafe { CStr::from_ptr((self.error_string)(status)) };
        Err(format!("{function}: {}", text.to_string_lossy()))
    }
}

fn connect(
    rendezvous: &Rendezvous,
    store: &Store,
    rest: Duration,
    index: i32,
    library: Interface,
) -> Result<NcclTransport, KernelError> {
    let failed = |message| rendezvous.error(message);
    let key = format!("cupola/{}/nccl", rendezvous.run);
    let mut id = UniqueId([0; 128]);
    if rendezvous.rank == 0 {
        // SAFETY: NCCL writes the identifier.
        library.check("ncclGetUniqueId", unsafe { (library.get_unique_id)(&raw mut id) }).map_err(failed)?;
        store.set(&key, &id.0.map(|byte| byte as u8))?;
    } else {
        let bytes = store.get(&key, rest)?;
        let bytes: [u8; 128] =
            bytes.try_into().map_err(|_| failed("the identifier of NCCL has another length".to_owned()))?;
        id = UniqueId(bytes.map(|byte| byte as c_char));
    }
    shim::check("nccl", shim::cupola_cuda_set_device(index))?;
    let mut comm = std::ptr::null_mut();
    let (world_size, rank) = (rendezvous.world_size as c_int, rendezvous.rank as c_int);
    // SAFETY: the device is this thread's current one; NCCL writes the communicator. It blocks until every rank is here: `join` leaves this
    // thread behind when the time is up.
    let status = unsafe { (library.comm_init_rank)(&raw mut comm, world_size, id, rank) };
    library.check("ncclCommInitRank", status).map_err(failed)?;
    let communicator = Arc::new(Communicator { comm: Mutex::new(comm), library });
    let (mut stream, mut handle) = (std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the call writes a stream of ours and its handle.
    shim::check("nccl", unsafe { shim::cupola_stream_new(index, &raw mut stream, &raw mut handle) })?;
    Ok(NcclTransport { communicator, stream: OwnStream { stream, handle }, index })
}

/// A communicator; null once it was aborted.
#[derive(Debug)]
struct Communicator {
    comm: Mutex<Comm>,
    library: Interface,
}

// SAFETY: the communicator is used under its lock.
unsafe impl Send for Communicator {}
// SAFETY: as above.
unsafe impl Sync for Communicator {}

impl Communicator {
    /// Ends what is under way on the device, at once.
    fn abort(&self) {
        let mut comm = self.comm.lock().unwrap_or_else(PoisonError::into_inner);
        if !comm.is_null() {
            // SAFETY: the communicator is ours and is not used after this.
            unsafe { (self.library.comm_abort)(*comm) };
            *comm = std::ptr::null_mut();
        }
    }

    /// What went wrong between the ranks since the last call.
    fn error(&self) -> Result<(), String> {
        let comm = self.comm.lock().unwrap_or_else(PoisonError::into_inner);
        if comm.is_null() {
            return Err("the communicator was aborted".to_owned());
        }
        let mut status = SUCCESS;
        // SAFETY: the communicator is alive while the lock is held; NCCL writes the status.
        let asked = unsafe { (self.library.comm_async_error)(*comm, &raw mut status) };
        self.library.check("ncclCommGetAsyncError", asked)?;
        if status == IN_PROGRESS { Ok(()) } else { self.library.check("NCCL", status) }
    }
}

impl Drop for Communicator {
    /// One that never failed is left in order, so that what the others still receive arrives; that waits for them, so not without end.
    fn drop(&mut self) {
        let comm = SentComm(*self.comm.get_mut().unwrap_or_else(PoisonError::into_inner));
        if comm.0.is_null() {
            return;
        }
        let (destroy, (left, waits)) = (self.library.comm_destroy, mpsc::channel());
        std::thread::spawn(move || {
            let comm = comm;
            // SAFETY: the communicator is ours and this is its last use.
            let _nobody_waits = left.send(unsafe { destroy(comm.0) });
        });
        let _outcome = waits.recv_timeout(LEAVING);
    }
}

/// A communicator on its way to another thread.
struct SentComm(Comm);

// SAFETY: NCCL lets any thread destroy a communicator.
unsafe impl Send for SentComm {}

const LEAVING: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct OwnStream {
    stream: *mut c_void,
    handle: Stream,
}

// SAFETY: a stream may be used from any thread.
unsafe impl Send for OwnStream {}

impl Drop for OwnStream {
    fn drop(&mut self) {
        // SAFETY: the value is ours; the stream itself belongs to torch's pool.
        unsafe { shim::cupola_stream_free(self.stream) };
    }
}

#[derive(Debug)]
struct NcclTransport {
    communicator: Arc<Communicator>,
    stream: OwnStream,
    index: i32,
}

impl NcclTransport {
    /// Enqueues a call behind what the caller's stream holds; `tensors` live until it is done.
    fn begin(
        &self,
        function: &str,
        tensors: Vec<Tensor>,
        call: impl FnOnce(&Interface, Comm, Stream) -> Status,
    ) -> Result<Box<dyn Pending>, String> {
        let begun = self.enqueue(function, call);
        if begun.is_err() {
            // What is under way must not outlive its tensors.
            self.communicator.abort();
        }
        Ok(Box::new(NcclWork { event: begun?, communicator: Arc::clone(&self.communicator), tensors }))
    }

    fn enqueue(
        &self,
        function: &str,
        call: impl FnOnce(&Interface, Comm, Stream) -> Status,
    ) -> Result<*mut c_void, String> {
        let communicator = &self.communicator;
        communicator.error()?;
        ok(shim::cupola_cuda_set_device(self.index))?;
        // SAFETY: the stream is ours.
        ok(unsafe { shim::cupola_stream_follow(self.stream.stream) })?;
        {
            let comm = communicator.comm.lock().unwrap_or_else(PoisonError::into_inner);
            if comm.is_null() {
                return Err("the communicator was aborted".to_owned());
            }
            communicator.library.check(function, call(&communicator.library, *comm, self.stream.handle))?;
        }
        let mut event = std::ptr::null_mut();
        // SAFETY: the stream is ours; on success the call writes an event of ours.
        ok(unsafe { shim::cupola_event_record(self.stream.stream, &raw mut event) })?;
        Ok(event)
    }
}

impl Transport for NcclTransport {
    fn device(&self) -> Device {
        Device::Cuda(self.index as usize)
    }

    fn all_reduce(&mut self, flat: &Tensor, reduction: Reduction) -> Result<Box<dyn Pending>, String> {
        let (data, count, kind, op) = (flat.data_ptr(), flat.numel(), kind_of(flat)?, op_of(reduction));
        // SAFETY: `data` holds `count` elements on the device, alive until the work is done.
        self.begin("ncclAllReduce", vec![flat.shallow_clone()], |library, comm, stream| unsafe {
            (library.all_reduce)(data, data, count, kind, op, comm, stream)
        })
    }

    fn reduce_scatter(
        &mut self,
        rows: &Tensor,
        reduction: Reduction,
    ) -> Result<(Box<dyn Pending>, Tensor), String> {
        let row =
            rows.f_select(0, 0).and_then(|row| row.f_empty_like()).map_err(|error| error.to_string())?; // [N]
        let (from, to, count) = (rows.data_ptr(), row.data_ptr(), row.numel());
        let (kind, op) = (kind_of(rows)?, op_of(reduction));
        let tensors = vec![rows.shallow_clone(), row.shallow_clone()];
        // SAFETY: `from` holds a row of `count` elements for each rank and `to` one, on the device, alive until the work is done.
        let pending = self.begin("ncclReduceScatter", tensors, |library, comm, stream| unsafe {
            (library.reduce_scatter)(from, to, count, kind, op, comm, stream)
        })?;
        Ok((pending, row))
    }

    fn all_gather(&mut self, rows: &Tensor, own: &Tensor) -> Result<Box<dyn Pending>, String> {
        let (from, to, count, kind) = (own.data_ptr(), rows.data_ptr(), own.numel(), kind_of(own)?);
        let tensors = vec![rows.shallow_clone(), own.shallow_clone()];
        // SAFETY: `from` holds `count` elements and `to` as many for each rank, on the device, alive until the work is done.
        self.begin("ncclAllGather", tensors, |library, comm, stream| unsafe {
            (library.all_gather)(from, to, count, kind, comm, stream)
        })
    }

    fn broadcast(&mut self, flat: &Tensor, root: usize) -> Result<Box<dyn Pending>, String> {
        let (data, count, kind, root) = (flat.data_ptr(), flat.numel(), kind_of(flat)?, root as c_int);
        // SAFETY: `data` holds `count` elements on the device, alive until the work is done.
        self.begin("ncclBroadcast", vec![flat.shallow_clone()], |library, comm, stream| unsafe {
            (library.broadcast)(data, data, count, kind, root, comm, stream)
        })
    }
}

struct NcclWork {
    event: *mut c_void,
    communicator: Arc<Communicator>,
    #[allow(dead_code, reason = "held until the device is done with them")]
    tensors: Vec<Tensor>,
}

// SAFETY: an event may be asked from any thread; here one at a time.
unsafe impl Send for NcclWork {}

impl NcclWork {
    fn query(&self) -> Result<bool, String> {
        let mut done = 0;
        // SAFETY: the event is ours; the call writes the answer.
        ok(unsafe { shim::cupola_event_query(self.event, &raw mut done) })?;
        Ok(done != 0)
    }
}

impl Pending for NcclWork {
    fn is_done(&self) -> bool {
        self.query().unwrap_or(true)
    }

    fn wait(&mut self, rest: Duration) -> Result<(), String> {
        let started = Instant::now();
        let mut pause = Duration::from_micros(20);
        while !self.query()? {
            let failure = match self.communicator.error() {
                Err(message) => Some(message),
                Ok(()) if started.elapsed() > rest => Some("timed out".to_owned()),
                Ok(()) => None,
            };
            if let Some(message) = failure {
                self.communicator.abort();
                return Err(message);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(1));
        }
        // SAFETY: the event is ours.
        ok(unsafe { shim::cupola_event_block_current(self.event) })
    }
}

impl Drop for NcclWork {
    fn drop(&mut self) {
        // SAFETY: the event is ours.
        unsafe { shim::cupola_event_free(self.event) };
    }
}

fn ok(message: Message) -> Result<(), String> {
    shim::text_of(message).map_or(Ok(()), Err)
}

fn kind_of(tensor: &Tensor) -> Result<c_int, String> {
    match tensor.kind() {
        Kind::Int8 => Ok(0),
        Kind::Uint8 => Ok(1),
        Kind::Int => Ok(2),
        Kind::Int64 => Ok(4),
        Kind::Half => Ok(6),
        Kind::Float => Ok(7),
        Kind::Double => Ok(8),
        Kind::BFloat16 => Ok(9),
        other => Err(format!("NCCL has no {other:?}")),
    }
}

fn op_of(reduction: Reduction) -> c_int {
    match reduction {
        Reduction::Sum => 0,
        Reduction::Max => 2,
    }
}

super::group::through!(Nccl);

#[cfg(test)]
mod tests {
    use super::*;

    fn alone() -> Rendezvous {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Rendezvous {
            host: "127.0.0.1".to_owned(),
            port,
            rank: 0,
            world_size: 1,
            run: "nccl".to_owned(),
            serve: true,
            timeout: Duration::from_mins(1),
        }
    }

    #[test]
    fn without_cuda_joining_says_so_at_once() {
        if crate::samples::has_cuda() {
            return println!("skipped: this machine has CUDA");
        }
        let error = Nccl::join(&alone(), 0).unwrap_err();
        assert_eq!(error.to_string(), "nccl needs CUDA: libtorch sees no CUDA device");
        assert!(!error.is_transient());
    }

    #[test]
    fn without_nccl_its_absence_is_an_error() {
        match Interface::open() {
            Ok(_) => println!("skipped: this machine has NCCL"),
            Err(message) => assert!(message.contains("libnccl.so.2"), "{message}"),
        }
    }

    #[test]
    fn with_cuda_a_world_of_one_runs_every_operation() {
        if !crate::samples::has_cuda() {
            return println!("skipped: this machine has no CUDA");
        }
        let group = Nccl::join(&alone(), 0).unwrap();
        let input = crate::samples::wave(&[5, 3], 1).to_device(Device::Cuda(0));
        let mut tensor = input.copy();
        group.all_reduce(&mut tensor, ReduceOp::Avg).unwrap().wait().unwrap();
        group.broadcast(&mut tensor, 0).unwrap().wait().unwrap();
        assert_eq!(tensor, input);
        let mut outputs = [input.zeros_like()];
        group.all_gather(&mut outputs, &input).unwrap().wait().unwrap();
        let mut shard = input.zeros_like();
        group
            .reduce_scatter(&mut shard, &[input.tr().contiguous().tr()], ReduceOp::Max)
            .unwrap()
            .wait()
            .unwrap();
        assert_eq!((&outputs[0], &shard), (&input, &input));
        group.barrier().unwrap();
    }
}
