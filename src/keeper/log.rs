//! What a keeper has to say to people who look into its log: little, and never more than a bound.

use crate::workspace::Timestamp;
use std::io::Write as _;
use std::sync::atomic::{AtomicU32, Ordering};

/// Lines of one keeper.
const LINES: u32 = 500;
/// Of a line, in bytes.
const LONGEST: usize = 2000;

/// Adds a line to the log, which is standard error.
pub(super) fn say(text: &str) {
    static SAID: AtomicU32 = AtomicU32::new(0);
    if SAID.fetch_add(1, Ordering::Relaxed) >= LINES {
        return;
    }
    let mut end = text.len().min(LONGEST);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let line = format!("{} {}\n", Timestamp::now(), text[..end].replace('\n', " "));
    // Nobody is left to tell.
    let _said = std::io::stderr().write_all(line.as_bytes());
}
