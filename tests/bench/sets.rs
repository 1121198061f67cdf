//! A write set of many files, against `git apply` of a patch that makes the same changes.

use super::Size;
use super::files::{Live, name, planted, text};
use super::race::{Rival, absent, is_here, line, process, race};
use pyro::machine::{CallEvent, Wake};
use pyro::patch::{Side, unified};
use pyro_protocol::Bytes;
use pyro_protocol::message::{FilesWrite, Op, Prior, Reply, WriteAction, WriteEntry};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

pub(crate) fn sets(size: Size, folder: &Path) -> Result<(), Box<dyn Error>> {
    let count = size.pick(500, 50);
    let seed = planted(folder, size.pick(1000, 100))?;
    let mut live = Live::start(&folder.join("sets"), Some(&seed))?;
    let copy = folder.join("sets.git");
    process(Command::new("cp").arg("-a").args([&seed, &copy]))?;
    // There and back again, so that each round changes as much as the one before.
    let version = |round: usize, file: usize| match round % 2 {
        0 => text(file),
        _ => text(file) + "one line more\n",
    };
    let mut round = 0;
    let ours = || {
        round += 1;
        let contents: Vec<String> = (0..count).map(|file| version(round, file)).collect();
        let entries = contents.iter().enumerate().map(|(file, text)| WriteEntry {
            path: Bytes::from(name(file)),
            expect: Prior::Any,
            action: WriteAction::File {
                size: text.len() as u64,
                mode: None,
            },
        });
        let op = Op::FilesWrite(FilesWrite {
            entries: entries.collect(),
        });
        let started = Instant::now();
        let call = live.link.call(op);
        live.link.input(call, contents.concat().as_bytes());
        live.link.end_input(call);
        loop {
            match live.link.wait(None, None)? {
                Wake::Event(id, CallEvent::Done(Reply::Written(_))) if id == call => {
                    return Ok(started.elapsed());
                }
                Wake::Event(_, CallEvent::Failed(failure)) => return Err(failure.message.into()),
                Wake::Event(..) | Wake::Interrupt | Wake::Timeout => {}
            }
        }
    };
    let mut their_round = 0;
    let theirs = || {
        their_round += 1;
        let mut patch = Vec::new();
        for file in 0..count {
            let (old, new) = (version(their_round - 1, file), version(their_round, file));
            let side = |text: &'_ String| text.clone().into_bytes();
            let (old, new) = (side(&old), side(&new));
            let of = |bytes| Side { bytes, mode: 0o644 };
            let path = name(file);
            patch.extend(unified(path.as_bytes(), Some(of(&old)), Some(of(&new))));
        }
        let file = folder.join("sets.patch");
        fs::write(&file, patch)?;
        let mut git = Command::new("git");
        git.arg("apply").arg(&file).current_dir(&copy);
        if is_here("git") {
            process(git.env("GIT_DIR", "/nonexistent"))
        } else {
            Ok(Duration::ZERO)
        }
    };
    let mut rivals: [Rival<'_>; 2] = [("pyro", Box::new(ours)), ("git", Box::new(theirs))];
    let times = race(size.pick(9, 2), &mut rivals)?;
    drop(rivals);
    let what = format!("write set of {count} files");
    if is_here("git") {
        line(&what, &times[0], "git apply, whole process", &times[1], 1.5);
    } else {
        absent(&what, "git");
    }
    live.stop()
}
