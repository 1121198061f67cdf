//! Decides which file a section means: a name may carry a prefix such as `a/`, and only the tree can tell.

use std::collections::BTreeSet;

use super::apply::{Entry, Tree};
use super::header::is_prefix;
use super::name::{Name, check, quote};
use super::refusal::{Refusal, RefusalCode, Refused};
use super::section::{FilePatch, Form, Operation, Patch};

/// The files that a section is about, by their paths in the tree.
pub(crate) struct Target {
    pub(crate) operation: Operation,
    /// What is read; `None` for a new file.
    pub(crate) source: Option<Vec<u8>>,
    /// What is written; `None` for a file that is deleted.
    pub(crate) target: Option<Vec<u8>>,
}

/// Every name the patch could mean, so that the caller can look those files up before `apply`.
/// Only relative names that are safe to use; directories above them are asked for too.
pub fn candidate_names(patch: &Patch) -> BTreeSet<Vec<u8>> {
    let mut names = BTreeSet::new();
    for file in &patch.files {
        if safe(file).is_err() {
            continue;
        }
        let written = [&file.old, &file.new]
            .into_iter()
            .flatten()
            .filter_map(|name| Some(name.safe().ok()?.to_vec()));
        names.extend(written);
        names.extend(stripped(file));
    }
    names
}

/// Refuses a section when any name in it is unsafe, also those that would not be used.
fn safe(file: &FilePatch) -> Result<(), Refused> {
    for name in [&file.old, &file.new].into_iter().flatten() {
        let checked = name
            .safe()
            .map(<[u8]>::to_vec)
            .and_then(|path| match name.split() {
                // With its prefix taken away the name must be as good.
                Some((first, rest)) if !first.is_empty() && is_prefix(first) => check(rest),
                Some(_) | None => check(&path),
            });
        if let Err(why) = checked {
            return Err(Refusal::new(RefusalCode::Path, why)
                .at(file.line)
                .file(name.as_bytes())
                .help("name files relative to the workspace, such as `src/main.rs`"));
        }
    }
    Ok(())
}

