//! Making, starting, stopping and starting again.

use super::{Kept, finish, folders, inside, program, recipe, run, sh, skipped};
use crate::harness::{World, is_root, wait_for};
use pyro::keeper::{self, KeeperError, Program};
use pyro::workspace::{EndReason, HomeError, StateDir, SweptHomes};
use pyro_protocol::boot::{BootEnvironment, Ids};
use pyro_protocol::message::{ExecEnd, Op, Reply, TreeMark, TreeReset};
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::process::{Command, Stdio};

#[test]
fn a_workspace_lives_on_between_clients_and_starts() {
    let kept = Kept::seeded(&[("a.txt", "seed\n")]);
    let home = &kept.home;
    assert!(kept.is_running() && home.ended().expect("reads").is_none());
    kept.sh("cat a.txt > b.txt; (sleep 1000 > /dev/null 2>&1 &) ");
    // Another client, the same processes.
    assert_eq!(
        kept.sh("cat b.txt; grep -c sleep /proc/[0-9]*/comm | grep -c :1"),
        "seed\n1\n"
    );
    assert_eq!(kept.sh("hostname"), "kept\n");
    let status = keeper::status(home).expect("answers");
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert_eq!((status.clients, status.expires_at_ms), (0, None));
    assert!(kept.stop());
    kept.is_gone();
    let ended = home.ended().expect("reads").expect("is there");
    assert_eq!((ended.reason, ended.message), (EndReason::Stopped, None));
    assert!(!kept.stop(), "there was nothing to stop");
    kept.start();
    assert_eq!(home.ended().expect("reads"), None);
    assert_eq!(
        kept.sh("cat a.txt b.txt; ls /proc | grep -c '^[0-9]'"),
        "seed\nseed\n4\n"
    );
    let changed = kept.sh("echo more >> a.txt; echo");
    assert_eq!(changed, "\n");
    assert_eq!(
        fs::read_to_string(home.tree().join("a.txt")).expect("reads"),
        "seed\nmore\n"
    );
    let folder = fs::metadata(home.path()).expect("a folder");
    assert_eq!(folder.permissions().mode() & 0o7777, 0o700);
    let removed = home.clone().remove(kept.lock());
    assert!(
        matches!(removed, Err(HomeError::Running { .. })),
        "{removed:?}"
    );
    kept.stop();
    home.clone().remove(kept.lock()).expect("removes");
    assert_eq!(
        folders(&kept.state.path().join("workspaces")),
        [] as [std::path::PathBuf; 0]
    );
    assert!(matches!(home.lock(), Err(HomeError::Missing { .. })));
}

#[test]
fn marks_survive_a_stop() {
    let kept = Kept::seeded(&[("a.txt", "seed\n"), ("gone.txt", "x\n")]);
    let mark = |name: &str| {
        let mut link = kept.link();
        let call = link.call(Op::TreeMark(TreeMark {
            name: name.to_owned(),
            contents: true,
            system: true,
        }));
        finish(&mut link, call).0.expect("marks");
    };
    kept.sh("echo one > a.txt; echo new > new.txt; echo home > /root/file");
    mark("one");
    kept.sh("echo two > a.txt; rm gone.txt new.txt; mkdir d; echo two > /root/file");
    kept.stop();
    // As promised, only the work tree is what it was.
    kept.start();
    assert_eq!(
        kept.sh("cat a.txt; ls; ls /root /tmp"),
        "two\na.txt\nd\n/root:\n\n/tmp:\n"
    );
    let mut link = kept.link();
    let reset = |name: &str| {
        Op::TreeReset(TreeReset {
            to: name.to_owned(),
            token: None,
        })
    };
    let call = link.call(reset("one"));
    let (reply, _) = finish(&mut link, call);
    assert!(matches!(reply, Ok(Reply::Records(_))), "{reply:?}");
    assert_eq!(
        kept.sh("cat a.txt gone.txt new.txt /root/file; ls"),
        "one\nx\nnew\nhome\na.txt\ngone.txt\nnew.txt\n"
    );
    // And the baseline with its contents.
    let call = link.call(reset("baseline"));
    let (reply, _) = finish(&mut link, call);
    assert!(reply.is_ok(), "{reply:?}");
    assert_eq!(
        kept.sh("cat a.txt gone.txt; ls"),
        "seed\nx\na.txt\ngone.txt\n"
    );
}

