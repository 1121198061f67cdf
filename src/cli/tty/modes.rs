//! What a program has turned on at a terminal and not off again: who ends in the middle of something leaves a screen on
//! which nobody can work.

use std::collections::BTreeSet;

/// Modes that are off as a rule: keys of applications, mouse, focus, other screens, brackets around what is pasted.
const OFF: [u16; 12] = [
    1, 9, 47, 1000, 1002, 1003, 1004, 1005, 1006, 1047, 1049, 2004,
];
/// The cursor, which is on as a rule.
const CURSOR: u16 = 25;
/// Longest sequence that is looked at.
const LONGEST: usize = 32;

/// Follows what is shown.
#[derive(Debug, Default)]
pub(in crate::cli) struct Modes {
    /// As much of a sequence as has come: after ESC.
    sequence: Option<Vec<u8>>,
    on: BTreeSet<u16>,
    hidden: bool,
    coloured: bool,
    keypad: bool,
}

impl Modes {
    /// Something is shown.
    pub(in crate::cli) fn follow(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            let Some(sequence) = &mut self.sequence else {
                if byte == 0x1b {
                    self.sequence = Some(Vec::new());
                }
                continue;
            };
            sequence.push(byte);
            match sequence.as_slice() {
                [0x1b] => sequence.clear(),
                [b'['] => {}
                [b'=' | b'>'] => {
                    self.keypad = byte == b'=';
                    self.sequence = None;
                }
                [b'[', parameters @ .., 0x40..=0x7e] => {
                    let parameters = parameters.to_vec();
                    self.sequence = None;
                    self.said(&parameters, byte);
                }
                [b'[', ..] if sequence.len() < LONGEST => {}
                _ => self.sequence = None,
            }
        }
    }

    fn said(&mut self, parameters: &[u8], end: u8) {
        match (parameters.split_first(), end) {
            (Some((b'?', numbers)), b'h' | b'l') => {
                let numbers = numbers.split(|byte| *byte == b';');
                let numbers =
                    numbers.filter_map(|text| std::str::from_utf8(text).ok()?.parse().ok());
                for mode in numbers {
                    let set = end == b'h';
                    if mode == CURSOR {
                        self.hidden = !set;
                    } else if OFF.contains(&mode) && set {
                        self.on.insert(mode);
                    } else {
                        self.on.remove(&mode);
                    }
                }
            }
            (_, b'm') => self.coloured = !matches!(parameters, b"" | b"0"),
            _ => {}
        }
    }

    /// What makes the terminal an ordinary one again; nothing where it is one.
    pub(in crate::cli) fn undo(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if self.sequence.is_some() {
            // Ends whatever was begun.
            bytes.extend(b"\x18");
        }
        // The screen last: the others may be kept for each of them.
        for mode in self.on.iter().rev() {
            if ![47, 1047, 1049].contains(mode) {
                bytes.extend(format!("\x1b[?{mode}l").bytes());
            }
        }
        for mode in [47, 1047, 1049] {
            if self.on.contains(&mode) {
                bytes.extend(format!("\x1b[?{mode}l").bytes());
            }
        }
        for (is, text) in [
            (self.keypad, "\x1b>"),
            (self.hidden, "\x1b[?25h"),
            (self.coloured, "\x1b[0m"),
        ] {
            if is {
                bytes.extend(text.bytes());
            }
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::Modes;

    fn after(pieces: &[&str]) -> String {
        let mut modes = Modes::default();
        for piece in pieces {
            modes.follow(piece.as_bytes());
        }
        String::from_utf8(modes.undo()).expect("text")
    }

    #[test]
    fn what_is_left_on_is_turned_off() {
        assert_eq!(after(&["plain text\r\n"]), "");
        assert_eq!(after(&["\x1b[?2004h$ \x1b[?2004l\r\n"]), "");
        assert_eq!(after(&["\x1b[?2004h$ "]), "\x1b[?2004l");
        assert_eq!(
            after(&["\x1b", "[?10", "49h\x1b[?1", "h\x1b=\x1b[?25l\x1b[1;31mx"]),
            "\x1b[?1l\x1b[?1049l\x1b>\x1b[?25h\x1b[0m"
        );
        assert_eq!(after(&["\x1b[?1000;1006h"]), "\x1b[?1006l\x1b[?1000l");
        assert_eq!(after(&["\x1b[31mred\x1b[0m", "\x1b[?25l\x1b[?25h"]), "");
        // Cut off in the middle; nothing known; far too long.
        assert_eq!(after(&["\x1b[?1049"]), "\x18");
        assert_eq!(after(&["\x1b[?7777h\x1b(B\x1b]0;title\x07"]), "");
        assert_eq!(after(&[&format!("\x1b[?{}h", "1".repeat(99))]), "");
    }
}
