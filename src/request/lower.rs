//! A checked tree into the typed request. Decides nothing: what could be wrong was told by `check`.

use super::model::{
    Action, Base, ChangedExpect, Command, Content, Delete, Diff, Environment, Exec, Expect, Export,
    Keep, List, MachineChoice, Missing, Move, Overwrite, PatchMatch, PatchStep, Point, Pull, Read,
    Request, Reset, Search, SecretSource, Signal, Snapshot, SnapshotName, Step, StepId, SyncStep,
    TextExpect, Workspace, Write, WriteFile,
};
use super::tree::{Node, Value};
use super::{
    Capture, CaptureSource, Combination, Cpus, Digest, Duration, GuestPath, Retry, Size, check_text,
};
use base64::Engine as _;
use std::collections::{BTreeMap, BTreeSet};

/// What every `expect` below relies on.
const CHECKED: &str = "the tree was held against the table";

/// The request that a checked tree says.
pub(crate) fn lower(tree: &Node) -> Request {
    Request {
        schema: text(tree, "$schema"),
        name: text(tree, "name"),
        description: text(tree, "description"),
        vars: texts_by_name(tree, "vars"),
        env: texts(tree, "env"),
        redact: texts_by_name(tree, "redact"),
        matrix: entries_of(tree, "matrix")
            .map(|(name, values)| (name.to_owned(), strings(values)))
            .collect(),
        combination: Combination::default(),
        left_out: BTreeSet::new(),
        existing: tree
            .get("workspace")
            .and_then(Node::as_text)
            .map(str::to_owned),
        workspace: match tree.get("workspace") {
            Some(node) if node.as_text().is_none() => workspace(node),
            Some(_) | None => Workspace::default(),
        },
        steps: tree
            .get("step")
            .map(Node::elements)
            .unwrap_or_default()
            .iter()
            .map(step)
            .collect(),
    }
}

fn workspace(node: &Node) -> Workspace {
    Workspace {
        environment: match node.get("environment").map(string) {
            None | Some("host") => Environment::Host,
            Some(other) => Environment::Dir(other.strip_prefix("dir:").expect(CHECKED).to_owned()),
        },
        machine: match node.get("machine").map(string) {
            Some("namespace") => MachineChoice::Namespace,
            Some(_) | None => MachineChoice::Auto,
        },
        seed: text(node, "seed"),
        exclude: texts(node, "exclude"),
        respect_gitignore: flag(node, "respect_gitignore").unwrap_or(false),
        name: text(node, "name"),
        labels: texts_by_name(node, "labels"),
        expose: texts(node, "expose"),
        secrets: entries_of(node, "secrets")
            .map(|(name, source)| {
                let source = SecretSource::parse(string(source)).expect(CHECKED);
                (name.to_owned(), source)
            })
            .collect(),
        cpus: node.get("cpus").map(|node| {
            let read = match node.as_text() {
                Some(text) => Cpus::parse(text),
                None => Cpus::whole(integer(node)),
            };
            read.expect(CHECKED)
        }),
        memory: size(node, "memory"),
        disk: size(node, "disk"),
        processes: number(node, "processes"),
        keep: match node.get("keep").map(string) {
            Some("always") => Keep::Always,
            Some("on-failure") => Keep::OnFailure,
            Some(_) | None => Keep::Never,
        },
        ttl: duration(node, "ttl"),
    }
}

fn step(node: &Node) -> Step {
    Step {
        id: node
            .get("id")
            .map(|id| StepId::parse(string(id)).expect(CHECKED)),
        action: action(node),
        expect: node.get("expect").map(expect).unwrap_or_default(),
        always: flag(node, "always").unwrap_or(false),
        interpolate: flag(node, "interpolate").unwrap_or(false),
        capture: entries_of(node, "capture")
            .map(|(name, node)| (name.to_owned(), capture(node)))
            .collect(),
        retry: node.get("retry").map(|retry| Retry {
            times: number(retry, "times").expect(CHECKED),
            every: duration(retry, "every"),
        }),
        late: BTreeMap::new(),
    }
}

fn capture(node: &Node) -> Capture {
    let (source, node) = CaptureSource::ALL
        .into_iter()
        .find_map(|source| Some((source, node.get(source.as_str())?)))
        .expect(CHECKED);
    Capture {
        source,
        regex: text(node, "regex").expect(CHECKED),
    }
}

