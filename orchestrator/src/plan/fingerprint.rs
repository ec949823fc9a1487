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
    let mut hasher = blake3::Hasher::new_derive_key(DOMAIN);
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_le_bytes());
        hasher.update(bytes);
    };
    let kind = params.kind();
    field(kind.as_str().as_bytes());
    field(&kind.code_version().to_le_bytes());
    field(canonical(&hashed_params(params)?).as_bytes());
    field(&seed.to_le_bytes());
    for (group, map) in [("inputs", inputs), ("sources", sources)] {
        field(group.as_bytes());
        field(&(map.len() as u64).to_le_bytes());
        for (name, hash) in map {
            field(name.as_bytes());
            field(hash.as_bytes());
        }
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The parameters as JSON without what may change and give the same bytes: when checkpoints are written.
pub fn hashed_params(params: &StepParams) -> Result<Value, PlanError> {
    let mut params = params.clone();
    let fixed = CheckpointParams { every_secs: 0.0, every_steps: 0, keep: 0 };
    match &mut params {
        StepParams::Pretrain(p) => p.checkpoint = fixed,
        StepParams::Sft(p) => p.checkpoint = fixed,
        StepParams::RewardModel(p) => p.checkpoint = fixed,
        StepParams::Optimize(p) => p.checkpoint = fixed,
        StepParams::Data(_)
        | StepParams::Tokenizer(_)
        | StepParams::Tokens(_)
        | StepParams::Sweep(_)
        | StepParams::Fit(_)
        | StepParams::Preferences(_)
        | StepParams::Eval(_) => {}
    }
    Ok(serde_json::to_value(&params)?)
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
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: BTreeMap<&String, &Value> = map.iter().collect();
            let fields: Vec<String> = sorted
                .iter()
                .map(|(key, value)| format!("{}:{}", Value::from(key.as_str()), canonical(value)))
                .collect();
            format!("{{{}}}", fields.join(","))
        }
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", items.join(","))
        }
        other => other.to_string(),
    }
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
