//! Programs on a terminal of their own, of a real agent in a real sandbox.

use super::Test;
use super::client::{boot_in, ends};
use super::link::Server;
use pyro_protocol::frame::{CHUNK, Head, INITIAL_CREDIT, STREAM_INPUT, STREAM_OUTPUT};
use pyro_protocol::message::{
    ExecEnd, ExecReport, ExecResize, ExecRun, Failure, FailureCode, TerminalSize,
};
use pyro_protocol::{Bytes, GuestMessage, HostMessage, Op, Reply};
use std::fmt::Write as _;

pub(crate) const TESTS: &[Test] = &[
    (
        "a_shell_has_a_terminal_of_its_own",
        a_shell_has_a_terminal_of_its_own,
    ),
    ("a_terminal_changes_its_size", a_terminal_changes_its_size),
    (
        "keys_end_and_stop_what_runs_in_front",
        keys_end_and_stop_what_runs_in_front,
    ),
    (
        "a_program_that_does_not_read_blocks_nobody",
        a_program_that_does_not_read_blocks_nobody,
    ),
    (
        "a_program_waits_for_whoever_reads_its_terminal",
        a_program_waits_for_whoever_reads_its_terminal,
    ),
    (
        "the_last_output_waits_for_its_reader",
        the_last_output_waits_for_its_reader,
    ),
    (
        "children_that_hold_a_terminal_hold_nobody_up",
        children_that_hold_a_terminal_hold_nobody_up,
    ),
    (
        "a_cancel_hangs_up_and_ends_the_session",
        a_cancel_hangs_up_and_ends_the_session,
    ),
    (
        "a_closed_channel_hangs_up_too",
        a_closed_channel_hangs_up_too,
    ),
    (
        "a_mark_stops_nobody_on_a_terminal_for_good",
        a_mark_stops_nobody_on_a_terminal_for_good,
    ),
    (
        "nobody_types_on_a_terminal_from_inside",
        nobody_types_on_a_terminal_from_inside,
    ),
];

const SIZE: TerminalSize = TerminalSize {
    cols: 120,
    rows: 30,
};

/// A call on a terminal, and what it has shown so far.
struct Screen<'a> {
    server: &'a mut Server,
    call: u32,
    shown: Vec<u8>,
    /// Up to where [`Screen::wait`] has found what it waited for.
    seen: usize,
    /// What the guest may still send.
    credit: usize,
    generous: bool,
    typed_credit: usize,
    end: Option<Result<Reply, Failure>>,
    /// Answers of other calls.
    others: Vec<(u32, Result<Reply, Failure>)>,
}

impl<'a> Screen<'a> {
    fn run(server: &'a mut Server, op: ExecRun) -> Self {
        let call = server.open(Op::ExecRun(op));
        Self {
            server,
            call,
            shown: Vec::new(),
            seen: 0,
            credit: INITIAL_CREDIT as usize,
            generous: true,
            typed_credit: INITIAL_CREDIT as usize,
            end: None,
            others: Vec::new(),
        }
    }

    fn bash(server: &'a mut Server) -> Self {
        let mut screen = Self::run(server, on_terminal(&["bash", "--norc", "--noprofile"]));
        screen.wait("$> ");
        screen
    }

    fn head(&self, stream: u32) -> Head {
        Head {
            channel: 1,
            call: self.call,
            stream,
            credit: 0,
        }
    }

    /// Types bytes as far as the guest takes them; how many.
    fn type_bytes(&mut self, bytes: &[u8]) -> usize {
        let count = bytes.len().min(self.typed_credit);
        self.typed_credit -= count;
        for piece in bytes[..count].chunks(CHUNK) {
            let head = self.head(STREAM_INPUT);
            self.server.send_body(head, &[], piece);
        }
        count
    }

    fn type_text(&mut self, text: &str) {
        assert_eq!(self.type_bytes(text.as_bytes()), text.len());
    }

