//! The generations: one example of everything that can be said. `specs/wire/gen-1.json` is frozen; `gen-2.json` to
//! `gen-4.json` have what generations 2 to 4 add.
//!
//! A difference means that peers of this generation no longer understand each other. New optional fields may be
//! added; anything else is a new generation. `PYRO_BLESS=1 cargo test -p pyro-protocol` writes the file.

use pyro_protocol::message::{
    Change, DataReport, ExecEnd, ExecReport, ExecResize, ExecRun, Failure, FailureCode, FileDigest,
    FileRead, FileStat, FilesWrite, Hello, Kind, MarkRead, MarkRemove, PathMove, Prior, Records,
    SpoolRead, Stat, StreamMessage, StreamReport, TarIn, TarOut, TerminalSize, TreeCompare,
    TreeList, TreeMark, TreeRead, TreeReset, Version, WriteAction, WriteEntry, Written,
};
use pyro_protocol::{Bytes, GuestMessage, HostMessage, Op, Reply};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;

const SHA: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// As JSON, after making sure that it comes back the same.
fn say<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) -> Value {
    let text = serde_json::to_string(value).expect("serialises");
    assert_eq!(&serde_json::from_str::<T>(&text).expect("parses"), value);
    serde_json::from_str(&text).expect("parses")
}

fn ops() -> Vec<Op> {
    let text = |text: &str| Bytes::from(text);
    vec![
        Op::ExecRun(ExecRun {
            argv: vec![text("printf"), Bytes::from(&b"\xff"[..])],
            cwd: text("sub"),
            env: vec![(text("PATH"), text("/usr/bin:/bin"))],
            timeout_ms: 600_000,
            grace_ms: 2_000,
            stdin: true,
            spool_limit: 268_435_456,
            terminal: None,
            unnamed: false,
        }),
        Op::SpoolRead(SpoolRead {
            call: 7,
            stream: 3,
            offset: 0,
            length: None,
        }),
        Op::FileRead(FileRead {
            path: text("src/main.rs"),
            offset: 10,
            length: Some(20),
        }),
        Op::FileStat(FileStat { path: text("src") }),
        Op::FilesWrite(FilesWrite {
            entries: vec![
                WriteEntry {
                    path: text("new.sh"),
                    expect: Prior::Absent,
                    action: WriteAction::File {
                        size: 3,
                        mode: Some(0o755),
                    },
                },
                WriteEntry {
                    path: text("old.txt"),
                    expect: Prior::Sha256(SHA.to_owned()),
                    action: WriteAction::File {
                        size: 0,
                        mode: None,
                    },
                },
                WriteEntry {
                    path: text("gone"),
                    expect: Prior::Any,
                    action: WriteAction::Remove,
                },
            ],
        }),
        Op::TreeList(TreeList {
            path: text(""),
            recursive: true,
        }),
        Op::TreeScan,
        Op::TreeDiff,
        Op::TarIn(TarIn { to: text("vendor") }),
        Op::TarOut(TarOut {
            path: text("out"),
            kind: None,
        }),
    ]
}

/// Name, data streams and kind of reply. A new op stops here first.
fn about(op: &Op) -> (&'static str, &'static [u32], &'static str) {
    match op {
        Op::ExecRun(_) => ("exec.run", &[1, 2, 3], "exec"),
        Op::SpoolRead(_) => ("spool.read", &[2], "data"),
        Op::FileRead(_) => ("file.read", &[2], "data"),
        Op::FileStat(_) => ("file.stat", &[], "stat"),
        Op::FilesWrite(_) => ("files.write", &[1], "written"),
        Op::TreeList(_) => ("tree.list", &[2], "records"),
        Op::TreeScan => ("tree.scan", &[2], "records"),
        Op::TreeDiff => ("tree.diff", &[2], "records"),
        Op::TarIn(_) => ("tar.in", &[1], "records"),
        Op::TarOut(_) => ("tar.out", &[2], "records"),
        Op::TreeMark(_) => ("tree.mark", &[], "records"),
        Op::TreeCompare(_) => ("tree.compare", &[2], "records"),
        Op::TreeReset(_) => ("tree.reset", &[], "records"),
        Op::MarkRead(_) => ("mark.read", &[2], "data"),
        Op::MarkRemove(_) => ("mark.remove", &[], "records"),
        Op::PathMove(_) => ("path.move", &[], "stat"),
        Op::ExecResize(_) => ("exec.resize", &[], "records"),
        Op::TreeRead(_) => ("tree.read", &[2], "records"),
    }
}

fn ends() -> [ExecEnd; 5] {
    [
        ExecEnd::Exited { code: 3 },
        ExecEnd::Signalled {
            signal: 9,
            reason: Some("memory limit".to_owned()),
        },
        ExecEnd::TimedOut,
        ExecEnd::Cancelled,
        ExecEnd::NotStarted {
            code: 127,
            reason: "nope: not found".to_owned(),
            errno: Some(2),
        },
    ]
}

