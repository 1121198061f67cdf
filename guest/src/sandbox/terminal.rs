//! A terminal for a program: made by the child, in the sandbox and with the ids of its root, held by the agent.
//!
//! It is one of the sandbox's own `/dev/pts`, so that programs find it under its name there; no path of the agent's
//! leads to it. Both ends go to the agent over a socket, the only thing that the child sends before it executes.

use crate::spawn::Terminal;
use pyro_protocol::message::TerminalSize;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType,
};
use rustix::pty::OpenptFlags;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

/// The word that comes with both ends.
const MADE: &[u8] = b"t";

/// A socket whose messages keep their boundaries: what the agent hears, what the child says it on.
pub(super) fn socket() -> io::Result<(OwnedFd, OwnedFd)> {
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    Ok(rustix::net::socketpair(
        family,
        kind,
        SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Makes the terminal, gives it to the agent, and makes it the controlling one of the calling process, which leads
/// its session. Returns the side for the program. No allocation.
pub(super) fn make(size: TerminalSize, to: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    let multiplexer = c"/dev/pts/ptmx";
    let master = rustix::fs::openat2(rustix::fs::CWD, multiplexer, flags, Mode::empty(), resolve)?;
    rustix::pty::unlockpt(&master)?;
    let slave = rustix::pty::ioctl_tiocgptpeer(
        &master,
        OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC,
    )?;
    let size = rustix::termios::Winsize {
        ws_row: size.rows,
        ws_col: size.cols,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    rustix::termios::tcsetwinsize(&master, size)?;
    let ends = [master.as_fd(), slave.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut message = SendAncillaryBuffer::new(&mut space);
    if !message.push(SendAncillaryMessage::ScmRights(&ends)) {
        return Err(Errno::NOBUFS);
    }
    let word = [IoSlice::new(MADE)];
    rustix::net::sendmsg(to, &word, &mut message, SendFlags::NOSIGNAL)?;
    rustix::process::ioctl_tiocsctty(&slave)?;
    Ok(slave)
}

/// What the child has sent; nothing where that is something else, which is left to be read.
pub(super) fn receive(heard: &OwnedFd) -> io::Result<Option<Terminal>> {
    let mut word = [0; 3];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    let (_, length) = rustix::net::recv(heard, &mut word, flags)?;
    if word.get(..length) != Some(MADE) {
        return Ok(None);
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut message = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC;
    rustix::net::recvmsg(
        heard,
        &mut [IoSliceMut::new(&mut word)],
        &mut message,
        flags,
    )?;
    let mut ends = Vec::new();
    for message in message.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            ends.extend(fds);
        }
    }
    let mut ends = ends.into_iter();
    let (Some(master), Some(slave)) = (ends.next(), ends.next()) else {
        return Ok(None);
    };
    let flags = rustix::fs::fcntl_getfl(&master)?;
    rustix::fs::fcntl_setfl(&master, flags | OFlags::NONBLOCK)?;
    Ok(Some(Terminal { master, slave }))
}
