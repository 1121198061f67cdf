//! Snapshots are forgotten: in a workspace that runs by its agent, which may need parts of them for others.

use super::ask::ask;
use super::{LivingError, Workspaces};
use crate::workspace::registry::{SnapshotKind, WorkspaceId};
use pyro_protocol::message::{FailureCode, MarkRemove, Op};

impl Workspaces {
    /// Forgets what was kept under a name. What others need of it stays on the disk.
    ///
    /// # Errors
    /// Where there is no such workspace or snapshot, it is the baseline, or the workspace is stopped.
    pub fn forget_snapshot(
        &mut self,
        name_or_id: &str,
        name: &str,
    ) -> Result<WorkspaceId, LivingError> {
        let record = self.find(name_or_id)?;
        let snapshot = self.registry.snapshot(&record.id, name)?;
        if snapshot.kind == SnapshotKind::Baseline {
            return Err(LivingError::Baseline);
        }
        Self::started(&record)?;
        let home = self.home(&record.id)?;
        let op = Op::MarkRemove(MarkRemove {
            name: name.to_owned(),
        });
        match ask(&home, op) {
            Ok(_) => {}
            // Somebody was killed between the agent and the registry.
            Err(LivingError::Guest(failure)) if failure.code == FailureCode::NotFound => {}
            Err(error) => return Err(error),
        }
        self.registry
            .remove_snapshot(&record.id, name, Self::now())?;
        home.touch()?;
        Ok(record.id)
    }
}
