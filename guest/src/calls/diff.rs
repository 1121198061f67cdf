//! `tree.diff` and `tree.compare`: the tree against its baseline, or a mark.
//!
//! Both are in the order of whole paths, so one pass merges them. A path whose kind, mode, size, times and inode are
//! as recorded is not read: the status change time cannot be set from inside. Only what looks different, or was
//! changed in the same clock tick as the baseline, is compared by contents.

use super::list::line;
use super::store::{self, Mark, Which};
use super::walk::{self, Depth, Found};
use super::{World, agent_failure};
use crate::serve::port::Port;
use crate::serve::streams::{Output, Stoppable};
use crate::tree;
use pyro_protocol::Bytes;
use pyro_protocol::manifest::{Entry, Manifest};
use pyro_protocol::message::{Change, Failure, Kind, Records, Reply, TreeCompare, Version};

/// Changes within one clock tick cannot be told apart by time, in nanoseconds.
const TICK_NS: i64 = 20_000_000;

/// `tree.diff`: sends a line for each path that differs from the baseline.
///
/// # Errors
/// Where the baseline cannot be read, or the call should stop.
pub(super) fn baseline(world: &World, port: &Port) -> Result<Reply, Failure> {
    let baseline =
        walk::baseline(world).map_err(|error| agent_failure("read the baseline", &error))?;
    let latest = if world.latest().is_some() {
        store::latest(world, Which::Work).map_err(|error| super::mark::broken(&error))?
    } else {
        Mark::default()
    };
    tree(world, port, &baseline, &latest)
}

/// `tree.compare`: the same for a mark.
///
/// # Errors
/// Where there is no such mark, or the call should stop.
pub(super) fn mark(world: &World, port: &Port, op: &TreeCompare) -> Result<Reply, Failure> {
    let mark = super::mark::load(world, &op.with, Which::Work)?;
    let then = Manifest {
        complete_ns: mark.complete_ns,
        entries: (mark.paths.into_iter())
            .map(|known| known.entry)
            .filter(|entry| !entry.path.is_empty())
            .collect(),
    };
    let latest = if world.latest().is_some_and(|latest| latest != op.with) {
        store::latest(world, Which::Work).map_err(|error| super::mark::broken(&error))?
    } else {
        Mark::default()
    };
    tree(world, port, &then, &latest)
}

/// `latest` may know contents of paths that no longer are what they were by their times.
fn tree(world: &World, port: &Port, then: &Manifest, latest: &Mark) -> Result<Reply, Failure> {
    let trusted = then.complete_ns.saturating_sub(TICK_NS);
    let known = Latest {
        trusted: latest.complete_ns.saturating_sub(TICK_NS),
        mark: latest,
    };
    let mut old = then.entries.iter().peekable();
    let mut sink = Sink {
        output: Output::new(port),
        records: Records::default(),
    };
    walk::walk(&world.tree, Depth::All, &mut |found| {
        port.check()?;
        while let Some(gone) = old.next_if(|entry| entry.path.as_slice() < found.path) {
            sink.put(&gone.path, Some(before(gone)), None)?;
        }
        match old.next_if(|entry| entry.path == found.path) {
            None => sink.put(found.path, None, Some(after(world, port, found, &known))),
            Some(entry) if is_untouched(entry, found, trusted) => Ok(()),
            Some(entry) => {
                let (before, after) = (before(entry), after(world, port, found, &known));
                // The baseline knows a link's target by its digest only.
                if before
                    == (Version {
                        target: None,
                        ..after.clone()
                    })
                {
                    return Ok(());
                }
                sink.put(found.path, Some(before), Some(after))
            }
        }
    })?;
    for gone in old {
        sink.put(&gone.path, Some(before(gone)), None)?;
    }
    sink.output.finish()?;
    Ok(Reply::Records(sink.records))
}

struct Sink<'a> {
    output: Output<'a>,
    records: Records,
}

impl Sink<'_> {
    fn put(
        &mut self,
        path: &[u8],
        before: Option<Version>,
        after: Option<Version>,
    ) -> Result<(), Failure> {
        self.records.entries += 1;
        self.records.bytes += after
            .as_ref()
            .filter(|now| now.kind == Kind::File)
            .map_or(0, |now| now.size);
        line(
            &mut self.output,
            &Change {
                path: Bytes::from(path),
                before,
                after,
            },
        )
    }
}

fn is_untouched(entry: &Entry, found: &Found<'_>, trusted: i64) -> bool {
    let same = entry.kind == found.kind && entry.mode == tree::mode(found.stat);
    match found.kind {
        // What is in it has lines of its own.
        Kind::Directory => same,
        Kind::File | Kind::Symlink | Kind::Other => {
            same && entry.size == tree::size(found.stat)
                && entry.inode == found.stat.st_ino
                && entry.mtime_ns == tree::mtime_ns(found.stat)
                && entry.ctime_ns == tree::ctime_ns(found.stat)
                && entry.ctime_ns < trusted
        }
    }
}

/// What was seen of the tree by the latest mark or reset.
struct Latest<'a> {
    trusted: i64,
    mark: &'a Mark,
}

impl Latest<'_> {
    /// The digest of a file that is as it was then.
    fn sha256(&self, found: &Found<'_>) -> Option<[u8; 32]> {
        let known = self.mark.get(found.path)?;
        is_untouched(&known.entry, found, self.trusted).then_some(known.entry.sha256)
    }
}

fn before(entry: &Entry) -> Version {
    Version {
        kind: entry.kind,
        mode: entry.mode,
        size: entry.size,
        sha256: match entry.kind {
            Kind::File | Kind::Symlink => Some(tree::hex(&entry.sha256)),
            Kind::Directory | Kind::Other => None,
        },
        // The manifest keeps its digest only.
        target: None,
    }
}

/// What is there now. A file that cannot be read has no digest, which differs from any.
fn after(world: &World, port: &Port, found: &Found<'_>, latest: &Latest<'_>) -> Version {
    let (size, sha256) = match found.kind {
        Kind::File if latest.sha256(found).is_some() => {
            (tree::size(found.stat), latest.sha256(found))
        }
        Kind::File => {
            match walk::open_found(&world.tree, found)
                .map(|file| tree::hash(&mut Stoppable::new(port, file)))
            {
                Some(Ok((size, sha256))) => (size, Some(sha256)),
                Some(Err(_)) | None => (tree::size(found.stat), None),
            }
        }
        Kind::Symlink => {
            let mut target = found.target.unwrap_or_default();
            (
                target.len() as u64,
                tree::hash(&mut target).ok().map(|(_, sha256)| sha256),
            )
        }
        Kind::Directory | Kind::Other => (0, None),
    };
    Version {
        kind: found.kind,
        mode: tree::mode(found.stat),
        size,
        sha256: sha256.map(|digest| tree::hex(&digest)),
        target: found.target.map(Bytes::from),
    }
}
