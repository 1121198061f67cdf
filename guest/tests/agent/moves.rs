//! `path.move`: another name, never over anything, all or nothing.

use crate::host::Host;
use crate::trees::fifo;
use pyro_protocol::message::{Failure, FailureCode, Kind, PathMove, Stat};
use pyro_protocol::{Bytes, Op, Reply};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

fn go(host: &mut Host, from: &[u8], to: &[u8]) -> Result<Stat, Failure> {
    let op = Op::PathMove(PathMove {
        from: Bytes::from(from),
        to: Bytes::from(to),
    });
    match host.run(op).result {
        Ok(Reply::Stat(stat)) => Ok(stat),
        Ok(reply) => panic!("{reply:?}"),
        Err(failure) => Err(failure),
    }
}

#[test]
fn a_path_moves_with_all_that_it_is() {
    let mut host = Host::new();
    let tree = host.tree();
    host.put("file", "contents");
    host.put("dir/deep/x", "x");
    symlink("file", tree.join("link")).expect("a link");
    fs::write(tree.join(OsStr::from_bytes(b"odd \xff")), "odd").expect("a file");
    fs::set_permissions(tree.join("file"), fs::Permissions::from_mode(0o4751)).expect("a mode");
    fs::set_permissions(tree.join("dir/deep"), fs::Permissions::from_mode(0o555)).expect("a mode");
    fifo(&tree.join("pipe"));
    let before = fs::metadata(tree.join("file")).expect("there");
    let moved = go(&mut host, b"file", b"made/for/it").expect("moves");
    assert_eq!(
        (moved.kind, moved.size, moved.mode),
        (Kind::File, 8, 0o4751)
    );
    assert_eq!(moved.path, Bytes::from("made/for/it"));
    let after = fs::metadata(tree.join("made/for/it")).expect("there");
    assert_eq!(
        (after.ino(), after.mtime_nsec()),
        (before.ino(), before.mtime_nsec())
    );
    let made = fs::metadata(tree.join("made/for")).expect("there");
    assert_eq!(made.mode() & 0o7777, 0o755);
    assert!(!tree.join("file").exists());
    // A link itself, a directory that nobody may write to, odd names, and what is no file.
    let link = go(&mut host, b"link", b"made/link").expect("moves");
    assert_eq!(link.target, Some(Bytes::from("file")));
    assert_eq!(
        go(&mut host, b"dir/deep", b"deep").expect("moves").kind,
        Kind::Directory
    );
    assert_eq!(
        fs::metadata(tree.join("deep")).expect("there").mode() & 0o7777,
        0o555
    );
    assert_eq!(fs::read(tree.join("deep/x")).expect("there"), b"x");
    go(&mut host, b"odd \xff", b"\xfe").expect("moves");
    assert_eq!(
        go(&mut host, b"pipe", b"dir/pipe").expect("moves").kind,
        Kind::Other
    );
    host.stage_is_empty();
}

#[test]
fn what_cannot_move_stays_and_nothing_is_made() {
    let mut host = Host::new();
    let tree = host.tree();
    host.put("file", "f");
    host.put("dir/inner/x", "x");
    host.put("other", "o");
    symlink("dir", tree.join("link")).expect("a link");
    symlink("/nowhere", tree.join("dangling")).expect("a link");
    symlink("../tree", tree.join("dir/up")).expect("a link");
    let count = || walk(&tree);
    let before = count();
    let long = vec![b'n'; 256];
    let longer = vec![b'a'; 5000];
    for (from, to, code) in [
        (&b"nothing"[..], &b"x/y"[..], FailureCode::NotFound),
        (b"dir/nothing", b"x/y", FailureCode::NotFound),
        (b"nothing/at/all", b"x/y", FailureCode::NotFound),
        (b"file", b"other", FailureCode::Exists),
        (b"file", b"dir", FailureCode::Exists),
        (b"dir", b"file", FailureCode::Exists),
        (b"file", b"file", FailureCode::Exists),
        (b"dir/inner", b"dir", FailureCode::Exists),
        // A link is something, wherever it points.
        (b"file", b"dangling", FailureCode::Exists),
        (b"file", b"", FailureCode::Exists),
        (b"file", b"link/new", FailureCode::Symlink),
        (b"link/inner", b"new", FailureCode::Symlink),
        (b"file", b"dir/up/new", FailureCode::Symlink),
        (b"file", b"dangling/new", FailureCode::Symlink),
        (b"link", b"link/new", FailureCode::Symlink),
        (b"../tree/file", b"new", FailureCode::Outside),
        (b"file", b"../new", FailureCode::Outside),
        (b"file", b"a/../../new", FailureCode::Outside),
        (b"/etc/passwd", b"new", FailureCode::Outside),
        (b"file", b"/tmp/new", FailureCode::Outside),
        (b"dir", b"dir/inner/new/dir", FailureCode::WrongKind),
        (b"dir", b"dir/new", FailureCode::WrongKind),
        (b"", b"new", FailureCode::WrongKind),
        (b".", b"dir/new", FailureCode::WrongKind),
        (b"file", b"other/new", FailureCode::WrongKind),
        (b"file", b"file/new", FailureCode::WrongKind),
        (b"file/x", b"new", FailureCode::WrongKind),
        (b"fi\0le", b"new", FailureCode::BadRequest),
        (b"file", b"n\0ew", FailureCode::BadRequest),
        (b"file", &longer, FailureCode::BadRequest),
        // Two directories were made by then, and are taken away.
        (
            b"file",
            &[b"made/for/", &long[..]].concat(),
            FailureCode::BadRequest,
        ),
    ] {
        let refused = go(&mut host, from, to).expect_err("refused");
        let what = format!("{} to {}", from.escape_ascii(), to.escape_ascii());
        assert_eq!(refused.code, code, "{what}: {refused:?}");
        assert!(
            refused.message.ends_with("nothing was changed"),
            "{refused:?}"
        );
        assert_eq!(count(), before, "{what}");
    }
    assert_eq!(fs::read(tree.join("other")).expect("there"), b"o");
    go(&mut host, b"file", b"new").expect("the agent goes on");
}

/// Every path, with its inode and time.
fn walk(tree: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![tree.to_owned()];
    while let Some(path) = waiting.pop() {
        let metadata = fs::symlink_metadata(&path).expect("there");
        let time = (metadata.mtime(), metadata.mtime_nsec());
        found.push(format!("{} {} {time:?}", path.display(), metadata.ino()));
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).expect("readable");
            waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
        }
    }
    found.sort();
    found
}
