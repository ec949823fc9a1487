//! Identity: what a step's result rests on, and nothing else.
//!
//! `fingerprint = blake3(kind, code version, canonical parameters, seed, input fingerprints with roles, files with labels)`. Paths,
//! threads, devices and when checkpoints are written are out; the resolved number format is in, within the parameters.

use std::collections::BTreeMap;

use cupola_specs::contract::SourceFile;
use cupola_specs::job::{CheckpointParams, StepParams};
use serde_json::Value;

use super::PlanError;

const DOMAIN: &str = "cupola step fingerprint v1";

/// The fingerprint of a step, 64 hex digits.
pub fn fingerprint(
    params: &StepParams,
    seed: u64,
    inputs: &BTreeMap<String, String>,
    sources: &BTreeMap<String, String>,
) -> Result<String, PlanError> {
    Ok(OwnPart::of(params, seed)?.with(inputs, sources))
}

/// What a fingerprint rests on of the step itself: kind, code version, parameters and seed.
pub(super) struct OwnPart(blake3::Hasher);

impl OwnPart {
    /// Hashes what is known without the inputs.
    pub(super) fn of(params: &StepParams, seed: u64) -> Result<Self, PlanError> {
        Self::of_version(params, seed, params.kind().code_version())
    }

    fn of_version(params: &StepParams, seed: u64, code_version: u32) -> Result<Self, PlanError> {
        let mut canonical = Vec::with_capacity(1024);
        write_canonical(&hashed_params(params)?, &mut canonical)?;
        let mut own = Self(blake3::Hasher::new_derive_key(DOMAIN));
        own.field(params.kind().as_str().as_bytes());
        own.field(&code_version.to_le_bytes());
        own.field(&canonical);
        own.field(&seed.to_le_bytes());
        Ok(own)
    }

    /// The fingerprint, with the inputs and files.
    pub(super) fn with(
        mut self,
        inputs: &BTreeMap<String, String>,
        sources: &BTreeMap<String, String>,
    ) -> String {
        for (group, map) in [("inputs", inputs), ("sources", sources)] {
            self.field(group.as_bytes());
            self.field(&(map.len() as u64).to_le_bytes());
            for (name, hash) in map {
                self.field(name.as_bytes());
                self.field(hash.as_bytes());
            }
        }
        self.0.finalize().to_hex().to_string()
    }

    fn field(&mut self, bytes: &[u8]) {
        self.0.update(&(bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
    }
}

/// The parameters as JSON without what may change and give the same bytes: when checkpoints are written.
pub fn hashed_params(params: &StepParams) -> Result<Value, PlanError> {
    let mut value = serde_json::to_value(params)?;
    match params {
        StepParams::Pretrain(_)
        | StepParams::Sft(_)
        | StepParams::RewardModel(_)
        | StepParams::Optimize(_) => {
            let none = CheckpointParams { every_secs: 0.0, every_steps: 0, keep: 0, keep_best: None };
            value["checkpoint"] = serde_json::to_value(none)?;
        }
        StepParams::Data(_)
        | StepParams::Tokenizer(_)
        | StepParams::Tokens(_)
        | StepParams::Sweep(_)
        | StepParams::Fit(_)
        | StepParams::Preferences(_)
        | StepParams::Eval(_) => {}
    }
    Ok(value)
}

/// Hash over files by label; their order does not matter, since names are distinct and sorted.
pub fn sources_by_label(files: &[SourceFile]) -> BTreeMap<String, String> {
    let mut hashers: BTreeMap<String, blake3::Hasher> = BTreeMap::new();
    for file in files {
        let hasher = hashers.entry(file.label.clone()).or_default();
        hasher.update(file.name.as_bytes()).update(b"\0").update(file.blake3.as_bytes()).update(b"\n");
    }
    hashers.into_iter().map(|(label, hasher)| (label, hasher.finalize().to_hex().to_string())).collect()
}

/// JSON with the keys of every object sorted, so that the order of fields is no part of identity.
fn write_canonical(value: &Value, out: &mut Vec<u8>) -> serde_json::Result<()> {
    match value {
        Value::Object(map) => {
            let mut sorted: Vec<(&String, &Value)> = map.iter().collect();
            sorted.sort_unstable_by_key(|(key, _)| *key);
            for (at, (key, value)) in sorted.into_iter().enumerate() {
                out.push(if at == 0 { b'{' } else { b',' });
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                write_canonical(value, out)?;
            }
            if map.is_empty() {
                out.push(b'{');
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                out.push(if at == 0 { b'[' } else { b',' });
                write_canonical(item, out)?;
            }
            if items.is_empty() {
                out.push(b'[');
            }
            out.push(b']');
        }
        scalar => serde_json::to_writer(out, scalar)?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use cupola_specs::job::{FitMethod, FitParams, FitTarget};
    use proptest::prelude::*;

    fn fit(inference_tokens: f64) -> StepParams {
        StepParams::Fit(FitParams {
            methods: vec![FitMethod::Parametric],
            target: FitTarget::Budget { device_secs: 720.0 },
            inference_tokens,
        })
    }

    fn map(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn each_hashed_input_alone_changes_the_fingerprint() {
        let inputs = map(&[("sweep.0", "aa")]);
        let none = BTreeMap::new();
        let base = fingerprint(&fit(0.0), 1, &inputs, &none).unwrap();
        let others = [
            fingerprint(&fit(1.0), 1, &inputs, &none),
            fingerprint(&fit(0.0), 2, &inputs, &none),
            fingerprint(&fit(0.0), 1, &map(&[("sweep.0", "ab")]), &none),
            fingerprint(&fit(0.0), 1, &map(&[("sweep.1", "aa")]), &none),
            fingerprint(&fit(0.0), 1, &none, &inputs),
        ];
        for other in others {
            assert_ne!(base, other.unwrap());
        }
        assert_eq!(base, fingerprint(&fit(0.0), 1, &inputs, &none).unwrap());
        let version = fit(0.0).kind().code_version();
        let of = |version| OwnPart::of_version(&fit(0.0), 1, version).unwrap().with(&inputs, &none);
        assert_eq!(base, of(version));
        assert_ne!(base, of(version + 1));
    }

    #[test]
    fn keys_are_sorted_at_every_depth_and_values_stay() {
        let value =
            serde_json::json!({"b": [1, {"z": null, "a": 1.0e21}], "a": "\"\u{7}é", "c": {}, "d": []});
        let mut bytes = Vec::new();
        write_canonical(&value, &mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(text, r#"{"a":"\"\u0007é","b":[1,{"a":1e+21,"z":null}],"c":{},"d":[]}"#);
    }

    proptest! {
        #[test]
        fn names_and_hashes_never_run_into_each_other(a in "[a-z]{0,4}", b in "[a-z]{0,4}", c in "[a-z]{0,4}", d in "[a-z]{0,4}") {
            let one = fingerprint(&fit(0.0), 1, &map(&[(&a, &b)]), &BTreeMap::new()).unwrap();
            let two = fingerprint(&fit(0.0), 1, &map(&[(&c, &d)]), &BTreeMap::new()).unwrap();
            prop_assert_eq!(one == two, a == c && b == d);
        }
    }
}
