//! The plan as types. Nothing in it is optional because nobody decided.

use super::{Late, PlannedCapture, PlannedGolden, PlannedGroup, PlannedRetry, Problem};
use crate::patch;
use crate::preflight::ArchiveFact;
use crate::request::{
    Base, ChangedExpect, Combination, Digest, Duration, GuestPath, Missing, Overwrite, PatchMatch,
    Point, Pointer, Signal, Size, SnapshotName, StepId,
};
use pyro_protocol::Bytes;
use pyro_protocol::boot::Limits;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Everything that will happen, in order.
#[derive(Debug, Clone)]
pub struct Plan {
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// How the request is called in messages: its file as given, or `request`.
    pub source: String,
    /// Of the canonical request and every host file it takes text from.
    pub request_digest: Digest,
    /// Of the plan itself.
    pub digest: Digest,
    /// The workspace to make.
    pub workspace: PlannedWorkspace,
    /// In the order they run.
    pub steps: Vec<PlannedStep>,
    /// The combination of the request's matrix.
    pub matrix: Combination,
    /// Steps of the request that do not run, because others were selected.
    pub left_out: Vec<LeftOutStep>,
    /// What texts are rid of before they are compared with goldens: regular expressions by name.
    pub redact: BTreeMap<String, String>,
    /// What outside the workspace is touched.
    pub reach: Reach,
}

/// A step of the request that was not selected.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LeftOutStep {
    /// From 1.
    pub number: usize,
    /// Its name, if it has one.
    pub id: Option<String>,
}

/// The workspace to make.
#[derive(Debug, Clone)]
pub struct PlannedWorkspace {
    /// The system tree.
    pub environment: PlannedEnvironment,
    /// As the request says it: `host`, `dir:PATH`.
    pub environment_shown: String,
    /// The kind of machine.
    pub machine: PlannedMachine,
    /// Why this machine, in words, where the request left the choice (`auto: host needs namespaces`).
    pub machine_note: Option<String>,
    /// What fills `/workspace`; an empty one otherwise.
    pub seed: Option<PlannedSeed>,
    /// Host paths shown read-only at the same place: absolute, links resolved.
    pub expose: Vec<PathBuf>,
    /// Its secrets, sorted by name. No plan has a value.
    pub secrets: Vec<PlannedSecret>,
    /// In force for the whole workspace.
    pub limits: Limits,
    /// Control groups that hold programs to them.
    pub groups: Vec<PlannedGroup>,
    /// How many processors programs are kept on, where no group can divide them.
    pub processors: Option<u32>,
    /// The same for people and receipts: each limit with how it is kept.
    pub limits_shown: Vec<PlannedLimit>,
    /// Whether `/workspace` outlives the run.
    pub keep: Option<PlannedKeep>,
    /// Of the sandbox.
    pub hostname: String,
    /// Bytes that were free where workspaces live.
    pub disk_free: Option<u64>,
    /// It lives already, and nothing is made.
    pub existing: Option<ExistingWorkspace>,
    /// What it is called, of one that is made.
    pub name: Option<String>,
    /// What else is to be known of it.
    pub labels: BTreeMap<String, String>,
    /// For people: what is short, unusual or assumed.
    pub notes: Vec<String>,
}

/// A workspace that lives, which the steps are run in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExistingWorkspace {
    /// 12 hex digits.
    pub id: String,
    /// As it was called when the plan was made.
    pub name: Option<String>,
    /// The request as the history of the workspace keeps it.
    pub noted: String,
}

/// A secret of the workspace: what it is called, and where its value will come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedSecret {
    /// What steps call it.
    pub name: String,
    /// As the request says it; of a workspace that lives nothing.
    pub shown: Option<String>,
    /// Where its value is read when it is needed.
    pub from: PlannedSecretSource,
}

/// Where the value of a secret is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedSecretSource {
    /// The caller holds it.
    Literal,
    /// A variable of the host's environment.
    Variable(String),
    /// A host file: absolute.
    File(PathBuf),
    /// The workspace that lives keeps it.
    Kept,
}

impl PlannedSecretSource {
    /// `literal`, `env`, `file`; `kept` where the workspace has it already.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Literal => "literal",
            Self::Variable(_) => "env",
            Self::File(_) => "file",
            Self::Kept => "kept",
        }
    }
}

/// What happens to `/workspace` when the run is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedKeep {
    /// Also where the run passed.
    pub always: bool,
    /// From the end of the run on; a command that comes later removes it.
    pub ttl: Duration,
}

/// The kind of machine, decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlannedMachine {
    /// Linux namespaces.
    Namespace,
}

impl PlannedMachine {
    /// As the document spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "namespace",
        }
    }
}

