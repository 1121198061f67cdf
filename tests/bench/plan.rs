//! Planning twenty patches over a tree of 400 files, against git's check of the same patches: whole processes.

use super::Size;
use super::files::{name, plant, text};
use super::race::{Rival, absent, is_here, line, process, race};
use pyro::request::{Syntax, emit};
use pyro::{Request, Step};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;

const FILES: usize = 400;
const PATCHES: usize = 20;
/// Files that each patch changes.
const EACH: usize = 3;

pub(crate) fn plan(size: Size, folder: &Path) -> Result<(), Box<dyn Error>> {
    let folder = folder.join("plan");
    let seed = folder.join("seed");
    plant(&seed, FILES)?;
    let mut request = Request::new("host").seed("seed");
    let mut patches = Vec::new();
    for index in 0..PATCHES {
        let patch: String = (0..EACH)
            .map(|which| one((index * EACH + which) * (FILES / PATCHES / EACH)))
            .collect();
        let path = format!("{index}.patch");
        fs::write(folder.join(&path), &patch)?;
        request = request.step(Step::patch_from(&path));
        patches.push(format!("../{path}"));
    }
    let request = request.build().map_err(|errors| format!("{errors:?}"))?;
    fs::write(folder.join("request.toml"), emit(&request, Syntax::Toml))?;
    let state = folder.join("state");
    let ours = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyro"));
        command.arg("plan").arg(folder.join("request.toml"));
        process(command.env("PYRO_STATE_DIR", &state))
    };
    let theirs = || {
        let mut command = Command::new("git");
        process(
            command
                .args(["apply", "--check"])
                .args(&patches)
                .current_dir(&seed),
        )
    };
    let what = "pyro plan, 20 patches over 400 files";
    if !is_here("git") {
        absent(what, "git");
        return Ok(());
    }
    let mut rivals: [Rival<'_>; 2] = [("pyro", Box::new(ours)), ("git", Box::new(theirs))];
    let times = race(size.pick(40, 3), &mut rivals)?;
    line(what, &times[0], "git apply --check", &times[1], 3.0);
    Ok(())
}

/// A patch that changes line 10 of a file.
fn one(number: usize) -> String {
    let (path, text) = (name(number), text(number));
    let lines: Vec<&str> = text.lines().collect();
    format!(
        "--- a/{path}\n+++ b/{path}\n@@ -7,7 +7,7 @@\n {}\n {}\n {}\n-{}\n+changed\n {}\n {}\n {}\n",
        lines[6], lines[7], lines[8], lines[9], lines[10], lines[11], lines[12]
    )
}
