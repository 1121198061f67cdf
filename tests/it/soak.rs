//! Many workspaces come and go, four at a time, and nothing is left of them: `PYRO_TEST_SOAK` says how many.

use crate::harness::World;
use crate::living::{create, inside, keeper, world, ws};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Who makes workspaces at the same time.
const AT_ONCE: usize = 4;

/// What one could have too much of after a while.
#[derive(Debug)]
struct Counted {
    processes: usize,
    /// Of the keeper that is there all the time.
    descriptors: usize,
    /// Of the same, in KiB.
    memory: u64,
    /// In the state directory, but for the registry.
    files: usize,
    /// Of the registry, in bytes.
    registry: u64,
}

fn count(world: &World, keeper: rustix::process::Pid) -> Counted {
    let state = world.state();
    let word = state.to_str().expect("text").to_owned();
    let of = |path: &str| format!("/proc/{}/{path}", keeper.as_raw_nonzero());
    let status = fs::read_to_string(of("status")).expect("runs");
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let resident = resident.and_then(|rest| rest.trim().strip_suffix(" kB"));
    let (registry, files): (Vec<_>, Vec<_>) = walk(&state)
        .into_iter()
        .partition(|path| path.contains("/registry.sqlite"));
    let size = |path: &String| fs::metadata(path).map_or(0, |metadata| metadata.size());
    Counted {
        processes: inside(&word).len(),
        descriptors: fs::read_dir(of("fd")).expect("runs").count(),
        memory: resident.expect("is told").parse().expect("a number"),
        files: files.len(),
        registry: registry.iter().map(size).sum(),
    }
}

/// Every path below a folder.
fn walk(top: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![top.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
            found.push(entry.path().to_string_lossy().into_owned());
        }
    }
    found
}

/// Control groups of machines whose folder is noted nowhere any more would pile up here.
fn groups() -> Vec<String> {
    let all = walk(Path::new("/sys/fs/cgroup"));
    let is_ours = |path: &String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.starts_with("pyro-") && Path::new(path).is_dir()
    };
    all.into_iter().filter(is_ours).collect()
}

/// One workspace from its beginning to its end; its id.
fn cycle(world: &World, number: usize) -> String {
    let id = create(world, &[]);
    let script =
        format!("echo {number} >> note.txt; sleep 600 & head -c 100000 /dev/zero | tr '\\0' x");
    let ran = ws(world, &["exec", &id, "--", "sh", "-c", &script]).ended(0);
    assert_eq!(ran.stdout.len(), 100_000);
    ws(world, &["delete", &id]).ended(0);
    id
}

#[test]
fn of_many_workspaces_nothing_is_left() {
    let cycles = std::env::var("PYRO_TEST_SOAK").ok();
    let cycles = cycles.and_then(|cycles| cycles.parse().ok()).unwrap_or(40);
    let world = world();
    let stays = create(&world, &[]);
    let run = || ws(&world, &["exec", &stays, "--", "cat", "note.txt"]).ended(0);
    // The first ones make what stays.
    cycle(&world, 0);
    run();
    let keeper = keeper(&stays);
    let before = count(&world, keeper);
    let next = AtomicUsize::new(1);
    let gone = std::sync::Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number > cycles {
                        break;
                    }
                    let id = cycle(&world, number);
                    gone.lock().expect("nobody panicked").push(id);
                    if number.is_multiple_of(10) {
                        assert_eq!(run().stdout(), "old\n");
                    }
                }
            });
        }
    });
    let used = cycles / 10;
    crate::harness::wait_for("every process to end", || {
        count(&world, keeper).processes == before.processes
    });
    let after = count(&world, keeper);
    let told = format!("{before:?}\n{after:?}");
    let gone = gone.into_inner().expect("nobody panicked");
    assert_eq!(gone.len(), cycles);
    assert_eq!(after.descriptors, before.descriptors, "{told}");
    for group in groups() {
        assert!(!gone.iter().any(|id| group.ends_with(id)), "{group}");
    }
    // Each use of the one that stays has a receipt in a folder.
    assert_eq!(after.files, before.files + 2 * used, "{told}");
    assert!(after.memory <= before.memory + 2048, "{told}");
    // Its log is written back from time to time.
    assert!(after.registry <= 4 << 20, "{told}");
    report(&format!("{cycles} cycles: {told}"));
    ws(&world, &["delete", &stays]).ended(0);
    crate::living_faults::nothing_is_left(&world);
}

#[expect(clippy::print_stdout, reason = "for who looks at the figures")]
fn report(text: &str) {
    println!("{text}");
}
