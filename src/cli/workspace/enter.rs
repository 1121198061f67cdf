//! `pyro workspace enter`: a shell in a workspace, on the terminal of a person.
//!
//! ```text
//!  keys --> [Enter ~ .] --> link --> the program's terminal
//!  screen <-- as fast as it shows <-- link <--'
//! ```
//! What the screen has not shown is not granted again, so that a program that writes faster is slowed down. What the
//! program does not read waits here up to a bound; the keys are always heard.

use super::Here;
use super::args::Enter as Args;
use crate::Exit;
use crate::cli::load::{Findings, fail};
use crate::cli::tty::{self, Keys, Modes, Plain, Raw, Shown, Signals, Wish};
use crate::execute::chain;
use crate::living::{Enter, Entered, Left, Workspaces};
use crate::machine::{CallEvent, CallId, LinkError, Wake};
use pyro_protocol::frame::STREAM_OUTPUT;
use pyro_protocol::message::{ExecEnd, ExecReport, ExecResize, Op, Reply};
use rustix::event::epoll::{self, CreateFlags, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use std::fs::File;
use std::io::{self, IsTerminal as _, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};

/// pyro itself failed, or the workspace went away.
const PYRO_FAILED: u8 = 125;
/// The terminal went away, as a signal.
const SIGHUP: u8 = 1;
/// Typed and not taken by the program, in bytes; what goes beyond is thrown away, and said.
const TYPED: usize = 1 << 20;
/// Read of the keyboard at once, in bytes.
const READ: usize = 64 << 10;
/// Keys that interrupt, as terminals have them: ^C, ^\ and ^Z.
const INTERRUPTS: [u8; 3] = [0x03, 0x1c, 0x1a];

const HELP: &str = "\r\n[pyro] Enter ~ .  leaves: what runs here is hung up\r\n\
                    [pyro] Enter ~ ~  types ~\r\n";
const FULL: &str = "\r\n[pyro] nobody reads what is typed here: what goes beyond 1 MiB of it is thrown away \
                    (^C, or Enter ~ . to leave)\r\n";

pub(super) fn enter(args: &Args, here: Here<'_>) -> u8 {
    let refused = |why: &str, help: &str| {
        fail(
            Findings::json(args.json),
            here.terminal,
            "not-a-request",
            why,
        );
        if !args.json {
            here.terminal.help(help);
        }
        PYRO_FAILED
    };
    if args.json || args.emit.is_some() {
        return refused(
            "entering is no request, and has no answer as data: what somebody types is not known before, nor kept",
            "`pyro workspace exec` runs a program, prints it as a request with --emit, and its result with --json",
        );
    }
    if !io::stdin().is_terminal() || !io::stdout().is_terminal() {
        return refused(
            "there is no terminal to enter from: standard input and output must be one",
            "`pyro workspace exec` runs a program without one",
        );
    }
    let enter = Enter {
        command: &args.command,
        cwd: args.cwd.as_deref(),
        env: &args.env,
        term: if args.plain { "dumb" } else { "xterm-256color" },
        size: tty::size(io::stdout()),
    };
    let entered = match here.with(false, |workspaces| {
        workspaces.enter(&args.at.workspace, &enter)
    }) {
        Ok(entered) => entered,
        Err(_) => return PYRO_FAILED,
    };
    here.terminal.hint(&format!(
        "in the workspace {}; leave it with `exit`, or Enter ~ .",
        entered.shown
    ));
    let mut session = match Session::new(entered, args.plain, here) {
        Ok(session) => session,
        Err(error) => {
            fail(
                Findings::Drawn,
                here.terminal,
                "io",
                &format!("could not use the terminal: {error}"),
            );
            return PYRO_FAILED;
        }
    };
    let end = session.run();
    session.end(end)
}

/// How a session ended, as far as pyro knows.
#[derive(Debug)]
enum End {
    Program(ExecReport),
    /// The agent refused; completes "could not ...".
    Refused(String),
    Left,
    /// By this signal, or because the terminal is gone.
    Signal(u8),
    Lost(LinkError),
}

struct Session<'a> {
    here: Here<'a>,
    entered: Entered,
    /// Nothing once it was given back.
    raw: Option<Raw<OwnedFd>>,
    keyboard: File,
    shown: Shown,
    signals: Signals,
    /// All three of them.
    news: OwnedFd,
    keys: Keys,
    modes: Modes,
    plain: Option<Plain>,
    /// Came, and not granted again.
    owed: u32,
    /// Whether it was said that keys are thrown away.
    told: bool,
    /// Whether room on the screen is waited for.
    watched: bool,
}

