//! The agent that carries out ops inside a machine.
fn main() {}
