//! A peer that breaks the rules: what it hurts is its own channel, its own call, or the link; never the process.

use crate::bare;
use crate::host::{Host, NO_LIMITS, exec, exited, shell};
use pyro_protocol::boot::Limits;
use pyro_protocol::frame::{HEAD_LEN, Head, INITIAL_CREDIT, MAX_BODY};
use pyro_protocol::message::{
    ExecEnd, Failure, FailureCode, FileRead, FilesWrite, Prior, WriteAction, WriteEntry,
};
use pyro_protocol::{Bytes, GuestMessage, HostMessage, Op};

fn head(channel: u32, call: u32, stream: u32) -> Head {
    Head {
        channel,
        call,
        stream,
        credit: 0,
    }
}

fn channel_failure(host: &mut Host, channel: u32) -> Failure {
    let message = host.message_of(channel, 0);
    let GuestMessage::ChannelFailed(failure) = message else {
        panic!("{message:?}")
    };
    failure
}

fn killed(reason: &str) -> ExecEnd {
    ExecEnd::Signalled {
        signal: 9,
        reason: Some(reason.to_owned()),
    }
}

fn still_serves(host: &mut Host) {
    assert_eq!(host.run(Op::ExecRun(exec(&["true"]))).exec().end, exited(0));
}

fn run(message: Op) -> HostMessage {
    HostMessage::Call(Box::new(message))
}

#[test]
fn an_unknown_op_fails_its_call_only() {
    let mut host = Host::new();
    host.send(
        head(1, 1000, 0),
        br#"{"call":{"time.travel":{"to":1885}}}"#,
        &[],
    );
    assert_eq!(
        host.finish_call(1000, None).failure().code,
        FailureCode::UnknownOp
    );
    host.send(
        head(1, 1001, 0),
        br#"{"call":{"file.read":{"path":7}}}"#,
        &[],
    );
    assert_eq!(
        host.finish_call(1001, None).failure().code,
        FailureCode::BadRequest
    );
    still_serves(&mut host);
}

