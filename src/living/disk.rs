//! The files of a stopped workspace, read by the host itself: nothing of it runs, and nothing is started.
//!
//! Every path is one `openat2` below the tree, so no link leads out of it.

use super::{LivingError, Workspaces};
use crate::secret::Redaction;
use crate::workspace::registry::{Record, State};
use crate::workspace::{Home, Lifecycle};
use rustix::fs::{Dir, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;

/// Directories deeper than this are not descended into.
const MAX_DEPTH: usize = 512;
/// More entries than this are not listed at once.
const MAX_ENTRIES: usize = 1_000_000;

/// Something on the disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskEntry {
    /// Relative to `/workspace`.
    pub path: Vec<u8>,
    /// `file`, `directory`, `symlink`, `other`.
    pub kind: &'static str,
    /// Of a file.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// Where a link points.
    pub target: Option<Vec<u8>>,
}

/// A file, or the beginning of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskFile {
    /// Its first bytes, without secrets.
    pub bytes: Vec<u8>,
    /// Of all of it.
    pub size: u64,
    /// Whether there is more than what was read.
    pub truncated: bool,
    /// Whether secrets were taken out.
    pub redacted: bool,
}

/// What takes the secrets that a workspace keeps out of texts.
fn kept(record: &Record, home: &Home) -> Result<Redaction, LivingError> {
    let names = record.secrets.iter().map(|secret| secret.name.as_str());
    Ok(home.secrets(names)?.redaction().clone())
}

impl Workspaces {
    /// Lists a directory of a stopped workspace (or shows the one file), sorted by path.
    ///
    /// # Errors
    /// Where it is not stopped, or there is no such path.
    pub fn disk_list(
        &mut self,
        name_or_id: &str,
        path: &str,
        recursive: bool,
    ) -> Result<(Record, Vec<DiskEntry>), LivingError> {
        let (record, home, _lifecycle) = self.stopped(name_or_id)?;
        let path = below(path)?;
        let failed = |errno: Errno| failed("list", &path, errno);
        let root = root(&home).map_err(failed)?;
        let mut found = Vec::new();
        let stat = look(&root, &path).map_err(failed)?;
        match stat.kind {
            "directory" => {
                walk(&root, &path, recursive, 0, &mut found).map_err(failed)?;
            }
            _ => found.push(stat),
        }
        found.sort_by(|a, b| a.path.cmp(&b.path));
        let redaction = kept(&record, &home)?;
        for entry in &mut found {
            entry.path = redaction.bytes(&entry.path).into_owned();
            if let Some(target) = &mut entry.target {
                *target = redaction.bytes(target).into_owned();
            }
        }
        Ok((record, found))
    }

    /// Reads a file of a stopped workspace. Links are not followed.
    ///
    /// # Errors
    /// Where it is not stopped, or there is no such file.
    pub fn disk_read(
        &mut self,
        name_or_id: &str,
        path: &str,
        max_bytes: u64,
    ) -> Result<(Record, DiskFile), LivingError> {
        let (record, home, _lifecycle) = self.stopped(name_or_id)?;
        let path = below(path)?;
        let redaction = kept(&record, &home)?;
        let read = || {
            let root = root(&home)?;
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
            let file = File::from(open(root.as_fd(), &path, flags)?);
            let metadata = file.metadata()?;
            if !metadata.is_file() {
                return Err(io::Error::other("it is no file"));
            }
            let mut bytes = Vec::new();
            file.take(max_bytes.saturating_add(redaction.reach()))
                .read_to_end(&mut bytes)?;
            let end = usize::try_from(max_bytes).map_or(bytes.len(), |most| most.min(bytes.len()));
            let clean = redaction.within(&bytes, 0..end).into_owned();
            let size = metadata.len();
            Ok(DiskFile {
                truncated: size > end as u64,
                redacted: clean != bytes[..end],
                bytes: clean,
                size,
            })
        };
        let file = read().map_err(|source| LivingError::Disk {
            what: "read",
            path: String::from_utf8_lossy(&path).into_owned(),
            source,
        })?;
        Ok((record, file))
    }

