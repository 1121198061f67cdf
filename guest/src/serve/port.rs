//! One call's end of the link: its streams, their credit, and whether it should stop.
//!
//! ```text
//!  link --> take_input --> [input, at most the window] --> read ---> the op
//!                                  `--- credit as it is read --> link
//!  the op --> send --> waits for credit, then for room --> outbox --> link
//! ```

use super::outbox::Outbox;
use crate::tree::refusal;
use pyro_protocol::frame::{CHUNK, Head, INITIAL_CREDIT, STREAM_INPUT, STREAM_OUTPUT};
use pyro_protocol::message::{Failure, FailureCode};
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Input that all calls together may hold unread, in bytes.
const BUFFERED_LIMIT: usize = 64 << 20;
/// Credit is handed back in lots of this many bytes.
const GRANT: u32 = 32 << 10;

/// Shared by the loop and the worker of a call.
#[derive(Debug)]
pub(crate) struct Port {
    channel: u32,
    call: u32,
    outbox: Arc<Outbox>,
    buffered: Arc<AtomicUsize>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    stop: Option<Failure>,
    muted: bool,
    /// Of streams 2 and 3.
    credit: [u64; 2],
    input: VecDeque<Vec<u8>>,
    ended: bool,
    /// What the peer may still send.
    window: u32,
    /// What was read and not yet granted again.
    owed: u32,
}

/// The peer sent more than it was allowed to, or went on after `end`.
#[derive(Debug)]
pub(crate) struct OverCredit;

fn index(stream: u32) -> usize {
    usize::from(stream != STREAM_OUTPUT)
}

