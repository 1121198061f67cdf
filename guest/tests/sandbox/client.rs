//! A host for the tests: boots this very program as a zygote, whose agent serves a vocabulary of one call.

use pyro_guest::serve::Agent;
use pyro_guest::spawn::{Program, SpawnError};
use pyro_protocol::Bytes;
use pyro_protocol::boot::{Boot, BootEnvironment, BootReply, Confine, Ids, Limits, Ready};
use serde::{Deserialize, Serialize};
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Runs a program.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) argv: Vec<String>,
    pub(crate) env: Vec<String>,
    pub(crate) cwd: String,
    /// Not to wait for it.
    pub(crate) background: bool,
}

/// How it went.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Answer {
    /// Exit code; 1000 + number for a signal; 2000 + code where it was not started; 3000 without a sandbox.
    pub(crate) code: i32,
    /// Both streams, or the reason.
    pub(crate) out: String,
    /// From the call to the end, in microseconds.
    pub(crate) micros: u64,
    /// Processes afterwards.
    pub(crate) processes: Vec<i32>,
}

/// What the agent does in the place of the real loop.
pub(crate) fn serve(agent: Agent) -> io::Result<()> {
    let Agent {
        link,
        run_dir: _,
        owner: _,
        limits: _,
        system: _,
        layer: _,
        mut spawner,
    } = agent;
    let mut link = UnixStream::from(link);
    let null: OwnedFd = File::open("/dev/null")
        .or_else(|_| File::open("/proc/self/fd/0"))?
        .into();
    while let Ok(text) = hear(&mut link) {
        let call: Call = serde_json::from_slice(&text)?;
        let c = |text: &String| CString::new(text.as_bytes()).expect("no zero bytes in tests");
        let program = Program {
            argv: call.argv.iter().map(c).collect(),
            env: call.env.iter().map(c).collect(),
            cwd: c(&call.cwd),
        };
        let started = Instant::now();
        let (mut output, input) = io::pipe()?;
        let spawned = spawner.spawn(&program, [null.as_fd(), input.as_fd(), input.as_fd()]);
        drop(input);
        let (code, out) = match spawned {
            Ok(child) if call.background => (child.pid, String::new()),
            Ok(child) => {
                let mut out = Vec::new();
                output.read_to_end(&mut out)?;
                let id = rustix::process::WaitId::PidFd(child.pidfd.as_fd());
                let status = rustix::process::waitid(id, rustix::process::WaitIdOptions::EXITED)?
                    .expect("waited without NOHANG");
                let code = status
                    .exit_status()
                    .or(status.terminating_signal().map(|signal| 1000 + signal))
                    .unwrap_or(-1);
                (code, String::from_utf8_lossy(&out).into_owned())
            }
            Err(SpawnError::NotStarted { code, reason, .. }) => (2000 + code, reason),
            Err(SpawnError::SandboxEnded) => (3000, "the sandbox has ended".to_owned()),
            Err(SpawnError::Agent(error)) => (4000, error.to_string()),
        };
        let micros = u64::try_from(started.elapsed().as_micros()).expect("tests are short");
        let processes = spawner
            .processes()?
            .iter()
            .map(|process| process.pid)
            .collect();
        let answer = Answer {
            code,
            out,
            micros,
            processes,
        };
        tell(&mut link, &serde_json::to_vec(&answer)?)?;
        spawner.reap_others(&[]);
    }
    Ok(())
}

fn hear(stream: &mut UnixStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut text = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut text)?;
    Ok(text)
}

fn tell(stream: &mut UnixStream, text: &[u8]) -> io::Result<()> {
    let length = u32::try_from(text.len()).expect("short").to_le_bytes();
    stream.write_all(&[&length, text].concat())
}

/// A sandbox and the folder it works on.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) zygote: Child,
    pub(crate) control: Option<UnixStream>,
    pub(crate) link: UnixStream,
    pub(crate) ready: Ready,
    pub(crate) folder: tempfile::TempDir,
}

/// The ids of this run: root takes a range that nobody else uses.
pub(crate) fn ids() -> Ids {
    if rustix::process::geteuid().is_root() {
        Ids::Range { base: 0x6fff_0000 }
    } else {
        Ids::Single
    }
}

/// A run folder as the host makes it, and a boot message for it.
pub(crate) fn boot_in(folder: &Path) -> Boot {
    let run_dir = folder.join("run");
    for name in ["tree", "stage", "spool", "system"] {
        fs::create_dir_all(run_dir.join(name)).expect("makes a folder");
    }
    if let Ids::Range { base } = ids() {
        for name in ["", "stage", "spool", "system"] {
            std::os::unix::fs::chown(run_dir.join(name), Some(base), Some(base)).expect("chowns");
        }
        std::os::unix::fs::chown(run_dir.join("tree"), Some(base + 1), Some(base + 1))
            .expect("chowns");
    }
    Boot {
        run_dir: Bytes::from(run_dir.to_str().expect("text")),
        environment: BootEnvironment::Host,
        expose: Vec::new(),
        hostname: "test".to_owned(),
        ids: ids(),
        limits: Limits {
            processes: 128,
            memory: 1 << 30,
            disk: 1 << 30,
            disk_reserve: 0,
            open_files: 1024,
        },
        confine: Confine::default(),
    }
}

