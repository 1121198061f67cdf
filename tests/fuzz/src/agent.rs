//! An archive that the agent unpacks into a work tree. Whatever it is: all of it is below the directory it was sent
//! to, or the tree is as before.
//!
//! The agent's own tests replay it: `guest/tests/agent/corpus.rs`.

use super::tar::mended;
use pyro_guest::serve::{Agent, serve};
use pyro_guest::spawn::{Child, Lookout, Process, Program, SpawnError, Spawner};
use pyro_protocol::boot::Limits;
use pyro_protocol::frame::{self, CHUNK, Head};
use pyro_protocol::message::{GuestMessage, Op, StreamMessage, TarIn};
use pyro_protocol::{Bytes, Decoder, HostMessage};
use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

/// Nobody runs programs here.
#[derive(Debug)]
struct Nobody;

impl Spawner for Nobody {
    fn spawn(&mut self, _: &Program, _: [BorrowedFd<'_>; 3]) -> Result<Child, SpawnError> {
        Err(SpawnError::SandboxEnded)
    }

    fn processes(&self) -> std::io::Result<Vec<Process>> {
        Ok(Vec::new())
    }

    fn lookout(&self) -> Lookout {
        Box::new(|| Ok(Vec::new()))
    }

    fn reap_others(&mut self, _: &[i32]) {}
}

/// Takes a tar archive; its checksums are made right.
pub fn unpack(data: &[u8]) {
    let mut archive = mended(data);
    // One piece, so that no credit has to be waited for.
    archive.truncate(CHUNK);
    let folder = tempfile::tempdir().expect("a temporary folder");
    for name in ["tree", "stage", "spool"] {
        fs::create_dir(folder.path().join(name)).expect("a new folder");
    }
    let tree = folder.path().join("tree");
    fs::create_dir(tree.join("to")).expect("a new folder");
    fs::write(tree.join("to/a"), "as it was").expect("a new file");
    fs::write(tree.join("outside"), "as it was").expect("a new file");
    let before = names(folder.path());
    let (mut link, theirs) = UnixStream::pair().expect("a socket pair");
    let owner = fs::metadata(&tree).expect("the tree").uid();
    let run_dir = fs::File::open(folder.path()).expect("the folder");
    let agent = std::thread::spawn(move || {
        serve(Agent {
            link: theirs.into(),
            run_dir: run_dir.into(),
            owner,
            limits: Limits {
                processes: 0,
                memory: u64::MAX,
                disk: u64::MAX,
                disk_reserve: 0,
                open_files: 0,
            },
            system: None,
            layer: None,
            spawner: Box::new(Nobody),
        })
    });
    let head = Head {
        channel: 1,
        call: 1,
        ..Head::default()
    };
    let input = Head { stream: 1, ..head };
    let call = HostMessage::Call(Box::new(Op::TarIn(TarIn {
        to: Bytes::from("to"),
    })));
    let mut bytes = Vec::new();
    let call = serde_json::to_vec(&call).expect("a header");
    let end = serde_json::to_vec(&StreamMessage::End).expect("a header");
    frame::encode(head, &call, &[], &mut bytes);
    frame::encode(input, &end, &archive, &mut bytes);
    link.write_all(&bytes).expect("the agent listens");
    let done = answer(&mut link);
    drop(link);
    agent
        .join()
        .expect("no panic")
        .expect("the link was closed in order");
    let after = names(folder.path());
    let beside = |names: &[String]| -> Vec<String> {
        let names = names.iter().filter(|name| !name.starts_with("tree/to"));
        names.cloned().collect()
    };
    assert_eq!(beside(&before), beside(&after), "{done:?}");
    if !matches!(done, GuestMessage::Done(_)) {
        assert_eq!(before, after, "{done:?}");
        let kept = fs::read(tree.join("to/a")).expect("still there");
        assert_eq!(kept, b"as it was");
    }
    let outside = fs::read(tree.join("outside")).expect("still there");
    assert_eq!(outside, b"as it was");
}

fn answer(link: &mut UnixStream) -> GuestMessage {
    let mut decoder = Decoder::default();
    let mut buffer = vec![0; 64 << 10];
    loop {
        while let Some(frame) = decoder.next_frame().expect("frames") {
            if frame.head.stream != 0 || frame.header.is_empty() {
                continue;
            }
            let message = serde_json::from_slice(&frame.header).expect("a message");
            if !matches!(message, GuestMessage::Started) {
                return message;
            }
        }
        let count = match link.read(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            count => count.expect("the agent answers"),
        };
        assert!(count > 0, "the agent ended");
        decoder.push(&buffer[..count]);
    }
}

/// Everything below a folder, links not followed.
fn names(folder: &Path) -> Vec<String> {
    let mut names = Vec::new();
    let mut waiting = vec![folder.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in fs::read_dir(next).expect("a folder") {
            let entry = entry.expect("an entry");
            let below = entry.path();
            let below = below.strip_prefix(folder).expect("below");
            names.push(below.display().to_string());
            if entry.file_type().expect("a kind").is_dir() {
                waiting.push(entry.path());
            }
        }
    }
    names.sort();
    names
}
