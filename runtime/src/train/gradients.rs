//! Norms of gradients by group of weights: the embeddings, each layer, the head, and what is left.

use std::collections::BTreeMap;

use tch::{Kind, Tensor};

use crate::model::{ParamGroup, Parameter};

/// Steps between two measurements of the groups' norms.
pub(super) const GROUP_STEPS: u64 = 100;

/// The norm of each group's gradients, by name: `embedding`, `layers.0`, …, `head`, `rest`. Weights without a gradient count as zero.
pub(super) fn group_norms(parameters: &[Parameter]) -> Vec<(String, f64)> {
    let mut squares: BTreeMap<(usize, String), Vec<Tensor>> = BTreeMap::new();
    tch::no_grad(|| {
        for parameter in parameters {
            let grad = parameter.tensor.grad();
            if grad.defined() {
                squares.entry(group_of(parameter)).or_default().push(grad.square().sum(Kind::Float));
            }
        }
        let norm = |sums: Vec<Tensor>| Tensor::stack(&sums, 0).sum(Kind::Float).sqrt().double_value(&[]);
        squares.into_iter().map(|((_, name), sums)| (name, norm(sums))).collect()
    })
}

/// Where a weight counts, with the place of its group among the others.
fn group_of(parameter: &Parameter) -> (usize, String) {
    let layer = parameter.name.split('.').skip_while(|part| !["layers", "h"].contains(part)).nth(1);
    match (parameter.group, layer.and_then(|number| number.parse::<usize>().ok())) {
        (ParamGroup::Embedding | ParamGroup::ValueEmbedding, _) => (0, "embedding".to_owned()),
        (_, Some(layer)) => (1 + layer, format!("layers.{layer}")),
        (ParamGroup::Head, None) => (usize::MAX - 1, "head".to_owned()),
        (ParamGroup::Matrix | ParamGroup::Vector, None) => (usize::MAX, "rest".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_come_in_the_networks_order_and_their_squares_sum_to_the_whole() {
        let parameter = |name: &str, group, value: f32| {
            let tensor = Tensor::from_slice(&[value, 0.0]).set_requires_grad(true);
            (tensor.square().sum(Kind::Float) / 2.0).backward();
            Parameter { name: name.into(), tensor, group }
        };
        let all = [
            parameter("lm_head.weight", ParamGroup::Head, 5.0),
            parameter("model.layers.10.up.weight", ParamGroup::Matrix, 3.0),
            parameter("model.layers.2.up.weight", ParamGroup::Matrix, 4.0),
            parameter("model.layers.2.norm.weight", ParamGroup::Vector, 3.0),
            parameter("model.norm.weight", ParamGroup::Vector, 1.0),
            parameter("model.embed_tokens.weight", ParamGroup::Embedding, 2.0),
        ];
        let norms = group_norms(&all);
        let names: Vec<&str> = norms.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["embedding", "layers.2", "layers.10", "head", "rest"]);
        assert!((norms[1].1 - 5.0).abs() < 1e-5, "{}", norms[1].1);
        let sum: f64 = norms.iter().map(|(_, norm)| norm * norm).sum();
        assert!((sum - 64.0).abs() < 1e-4, "{sum}");
    }
}
