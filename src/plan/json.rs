//! The plan as data. Sorted keys, texts as UTF-8 with `..._base64` beside them where that lost something.
//!
//! No absolute host path is in it but those that are the same inside the sandbox: a plan made in another checkout
//! of the same files is the same plan.

use super::{
    Certainty, Enforcement, Plan, PlannedAction, PlannedExec, PlannedRetry, PlannedSeed,
    PlannedStep, PlannedText, PlannedWorkspace, Problem, TextCheck,
};
use crate::patch::{Applied, FileChange};
use crate::preflight::{Facts, FileFact};
use crate::request::{ChangedExpect, Digest, Missing, Overwrite, PatchMatch, Point, Request};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

const FORMAT_VERSION: u32 = 1;

/// The plan as data.
pub fn to_json(plan: &Plan) -> Value {
    let mut out = body(plan);
    out.insert("digest".to_owned(), plan.digest.to_string().into());
    out.insert("source".to_owned(), plan.source.clone().into());
    // Said by the workspace already, and repeated here: this is where a reviewer looks.
    if let Some(Value::Object(reach)) = out.get_mut("reach") {
        reach.insert("exposed".to_owned(), exposed(&plan.reach.exposed));
        reach.insert("network".to_owned(), "off".into());
        // Not part of what the digest is of: another checkout may have no repository around it.
        if !plan.reach.outside.is_empty() {
            reach.insert("outside".to_owned(), plan.reach.outside.clone().into());
        }
    }
    Value::Object(out)
}

/// Of the plan, but for this digest and the name that the request goes by in messages.
pub(super) fn digest(plan: &Plan) -> Digest {
    Digest::of(Value::Object(body(plan)).to_string().as_bytes())
}

/// Of the request in its canonical form, and of each host file that it takes text from, in the order of their names.
pub(super) fn request_digest(request: &Request, facts: &Facts) -> Digest {
    let mut text = crate::request::canonical_json(request);
    for (path, file) in &facts.from {
        if let FileFact::Content(bytes) = file {
            text.push_str(&format!("\n{}", json!([path, Digest::of(bytes)])));
        }
    }
    if !request.combination.is_empty() {
        text.push_str(&format!("\n{}", json!(request.combination)));
    }
    for (name, variable) in &facts.variables {
        let value = serde_json::to_string(variable).expect("a variable is data");
        text.push_str(&format!(
            "\n{}",
            json!([name, Digest::of(value.as_bytes())])
        ));
    }
    Digest::of(text.as_bytes())
}

fn body(plan: &Plan) -> Map<String, Value> {
    let steps: Vec<_> = plan
        .steps
        .iter()
        .map(|step| {
            let mut out = object([
                ("number", step.number.into()),
                ("id", step.id.as_ref().map(ToString::to_string).into()),
                ("pointer", step.pointer.0.clone().into()),
                ("verb", step.action.verb().into()),
                ("certainty", certainty(step.certainty).into()),
                ("notes", step.notes.clone().into()),
                ("always", step.always.into()),
                ("expect_fails", step.expect_fails.into()),
            ]);
            if let Some(changed) = &step.changed {
                let changed = match changed {
                    ChangedExpect::Nothing(nothing) => json!({ "none": nothing }),
                    ChangedExpect::Only(patterns) => json!({ "only": patterns }),
                };
                out.insert("expect_changed".to_owned(), changed);
            }
            out.extend(action(&step.action));
            out.extend(values(step));
            Value::Object(out)
        })
        .collect();
    let writes: Vec<_> = (plan.reach.host_writes.iter())
        .map(|write| json!({"path": write.shown, "replaces": write.replaces}))
        .collect();
    let mut reach = json!({"host_reads": plan.reach.host_reads, "host_writes": writes});
    if !plan.reach.host_variables.is_empty() {
        reach["host_variables"] = plan.reach.host_variables.clone().into();
    }
    if plan.reach.secrets > 0 {
        reach["secrets"] = plan.reach.secrets.into();
    }
    let mut out = Map::new();
    if !plan.left_out.is_empty() {
        let left_out = plan.left_out.iter();
        let left_out = left_out.map(|step| json!({"number": step.number, "id": step.id}));
        out.insert("left_out".to_owned(), left_out.collect::<Vec<_>>().into());
    }
    if !plan.matrix.is_empty() {
        out.insert("matrix".to_owned(), json!(plan.matrix));
    }
    if !plan.redact.is_empty() {
        out.insert("redact".to_owned(), json!(plan.redact));
    }
    out.extend(object([
        ("format_version", FORMAT_VERSION.into()),
        ("name", plan.name.clone().into()),
        ("description", plan.description.clone().into()),
        ("request_digest", plan.request_digest.to_string().into()),
        ("workspace", workspace(&plan.workspace)),
        ("steps", steps.into()),
        ("reach", reach),
    ]));
    out
}

