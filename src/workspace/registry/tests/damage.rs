use super::super::{Page, Registry, RegistryError, SnapshotRecord, State};
use super::{World, at, exec, id, named, new, reset};
use rusqlite::Connection;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

/// A state directory with two workspaces that have folders, and a third that has none.
fn world() -> World {
    let world = World::new();
    let mut registry = world.registry();
    world.home(&id(1));
    world.home(&id(2));
    let mut one = named(1, "one");
    one.labels.insert("issue".into(), "123".into());
    registry.insert(&one).expect("registers");
    registry.insert(&named(2, "two")).expect("registers");
    registry.insert(&new(3)).expect("registers");
    registry
        .begin(&id(1), &exec("true", 2_000_000))
        .expect("begins");
    let kept = SnapshotRecord::named("built".into(), at(2_000_000), 1, 10);
    registry.add_snapshot(&id(1), &kept).expect("keeps");
    reset(&mut registry, &id(2), 3_000_000);
    world
}

type Damage = Box<dyn FnOnce(Vec<u8>) -> Vec<u8>>;

/// Files that were moved aside, without their logs.
fn aside(world: &World) -> Vec<PathBuf> {
    let entries = fs::read_dir(world.base.path()).expect("reads");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let aside = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| {
            name.contains(".damaged-") && !name.ends_with("-wal") && !name.ends_with("-shm")
        })
    };
    paths.filter(aside).collect()
}

/// Damages the file itself, after all that is in its log was written back: what the log has is not damaged.
fn overwrite(world: &World, damage: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let db = Connection::open(world.file()).expect("opens");
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    db.query_one(checkpoint, (), |_| Ok(()))
        .expect("writes back");
    drop(db);
    let bytes = damage(fs::read(world.file()).expect("reads"));
    fs::write(world.file(), bytes).expect("damages");
}

