//! Holds a step against its verb: exactly one, and beside it only what belongs to it.

use super::check::{At, Checker};
use super::shape::{Key, Verb};
use super::table::{COMMON, VERBS, WORKSPACE, verb};
use super::tree::{Entry, Node, Value};
use super::{ErrorCode, Pointer};

impl Checker<'_> {
    pub(crate) fn step(&mut self, node: &Node, index: usize) {
        let mut at = At {
            pointer: Pointer::step(index),
            shown: String::new(),
            context: "a step".to_owned(),
        };
        if !matches!(node.value, Value::Table(_)) {
            let shown = format!("step[{index}]");
            self.wrong_type("a table", node, &At { shown, ..at }, None);
            return;
        }
        self.scope.here = Some(index);
        self.interpolate = matches!(
            node.get("interpolate").map(|node| &node.value),
            Some(Value::Flag(true))
        );
        let verbs = node
            .entries()
            .iter()
            .filter_map(|entry| verb(&entry.key).map(|verb| (verb, entry)))
            .collect::<Vec<_>>();
        self.verb = match verbs.as_slice() {
            [(verb, _)] => Some(verb),
            _ => None,
        };
        match verbs.as_slice() {
            [(verb, entry)] => {
                let name = verb.key.name;
                let article = if name.starts_with('e') { "an" } else { "a" };
                at.context = format!("{article} `{name}` step");
                self.value(&verb.key.shape, &entry.node, &at.key(name));
                let keys = verb.keys().collect::<Vec<_>>();
                self.keys(&keys, node, &at, &[name]);
            }
            [] => self.no_verb(node, &at),
            several => self.many_verbs(several, node, &at),
        }
        self.verb = None;
        self.scope.here = None;
    }

    fn no_verb(&mut self, node: &Node, at: &At) {
        let known = |entry: &&Entry| {
            COMMON
                .iter()
                .chain(VERBS.iter().flat_map(|verb| verb.siblings))
                .any(|key| key.name == entry.key)
        };
        let (known, unknown): (Vec<_>, Vec<_>) = node.entries().iter().partition(known);
        // A misspelt verb is one mistake, not two.
        for entry in &unknown {
            let valid = VERBS
                .iter()
                .map(|verb| verb.key.name)
                .chain(COMMON.iter().map(|key| key.name));
            self.unknown(valid, entry, at);
        }
        if unknown.is_empty() {
            let message = "this step has no verb".to_owned();
            self.wrong(ErrorCode::NoVerb, at, &node.span, message, |error| {
                error
                    .label("what does it do?")
                    .help("a step has exactly one verb, such as `exec = [\"ls\"]`")
                    .valid(VERBS.iter().map(|verb| verb.key.name))
            });
        }
        for entry in known {
            if let Some(key) = COMMON.iter().find(|key| key.name == entry.key) {
                self.value(&key.shape, &entry.node, &at.key(key.name));
            }
        }
    }

    fn many_verbs(&mut self, verbs: &[(&'static Verb, &Entry)], node: &Node, at: &At) {
        let names = verbs
            .iter()
            .map(|(verb, _)| format!("`{}`", verb.key.name))
            .collect::<Vec<_>>();
        let second = verbs[1].1;
        let message = format!(
            "a step has exactly one verb; this one has {}",
            names.join(" and ")
        );
        let here = at.key(&second.key);
        self.wrong(
            ErrorCode::TwoVerbs,
            &here,
            &second.key_span,
            message,
            |error| {
                error
                    .label("another verb")
                    .help("make it a step of its own")
            },
        );
        let mut keys = COMMON.iter().collect::<Vec<_>>();
        for (verb, entry) in verbs {
            self.value(&verb.key.shape, &entry.node, &at.key(verb.key.name));
            keys.extend(verb.siblings);
        }
        keys.sort_by_key(|key| key.name);
        keys.dedup_by_key(|key| key.name);
        let skip = verbs
            .iter()
            .map(|(verb, _)| verb.key.name)
            .collect::<Vec<_>>();
        // What one of the verbs needs is not missed before it is clear which verb is meant.
        keys.retain(|key| !key.required || node.get(key.name).is_some());
        self.keys(&keys, node, at, &skip);
    }

    /// Where a key that is unknown here would be right: label and help.
    pub(crate) fn elsewhere(&self, key: &str, at: &At) -> Option<(String, String)> {
        let known = |keys: &[Key]| keys.iter().any(|known| known.name == key);
        let owners = |keys: fn(&Verb) -> &[Key]| {
            let owners = VERBS.iter().filter(|verb| known(keys(verb)));
            owners
                .map(|verb| format!("`{}`", verb.key.name))
                .collect::<Vec<_>>()
                .join(", ")
        };
        let belongs = |owners: &str, label: &str| {
            (!owners.is_empty()).then(|| (label.to_owned(), format!("`{key}` belongs to {owners}")))
        };
        if at.pointer.0.is_empty() && known(WORKSPACE.keys) {
            return belongs("`workspace`", &format!("did you mean `workspace.{key}`?"));
        }
        let verb = self.verb?;
        if at.shown == "expect" {
            return belongs(&owners(|verb| verb.expect), "not for this verb");
        }
        if !at.shown.is_empty() {
            return None;
        }
        if verb.expectations().any(|expected| expected.name == key) {
            return belongs("`expect`", &format!("did you mean `expect.{key}`?"));
        }
        belongs(&owners(|verb| verb.siblings), "not for this verb")
    }
}
