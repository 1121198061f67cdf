//! Where a path leads: the planner's answer, the kernel's, and that of a model that goes from node to node.

use super::{Lead, SymbolicTree, guest_path};
use crate::preflight::{EntryKind, SeedEntry, SeedListing};
use crate::request::GuestPath;
use proptest::prelude::*;
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// What stands at a path; `None` is a directory, `Some("")` a file, all else where a link points.
type Nodes = BTreeMap<String, Option<String>>;

/// How a lookup ends.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    At(String),
    Nowhere,
    Out,
    Loop,
    NotADirectory,
}

fn planned(tree: &SymbolicTree<'_>, path: &str) -> End {
    match tree.follow(&guest_path(path.as_bytes())) {
        Lead::To(path) if path.is_root() => End::At(String::new()),
        Lead::To(path) => End::At(path.to_string()),
        Lead::Nowhere => End::Nowhere,
        Lead::Out(_) => End::Out,
        Lead::Loop => End::Loop,
        Lead::FileParent(_) => End::NotADirectory,
        Lead::Unknown => panic!("everything is known"),
    }
}

/// As the agent opens it; a descriptor says by its inode where it is.
fn opened(top: &Path, nodes: &Nodes, path: &str) -> End {
    let folder = std::fs::File::open(top).expect("the folder");
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let path = if path.is_empty() { "." } else { path };
    match openat2(&folder, path, OFlags::PATH, Mode::empty(), resolve) {
        Ok(found) => {
            let inode = rustix::fs::fstat(found).expect("a descriptor").st_ino;
            let is_it = |path: &&str| {
                let metadata = top.join(path).symlink_metadata();
                metadata.expect("it was made").ino() == inode
            };
            let known = nodes.keys().map(String::as_str).chain([""]);
            let at = { known }.find(is_it).expect("inside");
            End::At(at.to_owned())
        }
        Err(Errno::NOENT) => End::Nowhere,
        Err(Errno::XDEV) => End::Out,
        Err(Errno::LOOP) => End::Loop,
        Err(Errno::NOTDIR) => End::NotADirectory,
        Err(other) => panic!("{path}: {other}"),
    }
}

/// The rules of `path_resolution(7)` with nothing above the top.
fn modelled(nodes: &Nodes, path: &str) -> End {
    let mut links = 0;
    match walk(nodes, Vec::new(), path, &mut links) {
        Ok(at) => End::At(at.join("/")),
        Err(end) => end,
    }
}

fn walk(
    nodes: &Nodes,
    mut at: Vec<String>,
    path: &str,
    links: &mut u32,
) -> Result<Vec<String>, End> {
    if path.starts_with('/') {
        return Err(End::Out);
    }
    for part in path.split('/') {
        // Every name after the first, the empty one too, is looked up in a directory.
        if nodes.get(&at.join("/")).is_some_and(Option::is_some) {
            return Err(End::NotADirectory);
        }
        match part {
            "" | "." => {}
            ".." => {
                at.pop().ok_or(End::Out)?;
            }
            name => {
                let dir = at.clone();
                at.push(name.to_owned());
                match nodes.get(&at.join("/")) {
                    None => return Err(End::Nowhere),
                    Some(None) => {}
                    Some(Some(target)) if target.is_empty() => {}
                    Some(Some(target)) => {
                        *links += 1;
                        if *links > 40 {
                            return Err(End::Loop);
                        }
                        at = walk(nodes, dir, target, links)?;
                    }
                }
            }
        }
    }
    Ok(at)
}

/// Makes the nodes, and lists them as the preflight would.
fn made(top: &Path, nodes: &Nodes) -> SeedListing {
    let mut listing = SeedListing::default();
    for (path, node) in nodes {
        let at = top.join(path);
        let kind = match node.as_deref() {
            None => {
                std::fs::create_dir(at).expect("a new folder");
                EntryKind::Directory
            }
            Some("") => {
                std::fs::write(at, "").expect("a new file");
                EntryKind::File
            }
            Some(target) => {
                std::os::unix::fs::symlink(target, at).expect("a new link");
                EntryKind::Symlink(target.into())
            }
        };
        listing.entries.push(SeedEntry {
            path: path.as_str().into(),
            kind,
            mode: 0o755,
            size: 0,
            error: None,
        });
    }
    listing
        .entries
        .sort_by(|one, other| one.path.cmp(&other.path));
    listing
}

fn agree(nodes: &Nodes, paths: &[String]) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listing = made(folder.path(), nodes);
    let tree = SymbolicTree::new(Some(&listing));
    for path in paths {
        let wanted = modelled(nodes, path);
        assert_eq!(planned(&tree, path), wanted, "planned: {path} in {nodes:?}");
        let found = opened(folder.path(), nodes, path);
        assert_eq!(found, wanted, "opened: {path} in {nodes:?}");
    }
}

fn target() -> impl Strategy<Value = String> {
    let part = prop::sample::select(vec!["a", "b", "c", "a", "b", "..", "..", ".", ""]);
    let end = prop::sample::select(vec!["", "", "", "/", "/.", "/.."]);
    let target = (prop::collection::vec(part, 1..4), end);
    let target = target.prop_map(|(parts, end)| format!("{}{end}", parts.join("/")));
    target.prop_filter("a link leads somewhere", |target| !target.is_empty())
}

fn nodes() -> impl Strategy<Value = Nodes> {
    let node = prop_oneof![
        2 => Just(None),
        2 => Just(Some(String::new())),
        4 => target().prop_map(Some),
    ];
    prop::collection::btree_map("[abc](/[abc]){0,2}", node, 1..9).prop_map(|wanted| {
        let mut nodes = Nodes::new();
        for (path, node) in wanted {
            let slashes = path.match_indices('/').map(|(at, _)| &path[..at]);
            let above: Vec<_> = slashes.map(str::to_owned).collect();
            let is_free = |parent: &String| matches!(nodes.get(parent), None | Some(None));
            if above.iter().all(is_free) {
                above.into_iter().for_each(|parent| {
                    nodes.insert(parent, None);
                });
                nodes.entry(path).or_insert(node);
            }
        }
        nodes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn planner_kernel_and_model_agree_where_a_path_leads(
        nodes in nodes(),
        mut paths in prop::collection::vec("[abc](/[abc]){0,3}", 1..12),
    ) {
        paths.extend(nodes.keys().cloned());
        agree(&nodes, &paths);
    }
}

#[test]
fn as_many_links_as_the_kernel_follows() {
    for count in [1, 39, 40, 41, 42] {
        let mut nodes = Nodes::from([("0".to_owned(), Some(String::new()))]);
        nodes.extend((1..=count).map(|at| (at.to_string(), Some((at - 1).to_string()))));
        agree(&nodes, &[count.to_string()]);
    }
}

#[test]
fn a_slash_or_a_dot_at_the_end_wants_a_directory() {
    let node = |target: &str| Some(target.to_owned());
    let nodes = Nodes::from([
        ("d".to_owned(), None),
        ("d/f".to_owned(), node("")),
        ("slash".to_owned(), node("d/f/")),
        ("dot".to_owned(), node("d/f/.")),
        ("good".to_owned(), node("d/./")),
        ("back".to_owned(), node("d/f/..")),
    ]);
    let paths = ["slash", "dot", "good", "good/f", "back"];
    agree(&nodes, &paths.map(str::to_owned));
    assert_eq!(modelled(&nodes, "slash"), End::NotADirectory);
    assert_eq!(GuestPath::root(), guest_path(b""));
}
