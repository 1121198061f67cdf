//! The process of a keeper, from its first moment to its last.
//!
//! ```text
//!  Begin --> lock, ids, folder in order --> machine --> socket --> Report, Go --> serve --> end
//!    `---------------------`----------------------`------------ Failed: nothing is left
//! ```

use super::connect::socket_name;
use super::handover::{self, Begin, Go, Ready, Report};
use super::log::say;
use super::message::Status;
use super::serve::{End, Service};
use super::{END, chain};
use crate::machine::{
    Cancel, IdRangeLock, Link, MachineError, Namespace, embed, recover, start_holding,
};
use crate::workspace::{EndReason, Ended, Home, StateDir, Timestamp, settle};
use pyro_protocol::Decoder;
use pyro_protocol::boot::Ids;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

/// The end by a signal is as orderly as any other.
const SIGNALS: [i32; 3] = [libc::SIGTERM, libc::SIGHUP, libc::SIGINT];
/// A starter has said everything by then.
const BEGIN: Duration = Duration::from_secs(20);

/// Is a keeper, with the arguments after `keeper`; the exit code.
pub(crate) fn main(words: &[OsString]) -> u8 {
    let _named = rustix::thread::set_name(c"pyro-keeper");
    let mut starter = match starter() {
        Ok(socket) => socket,
        Err(_) => {
            say("could not keep a workspace alive: pyro starts its keepers itself");
            return 2;
        }
    };
    match keep(words, &mut starter) {
        Ok(()) => 0,
        Err(why) => {
            say(&format!("could not {why}"));
            // It may be gone.
            let _told = handover::send(&mut starter, &Report::Failed(why));
            1
        }
    }
}

/// The socket to the starter, which came as standard input; in its place is nothing any more.
fn starter() -> io::Result<UnixStream> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    if rustix::net::sockopt::socket_type(&socket)? != rustix::net::SocketType::STREAM {
        return Err(Errno::NOTSOCK.into());
    }
    let flags = OFlags::RDWR | OFlags::CLOEXEC;
    let null = rustix::fs::open(c"/dev/null", flags, rustix::fs::Mode::empty())?;
    rustix::stdio::dup2_stdin(&null)?;
    Ok(socket.into())
}

fn keep(words: &[OsString], starter: &mut UnixStream) -> Result<(), String> {
    let said = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let cancel = Cancel::new().map_err(said("make a pipe"))?;
    let caught = cancel.on_signals(&SIGNALS);
    caught.map_err(said("wait for signals"))?;
    let [flag, state, id] = words else {
        return Err("keep a workspace alive: its arguments are wrong".to_owned());
    };
    if flag != "--state-dir" {
        return Err("keep a workspace alive: its arguments are wrong".to_owned());
    }
    starter
        .set_read_timeout(Some(BEGIN))
        .map_err(said("hear the starter"))?;
    let sent = handover::receive_descriptors(starter);
    let mut sent = sent.map_err(said("hear the starter"))?.into_iter();
    if let Some(agent) = sent.next() {
        embed::adopt(agent);
    }
    let lock = sent.next();
    let begin: Begin = handover::receive(starter).map_err(said("hear the starter"))?;
    starter
        .set_read_timeout(None)
        .map_err(said("hear the starter"))?;
    let own = env!("CARGO_PKG_VERSION");
    if begin.version != own {
        let version = begin.version;
        return Err(format!(
            "keep a workspace of pyro {version} alive: this is pyro {own}"
        ));
    }
    let range = match (begin.ids, lock) {
        (Ids::Single, _) => None,
        (Ids::Range { base }, Some(lock)) => {
            Some(IdRangeLock::received(base, lock).map_err(said("hold the ids of the sandbox"))?)
        }
        (Ids::Range { .. }, None) => {
            return Err("hold the ids of the sandbox: none came".to_owned());
        }
    };
    let home = home(state, id)?;
    let lock = home.wait_for_keeper_lock(END);
    let Some(lock) = lock.map_err(said("lock the workspace"))? else {
        return Err(format!("start workspace {}: it runs already", home.id()));
    };
    let made = Made::new(&home, begin.ids, &lock);
    let mut made = match made {
        Ok(made) => made,
        Err(why) => {
            // Of the machine nothing is left by now.
            let _next_time = home.remove_groups();
            return Err(why);
        }
    };
    // Before the starter can look.
    let before = home.ended().ok().flatten();
    home.forget_ended();
    if let Err(error) = home.touch() {
        say(&format!("could not {error}"));
    }
    let report = handover::send(starter, &Report::Ready(made.report()));
    if report.is_err() || !is_let_go(starter, &made, &cancel) {
        say("its starter went before it let the keeper go on");
        made.end(&home, None);
        // As if nobody had tried.
        if let Some(Err(error)) = before.map(|ended| home.write_ended(&ended)) {
            say(&format!("could not say why it ended: {error}"));
        }
        return Ok(());
    }
    // It has heard everything.
    let _closed = starter.shutdown(Shutdown::Both);
    say(&format!("keeps workspace {}", home.id()));
    let (end, service) = made.serve(&home, &cancel);
    say(&format!("ends: {end:?}"));
    made.end(&home, Some(&end));
    // By now they may start it again.
    drop((service, range, lock));
    Ok(())
}

fn home(state: &OsStr, id: &OsStr) -> Result<Home, String> {
    let state = StateDir::open(Some(Path::new(state))).map_err(|error| chain(&error))?;
    state
        .home(&id.to_string_lossy())
        .map_err(|error| chain(&error))
}

