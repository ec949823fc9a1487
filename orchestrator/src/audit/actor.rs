//! Who acts, as far as a process can tell.

use std::path::Path;

use nix::unistd::{Uid, User};

use crate::bundle::Redactor;
use crate::state::{Act, Actor, host_name};

/// Longest argument that is kept, characters.
const MAX_ARGUMENT: usize = 400;
/// What stands for arguments that could not be looked through.
const HIDDEN: &str = "[hidden]";

/// This process: its user, its host, and what started it. `via` says on whose behalf it works, such as `schedule t.nightly`.
pub fn actor_of_process(via: &str) -> Actor {
    let uid = Uid::current();
    let known = User::from_uid(uid).ok().flatten();
    Actor {
        user: known.map_or_else(|| format!("uid {uid}"), |user| user.name),
        uid: uid.as_raw(),
        host: host_name(),
        pid: std::process::id(),
        parent: parent_command().unwrap_or_default(),
        via: via.to_owned(),
    }
}

/// What a command of this process does. Its arguments are those of the process, without secrets.
pub fn act_of_command(verb: &str, via: &str) -> Act {
    let arguments: Vec<String> =
        std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect();
    Act {
        actor: actor_of_process(via),
        verb: verb.to_owned(),
        arguments: safe_arguments(&arguments),
        run: None,
        result: String::new(),
    }
}

/// What a client of the control API asks for; `address` is the client's.
pub fn act_of_api(address: &str, verb: &str, arguments: &[String]) -> Act {
    Act {
        actor: actor_of_process(format!("api {address}").trim_end()),
        verb: verb.to_owned(),
        arguments: safe_arguments(arguments),
        run: None,
        result: String::new(),
    }
}

/// Arguments without secrets: neither the values of variables whose names speak of secrets, nor what has the shape of one.
pub fn safe_arguments(arguments: &[String]) -> Vec<String> {
    let environment: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect();
    match Redactor::new(&environment, &[], None) {
        Ok(redactor) => arguments.iter().map(|argument| safe(&redactor, argument)).collect(),
        Err(_) => vec![HIDDEN.to_owned(); arguments.len()],
    }
}

fn safe(redactor: &Redactor, argument: &str) -> String {
    let text = redactor.hide_secrets(argument).0;
    if text.chars().count() <= MAX_ARGUMENT {
        return text;
    }
    text.chars().take(MAX_ARGUMENT).chain("…".chars()).collect()
}

/// The program of the parent process, with its subcommand where it is this program: `cupola daemon`, `bash`.
fn parent_command() -> Option<String> {
    let parent = std::os::unix::process::parent_id();
    let line = std::fs::read(format!("/proc/{parent}/cmdline")).ok()?;
    let mut words = line.split(|byte| *byte == 0).map(|word| String::from_utf8_lossy(word).into_owned());
    let program = words.next()?;
    let program = Path::new(&program).file_name()?.to_string_lossy().into_owned();
    // Arguments of other programs are nobody's business.
    let verb = words.find(|word| !word.starts_with('-') && !word.contains('/'));
    Some(match verb {
        Some(verb) if program == "cupola" => format!("cupola {verb}"),
        _ => program.trim_start_matches('-').to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_user_and_what_started_it() {
        let actor = actor_of_process("schedule t.nightly");
        assert!(!actor.user.is_empty() && !actor.host.is_empty() && !actor.parent.is_empty(), "{actor:?}");
        assert_eq!((actor.pid, actor.via.as_str()), (std::process::id(), "schedule t.nightly"));
        let act = act_of_api("10.0.0.5:4123", "cancel", &["--run=t-1".to_owned()]);
        assert_eq!(
            (act.actor.via.as_str(), act.arguments),
            ("api 10.0.0.5:4123", vec!["--run=t-1".to_owned()])
        );
    }

    #[test]
    fn secrets_are_not_among_the_arguments_and_paths_stay() {
        let words = [
            "--set",
            "judges.a.api_key=sk-abcdefgh12345678",
            "/home/jane/spec.yaml",
            "hf_ABCDEFGHIJKLMNOPqrst",
        ];
        let safe = safe_arguments(&words.map(str::to_owned));
        assert_eq!(safe, ["--set", "judges.a.api_key=[secret]", "/home/jane/spec.yaml", "[secret]"]);
        assert!(safe_arguments(&["x".repeat(5_000)])[0].chars().count() <= MAX_ARGUMENT + 1);
    }
}
