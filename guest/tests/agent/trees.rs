//! The ops on trees: stat, list, scan and diff.

use crate::host::{Answer, Host};
use pyro_protocol::manifest::Manifest;
use pyro_protocol::message::{
    Change, FailureCode, FileStat, Kind, Records, Stat, TarOut, TreeList,
};
use pyro_protocol::{Bytes, Op, Reply};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

pub(crate) fn records(answer: &Answer) -> &Records {
    match &answer.result {
        Ok(Reply::Records(records)) => records,
        other => panic!("no records: {other:?}"),
    }
}

pub(crate) fn list(host: &mut Host, path: &str, recursive: bool) -> Result<Vec<Stat>, FailureCode> {
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

pub(crate) fn paths(stats: &[Stat]) -> Vec<String> {
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

pub(crate) fn fifo(path: &Path) {
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
    host.stage_is_empty();
}

#[test]
fn a_scan_of_an_endless_file_can_be_cancelled() {
    let mut host = Host::new();
    let file = std::fs::File::create(host.tree().join("sparse")).expect("a file");
    file.set_len(1 << 40).expect("a terabyte of nothing");
    for op in [
        Op::TreeScan,
        Op::TreeDiff,
        Op::TarOut(TarOut {
            path: Bytes::default(),
            kind: None,
        }),
    ] {
        let call = host.open(op);
        host.say(1, call, &pyro_protocol::HostMessage::Cancel);
        assert_eq!(
            host.finish_call(call, None).failure().code,
            FailureCode::Cancelled
        );
    }
}
