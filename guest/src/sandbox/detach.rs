//! Starts a program that has nothing to do any more with whoever started it.

use super::sys::{self, CloseRange, Fork};
use rustix::fs::Mode;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// Executes `words` in a session of its own, below `/`, with the three standard streams and no other descriptor. The
/// caller is not its parent: nobody has to wait for it, and no terminal can end it.
///
/// This must be the first thing that the process does, and the last: the caller ends then.
///
/// # Errors
/// Where there are no words, or the kernel refuses. That the program could not be executed is seen by its streams
/// only: they are closed.
pub fn detach(mut words: impl Iterator<Item = OsString>) -> io::Result<()> {
    let program = words.next().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(words);
    sys::close_from(3, CloseRange::Now)?;
    sys::reset_signals();
    rustix::process::setsid()?;
    rustix::process::chdir(c"/")?;
    rustix::process::umask(Mode::from_raw_mode(0o077));
    match sys::fork(0)? {
        Fork::Parent { .. } => Ok(()),
        Fork::Child => Err(command.exec()),
    }
}
