//! A workspace that lives on: a program through its keeper, on a connection that is kept and on a new one, against a
//! bare spawn and wait.

use super::Size;
use super::files::{limits, program};
use super::race::{Rival, line, process, race};
use pyro::keeper::{self, Program};
use pyro::machine::{CallEvent, Link, Wake};
use pyro::workspace::{Home, Recipe, StateDir};
use pyro_protocol::boot::BootEnvironment;
use pyro_protocol::message::{ExecEnd, Op, Reply};
use std::error::Error;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

pub(crate) fn keeper(size: Size, folder: &Path) -> Result<(), Box<dyn Error>> {
    let state = StateDir::open(Some(&folder.join("keeper")))?;
    let (home, lifecycle) = state.new_home()?;
    let recipe = Recipe {
        version: Recipe::VERSION,
        environment: BootEnvironment::Host,
        expose: Vec::new(),
        hostname: "bench".to_owned(),
        limits: limits(),
        processors: None,
        groups: Vec::new(),
        ttl_ms: None,
    };
    home.write_recipe(&recipe, &lifecycle)?;
    let own = Program::at(env!("CARGO_BIN_EXE_pyro"));
    keeper::begin_with(&own, &home, &lifecycle)?.ready()?;
    let raced = against_spawn(size, &home);
    keeper::stop(&home, &lifecycle)?;
    raced
}

fn against_spawn(size: Size, home: &Home) -> Result<(), Box<dyn Error>> {
    let mut link = Link::open(keeper::connect(home)?)?;
    let kept = || {
        let started = Instant::now();
        exec(&mut link)?;
        Ok(started.elapsed())
    };
    let new = || {
        let started = Instant::now();
        exec(&mut Link::open(keeper::connect(home)?)?)?;
        Ok(started.elapsed())
    };
    let theirs = || process(&mut Command::new("/bin/true"));
    let mut rivals: [Rival<'_>; 3] = [
        ("kept", Box::new(kept)),
        ("new", Box::new(new)),
        ("spawn", Box::new(theirs)),
    ];
    let times = race(size.pick(400, 10), &mut rivals)?;
    drop(rivals);
    for (what, times_of) in [
        ("exec through a keeper, round trip", &times[0]),
        ("the same with its own connection", &times[1]),
    ] {
        line(what, times_of, "posix_spawn + wait", &times[2], 1.5);
    }
    Ok(())
}

/// Runs `/bin/true` to its end.
fn exec(link: &mut Link) -> Result<(), Box<dyn Error>> {
    let call = link.call(Op::ExecRun(program(&["/bin/true"])));
    loop {
        match link.wait(None, None)? {
            Wake::Event(id, CallEvent::Done(Reply::Exec(report))) if id == call => {
                return if report.end == (ExecEnd::Exited { code: 0 }) {
                    Ok(())
                } else {
                    Err(format!("{:?}", report.end).into())
                };
            }
            Wake::Event(_, CallEvent::Failed(failure)) => return Err(failure.message.into()),
            Wake::Event(..) | Wake::Interrupt | Wake::Timeout => {}
        }
    }
}
