//! The client's side: reaching a keeper, asking it, ending it.

use super::message::{Answer, Ask, FromKeeper, Status, ToKeeper};
use super::{END, KeeperError};
use crate::workspace::{EndReason, Ended, Home, Lifecycle, Timestamp};
use pyro_protocol::{Decoder, Head, frame};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use rustix::process::{PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

/// A keeper that does not answer a question for this long is taken for stuck.
const ANSWER: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Connect {
    /// No keeper listens there.
    #[error("reach the keeper: none runs")]
    NotRunning,
    /// The operating system refuses; `WouldBlock` where a keeper is there and takes nobody.
    #[error("reach the keeper")]
    Socket(#[source] io::Error),
}

/// The name of a keeper's socket, as short as addresses must be: through the folder, held open.
pub(super) fn socket_name(home: &Home) -> io::Result<(OwnedFd, PathBuf)> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(home.path(), flags, Mode::empty())?;
    let name = format!("/proc/self/fd/{}/keeper.sock", folder.as_raw_fd());
    Ok((folder, name.into()))
}

/// Connects to the keeper of a workspace. The stream is blocking, and [`crate::machine::Link::open`] takes it.
///
/// # Errors
/// Where none runs, or the kernel refuses.
pub fn connect(home: &Home) -> Result<UnixStream, Connect> {
    let (_folder, name) = match socket_name(home) {
        Ok(named) => named,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Connect::NotRunning),
        Err(error) => return Err(Connect::Socket(error)),
    };
    let open = || {
        let address = SocketAddrUnix::new(&name)?;
        // One that takes nobody any more must not hold us.
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        rustix::net::connect(&socket, &address)?;
        Ok(socket)
    };
    match open() {
        Ok(socket) => {
            let stream = UnixStream::from(socket);
            stream.set_nonblocking(false).map_err(Connect::Socket)?;
            Ok(stream)
        }
        Err(Errno::NOENT | Errno::CONNREFUSED) => Err(Connect::NotRunning),
        Err(errno) => Err(Connect::Socket(errno.into())),
    }
}

/// What a look for a keeper has found.
#[derive(Debug)]
pub enum Looked {
    /// One that listens, and a connection to it.
    Listens(UnixStream),
    /// One that takes nobody at this moment.
    Busy,
    /// None.
    Absent,
}

/// Whether a keeper listens.
///
/// # Errors
/// Where that cannot be told.
pub fn is_running(home: &Home) -> Result<bool, KeeperError> {
    Ok(match look(home)? {
        Looked::Listens(_) | Looked::Busy => true,
        Looked::Absent => false,
    })
}

/// The same, with the connection.
///
/// # Errors
/// Where that cannot be told.
pub fn look(home: &Home) -> Result<Looked, KeeperError> {
    match connect(home) {
        Ok(stream) => Ok(Looked::Listens(stream)),
        Err(Connect::NotRunning) => Ok(Looked::Absent),
        Err(Connect::Socket(error)) if error.kind() == io::ErrorKind::WouldBlock => {
            Ok(Looked::Busy)
        }
        Err(Connect::Socket(source)) => Err(KeeperError::Connect {
            id: home.id().to_owned(),
            source,
        }),
    }
}

/// Asks a keeper how it is, which does not count as using the workspace. It reads its time to live anew.
///
/// # Errors
/// Where none runs, or it does not answer.
pub fn status(home: &Home) -> Result<Status, KeeperError> {
    let mut stream = connect(home).map_err(|error| unreachable(home, error))?;
    match ask(&mut stream, Ask::Status).map_err(KeeperError::Talk)? {
        Answer::Status(status) => Ok(*status),
        Answer::Refused(why) => Err(KeeperError::Refused(why)),
        Answer::Stopping => Err(KeeperError::Talk(io::ErrorKind::InvalidData.into())),
    }
}

fn unreachable(home: &Home, error: Connect) -> KeeperError {
    let id = home.id().to_owned();
    match error {
        Connect::NotRunning => KeeperError::NotRunning(id),
        Connect::Socket(source) => KeeperError::Connect { id, source },
    }
}

fn ask(stream: &mut UnixStream, ask: Ask) -> io::Result<Answer> {
    stream.set_read_timeout(Some(ANSWER))?;
    stream.set_write_timeout(Some(ANSWER))?;
    let header = serde_json::to_vec(&ToKeeper::Keeper(ask))?;
    let mut bytes = Vec::new();
    frame::encode(Head::default(), &header, &[], &mut bytes);
    stream.write_all(&bytes)?;
    let mut decoder = Decoder::default();
    let mut buffer = [0; 4096];
    loop {
        if let Some(frame) = decoder.next_frame().map_err(io::Error::other)? {
            let FromKeeper::Keeper(answer) = serde_json::from_slice(&frame.header)?;
            return Ok(answer);
        }
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            count => decoder.push(&buffer[..count]),
        }
    }
}

/// Ends the keeper of a workspace with its machine, and waits until both are gone; whether there was one. One that does
/// not answer is killed.
///
/// # Errors
/// Where something of it is still there then.
pub fn stop(home: &Home, _lifecycle: &Lifecycle) -> Result<bool, KeeperError> {
    let lock = |patience| {
        let lock = home.wait_for_keeper_lock(patience);
        lock.map_err(KeeperError::Talk)
    };
    let mut stream = match connect(home) {
        Ok(stream) => stream,
        Err(Connect::NotRunning) => {
            // It may have begun to end, or was killed and its machine is on its way.
            let was_there = lock(Duration::ZERO)?.is_none();
            return match lock(END)? {
                Some(_free) => Ok(was_there),
                None => Err(KeeperError::StillThere(home.id().to_owned())),
            };
        }
        Err(error) => return Err(unreachable(home, error)),
    };
    // Of the process that listens; as long as the connection is open, it is that one.
    let process = rustix::net::sockopt::socket_peercred(&stream)
        .and_then(|peer| pidfd_open(peer.pid, PidfdFlags::empty()))
        .ok()
        .filter(|_| is_open(&stream));
    let asked = ask(&mut stream, Ask::Stop);
    let ends = matches!(asked, Ok(Answer::Stopping)) || !is_open(&stream);
    if ends && lock(END)?.is_some() {
        return Ok(true);
    }
    log::warn!(
        "the keeper of workspace {} does not end: {asked:?}",
        home.id()
    );
    if let Some(process) = process {
        let _gone = pidfd_send_signal(&process, Signal::KILL);
    }
    if lock(END)?.is_none() {
        return Err(KeeperError::StillThere(home.id().to_owned()));
    }
    // What it would have done itself.
    let ended = Ended {
        reason: EndReason::Stopped,
        message: Some("its keeper did not answer and was killed".to_owned()),
        at_ms: Timestamp::now().as_millis(),
    };
    home.write_ended(&ended).map_err(KeeperError::Talk)?;
    home.remove_groups().map_err(KeeperError::Talk)?;
    Ok(true)
}

/// Whether the other end is there.
pub(super) fn is_open(stream: &UnixStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut fds = [PollFd::new(stream, PollFlags::empty())];
    let now = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    matches!(poll(&mut fds, Some(&now)), Ok(0))
}
