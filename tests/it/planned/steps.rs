//! Seeds and requests as proptest makes them: choices first, which become paths and texts once it is known what the
//! tree has by then.

use super::tree::{Node, Tree};
use base64::Engine as _;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use pyro::patch::{Side, quote, unified};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A name of a seed: mostly one of a few, so that paths meet.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => select(vec!["a", "b", "c"]).prop_map(|name| name.as_bytes().to_vec()),
        1 => select(vec![
            &b"odd \xff name"[..],
            b"new\nline",
            "t\u{e4}b\t".as_bytes(),
            b"-dash",
            b"..dots",
            b"\"quoted\"",
            b"back\\slash",
            b" ",
            b".git",
            b"a.orig",
        ])
        .prop_map(<[u8]>::to_vec),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    vec(name(), 1..4).prop_map(|parts| parts.join(&b'/'))
}

/// A name of a request, which is text.
fn text_name() -> impl Strategy<Value = String> {
    name().prop_map(|name| String::from_utf8(name).unwrap_or_else(|_| "n".to_owned()))
}

fn contents() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        6 => select(vec!["one\n", "two\n", "three\n", "\n", "}\n"]).prop_map(str::as_bytes),
        1 => select(vec![&b"\xff\xfe\n"[..], b"crlf\r\n", b"\0\n", b"-- \n", b"--- a\n", b"@@ -1 +1 @@\n"]),
    ];
    let lines = (
        vec(line, 0..12),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
    );
    lines.prop_map(|(lines, cut, crlf)| {
        let mut bytes = lines.concat();
        if cut {
            bytes.pop();
        }
        if crlf {
            bytes = bytes
                .split_inclusive(|byte| *byte == b'\n')
                .flat_map(|line| [line.strip_suffix(b"\n").unwrap_or(line), b"\r\n"].concat())
                .collect();
        }
        bytes
    })
}

fn node() -> impl Strategy<Value = Node> {
    // Whoever runs the tests must be able to read the seed: its owner always may.
    let modes = vec![
        0o644, 0o755, 0o600, 0o444, 0o400, 0o777, 0o4755, 0o2711, 0o1644,
    ];
    let file = (contents(), select(modes)).prop_map(|(bytes, mode)| Node::File { bytes, mode });
    let modes = vec![0o755, 0o700, 0o555, 0o500, 0o777, 0o1777, 0o2755];
    let directory = select(modes).prop_map(|mode| Node::Directory { mode });
    let target = prop_oneof![
        4 => path(),
        2 => path().prop_map(|path| [b"../", &path[..]].concat()),
        1 => select(vec!["..", ".", "a/..", "b/../c", "a/", "/a", "/workspace/a", "../../a", "c/./b"])
            .prop_map(|target| target.as_bytes().to_vec()),
    ];
    let link = target.prop_map(|target| Node::Link { target });
    prop_oneof![6 => file, 2 => directory, 3 => link, 1 => Just(Node::Fifo)]
}

/// A seed, and whether equal files of it are hard links of each other.
pub(crate) fn seed() -> impl Strategy<Value = (Tree, bool)> {
    let paths = btree_map(path(), node(), 0..10);
    (paths, any::<bool>()).prop_map(|(paths, twins)| {
        let mut tree = Tree::default();
        for (path, node) in paths {
            // Shorter paths come first: what lies below a file or a link cannot be.
            let mut at = 0;
            let mut fits = true;
            while let Some(slash) = path[at..].iter().position(|byte| *byte == b'/') {
                let parent = path[..at + slash].to_vec();
                at += slash + 1;
                let new = Node::Directory { mode: 0o755 };
                let there = tree.0.entry(parent).or_insert(new);
                fits &= matches!(there, Node::Directory { .. });
                if !fits {
                    break;
                }
            }
            if fits {
                tree.0.entry(path).or_insert(node);
            }
        }
        (tree, twins)
    })
}

/// How a path is chosen.
#[derive(Debug, Clone)]
enum Pick {
    /// Something that is there.
    There(Index),
    /// A file that is there.
    File(Index),
    /// Below something that is there, be it a file or a link.
    Below(Index, String),
    /// Any.
    Any(Vec<String>),
}

