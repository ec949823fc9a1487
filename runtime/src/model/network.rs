//! A network of any family: made from a seed, loaded, saved, run.
//!
//! Shapes: `B` batch, `T` time, `C` channels, `V` vocab, `N` positions in all.

use std::collections::HashMap;
use std::path::Path;

use cupola_specs::job::{Family, ModelShape, Precision, Recompute, RopeScaling};
use tch::{Device, Kind, Tensor};

use super::folder::{self, Shards};
use super::gguf::{self, Gguf};
use super::lora::{Adapters, Module};
use super::parameter::{Init, Source};
use super::{
    KvCache, Lstm, ModelError, ParamGroup, Parameter, RowSlot, SaveFacts, SaveForm, Transformer, WeightKind,
    config,
};

/// How the tokens of a row belong together.
#[derive(Debug)]
pub enum RowLayout {
    /// Each row is one sequence.
    Causal,
    /// Rows are packed with sequences that do not see each other; positions restart with each.
    Documents {
        /// Number of each token's sequence, `[B, T]`; equal numbers in a row are one sequence.
        segment: Tensor,
        /// Position of each token in its sequence, `[B, T]`.
        position: Tensor,
    },
}

impl RowLayout {
    /// Positions where they are not `0 … T-1` in each row.
    pub(super) fn positions(&self) -> Option<&Tensor> {
        match self {
            Self::Causal => None,
            Self::Documents { position, .. } => Some(position),
        }
    }

    /// The `[B, 1, T, T]` mask of who may see whom, where it is not simply the past.
    pub(super) fn attention_mask(&self, time: i64) -> Option<Tensor> {
        match self {
            Self::Causal => None,
            Self::Documents { segment, .. } => {
                let past = Tensor::ones([time, time], (Kind::Bool, segment.device())).tril(0); // [T, T]
                let same = segment.unsqueeze(2).eq_tensor(&segment.unsqueeze(1)); // [B, T, T]
                Some(same.logical_and(&past).unsqueeze(1)) // [B, 1, T, T]
            }
        }
    }
}

/// Makes or finds the weight of a name, a shape and a start.
type Weigh<'a> = dyn FnMut(&str, &[i64], Init) -> Result<Tensor, ModelError> + 'a;

/// A network and its named weights.
#[derive(Debug)]
pub struct Network {
    body: Body,
    parameters: Vec<Parameter>,
    vocab_size: i64,
    recompute: Recompute,
    pub(super) adapters: Option<Adapters>,
}

#[derive(Debug)]
enum Body {
    Transformer(Transformer),
    Lstm(Lstm),
}

impl Network {
    /// A fresh network: the same shape, vocabulary and seed give the same bits.
    pub fn init(shape: &ModelShape, vocab_size: i64, seed: u64, device: Device) -> Result<Self, ModelError> {
        let mut make = |name: &str, size: &[i64], init: Init| Ok(init.tensor(name, size, seed, device));
        Self::assemble(shape, vocab_size, device, &mut make)
    }

    /// The sizes of a network without its weights: it counts and names as that would, takes no memory, and can't be run.
    pub fn outline(shape: &ModelShape, vocab_size: i64) -> Result<Self, ModelError> {
        let one = Tensor::zeros([1], (Kind::Float, Device::Cpu));
        let mut make = |_: &str, size: &[i64], _: Init| Ok(one.f_expand(size, false)?);
        Self::assemble(shape, vocab_size, Device::Cpu, &mut make)
    }

    /// Writes the `config.json` that a saved network of these sizes has.
    pub fn write_config(&self, folder: &Path, facts: &SaveFacts) -> Result<(), ModelError> {
        folder::write_config(folder, (self.shape(), self.vocab_size), facts, WeightKind::Fp32)
    }

    /// Loads a Hugging Face folder, whose weights may lie in several files, or a GGUF file.
    pub fn load(folder: &Path, device: Device) -> Result<Self, ModelError> {
        if Gguf::is_named(folder) {
            return Self::load_gguf(&Gguf::open(folder)?, device);
        }
        let (shape, vocab_size) = folder::read_config(folder)?;
        let shards = Shards::open(folder)?;
        let mut weights = shards.weights(&shape)?;
        let mut find = |name: &str, size: &[i64], _: Init| weights.take(name, size, device);
        let network = Self::assemble(&shape, vocab_size, device, &mut find)?;
        weights.finish()?;
        Ok(network)
    }

