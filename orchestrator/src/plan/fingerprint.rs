//! Identity: what a step's result rests on, and nothing else.
//!
//! `fingerprint = blake3(kind, code version, canonical parameters, seed, input fingerprints with roles, files with labels)`. Paths,
//! threads, devices and when checkpoints are written are out; the resolved number format is in, within the parameters.

use std::borrow::Cow;
use std::collections::BTreeMap;

use cupola_specs::contract::SourceFile;
use cupola_specs::job::{
    CheckpointParams, OptimizeParams, PretrainParams, RewardModelParams, SftParams, StepParams,
};
use serde_json::Value;

use super::PlanError;
use super::canonical::write_canonical;

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
        write_canonical(&*identifying(params), &mut canonical)?;
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

/// The parameters that identity rests on, as JSON.
pub fn hashed_params(params: &StepParams) -> Result<Value, PlanError> {
    Ok(serde_json::to_value(&*identifying(params))?)
}

/// The parameters without what may change and give the same bytes: when checkpoints are written.
fn identifying(params: &StepParams) -> Cow<'_, StepParams> {
    let checkpoint = CheckpointParams { every_secs: 0.0, every_steps: 0, keep: 0, keep_best: None };
    Cow::Owned(match params {
        StepParams::Pretrain(p) => StepParams::Pretrain(PretrainParams { checkpoint, ..p.clone() }),
        StepParams::Sft(p) => StepParams::Sft(SftParams { checkpoint, ..p.clone() }),
        StepParams::RewardModel(p) => StepParams::RewardModel(RewardModelParams { checkpoint, ..p.clone() }),
        StepParams::Optimize(p) => StepParams::Optimize(OptimizeParams { checkpoint, ..p.clone() }),
        StepParams::Data(_)
        | StepParams::Tokenizer(_)
        | StepParams::Tokens(_)
        | StepParams::Sweep(_)
        | StepParams::Fit(_)
        | StepParams::Preferences(_)
        | StepParams::Eval(_) => return Cow::Borrowed(params),
    })
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

    proptest! {
        #[test]
        fn names_and_hashes_never_run_into_each_other(a in "[a-z]{0,4}", b in "[a-z]{0,4}", c in "[a-z]{0,4}", d in "[a-z]{0,4}") {
            let one = fingerprint(&fit(0.0), 1, &map(&[(&a, &b)]), &BTreeMap::new()).unwrap();
            let two = fingerprint(&fit(0.0), 1, &map(&[(&c, &d)]), &BTreeMap::new()).unwrap();
            prop_assert_eq!(one == two, a == c && b == d);
        }
    }
}
