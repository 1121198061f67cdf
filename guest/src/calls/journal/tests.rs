//! A write set is stopped at every single step: by an error, by a file system that refuses from there on, by SIGKILL.
//! Whatever it was, the tree is the old one or the new one, to the nanosecond, once an agent has looked at it.

mod archive;

use super::fault::Faults;
use super::{NOTHING_CHANGED, recover};
use crate::calls::{World, file_op};
use crate::serve::outbox::Outbox;
use crate::serve::port::Port;
use pyro_protocol::Bytes;
use pyro_protocol::message::{
    Failure, FailureCode, FilesWrite, Op, PathMove, Prior, Reply, WriteAction, WriteEntry,
};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps};
use rustix::io::Errno;
use rustix::mount::MountFlags;
use rustix::process::{Signal, getpid, kill_process};
use std::ffi::OsStr;
use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::sync::Arc;

/// What a child of these tests is to do, and where.
const DEED: &str = "PYRO_TEST_DEED";
const PLACE: &str = "PYRO_TEST_PLACE";

/// A tree in which everything has its own time, and some things a mode that is in the way.
fn plant(run: &Path) {
    let tree = run.join("tree");
    for dir in ["d/e/deep", "kept", "shut/in"] {
        fs::create_dir_all(tree.join(dir)).expect("a directory");
    }
    for (name, contents) in [
        (&b"run.sh"[..], &b"#!/bin/sh\n"[..]),
        (b"d/b", b"b"),
        (b"d/e/f", b"f"),
        (b"d/e/deep/g", b"g"),
        (b"kept/h", b"h"),
        (b"node", b"a file"),
        (b"old name", b"moves"),
        (b"\xff\n", b"odd"),
        (b"shut/in/x", b"x"),
    ] {
        fs::write(tree.join(OsStr::from_bytes(name)), contents).expect("a file");
    }
    symlink("d/b", tree.join("link")).expect("a link");
    let mode = |path: &str, mode| {
        let mode = fs::Permissions::from_mode(mode);
        fs::set_permissions(tree.join(path), mode).expect("a mode");
    };
    mode("run.sh", 0o751);
    mode("d/e", 0o555);
    mode("shut", 0o700);
    let mut paths = Vec::new();
    below(&tree, &mut paths);
    for (at, path) in paths.iter().enumerate().rev() {
        let time = Timespec {
            tv_sec: 1_000_000_000 + i64::try_from(at).expect("few"),
            tv_nsec: 123_456_789,
        };
        let times = Timestamps {
            last_access: time,
            last_modification: time,
        };
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::utimensat(CWD, path, &times, flags).expect("a time");
    }
}

/// Every path, parents first.
fn below(path: &Path, into: &mut Vec<std::path::PathBuf>) {
    into.push(path.to_owned());
    if path.symlink_metadata().expect("there").is_dir() {
        let mut names: Vec<_> = (fs::read_dir(path).expect("readable").flatten())
            .map(|entry| entry.path())
            .collect();
        names.sort();
        names.iter().for_each(|name| below(name, into));
    }
}

/// What a rollback must bring back; without times and inodes, what a set must bring about.
fn picture(run: &Path, exact: bool) -> Vec<String> {
    let tree = run.join("tree");
    let mut paths = Vec::new();
    below(&tree, &mut paths);
    let mut lines = Vec::new();
    for path in paths {
        let meta = path.symlink_metadata().expect("there");
        let contents = if meta.is_file() {
            fs::read(&path).expect("readable")
        } else {
            let target = path.read_link().unwrap_or_default();
            target.as_os_str().as_bytes().to_vec()
        };
        let name = path.strip_prefix(&tree).expect("below");
        let mut line = format!("{name:?} {:o} {contents:?}", meta.mode());
        if exact {
            line += &format!(" {} {}.{}", meta.ino(), meta.mtime(), meta.mtime_nsec());
        }
        lines.push(line);
    }
    lines
}

