//! What waits to be written to the link. Control messages always fit; data waits for room.

use pyro_protocol::frame::{self, Head};
use pyro_protocol::message::{Failure, FailureCode, GuestMessage};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// Data is queued up to here, in bytes; then its sender waits.
const DATA_ROOM: usize = 1 << 20;
/// Beyond this the link is not read any more, in bytes: a peer that asks without listening waits for itself.
const CONTROL_ROOM: usize = 4 << 20;

/// The queue of encoded frames.
#[derive(Debug)]
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    room: Condvar,
    wakeup: OwnedFd,
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: VecDeque<u8>,
    closed: bool,
}

impl Queue {
    pub(super) fn has_room(&self) -> bool {
        self.bytes.len() < DATA_ROOM
    }
}

impl Outbox {
    /// # Errors
    /// Where the kernel has no eventfd for us.
    pub(crate) fn new() -> io::Result<Self> {
        use rustix::event::{EventfdFlags, eventfd};
        Ok(Self {
            queue: Mutex::default(),
            room: Condvar::new(),
            wakeup: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        })
    }

    /// Readable when another thread has something for the loop.
    pub(crate) fn wakeup(&self) -> BorrowedFd<'_> {
        self.wakeup.as_fd()
    }

    /// Wakes the loop.
    pub(crate) fn wake(&self) {
        // A full counter is readable too.
        let _ = rustix::io::write(&self.wakeup, &1u64.to_ne_bytes());
    }

    /// Takes note of having been woken.
    pub(crate) fn woken(&self) {
        let _ = rustix::io::read(&self.wakeup, &mut [0u8; 8][..]);
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the queue has changed.
    pub(super) fn wait(&self, queue: MutexGuard<'_, Queue>) {
        drop(
            self.room
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner),
        );
    }

    /// Lets every waiting sender look again.
    pub(super) fn stir(&self) {
        drop(self.lock());
        self.room.notify_all();
    }

    /// Queues a frame.
    pub(super) fn push(&self, queue: &mut Queue, head: Head, header: &[u8], body: &[u8]) {
        if queue.closed {
            return;
        }
        let idle = queue.bytes.is_empty();
        let mut encoded = Vec::new();
        frame::encode(head, header, body, &mut encoded);
        queue.bytes.extend(encoded);
        if idle {
            self.wake();
        }
    }

    /// Queues a message on stream 0, whatever the room.
    pub(crate) fn message(&self, channel: u32, call: u32, message: &GuestMessage) {
        let mut header = serde_json::to_vec(message).unwrap_or_default();
        if header.is_empty() || header.len() > frame::MAX_HEADER {
            header = serde_json::to_vec(&GuestMessage::Failed(Failure {
                code: FailureCode::TooLarge,
                message: "answer: the reply is longer than a header may be".to_owned(),
                path: None,
            }))
            .unwrap_or_default();
        }
        let head = Head {
            channel,
            call,
            ..Head::default()
        };
        self.push(&mut self.lock(), head, &header, &[]);
    }

    /// Whether there is anything to write.
    pub(crate) fn is_empty(&self) -> bool {
        self.lock().bytes.is_empty()
    }

    /// Whether data may be queued.
    pub(crate) fn has_room(&self) -> bool {
        self.lock().has_room()
    }

    /// Whether the peer listens well enough to be listened to.
    pub(crate) fn may_read(&self) -> bool {
        self.lock().bytes.len() < CONTROL_ROOM
    }

    /// Writes what the link takes without blocking.
    ///
    /// # Errors
    /// Where the link is broken.
    pub(crate) fn flush(&self, link: BorrowedFd<'_>) -> io::Result<()> {
        let mut queue = self.lock();
        let before = queue.has_room();
        while !queue.bytes.is_empty() {
            match rustix::io::write(link, queue.bytes.as_slices().0) {
                Ok(count) => {
                    queue.bytes.drain(..count);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        if queue.bytes.is_empty() && queue.bytes.capacity() > 2 * DATA_ROOM {
            queue.bytes = VecDeque::new();
        }
        if !before && queue.has_room() {
            self.room.notify_all();
        }
        Ok(())
    }

    /// Forgets everything; what is sent from now on goes nowhere.
    pub(crate) fn close(&self) {
        let mut queue = self.lock();
        queue.closed = true;
        queue.bytes = VecDeque::new();
        self.room.notify_all();
    }
}
