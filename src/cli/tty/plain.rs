//! What is shown, without anything that a terminal would obey.

use crate::plan::is_hidden;
use std::fmt::Write as _;

/// Turns control characters, but those that move within a line or to the next, into something to look at.
#[derive(Debug, Default)]
pub(in crate::cli) struct Plain {
    /// The beginning of a character.
    rest: Vec<u8>,
}

impl Plain {
    /// The same, to be shown.
    pub(in crate::cli) fn show(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.rest.extend_from_slice(bytes);
        let bytes = std::mem::take(&mut self.rest);
        let mut out = String::with_capacity(bytes.len());
        let mut left = bytes.as_slice();
        while !left.is_empty() {
            match std::str::from_utf8(left) {
                Ok(text) => {
                    escape(text, &mut out);
                    break;
                }
                Err(error) => {
                    let (text, bad) = left.split_at(error.valid_up_to());
                    escape(&String::from_utf8_lossy(text), &mut out);
                    match error.error_len() {
                        // The rest of it may come.
                        None => {
                            self.rest = bad.to_vec();
                            break;
                        }
                        Some(length) => {
                            out.push(char::REPLACEMENT_CHARACTER);
                            left = &bad[length..];
                        }
                    }
                }
            }
        }
        out.into_bytes()
    }
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '\r' | '\n' | '\t' | '\x08' | '\x07' => out.push(c),
            '\x1b' => out.push_str("^["),
            _ if is_hidden(c) => {
                let _ = write!(out, "{}", c.escape_unicode());
            }
            _ => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Plain;

    #[test]
    fn nothing_is_left_that_a_terminal_obeys() {
        let mut plain = Plain::default();
        let mut shown = |bytes: &[u8]| String::from_utf8(plain.show(bytes)).expect("text");
        assert_eq!(shown(b"ls\r\n\x08 \x08"), "ls\r\n\x08 \x08");
        assert_eq!(shown(b"\x1b]0;title\x07"), "^[]0;title\x07");
        assert_eq!(shown("\u{9b}31m".as_bytes()), "\\u{9b}31m");
        assert_eq!(shown(b"\x00\x0e"), "\\u{0}\\u{e}");
        // A character in two pieces, and what is none.
        assert_eq!(shown(b"gr\xc3"), "gr");
        assert_eq!(shown(b"\xbcn \x9b"), "\u{fc}n \u{fffd}");
    }
}
