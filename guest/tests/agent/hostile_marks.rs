//! Marks, resets and moves under a peer that breaks the rules, changes its mind or leaves; and marks that were damaged
//! on the disk.

use crate::host::{Host, exec};
use crate::marks::{compare, mark, picture, plant, records_of, reset, sh};
use pyro_protocol::frame::Head;
use pyro_protocol::message::{
    ExecRun, Failure, FailureCode, FilesWrite, MarkRead, MarkRemove, PathMove, Prior, TreeCompare,
    TreeMark, TreeReset, WriteAction, WriteEntry,
};
use pyro_protocol::{GuestMessage, HostMessage, Op};
use std::fs;

fn head(channel: u32, call: u32, stream: u32) -> Head {
    Head {
        channel,
        call,
        stream,
        credit: 0,
    }
}

fn marking(name: &str, contents: bool) -> Op {
    Op::TreeMark(TreeMark {
        name: name.to_owned(),
        contents,
        system: contents,
    })
}

fn resetting(to: &str) -> Op {
    Op::TreeReset(TreeReset {
        to: to.to_owned(),
        token: None,
    })
}

fn removing(name: &str) -> Op {
    Op::MarkRemove(MarkRemove {
        name: name.to_owned(),
    })
}

fn moving(from: &str, to: &str) -> Op {
    Op::PathMove(PathMove {
        from: from.into(),
        to: to.into(),
    })
}

fn reading(mark: &str, path: &str) -> Op {
    Op::MarkRead(MarkRead {
        mark: mark.to_owned(),
        path: path.into(),
        length: None,
    })
}

fn writing(path: &str) -> Op {
    Op::FilesWrite(FilesWrite {
        entries: vec![WriteEntry {
            path: path.into(),
            expect: Prior::Any,
            action: WriteAction::File {
                size: 0,
                mode: None,
            },
        }],
    })
}

fn code(host: &mut Host, op: Op) -> Result<(), FailureCode> {
    let answer = host.run(op).result;
    answer.map(drop).map_err(|failure: Failure| failure.code)
}

fn still_serves(host: &mut Host) {
    host.until_some("programs run again", |host| {
        let answer = host.run(Op::ExecRun(exec(&["true"])));
        answer.result.is_ok().then(|| answer.exec().end.clone())
    });
}

/// A file whose reading takes longer than any test, and no room on the disk.
fn endless(host: &Host) {
    let file = fs::File::create(host.tree().join("endless")).expect("a file");
    file.set_len(1 << 42).expect("a long file");
}

/// Whether a mark is under way: no program is let in then. One that was let in just before is paused by the mark, which
/// has no end here; so it has an end of its own.
fn has_begun(host: &mut Host) -> Option<()> {
    let op = Op::ExecRun(ExecRun {
        timeout_ms: 100,
        grace_ms: 100,
        ..exec(&["true"])
    });
    (code(host, op) == Err(FailureCode::Conflict)).then_some(())
}

/// A mark that is under way, and will be until it is told to stop.
fn busy(host: &mut Host) -> u32 {
    endless(host);
    let call = host.open(marking("Step", false));
    host.until_some("the mark has begun", has_begun);
    call
}

