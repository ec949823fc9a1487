//! Labelled text for the finder of personal data.
//!
//! Made-up passages: sentences of many kinds around values drawn by a seed, each value labelled with its range, and as many sentences with look-alikes
//! (dates, versions, amounts, identifiers, private addresses) that are no finds.
//!
//! The shared file labels passages, not spans: a passage is *sensitive* or not. What makes one sensitive there are
//! names, figures of a business, meetings; none of that has a class here. The mapping is therefore: `yes` → out of scope; and the spans that do have a class
//! (addresses and toll-free numbers of support desks, which the file calls not sensitive) were labelled by hand below.

#![allow(clippy::unwrap_used, reason = "a measurement stops where its data is missing")]
#![allow(dead_code, reason = "the test and the bench each use a part")]

use std::io::Read;
use std::path::{Path, PathBuf};

use cupola_curation::pii::{Class, Evaluation, Finder, Found};

/// Shared data, where it is.
pub(crate) fn shared() -> Option<PathBuf> {
    std::env::var_os("CUPOLA_SHARED").map(PathBuf::from)
}

fn gunzip(path: &Path) -> String {
    let mut text = String::new();
    flate2::read::MultiGzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    text
}

/// The documents of a shared text corpus.
pub(crate) fn shared_texts(shared: &Path, name: &str) -> Vec<String> {
    let of_line = |line: &str| {
        serde_json::from_str::<serde_json::Value>(line).unwrap()["text"].as_str().unwrap_or("").to_owned()
    };
    gunzip(&shared.join(format!("data/text/{name}.jsonl.gz"))).lines().map(of_line).collect()
}

/// All spans of the shared file that have a class, as they are written there.
const SHARED_LABELS: [(Class, &str); 9] = [
    (Class::Email, "support@deliveryagent.com"),
    (Class::Email, "support@upsight.com"),
    (Class::Email, "support@zinc.com"),
    (Class::Email, "support@beyondgames.com"),
    (Class::Email, "support@fond.co"),
    (Class::Email, "support@buildzoom.com"),
    (Class::Email, "support@wizeline.com"),
    (Class::Phone, "1-888-595-5485"),
    (Class::Phone, "1-800-335-4824"),
];

/// Measures on the passages of `labels/pii.jsonl.gz`.
pub(crate) fn measure_shared(finder: &Finder, shared: &Path) -> Evaluation {
    let mut evaluation = Evaluation::default();
    for line in gunzip(&shared.join("data/labels/pii.jsonl.gz")).lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        let passage = value["query"].as_str().unwrap().split("'''").nth(1).unwrap().to_owned();
        let mut labels: Vec<Found> = SHARED_LABELS
            .iter()
            .filter_map(|(class, text)| {
                passage.find(text).map(|start| Found { class: *class, range: start..start + text.len() })
            })
            .collect();
        labels.sort_by_key(|label| label.range.start);
        evaluation.add(&labels, &finder.find(&passage));
        evaluation.out_of_scope += u64::from(value["gold"] == 1);
    }
    evaluation
}

/// SplitMix64.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.bits() % end as u64) as usize
    }

    fn pick<'l>(&mut self, list: &[&'l str]) -> &'l str {
        list[self.below(list.len())]
    }

    fn of(&mut self, alphabet: &str, count: usize) -> String {
        let all: Vec<char> = alphabet.chars().collect();
        (0..count).map(|_| all[self.below(all.len())]).collect()
    }

    fn digits(&mut self, count: usize) -> String {
        self.of("0123456789", count)
    }
}

const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
const NAMES: [&str; 16] = [
    "anna",
    "ben.miller",
    "c.ortega",
    "dmitri",
    "eve_k",
    "f.okafor",
    "grace-lee",
    "h.tanaka",
    "ivan99",
    "j.smith",
    "klara",
    "l.fernandez",
    "mo+lists",
    "nils.berg",
    "olga",
    "jürgen",
];
const HOSTS: [&str; 12] = [
    "mailbox.org",
    "corp-mail.co.uk",
    "uni-ulm.de",
    "gmail.com",
    "acme.io",
    "lists.debian.org",
    "firma.com.br",
    "example.com",
    "health.gov",
    "kyoto-u.ac.jp",
    "nordsee.museum",
    "studio.design",
];

