use super::super::{Ended, Entry, INTERRUPTED, MAX_OUTPUT, Output, Page, RegistryError};
use super::{World, at, ended, exec, id, new};
use std::cell::RefCell;

fn verb(kind: &str, began: u64) -> Entry {
    Entry {
        kind: kind.into(),
        command: None,
        ..exec("", began)
    }
}

#[test]
fn commands_are_counted_and_the_last_one_is_told() {
    let world = World::new();
    let mut registry = world.registry();
    registry.insert(&new(1)).expect("registers");
    let mut first = || registry.begin(&id(1), &exec("make test", 1_100_000));
    assert_eq!(first().expect("begins"), 1);
    assert_eq!(first().expect("begins"), 2);
    assert_eq!(
        registry
            .begin(&id(1), &verb("patch", 1_200_000))
            .expect("begins"),
        3
    );
    let record = registry.record(&id(1)).expect("is there");
    assert_eq!((record.command_count, record.last_command), (0, None));
    assert_eq!(record.last_activity_at, at(1_200_000));
    registry.end(&id(1), 2, &ended(1_300_000, 2)).expect("ends");
    registry.end(&id(1), 3, &ended(1_300_001, 0)).expect("ends");
    let record = registry.record(&id(1)).expect("is there");
    let last = record.last_command.expect("a command");
    assert_eq!(
        (record.command_count, last.sequence, last.exit_code),
        (1, 2, Some(2))
    );
    assert_eq!(
        (last.command.as_str(), last.cwd.as_str()),
        ("make test", "/workspace")
    );
    assert_eq!(
        (last.duration_ms, last.execution_mode.as_str()),
        (Some(12), "namespace")
    );
    assert_eq!(record.last_activity_at, at(1_300_001));
    // The one that began first ends last, and is still not the last command.
    registry.end(&id(1), 1, &ended(1_400_000, 0)).expect("ends");
    let record = registry.record(&id(1)).expect("is there");
    assert_eq!(record.last_command.expect("a command").sequence, 2);
    let again = registry
        .end(&id(1), 1, &ended(1_400_000, 0))
        .expect_err("has ended");
    assert!(
        matches!(again, RegistryError::NoEntry { sequence: 1, .. }),
        "{again}"
    );
    let none = registry
        .end(&id(1), 9, &ended(1, 0))
        .expect_err("never began");
    assert!(
        matches!(none, RegistryError::NoEntry { sequence: 9, .. }),
        "{none}"
    );
    let gone = registry.end(&id(2), 1, &ended(1, 0)).expect_err("gone");
    assert!(matches!(gone, RegistryError::Gone(_)), "{gone}");
    let gone = registry.begin(&id(2), &exec("x", 1)).expect_err("gone");
    assert!(matches!(gone, RegistryError::Gone(_)), "{gone}");
    let all = registry.history(&id(1), Page::All).expect("reads");
    let kinds: Vec<_> = all
        .iter()
        .map(|entry| (entry.sequence, entry.kind.as_str()))
        .collect();
    assert_eq!(kinds, [(1, "exec"), (2, "exec"), (3, "patch")]);
    assert_eq!(all[1].outcome.as_deref(), Some("passed"));
    assert_eq!(all[1].receipt.as_deref(), Some("/state/receipts/x"));
    assert_eq!(
        (all[1].stdout.text.as_str(), all[1].stderr.text.as_str()),
        ("out\n", "")
    );
}

#[test]
fn looking_is_no_activity() {
    let world = World::new();
    let mut registry = world.registry();
    registry.insert(&new(1)).expect("registers");
    let look = Entry {
        is_activity: false,
        ..verb("diff", 2_000_000)
    };
    let sequence = registry.begin(&id(1), &look).expect("begins");
    registry
        .end(&id(1), sequence, &ended(2_000_001, 0))
        .expect("ends");
    assert_eq!(
        registry.record(&id(1)).expect("is there").last_activity_at,
        at(1_000_000)
    );
}

#[test]
fn a_command_that_ends_after_a_reset_belongs_to_what_was_before_it() {
    let world = World::new();
    let mut registry = world.registry();
    registry.insert(&new(1)).expect("registers");
    for _ in 0..2 {
        registry
            .begin(&id(1), &exec("sleep 1", 1_100_000))
            .expect("begins");
    }
    let resets = Ended {
        resets: 1,
        ..ended(1_200_000, 0)
    };
    registry.end(&id(1), 1, &resets).expect("ends");
    let reset = registry.record(&id(1)).expect("is there");
    assert_eq!(
        (reset.reset_count, reset.last_reset_at),
        (1, Some(at(1_200_000)))
    );
    assert_eq!(
        (reset.last_activity_at, reset.command_count),
        (at(1_200_000), 0)
    );
    registry.end(&id(1), 2, &ended(1_300_000, 0)).expect("ends");
    let record = registry.record(&id(1)).expect("is there");
    assert_eq!((record.command_count, record.last_command), (0, None));
    assert_eq!(registry.logs(&id(1), Page::All).expect("reads"), []);
    let next = registry
        .begin(&id(1), &exec("true", 1_400_000))
        .expect("begins");
    assert_eq!(next, 3);
    registry.end(&id(1), 3, &ended(1_400_001, 0)).expect("ends");
    let sequences = |entries: Vec<super::super::HistoryEntry>| -> Vec<_> {
        entries
            .iter()
            .map(|entry| (entry.sequence, entry.epoch))
            .collect()
    };
    let logs = registry.logs(&id(1), Page::All).expect("reads");
    assert_eq!(sequences(logs), [(3, 1)]);
    let history = registry.history(&id(1), Page::All).expect("reads");
    assert_eq!(sequences(history), [(1, 0), (2, 0), (3, 1)]);
    assert_eq!(registry.record(&id(1)).expect("is there").command_count, 1);
}

