//! What came of a command, as data: the payloads of the commands that are requests.

use super::used::Used;
use crate::receipt::{ChangeReport, FileReport, OutputReport, PullReport, StepReport, Text};
pub(super) use crate::report::workspace::files::kind;
use crate::report::workspace::{PullPayload, WorkspacePayload, files};
use crate::workspace::registry::{Record, SnapshotRecord};
use serde_json::{Map, Value, json};

/// Of a patch as data, in bytes; `--patch` prints all of it.
const MAX_PATCH: usize = 1 << 20;
/// Changed paths that a diff tells as data; the rest is counted.
const MAX_ENTRIES: usize = 10_000;

/// Below `/workspace`.
fn absolute(path: &Text) -> Value {
    files::absolute(path).into()
}

/// The exact bytes too, where the text lost something.
fn put(out: &mut Value, key: &str, text: &Text) {
    out[key] = text.text.clone().into();
    if let Some(base64) = &text.base64 {
        out[format!("{key}_base64")] = base64.clone().into();
    }
}

/// Says that secrets were taken out of it, where some were: it is not what the workspace holds then.
fn redacted(out: &mut Value, redacted: bool) {
    if redacted {
        out["redacted"] = true.into();
    }
}

fn base(used: &Used) -> Value {
    json!({
        "workspace_id": used.id,
        "execution_mode": used.ran.receipt.execution_mode,
    })
}

pub(super) fn exec(used: &Used) -> Value {
    let mut out = base(used);
    let Some(step) = used.step() else { return out };
    out["environment"] = used.environment.clone().into();
    out["environment_version"] = Value::Null;
    out["command"] = step.summary.clone().into();
    out["sequence"] = used.ran.sequence.into();
    out["cwd"] = "/workspace".into();
    out["duration_ms"] = step.duration_ms.into();
    if let Some(exec) = &step.exec {
        out["exit_code"] = exec.exit_code.into();
        out["timed_out"] = exec.timed_out.into();
        out["left_running"] = exec.left_running.into();
        if let Some(signal) = exec.signal {
            out["signal"] = signal.into();
        }
        if let Some(why) = &exec.not_started {
            out["not_started"] = why.clone().into();
        }
    }
    redacted(&mut out, step.redacted);
    for (key, report) in [("stdout", &step.stdout), ("stderr", &step.stderr)] {
        let report = report.as_ref();
        let whole = report.map(stitched);
        put(&mut out, key, &whole.unwrap_or_default());
        if let Some(report) = report.filter(|report| report.truncated) {
            out[format!("{key}_truncated")] = true.into();
            out[format!("{key}_bytes")] = report.bytes.into();
            out[format!("{key}_file")] = report.file.clone().into();
        }
    }
    out
}

/// Head and tail, with a line between them that says what is missing.
fn stitched(report: &OutputReport) -> Text {
    let Some(tail) = &report.tail else {
        return report.head.clone();
    };
    let shown = report.head.bytes().len() + tail.bytes().len();
    let missing = report.bytes.saturating_sub(shown as u64);
    Text {
        text: format!(
            "{}\n... {missing} bytes left out ...\n{}",
            report.head.text, tail.text
        ),
        base64: None,
    }
}

pub(super) fn file_list(used: &Used, path: &str, recursive: bool) -> Value {
    let mut out = base(used);
    let entries = used
        .step()
        .map(|step| &step.entries[..])
        .unwrap_or_default();
    redacted(&mut out, used.step().is_some_and(|step| step.redacted));
    let entries = entries.iter().map(|entry| {
        let mut one = json!({
            "path": absolute(&entry.path),
            "artifact_type": kind(entry.now.kind),
            "size_bytes": entry.now.size,
            "mode": entry.now.mode,
            "link_target": entry.now.target.as_ref().map(|target| &target.text),
        });
        if let Some(base64) = &entry.path.base64 {
            one["path_base64"] = base64.clone().into();
        }
        one
    });
    out["entries"] = entries.collect();
    out["path"] = workspace_path(path).into();
    out["recursive"] = recursive.into();
    let rest = used.step().and_then(|step| step.rest.as_ref());
    out["truncated"] = rest.is_some().into();
    if let Some(rest) = rest {
        out["entries_left"] = rest.entries.into();
        out["next_after"] = absolute(&rest.next_after);
        if let Some(base64) = &rest.next_after.base64 {
            out["next_after_base64"] = base64.clone().into();
        }
    }
    out
}

fn workspace_path(path: &str) -> String {
    match path.strip_prefix("/workspace") {
        Some(_) => path.to_owned(),
        None => format!("/workspace/{path}"),
    }
}

