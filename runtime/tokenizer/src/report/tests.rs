//! A tokenizer of words and bytes, and what the report says of it.

use super::*;

/// Special token, the bytes, and three more.
fn tokens() -> Vec<Vec<u8>> {
    let bytes = (0..=255_u8).map(|byte| vec![byte]);
    let words = ["the", " cat", "日本"].map(|text| text.as_bytes().to_vec());
    [b"<s>".to_vec()].into_iter().chain(bytes).chain(words).collect()
}

fn encode(text: &str, ids: &mut Vec<u32>) {
    let tokens = tokens();
    let mut rest = text.as_bytes();
    while let Some(first) = rest.first() {
        let word = (257..260).find(|id| rest.starts_with(&tokens[*id]));
        let id = word.unwrap_or(1 + usize::from(*first));
        ids.push(id as u32);
        rest = &rest[tokens[id].len()..];
    }
}

fn made(samples: &[Sample]) -> TokenizerReport {
    let tokens = tokens();
    let subject = Subject { tokens: &tokens, specials: &[0], encode: &encode };
    let words = |text: &str| text.split(' ').count();
    report(&subject, samples, &[Reference { name: "words", count: &words }])
}

#[test]
fn groups_are_summed_and_compared() {
    let sample = |axis, group, text| Sample { axis, group, text };
    let report = made(&[
        sample(Axis::Language, "en", "the cat"),
        sample(Axis::Domain, "books", "the cat the"),
        sample(Axis::Language, "ja", "日本"),
        sample(Axis::Language, "en", "a"),
        sample(Axis::Language, "none", ""),
    ]);
    let groups: Vec<&str> = report.compression.iter().map(|group| &group.group[..]).collect();
    assert_eq!(groups, ["books", "en", "ja", "none"]);
    let english = &report.compression[1];
    assert_eq!((english.num_texts, english.num_bytes, english.num_tokens), (2, 8, 3));
    assert_eq!(english.references[0].num_tokens, 3);
    assert_eq!((english.references[0].ratio, english.bytes_per_token), (Some(1.0), Some(8.0 / 3.0)));
    assert_eq!((report.compression[2].num_chars, report.compression[2].num_bytes), (2, 6));
    assert_eq!(report.compression[3].bytes_per_token, None);
}

#[test]
fn a_document_of_a_domain_and_a_language_is_used_and_encoded_once() {
    let sample = |axis, group, text| Sample { axis, group, text };
    let domains = [sample(Axis::Domain, "books", "the cat"), sample(Axis::Domain, "code", "7 7")];
    // The code has no language, and another document is equal to the book.
    let more = [sample(Axis::Language, "en", "the cat"), sample(Axis::Domain, "books", "the cat")];
    let both = [domains, more].concat();
    let calls = std::sync::atomic::AtomicUsize::new(0);
    let counted = |text: &str, ids: &mut Vec<u32>| {
        calls.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        encode(text, ids);
    };
    let tokens = tokens();
    let subject = Subject { tokens: &tokens, specials: &[0], encode: &counted };
    let told = report(&subject, &both, &[]);
    // The two texts, and the report's examples.
    assert_eq!(calls.into_inner(), 2 + told.examples.len());
    assert_eq!(told.usage, made(&[domains[0], domains[1], domains[0]]).usage);
    let word = |usage: &Usage| usage.kinds.iter().find(|usage| usage.kind == Kind::Word).cloned().unwrap();
    assert_eq!((word(&told.usage).num_occurrences, word(&told.usage).share_of_text), (2, Some(2.0 / 7.0)));
    let groups: Vec<(&str, u64)> =
        told.compression.iter().map(|group| (&group.group[..], group.num_texts)).collect();
    assert_eq!(groups, [("books", 2), ("code", 1), ("en", 1)]);
    // Where nothing has a domain, the languages count.
    assert_eq!(word(&made(&[both[2]]).usage).num_occurrences, 1);
}

#[test]
fn use_kinds_and_longest_tokens_are_told() {
    let report = made(&[Sample { axis: Axis::Domain, group: "x", text: "the cat the 7é" }]);
    // the, " cat", " ", 7, and the two bytes of é.
    assert_eq!((report.usage.num_tokens, report.usage.num_used, report.usage.num_unused), (259, 6, 253));
    let kind = |kind| report.usage.kinds.iter().find(|usage| usage.kind == kind).unwrap();
    assert_eq!((kind(Kind::Special).num_tokens, kind(Kind::Special).num_used), (1, 0));
    assert_eq!((kind(Kind::Fragment).num_tokens, kind(Kind::Fragment).num_occurrences), (128, 2));
    assert_eq!((kind(Kind::Word).num_tokens, kind(Kind::Word).num_occurrences), (53, 2));
    assert_eq!(kind(Kind::SpacedWord).num_used, 1);
    assert_eq!(kind(Kind::OtherScript).num_tokens, 1);
    let share: f64 = report.usage.kinds.iter().map(|usage| usage.share_of_text.unwrap()).sum();
    assert!((share - 1.0).abs() < 1e-12);
    let longest: Vec<&str> = report.longest.iter().take(4).map(|token| &token.text[..]).collect();
    assert_eq!(longest, ["日本", " cat", "the", "\0"]);
}

#[test]
fn examples_show_pieces_with_ids_and_the_report_is_read_back() {
    let report = made(&[]);
    assert_eq!(report.usage.share_used, Some(0.0));
    let number = &report.examples[0];
    let pieces: Vec<(&str, u32)> = number.tokens.iter().map(|token| (&token.text[..], token.id)).collect();
    assert_eq!((&number.text[..], pieces), ("327", vec![("3", 52), ("2", 51), ("7", 56)]));
    let chinese = report.examples.iter().find(|example| example.name == "chinese").unwrap();
    assert_eq!(chinese.tokens[0].text, "<E6>");
    for example in &report.examples {
        assert_eq!(example.num_tokens as usize, example.tokens.len());
    }
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(serde_json::from_str::<TokenizerReport>(&json).unwrap(), report);
}

#[test]
fn the_page_shows_every_part_and_escapes_what_texts_and_names_say() {
    let sample = |axis, group, text| Sample { axis, group, text };
    let report =
        made(&[sample(Axis::Domain, "<b>books", "the cat the"), sample(Axis::Language, "en", "the cat")]);
    let page = page(&[("tokens", "260".to_owned()), ("trained & kept", "<1>".to_owned())], &report);
    for told in [
        "<td>trained &amp; kept</td><td>&lt;1&gt;</td>",
        "<h2>Bytes per token by domain</h2>",
        "<td>&lt;b&gt;books</td><td>1</td><td>11</td><td>4</td><td>2.750</td><td>3.667</td><td class=\"bad\">0.750</td>",
        "<h2>Bytes per token by language</h2>",
        "<th>words</th>",
        "<td>words with a space</td>",
        "<td class=\"text\"> cat</td>",
        "<h3>number of 3: 3 tokens</h3>",
        "&lt;</span>",
    ] {
        assert!(page.contains(told), "{told}");
    }
    assert!(!page.contains("<b>books") && page.ends_with("</html>\n"));
    assert!(!made(&[]).compression.iter().any(|group| group.axis == Axis::Language));
}
