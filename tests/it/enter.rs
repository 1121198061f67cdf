//! Somebody enters a workspace, with the real binary on a real terminal.

use crate::harness::{World, binary, wait_for};
use crate::living::{create, json, keeper, world, ws};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};
use std::fs::File;
use std::os::fd::{AsFd as _, OwnedFd};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// No test waits longer for anything: only a hang gets here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Somebody at a terminal, at which `pyro workspace enter` runs.
struct Person {
    terminal: OwnedFd,
    /// So that the terminal stays when pyro has ended.
    other: OwnedFd,
    pyro: Child,
    seen: Vec<u8>,
    at: usize,
    before: String,
}

impl Person {
    fn enters(world: &World, args: &[&str]) -> Self {
        let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC);
        let terminal = terminal.expect("a terminal");
        grantpt(&terminal).expect("granted");
        unlockpt(&terminal).expect("unlocked");
        let name = ptsname(&terminal, Vec::new()).expect("its name");
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let other = rustix::fs::open(&*name, flags, Mode::empty()).expect("opens");
        let nonblock = rustix::fs::fcntl_getfl(&terminal).expect("flags") | OFlags::NONBLOCK;
        rustix::fs::fcntl_setfl(&terminal, nonblock).expect("sets flags");
        size(&terminal, 100, 40);
        let before = modes(&other);
        // With a session of its own, which this terminal controls, as a terminal's window makes it.
        let pyro = Command::new("setsid")
            .arg("-c")
            .arg(binary())
            .args(["workspace", "enter"])
            .args(args)
            .current_dir(world.work())
            .env("PYRO_STATE_DIR", world.state())
            .env("TERM", "xterm")
            .env_remove("PYRO_LOG")
            .stdin(other.try_clone().expect("copies"))
            .stdout(other.try_clone().expect("copies"))
            .stderr(other.try_clone().expect("copies"))
            .spawn()
            .expect("pyro starts");
        Self {
            terminal,
            other,
            pyro,
            seen: Vec::new(),
            at: 0,
            before,
        }
    }

    /// Enters, and waits for the prompt.
    fn inside(world: &World, id: &str) -> Self {
        let mut person = Self::enters(world, &[id]);
        person.waits("# ");
        person
    }

    fn types(&mut self, keys: &str) {
        let mut rest = keys.as_bytes();
        let until = Instant::now() + PATIENCE;
        while !rest.is_empty() {
            match rustix::io::write(&self.terminal, rest) {
                Ok(count) => rest = &rest[count..],
                Err(rustix::io::Errno::AGAIN) => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(errno) => panic!("typing: {errno}"),
            }
            assert!(Instant::now() < until, "nobody takes keys: {}", self.text());
        }
    }

    /// Looks at the screen once; whether there was anything new.
    fn looks(&mut self) -> bool {
        let mut buffer = [0; 64 << 10];
        match rustix::io::read(&self.terminal, &mut buffer) {
            Ok(count) => {
                self.seen.extend_from_slice(&buffer[..count]);
                count > 0
            }
            Err(_) => false,
        }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.seen).into_owned()
    }

    /// Waits for a text after what was waited for before; what came until then.
    #[track_caller]
    fn waits(&mut self, text: &str) -> String {
        let until = Instant::now() + PATIENCE;
        loop {
            let new = &self.seen[self.at..];
            if let Some(found) = memchr::memmem::find(new, text.as_bytes()) {
                let shown = String::from_utf8_lossy(&new[..found]).into_owned();
                self.at += found + text.len();
                return shown;
            }
            if !self.looks() {
                let tail = self.seen.len().saturating_sub(2000);
                assert!(
                    Instant::now() < until,
                    "no {text:?}; the last that was seen: {:?}",
                    String::from_utf8_lossy(&self.seen[tail..])
                );
                std::thread::sleep(Duration::from_millis(2));
            }
        }
    }

    /// A line for the shell; what it put out.
    #[track_caller]
    fn line(&mut self, line: &str) -> String {
        self.types(&format!("{line}\r"));
        self.waits("\r\n");
        let shown = self.waits("# ");
        // Without the prompt itself.
        let end = shown.rfind("[").unwrap_or(shown.len());
        let shown = shown[..end].replace("\x1b[?2004l\r", "");
        shown.replace("\x1b[?2004h", "")
    }

    /// Runs a program that waits, and waits until it runs in front.
    fn runs(&mut self, before: &str, program: &str) {
        self.types(&format!("{before}sh -c 'echo u''p; exec {program}'\r"));
        self.waits("up\r\n");
    }

    /// The code with which pyro ended; the terminal is what it was before.
    #[track_caller]
    fn ends(&mut self) -> Option<i32> {
        let until = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.pyro.try_wait().expect("waits") {
                break status;
            }
            if !self.looks() {
                assert!(Instant::now() < until, "it does not end: {}", self.text());
                std::thread::sleep(Duration::from_millis(2));
            }
        };
        while self.looks() {}
        assert_eq!(modes(&self.other), self.before, "{}", self.text());
        status.code()
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.pyro)
    }
}

