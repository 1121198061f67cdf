//! Reads what stands above the hunks of a section: names, modes, renames, the `index` line.

use super::name::{Name, PATH_MAX, unquote};
use super::parse::{Open, Reader};
use super::refusal::{Refusal, RefusalCode, Refused};
use super::section::{FilePatch, Form, Operation};

/// The name that tells a reader which section is meant.
pub(crate) fn label(file: &FilePatch) -> Option<Vec<u8>> {
    let name = file.new.as_ref().or(file.old.as_ref())?;
    let written = name.as_bytes();
    let prefixed = file.operation != Operation::Rename && file.form != Form::Envelope;
    Some(match name.split() {
        Some((first, rest)) if prefixed && is_prefix(first) => rest.to_vec(),
        Some(_) | None => written.to_vec(),
    })
}

/// How git names the content of an empty file.
const EMPTY_BLOB: &[u8] = b"e69de29bb2d1d6434b8b29ae775ad8c2e48c5391";

/// The letters that git puts before names: a/b, and i/w, c/i, c/w, o/w with `diff.mnemonicPrefix`.
pub(crate) fn is_prefix(part: &[u8]) -> bool {
    matches!(part, b"a" | b"b" | b"i" | b"w" | b"c" | b"o")
}

/// `--- b/x` and `+++ a/x`, as `git diff -R` writes them.
pub(crate) fn is_swapped(file: &FilePatch) -> bool {
    let first = |name: &Option<Name>| {
        name.as_ref()
            .and_then(Name::split)
            .map(|(first, _)| first.to_vec())
    };
    let (Some(old), Some(new)) = (first(&file.old), first(&file.new)) else {
        return false;
    };
    matches!(
        (old.as_slice(), new.as_slice()),
        (b"b", b"a") | (b"w", b"i")
    )
}

/// A section that says nothing yet.
pub(crate) fn empty(form: Form, line: usize, mail: usize) -> FilePatch {
    FilePatch {
        old: None,
        new: None,
        operation: Operation::Change,
        form,
        prefixed: None,
        new_mode: None,
        old_mode: None,
        old_blob: None,
        new_blob: None,
        binary: None,
        hunks: Vec::new(),
        line,
        mail,
    }
}

/// What stands behind `---` or `+++`.
struct Named {
    /// `None` is `/dev/null`.
    name: Option<Name>,
    epoch: bool,
}

fn named(text: &[u8]) -> Result<Named, Refused> {
    let (name, stamp) = if text.starts_with(b"\"") {
        unquote(text).ok_or_else(|| {
            Refusal::new(
                RefusalCode::Path,
                "the quoted name is not closed, or has a wrong escape",
            )
        })?
    } else if let Some(tab) = text.iter().position(|&byte| byte == b'\t') {
        (text[..tab].to_vec(), &text[tab + 1..])
    } else {
        let stamp = (0..text.len()).find(|&at| text[at] == b' ' && is_date(&text[at + 1..]));
        let (name, stamp) = text.split_at(stamp.unwrap_or(text.len()));
        (name.trim_ascii_end().to_vec(), stamp)
    };
    let stamp = stamp.trim_ascii_start();
    let epoch = stamp.starts_with(b"1970-01-01") || stamp.starts_with(b"1969-12-31");
    let name = (name != b"/dev/null").then(|| Name::new(&name));
    Ok(Named { name, epoch })
}

/// `2024-01-01 ...`
fn is_date(text: &[u8]) -> bool {
    text.len() >= 10
        && text[..10].iter().enumerate().all(|(at, byte)| {
            if at == 4 || at == 7 {
                *byte == b'-'
            } else {
                byte.is_ascii_digit()
            }
        })
}

/// Reads `---` and `+++`.
pub(crate) fn plain(
    reader: &mut Reader<'_>,
    mail: usize,
    refusals: &mut Vec<Refusal>,
) -> Option<Open> {
    let mut open = Open {
        file: empty(Form::Plain, reader.number(), mail),
        crlf: true,
        old_epoch: false,
        new_epoch: false,
        promised: false,
    };
    let read = names(reader, &mut open);
    finish(open, read, refusals)
}

