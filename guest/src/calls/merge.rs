//! From the stage into the tree, entry by entry: new ones move whole, directories on both sides are merged.

use super::World;
use super::journal::{self, Journal};
use crate::serve::port::Port;
use crate::tree::{self, Links, failure, kernel};
use pyro_protocol::message::{Failure, FailureCode, Kind};
use rustix::fs::{self, AtFlags, OFlags};
use rustix::io::Errno;
use std::os::fd::{AsFd as _, OwnedFd};

/// Moves what lies in `root` to the directory `to` of the tree.
///
/// # Errors
/// Where it does not fit, or the call should stop; the journal takes back what was moved.
pub(super) fn into_tree(
    journal: &mut Journal<'_>,
    world: &World,
    port: &Port,
    root: &OwnedFd,
    to: &[u8],
) -> Result<(), Failure> {
    // Also where the archive is empty: the directory is there afterwards.
    drop(
        journal
            .parent(to)
            .map_err(|errno| kernel(errno, "unpack", to))?,
    );
    let mut waiting = vec![Vec::new()];
    while let Some(folder) = waiting.pop() {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
        let from = tree::open(root, &folder, flags, Links::Refuse)
            .map_err(|errno| kernel(errno, "unpack", &folder))?;
        let mut names =
            journal::names(from.as_fd()).map_err(|errno| kernel(errno, "unpack", &folder))?;
        names.sort_unstable();
        for name in names {
            port.check()?;
            let inner = join(&folder, &name);
            let path = join(to, &inner);
            let doing = |errno| kernel(errno, "unpack", &path);
            let new =
                fs::statat(&from, name.as_slice(), AtFlags::SYMLINK_NOFOLLOW).map_err(doing)?;
            let old = match tree::look(&world.tree, &path, Links::Refuse) {
                Err(Errno::NOENT) => {
                    let staged = journal.lift(from.as_fd(), &name).map_err(doing)?;
                    journal.place(&staged, &path).map_err(doing)?;
                    continue;
                }
                done => done.map_err(doing)?,
            };
            match (tree::kind(&new), tree::kind(&old)) {
                (Kind::Directory, Kind::Directory) => waiting.push(inner),
                (Kind::File | Kind::Symlink, Kind::File | Kind::Symlink) => {
                    let staged = journal.lift(from.as_fd(), &name).map_err(doing)?;
                    journal.exchange(&staged, &path).map_err(doing)?;
                }
                (Kind::Directory | Kind::File | Kind::Symlink | Kind::Other, _) => {
                    let message = "unpack: what is there is of another kind";
                    return Err(failure(FailureCode::WrongKind, message, &path));
                }
            }
        }
    }
    Ok(())
}

fn join(folder: &[u8], name: &[u8]) -> Vec<u8> {
    match folder {
        b"" => name.to_vec(),
        folder => [folder, b"/", name].concat(),
    }
}
