//! How keepers end.

use super::{Kept, inside, kill, next, parent, recipe, report, run, skipped};
use crate::harness::{is_root, wait_for};
use pyro::keeper::{self, KeeperError};
use pyro::machine::{CallEvent, Link};
use pyro::workspace::EndReason;
use rustix::process::{Pid, Signal, kill_process};
use std::fs;

/// A machine with a client whose program runs, and the program's processes.
fn busy() -> (Kept, Link) {
    let kept = Kept::new();
    kept.start();
    let mut link = kept.link();
    let call = link.call(run("setsid sleep 1000 & sleep 1000"));
    assert_eq!(next(&mut link, call), CallEvent::Started);
    wait_for("the programs", || count(&kept, "sleep") == 2);
    (kept, link)
}

fn count(kept: &Kept, name: &str) -> usize {
    let all = inside(kept.home.id());
    all.iter().filter(|(_, of)| of == name).count()
}

fn named(kept: &Kept, name: &str) -> Pid {
    let all = inside(kept.home.id());
    let found = all.iter().find(|(_, of)| of == name);
    found.expect("is there").0
}

fn reason(kept: &Kept) -> Option<EndReason> {
    let ended = kept.home.ended().expect("reads");
    ended.map(|ended| ended.reason)
}

/// The link breaks, and the workspace can be started again.
fn goes_on(kept: &Kept, mut link: Link) {
    while link.wait(None, None).is_ok() {}
    kept.is_gone();
    kept.start();
    assert_eq!(kept.sh("echo on"), "on\n");
    assert_eq!(reason(kept), None);
}

#[test]
fn a_killed_keeper_takes_its_machine_along() {
    let (kept, link) = busy();
    kill(kept.keeper().expect("runs"));
    kept.is_gone();
    assert_eq!(reason(&kept), None, "nobody could say why");
    goes_on(&kept, link);
}

#[test]
fn stopping_after_the_keeper_was_killed_waits_for_its_machine() {
    let (kept, _link) = busy();
    let lifecycle = kept.lock();
    kill(kept.keeper().expect("runs"));
    // Whatever is still there holds the lock.
    keeper::stop(&kept.home, &lifecycle).expect("stops");
    assert_eq!(inside(kept.home.id()), []);
}

#[test]
fn a_killed_agent_zygote_or_init_ends_the_machine() {
    for victim in ["pyro-agent", "pyro-zygote", "init"] {
        let (kept, link) = busy();
        let pid = match victim {
            "pyro-zygote" => parent(kept.agent()).expect("has a parent"),
            name => named(&kept, name),
        };
        kill(pid);
        kept.is_gone();
        let ended = kept.home.ended().expect("reads").expect("is there");
        assert_eq!(ended.reason, EndReason::MachineDied, "{victim}");
        let message = ended.message.expect("says why");
        assert!(message.starts_with("could not "), "{victim}: {message}");
        goes_on(&kept, link);
    }
}

#[test]
fn killed_together_they_are_gone_before_the_next_one_starts() {
    for _ in 0..5 {
        let (kept, link) = busy();
        let zygote = parent(kept.agent()).expect("has a parent");
        kill(kept.keeper().expect("runs"));
        // It may have ended already.
        let _gone = kill_process(zygote, Signal::KILL);
        wait_for("the keeper to be dead", || !kept.is_running());
        kept.start();
        // The processes of one machine.
        let agents = inside(kept.home.id());
        let agents = agents
            .iter()
            .filter(|(_, name)| name == "pyro-agent")
            .count();
        assert_eq!((agents, count(&kept, "sleep")), (1, 0));
        kept.stop();
        goes_on(&kept, link);
    }
}

