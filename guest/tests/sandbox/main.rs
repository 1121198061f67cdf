//! Real sandboxes, as whoever runs the test: root with a range of ids, everybody else with their one id.
//!
//! Arguments are parts of test names, as with the usual harness.

#![expect(clippy::print_stdout, reason = "a test program reports there")]

mod client;
mod layers;
mod life;
mod link;
mod probe;
mod programs;
mod resets;
mod sets;
mod terminals;
mod walls;

use std::process::ExitCode;
use std::time::Instant;

type Test = (&'static str, fn());

fn main() -> ExitCode {
    // Started as a zygote, with an empty environment: the same program.
    let serve = match std::env::args_os().next() {
        Some(name) if name == "pyro-agent" => Some(client::serve as fn(_) -> _),
        Some(name) if name == "pyro-server" => Some(pyro_guest::serve::serve as fn(_) -> _),
        Some(_) | None => None,
    };
    if let Some(serve) = serve {
        return match pyro_guest::sandbox::zygote::run(serve) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(("--probe", names)) = arguments
        .split_first()
        .map(|(first, rest)| (first.as_str(), rest))
    {
        println!("{}", probe::run(names).trim_end());
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<String> = arguments
        .into_iter()
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if std::env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let tests = [
        programs::TESTS,
        walls::TESTS,
        life::TESTS,
        sets::TESTS,
        layers::TESTS,
        resets::TESTS,
        terminals::TESTS,
    ]
    .concat();
    let mut failed = Vec::new();
    for (name, test) in tests {
        let name = format!("sandbox::{name}");
        if !wanted.is_empty() && !wanted.iter().any(|part| name.contains(part.as_str())) {
            continue;
        }
        let started = Instant::now();
        let outcome = std::panic::catch_unwind(test);
        let verdict = if outcome.is_ok() { "ok" } else { "FAILED" };
        println!(
            "test {name} ... {verdict} ({} ms)",
            started.elapsed().as_millis()
        );
        if outcome.is_err() {
            failed.push(name);
        }
    }
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        println!("failed: {}", failed.join(", "));
        ExitCode::FAILURE
    }
}
