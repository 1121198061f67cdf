//! The agent over a real link, with programs on the bare host.

mod archives;
mod bare;
mod contents;
mod corpus;
mod errors;
mod host;
mod hostile;
mod hostile_marks;
mod marks;
mod marks_removed;
mod moves;
mod programs;
mod trees;
mod writes;
