//! Snapshots are forgotten: in a workspace that runs by its agent, which may need parts of them for others.

use super::ask::ask;
use super::{LivingError, Workspaces};
use crate::request::SnapshotName;
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
        let known = self.registry.snapshot(&record.id, name);
        if matches!(&known, Ok(snapshot) if snapshot.kind == SnapshotKind::Baseline) {
            return Err(LivingError::Baseline);
        }
        let Some(point) = SnapshotName::parse(name) else {
            known?;
            return Ok(record.id);
        };
        Self::started(&record)?;
        let home = self.home(&record.id)?;
        // Nobody makes a fork meanwhile.
        let _lifecycle = home.lock()?;
        let op = Op::MarkRemove(MarkRemove {
            name: point.as_str().to_owned(),
        });
        // Somebody who was killed may have left it with the agent alone, or in the registry alone.
        let removed = match ask(&home, op) {
            Ok(_) => true,
            Err(LivingError::Guest(failure)) if failure.code == FailureCode::NotFound => false,
            Err(error) => return Err(error),
        };
        match known {
            Ok(_) => (self.registry).remove_snapshot(&record.id, name, Self::now())?,
            Err(_) if removed => {}
            Err(error) => return Err(error.into()),
        }
        home.touch()?;
        Ok(record.id)
    }
}
