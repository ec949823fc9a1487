//! Whole pages: trees of broken HTML, Markdown, limits.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::dom::Dom;
use super::tree::parse;
use super::*;

/// A tree as text: names of elements as numbers of their tags, texts in quotes.
fn outline(html: &str) -> String {
    let dom = parse(html, Scripts::Run, Limits::default()).unwrap();
    let mut out = String::new();
    write_outline(&dom, 0, &mut out);
    out
}

fn write_outline(dom: &Dom, id: u32, out: &mut String) {
    for child in dom.children(id) {
        let node = dom.node(child);
        if node.is_text() {
            out.push_str(dom.text(node).trim());
        } else {
            let _ = write!(out, "<{:?}>", node.tag);
            write_outline(dom, child, out);
            out.push_str("</>");
        }
    }
}

fn all() -> ExtractOptions {
    ExtractOptions { main_content: false, ..ExtractOptions::default() }
}

/// All text of a page as Markdown.
fn markdown(html: &str) -> String {
    extract(html, None, &all()).unwrap().text
}

#[test]
fn implied_tags_are_opened_and_closed() {
    for (html, tree) in [
        ("<p>a<p>b<div>c</div>", "<P>a</><P>b</><Div>c</>"),
        ("<ul><li>a<ul><li>b</ul><li>c</ul>d", "<Ul><Li>a<Ul><Li>b</></></><Li>c</></>d"),
        ("<dl><dt>a<dd>b<dt>c</dl>", "<Dl><Dt>a</><Dd>b</><Dt>c</></>"),
        ("<table><tr><td>a<td>b<tr><th>c</table>d", "<Table><Tr><Td>a</><Td>b</></><Tr><Th>c</></></>d"),
        (
            "<table><thead><tr><td>a<tbody><tr><td>b</table>",
            "<Table><Thead><Tr><Td>a</></></><Tbody><Tr><Td>b</></></></>",
        ),
        ("<table><td>a<table><tr><td>b</table>c", "<Table><Tr><Td>a<Table><Tr><Td>b</></></>c</></></>"),
        (
            "<select><option>a<option>b<optgroup><option>c</select>",
            "<Select><Option>a</><Option>b</><Optgroup><Option>c</></></>",
        ),
        ("<h1>a<h2>b</h1>c", "<H1>a</><H2>b</>c"),
        ("<title>a</title><p>b", "<Title>a</><P>b</>"),
        ("<html><head><meta name=a><p>b</html>c", "<Html><Head><Meta></></><P>bc</></>"),
        ("<p>a</b></div></td>b", "<P>ab</>"),
        ("a</p>b</br>c", "ab<Br></>c"),
        ("<form><form>a</form>b", "<Form>a</>b"),
        ("<tr><td>a", "a"),
    ] {
        assert_eq!(outline(html), tree, "{html}");
    }
}

#[test]
fn formatting_that_is_nested_wrongly_keeps_its_text() {
    assert_eq!(outline("<b>a<i>b</b>c</i>d"), "<B>a<I>b</></>cd");
    assert_eq!(outline("<a href=x>a<div>b</a>c</div>d"), "<A>a<Div>b</></><Div>c</>d");
    assert_eq!(outline("<a>a<a>b"), "<A>a</><A>b</>");
    assert_eq!(outline("<b><p>a</b>b</p>c"), "<B><P>ab</>c</>");
    assert_eq!(outline("<p><span>a<my-tag>b</span>c"), "<P><Span>a<Unknown>b</></>c</>");
    assert_eq!(outline("<x-a><x-b>a</x-a>b"), "<Unknown><Unknown>a</></>b");
}

#[test]
fn raw_text_ends_where_it_should() {
    for (html, text) in [
        ("<script>if (a</b) '</scripty>'</script>a", "a"),
        ("<script><!-- <script>x</script> --></script>a", "a"),
        ("<script><!-- x</script>a", "a"),
        ("<script><!-- <script> x</script>a", "a"),
        ("<style>a{}</STYLE >b", "b"),
        ("<textarea><b>&amp;</textarea>b", "b"),
        ("<xmp><b></xmp>", "```\n<b>\n```"),
        ("<noscript><p>a</noscript>b", "b"),
        ("<!-- a --!>b<!-->c<!--->d<!doctype html>e<?x?>f<![CDATA[g]]>h</ i>j", "bcdefhj"),
        ("<svg><title>a</title><p>b", "b"),
        ("<svg><![CDATA[<p>]]></svg>a", "a"),
        ("<template><p>a</template>b<template shadowrootmode=open>c</template>", "bc"),
        ("a<plaintext>b</plaintext><b>", "a\n\n```\nb</plaintext><b>\n```"),
        ("a < b <3 <", "a < b <3 <"),
        ("a<b", "a"),
        ("<p title='>'>a<p title=\"</p>\">b", "a\n\nb"),
        ("&lt;p&gt; &amp;amp; &eacute;", "<p> &amp; é"),
    ] {
        assert_eq!(markdown(html), text, "{html}");
    }
}

