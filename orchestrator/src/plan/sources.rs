//! Local source files: expanding globs, hashing content, and remembering hashes of files that did not change.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::Metadata;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use cupola_specs::contract::SourceFile;
use cupola_specs::spec::SourceGlob;
use globset::{GlobBuilder, GlobMatcher};
use rayon::prelude::*;

use super::{PlanError, sources_by_label};

/// A file whose times are younger than this when it is hashed may change again without a trace: its hash is not remembered.
const RACY_NANOS: i128 = 2_000_000_000;

/// Hashes of files by path; valid while size, times and inode stay.
#[derive(Debug, Default)]
pub struct FileHashes {
    known: BTreeMap<PathBuf, (FileStamp, String)>,
    changed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct FileStamp {
    size: u64,
    modified: i128,
    changed: i128,
    inode: u64,
}

impl FileStamp {
    fn of(meta: &Metadata) -> Self {
        let nanos = |secs: i64, nanos: i64| i128::from(secs) * 1_000_000_000 + i128::from(nanos);
        Self {
            size: meta.size(),
            modified: nanos(meta.mtime(), meta.mtime_nsec()),
            changed: nanos(meta.ctime(), meta.ctime_nsec()),
            inode: meta.ino(),
        }
    }
}

impl FileHashes {
    /// Reads the side file; a missing or damaged one only costs time.
    pub fn load(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut known = BTreeMap::new();
        for line in text.lines() {
            let mut fields = line.splitn(6, ' ');
            let mut next = || fields.next();
            let row = (|| {
                let hash = next()?.to_owned();
                let stamp = FileStamp {
                    size: next()?.parse().ok()?,
                    modified: next()?.parse().ok()?,
                    changed: next()?.parse().ok()?,
                    inode: next()?.parse().ok()?,
                };
                Some((PathBuf::from(next()?), (stamp, hash)))
            })();
            if let Some((path, value)) = row {
                known.insert(path, value);
            }
        }
        Self { known, changed: false }
    }

