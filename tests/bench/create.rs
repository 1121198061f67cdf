//! A workspace from a seed, with its baseline, against `cp -a`.

use super::Size;
use super::files::{owner, planted};
use super::race::{Rival, line, process, race};
use pyro::machine::ids_for_this_user;
use pyro::workspace::{KeepContents, StateDir, fill};
use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

pub(crate) fn create(size: Size, folder: &Path) -> Result<(), Box<dyn Error>> {
    for (count, rounds) in [
        (1000, size.pick(15, 2)),
        (size.pick(50_000, 2000), size.pick(3, 1)),
    ] {
        let seed = planted(folder, count)?;
        let folder = folder.join(format!("create{count}"));
        fs::create_dir(&folder)?;
        let state = StateDir::open(Some(&folder.join("state")))?;
        let (ids, _lock) = ids_for_this_user()?;
        let mut runs = Vec::new();
        let ours = || {
            let started = Instant::now();
            let run = state.new_run()?;
            fill(
                Some((&*seed).into()),
                run.path(),
                owner(ids),
                KeepContents::No,
            )?;
            let took = started.elapsed();
            runs.push(run);
            Ok(took)
        };
        let mut copies = 0;
        let theirs = || {
            copies += 1;
            let copy = folder.join(format!("copy{copies}"));
            process(Command::new("cp").arg("-a").arg(&seed).arg(copy))
        };
        let mut rivals: [Rival<'_>; 2] = [("pyro", Box::new(ours)), ("cp", Box::new(theirs))];
        let times = race(rounds, &mut rivals)?;
        let what = format!("workspace from a seed of {count} files");
        line(&what, &times[0], "cp -a", &times[1], 1.0);
    }
    Ok(())
}
