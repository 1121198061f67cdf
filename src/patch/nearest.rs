//! Where a hunk that fits nowhere comes closest.

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
    let pairs = (first..=last).map(|at| clipped(old[at], file.get(start + at).copied()));
    let (expected, found): (Vec<_>, Vec<_>) = pairs.unzip();
    Some(Nearest {
        start,
        equal,
        line: start + first,
        first,
        expected,
        found: found.into_iter().flatten().collect(),
    })
}

/// Bytes of a line that a refusal carries, and how many of them stand before the first difference.
const WIDEST: usize = 4096;
const LEAD: usize = 200;

/// Both lines, or, where they are very long, the part of them where they begin to differ.
pub(crate) fn clipped(expected: &[u8], found: Option<&[u8]>) -> (Vec<u8>, Option<Vec<u8>>) {
    let other = found.unwrap_or_default();
    let differs = expected.iter().zip(other).position(|(a, b)| a != b);
    let at = differs.unwrap_or(expected.len().min(other.len()));
    let clip = |line: &[u8]| {
        if line.len() <= WIDEST {
            return line.to_vec();
        }
        let start = at.saturating_sub(LEAD).min(line.len());
        let end = line.len().min(start + WIDEST);
        let mark = |cut: bool| if cut { "\u{2026}".as_bytes() } else { b"" };
        [mark(start > 0), &line[start..end], mark(end < line.len())].concat()
    };
    (clip(expected), found.map(clip))
}
