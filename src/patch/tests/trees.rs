//! Pairs of trees: the patch of one to the other, applied to the one, gives the other. Here, by git, and by GNU patch
//! where its form allows.

use std::borrow::Cow;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use proptest::collection::vec;
use proptest::prelude::*;
use sha2::{Digest as _, Sha256};

use super::*;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(Vec<u8>, u32),
    Link(Vec<u8>),
}

impl std::fmt::Debug for Nodes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |bytes: &[u8]| bytes.escape_ascii().to_string();
        let mut map = f.debug_map();
        for (name, node) in &self.0 {
            match node {
                Node::File(bytes, mode) => {
                    map.entry(&text(name), &format!("{mode:o} {}", text(bytes)))
                }
                Node::Link(target) => map.entry(&text(name), &format!("-> {}", text(target))),
            };
        }
        map.finish()
    }
}

#[derive(Clone, Default, PartialEq, Eq)]
struct Nodes(BTreeMap<Vec<u8>, Node>);

impl Tree for Nodes {
    fn entry(&self, path: &[u8]) -> Entry<'_> {
        match self.0.get(path) {
            Some(Node::File(bytes, mode)) => Entry::File {
                bytes: Cow::Borrowed(bytes),
                mode: *mode,
            },
            Some(Node::Link(_)) => Entry::Symlink,
            None => {
                let below = [path, b"/"].concat();
                match self.0.range(below.clone()..).next() {
                    Some((next, _)) if next.starts_with(&below) => Entry::Directory,
                    Some(_) | None => Entry::Missing,
                }
            }
        }
    }
}

const NAMES: [&[u8]; 20] = [
    b"a",
    b"b.txt",
    b"a/b",
    b"d/x",
    b"d/y",
    b"d",
    b"e/f/g",
    b"e/f/h",
    b"sp ace/na me",
    b"trailing ",
    b"ta\tb",
    b"new\nline",
    b"quo\"te",
    b"back\\slash",
    b"\xff\xfe",
    "\u{fc}/\u{65e5}".as_bytes(),
    b"x b/x",
    b"-dash",
    b"b/b",
    b"dev/null",
];

fn content() -> impl Strategy<Value = Vec<u8>> {
    let line = prop_oneof![
        8 => "[a-c]{0,2}",
        1 => prop::sample::select(vec!["-- a/f", "++ b/f", "@@ -1 +1 @@", "\\ No newline at end of file", "x\r", "\r", "\u{b}\u{2028}", "diff --git a/f b/f", "-- ", "rename from a"])
            .prop_map(str::to_owned),
    ];
    prop_oneof![
        6 => (vec(line, 1..24), any::<bool>()).prop_map(|(lines, end)| {
            let mut text = lines.join("\n").into_bytes();
            if end {
                text.extend(b"\n\xff\n");
            }
            text
        }),
        1 => Just(Vec::new()),
        1 => Just(b"\n".to_vec()),
        // Long enough to be known again after a change.
        3 => (0..40_u32).prop_map(|from| (from..from + 30).flat_map(|line| format!("line {line}\n").into_bytes()).collect()),
        1 => (0..4_u8).prop_map(|byte| vec![0, byte, b'\n']),
    ]
}

fn node() -> impl Strategy<Value = Node> {
    let mode = prop_oneof![3 => Just(0o644), 1 => Just(0o755)];
    prop_oneof![
        12 => (content(), mode).prop_map(|(bytes, mode)| Node::File(bytes, mode)),
        1 => prop::sample::select(vec!["over/there", "no where", "../\u{fc}"]).prop_map(|target| Node::Link(target.as_bytes().to_vec())),
    ]
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop::sample::select(NAMES.to_vec()).prop_map(<[u8]>::to_vec)
}

#[derive(Debug, Clone)]
enum Edit {
    Put(Vec<u8>, Node),
    Remove(Vec<u8>),
    Move(Vec<u8>, Vec<u8>, bool),
    Mode(Vec<u8>, u32),
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        2 => (name(), node()).prop_map(|(name, node)| Edit::Put(name, node)),
        1 => name().prop_map(Edit::Remove),
        3 => (name(), name(), any::<bool>()).prop_map(|(from, to, edit)| Edit::Move(from, to, edit)),
        1 => (name(), prop::sample::select(vec![0o644, 0o755])).prop_map(|(name, mode)| Edit::Mode(name, mode)),
    ]
}

impl Nodes {
    fn put(&mut self, name: Vec<u8>, node: Node) {
        // A file makes way for a directory, and a directory for a file.
        let below = [&name[..], b"/"].concat();
        let is_above = |other: &[u8]| name.starts_with(&[other, b"/"].concat());
        self.0
            .retain(|other, _| !other.starts_with(&below) && !is_above(other));
        self.0.insert(name, node);
    }

