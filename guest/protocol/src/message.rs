//! What frames say on stream 0: calls, replies, failures; and the records that some calls stream.
//!
//! ```text
//!  host  --call-->  guest            then, in any order until the call is over:
//!        <-- started --              (exec only) the program runs
//!        --cancel-->                 please end; the call is still answered
//!        ==stream 1==>  <==2,3==     data within credit, `end` closes a direction
//!        <-- done | failed --        exactly one, last
//! ```

use crate::Bytes;
use serde::{Deserialize, Serialize};

/// From the host, on stream 0 of a call (or of call 0 for `hello` and `close`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum HostMessage {
    /// Opens the link, on channel 0.
    Hello(Hello),
    /// Opens a call.
    Call(Box<Op>),
    /// Asks a call to end early. It is answered all the same.
    Cancel,
    /// Ends a channel and every call on it.
    Close,
}

/// From the guest, on stream 0.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GuestMessage {
    /// Answers the host's `hello`.
    Hello(Hello),
    /// The program of an `exec.run` is running.
    Started,
    /// The call succeeded. Its streams have ended.
    Done(Reply),
    /// The call was refused or failed; nothing half-done is left behind.
    Failed(Failure),
    /// The channel broke the rules and is closed.
    ChannelFailed(Failure),
}

/// On a data stream: no more bytes in this direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamMessage {
    /// The sender has sent everything.
    End,
}

/// Who speaks, and how new a vocabulary.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The newest generation the speaker knows; the lower one of both sides counts.
    pub generation: u32,
    /// The speaker's version, for people.
    pub version: String,
}

/// One instruction for the guest. New ops come with a new generation; new fields are optional.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Runs a program: [`Reply::Exec`]. Streams: input, output, errors.
    #[serde(rename = "exec.run")]
    ExecRun(ExecRun),
    /// Reads spooled output of an earlier exec by range: [`Reply::Data`]. Stream: output.
    #[serde(rename = "spool.read")]
    SpoolRead(SpoolRead),
    /// Reads a file by range: [`Reply::Data`]. Stream: output.
    #[serde(rename = "file.read")]
    FileRead(FileRead),
    /// Looks at one path, a link itself: [`Reply::Stat`].
    #[serde(rename = "file.stat")]
    FileStat(FileStat),
    /// Applies a write set, all of it or none: [`Reply::Written`]. Stream: input (the contents, one after the other).
    #[serde(rename = "files.write")]
    FilesWrite(FilesWrite),
    /// Lists a directory: [`Reply::Records`]. Stream: output ([`Stat`], a JSON line each).
    #[serde(rename = "tree.list")]
    TreeList(TreeList),
    /// Describes the whole tree: [`Reply::Records`]. Stream: output (a [`crate::manifest`]).
    #[serde(rename = "tree.scan")]
    TreeScan,
    /// Compares the tree with its baseline: [`Reply::Records`]. Stream: output ([`Change`], a JSON line each).
    #[serde(rename = "tree.diff")]
    TreeDiff,
    /// Unpacks an archive into the tree: [`Reply::Records`]. Stream: input.
    #[serde(rename = "tar.in")]
    TarIn(TarIn),
    /// Packs a file or directory of the tree: [`Reply::Records`]. Stream: output.
    #[serde(rename = "tar.out")]
    TarOut(TarOut),
    /// Marks what the trees are now: [`Reply::Records`]. Generation 2.
    #[serde(rename = "tree.mark")]
    TreeMark(TreeMark),
    /// Compares the work tree with a mark: [`Reply::Records`]. Stream: output ([`Change`], a JSON line each).
    /// Generation 2.
    #[serde(rename = "tree.compare")]
    TreeCompare(TreeCompare),
    /// Puts the trees back to a mark, all or nothing: [`Reply::Records`]. Generation 2.
    #[serde(rename = "tree.reset")]
    TreeReset(TreeReset),
    /// Reads what a file was at the time of a mark: [`Reply::Data`]. Stream: output. Generation 2.
    #[serde(rename = "mark.read")]
    MarkRead(MarkRead),
    /// Forgets a mark: [`Reply::Records`]. Generation 3.
    #[serde(rename = "mark.remove")]
    MarkRemove(MarkRemove),
    /// Gives a path another name, never over anything: [`Reply::Stat`], of the new one. Generation 3.
    #[serde(rename = "path.move")]
    PathMove(PathMove),
    /// Changes the size of the terminal that a program runs on: [`Reply::Records`]. Generation 4.
    #[serde(rename = "exec.resize")]
    ExecResize(ExecResize),
    /// Reads every regular file at or below a path: [`Reply::Records`]. Stream: output (for each file its [`Stat`] as a
    /// JSON line, then its contents in [`crate::pieces`]). Generation 4.
    #[serde(rename = "tree.read")]
    TreeRead(TreeRead),
}

