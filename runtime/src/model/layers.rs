//! Layers that every network shares, and the casts of a precision.
//!
//! A [`Linear`] is one module of Hugging Face's: its name, its weight in the layout of its class, its bias where the class has one. What
//! adapts a module (a low-rank update, another number format) attaches there.
//!
//! Shapes: `B` batch, `T` time, `C` channels, `H` heads, `D` head dim.

use cupola_specs::job::Precision;
use tch::{Kind, Tensor};

use super::ParamGroup;
use super::lora::Adapter;
use super::parameter::{Init, Source};

/// The kind that products run in.
pub(super) fn product_kind(precision: Precision) -> Kind {
    match precision {
        Precision::Bf16 => Kind::BFloat16,
        Precision::Fp32 | Precision::Auto => Kind::Float,
    }
}

/// A norm over the last dimension: statistics in fp32.
#[derive(Debug)]
pub(super) enum Norm {
    /// RMS norm with a gain.
    Rms {
        /// `[C]`
        gain: Tensor,
        /// Epsilon.
        eps: f64,
    },
    /// RMS norm without one.
    Plain {
        /// Epsilon.
        eps: f64,
    },
    /// Layer norm (Ba et al. 2016, arXiv:1607.06450).
    Layer {
        /// `[C]`
        gain: Tensor,
        /// `[C]`
        bias: Tensor,
        /// Epsilon.
        eps: f64,
    },
}

/// Which norm a network has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NormKind {
    /// RMS norm with a gain.
    Rms,
    /// RMS norm without one.
    Plain,
    /// Layer norm.
    Layer,
}

impl Norm {
    /// The norm of a module.
    pub(super) fn build(kind: NormKind, module: &str, width: i64, eps: f64, source: &mut dyn Source) -> Self {
        let mut vector = |name: &str, value: f64| {
            source.weight(&format!("{module}.{name}"), &[width], ParamGroup::Vector, Init::Constant(value))
        };
        match kind {
            NormKind::Rms => Self::Rms { gain: vector("weight", 1.0), eps },
            NormKind::Plain => Self::Plain { eps },
            NormKind::Layer => Self::Layer { gain: vector("weight", 1.0), bias: vector("bias", 0.0), eps },
        }
    }

    /// The same norm.
    pub(super) fn handle(&self) -> Self {
        match self {
            Self::Rms { gain, eps } => Self::Rms { gain: gain.shallow_clone(), eps: *eps },
            Self::Plain { eps } => Self::Plain { eps: *eps },
            Self::Layer { gain, bias, eps } => {
                Self::Layer { gain: gain.shallow_clone(), bias: bias.shallow_clone(), eps: *eps }
            }
        }
    }

    /// `x [.., C]` → `[.., C]` in `kind`.
    pub(super) fn apply(&self, x: &Tensor, kind: Kind) -> Tensor {
        match self {
            Self::Rms { gain, eps } => rms_norm(x, gain, *eps, kind),
            Self::Plain { eps } => unit_rms(x, *eps).to_kind(kind),
            Self::Layer { gain, bias, eps } => {
                let width = x.size().last().copied().unwrap_or_default();
                let wide = x.to_kind(Kind::Float);
                wide.layer_norm([width], Some(gain), Some(bias), *eps, false).to_kind(kind)
            }
        }
    }
}

/// RMS norm (Zhang and Sennrich 2019, arXiv:1910.07467): statistics in fp32, result in `kind`.
pub(super) fn rms_norm(x: &Tensor, gain: &Tensor, eps: f64, kind: Kind) -> Tensor {
    (unit_rms(x, eps) * gain).to_kind(kind)
}

fn unit_rms(x: &Tensor, eps: f64) -> Tensor {
    let wide = x.to_kind(Kind::Float);
    let scale = (wide.square().mean_dim(-1, true, Kind::Float) + eps).rsqrt();
    wide * scale
}

/// `x · wᵀ` in the kind of `x`; `w` is an fp32 master.
pub(super) fn linear(x: &Tensor, w: &Tensor) -> Tensor {
    x.linear::<&Tensor>(&w.to_kind(x.kind()), None)
}