#[test]
fn a_set_that_a_dead_agent_left_is_taken_back() {
    let kept = Kept::seeded(&[("f", "old")]);
    kept.stop();
    // As the agent has it after an exchange.
    let run = kept.home.run();
    let owner = fs::metadata(&run).expect("there").uid();
    let inner = fs::metadata(run.join("tree/f")).expect("there").uid();
    fs::create_dir_all(run.join("stage/w0")).expect("makes");
    fs::rename(run.join("tree/f"), run.join("stage/w0/1")).expect("moves");
    fs::write(run.join("tree/f"), "new").expect("writes");
    let inode = fs::metadata(run.join("tree/f")).expect("there").ino();
    let journal = format!(
        "{{\"begin\":{{\"version\":1}}}}\n{{\"exchanged\":{{\"path\":\"f\",\"name\":\"1\",\"inode\":{inode}}}}}\n"
    );
    fs::write(run.join("stage/w0/journal"), journal).expect("writes");
    for (path, id) in [
        ("stage", owner),
        ("stage/w0", owner),
        ("stage/w0/journal", owner),
        ("tree/f", inner),
    ] {
        std::os::unix::fs::chown(run.join(path), Some(id), Some(id)).expect("gives");
    }
    kept.start();
    assert_eq!(kept.sh("cat f"), "old");
}

#[test]
fn a_caller_whose_output_is_captured_is_not_held() {
    let kept = Kept::new();
    // Descriptors that nobody said should close: the keeper must not have them.
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    rustix::io::fcntl_setfd(&theirs, rustix::io::FdFlags::empty()).expect("stays open");
    kept.start();
    drop(theirs);
    let ended = ours.read_to_end(&mut Vec::new()).expect("reads");
    assert_eq!(ended, 0);
    let keeper = kept.keeper().expect("runs");
    let fds = format!("/proc/{}/fd", keeper.as_raw_nonzero());
    let target = |fd: &str| fs::read_link(format!("{fds}/{fd}")).expect("open");
    assert_eq!(target("0").as_os_str(), "/dev/null");
    assert_eq!(target("1"), kept.home.log());
    assert_eq!(target("2"), kept.home.log());
    let stat =
        fs::read_to_string(format!("/proc/{}/stat", keeper.as_raw_nonzero())).expect("there");
    let (_, rest) = stat.rsplit_once(") ").expect("a stat");
    let [_, parent, group, session, terminal] = rest.split(' ').take(5).collect::<Vec<_>>()[..]
    else {
        panic!("{stat}");
    };
    assert_ne!(parent, std::process::id().to_string());
    assert_eq!((group, terminal), (session, "0"));
}

#[test]
fn two_starters_at_once_make_one_keeper() {
    let kept = Kept::new();
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..6).map(|_| scope.spawn(|| kept.try_start())).collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("ends"))
            .collect()
    });
    let started = results.iter().filter(|result| result.is_ok()).count();
    assert_eq!(started, 1, "{results:?}");
    for result in &results {
        if let Err(error) = result {
            assert!(matches!(error, KeeperError::AlreadyRuns(_)), "{error:?}");
        }
    }
    assert_eq!(super::processes("pyro-keeper", kept.home.id()).len(), 1);
    assert_eq!(kept.sh("echo on"), "on\n");
}

#[test]
fn one_that_is_not_let_go_leaves_nothing() {
    let kept = Kept::new();
    let lifecycle = kept.lock();
    let starting = keeper::begin_with(&program(), &kept.home, &lifecycle).expect("begins");
    wait_for("the machine", || !inside(kept.home.id()).is_empty());
    drop(starting);
    drop(lifecycle);
    // A process closes its descriptors, by which its end is known, a moment before it is gone.
    wait_for("their end", || {
        kept.keeper().is_none() && inside(kept.home.id()).is_empty()
    });
    assert_eq!(kept.home.ended().expect("reads"), None);
    kept.start();
}

