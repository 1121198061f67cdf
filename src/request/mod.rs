//! What was asked: the request document as types. Pure; imports nothing else of ours.
//!
//! Text becomes a [`Request`] through one spanned tree and one table of verbs, whatever the syntax; errors carry
//! a position. Whether the request can work on this host is the planner's question, not ours.

mod model;
mod path;
mod units;

pub use model::{
    Action, Command, Content, Delete, Diff, Environment, Exec, Expect, Export, List, MachineChoice,
    Missing, Overwrite, PatchMatch, PatchStep, Pointer, Read, Request, Signal, Step, StepId,
    TextExpect, Workspace, Write, WriteFile,
};
pub use path::{GuestPath, GuestPathError};
pub use units::{Digest, Duration, Size};
