//! The request as types. What a person wrote, with nothing decided for them: defaults are the planner's.

use super::{Capture, Combination, Cpus, Digest, Duration, GuestPath, Retry, Size, Template};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A JSON pointer (RFC 6901) to a place in the document, such as `/step/0/expect/stdout/contains`.
#[derive(
    Debug,
    Clone,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Default,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct Pointer(pub String);

impl Pointer {
    /// The place of a step, counted from 0.
    pub fn step(index: usize) -> Self {
        Self(format!("/step/{index}"))
    }
    /// A key or index below this place; `/` and `~` are escaped.
    #[must_use]
    pub fn at(&self, key: impl fmt::Display) -> Self {
        let key = key.to_string().replace('~', "~0").replace('/', "~1");
        Self(format!("{}/{key}", self.0))
    }
    /// The keys and indices on the way, unescaped.
    pub fn parts(&self) -> impl Iterator<Item = String> {
        let unescape = |part: &str| part.replace("~1", "/").replace("~0", "~");
        self.0.split('/').skip(1).map(unescape)
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Request {
    /// Where an editor finds the JSON Schema. Not read, and no part of the request's digest.
    pub schema: Option<String>,
    /// For people.
    pub name: Option<String>,
    /// For people.
    pub description: Option<String>,
    /// Defaults of `${vars.NAME}`.
    pub vars: BTreeMap<String, String>,
    /// Host variables that `${env.NAME}` may read.
    pub env: Vec<String>,
    /// The workspace to make.
    pub workspace: Workspace,
    /// The name or id of a workspace that lives, to run the steps in. Nothing is made then, and `workspace` says
    /// nothing.
    pub existing: Option<String>,
    /// Values by name: the request runs once for each combination.
    pub matrix: BTreeMap<String, Vec<String>>,
    /// The combination that the request was resolved for; empty in a document.
    pub combination: Combination,
    /// What is taken out of a text before it is compared with a golden: regular expressions by name.
    pub redact: BTreeMap<String, String>,
    /// In the order they run.
    pub steps: Vec<Step>,
    /// Steps that do not run, counted from 0. Nothing of it is written: `select` says it.
    pub left_out: BTreeSet<usize>,
}

/// The workspace to make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Workspace {
    /// The system tree; [`Environment::Host`] by default.
    pub environment: Environment,
    /// The kind of machine.
    pub machine: MachineChoice,
    /// A host directory or archive to fill `/workspace` from, relative to the request file.
    pub seed: Option<String>,
    /// Gitignore patterns of paths of the seed that are left out, relative to it.
    pub exclude: Vec<String>,
    /// Whether the seed's `.gitignore` files count as well.
    pub respect_gitignore: bool,
    /// What it is called: 1 to 120 characters on one line.
    pub name: Option<String>,
    /// What else is to be known of one that lives on, by key.
    pub labels: BTreeMap<String, String>,
    /// Host paths shown read-only at the same place. `~/` is the caller's home.
    pub expose: Vec<String>,
    /// Values that only programs that ask for them get, by name; here it says where they come from.
    pub secrets: BTreeMap<String, SecretSource>,
    /// Processors that all processes together may keep busy.
    pub cpus: Option<Cpus>,
    /// Memory of all processes together.
    pub memory: Option<Size>,
    /// What the workspace may add to the disk.
    pub disk: Option<Size>,
    /// Processes and threads.
    pub processes: Option<u64>,
    /// Whether the work tree outlives the run.
    pub keep: Keep,
    /// For how long, where it does.
    pub ttl: Option<Duration>,
}

/// Where the value of a secret comes from. No request holds one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SecretSource {
    /// A variable of the host's environment (`env:NAME`).
    Env(String),
    /// A host file (`file:PATH`), relative to the request file. `~/` is the caller's home.
    File(String),
}

impl SecretSource {
    /// Reads a source; `None` where the text is neither `env:NAME` nor `file:PATH`.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(path) = text.strip_prefix("file:") {
            return (!path.is_empty()).then(|| Self::File(path.to_owned()));
        }
        let name = text.strip_prefix("env:")?;
        let first = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let rest = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        (first && rest).then(|| Self::Env(name.to_owned()))
    }
}

impl fmt::Display for SecretSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{path}"),
        }
    }
}

