//! Brings the changes of one side of a file into the other side, where both came from one text and were changed in
//! different places.
//!
//! ```text
//!  base --diff--> theirs : hunks with three lines around each change
//!  base --runs--> ours   : where each line of the base stands in ours
//!  each hunk: all of its old lines stand in ours, in one piece, and nowhere else --> placed there, to the byte
//! ```
//! It is stricter than a merge by three ways: what is changed in ours has at least three lines between it and each
//! change of theirs, and a hunk that would fit in two places fits nowhere.

use super::apply::{Tree, apply};
use super::common::{self, Run};
use super::diff::{CONTEXT, Side, is_binary, unified};
use super::parse::parse;
use super::section::{Hunk, LineKind, Match};
use std::collections::BTreeMap;

/// Why two sides of a file are not merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotMerged {
    /// One of the texts is binary.
    Binary,
    /// Both sides changed the same lines, or lines beside them; the first one, counted from 1 in the base.
    SamePlace {
        /// The line.
        line: u64,
    },
    /// What one side changed would fit in several places of the other; the first line of it, counted from 1 in the
    /// base.
    SeveralPlaces {
        /// The line.
        line: u64,
    },
}

impl std::fmt::Display for NotMerged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Binary => f.write_str("it is binary"),
            Self::SamePlace { line } => {
                write!(f, "both sides changed it at line {line} or beside it")
            }
            Self::SeveralPlaces { line } => {
                write!(f, "the change at line {line} would fit in several places")
            }
        }
    }
}

/// What `ours` becomes with everything that makes `theirs` of `base`.
///
/// # Errors
/// Where the changes are not in places of their own.
pub fn merge(base: &[u8], theirs: &[u8], ours: &[u8]) -> Result<Vec<u8>, NotMerged> {
    if [base, theirs, ours].into_iter().any(is_binary) {
        return Err(NotMerged::Binary);
    }
    let side = |bytes| Side {
        bytes,
        mode: 0o100_644,
    };
    let name = b"file".to_vec();
    let text = unified(&name, Some(side(base)), Some(side(theirs)));
    if text.is_empty() {
        return Ok(ours.to_vec());
    }
    let somewhere = NotMerged::SamePlace { line: 1 };
    let mut patch = parse(&text).map_err(|_| somewhere)?;
    let [file] = patch.files.as_mut_slice() else {
        return Err(somewhere);
    };
    let old: Vec<&[u8]> = split(base);
    let new: Vec<&[u8]> = split(ours);
    let runs = common::runs(&old, &new);
    // The stated lines are those of ours from now on, and no blob vouches for them.
    (file.old_blob, file.new_blob) = (None, None);
    for hunk in &mut file.hunks {
        let at = place(hunk, &runs, &new)?;
        hunk.old_start = Some(at as u64 + 1);
        hunk.new_start = None;
    }
    let tree = BTreeMap::from([(name, (ours.to_vec(), 0o644_u32))]);
    let applied = apply(&patch, Match::Exact, &tree as &dyn Tree).map_err(|_| somewhere)?;
    let mut files = applied.files.into_iter();
    let after = files.next().and_then(|file| file.after);
    after.map(|(bytes, _)| bytes).ok_or(somewhere)
}

fn split(text: &[u8]) -> Vec<&[u8]> {
    text.split_inclusive(|byte| *byte == b'\n').collect()
}

/// The line of ours, from 0, where the hunk's old lines stand.
fn place(hunk: &Hunk, runs: &[Run], ours: &[&[u8]]) -> Result<usize, NotMerged> {
    let stated = hunk.old_start.unwrap_or(1);
    let before = context(hunk.lines.iter().map(|line| line.kind));
    let after = context(hunk.lines.iter().rev().map(|line| line.kind));
    let line = stated + before as u64;
    let elsewhere = NotMerged::SamePlace { line };
    let old: Vec<&[u8]> = hunk.old_lines().collect();
    let at = usize::try_from(stated)
        .unwrap_or(usize::MAX)
        .saturating_sub(1);
    let run = (runs.iter())
        .find(|run| run.old <= at && at + old.len() <= run.old + run.len)
        .filter(|_| !old.is_empty())
        .ok_or(elsewhere)?;
    let there = run.new + (at - run.old);
    // Less context than usual is the edge of the file, and has to be its edge in ours.
    let at_edges =
        (before >= CONTEXT || there == 0) && (after >= CONTEXT || there + old.len() == ours.len());
    if !at_edges || ours.get(there..there + old.len()) != Some(&old[..]) {
        return Err(elsewhere);
    }
    let twice = ours.windows(old.len()).filter(|lines| *lines == old).nth(1);
    match twice {
        Some(_) => Err(NotMerged::SeveralPlaces { line }),
        None => Ok(there),
    }
}

fn context(kinds: impl Iterator<Item = LineKind>) -> usize {
    kinds.take_while(|kind| *kind == LineKind::Context).count()
}

#[cfg(test)]
mod tests {
    use super::{NotMerged, merge};
    use proptest::prelude::*;
    use std::process::Command;

    fn numbered(count: usize) -> Vec<String> {
        (0..count).map(|n| format!("line {n}\n")).collect()
    }

    fn with(lines: &[String], change: impl FnOnce(&mut Vec<String>)) -> Vec<u8> {
        let mut lines = lines.to_vec();
        change(&mut lines);
        lines.concat().into_bytes()
    }