/// A value and its class.
fn value(class: Class, rng: &mut Rng) -> String {
    match class {
        Class::Email => email(rng),
        Class::Phone => phone(rng),
        Class::Card => card(rng),
        Class::Iban => iban(rng),
        Class::Ip => ip(rng),
        Class::Secret => secret(rng),
    }
}

fn email(rng: &mut Rng) -> String {
    let (name, host) = (rng.pick(&NAMES).to_owned(), rng.pick(&HOSTS).to_owned());
    match rng.below(10) {
        0 => format!("{name} [at] {}", host.replace('.', " [dot] ")),
        1 => format!("{name}(at){host}"),
        2 => format!("{name} at {}", host.replace('.', " dot ")),
        3 => format!("{}@{host}", name.to_uppercase()),
        _ => format!("{name}@{host}"),
    }
}

fn phone(rng: &mut Rng) -> String {
    let area = format!("{}{}", 2 + rng.below(8), rng.digits(2));
    let (exchange, line) = (format!("{}{}", 2 + rng.below(8), rng.digits(2)), rng.digits(4));
    match rng.below(12) {
        0 => format!("({area}) {exchange}-{line}"),
        1 => format!("{area}-{exchange}-{line}"),
        2 => format!("{area}.{exchange}.{line}"),
        3 => format!("+1 {area} {exchange} {line}"),
        4 => format!("+1{area}{exchange}{line}"),
        5 => format!("+44 20 {} {}", rng.digits(4), rng.digits(4)),
        6 => format!("+49 (0)30 {}", rng.digits(6)),
        7 => format!(
            "+33 {} {} {} {} {}",
            1 + rng.below(9),
            rng.digits(2),
            rng.digits(2),
            rng.digits(2),
            rng.digits(2)
        ),
        8 => format!("+91 98{} {}", rng.digits(3), rng.digits(5)),
        9 => format!("1-800-{exchange}-{line}"),
        10 => format!("+86 138 {} {}", rng.digits(4), rng.digits(4)),
        _ => format!(
            "+{} {} {} {}",
            rng.pick(&["31", "46", "351", "420", "972", "61"]),
            1 + rng.below(9),
            rng.digits(3),
            rng.digits(4)
        ),
    }
}

fn card(rng: &mut Rng) -> String {
    let (prefix, length) =
        [("4", 16), ("51", 16), ("2233", 16), ("37", 15), ("6011", 16), ("3530", 16)][rng.below(6)];
    let mut digits = format!("{prefix}{}", rng.digits(length - 1 - prefix.len()));
    let sum: u32 = digits
        .bytes()
        .rev()
        .enumerate()
        .map(|(at, byte)| {
            let twice = u32::from(byte - b'0') * if at % 2 == 0 { 2 } else { 1 };
            twice / 10 + twice % 10
        })
        .sum();
    digits.push(char::from(b'0' + ((10 - sum % 10) % 10) as u8));
    if length == 15 {
        return if rng.below(2) == 0 {
            digits
        } else {
            format!("{} {} {}", &digits[..4], &digits[4..10], &digits[10..])
        };
    }
    let fours =
        |separator: &str| [&digits[..4], &digits[4..8], &digits[8..12], &digits[12..]].join(separator);
    match rng.below(3) {
        0 => fours(" "),
        1 => fours("-"),
        _ => digits.clone(),
    }
}

