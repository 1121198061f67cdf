//! Three workspaces of one project side by side, each with another fix. Run it with
//! `PYRO_BIN=target/release/pyro cargo run --example parallel`.
//!
//! Everything begins when it is asked for, so the three work at the same time; `.await` would do in an async program
//! what `.wait()` does here.

#![expect(clippy::print_stdout, reason = "an example shows something")]

use pyro::Request;
use pyro::sdk::{Error, Pyro, Workspace};

const FIXES: [(&str, &str); 3] = [
    ("wrong", "expr 2 + 3"),
    ("right", "expr 2 \\* 3"),
    ("clumsy", "printf '6\\n'"),
];

fn main() -> Result<(), Error> {
    let pyro = Pyro::open(None)?;
    let making: Vec<_> = FIXES
        .map(|(name, _)| pyro.create_workspace(Request::new("host").workspace_name(name)))
        .into();
    let workspaces: Vec<Workspace> = making
        .into_iter()
        .map(pyro::sdk::Task::wait)
        .collect::<Result<_, _>>()?;

    let trying: Vec<_> = workspaces
        .iter()
        .zip(FIXES)
        .map(|(workspace, (_, line))| {
            let script = format!("#!/bin/sh\n{line}\n");
            workspace.run([
                pyro::Step::write("six.sh", script),
                pyro::Step::exec(["sh", "six.sh"]).expect_stdout_equals("6\n"),
            ])
        })
        .collect();
    for ((name, _), tried) in FIXES.into_iter().zip(trying) {
        println!("{name:<8}{}", tried.wait()?.receipt.outcome.as_str());
    }

    let removing: Vec<_> = workspaces.iter().map(Workspace::delete).collect();
    removing.into_iter().try_for_each(pyro::sdk::Task::wait)
}
