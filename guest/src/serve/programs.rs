//! All programs that run: what the loop polls for them, their limits, and the pipes they left behind.

use crate::calls::World;
use crate::calls::exec::{Exec, Start};
use crate::calls::family::send;
use crate::serve::port::Port;
use crate::spawn::{Process, Spawner};
use crate::tree::refusal;
use crate::watch::{DISK, Disk, MEMORY, Watch};
use pyro_protocol::message::{ExecReport, ExecRun, Failure, FailureCode, TerminalSize};
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Programs at the same time; each takes up to six descriptors.
const MAX_PROGRAMS: usize = 128;
/// Pipes of background processes that are kept open, so that a daemon does not end of a closed one.
const MAX_LEFT: usize = 256;
/// For how long programs are given KILL when the link has ended. After that the sandbox itself ends.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Whose descriptor is ready.
#[derive(Debug, Clone, Copy)]
pub(super) enum Token {
    /// The program has ended.
    End(u64),
    /// One of its output pipes: 0 or 1.
    Output(u64, usize),
    /// Its input pipe has room.
    Input,
    /// A pipe that was left behind.
    Left(usize),
}

/// The programs, by the number of their call.
#[derive(Debug, Default)]
pub(super) struct Programs {
    running: BTreeMap<u64, Exec>,
    left: Vec<Option<OwnedFd>>,
    /// Whether the sandbox may hold processes although no program runs.
    crowded: bool,
    counting: bool,
}

impl Programs {
    /// Starts a program; the report where it never ran.
    pub(super) fn start(
        &mut self,
        world: &World,
        spawner: &mut dyn Spawner,
        serial: u64,
        port: &Arc<Port>,
        run: &ExecRun,
        watch: &mut Watch,
    ) -> Result<Option<ExecReport>, Failure> {
        world.quiet.check()?;
        if self.running.len() >= MAX_PROGRAMS {
            return Err(refusal(
                FailureCode::TooLarge,
                "run a program: too many are running",
            ));
        }
        let alone = !self.running.values().any(Exec::is_live);
        // An empty sandbox need not be looked at: this is what a short command spends its time on.
        let before: Vec<Process> = if alone && !self.crowded {
            Vec::new()
        } else {
            spawner
                .processes()
                .map_err(|error| crate::calls::agent_failure("run a program", &error))?
        };
        for exec in self.running.values_mut().filter(|exec| exec.is_live()) {
            exec.family().has_company(&before);
        }
        match Exec::start(world, spawner, port, run, &before, alone)? {
            Start::Over(report) => Ok(Some(report)),
            Start::Running(exec) => {
                // With others about the watch goes on as it is: many short programs must not put it off for ever.
                if alone && !self.crowded {
                    watch.begin(Instant::now());
                }
                self.crowded = true;
                self.running.insert(serial, *exec);
                Ok(None)
            }
        }
    }

    /// Changes the size of a program's terminal; whether it has one.
    pub(super) fn resize(&self, serial: u64, size: TerminalSize) -> bool {
        let exec = self.running.get(&serial);
        exec.is_some_and(|exec| exec.resize(size))
    }

