//! Files as memory. Artifacts are immutable once committed, which is what makes a shared mapping sound.

use std::fs::File;

use memmap2::{Advice, Mmap};

/// Maps a file of an artifact for reading.
///
/// # Errors
/// What the system says, for an empty file too.
pub fn map_file(file: &File) -> std::io::Result<Mmap> {
    // SAFETY: the file belongs to a committed artifact, which nobody writes to: the store renames it into place whole and only removes it
    // when no run needs it, and an unlinked file stays mapped.
    let bytes = unsafe { Mmap::map(file)? };
    bytes.advise(Advice::Random)?;
    Ok(bytes)
}
