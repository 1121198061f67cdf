//! An archive into a fresh directory of our own.

use super::{ArchiveError, Entry, Kind, Whole, read};
use rustix::fs::{self, AtFlags, CWD, Mode, OFlags, ResolveFlags, Timespec, Timestamps};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

/// What the owner needs to read and remove.
const OPEN_FILE: u32 = 0o600;
const OPEN_DIRECTORY: u32 = 0o700;

/// An archive that was unpacked.
#[derive(Debug)]
pub struct Unpacked {
    /// Which one it was.
    pub whole: Whole,
    /// Permission bits of files and directories that their owner may not read: on the disk they are opened for the
    /// owner, so that whoever is not root can copy them.
    pub closed: BTreeMap<Vec<u8>, u32>,
}

/// Unpacks `file` into `into`, an empty directory that nobody else writes to. Links are made, never followed; names
/// are looked up below the directory only.
///
/// # Errors
/// As [`read`], and where the disk refuses. Then some of it is there.
pub fn unpack(
    file: impl Read + Send + 'static,
    limit: u64,
    into: &Path,
) -> Result<Unpacked, ArchiveError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = fs::openat(CWD, into, flags, Mode::empty()).map_err(errno)?;
    // Set last: making something in a directory changes its time.
    let mut directories: BTreeMap<Vec<u8>, (u32, i64)> = BTreeMap::new();
    let mut closed = BTreeMap::new();
    let whole = read(file, limit, &mut |entry, body| {
        match &entry.kind {
            Kind::Directory => {
                directories.insert(entry.path.clone(), (entry.mode, entry.mtime_ns));
            }
            Kind::File { .. } if entry.mode & OPEN_FILE != OPEN_FILE => {
                closed.insert(entry.path.clone(), entry.mode);
            }
            Kind::HardLink(target) => {
                if let Some(mode) = closed.get(target).copied() {
                    closed.insert(entry.path.clone(), mode);
                }
            }
            Kind::File { .. } | Kind::Symlink(_) | Kind::LeftOut(_) => {}
        }
        one(&root, entry, body)
    })?;
    for (path, (mode, mtime_ns)) in directories.iter().rev() {
        let dir = open(&root, path).map_err(errno)?;
        if mode & OPEN_DIRECTORY != OPEN_DIRECTORY {
            closed.insert(path.clone(), *mode);
        }
        fs::fchmod(&dir, Mode::from_raw_mode(mode | OPEN_DIRECTORY)).map_err(errno)?;
        fs::futimens(&dir, &times(*mtime_ns)).map_err(errno)?;
    }
    Ok(Unpacked { whole, closed })
}

fn errno(errno: Errno) -> ArchiveError {
    ArchiveError::Io(errno.into())
}

fn one(root: &OwnedFd, entry: &Entry, body: &mut dyn Read) -> Result<(), ArchiveError> {
    if entry.path.is_empty() {
        return Ok(());
    }
    let (above, name) = match entry.path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&entry.path[..at], &entry.path[at + 1..]),
        None => (&b""[..], entry.path.as_slice()),
    };
    let dir = parent(root, above).map_err(errno)?;
    match &entry.kind {
        Kind::Directory => match fs::mkdirat(&dir, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(refused) => Err(errno(refused)),
        },
        Kind::Symlink(target) => fs::symlinkat(target.as_slice(), &dir, name)
            .and_then(|()| {
                let flags = AtFlags::SYMLINK_NOFOLLOW;
                fs::utimensat(&dir, name, &times(entry.mtime_ns), flags)
            })
            .map_err(errno),
        Kind::HardLink(target) => {
            let at = target.iter().rposition(|byte| *byte == b'/');
            let (above, twin) = match at {
                Some(at) => (&target[..at], &target[at + 1..]),
                None => (&b""[..], target.as_slice()),
            };
            let from = open(root, above).map_err(errno)?;
            fs::linkat(&from, twin, &dir, name, AtFlags::empty()).map_err(errno)
        }
        Kind::File { size, pieces } => {
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = fs::openat(&dir, name, flags, Mode::RUSR | Mode::WUSR).map_err(errno)?;
            let mut file = File::from(file);
            fill(&mut file, *size, pieces, body)?;
            fs::fchmod(&file, Mode::from_raw_mode(entry.mode | OPEN_FILE)).map_err(errno)?;
            fs::futimens(&file, &times(entry.mtime_ns)).map_err(errno)
        }
        Kind::LeftOut(_) => Ok(()),
    }
}

/// Writes the pieces of a file, and leaves its holes.
fn fill(
    file: &mut File,
    size: u64,
    pieces: &[(u64, u64)],
    body: &mut dyn Read,
) -> Result<(), ArchiveError> {
    let mut buffer = vec![0; 64 << 10];
    for (offset, length) in pieces {
        file.seek(SeekFrom::Start(*offset))
            .map_err(ArchiveError::Io)?;
        let mut left = *length;
        while left > 0 {
            let most = usize::try_from(left)
                .unwrap_or(usize::MAX)
                .min(buffer.len());
            let count = match body.read(&mut buffer[..most]) {
                Ok(0) => return super::damaged("it ends within a file"),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(ArchiveError::Damaged(error.to_string())),
            };
            file.write_all(&buffer[..count]).map_err(ArchiveError::Io)?;
            left -= count as u64;
        }
    }
    file.set_len(size).map_err(ArchiveError::Io)
}

/// Opens a directory below the root, making what is missing on the way.
fn parent(root: &OwnedFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    match open(root, path) {
        Err(Errno::NOENT) => {}
        done => return done,
    }
    let mut dir = open(root, b"")?;
    for part in path.split(|byte| *byte == b'/') {
        match fs::mkdirat(&dir, part, Mode::from_raw_mode(0o755)) {
            // Whatever our own umask takes away.
            Ok(()) => fs::chmodat(&dir, part, Mode::from_raw_mode(0o755), AtFlags::empty())?,
            Err(Errno::EXIST) => {}
            Err(refused) => return Err(refused),
        }
        dir = open(&dir, part)?;
    }
    Ok(dir)
}

fn open(root: impl AsFd, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { &b"."[..] } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    fs::openat2(root, path, flags, Mode::empty(), resolve)
}

fn times(mtime_ns: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: mtime_ns.div_euclid(1_000_000_000),
        tv_nsec: mtime_ns.rem_euclid(1_000_000_000),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