    fn load_gguf(file: &Gguf, device: Device) -> Result<Self, ModelError> {
        let (shape, vocab_size) = gguf::read_shape(file)?;
        let mut weights = gguf::weights(file, &shape);
        let mut find = |name: &str, size: &[i64], _: Init| weights.take(name, size, device);
        let network = Self::assemble(&shape, vocab_size, device, &mut find)?;
        weights.finish()?;
        Ok(network)
    }

    /// Writes `config.json`, the weights in fp32, adapters merged into them, and `generation_config.json`.
    pub fn save(&self, folder: &Path, facts: &SaveFacts) -> Result<(), ModelError> {
        self.save_as(folder, facts, &SaveForm::default())
    }

    /// [`Network::save`] in another number format, or other sizes of files.
    pub fn save_as(&self, folder: &Path, facts: &SaveFacts, form: &SaveForm) -> Result<(), ModelError> {
        let merged =
            |parameter: &Parameter| Parameter { tensor: self.merged(parameter), ..parameter.handle() };
        let parameters: Vec<Parameter> = self.parameters.iter().map(merged).collect();
        folder::write(folder, (self.shape(), self.vocab_size), &parameters, facts, form)
    }

    /// Writes the model of a folder in another form into another: its weights and its config anew, every other file as it is.
    pub fn convert(from: &Path, to: &Path, form: &SaveForm) -> Result<(), ModelError> {
        let network = Self::load(from, Device::Cpu)?;
        folder::convert(from, to, (network.shape(), network.vocab_size), &network.parameters, form)
    }

    /// Gives RoPE another base and stretch, and the network another longest context: what a phase of longer rows begins with. The weights
    /// stay, and what is saved from now on says so.
    ///
    /// # Errors
    /// A network without RoPE.
    pub fn set_rope(
        &mut self,
        theta: f64,
        scaling: RopeScaling,
        max_positions: u64,
    ) -> Result<(), ModelError> {
        let shape = ModelShape {
            rope_theta: theta,
            rope_scaling: scaling,
            max_position_embeddings: max_positions,
            ..self.shape().clone()
        };
        config::check(&shape)?;
        let has_rope = match &mut self.body {
            Body::Transformer(network) => network.set_rope(theta, scaling, max_positions),
            Body::Lstm(_) => false,
        };
        if has_rope {
            return Ok(());
        }
        let message = "this network has no rotary positions, and its context can't be extended";
        Err(ModelError::Shape(message.into()))
    }

    fn assemble(
        shape: &ModelShape,
        vocab_size: i64,
        device: Device,
        weight: &mut Weigh,
    ) -> Result<Self, ModelError> {
        config::check(shape)?;
        let mut assembly = Assembly { weight, parameters: Vec::new(), error: None };
        let body = match shape.family {
            Family::Transformer => {
                Body::Transformer(Transformer::build(shape, vocab_size, device, &mut assembly))
            }
            Family::Lstm => Body::Lstm(Lstm::build(shape, vocab_size, &mut assembly)),
        };
        if let Some(error) = assembly.error {
            return Err(error);
        }
        let (parameters, recompute) = (assembly.parameters, Recompute::None);
        Ok(Self { body, parameters, vocab_size, recompute, adapters: None })
    }

    /// A copy that no optimiser changes: a reference policy, or the weights that an engine serves.
    ///
    /// Its matrices are kept in the kind of `precision`, so that no call has to cast them.
    pub fn frozen(&self, precision: Precision) -> Result<Self, ModelError> {
        let kind = super::layers::product_kind(precision);
        let held: HashMap<&str, &Parameter> = self.parameters.iter().map(|p| (p.name.as_str(), p)).collect();
        let mut copy = |name: &str, _: &[i64], _: Init| {
            let found = held.get(name).ok_or_else(|| ModelError::Shape(format!("no tensor {name}")))?;
            let kind = if found.group == ParamGroup::Vector { Kind::Float } else { kind };
            Ok(self.merged(found).to_kind(kind).copy())
        };
        Self::assemble(self.shape(), self.vocab_size, self.device(), &mut copy)
    }

