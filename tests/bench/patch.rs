//! Patches checked and applied by the engine, beside git on the same files. Both read them from the disk, and when they
//! apply, write them; the time that git takes to start, measured right before, is taken off.

use super::Size;
use super::patch_cases;
use super::race::{Rival, absent, is_here, line, process, race};
use pyro::patch::{self, Match};
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

type Result<T> = std::result::Result<T, Box<dyn Error>>;
type Files = BTreeMap<Vec<u8>, (Vec<u8>, u32)>;

pub(crate) fn patch(size: Size, folder: &Path) -> Result<()> {
    let folder = folder.join("patch");
    if !is_here("git") {
        absent("patches", "git");
        return Ok(());
    }
    let rounds = size.pick(15, 2);
    one_patch(&folder.join("many"), "500 files", many_files(500), rounds)?;
    one_patch(
        &folder.join("large"),
        "1 000 hunks in 100 000 lines",
        large_file(),
        rounds,
    )?;
    fixtures(&folder.join("cases"), size.pick(3, 1))
}

/// Files, and a patch of them.
fn many_files(count: usize) -> (Vec<(String, String)>, String) {
    let mut files = Vec::new();
    let mut text = String::new();
    for at in 0..count {
        let name = format!("src/part{}/file{at}.txt", at % 20);
        let lines: Vec<String> = (0..200)
            .map(|line| format!("line {line} of file {at}"))
            .collect();
        hunks(&mut text, &name, &lines, &[40, 150]);
        files.push((name, lines.join("\n") + "\n"));
    }
    (files, text)
}

fn large_file() -> (Vec<(String, String)>, String) {
    let lines: Vec<String> = (0..100_000)
        .map(|line| format!("entry {line}: value {}", line * 7919 % 10_007))
        .collect();
    let changed: Vec<usize> = (0..1000).map(|hunk| hunk * 100 + 50).collect();
    let mut text = String::new();
    hunks(&mut text, "large.txt", &lines, &changed);
    (
        vec![("large.txt".to_owned(), lines.join("\n") + "\n")],
        text,
    )
}

/// A section that changes one line at each of these places.
fn hunks(text: &mut String, name: &str, lines: &[String], changed: &[usize]) {
    let _ = write!(
        text,
        "diff --git a/{name} b/{name}\n--- a/{name}\n+++ b/{name}\n"
    );
    for &at in changed {
        let start = at - 3;
        let _ = writeln!(text, "@@ -{0},7 +{0},7 @@", start + 1);
        for (number, line) in lines.iter().enumerate().skip(start).take(7) {
            let _ = if number == at {
                writeln!(text, "-{line}\n+{line}, changed")
            } else {
                writeln!(text, " {line}")
            };
        }
    }
}

