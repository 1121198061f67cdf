//! What happens while it happens: a line for each step, and on a terminal one that moves.

use super::line::Line;
use super::terminal::{Terminal, visible};
use super::{details, outcome};
use crate::batch::BatchEvent;
use crate::execute::Event;
use crate::request::Document;
use crate::secret::Redaction;
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

/// How runs are shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rendering {
    /// Standard output belongs to somebody else.
    pub(super) silent: bool,
    /// Each has its own summary.
    pub(super) several: bool,
    /// Several run at once: each is shown whole, when it has ended.
    pub(super) at_once: bool,
}

/// Renders events of runs.
#[derive(Debug)]
pub(super) struct Progress<'a> {
    terminal: Terminal,
    style: Rendering,
    lanes: Vec<Lane<'a>>,
    /// Whether a run was shown already.
    shown: bool,
    live: Option<Live>,
}

/// One run.
#[derive(Debug)]
struct Lane<'a> {
    document: &'a Document,
    line: Line,
    /// What takes its secrets out of lines of the document.
    redaction: Redaction,
    /// What it has to show once it has ended.
    waiting: String,
    begun: bool,
    printed: bool,
    ended: bool,
}

impl<'a> Progress<'a> {
    /// `documents` has that of each run.
    pub(super) fn new(terminal: Terminal, documents: Vec<&'a Document>, style: Rendering) -> Self {
        let live = terminal.is_live().then(|| Live::start(terminal));
        let lane = |document| Lane {
            document,
            line: Line::default(),
            redaction: Redaction::default(),
            waiting: String::new(),
            begun: false,
            printed: false,
            ended: false,
        };
        Self {
            terminal,
            style,
            lanes: documents.into_iter().map(lane).collect(),
            shown: false,
            live,
        }
    }

    pub(super) fn event(&mut self, event: &BatchEvent<'_>) {
        let run = event.run;
        let line = self.lanes[run].line;
        match &event.event {
            Event::Swept(swept) => outcome::swept(*swept, &self.terminal),
            Event::Mended(what) => self.terminal.note(what),
            Event::Started { plan, redaction } => {
                self.lanes[run].redaction = (*redaction).clone();
                self.lanes[run].line = Line::for_plan(plan);
                self.lanes[run].begun = true;
                self.print(run, &outcome::header(plan, &self.terminal));
                self.show("making the workspace".to_owned());
            }
            Event::StepStarted { step } => self.show(line.running(step)),
            Event::Output { bytes, .. } => {
                if let (Some(live), false) = (&self.live, self.style.at_once) {
                    live.output(bytes);
                }
            }
            Event::Retry { step, attempt, .. } => {
                let times = step.retry.map_or(1, |retry| retry.times);
                let running = line.running(step);
                self.show(format!("{running}  attempt {attempt} of {times} failed"));
            }
            Event::StepEnded { report, .. } => {
                self.hide();
                self.print(run, &line.ended(report, &self.terminal));
                let document = self.lanes[run].document;
                self.print(run, &details::details(report, document, &self.terminal));
            }
            Event::Ended { receipt, .. } => {
                self.hide();
                self.lanes[run].ended = true;
                self.flush(run);
                if self.style.several && !self.style.silent {
                    outcome::summary(receipt, &self.terminal);
                }
                self.show(String::new());
            }
        }
    }

    /// What the moving line says: what happens, or how many runs do.
    fn show(&self, what: String) {
        let Some(live) = &self.live else { return };
        if !self.style.at_once {
            return live.show((!what.is_empty()).then_some(what));
        }
        let running = self.lanes.iter().filter(|lane| lane.begun && !lane.ended);
        let ended = self.lanes.iter().filter(|lane| lane.ended).count();
        let text = format!(
            "{} running, {ended} of {} ended",
            running.count(),
            self.lanes.len()
        );
        live.show((ended < self.lanes.len()).then_some(text));
    }

    fn hide(&self) {
        if let Some(live) = &self.live {
            live.show(None);
        }
    }

    /// Prints what belongs to a run: now, or with all else of it when it has ended.
    fn print(&mut self, run: usize, text: &str) {
        if self.style.silent {
            return;
        }
        let lane = &mut self.lanes[run];
        let clean = lane.redaction.bytes(text.as_bytes());
        lane.waiting.push_str(&String::from_utf8_lossy(&clean));
        if !self.style.at_once {
            self.flush(run);
        }
    }

    /// Prints what a run has to show.
    fn flush(&mut self, run: usize) {
        let lane = &mut self.lanes[run];
        let text = std::mem::take(&mut lane.waiting);
        if text.is_empty() {
            return;
        }
        let first = !std::mem::replace(&mut lane.printed, true);
        // A blank line between two runs.
        if first && std::mem::replace(&mut self.shown, true) && self.style.several {
            self.terminal.print("\n");
        }
        self.terminal.print(&text);
    }
}

impl Drop for Progress<'_> {
    fn drop(&mut self) {
        // Runs that did not come to their end have something to show as well.
        self.hide();
        for run in 0..self.lanes.len() {
            self.flush(run);
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
