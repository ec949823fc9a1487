//! Vectors of texts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cupola_runtime::model::{Network, RowLayout};
use cupola_specs::job::Precision;
use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::fixture::{Fixture, with};

fn vector(value: &Value) -> Vec<f64> {
    value["embedding"].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
}

/// What the network itself gives for ids: its hidden states' mean or last, scaled to unit length.
fn expected(fixture: &Fixture, ids: &[i64], is_last: bool) -> Vec<f64> {
    let network = Network::load(&fixture.config.models[0].path, tch::Device::Cpu).unwrap();
    let tokens = Tensor::from_slice(ids).unsqueeze(0);
    let hidden =
        network.hidden(&tokens, &RowLayout::Causal, Precision::Fp32).squeeze_dim(0).to_kind(Kind::Double);
    let pooled = if is_last { hidden.select(0, -1) } else { hidden.sum_dim_intlist(0, false, Kind::Double) };
    Vec::try_from(&pooled / pooled.norm()).unwrap()
}

#[tokio::test]
async fn vectors_are_the_pooled_hidden_states_in_each_form() {
    let fixture = Fixture::new();
    let base = json!({"model": "tiny", "input": ["ab", "xyz"]});
    let answer = fixture.post("/v1/embeddings", &base).await.json();
    assert_eq!(answer["usage"], json!({"prompt_tokens": 7, "total_tokens": 7}));
    let means: Vec<Vec<f64>> = answer["data"].as_array().unwrap().iter().map(vector).collect();
    let close = |got: &[f64], wanted: &[f64]| {
        assert_eq!(got.len(), 32);
        for (got, wanted) in got.iter().zip(wanted) {
            assert!((got - wanted).abs() < 1e-6, "{got} and {wanted}");
        }
    };
    close(&means[0], &expected(&fixture, &[0, 101, 102], false));
    // Ids stand for themselves; the text's first token is the document's start.
    let ids = with(&base, &json!({"input": [[0, 101, 102], [0, 124]], "pooling": "last"}));
    let answer = fixture.post("/v1/embeddings", &ids).await.json();
    close(&vector(&answer["data"][0]), &expected(&fixture, &[0, 101, 102], true));
    let coded = with(&base, &json!({"encoding_format": "base64"}));
    let answer = fixture.post("/v1/embeddings", &coded).await.json();
    let bytes = STANDARD.decode(answer["data"][1]["embedding"].as_str().unwrap()).unwrap();
    let numbers: Vec<f64> =
        bytes.chunks(4).map(|four| f64::from(f32::from_le_bytes(four.try_into().unwrap()))).collect();
    close(&numbers, &means[1]);
}

#[tokio::test]
async fn bad_inputs_are_named() {
    let fixture = Fixture::new();
    let base = json!({"model": "tiny", "input": "a"});
    for (change, param) in [
        (json!({"input": null}), "input"),
        (json!({"input": ""}), "input"),
        (json!({"input": []}), "input"),
        (json!({"input": [9999]}), "input"),
        (json!({"input": "x".repeat(200)}), "input"),
        (json!({"encoding_format": "hex"}), "encoding_format"),
        (json!({"pooling": "max"}), "pooling"),
        (json!({"dimensions": 8}), "dimensions"),
        (json!({"colour": 1}), "colour"),
    ] {
        let reply = fixture.post("/v1/embeddings", &with(&base, &change)).await;
        assert_eq!(
            (reply.status.as_u16(), &reply.json()["error"]["param"]),
            (400, &json!(param)),
            "{change}"
        );
    }
}
