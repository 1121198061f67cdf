//! The first thing an agent does with the folder of a run: it takes back what an agent before it had begun.

use super::record;
use super::rubbish::{names, remove_all};
use super::undo::undo;
use super::{forget, point};
use rustix::fs::{self, Mode, OFlags};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Sets of changes that were not finished, and are taken back.
    pub taken_back: usize,
    /// Paths that could not be put back, since something else was in the way.
    pub in_the_way: Vec<Vec<u8>>,
}

/// Takes back every set of changes to the tree in `run_dir` that was begun and not finished, and empties the stage.
///
/// It may be killed itself: then the next call goes on. Nobody else may use the folder meanwhile.
///
/// # Errors
/// Where the file system refuses, or a journal cannot be read; then the journal is kept for another try, and the tree
/// may still be half old, half new: nobody should be shown it.
pub(crate) fn recover(run_dir: BorrowedFd<'_>) -> io::Result<Recovered> {
    let folder = |name: &str| {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        fs::openat(run_dir, name, flags, Mode::empty())
    };
    let mut recovered = Recovered::default();
    let stage = match folder("stage") {
        // Made when it is needed.
        Err(Errno::NOENT) => return Ok(recovered),
        done => done?,
    };
    let corners = names(stage.as_fd())?;
    for name in &corners {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let corner = match fs::openat(&stage, name.as_slice(), flags, Mode::empty()) {
            Err(Errno::NOTDIR | Errno::LOOP) => continue,
            done => done?,
        };
        let Some(records) = record::read(corner.as_fd())? else {
            continue;
        };
        let tree = folder("tree")?;
        let undone = undo(tree.as_fd(), corner.as_fd(), &records);
        if let Some((errno, path)) = undone.refused {
            let path = String::from_utf8_lossy(&path);
            let error = io::Error::from(errno);
            return Err(io::Error::other(format!(
                "put {path} back as it was before an interrupted change: {error}"
            )));
        }
        point()?;
        forget(corner.as_fd())?;
        recovered.taken_back += usize::from(!records.is_empty());
        recovered.in_the_way.extend(undone.in_the_way);
    }
    for name in &corners {
        remove_all(stage.as_fd(), name);
    }
    Ok(recovered)
}