/// What a step captures, waits for and repeats; nothing where it does none of it.
fn values(step: &PlannedStep) -> Map<String, Value> {
    let mut out = Map::new();
    if !step.captures.is_empty() {
        let captures = step.captures.iter().map(|capture| {
            let value = json!({"from": capture.source.as_str(), "regex": capture.regex});
            (capture.name.clone(), value)
        });
        out.insert("capture".to_owned(), Value::Object(captures.collect()));
    }
    if !step.late.is_empty() {
        let late = step
            .late
            .iter()
            .map(|late| json!({"pointer": late.pointer.0, "text": late.template.to_string()}));
        out.insert("late".to_owned(), late.collect::<Vec<_>>().into());
    }
    if let Some(PlannedRetry { times, every }) = &step.retry {
        let retry = json!({"times": times, "every_ms": every.as_millis()});
        out.insert("retry".to_owned(), retry);
    }
    out
}

fn object<const N: usize>(entries: [(&str, Value); N]) -> Map<String, Value> {
    (entries.into_iter())
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
}

/// `key`, and `key_base64` where the bytes are no text.
fn put(out: &mut Map<String, Value>, key: &str, bytes: &[u8]) {
    match std::str::from_utf8(bytes) {
        Ok(text) => {
            out.insert(key.to_owned(), text.into());
        }
        Err(_) => {
            out.insert(key.to_owned(), String::from_utf8_lossy(bytes).into());
            out.insert(format!("{key}_base64"), STANDARD.encode(bytes).into());
        }
    }
}

fn with_bytes<const N: usize>(entries: [(&str, &[u8]); N]) -> Map<String, Value> {
    let mut out = Map::new();
    for (key, bytes) in entries {
        put(&mut out, key, bytes);
    }
    out
}

/// What is copied from the host.
fn source(source: &PlannedSeed) -> Value {
    let left_out = source.left_out.iter().map(|left| {
        let mut out = with_bytes([("path", &left.path)]);
        out.insert("reason".to_owned(), left.reason.clone().into());
        Value::Object(out)
    });
    let mut out = json!({
        "from": source.shown,
        "files": source.files,
        "others": source.others,
        "bytes": source.bytes,
        "listing": source.listing,
        "left_out": left_out.collect::<Vec<_>>(),
    });
    if let Some(archive) = source.archive {
        out["archive"] = json!(archive.sha256);
    }
    if source.left_out_more > 0 {
        out["left_out_more"] = source.left_out_more.into();
    }
    if !source.exclude.is_empty() {
        out["exclude"] = source.exclude.clone().into();
    }
    if source.respect_gitignore {
        out["respect_gitignore"] = true.into();
    }
    out
}

fn workspace(workspace: &PlannedWorkspace) -> Value {
    let seed = workspace.seed.as_ref().map(source);
    let limits = workspace.limits_shown.iter().map(|limit| {
        json!({
            "name": limit.name,
            "value": limit.value,
            "enforcement": match limit.enforcement {
                Enforcement::Enforced => "enforced",
                Enforcement::Watched => "watched",
                Enforcement::NotEnforced => "not_enforced",
            },
        })
    });
    let keep = workspace.keep.map(|keep| {
        let when = if keep.always { "always" } else { "on-failure" };
        json!({ "when": when, "ttl": keep.ttl.to_string() })
    });
    let existing = workspace.existing.as_ref();
    let existing = existing.map(|existing| json!({"id": existing.id, "name": existing.name}));
    let mut out = json!({
        "environment": workspace.environment_shown,
        "machine": workspace.machine.as_str(),
        "machine_note": workspace.machine_note,
        "seed": seed,
        "expose": exposed(&workspace.expose),
        "limits": limits.collect::<Vec<_>>(),
        "hostname": workspace.hostname,
        "notes": workspace.notes,
    });
    if let Some(keep) = keep {
        out["keep"] = keep;
    }
    if let Some(existing) = existing {
        out["existing"] = existing;
    }
    if !workspace.secrets.is_empty() {
        let secrets = workspace.secrets.iter();
        let secrets = secrets.map(|secret| match &secret.shown {
            Some(source) => json!({"name": secret.name, "source": source}),
            None => json!({"name": secret.name}),
        });
        out["secrets"] = secrets.collect();
    }
    if let Some(name) = &workspace.name {
        out["name"] = name.clone().into();
    }
    if !workspace.labels.is_empty() {
        out["labels"] = json!(workspace.labels);
    }
    out
}

fn exposed(host_paths: &[PathBuf]) -> Value {
    paths(
        host_paths
            .iter()
            .map(|path| path.as_os_str().as_encoded_bytes()),
    )
}

