//! Mounts by descriptor: made detached, attached at places that are opened without following a link.
//!
//! Nothing here trusts a path inside a system tree: an image may hold any link.

use super::sys::{self, Attributes};
use rustix::fs::{AtFlags, CWD, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::{Errno, Result};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags};
use rustix::path::Arg;
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path};

/// A detached copy of the mount at `path` (with all below it, where asked), cut off from mount events, with
/// `MOUNT_ATTR_*` added.
pub(crate) fn bind(
    at: BorrowedFd<'_>,
    path: impl Arg,
    set: u64,
    recursive: bool,
) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = rustix::mount::open_tree(at, path, flags)?;
    let attributes = Attributes {
        set,
        recursive,
        private: true,
        idmap: None,
    };
    sys::mount_setattr(&tree, attributes).map_err(errno)?;
    Ok(tree)
}

/// A detached copy of one of our own mounts (private already), with all below it where asked.
pub(crate) fn copy(mount: impl AsFd, recursive: bool) -> Result<OwnedFd> {
    let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    rustix::mount::open_tree(mount, c"", flags)
}

/// A detached copy of what lies at `path` in one of our own mounts, where only this process has made anything.
pub(crate) fn copy_at(mount: impl AsFd, path: &Path) -> Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
    rustix::mount::open_tree(mount, path, flags)
}

/// A new file system, detached.
pub(crate) fn new(
    kind: &str,
    options: &[(&str, &str)],
    attributes: MountAttrFlags,
) -> Result<OwnedFd> {
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    // Shown as the device in /proc/mounts; programs expect the kind of a file system that has none.
    rustix::mount::fsconfig_set_string(&context, "source", kind)?;
    for (key, value) in options {
        if value.is_empty() {
            rustix::mount::fsconfig_set_flag(&context, *key)?;
        } else {
            rustix::mount::fsconfig_set_string(&context, *key, *value)?;
        }
    }
    rustix::mount::fsconfig_create(&context)?;
    rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Attaches a detached mount on what `place` has open.
pub(crate) fn attach(mount: impl AsFd, place: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, c"", place, c"", flags)
}

/// Adds `MOUNT_ATTR_*` to one mount.
pub(crate) fn restrict(mount: impl AsFd, set: u64) -> Result<()> {
    let attributes = Attributes {
        set,
        ..Attributes::default()
    };
    sys::mount_setattr(mount, attributes).map_err(errno)
}

/// Makes `root` the root of this mount namespace and lets go of the old one.
pub(crate) fn pivot(root: impl AsFd) -> Result<()> {
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::mount::unmount(c".", rustix::mount::UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// Opens a place without following a link, for use as a handle only.
pub(crate) fn handle(at: impl AsFd, path: impl Arg) -> Result<OwnedFd> {
    open(at, path, OFlags::PATH, ResolveFlags::BENEATH)
}

fn open(at: impl AsFd, path: impl Arg, flags: OFlags, resolve: ResolveFlags) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let resolve = resolve | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(at, path, flags, Mode::empty(), resolve)
}

/// A system tree under construction: everything made in it belongs to `owner`.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The top.
    pub(crate) root: OwnedFd,
    /// uid and gid of what is made, in this user namespace.
    pub(crate) owner: u32,
    /// Whether a link or file in the place of a directory gives way: the layer is ours to change.
    pub(crate) overrule: bool,
}

