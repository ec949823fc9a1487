//! The store at which ranks meet: c10d's TCPStore, one served and the others connected to it.

use std::ffi::{CString, c_void};
use std::time::Duration;

use crate::KernelError;
use crate::shim;

/// A connection to the store, and on one rank the store itself.
#[derive(Debug)]
pub(super) struct Store(*mut c_void);

// SAFETY: TCPStore guards its connection with a lock; the pointer is freed by the one owner.
unsafe impl Send for Store {}

const OPERATION: &str = "store";

impl Store {
    pub(super) fn open(host: &str, port: u16, serve: bool, timeout: Duration) -> Result<Self, KernelError> {
        let host = c_text(host)?;
        let mut store = std::ptr::null_mut();
        // SAFETY: the text outlives the call, which on success writes a store of ours.
        unsafe {
            let message = shim::cupola_store_open(
                host.as_ptr(),
                port,
                u8::from(serve),
                millis(timeout),
                &raw mut store,
            );
            shim::check(OPERATION, message)?;
        }
        Ok(Self(store))
    }

    pub(super) fn set(&self, key: &str, value: &[u8]) -> Result<(), KernelError> {
        let key = c_text(key)?;
        // SAFETY: key and value outlive the call.
        let message = unsafe { shim::cupola_store_set(self.0, key.as_ptr(), value.as_ptr(), value.len()) };
        shim::check(OPERATION, message)
    }

    /// Waits for a key.
    pub(super) fn get(&self, key: &str, timeout: Duration) -> Result<Vec<u8>, KernelError> {
        let key = c_text(key)?;
        let (mut bytes, mut count) = (std::ptr::null_mut(), 0);
        // SAFETY: the key outlives the call, which on success writes a block of `count` bytes that is ours.
        unsafe {
            let message =
                shim::cupola_store_get(self.0, key.as_ptr(), millis(timeout), &raw mut bytes, &raw mut count);
            shim::check(OPERATION, message)?;
            Ok(shim::owned_bytes(bytes, count))
        }
    }

    pub(super) fn add(&self, key: &str, amount: i64) -> Result<i64, KernelError> {
        let key = c_text(key)?;
        let mut sum = 0;
        // SAFETY: the key outlives the call, which writes the sum.
        let message = unsafe { shim::cupola_store_add(self.0, key.as_ptr(), amount, &raw mut sum) };
        shim::check(OPERATION, message)?;
        Ok(sum)
    }

    pub(super) fn has(&self, key: &str) -> Result<bool, KernelError> {
        let key = c_text(key)?;
        let mut found = 0;
        // SAFETY: the key outlives the call, which writes the answer.
        let message = unsafe { shim::cupola_store_has(self.0, key.as_ptr(), &raw mut found) };
        shim::check(OPERATION, message)?;
        Ok(found != 0)
    }

    pub(super) fn raw(&self) -> *mut c_void {
        self.0
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        // SAFETY: the pointer is a store of ours.
        unsafe { shim::cupola_store_free(self.0) };
    }
}

pub(super) fn c_text(text: &str) -> Result<CString, KernelError> {
    CString::new(text)
        .map_err(|error| KernelError::Invalid { operation: OPERATION, message: format!("{text:?}: {error}") })
}

/// At least one millisecond, since 0 means without end to c10d.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX).clamp(1, i64::MAX as u64 / 2_000_000)
}
