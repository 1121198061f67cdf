//! Marks and resets: the tree comes back exactly, whatever happened to it.

use crate::host::{Host, exec, exited, shell};
use crate::trees::{fifo, records};
use pyro_protocol::message::{
    Change, ExecEnd, FailureCode, MarkRead, Records, TreeCompare, TreeMark, TreeReset,
};
use pyro_protocol::{Bytes, Op, Reply};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::{Path, PathBuf};

/// Everything about a tree that a reset has to restore: kind, mode, time, contents, and which names are one file.
pub(crate) fn picture(root: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut first: BTreeMap<u64, PathBuf> = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    let top = fs::symlink_metadata(root).expect("the tree");
    found.insert(
        PathBuf::new(),
        format!("{:o} {}.{}", top.mode(), top.mtime(), top.mtime_nsec()),
    );
    while let Some(dir) = waiting.pop() {
        let mut names: Vec<_> = fs::read_dir(&dir)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        names.sort();
        for path in names {
            let metadata = fs::symlink_metadata(&path).expect("metadata");
            let name = path.strip_prefix(root).expect("below").to_owned();
            let mut line = format!(
                "{:o} {}.{:09}",
                metadata.mode(),
                metadata.mtime(),
                metadata.mtime_nsec()
            );
            if metadata.is_dir() {
                waiting.push(path);
            } else if metadata.is_symlink() {
                line += &format!(" -> {:?}", fs::read_link(&path).expect("a link"));
            } else {
                let twin = first.entry(metadata.ino()).or_insert_with(|| name.clone());
                line += &format!(
                    " {} {:?} = {}",
                    metadata.nlink(),
                    fs::read(&path).map(|bytes| bytes.escape_ascii().to_string()),
                    twin.display()
                );
            }
            found.insert(name, line);
        }
    }
    found
}

pub(crate) fn mark(host: &mut Host, name: &str) -> Records {
    let answer = host.run(Op::TreeMark(TreeMark {
        name: name.to_owned(),
        contents: true,
        system: true,
    }));
    records(&answer).clone()
}

pub(crate) fn reset(host: &mut Host, to: &str) -> Records {
    records_of(
        host,
        Op::TreeReset(TreeReset {
            to: to.to_owned(),
            token: None,
        }),
    )
}

pub(crate) fn records_of(host: &mut Host, op: Op) -> Records {
    records(&host.run(op)).clone()
}

pub(crate) fn compare(host: &mut Host, with: &str) -> Vec<String> {
    let answer = host.run(Op::TreeCompare(TreeCompare {
        with: with.to_owned(),
    }));
    records(&answer);
    let lines = answer.output.split_inclusive(|&b| b == b'\n');
    lines
        .map(|line| serde_json::from_slice::<Change>(line).expect("a change"))
        .map(|change| change.path.lossy().into_owned())
        .collect()
}

pub(crate) fn sh(host: &mut Host, script: &str) {
    let answer = host.run(Op::ExecRun(shell(script)));
    let Ok(Reply::Exec(report)) = &answer.result else {
        panic!("{:?}", answer.result);
    };
    let errors = String::from_utf8_lossy(&answer.errors);
    assert_eq!(report.end, exited(0), "{script}: {errors}");
}

/// A tree with one of each kind.
pub(crate) fn plant(host: &mut Host) {
    for path in ["a/b/c/deep", "a/file", "a-b", "keep/1", "keep/2", "tool"] {
        host.put(path, format!("this is {path}\n"));
    }
    host.put("big", vec![7; 3 << 20]);
    let tree = host.tree();
    fs::write(tree.join(OsStr::from_bytes(b"odd \xff\n name")), "odd").expect("a file");
    symlink("a/file", tree.join("link")).expect("a link");
    symlink("/nowhere/at all", tree.join("a/dangling")).expect("a link");
    fs::hard_link(tree.join("keep/1"), tree.join("keep/twin")).expect("a hard link");
    fs::hard_link(tree.join("keep/1"), tree.join("a/triplet")).expect("a hard link");
    fs::create_dir(tree.join("empty")).expect("a directory");
    fs::write(host.dir.path().join("other/scratch"), "elsewhere").expect("a file");
    sh(
        host,
        "chmod 755 tool; chmod 600 a/file; chmod 1755 a/b; touch -d '2001-02-03 04:05:06.789' a keep/2 big; \
         touch -h -d '2002-03-04 05:06:07' link; touch -d '1999-01-01' . empty",
    );
}