/// Reads the two name lines, which are known to be there, into the section.
fn names(reader: &mut Reader<'_>, open: &mut Open) -> Result<(), Refused> {
    let number = reader.number();
    let mut sides = [None, None];
    for side in &mut sides {
        open.crlf &= reader.raw(0).is_some_and(|line| line.ends_with(b"\r\n"));
        let line = reader.peek(0).unwrap_or_default();
        reader.skip(1);
        *side = Some(named(&line[4..]).map_err(|refusal| refusal.at(number))?);
    }
    let [Some(old), Some(new)] = sides else {
        return Ok(());
    };
    (open.old_epoch, open.new_epoch) = (old.epoch, new.epoch);
    match (&old.name, &new.name) {
        (None, None) => {
            return Err(Refusal::new(RefusalCode::Path, "both names are /dev/null").at(number));
        }
        (None, Some(_)) => open.file.operation = Operation::Create,
        (Some(_), None) => open.file.operation = Operation::Delete,
        (Some(old), Some(new)) => open.file.prefixed = prefixed(old, new),
    }
    (open.file.old, open.file.new) = (old.name, new.name);
    Ok(())
}

/// Reads `diff --git` and the lines below it.
pub(crate) fn git(
    reader: &mut Reader<'_>,
    mail: usize,
    refusals: &mut Vec<Refusal>,
) -> Option<Open> {
    let mut open = Open {
        file: empty(Form::Git, reader.number(), mail),
        crlf: reader.raw(0).is_some_and(|line| line.ends_with(b"\r\n")),
        old_epoch: false,
        new_epoch: false,
        promised: false,
    };
    let first = reader
        .peek(0)
        .and_then(|line| line.strip_prefix(b"diff --git "))
        .unwrap_or_default();
    reader.skip(1);
    let read = extended(reader, &mut open, first);
    // `Binary files differ` below the header is judged where it stands.
    finish(open, read, refusals)
}

fn finish(open: Open, read: Result<(), Refused>, refusals: &mut Vec<Refusal>) -> Option<Open> {
    match read {
        Ok(()) => Some(open),
        Err(refusal) => {
            let line = refusal.patch_line.unwrap_or(open.file.line);
            refusals.push(*refusal.at(line));
            None
        }
    }
}