fn pick() -> impl Strategy<Value = Pick> {
    prop_oneof![
        3 => any::<Index>().prop_map(Pick::There),
        4 => any::<Index>().prop_map(Pick::File),
        2 => (any::<Index>(), text_name()).prop_map(|(index, name)| Pick::Below(index, name)),
        3 => vec(text_name(), 1..4).prop_map(Pick::Any),
    ]
}

impl Pick {
    fn path(&self, tree: &Tree) -> String {
        let named = |wanted: &dyn Fn(&Node) -> bool| -> Vec<&str> {
            let paths = tree.0.iter().filter(|(_, node)| wanted(node));
            paths
                .filter_map(|(path, _)| std::str::from_utf8(path).ok())
                .collect()
        };
        let one = |paths: Vec<&str>, index: &Index| match paths.as_slice() {
            [] => "a".to_owned(),
            paths => (*index.get(paths)).to_owned(),
        };
        match self {
            Self::There(index) => one(named(&|_| true), index),
            Self::File(index) => one(named(&|node| matches!(node, Node::File { .. })), index),
            Self::Below(index, name) => format!("{}/{name}", one(named(&|_| true), index)),
            Self::Any(parts) => parts.join("/"),
        }
    }
}

/// One section of a patch.
#[derive(Debug, Clone)]
enum Section {
    /// Lines of a file become others; the last says whether from the file as it is.
    Edit(Pick, Vec<(Index, Option<&'static str>)>, bool),
    Create(Pick, Vec<u8>, bool),
    Delete(Index),
    Rename(Index, Pick, bool),
    Mode(Index),
}

fn section() -> impl Strategy<Value = Section> {
    let edit = (
        any::<Index>(),
        select(vec![None, Some("new\n"), Some("one\n")]),
    );
    prop_oneof![
        6 => (any::<Index>().prop_map(Pick::File), vec(edit, 1..3), prop::bool::weighted(0.9))
            .prop_map(|(pick, edits, fresh)| Section::Edit(pick, edits, fresh)),
        2 => (pick(), contents(), any::<bool>())
            .prop_map(|(pick, bytes, runs)| Section::Create(pick, bytes, runs)),
        1 => any::<Index>().prop_map(Section::Delete),
        1 => (any::<Index>(), pick(), any::<bool>())
            .prop_map(|(index, to, copy)| Section::Rename(index, to, copy)),
        1 => any::<Index>().prop_map(Section::Mode),
    ]
}

/// What a step shall be.
#[derive(Debug, Clone)]
enum Wish {
    Write(Vec<(Pick, Vec<u8>, Option<u32>, bool)>),
    Patch(Vec<Section>, bool),
    Delete(Vec<Pick>, bool),
    Move(Pick, Pick),
    Read(Vec<Pick>),
    List(Pick, bool),
    Export(Pick, u8, bool),
    Snapshot(&'static str),
    Reset(&'static str),
    Sync(Option<Pick>, bool, bool),
}

/// What snapshots are called here: few names, so that some come twice and some are missed.
fn mark() -> impl Strategy<Value = &'static str> {
    select(vec!["one", "two", "three"])
}

fn wish() -> impl Strategy<Value = Wish> {
    let mode = prop::option::weighted(0.4, select(vec![0o644, 0o755, 0o600, 0o444, 0o777]));
    let file = (pick(), contents(), mode, prop::bool::weighted(0.2));
    prop_oneof![
        4 => vec(file, 1..4).prop_map(Wish::Write),
        5 => (vec(section(), 1..4), prop::bool::weighted(0.2))
            .prop_map(|(sections, exact)| Wish::Patch(sections, exact)),
        2 => (vec(pick(), 1..4), any::<bool>())
            .prop_map(|(picks, ignore)| Wish::Delete(picks, ignore)),
        3 => (pick(), pick()).prop_map(|(from, to)| Wish::Move(from, to)),
        2 => vec(pick(), 1..3).prop_map(Wish::Read),
        1 => (pick(), any::<bool>()).prop_map(|(pick, deep)| Wish::List(pick, deep)),
        2 => (pick(), 0..3_u8, any::<bool>())
            .prop_map(|(pick, to, overwrite)| Wish::Export(pick, to, overwrite)),
        1 => mark().prop_map(Wish::Snapshot),
        1 => prop_oneof![2 => mark(), 1 => Just("baseline")].prop_map(Wish::Reset),
        3 => (prop::option::of(pick()), any::<bool>(), prop::bool::weighted(0.3))
            .prop_map(|(to, archive, without)| Wish::Sync(to, archive, without)),
    ]
}

/// The steps of a request, and whether each is expected to be refused.
#[derive(Debug, Clone)]
pub(crate) struct Wishes(Vec<(Wish, bool)>);

pub(crate) fn wishes() -> impl Strategy<Value = Wishes> {
    vec((wish(), prop::bool::weighted(0.05)), 3..10).prop_map(Wishes)
}

impl Wishes {
    /// The document for a seed, which lies beside it as `seed`; `other` and `other.tar` are what `sync` steps take.
    pub(crate) fn document(&self, seed: &Tree, other: &Tree) -> Value {
        let mut tree = seed.seeded();
        let mut marks = BTreeMap::from([("baseline", tree.clone())]);
        let steps = self.0.iter().map(|(wish, fails)| {
            let mut step = wish.step(&mut tree, other);
            if let Wish::Snapshot(name) = wish {
                marks.entry(name).or_insert_with(|| tree.clone());
            } else if let Wish::Reset(name) = wish
                && let Some(kept) = marks.get(name)
            {
                tree = kept.clone();
            }
            if *fails {
                step["expect"] = json!({ "fails": true });
            }
            step
        });
        json!({ "pyro": 1, "workspace": { "seed": "seed" }, "step": steps.collect::<Vec<_>>() })
    }
}

impl Wish {
    /// The step, for a tree that is about as `tree` by then, which becomes about what the step makes of it.
    fn step(&self, tree: &mut Tree, other: &Tree) -> Value {
        match self {
            Self::Write(files) => {
                let mut table = Map::new();
                for (pick, bytes, mode, append) in files {
                    let path = pick.path(tree);
                    let mut file = match append {
                        true => json!({ "append": content_or_text(bytes) }),
                        false => content(bytes),
                    };
                    if let Some(mode) = mode {
                        file["mode"] = format!("{mode:04o}").into();
                    }
                    roughly(tree, path.as_bytes(), bytes);
                    table.insert(path, file);
                }
                json!({ "write": table })
            }
            Self::Patch(sections, exact) => {
                let mut text = Vec::new();
                let mut after = tree.clone();
                for section in sections {
                    section.write(tree, &mut after, &mut text);
                }
                *tree = after;
                let matching = if *exact { "exact" } else { "unique" };
                let text = match String::from_utf8(text) {
                    Ok(text) => text.into(),
                    Err(error) => content(error.as_bytes()),
                };
                json!({ "patch": text, "match": matching })
            }
            Self::Delete(picks, ignore) => {
                let paths: Vec<_> = picks.iter().map(|pick| pick.path(tree)).collect();
                paths.iter().for_each(|path| tree.remove(path.as_bytes()));
                json!({ "delete": paths, "missing": if *ignore { "ignore" } else { "error" } })
            }
            Self::Move(from, to) => {
                let (from, to) = (from.path(tree), to.path(tree));
                tree.relocate(from.as_bytes(), to.as_bytes());
                json!({ "move": from, "to": to })
            }
            Self::Read(picks) => {
                let paths: Vec<_> = picks.iter().map(|pick| pick.path(tree)).collect();
                json!({ "read": paths })
            }
            Self::List(pick, deep) => json!({ "list": pick.path(tree), "recursive": deep }),
            Self::Sync(to, archive, without) => {
                let from = if *archive { "other.tar" } else { "other" };
                let mut step = json!({ "sync": from });
                let mut taken = other.seeded();
                if *without {
                    step["exclude"] = json!(["/a"]);
                    taken.remove(b"a");
                }
                let mut place = String::new();
                if let Some(to) = to {
                    place = to.path(tree);
                    step["to"] = place.clone().into();
                }
                tree.lay(&taken, place.as_bytes());
                step
            }
            Self::Export(pick, to, overwrite) => {
                json!({ "export": pick.path(tree), "to": format!("out/{to}"), "overwrite": overwrite })
            }
            Self::Snapshot(name) => json!({ "snapshot": name }),
            Self::Reset(name) => json!({ "reset": name }),
        }
    }
}

/// As a patch and what is added are given.
fn content_or_text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.into(),
        Err(_) => content(bytes),
    }
}

fn content(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => json!({ "text": text }),
        Err(_) => json!({ "base64": base64::engine::general_purpose::STANDARD.encode(bytes) }),
    }
}

