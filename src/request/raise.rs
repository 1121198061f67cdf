//! The typed request back into the tree; the opposite of `lower`. Says nothing that holds anyway.

use super::model::{
    Action, ChangedExpect, Command, Content, Environment, Exec, Expect, Keep, MachineChoice,
    Missing, Overwrite, PatchMatch, Pull, Request, Search, Step, TextExpect, Workspace, WriteFile,
};
use super::tree::{Entry, Node, Value};
use super::{Capture, GuestPath, Retry};
use base64::Engine as _;
use std::fmt::Display;

/// A table under construction: keys are added in the order they are read.
struct Fields(Vec<Entry>);

impl Fields {
    fn add(&mut self, key: &str, node: Node) {
        self.0.push(Entry::built(key, node));
    }
    fn text(&mut self, key: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.add(key, Node::text(value.to_string()));
        }
    }
    /// A path, also one that is no text.
    fn path(&mut self, key: &str, path: Option<&GuestPath>) {
        let Some(path) = path else { return };
        match std::str::from_utf8(path.as_bytes()) {
            Ok(text) => self.text(key, Some(text)),
            Err(_) => {
                let mut table = Self(Vec::new());
                table.text("base64", Some(base64(path.as_bytes())));
                self.table(key, table);
            }
        }
    }
    fn integer(&mut self, key: &str, value: Option<u64>) {
        // The document has no larger number than this.
        let integer = |value| i64::try_from(value).unwrap_or(i64::MAX);
        if let Some(value) = value {
            self.add(key, Node::built(Value::Integer(integer(value))));
        }
    }
    fn flag(&mut self, key: &str, value: Option<bool>) {
        if let Some(value) = value {
            self.add(key, Node::built(Value::Flag(value)));
        }
    }
    fn list(&mut self, key: &str, texts: &[String]) {
        if !texts.is_empty() {
            self.add(key, Node::texts(texts));
        }
    }
    fn one_or_more(&mut self, key: &str, texts: &[String]) {
        match texts {
            [one] => self.text(key, Some(one)),
            texts => self.list(key, texts),
        }
    }
    fn map<K: ToString>(&mut self, key: &str, entries: impl Iterator<Item = (K, Node)>) {
        let entries = entries.map(|(key, node)| Entry::built(key.to_string(), node));
        let entries = entries.collect::<Vec<_>>();
        if !entries.is_empty() {
            self.add(key, Node::built(Value::Table(entries)));
        }
    }
    fn table(&mut self, key: &str, table: Self) {
        if !table.0.is_empty() {
            self.add(key, table.node());
        }
    }
    fn node(self) -> Node {
        Node::built(Value::Table(self.0))
    }
}

/// The key that names the schema.
pub(crate) const SCHEMA: &str = "$schema";

/// The tree that says `request`.
pub(crate) fn raise(request: &Request) -> Node {
    let Request {
        name,
        description,
        schema,
        vars,
        env,
        workspace,
        existing,
        matrix,
        combination: _,
        redact,
        steps,
        left_out: _,
    } = request;
    let mut fields = Fields(Vec::new());
    fields.text(SCHEMA, schema.as_ref());
    fields.integer("pyro", Some(1));
    fields.text("name", name.as_ref());
    fields.text("description", description.as_ref());
    fields.map(
        "vars",
        vars.iter().map(|(name, value)| (name, Node::text(value))),
    );
    fields.list("env", env);
    match existing {
        Some(name) => fields.text("workspace", Some(name)),
        None => fields.table("workspace", raise_workspace(workspace)),
    }
    fields.map(
        "matrix",
        matrix
            .iter()
            .map(|(name, values)| (name, Node::texts(values))),
    );
    fields.map(
        "redact",
        redact.iter().map(|(name, regex)| (name, Node::text(regex))),
    );
    if !steps.is_empty() {
        let steps = steps.iter().map(raise_step).collect();
        fields.add("step", Node::built(Value::List(steps)));
    }
    fields.node()
}

