//! `files.write` and `file.read`.

use crate::host::{Answer, Host};
use pyro_protocol::frame::Head;
use pyro_protocol::message::{
    Failure, FailureCode, FileDigest, FileRead, FilesWrite, Prior, WriteAction, WriteEntry, Written,
};
use pyro_protocol::{Bytes, HostMessage, Op, Reply};
use sha2::{Digest as _, Sha256};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn file(path: &str, contents: &[u8], expect: Prior) -> WriteEntry {
    let action = WriteAction::File {
        size: contents.len() as u64,
        mode: None,
    };
    WriteEntry {
        path: Bytes::from(path),
        expect,
        action,
    }
}

fn removal(path: &str) -> WriteEntry {
    WriteEntry {
        path: Bytes::from(path),
        expect: Prior::Any,
        action: WriteAction::Remove,
    }
}

fn written(answer: &Answer) -> &[Written] {
    match &answer.result {
        Ok(Reply::Written(written)) => written,
        other => panic!("not written: {other:?}"),
    }
}

fn read(host: &mut Host, path: &str) -> Result<Vec<u8>, Failure> {
    let op = Op::FileRead(FileRead {
        path: Bytes::from(path),
        offset: 0,
        length: None,
    });
    let answer = host.run(op);
    answer.result.map(|_| answer.output)
}

#[test]
fn a_removed_name_does_not_count_as_a_link_any_more() {
    let mut host = Host::new();
    host.put("dir/a", "same");
    std::fs::hard_link(host.tree().join("dir/a"), host.tree().join("b")).expect("a second name");
    host.put("c", "old");
    std::fs::hard_link(host.tree().join("c"), host.tree().join("d")).expect("a second name");
    let tree = host.tree();
    let links = |path| {
        let meta = tree.join(path).metadata().expect("there");
        std::os::unix::fs::MetadataExt::nlink(&meta)
    };
    assert_eq!((links("b"), links("d")), (2, 2));
    let entries = vec![removal("dir/a"), file("c", b"new", Prior::Any)];
    let answer = host.run_with(Op::FilesWrite(FilesWrite { entries }), b"new");
    assert_eq!(written(&answer).len(), 2);
    // At once: what is removed after the answer has no name that others share.
    assert_eq!((links("b"), links("c"), links("d")), (1, 1, 1));
    host.stage_is_empty();
}

/// Every path with all that a rollback must bring back.
fn picture(root: &Path) -> Vec<String> {
    fn look(path: &Path, root: &Path, into: &mut Vec<String>) {
        let meta = path.symlink_metadata().expect("it is there");
        let contents = if meta.is_file() {
            sha256(&std::fs::read(path).expect("readable"))
        } else {
            String::new()
        };
        let target = path.read_link().unwrap_or_default();
        into.push(format!(
            "{} {:o} {}.{} {contents} {}",
            path.strip_prefix(root).expect("below").display(),
            meta.mode(),
            meta.mtime(),
            meta.mtime_nsec(),
            target.display()
        ));
        if meta.is_dir() {
            let mut names: Vec<_> = std::fs::read_dir(path)
                .expect("readable")
                .flatten()
                .map(|e| e.path())
                .collect();
            names.sort();
            for name in names {
                look(&name, root, into);
            }
        }
    }
    let mut all = Vec::new();
    look(root, root, &mut all);
    all
}

#[test]
fn a_write_set_is_applied_and_read_back() {
    let mut host = Host::new();
    host.put("run.sh", "old");
    host.put("gone.txt", "away");
    host.put("dir/deep/x", "x");
    symlink("/etc/passwd", host.tree().join("link")).expect("a link");
    let script = host.tree().join("run.sh");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).expect("a mode");
    let big = vec![7; 1_000_000];
    let mut entries = vec![
        file("run.sh", b"new", Prior::Sha256(sha256(b"old"))),
        file("new/sub/empty", b"", Prior::Absent),
        file("new/big", &big, Prior::Any),
        removal("gone.txt"),
        removal("dir"),
        removal("link"),
    ];
    entries[2].action = WriteAction::File {
        size: big.len() as u64,
        mode: Some(0o600),
    };
    let input = [&b"new"[..], &big].concat();
    let answer = host.run_with(Op::FilesWrite(FilesWrite { entries }), &input);
    let written = written(&answer);
    let digest = |contents: &[u8], mode| {
        Some(FileDigest {
            size: contents.len() as u64,
            mode,
            sha256: sha256(contents),
        })
    };
    assert_eq!(written.len(), 6);
    assert_eq!(
        (&written[0].before, &written[0].after),
        (&digest(b"old", 0o755), &digest(b"new", 0o755))
    );
    assert_eq!(
        (&written[1].before, &written[1].after),
        (&None, &digest(b"", 0o644))
    );
    assert_eq!(
        (&written[2].before, &written[2].after),
        (&None, &digest(&big, 0o600))
    );
    assert_eq!(
        (&written[3].before, &written[3].after),
        (&digest(b"away", 0o644), &None)
    );
    assert_eq!(std::fs::read(&script).expect("there"), b"new");
    for gone in ["gone.txt", "dir", "link"] {
        assert!(host.tree().join(gone).symlink_metadata().is_err());
    }
    host.stage_is_empty();
}

