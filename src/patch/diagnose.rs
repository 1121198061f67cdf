//! What may have happened to a hunk on its way, if it shows: each kind of damage has a code and a way out of its own.

use super::nearest::Nearest;
use super::refusal::RefusalCode;
use super::search::Index;
use super::section::{Hunk, HunkLine, LineKind};

/// What is wrong with the old lines of a hunk, and what to do about it.
pub(crate) struct Diagnosis {
    pub(crate) code: RefusalCode,
    pub(crate) help: &'static str,
}

/// Lines of a hunk that are looked at; damage shows early.
const LOOKED_AT: usize = 2000;

/// So many lines that say something, and none of them in the file: it is another file.
const STRANGE: usize = 3;

/// Looks at a hunk that fits nowhere. The file decides: damage is told only where lines without it are in there.
pub(crate) fn diagnose(hunk: &Hunk, near: Option<&Nearest>, file: &Index<'_>) -> Diagnosis {
    let old = || {
        let lines = hunk.lines.iter().take(LOOKED_AT);
        let old = lines.filter(|line| line.kind != LineKind::Added);
        old.map(|line| line.text.as_slice())
    };
    let there = |line: &[u8]| !file.places(line).is_empty();
    // Damage counts where it is in a line that the file does not have, and has without it.
    let mended = |mend: &dyn Fn(&[u8]) -> Option<Vec<u8>>| {
        old().any(|line| !there(line) && mend(line).is_some_and(|mended| there(&mended)))
    };
    let told = |code, help| Diagnosis { code, help };
    if old().any(|line| is_elision(line) && !there(line)) {
        return elided();
    }
    if mended(&first_of_escaped) {
        return escaped();
    }
    if mended(&without_number) {
        return told(
            RefusalCode::LineNumbers,
            "leave the line numbers out: after ` `, `-` or `+` comes the line as the file has it",
        );
    }
    if mended(&|line| replaced(line, ENTITIES)) {
        return told(
            RefusalCode::HtmlEscaped,
            "write `<`, `>`, `&` and quotes themselves in place of the HTML entities",
        );
    }
    if mended(&|line| replaced(line, TYPOGRAPHIC)) {
        return told(
            RefusalCode::Typographic,
            "write the file's own quotes and dashes in place of the typographic ones",
        );
    }
    let Some(near) = near else {
        return other_file();
    };
    let blanks = near
        .expected
        .iter()
        .zip(&near.found)
        .filter(|(expected, found)| expected != found)
        .all(|(expected, found)| squeezed(expected) == squeezed(found));
    if blanks && near.expected.len() == near.found.len() {
        return told(
            RefusalCode::BlanksDiffer,
            "only blanks differ: copy the lines with the file's own spaces and tabs",
        );
    }
    let telling = old().filter(|line| tells_something(line));
    let (known, unknown): (Vec<_>, Vec<_>) = telling.partition(|line| there(line));
    if near.equal == 0 || (known.is_empty() && unknown.len() >= STRANGE) {
        return other_file();
    }
    let olds = hunk
        .lines
        .iter()
        .filter(|line| line.kind != LineKind::Added);
    let removed = olds.clone().nth(near.first).map(|line| line.kind) == Some(LineKind::Removed);
    if removed {
        told(
            RefusalCode::RemovedDiffers,
            "read the file again and write with `-` what it has now, letter by letter",
        )
    } else {
        told(
            RefusalCode::ContextMissing,
            "read the file again and write the hunk against what it has now",
        )
    }
}

fn other_file() -> Diagnosis {
    Diagnosis {
        code: RefusalCode::OtherFile,
        help: "read the file again, and check that it is the right one",
    }
}

/// What is said about `...` in place of lines.
pub(crate) fn elided() -> Diagnosis {
    Diagnosis {
        code: RefusalCode::Elided,
        help: "write every line of the hunk out, or make two hunks of it: `...` stands for nothing",
    }
}

/// What is said about `\n` in place of line ends.
pub(crate) fn escaped() -> Diagnosis {
    Diagnosis {
        code: RefusalCode::Escaped,
        help: "send the patch with real line ends in place of `\\n`",
    }
}

/// `...`, `// ...`, `# ... rest of the file ...`, with whatever marks a comment before it.
pub(crate) fn is_elision(line: &[u8]) -> bool {
    let text = line.trim_ascii();
    let start = text.iter().position(|byte| {
        !matches!(
            byte,
            b'/' | b'#' | b'*' | b'-' | b';' | b'<' | b'!' | b'%' | b' ' | b'('
        )
    });
    let text = &text[start.unwrap_or(text.len())..];
    text.starts_with(b"...") || text.starts_with("\u{2026}".as_bytes())
}

