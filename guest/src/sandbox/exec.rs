//! Running programs in the inner namespaces: a fork of the agent that enters them and executes.
//!
//! A plain fork, never vfork: the child becomes visible to the sandbox before it executes, and a program that stops
//! it would freeze the agent with it. Everything is allocated before the fork; the child only makes system calls.

use super::groups::Groups;
use super::outer::{Limits, take_root_ids};
use super::report::readable;
use super::sys::{self, Fork, Strings};
use super::{caps, processes, terminal};
use crate::spawn::{Child, Lookout, Process, Program, SpawnError, Spawner, Terminal};
use pyro_protocol::boot::Ids;
use pyro_protocol::message::TerminalSize;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use rustix::thread::LinkNameSpaceType as Kind;
use std::ffi::{CStr, CString};
use std::fmt;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A child that has not executed by then was stopped by somebody inside.
const START: Duration = Duration::from_secs(10);

/// Where a program is looked for when its environment has no PATH.
const DEFAULT_PATH: &[u8] = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// How much more willingly the kernel ends a program than the agent when memory runs out.
const OOM_SCORE: &[u8] = b"500";

/// The inner namespaces, opened while init could still be inspected.
#[derive(Debug)]
pub(crate) struct Namespaces {
    user: OwnedFd,
    mount: OwnedFd,
    pid: OwnedFd,
    ipc: OwnedFd,
    uts: OwnedFd,
    cgroup: OwnedFd,
}

/// The way to where programs have their mounts.
#[derive(Debug)]
pub(crate) struct Entrance {
    user: OwnedFd,
    mount: OwnedFd,
}

impl Entrance {
    /// Enters; for a child that does nothing else.
    pub(crate) fn enter(&self) -> rustix::io::Result<()> {
        rustix::thread::move_into_link_name_space(self.user.as_fd(), Some(Kind::User))?;
        rustix::thread::move_into_link_name_space(self.mount.as_fd(), Some(Kind::Mount))
    }
}

impl Namespaces {
    /// Opens each by its name in /proc.
    pub(crate) fn open(open: impl Fn(&str) -> io::Result<OwnedFd>) -> io::Result<Self> {
        Ok(Self {
            user: open("user")?,
            mount: open("mnt")?,
            pid: open("pid")?,
            ipc: open("ipc")?,
            uts: open("uts")?,
            cgroup: open("cgroup")?,
        })
    }

    /// What leads into the mounts alone.
    ///
    /// # Errors
    /// Where there are too many descriptors.
    pub(crate) fn entrance(&self) -> io::Result<Entrance> {
        Ok(Entrance {
            user: self.user.try_clone()?,
            mount: self.mount.try_clone()?,
        })
    }

    /// Enters all but the pid namespace, which only a fork enters.
    fn enter(&self) -> rustix::io::Result<()> {
        let Self {
            user,
            mount,
            pid: _,
            ipc,
            uts,
            cgroup,
        } = self;
        // The user namespace first: it gives the right to enter the others.
        for (fd, kind) in [
            (user, Kind::User),
            (mount, Kind::Mount),
            (ipc, Kind::InterProcessCommunication),
            (uts, Kind::HostNameAndNISDomainName),
            (cgroup, Kind::ControlGroup),
        ] {
            rustix::thread::move_into_link_name_space(fd.as_fd(), Some(kind))?;
        }
        Ok(())
    }
}

/// The place where programs run, held by the agent.
pub struct Sandbox {
    init: (i32, OwnedFd),
    namespaces: Namespaces,
    own_pids: OwnedFd,
    filter: Vec<libc::sock_filter>,
    limits: Limits,
    groups: Groups,
    ids: Ids,
    /// The agent's own oom_score_adj: children inherit what it says while they are forked.
    score: Option<OwnedFd>,
    /// Children that were killed before they executed and are not reaped yet.
    abandoned: Vec<OwnedFd>,
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox")
            .field("init", &self.init.0)
            .field("ids", &self.ids)
            .finish_non_exhaustive()
    }
}

/// What a child could not do. Sent as three bytes: the step's place in this list, then the error number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Step {
    Enter,
    Ids,
    Limits,
    Streams,
    Directory,
    Privileges,
    Filter,
    /// No candidate exists.
    Missing,
    /// It exists, but its interpreter or loader does not.
    Interpreter,
    /// It is a directory.
    IsDirectory,
    Execute,
}

const STEPS: [Step; 11] = [
    Step::Enter,
    Step::Ids,
    Step::Limits,
    Step::Streams,
    Step::Directory,
    Step::Privileges,
    Step::Filter,
    Step::Missing,
    Step::Interpreter,
    Step::IsDirectory,
    Step::Execute,
];

