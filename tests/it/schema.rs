//! The schemas say what the code says: both ways for requests, and for every plan and receipt that the fixtures make.

use crate::harness::root;
use jsonschema::Validator;
use pyro::request::{ErrorCode, ParseErrors, Syntax, parse};
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// What a schema cannot see: it looks at one value at a time, and knows no variables and no regular expressions.
const UNSEEN: [ErrorCode; 4] = [
    ErrorCode::DuplicateId,
    ErrorCode::DuplicateKey,
    ErrorCode::BadReference,
    ErrorCode::BadRegex,
];

/// What a schema sees by the spelling, but not where a variable stands in it, or where it is only too long or too much.
const SPELLED: [ErrorCode; 4] = [
    ErrorCode::BadPath,
    ErrorCode::BadDuration,
    ErrorCode::BadSize,
    ErrorCode::BadBase64,
];

fn kept(name: &str) -> Value {
    let path = root().join(format!("specs/schema/{name}.json"));
    let text = fs::read_to_string(&path).unwrap_or_default();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn validator(schema: &Value) -> Validator {
    jsonschema::draft7::meta::validate(schema).expect("a schema of draft-07");
    jsonschema::draft7::new(schema).expect("a schema that can be used")
}

/// The same schema with no room for what it does not name: readers ignore what they do not know, tests do not.
fn closed(mut schema: Value) -> Value {
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(fields) => {
                fields.values_mut().for_each(close);
                if fields.get("properties").is_some_and(Value::is_object) {
                    fields.insert("additionalProperties".to_owned(), false.into());
                }
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    close(&mut schema);
    schema
}

#[track_caller]
fn fits(validator: &Validator, value: &Value, name: &str, what: &str) {
    let wrong: Vec<_> = validator
        .iter_errors(value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect();
    assert!(
        wrong.is_empty(),
        "{what} does not fit specs/schema/{name}.json. If a field is new, describe it in specs/{}.md and in the \
         schema ({}), and write it anew with UPDATE_DOCS=1: {wrong:#?}",
        name.trim_end_matches('s'),
        match name {
            "plan" | "plans" => "src/plan/schema.rs",
            _ => "it follows the types of src/receipt",
        }
    );
}

/// Whether this is a request as the schema has it.
pub(crate) fn takes(document: &Value) -> bool {
    static REQUEST: OnceLock<Validator> = OnceLock::new();
    let validator = REQUEST.get_or_init(|| validator(&kept("request")));
    validator.is_valid(document)
}

/// Fails the test unless this is a plan as the schema has it.
#[track_caller]
pub(crate) fn is_plan(plan: &Value, what: &str) {
    static PLAN: OnceLock<Validator> = OnceLock::new();
    let validator = PLAN.get_or_init(|| validator(&closed(kept("plan"))));
    fits(validator, plan, "plan", what);
}

/// Fails the test unless these are plans as the schema has them.
#[track_caller]
pub(crate) fn are_plans(plans: &Value, what: &str) {
    static PLANS: OnceLock<Validator> = OnceLock::new();
    let validator = PLANS.get_or_init(|| validator(&closed(kept("plans"))));
    fits(validator, plans, "plans", what);
}

/// Fails the test unless this is a receipt as the schema has it.
#[track_caller]
pub(crate) fn is_receipt(receipt: &Value, what: &str) {
    static RECEIPT: OnceLock<Validator> = OnceLock::new();
    let validator = RECEIPT.get_or_init(|| validator(&closed(kept("receipt"))));
    fits(validator, receipt, "receipt", what);
}

/// Fails the test unless these are receipts as the schema has them.
#[track_caller]
pub(crate) fn are_receipts(receipts: &Value, what: &str) {
    static RECEIPTS: OnceLock<Validator> = OnceLock::new();
    let validator = RECEIPTS.get_or_init(|| validator(&closed(kept("receipts"))));
    fits(validator, receipts, "receipts", what);
}

/// Fails the test where something that a command printed is one of our documents, and not as its schema has it.
#[track_caller]
pub(crate) fn looked_at(printed: &Value) {
    let has = |name: &str| printed.get(name).is_some();
    let what = "what was printed";
    if has("runs") && has("format_version") {
        are_receipts(printed, what);
    } else if has("plans") {
        are_plans(printed, what);
    } else if has("plan_digest") {
        is_receipt(printed, what);
    } else if has("reach") {
        is_plan(printed, what);
    }
}

#[test]
fn schemas_are_up_to_date() {
    for (name, now) in [
        ("request", pyro::request::schema()),
        ("plan", pyro::plan::schema()),
        ("plans", pyro::plan::schema_of_several()),
    ] {
        let path = root().join(format!("specs/schema/{name}.json"));
        let now = format!("{now:#}\n");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &now).expect("the schema can be written");
        }
        let kept = fs::read_to_string(&path).unwrap_or_default();
        assert!(
            kept == now,
            "{} is not what the code says: run the test with UPDATE_DOCS=1 and look at the difference",
            path.display()
        );
    }
}

#[test]
fn schemas_are_whole_and_stand_alone() {
    fn look(schema: &Value, at: &str, wrong: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                if let Some(target) = fields.get("$ref").and_then(Value::as_str)
                    && !target.starts_with("#/definitions/")
                {
                    wrong.push(format!("{at} refers to {target}"));
                }
                if let Some(Value::Object(properties)) = fields.get("properties") {
                    for (name, property) in properties {
                        let described = property["description"]
                            .as_str()
                            .is_some_and(|d| d.len() > 3);
                        if !described {
                            wrong.push(format!("{at}/{name} has no description"));
                        }
                    }
                }
                for (name, field) in fields {
                    look(field, &format!("{at}/{name}"), wrong);
                }
            }
            Value::Array(items) => items.iter().for_each(|item| look(item, at, wrong)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let mut wrong = Vec::new();
    for name in ["request", "plan", "plans", "receipt", "receipts"] {
        let schema = kept(name);
        assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
        validator(&schema);
        look(&schema, name, &mut wrong);
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_plan_is_described_whole() {
    fn names(schema: &Value, found: &mut Vec<String>) {
        match schema {
            Value::Object(fields) => {
                if let Some(Value::Object(properties)) = fields.get("properties") {
                    found.extend(properties.keys().cloned());
                }
                fields.values().for_each(|field| names(field, found));
            }
            Value::Array(items) => items.iter().for_each(|item| names(item, found)),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
    let specification = fs::read_to_string(root().join("specs/plan.md")).expect("the plan");
    let mut found = Vec::new();
    names(&kept("plan"), &mut found);
    found
        .retain(|name| !name.ends_with("_base64") && !specification.contains(&format!("`{name}`")));
    assert!(found.is_empty(), "not in specs/plan.md: {found:?}");
}

/// The document as a schema sees it; nothing where it is no TOML or no JSON at all.
pub(crate) fn data(bytes: &[u8], syntax: Syntax) -> Option<Value> {
    fn of_toml(value: toml::Value) -> Value {
        match value {
            toml::Value::String(text) => text.into(),
            toml::Value::Integer(integer) => integer.into(),
            toml::Value::Boolean(flag) => flag.into(),
            toml::Value::Array(items) => items.into_iter().map(of_toml).collect(),
            toml::Value::Table(fields) => fields
                .into_iter()
                .map(|(key, value)| (key, of_toml(value)))
                .collect(),
            // A request has neither. JSON has no dates, and for a schema 1.0 is a whole number.
            toml::Value::Float(_) | toml::Value::Datetime(_) => json!(0.5),
        }
    }
    let text = std::str::from_utf8(bytes).ok()?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match syntax {
        Syntax::Toml => toml::from_str::<toml::Table>(text)
            .ok()
            .map(|table| of_toml(toml::Value::Table(table))),
        Syntax::Json => serde_json::from_str(text).ok(),
    }
}

/// Whether the schema must refuse what the checks refuse; `None` where it may or may not.
fn must_refuse(errors: &ParseErrors) -> Option<bool> {
    // How many combinations a matrix has, no schema counts.
    let countable = |error: &&pyro::request::ParseError| error.pointer.0 != "/matrix";
    let codes: Vec<_> = errors.iter().filter(countable).map(|e| e.code).collect();
    let seen = |code: &ErrorCode| !UNSEEN.contains(code) && !SPELLED.contains(code);
    if codes.iter().any(seen) {
        Some(true)
    } else if codes.iter().all(|code| UNSEEN.contains(code)) {
        Some(false)
    } else {
        None
    }
}

/// The documents of all fixtures and examples.
fn documents() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = ["fixtures", "examples", "specs/vectors"]
        .map(|folder| root().join(folder))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.expect("an entry").path();
            let name = path.file_name().and_then(|name| name.to_str());
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else if name
                .is_some_and(|name| name.ends_with(".pyro.toml") || name.ends_with(".pyro.json"))
            {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

// proves: D8
#[test]
fn the_schema_and_the_checks_agree_on_every_document() {
    let validator = validator(&kept("request"));
    let (mut taken, mut refused) = (0, 0);
    let mut wrong = Vec::new();
    for path in documents() {
        let bytes = fs::read(&path).expect("readable");
        let syntax = Syntax::of(&path.to_string_lossy()).expect("TOML or JSON");
        let Some(data) = data(&bytes, syntax) else {
            continue;
        };
        let wanted = match parse("request", &bytes, syntax) {
            Ok(_) => Some(false),
            Err(errors) => must_refuse(&errors),
        };
        let Some(wanted) = wanted else { continue };
        if wanted {
            refused += 1;
        } else {
            taken += 1;
        }
        if validator.is_valid(&data) == wanted {
            let why: Vec<_> = validator
                .iter_errors(&data)
                .map(|error| format!("{} {error}", error.instance_path()))
                .collect();
            wrong.push(format!("{}: {why:?}", shown(&path)));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(
        taken > 40 && refused > 20,
        "{taken} taken, {refused} refused"
    );
}

#[test]
fn what_is_wrong_with_a_step_is_told_of_its_verb() {
    let validator = validator(&kept("request"));
    let told = |step: Value| -> Vec<String> {
        let document = json!({ "pyro": 1, "step": [step] });
        let errors = validator.iter_errors(&document);
        errors
            .map(|error| format!("{} {error}", error.instance_path()))
            .collect()
    };
    assert_eq!(
        told(json!({ "exec": "make", "timout": "5s" })),
        ["/step/0 Additional properties are not allowed ('timout' was unexpected)"]
    );
    assert_eq!(
        told(json!({ "read": "a", "expect": { "fials": true } })),
        ["/step/0/expect Additional properties are not allowed ('fials' was unexpected)"]
    );
    let two = told(json!({ "exec": "make", "read": "a" }));
    assert_eq!(
        two,
        [
            "/step/0 Additional properties are not allowed ('read' was unexpected)",
            "/step/0 Additional properties are not allowed ('exec' was unexpected)",
        ]
    );
    assert_eq!(told(json!({ "id": "a" })).len(), 1);
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}
