//! Workspaces: registering them, reading what is known, and changing it.

use super::error::Fault;
use super::open::Registry;
use super::record::{Damaged, NewWorkspace, Record, State, WorkspaceId};
use super::row::{SELECT, insert, json, parse};
use super::rules::{LabelError, validate_label, validate_name, validate_ttl};
use super::{RegistryError, about};
use crate::workspace::{StateDir, Timestamp};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::{BTreeMap, BTreeSet};

/// What becomes of a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum NameChange {
    /// It stays.
    #[default]
    Keep,
    /// It goes.
    Clear,
    /// Another takes its place.
    Set(String),
}

/// What an update changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Change {
    /// The name.
    pub name: NameChange,
    /// Labels that are set; the others stay.
    pub labels: BTreeMap<String, String>,
    /// Labels that go. One that is not there changes nothing.
    pub clear_labels: BTreeSet<String>,
    /// How long it lives after the last activity, from now on.
    pub ttl_ms: Option<u64>,
}

/// What becomes of the last error.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum ErrorNote {
    /// It stays.
    #[default]
    Keep,
    /// It goes.
    Clear,
    /// Another takes its place.
    Set(String),
}

/// What else changes with a state; what is not said stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateDetails {
    /// The boot of the host in which it was started.
    pub boot_id: Option<String>,
    /// In what commands run from now on.
    pub execution_mode: Option<String>,
    /// What went wrong.
    pub last_error: ErrorNote,
    /// That somebody asked for it, and when. An expiry is no activity.
    pub activity: Option<Timestamp>,
}

impl Registry {
    /// Registers a workspace in the state [`Creating`](State::Creating).
    ///
    /// # Errors
    /// Where a name, label or time is not allowed, or the id is taken.
    pub fn insert(&mut self, new: &NewWorkspace) -> Result<Record, RegistryError> {
        check_new(new)?;
        let state = self.state.clone();
        self.write("register the workspace", |db| register(&state, db, new))
    }

    /// What is known about a workspace.
    ///
    /// # Errors
    /// Where it is gone, or what is known cannot be understood.
    pub fn record(&mut self, id: &WorkspaceId) -> Result<Record, RegistryError> {
        self.read("read the workspace", |db| record(db, id))
    }

    /// The request that made a workspace, as canonical JSON.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn creating_request(&mut self, id: &WorkspaceId) -> Result<String, RegistryError> {
        self.read("read the workspace", |db| request(db, id))
    }

    /// Every workspace, the one used last first. One that is damaged stands among them as such.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn list(&mut self) -> Result<Vec<Result<Record, Damaged>>, RegistryError> {
        let order = "ORDER BY w.last_activity_at DESC, w.created_at DESC, w.id";
        self.read("list the workspaces", |db| {
            let mut statement = db.prepare(&format!("{SELECT} {order}"))?;
            let rows = statement.query_map((), |row| Ok(parse(row)))?;
            Ok(rows.collect::<Result<_, _>>()?)
        })
    }

    /// Changes name, labels and time to live, and counts as activity.
    ///
    /// # Errors
    /// Where something is not allowed, or nothing would change.
    pub fn update(
        &mut self,
        id: &WorkspaceId,
        change: &Change,
        now: Timestamp,
    ) -> Result<Record, RegistryError> {
        check(change)?;
        let state = self.state.clone();
        self.write("update the workspace", |db| {
            let old = record(db, id)?;
            let mut new = old.clone();
            match &change.name {
                NameChange::Keep => {}
                NameChange::Clear => new.name = None,
                NameChange::Set(name) => new.name = Some(name.clone()),
            }
            new.labels.retain(|key, _| !change.clear_labels.contains(key));
            new.labels.extend(change.labels.clone());
            new.ttl_ms = change.ttl_ms.unwrap_or(new.ttl_ms);
            if new == old {
                return Err(RegistryError::NoChange(id.clone()).into());
            }
            new.last_activity_at = now;
            let set = "UPDATE workspace SET name = ?2, labels = ?3, ttl_ms = ?4, last_activity_at = ?5 WHERE id = ?1";
            db.execute(set, params![id, new.name, json(&new.labels)?, new.ttl_ms, now])?;
            about::write(&state, db, id)?;
            Ok(new)
        })
    }

    /// Says what a workspace is doing now.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn set_state(
        &mut self,
        id: &WorkspaceId,
        state: State,
        details: &StateDetails,
    ) -> Result<(), RegistryError> {
        self.write("say what the workspace is doing", |db| {
            set_state(db, id, state, details)
        })
    }

    /// Says that something happened in a workspace.
    ///
    /// # Errors
    /// Where it is gone.
    pub fn touch(&mut self, id: &WorkspaceId, now: Timestamp) -> Result<(), RegistryError> {
        let set = "UPDATE workspace SET last_activity_at = ?2 WHERE id = ?1";
        self.write("note the activity", |db| {
            one(db.execute(set, params![id, now])?, id)
        })
    }

    /// Notes what went wrong, or that nothing is wrong any more.
    ///
    /// # Errors
    /// Where the workspace is gone.
    pub fn set_last_error(
        &mut self,
        id: &WorkspaceId,
        error: Option<&str>,
    ) -> Result<(), RegistryError> {
        let set = "UPDATE workspace SET last_error = ?2 WHERE id = ?1";
        self.write("note the error", |db| {
            one(db.execute(set, params![id, error])?, id)
        })
    }

    /// Forgets a workspace with its history and snapshots. One that is not there is fine.
    ///
    /// # Errors
    /// Where the registry cannot be written.
    pub fn remove(&mut self, id: &WorkspaceId) -> Result<(), RegistryError> {
        self.write("forget the workspace", |db| {
            db.execute("DELETE FROM workspace WHERE id = ?1", [id])?;
            // Each row is a page that the file is shorter by. What is more than this is for the next one.
            let mut shrink = db.prepare("PRAGMA incremental_vacuum(4096)")?;
            let mut pages = shrink.query(())?;
            while pages.next()?.is_some() {}
            Ok(())
        })
    }
}

