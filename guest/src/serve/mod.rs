//! The loop over the link.
//!
//! ```text
//!           +------------------ one thread ------------------+        file ops, a thread each
//!  link --> | decoder --> channels --> calls --> ports ------|------> read, write, list, tar
//!       <-- | outbox <----------------- replies <------------|------  (through their ports)
//!           |    ^--- programs: pidfd, pipes, spool files    |
//!           +------------------------------------------------+
//! ```
//! Nothing here waits for anything but `poll`. Memory is bounded whatever the peer does: input by credit, output by
//! credit and the room in the outbox, calls and channels by number, headers by a common budget.

mod channel;
mod outbox;
mod pool;
pub(crate) mod port;
mod programs;

use crate::calls::{self, World};
use crate::spawn::Spawner;
use crate::tree::refusal;
use crate::watch::Watch;
use channel::{Channel, MAX_CALLS, Said};
use outbox::Outbox;
use pool::Pool;
use port::Port;
use programs::Programs;
use pyro_protocol::boot::Limits;
use pyro_protocol::frame::{STREAM_CALL, STREAM_ERRORS, STREAM_INPUT};
use pyro_protocol::message::{
    Failure, FailureCode, GuestMessage, Hello, HostMessage, Op, Reply, StreamMessage,
};
use pyro_protocol::{Decoder, Frame, GENERATION};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// Clients of one link at the same time.
const MAX_CHANNELS: usize = 64;
/// Headers of all calls that are not over, in bytes.
const HEADER_BUDGET: usize = 32 << 20;
/// Read from the link at once, in bytes.
const READ: usize = 256 << 10;
/// How often ended children of nobody are looked for, without and with a running program.
const REAP_TICK: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(1)];

/// What the agent works on.
#[derive(Debug)]
pub struct Agent {
    /// The byte stream to the host, connected.
    pub link: OwnedFd,
    /// The run's folder: `tree/`, `stage/`, `spool/`, and maybe `baseline` (all on one mount).
    pub run_dir: OwnedFd,
    /// Who owns what the agent creates in the tree, in the agent's own user namespace: uid = gid.
    /// 1 with a range of ids, 0 with a single id.
    pub owner: u32,
    /// What the sandbox may use, as far as the agent watches it.
    pub limits: Limits,
    /// Runs programs.
    pub spawner: Box<dyn Spawner>,
}

/// Serves the link until the host closes it.
///
/// # Errors
/// Where the link itself breaks, or carries something else than frames.
pub fn serve(agent: Agent) -> io::Result<()> {
    let Agent {
        link,
        run_dir,
        owner,
        limits,
        spawner,
    } = agent;
    let flags = rustix::fs::fcntl_getfl(&link)?;
    rustix::fs::fcntl_setfl(&link, flags | OFlags::NONBLOCK)?;
    let world = Arc::new(World::open(run_dir, owner)?);
    let (events, news) = mpsc::channel();
    let mut service = Service {
        watch: Watch::new(limits, &world),
        world,
        spawner,
        outbox: Arc::new(Outbox::new()?),
        pool: Pool::new()?,
        buffered: Arc::default(),
        channels: HashMap::new(),
        calls: HashMap::new(),
        programs: Programs::default(),
        serial: 0,
        headers: 0,
        events,
        news,
        buffer: vec![0; READ],
        reap_at: Instant::now(),
    };
    let result = service.run(&link);
    service.shut_down();
    result
}

/// News from another thread.
#[derive(Debug)]
enum Event {
    /// A file op is over.
    Over(u64, Result<Reply, Failure>),
    /// The disk was counted; whether the run has grown beyond its limit.
    Counted(bool),
}

/// A call that is not over.
#[derive(Debug)]
struct Call {
    port: Arc<Port>,
    /// Whether it has streams 1, 2 and 3.
    streams: [bool; 3],
    header: usize,
}

#[derive(Debug)]
struct Service {
    world: Arc<World>,
    spawner: Box<dyn Spawner>,
    outbox: Arc<Outbox>,
    pool: Pool,
    buffered: Arc<AtomicUsize>,
    channels: HashMap<u32, Channel>,
    calls: HashMap<u64, Call>,
    programs: Programs,
    watch: Watch,
    serial: u64,
    headers: usize,
    events: mpsc::Sender<Event>,
    news: mpsc::Receiver<Event>,
    buffer: Vec<u8>,
    reap_at: Instant,
}

