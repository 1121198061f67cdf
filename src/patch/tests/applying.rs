//! Patches that mean one thing.

use super::*;

#[test]
fn a_hunk_lands_on_the_stated_line_even_if_it_fits_elsewhere() {
    let twice = tree(&[("f", &TEN.repeat(2))]);
    let after = patched(&twice, FIVE.as_bytes());
    assert_eq!(
        after[&b"f"[..]].0,
        format!("{}{TEN}", TEN.replace("five", "FIVE")).as_bytes()
    );
}

#[test]
fn a_hunk_with_a_wrong_line_lands_on_the_only_place_and_says_so() {
    let files = tree(&[("f", &format!("zero\n{TEN}"))]);
    let applied = run(&files, FIVE.as_bytes(), Match::Unique).expect("one place");
    let placed = Placed {
        hunk: 1,
        line: 5,
        offset: 1,
        patch_line: 3,
    };
    assert_eq!(applied.files[0].hunks, [placed]);
    let refusals = run(&files, FIVE.as_bytes(), Match::Exact).expect_err("not exact");
    assert_eq!(
        (refusals[0].code, refusals[0].file_line),
        (RefusalCode::NotExact, Some(5))
    );
}

#[test]
fn the_body_outranks_the_counts() {
    let files = tree(&[("f", TEN), ("g", TEN)]);
    let expected = TEN.replace("five", "FIVE");
    for head in [
        "@@ -4,2 +4,2 @@",
        "@@ -4 +4 @@",
        "@@",
        "@@ @@",
        "@@ ... @@",
        "@@ -,+ @@",
        "@@ -4,9 +4,9 @@",
        "@@ fn f()",
    ] {
        let text = FIVE.replace("@@ -4,3 +4,3 @@", head)
            + "--- a/g\n+++ b/g\n@@ -1,2 +1,2 @@\n-one\n+1\n two\n";
        let after = patched(&files, text.as_bytes());
        assert_eq!(after[&b"f"[..]].0, expected.as_bytes(), "{head}");
        assert!(after[&b"g"[..]].0.starts_with(b"1\n"), "{head}");
    }
}

#[test]
fn line_ends_of_the_file_are_kept() {
    let crlf = |text: &str| text.replace('\n', "\r\n");
    let expected = TEN.replace("five", "FIVE");
    let files = tree(&[("f", &crlf(TEN))]);
    assert_eq!(
        patched(&files, FIVE.as_bytes()),
        tree(&[("f", &crlf(&expected))])
    );
    assert_eq!(
        patched(&tree(&[("f", TEN)]), crlf(FIVE).as_bytes()),
        tree(&[("f", &expected)])
    );
    // A carriage return may also be the file's last byte, and then a line end is added to it.
    let open = tree(&[("f", "a\nb\r")]);
    let text = "--- a/f\n+++ b/f\n@@ -2 +2 @@\n-b\r\n\\ No newline at end of file\n+b\r\n";
    assert_eq!(patched(&open, text.as_bytes()), tree(&[("f", "a\nb\r\n")]));
    let mixed = tree(&[("f", &crlf(TEN).replacen("\r\n", "\n", 1))]);
    assert_eq!(codes(&mixed, FIVE), [RefusalCode::BlanksDiffer]);
}

#[test]
fn a_lost_marker_keeps_the_end_of_the_file() {
    let files = tree(&[("f", "a\nb\nc")]);
    let text = "--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n a\n b\n-c\n+C\n";
    assert_eq!(patched(&files, text.as_bytes()), tree(&[("f", "a\nb\nC")]));
    let text = "--- a/f\n+++ b/f\n@@ -1,3 +1,4 @@\n a\n b\n c\n+d\n";
    assert_eq!(
        patched(&files, text.as_bytes()),
        tree(&[("f", "a\nb\nc\nd")])
    );
    // A blank last line is a line only with its end.
    let text = "--- a/f\n+++ b/f\n@@ -1,3 +1,3 @@\n a\n b\n-c\n+\n";
    assert_eq!(patched(&files, text.as_bytes()), tree(&[("f", "a\nb\n\n")]));
    let stale = "--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n a\n-b\n+B\n\\ No newline at end of file\n";
    assert_eq!(codes(&files, stale), [RefusalCode::ContextMissing]);
}

#[test]
fn context_may_lose_blanks_and_keeps_those_of_the_file() {
    let files = tree(&[("f", "four  \nfive\nsix\t\n")]);
    assert_eq!(
        patched(&files, FIVE.as_bytes()),
        tree(&[("f", "four  \nFIVE\nsix\t\n")])
    );
    let removed = tree(&[("f", "four\nfive \nsix\n")]);
    assert_eq!(codes(&removed, FIVE), [RefusalCode::BlanksDiffer]);
}

