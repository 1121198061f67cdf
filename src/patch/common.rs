//! What two texts have in common, line by line: runs of equal lines, in the order of both.
//!
//! ```text
//!  piece --trim--> few lines? ----------------------------> Myers, as in git (crate `similar`)
//!    ^               `-- many: few changes? --------------> Myers, as far as a shortest script goes
//!    |                     `-- lines that are unique in both? --> split there --.
//!    |                           `-- split in the middle -----------------------|
//!    `--------------------------------------------------------------------------'
//! ```
//! How much is searched is a matter of sizes and counts alone, never of the clock: the same texts have the same
//! difference on every machine. The work grows with the number of lines, whatever is in them; where it would not, the
//! rest of the texts counts as different, which is a longer patch and still a right one.

use std::collections::HashMap;
use std::ops::Range;

use similar::{Algorithm, DiffOp, capture_diff_slices};

/// A line, as the number it has among all different lines of both texts.
#[derive(Debug, Clone, Copy, Eq)]
pub(super) struct Line(u32);

impl PartialEq for Line {
    fn eq(&self, other: &Self) -> bool {
        #[cfg(test)]
        tests::COMPARED.set(tests::COMPARED.get() + 1);
        self.0 == other.0
    }
}

impl std::hash::Hash for Line {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

/// Lines that are equal in both texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) old: usize,
    pub(super) new: usize,
    pub(super) len: usize,
}

/// How far the search goes.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    /// Lines of a piece (both sides together) that is searched as a whole.
    piece: usize,
    /// Lines of all such pieces together.
    searched: usize,
    /// Changed lines of a larger piece that a shortest script is looked for.
    changes: usize,
    /// Steps of that look for each line.
    steps: usize,
    /// How often a piece is split at unique lines.
    depth: u32,
}

const BOUNDS: Bounds = Bounds {
    piece: 8192,
    searched: 60_000,
    changes: 400,
    steps: 8,
    depth: 8,
};

/// The runs that two texts have in common. Both are given as lines with their line ends.
pub(super) fn runs(old: &[&[u8]], new: &[&[u8]]) -> Vec<Run> {
    let (old, new) = number(old, new);
    search(&old, &new, BOUNDS)
}

/// Numbers for lines: each line is hashed once, and compared in one step.
fn number<'a>(old: &[&'a [u8]], new: &[&'a [u8]]) -> (Vec<Line>, Vec<Line>) {
    let mut known: HashMap<&[u8], u32> = HashMap::new();
    let mut number = |lines: &[&'a [u8]]| -> Vec<Line> {
        lines
            .iter()
            .map(|line| {
                let next = u32::try_from(known.len()).unwrap_or(u32::MAX);
                Line(*known.entry(line).or_insert(next))
            })
            .collect()
    };
    (number(old), number(new))
}

enum Task {
    Equal(Run),
    Piece(Range<usize>, Range<usize>, u32),
}

fn search(old: &[Line], new: &[Line], bounds: Bounds) -> Vec<Run> {
    let lines = old.iter().chain(new).map(|line| line.0 as usize + 1).max();
    let mut search = Search {
        old,
        new,
        bounds,
        left: bounds.searched,
        runs: Vec::new(),
        seen: vec![Seen::default(); lines.unwrap_or_default()],
    };
    // The last one is next: what comes first in the text is put there last.
    let mut tasks = vec![Task::Piece(0..old.len(), 0..new.len(), 0)];
    while let Some(task) = tasks.pop() {
        match task {
            Task::Equal(run) => search.found(run),
            Task::Piece(old, new, depth) => search.piece(old, new, depth, &mut tasks),
        }
    }
    search.runs
}

struct Search<'a> {
    old: &'a [Line],
    new: &'a [Line],
    bounds: Bounds,
    left: usize,
    runs: Vec<Run>,
    /// For each line of [`Line`]; all zero between uses.
    seen: Vec<Seen>,
}

