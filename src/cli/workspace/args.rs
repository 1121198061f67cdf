//! The commands of `pyro workspace`, declared. What they mean is decided elsewhere.

use crate::cli::args::{Format, Hidden, full_pair, name_or_pair, pair};
use clap::{Args, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum WorkspaceCommand {
    /// Make a workspace and start it
    Create(Create),
    /// List the workspaces, the one used last first
    List(List),
    /// Show a workspace
    Status(One),
    /// Change what a workspace is called, its labels, or how long it lives
    Update(Update),
    /// Run a program in a workspace
    Exec(Exec),
    /// Enter a workspace: a shell in it, on this terminal
    Enter(Enter),
    /// Show the commands that ran in a workspace since the last reset, and their output
    Logs(One),
    /// Show everything that was done to a workspace
    History(History),
    /// Bring files from the host into a workspace
    #[command(subcommand)]
    Sync(SyncCommand),
    /// List, read, write and delete files of a workspace
    #[command(subcommand)]
    File(FileCommand),
    /// Apply a patch to a workspace: all of it or nothing
    #[command(subcommand)]
    Patch(PatchCommand),
    /// Show what changed in a workspace since it was made, or since a snapshot
    Diff(Diff),
    /// Copy a file or directory of a workspace to the host
    Export(Export),
    /// Bring what changed in a workspace home into a directory of the host: all of it or nothing
    Pull(Pull),
    /// Keep what a workspace is now, for `reset` and `diff`
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Put a workspace back to what it was when it was made, or at a snapshot
    Reset(Reset),
    /// End everything that runs in a workspace; its files stay
    Stop(One),
    /// Start a stopped workspace
    Start(One),
    /// Look at the files of a stopped workspace
    #[command(subcommand)]
    Disk(DiskCommand),
    /// Make a second workspace from what this one is now
    Fork(Fork),
    /// Remove a workspace and all its files
    Delete(One),
    /// Delete workspaces that nobody has used for 7 days after their time, and what interrupted commands have left
    Prune(Prune),
}

/// Which workspace.
#[derive(Debug, Args)]
pub(super) struct At {
    /// Its name or id
    #[arg(value_name = "WORKSPACE")]
    pub(super) workspace: String,
}

/// A workspace, and nothing else.
#[derive(Debug, Args)]
pub(in crate::cli) struct One {
    #[command(flatten)]
    pub(super) at: At,
    /// Print it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Create {
    /// Where programs come from: `host`, or `dir:PATH` for an unpacked root file system
    #[arg(value_name = "ENVIRONMENT")]
    pub(super) environment: String,
    /// Fill it with a copy of this directory or tar
    #[arg(long, value_name = "PATH", visible_alias = "seed")]
    pub(super) seed_path: Option<String>,
    /// Leave out what this gitignore pattern names
    #[arg(long, value_name = "PATTERN", requires = "seed_path")]
    pub(super) exclude: Vec<String>,
    /// Leave out what the seed's .gitignore files name
    #[arg(long, requires = "seed_path")]
    pub(super) respect_gitignore: bool,
    /// What it is called
    #[arg(long)]
    pub(super) name: Option<String>,
    /// What else is to be known of it
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) label: Vec<(String, String)>,
    /// Show a host path read-only at the same place inside
    #[arg(long, value_name = "PATH")]
    pub(super) expose: Vec<String>,
    /// Keep a secret for programs that ask for it by `--secret-env`. While this command runs, everybody on this host can see the
    /// value in the list of processes: `--secret-file` and `--secret-env` do not show it
    #[arg(long, value_name = "NAME=VALUE")]
    pub(super) secret: Vec<Hidden>,
    /// Keep a secret whose value this file holds
    #[arg(long, value_name = "NAME=PATH", value_parser = full_pair)]
    pub(super) secret_file: Vec<(String, String)>,
    /// Keep a secret whose value is that of a variable of pyro's own environment, of the same name without another one
    #[arg(long, value_name = "NAME[=VARIABLE]", value_parser = name_or_pair)]
    pub(super) secret_env: Vec<(String, String)>,
    /// Processors that all its programs together may keep busy, such as `2` or `1.5`
    #[arg(long, value_name = "N")]
    pub(super) cpus: Option<String>,
    /// The same, as a whole number
    #[arg(long, value_name = "N", conflicts_with = "cpus", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) vcpu_count: Option<u32>,
    /// Memory of all its programs together, such as `512MiB`
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<String>,
    /// The same, in MiB
    #[arg(long, value_name = "N", conflicts_with = "memory", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) mem_mib: Option<u32>,
    /// What it may add to the disk, such as `10GiB`
    #[arg(long, value_name = "SIZE")]
    pub(super) disk: Option<String>,
    /// Stop it when nobody has used it for so long, such as `8h`
    #[arg(long, value_name = "TIME")]
    pub(super) ttl: Option<String>,
    /// The same, in seconds
    #[arg(long, value_name = "N", conflicts_with = "ttl", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) ttl_seconds: Option<u32>,
    /// What of the network it has: `off` is all there is today
    #[arg(long, value_name = "POLICY", default_value = "off", value_parser = ["off"])]
    pub(super) network_policy: String,
    /// Taken and ignored: pyro never runs programs on the bare host
    #[arg(long, hide = true)]
    pub(super) allow_host_compat: bool,
    /// Print the request that this command stands for, and do nothing
    #[arg(long, value_name = "FORMAT")]
    pub(super) emit: Option<Format>,
    /// Print the workspace as JSON
    #[arg(long, conflicts_with = "id_only")]
    pub(super) json: bool,
    /// Print the id and nothing else
    #[arg(long)]
    pub(super) id_only: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct List {
    /// Only those with this label; may be given again for more
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) label: Vec<(String, String)>,
    /// Print the list as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Update {
    #[command(flatten)]
    pub(super) at: At,
    /// What it is called from now on
    #[arg(long)]
    pub(super) name: Option<String>,
    /// It has no name any more
    #[arg(long, conflicts_with = "name")]
    pub(super) clear_name: bool,
    /// Set a label
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) label: Vec<(String, String)>,
    /// Remove a label
    #[arg(long, value_name = "KEY")]
    pub(super) clear_label: Vec<String>,
    /// Stop it when nobody has used it for so long, such as `8h`; at most `30d`
    #[arg(long, value_name = "TIME")]
    pub(super) ttl: Option<String>,
    /// The same, in seconds
    #[arg(long, value_name = "N", conflicts_with = "ttl")]
    pub(super) ttl_seconds: Option<u32>,
    /// Print the workspace as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Fork {
    #[command(flatten)]
    pub(super) at: At,
    /// What the second one is called
    #[arg(long)]
    pub(super) name: Option<String>,
    /// What else is to be known of the second one
    #[arg(long, value_name = "KEY=VALUE", value_parser = pair)]
    pub(super) label: Vec<(String, String)>,
    /// Print the second one as JSON
    #[arg(long, conflicts_with = "id_only")]
    pub(super) json: bool,
    /// Print the id of the second one and nothing else
    #[arg(long)]
    pub(super) id_only: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Prune {
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// How a command that is a request is answered.
#[derive(Debug, Args)]
pub(super) struct Answer {
    /// Print the request that this command stands for, and do nothing
    #[arg(long, value_name = "FORMAT")]
    pub(super) emit: Option<Format>,
    /// Print what came of it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Exec {
    #[command(flatten)]
    pub(super) at: At,
    /// The program and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    pub(super) command: Vec<String>,
    /// Set an environment variable of the program
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) env: Vec<(String, String)>,
    /// Give the program a secret of the workspace, in a variable of the same name or of another one
    #[arg(long, value_name = "NAME[=VARIABLE]", value_parser = name_or_pair)]
    pub(super) secret_env: Vec<(String, String)>,
    /// Working directory inside, relative to /workspace
    #[arg(long, value_name = "DIR")]
    pub(super) cwd: Option<String>,
    /// Give the program this file as its standard input, `-` for pyro's own
    #[arg(long, value_name = "FILE")]
    pub(super) stdin: Option<PathBuf>,
    /// End the program, and all it started, after this long
    #[arg(
        long,
        value_name = "TIME",
        default_value = "30s",
        conflicts_with = "timeout_seconds"
    )]
    pub(super) timeout: String,
    /// The same, in seconds
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) timeout_seconds: Option<u32>,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Args)]
#[command(
    after_help = "Leave it with `exit`; or, whatever goes on in there, with Enter ~ . (Enter ~ ? shows more)."
)]
pub(in crate::cli) struct Enter {
    #[command(flatten)]
    pub(super) at: At,
    /// A program and its arguments, in the place of a shell
    #[arg(value_name = "CMD", last = true)]
    pub(super) command: Vec<String>,
    /// Set an environment variable of the program
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) env: Vec<(String, String)>,
    /// Working directory inside, relative to /workspace
    #[arg(long, value_name = "DIR")]
    pub(super) cwd: Option<String>,
    /// Show control characters instead of letting this terminal obey them, for a workspace that is not trusted
    #[arg(long)]
    pub(super) plain: bool,
    /// Not a request: refused, and why
    #[arg(long, hide = true, num_args = 0..=1, value_name = "FORMAT")]
    pub(super) emit: Option<Option<String>>,
    /// Not for programs: refused, and why
    #[arg(long, hide = true)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct History {
    #[command(flatten)]
    pub(super) at: At,
    /// Print it as one request document, which does the same in a fresh workspace
    #[arg(long, conflicts_with = "json")]
    pub(super) request: bool,
    /// Show the newest so many
    #[arg(long, value_name = "N", conflicts_with = "request")]
    pub(super) limit: Option<u32>,
    /// Print the history as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SyncCommand {
    /// Lay a directory or tar over a workspace: all of it or nothing
    Push(SyncPush),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SyncPush {
    #[command(flatten)]
    pub(super) at: At,
    /// A directory or tar of the host
    #[arg(value_name = "SOURCE")]
    pub(super) source: String,
    /// The directory in the workspace that it is laid over
    #[arg(long, value_name = "PATH", default_value = "/workspace")]
    pub(super) dest: String,
    /// Leave out what this gitignore pattern names
    #[arg(long, value_name = "PATTERN")]
    pub(super) exclude: Vec<String>,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum FileCommand {
    /// List a directory
    List(FileList),
    /// Print a file, or a part of it
    Read(FileRead),
    /// Write a file
    Write(FileWrite),
    /// Find the lines that a regular expression matches, in files
    Search(FileSearch),
    /// Give a file, link or directory another path, never over anything
    Move(FileMove),
    /// Delete files and directories: all of them or none
    Delete(FileDelete),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FileList {
    #[command(flatten)]
    pub(super) at: At,
    /// A directory or file
    #[arg(value_name = "PATH", default_value = "/workspace")]
    pub(super) path: String,
    /// Descend into directories
    #[arg(long)]
    pub(super) recursive: bool,
    /// How many paths are told at most
    #[arg(long, value_name = "N", default_value = "10000", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(super) max_entries: u32,
    /// Go on after this path, as an answer that was cut off says
    #[arg(long, value_name = "PATH")]
    pub(super) after: Option<OsString>,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FileRead {
    #[command(flatten)]
    pub(super) at: At,
    /// The file
    #[arg(value_name = "PATH")]
    pub(super) path: String,
    /// The first byte that is read, from 0
    #[arg(long, value_name = "N", default_value = "0")]
    pub(super) offset: u32,
    /// How much is read at most
    #[arg(long, value_name = "N", default_value = "65536", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_bytes: u32,
    /// Print the bytes as they are, and nothing else
    #[arg(long, conflicts_with_all = ["json", "emit"])]
    pub(super) content_only: bool,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FileWrite {
    #[command(flatten)]
    pub(super) at: At,
    /// The file
    #[arg(value_name = "PATH")]
    pub(super) path: String,
    /// What it shall hold
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        required_unless_present = "text_file",
        conflicts_with = "text_file"
    )]
    pub(super) text: Option<String>,
    /// A host file that has what it shall hold, `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(super) text_file: Option<PathBuf>,
    /// Permission bits, such as `0755`; without, those of the file that is replaced, else `0644`
    #[arg(long)]
    pub(super) mode: Option<String>,
    /// Add it at the end of the file, which is made where it is missing
    #[arg(long)]
    pub(super) append: bool,
    /// Write only if the file is the one of this digest, as `file read --json` says it
    #[arg(long, value_name = "DIGEST", conflicts_with = "if_absent")]
    pub(super) if_sha256: Option<String>,
    /// Write only if nothing is there
    #[arg(long)]
    pub(super) if_absent: bool,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FileSearch {
    #[command(flatten)]
    pub(super) at: At,
    /// A regular expression; `(?i)` at its beginning ignores case
    #[arg(value_name = "REGEX", allow_hyphen_values = true)]
    pub(super) regex: String,
    /// Files, or directories with all that is below them
    #[arg(value_name = "PATH", default_value = "/workspace")]
    pub(super) paths: Vec<String>,
    /// Search only files that this gitignore pattern names
    #[arg(long, value_name = "PATTERN")]
    pub(super) include: Vec<String>,
    /// Leave out what this gitignore pattern names
    #[arg(long, value_name = "PATTERN")]
    pub(super) exclude: Vec<String>,
    /// How many lines are told at most
    #[arg(long, value_name = "N", default_value = "1000", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(super) max_matches: u32,
    /// How many bytes of lines are told at most
    #[arg(long, value_name = "N", default_value = "1048576", value_parser = clap::value_parser!(u32).range(1..=16_777_216))]
    pub(super) max_bytes: u32,
    /// Go on after this path, as an answer that was cut off says
    #[arg(long, value_name = "PATH")]
    pub(super) after: Option<OsString>,
    /// Go on in that file, after this line
    #[arg(long, value_name = "N", requires = "after", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) after_line: Option<u64>,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FileMove {
    #[command(flatten)]
    pub(super) at: At,
    /// What moves; a directory with all that is in it, a link itself
    #[arg(value_name = "FROM")]
    pub(super) from: String,
    /// The path it becomes, where nothing is yet; directories on the way are made
    #[arg(value_name = "TO")]
    pub(super) to: String,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct FileDelete {
    #[command(flatten)]
    pub(super) at: At,
    /// What goes; a directory with all that is in it
    #[arg(value_name = "PATH", required = true)]
    pub(super) paths: Vec<String>,
    /// A path that is not there is no mistake
    #[arg(long)]
    pub(super) ignore_missing: bool,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PatchCommand {
    /// Apply a unified diff, a git patch or a `*** Begin Patch` text
    Apply(PatchApply),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct PatchApply {
    #[command(flatten)]
    pub(super) at: At,
    /// The patch itself
    #[arg(
        long,
        value_name = "TEXT",
        allow_hyphen_values = true,
        required_unless_present = "patch_file",
        conflicts_with = "patch_file"
    )]
    pub(super) patch: Option<String>,
    /// A host file that has it, `-` for standard input
    #[arg(long, value_name = "FILE")]
    pub(super) patch_file: Option<PathBuf>,
    /// Refuse hunks that do not stand at the line they say
    #[arg(long)]
    pub(super) exact: bool,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Diff {
    #[command(flatten)]
    pub(super) at: At,
    /// Compare with this snapshot
    #[arg(long, value_name = "NAME", default_value = "baseline")]
    pub(super) against: String,
    /// Leave out what this gitignore pattern names
    #[arg(long, value_name = "PATTERN")]
    pub(super) exclude: Vec<String>,
    /// Print the patch and nothing else
    #[arg(long, conflicts_with_all = ["json", "emit"])]
    pub(super) patch: bool,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Export {
    #[command(flatten)]
    pub(super) at: At,
    /// A file or directory of the workspace
    #[arg(value_name = "PATH")]
    pub(super) path: String,
    /// What it becomes on the host
    #[arg(long, value_name = "HOST-PATH")]
    pub(super) output: String,
    /// Replace what is there
    #[arg(long)]
    pub(super) overwrite: bool,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Pull {
    #[command(flatten)]
    pub(super) at: At,
    /// The directory of the host; without, the one that the workspace was filled from
    #[arg(value_name = "DIR")]
    pub(super) directory: Option<String>,
    /// Leave in the workspace what this gitignore pattern names; what changed of `.git` always stays there
    #[arg(long, value_name = "PATTERN")]
    pub(super) exclude: Vec<String>,
    /// Merge nothing: a file that was changed on the host as well is a conflict
    #[arg(long)]
    pub(super) exact: bool,
    /// Write nothing; show what would be changed as a patch, and everything that stands against it
    #[arg(long)]
    pub(super) dry_run: bool,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SnapshotCommand {
    /// Keep what the workspace is now
    Create(SnapshotOne),
    /// List what was kept
    List(One),
    /// Forget what was kept
    Delete(SnapshotDelete),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SnapshotOne {
    #[command(flatten)]
    pub(super) at: At,
    /// What the snapshot is called
    #[arg(value_name = "SNAPSHOT")]
    pub(super) snapshot: String,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct SnapshotDelete {
    #[command(flatten)]
    pub(super) at: At,
    /// What the snapshot is called
    #[arg(value_name = "SNAPSHOT")]
    pub(super) snapshot: String,
    /// Print what was done as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct Reset {
    #[command(flatten)]
    pub(super) at: At,
    /// The snapshot to go back to
    #[arg(long, value_name = "NAME", default_value = "baseline")]
    pub(super) snapshot: String,
    #[command(flatten)]
    pub(super) answer: Answer,
}

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DiskCommand {
    /// List a directory
    List(DiskList),
    /// Print a file, or the beginning of it
    Read(DiskRead),
    /// Write all files into a tar on the host
    Export(DiskExport),
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiskList {
    #[command(flatten)]
    pub(super) at: At,
    /// A directory or file
    #[arg(value_name = "PATH", default_value = "/workspace")]
    pub(super) path: String,
    /// Descend into directories
    #[arg(long)]
    pub(super) recursive: bool,
    /// Print the list as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiskRead {
    #[command(flatten)]
    pub(super) at: At,
    /// The file
    #[arg(value_name = "PATH")]
    pub(super) path: String,
    /// How much is read at most
    #[arg(long, value_name = "N", default_value = "65536", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) max_bytes: u32,
    /// Print the bytes as they are, and nothing else
    #[arg(long, conflicts_with = "json")]
    pub(super) content_only: bool,
    /// Print it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(in crate::cli) struct DiskExport {
    #[command(flatten)]
    pub(super) at: At,
    /// The tar to write
    #[arg(long, value_name = "FILE")]
    pub(super) output: PathBuf,
    /// Print what was done as JSON
    #[arg(long)]
    pub(super) json: bool,
}
