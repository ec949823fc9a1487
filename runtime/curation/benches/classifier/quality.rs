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
    let lengths: Vec<(f32, bool)> = judged.iter().map(|(text, keep)| (text.len() as f32, *keep)).collect();
    println!("by length alone: ROC-AUC {:.3?}", roc_auc(&lengths).unwrap());
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

/// What people wrote to be read: the main text of articles and documentation, an encyclopedia, answers.
fn positives(data: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for path in data::folder(&data.join("html/wcxb"), ".json.gz") {
        let page: Value = serde_json::from_str(&data::unpack(&path)).unwrap();
        if is_prose(&page) {
            out.extend(passages(page["ground_truth"]["main_content"].as_str().unwrap_or_default(), WORDS));
        }
    }
    for path in ["text/wikitext2-valid.txt.gz", "text/wikitext2-test.txt.gz"] {
        out.extend(passages(&data::unpack(&data.join(path)), WORDS));
    }
    let alpaca: Value =
        serde_json::from_str(&data::unpack(&data.join("instruct/alpaca_en_demo.json.gz"))).unwrap();
    for one in alpaca.as_array().unwrap() {
        out.extend(passages(one["output"].as_str().unwrap_or_default(), WORDS));
    }
    out
}

/// What stands around it: listings, shops, menus, as much text as a page has without its tags.
fn negatives(data: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for path in data::folder(&data.join("html/wcxb"), ".json.gz") {
        let page: Value = serde_json::from_str(&data::unpack(&path)).unwrap();
        if !is_prose(&page) {
            let path = path.to_string_lossy().replace(".json.gz", ".html.gz");
            out.extend(passages(&without_tags(&data::unpack(Path::new(&path))), WORDS));
        }
    }
    out
}

/// Words of a passage: both kinds in pieces of one length, so that nothing but their words tells them apart.
const WORDS: usize = 100;

fn is_prose(page: &Value) -> bool {
    matches!(page["_internal"]["page_type"]["primary"].as_str(), Some("article" | "documentation"))
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
