//! The host's side of the link, as a test needs it: calls, credit, and patience with a limit.

use crate::bare::BareSpawner;
use pyro_guest::serve::{Agent, serve};
use pyro_protocol::boot::Limits;
use pyro_protocol::frame::{self, CHUNK, Head, INITIAL_CREDIT};
use pyro_protocol::message::{ExecEnd, ExecReport, ExecRun, Failure, StreamMessage};
use pyro_protocol::{Bytes, Decoder, Frame, GuestMessage, HostMessage, Op, Reply};
use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;
use std::time::Duration;

/// No test waits longer than this for one frame. Only a hang gets here.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const NO_LIMITS: Limits = Limits {
    processes: 0,
    memory: u64::MAX,
    disk: u64::MAX,
    disk_reserve: 0,
    open_files: 0,
};

/// An agent on a thread, and the link to it.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) link: UnixStream,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) mark: String,
    decoder: Decoder,
    backlog: VecDeque<Frame>,
    next_call: u32,
    agent: Option<JoinHandle<std::io::Result<()>>>,
}

/// All that came back from one call.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) result: Result<Reply, Failure>,
    pub(crate) output: Vec<u8>,
    pub(crate) errors: Vec<u8>,
    pub(crate) ended: [bool; 2],
}

impl Answer {
    pub(crate) fn exec(&self) -> &ExecReport {
        match &self.result {
            Ok(Reply::Exec(report)) => report,
            other => panic!("not a program's end: {other:?}"),
        }
    }
    pub(crate) fn failure(&self) -> &Failure {
        self.result.as_ref().expect_err("the call must fail")
    }
}

impl Host {
    pub(crate) fn new() -> Self {
        Self::with_limits(NO_LIMITS)
    }

    pub(crate) fn with_limits(limits: Limits) -> Self {
        // Modes that a test makes and compares do not depend on whoever runs it.
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        Self::on(tempfile::tempdir().expect("a temporary directory"), limits)
    }

    /// Another agent on the same folder, once this one has ended.
    pub(crate) fn again(mut self) -> Self {
        let empty = tempfile::tempdir().expect("a temporary directory");
        let dir = std::mem::replace(&mut self.dir, empty);
        drop(self);
        Self::on(dir, NO_LIMITS)
    }

    fn on(dir: tempfile::TempDir, limits: Limits) -> Self {
        for name in ["tree", "stage", "spool"] {
            std::fs::create_dir_all(dir.path().join(name)).expect("a folder of the run");
        }
        let other = dir.path().join("other");
        std::fs::create_dir_all(&other).expect("the rest of what programs can write to");
        let system = Some(std::fs::File::open(&other).expect("a folder").into());
        let (link, theirs) = UnixStream::pair().expect("a socket pair");
        link.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        link.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        let mark = dir.path().display().to_string();
        let (run_dir, tree, its_mark) =
            (dir.path().to_owned(), dir.path().join("tree"), mark.clone());
        let agent = std::thread::spawn(move || {
            serve(Agent {
                link: theirs.into(),
                run_dir: std::fs::File::open(run_dir)
                    .expect("the run's folder")
                    .into(),
                owner: rustix::process::geteuid().as_raw(),
                limits,
                system,
                layer: None,
                spawner: Box::new(BareSpawner {
                    tree,
                    mark: its_mark,
                }),
            })
        });
        Self {
            link,
            dir,
            mark,
            decoder: Decoder::default(),
            backlog: VecDeque::new(),
            next_call: 1,
            agent: Some(agent),
        }
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.dir.path().join("tree")
    }

