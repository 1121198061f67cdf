//! Ten processes.
