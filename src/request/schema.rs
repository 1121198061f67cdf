//! The table of verbs as a JSON Schema (draft-07), for editors and for programs that write requests.
//!
//! It takes whatever the checks take, and refuses what they refuse for its shape or spelling. What needs more than one
//! value at a time, or a parser of its own, it cannot see: ids given twice, variables, regular expressions.

use super::Signal;
use super::shape::{Key, Kind, Place, Shape, Verb};
use super::table::{CAPTURE, CONTENT, FILE, REQUEST, RETRY, TEXT_EXPECT, VERBS, WORKSPACE};
use serde_json::{Map, Value, json};

/// Part of a path that is something: neither empty nor `.` nor `..`.
const PART: &str = r"(?:[^/.\u0000][^/\u0000]*|\.[^/.\u0000][^/\u0000]*|\.\.[^/\u0000]+)";

/// A number of processors as text: above 0, at most 8192, at most three digits after the point.
const CPUS: &str = concat!(
    r"^(?:(?:0{0,3}[1-9]|0{0,2}[1-9][0-9]|0?[1-9][0-9]{2}|[1-7][0-9]{3}|80[0-9]{2}|81[0-8][0-9]|819[01])",
    r"(?:\.[0-9]{1,3})?|8192(?:\.0{1,3})?|0{1,4}\.(?:[1-9][0-9]{0,2}|0[1-9][0-9]?|00[1-9]))$"
);

/// The JSON Schema of the request document.
pub fn schema() -> Value {
    let mut schema = place(&REQUEST);
    let mut definitions = Map::new();
    for (name, shared) in SHARED {
        definitions.insert(name.to_owned(), place(shared));
    }
    for verb in VERBS {
        let name = verb.key.name;
        definitions.insert(step_name(verb), step(verb));
        definitions.insert(expect_name(name), expect(verb));
    }
    definitions.insert("step".to_owned(), any_step());
    schema["$schema"] = "http://json-schema.org/draft-07/schema#".into();
    schema["title"] = "pyro request, version 1".into();
    schema["definitions"] = definitions.into();
    schema
}

/// The places that have a name of their own; any other stands where it is used.
const SHARED: [(&str, &Place); 6] = [
    ("workspace", &WORKSPACE),
    ("content", &CONTENT),
    ("file", &FILE),
    ("text_expect", &TEXT_EXPECT),
    ("capture", &CAPTURE),
    ("retry", &RETRY),
];

fn step_name(verb: &Verb) -> String {
    format!("step_{}", verb.key.name)
}

fn expect_name(verb: &str) -> String {
    format!("expect_{verb}")
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/definitions/{name}") })
}

/// A table with these keys and no other.
fn table<'a>(doc: &str, keys: impl Iterator<Item = &'a Key>, verb: Option<&Verb>) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for key in keys {
        properties.insert(key.name.to_owned(), property(key, verb));
        if key.required {
            required.push(Value::from(key.name));
        }
    }
    let mut table = json!({
        "type": "object",
        "description": doc,
        "properties": properties,
        "additionalProperties": false,
    });
    if !required.is_empty() {
        table["required"] = required.into();
    }
    table
}

fn place(place: &Place) -> Value {
    let mut table = table(place.doc, place.keys.iter(), None);
    if !place.one_of.is_empty() {
        let one = place.one_of.iter().map(|key| json!({ "required": [key] }));
        table["oneOf"] = one.collect();
    }
    table
}

fn step(verb: &'static Verb) -> Value {
    let keys = std::iter::once(&verb.key).chain(verb.keys());
    let mut step = table(verb.key.doc, keys, Some(verb));
    let mut required = vec![Value::from(verb.key.name)];
    if let Some(Value::Array(others)) = step.get("required") {
        required.extend(others.iter().cloned());
    }
    step["required"] = required.into();
    step
}

/// Exactly one verb. What is wrong is told by the schema of the verb that is there, and a second verb as a key too
/// many: `oneOf` would tell that none of all verbs fits.
fn any_step() -> Value {
    let there = |verb: &Verb| json!({ "required": [verb.key.name] });
    let some = VERBS.iter().map(there);
    let whole = VERBS.iter().map(|verb| reference(&step_name(verb)));
    let each = VERBS
        .iter()
        .map(|verb| json!({ "if": there(verb), "then": reference(&step_name(verb)) }));
    json!({
        "description": "A step: exactly one verb, and what belongs to it.",
        "$comment": "Editors that do not know `if` complete by what `anyOf` names; to be valid, a verb is enough there.",
        "type": "object",
        "anyOf": some.chain(whole).collect::<Vec<_>>(),
        "allOf": each.collect::<Vec<_>>(),
    })
}

fn expect(verb: &'static Verb) -> Value {
    let doc = format!("What must come of the `{}`.", verb.key.name);
    table(&doc, verb.expectations(), Some(verb))
}

