//! The command line, declared. What it means is decided elsewhere.

use super::workspace::args::WorkspaceCommand;
use crate::request::{Selection, Syntax};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;

/// Run request documents against disposable Linux workspaces.
///
/// A request (TOML or JSON) says what to write, patch, run, expect and export. `pyro plan` shows what will happen,
/// `pyro apply` does it in a sandbox and prints a receipt.
#[derive(Debug, Parser)]
#[command(name = "pyro", version, max_term_width = 100, disable_help_subcommand = true, after_help = AFTER)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
    #[command(flatten)]
    pub(super) global: Global,
}

const AFTER: &str = "\
Exit codes: 0 ok, 1 refused or different, 2 wrong input, 3 plan refused, 4 a step failed, 5 the machine failed, 130 interrupted, 70 a bug.
`pyro run` passes on the program's own code: 124 timed out, 125 pyro refused or failed, 126 or 127 not started.";

/// What every command takes.
#[derive(Debug, Args)]
pub(super) struct Global {
    /// Print only what went wrong
    #[arg(short, long, global = true)]
    pub(super) quiet: bool,
    /// Print more (the outputs of every step); twice, also what pyro does itself
    #[arg(short, long, global = true, action = clap::ArgAction::Count, conflicts_with = "quiet")]
    pub(super) verbose: u8,
    /// Where pyro keeps runs and receipts [env: PYRO_STATE_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(super) state_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run requests and print what happened
    Apply(Apply),
    /// Show exactly what a request would do, and do nothing
    Plan(Plan),
    /// Check that a document is a request, without looking at this host
    Check(Check),
    /// Run one program in a fresh workspace
    Run(Run),
    /// Make workspaces that live, work in them, and remove them
    #[command(subcommand)]
    Workspace(WorkspaceCommand),
    /// Show, list and compare receipts
    #[command(subcommand)]
    Receipt(ReceiptCommand),
    /// Print a request as pyro writes it, with its variables filled in or not
    Show(Show),
    /// Print a JSON Schema, for editors and other programs
    Schema(Schema),
    /// Try each step of making a sandbox, and say how to mend what fails
    Doctor(Doctor),
    /// Write a first request for the project in this directory
    Init(Init),
    /// Lay out requests as all of them are; only blanks and line breaks change
    Fmt(Fmt),
    /// Show what pyro keeps, and how large it is
    Du(Du),
    /// Remove what pyro keeps: receipts, outputs, kept trees, leftovers
    Clean(Clean),
    /// Say what an error code means, with an example and the way out
    Explain(Explain),
    /// Print completions for a shell
    Completions(Completions),
    /// Print the manual page
    Man(Man),
}

/// A request file and its variables.
#[derive(Debug, Args)]
pub(super) struct Source {
    /// The request (`.pyro.toml` or `.pyro.json`), or `-` for standard input
    #[arg(value_name = "REQUEST")]
    pub(super) request: PathBuf,
    /// Set a variable of the request
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) vars: Vec<(String, String)>,
}

/// Which steps run, and whether goldens are written.
#[derive(Debug, Clone, Args)]
pub(super) struct Choice {
    /// Begin at this step (its id, or `#N`)
    #[arg(long, value_name = "ID")]
    pub(super) from: Option<String>,
    /// End after this step
    #[arg(long, value_name = "ID")]
    pub(super) until: Option<String>,
    /// Run this step alone; may be given again for more
    #[arg(long, value_name = "ID", conflicts_with_all = ["from", "until"])]
    pub(super) only: Vec<String>,
    /// Write each text that differs from its golden over it; refused where `CI` is set
    #[arg(long)]
    pub(super) update_goldens: bool,
}

impl Choice {
    pub(super) fn selection(&self) -> Selection {
        Selection {
            from: self.from.clone(),
            until: self.until.clone(),
            only: self.only.clone(),
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct Apply {
    /// Requests (`.pyro.toml` or `.pyro.json`, `-` for standard input); of a directory, all below it
    #[arg(value_name = "REQUEST", required_unless_present = "plan")]
    pub(super) requests: Vec<PathBuf>,
    /// Set a variable of the request; of several, in those that have it
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) vars: Vec<(String, String)>,
    /// Run exactly what `pyro plan --out FILE` saved, or nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["requests", "vars", "review", "update_goldens", "from", "until", "only"])]
    pub(super) plan: Option<PathBuf>,
    /// Ask about each text that differs from its golden, on the terminal, and write what is accepted
    #[arg(long, conflicts_with = "update_goldens")]
    pub(super) review: bool,
    /// Also write the receipt to this file; of several requests, all receipts in one document
    #[arg(long, value_name = "FILE")]
    pub(super) receipt: Option<PathBuf>,
    /// Also write a report that other programs read: `junit=FILE`
    #[arg(long, value_name = "KIND=FILE", value_parser = report)]
    pub(super) report: Vec<(ReportKind, PathBuf)>,
    /// Also write a line of JSON for each event as it happens; to `-`, instead of everything else
    #[arg(long, value_name = "FILE")]
    pub(super) events: Option<PathBuf>,
    /// Print the receipt, or that document, as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Run so many at once (at most 64): combinations of a matrix, or several requests
    #[arg(long, value_name = "N", default_value = "1", conflicts_with = "review",
          value_parser = clap::value_parser!(u16).range(1..=64))]
    pub(super) jobs: u16,
    #[command(flatten)]
    pub(super) choice: Choice,
}