    /// What a call does not need any more goes after its answer.
    pub(crate) fn stage_is_empty(&self) {
        let stage = self.dir.path().join("stage");
        let left = || std::fs::read_dir(&stage).expect("the stage").count();
        for _ in 0..1000 {
            if left() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{} things stay on the stage", left());
    }

    pub(crate) fn put(&self, path: &str, contents: impl AsRef<[u8]>) {
        let path = self.tree().join(path);
        std::fs::create_dir_all(path.parent().unwrap_or(Path::new("/"))).expect("a directory");
        std::fs::write(path, contents).expect("a file");
    }

    pub(crate) fn send_raw(&mut self, bytes: &[u8]) {
        self.link.write_all(bytes).expect("the link takes bytes");
    }

    pub(crate) fn send(&mut self, head: Head, header: &[u8], body: &[u8]) {
        let mut bytes = Vec::new();
        frame::encode(head, header, body, &mut bytes);
        self.send_raw(&bytes);
    }

    pub(crate) fn say(&mut self, channel: u32, call: u32, message: &HostMessage) {
        let header = serde_json::to_vec(message).expect("a header");
        self.send(
            Head {
                channel,
                call,
                ..Head::default()
            },
            &header,
            &[],
        );
    }

    /// Opens a call on channel 1.
    pub(crate) fn open(&mut self, op: Op) -> u32 {
        let call = self.next_call;
        self.next_call += 1;
        self.say(1, call, &HostMessage::Call(Box::new(op)));
        call
    }

    /// The next frame, whatever it belongs to; nothing at the end of the link.
    pub(crate) fn any_frame(&mut self) -> Option<Frame> {
        if let Some(frame) = self.backlog.pop_front() {
            return Some(frame);
        }
        self.read_frame()
    }

    fn read_frame(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().expect("the agent sends frames") {
                return Some(frame);
            }
            let mut buffer = vec![0; 64 << 10];
            match self.link.read(&mut buffer) {
                Ok(0) => return None,
                Ok(count) => self.decoder.push(&buffer[..count]),
                // A socket with a timeout tells when the machine was frozen for a moment, handlers or not (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("the agent answers in time: {error}"),
            }
        }
    }

    /// The next frame of a call on a channel; others are kept for later.
    pub(crate) fn frame_of(&mut self, channel: u32, call: u32) -> Frame {
        let mine = |frame: &Frame| frame.head.channel == channel && frame.head.call == call;
        if let Some(at) = self.backlog.iter().position(mine) {
            return self.backlog.remove(at).expect("it was found");
        }
        loop {
            let frame = self.read_frame().expect("the link stays up");
            if mine(&frame) {
                return frame;
            }
            self.backlog.push_back(frame);
        }
    }

    pub(crate) fn message_of(&mut self, channel: u32, call: u32) -> GuestMessage {
        loop {
            let frame = self.frame_of(channel, call);
            if frame.head.stream == 0 {
                return serde_json::from_slice(&frame.header).expect("a message");
            }
        }
    }

    pub(crate) fn wait_started(&mut self, call: u32) {
        assert_eq!(self.message_of(1, call), GuestMessage::Started);
    }

    pub(crate) fn run(&mut self, op: Op) -> Answer {
        self.run_with(op, &[])
    }

    pub(crate) fn run_with(&mut self, op: Op, input: &[u8]) -> Answer {
        let takes_input = match &op {
            Op::ExecRun(run) => run.stdin,
            Op::FilesWrite(_) | Op::TarIn(_) => true,
            Op::SpoolRead(_)
            | Op::FileRead(_)
            | Op::FileStat(_)
            | Op::TreeList(_)
            | Op::TreeScan
            | Op::TreeDiff
            | Op::TreeMark(_)
            | Op::TreeCompare(_)
            | Op::TreeReset(_)
            | Op::MarkRead(_)
            | Op::MarkRemove(_)
            | Op::PathMove(_)
            | Op::ExecResize(_)
            | Op::TreeRead(_)
            | Op::TarOut(_) => false,
        };
        let call = self.open(op);
        self.finish_call(call, takes_input.then_some(input))
    }

