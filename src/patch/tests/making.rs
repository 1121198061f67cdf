//! Patches made here, taken back here and by git.

use std::process::{Command, Stdio};

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

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

/// A path, the file before and after, and its mode after.
type Case<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>, u32);

/// `git apply` takes our patches, too.
#[test]
fn git_applies_what_is_made_here() {
    let script = b"#!/bin/sh\n".as_slice();
    let odd = "sp ace/\u{fc} \"q\"\\.txt".as_bytes();
    let cases: [Case<'_>; 10] = [
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
    index daa8f61..10f50c4 100644
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
