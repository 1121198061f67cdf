//! A workspace as a row of the registry.

use super::RegistryError;
use super::error::Fault;
use super::record::{Damaged, LastCommand, Record, Resources, SeedMode, SeedRecord, State};
use rusqlite::{Connection, ErrorCode, Row, params};

/// A workspace with its last command, which is found by an index.
pub(super) const SELECT: &str = "SELECT w.*,
        (SELECT count(*) FROM history h WHERE h.workspace = w.id AND h.epoch = w.reset_count
            AND h.kind = 'exec' AND h.ended_at IS NOT NULL) AS command_count,
        c.sequence AS last_sequence, c.command AS last_command, c.cwd AS last_cwd, c.exit_code AS last_exit_code,
        c.duration_ms AS last_duration_ms, c.execution_mode AS last_execution_mode
    FROM (SELECT id, name, labels, environment, seed_mode, seed_path, seed_entries, seed_bytes, vcpu_count, mem_mib,
            ttl_ms, network_policy, execution_mode, secrets, created_at, last_activity_at, state, boot_id, last_error,
            reset_count, last_reset_at FROM workspace) w
    LEFT JOIN history c ON c.workspace = w.id AND c.sequence =
        (SELECT max(h.sequence) FROM history h WHERE h.workspace = w.id AND h.epoch = w.reset_count
            AND h.kind = 'exec' AND h.ended_at IS NOT NULL)";

pub(super) fn insert(db: &Connection, record: &Record, request: &str) -> Result<(), Fault> {
    let sql = "INSERT INTO workspace (id, name, labels, environment, seed_mode, seed_path, seed_entries, seed_bytes,
            vcpu_count, mem_mib, ttl_ms, network_policy, execution_mode, secrets, created_at, last_activity_at, state,
            last_error, reset_count, last_reset_at, request)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21)";
    let seed = &record.seed;
    let inserted = db.execute(
        sql,
        params![
            record.id,
            record.name,
            json(&record.labels)?,
            record.environment,
            seed.mode.as_str(),
            seed.path,
            seed.entry_count,
            seed.bytes_written,
            record.resources.vcpu_count,
            record.resources.mem_mib,
            record.ttl_ms,
            record.network_policy,
            record.execution_mode,
            json(&record.secrets)?,
            record.created_at,
            record.last_activity_at,
            record.state.as_str(),
            record.last_error,
            record.reset_count,
            record.last_reset_at,
            request,
        ],
    );
    match inserted {
        Err(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            Err(RegistryError::Taken(record.id.clone()).into())
        }
        inserted => Ok(inserted.map(drop)?),
    }
}

pub(super) fn json(value: &impl serde::Serialize) -> Result<String, Fault> {
    let told = |error| rusqlite::Error::ToSqlConversionFailure(Box::new(error));
    Ok(serde_json::to_string(value).map_err(told)?)
}

/// A row of [`SELECT`].
pub(super) fn parse(row: &Row<'_>) -> Result<Record, Damaged> {
    columns(row).map_err(|why| Damaged {
        id: row.get("id").unwrap_or_default(),
        why,
    })
}

fn columns(row: &Row<'_>) -> Result<Record, String> {
    fn get<T: rusqlite::types::FromSql>(row: &Row<'_>, name: &str) -> Result<T, String> {
        row.get(name).map_err(|error| format!("{name}: {error}"))
    }
    fn json<T: serde::de::DeserializeOwned>(row: &Row<'_>, name: &str) -> Result<T, String> {
        let text: String = get(row, name)?;
        serde_json::from_str(&text).map_err(|error| format!("{name}: {error}"))
    }
    let (seed_mode, state): (String, String) = (get(row, "seed_mode")?, get(row, "state")?);
    let last_command = match get::<Option<u64>>(row, "last_sequence")? {
        None => None,
        Some(sequence) => Some(LastCommand {
            sequence,
            command: get::<Option<_>>(row, "last_command")?.unwrap_or_default(),
            cwd: get::<Option<_>>(row, "last_cwd")?.unwrap_or_default(),
            exit_code: get(row, "last_exit_code")?,
            duration_ms: get(row, "last_duration_ms")?,
            execution_mode: get(row, "last_execution_mode")?,
        }),
    };
    Ok(Record {
        id: get(row, "id")?,
        name: get(row, "name")?,
        labels: json(row, "labels")?,
        environment: get(row, "environment")?,
        seed: SeedRecord {
            mode: SeedMode::parse(&seed_mode)
                .ok_or_else(|| format!("seed_mode: `{seed_mode}` is not known"))?,
            path: get(row, "seed_path")?,
            entry_count: get(row, "seed_entries")?,
            bytes_written: get(row, "seed_bytes")?,
        },
        resources: Resources {
            vcpu_count: get(row, "vcpu_count")?,
            mem_mib: get(row, "mem_mib")?,
        },
        ttl_ms: get(row, "ttl_ms")?,
        network_policy: get(row, "network_policy")?,
        execution_mode: get(row, "execution_mode")?,
        secrets: json(row, "secrets")?,
        created_at: get(row, "created_at")?,
        last_activity_at: get(row, "last_activity_at")?,
        state: State::parse(&state).ok_or_else(|| format!("state: `{state}` is not known"))?,
        boot_id: get(row, "boot_id")?,
        last_error: get(row, "last_error")?,
        reset_count: get(row, "reset_count")?,
        last_reset_at: get(row, "last_reset_at")?,
        command_count: get(row, "command_count")?,
        last_command,
    })
}
