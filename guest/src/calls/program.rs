//! What an `exec.run` asks for, as the kernel takes it.

use crate::spawn::Program;
use crate::tree::refusal;
use pyro_protocol::Bytes;
use pyro_protocol::message::{ExecRun, Failure, FailureCode};
use std::ffi::CString;

/// Where the tree is, as programs see it.
const WORKSPACE: &[u8] = b"/workspace";

/// Turns the op into a program.
///
/// # Errors
/// Where it holds what no program can be given.
pub(super) fn from(op: &ExecRun) -> Result<Program, Failure> {
    let bad = |what: &str| refusal(FailureCode::BadRequest, format!("run a program: {what}"));
    let text = |bytes: Vec<u8>, what: &str| {
        CString::new(bytes).map_err(|_| bad(&format!("there is a NUL byte in {what}")))
    };
    if op.argv.first().is_none_or(|name| name.is_empty()) {
        return Err(bad("there is no program name"));
    }
    if op.timeout_ms == 0 {
        return Err(bad("the timeout is 0"));
    }
    let argv = op
        .argv
        .iter()
        .map(|arg| text(arg.to_vec(), "an argument"))
        .collect::<Result<_, _>>()?;
    let variable = |(name, value): &(Bytes, Bytes)| {
        if name.is_empty() || name.contains(&b'=') {
            return Err(bad("a variable has no name, or `=` in its name"));
        }
        text([name, &b"="[..], value].concat(), "a variable")
    };
    let env = op.env.iter().map(variable).collect::<Result<_, _>>()?;
    let cwd = match op.cwd.first() {
        Some(b'/') => op.cwd.to_vec(),
        Some(_) => [WORKSPACE, b"/", &op.cwd].concat(),
        None => WORKSPACE.to_vec(),
    };
    Ok(Program {
        argv,
        env,
        cwd: text(cwd, "the working directory")?,
    })
}
