//! Reads `GIT binary patch`: a file's bytes, or the way from one to another, deflated and in base 85.
//! What it means for a file is checked by the hashes of the `index` line, which must be whole.

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;

use super::parse::Reader;
use super::refusal::{Refusal, RefusalCode, Refused};

/// The largest file that a binary patch may make.
const MAX_FILE: usize = 64 << 20;

/// What becomes of a binary file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Binary {
    /// These are its bytes.
    Literal(Vec<u8>),
    /// Instructions in git's form: copy a part of the old file, or insert bytes.
    Delta(Vec<u8>),
}

/// Reads the line `GIT binary patch`, the way there, and the way back if it follows. The bytes of the way back are
/// checked and dropped: a patch is only ever applied forward.
pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Binary, Refused> {
    let number = reader.number();
    reader.skip(1);
    let there = part(reader)?.ok_or_else(|| {
        Refusal::new(
            RefusalCode::CutOff,
            "no `literal` or `delta` follows the line `GIT binary patch`",
        )
        .at(number)
        .help("send the whole patch, as `git diff --binary` prints it")
    })?;
    part(reader)?;
    Ok(there)
}

/// `literal SIZE` or `delta SIZE`, lines of base 85, and a blank line.
fn part(reader: &mut Reader<'_>) -> Result<Option<Binary>, Refused> {
    let number = reader.number();
    let Some(line) = reader.peek(0) else {
        return Ok(None);
    };
    let (size, delta) = match (line.strip_prefix(b"literal "), line.strip_prefix(b"delta ")) {
        (Some(size), _) => (size, false),
        (None, Some(size)) => (size, true),
        (None, None) => return Ok(None),
    };
    let size = std::str::from_utf8(size)
        .ok()
        .filter(|size| size.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|size| size.parse::<usize>().ok())
        .ok_or_else(|| corrupt("the size of the binary patch is no number", number))?;
    if size > MAX_FILE {
        let message = "the binary patch makes a file of more than 64 MiB";
        return Err(Refusal::new(RefusalCode::TooLarge, message).at(number));
    }
    reader.skip(1);
    let mut packed = Vec::new();
    loop {
        let number = reader.number();
        match reader.peek(0) {
            Some(b"") => {
                reader.skip(1);
                break;
            }
            Some(line) => line_of_base85(line, &mut packed)
                .ok_or_else(|| corrupt("this line of the binary patch is damaged", number))?,
            None => {
                let message = "the text ends in the middle of a binary patch";
                return Err(Refusal::new(RefusalCode::CutOff, message)
                    .at(number.saturating_sub(1))
                    .help("send the whole patch; a blank line ends each part of it"));
            }
        }
        reader.skip(1);
    }
    let bytes = decompress_to_vec_zlib_with_limit(&packed, size)
        .ok()
        .filter(|bytes| bytes.len() == size)
        .ok_or_else(|| {
            corrupt(
                "the bytes of the binary patch cannot be unpacked, or are not as many as it says",
                number,
            )
        })?;
    Ok(Some(if delta {
        Binary::Delta(bytes)
    } else {
        Binary::Literal(bytes)
    }))
}

fn corrupt(message: &str, line: usize) -> Refused {
    Refusal::new(RefusalCode::Corrupt, message)
        .at(line)
        .help("send the patch as `git diff --binary` prints it, or write the file as a whole")
}

/// The digits of git's base 85, in their order.
const DIGITS: &[u8; 85] =
    b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~";

