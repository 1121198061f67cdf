//! Tests of the whole way, from text to bytes and back.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

type Files = BTreeMap<Vec<u8>, (Vec<u8>, u32)>;

fn tree(files: &[(&str, &str)]) -> Files {
    files
        .iter()
        .map(|(name, text)| (name.as_bytes().to_vec(), (text.as_bytes().to_vec(), 0o644)))
        .collect()
}

fn run(files: &Files, text: &[u8], policy: Match) -> Result<Applied, Vec<Refusal>> {
    parse(text).and_then(|patch| apply(&patch, policy, files))
}

/// The tree after the patch.
fn patched(files: &Files, text: &[u8]) -> Files {
    let applied =
        run(files, text, Match::Unique).unwrap_or_else(|refusals| panic!("refused: {refusals:#?}"));
    let mut files = files.clone();
    for change in applied.files {
        match change.after {
            Some(after) => files.insert(change.path, after),
            None => files.remove(&change.path),
        };
    }
    files
}

fn codes(files: &Files, text: &str) -> Vec<RefusalCode> {
    let refusals = run(files, text.as_bytes(), Match::Unique).expect_err("must be refused");
    refusals.iter().map(|refusal| refusal.code).collect()
}

const TEN: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n";
const FIVE: &str = "--- a/f\n+++ b/f\n@@ -4,3 +4,3 @@\n four\n-five\n+FIVE\n six\n";

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
fn several_places_are_listed() {
    let files = tree(&[("f", &format!("zero\n{TEN}{TEN}"))]);
    let refusals = run(&files, FIVE.as_bytes(), Match::Unique).expect_err("two places");
    assert_eq!(refusals[0].code, RefusalCode::Ambiguous);
    assert!(
        refusals[0].message.contains("line 5, 15"),
        "{}",
        refusals[0].message
    );
}

