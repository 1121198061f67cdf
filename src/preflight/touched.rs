//! Which files a request names: host files it takes text from, and seed files whose contents a plan needs.

use super::facts::FileFact;
use crate::patch;
use crate::request::{Action, Content, GuestPath, Move, Request, Step, TextExpect};
use std::collections::{BTreeMap, BTreeSet};

/// Every `from` of the request, as it spells them.
pub(super) fn from_files(request: &Request) -> BTreeSet<&str> {
    let mut out = BTreeSet::new();
    for (_, step) in request.selected() {
        contents(step, &mut |content| match content {
            Content::From(path) => {
                out.insert(path.as_str());
            }
            Content::Text(_) | Content::Bytes(_) => {}
        });
    }
    out
}

/// Every golden of the request, as it spells them.
pub(super) fn goldens(request: &Request) -> BTreeSet<&str> {
    let steps = request.selected().map(|(_, step)| &step.expect);
    let texts = steps.flat_map(|expect| {
        [
            &expect.stdout,
            &expect.stderr,
            &expect.content,
            &expect.text,
        ]
    });
    texts
        .flatten()
        .filter_map(|text| text.golden.as_deref())
        .collect()
}

/// Calls `see` with every content of a step, in document order.
fn contents<'a>(step: &'a Step, see: &mut impl FnMut(&'a Content)) {
    match &step.action {
        Action::Exec(exec) => exec.stdin.iter().for_each(&mut *see),
        Action::Write(write) => write.files.values().for_each(|file| see(&file.content)),
        Action::Patch(patch) => see(&patch.patch),
        Action::Delete(_)
        | Action::Move(_)
        | Action::Read(_)
        | Action::List(_)
        | Action::Search(_)
        | Action::Diff(_)
        | Action::Sync(_)
        | Action::Export(_)
        | Action::Pull(_)
        | Action::Snapshot(_)
        | Action::Reset(_) => {}
    }
    let expect = &step.expect;
    let texts = [
        &expect.stdout,
        &expect.stderr,
        &expect.content,
        &expect.text,
    ];
    for text in texts.into_iter().flatten() {
        let TextExpect { equals, .. } = text;
        equals.iter().for_each(&mut *see);
    }
}

/// Those of the paths that lie below a directory, relative to it.
pub(super) fn below(paths: &BTreeSet<Vec<u8>>, dir: &GuestPath) -> BTreeSet<Vec<u8>> {
    let inside = |path: &Vec<u8>| match dir.is_root() {
        true => Some(path.clone()),
        false => {
            let rest = path.strip_prefix(dir.as_bytes())?;
            rest.strip_prefix(b"/").map(<[u8]>::to_vec)
        }
    };
    paths.iter().filter_map(inside).collect()
}

/// Every path of the workspace whose earlier contents matter.
pub(super) fn guest_paths(
    request: &Request,
    from: &BTreeMap<String, FileFact>,
) -> BTreeSet<Vec<u8>> {
    let mut out = BTreeSet::new();
    let steps: Vec<_> = request.selected().map(|(_, step)| step).collect();
    // From the last one on: what is named after a move was somewhere else before it.
    for step in steps.into_iter().rev() {
        let mut add = |path: &[u8]| {
            out.insert(path.to_vec());
        };
        match &step.action {
            Action::Write(write) => write.files.keys().for_each(|path| add(path.as_bytes())),
            Action::Patch(step) => {
                step.base.keys().for_each(|path| add(path.as_bytes()));
                let text = match &step.patch {
                    Content::Text(text) => text.as_bytes(),
                    Content::Bytes(bytes) => bytes,
                    Content::From(path) => match from.get(path) {
                        Some(FileFact::Content(bytes)) => bytes,
                        Some(_) | None => continue,
                    },
                };
                if let Ok(patch) = patch::parse(text) {
                    for name in patch::candidate_names(&patch) {
                        add(&name);
                    }
                }
            }
            Action::Delete(delete) => delete.paths.iter().for_each(|path| add(path.as_bytes())),
            Action::Move(Move { from, to }) => {
                let before = |path: &Vec<u8>| {
                    let rest = path.strip_prefix(to.as_bytes())?;
                    let is_it = rest.is_empty() || rest.starts_with(b"/");
                    is_it.then(|| [from.as_bytes(), rest].concat())
                };
                let moved: Vec<_> = out.iter().filter_map(before).collect();
                out.extend(moved);
            }
            Action::Read(read) => read.paths.iter().for_each(|path| add(path.as_bytes())),
            Action::Exec(_)
            | Action::List(_)
            | Action::Search(_)
            | Action::Diff(_)
            | Action::Sync(_)
            | Action::Export(_)
            | Action::Pull(_)
            | Action::Snapshot(_)
            | Action::Reset(_) => {}
        }
    }
    out
}
