//! The contents that marks keep, one after the other in two files: the host's with the baseline, and the marks' own.
//!
//! Where something lies in it never changes: what no mark needs any more becomes a hole.

use super::World;
use super::store::{Place, folder, open};
use pyro_protocol::manifest::Entry;
use rustix::fs::{self, FallocateFlags, Mode, OFlags};
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};

/// The contents that marks keep.
#[derive(Debug)]
pub(crate) struct Pack {
    ours: File,
    end: u64,
    /// Bytes that are no hole.
    used: u64,
    baseline: Option<File>,
    limit: u64,
}

impl Pack {
    /// Opens both packs; ours is made where it is missing.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn open(world: &World) -> io::Result<Self> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let ours = fs::openat(folder(world)?, "pack", flags, Mode::RUSR | Mode::WUSR)?;
        let ours = File::from(ours);
        let metadata = ours.metadata()?;
        Ok(Self {
            end: metadata.len(),
            used: metadata.len().min(metadata.blocks().saturating_mul(512)),
            ours,
            baseline: open(&world.run_dir, "pack")?,
            limit: world.disk_limit(),
        })
    }

    /// Where the next contents begin.
    pub(crate) fn end(&self) -> Place {
        Place::Ours(self.end)
    }

    /// Adds a piece of contents.
    ///
    /// # Errors
    /// What the kernel says; no room where marks are as large as a run may be.
    pub(crate) fn add(&mut self, piece: &[u8]) -> io::Result<()> {
        if self.used.saturating_add(piece.len() as u64) > self.limit {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.ours.write_all_at(piece, self.end)?;
        self.end += piece.len() as u64;
        self.used += piece.len() as u64;
        Ok(())
    }

    /// Forgets what was added since `place`.
    pub(crate) fn truncate(&mut self, place: Place) {
        if let Place::Ours(end) = place {
            self.used = self.used.saturating_sub(self.end.saturating_sub(end));
            self.end = end;
            let _ = self.ours.set_len(end);
        }
    }

    /// Gives back the room of all that lies outside of `needed`, which are sorted and apart from each other. Best effort:
    /// a file system without holes keeps them.
    pub(crate) fn release(&mut self, needed: &[(u64, u64)]) {
        let mut free_from = 0;
        for &(begin, end) in needed {
            if begin > free_from {
                let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
                let _ = fs::fallocate(&self.ours, flags, free_from, begin - free_from);
            }
            free_from = end;
        }
        if free_from < self.end {
            self.truncate(Place::Ours(free_from));
        }
    }

    /// Reads a piece of the contents of an entry, from `at` on.
    ///
    /// # Errors
    /// Where they were not kept, or the kernel refuses.
    pub(crate) fn read(&self, entry: &Entry, at: u64, into: &mut [u8]) -> io::Result<()> {
        match (Place::of(entry), &self.baseline) {
            (Place::Ours(offset), _) => self.ours.read_exact_at(into, offset + at),
            (Place::Baseline(offset), Some(pack)) => pack.read_exact_at(into, offset + at),
            (Place::Baseline(_), None) | (Place::Nowhere, _) => {
                Err(io::Error::other("its contents were not kept"))
            }
        }
    }
}
