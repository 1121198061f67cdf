//! Replays the kept inputs of the fuzz targets; what a target checks is in `tests/fuzz/src`.

use std::fs;

use crate::harness::root;

#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
#[path = "../fuzz/src/archive.rs"]
mod archive;
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
#[path = "../fuzz/src/document.rs"]
mod document;
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
#[path = "../fuzz/src/frames.rs"]
mod frames;
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
#[path = "../fuzz/src/patch.rs"]
mod patch;
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
#[path = "../fuzz/src/seed.rs"]
mod seed;
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
#[path = "../fuzz/src/tar.rs"]
mod tar;

/// A target, and what it does with an input.
type Target = (&'static str, fn(&[u8]));

/// Every target there is.
const TARGETS: &[Target] = &[
    ("document_json", document::json),
    ("document_toml", document::toml),
    ("frames", frames::frames),
    ("patch_binary", patch::binary),
    ("patch_envelope", patch::envelope),
    ("patch_mail", patch::mail),
    ("patch_round_trip", patch::round_trip),
    ("patch_unified", patch::unified),
    ("tar_export", archive::export),
    ("tar_seed", seed::seed),
];
/// What the agent's own tests replay.
const OF_THE_AGENT: &[&str] = &["tar_unpack"];

#[test]
fn kept_inputs_of_the_fuzz_targets_are_answered() {
    let corpus = root().join("tests/fuzz/corpus");
    for (name, target) in TARGETS {
        let mut inputs: Vec<_> = fs::read_dir(corpus.join(name))
            .unwrap_or_else(|error| panic!("{name} has no corpus: {error}"))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        inputs.sort();
        assert!(!inputs.is_empty(), "{name} has an empty corpus");
        for input in inputs {
            let bytes = fs::read(&input).expect("a readable input");
            // The harness catches the panic; the name of the input is what a reader needs first.
            let ended = std::panic::catch_unwind(|| target(&bytes));
            assert!(ended.is_ok(), "{name}: {}", input.display());
        }
    }
    let targets = fs::read_dir(root().join("tests/fuzz/targets")).expect("the targets");
    for target in targets {
        let name = target.expect("an entry").path().with_extension("");
        let name = name
            .file_name()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        assert!(
            TARGETS.iter().any(|(known, _)| *known == name) || OF_THE_AGENT.contains(&&*name),
            "{name} is not replayed"
        );
    }
}