impl<'a> Session<'a> {
    fn new(entered: Entered, plain: bool, here: Here<'a>) -> io::Result<Self> {
        let (signals, keyboard, shown) = (Signals::new()?, tty::keyboard()?, Shown::new()?);
        let news = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(&news, &signals, EventData::new_u64(0), EventFlags::IN)?;
        epoll::add(&news, &keyboard, EventData::new_u64(0), EventFlags::IN)?;
        epoll::add(&news, &shown, EventData::new_u64(0), EventFlags::empty())?;
        let raw = Raw::new(keyboard.as_fd().try_clone_to_owned()?)?;
        Ok(Self {
            here,
            entered,
            raw: Some(raw),
            keyboard,
            shown,
            signals,
            news,
            keys: Keys::new(),
            modes: Modes::default(),
            plain: plain.then(Plain::default),
            owed: 0,
            told: false,
            watched: false,
        })
    }

    /// Until there is an end.
    fn run(&mut self) -> End {
        // It may have changed since it was asked.
        self.resize();
        loop {
            match self.entered.link.wait(Some(self.news.as_fd()), None) {
                Ok(Wake::Event(call, event)) if call == self.entered.call => {
                    if let Some(end) = self.hear(event) {
                        return self.show_rest().unwrap_or(end);
                    }
                }
                Ok(Wake::Event(..) | Wake::Timeout) => {}
                Ok(Wake::Interrupt) => {
                    if let Some(end) = self.look() {
                        return end;
                    }
                }
                Err(error) => return End::Lost(error),
            }
        }
    }

    fn hear(&mut self, event: CallEvent) -> Option<End> {
        match event {
            CallEvent::Started => {}
            CallEvent::Data { bytes, .. } => {
                self.owed += u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                match &mut self.plain {
                    Some(plain) => self.shown.push(&plain.show(&bytes)),
                    None => {
                        self.modes.follow(&bytes);
                        self.shown.push(&bytes);
                    }
                }
                return self.show();
            }
            CallEvent::Done(Reply::Exec(report)) => return Some(End::Program(report)),
            CallEvent::Done(reply) => {
                return Some(End::Refused(format!("understand the agent: {reply:?}")));
            }
            CallEvent::Failed(failure) => return Some(End::Refused(failure.message)),
        }
        None
    }

    /// Shows what the screen takes. What it has taken may come again.
    fn show(&mut self) -> Option<End> {
        if self.shown.flush().is_err() {
            return Some(End::Signal(SIGHUP));
        }
        let waits = self.shown.is_waiting();
        if !waits {
            let owed = std::mem::take(&mut self.owed);
            let call = self.entered.call;
            self.entered.link.grant(call, STREAM_OUTPUT, owed);
        }
        if waits != self.watched {
            let interest = if waits {
                EventFlags::OUT
            } else {
                EventFlags::empty()
            };
            // It is there: it was added.
            let _changed = epoll::modify(&self.news, &self.shown, EventData::new_u64(0), interest);
            self.watched = waits;
        }
        None
    }

    /// The last of it, when nothing more comes.
    fn show_rest(&mut self) -> Option<End> {
        while self.shown.is_waiting() {
            let mut fds = [
                PollFd::new(&self.shown, PollFlags::OUT),
                PollFd::new(&self.keyboard, PollFlags::IN),
                PollFd::new(&self.signals, PollFlags::IN),
            ];
            let _woken = poll(&mut fds, None);
            let keys = !fds[1].revents().is_empty();
            self.signals.heard();
            if let Some(signal) = self.signals.end() {
                return Some(End::Signal(signal));
            }
            if self.shown.flush().is_err() {
                return Some(End::Signal(SIGHUP));
            }
            // Of the keys, only the way out counts any more.
            if keys {
                match self.typed() {
                    None => {}
                    end => return end,
                }
            }
        }
        None
    }

    /// Looks what there is besides the link.
    fn look(&mut self) -> Option<End> {
        self.signals.heard();
        if let Some(signal) = self.signals.end() {
            return Some(End::Signal(signal));
        }
        if self.signals.went_on() {
            if let Some(raw) = &self.raw {
                let _gone = raw.again();
            }
            self.resize();
        }
        if self.signals.resized() {
            self.resize();
        }
        if let Some(end) = self.show() {
            return Some(end);
        }
        let mut fds = [PollFd::new(&self.keyboard, PollFlags::IN)];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        match poll(&mut fds, Some(&now)) {
            Ok(1..) => self.typed(),
            Ok(0) | Err(_) => None,
        }
    }

    fn resize(&mut self) {
        let resize = ExecResize {
            call: self.entered.call.number(),
            size: tty::size(&self.shown),
        };
        // Of one that is over by then, it does not matter.
        let _: CallId = self.entered.link.call(Op::ExecResize(resize));
    }

