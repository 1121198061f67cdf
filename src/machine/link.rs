//! The host's end of a link to an agent: calls out, events in, on one thread.
//!
//! Frames come from a sandbox that may be hostile, so nothing here trusts them: what does not fit the protocol ends
//! the link, and data is taken only as fast as the caller reads it (credit).

use pyro_protocol::frame::{self, CHUNK, INITIAL_CREDIT, STREAM_CALL, STREAM_INPUT};
use pyro_protocol::message::{
    Failure, FailureCode, GuestMessage, Hello, HostMessage, Op, Reply, StreamMessage,
};
use pyro_protocol::{Decoder, Frame, FrameError, GENERATION, Head};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::collections::{HashMap, VecDeque};
use std::io::{self, Read as _, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// The channel of this process; the keeper of a living workspace numbers its clients.
const CHANNEL: u32 = 1;
/// Consumed bytes are granted again in pieces of at least this size.
const GRANT: u32 = INITIAL_CREDIT / 2;
/// An agent that does not answer `hello` for this long is taken for dead.
const HELLO_WAIT: Duration = Duration::from_secs(20);

/// One call on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CallId(u32);

impl CallId {
    /// As the wire has it.
    pub(crate) fn number(self) -> u32 {
        self.0
    }
}

/// Something that happened to a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEvent {
    /// The program runs.
    Started,
    /// Bytes on a stream.
    Data {
        /// [`frame::STREAM_OUTPUT`] or [`frame::STREAM_ERRORS`].
        stream: u32,
        /// Never empty.
        bytes: Vec<u8>,
    },
    /// The call succeeded; nothing comes after it.
    Done(Reply),
    /// The call was refused or failed; nothing comes after it.
    Failed(Failure),
}

/// Why [`Link::wait`] returned.
#[derive(Debug)]
pub enum Wake {
    /// Something happened to a call.
    Event(CallId, CallEvent),
    /// The extra descriptor became readable.
    Interrupt,
    /// The time was over.
    Timeout,
}

