//! `cupola chat`.

use std::io::{BufRead, BufReader, IsTerminal, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use cupola_specs::artifact::ChatMessage;
use cupola_specs::contract::ErrorClass;
use reqwest::blocking::{Client, Response};
use serde_json::{Value, json};

use super::model::find_model;
use super::select::projection;
use super::serve::server_binary;
use super::{CliError, Global, Outcome};

const START_PATIENCE: Duration = Duration::from_mins(2);

/// Arguments of `cupola chat`.
#[derive(Debug, Args)]
pub struct ChatArgs {
    /// A job, a step or a model folder; the promoted model, else the newest, where none is given.
    pub model: Option<String>,
    /// A server that runs already, up to and with `/v1`; one is started where none is given.
    #[arg(long)]
    pub url: Option<String>,
    /// Key of that server.
    #[arg(long, env = "CUPOLA_API_KEY", hide_env_values = true)]
    pub api_key: Option<String>,
    /// Asks this and ends.
    #[arg(long, value_name = "TEXT")]
    pub once: Option<String>,
    /// A system message.
    #[arg(long, value_name = "TEXT")]
    pub system: Option<String>,
    /// Sampling temperature.
    #[arg(long, default_value_t = 0.7)]
    pub temperature: f64,
    /// Longest answer, tokens; what the model's context leaves where none is given.
    #[arg(long)]
    pub max_tokens: Option<u64>,
    /// Seed of the sampling; a new one for each answer where none is given.
    #[arg(long)]
    pub seed: Option<u64>,
}

/// A server to talk to; one that was started here ends with this value.
struct Server {
    url: String,
    model: String,
    child: Option<Child>,
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // It may have ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Answers one question, or talks until the end of input.
pub(super) fn run(args: &ChatArgs, global: &Global) -> Result<Outcome, CliError> {
    let client = Client::builder().no_proxy().timeout(None).build().map_err(|error| http(&error))?;
    let server = connect(args, global, &client)?;
    let mut history: Vec<ChatMessage> = Vec::new();
    history.extend(args.system.as_ref().map(|text| message("system", text)));
    if let Some(text) = &args.once {
        history.push(message("user", text));
        let answer = ask(&client, &server, args, &history, !global.json)?;
        if global.json {
            println!("{}", json!({ "model": server.model, "answer": answer }));
        }
        return Ok(Outcome::Done);
    }
    talk(&client, &server, args, history)
}

fn talk(
    client: &Client,
    server: &Server,
    args: &ChatArgs,
    mut history: Vec<ChatMessage>,
) -> Result<Outcome, CliError> {
    let terminal = std::io::stdin().is_terminal();
    if terminal {
        eprintln!("{} at {}. /clear forgets the talk, /exit or Ctrl-D ends it.", server.model, server.url);
    }
    let keep = history.len();
    let mut lines = std::io::stdin().lock().lines();
    loop {
        if terminal {
            eprint!("\n> ");
        }
        let Some(line) = lines.next() else { return Ok(Outcome::Done) };
        let line = line.map_err(|source| CliError::Io { path: PathBuf::from("standard input"), source })?;
        match line.trim() {
            "" => {}
            "/exit" | "/quit" => return Ok(Outcome::Done),
            "/clear" => history.truncate(keep),
            text => {
                history.push(message("user", text));
                match ask(client, server, args, &history, true) {
                    Ok(answer) => history.push(message("assistant", &answer)),
                    Err(error) if terminal => {
                        eprintln!("error: {error} (/clear forgets the talk)");
                        history.pop();
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }
}

fn message(role: &str, text: &str) -> ChatMessage {
    ChatMessage::new(role, text)
}

fn connect(args: &ChatArgs, global: &Global, client: &Client) -> Result<Server, CliError> {
    if let Some(url) = &args.url {
        let url = url.trim_end_matches('/').to_owned();
        let model = args.model.clone().map_or_else(|| first_model(client, &url, args), Ok)?;
        return Ok(Server { url, model, child: None });
    }
    let model = find_model(&projection(global)?, args.model.as_deref())?;
    let address = free_address()?;
    let binary = server_binary()?;
    let mut command = Command::new(&binary);
    command.arg("--model").arg(model.named_folder(&model.name)).arg("--listen").arg(address.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.env_remove("CUPOLA_API_KEY");
    let log = tempfile::NamedTempFile::new()
        .map_err(|source| CliError::Io { path: std::env::temp_dir(), source })?;
    let errors = log.reopen().map_err(|source| CliError::Io { path: log.path().to_path_buf(), source })?;
    command.stderr(errors);
    let child = command.spawn().map_err(|source| CliError::Io { path: binary, source })?;
    let mut server = Server { url: format!("http://{address}/v1"), model: model.name, child: Some(child) };
    wait_until_ready(&mut server, client, (address, log.path()))?;
    Ok(server)
}

fn free_address() -> Result<SocketAddr, CliError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener.map_err(|source| CliError::Io { path: PathBuf::from("127.0.0.1:0"), source })
}

fn wait_until_ready(
    server: &mut Server,
    client: &Client,
    (address, log): (SocketAddr, &Path),
) -> Result<(), CliError> {
    let since = Instant::now();
    loop {
        let health = client.get(format!("http://{address}/health")).timeout(Duration::from_secs(2)).send();
        if health.is_ok_and(|response| response.status().is_success()) {
            return Ok(());
        }
        let Some(child) = &mut server.child else { return Ok(()) };
        if let Ok(Some(status)) = child.try_wait() {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            return Err(broken(format!("the server ended while it started ({status}): {}", said.trim())));
        }
        if since.elapsed() > START_PATIENCE {
            return Err(broken(format!("the server did not answer within {} s", START_PATIENCE.as_secs())));
        }
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn first_model(client: &Client, url: &str, args: &ChatArgs) -> Result<String, CliError> {
    let mut request = client.get(format!("{url}/models"));
    if let Some(key) = &args.api_key {
        request = request.bearer_auth(key);
    }
    let models: Value =
        checked(request.send().map_err(|error| http(&error))?)?.json().map_err(|error| http(&error))?;
    let name = models.pointer("/data/0/id").and_then(Value::as_str);
    name.map(str::to_owned).ok_or_else(|| broken(format!("{url}/models lists no model")))
}

/// Asks and gives the answer; with `show` it is printed as it comes.
fn ask(
    client: &Client,
    server: &Server,
    args: &ChatArgs,
    history: &[ChatMessage],
    show: bool,
) -> Result<String, CliError> {
    let mut body = json!({
        "model": server.model, "messages": history, "stream": true,
        "temperature": args.temperature,
    });
    if let Some(most) = args.max_tokens {
        body["max_tokens"] = most.into();
    }
    if let Some(seed) = args.seed {
        body["seed"] = seed.into();
    }
    let mut request = client.post(format!("{}/chat/completions", server.url)).json(&body);
    if let Some(key) = &args.api_key {
        request = request.bearer_auth(key);
    }
    let response = checked(request.send().map_err(|error| http(&error))?)?;
    let mut answer = String::new();
    let mut out = std::io::stdout();
    for line in BufReader::new(response).lines() {
        let line = line.map_err(|error| broken(format!("the stream broke off: {error}")))?;
        let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
        if data == "[DONE]" {
            break;
        }
        let chunk: Value = serde_json::from_str(data)
            .map_err(|error| broken(format!("the server sent no JSON: {error}")))?;
        if let Some(error) = chunk.get("error") {
            return Err(broken(format!("the server failed: {error}")));
        }
        let text = chunk.pointer("/choices/0/delta/content").and_then(Value::as_str).unwrap_or_default();
        answer.push_str(text);
        if show {
            // A closed standard output is no reason to lose the rest of the answer.
            let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
        }
    }
    if show {
        println!();
    }
    Ok(answer)
}

fn checked(response: Response) -> Result<Response, CliError> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().unwrap_or_default();
    let parsed: Value = serde_json::from_str(&text).unwrap_or_default();
    let said = parsed.pointer("/error/message").and_then(Value::as_str).unwrap_or(&text).to_owned();
    Err(broken(format!("the server said {status}: {said}")))
}

fn http(error: &reqwest::Error) -> CliError {
    broken(format!("the server can't be reached: {error}"))
}

fn broken(message: String) -> CliError {
    CliError::Other { message, hint: String::new(), class: ErrorClass::Transient }
}
