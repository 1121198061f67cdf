//! Every example of `specs/errors.md` does what its fence says, and every code has one; a request in any document is a
//! request.
//!
//! | fence | held by |
//! |---|---|
//! | `toml error=CODE`, `toml problem=CODE` | parsed and planned here |
//! | `toml as-an-ordinary-user=CODE` | the same, where we are one |
//! | `toml refused=CODE`, `toml fails=CODE` | run by the binary |
//! | `console says=CODE` | a shell |
//! | `rust in-code=CODE` | stands in a test below |
//! | `json call=CODE` | the agent's own tests, `guest/tests/agent/errors.rs` |
//! | `text seen=CODE by=FILE::TEST` | that test, or that case: `by=fixtures/...` |

use crate::docs::{Block, blocks, documents, is_test, read, sources};
use crate::harness::{Ran, World, binary, is_root, root};
use pyro::Request;
use pyro::plan::plan;
use pyro::preflight::{Surroundings, gather};
use pyro::request::{Action, GuestPath, Step, Syntax, Values, parse, resolve};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;
use std::process::Command;

/// What no test brings about.
const UNSEEN: [&str; 1] = ["bug"];

const HELLO: &str =
    "pyro = 1\nworkspace.seed = \"project\"\n\n[[step]]\nexec = [\"echo\", \"hello\"]\n";
const GOLDEN: &str = "pyro = 1\n\n[[step]]\nid = \"build\"\nexec = [\"true\"]\nexpect.stdout.golden = \"expected.txt\"\n";

/// What `specs/errors.md` says that its examples lie beside.
fn surroundings(base: &Path) -> Surroundings {
    for folder in ["project", "empty", "state", "root/bin", "secret"] {
        fs::create_dir_all(base.join(folder)).expect("a new folder");
    }
    fs::write(
        base.join("project/main.c"),
        "int main(void) { return 1; }\n",
    )
    .expect("a new file");
    let texts = [
        (
            "list.txt",
            "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n",
        ),
        ("twice.txt", "a\nb\nc\na\nb\nc\n"),
        ("quote.txt", "a line\nit says \"hi\"\nthe end\n"),
    ];
    for (name, text) in texts {
        fs::write(base.join("project").join(name), text).expect("a new file");
    }
    fs::write(base.join("taken.txt"), "taken\n").expect("a new file");
    fs::write(base.join("cut.tar.gz"), b"\x1f\x8b\x08\0").expect("a new file");
    fs::write(base.join("lay.tar"), [0; 1024]).expect("a new file");
    for (name, size) in [("big.bin", 65 << 20), ("film.bin", 30 << 20)] {
        let file = fs::File::create(base.join(name)).expect("a new file");
        file.set_len(size).expect("a file with a hole");
    }
    symlink("project", base.join("link")).expect("a new link");
    let closed = fs::Permissions::from_mode(0o700);
    fs::set_permissions(base.join("state"), closed).expect("closes");
    for (name, text) in [
        ("hello.pyro.toml", HELLO),
        ("untidy.pyro.toml", "pyro=1\n"),
        ("golden.pyro.toml", GOLDEN),
    ] {
        fs::write(base.join(name), text).expect("a new file");
    }
    Surroundings {
        base_dir: base.to_owned(),
        state_dir: base.join("state"),
        home: None,
    }
}

/// `Ok` where the document can be planned, else the codes of all that speaks against it.
fn codes(text: &str, around: &Surroundings) -> Result<(), BTreeSet<String>> {
    let (request, _) =
        parse("request.pyro.toml", text.as_bytes(), Syntax::Toml).map_err(|errors| {
            errors
                .iter()
                .map(|e| format!("error={}", e.code))
                .collect::<BTreeSet<_>>()
        })?;
    let request = resolve(&request, &Values::default()).map_err(|errors| {
        errors
            .iter()
            .map(|e| format!("error={}", e.code))
            .collect::<BTreeSet<_>>()
    })?;
    match plan(&request, &gather(&request, around), "request.pyro.toml") {
        Ok(_) => Ok(()),
        Err(problems) => Err(problems
            .into_iter()
            .map(|problem| format!("problem={}", problem.code))
            .collect()),
    }
}

