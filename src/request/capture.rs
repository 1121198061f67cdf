//! Values that steps hand on: what is captured, where such a value is used, and how often a step is tried.

use super::{Duration, StepId};
use std::fmt;

/// One captured value: the first group of a regular expression, or its whole match where it has no group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capture {
    /// Where it is looked for.
    pub source: CaptureSource,
    /// What is looked for (`regex::bytes`, unanchored); the first match counts. Nothing is trimmed.
    pub regex: String,
}

/// Where a value is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CaptureSource {
    /// `exec`: standard output.
    Stdout,
    /// `exec`: standard error.
    Stderr,
    /// `read`: what was read.
    Content,
    /// `diff`: the patch text; `list`: one path a line.
    Text,
}

impl CaptureSource {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Stdout, Self::Stderr, Self::Content, Self::Text];
    /// As the document spells it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Content => "content",
            Self::Text => "text",
        }
    }
}

/// How often a step is tried before it counts as failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retry {
    /// The first time included: 2 to [`Retry::MOST`].
    pub times: u64,
    /// From the end of one attempt to the beginning of the next; 1 s by default.
    pub every: Option<Duration>,
}

impl Retry {
    /// The most attempts.
    pub const MOST: u64 = 100;
}

/// What a host variable holds.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostVariable {
    /// This.
    Text(String),
    /// It is not set.
    Unset,
    /// Bytes that are no UTF-8.
    NotText,
}

/// A text with parts that are known only when the request runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(pub Vec<Piece>);

/// A part of a [`Template`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Known.
    Text(String),
    /// What a step captures.
    Captured {
        /// The step, counted from 0.
        index: usize,
        /// Its name.
        step: StepId,
        /// The name of the value.
        name: String,
    },
}

impl Template {
    /// The text, where `value` (of the step's index and the name) knows every part; else the first that it does not.
    ///
    /// # Errors
    /// The part that is not known.
    pub fn fill<'a>(
        &'a self,
        value: impl Fn(usize, &str) -> Option<&'a str>,
    ) -> Result<String, &'a Piece> {
        let mut out = String::new();
        for piece in &self.0 {
            out.push_str(match piece {
                Piece::Text(text) => text,
                Piece::Captured { index, name, .. } => value(*index, name).ok_or(piece)?,
            });
        }
        Ok(out)
    }

    /// The values that it waits for, in order.
    pub fn captured(&self) -> impl Iterator<Item = &Piece> {
        let captured = |piece: &&Piece| matches!(piece, Piece::Captured { .. });
        self.0.iter().filter(captured)
    }
}

impl fmt::Display for Piece {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Captured { step, name, .. } => write!(f, "${{step.{step}.{name}}}"),
        }
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|piece| piece.fmt(f))
    }
}
