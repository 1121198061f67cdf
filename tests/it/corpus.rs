//! Replays the kept inputs of the fuzz targets; what a target checks is in `tests/fuzz/src`.

use std::fs;
use std::path::PathBuf;

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

/// What is kept of a target, sorted by name.
fn inputs(name: &str) -> Vec<PathBuf> {
    let corpus = root().join("tests/fuzz/corpus");
    let mut inputs: Vec<_> = fs::read_dir(corpus.join(name))
        .unwrap_or_else(|error| panic!("{name} has no corpus: {error}"))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    inputs.sort();
    assert!(!inputs.is_empty(), "{name} has an empty corpus");
    inputs
}

/// Knuth's numbers; the upper bits are the good ones.
struct Random(u64);

impl Random {
    fn below(&mut self, most: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).expect("31 bits") % most.max(1)
    }
}

/// An input near a kept one: bytes become others, parts go, come twice or come from another input.
fn near(random: &mut Random, kept: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = kept[random.below(kept.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        let end = (at + 1 + random.below(16)).min(bytes.len());
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            1 if at < bytes.len() => {
                let known = b"\0\n\r\t \"'\\/.-+@*{}[]=,0179aAxZ~\x7f\x80\xff";
                bytes[at] = known[random.below(known.len())];
            }
            2 if at < end => drop(bytes.drain(at..end)),
            3 if at < end => {
                let part = bytes[at..end].to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, part);
            }
            4 => {
                let other = &kept[random.below(kept.len())];
                let from = random.below(other.len() + 1);
                let to = (from + 1 + random.below(600)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => bytes.truncate(at),
        }
    }
    bytes
}

/// Not as good as a fuzzer, which learns from what it reaches, but with every run of the tests. `PYRO_NEAR` says how many
/// inputs of each target, and `PYRO_NEAR_SEED` which.
#[test]
fn inputs_near_the_kept_ones_are_answered() {
    let asked = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let count = asked("PYRO_NEAR").unwrap_or(200);
    let only = std::env::var("PYRO_NEAR_TARGET").unwrap_or_default();
    for (name, target) in TARGETS.iter().filter(|(name, _)| name.starts_with(&*only)) {
        let kept: Vec<_> = inputs(name)
            .iter()
            .map(|input| fs::read(input).expect("a readable input"))
            .collect();
        let mut random = Random(asked("PYRO_NEAR_SEED").unwrap_or(2026));
        for round in 0..count {
            let bytes = near(&mut random, &kept);
            let ended = std::panic::catch_unwind(|| target(&bytes));
            assert!(ended.is_ok(), "{name}, {round}: {}", bytes.escape_ascii());
        }
    }
}

#[test]
fn kept_inputs_of_the_fuzz_targets_are_answered() {
    for (name, target) in TARGETS {
        for input in inputs(name) {
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