#[test]
fn all_hunks_of_all_files_are_judged() {
    let files = tree(&[("f", &TEN.replace("four", "4")), ("g", TEN)]);
    let text = format!(
        "{FIVE}--- a/g\n+++ b/g\n@@ -1,2 +1,2 @@\n-ONE\n+1\n two\n@@ -9,2 +9,2 @@\n-nine\n+9\n ten\n--- a/h\n+++ b/h\n@@ -1 +1 @@\n-x\n+y\n"
    );
    let refusals = run(&files, text.as_bytes(), Match::Unique).expect_err("three reasons");
    let told: Vec<_> = refusals
        .iter()
        .map(|refusal| {
            (
                refusal.code,
                refusal.hunk,
                refusal.patch_line,
                refusal.file_line,
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            (RefusalCode::ContextMissing, Some(1), Some(4), Some(4)),
            (RefusalCode::ContextMissing, Some(1), Some(11), Some(1)),
            (RefusalCode::TargetMissing, None, Some(18), None),
        ]
    );
    assert_eq!(refusals[0].expected, [b"four\n"]);
    assert_eq!(refusals[0].found, [b"4\n"]);
}

#[test]
fn what_is_there_already_is_told() {
    let done = tree(&[("f", &TEN.replace("five", "FIVE"))]);
    assert_eq!(codes(&done, FIVE), [RefusalCode::AlreadyApplied]);
    assert_eq!(
        codes(
            &done,
            &FIVE.replace("a/f", "b/f").replacen("+++ b/f", "+++ a/f", 1)
        ),
        [RefusalCode::Reversed]
    );
    // An appended line whose context still fits would come twice.
    let appended = tree(&[("f", "a\nb\nc\nd\n")]);
    assert_eq!(
        codes(
            &appended,
            "--- a/f\n+++ b/f\n@@ -1,3 +1,4 @@\n a\n b\n c\n+d\n"
        ),
        [RefusalCode::AlreadyApplied]
    );
    let on_top = tree(&[("f", "x\na\nb\nc\n")]);
    assert_eq!(
        codes(
            &on_top,
            "--- a/f\n+++ b/f\n@@ -1,3 +1,4 @@\n+x\n a\n b\n c\n"
        ),
        [RefusalCode::AlreadyApplied]
    );
    let same = tree(&[("f", "x\n")]);
    assert_eq!(
        codes(&same, "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+x\n"),
        [RefusalCode::AlreadyApplied]
    );
    assert_eq!(
        codes(&same, "--- /dev/null\n+++ b/f\n@@ -0,0 +1 @@\n+y\n"),
        [RefusalCode::TargetExists]
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
fn a_patch_that_is_cut_off_is_refused_anywhere() {
    let files = tree(&[("f", TEN)]);
    for end in 40..FIVE.len() - 1 {
        let refused = run(&files, &FIVE.as_bytes()[..end], Match::Unique).expect_err("cut off");
        assert!(!refused.is_empty(), "{end}");
    }
    // The line end alone may be lost; within a fence it is the same.
    patched(&files, &FIVE.as_bytes()[..FIVE.len() - 1]);
    patched(
        &files,
        format!("Here:\n\n```diff\n{FIVE}```\n\n- done\n").as_bytes(),
    );
    assert_eq!(
        codes(
            &files,
            &format!("```diff\n{}```\n", FIVE.replace(" six\n", ""))
        ),
        [RefusalCode::CutOff]
    );
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
    let mixed = tree(&[("f", &crlf(TEN).replacen("\r\n", "\n", 1))]);
    assert_eq!(codes(&mixed, FIVE), [RefusalCode::ContextMissing]);
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
    assert_eq!(codes(&removed, FIVE), [RefusalCode::ContextMissing]);
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
fn unsafe_names_and_modes_are_refused() {
    let files = tree(&[("f", "x\n"), ("d", "x\n")]);
    for name in [
        "../f",
        "a/../f",
        "/etc/passwd",
        "b/.git/config",
        "b/.GIT/x",
        "b//f",
        "\"b/\\000\"",
        "b/d/../../f",
    ] {
        let text = format!("--- /dev/null\n+++ {name}\n@@ -0,0 +1 @@\n+x\n");
        assert_eq!(codes(&files, &text), [RefusalCode::Path], "{name}");
    }
    for mode in ["120000", "160000", "104755", "040000"] {
        let text = format!(
            "diff --git a/n b/n\nnew file mode {mode}\n--- /dev/null\n+++ b/n\n@@ -0,0 +1 @@\n+x\n"
        );
        assert_eq!(
            codes(&files, &text),
            [RefusalCode::UnsupportedMode],
            "{mode}"
        );
    }
    let below = "--- /dev/null\n+++ b/d/n\n@@ -0,0 +1 @@\n+x\n";
    assert_eq!(codes(&files, below), [RefusalCode::NotAFile]);
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
fn texts_without_a_patch_are_told_apart() {
    let files = tree(&[("f", "x\n")]);
    for (text, code) in [
        ("", RefusalCode::Empty),
        ("just prose\n", RefusalCode::Empty),
        ("@@ -1 +1 @@\n-x\n+y\n", RefusalCode::HeaderMissing),
        ("--- a/f\n+++ b/f\n", RefusalCode::NoChange),
        ("--- a/f\n+++ b/f\n@@ -1 +1 @@\n x\n", RefusalCode::NoChange),
        (
            "diff --git a/f b/f\nindex 1..2\nGIT binary patch\nliteral 1\n",
            RefusalCode::UnsupportedBinary,
        ),
        (
            "diff --git a/f b/f\nBinary files a/f and b/f differ\n",
            RefusalCode::UnsupportedBinary,
        ),
        (
            "diff --cc f\n@@@ -1 -1 +1 @@@\n",
            RefusalCode::UnsupportedForm,
        ),
        ("*** Begin Patch\n*** End Patch\n", RefusalCode::Empty),
    ] {
        assert_eq!(codes(&files, text), [code], "{text:?}");
    }
}

#[test]
fn codes_are_kebab_case_and_differ() {
    let mut codes: Vec<&str> = RefusalCode::ALL.iter().map(|code| code.as_str()).collect();
    assert!(codes.iter().all(|code| {
        code.starts_with("patch-")
            && code
                .bytes()
                .all(|byte| byte == b'-' || byte.is_ascii_lowercase())
    }));
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), RefusalCode::ALL.len());
}

fn file(bytes: &[u8]) -> Option<Side<'_>> {
    Some(Side { bytes, mode: 0o644 })
}

/// Few kinds of lines, so that they repeat; some that look like parts of a patch.
fn text() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => prop::sample::select(vec!["a", "b", "c", "}", "", "  x"]),
        1 => prop::sample::select(vec!["-- a/f", "++ b/f", "@@ -1 +1 @@", "\\ No newline", "x\r", "\r", "\u{b}\u{2028}", "diff --git a/f b/f"]),
    ];
    (vec(line, 0..24), any::<bool>()).prop_map(|(lines, end)| {
        let mut text = lines.join("\n").into_bytes();
        if end {
            text.extend(b"\n\xff\n");
        }
        text
    })
}

