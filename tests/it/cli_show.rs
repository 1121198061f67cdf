//! `pyro show`: what it prints is a request, and the same one.

use crate::harness::{Ran, World, root, shown};
use pyro::preflight::variables;
use pyro::request::{Syntax, Values, emit, parse, resolve};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

const REQUEST: &str = r#"
# A comment is no part of the request.
pyro = 1
vars.who = "world"
vars.dollar = "$"
vars.odd = '${vars.who} \d'
env = ["PYRO_SHOWN"]
matrix.n = ["1", "2"]
workspace.seed = "seeds/${vars.who}"
workspace.disk = "1GiB"

[[step]]
id = "say"
exec = ["echo", "${vars.who} ${matrix.n} ${env.PYRO_SHOWN}", "$${vars.who} ${HOME}", "${vars.dollar}{vars.who}", "${vars.odd}"]
stdin = "${vars.who} is data"
capture.word.stdout.regex = '\w+'
expect.stdout.contains = "${vars.who}"

[[step]]
write."a" = "${vars.who}"
interpolate = true

[[step]]
exec = ["echo", "${vars.who}: ${step.say.word}"]
"#;

/// What the host variable of the request holds.
const VARIABLE: &str = "${vars.who}$";

fn with_variable(world: &World, args: &[&str]) -> Ran {
    let mut command = world.command(args);
    let command = command.env("PYRO_SHOWN", VARIABLE);
    world.ran(command.output().expect("pyro starts"))
}

// proves: V10
#[test]
fn variables_are_filled_in_and_what_is_known_later_stays() {
    let world = World::with(REQUEST);
    let file = "request.pyro.toml";
    let args = ["show", "--resolved", file, "--var", "who=moon"];
    let shown = with_variable(&world, &args).ended(0).stdout();
    insta::assert_snapshot!(shown);
}

#[test]
fn without_resolved_variables_stay() {
    let world = World::with(REQUEST);
    let file = "request.pyro.toml";
    // The host variable is not read: it is not set here.
    let toml = world.pyro(["show", file]).ended(0).stdout();
    assert!(
        toml.contains(r#"exec = ["echo", "${vars.who}: ${step.say.word}"]"#),
        "{toml}"
    );
    world.write("again.pyro.toml", &toml);
    let json = world
        .pyro(["show", file, "--emit", "json"])
        .ended(0)
        .stdout();
    world.write("again.pyro.json", &json);
    for again in ["again.pyro.toml", "again.pyro.json"] {
        assert_eq!(
            world.pyro(["show", again]).ended(0).stdout(),
            toml,
            "{again}"
        );
    }
}

#[test]
fn what_cannot_be_filled_in_is_told() {
    let world = World::with(REQUEST);
    let file = "request.pyro.toml";
    let mut text = String::new();
    for args in [
        &["show", "--resolved", file][..],
        &["show", "--resolved", file, "--var", "hwo=moon"],
        &["show", file, "--var", "who=moon"],
        &["show", "none.pyro.toml"],
    ] {
        text.push_str(&shown(&world, args));
        text.push('\n');
    }
    world.write(
        "dollar.pyro.toml",
        "pyro = 1\nvars.a = \"$\"\nmatrix.n = [\"1\"]\n[[step]]\nexec = [\"echo\", \"${vars.a}${matrix.n}\"]\n",
    );
    text.push_str(&shown(&world, &["show", "--resolved", "dollar.pyro.toml"]));
    insta::assert_snapshot!(text);
}

/// Everything that has a plan: fixtures and examples.
fn planned() -> Vec<PathBuf> {
    let folders = ["fixtures/plan", "fixtures/run", "examples"].map(|folder| root().join(folder));
    let mut found: Vec<_> = folders
        .iter()
        .flat_map(|folder| fs::read_dir(folder).expect("a folder"))
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.join("request.pyro.toml").is_file())
        .collect();
    found.sort();
    found
}

#[test]
fn what_is_shown_resolves_to_the_same() {
    let mut cases = 0;
    for case in planned() {
        let text = fs::read(case.join("request.pyro.toml")).expect("the request");
        let (request, _) = parse("request", &text, Syntax::Toml).expect("a request");
        let values = Values {
            env: Some(variables(&request)),
            ..Values::default()
        };
        // A host variable of the fixture is not set here.
        let Ok(meant) = resolve(&request, &values) else {
            continue;
        };
        let shown = request.resolved(&BTreeMap::new()).expect("it is filled in");
        for syntax in [Syntax::Toml, Syntax::Json] {
            let text = emit(&shown, syntax);
            let (again, _) = parse("again", text.as_bytes(), syntax).expect("a request");
            assert_eq!(again, shown, "{}", case.display());
            let again = resolve(&again, &values).expect("its references lead somewhere");
            assert_eq!(again, meant, "{}", case.display());
        }
        cases += 1;
    }
    assert!(cases > 20, "only {cases} cases could be filled in");
}

#[test]
fn what_is_shown_plans_to_the_same() {
    let world = World::with(REQUEST);
    world.write("seeds/moon/file", "in the seed\n");
    let plan = |text: &[u8], vars: &[&str]| {
        // The same name, so that the whole text must be the same, digests and all.
        fs::write(world.work().join("in"), text).expect("it can be written");
        let mut command = world.command(["plan", "-"].iter().chain(vars));
        let text = fs::File::open(world.work().join("in")).expect("it is there");
        let command = command.env("PYRO_SHOWN", VARIABLE).stdin(text);
        let ran = world.ran(command.output().expect("pyro starts"));
        ran.ended(0).stdout()
    };
    let vars = ["--var", "who=moon"];
    let meant = plan(REQUEST.as_bytes(), &vars);
    assert!(meant.contains("moon 2 ${vars.who}$"), "{meant}");
    for syntax in ["toml", "json"] {
        let args = ["show", "--resolved", "request.pyro.toml", "--emit", syntax];
        let shown = with_variable(&world, &[&args[..], &vars].concat()).ended(0);
        assert_eq!(plan(&shown.stdout, &[]), meant, "{}", shown.stdout());
    }
}