impl Search<'_> {
    fn found(&mut self, run: Run) {
        match self.runs.last_mut() {
            Some(last) if last.old + last.len == run.old && last.new + last.len == run.new => {
                last.len += run.len;
            }
            Some(_) | None if run.len > 0 => self.runs.push(run),
            Some(_) | None => {}
        }
    }

    fn piece(
        &mut self,
        mut old: Range<usize>,
        mut new: Range<usize>,
        depth: u32,
        tasks: &mut Vec<Task>,
    ) {
        let both = |old: &Range<usize>, new: &Range<usize>| {
            let old = self.old[old.clone()].iter();
            old.zip(self.new[new.clone()].iter())
        };
        let head = both(&old, &new).take_while(|(a, b)| a == b).count();
        let first = Run {
            old: old.start,
            new: new.start,
            len: head,
        };
        (old.start, new.start) = (old.start + head, new.start + head);
        let backwards = self.old[old.clone()].iter().rev();
        let backwards = backwards.zip(self.new[new.clone()].iter().rev());
        let tail = backwards.take_while(|(a, b)| a == b).count();
        (old.end, new.end) = (old.end - tail, new.end - tail);
        self.found(first);
        tasks.push(Task::Equal(Run {
            old: old.end,
            new: new.end,
            len: tail,
        }));
        if old.is_empty() || new.is_empty() {
            return;
        }
        let lines = old.len() + new.len();
        if lines <= self.bounds.piece {
            if let Some(left) = self.left.checked_sub(lines) {
                self.left = left;
                self.small(&old, &new);
            }
            return;
        }
        let shift = |run: Run| {
            Task::Equal(Run {
                old: old.start + run.old,
                new: new.start + run.new,
                len: run.len,
            })
        };
        let (a, b) = (&self.old[old.clone()], &self.new[new.clone()]);
        if depth < self.bounds.depth {
            if let Some(runs) = few_changes(a, b, self.bounds) {
                tasks.extend(runs.into_iter().rev().map(shift));
                return;
            }
            let Some(anchors) = self.anchors(&old, &new) else {
                return;
            };
            if !anchors.is_empty() {
                let (mut old_end, mut new_end) = (old.end, new.end);
                for (at_old, at_new) in anchors.into_iter().rev() {
                    let (at_old, at_new) = (old.start + at_old, new.start + at_new);
                    tasks.push(Task::Piece(
                        at_old + 1..old_end,
                        at_new + 1..new_end,
                        depth + 1,
                    ));
                    tasks.push(Task::Equal(Run {
                        old: at_old,
                        new: at_new,
                        len: 1,
                    }));
                    (old_end, new_end) = (at_old, at_new);
                }
                tasks.push(Task::Piece(
                    old.start..old_end,
                    new.start..new_end,
                    depth + 1,
                ));
                return;
            }
        }
        let (old_middle, new_middle) = (old.start + old.len() / 2, new.start + new.len() / 2);
        tasks.push(Task::Piece(
            old_middle..old.end,
            new_middle..new.end,
            depth + 1,
        ));
        tasks.push(Task::Piece(
            old.start..old_middle,
            new.start..new_middle,
            depth + 1,
        ));
    }

    /// Lines that come once in each of both texts, as many as have the same order in both; nothing where the texts
    /// have no line in common.
    fn anchors(&mut self, old: &Range<usize>, new: &Range<usize>) -> Option<Vec<(usize, usize)>> {
        let texts = [&self.old[old.clone()], &self.new[new.clone()]];
        for (side, lines) in texts.into_iter().enumerate() {
            for (at, line) in lines.iter().enumerate() {
                let seen = &mut self.seen[line.0 as usize];
                seen.times[side] += 1;
                seen.at[side] = at;
            }
        }
        let seen = texts[0].iter().map(|line| self.seen[line.0 as usize]);
        let in_common = seen.clone().any(|seen| seen.times[1] > 0);
        let unique = seen.filter(|seen| seen.times == [1, 1]);
        let pairs = unique.map(|seen| (seen.at[0], seen.at[1])).collect();
        // Only what was touched: the cost is that of the piece.
        for line in texts.into_iter().flatten() {
            self.seen[line.0 as usize] = Seen::default();
        }
        in_common.then(|| increasing(pairs))
    }

    fn small(&mut self, old: &Range<usize>, new: &Range<usize>) {
        let (a, b) = (&self.old[old.clone()], &self.new[new.clone()]);
        for op in capture_diff_slices(Algorithm::Myers, a, b) {
            match op {
                DiffOp::Equal {
                    old_index,
                    new_index,
                    len,
                } => self.found(Run {
                    old: old.start + old_index,
                    new: new.start + new_index,
                    len,
                }),
                DiffOp::Delete { .. } | DiffOp::Insert { .. } | DiffOp::Replace { .. } => {}
            }
        }
    }
}

