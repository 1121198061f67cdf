//! `path.move`: another name for a path, never over anything. One rename, so that no program sees both or neither.

use super::World;
use super::journal::{self, Journal, NotMoved};
use super::stat;
use crate::serve::port::Port;
use crate::tree::{self, Links, failure, kernel};
use pyro_protocol::message::{Failure, FailureCode, Kind, PathMove, Reply};
use rustix::io::Errno;

/// Moves a path.
///
/// # Errors
/// Where it is not there, its new name is taken, or the kernel refuses; then the tree is as before.
pub(super) fn path(world: &World, port: &Port, op: &PathMove) -> Result<Reply, Failure> {
    let unchanged = |failure: Failure| Failure {
        message: format!("{}; {}", failure.message, journal::NOTHING_CHANGED),
        ..failure
    };
    let (from, to) = looked_at(world, op).map_err(unchanged)?;
    port.check()?;
    let mut journal =
        Journal::new(world).map_err(|errno| unchanged(kernel(errno, "prepare a move", b"")))?;
    match moved(world, &mut journal, &from, &to) {
        Ok(reply) => match journal.keep() {
            Ok(()) => Ok(reply),
            Err((journal, errno)) => Err(journal.take_back(kernel(errno, "finish a move", b""))),
        },
        Err(failure) => Err(journal.take_back(failure)),
    }
}

fn moved(
    world: &World,
    journal: &mut Journal<'_>,
    from: &[u8],
    to: &[u8],
) -> Result<Reply, Failure> {
    journal
        .relocate(from, to)
        .map_err(|refused| match refused {
            NotMoved::From(errno) => kernel(errno, "move", from),
            NotMoved::To(errno) => kernel(errno, "move", to),
        })?;
    let (found, target) = stat::look(world, to)?;
    Ok(Reply::Stat(stat::describe(to, &found, target)))
}

/// Both paths, as far as they can be judged before anything is made.
fn looked_at(world: &World, op: &PathMove) -> Result<(Vec<u8>, Vec<u8>), Failure> {
    let (from, to) = (tree::clean(&op.from)?, tree::clean(&op.to)?);
    if from.is_empty() {
        let message = "move: it is the workspace itself";
        return Err(failure(FailureCode::WrongKind, message, &op.from));
    }
    let found = tree::look(&world.tree, &from, Links::Refuse)
        .map_err(|errno| kernel(errno, "move", &from))?;
    match tree::look(&world.tree, &to, Links::Refuse) {
        Ok(_) => return Err(kernel(Errno::EXIST, "move", &to)),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(kernel(errno, "move", &to)),
    }
    let is_below = to.strip_prefix(from.as_slice()).and_then(<[u8]>::first) == Some(&b'/');
    if is_below && tree::kind(&found) == Kind::Directory {
        let message = "move: a directory cannot be moved into itself";
        return Err(failure(FailureCode::WrongKind, message, &to));
    }
    Ok((from, to))
}