pub(super) fn file_read(used: &Used, file: &FileReport, offset: u32, max_bytes: u32) -> Value {
    let mut out = base(used);
    out["path"] = absolute(&file.path);
    out["size_bytes"] = file.after.as_ref().map(|after| after.size).into();
    out["mode"] = file.after.as_ref().map(|after| after.mode.clone()).into();
    out["offset"] = offset.into();
    out["max_bytes"] = max_bytes.into();
    out["truncated"] = file.truncated.into();
    // Of the whole file, where all of it was read.
    let digest = file.after.as_ref().and_then(|after| after.sha256);
    out["sha256"] = digest.map(|digest| digest.to_string()).into();
    let content = file.content.clone().unwrap_or_default();
    out["binary"] = content.base64.is_some().into();
    redacted(&mut out, file.redacted);
    put(&mut out, "content", &content);
    out
}

pub(super) fn file_write(used: &Used, file: &FileReport) -> Value {
    let mut out = base(used);
    let after = file.after.as_ref();
    out["path"] = absolute(&file.path);
    out["size_bytes"] = after.map(|after| after.size).into();
    out["bytes_written"] = after.map(|after| after.size).into();
    out["mode"] = after.map(|after| after.mode.clone()).into();
    out["sha256"] = json!(after.and_then(|after| after.sha256));
    out["replaced"] = file.before.is_some().into();
    out
}

pub(super) fn file_delete(used: &Used) -> Value {
    let mut out = base(used);
    let files = used.step().map(|step| &step.files[..]).unwrap_or_default();
    out["deleted"] = files.iter().map(|file| absolute(&file.path)).collect();
    out
}

/// `added`, `modified`, `deleted`.
pub(super) fn patched(file: &FileReport) -> &'static str {
    match (&file.before, &file.after) {
        (None, _) => "added",
        (Some(_), None) => "deleted",
        (Some(_), Some(_)) => "modified",
    }
}

fn counted<'a>(statuses: impl Iterator<Item = &'a str>, names: &[&str]) -> Map<String, Value> {
    let mut out: Map<String, Value> = names
        .iter()
        .map(|name| ((*name).to_owned(), 0.into()))
        .collect();
    let mut total = 0_u64;
    for status in statuses {
        total += 1;
        let count = out.get(status).and_then(Value::as_u64).unwrap_or(0);
        out.insert(status.to_owned(), (count + 1).into());
    }
    out.insert("total".to_owned(), total.into());
    out
}

pub(super) fn patch_apply(used: &Used, patch: &[u8]) -> Value {
    let mut out = base(used);
    let files = used.step().map(|step| &step.files[..]).unwrap_or_default();
    let mut entries: Vec<_> = files
        .iter()
        .map(|file| {
            json!({
                "path": absolute(&file.path),
                "status": patched(file),
                "mode": file.after.as_ref().map(|after| &after.mode),
                "hunks": file.hunks,
            })
        })
        .collect();
    entries.sort_by_key(|entry| entry["path"].as_str().map(str::to_owned));
    out["changed"] = (!files.is_empty()).into();
    out["summary"] = Value::Object(counted(
        files.iter().map(patched),
        &["added", "modified", "deleted"],
    ));
    out["entries"] = entries.into();
    put(&mut out, "patch", &Text::from(patch));
    if let Some(step) = used.step().filter(|step| !step.notes.is_empty()) {
        out["notes"] = step.notes.clone().into();
    }
    out
}

fn status(change: &ChangeReport) -> &'static str {
    match (&change.before, &change.after) {
        (None, _) => "added",
        (Some(_), None) => "deleted",
        (Some(before), Some(after)) if before.kind != after.kind => "type_changed",
        (Some(_), Some(_)) => "modified",
    }
}

/// The same for people.
pub(super) fn diff_counts(step: &StepReport) -> String {
    if step.changes.is_empty() {
        return "no changes".to_owned();
    }
    let counts = counted(step.changes.iter().map(status), &[]);
    let words = ["added", "modified", "deleted", "type_changed"];
    let words = words
        .iter()
        .filter_map(|word| Some(format!("{} {word}", counts.get(*word)?)));
    words.collect::<Vec<_>>().join(", ")
}

