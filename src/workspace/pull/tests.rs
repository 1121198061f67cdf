//! A pull that is killed, or refused, at each of its points leaves the old directory or the new one.

use super::fault::Faults;
use super::{Change, Found, HostTree, MendedPull, Node, PullEnd, PullError, Pulled, Writer};
use crate::request::Digest;
use crate::workspace::StateDir;
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

const RUN: &str = "0123456789ab";

struct Host {
    base: tempfile::TempDir,
    state: StateDir,
}

impl Host {
    fn new() -> Self {
        let base = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(Some(&base.path().join("state"))).expect("opens");
        let host = Self { base, state };
        for (path, text) in [
            ("file", "old"),
            ("gone", "old"),
            ("sub/closed", "old"),
            ("kind", "was a file"),
            ("tree/deep/one", "1"),
            ("tree/two", "2"),
            ("mixed/ours", "goes"),
            ("mixed/theirs", "stays"),
            ("untouched", "stays"),
        ] {
            host.write(path, text);
        }
        symlink("file", host.at("link")).expect("links");
        host
    }

    fn root(&self) -> PathBuf {
        self.base.path().join("host")
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root().join(path)
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
        fs::write(path, text).expect("writes");
    }

    /// Every path with what it is and holds.
    fn seen(&self) -> BTreeMap<String, String> {
        let mut seen = BTreeMap::new();
        let mut waiting = vec![self.root()];
        while let Some(folder) = waiting.pop() {
            for entry in fs::read_dir(&folder).expect("reads").flatten() {
                let path = entry.path();
                let meta = fs::symlink_metadata(&path).expect("there");
                let mode = meta.permissions().mode() & 0o777;
                let held = match () {
                    () if meta.is_dir() => format!("{mode:o}/"),
                    () if meta.is_symlink() => {
                        format!("-> {}", fs::read_link(&path).expect("a link").display())
                    }
                    () => format!("{mode:o} {}", fs::read_to_string(&path).expect("text")),
                };
                let name = path.strip_prefix(self.root()).expect("below");
                seen.insert(name.display().to_string(), held);
                if meta.is_dir() {
                    waiting.push(path);
                }
            }
        }
        seen
    }

    /// A change of each kind.
    fn pull(&self) -> Result<Vec<Vec<u8>>, PullError> {
        let tree = HostTree::open(&self.root())?;
        tree.lock()?;
        let node = |path: &str| match tree.find(path.as_bytes())? {
            Found::Node(node) => Ok(node),
            // It makes way.
            Found::Blocked(..) => Ok(Node::Absent),
        };
        let folder = self.state.pulls().join(RUN);
        let mut writer = Writer::begin(&tree, folder, RUN, 1000)?;
        let mut put = |path: &str, text: &str, mode| {
            let staged = writer.file(path.as_bytes(), text.as_bytes(), mode)?;
            Ok::<_, PullError>(Change::Put {
                path: path.into(),
                staged,
                was: node(path)?,
            })
        };
        let puts = (|| {
            Ok(vec![
                put("file", "new", 0o755)?,
                put("sub/closed", "new", 0o644)?,
                put("new/deep/file", "new", 0o600)?,
                put("kind/inner", "now in a directory", 0o644)?,
                put("link", "now a file", 0o644)?,
            ])
        })();
        let puts = match puts {
            Ok(puts) => puts,
            Err(why) => return Err(writer.not_brought(why).why),
        };
        let linked = match writer.link(b"tree", b"untouched") {
            Ok(linked) => linked,
            Err(why) => return Err(writer.not_brought(why).why),
        };
        let remove = |path: &str| {
            Ok::<_, PullError>(Change::Remove {
                path: path.into(),
                was: node(path)?,
            })
        };
        let remove_directory = |path: &str, may_stay| Change::RemoveDirectory {
            path: path.into(),
            may_stay,
        };
        let mut changes = vec![
            remove("gone")?,
            remove("tree/deep/one")?,
            remove_directory("tree/deep", false),
            remove("tree/two")?,
            remove_directory("tree", false),
            remove("mixed/ours")?,
            remove_directory("mixed", true),
            remove("kind")?,
            Change::MakeDirectory {
                path: b"kind".to_vec(),
                mode: 0o711,
            },
            Change::Mode {
                path: b"sub".to_vec(),
                mode: 0o750,
            },
        ];
        changes.extend(puts);
        changes.push(Change::Put {
            path: b"tree".to_vec(),
            staged: linked,
            was: Node::Absent,
        });
        let mut pulled = Pulled::open(&self.pulled(), &self.root())?;
        let new = Node::File {
            mode: 0o755,
            size: 3,
            sha256: Digest::of(b"new"),
        };
        pulled.set(b"file", new.clone(), new, &Node::Absent);
        let afterwards = match pulled.afterwards() {
            Ok(afterwards) => afterwards,
            Err(why) => return Err(writer.not_brought(why).why),
        };
        match writer.run(&changes, Some(&afterwards)) {
            Ok(brought) => Ok(brought.stayed),
            Err(not) => {
                assert!(not.stuck.is_none() && not.left.is_empty(), "{not:?}");
                Err(not.why)
            }
        }
    }

