//! A whole command in a fresh sandbox: the process from its start to its end.

use super::Size;
use super::race::{Rival, absent, is_here, line, process, race};
use std::error::Error;
use std::path::Path;
use std::process::Command;

pub(crate) fn run(size: Size, folder: &Path) -> Result<(), Box<dyn Error>> {
    let state = folder.join("run");
    let ours = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pyro"));
        command
            .args(["run", "host", "--", "true"])
            .env("PYRO_STATE_DIR", &state);
        process(&mut command)
    };
    let what = "pyro run host -- true";
    let peers: [(&str, &[&str], f64); 2] = [
        (
            "bwrap",
            &["--unshare-all", "--ro-bind", "/", "/", "true"],
            1.5,
        ),
        (
            "podman",
            &["run", "--rm", "--pull=never", "busybox", "true"],
            0.1,
        ),
    ];
    for (peer, arguments, target) in peers {
        let theirs = || process(Command::new(peer).args(arguments));
        if !is_here(peer) {
            absent(what, peer);
            continue;
        }
        let mut rivals: [Rival<'_>; 2] = [("pyro", Box::new(ours)), (peer, Box::new(theirs))];
        let times = race(size.pick(60, 3), &mut rivals)?;
        let shown = arguments
            .first()
            .map_or(peer.to_owned(), |first| format!("{peer} {first}"));
        line(what, &times[0], &shown, &times[1], target);
    }
    Ok(())
}
