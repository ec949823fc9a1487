//! Characters of mathematics and the LaTeX commands that make them.

/// Characters that are a command, in the order of their code points.
const COMMANDS: &str = "¬ neg|± pm|· cdot|× times|÷ div|ı imath|Γ Gamma|Δ Delta|Θ Theta|Λ Lambda|Ξ Xi|Π Pi|Σ Sigma|Υ Upsilon|Φ Phi|Ψ Psi|Ω Omega|α alpha|\
β beta|γ gamma|δ delta|ε varepsilon|ζ zeta|η eta|θ theta|ι iota|κ kappa|λ lambda|μ mu|ν nu|ξ xi|π pi|ρ rho|ς varsigma|σ sigma|τ tau|υ upsilon|φ varphi|\
χ chi|ψ psi|ω omega|ϑ vartheta|ϕ phi|ϖ varpi|ϱ varrho|ϵ epsilon|† dagger|‡ ddagger|• bullet|… ldots|′ prime|″ prime\\prime|ℏ hbar|ℑ Im|ℓ ell|\
℘ wp|ℜ Re|ℵ aleph|ℶ beth|← leftarrow|↑ uparrow|→ rightarrow|↓ downarrow|↔ leftrightarrow|↕ updownarrow|↗ nearrow|↘ searrow|↙ swarrow|↖ nwarrow|↠ twoheadrightarrow|\
↣ rightarrowtail|↦ mapsto|↩ hookleftarrow|↪ hookrightarrow|↼ leftharpoonup|⇀ rightharpoonup|⇌ rightleftharpoons|⇐ Leftarrow|⇑ Uparrow|⇒ Rightarrow|⇓ Downarrow|\
⇔ Leftrightarrow|∀ forall|∁ complement|∂ partial|∃ exists|∄ nexists|∅ emptyset|∆ Delta|∇ nabla|∈ in|∉ notin|∋ ni|∏ prod|∐ coprod|∑ sum|− -|∓ mp|∖ setminus|∗ ast|\
∘ circ|∙ bullet|√ surd|∝ propto|∞ infty|∟ llcorner|∠ angle|∡ measuredangle|∣ mid|∤ nmid|∥ parallel|∦ nparallel|∧ land|∨ lor|∩ cap|∪ cup|∫ int|∬ iint|∭ iiint|∮ oint|\
∴ therefore|∵ because|∼ sim|≀ wr|≁ nsim|≃ simeq|≅ cong|≇ ncong|≈ approx|≉ not\\approx|≍ asymp|≐ doteq|≔ coloneqq|≜ triangleq|≠ neq|≡ equiv|≢ not\\equiv|≤ leq|≥ geq|\
≦ leqq|≧ geqq|≨ lneqq|≩ gneqq|≪ ll|≫ gg|≮ nless|≯ ngtr|≰ nleq|≱ ngeq|≲ lesssim|≳ gtrsim|≺ prec|≻ succ|⊂ subset|⊃ supset|⊄ not\\subset|⊅ not\\supset|⊆ subseteq|\
⊇ supseteq|⊈ nsubseteq|⊉ nsupseteq|⊊ subsetneq|⊋ supsetneq|⊎ uplus|⊏ sqsubset|⊐ sqsupset|⊑ sqsubseteq|⊒ sqsupseteq|⊓ sqcap|⊔ sqcup|⊕ oplus|⊖ ominus|⊗ otimes|⊘ oslash|\
⊙ odot|⊢ vdash|⊣ dashv|⊤ top|⊥ perp|⊨ models|⊩ Vdash|⊲ triangleleft|⊳ triangleright|⋀ bigwedge|⋁ bigvee|⋂ bigcap|⋃ bigcup|⋄ diamond|⋅ cdot|⋆ star|⋈ bowtie|⋉ ltimes|\
⋊ rtimes|⋮ vdots|⋯ cdots|⋰ iddots|⋱ ddots|⌈ lceil|⌉ rceil|⌊ lfloor|⌋ rfloor|□ square|△ triangle|▽ triangledown|◯ bigcirc|◻ square|★ bigstar|♠ spadesuit|♡ heartsuit|\
♢ diamondsuit|♣ clubsuit|♭ flat|♮ natural|♯ sharp|⟂ perp|⟨ langle|⟩ rangle|⟵ longleftarrow|⟶ longrightarrow|⟷ longleftrightarrow|⟸ Longleftarrow|⟹ Longrightarrow|\
⟺ iff|⟼ longmapsto|⨀ bigodot|⨁ bigoplus|⨂ bigotimes|⨄ biguplus|⨆ bigsqcup|⩽ leqslant|⩾ geqslant|⪯ preceq|⪰ succeq|〈 langle|〉 rangle";

/// Function names with a command of their own.
const FUNCTIONS: [&str; 33] = [
    "arccos", "arcsin", "arctan", "arg", "cos", "cosh", "cot", "coth", "csc", "deg", "det", "dim", "exp",
    "gcd", "hom", "inf", "ker", "lg", "lim", "liminf", "limsup", "ln", "log", "max", "min", "Pr", "sec",
    "sin", "sinh", "sup", "tan", "tanh", "mod",
];

