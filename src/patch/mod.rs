//! Turns patch text into hunks, hunks into exact replacements, and two versions of a file into a patch.
//! Bytes in, bytes out: reading the tree and writing the result belong to the caller.
//!
//! ```text
//!  text --parse--> Patch --apply(tree)--> Applied     every file's bytes before and after
//!    `----------------`------------------> Refusals   all of them, and nothing has changed
//! ```
//!
//! A hunk lands on the stated line when all of its old lines stand there; else on the only place in the file
//! where they do; else nowhere. There is no fuzz: a context line that differs is a reason to refuse.

mod apply;
mod binary;
mod blob;
mod body;
mod common;
mod diagnose;
mod diff;
mod envelope;
mod header;
mod mail;
mod merge;
mod name;
mod nearest;
mod parse;
mod place;
mod refusal;
mod renames;
mod resolve;
mod rewrite;
mod search;
mod section;
mod similar_name;
mod splice;
mod split;
mod whole_tree;

pub use apply::{Applied, Before, Entry, FileChange, Placed, Tree, apply};
pub use binary::Binary;
pub use diff::{Moved, Named, Side, added_removed, lines, moved, moved_whole, named, unified};
pub use merge::{NotMerged, merge};
pub use name::{Name, quote};
pub use parse::parse;
pub use refusal::{NearMiss, Refusal, RefusalCode};
pub use resolve::candidate_names;
pub use section::{FilePatch, Form, Hunk, HunkLine, LineKind, Match, Operation, Patch};
pub use similar_name::suggest_names;
pub use split::by_path;

pub use whole_tree::{Difference, Load, Which, whole_tree};

#[cfg(test)]
mod tests;
