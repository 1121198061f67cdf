//! Write sets of a real agent in a real sandbox, which is killed in the middle.

use super::Test;
use super::client::{boot_in, ends, ids, reply, start_as};
use pyro_protocol::Bytes;
use pyro_protocol::boot::{BootReply, Ids, Ready};
use pyro_protocol::frame::{self, CHUNK, Head};
use pyro_protocol::message::{FilesWrite, Prior, WriteAction, WriteEntry};
use pyro_protocol::{HostMessage, Op};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Child;

pub(crate) const TESTS: &[Test] = &[(
    "a_set_is_whole_or_not_there_whoever_is_killed",
    a_set_is_whole_or_not_there_whoever_is_killed,
)];

/// Files that are changed, and as many that are new.
const FILES: usize = 100;
/// Sandboxes that are ended.
const ROUNDS: u64 = 24;
/// From round to round the journal may become longer by so many bytes.
const STEP: u64 = 550;

/// Every file with its contents and times.
fn picture(tree: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = vec![tree.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).expect("readable").flatten() {
            let meta = entry.metadata().expect("there");
            let contents = if meta.is_dir() {
                waiting.push(entry.path());
                String::new()
            } else {
                fs::read_to_string(entry.path()).expect("readable")
            };
            lines.push(format!(
                "{:?} {:o} {contents} {}.{}",
                entry.path(),
                meta.mode(),
                meta.mtime(),
                meta.mtime_nsec()
            ));
        }
    }
    lines.sort();
    lines
}

fn is_new(tree: &Path) -> bool {
    (0..FILES).all(|file| {
        fs::read_to_string(tree.join(format!("f{file}"))).is_ok_and(|text| text == "new")
            && fs::read_to_string(tree.join(format!("made/{}/f{file}", file % 7)))
                .is_ok_and(|text| text == "new")
    })
}

/// The set, as the host sends it.
fn frames() -> Vec<u8> {
    let file = |path: String| WriteEntry {
        path: Bytes::from(path),
        expect: Prior::Any,
        action: WriteAction::File {
            size: 3,
            mode: None,
        },
    };
    let entries: Vec<_> = (0..FILES)
        .flat_map(|number| {
            [
                file(format!("f{number}")),
                file(format!("made/{}/f{number}", number % 7)),
            ]
        })
        .collect();
    let contents = b"new".repeat(entries.len());
    let call = HostMessage::Call(Box::new(Op::FilesWrite(FilesWrite { entries })));
    let call = serde_json::to_vec(&call).expect("a header");
    let head = |stream| Head {
        channel: 1,
        call: 1,
        stream,
        credit: 0,
    };
    let mut bytes = Vec::new();
    frame::encode(head(0), &call, &[], &mut bytes);
    for piece in contents.chunks(CHUNK) {
        frame::encode(head(1), &[], piece, &mut bytes);
    }
    frame::encode(head(1), br#""end""#, &[], &mut bytes);
    bytes
}

/// A sandbox with the old files, whose agent was sent the set.
struct Round {
    folder: tempfile::TempDir,
    old: Vec<String>,
    ready: Ready,
    zygote: Child,
    control: UnixStream,
    link: UnixStream,
}

fn begin(frames: &[u8]) -> Round {
    let folder = tempfile::tempdir().expect("a folder");
    let boot = boot_in(folder.path());
    let tree = folder.path().join("run/tree");
    for number in 0..FILES {
        let path = tree.join(format!("f{number}"));
        fs::write(&path, "old").expect("a file");
        if let Ids::Range { base } = ids() {
            chown(&path, Some(base + 1), Some(base + 1)).expect("chowns");
        }
    }
    let old = picture(&tree);
    let (zygote, mut control, mut link) = start_as("pyro-server", &boot, |_| {});
    let BootReply::Ready(ready) = reply(&mut control) else {
        panic!("no sandbox");
    };
    link.write_all(frames).expect("the agent listens");
    Round {
        folder,
        old,
        ready,
        zygote,
        control,
        link,
    }
}

fn a_set_is_whole_or_not_there_whoever_is_killed() {
    let frames = frames();
    let (mut olds, mut news, mut stopped) = (0, 0, 0);
    for number in 0..ROUNDS {
        let mut round = begin(&frames);
        let run = round.folder.path().join("run");
        let tree = run.join("tree");
        // Later and later: the first before anything is changed, the last when all is.
        let journal = run.join("stage/w0/journal");
        let mut answer = [PollFd::new(&round.link, PollFlags::IN)];
        let at_once = Timespec::default();
        while fs::metadata(&journal).map_or(0, |meta| meta.len()) < number * STEP
            && poll(&mut answer, Some(&at_once)).expect("polls") == 0
        {
            std::thread::yield_now();
        }
        let zygote = i32::try_from(round.zygote.id()).expect("fits");
        let victims = [round.ready.agent_pid, zygote, round.ready.init_pid];
        let victim = victims[usize::try_from(number % 3).expect("small")];
        // It may have been the last moment of its life already.
        let _ = kill_process(Pid::from_raw(victim).expect("a process"), Signal::KILL);
        drop(round.control);
        ends(&mut round.zygote);
        // The agent is the last to hold the other end.
        let _ = round.link.read_to_end(&mut Vec::new());
        let folder = File::open(&run).expect("the folder");
        let recovered = pyro_guest::recover(folder.as_fd()).expect("recovers");
        stopped += recovered.taken_back;
        if picture(&tree) == round.old {
            olds += 1;
        } else {
            assert!(is_new(&tree), "neither old nor new in round {number}");
            news += 1;
        }
        let left = fs::read_dir(run.join("stage")).map_or(0, Iterator::count);
        assert_eq!(left, 0, "the stage is empty");
    }
    println!("{olds} old trees, {stopped} of them taken back, {news} new ones");
    assert!(stopped > 0, "none was stopped in the middle");
}
