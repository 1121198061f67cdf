use super::super::repair::migrate;
use super::super::schema::STEPS;
use super::World;
use crate::request::Digest;
use rusqlite::Connection;

/// Of each step, from the first. A registry that a step has made is never made again by another one.
const RELEASED: [&str; 1] =
    ["sha256:c9648b3ba707f066f11189ea66715ba62ebc20befb1e1576e4dd2ea81d66e0eb"];

#[test]
fn steps_are_added_and_never_changed() {
    let steps: Vec<_> = STEPS
        .iter()
        .map(|step| Digest::of(step.as_bytes()).to_string())
        .collect();
    assert_eq!(steps, RELEASED);
}

#[test]
fn an_older_registry_takes_the_steps_that_it_lacks_or_none() {
    let world = World::new();
    let path = world.base.path().join("old.sqlite");
    let mut db = Connection::open(&path).expect("opens");
    let steps = [
        "CREATE TABLE a (x); INSERT INTO a VALUES (1)",
        "ALTER TABLE a ADD COLUMN y; UPDATE a SET y = x + 1",
        "CREATE TABLE b (z); INSERT INTO b SELECT y FROM a",
    ];
    let version = |db: &Connection| -> usize {
        let version = db.query_one("PRAGMA user_version", (), |row| row.get(0));
        version.expect("has one")
    };
    migrate(&mut db, &steps[..1], 0, &[]).expect("makes it");
    assert_eq!(version(&db), 1);
    let broken = [steps[0], steps[1], "CREATE TABLE a (twice)"];
    migrate(&mut db, &broken, 1, &[]).expect_err("the last step fails");
    assert_eq!(version(&db), 1);
    let columns = "SELECT count(*) FROM pragma_table_info('a')";
    let columns: u64 = db.query_one(columns, (), |row| row.get(0)).expect("counts");
    assert_eq!(columns, 1, "the step before it was taken back");
    migrate(&mut db, &steps, 1, &[]).expect("brings it to today");
    assert_eq!(version(&db), 3);
    let z: u64 = db
        .query_one("SELECT z FROM b", (), |row| row.get(0))
        .expect("reads");
    assert_eq!(z, 2);
}
