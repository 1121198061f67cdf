//! What is the same is one file, whoever comes and goes; what is damaged is used by nobody who could know.

use super::super::{KeepContents, RunDir, StateDir, Timestamp, fill};
use super::{Baselines, Sharing};
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

struct Place {
    base: tempfile::TempDir,
    state: StateDir,
}

impl Place {
    fn new() -> Self {
        let base = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(Some(&base.path().join("state"))).expect("opens");
        Self { base, state }
    }

    /// A seed whose files come in another order than their names.
    fn seed(&self, name: &str) -> PathBuf {
        let seed = self.base.path().join(name);
        fs::create_dir_all(seed.join("b/c")).expect("makes");
        for (path, text) in [
            ("z", "last"),
            ("b/c/x", "deep"),
            ("a", "first"),
            ("b/y", ""),
        ] {
            fs::write(seed.join(path), text).expect("writes");
        }
        fs::write(seed.join("large"), vec![b'x'; 3 << 20]).expect("writes");
        fs::hard_link(seed.join("a"), seed.join("b/twin")).expect("links");
        std::os::unix::fs::symlink("b/c/x", seed.join("link")).expect("links");
        seed
    }

    fn filled(&self, seed: &Path) -> RunDir {
        let run = self.state.new_run().expect("a run");
        let keep = KeepContents::Shared(&run.baselines());
        fill(Some(seed.into()), run.path(), None, keep).expect("fills");
        run
    }

    fn kept(&self) -> Vec<(PathBuf, fs::Metadata)> {
        Baselines::of(self.state.path()).all().expect("lists")
    }
}

fn pack(run: &RunDir) -> fs::Metadata {
    run.path().join("pack").metadata().expect("there")
}

/// Every file and link of a baseline is what the seed had.
fn holds(run: &RunDir, seed: &Path) -> Result<(), String> {
    let baseline = super::super::Baseline::open(run.path()).map_err(|error| error.to_string())?;
    let mut count = 0;
    for entry in baseline.entries() {
        if entry.kind == pyro_protocol::message::Kind::Directory {
            continue;
        }
        let path = seed.join(String::from_utf8_lossy(&entry.path).as_ref());
        let wanted = match fs::read_link(&path) {
            Ok(target) => target.into_os_string().into_encoded_bytes(),
            Err(_) => fs::read(&path).expect("there"),
        };
        let found = baseline.contents(&entry.path);
        let found = found.map_err(|error| format!("{}: {error}", path.display()))?;
        assert!(found == wanted, "{}", path.display());
        count += 1;
    }
    assert!(count > 5, "{count}");
    Ok(())
}

#[test]
fn the_same_files_are_kept_once_whenever_they_were_made() {
    let place = Place::new();
    let (one, other) = (place.seed("one"), place.seed("other"));
    let first = place.filled(&one);
    let second = place.filled(&other);
    assert_eq!(pack(&first).ino(), pack(&second).ino());
    // A name of each, and the one that they are kept under.
    assert_eq!(pack(&first).nlink(), 3);
    assert_eq!(place.kept().len(), 1);
    for run in [&first, &second] {
        holds(run, &one).expect("whole");
    }
    // A manifest is of one tree: inodes and times differ.
    let manifest = |run: &RunDir| fs::read(run.path().join("baseline")).expect("there");
    assert!(manifest(&first) != manifest(&second));
    first.remove().expect("removes");
    assert_eq!(pack(&second).nlink(), 2);
    holds(&second, &one).expect("whole");
    second.remove().expect("removes");
    assert_eq!(place.kept().len(), 0, "nobody uses it any more");
}

#[test]
fn other_modes_paths_or_contents_are_another_baseline() {
    let place = Place::new();
    let seed = place.seed("seed");
    let first = place.filled(&seed);
    let changes: [&dyn Fn(); 4] = [
        &|| {
            fs::set_permissions(seed.join("z"), fs::Permissions::from_mode(0o755)).expect("chmods");
        },
        &|| fs::rename(seed.join("b/y"), seed.join("b/y2")).expect("renames"),
        // As long as before; what comes before it is the same.
        &|| fs::write(seed.join("z"), "LAST").expect("writes"),
        &|| fs::write(seed.join("zz"), "more").expect("writes"),
    ];
    let mut all = vec![first];
    for (count, change) in changes.iter().enumerate() {
        change();
        let run = place.filled(&seed);
        holds(&run, &seed).expect("whole");
        assert_eq!(place.kept().len(), count + 2);
        assert!(
            all.iter()
                .all(|other| pack(other).ino() != pack(&run).ino())
        );
        let again = place.filled(&seed);
        assert_eq!(pack(&again).ino(), pack(&run).ino());
        again.remove().expect("removes");
        all.push(run);
    }
    fs::remove_file(seed.join("zz")).expect("removes");
    let back = place.filled(&seed);
    assert_eq!(pack(&back).ino(), pack(&all[3]).ino());
    holds(&back, &seed).expect("whole");
}