impl Op {
    /// Every op as the wire names it, of all generations.
    pub const NAMES: [&str; 18] = [
        "exec.run",
        "spool.read",
        "file.read",
        "file.stat",
        "files.write",
        "tree.list",
        "tree.scan",
        "tree.diff",
        "tar.in",
        "tar.out",
        "tree.mark",
        "tree.compare",
        "tree.reset",
        "mark.read",
        "mark.remove",
        "path.move",
        "exec.resize",
        "tree.read",
    ];

    /// The generation that an agent must know to understand it.
    pub fn generation(&self) -> u32 {
        match self {
            // An agent that does not know terminals would run it without one.
            Self::ExecRun(run) if run.terminal.is_some() => 4,
            Self::ExecRun(_)
            | Self::SpoolRead(_)
            | Self::FileRead(_)
            | Self::FileStat(_)
            | Self::FilesWrite(_)
            | Self::TreeList(_)
            | Self::TreeScan
            | Self::TreeDiff
            | Self::TarIn(_)
            | Self::TarOut(_) => 1,
            Self::TreeMark(_) | Self::TreeCompare(_) | Self::TreeReset(_) | Self::MarkRead(_) => 2,
            Self::MarkRemove(_) | Self::PathMove(_) => 3,
            Self::ExecResize(_) | Self::TreeRead(_) => 4,
        }
    }
}

/// See [`Op::ExecRun`].
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecRun {
    /// Program and arguments. A program without a slash is looked up on `PATH` of `env`, inside the sandbox.
    pub argv: Vec<Bytes>,
    /// Working directory, relative to the tree (empty for the tree itself), or absolute inside the sandbox.
    pub cwd: Bytes,
    /// The whole environment; nothing is added to it.
    pub env: Vec<(Bytes, Bytes)>,
    /// The program and all it started are ended after this many milliseconds.
    pub timeout_ms: u64,
    /// From TERM to KILL, in milliseconds.
    pub grace_ms: u64,
    /// Whether stream 1 carries standard input; `/dev/null` otherwise.
    pub stdin: bool,
    /// Output beyond this many bytes (for each of both streams) is counted and dropped.
    pub spool_limit: u64,
    /// A terminal of its own for the program, in the place of input and both outputs. Generation 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terminal: Option<TerminalSize>,
    /// Whether the files that output goes through have no names: nothing is left of them, whoever dies. It cannot be
    /// read again then. An agent that does not know this forgets them with the channel.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unnamed: bool,
}

/// What is run and where; of the environment only the names, for what is in it is nobody's business.
impl std::fmt::Debug for ExecRun {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            argv: _,
            cwd,
            env,
            timeout_ms,
            grace_ms,
            stdin,
            spool_limit,
            terminal,
            unnamed,
        } = self;
        let names: Vec<_> = env.iter().map(|(name, _)| name.lossy()).collect();
        f.debug_struct("ExecRun")
            .field("cwd", cwd)
            .field("env", &names)
            .field("timeout_ms", timeout_ms)
            .field("grace_ms", grace_ms)
            .field("stdin", stdin)
            .field("spool_limit", spool_limit)
            .field("terminal", terminal)
            .field("unnamed", unnamed)
            .finish_non_exhaustive()
    }
}

/// How large a terminal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TerminalSize {
    /// Characters in a line; not 0.
    pub cols: u16,
    /// Lines; not 0.
    pub rows: u16,
}

/// See [`Op::ExecResize`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecResize {
    /// The `call` of the exec on this channel.
    pub call: u32,
    /// What the terminal is from now on; its programs are told.
    pub size: TerminalSize,
}

/// See [`Op::SpoolRead`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpoolRead {
    /// The `call` of the exec on this channel.
    pub call: u32,
    /// 2 for standard output, 3 for standard error.
    pub stream: u32,
    /// First byte.
    pub offset: u64,
    /// At most this many bytes; all that is there when absent.
    pub length: Option<u64>,
}

