//! Finds runs of lines in a file. Each line is compared as a number, from the rarest line of the run outwards,
//! or by Knuth, Morris and Pratt where no line is rare; a budget ends what would take too long even so.

use std::cell::Cell;
use std::collections::HashMap;

/// Comparisons that may be spent on one file: some seconds, or in these tests some less.
const BUDGET: u64 = if cfg!(test) { 1 << 24 } else { 1 << 31 };

/// Guesses at the nearest place that may be made in one file, which only serve a better message.
const VOTES: usize = 1 << 21;

/// The search gave up.
#[derive(Debug)]
pub(crate) struct TooMuch;

/// The lines of a file, ready to be searched.
pub(crate) struct Index<'a> {
    numbers: HashMap<&'a [u8], u32>,
    text: Vec<u32>,
    /// Where each line stands: `places[starts[id]..starts[id + 1]]`.
    starts: Vec<usize>,
    places: Vec<usize>,
    spent: Cell<u64>,
    votes: Cell<usize>,
}

impl<'a> Index<'a> {
    pub(crate) fn new(lines: impl Iterator<Item = &'a [u8]>) -> Self {
        let mut numbers = HashMap::new();
        let text: Vec<u32> = lines
            .map(|line| {
                let next = u32::try_from(numbers.len()).unwrap_or(u32::MAX);
                *numbers.entry(line).or_insert(next)
            })
            .collect();
        let mut starts = vec![0_usize; numbers.len() + 1];
        for &id in &text {
            starts[id as usize + 1] += 1;
        }
        for at in 1..starts.len() {
            starts[at] += starts[at - 1];
        }
        let mut free = starts.clone();
        let mut places = vec![0; text.len()];
        for (at, &id) in text.iter().enumerate() {
            places[free[id as usize]] = at;
            free[id as usize] += 1;
        }
        Self {
            numbers,
            text,
            starts,
            places,
            spent: Cell::new(0),
            votes: Cell::new(VOTES),
        }
    }

    /// Where a line stands.
    pub(crate) fn places(&self, line: &[u8]) -> &[usize] {
        self.numbers.get(line).map_or(&[], |&id| self.of(id))
    }

    fn of(&self, id: u32) -> &[usize] {
        &self.places[self.starts[id as usize]..self.starts[id as usize + 1]]
    }

    /// Counts work against the budget.
    pub(crate) fn spend(&self, work: usize) -> Result<(), TooMuch> {
        self.spent.set(self.spent.get().saturating_add(work as u64));
        if self.spent.get() > BUDGET {
            Err(TooMuch)
        } else {
            Ok(())
        }
    }

    /// The work so far.
    #[cfg(test)]
    pub(crate) fn spent(&self) -> u64 {
        self.spent.get()
    }

    /// Whether so many guesses may still be made.
    pub(crate) fn vote(&self, votes: usize) -> bool {
        let left = self.votes.get().checked_sub(votes);
        self.votes.set(left.unwrap_or(self.votes.get()));
        left.is_some()
    }

    /// The first places, at most `limit`, where the lines stand in a row and `fits` agrees.
    pub(crate) fn find(
        &self,
        lines: &[&[u8]],
        limit: usize,
        fits: impl Fn(usize) -> bool,
    ) -> Result<Vec<usize>, TooMuch> {
        self.spend(lines.len())?;
        let ids: Option<Vec<u32>> = lines
            .iter()
            .map(|line| self.numbers.get(line).copied())
            .collect();
        let Some(ids) = ids else {
            return Ok(Vec::new());
        };
        let Some((rarest, &id)) = ids
            .iter()
            .enumerate()
            .min_by_key(|(_, id)| self.of(**id).len())
        else {
            return Ok(Vec::new());
        };
        let candidates = self.of(id);
        let mut found = Vec::new();
        if candidates.len().saturating_mul(ids.len()) > self.text.len().saturating_mul(4) {
            self.spend(self.text.len())?;
            for at in all(&self.text, &ids) {
                // `fits` may look at every line once more.
                self.spend(ids.len())?;
                if fits(at) {
                    found.push(at);
                    if found.len() == limit {
                        break;
                    }
                }
            }
            return Ok(found);
        }
        for at in candidates.iter().filter_map(|at| at.checked_sub(rarest)) {
            self.spend(ids.len())?;
            if self.text.get(at..at + ids.len()) == Some(&ids) && fits(at) {
                found.push(at);
                if found.len() == limit {
                    break;
                }
            }
        }
        Ok(found)
    }
}

/// All places of a pattern in a text, by Knuth, Morris and Pratt.
fn all<'a>(text: &'a [u32], pattern: &'a [u32]) -> impl Iterator<Item = usize> + 'a {
    let mut borders = vec![0; pattern.len()];
    let mut border = 0;
    for at in 1..pattern.len() {
        while border > 0 && pattern[at] != pattern[border] {
            border = borders[border - 1];
        }
        border += usize::from(pattern[at] == pattern[border]);
        borders[at] = border;
    }
    let mut matched = 0;
    text.iter().enumerate().filter_map(move |(at, id)| {
        while matched > 0 && *id != pattern[matched] {
            matched = borders[matched - 1];
        }
        matched += usize::from(*id == pattern[matched]);
        (matched == pattern.len()).then(|| {
            matched = borders[matched - 1];
            at + 1 - pattern.len()
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_of_searching_agree() {
        let text: Vec<&[u8]> = b"abaababaabaab".chunks(1).collect();
        let index = Index::new(text.iter().copied());
        for (from, to) in [(0, 3), (1, 2), (2, 7), (0, 13), (5, 9)] {
            let pattern = &text[from..to];
            let naive: Vec<usize> = (0..=text.len() - pattern.len())
                .filter(|&at| &text[at..at + pattern.len()] == pattern)
                .collect();
            assert_eq!(index.find(pattern, 99, |_| true).expect("small"), naive);
            let ids: Vec<u32> = pattern.iter().map(|line| index.numbers[line]).collect();
            assert_eq!(all(&index.text, &ids).collect::<Vec<_>>(), naive);
        }
        assert!(index.find(&[b"z"], 9, |_| true).expect("small").is_empty());
    }
}
