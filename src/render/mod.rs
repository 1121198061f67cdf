//! Draws what pyro has to say for a terminal, and says the same as data.

mod finding;

pub use finding::{Finding, Style, findings, findings_json};
