//! Marks that are forgotten: what others need stays, the room of the rest comes back.

use crate::host::{Host, shell};
use crate::marks::{mark, records_of, reset, sh};
use pyro_protocol::message::{FailureCode, MarkRead, MarkRemove, TreeMark, TreeReset};
use pyro_protocol::{Bytes, Op};
use std::fs;
use std::os::unix::fs::MetadataExt as _;

fn remove(name: &str) -> Op {
    Op::MarkRemove(MarkRemove {
        name: name.to_owned(),
    })
}

fn pack_blocks(host: &Host) -> u64 {
    fs::metadata(host.dir.path().join("marks/pack"))
        .expect("there")
        .blocks()
}

fn contents(host: &mut Host, mark: &str, path: &str) -> Result<Vec<u8>, FailureCode> {
    let answer = host.run(Op::MarkRead(MarkRead {
        mark: mark.to_owned(),
        path: Bytes::from(path),
        length: None,
    }));
    answer
        .result
        .map(|_| answer.output)
        .map_err(|failure| failure.code)
}

#[test]
fn what_other_marks_need_stays() {
    let mut host = Host::new();
    host.put("shared", vec![1; 100_000]);
    host.put("changing", vec![2; 100_000]);
    mark(&mut host, "first");
    std::thread::sleep(std::time::Duration::from_millis(50));
    host.put("changing", vec![3; 100_000]);
    mark(&mut host, "second");
    std::thread::sleep(std::time::Duration::from_millis(50));
    host.put("changing", vec![4; 100_000]);
    mark(&mut host, "third");
    let before = pack_blocks(&host);
    let gone = records_of(&mut host, remove("second"));
    assert_eq!(gone.bytes, 100_000, "only what nobody else has");
    assert!(pack_blocks(&host) < before, "its room comes back");
    assert_eq!(
        contents(&mut host, "second", "changing"),
        Err(FailureCode::NotFound)
    );
    for (name, byte) in [("first", 2), ("third", 4), ("first", 2)] {
        reset(&mut host, name);
        let tree = host.tree();
        assert_eq!(
            fs::read(tree.join("shared")).expect("there"),
            vec![1; 100_000]
        );
        assert_eq!(
            fs::read(tree.join("changing")).expect("there"),
            vec![byte; 100_000]
        );
    }
    // The first one's contents are shared, too: one stays as long as one of both is there.
    assert_eq!(records_of(&mut host, remove("first")).bytes, 100_000);
    assert_eq!(contents(&mut host, "third", "shared"), Ok(vec![1; 100_000]));
    assert_eq!(records_of(&mut host, remove("third")).bytes, 200_000);
    assert_eq!(pack_blocks(&host), 0);
}

/// The latest look is what the next mark rests on: it must not rest on contents that are gone.
#[test]
fn a_mark_made_after_one_was_removed_keeps_everything_itself() {
    let mut host = Host::new();
    host.put("file", "some contents");
    host.put("other", "more of them");
    mark(&mut host, "first");
    std::thread::sleep(std::time::Duration::from_millis(50));
    // Noted by a reset and by a mark without contents, where the first one's contents are.
    reset(&mut host, "first");
    let look = |name: &str| {
        Op::TreeMark(TreeMark {
            name: name.to_owned(),
            contents: false,
            system: false,
        })
    };
    records_of(&mut host, look("Step"));
    records_of(&mut host, remove("first"));
    mark(&mut host, "first");
    fs::write(host.tree().join("file"), "changed").expect("written");
    fs::remove_file(host.tree().join("other")).expect("removed");
    reset(&mut host, "first");
    assert_eq!(
        fs::read(host.tree().join("file")).expect("there"),
        b"some contents"
    );
    assert_eq!(
        fs::read(host.tree().join("other")).expect("there"),
        b"more of them"
    );
    // The same where the one that goes is the latest look itself, and after another agent came.
    records_of(&mut host, remove("first"));
    host.close().expect("ends well");
    let mut host = host.again();
    mark(&mut host, "again");
    sh(&mut host, "rm -f *");
    reset(&mut host, "again");
    assert_eq!(
        fs::read(host.tree().join("file")).expect("there"),
        b"some contents"
    );
}

#[test]
fn what_cannot_be_forgotten_is_refused() {
    let mut host = Host::new();
    host.put("file", "x");
    mark(&mut host, "m");
    let mut code = |name: &str| host.run(remove(name)).result.expect_err("refused").code;
    for name in [
        "baseline",
        "",
        "../tree",
        ".current",
        "a/b",
        "m.work",
        &"n".repeat(65),
    ] {
        assert_eq!(code(name), FailureCode::BadRequest, "{name}");
    }
    assert_eq!(code("nothing"), FailureCode::NotFound);
    records_of(&mut host, remove("m"));
    assert_eq!(
        host.run(remove("m")).result.expect_err("gone").code,
        FailureCode::NotFound
    );
    let back = TreeReset {
        to: "m".to_owned(),
        token: None,
    };
    let refused = host.run(Op::TreeReset(back)).result.expect_err("gone");
    assert_eq!(refused.code, FailureCode::NotFound);
    // The name is free again.
    mark(&mut host, "m");
    assert_eq!(fs::read(host.tree().join("file")).expect("there"), b"x");
}

#[test]
fn a_mark_that_can_be_gone_back_to_is_not_replaced_by_one_that_cannot() {
    let mut host = Host::new();
    host.put("file", "x");
    mark(&mut host, "m");
    let op = Op::TreeMark(TreeMark {
        name: "m".to_owned(),
        contents: false,
        system: false,
    });
    assert_eq!(
        host.run(op).result.expect_err("refused").code,
        FailureCode::Exists
    );
    fs::write(host.tree().join("file"), "y").expect("written");
    reset(&mut host, "m");
    assert_eq!(fs::read(host.tree().join("file")).expect("there"), b"x");
}

/// Programs are not in the way: forgetting changes no tree.
#[test]
fn programs_go_on_while_a_mark_is_forgotten() {
    let mut host = Host::new();
    mark(&mut host, "m");
    let program = host.open(Op::ExecRun(shell("while :; do date > now; done")));
    host.wait_started(program);
    let gone = records_of(&mut host, remove("m"));
    assert_eq!(gone.programs, None);
    let now = host.tree().join("now");
    host.until("the program goes on", || {
        let before = fs::read(&now);
        std::thread::sleep(std::time::Duration::from_millis(5));
        before.is_ok() && fs::metadata(&now).is_ok()
    });
    host.say(1, program, &pyro_protocol::HostMessage::Cancel);
    assert!(host.finish_call(program, None).result.is_ok());
}
