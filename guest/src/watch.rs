//! Limits that no kernel mechanism enforces here: memory of all processes together, and disk.

use crate::calls::World;
use crate::calls::walk::{self, Depth};
use crate::spawn::Process;
use crate::tree;
use pyro_protocol::boot::Limits;
use pyro_protocol::message::Kind;
use std::time::{Duration, Instant};

/// How often memory is looked at while a program runs.
const MEMORY_TICK: Duration = Duration::from_millis(250);
/// How often the disk is looked at while a program runs.
const DISK_TICK: Duration = Duration::from_secs(1);
/// How often the run's folder is counted even if the disk shows no growth: others may be freeing what we fill.
const COUNT_TICK: Duration = Duration::from_secs(5);
/// Paths beyond the baseline's that are counted at most when the disk's own figures cannot tell who fills it. Who
/// makes more while the disk fills is taken to be the one who fills it.
const COUNT_LIMIT: usize = 500_000;
/// Descriptors of programs that are looked at for files without a name.
const OPEN_LIMIT: usize = 200_000;
/// Of the disk's inodes, one in so many is left to others, and never more than this number.
const INODE_SHARE: u64 = 50;
const INODES_LEFT: u64 = 20_000;

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
    count_at: Instant,
    /// The most that was free at any time.
    most_free: u64,
    inodes_at_start: u64,
    memory_at_start: Memory,
}

/// What the disk says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Disk {
    /// Within the limits.
    Fine,
    /// Something may have grown beyond the limit; whether it is ours takes counting.
    Grown,
    /// Nearly full.
    Full,
}