/// The system tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlannedEnvironment {
    /// The host's own programs.
    Host,
    /// An unpacked root file system: absolute, links resolved.
    Dir(PathBuf),
}

/// A limit and how it is kept.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct PlannedLimit {
    /// `memory`, `disk`, `processes`, `open files`, `network`.
    pub name: String,
    /// For people: `4GiB`, `1024`, `off`.
    pub value: String,
    /// How it is kept.
    pub enforcement: Enforcement,
}

/// How a limit is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Enforcement {
    /// The kernel refuses to go beyond it.
    Enforced,
    /// A watchdog ends what goes beyond it, a moment later.
    Watched,
    /// Nobody does.
    NotEnforced,
}

/// The directory or archive that fills the workspace, or that a `sync` step lays over it.
#[derive(Debug, Clone)]
pub struct PlannedSeed {
    /// Absolute.
    pub path: PathBuf,
    /// As the request says it.
    pub shown: String,
    /// Regular files.
    pub files: u64,
    /// Directories and links.
    pub others: u64,
    /// Of all regular files.
    pub bytes: u64,
    /// What is not carried over, and why. Sorted by path; the first ones.
    pub left_out: Vec<LeftOut>,
    /// How many more there are.
    pub left_out_more: u64,
    /// It is this archive, not a directory. Another one is not run.
    pub archive: Option<ArchiveFact>,
    /// Gitignore patterns of what is left out.
    pub exclude: Vec<String>,
    /// Whether its `.gitignore` files count as well.
    pub respect_gitignore: bool,
    /// Of the paths, kinds and sizes that were seen (contents are read only where a step rests on them).
    pub listing: Digest,
    /// Of everything that a copy must hold, where the plan was saved and approved: another copy is refused.
    pub contents: Option<Digest>,
}

/// Something of the seed that is not carried over.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct LeftOut {
    /// Relative to its source.
    pub path: Bytes,
    /// `socket`, `device`, `fifo`, `excluded`, `ignored`.
    pub reason: String,
}

/// One step.
#[derive(Debug, Clone)]
pub struct PlannedStep {
    /// From 1.
    pub number: usize,
    /// Its name, if it has one.
    pub id: Option<StepId>,
    /// Where it stands in the document.
    pub pointer: Pointer,
    /// What to do.
    pub action: PlannedAction,
    /// Whether the outcome is known.
    pub certainty: Certainty,
    /// For people: why a prediction may turn out differently, and the like.
    pub notes: Vec<String>,
    /// Runs after an earlier failure too.
    pub always: bool,
    /// The step must be refused.
    pub expect_fails: bool,
    /// What it may change in the workspace, where that is expected.
    pub changed: Option<ChangedExpect>,
    /// What it captures for later steps, by name.
    pub captures: Vec<PlannedCapture>,
    /// Its texts that wait for what earlier steps capture.
    pub late: Vec<Late>,
    /// How often it is tried; once where absent.
    pub retry: Option<PlannedRetry>,
    /// What it may change.
    pub effect: Effect,
}

impl Plan {
    /// The furthest that any step reaches.
    pub fn effect(&self) -> Effect {
        let effects = self.steps.iter().map(|step| step.effect);
        effects.max().unwrap_or(Effect::Nothing)
    }
}

impl PlannedStep {
    /// The step's name, or `#N`.
    pub fn label(&self) -> String {
        self.id
            .as_ref()
            .map_or_else(|| format!("#{}", self.number), ToString::to_string)
    }
}

/// What a step may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Effect {
    /// Nothing: it looks, or all is known to be as it would leave it, or it is surely refused, as expected.
    Nothing,
    /// The workspace.
    Workspace,
    /// The host.
    Host,
}

/// Whether the outcome of a step is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Certainty {
    /// Nothing ran before that could change it.
    Exact,
    /// Computed from the seed and earlier writes, but an earlier command may change what it rests on.
    Predicted,
    /// Known only when it runs.
    Unknown,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum PlannedAction {
    /// Runs a program.
    Exec(PlannedExec),
    /// Writes files, all of them or none.
    Write(PlannedWrite),
    /// Applies a patch, all files or none.
    Patch(Box<PlannedPatch>),
    /// Deletes paths, all of them or none.
    Delete(PlannedDelete),
    /// Gives a path another name.
    Move(PlannedMove),
    /// Reads files.
    Read(PlannedRead),
    /// Lists a directory.
    List(PlannedList),
    /// Finds lines in files.
    Search(PlannedSearch),
    /// Shows what changed since the baseline, or a snapshot.
    Diff(PlannedDiff),
    /// Lays something of the host over the workspace, all of it or nothing.
    Sync(Box<PlannedSync>),
    /// Copies something to the host.
    Export(PlannedExport),
    /// Brings what changed home into a host directory.
    Pull(PlannedPull),
    /// Keeps what the workspace is.
    Snapshot(SnapshotName),
    /// Puts the workspace back.
    Reset(Point),
    /// Is refused already, as the request expects: there is nothing to send.
    Refused(PlannedRefusal),
}

