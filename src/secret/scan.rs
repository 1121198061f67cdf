//! Finds forms of secrets in bytes that come in pieces.
//!
//! What is found is the union of all places where any form stands: a byte that is part of one is never shown, whatever
//! stands around it. So the order in which forms are looked for does not matter, and neither does where pieces end.

use aho_corasick::automaton::{Automaton as _, StateID};
use aho_corasick::nfa::contiguous::NFA;
use aho_corasick::{Anchored, BuildError};
use std::collections::{BTreeSet, HashMap, VecDeque};

/// Blanks and line breaks in a row that a wrapped form may have: a line break and what a line is indented by.
const MOST_BLANKS: u32 = 32;

/// All forms of a kind at once.
pub(super) struct Machine {
    nfa: NFA,
    start: StateID,
    /// How many of the last bytes may be the beginning of a form, where that is more than none.
    depths: HashMap<StateID, usize>,
    /// Whose form each is.
    owners: Vec<usize>,
    pub(super) longest: usize,
}

impl Machine {
    /// For forms, each with the number of its secret.
    ///
    /// # Errors
    /// Where there are more of them than a machine can have.
    pub(super) fn new(forms: &[(Vec<u8>, usize)]) -> Result<Self, BuildError> {
        let nfa = NFA::builder()
            .prefilter(false)
            .build(forms.iter().map(|(form, _)| form))?;
        let start = match nfa.start_state(Anchored::No) {
            Ok(start) => start,
            Err(_) => unreachable!("it begins anywhere unless told otherwise"),
        };
        let mut depths = HashMap::new();
        for (form, _) in forms {
            let mut state = start;
            for (index, byte) in form.iter().enumerate() {
                state = nfa.next_state(Anchored::No, state, *byte);
                depths.insert(state, index + 1);
            }
        }
        Ok(Self {
            start,
            depths,
            owners: forms.iter().map(|(_, owner)| *owner).collect(),
            longest: forms.iter().map(|(form, _)| form.len()).max().unwrap_or(0),
            nfa,
        })
    }

    /// Takes a byte; the longest form that ends with it, if any.
    fn step(&self, state: &mut StateID, byte: u8, seen: &mut BTreeSet<usize>) -> Option<usize> {
        *state = self.nfa.next_state(Anchored::No, *state, byte);
        if !self.nfa.is_special(*state) || !self.nfa.is_match(*state) {
            return None;
        }
        let forms = (0..self.nfa.match_len(*state)).map(|at| self.nfa.match_pattern(*state, at));
        forms
            .map(|form| {
                seen.insert(self.owners[form.as_usize()]);
                self.nfa.pattern_len(form)
            })
            .max()
    }

    fn depth(&self, state: StateID) -> usize {
        self.depths.get(&state).copied().unwrap_or(0)
    }
}

/// A place of the stream in which forms of secrets stand, from the first byte to the one after the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: u64,
    pub(super) end: u64,
    /// That it is there was said.
    pub(super) told: bool,
}

/// How far a stream was read.
#[derive(Debug)]
pub(super) struct Scan {
    plain: StateID,
    wrapped: StateID,
    at: u64,
    blanks: u32,
    /// Where the bytes are that the wrapped forms are held against: the last ones.
    positions: VecDeque<u64>,
    /// In order; they do not overlap.
    pub(super) places: VecDeque<Place>,
    /// The numbers of the secrets that were seen.
    pub(super) seen: BTreeSet<usize>,
}

impl Scan {
    pub(super) fn new(plain: &Machine, wrapped: &Machine) -> Self {
        Self {
            plain: plain.start,
            wrapped: wrapped.start,
            at: 0,
            blanks: 0,
            positions: VecDeque::new(),
            places: VecDeque::new(),
            seen: BTreeSet::new(),
        }
    }

    /// Takes the next bytes.
    pub(super) fn feed(&mut self, plain: &Machine, wrapped: &Machine, bytes: &[u8]) {
        for byte in bytes {
            self.at += 1;
            if let Some(length) = plain.step(&mut self.plain, *byte, &mut self.seen) {
                self.found(self.at - length as u64);
            }
            if matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                self.blanks += 1;
                if self.blanks > MOST_BLANKS {
                    self.wrapped = wrapped.start;
                }
                continue;
            }
            self.blanks = 0;
            self.positions.push_back(self.at - 1);
            if let Some(length) = wrapped.step(&mut self.wrapped, *byte, &mut self.seen)
                && let Some(start) = self.positions.len().checked_sub(length)
            {
                self.found(self.positions[start]);
            }
        }
        // Those before cannot be part of a form any more.
        let needed = wrapped.depth(self.wrapped);
        let spare = self.positions.len() - needed.min(self.positions.len());
        self.positions.drain(..spare);
    }

    /// A form begins there and ends with the last byte.
    fn found(&mut self, start: u64) {
        let mut place = Place {
            start,
            end: self.at,
            told: false,
        };
        while let Some(last) = self.places.back()
            && last.end > place.start
        {
            place.start = place.start.min(last.start);
            place.told |= last.told;
            self.places.pop_back();
        }
        self.places.push_back(place);
    }

    /// Whatever comes: no form that is not found yet begins before this byte.
    pub(super) fn settled(&self, plain: &Machine) -> u64 {
        let plain = self.at - plain.depth(self.plain) as u64;
        let wrapped = self.positions.front().copied().unwrap_or(self.at);
        plain.min(wrapped)
    }

    /// How much was read.
    pub(super) fn at(&self) -> u64 {
        self.at
    }
}