    /// What to poll for.
    pub(super) fn interests<'a>(&'a self, fds: &mut Vec<PollFd<'a>>, tokens: &mut Vec<Token>) {
        let mut add = |fd, flags, token| {
            fds.push(PollFd::from_borrowed_fd(fd, flags));
            tokens.push(token);
        };
        for (&serial, exec) in &self.running {
            if let Some(fd) = exec.pidfd() {
                add(fd, PollFlags::IN, Token::End(serial));
            }
            for which in 0..2 {
                if let Some(fd) = exec.pipe(which) {
                    add(fd, PollFlags::IN, Token::Output(serial, which));
                }
            }
            if let Some(fd) = exec.hungry() {
                add(fd, PollFlags::OUT, Token::Input);
            }
        }
        for (index, pipe) in self.left.iter().enumerate() {
            if let Some(pipe) = pipe {
                add(
                    std::os::fd::AsFd::as_fd(pipe),
                    PollFlags::IN,
                    Token::Left(index),
                );
            }
        }
    }

    /// Deals with what is ready. Input is moved by [`Programs::step`].
    pub(super) fn ready(
        &mut self,
        world: &World,
        ready: &[Token],
        buffer: &mut [u8],
        now: Instant,
    ) {
        for token in ready {
            match *token {
                Token::End(serial) => {
                    if let Some(exec) = self.running.get_mut(&serial) {
                        exec.reap();
                    }
                }
                Token::Output(serial, which) => {
                    if let Some(exec) = self.running.get_mut(&serial) {
                        exec.drain(world, which, buffer, now);
                    }
                }
                Token::Input => {}
                Token::Left(index) => {
                    let Some(slot) = self.left.get_mut(index) else {
                        continue;
                    };
                    let Some(pipe) = slot else { continue };
                    match rustix::io::read(&*pipe, &mut *buffer) {
                        Ok(count) if count > 0 => {}
                        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                        Ok(_) | Err(_) => *slot = None,
                    }
                }
            }
        }
        while self.left.last().is_some_and(Option::is_none) {
            self.left.pop();
        }
    }

    /// Moves every program on; the reports of those that are over.
    pub(super) fn step(
        &mut self,
        world: &World,
        spawner: &mut dyn Spawner,
        buffer: &mut [u8],
        now: Instant,
    ) -> Vec<(u64, ExecReport)> {
        let mut over = Vec::new();
        for (&serial, exec) in &mut self.running {
            if exec.step(&*spawner, now, buffer) {
                over.push(serial);
            }
        }
        let mut reports = Vec::new();
        for serial in over {
            let Some(mut exec) = self.running.remove(&serial) else {
                continue;
            };
            let all = if self.running.is_empty() && spawner.is_empty() {
                Some(Vec::new())
            } else {
                spawner.processes().ok()
            };
            // Whoever of the family it was: also a child whose end the program took no notice of.
            if spawner.memory_kills() > exec.kills_before() {
                exec.note_killed(MEMORY);
            }
            let report = exec.report(world, all.as_deref().unwrap_or_default());
            for pipe in exec.take_pipes() {
                match self.left.iter().position(Option::is_none) {
                    Some(free) => self.left[free] = Some(pipe),
                    None if self.left.len() < MAX_LEFT => self.left.push(Some(pipe)),
                    None => {}
                }
            }
            if self.running.is_empty() {
                self.crowded = all.is_none_or(|all| !all.is_empty());
            }
            reports.push((serial, report));
        }
        reports
    }

    /// Whether a program, or what it started, may run.
    pub(super) fn any_live(&self) -> bool {
        self.running.values().any(Exec::is_live)
    }

    /// Whether anything may run, of programs that are over as well.
    pub(super) fn any_company(&self) -> bool {
        self.crowded || self.any_live()
    }

    /// When the next step is due.
    pub(super) fn next_step(&self) -> Option<Instant> {
        self.running.values().filter_map(Exec::next_step).min()
    }

    /// The children that are not to be reaped by others.
    pub(super) fn pids(&self) -> Vec<i32> {
        self.running.values().filter_map(Exec::pid).collect()
    }

    /// Looks at the limits when it is time; the disk limit, where the disk must be counted.
    pub(super) fn watch(
        &mut self,
        world: &World,
        spawner: &dyn Spawner,
        watch: &mut Watch,
        now: Instant,
    ) -> Option<u64> {
        if watch.memory_due(now)
            && let Ok(all) = spawner.processes()
        {
            let large = watch.too_large(&all);
            for exec in self.running.values_mut().filter(|exec| exec.is_live()) {
                // Also keeps the family's record up to date.
                exec.family().members(&all);
                if large
                    .as_ref()
                    .is_some_and(|process| exec.family().has(process))
                {
                    exec.note_killed(MEMORY);
                }
            }
            if let Some(process) = large {
                send(process.pid, Signal::KILL);
            } else if watch.memory_is_gone() {
                self.kill_all(MEMORY, spawner, now);
            }
            if self.running.is_empty() {
                self.crowded = !all.is_empty();
            }
        }
        match watch.disk(world, now) {
            Disk::Fine => None,
            Disk::Full => {
                self.kill_all(DISK, spawner, now);
                None
            }
            Disk::Grown => {
                (!std::mem::replace(&mut self.counting, true)).then(|| watch.disk_limit())
            }
        }
    }

    /// The disk was counted.
    pub(super) fn counted(&mut self, grown: bool, spawner: &dyn Spawner, now: Instant) {
        self.counting = false;
        if grown {
            self.kill_all(DISK, spawner, now);
        }
    }

    /// Also what programs left behind that are over: it may be what fills disk or memory, and is nobody's family any more.
    fn kill_all(&mut self, limit: &'static str, spawner: &dyn Spawner, now: Instant) {
        for exec in self.running.values_mut() {
            exec.kill_for(limit, now);
        }
        for process in spawner.processes().unwrap_or_default() {
            send(process.pid, Signal::KILL);
        }
    }

    /// Ends all programs without asking, as far as that goes in a short time.
    pub(super) fn end_all(&mut self, spawner: &dyn Spawner) {
        let started = Instant::now();
        for exec in self.running.values_mut() {
            while started.elapsed() < END_LIMIT {
                exec.reap();
                if exec.family().kill(spawner) == 0 && exec.pid().is_none() {
                    break;
                }
                if let Some(pid) = exec.pid() {
                    send(pid, Signal::KILL);
                }
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }
}
