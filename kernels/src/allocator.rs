//! glibc's allocator returns large blocks to the system as soon as they are freed, and a training step frees all its activations:
//! each step would fault the same pages in again. Three settings keep them.

/// Keeps freed memory in the process: no block is mapped on its own below 1 GiB, and the heap's top is never trimmed.
///
/// Returns whether the allocator took every setting; on another allocator than glibc's nothing is done and the answer is `false`.
pub fn tune_allocator() -> bool {
    tune()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn tune() -> bool {
    const GIB: libc::c_int = 1 << 30;
    const MIB_64: libc::c_int = 64 << 20;
    let settings = [
        (libc::M_MMAP_THRESHOLD, GIB),
        (libc::M_TRIM_THRESHOLD, libc::c_int::MAX),
        (libc::M_TOP_PAD, MIB_64),
    ];
    settings.iter().all(|&(name, value)| {
        // SAFETY: mallopt takes two integers, may be called at any time, and touches nothing but the allocator's own settings.
        unsafe { libc::mallopt(name, value) == 1 }
    })
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn tune() -> bool {
    false
}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn glibc_takes_every_setting() {
        assert!(super::tune_allocator());
    }
}
