//! Taking secrets out of texts: by their values, where the environment holds them, and by their shapes, where it does not.
//!
//! A text that is redacted too much is a nuisance, one that is redacted too little a leak: the shapes lean to the former. What bug reports
//! live on stays: fingerprints, attempt tokens (`3.1`), counts of tokens, notes' keys.

use std::path::Path;

use regex::{Captures, Regex};

use super::BundleError;

const GONE: &str = "[secret]";
/// Values of variables that are shorter are words, not secrets.
const MIN_VALUE_BYTES: usize = 6;

/// Words in the name of an environment variable whose value is a secret.
const SECRET_WORDS: [&str; 11] = [
    "KEY",
    "TOKEN",
    "SECRET",
    "PASSWORD",
    "PASSWD",
    "PASSPHRASE",
    "CREDENTIAL",
    "AUTH",
    "WEBHOOK",
    "COOKIE",
    "DSN",
];

/// Shapes of secrets wherever they stand, with what stays. Order matters: blocks, headers, then parts of URLs.
const SHAPES: [(&str, &str); 8] = [
    // A PEM block, in a text or escaped in JSON, whole, cut off at its end, or cut off at its beginning.
    (r"(?s)-----BEGIN [A-Z0-9 ]+-----.*?(?:-----END [A-Z0-9 ]+-----|\z)", GONE),
    (r"(?:[A-Za-z0-9+/=]{16,}(?:\\n|\\r|\s)*)*-----END [A-Z0-9 ]+-----", GONE),
    (r#"(?i)((?:set-)?cookie[\\"']*\s*[:=]\s*[\\"']*)[^"\r\n\\]+"#, "${1}[secret]"),
    (
        r#"(?i)(authorization[\\"']*\s*[:=]\s*[\\"']*)(?:(?:bearer|basic|token|digest)\s+)?[^\s"',\\]+"#,
        "${1}[secret]",
    ),
    (r"(?i)(bearer\s+)[A-Za-z0-9._~+/=-]{6,}", "${1}[secret]"),
    (r"(?i)(basic\s+)[A-Za-z0-9+/]{12,}={0,2}", "${1}[secret]"),
    // Names and passwords in URLs, then secrets in their queries.
    (r#"([a-zA-Z][a-zA-Z0-9+.-]*://)[^/\s"'<>\\]+@"#, "${1}[secret]@"),
    (
        r#"(?i)([?&;][a-z0-9_.-]*(?:key|token|secret|passw|signature|sig|auth|credential|code)[a-z0-9_.-]*=)[^&\s"'<>#\\]+"#,
        "${1}[secret]",
    ),
];

/// Tokens that say by their first letters what they are: OpenAI, Anthropic and Stripe; GitHub, GitLab and Slack; Hugging Face, npm, PyPI,
/// DigitalOcean and SendGrid; AWS and Google; JSON web tokens; Telegram.
const TOKENS: [&str; 15] = [
    r"(?:sk|rk|pk)[-_][A-Za-z0-9_-]{8,}",
    r"gh[oprsu]_[A-Za-z0-9]{16,}",
    r"github_pat_[A-Za-z0-9_]{16,}",
    r"glpat-[A-Za-z0-9_-]{12,}",
    r"xox[a-z]-[A-Za-z0-9-]{8,}",
    r"xapp-[A-Za-z0-9-]{8,}",
    r"(?:hf|npm)_[A-Za-z0-9]{16,}",
    r"pypi-[A-Za-z0-9_-]{16,}",
    r"dop_v1_[a-f0-9]{16,}",
    r"SG\.[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}",
    r"whsec_[A-Za-z0-9+/=]{8,}",
    r"(?:AKIA|ASIA)[0-9A-Z]{16}",
    r"(?:AIza[0-9A-Za-z_-]{30,}|ya29\.[0-9A-Za-z_-]{16,})",
    r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?",
    r"[0-9]{8,10}:[A-Za-z0-9_-]{30,}",
];
/// Before such a token: no letter, or the escaped end of a line, whose `n` is none.
const TOKEN_START: &str = r"(\\[nrt]|\b)";

/// A name that says that a secret follows, then the secret. `key` alone is no such name: notes have keys.
const ASSIGNMENT: &str = r#"(?i)((?:[a-z0-9]+[_.-])*(?:[a-z0-9]+[_-]key|apikey|token|secret|password|passwd|pwd|passphrase|credentials?))([\\"']*\s*[:=]\s*[\\"']*)([^\s"',;}\]\\]{4,})"#;
/// A URL with a path, whole.
const URL: &str = r#"(?i)(https?://[^/\s"'<>\\]+)(/[^\s"'<>\\]*)"#;
/// Home folders of other users.
const HOMES: &str = r#"(/home/|/Users/)[^/\s"'<>:,;\\]+"#;

/// Takes secrets and home folders out of texts.
#[derive(Debug)]
pub struct Redactor {
    values: Vec<(String, String)>,
    home: Option<String>,
    shapes: Vec<(Regex, &'static str)>,
    assignment: Regex,
    url: Regex,
    homes: Regex,
}

impl Redactor {
    /// A redactor that knows the values of these environment variables whose names speak of secrets, those that `secrets` names, and the
    /// home folder.
    pub fn new(
        environment: &[(String, String)],
        secrets: &[String],
        home: Option<&Path>,
    ) -> Result<Self, BundleError> {
        let is_secret = |name: &str| {
            let upper = name.to_uppercase();
            secrets.iter().any(|secret| secret == name)
                || SECRET_WORDS.iter().any(|word| upper.contains(word))
        };
        let mut values = Vec::new();
        for (name, value) in environment {
            if value.len() < MIN_VALUE_BYTES || !is_secret(name) {
                continue;
            }
            let place = format!("[secret {name}]");
            values.push((value.clone(), place.clone()));
            // As JSON escapes it; and each line of its own, should a log have broken it up.
            let json = serde_json::to_string(value)?;
            values.push((json.trim_matches('"').to_owned(), place.clone()));
            let lines = value.lines().filter(|line| line.len() >= 2 * MIN_VALUE_BYTES);
            values.extend(lines.map(|line| (line.to_owned(), place.clone())));
        }
        // A value that holds another one goes first.
        values.sort_by(|a, b| b.0.len().cmp(&a.0.len()).then_with(|| a.cmp(b)));
        values.dedup();
        let mut shapes = Vec::new();
        for (pattern, place) in SHAPES {
            shapes.push((Regex::new(pattern)?, place));
        }
        let tokens = format!("{TOKEN_START}(?:{})", TOKENS.join("|"));
        shapes.push((Regex::new(&tokens)?, "${1}[secret]"));
        let home = home.and_then(Path::to_str).map(|home| home.trim_end_matches('/').to_owned());
        Ok(Self {
            values,
            home: home.filter(|home| home.len() > 1),
            shapes,
            assignment: Regex::new(ASSIGNMENT)?,
            url: Regex::new(URL)?,
            homes: Regex::new(HOMES)?,
        })
    }

    /// The text without secrets and home folders, and how many places were changed.
    pub fn redact(&self, text: &str) -> (String, usize) {
        let (mut text, mut changed) = self.hide_secrets(text);
        if let Some(home) = &self.home {
            changed += replace_folder(&mut text, home, "~");
        }
        changed += self.homes.find_iter(&text).count();
        text = self.homes.replace_all(&text, "${1}[user]").into_owned();
        (text, changed)
    }

    /// The text without secrets, and how many places were changed.
    pub fn hide_secrets(&self, text: &str) -> (String, usize) {
        let mut changed = 0;
        let mut text = text.to_owned();
        for (value, place) in &self.values {
            changed += replace_all(&mut text, value, place);
        }
        for (shape, place) in &self.shapes {
            let found = shape.find_iter(&text).count();
            if found > 0 {
                text = shape.replace_all(&text, *place).into_owned();
                changed += found;
            }
        }
        let mut hidden = 0;
        text = self.assignment.replace_all(&text, |found: &Captures<'_>| assigned(found, &mut hidden)).into();
        text = self.url.replace_all(&text, |found: &Captures<'_>| webhook(found, &mut hidden)).into();
        changed += hidden;
        (text, changed)
    }
}

/// An assignment with its value hidden, but for numbers (`tokens`, `token: 3.1`), special tokens (`<|end|>`) and what is hidden already.
fn assigned(found: &Captures<'_>, hidden: &mut usize) -> String {
    let value = &found[3];
    let harmless = value.starts_with(['<', '[']) || value.chars().all(|c| c.is_ascii_digit() || c == '.');
    // What rules of a spec say of secrets in documents, and what is no value.
    let words = ["null", "true", "false", "none", "keep", "redact", "drop"];
    if harmless || words.contains(&value) {
        return found[0].to_owned();
    }
    *hidden += 1;
    format!("{}{}{GONE}", &found[1], &found[2])
}

/// A URL whose path is the secret.
fn webhook(found: &Captures<'_>, hidden: &mut usize) -> String {
    let whole = found[0].to_lowercase();
    if !whole.contains("hook") && !whole.contains("/bot") || found[2].len() < 2 {
        return found[0].to_owned();
    }
    *hidden += 1;
    format!("{}/{GONE}", &found[1])
}

fn replace_all(text: &mut String, what: &str, with: &str) -> usize {
    let found = text.matches(what).count();
    if found > 0 {
        *text = text.replace(what, with);
    }
    found
}

/// Replaces a folder where its name ends there: `/root`, not the beginning of `/rootfs`.
fn replace_folder(text: &mut String, folder: &str, with: &str) -> usize {
    let mut changed = 0;
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find(folder) {
        let (before, after) = (&rest[..at], &rest[at + folder.len()..]);
        out.push_str(before);
        let goes_on = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
        let is_inside = before.ends_with(|c: char| goes_on(c) || c == '/') || after.starts_with(goes_on);
        out.push_str(if is_inside { folder } else { with });
        changed += usize::from(!is_inside);
        rest = after;
    }
    out.push_str(rest);
    *text = out;
    changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor() -> Redactor {
        let environment = [("JUDGE_KEY", "correct horse"), ("MY_SECRET", "say \"x\"\nplease, yes now")];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        Redactor::new(&environment, &[], Some(Path::new("/root"))).unwrap()
    }

    #[test]
    fn secrets_of_every_shape_go() {
        let redactor = redactor();
        let pem = "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA75\nabc=\n-----END RSA PRIVATE KEY-----";
        let cases = [
            ("a correct horse b", "horse"),
            (r#"{"m":"say \"x\"\nplease, yes now"}"#, "please"),
            ("line: please, yes now", "please"),
            ("Authorization: Bearer abcDEF123456", "abcDEF"),
            (r#"{"authorization":"Basic dXNlcjpwYXNz"}"#, "dXNlcjpwYXNz"),
            (r#"{\"Authorization\": \"token 0123abc\"}"#, "0123abc"),
            ("Cookie: session=abc; other=def", "def"),
            ("used bearer abcdef.ghijk-1", "ghijk"),
            ("key sk-proj-abcdefgh12345678", "abcdefgh"),
            ("ghp_0123456789abcdefABCDEF", "0123456789"),
            ("hf_ABCDEFGHIJKLMNOPqrst", "GHIJK"),
            ("AKIAIOSFODNN7EXAMPLE", "IOSFO"),
            ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIx.abc", "eyJ"),
            ("postgres://user:p@ss@db/x", "p@ss"),
            ("https://x.org/a?access_token=abc&b=1", "=abc"),
            ("https://hooks.slack.com/services/T00/B00/XyZ", "XyZ"),
            ("https://api.telegram.org/bot123456789:AAF/send", "AAF"),
            ("https://example.org/webhook/9f8e7d", "9f8e7d"),
            (r#"{"m":"a\nsk-abcdefgh12345678 b"}"#, "abcdefgh"),
            (r#"{"m":"{\"x\":\"a\\nghp_0123456789abcdefABCDEF"}"#, "012345"),
            ("password = hunter22", "hunter22"),
            (r#"{"api_key": "plainvalue"}"#, "plainvalue"),
            (r#"{\"client_secret\": \"plainvalue\"}"#, "plainvalue"),
            ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI", "wJalr"),
            (pem, "MIIE"),
            (&pem.replace('\n', "\\n"), "MIIE"),
            (&pem[..40], "MII"),
            (&pem[33..], "MIIE"),
        ];
        for (text, secret) in cases {
            let (safe, changed) = redactor.redact(text);
            assert!(!safe.contains(secret) && changed > 0, "{text} became {safe}");
        }
    }

    #[test]
    fn what_a_bug_report_lives_on_stays() {
        let fingerprint = "0123456789abcdef".repeat(4);
        let texts = [
            format!(r#"{{"fingerprint":"{fingerprint}","token":"12.3"}}"#),
            r#"{"topic":"schedule_firing","key":"t.nightly@2026-03-29T01:00:00Z","tokens":2000000}"#
                .to_owned(),
            r#"{"eos_token":"<|end|>","pii":{"secret":"redact"},"vocab":512}"#.to_owned(),
            "tokens_per_sec 1234.5 at step 7, lr=0.003".to_owned(),
            "loaded https://example.org/data/shard-3.jsonl".to_owned(),
            "/rootfs/x, a basic tokenizer, task-force-something, sky".to_owned(),
        ];
        for text in texts {
            assert_eq!(redactor().redact(&text), (text.clone(), 0));
        }
    }

    #[test]
    fn home_folders_have_no_names() {
        let (safe, changed) = redactor().redact("/root/x and \"/root\" and /home/jane/y and /Users/bob");
        assert_eq!((safe.as_str(), changed), ("~/x and \"~\" and /home/[user]/y and /Users/[user]", 4));
    }
}