/// See [`Op::FileRead`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileRead {
    /// Relative to the tree. Links that stay inside are followed.
    pub path: Bytes,
    /// First byte.
    pub offset: u64,
    /// At most this many bytes; all that is there when absent.
    pub length: Option<u64>,
}

/// See [`Op::FileStat`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileStat {
    /// Relative to the tree.
    pub path: Bytes,
}

/// See [`Op::FilesWrite`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesWrite {
    /// Each path at most once.
    pub entries: Vec<WriteEntry>,
}

/// One path of a write set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriteEntry {
    /// Relative to the tree; no part of it may be a link.
    pub path: Bytes,
    /// What must be there before.
    pub expect: Prior,
    /// What must be there afterwards.
    pub action: WriteAction,
}

/// The state of a path that a write set was computed from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prior {
    /// Whatever: a regular file, or nothing (for a removal: also a link or a directory).
    Any,
    /// Nothing.
    Absent,
    /// A regular file of these contents (64 hex digits).
    Sha256(String),
}

/// What happens to one path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WriteAction {
    /// A regular file with the next `size` bytes of the input stream. Parents are created.
    File {
        /// Bytes.
        size: u64,
        /// Permission bits; kept from the replaced file, else 0644, when absent.
        mode: Option<u32>,
    },
    /// Nothing: the file, link or whole directory is removed.
    Remove,
}

/// See [`Op::TreeList`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeList {
    /// Relative to the tree; empty for the tree itself.
    pub path: Bytes,
    /// Whether to descend.
    pub recursive: bool,
}

/// See [`Op::TarIn`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TarIn {
    /// The directory to unpack into, relative to the tree; created when missing.
    pub to: Bytes,
}

/// See [`Op::TarOut`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TarOut {
    /// Relative to the tree. A directory is packed with its contents, names relative to it; a file as its last name.
    pub path: Bytes,
    /// What must be there; anything else is refused, so that the host knows what it unpacks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kind>,
}

/// See [`Op::TreeMark`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeMark {
    /// `[A-Za-z][A-Za-z0-9_-]{0,63}`. `baseline` is what the host filled the work tree with; marking it adds the system tree.
    pub name: String,
    /// Whether contents are kept, so that the trees can be put back. Then the name must be new.
    pub contents: bool,
    /// Whether the system tree is marked too.
    pub system: bool,
}

/// See [`Op::TreeCompare`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeCompare {
    /// A mark.
    pub with: String,
}

/// See [`Op::TreeReset`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeReset {
    /// A mark whose contents were kept.
    pub to: String,
    /// What the agent notes the reset under, in `marks/.reset`, once it has happened whatever comes between: one line. Whoever
    /// asked may not live to hear of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// See [`Op::MarkRead`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRead {
    /// A mark whose contents were kept.
    pub mark: String,
    /// Relative to the tree.
    pub path: Bytes,
    /// At most this many bytes; all that was there when absent.
    pub length: Option<u64>,
}

/// See [`Op::MarkRemove`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkRemove {
    /// A mark; not `baseline`.
    pub name: String,
}

/// See [`Op::PathMove`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PathMove {
    /// What moves, relative to the tree: a file, a link itself, or a directory with all that is in it.
    pub from: Bytes,
    /// Where it moves, relative to the tree: nothing may be there. Parents are created.
    pub to: Bytes,
}

/// See [`Op::TreeRead`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TreeRead {
    /// Relative to the tree; empty for the tree itself. Links that stay inside are followed on the way to it, and none
    /// below it.
    pub path: Bytes,
    /// The first path that may be read, in the order of whole paths; those before it are passed over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Bytes>,
    /// Names of paths that are passed over with all that is below them; one that ends in a slash is of directories only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub skip: Vec<Bytes>,
    /// A file that has none of these bytes in it is passed over; without any, none is.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needles: Vec<Bytes>,
}

/// What a call that succeeded has to say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// Of `exec.run`.
    Exec(ExecReport),
    /// Of `file.read` and `spool.read`.
    Data(DataReport),
    /// Of `file.stat`.
    Stat(Stat),
    /// Of `files.write`: each file as read back, in the order of the entries.
    Written(Vec<Written>),
    /// Of the tree and tar ops.
    Records(Records),
}

