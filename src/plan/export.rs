//! `export`: the only step that writes to the host.

use super::draft::Draft;
use super::files::reached;
use super::planner::Planner;
use super::tree::{Lead, Node};
use super::{HostWrite, PlannedAction, PlannedExport, Problem, ProblemCode, text};
use crate::preflight::{ExportFact, ParentFact, TargetFact};
use crate::request::{Export, Overwrite};
use std::path::{Path, PathBuf};

/// An earlier export.
#[derive(Debug, Clone, Copy)]
pub(super) struct Exported {
    step: usize,
    /// It is known to be a file; otherwise it is or may be a directory.
    is_file: bool,
}

pub(super) fn plan(planner: &mut Planner<'_>, export: &Export, draft: &mut Draft) -> PlannedAction {
    let Export {
        path,
        to,
        overwrite,
    } = export;
    let source = draft.pointer.at("export");
    let node = reached(planner, path, &source, draft);
    let is_file = matches!(node, Node::File(_));
    if planner.tree.is_link(path) {
        draft.tree(
            Problem::new(
                ProblemCode::PathKind,
                source,
                format!("`{path}` is a link, and links are not exported"),
            )
            .help("export what it leads to"),
        );
    }
    // In a workspace that lives nobody knows, and it is decided when the step runs.
    let is_known = node != Node::Unknown && matches!(planner.tree.follow(path), Lead::To(_));
    let place = draft.pointer.at("to");
    let shown = text::escape(to);
    let Some(fact) = planner.facts.exports.get(to) else {
        draft.host(
            Problem::new(
                ProblemCode::ExportParent,
                place,
                format!("nothing is known about the host path `{shown}`"),
            )
            .help("gather the facts again for this request"),
        );
        return action(export, PathBuf::new());
    };
    let ExportFact {
        path: host,
        target,
        parent,
        linked_parent,
    } = fact;
    if let Some(link) = linked_parent {
        let link = text::escape(link.as_os_str().as_encoded_bytes());
        draft.host(
            Problem::new(
                ProblemCode::ExportSymlink,
                place.clone(),
                format!("`{shown}` lies behind the link `{link}`"),
            )
            .help("name the place that the link leads to"),
        );
    }
    if let Some(problem) = check_parent(&shown, parent) {
        draft.host(Problem {
            pointer: place.clone(),
            ..problem
        });
    }
    let replaces = match target {
        TargetFact::Missing => None,
        TargetFact::File(size) => Some(format!("file of {}", text::bytes(*size))),
        TargetFact::Directory => Some("directory".to_owned()),
        TargetFact::Other => Some("device, socket or pipe".to_owned()),
        TargetFact::Symlink(to) => {
            let to = text::escape(&to.0);
            draft.host(
                Problem::new(
                    ProblemCode::ExportSymlink,
                    place.clone(),
                    format!("`{shown}` is a link to `{to}`, and nothing is written through links"),
                )
                .help("name the place that the link leads to, or remove the link"),
            );
            None
        }
        TargetFact::Unreadable(why) => {
            draft.host(
                Problem::new(
                    ProblemCode::ExportParent,
                    place.clone(),
                    format!("`{shown}` cannot be looked at: {why}"),
                )
                .help("export to another path"),
            );
            None
        }
    };
    if let Some(there) = &replaces {
        let in_the_way = match target {
            TargetFact::Other => true,
            TargetFact::Directory if is_known && is_file => true,
            TargetFact::File(_) if is_known && !is_file => true,
            TargetFact::File(_) | TargetFact::Directory => *overwrite == Overwrite::Refuse,
            TargetFact::Missing | TargetFact::Symlink(_) | TargetFact::Unreadable(_) => false,
        };
        if in_the_way {
            let help = match (target, overwrite) {
                (TargetFact::File(_) | TargetFact::Directory, Overwrite::Refuse) => {
                    "add `overwrite = true`, or export to another path"
                }
                _ => "export to another path, or remove it first",
            };
            draft.host(
                Problem::new(
                    ProblemCode::ExportExists,
                    place.clone(),
                    format!("`{shown}` already exists on the host: a {there}"),
                )
                .help(help),
            );
        }
    }
    if let Some(earlier) = collides(planner, host) {
        draft.host(
            Problem::new(
                ProblemCode::ExportTwice,
                place,
                format!("`{shown}` is in the way of what step {earlier} exports"),
            )
            .help("give each export a host path of its own"),
        );
    }
    if !draft.is_refused() || !draft.expect_fails {
        let step = draft.number;
        planner
            .exported
            .entry(host.clone())
            .or_insert(Exported { step, is_file });
        planner.host_writes.push(HostWrite {
            path: host.clone(),
            shown: to.clone(),
            replaces,
        });
    }
    action(export, host.clone())
}

fn action(export: &Export, to: PathBuf) -> PlannedAction {
    PlannedAction::Export(PlannedExport {
        path: export.path.clone(),
        to,
        shown: export.to.clone(),
        overwrite: export.overwrite,
    })
}

fn check_parent(shown: &str, parent: &ParentFact) -> Option<Problem> {
    let (message, help) = match parent {
        ParentFact::Directory { writable: true, .. } => return None,
        ParentFact::Directory {
            exists,
            writable: false,
        } => (
            match exists {
                true => format!("you may not write to the directory of `{shown}`"),
                false => format!("you may not create the directory of `{shown}`"),
            },
            "export to a directory that you may write to",
        ),
        ParentFact::NotADirectory(path) => (
            format!(
                "`{shown}` cannot be created: `{}` is not a directory",
                text::escape(
                    path.file_name()
                        .unwrap_or(path.as_os_str())
                        .as_encoded_bytes()
                )
            ),
            "export to another path, or remove what is in the way",
        ),
        ParentFact::Unreadable(why) => (
            format!("the directory of `{shown}` cannot be looked at: {why}"),
            "export to another path",
        ),
    };
    let place = crate::request::Pointer::default();
    Some(Problem::new(ProblemCode::ExportParent, place, message).help(help))
}

/// The earlier export that would be replaced, or be in the way.
fn collides(planner: &Planner<'_>, host: &Path) -> Option<usize> {
    planner
        .exported
        .iter()
        .find(|(path, earlier)| {
            // Into a directory that was exported: fine. Below a file, or around what was exported: not.
            path.starts_with(host) || (host.starts_with(path) && earlier.is_file)
        })
        .map(|(_, earlier)| earlier.step)
}
