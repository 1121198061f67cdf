//! Making patches, against git on the same two files.

use super::Size;
use super::race::{Rival, absent, is_here, line, process, race};
use pyro::patch::{Side, unified};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

pub(crate) fn making(size: Size, folder: &Path) -> Result<(), Box<dyn Error>> {
    let count = size.pick(60_000, 3000);
    let folder = folder.join("making");
    fs::create_dir_all(&folder)?;
    for (what, old, new) in pairs(count) {
        let [a, b] = ["a", "b"].map(|name| folder.join(name));
        fs::write(&a, &old)?;
        fs::write(&b, &new)?;
        let ours = || {
            let started = Instant::now();
            let side = |bytes| {
                let mode = 0o644;
                Some(Side { bytes, mode })
            };
            let (old, new) = (fs::read(&a)?, fs::read(&b)?);
            let patch = unified(b"f", side(&old), side(&new));
            let took = started.elapsed();
            if patch.is_empty() {
                return Err("no difference".into());
            }
            Ok(took)
        };
        let git = || {
            // It says by its exit code that there are differences.
            let mut command = Command::new("sh");
            let script = "git diff --no-index --no-ext-diff -- a b >/dev/null; test $? = 1";
            process(command.args(["-c", script]).current_dir(&folder))
        };
        let has_git = is_here("git");
        let mut rivals: Vec<Rival<'_>> = vec![("pyro", Box::new(ours))];
        if has_git {
            rivals.push(("git", Box::new(git)));
        }
        let times = race(size.pick(7, 2), &mut rivals)?;
        match times.get(1) {
            Some(theirs) => line(&what, &times[0], "git diff, whole process", theirs, 1.0),
            None => absent(&what, "git"),
        }
    }
    Ok(())
}

/// Texts of `count` lines that have little in common, or are hard to compare, or differ in some places.
fn pairs(count: usize) -> Vec<(String, String, String)> {
    let text = |line: &dyn Fn(usize) -> String| (0..count).map(line).collect::<String>();
    let kinds = |mut state: u64, kinds: u64| {
        let mut text = String::new();
        for _ in 0..count {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            text += &format!("line of kind {}\n", state % kinds);
        }
        text
    };
    let plain = text(&|at| format!("line {at}\n"));
    let edited = text(&|at| match at % (count / 50) {
        7 => format!("line {at}, changed\n"),
        _ => format!("line {at}\n"),
    });
    vec![
        (
            format!("diff, 50 changes in {count} lines"),
            plain.clone(),
            edited,
        ),
        (
            format!("diff, {count} lines, all different"),
            plain.clone(),
            text(&|at| format!("other {at}\n")),
        ),
        (
            format!("diff, {count} lines, backwards"),
            plain,
            text(&|at| format!("line {}\n", count - 1 - at)),
        ),
        (
            format!("diff, {count} lines of 100 kinds"),
            kinds(5, 100),
            kinds(6, 100),
        ),
    ]
}
