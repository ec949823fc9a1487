//! `cupola init`: a spec to start from, its schema, and what keeps the state folder out of version control.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use cupola_specs::spec::{Template, schema};
use serde_json::json;

use super::{CliError, Global, Outcome};

/// The spec's file.
const SPEC: &str = "cupola.yaml";
/// The schema's file, which the spec names in its first line.
const SCHEMA: &str = "schema.json";
/// What keeps the state folder out of version control.
const IGNORED: &str = ".cupola";

/// A spec to start from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum TemplateArg {
    /// Every stage of the way in some minutes, from the crates in cargo's registry.
    Quickstart,
    /// Texts to a corpus and a tokenizer.
    Corpus,
    /// Texts to a base model, with a scaling law.
    Pretrain,
    /// A base model to a chat model that is served.
    Chat,
}

impl From<TemplateArg> for Template {
    fn from(argument: TemplateArg) -> Self {
        match argument {
            TemplateArg::Quickstart => Self::Quickstart,
            TemplateArg::Corpus => Self::Corpus,
            TemplateArg::Pretrain => Self::Pretrain,
            TemplateArg::Chat => Self::Chat,
        }
    }
}

/// Arguments of `cupola init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// The folder; it is made where it is missing.
    #[arg(default_value = ".")]
    pub dir: PathBuf,
    /// What to start from.
    #[arg(long, value_enum, default_value = "quickstart")]
    pub template: TemplateArg,
    /// Overwrites files that are there.
    #[arg(long)]
    pub force: bool,
}

/// Writes the spec and its schema, and says what comes next.
pub(super) fn run(args: &InitArgs, global: &Global) -> Result<Outcome, CliError> {
    let template = Template::from(args.template);
    let files = [
        (inside(&args.dir, SPEC), template.text().to_owned()),
        (inside(&args.dir, SCHEMA), format!("{:#}\n", schema())),
    ];
    if !args.force {
        check_free(&files)?;
    }
    std::fs::create_dir_all(&args.dir).map_err(io(&args.dir))?;
    for (path, text) in &files {
        std::fs::write(path, text).map_err(io(path))?;
    }
    let mut written: Vec<PathBuf> = files.into_iter().map(|(path, _)| path).collect();
    written.extend(ignore_state(&args.dir)?);
    let next = next_commands(&args.dir);
    if global.json {
        let commands: Vec<&str> = next.iter().map(|(command, _)| command.as_str()).collect();
        let (template, needs) = (template.as_str(), template.needs());
        println!("{}", json!({ "template": template, "written": written, "needs": needs, "next": commands }));
    } else {
        for path in &written {
            println!("wrote {}", path.display());
        }
        if let Some(needs) = template.needs() {
            println!("\nIt needs {needs}.");
        }
        println!("\nNext:");
        for (command, what) in next {
            println!("  {command:32}# {what}");
        }
    }
    Ok(Outcome::Done)
}

/// Refuses to overwrite a file that says something else.
fn check_free(files: &[(PathBuf, String)]) -> Result<(), CliError> {
    for (path, text) in files {
        match std::fs::read(path) {
            Ok(bytes) if bytes != text.as_bytes() => {
                return Err(CliError::input(
                    format!("{} is there already", path.display()),
                    "name another folder, or overwrite it with --force",
                ));
            }
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => return Err(io(path)(source)),
        }
    }
    Ok(())
}

/// Adds the state folder to `.gitignore`; gives the file where it was changed.
fn ignore_state(dir: &Path) -> Result<Option<PathBuf>, CliError> {
    let path = inside(dir, ".gitignore");
    let mut text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        Err(source) => return Err(io(&path)(source)),
    };
    if text.lines().any(|line| line.trim().trim_matches('/') == IGNORED) {
        return Ok(None);
    }
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    let _ = writeln!(text, "/{IGNORED}");
    std::fs::write(&path, text).map_err(io(&path))?;
    Ok(Some(path))
}

