//! The C++ shim's functions as Rust sees them. Each returns null or its error; this file turns that into a `Result`.

use std::ffi::{CStr, c_char, c_void};

use tch::Tensor;

use crate::KernelError;

/// An `at::Tensor*`.
pub(crate) type Raw = *mut c_void;
/// A C string of the shim, or null.
pub(crate) type Message = *mut c_char;
/// Drops the state of a callback.
pub(crate) type Drop = unsafe extern "C" fn(state: *mut c_void);
/// The backward of a node, see `Backward` in `autograd.cpp`.
pub(crate) type Backward = unsafe extern "C" fn(
    state: *mut c_void,
    grads: *mut Raw,
    num_grads: usize,
    saved: *mut Raw,
    num_saved: usize,
    needed: *const u8,
    results: *mut Raw,
    num_results: usize,
) -> Message;
/// Called with a leaf, which passes to it.
pub(crate) type GradientReady = unsafe extern "C" fn(state: *mut c_void, leaf: Raw) -> Message;

#[repr(C)]
pub(crate) struct AdamWFields {
    pub(crate) lr: f64,
    pub(crate) beta1: f64,
    pub(crate) beta2: f64,
    pub(crate) eps: f64,
    pub(crate) weight_decay: f64,
    pub(crate) step: u64,
    pub(crate) amsgrad: u8,
    pub(crate) maximize: u8,
}

#[repr(C)]
pub(crate) struct SgdFields {
    pub(crate) lr: f64,
    pub(crate) momentum: f64,
    pub(crate) dampening: f64,
    pub(crate) weight_decay: f64,
    pub(crate) nesterov: u8,
    pub(crate) maximize: u8,
    pub(crate) is_first_step: u8,
}

#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct AutocastFields {
    pub(crate) kind: i32,
    pub(crate) enabled: u8,
    pub(crate) cached: u8,
}

#[repr(C)]
#[derive(Default)]
pub(crate) struct MemoryFields {
    pub(crate) free: u64,
    pub(crate) total: u64,
    pub(crate) allocated: u64,
    pub(crate) peak_allocated: u64,
    pub(crate) reserved: u64,
    pub(crate) peak_reserved: u64,
}