/// A machine with everything around it.
struct Made {
    machine: Option<Namespace>,
    agent: Option<OwnedFd>,
    init: Option<OwnedFd>,
    link: Option<(UnixStream, Decoder)>,
    listener: Option<UnixListener>,
    status: Status,
}

impl Made {
    fn new(home: &Home, ids: Ids, lock: &File) -> Result<Self, String> {
        let said = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
        let recipe = home.recipe().map_err(|error| chain(&error))?;
        // What a keeper or an agent that was killed has left.
        remove_socket(home).map_err(said("remove the socket of an earlier keeper"))?;
        home.remove_groups()
            .map_err(said("remove the control groups of an earlier keeper"))?;
        home.empty_spool()
            .map_err(said("remove the outputs of earlier programs"))?;
        recover(&home.run()).map_err(said("take back an unfinished write set"))?;
        if let Ids::Range { base } = ids {
            let given = settle(home, base).map_err(said("give the workspace to its new ids"))?;
            if given > 0 {
                say(&format!("gave {given} paths to the ids from {base} on"));
            }
        }
        let confine = recipe.confine(home.path(), home.id());
        let confine = confine.map_err(|error| format!("limit the sandbox: {}", chain(&error)))?;
        let held = lock.try_clone().map_err(said("copy the lock"))?;
        let boot = recipe.boot(&home.run(), ids, confine);
        let mut machine = start_holding(&boot, held.into()).map_err(|error| chain(&error))?;
        let ready = machine.ready().clone();
        // Nobody has reaped them: they are still who they were.
        let process = |pid| {
            let pid = Pid::from_raw(pid).filter(|_| pid > 1)?;
            pidfd_open(pid, PidfdFlags::empty()).ok()
        };
        let (agent, init) = (process(ready.agent_pid), process(ready.init_pid));
        let stream = machine.link().try_clone();
        let stream = stream.map_err(said("copy the link"))?;
        let link = Link::open(stream).map_err(|error| chain(&error))?;
        let (stream, decoder, generation) = link.into_parts();
        let listener = listen(home).map_err(said("listen for clients"))?;
        Ok(Self {
            status: Status {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                generation,
                started_at_ms: Timestamp::now().as_millis(),
                clients: 0,
                visitors: 0,
                agent_pid: ready.agent_pid,
                ids,
                notes: ready.notes,
                expires_at_ms: None,
            },
            machine: Some(machine),
            agent,
            init,
            link: Some((stream, decoder)),
            listener: Some(listener),
        })
    }

    fn report(&self) -> Ready {
        Ready {
            generation: self.status.generation,
            notes: self.status.notes.clone(),
            agent_pid: self.status.agent_pid,
        }
    }

    fn serve<'a>(&mut self, home: &'a Home, cancel: &'a Cancel) -> (End, Option<Service<'a>>) {
        let (Some(link), Some(listener)) = (self.link.take(), self.listener.take()) else {
            return (End::Stopped, None);
        };
        let (init, status) = (self.init.take(), self.status.clone());
        let mut service = Service::new(home, cancel, listener, link, init, status);
        // A bug in here must not leave the machine without an end that is told.
        let end = catch_unwind(AssertUnwindSafe(|| service.run()))
            .unwrap_or_else(|_| End::Died("keep the workspace: this is a bug in pyro".to_owned()));
        (end, Some(service))
    }

    /// Ends the machine, and says why where there is something to say.
    fn end(&mut self, home: &Home, end: Option<&End>) {
        let complain = |what: &str, error: &dyn std::error::Error| {
            say(&format!("could not {what}: {}", chain(error)));
        };
        // First, so that nobody waits for an answer from here.
        if let Err(error) = remove_socket(home) {
            complain("remove the socket", &error);
        }
        self.listener = None;
        if let Some(machine) = self.machine.take()
            && let Err(error) = machine.stop()
        {
            let error: MachineError = error;
            complain("end the machine", &error);
        }
        if let Some(agent) = &self.agent {
            // It ended before its zygote, or the zygote was killed.
            let patience = Timespec::try_from(END).ok();
            let _gone = poll(&mut [PollFd::new(agent, PollFlags::IN)], patience.as_ref());
        }
        if let Some(end) = end {
            let (reason, message) = match end {
                End::Expired => (EndReason::Expired, None),
                End::Stopped => (EndReason::Stopped, None),
                End::Died(why) => (EndReason::MachineDied, Some(format!("could not {why}"))),
            };
            let at_ms = Timestamp::now().as_millis();
            let ended = Ended {
                reason,
                message,
                at_ms,
            };
            if let Err(error) = home.write_ended(&ended) {
                complain("say why it ended", &error);
            }
        }
        if let Err(error) = home.remove_groups() {
            complain("remove the control groups", &error);
        }
    }
}

/// Waits for the starter's word; whether it came.
fn is_let_go(starter: &mut UnixStream, made: &Made, cancel: &Cancel) -> bool {
    loop {
        let mut fds = vec![
            PollFd::new(&*starter, PollFlags::IN),
            PollFd::new(cancel, PollFlags::IN),
        ];
        if let Some((link, _)) = &made.link {
            // Nobody has asked it anything: readable, it has ended.
            fds.push(PollFd::new(link, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(_) => return false,
        }
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        if ready[0] {
            return handover::receive::<Go>(starter).is_ok();
        }
        if ready[1..].contains(&true) {
            return false;
        }
    }
}

fn listen(home: &Home) -> io::Result<UnixListener> {
    let (_folder, name) = socket_name(home)?;
    let listener = UnixListener::bind(&name)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn remove_socket(home: &Home) -> io::Result<()> {
    match fs::remove_file(home.path().join("keeper.sock")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
