//! What happened, in the forms that other programs read: JUnit's XML, and a line of JSON for each event.

mod events;
mod junit;
pub mod workspace;

pub use events::EventLog;
pub use junit::junit;
