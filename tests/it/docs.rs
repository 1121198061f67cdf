//! The documents say what the code says: every code is in its table, every field is described, every link leads
//! somewhere.

use crate::harness::root;
use pyro::Exit;
use pyro::patch::RefusalCode;
use pyro::plan::ProblemCode;
use pyro::receipt::Receipt;
use pyro::request::ErrorCode;
use std::fs;
use std::path::PathBuf;

pub(crate) fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).expect("the document is readable")
}

/// README.md and everything in docs and specs.
pub(crate) fn documents() -> Vec<PathBuf> {
    let mut found = vec![root().join("README.md")];
    let mut folders = vec![root().join("docs"), root().join("specs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of documents") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

/// A fenced block: the line it begins on, what its fence says, what it holds.
pub(crate) struct Block {
    pub(crate) line: usize,
    pub(crate) info: String,
    pub(crate) text: String,
}

pub(crate) fn blocks(document: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in document.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                open = Some(Block {
                    line: index + 1,
                    info: info.to_owned(),
                    text: String::new(),
                });
            }
            (Some(_), Some("")) => blocks.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is never closed");
    blocks
}

/// The codes in the first column of the table below a heading, in order.
fn table<'a>(document: &'a str, heading: &str) -> Vec<&'a str> {
    let (_, section) = document
        .split_once(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("no section `{heading}`"));
    let section = section.split("\n## ").next().unwrap_or_default();
    let (_, rows) = section.split_once("\n|---|---|\n").expect("a table");
    rows.lines()
        .map_while(|row| row.strip_prefix("| ")?.split(" |").next())
        .map(|cell| cell.trim_matches('`'))
        .collect()
}

#[test]
fn every_code_is_listed_once_and_in_order() {
    let errors = read("specs/errors.md");
    let listed = |heading| table(&errors, heading);
    let parse: Vec<_> = ErrorCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(listed("Mistakes in the document"), parse);
    let problems: Vec<_> = ProblemCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(listed("Reasons to refuse a plan"), problems);
    let refusals: Vec<_> = RefusalCode::ALL.iter().map(|code| code.as_str()).collect();
    assert_eq!(listed("Reasons to refuse a patch"), refusals);
    let exits: Vec<_> = Exit::ALL.map(|exit| exit.code().to_string()).to_vec();
    assert_eq!(listed("Exit codes"), exits);
}

#[test]
fn the_guests_codes_are_those_of_the_wire() {
    let generation: serde_json::Value =
        serde_json::from_str(&read("specs/wire/gen-1.json")).expect("the frozen wire is JSON");
    let frozen = generation["failure_codes"].as_array().expect("a list");
    let frozen: Vec<_> = frozen.iter().map(|code| code.as_str()).collect();
    let errors = read("specs/errors.md");
    let listed: Vec<_> = table(&errors, "Reasons to refuse a step")
        .into_iter()
        .map(Some)
        .collect();
    assert_eq!(listed, frozen);
}

#[test]
fn the_receipt_is_described_whole() {
    let specification = read("specs/receipt.md");
    let example = blocks(&specification)
        .into_iter()
        .find(|block| block.info == "json")
        .expect("an example");
    let receipt: Receipt = serde_json::from_str(&example.text).expect("the example is a receipt");
    assert_eq!(receipt.to_json(), example.text);
    let files = ["model", "step", "paths", "refusal", "text", "runs"];
    let files = files.map(|file| read(&format!("src/receipt/{file}.rs")));
    let model = files.concat();
    let fields = model
        .lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "))
        .filter(|(name, _)| !name.contains(' '))
        .map(|(name, _)| name);
    let missing: Vec<_> = fields
        .filter(|name| {
            !specification.contains(&format!("`{name}`")) && *name != "text" && *name != "base64"
        })
        .collect();
    assert!(missing.is_empty(), "not in specs/receipt.md: {missing:?}");
}

/// The targets of `[text](target)` outside of fences and code.
fn links(document: &str) -> Vec<String> {
    let mut fenced = false;
    let prose = document.lines().filter(|line| {
        let fence = line.starts_with("```");
        fenced ^= fence;
        !fenced && !fence
    });
    let prose: Vec<_> = prose.collect();
    let prose = prose.join("\n");
    let prose: String = prose.split('`').step_by(2).collect();
    prose
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(str::to_owned)
        .collect()
}

/// A heading as GitHub makes an anchor of it.
fn anchor(heading: &str) -> String {
    heading
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            c if c.is_alphanumeric() => Some(c.to_ascii_lowercase()),
            _ => None,
        })
        .collect()
}

#[test]
fn links_lead_somewhere() {
    let mut wrong = Vec::new();
    for path in documents() {
        let text = fs::read_to_string(&path).expect("the document is readable");
        for link in links(&text) {
            if link.contains("://") {
                continue;
            }
            let (file, heading) = link.split_once('#').unwrap_or((&link, ""));
            let folder = path.parent().expect("it lies in a folder");
            let target = if file.is_empty() {
                path.clone()
            } else {
                folder.join(file)
            };
            let found = fs::metadata(&target).is_ok()
                && (heading.is_empty()
                    || fs::read_to_string(&target).is_ok_and(|text| {
                        let titles = text.lines().filter(|line| line.starts_with('#'));
                        titles
                            .map(|title| anchor(title.trim_start_matches('#').trim()))
                            .any(|title| title == heading)
                    }));
            if !found {
                wrong.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Every source file of the repository, by its path.
pub(crate) fn sources() -> Vec<(PathBuf, String)> {
    let mut found = Vec::new();
    let mut folders: Vec<_> = ["src", "tests", "guest/src", "guest/tests", "guest/protocol"]
        .map(|folder| root().join(folder))
        .into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder of the source") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).expect("source is text");
                found.push((path, text));
            }
        }
    }
    found
}

/// Whether there is a test of this name, as FILE::TEST.
pub(crate) fn is_test(name: &str, sources: &[(PathBuf, String)]) -> bool {
    let Some((file, test)) = name.split_once("::") else {
        return false;
    };
    // The sandbox's tests have a harness of their own, with a list of names.
    let forms = [format!("fn {test}("), format!("\"{test}\"")];
    sources.iter().any(|(path, text)| {
        let parts = path.components().rev().take(2);
        let mut parts = parts.filter_map(|part| part.as_os_str().to_str());
        parts.any(|part| part == file || part.strip_suffix(".rs") == Some(file))
            && forms.iter().any(|form| text.contains(form.as_str()))
    })
}

#[test]
fn promises_name_tests_and_cases_that_exist() {
    let promises = read("docs/PROMISES.md");
    let sources = sources();
    let mut wrong = Vec::new();
    for name in promises.split('`').skip(1).step_by(2) {
        let found = if name.starts_with("fixtures/") {
            root().join(name).is_dir()
        } else if name.contains("::") {
            is_test(name, &sources)
        } else {
            true
        };
        if !found {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "docs/PROMISES.md names {wrong:#?}");
}