impl Service {
    fn run(&mut self, link: &OwnedFd) -> io::Result<()> {
        let mut decoder = Decoder::default();
        loop {
            let (read, woken, ready) = self.wait(link)?;
            if woken {
                self.outbox.woken();
            }
            if read {
                match rustix::io::read(link, &mut self.buffer[..]) {
                    Ok(0) => return Ok(()),
                    Ok(count) => {
                        decoder.push(&self.buffer[..count]);
                        while let Some(frame) = decoder.next_frame().map_err(io::Error::other)? {
                            self.take(frame);
                        }
                    }
                    Err(Errno::AGAIN | Errno::INTR) => {}
                    Err(Errno::CONNRESET) => return Ok(()),
                    Err(errno) => return Err(errno.into()),
                }
            }
            self.hear();
            let now = Instant::now();
            self.programs.ready(&ready, &mut self.buffer, now);
            self.tend(now);
            match self.outbox.flush(link.as_fd()) {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                done => done?,
            }
        }
    }

    /// Waits until there is something to do: whether the link is readable, whether another thread woke us, and
    /// which descriptors of programs are ready.
    fn wait(&self, link: &OwnedFd) -> io::Result<(bool, bool, Vec<programs::Token>)> {
        let mut interest = PollFlags::empty();
        if self.outbox.may_read() {
            interest |= PollFlags::IN;
        }
        if !self.outbox.is_empty() {
            interest |= PollFlags::OUT;
        }
        let wakeup = self.outbox.wakeup();
        let mut tokens = Vec::new();
        let mut fds = vec![
            PollFd::new(link, interest),
            PollFd::new(&wakeup, PollFlags::IN),
        ];
        self.programs.interests(&mut fds, &mut tokens);
        let timeout = self.next_wake().map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec {
                tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }
        });
        match rustix::event::poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok((false, false, Vec::new())),
            Err(errno) => return Err(errno.into()),
        }
        let hung_up = PollFlags::HUP | PollFlags::ERR;
        let link = fds[0].revents();
        let read =
            link.contains(PollFlags::IN) || (link.intersects(hung_up) && self.outbox.may_read());
        if link.intersects(hung_up) && !self.outbox.may_read() {
            return Err(Errno::PIPE.into());
        }
        let woken = !fds[1].revents().is_empty();
        let ready = fds[2..]
            .iter()
            .zip(tokens)
            .filter(|(fd, _)| !fd.revents().is_empty());
        Ok((read, woken, ready.map(|(_, token)| token).collect()))
    }

    fn next_wake(&self) -> Option<Instant> {
        let watch = self.programs.any_live().then(|| self.watch.next());
        [self.programs.next_step(), watch, Some(self.reap_at)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Takes one frame from the link.
    fn take(&mut self, frame: Frame) {
        let (number, stream) = (frame.head.channel, frame.head.stream);
        if number == 0 {
            return self.take_hello(&frame);
        }
        if self
            .channels
            .get(&number)
            .is_some_and(|channel| channel.failed)
        {
            // Only its end counts any more.
            if stream == STREAM_CALL
                && matches!(
                    channel::read(&frame.header),
                    Said::Message(HostMessage::Close)
                )
            {
                self.channels.remove(&number);
            }
            return;
        }
        if !self.channels.contains_key(&number) {
            if self.channels.len() >= MAX_CHANNELS {
                let failure = refusal(FailureCode::TooLarge, "open a channel: there are too many");
                return self
                    .outbox
                    .message(number, 0, &GuestMessage::ChannelFailed(failure));
            }
            self.channels.insert(number, Channel::default());
        }
        let result = if stream == STREAM_CALL {
            self.take_message(&frame)
        } else {
            self.take_data(frame)
        };
        if let Err(failure) = result {
            self.fail_channel(number, failure);
        }
    }

    fn take_hello(&mut self, frame: &Frame) {
        let said = if frame.head.stream == STREAM_CALL {
            channel::read(&frame.header)
        } else {
            Said::Nonsense(refusal(
                FailureCode::BadRequest,
                "take data on the link's own channel",
            ))
        };
        let message = match said {
            Said::Message(HostMessage::Hello(hello)) => GuestMessage::Hello(Hello {
                generation: hello.generation.min(GENERATION),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            Said::Message(HostMessage::Cancel | HostMessage::Close) => return,
            Said::Message(HostMessage::Call(_)) | Said::BadCall(_) => {
                GuestMessage::ChannelFailed(refusal(
                    FailureCode::BadRequest,
                    "take a call on the link's own channel",
                ))
            }
            Said::Nonsense(failure) => GuestMessage::ChannelFailed(failure),
        };
        self.outbox.message(0, frame.head.call, &message);
    }

    /// Takes a message of stream 0.
    fn take_message(&mut self, frame: &Frame) -> Result<(), Failure> {
        let (number, call) = (frame.head.channel, frame.head.call);
        if !frame.body.is_empty() {
            return Err(refusal(FailureCode::BadRequest, "take bytes on stream 0"));
        }
        let op = match channel::read(&frame.header) {
            Said::Nonsense(failure) => return Err(failure),
            Said::Message(HostMessage::Hello(_)) => {
                return Err(refusal(
                    FailureCode::BadRequest,
                    "take a hello on a client's channel",
                ));
            }
            Said::Message(HostMessage::Close) => {
                self.end_channel(number);
                self.channels.remove(&number);
                return Ok(());
            }
            Said::Message(HostMessage::Cancel) => {
                if let Some(found) = self.call(number, call)? {
                    found.port.stop(refusal(
                        FailureCode::Cancelled,
                        "go on: the call was cancelled",
                    ));
                }
                return Ok(());
            }
            Said::BadCall(failure) => Err(failure),
            Said::Message(HostMessage::Call(op)) => Ok(*op),
        };
        let Some(channel) = self.channels.get_mut(&number) else {
            return Ok(());
        };
        if !channel.take(call) {
            let message = format!("open call {call}: the number was used before");
            return Err(refusal(FailureCode::BadRequest, message));
        }
        let op = op.and_then(|op| {
            if channel.calls.len() >= MAX_CALLS {
                return Err(refusal(
                    FailureCode::TooLarge,
                    "open a call: the channel has too many",
                ));
            }
            if self.headers.saturating_add(frame.header.len()) > HEADER_BUDGET {
                return Err(refusal(
                    FailureCode::TooLarge,
                    "open a call: too many large ones are not over",
                ));
            }
            Ok(op)
        });
        match op {
            Ok(op) => self.open(number, call, op, frame.header.len()),
            Err(failure) => self
                .outbox
                .message(number, call, &GuestMessage::Failed(failure)),
        }
        Ok(())
    }

    /// A call of a channel; nothing where it is over.
    fn call(&self, number: u32, call: u32) -> Result<Option<&Call>, Failure> {
        let Some(channel) = self.channels.get(&number) else {
            return Ok(None);
        };
        match channel.calls.get(&call) {
            Some(serial) => Ok(self.calls.get(serial)),
            None if channel.had(call) => Ok(None),
            None => {
                let message = format!("find call {call}: it was never opened");
                Err(refusal(FailureCode::BadRequest, message))
            }
        }
    }

    /// Takes data, credit or the end of a stream.
    fn take_data(&mut self, frame: Frame) -> Result<(), Failure> {
        let broken = |what: &str| refusal(FailureCode::BadRequest, format!("take data: {what}"));
        let Frame { head, header, body } = frame;
        let Some(call) = self.call(head.channel, head.call)? else {
            return Ok(());
        };
        let known = matches!(head.stream, STREAM_INPUT..=STREAM_ERRORS)
            && call.streams[head.stream as usize - 1];
        if !known {
            return Err(broken("the call has no such stream"));
        }
        let end = match header.as_slice() {
            b"" => false,
            header => match serde_json::from_slice::<StreamMessage>(header) {
                Ok(StreamMessage::End) => true,
                Err(error) => return Err(broken(&error.to_string())),
            },
        };
        if head.stream == STREAM_INPUT {
            // Credit on it would be for us, and we send nothing on it.
            call.port
                .take_input(body, end)
                .map_err(|port::OverCredit| broken("more than was allowed"))?;
        } else if end || !body.is_empty() {
            return Err(broken("the stream goes the other way"));
        } else {
            call.port.add_credit(head.stream, head.credit);
        }
        Ok(())
    }

    /// Opens a call.
    fn open(&mut self, number: u32, call: u32, op: Op, header: usize) {
        self.serial += 1;
        let serial = self.serial;
        let port = Arc::new(Port::new(
            number,
            call,
            Arc::clone(&self.outbox),
            Arc::clone(&self.buffered),
        ));
        let streams = [1, 2, 3].map(|stream| calls::has_stream(&op, stream));
        self.headers += header;
        self.calls.insert(
            serial,
            Call {
                port: Arc::clone(&port),
                streams,
                header,
            },
        );
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.calls.insert(call, serial);
        }
        if let Op::ExecRun(run) = op {
            let started = self.programs.start(
                &self.world,
                self.spawner.as_mut(),
                serial,
                &port,
                &run,
                &mut self.watch,
            );
            match started {
                Ok(None) => self.outbox.message(number, call, &GuestMessage::Started),
                Ok(Some(report)) => self.over(serial, Ok(Reply::Exec(report))),
                Err(failure) => self.over(serial, Err(failure)),
            }
            return;
        }
        let (world, events, outbox) = (
            Arc::clone(&self.world),
            self.events.clone(),
            Arc::clone(&self.outbox),
        );
        self.pool.run(
            number,
            Box::new(move || {
                let result = calls::file_op(&world, &port, op);
                // The loop is there as long as its threads.
                let _ = events.send(Event::Over(serial, result));
                outbox.wake();
            }),
        );
    }

    /// Answers a call and forgets it.
    fn over(&mut self, serial: u64, result: Result<Reply, Failure>) {
        let Some(Call { port, header, .. }) = self.calls.remove(&serial) else {
            return;
        };
        self.headers -= header;
        let (number, call) = (port.channel(), port.call());
        if port.is_muted() {
            return;
        }
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.calls.remove(&call);
        }
        if let Ok(Reply::Exec(_)) = &result {
            port.end(pyro_protocol::frame::STREAM_OUTPUT);
            port.end(STREAM_ERRORS);
        }
        let message = match result {
            Ok(reply) => GuestMessage::Done(reply),
            Err(failure) => GuestMessage::Failed(failure),
        };
        self.outbox.message(number, call, &message);
    }

    /// The client broke the rules: its calls end, and it hears nothing but why.
    fn fail_channel(&mut self, number: u32, failure: Failure) {
        self.end_channel(number);
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.failed = true;
        }
        self.outbox
            .message(number, 0, &GuestMessage::ChannelFailed(failure));
    }

    /// Ends every call of a channel, silently.
    fn end_channel(&mut self, number: u32) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        for (_, serial) in channel.calls.drain() {
            if let Some(call) = self.calls.get(&serial) {
                call.port.mute();
                call.port.stop(refusal(
                    FailureCode::Cancelled,
                    "go on: the channel was closed",
                ));
            }
        }
    }

    /// Hears what other threads have to say.
    fn hear(&mut self) {
        while let Ok(event) = self.news.try_recv() {
            match event {
                Event::Over(serial, result) => self.over(serial, result),
                Event::Counted(grown) => self.programs.counted(grown, Instant::now()),
            }
        }
    }

    /// Looks after programs, limits and ended children.
    fn tend(&mut self, now: Instant) {
        if self.programs.any_live() {
            let count =
                self.programs
                    .watch(&self.world, self.spawner.as_ref(), &mut self.watch, now);
            if let Some(limit) = count {
                let (world, events) = (Arc::clone(&self.world), self.events.clone());
                let outbox = Arc::clone(&self.outbox);
                self.pool.run(
                    0,
                    Box::new(move || {
                        let _ = events.send(Event::Counted(crate::watch::has_grown(&world, limit)));
                        outbox.wake();
                    }),
                );
            }
        }
        let over = self
            .programs
            .step(self.spawner.as_mut(), &mut self.buffer, now);
        let any_over = !over.is_empty();
        for (serial, report) in over {
            self.over(serial, Ok(Reply::Exec(report)));
        }
        if any_over || self.reap_at <= now {
            self.spawner.reap_others(&self.programs.pids());
            self.reap_at = now + REAP_TICK[usize::from(self.programs.any_live())];
        }
    }

    /// Ends everything: whoever listened is gone.
    fn shut_down(&mut self) {
        self.outbox.close();
        for call in self.calls.values() {
            call.port.mute();
            call.port.stop(refusal(
                FailureCode::Cancelled,
                "go on: the link was closed",
            ));
        }
        self.programs.end_all(self.spawner.as_ref());
        // Write sets that are not through take themselves back.
        self.pool.finish();
    }
}
