//! Beginning and end: nothing is left, whoever dies, and nothing hangs.

use super::Test;
use super::client::{Host, boot_in, ends, ids, start};
use pyro_protocol::Bytes;
use pyro_protocol::boot::{BootEnvironment, BootReply, Ids};
use rustix::process::{Pid, Signal, kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

pub(crate) const TESTS: &[Test] = &[
    ("letting_go_ends_everything", letting_go_ends_everything),
    ("a_killed_zygote_takes_everything_along", || {
        killed(Victim::Zygote)
    }),
    ("a_killed_agent_takes_everything_along", || {
        killed(Victim::Agent)
    }),
    ("a_killed_init_ends_the_programs", || killed(Victim::Init)),
    (
        "killing_at_random_moments_leaves_nothing",
        killing_at_random_moments_leaves_nothing,
    ),
    ("orphans_are_reaped", orphans_are_reaped),
    ("failures_leave_nothing", failures_leave_nothing),
    ("twenty_sandboxes_at_once", twenty_sandboxes_at_once),
    ("pace", pace),
];

/// A length of sleep that nobody else asks for marks the processes of one test.
fn mark(number: u32) -> String {
    format!("{}.{number}", 70_000 + std::process::id() % 10_000)
}

fn marked(mark: &str) -> usize {
    fs::read_dir("/proc")
        .expect("reads /proc")
        .flatten()
        .filter(|entry| {
            fs::read(entry.path().join("cmdline"))
                .is_ok_and(|line| String::from_utf8_lossy(&line).contains(mark))
        })
        .count()
}

/// Processes of pyro's that nobody waits for: those of this test, and of whoever's workspace lives on this machine.
fn orphans() -> BTreeSet<i32> {
    fs::read_dir("/proc")
        .expect("reads /proc")
        .flatten()
        .filter_map(|entry| {
            let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
            let is_orphan = stat.contains("(pyro-") && stat.contains(") S 1 ");
            is_orphan.then(|| entry.file_name().to_str()?.parse().ok())?
        })
        .collect()
}

fn eventually(what: &str, mut check: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !check() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("reads")
}

/// Two programs that would stay for a day: one as a child, one in a session of its own.
fn busy(mark: &str) -> Host {
    let mut host = Host::boot(|_, _| {});
    host.call(&["sleep", mark], "/", true);
    let script = format!(
        "setsid sleep {mark} >/dev/null 2>&1 & (trap '' TERM HUP; sleep {mark} >/dev/null 2>&1) &"
    );
    host.run(&["sh", "-c", &script]);
    eventually("the programs start", || marked(mark) >= 3);
    host
}

fn letting_go_ends_everything() {
    let (mark, before) = (mark(1), mounts());
    let host = busy(&mark);
    host.stop();
    assert_eq!(marked(&mark), 0, "gone when the zygote is");
    assert_eq!(mounts(), before);
}

#[derive(Clone, Copy)]
enum Victim {
    Zygote,
    Agent,
    Init,
}

fn kill(pid: i32) {
    kill_process(Pid::from_raw(pid).expect("a process"), Signal::KILL).expect("kills");
}

fn killed(victim: Victim) {
    let (mark, before) = (mark(2 + victim as u32), mounts());
    let mut host = busy(&mark);
    match victim {
        Victim::Zygote => kill(i32::try_from(host.zygote.id()).expect("fits")),
        Victim::Agent => kill(host.ready.agent_pid),
        Victim::Init => {
            kill(host.ready.init_pid);
            eventually("the programs end", || marked(&mark) == 0);
            let answer = host.run(&["true"]);
            assert_eq!(answer.code, 3000, "{}", answer.out);
            // A process that is ending has lost its arguments, and with them the mark, before it is gone.
            eventually("nothing is left", || {
                host.run(&["true"]).processes.is_empty()
            });
            return;
        }
    }
    ends(&mut host.zygote);
    eventually("the programs end", || marked(&mark) == 0);
    let agent = format!("/proc/{}/exe", host.ready.agent_pid);
    eventually("the agent ends", || fs::read_link(&agent).is_err());
    assert_eq!(mounts(), before);
}

fn killing_at_random_moments_leaves_nothing() {
    let (before, others) = (mounts(), orphans());
    // Spread over the whole boot, which takes some milliseconds; no clock in the outcome.
    for round in 0..60_u64 {
        let folder = tempfile::tempdir().expect("a folder");
        let boot = boot_in(folder.path());
        let killer = std::thread::scope(|scope| {
            let (sender, receiver) = std::sync::mpsc::channel::<i32>();
            scope.spawn(move || {
                let pid = receiver.recv().expect("is told");
                std::thread::sleep(Duration::from_micros(round * 200));
                // The zygote, the agent, or init, as far as they are there.
                let victim = (0..round % 3).try_fold(pid, |pid, _| child(pid));
                if let Some(victim) = victim {
                    let _ = kill_process(Pid::from_raw(victim).expect("a process"), Signal::KILL);
                }
            });
            super::client::start_unheard(&boot, |pid| sender.send(pid).expect("tells"))
        });
        let (mut zygote, control, link) = killer;
        // Whatever it has to say, it ends when the host lets go.
        drop((control, link));
        ends(&mut zygote);
        eventually("no agent is left", || orphans().is_subset(&others));
    }
    assert_eq!(mounts(), before);
}

fn child(pid: i32) -> Option<i32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}