/// The first two words of an example's fence: how it is held, and the code.
fn held(block: &Block) -> Option<(&str, &str)> {
    let (how, code) = block.info.split(' ').nth(1)?.split_once('=')?;
    Some((how, code))
}

#[test]
fn requests_in_documents_are_what_their_fences_say() {
    let folder = tempfile::tempdir().expect("a folder");
    let around = surroundings(&folder.path().canonicalize().expect("it is there"));
    let secret = folder.path().join("secret");
    let set = |mode| fs::set_permissions(&secret, fs::Permissions::from_mode(mode));
    set(0o000).expect("closes");
    for path in documents() {
        let text = fs::read_to_string(&path).expect("the document is readable");
        for block in blocks(&text) {
            if block.info.split(' ').next() != Some("toml") {
                continue;
            }
            let place = format!("{}:{}", path.display(), block.line);
            let found = codes(&block.text, &around);
            match held(&block) {
                Some((how @ ("error" | "problem"), code)) => {
                    let wanted = BTreeSet::from([format!("{how}={code}")]);
                    assert_eq!(found, Err(wanted), "{place}");
                }
                Some(("as-an-ordinary-user", code)) if !is_root() => {
                    let wanted = BTreeSet::from([format!("problem={code}")]);
                    assert_eq!(found, Err(wanted), "{place}");
                }
                Some(("refused" | "fails", _)) => assert_eq!(found, Ok(()), "{place}"),
                Some(_) => {}
                None if !block.text.starts_with("pyro = 1\n") => {}
                None => {
                    // It may need what is not here; what matters is that it is a request.
                    let unparsed = found.err().into_iter().flatten();
                    let unparsed: Vec<_> = unparsed.filter(|c| c.starts_with("error=")).collect();
                    assert!(unparsed.is_empty(), "{place}: {unparsed:?}");
                }
            }
        }
    }
    // It could not be removed otherwise.
    set(0o700).expect("opens");
}

/// A folder as the examples want it.
fn world() -> World {
    let world = World::new();
    surroundings(&world.work());
    fs::create_dir(world.base().join("bin")).expect("a new folder");
    symlink(binary(), world.base().join("bin/pyro")).expect("a new link");
    world
}

/// Runs a line in a shell there, `pyro` being ours.
fn shell(world: &World, line: &str) -> Ran {
    let folder = world.base().join("bin");
    let path = std::env::var("PATH").unwrap_or_default();
    let command = world.command(["--version"]);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", line])
        .current_dir(world.work())
        .env("PATH", format!("{}:{path}", folder.display()));
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell.env("PYRO_STATE_DIR", world.work().join("state"));
    world.ran(shell.output().expect("sh starts"))
}

