//! Keepers: machines that live on between commands, with the real binary as the keeper.

mod clients;
mod ends;
mod starts;

use crate::harness::{World, binary, wait_for};
use pyro::keeper::{self, KeeperError, Program, Started};
use pyro::machine::{CallEvent, CallId, Link, Wake};
use pyro::workspace::{Home, KeepContents, Lifecycle, Recipe, Seed, StateDir, fill};
use pyro_protocol::Bytes;
use pyro_protocol::boot::{BootEnvironment, Limits};
use pyro_protocol::message::{ExecEnd, ExecReport, ExecRun, FailureCode, Op, Reply};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What every machine of these tests is made from.
fn recipe() -> Recipe {
    Recipe {
        version: Recipe::VERSION,
        environment: BootEnvironment::Host,
        expose: Vec::new(),
        hostname: "kept".to_owned(),
        limits: Limits {
            processes: 128,
            memory: 1 << 30,
            disk: 1 << 30,
            disk_reserve: 0,
            open_files: 1024,
        },
        processors: None,
        groups: Vec::new(),
        ttl_ms: None,
    }
}

/// A workspace of a test. Whatever happens, its machine ends with the test.
struct Kept {
    world: World,
    state: StateDir,
    home: Home,
}

impl Kept {
    /// Made, and not started.
    fn new() -> Self {
        Self::below("state", &recipe())
    }

    fn with(recipe: &Recipe) -> Self {
        Self::below("state", recipe)
    }

    fn below(state: &str, recipe: &Recipe) -> Self {
        let world = World::new();
        let state = StateDir::open(Some(&world.base().join(state))).expect("opens");
        let (home, lifecycle) = state.new_home().expect("a new home");
        home.write_recipe(recipe, &lifecycle).expect("writes");
        home.complete(&lifecycle).expect("completes");
        Self { world, state, home }
    }

    /// Made with a seed, which is copied while the machine is made; and started.
    fn seeded(files: &[(&str, &str)]) -> Self {
        let kept = Self::new();
        for (name, text) in files {
            kept.world.write(&format!("seed/{name}"), text);
        }
        let lifecycle = kept.lock();
        let starting = keeper::begin_with(&program(), &kept.home, &lifecycle).expect("begins");
        let seed = kept.world.work().join("seed");
        let seed = Some(Seed::from(&*seed));
        fill(seed, &kept.home.run(), starting.owner(), KeepContents::Yes).expect("fills");
        starting.ready().expect("starts");
        kept
    }

    fn lock(&self) -> Lifecycle {
        self.home.lock().expect("locks")
    }

    fn try_start(&self) -> Result<Started, KeeperError> {
        keeper::begin_with(&program(), &self.home, &self.lock())?.ready()
    }

    #[track_caller]
    fn start(&self) -> Started {
        self.try_start().unwrap_or_else(|error| {
            let log = fs::read_to_string(self.home.log()).unwrap_or_default();
            panic!("{error:?}\n{log}")
        })
    }

    #[track_caller]
    fn stop(&self) -> bool {
        keeper::stop(&self.home, &self.lock()).expect("stops")
    }

    fn is_running(&self) -> bool {
        keeper::is_running(&self.home).expect("can be told")
    }

    fn link(&self) -> Link {
        Link::open(keeper::connect(&self.home).expect("connects")).expect("says hello")
    }

    /// Runs a script to its end on a connection of its own.
    #[track_caller]
    fn sh(&self, script: &str) -> String {
        let (report, output) = sh(&mut self.link(), script);
        assert_eq!(
            report.end,
            ExecEnd::Exited { code: 0 },
            "{script}: {output}"
        );
        output
    }

    fn keeper(&self) -> Option<Pid> {
        processes("pyro-keeper", self.home.id()).first().copied()
    }

    fn agent(&self) -> Pid {
        let status = keeper::status(&self.home).expect("answers");
        Pid::from_raw(status.agent_pid).expect("a process")
    }

    /// Nothing of its machine is there any more.
    #[track_caller]
    fn is_gone(&self) {
        wait_for("the keeper to be gone", || self.keeper().is_none());
        wait_for("the machine to be gone", || {
            inside(self.home.id()).is_empty()
        });
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("mounts");
        assert!(!mounts.contains(self.home.id()), "a mount was left");
        assert!(!self.is_running());
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Ok(lifecycle) = self.home.lock() {
            let _stopped = keeper::stop(&self.home, &lifecycle);
        }
        let _ = &self.state;
    }
}

