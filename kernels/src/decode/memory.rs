//! Memory for weights, caches and rows: aligned to a cache line, in pages of 2 MiB where that pays, zero at first.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};

const LINE: usize = 64;
const HUGE_PAGE: usize = 2 << 20;

/// Numbers whose zero is all bits zero.
pub(super) trait Plain: Copy + Send + Sync + 'static {}
impl Plain for u8 {}
impl Plain for i8 {}
impl Plain for u16 {}
impl Plain for i32 {}
impl Plain for f32 {}

/// A block of numbers that keeps its place.
pub(super) struct Memory<T: Plain> {
    start: *mut T,
    len: usize,
    layout: Layout,
}

// SAFETY: it owns what it points at.
unsafe impl<T: Plain> Send for Memory<T> {}
// SAFETY: it is written through `&mut` only, or by the kernels, which say whose each element is.
unsafe impl<T: Plain> Sync for Memory<T> {}

impl<T: Plain> Memory<T> {
    /// `len` zeros.
    pub(super) fn zeros(len: usize) -> Self {
        let bytes = (len * size_of::<T>()).max(LINE);
        let is_large = bytes >= HUGE_PAGE / 2;
        let unit = if is_large { HUGE_PAGE } else { LINE };
        let Ok(layout) = Layout::from_size_align(bytes.next_multiple_of(unit), unit) else {
            panic!("{bytes} bytes are more than an address space holds");
        };
        // SAFETY: the layout is not empty.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        #[cfg(target_os = "linux")]
        if is_large {
            // Before the first byte is written: pages that are there stay small.
            // SAFETY: advice about memory of our own; whether it is taken changes no content.
            unsafe { libc::madvise(start.cast(), layout.size(), libc::MADV_HUGEPAGE) };
        }
        // SAFETY: it was allocated with this size.
        unsafe { start.write_bytes(0, layout.size()) };
        Self { start: start.cast(), len, layout }
    }

    /// At least `len` elements; what is there is lost when it grows.
    pub(super) fn reserve(&mut self, len: usize) {
        if len > self.len {
            *self = Self::zeros(len.next_power_of_two());
        }
    }

    pub(super) fn pointer(&self) -> *mut T {
        self.start
    }
}

impl<T: Plain> Deref for Memory<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` elements were allocated, and zeros are numbers.
        unsafe { std::slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T: Plain> DerefMut for Memory<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and `&mut` is alone.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T: Plain> Drop for Memory<T> {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout.
        unsafe { dealloc(self.start.cast(), self.layout) };
    }
}

impl<T: Plain> std::fmt::Debug for Memory<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Memory of {} elements", self.len)
    }
}
