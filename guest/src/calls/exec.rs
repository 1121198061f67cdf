//! `exec.run`: one program, from its start to the last byte of output.
//!
//! ```text
//!  Running --ends--> Draining --quiet--> Sending --all sent--> done
//!     |                  ^
//!     `--time over, cancelled--> Ending --grace over--> Killing --nobody left--> (Draining)
//! ```
//! On a terminal, `Ending` hangs up: what a cancel ends is the session of the program, not what has left it.

use super::family::Family;
use super::reap::{Ended, reap};
use super::spool::Spool;
use super::terminal::{self, Terminal};
use super::{World, agent_failure, program};
use crate::serve::port::Port;
use crate::spawn::{Child, Process, SpawnError, Spawner};
use crate::tree::refusal;
use pyro_protocol::frame::{STREAM_ERRORS, STREAM_OUTPUT};
use pyro_protocol::message::{
    ExecEnd, ExecReport, ExecRun, Failure, FailureCode, StreamReport, TerminalSize,
};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::Signal;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// From TERM to KILL for a cancelled call.
const CANCEL_GRACE: Duration = Duration::from_millis(200);
/// Pipes that background processes hold are left alone after this long without output.
const DRAIN_QUIET: Duration = Duration::from_millis(50);
/// And after this long with output.
const DRAIN_LIMIT: Duration = Duration::from_millis(500);
/// How often an ending program's processes are looked at.
const ENDING_TICK: Duration = Duration::from_millis(10);
/// Processes that survive KILL for this long (stuck in the kernel) are reported as left running.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// A program that runs or ran, and its streams.
#[derive(Debug)]
pub(crate) struct Exec {
    port: Arc<Port>,
    child: Child,
    family: Family,
    ended: Option<Ended>,
    outlet: Outlet,
    started: Instant,
    ran: Duration,
    deadline: Option<Instant>,
    grace: Duration,
    phase: Phase,
    end: Option<ExecEnd>,
    reason: Option<&'static str>,
    /// See [`Spawner::memory_kills`], when it was started.
    kills_before: Option<u64>,
    over: bool,
}

/// Where input goes and output comes from.
#[derive(Debug)]
enum Outlet {
    Pipes(Box<Pipes>),
    Terminal(Box<Terminal>),
}

/// Standard input, and both outputs.
#[derive(Debug)]
struct Pipes {
    spools: [Spool; 2],
    stdin: Option<OwnedFd>,
    pending: Vec<u8>,
    written: usize,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Running,
    Ending { kill_at: Instant, look_at: Instant },
    Killing { since: Instant, look_at: Instant },
    Draining { quiet_at: Instant, limit: Instant },
    Sending,
}

/// What became of an attempt to start a program.
#[derive(Debug)]
pub(crate) enum Start {
    /// It runs.
    Running(Box<Exec>),
    /// It never ran.
    Over(ExecReport),
}

impl Exec {
    /// Starts a program.
    ///
    /// # Errors
    /// Where the request is wrong, or the agent or the sandbox is at its end.
    pub(crate) fn start(
        world: &World,
        spawner: &mut dyn Spawner,
        port: &Arc<Port>,
        op: &ExecRun,
        before: &[Process],
        alone: bool,
    ) -> Result<Start, Failure> {
        let program = program::from(op)?;
        let failed = |error: std::io::Error| agent_failure("run a program", &error);
        let kills_before = spawner.memory_kills();
        let started;
        let spawned = if let Some(size) = op.terminal {
            terminal::check(size)?;
            started = Instant::now();
            let spawned = spawner.spawn_on_terminal(&program, size);
            let outlet = |ends| Outlet::Terminal(Box::new(Terminal::new(ends)));
            spawned
                .map(|(child, ends)| (child, outlet(ends)))
                .map_err(|error| (error, [Terminal::nothing(), Terminal::nothing()]))
        } else {
            let (pipes, theirs) = Pipes::open(world, port, op).map_err(failed)?;
            started = Instant::now();
            match spawner.spawn(&program, theirs.each_ref().map(AsFd::as_fd)) {
                Ok(child) => Ok((child, Outlet::Pipes(Box::new(pipes)))),
                Err(error) => Err((error, pipes.reports(world, port))),
            }
        };
        let (child, outlet) = match spawned {
            Ok(running) => running,
            Err((
                SpawnError::NotStarted {
                    code,
                    reason,
                    errno,
                },
                [stdout, stderr],
            )) => {
                let end = ExecEnd::NotStarted {
                    code,
                    reason,
                    errno: Some(errno),
                };
                return Ok(Start::Over(ExecReport {
                    end,
                    duration_us: micros(started.elapsed()),
                    max_rss_kib: 0,
                    cpu_us: 0,
                    stdout,
                    stderr,
                    left_running: 0,
                    limit: None,
                }));
            }
            Err((SpawnError::SandboxEnded, _)) => {
                return Err(refusal(
                    FailureCode::SandboxEnded,
                    "run a program: the sandbox has ended",
                ));
            }
            Err((SpawnError::Agent(error), _)) => return Err(failed(error)),
        };
        Ok(Start::Running(Box::new(Self {
            port: Arc::clone(port),
            family: Family::new(child.pid, before, alone),
            child,
            ended: None,
            outlet,
            started,
            ran: Duration::ZERO,
            deadline: started.checked_add(Duration::from_millis(op.timeout_ms)),
            grace: Duration::from_millis(op.grace_ms),
            phase: Phase::Running,
            end: None,
            reason: None,
            kills_before,
            over: false,
        })))
    }

