//! Which processes a program has started, and ending all of them.

use crate::spawn::{Process, Spawner};
use rustix::process::{Pid, Signal};
use std::collections::HashSet;

/// Rounds of stopping before the killing starts. A stopped process starts no others, so a fork bomb shrinks.
const STOP_ROUNDS: u32 = 50;

/// A process for good: its id and when it started.
type Name = (i32, u64);

/// The processes of one program.
#[derive(Debug)]
pub(crate) struct Family {
    leader: i32,
    /// Were there before.
    before: HashSet<Name>,
    /// Seen as ours once: they stay ours when their parents are gone.
    ours: HashSet<Name>,
    /// Whether no other program ran at any time since the start: then all that is new is ours.
    alone: bool,
    /// Whether those that made a session of their own are left alone for now.
    only_session: bool,
}

impl Family {
    pub(crate) fn new(leader: i32, before: &[Process], alone: bool) -> Self {
        Self {
            leader,
            before: before
                .iter()
                .map(|process| (process.pid, process.started))
                .collect(),
            ours: HashSet::new(),
            alone,
            only_session: false,
        }
    }

    /// From now on only the session of the program counts, or again everybody.
    pub(crate) fn only_session(&mut self, only: bool) {
        self.only_session = only;
    }

    /// Another program is about to run beside this one; all there is now is still ours.
    pub(crate) fn has_company(&mut self, all: &[Process]) {
        if self.alone {
            self.ours = self
                .everybody(all)
                .iter()
                .map(|process| (process.pid, process.started))
                .collect();
            self.alone = false;
        }
    }

    /// Picks ours out of all.
    pub(crate) fn members(&mut self, all: &[Process]) -> Vec<Process> {
        let mut members = self.everybody(all);
        if self.only_session {
            members.retain(|process| process.session == self.leader);
        }
        members
    }

    fn everybody(&mut self, all: &[Process]) -> Vec<Process> {
        let new = all
            .iter()
            .filter(|process| !self.before.contains(&(process.pid, process.started)));
        if self.alone {
            return new.copied().collect();
        }
        let mut new: Vec<Process> = new.copied().collect();
        // Sessions and parents of known members, until nobody is added: children may be listed before parents.
        let mut pids: HashSet<i32> = HashSet::from([self.leader]);
        loop {
            let before = self.ours.len();
            for process in &new {
                let name = (process.pid, process.started);
                if self.ours.contains(&name)
                    || [process.pid, process.parent, process.group, process.session]
                        .iter()
                        .any(|id| pids.contains(id))
                {
                    self.ours.insert(name);
                    pids.insert(process.pid);
                }
            }
            if self.ours.len() == before {
                break;
            }
        }
        let living: HashSet<Name> = new
            .iter()
            .map(|process| (process.pid, process.started))
            .collect();
        self.ours.retain(|name| living.contains(name));
        new.retain(|process| self.ours.contains(&(process.pid, process.started)));
        new
    }

    /// Whether it has this process, by the last look.
    pub(crate) fn has(&self, process: &Process) -> bool {
        let name = (process.pid, process.started);
        if self.alone {
            !self.before.contains(&name)
        } else {
            self.ours.contains(&name)
        }
    }

    /// Sends a signal to all of them; how many there were.
    pub(crate) fn signal(&mut self, spawner: &dyn Spawner, signal: Signal) -> usize {
        // Where /proc cannot be read, at least the program itself and its group.
        let Ok(all) = spawner.processes() else {
            send(self.leader, signal);
            return 1;
        };
        let members = self.members(&all);
        for process in &members {
            send(process.pid, signal);
        }
        members.len()
    }

    /// One round of ending all of them without asking: stop what runs until nobody is new, then kill. How many
    /// there were; 0 when they are gone.
    pub(crate) fn kill(&mut self, spawner: &dyn Spawner) -> usize {
        let mut stopped: HashSet<Name> = HashSet::new();
        for _ in 0..STOP_ROUNDS {
            let Ok(all) = spawner.processes() else { break };
            let members = self.members(&all);
            if members.len() <= 1 {
                break;
            }
            let mut fresh = false;
            for process in members {
                if stopped.insert((process.pid, process.started)) {
                    fresh = true;
                    send(process.pid, Signal::STOP);
                }
            }
            if !fresh {
                break;
            }
        }
        self.signal(spawner, Signal::KILL)
    }
}

/// Sends a signal to one process of the sandbox.
pub(crate) fn send(pid: i32, signal: Signal) {
    // Neither the init of our own namespace nor a group.
    if let Some(pid) = Pid::from_raw(pid).filter(|_| pid > 1) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}
