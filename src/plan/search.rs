//! `search`, against the expected tree.

use super::draft::Draft;
use super::planner::Planner;
use super::tree::Node;
use super::{PlannedAction, PlannedSearch, Problem, ProblemCode, expect, files, text, workspace};
use crate::exclude;
use crate::request::{Expect, GuestPath, Search, Size};

const MATCHES: u64 = 1000;
const BYTES: Size = Size::from_bytes(1 << 20);
/// More is read by nobody, and a receipt holds it twice.
const MOST_BYTES: Size = Size::from_bytes(16 << 20);

pub(super) fn plan(
    planner: &mut Planner<'_>,
    search: &Search,
    wanted: &Expect,
    draft: &mut Draft,
) -> PlannedAction {
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
    let place = draft.pointer.at("search");
    if !draft.is_late(&place) {
        expect::readable_regex(regex, place, draft);
    }
    let place = draft.pointer.at("in");
    for (index, path) in paths.iter().enumerate() {
        let place = match paths.as_slice() {
            [_] => place.clone(),
            _ => place.at(index),
        };
        match files::reached(planner, path, &place, draft) {
            Node::Absent | Node::Directory | Node::File(_) | Node::Symlink(_) | Node::Unknown => {}
        }
    }
    for (key, patterns) in [("include", include), ("exclude", exclude)] {
        for (index, pattern) in patterns.iter().enumerate() {
            if let Some(why) = exclude::bad_pattern(pattern) {
                let place = draft.pointer.at(key).at(index);
                draft.input(workspace::pattern_invalid(pattern, &why, place));
            }
        }
    }
    let bytes = max_bytes.unwrap_or(BYTES);
    if bytes == Size::from_bytes(0) || bytes > MOST_BYTES {
        draft.input(
            Problem::new(
                ProblemCode::OutOfRange,
                draft.pointer.at("max_bytes"),
                format!("from 1B to {MOST_BYTES} of lines can be told"),
            )
            .help(format!("leave it out for {BYTES}, and go on with `after`")),
        );
    }
    let matches = max_matches.unwrap_or(MATCHES);
    if matches == 0 || matches > Search::MOST {
        let most = text::grouped(Search::MOST);
        draft.input(
            Problem::new(
                ProblemCode::OutOfRange,
                draft.pointer.at("max_matches"),
                format!("from 1 to {most} lines can be told"),
            )
            .help("leave it out for 1000, and go on with `after`"),
        );
    }
    if after.is_none() && after_line.is_some() {
        draft.input(
            Problem::new(
                ProblemCode::OutOfRange,
                draft.pointer.at("after_line"),
                "`after_line` is about the file that `after` names, and there is none",
            )
            .help("add `after`, or take this out"),
        );
    }
    PlannedAction::Search(PlannedSearch {
        regex: regex.clone(),
        paths: outermost(paths),
        include: include.clone(),
        exclude: exclude.clone(),
        max_matches: matches,
        max_bytes: bytes,
        after: after.clone(),
        after_line: *after_line,
        text: expect::text(
            planner,
            wanted.text.as_ref(),
            &draft.pointer.at("expect").at("text"),
            draft,
        ),
    })
}

/// The paths in their order, without those that lie below others; the workspace itself where there are none.
fn outermost(paths: &[GuestPath]) -> Vec<GuestPath> {
    let mut sorted = paths.to_vec();
    sorted.sort();
    sorted.dedup();
    if sorted.is_empty() || sorted.iter().any(GuestPath::is_root) {
        return vec![GuestPath::root()];
    }
    let is_below = |path: &GuestPath| {
        let mut above = std::iter::successors(path.parent(), GuestPath::parent);
        above.any(|parent| sorted.contains(&parent))
    };
    sorted
        .iter()
        .filter(|path| !is_below(path))
        .cloned()
        .collect()
}