    /// The program's process id while it has not been reaped.
    pub(crate) fn pid(&self) -> Option<i32> {
        self.ended.is_none().then_some(self.child.pid)
    }

    /// Its processes.
    pub(crate) fn family(&mut self) -> &mut Family {
        &mut self.family
    }

    /// Whether the program, or what it started, may still run.
    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Draining { .. } | Phase::Sending)
    }

    /// Readable when the program has ended.
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.ended.is_none().then(|| self.child.pidfd.as_fd())
    }

    /// The output pipes, standard output first; or the terminal, while the host takes what it shows.
    pub(crate) fn pipe(&self, which: usize) -> Option<BorrowedFd<'_>> {
        match &self.outlet {
            Outlet::Pipes(pipes) => pipes.spools.get(which).and_then(Spool::pipe),
            Outlet::Terminal(terminal) if which == 0 => terminal.readable(&self.port),
            Outlet::Terminal(_) => None,
        }
    }

    /// The input pipe, or the terminal, while there is something for it.
    pub(crate) fn hungry(&self) -> Option<BorrowedFd<'_>> {
        match &self.outlet {
            Outlet::Pipes(pipes) => pipes.hungry(&self.port),
            Outlet::Terminal(terminal) => terminal.hungry(&self.port),
        }
    }

    /// Gives its terminal another size; whether it has one.
    pub(crate) fn resize(&self, size: TerminalSize) -> bool {
        match &self.outlet {
            Outlet::Pipes(_) => false,
            Outlet::Terminal(terminal) => terminal.resize(size),
        }
    }

    /// The program has ended.
    pub(crate) fn reap(&mut self) {
        match reap(self.child.pid) {
            Ok(None) => {}
            Ok(Some(ended)) => self.set_ended(ended),
            // Somebody reaped it before us: how it ended is lost.
            Err(_) => self.set_ended(Ended {
                code: None,
                signal: 0,
                max_rss_kib: 0,
                cpu_us: 0,
            }),
        }
    }

    fn set_ended(&mut self, ended: Ended) {
        self.ran = self.started.elapsed();
        self.ended = Some(ended);
        // Perhaps it was the last one.
        match &mut self.phase {
            Phase::Ending { look_at, .. } | Phase::Killing { look_at, .. } => {
                *look_at = self.started
            }
            Phase::Running | Phase::Draining { .. } | Phase::Sending => {}
        }
    }

    /// Takes output from a pipe.
    pub(crate) fn drain(&mut self, world: &World, which: usize, buffer: &mut [u8], now: Instant) {
        let any = match &mut self.outlet {
            Outlet::Pipes(pipes) => {
                let spool = pipes.spools.get_mut(which);
                spool.is_some_and(|spool| spool.drain(world, buffer))
            }
            Outlet::Terminal(terminal) => terminal.drain(&self.port, buffer),
        };
        if let (true, Phase::Draining { quiet_at, .. }) = (any, &mut self.phase) {
            *quiet_at = now + DRAIN_QUIET;
        }
    }

    /// Moves input from the link to the program, without waiting.
    pub(crate) fn feed(&mut self) {
        match &mut self.outlet {
            Outlet::Pipes(pipes) => pipes.feed(&self.port),
            Outlet::Terminal(terminal) => terminal.feed(&self.port),
        }
    }

    /// Ends the program and all it started for a limit.
    pub(crate) fn kill_for(&mut self, reason: &'static str, now: Instant) {
        if self.is_live() {
            self.reason = Some(reason);
            self.phase = Phase::Killing {
                since: now,
                look_at: now,
            };
        }
    }

    /// A limit ended one of its processes.
    pub(crate) fn note_killed(&mut self, reason: &'static str) {
        self.reason = Some(reason);
    }

    /// What was counted when it started.
    pub(crate) fn kills_before(&self) -> Option<u64> {
        self.kills_before
    }

    /// When [`Exec::step`] has something to do even if nothing happens.
    pub(crate) fn next_step(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running => self.deadline,
            Phase::Ending { kill_at, look_at } => Some(kill_at.min(look_at)),
            Phase::Killing { look_at, .. } => Some(look_at),
            Phase::Draining { quiet_at, limit } => Some(quiet_at.min(limit)),
            Phase::Sending => None,
        }
    }

    /// Moves on as far as possible; whether the call is over.
    pub(crate) fn step(&mut self, spawner: &dyn Spawner, now: Instant, buffer: &mut [u8]) -> bool {
        self.feed();
        if let Phase::Running = self.phase {
            let late = self.deadline.is_some_and(|deadline| deadline <= now);
            if self.ended.is_some() {
                self.begin_draining(now);
            } else if self.port.check().is_err() {
                self.begin_ending(ExecEnd::Cancelled, spawner, now);
            } else if late {
                self.begin_ending(ExecEnd::TimedOut, spawner, now);
            }
        }
        if let Phase::Ending { kill_at, look_at } = self.phase {
            if kill_at <= now {
                self.phase = Phase::Killing {
                    since: now,
                    look_at: now,
                };
            } else if look_at <= now {
                let left = spawner
                    .processes()
                    .map_or(1, |all| self.family.members(&all).len());
                if left == 0 && self.ended.is_some() {
                    self.begin_draining(now);
                } else {
                    self.phase = Phase::Ending {
                        kill_at,
                        look_at: now + ENDING_TICK,
                    };
                }
            }
        }
        if let Phase::Killing { since, look_at } = self.phase
            && look_at <= now
        {
            let left = self.family.kill(spawner);
            if self.ended.is_none() {
                super::family::send(self.child.pid, Signal::KILL);
            }
            let stuck = now.saturating_duration_since(since) >= KILL_LIMIT;
            if (left == 0 && self.ended.is_some()) || stuck {
                self.begin_draining(now);
            } else {
                self.phase = Phase::Killing {
                    since,
                    look_at: Instant::now() + ENDING_TICK / 5,
                };
            }
        }
        if let Phase::Draining { quiet_at, limit } = self.phase {
            let closed = match &self.outlet {
                Outlet::Pipes(pipes) => pipes.spools.iter().all(|spool| spool.pipe().is_none()),
                Outlet::Terminal(terminal) => terminal.is_closed(),
            };
            if closed || quiet_at <= now || limit <= now || self.port.check().is_err() {
                self.phase = Phase::Sending;
            }
        }
        self.pump(buffer);
        if let Phase::Sending = self.phase {
            let sent = match &self.outlet {
                Outlet::Pipes(pipes) => pipes.spools.iter().all(Spool::is_sent),
                Outlet::Terminal(terminal) => terminal.is_sent(),
            };
            self.over = sent || self.port.check().is_err();
        }
        self.over
    }

    fn begin_ending(&mut self, end: ExecEnd, spawner: &dyn Spawner, now: Instant) {
        let cancelled = end == ExecEnd::Cancelled;
        self.end = Some(end);
        let grace = match &mut self.outlet {
            Outlet::Pipes(_) => {
                self.family.signal(spawner, Signal::TERM);
                if cancelled { CANCEL_GRACE } else { self.grace }
            }
            Outlet::Terminal(terminal) => {
                self.family.only_session(cancelled);
                terminal.hang_up();
                // Whom the kernel does not tell; and who is stopped would not hear it.
                self.family.signal(spawner, Signal::HUP);
                self.family.signal(spawner, Signal::CONT);
                self.grace
            }
        };
        let kill_at = now.checked_add(grace).unwrap_or(now);
        self.phase = Phase::Ending {
            kill_at,
            look_at: now + ENDING_TICK,
        };
    }

    fn begin_draining(&mut self, now: Instant) {
        if let Outlet::Terminal(terminal) = &mut self.outlet {
            terminal.end();
        }
        self.phase = Phase::Draining {
            quiet_at: now + DRAIN_QUIET,
            limit: now + DRAIN_LIMIT,
        };
    }

    /// Sends output as far as the host and the link take it.
    pub(crate) fn pump(&mut self, buffer: &mut [u8]) {
        match &mut self.outlet {
            Outlet::Pipes(pipes) => {
                for spool in &mut pipes.spools {
                    while self.port.has_room() && spool.pump(&self.port, buffer) {}
                }
            }
            Outlet::Terminal(terminal) => terminal.pump(&self.port),
        }
    }

    /// Pipes, or the terminal, that processes left behind may write to. Closing them would end those processes.
    pub(crate) fn take_pipes(&mut self) -> impl Iterator<Item = OwnedFd> {
        let taken = match &mut self.outlet {
            Outlet::Pipes(pipes) => pipes.spools.each_mut().map(Spool::take_pipe),
            Outlet::Terminal(terminal) => [terminal.take(), None],
        };
        taken.into_iter().flatten()
    }

    /// What there is to say about it, given all processes of the sandbox.
    pub(crate) fn report(&mut self, world: &World, all: &[Process]) -> ExecReport {
        self.family.only_session(false);
        let left = self.family.members(all).len();
        let [stdout, stderr] = match &self.outlet {
            Outlet::Pipes(pipes) => pipes.reports(world, &self.port),
            Outlet::Terminal(terminal) => [terminal.report(), Terminal::nothing()],
        };
        let ended = self.ended;
        let end = self
            .end
            .take()
            .unwrap_or_else(|| match ended.and_then(|ended| ended.code) {
                Some(code) => ExecEnd::Exited { code },
                None => ExecEnd::Signalled {
                    signal: ended.map_or(libc::SIGKILL, |ended| ended.signal),
                    reason: self.reason.map(str::to_owned),
                },
            });
        ExecReport {
            end,
            duration_us: micros(self.ran),
            max_rss_kib: ended.map_or(0, |ended| ended.max_rss_kib),
            cpu_us: ended.map_or(0, |ended| ended.cpu_us),
            stdout,
            stderr,
            left_running: u32::try_from(left).unwrap_or(u32::MAX),
            limit: self.reason.map(str::to_owned),
        }
    }
}

