//! Binary patches, as git makes them.

use std::path::Path;
use std::process::Command;

use super::*;

/// What git says is between two trees.
fn git_diff(before: &Files, after: &Files, format: &str, args: &[&str]) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let git = |args: &[&str]| {
        let out = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(args)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("HOME", dir.path())
            .current_dir(dir.path())
            .output()
            .expect("git is installed");
        assert!(out.status.success(), "git {args:?}: {out:?}");
        out.stdout
    };
    git(&["init", "-q", &format!("--object-format={format}"), "."]);
    write(dir.path(), before);
    git(&["add", "-A"]);
    git(&["commit", "-q", "--allow-empty", "-m", "x"]);
    for name in before.keys() {
        std::fs::remove_file(path(dir.path(), name)).expect("removes");
    }
    write(dir.path(), after);
    git(&["add", "-A"]);
    git(&[&["diff", "--cached"], args].concat())
}

fn path(dir: &Path, name: &[u8]) -> std::path::PathBuf {
    dir.join(String::from_utf8(name.to_vec()).expect("a plain name"))
}

fn write(dir: &Path, files: &Files) {
    use std::os::unix::fs::PermissionsExt as _;
    for (name, (bytes, mode)) in files {
        let path = path(dir, name);
        std::fs::create_dir_all(path.parent().expect("a parent")).expect("makes directories");
        std::fs::write(&path, bytes).expect("writes");
        let mode = std::fs::Permissions::from_mode(*mode);
        std::fs::set_permissions(path, mode).expect("sets the mode");
    }
}

/// Bytes that deflate badly, the same each time.
fn noise(seed: u32, length: usize) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    // A NUL makes it binary for git.
    let mut bytes: Vec<u8> = (0..length).map(|_| next()).collect();
    bytes[0] = 0;
    bytes
}

fn one(name: &str, bytes: &[u8]) -> Files {
    Files::from([(name.as_bytes().to_vec(), (bytes.to_vec(), 0o644))])
}

#[test]
fn what_git_makes_is_applied() {
    let large = noise(1, 200_000);
    let mut changed = large.clone();
    changed.splice(70_000..70_010, *b"something else than before");
    changed.truncate(190_000);
    let mut moved = one("dir/moved.bin", &changed);
    moved.values_mut().for_each(|(_, mode)| *mode = 0o755);
    let mut beside_text = one("f.bin", &noise(3, 300));
    beside_text.insert(b"t".to_vec(), (b"a\nb\n".to_vec(), 0o644));
    let mut beside_text_after = one("f.bin", &noise(4, 290));
    beside_text_after.insert(b"t".to_vec(), (b"a\nB\n".to_vec(), 0o644));
    let cases = [
        (one("f.bin", b"\0a"), one("f.bin", b"\0b")),
        (one("f.bin", &large), one("f.bin", &changed)),
        (one("f.bin", &changed), one("f.bin", &large)),
        (one("f.bin", &large), moved),
        (Files::new(), one("new.bin", &noise(2, 5000))),
        (one("f.bin", &noise(2, 5000)), Files::new()),
        (one("f.bin", b"\0a"), one("f.bin", b"")),
        (one("f.bin", b""), one("f.bin", b"\0a")),
        (beside_text, beside_text_after),
    ];
    for (before, after) in &cases {
        for format in ["sha1", "sha256"] {
            let text = git_diff(before, after, format, &["--binary"]);
            let shown = String::from_utf8_lossy(&text[..text.len().min(300)]);
            assert!(shown.contains("GIT binary patch"), "{shown}");
            assert_eq!(&patched(before, &text), after, "{shown}");
        }
    }
    let delta = git_diff(&cases[1].0, &cases[1].1, "sha1", &["--binary"]);
    assert!(
        String::from_utf8_lossy(&delta).contains("\ndelta "),
        "a delta was tried"
    );
}

#[test]
fn another_file_than_the_patch_was_made_for_is_refused() {
    let (before, after) = (one("f", &noise(1, 999)), one("f", &noise(2, 999)));
    let text = git_diff(&before, &after, "sha1", &["--binary"]);
    let codes = |files: &Files, text: &[u8]| -> Vec<RefusalCode> {
        let refusals = run(files, text, Match::Unique).expect_err("must be refused");
        refusals.iter().map(|refusal| refusal.code).collect()
    };
    assert_eq!(
        codes(&one("f", &noise(3, 999)), &text),
        [RefusalCode::BinaryDiffers]
    );
    assert_eq!(codes(&after, &text), [RefusalCode::AlreadyApplied]);
    assert_eq!(codes(&one("g", b"x"), &text), [RefusalCode::TargetMissing]);
    let short = git_diff(&before, &after, "sha1", &["--full-index"]);
    assert_eq!(codes(&before, &short), [RefusalCode::UnsupportedBinary]);

    // Wherever it is cut, and whichever byte of it is damaged.
    let ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
    let ends: Vec<usize> = ends.map(|(at, _)| at + 1).collect();
    let there = text
        .windows(9)
        .position(|part| part == b"\n\nliteral")
        .expect("the way back");
    for end in ends.iter().filter(|end| **end < there) {
        let refused = run(&before, &text[..*end], Match::Unique);
        assert!(refused.is_err(), "cut at {end}");
    }
    for at in (text
        .windows(7)
        .position(|part| part == b"literal")
        .expect("a body")..there)
        .step_by(7)
    {
        let mut damaged = text.clone();
        damaged[at] ^= 1;
        if let Ok(applied) = run(&before, &damaged, Match::Unique) {
            panic!(
                "damaged at {at}, and still {:?}",
                applied.files[0]
                    .after
                    .as_ref()
                    .map(|(bytes, _)| bytes.len())
            );
        }
    }
}

#[test]
fn a_small_text_cannot_ask_for_much() {
    let head = format!(
        "diff --git a/f b/f\nindex {:040}..{:040x} 100644\nGIT binary patch\n",
        0, 1
    );
    let files = Files::new();
    let large = format!("{head}literal 99999999999\nA00000\n\n");
    assert_eq!(codes(&files, &large), [RefusalCode::TooLarge]);
    let endless = format!("{head}literal 99999999999999999999999999\nA00000\n\n");
    assert_eq!(codes(&files, &endless), [RefusalCode::Corrupt]);
    let headless = "GIT binary patch\nliteral 0\nHcmV?d00001\n\n";
    assert_eq!(codes(&files, headless), [RefusalCode::HeaderMissing]);
}
