//! The ops on trees: stat, list, scan, diff and archives.

use crate::host::{Answer, Host};
use pyro_protocol::manifest::Manifest;
use pyro_protocol::message::{
    Change, FailureCode, FileStat, Kind, Records, Stat, TarIn, TarOut, TreeList,
};
use pyro_protocol::{Bytes, Op, Reply};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;
use tar::{Builder, EntryType, Header};

fn records(answer: &Answer) -> &Records {
    match &answer.result {
        Ok(Reply::Records(records)) => records,
        other => panic!("no records: {other:?}"),
    }
}

fn list(host: &mut Host, path: &str, recursive: bool) -> Result<Vec<Stat>, FailureCode> {
    let answer = host.run(Op::TreeList(TreeList {
        path: Bytes::from(path),
        recursive,
    }));
    if let Err(failure) = &answer.result {
        return Err(failure.code);
    }
    let lines = answer.output.split_inclusive(|&b| b == b'\n');
    let stats: Vec<Stat> = lines
        .map(|line| serde_json::from_slice(line).expect("a record"))
        .collect();
    assert_eq!(records(&answer).entries, stats.len() as u64);
    Ok(stats)
}

fn paths(stats: &[Stat]) -> Vec<String> {
    stats
        .iter()
        .map(|stat| stat.path.lossy().into_owned())
        .collect()
}

fn diff(host: &mut Host) -> Vec<Change> {
    let answer = host.run(Op::TreeDiff);
    records(&answer);
    answer
        .output
        .split_inclusive(|&b| b == b'\n')
        .map(|line| serde_json::from_slice(line).expect("a change"))
        .collect()
}

/// `+path`, `-path`, `~path`.
fn marks(changes: &[Change]) -> Vec<String> {
    let mark = |change: &Change| match (&change.before, &change.after) {
        (None, _) => '+',
        (_, None) => '-',
        _ => '~',
    };
    changes
        .iter()
        .map(|change| format!("{}{}", mark(change), change.path.lossy()))
        .collect()
}

/// Scans the tree and makes the result its baseline, `age_ns` older than it is.
fn baseline(host: &mut Host, age_ns: i64) -> Manifest {
    let answer = host.run(Op::TreeScan);
    let mut manifest = Manifest::decode(&answer.output).expect("a manifest");
    assert_eq!(records(&answer).entries, manifest.entries.len() as u64);
    manifest.complete_ns += age_ns;
    std::fs::write(host.dir.path().join("baseline"), manifest.encode()).expect("written");
    manifest
}

fn fifo(path: &Path) {
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mkfifoat(rustix::fs::CWD, path, mode).expect("a FIFO");
}

#[test]
fn one_path_is_looked_at_without_following_it() {
    let mut host = Host::new();
    host.put("dir/file", "12345");
    symlink("dir/file", host.tree().join("link")).expect("a link");
    symlink("dir", host.tree().join("door")).expect("a link");
    symlink("/etc", host.tree().join("out")).expect("a link");
    let mut look = |path: &str| match host
        .run(Op::FileStat(FileStat {
            path: Bytes::from(path),
        }))
        .result
    {
        Ok(Reply::Stat(stat)) => Ok((stat.kind, stat.size, stat.target)),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Err(failure.code),
    };
    assert_eq!(look("dir/file"), Ok((Kind::File, 5, None)));
    assert_eq!(look("door/file"), Ok((Kind::File, 5, None)));
    assert_eq!(look(""), Ok((Kind::Directory, 0, None)));
    assert_eq!(
        look("link"),
        Ok((Kind::Symlink, 8, Some(Bytes::from("dir/file"))))
    );
    assert_eq!(
        look("out"),
        Ok((Kind::Symlink, 4, Some(Bytes::from("/etc"))))
    );
    assert_eq!(look("out/passwd"), Err(FailureCode::Outside));
    assert_eq!(look("nothing"), Err(FailureCode::NotFound));
    assert_eq!(look("dir/file/x"), Err(FailureCode::WrongKind));
}

#[test]
fn lists_are_in_the_order_of_whole_paths() {
    let mut host = Host::new();
    for path in ["a/z", "a/b/c", "a-b", "a.txt", "b"] {
        host.put(path, "x");
    }
    symlink("/etc/passwd", host.tree().join("link")).expect("a link");
    symlink("a", host.tree().join("door")).expect("a link");
    std::fs::write(host.tree().join(OsStr::from_bytes(b"\xff")), "odd").expect("a file");
    let all = list(&mut host, "", true).expect("listed");
    let mut sorted: Vec<_> = all.iter().map(|stat| stat.path.0.clone()).collect();
    sorted.sort();
    assert_eq!(
        sorted,
        all.iter()
            .map(|stat| stat.path.0.clone())
            .collect::<Vec<_>>()
    );
    assert_eq!(all.last().expect("entries").path.0, b"\xff");
    assert_eq!(
        paths(&all[..all.len() - 1]),
        [
            "a", "a-b", "a.txt", "a/b", "a/b/c", "a/z", "b", "door", "link"
        ]
    );
    assert_eq!(
        paths(&list(&mut host, "a", false).expect("listed")),
        ["a/b", "a/z"]
    );
    assert_eq!(
        paths(&list(&mut host, "door", false).expect("listed")),
        ["door/b", "door/z"]
    );
    assert_eq!(paths(&list(&mut host, "b", true).expect("listed")), ["b"]);
    let link = list(&mut host, "link", true);
    assert_eq!(link, Err(FailureCode::Outside));
    assert_eq!(list(&mut host, "nothing", true), Err(FailureCode::NotFound));
}

