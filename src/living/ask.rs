//! One question to the agent of a workspace, through its keeper.

use super::LivingError;
use crate::keeper;
use crate::machine::{CallEvent, Link, Wake};
use crate::workspace::Home;
use pyro_protocol::message::{Op, Reply};

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
