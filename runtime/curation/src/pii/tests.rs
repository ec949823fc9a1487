//! What is found and what stays, by class; and that redacting once is enough.

use cupola_specs::job::PiiAction;
use proptest::prelude::*;

use super::{Actions, Class, Evaluation, Finder, Found, Placeholders, Verdict, redact};

fn finder() -> Finder {
    Finder::new(Actions::all(PiiAction::Redact))
}

fn cleaned(pairs: &[(&str, &str)]) {
    for (text, clean) in pairs {
        assert_eq!(finder().redact(text), *clean);
    }
}

fn stays(texts: &[&str]) {
    for text in texts {
        assert_eq!(finder().redact(text), *text);
    }
}

#[test]
fn emails_are_found_as_they_are_written() {
    cleaned(&[
        ("Jane Doe <jane.doe@corp-mail.co.uk>", "Jane Doe <<EMAIL>>"),
        ("write to a+b_c%d@sub.host.museum, or not", "write to <EMAIL>, or not"),
        ("mailto:bob@host.org?subject=x", "mailto:<EMAIL>?subject=x"),
        ("mailto:bob%40host.org", "mailto:<EMAIL>"),
        ("end of it: bob@host.org.", "end of it: <EMAIL>."),
        ("jürgen.müller@müller-söhne.de und 用户@例子.广告", "<EMAIL> und <EMAIL>"),
        ("x@xn--mller-kva.xn--p1ai", "<EMAIL>"),
        ("\"john doe\"@host.com", "<EMAIL>"),
        ("name [at] host [dot] com", "<EMAIL>"),
        ("john[dot]doe(at)host(dot)co(dot)uk!", "<EMAIL>!"),
        ("John.Doe {AT} host {DOT} org", "<EMAIL>"),
        ("guido at python dot org", "<EMAIL>"),
        ("Author: Guido <guido at python.org>", "Author: Guido <<EMAIL>>"),
        ("e-mail: barry at python.org", "e-mail: <EMAIL>"),
        ("bob&#64;host.com and bob＠host.com", "<EMAIL> and <EMAIL>"),
        ("user@example.com too", "<EMAIL> too"),
        ("git@github.com:a/b.git", "<EMAIL>:a/b.git"),
        ("a@b.com,c@d.net;e@f.io", "<EMAIL>,<EMAIL>;<EMAIL>"),
    ]);
    stays(&[
        "icon@2x.png, pkg@1.2.3, @decorator.call and lodash@latest",
        "look at the dot com boom, meet us at amazon.com",
        "5 apples @ 3.50 each",
        "a@b and @handle and x@",
    ]);
    let kept = finder().with_placeholders(Placeholders::Keep);
    assert_eq!(
        kept.redact("user@example.com git@github.com a@corp.de"),
        "user@example.com git@github.com <EMAIL>"
    );
}

#[test]
fn addresses_of_machines_are_found_where_they_are_somebodys() {
    cleaned(&[
        ("connect to 93.184.216.34:80", "connect to <IP>:80"),
        ("from 93.184.216.34.", "from <IP>."),
        ("dns 2606:4700:4700::1111 is", "dns <IP> is"),
        ("[2a00:1450:4001:81b::200e]:443", "[<IP>]:443"),
        ("::ffff:8.8.4.4 mapped", "<IP> mapped"),
        ("net 93.184.216.0/24", "net <IP>/24"),
        ("8.8.8.8", "<IP>"),
        ("dns 8.8.8.8, 8.8.4.4 and ping 1.1.1.1.", "dns <IP>, <IP> and ping <IP>."),
        (
            "It asks 9.9.9.9 first.\n8.8.8.8\n- 1.1.1.1\n1.0.0.1 is another",
            "It asks <IP> first.\n<IP>\n- <IP>\n<IP> is another",
        ),
        ("Google (8.8.8.8) <1.1.1.1> dig @9.9.9.9 x", "Google (<IP>) <<IP>> dig @<IP> x"),
        ("see section 2 of it; 8.8.8.8 answers", "see section 2 of it; <IP> answers"),
        ("4.2.2.2 - - [10/Oct/2000]", "<IP> - - [10/Oct/2000]"),
    ]);
    stays(&[
        "127.0.0.1 10.1.2.3 192.168.0.1 172.16.9.9 203.0.113.7 255.255.255.0 100.64.0.1",
        "::1 fe80::1 2001:db8::1 std::io a::b 2020::fmt_x 12:34:56 00:1B:44:11:3A:B7",
        "version 1.2.3.4.5, v20.1.18.3, version 91.4.45.77, pkg-91.4.45.77 and 91.4.45.77-rc1",
        "RFC 9110 §8.8.3.2 and Section 7.3.17.1",
        "see section 2.3.4.1 below, Version 1.2.3.4 fixes it, RFC 9110, 8.8.3.2",
        "sections 2.3.4.1, 2.3.4.2 and 2.3.4.3; upgraded from 1.2.3.4 to 1.2.3.5",
        "pip install x==1.5.0.3, y >= 1.4.5.0, z ~= 2.7.2.2, 1.4.5.1–1.4.5.9, the 3.1.1.6 release",
        "7.3.17.1 Conditions\n  7.3.17.2. Terms\n## 1.2.3.4\n1.2.3.5 (2021-03-04)\n# 1.1.1.1 Aims",
        "300.1.1.1 and 1.2.3",
    ]);
}

