//! What holds of every patch, whatever it says.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// A file whose lines all differ, and some of them changed: by line, to what, and whether lines come beside it.
fn change() -> impl Strategy<Value = (Vec<String>, Vec<(usize, usize)>)> {
    (8_usize..60).prop_flat_map(|length| {
        let lines: Vec<String> = (0..length).map(|at| format!("line {at}")).collect();
        (Just(lines), vec((0..length, 0_usize..4), 1..6))
    })
}

fn changed(lines: &[String], edits: &[(usize, usize)]) -> Vec<String> {
    let mut out: Vec<Vec<String>> = lines.iter().map(|line| vec![line.clone()]).collect();
    for (serial, (at, kind)) in edits.iter().enumerate() {
        match kind {
            0 => out[*at].clear(),
            1 => out[*at] = vec![format!("new {serial}")],
            2 => out[*at].push(format!("below {serial}")),
            _ => out[*at].insert(0, format!("above {serial}")),
        }
    }
    out.into_iter().flatten().collect()
}

fn text(lines: &[String]) -> String {
    lines.iter().map(|line| format!("{line}\n")).collect()
}

/// The header and the hunks of a patch with one section.
fn hunks(patch: &str) -> (String, Vec<String>) {
    let mut parts = patch.split("\n@@ ");
    let head = format!("{}\n", parts.next().expect("a header"));
    let hunks = parts.map(|hunk| format!("@@ {}\n", hunk.trim_end_matches('\n')));
    (head, hunks.collect())
}

fn made(old: &str, new: &str) -> String {
    let side = |bytes| Some(Side { bytes, mode: 0o644 });
    String::from_utf8(unified(b"f", side(old.as_bytes()), side(new.as_bytes()))).expect("text")
}

proptest! {
    /// Where the lines are all different, any stated line leads to the one place; exactly stated, none but the right one.
    #[test]
    fn stated_lines_may_be_wrong((lines, edits) in change(), shifts in vec(-50_i64..50, 8), above in 0_usize..5) {
        let (old, new) = (text(&lines), text(&changed(&lines, &edits)));
        prop_assume!(old != new);
        let (head, hunks) = hunks(&made(&old, &new));
        // A hunk at an edge may have lines on one side only; without any it is no hunk that can be found.
        let mut shifted = head;
        for (hunk, shift) in hunks.iter().zip(shifts.iter().cycle()) {
            let (range, body) = hunk.split_once('\n').expect("a body");
            let start: i64 = range[4..].split([',', ' ']).next().and_then(|start| start.parse().ok()).expect("a start");
            let count = range[4..].split(' ').next().and_then(|range| range.split_once(',')).map_or("1", |(_, count)| count);
            shifted.push_str(&format!("@@ -{},{count} +1 @@\n{body}", (start + shift).max(1)));
        }
        let more: String = (0..above).map(|at| format!("more {at}\n")).collect();
        let files = tree(&[("f", &format!("{more}{old}"))]);
        let done = run(&files, shifted.as_bytes(), Match::Unique);
        let done = done.map_err(|refusals| TestCaseError::fail(format!("{refusals:#?}\n{shifted}")))?;
        let wanted = format!("{more}{new}");
        prop_assert_eq!(done.files[0].after.as_ref().map(|(bytes, _)| &bytes[..]), Some(wanted.as_bytes()));
        if let Ok(exact) = run(&files, shifted.as_bytes(), Match::Exact) {
            prop_assert_eq!(exact, done);
        }
    }

    /// One section or many, in whatever order: the file comes out the same.
    #[test]
    fn grouping_and_order_of_hunks_do_not_matter((lines, edits) in change(), swaps in vec((0_usize..8, 0_usize..8), 0..6)) {
        let (old, new) = (text(&lines), text(&changed(&lines, &edits)));
        prop_assume!(old != new);
        let patch = made(&old, &new);
        let (head, mut hunks) = hunks(&patch);
        for (a, b) in swaps {
            let count = hunks.len();
            hunks.swap(a % count, b % count);
        }
        let files = tree(&[("f", &old)]);
        let wanted = tree(&[("f", &new)]);
        prop_assert_eq!(&patched(&files, patch.as_bytes()), &wanted);
        prop_assert_eq!(&patched(&files, format!("{head}{}", hunks.concat()).as_bytes()), &wanted);
        let sections: String = hunks.iter().map(|hunk| format!("--- a/f\n+++ b/f\n{hunk}")).collect();
        prop_assert_eq!(&patched(&files, sections.as_bytes()), &wanted);
    }

    /// A patch with a part that does not fit changes nothing: there is no result that could be written.
    #[test]
    fn one_part_that_does_not_fit_refuses_all((lines, edits) in change(), at in 0_usize..60) {
        let (old, new) = (text(&lines), text(&changed(&lines, &edits)));
        prop_assume!(old != new);
        let patch = made(&old, &new);
        let stale = format!("{patch}--- a/g\n+++ b/g\n@@ -1,2 +1,2 @@\n-gone {at}\n+x\n b\n");
        let files = tree(&[("f", &old), ("g", "a\nb\n")]);
        prop_assert!(run(&files, stale.as_bytes(), Match::Unique).is_err());
        let twice = format!("{patch}{patch}");
        prop_assert!(run(&files, twice.as_bytes(), Match::Unique).is_err());
    }

    /// What was applied is told as applied, or as partly applied, and never applied twice.
    #[test]
    fn applying_again_is_refused((lines, edits) in change()) {
        let (old, new) = (text(&lines), text(&changed(&lines, &edits)));
        prop_assume!(old != new);
        let patch = made(&old, &new);
        let after = patched(&tree(&[("f", &old)]), patch.as_bytes());
        let again = run(&after, patch.as_bytes(), Match::Unique);
        prop_assert!(again.is_err(), "{patch}");
    }

    #[test]
    fn bytes_are_answered(text in vec(any::<u8>(), 0..400), head in any::<bool>()) {
        let start: &[u8] = if head { b"diff --git a/f b/f\n--- a/f\n+++ b/f\n@@ -1,2 +1,2 @@\n" } else { b"" };
        let _ = run(&tree(&[("f", "a\nc\n")]), &[start, &text].concat(), Match::Unique);
    }
}
