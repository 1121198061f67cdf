//! How two receipts differ, without what differs in every run: times, ids, and where things were kept.

use super::Receipt;
use serde::Serialize;
use serde_json::{Map, Value};
use similar::{Algorithm, DiffOp, TextDiff, capture_diff_slices};
use std::collections::BTreeSet;

/// Fields that differ in every run, or only say where something is.
const IGNORED: [&str; 14] = [
    "run",
    "started_at",
    "ended_at",
    "duration_ms",
    "duration_us",
    "cpu_us",
    "max_rss_kib",
    "file",
    "number",
    "pointer",
    "path_base64",
    "format_version",
    // A prefix of the outputs, told with them.
    "truncated",
    "id",
];

/// One thing that differs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// The step, by its id or `#N` of the newer receipt (of the older, where the newer has none); null for the whole.
    pub step: Option<String>,
    /// What, as the fields that lead to it.
    pub field: Vec<String>,
    /// In the first receipt; null where it is not there.
    pub before: Value,
    /// In the second receipt; null where it is not there.
    pub after: Value,
    /// Of texts: what changed, line by line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// Everything in which two receipts differ: the whole first, then step by step, then what changed in the workspace.
///
/// Steps belong together by their id, and without one by verb and summary, in order.
pub fn compare(before: &Receipt, after: &Receipt) -> Vec<Difference> {
    let data = |receipt: &Receipt| {
        let value =
            serde_json::to_value(receipt).expect("a receipt holds nothing that JSON cannot");
        let Value::Object(mut fields) = value else {
            return (Map::new(), Vec::new(), Value::Null);
        };
        // The steps have them too.
        fields.remove("host_files");
        if let Some(Value::Array(words)) = fields.get_mut("isolation") {
            for word in words {
                *word = without_ids(word.as_str().unwrap_or_default()).into();
            }
        }
        let steps = match fields.remove("steps") {
            Some(Value::Array(steps)) => steps,
            Some(_) | None => Vec::new(),
        };
        let changes = fields.remove("changes").unwrap_or_default();
        (fields, steps, changes)
    };
    let (old, old_steps, old_changes) = data(before);
    let (new, new_steps, new_changes) = data(after);
    let mut found = Found::default();
    found.tables(&old, &new);
    for pair in pairs(&old_steps, &new_steps) {
        match pair {
            (Some(old), Some(new)) => {
                found.step = Some(label(new));
                found.value(old, new);
            }
            (old, new) => {
                found.step = new.or(old).map(label);
                let shown = |step: Option<&Value>| {
                    step.map(|step| {
                        let text = |key: &str| step[key].as_str().unwrap_or_default();
                        format!("{} {}", text("verb"), text("summary")).into()
                    })
                };
                found.add(
                    shown(old).unwrap_or(Value::Null),
                    shown(new).unwrap_or(Value::Null),
                );
            }
        }
    }
    found.step = None;
    found.at.push("changes".to_owned());
    found.value(&old_changes, &new_changes);
    found.differences
}

fn label(step: &Value) -> String {
    step["id"]
        .as_str()
        .map_or_else(|| format!("#{}", step["number"]), str::to_owned)
}

/// The steps of both, those that belong together side by side.
fn pairs<'a>(old: &'a [Value], new: &'a [Value]) -> Vec<(Option<&'a Value>, Option<&'a Value>)> {
    let key = |step: &Value| match step["id"].as_str() {
        Some(id) => format!("#{id}"),
        None => format!("{} {}", step["verb"], step["summary"]),
    };
    let old_keys: Vec<String> = old.iter().map(key).collect();
    let new_keys: Vec<String> = new.iter().map(key).collect();
    let mut pairs = Vec::new();
    for op in capture_diff_slices(Algorithm::Patience, &old_keys, &new_keys) {
        let (olds, news) = (&old[op.old_range()], &new[op.new_range()]);
        if matches!(op, DiffOp::Equal { .. }) {
            pairs.extend(
                olds.iter()
                    .zip(news)
                    .map(|(old, new)| (Some(old), Some(new))),
            );
        } else {
            pairs.extend(olds.iter().map(|old| (Some(old), None)));
            pairs.extend(news.iter().map(|new| (None, Some(new))));
        }
    }
    pairs
}

#[derive(Default)]
struct Found {
    step: Option<String>,
    at: Vec<String>,
    differences: Vec<Difference>,
}

impl Found {
    fn add(&mut self, before: Value, after: Value) {
        self.differences.push(Difference {
            step: self.step.clone(),
            field: self.at.clone(),
            before,
            after,
            diff: None,
        });
    }

    fn add_diff(&mut self, before: Value, after: Value, diff: String) {
        self.add(before, after);
        if let Some(last) = self.differences.last_mut() {
            last.diff = Some(diff);
        }
    }

    fn value(&mut self, old: &Value, new: &Value) {
        if old == new {
            return;
        }
        match (old, new) {
            (Value::Object(old), Value::Object(new)) => {
                if old.contains_key("sha256") && old.contains_key("head") {
                    self.output(old, new);
                } else if let (Some(Value::String(before)), Some(Value::String(after))) =
                    (old.get("text"), new.get("text"))
                {
                    self.text(before, after);
                } else {
                    self.tables(old, new);
                }
            }
            (Value::Array(old), Value::Array(new)) if by_path(old) && by_path(new) => {
                self.lists(old, new);
            }
            (Value::String(before), Value::String(after))
                if before.contains('\n') || after.contains('\n') =>
            {
                self.text(before, after);
            }
            _ => self.add(old.clone(), new.clone()),
        }
    }