    /// The network as it is before it trains: where fresh adapters train, what they stand beside, without a second copy of it; else a frozen
    /// copy.
    pub fn reference(&self, precision: Precision) -> Result<Self, ModelError> {
        if !self.adapters.as_ref().is_some_and(|adapters| adapters.is_fresh) {
            return self.frozen(precision);
        }
        let held: HashMap<&str, &Parameter> = self.parameters.iter().map(|p| (p.name.as_str(), p)).collect();
        let mut share = |name: &str, _: &[i64], _: Init| {
            let found = held.get(name).ok_or_else(|| ModelError::Shape(format!("no tensor {name}")))?;
            Ok(found.tensor.shallow_clone())
        };
        Self::assemble(self.shape(), self.vocab_size, self.device(), &mut share)
    }

    /// A weight with its adapter merged into it.
    pub(crate) fn merged(&self, parameter: &Parameter) -> Tensor {
        let own = parameter.tensor.detach();
        match self.adapters.as_ref().and_then(|adapters| adapters.delta(&parameter.name)) {
            Some(delta) => own + delta,
            None => own,
        }
    }

    /// The modules that an adapter fits.
    pub(super) fn modules_mut(&mut self) -> Vec<Module<'_>> {
        match &mut self.body {
            Body::Transformer(network) => network.modules_mut(),
            Body::Lstm(_) => Vec::new(),
        }
    }

    /// A copy that trains on its own, with the same fp32 weights.
    pub fn copy(&self) -> Result<Self, ModelError> {
        let held: HashMap<&str, &Parameter> = self.parameters.iter().map(|p| (p.name.as_str(), p)).collect();
        let mut copy = |name: &str, _: &[i64], _: Init| {
            let found = held.get(name).ok_or_else(|| ModelError::Shape(format!("no tensor {name}")))?;
            Ok(self.merged(found).copy().set_requires_grad(true))
        };
        Self::assemble(self.shape(), self.vocab_size, self.device(), &mut copy)
    }

    /// [`Network::load`] for a stage whose rows are `context_length` tokens: longer rows than the network has positions for are an error.
    pub fn load_for(folder: &Path, device: Device, context_length: u64) -> Result<Self, ModelError> {
        let network = Self::load(folder, device)?;
        let limit = network.shape().max_position_embeddings;
        if context_length > limit {
            return Err(ModelError::Shape(format!(
                "context length {context_length}, and the model has {limit} positions; lower the stage's `context.length` or raise the \
                 pretrain job's"
            )));
        }
        Ok(network)
    }

    /// What [`Network::hidden`] keeps for backward from now on, and what backward computes again: the bits are the same.
    pub fn set_recompute(&mut self, recompute: Recompute) {
        self.recompute = recompute;
    }

    /// Named weights in a fixed order.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Every size.
    pub fn shape(&self) -> &ModelShape {
        match &self.body {
            Body::Transformer(network) => network.shape(),
            Body::Lstm(network) => network.shape(),
        }
    }

    /// Size of the vocabulary.
    pub fn vocab_size(&self) -> i64 {
        self.vocab_size
    }

    /// Where the weights are.
    pub fn device(&self) -> Device {
        self.parameters.first().map_or(Device::Cpu, |parameter| parameter.tensor.device())
    }

    /// Whether rows may be packed with several sequences.
    pub fn supports_documents(&self) -> bool {
        matches!(self.body, Body::Transformer(_))
    }

    /// Parameters without embeddings and head: the `N` of scaling laws.
    pub fn num_params(&self) -> u64 {
        self.count(|group| matches!(group, ParamGroup::Matrix | ParamGroup::Vector))
    }

    /// Parameters in all.
    pub fn total_params(&self) -> u64 {
        self.count(|_| true)
    }

    fn count(&self, counts: impl Fn(ParamGroup) -> bool) -> u64 {
        self.parameters.iter().filter(|p| counts(p.group)).map(|p| p.tensor.numel() as u64).sum()
    }

    /// FLOPs of forward and backward for one token, as [`ModelShape::flops_per_token`] counts them.
    pub fn flops_per_token(&self, context_length: u64) -> f64 {
        let adapters = self.adapters.as_ref().map(Adapters::num_params);
        self.shape().flops_per_token(self.vocab_size as u64, context_length, adapters)
    }

    /// The last hidden state of each position.
    ///
    /// # Shapes
    /// `tokens [B, T]` → `[B, T, C]` in the kind of `precision`.
    pub fn hidden(&self, tokens: &Tensor, layout: &RowLayout, precision: Precision) -> Tensor {
        match &self.body {
            Body::Transformer(network) => network.hidden(tokens, layout, precision, self.recompute),
            Body::Lstm(network) => {
                assert!(
                    matches!(layout, RowLayout::Causal),
                    "an LSTM carries its state across packed sequences"
                );
                network.hidden(tokens, precision, self.recompute)
            }
        }
    }

    /// Scores of every token after each position.
    ///
    /// # Shapes
    /// `hidden [.., C]` → `[.., V]` in fp32.
    pub fn logits(&self, hidden: &Tensor) -> Tensor {
        match &self.body {
            Body::Transformer(network) => network.logits(hidden),
            Body::Lstm(network) => network.logits(hidden),
        }
    }

    /// An empty cache of `slots` sequences of up to `max_len` tokens.
    pub fn new_cache(&self, slots: i64, max_len: i64, precision: Precision) -> KvCache {
        match &self.body {
            Body::Transformer(network) => network.new_cache(slots, max_len, precision),
            Body::Lstm(network) => network.new_cache(slots, max_len, precision),
        }
    }

    /// The last hidden states of tokens that follow what the cache holds: the prefill of rows, or one token of many.
    ///
    /// # Shapes
    /// `tokens [B, T]`, one [`RowSlot`] a row → `[B, T, C]`.
    pub fn hidden_cached(
        &self,
        tokens: &Tensor,
        cache: &mut KvCache,
        rows: &[RowSlot],
        precision: Precision,
    ) -> Tensor {
        match &self.body {
            Body::Transformer(network) => network.hidden_cached(tokens, cache, rows, precision),
            Body::Lstm(network) => network.hidden_cached(tokens, cache, rows, precision),
        }
    }
}