fn one_patch(
    folder: &Path,
    what: &str,
    (files, text): (Vec<(String, String)>, String),
    rounds: usize,
) -> Result<()> {
    let (ours, theirs) = (folder.join("ours"), folder.join("theirs"));
    for tree in [&ours, &theirs] {
        for (name, content) in &files {
            let path = tree.join(name);
            fs::create_dir_all(path.parent().ok_or("a parent")?)?;
            fs::write(path, content)?;
        }
    }
    let patch = folder.join("p.patch");
    fs::write(&patch, text)?;
    let check = || {
        let begun = Instant::now();
        let applied = applied(&ours, &patch)?;
        let took = begun.elapsed();
        if applied.files.len() == files.len() {
            Ok(took)
        } else {
            Err("not all files".into())
        }
    };
    let git_check = || git(&theirs, &["apply", "--check", "../p.patch"]);
    let mut rivals: [Rival<'_>; 2] = [("pyro", Box::new(check)), ("git", Box::new(git_check))];
    let times = race(rounds, &mut rivals)?;
    line(
        &format!("check a patch, {what}"),
        &times[0],
        "git apply --check",
        &times[1],
        1.0,
    );

    // What a round changed is put back after the clock has stopped.
    let apply = || {
        let begun = Instant::now();
        for change in applied(&ours, &patch)?.files {
            let path = path(&ours, &change.path);
            let beside = path.with_extension("new");
            fs::write(
                &beside,
                change.after.map(|(bytes, _)| bytes).unwrap_or_default(),
            )?;
            fs::rename(beside, path)?;
        }
        let took = begun.elapsed();
        restore(&ours, &files)?;
        Ok(took)
    };
    let git_apply = || {
        let took = git(&theirs, &["apply", "../p.patch"])?;
        restore(&theirs, &files)?;
        Ok(took)
    };
    let mut rivals: [Rival<'_>; 2] = [("pyro", Box::new(apply)), ("git", Box::new(git_apply))];
    let times = race(rounds, &mut rivals)?;
    line(
        &format!("apply a patch, {what}"),
        &times[0],
        "git apply",
        &times[1],
        1.0,
    );
    Ok(())
}

fn restore(tree: &Path, files: &[(String, String)]) -> Result<()> {
    for (name, content) in files {
        fs::write(tree.join(name), content)?;
    }
    Ok(())
}

/// The engine on what lies on the disk.
fn applied(tree: &Path, patch: &Path) -> Result<patch::Applied> {
    let told = |refusals: Vec<patch::Refusal>| format!("{}", refusals[0]);
    let patch = patch::parse(&fs::read(patch)?).map_err(told)?;
    let mut files = Files::new();
    for name in patch::candidate_names(&patch) {
        if let Ok(bytes) = fs::read(path(tree, &name)) {
            files.insert(name, (bytes, 0o644));
        }
    }
    Ok(patch::apply(&patch, Match::Unique, &files).map_err(told)?)
}

fn path(tree: &Path, name: &[u8]) -> PathBuf {
    tree.join(std::ffi::OsStr::from_bytes(name))
}

/// What git takes beyond its start.
fn git(folder: &Path, args: &[&str]) -> Result<Duration> {
    let start = process(Command::new("git").arg("--version").current_dir(folder))?;
    let mut command = Command::new("git");
    // A tree within a repository would be another one for git.
    command
        .args(args)
        .current_dir(folder)
        .env("GIT_CEILING_DIRECTORIES", folder.parent().unwrap_or(folder));
    Ok(process(&mut command)?.saturating_sub(start))
}

/// Every case of `fixtures/patch` that git takes as well as we do.
fn fixtures(folder: &Path, rounds: usize) -> Result<()> {
    let mut cases = Vec::new();
    for case in patch_cases::all(Path::new(env!("CARGO_MANIFEST_DIR"))) {
        let tree = folder.join(&case.id).join("tree");
        for (name, node) in &case.before.0 {
            if let patch_cases::Node::File(bytes, _) = node {
                let path = path(&tree, name);
                fs::create_dir_all(path.parent().ok_or("a parent")?)?;
                fs::write(path, bytes)?;
            }
        }
        fs::create_dir_all(&tree)?;
        fs::write(tree.join("../p.patch"), &case.patch)?;
        if !case.after.is_empty()
            && applied(&tree, &tree.join("../p.patch")).is_ok()
            && git(&tree, &["apply", "--check", "../p.patch"]).is_ok()
        {
            cases.push(tree);
        }
    }
    let ours = || {
        let begun = Instant::now();
        for tree in &cases {
            applied(tree, &tree.join("../p.patch"))?;
        }
        Ok(begun.elapsed())
    };
    let theirs = || {
        let mut sum = Duration::ZERO;
        for tree in &cases {
            sum += git(tree, &["apply", "--check", "../p.patch"])?;
        }
        Ok(sum)
    };
    let mut rivals: [Rival<'_>; 2] = [("pyro", Box::new(ours)), ("git", Box::new(theirs))];
    let times = race(rounds, &mut rivals)?;
    line(
        &format!("check {} cases of fixtures/patch", cases.len()),
        &times[0],
        "git apply --check",
        &times[1],
        1.0,
    );
    Ok(())
}
