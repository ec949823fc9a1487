//! Low-rank adapters: beside a frozen matrix goes a product of two small ones, and only these train.
//!
//! Paper: Hu et al. 2021, LoRA: Low-Rank Adaptation of Large Language Models (arXiv:2106.09685). Start, scale and drop-out are those of Hugging
//! Face's PEFT: A uniform within ±1/√in (Kaiming's with a = √5), B zero, so that an adapted network is at first the network it was.
//!
//! A network that is adapted keeps its own weights bit for bit; what is saved of it, and every copy of it, has the adapters merged. Drop-out is a
//! function of the pass and the module alone, without a generator's state, and the same on every device.
//!
//! Shapes: `I` inputs and `O` outputs of a module, `R` rank.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use cupola_specs::job::{LoraConfig, LoraTarget};
use tch::{Kind, Tensor};

use super::layers::{Layout, Linear, linear};
use super::parameter::Init;
use super::{ModelError, Network, ParamGroup, Parameter};

/// Every matrix of a layer that an adapter fits, in order.
pub(super) const TARGETS: [LoraTarget; 7] = [
    LoraTarget::Q,
    LoraTarget::K,
    LoraTarget::V,
    LoraTarget::O,
    LoraTarget::Gate,
    LoraTarget::Up,
    LoraTarget::Down,
];

/// A module, and the targets that it is: GPT-2's queries, keys and values are one.
pub(super) type Module<'a> = (&'static [LoraTarget], &'a mut Linear);

/// What is added to one module's product.
#[derive(Debug)]
pub(super) struct Adapter {
    module: String,
    layout: Layout,
    a: Tensor, // [R, I]
    b: Tensor, // [O, R]
    scale: f64,
    dropout: f64,
    /// The pass that goes through the network, 0 where none drops out; one for all of its modules.
    pass: Arc<AtomicU64>,
}

impl Adapter {
    fn handle(&self) -> Self {
        Self {
            module: self.module.clone(),
            a: self.a.shallow_clone(),
            b: self.b.shallow_clone(),
            pass: Arc::clone(&self.pass),
            ..*self
        }
    }

    /// The same adapter, which drops out what this pass drops out also when the pass is over: in a part that backward computes again.
    pub(super) fn in_this_pass(&self) -> Self {
        Self { pass: Arc::new(AtomicU64::new(self.pass.load(Ordering::Relaxed))), ..self.handle() }
    }

    /// What is added to the product of `x [.., I]`: `[.., O]` in the kind of `x`.
    pub(super) fn update(&self, x: &Tensor) -> Tensor {
        let read = match self.pass.load(Ordering::Relaxed) {
            pass if pass != 0 && self.dropout > 0.0 => {
                let kept = kept(mixed(pass, &self.module), &x.size(), self.dropout, x);
                x * (kept / (1.0 - self.dropout)).to_kind(x.kind()) // [.., I]
            }
            _ => x.shallow_clone(),
        };
        linear(&linear(&read, &self.a), &self.b) * self.scale // [.., O]
    }

    /// What the adapter adds to the module's weight, lying as that does, in fp32.
    fn delta(&self) -> Tensor {
        let delta = self.b.detach().matmul(&self.a.detach()) * self.scale; // [O, I]
        match self.layout {
            Layout::OutIn => delta,
            Layout::InOut => delta.transpose(0, 1),
        }
    }
}

/// The adapters of a network.
#[derive(Debug)]
pub(super) struct Adapters {
    params: LoraConfig,
    /// By the name of the weight that each stands beside.
    by_weight: BTreeMap<String, Adapter>,
    parameters: Vec<Parameter>,
    pass: Arc<AtomicU64>,
    /// What passes are numbered from, 0 where none drops out.
    seed: AtomicU64,
    /// Whether they began with B zero, so that the weights beside them are the network as it was before it trained.
    pub(super) is_fresh: bool,
}

impl Adapters {
    /// What the adapter of a weight adds to it.
    pub(super) fn delta(&self, weight: &str) -> Option<Tensor> {
        self.by_weight.get(weight).map(Adapter::delta)
    }

    /// Elements of all adapters.
    pub(super) fn num_params(&self) -> u64 {
        self.parameters.iter().map(|parameter| parameter.tensor.numel() as u64).sum()
    }

    /// What they are.
    pub(super) fn params(&self) -> &LoraConfig {
        &self.params
    }

    /// A and B of each module, in order.
    pub(super) fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Names of the modules, and how their weights lie.
    pub(super) fn modules(&self) -> impl Iterator<Item = (&str, Layout)> {
        self.by_weight.values().map(|adapter| (adapter.module.as_str(), adapter.layout))
    }
}

impl Network {
    /// The adapter of a weight, as matrices in fp32: A `[R, I]`, and B `[O, R]`, scaled.
    pub(crate) fn low_rank(&self, weight: &str) -> Option<(Tensor, Tensor)> {
        let adapter = self.adapters.as_ref()?.by_weight.get(weight)?;
        Some((adapter.a.detach(), adapter.b.detach() * adapter.scale))
    }

    /// Elements of all adapters.
    pub fn adapter_params(&self) -> u64 {
        self.adapters.as_ref().map_or(0, Adapters::num_params)
    }