/// What a program may do to a tree.
const DAMAGE: &[&str] = &[
    "rm -rf a keep; echo new > a",
    "echo more >> a/file; echo less > big; rm tool; mkdir tool; touch tool/x",
    "rm keep/twin; cp keep/1 keep/twin; ln keep/2 extra",
    // Names change places; contents, sizes and times are as they were.
    "mv a-b tmp; mv keep/2 a-b; mv tmp keep/2",
    "cp -p keep/1 same; mv same keep/1",
    "chmod 700 a/b keep; chmod 4711 tool; touch big a/file; touch -h link",
    "rm link; ln -s a-b link; rm a/dangling; ln a-b a/dangling",
    "rm -rf ..?* .[!.]* * ../other/*",
    "mkdir -p n/e/w; touch n/e/w/f; chmod 500 n/e; mkfifo a/fifo; echo x > ../other/new; rm ../other/scratch",
    "rmdir empty; ln -s a/b empty; chmod 0 a/file; chmod 000 keep/2",
    "mv a b; mv b/b a; ln big keep/big; echo changed > a-b; touch -d '2001-02-03 04:05:06.789' a-b",
    "true",
];

#[test]
fn a_reset_restores_everything_exactly() {
    let mut host = Host::new();
    plant(&mut host);
    let wanted = picture(&host.tree());
    let rest = |host: &Host| {
        let mut rest = picture(&host.dir.path().join("other"));
        rest.remove(Path::new(""));
        rest
    };
    let other = rest(&host);
    mark(&mut host, "planted");
    assert_eq!(compare(&mut host, "planted"), Vec::<String>::new());
    // More than once, so that what one reset notes is what the next one rests on.
    for round in 0..2 {
        for damage in DAMAGE {
            sh(&mut host, damage);
            reset(&mut host, "planted");
            assert_eq!(picture(&host.tree()), wanted, "round {round}: {damage}");
            assert_eq!(rest(&host), other, "round {round}: {damage}");
            assert_eq!(compare(&mut host, "planted"), Vec::<String>::new());
            assert_eq!(reset(&mut host, "planted").entries, 0, "{damage}");
        }
    }
}

#[test]
fn several_marks_are_kept_apart() {
    let mut host = Host::new();
    plant(&mut host);
    let mut pictures = vec![picture(&host.tree())];
    mark(&mut host, "m0");
    for (index, damage) in DAMAGE.iter().enumerate() {
        // What an earlier one took away is not there to be changed. A FIFO is not kept, nor what the agent may not
        // read: in a sandbox it may read everything, here it is whoever runs the tests.
        let damage = format!(
            "{{ {damage}; }} 2>/dev/null; find . -type p -delete; find . -type f ! -perm -400 -exec chmod u+r {{}} +"
        );
        sh(&mut host, &damage);
        pictures.push(picture(&host.tree()));
        mark(&mut host, &format!("m{}", index + 1));
        if index % 3 == 2 {
            reset(&mut host, "m0");
            assert_eq!(picture(&host.tree()), pictures[0]);
        }
    }
    for index in [3, 11, 0, 7, 12, 1, 12, 5] {
        reset(&mut host, &format!("m{index}"));
        assert_eq!(picture(&host.tree()), pictures[index], "m{index}");
    }
}

#[test]
fn only_what_differs_is_kept_and_put_back() {
    let mut host = Host::new();
    for index in 0..300 {
        host.put(&format!("d{}/{index}", index % 7), vec![b'x'; 1000 + index]);
    }
    mark(&mut host, "first");
    std::thread::sleep(std::time::Duration::from_millis(50));
    sh(&mut host, "echo changed > d0/0; touch d1/1; rm d2/2");
    let second = mark(&mut host, "second");
    // The touched one has the same contents.
    assert_eq!(second.bytes, 8);
    let back = reset(&mut host, "first");
    // Two files with contents, one whose time is set, and the times of two directories.
    assert!(back.entries <= 6, "{back:?}");
    assert_eq!(back.bytes, 1000 + 1002);
    assert_eq!(reset(&mut host, "second").bytes, 8);
}

#[test]
fn what_was_kept_can_be_read_and_compared() {
    let mut host = Host::new();
    host.put("file", "before");
    host.put("gone", "soon");
    mark(&mut host, "m");
    host.put("file", "after");
    host.put("new", "");
    fs::remove_file(host.tree().join("gone")).expect("removed");
    assert_eq!(compare(&mut host, "m"), ["file", "gone", "new"]);
    let mut read = |mark: &str, path: &str| {
        let answer = host.run(Op::MarkRead(MarkRead {
            mark: mark.to_owned(),
            path: Bytes::from(path),
            length: None,
        }));
        answer
            .result
            .map(|_| String::from_utf8(answer.output).expect("text"))
            .map_err(|failure| failure.code)
    };
    assert_eq!(read("m", "file"), Ok("before".to_owned()));
    assert_eq!(read("m", "gone"), Ok("soon".to_owned()));
    assert_eq!(read("m", "new"), Err(FailureCode::NotFound));
    assert_eq!(read("m", "../m"), Err(FailureCode::Outside));
    assert_eq!(read("other", "file"), Err(FailureCode::NotFound));
    assert_eq!(
        read("../../tree/file", "file"),
        Err(FailureCode::BadRequest)
    );
}

