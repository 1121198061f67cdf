//! How fast pyro is, each time beside somebody who does a comparable thing: `cargo bench`.
//!
//! Rounds alternate between pyro and its peers, so that a busy machine is busy for all of them, and what counts is the
//! ratio. Nothing here fails for being slow. `PYRO_BENCH=quick` takes seconds; arguments are parts of names.

#![expect(clippy::print_stdout, reason = "a benchmark reports there")]

mod create;
mod diff;
mod exec;
mod files;
mod keeper;
mod living;
mod making;
mod marks;
mod patch;
#[path = "../it/patch_cases.rs"]
#[expect(dead_code, reason = "the tests look at more of a case")]
mod patch_cases;
mod plan;
mod race;
mod run;
mod search;
mod sets;

use std::path::Path;
use std::process::ExitCode;

/// Rounds and files: as many as tell something, or hardly any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Size {
    Full,
    Quick,
}

impl Size {
    fn pick<T>(self, full: T, quick: T) -> T {
        match self {
            Self::Full => full,
            Self::Quick => quick,
        }
    }
}

type Bench = fn(Size, &Path) -> Result<(), Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    let quick = std::env::var_os("PYRO_BENCH").is_some_and(|value| value == "quick");
    let size = if quick { Size::Quick } else { Size::Full };
    let benches: &[(&str, Bench)] = &[
        ("run", run::run),
        ("exec", exec::exec),
        ("keeper", keeper::keeper),
        ("living", living::living),
        ("plan", plan::plan),
        ("patch", patch::patch),
        ("diff", diff::diff),
        ("search", search::search),
        ("create", create::create),
        ("making", making::making),
        ("sets", sets::sets),
        ("marks", marks::marks),
    ];
    let mut code = ExitCode::SUCCESS;
    // Nothing is removed before the end: ext4 steps one by one over the inodes of files that were deleted in the last
    // minutes, and whoever makes files after that measures it.
    let folder = match tempfile::tempdir() {
        Ok(folder) => folder,
        Err(error) => {
            println!("could not make a folder: {error}");
            return ExitCode::FAILURE;
        }
    };
    race::headings();
    for &(name, bench) in benches {
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        if let Err(error) = bench(size, folder.path()) {
            println!("{name}: {error}");
            code = ExitCode::FAILURE;
        }
    }
    code
}
