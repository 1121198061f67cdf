//! Whom a workspace's files belong to: root's machines have a range of ids each, and may get another one the next time.
//!
//! ```text
//!  owners.json {base, left: []}      all belongs to the range from `base` on
//!              {base, left: [old]}   what still belongs to `old` is on its way there; killed in between, the next goes on
//! ```

use super::{Home, replace_file};
use crate::machine::in_range;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, Stat, Uid, openat};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Owners {
    base: u32,
    #[serde(default)]
    left: Vec<u32>,
    /// A file that loses these bits when it is given away, and gets them back.
    #[serde(default)]
    bits: Option<Bits>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Bits {
    inode: u64,
    mode: u32,
}

/// The range that the machine had the last time.
pub(crate) fn last_base(home: &Home) -> Option<u32> {
    read(&home.owners())
        .ok()
        .flatten()
        .map(|owners| owners.base)
}

/// Gives everything that belonged to an earlier range to the one from `base` on; how many paths that were. Nothing may
/// run in the workspace.
///
/// # Errors
/// Where the disk refuses; called again, it goes on.
pub(crate) fn settle(home: &Home, base: u32) -> io::Result<u64> {
    settle_in(&home.owners(), &home.run(), base)
}

fn settle_in(note: &Path, run: &Path, base: u32) -> io::Result<u64> {
    let Some(owners) = read(note)? else {
        // The first time: the one who filled it knew.
        write(
            note,
            &Owners {
                base,
                ..Owners::default()
            },
        )?;
        return Ok(0);
    };
    let mut left = owners.left;
    left.push(owners.base);
    left.retain(|old| *old != base);
    left.dedup();
    if left.is_empty() {
        return Ok(0);
    }
    let mut shift = Shift {
        note,
        owners: Owners {
            base,
            left,
            bits: owners.bits,
        },
        given: 0,
    };
    write(note, &shift.owners)?;
    shift.walk(run)?;
    write(
        note,
        &Owners {
            base,
            ..Owners::default()
        },
    )?;
    Ok(shift.given)
}

fn read(note: &Path) -> io::Result<Option<Owners>> {
    match fs::read(note) {
        Ok(text) => Ok(Some(serde_json::from_slice(&text)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write(note: &Path, owners: &Owners) -> io::Result<()> {
    replace_file(note, &serde_json::to_vec(owners)?)
}

struct Shift<'a> {
    note: &'a Path,
    owners: Owners,
    given: u64,
}

impl Shift<'_> {
    /// At any depth only two directories are open: the way back is `..`.
    fn walk(&mut self, top: &Path) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut dir = openat(CWD, top, flags, Mode::empty())?;
        self.give(dir.as_fd(), b".")?;
        let mut waiting = vec![self.entries(&dir)?];
        while let Some(names) = waiting.last_mut() {
            if let Some(name) = names.pop() {
                dir = openat(&dir, name.as_slice(), flags, Mode::empty())?;
                waiting.push(self.entries(&dir)?);
            } else {
                waiting.pop();
                if !waiting.is_empty() {
                    dir = openat(&dir, c"..", flags, Mode::empty())?;
                }
            }
        }
        Ok(())
    }

    /// Gives away the entries of a directory; the directories among them.
    fn entries(&mut self, dir: &OwnedFd) -> io::Result<Vec<Vec<u8>>> {
        let mut directories = Vec::new();
        for entry in Dir::read_from(dir)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if name == b"." || name == b".." {
                continue;
            }
            if self.give(dir.as_fd(), name)? {
                directories.push(name.to_vec());
            }
        }
        Ok(directories)
    }

    /// Whether it is a directory.
    fn give(&mut self, dir: BorrowedFd<'_>, name: &[u8]) -> io::Result<bool> {
        let found = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(found.st_mode);
        let (uid, gid) = (self.moved(found.st_uid), self.moved(found.st_gid));
        if uid.is_some() || gid.is_some() {
            // The kernel takes these away from any file that changes hands.
            let bits = found.st_mode & 0o6000 != 0 && kind == FileType::RegularFile;
            if bits {
                self.note(Some(Bits {
                    inode: found.st_ino,
                    mode: found.st_mode & 0o7777,
                }))?;
            }
            let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
            rustix::fs::chownat(dir, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
            self.given += 1;
        }
        self.give_back(dir, name, &found)?;
        Ok(kind == FileType::Directory)
    }

    fn give_back(&mut self, dir: BorrowedFd<'_>, name: &[u8], found: &Stat) -> io::Result<()> {
        if let Some(Bits { inode, mode }) = self.owners.bits
            && inode == found.st_ino
            && FileType::from_raw_mode(found.st_mode) == FileType::RegularFile
        {
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let file = openat(dir, name, flags, Mode::empty())?;
            let itself = format!("/proc/self/fd/{}", file.as_raw_fd());
            rustix::fs::chmod(itself.as_str(), Mode::from_raw_mode(mode))?;
            self.note(None)?;
        }
        Ok(())
    }

    fn note(&mut self, bits: Option<Bits>) -> io::Result<()> {
        self.owners.bits = bits;
        write(self.note, &self.owners)
    }

    /// The id that takes the place of one of an earlier range.
    fn moved(&self, id: u32) -> Option<u32> {
        let above = self.owners.left.iter().find_map(|old| in_range(id, *old))?;
        Some(self.owners.base + above)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown, symlink};

    const A: u32 = 0x7000_0000;
    const B: u32 = 0x7002_0000;
    const C: u32 = 0x7004_0000;

    #[test]
    fn everything_goes_to_the_new_range_and_an_interrupted_shift_is_finished() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let base = tempfile::tempdir().expect("a folder");
        let (note, run) = (base.path().join("owners.json"), base.path().join("run"));
        let at = |path: &str| run.join(path);
        fs::create_dir_all(at("tree/closed/deep")).expect("makes");
        fs::write(at("tree/closed/deep/file"), "x").expect("writes");
        fs::write(at("tree/special"), "x").expect("writes");
        fs::write(at("baseline"), "x").expect("writes");
        symlink("/etc/passwd", at("tree/link")).expect("links");
        let own = |path: &str, id| lchown(at(path), Some(id), Some(id)).expect("gives");
        let owner = |path: &str| fs::symlink_metadata(at(path)).expect("there").uid();
        let mode = |path: &str| fs::metadata(at(path)).expect("there").mode() & 0o7777;
        for (path, id) in [
            ("tree", A + 1),
            ("tree/closed", A + 1),
            ("tree/closed/deep", A + 1000),
            ("tree/closed/deep/file", A + 65_536),
            ("tree/link", A + 1),
            // An earlier shift did not come further, and had just given this one away.
            ("tree/special", B + 1),
        ] {
            own(path, id);
        }
        fs::set_permissions(at("tree/closed"), fs::Permissions::from_mode(0o000)).expect("closes");
        fs::set_permissions(at("tree/special"), fs::Permissions::from_mode(0o755)).expect("sets");
        assert_eq!(settle_in(&note, &run, A).expect("notes"), 0);
        let half = Owners {
            base: B,
            left: vec![A],
            bits: Some(Bits {
                inode: fs::metadata(at("tree/special")).expect("there").ino(),
                mode: 0o4755,
            }),
        };
        write(&note, &half).expect("notes");
        assert_eq!(settle_in(&note, &run, C).expect("gives"), 6);
        assert_eq!(owner("tree"), C + 1);
        assert_eq!(owner("tree/closed/deep"), C + 1000);
        assert_eq!(owner("tree/closed/deep/file"), C + 65_536);
        assert_eq!((owner("tree/link"), owner("baseline")), (C + 1, 0));
        assert_eq!(
            (owner("tree/special"), mode("tree/special")),
            (C + 1, 0o4755)
        );
        assert_eq!(mode("tree/closed"), 0);
        assert_eq!(fs::metadata("/etc/passwd").expect("there").uid(), 0);
        assert_eq!(settle_in(&note, &run, C).expect("nothing"), 0);
        // Its bits are given back at once, too.
        fs::set_permissions(at("tree/special"), fs::Permissions::from_mode(0o6711)).expect("sets");
        assert_eq!(settle_in(&note, &run, A).expect("gives"), 6);
        assert_eq!(
            (owner("tree/special"), mode("tree/special")),
            (A + 1, 0o6711)
        );
        let done = Owners {
            base: A,
            ..Owners::default()
        };
        assert_eq!(read(&note).expect("reads"), Some(done));
    }
}
