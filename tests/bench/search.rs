//! Lines in the files of a large workspace, whole commands, against grep on the same tree.

use super::Size;
use super::files::planted;
use super::living::Here;
use super::race::{Rival, absent, is_here, line, process, race};
use std::error::Error;
use std::path::Path;
use std::process::Command;

pub(crate) fn search(size: Size, folder: &Path) -> Result<(), Box<dyn Error>> {
    if !is_here("grep") {
        absent("search", "grep");
        return Ok(());
    }
    let count = size.pick(50_000, 2000);
    let seed = planted(folder, count)?;
    let here = Here::new(folder.join("search"));
    let id = here.create(Some(&seed))?;
    // A word that is in one file, one that is in none, and an expression of which nothing is known beforehand; each
    // is found in at least one line, or grep would end with 1.
    for (what, pattern, grep) in [
        ("a word", "file 01234", "file 01234"),
        (
            "a class",
            r"[0-9]{2} of file 0123[0-9],",
            r"[0-9]{2} of file 0123[0-9],",
        ),
        ("any digits", r"[0-4]1[0-9]34,", r"[0-4]1[0-9]34,"),
    ] {
        let ours = || here.run(&["file", "search", &id, pattern]);
        let theirs = || {
            let mut command = Command::new("grep");
            command.env("LC_ALL", "C").args(["-rnE", grep]).arg(&seed);
            process(&mut command)
        };
        let rg = || {
            if !is_here("rg") {
                return Ok(std::time::Duration::ZERO);
            }
            process(
                Command::new("rg")
                    .args(["-n", "--hidden", "--no-ignore", grep])
                    .arg(&seed),
            )
        };
        let mut rivals: [Rival<'_>; 3] = [
            ("pyro", Box::new(ours)),
            ("grep", Box::new(theirs)),
            ("rg", Box::new(rg)),
        ];
        let times = race(size.pick(7, 2), &mut rivals)?;
        drop(rivals);
        let what = format!("search {count} files for {what}");
        line(&what, &times[0], "grep -rnE", &times[1], 3.0);
        if is_here("rg") {
            line(&what, &times[0], "rg", &times[2], 3.0);
        }
    }
    Ok(())
}
