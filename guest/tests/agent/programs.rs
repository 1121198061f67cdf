//! `exec.run` and `spool.read`.

use crate::bare;
use crate::host::{Host, exec, exited, shell};
use pyro_protocol::frame::{Head, INITIAL_CREDIT};
use pyro_protocol::message::{ExecEnd, ExecRun, FailureCode, Hello, SpoolRead};
use pyro_protocol::{Bytes, GENERATION, GuestMessage, HostMessage, Op, Reply};
use sha2::{Digest as _, Sha256};

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn the_older_generation_counts() {
    let mut host = Host::new();
    for (theirs, settled) in [
        (GENERATION + 8, GENERATION),
        (GENERATION, GENERATION),
        (0, 0),
    ] {
        let hello = Hello {
            generation: theirs,
            version: "test".to_owned(),
        };
        host.say(0, 0, &HostMessage::Hello(hello));
        let GuestMessage::Hello(hello) = host.message_of(0, 0) else {
            panic!("no hello came back")
        };
        assert_eq!(hello.generation, settled);
    }
    host.close().expect("a clean end");
}

#[test]
fn a_program_runs_with_its_own_words() {
    let mut host = Host::new();
    std::fs::create_dir(host.tree().join("sub")).expect("a directory");
    let mut run = shell(r#"printf '%s|' "$PWD" "$GREETING"; printf oops >&2; exit 3"#);
    run.env
        .push((Bytes::from("GREETING"), Bytes::from("good day")));
    run.cwd = Bytes::from("sub");
    let answer = host.run(Op::ExecRun(run));
    let report = answer.exec();
    assert_eq!(report.end, exited(3));
    let sub = host.tree().join("sub");
    assert_eq!(
        String::from_utf8_lossy(&answer.output),
        format!("{}|good day|", sub.display())
    );
    assert_eq!(answer.errors, b"oops");
    assert_eq!(answer.ended, [true, true]);
    assert_eq!((report.stderr.bytes, report.stderr.dropped), (4, 0));
    assert_eq!(report.stderr.sha256, sha256(b"oops"));
    assert!(report.max_rss_kib > 0);
    assert_eq!(report.left_running, 0);
}

#[test]
fn any_bytes_come_back_exactly() {
    let mut host = Host::new();
    let answer = host.run(Op::ExecRun(shell(r"printf '\377\000\200x'")));
    assert_eq!(answer.output, b"\xff\0\x80x");
}

#[test]
fn what_cannot_start_says_so() {
    let mut host = Host::new();
    host.put("notes.txt", "not a program");
    for (name, code) in [("no-such-program", 127), ("./notes.txt", 126)] {
        let answer = host.run(Op::ExecRun(exec(&[name])));
        let ExecEnd::NotStarted {
            code: found, errno, ..
        } = &answer.exec().end
        else {
            panic!("{name} ran")
        };
        assert_eq!(*found, code);
        assert!(errno.is_some());
        assert_eq!(answer.ended, [true, true]);
    }
}

#[test]
fn requests_that_no_kernel_takes_are_refused() {
    let mut host = Host::new();
    let bad: [fn(&mut ExecRun); 6] = [
        |run| run.argv.clear(),
        |run| run.argv.push(Bytes::from(&b"a\0b"[..])),
        |run| run.cwd = Bytes::from(&b"\0"[..]),
        |run| run.env.push((Bytes::from("A=B"), Bytes::from("c"))),
        |run| run.env.push((Bytes::from(""), Bytes::from("c"))),
        |run| run.timeout_ms = 0,
    ];
    for spoil in bad {
        let mut run = exec(&["true"]);
        spoil(&mut run);
        assert_eq!(
            host.run(Op::ExecRun(run)).failure().code,
            FailureCode::BadRequest
        );
    }
}

#[test]
fn input_of_any_size_passes_through() {
    let mut host = Host::new();
    let input: Vec<u8> = (0..3_000_000u32).flat_map(u32::to_le_bytes).collect();
    let mut run = exec(&["cat"]);
    run.stdin = true;
    let answer = host.run_with(Op::ExecRun(run), &input);
    assert_eq!(answer.exec().end, exited(0));
    assert!(
        answer.output == input,
        "{} bytes came back",
        answer.output.len()
    );
    assert_eq!(answer.exec().stdout.sha256, sha256(&input));
}

#[test]
fn input_that_nobody_reads_is_taken_all_the_same() {
    let mut host = Host::new();
    let input = vec![b'x'; 4 << 20];
    let mut run = shell("exec <&-; sleep 0.2; echo done");
    run.stdin = true;
    let answer = host.run_with(Op::ExecRun(run), &input);
    assert_eq!(answer.output, b"done\n");
}

#[test]
fn output_beyond_the_limit_is_counted_and_dropped() {
    let mut host = Host::new();
    let mut run = shell("head -c 314572800 /dev/zero");
    run.spool_limit = 1 << 20;
    let answer = host.run(Op::ExecRun(run));
    let report = &answer.exec().stdout;
    assert_eq!((report.bytes, report.dropped), (300 << 20, 299 << 20));
    assert_eq!(answer.output.len(), 1 << 20);
    assert_eq!(report.sha256, sha256(&vec![0; 1 << 20]));
}

#[test]
fn output_without_a_name_is_in_no_file_and_cannot_be_read_again() {
    let mut host = Host::new();
    let op = ExecRun {
        unnamed: true,
        ..shell("printf 0123456789; read line; printf more")
    };
    let op = ExecRun { stdin: true, ..op };
    let call = host.open(Op::ExecRun(op));
    let first = loop {
        let frame = host.frame_of(1, call);
        if frame.head.stream == 2 {
            break frame.body;
        }
    };
    assert_eq!(first, b"0123456789");
    let spool = host.dir.path().join("spool");
    let named = || std::fs::read_dir(&spool).expect("the spool").count();
    // The program runs on, and what it has put out is in no file that anybody finds.
    assert_eq!(named(), 0);
    let answer = host.finish_call(call, Some(b"\n"));
    assert_eq!(answer.output, b"more");
    assert_eq!(answer.exec().stdout.bytes, 14);
    assert_eq!(named(), 0);
    let again = host.run(Op::SpoolRead(SpoolRead {
        call,
        stream: 2,
        offset: 0,
        length: None,
    }));
    assert_eq!(
        again.result.expect_err("no file").code,
        FailureCode::NotFound
    );
}

#[test]
fn output_can_be_read_again_by_range() {
    let mut host = Host::new();
    let call = host.open(Op::ExecRun(shell("printf 0123456789; printf abc >&2")));
    host.finish_call(call, None);
    let mut read = |call, stream, offset, length| {
        let answer = host.run(Op::SpoolRead(SpoolRead {
            call,
            stream,
            offset,
            length,
        }));
        answer.result.map(|reply| (answer.output, reply))
    };
    for (stream, offset, length, text, size) in [
        (2, 0, None, "0123456789", 10),
        (2, 3, Some(4), "3456", 10),
        (2, 99, None, "", 10),
        (2, u64::MAX, Some(u64::MAX), "", 10),
        (3, 1, None, "bc", 3),
    ] {
        let (output, reply) = read(call, stream, offset, length).expect("it is there");
        assert_eq!(String::from_utf8_lossy(&output), text);
        let Reply::Data(report) = reply else {
            panic!("no range")
        };
        assert_eq!((report.sent, report.size), (text.len() as u64, size));
    }
    assert_eq!(
        read(call + 99, 2, 0, None).expect_err("no such call").code,
        FailureCode::NotFound
    );
    assert_eq!(
        read(call, 1, 0, None).expect_err("no such stream").code,
        FailureCode::BadRequest
    );
}

#[test]
fn a_background_child_holds_nothing_up_and_lives_on() {
    let mut host = Host::new();
    let answer = host.run(Op::ExecRun(shell("sleep 1000 & echo started")));
    assert_eq!(answer.exec().end, exited(0));
    assert_eq!(answer.output, b"started\n");
    assert_eq!(answer.exec().left_running, 1);
    // It was there before: not left by this one.
    assert_eq!(
        host.run(Op::ExecRun(exec(&["true"]))).exec().left_running,
        0
    );
    assert_eq!(bare::processes(&host.mark).len(), 1);
    kill_marked(&host);
}

#[test]
fn a_chatty_background_child_is_not_waited_for_either() {
    let mut host = Host::new();
    let script = "(while echo tick; do sleep 0.01; done) & echo started";
    let answer = host.run(Op::ExecRun(shell(script)));
    assert_eq!(answer.exec().end, exited(0));
    assert!(answer.exec().left_running >= 1);
    // Its pipe is still there: writing does not end it.
    host.run(Op::ExecRun(exec(&["sleep", "0.3"])));
    assert!(!bare::processes(&host.mark).is_empty());
    kill_marked(&host);
}

fn kill_marked(host: &Host) {
    host.until("the end of what was left", || {
        let left = bare::processes(&host.mark);
        for process in &left {
            let pid = rustix::process::Pid::from_raw(process.pid).expect("a process");
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        left.is_empty()
    });
}

#[test]
fn a_timeout_ends_everything_and_keeps_the_output() {
    let mut host = Host::new();
    // Ignores TERM, and so do its children; one of them has a session of its own.
    let mut run =
        shell("trap '' TERM; echo before; setsid sleep 1000 & (sleep 5; echo late > late) & wait");
    // Time enough for a shell to begin, on a busy machine too.
    run.timeout_ms = 3000;
    run.grace_ms = 100;
    let answer = host.run(Op::ExecRun(run));
    assert_eq!(answer.exec().end, ExecEnd::TimedOut);
    assert_eq!(answer.output, b"before\n");
    assert_eq!(answer.exec().left_running, 0);
    assert!(
        bare::processes(&host.mark).is_empty(),
        "nothing is left when the answer comes"
    );
    assert!(!host.tree().join("late").exists());
}

#[test]
fn a_timeout_beside_another_program_ends_its_own_processes_only() {
    let mut host = Host::new();
    let other = host.open(Op::ExecRun(shell("sleep 1 & wait; echo whole")));
    host.wait_started(other);
    let mut run = shell("trap '' TERM; (sleep 1000 & sleep 1000) & wait");
    run.timeout_ms = 200;
    run.grace_ms = 50;
    assert_eq!(host.run(Op::ExecRun(run)).exec().end, ExecEnd::TimedOut);
    assert_eq!(host.finish_call(other, None).output, b"whole\n");
    assert!(bare::processes(&host.mark).is_empty());
}

#[test]
fn a_polite_program_ends_within_its_grace() {
    let mut host = Host::new();
    let mut run = shell("trap 'echo bye; exit 0' TERM; while :; do sleep 0.01; done");
    run.timeout_ms = 3000;
    run.grace_ms = 50_000;
    let answer = host.run(Op::ExecRun(run));
    assert_eq!(answer.exec().end, ExecEnd::TimedOut);
    assert_eq!(answer.output, b"bye\n");
}

#[test]
fn a_fork_bomb_ends_with_its_call() {
    let mut host = Host::new();
    // Bounded, for the sake of whoever runs the tests.
    let mut run =
        shell("f() { [ $1 -gt 0 ] && { f $(($1-1)) & f $(($1-1)) & }; sleep 1000; }; f 6");
    run.timeout_ms = 500;
    run.grace_ms = 10;
    let answer = host.run(Op::ExecRun(run));
    assert_eq!(answer.exec().end, ExecEnd::TimedOut);
    assert!(bare::processes(&host.mark).is_empty());
}

#[test]
fn a_cancelled_program_is_gone_when_the_answer_comes() {
    let mut host = Host::new();
    let call = host.open(Op::ExecRun(shell(
        "trap '' TERM; echo here; sleep 1000 & sleep 1000",
    )));
    host.wait_started(call);
    host.say(1, call, &HostMessage::Cancel);
    let answer = host.finish_call(call, None);
    assert_eq!(answer.exec().end, ExecEnd::Cancelled);
    assert!(bare::processes(&host.mark).is_empty());
    // Again, and for a call that was never there.
    host.say(1, call, &HostMessage::Cancel);
    assert_eq!(host.run(Op::ExecRun(exec(&["true"]))).exec().end, exited(0));
}

#[test]
fn a_closed_channel_ends_its_programs() {
    let mut host = Host::new();
    let call = host.open(Op::ExecRun(exec(&["sleep", "1000"])));
    host.wait_started(call);
    host.say(1, 0, &HostMessage::Close);
    let mark = host.mark.clone();
    host.until("the end of the program", || {
        bare::processes(&mark).is_empty()
    });
    // The number is free again.
    host.say(
        1,
        call,
        &HostMessage::Call(Box::new(Op::ExecRun(exec(&["true"])))),
    );
    assert_eq!(host.finish_call(call, None).exec().end, exited(0));
}

#[test]
fn the_end_of_the_link_ends_everything() {
    let mut host = Host::new();
    let call = host.open(Op::ExecRun(shell("trap '' TERM; sleep 1000 & sleep 1000")));
    host.wait_started(call);
    host.close().expect("a clean end");
    assert!(bare::processes(&host.mark).is_empty());
}

#[test]
fn a_reader_that_grants_nothing_stops_nobody_else() {
    let mut host = Host::new();
    let size = 8 << 20;
    let stalled = host.open(Op::ExecRun(shell(&format!(
        "head -c {size} /dev/zero; echo over >&2; touch over"
    ))));
    let over = host.tree().join("over");
    host.until("the end of the program", || over.exists());
    for _ in 0..3 {
        assert_eq!(host.run(Op::ExecRun(shell("echo free"))).output, b"free\n");
    }
    // It got what it was granted at the start, and its answer waits.
    let mut got = 0;
    while got < INITIAL_CREDIT as usize {
        let frame = host.frame_of(1, stalled);
        got += if frame.head.stream == 2 {
            frame.body.len()
        } else {
            0
        };
    }
    assert_eq!(got, INITIAL_CREDIT as usize);
    host.send(
        Head {
            channel: 1,
            call: stalled,
            stream: 2,
            credit: size,
        },
        &[],
        &[],
    );
    let answer = host.finish_call(stalled, None);
    assert_eq!(answer.exec().end, exited(0));
    assert_eq!(got + answer.output.len(), size as usize);
}

#[test]
fn a_stalled_reader_can_cancel() {
    let mut host = Host::new();
    let call = host.open(Op::ExecRun(shell("head -c 1000000 /dev/zero; touch over")));
    let over = host.tree().join("over");
    host.until("the end of the program", || over.exists());
    host.run(Op::ExecRun(exec(&["sleep", "0.2"])));
    host.say(1, call, &HostMessage::Cancel);
    loop {
        if let GuestMessage::Done(Reply::Exec(report)) = host.message_of(1, call) {
            // It had ended by itself, and all of its output was kept.
            assert_eq!(report.end, exited(0));
            assert_eq!(report.stdout.bytes, 1_000_000);
            break;
        }
    }
}