fn replies() -> Vec<Reply> {
    let digest = || {
        Some(FileDigest {
            size: 0,
            mode: 0o644,
            sha256: SHA.to_owned(),
        })
    };
    vec![
        Reply::Exec(ExecReport {
            end: ExecEnd::Exited { code: 0 },
            duration_us: 1_500,
            max_rss_kib: 2_048,
            cpu_us: 900,
            stdout: StreamReport {
                bytes: 10,
                dropped: 2,
                sha256: SHA.to_owned(),
            },
            stderr: StreamReport {
                bytes: 0,
                dropped: 0,
                sha256: SHA.to_owned(),
            },
            left_running: 1,
            limit: Some("memory limit".to_owned()),
        }),
        Reply::Data(DataReport {
            sent: 20,
            size: 100,
            mode: 0o644,
        }),
        Reply::Stat(stat()),
        Reply::Written(vec![
            Written {
                path: Bytes::from("new.sh"),
                before: None,
                after: digest(),
            },
            Written {
                path: Bytes::from("gone"),
                before: digest(),
                after: None,
            },
        ]),
        Reply::Records(Records {
            entries: 3,
            bytes: 5,
            left_out: vec![Bytes::from("pipe")],
            programs: None,
        }),
    ]
}

fn stat() -> Stat {
    Stat {
        path: Bytes::from("link"),
        kind: Kind::Symlink,
        size: 4,
        mode: 0o777,
        mtime_ns: 1_700_000_000_000_000_000,
        target: Some(Bytes::from("file")),
    }
}

fn change() -> Change {
    let version = |kind, target| Version {
        kind,
        mode: 0o644,
        size: 0,
        sha256: Some(SHA.to_owned()),
        target,
    };
    Change {
        path: Bytes::from("link"),
        before: Some(version(Kind::File, None)),
        after: Some(version(Kind::Symlink, Some(Bytes::from("file")))),
    }
}

/// Every failure code. A new one stops here first.
fn codes() -> Vec<FailureCode> {
    use FailureCode as C;
    let mut code = Some(C::NotFound);
    let next = |code| match code {
        C::NotFound => Some(C::WrongKind),
        C::WrongKind => Some(C::Symlink),
        C::Symlink => Some(C::Outside),
        C::Outside => Some(C::Exists),
        C::Exists => Some(C::Conflict),
        C::Conflict => Some(C::NoSpace),
        C::NoSpace => Some(C::TooLarge),
        C::TooLarge => Some(C::BadArchive),
        C::BadArchive => Some(C::BadRequest),
        C::BadRequest => Some(C::UnknownOp),
        C::UnknownOp => Some(C::Cancelled),
        C::Cancelled => Some(C::SandboxEnded),
        C::SandboxEnded => Some(C::Io),
        C::Io => None,
    };
    let mut all = Vec::new();
    while let Some(now) = code {
        all.push(now);
        code = next(now);
    }
    all
}

/// Each op of a generation as it is called.
fn said(generation: u32, ops: &[Op]) -> Vec<Value> {
    let say = |op: &Op| {
        let (name, streams, reply) = about(op);
        let call = say(&HostMessage::Call(Box::new(op.clone())));
        let said = call.get("call").and_then(|call| {
            call.as_str()
                .or_else(|| call.as_object()?.keys().next().map(String::as_str))
        });
        assert_eq!(said, Some(name));
        assert_eq!(op.generation(), generation, "{name}");
        json!({ "op": name, "streams": streams, "reply": reply, "call": call })
    };
    ops.iter().map(say).collect()
}

fn ops_2() -> Vec<Op> {
    vec![
        Op::TreeMark(TreeMark {
            name: "built".to_owned(),
            contents: true,
            system: true,
        }),
        Op::TreeCompare(TreeCompare {
            with: "built".to_owned(),
        }),
        Op::TreeReset(TreeReset {
            to: "baseline".to_owned(),
            token: None,
        }),
        Op::MarkRead(MarkRead {
            mark: "built".to_owned(),
            path: Bytes::from("src/main.rs"),
            length: None,
        }),
    ]
}

/// What generation 2 adds.
fn generation_2() -> Value {
    let reply = Reply::Records(Records {
        entries: 3,
        bytes: 5,
        left_out: vec![Bytes::from("pipe")],
        programs: Some(1),
    });
    json!({
        "generation": 2,
        "ops": said(2, &ops_2()),
        "replies": [say(&GuestMessage::Done(reply))],
    })
}

fn ops_3() -> Vec<Op> {
    vec![
        Op::MarkRemove(MarkRemove {
            name: "built".to_owned(),
        }),
        Op::PathMove(PathMove {
            from: Bytes::from("old.txt"),
            to: Bytes::from("docs/new.txt"),
        }),
    ]
}