#[test]
fn a_mark_that_cannot_be_is_refused() {
    let mut host = Host::new();
    host.put("file", "x");
    mark(&mut host, "m");
    let mut code = |op: Op| host.run(op).result.expect_err("refused").code;
    let named = |name: &str| {
        Op::TreeMark(TreeMark {
            name: name.to_owned(),
            contents: true,
            system: true,
        })
    };
    assert_eq!(code(named("m")), FailureCode::Exists);
    for name in ["", "../x", "a/b", ".current", "a.b", "9", &"n".repeat(65)] {
        assert_eq!(code(named(name)), FailureCode::BadRequest, "{name}");
    }
    let to = |name: &str| {
        Op::TreeReset(TreeReset {
            to: name.to_owned(),
            token: None,
        })
    };
    assert_eq!(code(to("nothing")), FailureCode::NotFound);
    assert_eq!(code(to("../tree")), FailureCode::BadRequest);
    let with = TreeCompare {
        with: "nothing".to_owned(),
    };
    assert_eq!(code(Op::TreeCompare(with)), FailureCode::NotFound);
    // One that keeps no contents is not gone back to, and nothing is lost in the attempt.
    host.put("file", "y");
    let seen = host.run(Op::TreeMark(TreeMark {
        name: "seen".to_owned(),
        contents: false,
        system: false,
    }));
    records(&seen);
    host.put("file", "z");
    let refused = host.run(to("seen")).result.expect_err("refused");
    assert_eq!(refused.code, FailureCode::Io);
    assert_eq!(fs::read(host.tree().join("file")).expect("there"), b"z");
}

#[test]
fn writers_stand_still_for_a_mark_and_end_with_a_reset() {
    let mut host = Host::new();
    host.put("a", "0");
    host.put("b", "0");
    // Both files always say the same between two rounds, and nearly the same within one.
    let writer = host.open(Op::ExecRun(shell(
        "n=0; while :; do n=$((n+1)); echo $n > a; echo $n > b; done",
    )));
    host.wait_started(writer);
    let tree = host.tree();
    host.until("the writer writes", || {
        fs::read_to_string(tree.join("b")).is_ok_and(|text| text.trim().len() > 2)
    });
    let marked = mark(&mut host, "live");
    assert_eq!(marked.programs, Some(1));
    let before = fs::read_to_string(tree.join("b")).expect("there");
    host.until("the writer goes on", || {
        fs::read_to_string(tree.join("b")).is_ok_and(|text| text != before)
    });
    let back = reset(&mut host, "live");
    assert_eq!(back.programs, Some(1));
    let picture_then = picture(&tree);
    let answer = host.finish_call(writer, None);
    let Ok(Reply::Exec(report)) = answer.result else {
        panic!("{:?}", answer.result);
    };
    assert!(
        matches!(report.end, ExecEnd::Signalled { signal: 9, .. }),
        "{report:?}"
    );
    assert_eq!(picture(&tree), picture_then, "nobody writes any more");
    let number = |name: &str| {
        let text = fs::read_to_string(tree.join(name)).expect("there");
        text.trim().parse::<i64>().unwrap_or(-1)
    };
    // Opened for writing and not written yet is as it was at that moment.
    let (a, b) = (number("a"), number("b"));
    assert!(a == b || a == b + 1 || a == -1 || b == -1, "{a} {b}");
    sh(&mut host, "true");
}

#[test]
fn what_only_a_program_gives_meaning_is_left_out() {
    let mut host = Host::new();
    host.put("file", "x");
    fifo(&host.tree().join("pipe"));
    let marked = mark(&mut host, "m");
    assert_eq!(marked.left_out, [Bytes::from("pipe")]);
    reset(&mut host, "m");
    assert!(!host.tree().join("pipe").exists());
}

/// An agent that is killed within a reset leaves a note; the next one finishes what it says.
#[test]
fn a_reset_that_was_begun_is_finished_by_the_next_agent() {
    let mut host = Host::new();
    plant(&mut host);
    let wanted = picture(&host.tree());
    mark(&mut host, "m");
    sh(
        &mut host,
        "rm -rf a; mkdir a; echo x > a/half; rm big; echo y > tool",
    );
    let run = host.dir.path().to_owned();
    host.close().expect("ends well");
    // As it would be after any number of steps of the reset: the note is there, and some of it is done.
    fs::write(run.join("marks/.resetting"), "m").expect("noted");
    fs::create_dir_all(run.join("stage/.pyro-reset/x0")).expect("a corner");
    fs::rename(run.join("tree/a"), run.join("stage/.pyro-reset/x0/a")).expect("moved");
    let mut host = host.again();
    // Answered once it serves.
    assert!(host.run(Op::ExecRun(exec(&["true"]))).result.is_ok());
    assert_eq!(picture(&host.tree()), wanted);
    assert!(!run.join("marks/.resetting").exists());
    sh(&mut host, "echo z > tool");
    assert_eq!(compare(&mut host, "m"), ["tool"]);
}
