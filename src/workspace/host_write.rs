//! Writes what a workspace exports to the host: all of it under its final name, or nothing.
//!
//! The archive comes from a sandbox that may be hostile. It is unpacked into a temporary beside the target, below
//! one directory descriptor, through no link, and renamed into place at the end. The temporary is noted in the run's
//! folder first, so that the next command removes it if this process dies.

use super::RunDir;
use super::remove::remove_tree_at;
use crate::request::{Digest, Overwrite};
use pyro_protocol::message::Kind;
use rustix::fs::{
    AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, linkat, mkdirat, openat2,
    renameat_with, symlinkat, unlinkat,
};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

/// Names of our temporaries on the host begin with this.
pub(super) const PREFIX: &[u8] = b".pyro-";

/// Where an export goes.
#[derive(Debug, Clone)]
pub struct HostTarget<'a> {
    /// Absolute.
    pub path: &'a Path,
    /// What to do about something that is there.
    pub overwrite: Overwrite,
    /// What the workspace path is: a regular file or a directory.
    pub kind: Kind,
    /// Bytes that may be written at most.
    pub limit: u64,
}

/// Why an export did not reach the host. The target is as it was.
#[derive(Debug, thiserror::Error)]
pub enum HostWriteError {
    /// Something is there, and the request does not say `overwrite = true`.
    #[error("write {}: it exists already", .0.display())]
    Exists(PathBuf),
    /// Something of another kind is there: a file never replaces a directory, nor the other way round, nor a link.
    #[error("replace {}: it is not a {}", path.display(), match kind {
        Kind::Directory => "directory",
        Kind::File | Kind::Symlink | Kind::Other => "regular file",
    })]
    OtherKind {
        /// What is there.
        path: PathBuf,
        /// What would replace it.
        kind: Kind,
    },
    /// A link is in the place of one of its directories; an earlier export may have put it there.
    #[error("write {}: a directory on the way is a link, and nothing is written through links", .0.display())]
    Linked(PathBuf),
    /// The archive breaks the rules.
    #[error("unpack the export: {0}")]
    Archive(String),
    /// The archive ended early or the link to the guest failed.
    #[error("receive the export")]
    Receive(#[source] io::Error),
    /// The host's disk refuses.
    #[error("{what} {}", path.display())]
    Host {
        /// What was tried, completing "could not ...".
        what: &'static str,
        /// On what.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
}

/// A host file that was written.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(into = "super::host_file::Data", try_from = "super::host_file::Data")]
pub struct HostFile {
    /// Absolute.
    pub path: PathBuf,
    /// Bytes.
    pub size: u64,
    /// Of the contents.
    pub sha256: Digest,
}

fn host(what: &'static str, path: &Path) -> impl FnOnce(Errno) -> HostWriteError {
    let path = path.to_owned();
    move |errno| HostWriteError::Host {
        what,
        path,
        source: errno.into(),
    }
}

/// Unpacks `archive` so that the whole of it becomes `target`. Returns the regular files, sorted by path.
///
/// # Errors
/// Where anything is wrong with the archive or the host; then the target is as it was.
pub fn unpack(
    archive: impl Read,
    target: &HostTarget<'_>,
    run: &RunDir,
) -> Result<Vec<HostFile>, HostWriteError> {
    let path = target.path;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(HostWriteError::Archive(format!(
            "{} is no place for a file",
            path.display()
        )));
    };
    let (folder, made) = make_parents(parent, path)?;
    let result = unpack_beside(archive, target, run, &folder, name.as_bytes());
    if result.is_err() {
        for made in made.iter().rev() {
            let _not_empty = fs::remove_dir(made);
        }
    }
    result
}