    #[test]
    fn changes_in_different_places_come_together() {
        let lines = numbered(30);
        let base = lines.concat().into_bytes();
        let theirs = with(&lines, |lines| {
            lines[25] = "theirs\n".to_owned();
            lines.insert(12, "more of theirs\n".to_owned());
        });
        let ours = with(&lines, |lines| {
            lines[3] = "ours\n".to_owned();
            lines.insert(4, "more of ours\n".to_owned());
            lines.remove(18);
        });
        let both = with(&lines, |lines| {
            lines[25] = "theirs\n".to_owned();
            lines[3] = "ours\n".to_owned();
            lines.remove(17);
            lines.insert(12, "more of theirs\n".to_owned());
            lines.insert(4, "more of ours\n".to_owned());
        });
        assert_eq!(merge(&base, &theirs, &ours), Ok(both));
        assert_eq!(merge(&base, &base, &ours).as_deref(), Ok(&ours[..]));
        assert_eq!(merge(&base, &theirs, &base).as_deref(), Ok(&theirs[..]));
    }

    #[test]
    fn changes_of_one_place_do_not() {
        let lines = numbered(30);
        let base = lines.concat().into_bytes();
        let change = |at: usize| with(&lines, |lines| lines[at] = "changed\n".to_owned());
        let other = |at: usize| with(&lines, |lines| lines[at] = "otherwise\n".to_owned());
        for (theirs, ours) in [(10, 10), (10, 11), (10, 13), (0, 2), (29, 28)] {
            let merged = merge(&base, &change(theirs), &other(ours));
            let line = theirs as u64 + 1;
            assert_eq!(
                merged,
                Err(NotMerged::SamePlace { line }),
                "{theirs} {ours}"
            );
        }
        // Something new at one end of the file on both sides.
        let grown = |word: &str| with(&lines, |lines| lines.push(format!("{word}\n")));
        let begun = |word: &str| with(&lines, |lines| lines.insert(0, format!("{word}\n")));
        merge(&base, &grown("theirs"), &grown("ours")).expect_err("the same place");
        merge(&base, &begun("theirs"), &begun("ours")).expect_err("the same place");
        assert_eq!(merge(&base, &change(10), b"a\0b"), Err(NotMerged::Binary));
        merge(b"", b"theirs\n", b"ours\n").expect_err("nothing was there before");
    }

    #[test]
    fn what_stands_twice_is_not_taken_for_the_other() {
        let block = "begin\none\ntwo\nthree\nfour\nfive\nend\n";
        let base = [block, "between\n", block].concat();
        let theirs = base.replacen("three", "THREE", 1);
        // The block that was changed is gone on the host; the other one is not it.
        let ours = ["between\n", block].concat();
        merge(base.as_bytes(), theirs.as_bytes(), ours.as_bytes()).expect_err("another block");
        let ours = ["first\n", &base].concat();
        let merged = merge(base.as_bytes(), theirs.as_bytes(), ours.as_bytes());
        assert_eq!(merged, Err(NotMerged::SeveralPlaces { line: 4 }));
    }

    /// Lines of a small alphabet or of their own, and edits of them.
    fn text() -> impl Strategy<Value = Vec<String>> {
        let line = prop_oneof![
            3 => (0_u32..1000).prop_map(|n| format!("line {n}\n")),
            1 => (0_u32..3).prop_map(|n| format!("{n}\n")),
        ];
        proptest::collection::vec(line, 0..60)
    }

    fn edits() -> impl Strategy<Value = Vec<(prop::sample::Index, u8, u32)>> {
        proptest::collection::vec((any::<prop::sample::Index>(), 0_u8..3, 0_u32..1000), 0..4)
    }

    fn edited(lines: &[String], edits: &[(prop::sample::Index, u8, u32)], who: &str) -> Vec<u8> {
        let mut lines = lines.to_vec();
        for (at, how, number) in edits {
            let text = format!("{who} {number}\n");
            match (how, lines.is_empty()) {
                (_, true) => lines.push(text),
                (0, false) => lines.insert(at.index(lines.len()), text),
                (1, false) => drop(lines.remove(at.index(lines.len()))),
                (_, false) => {
                    let at = at.index(lines.len());
                    lines[at] = text;
                }
            }
        }
        lines.concat().into_bytes()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        /// What is merged is what `git merge-file` makes of it; and it is not merged where git does not.
        #[test]
        fn what_is_merged_is_what_git_makes(
            lines in text(), theirs in edits(), ours in edits(),
        ) {
            let base = lines.concat().into_bytes();
            let theirs = edited(&lines, &theirs, "theirs");
            let ours = edited(&lines, &ours, "ours");
            if let Ok(merged) = merge(&base, &theirs, &ours) {
                let folder = tempfile::tempdir().expect("a folder");
                for (name, bytes) in [("base", &base), ("theirs", &theirs), ("ours", &ours)] {
                    std::fs::write(folder.path().join(name), bytes).expect("writes");
                }
                let output = Command::new("git")
                    .args(["merge-file", "-p", "ours", "base", "theirs"])
                    .current_dir(folder.path())
                    .output()
                    .expect("git is there");
                prop_assert_eq!(output.status.code(), Some(0));
                prop_assert_eq!(output.stdout, merged);
            }
        }
    }
}