unsafe extern "C" {
    pub(crate) fn cupola_free(memory: *mut c_void);
    pub(crate) fn cupola_count_begin(counter: *mut *mut c_void) -> Message;
    pub(crate) fn cupola_count_end(counter: *mut c_void, peak: *mut i64, left: *mut i64) -> Message;
    pub(crate) fn cupola_message(bytes: *const u8, count: usize) -> Message;

    pub(crate) fn cupola_fused_adamw(
        params: *const Raw,
        grads: *const Raw,
        exp_avgs: *const Raw,
        exp_avg_sqs: *const Raw,
        max_exp_avg_sqs: *const Raw,
        count: usize,
        fields: *const AdamWFields,
    ) -> Message;
    pub(crate) fn cupola_fused_sgd(
        params: *const Raw,
        grads: *const Raw,
        momentum_buffers: *const Raw,
        count: usize,
        fields: *const SgdFields,
    ) -> Message;
    pub(crate) fn cupola_foreach_norm(
        tensors: *const Raw,
        count: usize,
        in_double: u8,
        norm: *mut Raw,
    ) -> Message;
    pub(crate) fn cupola_foreach_scale(tensors: *const Raw, count: usize, factor: f64) -> Message;
    pub(crate) fn cupola_foreach_scale_by(tensors: *const Raw, count: usize, factor: Raw) -> Message;
    pub(crate) fn cupola_foreach_lerp(
        tensors: *const Raw,
        ends: *const Raw,
        count: usize,
        weight: f64,
    ) -> Message;
    pub(crate) fn cupola_foreach_copy(tensors: *const Raw, sources: *const Raw, count: usize) -> Message;
    pub(crate) fn cupola_foreach_zero(tensors: *const Raw, count: usize) -> Message;

    pub(crate) fn cupola_rng_get(device: i32, bytes: *mut *mut u8, count: *mut usize) -> Message;
    pub(crate) fn cupola_rng_set(device: i32, bytes: *const u8, count: usize) -> Message;
    pub(crate) safe fn cupola_set_grad_mode(on: u8) -> u8;
    pub(crate) safe fn cupola_grad_mode() -> u8;
    pub(crate) fn cupola_autocast_get(on_cuda: u8, fields: *mut AutocastFields) -> Message;
    pub(crate) fn cupola_autocast_set(on_cuda: u8, fields: *const AutocastFields) -> Message;
    pub(crate) safe fn cupola_autocast_enter() -> Message;
    pub(crate) safe fn cupola_autocast_leave() -> Message;
    pub(crate) safe fn cupola_set_deterministic(on: u8) -> Message;
    pub(crate) safe fn cupola_is_deterministic() -> u8;
    pub(crate) safe fn cupola_set_tf32(allowed: u8) -> Message;
    pub(crate) safe fn cupola_tf32_allowed() -> u8;
    pub(crate) fn cupola_cuda_memory(device: i32, fields: *mut MemoryFields) -> Message;
    pub(crate) safe fn cupola_cuda_reset_peak(device: i32) -> Message;
    pub(crate) safe fn cupola_cuda_synchronize(device: i32) -> Message;
    pub(crate) safe fn cupola_cuda_set_device(device: i32) -> Message;
    pub(crate) fn cupola_stream_new(
        device: i32,
        stream: *mut *mut c_void,
        handle: *mut *mut c_void,
    ) -> Message;
    pub(crate) fn cupola_stream_free(stream: *mut c_void);
    pub(crate) fn cupola_stream_follow(stream: *const c_void) -> Message;
    pub(crate) fn cupola_event_record(stream: *const c_void, event: *mut *mut c_void) -> Message;
    pub(crate) fn cupola_event_query(event: *const c_void, done: *mut u8) -> Message;
    pub(crate) fn cupola_event_block_current(event: *const c_void) -> Message;
    pub(crate) fn cupola_event_free(event: *mut c_void);

    pub(crate) fn cupola_attach(
        inputs: *const Raw,
        num_inputs: usize,
        outputs: *const Raw,
        num_outputs: usize,
        saved: *const Raw,
        num_saved: usize,
        label: *const c_char,
        state: *mut c_void,
        drop: Drop,
        backward: Backward,
    ) -> Message;
    pub(crate) fn cupola_version(tensor: Raw, version: *mut i64) -> Message;
    pub(crate) safe fn cupola_sequence() -> u64;
    pub(crate) fn cupola_leaves(
        outputs: *const Raw,
        count: usize,
        since: u64,
        sink: *mut c_void,
        take: unsafe extern "C" fn(sink: *mut c_void, leaf: Raw),
    ) -> Message;
    pub(crate) fn cupola_grad(
        outputs: *const Raw,
        grads: *const Raw,
        num_outputs: usize,
        inputs: *const Raw,
        num_inputs: usize,
        results: *mut Raw,
    ) -> Message;
    pub(crate) fn cupola_gradient_hook_add(
        leaf: Raw,
        state: *mut c_void,
        drop: Drop,
        ready: GradientReady,
        id: *mut u64,
    ) -> Message;
    pub(crate) fn cupola_gradient_hook_remove(leaf: Raw, id: u64) -> Message;

    pub(crate) fn cupola_store_open(
        host: *const c_char,
        port: u16,
        serve: u8,
        timeout_millis: u64,
        store: *mut *mut c_void,
    ) -> Message;
    pub(crate) fn cupola_store_free(store: *mut c_void);
    pub(crate) fn cupola_store_set(
        store: *mut c_void,
        key: *const c_char,
        bytes: *const u8,
        count: usize,
    ) -> Message;
    pub(crate) fn cupola_store_get(
        store: *mut c_void,
        key: *const c_char,
        timeout_millis: u64,
        bytes: *mut *mut u8,
        count: *mut usize,
    ) -> Message;
    pub(crate) fn cupola_store_add(
        store: *mut c_void,
        key: *const c_char,
        amount: i64,
        sum: *mut i64,
    ) -> Message;
    pub(crate) fn cupola_store_has(store: *mut c_void, key: *const c_char, found: *mut u8) -> Message;
    pub(crate) fn cupola_gloo_open(
        store: *mut c_void,
        prefix: *const c_char,
        rank: i32,
        world_size: i32,
        timeout_millis: u64,
        host: *const c_char,
        group: *mut *mut c_void,
    ) -> Message;
    pub(crate) fn cupola_gloo_free(group: *mut c_void);
    pub(crate) fn cupola_gloo_all_reduce(
        group: *mut c_void,
        tensor: Raw,
        maximum: u8,
        work: *mut *mut c_void,
    ) -> Message;
    pub(crate) fn cupola_gloo_all_gather(
        group: *mut c_void,
        outputs: *const Raw,
        count: usize,
        input: Raw,
        work: *mut *mut c_void,
    ) -> Message;
    pub(crate) fn cupola_gloo_broadcast(
        group: *mut c_void,
        tensor: Raw,
        root: i32,
        work: *mut *mut c_void,
    ) -> Message;
    pub(crate) fn cupola_work_done(work: *mut c_void) -> u8;
    pub(crate) fn cupola_work_wait(work: *mut c_void, timeout_millis: u64) -> Message;
    pub(crate) fn cupola_work_free(work: *mut c_void);
}

