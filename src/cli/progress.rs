//! What happens while it happens: a line for each step, and on a terminal one that moves.

use super::line::Line;
use super::load::Loaded;
use super::terminal::{Terminal, visible};
use super::{details, outcome};
use crate::batch::BatchEvent;
use crate::execute::Event;
use rustix::termios::tcgetwinsize;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often the moving line is drawn.
const FRAME: Duration = Duration::from_millis(100);
/// Steps shorter than this never show the moving line.
const PATIENCE: Duration = Duration::from_millis(150);
/// Of the last output line, this much is kept while it is incomplete.
const MAX_LINE: usize = 500;

/// Renders events of runs, one after the other.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    terminal: Terminal,
    loaded: &'a [Loaded],
    silent: bool,
    several: bool,
    line: Line,
    live: Option<Live>,
}

impl<'a> Progress<'a> {
    /// `silent` leaves standard output to somebody else; of `several` runs each has its own summary.
    pub(super) fn new(
        terminal: Terminal,
        loaded: &'a [Loaded],
        silent: bool,
        several: bool,
    ) -> Self {
        let live = terminal.is_live().then(|| Live::start(terminal));
        Self {
            terminal,
            loaded,
            silent,
            several,
            line: Line::default(),
            live,
        }
    }

    pub(super) fn event(&mut self, event: &BatchEvent<'_>) {
        let document = &self.loaded[event.run].document;
        match &event.event {
            Event::Swept(swept) => outcome::swept(*swept, &self.terminal),
            Event::Started { plan } => {
                self.line = Line::for_plan(plan);
                if self.several && event.run > 0 && !self.terminal.quiet {
                    self.print("\n");
                }
                self.print(&outcome::header(plan, &self.terminal));
                self.show(Some("making the workspace".to_owned()));
            }
            Event::StepStarted { step } => self.show(Some(self.line.running(step))),
            Event::Output { bytes, .. } => {
                if let Some(live) = &self.live {
                    live.output(bytes);
                }
            }
            Event::Retry { step, attempt, .. } => {
                let times = step.retry.map_or(1, |retry| retry.times);
                let running = self.line.running(step);
                self.show(Some(format!(
                    "{running}  attempt {attempt} of {times} failed"
                )));
            }
            Event::StepEnded { report, .. } => {
                self.show(None);
                self.print(&self.line.ended(report, &self.terminal));
                self.print(&details::details(report, document, &self.terminal));
            }
            Event::Ended { receipt, .. } => {
                self.show(None);
                if self.several && !self.silent {
                    outcome::summary(receipt, &self.terminal);
                }
            }
        }
    }

    fn show(&self, what: Option<String>) {
        if let Some(live) = &self.live {
            live.show(what);
        }
    }

    fn print(&self, text: &str) {
        if !self.silent {
            self.terminal.print(text);
        }
    }
}

/// The moving line on standard error, drawn by a thread of its own so that nothing waits for it.
#[derive(Debug)]
struct Live {
    shared: Arc<(Mutex<Frame>, Condvar)>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Frame {
    what: Option<String>,
    since: Option<Instant>,
    line: Vec<u8>,
    last: String,
    drawn: bool,
    stop: bool,
}

impl Live {
    fn start(terminal: Terminal) -> Self {
        let shared = Arc::new((Mutex::new(Frame::default()), Condvar::new()));
        let theirs = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            let (frame, changed) = &*theirs;
            let mut guard = frame.lock().unwrap_or_else(PoisonError::into_inner);
            while !guard.stop {
                guard = changed
                    .wait_timeout(guard, FRAME)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                guard.draw(terminal);
            }
        });
        Self {
            shared,
            thread: Some(thread),
        }
    }

    fn show(&self, what: Option<String>) {
        let mut frame = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame.erase(Terminal::plain());
        *frame = Frame {
            since: what.is_some().then(Instant::now),
            what,
            stop: frame.stop,
            ..Frame::default()
        };
    }

    fn output(&self, bytes: &[u8]) {
        let mut frame = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        for byte in bytes {
            if *byte == b'\n' || *byte == b'\r' {
                let line = std::mem::take(&mut frame.line);
                if !line.is_empty() {
                    frame.last = String::from_utf8_lossy(&line).into_owned();
                }
            } else if frame.line.len() < MAX_LINE {
                frame.line.push(*byte);
            }
        }
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.shared
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .stop = true;
        self.shared.1.notify_all();
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

impl Frame {
    fn draw(&mut self, terminal: Terminal) {
        let (Some(what), Some(since)) = (&self.what, self.since) else {
            return;
        };
        let elapsed = since.elapsed();
        if self.stop || elapsed < PATIENCE {
            return;
        }
        // A terminal that does not know its width says 0.
        let width = tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let width = if width == 0 { 80 } else { width.max(20) };
        let text = format!(
            "{what}  {:.1} s  {}",
            elapsed.as_secs_f64(),
            visible(&self.last).replace(['\n', '\t'], " ")
        );
        let text: String = text.chars().take(width - 1).collect();
        terminal.err(format!("\r\x1b[K{text}").as_bytes());
        self.drawn = true;
    }

    fn erase(&mut self, terminal: Terminal) {
        if std::mem::take(&mut self.drawn) {
            terminal.err(b"\r\x1b[K");
        }
    }
}
