//! Tests of the whole way, from text to bytes and back.

mod applying;
mod binary;
mod limits;
mod making;
mod properties;
mod refusing;
mod teaching;
mod trees;

use std::collections::BTreeMap;

use super::*;

type Files = BTreeMap<Vec<u8>, (Vec<u8>, u32)>;

fn tree(files: &[(&str, &str)]) -> Files {
    files
        .iter()
        .map(|(name, text)| (name.as_bytes().to_vec(), (text.as_bytes().to_vec(), 0o644)))
        .collect()
}

fn run(files: &Files, text: &[u8], policy: Match) -> Result<Applied, Vec<Refusal>> {
    parse(text).and_then(|patch| apply(&patch, policy, files))
}

/// The tree after the patch.
fn patched(files: &Files, text: &[u8]) -> Files {
    let applied =
        run(files, text, Match::Unique).unwrap_or_else(|refusals| panic!("refused: {refusals:#?}"));
    let mut files = files.clone();
    for change in applied.files {
        match change.after {
            Some(after) => files.insert(change.path, after),
            None => files.remove(&change.path),
        };
    }
    files
}

fn codes(files: &Files, text: &str) -> Vec<RefusalCode> {
    let refusals = run(files, text.as_bytes(), Match::Unique).expect_err("must be refused");
    refusals.iter().map(|refusal| refusal.code).collect()
}

const TEN: &str = "one\ntwo\nthree\nfour\nfive\nsix\nseven\neight\nnine\nten\n";
const FIVE: &str = "--- a/f\n+++ b/f\n@@ -4,3 +4,3 @@\n four\n-five\n+FIVE\n six\n";