    fn frame(&mut self) {
        let Some(frame) = self.server.next_frame() else {
            panic!("nothing comes after {:?}", self.text());
        };
        if frame.head.call != self.call {
            match serde_json::from_slice(&frame.header) {
                Ok(GuestMessage::Done(reply)) => self.others.push((frame.head.call, Ok(reply))),
                Ok(GuestMessage::Failed(why)) => self.others.push((frame.head.call, Err(why))),
                Ok(
                    GuestMessage::Started | GuestMessage::Hello(_) | GuestMessage::ChannelFailed(_),
                )
                | Err(_) => {}
            }
            return;
        }
        match frame.head.stream {
            0 => match serde_json::from_slice(&frame.header).expect("a message") {
                GuestMessage::Done(reply) => self.end = Some(Ok(reply)),
                GuestMessage::Failed(failure) => self.end = Some(Err(failure)),
                GuestMessage::Started | GuestMessage::Hello(_) | GuestMessage::ChannelFailed(_) => {
                }
            },
            STREAM_INPUT => self.typed_credit += frame.head.credit as usize,
            _ => {
                assert!(frame.body.len() <= self.credit, "more than was allowed");
                self.credit -= frame.body.len();
                self.shown.extend_from_slice(&frame.body);
                if self.generous {
                    self.allow(frame.body.len());
                }
            }
        }
    }

    fn allow(&mut self, count: usize) {
        self.credit += count;
        let head = Head {
            credit: u32::try_from(count).expect("small"),
            ..self.head(STREAM_OUTPUT)
        };
        self.server.send_body(head, &[], &[]);
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }

    /// Waits until this text was shown, after what was waited for before; all that was shown until then.
    fn wait(&mut self, text: &str) -> String {
        loop {
            let rest = &self.shown[self.seen..];
            if let Some(at) = rest
                .windows(text.len())
                .position(|window| window == text.as_bytes())
            {
                let shown = String::from_utf8_lossy(&rest[..at]).into_owned();
                self.seen += at + text.len();
                return shown;
            }
            assert!(self.end.is_none(), "no {text:?} in {:?}", self.text());
            self.frame();
        }
    }

    /// A line for the shell; what it put out.
    fn line(&mut self, line: &str) -> String {
        self.type_text(&format!("{line}\n"));
        self.wait("\r\n");
        self.wait("$> ")
    }

    /// Lets the shell run a program that waits, and waits until it is the one in front: a shell that is about to start
    /// one hears no key.
    fn front(&mut self, before: &str, program: &str) {
        self.type_text(&format!("{before}sh -c 'echo up; exec {program}'\n"));
        self.wait("\r\n");
        self.wait("up\r\n");
    }

    /// The answer of another call.
    fn answer(&mut self, call: u32) -> Result<Reply, Failure> {
        loop {
            if let Some(at) = self.others.iter().position(|(other, _)| *other == call) {
                return self.others.remove(at).1;
            }
            self.frame();
        }
    }

    fn call(&mut self, op: Op) -> Result<Reply, Failure> {
        let call = self.server.open(op);
        self.answer(call)
    }

    fn report(&mut self) -> ExecReport {
        while self.end.is_none() {
            self.frame();
        }
        match self.end.take() {
            Some(Ok(Reply::Exec(report))) => report,
            other => panic!("{other:?}: {:?}", self.text()),
        }
    }

    fn cancel(&mut self) {
        let cancel = serde_json::to_vec(&HostMessage::Cancel).expect("serialises");
        let head = self.head(0);
        self.server.send_body(head, &cancel, &[]);
    }
}

fn on_terminal(argv: &[&str]) -> ExecRun {
    let env = [
        ("PATH", "/usr/bin:/bin"),
        ("TERM", "xterm-256color"),
        ("PS1", "$> "),
        ("HOME", "/root"),
        // Its own way of drawing lines would be in what is compared.
        ("INPUTRC", "/workspace/inputrc"),
    ];
    ExecRun {
        argv: argv.iter().copied().map(Bytes::from).collect(),
        cwd: Bytes::default(),
        env: env.map(|(k, v)| (Bytes::from(k), Bytes::from(v))).to_vec(),
        timeout_ms: 60_000,
        grace_ms: 200,
        stdin: true,
        spool_limit: 0,
        terminal: Some(SIZE),
        unnamed: false,
    }
}