fn extended(reader: &mut Reader<'_>, open: &mut Open, first: &[u8]) -> Result<(), Refused> {
    let (mut from, mut to, mut named) = (None, None, false);
    let heads = same_names(first);
    while let Some(line) = reader.peek(0) {
        let number = reader.number();
        if reader.names_at(0) {
            let operation = open.file.operation;
            names(reader, open)?;
            if let Some((old, new)) = &heads {
                open.file.prefixed = prefixed(old, new);
            }
            if operation != Operation::Change {
                open.file.operation = operation;
            }
            named = true;
            break;
        }
        let file = &mut open.file;
        if let Some(rest) = line.strip_prefix(b"old mode ") {
            file.old_mode = Some(mode(rest, number)?);
        } else if let Some(rest) = line.strip_prefix(b"new mode ") {
            file.new_mode = Some(mode(rest, number)?);
        } else if let Some(rest) = line.strip_prefix(b"new file mode ") {
            file.new_mode = Some(mode(rest, number)?);
            file.operation = Operation::Create;
        } else if let Some(rest) = line.strip_prefix(b"deleted file mode ") {
            file.old_mode = Some(mode(rest, number)?);
            file.operation = Operation::Delete;
        } else if let Some(rest) = line.strip_prefix(b"index ") {
            let Some(end) = rest.windows(2).position(|pair| pair == b"..") else {
                let message = "the `index` line is not whole";
                return Err(Refusal::new(RefusalCode::CutOff, message).at(number));
            };
            file.old_blob = Some(rest[..end].to_ascii_lowercase());
            let new = rest.get(end + 2..).unwrap_or_default();
            let new = new.split(|&byte| byte == b' ').next().unwrap_or_default();
            file.new_blob = Some(new.to_ascii_lowercase());
            open.promised |=
                new != &rest[..end] && !(new.len() >= 4 && EMPTY_BLOB.starts_with(new));
            if let Some(at) = rest.iter().position(|&byte| byte == b' ') {
                mode(&rest[at + 1..], number)?;
            }
        } else if let Some(rest) = line
            .strip_prefix(b"rename from ")
            .or_else(|| line.strip_prefix(b"rename old "))
        {
            from = Some(extended_name(rest)?);
            file.operation = Operation::Rename;
        } else if let Some(rest) = line
            .strip_prefix(b"rename to ")
            .or_else(|| line.strip_prefix(b"rename new "))
        {
            to = Some(extended_name(rest)?);
            file.operation = Operation::Rename;
        } else if let Some(rest) = line.strip_prefix(b"copy from ") {
            from = Some(extended_name(rest)?);
            file.operation = Operation::Copy;
        } else if let Some(rest) = line.strip_prefix(b"copy to ") {
            to = Some(extended_name(rest)?);
            file.operation = Operation::Copy;
        } else if let Some(rest) = line.strip_prefix(b"similarity index ") {
            open.promised |= rest != b"100%";
        } else if !line.starts_with(b"dissimilarity index ") {
            break;
        }
        reader.skip(1);
    }
    let file = &mut open.file;
    if matches!(file.operation, Operation::Rename | Operation::Copy) {
        let (Some(from), Some(to)) = (from, to) else {
            return Err(Refusal::new(
                RefusalCode::Corrupt,
                "a rename or copy has to name both its source and its target",
            ));
        };
        let agree = !named || (agree(&file.old, &from) && agree(&file.new, &to));
        (file.old, file.new) = (Some(from), Some(to));
        agree.then_some(()).ok_or_else(disagreement)?;
    } else if !named {
        let (old, new) = heads.ok_or_else(|| {
            Refusal::new(
                RefusalCode::Path,
                "the two names behind `diff --git` cannot be told apart or differ",
            )
            .help("write `--- a/NAME` and `+++ b/NAME` below it")
        })?;
        file.prefixed = prefixed(&old, &new);
        (file.old, file.new) = (Some(old), Some(new));
    } else if let Some((old, new)) = heads {
        let agree = agree(&file.old, &old) && agree(&file.new, &new);
        agree.then_some(()).ok_or_else(disagreement)?;
    }
    Ok(())
}

/// Both are one name, but for a prefix that one of them may have.
fn agree(name: &Option<Name>, other: &Name) -> bool {
    let Some(name) = name else { return true };
    let rest = |name: &Name| name.split().map(|(_, rest)| rest.to_vec());
    let other_rest = rest(other);
    name == other
        || rest(name).is_some_and(|rest| rest == other.as_bytes() || Some(rest) == other_rest)
        || other_rest.is_some_and(|rest| rest == name.as_bytes())
}

fn disagreement() -> Refused {
    let message = "`---` and `+++` name another file than the lines above them";
    Refusal::new(RefusalCode::PathAmbiguous, message).help("write the same names in all of them")
}

/// Names that differ in their first part alone have it as a prefix; equal names need none.
fn prefixed(old: &Name, new: &Name) -> Option<bool> {
    if old == new {
        return Some(false);
    }
    let (old, new) = (old.split()?, new.split()?);
    (old.1 == new.1).then_some(true)
}

fn extended_name(text: &[u8]) -> Result<Name, Refused> {
    if text.starts_with(b"\"") {
        let (name, _) = unquote(text).ok_or_else(|| {
            Refusal::new(
                RefusalCode::Path,
                "the quoted name is not closed, or has a wrong escape",
            )
        })?;
        return Ok(Name::new(&name));
    }
    Ok(Name::new(text))
}