fn iban(rng: &mut Rng) -> String {
    let (country, bban) = match rng.below(4) {
        0 => ("DE", rng.digits(18)),
        1 => ("GB", format!("{}{}", rng.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 4), rng.digits(14))),
        2 => ("NL", format!("{}{}", rng.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ", 4), rng.digits(10))),
        _ => ("ES", rng.digits(20)),
    };
    let rest = format!("{bban}{country}00").bytes().fold(0u32, |rest, byte| match byte {
        b'0'..=b'9' => (rest * 10 + u32::from(byte - b'0')) % 97,
        _ => (rest * 100 + u32::from(byte - b'A') + 10) % 97,
    });
    let whole = format!("{country}{:02}{bban}", 98 - rest);
    if rng.below(2) == 0 {
        return whole;
    }
    whole
        .as_bytes()
        .chunks(4)
        .map(|chunk| String::from_utf8_lossy(chunk).into_owned())
        .collect::<Vec<_>>()
        .join(" ")
}

fn ip(rng: &mut Rng) -> String {
    if rng.below(4) == 0 {
        return format!(
            "2a0{}:{:x}:{:x}::{:x}",
            rng.below(10),
            1 + rng.below(65535),
            1 + rng.below(65535),
            1 + rng.below(65535)
        );
    }
    if rng.below(4) == 0 {
        return match rng.below(4) {
            0 => "8.8.8.8".to_owned(),
            1 => "1.1.1.1".to_owned(),
            _ => format!("{}.{}.{}.{}", 11 + rng.below(20), rng.below(32), rng.below(32), 1 + rng.below(31)),
        };
    }
    format!(
        "{}.{}.{}.{}",
        [23, 52, 81, 93, 141, 185, 213][rng.below(7)],
        32 + rng.below(224),
        rng.below(256),
        rng.below(256)
    )
}

fn secret(rng: &mut Rng) -> String {
    match rng.below(9) {
        0 => format!("AKIA{}", rng.of("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", 16)),
        1 => format!("ghp_{}", rng.of(LETTERS, 36)),
        2 => format!("xoxb-{}-{}", rng.digits(12), rng.of(LETTERS, 24)),
        3 => format!("sk_live_{}", rng.of(LETTERS, 24)),
        4 => format!("AIza{}", rng.of(LETTERS, 35)),
        5 => format!("sk-proj-{}", rng.of(LETTERS, 48)),
        6 => format!("eyJ{}.eyJ{}.{}", rng.of(LETTERS, 20), rng.of(LETTERS, 40), rng.of(LETTERS, 43)),
        7 => format!("npm_{}", rng.of(LETTERS, 36)),
        _ => format!("glpat-{}", rng.of(LETTERS, 20)),
    }
}

/// Sentences around a value, by class; `{}` is its place.
fn frame(class: Class, rng: &mut Rng) -> &'static str {
    match class {
        Class::Email => rng.pick(&[
            "Write to {} for details.",
            "Contact: {}",
            "<{}>",
            "Reach me ({}) any time",
            "From: {}\nSubject: x",
            "mail {}, please",
        ]),
        Class::Phone => rng.pick(&[
            "Call {} before noon.",
            "Phone: {}",
            "Tel. {}",
            "Our number is {}.",
            "fax {} (office)",
            "You can reach us at {}, day or night",
        ]),
        Class::Card => {
            rng.pick(&["Card number {} expires soon.", "paid with {}", "Visa: {}.", "the card {}, please"])
        }
        Class::Iban => rng.pick(&["IBAN: {}", "Transfer it to {} by Friday.", "account {};"]),
        Class::Ip => rng.pick(&["host {} answered", "GET from {} - 200", "The server is at {}.", "ping {}"]),
        Class::Secret => rng.pick(&["key = \"{}\"", "export X={}", "use {} here", "The token is {}."]),
    }
}