#[test]
fn lines_without_context_need_the_right_hash() {
    let files = tree(&[("f", "1\n2\n3\n")]);
    let text = |hash: &str| {
        format!(
            "diff --git a/f b/f\nindex {hash}..0000000 100644\n--- a/f\n+++ b/f\n@@ -2,0 +3 @@\n+x\n"
        )
    };
    assert_eq!(codes(&files, &text("1111111")), [RefusalCode::Ambiguous]);
    assert_eq!(
        patched(
            &files,
            text("01e79c32a8c99c557f0757da7cb6d65b3414466d").as_bytes()
        ),
        tree(&[("f", "1\n2\nx\n3\n")])
    );
}

#[test]
fn names_are_read_by_what_is_there() {
    let hunk = "@@ -1 +1 @@\n-x\n+y\n";
    let text = |old: &str, new: &str| format!("--- {old}\n+++ {new}\n{hunk}");
    for (there, old, new) in [
        ("f", "a/f", "b/f"),
        ("f", "f", "f"),
        ("d/f", "d/f", "d/f"),
        ("f", "i/f\t2024-01-01 00:00:00", "w/f\t2024-01-01 00:00:00"),
        ("f", "f.orig  2024-01-01 00:00:00", "f"),
        ("d/f", "linux-1/d/f", "linux-2/d/f"),
        ("a/f", "a/f", "a/f"),
        ("f", "/workspace/f", "/workspace/f"),
    ] {
        assert_eq!(
            patched(&tree(&[(there, "x\n")]), text(old, new).as_bytes()),
            tree(&[(there, "y\n")]),
            "{old}"
        );
    }
    let both = tree(&[("f", "x\n"), ("a/f", "x\n")]);
    assert_eq!(
        codes(&both, &text("a/f", "b/f")),
        [RefusalCode::PathAmbiguous]
    );
    assert_eq!(
        codes(&tree(&[("f", "x\n")]), &text("src/f", "src/f")),
        [RefusalCode::TargetMissing]
    );
    let names = candidate_names(&parse(text("a/f", "b/f").as_bytes()).expect("valid"));
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        [b"a/f".to_vec(), b"b/f".to_vec(), b"f".to_vec()]
    );
}

#[test]
fn files_move_swap_and_change_their_mode() {
    let files = tree(&[("a.txt", "a\n"), ("b.txt", "b\n")]);
    let mv = |from: &str, to: &str| {
        format!(
            "diff --git a/{from} b/{to}\nsimilarity index 100%\nrename from {from}\nrename to {to}\n"
        )
    };
    let swapped = patched(
        &files,
        (mv("a.txt", "b.txt") + &mv("b.txt", "a.txt")).as_bytes(),
    );
    assert_eq!(swapped, tree(&[("a.txt", "b\n"), ("b.txt", "a\n")]));
    assert_eq!(
        codes(&files, &mv("a.txt", "b.txt")),
        [RefusalCode::TargetExists]
    );
    assert_eq!(
        codes(&files, &(mv("a.txt", "x") + &mv("a.txt", "y"))),
        [RefusalCode::Conflict]
    );
    let mode = "diff --git a/a.txt b/a.txt\nold mode 100644\nnew mode 100755\n";
    let mut executable = files.clone();
    executable.insert(b"a.txt".to_vec(), (b"a\n".to_vec(), 0o755));
    assert_eq!(patched(&files, mode.as_bytes()), executable);
    assert_eq!(codes(&executable, mode), [RefusalCode::AlreadyApplied]);
}

#[test]
fn anchors_choose_between_places() {
    let files = tree(&[("f", "def a\n  x\n  y\ndef b\n  x\n  y\n")]);
    let text = |head: &str| {
        format!("*** Begin Patch\n*** Update File: f\n{head}\n   x\n-  y\n+  z\n*** End Patch\n")
    };
    assert_eq!(
        patched(&files, text("@@ def b").as_bytes()),
        tree(&[("f", "def a\n  x\n  y\ndef b\n  x\n  z\n")])
    );
    assert_eq!(codes(&files, &text("@@")), [RefusalCode::Ambiguous]);
    assert_eq!(
        codes(&files, &text("@@ def c")),
        [RefusalCode::ContextMissing]
    );
    assert_eq!(
        codes(
            &files,
            "*** Begin Patch\n*** Update File: f\n@@\n-def a\n+def c\n"
        ),
        [RefusalCode::CutOff]
    );
}

#[test]
fn gnu_diff_says_by_the_time_that_a_file_was_not_there() {
    let stamps = (
        "1970-01-01 00:00:00.000000000 +0000",
        "2024-01-01 10:00:00.000000000 +0000",
    );
    let made = format!(
        "--- \"old/two words\"\t{}\n+++ \"new/two words\"\t{}\n@@ -0,0 +1 @@\n+x\n",
        stamps.0, stamps.1
    );
    let there = tree(&[("two words", "x\n")]);
    assert_eq!(patched(&Files::new(), made.as_bytes()), there);
    let gone = format!(
        "--- old/two words\t{}\n+++ new/two words\t{}\n@@ -1 +0,0 @@\n-x\n",
        stamps.1, stamps.0
    );
    assert_eq!(patched(&there, gone.as_bytes()), Files::new());
}
