//! The wire vocabulary between pyro's host side and its guest agent: serde types and framing, nothing that acts.
//!
//! - [`frame`]: the outer frame, which never changes;
//! - [`message`]: what a frame's JSON header may say: calls ([`Op`]), replies, failures;
//! - [`manifest`]: the baseline of a work tree, as bytes;
//! - [`pieces`]: contents of a length that nobody knows beforehand;
//! - [`boot`]: how the host tells a zygote which sandbox to make;
//! - [`bytes`]: text in JSON that may not be UTF-8.
//!
//! The prose is `specs/wire.md`; `specs/wire/gen-1.json` freezes generation 1, `gen-2.json`
//! to `gen-4.json` have what later ones add.

pub mod boot;
pub mod bytes;
pub mod frame;
pub mod manifest;
pub mod message;
pub mod pieces;

pub use bytes::Bytes;
pub use frame::{Decoder, Frame, FrameError, Head};
pub use message::{GuestMessage, HostMessage, Op, Reply};

/// The newest generation of the vocabulary that this build speaks. Both sides settle on the lower one at `hello`.
pub const GENERATION: u32 = 4;