fn stage_is_empty(run: &Path) -> bool {
    fs::read_dir(run.join("stage")).is_ok_and(|mut stage| stage.next().is_none())
}

/// Every kind of change: contents, modes, removals of files, links and directories, a rename, a file that makes way
/// for a directory, new parents.
fn the_set() -> (FilesWrite, Vec<u8>) {
    let mut input = Vec::new();
    let mut file = |path: &[u8], contents: &[u8], mode, expect| {
        input.extend_from_slice(contents);
        WriteEntry {
            path: Bytes::from(path),
            expect,
            action: WriteAction::File {
                size: contents.len() as u64,
                mode,
            },
        }
    };
    let gone = |path: &[u8]| WriteEntry {
        path: Bytes::from(path),
        expect: Prior::Any,
        action: WriteAction::Remove,
    };
    let entries = vec![
        file(b"run.sh", b"new", None, Prior::Any),
        file(b"d/b", b"b", Some(0o755), Prior::Any),
        gone(b"d/e"),
        gone(b"link"),
        gone(b"node"),
        file(b"node/child", b"c", None, Prior::Absent),
        gone(b"old name"),
        file(b"made/for/new name", b"moves", None, Prior::Absent),
        file(b"made/for/more", b"", Some(0o600), Prior::Absent),
        file(b"\xff\n", b"even odder", None, Prior::Any),
        gone(b"shut/in"),
    ];
    (FilesWrite { entries }, input)
}

fn open(run: &Path) -> World {
    let folder = fs::File::open(run).expect("the run's folder");
    World::open(folder.into(), rustix::process::geteuid().as_raw()).expect("a world")
}

fn apply(world: &World, (set, input): (FilesWrite, Vec<u8>)) -> Result<Reply, Failure> {
    send(world, Op::FilesWrite(set), input)
}

fn send(world: &World, op: Op, input: Vec<u8>) -> Result<Reply, Failure> {
    let outbox = Arc::new(Outbox::new().expect("an outbox"));
    let port = Port::new(1, 1, outbox, Arc::default());
    port.take_input(input, true).expect("short enough");
    let result = file_op(world, &port, op);
    world.clear();
    result
}

/// A directory that nobody may write to gets a new name, for which two directories have to be made.
fn apply_move(world: &World) -> Result<Reply, Failure> {
    let op = PathMove {
        from: Bytes::from("d/e"),
        to: Bytes::from("made/for/it/e"),
    };
    send(world, Op::PathMove(op), Vec::new())
}

fn again(run: &Path) -> std::io::Result<super::Recovered> {
    recover(fs::File::open(run).expect("the run's folder").as_fd())
}

/// A run's folder with the old tree.
fn planted() -> tempfile::TempDir {
    let run = tempfile::tempdir().expect("a folder");
    fs::create_dir(run.path().join("tree")).expect("a tree");
    plant(run.path());
    run
}

/// What the tree looks like when the set was applied.
fn the_new_tree() -> Vec<String> {
    let run = planted();
    apply(&open(run.path()), the_set()).expect("it applies");
    assert!(stage_is_empty(run.path()));
    picture(run.path(), false)
}

/// One call to the kernel after the other is refused: what `act` does is taken back, or has another way to `new`; how many
/// calls there were.
fn errors_at_any_step(new: &[String], act: impl Fn(&World) -> Result<Reply, Failure>) -> usize {
    let mut steps = 0;
    for errno in [Errno::NOSPC, Errno::ROFS, Errno::IO, Errno::ACCESS] {
        for step in 0.. {
            let run = planted();
            let (old, world) = (picture(run.path(), true), open(run.path()));
            let faults = Faults::new(move |at| if at == step { Err(errno) } else { Ok(()) });
            let result = act(&world);
            let over = Faults::passed() <= step;
            drop(faults);
            match result {
                Err(failure) => {
                    assert!(failure.message.ends_with(NOTHING_CHANGED), "{failure:?}");
                    assert_eq!(picture(run.path(), true), old, "{errno} at {step}");
                    assert!(stage_is_empty(run.path()), "{errno} at {step}");
                }
                // Some calls have a second way; the last step only cleans up.
                Ok(_) => assert_eq!(picture(run.path(), false), new, "{errno} at {step}"),
            }
            if over {
                steps = step;
                break;
            }
        }
    }
    steps
}

