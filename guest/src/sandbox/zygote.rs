//! The process between host and sandbox: reads one [`Boot`], clones the agent, answers, and waits for either end.
//!
//! ```text
//!  host --spawn--> zygote --clone3--> agent (pid 1, outer namespaces) --clone3--> init (pid 1, inner ones)
//!   |                |                  |  `--fork+setns--> programs
//!   +---control------+                  |
//!   +---link---------(handed on)--------+
//! ```
//! It has one thread and stays small: a parent-death signal follows the thread that cloned, and forking a big host
//! process is slow. When the control socket closes it kills the agent, with which every process of the sandbox and
//! every mount goes; when the agent ends it ends too, which closes the socket.

use super::groups::Groups;
use super::report::{self, At as _, PATIENCE, receive, refusal, send};
use super::sources::Sources;
use super::sys::{self, Fork};
use super::{idmap, outer};
use crate::serve::Agent;
use pyro_protocol::boot::{Boot, BootFailure, BootReply, BootStep, Ids, Ready};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Resource, Rlimit, Signal};
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

const OUTER: libc::c_int = libc::CLONE_NEWUSER
    | libc::CLONE_NEWNS
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWCGROUP;

/// Signals and bytes of messages that wait: at most so many, and half of what the user may have.
const SHARED: [(Resource, u64); 2] = [
    (Resource::Sigpending, 4096),
    (Resource::Msgqueue, 256 << 10),
];

/// Runs as the zygote until the sandbox is over; in the clone, as the agent: `serve` is called there.
///
/// Standard input is the control socket, standard output the link, standard error what is to be held open. They are
/// moved away, and every other descriptor is closed: this must be the first thing that the process does.
///
/// # Errors
/// Where the host does not speak, or cannot be answered.
pub fn run(serve: impl FnOnce(Agent) -> io::Result<()>) -> io::Result<()> {
    // What the host gave as standard error is held open by this process and the agent, and by nothing else: a lock on
    // it is free once both are gone.
    let (control, link, _held) = take_over()?;
    // The host may start its zygote long before it knows what to make; its end is heard in any case.
    wait_for(&control)?;
    let boot = receive(&control, PATIENCE)?;
    let outcome = match serde_json::from_slice::<Boot>(&boot) {
        Ok(boot) => start(&boot, &control, link, serve),
        Err(error) => Err(refusal(
            BootStep::Rlimits,
            format!("read the boot message: {error}"),
        )),
    };
    let (reply, agent) = match outcome {
        Ok((ready, agent)) => (BootReply::Ready(ready), Some(agent)),
        Err(failure) => (BootReply::Failed(failure), None),
    };
    send(&control, &serde_json::to_vec(&reply)?)?;
    match agent {
        Some(agent) => watch(&control, agent.as_fd()),
        None => Ok(()),
    }
}

