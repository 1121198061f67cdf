use super::{Hash, Pack, PackError, Packed, PackedKind};
use crate::archive::{Entry, Kind, read};
use crate::exclude::Exclude;
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{Cursor, Write as _};
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

const LARGE: usize = 200_000;

fn plant() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let top = folder.path();
    for dir in ["dir/sub", "empty"] {
        fs::create_dir_all(top.join(dir)).expect("a folder");
    }
    for (name, bytes) in [("a", &b"a"[..]), ("dir/x.o", b"o"), ("dir/sub/c", b"")] {
        fs::write(top.join(name), bytes).expect("a file");
    }
    fs::write(top.join("large"), vec![7; LARGE]).expect("a file");
    fs::hard_link(top.join("a"), top.join("dir/a")).expect("a twin");
    symlink("../nowhere", top.join("link")).expect("a link");
    let set = |name: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(top.join(name), mode).expect("a mode");
    };
    set("a", 0o4755);
    set("empty", 0o2700);
    folder
}

fn all(top: &Path, patterns: &[&str]) -> Result<(Vec<u8>, Vec<Packed>), PackError> {
    let patterns: Vec<_> = patterns.iter().map(ToString::to_string).collect();
    let (exclude, closed) = (Exclude::new(&patterns, false), BTreeMap::new());
    let mut pack = Pack::new(top, &exclude, &closed, Hash::Yes)?;
    let mut bytes = Vec::new();
    while pack.piece(&mut bytes)? {}
    Ok((bytes, pack.finish()))
}

#[test]
fn a_directory_becomes_the_archive_of_it() {
    let folder = plant();
    let (bytes, packed) = all(folder.path(), &["*.o"]).expect("packed");
    let mut entries: Vec<(Entry, usize)> = Vec::new();
    read(Cursor::new(bytes), u64::MAX, &mut |entry, body| {
        let mut bytes = Vec::new();
        body.read_to_end(&mut bytes)
            .map_err(crate::archive::ArchiveError::Io)?;
        entries.push((entry.clone(), bytes.len()));
        Ok(())
    })
    .expect("an archive by the rules");
    let told: Vec<_> = entries
        .iter()
        .map(|(entry, size)| {
            let path = String::from_utf8_lossy(&entry.path);
            let kind = match &entry.kind {
                Kind::File { .. } => format!("{size}"),
                Kind::Directory => "/".to_owned(),
                Kind::Symlink(to) => format!("-> {}", String::from_utf8_lossy(to)),
                Kind::HardLink(to) => format!("= {}", String::from_utf8_lossy(to)),
                Kind::LeftOut(what) => (*what).to_owned(),
            };
            format!("{path} {:o} {kind}", entry.mode)
        })
        .collect();
    assert_eq!(
        told,
        [
            "a 755 1",
            "dir 755 /",
            "dir/a 755 = a",
            "dir/sub 755 /",
            "dir/sub/c 644 0",
            "empty 700 /",
            "large 644 200000",
            "link 777 -> ../nowhere",
        ]
    );
    // What is told of it is sorted by whole paths, and a further name is what its first one is.
    let twin = packed.iter().find(|packed| packed.path == b"dir/a");
    let first = packed.iter().find(|packed| packed.path == b"a");
    let (twin, first) = (twin.expect("packed"), first.expect("packed"));
    assert_eq!((&twin.kind, twin.sha256), (&first.kind, first.sha256));
    assert_eq!(first.kind, PackedKind::File(1));
    assert!(packed.is_sorted_by(|a, b| a.path < b.path));
}

/// Somebody does something right after `path` was begun.
fn disturbed(path: &str, act: impl Fn(&Path)) -> Result<(), PackError> {
    let folder = plant();
    let (exclude, closed) = (Exclude::nothing(), BTreeMap::new());
    let mut pack = Pack::new(folder.path(), &exclude, &closed, Hash::No)?;
    let mut piece = Vec::new();
    let mut acted = false;
    while pack.piece(&mut piece)? {
        if !acted
            && piece
                .windows(path.len())
                .any(|name| name == path.as_bytes())
        {
            acted = true;
            // Times that differ, whatever the clock's grain.
            std::thread::sleep(std::time::Duration::from_millis(20));
            act(folder.path());
        }
        piece.clear();
    }
    assert!(acted, "{path} was packed");
    Ok(())
}

#[test]
fn what_changes_while_it_is_read_is_told() {
    let changed = |result: Result<(), PackError>, name: &str| match result {
        Err(PackError::Changed { path }) => assert!(path.ends_with(name), "{path:?}"),
        other => panic!("{name}: {other:?}"),
    };
    let append = |top: &Path| {
        let mut file = OpenOptions::new();
        let file = file.append(true).open(top.join("large"));
        file.expect("there").write_all(b"more").expect("written");
    };
    changed(disturbed("large", append), "large");
    let cut = |top: &Path| {
        let file = OpenOptions::new().write(true).open(top.join("large"));
        file.expect("there").set_len(70_000).expect("shorter");
    };
    changed(disturbed("large", cut), "large");
    let same_size = |top: &Path| fs::write(top.join("large"), vec![8; LARGE]).expect("written");
    changed(disturbed("large", same_size), "large");
    // What was named, and went away before its turn.
    let gone = |top: &Path| fs::remove_file(top.join("large")).expect("removed");
    changed(disturbed("empty", gone), "large");
    let gone = |top: &Path| fs::remove_file(top.join("dir/sub/c")).expect("removed");
    changed(disturbed("dir/sub", gone), "dir/sub/c");
    // What comes, when the names were read already.
    let new = |top: &Path| fs::write(top.join("dir/zz"), "new").expect("written");
    changed(disturbed("dir/sub", new), "dir");
    // A directory that becomes a link to elsewhere is not followed.
    let swapped = |top: &Path| {
        fs::rename(top.join("dir"), top.join("moved")).expect("moved");
        symlink("/etc", top.join("dir")).expect("a link");
    };
    changed(disturbed("dir", swapped), "dir/sub");
    disturbed("large", |_| {}).expect("nobody did anything");
}

#[test]
fn a_name_for_a_directory_that_is_none_is_refused() {
    let folder = plant();
    for name in ["nowhere", "a", "link"] {
        let refused = all(&folder.path().join(name), &[]);
        assert!(matches!(refused, Err(PackError::Read { .. })), "{name}");
    }
}

#[test]
fn directories_of_any_depth_take_few_descriptors() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut path = folder.path().to_owned();
    for _ in 0..1500 {
        path.push("d");
    }
    fs::create_dir_all(&path).expect("folders");
    fs::write(path.join("f"), "deep").expect("a file");
    let (_, packed) = all(folder.path(), &[]).expect("packed");
    assert_eq!(packed.len(), 1501);
}
