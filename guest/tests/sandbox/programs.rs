//! Programs run as they would elsewhere, and say so when they do not.

use super::Test;
use super::client::Host;

pub(crate) const TESTS: &[Test] = &[
    ("programs_run_and_end", programs_run_and_end),
    ("not_started_says_why", not_started_says_why),
    ("tools_work_at_once", tools_work_at_once),
    (
        "stopping_everybody_freezes_nobody_outside",
        stopping_everybody_freezes_nobody_outside,
    ),
    ("a_fork_bomb_stays_inside", a_fork_bomb_stays_inside),
];

fn programs_run_and_end() {
    let mut host = Host::boot(|_, _| {});
    assert_eq!(host.ready.notes, Vec::<String>::new());
    let answer = host.run(&["/bin/true"]);
    assert_eq!((answer.code, answer.out.as_str()), (0, ""));
    assert_eq!(host.run(&["sh", "-c", "exit 7"]).code, 7);
    assert_eq!(host.run(&["sh", "-c", "kill -9 $$"]).code, 1009);
    assert_eq!(
        host.sh("id -u; id -g; whoami; hostname; pwd; umask; echo $HOME"),
        "0\n0\nroot\ntest\n/workspace\n0022\n/root\n"
    );
    host.sh("echo hello > file; mkdir -p a/b; mv a/b c; ln file twin");
    assert_eq!(
        std::fs::read_to_string(host.tree().join("twin")).expect("reads"),
        "hello\n"
    );
    host.stop();
}

fn not_started_says_why() {
    let mut host = Host::boot(|_, _| {});
    host.sh("echo 'echo hi' > plain; chmod +x plain; echo '#!/no/such' > orphan; chmod +x orphan; mkdir folder; echo > text");
    let long = "x".repeat(3 << 20);
    for (argv, cwd, code, reason) in [
        (
            &["no-such-program"][..],
            "/workspace",
            127,
            "no such program: no-such-program",
        ),
        (
            &["./nope"][..],
            "/workspace",
            127,
            "no such program: ./nope",
        ),
        (&[""][..], "/workspace", 127, "no such program: "),
        (
            &["./text"][..],
            "/workspace",
            126,
            "./text: permission denied (is it executable?)",
        ),
        (
            &["./folder"][..],
            "/workspace",
            126,
            "./folder is a directory",
        ),
        (
            &["./plain"][..],
            "/workspace",
            126,
            "./plain: not a program for this machine, nor a script that begins with #!",
        ),
        (
            &["./orphan"][..],
            "/workspace",
            126,
            "./orphan: its interpreter or loader is missing",
        ),
        (
            &["true", &long][..],
            "/workspace",
            126,
            "true: argument list too long",
        ),
        (
            &["true"][..],
            "/workspace/none",
            126,
            "working directory /workspace/none: no such directory",
        ),
        (
            &["true"][..],
            "/workspace/text",
            126,
            "working directory /workspace/text: not a directory",
        ),
    ] {
        let answer = host.call(argv, cwd, false);
        assert_eq!((answer.code, answer.out.as_str()), (2000 + code, reason));
    }
}

fn tools_work_at_once() {
    let mut host = Host::boot(|_, _| {});
    // A seed belongs to somebody; git must neither mind nor ask who commits.
    assert_eq!(
        host.sh(
            "git init -q . && echo a > a && git add a && git commit -qm one && git log --format=%an"
        ),
        "pyro\n"
    );
    host.sh("git mv a b && mkdir d && git mv b d && git commit -qam two && git status --porcelain | wc -l");
    host.sh(
        "echo $$ > /tmp/pid; test -w /dev/null; head -c 9 /dev/urandom | wc -c; date | grep UTC",
    );
    host.sh(
        "ls -l /proc/self/fd/0; echo x > /dev/stderr; getent hosts localhost; getent passwd root",
    );
    host.sh("mkdir x && cd x && tar cf ../x.tar --owner=5 . && tar xpf ../x.tar && chown -R 3:3 .");
}

fn stopping_everybody_freezes_nobody_outside() {
    let mut host = Host::boot(|_, _| {});
    // Each program that is about to start may be stopped on its way, again and again.
    host.call(&["sh", "-c", "while :; do kill -STOP -1; done"], "/", true);
    for _ in 0..3 {
        let answer = host.call(&["true"], "/", true);
        // It started (a process id), or it was stopped before it could.
        assert!(
            (1..2000).contains(&answer.code) || answer.code == 2126,
            "{}",
            answer.out
        );
    }
    host.stop();
}

fn a_fork_bomb_stays_inside() {
    let mut host = Host::boot(|_, _| {});
    host.call(&["sh", "-c", "bomb() { bomb | bomb & }; bomb"], "/", true);
    std::thread::sleep(std::time::Duration::from_millis(300));
    let answer = host.call(&["true"], "/", true);
    assert!(answer.processes.len() < 170, "{}", answer.processes.len());
    host.stop();
}
