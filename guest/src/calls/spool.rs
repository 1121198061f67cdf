//! Output of programs: from the pipe into a file, from the file to the host as fast as it takes it.
//!
//! The program never waits for the host, and the agent never holds more than one piece in memory.

use super::{World, agent_failure};
use crate::serve::port::Port;
use crate::tree::{hex, refusal};
use pyro_protocol::frame::{CHUNK, STREAM_ERRORS, STREAM_OUTPUT};
use pyro_protocol::message::{DataReport, Failure, FailureCode, Reply, SpoolRead, StreamReport};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

/// Asked of the kernel for each output pipe, in bytes.
const PIPE_SIZE: usize = 1 << 20;
/// Pieces taken from one pipe before the others have their turn.
const TURNS: u32 = 4;

fn name(channel: u32, call: u32, stream: u32) -> String {
    let end = if stream == STREAM_OUTPUT {
        "out"
    } else {
        "err"
    };
    format!("{channel}-{call}.{end}")
}

/// One output stream of a program.
#[derive(Debug)]
pub(crate) struct Spool {
    stream: u32,
    pipe: Option<OwnedFd>,
    name: String,
    /// Made for the first byte: most streams of most programs stay empty.
    file: Option<File>,
    /// Its name goes as soon as it is there.
    unnamed: bool,
    limit: u64,
    kept: u64,
    total: u64,
    sent: u64,
    full: bool,
    hasher: Sha256,
}

impl Spool {
    /// The spool and the end of the pipe for the program.
    ///
    /// # Errors
    /// Where file or pipe cannot be made.
    pub(crate) fn open(
        world: &World,
        port: &Port,
        stream: u32,
        (limit, unnamed): (u64, bool),
    ) -> std::io::Result<(Self, OwnedFd)> {
        let name = name(port.channel(), port.call(), stream);
        if let Some(spool) = world.spool_so_far() {
            // Of an earlier agent, or of an earlier client with this number.
            match rustix::fs::unlinkat(spool, name.as_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (ours, theirs) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC)?;
        rustix::fs::fcntl_setfl(&ours, OFlags::NONBLOCK)?;
        // Best effort: the kernel limits what one user may have.
        let _ = rustix::pipe::fcntl_setpipe_size(&ours, PIPE_SIZE);
        // So that the program may open /dev/stdout by name.
        world.own(&theirs)?;
        let spool = Self {
            stream,
            pipe: Some(ours),
            name,
            file: None,
            unnamed,
            limit,
            kept: 0,
            total: 0,
            sent: 0,
            full: false,
            hasher: Sha256::new(),
        };
        Ok((spool, theirs))
    }

    /// The pipe, while something may come out of it.
    pub(crate) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(AsFd::as_fd)
    }

    /// Takes what the pipe holds, within bounds; whether there was anything.
    pub(crate) fn drain(&mut self, world: &World, buffer: &mut [u8]) -> bool {
        let mut any = false;
        for _ in 0..TURNS {
            let Some(pipe) = &self.pipe else { return any };
            match rustix::io::read(pipe, &mut *buffer) {
                Ok(0) => self.pipe = None,
                Ok(count) => {
                    any = true;
                    self.keep(world, &buffer[..count]);
                    if count < buffer.len() {
                        return true;
                    }
                }
                Err(Errno::AGAIN) => return any,
                Err(Errno::INTR) => {}
                Err(_) => self.pipe = None,
            }
        }
        any
    }

    fn file(&mut self, world: &World) -> std::io::Result<&File> {
        if self.file.is_none() {
            let flags =
                OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let mode = Mode::RUSR | Mode::WUSR;
            let file = rustix::fs::openat(world.spool()?, self.name.as_str(), flags, mode)?;
            if self.unnamed {
                rustix::fs::unlinkat(world.spool()?, self.name.as_str(), AtFlags::empty())?;
            }
            self.file = Some(File::from(file));
        }
        self.file
            .as_ref()
            .ok_or(std::io::ErrorKind::NotFound.into())
    }

    fn keep(&mut self, world: &World, bytes: &[u8]) {
        self.total += bytes.len() as u64;
        let room = self.limit.saturating_sub(self.kept);
        let count = usize::try_from(room).unwrap_or(usize::MAX).min(bytes.len());
        if self.full || count == 0 {
            return;
        }
        let at = self.kept;
        let written = self
            .file(world)
            .and_then(|file| file.write_all_at(&bytes[..count], at));
        if written.is_err() {
            // A full disk ends the record, not the program.
            self.full = true;
            return;
        }
        self.hasher.update(&bytes[..count]);
        self.kept += count as u64;
    }

    /// Hands over the pipe: nothing more is taken from it here.
    pub(crate) fn take_pipe(&mut self) -> Option<OwnedFd> {
        self.pipe.take()
    }

    /// Whether the host has all that was kept so far.
    pub(crate) fn is_sent(&self) -> bool {
        self.sent == self.kept
    }

