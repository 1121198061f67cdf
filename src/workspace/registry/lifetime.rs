//! Whose time is over, and whether there is room for one more.

use super::error::{Fault, RegistryError};
use super::open::Registry;
use super::record::{NewWorkspace, Record, State, WorkspaceId};
use super::row::{SELECT, parse};
use super::workspaces::{self, StateDetails};
use crate::workspace::Timestamp;
use rusqlite::Connection;

/// How long the files of a workspace are kept after it expired: 7 days.
pub const KEEP_EXPIRED_MS: u64 = 7 * 86_400_000;

/// What the workspaces that are being made or run may use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// How many they are.
    pub workspaces: u64,
    /// Processors.
    pub vcpu_count: u64,
    /// Memory, in MiB.
    pub mem_mib: u64,
    /// How many of them are being made at this moment.
    pub creating: u64,
    /// What the seeds of those are, in bytes.
    pub creating_bytes: u64,
}

impl Registry {
    /// Workspaces that are to be stopped: they are started, and nothing happened in them for too long. The one that
    /// waits longest comes first. Damaged ones are not among them.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn expired(&mut self, now: Timestamp) -> Result<Vec<Record>, RegistryError> {
        let which = "w.state = 'started' AND w.last_activity_at + w.ttl_ms <= ?1";
        self.over("look for expired workspaces", which, now)
    }

    /// Workspaces that may be deleted: they expired more than [`KEEP_EXPIRED_MS`] ago, and are stopped. The one that
    /// waits longest comes first. Damaged ones are not among them.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn prunable(&mut self, now: Timestamp) -> Result<Vec<Record>, RegistryError> {
        let which = "w.state = 'stopped' AND w.last_activity_at + w.ttl_ms <= ?1";
        let before = now.as_millis().saturating_sub(KEEP_EXPIRED_MS);
        let before = Timestamp::from_millis(before);
        self.over("look for old workspaces", which, before)
    }

    fn over(
        &mut self,
        what: &'static str,
        which: &str,
        before: Timestamp,
    ) -> Result<Vec<Record>, RegistryError> {
        let order = "ORDER BY w.last_activity_at + w.ttl_ms, w.id";
        self.read(what, |db| {
            let mut statement = db.prepare(&format!("{SELECT} WHERE {which} {order}"))?;
            let rows = statement.query_map([before], |row| Ok(parse(row)))?;
            let all: Vec<_> = rows.collect::<Result<_, _>>()?;
            Ok(all.into_iter().flatten().collect())
        })
    }

    /// What the workspaces that are being made or run may use together.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn committed(&mut self) -> Result<Committed, RegistryError> {
        self.read("count the workspaces", |db| committed(db, None))
    }

    /// Registers a workspace if `admit` lets it in, which is told what the others may use. No other is let in
    /// meanwhile, so what they use together is never more than what was admitted.
    ///
    /// # Errors
    /// As [`insert`](Self::insert); within: what `admit` says.
    pub fn insert_if<E>(
        &mut self,
        new: &NewWorkspace,
        admit: impl Fn(Committed) -> Result<(), E>,
    ) -> Result<Result<Record, E>, RegistryError> {
        workspaces::check_new(new)?;
        let state = self.state.clone();
        self.write("register the workspace", |db| {
            if let Err(refused) = admit(committed(db, None)?) {
                return Ok(Err(refused));
            }
            workspaces::register(&state, db, new).map(Ok)
        })
    }

    /// Says that a workspace starts if `admit` lets it in, which is told what the others may use.
    ///
    /// # Errors
    /// Where it is gone; within: what `admit` says.
    pub fn start_if<E>(
        &mut self,
        id: &WorkspaceId,
        details: &StateDetails,
        admit: impl Fn(Committed) -> Result<(), E>,
    ) -> Result<Result<(), E>, RegistryError> {
        self.write("start the workspace", |db| {
            if let Err(refused) = admit(committed(db, Some(id))?) {
                return Ok(Err(refused));
            }
            workspaces::set_state(db, id, State::Started, details).map(Ok)
        })
    }
}

/// Of all but one.
fn committed(db: &Connection, but: Option<&WorkspaceId>) -> Result<Committed, Fault> {
    let sql =
        "SELECT count(*), coalesce(sum(vcpu_count), 0), coalesce(sum(mem_mib), 0),
            coalesce(sum(state = 'creating'), 0), coalesce(sum(iif(state = 'creating', seed_bytes, 0)), 0)
        FROM workspace WHERE state IN ('creating', 'started') AND id IS NOT ?1";
    Ok(db.query_row(sql, [but], |row| {
        Ok(Committed {
            workspaces: row.get(0)?,
            vcpu_count: row.get(1)?,
            mem_mib: row.get(2)?,
            creating: row.get(3)?,
            creating_bytes: row.get(4)?,
        })
    })?)
}