/// The paths of a section without their prefixes, as far as they can have one.
fn stripped(file: &FilePatch) -> Vec<Vec<u8>> {
    let absolute = |name: &Name| name.as_bytes().starts_with(b"/");
    if matches!(file.operation, Operation::Rename | Operation::Copy) || file.form == Form::Envelope
    {
        return Vec::new();
    }
    let mut paths: Vec<Vec<u8>> = [&file.old, &file.new]
        .into_iter()
        .flatten()
        .filter(|name| !absolute(name))
        .filter_map(Name::split)
        .filter(|(first, _)| file.prefixed == Some(true) || is_prefix(first))
        .map(|(_, rest)| rest.to_vec())
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

/// The paths of a section as they are written.
fn written(file: &FilePatch) -> Vec<Vec<u8>> {
    // In git's form two different prefixes leave one reading; without git two real directories may be meant.
    let certain = file.prefixed == Some(true)
        && (file.form == Form::Git || file.operation != Operation::Change);
    let has_absolute = [&file.old, &file.new]
        .into_iter()
        .flatten()
        .any(|name| name.as_bytes().starts_with(b"/"));
    if certain && !has_absolute {
        return Vec::new();
    }
    let mut paths: Vec<Vec<u8>> = [&file.old, &file.new]
        .into_iter()
        .flatten()
        .filter_map(|name| Some(name.safe().ok()?.to_vec()))
        .collect();
    paths.sort();
    paths.dedup();
    paths
}

/// Finds out which files a section means, and that nothing stands in the way above them.
pub(crate) fn resolve(file: &FilePatch, tree: &dyn Tree) -> Result<Target, Refused> {
    safe(file)?;
    let target = match file.operation {
        Operation::Rename | Operation::Copy => {
            let path = |name: &Option<Name>| {
                name.as_ref()
                    .and_then(|name| Some(name.safe().ok()?.to_vec()))
            };
            Target {
                operation: file.operation,
                source: path(&file.old),
                target: path(&file.new),
            }
        }
        Operation::Create => {
            let path = created(file, tree)?;
            Target {
                operation: Operation::Create,
                source: None,
                target: Some(path),
            }
        }
        Operation::Change | Operation::Delete => existing(file, tree)?,
    };
    // What is new is looked at later: a file above it may make way in the same patch.
    if let Some(path) = &target.source {
        parents(path, tree).map_err(|refusal| refusal.at(file.line))?;
    }
    Ok(target)
}

fn created(file: &FilePatch, tree: &dyn Tree) -> Result<Vec<u8>, Refused> {
    let (stripped, written) = (stripped(file), written(file));
    let (Some(stripped), Some(name)) = (stripped.last(), file.new.as_ref()) else {
        return written.into_iter().next_back().ok_or_else(|| {
            Refusal::new(RefusalCode::Path, "the section names no file").at(file.line)
        });
    };
    match (file.prefixed, name.split()) {
        (Some(true), _) => Ok(stripped.clone()),
        (Some(false), _) => Ok(name.as_bytes().to_vec()),
        (None, Some((first, _))) if !matches!(tree.entry(first), Entry::Missing) => Err(ambiguous(
            file,
            &[stripped.clone(), name.as_bytes().to_vec()],
        )),
        (None, _) => Ok(stripped.clone()),
    }
}

fn existing(file: &FilePatch, tree: &dyn Tree) -> Result<Target, Refused> {
    let (stripped, written) = (stripped(file), written(file));
    let mut paths: Vec<Vec<u8>> = stripped.iter().chain(&written).cloned().collect();
    paths.sort();
    paths.dedup();
    let mut there: Vec<Vec<u8>> = paths
        .iter()
        .filter(|path| !matches!(tree.entry(path), Entry::Missing))
        .cloned()
        .collect();
    let operation = file.operation;
    match (there.pop(), there.is_empty()) {
        (Some(path), true) => {
            let target = (operation == Operation::Change).then(|| path.clone());
            Ok(Target {
                operation,
                source: Some(path),
                target,
            })
        }
        (Some(path), false) => {
            there.push(path);
            Err(ambiguous(file, &there))
        }
        (None, _) => {
            let best = stripped
                .last()
                .or(written.last())
                .cloned()
                .unwrap_or_default();
            // `@@ -0,0 +1,3 @@` says that there was nothing, with or without /dev/null.
            if let [hunk] = file.hunks.as_slice()
                && operation == Operation::Change
                && hunk.old_start == Some(0)
                && hunk.old_lines().next().is_none()
                && paths.len() <= 2
                && stripped.len() <= 1
            {
                return Ok(Target {
                    operation: Operation::Create,
                    source: None,
                    target: Some(best),
                });
            }
            parents(&best, tree).map_err(|refusal| refusal.at(file.line))?;
            let (message, help) = if operation == Operation::Delete {
                (
                    "the file to delete does not exist",
                    "leave the section out if the file is gone already",
                )
            } else {
                (
                    "the file to change does not exist",
                    "check the name; for a new file write `--- /dev/null`",
                )
            };
            Err(Refusal::new(RefusalCode::TargetMissing, message)
                .at(file.line)
                .file(&best)
                .help(help))
        }
    }
}

fn ambiguous(file: &FilePatch, paths: &[Vec<u8>]) -> Refused {
    let list: Vec<String> = paths
        .iter()
        .map(|path| format!("`{}`", String::from_utf8_lossy(&quote(path))))
        .collect();
    Refusal::new(
        RefusalCode::PathAmbiguous,
        format!("the name can mean {}", list.join(" and ")),
    )
    .at(file.line)
    .file(&paths[0])
    .help("write the header in git's form: `diff --git a/NAME b/NAME`")
}

/// Every part above a path must be a directory or not be there yet.
pub(crate) fn parents(path: &[u8], tree: &dyn Tree) -> Result<(), Refused> {
    parents_but(path, tree, &BTreeSet::new())
}

/// The same, where these files make way.
pub(crate) fn parents_but(
    path: &[u8],
    tree: &dyn Tree,
    gone: &BTreeSet<Vec<u8>>,
) -> Result<(), Refused> {
    for (at, _) in path.iter().enumerate().filter(|(_, byte)| **byte == b'/') {
        let what = match tree.entry(&path[..at]) {
            Entry::Directory => continue,
            Entry::Missing => return Ok(()),
            Entry::File { .. } if gone.contains(&path[..at]) => return Ok(()),
            Entry::File { .. } => "a file",
            Entry::Symlink => "a symbolic link",
            Entry::Other => "neither a file nor a directory",
        };
        let parent = String::from_utf8_lossy(&quote(&path[..at])).into_owned();
        return Err(Refusal::new(
            RefusalCode::NotAFile,
            format!("`{parent}` above it is {what}"),
        )
        .file(path)
        .help("choose a path below a directory, or one that is not there yet"));
    }
    Ok(())
}
