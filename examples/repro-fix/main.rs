//! The same request as `request.pyro.toml`, as a program. Run it with `cargo run --example repro-fix`.

#![expect(clippy::print_stdout, reason = "an example shows something")]

use pyro::receipt::Outcome;
use pyro::{Error, Options, Request, Step};

/// Builds the project and runs its test.
const TEST: &str = "cc -std=c99 -o header-test *.c picotest/*.c && ./header-test";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let request = Request::new("host")
        .name("header-value-trailing-space")
        .seed("project")
        .step(
            Step::shell(TEST)
                .id("reproduce")
                .timeout("60s")
                .expect_exit(1)
                .expect_stdout_contains("not ok 2 - Host"),
        )
        .step(Step::patch_from("fix.patch").id("fix"))
        .step(
            Step::shell(TEST)
                .id("verify")
                .timeout("60s")
                .expect_stdout_contains("\nok 1 - request\n"),
        )
        .step(Step::diff().exclude("header-test").id("diff"))
        .step(
            Step::export("picohttpparser.c", "out/picohttpparser.c")
                .overwrite()
                .always(),
        )
        .build()
        .map_err(Error::Parse)?;

    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/repro-fix");
    let options = Options {
        base_dir: folder.into(),
        ..Options::default()
    };
    let plan = request.plan(&options)?;
    let ran = plan.apply(&options, &mut |event| {
        if let pyro::Event::StepEnded { step, report } = event {
            println!("{}: {:?}", step.label(), report.outcome);
        }
    })?;
    assert_eq!(ran.receipt.outcome, Outcome::Passed);
    Ok(())
}
