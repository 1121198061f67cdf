//! `tree.scan`: the whole tree as a manifest.

use super::World;
use super::walk::{self, Depth, LeftOut};
use crate::serve::port::Port;
use crate::serve::streams::{Output, Stoppable};
use crate::tree;
use pyro_protocol::manifest::{Entry, Manifest};
use pyro_protocol::message::{Failure, Kind, Records, Reply};
use rustix::time::{ClockId, clock_gettime};

/// Now, in nanoseconds since 1970.
pub(super) fn now_ns() -> i64 {
    let now = clock_gettime(ClockId::Realtime);
    now.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(now.tv_nsec)
}

/// Sends the manifest. What can be neither read nor packed is left out, and said to be.
///
/// # Errors
/// Where the call should stop.
pub(super) fn tree(world: &World, port: &Port) -> Result<Reply, Failure> {
    let mut output = Output::new(port);
    let mut records = Records::default();
    let mut left_out = LeftOut::default();
    // The time before the walk: what changes during it counts as too fresh to be trusted.
    output.put(
        &Manifest {
            complete_ns: now_ns(),
            entries: Vec::new(),
        }
        .encode(),
    )?;
    let mut line = Vec::new();
    walk::walk(&world.tree, Depth::All, &mut |found| {
        port.check()?;
        let (size, sha256) = match found.kind {
            Kind::Directory => (0, [0; 32]),
            Kind::Symlink => {
                let mut target = found.target.unwrap_or_default();
                (
                    target.len() as u64,
                    tree::hash(&mut target).map_or([0; 32], |(_, sha256)| sha256),
                )
            }
            Kind::File => {
                match walk::open_found(&world.tree, found)
                    .map(|file| tree::hash(&mut Stoppable::new(port, file)))
                {
                    Some(Ok(found)) => found,
                    Some(Err(_)) | None => {
                        left_out.add(found.path);
                        return Ok(());
                    }
                }
            }
            Kind::Other => {
                left_out.add(found.path);
                return Ok(());
            }
        };
        records.entries += 1;
        records.bytes += if found.kind == Kind::File { size } else { 0 };
        line.clear();
        Entry {
            path: found.path.to_vec(),
            kind: found.kind,
            mode: tree::mode(found.stat),
            size,
            mtime_ns: tree::mtime_ns(found.stat),
            ctime_ns: tree::ctime_ns(found.stat),
            inode: found.stat.st_ino,
            sha256,
            pack_offset: 0,
        }
        .encode(&mut line);
        output.put(&line)
    })?;
    output.finish()?;
    Ok(Reply::Records(Records {
        left_out: left_out.paths,
        ..records
    }))
}
