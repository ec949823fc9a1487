//! The way from a file to a resolved spec.

use std::path::Path;

use super::codes::Code;
use super::diagnostic::Diagnostics;
use super::environment::Environment;
use super::include::{Trail, parse_file, reason};
use super::resolve;
use super::resolved::ResolvedSpec;
use super::session::Session;
use super::substitute::substitute;
use super::tree::{Node, Spot};
use super::{matrix, overrides};

/// Loads a spec file with the overrides of the command line (`--set key=value`, in order).
pub fn load(
    path: &Path,
    overrides: &[(String, String)],
    env: &dyn Environment,
) -> Result<ResolvedSpec, Diagnostics> {
    match env.read(path) {
        Ok(bytes) => parse(path, &bytes, overrides, env),
        Err(error) => {
            let mut session = Session::new(env);
            let text = session.add_text(&path.display().to_string(), Path::new(""), "");
            let spot = Spot { text, line: 1, column: 1, length: 1 };
            session
                .error(Code::Unreadable, spot, format!("the spec can't be read: {}", reason(&error)))
                .expecting("a file; `cupola init` writes a spec to start from");
            session.finish(None)
        }
    }
}

/// Parses the bytes of a spec; `path` names it in messages and is what relative paths and includes start from.
pub fn parse(
    path: &Path,
    bytes: &[u8],
    overrides: &[(String, String)],
    env: &dyn Environment,
) -> Result<ResolvedSpec, Diagnostics> {
    let mut session = Session::new(env);
    let spec = tree(path, bytes, overrides, &mut session)
        .and_then(|root| resolve::resolve(path, &root, &mut session));
    session.finish(spec)
}

/// The tree with includes, overrides, placeholders and matrices carried out.
fn tree(
    path: &Path,
    bytes: &[u8],
    overrides: &[(String, String)],
    session: &mut Session<'_>,
) -> Option<Node> {
    let mut root = parse_file(path, bytes, session, &mut Trail::default())?;
    overrides::apply(&mut root, overrides, session);
    let vars = root.get("vars").cloned();
    root = substitute(root, vars.as_ref(), session);
    if let Some(jobs) = root.get_mut("jobs") {
        matrix::expand(jobs, session);
    }
    Some(root)
}