#[test]
fn cards_and_accounts_pass_their_checks() {
    cleaned(&[
        ("pay 4111 1111 1111 1111 or 378282246310005", "pay <CARD> or <CARD>"),
        ("pay 3782 822463 10005, 5555-5555-5555-4444.", "pay <CARD>, <CARD>."),
        ("Diners card 30569309025904", "Diners card <CARD>"),
        ("IBAN: DE89 3704 0044 0532 0130 00.", "IBAN: <IBAN>."),
        ("GB82WEST12345698765432 / FR1420041010050500013M02606", "<IBAN> / <IBAN>"),
        ("NL91-ABNA-0417-1643-00", "<IBAN>"),
    ]);
    stays(&[
        "4111 1111 1111 1112 and 0x4111111111111111 and 3.4111111111111111",
        "let hash = 6011_0009_9013_9424;",
        "order 4111111111111111 and status/4111111111111111",
        "DE89 3704 0044 0532 0130 01 and GB82WEST1234569876543",
        "0000 0000 0000 0000",
    ]);
}

#[test]
fn phones_are_found_in_many_forms() {
    cleaned(&[
        ("call +49 30 901820 or (415) 555-2671", "call <PHONE> or <PHONE>"),
        ("+1 (415) 555-2671, +1-415-555-2671, +14155552671", "<PHONE>, <PHONE>, <PHONE>"),
        ("+44 (0)20 7946 0958 and +44 20 7946 0958", "<PHONE> and <PHONE>"),
        ("+33 1 23 45 67 89; +86 138 1234 5678", "<PHONE>; <PHONE>"),
        ("at 1-888-595-5485.", "at <PHONE>."),
        ("415.555.2671 x12", "<PHONE>"),
        ("call 415 555 2671 now", "call <PHONE> now"),
        ("Phone: 4155552671", "Phone: <PHONE>"),
        ("Tel: 020 7946 0958", "Tel: <PHONE>"),
        ("Telefon: 030/901820-0", "Telefon: <PHONE>"),
        ("(030) 901820 55", "<PHONE>"),
        ("mobile no. 98765 43210", "mobile no. <PHONE>"),
        ("phone 555-2671", "phone <PHONE>"),
        ("call 0049 30 901820", "call <PHONE>"),
        ("tel:+4930901820", "tel:<PHONE>"),
    ]);
    stays(&[
        "x + 1 - 2 and foo(123) 456, +10000000 points, +0100",
        "2021-05-13, 13.05.2021, 1990-1995, 2023-01-01 15:00, 2021-2022",
        "ISBN 978-3-16-148410-0, SSN 123-45-6789, zip 12345-6789",
        "phone 2019-2020 sales, 1 000 000 000 and 100 200 3000",
        "v415.555.2671, 1.2.3.4, /415-555-2671 and 415-555-26712",
        "40.7128, -74.0060 and $415-555-2671",
        "the call 2005.14165 and 1234567890123",
        "11 12 13 21 22 23 31 32 33",
    ]);
}

