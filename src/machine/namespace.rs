//! The namespace machine as the host sees it: a zygote process, a control socket, a link.
//!
//! ```text
//!  Spare, start() --> Namespace --stop(), drop--> gone
//!                         `------the sandbox ends by itself: the link closes
//! ```
//! Nothing has to be cleaned up after it: namespaces and mounts go with the last process, and the zygote sees to
//! that whichever way this process ends.

use super::MachineError;
use super::boot;
use super::embed;
use pyro_protocol::boot::{Boot, BootEnvironment, BootReply, Ids, Ready};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, chown};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::panic::resume_unwind;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Time for a sandbox to end once it was told to; its processes are killed at once, so it takes milliseconds.
const END: Duration = Duration::from_secs(10);

/// A sandbox that runs.
#[derive(Debug)]
pub struct Namespace {
    link: UnixStream,
    ready: Ready,
    zygote: Zygote,
}

/// Makes a sandbox. Its run folder must exist, with what is in it; owners of the folder and of its direct members are
/// set here, the contents of the work tree are the caller's.
///
/// # Errors
/// One variant for each thing that can go wrong; [`MachineError::BootFailed`] names the step inside the zygote.
pub fn start(boot: &Boot) -> Result<Namespace, MachineError> {
    wait_for_boot(None)?.boot(boot)?.ready()
}

/// The same; zygote and agent hold `held` open, so that a lock on it tells whether one of them is there.
pub(crate) fn start_holding(boot: &Boot, held: OwnedFd) -> Result<Namespace, MachineError> {
    wait_for_boot(Some(held))?.boot(boot)?.ready()
}

/// A zygote that is being started, on a thread of its own, before anybody knows what it shall make.
///
/// ```text
///  begin() --> Spare --boot()--> Booting --ready()--> Namespace
/// ```
/// Each arrow happens while the caller does something else: reads a request, fills a work tree. Dropped anywhere on
/// the way, it is gone.
#[derive(Debug)]
pub struct Spare(Option<JoinHandle<Result<Waiting, MachineError>>>);

impl Spare {
    /// Begins to start one. Where there can be no thread, it is started when it is needed.
    pub fn begin() -> Self {
        let thread = std::thread::Builder::new().name("zygote".to_owned());
        Self(thread.spawn(|| wait_for_boot(None)).ok())
    }

    /// Says what to make; see [`start`].
    ///
    /// # Errors
    /// As [`start`], as far as that goes before anything is made.
    pub fn boot(mut self, boot: &Boot) -> Result<Booting, MachineError> {
        let waiting = match self.0.take() {
            Some(thread) => thread.join().unwrap_or_else(|panic| resume_unwind(panic)),
            None => wait_for_boot(None),
        };
        waiting?.boot(boot)
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        // So that no process is left when its caller goes on.
        if let Some(thread) = self.0.take() {
            drop(thread.join());
        }
    }
}

/// A zygote that waits to be told what to make.
#[derive(Debug)]
struct Waiting {
    link: UnixStream,
    zygote: Zygote,
}

fn wait_for_boot(held: Option<OwnedFd>) -> Result<Waiting, MachineError> {
    let agent = embed::agent().map_err(|source| MachineError::PrepareAgent { source })?;
    let pair = || UnixStream::pair().map_err(|source| MachineError::MakeSockets { source });
    let (control, far_control) = pair()?;
    let (link, far_link) = pair()?;
    // The two sockets go as standard streams: that way needs no code between fork and exec.
    let child = Command::new(format!("/proc/self/fd/{}", agent.as_raw_fd()))
        .arg0("pyro-agent")
        .env_clear()
        .stdin(OwnedFd::from(far_control))
        .stdout(OwnedFd::from(far_link))
        .stderr(held.map_or_else(Stdio::null, Stdio::from))
        .spawn()
        .map_err(|source| MachineError::StartZygote { source })?;
    let zygote =
        Zygote::new(&child, control).map_err(|source| MachineError::StartZygote { source })?;
    Ok(Waiting { link, zygote })
}

impl Waiting {
    fn boot(self, boot: &Boot) -> Result<Booting, MachineError> {
        let Self { link, mut zygote } = self;
        prepare(boot)?;
        boot::tell(&mut zygote.control, boot)
            .map_err(|source| MachineError::TellZygote { source })?;
        Ok(Booting { link, zygote })
    }
}

/// A sandbox that is being made.
#[derive(Debug)]
pub struct Booting {
    link: UnixStream,
    zygote: Zygote,
}

impl Booting {
    /// The byte stream to the agent, blocking. The agent answers when it is there, and never where it fails.
    pub fn link(&self) -> &UnixStream {
        &self.link
    }

    /// Waits until the sandbox is there.
    ///
    /// # Errors
    /// As [`start`].
    pub fn ready(self) -> Result<Namespace, MachineError> {
        let Self { link, mut zygote } = self;
        let reply = boot::hear(&mut zygote.control)
            .map_err(|source| MachineError::HearZygote { source })?;
        match reply {
            BootReply::Ready(ready) => Ok(Namespace {
                link,
                ready,
                zygote,
            }),
            BootReply::Failed(failure) => Err(MachineError::BootFailed(failure)),
        }
    }
}

impl Namespace {
    /// The byte stream to the agent, blocking. It ends when the sandbox does.
    pub fn link(&mut self) -> &mut UnixStream {
        &mut self.link
    }

