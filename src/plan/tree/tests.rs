use super::{Contents, FileNode, Lead, Node, Obstacle, SymbolicTree, guest_path};
use crate::patch::{Entry, Tree as _};
use crate::preflight::{EntryKind, FileFact, SeedContent, SeedEntry, SeedListing};
use crate::request::GuestPath;
use proptest::prelude::*;

fn path(text: &str) -> GuestPath {
    GuestPath::parse(text).expect("a test writes good paths")
}

/// `dir/`, `link -> target`, or a file that holds its own name.
fn seed(lines: &[&str]) -> SeedListing {
    let mut listing = SeedListing::default();
    for line in lines {
        let (name, kind) = match line.split_once(" -> ") {
            Some((name, target)) => (name, EntryKind::Symlink(target.into())),
            None => match line.strip_suffix('/') {
                Some(name) => (name, EntryKind::Directory),
                None => (*line, EntryKind::File),
            },
        };
        if kind == EntryKind::File {
            listing.contents.push(SeedContent {
                path: name.into(),
                file: FileFact::Content(name.into()),
            });
        }
        listing.entries.push(SeedEntry {
            path: name.into(),
            size: name.len() as u64,
            kind,
            mode: 0o600,
            error: None,
        });
    }
    listing.entries.sort_by(|a, b| a.path.cmp(&b.path));
    listing.contents.sort_by(|a, b| a.path.cmp(&b.path));
    listing
}

fn known(tree: &SymbolicTree<'_>, at: &str) -> Option<(String, u32)> {
    match tree.lookup(&path(at)) {
        Node::File(FileNode {
            contents: Contents::Known(bytes),
            mode,
            ..
        }) => Some((String::from_utf8_lossy(bytes).into_owned(), mode)),
        Node::File(_) | Node::Absent | Node::Directory | Node::Symlink(_) | Node::Unknown => None,
    }
}

#[test]
fn writes_make_their_parents_and_keep_modes() {
    let seed = seed(&["a"]);
    let mut tree = SymbolicTree::new(Some(&seed));
    tree.put(&path("a"), b"new".to_vec(), None);
    tree.put(&path("x/y/z"), b"z".to_vec(), None);
    tree.put(&path("run"), b"#!".to_vec(), Some(0o755));
    assert_eq!(known(&tree, "a"), Some(("new".into(), 0o600)));
    assert_eq!(known(&tree, "x/y/z"), Some(("z".into(), 0o644)));
    assert_eq!(known(&tree, "run"), Some(("#!".into(), 0o755)));
    assert_eq!(tree.lookup(&path("x/y")), Node::Directory);
}

#[test]
fn what_is_deleted_stays_deleted_when_its_directory_comes_back() {
    let seed = seed(&["d/", "d/a", "d/b", "d2"]);
    let mut tree = SymbolicTree::new(Some(&seed));
    tree.put(&path("d/c"), b"c".to_vec(), None);
    tree.remove(&path("d"));
    for gone in ["d", "d/a", "d/b", "d/c"] {
        assert_eq!(tree.lookup(&path(gone)), Node::Absent, "{gone}");
    }
    assert!(
        known(&tree, "d2").is_some(),
        "only a whole part is a prefix"
    );
    tree.put(&path("d/a"), b"again".to_vec(), None);
    assert_eq!(known(&tree, "d/a"), Some(("again".into(), 0o644)));
    assert_eq!(tree.lookup(&path("d/b")), Node::Absent);
    let below: Vec<_> = tree.below(&path("d")).into_keys().collect();
    assert_eq!(below, [b"d/a"]);
}

#[test]
fn writes_follow_no_links_and_replace_no_directories() {
    let seed = seed(&["d/", "f", "l -> f", "ld -> d"]);
    let tree = SymbolicTree::new(Some(&seed));
    for (at, obstacle) in [
        ("d", Some(Obstacle::Directory)),
        ("l", Some(Obstacle::Link)),
        ("ld/x", Some(Obstacle::LinkedParent(path("ld")))),
        ("f/x/y", Some(Obstacle::FileParent(path("f")))),
        (".", Some(Obstacle::Root)),
        ("f", None),
        ("d/x", None),
        ("new/x", None),
    ] {
        assert_eq!(tree.obstacle(&path(at)), obstacle, "{at}");
    }
}

#[test]
fn reads_follow_links_that_stay_inside() {
    let seed = seed(&[
        "d/",
        "d/f",
        "up -> d/../d/f",
        "abs -> /workspace/d",
        "rel -> ./d",
        "out -> ../etc",
        "etc -> /etc/passwd",
        "x -> y",
        "y -> x",
        "f",
    ]);
    let tree = SymbolicTree::new(Some(&seed));
    for (at, lead) in [
        ("up", Lead::To(path("d/f"))),
        ("rel/f", Lead::To(path("d/f"))),
        ("abs/f", Lead::Out(path("abs"))),
        ("d", Lead::To(path("d"))),
        (".", Lead::To(path("."))),
        ("out", Lead::Out(path("out"))),
        ("etc", Lead::Out(path("etc"))),
        ("x", Lead::Loop),
        ("nowhere/at/all", Lead::Nowhere),
        ("f/x", Lead::FileParent(path("f"))),
    ] {
        assert_eq!(tree.follow(&path(at)), lead, "{at}");
    }
}