/// When a run's work tree is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keep {
    /// It is removed with the run.
    #[default]
    Never,
    /// Where the run did not pass: it failed, was interrupted or lost its machine.
    OnFailure,
    /// In any case.
    Always,
}

impl Keep {
    /// As the document spells it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Never => "never",
            Self::OnFailure => "on-failure",
            Self::Always => "always",
        }
    }
}

/// Where programs come from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Environment {
    /// The host's own programs, read-only.
    #[default]
    Host,
    /// An unpacked root file system on the host (`dir:PATH`), relative to the request file.
    Dir(String),
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => f.write_str("host"),
            Self::Dir(path) => write!(f, "dir:{path}"),
        }
    }
}

/// The kind of machine asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MachineChoice {
    /// The strongest that works here and suits the environment.
    #[default]
    Auto,
    /// Linux namespaces.
    Namespace,
}

/// The name of a step: `[a-z][a-z0-9_-]{0,63}`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StepId(String);

impl StepId {
    /// Reads a step id; `None` where the text does not fit the pattern.
    pub fn parse(text: &str) -> Option<Self> {
        let mut chars = text.bytes();
        let first = chars.next()?;
        let rest =
            chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_' || c == b'-');
        (first.is_ascii_lowercase() && rest && text.len() <= 64).then(|| Self(text.to_owned()))
    }
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for StepId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a snapshot: `[a-z][a-z0-9_-]{0,63}`, and not `baseline`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName(String);

impl SnapshotName {
    /// Reads a name; `None` where the text does not fit the pattern.
    pub fn parse(text: &str) -> Option<Self> {
        StepId::parse(text)
            .filter(|_| text != "baseline")
            .map(|StepId(name)| Self(name))
    }
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SnapshotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A state of the workspace that was kept.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Point {
    /// As it was before the first step.
    #[default]
    Baseline,
    /// As it was when a step kept it.
    Snapshot(SnapshotName),
}

impl Point {
    /// As the document spells it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Baseline => "baseline",
            Self::Snapshot(name) => name.as_str(),
        }
    }
    /// Reads `baseline` or the name of a snapshot.
    pub fn parse(text: &str) -> Option<Self> {
        if text == "baseline" {
            return Some(Self::Baseline);
        }
        SnapshotName::parse(text).map(Self::Snapshot)
    }
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One step: exactly one verb.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its name; unique in the request.
    pub id: Option<StepId>,
    /// The verb with its value and siblings.
    pub action: Action,
    /// What must come of it.
    pub expect: Expect,
    /// Whether it runs after an earlier failure too.
    pub always: bool,
    /// Whether `${...}` counts in the text of `write`, `patch` and `stdin` as well.
    pub interpolate: bool,
    /// Values for later steps, by name.
    pub capture: BTreeMap<String, Capture>,
    /// How often it is tried; once by default.
    pub retry: Option<Retry>,
    /// Texts of the step that wait for captured values, by their place in the document. Nothing of it is written:
    /// `resolve` finds them.
    pub late: BTreeMap<Pointer, Template>,
}

/// A verb with its value and siblings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Runs a program.
    Exec(Exec),
    /// Writes files, all of them or none.
    Write(Write),
    /// Applies a patch, all files or none.
    Patch(PatchStep),
    /// Deletes paths, all of them or none.
    Delete(Delete),
    /// Gives a path another name, never over anything.
    Move(Move),
    /// Reads files.
    Read(Read),
    /// Lists a directory.
    List(List),
    /// Finds lines in files.
    Search(Search),
    /// Shows what changed since the baseline, or a snapshot.
    Diff(Diff),
    /// Lays a host directory or archive over the workspace.
    Sync(SyncStep),
    /// Copies a file or directory to the host.
    Export(Export),
    /// Brings what changed in the workspace home into a host directory.
    Pull(Pull),
    /// Keeps what the workspace is now.
    Snapshot(Snapshot),
    /// Puts the workspace back.
    Reset(Reset),
}

/// `exec`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exec {
    /// What to run.
    pub command: Command,
    /// Where; `/workspace` by default. Absolute paths elsewhere in the sandbox are allowed here.
    pub cwd: Option<String>,
    /// Added to the workspace's environment.
    pub env: BTreeMap<String, String>,
    /// Secrets of the workspace that it gets, each with the variable that it finds it in.
    pub secrets: BTreeMap<String, String>,
    /// Standard input; `/dev/null` by default.
    pub stdin: Option<Content>,
    /// 10 minutes by default.
    pub timeout: Option<Duration>,
    /// How much of each output stream is kept in the receipt.
    pub max_output: Option<Size>,
}

