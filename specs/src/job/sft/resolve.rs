//! An SFT job, resolved.

use super::SftParams;
use super::written::{SftDataWritten, SftJob, TemplateWritten};
use crate::job::Precision;
use crate::job::lora::resolve::lora as resolve_lora;
use crate::job::pretrain::optimizer_resolve::{Stage, optimizer};
use crate::job::pretrain::resolve::{batch, check_tuning_batch, checkpoint, row_length};
use crate::spec::jobs::Resolver;
use crate::spec::wanted::Wanted;
use crate::spec::{RowsInput, SftBody};

/// Resolves an SFT job.
pub(crate) fn sft(w: &SftJob, precision: Precision, resolver: &mut Resolver<'_, '_>) -> Option<SftBody> {
    let model = resolver.artifact(&w.model, Wanted::Model);
    let data = data(w, resolver);
    let optimizer = optimizer(&w.optimizer, Stage::Tuning, resolver);
    check_tuning_batch(&w.batch, resolver);
    let context_length = row_length(w.context.as_ref(), &w.model, resolver);
    let lora = w.lora.as_ref().map(|lora| resolve_lora(lora, &w.model, resolver));
    let (data, data_parts) = data?.into_iter().unzip();
    let (lora, adapter) = match lora {
        Some(lora) => lora.map(|(lora, adapter)| (Some(lora), adapter))?,
        None => (None, None),
    };
    let params = SftParams {
        template: match w.template {
            TemplateWritten::Chatml => "chatml".to_owned(),
        },
        train_on: w.train_on,
        data_parts,
        epochs: w.epochs,
        validation: w.validation.0,
        context_length: context_length?,
        optimizer: optimizer?,
        batch: batch(&w.batch),
        lora,
        precision,
        checkpoint: checkpoint(&w.checkpoint),
    };
    Some(SftBody { model: model?, adapter, data, params })
}

/// Each source of chats with the name of its part.
fn data(w: &SftJob, resolver: &mut Resolver<'_, '_>) -> Option<Vec<(RowsInput, String)>> {
    let rows: Vec<Option<(RowsInput, String)>> = w
        .data
        .iter()
        .enumerate()
        .map(|(index, source)| match &source.value {
            SftDataWritten::Part(reference) => resolver
                .corpus_part(reference, &["pairs"])
                .map(|(artifact, part)| (RowsInput::Artifact(artifact), part)),
            SftDataWritten::Files(paths) => resolver
                .glob(&format!("data.{index}"), paths)
                .map(|files| (RowsInput::Files(files), String::new())),
            SftDataWritten::Synthesize => None,
        })
        .collect();
    rows.into_iter().collect()
}
