//! What a plan has to know of a workspace that lives. Nothing is made or put right for a plan: what is not as it should be
//! is left to the next command that does something.

use super::made::Made;
use super::{LivingError, Workspaces};
use crate::execute::chain;
use crate::preflight::{ExistingFact, LivingFact};
use crate::workspace::StateDir;
use crate::workspace::registry::{FindError, Record, Registry, SnapshotKind};
use std::cell::Cell;
use std::path::Path;

thread_local! {
    /// What was opened to look: mostly the plan is executed next, by the same thread. To open it again takes longer than
    /// what it is needed for.
    static LOOKED: Cell<Option<Workspaces>> = const { Cell::new(None) };
}

/// The workspaces of a state directory, to use one that was looked at a moment ago.
///
/// # Errors
/// As [`Workspaces::open`].
pub(crate) fn reopen(state_dir: Option<&Path>) -> Result<Workspaces, LivingError> {
    let looked = LOOKED.take();
    let place = StateDir::place(state_dir)?;
    match looked.filter(|looked| looked.state.path() == place) {
        Some(looked) => Ok(looked),
        None => Workspaces::open(state_dir),
    }
}

/// What is there under a name or id, in a state directory that need not be there. `noted` is the request for its history.
pub fn look(
    state_dir: Option<&Path>,
    name_or_id: &str,
    noted: impl FnOnce() -> String,
) -> ExistingFact {
    let found = StateDir::place(state_dir)
        .map_err(LivingError::from)
        .and_then(|place| match Registry::is_in(&place) {
            true => Workspaces::open(Some(&place)).map(Some),
            false => Ok(None),
        })
        .and_then(|workspaces| {
            workspaces
                .map(|mut workspaces| {
                    let record = workspaces.registry.find(name_or_id)?;
                    let fact = workspaces.fact(&record, noted());
                    LOOKED.set(Some(workspaces));
                    fact
                })
                .transpose()
        });
    match found {
        Ok(Some(fact)) => ExistingFact::Found(Box::new(fact)),
        Ok(None) => ExistingFact::Missing(Vec::new()),
        Err(LivingError::Find(FindError::NotFound { near, .. })) => ExistingFact::Missing(near),
        Err(LivingError::Find(FindError::Ambiguous { ids, .. })) => {
            ExistingFact::Several(ids.iter().map(ToString::to_string).collect())
        }
        Err(error) => ExistingFact::Unusable(chain(&error)),
    }
}

impl Workspaces {
    fn fact(&mut self, record: &Record, noted: String) -> Result<LivingFact, LivingError> {
        let home = self.home(&record.id)?;
        let made = Made::read(&home)?;
        let snapshots = self.registry.snapshots(&record.id)?;
        let snapshots = snapshots
            .into_iter()
            .filter(|snapshot| snapshot.kind == SnapshotKind::Named);
        Ok(LivingFact {
            id: record.id.to_string(),
            name: record.name.clone(),
            noted,
            started: self.reaches(&home, &record.id)?,
            secrets: record.secrets.iter().map(|one| one.name.clone()).collect(),
            snapshots: snapshots.map(|snapshot| snapshot.name).collect(),
            made: made.facts,
        })
    }
}