#[derive(Debug, Args)]
pub(super) struct Plan {
    #[command(flatten)]
    pub(super) source: Source,
    /// Print the plan as JSON
    #[arg(long)]
    pub(super) json: bool,
    /// Also save the plan to this file, for `pyro apply --plan FILE`
    #[arg(long, value_name = "FILE", conflicts_with = "update_goldens")]
    pub(super) out: Option<PathBuf>,
    /// End with 0 only if nothing would be changed, and with 10 if something would
    #[arg(long)]
    pub(super) detailed_exit_code: bool,
    #[command(flatten)]
    pub(super) choice: Choice,
}

#[derive(Debug, Args)]
pub(super) struct Check {
    #[command(flatten)]
    pub(super) source: Source,
    /// Print the findings as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Run {
    /// Where programs come from: `host`, or `dir:PATH` for an unpacked root file system
    #[arg(value_name = "ENV")]
    pub(super) environment: String,
    /// The program and its arguments
    #[arg(value_name = "CMD", last = true, required = true)]
    pub(super) command: Vec<String>,
    /// Fill the workspace with a copy of this directory
    #[arg(long, value_name = "DIR")]
    pub(super) seed: Option<String>,
    /// Set an environment variable of the program
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    pub(super) env: Vec<(String, String)>,
    /// Show a host path read-only at the same place inside
    #[arg(long, value_name = "PATH")]
    pub(super) expose: Vec<String>,
    /// Apply a patch first
    #[arg(long, value_name = "FILE")]
    pub(super) patch: Vec<String>,
    /// Afterwards, copy something out (whether the program succeeded or not)
    #[arg(long, value_name = "GUEST=HOST", value_parser = pair)]
    pub(super) export: Vec<(String, String)>,
    /// Let `--export` replace what is there
    #[arg(long)]
    pub(super) overwrite: bool,
    /// Working directory inside, relative to /workspace
    #[arg(long, value_name = "DIR")]
    pub(super) cwd: Option<String>,
    /// End the program, and all it started, after this long
    #[arg(long, value_name = "TIME", default_value = "30s")]
    pub(super) timeout: String,
    /// Processors that all processes together may keep busy, such as `2` or `1.5`
    #[arg(long, value_name = "N")]
    pub(super) cpus: Option<String>,
    /// Memory of all processes together, such as `512MiB`
    #[arg(long, value_name = "SIZE")]
    pub(super) memory: Option<String>,
    /// Keep the workspace afterwards: `on-failure`, `always`
    #[arg(long, value_name = "WHEN")]
    pub(super) keep: Option<String>,
    /// Print the request that this command stands for, and do nothing
    #[arg(long, value_name = "FORMAT")]
    pub(super) emit: Option<Format>,
    /// Also write the receipt to this file
    #[arg(long, value_name = "FILE")]
    pub(super) receipt: Option<PathBuf>,
    /// Print the receipt as JSON instead of the program's output
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Subcommand)]
pub(super) enum ReceiptCommand {
    /// Show what happened in a run
    Show(ReceiptShow),
    /// List the receipts that are kept, the newest first
    List(ReceiptList),
    /// Show how two runs differ, but for times and ids
    Diff(ReceiptDiff),
}

