//! Adapters against PEFT's, and against themselves: frozen weights, copies, drop-out, targets.

use std::path::{Path, PathBuf};

use cupola_specs::job::{AdapterParams, Family, LoraConfig, LoraTarget, Precision};
use safetensors::tensor::SafeTensors;
use tch::{Device, Kind, Tensor};

use super::parity_tests::fixture as base;
use super::{ADAPTER_FOLDER, ModelError, Network, RowLayout, SaveFacts, cross_entropy, depth_shape};

/// Fixtures of PEFT's with their base and settings.
fn cases() -> [(&'static str, &'static str, LoraConfig); 3] {
    use LoraTarget::{AllLinear, Down, K, O, Q, Up, V};
    let params = |rank, alpha, use_rslora, targets: &[LoraTarget]| LoraConfig {
        rank,
        alpha,
        use_rslora,
        targets: targets.to_vec(),
        dropout: 0.0,
    };
    [
        ("llama", "llama", params(4, 6.0, false, &[AllLinear])),
        ("rslora", "llama_biased", params(3, 5.0, true, &[Q, V, Down])),
        ("gpt2", "gpt2", params(4, 8.0, false, &[Q, K, V, O, Up, Down])),
    ]
}

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/lora").join(name)
}

/// Tensors of a safetensors file.
struct File(Vec<u8>);

impl File {
    fn read(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> =
            SafeTensors::deserialize(&self.0).unwrap().names().into_iter().map(str::to_owned).collect();
        names.sort();
        names
    }

    fn get(&self, name: &str) -> Tensor {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        let view = file.tensor(name).unwrap();
        let kind = if view.dtype() == safetensors::Dtype::I64 { Kind::Int64 } else { Kind::Float };
        let size: Vec<i64> = view.shape().iter().map(|&size| size as i64).collect();
        Tensor::from_data_size(view.data(), &size, kind)
    }
}

fn far(got: &Tensor, wanted: &Tensor) -> f64 {
    ((got - wanted).norm() / wanted.norm()).double_value(&[])
}

/// The base of a case with the weights of PEFT's adapters.
fn adapted(name: &str, of: &str, params: &LoraConfig) -> Network {
    let mut network = Network::load(&base(of), Device::Cpu).unwrap();
    network.adapt(params, 1).unwrap();
    let saved = File::read(&fixture(name).join("adapter_model.safetensors"));
    let trainable = network.trainable();
    assert_eq!(saved.names().len(), trainable.len(), "{name}: as many adapters as PEFT has");
    tch::no_grad(|| {
        for mut parameter in trainable {
            parameter.tensor.copy_(&saved.get(&format!("base_model.model.{}", parameter.name)));
        }
    });
    network
}

fn logits(network: &Network, tokens: &Tensor) -> Tensor {
    network.logits(&network.hidden(tokens, &RowLayout::Causal, Precision::Fp32))
}