/// Opens the directory that the target lies in, making what is missing. Returns it and what was made, outermost
/// first.
///
/// The plan resolved every link that was there; one that is met now was made since, by an earlier export of this run
/// for all we know, and would carry the file to a place that nobody was shown.
fn make_parents(parent: &Path, target: &Path) -> Result<(OwnedFd, Vec<PathBuf>), HostWriteError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY;
    let mut folder = rustix::fs::open(c"/", flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(host("open", parent))?;
    let mut path = PathBuf::from("/");
    let mut made = Vec::new();
    for part in parent.components() {
        let std::path::Component::Normal(part) = part else {
            continue;
        };
        path.push(part);
        let part = part.as_bytes();
        let mut opened = open_beneath(&folder, part, flags, Mode::empty());
        if matches!(opened, Err(Errno::NOENT)) {
            match mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                Ok(()) => made.push(path.clone()),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(host("make", &path)(errno)),
            }
            opened = open_beneath(&folder, part, flags, Mode::empty());
        }
        folder = match opened {
            Err(Errno::LOOP | Errno::NOTDIR) if is_link(&folder, part) => {
                return Err(HostWriteError::Linked(target.to_owned()));
            }
            opened => opened.map_err(host("open", &path))?,
        };
    }
    Ok((folder, made))
}

fn is_link(folder: &OwnedFd, name: &[u8]) -> bool {
    rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode).is_symlink())
}

fn unpack_beside(
    archive: impl Read,
    target: &HostTarget<'_>,
    run: &RunDir,
    folder: &OwnedFd,
    name: &[u8],
) -> Result<Vec<HostFile>, HostWriteError> {
    let mut temporary_name = PREFIX.to_vec();
    temporary_name.extend_from_slice(format!("{}-{}", run.id(), unique()).as_bytes());
    let temporary = target
        .path
        .with_file_name(std::ffi::OsStr::from_bytes(&temporary_name));
    run.note_host_write(&temporary)
        .map_err(|source| HostWriteError::Host {
            what: "note the temporary",
            path: temporary.clone(),
            source,
        })?;
    let result = receive(archive, target, folder, &temporary, &temporary_name).and_then(|files| {
        commit(target, folder, &temporary_name, name)?;
        Ok(files)
    });
    match &result {
        Ok(_) if target.overwrite == Overwrite::Refuse => {}
        // After an exchange the old contents lie under the temporary's name; after a failure, the new ones.
        Ok(_) | Err(_) => {
            if unlinkat(folder, &*temporary_name, AtFlags::empty()).is_err() {
                let _gone = remove_tree_at(folder, &temporary_name);
            }
        }
    }
    result
}

/// Unpacks into the temporary.
fn receive(
    archive: impl Read,
    target: &HostTarget<'_>,
    folder: &OwnedFd,
    temporary: &Path,
    temporary_name: &[u8],
) -> Result<Vec<HostFile>, HostWriteError> {
    let mut unpacker = Unpacker {
        target,
        written: 0,
        files: BTreeMap::new(),
        modes: Vec::new(),
    };
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().map_err(HostWriteError::Receive)?;
    match target.kind {
        Kind::Directory => {
            mkdirat(folder, temporary_name, Mode::RWXU).map_err(host("make", temporary))?;
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let top = rustix::fs::openat(folder, temporary_name, flags, Mode::empty())
                .map_err(host("open", temporary))?;
            let mut top_mode = 0o755;
            for entry in entries {
                let entry = entry.map_err(HostWriteError::Receive)?;
                if let Some(mode) = unpacker.entry(&top, entry)? {
                    top_mode = mode;
                }
            }
            unpacker.finish_directories(&top)?;
            rustix::fs::fchmod(&top, Mode::from_raw_mode(top_mode | 0o700))
                .map_err(host("chmod", temporary))?;
        }
        Kind::File => {
            let mut entries = entries;
            let entry = entries
                .next()
                .ok_or_else(|| bad("it is empty"))?
                .map_err(HostWriteError::Receive)?;
            if !entry.header().entry_type().is_file() {
                return Err(bad("it is not one file"));
            }
            unpacker.file(folder, temporary_name, b"", entry)?;
            if entries.next().is_some() {
                return Err(bad("it is more than one file"));
            }
        }
        Kind::Symlink | Kind::Other => return Err(bad("it is neither a file nor a directory")),
    }
    Ok(unpacker.files.into_values().collect())
}