/// As a write would go, where it can.
fn roughly(tree: &mut Tree, path: &[u8], bytes: &[u8]) {
    if matches!(tree.0.get(path), None | Some(Node::File { .. })) {
        let file = Node::File {
            bytes: bytes.to_vec(),
            mode: 0o644,
        };
        tree.0.insert(path.to_vec(), file);
    }
}

impl Section {
    fn write(&self, before: &Tree, after: &mut Tree, text: &mut Vec<u8>) {
        let files: Vec<_> = (before.0.iter())
            .filter_map(|(path, node)| match node {
                Node::File { bytes, mode } => Some((path, bytes, *mode)),
                Node::Directory { .. } | Node::Link { .. } | Node::Fifo => None,
            })
            .collect();
        let file = |index: &Index| (!files.is_empty()).then(|| *index.get(&files));
        fn side(bytes: &[u8], mode: u32) -> Side<'_> {
            Side { bytes, mode }
        }
        match self {
            Self::Edit(pick, edits, fresh) => {
                let path = pick.path(before).into_bytes();
                let Some((_, bytes, mode)) = files.iter().find(|(known, ..)| **known == path)
                else {
                    return;
                };
                let mut lines: Vec<_> = bytes
                    .split_inclusive(|byte| *byte == b'\n')
                    .map(<[u8]>::to_vec)
                    .collect();
                if !fresh {
                    lines.insert(0, b"stale\n".to_vec());
                }
                let old = lines.concat();
                for (index, new) in edits {
                    let at = index.index(lines.len() + 1);
                    match new {
                        Some(new) => lines.insert(at, new.as_bytes().to_vec()),
                        None if at < lines.len() => drop(lines.remove(at)),
                        None => {}
                    }
                }
                let new = lines.concat();
                text.extend(unified(
                    &path,
                    Some(side(&old, *mode)),
                    Some(side(&new, *mode)),
                ));
                roughly(after, &path, &new);
            }
            Self::Create(pick, bytes, runs) => {
                let path = pick.path(before).into_bytes();
                let mode = if *runs { 0o755 } else { 0o644 };
                text.extend(unified(&path, None, Some(side(bytes, mode))));
                roughly(after, &path, bytes);
            }
            Self::Delete(index) => {
                if let Some((path, bytes, mode)) = file(index) {
                    text.extend(unified(path, Some(side(bytes, mode)), None));
                    after.remove(path);
                }
            }
            Self::Rename(index, to, copy) => {
                if let Some((from, bytes, _)) = file(index) {
                    let to = to.path(before).into_bytes();
                    let word = if *copy { "copy" } else { "rename" };
                    let with = |prefix: &[u8], path: &[u8]| quote(&[prefix, path].concat());
                    let (from_name, to_name) = (quote(from), quote(&to));
                    text.extend(
                        [
                            b"diff --git ",
                            &with(b"a/", from)[..],
                            b" ",
                            &with(b"b/", &to),
                        ]
                        .concat(),
                    );
                    text.extend(format!("\nsimilarity index 100%\n{word} from ").bytes());
                    text.extend([&from_name[..], b"\n"].concat());
                    text.extend(
                        [word.as_bytes(), b" to ".as_slice(), &to_name[..], b"\n"].concat(),
                    );
                    if !copy {
                        after.remove(from);
                    }
                    roughly(after, &to, bytes);
                }
            }
            Self::Mode(index) => {
                if let Some((path, bytes, mode)) = file(index) {
                    let other = mode ^ 0o111;
                    text.extend(unified(
                        path,
                        Some(side(bytes, mode)),
                        Some(side(bytes, other)),
                    ));
                }
            }
        }
    }
}
