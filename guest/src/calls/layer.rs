//! The writable layer of an overlay, as it lies on the disk: what it says besides its files.
//!
//! ```text
//!  a device of number 0:0          a whiteout: the layers below have this path, and it is not to be seen
//!  user.overlay.opaque = "y"       of a directory: nothing of the layers below is to be seen in it
//! ```
//! Both are what the kernel writes in a user namespace. In a mark a whiteout is of kind `other`, and the size of a
//! directory says whether it is opaque.

use super::store::{Known, Place};
use crate::tree::{self, Links};
use pyro_protocol::manifest::Entry;
use pyro_protocol::message::Kind;
use rustix::fs::{self, FileType, Mode, OFlags, Stat, XattrFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

const OPAQUE: &str = "user.overlay.opaque";

/// Whether nothing below shows through a directory: 1, else 0.
///
/// # Errors
/// What the kernel says.
pub(super) fn look(root: &OwnedFd, path: &[u8]) -> Result<u64, Errno> {
    let dir = tree::open(
        root,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY,
        Links::Refuse,
    )?;
    is_opaque(&dir)
}

fn is_opaque(dir: impl AsFd) -> Result<u64, Errno> {
    let mut value = [0; 8];
    match fs::fgetxattr(dir, OPAQUE, &mut value[..]) {
        Ok(length) => Ok(u64::from(value[..length] == *b"y")),
        Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::RANGE) => Ok(0),
        Err(errno) => Err(errno),
    }
}

/// Makes a directory opaque (1) or not (0).
///
/// # Errors
/// What the kernel says.
pub(super) fn set(dir: impl AsFd, opaque: u64) -> Result<(), Errno> {
    let dir = dir.as_fd();
    if is_opaque(dir)? == opaque {
        return Ok(());
    }
    if opaque == 1 {
        fs::fsetxattr(dir, OPAQUE, b"y", XattrFlags::empty())
    } else {
        fs::fremovexattr(dir, OPAQUE)
    }
}

pub(super) fn is_whiteout(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

/// A whiteout as a mark has it.
pub(super) fn whiteout(path: &[u8]) -> Known {
    Known {
        entry: Entry {
            path: path.to_vec(),
            kind: Kind::Other,
            mode: 0,
            size: 0,
            mtime_ns: 0,
            ctime_ns: 0,
            inode: 0,
            sha256: [0; 32],
            pack_offset: Place::Nowhere.offset(),
        },
        uid: 0,
        gid: 0,
    }
}

/// Makes one; the kernel lets everybody do that.
///
/// # Errors
/// What the kernel says.
pub(super) fn make_whiteout(dir: &OwnedFd, name: &[u8]) -> Result<(), Errno> {
    let kind = FileType::CharacterDevice;
    fs::mknodat(dir, name, kind, Mode::empty(), fs::makedev(0, 0))
}