#[test]
fn forward_gradients_merge_and_file_equal_pefts() {
    for (name, of, params) in cases() {
        let (network, expected) =
            (adapted(name, of, &params), File::read(&fixture(name).join("expected.safetensors")));
        let (tokens, targets) = (expected.get("tokens"), expected.get("targets"));
        let forward = far(&logits(&network, &tokens), &expected.get("logits"));
        let loss =
            cross_entropy(&network, &tokens, &targets, &RowLayout::Causal, Precision::Fp32).mean(Kind::Float);
        loss.backward();
        let wanted = expected.get("loss").double_value(&[]);
        let apart = (loss.double_value(&[]) - wanted).abs() / wanted;
        let of_grad = |parameter: &super::Parameter| {
            let name = format!("grad.{}", parameter.name.strip_suffix(".weight").unwrap());
            far(&parameter.tensor.grad(), &expected.get(&name))
        };
        let gradients = network.trainable().iter().map(of_grad).fold(0.0, f64::max);
        assert!(network.parameters().iter().all(|parameter| !parameter.tensor.grad().defined()), "{name}");
        // Merged: in a copy, and in what is saved.
        let folder = tempfile::tempdir().unwrap();
        let facts = SaveFacts { bos_token_id: 0, stop_token_ids: vec![2], pad_token_id: 3 };
        network.save(folder.path(), &facts).unwrap();
        network.save_adapter(folder.path(), None).unwrap();
        let merged = Network::load(folder.path(), Device::Cpu).unwrap();
        assert!(!merged.is_adapted());
        let weights = expected
            .names()
            .into_iter()
            .filter(|name| name.starts_with("merged.") && name != "merged.logits");
        let (mut weight_error, mut num_merged) = (0.0, 0);
        for weight in weights {
            let own = merged.parameters().iter().find(|p| weight == format!("merged.{}", p.name)).unwrap();
            weight_error = far(&own.tensor, &expected.get(&weight)).max(weight_error);
            num_merged += 2;
        }
        assert_eq!(num_merged, network.trainable().len());
        let after = far(&logits(&merged, &tokens), &expected.get("merged.logits"));
        let copied =
            far(&logits(&network.frozen(Precision::Fp32).unwrap(), &tokens), &expected.get("merged.logits"));
        println!(
            "{name}: logits {forward:.1e}, loss {apart:.1e}, gradients {gradients:.1e}, merged weights {weight_error:.1e}, their logits \
             {after:.1e}, a copy's {copied:.1e}"
        );
        for error in [forward, apart, gradients, weight_error, after, copied] {
            assert!(error < 1e-5, "{name}: {error:e}");
        }
        // The file is PEFT's, tensor for tensor.
        let (own, pefts) = (
            File::read(&folder.path().join(ADAPTER_FOLDER).join("adapter_model.safetensors")),
            File::read(&fixture(name).join("adapter_model.safetensors")),
        );
        assert_eq!(own.names(), pefts.names());
        assert!(own.names().iter().all(|tensor| own.get(tensor).equal(&pefts.get(tensor))), "{name}");
        let config = std::fs::read(folder.path().join(ADAPTER_FOLDER).join("adapter_config.json")).unwrap();
        let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
        assert_eq!(config["r"], params.rank);
        assert_eq!(config["lora_alpha"], params.alpha as u64);
        assert_eq!(config["use_rslora"], params.use_rslora);
        assert_eq!(config["fan_in_fan_out"], name == "gpt2");
    }
}

#[test]
fn an_adapted_network_starts_as_it_was_and_its_weights_stay() {
    for (name, of, params) in cases() {
        let mut network = Network::load(&base(of), Device::Cpu).unwrap();
        let tokens = Tensor::arange(12, (Kind::Int64, Device::Cpu)).view([1, 12]);
        let before = logits(&network, &tokens);
        let held: Vec<Tensor> = network.parameters().iter().map(|p| p.tensor.detach().copy()).collect();
        let flops = network.flops_per_token(8);
        network.adapt(&params, 7).unwrap();
        assert!(logits(&network, &tokens).equal(&before), "{name}");
        let count =
            |parameters: &[super::Parameter]| -> usize { parameters.iter().map(|p| p.tensor.numel()).sum() };
        let matrices = network.parameters().iter().filter(|p| p.group == super::ParamGroup::Matrix);
        let products = matrices.map(|p| p.tensor.numel()).sum::<usize>()
            + (network.shape().hidden_size as usize * network.vocab_size() as usize);
        let change = 6.0 * count(&network.trainable()) as f64 - 2.0 * products as f64;
        assert_eq!(network.shape().adapter_params(&params), count(&network.trainable()) as u64, "{name}");
        assert!(
            (network.flops_per_token(8) - flops - change).abs() < 0.5,
            "{name}: a frozen weight has no gradient"
        );
        let inputs = network.trainable().into_iter().filter(|p| p.name.ends_with("lora_A.weight"));
        for a in inputs {
            let bound = (a.tensor.size()[1] as f64).sqrt().recip();
            let most = a.tensor.abs().max().double_value(&[]);
            assert!(most <= bound && most > 0.5 * bound, "{name} {}: {most} of {bound}", a.name);
        }
        tch::no_grad(|| {
            for mut parameter in network.trainable() {
                let _ = parameter.tensor.g_add_scalar_(0.05);
            }
        });
        let after = logits(&network, &tokens);
        assert!(far(&after, &before) > 1e-3, "{name}");
        for (parameter, held) in network.parameters().iter().zip(&held) {
            assert!(parameter.tensor.equal(held) && !parameter.tensor.requires_grad(), "{}", parameter.name);
        }
        // The reference is what stands beside the adapters, and shares its memory; a copy has them merged.
        let reference = network.reference(Precision::Fp32).unwrap();
        assert!(logits(&reference, &tokens).equal(&before), "{name}");
        for (own, shared) in network.parameters().iter().zip(reference.parameters()) {
            assert_eq!(own.tensor.data_ptr(), shared.tensor.data_ptr());
        }
        assert!(far(&logits(&network.copy().unwrap(), &tokens), &after) < 1e-5, "{name}");
    }
}

