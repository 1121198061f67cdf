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
mod clients;
pub(crate) mod outbox;
mod pool;
pub(crate) mod port;
mod programs;
pub(crate) mod streams;

use crate::calls::World;
use crate::spawn::{Layer, Spawner};
use crate::tree::refusal;
use crate::watch::Watch;
use channel::Channel;
use outbox::Outbox;
use pool::Pool;
use port::Port;
use programs::Programs;
use pyro_protocol::Decoder;
use pyro_protocol::boot::Limits;
use pyro_protocol::message::{Failure, FailureCode, Reply};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

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
    /// Everything that programs can write to besides the work tree: the top of a file system that no program sees
    /// itself.
    pub system: Option<OwnedFd>,
    /// What they can write to where the rest of what they see is an overlay.
    pub layer: Option<Layer>,
    /// Runs programs.
    pub spawner: Box<dyn Spawner>,
}

/// Serves the link until the host closes it. `SIGPIPE` must be ignored, as it is from the start of a Rust program.
///
/// # Errors
/// Where the link itself breaks, or carries something else than frames.
pub fn serve(agent: Agent) -> io::Result<()> {
    let Agent {
        link,
        run_dir,
        owner,
        limits,
        system,
        layer,
        spawner,
    } = agent;
    let flags = rustix::fs::fcntl_getfl(&link)?;
    rustix::fs::fcntl_setfl(&link, flags | OFlags::NONBLOCK)?;
    let world = World::open(run_dir, owner)?;
    let world = Arc::new(world.with((system, layer), spawner.lookout(), limits.disk)?);
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
            self.programs
                .ready(&self.world, &ready, &mut self.buffer, now);
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
        let watch = self.programs.any_company().then(|| self.watch.next());
        [self.programs.next_step(), watch, Some(self.reap_at)]
            .into_iter()
            .flatten()
            .min()
    }

    /// Hears what other threads have to say.
    fn hear(&mut self) {
        while let Ok(event) = self.news.try_recv() {
            match event {
                Event::Over(serial, result) => self.over(serial, result),
                Event::Counted(grown) => {
                    self.programs
                        .counted(grown, self.spawner.as_ref(), Instant::now());
                }
            }
        }
    }

    /// Looks after programs, limits and ended children.
    fn tend(&mut self, now: Instant) {
        if self.programs.any_company() {
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
            .step(&self.world, self.spawner.as_mut(), &mut self.buffer, now);
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
