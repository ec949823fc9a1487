//! Phases that read other corpora: who is read when, an order that no later corpus changes, and a run that was stopped within them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use cupola_specs::job::{
    AutoOr, BatchParams, ExtendParams, LrShape, Packing, PhaseCorpus, PhaseParams, Precision, RopeExtension,
};
use tch::Device;

use super::tests::{
    CONTEXT, bits, context, optimizer_params, plan_of, tiny_shape, weights_of, write_documents, write_tokens,
};
use super::{LanguageRun, Objective, Recipe, RowShape, TokenData, TrainError, TrainOutcome, train};

const STEPS: u64 = 10;
const ROWS: u64 = 8;

fn weights(names: &[(&str, f64)]) -> BTreeMap<String, f64> {
    names.iter().map(|(name, weight)| ((*name).to_owned(), *weight)).collect()
}

fn phase(until: f64, own: &[(&str, f64)], corpora: Vec<PhaseCorpus>) -> PhaseParams {
    PhaseParams { until, weights: weights(own), corpora, lr: LrShape::Constant, lr_final: 0.0 }
}

/// Half the run reads its own corpus; then six of ten rows are another's; the last two steps read a third one alone.
fn phases() -> Vec<PhaseParams> {
    let of = |input, share, its: &[(&str, f64)]| PhaseCorpus { input, share, weights: weights(its) };
    vec![
        phase(0.5, &[("code", 0.75), ("docs", 0.25)], Vec::new()),
        phase(0.8, &[("code", 1.0)], vec![of(1, 0.6, &[("code", 0.5), ("math", 0.5)])]),
        phase(1.0, &[], vec![of(2, 1.0, &[("prose", 1.0)])]),
    ]
}

/// Three corpora, two of which have a domain of one name.
fn corpora(folder: &Path) -> TokenData {
    let open = |name: &str, domains: &[(&str, &[u64])]| {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        if domains.is_empty() {
            write_tokens(&folder);
        } else {
            write_documents(&folder, domains);
        }
        TokenData::train(&folder).unwrap()
    };
    let others = vec![
        open("better", &[("code", &[200, 90, 31]), ("math", &[150, 77])]),
        open("best", &[("prose", &[400]), ("unread", &[60])]),
    ];
    open("own", &[]).join(others).unwrap()
}

fn run_on<'d>(data: &'d TokenData, phases: &[PhaseParams], extend: Option<ExtendParams>) -> LanguageRun<'d> {
    let recipe = Recipe {
        shape: &tiny_shape(),
        tokens: STEPS * ROWS * CONTEXT,
        optimizer: &optimizer_params(),
        batch: BatchParams { global_tokens: AutoOr::Value(ROWS * CONTEXT), micro_batch: AutoOr::Value(4) },
        phases,
        rows: RowShape { context_length: CONTEXT, packing: Packing::Concat, document_mask: false },
        extend,
        max_epochs: None,
        precision: Precision::Fp32,
        micro_batch_halvings: 0,
        ranks: 1,
        init_seed: 5,
        order_seed: 6,
    };
    LanguageRun::new(&recipe, data, Device::Cpu).unwrap()
}

/// Names of the rows of each step.
fn rows(run: &mut LanguageRun) -> Vec<Vec<String>> {
    let of = |step| (0..run.micro_batches(step)).collect::<Vec<_>>();
    let micros: Vec<Vec<u64>> = (0..STEPS).map(of).collect();
    let mut all = Vec::new();
    for (step, micros) in micros.into_iter().enumerate() {
        all.push(micros.into_iter().flat_map(|micro| run.row_names(step as u64, micro)).collect());
    }
    all
}

fn count(rows: &[Vec<String>], domain: &str) -> usize {
    rows.iter().flatten().filter(|row| row.contains(domain)).count()
}

#[test]
fn each_phase_reads_its_own_mixture_of_corpora() {
    let folder = tempfile::tempdir().unwrap();
    let data = corpora(folder.path());
    let mut run = run_on(&data, &phases(), None);
    let rows = rows(&mut run);
    let (first, second, third) = (&rows[..5], &rows[5..8], &rows[8..]);
    println!("{:?}", second[0]);
    assert_eq!((count(first, "tokens.1/"), count(first, "tokens.2/")), (0, 0));
    // Of 24 rows 14.4 are the better corpus', half of them of each domain; the mixture keeps to within two rows.
    for domain in ["tokens.1/code", "tokens.1/math"] {
        assert!(count(second, domain).abs_diff(7) <= 2, "{domain}: {second:?}");
    }
    assert_eq!((count(second, "docs"), count(second, "tokens.2/")), (0, 0));
    assert_eq!(count(third, "tokens.2/prose"), 16);
    let read = |name: &str| run.domains[name].epochs;
    assert!(read("tokens.1/math") > 0.0 && read("tokens.2/prose") > 0.0, "{:?}", run.domains);
    assert_eq!(read("tokens.2/unread").to_bits(), 0);
    let told = &run.phases[1].weights;
    assert!((told["code"] - 0.4).abs() < 1e-12 && (told["tokens.1/code"] - 0.3).abs() < 1e-12, "{told:?}");
}

