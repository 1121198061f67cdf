//! `file.read`: a range of a regular file.

use super::{World, spool};
use crate::serve::port::Port;
use crate::tree::{self, Links};
use pyro_protocol::message::{Failure, FileRead, Reply};

/// Sends the range.
///
/// # Errors
/// Where there is no such file inside the tree.
pub(super) fn file(world: &World, port: &Port, op: &FileRead) -> Result<Reply, Failure> {
    let path = tree::clean(&op.path)?;
    let (file, stat) = tree::open_file(&world.tree, &path, Links::Inside)?;
    spool::send_range(port, &file, &stat, op.offset, op.length)
        .map(Reply::Data)
        .map_err(|failure| Failure {
            path: failure.path.or_else(|| Some(op.path.clone())),
            ..failure
        })
}