fn raise_workspace(workspace: &Workspace) -> Fields {
    let Workspace {
        environment,
        machine,
        seed,
        exclude,
        respect_gitignore,
        name,
        labels,
        expose,
        secrets,
        cpus,
        memory,
        disk,
        processes,
        keep,
        ttl,
    } = workspace;
    let mut fields = Fields(Vec::new());
    let environment = Some(environment).filter(|environment| **environment != Environment::Host);
    fields.text("environment", environment);
    fields.text(
        "machine",
        match machine {
            MachineChoice::Auto => None,
            MachineChoice::Namespace => Some("namespace"),
        },
    );
    fields.text("seed", seed.as_ref());
    fields.list("exclude", exclude);
    fields.flag("respect_gitignore", respect_gitignore.then_some(true));
    fields.text("name", name.as_ref());
    fields.map(
        "labels",
        labels.iter().map(|(key, value)| (key, Node::text(value))),
    );
    fields.list("expose", expose);
    fields.map(
        "secrets",
        secrets
            .iter()
            .map(|(name, source)| (name, Node::text(source.to_string()))),
    );
    match cpus.and_then(|cpus| cpus.as_whole()) {
        Some(whole) => fields.integer("cpus", Some(whole)),
        None => fields.text("cpus", *cpus),
    }
    fields.text("memory", *memory);
    fields.text("disk", *disk);
    fields.integer("processes", *processes);
    fields.text(
        "keep",
        match keep {
            Keep::Never => None,
            Keep::OnFailure | Keep::Always => Some(keep.as_str()),
        },
    );
    fields.text("ttl", *ttl);
    fields
}

fn raise_step(step: &Step) -> Node {
    let Step {
        id,
        action,
        expect,
        always,
        interpolate,
        capture,
        retry,
        late: _,
    } = step;
    let mut fields = Fields(Vec::new());
    fields.text("id", id.as_ref());
    raise_action(action, &mut fields);
    fields.flag("interpolate", interpolate.then_some(true));
    if let Some(Retry { times, every }) = retry {
        let mut retry = Fields(Vec::new());
        retry.integer("times", Some(*times));
        retry.text("every", *every);
        fields.table("retry", retry);
    }
    let captures = capture.iter().map(|(name, Capture { source, regex })| {
        let mut place = Fields(Vec::new());
        place.text("regex", Some(regex));
        let mut capture = Fields(Vec::new());
        capture.table(source.as_str(), place);
        (name, capture.node())
    });
    fields.map("capture", captures);
    fields.table("expect", raise_expect(expect));
    fields.flag("always", always.then_some(true));
    fields.node()
}

fn raise_action(action: &Action, fields: &mut Fields) {
    match action {
        Action::Exec(exec) => raise_exec(exec, fields),
        Action::Write(write) => {
            let files = write
                .files
                .iter()
                .map(|(path, file)| (path, raise_file(file)));
            fields.map("write", files);
            let base = write.base.iter();
            fields.map(
                "base",
                base.map(|(path, base)| (path, Node::text(base.to_string()))),
            );
        }
        Action::Patch(patch) => {
            fields.add("patch", raise_content(&patch.patch));
            fields.text("match", raise_matching(patch.matching));
            let base = patch.base.iter();
            fields.map(
                "base",
                base.map(|(path, digest)| (path, Node::text(digest.to_string()))),
            );
        }
        Action::Delete(delete) => {
            fields.add(
                "delete",
                Node::texts(delete.paths.iter().map(ToString::to_string)),
            );
            fields.text(
                "missing",
                match delete.missing {
                    Missing::Error => None,
                    Missing::Ignore => Some("ignore"),
                },
            );
        }
        Action::Move(moving) => {
            fields.text("move", Some(&moving.from));
            fields.text("to", Some(&moving.to));
        }
        Action::Read(read) => {
            let paths = read
                .paths
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>();
            fields.one_or_more("read", &paths);
            fields.integer("offset", read.offset);
            fields.text("max_bytes", read.max_bytes);
        }
        Action::List(list) => {
            fields.text("list", Some(&list.path));
            fields.flag("recursive", list.recursive.then_some(true));
            fields.integer("max_entries", list.max_entries);
            fields.path("after", list.after.as_ref());
        }
        Action::Search(search) => raise_search(search, fields),
        Action::Diff(diff) => {
            fields.text("diff", Some(&diff.against));
            fields.list("exclude", &diff.exclude);
        }
        Action::Snapshot(snapshot) => fields.text("snapshot", Some(&snapshot.name)),
        Action::Reset(reset) => fields.text("reset", Some(&reset.to)),
        Action::Sync(sync) => {
            fields.text("sync", Some(&sync.from));
            fields.text("to", Some(&sync.to).filter(|to| !to.is_root()));
            fields.list("exclude", &sync.exclude);
        }
        Action::Pull(pull) => {
            let Pull {
                to,
                exclude,
                matching,
                dry_run,
            } = pull;
            fields.text("pull", Some(to));
            fields.list("exclude", exclude);
            fields.text("match", raise_matching(*matching));
            fields.flag("dry_run", dry_run.then_some(true));
        }
        Action::Export(export) => {
            fields.text("export", Some(&export.path));
            fields.text("to", Some(&export.to));
            fields.flag(
                "overwrite",
                match export.overwrite {
                    Overwrite::Refuse => None,
                    Overwrite::Allow => Some(true),
                },
            );
        }
    }
}

