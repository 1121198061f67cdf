//! Entries as the blocks of a tar, for the agent: times to the nanosecond, names of any length and bytes.

use super::{BLOCK, padding};

/// What fits into the name fields of a header.
const NAME: usize = 100;
/// One more than what the octal field of sizes and times holds.
const OCTAL: u64 = 1 << 33;

/// An entry to write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heading<'a> {
    /// Relative, without `..`.
    pub(crate) path: &'a [u8],
    /// What it is.
    pub(crate) kind: Writes<'a>,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Modification time, in nanoseconds since 1970.
    pub(crate) mtime_ns: i64,
}

/// What an entry is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Writes<'a> {
    /// A file, whose so many bytes follow, and then [`fill_up`].
    File(u64),
    /// A directory.
    Directory,
    /// A link, and where it points.
    Symlink(&'a [u8]),
    /// Another name of an earlier file.
    HardLink(&'a [u8]),
}

/// Appends the header of an entry.
pub(crate) fn heading(entry: &Heading<'_>, out: &mut Vec<u8>) {
    let (kind, size, link) = match entry.kind {
        Writes::File(size) => (b'0', size, &b""[..]),
        Writes::Directory => (b'5', 0, &b""[..]),
        Writes::Symlink(target) => (b'2', 0, target),
        Writes::HardLink(first) => (b'1', 0, first),
    };
    let nanos = entry.mtime_ns.unsigned_abs();
    let (seconds, part) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
    let mut more = Vec::new();
    if entry.path.len() > NAME {
        record(b"path", entry.path, &mut more);
    }
    if link.len() > NAME {
        record(b"linkpath", link, &mut more);
    }
    let plain = entry.mtime_ns >= 0 && part == 0 && seconds < OCTAL;
    if !plain {
        let sign = if entry.mtime_ns < 0 { "-" } else { "" };
        let time = format!("{sign}{seconds}.{part:09}");
        record(b"mtime", time.as_bytes(), &mut more);
    }
    if !more.is_empty() {
        block(b'x', b"", b"", 0o644, more.len() as u64, 0, out);
        let size = more.len() as u64;
        out.append(&mut more);
        fill_up(size, out);
    }
    let seconds = if plain { seconds } else { 0 };
    block(kind, entry.path, link, entry.mode, size, seconds, out);
}

/// Appends what is missing to a whole block after the contents of a file.
pub(crate) fn fill_up(size: u64, out: &mut Vec<u8>) {
    let missing = usize::try_from(padding(size)).unwrap_or(0);
    out.resize(out.len() + missing, 0);
}

/// Appends the end of an archive.
pub(crate) fn end(out: &mut Vec<u8>) {
    out.resize(out.len() + 2 * BLOCK, 0);
}

/// `LENGTH KEY=VALUE\n`, where the length counts its own digits.
fn record(key: &[u8], value: &[u8], out: &mut Vec<u8>) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while rest + length.to_string().len() != length {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(length.to_string().as_bytes());
    out.push(b' ');
    out.extend_from_slice(key);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn block(kind: u8, path: &[u8], link: &[u8], mode: u32, size: u64, mtime: u64, out: &mut Vec<u8>) {
    let mut block = [0; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &path[..path.len().min(NAME)]);
    put(100, format!("{mode:07o}").as_bytes());
    put(108, b"0000000");
    put(116, b"0000000");
    if size < OCTAL {
        put(124, format!("{size:011o}").as_bytes());
    } else {
        // Base 256, as every tar program of today reads it.
        put(124, &[0x80, 0, 0, 0]);
        put(128, &size.to_be_bytes());
    }
    put(136, format!("{mtime:011o}").as_bytes());
    put(148, b"        ");
    put(156, &[kind]);
    put(157, &link[..link.len().min(NAME)]);
    put(257, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    out.extend_from_slice(&block);
}

#[cfg(test)]
mod tests {
    use super::{Heading, Writes, end, fill_up, heading};
    use crate::archive::{Kind, read};
    use std::io::Cursor;

    #[test]
    fn what_is_written_is_read_back() {
        let long = [vec![b'd'; 200], b"/".to_vec(), vec![0xff; 250]].concat();
        let second = 1_000_000_000;
        let mut out = Vec::new();
        let mut put = |path: &[u8], kind, mode, mtime_ns| {
            let entry = Heading {
                path,
                kind,
                mode,
                mtime_ns,
            };
            heading(&entry, &mut out);
            if let Writes::File(size) = kind {
                out.resize(out.len() + usize::try_from(size).expect("small"), b'x');
                fill_up(size, &mut out);
            }
        };
        for length in 80..120 {
            put(&vec![b'n'; length], Writes::File(length as u64), 0o640, 1);
        }
        put(b"d", Writes::Directory, 0o1755, 1_700_000_000 * second);
        put(&long, Writes::File(512), 0o400, 1_700_000_000 * second + 7);
        put(b"link", Writes::Symlink(&long), 0o777, 0);
        put(b"odd\n\xff", Writes::Symlink(b"../out"), 0o777, 0);
        put(b"twin", Writes::HardLink(&long), 0o400, 0);
        end(&mut out);
        assert_eq!(out.len() % 512, 0);
        let mut found = Vec::new();
        read(Cursor::new(out), u64::MAX, &mut |entry, body| {
            let mut bytes = Vec::new();
            body.read_to_end(&mut bytes)
                .map_err(crate::archive::ArchiveError::Io)?;
            assert!(bytes.iter().all(|byte| *byte == b'x'));
            found.push((entry.clone(), bytes.len()));
            Ok(())
        })
        .expect("an archive");
        assert_eq!(found.len(), 45);
        let (dir, _) = &found[40];
        assert_eq!((dir.mode, dir.mtime_ns), (0o1755, 1_700_000_000 * second));
        let (file, size) = &found[41];
        assert_eq!((&file.path, *size), (&long, 512));
        assert_eq!(file.mtime_ns, 1_700_000_000 * second + 7);
        assert_eq!(found[42].0.kind, Kind::Symlink(long.clone()));
        assert_eq!(found[43].0.path, b"odd\n\xff");
        assert_eq!(found[44].0.kind, Kind::HardLink(long));
    }

    #[test]
    fn what_octal_does_not_hold_is_written_otherwise() {
        let mut out = Vec::new();
        let entry = Heading {
            path: b"large",
            kind: Writes::File(1 << 40),
            mode: 0o644,
            mtime_ns: -1_250_000_000,
        };
        heading(&entry, &mut out);
        assert!(out[512..].starts_with(b"22 mtime=-1.250000000\n"));
        let header = tar::Header::from_byte_slice(&out[1024..]);
        assert_eq!(header.entry_size().expect("a number"), 1 << 40);
    }
}