/// The whole text came with `\n` for its line ends.
pub(crate) fn is_escaped(text: &[u8]) -> bool {
    let marks: [&[u8]; 3] = [b"\\n@@ ", b"\\n+++ ", b"\\n*** "];
    marks
        .into_iter()
        .any(|mark| memchr::memmem::find(text, mark).is_some())
}

/// A patch stands in the text, moved to the right.
pub(crate) fn is_indented(text: &[u8]) -> bool {
    let marks: [&[u8]; 3] = [b"diff --git ", b"@@ -", b"*** Begin Patch"];
    text.split(|&byte| byte == b'\n').any(|line| {
        let inner = line.trim_ascii_start();
        inner.len() < line.len() && marks.iter().any(|mark| inner.starts_with(mark))
    })
}

/// A line that would hardly be in two files by chance.
fn tells_something(line: &[u8]) -> bool {
    let letters = line
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii());
    letters.take(4).count() == 4
}

fn squeezed(line: &[u8]) -> Vec<u8> {
    let kept = line
        .iter()
        .copied()
        .filter(|byte| !byte.is_ascii_whitespace());
    kept.collect()
}

/// What stands before the first `\n` that should have been a line end.
fn first_of_escaped(line: &[u8]) -> Option<Vec<u8>> {
    let at = line.windows(2).position(|pair| pair == b"\\n")?;
    Some([&line[..at], b"\n"].concat())
}

/// The line behind a number, and what editors put between both; the space of the margin may be gone or not.
fn without_number(line: &[u8]) -> Option<Vec<u8>> {
    let text = line.trim_ascii_start();
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let rest = &text[digits..];
    let (mark, rest) = rest.split_first().filter(|_| digits > 0)?;
    let rest = match mark {
        b'|' | b':' => rest.strip_prefix(b" ").unwrap_or(rest),
        b'\t' => rest,
        b' ' => {
            let inner = rest.trim_ascii_start();
            let bar = inner
                .strip_prefix(b"|")
                .or_else(|| inner.strip_prefix("\u{2192}".as_bytes()));
            bar.map_or(rest, |inner| inner.strip_prefix(b" ").unwrap_or(inner))
        }
        _ => rest.strip_prefix(&[0x86, 0x92]).filter(|_| *mark == 0xe2)?,
    };
    Some(rest.to_vec())
}

type Replacements = &'static [(&'static str, &'static str)];

const ENTITIES: Replacements = &[
    ("&lt;", "<"),
    ("&gt;", ">"),
    ("&quot;", "\""),
    ("&#39;", "'"),
    ("&#x27;", "'"),
    ("&amp;", "&"),
];

const TYPOGRAPHIC: Replacements = &[
    ("\u{2018}", "'"),
    ("\u{2019}", "'"),
    ("\u{201c}", "\""),
    ("\u{201d}", "\""),
    ("\u{2013}", "-"),
    ("\u{2014}", "--"),
    ("\u{2026}", "..."),
    ("\u{a0}", " "),
];

/// The line with each of these replaced; `None` where there is none of them.
fn replaced(line: &[u8], with: Replacements) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(line).ok()?;
    let mut out = text.to_owned();
    for (from, to) in with {
        if out.contains(from) {
            out = out.replace(from, to);
        }
    }
    (out != text).then(|| out.into_bytes())
}

/// The kinds of damage that a body shows by itself, before any file is looked at.
pub(crate) fn of_body(lines: &[HunkLine], next: Option<&[u8]>) -> Option<Diagnosis> {
    let context = lines.iter().filter(|line| line.kind == LineKind::Context);
    let last = context.map(|line| line.text.as_slice());
    (last.into_iter().any(is_elision) || next.is_some_and(is_elision)).then(elided)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elisions_are_told_from_code() {
        for line in [
            "...\n",
            "  // ...\n",
            "# ... rest of the file\n",
            "/* ... */\n",
            "<!-- ... -->\n",
            "\u{2026}\n",
        ] {
            assert!(is_elision(line.as_bytes()), "{line:?}");
        }
        for line in ["f(...args)\n", "  ..\n", "a ...\n", "\n", "}\n"] {
            assert!(!is_elision(line.as_bytes()), "{line:?}");
        }
    }

    #[test]
    fn numbers_are_taken_away_as_editors_put_them() {
        for line in [
            "12| x\n",
            "  12 | x\n",
            "12: x\n",
            "12\tx\n",
            "    12\u{2192}x\n",
            "12 x\n",
        ] {
            assert_eq!(
                without_number(line.as_bytes()).as_deref(),
                Some(&b"x\n"[..]),
                "{line:?}"
            );
        }
        assert_eq!(without_number(b"x = 12\n"), None);
    }
}
