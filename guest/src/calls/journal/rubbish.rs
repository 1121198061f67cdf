//! What is left on the stage when its time is over.

use crate::calls::walk::{self, Depth};
use crate::tree::{self, Links};
use pyro_protocol::message::Kind;
use rustix::fs::{self, AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// The names in a directory.
///
/// # Errors
/// What the kernel says.
pub(crate) fn names(dir: BorrowedFd<'_>) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir)? {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    Ok(names)
}

/// Removes a path and all below it, as far as the kernel lets us. For the stage, where no program interferes.
///
/// Any depth: what lies deep is first moved up beside its top.
pub(crate) fn remove_all(dir: BorrowedFd<'_>, name: &[u8]) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let open = |name: &[u8]| match fs::openat(dir, name, flags, Mode::empty()) {
        Err(Errno::ACCESS) => {
            // Only ever a directory of ours: links cannot be reached through an unreadable one.
            let _ = fs::chmodat(dir, name, Mode::RWXU, AtFlags::empty());
            fs::openat(dir, name, flags, Mode::empty())
        }
        done => done,
    };
    let mut waiting = vec![name.to_vec()];
    let mut serial = 0u64;
    while let Some(name) = waiting.pop() {
        if fs::unlinkat(dir, name.as_slice(), AtFlags::empty()).is_ok() {
            continue;
        }
        let Ok(folder) = open(&name) else { continue };
        let _ = fs::fchmod(&folder, Mode::RWXU);
        let Ok(entries) = Dir::read_from(&folder) else {
            continue;
        };
        let mut below = Vec::new();
        for entry in entries.flatten() {
            let inner = entry.file_name();
            if inner.to_bytes() == b"." || inner.to_bytes() == b".." {
                continue;
            }
            let plain = !matches!(entry.file_type(), FileType::Directory | FileType::Unknown);
            if plain || fs::unlinkat(&folder, inner, AtFlags::empty()).is_ok() {
                let _ = fs::unlinkat(&folder, inner, AtFlags::empty());
                continue;
            }
            if fs::unlinkat(&folder, inner, AtFlags::REMOVEDIR).is_ok() {
                continue;
            }
            serial += 1;
            let up = format!(
                "{}.{serial}",
                String::from_utf8_lossy(&name)
                    .chars()
                    .take(32)
                    .collect::<String>()
            );
            if let Ok(inner_fd) = fs::openat(&folder, inner, flags, Mode::empty()) {
                // Moving a directory rewrites its `..`, for which it must be writable.
                let _ = fs::fchmod(&inner_fd, Mode::RWXU);
            } else {
                let _ = fs::chmodat(&folder, inner, Mode::RWXU, AtFlags::empty());
            }
            let flags = RenameFlags::NOREPLACE;
            if fs::renameat_with(&folder, inner, dir, up.as_str(), flags).is_ok() {
                below.push(up.into_bytes());
            }
        }
        drop(folder);
        let _ = fs::unlinkat(dir, name.as_slice(), AtFlags::REMOVEDIR);
        waiting.append(&mut below);
    }
}

/// Removes those names of files in a directory, at any depth, that are not the only ones. That frees no room, so it is
/// quick.
pub(crate) fn unlink_shared(dir: BorrowedFd<'_>, name: &[u8]) {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let Ok(folder) = fs::openat(dir, name, flags, Mode::empty()) else {
        return;
    };
    let mut shared = Vec::new();
    let _ = walk::walk(&folder, Depth::All, &mut |found| {
        if found.kind == Kind::File && found.stat.st_nlink > 1 {
            shared.push(found.path.to_vec());
        }
        Ok(())
    });
    for path in shared {
        let (above, last) = tree::split(&path).unwrap_or((b"", &path));
        if let Ok(above) = tree::open_parent(&folder, above, Links::Refuse) {
            let _ = fs::unlinkat(&above, last, AtFlags::empty());
        }
    }
}