#[test]
fn an_error_at_any_step_takes_everything_back() {
    let steps = errors_at_any_step(&the_new_tree(), |world| apply(world, the_set()));
    assert!(steps > 40, "the faults are reached: {steps}");
}

/// A file system that refuses everything from one step on: what `act` did cannot be taken back either, and says so; the
/// next agent does it. How often it was left to that one.
fn refusals_from_any_step(new: &[String], act: impl Fn(&World) -> Result<Reply, Failure>) -> usize {
    let mut left = 0;
    for step in 0.. {
        let run = planted();
        let (old, world) = (picture(run.path(), true), open(run.path()));
        let faults = Faults::new(move |at| if at >= step { Err(Errno::ROFS) } else { Ok(()) });
        let result = act(&world);
        let over = Faults::passed() <= step;
        drop(faults);
        let now = picture(run.path(), true);
        match &result {
            Err(failure) if failure.message.ends_with(NOTHING_CHANGED) => assert_eq!(now, old),
            Err(failure) => {
                assert!(failure.message.contains("tries again"), "{failure:?}");
                left += 1;
            }
            Ok(_) => assert_eq!(picture(run.path(), false), new),
        }
        // Nobody is served from a tree that is neither.
        drop(world);
        open(run.path());
        match result {
            Err(_) => assert_eq!(picture(run.path(), true), old, "from {step} on"),
            Ok(_) => assert_eq!(picture(run.path(), false), new),
        }
        assert!(!run.path().join("stage").exists() || stage_is_empty(run.path()));
        if over {
            break;
        }
    }
    left
}

#[test]
fn what_cannot_be_taken_back_is_taken_back_by_the_next_agent() {
    let left = refusals_from_any_step(&the_new_tree(), |world| apply(world, the_set()));
    assert!(left > 20, "{left}");
}

fn child(deed: &str, place: &Path) -> ExitStatus {
    Command::new(std::env::current_exe().expect("knows itself"))
        .args(["--exact", "calls::journal::tests::a_child"])
        .env(DEED, deed)
        .env(PLACE, place)
        .stdout(std::process::Stdio::null())
        .status()
        .expect("it starts")
}

/// Not a test of its own: what the others run in a process that may die.
#[test]
fn a_child() {
    let (Ok(deed), Some(place)) = (std::env::var(DEED), std::env::var_os(PLACE)) else {
        return;
    };
    let place = Path::new(&place);
    let (what, step) = deed.split_once(' ').expect("what and when");
    let step: usize = step.parse().expect("a number");
    let dies = move |at| {
        if at == step {
            kill_process(getpid(), Signal::KILL).expect("dies");
        }
        Ok(())
    };
    match what {
        "apply" => {
            let world = open(place);
            let _faults = Faults::new(dies);
            apply(&world, the_set()).expect("it applies");
        }
        "unpack" => {
            let world = open(place);
            let _faults = Faults::new(dies);
            archive::unpack(&world).expect("it fits");
        }
        "move" => {
            let world = open(place);
            let _faults = Faults::new(dies);
            apply_move(&world).expect("it moves");
        }
        "recover" => {
            let _faults = Faults::new(dies);
            again(place).expect("recovers");
        }
        "disk" => on_a_small_disk(place),
        other => panic!("{other}"),
    }
}