    /// Writes the side file, if anything was learned, by rename: a reader sees the old or the new one.
    pub fn save(&self, path: &Path) -> std::io::Result<()> {
        if !self.changed {
            return Ok(());
        }
        let Some(folder) = path.parent() else { return Ok(()) };
        std::fs::create_dir_all(folder)?;
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        let mut text = String::new();
        for (path, (stamp, hash)) in &self.known {
            let name = path.to_string_lossy();
            if !name.contains('\n') {
                let FileStamp { size, modified, changed, inode } = stamp;
                let _ = writeln!(text, "{hash} {size} {modified} {changed} {inode} {name}");
            }
        }
        file.write_all(text.as_bytes())?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    /// Hashes of these files, in order; only those that are new or changed are read.
    fn hash_all(&mut self, paths: &[PathBuf]) -> Result<Vec<(u64, String)>, PlanError> {
        let known = &self.known;
        let hashed: Vec<(FileStamp, String, bool)> = paths
            .par_iter()
            .map(|path| {
                let unreadable = |source| PlanError::Unreadable { path: path.clone(), source };
                let stamp = FileStamp::of(&std::fs::metadata(path).map_err(unreadable)?);
                if let Some((before, hash)) = known.get(path)
                    && *before == stamp
                {
                    return Ok((stamp, hash.clone(), false));
                }
                // An archive may be larger than the memory.
                let mut hasher = blake3::Hasher::new();
                let file = std::fs::File::open(path).map_err(unreadable)?;
                hasher.update_reader(file).map_err(unreadable)?;
                let after = FileStamp::of(&std::fs::metadata(path).map_err(unreadable)?);
                Ok((after, hasher.finalize().to_hex().to_string(), after.size == hasher.count()))
            })
            .collect::<Result<_, PlanError>>()?;
        let now = jiff::Timestamp::now().as_nanosecond();
        let mut result = Vec::with_capacity(hashed.len());
        for (path, (stamp, hash, fresh)) in paths.iter().zip(hashed) {
            result.push((stamp.size, hash.clone()));
            if fresh && now - stamp.modified.max(stamp.changed) > RACY_NANOS {
                self.known.insert(path.clone(), (stamp, hash));
                self.changed = true;
            }
        }
        Ok(result)
    }
}

/// The files behind lists of patterns; equal lists are expanded once.
#[derive(Debug, Default)]
pub(super) struct SourceFiles {
    known: BTreeMap<Vec<(String, Vec<String>)>, FilesAndHashes>,
}

/// Files by label and name, and one hash for each label.
type FilesAndHashes = (Vec<SourceFile>, BTreeMap<String, String>);

impl SourceFiles {
    /// The files of a step's globs with the hash of each label.
    pub(super) fn of(
        &mut self,
        globs: &[SourceGlob],
        hashes: &mut FileHashes,
    ) -> Result<FilesAndHashes, PlanError> {
        if globs.is_empty() {
            return Ok(FilesAndHashes::default());
        }
        let key = globs.iter().map(|glob| (glob.label.clone(), glob.patterns.clone())).collect();
        if let Some(found) = self.known.get(&key) {
            return Ok(found.clone());
        }
        let files = collect_files(globs, hashes)?;
        let sources = sources_by_label(&files);
        Ok(self.known.entry(key).or_insert((files, sources)).clone())
    }
}

/// The files of a step's globs with their hashes, sorted by label and name.
pub fn collect_files(globs: &[SourceGlob], hashes: &mut FileHashes) -> Result<Vec<SourceFile>, PlanError> {
    let mut found: Vec<(String, String, PathBuf)> = Vec::new();
    let mut folders: BTreeMap<PathBuf, Vec<PathBuf>> = BTreeMap::new();
    for glob in globs {
        for pattern in &glob.patterns {
            let pattern = Pattern::new(pattern)?;
            if !folders.contains_key(&pattern.prefix) {
                folders.insert(pattern.prefix.clone(), pattern.candidates()?);
            }
            let before = found.len();
            for path in folders.get(&pattern.prefix).into_iter().flatten() {
                if let Some(name) = pattern.name_of(path)? {
                    found.push((glob.label.clone(), name, path.clone()));
                }
            }
            if found.len() == before {
                return Err(PlanError::NoFile { pattern: pattern.text, label: glob.label.clone() });
            }
        }
    }
    found.sort();
    found.dedup();
    let paths: Vec<PathBuf> = found.iter().map(|(_, _, path)| path.clone()).collect();
    let hashed = hashes.hash_all(&paths)?;
    let files = found.into_iter().zip(hashed).map(|((label, name, path), (size_bytes, blake3))| SourceFile {
        label,
        path,
        name,
        size_bytes,
        blake3,
    });
    Ok(with_distinct_names(files.collect()))
}

/// Leaves out files of equal name and content, and tells apart those of equal name and other content.
fn with_distinct_names(files: Vec<SourceFile>) -> Vec<SourceFile> {
    let mut kept: Vec<SourceFile> = Vec::with_capacity(files.len());
    let mut group = 0;
    let mut copies = 1;
    for mut file in files {
        let same = kept.get(group).is_some_and(|first| first.label == file.label && first.name == file.name);
        if !same {
            group = kept.len();
            copies = 1;
            kept.push(file);
        } else if kept[group..].iter().all(|other| other.blake3 != file.blake3) {
            copies += 1;
            file.name = format!("{}~{copies}", file.name);
            kept.push(file);
        }
    }
    kept
}

/// A glob, split at its first wildcard.
struct Pattern {
    text: String,
    prefix: PathBuf,
    matcher: Option<GlobMatcher>,
    /// How many folders right behind the prefix are left out of names.
    unnamed: usize,
}

impl Pattern {
    fn new(text: &str) -> Result<Self, PlanError> {
        let is_wild = |part: &str| part.contains(['*', '?', '[', '{']);
        let parts: Vec<String> = Path::new(text)
            .components()
            .map(|part| match part {
                Component::RootDir => "/".to_owned(),
                other => other.as_os_str().to_string_lossy().into_owned(),
            })
            .collect();
        let fixed = parts.iter().position(|part| is_wild(part)).unwrap_or(parts.len());
        let prefix: PathBuf = parts[..fixed].iter().collect();
        let rest = &parts[fixed..];
        if rest.is_empty() {
            return Ok(Self { text: text.to_owned(), prefix, matcher: None, unnamed: 0 });
        }
        let glob = GlobBuilder::new(&rest.join("/")).literal_separator(true).build();
        let matcher = glob
            .map_err(|error| PlanError::Pattern {
                pattern: text.to_owned(),
                problem: error.kind().to_string(),
            })?
            .compile_matcher();
        let stars = rest.iter().take_while(|part| *part == "*").count();
        let unnamed = if rest.get(stars).is_some_and(|part| part == "**") { stars } else { 0 };
        let prefix = if prefix.as_os_str().is_empty() { PathBuf::from(".") } else { prefix };
        Ok(Self { text: text.to_owned(), prefix, matcher: Some(matcher), unnamed })
    }

    fn candidates(&self) -> Result<Vec<PathBuf>, PlanError> {
        if self.matcher.is_none() {
            return Ok(if self.prefix.is_file() { vec![self.prefix.clone()] } else { Vec::new() });
        }
        if self.prefix.is_dir() { walk(&self.prefix) } else { Ok(Vec::new()) }
    }

