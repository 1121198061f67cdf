//! Texts and files that were made to cost much. What is bounded here is counted work, or said in a refusal; a search
//! that is quadratic would not come to its end.

use super::super::place::Original;
use super::*;

fn refused(files: &Files, text: &[u8]) -> RefusalCode {
    let refusals = run(files, text, Match::Unique).expect_err("must be refused");
    refusals[0].code
}

/// Hunks of `hunk`, placed in `file` one after the other; the comparisons that took, if it did not get too much.
fn work(file: &[u8], hunk: &[u8], times: usize) -> Result<u64, RefusalCode> {
    let text = [b"--- a/f\n+++ b/f\n", hunk].concat();
    let patch = parse(&text).expect("a hunk");
    let original = Original::new(file);
    for _ in 0..times {
        if let Err(refusal) = original.place(&patch.files[0].hunks[0], Match::Unique, None)
            && refusal.code == RefusalCode::TooLarge
        {
            return Err(refusal.code);
        }
    }
    Ok(original.work())
}

#[test]
fn searching_is_linear_in_file_and_hunk() {
    // One line over and over, and a hunk of it that differs in its last line; a file of near misses; two lines that
    // alternate; many places that fit, none of them the last.
    let same = b"same\n".repeat(20_000);
    let near = [b"a\n".repeat(50), b"b\n".to_vec()].concat().repeat(400);
    let turns = b"a\nb\n".repeat(10_000);
    let hunk = |lines: &[u8]| [b"@@ -9 +9 @@\n", lines].concat();
    let cases: [(&[u8], Vec<u8>); 4] = [
        (
            &same,
            hunk(&[b" same\n".repeat(1000), b"-stale\n".to_vec()].concat()),
        ),
        (
            &near,
            hunk(&[b" a\n".repeat(60), b"-b\n+c\n".to_vec()].concat()),
        ),
        (
            &turns,
            hunk(&[b" a\n b\n".repeat(300), b"-a\n+c\n b\n a\n a\n".to_vec()].concat()),
        ),
        (
            &same,
            hunk(
                &[
                    b" same\n".repeat(3),
                    b"-same\n+x\n\\ No newline at end of file\n".to_vec(),
                ]
                .concat(),
            ),
        ),
    ];
    for (at, (file, hunk)) in cases.iter().enumerate() {
        let lines = file.iter().filter(|byte| **byte == b'\n').count() as u64;
        let old = hunk.iter().filter(|byte| **byte == b'\n').count() as u64;
        let once = work(file, hunk, 1).expect("little work");
        assert!(
            once <= 16 * (lines + old),
            "case {at}: {once} for {lines} and {old} lines"
        );
    }
}

#[test]
fn what_is_too_repetitive_is_refused_and_not_searched_for_ever() {
    let same = b"same\n".repeat(50_000);
    let stale = [
        b"@@ -9 +9 @@\n".to_vec(),
        b" same\n".repeat(500),
        b"-stale\n".to_vec(),
    ]
    .concat();
    assert!(
        work(&same, &stale, 100).is_ok(),
        "a line that is not there ends the search at once"
    );
    let loose = [
        b"@@ -9 +9 @@\n".to_vec(),
        b" same \n".repeat(500),
        b"-same\n+x\n".to_vec(),
    ]
    .concat();
    assert_eq!(work(&same, &loose, 1000), Err(RefusalCode::TooLarge));
    let anchors = b"@@ same\n".repeat(5_000);
    let text = [
        b"*** Begin Patch\n*** Update File: f\n",
        &anchors[..],
        b"@@\n-same\n+x\n*** End Patch\n",
    ]
    .concat();
    let files = Files::from([(b"f".to_vec(), (same, 0o644))]);
    assert_eq!(refused(&files, &text), RefusalCode::Ambiguous);
}

