//! What changed in a large workspace, against a bare walk and against git on a tree with the same changes.

use super::Size;
use super::files::{Live, change, planted};
use super::race::{Rival, absent, is_here, line, process, race};
use pyro::machine::{CallEvent, Wake};
use pyro_protocol::message::{Op, Reply};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const CHANGES: usize = 100;

pub(crate) fn diff(size: Size, folder: &Path) -> Result<(), Box<dyn Error>> {
    let count = size.pick(50_000, 2000);
    let seed = planted(folder, count)?;
    let mut live = Live::start(&folder.join("diff"), Some(&seed))?;
    // Beside the tree, which others copy.
    let repository = folder.join("diff.git");
    let tree = live.tree.clone();
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command.args([
            "-c",
            "core.fsmonitor=false",
            "-c",
            "user.name=x",
            "-c",
            "user.email=x@x",
        ]);
        command
            .env("GIT_DIR", &repository)
            .env("GIT_WORK_TREE", &seed);
        process(command.args(arguments).current_dir(&seed))
    };
    let has_git = is_here("git");
    if has_git {
        git(&["init", "-q"])?;
        git(&["add", "-A"])?;
        git(&["commit", "-q", "-m", "as it was"])?;
        change(&seed, CHANGES, count)?;
    }
    // Changes in the clock tick of the baseline are compared by contents, and nobody changes files that fast.
    std::thread::sleep(Duration::from_millis(50));
    change(&tree, CHANGES, count)?;
    let ours = || {
        let started = Instant::now();
        let call = live.link.call(Op::TreeDiff);
        loop {
            match live.link.wait(None, None)? {
                Wake::Event(id, CallEvent::Done(Reply::Records(records))) if id == call => {
                    let took = started.elapsed();
                    let found = usize::try_from(records.entries)?;
                    return if found == CHANGES {
                        Ok(took)
                    } else {
                        Err(format!("{found} changes instead of {CHANGES}").into())
                    };
                }
                Wake::Event(_, CallEvent::Failed(failure)) => return Err(failure.message.into()),
                Wake::Event(..) | Wake::Interrupt | Wake::Timeout => {}
            }
        }
    };
    let walked = || {
        let started = Instant::now();
        walk(&tree)?;
        Ok(started.elapsed())
    };
    let asked = || {
        if has_git {
            Ok(git(&["status", "--porcelain"])? + git(&["diff"])?)
        } else {
            Ok(Duration::ZERO)
        }
    };
    let mut rivals: [Rival<'_>; 3] = [
        ("pyro", Box::new(ours)),
        ("walk", Box::new(walked)),
        ("git", Box::new(asked)),
    ];
    let times = race(size.pick(7, 2), &mut rivals)?;
    drop(rivals);
    let what = format!("{CHANGES} changes among {count} files");
    line(&what, &times[0], "lstat of every file", &times[1], 1.5);
    if has_git {
        line(&what, &times[0], "git status, git diff", &times[2], 1.0);
    } else {
        absent(&what, "git");
    }
    live.stop()
}

pub(crate) fn walk(folder: &Path) -> std::io::Result<u64> {
    let mut sum = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // Of the entry, not through a link.
        let metadata = entry.metadata()?;
        sum += metadata.len();
        if metadata.is_dir() {
            sum += walk(&entry.path())?;
        }
    }
    Ok(sum)
}