/// A key's value, with what is said of it. What stands beside a `$ref` does not count, so that is wrapped.
fn property(key: &Key, verb: Option<&Verb>) -> Value {
    let doc = match key.default {
        None => key.doc.to_owned(),
        Some(default) => format!("{} Without it: {default}.", key.doc),
    };
    let mut schema = shape(&key.shape, verb);
    if schema.get("$ref").is_some() {
        schema = json!({ "allOf": [schema] });
    }
    schema["description"] = doc.into();
    schema
}

fn shape(shape: &Shape, verb: Option<&Verb>) -> Value {
    let list = |of: &Shape, least: usize| {
        let mut list = json!({ "type": "array", "items": self::shape(of, verb) });
        if least > 0 {
            list["minItems"] = least.into();
        }
        list
    };
    let map = |keys: Kind, of: &Shape| {
        let mut names = kind(keys);
        if let Some(names) = names.as_object_mut() {
            // A key is text anyway.
            names.remove("type");
        }
        let mut map = json!({ "type": "object", "additionalProperties": self::shape(of, verb) });
        if names != json!({}) {
            map["propertyNames"] = names;
        }
        map
    };
    match shape {
        Shape::Version => json!({ "type": "integer", "enum": [1] }),
        Shape::Text(of) => kind(*of),
        Shape::Flag => json!({ "type": "boolean" }),
        Shape::Number(from, i64::MAX) => json!({ "type": "integer", "minimum": from }),
        Shape::Number(from, to) => json!({ "type": "integer", "minimum": from, "maximum": to }),
        Shape::List(of) => list(of, 0),
        Shape::OneOrMore(of) => json!({ "anyOf": [self::shape(of, verb), list(of, 1)] }),
        Shape::Some(of) => list(of, 1),
        Shape::Map(keys, of) => map(*keys, of),
        Shape::SomeMap(keys, of) => {
            let mut map = map(*keys, of);
            map["minProperties"] = 1.into();
            map
        }
        Shape::Names(of) => json!({
            "anyOf": [list(&Shape::Text(*of), 0), map(*of, &Shape::Text(*of))],
        }),
        Shape::Table(of) => named(of),
        Shape::TextOr(of, place) => json!({ "anyOf": [kind(*of), named(place)] }),
        Shape::Command => json!({
            "anyOf": [
                kind(Kind::Argument),
                {
                    "type": "array",
                    "minItems": 1,
                    "items": [{ "type": "string", "pattern": r"^[^\u0000]+$" }],
                    "additionalItems": kind(Kind::Argument),
                },
            ],
        }),
        Shape::Cpus => json!({
            "anyOf": [
                { "type": "integer", "minimum": 1, "maximum": 8192 },
                {
                    "type": "string",
                    "pattern": CPUS,
                },
            ],
        }),
        Shape::Steps => json!({ "type": "array", "items": reference("step") }),
        Shape::Expect => match verb {
            Some(verb) => reference(&expect_name(verb.key.name)),
            None => json!({ "type": "object" }),
        },
    }
}

fn named(of: &'static Place) -> Value {
    let shared = SHARED.iter().find(|(_, shared)| std::ptr::eq(*shared, of));
    match shared {
        Some((name, _)) => reference(name),
        None => place(of),
    }
}