#[test]
fn a_keeper_killed_at_any_moment_leaves_something_to_start() {
    let kept = Kept::seeded(&[("a.txt", "seed\n")]);
    let mut random = 4_u64;
    let mut begun = 0;
    for round in 0..16 {
        kept.stop();
        let lifecycle = kept.lock();
        let starting = keeper::begin_with(&super::program(), &kept.home, &lifecycle);
        let starting = starting.expect("begins");
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // Every other one hardly gets beyond its first moments, however fast the machine is.
        let longest = if round % 2 == 0 { 60_000 } else { 6000 };
        std::thread::sleep(std::time::Duration::from_micros((random >> 33) % longest));
        // By its command line: it may not have its name yet.
        let keepers = super::all_with(kept.home.id());
        for pid in &keepers {
            let _gone = kill_process(*pid, Signal::KILL);
        }
        begun += usize::from(starting.ready().is_err());
        drop(lifecycle);
        if kept.is_running() {
            continue;
        }
        kept.start();
        assert_eq!(kept.sh("cat a.txt"), "seed\n", "{round}");
    }
    assert!(
        begun > 4,
        "only {begun} keepers were killed before they were ready"
    );
    kept.stop();
    kept.is_gone();
}

#[test]
fn many_who_start_and_stop_at_once_leave_it_whole() {
    let kept = Kept::seeded(&[("a.txt", "seed\n")]);
    std::thread::scope(|scope| {
        for number in 0..4 {
            let kept = &kept;
            scope.spawn(move || {
                for round in 0..8 {
                    if (number + round) % 2 == 0 {
                        match kept.try_start() {
                            Ok(_) | Err(KeeperError::AlreadyRuns(_)) => {}
                            Err(error) => panic!("{error:?}"),
                        }
                    } else {
                        kept.stop();
                    }
                    // Somebody may end it in this moment.
                    if let Ok(stream) = keeper::connect(&kept.home)
                        && let Ok(mut link) = Link::open(stream)
                    {
                        let _call = link.call(run("cat a.txt"));
                        let _heard = link.wait(None, None);
                    }
                }
            });
        }
    });
    kept.stop();
    kept.is_gone();
    kept.start();
    assert_eq!(kept.sh("cat a.txt"), "seed\n");
}

#[test]
fn signals_stop_a_keeper() {
    for signal in [Signal::TERM, Signal::HUP] {
        let (kept, link) = busy();
        kill_process(kept.keeper().expect("runs"), signal).expect("is there");
        kept.is_gone();
        assert_eq!(reason(&kept), Some(EndReason::Stopped));
        goes_on(&kept, link);
    }
}

#[test]
fn one_that_does_not_answer_is_killed() {
    let (kept, _link) = busy();
    kill_process(kept.keeper().expect("runs"), Signal::STOP).expect("is there");
    assert!(kept.stop());
    assert_eq!(inside(kept.home.id()), []);
    kept.is_gone();
    let ended = kept.home.ended().expect("reads").expect("is there");
    assert_eq!(ended.reason, EndReason::Stopped);
    assert!(ended.message.expect("says why").contains("was killed"));
}

#[test]
fn nobody_uses_it_for_its_time_to_live() {
    let mut recipe = recipe();
    recipe.ttl_ms = Some(300);
    let kept = Kept::with(&recipe);
    let lifecycle = kept.lock();
    let starting = keeper::begin_with(&super::program(), &kept.home, &lifecycle).expect("begins");
    starting.ready().expect("starts");
    drop(lifecycle);
    wait_for("it to expire", || reason(&kept) == Some(EndReason::Expired));
    kept.is_gone();
    // A client counts as use, however long it stays; who only asks does not.
    recipe.ttl_ms = Some(60_000);
    kept.home
        .write_recipe(&recipe, &kept.lock())
        .expect("writes");
    kept.start();
    let link = kept.link();
    recipe.ttl_ms = Some(1);
    kept.home
        .write_recipe(&recipe, &kept.lock())
        .expect("writes");
    let status = keeper::status(&kept.home).expect("answers");
    assert_eq!((status.clients, status.expires_at_ms), (1, None));
    assert_eq!(kept.sh("echo on"), "on\n");
    let before = kept.home.last_touched().expect("is known");
    drop(link);
    wait_for("it to expire", || reason(&kept) == Some(EndReason::Expired));
    assert!(kept.home.last_touched().expect("is known") >= before);
    kept.is_gone();
}