#[test]
fn a_program_that_is_no_keeper_is_refused() {
    let kept = Kept::new();
    let try_with = |path: &str| {
        let begun = keeper::begin_with(&Program::at(path), &kept.home, &kept.lock());
        begun.and_then(keeper::Starting::ready)
    };
    let error = try_with("/no/such/pyro").expect_err("refused");
    assert!(matches!(error, KeeperError::Spawn { .. }), "{error:?}");
    let error = try_with("/bin/true").expect_err("refused");
    assert!(
        matches!(error, KeeperError::Silent { .. } | KeeperError::Talk(_)),
        "{error:?}"
    );
    // Nobody else starts one.
    let world = World::new();
    let ran = world
        .pyro(["keeper", "--state-dir", "/nowhere", "0123456789ab"])
        .ended(2);
    assert!(
        ran.stderr().contains("pyro starts its keepers itself"),
        "{}",
        ran.text()
    );
    kept.start();
}

#[test]
fn what_cannot_be_made_is_told_and_leaves_nothing() {
    let mut recipe = recipe();
    recipe.expose.push("/proc/self".into());
    let kept = Kept::with(&recipe);
    let error = kept.try_start().expect_err("nobody may expose that");
    assert_eq!(
        error.to_string(),
        "make the sandbox: expose /proc/self: the sandbox has its own (step system-tree)"
    );
    kept.is_gone();
    recipe.expose.clear();
    kept.home
        .write_recipe(&recipe, &kept.lock())
        .expect("writes");
    kept.start();
}

#[test]
fn a_state_directory_may_have_a_long_name() {
    let long = format!(
        "{0}/{0}/state",
        "a-name-of-a-folder-that-goes-on-and-on".repeat(3)
    );
    let kept = Kept::below(&long, &recipe());
    assert!(kept.home.path().as_os_str().len() > 200);
    kept.start();
    assert_eq!(kept.sh("echo on"), "on\n");
    kept.stop();
    kept.is_gone();
}

#[test]
fn what_creators_and_removers_left_is_swept() {
    let world = World::new();
    let state = StateDir::open(Some(&world.state())).expect("opens");
    let (home, lifecycle) = state.new_home().expect("a new home");
    assert_eq!(state.sweep_homes().expect("sweeps"), SweptHomes::default());
    assert_eq!(state.homes().expect("lists"), std::slice::from_ref(&home));
    assert_eq!(state.home(home.id()).expect("is there"), home);
    assert!(home.try_lock().expect("can be told").is_none());
    drop(lifecycle);
    let (done, lifecycle) = state.new_home().expect("a new home");
    done.complete(&lifecycle).expect("completes");
    drop(lifecycle);
    fs::create_dir_all(world.state().join("workspaces/.dead-left/run/tree")).expect("makes");
    let swept = state.sweep_homes().expect("sweeps");
    let expected = SweptHomes {
        half_made: vec![home.id().to_owned()],
        half_removed: 1,
        stuck: 0,
    };
    assert_eq!(swept, expected);
    assert_eq!(folders(&world.state().join("workspaces")), [done.path()]);
    assert_eq!(state.sweep_homes().expect("sweeps"), SweptHomes::default());
    for wrong in ["", "..", "0123456789a", "0123456789AB", "0123456789ab"] {
        assert!(
            matches!(state.home(wrong), Err(HomeError::Missing { .. })),
            "{wrong}"
        );
    }
}

/// Somebody else has the range of this root inside, and all below it.
fn take_range_of(root: u32) -> Vec<Option<pyro::machine::IdRangeLock>> {
    let mut others = Vec::new();
    // A sandbox of another test may have it for a moment.
    wait_for("the range", || {
        loop {
            let (ids, lock) = pyro::machine::ids_for_this_user().expect("finds ids");
            let Ids::Range { base } = ids else {
                panic!("root has ranges");
            };
            if base + 1 > root {
                return false;
            }
            others.push(lock);
            if base + 1 == root {
                return true;
            }
        }
    });
    others
}