    fn pulled(&self) -> PathBuf {
        self.base.path().join("pulled")
    }

    fn is_noted(&self) -> bool {
        let pulled = Pulled::open(&self.pulled(), &self.root()).expect("reads");
        pulled.get(b"file").is_some()
    }

    /// Nothing of ours lies about.
    fn is_clear(&self) {
        let names = fs::read_dir(self.root()).expect("reads").flatten();
        let ours = names.filter(|name| name.file_name().to_string_lossy().starts_with(".pyro"));
        assert_eq!(ours.count(), 0);
        assert!(!self.state.pulls().exists());
    }
}

/// Old, and new.
fn both() -> (BTreeMap<String, String>, BTreeMap<String, String>, usize) {
    let host = Host::new();
    let old = host.seen();
    let counting = Faults::new(|_| Ok(()));
    assert_eq!(host.pull().expect("pulls"), [b"mixed".to_vec()]);
    let points = Faults::passed();
    drop(counting);
    let new = host.seen();
    host.is_clear();
    assert!(host.is_noted());
    let held = |path: &str| new.get(path).map(String::as_str);
    assert_eq!(held("file"), Some("755 new"));
    assert_eq!(held("new/deep/file"), Some("600 new"));
    assert_eq!(held("kind/inner"), Some("644 now in a directory"));
    assert_eq!(held("kind"), Some("711/"));
    assert_eq!(held("link"), Some("644 now a file"));
    assert_eq!(held("tree"), Some("-> untouched"));
    assert_eq!(held("sub"), Some("750/"));
    assert_eq!((held("gone"), held("mixed/ours")), (None, None));
    assert_eq!(
        held("mixed/theirs"),
        old.get("mixed/theirs").map(String::as_str)
    );
    (old, new, points)
}

#[test]
fn one_that_is_refused_anywhere_is_taken_back_or_made() {
    let (old, new, points) = both();
    assert!(points > 40, "{points}");
    let mut made = 0;
    for at in 0..points {
        let host = Host::new();
        let faults = Faults::new(move |passed| match passed == at {
            true => Err(Errno::NOSPC),
            false => Ok(()),
        });
        let pulled = host.pull();
        drop(faults);
        // What could not be cleared up is, by the next one that comes.
        host.state.sweep_pulls().expect("sweeps");
        let seen = host.seen();
        match pulled {
            Err(_) => assert_eq!(seen, old, "{at}"),
            Ok(_) => {
                made += 1;
                assert_eq!(seen, new, "{at}");
            }
        }
        assert_eq!(host.is_noted(), seen == new, "{at}");
        host.is_clear();
    }
    // Clearing up alone.
    assert!((1..6).contains(&made), "{made}");
}

fn killed(at: usize, act: impl FnOnce()) {
    let faults = Faults::new(move |passed| match passed == at {
        // No destructor of ours does anything to files.
        true => std::panic::resume_unwind(Box::new("killed")),
        false => Ok(()),
    });
    let _killed = catch_unwind(AssertUnwindSafe(act));
    drop(faults);
}

#[test]
fn one_that_is_killed_anywhere_is_taken_back_or_finished_by_the_next_command() {
    let (old, new, points) = both();
    let mut ends = [0, 0, 0];
    for at in 0..points {
        let host = Host::new();
        killed(at, || drop(host.pull()));
        let mended = host.state.sweep_pulls().expect("sweeps");
        let seen = host.seen();
        let (root, is_new) = (host.root(), seen == new);
        assert!(is_new || seen == old, "{at}: {seen:#?}");
        let end = |how| MendedPull {
            root: root.clone(),
            how,
        };
        match mended.as_slice() {
            [] => ends[0] += 1,
            [one] if *one == end(PullEnd::TakenBack) && !is_new => ends[1] += 1,
            [one] if *one == end(PullEnd::Finished) && is_new => ends[2] += 1,
            other => panic!("{at}: {other:?}"),
        }
        assert_eq!(host.is_noted(), is_new, "{at}");
        host.is_clear();
    }
    assert!(ends.iter().all(|&count| count > 0), "{ends:?}");
}