#[test]
fn wrong_arguments_fail_their_call_only() {
    let mut host = Host::new();
    host.put("file", "x");
    for (number, text) in [
        r#"{"call":{"tree.mark":{"name":5,"contents":true,"system":true}}}"#,
        r#"{"call":{"tree.mark":{"name":"m"}}}"#,
        r#"{"call":{"tree.mark":null}}"#,
        r#"{"call":{"tree.reset":{}}}"#,
        r#"{"call":{"tree.reset":{"to":["baseline"]}}}"#,
        r#"{"call":{"tree.compare":{"with":null}}}"#,
        r#"{"call":{"mark.read":{"mark":"m","path":"f","length":-1}}}"#,
        r#"{"call":{"mark.remove":{}}}"#,
        r#"{"call":{"mark.remove":{"name":{"base64":"bQ=="}}}}"#,
        r#"{"call":{"path.move":{"from":"file"}}}"#,
        r#"{"call":{"path.move":{"from":"file","to":1}}}"#,
        r#"{"call":{"path.move":{"from":{"base64":"***"},"to":"x"}}}"#,
    ]
    .iter()
    .enumerate()
    {
        let call = 1000 + u32::try_from(number).expect("few");
        host.send(head(1, call, 0), text.as_bytes(), &[]);
        let refused = host.finish_call(call, None).failure().code;
        assert_eq!(refused, FailureCode::BadRequest, "{text}");
    }
    for name in [
        "",
        ".",
        "..",
        ".current",
        "a/b",
        "m.work",
        "\0",
        "ä",
        &"n".repeat(65),
    ] {
        for op in [
            marking(name, true),
            marking(name, false),
            resetting(name),
            removing(name),
            reading(name, "file"),
            Op::TreeCompare(TreeCompare {
                with: name.to_owned(),
            }),
        ] {
            let what = format!("{op:?}");
            assert_eq!(code(&mut host, op), Err(FailureCode::BadRequest), "{what}");
        }
    }
    assert!(host.tree().join("file").exists());
    still_serves(&mut host);
}

#[test]
fn data_for_an_op_without_streams_ends_the_channel() {
    let mut host = Host::new();
    for (call, op) in [
        marking("m", true),
        resetting("baseline"),
        removing("m"),
        moving("a", "b"),
    ]
    .into_iter()
    .enumerate()
    {
        let call = u32::try_from(call).expect("few") + 1;
        // Held up behind a call that does not end, so that it is open when the data comes.
        let held = busy(&mut host);
        host.say(5, call, &HostMessage::Call(Box::new(op)));
        host.send(head(5, call, 1), b"", b"data");
        let message = host.message_of(5, 0);
        assert!(
            matches!(message, GuestMessage::ChannelFailed(_)),
            "{message:?}"
        );
        host.say(5, 0, &HostMessage::Close);
        host.say(1, held, &HostMessage::Cancel);
        let answer = host.finish_call(held, None);
        assert_eq!(answer.failure().code, FailureCode::Cancelled);
        still_serves(&mut host);
    }
}

#[test]
fn everything_that_changes_the_tree_waits_for_another_time_while_it_is_marked() {
    let mut host = Host::new();
    host.put("file", "x");
    mark(&mut host, "m");
    let held = busy(&mut host);
    for op in [
        Op::ExecRun(exec(&["true"])),
        moving("file", "new"),
        marking("other", true),
        marking("Step", false),
        resetting("m"),
    ] {
        let what = format!("{op:?}");
        assert_eq!(code(&mut host, op), Err(FailureCode::Conflict), "{what}");
    }
    let refused = host
        .run_with(writing("written"), b"")
        .result
        .expect_err("refused");
    assert_eq!(refused.code, FailureCode::Conflict);
    // What only looks goes on.
    assert_eq!(code(&mut host, reading("m", "file")), Ok(()));
    // Forgetting waits for its turn, and can be told to stop.
    let waiting = host.open(removing("m"));
    assert_eq!(code(&mut host, reading("m", "file")), Ok(()));
    host.say(1, waiting, &HostMessage::Cancel);
    let answer = host.finish_call(waiting, None);
    assert_eq!(answer.failure().code, FailureCode::Cancelled);
    // So can the mark itself; there is none of this name then.
    host.say(1, held, &HostMessage::Cancel);
    let answer = host.finish_call(held, None);
    assert_eq!(answer.failure().code, FailureCode::Cancelled);
    let with = TreeCompare {
        with: "Step".to_owned(),
    };
    assert_eq!(
        code(&mut host, Op::TreeCompare(with)),
        Err(FailureCode::NotFound)
    );
    still_serves(&mut host);
    fs::remove_file(host.tree().join("endless")).expect("removed");
    assert_eq!(compare(&mut host, "m"), Vec::<String>::new());
}

