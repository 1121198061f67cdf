//! The agent that carries out ops inside a machine; started by the host from memory, as a zygote.

use std::fs::File;
use std::os::fd::AsFd as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    // In the folder of a run whose agent was killed, instead of serving it.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == "recover")
    {
        let recovered = File::open(".").and_then(|run| pyro_guest::recover(run.as_fd()));
        return match recovered {
            Ok(_) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    // Instead of being anything itself.
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == "detach")
    {
        return match pyro_guest::sandbox::detach::detach(std::env::args_os().skip(2)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    match pyro_guest::sandbox::zygote::run(pyro_guest::serve::serve) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads a message here: the host sees its sockets close.
        Err(_) => ExitCode::FAILURE,
    }
}
