//! `files.write`: a write set, all of it or none.
//!
//! ```text
//!  preflight: every path is what the set was computed from
//!     `-> stage: contents arrive beside the tree, where no program sees them
//!           `-> commit: removals, then files, each by one rename that the journal can take back
//!                 `-> read back
//! ```
//! A failure, a cancel or the end of the channel at any point before the last rename leaves the old tree.

use super::World;
use super::journal::{self, Journal, point};
use crate::serve::port::Port;
use crate::serve::streams::{Input, Stoppable};
use crate::tree::{self, Links, failure, hex, kernel, refusal};
use pyro_protocol::Bytes;
use pyro_protocol::frame::{CHUNK, MAX_HEADER};
use pyro_protocol::message::{
    Failure, FailureCode, FileDigest, FilesWrite, Kind, Prior, Reply, WriteAction, Written,
};
use rustix::fs::{self, AtFlags, Mode, OFlags, Stat};
use rustix::io::Errno;
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{Read as _, Write as _};

/// Entries that one set may have.
const MAX_ENTRIES: usize = 100_000;
/// What the reply says about one entry beside its path, at most, in bytes.
const REPLY_ENTRY: usize = 320;
/// The mode of a new file where none is given.
const NEW_MODE: u32 = 0o644;

/// An entry on its way.
#[derive(Debug)]
struct Entry {
    path: Vec<u8>,
    expect: Prior,
    action: WriteAction,
    /// What was there at the preflight.
    found: Option<Found>,
    /// The name in the corner of the stage.
    staged: String,
}

#[derive(Debug)]
struct Found {
    stat: Stat,
    /// Of a regular file.
    digest: Option<FileDigest>,
}

/// Applies the set.
///
/// # Errors
/// Where it does not apply; then the tree is as before.
pub(super) fn files(world: &World, port: &Port, op: FilesWrite) -> Result<Reply, Failure> {
    let unchanged = |failure: Failure| Failure {
        message: format!("{}; {}", failure.message, journal::NOTHING_CHANGED),
        ..failure
    };
    let mut entries = looked_at(world, port, op).map_err(unchanged)?;
    let mut journal = Journal::new(world)
        .map_err(|errno| unchanged(kernel(errno, "prepare a write set", b"")))?;
    match commit(world, port, &mut journal, &mut entries) {
        Ok(written) => match journal.keep() {
            Ok(()) => Ok(Reply::Written(written)),
            Err((journal, errno)) => {
                Err(journal.take_back(kernel(errno, "finish a write set", b"")))
            }
        },
        Err(failure) => Err(journal.take_back(failure)),
    }
}

/// The entries, each of them what the set was computed from.
fn looked_at(world: &World, port: &Port, op: FilesWrite) -> Result<Vec<Entry>, Failure> {
    let mut entries = check(op)?;
    let removed: HashSet<Vec<u8>> = entries
        .iter()
        .filter(|entry| matches!(entry.action, WriteAction::Remove))
        .map(|entry| entry.path.clone())
        .collect();
    for entry in &mut entries {
        port.check()?;
        let gone = is_under(&removed, &entry.path);
        preflight(world, port, entry, gone)?;
    }
    Ok(entries)
}

/// Makes all changes, and says what came of them.
fn commit(
    world: &World,
    port: &Port,
    journal: &mut Journal<'_>,
    entries: &mut [Entry],
) -> Result<Vec<Written>, Failure> {
    receive(world, port, journal, entries)?;
    let entries = &*entries;
    // Removals first: a file may make way for a directory of the same name.
    let is_file = |entry: &&Entry| matches!(entry.action, WriteAction::File { .. });
    for entry in entries.iter().filter(|entry| !is_file(entry)) {
        port.check()?;
        remove(port, journal, entry)?;
    }
    for entry in entries.iter().filter(is_file) {
        port.check()?;
        put(port, journal, entry)?;
    }
    let mut written = Vec::with_capacity(entries.len());
    for entry in entries {
        written.push(read_back(world, port, entry)?);
    }
    Ok(written)
}

