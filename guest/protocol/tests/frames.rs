//! The outer frame: golden bytes, every split of the stream, hostile bytes.

use proptest::prelude::*;
use pyro_protocol::frame::{HEAD_LEN, MAX_BODY, MAX_HEADER};
use pyro_protocol::manifest::{Entry, Manifest};
use pyro_protocol::message::Kind;
use pyro_protocol::{Decoder, Frame, FrameError, Head, HostMessage};

fn frame(head: [u32; 4], header: &[u8], body: &[u8]) -> Frame {
    let [channel, call, stream, credit] = head;
    Frame {
        head: Head {
            channel,
            call,
            stream,
            credit,
        },
        header: header.to_vec(),
        body: body.to_vec(),
    }
}

fn encoded(frames: &[Frame]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.encode(&mut bytes);
    }
    bytes
}

/// Decodes a stream that arrives in pieces.
fn decoded<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Vec<Frame>, FrameError> {
    let mut decoder = Decoder::default();
    let mut frames = Vec::new();
    for piece in pieces {
        decoder.push(piece);
        while let Some(frame) = decoder.next_frame()? {
            frames.push(frame);
        }
    }
    Ok(frames)
}

#[test]
fn golden_bytes() {
    let golden = [
        (
            frame([1, 7, 0, 0], br#""cancel""#, b""),
            "1c000000 01000000 07000000 00000000 00000000 08000000 2263616e63656c22",
        ),
        (
            frame([2, 3, 2, 0], b"", b"hi\n"),
            "17000000 02000000 03000000 02000000 00000000 00000000 68690a",
        ),
        (
            frame([2, 3, 2, 65536], b"", b""),
            "14000000 02000000 03000000 02000000 00000100 00000000",
        ),
        (
            frame([2, 3, 1, 0], br#""end""#, b"x"),
            "1a000000 02000000 03000000 01000000 00000000 05000000 22656e6422 78",
        ),
    ];
    for (frame, hex) in golden {
        let bytes: String = encoded(std::slice::from_ref(&frame))
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(bytes, hex.replace(' ', ""), "{frame:?}");
    }
}

#[test]
fn every_split_in_two_decodes_the_same() {
    let frames = [
        frame([1, 2, 0, 3], b"{}", b"body"),
        frame([0; 4], b"", b""),
        frame([9; 4], b"", b"xyz"),
    ];
    let bytes = encoded(&frames);
    for at in 0..=bytes.len() {
        let (first, second) = bytes.split_at(at);
        assert_eq!(
            decoded([first, second]).expect("frames"),
            frames,
            "split at {at}"
        );
    }
    assert_eq!(decoded(bytes.chunks(1)).expect("frames"), frames);
}

#[test]
fn the_largest_frame_passes_and_a_larger_one_does_not() {
    let largest = frame([1; 4], &vec![b' '; MAX_HEADER], &vec![0; MAX_BODY]);
    let bytes = encoded(std::slice::from_ref(&largest));
    assert_eq!(decoded(bytes.chunks(65_536)).expect("a frame"), [largest]);
    let word = |value: usize| u32::try_from(value).expect("small").to_le_bytes();
    let largest = HEAD_LEN - 4 + MAX_HEADER + MAX_BODY;
    for (length, header, error) in [
        (largest + 1, 0, "length"),
        (HEAD_LEN - 5, 0, "length"),
        (0, 0, "length"),
        (u32::MAX as usize, 0, "length"),
        (HEAD_LEN, 5, "header"),
        (HEAD_LEN, u32::MAX as usize, "header"),
        // A body longer than a body may be, in a frame that could hold it as a header.
        (HEAD_LEN - 4 + MAX_BODY + 1, 0, "header"),
        (largest, MAX_HEADER + 1, "header"),
    ] {
        let mut bytes = [word(length).as_slice(), &[0; 16], &word(header)].concat();
        let mut decoder = Decoder::default();
        decoder.push(&bytes);
        let first = decoder.next_frame().expect_err("not a frame");
        assert_eq!(
            matches!(first, FrameError::Length(_)),
            error == "length",
            "{length} {header}"
        );
        // It stays broken, and takes nothing in for it.
        bytes.resize(64, 0);
        assert_eq!(decoder.next_frame(), Err(first));
    }
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..40);
    (any::<[u32; 4]>(), bytes(), bytes())
        .prop_map(|(head, header, body)| frame(head, &header, &body))
}

proptest! {
    #[test]
    fn every_split_decodes_the_same(
        frames in proptest::collection::vec(any_frame(), 0..6),
        cuts in proptest::collection::vec(1..30usize, 1..20),
    ) {
        let bytes = encoded(&frames);
        let mut rest = bytes.as_slice();
        let mut pieces = Vec::new();
        for &cut in cuts.iter().cycle().take(bytes.len() + 1) {
            let (piece, later) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = later;
        }
        prop_assert_eq!(decoded(pieces).expect("frames"), frames);
    }

    #[test]
    fn hostile_bytes_are_frames_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        // No panic, and never more than was sent.
        if let Ok(frames) = decoded(bytes.chunks(7)) {
            let held: usize = frames.iter().map(|frame| frame.header.len() + frame.body.len()).sum();
            prop_assert!(held <= bytes.len());
        }
    }

    #[test]
    fn hostile_headers_are_messages_or_an_error(header in "\\PC{0,80}") {
        let _ = serde_json::from_str::<HostMessage>(&header);
    }

    #[test]
    fn hostile_manifests_are_manifests_or_an_error(tail in proptest::collection::vec(any::<u8>(), 0..200)) {
        let mut bytes = Manifest::default().encode();
        bytes.extend(tail);
        let _ = Manifest::decode(&bytes);
    }
}

#[test]
fn a_manifest_sent_in_pieces_is_the_manifest() {
    let entry = |path: &str| Entry {
        path: path.into(),
        kind: Kind::File,
        mode: 0o644,
        size: 5,
        mtime_ns: -1,
        ctime_ns: i64::MAX,
        inode: 7,
        sha256: [9; 32],
        pack_offset: 0,
    };
    let manifest = Manifest {
        complete_ns: 42,
        entries: vec![entry("a"), entry("a-b"), entry("a/b")],
    };
    let mut bytes = Manifest {
        complete_ns: 42,
        entries: Vec::new(),
    }
    .encode();
    for entry in &manifest.entries {
        entry.encode(&mut bytes);
    }
    assert_eq!(bytes, manifest.encode());
    assert_eq!(Manifest::decode(&bytes), Ok(manifest.clone()));
    assert_eq!(manifest.get(b"a/b"), Some(&manifest.entries[2]));
    assert_eq!(manifest.get(b"b"), None);
    for cut in 0..bytes.len() {
        let whole = [20, 20 + 82, 20 + 82 + 84].contains(&cut);
        assert_eq!(
            Manifest::decode(&bytes[..cut]).is_ok(),
            whole,
            "cut at {cut}"
        );
    }
}

#[test]
fn nothing_of_an_environment_is_in_debug_output() {
    let op = pyro_protocol::Op::ExecRun(pyro_protocol::message::ExecRun {
        argv: vec!["echo".into(), "a-secret-argument".into()],
        cwd: "".into(),
        env: vec![("TOKEN".into(), "a-secret-value".into())],
        timeout_ms: 1,
        grace_ms: 1,
        stdin: false,
        spool_limit: 1,
        terminal: None,
        unnamed: true,
    });
    let shown = format!("{:?}", HostMessage::Call(Box::new(op)));
    assert!(
        shown.contains("TOKEN") && !shown.contains("a-secret"),
        "{shown}"
    );
}