    /// Writes all files of a stopped workspace into a tar, which must not be there yet; its size.
    ///
    /// # Errors
    /// Where it is not stopped, something cannot be read, or the tar not be written; then there is none.
    pub fn disk_export(
        &mut self,
        name_or_id: &str,
        output: &Path,
    ) -> Result<(Record, u64), LivingError> {
        let (record, home, _lifecycle) = self.stopped(name_or_id)?;
        let failed = |source| LivingError::Disk {
            what: "write",
            path: output.display().to_string(),
            source,
        };
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(output).map_err(failed)?;
        let write = || {
            let mut tar = tar::Builder::new(io::BufWriter::with_capacity(1 << 20, &file));
            tar.follow_symlinks(false);
            tar.append_dir_all(".", home.tree())?;
            tar.into_inner()?
                .into_inner()
                .map_err(io::IntoInnerError::into_error)?;
            file.metadata().map(|metadata| metadata.size())
        };
        write().map(|size| (record, size)).map_err(|error| {
            let _gone = std::fs::remove_file(output);
            failed(error)
        })
    }

    /// What takes the secrets of a workspace out of texts.
    ///
    /// # Errors
    /// Where there is no such workspace, or a secret that it keeps cannot be read.
    pub fn redaction(&mut self, name_or_id: &str) -> Result<Redaction, LivingError> {
        let record = self.find(name_or_id)?;
        kept(&record, &self.home(&record.id)?)
    }

    /// A workspace that is stopped, and stays so while the lifecycle is held.
    fn stopped(&mut self, name_or_id: &str) -> Result<(Record, Home, Lifecycle), LivingError> {
        let record = self.find(name_or_id)?;
        let home = self.home(&record.id)?;
        let lifecycle = home.lock()?;
        let record = self.registry.record(&record.id)?;
        match record.state {
            State::Stopped => Ok((record, home, lifecycle)),
            State::Started | State::Creating | State::Deleting => {
                Err(LivingError::NotStopped(record.id))
            }
        }
    }
}

fn failed(what: &'static str, path: &[u8], errno: Errno) -> LivingError {
    LivingError::Disk {
        what,
        path: String::from_utf8_lossy(path).into_owned(),
        source: errno.into(),
    }
}

/// The path relative to `/workspace`, with nothing in it that leads out.
fn below(path: &str) -> Result<Vec<u8>, LivingError> {
    crate::request::GuestPath::parse(path)
        .map(|path| path.as_bytes().to_vec())
        .map_err(|error| LivingError::Disk {
            what: "look at",
            path: path.to_owned(),
            source: io::Error::other(error.to_string()),
        })
}

fn root(home: &Home) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::open(home.tree(), flags, Mode::empty())
}

fn open(root: impl AsFd, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(root, path, flags, Mode::empty(), resolve)
}

fn look(root: &OwnedFd, path: &[u8]) -> Result<DiskEntry, Errno> {
    use rustix::fs::{AtFlags, readlinkat, statat};
    let (dir, name) = match path.iter().rposition(|byte| *byte == b'/') {
        Some(at) => (&path[..at], &path[at + 1..]),
        None => (&b""[..], path),
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open(root, dir, flags)?;
    let name = if name.is_empty() { b"." } else { name };
    let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    Ok(DiskEntry {
        path: path.to_vec(),
        kind: match kind {
            FileType::RegularFile => "file",
            FileType::Directory => "directory",
            FileType::Symlink => "symlink",
            FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => "other",
        },
        size: match kind {
            FileType::RegularFile | FileType::Symlink => u64::try_from(stat.st_size).unwrap_or(0),
            FileType::Directory
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => 0,
        },
        mode: stat.st_mode & 0o7777,
        target: match kind {
            FileType::Symlink => Some(readlinkat(&dir, name, Vec::new())?.into_bytes()),
            FileType::RegularFile
            | FileType::Directory
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => None,
        },
    })
}

fn walk(
    root: &OwnedFd,
    path: &[u8],
    recursive: bool,
    depth: usize,
    found: &mut Vec<DiskEntry>,
) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = open(root, path, flags)?;
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        if found.len() >= MAX_ENTRIES {
            return Err(Errno::OVERFLOW);
        }
        let mut below = path.to_vec();
        if !below.is_empty() {
            below.push(b'/');
        }
        below.extend_from_slice(name);
        let entry = look(root, &below)?;
        let descend = recursive && entry.kind == "directory" && depth < MAX_DEPTH;
        found.push(entry);
        if descend {
            walk(root, &below, recursive, depth + 1, found)?;
        }
    }
    Ok(())
}
