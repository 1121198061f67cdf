//! The starter's side: from a folder with a recipe to a keeper that serves.

use super::handover::{self, Begin, Go, Ready, Report};
use super::{END, KeeperError, Program, is_running};
use crate::machine::{embed, ids_like};
use crate::workspace::{Home, Lifecycle, last_base};
use pyro_protocol::boot::Ids;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::net::Shutdown;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A log that is longer than this is begun anew, in bytes.
const LOG: u64 = 128 << 10;

/// A keeper that makes its machine. Dropped, it ends, and nothing of the machine is left.
#[derive(Debug)]
pub struct Starting {
    socket: Option<UnixStream>,
    ids: Ids,
    program: PathBuf,
    log: PathBuf,
}

/// A keeper that serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Started {
    /// The ids that the machine has.
    pub ids: Ids,
    /// The newest vocabulary that keeper and agent know.
    pub generation: u32,
    /// What of its isolation is weaker than usual on this kernel.
    pub notes: Vec<String>,
    /// The agent's process id on the host, for people.
    pub agent_pid: i32,
}

/// Starts the machine of a workspace, and waits until it is there.
///
/// # Errors
/// Where it runs already, there is no program for it, or the machine cannot be made.
pub fn start(home: &Home, lifecycle: &Lifecycle) -> Result<Started, KeeperError> {
    begin(home, lifecycle)?.ready()
}

/// The same without waiting: the work tree may be filled meanwhile, for [`Starting::owner`].
///
/// # Errors
/// As [`start`].
pub fn begin(home: &Home, lifecycle: &Lifecycle) -> Result<Starting, KeeperError> {
    begin_with(&Program::find()?, home, lifecycle)
}

/// The same with this program as the keeper.
///
/// # Errors
/// As [`start`].
pub fn begin_with(
    program: &Program,
    home: &Home,
    _lifecycle: &Lifecycle,
) -> Result<Starting, KeeperError> {
    if is_running(home)? {
        return Err(KeeperError::AlreadyRuns(home.id().to_owned()));
    }
    let (ids, range) = ids_like(last_base(home)).map_err(KeeperError::Ids)?;
    let log = home.log();
    let out = open_log(&log).map_err(|source| KeeperError::OpenLog {
        path: log.clone(),
        source,
    })?;
    let (mut socket, theirs) = UnixStream::pair().map_err(KeeperError::Talk)?;
    spawn(program.path(), home, theirs.into(), out).map_err(|source| KeeperError::Spawn {
        program: program.path().to_owned(),
        source,
    })?;
    let told = embed::agent().and_then(|agent| {
        let range = range.as_ref().map(|range| range.as_fd());
        let both: Vec<_> = [agent].into_iter().chain(range).collect();
        handover::send_descriptors(&socket, &both)?;
        let begin = Begin {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ids,
        };
        handover::send(&mut socket, &begin)
    });
    if told.is_ok()
        && let Some(range) = range
    {
        range.handed_over();
    }
    // Where it could not be told, it may have said why, or is gone: that is heard in `ready`.
    Ok(Starting {
        socket: Some(socket),
        ids,
        program: program.path().to_owned(),
        log,
    })
}

fn open_log(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    if file.metadata()?.len() > LOG {
        file.set_len(0)?;
    }
    Ok(file)
}

/// The agent's program detaches: it may close descriptors that it does not know, and nobody has to wait for what it
/// starts.
fn spawn(program: &Path, home: &Home, socket: OwnedFd, log: File) -> io::Result<()> {
    let state = home.path().parent().and_then(Path::parent);
    let state = state.ok_or(io::ErrorKind::InvalidInput)?;
    // What cannot be executed would be noticed by its silence only.
    program.metadata()?;
    let agent = embed::agent()?;
    let status = Command::new(format!("/proc/self/fd/{}", agent.as_raw_fd()))
        .arg0("pyro-agent")
        .arg("detach")
        .arg(program)
        .args(["keeper", "--state-dir"])
        .arg(state)
        .arg(home.id())
        .env_clear()
        .stdin(socket)
        .stdout(log.try_clone()?)
        .stderr(log)
        .status()?;
    if status.success() {
        Ok(())
    } else {
        Err(io::Error::other(format!(
            "detaching it ended with {status}"
        )))
    }
}

impl Starting {
    /// Who has to own what the work tree is filled with; nobody else than the caller where there is one id only.
    pub fn owner(&self) -> Option<u32> {
        match self.ids {
            Ids::Single => None,
            Ids::Range { base } => Some(base + 1),
        }
    }

    /// The ids that the machine gets.
    pub fn ids(&self) -> Ids {
        self.ids
    }

    /// Waits until the machine is there, and lets the keeper go on.
    ///
    /// # Errors
    /// As [`start`].
    pub fn ready(mut self) -> Result<Started, KeeperError> {
        let Some(socket) = &mut self.socket else {
            return Err(KeeperError::Talk(io::ErrorKind::NotConnected.into()));
        };
        match handover::receive(socket) {
            Ok(Report::Ready(ready)) => {
                handover::send(socket, &Go {}).map_err(KeeperError::Talk)?;
                self.socket = None;
                let Ready {
                    generation,
                    notes,
                    agent_pid,
                } = ready;
                Ok(Started {
                    ids: self.ids,
                    generation,
                    notes,
                    agent_pid,
                })
            }
            Ok(Report::Failed(why)) => Err(KeeperError::Refused(why)),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset
                ) =>
            {
                Err(KeeperError::Silent {
                    program: self.program.clone(),
                    log: self.log.clone(),
                })
            }
            Err(error) => Err(KeeperError::Talk(error)),
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        // Not let go: it ends, and holds its end of the socket until it has.
        if let Some(socket) = &mut self.socket {
            let _ = socket.shutdown(Shutdown::Write);
            let _ = socket.set_read_timeout(Some(END));
            let _ended = socket.read_to_end(&mut Vec::new());
        }
    }
}
