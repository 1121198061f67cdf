//! Small texts for people: numbers, paths, command lines. Nothing here lets a control character through.

/// `1 204`
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// `1 file`, `1 204 files`
pub(crate) fn count(number: u64, one: &str, many: &str) -> String {
    format!(
        "{} {}",
        grouped(number),
        if number == 1 { one } else { many }
    )
}

/// `1 204 bytes`, `3.1 MiB`
pub(crate) fn bytes(number: u64) -> String {
    const UNITS: [(&str, u64); 3] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)];
    if number < 100 << 10 {
        return count(number, "byte", "bytes");
    }
    let (unit, factor) = UNITS
        .into_iter()
        .find(|(_, factor)| number >= *factor)
        .expect("the smallest unit is smaller than the limit above");
    let tenths = u128::from(number) * 10 / u128::from(factor);
    format!("{}.{} {unit}", tenths / 10, tenths % 10)
}

/// Stands for what happens in a workspace that lives, beside the steps.
pub(crate) const OTHERS: usize = 0;

/// `step 1`, `steps 1 and 3`, `steps 1, 3, 4 and 9 more`
pub(crate) fn steps(numbers: &[usize]) -> String {
    match numbers {
        // Others come at any time, so what steps do beside them adds nothing.
        [OTHERS, ..] => "whoever uses the workspace".to_owned(),
        [] => "no step".to_owned(),
        [one] => format!("step {one}"),
        [one, two] => format!("steps {one} and {two}"),
        [one, two, three] => format!("steps {one}, {two} and {three}"),
        [one, two, three, rest @ ..] => {
            format!("steps {one}, {two}, {three} and {} more", rest.len())
        }
    }
}

/// A text on one line: what is no printable character is written as an escape.
pub(crate) fn escape(bytes: impl AsRef<[u8]>) -> String {
    let mut out = String::new();
    for chunk in bytes.as_ref().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\t' => out.push_str("\\t"),
                '\n' => out.push_str("\\n"),
                '\r' => out.push_str("\\r"),
                c if is_hidden(c) => out.push_str(&format!("\\u{{{:x}}}", u32::from(c))),
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out
}

/// A line of a diff: as [`escape`], but a tab is shown as an arrow that reaches to the next tab stop.
pub(crate) fn escape_line(line: &[u8]) -> String {
    const STOP: usize = 4;
    let mut out = String::new();
    for (index, part) in line.split(|byte| *byte == b'\t').enumerate() {
        if index > 0 {
            // The first column holds the sign of the line.
            let column = out.chars().count().saturating_sub(1);
            out.push('→');
            out.extend(std::iter::repeat_n(' ', STOP - 1 - column % STOP));
        }
        out.push_str(&escape(part));
    }
    out
}

/// Control characters, and those that change the order or look of others without being seen.
pub(crate) fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// A command as a person would type it.
pub(crate) fn command_line(argv: &[String]) -> String {
    let words: Vec<_> = argv.iter().map(|word| shell_word(word)).collect();
    words.join(" ")
}

fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c) || !c.is_ascii();
    if word.contains(is_hidden) {
        let word = word.replace('\\', "\\\\").replace('\'', "\\'");
        format!("$'{}'", escape(word))
    } else if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

/// A text in quotes, cut after so many characters. What is an escape in it cannot be mistaken for text.
pub(crate) fn excerpt(bytes: &[u8], most: usize) -> String {
    let mut safe = Vec::with_capacity(bytes.len());
    for byte in bytes {
        if matches!(byte, b'\\' | b'"') {
            safe.push(b'\\');
        }
        safe.push(*byte);
    }
    let text = escape(safe);
    match text.char_indices().nth(most) {
        None => format!("\"{text}\""),
        Some((end, _)) => format!("\"{}…\"", &text[..end]),
    }
}

#[cfg(test)]
mod tests {
    use super::{bytes, command_line, escape, escape_line, excerpt, grouped};

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1204, "1 204"),
            (1_000_000, "1 000 000"),
        ] {
            assert_eq!(grouped(number), text);
        }
        assert_eq!(bytes(1), "1 byte");
        assert_eq!(bytes(3_250_586), "3.1 MiB");
        assert_eq!(bytes(u64::MAX), "17179869183.9 GiB");
    }

    #[test]
    fn nothing_raw_gets_through() {
        assert_eq!(
            escape(b"a\x1b[2Jb\r\n\xff\x7f"),
            "a\\u{1b}[2Jb\\r\\n\\xff\\u{7f}"
        );
        assert_eq!(
            escape("left\u{202e}right\u{200b}"),
            "left\\u{202e}right\\u{200b}"
        );
        assert_eq!(escape("naïve ✓"), "naïve ✓");
        assert_eq!(escape_line(b"+\tx\ty"), "+→   x→  y");
    }

    #[test]
    fn commands_read_as_typed() {
        let argv = ["printf", r"%s\n", "it's", "", "a=b", "x\n\\n"].map(str::to_owned);
        assert_eq!(
            command_line(&argv),
            r"printf '%s\n' 'it'\''s' '' a=b $'x\n\\n'"
        );
        assert_eq!(excerpt(b"a\n\\n\"", 10), r#""a\n\\n\"""#);
    }
}
