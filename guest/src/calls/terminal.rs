//! The agent's side of a program's terminal: what is typed, what is shown, and the end of both.
//!
//! Unlike output in a spool, what a program writes waits in the kernel until the host takes it: a program that writes
//! faster than that is slowed down, and nothing is kept.

use crate::serve::port::Port;
use crate::spawn;
use crate::tree::{hex, refusal};
use pyro_protocol::frame::{CHUNK, STREAM_OUTPUT};
use pyro_protocol::message::{Failure, FailureCode, StreamReport, TerminalSize};
use rustix::io::Errno;
use rustix::termios::{LocalModes, QueueSelector, SpecialCodeIndex, Winsize};
use sha2::{Digest as _, Sha256};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// What is held of the last output for a host that has not taken it yet, in bytes. The kernel holds less.
const LAST: usize = 256 << 10;
/// Pieces taken at once, before others have their turn.
const TURNS: u32 = 4;

/// Whether there can be a terminal of that size.
///
/// # Errors
/// Where there cannot.
pub(crate) fn check(size: TerminalSize) -> Result<(), Failure> {
    if size.cols == 0 || size.rows == 0 {
        let message = "size a terminal: it has a line and a column at least";
        return Err(refusal(FailureCode::BadRequest, message));
    }
    Ok(())
}

/// A terminal and what goes through it.
#[derive(Debug)]
pub(crate) struct Terminal {
    /// Nothing once it was hung up, or nobody writes to it any more.
    master: Option<OwnedFd>,
    /// Nothing once the program has ended.
    slave: Option<OwnedFd>,
    /// Typed and not taken yet: the first `written` bytes were taken, the first `searched` hold no key that interrupts.
    typed: Vec<u8>,
    written: usize,
    searched: usize,
    /// The last output, which the host has not taken yet.
    last: Vec<u8>,
    /// Whether only the last output is still to come.
    ending: bool,
    total: u64,
    hasher: Sha256,
}

impl Terminal {
    pub(crate) fn new(ends: spawn::Terminal) -> Self {
        Self {
            master: Some(ends.master),
            slave: Some(ends.slave),
            typed: Vec::new(),
            written: 0,
            searched: 0,
            last: Vec::new(),
            ending: false,
            total: 0,
            hasher: Sha256::new(),
        }
    }

