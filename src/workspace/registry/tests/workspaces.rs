use super::super::{
    Change, Damaged, Entry, ErrorNote, FindError, LabelError, NameChange, Record, Registry,
    RegistryError, SecretRecord, State, StateDetails,
};
use super::{World, at, ended, exec, id, named, new};
use rusqlite::Connection;
use std::os::unix::fs::PermissionsExt as _;

fn ids(registry: &mut Registry) -> Vec<String> {
    let list = registry.list().expect("lists");
    list.into_iter()
        .map(|found| match found {
            Ok(record) => record.id.to_string(),
            Err(Damaged { id, why }) => format!("{id}: {why}"),
        })
        .collect()
}

#[test]
fn a_workspace_is_registered_found_and_forgotten() {
    let world = World::new();
    let mut registry = world.registry();
    let mut one = named(1, "repro-fix");
    one.labels.insert("issue".into(), "123".into());
    one.labels.insert("area".into(), "parser".into());
    one.secrets.push(SecretRecord {
        name: "TOKEN".into(),
        source_kind: "file".into(),
    });
    let made = registry.insert(&one).expect("registers");
    assert_eq!(made.state, State::Creating);
    assert_eq!(made.expires_at(), at(1_060_000));
    assert_eq!(made.labels.keys().collect::<Vec<_>>(), ["area", "issue"]);
    for given in ["repro-fix", "000000000001"] {
        assert_eq!(registry.find(given).expect("is there"), made);
    }
    // Another process sees the same.
    assert_eq!(world.registry().record(&one.id).expect("is there"), made);
    assert_eq!(
        registry.creating_request(&one.id).expect("is there"),
        one.request
    );
    let taken = registry.insert(&one).expect_err("taken");
    assert!(matches!(taken, RegistryError::Taken(_)), "{taken}");
    registry.remove(&one.id).expect("forgets");
    registry.remove(&one.id).expect("nothing there is fine");
    assert_eq!(ids(&mut registry), [""; 0]);
    let gone = registry.touch(&one.id, at(2)).expect_err("gone");
    assert!(matches!(gone, RegistryError::Gone(_)), "{gone}");
}

#[test]
fn nobody_else_may_read_it() {
    let world = World::new();
    drop(world.registry());
    let mode = |end: &str| {
        let path = format!("{}{end}", world.file().display());
        std::fs::metadata(path)
            .expect("is there")
            .permissions()
            .mode()
            & 0o777
    };
    assert_eq!(mode(""), 0o600);
    assert_eq!(mode("-wal"), 0o600);
    std::fs::set_permissions(world.file(), std::fs::Permissions::from_mode(0o644)).expect("opens");
    drop(world.registry());
    assert_eq!(mode(""), 0o600);
}

#[test]
fn a_name_that_several_bear_names_them() {
    let world = World::new();
    let mut registry = world.registry();
    for number in 1..=3 {
        registry.insert(&named(number, "twin")).expect("registers");
    }
    registry.touch(&id(2), at(2_000_000)).expect("touches");
    let error = registry.find("twin").expect_err("three");
    let FindError::Ambiguous { given, ids } = &error else {
        panic!("{error}");
    };
    assert_eq!(
        (given.as_str(), ids.as_slice()),
        ("twin", &[id(2), id(1), id(3)][..])
    );
    assert_eq!(
        error.to_string(),
        "tell which workspace `twin` is: 3 bear that name (use an id: 000000000002, 000000000001, 000000000003)"
    );
}

#[test]
fn what_is_not_there_names_what_comes_close() {
    let world = World::new();
    let mut registry = world.registry();
    registry
        .insert(&named(0xabcd_0000_0001, "repro-fix"))
        .expect("registers");
    registry.insert(&new(0xabcd_0000_0002)).expect("registers");
    for (given, told) in [
        (
            "repro-fxi",
            "find the workspace \"repro-fxi\" (did you mean `repro-fix`?)",
        ),
        (
            "abcd0000",
            "find the workspace \"abcd0000\" (did you mean `abcd00000001` or `abcd00000002`?)",
        ),
        (
            "ABCD00000002",
            "find the workspace \"ABCD00000002\" (did you mean `abcd00000002`?)",
        ),
        ("feedfeedfeed", "find the workspace \"feedfeedfeed\""),
        ("../../victim", "find the workspace \"../../victim\""),
        ("two\nlines", "find the workspace \"two\\nlines\""),
        ("%", "find the workspace \"%\""),
        ("", "find the workspace \"\""),
    ] {
        let error = registry.find(given).expect_err("not there");
        assert_eq!(error.to_string(), told);
    }
}

