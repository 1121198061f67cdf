//! Whatever step of a reset is the last one of an agent: what the next agent shows is the old tree or the new one.

use super::super::journal::Faults;
use super::super::{World, file_op, store};
use super::{apply, targets};
use crate::serve::outbox::Outbox;
use crate::serve::port::Port;
use pyro_protocol::Op;
use pyro_protocol::message::{FailureCode, Records, TreeMark};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn open(run: &Path) -> std::io::Result<World> {
    let run = File::open(run).expect("the run's folder").into();
    let owner = rustix::process::geteuid().as_raw();
    World::open(run, owner)?.with((None, None), Box::new(|| Ok(Vec::new())), u64::MAX)
}

fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        let top = fs::symlink_metadata(&dir).expect("a directory");
        let line = format!("{:o} {}.{}", top.mode(), top.mtime(), top.mtime_nsec());
        found.insert(dir.strip_prefix(root).expect("below").to_owned(), line);
        for entry in fs::read_dir(&dir).expect("a directory") {
            let path = entry.expect("an entry").path();
            let metadata = fs::symlink_metadata(&path).expect("metadata");
            if metadata.is_dir() {
                waiting.push(path);
                continue;
            }
            let contents = if metadata.is_symlink() {
                format!("{:?}", fs::read_link(&path))
            } else {
                format!("{:?} {}", fs::read(&path), metadata.nlink())
            };
            let (mode, seconds) = (metadata.mode(), metadata.mtime());
            let line = format!("{mode:o} {seconds}.{} {contents}", metadata.mtime_nsec());
            found.insert(path.strip_prefix(root).expect("below").to_owned(), line);
        }
    }
    found
}

fn mark_all(world: &World, name: &str) {
    let outbox = Arc::new(Outbox::new().expect("an outbox"));
    let port = Port::new(1, 1, outbox, Arc::default());
    let op = Op::TreeMark(TreeMark {
        name: name.to_owned(),
        contents: true,
        system: true,
    });
    file_op(world, &port, op).expect("marked");
}

fn plant(tree: &Path) {
    for path in ["a/b/deep", "a/file", "keep/1", "tool"] {
        let path = tree.join(path);
        fs::create_dir_all(path.parent().expect("a parent")).expect("made");
        fs::write(&path, path.file_name().expect("a name").as_encoded_bytes()).expect("written");
    }
    fs::hard_link(tree.join("keep/1"), tree.join("a/twin")).expect("linked");
    symlink("a/file", tree.join("link")).expect("linked");
    fs::create_dir(tree.join("empty")).expect("made");
}

fn damage(tree: &Path) {
    fs::remove_dir_all(tree.join("a/b")).expect("removed");
    fs::write(tree.join("a/b"), "a file now").expect("written");
    fs::write(tree.join("a/file"), "other").expect("written");
    fs::remove_file(tree.join("a/twin")).expect("removed");
    fs::remove_file(tree.join("link")).expect("removed");
    fs::create_dir_all(tree.join("link/x/y")).expect("made");
    fs::remove_dir(tree.join("empty")).expect("removed");
    fs::set_permissions(tree.join("tool"), fs::Permissions::from_mode(0o755)).expect("set");
    fs::write(tree.join("new"), "new").expect("written");
}

#[test]
fn the_old_tree_or_the_new_one() {
    let mut seen = [false; 2];
    for last in 0.. {
        let run = tempfile::tempdir().expect("a folder");
        let tree = run.path().join("tree");
        fs::create_dir(&tree).expect("the tree");
        let world = open(run.path()).expect("opens");
        plant(&tree);
        let new = picture(&tree);
        mark_all(&world, "m");
        damage(&tree);
        let old = picture(&tree);
        let goals = targets(&world, "m").expect("a mark");
        let faults = Faults::new(move |passed| {
            if passed >= last {
                Err(Errno::IO)
            } else {
                Ok(())
            }
        });
        let done = apply(
            &world,
            ("m", None),
            &goals,
            &mut || Ok(()),
            &mut Records::default(),
        );
        drop(faults);
        let begun = store::resetting(&world).expect("readable").is_some();
        if let Err(failure) = &done
            && !begun
        {
            assert_ne!(failure.code, FailureCode::SandboxEnded);
            assert_eq!(picture(&tree), old, "after {last} steps");
        }
        drop(world);
        // The agent that comes next is ended once itself, in the middle of what it finishes.
        if begun {
            let again = last;
            let faults = Faults::new(move |passed| {
                if passed == again / 2 {
                    Err(Errno::IO)
                } else {
                    Ok(())
                }
            });
            let _ = open(run.path());
            drop(faults);
        }
        open(run.path()).expect("opens again");
        let now = picture(&tree);
        let expected = if begun || done.is_ok() { &new } else { &old };
        assert_eq!(now, *expected, "after {last} steps, begun: {begun}");
        seen[usize::from(begun)] = true;
        if done.is_ok() {
            break;
        }
    }
    assert_eq!(seen, [true, true], "both ends were seen");
}
