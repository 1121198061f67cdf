//! Integration tests, in one binary: the way a reader would check.

mod chaos;
mod cli;
mod cli_reports;
mod cli_run;
mod cli_several;
mod corpus;
mod docs;
mod every_key;
mod examples;
mod goldens;
mod harness;
mod hostile;
mod kept;
mod layers;
mod limits;
mod parse;
mod patch_cases;
mod patches;
mod plan;
mod planned;
mod reference;
mod round_trip;
mod rules;
mod runs;
mod saved;
