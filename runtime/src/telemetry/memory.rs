//! Memory in use.

/// Most resident memory of this process so far, bytes; none where the system does not say.
pub(super) fn peak_rss_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_holds_what_was_touched() {
        let before = peak_rss_bytes().unwrap();
        let touched = vec![1u8; before as usize + (64 << 20)];
        std::hint::black_box(&touched);
        let after = peak_rss_bytes().unwrap();
        assert!(after >= before + (64 << 20), "{before} {after}");
    }
}