/// How a module's weight lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// `[out, in]`, as PyTorch's `Linear`.
    OutIn,
    /// `[in, out]`, as the `Conv1D` of Hugging Face's GPT-2.
    InOut,
}

/// A module that multiplies by a matrix.
#[derive(Debug)]
pub(super) struct Linear {
    name: String,
    weight: Tensor,       // [out, in], or [in, out] by layout
    bias: Option<Tensor>, // [out]
    layout: Layout,
    adapter: Option<Adapter>,
}

impl Linear {
    /// The module of a name: `size` is `[out, in]` whatever the layout; a bias starts at zero.
    pub(super) fn build(
        module: &str,
        size: [i64; 2],
        (layout, has_bias): (Layout, bool),
        init: Init,
        source: &mut dyn Source,
    ) -> Self {
        let [output, input] = size;
        let lying = if layout == Layout::OutIn { size } else { [input, output] };
        let weight = source.weight(&format!("{module}.weight"), &lying, ParamGroup::Matrix, init);
        let bias = has_bias.then(|| {
            source.weight(&format!("{module}.bias"), &[output], ParamGroup::Vector, Init::Constant(0.0))
        });
        Self { name: module.to_owned(), weight, bias, layout, adapter: None }
    }

    /// `x [.., in]` → `[.., out]` in the kind of `x`.
    pub(super) fn forward(&self, x: &Tensor) -> Tensor {
        Self::joined(&[self], x)
    }

    /// Several modules that read the same input, as one product; their outputs lie end to end.
    pub(super) fn joined(modules: &[&Self], x: &Tensor) -> Tensor {
        let kind = x.kind();
        let weight = match modules {
            [one] => one.rows(),
            many => Tensor::cat(&many.iter().map(|module| module.rows()).collect::<Vec<_>>(), 0),
        };
        let bias = modules.iter().any(|module| module.bias.is_some()).then(|| {
            let of = |module: &&Self| match &module.bias {
                Some(bias) => bias.shallow_clone(),
                None => Tensor::zeros([module.size()[0]], (Kind::Float, x.device())),
            };
            Tensor::cat(&modules.iter().map(of).collect::<Vec<_>>(), 0).to_kind(kind)
        });
        let product = x.linear(&weight.to_kind(kind), bias.as_ref()); // [.., out]
        if modules.iter().all(|module| module.adapter.is_none()) {
            return product;
        }
        let mut from = 0;
        let parts = modules.iter().map(|module| {
            let part = product.narrow(-1, from, module.size()[0]);
            from += module.size()[0];
            match &module.adapter {
                Some(adapter) => part + adapter.update(x),
                None => part,
            }
        });
        Tensor::cat(&parts.collect::<Vec<_>>(), -1) // [.., out]
    }

    /// Hugging Face's name of the module.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How the weight lies.
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }

    /// `[out, in]`.
    pub(super) fn size(&self) -> [i64; 2] {
        let (rows, columns) = self.weight.size2().unwrap_or_default();
        match self.layout {
            Layout::OutIn => [rows, columns],
            Layout::InOut => [columns, rows],
        }
    }

    /// The same module, its adapter as it is in this pass.
    pub(super) fn handle(&self) -> Self {
        Self {
            name: self.name.clone(),
            weight: self.weight.shallow_clone(),
            bias: self.bias.as_ref().map(Tensor::shallow_clone),
            layout: self.layout,
            adapter: self.adapter.as_ref().map(Adapter::in_this_pass),
        }
    }

    /// Puts an adapter beside the weight.
    pub(super) fn adapt(&mut self, adapter: Adapter) {
        self.adapter = Some(adapter);
    }

    /// The weight as `[out, in]`.
    fn rows(&self) -> Tensor {
        match self.layout {
            Layout::OutIn => self.weight.shallow_clone(),
            Layout::InOut => self.weight.transpose(0, 1),
        }
    }
}