pub(super) fn certainty(certainty: Certainty) -> &'static str {
    match certainty {
        Certainty::Exact => "exact",
        Certainty::Predicted => "predicted",
        Certainty::Unknown => "unknown",
    }
}

fn mode(mode: u32) -> Value {
    format!("{mode:04o}").into()
}

fn paths<'a>(paths: impl IntoIterator<Item = &'a [u8]>) -> Value {
    (paths.into_iter())
        .map(|path| Value::Object(with_bytes([("path", path)])))
        .collect::<Vec<_>>()
        .into()
}

fn action(action: &PlannedAction) -> Map<String, Value> {
    match action {
        PlannedAction::Exec(exec) => self::exec(exec),
        PlannedAction::Write(write) => {
            let files = write.files.iter().map(|file| {
                let mut out = with_bytes([
                    ("path", file.path.as_bytes()),
                    ("content", &file.bytes),
                    ("diff", &file.diff),
                ]);
                out.insert("mode".to_owned(), file.mode.map(mode).into());
                if file.append {
                    out.insert("append".to_owned(), true.into());
                }
                Value::Object(out)
            });
            let mut out = object([("files", files.collect::<Vec<_>>().into())]);
            if !write.base.is_empty() {
                let base = write.base.iter();
                let base: Map<_, _> = base
                    .map(|(path, base)| (path.to_string(), base.to_string().into()))
                    .collect();
                out.insert("base".to_owned(), base.into());
            }
            out
        }
        PlannedAction::Patch(patch) => {
            let base: Map<_, _> = (patch.base.iter())
                .map(|(path, digest)| (path.to_string(), digest.to_string().into()))
                .collect();
            let mut out = object([
                ("match", matching(patch.policy)),
                ("base", base.into()),
                ("predicted", patch.predicted.as_ref().map(applied).into()),
            ]);
            put(&mut out, "diff", &patch.diff);
            out
        }
        PlannedAction::Delete(delete) => object([
            (
                "paths",
                paths(delete.paths.iter().map(|path| path.as_bytes())),
            ),
            (
                "missing",
                match delete.missing {
                    Missing::Error => "error",
                    Missing::Ignore => "ignore",
                }
                .into(),
            ),
        ]),
        PlannedAction::Move(moving) => {
            let mut out = with_bytes([("path", moving.from.as_bytes())]);
            put(&mut out, "to", moving.to.as_bytes());
            out
        }
        PlannedAction::Read(read) => {
            let mut out = object([
                (
                    "paths",
                    paths(read.paths.iter().map(|path| path.as_bytes())),
                ),
                ("max_bytes", read.max_bytes.as_bytes().into()),
                ("expect_content", checks(&read.content)),
            ]);
            if read.offset > 0 {
                out.insert("offset".to_owned(), read.offset.into());
            }
            out
        }
        PlannedAction::List(list) => {
            let mut out = object([
                ("recursive", list.recursive.into()),
                ("max_entries", list.max_entries.into()),
                ("expect_text", checks(&list.text)),
            ]);
            if let Some(after) = &list.after {
                put(&mut out, "after", after.as_bytes());
            }
            put(&mut out, "path", list.path.as_bytes());
            out
        }
        PlannedAction::Search(search) => {
            let mut out = object([
                ("regex", search.regex.clone().into()),
                (
                    "paths",
                    paths(search.paths.iter().map(|path| path.as_bytes())),
                ),
                ("include", search.include.clone().into()),
                ("exclude", search.exclude.clone().into()),
                ("max_matches", search.max_matches.into()),
                ("max_bytes", search.max_bytes.as_bytes().into()),
                ("expect_text", checks(&search.text)),
            ]);
            if let Some(after) = &search.after {
                put(&mut out, "after", after.as_bytes());
            }
            if let Some(line) = search.after_line {
                out.insert("after_line".to_owned(), line.into());
            }
            out
        }
        PlannedAction::Snapshot(name) => object([("name", name.as_str().into())]),
        PlannedAction::Reset(to) => object([("to", to.as_str().into())]),
        PlannedAction::Diff(diff) => {
            let mut out = object([
                ("exclude", diff.exclude.clone().into()),
                ("expect_text", checks(&diff.text)),
            ]);
            if diff.against != Point::Baseline {
                out.insert("against".to_owned(), diff.against.as_str().into());
            }
            out
        }
        PlannedAction::Sync(sync) => {
            let replaces = sync.replaces.iter().map(|path| path.as_bytes());
            let mut out = object([
                ("source", source(&sync.source)),
                ("replaces", paths(replaces)),
            ]);
            if sync.replaces_more > 0 {
                out.insert("replaces_more".to_owned(), sync.replaces_more.into());
            }
            put(&mut out, "path", sync.to.as_bytes());
            out
        }
        PlannedAction::Export(export) => {
            let mut out = object([
                ("to", export.shown.clone().into()),
                ("overwrite", (export.overwrite == Overwrite::Allow).into()),
            ]);
            put(&mut out, "path", export.path.as_bytes());
            out
        }
        PlannedAction::Pull(pull) => object([
            ("to", pull.shown.clone().into()),
            ("exclude", pull.exclude.clone().into()),
            ("match", matching(pull.matching)),
            ("dry_run", pull.dry_run.into()),
        ]),
        PlannedAction::Refused(refusal) => {
            let reasons: Vec<_> = refusal.reasons.iter().map(problem).collect();
            object([("refused", reasons.into())])
        }
    }
}

