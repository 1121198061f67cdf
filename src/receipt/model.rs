//! The receipt as types. Field names are the document's; a new field is optional, so that old receipts stay readable.

use crate::patch::Refusal;
use crate::plan::{LeftOutStep, PlannedLimit};
use crate::request::{Combination, Digest};
use crate::workspace::HostFile;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pyro_protocol::message::{Change, FileDigest, Kind, Stat, Version};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Bytes as text: UTF-8 with U+FFFD where they are something else, and then the bytes themselves as well.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Text {
    /// For people.
    pub text: String,
    /// The exact bytes, where `text` lost something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base64: Option<String>,
}

impl From<&[u8]> for Text {
    fn from(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self {
                text: text.to_owned(),
                base64: None,
            },
            Err(_) => Self {
                text: String::from_utf8_lossy(bytes).into_owned(),
                base64: Some(STANDARD.encode(bytes)),
            },
        }
    }
}

impl Text {
    /// The exact bytes.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let exact = self
            .base64
            .as_ref()
            .and_then(|text| STANDARD.decode(text).ok());
        exact.unwrap_or_else(|| self.text.clone().into_bytes())
    }
}

/// What happened, from the request to the last host file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Receipt {
    /// The version of the format: 1.
    pub format_version: u32,
    /// The pyro that wrote it.
    pub pyro_version: String,
    /// The run, 12 hex digits.
    pub run: String,
    /// What was asked.
    pub request: RequestReport,
    /// Of the plan that was executed.
    pub plan_digest: Digest,
    /// RFC 3339, UTC.
    pub started_at: String,
    /// RFC 3339, UTC.
    pub ended_at: String,
    /// From start to end.
    pub duration_ms: u64,
    /// The machine: `namespace`.
    pub execution_mode: String,
    /// How the workspace was kept apart, in words: ids, and what is weaker than usual here.
    pub isolation: Vec<String>,
    /// The system tree.
    pub environment: EnvironmentReport,
    /// The workspace that lives and was used; nothing was made then, and what differs from its baseline was not asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<WorkspaceReport>,
    /// What filled the workspace.
    pub seed: Option<SeedReport>,
    /// Limits in force, each with how it is kept.
    pub limits: Vec<PlannedLimit>,
    /// How it ended.
    pub outcome: Outcome,
    /// What went wrong with the machine, where the outcome is `lost`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// Every step of the plan, also those that did not run.
    pub steps: Vec<StepReport>,
    /// Steps of the request that were not part of the run, because others were selected.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOutStep>,
    /// What differs from the baseline at the end, sorted by path.
    pub changes: Vec<ChangeReport>,
    /// Files written on the host, in order.
    pub host_files: Vec<HostFile>,
    /// Of a workspace that was to be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kept: Option<KeptReport>,
}

/// A workspace that lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkspaceReport {
    /// 12 hex digits.
    pub id: String,
    /// As it was called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// What became of a workspace that was to be kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct KeptReport {
    /// What was `/workspace`, on the host; absent where it could not be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// RFC 3339, UTC: from then on a later command removes it.
    pub until: String,
    /// On the disk.
    pub bytes: u64,
    /// Why it could not be kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
}

/// What was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RequestReport {
    /// Its name, if it has one.
    pub name: Option<String>,
    /// How it is called in messages.
    pub source: String,
    /// The combination of its matrix, if it has one.
    #[serde(default, skip_serializing_if = "Combination::is_empty")]
    pub matrix: Combination,
    /// Of the request and every host file it takes text from.
    pub digest: Digest,
}

/// The system tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EnvironmentReport {
    /// `host` or `dir`.
    pub kind: String,
    /// Of a `dir`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Host paths shown read-only inside.
    pub expose: Vec<String>,
}

/// What filled the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SeedReport {
    /// Host directory.
    pub path: String,
    /// Files, directories and links that were copied.
    pub entries: u64,
    /// Of all regular files.
    pub bytes: u64,
    /// Paths not carried over, the first ones: devices, sockets, FIFOs, and what the request leaves out.
    pub left_out: Vec<LeftOutReport>,
    /// How many more there are.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub left_out_more: u64,
}

/// A path of the seed that was not carried over.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LeftOutReport {
    /// Relative to the seed.
    #[serde(flatten)]
    pub path: Text,
    /// `device`, `socket`, `fifo`, `excluded`, `ignored`.
    #[serde(default)]
    pub reason: String,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks this way")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Every step did what was expected.
    Passed,
    /// A step failed.
    Failed,
    /// It was interrupted.
    Cancelled,
    /// The machine or its agent died: what the steps after that would have done is unknown.
    Lost,
}

impl Outcome {
    /// As the receipt spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
            Self::Lost => "lost",
        }
    }
}

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
    /// Of `diff`: the patch text. Of `list`: the paths, one a line.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<Text>,
    /// Of `list`: the same paths with what they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub entries: Vec<EntryReport>,
    /// Of `diff`: every path that differs, those too that have no place in a patch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub changes: Vec<ChangeReport>,
    /// Of `export`.
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
    /// All that was written.
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

