//! What happened in several runs, as one document.

use super::{Outcome, Receipt};
use crate::request::Combination;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::Path;

/// Several runs, in the order in which they were asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Runs {
    /// The version of the format: 1.
    pub format_version: u32,
    /// The pyro that wrote it.
    pub pyro_version: String,
    /// How they ended, taken together: the worst.
    pub outcome: Outcome,
    /// From the start of the first to the end of the last.
    pub duration_ms: u64,
    /// One for each.
    pub runs: Vec<RunReport>,
}

/// One of several runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunReport {
    /// Of the request, if it has one.
    pub name: Option<String>,
    /// How the request is called in messages.
    pub source: String,
    /// The combination of the request's matrix, if it has one.
    #[serde(default, skip_serializing_if = "Combination::is_empty")]
    pub matrix: Combination,
    /// How it ended.
    pub outcome: RunOutcome,
    /// Why there is no receipt, where the run could not begin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where the receipt is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The receipt, where there is one.
    pub receipt: Option<Receipt>,
}

/// How one of several runs ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum RunOutcome {
    /// Every step did what was expected.
    Passed,
    /// A step failed.
    Failed,
    /// It was interrupted.
    Cancelled,
    /// The machine or its agent died, or the run could not begin.
    Lost,
    /// It was not begun, because of an interrupt.
    NotRun,
}

impl From<Outcome> for RunOutcome {
    fn from(outcome: Outcome) -> Self {
        match outcome {
            Outcome::Passed => Self::Passed,
            Outcome::Failed => Self::Failed,
            Outcome::Cancelled => Self::Cancelled,
            Outcome::Lost => Self::Lost,
        }
    }
}

impl Runs {
    /// The runs as one document. An interrupt is the worst, then a lost machine, then a step that failed.
    pub fn new(runs: Vec<RunReport>, duration_ms: u64) -> Self {
        let any = |wanted: &[RunOutcome]| runs.iter().any(|run| wanted.contains(&run.outcome));
        let outcome = if any(&[RunOutcome::Cancelled, RunOutcome::NotRun]) {
            Outcome::Cancelled
        } else if any(&[RunOutcome::Lost]) {
            Outcome::Lost
        } else if any(&[RunOutcome::Failed]) {
            Outcome::Failed
        } else {
            Outcome::Passed
        };
        Self {
            format_version: 1,
            pyro_version: env!("CARGO_PKG_VERSION").to_owned(),
            outcome,
            duration_ms,
            runs,
        }
    }

    /// As JSON text: two-space indent, sorted keys, a final newline.
    pub fn to_json(&self) -> String {
        super::json_text(self)
    }

    /// Writes it so that `path` holds either what it held before or all of this.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn write(&self, path: &Path) -> io::Result<()> {
        crate::workspace::replace_file(path, self.to_json().as_bytes())
    }
}