/// Loss of each position against its target, nats.
///
/// # Shapes
/// `tokens [B, T]`, `targets [B, T]` → `[B, T]` in fp32.
pub fn cross_entropy(
    network: &Network,
    tokens: &Tensor,
    targets: &Tensor,
    layout: &RowLayout,
    precision: Precision,
) -> Tensor {
    let logits = network.logits(&network.hidden(tokens, layout, precision)); // [B, T, V]
    let vocab = network.vocab_size();
    let flat = logits.view([-1, vocab]).cross_entropy_loss::<&Tensor>(
        &targets.reshape([-1]),
        None,
        tch::Reduction::None,
        -100,
        0.0,
    );
    flat.view_as(targets) // [B, T]
}

/// Log-probability of each target, nats: the negative of [`cross_entropy`].
///
/// # Shapes
/// `tokens [B, T]`, `targets [B, T]` → `[B, T]` in fp32.
pub fn token_log_probs(
    network: &Network,
    tokens: &Tensor,
    targets: &Tensor,
    layout: &RowLayout,
    precision: Precision,
) -> Tensor {
    -cross_entropy(network, tokens, targets, layout, precision)
}

/// A source that notes each weight's name and keeps the first error.
struct Assembly<'a> {
    weight: &'a mut Weigh<'a>,
    parameters: Vec<Parameter>,
    error: Option<ModelError>,
}

impl Source for Assembly<'_> {
    fn weight(&mut self, name: &str, shape: &[i64], group: ParamGroup, init: Init) -> Tensor {
        match (self.weight)(name, shape, init) {
            Ok(tensor) => {
                self.parameters.push(Parameter {
                    name: name.to_owned(),
                    tensor: tensor.shallow_clone(),
                    group,
                });
                tensor
            }
            Err(error) => {
                self.error.get_or_insert(error);
                Tensor::zeros(shape, (Kind::Float, Device::Cpu))
            }
        }
    }
}
