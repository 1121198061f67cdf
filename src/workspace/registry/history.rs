//! What was done to a workspace, by whom, and how it ended.

use super::about;
use super::error::{Fault, RegistryError};
use super::open::Registry;
use super::record::WorkspaceId;
use super::workspaces::{gone, one};
use crate::workspace::Timestamp;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

/// Bytes of an output that an entry keeps; the receipt and its files have the rest.
pub const MAX_OUTPUT: usize = 64 << 10;
/// The outcome of an entry whose command died before it could tell one.
pub const INTERRUPTED: &str = "interrupted";
/// The outcome of one whose step has passed, as the receipt spells it.
const PASSED: &str = "passed";

/// An entry whose command died before it could tell how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interruption {
    /// Its place.
    pub sequence: u64,
    /// How many resets of it had happened.
    pub resets: u32,
    /// That was all of it.
    pub has_passed: bool,
}

/// What runs, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// As it is shown; secrets are already out of it.
    pub text: String,
    /// The directory.
    pub cwd: String,
}

/// What begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The run, 12 hex digits: the lock on its folder says whether the command lives.
    pub run: String,
    /// The verb (`exec`, `write`, `patch`, `sync`, `reset`, ...), or `apply` for a request of several steps.
    pub kind: String,
    /// The request, as canonical JSON.
    pub request: String,
    /// Of an `exec`.
    pub command: Option<Command>,
    /// When.
    pub began_at: Timestamp,
    /// Whether it keeps the workspace alive, at its beginning and at its end. Looking at files does not.
    pub is_activity: bool,
}

/// An output, as far as an entry keeps it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Output {
    /// Text; secrets are already out of it.
    pub text: String,
    /// Whether there was more.
    pub truncated: bool,
    /// Where all of it lies.
    pub file: Option<String>,
}

/// How something ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// When.
    pub ended_at: Timestamp,
    /// As the receipt spells it.
    pub outcome: String,
    /// Of a command that ran.
    pub exit_code: Option<i32>,
    /// How long it took.
    pub duration_ms: u64,
    /// The first 64 KiB are kept.
    pub stdout: Output,
    /// The first 64 KiB are kept.
    pub stderr: Output,
    /// Where the receipt lies.
    pub receipt: Option<String>,
    /// How many resets of the workspace happened with it: each begins a new epoch, and what began before does not count as a
    /// command of the workspace any more, even if it ends later.
    pub resets: u32,
}

/// An entry of the history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// From 1 on, never used twice in a workspace.
    pub sequence: u64,
    /// How many resets came before it.
    pub epoch: u64,
    /// The run.
    pub run: String,
    /// The verb, or `apply`.
    pub kind: String,
    /// As canonical JSON.
    pub request: String,
    /// Of an `exec`.
    pub command: Option<Command>,
    /// In what it ran.
    pub execution_mode: String,
    /// When it began.
    pub began_at: Timestamp,
    /// When it ended; for one that was interrupted, when that was noticed. None: it goes on.
    pub ended_at: Option<Timestamp>,
    /// As the receipt spells it, or [`INTERRUPTED`]. None: it goes on.
    pub outcome: Option<String>,
    /// Of a command that ran to its end.
    pub exit_code: Option<i32>,
    /// Not known of one that was interrupted.
    pub duration_ms: Option<u64>,
    /// What it printed.
    pub stdout: Output,
    /// What it printed.
    pub stderr: Output,
    /// Where the receipt lies.
    pub receipt: Option<String>,
}

/// Which entries are wanted. They always come in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Page {
    /// All of them.
    All,
    /// Those that follow on one.
    After {
        /// Its sequence; 0 is before the first.
        sequence: u64,
        /// At most so many.
        limit: u32,
    },
    /// The newest, at most so many.
    Last(u32),
}

const UNFINISHED: &str =
    "SELECT EXISTS (SELECT 1 FROM history WHERE workspace = ?1 AND ended_at IS NULL)";

impl Registry {
    /// Notes that something begins; its place in the history, which is never used again.
    ///
    /// # Errors
    /// Where the workspace is gone.
    pub fn begin(&mut self, id: &WorkspaceId, entry: &Entry) -> Result<u64, RegistryError> {
        self.write("note what begins", |db| begin(db, id, entry))
    }

    /// Notes how something ended, in the epoch in which it began, and the resets that happened with it: both or none, so
    /// that none of them counts twice where somebody is killed.
    ///
    /// # Errors
    /// Where the workspace or the entry is gone, or the entry has ended.
    pub fn end(
        &mut self,
        id: &WorkspaceId,
        sequence: u64,
        ended: &Ended,
    ) -> Result<(), RegistryError> {
        let touch = "UPDATE workspace SET last_activity_at = ?2 WHERE id = ?1 AND
            (SELECT is_activity FROM history WHERE workspace = ?1 AND sequence = ?3)";
        let state = self.state.clone();
        self.write("note how it ended", |db| {
            end(db, id, sequence, ended)?;
            db.execute(touch, params![id, ended.ended_at, sequence])?;
            if ended.resets > 0 {
                db.execute(RESET, params![id, ended.resets, ended.ended_at])?;
                about::write(&state, db, id)?;
            }
            Ok(())
        })
    }