#[test]
fn steps_are_refused_as_the_examples_say() {
    let errors = read("specs/errors.md");
    let mut count = 0;
    for block in blocks(&errors) {
        let Some((how @ ("refused" | "fails"), code)) = held(&block) else {
            continue;
        };
        let world = world();
        world.write("request.pyro.toml", &block.text);
        let limit = block
            .text
            .contains("# Where no file may have more than 20 MB");
        let line = format!(
            "{}pyro apply request.pyro.toml --json",
            if limit { "ulimit -f 40000; " } else { "" }
        );
        let receipt = shell(&world, &line).ended(4).json();
        let last = receipt["steps"].as_array().and_then(|steps| steps.last());
        let last = last.expect("a step");
        let found = match how {
            "refused" => last["refusal"]["code"] == code,
            _ => last["failures"][0]["pointer"].is_string(),
        };
        assert!(found, "specs/errors.md:{}: {last:#}", block.line);
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[test]
fn commands_answer_as_the_examples_say() {
    let errors = read("specs/errors.md");
    let mut count = 0;
    for block in blocks(&errors) {
        let Some(("says", code)) = held(&block) else {
            continue;
        };
        let place = format!("specs/errors.md:{}", block.line);
        let lines = block.text.lines();
        let (commands, answer): (Vec<_>, Vec<_>) = lines.partition(|line| line.starts_with("$ "));
        let commands: Vec<_> = commands.iter().map(|line| &line[2..]).collect();
        let (last, first) = commands.split_last().expect("a command");
        let first: String = first.iter().map(|line| format!("{line}\n")).collect();
        if !answer.is_empty() {
            let shown = shell(&world(), &format!("{first}{last} 2>&1")).stdout();
            let shown: Vec<_> = shown.lines().filter(|line| !is_hint(line)).collect();
            assert_eq!(shown, answer, "{place}");
        }
        let told = shell(&world(), &format!("{first}{last} --json"));
        let error = match serde_json::from_slice::<Value>(&told.stdout) {
            Ok(answer) => answer["error"].clone(),
            Err(_) => panic!("{place}: {}", told.text()),
        };
        assert_eq!(error["code"], code, "{place}: {}", told.text());
        count += 1;
    }
    assert!(count > 10, "{count}");
}

/// What stands below every answer.
fn is_hint(line: &str) -> bool {
    line.starts_with("hint: ") || line.is_empty()
}

#[test]
fn examples_in_code_are_refused() -> Result<(), Box<dyn std::error::Error>> {
    let folder = tempfile::tempdir()?;
    let around = surroundings(folder.path());
    let refused = |request: &Request| -> BTreeSet<String> {
        let problems = plan(request, &gather(request, &around), "code").expect_err("refused");
        let codes = problems.into_iter().map(|problem| problem.code.to_string());
        codes.collect()
    };

    let mut request = Request::new("host")
        .step(Step::exec(["true"]).id("a"))
        .step(Step::exec(["true"]))
        .build()?;
    request.steps[1].id = request.steps[0].id.clone();
    assert_eq!(refused(&request), BTreeSet::from(["id-twice".to_owned()]));

    let mut request = Request::new("host").step(Step::delete(["a"])).build()?;
    if let Action::Delete(delete) = &mut request.steps[0].action {
        delete.paths = vec![GuestPath::root()];
    }
    assert_eq!(
        refused(&request),
        BTreeSet::from(["delete-root".to_owned()])
    );

    let ours = include_str!("error_examples.rs").lines().map(str::trim);
    let ours: BTreeSet<_> = ours.collect();
    for block in blocks(&read("specs/errors.md")) {
        if block.info.starts_with("rust in-code=") {
            for line in block.text.lines() {
                assert!(ours.contains(line.trim()), "no test has this line: {line}");
            }
        }
    }
    Ok(())
}

#[test]
fn every_code_has_an_example_that_is_held() {
    let errors = read("specs/errors.md");
    let sources = sources();
    let mut shown = BTreeSet::new();
    for block in blocks(&errors) {
        let Some((how, code)) = held(&block) else {
            continue;
        };
        shown.insert(code.to_owned());
        let known = match (block.info.split(' ').next(), how) {
            (Some("text"), "seen") => {
                let test = block.info.split(' ').nth(2).unwrap_or("by=nobody");
                let test = test.strip_prefix("by=").unwrap_or_default();
                let case = || {
                    let told = root().join(test).join("expected.snap");
                    let told = fs::read_to_string(told).unwrap_or_default();
                    test.starts_with("fixtures/") && told.contains(&format!("error[{code}]"))
                };
                UNSEEN.contains(&code) || is_test(test, &sources) || case()
            }
            (Some("toml"), how) => {
                let all = [
                    "error",
                    "problem",
                    "as-an-ordinary-user",
                    "refused",
                    "fails",
                ];
                all.contains(&how)
            }
            (form, how) => [("console", "says"), ("rust", "in-code"), ("json", "call")]
                .iter()
                .any(|known| (form, how) == (Some(known.0), known.1)),
        };
        assert!(known, "specs/errors.md:{}: nobody holds it", block.line);
    }
    let all = pyro::explain::codes().into_iter();
    let without: Vec<_> = all
        .filter(|one| one.code.parse::<u8>().is_err() && !shown.contains(&one.code))
        .map(|one| one.code)
        .collect();
    assert!(without.is_empty(), "codes without an example: {without:?}");
}