    /// Freezes every weight and puts adapters beside the targets: from now on only these train ([`Network::trainable`]).
    ///
    /// # Errors
    /// A target that this network does not have, or that is a part of one of its modules.
    pub fn adapt(&mut self, params: &LoraConfig, seed: u64) -> Result<(), ModelError> {
        let (device, pass) = (self.device(), Arc::new(AtomicU64::new(0)));
        let mut modules = self.modules_mut();
        let wanted = wanted(params, &modules)?;
        let (mut by_weight, mut parameters) = (BTreeMap::new(), Vec::new());
        for (targets, module) in &mut modules {
            if !targets.iter().all(|target| wanted.contains(target)) {
                continue;
            }
            let ([output, input], rank) = (module.size(), params.rank as i64);
            let mut weight = |name: &str, size: [i64; 2], init: Init| {
                let name = format!("{}.{name}.weight", module.name());
                let tensor = init.tensor(&name, &size, seed, device);
                let handle = tensor.shallow_clone();
                parameters.push(Parameter { name, tensor: handle, group: ParamGroup::Matrix });
                tensor
            };
            let adapter = Adapter {
                a: weight("lora_A", [rank, input], Init::Uniform((input as f64).sqrt().recip())),
                b: weight("lora_B", [output, rank], Init::Constant(0.0)),
                module: module.name().to_owned(),
                layout: module.layout(),
                scale: params.scale(),
                dropout: params.dropout,
                pass: Arc::clone(&pass),
            };
            by_weight.insert(format!("{}.weight", module.name()), adapter.handle());
            module.adapt(adapter);
        }
        for parameter in self.parameters() {
            let _ = parameter.tensor.set_requires_grad(false);
        }
        let (params, seed) = (params.clone(), AtomicU64::new(0));
        self.adapters = Some(Adapters { params, by_weight, parameters, pass, seed, is_fresh: true });
        Ok(())
    }

    /// The weights that train: the adapters' where there are some, else all.
    pub fn trainable(&self) -> Vec<Parameter> {
        let trained = self.adapters.as_ref().map_or(self.parameters(), Adapters::parameters);
        trained.iter().map(Parameter::handle).collect()
    }

    /// Whether adapters train in place of the weights.
    pub fn is_adapted(&self) -> bool {
        self.adapters.is_some()
    }

    /// From now on the passes of [`Network::training_pass`] drop out: what a stage says when its self-tests are done.
    pub fn drop_out_from(&self, seed: u64) {
        if let Some(adapters) = &self.adapters {
            adapters.seed.store(seed.max(1), Ordering::Relaxed);
        }
    }

    /// Runs a pass that trains: its drop-out is a function of the stage's seed, the optimiser step and the micro-batch.
    pub fn training_pass<T>(&self, step: u64, micro: u64, pass: impl FnOnce() -> T) -> T {
        let Some(adapters) = &self.adapters else { return pass() };
        let seed = adapters.seed.load(Ordering::Relaxed);
        if seed != 0 {
            adapters.pass.store(mixed(seed, &format!("{step}.{micro}")), Ordering::Relaxed);
        }
        let result = pass();
        adapters.pass.store(0, Ordering::Relaxed);
        result
    }
}

/// The targets that get an adapter.
pub(super) fn wanted(params: &LoraConfig, modules: &[Module]) -> Result<Vec<LoraTarget>, ModelError> {
    let has: Vec<LoraTarget> = TARGETS
        .into_iter()
        .filter(|target| modules.iter().any(|(targets, _)| targets.contains(target)))
        .collect();
    if has.is_empty() {
        return Err(ModelError::LoraTarget("this network has no module that an adapter fits".into()));
    }
    if params.targets.contains(&LoraTarget::AllLinear) {
        return Ok(has);
    }
    for target in &params.targets {
        let Some((whole, _)) = modules.iter().find(|(targets, _)| targets.contains(target)) else {
            let message = format!("this model has no `{}`; it has {}", target.as_str(), words(&has));
            return Err(ModelError::LoraTarget(message));
        };
        if let Some(other) = whole.iter().find(|other| !params.targets.contains(other)) {
            let (one, all) = (target.as_str(), words(whole));
            let message = format!(
                "{all} are one module of this model; `{one}` without `{}` can't be adapted",
                other.as_str()
            );
            return Err(ModelError::LoraTarget(message));
        }
    }
    Ok(params.targets.clone())
}

pub(super) fn words(targets: &[LoraTarget]) -> String {
    targets.iter().map(|target| target.as_str()).collect::<Vec<_>>().join(", ")
}

/// A number from a seed and a purpose; never 0.
fn mixed(seed: u64, purpose: &str) -> u64 {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes()).update(purpose.as_bytes());
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
    u64::from_le_bytes(bytes).max(1)
}

/// Which elements of a tensor like `x` stay: 1 with probability 1 - `dropout`, else 0, by a hash of each element's place (Wellons' lowbias32, 2018,
/// on wrapping 32-bit numbers).
pub(super) fn kept(seed: u64, size: &[i64], dropout: f64, x: &Tensor) -> Tensor {
    let count: i64 = size.iter().product();
    let signed = |word: u32| i64::from(word.cast_signed());
    // A shift of signed numbers drags the sign along: it is masked off.
    let fold = |hash: &mut Tensor, shift: i64| {
        let mut high = hash.bitwise_right_shift_tensor_scalar(shift);
        let _ = hash.bitwise_xor_tensor_(&high.bitwise_and_((1 << (32 - shift)) - 1));
    };
    let mut hash = Tensor::arange(count, (Kind::Int, x.device()));
    let _ = hash.g_mul_scalar_(signed(0x9e37_79b1)).bitwise_xor_(signed(seed as u32));
    for (shift, factor) in [(16, 0x7feb_352d), (15, 0x846c_a68b)] {
        fold(&mut hash, shift);
        let _ = hash.g_mul_scalar_(signed(factor)).bitwise_xor_(signed((seed >> 32) as u32));
    }
    fold(&mut hash, 16);
    let limit = (dropout * 2f64.powi(32)).round() as i64 + i64::from(i32::MIN);
    hash.ge(limit).view(size).to_kind(Kind::Float)
}