fn plain(argv: &[&str]) -> Op {
    Op::ExecRun(ExecRun {
        stdin: false,
        terminal: None,
        ..on_terminal(argv)
    })
}

fn with(test: impl FnOnce(&mut Server)) {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let boot = boot_in(folder.path());
    let inputrc = folder.path().join("run/tree/inputrc");
    std::fs::write(inputrc, "set enable-bracketed-paste off\n").expect("writes");
    let mut server = Server::boot(&boot);
    test(&mut server);
    drop(server.control.take());
    ends(&mut server.zygote);
}

fn a_shell_has_a_terminal_of_its_own() {
    with(|server| {
        let mut screen = Screen::bash(server);
        let before = screen.text();
        assert_eq!(before, "$> ", "a shell with job control says nothing");
        assert_eq!(screen.line("tty"), "/dev/pts/0\r\n");
        assert_eq!(screen.line("stty size"), "30 120\r\n");
        assert_eq!(screen.line("id -u; stat -c %u:%a $(tty)"), "0\r\n0:620\r\n");
        assert_eq!(screen.line("echo out; echo err >&2"), "out\r\nerr\r\n");
        // All three are the terminal, nothing else of the agent is open, and it controls the session.
        let open =
            screen.line("cd /proc/self/fd; for f in 0 1 2; do readlink $f; done; cd /workspace");
        assert_eq!(open, "/dev/pts/0\r\n".repeat(3));
        assert_eq!(
            screen.line("sh -c 'echo /proc/self/fd/*'").lines().count(),
            1
        );
        assert_eq!(screen.line("echo hello >/dev/tty"), "hello\r\n");
        screen.type_text("exit 7\n");
        let report = screen.report();
        assert_eq!(report.end, ExecEnd::Exited { code: 7 });
        assert_eq!(report.left_running, 0);
        assert_eq!(report.stdout.bytes, screen.shown.len() as u64);
        assert_eq!((report.stdout.dropped, report.stderr.bytes), (0, 0));
        // The next one is the first again: nothing of it is left.
        assert_eq!(Screen::bash(server).line("tty"), "/dev/pts/0\r\n");
        // What cannot be started says so, as without a terminal.
        let mut screen = Screen::run(server, on_terminal(&["no-such-shell"]));
        let ExecEnd::NotStarted { code, reason, .. } = screen.report().end else {
            panic!("it is not there");
        };
        assert_eq!(
            (code, reason.as_str()),
            (127, "no such program: no-such-shell")
        );
    });
}

fn a_terminal_changes_its_size() {
    with(|server| {
        let mut screen = Screen::bash(server);
        let script = "trap 'stty size; exit 3' WINCH; echo ready; while sleep 0.01; do :; done";
        screen.type_text(&format!("bash -c \"{script}\"\n"));
        screen.wait("\r\n");
        screen.wait("ready\r\n");
        let size = TerminalSize { cols: 81, rows: 25 };
        let resize = |call, size| Op::ExecResize(ExecResize { call, size });
        let call = screen.call;
        assert!(screen.call(resize(call, size)).is_ok());
        assert_eq!(screen.wait("$> "), "25 81\r\n");
        assert_eq!(screen.line("echo $?"), "3\r\n");
        let none = TerminalSize { cols: 0, ..size };
        let refused = screen.call(resize(call, none)).expect_err("no columns");
        assert_eq!(refused.code, FailureCode::BadRequest);
        let refused = screen
            .call(resize(call + 77, size))
            .expect_err("no program");
        assert_eq!(refused.code, FailureCode::NotFound);
        let pipes = screen.server.open(plain(&["sleep", "60"]));
        let refused = screen.call(resize(pipes, size)).expect_err("no terminal");
        assert_eq!(refused.code, FailureCode::NotFound);
        let none = ExecRun {
            terminal: Some(none),
            ..on_terminal(&["true"])
        };
        let refused = screen.call(Op::ExecRun(none)).expect_err("no columns");
        assert_eq!(refused.code, FailureCode::BadRequest);
    });
}