#[test]
fn the_list_begins_with_what_was_used_last() {
    let world = World::new();
    let mut registry = world.registry();
    for number in [3, 1, 2] {
        registry.insert(&new(number)).expect("registers");
    }
    let mut later = new(9);
    later.created_at = at(1_000_001);
    registry.insert(&later).expect("registers");
    registry.touch(&id(2), at(5_000_000)).expect("touches");
    registry.touch(&id(3), at(1_000_001)).expect("touches");
    let in_order = [
        "000000000002",
        "000000000009",
        "000000000003",
        "000000000001",
    ];
    assert_eq!(ids(&mut registry), in_order);
    // Looking is no activity.
    registry.find("000000000001").expect("is there");
    assert_eq!(ids(&mut registry), in_order);
}

#[test]
fn one_damaged_row_blocks_no_other() {
    let world = World::new();
    let mut registry = world.registry();
    for number in 1..=3 {
        registry
            .insert(&named(number, &format!("w-{number}")))
            .expect("registers");
    }
    let breaks = Connection::open(world.file()).expect("opens");
    breaks
        .execute_batch(
            "UPDATE workspace SET labels = '{\"a\":' WHERE id = '000000000002';
             UPDATE workspace SET state = 'dreaming' WHERE id = '000000000003';
             INSERT INTO workspace (id, name, labels, environment, seed_mode, seed_entries, seed_bytes, vcpu_count,
                mem_mib, ttl_ms, network_policy, execution_mode, secrets, created_at, last_activity_at, state, request)
             VALUES ('../../victim', NULL, '{}', '', 'empty', 0, 0, -1, 1, 1, '', '', '[]', 1, 1, 'stopped', '')",
        )
        .expect("breaks");
    let listed = ids(&mut registry);
    assert_eq!(listed[0], "000000000001");
    assert!(
        listed[1].starts_with("000000000002: labels: EOF"),
        "{listed:?}"
    );
    assert_eq!(listed[2], "000000000003: state: `dreaming` is not known");
    assert!(listed[3].starts_with("../../victim: "), "{listed:?}");
    for given in ["w-2", "000000000002"] {
        let error = registry.find(given).expect_err("damaged");
        assert!(
            matches!(&error, FindError::Damaged(it) if it.id == "000000000002"),
            "{error}"
        );
    }
    registry.find("../../victim").expect_err("never an id");
    let error = registry
        .update(&id(2), &rename("x"), at(2))
        .expect_err("damaged");
    assert!(matches!(error, RegistryError::Unreadable(_)), "{error}");
    registry.remove(&id(2)).expect("can be removed");
    registry.find("w-1").expect("is as it was");
}

fn rename(name: &str) -> Change {
    Change {
        name: NameChange::Set(name.into()),
        ..Change::default()
    }
}

#[test]
fn updates_merge_clear_and_refuse_to_change_nothing() {
    let world = World::new();
    let mut registry = world.registry();
    registry.insert(&named(1, "old")).expect("registers");
    let mut update = |change: &Change| registry.update(&id(1), change, at(2_000_000));
    let labels = |all: &[(&str, &str)], clear: &[&str]| Change {
        labels: all
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect(),
        clear_labels: clear.iter().map(|key| (*key).into()).collect(),
        ..Change::default()
    };
    let changed = update(&rename(" new ")).expect("renames");
    assert_eq!(changed.name.as_deref(), Some(" new "));
    assert_eq!(
        (changed.created_at, changed.last_activity_at),
        (at(1_000_000), at(2_000_000))
    );
    update(&labels(&[("a", "1"), ("b", "2")], &[])).expect("sets");
    let changed = update(&labels(&[("b", "3")], &["a", "nothing"])).expect("merges");
    assert_eq!(
        changed.labels.into_iter().collect::<Vec<_>>(),
        [("b".into(), "3".into())]
    );
    let ttl = |ms| Change {
        ttl_ms: Some(ms),
        ..Change::default()
    };
    let changed = update(&ttl(120_000)).expect("extends");
    assert_eq!(changed.expires_at(), at(2_120_000));
    for nothing in [
        Change::default(),
        rename(" new "),
        labels(&[("b", "3")], &["nothing"]),
        labels(&[], &["nothing"]),
        ttl(120_000),
    ] {
        let error = update(&nothing).expect_err("no change");
        assert!(matches!(error, RegistryError::NoChange(_)), "{error}");
    }
    let error = update(&labels(&[("b", "4")], &["b"])).expect_err("both");
    assert!(
        matches!(
            error,
            RegistryError::Label(LabelError::SetAndCleared { .. })
        ),
        "{error}"
    );
    for (wrong, told) in [
        (
            rename("0123456789ab"),
            "call a workspace `0123456789ab`: 12 digits",
        ),
        (
            rename("two\nlines"),
            "call a workspace \"two\\nlines\": a name is one line",
        ),
        (labels(&[("b c", "1")], &[]), "use \"b c\" as a label"),
        (ttl(1), "let a workspace live for 1ms"),
    ] {
        let error = update(&wrong).expect_err("refused").to_string();
        assert!(error.starts_with(told), "{error}");
    }
    let clear = Change {
        name: NameChange::Clear,
        ..Change::default()
    };
    assert_eq!(update(&clear).expect("clears").name, None);
    update(&clear).expect_err("has none");
    let error = registry.update(&id(7), &clear, at(3)).expect_err("gone");
    assert!(matches!(error, RegistryError::Gone(_)), "{error}");
}