fn orphans_are_reaped() {
    let mut host = Host::boot(|_, _| {});
    for _ in 0..20 {
        host.sh("(sleep 0.01 >/dev/null 2>&1 &) ; (true &)");
    }
    let deadline = Instant::now() + Duration::from_secs(60);
    while host.run(&["true"]).processes != Vec::<i32>::new() {
        assert!(Instant::now() < deadline, "somebody is left");
    }
}

fn failures_leave_nothing() {
    let (before, others) = (mounts(), orphans());
    let folder = tempfile::tempdir().expect("a folder");
    let good = boot_in(folder.path());
    let mut bad = Vec::new();
    let mut boot = good.clone();
    boot.run_dir = Bytes::from("/no/such/folder");
    bad.push(boot);
    let mut boot = good.clone();
    boot.environment = BootEnvironment::Dir(Bytes::from("/no/such/image"));
    bad.push(boot);
    let mut boot = good.clone();
    boot.environment = BootEnvironment::Dir(Bytes::from("/etc/hostname"));
    bad.push(boot);
    let mut boot = good.clone();
    boot.hostname = "x".repeat(100);
    bad.push(boot);
    if ids() == Ids::Single {
        let mut boot = good;
        boot.ids = Ids::Range { base: 0x6fff_0000 };
        bad.push(boot);
    }
    for boot in bad {
        let (mut zygote, control, _link, reply) = start(&boot);
        assert!(matches!(reply, BootReply::Failed(_)), "{boot:?}");
        ends(&mut zygote);
        drop(control);
    }
    eventually("no agent is left", || orphans().is_subset(&others));
    assert_eq!(mounts(), before);
}

fn twenty_sandboxes_at_once() {
    std::thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                let mut host = Host::boot(|_, _| {});
                assert_eq!(host.sh("echo hi"), "hi\n");
                host.stop();
            });
        }
    });
}

/// Figures for whoever asks with `--nocapture`; nothing depends on them.
fn pace() {
    let mut boots = Vec::new();
    let mut ends = Vec::new();
    for _ in 0..15 {
        let folder = tempfile::tempdir().expect("a folder");
        let boot = boot_in(folder.path());
        let started = Instant::now();
        let (mut zygote, control, _link, reply) = start(&boot);
        boots.push(started.elapsed().as_micros());
        assert!(matches!(reply, BootReply::Ready(_)), "{reply:?}");
        let started = Instant::now();
        drop(control);
        zygote.wait().expect("ends");
        ends.push(started.elapsed().as_micros());
    }
    let mut host = Host::boot(|_, _| {});
    let mut runs: Vec<_> = (0..100).map(|_| host.run(&["/bin/true"]).micros).collect();
    boots.sort_unstable();
    ends.sort_unstable();
    runs.sort_unstable();
    println!(
        "boot {} us (least {}), end {} us, spawn and wait {} us (least {})",
        boots[7], boots[0], ends[7], runs[50], runs[0]
    );
}