/// Alphabets of the block "Mathematical Alphanumeric Symbols": where their capitals start, and the command.
const ALPHABETS: [(u32, &str); 13] = [
    (0x1d400, "mathbf"),
    (0x1d434, ""),
    (0x1d468, "boldsymbol"),
    (0x1d49c, "mathcal"),
    (0x1d4d0, "mathcal"),
    (0x1d504, "mathfrak"),
    (0x1d538, "mathbb"),
    (0x1d56c, "mathfrak"),
    (0x1d5a0, "mathsf"),
    (0x1d5d4, "mathsf"),
    (0x1d608, "mathsf"),
    (0x1d63c, "mathsf"),
    (0x1d670, "mathtt"),
];

/// Letters that Unicode had before that block.
const OLD_LETTERS: [(char, &str); 22] = [
    ('ℂ', "mathbb{C}"),
    ('ℍ', "mathbb{H}"),
    ('ℕ', "mathbb{N}"),
    ('ℙ', "mathbb{P}"),
    ('ℚ', "mathbb{Q}"),
    ('ℝ', "mathbb{R}"),
    ('ℤ', "mathbb{Z}"),
    ('ℬ', "mathcal{B}"),
    ('ℰ', "mathcal{E}"),
    ('ℱ', "mathcal{F}"),
    ('ℋ', "mathcal{H}"),
    ('ℐ', "mathcal{I}"),
    ('ℒ', "mathcal{L}"),
    ('ℳ', "mathcal{M}"),
    ('ℛ', "mathcal{R}"),
    ('ℯ', "mathrm{e}"),
    ('ℊ', "mathcal{g}"),
    ('ℴ', "mathcal{o}"),
    ('ℭ', "mathfrak{C}"),
    ('ℌ', "mathfrak{H}"),
    ('ℨ', "mathfrak{Z}"),
    ('ℎ', "h"),
];

/// Appends a character as LaTeX.
pub(super) fn push(letter: char, out: &mut String) {
    match letter {
        '{' | '}' | '%' | '#' | '&' | '_' | '$' => {
            out.push('\\');
            out.push(letter);
        }
        '\\' => command("backslash", out),
        '~' => command("sim", out),
        // Invisible operators, and spaces of a width.
        '\u{2061}'..='\u{2064}'
        | '\u{200b}'
        | '\u{feff}'
        | '\u{a0}'
        | '\u{2009}'
        | '\u{200a}'
        | '\u{2003}'
        | '\u{2002}' => {}
        '−' | '‐' | '–' => out.push('-'),
        '‖' => out.push_str("\\|"),
        _ if letter.is_ascii() => out.push(letter),
        _ => match named(letter) {
            Some(name) => command(name, out),
            None => alphabet(letter, out),
        },
    }
}

/// Appends a command; what follows is kept apart by a space.
pub(super) fn command(name: &str, out: &mut String) {
    out.push('\\');
    out.push_str(name);
    out.push(' ');
}

fn named(letter: char) -> Option<&'static str> {
    let mut text = [0; 4];
    let text: &str = letter.encode_utf8(&mut text);
    COMMANDS.split('|').find_map(|entry| entry.strip_prefix(text)?.strip_prefix(' '))
}

fn alphabet(letter: char, out: &mut String) {
    if let Some((_, latex)) = OLD_LETTERS.iter().find(|(other, _)| *other == letter) {
        if *latex != "h" {
            out.push('\\');
        }
        out.push_str(latex);
        return;
    }
    let code = letter as u32;
    let digits = [
        (0x1d7ce, "mathbf"),
        (0x1d7d8, "mathbb"),
        (0x1d7e2, "mathsf"),
        (0x1d7ec, "mathsf"),
        (0x1d7f6, "mathtt"),
    ];
    let found = ALPHABETS
        .iter()
        .find(|(start, _)| (*start..*start + 52).contains(&code))
        .map(|(start, name)| (code - start, *name));
    let plain = match found {
        Some((offset @ 0..26, name)) => Some((char::from(b'A' + offset as u8), name)),
        Some((offset, name)) => Some((char::from(b'a' + (offset - 26) as u8), name)),
        None => digits
            .iter()
            .find(|(start, _)| (*start..*start + 10).contains(&code))
            .map(|(start, name)| (char::from(b'0' + (code - start) as u8), *name)),
    };
    match plain {
        Some((plain, "")) => out.push(plain),
        Some((plain, name)) => {
            out.push('\\');
            out.push_str(name);
            out.push('{');
            out.push(plain);
            out.push('}');
        }
        None => out.push(letter),
    }
}

/// Whether a name is a function with a command.
pub(super) fn is_function(name: &str) -> bool {
    FUNCTIONS.contains(&name)
}

/// The accent that a character over something is.
pub(super) fn accent(over: &str) -> Option<&'static str> {
    Some(match over {
        "^" | "ˆ" | "̂" => "hat",
        "~" | "˜" | "̃" | "∼" => "tilde",
        "¯" | "‾" | "̅" | "―" | "_" => "overline",
        "→" | "⃗" => "vec",
        "." | "˙" | "̇" => "dot",
        ".." | "¨" | "̈" => "ddot",
        "ˇ" | "̌" => "check",
        "˘" | "̆" => "breve",
        "⏞" => "overbrace",
        "´" | "́" => "acute",
        "`" | "̀" => "grave",
        _ => return None,
    })
}

/// The line or brace that a character under something is.
pub(super) fn accent_under(under: &str) -> Option<&'static str> {
    Some(match under {
        "_" | "¯" | "̲" | "‾" | "―" => "underline",
        "⏟" => "underbrace",
        _ => return None,
    })
}