/// Waits until there is something to read.
fn wait_for(control: &OwnedFd) -> io::Result<()> {
    loop {
        match poll(&mut [PollFd::new(control, PollFlags::IN)], None) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Moves the two sockets above the standard streams, which become /dev/null, and leaves the caller's session:
/// an interrupt at the host's terminal is for the host to handle.
fn take_over() -> io::Result<(OwnedFd, OwnedFd, OwnedFd)> {
    sys::close_from(3, sys::CloseRange::Now)?;
    let control = io::stdin().as_fd().try_clone_to_owned()?;
    let link = io::stdout().as_fd().try_clone_to_owned()?;
    let held = io::stderr().as_fd().try_clone_to_owned()?;
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    for stream in 0..3 {
        sys::dup_onto(null.as_fd(), stream)?;
    }
    sys::reset_signals();
    rustix::process::chdir(c"/")?;
    rustix::thread::set_name(c"pyro-zygote")?;
    match rustix::process::setsid() {
        Ok(_) | Err(Errno::PERM) => {}
        Err(error) => return Err(error.into()),
    }
    Ok((control, link, held))
}

/// Clones the agent and waits for its report. Every failure leaves nothing behind.
fn start(
    boot: &Boot,
    control: &OwnedFd,
    link: OwnedFd,
    serve: impl FnOnce(Agent) -> io::Result<()>,
) -> Result<(Ready, OwnedFd), BootFailure> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)
        .at(BootStep::Rlimits, "set the core file limit to 0")?;
    // Counted for each user, across namespaces: what programs queue must not use up what the user has elsewhere.
    for (resource, most) in SHARED {
        let allowed = rustix::process::getrlimit(resource).maximum;
        let value = Some(allowed.map_or(most, |allowed| most.min(allowed / 2)));
        let limit = Rlimit {
            current: value,
            maximum: value,
        };
        rustix::process::setrlimit(resource, limit)
            .at(BootStep::Rlimits, "bound what is counted for each user")?;
    }
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let groups = Groups::open(&boot.confine)?;
    let sources = match boot.ids {
        Ids::Range { base } => {
            // The agent would be somebody who exists, or the map would end beyond the last id.
            if base < 0x1_0000 || base.checked_add(0x1_0000).is_none() {
                return Err(refusal(
                    BootStep::IdMap,
                    format!("ids from {base} on are taken"),
                ));
            }
            Some(Sources::open(boot)?)
        }
        Ids::Single if idmap::is_the_hosts_root() => {
            return Err(refusal(
                BootStep::IdMap,
                "map the host's root: use a range of ids",
            ));
        }
        Ids::Single => None,
    };
    let step = BootStep::OuterNamespaces;
    let (ours, theirs) = pair().at(step, "make a socket pair")?;
    match sys::fork(OUTER).at(
        step,
        "clone3 with new user, mount, pid, net, ipc, uts and cgroup namespaces",
    )? {
        Fork::Child => {
            drop(ours);
            let done = outer::run(boot, sources, groups, theirs, control.as_fd(), link, serve);
            sys::exit(i32::from(done.is_err()))
        }
        Fork::Parent { pid, pidfd } => {
            // From here on, dropping `guard` kills and reaps.
            let guard = Guard(Some(pidfd));
            // First of all: the agent waits for it.
            idmap::write_outer(pid, boot.ids)?;
            send(&ours, b"").at(step, "let the agent go on")?;
            drop((theirs, link, sources, groups));
            let mut ready = report(&ours)?;
            rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)
                .at(BootStep::Privileges, "make the zygote untraceable")?;
            ready.agent_pid = pid;
            ready.init_pid = only_child(pid);
            Ok((ready, guard.keep()))
        }
    }
}

fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(
        rustix::net::AddressFamily::UNIX,
        rustix::net::SocketType::STREAM,
        rustix::net::SocketFlags::CLOEXEC,
        None,
    )?)
}

/// Reads how far the agent came.
fn report(agent: &OwnedFd) -> Result<Ready, BootFailure> {
    let step = BootStep::OuterNamespaces;
    let reply = receive(agent, PATIENCE).map_err(|error| {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            refusal(step, "the agent ended without a word")
        } else if error.kind() == io::ErrorKind::TimedOut {
            refusal(step, "the agent did not get ready in time")
        } else {
            refusal(step, format!("hear from the agent: {error}"))
        }
    })?;
    match serde_json::from_slice(&reply) {
        Ok(BootReply::Ready(ready)) => Ok(ready),
        Ok(BootReply::Failed(failure)) => Err(failure),
        Err(error) => Err(refusal(step, format!("understand the agent: {error}"))),
    }
}

/// The agent's only child at this time is the inner init; its number on the host is for people only.
fn only_child(agent: i32) -> i32 {
    std::fs::read_to_string(format!("/proc/{agent}/task/{agent}/children"))
        .ok()
        .and_then(|children| children.split_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// The agent until it is known to be ready: dropped, it dies.
struct Guard(Option<OwnedFd>);

impl Guard {
    fn keep(mut self) -> OwnedFd {
        self.0.take().expect("taken here only")
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(agent) = &self.0 {
            end(agent.as_fd());
        }
    }
}

/// Kills the agent, and with pid 1 of the outer namespace everything; waits until it is gone.
fn end(agent: BorrowedFd<'_>) {
    let _ = rustix::process::pidfd_send_signal(agent, Signal::KILL);
    // Something may hang in the kernel (a dead network mount); then it outlives us, already killed.
    if report::readable(agent, PATIENCE).unwrap_or(false) {
        let _ = rustix::process::waitid(
            rustix::process::WaitId::PidFd(agent),
            rustix::process::WaitIdOptions::EXITED,
        );
    }
}

/// Waits until the host lets go or the agent ends.
fn watch(control: &OwnedFd, agent: BorrowedFd<'_>) -> io::Result<()> {
    loop {
        let mut fds = [
            PollFd::new(control, PollFlags::IN),
            PollFd::from_borrowed_fd(agent, PollFlags::IN),
        ];
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        // The host has nothing to say after the boot message: whatever arrives means the end.
        if fds.iter().any(|fd| !fd.revents().is_empty()) {
            end(agent);
            return Ok(());
        }
    }
}

/// Opens a directory for reading and as a base of paths.
pub(crate) fn open_directory(path: &std::ffi::CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, path, flags, Mode::empty())
}
