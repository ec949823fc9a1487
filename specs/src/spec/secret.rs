//! Secrets: named in a spec, never read while it is parsed.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::codes::Code;
use super::decode::{Decode, wrong_type};
use super::resolved::SecretRef;
use super::session::Session;
use super::tree::Node;
use super::written::name;

/// A field whose whole value is `${secret.NAME}`.
#[derive(Debug, Clone)]
pub(crate) struct Secret(pub(crate) SecretRef);

impl Decode for Secret {
    fn decode(node: &Node, session: &mut Session<'_>) -> Option<Self> {
        let Some(text) = node.text() else {
            wrong_type(node, "${secret.NAME}", session);
            return None;
        };
        let secret = text.strip_prefix("${secret.").and_then(|rest| rest.strip_suffix('}'));
        if let Some(secret) = secret.filter(|name| !name.is_empty() && !name.contains('{')) {
            Some(Self(SecretRef { name: secret.to_owned() }))
        } else {
            session
                .error(Code::MisplacedSecret, node.spot, "a secret is never written into a spec")
                .expecting("${secret.NAME}, where NAME is an environment variable");
            None
        }
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        name("Secret")
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_generator: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^\\$\\{secret\\.[A-Za-z0-9_]+\\}$", "examples": ["${secret.JUDGE_KEY}"] })
    }
}
