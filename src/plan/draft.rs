//! A step while it is being planned: what speaks against it, and how much that weighs.

use super::{Certainty, Problem, ProblemCode, text};
use crate::preflight::{FileFact, MAX_FILE};
use crate::request::{Content, Pointer};
use std::collections::{BTreeMap, BTreeSet};

/// How much a reason weighs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Weight {
    /// There is nothing to send: always a problem.
    Input,
    /// The host would refuse it: a problem, unless that is expected.
    Host,
    /// The workspace would refuse it, if it is as expected by then: a problem only where that is sure.
    Tree,
}

/// A step while it is being planned.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) pointer: Pointer,
    pub(super) number: usize,
    pub(super) expect_fails: bool,
    pub(super) certainty: Certainty,
    pub(super) notes: Vec<String>,
    /// Places of the step's texts that wait for captured values.
    late: BTreeSet<Pointer>,
    /// The workspace is known to be already as the step would leave it.
    pub(super) idle: bool,
    against: Vec<(Weight, Problem)>,
}

impl Draft {
    pub(super) fn new(index: usize, expect_fails: bool, certainty: Certainty) -> Self {
        Self {
            pointer: Pointer::step(index),
            number: index + 1,
            expect_fails,
            certainty,
            notes: Vec::new(),
            late: BTreeSet::new(),
            idle: false,
            against: Vec::new(),
        }
    }

    /// With the places of its texts that wait for captured values.
    pub(super) fn waiting_at<'a>(mut self, late: impl Iterator<Item = &'a Pointer>) -> Self {
        self.late.extend(late.cloned());
        self
    }

    /// Whether the text at a place is known only when the step runs.
    pub(super) fn is_late(&self, place: &Pointer) -> bool {
        self.late.contains(place) || self.late.contains(&place.at(0))
    }

    pub(super) fn input(&mut self, problem: Problem) {
        self.against.push((Weight::Input, problem));
    }

    pub(super) fn host(&mut self, problem: Problem) {
        self.against.push((Weight::Host, problem));
    }

    pub(super) fn tree(&mut self, problem: Problem) {
        self.against.push((Weight::Tree, problem));
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }

    /// Whether anything speaks against the step so far.
    pub(super) fn is_refused(&self) -> bool {
        !self.against.is_empty()
    }

    /// Whether the step is expected to change the tree: nothing speaks against it, and nobody expects it to fail.
    pub(super) fn takes_effect(&self) -> bool {
        !self.is_refused() && !self.expect_fails
    }

    /// The reasons that are problems now; the others become notes.
    pub(super) fn settle(&mut self, commands: &[usize]) -> Vec<Problem> {
        let mut problems = Vec::new();
        for (weight, problem) in std::mem::take(&mut self.against) {
            let expected = self.expect_fails && weight != Weight::Input;
            let sure = commands.is_empty() || weight != Weight::Tree;
            let Problem { message, .. } = &problem;
            if expected && sure {
                self.notes
                    .push(format!("refused, as the request expects: {message}"));
            } else if expected {
                self.notes
                    .push(format!("likely refused, as the request expects: {message}"));
            } else if sure {
                problems.push(problem);
            } else {
                self.certainty = Certainty::Unknown;
                self.notes.push(format!("does not work yet: {message}"));
                let more = problem.notes.into_iter().map(|note| format!("  {note}"));
                self.notes.extend(more);
                self.notes.push(format!(
                    "{} may change that; it is checked again when this step runs",
                    text::steps(commands)
                ));
            }
        }
        problems
    }

    /// The bytes of a content; `place` is its own in the document.
    pub(super) fn content(
        &mut self,
        content: &Content,
        from: &BTreeMap<String, FileFact>,
        place: &Pointer,
    ) -> Option<Vec<u8>> {
        let path = match content {
            Content::Text(text) => return Some(text.clone().into_bytes()),
            Content::Bytes(bytes) => return Some(bytes.clone()),
            Content::From(path) => path,
        };
        let place = place.at("from");
        let shown = text::escape(path);
        let problem = match from.get(path) {
            Some(FileFact::Content(bytes)) => return Some(bytes.0.clone()),
            None | Some(FileFact::Missing) => Problem::new(
                ProblemCode::FromMissing,
                place,
                format!("there is no host file `{shown}`"),
            )
            .help("host paths begin at the directory of the request file; create the file or name another"),
            Some(FileFact::NotAFile(kind)) => Problem::new(
                ProblemCode::FromUnreadable,
                place,
                format!("`{shown}` is a {kind}, not a file"),
            )
            .help("name a regular file"),
            Some(FileFact::Unreadable(why)) => Problem::new(
                ProblemCode::FromUnreadable,
                place,
                format!("the host file `{shown}` cannot be read: {why}"),
            )
            .help("make it readable for you, or name another file"),
            Some(FileFact::TooLarge(size)) => Problem::new(
                ProblemCode::TooLarge,
                place,
                format!("`{shown}` has {}, more than a plan holds", text::bytes(*size)),
            )
            .help(format!(
                "give a file of at most {}, or put it into the seed",
                text::bytes(MAX_FILE)
            )),
        };
        self.input(problem);
        None
    }
}