/// What generation 3 adds.
fn generation_3() -> Value {
    json!({ "generation": 3, "ops": said(3, &ops_3()) })
}

/// On a terminal: an op of generation 1 with a field that older agents would pass over.
fn exec_on_terminal() -> Op {
    Op::ExecRun(ExecRun {
        argv: vec![Bytes::from("bash")],
        cwd: Bytes::from(""),
        env: vec![(Bytes::from("TERM"), Bytes::from("xterm-256color"))],
        timeout_ms: 315_360_000_000,
        grace_ms: 5_000,
        stdin: true,
        spool_limit: 0,
        terminal: Some(TerminalSize {
            cols: 120,
            rows: 30,
        }),
        unnamed: false,
    })
}

fn ops_4() -> Vec<Op> {
    let resize = Op::ExecResize(ExecResize {
        call: 1,
        size: TerminalSize { cols: 80, rows: 24 },
    });
    let read = Op::TreeRead(TreeRead {
        path: Bytes::from("src"),
        from: Some(Bytes::from("src/main.rs")),
        skip: vec![Bytes::from(".git"), Bytes::from("target/")],
        needles: vec![Bytes::from("TODO")],
    });
    vec![resize, read]
}

/// What generation 4 adds.
fn generation_4() -> Value {
    json!({
        "generation": 4,
        "ops": said(4, &ops_4()),
        "ops_with_new_fields": said(4, &[exec_on_terminal()]),
    })
}

fn generation() -> Value {
    let failure = || Failure {
        code: FailureCode::Conflict,
        message: "write: the file has other contents".to_owned(),
        path: Some(Bytes::from("old.txt")),
    };
    let hello = || Hello {
        generation: 1,
        version: "0.1.0".to_owned(),
    };
    let ops = said(1, &ops());
    let kinds = [Kind::File, Kind::Directory, Kind::Symlink, Kind::Other].map(|kind| say(&kind));
    json!({
        "generation": 1,
        "ops": ops,
        "host": [say(&HostMessage::Hello(hello())), say(&HostMessage::Cancel), say(&HostMessage::Close)],
        "guest": [
            say(&GuestMessage::Hello(hello())),
            say(&GuestMessage::Started),
            say(&GuestMessage::Failed(failure())),
            say(&GuestMessage::ChannelFailed(Failure { path: None, ..failure() })),
        ],
        "stream": [say(&StreamMessage::End)],
        "replies": replies().into_iter().map(|reply| say(&GuestMessage::Done(reply))).collect::<Vec<_>>(),
        "exec_ends": ends().iter().map(say).collect::<Vec<_>>(),
        "records": { "tree.list": say(&stat()), "tree.diff": say(&change()) },
        "kinds": kinds,
        "failure_codes": codes().iter().map(say).collect::<Vec<_>>(),
    })
}

fn assert_frozen(generation: &Value, path: &str, frozen: &str) {
    let now = format!(
        "{}\n",
        serde_json::to_string_pretty(generation).expect("serialises")
    );
    if std::env::var_os("PYRO_BLESS").is_some() {
        std::fs::write(path, &now).expect("written");
    }
    assert!(
        now == frozen,
        "the wire differs from {path}; it would now be:\n{now}"
    );
}

#[test]
fn generation_1_is_frozen() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/wire/gen-1.json");
    let frozen = include_str!("../../../specs/wire/gen-1.json");
    assert_frozen(&generation(), path, frozen);
}

#[test]
fn generation_2_adds_what_it_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/wire/gen-2.json");
    let frozen = include_str!("../../../specs/wire/gen-2.json");
    assert_frozen(&generation_2(), path, frozen);
}

#[test]
fn generation_3_adds_what_it_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/wire/gen-3.json");
    let frozen = include_str!("../../../specs/wire/gen-3.json");
    assert_frozen(&generation_3(), path, frozen);
}

#[test]
fn generation_4_adds_what_it_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../specs/wire/gen-4.json");
    let frozen = include_str!("../../../specs/wire/gen-4.json");
    assert_frozen(&generation_4(), path, frozen);
    assert_eq!(pyro_protocol::GENERATION, 4, "the newest one has a file");
}

#[test]
fn every_op_is_known_by_its_name() {
    let all = [ops(), ops_2(), ops_3(), ops_4()].concat();
    let names: Vec<_> = all.iter().map(|op| about(op).0).collect();
    assert_eq!(names, Op::NAMES);
}

#[test]
fn unknown_fields_of_an_op_are_no_error() {
    let text = r#"{"call":{"file.stat":{"path":"a","since_generation_9":true}}}"#;
    let message: HostMessage = serde_json::from_str(text).expect("parses");
    assert_eq!(
        message,
        HostMessage::Call(Box::new(Op::FileStat(FileStat {
            path: Bytes::from("a")
        })))
    );
    // An unknown message is.
    assert!(serde_json::from_str::<HostMessage>(r#"{"dance":{}}"#).is_err());
}