#[test]
fn what_changed_of_an_image_survives_a_stop() {
    let script = "mkdir -p rootfs/bin rootfs/data; for program in sh cat rm ls chmod; do \
        path=$(readlink -f \"$(command -v $program)\"); cp \"$path\" rootfs/bin/$program; \
        for lib in $(ldd \"$path\" | grep -o '/[^ ]*'); do \
        mkdir -p rootfs$(dirname $lib); cp -L $lib rootfs$lib; done; done; \
        echo image > rootfs/data/file; echo unwanted > rootfs/data/unwanted";
    let world = World::new();
    let made = Command::new("sh")
        .args(["-ec", script])
        .current_dir(world.work())
        .status();
    assert!(made.expect("starts").success());
    let mut recipe = recipe();
    let image = world.work().join("rootfs");
    recipe.environment = BootEnvironment::Dir(image.to_string_lossy().as_ref().into());
    let kept = Kept::with(&recipe);
    kept.start();
    kept.sh(
        "echo changed > /data/file; rm /data/unwanted; echo new > /data/new; chmod 600 /data/new",
    );
    for shifted in [false, true] {
        kept.stop();
        let upper = kept.home.run().join("system/upper/data/new");
        let others = if shifted && is_root() {
            take_range_of(fs::metadata(&upper).expect("there").uid())
        } else {
            Vec::new()
        };
        kept.start();
        assert_eq!(
            kept.sh("cat /data/file /data/new; ls /data"),
            "changed\nnew\nfile\nnew\n"
        );
        kept.sh("echo new > /data/new");
        drop(others);
    }
    assert_eq!(
        fs::read_to_string(image.join("data/file")).expect("reads"),
        "image\n"
    );
}

#[test]
fn roots_files_follow_its_ids() {
    if !is_root() {
        return skipped("only root has ranges of ids");
    }
    let kept = Kept::seeded(&[("a.txt", "seed\n"), ("d/b.txt", "seed\n")]);
    kept.sh("chmod 4711 a.txt; ln -s a.txt link; ln d/b.txt twin; chown 5:7 twin");
    let owner = |path: &str| {
        let found = fs::symlink_metadata(kept.home.tree().join(path)).expect("there");
        (found.uid(), found.gid(), found.mode() & 0o7777)
    };
    let first = owner("link").0;
    kept.stop();
    let others = take_range_of(first);
    kept.start();
    let second = owner("link").0;
    assert_ne!(first, second);
    assert_eq!(owner("a.txt"), (second, second, 0o4711));
    assert_eq!(owner("d/b.txt"), (second + 5, second + 7, 0o644));
    assert_eq!(
        kept.sh("stat -c '%u %g %a %n' a.txt d d/b.txt"),
        "0 0 4711 a.txt\n0 0 755 d\n5 7 644 d/b.txt\n"
    );
    kept.sh("echo more >> a.txt");
    kept.stop();
    drop(others);
    // Nobody was in the way this time.
    kept.start();
    assert_eq!(owner("link").0, second);
}

#[test]
fn thirty_starts_and_stops_leave_nothing_behind() {
    let kept = Kept::new();
    kept.start();
    kept.stop();
    let count = || {
        // Other tests of this process have descriptors too.
        let open = folders("/proc/self/fd".as_ref());
        let open = open.iter().filter_map(|fd| fs::read_link(fd).ok());
        let ours = open.filter(|target| target.to_string_lossy().contains(kept.home.id()));
        let names = folders(kept.home.path()).len();
        (ours.count(), inside(kept.home.id()).len(), names)
    };
    let before = count();
    for round in 0..30 {
        kept.start();
        assert_eq!(kept.sh("echo on"), "on\n", "{round}");
        kept.stop();
    }
    kept.is_gone();
    assert_eq!(count(), before);
    // No child of ours is waiting to be reaped either.
    let children = Command::new("ps")
        .args([
            "-o",
            "stat=,comm=",
            "--ppid",
            &std::process::id().to_string(),
        ])
        .stdout(Stdio::piped())
        .output();
    if let Ok(children) = children {
        let text = String::from_utf8_lossy(&children.stdout).into_owned();
        let dead = |line: &&str| line.starts_with('Z') && line.contains("pyro-agent");
        assert!(text.lines().filter(dead).count() < 3, "{text}");
    }
}

#[test]
fn outputs_of_clients_that_went_are_not_kept() {
    let kept = Kept::new();
    kept.start();
    let spool = kept.home.run().join("spool");
    let mut link = kept.link();
    let (report, _) = sh(&mut link, "echo out; echo err >&2");
    assert_eq!(report.end, ExecEnd::Exited { code: 0 });
    assert_eq!(folders(&spool).len(), 2);
    let call = link.call(run("echo out; sleep 1000"));
    super::next(&mut link, call);
    drop(link);
    wait_for("the outputs to go", || folders(&spool).is_empty());
}
