use super::{Hit, MAX_LINE, MAX_SHOWN, Matcher, Then};
use proptest::prelude::*;

/// Every hit of a file that comes in pieces of a length.
fn search(matcher: &Matcher, file: &[u8], piece: usize) -> Vec<Hit> {
    let mut hits = Vec::new();
    let mut search = matcher.file();
    let mut found = |hit| {
        hits.push(hit);
        Then::GoOn
    };
    for piece in file.chunks(piece) {
        assert_eq!(search.take(piece, &mut found), Then::GoOn);
    }
    assert_eq!(search.end(&mut found), Then::GoOn);
    hits
}

/// Lines and columns, found line by line.
fn plainly(pattern: &str, file: &[u8]) -> Vec<(u64, u64)> {
    let regex = regex::bytes::Regex::new(pattern).expect("an expression");
    let lines = file.split_inclusive(|byte| *byte == b'\n');
    let column = |(index, line): (usize, &[u8])| {
        let line = match line.strip_suffix(b"\n") {
            Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
            None => line,
        };
        let start = regex.find(line)?.start() as u64;
        Some((index as u64 + 1, start + 1))
    };
    lines.enumerate().filter_map(column).collect()
}

fn places(hits: &[Hit]) -> Vec<(u64, u64)> {
    hits.iter().map(|hit| (hit.line, hit.column)).collect()
}

const PATTERNS: &[&str] = &[
    "a",
    "ab",
    "^a",
    "a$",
    "^$",
    "^",
    "$",
    "a*",
    r"\s",
    r"\s+b",
    "[^a]",
    "a|b",
    r"\ba",
    r"a\b",
    r"\B",
    r"\Aa",
    r"a\z",
    "(?-m)^b",
    "(?m)^b$",
    "(?s)a.b",
    "(?s).",
    "(?i)AB",
    "(?-u)\\xff",
    "a\nb",
    r"\r",
    "(?R)a$",
    "b{2}",
    "é",
    "(a|b)c?$",
];

fn file() -> impl Strategy<Value = Vec<u8>> {
    let part = prop::sample::select(vec![
        &b"a"[..],
        b"b",
        b"ab",
        b"\n",
        b"\n",
        b"\r\n",
        b"\r",
        b" ",
        b"\xff",
        "é".as_bytes(),
        b"c",
        b"\0",
        b"bb",
    ]);
    prop::collection::vec(part, 0..40).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn blocks_find_what_lines_have(
        pattern in prop::sample::select(PATTERNS.to_vec()),
        file in file(),
        piece in 1..50_usize,
    ) {
        let matcher = Matcher::new(pattern).expect("an expression");
        let hits = search(&matcher, &file, piece);
        prop_assert_eq!(places(&hits), plainly(pattern, &file), "/{}/ in {}", pattern, file.escape_ascii());
        // What has a match has a needle.
        let has = |needle: &Vec<u8>| memchr::memmem::find(&file, needle).is_some();
        let needles = matcher.needles();
        prop_assert!(hits.is_empty() || needles.is_empty() || needles.iter().any(has), "{needles:?}");
    }
}

#[test]
fn what_surely_is_in_a_match_is_known() {
    let needles = |pattern: &str| {
        Matcher::new(pattern)
            .expect("an expression")
            .needles()
            .to_vec()
    };
    assert_eq!(needles("fn main"), [b"fn main".to_vec()]);
    assert_eq!(needles(r"\bTODO\b"), [b"TODO".to_vec()]);
    assert_eq!(needles(r"(foo|bar)\d+"), [b"bar".to_vec(), b"foo".to_vec()]);
    assert_eq!(needles(r"\w+_test"), [b"_test".to_vec()]);
    assert_eq!(needles("(?i)ab").len(), 4);
    assert_eq!(needles(r"\d+"), Vec::<Vec<u8>>::new());
    assert_eq!(needles("a*"), Vec::<Vec<u8>>::new());
}

#[test]
fn of_a_long_line_the_part_with_the_match_is_shown() {
    let matcher = Matcher::new("needle").expect("an expression");
    let line = [&b"x".repeat(3 << 20)[..], b"needle", &b"y".repeat(100)].concat();
    let file = [b"first\n", &line[..], b"\nneedle\n"].concat();
    let hits = search(&matcher, &file, 64 << 10);
    assert_eq!(places(&hits), [(2, (3 << 20) + 1), (3, 1)]);
    let hit = &hits[0];
    assert!(hit.cut && !hits[1].cut);
    assert_eq!(hit.start, hit.column - 128);
    assert_eq!(hit.text.len(), 128 + 6 + 100);
    assert!(hit.text.starts_with(b"xxx") && hit.text.ends_with(b"y"));
    // From the beginning where the match is there; characters stay whole.
    let file = ["needle", &"é".repeat(MAX_SHOWN)].concat();
    let hit = &search(&matcher, file.as_bytes(), 1000)[0];
    assert_eq!((hit.start, hit.cut), (1, true));
    let text = std::str::from_utf8(&hit.text).expect("whole characters");
    assert_eq!(text.len(), MAX_SHOWN);
}

#[test]
fn a_line_without_an_end_takes_no_more_memory_than_its_parts() {
    let matcher = Matcher::new("needle").expect("an expression");
    let mut search = matcher.file();
    let mut hits = Vec::new();
    let mut found = |hit| {
        hits.push(hit);
        Then::GoOn
    };
    let piece = vec![b'x'; 1 << 20];
    for _ in 0..33 {
        search.take(&piece, &mut found);
        assert!(search.rest.len() < MAX_LINE + piece.len());
    }
    search.take(b"needle\nneedle\n", &mut found);
    search.end(&mut found);
    assert!(search.is_in_parts());
    assert_eq!(places(&hits), [(1, (33 << 20) + 1), (2, 1)]);
    assert!(hits[0].cut && !hits[1].cut);
}

#[test]
fn a_file_is_no_text_by_its_head() {
    let matcher = Matcher::new("needle").expect("an expression");
    let binary = |file: &[u8]| search(&matcher, file, 7)[0].binary;
    assert!(binary(b"a\0b\nneedle\n"));
    assert!(!binary(
        &[&b"text\n".repeat(2000)[..], b"\0needle\n"].concat()
    ));
    // Nothing more is looked for once nobody wants it.
    let mut search = matcher.file();
    assert_eq!(
        search.take(b"needle\nneedle\n", &mut |_| Then::Stop),
        Then::Stop
    );
}
