//! Keeping a workspace and putting it back, against a bare walk and against copying what differs.

use super::Size;
use super::diff::walk;
use super::files::{Live, change, name, planted};
use super::race::{Rival, Times, line, process, race};
use pyro::machine::{CallEvent, Wake};
use pyro_protocol::message::{MarkRemove, Op, Records, Reply, TreeMark, TreeReset};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const CHANGES: usize = 100;

pub(crate) fn marks(size: Size, folder: &Path) -> Result<(), Box<dyn Error>> {
    for count in [size.pick(1000, 200), size.pick(50_000, 2000)] {
        snapshots_and_resets(size, folder, count)?;
    }
    Ok(())
}

fn snapshots_and_resets(size: Size, folder: &Path, count: usize) -> Result<(), Box<dyn Error>> {
    let seed = planted(folder, count)?;
    let mut live = Live::start(&folder.join(format!("marks{count}")), Some(&seed))?;
    let tree = live.tree.clone();
    // What differs, by itself: what a copy would have to copy.
    let differing = folder.join(format!("differing{count}"));
    for number in (0..count).step_by(count / CHANGES) {
        let path = differing.join(name(number));
        fs::create_dir_all(path.parent().ok_or("a name without a folder")?)?;
        fs::copy(tree.join(name(number)), path)?;
    }
    let mut call = |op: Op| -> Result<(Duration, Records), Box<dyn Error>> {
        let started = Instant::now();
        let call = live.link.call(op);
        loop {
            match live.link.wait(None, None)? {
                Wake::Event(id, CallEvent::Done(Reply::Records(records))) if id == call => {
                    return Ok((started.elapsed(), records));
                }
                Wake::Event(_, CallEvent::Failed(failure)) => return Err(failure.message.into()),
                Wake::Event(..) | Wake::Interrupt | Wake::Timeout => {}
            }
        }
    };
    let mark = |name: &str| {
        Op::TreeMark(TreeMark {
            name: name.to_owned(),
            contents: true,
            system: true,
        })
    };
    let back = || {
        Op::TreeReset(TreeReset {
            to: "m".to_owned(),
            token: None,
        })
    };
    call(mark("baseline"))?;
    call(mark("m"))?;
    std::thread::sleep(Duration::from_millis(50));
    let mut marks = 0;
    let mut resets = Vec::new();
    let ours = || {
        // The same files each time; another second, so that none looks as it did.
        change(&tree, CHANGES, count)?;
        marks += 1;
        let (snapshot, kept) = call(mark(&format!("s{marks}")))?;
        let (reset, records) = call(back())?;
        if records.bytes == 0 || kept.entries < count as u64 {
            return Err(format!("{kept:?} {records:?}").into());
        }
        call(Op::MarkRemove(MarkRemove {
            name: format!("s{marks}"),
        }))?;
        resets.push(reset);
        Ok(snapshot)
    };
    let mut copies = 0;
    let copied = || {
        copies += 1;
        let to = folder.join(format!("copied{count}.{copies}"));
        process(Command::new("cp").arg("-a").args([&differing, &to]))
    };
    let walked = || {
        let started = Instant::now();
        walk(&tree)?;
        Ok(started.elapsed())
    };
    let mut rivals: [Rival<'_>; 3] = [
        ("pyro", Box::new(ours)),
        ("cp", Box::new(copied)),
        ("walk", Box::new(walked)),
    ];
    let times = race(size.pick(15, 2), &mut rivals)?;
    drop(rivals);
    // The first round does not count.
    let resets = Times::new(resets.split_off(1));
    for (what, ours) in [("snapshot", &times[0]), ("reset", &resets)] {
        let what = format!("{what}, {CHANGES} changes, {count} files");
        line(&what, ours, "cp -a of what differs", &times[1], 1.0);
        line(&what, ours, "lstat of every file", &times[2], 1.5);
    }
    live.stop()
}
