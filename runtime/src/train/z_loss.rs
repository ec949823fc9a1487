//! z-loss: the squared logarithm of the softmax's normaliser Z as a term of what is trained (PaLM: Chowdhery et al. 2022, arXiv:2204.02311, section 5, factor
//! 1e-4). It keeps logits from drifting, which the cross-entropy alone does not see.
//!
//! Shapes: `B` batch, `T` time, `V` vocab.

use cupola_specs::job::Precision;
use tch::Tensor;

use crate::model::{Network, RowLayout};

/// The cross-entropy of each position, nats, and log Z of its logits; both are 0, and have no gradient, where there is no target (-100).
///
/// # Shapes
/// `tokens [B, T]`, `targets [B, T]` → twice `[B, T]` in fp32.
pub fn losses_with_normalizer(
    network: &Network,
    tokens: &Tensor,
    targets: &Tensor,
    layout: &RowLayout,
    precision: Precision,
) -> (Tensor, Tensor) {
    normalized(&network.logits(&network.hidden(tokens, layout, precision)), targets)
}

/// The same of logits.
///
/// # Shapes
/// `logits [B, T, V]`, `targets [B, T]` → twice `[B, T]`.
fn normalized(logits: &Tensor, targets: &Tensor) -> (Tensor, Tensor) {
    let is_trained = targets.ge(0); // [B, T]
    let log_z = logits.logsumexp([-1i64].as_slice(), false) * &is_trained; // [B, T]
    let chosen = logits.gather(-1, &targets.clamp_min(0).unsqueeze(-1), false).squeeze_dim(-1); // [B, T]
    (&log_z - chosen * is_trained, log_z)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use tch::Kind;

    use super::*;

    #[derive(serde::Deserialize)]
    struct Reference {
        rows: i64,
        columns: i64,
        vocab: i64,
        factor: f64,
        logits: Vec<f32>,
        targets: Vec<i64>,
        loss: f64,
        z_loss: f64,
        gradient: Vec<f32>,
    }

    #[test]
    fn loss_z_loss_and_gradient_equal_pytorchs() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/train/z_loss.json");
        let reference: Reference = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let size = [reference.rows, reference.columns, reference.vocab];
        let logits = Tensor::from_slice(&reference.logits).view(size).set_requires_grad(true);
        let targets = Tensor::from_slice(&reference.targets).view([reference.rows, reference.columns]);
        let (losses, log_z) = normalized(&logits, &targets);
        let (loss, z_loss) = (losses.mean(Kind::Float), log_z.square().mean(Kind::Float) * reference.factor);
        (&loss + &z_loss).backward();
        let wanted = Tensor::from_slice(&reference.gradient).view(size);
        let far =
            (logits.grad() - &wanted).abs().max().double_value(&[]) / wanted.abs().max().double_value(&[]);
        let off = |got: &Tensor, wanted: f64| (got.double_value(&[]) / wanted - 1.0).abs();
        println!(
            "loss {:.1e}, z-loss {:.1e}, gradient {far:.1e}",
            off(&loss, reference.loss),
            off(&z_loss, reference.z_loss)
        );
        assert!(off(&loss, reference.loss) < 1e-6 && off(&z_loss, reference.z_loss) < 1e-6 && far < 1e-5);
    }
    #[test]
    fn a_position_without_a_target_has_no_part_in_it() {
        let logits = Tensor::from_slice(&[1.0f32, -2.0, 0.5, 3.0, 0.25, -1.0]).view([1, 2, 3]);
        let both = logits.set_requires_grad(true);
        let (losses, log_z) = normalized(&both, &Tensor::from_slice(&[2i64, -100]).view([1, 2]));
        let alone = logits.detach().narrow(1, 0, 1);
        let (loss, normalizer) = normalized(&alone, &Tensor::from_slice(&[2i64]).view([1, 1]));
        let pair = |tensor: &Tensor| Vec::<f32>::try_from(tensor.view([-1])).unwrap();
        assert_eq!(pair(&losses), [pair(&loss)[0], 0.0]);
        assert_eq!(pair(&log_z), [pair(&normalizer)[0], 0.0]);
        (losses.sum(Kind::Float) + log_z.square().sum(Kind::Float)).backward();
        assert_eq!(pair(&both.grad().narrow(1, 1, 1)), [0.0; 3]);
    }
}