/// Gives the temporary its final name.
fn commit(
    target: &HostTarget<'_>,
    folder: &OwnedFd,
    from: &[u8],
    to: &[u8],
) -> Result<(), HostWriteError> {
    let rename = |flags| renameat_with(folder, from, folder, to, flags);
    match rename(RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(Errno::EXIST) if target.overwrite == Overwrite::Refuse => {
            Err(HostWriteError::Exists(target.path.to_owned()))
        }
        Err(Errno::EXIST) => {
            same_kind(target, folder, to)?;
            rename(RenameFlags::EXCHANGE).map_err(host("replace", target.path))
        }
        // The file system has no such rename. The window between look and rename is then open to the caller's
        // own processes only.
        Err(Errno::INVAL | Errno::NOSYS) if target.overwrite == Overwrite::Refuse => {
            if rustix::fs::statat(folder, to, AtFlags::SYMLINK_NOFOLLOW).is_ok() {
                return Err(HostWriteError::Exists(target.path.to_owned()));
            }
            rename(RenameFlags::empty()).map_err(host("rename to", target.path))
        }
        Err(Errno::INVAL | Errno::NOSYS) => {
            same_kind(target, folder, to)?;
            rename(RenameFlags::empty()).map_err(host("replace", target.path))
        }
        Err(errno) => Err(host("rename to", target.path)(errno)),
    }
}

/// The plan may not have known what the workspace path would be; the sandbox decides that, not what goes.
fn same_kind(target: &HostTarget<'_>, folder: &OwnedFd, name: &[u8]) -> Result<(), HostWriteError> {
    let there = match rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => FileType::from_raw_mode(stat.st_mode),
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(host("look at", target.path)(errno)),
    };
    let same = match target.kind {
        Kind::Directory => there.is_dir(),
        Kind::File => there.is_file(),
        Kind::Symlink | Kind::Other => false,
    };
    if same {
        return Ok(());
    }
    Err(HostWriteError::OtherKind {
        path: target.path.to_owned(),
        kind: target.kind,
    })
}

fn bad(reason: impl Into<String>) -> HostWriteError {
    HostWriteError::Archive(reason.into())
}

/// A number that no other temporary of this process has.
pub(super) fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

struct Unpacker<'a> {
    target: &'a HostTarget<'a>,
    written: u64,
    /// By archive name, so that a name that comes twice is seen.
    files: BTreeMap<Vec<u8>, HostFile>,
    /// Directories get their modes last: a closed one could not be filled.
    modes: Vec<(Vec<u8>, u32)>,
}

