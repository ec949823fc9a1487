//! A quality classifier against what people judged: 281 web documents to keep or to drop.

use super::{Example, Loss, Path, Settings, Value, average_precision, data, json, roc_auc, train};

/// Trains on text that is likely good and web pages as they come, and scores the judged documents. Nothing is chosen by those.
pub(super) fn measure(data: &Path) {
    let judged: Vec<(String, bool)> = data::unpack(&data.join("labels/quality-agreement.jsonl.gz"))
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["text"].as_str().unwrap().to_owned(), line["label"] == json!(1)))
        .collect();
    let positives = positives(data);
    let negatives = negatives(data);
    println!("{} positives, {} negatives", positives.len(), negatives.len());
    let texts = positives.iter().map(|text| (text, 1)).chain(negatives.iter().map(|text| (text, 0)));
    let examples: Vec<Example<'_>> = texts.map(|(text, label)| Example { text, label }).collect();
    for (word_ngrams, loss) in [(1, Loss::Softmax), (2, Loss::Softmax), (2, Loss::OneVsAll)] {
        let settings = Settings { word_ngrams, loss, ..Settings::default() };
        let model = train(&examples, &["drop".into(), "keep".into()], &settings, 1).unwrap();
        let texts: Vec<&str> = judged.iter().map(|(text, _)| text.as_str()).collect();
        let scores = model.score_all(&texts, 1, 1).unwrap();
        let scored: Vec<(f32, bool)> = scores.into_iter().zip(judged.iter().map(|(_, keep)| *keep)).collect();
        let (area, precision) = (roc_auc(&scored).unwrap(), average_precision(&scored, 1).unwrap());
        println!(
            "trained on shared text, {word_ngrams}-grams, {loss:?}: ROC-AUC {area:.3?}, average precision {precision:.3?}"
        );
    }
    let scored = folds(&judged);
    println!("trained on nine tenths of the judged: ROC-AUC {:.3?}", roc_auc(&scored).unwrap());
}

/// Ten-fold: how much of what people saw is in the words at all.
fn folds(judged: &[(String, bool)]) -> Vec<(f32, bool)> {
    let settings = Settings { dim: 10, epochs: 25, lr: 0.5, word_ngrams: 2, ..Settings::default() };
    let mut scored = Vec::new();
    for fold in 0..10 {
        let of = |held: bool| judged.iter().enumerate().filter(move |(at, _)| (at % 10 == fold) == held);
        let example = |(_, (text, keep)): (usize, &'_ (String, bool))| (text.clone(), u32::from(*keep));
        let texts: Vec<(String, u32)> = of(false).map(example).collect();
        let examples: Vec<Example<'_>> =
            texts.iter().map(|(text, label)| Example { text, label: *label }).collect();
        let model = train(&examples, &["drop".into(), "keep".into()], &settings, 1).unwrap();
        let mut scratch = super::Scratch::default();
        scored.extend(of(true).map(|(_, (text, keep))| (model.predict(text, &mut scratch)[1], *keep)));
    }
    scored
}

/// Answers and explanations as people or good models write them, articles of an encyclopedia, and marked-up main texts of articles.
fn positives(data: &Path) -> Vec<String> {
    let mut out = Vec::new();
    let alpaca: Value =
        serde_json::from_str(&data::unpack(&data.join("instruct/alpaca_en_demo.json.gz"))).unwrap();
    for one in alpaca.as_array().unwrap() {
        let part = |name: &str| one[name].as_str().unwrap_or_default().to_owned();
        out.push(format!("{}\n{}\n{}", part("instruction"), part("input"), part("output")));
    }
    for path in ["text/wikitext2-valid.txt.gz", "text/wikitext2-test.txt.gz"] {
        out.extend(passages(&data::unpack(&data.join(path)), 300));
    }
    out
}

/// Everything that is on a page, menus too.
fn negatives(data: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for folder in ["html/wcxb", "html/scrapinghub"] {
        for path in data::folder(&data.join(folder), ".html.gz") {
            out.extend(passages(&without_tags(&data::unpack(&path)), 300).into_iter().take(4));
        }
    }
    out
}

fn passages(text: &str, words: usize) -> Vec<String> {
    let all: Vec<&str> = text.split_whitespace().collect();
    all.chunks(words).filter(|passage| passage.len() > 30).map(|passage| passage.join(" ")).collect()
}

/// A page's text, tags, scripts and styles cut out.
fn without_tags(page: &str) -> String {
    let mut out = String::new();
    let mut rest = page;
    while let Some(at) = rest.find('<') {
        out.push_str(&rest[..at]);
        out.push(' ');
        rest = &rest[at..];
        let closing = ["script", "style"].iter().find(|name| rest[1..].starts_with(**name));
        let end = match closing {
            Some(name) => rest.find(&format!("</{name}")).map_or(rest.len(), |at| at + 1),
            None => rest.find('>').map_or(rest.len(), |at| at + 1),
        };
        rest = &rest[end..];
    }
    out + rest
}