fn kind(kind: Kind) -> Value {
    let pattern = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let words = |words: Vec<String>| json!({ "type": "string", "enum": words });
    match kind {
        // Of these only a parser knows more: what a variable becomes, what a regular expression is.
        Kind::Prose | Kind::VarValue | Kind::Payload | Kind::Expected | Kind::Regex => {
            json!({ "type": "string" })
        }
        Kind::Argument => pattern(r"^[^\u0000]*$"),
        Kind::HostPath => pattern(r"^[^\u0000]+$"),
        Kind::Environment => pattern(r"^(?:host|dir:[^\u0000]+)$"),
        // Where variables count, the rest is known only with their values.
        Kind::Cwd => pattern(&format!(
            r"^(?:/[^\u0000]*|(?:{PART}|\.)(?:/(?:{PART}|\.)?)*|[^\u0000]*\$\{{[^\u0000]*)$"
        )),
        Kind::GuestPath => pattern(&format!(
            r"^(?:/workspace(?:/(?:{PART}|\.)?)*|(?:{PART}|\.)(?:/(?:{PART}|\.)?)*)$"
        )),
        Kind::GuestFile => pattern(&format!(
            r"^(?:/workspace/+)?(?:\./+)*{PART}(?:/(?:{PART}|\.)?)*$"
        )),
        Kind::Glob => json!({ "type": "string", "minLength": 1 }),
        Kind::Duration => pattern("^0*[1-9][0-9]*(?:ms|s|m|h|d)$"),
        Kind::Size => pattern("^0*[1-9][0-9]*(?:B|KiB|MiB|GiB)$"),
        Kind::Digest => pattern("^sha256:[0-9a-fA-F]{64}$"),
        Kind::Base => pattern("^(?:absent|sha256:[0-9a-fA-F]{64})$"),
        Kind::Mode => pattern("^0?[0-7]{3}$"),
        Kind::GuestFileBase64 => pattern(
            "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{4}|[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)$",
        ),
        Kind::Base64 => pattern("^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"),
        Kind::StepId | Kind::Point => pattern("^[a-z][a-z0-9_-]{0,63}$"),
        Kind::SnapshotName => pattern("^(?!baseline$)[a-z][a-z0-9_-]{0,63}$"),
        Kind::Signal => {
            let names = Signal::ALL.iter().map(|signal| signal.name.to_owned());
            let long = Signal::ALL
                .iter()
                .map(|signal| format!("SIG{}", signal.name));
            words(names.chain(long).collect())
        }
        Kind::ShortText => pattern(r"^[^\u0000-\u001f\u007f-\u009f]{1,120}$"),
        Kind::LabelKey => pattern("^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"),
        Kind::VarName => pattern("^[A-Za-z_][A-Za-z0-9_-]*$"),
        Kind::HostVariable => pattern("^[A-Za-z_][A-Za-z0-9_]*$"),
        Kind::EnvName => pattern(r"^[^=\u0000]+$"),
        Kind::SecretName => pattern("^[A-Za-z_][A-Za-z0-9_]{0,63}$"),
        Kind::SecretSource => pattern(r"^(?:env:[A-Za-z_][A-Za-z0-9_]*|file:[^\u0000]+)$"),
        Kind::Word(of) => words(of.iter().map(ToString::to_string).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::schema;
    use crate::request::shape::{Key, Shape};
    use crate::request::table::{CONTENT, FILE, REQUEST, TEXT_EXPECT, VERBS, WORKSPACE};
    use crate::request::{ErrorCode, Syntax, parse};
    use serde_json::{Value, json};

    /// Whether the schema cannot see this mistake, or only by the spelling.
    fn unseen(code: ErrorCode, document: &str) -> bool {
        let unseen = [
            ErrorCode::DuplicateId,
            ErrorCode::DuplicateKey,
            ErrorCode::BadReference,
            ErrorCode::BadRegex,
        ];
        // With a value in it; one that is too long; bits that no byte is made of.
        let by_spelling = [
            (ErrorCode::BadPath, &["${", "xxxx"][..]),
            (ErrorCode::BadBase64, &["aGl="]),
            (ErrorCode::BadDuration, &["99999"]),
            (ErrorCode::BadSize, &["99999"]),
        ];
        unseen.contains(&code)
            || by_spelling.iter().any(|(of, spelled)| {
                *of == code && spelled.iter().any(|part| document.contains(part))
            })
    }

    fn words() -> Vec<Value> {
        let texts = [
            "host",
            "dir:x",
            "dir:",
            "dir:${vars.a}",
            "env:",
            "env:A_1",
            "env:A-1",
            "file:",
            "file:x/y",
            "${vars.a}",
            "${vars.b}",
            "${HOME}",
            "auto",
            "namespace",
            "a/b",
            "./a",
            "a//b",
            "a/",
            "/",
            ".",
            "./",
            "..",
            "../a",
            "a/..",
            "a/../b",
            "...",
            "..a",
            ".a",
            "a/.",
            "/workspace",
            "/workspace/",
            "/workspace/a",
            "/workspace/..",
            "/workspace//./a",
            "/workspacex",
            "/etc",
            "5m",
            "0s",
            "007ms",
            "5",
            "5 m",
            "m",
            "99999999999999999999d",
            "1GiB",
            "0B",
            "1gb",
            "64KiB",
            "0755",
            "755",
            "4755",
            "0955",
            "07555",
            "sha256:0",
            "SIGTERM",
            "TERM",
            "SIGTREM",
            "baseline",
            "unique",
            "exact",
            "error",
            "ignore",
            "(",
            "[a-z]+",
            "",
            "\0",
            "a\0b",
            "id",
            "Id",
            "1id",
            "a b",
            "aGk=",
            "aGl=",
            "2",
            "1.5",
            "0.25",
            "0.0",
            ".5",
            "1.2345",
            "aGk",
            "aGk==",
            "a=b",
            "é",
            "\n",
            "a\nb",
            "always",
            "never",
            "on-failure",
        ];
        let mut words: Vec<Value> = texts.map(Value::from).to_vec();
        words.push(format!("sha256:{}", "aB".repeat(32)).into());
        words.push("x".repeat(256).into());
        words.extend([
            json!(null),
            json!(true),
            json!(-1),
            json!(0),
            json!(1),
            json!(7),
            json!(255),
            json!(256),
            json!(1_i64 << 40),
            json!(1.5),
            json!([]),
            json!({}),
        ]);
        for word in words.clone() {
            words.push(json!([word]));
        }
        words
    }

    /// The tables in which a value is tried, where its key takes a table.
    fn tables(shape: &Shape, word: &Value) -> Vec<Value> {
        let of = |keys: &[Key]| keys.iter().map(|key| json!({ key.name: word })).collect();
        match shape {
            Shape::Table(place) => of(place.keys),
            Shape::TextOr(_, place) => of(place.keys),
            Shape::Map(_, inner) | Shape::SomeMap(_, inner) => {
                let mut found = vec![json!({ "a": word })];
                if let Some(name) = word.as_str() {
                    found.push(json!({ name: "x" }));
                }
                let inner = tables(inner, word).into_iter();
                found.extend(inner.map(|value| json!({ "a": value })));
                found
            }
            Shape::Names(_) => {
                let mut found = vec![json!({ "a": word })];
                if let Some(name) = word.as_str() {
                    found.push(json!({ name: "x" }));
                }
                found
            }
            Shape::Expect
            | Shape::Version
            | Shape::Text(_)
            | Shape::Flag
            | Shape::Number(..)
            | Shape::List(_)
            | Shape::OneOrMore(_)
            | Shape::Some(_)
            | Shape::Command
            | Shape::Cpus
            | Shape::Steps => Vec::new(),
        }
    }

    /// A right value for each verb and each key that must be there.
    fn right(key: &str) -> Value {
        match key {
            "exec" => json!("true"),
            "write" => json!({ "a": "x" }),
            "delete" => json!(["a"]),
            "diff" | "reset" => json!("baseline"),
            _ => json!("a"),
        }
    }

    #[test]
    fn the_schema_takes_what_the_checks_take_and_refuses_what_they_refuse() {
        let validator = jsonschema::draft7::new(&schema()).expect("a schema");
        let (mut taken, mut refused, mut wrong) = (0, 0, Vec::new());
        let mut hold = |document: Value| {
            let text = document.to_string();
            let wanted = match parse("words", text.as_bytes(), Syntax::Json) {
                Ok(_) => true,
                Err(errors) if errors.iter().all(|error| unseen(error.code, &text)) => return,
                Err(_) => false,
            };
            match wanted {
                true => taken += 1,
                false => refused += 1,
            }
            if validator.is_valid(&document) != wanted && wrong.len() < 20 {
                let told = parse("words", text.as_bytes(), Syntax::Json);
                let told = told.err().map(|errors| errors.to_string());
                wrong.push(format!("{text}: {told:?}"));
            }
        };
        let vars = json!({ "a": "host", "b": "dir:x" });
        for word in words() {
            for key in REQUEST.keys.iter().filter(|key| key.name != "pyro") {
                for value in std::iter::once(word.clone()).chain(tables(&key.shape, &word)) {
                    hold(json!({ "pyro": 1, key.name: value }));
                }
            }
            hold(json!({ "pyro": word }));
            hold(word.clone());
            for key in WORKSPACE.keys {
                for value in std::iter::once(word.clone()).chain(tables(&key.shape, &word)) {
                    hold(json!({ "pyro": 1, "vars": vars, "workspace": { key.name: value } }));
                }
            }
            for verb in VERBS {
                let name = verb.key.name;
                let mut whole = json!({ name: right(name) });
                for key in verb.siblings.iter().filter(|key| key.required) {
                    whole[key.name] = right(key.name);
                }
                let mut with = |key: &Key, value: Value| {
                    let mut step = whole.clone();
                    step[key.name] = value;
                    hold(json!({ "pyro": 1, "vars": vars, "step": [step] }));
                };
                for key in std::iter::once(&verb.key).chain(verb.keys()) {
                    with(key, word.clone());
                    for value in tables(&key.shape, &word) {
                        with(key, value);
                    }
                }
                let expect = Key::new("expect", Shape::Expect, "");
                for key in verb.expectations() {
                    with(&expect, json!({ key.name: word }));
                    for value in tables(&key.shape, &word) {
                        with(&expect, json!({ key.name: value }));
                    }
                }
            }
        }
        // Tables of several keys, and of none.
        for place in [&CONTENT, &FILE, &TEXT_EXPECT] {
            for one in place.keys {
                for other in place.keys {
                    let both = json!({ one.name: "aGk=", other.name: "aGk=" });
                    hold(json!({ "pyro": 1, "step": [{ "exec": "true", "stdin": both }] }));
                    hold(json!({ "pyro": 1, "step": [{ "write": { "a": both } }] }));
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert!(
            taken > 1000 && refused > 10_000,
            "{taken} taken, {refused} refused"
        );
    }
}