    /// Sends one piece if the host has room for it; whether there may be more.
    pub(crate) fn pump(&mut self, port: &Port, buffer: &mut [u8]) -> bool {
        let rest = usize::try_from(self.kept - self.sent).unwrap_or(usize::MAX);
        let count = rest.min(port.credit(self.stream)).min(buffer.len());
        if count == 0 {
            return false;
        }
        let read = self
            .file
            .as_ref()
            .map(|file| file.read_at(&mut buffer[..count], self.sent));
        match read {
            None | Some(Ok(0) | Err(_)) => {
                // The file is ours alone; only a broken disk gets here. The report still counts it all.
                self.sent = self.kept;
                false
            }
            Some(Ok(count)) => {
                port.send_now(self.stream, &buffer[..count]);
                self.sent += count as u64;
                true
            }
        }
    }

    /// What came out.
    pub(crate) fn report(&self, world: &World, port: &Port) -> StreamReport {
        if self.file.is_none() {
            world.note_silent(port.channel(), port.call(), self.stream);
        }
        StreamReport {
            bytes: self.total,
            dropped: self.total - self.kept,
            sha256: hex(&self.hasher.clone().finalize()),
        }
    }
}

/// Removes the output of a channel that is closed: nobody can ask for it any more.
pub(crate) fn forget(world: &World, channel: u32) {
    let Some(spool) = world.spool_so_far() else {
        return;
    };
    let prefix = format!("{channel}-");
    // Best effort: what stays goes with the next program of that number, or with the run.
    for entry in rustix::fs::Dir::read_from(spool)
        .into_iter()
        .flatten()
        .flatten()
    {
        if entry.file_name().to_bytes().starts_with(prefix.as_bytes()) {
            let _gone = rustix::fs::unlinkat(spool, entry.file_name(), AtFlags::empty());
        }
    }
}

/// The same for one program.
pub(crate) fn forget_call(world: &World, channel: u32, call: u32) {
    let Some(spool) = world.spool_so_far() else {
        return;
    };
    for stream in [STREAM_OUTPUT, STREAM_ERRORS] {
        let name = name(channel, call, stream);
        let _gone = rustix::fs::unlinkat(spool, name.as_str(), AtFlags::empty());
    }
}

/// Reads the output of an earlier program by range.
///
/// # Errors
/// Where there is none.
pub(crate) fn read(world: &World, port: &Port, op: &SpoolRead) -> Result<Reply, Failure> {
    if op.stream != STREAM_OUTPUT && op.stream != STREAM_ERRORS {
        return Err(refusal(
            FailureCode::BadRequest,
            "read output: the stream is neither 2 nor 3",
        ));
    }
    let name = name(port.channel(), op.call, op.stream);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let opened = world
        .spool_so_far()
        .ok_or(Errno::NOENT)
        .and_then(|spool| rustix::fs::openat(spool, name.as_str(), flags, Mode::empty()));
    let file = match opened {
        Ok(file) => File::from(file),
        Err(Errno::NOENT) if world.was_silent(port.channel(), op.call, op.stream) => {
            port.end(STREAM_OUTPUT);
            return Ok(Reply::Data(DataReport {
                sent: 0,
                size: 0,
                mode: 0o600,
            }));
        }
        Err(Errno::NOENT) => {
            let message = format!(
                "read output: call {} of this channel ran no program, or one on a terminal",
                op.call
            );
            return Err(refusal(FailureCode::NotFound, message));
        }
        Err(errno) => return Err(agent_failure("read output", &errno.into())),
    };
    let stat =
        rustix::fs::fstat(&file).map_err(|errno| agent_failure("read output", &errno.into()))?;
    send_range(port, &file, &stat, op.offset, op.length).map(Reply::Data)
}

/// Sends a range of a file on stream 2.
///
/// # Errors
/// Where it cannot be read, or the call should stop.
pub(crate) fn send_range(
    port: &Port,
    file: &File,
    stat: &rustix::fs::Stat,
    offset: u64,
    length: Option<u64>,
) -> Result<DataReport, Failure> {
    let mut buffer = vec![0; CHUNK];
    let mut sent = 0u64;
    loop {
        let want = length
            .map_or(u64::MAX, |length| length - sent)
            .min(CHUNK as u64);
        let Some(at) = offset
            .checked_add(sent)
            .filter(|&at| i64::try_from(at).is_ok())
        else {
            break;
        };
        let want = usize::try_from(want).unwrap_or(CHUNK);
        if want == 0 {
            break;
        }
        match file.read_at(&mut buffer[..want], at) {
            Ok(0) => break,
            Ok(count) => {
                port.send(STREAM_OUTPUT, &buffer[..count])?;
                sent += count as u64;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(agent_failure("read", &error)),
        }
    }
    port.end(STREAM_OUTPUT);
    Ok(DataReport {
        sent,
        size: crate::tree::size(stat),
        mode: crate::tree::mode(stat),
    })
}