impl Port {
    pub(crate) fn new(
        channel: u32,
        call: u32,
        outbox: Arc<Outbox>,
        buffered: Arc<AtomicUsize>,
    ) -> Self {
        Self {
            channel,
            call,
            outbox,
            buffered,
            state: Mutex::new(State {
                stop: None,
                muted: false,
                credit: [u64::from(INITIAL_CREDIT); 2],
                input: VecDeque::new(),
                ended: false,
                window: INITIAL_CREDIT,
                owed: 0,
            }),
            changed: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The channel of the call.
    pub(crate) fn channel(&self) -> u32 {
        self.channel
    }

    /// The number of the call.
    pub(crate) fn call(&self) -> u32 {
        self.call
    }

    /// Bytes for stream 1 have arrived.
    ///
    /// # Errors
    /// Where the peer was not allowed to send them.
    pub(crate) fn take_input(&self, body: Vec<u8>, end: bool) -> Result<(), OverCredit> {
        let mut state = self.lock();
        let length = u32::try_from(body.len()).map_err(|_| OverCredit)?;
        if state.ended && (length > 0 || end) || length > state.window {
            return Err(OverCredit);
        }
        state.window -= length;
        state.ended = end;
        if !body.is_empty() {
            let all = self.buffered.fetch_add(body.len(), Ordering::Relaxed) + body.len();
            state.input.push_back(body);
            if all > BUFFERED_LIMIT && state.stop.is_none() {
                state.stop = Some(refusal(
                    FailureCode::TooLarge,
                    "take the input: too many calls leave theirs unread",
                ));
                self.forget_input(&mut state);
            }
        }
        drop(state);
        self.changed.notify_all();
        Ok(())
    }

    fn forget_input(&self, state: &mut State) {
        let held = state.input.drain(..).map(|chunk| chunk.len()).sum();
        self.buffered.fetch_sub(held, Ordering::Relaxed);
    }

    /// The peer allows more on a stream.
    pub(crate) fn add_credit(&self, stream: u32, credit: u32) {
        let mut state = self.lock();
        let of = &mut state.credit[index(stream)];
        *of = of.saturating_add(u64::from(credit));
        drop(state);
        self.changed.notify_all();
    }

    /// Asks the op to end with this failure; the first reason counts.
    pub(crate) fn stop(&self, failure: Failure) {
        let mut state = self.lock();
        state.stop.get_or_insert(failure);
        drop(state);
        self.changed.notify_all();
        self.outbox.stir();
    }

    /// Nothing of this call reaches the link from now on.
    pub(crate) fn mute(&self) {
        self.lock().muted = true;
    }

    /// Whether the channel is gone.
    pub(crate) fn is_muted(&self) -> bool {
        self.lock().muted
    }

    /// Says whether the op should end.
    ///
    /// # Errors
    /// The failure to end with.
    pub(crate) fn check(&self) -> Result<(), Failure> {
        self.lock().stop.clone().map_or(Ok(()), Err)
    }

    /// Input that is there now, without waiting. The credit for it is given with [`Port::consumed`].
    pub(crate) fn next_input(&self) -> Option<Vec<u8>> {
        let mut state = self.lock();
        let chunk = state.input.pop_front()?;
        self.buffered.fetch_sub(chunk.len(), Ordering::Relaxed);
        Some(chunk)
    }

    /// Whether all input was handed out.
    pub(crate) fn input_over(&self) -> bool {
        let state = self.lock();
        state.ended && state.input.is_empty()
    }

    /// Whether there is input to hand out.
    pub(crate) fn has_input(&self) -> bool {
        !self.lock().input.is_empty()
    }

    /// The peer may send as much again.
    pub(crate) fn consumed(&self, count: usize) {
        let mut state = self.lock();
        state.owed = state
            .owed
            .saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
        if state.owed < GRANT || state.ended || state.muted {
            return;
        }
        let credit = std::mem::take(&mut state.owed);
        state.window = state.window.saturating_add(credit);
        let head = Head {
            channel: self.channel,
            call: self.call,
            stream: STREAM_INPUT,
            credit,
        };
        self.outbox.push(&mut self.outbox.lock(), head, &[], &[]);
    }

    /// Waits for input; an empty answer is its end.
    ///
    /// # Errors
    /// Where the call should stop.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Failure> {
        let mut state = self.lock();
        loop {
            if let Some(failure) = &state.stop {
                return Err(failure.clone());
            }
            if let Some(chunk) = state.input.pop_front() {
                self.buffered.fetch_sub(chunk.len(), Ordering::Relaxed);
                drop(state);
                self.consumed(chunk.len());
                return Ok(chunk);
            }
            if state.ended {
                return Ok(Vec::new());
            }
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// How much may be sent on a stream now.
    pub(crate) fn credit(&self, stream: u32) -> usize {
        let credit = self.lock().credit[index(stream)];
        usize::try_from(credit).unwrap_or(usize::MAX).min(CHUNK)
    }

    /// Whether the link takes data.
    pub(crate) fn has_room(&self) -> bool {
        self.outbox.has_room()
    }

    /// Sends bytes that fit the credit, without waiting.
    pub(crate) fn send_now(&self, stream: u32, body: &[u8]) {
        let mut state = self.lock();
        let of = &mut state.credit[index(stream)];
        *of = of.saturating_sub(body.len() as u64);
        if !state.muted {
            let head = Head {
                channel: self.channel,
                call: self.call,
                stream,
                credit: 0,
            };
            self.outbox.push(&mut self.outbox.lock(), head, &[], body);
        }
    }

    /// Sends bytes, waiting for credit and room.
    ///
    /// # Errors
    /// Where the call should stop.
    pub(crate) fn send(&self, stream: u32, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let mut state = self.lock();
            while state.stop.is_none() && state.credit[index(stream)] == 0 {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if let Some(failure) = &state.stop {
                return Err(failure.clone());
            }
            // A stop stirs the outbox after it was noted, so holding this lock from here to the wait misses none.
            let mut queue = self.outbox.lock();
            if !queue.has_room() {
                drop(state);
                self.outbox.wait(queue);
                continue;
            }
            let of = &mut state.credit[index(stream)];
            let count = usize::try_from(*of)
                .unwrap_or(usize::MAX)
                .min(CHUNK)
                .min(bytes.len());
            *of -= count as u64;
            let (now, later) = bytes.split_at(count);
            if !state.muted {
                let head = Head {
                    channel: self.channel,
                    call: self.call,
                    stream,
                    credit: 0,
                };
                self.outbox.push(&mut queue, head, &[], now);
            }
            bytes = later;
        }
        Ok(())
    }

    /// Ends a stream.
    pub(crate) fn end(&self, stream: u32) {
        let state = self.lock();
        if !state.muted {
            let head = Head {
                channel: self.channel,
                call: self.call,
                stream,
                credit: 0,
            };
            self.outbox
                .push(&mut self.outbox.lock(), head, br#""end""#, &[]);
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let state = self.state.get_mut().unwrap_or_else(PoisonError::into_inner);
        let held = state.input.drain(..).map(|chunk| chunk.len()).sum();
        self.buffered.fetch_sub(held, Ordering::Relaxed);
    }
}
