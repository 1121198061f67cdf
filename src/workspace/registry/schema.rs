//! The tables, and how an older registry becomes one of today.

/// Each step brings the registry from one version (`PRAGMA user_version`) to the next. A step that was ever released
/// is never changed: a new one is added.
pub(super) const STEPS: &[&str] = &[
    // 1. Long columns come last: SQLite reads a row only as far as it must.
    "CREATE TABLE workspace (
        id TEXT NOT NULL PRIMARY KEY,
        name TEXT,
        labels TEXT NOT NULL,
        environment TEXT NOT NULL,
        seed_mode TEXT NOT NULL,
        seed_path TEXT,
        seed_entries INTEGER NOT NULL,
        seed_bytes INTEGER NOT NULL,
        vcpu_count INTEGER NOT NULL,
        mem_mib INTEGER NOT NULL,
        ttl_ms INTEGER NOT NULL,
        network_policy TEXT NOT NULL,
        execution_mode TEXT NOT NULL,
        secrets TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        last_activity_at INTEGER NOT NULL,
        state TEXT NOT NULL,
        boot_id TEXT,
        last_error TEXT,
        reset_count INTEGER NOT NULL DEFAULT 0,
        last_reset_at INTEGER,
        next_sequence INTEGER NOT NULL DEFAULT 1,
        request TEXT NOT NULL
    ) STRICT;
    CREATE INDEX workspace_by_name ON workspace (name) WHERE name IS NOT NULL;

    CREATE TABLE history (
        workspace TEXT NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
        sequence INTEGER NOT NULL,
        epoch INTEGER NOT NULL,
        run TEXT NOT NULL,
        kind TEXT NOT NULL,
        is_activity INTEGER NOT NULL,
        execution_mode TEXT NOT NULL,
        began_at INTEGER NOT NULL,
        ended_at INTEGER,
        outcome TEXT,
        exit_code INTEGER,
        duration_ms INTEGER,
        receipt TEXT,
        cwd TEXT,
        command TEXT,
        stdout_truncated INTEGER NOT NULL DEFAULT 0,
        stderr_truncated INTEGER NOT NULL DEFAULT 0,
        stdout_file TEXT,
        stderr_file TEXT,
        stdout TEXT,
        stderr TEXT,
        request TEXT NOT NULL,
        PRIMARY KEY (workspace, sequence)
    ) STRICT;
    CREATE INDEX command ON history (workspace, epoch, sequence)
        WHERE kind = 'exec' AND ended_at IS NOT NULL;
    CREATE INDEX unfinished ON history (workspace, sequence) WHERE ended_at IS NULL;

    CREATE TABLE snapshot (
        workspace TEXT NOT NULL REFERENCES workspace (id) ON DELETE CASCADE,
        name TEXT NOT NULL,
        created_at INTEGER NOT NULL,
        entry_count INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        number INTEGER NOT NULL,
        PRIMARY KEY (workspace, name)
    ) STRICT;",
];

/// The version that we write, and the last one that we read.
pub(super) fn known() -> u32 {
    u32::try_from(STEPS.len()).unwrap_or(u32::MAX)
}