impl PlannedAction {
    /// The verb, as the document spells it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Exec(_) => "exec",
            Self::Write(_) => "write",
            Self::Patch(_) => "patch",
            Self::Delete(_) => "delete",
            Self::Move(_) => "move",
            Self::Read(_) => "read",
            Self::List(_) => "list",
            Self::Search(_) => "search",
            Self::Diff(_) => "diff",
            Self::Sync(_) => "sync",
            Self::Export(_) => "export",
            Self::Pull(_) => "pull",
            Self::Snapshot(_) => "snapshot",
            Self::Reset(_) => "reset",
            Self::Refused(refusal) => refusal.verb,
        }
    }
}

/// `exec`, decided.
#[derive(Debug, Clone)]
pub struct PlannedExec {
    /// The program and its arguments (`/bin/sh -c LINE` for a shell line).
    pub argv: Vec<Bytes>,
    /// The command as a person would type it.
    pub shown: String,
    /// Absolute, as the program sees it.
    pub cwd: Bytes,
    /// The whole environment but for secrets, sorted by name.
    pub env: Vec<(Bytes, Bytes)>,
    /// Secrets that it gets, sorted by name, each with its variable.
    pub secrets: Vec<(String, String)>,
    /// Standard input; `/dev/null` when absent.
    pub stdin: Option<Vec<u8>>,
    /// After this long everything it started is ended.
    pub timeout: Duration,
    /// How much of each stream the receipt keeps (half from the head, half from the tail).
    pub max_output: Size,
    /// Exit codes that are right; `None`: any way to exit by itself will do.
    pub exit: Option<Vec<i32>>,
    /// Must end by this signal.
    pub signal: Option<Signal>,
    /// Must (or must not) end by the timeout.
    pub timed_out: Option<bool>,
    /// Must take less than this.
    pub duration_under: Option<Duration>,
    /// Checks of standard output.
    pub stdout: PlannedText,
    /// Checks of standard error.
    pub stderr: PlannedText,
}

/// Checks of one text, each with its place in the document.
pub type PlannedText = Vec<(Pointer, TextCheck)>;

/// One check of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TextCheck {
    /// It is this.
    Equals(Vec<u8>),
    /// It has this in it.
    Contains(Vec<u8>),
    /// This regular expression is found in it.
    Matches(String),
    /// It has this many lines.
    Lines(u64),
    /// It is empty, or is not.
    Empty(bool),
    /// It is what a host file holds.
    Golden(Box<PlannedGolden>),
}

impl TextCheck {
    /// The same check of another text; checks that have none stay as they are.
    pub(super) fn set_text(&mut self, text: String) {
        match self {
            Self::Equals(bytes) | Self::Contains(bytes) => *bytes = text.into_bytes(),
            Self::Matches(pattern) => *pattern = text,
            Self::Lines(_) | Self::Empty(_) | Self::Golden(_) => {}
        }
    }
}

/// `write`, decided.
#[derive(Debug, Clone)]
pub struct PlannedWrite {
    /// Sorted by path.
    pub files: Vec<PlannedWriteFile>,
    /// What they must be beforehand.
    pub base: BTreeMap<GuestPath, Base>,
}

/// One file of a `write`.
#[derive(Debug, Clone)]
pub struct PlannedWriteFile {
    /// Where.
    pub path: GuestPath,
    /// What it will hold, or what is added at its end.
    pub bytes: Vec<u8>,
    /// Whether that is added at the end of what is there.
    pub append: bool,
    /// Permission bits; kept from the replaced file, else 0644, when absent.
    pub mode: Option<u32>,
    /// The expected change as a git-style diff, for people. Empty when nothing changes.
    pub diff: Vec<u8>,
}

/// `patch`, decided: parsed, but placed again on the live bytes when it runs.
#[derive(Debug, Clone)]
pub struct PlannedPatch {
    /// The parsed patch.
    pub patch: patch::Patch,
    /// Where hunks may land.
    pub policy: PatchMatch,
    /// What the files must be beforehand.
    pub base: BTreeMap<GuestPath, Digest>,
    /// What the plan expects to come of it; absent where the files are not known.
    pub predicted: Option<patch::Applied>,
    /// The predicted change as a git-style diff, for people.
    pub diff: Vec<u8>,
}

