//! The outer frame. It never changes between generations.
//!
//! ```text
//!  0      4        8      12       16       20           24
//!  +------+---------+------+--------+--------+------------+-------------+----------+
//!  |length| channel | call | stream | credit | header len | header JSON | raw body |
//!  +------+---------+------+--------+--------+------------+-------------+----------+
//! ```
//! Every number is a little-endian u32; `length` counts what follows it. The header may be absent (data or
//! credit alone). `credit` allows the peer that many more body bytes on this stream of this call.

use std::fmt;

/// Bytes of the fixed part, `length` included.
pub const HEAD_LEN: usize = 24;
/// The longest JSON header that is accepted, in bytes.
pub const MAX_HEADER: usize = 4 << 20;
/// The longest body that is accepted, in bytes.
pub const MAX_BODY: usize = 1 << 20;
/// Bodies are sent in pieces of at most this many bytes, so that streams take turns.
pub const CHUNK: usize = 64 << 10;
/// What each side may send on a stream before the first credit arrives, in bytes.
pub const INITIAL_CREDIT: u32 = 256 << 10;

/// Stream 0 of a call: messages, not data.
pub const STREAM_CALL: u32 = 0;
/// Host to guest: standard input, an archive, the contents of a write set.
pub const STREAM_INPUT: u32 = 1;
/// Guest to host: standard output, file contents, an archive, records.
pub const STREAM_OUTPUT: u32 = 2;
/// Guest to host: standard error.
pub const STREAM_ERRORS: u32 = 3;

/// Where a frame belongs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Head {
    /// One client of the link; 0 is the link itself (`hello`).
    pub channel: u32,
    /// One call of the client; numbers are chosen by the client and not used twice on a channel.
    pub call: u32,
    /// [`STREAM_CALL`] or a data stream of the call.
    pub stream: u32,
    /// Further body bytes that the receiver of this frame may send on this stream.
    pub credit: u32,
}

/// One frame: where it belongs, a JSON header (possibly empty), a body (possibly empty).
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Frame {
    /// Where the frame belongs.
    pub head: Head,
    /// JSON text, or nothing.
    pub header: Vec<u8>,
    /// Raw bytes.
    pub body: Vec<u8>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head, header, body } = self;
        write!(
            f,
            "[{}:{}:{} +{}] {} ({} B)",
            head.channel,
            head.call,
            head.stream,
            head.credit,
            String::from_utf8_lossy(header),
            body.len()
        )
    }
}

/// A byte stream that is not frames. The link cannot be resumed after it: the boundaries are lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameError {
    /// `length` is smaller than the fixed part or larger than the limits allow.
    Length(u32),
    /// The header is said to be longer than the frame, or longer than [`MAX_HEADER`].
    Header(u32),
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length(length) => write!(f, "frame length {length} is out of range"),
            Self::Header(length) => write!(f, "frame header length {length} is out of range"),
        }
    }
}

impl std::error::Error for FrameError {}

impl Frame {
    /// Appends the encoded frame to `out`.
    ///
    /// # Panics
    /// Where header or body exceed the limits: senders split bodies by [`CHUNK`] and keep headers small.
    pub fn encode(&self, out: &mut Vec<u8>) {
        encode(self.head, &self.header, &self.body, out);
    }
}

/// Appends a frame made of borrowed parts to `out`; see [`Frame::encode`].
///
/// # Panics
/// Where header or body exceed the limits.
pub fn encode(head: Head, header: &[u8], body: &[u8], out: &mut Vec<u8>) {
    assert!(
        header.len() <= MAX_HEADER,
        "frame header of {} bytes",
        header.len()
    );
    assert!(body.len() <= MAX_BODY, "frame body of {} bytes", body.len());
    let length = u32::try_from(HEAD_LEN - 4 + header.len() + body.len()).expect("limited above");
    let header_len = u32::try_from(header.len()).expect("limited above");
    out.reserve(HEAD_LEN + header.len() + body.len());
    for word in [
        length,
        head.channel,
        head.call,
        head.stream,
        head.credit,
        header_len,
    ] {
        out.extend_from_slice(&word.to_le_bytes());
    }
    out.extend_from_slice(header);
    out.extend_from_slice(body);
}

/// Turns a byte stream into frames, whatever the pieces it arrives in.
///
/// Memory is bounded by one frame plus what was pushed last; a hostile `length` allocates nothing.
#[derive(Debug, Default)]
pub struct Decoder {
    buffer: Vec<u8>,
    start: usize,
}

impl Decoder {
    /// Adds bytes that arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole frame, or `None` until more bytes are pushed.
    ///
    /// # Errors
    /// Where the bytes cannot be a frame; every later call says so too.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, FrameError> {
        let bytes = &self.buffer[self.start..];
        let word = |index: usize| {
            let at = index * 4;
            bytes
                .get(at..at + 4)
                .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
        };
        let Some(length) = word(0) else {
            return Ok(None);
        };
        let whole = length as usize + 4;
        if !(HEAD_LEN..=HEAD_LEN + MAX_HEADER + MAX_BODY).contains(&whole) {
            return Err(FrameError::Length(length));
        }
        let (Some(channel), Some(call), Some(stream), Some(credit), Some(header_len)) =
            (word(1), word(2), word(3), word(4), word(5))
        else {
            return Ok(None);
        };
        let header_end = HEAD_LEN.saturating_add(header_len as usize);
        if header_len as usize > MAX_HEADER || header_end > whole || whole - header_end > MAX_BODY {
            return Err(FrameError::Header(header_len));
        }
        if bytes.len() < whole {
            return Ok(None);
        }
        let frame = Frame {
            head: Head {
                channel,
                call,
                stream,
                credit,
            },
            header: bytes[HEAD_LEN..header_end].to_vec(),
            body: bytes[header_end..whole].to_vec(),
        };
        self.start += whole;
        Ok(Some(frame))
    }
}