    /// Marks what never ended and whose run is dead as [`INTERRUPTED`]; which entries these were.
    ///
    /// # Errors
    /// Where the registry cannot be used.
    pub fn interrupted(
        &mut self,
        id: &WorkspaceId,
        is_alive: impl Fn(&str) -> bool,
        now: Timestamp,
    ) -> Result<Vec<u64>, RegistryError> {
        let all = self.interrupted_after(id, is_alive, |_| 0, now)?;
        Ok(all.into_iter().map(|one| one.sequence).collect())
    }

    /// The same, where `resets` says how many resets of a run have happened all the same: they count, and a command that
    /// was nothing but one has passed.
    ///
    /// # Errors
    /// Where the registry cannot be used.
    pub fn interrupted_after(
        &mut self,
        id: &WorkspaceId,
        is_alive: impl Fn(&str) -> bool,
        resets: impl Fn(&str) -> u32,
        now: Timestamp,
    ) -> Result<Vec<Interruption>, RegistryError> {
        if !self.goes_on(id)? {
            return Ok(Vec::new());
        }
        let state = self.state.clone();
        let what = "look for interrupted commands";
        // Asked within the write: who is about to note an end still holds the lock of its run.
        self.write(what, |db| {
            let marked = interrupt(db, id, &is_alive, &resets, now)?;
            if marked.iter().any(|one| one.resets > 0) {
                about::write(&state, db, id)?;
            }
            Ok(marked)
        })
    }

    /// Whether there is something that has not ended.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn goes_on(&mut self, id: &WorkspaceId) -> Result<bool, RegistryError> {
        self.read("look for what goes on", |db| {
            Ok(db.query_one(UNFINISHED, [id], |row| row.get(0))?)
        })
    }

    /// Everything that was done, over all resets.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn history(
        &mut self,
        id: &WorkspaceId,
        page: Page,
    ) -> Result<Vec<HistoryEntry>, RegistryError> {
        self.read("read the history", |db| select(db, id, "1", page))
    }

    /// The commands since the last reset that ended or were interrupted.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn logs(
        &mut self,
        id: &WorkspaceId,
        page: Page,
    ) -> Result<Vec<HistoryEntry>, RegistryError> {
        let which = "kind = 'exec' AND ended_at IS NOT NULL AND
            epoch = (SELECT reset_count FROM workspace WHERE id = ?1)";
        self.read("read the logs", |db| select(db, id, which, page))
    }

    /// One entry.
    ///
    /// # Errors
    /// Where the registry cannot be read.
    pub fn entry(
        &mut self,
        id: &WorkspaceId,
        sequence: u64,
    ) -> Result<Option<HistoryEntry>, RegistryError> {
        let page = Page::After {
            sequence: sequence.saturating_sub(1),
            limit: 1,
        };
        let found = self.read("read the history", |db| select(db, id, "1", page))?;
        Ok(found.into_iter().find(|entry| entry.sequence == sequence))
    }
}

fn begin(db: &Connection, id: &WorkspaceId, entry: &Entry) -> Result<u64, Fault> {
    let count = "UPDATE workspace SET next_sequence = next_sequence + 1,
            last_activity_at = iif(?2, ?3, last_activity_at)
        WHERE id = ?1 RETURNING next_sequence - 1, reset_count, execution_mode";
    let (activity, at) = (entry.is_activity, entry.began_at);
    let counted = db.query_row(count, params![id, activity, at], |row| {
        Ok((row.get(0)?, row.get(1)?, row.get(2)?))
    });
    let (sequence, epoch, mode): (u64, u64, String) =
        counted.optional()?.ok_or_else(|| gone(id))?;
    let sql = "INSERT INTO history
            (workspace, sequence, epoch, run, kind, is_activity, execution_mode, began_at, command, cwd, request)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";
    let text = entry.command.as_ref().map(|command| &command.text);
    let cwd = entry.command.as_ref().map(|command| &command.cwd);
    db.execute(
        sql,
        params![
            id,
            sequence,
            epoch,
            entry.run,
            entry.kind,
            activity,
            mode,
            at,
            text,
            cwd,
            entry.request
        ],
    )?;
    Ok(sequence)
}

