//! The keeper's loop: frames from clients to the agent and back.
//!
//! ```text
//!  client 1:call --> [decoder] --channel N:call--> [outbox] --> link
//!         1:call <-- [outbox]  <--channel N:call-- [decoder] <-- link
//! ```
//! The numbers of channels are never used again, so that what is under way to a client that went never reaches another
//! one. The agent is always heard; clients are heard while the agent takes what they say and they take what they are
//! told. Credit bounds what a client can be told; one that grants it without reading is dropped.

use super::buffer::Buffer;
use super::client::{Client, Heard};
use super::connect::is_open;
use super::log::say;
use super::message::Status;
use super::take::{Nonsense, THEIRS};
use crate::machine::Cancel;
use crate::workspace::{Home, Timestamp};
use pyro_protocol::frame::STREAM_CALL;
use pyro_protocol::message::{Failure, FailureCode, GuestMessage, HostMessage};
use pyro_protocol::{Decoder, Frame};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// Connections, those that only ask among them.
const CONNECTIONS: usize = 96;
/// What may wait for one client, in bytes; beyond that it is dropped.
const WAITING: usize = 64 << 20;
/// What may wait for all of them; beyond that the one with the most is dropped.
const WAITING_ALL: usize = 128 << 20;
/// Above this, no client is heard until the agent has taken some of it, in bytes.
const ROOM: usize = 1 << 20;
/// Read at once, in bytes.
const READ: usize = 64 << 10;
/// The longest wait for the end of the time to live: the clock may be set, and the host may sleep.
const LOOK: Duration = Duration::from_secs(600);

/// Keys and what is shown are noted as use of the workspace so often: a time to live has whole seconds.
const TOUCH: Duration = Duration::from_millis(250);

/// Why the loop ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum End {
    Expired,
    Stopped,
    /// Completes "could not ...".
    Died(String),
}

/// Everything that the loop works with.
#[derive(Debug)]
pub(super) struct Service<'a> {
    pub(super) home: &'a Home,
    cancel: &'a Cancel,
    listener: UnixListener,
    /// To the agent.
    link: UnixStream,
    decoder: Decoder,
    /// The process of the inner init, where it is known: with it, every program is gone.
    init: Option<OwnedFd>,
    /// What there is to say of it; the rest is filled in.
    pub(super) status: Status,
    pub(super) outbox: Buffer,
    pub(super) clients: BTreeMap<u32, Client>,
    next: u32,
    pub(super) ttl: Option<u64>,
    pub(super) stopping: bool,
    /// When somebody at a terminal was noted last.
    touched: Option<Instant>,
    buffer: Vec<u8>,
}

impl<'a> Service<'a> {
    pub(super) fn new(
        home: &'a Home,
        cancel: &'a Cancel,
        listener: UnixListener,
        (link, decoder): (UnixStream, Decoder),
        init: Option<OwnedFd>,
        status: Status,
    ) -> Self {
        Self {
            home,
            cancel,
            listener,
            link,
            decoder,
            init,
            status,
            outbox: Buffer::default(),
            clients: BTreeMap::new(),
            next: 0,
            ttl: None,
            stopping: false,
            touched: None,
            buffer: vec![0; READ],
        }
    }

    /// Serves until there is a reason to end. Clients stay connected until this is dropped.
    pub(super) fn run(&mut self) -> End {
        loop {
            let turn = self.turn();
            // What has just been said shall arrive, whatever comes next.
            self.flush();
            if let Err(end) = turn {
                return end;
            }
            if self.stopping {
                return End::Stopped;
            }
        }
    }