/// A workspace file that a step handled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FileReport {
    /// Relative to `/workspace`.
    pub path: Text,
    /// Before the step; nothing where it was created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<PathVersion>,
    /// After the step; nothing where it was deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PathVersion>,
    /// Of `patch`: where the hunks landed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hunks: Vec<HunkReport>,
    /// Of `read`: the contents, at most `max_bytes`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Text>,
    /// Of `read`: whether there is more than `content`.
    #[serde(default)]
    pub truncated: bool,
}

/// Where a hunk landed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct HunkReport {
    /// From 1.
    pub hunk: usize,
    /// Line of the file before the patch, from 1.
    pub line: u64,
    /// Lines away from the stated place.
    pub offset: i64,
}

/// A path at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PathVersion {
    /// `file`, `directory`, `symlink` or `other`.
    #[cfg_attr(test, schemars(with = "super::schema::PathKind"))]
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// Four octal digits.
    pub mode: String,
    /// Of the contents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<Digest>,
    /// Where a link points.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Text>,
}

impl From<&FileDigest> for PathVersion {
    fn from(digest: &FileDigest) -> Self {
        let FileDigest { size, mode, sha256 } = digest;
        Self {
            kind: Kind::File,
            size: *size,
            mode: format!("{mode:04o}"),
            sha256: Digest::from_hex(sha256),
            target: None,
        }
    }
}

impl From<&Version> for PathVersion {
    fn from(version: &Version) -> Self {
        let Version {
            kind,
            mode,
            size,
            sha256,
            target,
        } = version;
        Self {
            kind: *kind,
            size: *size,
            mode: format!("{mode:04o}"),
            sha256: sha256.as_deref().and_then(Digest::from_hex),
            target: target.as_ref().map(|target| Text::from(&target[..])),
        }
    }
}

/// A path that was listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct EntryReport {
    /// Relative to `/workspace`.
    pub path: Text,
    /// What is there; a link itself, no digest.
    pub now: PathVersion,
}

impl From<&Stat> for EntryReport {
    fn from(stat: &Stat) -> Self {
        Self {
            path: Text::from(&stat.path[..]),
            now: PathVersion {
                kind: stat.kind,
                size: stat.size,
                mode: format!("{:04o}", stat.mode & 0o7777),
                sha256: None,
                target: stat.target.as_ref().map(|target| Text::from(&target[..])),
            },
        }
    }
}

/// A path that differs from the baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChangeReport {
    /// Relative to `/workspace`.
    pub path: Text,
    /// In the baseline; nothing when added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<PathVersion>,
    /// At the end; nothing when deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<PathVersion>,
}

impl From<&Change> for ChangeReport {
    fn from(change: &Change) -> Self {
        let Change {
            path,
            before,
            after,
        } = change;
        Self {
            path: Text::from(&path[..]),
            before: before.as_ref().map(PathVersion::from),
            after: after.as_ref().map(PathVersion::from),
        }
    }
}

/// Why pyro refused a step. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RefusalReport {
    /// Kebab-case; see `specs/errors.md`.
    pub code: String,
    /// One sentence; further lines show detail.
    pub message: String,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Of `patch`: every reason, in the order of the patch.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<PatchReason>,
}

/// One reason why a patch was refused: what [`Refusal`] says, as data.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PatchReason {
    /// Kebab-case; see `specs/errors.md`.
    pub code: String,
    /// One sentence, without file and hunk.
    pub message: String,
    /// The file, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<Text>,
    /// From 1, within the section of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hunk: Option<usize>,
    /// Line of the patch text, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub patch_line: Option<usize>,
    /// Line of the file, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_line: Option<u64>,
    /// Where the hunk comes closest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest: Option<NearestReport>,
    /// Lines of the file where the hunk fits, though it may not be put there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<u64>,
    /// Files that are there, with names close to the missing one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub similar: Vec<Text>,
    /// Lines that the patch expects from `file_line` on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expected: Vec<Text>,
    /// Lines that the file has there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found: Vec<Text>,
    /// The way out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

/// Where a hunk that fits nowhere comes closest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct NearestReport {
    /// Line of the file where the hunk would start, from 1.
    pub line: u64,
    /// Lines away from the stated place, negative upwards; left out where none is stated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distance: Option<i64>,
    /// Old lines that are the same there.
    pub equal: usize,
    /// Old lines of the hunk.
    pub of: usize,
}

impl From<&Refusal> for PatchReason {
    fn from(refusal: &Refusal) -> Self {
        let Refusal {
            code,
            file,
            hunk,
            patch_line,
            file_line,
            message,
            nearest,
            places,
            similar,
            expected,
            found,
            help,
        } = refusal;
        let texts = |lines: &[Vec<u8>]| lines.iter().map(|line| Text::from(&line[..])).collect();
        Self {
            code: code.as_str().to_owned(),
            message: message.clone(),
            file: file.as_deref().map(Text::from),
            hunk: *hunk,
            patch_line: *patch_line,
            file_line: *file_line,
            nearest: nearest.map(|near| NearestReport {
                line: near.line,
                distance: near.distance,
                equal: near.equal,
                of: near.of,
            }),
            places: places.clone(),
            similar: texts(similar),
            expected: texts(expected),
            found: texts(found),
            help: help.clone(),
        }
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