/// Starts a zygote and says what to make.
pub(crate) fn start(boot: &Boot) -> (Child, UnixStream, UnixStream, BootReply) {
    let (zygote, mut control, link) = start_unheard(boot, |_| {});
    let reply = reply(&mut control);
    (zygote, control, link, reply)
}

/// What became of the boot.
pub(crate) fn reply(control: &mut UnixStream) -> BootReply {
    serde_json::from_slice(&hear(control).expect("answers")).expect("understands")
}

/// The same without waiting for the answer; `started` is told the zygote's process.
pub(crate) fn start_unheard(
    boot: &Boot,
    started: impl FnOnce(i32),
) -> (Child, UnixStream, UnixStream) {
    start_as("pyro-agent", boot, started)
}

/// The same with the agent of this name: `pyro-agent` serves the tests' vocabulary, `pyro-server` the real one.
pub(crate) fn start_as(
    name: &str,
    boot: &Boot,
    started: impl FnOnce(i32),
) -> (Child, UnixStream, UnixStream) {
    let (mut control, theirs) = UnixStream::pair().expect("a pair");
    let (link, other) = UnixStream::pair().expect("a pair");
    let program = std::env::current_exe().expect("knows itself");
    let zygote = Command::new(program)
        .arg0(name)
        .env_clear()
        .stdin(OwnedFd::from(theirs))
        .stdout(OwnedFd::from(other))
        .stderr(Stdio::null())
        .spawn()
        .expect("starts");
    started(i32::try_from(zygote.id()).expect("fits"));
    // Who is killed this early may not read it.
    let _ = tell(&mut control, &serde_json::to_vec(boot).expect("serialises"));
    let patience = Some(Duration::from_secs(60));
    control.set_read_timeout(patience).expect("sets a timeout");
    link.set_read_timeout(patience).expect("sets a timeout");
    (zygote, control, link)
}

impl Host {
    /// Boots with the usual message, changed by `change`.
    pub(crate) fn boot(change: impl FnOnce(&mut Boot, &Path)) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let mut boot = boot_in(folder.path());
        change(&mut boot, folder.path());
        let (zygote, control, link, reply) = start(&boot);
        let BootReply::Ready(ready) = reply else {
            panic!("no sandbox: {reply:?}");
        };
        Self {
            zygote,
            control: Some(control),
            link,
            ready,
            folder,
        }
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.folder.path().join("run/tree")
    }

    pub(crate) fn call(&mut self, argv: &[&str], cwd: &str, background: bool) -> Answer {
        let call = Call {
            argv: argv.iter().map(|text| (*text).to_owned()).collect(),
            env: [
                "PATH=/usr/local/bin:/usr/bin:/bin",
                "HOME=/root",
                "LANG=C.UTF-8",
            ]
            .map(str::to_owned)
            .to_vec(),
            cwd: cwd.to_owned(),
            background,
        };
        tell(
            &mut self.link,
            &serde_json::to_vec(&call).expect("serialises"),
        )
        .expect("tells");
        serde_json::from_slice(&hear(&mut self.link).expect("answers")).expect("understands")
    }

    pub(crate) fn run(&mut self, argv: &[&str]) -> Answer {
        self.call(argv, "/workspace", false)
    }

    /// The output of a shell command that must succeed.
    pub(crate) fn sh(&mut self, script: &str) -> String {
        let answer = self.run(&["sh", "-c", script]);
        assert_eq!(answer.code, 0, "{script}: {}", answer.out);
        answer.out
    }

    /// The output of a shell command that must fail.
    pub(crate) fn fails(&mut self, script: &str) -> String {
        let answer = self.run(&["sh", "-c", script]);
        assert!(
            (1..1000).contains(&answer.code),
            "{script}: {} {}",
            answer.code,
            answer.out
        );
        answer.out
    }

    /// Lets go and waits; the zygote must end.
    pub(crate) fn stop(mut self) {
        drop(self.control.take());
        ends(&mut self.zygote);
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        drop(self.control.take());
        ends(&mut self.zygote);
    }
}

/// Waits for the zygote, not for ever.
pub(crate) fn ends(zygote: &mut Child) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while zygote.try_wait().expect("waits").is_none() {
        assert!(Instant::now() < deadline, "the zygote does not end");
        std::thread::sleep(Duration::from_millis(1));
    }
}
