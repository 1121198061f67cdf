//! Limits that no kernel mechanism enforces here: memory of all processes together, and disk.

use crate::calls::World;
use crate::calls::walk::{self, Depth};
use crate::spawn::Process;
use pyro_protocol::boot::Limits;
use pyro_protocol::message::Kind;
use std::time::{Duration, Instant};

/// How often memory is looked at while a program runs.
const MEMORY_TICK: Duration = Duration::from_millis(250);
/// How often the disk is looked at while a program runs.
const DISK_TICK: Duration = Duration::from_secs(1);
/// Paths that are counted at most when the disk's own figures cannot tell who fills it.
const COUNT_LIMIT: usize = 500_000;

/// Why a process was ended.
pub(crate) const MEMORY: &str = "memory limit";
/// Why a program was ended.
pub(crate) const DISK: &str = "disk limit";

/// When to look, and what was there at the start.
#[derive(Debug)]
pub(crate) struct Watch {
    limits: Limits,
    memory_at: Instant,
    disk_at: Instant,
    free_at_start: u64,
}

/// What the disk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    /// Within the limits.
    Fine,
    /// Something has grown beyond the limit; whether it is ours takes counting.
    Grown,
    /// Nearly full.
    Full,
}

impl Watch {
    pub(crate) fn new(limits: Limits, world: &World) -> Self {
        let now = Instant::now();
        Self {
            limits,
            memory_at: now,
            disk_at: now,
            free_at_start: free(world).unwrap_or(0),
        }
    }

    /// A program starts: look soon.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.memory_at = now + MEMORY_TICK;
        self.disk_at = now + MEMORY_TICK;
    }

    /// When the next look is due.
    pub(crate) fn next(&self) -> Instant {
        self.memory_at.min(self.disk_at)
    }

    /// Whether memory is due.
    pub(crate) fn memory_due(&mut self, now: Instant) -> bool {
        let due = self.memory_at <= now;
        if due {
            self.memory_at = now + MEMORY_TICK;
        }
        due
    }

    /// Which process must go for its memory, if one must.
    pub(crate) fn too_large(&self, all: &[Process]) -> Option<Process> {
        let sum = all
            .iter()
            .fold(0u64, |sum, process| sum.saturating_add(process.memory));
        all.iter()
            .max_by_key(|process| process.memory)
            .filter(|_| sum > self.limits.memory)
            .copied()
    }

    /// Looks at the disk when it is due.
    pub(crate) fn disk(&mut self, world: &World, now: Instant) -> Disk {
        if self.disk_at > now {
            return Disk::Fine;
        }
        self.disk_at = now + DISK_TICK;
        match free(world) {
            Some(free) if free < self.limits.disk_reserve => Disk::Full,
            Some(free) if self.free_at_start.saturating_sub(free) > self.limits.disk => Disk::Grown,
            Some(_) | None => Disk::Fine,
        }
    }

    /// The limit for what a run adds.
    pub(crate) fn disk_limit(&self) -> u64 {
        self.limits.disk
    }
}

fn free(world: &World) -> Option<u64> {
    let disk = rustix::fs::fstatvfs(&world.run_dir).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Whether the run's own folder has grown by more than `limit` bytes since its baseline. Bounded: what it does not
/// reach in a very large tree does not count.
pub(crate) fn has_grown(world: &World, limit: u64) -> bool {
    let mut used = 0u64;
    let mut count = 0usize;
    let allowed = limit.saturating_add(baseline_size(world));
    let done = walk::walk(&world.run_dir, Depth::All, &mut |found| {
        if found.kind == Kind::File {
            used = used.saturating_add(
                u64::try_from(found.stat.st_blocks)
                    .unwrap_or(0)
                    .saturating_mul(512),
            );
        }
        count += 1;
        // Any failure ends the walk.
        if used > allowed || count > COUNT_LIMIT {
            Err(walk::stop())
        } else {
            Ok(())
        }
    });
    drop(done);
    used > allowed
}

fn baseline_size(world: &World) -> u64 {
    let entries = walk::baseline(world)
        .map(|manifest| manifest.entries)
        .unwrap_or_default();
    entries.iter().fold(0, |sum, entry| {
        sum.saturating_add(entry.size.next_multiple_of(4096))
    })
}