#[test]
fn cached_steps_of_an_adapted_network_equal_its_full_pass() {
    let (name, of, params) = &cases()[0];
    let network = adapted(name, of, params);
    let _guard = tch::no_grad_guard();
    let tokens = Tensor::arange(9, (Kind::Int64, Device::Cpu)).view([1, 9]);
    let full = logits(&network, &tokens);
    let mut cache = network.new_cache(1, 16, Precision::Fp32);
    for step in 0..9 {
        let row = super::RowSlot { slot: 0, start: step };
        let hidden = network.hidden_cached(&tokens.narrow(1, step, 1), &mut cache, &[row], Precision::Fp32);
        assert!(far(&network.logits(&hidden).get(0), &full.get(0).narrow(0, step, 1)) < 1e-5);
    }
}

#[test]
fn dropout_is_a_function_of_the_pass_and_of_nothing_else() {
    let (name, of, params) = &cases()[0];
    let network = adapted(name, of, &LoraConfig { dropout: 0.25, ..params.clone() });
    let _guard = tch::no_grad_guard();
    let tokens = Tensor::arange(16, (Kind::Int64, Device::Cpu)).view([1, 16]);
    let whole = logits(&network, &tokens);
    let of_pass = |step, micro| network.training_pass(step, micro, || logits(&network, &tokens));
    assert!(of_pass(0, 0).equal(&whole), "before the stage says so, no pass drops out");
    network.drop_out_from(9);
    let first = of_pass(3, 1);
    let others = [of_pass(3, 0), of_pass(4, 1), of_pass(31, 0)];
    assert!(others.iter().all(|other| far(other, &first) > 1e-3) && far(&first, &whole) > 1e-3);
    assert!(of_pass(3, 1).equal(&first));
    assert!(logits(&network, &tokens).equal(&whole), "an evaluation drops out nothing");
    network.drop_out_from(10);
    assert!(far(&of_pass(3, 1), &first) > 1e-3);
    // What is kept makes up for what is not: the mean over passes is nearer to the pass without than a pass is. Little is dropped, so that
    // the network is as good as linear in it.
    let network = adapted(name, of, &LoraConfig { dropout: 0.05, ..params.clone() });
    network.drop_out_from(9);
    let of_pass = |step, micro| network.training_pass(step, micro, || logits(&network, &tokens));
    let passes: Vec<Tensor> = (0..400).map(|step| of_pass(step, 0)).collect();
    let mean = Tensor::stack(&passes, 0).mean_dim(0, false, Kind::Float);
    let alone = passes.iter().map(|pass| far(pass, &whole)).sum::<f64>() / 400.0;
    println!(
        "the mean of 400 passes is {:.1e} from the pass without, one pass {alone:.1e}",
        far(&mean, &whole)
    );
    assert!(far(&mean, &whole) < 0.5 * alone);
}

#[test]
fn as_many_elements_are_kept_as_the_dropout_says() {
    let x = Tensor::zeros([300, 1000], (Kind::Float, Device::Cpu));
    for (seed, dropout) in [(1u64, 0.1), (u64::MAX, 0.5), (0x1234_5678_9abc_def0, 0.9)] {
        let kept = super::lora::kept(seed, &[300, 1000], dropout, &x);
        let share = kept.mean(Kind::Double).double_value(&[]);
        // Five standard deviations of 300,000 draws, and of the 1,000 and 300 of a column and a row.
        let deviation = (dropout * (1.0 - dropout)).sqrt();
        assert!((share - (1.0 - dropout)).abs() < 5.0 * deviation / 300_000f64.sqrt(), "{dropout}: {share}");
        for (dim, count) in [(0, 300f64), (1, 1000.0)] {
            let means = kept.mean_dim(dim, false, Kind::Float) - (1.0 - dropout);
            let most = means.abs().max().double_value(&[]);
            assert!(most < 6.0 * deviation / count.sqrt(), "{dropout} along {dim}: {most}");
        }
        let shifted = kept.narrow(1, 0, 999) * kept.narrow(1, 1, 999);
        let both = shifted.mean(Kind::Double).double_value(&[]);
        assert!((both - (1.0 - dropout).powi(2)).abs() < 0.005, "neighbours of {dropout}: {both}");
    }
}