#[derive(Debug, Args)]
pub(super) struct ReceiptShow {
    /// `last`, `last~1` (the one before), the beginning of a run's id, or a path
    #[arg(value_name = "RECEIPT", default_value = "last")]
    pub(super) receipt: String,
    /// Print the receipt as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReceiptList {
    /// How many to list: 20 by default, and all with `--json`
    #[arg(long, value_name = "N")]
    pub(super) limit: Option<usize>,
    /// Print the list as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct ReceiptDiff {
    /// The first: `last~1`, the beginning of a run's id, or a path
    #[arg(value_name = "BEFORE")]
    pub(super) before: String,
    /// The second: `last`, the beginning of a run's id, or a path
    #[arg(value_name = "AFTER")]
    pub(super) after: String,
    /// Exit with 1 where they differ
    #[arg(long)]
    pub(super) exit_code: bool,
    /// Print the differences as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Init {
    /// Where to write it
    #[arg(value_name = "FILE", default_value = "test.pyro.toml")]
    pub(super) file: PathBuf,
    /// Replace what is there
    #[arg(long)]
    pub(super) force: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Fmt {
    /// Requests, `-` for standard input to standard output; of a directory, all below it
    #[arg(value_name = "REQUEST", default_value = ".")]
    pub(super) requests: Vec<PathBuf>,
    /// Write nothing; exit with 1 where something would be written
    #[arg(long)]
    pub(super) check: bool,
    /// Print what was done as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Du {
    /// Print the sizes as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Clean {
    /// Only what is older than this: `12h`, `30d`
    #[arg(long, value_name = "TIME")]
    pub(super) older_than: Option<String>,
    /// Show what would be removed, and remove nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Print what was removed as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    /// The code, as it stands in `error[CODE]`; without one, all are listed
    #[arg(value_name = "CODE")]
    pub(super) code: Option<String>,
    /// Print it as JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Completions {
    /// For which shell
    #[arg(value_name = "SHELL")]
    pub(super) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(super) struct Man {
    /// Write a page for each command into this directory
    #[arg(long, value_name = "DIR")]
    pub(super) out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The request (`.pyro.toml` or `.pyro.json`), or `-` for standard input
    #[arg(value_name = "REQUEST")]
    pub(super) request: PathBuf,
    /// With its variables filled in, those of the host too: a request of its own, which plans to the same. What steps
    /// capture and the names of a matrix stay references
    #[arg(long)]
    pub(super) resolved: bool,
    /// Set a variable of the request
    #[arg(long = "var", value_name = "NAME=VALUE", value_parser = pair, requires = "resolved")]
    pub(super) vars: Vec<(String, String)>,
    /// The syntax
    #[arg(long, value_name = "FORMAT", default_value = "toml")]
    pub(super) emit: Format,
}

#[derive(Debug, Args)]
pub(super) struct Schema {
    /// Of what
    #[arg(value_name = "OF", default_value = "request")]
    pub(super) of: SchemaOf,
}

/// A format that has a schema.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum SchemaOf {
    /// What a person or program writes
    Request,
    /// What `pyro plan --json` prints
    Plan,
    /// The same of a request with a matrix
    Plans,
    /// What a run leaves
    Receipt,
    /// What `pyro apply --json` prints of several runs
    Receipts,
}

#[derive(Debug, Args)]
pub(super) struct Doctor {
    /// Print the findings as JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// A syntax of the request document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people
    Toml,
    /// For programs
    Json,
}

/// A form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReportKind {
    /// JUnit XML.
    Junit,
}

/// `KIND=FILE`.
fn report(text: &str) -> Result<(ReportKind, PathBuf), String> {
    match text.split_once('=') {
        Some(("junit", file)) if !file.is_empty() => Ok((ReportKind::Junit, file.into())),
        _ => Err("expected junit=FILE".to_owned()),
    }
}

impl Format {
    /// Of the document.
    pub(super) fn syntax(self) -> Syntax {
        match self {
            Self::Toml => Syntax::Toml,
            Self::Json => Syntax::Json,
        }
    }
}

/// An argument that is shown nowhere, not even in a message that it is wrong.
#[derive(Clone)]
pub(super) struct Hidden(pub(super) String);

impl std::fmt::Debug for Hidden {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hidden(..)")
    }
}

impl From<String> for Hidden {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// `NAME=VALUE`, neither of them empty.
pub(super) fn full_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => {
            Ok((name.to_owned(), value.to_owned()))
        }
        _ => Err("expected NAME=VALUE, with neither of them empty".to_owned()),
    }
}

/// `NAME` or `NAME=OTHER`; the name itself where no other is given.
pub(super) fn name_or_pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        None if !text.is_empty() => Ok((text.to_owned(), text.to_owned())),
        Some((name, other)) if !name.is_empty() && !other.is_empty() => {
            Ok((name.to_owned(), other.to_owned()))
        }
        Some(_) | None => Err("expected NAME, or NAME=VARIABLE".to_owned()),
    }
}

/// `NAME=VALUE`.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