#[test]
fn a_kill_at_any_step_leaves_the_old_tree_or_the_new_one() {
    let new = the_new_tree();
    let (mut olds, mut news) = (0, 0);
    for step in 0.. {
        let run = planted();
        let old = picture(run.path(), true);
        let ended = child(&format!("apply {step}"), run.path());
        if ended.success() {
            assert_eq!(picture(run.path(), false), new);
            break;
        }
        assert_eq!(ended.signal(), Some(9), "at {step}");
        // The next one does not get through at once either: it is stopped one step later each time.
        let mut tries = 0;
        loop {
            let faults = Faults::new(move |at| if at == tries { Err(Errno::IO) } else { Ok(()) });
            let done = again(run.path());
            drop(faults);
            match done {
                Ok(recovered) => {
                    assert_eq!(recovered.in_the_way, Vec::<Vec<u8>>::new());
                    break;
                }
                Err(_) => tries += 1,
            }
        }
        assert!(!run.path().join("stage").exists() || stage_is_empty(run.path()));
        if picture(run.path(), true) == old {
            olds += 1;
        } else {
            assert_eq!(picture(run.path(), false), new, "at {step}");
            news += 1;
        }
    }
    assert!(olds > 40, "{olds} old trees");
    assert_eq!(news, 1, "killed after the last change, before the cleaning");
}

#[test]
fn a_recovery_that_is_killed_at_any_step_is_finished_by_the_next_one() {
    // Before the journal is removed everything has been done, and everything has to be undone.
    let mut last = 0;
    while child(&format!("apply {last}"), planted().path()).signal() == Some(9) {
        last += 1;
    }
    let run = planted();
    let old = picture(run.path(), true);
    let ended = child(&format!("apply {}", last - 2), run.path());
    assert_eq!(ended.signal(), Some(9));
    assert_ne!(picture(run.path(), true), old);
    let mut kills = 0;
    while child(&format!("recover {}", kills / 2), run.path()).signal() == Some(9) {
        kills += 1;
    }
    assert!(kills > 6, "{kills}");
    assert_eq!(picture(run.path(), true), old);
    assert!(stage_is_empty(run.path()));
}

#[test]
fn a_move_that_is_stopped_at_any_step_has_happened_or_not() {
    let run = planted();
    apply_move(&open(run.path())).expect("it moves");
    assert!(stage_is_empty(run.path()));
    let new = picture(run.path(), false);
    assert!(run.path().join("tree/made/for/it/e/deep/g").is_file());
    let steps = errors_at_any_step(&new, apply_move);
    assert!(steps > 10, "the faults are reached: {steps}");
    let (mut olds, mut news) = (0, 0);
    for step in 0.. {
        let run = planted();
        let old = picture(run.path(), true);
        let ended = child(&format!("move {step}"), run.path());
        if ended.success() {
            break;
        }
        assert_eq!(ended.signal(), Some(9), "at {step}");
        // The next one is ended in the middle of what it takes back, too.
        let faults = Faults::new(move |at| {
            if at == step / 3 {
                Err(Errno::IO)
            } else {
                Ok(())
            }
        });
        let _ = again(run.path());
        drop(faults);
        again(run.path()).expect("recovers");
        if picture(run.path(), true) == old {
            olds += 1;
        } else {
            assert_eq!(picture(run.path(), false), new, "at {step}");
            news += 1;
        }
    }
    assert!(olds > 10, "{olds}");
    assert_eq!(news, 1, "killed after the last change, before the cleaning");
}

/// A real file system that is full, or read-only, in namespaces of its own.
#[test]
fn a_full_or_read_only_disk_leaves_the_old_tree() {
    let place = tempfile::tempdir().expect("a folder");
    let script = "mount -t tmpfs -o size=400k,nr_inodes=80 none \"$0\" && exec \"$@\"";
    let ended = Command::new("unshare")
        .args(["-rm", "sh", "-c", script])
        .arg(place.path())
        .arg(std::env::current_exe().expect("knows itself"))
        .args(["--exact", "calls::journal::tests::a_child"])
        .env(DEED, "disk 0")
        .env(PLACE, place.path())
        .output()
        .expect("unshare starts");
    let text = String::from_utf8_lossy(&ended.stdout);
    assert!(
        ended.status.success() && text.contains("1 passed"),
        "{text} {}",
        String::from_utf8_lossy(&ended.stderr)
    );
}