#[test]
fn the_first_of_two_attributes_counts() {
    let dom =
        parse("<a HREF=x href=y id='&lt;' class=\"a\"/class=b>", Scripts::Run, Limits::default()).unwrap();
    let value = |name| dom.attribute(1, name);
    assert_eq!(
        (value(dom::Attr::Href), value(dom::Attr::Id), value(dom::Attr::Class)),
        (Some("x"), Some("<"), Some("a"))
    );
}

#[test]
fn structure_becomes_markdown() {
    for (html, text) in [
        ("<h1>A</h1><h3>B\n c</h3><p>d <b>e</b><i> f</i>g", "# A\n\n### B c\n\nd e fg"),
        ("<ul><li>a<ul><li>b<li>c</ul><li>d</ul><p>e", "- a\n  - b\n  - c\n- d\n\ne"),
        ("<ol start=3><li>a<li><p>b<p>c<li>d</ol>", "3. a\n4. b\n\n   c\n5. d"),
        ("<blockquote><p>a<p>b<blockquote>c</blockquote></blockquote>d", "> a\n\n> b\n\n> > c\n\nd"),
        (
            "<pre><code class='hljs language-Rust'>\nfn a() {\n    b\n}\n</code></pre>",
            "```rust\nfn a() {\n    b\n}\n```",
        ),
        ("<div class='highlight highlight-source-c'><pre>a<br>b</pre></div>", "```c\na\nb\n```"),
        ("<pre><div>a</div><div>  b</div></pre>", "```\na\n  b\n```"),
        ("<pre>a ``` b</pre>", "````\na ``` b\n````"),
        ("<table><tr><td class=gutter>1<td><pre>x</pre></table>", "```\nx\n```"),
        ("<p>call <code>f(x)</code>, or <kbd>Ctrl</kbd>", "call `f(x)`, or `Ctrl`"),
        ("a<br>b<br><br>c", "a\nb\n\nc"),
        ("<dl><dt>a<dd>b</dl>", "a\n\n: b"),
        (
            "<table><caption>T</caption><tr><th>a<th>b<tr><td>1|2<td><p>3<p>4<tr><td><td colspan=2>5</table>",
            "T\n\n| a | b |\n| --- | --- |\n| 1\\|2 | 3 4 |\n|  | 5 |",
        ),
        ("<table><tr><td><h2>a</h2><p>b<td>c<tr><td>d<td>e</table>", "a\n\nb\n\nc\n\nd\n\ne"),
        ("<p>so <math><mi>x</mi><mo>=</mo><mn>1</mn></math>.", "so $x=1$."),
        ("<p>a</p><span>b</span> <span>c</span>", "a\n\nb c"),
    ] {
        assert_eq!(markdown(html), text, "{html}");
    }
}

#[test]
fn options_leave_code_and_formulas_out() {
    let html = "<p>a <math><mi>x</mi></math> b</p><pre>code</pre>";
    let text = |options: ExtractOptions| extract(html, None, &options).unwrap().text;
    assert_eq!(text(ExtractOptions { keep_code: false, ..all() }), "a $x$ b");
    assert_eq!(text(ExtractOptions { keep_math: false, ..all() }), "a b\n\n```\ncode\n```");
    assert_eq!(text(ExtractOptions { format: Format::Text, ..all() }), "a $x$ b\n\ncode");
}