/// `delete`, decided.
#[derive(Debug, Clone)]
pub struct PlannedDelete {
    /// What to delete.
    pub paths: Vec<GuestPath>,
    /// What to do about a path that is not there.
    pub missing: Missing,
}

/// `move`, decided.
#[derive(Debug, Clone)]
pub struct PlannedMove {
    /// What moves: a file, a link itself, or a directory with all that is in it.
    pub from: GuestPath,
    /// What it becomes.
    pub to: GuestPath,
}

/// `read`, decided.
#[derive(Debug, Clone)]
pub struct PlannedRead {
    /// What to read.
    pub paths: Vec<GuestPath>,
    /// From which byte on.
    pub offset: u64,
    /// How much of each.
    pub max_bytes: Size,
    /// Checks of the contents (of the only path).
    pub content: PlannedText,
}

/// `list`, decided.
#[derive(Debug, Clone)]
pub struct PlannedList {
    /// What to list.
    pub path: GuestPath,
    /// Whether to descend.
    pub recursive: bool,
    /// How many paths are told at most.
    pub max_entries: u64,
    /// Goes on after this path.
    pub after: Option<GuestPath>,
    /// Checks of the paths, one a line.
    pub text: PlannedText,
}

/// `search`, decided.
#[derive(Debug, Clone)]
pub struct PlannedSearch {
    /// The regular expression.
    pub regex: String,
    /// Files, or directories with all that is below them; sorted, none below another.
    pub paths: Vec<GuestPath>,
    /// Gitignore patterns of the files that are searched; all of them where there are none.
    pub include: Vec<String>,
    /// Gitignore patterns of paths to leave out.
    pub exclude: Vec<String>,
    /// How many lines are told at most.
    pub max_matches: u64,
    /// How many bytes of lines are told at most.
    pub max_bytes: Size,
    /// Paths up to this one are passed over.
    pub after: Option<GuestPath>,
    /// Of that file, lines up to this one only.
    pub after_line: Option<u64>,
    /// Checks of the lines.
    pub text: PlannedText,
}

/// `diff`, decided.
#[derive(Debug, Clone)]
pub struct PlannedDiff {
    /// What the workspace is compared with.
    pub against: Point,
    /// Gitignore patterns of paths to leave out.
    pub exclude: Vec<String>,
    /// Checks of the patch text.
    pub text: PlannedText,
}

/// `sync`, decided.
#[derive(Debug, Clone)]
pub struct PlannedSync {
    /// What is laid over the workspace.
    pub source: PlannedSeed,
    /// The directory that it is laid over.
    pub to: GuestPath,
    /// Files and links that are expected to be replaced, sorted by path: the first ones.
    pub replaces: Vec<GuestPath>,
    /// How many more there are.
    pub replaces_more: u64,
}

/// `export`, decided.
#[derive(Debug, Clone)]
pub struct PlannedExport {
    /// What to copy.
    pub path: GuestPath,
    /// What it becomes: absolute. Its parents exist or will be created.
    pub to: PathBuf,
    /// As the request says it.
    pub shown: String,
    /// What to do about something that is there by then.
    pub overwrite: Overwrite,
}

/// `pull`, decided. What has changed by then is known only when it runs.
#[derive(Debug, Clone)]
pub struct PlannedPull {
    /// The host directory: absolute, links resolved.
    pub to: PathBuf,
    /// As the request says it.
    pub shown: String,
    /// Gitignore patterns of changed paths that stay in the workspace.
    pub exclude: Vec<String>,
    /// Whether files that were changed on the host as well are merged.
    pub matching: PatchMatch,
    /// Nothing is written.
    pub dry_run: bool,
}

/// A step that must be refused and is, before anything is sent (a patch text that is no patch).
#[derive(Debug, Clone)]
pub struct PlannedRefusal {
    /// As the document spells it.
    pub verb: &'static str,
    /// Why; never empty.
    pub reasons: Vec<Problem>,
}

/// What outside the workspace is touched.
#[derive(Debug, Clone, Default)]
pub struct Reach {
    /// Host files read (seed files and `from` files).
    pub host_reads: u64,
    /// Host variables read, by name, in the order of the request.
    pub host_variables: Vec<String>,
    /// How many secrets programs may be given.
    pub secrets: u64,
    /// Host paths written.
    pub host_writes: Vec<HostWrite>,
    /// Host paths shown inside.
    pub exposed: Vec<PathBuf>,
    /// Host paths read or written that lie outside of the request's repository, as the request spells them.
    pub outside: Vec<String>,
}

/// A host path that will be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostWrite {
    /// Absolute.
    pub path: PathBuf,
    /// As the request says it.
    pub shown: String,
    /// What is there now: `file of 1 204 bytes`, `directory`.
    pub replaces: Option<String>,
}