fn action(node: &Node) -> Action {
    let (verb, value) = node
        .entries()
        .iter()
        .find(|entry| super::table::verb(&entry.key).is_some())
        .map(|entry| (entry.key.as_str(), &entry.node))
        .expect(CHECKED);
    match verb {
        "exec" => Action::Exec(exec(node, value)),
        "write" => Action::Write(Write {
            files: value
                .entries()
                .iter()
                .map(|entry| (path(&entry.key), write_file(&entry.node)))
                .collect(),
            base: entries_of(node, "base")
                .map(|(key, base)| (path(key), Base::parse(string(base)).expect(CHECKED)))
                .collect(),
        }),
        "patch" => Action::Patch(PatchStep {
            patch: content(value),
            matching: matching(node),
            base: entries_of(node, "base")
                .map(|(key, digest)| (path(key), Digest::parse(string(digest)).expect(CHECKED)))
                .collect(),
        }),
        "delete" => Action::Delete(Delete {
            paths: paths(value),
            missing: match node.get("missing").map(string) {
                Some("ignore") => Missing::Ignore,
                Some(_) | None => Missing::Error,
            },
        }),
        "move" => Action::Move(Move {
            from: path(string(value)),
            to: node.get("to").map(|to| path(string(to))).expect(CHECKED),
        }),
        "read" => Action::Read(Read {
            paths: paths(value),
            offset: number(node, "offset"),
            max_bytes: size(node, "max_bytes"),
        }),
        "list" => Action::List(List {
            path: path(string(value)),
            recursive: flag(node, "recursive").unwrap_or(false),
            max_entries: number(node, "max_entries"),
            after: node.get("after").map(path_or_bytes),
        }),
        "search" => Action::Search(Search {
            regex: string(value).to_owned(),
            paths: node.get("in").map(paths).unwrap_or_default(),
            include: texts(node, "include"),
            exclude: texts(node, "exclude"),
            max_matches: number(node, "max_matches"),
            max_bytes: size(node, "max_bytes"),
            after: node.get("after").map(path_or_bytes),
            after_line: number(node, "after_line"),
        }),
        "diff" => Action::Diff(Diff {
            against: Point::parse(string(value)).expect(CHECKED),
            exclude: texts(node, "exclude"),
        }),
        "sync" => Action::Sync(SyncStep {
            from: string(value).to_owned(),
            to: node
                .get("to")
                .map(|to| path(string(to)))
                .unwrap_or_default(),
            exclude: texts(node, "exclude"),
        }),
        "export" => Action::Export(Export {
            path: path(string(value)),
            to: text(node, "to").expect(CHECKED),
            overwrite: match flag(node, "overwrite") {
                Some(true) => Overwrite::Allow,
                Some(false) | None => Overwrite::Refuse,
            },
        }),
        "pull" => Action::Pull(Pull {
            to: string(value).to_owned(),
            exclude: texts(node, "exclude"),
            matching: matching(node),
            dry_run: flag(node, "dry_run").unwrap_or(false),
        }),
        "snapshot" => Action::Snapshot(Snapshot {
            name: SnapshotName::parse(string(value)).expect(CHECKED),
        }),
        "reset" => Action::Reset(Reset {
            to: Point::parse(string(value)).expect(CHECKED),
        }),
        other => unreachable!("the table has a verb that is never lowered: {other}"),
    }
}

fn matching(node: &Node) -> PatchMatch {
    match node.get("match").map(string) {
        Some("exact") => PatchMatch::Exact,
        Some(_) | None => PatchMatch::Unique,
    }
}

fn exec(node: &Node, value: &Node) -> Exec {
    Exec {
        command: match value.as_text() {
            Some(line) => Command::Shell(line.to_owned()),
            None => Command::Argv(strings(value)),
        },
        cwd: text(node, "cwd"),
        env: texts_by_name(node, "env"),
        secrets: match node.get("secrets") {
            Some(names) if matches!(names.value, Value::List(_)) => strings(names)
                .into_iter()
                .map(|name| (name.clone(), name))
                .collect(),
            Some(_) | None => texts_by_name(node, "secrets"),
        },
        stdin: node.get("stdin").map(content),
        timeout: duration(node, "timeout"),
        max_output: size(node, "max_output"),
    }
}

fn write_file(node: &Node) -> WriteFile {
    let append = node.get("append");
    WriteFile {
        content: content(append.unwrap_or(node)),
        append: append.is_some(),
        mode: node
            .get("mode")
            .map(|mode| check_text::mode(string(mode)).expect(CHECKED)),
    }
}

fn content(node: &Node) -> Content {
    if let Some(text) = node.as_text() {
        Content::Text(text.to_owned())
    } else if let Some(text) = text(node, "text") {
        Content::Text(text)
    } else if let Some(from) = text(node, "from") {
        Content::From(from)
    } else {
        let base64 = text(node, "base64").expect(CHECKED);
        let decoded = base64::engine::general_purpose::STANDARD.decode(base64);
        Content::Bytes(decoded.expect(CHECKED))
    }
}