#[test]
fn a_file_may_make_way_for_a_directory_in_one_set() {
    let mut host = Host::new();
    host.put("node", "a file");
    let entries = vec![file("node/child", b"c", Prior::Absent), removal("node")];
    let answer = host.run_with(Op::FilesWrite(FilesWrite { entries }), b"c");
    assert_eq!(written(&answer).len(), 2);
    assert_eq!(read(&mut host, "node/child").expect("there"), b"c");
}

/// One bad entry at every place of a set of good ones: the tree stays as it was, to the nanosecond.
#[test]
fn a_conflict_anywhere_leaves_the_old_tree() {
    let mut host = Host::new();
    host.put("a", "a");
    host.put("d/b", "b");
    host.put("d/e/f", "f");
    host.put("kept/g", "g");
    symlink("d", host.tree().join("door")).expect("a link");
    let before = picture(&host.tree());
    let good = || {
        vec![
            file("a", b"A", Prior::Sha256(sha256(b"a"))),
            file("d/b", b"B", Prior::Any),
            removal("d/e"),
            file("made/for/this", b"!", Prior::Absent),
        ]
    };
    let bad = [
        (
            file("kept/g", b"?", Prior::Sha256(sha256(b"other"))),
            FailureCode::Conflict,
        ),
        (file("kept/g", b"?", Prior::Absent), FailureCode::Exists),
        (
            file("nowhere", b"?", Prior::Sha256(sha256(b""))),
            FailureCode::Conflict,
        ),
        (file("kept", b"?", Prior::Any), FailureCode::WrongKind),
        (
            file("kept/g/under", b"?", Prior::Any),
            FailureCode::WrongKind,
        ),
        (file("door", b"?", Prior::Any), FailureCode::Symlink),
        (file("door/b", b"?", Prior::Any), FailureCode::Symlink),
        (file("../up", b"?", Prior::Any), FailureCode::Outside),
        (file("/etc/passwd", b"?", Prior::Any), FailureCode::Outside),
        (file("a/b", b"?", Prior::Any), FailureCode::BadRequest),
        (file("a", b"?", Prior::Any), FailureCode::BadRequest),
        (file("", b"?", Prior::Any), FailureCode::WrongKind),
        (removal("nothing"), FailureCode::NotFound),
        (removal("door/b"), FailureCode::Symlink),
    ];
    for (entry, code) in bad {
        for at in 0..=good().len() {
            let mut entries = good();
            entries.insert(at, entry.clone());
            let size: u64 = entries
                .iter()
                .map(|entry| match entry.action {
                    WriteAction::File { size, .. } => size,
                    WriteAction::Remove => 0,
                })
                .sum();
            let input = vec![b'x'; usize::try_from(size).expect("small")];
            let answer = host.run_with(Op::FilesWrite(FilesWrite { entries }), &input);
            assert_eq!(answer.failure().code, code, "{:?} at {at}", entry.path);
            assert!(answer.failure().path.is_some());
            assert_eq!(picture(&host.tree()), before, "{:?} at {at}", entry.path);
            host.stage_is_empty();
        }
    }
}

