//! Walking a tree that changes meanwhile: every directory is opened beneath the root without following links, and
//! its entries are looked at through that descriptor.

use super::World;
use crate::tree::{self, Links, refusal};
use pyro_protocol::Bytes;
use pyro_protocol::manifest::Manifest;
use pyro_protocol::message::{Failure, FailureCode, Kind};
use rustix::fs::{self, AtFlags, Dir, OFlags, Stat};
use rustix::io::Errno;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

/// One path as it was found.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// Relative to the directory of the walk.
    pub(crate) path: &'a [u8],
    /// What it is.
    pub(crate) kind: Kind,
    /// All the rest.
    pub(crate) stat: &'a Stat,
    /// Where a link points.
    pub(crate) target: Option<&'a [u8]>,
}

/// A name in a directory, twice for directories: `a` itself comes before `a-b`, what is in `a` (`a/`) after it.
/// So the walk goes in the order of whole paths, byte by byte.
struct Item {
    key: Vec<u8>,
    stat: Stat,
    target: Option<Vec<u8>>,
}

impl Item {
    fn descends(&self) -> bool {
        self.key.last() == Some(&b'/')
    }
}

/// How far a walk goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Depth {
    /// What is in the directory.
    One,
    /// What is below it.
    All,
}

/// Calls `visit` for what is in or below the directory `root` (not for itself), in the order of whole paths.
/// Directories that cannot be read or vanish are passed over, and so is what is too deep to have a path.
///
/// # Errors
/// Where `visit` says so.
pub(crate) fn walk(
    root: impl AsFd,
    depth: Depth,
    visit: &mut dyn FnMut(&Found<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    walk_into(root, &mut |_| depth == Depth::All, visit)
}

/// The same; `enter` says of each directory whether what is below it is visited.
///
/// # Errors
/// Where `visit` says so.
pub(crate) fn walk_into(
    root: impl AsFd,
    enter: &mut dyn FnMut(&[u8]) -> bool,
    visit: &mut dyn FnMut(&Found<'_>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut path = Vec::new();
    let mut levels = vec![(0, items(&root, b"").into_iter())];
    while let Some((length, rest)) = levels.last_mut() {
        path.truncate(*length);
        let Some(item) = rest.next() else {
            levels.pop();
            continue;
        };
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(item.key.strip_suffix(b"/").unwrap_or(&item.key));
        if path.len() > tree::PATH_MAX {
            continue;
        }
        if item.descends() {
            if enter(&path) {
                let below = items(&root, &path);
                levels.push((path.len(), below.into_iter()));
            }
            continue;
        }
        visit(&Found {
            path: &path,
            kind: tree::kind(&item.stat),
            stat: &item.stat,
            target: item.target.as_deref(),
        })?;
    }
    Ok(())
}

fn items(root: impl AsFd, path: &[u8]) -> Vec<Item> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
    let Ok(dir) = tree::open(root, path, flags, Links::Refuse) else {
        return Vec::new();
    };
    let Ok(entries) = Dir::read_from(&dir) else {
        return Vec::new();
    };
    let mut items = Vec::new();
    for entry in entries.flatten() {
        let name = entry.file_name();
        if name.to_bytes() == b"." || name.to_bytes() == b".." {
            continue;
        }
        let Ok(stat) = fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let key = name.to_bytes().to_vec();
        let target = match tree::kind(&stat) {
            Kind::Symlink => {
                Some(fs::readlinkat(&dir, name, Vec::new()).map(|text| text.into_bytes()))
                    .transpose()
                    .unwrap_or_default()
            }
            Kind::Directory => {
                let mut below = key.clone();
                below.push(b'/');
                items.push(Item {
                    key: below,
                    stat,
                    target: None,
                });
                None
            }
            Kind::File | Kind::Other => None,
        };
        items.push(Item { key, stat, target });
    }
    items.sort_unstable_by(|a, b| a.key.cmp(&b.key));
    items
}

/// Opens a regular file that a walk has found. Nothing where it is another one by now, or unreadable.
pub(crate) fn open_found(root: impl AsFd, found: &Found<'_>) -> Option<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW;
    let fd: OwnedFd = tree::open(root, found.path, flags, Links::Refuse).ok()?;
    let stat = fs::fstat(&fd).ok()?;
    (tree::kind(&stat) == Kind::File).then(|| File::from(fd))
}

/// Paths that an op could not handle, for its reply. Bounded: the first ones speak for the rest.
#[derive(Debug, Default)]
pub(crate) struct LeftOut {
    pub(crate) paths: Vec<Bytes>,
    size: usize,
}

/// Bytes of left-out paths in a reply.
const LEFT_OUT_LIMIT: usize = 256 << 10;

impl LeftOut {
    pub(crate) fn add(&mut self, path: &[u8]) {
        self.size += path.len() + 8;
        if self.size <= LEFT_OUT_LIMIT {
            self.paths.push(Bytes::from(path));
        }
    }
}

/// Ends a walk early.
pub(crate) fn stop() -> Failure {
    refusal(FailureCode::Cancelled, "go on")
}

/// The baseline of the tree; an empty one where there is none.
///
/// # Errors
/// Where it is there and cannot be read.
pub(crate) fn baseline(world: &World) -> std::io::Result<Manifest> {
    use std::io::Read as _;
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match fs::openat(&world.run_dir, "baseline", flags, fs::Mode::empty()) {
        Err(Errno::NOENT) => return Ok(Manifest::default()),
        done => done?,
    };
    let mut bytes = Vec::new();
    File::from(file).read_to_end(&mut bytes)?;
    Manifest::decode(&bytes).map_err(std::io::Error::other)
}
