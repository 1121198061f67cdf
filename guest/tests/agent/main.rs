//! The agent over a real link, with programs on the bare host.

mod archives;
mod bare;
mod corpus;
mod host;
mod hostile;
mod programs;
mod trees;
mod writes;
