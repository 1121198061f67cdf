//! Resets of a real agent in a real sandbox, which is killed in the middle.

use super::Test;
use super::client::{boot_in, ends, ids};
use super::layers;
use super::link::Server;
use pyro_protocol::boot::{Boot, Ids};
use pyro_protocol::message::TreeReset;
use pyro_protocol::{Bytes, Op};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::os::unix::net::UnixStream;
use std::path::Path;

pub(crate) const TESTS: &[Test] = &[(
    "a_reset_has_happened_or_not_whoever_is_killed",
    a_reset_has_happened_or_not_whoever_is_killed,
)];

/// Sandboxes that are ended.
const ROUNDS: usize = 24;

/// Every path with all that a reset puts back.
fn picture(tree: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut waiting = vec![tree.to_owned()];
    while let Some(path) = waiting.pop() {
        let meta = fs::symlink_metadata(&path).expect("there");
        let contents = if meta.is_dir() {
            let entries = fs::read_dir(&path).expect("readable");
            waiting.extend(entries.map(|entry| entry.expect("an entry").path()));
            String::new()
        } else if meta.is_symlink() {
            format!("{:?}", fs::read_link(&path).expect("a link"))
        } else {
            let text = fs::read(&path).expect("readable");
            format!("{} {}", meta.nlink(), text.escape_ascii())
        };
        lines.push(format!(
            "{:?} {:o} {}:{} {}.{} {contents}",
            path,
            meta.mode(),
            meta.uid(),
            meta.gid(),
            meta.mtime(),
            meta.mtime_nsec()
        ));
    }
    lines.sort();
    lines
}

/// Makes a tree whose every path will have to be put back.
fn plant(tree: &Path) {
    let own = |path: &Path| {
        if let Ids::Range { base } = ids() {
            chown(path, Some(base + 1), Some(base + 1)).expect("chowns");
        }
    };
    for folder in 0..10 {
        let folder = tree.join(format!("d{folder}"));
        fs::create_dir(&folder).expect("makes a folder");
        for file in 0..30 {
            let path = folder.join(format!("f{file}"));
            fs::write(&path, format!("{file} ").repeat(100)).expect("writes");
            own(&path);
        }
        own(&folder);
    }
}

const DAMAGE: &str = "cd /workspace; rm -rf d1 d2 d3; mkdir d1; echo x > d2; for f in d4/* d5/*; do echo more >> $f; done; \
     chmod 700 d6/*; ln d7/f1 d7/twin; rm d7/f2; ln -s / d7/f2; mkdir -p new/and/deep; mv d8 new/and/deep; chmod 500 new/and";
const IMAGE_DAMAGE: &str = "rm -r /data/dir; mkdir /data/dir; echo more >> /data/file; rm /data/gone; mv /data/old /data/new; \
     echo x > /etc/new; mkdir -p /data/many; for n in 1 2 3 4 5 6 7 8 9; do echo $n > /data/many/$n; done";

/// What an image is seen as, where it was changed.
const PICTURE: &str = "find /data /etc -type d -printf '%p %m %U %G %T@\\n' -o -printf '%p %y %m %U %G %T@ %s %l\\n' | sort; \
     find /data /etc -type f -exec sha256sum {} + | sort";

struct Round {
    folder: tempfile::TempDir,
    boot: Boot,
    server: Server,
    marked: Vec<String>,
    damaged: Vec<String>,
    images: Option<[String; 2]>,
}

/// A sandbox that was marked and then damaged.
fn begin(image: Option<&Bytes>) -> Round {
    let folder = tempfile::tempdir().expect("a folder");
    let boot = match image {
        Some(image) => layers::boot_on(folder.path(), image),
        None => boot_in(folder.path()),
    };
    let tree = folder.path().join("run/tree");
    plant(&tree);
    let mut server = Server::boot(&boot);
    server.mark("baseline");
    server.mark("m");
    let marked = picture(&tree);
    let see = |server: &mut Server| image.map(|_| server.sh(PICTURE));
    let then = see(&mut server);
    server.sh(DAMAGE);
    if image.is_some() {
        server.sh(IMAGE_DAMAGE);
    }
    let images = then.zip(see(&mut server)).map(<[_; 2]>::from);
    let damaged = picture(&tree);
    assert_ne!(marked, damaged);
    Round {
        folder,
        boot,
        server,
        marked,
        damaged,
        images,
    }
}

fn to_the_mark() -> Op {
    Op::TreeReset(TreeReset {
        to: "m".to_owned(),
        token: None,
    })
}