/// A regular file's mode; links, submodules, directories and setuid bits are refused by name.
fn mode(text: &[u8], number: usize) -> Result<u32, Refused> {
    let digits = text.trim_ascii();
    let mode = std::str::from_utf8(digits)
        .ok()
        .and_then(|digits| u32::from_str_radix(digits, 8).ok());
    let what = match mode {
        Some(mode) if mode & 0o170_000 == 0o100_000 && mode & 0o7000 == 0 => return Ok(mode),
        Some(0o120_000) => "symbolic links are not supported",
        Some(0o160_000) => "submodules are not supported",
        Some(0o040_000) => "the mode of a directory cannot be changed",
        Some(mode) if mode & 0o7000 != 0 => "setuid, setgid and sticky bits are not supported",
        Some(_) | None => "this is no mode of a file",
    };
    Err(Refusal::new(RefusalCode::UnsupportedMode, what)
        .at(number)
        .help("use 100644 or 100755"))
}

/// The names of a `diff --git` line without other lines to tell them: both must be the same but for a prefix.
fn same_names(text: &[u8]) -> Option<(Name, Name)> {
    let pair = |old: &[u8], new: &[u8]| {
        let (old, new) = (Name::new(old), Name::new(new));
        let rest = |name: &Name| name.split().map(|(_, rest)| rest.to_vec());
        let same = old == new || (rest(&old).is_some() && rest(&old) == rest(&new));
        same.then_some((old, new))
    };
    // Two names in quotes, each byte of them an escape, and their prefixes.
    if text.len() > 10 * PATH_MAX {
        return None;
    }
    if text.starts_with(b"\"") {
        let (old, rest) = unquote(text)?;
        let rest = rest.strip_prefix(b" ")?;
        let new = if rest.starts_with(b"\"") {
            unquote(rest)?.0
        } else {
            rest.to_vec()
        };
        return pair(&old, &new);
    }
    // The halves are equally long, or nearly so when their prefixes are not: `old/x new-one/x`. Lengths are compared
    // first, so that a line of nothing but blanks costs no more than it is long.
    let first = text.iter().position(|&byte| byte == b'/');
    let mut next = vec![None; text.len() + 1];
    for (at, &byte) in text.iter().enumerate().rev() {
        next[at] = if byte == b'/' { Some(at) } else { next[at + 1] };
    }
    let rest = |from: usize| next[from].map(|slash: usize| text.len() - slash - 1);
    let mut splits = (0..text.len())
        .filter(|&at| text[at] == b' ')
        .filter(|&at| {
            let left = first.and_then(|slash| at.checked_sub(slash + 1));
            let quoted = text.get(at + 1) == Some(&b'"') && text.ends_with(b"\"");
            quoted || at == text.len() - at - 1 || (left.is_some() && left == rest(at + 1))
        })
        .filter_map(|at| {
            let right = &text[at + 1..];
            let right = if right.starts_with(b"\"") {
                unquote(right)?.0
            } else {
                right.to_vec()
            };
            pair(&text[..at], &right)
        });
    let found = splits.next()?;
    splits.next().is_none().then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_a_git_line() {
        let names = |text: &str| {
            same_names(text.as_bytes())
                .map(|(old, new)| (old.as_bytes().to_vec(), new.as_bytes().to_vec()))
        };
        let pair = |old: &str, new: &str| Some((old.as_bytes().to_vec(), new.as_bytes().to_vec()));
        assert_eq!(names("a/x b/x"), pair("a/x", "b/x"));
        assert_eq!(names("x y x y"), pair("x y", "x y"));
        assert_eq!(names("a/x y b/x y"), pair("a/x y", "b/x y"));
        assert_eq!(
            names("\"a/\\303\\274\" \"b/\\303\\274\""),
            pair("a/ü", "b/ü")
        );
        assert_eq!(names("a/x b/y"), None);
    }

    #[test]
    fn time_stamps_are_no_part_of_a_name() {
        let name = |text: &str| {
            named(text.as_bytes()).map(|named| named.name.map(|name| name.as_bytes().to_vec()))
        };
        assert_eq!(name("a/x\t2024-01-01 00:00:00"), Ok(Some(b"a/x".to_vec())));
        assert_eq!(name("a/x  2024-01-01 00:00:00"), Ok(Some(b"a/x".to_vec())));
        assert_eq!(name("a/x  y"), Ok(Some(b"a/x  y".to_vec())));
        assert_eq!(name("/dev/null\tx"), Ok(None));
    }
}
