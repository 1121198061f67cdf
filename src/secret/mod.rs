//! Values that nobody may see: what they are, where they come from, and how they are taken out of everything that is
//! shown or stored.
//!
//! Plans have names and sources of secrets, never values: only what executes reads those, and whoever reads them makes
//! a [`Redaction`] of them first. `docs/decisions/013-secrets.md` has the reasons.

mod forms;
mod held;
mod redaction;
mod scan;
mod source;
mod stream;
mod value;

pub use held::Secrets;
pub use redaction::{Redaction, TAG};
pub use source::{ReadError, file, variable};
pub use stream::Stream;
pub use value::{Secret, Unfit};

#[cfg(test)]
mod tests;