/// The tree changes between preflight and commit: the contents arrive only after it did.
#[test]
fn a_change_under_way_takes_everything_back() {
    for (target, change) in [
        (
            "z",
            (|path| std::fs::write(path, "changed!").expect("written")) as fn(&Path),
        ),
        ("z", |path| std::fs::remove_file(path).expect("removed")),
        ("z", |path| {
            std::fs::remove_file(path).expect("removed");
            std::fs::create_dir(path).expect("made");
        }),
        ("z", |path| {
            std::fs::remove_file(path).expect("removed");
            symlink("a", path).expect("linked");
        }),
        ("new", |path| {
            std::fs::write(path, "me first").expect("written")
        }),
        ("new", |path| std::fs::create_dir(path).expect("made")),
        ("a", |path| {
            std::fs::remove_file(path).expect("removed");
            std::fs::create_dir(path).expect("made");
        }),
        ("a", |path| std::fs::remove_file(path).expect("removed")),
        ("dir", |path| {
            std::fs::remove_dir_all(path).expect("removed");
            std::fs::write(path, "a file now").expect("written");
        }),
        ("dir", |path| {
            std::fs::remove_dir_all(path).expect("removed")
        }),
        ("made", |path| {
            std::fs::write(path, "a file now").expect("written")
        }),
        ("made", |path| symlink("dir", path).expect("linked")),
        ("made/this", |path| {
            std::fs::create_dir(path.parent().expect("a parent")).expect("made");
            std::fs::write(path, "me first").expect("written");
        }),
    ] {
        let mut host = Host::new();
        host.put("a", "a");
        host.put("dir/b", "b");
        host.put("z", "z");
        let entries = vec![
            file("a", b"A", Prior::Any),
            removal("dir"),
            file("made/this", b"m", Prior::Absent),
            file("new", b"n", Prior::Any),
            file("z", b"Z", Prior::Sha256(sha256(b"z"))),
        ];
        let call = host.open(Op::FilesWrite(FilesWrite { entries }));
        let data = Head {
            channel: 1,
            call,
            stream: 1,
            credit: 0,
        };
        host.send(data, &[], b"A");
        let stage = host.dir.path().join("stage");
        host.until("the first file on the stage", || {
            std::fs::read_dir(stage.join("w0")).is_ok_and(|names| names.count() > 0)
        });
        change(&host.tree().join(target));
        let before = picture(&host.tree());
        let answer = host.finish_call(call, Some(b"mnZ"));
        assert!(answer.result.is_err(), "{target}: {answer:?}");
        assert_eq!(picture(&host.tree()), before);
        host.stage_is_empty();
    }
}

#[test]
fn a_cancel_or_a_closed_channel_leaves_the_old_tree() {
    let mut host = Host::new();
    host.put("a", "a");
    let before = picture(&host.tree());
    for message in [HostMessage::Cancel, HostMessage::Close] {
        let entries = vec![
            file("a", b"AAAA", Prior::Any),
            file("b/c", b"c", Prior::Any),
        ];
        let call = host.open(Op::FilesWrite(FilesWrite { entries }));
        host.send(
            Head {
                channel: 1,
                call,
                stream: 1,
                credit: 0,
            },
            &[],
            b"AAA",
        );
        host.say(1, call, &message);
        if message == HostMessage::Cancel {
            assert_eq!(
                host.finish_call(call, None).failure().code,
                FailureCode::Cancelled
            );
        } else {
            let stage = host.dir.path().join("stage");
            // Whatever the thread had begun is gone after the next call on another channel and the link's end.
            host.close().expect("a clean end");
            assert_eq!(std::fs::read_dir(stage).expect("the stage").count(), 0);
        }
        assert_eq!(picture(&host.tree()), before);
    }
}

#[test]
fn contents_must_be_as_long_as_they_say() {
    let mut host = Host::new();
    for contents in [&b"12"[..], b"1234"] {
        let entries = vec![file("x", b"123", Prior::Any)];
        let answer = host.run_with(Op::FilesWrite(FilesWrite { entries }), contents);
        assert_eq!(answer.failure().code, FailureCode::BadRequest);
        assert!(!host.tree().join("x").exists());
    }
}