#[test]
fn what_never_ended_is_marked_once_its_run_is_dead() {
    let world = World::new();
    let mut registry = world.registry();
    registry.insert(&new(1)).expect("registers");
    for began in [1, 2, 3] {
        registry
            .begin(&id(1), &exec("sleep 9", began))
            .expect("begins");
    }
    registry.end(&id(1), 1, &ended(4, 0)).expect("ends");
    let asked = RefCell::new(Vec::new());
    let is_alive = |run: &str| {
        asked.borrow_mut().push(run.to_owned());
        run == "000000000003"
    };
    let marked = registry
        .interrupted(&id(1), is_alive, at(2_000_000))
        .expect("marks");
    assert_eq!(marked, [2]);
    assert_eq!(*asked.borrow(), ["000000000002", "000000000003"]);
    let entry = registry.entry(&id(1), 2).expect("reads").expect("is there");
    assert_eq!(entry.outcome.as_deref(), Some(INTERRUPTED));
    assert_eq!(
        (entry.ended_at, entry.exit_code),
        (Some(at(2_000_000)), None)
    );
    let record = registry.record(&id(1)).expect("is there");
    assert_eq!(record.command_count, 2);
    assert_eq!(record.last_command.expect("a command").exit_code, None);
    // Noticing is no activity.
    assert_eq!(record.last_activity_at, at(4));
    assert_eq!(
        registry
            .interrupted(&id(1), |_| true, at(3_000_000))
            .expect("marks"),
        [0; 0]
    );
    // It lived after all.
    registry.end(&id(1), 2, &ended(2_000_001, 7)).expect("ends");
    let entry = registry.entry(&id(1), 2).expect("reads").expect("is there");
    assert_eq!(
        (entry.outcome.as_deref(), entry.exit_code),
        (Some("passed"), Some(7))
    );
    registry.end(&id(1), 3, &ended(2_000_002, 0)).expect("ends");
    let nobody = registry.interrupted(&id(1), |_| panic!("nothing to ask"), at(4_000_000));
    assert_eq!(nobody.expect("marks"), [0; 0]);
    assert_eq!(registry.entry(&id(1), 9).expect("reads"), None);
}

#[test]
fn long_outputs_are_cut_between_characters() {
    let world = World::new();
    let mut registry = world.registry();
    registry.insert(&new(1)).expect("registers");
    let long = format!("a{}", "ü".repeat(MAX_OUTPUT));
    let output = |text: &str, truncated| Output {
        text: text.into(),
        truncated,
        file: Some("/state/receipts/x/stdout".into()),
    };
    let sequence = registry.begin(&id(1), &exec("x", 1)).expect("begins");
    let end = Ended {
        stdout: output(&long, false),
        stderr: output("short", true),
        ..ended(2, 0)
    };
    registry.end(&id(1), sequence, &end).expect("ends");
    let entry = registry
        .entry(&id(1), sequence)
        .expect("reads")
        .expect("is there");
    assert_eq!(entry.stdout.text, long[..MAX_OUTPUT - 1]);
    assert!(entry.stdout.truncated);
    assert_eq!(entry.stderr, end.stderr);
    let whole = Ended {
        stdout: output(&"x".repeat(MAX_OUTPUT), false),
        ..ended(2, 0)
    };
    let sequence = registry.begin(&id(1), &exec("x", 1)).expect("begins");
    registry.end(&id(1), sequence, &whole).expect("ends");
    let entry = registry
        .entry(&id(1), sequence)
        .expect("reads")
        .expect("is there");
    assert_eq!(entry.stdout, whole.stdout);
}

#[test]
fn pages_follow_on_one_another() {
    let world = World::new();
    let mut registry = world.registry();
    registry.insert(&new(1)).expect("registers");
    for n in 1..=7 {
        registry.begin(&id(1), &exec("true", n)).expect("begins");
        registry.end(&id(1), n, &ended(n, 0)).expect("ends");
    }
    let mut page = |page| -> Vec<u64> {
        let logs = registry.logs(&id(1), page).expect("reads");
        assert_eq!(registry.history(&id(1), page).expect("reads"), logs);
        logs.iter().map(|entry| entry.sequence).collect()
    };
    let after = |sequence, limit| Page::After { sequence, limit };
    assert_eq!(page(Page::All), [1, 2, 3, 4, 5, 6, 7]);
    assert_eq!(page(after(0, 3)), [1, 2, 3]);
    assert_eq!(page(after(3, 3)), [4, 5, 6]);
    assert_eq!(page(after(6, 3)), [7]);
    assert_eq!(page(after(7, 3)), [0; 0]);
    assert_eq!(page(Page::Last(2)), [6, 7]);
    assert_eq!(page(Page::Last(0)), [0; 0]);
}