/// The text of an error of the shim, which is freed, or `None`.
pub(crate) fn text_of(message: Message) -> Option<String> {
    if message.is_null() {
        return None;
    }
    // SAFETY: the shim returns a C string of its own that nobody else holds.
    unsafe {
        let text = CStr::from_ptr(message).to_string_lossy().trim_end().to_owned();
        cupola_free(message.cast());
        Some(text)
    }
}

/// What the shim answered, as a result.
pub(crate) fn check(operation: &'static str, message: Message) -> Result<(), KernelError> {
    match text_of(message) {
        None => Ok(()),
        Some(message) => Err(KernelError::Torch { operation, message }),
    }
}

/// A text as an error that the shim owns and frees.
pub(crate) fn message_of(text: &str) -> Message {
    // SAFETY: the bytes are read before the call returns.
    unsafe { cupola_message(text.as_ptr(), text.len()) }
}

/// The tensor as the shim sees it; it stays this tensor's.
pub(crate) fn raw(tensor: &Tensor) -> Raw {
    tensor.as_ptr().cast_mut().cast()
}

/// A list of them.
pub(crate) fn raws<'t>(tensors: impl IntoIterator<Item = &'t Tensor>) -> Vec<Raw> {
    tensors.into_iter().map(raw).collect()
}

/// Takes over a tensor of the shim.
///
/// # Safety
/// The pointer is an `at::Tensor*` that nobody else frees.
pub(crate) unsafe fn owned(raw: Raw) -> Tensor {
    // SAFETY: as the caller promises.
    unsafe { Tensor::from_ptr(raw.cast()) }
}

/// Takes over bytes of the shim.
///
/// # Safety
/// `bytes` holds `count` bytes that nobody else frees.
pub(crate) unsafe fn owned_bytes(bytes: *mut u8, count: usize) -> Vec<u8> {
    // SAFETY: as the caller promises.
    unsafe {
        let copy = std::slice::from_raw_parts(bytes, count).to_vec();
        cupola_free(bytes.cast());
        copy
    }
}

/// Drops a boxed callback state; a panic of its drop ends here.
pub(crate) unsafe extern "C" fn drop_state<T>(state: *mut c_void) {
    let dropped = std::panic::catch_unwind(|| {
        // SAFETY: the shim calls this once, with the pointer that `Box::into_raw` gave.
        drop(unsafe { Box::from_raw(state.cast::<T>()) });
    });
    // The payload's own drop could panic again.
    if let Err(panic) = dropped {
        std::mem::forget(panic);
    }
}

/// Whether operations are recorded for backward, for as long as the value lives.
pub(crate) struct GradMode(u8);

impl GradMode {
    pub(crate) fn set(on: bool) -> Self {
        Self(cupola_set_grad_mode(u8::from(on)))
    }
}

impl std::ops::Drop for GradMode {
    fn drop(&mut self) {
        cupola_set_grad_mode(self.0);
    }
}
