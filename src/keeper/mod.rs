//! Keepers: the small processes that own the machines of workspaces which live on between commands.
//!
//! ```text
//!  starter --detach--> keeper --spawn--> zygote --> agent --> programs
//!     `---handover--------+                           |
//!                         +---------link--------------+
//!  client --keeper.sock---+  each client's frames on a channel of its own
//!  client --keeper.sock---+
//! ```
//! A keeper belongs to nobody who started it: it has a session of its own and holds none of their descriptors. It ends
//! when it is asked to, when nobody has used the workspace for its time to live, and when the machine ends. Killed, it
//! takes the machine along. It knows frames and one folder, and no registry.
//!
//! [`begin`] and [`start`] make one, [`connect`] gives the byte stream that [`crate::machine::Link`] opens, [`status`]
//! asks, [`stop`] ends. Whether one runs is known by [`connect`] alone.

mod buffer;
mod client;
mod connect;
mod handover;
mod log;
pub mod message;
mod process;
mod program;
mod serve;
mod start;
mod take;

pub use connect::{Connect, Looked, connect, is_running, look, status, stop};
pub use program::Program;
pub use start::{Started, Starting, begin, begin_with, start};

pub(crate) use process::main;
pub(crate) use program::this_is_pyro;

use crate::workspace::{HomeError, StateError};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A machine ends in moments; so long is waited for one before it is taken for stuck.
const END: Duration = Duration::from_secs(20);

/// A keeper that was not started, not reached or not ended.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// There is no program to start.
    #[error(
        "find the program `pyro` to keep the workspace alive: name it in PYRO_BIN, or have pyro {} on PATH",
        env!("CARGO_PKG_VERSION")
    )]
    FindProgram,
    /// The workspace's machine runs already.
    #[error("start workspace {0}: it runs already")]
    AlreadyRuns(String),
    /// The folder of the workspace.
    #[error("use the folder of the workspace")]
    Home(#[source] HomeError),
    /// Ids for the machine.
    #[error("find ids for the sandbox")]
    Ids(#[source] io::Error),
    /// The log of the keeper.
    #[error("open the keeper's log {}", path.display())]
    OpenLog {
        /// Where.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The process.
    #[error("start the keeper {}", program.display())]
    Spawn {
        /// What was to be executed.
        program: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// It said nothing.
    #[error(
        "hear from the keeper {}: it ended without a word (is it pyro {}? its log is {})",
        program.display(), env!("CARGO_PKG_VERSION"), log.display()
    )]
    Silent {
        /// What was executed.
        program: PathBuf,
        /// What it may have printed.
        log: PathBuf,
    },
    /// Talking to it.
    #[error("talk to the keeper")]
    Talk(#[source] io::Error),
    /// It could not make the machine, and says why.
    #[error("{0}")]
    Refused(String),
    /// It does not run.
    #[error("reach the keeper of workspace {0}: none runs")]
    NotRunning(String),
    /// It is there and does not take us.
    #[error("reach the keeper of workspace {id}")]
    Connect {
        /// The workspace.
        id: String,
        /// The reason.
        source: io::Error,
    },
    /// It was asked to end, then killed, and something of it is still there.
    #[error("end the machine of workspace {0}: it is still there after it was killed")]
    StillThere(String),
}

impl From<HomeError> for KeeperError {
    fn from(error: HomeError) -> Self {
        Self::Home(error)
    }
}

impl From<StateError> for KeeperError {
    fn from(error: StateError) -> Self {
        Self::Home(error.into())
    }
}

/// An error with its causes, in one line that completes "could not ...".
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        text.push_str(": ");
        text.push_str(&source.to_string());
        next = source.source();
    }
    text
}
