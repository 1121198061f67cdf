//! What tar programs write, and what nobody should have written.

use super::{ArchiveError, Entry, Kind, read, unpack};
use sha2::Digest as _;
use std::collections::BTreeMap;
use std::io::{Cursor, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::Command;

const LIMIT: u64 = 1 << 20;

/// A header as ustar has it, and contents.
fn entry(name: &str, kind: u8, link: &str, size: u64, contents: &[u8]) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0004755");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"07346545000");
    block[156] = kind;
    block[157..157 + link.len()].copy_from_slice(link.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut out = block.to_vec();
    out.extend_from_slice(contents);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn file(name: &str, contents: &[u8]) -> Vec<u8> {
    entry(name, b'0', "", contents.len() as u64, contents)
}

fn archive(entries: &[Vec<u8>]) -> Vec<u8> {
    let mut out = entries.concat();
    out.extend_from_slice(&[0; 1024]);
    out
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("packed");
    encoder.finish().expect("packed")
}

fn entries(bytes: Vec<u8>) -> Result<Vec<(Entry, Vec<u8>)>, ArchiveError> {
    let mut found = Vec::new();
    read(Cursor::new(bytes), LIMIT, &mut |entry, body| {
        let mut contents = Vec::new();
        body.read_to_end(&mut contents).expect("readable");
        found.push((entry.clone(), contents));
        Ok(())
    })?;
    Ok(found)
}

fn told(bytes: Vec<u8>) -> String {
    entries(bytes).expect_err("not taken").to_string()
}

#[test]
fn hostile_archives_are_told_by_what_they_do() {
    let link = |name: &str, to: &str| entry(name, b'2', to, 0, b"");
    let twin = |name: &str, to: &str| entry(name, b'1', to, 0, b"");
    for (what, entries, wanted) in [
        ("up", vec![file("../up", b"x")], "leads out by `..`"),
        (
            "up inside",
            vec![file("a/../../up", b"x")],
            "leads out by `..`",
        ),
        ("absolute", vec![file("/etc/passwd", b"x")], "absolute"),
        (
            "through a link",
            vec![link("a", "/etc"), file("a/passwd", b"x")],
            "behind a link",
        ),
        (
            "through a link inside",
            vec![link("a", "b"), file("a/b/c", b"x")],
            "behind a link",
        ),
        (
            "a link over its directory",
            vec![file("a/b", b"x"), link("a", "/")],
            "twice",
        ),
        (
            "below a file",
            vec![file("a", b"x"), file("a/b", b"x")],
            "below a file",
        ),
        ("twice", vec![file("a", b"x"), file("a", b"y")], "twice"),
        (
            "a file and a link",
            vec![file("a", b"x"), link("a", "b")],
            "twice",
        ),
        ("hard link out", vec![twin("a", "../b")], "leads out"),
        (
            "hard link absolute",
            vec![twin("a", "/etc/shadow")],
            "absolute",
        ),
        (
            "hard link to nothing",
            vec![twin("a", "b")],
            "no earlier entry",
        ),
        (
            "hard link to a link",
            vec![link("b", "/etc"), twin("a", "b")],
            "no earlier entry",
        ),
        (
            "hard link to itself",
            vec![twin("a", "a")],
            "no earlier entry",
        ),
        ("no name", vec![file(".", b"x")], "is no name"),
        (
            "unknown kind",
            vec![entry("a", b'Z', "", 0, b"")],
            "not known",
        ),
        (
            "long name",
            vec![
                file(&"n".repeat(100), b""),
                entry("x", b'L', "", 300, &[b'n'; 300]),
                file("x", b""),
            ],
            "too long",
        ),
    ] {
        let told = told(archive(&entries));
        assert!(told.contains(wanted), "{what}: {told}");
    }
}

#[test]
fn damage_is_told_wherever_it_is() {
    let whole = archive(&[file("a", &[b'x'; 700]), file("b", b"y")]);
    // Anywhere before the end mark.
    for cut in [1, 511, 512, 600, 1200, 1536, 2048, 2559] {
        assert!(entries(whole[..cut].to_vec()).is_err(), "cut at {cut}");
    }
    for at in [0, 100, 130, 150, 1536] {
        let mut bent = whole.clone();
        bent[at] ^= 1;
        let told = told(bent);
        assert!(
            told.contains("checksum") || told.contains("number"),
            "{at}: {told}"
        );
    }
    let packed = gzip(&whole);
    assert_eq!(entries(packed.clone()).expect("whole").len(), 2);
    for cut in [5, 20, packed.len() - 1, packed.len() - 6] {
        assert!(
            entries(packed[..cut].to_vec()).is_err(),
            "packed, cut at {cut}"
        );
    }
    let mut bent = packed;
    let last = bent.len() - 5;
    bent[last] ^= 1;
    assert!(told(bent).contains("damaged"));
    for (bytes, wanted) in [
        (b"".to_vec(), "it is empty"),
        (b"#!/bin/sh\necho hi\n".to_vec(), "does not begin as a tar"),
        (vec![b'a'; 4096], "does not begin as a tar"),
        (b"PK\x03\x04 and so on".to_vec(), "zip is not read"),
        (b"\xfd7zXZ\0....".to_vec(), "xz is not read"),
    ] {
        assert!(told(bytes.clone()).contains(wanted), "{}", told(bytes));
    }
}

#[test]
fn what_is_too_much_is_refused_before_it_is_there() {
    // Sparse terabytes: a header that says so is enough.
    let pax =
        b"22 GNU.sparse.major=1\n22 GNU.sparse.minor=0\n37 GNU.sparse.realsize=9000000000000\n";
    let map = [b"0\n".as_slice(), &[0; 510]].concat();
    let sparse = [
        entry("x", b'x', "", pax.len() as u64, pax),
        file("hole", &map),
    ];
    assert!(told(archive(&sparse)).contains("more than 1048576 bytes"));
    // A bomb: a file that is there in full, packed.
    let bomb = gzip(&archive(&[file("zeros", &vec![0; 8 << 20])]));
    assert!(bomb.len() < 64 << 10);
    assert!(told(bomb).contains("more than 1048576 bytes"));
    // A bomb behind the end mark.
    let mut tail = archive(&[file("a", b"x")]);
    tail.resize(20 << 20, 0);
    let told_of = told(gzip(&tail));
    assert!(told_of.contains("larger than"), "{told_of}");
    let long = entry("x", b'x', "", 1 << 30, b"");
    assert!(told(archive(&[long])).contains("longer than 1 MiB"));
    let bent = b"21 GNU.sparse.map=0,9\n";
    let bent = [
        entry("x", b'x', "", bent.len() as u64, bent),
        file("a", b"short"),
    ];
    assert!(told(archive(&bent)).contains("damaged"));
}

#[test]
fn more_than_a_million_entries_are_refused() {
    let names = ["a", "b", "c"].map(|name| file(name, b""));
    let from = super::stream::open(Cursor::new(archive(&names))).expect("a tar");
    let mut tar = super::Tar {
        from: super::Counted::new(from, LIMIT),
        names: super::Names::default(),
        limit: LIMIT,
        bytes: 0,
        // As if so many had been before.
        entries: super::MAX_ENTRIES - 2,
    };
    let mut seen = 0;
    let refused = tar.all(&mut |_, _| {
        seen += 1;
        Ok(())
    });
    let told = refused.expect_err("not taken").to_string();
    assert_eq!(told, "it has more than 1000000 entries");
    assert_eq!(seen, 2);
}

#[test]
fn odd_but_harmless_is_taken_or_left_out() {
    let names = entries(archive(&[
        entry("null", b'3', "", 0, b""),
        entry("pipe", b'6', "", 0, b""),
        file("./a//b", b"x"),
        file("A/B", b"case counts"),
        entry("a", b'5', "", 0, b""),
        entry("a/", b'5', "", 0, b""),
        entry("out", b'2', "/etc/passwd", 0, b""),
        entry("twin", b'1', "a/b", 1, b""),
        file(".git/hooks/post-checkout", b"kept as it is"),
    ]))
    .expect("taken");
    let kinds: Vec<_> = names
        .iter()
        .map(|(entry, _)| {
            (
                String::from_utf8_lossy(&entry.path).into_owned(),
                &entry.kind,
            )
        })
        .collect();
    assert_eq!(kinds[0], ("null".to_owned(), &Kind::LeftOut("device")));
    assert_eq!(kinds[1], ("pipe".to_owned(), &Kind::LeftOut("fifo")));
    assert_eq!(kinds[2].0, "a/b");
    assert_eq!(names[2].0.mode, 0o755, "setuid is gone");
    assert_eq!(*kinds[6].1, Kind::Symlink(b"/etc/passwd".to_vec()));
    assert_eq!(*kinds[7].1, Kind::HardLink(b"a/b".to_vec()));
    assert_eq!(names.len(), 9);
}

/// What GNU tar writes in each of its forms comes back as it was.
#[test]
fn what_tar_packs_is_unpacked_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    let sh = |script: &str| {
        let done = Command::new("sh")
            .args(["-euc", script])
            .current_dir(folder.path())
            .status();
        done.expect("sh starts").success()
    };
    let deep = format!("{}/{}", "d".repeat(120), "f".repeat(200));
    assert!(sh(&format!(
        "mkdir -p tree/sub tree/{}; cd tree; echo hi > a; chmod 751 a; ln a sub/twin; ln -s ../nowhere sub/link
         echo deep > {deep}; ln -s {deep} long-link; printf x > \"$(printf 'odd \\377\\n')\"
         truncate -s 300K sparse; printf middle | dd of=sparse bs=1 seek=150000 conv=notrunc 2>/dev/null
         mkdir empty; chmod 500 empty; touch -d '2001-02-03 04:05:06.123456789' a empty",
        "d".repeat(120)
    )));
    let mut tried = 0;
    for (form, pack) in [
        ("gnu", ""),
        ("posix", ""),
        ("gnu -S", ""),
        ("posix -S", ""),
        ("posix -S --sparse-version=0.1", ""),
        ("posix -S --sparse-version=0.0", ""),
        ("gnu", "gzip"),
        ("posix", "zstd -q"),
    ] {
        let through = if pack.is_empty() {
            String::new()
        } else {
            format!("| {pack}")
        };
        if !sh(&format!(
            "tar -C tree -c --format={form} . > t.tar; cat t.tar {through} > t 2>/dev/null"
        )) {
            // No zstd here.
            continue;
        }
        tried += 1;
        let into = folder.path().join("into");
        std::fs::create_dir(&into).expect("made");
        let packed = std::fs::File::open(folder.path().join("t")).expect("there");
        let unpacked =
            unpack(packed, LIMIT, &into).unwrap_or_else(|error| panic!("{form} {pack}: {error}"));
        assert!(sh("diff -r --no-dereference tree into"), "{form}");
        let at = |name: &str| std::fs::symlink_metadata(into.join(name)).expect("there");
        assert_eq!(at("a").permissions().mode() & 0o7777, 0o751);
        assert_eq!(at("a").ino(), at("sub/twin").ino());
        // Opened for its owner, and told.
        assert_eq!(at("empty").permissions().mode() & 0o7777, 0o700);
        assert_eq!(
            unpacked.closed,
            BTreeMap::from([(b"empty".to_vec(), 0o500)])
        );
        assert_eq!(at("a").mtime(), 981_173_106);
        if form.starts_with("posix") {
            assert_eq!(at("a").mtime_nsec(), 123_456_789);
        }
        assert!(Path::new(&into).join("long-link").is_file(), "{form}");
        assert!(sh("chmod 700 into/empty; rm -r into"));
    }
    assert!(tried >= 7, "only zstd may be missing");
}

#[test]
fn what_nobody_may_read_is_opened_for_its_owner_and_told() {
    let mut closed = entry("a/secret", b'0', "", 1, b"x");
    closed[100..107].copy_from_slice(b"0000000");
    let sum: u32 = closed[..148]
        .iter()
        .chain(&closed[156..512])
        .map(|byte| u32::from(*byte))
        .sum();
    let sum = format!("{:06o}\0", sum + 8 * u32::from(b' '));
    closed[148..155].copy_from_slice(sum.as_bytes());
    let twin = entry("twin", b'1', "a/secret", 0, b"");
    let bytes = archive(&[closed, twin, file("open", b"y")]);
    let folder = tempfile::tempdir().expect("a folder");
    let digest: [u8; 32] = sha2::Sha256::digest(&bytes).into();
    let unpacked = unpack(Cursor::new(bytes), LIMIT, folder.path()).expect("taken");
    assert_eq!((unpacked.whole.sha256, unpacked.whole.bytes), (digest, 2));
    let closed = BTreeMap::from([(b"a/secret".to_vec(), 0), (b"twin".to_vec(), 0)]);
    assert_eq!(unpacked.closed, closed);
    let metadata = std::fs::metadata(folder.path().join("twin")).expect("there");
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o600);
}