/// What to type next, from where the user is, and what it does.
fn next_commands(dir: &Path) -> Vec<(String, &'static str)> {
    let mut next = Vec::new();
    if dir != Path::new(".") {
        next.push((format!("cd {}", quoted(dir)), "into the new folder"));
    }
    for (command, what) in
        [("validate", "checks the spec"), ("plan", "shows what would run, and why"), ("apply", "runs it")]
    {
        next.push((format!("cupola {command} {SPEC}"), what));
    }
    next.push(("cupola watch".to_owned(), "follows the run, in another terminal"));
    next
}

/// A file of a folder, as short as it can be said.
fn inside(dir: &Path, file: &str) -> PathBuf {
    if dir == Path::new(".") { PathBuf::from(file) } else { dir.join(file) }
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_alphanumeric() || "-_./~".contains(c);
    if text.chars().all(is_plain) { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> CliError {
    let path = path.to_owned();
    move |source| CliError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn init(dir: &Path, template: TemplateArg, force: bool) -> Result<Outcome, CliError> {
        let global = Global {
            state: dir.join(".cupola"),
            json: true,
            via: String::new(),
            no_daemon: false,
            order: String::new(),
            command: "init".to_owned(),
        };
        run(&InitArgs { dir: dir.to_owned(), template, force }, &global)
    }

    #[test]
    fn a_new_folder_has_a_spec_that_validates_and_its_schema() {
        let home = tempfile::tempdir().unwrap();
        for template in
            [TemplateArg::Quickstart, TemplateArg::Corpus, TemplateArg::Pretrain, TemplateArg::Chat]
        {
            let dir = home.path().join(Template::from(template).as_str());
            assert_eq!(init(&dir, template, false).unwrap(), Outcome::Done);
            let spec =
                cupola_specs::spec::load(&dir.join(SPEC), &[], &cupola_specs::spec::ProcessEnvironment);
            assert_eq!(spec.unwrap().name, Template::from(template).as_str());
            let schema_file: serde_json::Value =
                serde_json::from_slice(&std::fs::read(dir.join(SCHEMA)).unwrap()).unwrap();
            assert_eq!(schema_file, schema());
            assert_eq!(std::fs::read_to_string(dir.join(".gitignore")).unwrap(), "/.cupola\n");
        }
    }

    #[test]
    fn what_is_there_stays_unless_forced() {
        let dir = tempfile::tempdir().unwrap();
        let spec = dir.path().join(SPEC);
        std::fs::write(&spec, "mine").unwrap();
        let error = init(dir.path(), TemplateArg::Corpus, false).unwrap_err();
        assert!(error.to_string().ends_with("cupola.yaml is there already"), "{error}");
        assert!(error.hint().contains("--force"));
        assert_eq!(std::fs::read_to_string(&spec).unwrap(), "mine");
        assert!(!dir.path().join(SCHEMA).exists() && !dir.path().join(".gitignore").exists());
        init(dir.path(), TemplateArg::Corpus, true).unwrap();
        assert_eq!(std::fs::read_to_string(&spec).unwrap(), Template::Corpus.text());
        // A second time nothing is another, and nothing is refused.
        init(dir.path(), TemplateArg::Corpus, false).unwrap();
    }

    #[test]
    fn the_entry_joins_those_of_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join(".gitignore");
        for (before, after) in [
            ("/target", "/target\n/.cupola\n"),
            ("/target\n", "/target\n/.cupola\n"),
            (".cupola/\n", ".cupola/\n"),
            ("# /.cupola\n", "# /.cupola\n/.cupola\n"),
        ] {
            std::fs::write(&file, before).unwrap();
            assert_eq!(ignore_state(dir.path()).unwrap().is_some(), before != after);
            assert_eq!(std::fs::read_to_string(&file).unwrap(), after);
        }
    }

    #[test]
    fn the_next_commands_begin_in_the_folder() {
        assert_eq!(next_commands(Path::new("."))[0].0, "cupola validate cupola.yaml");
        assert_eq!(next_commands(Path::new("my model"))[0].0, "cd 'my model'");
        assert_eq!(inside(Path::new("."), SPEC), Path::new("cupola.yaml"));
        assert_eq!(quoted(Path::new("it's")), "'it'\\''s'");
    }
}