#[test]
fn a_mark_that_is_cancelled_leaves_no_contents() {
    let mut host = Host::new();
    host.put("file", "x");
    mark(&mut host, "m");
    let pack = host.dir.path().join("marks/pack");
    let before = fs::metadata(&pack).expect("there").len();
    endless(&host);
    let call = host.open(marking("big", true));
    host.until("contents are kept", || {
        fs::metadata(&pack).is_ok_and(|now| now.len() > before)
    });
    host.say(1, call, &HostMessage::Cancel);
    assert_eq!(
        host.finish_call(call, None).failure().code,
        FailureCode::Cancelled
    );
    assert_eq!(fs::metadata(&pack).expect("there").len(), before);
    assert_eq!(
        code(&mut host, resetting("big")),
        Err(FailureCode::NotFound)
    );
    reset(&mut host, "m");
    assert!(!host.tree().join("endless").exists());
}

#[test]
fn a_channel_that_closes_in_the_middle_frees_the_tree() {
    let mut host = Host::new();
    host.put("file", "x");
    mark(&mut host, "m");
    endless(&host);
    for contents in [false, true] {
        let name = if contents { "kept" } else { "Step" };
        host.say(9, 1, &HostMessage::Call(Box::new(marking(name, contents))));
        host.until_some("the mark has begun", has_begun);
        host.say(9, 0, &HostMessage::Close);
        still_serves(&mut host);
        assert_eq!(code(&mut host, resetting(name)), Err(FailureCode::NotFound));
    }
    // The whole link, too: the next agent finds the tree and the marks as they were.
    let call = busy(&mut host);
    assert!(call > 0);
    host.close().expect("ends well");
    let mut host = host.again();
    fs::remove_file(host.tree().join("endless")).expect("removed");
    assert_eq!(compare(&mut host, "m"), Vec::<String>::new());
}

#[test]
fn two_at_once_come_one_after_the_other_or_not_at_all() {
    let mut host = Host::new();
    plant(&mut host);
    mark(&mut host, "m");
    let wanted = picture(&host.tree());
    for round in 0..10 {
        sh(&mut host, "rm -rf a; echo x > tool; mkdir -p new/deep");
        let ops = [
            resetting("m"),
            marking(&format!("n{round}"), true),
            resetting("m"),
            moving("new", "newer"),
            removing("m2"),
        ];
        let calls: Vec<u32> = ops.into_iter().map(|op| host.open(op)).collect();
        for call in calls {
            match host.finish_call(call, None).result {
                Ok(_) => {}
                Err(failure) => assert!(
                    matches!(failure.code, FailureCode::Conflict | FailureCode::NotFound),
                    "{failure:?}"
                ),
            }
        }
        reset(&mut host, "m");
        assert_eq!(picture(&host.tree()), wanted, "round {round}");
    }
}

/// Truncated at each place: nothing is believed, and nothing is changed.
#[test]
fn a_mark_that_is_cut_off_is_refused() {
    let mut host = Host::new();
    host.put("a/file", "contents of a file");
    host.put("b", "more");
    mark(&mut host, "baseline");
    mark(&mut host, "m");
    host.put("b", "changed");
    fs::remove_file(host.tree().join("a/file")).expect("removed");
    let now = picture(&host.tree());
    let run = host.dir.path().to_owned();
    for name in ["m.work", "m.system"] {
        let path = run.join("marks").join(name);
        let whole = fs::read(&path).expect("there");
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("written");
            let refused = code(&mut host, resetting("m"));
            assert_eq!(refused, Err(FailureCode::Io), "{name} cut at {cut}");
            assert_eq!(picture(&host.tree()), now, "{name} cut at {cut}");
            if name == "m.work" {
                let with = TreeCompare {
                    with: "m".to_owned(),
                };
                for op in [Op::TreeCompare(with), reading("m", "b"), removing("m")] {
                    assert_eq!(code(&mut host, op), Err(FailureCode::Io), "cut at {cut}");
                }
            }
        }
        // Longer is as wrong as shorter.
        fs::write(&path, [&whole[..], b"\0"].concat()).expect("written");
        assert_eq!(code(&mut host, resetting("m")), Err(FailureCode::Io));
        fs::write(&path, &whole).expect("written");
    }
    assert_eq!(picture(&host.tree()), now);
    reset(&mut host, "m");
    assert_eq!(
        fs::read(host.tree().join("a/file")).expect("there"),
        b"contents of a file"
    );
    still_serves(&mut host);
}