#[test]
fn enormous_numbers_are_only_numbers() {
    let files = tree(&[("f", TEN)]);
    for range in [
        "-4,18446744073709551615 +4,3",
        "-18446744073709551615,3 +18446744073709551615,3",
        "-99999999999999999999,3 +1,3",
        "-4,3 +4,9223372036854775807",
    ] {
        let text = FIVE.replace("-4,3 +4,3", range);
        match run(&files, text.as_bytes(), Match::Unique) {
            Ok(applied) => assert_eq!(
                applied.files[0]
                    .after
                    .as_ref()
                    .map(|(bytes, _)| bytes.as_slice()),
                Some(TEN.replace("five", "FIVE").as_bytes()),
                "{range}"
            ),
            Err(refusals) => assert_eq!(refusals[0].code, RefusalCode::CutOff, "{range}"),
        }
    }
}

#[test]
fn long_lines_are_read_once() {
    // In a file, in a hunk, as a name, and as nothing but blanks where two names should be told apart.
    let long = "x".repeat(4 << 20);
    let files = tree(&[("f", &format!("a\n{long}\nb\n"))]);
    let text = format!("--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n a\n-{long}\n+short\n b\n");
    assert_eq!(
        patched(&files, text.as_bytes()),
        tree(&[("f", "a\nshort\nb\n")])
    );
    for name in [long.clone(), format!("a/{long}"), "\\".repeat(1 << 20)] {
        let text = format!("--- {name}\n+++ {name}\n@@ -1 +1 @@\n-a\n+b\n");
        let refusals = run(&files, text.as_bytes(), Match::Unique).expect_err("no name");
        assert_eq!(refusals[0].code, RefusalCode::Path);
        assert!(refusals[0].to_string().len() < 20_000);
    }
    for line in [
        " ".repeat(4 << 20),
        "/ ".repeat(10_000),
        " /".repeat(10_000),
    ] {
        let text = format!("diff --git {line}\nold mode 100644\nnew mode 100755\n");
        assert_eq!(refused(&files, text.as_bytes()), RefusalCode::Path);
    }
}

#[test]
fn a_short_text_cannot_make_much() {
    // Copies of a copy, and a series that turns one file over and over.
    let large = "line\n".repeat(40_000);
    let files = tree(&[("f", &large)]);
    let copies: String = (0..20)
        .map(|at| {
            format!("diff --git a/f b/c{at}\nsimilarity index 100%\ncopy from f\ncopy to c{at}\n")
        })
        .collect();
    assert_eq!(refused(&files, copies.as_bytes()), RefusalCode::TooLarge);
    let mail = |old: &str, new: &str| {
        format!(
            "From 4634fc99c2d85bb1caa5e95fb4247f67271a35b6 Mon Sep 17 00:00:00 2001\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n-{old}\n+{new}\n line\n"
        )
    };
    let series: String = (0..400)
        .map(|at| {
            if at % 2 == 0 {
                mail("line", "new")
            } else {
                mail("new", "line")
            }
        })
        .collect();
    assert_eq!(refused(&files, series.as_bytes()), RefusalCode::TooLarge);
}

// proves: A11
#[test]
fn many_sections_and_hunks_are_counted() {
    let sections = "diff --git a/f b/f\nold mode 100644\nnew mode 100755\n".repeat(100_001);
    assert_eq!(
        refused(&Files::new(), sections.as_bytes()),
        RefusalCode::TooLarge
    );
    let hunks = ["--- a/f\n+++ b/f\n", &"@@\n-a\n".repeat(2_000_001)].concat();
    assert_eq!(
        refused(&Files::new(), hunks.as_bytes()),
        RefusalCode::TooLarge
    );
    let lines = "\n".repeat(8_000_001);
    assert_eq!(
        refused(&Files::new(), lines.as_bytes()),
        RefusalCode::TooLarge
    );
    // Each of many hunks has its place, and the file is gone through once.
    let file: String = (0..100_000).map(|at| format!("{at}\n")).collect();
    let mut text = "--- a/f\n+++ b/f\n".to_owned();
    for at in (0..100_000).step_by(2) {
        text.push_str(&format!("@@ -{0} +{0} @@\n-{at}\n+x{at}\n", at + 2));
    }
    let files = tree(&[("f", &file)]);
    let applied = run(&files, text.as_bytes(), Match::Unique).expect("each is somewhere");
    assert_eq!(applied.files[0].hunks.len(), 50_000);
    assert!(
        applied.files[0]
            .hunks
            .iter()
            .all(|placed| placed.offset == -1)
    );
}
