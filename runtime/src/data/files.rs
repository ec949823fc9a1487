//! Which files of a source are read and in which order, and what their names say.

use cupola_specs::contract::SourceFile;

use super::document::seeded_position;

/// Files in an order by their seeded hash; those that do not fit in what is left of `max_bytes` are passed over.
pub(super) fn choose(mut files: Vec<SourceFile>, seed: u64, max_bytes: u64) -> Vec<SourceFile> {
    let limit = if max_bytes == 0 { u64::MAX } else { max_bytes };
    files.sort_by(|a, b| {
        let key = |file: &SourceFile| seeded_position(seed, &file.name);
        key(a).total_cmp(&key(b)).then_with(|| a.name.cmp(&b.name))
    });
    let mut taken = 0_u64;
    files.retain(|file| {
        let fits = taken.saturating_add(file.size_bytes) <= limit;
        if fits {
            taken += file.size_bytes;
        }
        fits
    });
    files
}
/// A file name from the first folder on that is a crate with its version; the whole name where there is none.
pub(super) fn below_crate(name: &str) -> &str {
    let mut at = 0;
    for folder in name.split('/') {
        if split_version(folder).is_some() {
            return &name[at..];
        }
        at += folder.len() + 1;
    }
    name
}

/// The crate of a file, whatever its version: the first folder's name.
pub(super) fn crate_of(file: &str) -> &str {
    let folder = file.split('/').next().unwrap_or(file);
    split_version(folder).unwrap_or(folder)
}

/// The name in front of `-1.2.3` with all that may follow.
fn split_version(folder: &str) -> Option<&str> {
    folder.match_indices('-').map(|(at, _)| at).find_map(|at| {
        let mut numbers = folder[at + 1..].splitn(3, '.');
        let whole = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (major, minor, patch) = (numbers.next()?, numbers.next()?, numbers.next()?);
        let is_version = whole(major) && whole(minor) && patch.starts_with(|c: char| c.is_ascii_digit());
        (is_version && at > 0).then(|| &folder[..at])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str, size_bytes: u64) -> SourceFile {
        SourceFile {
            label: String::new(),
            path: name.into(),
            name: name.into(),
            size_bytes,
            blake3: String::new(),
        }
    }

    #[test]
    fn a_crate_is_known_without_its_version_and_below_any_folder() {
        let name = "index.crates.io-1949cf8c6b5b557f/crypto-bigint-0.7.0-rc.1/src/lib.rs";
        assert_eq!(below_crate(name), "crypto-bigint-0.7.0-rc.1/src/lib.rs");
        assert_eq!(crate_of(below_crate(name)), "crypto-bigint");
        assert_eq!(crate_of("windows_x86_64-0.52.6+wasi/src/lib.rs"), "windows_x86_64");
        assert_eq!(crate_of("notes/a.md"), "notes");
    }

    #[test]
    fn the_order_depends_on_the_seed_and_the_limit_holds() {
        let files: Vec<SourceFile> = (0..50).map(|n| file(&format!("{n}.rs"), 10)).collect();
        let names = |seed, limit| -> Vec<String> {
            choose(files.clone(), seed, limit).into_iter().map(|file| file.name).collect()
        };
        assert_eq!(names(1, 95).len(), 9);
        assert_eq!(names(1, 0).len(), 50);
        assert_ne!(names(1, 95), names(2, 95));
    }
}