#[test]
fn what_is_damaged_is_not_joined_and_is_refused_where_it_is_used() {
    let place = Place::new();
    let seed = place.seed("seed");
    let damages: [&dyn Fn(&Path); 4] = [
        &|path| damage(path, 2),
        // In the middle of the large file.
        &|path| damage(path, 2 << 20),
        &|path| {
            let file = fs::OpenOptions::new()
                .write(true)
                .open(path)
                .expect("opens");
            let size = file.metadata().expect("there").len();
            file.set_len(size - 1).expect("cuts");
        },
        &|path| {
            use std::io::Write as _;
            let mut file = fs::OpenOptions::new()
                .append(true)
                .open(path)
                .expect("opens");
            file.write_all(b"more").expect("writes");
        },
    ];
    for (number, damage) in damages.iter().enumerate() {
        let victim = place.filled(&seed);
        let [(path, before)] = &place.kept()[..] else {
            panic!("one");
        };
        damage(path);
        let run = place.filled(&seed);
        assert_ne!(pack(&run).ino(), before.ino(), "damage {number}");
        holds(&run, &seed).expect("whole");
        let [(_, after)] = &place.kept()[..] else {
            panic!("one");
        };
        assert_eq!(after.ino(), pack(&run).ino(), "it took the place");
        // What was added at the end is nobody's.
        assert_eq!(
            holds(&victim, &seed).is_ok(),
            number == 3,
            "damage {number}"
        );
        let next = place.filled(&seed);
        assert_eq!(pack(&next).ino(), pack(&run).ino());
        for run in [victim, run, next] {
            run.remove().expect("removes");
        }
        assert_eq!(place.kept().len(), 0);
    }
}

fn damage(path: &Path, at: u64) {
    use std::os::unix::fs::FileExt as _;
    let file = fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("opens");
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).expect("reads");
    file.write_all_at(&[!byte[0]], at).expect("writes");
}

#[test]
fn ten_at_once_make_one() {
    let place = Place::new();
    let seed = place.seed("seed");
    for _ in 0..5 {
        let runs: Vec<RunDir> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..10)
                .map(|_| scope.spawn(|| place.filled(&seed)))
                .collect();
            (threads.into_iter())
                .map(|thread| thread.join().expect("fills"))
                .collect()
        });
        let kept = place.kept();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].1.nlink(), 11);
        for run in &runs {
            assert_eq!(pack(run).ino(), kept[0].1.ino());
            holds(run, &seed).expect("whole");
            assert!(!run.path().join("pack.new").exists());
        }
        std::thread::scope(|scope| {
            for run in runs {
                scope.spawn(|| run.remove().expect("removes"));
            }
        });
        assert_eq!(place.kept().len(), 0);
    }
}

#[test]
fn who_died_leaves_nothing_and_takes_nothing_along() {
    let place = Place::new();
    let seed = place.seed("seed");
    let living = place.filled(&seed);
    // One died after its pack was a name of the kept one, one before, and one as the first of its kind.
    drop(place.filled(&seed));
    let early = place.state.new_run().expect("a run");
    fs::copy(living.path().join("pack"), early.path().join("pack")).expect("copies");
    drop(early);
    fs::write(seed.join("a"), "changed").expect("writes");
    drop(place.filled(&seed));
    assert_eq!(place.kept().len(), 2);
    let swept = place.state.sweep(Timestamp::now()).expect("sweeps");
    assert_eq!(swept.runs, 3);
    let [(_, kept)] = &place.kept()[..] else {
        panic!("one");
    };
    assert_eq!((kept.ino(), kept.nlink()), (pack(&living).ino(), 2));
    // Somebody who died between two links.
    fs::write(living.path().join("pack.new"), "half").expect("writes");
    let baselines = Baselines::of(place.state.path());
    let other = place.base.path().join("other");
    fs::write(&other, "other").expect("writes");
    assert_eq!(
        baselines.share(&[1; 32], &other).expect("shares"),
        Sharing::First
    );
    fs::remove_file(&other).expect("removes");
    assert_eq!(baselines.sweep().expect("sweeps"), 1);
    living.remove().expect("removes");
    assert_eq!(place.kept().len(), 0);
}

#[test]
fn nothing_is_shared_between_state_directories_and_nothing_of_nothing() {
    let (one, other) = (Place::new(), Place::new());
    let seed = one.seed("seed");
    let (first, second) = (one.filled(&seed), other.filled(&seed));
    assert_ne!(pack(&first).ino(), pack(&second).ino());
    let empty = one.base.path().join("empty");
    fs::create_dir(&empty).expect("makes");
    fs::write(empty.join("file"), "").expect("writes");
    let run = one.filled(&empty);
    assert_eq!((pack(&run).len(), pack(&run).nlink()), (0, 1));
    assert_eq!(one.kept().len(), 1);
}
