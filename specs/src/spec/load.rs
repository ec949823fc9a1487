//! The way from a file to a resolved spec.

use std::path::Path;

use super::codes::Code;
use super::diagnostic::{Diagnostic, Diagnostics};
use super::environment::Environment;
use super::origin::Origin;
use super::resolved::ResolvedSpec;

/// Loads a spec file with the overrides of the command line (`--set key=value`, in order).
pub fn load(
    path: &Path,
    overrides: &[(String, String)],
    env: &dyn Environment,
) -> Result<ResolvedSpec, Diagnostics> {
    match env.read(path) {
        Ok(bytes) => parse(path, &bytes, overrides, env),
        Err(error) => Err(Diagnostics(vec![Diagnostic {
            code: Code::Unreadable,
            message: format!("the spec can't be read: {error}"),
            origin: Origin { file: path.display().to_string(), line: 1, column: 1 },
            length: 1,
            source: String::new(),
            expected: String::new(),
            suggestion: None,
            notes: Vec::new(),
        }])),
    }
}

/// Parses the bytes of a spec; `path` names it in messages and is what relative paths and includes start from.
pub fn parse(
    path: &Path,
    _bytes: &[u8],
    _overrides: &[(String, String)],
    _env: &dyn Environment,
) -> Result<ResolvedSpec, Diagnostics> {
    Err(Diagnostics(vec![Diagnostic {
        code: Code::Unsupported,
        message: "specs are not parsed yet".to_owned(),
        origin: Origin { file: path.display().to_string(), line: 1, column: 1 },
        length: 1,
        source: String::new(),
        expected: String::new(),
        suggestion: None,
        notes: Vec::new(),
    }]))
}