fn expect(node: &Node) -> Expect {
    Expect {
        exit: node.get("exit").map(|exit| {
            one_or_more(exit)
                .map(|code| i32::try_from(integer(code)).expect(CHECKED))
                .collect()
        }),
        stdout: node.get("stdout").map(text_expect),
        stderr: node.get("stderr").map(text_expect),
        content: node.get("content").map(text_expect),
        text: node.get("text").map(text_expect),
        duration_under: duration(node, "duration_under"),
        timed_out: flag(node, "timed_out"),
        signal: node
            .get("signal")
            .map(|signal| Signal::parse(string(signal)).expect(CHECKED)),
        changed: node.get("changed").map(changed),
        fails: flag(node, "fails").unwrap_or(false),
    }
}

fn changed(node: &Node) -> ChangedExpect {
    match flag(node, "none") {
        Some(nothing) => ChangedExpect::Nothing(nothing),
        None => ChangedExpect::Only(texts(node, "only")),
    }
}

fn text_expect(node: &Node) -> TextExpect {
    TextExpect {
        equals: node.get("equals").map(content),
        contains: node.get("contains").map(strings).unwrap_or_default(),
        matches: node.get("matches").map(strings).unwrap_or_default(),
        lines: number(node, "lines"),
        empty: flag(node, "empty"),
        golden: text(node, "golden"),
    }
}

/// The elements of a list, or the value itself.
fn one_or_more(node: &Node) -> impl Iterator<Item = &Node> {
    let one = (!matches!(node.value, Value::List(_))).then_some(node);
    node.elements().iter().chain(one)
}

fn string(node: &Node) -> &str {
    node.as_text().expect(CHECKED)
}

fn strings(node: &Node) -> Vec<String> {
    one_or_more(node)
        .map(|node| string(node).to_owned())
        .collect()
}

fn text(node: &Node, key: &str) -> Option<String> {
    node.get(key).map(|node| string(node).to_owned())
}

fn texts(node: &Node, key: &str) -> Vec<String> {
    node.get(key).map(strings).unwrap_or_default()
}

fn entries_of<'a>(node: &'a Node, key: &str) -> impl Iterator<Item = (&'a str, &'a Node)> {
    let entries = node.get(key).map(Node::entries).unwrap_or_default();
    entries
        .iter()
        .map(|entry| (entry.key.as_str(), &entry.node))
}

fn texts_by_name(node: &Node, key: &str) -> BTreeMap<String, String> {
    entries_of(node, key)
        .map(|(key, value)| (key.to_owned(), string(value).to_owned()))
        .collect()
}

fn path(text: &str) -> GuestPath {
    GuestPath::parse(text).expect(CHECKED)
}

fn path_or_bytes(node: &Node) -> GuestPath {
    match node.as_text() {
        Some(text) => path(text),
        None => {
            let base64 = text(node, "base64").expect(CHECKED);
            let decoded = base64::engine::general_purpose::STANDARD.decode(base64);
            GuestPath::parse(decoded.expect(CHECKED)).expect(CHECKED)
        }
    }
}

fn paths(node: &Node) -> Vec<GuestPath> {
    one_or_more(node).map(|node| path(string(node))).collect()
}

fn flag(node: &Node, key: &str) -> Option<bool> {
    match node.get(key)?.value {
        Value::Flag(flag) => Some(flag),
        Value::Null
        | Value::Integer(_)
        | Value::Float(_)
        | Value::Date(_)
        | Value::Text(_)
        | Value::List(_)
        | Value::Table(_) => None,
    }
}

fn integer(node: &Node) -> i64 {
    match node.value {
        Value::Integer(integer) => Some(integer),
        Value::Null
        | Value::Flag(_)
        | Value::Float(_)
        | Value::Date(_)
        | Value::Text(_)
        | Value::List(_)
        | Value::Table(_) => None,
    }
    .expect(CHECKED)
}

fn number(node: &Node, key: &str) -> Option<u64> {
    node.get(key)
        .map(|node| u64::try_from(integer(node)).expect(CHECKED))
}

fn duration(node: &Node, key: &str) -> Option<Duration> {
    node.get(key)
        .map(|node| Duration::parse(string(node)).expect(CHECKED))
}

fn size(node: &Node, key: &str) -> Option<Size> {
    node.get(key)
        .map(|node| Size::parse(string(node)).expect(CHECKED))
}
