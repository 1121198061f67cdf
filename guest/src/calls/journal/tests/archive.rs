//! The same of an archive: whatever stops it, and wherever, the tree is the old one or the new one.

use super::{
    NOTHING_CHANGED, again, child, errors_at_any_step, open, picture, planted,
    refusals_from_any_step, send, stage_is_empty,
};
use crate::calls::World;
use pyro_protocol::Bytes;
use pyro_protocol::message::{Failure, FailureCode, Op, Reply, TarIn};
use tar::{Builder, EntryType as E, Header};

/// Files over files and links, links over files, new directories with what is in them, a closed one, new files in
/// directories that are there, and a file with two names.
pub(super) fn the_archive() -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    let mut put = |kind, path: &str, mode, target: &str, data: &[u8]| {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_mtime(1_100_000_000);
        header.set_size(data.len() as u64);
        if !target.is_empty() {
            header.set_link_name_literal(target).expect("short");
        }
        builder
            .append_data(&mut header, path, data)
            .expect("an entry");
    };
    put(E::Directory, "./", 0o700, "", b"");
    put(E::Regular, "run.sh", 0o700, "", b"another");
    put(E::Regular, "link", 0o640, "", b"a file now");
    put(E::Symlink, "old name", 0o777, "d/b", b"");
    put(E::Directory, "d", 0o711, "", b"");
    put(E::Regular, "d/new", 0o600, "", b"new");
    put(E::Link, "d/twin", 0o600, "d/new", b"");
    put(E::Directory, "made", 0o755, "", b"");
    put(E::Directory, "made/shut", 0o555, "", b"");
    put(E::Regular, "made/shut/in", 0o444, "", b"in it");
    put(E::Directory, "shut/also", 0o500, "", b"");
    put(E::Regular, "shut/in/x", 0o644, "", b"y");
    put(E::Fifo, "kept/pipe", 0o644, "", b"");
    builder.into_inner().expect("an archive")
}

pub(super) fn unpack(world: &World) -> Result<Reply, Failure> {
    let to = Bytes::from("");
    send(world, Op::TarIn(TarIn { to }), the_archive())
}

fn the_new_tree() -> Vec<String> {
    let run = planted();
    unpack(&open(run.path())).expect("it fits");
    assert!(stage_is_empty(run.path()));
    picture(run.path(), false)
}

#[test]
fn an_error_at_any_step_takes_an_archive_back() {
    let steps = errors_at_any_step(&the_new_tree(), unpack);
    assert!(steps > 40, "the faults are reached: {steps}");
}

#[test]
fn an_archive_that_cannot_be_taken_back_is_taken_back_by_the_next_agent() {
    let left = refusals_from_any_step(&the_new_tree(), unpack);
    assert!(left > 10, "{left}");
}

#[test]
fn a_kill_at_any_step_of_an_archive_leaves_the_old_tree_or_the_new_one() {
    let new = the_new_tree();
    let (mut olds, mut news) = (0, 0);
    for step in 0.. {
        let run = planted();
        let old = picture(run.path(), true);
        let ended = child(&format!("unpack {step}"), run.path());
        if ended.success() {
            assert_eq!(picture(run.path(), false), new);
            break;
        }
        let recovered = again(run.path()).expect("recovers");
        assert_eq!(recovered.in_the_way, Vec::<Vec<u8>>::new());
        assert!(!run.path().join("stage").exists() || stage_is_empty(run.path()));
        if picture(run.path(), true) == old {
            olds += 1;
        } else {
            assert_eq!(picture(run.path(), false), new, "at {step}");
            news += 1;
        }
    }
    assert!(olds > 40, "{olds} old trees");
    assert_eq!(news, 1, "killed after the last change, before the cleaning");
}

/// What does not fit is found in the middle of the moving: what was moved by then goes back, with every mode and time.
#[test]
fn an_archive_that_does_not_fit_leaves_every_mode_and_time() {
    for (path, kind, code) in [
        ("shut/in", E::Regular, FailureCode::WrongKind),
        ("shut", E::Symlink, FailureCode::WrongKind),
        ("run.sh", E::Directory, FailureCode::WrongKind),
        ("link", E::Directory, FailureCode::WrongKind),
        ("run.sh/below", E::Regular, FailureCode::WrongKind),
    ] {
        let run = planted();
        let old = picture(run.path(), true);
        let mut builder = Builder::new(Vec::new());
        for (path, kind) in [("a", E::Regular), ("d/b", E::Regular), (path, kind)] {
            let mut header = Header::new_gnu();
            header.set_entry_type(kind);
            header.set_mode(0o644);
            header.set_size(0);
            header.set_link_name("d").expect("short");
            builder
                .append_data(&mut header, path, std::io::empty())
                .expect("an entry");
        }
        let bytes = builder.into_inner().expect("an archive");
        let to = Bytes::from("");
        let failure = send(&open(run.path()), Op::TarIn(TarIn { to }), bytes);
        let failure = failure.expect_err("it does not fit");
        assert_eq!(failure.code, code, "{path}: {failure:?}");
        assert!(failure.message.ends_with(NOTHING_CHANGED), "{failure:?}");
        assert_eq!(picture(run.path(), true), old, "{path}");
    }
}
