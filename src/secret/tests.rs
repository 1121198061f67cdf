//! However a text is cut, the same comes out, and nothing of a secret is in it.

use super::{Redaction, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE};
use proptest::prelude::*;

fn redaction(values: &[&str]) -> Redaction {
    let secrets: Vec<_> = values
        .iter()
        .map(|value| Secret::new(value.as_bytes().to_vec()).expect("a secret"))
        .collect();
    Redaction::of(secrets.iter().map(|secret| ("NAME", secret))).expect("few enough")
}

fn whole(redaction: &Redaction, text: &[u8]) -> String {
    String::from_utf8_lossy(&redaction.bytes(text)).into_owned()
}

/// The text in pieces that end at these places.
fn cut(redaction: &Redaction, text: &[u8], ends: &[usize]) -> Vec<u8> {
    let mut ends: Vec<_> = ends.iter().map(|end| end % (text.len() + 1)).collect();
    ends.push(text.len());
    ends.sort_unstable();
    let mut stream = redaction.stream();
    let (mut out, mut from) = (Vec::new(), 0);
    for end in ends {
        out.extend_from_slice(&stream.push(&text[from..end]));
        from = end;
    }
    out.extend(stream.finish());
    assert_eq!(stream.any(), out != text);
    out
}

#[test]
fn the_value_and_its_lines_are_taken_out_whatever_ends_them() {
    let token = redaction(&["token-12345\n"]);
    for (text, wanted) in [
        ("token-12345", "[REDACTED]"),
        ("a token-12345\nb", "a [REDACTED]\nb"),
        ("token-12345token-12345", "[REDACTED][REDACTED]"),
        ("token-1234", "token-1234"),
        ("TOKEN-12345", "TOKEN-12345"),
        ("", ""),
    ] {
        assert_eq!(whole(&token, text.as_bytes()), wanted);
    }
    let key = redaction(&["-----BEGIN-----\nline one of it\n  indented two\nshort\n"]);
    for (text, wanted) in [
        (
            "x-----BEGIN-----\r\nline one of it\r\n  indented two\r\nshort\r\n",
            "x[REDACTED]\r\n",
        ),
        ("grep: line one of it!", "grep: [REDACTED]!"),
        ("indented two", "[REDACTED]"),
        ("short", "short"),
    ] {
        assert_eq!(whole(&key, text.as_bytes()), wanted);
    }
}

#[test]
fn what_overlaps_is_taken_out_together() {
    let two = redaction(&["abcdefgh", "fghijklmno"]);
    assert_eq!(whole(&two, b"1 abcdefghijklmno 2"), "1 [REDACTED] 2");
    assert_eq!(
        whole(&two, b"1 abcdefgh fghijklmno 2"),
        "1 [REDACTED] [REDACTED] 2"
    );
    let one = redaction(&["aaaaaaaa"]);
    assert_eq!(whole(&one, &[b'a'; 30]), "[REDACTED]");
    // The longer one, whichever is given first.
    for values in [
        ["password", "password-and-more"],
        ["password-and-more", "password"],
    ] {
        let both = redaction(&values);
        assert_eq!(
            whole(&both, b"password-and-more password-and"),
            "[REDACTED] [REDACTED]-and"
        );
    }
}