impl Pipes {
    /// The pipes, and the ends of them for the program.
    fn open(
        world: &World,
        port: &Arc<Port>,
        op: &ExecRun,
    ) -> std::io::Result<(Self, [OwnedFd; 3])> {
        let kept = (op.spool_limit, op.unnamed);
        let (out, theirs_out) = Spool::open(world, port, STREAM_OUTPUT, kept)?;
        let (err, theirs_err) = Spool::open(world, port, STREAM_ERRORS, kept)?;
        let (theirs_in, stdin) = if op.stdin {
            let (theirs, ours) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
            rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
            world.own(&theirs)?;
            (theirs, Some(ours))
        } else {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let null = rustix::fs::open("/dev/null", flags, Mode::empty())?;
            (null, None)
        };
        let pipes = Self {
            spools: [out, err],
            stdin,
            pending: Vec::new(),
            written: 0,
        };
        Ok((pipes, [theirs_in, theirs_out, theirs_err]))
    }

    fn hungry(&self, port: &Port) -> Option<BorrowedFd<'_>> {
        let waiting = self.written < self.pending.len() || port.has_input();
        self.stdin.as_ref().filter(|_| waiting).map(AsFd::as_fd)
    }

    fn feed(&mut self, port: &Port) {
        loop {
            if self.written == self.pending.len() {
                match port.next_input() {
                    Some(chunk) => (self.pending, self.written) = (chunk, 0),
                    None => break,
                }
            }
            let rest = &self.pending[self.written..];
            let count = match &self.stdin {
                // Nobody reads it: it is as good as read.
                None => rest.len(),
                Some(pipe) => match rustix::io::write(pipe, rest) {
                    Ok(count) => count,
                    Err(Errno::AGAIN) => return,
                    Err(Errno::INTR) => 0,
                    Err(_) => {
                        self.stdin = None;
                        0
                    }
                },
            };
            self.written += count;
            port.consumed(count);
        }
        if port.input_over() {
            self.stdin = None;
        }
    }

    fn reports(&self, world: &World, port: &Port) -> [StreamReport; 2] {
        let [out, err] = &self.spools;
        [out.report(world, port), err.report(world, port)]
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
