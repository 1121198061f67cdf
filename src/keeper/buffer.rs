//! Bytes that wait to be written to a socket.

use pyro_protocol::{Frame, Head, frame};
use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::os::unix::net::UnixStream;

/// Room that is kept when everything was written, in bytes.
const KEPT: usize = 16 << 10;

#[derive(Debug, Default)]
pub(super) struct Buffer {
    bytes: VecDeque<u8>,
}

impl Buffer {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Adds a frame, on another channel than it came from.
    pub(super) fn forward(&mut self, channel: u32, frame: &Frame) {
        let head = Head {
            channel,
            ..frame.head
        };
        self.push(head, &frame.header, &frame.body);
    }

    /// Adds a message on stream 0.
    pub(super) fn message(&mut self, channel: u32, call: u32, message: &impl serde::Serialize) {
        let header = serde_json::to_vec(message).unwrap_or_default();
        let head = Head {
            channel,
            call,
            ..Head::default()
        };
        self.push(head, &header, &[]);
    }

    fn push(&mut self, head: Head, header: &[u8], body: &[u8]) {
        let mut encoded = Vec::new();
        frame::encode(head, header, body, &mut encoded);
        self.bytes.extend(encoded);
    }

    /// Writes what the socket takes without blocking.
    pub(super) fn flush(&mut self, mut stream: &UnixStream) -> io::Result<()> {
        while !self.bytes.is_empty() {
            match stream.write(self.bytes.as_slices().0) {
                Ok(count) => drop(self.bytes.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.bytes.capacity() > KEPT {
            self.bytes = VecDeque::new();
        }
        Ok(())
    }
}