    /// The terminal, while output of it can be taken.
    pub(crate) fn readable(&self, port: &Port) -> Option<BorrowedFd<'_>> {
        let takes = match self.ending {
            true => self.last.len() < LAST,
            false => port.credit(STREAM_OUTPUT) > 0 && port.has_room(),
        };
        self.master.as_ref().filter(|_| takes).map(|fd| fd.as_fd())
    }

    /// The terminal, while there is something typed for it.
    pub(crate) fn hungry(&self, port: &Port) -> Option<BorrowedFd<'_>> {
        let waiting = self.written < self.typed.len() || port.has_input();
        self.master
            .as_ref()
            .filter(|_| waiting)
            .map(|fd| fd.as_fd())
    }

    /// Takes output, within bounds; whether there was any.
    pub(crate) fn drain(&mut self, port: &Port, buffer: &mut [u8]) -> bool {
        let mut any = false;
        for _ in 0..TURNS {
            let room = match self.ending {
                true => LAST - self.last.len(),
                false if port.has_room() => port.credit(STREAM_OUTPUT),
                false => 0,
            };
            let room = room.min(buffer.len()).min(CHUNK);
            let Some(master) = self.master.as_ref().filter(|_| room > 0) else {
                break;
            };
            match rustix::io::read(master, &mut buffer[..room]) {
                Ok(count) if count > 0 => {
                    any = true;
                    self.total += count as u64;
                    self.hasher.update(&buffer[..count]);
                    match self.ending {
                        true => self.last.extend_from_slice(&buffer[..count]),
                        false => port.send_now(STREAM_OUTPUT, &buffer[..count]),
                    }
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                // Nobody has the other side open: not even we.
                Ok(_) | Err(_) => self.master = None,
            }
        }
        any
    }

    /// Sends what is held of the last output, as far as the host takes it.
    pub(crate) fn pump(&mut self, port: &Port) {
        while !self.last.is_empty() && port.has_room() {
            let count = self.last.len().min(port.credit(STREAM_OUTPUT));
            if count == 0 {
                break;
            }
            port.send_now(STREAM_OUTPUT, &self.last[..count]);
            self.last.drain(..count);
        }
    }

    /// Types what has come, without waiting. What the program does not read waits within the credit of the stream; a
    /// key that interrupts overtakes it, as it does in the kernel.
    pub(crate) fn feed(&mut self, port: &Port) {
        loop {
            if self.written == self.typed.len() {
                (self.written, self.searched) = (0, 0);
                match port.next_input() {
                    Some(chunk) => self.typed = chunk,
                    None => {
                        self.typed.clear();
                        return;
                    }
                }
            }
            let rest = &self.typed[self.written..];
            let count = match &self.master {
                // It was hung up: as good as read.
                None => rest.len(),
                Some(master) => match rustix::io::write(master, rest) {
                    Ok(count) if count > 0 => count,
                    Err(Errno::INTR) => 0,
                    Ok(_) | Err(Errno::AGAIN) => {
                        if !self.interrupts(port) {
                            return;
                        }
                        0
                    }
                    Err(_) => rest.len(),
                },
            };
            self.written += count;
            port.consumed(count);
        }
    }

    /// Whether a key that interrupts was typed after what the program does not read: all before it is forgotten.
    fn interrupts(&mut self, port: &Port) -> bool {
        while let Some(chunk) = port.next_input() {
            self.typed.extend_from_slice(&chunk);
        }
        let from = self.searched.max(self.written);
        self.searched = self.typed.len();
        let (Some(master), Some(slave)) = (&self.master, &self.slave) else {
            return false;
        };
        let fresh = &self.typed[from..];
        if fresh.is_empty() {
            return false;
        }
        // Asked of the master, these are the modes of the other side.
        let Ok(modes) = rustix::termios::tcgetattr(master) else {
            return false;
        };
        let acts = modes.local_modes.contains(LocalModes::ISIG)
            && !modes.local_modes.contains(LocalModes::NOFLSH);
        let keys = [
            SpecialCodeIndex::VINTR,
            SpecialCodeIndex::VQUIT,
            SpecialCodeIndex::VSUSP,
        ];
        let keys = keys.map(|key| modes.special_codes[key]);
        let is_key = |byte: &u8| *byte != 0 && keys.contains(byte);
        let Some(at) = fresh.iter().rposition(is_key).filter(|_| acts) else {
            return false;
        };
        if rustix::termios::tcflush(slave, QueueSelector::IFlush).is_err() {
            return false;
        }
        let forgotten = from + at - self.written;
        self.written += forgotten;
        port.consumed(forgotten);
        true
    }

    /// Tells the program another size; whether it has a terminal still.
    pub(crate) fn resize(&self, size: TerminalSize) -> bool {
        let size = Winsize {
            ws_row: size.rows,
            ws_col: size.cols,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let master = self.master.as_ref();
        master.is_some_and(|master| rustix::termios::tcsetwinsize(master, size).is_ok())
    }

    /// The program has ended: what is there is its last output, and the end of the terminal comes when nobody else has
    /// it open.
    pub(crate) fn end(&mut self) {
        self.slave = None;
        self.ending = true;
    }

    /// Takes the terminal away, as when a line breaks: its session is told, who reads sees the end, who writes an error.
    pub(crate) fn hang_up(&mut self) {
        self.slave = None;
        self.master = None;
        self.ending = true;
    }

    /// Whether nothing more comes out of it.
    pub(crate) fn is_closed(&self) -> bool {
        self.master.is_none() || self.last.len() >= LAST
    }

    /// Whether the host has all there is.
    pub(crate) fn is_sent(&self) -> bool {
        self.last.is_empty()
    }

    /// The terminal that programs may still hold. Closing it would hang up on them.
    pub(crate) fn take(&mut self) -> Option<OwnedFd> {
        self.master.take()
    }

    /// Of an output that is none.
    pub(crate) fn nothing() -> StreamReport {
        StreamReport {
            sha256: hex(&Sha256::digest(b"")),
            ..StreamReport::default()
        }
    }

    /// What came out.
    pub(crate) fn report(&self) -> StreamReport {
        StreamReport {
            bytes: self.total,
            dropped: 0,
            sha256: hex(&self.hasher.clone().finalize()),
        }
    }
}