#[test]
fn one_that_is_killed_while_it_is_taken_back_is_taken_back_again() {
    let (old, new, points) = both();
    for at in (0..points).step_by(3) {
        for again in 0..points {
            let host = Host::new();
            killed(at, || drop(host.pull()));
            let mut over = false;
            let sweep = || {
                host.state.sweep_pulls().expect("sweeps");
                over = true;
            };
            killed(again, sweep);
            host.state.sweep_pulls().expect("sweeps");
            let seen = host.seen();
            assert!(seen == new || seen == old, "{at} {again}: {seen:#?}");
            assert_eq!(host.is_noted(), seen == new, "{at} {again}");
            host.is_clear();
            if over {
                break;
            }
        }
    }
}

#[test]
fn what_somebody_changed_since_the_kill_is_left_and_told() {
    let (_, _, points) = both();
    let mut told = 0;
    for at in 0..points {
        let host = Host::new();
        killed(at, || drop(host.pull()));
        let theirs = ["gone", "file", "new/deep/file"];
        for path in theirs {
            let path = host.at(path);
            let _gone = fs::remove_file(&path);
            if path.parent().is_some_and(Path::is_dir) {
                fs::write(path, "somebody's").expect("writes");
            }
        }
        let before = host.seen();
        for mended in host.state.sweep_pulls().expect("sweeps") {
            if let PullEnd::Partly(paths, stage) = mended.how {
                told += 1;
                assert!(stage.is_dir() && !paths.is_empty());
            }
        }
        let after = host.seen();
        for path in theirs {
            assert_eq!(before.get(path), after.get(path), "{at} {path}");
        }
        assert!(!host.state.pulls().exists());
    }
    assert!(told > 0);
}

#[test]
fn what_somebody_changes_at_the_last_moment_is_not_lost() {
    let (old, _, points) = both();
    let mut refused = 0;
    for at in 0..points {
        let host = Host::new();
        let path = host.at("file");
        let faults = Faults::new(move |passed| {
            if passed == at {
                fs::write(&path, "somebody's").expect("writes");
            }
            Ok(())
        });
        let pulled = host.pull();
        drop(faults);
        host.state.sweep_pulls().expect("sweeps");
        let seen = host.seen();
        if let Err(error) = pulled {
            refused += 1;
            assert!(matches!(error, PullError::Changed(_)), "{error:?}");
            let mut expected = old.clone();
            let text = if seen["file"].starts_with("644") {
                "644"
            } else {
                "755"
            };
            expected.insert("file".to_owned(), format!("{text} somebody's"));
            assert_eq!(seen, expected, "{at}");
        }
        host.is_clear();
    }
    assert!(refused > 0);
}

#[test]
fn nothing_is_followed_and_nothing_left() {
    let host = Host::new();
    let elsewhere = host.base.path().join("elsewhere");
    fs::create_dir(&elsewhere).expect("makes");
    symlink(&elsewhere, host.at("out")).expect("links");
    let tree = HostTree::open(&host.root()).expect("opens");
    let found = tree.find(b"out/deep/file").expect("looks");
    assert!(matches!(found, Found::Blocked(path, Node::Link { .. }) if path == b"out"));
    for path in ["../elsewhere/file", "out/file"] {
        let folder = host.state.pulls().join(RUN);
        let mut writer = Writer::begin(&tree, folder, RUN, 100).expect("begins");
        let staged = writer.file(path.as_bytes(), &b"x"[..], 0o644);
        let change = Change::Put {
            path: path.into(),
            staged: staged.expect("stages"),
            was: Node::Absent,
        };
        writer.run(&[change], None).expect_err("refused");
        host.is_clear();
    }
    assert_eq!(fs::read_dir(&elsewhere).expect("reads").count(), 0);
    symlink(host.root(), host.base.path().join("link")).expect("links");
    HostTree::open(&host.base.path().join("link")).expect_err("a link in its place");
    HostTree::open(&host.base.path().join("link/sub")).expect_err("a link on the way");
    let folder = host.state.pulls().join(RUN);
    let mut writer = Writer::begin(&tree, folder, RUN, 2).expect("begins");
    let large = writer.file(b"file", &b"xxx"[..], 0o644);
    let error = large.expect_err("more than it may hold");
    assert!(matches!(error, PullError::TooLarge { .. }));
    let not = writer.not_brought(error);
    assert!(not.left.is_empty() && not.stuck.is_none());
    host.is_clear();
}
