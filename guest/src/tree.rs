//! Paths of the work tree, resolved by the kernel so that nothing can lead out of it.
//!
//! Programs of the sandbox change the tree while we look at it: a path that was checked a moment ago proves
//! nothing. Every lookup is one `openat2` beneath the tree's descriptor; what follows uses the descriptor it gave.

use pyro_protocol::Bytes;
use pyro_protocol::message::{Failure, FailureCode, Kind};
use rustix::fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;
use std::os::fd::{AsFd, OwnedFd};

/// The longest path that is accepted, in bytes; the kernel takes no longer ones.
pub(crate) const PATH_MAX: usize = 4095;

/// A lookup beside a concurrent rename may be told to try again.
const RETRIES: u32 = 64;

/// Whether links are followed (never out of the tree).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Links {
    /// Followed, as long as they stay inside.
    Inside,
    /// A link anywhere on the path is an error.
    Refuse,
}

/// A failure about a path.
pub(crate) fn failure(code: FailureCode, message: impl Into<String>, path: &[u8]) -> Failure {
    Failure {
        code,
        message: message.into(),
        path: Some(Bytes::from(path)),
    }
}

/// A failure about the whole call.
pub(crate) fn refusal(code: FailureCode, message: impl Into<String>) -> Failure {
    Failure {
        code,
        message: message.into(),
        path: None,
    }
}

/// Puts what the kernel said about a path into our words.
pub(crate) fn kernel(errno: Errno, doing: &str, path: &[u8]) -> Failure {
    let (code, words) = match errno {
        Errno::NOENT => (
            FailureCode::NotFound,
            "there is nothing at this path".to_owned(),
        ),
        Errno::NOTDIR => (
            FailureCode::WrongKind,
            "a part of the path is not a directory".to_owned(),
        ),
        Errno::ISDIR => (FailureCode::WrongKind, "it is a directory".to_owned()),
        Errno::LOOP => (
            FailureCode::Symlink,
            "a part of the path is a symbolic link".to_owned(),
        ),
        Errno::XDEV => (
            FailureCode::Outside,
            "the path leads out of the workspace".to_owned(),
        ),
        Errno::EXIST => (FailureCode::Exists, "something is there already".to_owned()),
        Errno::NOSPC | Errno::DQUOT | Errno::FBIG => (FailureCode::NoSpace, message_of(errno)),
        Errno::NAMETOOLONG => (FailureCode::BadRequest, "a name is too long".to_owned()),
        other => (FailureCode::Io, message_of(other)),
    };
    failure(code, format!("{doing}: {words}"), path)
}

fn message_of(errno: Errno) -> String {
    std::io::Error::from(errno).to_string()
}

/// A path without surprises: relative, no `..`, no empty parts, no NUL. Empty for the tree itself.
///
/// # Errors
/// Where the path is none of that.
pub(crate) fn clean(path: &[u8]) -> Result<Vec<u8>, Failure> {
    if path.len() > PATH_MAX {
        return Err(refusal(
            FailureCode::BadRequest,
            format!(
                "look at a path of {} bytes: paths end at {PATH_MAX}",
                path.len()
            ),
        ));
    }
    if path.contains(&0) {
        return Err(failure(
            FailureCode::BadRequest,
            "look at a path with a NUL byte",
            path,
        ));
    }
    if path.first() == Some(&b'/') {
        return Err(failure(
            FailureCode::Outside,
            "look at an absolute path: paths are relative to the workspace",
            path,
        ));
    }
    let mut out = Vec::with_capacity(path.len());
    for part in path.split(|&b| b == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                return Err(failure(
                    FailureCode::Outside,
                    "look at a path with `..`: name the place itself",
                    path,
                ));
            }
            part => {
                if !out.is_empty() {
                    out.push(b'/');
                }
                out.extend_from_slice(part);
            }
        }
    }
    Ok(out)
}

/// Directory and last name of a clean path; nothing for the tree itself.
pub(crate) fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    match path.iter().rposition(|&b| b == b'/') {
        Some(at) => Some((&path[..at], &path[at + 1..])),
        None if path.is_empty() => None,
        None => Some((b"", path)),
    }
}

/// Opens a clean path beneath `root`. Never blocks on a FIFO, never passes a magic link.
///
/// # Errors
/// What the kernel says.
pub(crate) fn open(
    root: impl AsFd,
    path: &[u8],
    flags: OFlags,
    links: Links,
) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { &b"."[..] } else { path };
    let mut resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if links == Links::Refuse {
        resolve |= ResolveFlags::NO_SYMLINKS;
    }
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let flags = if flags.contains(OFlags::PATH) {
        flags - OFlags::NONBLOCK - OFlags::NOCTTY
    } else {
        flags
    };
    let mut left = RETRIES;
    loop {
        match fs::openat2(root.as_fd(), path, flags, Mode::empty(), resolve) {
            Err(Errno::AGAIN) if left > 0 => left -= 1,
            Err(Errno::INTR) => {}
            done => return done,
        }
    }
}

