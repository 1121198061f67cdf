//! What happened and what there is, in the forms that other programs read: JUnit's XML, a line of JSON for each event,
//! and workspaces as data.

mod events;
mod junit;
pub mod workspace;

pub use events::EventLog;
pub use junit::junit;