    fn edit(&mut self, edit: Edit) {
        match edit {
            Edit::Put(name, node) => self.put(name, node),
            Edit::Remove(name) => drop(self.0.remove(&name)),
            Edit::Move(from, to, changed) => {
                if let Some(mut node) = self.0.remove(&from) {
                    if let (true, Node::File(bytes, _)) = (changed, &mut node) {
                        bytes.splice(0..0, *b"first\n");
                    }
                    self.put(to, node);
                }
            }
            Edit::Mode(name, new) => {
                if let Some(Node::File(_, mode)) = self.0.get_mut(&name) {
                    *mode = new;
                }
            }
        }
    }

    fn write(&self, dir: &Path) {
        for (name, node) in &self.0 {
            let path = dir.join(OsStr::from_bytes(name));
            std::fs::create_dir_all(path.parent().expect("has a parent")).expect("makes parents");
            match node {
                Node::File(bytes, mode) => {
                    std::fs::write(&path, bytes).expect("writes");
                    let mode = std::fs::Permissions::from_mode(*mode);
                    std::fs::set_permissions(&path, mode).expect("sets the mode");
                }
                Node::Link(target) => symlink(OsStr::from_bytes(target), &path).expect("links"),
            }
        }
    }

    fn read(dir: &Path) -> Self {
        let mut nodes = BTreeMap::new();
        let mut waiting = vec![dir.to_owned()];
        while let Some(folder) = waiting.pop() {
            for entry in std::fs::read_dir(&folder).expect("reads").flatten() {
                let (path, meta) = (entry.path(), entry.metadata().expect("is there"));
                let node = if meta.is_dir() {
                    waiting.push(path);
                    continue;
                } else if meta.is_symlink() {
                    Node::Link(
                        path.read_link()
                            .expect("a link")
                            .into_os_string()
                            .into_encoded_bytes(),
                    )
                } else {
                    let mode = if meta.permissions().mode() & 0o100 == 0 {
                        0o644
                    } else {
                        0o755
                    };
                    Node::File(std::fs::read(&path).expect("readable"), mode)
                };
                let name = path.strip_prefix(dir).expect("below").as_os_str();
                nodes.insert(name.as_bytes().to_vec(), node);
            }
        }
        Self(nodes)
    }

    fn named(&self, name: &[u8]) -> Option<Named> {
        let (bytes, mode) = match self.0.get(name)? {
            Node::File(bytes, mode) => (bytes, 0o100_000 | *mode),
            Node::Link(target) => (target, 0o120_777),
        };
        Some(Named {
            size: bytes.len() as u64,
            sha256: Some(Sha256::digest(bytes).into()),
            mode,
        })
    }

    fn bytes(&self, name: &[u8]) -> Option<Vec<u8>> {
        self.0.get(name).map(|node| match node {
            Node::File(bytes, _) | Node::Link(bytes) => bytes.clone(),
        })
    }
}

fn patch_of(old: &Nodes, new: &Nodes) -> Vec<u8> {
    let mut names: Vec<_> = old.0.keys().chain(new.0.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| old.0.get(name) != new.0.get(name));
    let differences: Vec<_> = names
        .into_iter()
        .map(|path| Difference {
            old: old.named(&path),
            new: new.named(&path),
            path,
        })
        .collect();
    let made = whole_tree(&differences, &mut |which,
                                              difference|
     -> Result<_, Infallible> {
        Ok(match which {
            Which::Old => old.bytes(&difference.path),
            Which::New => new.bytes(&difference.path),
        })
    });
    made.unwrap_or_else(|never| match never {})
}

