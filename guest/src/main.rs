//! The agent that carries out ops inside a machine; started by the host from memory, as a zygote.

use std::process::ExitCode;

fn main() -> ExitCode {
    match pyro_guest::sandbox::zygote::run(pyro_guest::serve::serve) {
        Ok(()) => ExitCode::SUCCESS,
        // Nobody reads a message here: the host sees its sockets close.
        Err(_) => ExitCode::FAILURE,
    }
}
