use std::io::Write;

use proptest::prelude::*;

use super::*;
use crate::classifier::LinkSet;

const DUMP: &str = r#"<mediawiki xmlns="http://www.mediawiki.org/xml/export-0.11/">
<siteinfo><base>https://en.wikipedia.org/wiki/Main_Page</base></siteinfo>
<page><title>Ferry</title><ns>0</ns><revision><text bytes="9" xml:space="preserve">A ferry.&lt;ref&gt;{{cite web |url=https://Example.org/ferry/?utm_source=w&amp;amp;id=2 |title=A (b)}}&lt;/ref&gt;
See [http://harbour.example/a_(b) the harbour], https://bare.example/x. And (http://round.example/y), [//plain.example p],
{{cite news|archive-url=https://web.archive.org/web/2010/http://gone.example/z|url = //value.example/q}} [[File:http]] ''http://italic.example/i''.
[[//not]] and // a comment, http:// none.</text></revision></page>
<page><title>Talk:Ferry</title><ns>1</ns><revision><text>http://talk.example/</text></revision></page>
<page><title>Empty</title><ns>0</ns><revision><text bytes="0" /></revision></page>
<page><title>Last</title><ns>0</ns><revision><text>&#104;ttp://last.example</text></revision></page>
</mediawiki>"#;

const CITED: [&str; 9] = [
    "https://example.org/ferry?amp;id=2",
    "https://harbour.example/a_(b)",
    "https://bare.example/x",
    "https://round.example/y",
    "https://plain.example",
    "https://gone.example/z",
    "https://value.example/q",
    "https://italic.example/i",
    "https://last.example",
];

fn links(source: &[u8]) -> Vec<String> {
    extract_links(source, None).unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_dump_gives_what_its_articles_cite_packed_or_not() {
    let dump = DUMP.replace("&amp;amp;", "&amp;");
    let mut cited = CITED.to_vec();
    cited[0] = "https://example.org/ferry?id=2";
    assert_eq!(links(dump.as_bytes()), cited);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(dump.as_bytes()).unwrap();
    assert_eq!(links(&gzip.finish().unwrap()), cited);
    // Dumps are many streams behind each other.
    let (first, second) = dump.as_bytes().split_at(400);
    let mut packed = Vec::new();
    for part in [first, second] {
        let mut bzip = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip.write_all(part).unwrap();
        packed.extend(bzip.finish().unwrap());
    }
    assert_eq!(links(&packed), cited);
}

#[test]
fn what_is_escaped_twice_stays_escaped_once() {
    assert_eq!(links(DUMP.as_bytes()), CITED);
}

#[test]
fn a_page_gives_where_its_anchors_lead() {
    let page = r#"<!DOCTYPE html><title>x</title><a class=b href="https://one.example/a?x=1&amp;y=2">1</a>
<A HREF='//two.example/b' title="a > b">2</A><a href=http://three.example/c>3</a><a href="/local">4</a>
<a title="x > y" href = "http://four.example/">5</a><script>document.write('<a href="http://no.example/">')</script>
<abbr href="http://no.example/">x</abbr><area href="http://five.example/"><a name>6</a><a href="mailto:a@b.c">"#;
    let expected =
        ["one.example/a?x=1&y=2", "two.example/b", "three.example/c", "four.example", "five.example"];
    assert_eq!(links(page.as_bytes()), expected.map(|link| format!("https://{link}")));
}

#[test]
fn a_list_counts_what_is_no_address() {
    let list = "\u{feff}http://a.example/\n\n# comment\r\nhttps://www.b.example\nnonsense\n//c.example";
    let mut links = extract_links(list.as_bytes(), None).unwrap();
    let found: Vec<String> = links.by_ref().map(Result::unwrap).collect();
    assert_eq!(found, ["https://a.example", "https://b.example", "https://c.example"]);
    assert_eq!((links.skipped(), links.format()), (1, LinkFormat::List));
}

#[test]
fn a_set_knows_a_page_by_any_spelling() {
    let set = LinkSet::new(extract_links(DUMP.as_bytes(), None).unwrap()).unwrap();
    assert_eq!(set.len(), CITED.len());
    assert!(set.contains("http://www.bare.example/x/#there") && set.contains("http://gone.example/z"));
    assert!(!set.contains("http://talk.example/") && !set.contains("nonsense"));
    let mut both = LinkSet::default();
    both.merge(&set);
    both.merge(&set);
    assert!(both == set && !both.is_empty());
}

#[test]
fn a_damaged_archive_is_an_error_not_an_end() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(DUMP.repeat(50).as_bytes()).unwrap();
    let packed = gzip.finish().unwrap();
    let links = extract_links(&packed[..packed.len() / 2], None).unwrap();
    assert!(LinkSet::new(links).is_err());
}

#[test]
fn one_endless_piece_is_cut_and_counted() {
    let dump =
        format!("<mediawiki><page><ns>0</ns><text>{}</text></page>", "http://a.example/ ".repeat(1 << 20));
    let mut links = extract_links(dump.as_bytes(), None).unwrap();
    let count = links.by_ref().count();
    assert!(count > 900_000 && count < 1 << 20 && links.skipped() >= 1, "{count}");
}

proptest! {
    #[test]
    fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..300), start in 0usize..4) {
        let head = [&b"<mediawiki><text>"[..], b"<a href=", b"", b"BZh9"][start];
        let source = [head, &bytes].concat();
        if let Ok(links) = extract_links(&source[..], None) {
            let mut errors = 0;
            for link in links {
                errors += u32::from(link.is_err());
                if errors > 3 { break; }
            }
        }
    }
}
