//! Patches that mean nothing, several things, or harm.

use super::*;

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
            (RefusalCode::RemovedDiffers, Some(1), Some(11), Some(1)),
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
            RefusalCode::CutOff,
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

#[test]
fn a_header_that_promises_hunks_is_not_enough() {
    let files = tree(&[("f", TEN)]);
    let section = |lines: &str| format!("diff --git a/f b/f\n{lines}");
    for lines in [
        "new file mode 100644\n",
        "new file mode 100644\nindex 0000000\n",
        "new file mode 100644\nindex 0000000..1234567\n",
        "old mode 100644\nnew mode 100755\nindex 1234567..2345678\n",
        "similarity index 90%\nrename from f\nrename to g\n",
    ] {
        assert_eq!(
            codes(&files, &section(lines)),
            [RefusalCode::CutOff],
            "{lines}"
        );
    }
    assert_eq!(codes(&files, &format!("{FIVE}@")), [RefusalCode::CutOff]);
}

#[test]
fn hunks_that_need_the_same_lines_are_refused() {
    let files = tree(&[("f", TEN)]);
    let below = "@@ -4,4 +4,5 @@\n four\n five\n six\n seven\n+new\n";
    assert_eq!(
        codes(&files, &format!("{FIVE}{below}")),
        [RefusalCode::Overlap]
    );
    // Context may be shared, in any order and in any grouping.
    let apart = "@@ -6,2 +6,2 @@\n six\n-seven\n+SEVEN\n";
    let expected = TEN.replace("five", "FIVE").replace("seven", "SEVEN");
    let head = "--- a/f\n+++ b/f\n";
    let hunk = FIVE.strip_prefix(head).expect("starts with its header");
    for text in [
        format!("{FIVE}{apart}"),
        format!("{head}{apart}{hunk}"),
        format!("{FIVE}{head}{apart}"),
    ] {
        assert_eq!(
            patched(&files, text.as_bytes()),
            tree(&[("f", &expected)]),
            "{text}"
        );
    }
}

#[test]
fn a_hunk_never_slips_into_the_file_above() {
    let files = tree(&[("f", TEN), ("g", TEN)]);
    let text = format!("{FIVE}Index: g\n@@ -1,2 +1,2 @@\n-one\n+1\n two\n");
    assert_eq!(codes(&files, &text), [RefusalCode::HeaderMissing]);
}
