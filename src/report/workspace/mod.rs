//! What commands about workspaces that live answer with `--json`, and tools with: the registry's data, under the names
//! that programs know. Times are seconds since 1970. What pyro has no use for keeps its field.

mod convert;
pub(crate) mod files;
mod history;
mod model;
mod pull;
mod snapshots;
#[cfg(test)]
mod tests;

pub use files::{FileMovePayload, FileSearchPayload, MatchPayload};
pub use history::{HistoryEntryPayload, HistoryPayload, LogEntryPayload, LogsPayload};
pub use model::{
    DamagedPayload, LastCommandPayload, ListedPayload, ResetPayload, SecretPayload, SeedPayload,
    WorkspaceDeletePayload, WorkspaceListPayload, WorkspacePayload,
};
pub use pull::{PullPayload, PulledPayload};
pub use snapshots::{
    SnapshotCreatePayload, SnapshotDeletePayload, SnapshotListPayload, SnapshotPayload,
};
