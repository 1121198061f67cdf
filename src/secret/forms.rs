//! The forms in which a value turns up in outputs: as it is, as a terminal writes it, line by line, and encoded.

use super::value::without_final_breaks;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// Shorter forms would take too much else with them.
const LEAST: usize = 8;
/// Of longer pieces no escaped forms are looked for: what is so long is lines, or encoded already.
const MOST_ESCAPED: usize = 16 << 10;

/// Texts to look for.
#[derive(Debug, Default)]
pub(super) struct Forms {
    /// As they are.
    pub(super) plain: BTreeSet<Vec<u8>>,
    /// With blanks and line breaks anywhere in them, as what prints base64 and hexadecimal puts them there.
    pub(super) wrapped: BTreeSet<Vec<u8>>,
}

impl Forms {
    /// Those of a value.
    pub(super) fn of(value: &[u8]) -> Self {
        let mut forms = Self::default();
        let core = without_final_breaks(value);
        forms.piece(core);
        if core.contains(&b'\n') {
            let text = String::from_utf8_lossy(core);
            let unix = text.replace("\r\n", "\n");
            for other in [unix.replace('\n', "\r\n"), unix] {
                forms.piece(other.as_bytes());
            }
            for line in core.split(|byte| *byte == b'\n') {
                forms.piece(line.trim_ascii());
            }
        }
        forms
    }

    /// Those of a value, or of a line of it.
    fn piece(&mut self, piece: &[u8]) {
        if piece.len() < LEAST || self.plain.contains(piece) {
            return;
        }
        let text = String::from_utf8_lossy(piece);
        self.plain.insert(piece.to_vec());
        if piece.len() <= MOST_ESCAPED {
            self.plain
                .extend(escaped(&text).into_iter().map(String::into_bytes));
        }
        let mut hex = String::with_capacity(piece.len() * 2);
        for byte in piece {
            let _infallible = write!(hex, "{byte:02x}");
        }
        self.wrapped.insert(hex.to_uppercase().into_bytes());
        self.wrapped.insert(hex.into_bytes());
        for offset in 0..3 {
            self.base64(piece, offset);
        }
    }

    /// Base64 of something that has the piece in it, so many bytes after a multiple of three. Characters at both ends
    /// that have bits of what is around it too are not part of it, unless it is known what is: nothing, or a line break.
    fn base64(&mut self, piece: &[u8], offset: usize) {
        let skip = [0, 2, 3][offset];
        for engine in [STANDARD, URL_SAFE] {
            for end in [&b""[..], b"\n"] {
                let bytes = [&[0; 2][..offset], piece, end].concat();
                let whole = engine.encode(bytes);
                let sure = (offset + piece.len()) * 8 / 6;
                self.wrapped.insert(whole.as_bytes()[skip..sure].to_vec());
                self.wrapped.insert(whole.as_bytes()[skip..].to_vec());
                let bare = whole.trim_end_matches('=');
                self.wrapped.insert(bare.as_bytes()[skip..].to_vec());
            }
        }
    }
}

/// A text as programs write it where some characters mean something.
fn escaped(text: &str) -> [String; 15] {
    let json = |go: bool, slash: bool, ascii: bool| {
        each(text, |c, out| match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '/' if slash => out.push_str("\\/"),
            '<' | '>' | '&' if go => unit(u32::from(c), out),
            c if c < ' ' => unit(u32::from(c), out),
            c if ascii && !c.is_ascii() => {
                for part in c.encode_utf16(&mut [0; 2]) {
                    unit(u32::from(*part), out);
                }
            }
            c => out.push(c),
        })
    };
    let percent = |kept: &str, space: &str, upper: bool| {
        each(text, |c, out| match c {
            ' ' => out.push_str(space),
            c if c.is_ascii_alphanumeric() || kept.contains(c) => out.push(c),
            c => {
                for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                    let _infallible = match upper {
                        true => write!(out, "%{byte:02X}"),
                        false => write!(out, "%{byte:02x}"),
                    };
                }
            }
        })
    };
    let quoted = |special: &str| {
        each(text, |c, out| match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if special.contains(c) => out.extend(['\\', c]),
            c => out.push(c),
        })
    };
    let word = each(text, |c, out| {
        let plain = c.is_alphanumeric() || "-_./=:,+@%\n".contains(c);
        out.extend((!plain).then_some('\\'));
        out.push(c);
    });
    let markup = each(text, |c, out| match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\'' => out.push_str("&#39;"),
        c => out.push(c),
    });
    let in_doubles = each(text, |c, out| {
        out.extend(matches!(c, '"' | '\\' | '`' | '$').then_some('\\'));
        out.push(c);
    });
    [
        json(false, false, false),
        json(false, false, true),
        json(false, true, true),
        json(true, false, false),
        percent("-_.~", "%20", true),
        percent("-_.~", "%20", false),
        percent("-_.~/", "%20", true),
        percent("-_.!~*'()", "%20", true),
        percent("-_.*", "+", true),
        // Python's repr and the shell's $'...'.
        quoted("\\'"),
        word,
        in_doubles,
        text.replace('\'', "'\\''"),
        text.replace('\'', "'\"'\"'"),
        markup,
    ]
}

fn each(text: &str, mut put: impl FnMut(char, &mut String)) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        put(c, &mut out);
    }
    out
}

fn unit(code: u32, out: &mut String) {
    let _infallible = write!(out, "\\u{code:04x}");
}