fn raise_matching(matching: PatchMatch) -> Option<&'static str> {
    match matching {
        PatchMatch::Unique => None,
        PatchMatch::Exact => Some("exact"),
    }
}

fn raise_search(search: &Search, fields: &mut Fields) {
    let Search {
        regex,
        paths,
        include,
        exclude,
        max_matches,
        max_bytes,
        after,
        after_line,
    } = search;
    fields.text("search", Some(regex));
    let paths: Vec<_> = paths.iter().map(ToString::to_string).collect();
    fields.one_or_more("in", &paths);
    fields.list("include", include);
    fields.list("exclude", exclude);
    fields.integer("max_matches", *max_matches);
    fields.text("max_bytes", *max_bytes);
    fields.path("after", after.as_ref());
    fields.integer("after_line", *after_line);
}

fn raise_exec(exec: &Exec, fields: &mut Fields) {
    let Exec {
        command,
        cwd,
        env,
        secrets,
        stdin,
        timeout,
        max_output,
    } = exec;
    fields.add(
        "exec",
        match command {
            Command::Argv(argv) => Node::texts(argv),
            Command::Shell(line) => Node::text(line),
        },
    );
    fields.text("cwd", cwd.as_ref());
    fields.map(
        "env",
        env.iter().map(|(name, value)| (name, Node::text(value))),
    );
    match secrets.iter().all(|(name, variable)| name == variable) {
        true => fields.list("secrets", &secrets.keys().cloned().collect::<Vec<_>>()),
        false => fields.map(
            "secrets",
            secrets
                .iter()
                .map(|(name, variable)| (name, Node::text(variable))),
        ),
    }
    if let Some(stdin) = stdin {
        fields.add("stdin", raise_content(stdin));
    }
    fields.text("timeout", *timeout);
    fields.text("max_output", *max_output);
}

fn raise_content(content: &Content) -> Node {
    let mut fields = Fields(Vec::new());
    match content {
        Content::Text(text) => return Node::text(text),
        Content::From(path) => fields.text("from", Some(path)),
        Content::Bytes(bytes) => fields.text("base64", Some(base64(bytes))),
    }
    fields.node()
}

fn raise_file(file: &WriteFile) -> Node {
    let mut fields = Fields(Vec::new());
    match &file.content {
        content if file.append => fields.add("append", raise_content(content)),
        content if file.mode.is_none() => return raise_content(content),
        Content::Text(text) => fields.text("text", Some(text)),
        Content::From(path) => fields.text("from", Some(path)),
        Content::Bytes(bytes) => fields.text("base64", Some(base64(bytes))),
    }
    fields.text("mode", file.mode.map(|mode| format!("{mode:04o}")));
    fields.node()
}

fn base64(bytes: &[u8]) -> String {
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

fn raise_expect(expect: &Expect) -> Fields {
    let Expect {
        exit,
        stdout,
        stderr,
        content,
        text,
        duration_under,
        timed_out,
        signal,
        changed,
        fails,
    } = expect;
    let mut fields = Fields(Vec::new());
    let code = |code: &i32| Node::built(Value::Integer(i64::from(*code)));
    match exit.as_deref() {
        None => {}
        Some([one]) => fields.add("exit", code(one)),
        Some(codes) => {
            let codes = codes.iter().map(code).collect();
            fields.add("exit", Node::built(Value::List(codes)));
        }
    }
    for (key, text) in [
        ("stdout", stdout),
        ("stderr", stderr),
        ("content", content),
        ("text", text),
    ] {
        if let Some(text) = text {
            fields.add(key, raise_text_expect(text).node());
        }
    }
    fields.flag("timed_out", *timed_out);
    fields.text("signal", signal.map(|signal| signal.name));
    fields.text("duration_under", *duration_under);
    match changed {
        None => {}
        Some(ChangedExpect::Nothing(nothing)) => {
            let mut table = Fields(Vec::new());
            table.flag("none", Some(*nothing));
            fields.table("changed", table);
        }
        Some(ChangedExpect::Only(patterns)) => {
            let mut table = Fields(Vec::new());
            table.list("only", patterns);
            fields.table("changed", table);
        }
    }
    fields.flag("fails", fails.then_some(true));
    fields
}

fn raise_text_expect(expect: &TextExpect) -> Fields {
    let TextExpect {
        equals,
        contains,
        matches,
        lines,
        empty,
        golden,
    } = expect;
    let mut fields = Fields(Vec::new());
    if let Some(equals) = equals {
        fields.add("equals", raise_content(equals));
    }
    fields.one_or_more("contains", contains);
    fields.one_or_more("matches", matches);
    fields.integer("lines", *lines);
    fields.flag("empty", *empty);
    fields.text("golden", golden.as_ref());
    fields
}