/// The directory that holds a clean path, for use with its last name.
pub(crate) fn open_parent(root: impl AsFd, path: &[u8], links: Links) -> Result<OwnedFd, Errno> {
    open(root, path, OFlags::PATH | OFlags::DIRECTORY, links)
}

/// What a path of the tree is, a link itself.
///
/// # Errors
/// What the kernel says.
pub(crate) fn look(root: impl AsFd, path: &[u8], links: Links) -> Result<Stat, Errno> {
    match split(path) {
        None => fs::fstat(root),
        Some((parent, name)) => {
            let parent = open_parent(root, parent, links)?;
            fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
        }
    }
}

/// Opens a regular file for reading.
///
/// # Errors
/// Where it is not there, something else, or out of reach.
pub(crate) fn open_file(
    root: impl AsFd,
    path: &[u8],
    links: Links,
) -> Result<(std::fs::File, Stat), Failure> {
    // Looked at before it is opened: opening a FIFO or a device is an act of its own.
    let found = open(&root, path, OFlags::PATH | nofollow(links), links)
        .and_then(fs::fstat)
        .map_err(|errno| kernel(errno, "open", path))?;
    expect_file(&found, path)?;
    let file = open(&root, path, OFlags::RDONLY | nofollow(links), links)
        .map_err(|errno| kernel(errno, "open", path))?;
    let stat = fs::fstat(&file).map_err(|errno| kernel(errno, "open", path))?;
    expect_file(&stat, path)?;
    Ok((std::fs::File::from(file), stat))
}

fn nofollow(links: Links) -> OFlags {
    match links {
        Links::Inside => OFlags::empty(),
        Links::Refuse => OFlags::NOFOLLOW,
    }
}

fn expect_file(stat: &Stat, path: &[u8]) -> Result<(), Failure> {
    match kind(stat) {
        Kind::File => Ok(()),
        Kind::Directory => Err(failure(
            FailureCode::WrongKind,
            "open: it is a directory",
            path,
        )),
        Kind::Symlink => Err(failure(
            FailureCode::Symlink,
            "open: it is a symbolic link",
            path,
        )),
        Kind::Other => Err(failure(
            FailureCode::WrongKind,
            "open: it is not a regular file (a FIFO, socket or device)",
            path,
        )),
    }
}

/// What a path is.
pub(crate) fn kind(stat: &Stat) -> Kind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => Kind::Other,
    }
}

/// The permission bits.
pub(crate) fn mode(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// Contents in bytes; 0 for a directory.
pub(crate) fn size(stat: &Stat) -> u64 {
    match kind(stat) {
        Kind::Directory | Kind::Other => 0,
        Kind::File | Kind::Symlink => u64::try_from(stat.st_size).unwrap_or(0),
    }
}

/// Modification time in nanoseconds since 1970.
pub(crate) fn mtime_ns(stat: &Stat) -> i64 {
    nanoseconds(
        stat.st_mtime,
        i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
    )
}

/// Status change time in nanoseconds since 1970.
pub(crate) fn ctime_ns(stat: &Stat) -> i64 {
    nanoseconds(
        stat.st_ctime,
        i64::try_from(stat.st_ctime_nsec).unwrap_or(0),
    )
}

fn nanoseconds(seconds: i64, rest: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(rest)
}

/// Hash, written as 64 hex digits.
pub(crate) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(digest.len() * 2);
    for byte in digest {
        let _ = write!(out, "{byte:02x}");
    }
    out
}

/// Size and sha256 of all that a reader gives.
///
/// # Errors
/// Where it cannot be read.
pub(crate) fn hash(reader: &mut impl std::io::Read) -> std::io::Result<(u64, [u8; 32])> {
    use sha2::Digest as _;
    let mut hasher = sha2::Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut size = 0;
    loop {
        match reader.read(&mut buffer) {
            Ok(0) => return Ok((size, hasher.finalize().into())),
            Ok(count) => {
                hasher.update(&buffer[..count]);
                size += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{clean, split};
    use pyro_protocol::message::FailureCode;

    #[test]
    fn paths_are_cleaned_or_refused() {
        for (path, cleaned) in [
            (&b""[..], &b""[..]),
            (b".", b""),
            (b"a//b/./c/", b"a/b/c"),
            (b" lead", b" lead"),
            (b"..a/b..", b"..a/b.."),
            (b"\xff", b"\xff"),
        ] {
            assert_eq!(clean(path).expect("a good path"), cleaned);
        }
        for (path, code) in [
            (&b"/etc"[..], FailureCode::Outside),
            (b"..", FailureCode::Outside),
            (b"a/../b", FailureCode::Outside),
            (b"a\0b", FailureCode::BadRequest),
        ] {
            assert_eq!(clean(path).expect_err("a bad path").code, code);
        }
        assert_eq!(clean(&[b'a'; 5000]).expect_err("too long").path, None);
    }

    #[test]
    fn a_path_splits_into_directory_and_name() {
        assert_eq!(split(b""), None);
        assert_eq!(split(b"a"), Some((&b""[..], &b"a"[..])));
        assert_eq!(split(b"a/b/c"), Some((&b"a/b"[..], &b"c"[..])));
    }
}
