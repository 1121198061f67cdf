//! Reads `fixtures/patch`, whose README says what the lines mean.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use pyro::patch::{Entry, Tree};

/// What is at a path of a case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Node {
    /// Content and permission bits.
    File(Vec<u8>, u32),
    /// Where it leads.
    Link(Vec<u8>),
}

/// The files and links of a tree.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Nodes(pub(crate) BTreeMap<Vec<u8>, Node>);

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

/// What must come of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expect {
    Apply,
    Refuse,
    /// One of the results, or a refusal.
    Either,
}

#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) id: String,
    pub(crate) category: String,
    pub(crate) expect: Expect,
    pub(crate) why: String,
    pub(crate) mention: Option<String>,
    pub(crate) before: Nodes,
    pub(crate) patch: Vec<u8>,
    /// Every accepted result.
    pub(crate) after: Vec<Nodes>,
}

/// All cases, sorted by category.
pub(crate) fn all(root: &Path) -> Vec<Case> {
    let root = root.join("fixtures/patch");
    let mut files = Vec::new();
    for folder in ["hostile", "llm", "own"] {
        for entry in fs::read_dir(root.join(folder)).expect("the fixtures are there") {
            files.push(entry.expect("an entry").path());
        }
    }
    files.sort();
    files.iter().flat_map(|file| read(&root, file)).collect()
}

/// Where the lines of a file go.
enum Into {
    Before(Vec<u8>),
    Patch,
    After(Vec<u8>),
}

fn read(root: &Path, file: &PathBuf) -> Vec<Case> {
    let category = file.strip_prefix(root).expect("below the fixtures");
    let category = category.with_extension("").display().to_string();
    let text = fs::read_to_string(file).expect("a file of cases is UTF-8");
    let mut cases: Vec<Case> = Vec::new();
    let mut into = Into::Patch;
    for (at, line) in text.split_terminator('\n').enumerate() {
        if line.is_empty() {
            continue;
        }
        let wrong = || format!("{}:{}: {line}", file.display(), at + 1);
        if let Some(id) = line.strip_prefix("case ") {
            cases.push(Case {
                id: id.to_owned(),
                category: category.clone(),
                expect: Expect::Refuse,
                why: String::new(),
                mention: None,
                before: Nodes::default(),
                patch: Vec::new(),
                after: Vec::new(),
            });
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("{}", wrong()));
        if line.starts_with(['|', '\\', '*', '=', '^']) {
            let old = match &into {
                Into::After(path) => match case.before.0.get(path) {
                    Some(Node::File(bytes, _)) => bytes.clone(),
                    Some(Node::Link(_)) | None => Vec::new(),
                },
                Into::Before(_) | Into::Patch => Vec::new(),
            };
            let bytes = match &into {
                Into::Patch => &mut case.patch,
                Into::Before(path) => content(&mut case.before, path),
                Into::After(path) => content(case.after.last_mut().expect("`after` made it"), path),
            };
            append(bytes, &old, line).unwrap_or_else(|| panic!("{}", wrong()));
            continue;
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "expect" => {
                case.expect = match rest {
                    "apply" => Expect::Apply,
                    "refuse" => Expect::Refuse,
                    "either" => Expect::Either,
                    _ => panic!("{}", wrong()),
                }
            }
            "why" => case.why = rest.to_owned(),
            "mention" => case.mention = Some(rest.to_owned()),
            "label" | "from" | "refuse" => {}
            "link" => {
                let (path, target) = rest.split_once(" -> ").expect("a link and its target");
                let target = Node::Link(target.as_bytes().to_vec());
                case.before.0.insert(name(path), target);
            }
            "before" => {
                let (rest, text) = match rest.split_once(" < ") {
                    Some((rest, text)) => {
                        let text = fs::read(root.join("texts").join(text));
                        (
                            rest,
                            text.unwrap_or_else(|error| panic!("{}: {error}", wrong())),
                        )
                    }
                    None => (rest, Vec::new()),
                };
                let (mode, path) = mode_and_name(rest);
                case.before.0.insert(path.clone(), Node::File(text, mode));
                into = Into::Before(path);
            }
            "patch" => into = Into::Patch,
            "after" | "gone" | "or" => {
                if case.after.is_empty() || word == "or" {
                    case.after.push(case.before.clone());
                }
                let after = case.after.last_mut().expect("just made");
                if word == "gone" {
                    assert!(after.0.remove(&name(rest)).is_some(), "{}", wrong());
                } else if word == "after" {
                    let (mode, path) = mode_and_name(rest);
                    after.0.insert(path.clone(), Node::File(Vec::new(), mode));
                    into = Into::After(path);
                }
            }
            _ => panic!("{}", wrong()),
        }
    }
    cases
}

fn content<'a>(nodes: &'a mut Nodes, path: &[u8]) -> &'a mut Vec<u8> {
    match nodes.0.get_mut(path) {
        Some(Node::File(bytes, _)) => bytes,
        Some(Node::Link(_)) | None => panic!("the file was made just now"),
    }
}

/// Adds what one line of the fixture stands for.
fn append(bytes: &mut Vec<u8>, old: &[u8], line: &str) -> Option<()> {
    let (mark, rest) = line.split_at(1);
    match mark {
        "|" => bytes.extend([rest.as_bytes(), b"\n"].concat()),
        "\\" => bytes.extend([unescape(rest)?, b"\n".to_vec()].concat()),
        "*" => {
            let end = rest.find(['|', '\\'])?;
            for _ in 0..rest[..end].parse().ok()? {
                append(bytes, old, &rest[end..])?;
            }
        }
        "=" => {
            let (first, last) = rest.split_once('-')?;
            let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
            let lines: Vec<&[u8]> = old.split_inclusive(|&byte| byte == b'\n').collect();
            bytes.extend(lines.get(first - 1..last)?.concat());
        }
        _ => drop(bytes.pop_if(|byte| *byte == b'\n')?),
    }
    Some(())
}

fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        if let Some(hex) = rest.strip_prefix('x') {
            out.push(u8::from_str_radix(hex.get(..2)?, 16).ok()?);
            rest = &hex[2..];
        } else if let Some(tail) = rest.strip_prefix('r') {
            out.push(b'\r');
            rest = tail;
        } else {
            out.push(b'\\');
            rest = rest.strip_prefix('\\')?;
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

fn mode_and_name(text: &str) -> (u32, Vec<u8>) {
    let (mode, path) = text.split_once(' ').expect("a mode and a name");
    let mode = u32::from_str_radix(mode, 8).expect("an octal mode");
    (mode, name(path))
}

/// A name, maybe in quotes and with octal escapes, as git prints it.
fn name(text: &str) -> Vec<u8> {
    let Some(quoted) = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'))
    else {
        return text.as_bytes().to_vec();
    };
    let mut out = Vec::new();
    let mut bytes = quoted.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        let next = bytes.next().expect("something is escaped");
        if next.is_ascii_digit() {
            let mut digit = || bytes.next().expect("three octal digits") - b'0';
            out.push(((next - b'0') << 6) | (digit() << 3) | digit());
        } else {
            out.push(next);
        }
    }
    out
}
