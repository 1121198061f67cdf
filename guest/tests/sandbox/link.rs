//! The link to the real agent in a real sandbox: one call after the other.

use super::client::{ends, reply, start_as};
use pyro_protocol::boot::{Boot, BootReply, Ready};
use pyro_protocol::frame::{self, Head};
use pyro_protocol::message::{ExecEnd, ExecRun, Failure, TreeMark, TreeReset};
use pyro_protocol::{Bytes, Decoder, Frame, GuestMessage, HostMessage, Op, Reply};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Child;

/// A sandbox whose agent serves the real vocabulary.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) zygote: Child,
    pub(crate) control: Option<UnixStream>,
    pub(crate) link: UnixStream,
    pub(crate) ready: Ready,
    decoder: Decoder,
    next_call: u32,
}

impl Server {
    pub(crate) fn boot(boot: &Boot) -> Self {
        let (zygote, mut control, link) = start_as("pyro-server", boot, |_| {});
        let ready = match reply(&mut control) {
            BootReply::Ready(ready) => ready,
            BootReply::Failed(failure) => panic!("no sandbox: {failure:?}"),
        };
        Self {
            zygote,
            control: Some(control),
            link,
            ready,
            decoder: Decoder::default(),
            next_call: 1,
        }
    }

    /// Opens a call that takes no input.
    pub(crate) fn open(&mut self, op: Op) -> u32 {
        let call = self.next_call;
        self.next_call += 1;
        let header = serde_json::to_vec(&HostMessage::Call(Box::new(op))).expect("a header");
        self.send(
            Head {
                channel: 1,
                call,
                ..Head::default()
            },
            &header,
        );
        call
    }

    fn send(&mut self, head: Head, header: &[u8]) {
        self.send_body(head, header, &[]);
    }

    pub(crate) fn send_body(&mut self, head: Head, header: &[u8], body: &[u8]) {
        let mut bytes = Vec::new();
        frame::encode(head, header, body, &mut bytes);
        self.link.write_all(&bytes).expect("the agent listens");
    }

    /// The next frame, whatever it is about; nothing where none comes in time.
    pub(crate) fn next_frame(&mut self) -> Option<Frame> {
        let mut buffer = vec![0; 64 << 10];
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("frames") {
                return Some(frame);
            }
            let count = self.link.read(&mut buffer).ok()?;
            assert!(count > 0, "the agent lives");
            self.decoder.push(&buffer[..count]);
        }
    }

    /// Waits for the answer, with all that came on stream 2; nothing where the agent is gone.
    pub(crate) fn answer(&mut self, call: u32) -> Option<(Result<Reply, Failure>, Vec<u8>)> {
        let mut output = Vec::new();
        let mut buffer = vec![0; 64 << 10];
        loop {
            while let Some(frame) = self.decoder.next_frame().expect("frames") {
                if frame.head.call != call {
                    continue;
                }
                if frame.head.stream == 0 {
                    match serde_json::from_slice(&frame.header).expect("a message") {
                        GuestMessage::Done(reply) => return Some((Ok(reply), output)),
                        GuestMessage::Failed(failure) => return Some((Err(failure), output)),
                        GuestMessage::Started
                        | GuestMessage::Hello(_)
                        | GuestMessage::ChannelFailed(_) => {}
                    }
                    continue;
                }
                let credit = u32::try_from(frame.body.len()).expect("a short body");
                output.extend_from_slice(&frame.body);
                if credit > 0 {
                    let head = Head {
                        credit,
                        ..frame.head
                    };
                    self.send(head, &[]);
                }
            }
            match self.link.read(&mut buffer) {
                Ok(0) => return None,
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                read => self
                    .decoder
                    .push(&buffer[..read.expect("the agent answers in time")]),
            }
        }
    }

    pub(crate) fn call(&mut self, op: Op) -> (Result<Reply, Failure>, Vec<u8>) {
        let call = self.open(op);
        self.answer(call).expect("the agent lives")
    }

    /// The output (both streams) of a shell script that must succeed.
    pub(crate) fn sh(&mut self, script: &str) -> String {
        let script = format!("exec 2>&1; {script}");
        let (reply, output) = self.call(Op::ExecRun(ExecRun {
            argv: ["sh", "-c", &script].map(Bytes::from).to_vec(),
            cwd: Bytes::default(),
            env: vec![(Bytes::from("PATH"), Bytes::from("/usr/bin:/bin"))],
            timeout_ms: 60_000,
            grace_ms: 100,
            stdin: false,
            spool_limit: 64 << 20,
            terminal: None,
            unnamed: false,
        }));
        let output = String::from_utf8_lossy(&output).into_owned();
        match reply {
            Ok(Reply::Exec(report)) if report.end == (ExecEnd::Exited { code: 0 }) => output,
            other => panic!("{script}: {other:?}: {output}"),
        }
    }

    pub(crate) fn mark(&mut self, name: &str) {
        let (reply, _) = self.call(Op::TreeMark(TreeMark {
            name: name.to_owned(),
            contents: true,
            system: true,
        }));
        assert!(reply.is_ok(), "{name}: {reply:?}");
    }

    pub(crate) fn reset(&mut self, to: &str) -> u64 {
        let (reply, _) = self.call(Op::TreeReset(TreeReset {
            to: to.to_owned(),
            token: None,
        }));
        match reply {
            Ok(Reply::Records(records)) => records.entries,
            other => panic!("{to}: {other:?}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.control.take());
        ends(&mut self.zygote);
    }
}
