//! `tar.in` and `tar.out`.

use crate::host::Host;
use crate::trees::{fifo, list, paths, records};
use pyro_protocol::message::{FailureCode, Kind, Stat, TarIn, TarOut};
use pyro_protocol::{Bytes, Op};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use tar::{Builder, EntryType, Header};

#[test]
fn a_tree_survives_an_archive_both_ways() {
    let mut host = Host::new();
    host.put("from/run.sh", "#!/bin/sh\n");
    host.put("from/empty", "");
    let long = format!("from/{}/{}", "l".repeat(120), "m".repeat(200));
    host.put(&long, vec![9; 100_000]);
    let tree = host.tree();
    std::fs::set_permissions(
        tree.join("from/run.sh"),
        std::fs::Permissions::from_mode(0o4755),
    )
    .expect("set");
    std::fs::set_permissions(
        tree.join("from/empty"),
        std::fs::Permissions::from_mode(0o400),
    )
    .expect("set");
    std::fs::write(
        tree.join("from").join(OsStr::from_bytes(b"odd\xff name")),
        "odd",
    )
    .expect("written");
    std::fs::hard_link(tree.join("from/run.sh"), tree.join("from/twin")).expect("linked");
    symlink("/etc/passwd", tree.join("from/out")).expect("a link");
    symlink("./../x//y/", tree.join("from/odd-link")).expect("a link");
    symlink("t".repeat(300), tree.join("from/long-link")).expect("a link");
    fifo(&tree.join("from/pipe"));
    std::fs::create_dir(tree.join("from/shut")).expect("made");
    std::fs::set_permissions(
        tree.join("from/shut"),
        std::fs::Permissions::from_mode(0o555),
    )
    .expect("set");
    let packed = host.run(Op::TarOut(TarOut {
        path: Bytes::from("from"),
        kind: None,
    }));
    assert_eq!(records(&packed).left_out, [Bytes::from("pipe")]);
    let unpacked = host.run_with(
        Op::TarIn(TarIn {
            to: Bytes::from("to/here"),
        }),
        &packed.output,
    );
    assert_eq!(records(&unpacked).entries, records(&packed).entries);
    std::fs::remove_file(tree.join("from/pipe")).expect("removed");
    let all = |host: &mut Host, top: &str| -> Vec<Stat> {
        let mut stats = list(host, top, true).expect("listed");
        for stat in &mut stats {
            stat.path = Bytes::from(&stat.path.0[top.len()..]);
            stat.mtime_ns /= 1_000_000_000;
        }
        stats
    };
    assert_eq!(all(&mut host, "from"), all(&mut host, "to/here"));
    let inode = |path: &str| {
        tree.join("to/here")
            .join(path)
            .metadata()
            .expect("there")
            .ino()
    };
    assert_eq!(inode("run.sh"), inode("twin"));
    assert_eq!(
        std::fs::read(tree.join(long.replacen("from", "to/here", 1))).expect("there"),
        vec![9; 100_000]
    );
    // A single file, by its last name.
    let packed = host.run(Op::TarOut(TarOut {
        path: Bytes::from("from/run.sh"),
        kind: None,
    }));
    let mut archive = tar::Archive::new(packed.output.as_slice());
    let names: Vec<_> = archive
        .entries()
        .expect("entries")
        .map(|e| e.expect("one").path().expect("a name").into_owned())
        .collect();
    assert_eq!(names, [Path::new("run.sh")]);
}

/// An entry: type, name, link target, contents.
type Packed<'a> = (EntryType, &'a [u8], &'a [u8], &'a [u8]);

