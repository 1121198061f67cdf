//! `tree.read`: what is in the files of the tree, one after the other.
//!
//! What is looked for in them is the host's business; the agent passes over what can be told by names and by bytes.

use super::walk::{self, LeftOut};
use super::{World, list, stat};
use crate::serve::port::Port;
use crate::serve::streams::Output;
use crate::tree::{self, Links, kernel};
use memchr::memmem::Finder;
use pyro_protocol::message::{Failure, Kind, Records, Reply, TreeRead};
use pyro_protocol::pieces;
use rustix::fs::OFlags;
use rustix::io::Errno;
use std::fs::File;
use std::io::{Read as _, Seek as _};

/// A file that fits into it is read once.
const BUFFER: usize = 256 << 10;

/// Sends the files in the order of whole paths.
///
/// # Errors
/// Where there is no such path inside the tree.
pub(super) fn tree(world: &World, port: &Port, op: &TreeRead) -> Result<Reply, Failure> {
    let path = tree::clean(&op.path)?;
    let mut reader = Reader {
        port,
        output: Output::new(port),
        needles: op
            .needles
            .iter()
            .map(|needle| Finder::new(&needle.0))
            .collect(),
        buffer: vec![0; BUFFER],
        records: Records::default(),
        left_out: LeftOut::default(),
    };
    let from = op.from.as_ref().map_or(&b""[..], |from| from);
    let whole = |below: &[u8]| match path.is_empty() {
        true => below.to_vec(),
        false => [&path, &b"/"[..], below].concat(),
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    match tree::open(&world.tree, &path, flags, Links::Inside) {
        Ok(dir) => walk::walk_into(
            &dir,
            &mut |below| {
                let mut all = whole(below);
                all.push(b'/');
                (*all >= *from || from.starts_with(&all)) && !is_skipped(op, below, true)
            },
            &mut |found| {
                port.check()?;
                let whole = whole(found.path);
                let is_wanted = found.kind == Kind::File && *whole >= *from;
                if !is_wanted || is_skipped(op, found.path, false) {
                    return Ok(());
                }
                match walk::open_found(&dir, found) {
                    Some(file) => reader.file(&whole, file),
                    None => {
                        reader.left_out.add(&whole);
                        Ok(())
                    }
                }
            },
        )?,
        Err(Errno::NOTDIR) => {
            let (file, _) = tree::open_file(&world.tree, &path, Links::Inside)?;
            if *path >= *from {
                reader.file(&path, file)?;
            }
        }
        Err(errno) => return Err(kernel(errno, "read", &path)),
    }
    let Reader {
        output,
        records,
        left_out,
        ..
    } = reader;
    output.finish()?;
    Ok(Reply::Records(Records {
        left_out: left_out.paths,
        ..records
    }))
}

/// Whether a path is passed over for its name.
fn is_skipped(op: &TreeRead, path: &[u8], is_directory: bool) -> bool {
    let name = tree::split(path).map_or(path, |(_, name)| name);
    op.skip.iter().any(|skip| match skip.strip_suffix(b"/") {
        Some(directory) => is_directory && directory == name,
        None => **skip == *name,
    })
}

struct Reader<'a> {
    port: &'a Port,
    output: Output<'a>,
    needles: Vec<Finder<'a>>,
    buffer: Vec<u8>,
    records: Records,
    left_out: LeftOut,
}

impl Reader<'_> {
    fn file(&mut self, path: &[u8], mut file: File) -> Result<(), Failure> {
        let Ok(found) = rustix::fs::fstat(&file) else {
            self.left_out.add(path);
            return Ok(());
        };
        self.records.entries += 1;
        self.records.bytes += tree::size(&found);
        let Ok(mut count) = fill(&mut file, &mut self.buffer) else {
            self.left_out.add(path);
            return Ok(());
        };
        let is_whole = count < self.buffer.len();
        let has = self.has_needle(count) || !is_whole && self.has_later(&mut file, count)?;
        if !has {
            return Ok(());
        }
        list::line(&mut self.output, &stat::describe(path, &found, None))?;
        while count > 0 {
            let length = u32::try_from(count).unwrap_or_default();
            self.output.put(&pieces::head(length))?;
            self.output.put(&self.buffer[..count])?;
            if is_whole {
                break;
            }
            self.port.check()?;
            // What cannot be read any more has ended; nobody promised a length.
            count = fill(&mut file, &mut self.buffer).unwrap_or(0);
        }
        self.output.put(&pieces::head(0))
    }

    fn has_needle(&self, count: usize) -> bool {
        let bytes = &self.buffer[..count];
        self.needles.is_empty()
            || self
                .needles
                .iter()
                .any(|needle| needle.find(bytes).is_some())
    }

    /// Whether a needle is in the rest of a file of which `count` bytes were read; those are in the buffer again then.
    fn has_later(&mut self, file: &mut File, count: usize) -> Result<bool, Failure> {
        let longest = self
            .needles
            .iter()
            .map(|needle| needle.needle().len())
            .max();
        let overlap = longest.unwrap_or(0).saturating_sub(1).min(count);
        let mut end = count;
        loop {
            self.port.check()?;
            // A needle may lie across two reads.
            self.buffer.copy_within(end - overlap..end, 0);
            match fill(file, &mut self.buffer[overlap..]) {
                Ok(0) | Err(_) => return Ok(false),
                Ok(more) => end = overlap + more,
            }
            if self.has_needle(end) {
                break;
            }
        }
        let again = file
            .rewind()
            .and_then(|()| fill(file, &mut self.buffer[..count]));
        Ok(again.is_ok_and(|again| again == count))
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut count = 0;
    while count < buffer.len() {
        match file.read(&mut buffer[count..]) {
            Ok(0) => break,
            Ok(more) => count += more,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(count)
}