/// How often a line comes in each text, and where it was last.
#[derive(Debug, Clone, Copy, Default)]
struct Seen {
    times: [u32; 2],
    at: [usize; 2],
}

/// The longest part of the pairs, which are in the order of their first number, that is in the order of both.
fn increasing(pairs: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    // For each length, the pair that ends such a part with the lowest second number; and what comes before each pair.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(pairs.len());
    for (at, pair) in pairs.iter().enumerate() {
        let length = ends.partition_point(|&end| pairs[end].1 < pair.1);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        match ends.get_mut(length) {
            Some(end) => *end = at,
            None => ends.push(at),
        }
    }
    let mut part: Vec<_> = std::iter::successors(ends.last().copied(), |&at| before[at])
        .map(|at| pairs[at])
        .collect();
    part.reverse();
    part
}

/// The runs of a shortest script (Myers' greedy search), where there is one with few changes that is found soon.
fn few_changes(old: &[Line], new: &[Line], bounds: Bounds) -> Option<Vec<Run>> {
    let mut steps = bounds.steps * (old.len() + new.len());
    // For each number of changes d and each diagonal (2i - d), how far into the old text it goes.
    let mut rows: Vec<Vec<Option<usize>>> = Vec::new();
    for d in 0..=bounds.changes {
        let mut row = Vec::with_capacity(d + 1);
        for i in 0..=d {
            let Some((mut x, mut y)) = start(rows.last(), i, d, old.len(), new.len()) else {
                row.push(None);
                continue;
            };
            let from = x;
            while x < old.len() && y < new.len() && old[x] == new[y] {
                (x, y) = (x + 1, y + 1);
            }
            row.push(Some(x));
            if (x, y) == (old.len(), new.len()) {
                rows.push(row);
                return Some(walk_back(&rows, i, old.len(), new.len()));
            }
            steps = steps.checked_sub(x - from + 1)?;
        }
        rows.push(row);
    }
    None
}

/// Where diagonal `i` of `d` changes starts, one change after what was reached with one change less.
fn start(
    before: Option<&Vec<Option<usize>>>,
    i: usize,
    d: usize,
    old: usize,
    new: usize,
) -> Option<(usize, usize)> {
    let Some(before) = before else {
        return Some((0, 0));
    };
    let y = |x: usize| (x + d).checked_sub(2 * i);
    // A line of the new text comes: one diagonal down. Or one of the old text goes: one up.
    let comes = before.get(i).copied().flatten();
    let comes = comes.filter(|&x| y(x).is_some_and(|y| y <= new));
    let goes = i
        .checked_sub(1)
        .and_then(|i| before.get(i).copied().flatten());
    let goes = goes.map(|x| x + 1).filter(|&x| x <= old && y(x).is_some());
    let x = comes.max(goes)?;
    Some((x, y(x)?))
}