/// An archive, hostile or not.
fn archive(entries: &[Packed<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for &(kind, name, target, contents) in entries {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(1_600_000_000);
        // Not through the crate's own checks.
        header.as_gnu_mut().expect("a GNU header").name[..name.len()].copy_from_slice(name);
        if !target.is_empty() {
            header
                .set_link_name_literal(target)
                .expect("a short target");
        }
        header.set_cksum();
        builder.append(&header, contents).expect("appended");
    }
    builder.into_inner().expect("an archive")
}

#[test]
fn hostile_archives_are_refused_whole() {
    use EntryType as E;
    let outside = tempfile::tempdir().expect("a directory");
    let door = outside.path().as_os_str().as_bytes().to_owned();
    let good = (E::Regular, &b"first"[..], &b""[..], &b"1"[..]);
    let cases: Vec<Vec<Packed<'_>>> = vec![
        vec![(E::Regular, b"../up", b"", b"x")],
        vec![(E::Regular, b"a/../../up", b"", b"x")],
        vec![(E::Regular, b"/etc/x", b"", b"x")],
        vec![
            (E::Symlink, b"door", &door, b""),
            (E::Regular, b"door/file", b"", b"x"),
        ],
        vec![
            (E::Symlink, b"door", &door, b""),
            (E::Directory, b"door/sub", b"", b""),
        ],
        vec![
            (E::Symlink, b"door", &door, b""),
            (E::Link, b"twin", b"door/file", b""),
        ],
        vec![(E::Link, b"twin", b"../../run", b"")],
        vec![(E::Link, b"twin", b"/etc/passwd", b"")],
        vec![(E::Link, b"twin", b"not-here", b"")],
        vec![
            (E::Regular, b"file", b"", b"x"),
            (E::Regular, b"file/under", b"", b"x"),
        ],
        vec![
            (E::Directory, b"dir", b"", b""),
            (E::Regular, b"dir", b"", b"x"),
        ],
        vec![(E::GNUSparse, b"sparse", b"", b"")],
        vec![(E::Regular, b"", b"", b"x")],
    ];
    let mut host = Host::new();
    host.put("old", "old");
    for case in cases {
        let mut entries = vec![good];
        entries.extend(case);
        let answer = host.run_with(
            Op::TarIn(TarIn {
                to: Bytes::default(),
            }),
            &archive(&entries),
        );
        assert_eq!(
            answer.failure().code,
            FailureCode::BadArchive,
            "{entries:?}"
        );
        assert_eq!(paths(&list(&mut host, "", true).expect("listed")), ["old"]);
        assert_eq!(
            std::fs::read_dir(outside.path()).expect("readable").count(),
            0
        );
        host.stage_is_empty();
    }
    let whole = archive(&[(E::Regular, b"big", b"", &[1; 5000])]);
    for cut in [1, 511, 600, 2000] {
        let answer = host.run_with(
            Op::TarIn(TarIn {
                to: Bytes::default(),
            }),
            &whole[..cut],
        );
        assert_eq!(
            answer.failure().code,
            FailureCode::BadArchive,
            "cut at {cut}"
        );
    }
    // A long name of a terabyte, said to be.
    let mut header = Header::new_gnu();
    header.set_entry_type(E::GNULongName);
    header.set_size(1 << 40);
    header.set_cksum();
    let mut bomb = header.as_bytes().to_vec();
    bomb.resize(1 << 20, b'a');
    let answer = host.run_with(
        Op::TarIn(TarIn {
            to: Bytes::default(),
        }),
        &bomb,
    );
    assert_eq!(answer.failure().code, FailureCode::BadArchive);
}

#[test]
fn an_archive_merges_with_what_is_there() {
    use EntryType as E;
    let mut host = Host::new();
    host.put("top/dir/old", "old");
    host.put("top/dir/both", "old");
    symlink("old", host.tree().join("top/dir/link")).expect("a link");
    let bytes = archive(&[
        (E::Directory, b"./", b"", b""),
        (E::Regular, b"./dir/both", b"", b"new"),
        (E::Regular, b"./dir/link", b"", b"a file now"),
        (E::Regular, b"./dir/sub/new", b"", b"new"),
        (E::Fifo, b"./dir/pipe", b"", b""),
        (E::Char, b"./dir/null", b"", b""),
    ]);
    let answer = host.run_with(
        Op::TarIn(TarIn {
            to: Bytes::from("top"),
        }),
        &bytes,
    );
    assert_eq!(
        records(&answer).left_out,
        [Bytes::from("dir/pipe"), Bytes::from("dir/null")]
    );
    let all = list(&mut host, "top", true).expect("listed");
    assert_eq!(
        paths(&all),
        [
            "top/dir",
            "top/dir/both",
            "top/dir/link",
            "top/dir/old",
            "top/dir/sub",
            "top/dir/sub/new"
        ]
    );
    assert_eq!(
        std::fs::read(host.tree().join("top/dir/both")).expect("there"),
        b"new"
    );
    // The last entry does not fit: the first ones are taken back.
    host.put("other/z/inner", "old");
    let before = list(&mut host, "", true).expect("listed");
    let bytes = archive(&[
        (E::Regular, b"a", b"", b"1"),
        (E::Regular, b"top/dir/both", b"", b"2"),
        (E::Regular, b"other/z", b"", b"3"),
    ]);
    let answer = host.run_with(
        Op::TarIn(TarIn {
            to: Bytes::default(),
        }),
        &bytes,
    );
    assert_eq!(answer.failure().code, FailureCode::WrongKind);
    assert_eq!(list(&mut host, "", true).expect("listed"), before);
    // Through a link in the tree: no.
    symlink("/tmp", host.tree().join("door")).expect("a link");
    let answer = host.run_with(
        Op::TarIn(TarIn {
            to: Bytes::from("door/in"),
        }),
        &archive(&[]),
    );
    assert_eq!(answer.failure().code, FailureCode::Symlink);
}

