//! A [`House`] is one user's folder: crates to learn from, a spec, a state folder. It runs the real binaries in it.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tempfile::TempDir;
use walkdir::WalkDir;

/// The repository's root.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().map(Path::to_path_buf).unwrap_or_default()
}

/// A built binary of this workspace, beside the test's own folder.
pub fn binary(name: &str) -> Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder =
        test.parent().and_then(Path::parent).context("the test binary lies in target/<profile>/deps")?;
    let path = folder.join(name);
    ensure!(
        path.exists(),
        "{} is not built: run `cargo build --release --workspace --bins` first",
        path.display()
    );
    Ok(path)
}

/// One user's folder.
pub struct House {
    folder: TempDir,
}

impl House {
    /// A fresh folder with the source text of this repository's crates as corpus and `tests/specs/small.yaml` as `spec.yaml`.
    pub fn new() -> Result<Self> {
        let house = Self { folder: tempfile::Builder::new().prefix("cupola-house-").tempdir()? };
        for name in ["specs", "kernels", "runtime", "serving", "orchestrator"] {
            let source = repository().join(name);
            for entry in WalkDir::new(&source) {
                let entry = entry?;
                let is_text = entry.path().extension().is_some_and(|extension| extension == "rs");
                if entry.file_type().is_file() && is_text {
                    let target = house
                        .crates()
                        .join(format!("{name}-0.1.0"))
                        .join(entry.path().strip_prefix(&source)?);
                    copy(entry.path(), &target)?;
                }
            }
            copy(
                &repository().join("CONTRIBUTING.md"),
                &house.crates().join(format!("{name}-0.1.0/README.md")),
            )?;
        }
        copy(
            &repository().join("ARCHITECTURE.md"),
            &house.crates().join("orchestrator-0.1.0/ARCHITECTURE.md"),
        )?;
        copy(&repository().join("README.md"), &house.crates().join("specs-0.1.0/GUIDE.md"))?;
        copy(&repository().join("tests/specs/small.yaml"), &house.spec())?;
        Ok(house)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The corpus.
    pub fn crates(&self) -> PathBuf {
        self.path().join("crates")
    }

    /// The spec file.
    pub fn spec(&self) -> PathBuf {
        self.path().join("spec.yaml")
    }

    /// The state folder.
    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    /// Replaces text in the spec; fails where the old text does not stand in it exactly once.
    pub fn edit_spec(&self, old: &str, new: &str) -> Result<()> {
        let text = fs::read_to_string(self.spec())?;
        ensure!(
            text.matches(old).count() == 1,
            "{old:?} stands {} times in the spec",
            text.matches(old).count()
        );
        fs::write(self.spec(), text.replace(old, new))?;
        Ok(())
    }

    /// A command of the `cupola` binary in this house.
    pub fn command<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Result<Command> {
        let mut command = Command::new(binary("cupola")?);
        command
            .args(arguments)
            .current_dir(self.path())
            .env("CUPOLA_STATE", self.state())
            .env("CUPOLA_TEST_CRATES", self.crates())
            .stdin(Stdio::null());
        Ok(command)
    }

    /// Runs `cupola` and returns what it wrote, whatever its exit code.
    pub fn run<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Result<Output> {
        Ok(self.command(arguments)?.output()?)
    }

    /// Runs `cupola`, which must succeed, and returns its standard output.
    pub fn ok<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Result<String> {
        let output = self.run(arguments)?;
        ensure!(
            output.status.success(),
            "cupola ended with {}\n--- stdout\n{}\n--- stderr\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// Runs `cupola … --json`, which must succeed, and parses its output.
    pub fn json<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Result<Value> {
        let mut command = self.command(arguments)?;
        let output = command.arg("--json").output()?;
        ensure!(output.status.success(), "{command:?}\n{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("not JSON: {}", String::from_utf8_lossy(&output.stdout)))
    }

    /// Starts `cupola` in the background.
    pub fn start<I: IntoIterator<Item = S>, S: AsRef<OsStr>>(&self, arguments: I) -> Result<Child> {
        let log = fs::File::create(self.path().join("background.log"))?;
        Ok(self.command(arguments)?.stdout(log.try_clone()?).stderr(log).spawn()?)
    }

    /// The folder of the artifact that a step committed last, by `cupola get artifacts`.
    pub fn artifact(&self, step: &str) -> Result<PathBuf> {
        let artifacts = self.json(["get", "artifacts"])?;
        let rows = artifacts.as_array().context("`get artifacts --json` is a list")?;
        let row = rows
            .iter()
            .rev()
            .find(|row| row["step"] == step)
            .with_context(|| format!("no artifact of {step}"))?;
        Ok(PathBuf::from(row["path"].as_str().context("an artifact row has a path")?))
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::copy(from, to).with_context(|| format!("{} to {}", from.display(), to.display()))?;
    Ok(())
}
