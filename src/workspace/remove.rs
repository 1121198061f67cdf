//! Removes a directory that hostile programs may have filled.

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, fstat, openat, renameat, unlinkat};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// Removes a directory that hostile programs may have filled: closed directories are opened up, links are never
/// followed, and any depth will do, because each subdirectory is first moved to the top.
///
/// # Errors
/// Where the disk refuses.
pub(crate) fn remove_tree(path: &Path) -> io::Result<()> {
    remove_tree_at(rustix::fs::CWD, path.as_os_str().as_bytes())
}

/// The same for a name in an open directory.
pub(super) fn remove_tree_at(base: impl AsFd, path: &[u8]) -> io::Result<()> {
    let top = match open_dir(&base, path) {
        Ok(top) => top,
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let mut moved = 0_u64;
    let mut waiting: Vec<Vec<u8>> = vec![b".".to_vec()];
    while let Some(name) = waiting.pop() {
        let dir = open_dir(&top, &name)?;
        let entries: Vec<(Vec<u8>, FileType)> = Dir::read_from(&dir)?
            .filter_map(Result::ok)
            .map(|entry| (entry.file_name().to_bytes().to_vec(), entry.file_type()))
            .filter(|(entry, _)| entry != b"." && entry != b"..")
            .collect();
        let is_top = name == b".";
        for (entry, kind) in entries {
            let directory = match kind {
                FileType::Directory => true,
                FileType::Unknown => unlinkat(&dir, &*entry, AtFlags::empty()).is_err(),
                FileType::RegularFile
                | FileType::Symlink
                | FileType::Fifo
                | FileType::Socket
                | FileType::CharacterDevice
                | FileType::BlockDevice => {
                    ignore_missing(unlinkat(&dir, &*entry, AtFlags::empty()))?;
                    false
                }
            };
            if directory {
                // Moving a directory writes its `..`, which needs permission on the directory itself.
                drop(open_dir(&dir, &entry)?);
                // The tree may hold such a name itself; then the next one is tried.
                loop {
                    moved += 1;
                    let target = format!(".remove-{moved}").into_bytes();
                    match renameat(&dir, &*entry, &top, &*target) {
                        Ok(()) => waiting.push(target),
                        Err(Errno::NOENT) => {}
                        Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOTDIR) => continue,
                        Err(errno) => return Err(errno.into()),
                    }
                    break;
                }
            }
        }
        if !is_top {
            ignore_missing(unlinkat(&top, &*name, AtFlags::REMOVEDIR))?;
        }
    }
    ignore_missing(unlinkat(&base, path, AtFlags::REMOVEDIR))
}

fn ignore_missing(result: rustix::io::Result<()>) -> io::Result<()> {
    match result {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Opens a directory, not following a link; gives its owner all permissions first where they are missing.
pub(super) fn open_dir(base: impl AsFd, name: &[u8]) -> rustix::io::Result<OwnedFd> {
    const RWX: Mode = Mode::RWXU;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match openat(&base, name, flags, Mode::empty()) {
        Ok(dir) => {
            if fstat(&dir)?.st_mode & 0o700 != 0o700 {
                rustix::fs::fchmod(&dir, RWX)?;
            }
            Ok(dir)
        }
        Err(Errno::ACCESS) => {
            // By descriptor: a program that is still ending may put a link in the directory's place.
            let closed = openat(&base, name, flags | OFlags::PATH, Mode::empty())?;
            let itself = format!("/proc/self/fd/{}", closed.as_raw_fd());
            rustix::fs::chmod(itself.as_str(), RWX)?;
            openat(&base, name, flags, Mode::empty())
        }
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::remove_tree;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn hostile_trees_are_removed() {
        let base = tempfile::tempdir().expect("a folder");
        let outside = base.path().join("outside");
        fs::create_dir(&outside).expect("makes");
        fs::write(outside.join("keep"), "x").expect("writes");
        let tree = base.path().join("tree");
        fs::create_dir(&tree).expect("makes");
        let depth = 3000;
        let mut dir = rustix::fs::open(
            &tree,
            rustix::fs::OFlags::DIRECTORY,
            rustix::fs::Mode::empty(),
        )
        .expect("opens");
        for _ in 0..depth {
            rustix::fs::mkdirat(&dir, "d", rustix::fs::Mode::RWXU).expect("makes");
            dir = rustix::fs::openat(
                &dir,
                "d",
                rustix::fs::OFlags::DIRECTORY,
                rustix::fs::Mode::empty(),
            )
            .expect("opens");
        }
        std::os::unix::fs::symlink(&outside, tree.join("link")).expect("links");
        fs::create_dir_all(tree.join(".remove-2/full")).expect("makes");
        fs::write(tree.join(".remove-1"), "x").expect("writes");
        let closed = tree.join("closed");
        fs::create_dir_all(closed.join("inner")).expect("makes");
        fs::write(closed.join("inner/file"), "x").expect("writes");
        fs::set_permissions(closed.join("inner"), fs::Permissions::from_mode(0o000))
            .expect("closes");
        fs::set_permissions(&closed, fs::Permissions::from_mode(0o100)).expect("closes");
        remove_tree(&tree).expect("removes");
        assert!(!tree.exists() && outside.join("keep").exists());
        remove_tree(&tree).expect("nothing there is fine");
    }
}