#[test]
fn sizes_that_overflow_are_a_bad_archive() {
    let mut host = Host::new();
    for size in [u64::MAX, u64::MAX - 511, 1 << 62] {
        let mut header = Header::new_gnu();
        header.set_path("file").expect("a name");
        header.set_size(size);
        header.set_mode(0o644);
        header.set_cksum();
        let mut bytes = header.as_bytes().to_vec();
        bytes.resize(4096, 0);
        let answer = host.run_with(
            Op::TarIn(TarIn {
                to: Bytes::default(),
            }),
            &bytes,
        );
        assert_eq!(answer.failure().code, FailureCode::BadArchive, "{size}");
    }
}

#[test]
fn what_became_something_else_is_not_packed_as_that() {
    let mut host = Host::new();
    std::fs::create_dir(host.tree().join("dir")).expect("makes");
    std::os::unix::fs::symlink("/etc", host.tree().join("link")).expect("links");
    let mut pack = |path: &str, kind| {
        host.run(Op::TarOut(TarOut {
            path: Bytes::from(path),
            kind: Some(kind),
        }))
    };
    let refused = pack("link", Kind::Directory).failure().clone();
    assert_eq!(refused.code, FailureCode::Symlink);
    assert_eq!(refused.path, Some(Bytes::from("link")));
    let refused = pack("dir", Kind::File).failure().clone();
    assert_eq!(refused.code, FailureCode::WrongKind);
    let packed = pack("dir", Kind::Directory);
    assert_eq!(records(&packed).entries, 0);
}

#[test]
fn times_before_1970_and_holes_are_kept() {
    let mut builder = Builder::new(Vec::new());
    let mut put = |name: &str, mtime: &str, data: &[u8]| {
        builder
            .append_pax_extensions([("mtime", mtime.as_bytes())])
            .expect("an extended header");
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(data.len() as u64);
        builder
            .append_data(&mut header, name, data)
            .expect("an entry");
    };
    put("old", "-1.25", b"x");
    put("moon", "-14182940", b"x");
    put("now", "1700000000.123456789", b"x");
    let mut holes = vec![0; 4 << 20];
    holes[1 << 20] = b'x';
    put("holes", "1", &holes);
    put("zeros", "1", &vec![0; 1 << 20]);
    let bytes = builder.into_inner().expect("an archive");
    let mut host = Host::new();
    let to = Bytes::default();
    let answer = host.run_with(Op::TarIn(TarIn { to }), &bytes);
    assert_eq!(records(&answer).entries, 5);
    let meta = |name: &str| host.tree().join(name).metadata().expect("there");
    let time = |name| (meta(name).mtime(), meta(name).mtime_nsec());
    assert_eq!(time("old"), (-2, 750_000_000));
    assert_eq!(time("moon"), (-14_182_940, 0));
    assert_eq!(time("now"), (1_700_000_000, 123_456_789));
    let read = |name: &str| std::fs::read(host.tree().join(name)).expect("there");
    assert!(read("holes") == holes, "the contents are the same");
    assert!(read("zeros") == vec![0; 1 << 20], "to the end");
    assert!(
        meta("holes").blocks() * 512 < 1 << 20,
        "the holes are holes"
    );
}