/// A sentence with something that only looks like a find.
fn look_alike(rng: &mut Rng) -> String {
    let (a, b, c) = (1 + rng.below(12), 1 + rng.below(28), 1990 + rng.below(40));
    match rng.below(20) {
        0 => format!("It happened on {c}-{a:02}-{b:02} at {:02}:{:02}:00.", rng.below(24), rng.below(60)),
        1 => format!("Version {}.{}.{}.{} fixes it.", a, b, rng.below(40), rng.below(300)),
        2 => format!("The order {} was shipped.", rng.digits(10)),
        3 => format!(
            "Revenue rose to ${},{},{} in {c}.",
            1 + rng.below(900),
            100 + rng.below(900),
            100 + rng.below(900)
        ),
        4 => format!("Between {}-{} it was {}.", c, c + 4, rng.digits(6)),
        5 => format!("ISBN 978-3-{}-{}-{}", rng.digits(2), rng.digits(6), rng.digits(1)),
        6 => format!(
            "bind 192.168.{}.{} or 10.0.{}.{}",
            rng.below(256),
            rng.below(256),
            rng.below(256),
            rng.below(256)
        ),
        7 => format!("commit {} of the tree", rng.of("0123456789abcdef", 40)),
        8 => format!("see section {}.{}.{}.{} below", a, b, 1 + rng.below(30), 1 + rng.below(30)),
        9 => format!("lat {}.{}, lon -{}.{}", rng.below(90), rng.digits(6), rng.below(180), rng.digits(6)),
        10 => format!("arXiv:{}{:02}.{}", 10 + rng.below(15), a, rng.digits(5)),
        11 => format!("{} {} {} {}", rng.digits(3), rng.digits(3), rng.digits(3), rng.digits(2)),
        12 => format!("population {} {} {} people", 1 + rng.below(90), rng.digits(3), rng.digits(3)),
        13 => format!("std::vec::Vec{b} at line {} and user @handle{a}", rng.digits(4)),
        14 => format!("timestamp 1{} id 9{}", rng.digits(9), rng.digits(17)),
        15 => format!("RFC {} §{a}.{b}.{}.{}", rng.digits(4), 1 + rng.below(30), 1 + rng.below(30)),
        16 => format!("sections {a}.{b}.1.{} and {a}.{b}.2.{}", 1 + rng.below(30), 1 + rng.below(30)),
        17 => format!("It needs pkg >= {a}.{b}.{}.{}", rng.below(30), rng.below(30)),
        18 => format!("\n{a}.{b}.{}.{} Terms and conditions", 1 + rng.below(30), 1 + rng.below(30)),
        _ => format!("npm install pkg@{a}.{b}.0 draws logo@{a}x.png"),
    }
}

/// Measures on made-up passages.
pub(crate) fn measure_made_up(finder: &Finder, passages: usize, seed: u64) -> Evaluation {
    let mut rng = Rng(seed);
    let mut evaluation = Evaluation::default();
    for _ in 0..passages {
        let (mut text, mut labels) = (String::new(), Vec::new());
        for _ in 0..6 {
            if rng.below(2) == 0 {
                text.push_str(&look_alike(&mut rng));
            } else {
                let class = Class::ALL[rng.below(Class::ALL.len())];
                let value = value(class, &mut rng);
                let (before, after) = frame(class, &mut rng).split_once("{}").unwrap();
                text.push_str(before);
                labels.push(Found { class, range: text.len()..text.len() + value.len() });
                text.push_str(&value);
                text.push_str(after);
            }
            text.push_str(rng.pick(&["\n", " ", "\n\n"]));
        }
        let found = finder.find(&text);
        if std::env::var_os("VERBOSE").is_some() {
            show_differences(&text, &labels, &found);
        }
        evaluation.add(&labels, &found);
    }
    evaluation
}

fn show_differences(text: &str, labels: &[Found], found: &[Found]) {
    for (name, some, others) in [("missed", labels, found), ("wrong", found, labels)] {
        for one in some.iter().filter(|one| !others.contains(one)) {
            let start = (one.range.start.saturating_sub(20)..=one.range.start)
                .find(|at| text.is_char_boundary(*at))
                .unwrap();
            println!(
                "{name} {:?} {:?} after {:?}",
                one.class,
                &text[one.range.clone()],
                &text[start..one.range.start]
            );
        }
    }
}