impl Unpacker<'_> {
    /// Unpacks one entry below `top`. Returns the mode where it is `top` itself.
    fn entry<R: Read>(
        &mut self,
        top: &OwnedFd,
        entry: tar::Entry<'_, R>,
    ) -> Result<Option<u32>, HostWriteError> {
        let name = safe_name(&entry.path_bytes())?;
        let kind = entry.header().entry_type();
        let mode = entry.header().mode().unwrap_or(0o755) & 0o777;
        let Some((parent, last)) = split(&name) else {
            return if kind.is_dir() {
                Ok(Some(mode))
            } else {
                Err(bad("it has an entry without a name"))
            };
        };
        let shown = self.shown(&name);
        let folder = self.directory(top, parent)?;
        if kind.is_dir() {
            match mkdirat(&folder, last, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(host("make", &shown)(errno)),
            }
            self.modes.push((name, mode));
        } else if kind.is_file() {
            self.file(&folder, last, &name, entry)?;
        } else if kind.is_symlink() {
            let points_to = entry
                .link_name_bytes()
                .ok_or_else(|| bad("a link has no target"))?
                .into_owned();
            symlinkat(&*points_to, &folder, last).map_err(host("link", &shown))?;
        } else if kind.is_hard_link() {
            let first = safe_name(
                &entry
                    .link_name_bytes()
                    .ok_or_else(|| bad("a link has no target"))?,
            )?;
            let (first_parent, first_last) =
                split(&first).ok_or_else(|| bad("a link has no target"))?;
            let twin = self
                .files
                .get(&first)
                .cloned()
                .ok_or_else(|| bad("a hard link to no file of the archive"))?;
            let first_folder = self.directory(top, first_parent)?;
            linkat(&first_folder, first_last, &folder, last, AtFlags::empty())
                .map_err(host("link", &shown))?;
            self.files.insert(
                name,
                HostFile {
                    path: shown,
                    ..twin
                },
            );
        } else {
            return Err(bad(format!(
                "{} is neither file, directory nor link",
                shown.display()
            )));
        }
        Ok(None)
    }

    /// Opens a directory below `top`, through no link, making what is missing.
    fn directory(&self, top: &OwnedFd, path: &[u8]) -> Result<OwnedFd, HostWriteError> {
        let mut folder = top.try_clone().map_err(HostWriteError::Receive)?;
        for part in path
            .split(|byte| *byte == b'/')
            .filter(|part| !part.is_empty())
        {
            match mkdirat(&folder, part, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(host("make", &self.shown(path))(errno)),
            }
            folder = open_beneath(
                &folder,
                part,
                OFlags::RDONLY | OFlags::DIRECTORY,
                Mode::empty(),
            )
            .map_err(host("open", &self.shown(path)))?;
        }
        Ok(folder)
    }

    fn file<R: Read>(
        &mut self,
        folder: &OwnedFd,
        last: &[u8],
        name: &[u8],
        mut entry: tar::Entry<'_, R>,
    ) -> Result<(), HostWriteError> {
        let shown = self.shown(name);
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
        let fd = open_beneath(folder, last, flags, Mode::RUSR | Mode::WUSR)
            .map_err(host("write", &shown))?;
        let mut file = File::from(fd);
        let mode = entry.header().mode().unwrap_or(0o644) & 0o777;
        let mut sha256 = Sha256::new();
        let mut size = 0;
        let mut buffer = vec![0; 64 << 10];
        loop {
            let count = entry.read(&mut buffer).map_err(HostWriteError::Receive)?;
            if count == 0 {
                break;
            }
            size += count as u64;
            self.written += count as u64;
            if self.written > self.target.limit {
                return Err(bad(format!(
                    "it is larger than {} bytes",
                    self.target.limit
                )));
            }
            sha256.update(&buffer[..count]);
            let written = file.write_all(&buffer[..count]);
            written.map_err(|source| HostWriteError::Host {
                what: "write",
                path: shown.clone(),
                source,
            })?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(mode)).map_err(host("chmod", &shown))?;
        let sha256 = Digest(sha256.finalize().into());
        self.files.insert(
            name.to_vec(),
            HostFile {
                path: shown,
                size,
                sha256,
            },
        );
        Ok(())
    }

    fn finish_directories(&self, top: &OwnedFd) -> Result<(), HostWriteError> {
        for (name, mode) in self.modes.iter().rev() {
            let folder = self.directory(top, name)?;
            rustix::fs::fchmod(&folder, Mode::from_raw_mode(*mode))
                .map_err(host("chmod", &self.shown(name)))?;
        }
        Ok(())
    }

    /// The final path of an entry, for messages and the receipt.
    fn shown(&self, name: &[u8]) -> PathBuf {
        if name.is_empty() {
            self.target.path.to_owned()
        } else {
            self.target.path.join(std::ffi::OsStr::from_bytes(name))
        }
    }
}

pub(super) fn open_beneath(
    base: impl AsFd,
    name: &[u8],
    flags: OFlags,
    mode: Mode,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let waiting = match flags.contains(OFlags::PATH) {
        true => OFlags::empty(),
        false => OFlags::NONBLOCK,
    };
    openat2(
        base,
        name,
        flags | waiting | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        mode,
        resolve,
    )
}

/// The name of an entry without `./` and trailing slashes.
fn safe_name(name: &[u8]) -> Result<Vec<u8>, HostWriteError> {
    if name.starts_with(b"/") || name.contains(&0) {
        return Err(bad(format!(
            "{:?} is not a relative name",
            String::from_utf8_lossy(name)
        )));
    }
    let mut out = Vec::with_capacity(name.len());
    for part in name
        .split(|byte| *byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
    {
        if part == b".." {
            return Err(bad(format!(
                "{:?} has a `..` part",
                String::from_utf8_lossy(name)
            )));
        }
        if !out.is_empty() {
            out.push(b'/');
        }
        out.extend_from_slice(part);
    }
    Ok(out)
}

/// The directory and the last part of a name; `None` for no name.
fn split(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.is_empty() {
        return None;
    }
    Some(match name.iter().rposition(|byte| *byte == b'/') {
        Some(slash) => (&name[..slash], &name[slash + 1..]),
        None => (&[], name),
    })
}

#[cfg(test)]
mod tests;
