//! The overlay of an image: its layers on the disk, and how another mount of them takes the place of the one that
//! programs see.
//!
//! ```text
//!  folder/upper, work     what is mounted now
//!  folder/*.old           of the mount before, on their way out
//! ```
//! An overlay does not expect its layers to be changed by others. So that a reset can do that, everything that moves
//! in the sandbox has ended, nobody looks through the old mount any more, and a new one becomes the root: of init,
//! too, which the kernel takes along. The new one has an upper directory of its own, filled with what was in the old
//! one, because two mounts must not share one even for a moment.

use super::exec::Entrance;
use super::mounts::{self, Tree};
use super::outer::take_root_ids;
use super::report::readable;
use super::sys::{self, Fork};
use crate::calls::journal::{names, remove_all};
use pyro_protocol::boot::Ids;
use rustix::fs::{AtFlags, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;
use rustix::mount::{MountAttrFlags, MoveMountFlags};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Between two mounts.
const PATIENCE: Duration = Duration::from_secs(10);

/// Makes `upper` and `work` in the folder ready to be mounted; finishes what an earlier one had begun.
pub(crate) fn prepare(folder: &OwnedFd, owner: u32) -> rustix::io::Result<()> {
    if !settle(folder)? {
        let tree = Tree {
            root: rustix::io::fcntl_dupfd_cloexec(folder, 3)?,
            owner,
            overrule: false,
        };
        tree.directory("upper".as_ref(), 0o755)?;
    }
    // A work directory that was mounted once is good for nothing.
    remove_all(folder.as_fd(), b"work");
    rustix::fs::mkdirat(folder, c"work", Mode::RWXU)
}

/// Finishes the move from an upper directory to the next one; whether one had begun.
///
/// # Errors
/// What the kernel says.
pub(crate) fn settle(folder: &OwnedFd) -> rustix::io::Result<bool> {
    match rustix::fs::statat(folder, c"upper.old", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => move_on(folder).map(|()| true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// An overlay on what lies at `/inner`. Programs can read the names of its layers in their mountinfo, so they are
/// relative ones.
pub(crate) fn mount(folder: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    rustix::process::fchdir(folder)?;
    let made = mounts::new(
        "overlay",
        &[
            ("userxattr", ""),
            ("lowerdir", "/inner"),
            ("upperdir", "upper"),
            ("workdir", "work"),
            // What a user namespace may not have, said aloud: the kernel's defaults depend on its configuration.
            ("redirect_dir", "nofollow"),
            ("metacopy", "off"),
            ("index", "off"),
            ("xino", "off"),
            // The layer dies with the run; nobody waits for a disk.
            ("volatile", ""),
        ],
        MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV),
    );
    rustix::process::chdir(c"/")?;
    made
}

fn directory(at: &OwnedFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(at, name, flags, Mode::empty())
}

/// Everything in `upper.old` gets into `upper`, which is made like it. May be interrupted and begun again.
fn move_on(folder: &OwnedFd) -> rustix::io::Result<()> {
    let old = directory(folder, c"upper.old")?;
    match rustix::fs::mkdirat(folder, c"upper", Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let new = directory(folder, c"upper")?;
    for name in names(old.as_fd())? {
        let (name, flags) = (name.as_slice(), RenameFlags::NOREPLACE);
        rustix::fs::renameat_with(&old, name, &new, name, flags)?;
    }
    let stat = rustix::fs::fstat(&old)?;
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(&new, Some(uid), Some(gid))?;
    rustix::fs::fchmod(&new, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    rustix::fs::unlinkat(folder, c"upper.old", AtFlags::REMOVEDIR)
}

/// The overlay that programs see.
#[derive(Debug)]
pub(crate) struct Overlay {
    pub(crate) folder: OwnedFd,
    pub(crate) entrance: Entrance,
    pub(crate) init: i32,
    pub(crate) ids: Ids,
}

impl Overlay {
    /// Lets another mount of the same layers take its place. No program lives, and nobody else changes the layer.
    ///
    /// # Errors
    /// Where the kernel refuses, and what it was; then nobody knows what programs would see.
    pub(crate) fn renew(&self) -> io::Result<()> {
        let mountinfo = std::fs::read(format!("/proc/{}/mountinfo", self.init))?;
        let places = places(&mountinfo)
            .ok_or_else(|| io::Error::other("the mounts of the sandbox cannot be told"))?;
        self.freshen()?;
        let mut copies: Vec<Option<OwnedFd>> = places.iter().map(|_| None).collect();
        let (heard, told) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        let pidfd = match sys::fork(0)? {
            // From here to the end nothing is allocated: another thread may have been allocating when we forked.
            Fork::Child => {
                let (step, errno) = match self.change(&places, &mut copies) {
                    Ok(()) => (0, 0),
                    Err((step, errno)) => (step as u8, errno.raw_os_error()),
                };
                let [low, high] = u16::try_from(errno).unwrap_or(u16::MAX).to_le_bytes();
                let _ = rustix::io::write(&told, &[step, low, high]);
                sys::exit(0)
            }
            Fork::Parent { pid: _, pidfd } => pidfd,
        };
        drop(told);
        let mut words = [0; 3];
        let said = if readable(heard.as_fd(), PATIENCE)? {
            rustix::io::read(&heard, &mut words)?
        } else {
            0
        };
        end(&pidfd);
        let errno = i32::from(u16::from_le_bytes([words[1], words[2]]));
        match (said, STEPS.get(usize::from(words[0]))) {
            (3, Some(Step::Done)) => {
                remove_all(self.folder.as_fd(), b"work.old");
                Ok(())
            }
            (3, Some(step)) => Err(io::Error::other(format!(
                "{}: {}",
                step.words(),
                io::Error::from_raw_os_error(errno)
            ))),
            _ => Err(io::Error::other("the process that mounts it died")),
        }
    }

    /// An upper directory and a work directory that were never mounted, the first with all that was in the old one.
    fn freshen(&self) -> rustix::io::Result<()> {
        let folder = &self.folder;
        let old = directory(folder, c"upper")?;
        let stat = rustix::fs::fstat(&old)?;
        rustix::fs::renameat(folder, c"upper", folder, c"upper.old")?;
        move_on(folder)?;
        let time = Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: i64::try_from(stat.st_mtime_nsec).unwrap_or(0),
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(folder, c"upper", &times, AtFlags::SYMLINK_NOFOLLOW)?;
        remove_all(folder.as_fd(), b"work.old");
        rustix::fs::renameat(folder, c"work", folder, c"work.old")?;
        rustix::fs::mkdirat(folder, c"work", Mode::RWXU)
    }

    /// What the child does. No allocation.
    fn change(
        &self,
        places: &[CString],
        copies: &mut [Option<OwnedFd>],
    ) -> Result<(), (Step, Errno)> {
        let at = |step: Step| move |errno: Errno| (step, errno);
        let overlay = mount(&self.folder).map_err(at(Step::Mount))?;
        self.entrance.enter().map_err(at(Step::Enter))?;
        take_root_ids(self.ids).map_err(at(Step::Enter))?;
        for (place, copy) in places.iter().zip(copies.iter_mut()) {
            let handle = mounts::handle(root()?.as_fd(), place.as_c_str());
            let made = handle.and_then(|handle| mounts::copy(handle, true));
            *copy = Some(made.map_err(at(Step::Copy))?);
        }
        // Over the old root, from where it becomes the root itself.
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&overlay, c"", rustix::fs::CWD, c"/", flags)
            .map_err(at(Step::Attach))?;
        for (place, copy) in places.iter().zip(copies.iter()) {
            if let Some(copy) = copy {
                mounts::handle(&overlay, place.as_c_str())
                    .and_then(|place| mounts::attach(copy, place))
                    .map_err(at(Step::Attach))?;
            }
        }
        mounts::pivot(&overlay).map_err(at(Step::Pivot))
    }
}

fn root() -> Result<OwnedFd, (Step, Errno)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(c"/", flags, Mode::empty()).map_err(|errno| (Step::Copy, errno))
}

fn end(pidfd: &OwnedFd) {
    let fd: BorrowedFd<'_> = pidfd.as_fd();
    if !readable(fd, PATIENCE).unwrap_or(false) {
        let _ = rustix::process::pidfd_send_signal(fd, rustix::process::Signal::KILL);
    }
    // The loop reaps strangers, too: it may have been faster.
    let exited = rustix::process::WaitIdOptions::EXITED;
    let _ = rustix::process::waitid(rustix::process::WaitId::PidFd(fd), exited);
}

/// What the child was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    Done,
    Mount,
    Enter,
    Copy,
    Attach,
    Pivot,
}

const STEPS: [Step; 6] = [
    Step::Done,
    Step::Mount,
    Step::Enter,
    Step::Copy,
    Step::Attach,
    Step::Pivot,
];

impl Step {
    fn words(self) -> &'static str {
        match self {
            Self::Done => "nothing",
            Self::Mount => "mount the overlay",
            Self::Enter => "enter the inner namespaces",
            Self::Copy => "copy what is mounted in the system tree",
            Self::Attach => "attach it in the new one",
            Self::Pivot => "pivot into the new one",
        }
    }
}

/// Where something is mounted right on the root, relative to it; nothing where that is not what the text says.
fn places(mountinfo: &[u8]) -> Option<Vec<CString>> {
    let mut root = None;
    let mut found: Vec<(&[u8], &[u8])> = Vec::new();
    for line in mountinfo.split(|&byte| byte == b'\n') {
        let mut fields = line.split(|&byte| byte == b' ');
        let (Some(id), Some(parent), Some(place)) = (fields.next(), fields.next(), fields.nth(2))
        else {
            continue;
        };
        match place.strip_prefix(b"/")? {
            b"" => root = Some(id),
            place => found.push((parent, place)),
        }
    }
    let root = root?;
    (found.into_iter())
        .filter(|(parent, _)| *parent == root)
        .map(|(_, place)| CString::new(unescape(place)).ok())
        .collect()
}

/// The kernel writes blanks, tabs, line ends and backslashes as three octal digits.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let digits = after.get(..3).filter(|_| byte == b'\\');
        let code = digits.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match code {
            Some(code) => {
                out.push(code);
                rest = &after[3..];
            }
            None => {
                out.push(byte);
                rest = after;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::places;

    #[test]
    fn what_is_mounted_on_the_root_is_told_from_what_is_mounted_deeper() {
        let text = b"90 80 0:50 / / rw - overlay overlay rw\n\
            91 90 0:51 / /proc rw - proc proc rw\n\
            92 91 0:51 /sys /proc/sys ro - proc proc rw\n\
            93 90 0:52 / /a\\040b\\134c ro - ext4 ext4 rw\n";
        let places = places(text).expect("it can be told");
        assert_eq!(places, [c"proc".to_owned(), c"a b\\c".to_owned()]);
        assert_eq!(super::places(b""), None);
    }
}