/// What lies in the corners of a reset: files to come, and what has gone.
#[derive(Debug, Clone, Copy, Default)]
struct Corners {
    staged: usize,
    gone: usize,
}

fn corners(run: &Path) -> Corners {
    let mut corners = Corners::default();
    for corner in ["stage/.pyro-reset", "system/.pyro-reset"] {
        for entry in fs::read_dir(run.join(corner))
            .into_iter()
            .flatten()
            .flatten()
        {
            if entry.file_name().as_encoded_bytes().starts_with(b"x") {
                corners.gone += 1;
            } else {
                corners.staged += 1;
            }
        }
    }
    corners
}

/// How far a reset has come: files are staged, then things go, then files come. Nothing once it is answered.
fn progress(run: &Path, link: &UnixStream, most: Corners) -> Option<usize> {
    let at_once = Timespec::default();
    let mut answer = [PollFd::new(link, PollFlags::IN)];
    if poll(&mut answer, Some(&at_once)).expect("polls") > 0 {
        return None;
    }
    let noted = run.join("marks/.resetting").exists();
    let now = corners(run);
    Some(if noted {
        most.staged + now.gone + most.staged.saturating_sub(now.staged)
    } else {
        now.staged
    })
}

fn a_reset_has_happened_or_not_whoever_is_killed() {
    let shared = tempfile::tempdir().expect("a folder");
    fs::set_permissions(shared.path(), fs::Permissions::from_mode(0o755)).expect("chmods");
    let image = layers::image_with_data(shared.path());
    let kinds = [None, Some(&image)];
    // How far one comes: the moments of death are spread over that.
    let most = kinds.map(|image| {
        let mut round = begin(image);
        let run = run_of(&round);
        let call = round.server.open(to_the_mark());
        let mut most = Corners::default();
        while progress(&run, &round.server.link, most).is_some() {
            let now = corners(&run);
            most.staged = most.staged.max(now.staged);
            most.gone = most.gone.max(now.gone);
        }
        let answer = round.server.answer(call).expect("the agent lives");
        assert!(answer.0.is_ok(), "{answer:?}");
        assert_eq!(picture(&tree_of(&round)), round.marked);
        most
    });
    let (mut olds, mut news, mut finished) = (0, 0, 0);
    for number in 0..ROUNDS {
        let mut round = begin(kinds[number % 2]);
        let (tree, run) = (tree_of(&round), run_of(&round));
        let most = most[number % 2];
        let moment = (2 * most.staged + most.gone) * number / ROUNDS;
        round.server.open(to_the_mark());
        while progress(&run, &round.server.link, most).is_some_and(|now| now < moment) {
            std::thread::yield_now();
        }
        let zygote = i32::try_from(round.server.zygote.id()).expect("fits");
        let victims = [round.server.ready.agent_pid, zygote];
        let victim = victims[number / 2 % 2];
        // It may have been the last moment of its life already.
        let _ = kill_process(Pid::from_raw(victim).expect("a process"), Signal::KILL);
        drop(round.server.control.take());
        ends(&mut round.server.zygote);
        // The agent is the last to hold the other end.
        while round.server.answer(0).is_some() {}
        let noted = run.join("marks/.resetting").exists();
        finished += u32::from(noted);
        let happened = if let Some(images) = &round.images {
            // The next agent does it, and shows it.
            let now = Server::boot(&round.boot).sh(PICTURE);
            let is_new = now == images[0];
            if !is_new {
                assert_eq!(now, images[1], "neither old nor new in round {number}");
            }
            Some(is_new)
        } else {
            let folder = File::open(&run).expect("the folder");
            pyro_guest::recover(folder.as_fd()).expect("recovers");
            None
        };
        let now = picture(&tree);
        let is_new = now == round.marked;
        if !is_new {
            assert_eq!(now, round.damaged, "neither old nor new in round {number}");
        }
        assert!(
            is_new || !noted,
            "what was noted has happened: round {number}"
        );
        assert!(
            happened.is_none_or(|happened| happened == is_new),
            "both or neither: round {number}"
        );
        assert!(!run.join("marks/.resetting").exists());
        *(if is_new { &mut news } else { &mut olds }) += 1;
    }
    println!(
        "{olds} resets did not happen, {news} did, {finished} of them finished by another agent"
    );
    assert!(olds > 0 && finished > 0, "killed before and in the middle");
}

fn run_of(round: &Round) -> std::path::PathBuf {
    round.folder.path().join("run")
}

fn tree_of(round: &Round) -> std::path::PathBuf {
    run_of(round).join("tree")
}