fn program() -> Program {
    let path = std::path::absolute(binary()).expect("a path");
    Program::at(path)
}

fn skipped(why: &str) {
    report(&format!("skipped: {why}"));
}

#[expect(clippy::print_stdout, reason = "for who looks at the figures")]
fn report(text: &str) {
    println!("{text}");
}

/// Processes by their short name that have `word` in their command line.
fn processes(name: &str, word: &str) -> Vec<Pid> {
    let named = |pid: &Pid| {
        let comm = fs::read_to_string(format!("/proc/{}/comm", pid.as_raw_nonzero()));
        comm.is_ok_and(|comm| comm.trim() == name)
    };
    all_with(word).into_iter().filter(named).collect()
}

/// Processes that have `word` in their command line.
fn all_with(word: &str) -> Vec<Pid> {
    let all = fs::read_dir("/proc").expect("/proc");
    all.filter_map(|entry| {
        let path = entry.ok()?.path();
        let id = path.file_name()?.to_str()?.parse::<i32>().ok()?;
        let line = fs::read(path.join("cmdline")).ok()?;
        let ours = memchr::memmem::find(&line, word.as_bytes()).is_some();
        ours.then(|| Pid::from_raw(id))?
    })
    .collect()
}

/// Processes of a sandbox whose mounts name `word`: number and name.
fn inside(word: &str) -> Vec<(Pid, String)> {
    let all = fs::read_dir("/proc").expect("/proc");
    all.filter_map(|entry| {
        let path = entry.ok()?.path();
        let id = path.file_name()?.to_str()?.parse::<i32>().ok()?;
        let mounts = fs::read(path.join("mountinfo")).ok()?;
        let ours = memchr::memmem::find(&mounts, word.as_bytes()).is_some();
        let comm = fs::read_to_string(path.join("comm")).unwrap_or_default();
        ours.then(|| Some((Pid::from_raw(id)?, comm.trim().to_owned())))?
    })
    .collect()
}

fn parent(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Pid::from_raw(rest.split(' ').nth(1)?.parse().ok()?)
}

fn kill(pid: Pid) {
    kill_process(pid, Signal::KILL).expect("is there");
}

fn run(script: &str) -> Op {
    let words = ["sh", "-c", script];
    Op::ExecRun(ExecRun {
        argv: words.into_iter().map(Bytes::from).collect(),
        cwd: Bytes::default(),
        env: vec![(Bytes::from("PATH"), Bytes::from("/usr/bin:/bin"))],
        timeout_ms: 60_000,
        grace_ms: 100,
        stdin: false,
        spool_limit: 64 << 20,
        terminal: None,
        unnamed: false,
    })
}

/// The next event of a call; other calls wait.
#[track_caller]
fn next(link: &mut Link, call: CallId) -> CallEvent {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        match link.wait(None, Some(deadline)).expect("the link holds") {
            Wake::Event(of, event) if of == call => return event,
            Wake::Event(..) | Wake::Interrupt => {}
            Wake::Timeout => panic!("waited in vain for an event"),
        }
    }
}

/// A call to its end: the reply, and what came on its streams.
#[track_caller]
fn finish(link: &mut Link, call: CallId) -> (Result<Reply, FailureCode>, Vec<u8>) {
    let mut data = Vec::new();
    loop {
        match next(link, call) {
            CallEvent::Started => {}
            CallEvent::Data { bytes, .. } => data.extend(bytes),
            CallEvent::Done(reply) => return (Ok(reply), data),
            CallEvent::Failed(failure) => return (Err(failure.code), data),
        }
    }
}

#[track_caller]
fn sh(link: &mut Link, script: &str) -> (ExecReport, String) {
    let call = link.call(run(script));
    let (reply, output) = finish(link, call);
    let Ok(Reply::Exec(report)) = reply else {
        panic!("{script}: {reply:?}");
    };
    (report, String::from_utf8_lossy(&output).into_owned())
}

fn folders(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).into_iter().flatten();
    entries
        .map(|entry| entry.expect("an entry").path())
        .collect()
}
