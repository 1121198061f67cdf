//! Holds what came out against a golden, and writes the golden where that is wanted.

use super::expect::failure;
use super::session::Session;
use crate::patch;
use crate::plan::{GoldenUse, PlannedGolden, PlannedStep, PlannedText, TextCheck};
use crate::receipt::{ExpectFailure, StepReport, Text};
use crate::request::{Overwrite, Pointer};
use crate::workspace::{HostTarget, HostWriteError, unpack};
use pyro_protocol::message::Kind;
use std::collections::BTreeMap;
use std::error::Error as _;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

/// What is done about texts that differ from their goldens; shared by all runs of one command.
#[derive(Clone, Default)]
pub struct Goldens {
    reviewer: Option<Arc<Mutex<Reviewer>>>,
    writes: bool,
    /// What was written so far.
    written: Arc<Mutex<BTreeMap<PathBuf, Vec<u8>>>>,
}

type Reviewer = dyn FnMut(&GoldenChange<'_>) -> Verdict + Send;

/// A golden that would be written.
#[derive(Debug)]
pub struct GoldenChange<'a> {
    /// The step's name, or `#N`.
    pub step: String,
    /// `stdout`, `stderr`, `content` or `text`.
    pub source: &'a str,
    /// The golden, as the request says it.
    pub golden: &'a str,
    /// Whether there is one already.
    pub exists: bool,
    /// Old against new, as a unified diff.
    pub diff: &'a [u8],
}

/// What a reviewer says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Write it.
    Accept,
    /// Leave it; the expectation fails.
    Skip,
}

impl Goldens {
    /// A text that differs fails its expectation.
    pub fn compare() -> Self {
        Self::default()
    }
    /// Goldens are written where the step is otherwise as expected.
    pub fn update() -> Self {
        Self {
            writes: true,
            ..Self::default()
        }
    }
    /// As [`Goldens::update`], but `reviewer` is asked about each difference.
    pub fn review(reviewer: impl FnMut(&GoldenChange<'_>) -> Verdict + Send + 'static) -> Self {
        Self {
            reviewer: Some(Arc::new(Mutex::new(reviewer))),
            ..Self::update()
        }
    }
    /// What the planner has to know.
    pub fn usage(&self) -> GoldenUse {
        if self.writes {
            GoldenUse::Write
        } else {
            GoldenUse::Compare
        }
    }
}

impl fmt::Debug for Goldens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Goldens")
            .field("writes", &self.writes)
            .field("reviewed", &self.reviewer.is_some())
            .finish_non_exhaustive()
    }
}

/// Whether a text is held against a golden at all.
pub(super) fn wanted(checks: &PlannedText) -> bool {
    let golden = |check: &TextCheck| matches!(check, TextCheck::Golden(_));
    checks.iter().any(|(_, check)| golden(check))
}

impl Session<'_> {
    /// Holds a text against its goldens. To be called when every other expectation of the step was looked at.
    pub(super) fn goldens(
        &mut self,
        step: &PlannedStep,
        source: &str,
        wanted: &PlannedText,
        text: &[u8],
        dropped: u64,
        report: &mut StepReport,
    ) {
        for (place, check) in wanted {
            let golden = match check {
                TextCheck::Golden(golden) => &**golden,
                TextCheck::Equals(_)
                | TextCheck::Contains(_)
                | TextCheck::Matches(_)
                | TextCheck::Lines(_)
                | TextCheck::Empty(_) => continue,
            };
            let actual = self.redactor().apply(text);
            let failed = self.golden(step, source, (place, golden), &actual, dropped, report);
            report.failures.extend(failed);
        }
    }

    fn golden(
        &mut self,
        step: &PlannedStep,
        source: &str,
        (place, golden): (&Pointer, &PlannedGolden),
        actual: &[u8],
        dropped: u64,
        report: &mut StepReport,
    ) -> Option<ExpectFailure> {
        let goldens = self.goldens.clone();
        // One at a time: two runs may have one golden.
        let mut written = goldens
            .written
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let before = written.get(&golden.path);
        let expected = before.or(golden.expected.as_ref());
        if dropped == 0 && expected.is_some_and(|expected| expected == actual) {
            return None;
        }
        let shown = expected.map_or(&[][..], |expected| expected);
        let diff = patch::lines(&self.secrets.redaction().bytes(shown), actual);
        let differs = |why: &str| {
            let what = match expected {
                Some(_) => format!("{source} is not what the golden `{}` holds", golden.shown),
                None => format!("there is no golden `{}`; it would be this", golden.shown),
            };
            Some(ExpectFailure {
                diff: Some(Text::from(&diff[..])),
                ..failure(place, format!("{what}{why}"))
            })
        };
        if dropped > 0 {
            return differs(&format!(
                " (its last {dropped} bytes were too many to keep)"
            ));
        }
        if golden.usage == GoldenUse::Compare {
            return differs("");
        }
        if before.is_some() {
            return differs(", which was written a moment ago from another text");
        }
        if !report.failures.is_empty() {
            return differs("; not written, because the step failed otherwise");
        }
        if let Some(reviewer) = &goldens.reviewer {
            let mut reviewer = reviewer.lock().unwrap_or_else(PoisonError::into_inner);
            let verdict = reviewer(&GoldenChange {
                step: step.label(),
                source,
                golden: &golden.shown,
                exists: expected.is_some(),
                diff: &diff,
            });
            if verdict == Verdict::Skip {
                return differs("; skipped");
            }
        }
        let exists = expected.is_some();
        match self.write_golden(golden, actual) {
            Ok(files) => report.host_files.extend(files),
            Err(error) => {
                let source = error.source().map(|source| format!(": {source}"));
                let source = source.unwrap_or_default();
                return differs(&format!("; could not {error}{source}"));
            }
        }
        let word = if exists { "updated" } else { "written" };
        report
            .notes
            .push(format!("the golden {} was {word}", golden.shown));
        written.insert(golden.path.clone(), actual.to_vec());
        None
    }

    /// Writes a golden as an export would be: whole, and through no link.
    fn write_golden(
        &self,
        golden: &PlannedGolden,
        bytes: &[u8],
    ) -> Result<Vec<crate::workspace::HostFile>, HostWriteError> {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        header.set_cksum();
        let mut archive = tar::Builder::new(Vec::new());
        let archive = archive
            .append(&header, bytes)
            .and_then(|()| archive.into_inner())
            .map_err(HostWriteError::Receive)?;
        let target = HostTarget {
            path: &golden.path,
            overwrite: Overwrite::Allow,
            kind: Kind::File,
            limit: u64::MAX,
        };
        unpack(&*archive, &target, self.run)
    }
}
