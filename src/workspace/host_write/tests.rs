use super::{HostTarget, HostWriteError, unpack};
use crate::request::Overwrite;
use crate::workspace::{RunDir, StateDir};
use pyro_protocol::message::Kind;
use std::fs;
use std::path::Path;

fn archive(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, kind, contents) in entries {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(0o6755);
        // Written directly: the crate's own setter refuses the names that a hostile archive has.
        let field = &mut header.as_old_mut().name;
        field[..name.len()].copy_from_slice(name.as_bytes());
        if matches!(kind, tar::EntryType::Symlink | tar::EntryType::Link) {
            header.as_old_mut().linkname[..contents.len()].copy_from_slice(contents.as_bytes());
        }
        let body = if *kind == tar::EntryType::Regular {
            contents.as_bytes()
        } else {
            &[]
        };
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body).expect("appends");
    }
    builder.into_inner().expect("finishes")
}

struct Host {
    folder: tempfile::TempDir,
    run: RunDir,
}

impl Host {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(Some(&folder.path().join("state"))).expect("opens");
        let run = state.new_run().expect("a run");
        fs::create_dir(folder.path().join("out")).expect("makes");
        Self { folder, run }
    }
    fn unpack(
        &self,
        name: &str,
        kind: Kind,
        overwrite: Overwrite,
        archive: &[u8],
    ) -> Result<(), HostWriteError> {
        let path = self.folder.path().join("out").join(name);
        unpack(
            archive,
            &HostTarget {
                path: &path,
                overwrite,
                kind,
                limit: 1 << 20,
            },
            &self.run,
        )
        .map(drop)
    }
    fn names(&self) -> Vec<String> {
        let mut names = Vec::new();
        let mut waiting = vec![self.folder.path().join("out")];
        while let Some(dir) = waiting.pop() {
            for entry in fs::read_dir(&dir).expect("reads").flatten() {
                let path = entry.path();
                let shown = path
                    .strip_prefix(self.folder.path())
                    .expect("below")
                    .display()
                    .to_string();
                names.push(shown);
                if entry.file_type().expect("a type").is_dir() {
                    waiting.push(path);
                }
            }
        }
        names.sort();
        names
    }
}

use tar::EntryType::{Directory, Link, Regular, Symlink};

#[test]
fn nothing_is_written_through_the_links_of_an_earlier_export() {
    let host = Host::new();
    fs::create_dir(host.folder.path().join("victim")).expect("makes");
    let tree = archive(&[("sub", Symlink, "../../victim")]);
    host.unpack("tree", Kind::Directory, Overwrite::Refuse, &tree)
        .expect("links are kept");
    let file = archive(&[("", Regular, "hostile")]);
    for name in ["tree/sub/file", "tree/sub/deeper/file"] {
        let refused = host.unpack(name, Kind::File, Overwrite::Allow, &file);
        assert!(
            matches!(refused, Err(HostWriteError::Linked(_))),
            "{refused:?}"
        );
    }
    let victim = fs::read_dir(host.folder.path().join("victim")).expect("reads");
    assert_eq!(victim.count(), 0);
    assert_eq!(host.names(), ["out/tree", "out/tree/sub"]);
}

#[test]
fn a_tree_arrives_whole() {
    let host = Host::new();
    let tar = archive(&[
        ("a/", Directory, ""),
        ("a/file", Regular, "text"),
        ("a/twin", Link, "a/file"),
        ("link", Symlink, "/etc/passwd"),
    ]);
    host.unpack("deep/tree", Kind::Directory, Overwrite::Refuse, &tar)
        .expect("unpacks");
    assert_eq!(
        host.names(),
        [
            "out/deep",
            "out/deep/tree",
            "out/deep/tree/a",
            "out/deep/tree/a/file",
            "out/deep/tree/a/twin",
            "out/deep/tree/link"
        ]
    );
    use std::os::unix::fs::MetadataExt as _;
    let path = host.folder.path().join("out/deep/tree/a/file");
    assert_eq!(
        fs::metadata(path).expect("there").mode() & 0o7777,
        0o755,
        "setuid and setgid are dropped"
    );
}

#[test]
fn hostile_archives_leave_nothing() {
    let host = Host::new();
    for tar in [
        archive(&[("../evil", Regular, "x")]),
        archive(&[("/tmp/evil", Regular, "x")]),
        archive(&[("out", Symlink, "/tmp"), ("out/evil", Regular, "x")]),
        archive(&[("ok", Regular, "x"), ("ok", Regular, "y")]),
        archive(&[("twin", Link, "../../etc/passwd")]),
        archive(&[("twin", Link, "missing")]),
        archive(&[("device", tar::EntryType::Char, "")]),
        archive(&[("big", Regular, &"x".repeat(2 << 20))]),
        archive(&[("cut", Regular, "text")])[..600].to_vec(),
    ] {
        host.unpack("sub/tree", Kind::Directory, Overwrite::Allow, &tar)
            .expect_err("refused");
        assert_eq!(host.names(), Vec::<String>::new());
    }
}

#[test]
fn existing_targets_are_replaced_only_when_told() {
    let host = Host::new();
    let target = host.folder.path().join("out/file");
    fs::write(&target, "old").expect("writes");
    let tar = archive(&[("file", Regular, "new")]);
    let refused = host
        .unpack("file", Kind::File, Overwrite::Refuse, &tar)
        .expect_err("refused");
    assert!(matches!(refused, HostWriteError::Exists(_)));
    assert_eq!(fs::read_to_string(&target).expect("reads"), "old");
    host.unpack("file", Kind::File, Overwrite::Allow, &tar)
        .expect("replaces");
    assert_eq!(fs::read_to_string(&target).expect("reads"), "new");
    // Whatever the workspace turns out to hold: a file goes for a file, a directory for a directory.
    let tree = archive(&[("inner", Regular, "x")]);
    let victim = host.folder.path().join("victim");
    fs::write(&victim, "mine").expect("writes");
    std::os::unix::fs::symlink(&victim, host.folder.path().join("out/link")).expect("links");
    fs::create_dir(host.folder.path().join("out/tree")).expect("makes");
    fs::write(host.folder.path().join("out/tree/old"), "old").expect("writes");
    for (name, kind, archive) in [
        ("file", Kind::Directory, &tree),
        ("tree", Kind::File, &tar),
        ("link", Kind::File, &tar),
        ("link", Kind::Directory, &tree),
    ] {
        let refused = host.unpack(name, kind, Overwrite::Allow, archive);
        assert!(
            matches!(refused, Err(HostWriteError::OtherKind { .. })),
            "{name}: {refused:?}"
        );
    }
    assert_eq!(
        host.names(),
        ["out/file", "out/link", "out/tree", "out/tree/old"]
    );
    host.unpack("tree", Kind::Directory, Overwrite::Allow, &tree)
        .expect("replaces");
    assert_eq!(
        host.names(),
        ["out/file", "out/link", "out/tree", "out/tree/inner"]
    );
    assert_eq!(
        fs::read_to_string(Path::new(&victim)).expect("reads"),
        "mine"
    );
}
