//! Many processes on one registry. They are this test binary, started again to run [`worker`] alone.

use super::super::{Change, NameChange, Page, Registry, RegistryError};
use super::{World, at, ended, exec, id, named, new};
use rusqlite::Connection;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What tells this binary that it is a worker: its task, its number and the state directory, on a line each.
const TASK: &str = "PYRO_TEST_REGISTRY_TASK";
/// How many work at once.
const WORKERS: u64 = 10;
/// What each of them does so often.
const ROUNDS: u64 = 120;
/// The workspace that all of them use.
const SHARED: u64 = 0xffff;

fn start(world: &World, task: &str, number: u64) -> Child {
    let task = format!("{task}\n{number}\n{}", world.base.path().display());
    let module = module_path!().trim_start_matches("pyro::");
    Command::new(std::env::current_exe().expect("this binary"))
        .args([&format!("{module}::worker"), "--exact", "--nocapture"])
        .env(TASK, task)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::inherit())
        .spawn()
        .expect("starts")
}

/// Lets all that were started begin at once.
fn go(world: &World) {
    fs::write(world.base.path().join("go"), "").expect("writes");
}

fn all_succeed(children: Vec<Child>) {
    for mut child in children {
        let status = child.wait().expect("ends");
        assert!(status.success(), "a worker failed: {status}");
    }
}

/// Does nothing unless another test started it.
#[test]
fn worker() {
    let Ok(task) = std::env::var(TASK) else {
        return;
    };
    let mut lines = task.lines();
    let mut next = || lines.next().expect("a line of the task");
    let (task, number, base) = (next(), next(), Path::new(next()));
    let number: u64 = number.parse().expect("a number");
    let go = base.join("go");
    while !go.exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    let state = crate::workspace::StateDir::open(Some(base)).expect("opens");
    let mut registry = Registry::open(&state).expect("opens");
    match task {
        "rounds" => {
            share(&mut registry);
            for round in 0..ROUNDS {
                work(&mut registry, number, round);
            }
        }
        "for ever" => {
            share(&mut registry);
            for round in 0.. {
                work(&mut registry, number, round);
            }
        }
        "look" => {
            registry.list().expect("lists");
            let moved = registry.rebuilt().and_then(|rebuilt| rebuilt.moved_to);
            let told = moved.map(|path| path.display().to_string());
            fs::write(
                base.join(format!("told-{number}")),
                told.unwrap_or_default(),
            )
            .expect("writes");
        }
        other => panic!("no such task: {other}"),
    }
}

fn share(registry: &mut Registry) {
    match registry.insert(&named(SHARED, "shared")) {
        Ok(_) | Err(RegistryError::Taken(_)) => {}
        Err(error) => panic!("{error}"),
    }
}

/// One round: a workspace of its own, a command and a label in the shared one.
fn work(registry: &mut Registry, number: u64, round: u64) {
    let mine = number << 32 | round;
    registry.insert(&new(mine)).expect("registers");
    let sequence = registry
        .begin(&id(SHARED), &exec("make", mine))
        .expect("begins");
    let code = i32::try_from(round).expect("few rounds");
    registry
        .end(&id(SHARED), sequence, &ended(mine, code))
        .expect("ends");
    let change = Change {
        labels: [(format!("p{number}"), round.to_string())].into(),
        ..Change::default()
    };
    registry
        .update(&id(SHARED), &change, at(mine))
        .expect("updates");
    let change = Change {
        name: NameChange::Set(format!("of {number}")),
        ..Change::default()
    };
    registry
        .update(&id(mine), &change, at(mine))
        .expect("updates");
}

fn sequences(registry: &mut Registry) -> Vec<u64> {
    let history = registry.history(&id(SHARED), Page::All).expect("reads");
    history.iter().map(|entry| entry.sequence).collect()
}

