//! The agent over a real link, with programs on the bare host.

mod bare;
mod host;
mod programs;
mod writes;
