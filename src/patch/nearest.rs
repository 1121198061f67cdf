//! Where a hunk that fits nowhere comes closest, and what may have happened to it.

use std::collections::HashMap;

use super::search::Index;

/// The most lines that are shown side by side.
const SHOWN: usize = 8;

/// A near miss: the lines from the first that differs to the last.
pub(crate) struct Nearest {
    /// 0-based line of the file where the hunk would start.
    pub(crate) start: usize,
    /// How many of the hunk's old lines are there.
    pub(crate) equal: usize,
    /// 0-based line of the file with the first difference.
    pub(crate) line: usize,
    /// Index of that line among the old lines.
    pub(crate) first: usize,
    pub(crate) expected: Vec<Vec<u8>>,
    pub(crate) found: Vec<Vec<u8>>,
}

/// The place where most old lines stand at their distance from one another; near the stated line in doubt.
pub(crate) fn nearest(
    old: &[&[u8]],
    file: &[&[u8]],
    index: &Index<'_>,
    stated: Option<usize>,
) -> Option<Nearest> {
    let mut order: Vec<usize> = (0..old.len()).collect();
    order.sort_by_key(|&at| index.places(old[at]).len());
    let mut votes = HashMap::<usize, usize>::new();
    for at in order {
        let places = index.places(old[at]);
        if !index.vote(places.len()) {
            break;
        }
        // A blank line that fits is no sign of anything.
        let weight = if old[at].trim_ascii().is_empty() {
            1
        } else {
            16
        };
        for start in places.iter().filter_map(|place| place.checked_sub(at)) {
            *votes.entry(start).or_default() += weight;
        }
    }
    let distance = |start: usize| stated.map_or(start, |stated| start.abs_diff(stated));
    let best = votes
        .iter()
        .max_by_key(|(start, votes)| (**votes, std::cmp::Reverse((distance(**start), **start))));
    let start = match best {
        Some((start, _)) => *start,
        None => stated.filter(|start| *start < file.len())?,
    };
    let differs = |at: &usize| file.get(start + at).is_none_or(|line| *line != old[*at]);
    let first = (0..old.len()).find(differs)?;
    let last = (0..old.len()).rfind(differs)?.min(first + SHOWN - 1);
    let equal = (0..old.len()).filter(|at| !differs(at)).count();
    let found = file
        .iter()
        .skip(start + first)
        .take(last - first + 1)
        .map(|line| line.to_vec())
        .collect();
    let expected = old[first..=last].iter().map(|line| line.to_vec()).collect();
    Some(Nearest {
        start,
        equal,
        line: start + first,
        first,
        expected,
        found,
    })
}

/// What may have happened to the old lines on their way, if it shows.
pub(crate) fn damage(old: &[&[u8]], near: Option<&Nearest>) -> Option<&'static str> {
    let has = |needle: &str| {
        old.iter().any(|line| {
            line.windows(needle.len())
                .any(|part| part == needle.as_bytes())
        })
    };
    let is_elision = |line: &&[u8]| {
        matches!(
            line.trim_ascii(),
            b"..." | b"// ..." | b"# ..." | b"/* ... */"
        ) || line.trim_ascii() == "…".as_bytes()
    };
    if old.iter().any(is_elision) {
        return Some("write every context line out; `...` stands for nothing");
    }
    if let Some(near) = near
        && let (Some(expected), Some(found)) = (near.expected.first(), near.found.first())
    {
        let squeeze = |line: &[u8]| {
            line.iter()
                .copied()
                .filter(|byte| !byte.is_ascii_whitespace())
                .collect::<Vec<u8>>()
        };
        if squeeze(expected) == squeeze(found) {
            return Some("only blanks differ: copy the lines with the file's own spaces and tabs");
        }
    }
    if ["\u{2018}", "\u{2019}", "\u{201c}", "\u{201d}"]
        .iter()
        .any(|quote| has(quote))
    {
        return Some("the patch has typographic quotes; write the file's own");
    }
    if ["&lt;", "&gt;", "&amp;", "&quot;"]
        .iter()
        .any(|entity| has(entity))
    {
        return Some("the patch has HTML entities; write the characters themselves");
    }
    let gutter = |line: &&[u8]| {
        let text = line.trim_ascii_start();
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        digits > 0 && matches!(text.get(digits), Some(b'|' | b':' | b'\t' | b' '))
    };
    if old.len() > 1 && old.iter().all(gutter) {
        return Some("leave line numbers out of the lines");
    }
    None
}
