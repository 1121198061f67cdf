//! A request to stop, usable from another thread or a signal handler.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

/// Cancels a run. Clones share one state; once cancelled, it stays so.
///
/// A pipe that nobody reads: readable means cancelled. (A signal handler can write a byte to it.)
#[derive(Debug, Clone)]
pub struct Cancel {
    readable: Arc<OwnedFd>,
    writable: Arc<OwnedFd>,
}

impl Cancel {
    /// Not cancelled yet.
    ///
    /// # Errors
    /// Where the process has no descriptors left.
    pub fn new() -> io::Result<Self> {
        let (readable, writable) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self {
            readable: Arc::new(readable),
            writable: Arc::new(writable),
        })
    }

    /// Asks the run to stop. It ends its sandbox and returns its receipt.
    pub fn cancel(&self) {
        // Fails only where the pipe is full, and then it is cancelled already.
        let _full = rustix::io::write(&*self.writable, b"X");
    }

    /// Cancels when one of these signals arrives (for instance `SIGINT`).
    ///
    /// # Errors
    /// Where a signal cannot be caught.
    pub fn on_signals(&self, signals: &[i32]) -> io::Result<()> {
        for signal in signals {
            signal_hook::low_level::pipe::register(*signal, self.writable.try_clone()?)?;
        }
        Ok(())
    }

    /// Whether it was cancelled.
    pub fn is_cancelled(&self) -> bool {
        let mut fds = [PollFd::new(&*self.readable, PollFlags::IN)];
        matches!(
            poll(
                &mut fds,
                Some(&Timespec {
                    tv_sec: 0,
                    tv_nsec: 0
                })
            ),
            Ok(1..)
        )
    }
}

impl AsFd for Cancel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.readable.as_fd()
    }
}