fn keys_end_and_stop_what_runs_in_front() {
    with(|server| {
        let mut screen = Screen::bash(server);
        screen.front("", "sleep 1000");
        screen.type_text("\x03");
        screen.wait("$> ");
        assert_eq!(screen.line("echo $?"), "130\r\n");
        screen.front("", "sleep 1001");
        screen.type_text("\x1a");
        assert!(screen.wait("$> ").contains("Stopped"));
        assert!(screen.line("jobs").contains("sleep 1001"));
        // For its end: without, a job that has stopped is not waited for, and the shell stays for its sake.
        screen.line("kill -9 %1; wait -f %1; true");
        screen.type_text("\x04");
        assert_eq!(screen.report().end, ExecEnd::Exited { code: 0 });
    });
}

fn a_program_that_does_not_read_blocks_nobody() {
    with(|server| {
        // 244 KB without an end of line, with them, and of a program that takes keys as they are typed.
        let line = "x".repeat(99) + "\n";
        for (before, paste) in [
            ("", "x".repeat(244_000)),
            ("", line.repeat(2440)),
            ("stty -icanon; ", line.repeat(2440)),
        ] {
            let mut screen = Screen::bash(server);
            screen.front(before, "sleep 1000");
            screen.type_text(&paste);
            let done = screen.call(plain(&["true"])).expect("others go on");
            let Reply::Exec(report) = done else {
                panic!("{done:?}");
            };
            assert_eq!(report.end, ExecEnd::Exited { code: 0 });
            screen.type_text("\x03");
            screen.wait("^C");
            screen.wait("$> ");
            // None of the paste reaches the shell.
            let mut said = screen.line("stty icanon; echo it-$((1+1))");
            while !said.contains("it-2") {
                assert!(!said.contains("not found"), "{said:?}");
                said = screen.wait("$> ");
            }
            screen.type_text("exit\n");
            screen.report();
        }
    });
}

fn a_program_waits_for_whoever_reads_its_terminal() {
    with(|server| {
        let mut screen = Screen::run(server, on_terminal(&["sh", "-c", "yes; exit 5"]));
        screen.generous = false;
        while screen.credit > 0 {
            screen.frame();
        }
        let first = screen.shown.len();
        assert_eq!(first, INITIAL_CREDIT as usize);
        // Nothing is read ahead: it writes no more. Others go on, and are heard.
        let waits = "for i in $(seq 500); do for p in /proc/[0-9]*; do
            read -r c < $p/comm && [ \"$c\" = yes ] && grep -q 'State:.S' $p/status && exit 0
            done; sleep 0.02; done; exit 1";
        let done = screen.call(plain(&["sh", "-c", waits])).expect("it runs");
        assert!(
            matches!(&done, Reply::Exec(report) if report.end == ExecEnd::Exited { code: 0 }),
            "{done:?}"
        );
        assert_eq!(screen.shown.len(), first);
        screen.allow(1000);
        while screen.credit > 0 {
            screen.frame();
        }
        assert_eq!(screen.shown.len(), first + 1000);
        screen.cancel();
        let report = screen.report();
        assert_eq!(report.end, ExecEnd::Cancelled);
        assert_eq!(report.left_running, 0);
        assert_eq!(screen.shown.len(), first + 1000);
    });
}

fn the_last_output_waits_for_its_reader() {
    with(|server| {
        let script = "stty -opost; head -c 262144 /dev/zero; printf the-end";
        let mut screen = Screen::run(server, on_terminal(&["sh", "-c", script]));
        screen.generous = false;
        while screen.credit > 0 {
            screen.frame();
        }
        // By now it has ended, or is about to: a program that ran later has.
        screen.call(plain(&["sleep", "0.3"])).expect("runs");
        assert!(screen.end.is_none(), "not all of it was taken");
        screen.allow(100);
        assert_eq!(screen.report().end, ExecEnd::Exited { code: 0 });
        assert!(screen.shown.ends_with(b"the-end"));
    });
}

fn children_that_hold_a_terminal_hold_nobody_up() {
    with(|server| {
        let mut screen = Screen::bash(server);
        screen.type_text("sleep 1000 & (trap '' HUP TERM; while echo still-here; do sleep 0.01; done) & exit 3\n");
        let report = screen.report();
        assert_eq!(report.end, ExecEnd::Exited { code: 3 });
        assert!(report.left_running >= 2, "{report:?}");
        // They go on; what they write is thrown away.
        let count = "n=0; for p in /proc/[0-9]*; do
            read -r c < $p/comm 2>/dev/null; case $c in sleep|bash) n=$((n+1));; esac; done; test $n -ge 2";
        let (reply, _) = server.call(plain(&["sh", "-c", count]));
        let Ok(Reply::Exec(report)) = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(report.end, ExecEnd::Exited { code: 0 });
    });
}