/// How a program ended, and what it put out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecReport {
    /// How it ended.
    pub end: ExecEnd,
    /// From start to end, in microseconds.
    pub duration_us: u64,
    /// Largest resident set of the program and the children it waited for, in KiB.
    pub max_rss_kib: u64,
    /// User plus system time, in microseconds.
    pub cpu_us: u64,
    /// Standard output.
    pub stdout: StreamReport,
    /// Standard error.
    pub stderr: StreamReport,
    /// Processes it left running.
    pub left_running: u32,
    /// The limit at which the watchdog ended processes of it (`memory limit`, `disk limit`), even where the program
    /// itself lived on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecEnd {
    /// By itself.
    Exited {
        /// 0 to 255.
        code: i32,
    },
    /// By a signal.
    Signalled {
        /// The signal's number.
        signal: i32,
        /// Why we sent it, where we did (`memory limit`, `disk limit`).
        reason: Option<String>,
    },
    /// By us, because its time was over. Everything it started was ended too.
    TimedOut,
    /// By us, because the call was cancelled.
    Cancelled,
    /// Never: the kernel refused to start it.
    NotStarted {
        /// 127 where there is no such program, 126 otherwise.
        code: i32,
        /// In words.
        reason: String,
        /// The error number, where there was one.
        errno: Option<i32>,
    },
}

/// One output stream of a program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamReport {
    /// All that was written, in bytes.
    pub bytes: u64,
    /// Of these, the last ones that were not kept.
    pub dropped: u64,
    /// Of the kept bytes, 64 hex digits.
    pub sha256: String,
}

/// A range that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DataReport {
    /// Bytes sent.
    pub sent: u64,
    /// Size of the whole file.
    pub size: u64,
    /// Permission bits of the file.
    pub mode: u32,
}

/// A file after a write set, as read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    /// Relative to the tree.
    pub path: Bytes,
    /// What was there before.
    pub before: Option<FileDigest>,
    /// What is there now; nothing after a removal.
    pub after: Option<FileDigest>,
}

/// Size, mode and digest of a file's contents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Bytes.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// 64 hex digits.
    pub sha256: String,
}

/// What a tree or tar op handled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Records {
    /// Entries.
    pub entries: u64,
    /// Bytes of file contents.
    pub bytes: u64,
    /// Paths left out because they can be neither packed nor unpacked (sockets, devices).
    pub left_out: Vec<Bytes>,
    /// Programs that were paused for a mark, or ended for a reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub programs: Option<u32>,
}

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A FIFO, socket or device.
    Other,
}

/// One path, not following a link.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stat {
    /// Relative to the tree.
    pub path: Bytes,
    /// What it is.
    pub kind: Kind,
    /// Bytes; of a link, the length of its target; of a directory, 0.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Modification time, in nanoseconds since 1970.
    pub mtime_ns: i64,
    /// Where a link points.
    pub target: Option<Bytes>,
}

/// A path that differs from the baseline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Relative to the tree.
    pub path: Bytes,
    /// In the baseline; nothing when added.
    pub before: Option<Version>,
    /// Now; nothing when deleted.
    pub after: Option<Version>,
}

/// A path at one time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// What it is.
    pub kind: Kind,
    /// Permission bits.
    pub mode: u32,
    /// Bytes; 0 for a directory.
    pub size: u64,
    /// Of the contents (of a link: of its target), 64 hex digits; absent for what has none.
    pub sha256: Option<String>,
    /// Where a link points.
    pub target: Option<Bytes>,
}

/// Why a call was refused or failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// For programs.
    pub code: FailureCode,
    /// One sentence fragment for people, completing "could not ...".
    pub message: String,
    /// The path it is about.
    pub path: Option<Bytes>,
}

/// The kinds of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FailureCode {
    /// Nothing at that path.
    NotFound,
    /// The path is something else than the op needs.
    WrongKind,
    /// A link where none is followed.
    Symlink,
    /// The path, or a link on it, leads out of the tree.
    Outside,
    /// Something is there already.
    Exists,
    /// The file is not what the write set was computed from.
    Conflict,
    /// The disk, quota or file size limit is exhausted.
    NoSpace,
    /// A limit of the protocol or the op.
    TooLarge,
    /// An archive that breaks the rules.
    BadArchive,
    /// A frame or call that breaks the rules.
    BadRequest,
    /// An op this generation does not know.
    UnknownOp,
    /// The host cancelled the call.
    Cancelled,
    /// The inner init is gone; the sandbox must be made anew.
    SandboxEnded,
    /// Anything else the kernel said.
    Io,
}
