//! A tree that nobody writes to for a while: programs are paused for a mark, and ended for a reset.

use crate::calls::family::send;
use crate::serve::port::Port;
use crate::spawn::{Lookout, Process};
use crate::tree::refusal;
use pyro_protocol::message::{Failure, FailureCode};
use rustix::process::Signal;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long programs may take to stop: one that waits for a disk stops when the disk has answered.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// How long programs may take to end after KILL.
const END_LIMIT: Duration = Duration::from_secs(10);
/// Programs that do not stop for so long wait for somebody who was stopped.
const STUCK: Duration = Duration::from_millis(20);
/// So many looks at first, nobody is stopped before its parent is.
const ORDERLY: u32 = 50;
/// Between two looks.
const TICK: Duration = Duration::from_millis(1);

/// Whether somebody needs the tree for itself, and how to see who would write to it.
pub(crate) struct Quiet {
    taken: AtomicBool,
    lookout: Lookout,
}

impl fmt::Debug for Quiet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Quiet")
            .field("taken", &self.taken)
            .finish_non_exhaustive()
    }
}

/// Nobody else begins to write while this is held; paused programs go on when it is dropped.
#[derive(Debug)]
pub(crate) struct Hush<'a> {
    quiet: &'a Quiet,
    stopped: BTreeSet<(i32, u64)>,
}

impl Quiet {
    pub(crate) fn new(lookout: Lookout) -> Self {
        Self {
            taken: AtomicBool::new(false),
            lookout,
        }
    }

    /// Whether programs and write sets have to wait for another time.
    ///
    /// # Errors
    /// Where they have to.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        if self.taken.load(Ordering::Acquire) {
            let message = "change the tree: it is being marked or put back";
            return Err(refusal(FailureCode::Conflict, message));
        }
        Ok(())
    }

    /// Takes the tree for itself.
    ///
    /// # Errors
    /// Where somebody else has it.
    pub(crate) fn hush(&self) -> Result<Hush<'_>, Failure> {
        self.check()?;
        self.taken.store(true, Ordering::Release);
        Ok(Hush {
            quiet: self,
            stopped: BTreeSet::new(),
        })
    }

    fn all(&self) -> Result<Vec<Process>, Failure> {
        (self.lookout)().map_err(|error| super::agent_failure("look at the programs", &error))
    }
}

impl Hush<'_> {
    /// Pauses every program; how many there are. Those that were paused already stay so afterwards.
    ///
    /// Parents first: a shell that sees its child stop takes it for a job that somebody put into the background.
    ///
    /// # Errors
    /// Where one of them does not stop.
    pub(crate) fn pause(&mut self, port: &Port) -> Result<u32, Failure> {
        let deadline = Instant::now() + STOP_LIMIT;
        let mut moved = Instant::now();
        let mut least = usize::MAX;
        for look in 0.. {
            port.check()?;
            let all = self.quiet.all()?;
            let runs: HashSet<i32> = (all.iter())
                .filter(|process| !process.stopped)
                .map(|process| process.pid)
                .collect();
            let running = runs.len();
            for process in all.iter().filter(|process| !process.stopped) {
                // Not for ever: there may always be another generation.
                if look < ORDERLY && runs.contains(&process.parent) {
                    continue;
                }
                // Once is enough, unless somebody lets it go on.
                self.stopped.insert((process.pid, process.started));
                send(process.pid, Signal::STOP);
            }
            if running == 0 {
                return Ok(u32::try_from(all.len()).unwrap_or(u32::MAX));
            }
            if running < least {
                (least, moved) = (running, Instant::now());
            } else if moved.elapsed() >= STUCK {
                // A parent in vfork(2) stops only once its child has executed or ended, and the child was stopped before
                // that. Each gets on a little way, and is stopped again by the next look.
                self.go_on(&all);
                (least, moved) = (usize::MAX, Instant::now());
            }
            if Instant::now() >= deadline {
                let message = format!("pause the programs: {running} of them do not stop");
                return Err(refusal(FailureCode::Io, message));
            }
            std::thread::sleep(TICK);
        }
        unreachable!("there are more looks than time")
    }

    /// Lets those go on that were stopped here, children first. A process id may have a new owner by now: only who is
    /// still the same.
    fn go_on(&self, all: &[Process]) {
        let parents: HashMap<i32, i32> = (all.iter())
            .map(|process| (process.pid, process.parent))
            .collect();
        let depth = |process: &Process| {
            let mut above = process.parent;
            let mut depth = 0;
            while let Some(parent) = parents.get(&above)
                && depth < all.len()
            {
                (above, depth) = (*parent, depth + 1);
            }
            depth
        };
        let mut all: Vec<&Process> = all.iter().collect();
        all.sort_by_cached_key(|process| std::cmp::Reverse(depth(process)));
        for process in all {
            if self.stopped.contains(&(process.pid, process.started)) {
                send(process.pid, Signal::CONT);
            }
        }
    }

    /// Ends every program; how many there were.
    ///
    /// # Errors
    /// Where one of them does not end.
    pub(crate) fn end(&mut self, port: &Port) -> Result<u32, Failure> {
        let deadline = Instant::now() + END_LIMIT;
        let mut seen = BTreeSet::new();
        loop {
            port.check()?;
            let all = self.quiet.all()?;
            if all.is_empty() {
                return Ok(u32::try_from(seen.len()).unwrap_or(u32::MAX));
            }
            if Instant::now() >= deadline {
                let message = format!("end the programs: {} of them live on", all.len());
                return Err(refusal(FailureCode::Io, message));
            }
            // Stopped first: what is stopped starts no others, so that a fork bomb ends.
            for signal in [Signal::STOP, Signal::KILL] {
                for process in &all {
                    seen.insert((process.pid, process.started));
                    send(process.pid, signal);
                }
            }
            std::thread::sleep(TICK);
        }
    }
}

impl Drop for Hush<'_> {
    fn drop(&mut self) {
        if !self.stopped.is_empty() {
            self.go_on(&self.quiet.all().unwrap_or_default());
        }
        self.quiet.taken.store(false, Ordering::Release);
    }
}
