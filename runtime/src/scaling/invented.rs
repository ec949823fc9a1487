//! Invented runs of a known law, for this room's tests.

use cupola_specs::artifact::{LawFile, SweepRun};
use cupola_specs::job::{Family, ModelShape, ModelType};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::parametric::fit_parametric;
use super::points::best_runs;

/// The law behind the invented runs.
pub(super) fn true_loss(params: f64, tokens: f64) -> f64 {
    1.6 + 60.0 / params.powf(0.32) + 300.0 / tokens.powf(0.38)
}

/// Runs of depths 1 to 4 at three token counts, with noise of this size on the logarithm.
pub(super) fn invented_runs(noise: f64) -> Vec<SweepRun> {
    let mut rng = ChaCha8Rng::seed_from_u64(7);
    let mut runs = Vec::new();
    for depth in 1..=4_u64 {
        for tokens in [3e5, 6e5, 1.2e6] {
            let params = 49_152.0 * (depth as f64).powi(3);
            let error = noise * (rng.random::<f64>() + rng.random::<f64>() - 1.0) * 2.4;
            let loss = true_loss(params, tokens) * f64::exp(error);
            let per_token = 6.0 * (params + 64.0 * 4096.0 * depth as f64);
            let at = |share: f64| (share * tokens, true_loss(params, share * tokens));
            runs.push(SweepRun {
                shape: shape(depth),
                params: params as u64,
                total_params: params as u64 + 2 * 64 * 4096 * depth,
                tokens: tokens as u64,
                flops: per_token * tokens,
                lr: 0.004,
                validation_loss: loss,
                validation_bpb: loss / 2.5,
                secs: per_token * tokens / 3e10,
                curve: (1..=60).map(|i| at(f64::from(i) / 60.0)).collect(),
            });
        }
    }
    runs
}

/// A law fitted to them.
pub(super) fn invented_law(noise: f64) -> LawFile {
    let runs = invented_runs(noise);
    let fit = fit_parametric(Family::Transformer, &best_runs(&runs, Family::Transformer), 3).unwrap();
    LawFile {
        runs,
        fits: vec![fit],
        recommendations: [].into(),
        best_family: Family::Transformer,
        flops_per_sec: [(Family::Transformer, 3e10)].into(),
    }
}

fn shape(depth: u64) -> ModelShape {
    ModelShape {
        num_hidden_layers: depth,
        hidden_size: 64 * depth,
        intermediate_size: 192 * depth,
        num_attention_heads: depth,
        num_key_value_heads: depth,
        max_position_embeddings: 256,
        ..ModelShape::plain(ModelType::Qwen3)
    }
}