    /// Sends input as credit allows, grants credit for output, and waits for the answer.
    pub(crate) fn finish_call(&mut self, call: u32, input: Option<&[u8]>) -> Answer {
        let (mut rest, mut credit) = (input.unwrap_or_default(), INITIAL_CREDIT as usize);
        let mut open = input.is_some();
        let mut answer = Answer {
            result: Ok(Reply::Written(Vec::new())),
            output: Vec::new(),
            errors: Vec::new(),
            ended: [false; 2],
        };
        let data = Head {
            channel: 1,
            call,
            stream: 1,
            credit: 0,
        };
        loop {
            while !rest.is_empty() && credit > 0 {
                let (now, later) = rest.split_at(rest.len().min(credit).min(CHUNK));
                self.send(data, &[], now);
                credit -= now.len();
                rest = later;
            }
            if open && rest.is_empty() {
                self.send(data, br#""end""#, &[]);
                open = false;
            }
            let frame = self.frame_of(1, call);
            match frame.head.stream {
                0 => match serde_json::from_slice(&frame.header).expect("a message") {
                    GuestMessage::Started => {}
                    GuestMessage::Done(reply) => {
                        answer.result = Ok(reply);
                        return answer;
                    }
                    GuestMessage::Failed(failure) => {
                        answer.result = Err(failure);
                        return answer;
                    }
                    other @ (GuestMessage::Hello(_) | GuestMessage::ChannelFailed(_)) => {
                        panic!("{other:?}")
                    }
                },
                1 => credit += frame.head.credit as usize,
                stream => {
                    let which = usize::from(stream == 3);
                    assert!(frame.body.len() <= CHUNK, "bodies come in pieces");
                    if frame.header.is_empty() {
                        assert!(!answer.ended[which], "nothing comes after the end");
                    } else {
                        let end: StreamMessage =
                            serde_json::from_slice(&frame.header).expect("an end");
                        assert_eq!(end, StreamMessage::End);
                        answer.ended[which] = true;
                    }
                    let credit = u32::try_from(frame.body.len()).expect("a short body");
                    if credit > 0 {
                        self.send(
                            Head {
                                channel: 1,
                                call,
                                stream,
                                credit,
                            },
                            &[],
                            &[],
                        );
                    }
                    let into = if which == 0 {
                        &mut answer.output
                    } else {
                        &mut answer.errors
                    };
                    into.extend_from_slice(&frame.body);
                }
            }
        }
    }

    /// Closes the link and waits for the agent's own verdict.
    pub(crate) fn close(&mut self) -> std::io::Result<()> {
        let _ = self.link.shutdown(std::net::Shutdown::Both);
        self.agent
            .take()
            .expect("not closed yet")
            .join()
            .expect("the agent does not panic")
    }

    /// Asks until there is an answer; a test's patience bounds it.
    pub(crate) fn until_some<T>(
        &mut self,
        what: &str,
        mut ask: impl FnMut(&mut Self) -> Option<T>,
    ) -> T {
        for _ in 0..PATIENCE.as_millis() / 5 {
            if let Some(answer) = ask(self) {
                return answer;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{what}: that did not come true");
    }

    /// Waits until a condition holds; a test's patience bounds it.
    pub(crate) fn until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        for _ in 0..PATIENCE.as_millis() / 5 {
            if condition() {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("{what} did not come true");
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.agent.is_some() {
            let _ = self.close();
        }
    }
}

/// A program with a plain environment.
pub(crate) fn exec(argv: &[&str]) -> ExecRun {
    ExecRun {
        argv: argv.iter().map(|&arg| Bytes::from(arg)).collect(),
        cwd: Bytes::default(),
        env: vec![(
            Bytes::from("PATH"),
            Bytes::from("/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"),
        )],
        timeout_ms: 60_000,
        grace_ms: 2_000,
        stdin: false,
        spool_limit: 256 << 20,
        terminal: None,
        unnamed: false,
    }
}

/// A shell script.
pub(crate) fn shell(script: &str) -> ExecRun {
    exec(&["/bin/sh", "-c", script])
}

pub(crate) fn exited(code: i32) -> ExecEnd {
    ExecEnd::Exited { code }
}
