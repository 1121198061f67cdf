//! Reads the `*** Begin Patch` form that coding models write. Its hunks have no line numbers: anchors (`@@ class X`)
//! and context say where they belong, so they are held to the same rule as any other, one place and no more.

use super::body;
use super::header;
use super::name::Name;
use super::parse::{Reader, bare};
use super::refusal::{Refusal, RefusalCode, Refused};
use super::section::{FilePatch, Form, Hunk, HunkLine, LineKind, Operation};

/// What a line inside the envelope starts with when it belongs to the envelope.
const DIRECTIVES: [&[u8]; 6] = [
    b"*** End Patch",
    b"*** End of File",
    b"*** Update File: ",
    b"*** Add File: ",
    b"*** Delete File: ",
    b"*** Move to: ",
];

pub(crate) fn is_directive(line: &[u8]) -> bool {
    DIRECTIVES
        .iter()
        .any(|directive| line.starts_with(directive))
}

/// Reads from `*** Begin Patch` to `*** End Patch`.
pub(crate) fn read(reader: &mut Reader<'_>, mail: usize) -> Result<Vec<FilePatch>, Refused> {
    let start = reader.number();
    reader.skip(1);
    let mut files: Vec<FilePatch> = Vec::new();
    while let Some(line) = reader.peek(0) {
        let number = reader.number();
        let name = |prefix: &[u8]| {
            line.strip_prefix(prefix)
                .map(|name| Name::new(name.trim_ascii()))
        };
        if line.starts_with(b"*** End Patch") {
            reader.skip(1);
            return Ok(files);
        } else if let Some(name) = name(b"*** Add File: ") {
            reader.skip(1);
            let mut file = header::empty(Form::Envelope, number, mail);
            (file.new, file.operation) = (Some(name), Operation::Create);
            file.hunks = added(reader).into_iter().collect();
            files.push(file);
        } else if let Some(name) = name(b"*** Delete File: ") {
            reader.skip(1);
            let mut file = header::empty(Form::Envelope, number, mail);
            (file.old, file.operation) = (Some(name), Operation::Delete);
            files.push(file);
        } else if let Some(name) = name(b"*** Update File: ") {
            reader.skip(1);
            let mut file = header::empty(Form::Envelope, number, mail);
            (file.old, file.new) = (Some(name.clone()), Some(name));
            update(reader, &mut file)?;
            files.push(file);
        } else if line.trim_ascii().is_empty() {
            reader.skip(1);
        } else {
            let message = "this line is no part of a `*** Begin Patch` form";
            return Err(Refusal::new(RefusalCode::Corrupt, message)
                .at(number)
                .help("head each file with `*** Update File: NAME`, `*** Add File: NAME` or `*** Delete File: NAME`"));
        }
    }
    Err(Refusal::new(
        RefusalCode::CutOff,
        "`*** End Patch` is missing, so the patch may be cut off",
    )
    .at(start)
    .help("send the whole patch, with `*** End Patch` at its end"))
}

/// The lines of a new file, each behind its `+`.
fn added(reader: &mut Reader<'_>) -> Option<Hunk> {
    let mut hunk = body::placeholder(reader.number());
    while let Some(text) = reader.peek(0).and_then(|line| line.strip_prefix(b"+")) {
        let mut text = text.to_vec();
        text.push(b'\n');
        hunk.lines.push(HunkLine {
            kind: LineKind::Added,
            text,
        });
        reader.skip(1);
    }
    (!hunk.lines.is_empty()).then_some(hunk)
}

fn update(reader: &mut Reader<'_>, file: &mut FilePatch) -> Result<(), Refused> {
    if let Some(to) = reader
        .peek(0)
        .and_then(|line| line.strip_prefix(b"*** Move to: "))
    {
        file.new = Some(Name::new(to.trim_ascii()));
        file.operation = Operation::Rename;
        reader.skip(1);
    }
    while let Some(line) = reader.peek(0) {
        if reader.names_at(0) {
            same_file(reader, file)?;
        } else if line.starts_with(b"@@")
            || (file.hunks.is_empty() && !line.is_empty() && body::kind(line).is_some())
        {
            let number = file.hunks.len() + 1;
            let hunk = hunk(reader).map_err(|refusal| {
                let mut refusal = refusal.hunk(number);
                refusal.file = header::label(file);
                refusal
            })?;
            file.hunks.push(hunk);
        } else if line.is_empty() || line.starts_with(b"diff --git ") || line.starts_with(b"index ")
        {
            reader.skip(1);
        } else {
            break;
        }
    }
    Ok(())
}

/// `---` and `+++` inside the envelope, which must not name another file.
fn same_file(reader: &mut Reader<'_>, file: &FilePatch) -> Result<(), Refused> {
    let number = reader.number();
    let mut refusals = Vec::new();
    let inner = header::plain(reader, file.mail, &mut refusals);
    let label = inner.as_ref().and_then(|open| header::label(&open.file));
    let named = [&file.old, &file.new]
        .into_iter()
        .flatten()
        .any(|name| Some(name.as_bytes()) == label.as_deref());
    if named {
        return Ok(());
    }
    let message = "`---` and `+++` name another file than the `*** Update File:` line above them";
    Err(Refusal::new(RefusalCode::Corrupt, message)
        .at(number)
        .help("leave the `---` and `+++` lines out"))
}

/// Anchors, one hunk, and whether it says that it ends the file.
fn hunk(reader: &mut Reader<'_>) -> Result<Hunk, Refused> {
    let mut anchors = Vec::new();
    let starts = |reader: &Reader<'_>, ahead| {
        reader
            .peek(ahead)
            .is_some_and(|line| line.starts_with(b"@@"))
    };
    while starts(reader, 0) && starts(reader, 1) {
        anchors.extend(reader.peek(0).and_then(anchor));
        reader.skip(1);
    }
    let mut hunk = if starts(reader, 0) {
        let last = reader.peek(0).and_then(anchor);
        let hunk = body::hunk(reader)?;
        anchors.extend(last.filter(|_| hunk.old_start.is_none()));
        hunk
    } else {
        body::headless(reader)?
    };
    hunk.anchors = anchors;
    if reader
        .peek(0)
        .is_some_and(|line| line.starts_with(b"*** End of File"))
    {
        hunk.at_end = true;
        reader.skip(1);
    }
    Ok(hunk)
}

/// The text behind `@@`, if it says anything.
fn anchor(line: &[u8]) -> Option<Vec<u8>> {
    let text = bare(line).strip_prefix(b"@@")?.trim_ascii();
    let text = text.strip_suffix(b"@@").unwrap_or(text).trim_ascii();
    text.iter()
        .any(|byte| byte.is_ascii_alphanumeric() || !byte.is_ascii())
        .then(|| text.to_vec())
}