    /// What was made.
    pub fn ready(&self) -> &Ready {
        &self.ready
    }

    /// Tells the sandbox to end, and does not wait for it. [`Namespace::stop`] does.
    pub fn let_go(&self) {
        self.zygote.let_go();
    }

    /// Ends the sandbox with everything in it, and waits until it is gone.
    ///
    /// # Errors
    /// Where it did not end in ten seconds. It is killed then, and gone as soon as the kernel lets it.
    pub fn stop(mut self) -> Result<(), MachineError> {
        self.zygote
            .end()
            .map_err(|source| MachineError::StopZygote { source })
    }
}

/// The zygote's process. Dropped, it ends.
#[derive(Debug)]
struct Zygote {
    control: UnixStream,
    process: Option<OwnedFd>,
}

impl Zygote {
    fn new(child: &std::process::Child, control: UnixStream) -> io::Result<Self> {
        let pid = i32::try_from(child.id()).map_err(io::Error::other)?;
        let pid = Pid::from_raw(pid).ok_or(Errno::SRCH)?;
        // Nobody else reaps it, so the number is still its own.
        let process = Some(rustix::process::pidfd_open(pid, PidfdFlags::empty())?);
        Ok(Self { control, process })
    }

    fn let_go(&self) {
        // Closing would not do while another process (one that somebody forked off us) holds a copy.
        let _ = self.control.shutdown(std::net::Shutdown::Both);
    }

    fn end(&mut self) -> io::Result<()> {
        let Some(process) = self.process.take() else {
            return Ok(());
        };
        self.let_go();
        let in_time = ended(&process, END)?;
        if !in_time {
            match rustix::process::pidfd_send_signal(&process, Signal::KILL) {
                Ok(()) | Err(Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
            ended(&process, Duration::from_secs(1))?;
        }
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        rustix::process::waitid(WaitId::PidFd(process.as_fd()), options)?;
        if in_time {
            Ok(())
        } else {
            Err(io::ErrorKind::TimedOut.into())
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        // Best effort: it is killed in any case, and nobody is left to tell.
        let _ = self.end();
    }
}

fn ended(process: &OwnedFd, patience: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Gives the folders to the ids that use them.
fn prepare(boot: &Boot) -> Result<(), MachineError> {
    let run_dir = Path::new(OsStr::from_bytes(&boot.run_dir));
    if let BootEnvironment::Dir(_) = boot.environment {
        // For what programs change in the image.
        let path = run_dir.join("system");
        if let Err(source) = fs::DirBuilder::new().mode(0o700).create(&path)
            && source.kind() != io::ErrorKind::AlreadyExists
        {
            let path = path.display().to_string();
            return Err(MachineError::PrepareRunDir { path, source });
        }
    }
    let Ids::Range { base } = boot.ids else {
        return Ok(());
    };
    // The agent's own, then the one that is root's inside.
    for (name, owner) in [
        ("", base),
        ("stage", base),
        ("spool", base),
        ("system", base),
        ("tree", base + 1),
    ] {
        let path = run_dir.join(name);
        let given = fs::symlink_metadata(&path).and_then(|metadata| {
            if metadata.uid() == owner && metadata.gid() == owner {
                return Ok(());
            }
            chown(&path, Some(owner), Some(owner))
        });
        match given {
            Ok(()) => {}
            // The agent makes what it needs.
            Err(error) if error.kind() == io::ErrorKind::NotFound && name != "tree" => {}
            Err(source) => {
                return Err(MachineError::PrepareRunDir {
                    path: path.display().to_string(),
                    source,
                });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{IdRangeLock, ids_for_this_user};
    use pyro_protocol::Bytes;
    use pyro_protocol::boot::{BootStep, Confine, Limits};

    fn boot(folder: &Path) -> (Boot, Option<IdRangeLock>) {
        let run_dir = folder.join("run");
        for name in ["tree", "stage", "spool", "system"] {
            fs::create_dir_all(run_dir.join(name)).expect("makes a folder");
        }
        let (ids, lock) = ids_for_this_user().expect("finds ids");
        let boot = Boot {
            run_dir: Bytes::from(run_dir.as_os_str().as_bytes()),
            environment: BootEnvironment::Host,
            expose: Vec::new(),
            hostname: "test".to_owned(),
            ids,
            limits: Limits {
                processes: 64,
                memory: 1 << 30,
                disk: 1 << 30,
                disk_reserve: 0,
                open_files: 1024,
            },
            confine: Confine::default(),
        };
        (boot, lock)
    }

    #[test]
    fn a_sandbox_starts_and_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let (boot, _lock) = boot(folder.path());
        let sandbox = start(&boot).expect("starts");
        assert!(sandbox.ready().agent_pid > 1 && sandbox.ready().init_pid > 1);
        let agent = format!("/proc/{}", sandbox.ready().agent_pid);
        sandbox.stop().expect("ends");
        assert!(!Path::new(&agent).exists());
    }

    #[test]
    fn a_refusal_names_its_step() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut boot, _lock) = boot(folder.path());
        boot.expose.push(Bytes::from("/proc/self"));
        let error = start(&boot).expect_err("nobody may expose that");
        let MachineError::BootFailed(failure) = &error else {
            panic!("{error:?}");
        };
        assert_eq!(failure.step, BootStep::SystemTree);
        assert_eq!(
            error.to_string(),
            "make the sandbox: expose /proc/self: the sandbox has its own (step system-tree)"
        );
    }
}