/// What can be said without looking at the tree.
fn check(op: FilesWrite) -> Result<Vec<Entry>, Failure> {
    if op.entries.len() > MAX_ENTRIES {
        let message = format!(
            "write {} files at once: the limit is {MAX_ENTRIES}",
            op.entries.len()
        );
        return Err(refusal(FailureCode::TooLarge, message));
    }
    let mut reply = 64;
    let mut entries = Vec::with_capacity(op.entries.len());
    let mut kinds: HashMap<Vec<u8>, bool> = HashMap::with_capacity(op.entries.len());
    for entry in op.entries {
        let path = tree::clean(&entry.path)?;
        if path.is_empty() {
            return Err(failure(
                FailureCode::WrongKind,
                "write: it is the workspace itself",
                &entry.path,
            ));
        }
        reply += REPLY_ENTRY + serde_json::to_string(&entry.path).map_or(0, |text| text.len());
        let is_file = matches!(entry.action, WriteAction::File { .. });
        if kinds.insert(path.clone(), is_file).is_some() {
            return Err(failure(
                FailureCode::BadRequest,
                "write: the path comes twice in the set",
                &path,
            ));
        }
        let (expect, action) = (entry.expect, entry.action);
        entries.push(Entry {
            path,
            expect,
            action,
            found: None,
            staged: String::new(),
        });
    }
    if reply > MAX_HEADER {
        let message = "write so many files at once: the reply would be too long";
        return Err(refusal(FailureCode::TooLarge, message));
    }
    for entry in &entries {
        let mut path = entry.path.as_slice();
        while let Some((parent, _)) = tree::split(path) {
            let is_file = matches!(entry.action, WriteAction::File { .. });
            match kinds.get(parent) {
                Some(true) => {
                    let message = "write: another path of the set makes a file of its directory";
                    return Err(failure(FailureCode::BadRequest, message, &entry.path));
                }
                Some(false) if !is_file => {
                    let message = "remove: another path of the set removes its directory";
                    return Err(failure(FailureCode::BadRequest, message, &entry.path));
                }
                Some(false) | None => path = parent,
            }
        }
    }
    Ok(entries)
}

/// Whether a directory of this path (or a file in the place of one) goes away first.
fn is_under(removed: &HashSet<Vec<u8>>, mut path: &[u8]) -> bool {
    while let Some((parent, _)) = tree::split(path) {
        if removed.contains(parent) {
            return true;
        }
        path = parent;
    }
    false
}

/// Compares one path with what the set expects.
fn preflight(
    world: &World,
    port: &Port,
    entry: &mut Entry,
    under_removed: bool,
) -> Result<(), Failure> {
    let path = entry.path.as_slice();
    let stat = if under_removed {
        None
    } else {
        match tree::look(&world.tree, path, Links::Refuse) {
            Ok(stat) => Some(stat),
            Err(Errno::NOENT) => None,
            Err(errno) => return Err(kernel(errno, "write", path)),
        }
    };
    let Some(stat) = stat else {
        return match (&entry.expect, &entry.action) {
            (Prior::Sha256(_), _) => Err(conflict("there is no file", path)),
            (_, WriteAction::Remove) => Err(kernel(Errno::NOENT, "remove", path)),
            (Prior::Any | Prior::Absent, WriteAction::File { .. }) => Ok(()),
        };
    };
    let removing = matches!(entry.action, WriteAction::Remove);
    match (tree::kind(&stat), &entry.expect) {
        (_, Prior::Absent) => return Err(kernel(Errno::EXIST, "write", path)),
        (Kind::File, _) => {}
        (Kind::Directory | Kind::Symlink, Prior::Any) if removing => {}
        (Kind::Symlink, _) => return Err(kernel(Errno::LOOP, "write", path)),
        (Kind::Directory, _) => return Err(kernel(Errno::ISDIR, "write", path)),
        (Kind::Other, Prior::Any) if removing => {}
        (Kind::Other, _) => {
            let message = "write: it is a FIFO, socket or device";
            return Err(failure(FailureCode::WrongKind, message, path));
        }
    }
    let digest = match tree::kind(&stat) {
        Kind::File => {
            let (file, _) = tree::open_file(&world.tree, path, Links::Refuse)?;
            Some(digest_of(port, &file, path)?)
        }
        Kind::Directory | Kind::Symlink | Kind::Other => None,
    };
    if let (Prior::Sha256(want), Some(digest)) = (&entry.expect, &digest)
        && *want != digest.sha256
    {
        return Err(conflict("the file has other contents", path));
    }
    entry.found = Some(Found { stat, digest });
    Ok(())
}

fn conflict(what: &str, path: &[u8]) -> Failure {
    failure(
        FailureCode::Conflict,
        format!("write: {what} than the write set was computed from"),
        path,
    )
}

/// Size, mode and contents of an open file.
fn digest_of(port: &Port, file: &File, path: &[u8]) -> Result<FileDigest, Failure> {
    let stat = fs::fstat(file).map_err(|errno| kernel(errno, "read", path))?;
    let (size, sha256) = tree::hash(&mut Stoppable::new(port, file)).map_err(|error| {
        port.check().err().unwrap_or_else(|| Failure {
            path: Some(Bytes::from(path)),
            ..super::agent_failure("read", &error)
        })
    })?;
    Ok(FileDigest {
        size,
        mode: tree::mode(&stat),
        sha256: hex(&sha256),
    })
}