    /// Reads keys and passes them on.
    fn typed(&mut self) -> Option<End> {
        let mut buffer = vec![0; READ];
        let typed = match self.keyboard.read(&mut buffer) {
            Ok(0) => return Some(End::Signal(SIGHUP)),
            Ok(count) => &buffer[..count],
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock
                ) =>
            {
                return None;
            }
            Err(_) => return Some(End::Signal(SIGHUP)),
        };
        let (keys, wish) = self.keys.take(typed);
        match wish {
            Some(Wish::Leave) => return Some(End::Left),
            Some(Wish::Help) => self.shown.push(HELP.as_bytes()),
            None => {}
        }
        let (link, call) = (&mut self.entered.link, self.entered.call);
        let waits = link.is_full(call, 0);
        let state_dir = self.here.global.state_dir.as_deref();
        match keys.as_slice() {
            [] => {}
            // The program has not taken what came before: this is to end it.
            [.., key] if waits && INTERRUPTS.contains(key) => {
                link.overtake(call, &[*key]);
                self.told = false;
            }
            keys if waits
                && (self.told || link.is_full(call, TYPED.saturating_sub(keys.len()))) =>
            {
                let interrupts = keys.iter().rposition(|key| INTERRUPTS.contains(key));
                if let Some(at) = interrupts {
                    link.overtake(call, &keys[at..]);
                    self.told = false;
                } else if !self.told {
                    self.shown.push(FULL.as_bytes());
                    self.told = true;
                }
            }
            keys => {
                link.input(call, keys);
                self.told = false;
                self.entered.typed(|| Workspaces::open(state_dir).ok());
            }
        }
        self.show()
    }

    /// Gives the terminal back, says what there is to say, and notes it.
    fn end(mut self, end: End) -> u8 {
        let mid_line = !matches!(end, End::Program(_));
        // A screen that takes nothing must not hold us: what it has not shown it need not.
        if matches!(end, End::Left | End::Signal(_)) || self.shown.is_waiting() {
            self.shown.forget();
        }
        let undo = self.modes.undo();
        if !undo.is_empty() {
            self.shown.push(&undo);
            let _gone = self.shown.flush();
        }
        self.raw = None;
        let terminal = self.here.terminal;
        if mid_line {
            terminal.err(b"\n");
        }
        let state_dir = self.here.global.state_dir.as_deref();
        let mut workspaces = Workspaces::open(state_dir);
        let (left, code) = match end {
            End::Program(report) => {
                let code = self.tell(&report, workspaces.as_mut().ok());
                (Left::Ended(Box::new(report)), code)
            }
            End::Refused(why) => {
                terminal.error(&format!("could not {why}"));
                (Left::Lost, PYRO_FAILED)
            }
            End::Left => {
                let shown = &self.entered.shown;
                terminal.note(&format!(
                    "left the workspace {shown}; what ran on this terminal is hung up"
                ));
                (Left::Escaped, Exit::Interrupted.code())
            }
            End::Signal(signal) => (Left::HungUp, 128 + signal),
            End::Lost(error) => {
                log::info!("the link ended: {}", chain(&error));
                let why = match &mut workspaces {
                    Ok(workspaces) => workspaces.why_lost(&self.entered),
                    Err(_) => "the workspace is gone".to_owned(),
                };
                terminal.error(&why);
                (Left::Lost, PYRO_FAILED)
            }
        };
        let noted = workspaces.and_then(|mut workspaces| workspaces.left(self.entered, &left));
        if let Err(error) = noted {
            terminal.note(&format!("could not {}", chain(&error)));
        }
        code
    }

    /// What there is to say of a program that ended; its code.
    fn tell(&self, report: &ExecReport, workspaces: Option<&mut Workspaces>) -> u8 {
        let terminal = self.here.terminal;
        match &report.end {
            ExecEnd::NotStarted { reason, .. } => {
                terminal.error(&format!("could not start it: {reason}"));
            }
            ExecEnd::Signalled { signal, reason } => {
                let reset = workspaces.is_some_and(|all| all.was_reset(&self.entered));
                let why = match reason {
                    Some(reason) => format!(" ({reason})"),
                    None if reset => {
                        format!(": the workspace {} was put back", self.entered.shown)
                    }
                    None => String::new(),
                };
                terminal.note(&format!("it was ended by signal {signal}{why}"));
            }
            ExecEnd::Exited { .. } | ExecEnd::TimedOut | ExecEnd::Cancelled => {}
        }
        match report.left_running {
            0 => {}
            1 => terminal.note("1 process runs on"),
            many => terminal.note(&format!("{many} processes run on")),
        }
        let code = Left::Ended(Box::new(report.clone())).exit_code();
        code.map_or(PYRO_FAILED, |code| u8::try_from(code).unwrap_or(u8::MAX))
    }
}
