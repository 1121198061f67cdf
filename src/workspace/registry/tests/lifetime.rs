use super::super::{Committed, KEEP_EXPIRED_MS, Record, Registry, State, StateDetails};
use super::{World, at, id, new};

fn set(registry: &mut Registry, number: u64, state: State) {
    let details = StateDetails::default();
    registry
        .set_state(&id(number), state, &details)
        .expect("sets");
}

fn ids(found: Vec<Record>) -> Vec<super::WorkspaceId> {
    found.into_iter().map(|record| record.id).collect()
}

#[test]
fn time_counts_from_the_last_activity() {
    let world = World::new();
    let mut registry = world.registry();
    for number in 1..=4 {
        registry.insert(&new(number)).expect("registers");
    }
    set(&mut registry, 1, State::Started);
    set(&mut registry, 2, State::Started);
    set(&mut registry, 3, State::Stopped);
    registry.touch(&id(1), at(1_500_000)).expect("touches");
    let mut expired = |now| ids(registry.expired(at(now)).expect("looks"));
    assert_eq!(expired(1_059_999), []);
    assert_eq!(expired(1_060_000), [id(2)]);
    assert_eq!(expired(1_559_999), [id(2)]);
    assert_eq!(expired(1_560_000), [id(2), id(1)]);
    // Only what is stopped is ever deleted, and not before its files were kept for long enough.
    let mut prunable = |now| ids(registry.prunable(at(now)).expect("looks"));
    assert_eq!(prunable(KEEP_EXPIRED_MS), []);
    assert_eq!(prunable(KEEP_EXPIRED_MS + 1_059_999), []);
    assert_eq!(prunable(KEEP_EXPIRED_MS + 1_060_000), [id(3)]);
    set(&mut registry, 1, State::Stopped);
    let found = registry.prunable(at(u64::MAX)).expect("looks");
    assert_eq!(ids(found), [id(3), id(1)]);
}

#[test]
fn no_more_is_let_in_than_there_is_room_for() {
    let world = World::new();
    let mut registry = world.registry();
    let admit = |others: Committed| {
        if others.mem_mib + 1024 <= 2048 {
            Ok(())
        } else {
            Err(others)
        }
    };
    for number in 1..=2 {
        let made = registry.insert_if(&new(number), admit).expect("works");
        assert_eq!(made.expect("there is room").state, State::Creating);
    }
    let full = Committed {
        workspaces: 2,
        vcpu_count: 4,
        mem_mib: 2048,
        creating: 2,
        creating_bytes: 2 * new(1).seed.bytes_written,
    };
    let refused = registry.insert_if(&new(3), admit).expect("works");
    assert_eq!(refused, Err(full));
    assert_eq!(registry.list().expect("lists").len(), 2);
    set(&mut registry, 1, State::Stopped);
    let made = registry.insert_if(&new(3), admit).expect("works");
    made.expect("what is stopped takes no room");
    let start = |registry: &mut Registry, number| {
        let details = StateDetails::default();
        registry
            .start_if(&id(number), &details, admit)
            .expect("works")
    };
    assert_eq!(start(&mut registry, 1), Err(full));
    assert_eq!(
        registry.record(&id(1)).expect("is there").state,
        State::Stopped
    );
    // Its own room is not counted twice.
    assert_eq!(start(&mut registry, 2), Ok(()));
    let now = Committed {
        creating: 1,
        creating_bytes: full.creating_bytes / 2,
        ..full
    };
    assert_eq!(registry.committed().expect("counts"), now);
    let mut wrong = new(9);
    wrong.ttl_ms = 0;
    registry.insert_if(&wrong, admit).expect_err("a bad time");
}