#[test]
fn reads_stay_inside() {
    let mut host = Host::new();
    host.put("dir/file", "0123456789");
    for (name, target) in [
        ("good", "dir/file"),
        ("dir/up", "../dir/file"),
        ("out", "/etc/passwd"),
        ("up", "../../etc/passwd"),
        ("door", "/etc"),
        ("round", "round"),
    ] {
        symlink(target, host.tree().join(name)).expect("a link");
    }
    let fifo = host.tree().join("fifo");
    let mode = rustix::fs::Mode::from_raw_mode(0o644);
    rustix::fs::mkfifoat(rustix::fs::CWD, &fifo, mode).expect("a FIFO");
    for (path, result) in [
        ("dir/file", Ok(())),
        ("./dir//file", Ok(())),
        ("good", Ok(())),
        ("dir/up", Ok(())),
        ("nothing", Err(FailureCode::NotFound)),
        ("dir", Err(FailureCode::WrongKind)),
        ("", Err(FailureCode::WrongKind)),
        ("dir/file/x", Err(FailureCode::WrongKind)),
        ("fifo", Err(FailureCode::WrongKind)),
        ("out", Err(FailureCode::Outside)),
        ("up", Err(FailureCode::Outside)),
        ("door/passwd", Err(FailureCode::Outside)),
        ("../tree/dir/file", Err(FailureCode::Outside)),
        ("/etc/passwd", Err(FailureCode::Outside)),
        ("round", Err(FailureCode::Symlink)),
    ] {
        let found = read(&mut host, path);
        match result {
            Ok(()) => assert_eq!(found.expect(path), b"0123456789"),
            Err(code) => assert_eq!(found.expect_err(path).code, code, "{path}"),
        }
    }
    for (offset, length, text) in [
        (3, Some(4), "3456"),
        (8, None, "89"),
        (10, None, ""),
        (0, Some(0), ""),
    ] {
        let op = Op::FileRead(FileRead {
            path: Bytes::from("good"),
            offset,
            length,
        });
        assert_eq!(host.run(op).output, text.as_bytes());
    }
}

/// A program swaps a directory and a link to the outside as fast as it can, while we read, write and pack.
#[test]
fn a_race_leads_nobody_outside() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicBool, Ordering};
    let outside = tempfile::tempdir().expect("a directory");
    std::fs::write(outside.path().join("file"), "outside").expect("written");
    let mut host = Host::new();
    host.put("door/file", "inside");
    symlink(outside.path(), host.tree().join("other")).expect("a link");
    let over = AtomicBool::new(false);
    let (door, other) = (host.tree().join("door"), host.tree().join("other"));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, &door, CWD, &other, RenameFlags::EXCHANGE).expect("swapped");
            }
        });
        let mut done = [0, 0];
        for round in 0..600u32 {
            if let Ok(contents) = read(&mut host, "door/file") {
                assert_ne!(contents, b"outside");
                done[0] += 1;
            }
            let entries = vec![
                file("door/file", b"inside", Prior::Any),
                file(&format!("door/new{}", round % 4), b"inside", Prior::Any),
            ];
            let answer = host.run_with(Op::FilesWrite(FilesWrite { entries }), b"insideinside");
            done[1] += u32::from(answer.result.is_ok());
            let pack = pyro_protocol::message::TarOut {
                path: Bytes::from("door"),
                kind: None,
            };
            let packed = host.run(Op::TarOut(pack)).output;
            assert!(!packed.windows(7).any(|window| window == b"outside"));
        }
        over.store(true, Ordering::Relaxed);
        assert!(
            done[0] > 0 && done[1] > 0,
            "the race must be won at times: {done:?}"
        );
    });
    assert_eq!(
        std::fs::read_dir(outside.path()).expect("readable").count(),
        1
    );
    assert_eq!(
        std::fs::read(outside.path().join("file")).expect("there"),
        b"outside"
    );
    host.stage_is_empty();
}

#[test]
fn a_set_whose_reply_would_not_fit_is_refused_before_anything_is_touched() {
    let mut host = Host::new();
    let entries = (0..15_000)
        .map(|at| file(&format!("f{at}"), b"", Prior::Absent))
        .collect();
    let answer = host.run_with(Op::FilesWrite(FilesWrite { entries }), &[]);
    assert_eq!(answer.failure().code, FailureCode::TooLarge);
    assert_eq!(std::fs::read_dir(host.tree()).expect("readable").count(), 0);
    let entries = (0..2_000)
        .map(|at| file(&format!("f{at}"), b"", Prior::Absent))
        .collect();
    let answer = host.run_with(Op::FilesWrite(FilesWrite { entries }), &[]);
    assert_eq!(written(&answer).len(), 2_000);
}
