//! Takes secrets out of a text that comes in pieces, and holds back no more than may be the beginning of one.

use super::redaction::{Machines, Redaction, TAG};
use super::scan::Scan;
use std::fmt;
use std::sync::Arc;

/// A text that comes in pieces. However it is cut, the same comes out.
pub struct Stream(Option<Box<State>>);

struct State {
    machines: Arc<Machines>,
    scan: Scan,
    /// What came and did not go out yet.
    held: Vec<u8>,
    /// The place of the first of it in the text.
    from: u64,
    any: bool,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Stream(..)")
    }
}

impl Stream {
    pub(super) fn new(machines: Option<Arc<Machines>>) -> Self {
        Self(machines.map(|machines| {
            Box::new(State {
                scan: Scan::new(&machines.plain, &machines.wrapped),
                machines,
                held: Vec::new(),
                from: 0,
                any: false,
            })
        }))
    }

    /// Takes the next piece and hands on what no secret can be part of any more. Without secrets that is the piece.
    pub fn push<'t>(&mut self, piece: &'t [u8]) -> std::borrow::Cow<'t, [u8]> {
        let Some(state) = &mut self.0 else {
            return piece.into();
        };
        let State {
            machines,
            scan,
            held,
            ..
        } = &mut **state;
        scan.feed(&machines.plain, &machines.wrapped, piece);
        held.extend_from_slice(piece);
        let until = scan.settled(&machines.plain);
        state.hand_on(until).into()
    }

    /// What was held back: the text is over.
    pub fn finish(&mut self) -> Vec<u8> {
        match &mut self.0 {
            Some(state) => {
                let until = state.scan.at();
                state.hand_on(until)
            }
            None => Vec::new(),
        }
    }

    /// Whether a secret was in it so far.
    pub fn any(&self) -> bool {
        self.0.as_ref().is_some_and(|state| state.any)
    }

    /// The names of the secrets that were in it so far.
    pub fn seen(&self) -> Vec<String> {
        self.0.as_ref().map_or_else(Vec::new, |state| {
            Redaction::names(&state.machines, state.scan.seen.iter().copied())
        })
    }
}

impl State {
    fn hand_on(&mut self, until: u64) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(place) = self.scan.places.front_mut()
            && place.start < until
        {
            let (start, end) = (place.start, place.end);
            if !std::mem::replace(&mut place.told, true) {
                self.any = true;
                let shown = index(start - self.from);
                out.extend(self.held.drain(..shown));
                out.extend_from_slice(TAG.as_bytes());
                self.from = start;
            }
            let gone = end.min(until);
            self.held.drain(..index(gone - self.from));
            self.from = gone;
            if end > until {
                // More may turn out to belong to it.
                return out;
            }
            self.scan.places.pop_front();
        }
        out.extend(self.held.drain(..index(until - self.from)));
        self.from = until;
        out
    }
}

/// What is held back fits into memory.
fn index(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
