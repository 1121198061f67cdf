//! Frames from the link: which client and call each one belongs to, and what follows from it.
//!
//! A broken rule costs no more than it must: a call, or else the channel. What is under way to a call that is over
//! is no broken rule.

use super::channel::{self, Channel, MAX_CALLS, Said};
use super::port::{OverCredit, Port};
use super::{Call, Event, Service};
use crate::calls::{self, spool};
use crate::tree::refusal;
use pyro_protocol::frame::{STREAM_CALL, STREAM_ERRORS, STREAM_INPUT, STREAM_OUTPUT};
use pyro_protocol::message::{
    ExecResize, Failure, FailureCode, GuestMessage, Hello, HostMessage, Op, Records, Reply,
    StreamMessage,
};
use pyro_protocol::{Frame, GENERATION};
use std::sync::Arc;

/// Clients of one link at the same time.
const MAX_CHANNELS: usize = 64;
/// Headers of all calls that are not over, in bytes.
const HEADER_BUDGET: usize = 32 << 20;

impl Service {
    /// Takes one frame from the link.
    pub(super) fn take(&mut self, frame: Frame) {
        let (number, stream) = (frame.head.channel, frame.head.stream);
        if number == 0 {
            return self.take_hello(&frame);
        }
        if self
            .channels
            .get(&number)
            .is_some_and(|channel| channel.failed)
        {
            // Only its end counts any more.
            if stream == STREAM_CALL
                && matches!(
                    channel::read(&frame.header),
                    Said::Message(HostMessage::Close)
                )
            {
                self.remove_channel(number);
            }
            return;
        }
        if !self.channels.contains_key(&number) {
            if self.channels.len() >= MAX_CHANNELS {
                let failure = refusal(FailureCode::TooLarge, "open a channel: there are too many");
                return self
                    .outbox
                    .message(number, 0, &GuestMessage::ChannelFailed(failure));
            }
            self.channels.insert(number, Channel::default());
        }
        let result = if stream == STREAM_CALL {
            self.take_message(&frame)
        } else {
            self.take_data(frame)
        };
        if let Err(failure) = result {
            self.fail_channel(number, failure);
        }
    }

    fn take_hello(&mut self, frame: &Frame) {
        let said = if frame.head.stream == STREAM_CALL {
            channel::read(&frame.header)
        } else {
            Said::Nonsense(refusal(
                FailureCode::BadRequest,
                "take data on the link's own channel",
            ))
        };
        let message = match said {
            Said::Message(HostMessage::Hello(hello)) => GuestMessage::Hello(Hello {
                generation: hello.generation.min(GENERATION),
                version: env!("CARGO_PKG_VERSION").to_owned(),
            }),
            Said::Message(HostMessage::Cancel | HostMessage::Close) => return,
            Said::Message(HostMessage::Call(_)) | Said::BadCall(_) => {
                GuestMessage::ChannelFailed(refusal(
                    FailureCode::BadRequest,
                    "take a call on the link's own channel",
                ))
            }
            Said::Nonsense(failure) => GuestMessage::ChannelFailed(failure),
        };
        self.outbox.message(0, frame.head.call, &message);
    }

    /// Takes a message of stream 0.
    fn take_message(&mut self, frame: &Frame) -> Result<(), Failure> {
        let (number, call) = (frame.head.channel, frame.head.call);
        if !frame.body.is_empty() {
            return Err(refusal(FailureCode::BadRequest, "take bytes on stream 0"));
        }
        let op = match channel::read(&frame.header) {
            Said::Nonsense(failure) => return Err(failure),
            Said::Message(HostMessage::Hello(_)) => {
                return Err(refusal(
                    FailureCode::BadRequest,
                    "take a hello on a client's channel",
                ));
            }
            Said::Message(HostMessage::Close) => {
                self.end_channel(number);
                self.remove_channel(number);
                return Ok(());
            }
            Said::Message(HostMessage::Cancel) => {
                if let Some(found) = self.call(number, call)? {
                    found.port.stop(refusal(
                        FailureCode::Cancelled,
                        "go on: the call was cancelled",
                    ));
                }
                return Ok(());
            }
            Said::BadCall(failure) => Err(failure),
            Said::Message(HostMessage::Call(op)) => Ok(*op),
        };
        let Some(channel) = self.channels.get_mut(&number) else {
            return Ok(());
        };
        if !channel.take(call) {
            let message = format!("open call {call}: the number was used before");
            return Err(refusal(FailureCode::BadRequest, message));
        }
        let op = op.and_then(|op| {
            if channel.calls.len() >= MAX_CALLS {
                return Err(refusal(
                    FailureCode::TooLarge,
                    "open a call: the channel has too many",
                ));
            }
            if self.headers.saturating_add(frame.header.len()) > HEADER_BUDGET {
                return Err(refusal(
                    FailureCode::TooLarge,
                    "open a call: too many large ones are not over",
                ));
            }
            Ok(op)
        });
        match op {
            Ok(op) => self.open(number, call, op, frame.header.len()),
            Err(failure) => self
                .outbox
                .message(number, call, &GuestMessage::Failed(failure)),
        }
        Ok(())
    }

    /// A call of a channel; nothing where it is over.
    fn call(&self, number: u32, call: u32) -> Result<Option<&Call>, Failure> {
        let Some(channel) = self.channels.get(&number) else {
            return Ok(None);
        };
        match channel.calls.get(&call) {
            Some(serial) => Ok(self.calls.get(serial)),
            None if channel.had(call) => Ok(None),
            None => {
                let message = format!("find call {call}: it was never opened");
                Err(refusal(FailureCode::BadRequest, message))
            }
        }
    }

