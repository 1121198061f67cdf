//! Replays the kept inputs of the fuzz target `tar_unpack`; what it checks is in `tests/fuzz/src/agent.rs`.

use std::path::Path;

#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
#[path = "../../../tests/fuzz/src/agent.rs"]
mod agent;
#[expect(unreachable_pub, reason = "public in the crate of the fuzz targets")]
#[path = "../../../tests/fuzz/src/tar.rs"]
mod tar;

#[test]
fn kept_archives_are_answered() {
    // A copied test program finds the checkout where it stands; see `root` of the host's tests.
    let checkout = match std::env::var_os("PYRO_TEST_BIN") {
        Some(_) => std::env::current_dir().expect("a current directory"),
        None => Path::new(env!("CARGO_MANIFEST_DIR")).join(".."),
    };
    let corpus = checkout.join("tests/fuzz/corpus/tar_unpack");
    let mut answered = 0;
    for input in std::fs::read_dir(&corpus).expect("the corpus") {
        let input = input.expect("an entry").path();
        let bytes = std::fs::read(&input).expect("an input");
        let ended = std::panic::catch_unwind(|| agent::unpack(&bytes));
        assert!(ended.is_ok(), "{}", input.display());
        answered += 1;
    }
    assert!(answered > 0, "the corpus is empty");
}
