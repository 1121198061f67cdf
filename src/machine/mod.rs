//! Machines: what gives an agent an environment, a state folder and a byte stream to the host.

mod cancel;
mod link;
mod namespace;

pub use cancel::Cancel;
pub use link::{CallEvent, CallId, Link, LinkError, Wake};
pub use namespace::{MachineError, Namespace, ids_for_this_user};
