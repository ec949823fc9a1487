//! `lora`: low-rank adapters in place of full fine-tuning, in every job that tunes a model.
//!
//! Hu et al., LoRA: Low-Rank Adaptation of Large Language Models (2021, arXiv:2106.09685); the other scale is Kalajdzievski's rsLoRA (2023,
//! arXiv:2312.03732). Names and meanings are those of Hugging Face's PEFT.

pub(crate) mod resolve;
pub(crate) mod written;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The adapters of a tuning, and where they start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "start", rename_all = "snake_case")]
pub enum LoraParams {
    /// Anew: A at random, and B zero, so that the model is at first what it was.
    Fresh(LoraConfig),
    /// As the input `adapter` has them.
    Adapter(AdapterParams),
}

/// Low-rank adapters: beside each target's product `W·x` goes `scale · B·A·dropout(x)`, and of all weights only A and B train.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoraConfig {
    /// Rows of A and columns of B.
    pub rank: u64,
    /// The scale is alpha / rank.
    pub alpha: f64,
    /// Makes the scale alpha / √rank.
    pub use_rslora: bool,
    /// What is adapted, in the order of [`LoraTarget`] and each once; `all-linear` stands alone.
    pub targets: Vec<LoraTarget>,
    /// Share of an adapter's inputs that are zero in a pass that trains.
    pub dropout: f64,
}

impl LoraConfig {
    /// What an adapter's product is multiplied by.
    pub fn scale(&self) -> f64 {
        let rank = self.rank as f64;
        self.alpha / if self.use_rslora { rank.sqrt() } else { rank }
    }

    /// Whether a matrix that is all of these targets is adapted.
    pub fn adapts(&self, targets: &[LoraTarget]) -> bool {
        let has = |target: &LoraTarget| self.targets.contains(target);
        has(&LoraTarget::AllLinear) || targets.iter().all(has)
    }
}

/// What adapters that training goes on from have to be; none takes what they are.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdapterParams {
    /// Their rank.
    pub rank: Option<u64>,
    /// Their alpha.
    pub alpha: Option<f64>,
    /// Whether their scale is alpha / √rank.
    pub use_rslora: Option<bool>,
    /// What they adapt, in the order of [`LoraTarget`] and each once; `all-linear` stands alone.
    pub targets: Option<Vec<LoraTarget>>,
    /// Share of an adapter's inputs that are zero in a pass that trains, whatever it was before.
    pub dropout: f64,
}

/// A matrix of each layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LoraTarget {
    /// Queries.
    Q,
    /// Keys.
    K,
    /// Values.
    V,
    /// Attention's output.
    O,
    /// The feed-forward part's gate, where it has one.
    Gate,
    /// The feed-forward part's way up.
    Up,
    /// The feed-forward part's way down.
    Down,
    /// Each of these that the model has.
    #[serde(rename = "all-linear")]
    AllLinear,
}

impl LoraTarget {
    /// The name that the spec has.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Q => "q",
            Self::K => "k",
            Self::V => "v",
            Self::O => "o",
            Self::Gate => "gate",
            Self::Up => "up",
            Self::Down => "down",
            Self::AllLinear => "all-linear",
        }
    }
}