    /// Takes data, credit or the end of a stream.
    fn take_data(&mut self, frame: Frame) -> Result<(), Failure> {
        let broken = |what: &str| refusal(FailureCode::BadRequest, format!("take data: {what}"));
        let Frame { head, header, body } = frame;
        let Some(call) = self.call(head.channel, head.call)? else {
            return Ok(());
        };
        let known = matches!(head.stream, STREAM_INPUT..=STREAM_ERRORS)
            && call.streams[head.stream as usize - 1];
        if !known {
            return Err(broken("the call has no such stream"));
        }
        let end = match header.as_slice() {
            b"" => false,
            header => match serde_json::from_slice::<StreamMessage>(header) {
                Ok(StreamMessage::End) => true,
                Err(error) => return Err(broken(&error.to_string())),
            },
        };
        if head.stream == STREAM_INPUT {
            // Credit on it would be for us, and we send nothing on it.
            call.port
                .take_input(body, end)
                .map_err(|OverCredit| broken("more than was allowed"))?;
        } else if end || !body.is_empty() {
            return Err(broken("the stream goes the other way"));
        } else {
            call.port.add_credit(head.stream, head.credit);
        }
        Ok(())
    }

    /// Opens a call.
    fn open(&mut self, number: u32, call: u32, op: Op, header: usize) {
        self.serial += 1;
        let serial = self.serial;
        let port = Arc::new(Port::new(
            number,
            call,
            Arc::clone(&self.outbox),
            Arc::clone(&self.buffered),
        ));
        let streams = [1, 2, 3].map(|stream| calls::has_stream(&op, stream));
        self.headers += header;
        self.calls.insert(
            serial,
            Call {
                port: Arc::clone(&port),
                streams,
                header,
            },
        );
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.calls.insert(call, serial);
        }
        if let Op::ExecRun(run) = op {
            let started = self.programs.start(
                &self.world,
                self.spawner.as_mut(),
                serial,
                &port,
                &run,
                &mut self.watch,
            );
            match started {
                Ok(None) => self.outbox.message(number, call, &GuestMessage::Started),
                Ok(Some(report)) => self.over(serial, Ok(Reply::Exec(report))),
                Err(failure) => self.over(serial, Err(failure)),
            }
            return;
        }
        if let Op::ExecResize(resize) = op {
            let result = self.resize(number, &resize);
            return self.over(serial, result);
        }
        let (world, events, outbox) = (
            Arc::clone(&self.world),
            self.events.clone(),
            Arc::clone(&self.outbox),
        );
        self.pool.run(
            number,
            Box::new(move || {
                let result = calls::file_op(&world, &port, op);
                // The loop is there as long as its threads.
                let _ = events.send(Event::Over(serial, result));
                outbox.wake();
                world.clear();
            }),
        );
    }

    /// Gives the terminal of a program another size.
    fn resize(&self, number: u32, resize: &ExecResize) -> Result<Reply, Failure> {
        calls::terminal::check(resize.size)?;
        let program = self.channels.get(&number);
        let program = program.and_then(|channel| channel.calls.get(&resize.call));
        if program.is_some_and(|&program| self.programs.resize(program, resize.size)) {
            return Ok(Reply::Records(Records::default()));
        }
        let call = resize.call;
        Err(refusal(
            FailureCode::NotFound,
            format!("resize a terminal: call {call} of this channel runs no program on one"),
        ))
    }

    /// Answers a call and forgets it.
    pub(super) fn over(&mut self, serial: u64, result: Result<Reply, Failure>) {
        let Some(call) = self.calls.remove(&serial) else {
            return;
        };
        let Call {
            port,
            streams,
            header,
        } = call;
        self.headers -= header;
        let (number, call) = (port.channel(), port.call());
        if port.is_muted() {
            // What it put out after its channel was closed; the number may have been given again.
            if !self.channels.contains_key(&number) {
                spool::forget_call(&self.world, number, call);
            }
            return;
        }
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.calls.remove(&call);
        }
        if let Ok(Reply::Exec(_)) = &result {
            port.end(STREAM_OUTPUT);
            if streams[STREAM_ERRORS as usize - 1] {
                port.end(STREAM_ERRORS);
            }
        }
        let message = match result {
            Ok(reply) => GuestMessage::Done(reply),
            Err(failure) => GuestMessage::Failed(failure),
        };
        self.outbox.message(number, call, &message);
    }

    /// The client broke the rules: its calls end, and it hears nothing but why.
    fn fail_channel(&mut self, number: u32, failure: Failure) {
        self.end_channel(number);
        if let Some(channel) = self.channels.get_mut(&number) {
            channel.failed = true;
        }
        self.outbox
            .message(number, 0, &GuestMessage::ChannelFailed(failure));
    }

    /// Its number is free again, and what its programs put out is not kept any longer.
    fn remove_channel(&mut self, number: u32) {
        self.channels.remove(&number);
        spool::forget(&self.world, number);
    }

    /// Ends every call of a channel, silently.
    fn end_channel(&mut self, number: u32) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        for (_, serial) in channel.calls.drain() {
            if let Some(call) = self.calls.get(&serial) {
                call.port.mute();
                call.port.stop(refusal(
                    FailureCode::Cancelled,
                    "go on: the channel was closed",
                ));
            }
        }
    }
}