#[test]
fn encoded_values_are_taken_out() {
    let value = "p\"a's\\s w/o<r>d&\té$`";
    let redaction = redaction(&[value]);
    let json = serde_json::to_string(value).expect("text");
    for (text, wanted) in [
        (json.as_str(), "\"[REDACTED]\""),
        (r#""p\"a's\\s w\/o<r>d&\t\u00e9$`""#, "\"[REDACTED]\""),
        (
            r#""p\"a's\\s w/o\u003cr\u003ed\u0026\té$`""#,
            "\"[REDACTED]\"",
        ),
        (r#"'p"a'\''s\s w/o<r>d&	é$`'"#, "'[REDACTED]'"),
        (
            "p%22a%27s%5Cs%20w%2Fo%3Cr%3Ed%26%09%C3%A9%24%60",
            "[REDACTED]",
        ),
        (
            "p%22a%27s%5cs%20w%2fo%3cr%3ed%26%09%c3%a9%24%60",
            "[REDACTED]",
        ),
        (
            "p%22a%27s%5Cs+w%2Fo%3Cr%3Ed%26%09%C3%A9%24%60",
            "[REDACTED]",
        ),
        ("p&quot;a&#39;s\\s w/o&lt;r&gt;d&amp;\té$`", "[REDACTED]"),
        (r#"p"a\'s\\s w/o<r>d&\té$`"#, "[REDACTED]"),
    ] {
        assert_eq!(whole(&redaction, text.as_bytes()), wanted, "{text}");
    }
}

#[test]
fn base64_and_hexadecimal_are_taken_out_wherever_they_begin_and_break() {
    let value = "a-rather-secret-value-that-is-longer-than-one-line-of-base64-as-it-is-wrapped";
    let redaction = redaction(&[value]);
    for before in ["", "x", "xy", "user:"] {
        for after in ["", "\n", "!", "?!"] {
            let text = format!("{before}{value}{after}");
            for encoded in [
                STANDARD.encode(&text),
                STANDARD_NO_PAD.encode(&text),
                URL_SAFE.encode(&text),
            ] {
                for width in [4, 60, 64, 76, 4096] {
                    let lines: Vec<_> = encoded.as_bytes().chunks(width).collect();
                    for end in [&b"\n"[..], b"\r\n    "] {
                        let clean = whole(&redaction, &lines.join(end));
                        assert!(clean.contains("[REDACTED]"), "{clean}");
                        // What is left are the characters that belong to the text around it as well.
                        let left = clean.replace("[REDACTED]", "");
                        let around = (before.len() + after.len()).div_ceil(3) * 4 + 4;
                        let left = left.split_whitespace().collect::<String>();
                        assert!(left.len() <= around, "{text} {width}: {clean}");
                    }
                }
            }
        }
    }
    let hex: String = value.bytes().map(|byte| format!("{byte:02x} ")).collect();
    assert_eq!(
        whole(&redaction, format!("0x {hex}").as_bytes()),
        "0x [REDACTED] "
    );
    assert_eq!(
        whole(&redaction, hex.to_uppercase().replace(' ', "").as_bytes()),
        "[REDACTED]"
    );
    // What is no break of a line.
    let torn = STANDARD.encode(value);
    let (left, right) = torn.split_at(torn.len() / 2);
    let torn = format!("{left}{}{right}", " ".repeat(33));
    assert_eq!(whole(&redaction, torn.as_bytes()), torn);
}

#[test]
fn nothing_is_held_back_that_cannot_be_the_beginning_of_a_secret() {
    let redaction = redaction(&["#ecret-and-long"]);
    let mut stream = redaction.stream();
    assert_eq!(&*stream.push(b"prompt> "), b"prompt> ");
    // Split over two reads, it does not show: row 102.
    assert_eq!(&*stream.push(b"key=#ecret"), b"key=");
    assert_eq!(&*stream.push(b"-and-long tail\n"), b"[REDACTED] tail\n");
    assert_eq!(&*stream.push(b"#ecret-and-"), b"");
    assert_eq!(&*stream.push(b"!"), b"#ecret-and-!");
    assert_eq!(&*stream.push(b"#ec"), b"");
    assert_eq!(stream.finish(), b"#ec");
    assert_eq!(stream.seen(), ["NAME"]);
}

#[test]
fn a_piece_of_a_file_shows_nothing_of_a_secret_that_reaches_into_it() {
    let redaction = redaction(&["secret-of-a-file"]);
    let text = b"before secret-of-a-file after";
    for start in 0..text.len() {
        for end in start..=text.len() {
            let clean = redaction.within(text, start..end);
            let clean = String::from_utf8_lossy(&clean);
            let left = clean.replace("[REDACTED]", "");
            let around = format!("before {} after", "");
            assert!(
                around.contains(&left) || left == "before  after",
                "{start}..{end}: {clean}"
            );
        }
    }
}

#[test]
fn the_longest_values_are_no_trouble() {
    let value: String = (0..Secret::MOST / 8).map(|n| format!("{n:07}\n")).collect();
    let redaction = redaction(&[&value]);
    let text = format!("a{}b", value.trim_end());
    assert_eq!(whole(&redaction, text.as_bytes()), "a[REDACTED]b");
    assert_eq!(format!("{redaction:?}"), "Redaction(NAME)");
}

/// Secrets out of few letters, so that they overlap, contain one another and begin alike.
fn secret() -> impl Strategy<Value = String> {
    prop_oneof![
        "[ab]{8,14}",
        "[ab\n]{3}[ab]{8,10}(\n[ab]{7,9}){0,2}\n?",
        "[a-z\"'\\\\ /é]{8,20}",
    ]
    .prop_filter("long enough", |value| {
        Secret::new(value.as_bytes().to_vec()).is_ok()
    })
}

/// Text with secrets in it, in several forms, among what looks like them.
fn text(secrets: Vec<String>) -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        "[ab\n =]{0,12}".prop_map(String::into_bytes),
        proptest::collection::vec(any::<u8>(), 0..6),
        (proptest::sample::select(secrets), 0..6_u8, 0..20_usize).prop_map(|(value, form, cut)| {
            let bytes = match form {
                0 => value.into_bytes(),
                1 => value.replace('\n', "\r\n").into_bytes(),
                2 => STANDARD.encode(&value).into_bytes(),
                3 => STANDARD
                    .encode(format!("x{value}"))
                    .into_bytes()
                    .chunks(7)
                    .collect::<Vec<_>>()
                    .join(&b'\n'),
                4 => value
                    .bytes()
                    .map(|byte| format!("{byte:02x}"))
                    .collect::<String>()
                    .into_bytes(),
                _ => serde_json::to_string(&value).expect("text").into_bytes(),
            };
            let end = bytes.len().saturating_sub(cut / 4);
            bytes[..end].to_vec()
        }),
    ];
    proptest::collection::vec(part, 0..12).prop_map(|parts| parts.concat())
}

fn case() -> impl Strategy<Value = (Vec<String>, Vec<u8>, Vec<usize>)> {
    proptest::collection::vec(secret(), 1..4).prop_flat_map(|secrets| {
        let ends = proptest::collection::vec(any::<usize>(), 0..12);
        (Just(secrets.clone()), text(secrets), ends)
    })
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same((secrets, text, ends) in case()) {
        let redaction = redaction(&secrets.iter().map(String::as_str).collect::<Vec<_>>());
        let whole = redaction.bytes(&text).into_owned();
        prop_assert_eq!(&cut(&redaction, &text, &ends), &whole);
        let every: Vec<_> = (0..=text.len()).collect();
        prop_assert_eq!(&cut(&redaction, &text, &every), &whole);
        // What is clean stays as it is.
        let places = redaction.ranges(&text);
        prop_assert_eq!(places.is_empty(), whole == text);
    }

    #[test]
    fn no_window_of_a_secret_survives_a_split(
        value in "[a-z0-9]{8,40}",
        before in "[A-Z \n]{0,20}",
        after in "[A-Z \n]{0,20}",
        at in any::<usize>(),
    ) {
        let redaction = redaction(&[&value]);
        let text = format!("{before}{value}{after}{value}");
        let clean = cut(&redaction, text.as_bytes(), &[at]);
        for window in value.as_bytes().windows(Secret::LEAST) {
            prop_assert!(!clean.windows(Secret::LEAST).any(|there| there == window));
        }
        let clean = String::from_utf8(clean).expect("text stays text");
        prop_assert_eq!(clean, format!("{before}[REDACTED]{after}[REDACTED]"));
    }
}