impl Tree {
    /// The directory at `path` (relative), made with its parents where missing.
    pub(crate) fn directory(&self, path: &Path, mode: u32) -> Result<OwnedFd> {
        // Across mounts on purpose: a place may lie below something attached earlier.
        let find = |at: BorrowedFd<'_>, path: &Path| {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            open(at, path, flags, ResolveFlags::BENEATH)
        };
        match find(self.root.as_fd(), path) {
            Err(Errno::NOENT) => {}
            Err(Errno::LOOP | Errno::NOTDIR) if self.overrule => {}
            found => return found,
        }
        let (parent, name) = self.parent(path)?;
        let at = parent.as_fd();
        let mut made = rustix::fs::mkdirat(at, name, Mode::from_raw_mode(mode));
        if made == Err(Errno::EXIST) && self.overrule {
            // A link or a file: had it been a directory, it would have been found.
            rustix::fs::unlinkat(at, name, AtFlags::empty())?;
            made = rustix::fs::mkdirat(at, name, Mode::from_raw_mode(mode));
        }
        made?;
        self.claim(at, name)?;
        // umask is 022 here, so sticky world-writable places need to be told again.
        if mode & 0o022 != 0 {
            rustix::fs::chmodat(at, name, Mode::from_raw_mode(mode), AtFlags::empty())?;
        }
        find(at, Path::new(name))
    }

    /// Gives what was made to the tree's owner.
    pub(crate) fn claim(&self, at: BorrowedFd<'_>, name: &OsStr) -> Result<()> {
        if self.owner == 0 {
            return Ok(());
        }
        let (uid, gid) = (Uid::from_raw(self.owner), Gid::from_raw(self.owner));
        rustix::fs::chownat(at, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
    }

    /// A new directory where only this process has made anything: no link can be on the way. Its owner is that of
    /// new files; its parents are made too.
    pub(crate) fn fresh_directory(&self, path: &Path, mode: u32) -> Result<()> {
        let make = || rustix::fs::mkdirat(&self.root, path, Mode::from_raw_mode(mode));
        let made = match make() {
            Err(Errno::NOENT) => {
                self.fresh_parent(path)?;
                make()
            }
            made => made,
        };
        match made {
            // umask is 022 here, so sticky world-writable places need to be told again.
            Ok(()) if mode & 0o022 != 0 => {
                let mode = Mode::from_raw_mode(mode);
                rustix::fs::chmodat(&self.root, path, mode, AtFlags::empty())
            }
            Ok(()) | Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        }
    }

    fn fresh_parent(&self, path: &Path) -> Result<()> {
        match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => self.fresh_directory(parent, 0o755),
            _ => Err(Errno::NOENT),
        }
    }

    /// A new file, likewise; leaves what is there alone.
    pub(crate) fn fresh_file(&self, path: &Path, contents: &[u8]) -> Result<()> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let make = || rustix::fs::openat(&self.root, path, flags, Mode::from_raw_mode(0o644));
        let file = match make() {
            Err(Errno::NOENT) => {
                self.fresh_parent(path)?;
                make()
            }
            made => made,
        };
        match file {
            Ok(file) => write_all(&file, contents),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A new symbolic link, likewise.
    pub(crate) fn fresh_link(&self, path: &Path, target: &Path) -> Result<()> {
        match rustix::fs::symlinkat(target, &self.root, path) {
            Err(Errno::NOENT) => {
                self.fresh_parent(path)?;
                rustix::fs::symlinkat(target, &self.root, path)
            }
            Err(Errno::EXIST) => Ok(()),
            made => made,
        }
    }

    /// Attaches a mount, likewise.
    pub(crate) fn fresh_mount(
        &self,
        path: &Path,
        mount: impl AsFd,
        is_directory: bool,
    ) -> Result<()> {
        if is_directory {
            self.fresh_directory(path, 0o755)?;
        } else {
            self.fresh_file(path, b"")?;
        }
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(mount, c"", &self.root, path, flags)
    }

    /// A new file at `path`; leaves what is there alone.
    pub(crate) fn file(&self, path: &Path, contents: &[u8]) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = match rustix::fs::openat(parent.as_fd(), name, flags, Mode::from_raw_mode(0o644))
        {
            Err(Errno::EXIST) => return Ok(()),
            opened => opened?,
        };
        write_all(&file, contents)?;
        self.claim(parent.as_fd(), name)
    }

    /// A new symbolic link at `path`; leaves what is there alone.
    pub(crate) fn link(&self, path: &Path, target: &Path) -> Result<()> {
        let (parent, name) = self.parent(path)?;
        match rustix::fs::symlinkat(target, parent.as_fd(), name) {
            Ok(()) => self.claim(parent.as_fd(), name),
            Err(Errno::EXIST) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Attaches a mount at `path`, after making the place: a directory for a directory, else a file.
    pub(crate) fn mount(&self, path: &Path, mount: impl AsFd) -> Result<()> {
        let stat = rustix::fs::fstat(&mount)?;
        let place = if rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir() {
            self.directory(path, 0o755)?
        } else {
            self.file(path, b"")?;
            handle(&self.root, path)?
        };
        attach(mount, place)
    }

    fn parent<'a>(&self, path: &'a Path) -> Result<(Place<'_>, &'a OsStr)> {
        let plain = path
            .components()
            .all(|component| matches!(component, Component::Normal(_)));
        let name = path.file_name().filter(|_| plain).ok_or(Errno::INVAL)?;
        let place = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => {
                Place::Below(self.directory(parent, 0o755)?)
            }
            _ => Place::Top(self.root.as_fd()),
        };
        Ok((place, name))
    }
}

fn write_all(file: &OwnedFd, contents: &[u8]) -> Result<()> {
    let mut rest = contents;
    while !rest.is_empty() {
        rest = &rest[rustix::io::write(file, rest)?..];
    }
    Ok(())
}

/// Where something is made.
enum Place<'a> {
    Top(BorrowedFd<'a>),
    Below(OwnedFd),
}

impl Place<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Top(fd) => *fd,
            Self::Below(fd) => fd.as_fd(),
        }
    }
}

/// A detached copy of a host path.
pub(crate) fn bind_host(path: &[u8], set: u64) -> Result<OwnedFd> {
    bind(CWD, OsStr::from_bytes(path), set, true)
}

/// Of an error that came from a bare system call.
pub(crate) fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}