fn matching(policy: PatchMatch) -> Value {
    match policy {
        PatchMatch::Unique => "unique",
        PatchMatch::Exact => "exact",
    }
    .into()
}

fn problem(problem: &Problem) -> Value {
    json!({
        "code": problem.code.as_str(),
        "pointer": problem.pointer.0,
        "message": problem.message,
        "help": problem.help,
        "notes": problem.notes,
    })
}

fn exec(exec: &PlannedExec) -> Map<String, Value> {
    let argv = exec.argv.iter().map(|word| word.lossy().into_owned());
    let env: Map<_, _> = (exec.env.iter())
        .map(|(name, value)| (name.lossy().into_owned(), value.lossy().into()))
        .collect();
    let mut out = object([
        ("argv", argv.collect::<Vec<_>>().into()),
        ("env", env.into()),
        ("timeout_ms", exec.timeout.as_millis().into()),
        ("max_output", exec.max_output.as_bytes().into()),
        ("expect_exit", exec.exit.clone().into()),
        (
            "expect_signal",
            exec.signal.map(|signal| signal.name).into(),
        ),
        ("expect_timed_out", exec.timed_out.into()),
        (
            "expect_duration_under_ms",
            exec.duration_under.map(|time| time.as_millis()).into(),
        ),
        ("expect_stdout", checks(&exec.stdout)),
        ("expect_stderr", checks(&exec.stderr)),
    ]);
    if !exec.secrets.is_empty() {
        let secrets = exec.secrets.iter();
        let secrets = secrets.map(|(name, variable)| (name.clone(), variable.clone().into()));
        out.insert("secrets".to_owned(), Value::Object(secrets.collect()));
    }
    put(&mut out, "cwd", &exec.cwd);
    if let Some(stdin) = &exec.stdin {
        put(&mut out, "stdin", stdin);
    }
    out
}

fn checks(checks: &PlannedText) -> Value {
    let checks = checks.iter().map(|(place, check)| {
        let mut out = match check {
            TextCheck::Equals(bytes) => with_bytes([("equals", bytes)]),
            TextCheck::Contains(bytes) => with_bytes([("contains", bytes)]),
            TextCheck::Matches(pattern) => object([("matches", pattern.clone().into())]),
            TextCheck::Lines(lines) => object([("lines", (*lines).into())]),
            TextCheck::Empty(empty) => object([("empty", (*empty).into())]),
            TextCheck::Golden(golden) => {
                let digest = golden.expected.as_ref().map(|bytes| Digest::of(bytes));
                object([
                    ("golden", golden.shown.clone().into()),
                    ("sha256", digest.map(|digest| digest.to_string()).into()),
                ])
            }
        };
        out.insert("pointer".to_owned(), place.0.clone().into());
        Value::Object(out)
    });
    checks.collect::<Vec<_>>().into()
}

fn applied(applied: &Applied) -> Value {
    let files = applied.files.iter().map(|change| {
        let FileChange {
            path,
            before,
            after,
            from,
            hunks,
            added,
            removed,
        } = change;
        let mut out = with_bytes([("path", path)]);
        if let Some(from) = from {
            put(&mut out, "from", from);
        }
        let before = before.map(|file| {
            json!({"sha256": Digest(file.sha256), "bytes": file.size, "mode": mode(file.mode)})
        });
        let after = after.as_ref().map(|(bytes, bits)| {
            json!({"sha256": Digest::of(bytes), "bytes": bytes.len(), "mode": mode(*bits)})
        });
        let hunks = (hunks.iter())
            .map(|hunk| json!({"hunk": hunk.hunk, "line": hunk.line, "offset": hunk.offset}));
        out.extend(object([
            ("before", before.into()),
            ("after", after.into()),
            ("hunks", hunks.collect::<Vec<_>>().into()),
            ("added", (*added).into()),
            ("removed", (*removed).into()),
        ]));
        Value::Object(out)
    });
    files.collect::<Vec<_>>().into()
}
