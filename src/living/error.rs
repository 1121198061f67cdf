//! Why something could not be done with a workspace that lives.

use crate::execute::ExecuteError;
use crate::keeper::{Connect, KeeperError};
use crate::machine::LinkError;
use crate::workspace::registry::{FindError, RegistryError, State, WorkspaceId};
use crate::workspace::{HomeError, StateError};
use pyro_protocol::message::Failure;
use std::io;
use std::path::PathBuf;

/// Why something could not be done with a workspace that lives; each completes "could not ...".
#[derive(Debug, thiserror::Error)]
pub enum LivingError {
    /// The state directory refuses.
    #[error(transparent)]
    State(#[from] StateError),
    /// There is no such workspace, or several.
    #[error(transparent)]
    Find(#[from] FindError),
    /// The registry refuses.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// Its folder refuses.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Its keeper refuses.
    #[error(transparent)]
    Keeper(#[from] KeeperError),
    /// It is not running.
    #[error("use the workspace {id}: it is {}", state.as_str())]
    NotStarted {
        /// Which.
        id: WorkspaceId,
        /// What it is.
        state: State,
    },
    /// Its keeper and agent came from a pyro that knew no terminals.
    #[error(
        "enter the workspace {0}: it was started by an older pyro, whose agent knows no terminals"
    )]
    TooOld(WorkspaceId),
    /// It has to be stopped first.
    #[error("look at the disk of the workspace {0}: it is started")]
    NotStopped(WorkspaceId),
    /// The workspace could not be filled.
    #[error("fill the workspace: {0}")]
    Fill(String),
    /// What is known of how it was made.
    #[error("read {}", path.display())]
    ReadMade {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// What is known of how it was made.
    #[error("write {}", path.display())]
    WriteMade {
        /// The file.
        path: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The host could not hold it.
    #[error("hold another workspace: {why}")]
    NoRoom {
        /// In numbers.
        why: String,
        /// What to do.
        help: String,
    },
    /// Its keeper is not there.
    #[error(transparent)]
    Connect(#[from] Connect),
    /// The agent does not answer.
    #[error("reach the agent")]
    Link(#[source] LinkError),
    /// The agent refused.
    #[error("{}", .0.message)]
    Guest(Failure),
    /// The receipt cannot be written.
    #[error(transparent)]
    Execute(ExecuteError),
    /// The files of a stopped workspace.
    #[error("{what} {path}")]
    Disk {
        /// What was tried.
        what: &'static str,
        /// On what.
        path: String,
        /// The reason.
        source: io::Error,
    },
    /// It is always there.
    #[error(
        "forget the snapshot `baseline`: it is what the workspace was when it was made, and stays as long as it"
    )]
    Baseline,
    /// What a fork begins with.
    #[error("copy what the workspace {id} is")]
    Copy {
        /// Which.
        id: String,
        /// The reason.
        source: io::Error,
    },
    /// What the registry has of the history is no request.
    #[error("read the history: {0}")]
    History(String),
    /// Its ids.
    #[error("find ids for the sandbox")]
    Ids(#[source] io::Error),
}

impl LivingError {
    /// As `specs/errors.md` has it.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Find(FindError::NotFound { .. })
            | Self::Registry(RegistryError::Gone(_))
            | Self::Home(HomeError::Missing { .. }) => "workspace-missing",
            Self::Find(FindError::Ambiguous { .. }) => "workspace-ambiguous",
            Self::NotStarted { .. } => "workspace-stopped",
            Self::NotStopped(_) => "workspace-started",
            Self::Baseline => "snapshot-refused",
            Self::NoRoom { .. } => "no-space",
            Self::Registry(
                RegistryError::Name(_) | RegistryError::Label(_) | RegistryError::Ttl(_),
            ) => "bad-name",
            Self::Registry(RegistryError::NoChange(_)) => "no-change",
            Self::State(_)
            | Self::Find(_)
            | Self::Registry(_)
            | Self::Home(_)
            | Self::Keeper(_)
            | Self::Connect(_)
            | Self::Fill(_)
            | Self::ReadMade { .. }
            | Self::WriteMade { .. }
            | Self::Link(_)
            | Self::Guest(_)
            | Self::Execute(_)
            | Self::History(_)
            | Self::Ids(_) => "machine",
            Self::TooOld(_) => "unknown-op",
            Self::Copy { source, .. } if source.kind() == io::ErrorKind::StorageFull => "no-space",
            Self::Disk { source, .. } if source.kind() == io::ErrorKind::NotFound => "not-found",
            Self::Disk { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                "export-exists"
            }
            Self::Disk { .. } | Self::Copy { .. } => "io",
        }
    }

    /// What to try.
    pub fn help(&self) -> Option<String> {
        match self {
            Self::NoRoom { help, .. } => Some(help.clone()),
            Self::NotStarted {
                id,
                state: State::Stopped,
            } => Some(format!("start it: `pyro workspace start {id}`")),
            Self::TooOld(id) => Some(format!(
                "stop it and start it again: `pyro workspace stop {id}`, `pyro workspace start {id}`"
            )),
            Self::NotStopped(id) => Some(format!("stop it first: `pyro workspace stop {id}`")),
            Self::Find(FindError::NotFound { near, .. }) if !near.is_empty() => {
                Some(format!("did you mean `{}`?", near.join("` or `")))
            }
            Self::Find(FindError::NotFound { .. }) => {
                Some("`pyro workspace list` shows those that there are".to_owned())
            }
            Self::Find(FindError::Ambiguous { ids, .. }) => {
                let ids: Vec<_> = ids.iter().map(ToString::to_string).collect();
                Some(format!("say which one by its id: {}", ids.join(", ")))
            }
            Self::State(_)
            | Self::Find(_)
            | Self::Registry(_)
            | Self::Home(_)
            | Self::Keeper(_)
            | Self::Connect(_)
            | Self::NotStarted { .. }
            | Self::Fill(_)
            | Self::ReadMade { .. }
            | Self::WriteMade { .. }
            | Self::Link(_)
            | Self::Guest(_)
            | Self::Execute(_)
            | Self::Baseline
            | Self::Disk { .. }
            | Self::Copy { .. }
            | Self::History(_)
            | Self::Ids(_) => None,
        }
    }
}