impl Watch {
    pub(crate) fn new(limits: Limits, world: &World) -> Self {
        let now = Instant::now();
        let free = Free::of(world).unwrap_or_default();
        Self {
            limits,
            memory_at: now,
            disk_at: now,
            count_at: now + COUNT_TICK,
            most_free: free.bytes,
            inodes_at_start: free.inodes,
            memory_at_start: Memory::now().unwrap_or_default(),
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

    /// Whether the machine runs out of memory, and more has gone since the start than the sandbox may have: files of
    /// memory, segments and buffers that no process maps are in no sum of processes.
    pub(crate) fn memory_is_gone(&self) -> bool {
        Memory::now().is_some_and(|now| now.is_gone(self.memory_at_start, self.limits.memory))
    }

    /// Looks at the disk when it is due.
    pub(crate) fn disk(&mut self, world: &World, now: Instant) -> Disk {
        if self.disk_at > now {
            return Disk::Fine;
        }
        self.disk_at = now + DISK_TICK;
        let Some(free) = Free::of(world) else {
            return Disk::Fine;
        };
        let few_inodes = free.inodes < free.inodes_reserve
            && self.inodes_at_start.saturating_sub(free.inodes) > free.inodes_reserve;
        self.most_free = self.most_free.max(free.bytes);
        if free.bytes < self.limits.disk_reserve || few_inodes {
            Disk::Full
        } else if self.most_free - free.bytes > self.limits.disk || self.count_at <= now {
            self.count_at = now + COUNT_TICK;
            Disk::Grown
        } else {
            Disk::Fine
        }
    }

    /// The limit for what a run adds.
    pub(crate) fn disk_limit(&self) -> u64 {
        self.limits.disk
    }
}

/// What the machine has left.
#[derive(Debug, Clone, Copy, Default)]
struct Memory {
    total: u64,
    available: u64,
}

impl Memory {
    fn now() -> Option<Self> {
        Self::parse(&std::fs::read_to_string("/proc/meminfo").ok()?)
    }

    fn parse(text: &str) -> Option<Self> {
        let kib = |key: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.split_whitespace().next()?.parse::<u64>().ok()
        };
        Some(Self {
            total: kib("MemTotal:")? << 10,
            available: kib("MemAvailable:")? << 10,
        })
    }

    fn is_gone(self, at_start: Self, limit: u64) -> bool {
        let least = (self.total / 32).min(512 << 20);
        self.available < least && at_start.available.saturating_sub(self.available) > limit
    }
}

/// What the disk has left.
#[derive(Debug, Clone, Copy, Default)]
struct Free {
    bytes: u64,
    inodes: u64,
    /// 0 where the file system does not count them.
    inodes_reserve: u64,
}

impl Free {
    fn of(world: &World) -> Option<Self> {
        let disk = rustix::fs::fstatvfs(&world.run_dir).ok()?;
        Some(Self {
            bytes: disk.f_bavail.saturating_mul(disk.f_frsize),
            inodes: disk.f_favail,
            inodes_reserve: (disk.f_files / INODE_SHARE).min(INODES_LEFT),
        })
    }
}

/// Whether the run's own folder has grown by more than `limit` bytes since its baseline. What cannot be counted (too
/// many paths, or too deep for a path) counts as too much: there is no other reason to hide it while the disk fills.
pub(crate) fn has_grown(world: &World, limit: u64) -> bool {
    let mut count = 0usize;
    let (size, entries) = baseline(world);
    let allowed = limit.saturating_add(size);
    let mut used = nameless(world);
    let mut hidden = false;
    let done = walk::walk(&world.run_dir, Depth::All, &mut |found| {
        match found.kind {
            Kind::File => used = used.saturating_add(occupied(found.stat)),
            Kind::Directory => hidden |= found.path.len() + NAME_MAX > tree::PATH_MAX,
            Kind::Symlink | Kind::Other => {}
        }
        count += 1;
        hidden |= count.saturating_sub(entries) > COUNT_LIMIT;
        // Any failure ends the walk.
        if used > allowed || hidden {
            Err(walk::stop())
        } else {
            Ok(())
        }
    });
    drop(done);
    used > allowed || hidden
}

/// The longest name in a directory, with its slash.
const NAME_MAX: usize = 256;

fn occupied(stat: &rustix::fs::Stat) -> u64 {
    u64::try_from(stat.st_blocks)
        .unwrap_or(0)
        .saturating_mul(512)
}

/// Bytes in files of the disk that programs have open and nobody can find by name any more.
fn nameless(world: &World) -> u64 {
    let Ok(disk) = rustix::fs::fstat(&world.run_dir) else {
        return 0;
    };
    let mut seen = std::collections::BTreeMap::new();
    let mut left = OPEN_LIMIT;
    for process in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        // Entries that are no processes have no descriptors.
        let Ok(entries) = std::fs::read_dir(process.path().join("fd")) else {
            continue;
        };
        for entry in entries.flatten() {
            if left == 0 {
                break;
            }
            left -= 1;
            let Ok(stat) = rustix::fs::stat(entry.path()) else {
                continue;
            };
            if stat.st_nlink == 0 && stat.st_dev == disk.st_dev && tree::kind(&stat) == Kind::File {
                seen.insert(stat.st_ino, occupied(&stat));
            }
        }
    }
    seen.into_values().fold(0, u64::saturating_add)
}

/// Bytes and paths of the baseline.
fn baseline(world: &World) -> (u64, usize) {
    let entries = walk::baseline(world)
        .map(|manifest| manifest.entries)
        .unwrap_or_default();
    let size = entries.iter().fold(0u64, |sum, entry| {
        sum.saturating_add(entry.size.next_multiple_of(4096))
    });
    (size, entries.len())
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn memory_is_gone_when_little_is_left_and_much_was_taken() {
        let memory = |available: u64| {
            let text =
                format!("MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: {available} kB\n");
            Memory::parse(&text).expect("parses")
        };
        let (much, little) = (memory(6 << 20), memory(200 << 10));
        assert!(little.is_gone(much, 4 << 30));
        assert!(!much.is_gone(much, 4 << 30));
        assert!(
            !little.is_gone(memory(400 << 10), 4 << 30),
            "it was so before"
        );
        assert!(!memory(300 << 10).is_gone(much, 4 << 30), "enough is left");
        assert!(Memory::parse("MemTotal: 1 kB\n").is_none());
    }
}