    fn turn(&mut self) -> Result<(), End> {
        let expires = self.expires_in();
        if expires == Some(Duration::ZERO) {
            return Err(End::Expired);
        }
        let ready = self.wait(expires)?;
        if self.cancel.is_cancelled() {
            return Err(End::Stopped);
        }
        if ready.init {
            return Err(End::Died("go on: the sandbox has ended".to_owned()));
        }
        if ready.link.intersects(PollFlags::OUT) {
            let flushed = self.outbox.flush(&self.link);
            flushed.map_err(|error| End::Died(format!("speak to the agent: {error}")))?;
        }
        if ready
            .link
            .intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR)
        {
            self.hear_agent()?;
        }
        for (number, ready) in ready.clients {
            self.hear_client(number, ready);
        }
        if ready.listener {
            self.accept();
        }
        let now = Instant::now();
        let late = |client: &Client| client.deadline().is_some_and(|until| until <= now);
        self.drop_where(|_, client| late(client), "was turned away");
        Ok(())
    }

    fn wait(&mut self, expires: Option<Duration>) -> Result<Ready, End> {
        let room = self.outbox.len() < ROOM;
        let mut interest = PollFlags::IN;
        interest.set(PollFlags::OUT, !self.outbox.is_empty());
        let mut fds = vec![
            PollFd::new(self.cancel, PollFlags::IN),
            PollFd::new(&self.listener, PollFlags::IN),
            PollFd::new(&self.link, interest),
        ];
        for client in self.clients.values() {
            fds.push(PollFd::new(client.stream(), client.interest(room)));
        }
        if let Some(init) = &self.init {
            fds.push(PollFd::new(init, PollFlags::IN));
        }
        let now = Instant::now();
        let turned_away = self.clients.values().filter_map(Client::deadline).min();
        let turned_away = turned_away.map(|until| until.saturating_duration_since(now));
        let left = [turned_away, expires.map(|expires| expires.min(LOOK))];
        let left = left.into_iter().flatten().min();
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::nothing()),
            Err(errno) => return Err(End::Died(format!("wait for anything: {errno}"))),
        }
        let events: Vec<PollFlags> = fds.iter().map(PollFd::revents).collect();
        let clients = self
            .clients
            .keys()
            .copied()
            .zip(events[3..].iter().copied());
        Ok(Ready {
            listener: !events[1].is_empty(),
            link: events[2],
            init: self.init.is_some() && events.last().is_some_and(|init| !init.is_empty()),
            clients: clients.filter(|(_, events)| !events.is_empty()).collect(),
        })
    }

    /// How long until the time to live is over; nothing while something goes on that is waited for, or where it has no
    /// end. Somebody at a terminal may have gone home.
    pub(super) fn expires_in(&mut self) -> Option<Duration> {
        let holds = |client: &Client| client.is_counted() && !client.visits;
        if self.clients.values().any(holds) {
            return None;
        }
        // As it is on the disk: it may have been changed. What cannot be read is as it was.
        if let Ok(recipe) = self.home.recipe() {
            self.ttl = recipe.ttl_ms;
        }
        let ttl = self.ttl?;
        let until = self.expires_at(ttl);
        let left = until
            .as_millis()
            .saturating_sub(Timestamp::now().as_millis());
        // A use in the future is one that happened before the clock was set.
        Some(Duration::from_millis(left.min(ttl)))
    }

    pub(super) fn expires_at(&self, ttl: u64) -> Timestamp {
        let used = self.home.last_touched();
        used.unwrap_or_else(|_| Timestamp::now()).plus_millis(ttl)
    }

    pub(super) fn touch(&self) {
        if let Err(error) = self.home.touch() {
            say(&format!("could not {error}"));
        }
    }

    /// The same for what happens with every key: noted now and then.
    pub(super) fn touch_at_times(&mut self) {
        let now = Instant::now();
        let recently = |at: &Instant| now.saturating_duration_since(*at) < TOUCH;
        if self.touched.as_ref().is_none_or(|at| !recently(at)) {
            self.touched = Some(now);
            self.touch();
        }
    }

    fn accept(&mut self) {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => {
                    // It would be tried again at once.
                    say(&format!("could not take a client: {error}"));
                    std::thread::sleep(Duration::from_millis(50));
                    return;
                }
            };
            if !is_ours(&stream) {
                // Who only looked whether somebody listens is gone by now.
                if is_open(&stream) {
                    say("turned away a client of another user, or in a sandbox");
                }
                continue;
            }
            if stream.set_nonblocking(true).is_err() {
                continue;
            }
            if self.clients.len() >= CONNECTIONS {
                let idle = |client: &Client| !client.is_counted();
                let oldest = self.clients.iter().find(|(_, client)| idle(client));
                let Some(number) = oldest.map(|(number, _)| *number) else {
                    continue;
                };
                self.drop_client(number, "made way for another one");
            }
            // 0 is the link's own.
            loop {
                self.next = self.next.wrapping_add(1);
                if self.next != 0 && !self.clients.contains_key(&self.next) {
                    break;
                }
            }
            self.clients.insert(self.next, Client::new(stream));
        }
    }

    fn hear_client(&mut self, number: u32, ready: PollFlags) {
        let room = self.outbox.len() < ROOM;
        let Some(client) = self.clients.get_mut(&number) else {
            return;
        };
        if ready.intersects(PollFlags::OUT) && !client.flush() {
            return self.drop_client(number, "");
        }
        match client.hear(ready, room, &mut self.buffer) {
            Heard::Gone => self.drop_client(number, ""),
            Heard::Frames(frames) => {
                for frame in frames {
                    if let Err(Nonsense) = self.take(number, &frame) {
                        return self.drop_client(number, "spoke nonsense");
                    }
                }
            }
        }
    }

    fn hear_agent(&mut self) -> Result<(), End> {
        match self.link.read(&mut self.buffer) {
            Ok(0) => return Err(End::Died("hear from the agent: it has ended".to_owned())),
            Ok(count) => self.decoder.push(&self.buffer[..count]),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                ) => {}
            Err(error) => return Err(End::Died(format!("hear from the agent: {error}"))),
        }
        let mut ended = false;
        loop {
            let frame = match self.decoder.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(error) => {
                    let why = format!("read a frame from the agent: {error}");
                    return Err(End::Died(why));
                }
            };
            ended |= says_ended(&frame);
            // Of a client that went, nobody wants to know.
            if let Some(client) = self.clients.get_mut(&frame.head.channel) {
                client.outbox.forward(THEIRS, &frame);
                if client.visits && !frame.body.is_empty() {
                    self.touch_at_times();
                }
            }
        }
        self.drop_where(|_, client| client.outbox.len() > WAITING, "did not listen");
        while self
            .clients
            .values()
            .map(|client| client.outbox.len())
            .sum::<usize>()
            > WAITING_ALL
        {
            let fullest = self
                .clients
                .iter()
                .max_by_key(|(_, client)| client.outbox.len());
            let Some(number) = fullest.map(|(number, _)| *number) else {
                break;
            };
            self.drop_client(number, "listened the least");
        }
        if ended {
            return Err(End::Died("go on: the sandbox has ended".to_owned()));
        }
        Ok(())
    }

    fn flush(&mut self) {
        // A broken link is noticed when it is heard.
        let _ = self.outbox.flush(&self.link);
        let numbers: Vec<u32> = self.clients.keys().copied().collect();
        for number in numbers {
            if let Some(client) = self.clients.get_mut(&number)
                && !client.flush()
            {
                self.drop_client(number, "");
            }
        }
    }

    fn drop_where(&mut self, mut which: impl FnMut(u32, &Client) -> bool, why: &str) {
        let numbers: Vec<u32> = (self.clients.iter())
            .filter(|(number, client)| which(**number, client))
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            self.drop_client(number, why);
        }
    }

    /// Lets a client go: its calls end, and so do the programs that they run.
    fn drop_client(&mut self, number: u32, why: &str) {
        let Some(client) = self.clients.remove(&number) else {
            return;
        };
        if !why.is_empty() {
            say(&format!("dropped client {number}: it {why}"));
        }
        if client.spoken {
            self.outbox.message(number, 0, &HostMessage::Close);
        }
        if client.is_counted() {
            self.touch();
        }
    }
}

