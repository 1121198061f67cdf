use super::super::{RegistryError, SnapshotKind, SnapshotRecord};
use super::{World, at, id, new};

fn kept(name: &str, when: u64) -> SnapshotRecord {
    SnapshotRecord::named(name.into(), at(when), 3, 30)
}

#[test]
fn the_baseline_comes_first_and_then_the_newest() {
    let world = World::new();
    let mut registry = world.registry();
    registry.insert(&new(1)).expect("registers");
    registry.insert(&new(2)).expect("registers");
    for (name, when) in [("one", 2_000_000), ("two", 2_000_000), ("three", 1_900_000)] {
        registry
            .add_snapshot(&id(1), &kept(name, when))
            .expect("keeps");
    }
    registry
        .add_snapshot(&id(2), &kept("one", 5))
        .expect("another workspace has its own");
    let all = registry.snapshots(&id(1)).expect("lists");
    let names: Vec<_> = all.iter().map(|snapshot| snapshot.name.as_str()).collect();
    assert_eq!(names, ["baseline", "three", "two", "one"]);
    let baseline = &all[0];
    assert_eq!(baseline.kind, SnapshotKind::Baseline);
    assert_eq!(
        (baseline.created_at, baseline.entry_count, baseline.bytes),
        (at(1_000_000), 7, 4000)
    );
    assert_eq!(all[3], kept("one", 2_000_000));
    assert_eq!(
        registry.snapshot(&id(1), "two").expect("is there"),
        kept("two", 2_000_000)
    );
    let record = registry.record(&id(1)).expect("is there");
    assert_eq!(record.last_activity_at, at(1_900_000));
    registry
        .remove_snapshot(&id(1), "two", at(3_000_000))
        .expect("forgets");
    assert_eq!(registry.snapshots(&id(1)).expect("lists").len(), 3);
    assert_eq!(
        registry.record(&id(1)).expect("is there").last_activity_at,
        at(3_000_000)
    );
}

#[test]
fn names_fit_the_pattern_and_are_unique() {
    let world = World::new();
    let mut registry = world.registry();
    registry.insert(&new(1)).expect("registers");
    for name in ["", "baseline", "a b", "../x", "a\n", "-a", &"a".repeat(65)] {
        let error = registry
            .add_snapshot(&id(1), &kept(name, 1))
            .expect_err("no name");
        assert!(
            matches!(error, RegistryError::SnapshotName { .. }),
            "{error}"
        );
    }
    registry
        .add_snapshot(&id(1), &kept("built", 1))
        .expect("keeps");
    let error = registry
        .add_snapshot(&id(1), &kept("built", 2))
        .expect_err("taken");
    assert!(
        matches!(error, RegistryError::SnapshotTaken { .. }),
        "{error}"
    );
    let none = |error: RegistryError| {
        assert!(matches!(error, RegistryError::NoSnapshot { .. }), "{error}");
        error.to_string()
    };
    let error = none(registry.snapshot(&id(1), "biult").expect_err("none"));
    assert_eq!(
        error,
        "find the snapshot \"biult\" of 000000000001 (did you mean `built`?)"
    );
    none(
        registry
            .remove_snapshot(&id(1), "baseline", at(3))
            .expect_err("stays"),
    );
    // What was refused is no activity.
    assert_eq!(
        registry.record(&id(1)).expect("is there").last_activity_at,
        at(1)
    );
    let gone = registry
        .add_snapshot(&id(2), &kept("built", 1))
        .expect_err("gone");
    assert!(matches!(gone, RegistryError::Gone(_)), "{gone}");
    let gone = registry.snapshots(&id(2)).expect_err("gone");
    assert!(matches!(gone, RegistryError::Gone(_)), "{gone}");
}