proptest! {
    #[test]
    fn a_diff_applied_to_the_old_text_gives_the_new(old in text(), new in text()) {
        let patch = unified(b"f", file(&old), file(&new));
        let files = Files::from([(b"f".to_vec(), (old.clone(), 0o644))]);
        if old == new {
            prop_assert!(patch.is_empty());
        } else {
            let applied = run(&files, &patch, Match::Exact);
            let applied = applied.map_err(|refusals| TestCaseError::fail(format!("{refusals:#?}\n{}", String::from_utf8_lossy(&patch))))?;
            prop_assert_eq!(applied.files[0].after.as_ref().map(|(bytes, _)| bytes), Some(&new));
            prop_assert_eq!((applied.files[0].added, applied.files[0].removed), added_removed(&old, &new));
        }
        let made = unified(b"f", None, file(&new));
        prop_assert_eq!(&patched(&Files::new(), &made)[&b"f"[..]].0, &new);
        let gone = unified(b"f", file(&old), None);
        prop_assert!(patched(&files, &gone).is_empty());
    }

    #[test]
    fn any_text_is_answered(parts in vec(prop_oneof![
        Just("--- a/f\n"), Just("+++ b/f\n"), Just("@@ -1,2 +1,2 @@\n"), Just("@@\n"), Just("-a\n"), Just("+b\n"), Just(" c\n"), Just("\n"),
        Just("\\ No newline at end of file\n"), Just("diff --git a/f b/f\n"), Just("rename from f\n"), Just("rename to g\n"), Just("new file mode 100644\n"),
        Just("*** Begin Patch\n"), Just("*** Update File: f\n"), Just("*** End Patch\n"), Just("-- \n"), Just("```\n"), Just("@@ -18446744073709551615,3 +0,0 @@\n"),
    ], 0..24), cut in 0_usize..400) {
        let text = parts.concat();
        let text = &text.as_bytes()[..cut.min(text.len())];
        if let Err(refusals) = run(&tree(&[("f", "a\nc\na\nc\n")]), text, Match::Unique) {
            prop_assert!(!refusals.is_empty());
        }
    }
}

/// `git apply` takes our patches, too.
#[test]
fn git_applies_what_is_made_here() {
    let script = b"#!/bin/sh\n".as_slice();
    let odd = "sp ace/\u{fc} \"q\"\\.txt".as_bytes();
    let cases: [(&[u8], Option<&[u8]>, Option<&[u8]>, u32); 10] = [
        (b"f", Some(b"a\nb\nc\n"), Some(b"a\nB\nc\n"), 0o644),
        (b"f", Some(b"a\nb"), Some(b"a\nb\n"), 0o644),
        (b"f", Some(b"a\nb\n"), Some(b"a\nb"), 0o644),
        (b"f", Some(b"a\r\nb\r\n"), Some(b"a\r\nc\r\xff\r\n"), 0o644),
        (b"f", Some(b""), Some(b"-- x\n++ y\n"), 0o644),
        (b"d/new", None, Some(b"x\ny"), 0o644),
        (b"empty", None, Some(b""), 0o644),
        (b"gone", Some(b"x\n"), None, 0o644),
        (b"run", Some(script), Some(script), 0o755),
        (odd, Some(b"a\n"), Some(b"b\n"), 0o644),
    ];
    for (path, old, new, mode) in cases {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let name = <std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(path);
        let target = dir.path().join(name);
        std::fs::create_dir_all(target.parent().expect("has a parent")).expect("makes directories");
        if let Some(old) = old {
            std::fs::write(&target, old).expect("writes the old file");
        }
        let patch = unified(
            path,
            old.and_then(file),
            new.map(|bytes| Side { bytes, mode }),
        );
        let mut git = Command::new("git")
            .args(["apply", "-"])
            .env("GIT_DIR", "/nonexistent")
            .current_dir(dir.path())
            .stdin(Stdio::piped())
            .spawn()
            .expect("git is installed");
        std::io::Write::write_all(&mut git.stdin.take().expect("piped"), &patch)
            .expect("git reads");
        assert!(
            git.wait().expect("git ends").success(),
            "{}",
            String::from_utf8_lossy(&patch)
        );
        assert_eq!(
            std::fs::read(&target).ok().as_deref(),
            new,
            "{}",
            String::from_utf8_lossy(&patch)
        );
    }
}

#[test]
fn binary_files_are_named_and_links_replaced() {
    let text = |old, new| String::from_utf8(unified(b"f", old, new)).expect("text");
    insta::assert_snapshot!(text(file(b"\0a"), file(b"\0b")), @"
    diff --git a/f b/f
    Binary files a/f (2 bytes sha256:022a6979e6da) and b/f (2 bytes sha256:57eb35615d47) differ
    ");
    let made = text(None, file(b"\0a"));
    assert_eq!(
        codes(&Files::new(), &made),
        [RefusalCode::UnsupportedBinary]
    );
    let changed = text(
        file(b"\0a"),
        Some(Side {
            bytes: b"\0b",
            mode: 0o755,
        }),
    );
    assert_eq!(
        codes(&tree(&[("f", "\0a")]), &changed),
        [RefusalCode::UnsupportedBinary]
    );
    let link = Some(Side {
        bytes: b"target",
        mode: 0o120_777,
    });
    insta::assert_snapshot!(text(file(b"x\n"), link), @r"
    diff --git a/f b/f
    deleted file mode 100644
    --- a/f
    +++ /dev/null
    @@ -1 +0,0 @@
    -x
    diff --git a/f b/f
    new file mode 120000
    --- /dev/null
    +++ b/f
    @@ -0,0 +1 @@
    +target
    \ No newline at end of file
    ");
    insta::assert_snapshot!(String::from_utf8(lines(b"a\nb\n", b"a\nc")).expect("text"), @r"
    @@ -1,2 +1,2 @@
     a
    -b
    +c
    \ No newline at end of file
    ");
}
