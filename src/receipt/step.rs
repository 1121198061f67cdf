//! What one step did.

use super::{
    ChangeReport, CountsReport, EntryReport, FileReport, MoveReport, PullReport, RefusalReport,
    SearchReport, SeedReport, Text,
};
use crate::workspace::HostFile;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a step ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum StepOutcome {
    /// As expected.
    Passed,
    /// Refused, or an expectation does not hold.
    Failed,
    /// Interrupted while it ran.
    Cancelled,
    /// The machine died while it ran: whether it had an effect is unknown.
    Lost,
    /// Not run, because of an earlier step.
    NotRun,
}

/// One step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct StepReport {
    /// From 1.
    pub number: usize,
    /// Its name, if it has one.
    pub id: Option<String>,
    /// The verb.
    pub verb: String,
    /// Where it stands in the document (RFC 6901).
    pub pointer: String,
    /// What it was about, in one line.
    pub summary: String,
    /// How it ended.
    pub outcome: StepOutcome,
    /// From start to end.
    pub duration_ms: u64,
    /// Of `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecReport>,
    /// Of `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<OutputReport>,
    /// Of `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<OutputReport>,
    /// Workspace files that `write`, `patch` and `delete` changed, or `read` read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileReport>,
    /// Of `move`: what has another path now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<MoveReport>,
    /// Of `search`: the lines as data; `text` has them too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub search: Option<SearchReport>,
    /// Of `sync`: what was laid over the workspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync: Option<SeedReport>,
    /// Of `diff`: the patch text. Of `list`: the paths, one a line. Of `search`: the lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// Of `snapshot` and `reset`: how much was kept, or put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counts: Option<CountsReport>,
    /// Of `list`: the same paths with what they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<EntryReport>,
    /// Of `list`: what is not told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rest: Option<RestReport>,
    /// Of `diff`: every path that differs, those too that have no place in a patch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeReport>,
    /// Of `pull`: what was brought home, or would be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pull: Option<PullReport>,
    /// Of `export` and `pull`: files that were written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub host_files: Vec<HostFile>,
    /// Why pyro refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalReport>,
    /// Every expectation that does not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<ExpectFailure>,
    /// For people: a patch that landed elsewhere than planned, processes left running.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What it captured, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub captures: BTreeMap<String, String>,
    /// The attempts before the last one, in order; everything else is about the last one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attempts: Vec<AttemptReport>,
    /// Whether secrets were taken out of anything that is said here.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

/// What of an answer is not told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RestReport {
    /// How many paths.
    pub entries: u64,
    /// `after` of the step that goes on.
    pub next_after: Text,
}

/// An attempt of a step that failed and was followed by another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AttemptReport {
    /// From start to end, without the wait after it.
    pub duration_ms: u64,
    /// Of `exec`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecReport>,
    /// Of `exec`: at most 2 KiB of each end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdout: Option<OutputReport>,
    /// Of `exec`: at most 2 KiB of each end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<OutputReport>,
    /// Why pyro refused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalReport>,
    /// Every expectation that did not hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failures: Vec<ExpectFailure>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExecReport {
    /// 0 to 255 by itself; 124 timed out, 128+n by signal n, 126 or 127 not started.
    pub exit_code: i32,
    /// Ended by this signal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Why we sent the signal, where we did: `memory limit`, `disk limit`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Its time was over; it and all it started were ended.
    pub timed_out: bool,
    /// The kernel refused to start it: in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_started: Option<String>,
    /// From start to end.
    pub duration_us: u64,
    /// User and system time.
    pub cpu_us: u64,
    /// Largest resident set.
    pub max_rss_kib: u64,
    /// Processes it left running.
    pub left_running: u32,
}

/// One output stream.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OutputReport {
    /// All that was written; where it is `redacted`, with `[REDACTED]` in the place of secrets.
    pub bytes: u64,
    /// Of these, the last ones, which were not kept anywhere.
    pub dropped: u64,
    /// Of the kept bytes.
    pub sha256: String,
    /// The beginning; everything, unless `truncated`.
    pub head: Text,
    /// The end, where `truncated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tail: Option<Text>,
    /// Whether there is something between head and tail.
    pub truncated: bool,
    /// Where all kept bytes are, beside the receipt in the state directory, where `truncated`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Whether secrets were taken out of it; the digest is of what is left then.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub redacted: bool,
}

impl OutputReport {
    /// Keeps at most so many bytes of each end.
    pub(crate) fn shorten(&mut self, most: usize) {
        let Self {
            head,
            tail,
            truncated,
            ..
        } = self;
        let end = tail.as_ref().unwrap_or(head).bytes();
        let start = head.bytes();
        if !*truncated && start.len() <= 2 * most {
            return;
        }
        *truncated = true;
        *head = Text::from(&start[..start.len().min(most)]);
        *tail = Some(Text::from(&end[end.len().saturating_sub(most)..]));
    }
}

/// An expectation that does not hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ExpectFailure {
    /// Where it stands in the document (RFC 6901).
    pub pointer: String,
    /// One sentence.
    pub message: String,
    /// What was expected, where one sentence does not hold it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<Text>,
    /// Expected against actual, line by line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<Text>,
}
