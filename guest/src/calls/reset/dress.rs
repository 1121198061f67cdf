//! Owner, mode and times of a path, and its way to another place.

use super::super::store::Known;
use pyro_protocol::message::Kind;
use rustix::fs::{self, AtFlags, Gid, Mode, RenameFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// Moves something to where nothing is. A directory that is moved must be writable.
pub(super) fn shift(from: &OwnedFd, name: &[u8], to: &OwnedFd, new: &[u8]) -> Result<(), Errno> {
    let rename = || fs::renameat_with(from, name, to, new, RenameFlags::NOREPLACE);
    match rename() {
        Err(Errno::ACCESS) => {
            fs::chmodat(from, name, Mode::RWXU, AtFlags::empty())?;
            rename()
        }
        done => done,
    }
}

fn times(wanted: &Known) -> Timestamps {
    let ns = wanted.entry.mtime_ns;
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: fs::UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: ns.div_euclid(1_000_000_000),
            tv_nsec: ns.rem_euclid(1_000_000_000),
        },
    }
}

/// Owner, mode and times, in this order: a new owner takes the setuid bits away.
pub(super) fn dress(fd: impl AsFd, wanted: &Known) -> Result<(), Errno> {
    let stat = fs::fstat(&fd)?;
    if (stat.st_uid, stat.st_gid) != (wanted.uid, wanted.gid) {
        let (uid, gid) = ids(wanted);
        fs::fchown(&fd, uid, gid)?;
    }
    fs::fchmod(&fd, Mode::from_raw_mode(wanted.entry.mode))?;
    fs::futimens(&fd, &times(wanted))
}

/// The same for a path that is no directory; a link has no mode.
pub(super) fn dress_at(dir: &OwnedFd, name: &[u8], wanted: &Known) -> Result<(), Errno> {
    let stat = fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    if (stat.st_uid, stat.st_gid) != (wanted.uid, wanted.gid) {
        let (uid, gid) = ids(wanted);
        fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
    }
    if wanted.entry.kind == Kind::File {
        let mode = Mode::from_raw_mode(wanted.entry.mode);
        fs::chmodat(dir, name, mode, AtFlags::empty())?;
    }
    fs::utimensat(dir, name, &times(wanted), AtFlags::SYMLINK_NOFOLLOW)
}

fn ids(wanted: &Known) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(wanted.uid)),
        Some(Gid::from_raw(wanted.gid)),
    )
}
