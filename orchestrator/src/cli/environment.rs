//! The environment by which a spec is read, remembered so that another process can read the spec in the same way.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use cupola_specs::spec::{Environment, ProcessEnvironment};

/// What the home folder of `~` comes from.
const HOME: &str = "HOME";

/// Variables with their values; none of one that is not set.
pub(super) type Variables = BTreeMap<String, Option<String>>;

/// The process's environment, with every variable that was asked for.
#[derive(Debug, Default)]
pub(super) struct Remembered(RefCell<Variables>);

impl Remembered {
    /// The variables that were asked for.
    pub(super) fn variables(self) -> Variables {
        self.0.into_inner()
    }
}

impl Environment for Remembered {
    fn variable(&self, name: &str) -> Option<String> {
        let value = ProcessEnvironment.variable(name);
        self.0.borrow_mut().insert(name.to_owned(), value.clone());
        value
    }

    fn home(&self) -> Option<PathBuf> {
        self.0.borrow_mut().insert(HOME.to_owned(), ProcessEnvironment.variable(HOME));
        ProcessEnvironment.home()
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        ProcessEnvironment.read(path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_asked_for_is_remembered_with_what_is_not_set() {
        let remembered = Remembered::default();
        assert!(remembered.variable("PATH").is_some());
        assert_eq!(remembered.variable("NO_SUCH_VARIABLE_OF_CUPOLA"), None);
        let all = remembered.variables();
        assert_eq!(all.len(), 2);
        assert_eq!(all["PATH"], std::env::var("PATH").ok());
        assert_eq!(all["NO_SUCH_VARIABLE_OF_CUPOLA"], None);
    }
}