/// Takes the contents from the link to the stage.
fn receive(
    world: &World,
    port: &Port,
    journal: &mut Journal<'_>,
    entries: &mut [Entry],
) -> Result<(), Failure> {
    let mut input = Input::new(port);
    let mut buffer = vec![0; CHUNK];
    for entry in entries {
        let WriteAction::File { size, mode } = entry.action else {
            continue;
        };
        let kept = entry
            .found
            .as_ref()
            .map_or(NEW_MODE, |found| tree::mode(&found.stat));
        let mode = mode.map_or(kept, |mode| mode & 0o7777);
        entry.staged = journal.fresh();
        let doing = |errno| kernel(errno, "write", &entry.path);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = point().and_then(|()| {
            let mode = Mode::RUSR | Mode::WUSR;
            fs::openat(journal.corner(), entry.staged.as_str(), flags, mode)
        });
        let mut file = File::from(file.map_err(doing)?);
        let mut left = size;
        while left > 0 {
            let want = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let count = match input.read(&mut buffer[..want]) {
                Ok(0) => {
                    let message = "write: the contents ended early";
                    return Err(failure(FailureCode::BadRequest, message, &entry.path));
                }
                Ok(count) => count,
                Err(error) => {
                    port.check()?;
                    return Err(super::agent_failure("write", &error));
                }
            };
            file.write_all(&buffer[..count]).map_err(|error| Failure {
                path: Some(Bytes::from(entry.path.as_slice())),
                ..super::agent_failure("write", &error)
            })?;
            left -= count as u64;
        }
        // The owner first: a change of owner clears setuid bits.
        world.own(&file).map_err(doing)?;
        fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(doing)?;
    }
    if input.rest() > 0 || port.has_input() {
        let message = "write: there are more contents than the sizes say";
        return Err(refusal(FailureCode::BadRequest, message));
    }
    Ok(())
}

fn remove(port: &Port, journal: &mut Journal<'_>, entry: &Entry) -> Result<(), Failure> {
    let path = entry.path.as_slice();
    let old = journal
        .take(path)
        .map_err(|errno| kernel(errno, "remove", path))?;
    verify(port, journal, entry, &old)
}

fn put(port: &Port, journal: &mut Journal<'_>, entry: &Entry) -> Result<(), Failure> {
    let path = entry.path.as_slice();
    if entry.found.is_none() {
        return journal
            .place(&entry.staged, path)
            .map_err(|errno| match errno {
                Errno::EXIST => conflict("something else is there", path),
                other => kernel(other, "write", path),
            });
    }
    journal
        .exchange(&entry.staged, path)
        .map_err(|errno| match errno {
            Errno::NOENT => conflict("the file is gone, other", path),
            other => kernel(other, "write", path),
        })?;
    verify(port, journal, entry, &entry.staged)
}

/// What was taken from the tree must be what the preflight saw; it may have been changed since.
fn verify(port: &Port, journal: &Journal<'_>, entry: &Entry, old: &str) -> Result<(), Failure> {
    let path = entry.path.as_slice();
    let doing = |errno| kernel(errno, "write", path);
    let now = fs::statat(journal.corner(), old, AtFlags::SYMLINK_NOFOLLOW).map_err(doing)?;
    let Some(found) = &entry.found else {
        return Ok(());
    };
    if tree::kind(&now) != tree::kind(&found.stat) {
        return Err(conflict("something else is there", path));
    }
    let same = now.st_ino == found.stat.st_ino
        && now.st_size == found.stat.st_size
        && tree::mtime_ns(&now) == tree::mtime_ns(&found.stat);
    let Some(digest) = found.digest.as_ref().filter(|_| !same) else {
        return Ok(());
    };
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(fs::openat(journal.corner(), old, flags, Mode::empty()).map_err(doing)?);
    if digest_of(port, &file, path)?.sha256 == digest.sha256 {
        return Ok(());
    }
    Err(conflict("the file has other contents", path))
}

fn read_back(world: &World, port: &Port, entry: &Entry) -> Result<Written, Failure> {
    let after = match entry.action {
        WriteAction::Remove => None,
        WriteAction::File { .. } => {
            let (file, _) = tree::open_file(&world.tree, &entry.path, Links::Refuse)?;
            Some(digest_of(port, &file, &entry.path)?)
        }
    };
    Ok(Written {
        path: Bytes::from(entry.path.as_slice()),
        before: entry.found.as_ref().and_then(|found| found.digest.clone()),
        after,
    })
}
