//! Machines: what gives an agent an environment, a state folder and a byte stream to the host.

mod cancel;
mod link;

pub use cancel::Cancel;
pub use link::{CallEvent, CallId, Link, LinkError, Wake};
