//! `file.stat` and what `tree.list` says about a path.

use super::World;
use crate::tree::{self, Links, kernel};
use pyro_protocol::Bytes;
use pyro_protocol::message::{Failure, FileStat, Kind, Reply, Stat};
use rustix::fs::{self, OFlags};

/// Looks at one path, a link itself.
///
/// # Errors
/// Where nothing is there, or the way to it leads out.
pub(super) fn file(world: &World, op: &FileStat) -> Result<Reply, Failure> {
    let path = tree::clean(&op.path)?;
    look(world, &path).map(|stat| Reply::Stat(describe(&path, &stat.0, stat.1)))
}

/// A path and, for a link, its target.
///
/// # Errors
/// Where nothing is there, or the way to it leads out.
pub(super) fn look(world: &World, path: &[u8]) -> Result<(fs::Stat, Option<Vec<u8>>), Failure> {
    let doing = |errno| kernel(errno, "look at", path);
    let Some((parent, name)) = tree::split(path) else {
        return Ok((fs::fstat(&world.tree).map_err(doing)?, None));
    };
    let parent = tree::open_parent(&world.tree, parent, Links::Inside).map_err(doing)?;
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fd = fs::openat(&parent, name, flags, fs::Mode::empty()).map_err(doing)?;
    let stat = fs::fstat(&fd).map_err(doing)?;
    let target = match tree::kind(&stat) {
        Kind::Symlink => Some(
            fs::readlinkat(&fd, c"", Vec::new())
                .map_err(doing)?
                .into_bytes(),
        ),
        Kind::File | Kind::Directory | Kind::Other => None,
    };
    Ok((stat, target))
}

/// In the words of the wire.
pub(super) fn describe(path: &[u8], stat: &fs::Stat, target: Option<Vec<u8>>) -> Stat {
    Stat {
        path: Bytes::from(path),
        kind: tree::kind(stat),
        size: tree::size(stat),
        mode: tree::mode(stat),
        mtime_ns: tree::mtime_ns(stat),
        target: target.map(Bytes::from),
    }
}
