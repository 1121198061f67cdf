//! Programs run as they would elsewhere, and say so when they do not.

use super::Test;
use super::client::Host;

pub(crate) const TESTS: &[Test] = &[
    ("programs_run_and_end", programs_run_and_end),
    ("not_started_says_why", not_started_says_why),
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