#[test]
fn a_new_time_to_live_counts_when_the_keeper_looks() {
    let kept = Kept::new();
    kept.start();
    let status = keeper::status(&kept.home).expect("answers");
    assert_eq!(status.expires_at_ms, None);
    let mut recipe = recipe();
    recipe.ttl_ms = Some(3_600_000);
    kept.home
        .write_recipe(&recipe, &kept.lock())
        .expect("writes");
    let used = kept.home.last_touched().expect("is known");
    let status = keeper::status(&kept.home).expect("answers");
    assert_eq!(status.expires_at_ms, Some(used.as_millis() + 3_600_000));
    assert_eq!(kept.home.last_touched().expect("is known"), used);
    recipe.ttl_ms = Some(0);
    kept.home
        .write_recipe(&recipe, &kept.lock())
        .expect("writes");
    // It may be gone before it answers.
    let _ = keeper::status(&kept.home);
    wait_for("it to expire", || reason(&kept) == Some(EndReason::Expired));
}

#[test]
fn control_groups_go_with_the_machine() {
    let parent = "/sys/fs/cgroup/pids";
    if !is_root() || fs::metadata(format!("{parent}/cgroup.procs")).is_err() {
        return skipped("no control groups of our own here");
    }
    let mut recipe = recipe();
    recipe.groups.push(pyro::workspace::RecipeGroup {
        parent: parent.into(),
        settings: vec![pyro::workspace::RecipeSetting {
            file: "pids.max".to_owned(),
            value: "64".to_owned(),
            optional: false,
        }],
        join: "cgroup.procs".to_owned(),
        events: None,
    });
    let kept = Kept::with(&recipe);
    let group = std::path::Path::new(parent).join(format!("pyro-{}", kept.home.id()));
    kept.start();
    assert_eq!(
        fs::read_to_string(group.join("pids.max")).expect("is there"),
        "64\n"
    );
    kept.sh("true");
    kept.stop();
    assert!(!group.exists());
    kept.start();
    kill(kept.keeper().expect("runs"));
    kept.is_gone();
    assert!(group.exists(), "nobody was left to remove it");
    kept.start();
    assert_eq!(kept.sh("echo on"), "on\n");
    kill(kept.keeper().expect("runs"));
    let lifecycle = kept.lock();
    keeper::stop(&kept.home, &lifecycle).expect("all of it is gone");
    kept.home.clone().remove(lifecycle).expect("removes");
    assert!(!group.exists());
}

/// What a process adds to the memory of the host, in KiB.
fn memory(pid: Pid) -> u64 {
    let path = format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero());
    let text = fs::read_to_string(path).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let figure = line.and_then(|line| line.trim().strip_suffix(" kB"));
    figure.and_then(|figure| figure.parse().ok()).unwrap_or(0)
}

#[test]
fn an_idle_workspace_takes_little_memory() {
    let kept = Kept::new();
    kept.start();
    kept.sh("echo on; head -c 10000000 /dev/zero");
    let agent = kept.agent();
    let zygote = parent(agent).expect("has a parent");
    let keeper = kept.keeper().expect("runs");
    let init = named(&kept, "init");
    let all = [keeper, zygote, agent, init].map(memory);
    // The others are closed to anybody but root; the keeper is the largest.
    let known = all.iter().filter(|figure| **figure > 0).count();
    assert!(known == 4 || (known >= 1 && !is_root()), "{all:?}");
    let sum: u64 = all.iter().sum();
    report(&format!(
        "idle: keeper, zygote, agent, init: {all:?}, {sum} KiB"
    ));
    // A build for debugging is ten times as large.
    let bound = if cfg!(debug_assertions) { 40 } else { 10 };
    assert!(sum <= bound << 10, "{all:?}");
}
