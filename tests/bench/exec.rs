//! One program in a sandbox that lives: from the call to its report, against a bare spawn and wait.

use super::Size;
use super::files::{Live, program};
use super::race::{Rival, line, process, race};
use pyro::machine::{CallEvent, Wake};
use pyro_protocol::message::{ExecEnd, Op, Reply};
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

pub(crate) fn exec(size: Size, folder: &Path) -> Result<(), Box<dyn Error>> {
    let mut live = Live::start(&folder.join("exec"), None)?;
    let ours = || {
        let started = Instant::now();
        let call = live.link.call(Op::ExecRun(program(&["/bin/true"])));
        loop {
            match live.link.wait(None, None)? {
                Wake::Event(id, CallEvent::Done(Reply::Exec(report))) if id == call => {
                    let took = started.elapsed();
                    return if report.end == (ExecEnd::Exited { code: 0 }) {
                        Ok(took)
                    } else {
                        Err(format!("{:?}", report.end).into())
                    };
                }
                Wake::Event(_, CallEvent::Failed(failure)) => return Err(failure.message.into()),
                Wake::Event(..) | Wake::Interrupt | Wake::Timeout => {}
            }
        }
    };
    let theirs = || process(&mut Command::new("/bin/true"));
    let mut rivals: [Rival<'_>; 2] = [("pyro", Box::new(ours)), ("spawn", Box::new(theirs))];
    let times = race(size.pick(400, 10), &mut rivals)?;
    drop(rivals);
    line(
        "exec /bin/true, round trip",
        &times[0],
        "posix_spawn + wait",
        &times[1],
        1.5,
    );
    live.stop()
}