fn processes(server: &mut Server) -> String {
    let list = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null; echo; done";
    server.sh(list)
}

fn a_cancel_hangs_up_and_ends_the_session() {
    with(|server| {
        let mut screen = Screen::bash(server);
        screen.line("setsid -f sleep 2001");
        screen.line("(trap 'echo hung-up > /workspace/told' HUP; sleep 2002 & wait) &");
        screen.line("(trap '' HUP; sleep 2003) &");
        screen
            .type_text("bash -c 'trap \"\" HUP INT TERM; echo up; while :; do sleep 2004; done'\n");
        screen.wait("\r\n");
        screen.wait("up\r\n");
        screen.cancel();
        let report = screen.report();
        assert_eq!(report.end, ExecEnd::Cancelled);
        // Who made a session of its own lives on.
        assert_eq!(report.left_running, 1, "{report:?}");
        let left = processes(server);
        assert!(left.contains("sleep 2001"), "{left}");
        for gone in ["2002", "2003", "2004", "bash"] {
            assert!(!left.contains(gone), "{gone}: {left}");
        }
        assert_eq!(server.sh("cat told"), "hung-up\n");
    });
}

fn a_closed_channel_hangs_up_too() {
    with(|server| {
        let mut screen = Screen::bash(server);
        screen.front("", "sleep 3001");
        // Typed for nobody.
        screen.type_text(&"y".repeat(100_000));
        let close = serde_json::to_vec(&HostMessage::Close).expect("serialises");
        let head = Head {
            channel: 1,
            ..Head::default()
        };
        server.send_body(head, &close, &[]);
        // On a new channel of that number.
        let mut left = String::new();
        for _ in 0..500 {
            left = processes(server);
            if !left.contains("sleep 3001") && !left.contains("bash") {
                return;
            }
            server.sh("sleep 0.02");
        }
        panic!("{left}");
    });
}

fn a_mark_stops_nobody_on_a_terminal_for_good() {
    with(|server| {
        let mut screen = Screen::bash(server);
        let mut told = String::new();
        for round in 0..20 {
            screen.front("", "sleep 1000");
            let marked = screen.call(Op::TreeMark(pyro_protocol::message::TreeMark {
                name: format!("m{round}"),
                contents: true,
                system: false,
            }));
            assert!(marked.is_ok(), "{marked:?}");
            screen.type_text("\x03");
            let _ = write!(told, "{}", screen.wait("$> "));
        }
        assert!(!told.contains("Stopped"), "{told}");
    });
}

fn nobody_types_on_a_terminal_from_inside() {
    with(|server| {
        let types = "use strict; my $c = 'x'; $! = 0;
            ioctl(STDIN, 0x5412, $c) and die 'typed'; print \"$!\\n\"; exit 0";
        let mut screen = Screen::run(server, on_terminal(&["perl", "-e", types]));
        let report = screen.report();
        assert_eq!(report.end, ExecEnd::Exited { code: 0 }, "{}", screen.text());
        assert_eq!(screen.text(), "Operation not permitted\r\n");
    });
}