/// Whether a client is this user, and in no user namespace of its own: a program of a sandbox that somebody shows this
/// folder to may have the same id outside.
fn is_ours(stream: &UnixStream) -> bool {
    let Ok(peer) = rustix::net::sockopt::socket_peercred(stream) else {
        return false;
    };
    let namespace = |process: &str| fs::read_link(format!("/proc/{process}/ns/user")).ok();
    let theirs = namespace(&peer.pid.as_raw_nonzero().to_string());
    peer.uid == rustix::process::geteuid() && theirs.is_some() && theirs == namespace("self")
}

/// What can be gone on with.
#[derive(Debug)]
struct Ready {
    listener: bool,
    link: PollFlags,
    init: bool,
    clients: Vec<(u32, PollFlags)>,
}

impl Ready {
    fn nothing() -> Self {
        Self {
            listener: false,
            link: PollFlags::empty(),
            init: false,
            clients: Vec::new(),
        }
    }
}

/// Whether the agent says that it is alone.
fn says_ended(frame: &Frame) -> bool {
    frame.head.stream == STREAM_CALL
        && frame.header.starts_with(b"{\"failed\"")
        && matches!(
            serde_json::from_slice(&frame.header),
            Ok(GuestMessage::Failed(Failure {
                code: FailureCode::SandboxEnded,
                ..
            }))
        )
}
