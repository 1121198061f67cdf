//! The terminal of a person, lent to a program somewhere else, and given back as it was.
//!
//! - [`Raw`]: every key goes to the program; dropped, by a panic too, the terminal is what it was before.
//! - [`Keys`]: what of the keys is for the program, and what for pyro (`Enter ~ .`).
//! - [`Modes`]: what the program has turned on and not off, to be turned off behind it.
//! - [`Signals`]: what the operating system has to say meanwhile.

mod keys;
mod modes;
mod plain;
mod signals;

pub(super) use keys::{Keys, Wish};
pub(super) use modes::Modes;
pub(super) use plain::Plain;
pub(super) use signals::Signals;

use pyro_protocol::message::TerminalSize;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::termios::{
    OptionalActions, QueueSelector, Termios, tcflush, tcgetattr, tcgetwinsize, tcsetattr,
};
use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Of a terminal that does not know its own.
const USUAL: TerminalSize = TerminalSize { cols: 80, rows: 24 };

/// The terminal's modes, changed so that nothing is done to keys and to what is shown.
#[derive(Debug)]
pub(super) struct Raw<Fd: AsFd> {
    terminal: Fd,
    before: Termios,
}

impl<Fd: AsFd> Raw<Fd> {
    /// Changes the modes; what was typed already is not lost.
    ///
    /// # Errors
    /// Where it is no terminal.
    pub(super) fn new(terminal: Fd) -> rustix::io::Result<Self> {
        let before = tcgetattr(&terminal)?;
        let raw = Self { terminal, before };
        raw.again()?;
        Ok(raw)
    }

    /// Changes them once more: a shell that stopped us has put its own in their place.
    pub(super) fn again(&self) -> rustix::io::Result<()> {
        let mut modes = self.before.clone();
        modes.make_raw();
        tcsetattr(&self.terminal, OptionalActions::Drain, &modes)
    }
}

impl<Fd: AsFd> Drop for Raw<Fd> {
    fn drop(&mut self) {
        // At once: what a stuck terminal does not take must not hold us. One that is gone needs nothing.
        let _gone = tcsetattr(&self.terminal, OptionalActions::Now, &self.before);
    }
}

/// How large the terminal is.
pub(super) fn size(terminal: impl AsFd) -> TerminalSize {
    match tcgetwinsize(terminal) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => TerminalSize {
            cols: size.ws_col,
            rows: size.ws_row,
        },
        Ok(_) | Err(_) => USUAL,
    }
}

/// What is to be shown, and as much of it as the terminal takes without making us wait.
#[derive(Debug)]
pub(super) struct Shown {
    terminal: OwnedFd,
    waiting: VecDeque<u8>,
}

impl Shown {
    /// Standard output, opened once more: that it does not block is nobody else's business.
    ///
    /// # Errors
    /// Where there are no descriptors left.
    pub(super) fn new() -> io::Result<Self> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let terminal = match rustix::fs::open("/proc/self/fd/1", flags, Mode::empty()) {
            Ok(terminal) => terminal,
            // Somebody else's terminal, as after `su`: then it blocks.
            Err(_) => io::stdout().as_fd().try_clone_to_owned()?,
        };
        Ok(Self {
            terminal,
            waiting: VecDeque::new(),
        })
    }

    /// To be shown after what waits.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend(bytes);
    }

    /// Whether something waits.
    pub(super) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// What was not shown yet is not, here and in the terminal itself, which has room again.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        // One that is gone holds nobody up.
        let _gone = tcflush(&self.terminal, QueueSelector::OFlush);
    }

    /// Shows what the terminal takes; how many bytes.
    ///
    /// # Errors
    /// Where it is gone.
    pub(super) fn flush(&mut self) -> io::Result<usize> {
        let mut all = 0;
        while !self.waiting.is_empty() {
            match rustix::io::write(&self.terminal, self.waiting.as_slices().0) {
                Ok(count) => {
                    self.waiting.drain(..count);
                    all += count;
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        Ok(all)
    }
}

impl AsFd for Shown {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.terminal.as_fd()
    }
}

/// The terminal behind standard input, to be read.
pub(super) fn keyboard() -> io::Result<File> {
    Ok(io::stdin().as_fd().try_clone_to_owned()?.into())
}

#[cfg(test)]
mod tests {
    use super::Raw;
    use rustix::pty::{OpenptFlags, grantpt, openpt, unlockpt};
    use rustix::termios::{LocalModes, tcgetattr};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    #[test]
    fn a_terminal_is_given_back_whatever_happens() {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&master).expect("granted");
        unlockpt(&master).expect("unlocked");
        let modes = || tcgetattr(&master).expect("modes");
        let before = format!("{:?}", modes());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let raw = Raw::new(&master).expect("it is one");
            assert!(!modes().local_modes.contains(LocalModes::ICANON));
            raw.again().expect("once more");
            std::panic::resume_unwind(Box::new("as a bug would"));
        }));
        assert!(panicked.is_err());
        assert_eq!(format!("{:?}", modes()), before);
        assert!(Raw::new(tempfile::tempfile().expect("a file")).is_err());
    }
}