fn on_a_small_disk(run: &Path) {
    fs::create_dir(run.join("tree")).expect("a tree");
    plant(run);
    let old = picture(run, true);
    let fails = |what: &str, code: FailureCode| match apply(&open(run), the_set()) {
        Ok(_) => false,
        Err(failure) => {
            assert_eq!(failure.code, code, "{what}: {failure:?}");
            assert!(failure.message.ends_with(NOTHING_CHANGED), "{failure:?}");
            assert_eq!(picture(run, true), old, "{what}");
            true
        }
    };
    let remount = |flags| rustix::mount::mount_remount(run, flags, c"").expect("remounts");
    remount(MountFlags::RDONLY);
    assert!(fails("read-only", FailureCode::Io));
    remount(MountFlags::empty());
    // One file more may be made each time, until there are enough.
    let fillers = run.join("fillers");
    fs::create_dir(&fillers).expect("a folder");
    let mut made = 0;
    while fs::write(fillers.join(made.to_string()), "").is_ok() {
        made += 1;
    }
    let mut refused = 0;
    while refused < made && {
        fs::remove_file(fillers.join(refused.to_string())).expect("one less");
        fails("no inode", FailureCode::NoSpace)
    } {
        refused += 1;
    }
    assert!(refused > 5 && refused < made, "{refused} of {made}");
    fs::remove_dir_all(&fillers).expect("removed");
    // The tree is the new one by now.
    fs::remove_dir_all(run.join("tree")).expect("removed");
    fs::create_dir(run.join("tree")).expect("a tree");
    plant(run);
    let old = picture(run, true);
    let filler = run.join("filler");
    let page = 4096;
    let file = fs::File::create(&filler).expect("a file");
    let mut size = 0;
    while std::io::Write::write(&mut &file, &[1; 4096]).is_ok_and(|count| count == 4096) {
        size += page;
    }
    let mut refused = 0;
    loop {
        file.set_len(size).expect("shorter");
        match apply(&open(run), the_set()) {
            Ok(_) => break,
            Err(failure) => {
                assert_eq!(failure.code, FailureCode::NoSpace, "{failure:?}");
                assert!(failure.message.ends_with(NOTHING_CHANGED), "{failure:?}");
                assert_eq!(picture(run, true), old, "{size} bytes");
            }
        }
        refused += 1;
        size -= page;
    }
    assert!(refused > 2, "{refused}");
}

/// Sets that change the same files come one after the other: whichever is last, all its files are there.
#[test]
fn sets_at_the_same_time_never_mix() {
    let run = planted();
    let world = open(run.path());
    let set = |tag: u8| {
        let file = |path: &str| WriteEntry {
            path: Bytes::from(path),
            expect: Prior::Any,
            action: WriteAction::File {
                size: 1,
                mode: None,
            },
        };
        let entries = ["d/b", "kept/h", "run.sh"].map(file).to_vec();
        (FilesWrite { entries }, vec![tag; 3])
    };
    std::thread::scope(|scope| {
        for tag in 0..4 {
            let world = &world;
            scope.spawn(move || {
                for _ in 0..50 {
                    // A set that found another one's files between its look and its turn is refused.
                    if let Err(failure) = apply(world, set(tag)) {
                        assert_eq!(failure.code, FailureCode::Conflict, "{failure:?}");
                    }
                }
            });
        }
    });
    let read = |path| fs::read(run.path().join("tree").join(path)).expect("there");
    let tag = read("d/b");
    assert_eq!((read("kept/h"), read("run.sh")), (tag.clone(), tag));
    assert!(stage_is_empty(run.path()));
}
