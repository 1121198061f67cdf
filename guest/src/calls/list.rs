//! `tree.list`: what is in a directory, or below it.

use super::walk::{self, Depth};
use super::{World, stat};
use crate::serve::port::Port;
use crate::serve::streams::Output;
use crate::tree::{self, Links, kernel, refusal};
use pyro_protocol::message::{Failure, FailureCode, Kind, Records, Reply, TreeList};
use rustix::fs::OFlags;
use rustix::io::Errno;

/// Sends a line for each path, in the order of whole paths.
///
/// # Errors
/// Where there is no such path inside the tree.
pub(super) fn tree(world: &World, port: &Port, op: &TreeList) -> Result<Reply, Failure> {
    let path = tree::clean(&op.path)?;
    let mut output = Output::new(port);
    let mut records = Records::default();
    let mut put = |path: &[u8], found: &rustix::fs::Stat, target: Option<&[u8]>| {
        records.entries += 1;
        records.bytes += if tree::kind(found) == Kind::File {
            tree::size(found)
        } else {
            0
        };
        line(
            &mut output,
            &stat::describe(path, found, target.map(<[u8]>::to_vec)),
        )
    };
    // A link to a directory inside is listed as that directory.
    match tree::open(
        &world.tree,
        &path,
        OFlags::RDONLY | OFlags::DIRECTORY,
        Links::Inside,
    ) {
        Ok(dir) => {
            let depth = if op.recursive { Depth::All } else { Depth::One };
            walk::walk(&dir, depth, &mut |found| {
                port.check()?;
                if path.is_empty() {
                    return put(found.path, found.stat, found.target);
                }
                let whole = [&path, &b"/"[..], found.path].concat();
                put(&whole, found.stat, found.target)
            })?;
        }
        Err(Errno::NOTDIR) => {
            // A link that leads below a file leads nowhere.
            tree::open(&world.tree, &path, OFlags::PATH, Links::Inside)
                .map_err(|errno| kernel(errno, "list", &path))?;
            let (found, target) = stat::look(world, &path)?;
            put(&path, &found, target.as_deref())?;
        }
        Err(errno) => return Err(kernel(errno, "list", &path)),
    }
    output.finish()?;
    Ok(Reply::Records(records))
}

/// Adds a record as a JSON line.
///
/// # Errors
/// Where the call should stop.
pub(super) fn line(output: &mut Output<'_>, record: &impl serde::Serialize) -> Result<(), Failure> {
    let mut line = serde_json::to_vec(record)
        .map_err(|error| refusal(FailureCode::Io, format!("write a record: {error}")))?;
    line.push(b'\n');
    output.put(&line)
}