/// What a phase reads says nothing about the phases before it, and its own corpus goes on where it was.
#[test]
fn other_corpora_leave_the_order_of_the_own_one() {
    let folder = tempfile::tempdir().unwrap();
    let data = corpora(folder.path());
    let alone = TokenData::train(&folder.path().join("own")).unwrap();
    let plain = [phase(1.0, &[("code", 0.75), ("docs", 0.25)], Vec::new())];
    let (with, without) =
        (rows(&mut run_on(&data, &phases(), None)), rows(&mut run_on(&alone, &plain, None)));
    assert_eq!(with[..5], without[..5]);
    let code = |rows: &[Vec<String>]| {
        let is_code = |row: &&String| row.contains("code") && !row.contains("tokens.");
        rows.iter().flatten().filter(is_code).cloned().collect::<Vec<_>>()
    };
    let (with, without) = (code(&with), code(&without));
    let both = with.len().min(without.len());
    assert!(both > 30, "{both}");
    assert_eq!(with[..both], without[..both], "rows of the own corpus come in one order");
}

#[test]
fn longer_rows_read_the_other_corpora_too() {
    let folder = tempfile::tempdir().unwrap();
    let data = corpora(folder.path());
    let extend = ExtendParams { length: 2 * CONTEXT, tokens: 0.4, rope: RopeExtension::Stretched };
    let rows = rows(&mut run_on(&data, &phases(), Some(extend)));
    assert_eq!((rows[7].len() as u64, rows[9].len() as u64), (ROWS / 2, ROWS / 2));
    assert!(count(&rows[6..8], "tokens.1/") >= 3, "{:?}", &rows[6..8]);
    assert_eq!(count(&rows[8..], "tokens.2/prose") as u64, ROWS);
}

/// A phase that says no weights of a corpus reads by those that the corpus has fitted itself.
#[test]
fn a_corpus_that_fitted_its_weights_is_read_by_them() {
    let folder = tempfile::tempdir().unwrap();
    let open = |name: &str, fitted: &str| {
        let folder = folder.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        write_tokens(&folder);
        let path = folder.join("index.json");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(&path, text.replace("\"domain_weights\":{}", &format!("\"domain_weights\":{fitted}")))
            .unwrap();
        TokenData::train(&folder).unwrap()
    };
    let data =
        open("own", "{\"code\":0.75,\"docs\":0.25}").join(vec![open("other", "{\"docs\":1.0}")]).unwrap();
    let phases = |own: &[(&str, f64)], its: &[(&str, f64)]| {
        let other = PhaseCorpus { input: 1, share: 0.5, weights: weights(its) };
        [phase(0.5, own, Vec::new()), phase(1.0, own, vec![other])]
    };
    let said = phases(&[("code", 0.75), ("docs", 0.25)], &[("docs", 1.0)]);
    let mut fitted = run_on(&data, &phases(&[], &[]), None);
    let mut told = run_on(&data, &said, None);
    assert_eq!(rows(&mut fitted), rows(&mut told));
    assert_eq!(fitted.phases[0].weights, weights(&[("code", 0.75), ("docs", 0.25)]));
    assert!((fitted.phases[1].weights["tokens.1/docs"] - 0.5).abs() < 1e-12);
}

#[test]
fn tokens_of_another_tokenizer_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    write_tokens(folder.path());
    let other = tempfile::tempdir().unwrap();
    write_tokens(other.path());
    let path = other.path().join("index.json");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("\"tokenizer_fingerprint\":\"t\"", "\"tokenizer_fingerprint\":\"u\""))
        .unwrap();
    let own = TokenData::train(folder.path()).unwrap();
    let error = own.join(vec![TokenData::train(other.path()).unwrap()]).unwrap_err().to_string();
    assert!(error.contains("`tokens.1` were made by tokenizer u, those of `tokens` by t"), "{error}");
}

fn train_in(
    folder: &Path,
    data: &TokenData,
    stop_at: Option<u64>,
) -> (Result<TrainOutcome, TrainError>, Vec<u32>) {
    let stop = Arc::new(AtomicBool::new(false));
    let ctx = context(folder, stop.clone());
    let mut run = run_on(data, &phases(), None);
    run.evaluate_with(Box::new(move |_, done, _| {
        stop.store(stop_at == Some(done), Ordering::SeqCst);
        Ok(())
    }));
    let outcome = train(&ctx, &plan_of(&run, 3), &mut run);
    (outcome, bits(&weights_of(&run.network)))
}

#[test]
fn a_run_stopped_in_any_phase_ends_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let data = corpora(folder.path());
    let (whole, wanted) = train_in(tempfile::tempdir().unwrap().path(), &data, None);
    let whole = whole.unwrap();
    for stop_at in [4, 5, 7, 8, 9] {
        let folder = tempfile::tempdir().unwrap();
        assert!(train_in(folder.path(), &data, Some(stop_at)).0.is_err());
        let (resumed, weights) = train_in(folder.path(), &data, None);
        assert_eq!(resumed.unwrap(), whole, "stopped after step {stop_at}");
        assert!(weights == wanted, "stopped after step {stop_at}");
    }
}
