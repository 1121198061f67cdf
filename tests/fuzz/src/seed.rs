//! A seed that is an archive of a stranger. Whatever it is: what preflight lists is what the workspace gets, below its
//! directory and nowhere else, or both refuse it.

use super::tar::mended;
use pyro::archive::{ArchiveError, Entry, Kind, read, unpack};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Cursor, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

/// More than a target takes.
const LIMIT: u64 = 1 << 16;

/// Takes a tar archive, plain or packed; as it is, and with its checksums made right.
pub fn seed(data: &[u8]) {
    check(data);
    check(&mended(data));
}

fn check(archive: &[u8]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).expect("a new folder");
    let outside = folder.path().join("outside");
    fs::write(&outside, "as it was").expect("a new file");
    let listed = listed(Cursor::new(archive.to_vec()));
    let unpacked = unpack(Cursor::new(archive.to_vec()), LIMIT, &tree);
    match (&listed, &unpacked) {
        (Ok((whole, entries)), Ok(unpacked)) => {
            assert_eq!(unpacked.whole.sha256, *whole);
            let closed = &unpacked.closed;
            for (path, (entry, contents)) in entries {
                same(&tree, path, entry, contents, closed.get(path).copied());
            }
        }
        // Such as a name that is too long for the disk.
        (Ok(_), Err(ArchiveError::Io(_))) => {}
        (Ok(_), Err(error)) => panic!("it was listed, and is not unpacked: {error}"),
        (Err(_), Ok(_)) => panic!("it was not listed, and is unpacked"),
        (Err(one), Err(ArchiveError::Io(_))) => drop(one.to_string()),
        (Err(one), Err(other)) => assert_eq!(one.to_string(), other.to_string()),
    }
    let slow = self::listed(Slow(Cursor::new(archive.to_vec())));
    assert_eq!(
        slow.map_err(|error| error.to_string()),
        listed.map_err(|error| error.to_string()),
        "it depends on how the bytes arrive"
    );
    assert_eq!(fs::read(&outside).expect("still there"), b"as it was");
    let names = fs::read_dir(folder.path()).expect("a folder").count();
    assert_eq!(names, 2, "something appeared beside the tree");
    open_up(&tree);
}

type Entries = BTreeMap<Vec<u8>, (Entry, Vec<u8>)>;

/// The digest of the archive, and what it holds by path.
fn listed(file: impl Read + Send + 'static) -> Result<([u8; 32], Entries), ArchiveError> {
    let mut found = Entries::new();
    let mut bytes = 0;
    let whole = read(file, LIMIT, &mut |entry, body| {
        let mut contents = Vec::new();
        body.read_to_end(&mut contents)
            .map_err(|error| ArchiveError::Damaged(error.to_string()))?;
        for part in entry.path.split(|byte| *byte == b'/') {
            assert!(part != b"..", "{entry:?}");
        }
        assert!(!entry.path.starts_with(b"/"), "{entry:?}");
        assert!(!entry.path.contains(&0), "{entry:?}");
        assert_eq!(entry.mode & !0o1777, 0, "{entry:?}");
        if let Kind::File { size, pieces } = &entry.kind {
            let held: u64 = pieces.iter().map(|(_, length)| length).sum();
            // Less where the archive is cut off, which is told at the end.
            assert!(held <= *size && held >= contents.len() as u64, "{entry:?}");
            let mut end = 0;
            for (offset, length) in pieces {
                assert!(*offset >= end, "{entry:?}");
                end = offset + length;
            }
            assert!(end <= *size, "{entry:?}");
            bytes += held;
        }
        if let Kind::HardLink(target) = &entry.kind {
            let (twin, contents) = found.get(target).cloned().expect("of an earlier entry");
            let same = Entry {
                path: entry.path.clone(),
                ..twin
            };
            found.insert(entry.path.clone(), (same, contents));
        } else {
            found.insert(entry.path.clone(), (entry.clone(), contents));
        }
        Ok(())
    })?;
    for (entry, contents) in found.values() {
        if let Kind::File { pieces, .. } = &entry.kind {
            let held: u64 = pieces.iter().map(|(_, length)| length).sum();
            assert_eq!(held, contents.len() as u64, "{entry:?}");
        }
    }
    assert!(bytes <= LIMIT && whole.bytes <= LIMIT, "{bytes} bytes");
    Ok((whole.sha256, found))
}

/// One entry on the disk.
fn same(tree: &Path, path: &[u8], entry: &Entry, contents: &[u8], closed: Option<u32>) {
    if path.is_empty() {
        return;
    }
    let at = tree.join(OsStr::from_bytes(path));
    let found = at.symlink_metadata();
    match &entry.kind {
        Kind::LeftOut(_) => assert!(found.is_err(), "{entry:?} is there"),
        Kind::Directory => {
            let found = found.expect("a directory");
            assert!(found.is_dir(), "{entry:?}");
            let mode = closed.unwrap_or(found.permissions().mode() & 0o7777);
            assert_eq!(mode, entry.mode, "{entry:?}");
        }
        Kind::Symlink(target) => {
            let found = fs::read_link(&at).expect("a link");
            assert_eq!(found.as_os_str().as_bytes(), target, "{entry:?}");
        }
        Kind::HardLink(_) => panic!("it was resolved"),
        Kind::File { size, pieces } => {
            let found = found.expect("a file");
            assert!(found.is_file(), "{entry:?}");
            assert_eq!(found.len(), *size, "{entry:?}");
            assert_eq!(closed.unwrap_or(found.mode() & 0o7777), entry.mode);
            // A file may be a terabyte of holes.
            if *size <= 4 * LIMIT {
                let mut wanted = vec![0; usize::try_from(*size).expect("small")];
                let mut rest = contents;
                for (offset, length) in pieces {
                    let offset = usize::try_from(*offset).expect("small");
                    let (now, later) = rest.split_at(usize::try_from(*length).expect("small"));
                    wanted[offset..offset + now.len()].copy_from_slice(now);
                    rest = later;
                }
                assert_eq!(fs::read(&at).expect("readable"), wanted, "{entry:?}");
            }
        }
    }
}

/// Lets the folder be removed, whoever we are.
fn open_up(path: &Path) {
    let metadata = path.symlink_metadata().expect("metadata");
    if metadata.is_dir() {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("a mode");
        for entry in fs::read_dir(path).expect("a folder") {
            open_up(&entry.expect("an entry").path());
        }
    }
}

/// Gives few bytes at a time.
struct Slow(Cursor<Vec<u8>>);

impl Read for Slow {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let most = buffer.len().min(100);
        self.0.read(&mut buffer[..most])
    }
}