pub(super) fn diff(used: &Used, step: &StepReport) -> Value {
    let mut out = base(used);
    let text = step.text.clone().unwrap_or_default();
    let names = ["added", "modified", "deleted", "type_changed"];
    let bytes = text.bytes();
    let patches = crate::patch::by_path(&bytes);
    // Of what is of another kind now, a patch says two things.
    let patch_of = |change: &ChangeReport| {
        let patch = patches.get(&change.path.bytes()[..]);
        patch.filter(|_| status(change) != "type_changed")
    };
    let mut room = MAX_PATCH;
    let left = step.changes.len().saturating_sub(MAX_ENTRIES);
    let entries: Vec<_> = step
        .changes
        .iter()
        .take(MAX_ENTRIES)
        .map(|change| {
            let now = change.after.as_ref().or(change.before.as_ref());
            let mut one = json!({
                "path": change.path.text,
                "status": status(change),
                "artifact_type": now.map(|now| kind(now.kind)),
                "before": change.before,
                "after": change.after,
                "text_patch": null,
            });
            if let Some(patch) = patch_of(change)
                && let Some(rest) = room.checked_sub(patch.len())
            {
                room = rest;
                put(&mut one, "text_patch", &Text::from(*patch));
            }
            if let Some(base64) = &change.path.base64 {
                one["path_base64"] = base64.clone().into();
            }
            one
        })
        .collect();
    redacted(&mut out, step.redacted);
    out["changed"] = (!step.changes.is_empty()).into();
    let mut summary = counted(step.changes.iter().map(status), &names);
    let text_patched = step.changes.iter().filter_map(patch_of).count();
    summary.insert("text_patched".to_owned(), text_patched.into());
    summary.insert(
        "non_text".to_owned(),
        (step.changes.len() - text_patched).into(),
    );
    out["summary"] = Value::Object(summary);
    out["entries"] = entries.into();
    if left > 0 {
        out["entries_left"] = left.into();
    }
    let shown = beginning(&bytes, MAX_PATCH);
    put(&mut out, "patch", &Text::from(shown));
    if shown.len() < bytes.len() {
        out["patch_truncated"] = true.into();
        out["patch_bytes"] = bytes.len().into();
    }
    out
}

/// The lines that fit in so many bytes.
fn beginning(bytes: &[u8], most: usize) -> &[u8] {
    match bytes.get(..most) {
        Some(head) => &head[..memchr::memrchr(b'\n', head).map_or(0, |end| end + 1)],
        None => bytes,
    }
}

pub(super) fn export(used: &Used, path: &str, output: &str) -> Value {
    let mut out = base(used);
    if let Some(step) = used.step().filter(|step| !step.notes.is_empty()) {
        out["notes"] = step.notes.clone().into();
    }
    let files = used
        .step()
        .map(|step| &step.host_files[..])
        .unwrap_or_default();
    out["workspace_path"] = workspace_path(path).into();
    out["output_path"] = output.into();
    out["entry_count"] = files.len().into();
    out["bytes_written"] = files.iter().map(|file| file.size).sum::<u64>().into();
    out["artifact_type"] = match files {
        [_] => "file",
        _ => "directory",
    }
    .into();
    out
}

pub(super) fn pull(used: &Used, step: &StepReport) -> Value {
    let mode = &used.ran.receipt.execution_mode;
    serde_json::to_value(PullPayload::of(&used.id, mode, step)).expect("payloads are data")
}

/// What stood against a pull.
pub(super) fn conflicts(pull: &PullReport) -> Value {
    let conflicts = pull.conflicts.iter().map(|conflict| {
        let mut one = json!({ "reason": conflict.reason });
        put(&mut one, "path", &conflict.path);
        one
    });
    conflicts.collect()
}

pub(super) fn sync_push(used: &Used, source: &str, dest: &str) -> Value {
    let mut out = base(used);
    let sync = used.step().and_then(|step| step.sync.as_ref());
    out["workspace_sync"] = json!({
        "source_path": source,
        "destination": workspace_path(dest),
        "entry_count": sync.map_or(0, |sync| sync.entries),
        "bytes_written": sync.map_or(0, |sync| sync.bytes),
        "mode": if std::path::Path::new(source).is_dir() { "directory" } else { "tar_archive" },
    });
    out
}

pub(super) fn reset(used: &Used, record: &Record, snapshot: &SnapshotRecord) -> Value {
    let counts = used.step().and_then(|step| step.counts);
    let payload = WorkspacePayload::from(record).reset_to(snapshot);
    let mut out = serde_json::to_value(payload).expect("payloads are data");
    // What was put back, not what there is.
    out["workspace_reset"]["entry_count"] = counts.map_or(0, |counts| counts.entries).into();
    out["workspace_reset"]["bytes_written"] = counts.map_or(0, |counts| counts.bytes).into();
    out
}
