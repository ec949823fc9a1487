//! Secrets: looked up by name where they are used, and shown by nothing.

use std::fmt;

use cupola_specs::spec::{Schedule, SecretRef, Webhook};

use super::sign::signing_key;

/// The value of a secret. It has no text form: whoever uses it asks for it by name.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretText(String);

impl SecretText {
    /// A secret of this value; blanks around it, such as the line end of a file, are no part of it.
    pub fn new(value: &str) -> Self {
        Self(value.trim().to_owned())
    }

    /// The value, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

/// Where secrets are looked up.
pub trait Secrets: Send {
    /// The value of a secret; none where it is not set or empty.
    fn find(&self, secret: &SecretRef) -> Option<SecretText>;
}

/// The environment of this process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessSecrets;

impl Secrets for ProcessSecrets {
    fn find(&self, secret: &SecretRef) -> Option<SecretText> {
        let value = SecretText::new(&std::env::var(&secret.name).ok()?);
        (!value.expose().is_empty()).then_some(value)
    }
}

/// What keeps the webhooks of a schedule from working here, or from being trusted; one line each, none with a secret's value.
pub fn secret_warnings(schedule: &Schedule, secrets: &dyn Secrets) -> Vec<String> {
    let hooks = [("on_failure", &schedule.on_failure), ("on_regression", &schedule.on_regression)];
    let mut warnings = Vec::new();
    for (field, webhook) in hooks.into_iter().filter_map(|(field, hook)| Some((field, hook.as_ref()?))) {
        let found = problems(webhook, secrets);
        warnings
            .extend(found.into_iter().map(|what| format!("schedule `{}`: {field}: {what}", schedule.name)));
    }
    warnings
}

fn problems(webhook: &Webhook, secrets: &dyn Secrets) -> Vec<String> {
    let mut found = Vec::new();
    match secrets.find(&webhook.url) {
        None => found.push(unset(&webhook.url)),
        Some(url) if !is_web_address(&url) => {
            found.push(format!(
                "the value of {} is no URL that begins with http:// or https://",
                webhook.url.name
            ));
        }
        Some(_) => {}
    }
    let Some(key) = &webhook.signing_key else {
        found.push("it has no signing_key: its receiver can't tell who posts".to_owned());
        return found;
    };
    match secrets.find(key).map(|value| signing_key(&value)) {
        None => found.push(unset(key)),
        Some(Err(error)) => found.push(format!("{}: {error}", key.name)),
        Some(Ok(_)) => {}
    }
    found
}

/// What is said of a secret without a value.
pub(super) fn unset(secret: &SecretRef) -> String {
    format!("the environment variable {} is not set: nothing can be delivered without it", secret.name)
}

/// Whether a POST can be sent there.
pub(super) fn is_web_address(url: &SecretText) -> bool {
    reqwest::Url::parse(url.expose()).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Secrets by name, for tests.
    #[derive(Clone, Default)]
    pub(crate) struct Known(pub(crate) BTreeMap<String, String>);

    impl Known {
        pub(crate) fn of(pairs: &[(&str, &str)]) -> Self {
            Self(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
        }
    }

    impl Secrets for Known {
        fn find(&self, secret: &SecretRef) -> Option<SecretText> {
            self.0.get(&secret.name).map(|value| SecretText::new(value))
        }
    }

    pub(crate) fn webhook(url: &str, key: Option<&str>) -> Webhook {
        let of = |name: &str| SecretRef { name: name.to_owned() };
        Webhook { url: of(url), signing_key: key.map(of) }
    }

    #[test]
    fn what_is_missing_or_wrong_is_told_by_name_and_never_by_value() {
        let mut schedule = crate::schedule::tests::schedule("0 2 * * *", "UTC");
        let known = Known::of(&[
            ("HOOK", "https://chat.example/hook/s3cr3t-path"),
            ("NO_URL", "s3cr3t chat.example"),
            ("KEY", "whsec_c2VjcmV0IGtleQ=="),
            ("BAD_KEY", "whsec_s3cr3t!"),
        ]);
        assert_eq!(secret_warnings(&schedule, &known), Vec::<String>::new());
        schedule.on_failure = Some(webhook("HOOK", Some("KEY")));
        assert_eq!(secret_warnings(&schedule, &known), Vec::<String>::new());
        schedule.on_failure = Some(webhook("NO_URL", None));
        schedule.on_regression = Some(webhook("GONE", Some("BAD_KEY")));
        let warnings = secret_warnings(&schedule, &known).join("\n");
        assert!(!warnings.contains("s3cr3t"), "{warnings}");
        assert_eq!(
            warnings.lines().collect::<Vec<_>>(),
            [
                "schedule `nightly`: on_failure: the value of NO_URL is no URL that begins with http:// or https://",
                "schedule `nightly`: on_failure: it has no signing_key: its receiver can't tell who posts",
                "schedule `nightly`: on_regression: the environment variable GONE is not set: nothing can be delivered without it",
                "schedule `nightly`: on_regression: BAD_KEY: the signing key begins with `whsec_` and is not base64 after it",
            ]
        );
    }

    #[test]
    fn a_secret_has_no_text_form() {
        assert_eq!(format!("{:?}", SecretText::new("hunter2\n")), "[secret]");
        assert_eq!(SecretText::new(" hunter2\n").expose(), "hunter2");
    }
}