#[test]
fn ten_processes_lose_nothing() {
    let world = World::new();
    let mut workers: Vec<_> = (0..WORKERS)
        .map(|number| start(&world, "rounds", number))
        .collect();
    go(&world);
    // Meanwhile: whatever is read is whole.
    let mut registry = world.registry();
    let mut seen = 0;
    while workers
        .iter_mut()
        .any(|worker| worker.try_wait().expect("asks").is_none())
    {
        let so_far = sequences(&mut registry);
        let dense: Vec<_> = (1..).take(so_far.len()).collect();
        assert_eq!(so_far, dense);
        assert!(so_far.len() >= seen, "nothing goes away");
        seen = so_far.len();
        for found in registry.list().expect("lists") {
            let record = found.expect("is whole");
            assert!(record.command_count <= WORKERS * ROUNDS);
        }
    }
    all_succeed(workers);
    let history = registry.history(&id(SHARED), Page::All).expect("reads");
    let total = WORKERS * ROUNDS;
    assert_eq!(sequences(&mut registry), (1..=total).collect::<Vec<_>>());
    let runs: BTreeSet<_> = history.iter().map(|entry| entry.run.clone()).collect();
    assert_eq!(runs.len() as u64, total, "each began once");
    for entry in &history {
        let round = u64::from_str_radix(&entry.run, 16).expect("hex") & 0xffff_ffff;
        assert_eq!(
            entry.exit_code.map(i64::from),
            Some(round as i64),
            "{entry:?}"
        );
    }
    let shared = registry.find("shared").expect("is there");
    assert_eq!(shared.command_count, total);
    assert_eq!(shared.last_command.expect("a command").sequence, total);
    let last = (ROUNDS - 1).to_string();
    assert_eq!(shared.labels.len() as u64, WORKERS);
    assert!(
        shared.labels.values().all(|value| *value == last),
        "{:?}",
        shared.labels
    );
    let list = registry.list().expect("lists");
    let renamed = list.iter().flatten().filter(|record| {
        let name = record.name.as_deref().unwrap_or_default();
        name.starts_with("of ")
    });
    assert_eq!(
        (list.len() as u64, renamed.count() as u64),
        (total + 1, total)
    );
    is_sound(&world);
}

fn is_sound(world: &World) {
    let db = Connection::open(world.file()).expect("opens");
    let said: String = db
        .query_one("PRAGMA integrity_check", (), |row| row.get(0))
        .expect("checks");
    assert_eq!(said, "ok");
    let wrong = db.query_row("PRAGMA foreign_key_check", (), |_| Ok(()));
    assert!(wrong.is_err(), "a row without its workspace");
}

/// The kernel has what a killed process wrote, so this shows that every write is one step, at whatever moment.
#[test]
fn a_writer_that_is_killed_leaves_a_sound_registry() {
    let world = World::new();
    go(&world);
    let mut before = 0;
    for round in 0..16 {
        let first = start(&world, "for ever", 2 * round);
        let second = start(&world, "for ever", 2 * round + 1);
        // Some die while they start, the first of them while they make the registry, most while they write.
        std::thread::sleep(Duration::from_millis(round * 37 % 200));
        if round % 4 == 3 {
            let until = Instant::now() + Duration::from_secs(60);
            while sequences(&mut world.registry()).len() <= before && Instant::now() < until {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        for mut child in [first, second] {
            child.kill().expect("kills");
            child.wait().expect("ends");
        }
        let mut registry = world.registry();
        assert_eq!(registry.rebuilt(), None);
        let now = sequences(&mut registry);
        assert_eq!(now, (1..).take(now.len()).collect::<Vec<_>>());
        if round % 4 == 3 {
            assert!(now.len() > before, "somebody wrote");
        }
        before = now.len();
        // Each command that began is one that ended, or is one of the two that were cut off.
        let history = registry.history(&id(SHARED), Page::All).expect("reads");
        let open = history
            .iter()
            .filter(|entry| entry.ended_at.is_none())
            .count();
        assert!(open <= 2, "{open} in round {round}");
        if !history.is_empty() {
            let marked = registry
                .interrupted(&id(SHARED), |_| false, at(1))
                .expect("marks");
            assert_eq!(marked.len(), open);
        }
        for found in registry.list().expect("lists") {
            found.expect("is whole");
        }
        is_sound(&world);
    }
}

#[test]
fn of_many_that_see_the_damage_one_makes_the_registry_anew() {
    for round in 0..3 {
        let world = World::new();
        world.home(&id(1));
        world
            .registry()
            .insert(&named(1, "one"))
            .expect("registers");
        fs::write(world.file(), "no database, and nothing like one").expect("damages");
        fs::remove_file(world.base.path().join("registry.sqlite-wal")).expect("removes");
        let workers = (0..6).map(|number| start(&world, "look", number)).collect();
        go(&world);
        all_succeed(workers);
        let told: Vec<_> = (0..6)
            .map(|number| fs::read_to_string(world.base.path().join(format!("told-{number}"))))
            .map(|told| told.expect("was told"))
            .filter(|told| !told.is_empty())
            .collect();
        assert_eq!(told.len(), 1, "round {round}: {told:?}");
        let kept = fs::read_to_string(&told[0]).expect("is there");
        assert!(kept.starts_with("no database"));
        world.registry().find("one").expect("is there");
        is_sound(&world);
    }
}
