//! Workspaces that live, from Rust: the same requests and the same results as the commands have.
//!
//! ```no_run
//! use pyro::sdk::{Pyro, Error};
//! use pyro::{Request, Step};
//!
//! # async fn story() -> Result<(), Error> {
//! let pyro = Pyro::open(None)?;
//! let workspace = pyro
//!     .create_workspace(Request::new("host").seed("repo").workspace_name("repro-fix"))
//!     .await?;
//! workspace.apply_patch("--- a/note\n+++ b/note\n@@ -1 +1 @@\n-old\n+new\n").await?;
//! let ran = workspace.exec(["make", "test"]).await?;
//! println!("{}", ran.exit_code());
//! workspace.delete().await?;
//! # Ok(())
//! # }
//! ```
//!
//! What keeps a workspace alive is the program `pyro`: the one that `PYRO_BIN` names, else one of this version on `PATH`.
//!
//! Every method begins at once, in a thread of its own, and gives a [`Task`]: a future for whatever runtime there is,
//! or [`Task::wait`] where there is none.

mod error;
mod task;
mod workspace;

pub use error::Error;
pub use task::Task;
pub use workspace::{Executed, Listing, Workspace};

use crate::Options;
use crate::living::{Asked, Listed, LivingError, Pruned, Workspaces};
use crate::request::RequestBuilder;
use crate::secret::Secret;
use crate::workspace::StateDir;
use crate::workspace::registry::Record;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The workspaces of a state directory.
#[derive(Debug, Clone)]
pub struct Pyro {
    state_dir: PathBuf,
}

impl Pyro {
    /// Opens a state directory, its [place](StateDir::place) without one, making it where it is missing.
    ///
    /// # Errors
    /// Where it belongs to somebody else, or the registry in it cannot be used.
    pub fn open(state_dir: Option<&Path>) -> Result<Self, Error> {
        let state_dir = StateDir::place(state_dir).map_err(LivingError::from)?;
        Workspaces::open(Some(&state_dir))?;
        Ok(Self { state_dir })
    }

    /// Where it is.
    pub fn state_dir(&self) -> &Path {
        &self.state_dir
    }

    /// Makes a workspace and starts it. The request has no steps; relative paths begin in the current directory. Its secrets
    /// come from where the request says ([`RequestBuilder::secret`]).
    pub fn create_workspace(&self, request: RequestBuilder) -> Task<Result<Workspace, Error>> {
        self.create_workspace_with(request, BTreeMap::new())
    }

    /// As [`Pyro::create_workspace`], with values of secrets by name that come from nowhere else. The request that is
    /// written down says `env:NAME` of each of them.
    pub fn create_workspace_with(
        &self,
        mut request: RequestBuilder,
        secrets: BTreeMap<String, Secret>,
    ) -> Task<Result<Workspace, Error>> {
        let pyro = self.clone();
        for name in secrets.keys() {
            request = request.secret(name, format!("env:{name}"));
        }
        Task::begin(None, move || {
            let request = request.build().map_err(crate::Error::Parse)?;
            if !request.steps.is_empty() || request.existing.is_some() {
                return Err(Error::Steps);
            }
            let options = Options {
                secrets,
                ..pyro.options()
            };
            let plan = request.plan(&options)?;
            let asked = Asked {
                request: &request,
                plan: &plan,
                base_dir: &options.base_dir,
                secrets: &plan.secrets(&options)?,
            };
            let record = Workspaces::open(Some(&pyro.state_dir))?.create(asked)?;
            Ok(pyro.workspace(record.id.as_str()))
        })
    }

    /// The workspace of that name or id. Whether there is one shows with its first use.
    pub fn workspace(&self, name_or_id: impl Into<String>) -> Workspace {
        Workspace::new(self.clone(), name_or_id.into())
    }

    /// All workspaces, the one used last first.
    pub fn list_workspaces(&self) -> Task<Result<Vec<Listed>, Error>> {
        self.ask(|workspaces| workspaces.list())
    }

    /// Stops workspaces whose time is over, deletes those that nobody has used for 7 days since, and removes what
    /// interrupted commands have left; with `dry_run`, only says so.
    pub fn prune_workspaces(&self, dry_run: bool) -> Task<Result<Vec<Pruned>, Error>> {
        self.ask(move |workspaces| workspaces.prune(dry_run))
    }

    fn options(&self) -> Options {
        Options {
            state_dir: Some(self.state_dir.clone()),
            source: "pyro::sdk".to_owned(),
            ..Options::default()
        }
    }

    fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Workspaces) -> Result<T, LivingError> + Send + 'static,
    ) -> Task<Result<T, Error>> {
        let state_dir = self.state_dir.clone();
        Task::begin(None, move || {
            Ok(question(&mut Workspaces::open(Some(&state_dir))?)?)
        })
    }
}

/// What is known of a workspace.
pub type Status = Record;
