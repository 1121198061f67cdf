//! Programs that misbehave, users who interrupt, and processes that are killed: the run ends as told, and nothing of
//! it is left. Waits are generous and bounded; nothing here measures a clock.

use crate::harness::{Ran, World, snapshot, wait_for};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Child;

/// Applies a request and checks that nothing is left of it.
fn apply(request: &str) -> (World, Ran, Value) {
    let world = World::with(request);
    let ran = world.pyro(["apply", "request.pyro.toml"]);
    assert_eq!(world.runs().len(), 0, "{}", ran.text());
    nothing_is_left(&world);
    let receipt = world.receipt();
    (world, ran, receipt)
}

/// The name that all processes and mounts of a test have in their mount tables, and nobody else.
fn mark(world: &World) -> String {
    let name = world.base().file_name().expect("a name");
    name.to_string_lossy().into_owned()
}

/// Processes in a sandbox of this test.
fn processes(world: &World) -> Vec<String> {
    let mark = mark(world);
    fs::read_dir("/proc")
        .expect("/proc")
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let id = path.file_name()?.to_str()?.parse::<u32>().ok()?;
            let mounts = fs::read(path.join("mountinfo")).ok()?;
            let ours = memchr::memmem::find(&mounts, mark.as_bytes()).is_some();
            let comm = || fs::read_to_string(path.join("comm")).unwrap_or_default();
            ours.then(|| format!("{id} {}", comm().trim()))
        })
        .collect()
}

fn nothing_is_left(world: &World) {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
    assert!(!mounts.contains(&mark(world)), "a mount was left");
    // What was killed takes a moment to go.
    wait_for("the sandbox's processes to be gone", || {
        processes(world).is_empty()
    });
}

/// The first process of a sandbox of this test with this name.
pub(crate) fn find(world: &World, name: &str) -> Option<Pid> {
    processes(world).iter().find_map(|process| {
        let (id, comm) = process.split_once(' ')?;
        (comm == name).then(|| Pid::from_raw(id.parse().ok()?))?
    })
}

fn id(child: &Child) -> Pid {
    Pid::from_child(child)
}

#[test]
fn a_fork_bomb_ends_with_its_step() {
    let (_, ran, receipt) = apply(
        r#"pyro = 1
[[step]]
exec = "b() { b | b & }; b 2> /dev/null; sleep 60"
timeout = "2s"
expect.timed_out = true
[[step]]
exec = ["echo", "alive"]
expect.stdout.equals = "alive\n"
"#,
    );
    assert_eq!(ran.code, Some(0), "{}", ran.text());
    assert_eq!(receipt["outcome"], "passed");
}

#[test]
fn a_memory_bomb_ends_alone_or_in_a_crowd() {
    for script in [
        "head -c 2G /dev/zero | tail",
        "for i in 1 2 3 4 5 6 7 8; do (head -c 120M /dev/zero | tail > /dev/null || touch killed; sleep 2) & done; wait; test ! -e killed",
    ] {
        let (_, ran, receipt) = apply(&format!(
            r#"pyro = 1
workspace.memory = "256MiB"
[[step]]
exec = "{script}"
timeout = "60s"
[[step]]
always = true
exec = ["echo", "alive"]
expect.stdout.equals = "alive\n"
"#
        ));
        assert_eq!(ran.code, Some(4), "{}", ran.text());
        assert_eq!(receipt["steps"][1]["outcome"], "passed", "{}", ran.text());
        assert_eq!(receipt["steps"][0]["exec"]["timed_out"], false, "{script}");
        if script.starts_with("for") {
            let note = &receipt["steps"][0]["notes"][0];
            assert_eq!(note, "processes of it were ended: memory limit");
        }
    }
}

#[test]
fn ten_gigabytes_of_output_take_little_disk() {
    let (world, ran, receipt) = apply(
        r#"pyro = 1
[[step]]
exec = "yes | head -c 10G"
timeout = "9m"
"#,
    );
    assert_eq!(ran.code, Some(0), "{}", ran.text());
    let stdout = &receipt["steps"][0]["stdout"];
    assert_eq!(stdout["bytes"], 10_u64 << 30);
    assert_eq!(stdout["dropped"], (10_u64 << 30) - (256 << 20));
    let kept = stdout["file"].as_str().expect("a file");
    assert_eq!(
        fs::metadata(kept).expect("kept").len(),
        256 << 20,
        "every byte that was not dropped can be read"
    );
    assert!(disk_used(&world.state()) < 270 << 20);
}

