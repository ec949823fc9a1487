//! Signatures by Standard Webhooks 1.0.0: `v1,` and the base64 of HMAC-SHA256 over `id.timestamp.body`.

use base64::Engine;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use super::SecretText;

/// What a key in base64 begins with.
const PREFIX: &str = "whsec_";
/// Base64 that takes keys with and without `=` at their end.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why nothing can be signed with a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SigningError {
    /// It says that it is base64 and is not.
    #[error("the signing key begins with `whsec_` and is not base64 after it")]
    NotBase64,
    /// It is empty.
    #[error("the signing key is empty")]
    Empty,
}

/// The header `webhook-signature` of a body that is sent at `timestamp_secs`.
pub fn signature(
    key: &SecretText,
    id: &str,
    timestamp_secs: i64,
    body: &[u8],
) -> Result<String, SigningError> {
    let key = signing_key(key)?;
    // HMAC takes keys of any length.
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).map_err(|_| SigningError::Empty)?;
    mac.update(format!("{id}.{timestamp_secs}.").as_bytes());
    mac.update(body);
    Ok(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
}

/// The bytes of a key: what `whsec_` is followed by, decoded, or the text itself.
pub(super) fn signing_key(key: &SecretText) -> Result<Vec<u8>, SigningError> {
    let bytes = match key.expose().strip_prefix(PREFIX) {
        Some(text) => LENIENT.decode(text).map_err(|_| SigningError::NotBase64)?,
        None => key.expose().as_bytes().to_vec(),
    };
    if bytes.is_empty() { Err(SigningError::Empty) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    // python3 -c 'import base64, hashlib, hmac
    // sign = lambda key, text: base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    // text = b"alert_1.1614265330.{\"test\": 2432232314}"
    // print(sign(bytes(range(24)), text), sign(b"a plain key", text))'
    const BODY: &[u8] = br#"{"test": 2432232314}"#;

    fn signed(key: &str) -> Result<String, SigningError> {
        signature(&SecretText::new(key), "alert_1", 1_614_265_330, BODY)
    }

    #[test]
    fn signatures_are_those_of_another_implementation() {
        let key = format!("whsec_{}", STANDARD.encode((0..24).collect::<Vec<u8>>()));
        assert_eq!(signed(&key).unwrap(), "v1,is/JI8VqGSq7OviFkXmxuOqzjSk6e30C3i3l04iKTk8=");
        assert_eq!(signed("a plain key").unwrap(), "v1,N5LsmEJegoGF0xvpHy1WjhotsWg7gPzLi7YkEsDYPqQ=");
    }

    #[test]
    fn a_key_with_and_without_padding_is_the_same_and_a_wrong_one_is_an_error() {
        assert_eq!(signed("whsec_c2VjcmV0IGtleQ"), signed("whsec_c2VjcmV0IGtleQ=="));
        assert_eq!(signed("whsec_c2VjcmV0IGtleQ").unwrap(), signed("secret key").unwrap());
        assert_eq!(signed("whsec_no base64"), Err(SigningError::NotBase64));
        assert_eq!((signed("whsec_"), signed("  ")), (Err(SigningError::Empty), Err(SigningError::Empty)));
    }
}