#[test]
fn a_page_says_what_it_is() {
    let html = "<html lang='de-AT'><head><title>T | Site</title><meta property=og:title content='T'><meta property=og:site_name content=Site>\
        <link rel='canonical' href='https://a.b/c'><meta name=author content='A B'><meta name=description content='About'>\
        <script type='application/ld+json'>{\"@type\":\"NewsArticle\",\"datePublished\":\"2024-05-06\"}</script></head><body><p>x";
    let page = extract(html, None, &all()).unwrap();
    assert_eq!(
        (page.title.as_deref(), page.language.as_deref(), page.site_name.as_deref()),
        (Some("T"), Some("de-AT"), Some("Site"))
    );
    assert_eq!(
        (page.canonical_url.as_deref(), page.published.as_deref(), page.author.as_deref()),
        (Some("https://a.b/c"), Some("2024-05-06"), Some("A B"))
    );
    assert_eq!(page.description.as_deref(), Some("About"));
}

/// A page with a menu, an article, a sidebar and a footer.
fn article() -> String {
    let sentence = "The committee met on Tuesday, and after a long debate it decided that the bridge should be repaired before the winter comes. ";
    let paragraphs: String =
        (0..8).fold(String::new(), |all, number| format!("{all}<p>{number}. {}</p>", sentence.repeat(3)));
    let links: String = (0..12)
        .fold(String::new(), |all, number| format!("{all}<li><a href=/{number}>Section {number}</a></li>"));
    format!(
        "<html><head><title>The bridge</title><meta property=og:type content=article></head><body><nav class=menu><ul>{links}</ul></nav><main><article><h1>The bridge</h1>\
         <div class=article-body>{paragraphs}</div></article></main><aside class=related><h2>Related articles</h2><ul>{links}</ul></aside>\
         <footer class=footer><p>© 2024 Example. All rights reserved. Privacy policy</p></footer></body></html>"
    )
}

#[test]
fn an_article_is_kept_and_what_is_around_it_is_not() {
    let page = extract(&article(), Some("https://example.org/news/2024/bridge"), &ExtractOptions::default())
        .unwrap();
    assert!((0..8).all(|number| page.text.contains(&format!("{number}. The committee"))), "{}", page.text);
    assert!(!page.text.contains("Section 3") && !page.text.contains("All rights reserved"), "{}", page.text);
    assert_eq!(page.page_type, PageType::Article);
}

#[test]
fn an_article_that_a_script_would_show_is_taken_from_the_data() {
    let body = "A sentence of the article that is long enough to count. ".repeat(20);
    let html = format!(
        "<script type='application/ld+json'>{{\"@type\":\"Article\",\"articleBody\":\"<p>{body}</p>\"}}</script><div id=app>Loading</div>"
    );
    let page = extract(&html, None, &ExtractOptions::default()).unwrap();
    assert!(
        page.is_from_data && page.text.starts_with("A sentence of the article") && !page.text.contains('<')
    );
}

#[test]
fn a_text_for_readers_without_scripts_is_read_where_the_page_shows_less() {
    let sentence = "A reply of the forum that is long enough to count, and has more than one clause. ";
    let posts: String = (0..6).fold(String::new(), |all, number| {
        format!("{all}<div class=post><p>{number}. {}</p></div>", sentence.repeat(3))
    });
    let app = format!("<div id=app>Loading</div><noscript><main>{posts}</main></noscript>");
    let text = markdown(&app);
    assert!((0..6).all(|number| text.contains(&format!("{number}. A reply"))), "{text}");
    let shown = format!("<main>{posts}{posts}</main><noscript>{posts}</noscript>");
    assert_eq!(markdown(&shown).matches("0. A reply").count(), 2);
    let switch = "<p>Shown.</p><noscript>Please enable scripts.</noscript>";
    assert_eq!(markdown(switch), "Shown.");
    assert_eq!(links(&app.replace("<p>", "<p><a href=/x>"), "https://a.b/").unwrap().len(), 1);
}

#[test]
fn the_models_are_whole() {
    let explanation = explain(&article(), None, Limits::default()).unwrap();
    let width = explanation.names.len();
    assert!(explanation.blocks.iter().all(|block| block.features.len() == width));
    assert!(model::FIRST.is_whole(width));
    assert!(model::SECOND.is_whole(width + context::NAMES.len()));
    let whole_from = explanation.names.iter().position(|name| name == "page.blocks").unwrap();
    assert!(model::KINDS.is_whole(width - whole_from));
}

fn limit(html: &str, limits: Limits) -> Work {
    match extract(html, None, &ExtractOptions { limits, ..all() }) {
        Err(HtmlError::Limit { what, .. }) => what,
        Ok(page) => panic!("{} bytes of text", page.text.len()),
    }
}

