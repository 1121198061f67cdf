//! The registry of the workspaces that live: identity, names, labels, state, history and snapshots, in one SQLite file.
//!
//! ```text
//!  registry.sqlite (-wal, -shm)          nothing but this module opens it
//!  registry.sqlite.damaged-TIME          one that could not be read, moved aside
//!  workspaces/ID/about.json              what a registry is made anew from
//!  workspaces/ID/history/SEQUENCE        receipts; a registry that is made anew goes on after the last
//! ```
//! It is data: nothing here starts or stops anything, and nothing here says what is alive. Every write is one
//! `BEGIN IMMEDIATE` transaction; a process that is killed has written all of it or nothing. See
//! `docs/decisions/009-sqlite-registry.md`.
//!
//! A [`Registry`] must not be carried over a `fork`: open it afterwards.

mod about;
mod error;
mod find;
mod history;
mod lifetime;
mod open;
mod record;
mod repair;
mod row;
mod rules;
mod schema;
mod snapshots;
#[cfg(test)]
mod tests;
mod workspaces;

pub use error::{FindError, RegistryError, SqlError};
pub use history::{
    Command, Ended, Entry, HistoryEntry, INTERRUPTED, Interruption, MAX_OUTPUT, Output, Page,
};
pub use lifetime::{Committed, KEEP_EXPIRED_MS};
pub use open::Registry;
pub use record::{
    Damaged, LastCommand, NewWorkspace, Record, Resources, SecretRecord, SeedMode, SeedRecord,
    State, WorkspaceId,
};
pub use repair::Rebuilt;
pub use rules::{
    LabelError, MAX_CHARS, MAX_TTL_MS, MIN_TTL_MS, NameError, TtlError, validate_label,
    validate_name, validate_ttl,
};
pub use snapshots::{SnapshotKind, SnapshotRecord};
pub use workspaces::{Change, ErrorNote, NameChange, StateDetails};
