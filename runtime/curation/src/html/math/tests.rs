//! Formulas as pages carry them.

use super::super::error::Limits;
use super::super::tree::{Scripts, parse};
use super::*;

/// The first formula of a page.
fn first(html: &str) -> Option<Formula> {
    let dom = parse(html, Scripts::Run, Limits::default()).unwrap();
    (1..dom.len())
        .filter(|id| !dom.node(*id).is_text() && may_be(dom.tag(*id)))
        .find_map(|id| formula(&dom, id))
}

fn mathml(inner: &str) -> String {
    first(&format!("<p><math>{inner}</math>")).unwrap().latex
}

#[test]
fn presentation_mathml_becomes_latex() {
    for (source, latex) in [
        ("<mfrac><mn>1</mn><mi>x</mi></mfrac>", r"\frac{1}{x}"),
        (
            "<msup><mi>e</mi><mrow><mi>i</mi><mi>π</mi></mrow></msup><mo>=</mo><mo>−</mo><mn>1</mn>",
            r"e^{i\pi}=-1",
        ),
        ("<msubsup><mi>x</mi><mi>i</mi><mn>2</mn></msubsup>", "x_{i}^{2}"),
        ("<msqrt><mi>a</mi><mo>+</mo><mi>b</mi></msqrt>", r"\sqrt{a+b}"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", r"\sqrt[3]{x}"),
        (
            "<munderover><mo>∑</mo><mrow><mi>i</mi><mo>=</mo><mn>1</mn></mrow><mi>n</mi></munderover><mi>i</mi>",
            r"\sum_{i=1}^{n}i",
        ),
        ("<mover><mi>x</mi><mo>^</mo></mover>", r"\hat{x}"),
        ("<mover><mi>v</mi><mo>→</mo></mover>", r"\vec{v}"),
        (
            "<munder><mi>lim</mi><mrow><mi>x</mi><mo>→</mo><mn>0</mn></mrow></munder>",
            r"\lim_{x\rightarrow 0}",
        ),
        (
            "<mo>(</mo><mtable><mtr><mtd><mi>a</mi></mtd><mtd><mi>b</mi></mtd></mtr><mtr><mtd><mi>c</mi></mtd><mtd><mi>d</mi></mtd></mtr></mtable><mo>)</mo>",
            r"(\begin{matrix} a & b \\ c & d \end{matrix})",
        ),
        (
            "<mrow><mo>(</mo><mtable><mtr><mtd><mi>a</mi></mtd></mtr></mtable><mo>)</mo></mrow>",
            r"\begin{pmatrix} a \end{pmatrix}",
        ),
        (
            "<mrow><mo>{</mo><mtable><mtr><mtd><mn>1</mn></mtd></mtr></mtable></mrow>",
            r"\begin{cases} 1 \end{cases}",
        ),
        ("<mfenced><mi>x</mi><mi>y</mi></mfenced>", "(x, y)"),
        ("<mfenced open='[' close=')' separators=';'><mi>x</mi><mi>y</mi></mfenced>", "[x; y)"),
        ("<mi>sin</mi><mi>x</mi>", r"\sin x"),
        ("<mtext>if $x</mtext>", r"\text{if x}"),
        ("<mi mathvariant='double-struck'>R</mi><mo>⊂</mo><mi>ℂ</mi>", r"\mathbb{R}\subset \mathbb{C}"),
        ("<mi>𝐱</mi><mo>&le;</mo><mi>&alpha;</mi>", r"\mathbf{x}\leq \alpha"),
        ("<mfrac linethickness='0'><mi>n</mi><mi>k</mi></mfrac>", r"\binom{n}{k}"),
        (
            "<mmultiscripts><mi>C</mi><mn>6</mn><none/><mprescripts/><mn>1</mn><mn>2</mn></mmultiscripts>",
            "{}_{1}^{2}C_{6}",
        ),
        ("<msup><mi>f</mi><mo>′</mo></msup><mo>‖</mo>", r"f'\|"),
    ] {
        assert_eq!(mathml(source), latex, "{source}");
    }
}

#[test]
fn what_the_author_wrote_wins() {
    let annotated = "<semantics><mrow><mi>x</mi></mrow><annotation encoding=\"application/x-tex\">x &amp;\n \\text{y}</annotation></semantics>";
    assert_eq!(mathml(annotated), r"x & \text{y}");
    let katex = format!(
        "<span class='katex-display'><span class='katex'><span class='katex-mathml'><math>{annotated}</math></span><span class='katex-html'>x</span></span></span>"
    );
    let formula = first(&katex).unwrap();
    assert_eq!((formula.latex.as_str(), formula.is_display), (r"x & \text{y}", true));
    let wikipedia = "<math alttext='{\\displaystyle {\\frac {1}{2}}}'><mn>1</mn></math>";
    assert_eq!(first(wikipedia).unwrap().latex, r"{\frac {1}{2}}");
}

#[test]
fn scripts_spans_and_pictures_carry_tex() {
    for (html, latex, is_display) in [
        ("<script type='math/tex; mode=display'>a<b</script>", "a<b", true),
        ("<script type='math/tex'>\\alpha</script>", "\\alpha", false),
        ("<span class='math inline'>\\(x^2\\)</span>", "x^2", false),
        ("<span class='math display'>\\[x\\]</span>", "x", true),
        ("<span data-tex='E=mc^2'>junk</span>", "E=mc^2", false),
        ("<img class='mwe-math-fallback-image-inline' alt='{\\displaystyle a+b}'>", "a+b", false),
        (
            "<mjx-container class='MathJax' display='true'><mjx-math></mjx-math><mjx-assistive-mml><math><mi>y</mi></math></mjx-assistive-mml></mjx-container>",
            "y",
            true,
        ),
    ] {
        let found = first(html).map(|formula| (formula.latex, formula.is_display));
        assert_eq!(found, Some((latex.to_owned(), is_display)), "{html}");
    }
    assert_eq!(first("<span class='math'>Mathematics</span>"), None);
    assert_eq!(first("<img class='photo' alt='A cat'>"), None);
}

#[test]
fn deep_nesting_is_no_call() {
    let html = format!("<math>{}<mi>x</mi>", "<msqrt>".repeat(3_000));
    assert!(first(&html).unwrap().latex.ends_with('}'));
}
