//! What a workspace was: its baseline, its marks and their contents, copied for another one.

use super::Home;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Uid};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);
/// The trees of a mark. That of the work tree comes last: with it, the mark is there.
const TREES: [&str; 3] = ["system", "layer", "work"];

/// The names of the marks of a workspace.
///
/// # Errors
/// Where they cannot be listed.
pub(crate) fn marks(home: &Home) -> io::Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let folder = match folder(CWD, home.run().join("marks")) {
        Ok(folder) => folder,
        Err(Errno::NOENT) => return Ok(names),
        Err(errno) => return Err(errno.into()),
    };
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name().to_str().ok();
        names.extend(name.and_then(|name| Some(name.strip_suffix(".work")?.to_owned())));
    }
    Ok(names)
}

/// Removes what marks that were never finished have left: files of names that are `dead`, none of which is a mark.
///
/// # Errors
/// Where the disk refuses.
pub(crate) fn remove_unfinished(home: &Home, dead: impl Fn(&str) -> bool) -> io::Result<()> {
    let folder = folder(CWD, home.run().join("marks"))?;
    for entry in Dir::read_from(&folder)? {
        let entry = entry?;
        let name = entry.file_name();
        let mark = name.to_str().ok().and_then(|name| name.split_once('.'));
        if !mark.is_some_and(|(mark, _)| dead(mark)) {
            continue;
        }
        match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
}

/// Copies baseline, packs and these marks into the folder of a workspace that is being made, whose tree stays empty.
/// Everything keeps its owners, which are noted beside it. No mark may be forgotten meanwhile; more may be made: their
/// contents are added behind those of the others.
///
/// # Errors
/// Where something cannot be read, or not written.
pub(crate) fn copy_past(from: &Home, to: &Home, marks: &BTreeSet<String>) -> io::Result<()> {
    let (old, new) = (folder(CWD, from.run())?, folder(CWD, to.run())?);
    copy(&old, &new, "baseline")?;
    // It never changes, so both can have it.
    if rustix::fs::linkat(&old, "pack", &new, "pack", AtFlags::empty()).is_err() {
        copy(&old, &new, "pack")?;
    }
    rustix::fs::mkdirat(&new, "marks", Mode::RWXU)?;
    let (old_marks, new_marks) = (folder(&old, "marks")?, folder(&new, "marks")?);
    for mark in marks {
        for tree in TREES {
            copy(&old_marks, &new_marks, &format!("{mark}.{tree}"))?;
        }
    }
    copy(&old_marks, &new_marks, "pack")?;
    let stat = rustix::fs::fstat(&old_marks)?;
    like(&new_marks, &stat)?;
    let stat = rustix::fs::statat(&old, "tree", AtFlags::SYMLINK_NOFOLLOW)?;
    like(folder(&new, "tree")?, &stat)?;
    // The keeper gives all of it to the ids of the new machine.
    let (old, new) = (folder(CWD, from.path())?, folder(CWD, to.path())?);
    copy(&old, &new, "owners.json")
}

fn folder(at: impl AsFd, path: impl AsRef<Path>) -> rustix::io::Result<OwnedFd> {
    rustix::fs::openat(at, path.as_ref(), FOLDER, Mode::empty())
}

/// Copies a file, where there is one.
fn copy(from: &OwnedFd, to: &OwnedFd, name: &str) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let from = match rustix::fs::openat(from, name, flags, Mode::empty()) {
        Ok(from) => File::from(from),
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let stat = rustix::fs::fstat(&from)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::other(format!("{name} is no file")));
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to: File = rustix::fs::openat(to, name, flags, Mode::RUSR | Mode::WUSR)?.into();
    if rustix::fs::ioctl_ficlone(&to, &from).is_err() {
        pieces(&from, &to)?;
        to.set_len(u64::try_from(stat.st_size).unwrap_or(0))?;
    }
    like(&to, &stat)
}

/// Copies what is no hole.
fn pieces(from: &File, to: &File) -> io::Result<()> {
    let mut at = 0;
    loop {
        let begin = match rustix::fs::seek(from, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        at = match rustix::fs::seek(from, SeekFrom::Hole(begin)) {
            Ok(end) => end,
            // It has become shorter.
            Err(Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        rustix::fs::seek(from, SeekFrom::Start(begin))?;
        rustix::fs::seek(to, SeekFrom::Start(begin))?;
        let (from, mut to) = (from, to);
        io::copy(&mut from.take(at - begin), &mut to)?;
    }
}

/// Gives a file owners and mode of another one.
fn like(file: impl AsFd, other: &Stat) -> io::Result<()> {
    let ours = rustix::fs::fstat(&file)?;
    if (ours.st_uid, ours.st_gid) != (other.st_uid, other.st_gid) {
        let (uid, gid) = (Uid::from_raw(other.st_uid), Gid::from_raw(other.st_gid));
        rustix::fs::fchown(&file, Some(uid), Some(gid))?;
    }
    Ok(rustix::fs::fchmod(
        &file,
        Mode::from_raw_mode(other.st_mode & 0o7777),
    )?)
}