#[test]
fn secrets_are_found_by_make_and_by_name() {
    cleaned(&[
        ("key AKIAABCDEFGHIJKLMNOP end", "key <SECRET> end"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY----- x", "<SECRET> x"),
        ("t ghp_0123456789abcdefghijABCDEFGHIJ012345", "t <SECRET>"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N_XgL0", "<SECRET>"),
        ("api_key = \"q8Zk2LmP0vXw7RtY3bNs\"", "api_key = \"<SECRET>\""),
        ("{\"token\": \"a1b2c3d4e5f60718293a4b5c6d7e8f90\"}", "{\"token\": \"<SECRET>\"}"),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG/bPxRfiCYzq8Rt2LmVx", "AWS_SECRET_ACCESS_KEY=<SECRET>"),
        ("password: \"Tr0ub4dor&3\"", "password: \"<SECRET>\""),
        ("postgres://bob:h4rdT0Guess@db.host.com/x", "postgres://bob:<SECRET>@db.host.com/x"),
        ("Authorization: Bearer q8Zk2LmP0vXw7RtY3bNsQ1", "Authorization: Bearer <SECRET>"),
        ("xoxb-123456789012-abcdefABCDEF and sk_live_4eC39HqLyjWDarjtT1zdp7dc", "<SECRET> and <SECRET>"),
        ("SK0123456789abcdef0123456789abcdef", "<SECRET>"),
        ("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", "<SECRET>"),
        ("sk-proj-Ab12Cd34Ef56Gh78Ij90Kl12Mn34Op56Qr78", "<SECRET>"),
    ]);
    stays(&[
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "password = get_password(user1) and token: Option<String>",
        "api_key = os.environ[\"API_KEY_2\"], secret = config.secrets.value2",
        "let token = tokens.next_token_2(abc);",
        "https://user:password@host and postgres://u:$PASS@h",
        "task-force-member-number-one-and-two-and-three, sk-learn-is-a-name-of-a-package-0",
        "the secret: nobody knows, password: none",
    ]);
}

#[test]
fn actions_differ_by_class() {
    let mut actions = Actions::all(PiiAction::Keep);
    (actions.email, actions.secret) = (PiiAction::Redact, PiiAction::Drop);
    let finder = Finder::new(actions);
    let redacted = Verdict::Redacted { text: "<EMAIL> 8.8.4.4".into(), counts: [(Class::Email, 1)].into() };
    assert_eq!(finder.judge("a@corp.de 8.8.4.4"), redacted);
    assert_eq!(
        finder.judge("a@b.de AKIAABCDEFGHIJKLMNOP"),
        Verdict::Dropped { class: Class::Secret, count: 1 }
    );
    assert_eq!(finder.judge("nothing, 8.8.4.4"), Verdict::Kept);
}

/// Pieces that mean something to some verifier, so that random rows of them meet every border.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "jane@corp.de",
        "@",
        "a.b",
        "c",
        "1.2.3.4",
        "93.184.216.34",
        "4111111111111111",
        "4111 1111 1111 1111",
        "(415) 555-2671",
        "555-2671",
        "+49 30 901820",
        "415",
        " ",
        "-",
        ".",
        ":",
        "/",
        "Phone: ",
        "call ",
        "<",
        ">",
        "[at]",
        " at ",
        " dot ",
        "com",
        "2606:4700::1111",
        "DE89370400440532013000",
        "AKIAABCDEFGHIJKLMNOP",
        "password=",
        "\"",
        "Tr0ub4dor&3x",
        "://",
        "u:",
        "q8Zk2LmP0vXw7RtY3bNs",
        "-----BEGIN PRIVATE KEY-----",
        "\n",
        "é",
        "。",
        "<PHONE>",
        "v",
        "x",
        "(",
        ")",
        "0",
        "00",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.",
        "%40",
        "&#64;",
        "＠",
        "_",
        "token: ",
    ]);
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4000))]

    #[test]
    fn one_pass_is_enough(text in pieces()) {
        let finder = finder();
        let found = finder.find(&text);
        let sorted = found.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start);
        prop_assert!(sorted, "{:?}", found);
        let clean = redact(&text, &found);
        let again = finder.find(&clean);
        prop_assert!(again.is_empty(), "{:?} → {:?}: {:?}", text, clean, again);
    }

    #[test]
    fn any_text_is_survived(text in "\\PC{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        finder().redact(&text);
        let text = String::from_utf8_lossy(&bytes);
        let clean = finder().redact(&text);
        prop_assert!(finder().find(&clean).is_empty());
    }
}

#[test]
fn hostile_text_takes_linear_time() {
    for piece in [
        "1",
        "1.",
        "1 ",
        "a@",
        "@",
        ":",
        "1:",
        "(1",
        "+1-",
        "[at]",
        " at ",
        "password=",
        "://a:",
        "-----BEGIN PRIVATE KEY-----",
        "eyJ",
        "a.b@",
        "dot ",
    ] {
        let text = piece.repeat(400_000 / piece.len());
        let started = std::time::Instant::now();
        finder().find(&text);
        // A quadratic verifier takes minutes; this bound is generous to a slow machine.
        assert!(started.elapsed().as_secs() < 10, "{piece:?} took {:?}", started.elapsed());
    }
}

#[test]
fn the_report_counts_by_class() {
    let text = "a@b.de and 8.8.8.8 and c@d.org";
    let label = |class, part: &str| {
        let start = text.find(part).unwrap();
        Found { class, range: start..start + part.len() }
    };
    let mut evaluation = Evaluation::default();
    evaluation.add(&[label(Class::Email, "a@b.de"), label(Class::Phone, "8.8.8.8")], &finder().find(text));
    assert_eq!(evaluation.classes[&Class::Email].right, 1);
    assert_eq!((evaluation.classes[&Class::Email].found, evaluation.classes[&Class::Phone].right), (2, 0));
}
