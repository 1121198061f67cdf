//! `tree.diff`: the tree against its baseline.
//!
//! Both are in the order of whole paths, so one pass merges them. A path whose kind, mode, size, times and inode are
//! as recorded is not read: the status change time cannot be set from inside. Only what looks different, or was
//! changed in the same clock tick as the baseline, is compared by contents.

use super::list::line;
use super::walk::{self, Depth, Found};
use super::{World, agent_failure};
use crate::serve::port::Port;
use crate::serve::streams::{Output, Stoppable};
use crate::tree;
use pyro_protocol::Bytes;
use pyro_protocol::manifest::Entry;
use pyro_protocol::message::{Change, Failure, Kind, Records, Reply, Version};

/// Changes within one clock tick cannot be told apart by time, in nanoseconds.
const TICK_NS: i64 = 20_000_000;

/// Sends a line for each path that differs.
///
/// # Errors
/// Where the baseline cannot be read, or the call should stop.
pub(super) fn tree(world: &World, port: &Port) -> Result<Reply, Failure> {
    let baseline =
        walk::baseline(world).map_err(|error| agent_failure("read the baseline", &error))?;
    let trusted = baseline.complete_ns.saturating_sub(TICK_NS);
    let mut old = baseline.entries.iter().peekable();
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
            None => sink.put(found.path, None, Some(after(world, port, found))),
            Some(entry) if is_untouched(entry, found, trusted) => Ok(()),
            Some(entry) => {
                let (before, after) = (before(entry), after(world, port, found));
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
fn after(world: &World, port: &Port, found: &Found<'_>) -> Version {
    let (size, sha256) = match found.kind {
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