#[test]
fn creation_keeps_the_same_rules() {
    let world = World::new();
    let mut registry = world.registry();
    let mut wrong = new(1);
    wrong.labels.insert("k".into(), "two\nlines".into());
    registry.insert(&wrong).expect_err("a bad label");
    registry
        .insert(&named(1, "0123456789ab"))
        .expect_err("a bad name");
    wrong = new(1);
    wrong.ttl_ms = u64::MAX;
    registry.insert(&wrong).expect_err("too long a life");
    assert_eq!(ids(&mut registry), [""; 0]);
}

#[test]
fn states_say_what_is_known_and_leave_the_rest() {
    let world = World::new();
    let mut registry = world.registry();
    registry.insert(&new(1)).expect("registers");
    let mut set = |state, details: StateDetails| -> Record {
        registry.set_state(&id(1), state, &details).expect("sets");
        registry.record(&id(1)).expect("is there")
    };
    let started = set(
        State::Started,
        StateDetails {
            boot_id: Some("boot-1".into()),
            activity: Some(at(1_500_000)),
            ..StateDetails::default()
        },
    );
    assert_eq!(
        (started.state, started.boot_id.as_deref()),
        (State::Started, Some("boot-1"))
    );
    assert_eq!(started.last_activity_at, at(1_500_000));
    let note = |last_error| StateDetails {
        last_error,
        ..StateDetails::default()
    };
    let lost = set(
        State::Stopped,
        note(ErrorNote::Set("its keeper died".into())),
    );
    assert_eq!(lost.last_error.as_deref(), Some("its keeper died"));
    assert_eq!(
        (lost.boot_id, lost.last_activity_at),
        (started.boot_id, at(1_500_000))
    );
    assert_eq!(lost.execution_mode, "namespace");
    let kept = set(State::Deleting, StateDetails::default());
    assert_eq!(kept.last_error.as_deref(), Some("its keeper died"));
    assert_eq!(set(State::Stopped, note(ErrorNote::Clear)).last_error, None);
    registry
        .set_last_error(&id(1), Some("disk full"))
        .expect("notes");
    let record = registry.record(&id(1)).expect("is there");
    assert_eq!(record.last_error.as_deref(), Some("disk full"));
}

#[test]
fn the_file_shrinks_when_a_workspace_goes() {
    let world = World::new();
    let mut registry = world.registry();
    registry.insert(&new(1)).expect("registers");
    let large = Entry {
        request: "x".repeat(1 << 20),
        ..exec("true", 5)
    };
    for _ in 0..4 {
        registry.begin(&id(1), &large).expect("begins");
    }
    let size = || {
        let db = Connection::open(world.file()).expect("opens");
        let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
        db.query_one(checkpoint, (), |_| Ok(()))
            .expect("writes back");
        std::fs::metadata(world.file()).expect("is there").len()
    };
    assert!(size() > 4 << 20);
    registry.remove(&id(1)).expect("forgets");
    assert!(size() < 1 << 18, "{}", size());
}

#[test]
fn what_a_workspace_did_goes_with_it() {
    let world = World::new();
    let mut registry = world.registry();
    for number in [1, 2] {
        registry.insert(&new(number)).expect("registers");
        let sequence = registry
            .begin(&id(number), &exec("true", 5))
            .expect("begins");
        registry
            .end(&id(number), sequence, &ended(6, 0))
            .expect("ends");
    }
    registry.remove(&id(1)).expect("forgets");
    let left = Connection::open(world.file()).expect("opens");
    let count = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        left.query_one(&sql, (), |row| row.get::<_, u64>(0))
            .expect("counts")
    };
    assert_eq!((count("workspace"), count("history")), (1, 1));
}
