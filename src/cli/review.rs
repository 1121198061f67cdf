//! `--review`: shows each difference from a golden on the terminal, and asks.

use super::terminal::{Terminal, visible};
use crate::Cancel;
use crate::execute::{GoldenChange, Goldens, Verdict};
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{IsTerminal as _, stdin};
use std::os::fd::AsFd as _;

/// Lines of a difference that are shown at once.
const SHOWN: usize = 200;

/// Whether there is somebody to ask.
pub(super) fn possible() -> bool {
    stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// Goldens about which the terminal is asked. After `cancel` the answer is no.
pub(super) fn goldens(terminal: Terminal, cancel: Cancel) -> Goldens {
    Goldens::review(move |change| ask(change, terminal, &cancel))
}

fn ask(change: &GoldenChange<'_>, terminal: Terminal, cancel: &Cancel) -> Verdict {
    let GoldenChange {
        step,
        source,
        golden,
        exists,
        diff,
    } = change;
    let what = if *exists {
        "differs from"
    } else {
        "would make"
    };
    let mut text = format!("\r\x1b[K\n{step}: {source} {what} {}\n", visible(golden));
    let diff = String::from_utf8_lossy(diff);
    let lines: Vec<_> = diff.lines().collect();
    for line in lines.iter().take(SHOWN) {
        text.push_str(&format!("  {}\n", visible(line)));
    }
    if lines.len() > SHOWN {
        text.push_str(&format!("  … {} more lines\n", lines.len() - SHOWN));
    }
    terminal.err(text.as_bytes());
    loop {
        terminal.err(format!("write {}? [a]ccept or [s]kip: ", visible(golden)).as_bytes());
        match answer(cancel).as_deref().map(str::trim) {
            Some("a" | "accept" | "y" | "yes") => return Verdict::Accept,
            Some("s" | "skip" | "n" | "no") | None => return Verdict::Skip,
            Some(_) => {}
        }
    }
}

/// A line from the terminal; nothing at its end, or where the run is cancelled meanwhile.
fn answer(cancel: &Cancel) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let stdin = stdin();
        let mut ready = [
            PollFd::from_borrowed_fd(stdin.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(cancel.as_fd(), PollFlags::IN),
        ];
        match poll(&mut ready, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        if cancel.is_cancelled() {
            return None;
        }
        if ready[0].revents().is_empty() {
            continue;
        }
        let mut byte = [0];
        // Not by way of the buffer of `std`, which `poll` knows nothing of.
        match rustix::io::read(&stdin, &mut byte) {
            Ok(1) if byte[0] == b'\n' => return Some(String::from_utf8_lossy(&line).into_owned()),
            Ok(1) => line.push(byte[0]),
            Ok(_) | Err(_) => return None,
        }
    }
}