    /// The file's stable name, where it matches.
    fn name_of(&self, path: &Path) -> Result<Option<String>, PlanError> {
        let name = match &self.matcher {
            None => path.file_name().map(PathBuf::from).unwrap_or_default(),
            Some(matcher) => {
                let Ok(below) = path.strip_prefix(&self.prefix) else { return Ok(None) };
                if !matcher.is_match(below) {
                    return Ok(None);
                }
                below.components().skip(self.unnamed.min(below.components().count() - 1)).collect()
            }
        };
        let text = name.to_str().filter(|_| path.to_str().is_some());
        text.map(|text| Some(text.to_owned()))
            .ok_or_else(|| PlanError::PathEncoding { path: path.to_path_buf() })
    }
}

/// Every file below a folder; links are followed but for those that lead back to a folder around them.
fn walk(folder: &Path) -> Result<Vec<PathBuf>, PlanError> {
    let unreadable = |source| PlanError::Unreadable { path: folder.to_path_buf(), source };
    let mut files = Vec::new();
    let mut folders = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let entry = entry.map_err(unreadable)?;
        let path = entry.path();
        let mut kind = entry.file_type().map_err(unreadable)?;
        if kind.is_symlink() {
            // A dangling link stays in the list: if a pattern asks for it, reading it fails by name.
            match std::fs::metadata(&path) {
                Ok(meta) => kind = meta.file_type(),
                Err(_) => files.push(path.clone()),
            }
            if kind.is_dir() && leads_back(folder, &path) {
                continue;
            }
        }
        if kind.is_dir() {
            folders.push(path);
        } else if kind.is_file() {
            files.push(path);
        }
    }
    let below: Vec<Vec<PathBuf>> = folders.par_iter().map(|path| walk(path)).collect::<Result<_, _>>()?;
    files.extend(below.into_iter().flatten());
    Ok(files)
}

fn leads_back(folder: &Path, link: &Path) -> bool {
    match (folder.canonicalize(), link.canonicalize()) {
        (Ok(folder), Ok(target)) => folder.starts_with(target),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [
            ("registry/src/index-abc/serde-1.0.1/src/lib.rs", "a"),
            ("registry/src/index-abc/serde-1.0.1/README.md", "b"),
            ("registry/src/index-abc/log-0.4/src/lib.rs", "c"),
        ] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::os::unix::fs::symlink(folder.path(), folder.path().join("registry/src/index-abc/loop")).unwrap();
        folder
    }

    fn glob(folder: &Path, pattern: &str) -> Vec<SourceGlob> {
        let patterns = vec![folder.join(pattern).to_string_lossy().into_owned()];
        vec![SourceGlob { label: "sources.crates".into(), patterns }]
    }

    #[test]
    fn names_hold_no_folder_of_the_machine_and_loops_end() {
        let folder = tree();
        let mut hashes = FileHashes::default();
        let files = collect_files(&glob(folder.path(), "registry/src/*/**/*.rs"), &mut hashes).unwrap();
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, ["log-0.4/src/lib.rs", "serde-1.0.1/src/lib.rs"]);
        assert_eq!(files[1].blake3, blake3::hash(b"a").to_hex().to_string());
        let one =
            collect_files(&glob(folder.path(), "registry/src/index-abc/serde-1.0.1/README.md"), &mut hashes);
        assert_eq!(one.unwrap()[0].name, "README.md");
    }

    #[test]
    fn a_pattern_without_a_file_is_an_error() {
        let folder = tree();
        let result = collect_files(&glob(folder.path(), "registry/**/*.txt"), &mut FileHashes::default());
        assert!(matches!(result, Err(PlanError::NoFile { .. })));
    }

    #[test]
    fn a_young_file_is_hashed_again_and_an_old_one_remembered() {
        let folder = tree();
        let path = folder.path().join("registry/src/index-abc/log-0.4/src/lib.rs");
        let globs = glob(folder.path(), "registry/src/*/log*/src/*.rs");
        let mut hashes = FileHashes::default();
        let before = collect_files(&globs, &mut hashes).unwrap();
        assert!(hashes.known.is_empty(), "a racy hash was remembered");
        std::fs::write(&path, "d").unwrap();
        let after = collect_files(&globs, &mut hashes).unwrap();
        assert_ne!(before[0].blake3, after[0].blake3);
        std::thread::sleep(std::time::Duration::from_millis(2_100));
        collect_files(&globs, &mut hashes).unwrap();
        assert_eq!(hashes.known.len(), 1);
        let side = folder.path().join("hashes");
        hashes.save(&side).unwrap();
        assert_eq!(FileHashes::load(&side).known, hashes.known);
    }
}
