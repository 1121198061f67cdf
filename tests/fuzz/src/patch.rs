//! The patch engine, one function for each form. Whatever the bytes are: no panic, no unsafe name, and what is
//! applied is explained by the patch.

use std::collections::BTreeMap;

use pyro::patch::{self, Applied, Match, Patch, Refusal, RefusalCode, Side};

/// Path to content and permission bits.
type Files = BTreeMap<Vec<u8>, (Vec<u8>, u32)>;

/// Stands between a file and a patch in an input.
const SEPARATOR: &[u8] = b"%%\n";

/// Takes a file and a unified diff for it.
pub fn unified(data: &[u8]) {
    let (file, text) = halves(data);
    check(file, text);
}

/// Takes a file and a series of mails, each with a patch of its own.
pub fn mail(data: &[u8]) {
    let (file, text) = halves(data);
    let mut series = Vec::new();
    for part in text.split(|&byte| byte == 0) {
        series.extend(b"From 4634fc99c2d85bb1caa5e95fb4247f67271a35b6 Mon Sep 17 00:00:00 2001\n");
        series.extend(b"From: A <a@b.c>\nSubject: [PATCH] x\n\n---\n f | 1 +\n\n");
        series.extend(part);
        series.extend(b"\n-- \n2.47.3\n\n");
    }
    check(file, &series);
}

/// Takes a file and what stands between `*** Begin Patch` and `*** End Patch`.
pub fn envelope(data: &[u8]) {
    let (file, text) = halves(data);
    check(
        file,
        &[b"*** Begin Patch\n", text, b"\n*** End Patch\n"].concat(),
    );
}

/// Takes a file and what stands below `GIT binary patch`; with and without the hashes that belong to it.
pub fn binary(data: &[u8]) {
    let (file, text) = halves(data);
    check(
        file,
        &[b"diff --git a/f b/f\nGIT binary patch\n", text].concat(),
    );
    check(
        file,
        &[
            b"diff --git a/f b/f\nindex 0000000000000000000000000000000000000000..e69de29bb2d1d6434b8b29ae775ad8c2e48c5391 100644\nGIT binary patch\n",
            text,
        ]
        .concat(),
    );
}

/// Takes two files: the diff of one to the other, applied to the one, gives the other.
pub fn round_trip(data: &[u8]) {
    let (old, new) = halves(data);
    let side = |bytes| Some(Side { bytes, mode: 0o644 });
    let text = patch::unified(b"f", side(old), side(new));
    if text.is_empty() {
        assert_eq!(old, new, "no change is told");
        return;
    }
    let applied =
        patch::parse(&text).and_then(|patch| patch::apply(&patch, Match::Exact, &files(old)));
    match applied {
        Ok(applied) => assert_eq!(
            applied.files[0].after.as_ref().map(|(bytes, _)| &bytes[..]),
            Some(new)
        ),
        // Told by name, with sizes and digests.
        Err(_) if old.contains(&0) || new.contains(&0) => {}
        Err(refusals) => panic!("{refusals:#?}"),
    }
}

fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let at = data
        .windows(SEPARATOR.len())
        .position(|part| part == SEPARATOR);
    at.map_or((b"", data), |at| {
        (&data[..at], &data[at + SEPARATOR.len()..])
    })
}

fn files(file: &[u8]) -> Files {
    Files::from([
        (b"f".to_vec(), (file.to_vec(), 0o644)),
        (b"d/g".to_vec(), (b"a\nb\nc\nd\ne\n".to_vec(), 0o755)),
    ])
}

fn check(file: &[u8], text: &[u8]) {
    let patch = match patch::parse(text) {
        Ok(patch) => patch,
        Err(refusals) => return told(&refusals),
    };
    for name in patch::candidate_names(&patch) {
        safe(&name);
    }
    let files = files(file);
    let unique = patch::apply(&patch, Match::Unique, &files);
    let exact = patch::apply(&patch, Match::Exact, &files);
    match &unique {
        Ok(applied) => explained(&patch, applied, &files),
        Err(refusals) => told(refusals),
    }
    match &exact {
        Ok(applied) => match &unique {
            // Without context the stated line alone decides only where it was asked to.
            Err(refusals) => assert!(
                refusals
                    .iter()
                    .any(|one| one.code == RefusalCode::Ambiguous),
                "{refusals:#?}"
            ),
            Ok(other) => assert_eq!(other, applied, "exact is the stricter of two"),
        },
        Err(refusals) => told(refusals),
    }
}

/// Nothing comes from elsewhere: what is counted as added and removed is what the files differ by.
fn explained(patch: &Patch, applied: &Applied, files: &Files) {
    let hunks: usize = patch.files.iter().map(|file| file.hunks.len()).sum();
    let placed: usize = applied.files.iter().map(|file| file.hunks.len()).sum();
    assert!(placed <= hunks, "{placed} of {hunks} hunks were placed");
    for change in &applied.files {
        safe(&change.path);
        let before = files.get(&change.path);
        assert_eq!(change.before.is_some(), before.is_some(), "what was there");
        let after = change.after.as_ref();
        if let (Some((old, _)), Some((new, _)), None) = (before, after, &change.from) {
            let lines = |bytes: &[u8]| bytes.split_inclusive(|&byte| byte == b'\n').count();
            let binary = patch.files.iter().all(|file| file.hunks.is_empty());
            assert!(
                binary || lines(old) + change.added == lines(new) + change.removed,
                "{} lines, {} added, {} removed, {} lines",
                lines(old),
                change.added,
                change.removed,
                lines(new)
            );
        }
    }
}

fn told(refusals: &[Refusal]) {
    assert!(!refusals.is_empty(), "a refusal has a reason");
    for refusal in refusals {
        assert!(!refusal.message.is_empty(), "a reason has words");
        assert!(refusal.to_string().len() < 1 << 20, "a reason is short");
    }
}

fn safe(path: &[u8]) {
    assert!(
        !path.is_empty() && !path.starts_with(b"/") && !path.contains(&0),
        "{path:?}"
    );
    for part in path.split(|&byte| byte == b'/') {
        assert!(!matches!(part, b"" | b"." | b".."), "{path:?}");
        assert!(!part.eq_ignore_ascii_case(b".git"), "{path:?}");
    }
}
