//! The archive: texts without secrets, a list of what is inside, and one of what is not.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use serde::Serialize;

use super::{BundleError, Redactor};

const LEVEL: i32 = 9;
/// Bytes that are read before the end that is kept, for secrets that the cut would go through.
const MARGIN: u64 = 64 << 10;
/// What the archive's `contents.json` is.
const CONTENTS: &str = "contents.json";

/// A file of the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Included {
    /// Its name in the archive.
    pub name: String,
    /// Its length there.
    pub size_bytes: u64,
    /// How many secrets and home folders were replaced in it.
    pub redactions: usize,
}

/// What is not in the bundle.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LeftOut {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
}

/// What is inside and what is not.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Contents {
    /// Version of the program.
    pub version: String,
    /// When it was made, milliseconds since the Unix epoch.
    pub created_millis: i64,
    /// The files.
    pub included: Vec<Included>,
    /// What was left out.
    pub left_out: Vec<LeftOut>,
}

/// A bundle that is being filled.
#[derive(Debug)]
pub struct Bundle {
    redactor: Redactor,
    files: Vec<(String, String)>,
    contents: Contents,
}

impl Bundle {
    /// An empty bundle.
    pub fn new(redactor: Redactor, now_millis: i64) -> Self {
        let contents = Contents {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            created_millis: now_millis,
            ..Contents::default()
        };
        Self { redactor, files: Vec::new(), contents }
    }

    /// When it is made, milliseconds since the Unix epoch.
    pub fn now_millis(&self) -> i64 {
        self.contents.created_millis
    }

    /// Adds a text without its secrets. Its name may hold a step's: it loses them too.
    pub fn add_text(&mut self, name: &str, text: &str) {
        let (text, redactions) = self.redactor.redact(text);
        self.push(name, text, redactions);
    }

    fn push(&mut self, name: &str, text: String, redactions: usize) {
        let (name, _) = self.redactor.redact(name);
        let size_bytes = text.len() as u64;
        self.contents.included.push(Included { name: name.clone(), size_bytes, redactions });
        self.files.push((name, text));
    }

    /// Adds a value as JSON.
    pub fn add_json<T: Serialize + ?Sized>(&mut self, name: &str, value: &T) -> Result<(), BundleError> {
        let text = serde_json::to_string_pretty(value)?;
        self.add_text(name, &text);
        Ok(())
    }

    /// Adds the last lines of a text file, `max_bytes` at most; a file that is not there is left out. No more of a long one is read.
    pub fn add_end_of(&mut self, name: &str, path: &Path, max_bytes: usize) -> Result<(), BundleError> {
        let read = || -> std::io::Result<(Vec<u8>, u64, bool)> {
            let mut file = File::open(path)?;
            let whole_bytes = file.metadata()?.len();
            let from = whole_bytes.saturating_sub(max_bytes as u64 + MARGIN);
            file.seek(SeekFrom::Start(from))?;
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            Ok((bytes, whole_bytes, from > 0))
        };
        match read() {
            Ok((bytes, whole_bytes, is_cut)) => {
                let text = String::from_utf8_lossy(&bytes);
                // Half a line may begin with half a secret, which has no shape any more.
                let text = if is_cut { after_newline(&text) } else { &text };
                self.add_last_lines(name, text, max_bytes, whole_bytes);
                Ok(())
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.leave_out(name, "there is no such file");
                Ok(())
            }
            Err(source) => Err(BundleError::Io { path: path.to_path_buf(), source }),
        }
    }

    /// Adds the last lines of a text, `max_bytes` at most.
    pub fn add_end(&mut self, name: &str, text: &str, max_bytes: usize) {
        self.add_last_lines(name, text, max_bytes, text.len() as u64);
    }

    /// Secrets go first: a cut through one would hide it from the patterns.
    fn add_last_lines(&mut self, name: &str, text: &str, max_bytes: usize, whole_bytes: u64) {
        let (safe, redactions) = self.redactor.redact(text);
        let mut from = safe.len().saturating_sub(max_bytes);
        while !safe.is_char_boundary(from) {
            from += 1;
        }
        let end = if from > 0 { after_newline(&safe[from..]) } else { &safe };
        if from > 0 || (text.len() as u64) < whole_bytes {
            self.leave_out(name, &format!("all but its last {} of {whole_bytes} bytes", end.len()));
        }
        self.push(name, end.to_owned(), redactions);
    }

    /// Says what is not inside.
    pub fn leave_out(&mut self, what: &str, why: &str) {
        let (what, _) = self.redactor.redact(what);
        let (why, _) = self.redactor.redact(why);
        self.contents.left_out.push(LeftOut { what, why });
    }

    /// Writes the archive; it appears whole or not at all, and never over another file.
    pub fn write(self, out: &Path) -> Result<Contents, BundleError> {
        if out.exists() {
            return Err(BundleError::Exists(out.to_path_buf()));
        }
        let folder = out.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let draft = tempfile::NamedTempFile::new_in(folder).map_err(BundleError::io(folder))?;
        let root = out.file_name().map_or("bundle".into(), |name| name.to_string_lossy().into_owned());
        let root = root.trim_end_matches(".zst").trim_end_matches(".tar").to_owned();
        let contents = serde_json::to_string_pretty(&self.contents)?;
        let secs = self.contents.created_millis.max(0) as u64 / 1000;
        let write = || -> std::io::Result<()> {
            let encoder = zstd::Encoder::new(draft.as_file(), LEVEL)?;
            let mut archive = tar::Builder::new(encoder);
            let all = self.files.iter().map(|(name, text)| (name.as_str(), text.as_str()));
            for (name, text) in [(CONTENTS, contents.as_str())].into_iter().chain(all) {
                let mut header = tar::Header::new_gnu();
                header.set_size(text.len() as u64);
                header.set_mode(0o644);
                header.set_mtime(secs);
                archive.append_data(&mut header, format!("{root}/{name}"), text.as_bytes())?;
            }
            let mut file = archive.into_inner()?.finish()?;
            file.flush()?;
            file.sync_all()
        };
        write().map_err(BundleError::io(out))?;
        // Another process may have made it meanwhile.
        match draft.persist_noclobber(out) {
            Ok(_) => Ok(self.contents),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(BundleError::Exists(out.to_path_buf()))
            }
            Err(error) => Err(BundleError::Io { path: out.to_path_buf(), source: error.error }),
        }
    }
}

/// What stands behind the first end of a line; nothing where there is none.
fn after_newline(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, rest)| rest)
}