    fn tables(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        for key in keys {
            if IGNORED.contains(&key.as_str()) {
                continue;
            }
            let null = Value::Null;
            let (old, new) = (old.get(key).unwrap_or(&null), new.get(key).unwrap_or(&null));
            self.at.push(key.clone());
            self.value(old, new);
            self.at.pop();
        }
    }

    /// Of an output: its size, and what of its beginning is another.
    fn output(&mut self, old: &Map<String, Value>, new: &Map<String, Value>) {
        let same = |key: &str| old.get(key) == new.get(key);
        if same("sha256") && same("bytes") {
            return;
        }
        let text = |output: &Map<String, Value>| {
            let mut text = String::new();
            for part in ["head", "tail"] {
                if let Some(part) = output.get(part) {
                    text.push_str(part["text"].as_str().unwrap_or_default());
                }
            }
            text
        };
        let bytes = |output: &Map<String, Value>| output.get("bytes").cloned().unwrap_or_default();
        self.at.push("bytes".to_owned());
        self.add_diff(bytes(old), bytes(new), unified(&text(old), &text(new)));
        self.at.pop();
    }

    fn text(&mut self, before: &str, after: &str) {
        if before == after {
            // Bytes that are no text are another.
            self.add(Value::Null, Value::Null);
        } else if before.contains('\n') || after.contains('\n') {
            self.add_diff(before.into(), after.into(), unified(before, after));
        } else {
            self.add(before.into(), after.into());
        }
    }

    /// Lists whose elements have a path.
    fn lists(&mut self, old: &[Value], new: &[Value]) {
        let paths: BTreeSet<String> = old.iter().chain(new).filter_map(path).collect();
        let at = |list: &[Value], wanted: &str| {
            let found = list
                .iter()
                .find(|value| path(value).as_deref() == Some(wanted));
            found.cloned().unwrap_or_default()
        };
        for path in paths {
            let (old, new) = (at(old, &path), at(new, &path));
            self.at.push(path);
            self.value(&old, &new);
            self.at.pop();
        }
    }
}

/// What a list's element is known by: its path (text, or text with its bytes), or its name.
fn path(value: &Value) -> Option<String> {
    let path = &value["path"];
    let text = path.as_str().or_else(|| path["text"].as_str());
    text.or_else(|| value["name"].as_str()).map(str::to_owned)
}

/// Text without the host's ids for the sandbox, which are others each time.
fn without_ids(text: &str) -> String {
    let mut out = String::new();
    for part in text.split_inclusive(|c: char| !c.is_ascii_digit()) {
        let digits = part.trim_end_matches(|c: char| !c.is_ascii_digit());
        if digits.len() >= 6 {
            out.push('N');
            out.push_str(&part[digits.len()..]);
        } else {
            out.push_str(part);
        }
    }
    out
}

fn by_path(list: &[Value]) -> bool {
    list.iter().all(|value| path(value).is_some())
}

fn unified(before: &str, after: &str) -> String {
    TextDiff::from_lines(before, after)
        .unified_diff()
        .context_radius(2)
        .to_string()
}

#[cfg(test)]
mod tests {
    use super::{compare, without_ids};
    use crate::receipt::{Outcome, Receipt};

    /// The one in the specification.
    fn receipt() -> Receipt {
        let specification = include_str!("../../specs/receipt.md");
        let (_, example) = specification.split_once("```json\n").expect("an example");
        let (example, _) = example.split_once("```").expect("it ends");
        serde_json::from_str(example).expect("a receipt")
    }

    #[test]
    fn ids_and_times_are_no_difference() {
        let before = receipt();
        let mut after = receipt();
        "0123456789ab".clone_into(&mut after.run);
        after.duration_ms += 1;
        "2026-11-23T00:00:00.000Z".clone_into(&mut after.started_at);
        for step in &mut after.steps {
            step.duration_ms += 1;
            if let Some(exec) = &mut step.exec {
                exec.cpu_us += 1;
                exec.max_rss_kib += 1;
            }
        }
        assert_eq!(compare(&before, &after), []);
        assert_eq!(
            without_ids("root is 1879310337 outside, 12 of them"),
            "root is N outside, 12 of them"
        );
    }

    #[test]
    fn what_differs_is_told_both_ways() {
        let before = receipt();
        let mut after = receipt();
        after.outcome = Outcome::Failed;
        after.steps.pop();
        after.changes.clear();
        let places = |found: Vec<super::Difference>| {
            let places = found
                .iter()
                .map(|one| (one.step.clone(), one.field.join("/")));
            places.collect::<Vec<_>>()
        };
        let there = places(compare(&before, &after));
        assert!(there.contains(&(None, "outcome".to_owned())));
        assert!(
            there.contains(&(None, "changes/hello.txt".to_owned())),
            "{there:?}"
        );
        assert!(there.iter().any(|(step, _)| step.is_some()));
        assert_eq!(there, places(compare(&after, &before)));
    }
}