/// One letter says how many bytes the line holds; five digits follow for each four of them.
fn line_of_base85(line: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let (&length, digits) = line.split_first()?;
    let length = match length {
        b'A'..=b'Z' => usize::from(length - b'A') + 1,
        b'a'..=b'z' => usize::from(length - b'a') + 27,
        _ => return None,
    };
    let groups = digits.as_chunks::<5>();
    if !groups.1.is_empty() || groups.0.len() != length.div_ceil(4) {
        return None;
    }
    let start = out.len();
    for group in groups.0 {
        let mut number = 0_u32;
        for digit in group {
            let value = DIGITS.iter().position(|known| known == digit)?;
            number = number
                .checked_mul(85)?
                .checked_add(u32::try_from(value).ok()?)?;
        }
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.truncate(start + length);
    Some(())
}

impl Binary {
    /// The new bytes; `None` when the instructions do not fit the old ones.
    pub(crate) fn apply(&self, old: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Literal(bytes) => Some(bytes.clone()),
            Self::Delta(delta) => apply_delta(old, delta),
        }
    }
}

fn apply_delta(old: &[u8], mut delta: &[u8]) -> Option<Vec<u8>> {
    if size(&mut delta)? != old.len() {
        return None;
    }
    let wanted = size(&mut delta)?;
    if wanted > MAX_FILE {
        return None;
    }
    let mut new = Vec::new();
    while let Some((&op, rest)) = delta.split_first() {
        delta = rest;
        let part = if op & 0x80 != 0 {
            // Seven bits say which bytes of an offset and a length follow; the others are 0.
            let mut fields = [0_u8; 7];
            for (at, field) in fields.iter_mut().enumerate() {
                if op & (1 << at) != 0 {
                    *field = *delta.split_off_first()?;
                }
            }
            let [a, b, c, d, e, f, g] = fields;
            let offset = usize::try_from(u32::from_le_bytes([a, b, c, d])).ok()?;
            let length = match usize::try_from(u32::from_le_bytes([e, f, g, 0])).ok()? {
                0 => 0x1_0000,
                length => length,
            };
            old.get(offset..offset.checked_add(length)?)?
        } else {
            // 0 is kept for later by git.
            let length = usize::from(op);
            (op != 0).then_some(())?;
            let (inserted, rest) = delta.split_at_checked(length)?;
            delta = rest;
            inserted
        };
        if new.len() + part.len() > wanted {
            return None;
        }
        new.extend_from_slice(part);
    }
    (new.len() == wanted).then_some(new)
}

/// Seven bits a byte, the lowest first; the eighth says that more follow.
fn size(delta: &mut &[u8]) -> Option<usize> {
    let mut size = 0_usize;
    for shift in (0..56).step_by(7) {
        let byte = *delta.split_off_first()?;
        size |= usize::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Some(size);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_delta_must_fit_to_the_byte() {
        let old = b"0123456789";
        // 10 to 7 bytes: copy 3 from 2, insert `ab`, copy 2 from 0.
        let delta = [10, 7, 0x91, 2, 3, 2, b'a', b'b', 0x90, 2];
        assert_eq!(apply_delta(old, &delta).as_deref(), Some(&b"234ab01"[..]));
        assert_eq!(apply_delta(b"012345678", &delta), None, "another old size");
        assert_eq!(apply_delta(old, &delta[..9]), None, "cut off");
        assert_eq!(apply_delta(old, &[10, 3, 0x91, 8, 3]), None, "past the end");
        assert_eq!(apply_delta(old, &[10, 1, 0]), None, "the op that is kept");
        assert_eq!(apply_delta(old, &[10, 1, 2, b'a', b'b']), None, "too long");
        assert_eq!(apply_delta(old, &[0xff; 12]), None, "an endless size");
    }

    #[test]
    fn lines_of_base85_are_strict() {
        let read = |line: &[u8]| {
            let mut out = Vec::new();
            line_of_base85(line, &mut out).map(|()| out)
        };
        assert_eq!(read(b"D00000"), Some(vec![0; 4]));
        assert_eq!(read(b"A00000"), Some(vec![0]));
        assert_eq!(read(b"E00000"), None, "too few digits");
        assert_eq!(read(b"A0000000000"), None, "too many");
        assert_eq!(read(b"D~~~~~"), None, "more than four bytes");
        assert_eq!(read(b"D0000 "), None, "no digit");
    }
}