#[test]
fn contents_that_are_cut_off_or_others_are_not_put_back() {
    let mut host = Host::new();
    host.put("a", "contents of a file");
    host.put("b", "more");
    mark(&mut host, "m");
    host.put("a", "changed");
    host.put("b", "changed, too");
    let now = picture(&host.tree());
    let pack = host.dir.path().join("marks/pack");
    let whole = fs::read(&pack).expect("there");
    for cut in 0..whole.len() {
        fs::write(&pack, &whole[..cut]).expect("written");
        assert_eq!(
            code(&mut host, resetting("m")),
            Err(FailureCode::Io),
            "{cut}"
        );
        assert_eq!(picture(&host.tree()), now, "{cut}");
    }
    for at in 0..whole.len() {
        let mut other = whole.clone();
        other[at] ^= 1;
        fs::write(&pack, &other).expect("written");
        assert_eq!(
            code(&mut host, resetting("m")),
            Err(FailureCode::Io),
            "{at}"
        );
        let read = [reading("m", "a"), reading("m", "b")].map(|op| code(&mut host, op));
        assert!(read.contains(&Err(FailureCode::Io)), "{at}: {read:?}");
        assert_eq!(picture(&host.tree()), now, "{at}");
    }
    fs::write(&pack, &whole).expect("written");
    reset(&mut host, "m");
    assert_eq!(fs::read(host.tree().join("b")).expect("there"), b"more");
}

/// The host writes the baseline; the agent notes how long it was when it was marked.
#[test]
fn a_baseline_that_is_cut_off_is_refused() {
    let mut host = Host::new();
    host.put("a", "x");
    host.put("b", "y");
    let scanned = host.run(Op::TreeScan);
    let baseline = host.dir.path().join("baseline");
    fs::write(&baseline, &scanned.output).expect("written");
    records_of(&mut host, marking("baseline", true));
    let now = picture(&host.tree());
    for cut in 0..scanned.output.len() {
        fs::write(&baseline, &scanned.output[..cut]).expect("written");
        assert_eq!(
            code(&mut host, resetting("baseline")),
            Err(FailureCode::Io),
            "{cut}"
        );
        assert_eq!(picture(&host.tree()), now, "{cut}");
    }
    fs::write(&baseline, &scanned.output).expect("written");
    assert_eq!(reset(&mut host, "baseline").entries, 0);
}

/// A note that says something else than a mark is no reason to change anything, and nobody is served from what may be
/// half a tree.
#[test]
fn a_note_of_a_reset_that_leads_nowhere_stops_the_agent() {
    let mut host = Host::new();
    host.put("a", "x");
    mark(&mut host, "m");
    host.put("a", "y");
    let now = picture(&host.tree());
    let note = host.dir.path().join("marks/.resetting");
    host.close().expect("ends well");
    let notes = [
        &b""[..],
        b"none",
        b"../m",
        b"m\n",
        b"m\none\ntwo",
        b"\xff",
        &[b'm'; 70],
    ];
    for text in notes {
        fs::write(&note, text).expect("written");
        let mut other = host.again();
        assert!(other.close().is_err(), "{text:?}");
        assert_eq!(picture(&other.tree()), now, "{text:?}");
        host = other;
    }
    fs::write(&note, "m").expect("written");
    let mut host = host.again();
    still_serves(&mut host);
    assert_eq!(fs::read(host.tree().join("a")).expect("there"), b"x");
}
