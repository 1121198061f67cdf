//! One connection of a keeper.

use super::buffer::Buffer;
use pyro_protocol::{Decoder, Frame};
use rustix::event::PollFlags;
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// More than this waits for a client: it is not heard until it has read some of it, in bytes.
pub(super) const ROOM: usize = 1 << 20;
/// Who is turned away has so long to read why.
const TURNED_AWAY: Duration = Duration::from_secs(2);

/// What becomes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It has not said what it wants.
    Unknown,
    /// It uses the workspace: its channel is open, or will be.
    Workspace,
    /// It is told why it cannot, until then.
    TurnedAway(Instant),
}

#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    decoder: Decoder,
    pub(super) outbox: Buffer,
    pub(super) uses: Use,
    /// Whether the agent knows its channel.
    pub(super) spoken: bool,
    /// Whether somebody is at a terminal there: a workspace is not used because of it, but because something is typed
    /// or shown.
    pub(super) visits: bool,
}

/// What was read of a client.
#[derive(Debug)]
pub(super) enum Heard {
    Frames(Vec<Frame>),
    /// It went, or what it says are no frames.
    Gone,
}

impl Client {
    pub(super) fn new(stream: UnixStream) -> Self {
        Self {
            stream,
            decoder: Decoder::default(),
            outbox: Buffer::default(),
            uses: Use::Unknown,
            spoken: false,
            visits: false,
        }
    }

    pub(super) fn stream(&self) -> &UnixStream {
        &self.stream
    }

    pub(super) fn is_counted(&self) -> bool {
        self.uses == Use::Workspace
    }

    /// What to wait for. `room`: whether the agent takes more.
    pub(super) fn interest(&self, room: bool) -> PollFlags {
        let mut interest = PollFlags::empty();
        interest.set(PollFlags::IN, self.may_read(room));
        interest.set(PollFlags::OUT, !self.outbox.is_empty());
        interest
    }

    fn may_read(&self, room: bool) -> bool {
        let here = matches!(self.uses, Use::Unknown | Use::Workspace);
        here && room && self.outbox.len() < ROOM
    }

    /// Reads a piece, if it may be read.
    pub(super) fn hear(&mut self, ready: PollFlags, room: bool, buffer: &mut [u8]) -> Heard {
        if !self.may_read(room) {
            // What it wants to hear nobody takes any more.
            return if ready.intersects(PollFlags::HUP | PollFlags::ERR) {
                Heard::Gone
            } else {
                Heard::Frames(Vec::new())
            };
        }
        if !ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return Heard::Frames(Vec::new());
        }
        match self.stream.read(buffer) {
            Ok(0) => return Heard::Gone,
            Ok(count) => self.decoder.push(&buffer[..count]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(_) => return Heard::Gone,
        }
        let mut frames = Vec::new();
        loop {
            match self.decoder.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => return Heard::Frames(frames),
                Err(_) => return Heard::Gone,
            }
        }
    }

    /// Writes what it takes; whether it is still there.
    pub(super) fn flush(&mut self) -> bool {
        if self.outbox.is_empty() {
            return true;
        }
        let written = self.outbox.flush(&self.stream).is_ok();
        if written && self.outbox.is_empty() && matches!(self.uses, Use::TurnedAway(_)) {
            let _ = self.stream.shutdown(Shutdown::Write);
        }
        written
    }

    /// From now on it only hears what waits for it.
    pub(super) fn turn_away(&mut self) {
        self.uses = Use::TurnedAway(Instant::now() + TURNED_AWAY);
    }

    /// When it has to be gone.
    pub(super) fn deadline(&self) -> Option<Instant> {
        match self.uses {
            Use::TurnedAway(until) => Some(until),
            Use::Unknown | Use::Workspace => None,
        }
    }
}