fn walk_back(rows: &[Vec<Option<usize>>], mut i: usize, old: usize, new: usize) -> Vec<Run> {
    let mut runs = Vec::new();
    let mut end = old;
    for d in (0..rows.len()).rev() {
        let before = d.checked_sub(1).map(|d| &rows[d]);
        let Some((x, y)) = start(before, i, d, old, new) else {
            break;
        };
        runs.push(Run {
            old: x,
            new: y,
            len: end - x,
        });
        let Some(before) = before else { break };
        // The way that `start` has taken.
        let goes = i.checked_sub(1).and_then(|i| before[i]);
        if x > 0 && goes == Some(x - 1) && before.get(i).copied().flatten() != Some(x) {
            i -= 1;
            end = x - 1;
        } else {
            end = x;
        }
    }
    runs.retain(|run| run.len > 0);
    runs.reverse();
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::cell::Cell;

    thread_local! {
        pub(super) static COMPARED: Cell<u64> = const { Cell::new(0) };
    }

    const TIGHT: Bounds = Bounds {
        piece: 12,
        searched: 400,
        changes: 4,
        steps: 3,
        depth: 2,
    };

    fn lines(numbers: &[u32]) -> Vec<Line> {
        numbers.iter().copied().map(Line).collect()
    }

    fn check(old: &[Line], new: &[Line], runs: &[Run]) {
        let (mut x, mut y) = (0, 0);
        for run in runs {
            assert!(run.len > 0 && run.old >= x && run.new >= y, "{runs:?}");
            (x, y) = (run.old + run.len, run.new + run.len);
            assert_eq!(old[run.old..x], new[run.new..y]);
        }
    }

    /// The same answer as the slow way that needs no thought.
    fn most_in_common(old: &[Line], new: &[Line]) -> usize {
        let mut row = vec![0; new.len() + 1];
        for a in old {
            let mut corner = 0;
            for (at, b) in new.iter().enumerate() {
                let above = row[at + 1];
                row[at + 1] = if a == b {
                    corner + 1
                } else {
                    above.max(row[at])
                };
                corner = above;
            }
        }
        row[new.len()]
    }

    proptest! {
        #[test]
        fn runs_are_equal_lines_in_the_order_of_both(
            old in prop::collection::vec(0..9_u32, 0..80),
            new in prop::collection::vec(0..9_u32, 0..80),
            edits in prop::collection::vec((0..80_usize, 100..120_u32), 0..6),
        ) {
            let (old, new) = (lines(&old), lines(&new));
            check(&old, &new, &search(&old, &new, TIGHT));
            check(&old, &new, &search(&old, &new, BOUNDS));
            let mut edited = old.clone();
            for (at, line) in edits {
                let at = at.min(edited.len());
                edited.splice(at..(at + 1).min(edited.len()), [Line(line), Line(line % 3)]);
            }
            check(&old, &edited, &search(&old, &edited, TIGHT));
        }

        #[test]
        fn few_changes_are_the_fewest(
            old in prop::collection::vec(0..4_u32, 0..30),
            new in prop::collection::vec(0..4_u32, 0..30),
        ) {
            let (old, new) = (lines(&old), lines(&new));
            let bounds = Bounds { changes: 60, steps: 1000, ..BOUNDS };
            let runs = few_changes(&old, &new, bounds).unwrap_or_default();
            check(&old, &new, &runs);
            let found: usize = runs.iter().map(|run| run.len).sum();
            prop_assert_eq!(found, most_in_common(&old, &new));
        }

        #[test]
        fn the_longest_increasing_part_is_found(seconds in prop::collection::hash_set(0..40_usize, 0..12)) {
            let pairs: Vec<_> = seconds.into_iter().enumerate().collect();
            let part = increasing(pairs.clone());
            prop_assert!(part.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1));
            let longest = (0..1_u32 << pairs.len())
                .map(|mask| {
                    let chosen: Vec<_> = pairs.iter().enumerate().filter(|(at, _)| mask >> at & 1 == 1).map(|(_, pair)| pair.1).collect();
                    if chosen.is_sorted() { chosen.len() } else { 0 }
                })
                .max();
            prop_assert_eq!(Some(part.len()), longest);
        }
    }

    fn pseudo_random(mut state: u64, below: u32) -> impl FnMut() -> u32 {
        move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            u32::try_from(state % u64::from(below)).expect("below a small number")
        }
    }

    /// Pairs of texts that are hard to compare: nothing in common, all in another order, few kinds of lines.
    fn hard(count: u32) -> Vec<(&'static str, Vec<Line>, Vec<Line>)> {
        let ascending: Vec<u32> = (0..count).collect();
        let random = |seed, below| -> Vec<Line> {
            let mut next = pseudo_random(seed, below);
            (0..count).map(|_| Line(next())).collect()
        };
        let mut shuffled = ascending.clone();
        let mut next = pseudo_random(7, u32::MAX);
        for at in (1..shuffled.len()).rev() {
            shuffled.swap(at, next() as usize % (at + 1));
        }
        let mapped = |f: fn(u32, u32) -> u32| -> Vec<Line> {
            (0..count).map(|at| Line(f(at, count))).collect()
        };
        vec![
            (
                "different",
                lines(&ascending),
                mapped(|at, count| at + count),
            ),
            (
                "reversed",
                lines(&ascending),
                mapped(|at, count| count - at),
            ),
            ("shuffled", lines(&ascending), lines(&shuffled)),
            (
                "blanks between",
                mapped(|at, _| at % 2 * at),
                mapped(|at, count| at % 2 * (at + count)),
            ),
            ("2 kinds", random(1, 2), random(2, 2)),
            ("5 kinds", random(3, 5), random(4, 5)),
            ("100 kinds", random(5, 100), random(6, 100)),
            ("1000 kinds", random(8, 1000), random(9, 1000)),
            (
                "halves",
                mapped(|at, count| u32::from(at < count / 2)),
                mapped(|at, count| u32::from(at >= count / 2)),
            ),
            (
                "thirds",
                mapped(|at, _| u32::from(at % 3 == 0)),
                mapped(|at, _| u32::from(at % 5 < 2)),
            ),
        ]
    }

    /// Counted, not timed: comparisons of lines for each line of both texts.
    #[test]
    fn the_work_grows_with_the_lines_and_not_with_what_is_in_them() {
        let small = Bounds {
            piece: 512,
            changes: 40,
            ..BOUNDS
        };
        for (name, old, new) in hard(1_500) {
            COMPARED.set(0);
            let runs = search(&old, &new, small);
            let each = COMPARED.get() / 3_000;
            check(&old, &new, &runs);
            assert!(each <= 400, "{name}: {each} for each");
            assert_eq!(
                runs,
                search(&old, &new, small),
                "{name}: the same each time"
            );
        }
        // Beyond a number of lines nothing is searched any more but what is at once to be seen.
        let few = Bounds {
            searched: 3_000,
            ..small
        };
        for (name, old, new) in hard(12_000) {
            COMPARED.set(0);
            check(&old, &new, &search(&old, &new, few));
            let each = COMPARED.get() / 24_000;
            assert!(each <= 150, "{name}: {each} for each");
        }
    }

    /// Large texts with few changes are not torn apart, with unique lines or without.
    #[test]
    fn few_changes_of_a_large_text_are_found_exactly() {
        for kinds in [3, 1_000_000] {
            let mut next = pseudo_random(11, kinds);
            let old: Vec<Line> = (0..50_000).map(|_| Line(next())).collect();
            let mut new = old.clone();
            for at in [49_000, 30_000, 29_990, 500] {
                new[at] = Line(2_000_000);
                new.insert(at, Line(3_000_000));
            }
            new.remove(20_000);
            let runs = search(&old, &new, BOUNDS);
            check(&old, &new, &runs);
            let common: usize = runs.iter().map(|run| run.len).sum();
            assert_eq!(common, 50_000 - 5, "{kinds} kinds");
        }
    }
}