fn end(db: &Connection, id: &WorkspaceId, sequence: u64, ended: &Ended) -> Result<(), Fault> {
    // One that was taken for dead, and was not, knows better.
    let sql = "UPDATE history SET ended_at = ?3, outcome = ?4, exit_code = ?5, duration_ms = ?6, receipt = ?7,
            stdout = ?8, stdout_truncated = ?9, stdout_file = ?10,
            stderr = ?11, stderr_truncated = ?12, stderr_file = ?13
        WHERE workspace = ?1 AND sequence = ?2 AND (ended_at IS NULL OR outcome = ?14)";
    let (stdout, stdout_cut) = head(&ended.stdout);
    let (stderr, stderr_cut) = head(&ended.stderr);
    let changed = db.execute(
        sql,
        params![
            id,
            sequence,
            ended.ended_at,
            ended.outcome,
            ended.exit_code,
            ended.duration_ms,
            ended.receipt,
            stdout,
            stdout_cut,
            ended.stdout.file,
            stderr,
            stderr_cut,
            ended.stderr.file,
            INTERRUPTED,
        ],
    )?;
    if changed > 0 {
        return Ok(());
    }
    let there = "SELECT id FROM workspace WHERE id = ?1";
    let there = db.query_row(there, [id], |_| Ok(())).optional()?;
    one(usize::from(there.is_some()), id)?;
    let id = id.clone();
    Err(RegistryError::NoEntry { id, sequence }.into())
}

/// What is kept of an output, and whether that is less than there was.
fn head(output: &Output) -> (&str, bool) {
    let kept = output.text.floor_char_boundary(MAX_OUTPUT);
    let cut = kept < output.text.len();
    (&output.text[..kept], output.truncated || cut)
}

/// So many resets of a workspace, at a time.
const RESET: &str =
    "UPDATE workspace SET reset_count = reset_count + ?2, last_reset_at = ?3, last_activity_at = ?3
    WHERE id = ?1";

fn interrupt(
    db: &Connection,
    id: &WorkspaceId,
    is_alive: &impl Fn(&str) -> bool,
    resets: &impl Fn(&str) -> u32,
    now: Timestamp,
) -> Result<Vec<Interruption>, Fault> {
    let unfinished = "SELECT sequence, run, kind FROM history WHERE workspace = ?1 AND ended_at IS NULL ORDER BY sequence";
    let mark =
        "UPDATE history SET ended_at = ?3, outcome = ?4 WHERE workspace = ?1 AND sequence = ?2";
    let mut statement = db.prepare(unfinished)?;
    let rows = statement.query_map([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    let all: Vec<(u64, String, String)> = rows.collect::<Result<_, _>>()?;
    let mut marked = Vec::new();
    for (sequence, run, kind) in all {
        if is_alive(&run) {
            continue;
        }
        let resets = resets(&run);
        let has_passed = kind == "reset" && resets > 0;
        let outcome = if has_passed { PASSED } else { INTERRUPTED };
        db.execute(mark, params![id, sequence, now, outcome])?;
        if resets > 0 {
            db.execute(RESET, params![id, resets, now])?;
        }
        marked.push(Interruption {
            sequence,
            resets,
            has_passed,
        });
    }
    Ok(marked)
}

fn select(
    db: &Connection,
    id: &WorkspaceId,
    which: &str,
    page: Page,
) -> Result<Vec<HistoryEntry>, Fault> {
    let (after, order, limit) = match page {
        Page::All => (0, "ASC", -1),
        Page::After { sequence, limit } => (sequence, "ASC", i64::from(limit)),
        Page::Last(limit) => (0, "DESC", i64::from(limit)),
    };
    let sql = format!(
        "SELECT * FROM history WHERE workspace = ?1 AND {which} AND sequence > ?2 ORDER BY sequence {order} LIMIT ?3"
    );
    let mut statement = db.prepare(&sql)?;
    let rows = statement.query_map(params![id, after, limit], entry)?;
    let mut all: Vec<_> = rows.collect::<Result<_, _>>()?;
    if order == "DESC" {
        all.reverse();
    }
    Ok(all)
}

fn entry(row: &Row<'_>) -> rusqlite::Result<HistoryEntry> {
    let output = |text: &str, truncated: &str, file: &str| {
        Ok::<_, rusqlite::Error>(Output {
            text: row.get::<_, Option<_>>(text)?.unwrap_or_default(),
            truncated: row.get(truncated)?,
            file: row.get(file)?,
        })
    };
    let text: Option<String> = row.get("command")?;
    let cwd: Option<String> = row.get("cwd")?;
    Ok(HistoryEntry {
        sequence: row.get("sequence")?,
        epoch: row.get("epoch")?,
        run: row.get("run")?,
        kind: row.get("kind")?,
        request: row.get("request")?,
        command: text.map(|text| Command {
            text,
            cwd: cwd.unwrap_or_default(),
        }),
        execution_mode: row.get("execution_mode")?,
        began_at: row.get("began_at")?,
        ended_at: row.get("ended_at")?,
        outcome: row.get("outcome")?,
        exit_code: row.get("exit_code")?,
        duration_ms: row.get("duration_ms")?,
        stdout: output("stdout", "stdout_truncated", "stdout_file")?,
        stderr: output("stderr", "stderr_truncated", "stderr_file")?,
        receipt: row.get("receipt")?,
    })
}
