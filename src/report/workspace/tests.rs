//! The fields that programs know are there, with the types that they know; fields may come, none may go.

use super::{
    HistoryPayload, LogsPayload, SnapshotCreatePayload, SnapshotDeletePayload, SnapshotListPayload,
    WorkspaceDeletePayload, WorkspaceListPayload, WorkspacePayload,
};
use crate::workspace::Timestamp;
use crate::workspace::registry::{
    Command, Damaged, HistoryEntry, LastCommand, Output, Record, Resources, SecretRecord, SeedMode,
    SeedRecord, SnapshotKind, SnapshotRecord, State, WorkspaceId,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Value, json};

fn id() -> WorkspaceId {
    WorkspaceId::parse("0123456789ab").expect("an id")
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn record() -> Record {
    Record {
        id: id(),
        name: Some("repro-fix".into()),
        labels: [
            ("issue".into(), "123".into()),
            ("area".into(), "parser".into()),
        ]
        .into(),
        environment: "host".into(),
        seed: SeedRecord {
            mode: SeedMode::TarArchive,
            path: Some("/home/me/repo.tar.gz".into()),
            entry_count: 7,
            bytes_written: 4000,
        },
        resources: Resources {
            vcpu_count: 2,
            mem_mib: 1024,
        },
        ttl_ms: 28_800_000,
        network_policy: "off".into(),
        execution_mode: "namespace".into(),
        secrets: vec![SecretRecord {
            name: "TOKEN".into(),
            source_kind: "file".into(),
        }],
        created_at: at(1_795_339_800_123),
        last_activity_at: at(1_795_339_900_500),
        state: State::Started,
        boot_id: Some("boot".into()),
        last_error: None,
        reset_count: 1,
        last_reset_at: Some(at(1_795_339_850_001)),
        command_count: 3,
        last_command: Some(LastCommand {
            sequence: 9,
            command: "make test".into(),
            cwd: "/workspace".into(),
            exit_code: Some(2),
            duration_ms: Some(1200),
            execution_mode: "namespace".into(),
        }),
    }
}

fn bare() -> Record {
    Record {
        name: None,
        labels: [].into(),
        seed: SeedRecord::EMPTY,
        network_policy: "allowlist".into(),
        secrets: Vec::new(),
        reset_count: 0,
        last_reset_at: None,
        command_count: 0,
        last_command: None,
        last_error: Some("its keeper died".into()),
        ..record()
    }
}

fn snapshot(name: &str, kind: SnapshotKind) -> SnapshotRecord {
    SnapshotRecord {
        kind,
        ..SnapshotRecord::named(name.into(), at(1_795_339_860_000), 8, 4100)
    }
}

fn entry(sequence: u64, exit_code: Option<i32>) -> HistoryEntry {
    HistoryEntry {
        sequence,
        epoch: 1,
        run: "ba9876543210".into(),
        kind: "exec".into(),
        request: "{}".into(),
        command: Some(Command {
            text: "make test".into(),
            cwd: "/workspace".into(),
        }),
        execution_mode: "namespace".into(),
        began_at: at(1_795_339_870_000),
        ended_at: Some(at(1_795_339_871_250)),
        outcome: Some("passed".into()),
        exit_code,
        duration_ms: exit_code.map(|_| 1250),
        stdout: Output {
            text: "ok\n".into(),
            truncated: true,
            file: Some("/state/receipts/x/stdout".into()),
        },
        stderr: Output::default(),
        receipt: Some("/state/receipts/x/receipt.json".into()),
    }
}

fn value(payload: &impl Serialize) -> Value {
    serde_json::to_value(payload).expect("is JSON")
}

/// That a payload has these fields with these types, and that it is what its schema says, whose required fields are
/// these. A type is that of the schema; `?` allows null.
fn has<T: Serialize + JsonSchema>(payload: &T, fields: &str) {
    let value = value(payload);
    let settings = schemars::generate::SchemaSettings::draft07().for_serialize();
    let schema = settings.into_generator().into_root_schema_for::<T>();
    let schema = schema.to_value();
    let valid = jsonschema::validator_for(&schema).expect("a schema");
    assert!(valid.is_valid(&value), "{value:#}");
    for field in fields.split("; ") {
        let (names, kind) = field.split_once(' ').expect("names and a type");
        let (kind, null) = match kind.strip_suffix('?') {
            Some(kind) => (kind, true),
            None => (kind, false),
        };
        for name in names.split(',') {
            let told = value.get(name);
            let told = told.unwrap_or_else(|| panic!("`{name}` is missing: {value:#}"));
            let fits = match told {
                Value::Null => null,
                Value::Bool(_) => kind == "bool",
                Value::Number(number) => match kind {
                    "int" => number.is_u64() || number.is_i64(),
                    "float" => number.is_f64(),
                    _ => false,
                },
                Value::String(_) => kind == "str",
                Value::Array(_) => kind == "list",
                Value::Object(_) => kind == "object",
            };
            assert!(fits, "`{name}` is not {field:?}: {told}");
            let required = schema["required"].as_array().expect("a list");
            assert!(required.contains(&json!(name)), "`{name}` may be missing");
        }
    }
}

const WORKSPACE: &str = "workspace_id str; name str?; labels object; environment str; environment_version str?; \
    vcpu_count,mem_mib,ttl_seconds int; created_at,last_activity_at,expires_at float; state,network_policy str; \
    network_enabled,allow_host_compat bool; guest_ip,tap_name str?; execution_mode,workspace_path str; \
    workspace_seed object; secrets list; command_count int; last_command object?; reset_count int; \
    last_reset_at float?; service_count,running_service_count int; metadata object; last_error str?";

#[test]
fn a_workspace_has_what_programs_know() {
    for record in [record(), bare()] {
        has(&WorkspacePayload::from(&record), WORKSPACE);
    }
    let payload = WorkspacePayload::from(&record());
    has(
        &payload.workspace_seed,
        "mode str; seed_path str?; destination str; entry_count,bytes_written int",
    );
    has(&payload.secrets[0], "name,source_kind str");
    let last = payload.last_command.clone().expect("a command");
    has(
        &last,
        "sequence int; command,cwd str; exit_code,duration_ms int?; execution_mode str",
    );
    let told = value(&payload);
    assert_eq!(told["created_at"], 1_795_339_800.123);
    assert_eq!(told["expires_at"], 1_795_368_700.5);
    assert_eq!(told["last_reset_at"], 1_795_339_850.001);
    assert_eq!(told["ttl_seconds"], 28_800);
    assert_eq!(told["state"], "started");
    assert_eq!(told["workspace_path"], "/workspace");
    assert_eq!(told["workspace_seed"]["mode"], "tar_archive");
    assert_eq!(told["network_enabled"], false);
    assert_eq!(
        told["labels"].to_string(),
        r#"{"area":"parser","issue":"123"}"#
    );
    assert_eq!(told.get("workspace_reset"), None);
    let told = value(&WorkspacePayload::from(&bare()));
    assert_eq!(
        (&told["network_enabled"], &told["name"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(told["last_error"], "its keeper died");
    assert_eq!(told["workspace_seed"]["mode"], "empty");
}

#[test]
fn a_reset_says_what_it_restored() {
    let point = snapshot("built", SnapshotKind::Named);
    let payload = WorkspacePayload::from(&record()).reset_to(&point);
    has(&payload, WORKSPACE);
    assert_eq!(
        value(&payload)["workspace_reset"],
        json!({"snapshot_name": "built", "kind": "named", "destination": "/workspace", "entry_count": 8,
            "bytes_written": 4100})
    );
}

#[test]
fn a_list_has_what_programs_know() {
    let whole = [Ok(record()), Ok(bare())];
    let payload = WorkspaceListPayload::from(&whole[..]);
    has(&payload, "count int; workspaces list");
    assert_eq!(value(&payload).get("damaged"), None);
    for listed in &payload.workspaces {
        has(
            listed,
            "workspace_id str; name str?; labels object; environment,state str; \
             created_at,last_activity_at,expires_at float; command_count,service_count,running_service_count int",
        );
    }
    let damaged = Damaged {
        id: "ba9876543210".into(),
        why: "labels: EOF".into(),
    };
    let payload = WorkspaceListPayload::from(&[Err(damaged), Ok(record())][..]);
    let told = value(&payload);
    assert_eq!(told["count"], 1);
    assert_eq!(
        told["damaged"],
        json!([{"workspace_id": "ba9876543210", "why": "labels: EOF"}])
    );
    assert_eq!(
        value(&WorkspaceListPayload::from(&[][..])),
        json!({"count": 0, "workspaces": []})
    );
}

#[test]
fn logs_and_history_have_what_programs_know() {
    let entries = [entry(3, Some(0)), entry(4, None)];
    let payload = LogsPayload::new(&id(), &entries);
    has(&payload, "workspace_id str; count int; entries list");
    for entry in &payload.entries {
        has(
            entry,
            "sequence int; command,cwd str; exit_code,duration_ms int?; execution_mode str; recorded_at float; \
             stdout,stderr str; stdout_file,stderr_file str?; stdout_truncated,stderr_truncated bool",
        );
    }
    let told = value(&payload);
    assert_eq!(told["entries"][0]["exit_code"], 0);
    assert_eq!(told["entries"][0]["recorded_at"], 1_795_339_871.25);
    assert_eq!(told["entries"][1]["exit_code"], Value::Null);
    let going_on = HistoryEntry {
        ended_at: None,
        outcome: None,
        command: None,
        kind: "patch".into(),
        ..entry(5, None)
    };
    let payload = HistoryPayload::new(&id(), &[entry(3, Some(0)), going_on]);
    has(&payload, "workspace_id str; count int; entries list");
    for entry in &payload.entries {
        has(
            entry,
            "sequence,epoch int; run,kind str; command,cwd str?; outcome str?; exit_code,duration_ms int?; \
             execution_mode str; began_at float; ended_at float?; receipt str?",
        );
    }
}

#[test]
fn snapshots_have_what_programs_know() {
    let all = [
        snapshot("baseline", SnapshotKind::Baseline),
        snapshot("built", SnapshotKind::Named),
    ];
    let payload = SnapshotListPayload::new(&id(), &all);
    has(&payload, "workspace_id str; count int; snapshots list");
    for snapshot in &payload.snapshots {
        has(
            snapshot,
            "workspace_id,snapshot_name,kind str; created_at float; entry_count,bytes_written int; deletable bool",
        );
    }
    let told = value(&payload);
    assert_eq!(told["snapshots"][0]["deletable"], false);
    assert_eq!(told["snapshots"][1]["deletable"], true);
    assert_eq!(told["snapshots"][1]["kind"], "named");
    let created = SnapshotCreatePayload::new(&record(), &all[1]);
    has(
        &created,
        "workspace_id str; snapshot object; execution_mode str",
    );
    assert_eq!(
        value(&SnapshotDeletePayload::new(&id(), "built")),
        json!({"workspace_id": "0123456789ab", "snapshot_name": "built", "deleted": true})
    );
}

#[test]
fn what_was_deleted_says_why() {
    assert_eq!(
        value(&WorkspaceDeletePayload::explicit(&id())),
        json!({"workspace_id": "0123456789ab", "deleted": true, "reason": "explicit_delete"})
    );
    assert_eq!(
        value(&WorkspaceDeletePayload::expired(&id()))["reason"],
        "expired"
    );
}
