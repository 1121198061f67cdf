//! The rules of the registry, one after the other.

mod damage;
mod history;
mod lifetime;
mod processes;
mod rules;
mod schema;
mod snapshots;
mod workspaces;

use super::{
    Command, Ended, Entry, NewWorkspace, Output, Registry, Resources, SeedMode, SeedRecord,
    WorkspaceId,
};
use crate::workspace::{StateDir, Timestamp};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A state directory of its own.
struct World {
    base: tempfile::TempDir,
}

impl World {
    fn new() -> Self {
        let base = tempfile::tempdir().expect("a folder");
        Self { base }
    }

    fn state(&self) -> StateDir {
        StateDir::open(Some(self.base.path())).expect("opens")
    }

    fn registry(&self) -> Registry {
        Registry::open(&self.state()).expect("opens")
    }

    fn file(&self) -> PathBuf {
        self.base.path().join("registry.sqlite")
    }

    /// The folder that somebody makes for a workspace.
    fn home(&self, id: &WorkspaceId) -> PathBuf {
        let home = self.base.path().join("workspaces").join(id.as_str());
        std::fs::create_dir_all(&home).expect("makes");
        home
    }
}

fn at(millis: u64) -> Timestamp {
    Timestamp::from_millis(millis)
}

fn id(number: u64) -> WorkspaceId {
    WorkspaceId::parse(&format!("{number:012x}")).expect("an id")
}

fn new(number: u64) -> NewWorkspace {
    NewWorkspace {
        id: id(number),
        name: None,
        labels: BTreeMap::new(),
        environment: "host".into(),
        seed: SeedRecord {
            mode: SeedMode::Directory,
            path: Some("/home/me/repo".into()),
            entry_count: 7,
            bytes_written: 4000,
        },
        resources: Resources {
            vcpu_count: 2,
            mem_mib: 1024,
        },
        ttl_ms: 60_000,
        network_policy: "off".into(),
        execution_mode: "namespace".into(),
        secrets: Vec::new(),
        created_at: at(1_000_000),
        request: r#"{"pyro":1}"#.into(),
    }
}

fn named(number: u64, name: &str) -> NewWorkspace {
    NewWorkspace {
        name: Some(name.into()),
        ..new(number)
    }
}

fn exec(text: &str, began: u64) -> Entry {
    Entry {
        run: format!("{began:012x}"),
        kind: "exec".into(),
        request: r#"{"pyro":1}"#.into(),
        command: Some(Command {
            text: text.into(),
            cwd: "/workspace".into(),
        }),
        began_at: at(began),
        is_activity: true,
    }
}

/// A reset, as a command of its own.
fn reset(registry: &mut Registry, id: &WorkspaceId, when: u64) {
    let sequence = registry.begin(id, &exec("", when)).expect("begins");
    let ended = Ended {
        resets: 1,
        ..ended(when, 0)
    };
    registry.end(id, sequence, &ended).expect("ends");
}

fn ended(when: u64, exit_code: i32) -> Ended {
    Ended {
        ended_at: at(when),
        outcome: "passed".into(),
        exit_code: Some(exit_code),
        duration_ms: 12,
        stdout: Output {
            text: "out\n".into(),
            ..Output::default()
        },
        stderr: Output::default(),
        receipt: Some("/state/receipts/x".into()),
        resets: 0,
    }
}