pub(super) fn check_new(new: &NewWorkspace) -> Result<(), RegistryError> {
    if let Some(name) = &new.name {
        validate_name(name)?;
    }
    for (key, value) in &new.labels {
        validate_label(key, value)?;
    }
    Ok(validate_ttl(new.ttl_ms)?)
}

fn check(change: &Change) -> Result<(), RegistryError> {
    if let NameChange::Set(name) = &change.name {
        validate_name(name)?;
    }
    for (key, value) in &change.labels {
        validate_label(key, value)?;
        if change.clear_labels.contains(key) {
            let key = key.clone();
            return Err(LabelError::SetAndCleared { key }.into());
        }
    }
    if let Some(ttl) = change.ttl_ms {
        validate_ttl(ttl)?;
    }
    Ok(())
}

pub(super) fn set_state(
    db: &Connection,
    id: &WorkspaceId,
    state: State,
    details: &StateDetails,
) -> Result<(), Fault> {
    let sql = "UPDATE workspace SET state = ?2, boot_id = coalesce(?3, boot_id),
            execution_mode = coalesce(?4, execution_mode), last_error = iif(?5, ?6, last_error),
            last_activity_at = coalesce(?7, last_activity_at)
        WHERE id = ?1";
    let (replace, error) = match &details.last_error {
        ErrorNote::Keep => (false, None),
        ErrorNote::Clear => (true, None),
        ErrorNote::Set(error) => (true, Some(error)),
    };
    let (boot, mode) = (&details.boot_id, &details.execution_mode);
    let (state, activity) = (state.as_str(), details.activity);
    let values = params![id, state, boot, mode, replace, error, activity];
    one(db.execute(sql, values)?, id)
}

pub(super) fn register(
    state: &StateDir,
    db: &Connection,
    new: &NewWorkspace,
) -> Result<Record, Fault> {
    let record = first(new);
    insert(db, &record, &new.request)?;
    about::write(state, db, &new.id)?;
    Ok(record)
}

/// What a workspace is when it is new.
fn first(new: &NewWorkspace) -> Record {
    let new = new.clone();
    Record {
        id: new.id,
        name: new.name,
        labels: new.labels,
        environment: new.environment,
        seed: new.seed,
        resources: new.resources,
        ttl_ms: new.ttl_ms,
        network_policy: new.network_policy,
        execution_mode: new.execution_mode,
        secrets: new.secrets,
        created_at: new.created_at,
        last_activity_at: new.created_at,
        state: State::Creating,
        boot_id: None,
        last_error: None,
        reset_count: 0,
        last_reset_at: None,
        command_count: 0,
        last_command: None,
    }
}

pub(super) fn record(db: &Connection, id: &WorkspaceId) -> Result<Record, Fault> {
    let mut statement = db.prepare(&format!("{SELECT} WHERE w.id = ?1"))?;
    let found = statement.query_row([id], |row| Ok(parse(row)));
    Ok(found.optional()?.ok_or_else(|| gone(id))??)
}

pub(super) fn request(db: &Connection, id: &WorkspaceId) -> Result<String, Fault> {
    let sql = "SELECT request FROM workspace WHERE id = ?1";
    let found = db.query_row(sql, [id], |row| row.get(0)).optional()?;
    found.ok_or_else(|| gone(id))
}

/// What the next entry of the history is called.
pub(super) fn next_sequence(db: &Connection, id: &WorkspaceId) -> Result<u64, Fault> {
    let sql = "SELECT next_sequence FROM workspace WHERE id = ?1";
    let found = db.query_row(sql, [id], |row| row.get(0)).optional()?;
    found.ok_or_else(|| gone(id))
}

pub(super) fn gone(id: &WorkspaceId) -> Fault {
    RegistryError::Gone(id.clone()).into()
}

/// That a row was changed; where none was, there is no such workspace.
pub(super) fn one(changed: usize, id: &WorkspaceId) -> Result<(), Fault> {
    if changed == 0 { Err(gone(id)) } else { Ok(()) }
}
