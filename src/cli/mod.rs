//! The `pyro` command: builds requests, renders what the pipeline says, decides nothing.

mod apply;
mod args;
mod check;
mod clean;
mod details;
mod doctor;
mod explain;
mod fmt;
mod init;
mod line;
mod load;
mod man;
mod outcome;
mod plan;
mod progress;
mod receipt;
mod reference;
mod reports;
mod review;
mod run;
mod saved;
mod schema;
mod several;
mod show;
mod table;
mod terminal;
mod tty;
mod workspace;

pub use reference::reference;

use crate::Exit;
use crate::machine::Spare;
use clap::Parser as _;
use clap::error::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Arc;
use terminal::Terminal;

/// SIGXFSZ.
const FILE_TOO_LARGE: i32 = 25;

/// Runs the command line and says how to exit.
pub fn main() -> ExitCode {
    // Long-lived and small: nothing of a command line is read for it.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "keeper") {
        let words: Vec<_> = words.collect();
        return ExitCode::from(crate::keeper::main(&words));
    }
    crate::keeper::this_is_pyro();
    // A closed pipe (`pyro plan x | head`) is no error and no panic.
    terminal::quiet_broken_pipes();
    // A limit on the size of files (`ulimit -f`) is told as a full disk is; without a handler the signal would end us
    // in the middle of a run. Programs inside get the default back.
    let _noted = signal_hook::flag::register(FILE_TOO_LARGE, Arc::default());
    match catch_unwind(AssertUnwindSafe(real_main)) {
        Ok(code) => ExitCode::from(code),
        Err(_) => {
            let version = env!("CARGO_PKG_VERSION");
            Terminal::plain().error(&format!(
                "this is a bug in pyro {version}; please report it with the lines above"
            ));
            Exit::Bug.into()
        }
    }
}

fn real_main() -> u8 {
    // A sandbox takes its time, and even reading a command line takes some. Where the guess is wrong, nothing comes
    // of it.
    let word = std::env::args_os().nth(1);
    let runs = word.as_ref().is_some_and(|word| word == "run");
    let spare = word
        .is_some_and(|word| word == "run" || word == "apply")
        .then(Spare::begin);
    let cli = match args::Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; clap knows the stream for each.
            let _printed = error.print();
            let without = !std::env::args_os().any(|word| word == "--");
            if runs && without && error.kind() == ErrorKind::UnknownArgument {
                Terminal::plain()
                    .help("the program comes behind `--`, as in `pyro run host -- make test`");
            }
            return if error.use_stderr() {
                Exit::Input.code()
            } else {
                Exit::Ok.code()
            };
        }
    };
    terminal::start_log(cli.global.verbose);
    let terminal = Terminal::new(&cli.global);
    match cli.command {
        args::Command::Apply(args) => apply::apply(&args, spare, &cli.global, &terminal).code(),
        args::Command::Plan(args) => plan::plan(&args, &cli.global, &terminal).code(),
        args::Command::Check(args) => check::check(&args, &cli.global, &terminal).code(),
        args::Command::Run(args) => run::run(&args, spare, &cli.global, &terminal),
        args::Command::Workspace(command) => workspace::workspace(&command, &cli.global, &terminal),
        args::Command::Receipt(command) => {
            receipt::receipt(&command, &cli.global, &terminal).code()
        }
        args::Command::Init(args) => init::init(&args, &terminal).code(),
        args::Command::Fmt(args) => fmt::fmt(&args, &cli.global, &terminal).code(),
        args::Command::Clean(args) => clean::clean(&args, &cli.global, &terminal).code(),
        args::Command::Du(args) => clean::du(&args, &cli.global, &terminal).code(),
        args::Command::Explain(args) => explain::explain(&args, &terminal).code(),
        args::Command::Completions(args) => man::completions(&args, &terminal).code(),
        args::Command::Man(args) => man::man(&args, &terminal).code(),
        args::Command::Show(args) => show::show(&args, &cli.global, &terminal).code(),
        args::Command::Schema(args) => schema::schema(&args, &terminal).code(),
        args::Command::Doctor(args) => doctor::doctor(&args, &cli.global, &terminal).code(),
    }
}
