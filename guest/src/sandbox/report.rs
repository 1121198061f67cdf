//! How the processes that make a sandbox tell each other what happened: short messages with a deadline.

use pyro_protocol::boot::{BootFailure, BootStep};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use std::io;
use std::time::{Duration, Instant};

/// No step of making a sandbox takes longer; a machine that is this slow is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Longest message that is accepted, in bytes: a boot message with long lists of paths.
const LONGEST: usize = 4 << 20;

/// Names the step and the attempt of whatever failed.
pub(crate) trait At<T> {
    /// `detail` says what was tried.
    fn at(self, step: BootStep, detail: impl Into<String>) -> Result<T, BootFailure>;
}

impl<T> At<T> for io::Result<T> {
    fn at(self, step: BootStep, detail: impl Into<String>) -> Result<T, BootFailure> {
        self.map_err(|error| {
            let errno = error.raw_os_error().unwrap_or(0);
            let mut detail = detail.into();
            if errno == 0 {
                detail = format!("{detail}: {error}");
            }
            BootFailure {
                step,
                detail,
                errno,
            }
        })
    }
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at(self, step: BootStep, detail: impl Into<String>) -> Result<T, BootFailure> {
        self.map_err(io::Error::from).at(step, detail)
    }
}

/// A refusal of our own, without an error number.
pub(crate) fn refusal(step: BootStep, detail: impl Into<String>) -> BootFailure {
    BootFailure {
        step,
        detail: detail.into(),
        errno: 0,
    }
}

/// Sends one message: its length, then its bytes.
pub(crate) fn send(to: impl AsFd, message: &[u8]) -> io::Result<()> {
    let length = u32::try_from(message.len()).map_err(io::Error::other)?;
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(message);
    let mut rest = &bytes[..];
    while !rest.is_empty() {
        match rustix::io::write(&to, rest) {
            Ok(written) => rest = &rest[written..],
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Receives one message. The other side's silence is `TimedOut`, its end is `UnexpectedEof`.
pub(crate) fn receive(from: impl AsFd, patience: Duration) -> io::Result<Vec<u8>> {
    let deadline = Instant::now() + patience;
    let mut length = [0; 4];
    fill(from.as_fd(), &mut length, deadline)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut message = vec![0; length];
    fill(from.as_fd(), &mut message, deadline)?;
    Ok(message)
}

fn fill(from: BorrowedFd<'_>, buffer: &mut [u8], deadline: Instant) -> io::Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        if !readable(from, deadline.saturating_duration_since(Instant::now()))? {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match rustix::io::read(from, &mut buffer[filled..]) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Waits until `fd` has something to read (or has ended).
pub(crate) fn readable(fd: BorrowedFd<'_>, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(
            &mut [PollFd::from_borrowed_fd(fd, PollFlags::IN)],
            Some(&timeout),
        ) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
