//! Signals that arrive while a terminal is lent out.

use rustix::pipe::{PipeFlags, pipe_with};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Those that end a program.
const END: [i32; 4] = [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM];

/// Readable when there is news.
#[derive(Debug)]
pub(in crate::cli) struct Signals {
    pipe: OwnedFd,
    end: Arc<AtomicUsize>,
    resized: Arc<AtomicBool>,
    went_on: Arc<AtomicBool>,
}

impl Signals {
    /// Listens from now on, for the rest of the process.
    ///
    /// # Errors
    /// Where they cannot be caught.
    pub(in crate::cli) fn new() -> io::Result<Self> {
        let (pipe, to) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let signals = Self {
            pipe,
            end: Arc::default(),
            resized: Arc::default(),
            went_on: Arc::default(),
        };
        // What came first, then the word that something came.
        for signal in END {
            let number = usize::try_from(signal).unwrap_or_default();
            signal_hook::flag::register_usize(signal, Arc::clone(&signals.end), number)?;
        }
        signal_hook::flag::register(libc::SIGWINCH, Arc::clone(&signals.resized))?;
        signal_hook::flag::register(libc::SIGCONT, Arc::clone(&signals.went_on))?;
        for signal in END.into_iter().chain([libc::SIGWINCH, libc::SIGCONT]) {
            signal_hook::low_level::pipe::register(signal, to.try_clone()?)?;
        }
        Ok(signals)
    }

    /// News were heard.
    pub(in crate::cli) fn heard(&self) {
        let mut bytes = [0; 64];
        while rustix::io::read(&self.pipe, &mut bytes).is_ok_and(|count| count == bytes.len()) {}
    }

    /// The number of the signal that ends us, if one came.
    pub(in crate::cli) fn end(&self) -> Option<u8> {
        let number = self.end.load(Ordering::SeqCst);
        u8::try_from(number).ok().filter(|number| *number > 0)
    }

    /// Whether the terminal has another size, since this was asked last.
    pub(in crate::cli) fn resized(&self) -> bool {
        self.resized.swap(false, Ordering::SeqCst)
    }

    /// Whether we were stopped meanwhile, since this was asked last.
    pub(in crate::cli) fn went_on(&self) -> bool {
        self.went_on.swap(false, Ordering::SeqCst)
    }
}

impl AsFd for Signals {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}