fn disk_used(folder: &Path) -> u64 {
    let mut used = 0;
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        let metadata = path.symlink_metadata().expect("metadata");
        used += if metadata.is_dir() {
            disk_used(&path)
        } else {
            metadata.blocks() * 512
        };
    }
    used
}

#[test]
fn a_filled_disk_ends_the_step_that_fills_it() {
    for script in [
        "head -c 4G /dev/zero > big; sleep 30",
        "i=0; while :; do i=$((i+1)); head -c 1M /dev/zero > f$i || exit 1; done",
        "head -c 4G /dev/zero > /tmp/big || exit 7",
    ] {
        let (_, ran, receipt) = apply(&format!(
            r#"pyro = 1
workspace.disk = "64MiB"
workspace.memory = "256MiB"
[[step]]
exec = "{script}"
timeout = "60s"
"#
        ));
        assert_eq!(ran.code, Some(4), "{script}: {}", ran.text());
        let exec = &receipt["steps"][0]["exec"];
        assert_eq!(exec["timed_out"], false, "{script}: {}", ran.text());
    }
}

#[test]
fn a_daemon_left_behind_ends_with_the_run() {
    let (_, ran, receipt) = apply(
        r#"pyro = 1
[[step]]
exec = "setsid sh -c 'trap \"\" TERM HUP INT; while :; do sleep 1; done' > /dev/null 2>&1 & echo on"
[[step]]
exec = "sleep 0.1"
"#,
    );
    assert_eq!(ran.code, Some(0), "{}", ran.text());
    let left = &receipt["steps"][0]["exec"]["left_running"];
    assert!(left.as_u64() > Some(0), "{receipt:#}");
}

#[test]
fn an_interrupt_cancels_and_leaves_a_receipt() {
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let world = World::with(
            r#"pyro = 1
[[step]]
id = "waits"
exec = "trap '' TERM INT HUP; echo begun; while :; do sleep 1; done"
[[step]]
always = true
exec = ["echo", "later"]
"#,
        );
        let child = world
            .command(["apply", "request.pyro.toml"])
            .spawn()
            .expect("pyro starts");
        wait_for("the program", || find(&world, "sleep").is_some());
        kill_process(id(&child), signal).expect("pyro is there");
        let ran = world
            .ran(child.wait_with_output().expect("ends"))
            .ended(130);
        snapshot("interrupted", &ran.text());
        let receipt = world.receipt();
        assert_eq!(receipt["outcome"], "cancelled");
        assert_eq!(receipt["steps"][0]["outcome"], "cancelled");
        assert_eq!(receipt["steps"][1]["outcome"], "not_run");
        assert_eq!(receipt["steps"][0]["stdout"]["head"]["text"], "begun\n");
        assert_eq!(world.runs().len(), 0);
        nothing_is_left(&world);
    }
}

#[test]
fn an_interrupted_run_exits_with_130() {
    let world = World::new();
    let child = world
        .command(["run", "host", "--", "sleep", "1000"])
        .spawn()
        .expect("pyro starts");
    wait_for("the program", || find(&world, "sleep").is_some());
    kill_process(id(&child), Signal::INT).expect("pyro is there");
    let ran = world
        .ran(child.wait_with_output().expect("ends"))
        .ended(130);
    assert_eq!(world.receipt()["outcome"], "cancelled", "{}", ran.text());
    assert_eq!(world.runs().len(), 0);
    nothing_is_left(&world);
}

#[test]
fn two_at_once_leave_each_other_alone() {
    let world = World::with("pyro = 1\n[[step]]\nexec = \"seq 1000 | xargs touch\"\n");
    let children: Vec<Child> = (0..12)
        .map(|_| {
            let mut command = world.command(["apply", "request.pyro.toml"]);
            command.spawn().expect("pyro starts")
        })
        .collect();
    for child in children {
        let ran = world.ran(child.wait_with_output().expect("ends")).ended(0);
        assert_eq!(ran.stderr(), "", "nobody was interrupted");
    }
    assert_eq!(world.runs().len(), 0);
    nothing_is_left(&world);
}

/// A run with every kind of step, whose exports take a while.
const BUSY: &str = r#"pyro = 1
workspace.seed = "seed"
[[step]]
write."made/a.txt" = "a\n"
[[step]]
exec = "head -c 6M /dev/zero | tr '\\0' n > new; for i in 1 2 3 4 5 6 7 8; do mkdir -p tree/$i; cp new tree/$i/f; done; sleep 1000 &"
[[step]]
delete = ["f1"]
[[step]]
export = "new"
to = "out/file"
overwrite = true
[[step]]
export = "tree"
to = "out/tree"
[[step]]
exec = "sleep 0.05"
[[step]]
diff = "baseline"
exclude = ["*"]
"#;
const NEW: usize = 6 << 20;