#[test]
fn targets_that_a_model_does_not_have_are_named() {
    use LoraTarget::{AllLinear, Gate, K, Q, V};
    let error = |network: &mut Network, targets: &[LoraTarget]| {
        let params = LoraConfig { targets: targets.to_vec(), ..cases()[0].2.clone() };
        let error = network.adapt(&params, 1).unwrap_err();
        assert!(matches!(error, ModelError::LoraTarget(_)));
        assert!(!network.is_adapted() && network.parameters().iter().all(|p| p.tensor.requires_grad()));
        error.to_string()
    };
    let mut gpt2 = Network::load(&base("gpt2"), Device::Cpu).unwrap();
    assert_eq!(
        error(&mut gpt2, &[Gate]),
        "lora.targets: this model has no `gate`; it has q, k, v, o, up, down"
    );
    assert_eq!(
        error(&mut gpt2, &[Q, V]),
        "lora.targets: q, k, v are one module of this model; `q` without `k` can't be adapted"
    );
    assert_eq!(
        error(&mut gpt2, &[K]),
        "lora.targets: q, k, v are one module of this model; `k` without `q` can't be adapted"
    );
    let mut lstm = Network::init(&depth_shape(Family::Lstm, 1, 32), 29, 5, Device::Cpu).unwrap();
    assert_eq!(
        error(&mut lstm, &[AllLinear]),
        "lora.targets: this network has no module that an adapter fits"
    );
}

