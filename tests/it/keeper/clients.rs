//! Several clients, and clients that misbehave.

use super::{Kept, finish, inside, next, run, sh};
use crate::harness::wait_for;
use pyro::keeper;
use pyro::machine::{CallEvent, Link, LinkError};
use pyro_protocol::frame::{self, INITIAL_CREDIT};
use pyro_protocol::message::{ExecEnd, GuestMessage};
use pyro_protocol::{Decoder, Head};
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

fn encoded(head: Head, header: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    frame::encode(head, header.as_bytes(), body, &mut bytes);
    bytes
}

fn on(channel: u32, call: u32) -> Head {
    Head {
        channel,
        call,
        ..Head::default()
    }
}

fn raw(kept: &Kept) -> UnixStream {
    let stream = keeper::connect(&kept.home).expect("connects");
    let patience = Some(Duration::from_secs(60));
    stream.set_read_timeout(patience).expect("is bounded");
    stream
}

#[test]
fn many_clients_share_a_machine() {
    let kept = Kept::new();
    kept.start();
    let keeper = kept.keeper().expect("runs").as_raw_nonzero();
    let descriptors = || super::folders(format!("/proc/{keeper}/fd").as_ref()).len();
    let before = descriptors();
    std::thread::scope(|scope| {
        for number in 0..16 {
            let kept = &kept;
            scope.spawn(move || {
                let mut link = kept.link();
                for round in 0..5 {
                    // The same numbers of calls on every connection.
                    let script = format!("echo {number} {round}; head -c 300000 /dev/zero");
                    let (report, output) = sh(&mut link, &script);
                    assert_eq!(report.end, ExecEnd::Exited { code: 0 });
                    let line = format!("{number} {round}\n");
                    assert!(output.starts_with(&line), "{number}");
                    assert_eq!(output.len(), line.len() + 300_000);
                }
            });
        }
    });
    wait_for("the clients to be counted", || {
        keeper::status(&kept.home).expect("answers").clients == 0
    });
    wait_for("every connection to be closed", || descriptors() == before);
}

#[test]
fn a_program_of_a_sandbox_is_no_client() {
    // It may have the keeper's own id outside, and somebody may be careless with the folder.
    let kept = Kept::new();
    kept.start();
    let socket = kept.home.path().join("keeper.sock");
    let program = "import socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); \
                   s.settimeout(2); print(s.recv(100))";
    let said = |command: &mut Command| {
        let output = command
            .args(["python3", "-c", program])
            .arg(&socket)
            .output();
        let output = output.expect("starts");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        text + errors.lines().last().unwrap_or_default()
    };
    // Nothing is said to one who says nothing, but the connection holds.
    assert_eq!(said(&mut Command::new("env")), "TimeoutError: timed out");
    let mut sandboxed = Command::new("unshare");
    assert_eq!(said(sandboxed.args(["--user", "--map-root-user"])), "b''\n");
    let log = std::fs::read_to_string(kept.home.log()).expect("reads");
    assert!(log.contains("or in a sandbox"), "{log}");
    assert_eq!(kept.sh("echo on"), "on\n");
}

#[test]
fn one_that_reads_nothing_stalls_only_itself() {
    let kept = Kept::new();
    kept.start();
    let mut silent = raw(&kept);
    let op = serde_json::to_string(&pyro_protocol::message::HostMessage::Call(Box::new(run(
        "head -c 20000000 /dev/zero",
    ))))
    .expect("serialises");
    for call in 1..=20 {
        silent
            .write_all(&encoded(on(1, call), &op, b""))
            .expect("sends");
    }
    for _ in 0..5 {
        let (report, output) = sh(&mut kept.link(), "head -c 5000000 /dev/zero");
        assert_eq!(
            (report.end, output.len()),
            (ExecEnd::Exited { code: 0 }, 5_000_000)
        );
    }
    // Once it reads, everything is there, as far as it gave credit.
    let mut decoder = Decoder::default();
    let (mut started, mut bytes) = (0, 0);
    let mut buffer = vec![0; 1 << 16];
    while started < 20 || bytes < 20 * INITIAL_CREDIT as usize {
        let count = silent.read(&mut buffer).expect("arrives");
        assert!(count > 0, "it was dropped");
        decoder.push(&buffer[..count]);
        while let Some(frame) = decoder.next_frame().expect("frames") {
            assert_eq!(frame.head.channel, 1);
            bytes += frame.body.len();
            started += usize::from(frame.header == b"\"started\"");
        }
    }
    assert_eq!((started, bytes), (20, 20 * INITIAL_CREDIT as usize));
}

#[test]
fn one_that_grants_without_reading_is_dropped() {
    let kept = Kept::new();
    kept.start();
    let mut greedy = raw(&kept);
    let op = serde_json::to_string(&pyro_protocol::message::HostMessage::Call(Box::new(run(
        "head -c 100M /dev/zero",
    ))))
    .expect("serialises");
    for call in 1..=3 {
        greedy
            .write_all(&encoded(on(1, call), &op, b""))
            .expect("sends");
        let credit = Head {
            stream: frame::STREAM_OUTPUT,
            credit: u32::MAX,
            ..on(1, call)
        };
        greedy.write_all(&encoded(credit, "", b"")).expect("sends");
    }
    let log = || std::fs::read_to_string(kept.home.log()).unwrap_or_default();
    wait_for("it to be dropped", || log().contains("it did not listen"));
    assert_eq!(kept.sh("echo on"), "on\n");
}

