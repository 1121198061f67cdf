//! One question to the agent of a workspace, through its keeper.

use super::LivingError;
use crate::keeper;
use crate::machine::{CallEvent, Link, Wake};
use crate::workspace::Home;
use pyro_protocol::message::{FailureCode, Op, Reply};
use std::time::{Duration, Instant};

/// So long is waited for whoever has the trees to themselves.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two tries.
const TICK: Duration = Duration::from_millis(20);

/// Makes one call that streams nothing, and waits for its end.
pub(super) fn ask(home: &Home, op: Op) -> Result<Reply, LivingError> {
    let mut link = Link::open(keeper::connect(home)?).map_err(LivingError::Link)?;
    let asked = link.call(op);
    loop {
        match link.wait(None, None).map_err(LivingError::Link)? {
            Wake::Event(call, event) if call == asked => match event {
                CallEvent::Started | CallEvent::Data { .. } => {}
                CallEvent::Done(reply) => return Ok(reply),
                CallEvent::Failed(failure) => return Err(LivingError::Guest(failure)),
            },
            Wake::Event(..) | Wake::Interrupt | Wake::Timeout => {}
        }
    }
}

/// The same, waiting for a mark or a reset that somebody else makes.
pub(super) fn ask_patiently(home: &Home, op: &Op) -> Result<Reply, LivingError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match ask(home, op.clone()) {
            Err(LivingError::Guest(failure))
                if failure.code == FailureCode::Conflict && Instant::now() < deadline =>
            {
                std::thread::sleep(TICK);
            }
            asked => return asked,
        }
    }
}
