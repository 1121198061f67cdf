//! Counts how deeply a text nests before any recursive parser sees it.

use super::{ErrorCode, ParseError, Pointer, Syntax};

/// A request needs six.
const MAX_DEPTH: usize = 64;

/// The place where `text` nests too deeply, if it does.
pub(crate) fn check(text: &str, syntax: Syntax) -> Option<ParseError> {
    let bytes = text.as_bytes();
    let (mut depth, mut dots, mut at) = (0_usize, 0_usize, 0_usize);
    while at < bytes.len() {
        let mut next = at + 1;
        match bytes[at] {
            b'[' | b'{' => (depth, dots) = (depth + 1, 0),
            b']' | b'}' => (depth, dots) = (depth.saturating_sub(1), 0),
            b',' | b'=' | b'\n' => dots = 0,
            // Each dot of a dotted key is a table.
            b'.' if syntax == Syntax::Toml => dots += 1,
            b'"' => next = string_end(bytes, at, syntax),
            b'\'' if syntax == Syntax::Toml => next = string_end(bytes, at, syntax),
            b'#' if syntax == Syntax::Toml => {
                next = bytes[at..]
                    .iter()
                    .position(|byte| *byte == b'\n')
                    .map_or(bytes.len(), |newline| at + newline);
            }
            _ => {}
        }
        if depth > MAX_DEPTH || dots >= MAX_DEPTH {
            let message =
                format!("the document nests more than {MAX_DEPTH} lists and tables in each other");
            return Some(
                ParseError::new(
                    ErrorCode::TooDeep,
                    &Pointer::default(),
                    &(at..at + 1),
                    message,
                )
                .label("too deep"),
            );
        }
        at = next;
    }
    None
}

/// Behind the string that begins at `start`; the end of the text, or of the line, where it is never closed.
fn string_end(bytes: &[u8], start: usize, syntax: Syntax) -> usize {
    let quote = bytes[start];
    let triple = [quote; 3];
    let multiline = syntax == Syntax::Toml && bytes[start..].starts_with(&triple);
    let mut at = start + if multiline { 3 } else { 1 };
    while at < bytes.len() {
        match bytes[at] {
            b'\\' if quote == b'"' => at += 1,
            b'\n' if !multiline => return at,
            byte if byte == quote && !multiline => return at + 1,
            byte if byte == quote && bytes[at..].starts_with(&triple) => {
                // Up to two quotes may stand before the closing three.
                let quotes = bytes[at..].iter().take_while(|b| **b == quote).count();
                return at + quotes.min(5);
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::check;
    use crate::request::Syntax;

    #[test]
    fn brackets_in_texts_and_comments_do_not_count() {
        let deep = "[{".repeat(100);
        let dots = ".".repeat(100);
        for text in [
            format!("a = \"{deep}\\\"{deep}{dots}\""),
            format!("a = '{deep}\\'"),
            format!("a = \"\"\"\n{deep} \"\" \\\"\"\" {deep}\n\"\"\"\"\""),
            format!("a = '''\n{deep} '' {deep}\n''''"),
            format!("# it's {deep} {dots}\na = 1"),
            "a.b.c = [1.5, 2.5]\n".repeat(100),
        ] {
            assert_eq!(check(&text, Syntax::Toml), None, "{text}");
            assert!(
                check(&format!("{text}\n{deep}"), Syntax::Toml).is_some(),
                "{text}"
            );
        }
        assert_eq!(
            check(&format!("{{\"a'\": \"{deep}\"}}"), Syntax::Json),
            None
        );
        assert!(check(&format!("{{\"a'\": {deep}}}"), Syntax::Json).is_some());
        assert!(check(&format!("a{dots}b = 1"), Syntax::Toml).is_some());
    }
}
