//! The page that goes with the files.

use std::fmt::Write;
use std::path::Path;

use super::plan::RunPlan;
use super::{Engine, HandoverError, put};

/// Writes `README.md`.
pub(super) fn write(out: &Path, plan: &RunPlan) -> Result<(), HandoverError> {
    let shape = &plan.shape;
    let (data, start) = match plan.engine {
        Engine::Megatron => (
            "`data/SIDE/DOMAIN.bin` and `.idx`: an indexed dataset for each domain, one document a sequence, each with the token before it",
            "`MEGATRON=DIR ./train.sh` starts it; more options, such as `--tensor-model-parallel-size 8`, follow. `--save DIR --save-interval N` keep states",
        ),
        Engine::Torchtitan => (
            "`data/SIDE/DOMAIN.jsonl`: one document a line, which torchtitan encodes with the tokenizer",
            "`./train.sh` starts it; more options, such as `--parallelism.tensor_parallel_degree 8`, follow. `train.toml` holds the run, `cupola_recipe.py` sizes and mixture",
        ),
    };
    let mut text = format!(
        "# A pretraining for {}\n\n\
         {} layers of width {}, {} steps of {} rows of {} tokens.\n\n\
         - {data}.\n\
         - `tokenizer/`: the tokenizer, and the network's `config.json` for Hugging Face's class `{:?}`.\n\
         - {start}.\n\n\
         ## What it does otherwise than Cupola would\n\n",
        plan.engine.name(),
        shape.num_hidden_layers,
        shape.hidden_size,
        plan.steps,
        plan.global_batch,
        plan.context_length,
        shape.model_type,
    );
    for difference in &plan.differences {
        let _ = writeln!(text, "- {difference}.");
    }
    put(out, "README.md", &text)
}