/// What is left of [`world`] once its registry was made anew.
fn is_rebuilt(world: &World, registry: &mut Registry) {
    let one = registry.find("one").expect("is there");
    assert_eq!((&one.id, one.state), (&id(1), State::Stopped));
    assert_eq!(one.labels.get("issue").map(String::as_str), Some("123"));
    assert_eq!((one.created_at, one.command_count), (at(1_000_000), 0));
    let snapshots = registry.snapshots(&id(1)).expect("lists");
    assert_eq!(snapshots[1].name, "built");
    let two = registry.find("two").expect("is there");
    assert_eq!(
        (two.reset_count, two.last_reset_at),
        (1, Some(at(3_000_000)))
    );
    assert_eq!(registry.list().expect("lists").len(), 2);
    assert_eq!(
        registry.creating_request(&id(1)).expect("reads"),
        new(1).request
    );
    assert_eq!(registry.history(&id(1), Page::All).expect("reads"), []);
    registry.insert(&new(9)).expect("works");
    let mode = fs::metadata(world.file())
        .expect("is there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn damaged_files_are_moved_aside_and_made_anew() {
    let size = fs::metadata(world().file()).expect("is there").len();
    let garbage = |bytes: &[u8]| bytes.repeat(5000);
    let cut = |at: usize| {
        move |mut bytes: Vec<u8>| {
            bytes.truncate(at);
            bytes
        }
    };
    let half = usize::try_from(size / 2).expect("small");
    let damages: [(&str, Damage); 6] = [
        ("garbage", Box::new(move |_| garbage(b"no database "))),
        ("zeros", Box::new(move |_| garbage(b"\0"))),
        ("cut in its header", Box::new(cut(70))),
        ("cut in half", Box::new(cut(half))),
        ("cut after a page", Box::new(cut(4096))),
        (
            "overwritten after the header",
            Box::new(|mut bytes| {
                bytes[100..].fill(0x5a);
                bytes
            }),
        ),
    ];
    for (what, damage) in damages {
        let world = world();
        overwrite(&world, damage);
        let mut registry =
            Registry::open(&world.state()).unwrap_or_else(|error| panic!("{what}: {error}"));
        // Some damage is seen only where something is read.
        registry
            .list()
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        let rebuilt = registry
            .rebuilt()
            .unwrap_or_else(|| panic!("{what}: nothing was said"));
        assert_eq!(rebuilt.workspaces, [id(1), id(2)], "{what}");
        assert_eq!(
            rebuilt.moved_to.into_iter().collect::<Vec<_>>(),
            aside(&world),
            "{what}"
        );
        assert_eq!(registry.rebuilt(), None, "said once");
        is_rebuilt(&world, &mut registry);
        assert_eq!(world.registry().rebuilt(), None, "{what}");
    }
}

#[test]
fn an_empty_file_or_none_is_filled_from_what_is_there() {
    for empty in [true, false] {
        let world = world();
        fs::remove_file(world.file()).expect("removes");
        if empty {
            fs::write(world.file(), "").expect("writes");
        }
        let mut registry = world.registry();
        let rebuilt = registry.rebuilt().expect("says so");
        assert_eq!(
            (rebuilt.moved_to, rebuilt.workspaces),
            (None, vec![id(1), id(2)])
        );
        is_rebuilt(&world, &mut registry);
    }
    let world = World::new();
    assert_eq!(
        world.registry().rebuilt(),
        None,
        "a first one is nothing to tell"
    );
}

#[test]
fn what_was_done_before_the_damage_keeps_its_number() {
    let world = world();
    let receipts = world.home(&id(1)).join("history");
    for name in ["1", "41", "9", "notes", ".dead-99"] {
        fs::create_dir_all(receipts.join(name)).expect("makes");
    }
    for _ in 0..3 {
        world
            .registry()
            .begin(&id(2), &exec("true", 5))
            .expect("begins");
    }
    reset(&mut world.registry(), &id(2), 6);
    overwrite(&world, |_| b"no database".to_vec());
    let mut registry = world.registry();
    assert!(registry.rebuilt().is_some());
    // By the folders of receipts, and where there are none, by what was said when it was last described.
    for (number, sequence) in [(1, 42), (2, 6)] {
        let begun = registry.begin(&id(number), &exec("true", 7));
        assert_eq!(begun.expect("begins"), sequence);
    }
}

#[test]
fn damage_that_shows_later_is_seen_to_as_well_and_others_notice() {
    let world = world();
    let mut busy = world.registry();
    let mut other = world.registry();
    busy.list().expect("lists");
    overwrite(&world, |mut bytes| {
        bytes[4096..].fill(0x5a);
        bytes
    });
    // Both have the damaged file open; a page that one of them still has in memory changes nothing.
    let mut third = world.registry();
    third.list().expect("lists");
    let rebuilt = third.rebuilt().expect("says so");
    assert_eq!(rebuilt.workspaces, [id(1), id(2)]);
    busy.insert(&named(7, "seven"))
        .expect("goes to the new one");
    assert_eq!(busy.rebuilt(), None, "somebody else was told");
    assert_eq!(other.find("seven").expect("reads the new one").id, id(7));
    assert_eq!(aside(&world).len(), 1);
}

#[test]
fn nothing_is_written_to_a_registry_that_was_moved_aside() {
    let world = world();
    let mut open = world.registry();
    open.list().expect("lists");
    for end in ["", "-wal", "-shm"] {
        let from = format!("{}{end}", world.file().display());
        fs::rename(&from, format!("{from}.old")).expect("moves");
    }
    let mut other = world.registry();
    assert_eq!(other.rebuilt().expect("says so").workspaces, [id(1), id(2)]);
    open.insert(&named(7, "seven"))
        .expect("goes to the new one");
    assert_eq!(other.find("seven").expect("is there").id, id(7));
    other.insert(&named(8, "eight")).expect("registers");
    assert_eq!(open.find("eight").expect("is read there").id, id(8));
}

#[test]
fn a_workspace_whose_description_is_damaged_is_still_there() {
    let world = world();
    fs::write(world.home(&id(1)).join("about.json"), "{").expect("damages");
    // Somebody is still making the second, and died before the fourth was known.
    fs::write(world.home(&id(2)).join("making"), "").expect("writes");
    world.home(&id(4));
    fs::create_dir(world.base.path().join("workspaces/.dead-000000000005")).expect("makes");
    fs::write(world.base.path().join("workspaces/000000000006"), "").expect("writes");
    overwrite(&world, |_| b"no database".to_vec());
    let mut registry = world.registry();
    let rebuilt = registry.rebuilt().expect("says so");
    assert_eq!(rebuilt.workspaces, [id(1), id(2)]);
    let one = registry.record(&id(1)).expect("is there");
    assert_eq!((one.name, one.environment.as_str()), (None, "unknown"));
    assert!(one.last_error.expect("says why").contains("damaged"));
}

#[test]
fn a_description_that_cannot_be_hides_no_other() {
    let world = world();
    let file = world.home(&id(1)).join("about.json");
    let text = fs::read_to_string(&file).expect("reads");
    let ttl = "\"ttl_ms\":60000";
    assert!(text.contains(ttl), "{text}");
    let wrong = text.replace(ttl, "\"ttl_ms\":18446744073709551615");
    fs::write(&file, wrong).expect("damages");
    fs::create_dir_all(world.home(&id(1)).join("history/5")).expect("makes");
    fs::create_dir_all(world.home(&id(2)).join("history/18446744073709551615")).expect("makes");
    overwrite(&world, |_| b"no database".to_vec());
    let mut registry = world.registry();
    let rebuilt = registry.rebuilt().expect("says so");
    assert_eq!(rebuilt.workspaces, [id(1), id(2)]);
    let one = registry.record(&id(1)).expect("is there");
    assert_eq!((one.name, one.created_at), (None, at(1_000_000)));
    assert!(one.last_error.is_some());
    let two = registry.find("two").expect("is as it was");
    assert_eq!(two.last_error, None);
    for (number, sequence) in [(1, 6), (2, 2)] {
        let begun = registry.begin(&id(number), &exec("true", 7));
        assert_eq!(begun.expect("begins"), sequence);
    }
}

#[test]
fn what_is_no_file_is_left_alone() {
    let world = World::new();
    fs::create_dir(world.file()).expect("makes");
    let error = Registry::open(&world.state()).expect_err("a directory");
    assert!(matches!(error, RegistryError::NoFile { .. }), "{error}");
    fs::remove_dir(world.file()).expect("is still there");
    let elsewhere = world.base.path().join("elsewhere");
    fs::write(&elsewhere, "mine").expect("writes");
    std::os::unix::fs::symlink(&elsewhere, world.file()).expect("links");
    let error = Registry::open(&world.state()).expect_err("a link");
    assert!(matches!(error, RegistryError::NoFile { .. }), "{error}");
    assert_eq!(fs::read_to_string(&elsewhere).expect("reads"), "mine");
}

#[test]
fn a_newer_registry_and_a_foreign_database_are_refused() {
    let world = world();
    let db = Connection::open(world.file()).expect("opens");
    db.execute_batch("PRAGMA user_version = 7").expect("writes");
    let error = Registry::open(&world.state()).expect_err("newer");
    assert!(
        matches!(
            error,
            RegistryError::Newer {
                version: 7,
                known: 1,
                ..
            }
        ),
        "{error}"
    );
    let told = error.to_string();
    assert!(
        told.contains("registry.sqlite: it has version 7, and this pyro knows versions up to 1"),
        "{told}"
    );
    let count = "SELECT count(*) FROM workspace";
    let kept: u64 = db.query_one(count, (), |row| row.get(0)).expect("counts");
    assert_eq!((kept, aside(&world).len()), (3, 0), "it is as it was");

    let world = World::new();
    let db = Connection::open(world.file()).expect("opens");
    db.execute_batch("CREATE TABLE cookies (x)")
        .expect("writes");
    let error = Registry::open(&world.state()).expect_err("foreign");
    assert!(matches!(error, RegistryError::Foreign { .. }), "{error}");
}

#[test]
#[expect(clippy::print_stdout, reason = "a skipped test says why")]
fn a_read_only_file_can_be_read_and_says_why_it_is_not_written() {
    if rustix::process::geteuid().is_root() {
        println!("skipped: root may write to any file; run the tests as an ordinary user");
        return;
    }
    let world = world();
    fs::set_permissions(world.file(), fs::Permissions::from_mode(0o400)).expect("closes");
    let mut registry = world.registry();
    registry.find("one").expect("reads");
    let error = registry.touch(&id(1), at(9)).expect_err("read-only");
    assert!(matches!(error, RegistryError::ReadOnly { .. }), "{error}");
    fs::set_permissions(world.file(), fs::Permissions::from_mode(0o600)).expect("opens");
    world.registry().touch(&id(1), at(9)).expect("writes");
}
