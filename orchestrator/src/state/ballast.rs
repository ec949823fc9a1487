//! Room for the last words: a file that is given up when the disk is full, so that what happens then can be recorded.

use std::io::Write;
use std::path::Path;

use rustix::fs::{StatVfsMountFlags, statvfs};

const MOST: u64 = 4 << 20;
const LEAST: u64 = BLOCK;
const BLOCK: u64 = 64 << 10;

/// Bytes that a user may still write to the file system of `path`; none where it takes none, or nobody says.
pub fn free_bytes(path: &Path) -> Option<u64> {
    let stat = statvfs(path).ok()?;
    (!stat.f_flag.contains(StatVfsMountFlags::RDONLY)).then(|| stat.f_bavail.saturating_mul(stat.f_frsize))
}

/// How large the ballast is, in whole blocks: 4 MiB, and less on a small file system.
fn ballast_bytes(path: &Path) -> u64 {
    let total = statvfs(path).map_or(u64::MAX, |stat| stat.f_blocks.saturating_mul(stat.f_frsize));
    (total / 16 / BLOCK * BLOCK).clamp(LEAST, MOST)
}

/// Makes the ballast where it is missing and there is room for it and as much again. Says whether it is there: where it is not, the
/// disk is as good as full, and what is left belongs to the journal.
pub(super) fn fill_ballast(path: &Path) -> bool {
    let folder = path.parent().unwrap_or(Path::new("."));
    let wanted = ballast_bytes(folder);
    let there = std::fs::metadata(path).map_or(0, |meta| meta.len());
    if there >= wanted {
        return true;
    }
    if free_bytes(folder).is_none_or(|free| free < 2 * wanted) {
        return false;
    }
    // Written, not only sized: a hole takes no room. One that can't be made is missed only when the disk is full.
    let filled = std::fs::File::create(path).and_then(|mut file| {
        let block = vec![0xC5; BLOCK as usize];
        (0..wanted / BLOCK).try_for_each(|_| file.write_all(&block))
    });
    if filled.is_err() {
        let _ = std::fs::remove_file(path);
    }
    filled.is_ok()
}

/// Gives the ballast up; says whether there was one.
pub(super) fn drop_ballast(path: &Path) -> bool {
    std::fs::remove_file(path).is_ok()
}

/// Whether an error says that the disk is full, or a user's share of it.
pub fn is_disk_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}