#[test]
fn an_unchanged_tree_has_no_diff() {
    let mut host = Host::new();
    host.put("dir/file", "12345");
    symlink("dir", host.tree().join("link")).expect("a link");
    // Trusted by time, and compared by contents.
    for age in [10_000_000_000, 0] {
        let manifest = baseline(&mut host, age);
        assert_eq!(manifest.entries.len(), 3);
        assert_eq!(diff(&mut host), []);
    }
}

#[test]
fn every_change_is_seen() {
    let mut host = Host::new();
    for path in [
        "same", "contents", "length", "mode", "gone", "kind", "away/x", "touched", "replaced",
    ] {
        host.put(path, "before");
    }
    symlink("same", host.tree().join("link")).expect("a link");
    baseline(&mut host, 10_000_000_000);
    let tree = host.tree();
    let keep_time = |path: &str, contents: &str| {
        let path = tree.join(path);
        let time = path.metadata().expect("there").modified().expect("a time");
        std::fs::write(&path, contents).expect("written");
        std::fs::File::options()
            .write(true)
            .open(&path)
            .expect("opened")
            .set_modified(time)
            .expect("set");
    };
    // Same length, same mtime: only the change time tells.
    keep_time("contents", "BEFORE");
    keep_time("length", "much longer than before");
    std::fs::set_permissions(tree.join("mode"), std::fs::Permissions::from_mode(0o755))
        .expect("set");
    std::fs::remove_file(tree.join("gone")).expect("removed");
    std::fs::remove_file(tree.join("kind")).expect("removed");
    std::fs::create_dir(tree.join("kind")).expect("made");
    std::fs::write(tree.join("kind/inner"), "new").expect("written");
    std::fs::remove_dir_all(tree.join("away")).expect("removed");
    std::fs::write(tree.join("touched"), "before").expect("written");
    std::fs::remove_file(tree.join("replaced")).expect("removed");
    std::fs::write(tree.join("replaced"), "before").expect("written");
    std::fs::remove_file(tree.join("link")).expect("removed");
    symlink("mode", tree.join("link")).expect("a link");
    fifo(&tree.join("pipe"));
    let changes = diff(&mut host);
    assert_eq!(
        marks(&changes),
        [
            "-away",
            "-away/x",
            "~contents",
            "-gone",
            "~kind",
            "+kind/inner",
            "~length",
            "~link",
            "~mode",
            "+pipe"
        ]
    );
    let link = changes
        .iter()
        .find(|change| change.path.0 == b"link")
        .expect("the link");
    assert_eq!(
        link.after.as_ref().expect("there").target,
        Some(Bytes::from("mode"))
    );
    let mode = changes
        .iter()
        .find(|change| change.path.0 == b"mode")
        .expect("the mode");
    assert_eq!(
        (
            mode.before.as_ref().map(|v| v.mode),
            mode.after.as_ref().map(|v| v.mode)
        ),
        (Some(0o644), Some(0o755))
    );
}

#[test]
fn without_a_baseline_everything_is_new() {
    let mut host = Host::new();
    host.put("dir/file", "x");
    assert_eq!(marks(&diff(&mut host)), ["+dir", "+dir/file"]);
}

#[test]
fn what_cannot_be_read_does_not_end_a_diff() {
    let mut host = Host::new();
    host.put("closed/file", "x");
    host.put("secret", "x");
    baseline(&mut host, 0);
    for (path, mode) in [("closed", 0), ("secret", 0)] {
        std::fs::set_permissions(
            host.tree().join(path),
            std::fs::Permissions::from_mode(mode),
        )
        .expect("set");
    }
    let marks = marks(&diff(&mut host));
    assert!(
        marks.contains(&"~secret".to_owned()) && marks.contains(&"~closed".to_owned()),
        "{marks:?}"
    );
    std::fs::set_permissions(
        host.tree().join("closed"),
        std::fs::Permissions::from_mode(0o755),
    )
    .expect("set");
}

#[test]
fn a_very_deep_tree_is_walked_in_bounds() {
    let mut host = Host::new();
    // Deeper than any path is long; made the way a program would.
    let script = "i=0; while [ $i -lt 60 ]; do d=$(printf 'd%.0s' $(seq 100)); mkdir $d && cd -P $d || exit 1; i=$((i+1)); done";
    let answer = host.run(Op::ExecRun(crate::host::shell(script)));
    assert_eq!(
        answer.exec().end,
        crate::host::exited(0),
        "{}",
        String::from_utf8_lossy(&answer.errors)
    );
    let all = list(&mut host, "", true).expect("listed");
    assert_eq!(all.len(), 40, "as many as have a path");
    // And it can be removed as a whole.
    let entries = vec![pyro_protocol::message::WriteEntry {
        path: Bytes::from("d".repeat(100)),
        expect: pyro_protocol::message::Prior::Any,
        action: pyro_protocol::message::WriteAction::Remove,
    }];
    let answer = host.run_with(
        Op::FilesWrite(pyro_protocol::message::FilesWrite { entries }),
        &[],
    );
    assert!(answer.result.is_ok(), "{answer:?}");
    assert_eq!(
        std::fs::read_dir(host.dir.path().join("stage"))
            .expect("the stage")
            .count(),
        0
    );
}

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
        assert_eq!(
            std::fs::read_dir(host.dir.path().join("stage"))
                .expect("the stage")
                .count(),
            0
        );
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