#[test]
fn too_much_is_an_error_with_a_name() {
    let limits = Limits { max_bytes: 1_000, max_nodes: 100, max_depth: 50, max_blocks: 40 };
    assert_eq!(limit(&"a".repeat(1_001), limits), Work::Bytes);
    assert_eq!(limit(&"<i>".repeat(60), limits), Work::Depth);
    assert_eq!(limit(&"<br>".repeat(110), limits), Work::Nodes);
    assert_eq!(limit(&"<p>a".repeat(45), limits), Work::Blocks);
    assert_eq!(limit(&"<div>".repeat(10_000), Limits::default()), Work::Depth);
    let tangled = format!("{}<p>{}{}", "<p>", "<ruby>".repeat(4_000), "<table><td></p>".repeat(9));
    assert!(extract(&tangled, None, &all()).is_ok());
}

#[test]
fn hostile_pages_take_linear_work() {
    let megabyte = 1 << 20;
    let wide = Limits { max_bytes: 128 << 20, ..Limits::default() };
    for (start, piece, count) in [
        ("", "a", 100 * megabyte),
        ("", "<", megabyte),
        ("<!--", "-", megabyte),
        ("<a b=\"", "x", megabyte),
        ("<script>", "<!--<script></script>", megabyte / 20),
        ("<p>", "</p>", megabyte),
        ("<a>", "<div></a>", 60_000),
        ("", "&#38;&amp;&am", 200_000),
        ("<table>", "<td>", 50_000),
        ("<ul>", "<li>a", 30_000),
        ("<math>", "<msqrt>", 4_000),
        ("", "<span class=katex>", 4_000),
        ("", "<b><i><a href=x>", 1_300),
        ("<select>", "<option>", 200_000),
        ("<svg>", "<g/>", 300_000),
        ("<title>", "<h1>", 100_000),
    ] {
        let page = format!("{start}{}", piece.repeat(count));
        // Dropped and named, or read: both are fine, to hang is not.
        let _ = extract(&page, None, &ExtractOptions { limits: wide, ..ExtractOptions::default() });
    }
}

/// Pieces that HTML is made of, to be put together at random.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = "<p>¦</p>¦<div class=\"a b\">¦</div>¦<a href='x'>¦</a>¦<b>¦</b>¦<table>¦<tr>¦<td>¦</table>¦\
        <ul>¦<li>¦</ul>¦<pre>¦</pre>¦<code>¦</code>¦<math>¦<mfrac>¦<mi>¦</math>¦<svg>¦</svg>¦\
        <script>¦</script>¦<!--¦-->¦<br>¦<br/>¦&amp;¦&#x41;¦&¦<¦>¦\"¦text ¦é€¦\0¦<template>¦\
        </template>¦<select>¦<option>¦<h1>¦</h2>¦<title>¦<blockquote>¦<dl><dt>¦<dd>¦<![CDATA[¦]]>¦\
        <body>¦</body>¦<html lang=x>¦<head>¦<plaintext>¦<span class=katex>¦<img class=tex alt='$'>¦\
        <form>¦\n¦  ¦`¦|¦<caption>¦<td colspan=9>";
    let piece = prop::sample::select(pieces.split('¦').collect::<Vec<_>>());
    prop::collection::vec(piece, 0..80).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn nothing_panics_and_formats_agree_on_what_is_kept(html in pieces()) {
        let options = ExtractOptions::default();
        let markdown = extract(&html, Some(&html), &options).unwrap();
        let text = extract(&html, Some(&html), &ExtractOptions { format: Format::Text, ..options }).unwrap();
        prop_assert_eq!(markdown.num_kept, text.num_kept);
        prop_assert_eq!(&markdown, &extract(&html, Some(&html), &options).unwrap());
        let dom = parse(&html, Scripts::Run, Limits::default()).unwrap();
        for id in 1..dom.len() {
            let node = dom.node(id);
            prop_assert!(node.parent < id && node.end > id && node.end <= dom.node(node.parent).end);
        }
        let _ = links(&html, "https://example.org/");
    }

    #[test]
    fn any_text_is_a_page(html in "\\PC{0,200}") {
        prop_assert!(extract(&html, None, &ExtractOptions::default()).is_ok());
    }
}