/// The tree that a program makes of the old one, and whether it was content.
fn by(command: &str, arguments: &[&str], old: &Nodes, patch: &[u8]) -> (bool, Nodes, String) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let tree = dir.path().join("tree");
    std::fs::create_dir(&tree).expect("makes a directory");
    old.write(&tree);
    let file = dir.path().join("patch");
    std::fs::write(&file, patch).expect("writes the patch");
    let done = Command::new(command)
        .args(arguments)
        .env("GIT_DIR", "/nonexistent")
        .env("TMPDIR", dir.path())
        .current_dir(&tree)
        .stdin(std::fs::File::open(&file).expect("opens"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .expect("starts");
    let said = [done.stdout, done.stderr].concat();
    (
        done.status.success(),
        Nodes::read(&tree),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn is_installed(command: &str) -> bool {
    Command::new(command)
        .arg("--version")
        .stdout(Stdio::null())
        .status()
        .is_ok()
}

fn check(old: &Nodes, new: &Nodes) {
    let patch = patch_of(old, new);
    let shown = format!(
        "{}\nold {old:#?}\nnew {new:#?}",
        String::from_utf8_lossy(&patch)
    );
    if old == new {
        assert!(patch.is_empty(), "{shown}");
        return;
    }
    let lines: Vec<_> = patch.split(|&byte| byte == b'\n').collect();
    let binary = lines.iter().any(|line| line.starts_with(b"Binary files "));

    let (content, tree, said) = by("git", &["apply", "--whitespace=nowarn"], old, &patch);
    if binary {
        assert!(
            !content && tree == *old,
            "git takes a part: {said}\n{shown}"
        );
    } else {
        assert!(content && tree == *new, "git: {said}\n{tree:#?}\n{shown}");
    }

    let way = |name: &Vec<u8>, other: &Nodes| {
        let below = [name, &b"/"[..]].concat();
        other.0.keys().any(|other| other.starts_with(&below))
    };
    let file_for_directory = new.0.keys().any(|name| way(name, old));
    let directory_for_file = old.0.keys().any(|name| way(name, new));

    // Links are refused here, and so is a file in the place of a directory; then nothing is taken.
    let differs = |name: &&Vec<u8>| old.0.get(*name) != new.0.get(*name);
    let mut names = old.0.keys().chain(new.0.keys()).filter(differs);
    let is_link = |nodes: &Nodes, name| matches!(nodes.0.get(name), Some(Node::Link(_)));
    let links = names.any(|name| is_link(old, name) || is_link(new, name));
    match parse(&patch).and_then(|patch| apply(&patch, Match::Exact, old)) {
        Ok(applied) => {
            assert!(!binary && !links, "{shown}");
            let mut tree = old.clone();
            for change in applied.files.iter().filter(|change| change.after.is_none()) {
                tree.0.remove(&change.path);
            }
            for change in applied.files {
                if let Some((bytes, mode)) = change.after {
                    tree.0.insert(change.path, Node::File(bytes, mode));
                }
            }
            assert_eq!(tree, *new, "{shown}");
        }
        Err(refusals) => {
            let may = binary || links || file_for_directory;
            assert!(may, "{refusals:#?}\n{shown}");
        }
    }

    // It passes over binary files, and applies one section after the other: no file may have to make way for a
    // directory, or the other way round.
    let makes_way = file_for_directory || directory_for_file;
    let lines_in_names = patch.windows(2).any(|pair| pair == b"\\n");
    if !binary && !links && !makes_way && !lines_in_names && is_installed("patch") {
        let arguments = [
            "-p1",
            "--binary",
            "--force",
            "--no-backup-if-mismatch",
            "--silent",
        ];
        let (content, tree, said) = by("patch", &arguments, old, &patch);
        assert!(content && tree == *new, "patch: {said}\n{tree:#?}\n{shown}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_patch_of_two_trees_makes_one_of_the_other(
        nodes in vec((name(), node()), 0..8),
        edits in vec(edit(), 0..6),
        others in prop::option::weighted(0.2, vec((name(), node()), 0..8)),
    ) {
        let mut old = Nodes::default();
        nodes.into_iter().for_each(|(name, node)| old.put(name, node));
        let mut new = old.clone();
        if let Some(others) = others {
            new = Nodes::default();
            others.into_iter().for_each(|(name, node)| new.put(name, node));
        }
        edits.into_iter().for_each(|edit| new.edit(edit));
        check(&old, &new);
        check(&new, &old);
    }
}

fn nodes(files: &[(&str, &[u8], u32)]) -> Nodes {
    let files = files.iter();
    Nodes(
        files
            .map(|(name, bytes, mode)| {
                (name.as_bytes().to_vec(), Node::File(bytes.to_vec(), *mode))
            })
            .collect(),
    )
}

#[test]
fn renames_are_told_as_such() {
    let text: Vec<u8> = (0..20)
        .flat_map(|line| format!("line {line}\n").into_bytes())
        .collect();
    let edited = [&text[..], b"one more\n"].concat();
    let old = nodes(&[
        ("bin/logo.png", b"\0\x01", 0o644),
        ("old/exact.txt", &text, 0o644),
        ("old/near.txt", &[&text[..], b"near\n"].concat(), 0o644),
        ("other.txt", b"something else\n", 0o644),
        ("empty", b"", 0o644),
    ]);
    let new = nodes(&[
        ("img/logo.png", b"\0\x01", 0o644),
        ("new/exact.txt", &text, 0o755),
        ("new/near.txt", &edited, 0o644),
        ("another.txt", b"nothing of it\n", 0o644),
        ("void", b"", 0o644),
    ]);
    check(&old, &new);
    insta::assert_snapshot!(String::from_utf8(patch_of(&old, &new)).expect("text"));
}