type Refused = (Step, Errno);

/// All that the child needs, allocated before the fork.
struct Prepared<'a> {
    candidates: Vec<CString>,
    argv: Strings<'a>,
    env: Strings<'a>,
    cwd: &'a CStr,
    streams: Streams<'a>,
}

/// What the child has as its standard streams.
enum Streams<'a> {
    /// These, all above 2.
    Given([BorrowedFd<'a>; 3]),
    /// A terminal that it makes itself, of this size; the agent's ends go over the socket.
    Terminal(TerminalSize, BorrowedFd<'a>),
}

impl Sandbox {
    pub(crate) fn new(
        init: (i32, OwnedFd),
        namespaces: Namespaces,
        own_pids: OwnedFd,
        filter: Vec<libc::sock_filter>,
        (limits, groups): (Limits, Groups),
        ids: Ids,
        score: Option<OwnedFd>,
    ) -> Self {
        Self {
            init,
            namespaces,
            own_pids,
            filter,
            limits,
            groups,
            ids,
            score,
            abandoned: Vec::new(),
        }
    }

    /// Whether init is gone, and every program with it.
    fn ended(&self) -> bool {
        readable(self.init.1.as_fd(), Duration::ZERO).unwrap_or(true)
    }

    /// The same, asked after something failed. A killed init stays until the agent has reaped its own children.
    fn ending(&self) -> bool {
        self.ended() || processes::is_exiting(self.init.0)
    }

    /// A fork whose child is in the inner pid namespace. The calling thread's own children are back in the agent's
    /// afterwards: a thread that has its children elsewhere cannot make threads.
    fn fork_inside(&self) -> io::Result<Fork> {
        let pids = Some(Kind::ProcessID);
        rustix::thread::move_into_link_name_space(self.namespaces.pid.as_fd(), pids)?;
        self.set_score(OOM_SCORE);
        let forked = sys::fork(0);
        if !matches!(forked, Ok(Fork::Child)) {
            self.set_score(b"0");
            rustix::thread::move_into_link_name_space(self.own_pids.as_fd(), pids)?;
        }
        forked
    }

    fn set_score(&self, score: &[u8]) {
        if let Some(file) = &self.score {
            // Best effort: a hint to the kernel.
            let _ = rustix::io::pwrite(file, score, 0);
        }
    }

    /// The child's way to execve. No allocation, no destructor that frees.
    fn execute(&self, prepared: &Prepared<'_>) -> Refused {
        match self.enter(prepared) {
            Ok(()) => prepared.execute(),
            Err(refused) => refused,
        }
    }

    fn enter(&self, prepared: &Prepared<'_>) -> Result<(), Refused> {
        let io = |step: Step| move |error: io::Error| (step, super::mounts::errno(error));
        let raw = |step: Step| move |error: Errno| (step, error);
        sys::reset_ignored();
        // Before the namespaces: which group may be joined depends on where one stands.
        self.groups.join().map_err(raw(Step::Limits))?;
        self.namespaces.enter().map_err(raw(Step::Enter))?;
        take_root_ids(self.ids).map_err(raw(Step::Ids))?;
        rustix::process::setsid().map_err(raw(Step::Ids))?;
        self.limits.apply().map_err(raw(Step::Limits))?;
        let set = match prepared.streams {
            Streams::Given(stdio) => set_streams(stdio),
            Streams::Terminal(size, to) => terminal::make(size, to)
                .map_err(io::Error::from)
                .and_then(|slave| set_streams([slave.as_fd(); 3])),
        };
        set.map_err(io(Step::Streams))?;
        sys::close_from(3, sys::CloseRange::OnExec).map_err(io(Step::Streams))?;
        rustix::process::chdir(prepared.cwd).map_err(raw(Step::Directory))?;
        caps::reduce(caps::KEEP).map_err(raw(Step::Privileges))?;
        sys::install_filter(&self.filter).map_err(io(Step::Filter))
    }

    fn check_init(&self, error: io::Error) -> SpawnError {
        // A pid namespace whose init is gone takes no more processes: ENOMEM from clone.
        if self.ending() {
            SpawnError::SandboxEnded
        } else {
            SpawnError::Agent(error)
        }
    }

    /// Kills a child that never executed and reaps it, now or later.
    fn abandon(&mut self, pidfd: OwnedFd) {
        let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
        if !reaped(pidfd.as_fd(), Duration::from_secs(1)) {
            self.abandoned.push(pidfd);
        }
    }
}

fn set_streams(stdio: [BorrowedFd<'_>; 3]) -> io::Result<()> {
    for (fd, number) in stdio.into_iter().zip(0..) {
        sys::dup_onto(fd, number)?;
    }
    Ok(())
}

fn reaped(pidfd: BorrowedFd<'_>, patience: Duration) -> bool {
    readable(pidfd, patience).unwrap_or(false)
        && rustix::process::waitid(WaitId::PidFd(pidfd), WaitIdOptions::EXITED).is_ok()
}

impl Prepared<'_> {
    /// Tries each candidate as a shell would: what is missing is passed over, what is forbidden remembered.
    fn execute(&self) -> Refused {
        let mut refused = (Step::Missing, Errno::NOENT);
        for path in &self.candidates {
            let error = sys::execve(path, &self.argv, &self.env);
            match error {
                Errno::NOENT | Errno::NOTDIR | Errno::NAMETOOLONG | Errno::LOOP => {
                    if rustix::fs::stat(path.as_c_str()).is_ok() {
                        return (Step::Interpreter, error);
                    }
                    if refused.0 == Step::Missing {
                        refused.1 = error;
                    }
                }
                Errno::ACCESS => {
                    let is_directory = rustix::fs::stat(path.as_c_str()).is_ok_and(|stat| {
                        rustix::fs::FileType::from_raw_mode(stat.st_mode).is_dir()
                    });
                    let step = if is_directory {
                        Step::IsDirectory
                    } else {
                        Step::Execute
                    };
                    refused = (step, error);
                }
                _ => return (Step::Execute, error),
            }
        }
        refused
    }
}

/// Where the program may be: itself when it has a slash, else in each directory of PATH.
fn candidates(program: &Program) -> Vec<CString> {
    let Some(name) = program.argv.first().filter(|name| !name.is_empty()) else {
        return Vec::new();
    };
    if name.to_bytes().contains(&b'/') {
        return vec![name.clone()];
    }
    let path = program
        .env
        .iter()
        .find_map(|variable| variable.to_bytes().strip_prefix(b"PATH="))
        .unwrap_or(DEFAULT_PATH);
    path.split(|byte| *byte == b':')
        .filter_map(|directory| {
            let directory: &[u8] = if directory.is_empty() {
                b"."
            } else {
                directory
            };
            CString::new([directory, b"/", name.to_bytes()].concat()).ok()
        })
        .collect()
}

fn not_started(program: &Program, step: Step, errno: Errno) -> SpawnError {
    let name = program
        .argv
        .first()
        .map_or("".into(), |name| name.to_string_lossy());
    let cwd = program.cwd.to_string_lossy();
    let error = io::Error::from(errno);
    let (code, reason) = match step {
        Step::Missing => (127, format!("no such program: {name}")),
        Step::Interpreter => (126, format!("{name}: its interpreter or loader is missing")),
        Step::IsDirectory => (126, format!("{name} is a directory")),
        Step::Directory => (
            126,
            format!("working directory {cwd}: {}", words(errno, &error)),
        ),
        Step::Execute => match errno {
            Errno::ACCESS => (
                126,
                format!("{name}: permission denied (is it executable?)"),
            ),
            Errno::NOEXEC => (
                126,
                format!("{name}: not a program for this machine, nor a script that begins with #!"),
            ),
            Errno::AGAIN => (126, format!("{name}: the sandbox has no processes left")),
            Errno::TOOBIG => (126, format!("{name}: argument list too long")),
            _ => (126, format!("{name}: {}", words(errno, &error))),
        },
        Step::Enter
        | Step::Ids
        | Step::Limits
        | Step::Streams
        | Step::Privileges
        | Step::Filter => {
            return SpawnError::Agent(error);
        }
    };
    SpawnError::NotStarted {
        code,
        reason,
        errno: errno.raw_os_error(),
    }
}

fn words(errno: Errno, error: &io::Error) -> String {
    match errno {
        Errno::NOENT => "no such directory".to_owned(),
        Errno::NOTDIR => "not a directory".to_owned(),
        Errno::ACCESS => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

impl Spawner for Sandbox {
    fn spawn(
        &mut self,
        program: &Program,
        stdio: [BorrowedFd<'_>; 3],
    ) -> Result<Child, SpawnError> {
        if self.ended() {
            return Err(SpawnError::SandboxEnded);
        }
        // Above the standard streams, so that no copy onto one of them overwrites the source of the next.
        let copies = stdio.map(|fd| rustix::io::fcntl_dupfd_cloexec(fd, 3));
        let [input, output, errors] = copies;
        let agent = |error: Errno| SpawnError::Agent(error.into());
        let (input, output, errors) = (
            input.map_err(agent)?,
            output.map_err(agent)?,
            errors.map_err(agent)?,
        );
        let stdio = [input.as_fd(), output.as_fd(), errors.as_fd()];
        let (heard, told) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(agent)?;
        let (pid, pidfd) = self.launch(program, Streams::Given(stdio), told)?;
        self.follow(program, &heard, pid, pidfd)
    }

    fn spawn_on_terminal(
        &mut self,
        program: &Program,
        size: TerminalSize,
    ) -> Result<(Child, Terminal), SpawnError> {
        if self.ended() {
            return Err(SpawnError::SandboxEnded);
        }
        let (heard, told) = terminal::socket().map_err(SpawnError::Agent)?;
        let to = told.try_clone().map_err(SpawnError::Agent)?;
        let streams = Streams::Terminal(size, to.as_fd());
        let (pid, pidfd) = self.launch(program, streams, told)?;
        drop(to);
        let ready = readable(heard.as_fd(), START);
        let terminal = ready.and_then(|_| terminal::receive(&heard));
        // Says what went wrong where something did.
        let child = self.follow(program, &heard, pid, pidfd)?;
        match terminal {
            Ok(Some(terminal)) => Ok((child, terminal)),
            sent => {
                self.abandon(child.pidfd);
                let gone = io::ErrorKind::UnexpectedEof.into();
                Err(SpawnError::Agent(sent.err().unwrap_or(gone)))
            }
        }
    }

    fn processes(&self) -> io::Result<Vec<Process>> {
        processes::all(&[1, self.init.0])
    }

    fn memory_kills(&self) -> Option<u64> {
        self.groups.kills()
    }

    fn lookout(&self) -> Lookout {
        let leave_out = [1, self.init.0];
        Box::new(move || processes::all(&leave_out))
    }

    fn is_empty(&self) -> bool {
        let init = self.init.0;
        // Whatever a program left is a child of init by now, or a child of one.
        std::fs::read(format!("/proc/{init}/task/{init}/children"))
            .is_ok_and(|children| children.is_empty())
    }

    fn reap_others(&mut self, keep: &[i32]) {
        self.abandoned
            .retain(|pidfd| !reaped(pidfd.as_fd(), Duration::ZERO));
        // Looking does not reap; the first one that is somebody's running child ends the search.
        while let Some(pid) = sys::ended_child() {
            let Some(pid) = Pid::from_raw(pid).filter(|_| !keep.contains(&pid)) else {
                break;
            };
            let reap = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
            if rustix::process::waitid(WaitId::Pid(pid), reap).is_err() {
                break;
            }
        }
    }
}

impl Sandbox {
    /// Forks a child that executes the program, or says on `told` why it does not.
    fn launch(
        &mut self,
        program: &Program,
        streams: Streams<'_>,
        told: OwnedFd,
    ) -> Result<(i32, OwnedFd), SpawnError> {
        let prepared = Prepared {
            candidates: candidates(program),
            argv: Strings::new(&program.argv),
            env: Strings::new(&program.env),
            cwd: &program.cwd,
            streams,
        };
        match self.fork_inside() {
            Ok(Fork::Child) => {
                let (step, errno) = self.execute(&prepared);
                let [low, high] = u16::try_from(errno.raw_os_error())
                    .unwrap_or(0)
                    .to_le_bytes();
                let _ = rustix::io::write(&told, &[step as u8, low, high]);
                sys::exit(127)
            }
            Err(error) => Err(self.check_init(error)),
            Ok(Fork::Parent { pid, pidfd }) => Ok((pid, pidfd)),
        }
    }

    /// Waits until the child has executed, or says why not.
    fn follow(
        &mut self,
        program: &Program,
        heard: &OwnedFd,
        pid: i32,
        pidfd: OwnedFd,
    ) -> Result<Child, SpawnError> {
        let waited = readable(heard.as_fd(), START);
        let mut words = [0; 3];
        let read = match waited {
            Ok(true) => rustix::io::read(heard, &mut words).map_err(io::Error::from),
            Ok(false) => {
                self.abandon(pidfd);
                return Err(SpawnError::NotStarted {
                    code: 126,
                    reason: "it was stopped before it could start".to_owned(),
                    errno: Errno::TIMEDOUT.raw_os_error(),
                });
            }
            Err(error) => Err(error),
        };
        match read {
            Ok(0) => Ok(Child { pid, pidfd }),
            Ok(_) => {
                let step = STEPS
                    .get(usize::from(words[0]))
                    .copied()
                    .unwrap_or(Step::Execute);
                let errno =
                    Errno::from_raw_os_error(i32::from(u16::from_le_bytes([words[1], words[2]])));
                self.abandon(pidfd);
                if self.ending() {
                    return Err(SpawnError::SandboxEnded);
                }
                Err(not_started(program, step, errno))
            }
            Err(error) => {
                self.abandon(pidfd);
                Err(SpawnError::Agent(error))
            }
        }
    }
}