/// What `exec` runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// A program and its arguments; no shell.
    Argv(Vec<String>),
    /// A line for `/bin/sh -c`.
    Shell(String),
}

/// Bytes that a request gives in one of three ways.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// In the document.
    Text(String),
    /// In the document, not text.
    Bytes(Vec<u8>),
    /// In a host file, relative to the request file.
    From(String),
}

/// `write`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Write {
    /// By path.
    pub files: BTreeMap<GuestPath, WriteFile>,
    /// What they must be beforehand.
    pub base: BTreeMap<GuestPath, Base>,
}

/// What a file must be before it is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Base {
    /// Not there.
    Absent,
    /// A file of these contents.
    Digest(Digest),
}

impl Base {
    /// As the document spells it.
    pub const ABSENT: &str = "absent";

    /// Reads `absent` or a digest.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            Self::ABSENT => Some(Self::Absent),
            text => Digest::parse(text).map(Self::Digest),
        }
    }
}

impl fmt::Display for Base {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str(Self::ABSENT),
            Self::Digest(digest) => digest.fmt(f),
        }
    }
}

/// One file of a `write`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteFile {
    /// What it holds.
    pub content: Content,
    /// Whether that is added at the end of what is there.
    pub append: bool,
    /// Permission bits; kept, else 0644, by default.
    pub mode: Option<u32>,
}

/// `patch`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatchStep {
    /// The patch text.
    pub patch: Content,
    /// Where hunks may land.
    pub matching: PatchMatch,
    /// What the files must be beforehand.
    pub base: BTreeMap<GuestPath, Digest>,
}

/// Where the hunks of a patch may land.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PatchMatch {
    /// At the stated line, else at the only place where they fit.
    #[default]
    Unique,
    /// At the stated line.
    Exact,
}

/// `delete`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delete {
    /// Files, links or whole directories.
    pub paths: Vec<GuestPath>,
    /// What to do about a path that is not there.
    pub missing: Missing,
}

/// What to do about a path that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missing {
    /// The step fails and nothing is deleted.
    #[default]
    Error,
    /// Nothing.
    Ignore,
}

/// `move`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Move {
    /// A file, a link itself, or a directory with all that is in it.
    pub from: GuestPath,
    /// What it becomes; nothing may be there.
    pub to: GuestPath,
}

/// `read`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Files.
    pub paths: Vec<GuestPath>,
    /// The first byte of each that is read; 0 by default.
    pub offset: Option<u64>,
    /// How much of each is read; 64 KiB by default.
    pub max_bytes: Option<Size>,
}

/// `list`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    /// A directory (or file).
    pub path: GuestPath,
    /// Whether to descend.
    pub recursive: bool,
    /// How many paths are told at most; 10 000 by default.
    pub max_entries: Option<u64>,
    /// Goes on after this path, in the order of paths.
    pub after: Option<GuestPath>,
}

impl List {
    /// The most paths that can be asked for.
    pub const MOST: u64 = 1_000_000;
}

/// `search`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Search {
    /// The regular expression (`regex::bytes`, unanchored), held against each line by itself.
    pub regex: String,
    /// Files, or directories with all that is below them; `/workspace` where there are none.
    pub paths: Vec<GuestPath>,
    /// Gitignore patterns of the files that are searched; all of them where there are none.
    pub include: Vec<String>,
    /// Gitignore patterns of paths to leave out.
    pub exclude: Vec<String>,
    /// How many lines are told at most; 1000 by default.
    pub max_matches: Option<u64>,
    /// How many bytes of lines are told at most; 1 MiB by default.
    pub max_bytes: Option<Size>,
    /// Goes on after this path, in the order of paths.
    pub after: Option<GuestPath>,
    /// Goes on in that file, after this line.
    pub after_line: Option<u64>,
}

impl Search {
    /// The most lines that can be asked for.
    pub const MOST: u64 = 100_000;
}

/// `diff`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// What the workspace is compared with.
    pub against: Point,
    /// Gitignore patterns of paths to leave out.
    pub exclude: Vec<String>,
}

/// `snapshot`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// What it is called; each name once in a request.
    pub name: SnapshotName,
}

