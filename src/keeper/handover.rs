//! What starter and keeper say to each other before the keeper is on its own, over the keeper's standard input.
//!
//! ```text
//!  starter                            keeper
//!     --agent, lock of the ids, Begin-->      makes the machine
//!     <--Report--                             ready, or why not
//!     --Go-->                                 serves from now on
//!  closed before `Go`, the keeper ends with all that it has made
//! ```
//! Messages are JSON after their length (u32, little-endian).

use pyro_protocol::boot::Ids;
use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;

/// The longest message that is taken, in bytes.
const LONGEST: u32 = 1 << 20;

/// The starter's first message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Begin {
    /// Of the starter.
    pub(super) version: String,
    /// The ids for the machine; the lock of a range came before the message.
    pub(super) ids: Ids,
}

/// The keeper's only message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Report {
    /// The machine is there.
    Ready(Ready),
    /// It is not, and nothing is left of it: completes "could not ...".
    Failed(String),
}

/// See [`Report::Ready`].
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ready {
    pub(super) generation: u32,
    pub(super) notes: Vec<String>,
    pub(super) agent_pid: i32,
}

/// The starter's last message.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Go {}

pub(super) fn send(socket: &mut UnixStream, message: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(message)?;
    let length = u32::try_from(text.len()).map_err(io::Error::other)?;
    socket.write_all(&length.to_le_bytes())?;
    socket.write_all(&text)
}

pub(super) fn receive<T: DeserializeOwned>(socket: &mut UnixStream) -> io::Result<T> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = vec![0; length as usize];
    socket.read_exact(&mut text)?;
    Ok(serde_json::from_slice(&text)?)
}

/// Sends one or two descriptors.
pub(super) fn send_descriptors(
    socket: &UnixStream,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let byte = [0];
    let parts = [IoSlice::new(&byte)];
    sendmsg(socket, &parts, &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// The descriptors in the order in which they were sent.
pub(super) fn receive_descriptors(socket: &UnixStream) -> io::Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(2))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let received = recvmsg(socket, &mut parts, &mut control, RecvFlags::CMSG_CLOEXEC)?;
    if received.bytes != 1 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut all = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = message {
            all.extend(descriptors);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;

    #[test]
    fn messages_and_descriptors_arrive() {
        let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
        let (file, _) = UnixStream::pair().expect("a pair");
        send_descriptors(&ours, &[file.as_fd()]).expect("sends");
        send_descriptors(&ours, &[file.as_fd(), ours.as_fd()]).expect("sends");
        send(&mut ours, &Report::Failed("dance".to_owned())).expect("sends");
        assert_eq!(receive_descriptors(&theirs).expect("arrives").len(), 1);
        assert_eq!(receive_descriptors(&theirs).expect("arrives").len(), 2);
        let report: Report = receive(&mut theirs).expect("arrives");
        assert!(matches!(report, Report::Failed(what) if what == "dance"));
        drop(ours);
        assert!(receive::<Go>(&mut theirs).is_err());
        assert!(receive_descriptors(&theirs).is_err());
    }
}
