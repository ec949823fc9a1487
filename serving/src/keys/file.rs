//! The keys file: a YAML list, so that a new key is appended.
//!
//! ```yaml
//! - name: alice
//!   sha256: 2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b
//!   requests_per_minute: 60
//!   tokens_per_minute: 100000
//!   tokens_per_day: 2000000
//! ```

use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};

use super::{ANYONE, API_KEY};
use crate::ServeError;

/// A key's SHA-256.
pub(super) type Digest = [u8; 32];

/// One key as written.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyEntry {
    /// Who has it: the name in the access log.
    pub(super) name: String,
    /// SHA-256 of the key, in hexadecimal.
    pub(super) sha256: String,
    /// Requests to the model a minute; no limit where it is absent.
    pub(super) requests_per_minute: Option<u64>,
    /// Tokens of prompts and answers a minute; no limit where it is absent.
    pub(super) tokens_per_minute: Option<u64>,
    /// Tokens of prompts and answers a day; no limit where it is absent.
    pub(super) tokens_per_day: Option<u64>,
}

impl KeyEntry {
    /// Whether it is the same name with the same limits; its key may be a new one.
    pub(super) fn has_limits_of(&self, other: &Self) -> bool {
        let limits =
            |entry: &Self| (entry.requests_per_minute, entry.tokens_per_minute, entry.tokens_per_day);
        self.name == other.name && limits(self) == limits(other)
    }
}

/// Reads the entries with their digests. A name or a key that is there twice, or a limit of 0, is an error.
pub(super) fn read(path: &Path) -> Result<Vec<(Digest, KeyEntry)>, ServeError> {
    let failed = |message: String| ServeError::Keys { path: path.to_path_buf(), message };
    let text = std::fs::read_to_string(path).map_err(|error| failed(error.to_string()))?;
    parse(&text).map_err(failed)
}

/// Names of those who have no entry: whoever shares a name shares what its cache knows.
const RESERVED: [&str; 2] = [API_KEY, ANYONE];

fn parse(text: &str) -> Result<Vec<(Digest, KeyEntry)>, String> {
    let entries: Option<Vec<KeyEntry>> = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
    let mut keys: Vec<(Digest, KeyEntry)> = Vec::new();
    for entry in entries.unwrap_or_default() {
        let name = entry.name.clone();
        if !is_name(&name) {
            return Err(format!("the name {name:?} is not 1 to 64 letters, digits, '.', '_', '-' or '@'"));
        }
        if RESERVED.contains(&name.as_str()) {
            return Err(format!(
                "the name {name:?} is the server's own, for whoever has no entry: choose another"
            ));
        }
        let digest = parse_digest(&entry.sha256)
            .ok_or_else(|| format!("sha256 of '{name}' is not 64 hexadecimal digits"))?;
        let limits = [
            ("requests_per_minute", entry.requests_per_minute),
            ("tokens_per_minute", entry.tokens_per_minute),
            ("tokens_per_day", entry.tokens_per_day),
        ];
        if let Some((field, _)) = limits.into_iter().find(|(_, limit)| *limit == Some(0)) {
            return Err(format!("{field} of '{name}' is 0; take the entry out to lock its key out"));
        }
        if let Some((_, other)) = keys.iter().find(|(known, other)| *known == digest || other.name == name) {
            return Err(format!("'{name}' and '{}' have the same name or the same key", other.name));
        }
        keys.push((digest, entry));
    }
    Ok(keys)
}

/// Makes a key of 256 random bits, appends its entry to the file, which is created where it is not there, and gives the key.
pub fn new_key(path: &Path, name: &str) -> Result<String, ServeError> {
    let failed = |message: String| ServeError::Keys { path: path.to_path_buf(), message };
    let io = |error: std::io::Error| failed(error.to_string());
    let mut file = std::fs::OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)
        .map_err(io)?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(io)?;
    let mut random = [0; 32];
    std::fs::File::open("/dev/urandom").and_then(|mut source| source.read_exact(&mut random)).map_err(io)?;
    let key = format!("sk-{}", URL_SAFE_NO_PAD.encode(random));
    let line_end = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
    let entry = format!("{line_end}- name: {name:?}\n  sha256: {}\n", hex(&key));
    parse(&format!("{text}{entry}")).map_err(failed)?;
    file.write_all(entry.as_bytes()).and_then(|()| file.sync_all()).map_err(io)?;
    Ok(key)
}

/// The digest that a key is known by.
pub(super) fn digest(key: &str) -> Digest {
    Sha256::digest(key.as_bytes()).into()
}

/// The digest as it is written.
fn hex(key: &str) -> String {
    format!("{:x}", Sha256::digest(key.as_bytes()))
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-@".contains(&byte))
}

fn parse_digest(text: &str) -> Option<Digest> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, digits) in digest.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_key_is_appended_and_known_by_its_digest_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.yaml");
        let alice = new_key(&path, "alice").unwrap();
        let bob = new_key(&path, "bob@example.org").unwrap();
        assert_ne!(alice, bob);
        let keys = read(&path).unwrap();
        assert_eq!(
            keys.iter().map(|(digest, _)| *digest).collect::<Vec<_>>(),
            [digest(&alice), digest(&bob)]
        );
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!text.contains(&alice) && !text.contains("sk-"), "{text}");
        assert!(new_key(&path, "alice").is_err(), "a name is given once");
        assert!(new_key(&path, "a b\n").is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text, "a refused name leaves the file as it was");
    }

    #[test]
    fn what_is_wrong_with_a_file_is_named() {
        let sum = hex("abc");
        assert_eq!(sum, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let entry = format!("- name: a\n  sha256: {sum}\n");
        assert_eq!(parse(&entry).unwrap()[0].0, digest("abc"));
        assert!(parse("# none yet\n").unwrap().is_empty());
        for (text, named) in [
            (format!("{entry}  request_per_minute: 3\n"), "request_per_minute"),
            (format!("{entry}  tokens_per_day: 0\n"), "tokens_per_day"),
            (format!("{entry}  tokens_per_day: -1\n"), "tokens_per_day"),
            (entry.replace("ba78", "xx78"), "sha256"),
            (format!("{entry}- name: b\n  sha256: {}\n", sum.to_uppercase()), "same key"),
            (entry.replace("name: a", "name: api-key"), "the server's own"),
            (entry.replace("name: a", "name: '-'"), "the server's own"),
            ("- name: a b\n  sha256: x\n".to_owned(), "a b"),
            ("name: a\n".to_owned(), "sequence"),
        ] {
            let error = parse(&text).unwrap_err();
            assert!(error.contains(named), "{error}");
        }
    }
}