/// A fixture's adapters in a folder of their own, the config changed.
fn folder_of(name: &str, change: impl Fn(&mut serde_json::Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let weights = "adapter_model.safetensors";
    std::fs::copy(fixture(name).join(weights), folder.path().join(weights)).unwrap();
    let text = std::fs::read(fixture(name).join("adapter_config.json")).unwrap();
    let mut config: serde_json::Value = serde_json::from_slice(&text).unwrap();
    change(&mut config);
    std::fs::write(folder.path().join("adapter_config.json"), config.to_string()).unwrap();
    folder
}

/// The base of a case with the adapters of a folder.
fn continued(of: &str, folder: &Path, params: &AdapterParams) -> Result<Network, ModelError> {
    let mut network = Network::load(&base(of), Device::Cpu).unwrap();
    network.adapt_from(folder, params).map(|()| network)
}

#[test]
fn training_goes_on_from_pefts_adapters() {
    for (name, of, params) in cases() {
        let written = AdapterParams {
            rank: Some(params.rank),
            alpha: Some(params.alpha),
            use_rslora: Some(params.use_rslora),
            targets: Some(params.targets.clone()),
            dropout: 0.0,
        };
        let expected = File::read(&fixture(name).join("expected.safetensors"));
        let (tokens, targets) = (expected.get("tokens"), expected.get("targets"));
        for params in [&AdapterParams::default(), &written] {
            let network = continued(of, &fixture(name), params).unwrap();
            let forward = far(&logits(&network, &tokens), &expected.get("logits"));
            cross_entropy(&network, &tokens, &targets, &RowLayout::Causal, Precision::Fp32)
                .mean(Kind::Float)
                .backward();
            let of_grad = |parameter: &super::Parameter| {
                let name = format!("grad.{}", parameter.name.strip_suffix(".weight").unwrap());
                far(&parameter.tensor.grad(), &expected.get(&name))
            };
            let gradients = network.trainable().iter().map(of_grad).fold(0.0, f64::max);
            println!("{name}: logits {forward:.1e}, gradients {gradients:.1e}");
            assert!(forward < 1e-5 && gradients < 1e-5, "{name}: {forward:e}, {gradients:e}");
            // What it was before it trains is the model with the adapters, not without.
            let reference = network.reference(Precision::Fp32).unwrap();
            assert!(far(&logits(&reference, &tokens), &expected.get("merged.logits")) < 1e-5, "{name}");
            let folder = tempfile::tempdir().unwrap();
            network.save_adapter(folder.path(), None).unwrap();
            // From the folder of a model, too, whose adapters lie below it.
            let again = continued(of, folder.path(), params).unwrap();
            for (one, other) in network.trainable().iter().zip(again.trainable()) {
                assert!(one.tensor.equal(&other.tensor) && one.name == other.name, "{name}: {}", one.name);
            }
        }
    }
}

#[test]
fn adapters_that_are_not_what_the_step_says_are_named() {
    let params = AdapterParams::default();
    let told = |of: &str, params: &AdapterParams, folder: &Path| {
        let error = continued(of, folder, params).unwrap_err();
        let text = error.to_string();
        (error, text.split_once(".json: ").map_or(text.clone(), |(_, rest)| rest.to_owned()))
    };
    let whole = folder_of("rslora", |_| ());
    let written = [
        (AdapterParams { rank: Some(8), ..params.clone() }, "lora.rank: expected 8, got 3"),
        (AdapterParams { alpha: Some(8.0), ..params.clone() }, "lora.alpha: expected 8, got 5"),
        (
            AdapterParams { use_rslora: Some(false), ..params.clone() },
            "lora.use_rslora: expected false, got true",
        ),
        (
            AdapterParams { targets: Some(vec![LoraTarget::Q, LoraTarget::K]), ..params.clone() },
            "lora.targets: expected q, k, got q, v, down",
        ),
    ];
    for (params, expected) in written {
        let (error, text) = told("llama_biased", &params, whole.path());
        assert!(matches!(error, ModelError::AdapterMismatch { .. }) && text == expected, "{error:?}");
    }
    let (error, text) = told("gpt2", &params, whole.path());
    assert!(matches!(error, ModelError::AdapterMismatch { .. }), "{error:?}");
    assert!(
        text.starts_with("lora.targets: expected modules of this model, such as transformer.h."),
        "{text}"
    );
    // Of another width: the tensor is named.
    let (error, _) = told("llama", &params, folder_of("llama", |config| config["r"] = 5.into()).path());
    assert!(
        matches!(error, ModelError::TensorShape { ref expected, .. } if expected.contains(&5)),
        "{error:?}"
    );
    let (error, text) = told(
        "llama_biased",
        &params,
        folder_of("rslora", |config| config["target_modules"] = serde_json::json!(["q_proj", "v_proj"]))
            .path(),
    );
    assert!(matches!(error, ModelError::AdapterMismatch { .. }) && text.contains("down_proj"), "{text}");
}

#[test]
fn adapters_of_another_form_are_refused_by_the_field() {
    let forms: [(&str, serde_json::Value); 7] = [
        ("peft_type", "IA3".into()),
        ("bias", "all".into()),
        ("use_dora", true.into()),
        ("rank_pattern", serde_json::json!({ "q_proj": 8 })),
        ("modules_to_save", serde_json::json!(["score"])),
        ("init_lora_weights", "pissa".into()),
        ("something_of_a_later_version", 3.into()),
    ];
    for (field, value) in forms {
        let folder = folder_of("llama", |config| config[field] = value.clone());
        let error = continued("llama", folder.path(), &AdapterParams::default()).unwrap_err();
        assert!(
            matches!(error, ModelError::AdapterForm { field: ref named, .. } if named == field),
            "{error:?}"
        );
    }
    // Files that are not whole: no weights, weights as a Python program, and weights of some layers.
    let folder = folder_of("llama", |_| ());
    let weights = folder.path().join("adapter_model.safetensors");
    let some: Vec<(String, Tensor)> = {
        let file = File::read(&weights);
        file.names()
            .into_iter()
            .filter(|name| !name.contains("layers.1.self_attn.q"))
            .map(|name| (name.clone(), file.get(&name)))
            .collect()
    };
    Tensor::write_safetensors(&some, &weights).unwrap();
    let error = continued("llama", folder.path(), &AdapterParams::default()).unwrap_err();
    assert!(
        error.to_string().ends_with("lora.targets: expected `q` in each of 2 layers, got in 1"),
        "{error}"
    );
    std::fs::rename(&weights, folder.path().join("adapter_model.bin")).unwrap();
    let error = continued("llama", folder.path(), &AdapterParams::default()).unwrap_err();
    assert!(matches!(error, ModelError::Pickle { .. }), "{error:?}");
}
