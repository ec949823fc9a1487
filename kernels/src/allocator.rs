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

/// Gives freed memory of every thread's heap back to the system. It takes milliseconds and holds the heaps meanwhile: for a process that
/// has nothing to do. On another allocator than glibc's nothing is done.
pub fn release_freed_memory() {
    release();
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn release() {
    // SAFETY: malloc_trim may be called at any time and gives back only pages that hold no block.
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn release() {}

#[cfg(test)]
mod tests {
    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn glibc_takes_every_setting() {
        assert!(super::tune_allocator());
    }

    /// Resident memory of this process, KiB.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn resident() -> u64 {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn holes_between_blocks_that_are_held_go_back_to_the_system() {
        // Other tests take memory meanwhile: of several tries one has to show it.
        let is_released = |_| {
            // Blocks of 64 KiB, of which every hundredth is held: 192 MiB of holes that the heap's top does not reach.
            let mut blocks: Vec<Vec<u8>> = (0..3072).map(|_| vec![1; 1 << 16]).collect();
            let mut index = 0_usize;
            blocks.retain(|_| {
                index += 1;
                index.is_multiple_of(100)
            });
            let before = resident();
            super::release_freed_memory();
            let after = resident();
            drop(blocks);
            after + 100 * 1024 < before
        };
        assert!((0..8).any(is_released));
    }
}