impl Drop for Person {
    fn drop(&mut self) {
        let _ended = self.pyro.kill();
        let _reaped = self.pyro.wait();
    }
}

fn modes(terminal: &OwnedFd) -> String {
    format!("{:?}", tcgetattr(terminal).expect("modes"))
}

fn size(terminal: &OwnedFd, cols: u16, rows: u16) {
    let size = Winsize {
        ws_col: cols,
        ws_row: rows,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(terminal, size).expect("sizes");
}

/// How somebody was inside the last time.
fn last(world: &World, id: &str) -> serde_json::Value {
    let history = json(world, &["history", id, "--json"]);
    let entries = history["entries"].as_array().expect("entries");
    let entered = entries.iter().rfind(|entry| entry["kind"] == "enter");
    entered.expect("it was noted").clone()
}

fn processes(world: &World, id: &str) -> String {
    let list = "for p in /proc/[0-9]*; do tr '\\0' ' ' < $p/cmdline 2>/dev/null; echo; done; true";
    ws(world, &["exec", id, "--", "sh", "-c", list])
        .ended(0)
        .stdout()
}

#[test]
fn a_person_works_in_a_workspace() {
    let world = world();
    let id = create(&world, &["--name", "repro"]);
    let mut person = Person::enters(&world, &["repro"]);
    let before = person.waits("[repro] /workspace# ");
    for complaint in ["job control", "process group", "error", "warning"] {
        assert!(!before.contains(complaint), "{before}");
    }
    assert!(before.contains("leave it with `exit`"), "{before}");
    assert_eq!(person.line("stty size"), "40 100\r\n");
    assert_eq!(
        person.line("tty; echo $TERM"),
        "/dev/pts/0\r\nxterm-256color\r\n"
    );
    assert_eq!(person.line("cat note.txt"), "old\r\n");
    assert_eq!(person.line("echo typed > made; echo err >&2"), "err\r\n");
    // Others work meanwhile, and see that somebody is there.
    let read = ws(&world, &["file", "read", &id, "made", "--content-only"]);
    assert_eq!(read.ended(0).stdout(), "typed\n");
    let status = json(&world, &["status", &id, "--json"]);
    assert_eq!(status["inside_count"], 1);
    let status = ws(&world, &["status", &id]).ended(0).stdout();
    assert!(status.contains("1 at a terminal"), "{status}");
    let entered = json(&world, &["history", &id, "--json"]);
    let entered = &entered["entries"][0];
    assert_eq!(entered["kind"], "enter");
    assert_eq!(entered["outcome"], serde_json::Value::Null);
    person.runs("", "sleep 1000");
    person.types("\x03");
    person.waits("# ");
    assert_eq!(person.line("echo $?"), "130\r\n");
    person.runs("", "sleep 1000");
    person.types("\x1a");
    assert!(person.waits("# ").contains("Stopped"));
    person.line("kill -9 %1; wait -f %1; true");
    person.types("exit 7\r");
    assert_eq!(person.ends(), Some(7));
    let history = json(&world, &["history", &id, "--json"]);
    let entry = &history["entries"][0];
    assert_eq!(entry["outcome"], "ended");
    assert_eq!(entry["exit_code"], 7);
    assert_eq!(entry["command"], "a shell");
    let history = ws(&world, &["history", &id]).ended(0).stdout();
    assert!(history.contains("ended, exit 7"), "{history}");
    assert_eq!(json(&world, &["status", &id, "--json"])["inside_count"], 0);
    // It is no command, and no part of a request.
    assert_eq!(json(&world, &["status", &id, "--json"])["command_count"], 0);
    let request = ws(&world, &["history", &id, "--request"]).ended(0).stdout();
    assert!(
        request.contains("#1 (enter: what was typed there is no part of a request)"),
        "{request}"
    );
}

#[test]
fn a_program_runs_in_the_place_of_the_shell() {
    let world = world();
    let id = create(&world, &[]);
    let script = "echo $NAME; pwd; test -t 0 && test -t 1 && test -t 2; exit $?";
    let args = [
        &id,
        "--env",
        "NAME=value",
        "--cwd",
        "/tmp",
        "--",
        "sh",
        "-c",
        script,
    ];
    let mut person = Person::enters(&world, &args);
    assert_eq!(person.ends(), Some(0));
    assert!(
        person.text().ends_with("value\r\n/tmp\r\n"),
        "{}",
        person.text()
    );
    let mut person = Person::enters(&world, &[&id, "--", "no-such-program"]);
    assert_eq!(person.ends(), Some(127));
    let text = person.text();
    assert!(
        text.contains("could not start it: no such program"),
        "{text}"
    );
    assert_eq!(last(&world, &id)["outcome"], "not_started");
    let mut person = Person::enters(&world, &[&id, "--", "sh", "-c", "kill -TERM $$"]);
    assert_eq!(person.ends(), Some(143));
    // What a shell leaves behind holds nobody, and is said.
    let mut person = Person::inside(&world, &id);
    person.line("sleep 4001 &");
    person.types("exit 3\r");
    assert_eq!(person.ends(), Some(3));
    let text = person.text();
    assert!(text.contains("1 process runs on"), "{text}");
    assert!(processes(&world, &id).contains("sleep 4001"));
}

#[test]
fn the_size_of_the_window_is_passed_on() {
    let world = world();
    let id = create(&world, &[]);
    let mut person = Person::inside(&world, &id);
    let script = "trap \"stty size; exit 3\" WINCH; echo rea''dy; while sleep 0.01; do :; done";
    person.types(&format!("bash -c '{script}'\r"));
    person.waits("ready\r\n");
    size(&person.terminal, 61, 17);
    assert!(person.waits("# ").starts_with("17 61\r\n"));
    assert_eq!(person.line("echo $?; stty size"), "3\r\n17 61\r\n");
    person.types("\x04");
    assert_eq!(person.ends(), Some(0));
}

#[test]
fn a_paste_that_nobody_reads_is_bounded_and_told() {
    let world = world();
    let id = create(&world, &[]);
    let mut person = Person::inside(&world, &id);
    person.runs("", "sleep 1000");
    let line = "x".repeat(99) + "\r";
    person.types(&line.repeat(2440));
    ws(&world, &["exec", &id, "--", "true"]).ended(0);
    person.types("\x03");
    person.waits("# ");
    assert_eq!(person.line("echo it-$((1+1))"), "it-2\r\n");
    // Much more than is kept for it. The terminal is emptied all the same.
    person.runs("stty -echo; ", "sleep 1000");
    person.types(&line.repeat(30_000));
    person.waits("what goes beyond 1 MiB of it is thrown away");
    person.types("\x03");
    person.waits("# ");
    person.types("stty echo\r");
    person.waits("# ");
    assert_eq!(person.line("echo it-$((2+2))"), "it-4\r\n");
    // And the way out is always there.
    person.runs("", "sleep 1000");
    person.types(&line.repeat(30_000));
    person.waits("what goes beyond 1 MiB of it is thrown away");
    person.types("\r~.");
    assert_eq!(person.ends(), Some(130));
    assert!(person.text().contains("is hung up"), "{}", person.text());
    assert_eq!(last(&world, &id)["outcome"], "left");
    wait_for("what ran there to end", || {
        !processes(&world, &id).contains("sleep 1000")
    });
}

#[test]
fn a_flood_waits_for_the_screen_and_the_way_out_is_open() {
    let world = world();
    let id = create(&world, &[]);
    let mut person = Person::inside(&world, &id);
    person.types("yes\r");
    person.waits("y\r\ny\r\n");
    // The screen is full, and nobody looks at it. Nothing grows for that.
    let waits = "for i in $(seq 1000); do for p in /proc/[0-9]*; do
        read -r c < $p/comm && [ \"$c\" = yes ] && grep -q 'State:.S' $p/status && exit 0
        done 2>/dev/null; sleep 0.02; done; exit 1";
    ws(
        &world,
        &["exec", &id, "--timeout", "60s", "--", "sh", "-c", waits],
    )
    .ended(0);
    let status = format!("/proc/{}/status", keeper(&id).as_raw_nonzero());
    let status = std::fs::read_to_string(status).expect("the keeper");
    let resident = status.lines().find(|line| line.starts_with("VmRSS:"));
    let resident = resident.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    assert!(resident.is_some_and(|kib| kib < 64 << 10), "{resident:?}");
    person.types("\x03");
    person.waits("^C");
    person.waits("# ");
    assert_eq!(person.line("echo on"), "on\r\n");
    person.types("yes\r");
    person.waits("y\r\ny\r\n");
    person.types("\r~.");
    // The screen is not looked at until pyro has gone.
    wait_for("pyro to end", || {
        person.pyro.try_wait().expect("waits").is_some()
    });
    assert_eq!(person.ends(), Some(130));
}

#[test]
fn several_are_inside_and_each_is_told_when_it_ends() {
    let world = world();
    let id = create(&world, &["--name", "shared"]);
    let mut one = Person::inside(&world, &id);
    let mut two = Person::inside(&world, &id);
    assert_eq!(one.line("tty"), "/dev/pts/0\r\n");
    assert_eq!(two.line("tty"), "/dev/pts/1\r\n");
    assert_eq!(one.line("echo hello > /dev/pts/1"), "");
    two.waits("hello\r\n");
    assert_eq!(json(&world, &["status", &id, "--json"])["inside_count"], 2);
    // A reset ends what runs, not the workspace.
    ws(&world, &["snapshot", "create", &id, "point"]).ended(0);
    assert_eq!(one.line("echo still"), "still\r\n");
    two.types("exit\r");
    assert_eq!(two.ends(), Some(0));
    ws(&world, &["reset", &id]).ended(0);
    assert_eq!(one.ends(), Some(137));
    assert!(
        one.text().contains("the workspace shared was put back"),
        "{}",
        one.text()
    );
    for (how, said, noted) in [
        (
            "stop",
            "the workspace shared was stopped",
            "2 were inside, and were told",
        ),
        (
            "delete",
            "the workspace shared was deleted",
            "2 were inside, and were told",
        ),
    ] {
        ws(&world, &["start", &id]).ended(0);
        let mut one = Person::inside(&world, &id);
        let mut two = Person::inside(&world, &id);
        two.types("printf '\\033[?1049h\\033[?25lfull'; sleep 1000\r");
        two.waits("full");
        let done = ws(&world, &[how, &id]).ended(0);
        assert!(done.stderr().contains(noted), "{}", done.text());
        for person in [&mut one, &mut two] {
            assert_eq!(person.ends(), Some(125));
            assert!(person.text().contains(said), "{how}: {}", person.text());
        }
        // Nobody is left on a screen that is another program's.
        let text = two.text();
        let after = text.rsplit("full").next().unwrap_or_default();
        assert!(
            after.contains("\x1b[?1049l") && after.contains("\x1b[?25h"),
            "{text:?}"
        );
    }
}

#[test]
fn the_terminal_is_given_back_whoever_is_killed() {
    let world = world();
    let id = create(&world, &[]);
    let mut person = Person::inside(&world, &id);
    kill_process(keeper(&id), Signal::KILL).expect("kills");
    assert_eq!(person.ends(), Some(125));
    assert!(
        person.text().contains("its files are there"),
        "{}",
        person.text()
    );
    ws(&world, &["start", &id]).ended(0);
    for (signal, code) in [(Signal::TERM, 143), (Signal::HUP, 129), (Signal::INT, 130)] {
        let mut person = Person::inside(&world, &id);
        person.runs("", "sleep 5001");
        kill_process(person.pid(), signal).expect("kills");
        assert_eq!(person.ends(), Some(code));
        assert_eq!(last(&world, &id)["outcome"], "hung_up");
    }
    // One that cannot do anything any more: nothing of it stays, but for the modes of the terminal.
    let mut person = Person::inside(&world, &id);
    person.runs("", "sleep 5001");
    kill_process(person.pid(), Signal::KILL).expect("kills");
    person.pyro.wait().expect("reaped");
    wait_for("what ran there to end", || {
        !processes(&world, &id).contains("sleep 5001")
    });
    assert_eq!(last(&world, &id)["outcome"], "interrupted");
    // A terminal that goes away.
    let mut person = Person::inside(&world, &id);
    person.runs("", "sleep 5002");
    let null: OwnedFd = File::open("/dev/null").expect("opens").into();
    drop(std::mem::replace(&mut person.terminal, null));
    wait_for("pyro to end", || {
        person.pyro.try_wait().expect("waits").is_some()
    });
    assert_eq!(last(&world, &id)["outcome"], "hung_up");
    wait_for("what ran there to end", || {
        !processes(&world, &id).contains("sleep 5002")
    });
}

#[test]
fn a_workspace_in_which_nothing_happens_ends_and_says_so() {
    let world = world();
    let id = create(&world, &["--ttl", "3s", "--name", "short"]);
    let mut person = Person::inside(&world, &id);
    // What is shown is use of it, for longer than it would live without.
    person.types("for i in $(seq 30); do echo tick-$i; sleep 0.2; done\r");
    person.waits("tick-30\r\n");
    assert_eq!(person.ends(), Some(125));
    let said = "the workspace short was stopped because nobody used it for its time";
    assert!(person.text().contains(said), "{}", person.text());
}

#[test]
fn what_cannot_be_entered_says_why() {
    let world = world();
    let id = create(&world, &[]);
    let refused = ws(&world, &["enter", &id]).ended(125);
    assert!(
        refused.stderr().contains("there is no terminal"),
        "{}",
        refused.text()
    );
    assert!(
        refused.stderr().contains("pyro workspace exec"),
        "{}",
        refused.text()
    );
    for args in [&["--emit", "toml"][..], &["--json"], &["--emit"]] {
        let refused = ws(&world, &[&["enter", &id], args].concat()).ended(125);
        let said = refused.stderr() + &refused.stdout();
        assert!(
            said.contains("entering is no request"),
            "{}",
            refused.text()
        );
    }
    ws(&world, &["stop", &id]).ended(0);
    let mut person = Person::enters(&world, &[&id]);
    assert_eq!(person.ends(), Some(125));
    assert!(
        person.text().contains("pyro workspace start"),
        "{}",
        person.text()
    );
    let mut person = Person::enters(&world, &["nothing-like-it"]);
    assert_eq!(person.ends(), Some(125));
}

#[test]
fn a_terminal_obeys_nothing_where_that_is_asked_for() {
    let world = world();
    let id = create(&world, &[]);
    let script = "printf '\\033]0;title\\007\\033[31mred\\n'; echo $TERM";
    let mut person = Person::enters(&world, &[&id, "--plain", "--", "sh", "-c", script]);
    assert_eq!(person.ends(), Some(0));
    let text = person.text();
    assert!(
        text.contains("^[]0;title\x07^[[31mred\r\ndumb\r\n"),
        "{text:?}"
    );
    // As it is, it does.
    let mut person = Person::enters(&world, &[&id, "--", "sh", "-c", script]);
    assert_eq!(person.ends(), Some(0));
    assert!(
        person.text().contains("\x1b]0;title\x07"),
        "{:?}",
        person.text()
    );
}

#[test]
fn a_program_inside_reaches_no_terminal_of_the_host() {
    let world = world();
    let id = create(&world, &[]);
    let mut person = Person::inside(&world, &id);
    // Its terminal is another one, and there is none besides it: not as a file, and not as a descriptor.
    let pushes = "perl -e 'my $c = \"exit\\n\"; ioctl(STDIN, 0x5412, $c) and die; print \"$!\\n\"'";
    assert_eq!(person.line(pushes), "Operation not permitted\r\n");
    assert_eq!(person.line("ls /dev/pts"), "0  ptmx\r\n");
    let open = "sh -c 'for f in /proc/self/fd/*; do readlink $f; done' | grep -v -e /dev/pts/0 -e pipe: -e /proc";
    assert_eq!(person.line(open), "");
    assert_eq!(person.line("ls /dev/tty0 /dev/console 2>/dev/null"), "");
    person.types("exit\r");
    person.ends();
    let _ = person.other.as_fd();
}