/// The link is gone, and with it the machine.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The agent closed its end: it or the sandbox died.
    #[error("hear from the agent: it closed the link")]
    Closed,
    /// The agent lives, but the sandbox's init and every program with it are gone.
    #[error("the sandbox has ended")]
    Ended,
    /// The operating system refused.
    #[error("use the link to the agent")]
    Socket(#[source] io::Error),
    /// Bytes that are not frames.
    #[error("read a frame from the agent")]
    Frame(#[source] FrameError),
    /// A frame that means nothing at that point.
    #[error("understand the agent: {0}")]
    Protocol(String),
    /// No answer to `hello`.
    #[error("hear from the agent in {} s", HELLO_WAIT.as_secs())]
    Silent,
}

#[derive(Debug, Default)]
struct Call {
    /// Input not sent yet.
    input: VecDeque<u8>,
    input_ended: bool,
    end_sent: bool,
    /// Input bytes the guest still takes.
    credit: u64,
    /// Of these, what is kept back for [`Link::overtake`].
    reserve: u64,
    /// Whether the caller says itself when more may come; see [`Link::grant`].
    granted_by_hand: bool,
    /// Bytes handed to the caller by stream, not granted again yet.
    consumed: HashMap<u32, u32>,
}

/// A link to an agent.
#[derive(Debug)]
pub struct Link {
    stream: UnixStream,
    decoder: Decoder,
    outbox: Vec<u8>,
    sent: usize,
    next_call: u32,
    calls: HashMap<u32, Call>,
    /// Calls that were too large to be made, and what is to be said of them.
    refused: VecDeque<(CallId, Failure)>,
    generation: u32,
}

impl Link {
    /// Greets the agent at the other end.
    ///
    /// # Errors
    /// Where nobody answers, or not in this protocol.
    pub fn open(stream: UnixStream) -> Result<Self, LinkError> {
        stream.set_nonblocking(true).map_err(LinkError::Socket)?;
        let mut link = Self {
            stream,
            decoder: Decoder::default(),
            outbox: Vec::new(),
            sent: 0,
            next_call: 1,
            calls: HashMap::new(),
            refused: VecDeque::new(),
            generation: GENERATION,
        };
        let hello = Hello {
            generation: GENERATION,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        };
        link.queue(Head::default(), &HostMessage::Hello(hello));
        let deadline = Instant::now() + HELLO_WAIT;
        loop {
            if let Some(frame) = link.decoder.next_frame().map_err(LinkError::Frame)? {
                let GuestMessage::Hello(hello) = parse(&frame)? else {
                    return Err(LinkError::Protocol("no hello".to_owned()));
                };
                link.generation = hello.generation.min(GENERATION);
                return Ok(link);
            }
            if !link.transfer(None, Some(deadline))?.1 && Instant::now() >= deadline {
                return Err(LinkError::Silent);
            }
        }
    }

    /// The bare stream and what has arrived on it, for somebody who carries frames and makes no calls.
    pub(crate) fn into_parts(self) -> (UnixStream, Decoder, u32) {
        (self.stream, self.decoder, self.generation)
    }

    /// The generation both sides speak.
    pub fn generation(&self) -> u32 {
        self.generation
    }

    /// Opens a call. Its events come from [`Link::wait`]; of one that no message can hold, that it failed.
    pub fn call(&mut self, op: Op) -> CallId {
        let call = self.next_call;
        self.next_call += 1;
        let message = HostMessage::Call(Box::new(op));
        let header = serde_json::to_vec(&message).expect("messages serialise");
        if header.len() > frame::MAX_HEADER {
            let message = format!(
                "tell the guest what to do: that takes {} bytes, and a message has {} at most",
                header.len(),
                frame::MAX_HEADER
            );
            let failure = Failure {
                code: FailureCode::TooLarge,
                message,
                path: None,
            };
            self.refused.push_back((CallId(call), failure));
            return CallId(call);
        }
        self.calls.insert(
            call,
            Call {
                credit: INITIAL_CREDIT.into(),
                ..Call::default()
            },
        );
        let head = Head {
            channel: CHANNEL,
            call,
            ..Head::default()
        };
        frame::encode(head, &header, &[], &mut self.outbox);
        CallId(call)
    }

    /// Gives a call all of its input.
    pub fn input(&mut self, call: CallId, bytes: &[u8]) {
        if let Some(state) = self.calls.get_mut(&call.0) {
            state.input.extend(bytes);
        }
        self.pump(call.0);
    }

    /// Whether more than `most` bytes of a call's input wait for the guest to take them. Of a call that is over, no.
    pub fn is_full(&self, call: CallId, most: usize) -> bool {
        let call = self.calls.get(&call.0);
        call.is_some_and(|call| call.input.len() > most)
    }

    /// For a call that somebody watches and types for: what comes is granted again by [`Link::grant`] alone, and as much
    /// input as `reserve` is kept back for [`Link::overtake`].
    pub fn attend(&mut self, call: CallId, reserve: u32) {
        if let Some(state) = self.calls.get_mut(&call.0) {
            state.granted_by_hand = true;
            state.reserve = reserve.into();
        }
    }

    /// So many bytes of a stream were used: as many more may come.
    pub fn grant(&mut self, call: CallId, stream: u32, count: u32) {
        let Some(consumed) = (self.calls.get_mut(&call.0))
            .and_then(|state| state.consumed.get_mut(&stream))
            .filter(|_| count > 0)
        else {
            return;
        };
        *consumed = consumed.saturating_sub(count);
        let head = Head {
            channel: CHANNEL,
            call: call.0,
            stream,
            credit: count,
        };
        frame::encode(head, &[], &[], &mut self.outbox);
    }

    /// Forgets the input of a call that waits here, and sends these bytes in its place, as far as the reserve goes.
    pub fn overtake(&mut self, call: CallId, bytes: &[u8]) {
        if let Some(state) = self.calls.get_mut(&call.0) {
            state.input.clear();
            state.input.extend(bytes);
            let reserve = std::mem::take(&mut state.reserve);
            self.pump(call.0);
            if let Some(state) = self.calls.get_mut(&call.0) {
                state.reserve = reserve;
            }
        }
    }

    /// Says that a call gets no more input.
    pub fn end_input(&mut self, call: CallId) {
        if let Some(state) = self.calls.get_mut(&call.0) {
            state.input_ended = true;
        }
        self.pump(call.0);
    }

    /// Asks a call to end early. It is answered all the same.
    pub fn cancel(&mut self, call: CallId) {
        if self.calls.contains_key(&call.0) {
            self.queue(
                Head {
                    channel: CHANNEL,
                    call: call.0,
                    ..Head::default()
                },
                &HostMessage::Cancel,
            );
        }
    }

    /// Waits for the next event of any call, for `interrupt` to become readable, or for `deadline`.
    ///
    /// # Errors
    /// Where the link is gone.
    pub fn wait(
        &mut self,
        interrupt: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> Result<Wake, LinkError> {
        loop {
            if let Some(wake) = self.wait_until(&|_| false, interrupt, deadline)? {
                return Ok(wake);
            }
        }
    }

    /// As [`Link::wait`], or until no more than `most` bytes of a call's input wait: then for nothing.
    ///
    /// # Errors
    /// Where the link is gone.
    pub fn wait_for_room(
        &mut self,
        (call, most): (CallId, usize),
        interrupt: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> Result<Option<Wake>, LinkError> {
        self.wait_until(&|link| !link.is_full(call, most), interrupt, deadline)
    }

    fn wait_until(
        &mut self,
        enough: &dyn Fn(&Self) -> bool,
        interrupt: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> Result<Option<Wake>, LinkError> {
        if let Some((call, failure)) = self.refused.pop_front() {
            return Ok(Some(Wake::Event(call, CallEvent::Failed(failure))));
        }
        loop {
            while let Some(frame) = self.decoder.next_frame().map_err(LinkError::Frame)? {
                if let Some(wake) = self.take(frame)? {
                    return Ok(Some(wake));
                }
            }
            if enough(self) {
                return Ok(None);
            }
            let (interrupted, moved) = self.transfer(interrupt, deadline)?;
            if interrupted {
                return Ok(Some(Wake::Interrupt));
            }
            if !moved && deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                return Ok(Some(Wake::Timeout));
            }
        }
    }

    /// Makes sense of one frame; `None` where the caller need not know.
    fn take(&mut self, frame: Frame) -> Result<Option<Wake>, LinkError> {
        let Head {
            channel,
            call,
            stream,
            credit,
        } = frame.head;
        if channel != CHANNEL {
            let GuestMessage::ChannelFailed(failure) = parse(&frame)? else {
                return Ok(None);
            };
            return Err(LinkError::Protocol(failure.message));
        }
        let Some(state) = self.calls.get_mut(&call) else {
            if stream == STREAM_CALL
                && let Ok(GuestMessage::ChannelFailed(failure)) = parse(&frame)
            {
                return Err(LinkError::Protocol(failure.message));
            }
            return Ok(None);
        };
        if stream == STREAM_INPUT {
            state.credit = state.credit.saturating_add(credit.into());
            self.pump(call);
            return Ok(None);
        }
        if stream != STREAM_CALL {
            if frame.body.is_empty() {
                return Ok(None);
            }
            let consumed = state.consumed.entry(stream).or_default();
            *consumed =
                consumed.saturating_add(u32::try_from(frame.body.len()).unwrap_or(u32::MAX));
            if *consumed > INITIAL_CREDIT {
                return Err(LinkError::Protocol(format!(
                    "more data than allowed on stream {stream}"
                )));
            }
            if *consumed >= GRANT && !state.granted_by_hand {
                let credit = std::mem::take(consumed);
                let head = Head {
                    channel,
                    call,
                    stream,
                    credit,
                };
                frame::encode(head, &[], &[], &mut self.outbox);
            }
            return Ok(Some(Wake::Event(
                CallId(call),
                CallEvent::Data {
                    stream,
                    bytes: frame.body,
                },
            )));
        }
        let event = match parse(&frame)? {
            GuestMessage::Started => CallEvent::Started,
            GuestMessage::Done(reply) => CallEvent::Done(reply),
            GuestMessage::Failed(failure) => CallEvent::Failed(failure),
            GuestMessage::ChannelFailed(failure) => {
                return Err(LinkError::Protocol(failure.message));
            }
            GuestMessage::Hello(_) => {
                return Err(LinkError::Protocol("hello in a call".to_owned()));
            }
        };
        if !matches!(event, CallEvent::Started) {
            self.calls.remove(&call);
        }
        Ok(Some(Wake::Event(CallId(call), event)))
    }

    /// Sends as much input of a call as its credit allows.
    fn pump(&mut self, call: u32) {
        let Some(state) = self.calls.get_mut(&call) else {
            return;
        };
        let head = Head {
            channel: CHANNEL,
            call,
            stream: STREAM_INPUT,
            credit: 0,
        };
        while state.credit > state.reserve && !state.input.is_empty() {
            let allowed = usize::try_from(state.credit - state.reserve).unwrap_or(usize::MAX);
            let count = state.input.len().min(CHUNK).min(allowed);
            let piece: Vec<u8> = state.input.drain(..count).collect();
            frame::encode(head, &[], &piece, &mut self.outbox);
            state.credit -= count as u64;
        }
        if state.input.is_empty() && state.input_ended && !state.end_sent {
            state.end_sent = true;
            let end = serde_json::to_vec(&StreamMessage::End).expect("serialises");
            frame::encode(head, &end, &[], &mut self.outbox);
        }
    }

    fn queue(&mut self, head: Head, message: &HostMessage) {
        let header = serde_json::to_vec(message).expect("messages serialise");
        frame::encode(head, &header, &[], &mut self.outbox);
    }

    /// Moves bytes both ways once, waiting until something can move. Says whether `interrupt` is readable, and
    /// whether bytes moved.
    fn transfer(
        &mut self,
        interrupt: Option<BorrowedFd<'_>>,
        deadline: Option<Instant>,
    ) -> Result<(bool, bool), LinkError> {
        let mut want = PollFlags::IN;
        want.set(PollFlags::OUT, self.sent < self.outbox.len());
        let mut fds = vec![PollFd::new(&self.stream, want)];
        if let Some(interrupt) = &interrupt {
            fds.push(PollFd::new(interrupt, PollFlags::IN));
        }
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let left = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, left.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok((false, false)),
            Err(errno) => return Err(LinkError::Socket(errno.into())),
        }
        let ready = fds[0].revents();
        let interrupted = fds.get(1).is_some_and(|fd| !fd.revents().is_empty());
        drop(fds);
        let mut moved = false;
        if ready.contains(PollFlags::OUT) {
            match self.stream.write(&self.outbox[self.sent..]) {
                Ok(count) => {
                    self.sent += count;
                    moved = true;
                }
                Err(error) if retry(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    return Err(LinkError::Closed);
                }
                Err(error) => return Err(LinkError::Socket(error)),
            }
            if self.sent == self.outbox.len() {
                self.outbox.clear();
                self.sent = 0;
            }
        }
        if ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            let mut buffer = [0; 64 << 10];
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(LinkError::Closed),
                Ok(count) => {
                    self.decoder.push(&buffer[..count]);
                    moved = true;
                }
                Err(error) if retry(&error) => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                    return Err(LinkError::Closed);
                }
                Err(error) => return Err(LinkError::Socket(error)),
            }
        }
        Ok((interrupted, moved))
    }
}

fn retry(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

fn parse(frame: &Frame) -> Result<GuestMessage, LinkError> {
    serde_json::from_slice(&frame.header).map_err(|error| LinkError::Protocol(error.to_string()))
}