/// `reset`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reset {
    /// Where to.
    pub to: Point,
}

/// `sync`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SyncStep {
    /// A host directory or archive, relative to the request file.
    pub from: String,
    /// The directory that it is laid over; `/workspace` by default.
    pub to: GuestPath,
    /// Gitignore patterns of what is left out of it.
    pub exclude: Vec<String>,
}

/// `export`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// A file or directory of the workspace.
    pub path: GuestPath,
    /// The host path it becomes, relative to the request file.
    pub to: String,
    /// What to do about an existing host path.
    pub overwrite: Overwrite,
}

/// `pull`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Pull {
    /// A host directory, relative to the request file.
    pub to: String,
    /// Gitignore patterns of changed paths that stay in the workspace.
    pub exclude: Vec<String>,
    /// Whether files that were changed on the host as well are merged.
    pub matching: PatchMatch,
    /// Whether it is only shown what would be done.
    pub dry_run: bool,
}

/// What to do about an existing host path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overwrite {
    /// Leave it; the plan is refused.
    #[default]
    Refuse,
    /// Replace it.
    Allow,
}

/// What must come of a step. Every expectation that fails is reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expect {
    /// Exit codes that are right; 0 by default for `exec`.
    pub exit: Option<Vec<i32>>,
    /// `exec`: standard output.
    pub stdout: Option<TextExpect>,
    /// `exec`: standard error.
    pub stderr: Option<TextExpect>,
    /// `read`: what was read.
    pub content: Option<TextExpect>,
    /// `diff`: the patch text; `list`: one path a line.
    pub text: Option<TextExpect>,
    /// `exec`: takes less than this.
    pub duration_under: Option<Duration>,
    /// `exec`: ends by the timeout. Replaces the default `exit`.
    pub timed_out: Option<bool>,
    /// `exec`: ends by this signal. Replaces the default `exit`.
    pub signal: Option<Signal>,
    /// What the step changes in the workspace.
    pub changed: Option<ChangedExpect>,
    /// The step must be refused by pyro (`exec`: not started).
    pub fails: bool,
}

/// What a step may change in the workspace; what other steps changed does not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChangedExpect {
    /// Nothing, or at least something.
    Nothing(bool),
    /// What these gitignore patterns name; never empty.
    Only(Vec<String>),
}

/// A signal by name (`TERM`) and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signal {
    /// Without `SIG`.
    pub name: &'static str,
    /// On Linux.
    pub number: i32,
}

impl Signal {
    /// The signals that a request can name.
    pub const ALL: [Self; 16] = [
        Self {
            name: "HUP",
            number: 1,
        },
        Self {
            name: "INT",
            number: 2,
        },
        Self {
            name: "QUIT",
            number: 3,
        },
        Self {
            name: "ILL",
            number: 4,
        },
        Self {
            name: "TRAP",
            number: 5,
        },
        Self {
            name: "ABRT",
            number: 6,
        },
        Self {
            name: "BUS",
            number: 7,
        },
        Self {
            name: "FPE",
            number: 8,
        },
        Self {
            name: "KILL",
            number: 9,
        },
        Self {
            name: "USR1",
            number: 10,
        },
        Self {
            name: "SEGV",
            number: 11,
        },
        Self {
            name: "USR2",
            number: 12,
        },
        Self {
            name: "PIPE",
            number: 13,
        },
        Self {
            name: "ALRM",
            number: 14,
        },
        Self {
            name: "TERM",
            number: 15,
        },
        Self {
            name: "SYS",
            number: 31,
        },
    ];
    /// The signal of that name, with or without `SIG`.
    pub fn parse(name: &str) -> Option<Self> {
        let name = name.strip_prefix("SIG").unwrap_or(name);
        Self::ALL.into_iter().find(|signal| signal.name == name)
    }
}

/// What must hold of a text. Exact: nothing is trimmed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TextExpect {
    /// It is this.
    pub equals: Option<Content>,
    /// It has all of these in it.
    pub contains: Vec<String>,
    /// Each of these regular expressions (`regex::bytes`, unanchored) is found in it.
    pub matches: Vec<String>,
    /// It has this many lines.
    pub lines: Option<u64>,
    /// It is empty (or is not).
    pub empty: Option<bool>,
    /// It is what this host file holds, once both are rid of what differs each time. Relative to the request file.
    pub golden: Option<String>,
}
