//! What is known about a workspace.

use crate::workspace::Timestamp;
use crate::workspace::state::random_id;
use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::io;

/// The id of a workspace: 12 of the digits 0 to f. Whoever has one may make a path of it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String")]
pub struct WorkspaceId(String);

impl WorkspaceId {
    /// Reads an id; `None` where the text is none.
    pub fn parse(text: &str) -> Option<Self> {
        let digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        (text.len() == 12 && text.bytes().all(digit)).then(|| Self(text.to_owned()))
    }

    /// A new one.
    ///
    /// # Errors
    /// Where the kernel gives no random bytes.
    pub fn random() -> io::Result<Self> {
        random_id().map(Self)
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for WorkspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for WorkspaceId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text).ok_or("an id is 12 of the digits 0 to f")
    }
}

impl ToSql for WorkspaceId {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.0.as_str().into())
    }
}

impl FromSql for WorkspaceId {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        Self::try_from(String::column_result(value)?).map_err(|why| FromSqlError::Other(why.into()))
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(i64::try_from(self.as_millis()).unwrap_or(i64::MAX).into())
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        u64::column_result(value).map(Self::from_millis)
    }
}

/// What a workspace is doing, as far as the registry was told. Whether a keeper lives is known by its lock alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It is being made.
    Creating,
    /// It runs, or ran until its keeper died.
    Started,
    /// Its files are there, and nothing runs.
    Stopped,
    /// It is being removed.
    Deleting,
}

impl State {
    /// As payloads spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Started => "started",
            Self::Stopped => "stopped",
            Self::Deleting => "deleting",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Creating, Self::Started, Self::Stopped, Self::Deleting]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// What a workspace was filled from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SeedMode {
    /// From nothing.
    Empty,
    /// From a directory.
    Directory,
    /// From a tar.
    TarArchive,
}

impl SeedMode {
    /// As payloads spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::Directory => "directory",
            Self::TarArchive => "tar_archive",
        }
    }

    pub(super) fn parse(text: &str) -> Option<Self> {
        [Self::Empty, Self::Directory, Self::TarArchive]
            .into_iter()
            .find(|mode| mode.as_str() == text)
    }
}

/// The seed of a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeedRecord {
    /// What it was.
    pub mode: SeedMode,
    /// Where it lay on the host.
    pub path: Option<String>,
    /// Files, directories and links.
    pub entry_count: u64,
    /// In files.
    pub bytes_written: u64,
}

impl SeedRecord {
    /// No seed.
    pub const EMPTY: Self = Self {
        mode: SeedMode::Empty,
        path: None,
        entry_count: 0,
        bytes_written: 0,
    };
}

/// What a workspace may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Processors.
    pub vcpu_count: u32,
    /// Memory.
    pub mem_mib: u32,
}

/// That a workspace has a secret: never what it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// Its name.
    pub name: String,
    /// Where it came from: `literal`, `file`, `env`.
    pub source_kind: String,
}

/// What is said of a workspace when it is registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewWorkspace {
    /// A [random](WorkspaceId::random) one.
    pub id: WorkspaceId,
    /// Not unique.
    pub name: Option<String>,
    /// For people and programs to find it by.
    pub labels: BTreeMap<String, String>,
    /// As it is shown.
    pub environment: String,
    /// What it is filled from.
    pub seed: SeedRecord,
    /// What it may use.
    pub resources: Resources,
    /// How long it lives after the last activity.
    pub ttl_ms: u64,
    /// `off`, `egress`, ... as payloads spell it.
    pub network_policy: String,
    /// `namespace`, `firecracker`, ... as payloads spell it.
    pub execution_mode: String,
    /// Names and kinds alone.
    pub secrets: Vec<SecretRecord>,
    /// Now.
    pub created_at: Timestamp,
    /// The request that made it, as canonical JSON.
    pub request: String,
}

/// A command of a workspace, as its record tells the last one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastCommand {
    /// Its place in the history.
    pub sequence: u64,
    /// What ran.
    pub command: String,
    /// Where.
    pub cwd: String,
    /// Unknown where the command was interrupted.
    pub exit_code: Option<i32>,
    /// Unknown where the command was interrupted.
    pub duration_ms: Option<u64>,
    /// In what it ran.
    pub execution_mode: String,
}

/// All that the registry knows about a workspace, besides its history and snapshots.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// What it is found by.
    pub id: WorkspaceId,
    /// Not unique.
    pub name: Option<String>,
    /// Sorted by key.
    pub labels: BTreeMap<String, String>,
    /// As it is shown.
    pub environment: String,
    /// What it was filled from.
    pub seed: SeedRecord,
    /// What it may use.
    pub resources: Resources,
    /// How long it lives after the last activity.
    pub ttl_ms: u64,
    /// As payloads spell it.
    pub network_policy: String,
    /// As payloads spell it.
    pub execution_mode: String,
    /// Names and kinds.
    pub secrets: Vec<SecretRecord>,
    /// When it was registered.
    pub created_at: Timestamp,
    /// When it was last used.
    pub last_activity_at: Timestamp,
    /// What it was last told to be.
    pub state: State,
    /// The host's boot in which it was last started.
    pub boot_id: Option<String>,
    /// What went wrong last.
    pub last_error: Option<String>,
    /// How often it was reset.
    pub reset_count: u64,
    /// When, the last time.
    pub last_reset_at: Option<Timestamp>,
    /// Commands that ended (or were interrupted) since the last reset.
    pub command_count: u64,
    /// The last of them.
    pub last_command: Option<LastCommand>,
}

impl Record {
    /// When it is stopped unless something happens in it.
    pub fn expires_at(&self) -> Timestamp {
        self.last_activity_at.plus_millis(self.ttl_ms)
    }
}

/// A workspace of which something that is known cannot be understood. It can be removed by its id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("understand what is known about the workspace {id}: {why}")]
pub struct Damaged {
    /// Which. No [`WorkspaceId`] where that is what is damaged.
    pub id: String,
    /// What about it.
    pub why: String,
}