#[test]
fn a_broken_rule_ends_the_channel_and_its_programs() {
    let long = vec![0; INITIAL_CREDIT as usize + 1];
    let cat = |host: &mut Host| {
        let mut run_cat = exec(&["sleep", "1000"]);
        run_cat.stdin = true;
        host.say(7, 1, &run(Op::ExecRun(run_cat)));
        assert_eq!(host.message_of(7, 1), GuestMessage::Started);
    };
    type Sin = (Head, &'static [u8], Vec<u8>);
    let sins: Vec<Sin> = vec![
        (head(7, 2, 0), b"{nonsense", vec![]),
        (head(7, 2, 0), b"", vec![]),
        (head(7, 2, 0), b"\xff\xfe", vec![]),
        (head(7, 2, 0), br#"{"dance":{}}"#, vec![]),
        (
            head(7, 2, 0),
            br#"{"hello":{"generation":1,"version":""}}"#,
            vec![],
        ),
        (head(7, 1, 0), br#""cancel""#, vec![1]),
        (head(7, 1, 0), br#"{"call":"tree.scan"}"#, vec![]),
        (head(7, 9, 0), br#""cancel""#, vec![]),
        (head(7, 9, 1), b"", vec![1]),
        (head(7, 1, 2), b"", vec![1]),
        (head(7, 1, 3), br#""end""#, vec![]),
        (head(7, 1, 4), b"", vec![]),
        (head(7, 1, u32::MAX), b"", vec![]),
        (head(7, 1, 1), b"{}", vec![]),
        (head(7, 1, 1), b"", long),
    ];
    let mut host = Host::new();
    let deep = "[".repeat(100_000);
    for (at, (sin, header, body)) in sins.iter().enumerate() {
        cat(&mut host);
        if at == 0 {
            host.send(head(7, 2, 0), deep.as_bytes(), &[]);
        } else {
            host.send(*sin, header, body);
        }
        let failure = channel_failure(&mut host, 7);
        assert_eq!(failure.code, FailureCode::BadRequest, "{sin:?}");
        // Whatever is still under way counts for nothing.
        host.say(7, 50, &run(Op::TreeScan));
        host.send(*sin, header, body);
        still_serves(&mut host);
        // Closed, the number is free again.
        host.say(7, 0, &HostMessage::Close);
    }
    let mark = host.mark.clone();
    host.until("the end of the programs", || {
        bare::processes(&mark).is_empty()
    });
    host.close().expect("a clean end");
}

#[test]
fn a_stream_that_goes_on_after_its_end_breaks_the_channel() {
    let mut host = Host::new();
    let mut cat = exec(&["sleep", "1000"]);
    cat.stdin = true;
    host.say(2, 1, &run(Op::ExecRun(cat)));
    host.send(head(2, 1, 1), br#""end""#, b"last words");
    host.send(head(2, 1, 1), b"", b"and another thing");
    channel_failure(&mut host, 2);
    still_serves(&mut host);
}

#[test]
fn the_links_own_channel_takes_no_calls() {
    let mut host = Host::new();
    host.say(0, 0, &run(Op::TreeScan));
    channel_failure(&mut host, 0);
    host.send(head(0, 0, 1), b"", b"data");
    channel_failure(&mut host, 0);
    still_serves(&mut host);
}

#[test]
fn frames_without_boundaries_end_the_link() {
    for length in [0, 19, u32::MAX, 6 << 20] {
        let mut host = Host::new();
        let call = host.open(Op::ExecRun(exec(&["sleep", "1000"])));
        host.wait_started(call);
        let mut bytes = vec![0; HEAD_LEN];
        bytes[..4].copy_from_slice(&u32::to_le_bytes(length));
        host.send_raw(&bytes);
        while host.any_frame().is_some() {}
        let verdict = host.close();
        assert!(verdict.is_err(), "length {length}");
        assert!(bare::processes(&host.mark).is_empty());
    }
}

#[test]
fn half_a_frame_is_no_reason_to_stay() {
    let mut host = Host::new();
    host.send_raw(&100u32.to_le_bytes());
    host.close().expect("a clean end");
}

#[test]
fn channels_and_calls_are_limited() {
    let mut host = Host::new();
    for channel in 1..=64 {
        host.say(
            channel,
            9000,
            &run(Op::FileStat(pyro_protocol::message::FileStat {
                path: Bytes::default(),
            })),
        );
        assert!(matches!(
            host.message_of(channel, 9000),
            GuestMessage::Done(_)
        ));
    }
    host.say(65, 1, &run(Op::TreeScan));
    assert_eq!(channel_failure(&mut host, 65).code, FailureCode::TooLarge);
    host.say(64, 0, &HostMessage::Close);
    host.say(
        65,
        1,
        &run(Op::FileStat(pyro_protocol::message::FileStat {
            path: Bytes::default(),
        })),
    );
    assert!(matches!(host.message_of(65, 1), GuestMessage::Done(_)));
    // Write sets whose contents never come.
    let waiting = || {
        let action = WriteAction::File {
            size: 1,
            mode: None,
        };
        let entry = WriteEntry {
            path: Bytes::from("x"),
            expect: Prior::Any,
            action,
        };
        run(Op::FilesWrite(FilesWrite {
            entries: vec![entry],
        }))
    };
    for call in 1..=257 {
        host.say(3, call + 1, &waiting());
    }
    let GuestMessage::Failed(failure) = host.message_of(3, 258) else {
        panic!("one too many")
    };
    assert_eq!(failure.code, FailureCode::TooLarge);
    // They hold up no other channel.
    still_serves(&mut host);
    host.put("file", "x");
    let read = Op::FileRead(FileRead {
        path: Bytes::from("file"),
        offset: 0,
        length: None,
    });
    assert_eq!(host.run(read).output, b"x");
}

#[test]
fn a_peer_that_never_listens_fills_no_memory() {
    let mut host = Host::new();
    host.put("big", vec![0; 4 << 20]);
    let before = resident();
    // Each may send its initial credit: 64 MiB in all, of which the outbox holds one.
    for call in 1..=256 {
        let read = FileRead {
            path: Bytes::from("big"),
            offset: 0,
            length: None,
        };
        host.say(9, call, &run(Op::FileRead(read)));
    }
    // And questions whose answers nobody reads, until the agent stops listening.
    host.link.set_nonblocking(true).expect("set");
    let mut question = Vec::new();
    let header = br#"{"call":"nothing.at.all"}"#;
    let mut sent = 0u64;
    let mut stuck = 0;
    for call in 1000u32.. {
        question.clear();
        pyro_protocol::frame::encode(head(9, call, 0), header, &[], &mut question);
        let mut rest = question.as_slice();
        while !rest.is_empty() && stuck < 200 {
            match std::io::Write::write(&mut host.link, rest) {
                Ok(count) => {
                    rest = &rest[count..];
                    sent += count as u64;
                    stuck = 0;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    stuck += 1;
                    std::thread::sleep(std::time::Duration::from_millis(5));
                }
                Err(error) => panic!("{error}"),
            }
        }
        if stuck >= 200 || sent > 256 << 20 {
            break;
        }
    }
    assert!(sent < 256 << 20, "the agent must stop listening");
    let grown = resident().saturating_sub(before);
    assert!(grown < 128 << 20, "{grown} bytes more");
}

/// Resident memory of this process, agent included, in bytes.
fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").expect("readable");
    statm
        .split(' ')
        .nth(1)
        .and_then(|pages| pages.parse::<u64>().ok())
        .expect("a number")
        * 4096
}

#[test]
fn bodies_up_to_the_limit_pass_the_frame_and_fail_the_credit() {
    let mut host = Host::new();
    let mut cat = exec(&["cat"]);
    cat.stdin = true;
    host.say(5, 1, &run(Op::ExecRun(cat)));
    host.send(head(5, 1, 1), b"", &vec![0; MAX_BODY]);
    channel_failure(&mut host, 5);
    still_serves(&mut host);
}

#[test]
fn the_largest_process_goes_when_memory_runs_out() {
    let mut host = Host::with_limits(Limits {
        memory: 64 << 20,
        ..NO_LIMITS
    });
    // `tail` keeps a last line that never ends.
    let answer = host.run(Op::ExecRun(exec(&["tail", "/dev/zero"])));
    assert_eq!(answer.exec().end, killed("memory limit"));
    still_serves(&mut host);
}

#[test]
fn a_full_disk_ends_the_program() {
    let mut host = Host::with_limits(Limits {
        disk_reserve: u64::MAX,
        ..NO_LIMITS
    });
    let answer = host.run(Op::ExecRun(shell("trap '' TERM; setsid sleep 1000 & wait")));
    assert_eq!(answer.exec().end, killed("disk limit"));
    assert!(bare::processes(&host.mark).is_empty());
}

#[test]
fn a_run_that_grows_beyond_its_share_of_the_disk_ends() {
    let mut host = Host::with_limits(Limits {
        disk: 32 << 20,
        ..NO_LIMITS
    });
    let answer = host.run(Op::ExecRun(shell(
        "head -c 67108864 /dev/zero > big; sync big; sleep 1000",
    )));
    assert_eq!(answer.exec().end, killed("disk limit"));
}

#[test]
fn what_is_hidden_counts_on_the_disk_too() {
    for hide in [
        "exec 9> big; rm big; head -c 67108864 /dev/zero >&9",
        "n=$(printf %0200d 0); for i in $(seq 22); do mkdir $n; cd -P $n; done; head -c 67108864 /dev/zero > big",
    ] {
        let mut host = Host::with_limits(Limits {
            disk: 32 << 20,
            ..NO_LIMITS
        });
        let script = format!("{hide}; sync -f .; sleep 1000");
        let answer = host.run(Op::ExecRun(shell(&script)));
        assert_eq!(answer.exec().end, killed("disk limit"), "{hide}");
    }
}

#[test]
fn what_is_left_behind_ends_with_the_disk_limit_too() {
    let mut host = Host::with_limits(Limits {
        disk: 32 << 20,
        ..NO_LIMITS
    });
    let daemon = ": > up; sleep 0.3; head -c 67108864 /dev/zero > big; sync big; sleep 1000";
    // It is seen by its environment, which a process between fork and exec does not show.
    let wait = "until [ -e up ]; do sleep 0.01; done";
    let script = format!("setsid sh -c '{daemon}' > /dev/null 2>&1 < /dev/null & {wait}");
    host.run(Op::ExecRun(shell(&script)));
    assert!(!bare::processes(&host.mark).is_empty());
    // Nothing else runs: the watch goes on all the same.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !bare::processes(&host.mark).is_empty() {
        // It may run in the very moment in which all that runs is ended.
        let answer = host.run(Op::ExecRun(exec(&["true"])));
        let end = &answer.exec().end;
        let fair = [exited(0), killed("disk limit")];
        assert!(fair.contains(end), "{end:?}");
        assert!(std::time::Instant::now() < deadline, "it runs on");
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}
