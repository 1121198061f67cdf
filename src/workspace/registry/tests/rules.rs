use super::super::{
    LabelError, MAX_TTL_MS, NameError, TtlError, WorkspaceId, validate_label, validate_name,
    validate_ttl,
};
use super::{World, named};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use std::cell::RefCell;

#[test]
fn names() {
    for name in [
        "a",
        "repro-fix",
        " lead and trail ",
        "Größe 1 / 2 = ½",
        "0123456789a",
        "0123456789abc",
        "0123456789aB",
        "日本",
        &"ü".repeat(120),
    ] {
        assert_eq!(validate_name(name), Ok(()), "{name:?}");
    }
    let given = |name: &str| name.to_owned();
    for name in ["", " ", "\u{a0}"] {
        let name = given(name);
        assert_eq!(validate_name(&name), Err(NameError::Blank { name }));
    }
    let chars = NameError::TooLong { chars: 121 };
    assert_eq!(validate_name(&"ü".repeat(121)), Err(chars));
    let name = given("0123456789ab");
    assert_eq!(validate_name(&name), Err(NameError::LooksLikeId { name }));
    for character in [
        '\n', '\0', '\r', '\t', '\u{1b}', '\u{7f}', '\u{85}', '\u{2028}',
    ] {
        let name = format!("two{character}lines");
        let wrong = NameError::Control {
            name: name.clone(),
            character,
        };
        assert_eq!(validate_name(&name), Err(wrong));
    }
}

#[test]
fn labels() {
    for (key, value) in [
        ("issue", "123"),
        ("0", " x "),
        ("a.b-c_D", "=="),
        ("k", &"é".repeat(120)),
    ] {
        assert_eq!(validate_label(key, value), Ok(()), "{key}");
    }
    for key in [
        "",
        ".a",
        "-a",
        "_a",
        "a b",
        "ä",
        "a=b",
        "a\n",
        &"a".repeat(65),
    ] {
        let key = key.to_owned();
        assert_eq!(validate_label(&key, "x"), Err(LabelError::Key { key }));
    }
    assert_eq!(validate_label(&"a".repeat(64), "x"), Ok(()));
    let key = || "k".to_owned();
    for value in ["", "  "] {
        let value = value.to_owned();
        let wrong = LabelError::Blank {
            key: key(),
            value: value.clone(),
        };
        assert_eq!(validate_label("k", &value), Err(wrong));
    }
    let wrong = LabelError::TooLong {
        key: key(),
        chars: 121,
    };
    assert_eq!(validate_label("k", &"x".repeat(121)), Err(wrong));
    let wrong = LabelError::Control {
        key: key(),
        character: '\n',
    };
    assert_eq!(validate_label("k", "a\nb"), Err(wrong));
}

#[test]
fn times_to_live() {
    for ms in [1000, 60_000, MAX_TTL_MS] {
        assert_eq!(validate_ttl(ms), Ok(()));
    }
    for ms in [0, 999, MAX_TTL_MS + 1, u64::MAX] {
        assert_eq!(validate_ttl(ms), Err(TtlError { ms }));
    }
}

#[test]
fn ids() {
    for wrong in [
        "",
        "0123456789a",
        "0123456789abc",
        "0123456789aB",
        "0123456789ag",
        "../../victim",
        "0123456789a\n",
        "０１２３",
    ] {
        assert_eq!(WorkspaceId::parse(wrong), None, "{wrong}");
    }
    let one = WorkspaceId::random().expect("random");
    assert_eq!(WorkspaceId::parse(one.as_str()), Some(one.clone()));
    assert_ne!(WorkspaceId::random().expect("random"), one);
    let read = serde_json::from_str::<WorkspaceId>;
    assert_eq!(
        read("\"0123456789ab\"").expect("an id").as_str(),
        "0123456789ab"
    );
    read("\"../../victim\"").expect_err("no id");
}

proptest! {
    #[test]
    fn no_control_character_is_ever_allowed(before in "\\PC{0,5}", control in "\\p{Cc}", after in "\\PC{0,5}") {
        let text = format!("{before}{control}{after}");
        prop_assert!(validate_name(&text).is_err());
        prop_assert!(validate_label("k", &text).is_err());
    }
}

/// Whatever is allowed is stored as it is, found by it, and on one line of a table.
#[test]
fn what_is_allowed_comes_back() {
    let world = World::new();
    let registry = RefCell::new(world.registry());
    let texts = ("\\PC{0,130}", "[a-zA-Z0-9._-]{0,66}", "\\PC{0,130}");
    let mut runner = TestRunner::default();
    let held = runner.run(&texts, |(name, key, value)| {
        let mut registry = registry.borrow_mut();
        let mut new = named(1, &name);
        new.labels.insert(key.clone(), value.clone());
        let allowed = validate_name(&name).is_ok() && validate_label(&key, &value).is_ok();
        prop_assert_eq!(registry.insert(&new).is_ok(), allowed);
        if allowed {
            let found = registry.find(&name).expect("is there");
            prop_assert_eq!(found.name.as_deref(), Some(&*name));
            prop_assert_eq!(found.labels.get(&key), Some(&value));
            prop_assert_eq!(name.lines().count(), 1);
            prop_assert!(!name.trim().is_empty() && name.chars().count() <= 120);
            registry.remove(&new.id).expect("forgets");
        }
        Ok(())
    });
    held.unwrap_or_else(|error| panic!("{error}"));
}
