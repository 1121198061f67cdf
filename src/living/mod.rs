//! Workspaces that live: commands that know of one another only through the state directory make them, use them, stop
//! them and remove them.
//!
//! ```text
//!  create --> started <--start-- stopped --delete--> gone
//!                |  `--stop, expiry, death of a process--^
//!                `--- every use: plan -> history -> keeper -> receipt
//! ```
//! The registry says what somebody wanted, the keeper's socket what is alive, the folder what is there. Where they
//! disagree because a process was killed, the next command that comes by puts it right and says so.

mod admit;
mod ask;
mod create;
mod disk;
mod enter;
mod error;
mod fork;
mod life;
mod look;
mod made;
mod mend;
mod noted;
mod prune;
mod recipe;
mod replay;
mod run;
mod snapshots;

pub use create::Asked;
pub use disk::{DiskEntry, DiskFile};
pub use enter::{Enter, Entered, Left};
pub use error::LivingError;
pub use fork::{Fork, Forked};
pub use look::look;
pub(crate) use look::reopen;
pub use mend::Mended;
pub use prune::{Prune, Pruned};

use crate::keeper::{self, Looked};
use crate::workspace::registry::{Damaged, Record, Registry, State, WorkspaceId};
use crate::workspace::{Home, StateDir, Timestamp};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// The workspaces of a state directory.
#[derive(Debug)]
pub struct Workspaces {
    state: StateDir,
    registry: Registry,
    /// What was put right on the way.
    mended: Vec<Mended>,
    /// A connection to the keeper that was looked for last.
    reached: Option<(WorkspaceId, UnixStream)>,
}

/// Found among the others.
pub type Listed = Result<Record, Damaged>;

impl Workspaces {
    /// Opens those of a state directory; see [`StateDir::open`].
    ///
    /// # Errors
    /// Where the state directory or the registry refuses.
    pub fn open(state_dir: Option<&Path>) -> Result<Self, LivingError> {
        let state = StateDir::open(state_dir)?;
        let mut registry = Registry::open(&state)?;
        let rebuilt = registry.rebuilt().map(Mended::Registry);
        Ok(Self {
            state,
            registry,
            mended: rebuilt.into_iter().collect(),
            reached: None,
        })
    }

    /// What was put right since the last time this was asked.
    pub fn mended(&mut self) -> Vec<Mended> {
        self.mended
            .extend(self.registry.rebuilt().map(Mended::Registry));
        std::mem::take(&mut self.mended)
    }

    /// The workspace of that name or id, as it is now.
    ///
    /// # Errors
    /// Where there is none, or several.
    pub fn find(&mut self, name_or_id: &str) -> Result<Record, LivingError> {
        let record = self.registry.find(name_or_id)?;
        match self.mend(record)? {
            Some(record) => Ok(record),
            None => Ok(self.registry.find(name_or_id)?),
        }
    }

    /// All of them, the one used last first.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn list(&mut self) -> Result<Vec<Listed>, LivingError> {
        if let Err(error) = self.sweep_folders() {
            log::warn!("{}", crate::execute::chain(&error));
        }
        let mut listed = Vec::new();
        for entry in self.registry.list()? {
            match entry {
                Err(damaged) => listed.push(Err(damaged)),
                Ok(record) => {
                    // What is wrong with one of them is no reason not to see the others.
                    let before = record.clone();
                    match self.mend(record) {
                        Ok(Some(record)) => listed.push(Ok(record)),
                        Ok(None) => {}
                        Err(error) => {
                            log::warn!("{}", crate::execute::chain(&error));
                            listed.push(Ok(before));
                        }
                    }
                }
            }
        }
        Ok(listed)
    }

    /// What is registered, for reading.
    pub fn registry(&mut self) -> &mut Registry {
        &mut self.registry
    }

    /// The folder of a workspace.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn home(&self, id: &WorkspaceId) -> Result<Home, LivingError> {
        Ok(self.state.home(id.as_str())?)
    }

    /// Whether the keeper of a workspace listens. The connection that says so is kept, for whoever uses it next.
    fn reaches(&mut self, home: &Home, id: &WorkspaceId) -> Result<bool, LivingError> {
        if self.connection(id).is_some_and(|stream| {
            let is_there = is_open(&stream);
            self.reached = Some((id.clone(), stream));
            is_there
        }) {
            return Ok(true);
        }
        self.reached = None;
        Ok(match keeper::look(home)? {
            Looked::Listens(stream) => {
                self.reached = Some((id.clone(), stream));
                true
            }
            Looked::Busy => true,
            Looked::Absent => false,
        })
    }

    /// The connection that is kept, where it leads to this workspace.
    fn connection(&mut self, id: &WorkspaceId) -> Option<UnixStream> {
        let (to, stream) = self.reached.take()?;
        (to == *id).then_some(stream)
    }

    /// A connection to the keeper of a workspace.
    fn connect(&mut self, home: &Home, id: &WorkspaceId) -> Result<UnixStream, LivingError> {
        match self.connection(id).filter(is_open) {
            Some(stream) => Ok(stream),
            None => Ok(keeper::connect(home)?),
        }
    }

    fn started(record: &Record) -> Result<(), LivingError> {
        match record.state {
            State::Started => Ok(()),
            State::Creating | State::Stopped | State::Deleting => Err(LivingError::NotStarted {
                id: record.id.clone(),
                state: record.state,
            }),
        }
    }

    fn now() -> Timestamp {
        Timestamp::now()
    }
}

/// Whether nobody has closed the other end of a connection on which nothing was said yet.
fn is_open(stream: &UnixStream) -> bool {
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    matches!(
        rustix::net::recv(stream, &mut [0; 1][..], flags),
        Err(Errno::AGAIN)
    )
}