#[test]
fn a_link_is_told_from_what_it_leads_to() {
    let seed = seed(&["d/", "d/f", "d/l -> f", "ld -> d"]);
    let tree = SymbolicTree::new(Some(&seed));
    for (at, is_link) in [
        ("d/l", true),
        ("ld/l", true),
        ("ld", true),
        ("ld/f", false),
        (".", false),
    ] {
        assert_eq!(tree.is_link(&path(at)), is_link, "{at}");
    }
}

#[test]
fn what_nobody_knows_is_not_called_missing() {
    let mut tree = SymbolicTree::unknown();
    assert_eq!(tree.lookup(&path("a")), Node::Unknown);
    assert_eq!(tree.follow(&path("a/b")), Lead::Unknown);
    tree.put(&path("a"), b"known".to_vec(), None);
    assert!(known(&tree, "a").is_some());
    tree.remove(&path("a"));
    assert_eq!(tree.lookup(&path("a")), Node::Absent);
    tree.forget(&path("a"));
    assert_eq!(tree.lookup(&path("a")), Node::Unknown);
}

#[test]
fn what_moves_is_known_where_it_is_then() {
    let seed = seed(&["d/", "d/f", "d/gone", "d/l -> f", "e/", "e/f"]);
    let mut tree = SymbolicTree::new(Some(&seed));
    tree.put(&path("d/new/x"), b"x".to_vec(), Some(0o755));
    tree.remove(&path("d/gone"));
    tree.forget(&path("d/open"));
    tree.remove(&path("e"));
    tree.relocate(&path("d"), &path("e"));
    assert_eq!(known(&tree, "e/f"), Some(("d/f".into(), 0o600)));
    assert_eq!(known(&tree, "e/new/x"), Some(("x".into(), 0o755)));
    assert_eq!(tree.lookup(&path("e/l")), Node::Symlink(b"f"));
    assert_eq!(tree.lookup(&path("e/gone")), Node::Absent);
    assert_eq!(tree.lookup(&path("e/open/below")), Node::Unknown);
    assert_eq!(tree.lookup(&path("d/f")), Node::Absent);
    assert_eq!(tree.below(&path("d")).len(), 0);
    // And back, with what was done to it in between.
    tree.put(&path("e/f"), b"other".to_vec(), None);
    tree.relocate(&path("e"), &path("deep/d"));
    assert_eq!(known(&tree, "deep/d/f"), Some(("other".into(), 0o600)));
    assert_eq!(tree.lookup(&path("e/f")), Node::Absent);
}

#[test]
fn of_what_moves_nobody_knows_more_than_before() {
    let mut tree = SymbolicTree::unknown();
    tree.remove(&path("to"));
    tree.put(&path("from/known"), b"known".to_vec(), None);
    tree.remove(&path("from/gone"));
    tree.relocate(&path("from"), &path("to"));
    assert_eq!(tree.lookup(&path("to/else")), Node::Unknown);
    assert_eq!(tree.lookup(&path("to/gone")), Node::Absent);
    assert!(known(&tree, "to/known").is_some());
    assert_eq!(tree.lookup(&path("from/else")), Node::Absent);
}

#[test]
fn patches_see_the_same_tree() {
    let seed = seed(&["d/", "f", "l -> f"]);
    let tree = SymbolicTree::new(Some(&seed));
    assert_eq!(tree.entry(b"d"), Entry::Directory);
    assert_eq!(tree.entry(b"l"), Entry::Symlink);
    assert_eq!(tree.entry(b"n"), Entry::Missing);
    assert!(matches!(tree.entry(b"f"), Entry::File { mode: 0o600, .. }));
}

#[derive(Debug, Clone)]
enum Change {
    Put(String),
    Remove(String),
}

fn changes() -> impl Strategy<Value = Vec<Change>> {
    let name = "[ab](/[ab]){0,3}";
    let change = prop_oneof![
        3 => name.prop_map(Change::Put),
        1 => name.prop_map(Change::Remove),
    ];
    prop::collection::vec(change, 0..24)
}

proptest! {
    /// Whatever is written and deleted: everything lies in a directory, and the listing is what lookups say.
    #[test]
    fn the_tree_stays_a_tree(changes in changes()) {
        let seed = seed(&["a/", "a/a", "a/b/", "a/b/a", "b"]);
        let mut tree = SymbolicTree::new(Some(&seed));
        for change in &changes {
            match change {
                Change::Put(at) if tree.obstacle(&path(at)).is_none() => {
                    tree.put(&path(at), at.clone().into_bytes(), None);
                    prop_assert!(known(&tree, at).is_some());
                }
                Change::Put(_) => {}
                Change::Remove(at) => {
                    tree.remove(&path(at));
                    prop_assert_eq!(tree.lookup(&path(at)), Node::Absent);
                    prop_assert!(tree.below(&path(at)).is_empty());
                }
            }
        }
        let all = tree.below(&GuestPath::root());
        for (at, node) in &all {
            let at = guest_path(at);
            prop_assert_eq!(tree.lookup(&at), *node);
            prop_assert!(tree.obstacle_above(&at).is_none());
            let parent = at.parent().expect("nothing below the root is the root");
            prop_assert_eq!(tree.lookup(&parent), Node::Directory);
        }
    }
}
