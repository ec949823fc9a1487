//! Gloo: collectives between CPUs over TCP, by c10d's process group.

use std::ffi::c_void;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tch::{Device, Tensor};

use super::group::{Group, Reduction, Transport};
use super::rendezvous::Rendezvous;
use super::store::{Store, c_text, millis};
use super::work::{Facts, Pending};
use super::{Collective, ReduceOp, Work};
use crate::KernelError;
use crate::shim::{self, Message};

/// Ranks on CPUs.
///
/// They listen at the interface that `GLOO_SOCKET_IFNAME` names, otherwise at the address of the machine's name, or at the loopback device
/// where the store is there.
#[derive(Debug)]
pub struct Gloo(Group<GlooTransport>);

impl Gloo {
    /// Meets the other ranks.
    ///
    /// # Errors
    /// Ranks that do not come within the time-out, that disagree on the world size or are there twice, a port that is taken.
    pub fn join(rendezvous: &Rendezvous) -> Result<Self, KernelError> {
        let transport = rendezvous.join(|rendezvous, store, _| connect(rendezvous, &store))?;
        let facts =
            Facts { rank: rendezvous.rank, timeout: rendezvous.timeout, broken: Arc::new(OnceLock::new()) };
        let group = Group::new(transport, facts, rendezvous.world_size);
        // Nobody goes on, or away with the store, while another one still connects.
        group.barrier().map_err(|error| rendezvous.error(error.to_string()))?;
        Ok(Self(group))
    }
}

fn connect(rendezvous: &Rendezvous, store: &Store) -> Result<GlooTransport, KernelError> {
    let prefix = c_text(&format!("cupola/{}/gloo", rendezvous.run))?;
    let is_local =
        matches!(rendezvous.host.as_str(), "localhost" | "::1") || rendezvous.host.starts_with("127.");
    let has_interface = std::env::var_os("GLOO_SOCKET_IFNAME").is_some();
    let host = if is_local && !has_interface { Some(c_text(&rendezvous.host)?) } else { None };
    let mut group = std::ptr::null_mut();
    // SAFETY: the texts and the store outlive the call, which on success writes a group of ours that holds the store too.
    unsafe {
        let message = shim::cupola_gloo_open(
            store.raw(),
            prefix.as_ptr(),
            rendezvous.rank as i32,
            rendezvous.world_size as i32,
            millis(rendezvous.timeout),
            host.as_ref().map_or(std::ptr::null(), |host| host.as_ptr()),
            &raw mut group,
        );
        shim::check("gloo", message)?;
    }
    Ok(GlooTransport { group, rank: rendezvous.rank, world_size: rendezvous.world_size })
}

#[derive(Debug)]
struct GlooTransport {
    group: *mut c_void,
    rank: usize,
    world_size: usize,
}

// SAFETY: the group has no thread of its own choosing; calls come from one thread at a time, under the lock of `Group`.
unsafe impl Send for GlooTransport {}

impl GlooTransport {
    fn begin(
        &self,
        call: impl FnOnce(*mut c_void, *mut *mut c_void) -> Message,
    ) -> Result<Box<dyn Pending>, String> {
        let mut work = std::ptr::null_mut();
        match shim::text_of(call(self.group, &raw mut work)) {
            None => Ok(Box::new(GlooWork(work))),
            Some(message) => Err(message),
        }
    }
}

impl Transport for GlooTransport {
    fn device(&self) -> Device {
        Device::Cpu
    }

    fn all_reduce(&mut self, flat: &Tensor, reduction: Reduction) -> Result<Box<dyn Pending>, String> {
        let maximum = u8::from(reduction == Reduction::Max);
        // SAFETY: the work holds the tensor until it ends.
        self.begin(|group, work| unsafe {
            shim::cupola_gloo_all_reduce(group, shim::raw(flat), maximum, work)
        })
    }

    /// c10d's own is an all_reduce too.
    fn reduce_scatter(
        &mut self,
        rows: &Tensor,
        reduction: Reduction,
    ) -> Result<(Box<dyn Pending>, Tensor), String> {
        let row = rows.f_select(0, self.rank as i64).map_err(|error| error.to_string())?;
        Ok((self.all_reduce(rows, reduction)?, row))
    }

    fn all_gather(&mut self, rows: &Tensor, own: &Tensor) -> Result<Box<dyn Pending>, String> {
        let rows: Result<Vec<Tensor>, _> =
            (0..self.world_size).map(|rank| rows.f_select(0, rank as i64)).collect();
        let rows = rows.map_err(|error| error.to_string())?;
        let list = shim::raws(&rows);
        // SAFETY: the list outlives the call, and the work holds the tensors until it ends.
        self.begin(|group, work| unsafe {
            shim::cupola_gloo_all_gather(group, list.as_ptr(), list.len(), shim::raw(own), work)
        })
    }

    fn broadcast(&mut self, flat: &Tensor, root: usize) -> Result<Box<dyn Pending>, String> {
        // SAFETY: the work holds the tensor until it ends.
        self.begin(|group, work| unsafe {
            shim::cupola_gloo_broadcast(group, shim::raw(flat), root as i32, work)
        })
    }
}

impl Drop for GlooTransport {
    fn drop(&mut self) {
        // SAFETY: the group is ours. What is under way ends before, each at the latest by its time-out.
        unsafe { shim::cupola_gloo_free(self.group) };
    }
}

struct GlooWork(*mut c_void);

// SAFETY: c10d's work is made to be waited for from any thread.
unsafe impl Send for GlooWork {}

impl Pending for GlooWork {
    fn is_done(&self) -> bool {
        // SAFETY: the work is ours.
        unsafe { shim::cupola_work_done(self.0) != 0 }
    }

    fn wait(&mut self, rest: Duration) -> Result<(), String> {
        // SAFETY: the work is ours.
        match shim::text_of(unsafe { shim::cupola_work_wait(self.0, millis(rest)) }) {
            None => Ok(()),
            Some(message) => Err(message),
        }
    }
}

impl Drop for GlooWork {
    fn drop(&mut self) {
        // SAFETY: the work is ours; c10d holds its own reference while it runs.
        unsafe { shim::cupola_work_free(self.0) };
    }
}

super::group::through!(Gloo);
