//! What was asked: the request document as types. Pure; imports nothing else of ours.
//!
//! ```text
//! bytes --read_toml, read_json--> tree --check--> tree that fits the table --lower--> Request
//! builder ------------------------^                                                     |
//! bytes <-------------------------emit-------------------------------------------------'
//! ```
//! Text becomes a [`Request`] through one spanned tree and one table of verbs, whatever the syntax; errors carry
//! a position. Whether the request can work on this host is the planner's question, not ours.

mod builder;
mod capture;
mod check;
mod check_step;
mod check_text;
mod depth;
mod describe;
mod document;
mod emit;
mod emit_toml;
mod error;
mod format;
mod host_paths;
mod interpolate;
mod lower;
mod matrix;
mod model;
mod path;
mod raise;
mod read_json;
mod read_toml;
mod reference;
mod schema;
mod scope;
mod select;
mod shape;
mod step_builder;
mod suggest;
mod table;
mod tree;
mod units;
mod way_out;

pub use builder::RequestBuilder;
pub use capture::{Capture, CaptureSource, HostVariable, Piece, Retry, Template};
pub(crate) use check_text::{check_late, regex as compile};
pub use describe::reference;
pub use document::{Document, Location, MAX_DOCUMENT, Syntax};
pub use emit::{canonical_json, emit};
pub use error::{ErrorCode, ParseError, ParseErrors};
pub use format::format;
pub use host_paths::with_absolute_paths;
pub use interpolate::{ReferenceError, Values, fill_in, resolve};
pub use matrix::{Combination, MOST_COMBINATIONS};
pub use model::{
    Action, Base, ChangedExpect, Command, Content, Delete, Diff, Environment, Exec, Expect, Export,
    Keep, List, MachineChoice, Missing, Move, Overwrite, PatchMatch, PatchStep, Point, Pointer,
    Pull, Read, Request, Reset, Search, SecretSource, Signal, Snapshot, SnapshotName, Step, StepId,
    SyncStep, TextExpect, Workspace, Write, WriteFile,
};
pub use path::{GuestPath, GuestPathError};
pub use reference::literal;
pub use schema::schema;
pub use select::Selection;
pub(crate) use shape::Kind;
pub use step_builder::StepBuilder;
pub(crate) use suggest::did_you_mean;
pub use tree::Span;
pub use units::{Cpus, Digest, Duration, Size};

/// Reads a document; `name` is how it is shown, such as its path.
///
/// # Errors
/// Everything that is wrong with it, in its order.
pub fn parse(name: &str, bytes: &[u8], syntax: Syntax) -> Result<(Request, Document), ParseErrors> {
    let (document, mut errors) = Document::read(name, bytes, syntax)?;
    errors.extend(check::check(document.tree(), &document.text));
    let document = ParseErrors::from_vec(errors, document)?;
    Ok((lower::lower(document.tree()), document))
}