#[test]
fn with_a_client_go_its_programs() {
    let kept = Kept::new();
    kept.start();
    let mut stays = kept.link();
    let other = stays.call(run("sleep 2000"));
    assert_eq!(next(&mut stays, other), CallEvent::Started);
    let mut goes = kept.link();
    let call = goes.call(run("sleep 1000; echo never"));
    assert_eq!(next(&mut goes, call), CallEvent::Started);
    let sleeps = || {
        let all = inside(kept.home.id());
        all.iter().filter(|(_, name)| name == "sleep").count()
    };
    wait_for("both programs", || sleeps() == 2);
    assert_eq!(keeper::status(&kept.home).expect("answers").clients, 2);
    drop(goes);
    wait_for("its program to end", || sleeps() == 1);
    stays.cancel(other);
    assert!(finish(&mut stays, other).0.is_ok());
}

#[test]
fn nonsense_costs_the_client_that_speaks_it() {
    let kept = Kept::new();
    kept.start();
    let mut well = kept.link();
    let nonsense: Vec<Vec<u8>> = vec![
        vec![0xff; 100],
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        encoded(on(2, 1), "\"close\"", b""),
        encoded(on(u32::MAX, 1), "", b"x"),
        encoded(on(0, 0), "", b""),
        encoded(on(0, 0), "{\"dance\":1}", b""),
        encoded(on(0, 0), "{\"call\":\"tree.scan\"}", b""),
        encoded(on(0, 0), "{\"keeper\":\"status\"}", b"body"),
        encoded(
            Head {
                stream: 1,
                ..on(0, 0)
            },
            "",
            b"data",
        ),
        encoded(on(0, 0), &"x".repeat(1 << 20), b""),
    ];
    for bytes in &nonsense {
        let mut client = raw(&kept);
        client.write_all(bytes).expect("sends");
        let mut heard = Vec::new();
        // A client that is dropped with something unread sees a reset.
        let _ended = client.read_to_end(&mut heard);
        assert_eq!(heard, b"", "{:?}", String::from_utf8_lossy(&bytes[..20]));
        assert_eq!(sh(&mut well, "echo on").1, "on\n");
    }
    // Half a frame, and then nothing.
    let mut half = raw(&kept);
    half.write_all(&encoded(on(1, 1), "{\"call\":\"tree.scan\"}", b"")[..30])
        .expect("sends");
    // What breaks the rules of a channel is for the agent to judge.
    let mut rude = raw(&kept);
    rude.write_all(&encoded(on(1, 5), "\"cancel\"", b""))
        .expect("sends");
    let mut buffer = [0; 4096];
    let count = rude.read(&mut buffer).expect("arrives");
    let mut decoder = Decoder::default();
    decoder.push(&buffer[..count]);
    let frame = decoder.next_frame().expect("a frame").expect("whole");
    assert_eq!(frame.head.channel, 1);
    let said: GuestMessage = serde_json::from_slice(&frame.header).expect("a message");
    assert!(matches!(said, GuestMessage::ChannelFailed(_)), "{said:?}");
    // A word of a later keeper.
    let mut newer = raw(&kept);
    newer
        .write_all(&encoded(on(0, 0), "{\"keeper\":\"dance\"}", b""))
        .expect("sends");
    let count = newer.read(&mut buffer).expect("arrives");
    let text = String::from_utf8_lossy(&buffer[frame::HEAD_LEN..count]).into_owned();
    assert!(text.starts_with("{\"keeper\":{\"refused\":\""), "{text}");
    assert_eq!(sh(&mut well, "echo on").1, "on\n");
    assert!(kept.stop(), "it listens to nobody else meanwhile");
}

#[test]
fn a_client_too_many_is_told() {
    let kept = Kept::new();
    kept.start();
    let mut links: Vec<Link> = (0..64).map(|_| kept.link()).collect();
    assert_eq!(sh(&mut links[63], "echo on").1, "on\n");
    let mut late = kept.link();
    let error = late.wait(None, None).expect_err("turned away");
    assert!(matches!(error, LinkError::Protocol(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        "understand the agent: use the workspace: 64 clients do already"
    );
    // Questions are answered all the same, and one who goes makes room.
    assert_eq!(keeper::status(&kept.home).expect("answers").clients, 64);
    drop(links.pop());
    wait_for("room", || {
        keeper::status(&kept.home).expect("answers").clients == 63
    });
    assert_eq!(kept.sh("echo on"), "on\n");
    // Connections that say nothing hold nobody up either.
    let _idle: Vec<UnixStream> = (0..100).map(|_| raw(&kept)).collect();
    assert_eq!(kept.sh("echo on"), "on\n");
    assert!(kept.stop());
}
