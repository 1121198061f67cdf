//! `tree.read`: files one after the other, in the order of whole paths, and nothing through a link.

use crate::host::Host;
use crate::trees::{fifo, records};
use pyro_protocol::message::{FailureCode, Records, Stat, TreeRead};
use pyro_protocol::{Bytes, Op, pieces};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;

fn all() -> TreeRead {
    TreeRead::default()
}

/// A path and its contents.
type Read = (Vec<u8>, Vec<u8>);

/// What came.
fn read(host: &mut Host, op: TreeRead) -> (Vec<Read>, Records) {
    let answer = host.run(Op::TreeRead(op));
    let found = records(&answer).clone();
    let mut files = Vec::new();
    let mut rest = &answer.output[..];
    while !rest.is_empty() {
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .expect("a header");
        let stat: Stat = serde_json::from_slice(&rest[..end]).expect("a stat");
        rest = &rest[end + 1..];
        let mut contents = Vec::new();
        loop {
            let (length, after) = pieces::split(rest).expect("a head");
            let (piece, after) = after.split_at(length as usize);
            rest = after;
            contents.extend_from_slice(piece);
            if length == 0 {
                break;
            }
        }
        files.push((stat.path.to_vec(), contents));
    }
    (files, found)
}

fn names(files: &[Read]) -> Vec<String> {
    let name = |(path, _): &Read| String::from_utf8_lossy(path).into_owned();
    files.iter().map(name).collect()
}

#[test]
fn files_come_whole_and_in_order() {
    let mut host = Host::new();
    let tree = host.tree();
    let large: Vec<u8> = (0..700_000_u32).flat_map(u32::to_le_bytes).collect();
    host.put("a/x", "1");
    host.put("a-b", "");
    host.put("a/deep/y", &large);
    host.put("z", vec![b'z'; 256 << 10]);
    fs::write(tree.join(OsStr::from_bytes(b"odd \xff")), "odd").expect("a file");
    fs::hard_link(tree.join("a/x"), tree.join("twin")).expect("a twin");
    fifo(&tree.join("pipe"));
    symlink("a", tree.join("link")).expect("a link");
    symlink("/etc/passwd", tree.join("out")).expect("a link");
    symlink(".", tree.join("a/loop")).expect("a link");
    let (files, found) = read(&mut host, all());
    assert_eq!(
        names(&files),
        ["a-b", "a/deep/y", "a/x", "odd \u{fffd}", "twin", "z"]
    );
    assert_eq!(files[1].1, large);
    assert_eq!((&files[0].1[..], &files[4].1[..]), (&b""[..], &b"1"[..]));
    assert_eq!(files[5].1.len(), 256 << 10);
    let size = 2 + 3 + (256 << 10) + large.len() as u64;
    assert_eq!((found.entries, found.bytes), (6, size));
    // One file, a directory by a link that stays inside, and what is not there.
    let at = |path: &str| TreeRead {
        path: Bytes::from(path),
        ..all()
    };
    assert_eq!(names(&read(&mut host, at("a/x")).0), ["a/x"]);
    assert_eq!(
        names(&read(&mut host, at("link")).0),
        ["link/deep/y", "link/x"]
    );
    for (path, code) in [
        ("nothing", FailureCode::NotFound),
        ("out", FailureCode::Outside),
        ("pipe", FailureCode::WrongKind),
        ("a/x/below", FailureCode::WrongKind),
        ("../up", FailureCode::Outside),
    ] {
        let answer = host.run(Op::TreeRead(at(path)));
        assert_eq!(answer.failure().code, code, "{path}");
    }
}

#[test]
fn what_is_told_by_names_and_bytes_is_passed_over() {
    let mut host = Host::new();
    for path in [
        ".git/config",
        "sub/.git/x",
        "target/t",
        "sub/target",
        "sub/a",
        "b",
        "c/d",
        "c/e",
    ] {
        host.put(path, format!("{path} has a needle"));
    }
    let skip = |names: &[&str]| TreeRead {
        skip: names.iter().map(|name| Bytes::from(*name)).collect(),
        ..all()
    };
    let (files, found) = read(&mut host, skip(&[".git", "target/"]));
    assert_eq!(names(&files), ["b", "c/d", "c/e", "sub/a", "sub/target"]);
    assert_eq!(found.entries, 5);
    for (from, wanted) in [
        (
            "c/d",
            &["c/d", "c/e", "sub/a", "sub/target", "target/t"][..],
        ),
        ("c/dd", &["c/e", "sub/a", "sub/target", "target/t"]),
        ("c-", &["c/d", "c/e", "sub/a", "sub/target", "target/t"]),
        ("sub0", &["target/t"]),
        ("u", &[]),
    ] {
        let op = TreeRead {
            from: Some(Bytes::from(from)),
            ..skip(&[".git"])
        };
        assert_eq!(names(&read(&mut host, op).0), wanted, "from {from}");
    }
    // Wherever a needle lies: at the ends of what is read at once, or across them.
    let needles = |words: &[&str]| TreeRead {
        needles: words.iter().map(|word| Bytes::from(*word)).collect(),
        ..skip(&["sub", ".git", "c", "target", "b"])
    };
    const BLOCK: usize = 256 << 10;
    for at in [
        0,
        1,
        BLOCK - 6,
        BLOCK - 3,
        BLOCK - 1,
        BLOCK,
        3 * BLOCK - 2,
        4 * BLOCK - 6,
    ] {
        let mut contents = vec![b'x'; 4 * BLOCK];
        contents[at..at + 6].copy_from_slice(b"needle");
        host.put("large", &contents);
        let (files, found) = read(&mut host, needles(&["absent", "needle"]));
        assert_eq!(names(&files), ["large"], "at {at}");
        assert!(files[0].1 == contents, "at {at}");
        assert_eq!((found.entries, found.bytes), (1, contents.len() as u64));
        assert_eq!(
            names(&read(&mut host, needles(&["absent", "needles"])).0),
            Vec::<String>::new()
        );
    }
}