/// Kills `victim` (`pyro` or a process of its sandbox) at moments of a fixed series, and looks at what is left.
fn killed(victim: &str, times: u64, seed: u64) {
    let world = World::with(BUSY);
    for number in 0..50 {
        world.write(&format!("seed/f{number}"), vec![b'x'; 5000]);
    }
    let mut random = seed;
    let (mut said, mut lost) = (0, 0);
    for round in 0..times {
        fs::remove_dir_all(world.work().join("out")).ok();
        world.write("out/file", "old\n");
        // Knuth's constants; the upper bits are the good ones.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let moment = std::time::Duration::from_micros((random >> 33) % 900_000);
        let mut child = world
            .command(["apply", "request.pyro.toml", "--receipt", "receipt.json"])
            .spawn()
            .expect("pyro starts");
        // On a slow machine nothing has begun by then, so every other round waits for the run and is shorter.
        let moment = if round % 2 == 0 {
            moment
        } else {
            let begun = || {
                let ended = child.try_wait().expect("pyro is ours").is_some();
                let runs = || !world.runs().is_empty();
                let is_there = || find(&world, victim).is_some();
                ended || if victim == "pyro" { runs() } else { is_there() }
            };
            wait_for("the run to begin", begun);
            moment / 4
        };
        std::thread::sleep(moment);
        let when = format!("{victim}, round {round}, after {moment:?}");
        if victim == "pyro" {
            child.kill().expect("pyro is there");
            child.wait().expect("ends");
        } else {
            if let Some(pid) = find(&world, victim) {
                let _gone = kill_process(pid, Signal::KILL);
            }
            let ran = world.ran(child.wait_with_output().expect("ends"));
            assert!(matches!(ran.code, Some(0 | 5)), "{when}: {}", ran.text());
            let outcome = &world.receipt()["outcome"];
            let expected = if ran.code == Some(0) {
                "passed"
            } else {
                "lost"
            };
            assert_eq!(outcome, expected, "{when}: {}", ran.text());
            lost += usize::from(ran.code == Some(5));
            assert_eq!(world.runs().len(), 0, "{when}: {}", ran.text());
        }
        let left = world.runs().len();
        let next = world.pyro(["run", "host", "--", "true"]);
        assert_eq!(next.code, Some(0), "{when}: {}", next.text());
        let expected = if left == 0 {
            ""
        } else {
            "note: cleaned up after 1 interrupted run"
        };
        assert!(
            next.stderr().starts_with(expected),
            "{when}: {}",
            next.text()
        );
        assert_eq!(
            next.stderr().is_empty(),
            left == 0,
            "{when}: {}",
            next.text()
        );
        said += left;
        assert_eq!(world.runs().len(), 0, "{when}");
        nothing_is_left(&world);
        host_is_whole(&world, &when);
    }
    if victim == "pyro" {
        assert!(said > 0, "not one of the {times} moments was during a run");
    } else {
        assert!(lost > 0, "not one of the {times} moments was during a run");
    }
}

/// Exported paths are as before or as after, and there is nothing else.
fn host_is_whole(world: &World, when: &str) {
    let out = world.work().join("out");
    for entry in fs::read_dir(&out).expect("a folder") {
        let name = entry.expect("an entry").file_name();
        assert!(
            name == "file" || name == "tree",
            "{when}: {name:?} was left"
        );
    }
    let file = fs::read(out.join("file")).expect("the file");
    let whole = |bytes: &[u8]| bytes.len() == NEW && bytes.iter().all(|byte| *byte == b'n');
    assert!(file == b"old\n" || whole(&file), "{when}: half a file");
    if out.join("tree").exists() {
        for number in 1..=8 {
            let file = fs::read(out.join(format!("tree/{number}/f")));
            assert!(whole(&file.expect("a file")), "{when}: half a folder");
        }
    }
}

#[test]
fn killing_pyro_at_any_moment_leaves_nothing() {
    killed("pyro", 20, 1);
}

#[test]
fn killing_the_agent_at_any_moment_leaves_nothing() {
    killed("pyro-agent", 15, 2);
}

#[test]
fn killing_the_init_at_any_moment_leaves_nothing() {
    killed("init", 15, 3);
}
