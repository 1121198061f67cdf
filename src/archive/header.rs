//! One header block, and the extended headers before it.

use super::{ArchiveError, BLOCK, MAX_PIECES, damaged};

/// What a header block says.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) path: Vec<u8>,
    pub(super) link: Vec<u8>,
    pub(super) mode: u32,
    pub(super) size: u64,
    pub(super) mtime_ns: i64,
}

/// What the extended headers before an entry say.
#[derive(Debug, Default)]
pub(super) struct Long {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime_ns: Option<i64>,
    pub(super) sparse: Sparse,
}

/// A file with holes, in the forms that PAX headers have for it.
#[derive(Debug, Default)]
pub(super) struct Sparse {
    pub(super) name: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) map: Vec<(u64, u64)>,
    /// The map stands before the contents.
    pub(super) in_data: bool,
}

impl Header {
    pub(super) fn parse(block: &[u8; BLOCK]) -> Result<Self, ArchiveError> {
        if !has_right_sum(block) {
            return damaged("the checksum of a header is wrong");
        }
        let until_nul = |field: &[u8]| {
            let end = field.iter().position(|byte| *byte == 0);
            field[..end.unwrap_or(field.len())].to_vec()
        };
        let mut path = until_nul(&block[..100]);
        // GNU's own form has times in the place of the prefix.
        if &block[257..263] == b"ustar\0" && block[345] != 0 {
            path = [until_nul(&block[345..500]), path].join(&b'/');
        }
        let seconds = number(&block[136..148])?;
        let seconds = i64::try_from(seconds).unwrap_or(0);
        Ok(Self {
            kind: block[156],
            path,
            link: until_nul(&block[157..257]),
            mode: u32::try_from(number(&block[100..108])? & 0o7777).unwrap_or(0),
            size: number(&block[124..136])?,
            mtime_ns: seconds.checked_mul(1_000_000_000).unwrap_or(0),
        })
    }
}

/// Whether a block is a header, by its own checksum.
pub(super) fn has_right_sum(block: &[u8; BLOCK]) -> bool {
    let sum = |byte: fn(u8) -> i64| -> i64 {
        (block.iter().enumerate())
            .map(|(index, value)| {
                byte(if (148..156).contains(&index) {
                    b' '
                } else {
                    *value
                })
            })
            .sum()
    };
    let stated = number(&block[148..156])
        .ok()
        .and_then(|sum| i64::try_from(sum).ok());
    // Some old programs summed signed bytes.
    stated.is_some_and(|stated| {
        stated == sum(i64::from) || stated == sum(|byte| i64::from(byte.cast_signed()))
    })
}

/// Octal digits, or GNU's binary form for large numbers. A negative one (a time before 1970) counts as 0.
pub(super) fn number(field: &[u8]) -> Result<u64, ArchiveError> {
    if field[0] == 0xff {
        return Ok(0);
    }
    if field[0] & 0x80 != 0 {
        let mut value = u64::from(field[0] & 0x7f);
        for byte in &field[1..] {
            if value > u64::MAX >> 8 {
                return damaged("a number in a header is too large");
            }
            value = value << 8 | u64::from(*byte);
        }
        return Ok(value);
    }
    let text = field.split(|byte| *byte == 0).next().unwrap_or_default();
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(0);
    }
    let digits = std::str::from_utf8(text).ok();
    match digits.and_then(|digits| u64::from_str_radix(digits, 8).ok()) {
        Some(value) => Ok(value),
        None => damaged("a number in a header is none"),
    }
}

/// Pieces of GNU's old sparse form: pairs of numbers of 12 bytes each, until one is empty.
pub(super) fn old_pieces(block: &[u8], count: usize) -> Result<Vec<(u64, u64)>, ArchiveError> {
    let mut pieces = Vec::new();
    for pair in block.chunks_exact(24).take(count) {
        if pair[0] == 0 {
            break;
        }
        pieces.push((number(&pair[..12])?, number(&pair[12..])?));
    }
    Ok(pieces)
}

/// Takes the records `LENGTH KEY=VALUE\n` of a PAX header.
pub(super) fn parse_pax(mut text: &[u8], long: &mut Long) -> Result<(), ArchiveError> {
    let mut offset = None;
    while !text.is_empty() {
        let space = text.iter().position(|byte| *byte == b' ');
        let length = space.and_then(|space| {
            let digits = std::str::from_utf8(&text[..space]).ok()?;
            digits
                .parse::<usize>()
                .ok()
                .filter(|length| *length > space + 1)
        });
        let (Some(space), Some(length)) = (space, length) else {
            return damaged("an extended header is none");
        };
        let Some(record) = text
            .get(space + 1..length)
            .and_then(|record| record.strip_suffix(b"\n"))
        else {
            return damaged("an extended header is cut off");
        };
        text = &text[length..];
        let Some(equals) = record.iter().position(|byte| *byte == b'=') else {
            return damaged("an extended header has no value");
        };
        let (key, value) = (&record[..equals], &record[equals + 1..]);
        let decimal = || {
            let digits = std::str::from_utf8(value).ok();
            match digits.and_then(|digits| digits.parse::<u64>().ok()) {
                Some(number) => Ok(number),
                None => damaged("a number in an extended header is none"),
            }
        };
        match key {
            b"path" => long.path = Some(value.to_vec()),
            b"linkpath" => long.link = Some(value.to_vec()),
            b"size" => long.size = Some(decimal()?),
            b"mtime" => long.mtime_ns = std::str::from_utf8(value).ok().and_then(nanoseconds),
            b"GNU.sparse.name" => long.sparse.name = Some(value.to_vec()),
            b"GNU.sparse.size" | b"GNU.sparse.realsize" => long.sparse.size = Some(decimal()?),
            b"GNU.sparse.major" => long.sparse.in_data = value == b"1",
            b"GNU.sparse.offset" => offset = Some(decimal()?),
            b"GNU.sparse.numbytes" => {
                long.sparse
                    .map
                    .push((offset.take().unwrap_or(0), decimal()?));
            }
            b"GNU.sparse.map" => {
                let numbers: Option<Vec<u64>> = std::str::from_utf8(value)
                    .ok()
                    .and_then(|text| text.split(',').map(|digits| digits.parse().ok()).collect());
                let Some(numbers) = numbers else {
                    return damaged("the map of a sparse file is no list of numbers");
                };
                let pieces = numbers.chunks_exact(2).map(|pair| (pair[0], pair[1]));
                long.sparse.map = pieces.collect();
            }
            _ => {}
        }
        if long.sparse.map.len() > MAX_PIECES {
            return damaged("a sparse file has too many pieces");
        }
    }
    Ok(())
}

/// `1700000000.25`; a time before 1970 counts as 1970.
fn nanoseconds(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, ""));
    let Ok(whole) = whole.parse::<u32>() else {
        return whole.starts_with('-').then_some(0);
    };
    let part: String = part.chars().chain("000000000".chars()).take(9).collect();
    Some(i64::from(whole) * 1_000_000_000 + part.parse::<i64>().ok()?)
}
