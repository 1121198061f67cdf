//! Secrets of a run: only the program that asks for one has it, and nothing that is shown or stored does.

use crate::harness::{Ran, World};
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};

/// Nothing else in a test has it in it.
pub(crate) const VALUE: &str = "s3cr3t-Value/42+x";

/// Files below a folder that have these bytes in them, or their names.
pub(crate) fn holding(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    let has = |text: &[u8]| memchr::memmem::find(text, bytes).is_some();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                folders.push(path.clone());
            }
            let inside = kind.is_file() && has(&fs::read(&path).unwrap_or_default());
            if inside || has(path.as_os_str().as_encoded_bytes()) {
                found.push(path);
            }
        }
    }
    found
}

/// Neither the screen nor the state directory has the value.
#[track_caller]
fn unseen(world: &World, ran: &Ran) {
    for text in [ran.stdout(), ran.stderr()] {
        assert!(!text.contains(VALUE), "{}", ran.text());
    }
    assert_eq!(
        holding(&world.state(), VALUE.as_bytes()),
        Vec::<PathBuf>::new()
    );
}

/// Runs a request with the value in the variable `TOKEN_OF_TEST`.
fn apply(world: &World, args: &[&str]) -> Ran {
    let mut command = world.command(["apply", "request.pyro.toml"].iter().chain(args));
    command.env("TOKEN_OF_TEST", VALUE);
    world.ran(command.output().expect("pyro starts"))
}

const TOKEN: &str = "pyro = 1\nworkspace.secrets.TOKEN = \"env:TOKEN_OF_TEST\"\n";

fn stdout(receipt: &Value, step: usize) -> &str {
    receipt["steps"][step]["stdout"]["head"]["text"]
        .as_str()
        .expect("an output")
}

// proves: H3
#[test]
fn a_program_gets_what_it_asks_for_and_no_other_does() {
    let world = World::with(&format!(
        "{TOKEN}
[[step]]
id = \"with\"
exec = 'test \"$API\" = s3cr3t-\"Value/42+x\" && echo same; echo \"$API\" | wc -c; echo \"$API\"; echo \"$API\" >&2; env > env.txt'
secrets = {{ TOKEN = \"API\" }}
expect.stdout.equals = \"same\\n18\\n[REDACTED]\\n\"
expect.stderr.equals = \"[REDACTED]\\n\"

[[step]]
id = \"without\"
exec = 'echo \"<$API$TOKEN>\"; env; cat /proc/[0-9]*/environ; ls -a /run /tmp'
expect.stdout.contains = \"<>\"

[[step]]
id = \"by-name\"
exec = 'cat env.txt; printf %s \"$TOKEN\" > kept; sed s/-/_/ kept'
secrets = [\"TOKEN\"]
expect.stdout.contains = \"API=[REDACTED]\"
"
    ));
    let ran = apply(&world, &["-vv"]).ended(0);
    unseen(&world, &ran);
    let receipt = world.receipt();
    assert!(!stdout(&receipt, 1).contains("[REDACTED]"), "{receipt:#}");
    // Its digest is of what can be seen, so that nobody can try values against it.
    let with = &receipt["steps"][0];
    assert_eq!(with["redacted"], true);
    let shown = pyro::request::Digest::of(b"same\n18\n[REDACTED]\n");
    assert_eq!(with["stdout"]["sha256"], shown.hex());
    assert_eq!(with["stdout"]["redacted"], true);
    assert_eq!(with["stdout"]["bytes"], 19);
    let without = &receipt["steps"][1];
    assert!(without.get("redacted").is_none() && without["stdout"].get("redacted").is_none());
}

// proves: H1
#[test]
fn the_plan_has_names_and_sources_and_no_values() {
    let world = World::with(&format!(
        "{TOKEN}workspace.secrets.KEY = \"file:key\"\n\n[[step]]\nexec = [\"true\"]\nsecrets = {{ KEY = \"K\", TOKEN = \"TOKEN\" }}\n"
    ));
    world.write("key", format!("{VALUE}\n"));
    let mut command = world.command(["plan", "request.pyro.toml"]);
    command.env("TOKEN_OF_TEST", VALUE);
    let ran = world.ran(command.output().expect("starts")).ended(0);
    let text = ran.stdout();
    for part in [
        "KEY from file:key",
        "TOKEN from env:TOKEN_OF_TEST",
        "secrets 2",
        "the secret KEY as K",
        "the secret TOKEN",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let mut command = world.command(["plan", "request.pyro.toml", "--json"]);
    command.env("TOKEN_OF_TEST", VALUE);
    let ran = world.ran(command.output().expect("starts")).ended(0);
    let plan = ran.json();
    assert_eq!(plan["workspace"]["secrets"][0]["source"], "file:key");
    assert_eq!(plan["steps"][0]["secrets"]["KEY"], "K");
    assert_eq!(plan["reach"]["secrets"], 2);
    unseen(&world, &ran);
    // A saved plan knows that there is something, not what.
    let mut command = world.command(["plan", "request.pyro.toml", "--out", "saved.json"]);
    command.env("TOKEN_OF_TEST", VALUE);
    world.ran(command.output().expect("starts")).ended(0);
    let saved = fs::read_to_string(world.work().join("saved.json")).expect("a saved plan");
    assert!(!saved.contains(VALUE), "{saved}");
    let digest = pyro::request::Digest::of(VALUE.as_bytes()).hex();
    assert!(!saved.contains(&digest), "{saved}");
}

// proves: H1 H2 H3
#[test]
fn what_cannot_work_is_told_before_anything_runs() {
    let request = |secrets: &str, step: &str| {
        format!("pyro = 1\n{secrets}\n[[step]]\nexec = [\"true\"]\n{step}\n")
    };
    for (request, code, part) in [
        (
            request("workspace.secrets.A = \"env:NOT_SET_AT_ALL\"", ""),
            "secret-missing",
            "NOT_SET_AT_ALL",
        ),
        (
            request("workspace.secrets.A = \"file:nothing\"", ""),
            "secret-missing",
            "nothing",
        ),
        (
            request("workspace.secrets.A = \"file:short\"", ""),
            "secret-unusable",
            "fewer than 8 bytes",
        ),
        (
            request("workspace.secrets.A = \"file:.\"", ""),
            "secret-unusable",
            "directory",
        ),
        (
            request("workspace.secrets.A = \"file:empty\"", ""),
            "secret-unusable",
            "is empty",
        ),
        (
            request("workspace.secrets.A = \"file:bytes\"", ""),
            "secret-unusable",
            "not UTF-8",
        ),
        (
            request("", "secrets = [\"A\"]"),
            "secret-unknown",
            "no secret `A`",
        ),
        (
            request(
                "workspace.secrets.TOKEN = \"file:good\"",
                "secrets = [\"TOKE\"]",
            ),
            "secret-unknown",
            "did you mean `TOKEN`",
        ),
        (
            request(
                "workspace.secrets = { A = \"file:good\", B = \"file:good\" }",
                "secrets = { A = \"X\", B = \"X\" }",
            ),
            "secret-twice",
            "both to go into `X`",
        ),
        (
            request(
                "workspace.secrets.A = \"file:good\"",
                "env.A = \"b\"\nsecrets = [\"A\"]",
            ),
            "secret-twice",
            "`env` sets already",
        ),
    ] {
        let world = World::with(&request);
        for (name, text) in [
            ("short", &b"1234567\n"[..]),
            ("empty", b""),
            ("bytes", b"\xff\xff\xff\xff\xff\xff\xff\xff"),
            ("good", VALUE.as_bytes()),
        ] {
            world.write(name, text);
        }
        let ran = world
            .pyro(["apply", "request.pyro.toml", "--json"])
            .ended(3);
        let told = ran.json();
        assert_eq!(told["error"]["code"], code, "{told:#}");
        assert!(ran.stdout().contains(part), "{part}: {told:#}");
        assert!(world.runs().is_empty());
    }
    for (secrets, code) in [
        ("workspace.secrets.A = \"raw-secret-1\"", "bad-value"),
        ("workspace.secrets.\"A-B\" = \"env:A\"", "bad-name"),
        ("workspace.secrets.A = \"env:A-B\"", "bad-value"),
        ("workspace.secrets.A = \"file:\"", "bad-value"),
    ] {
        let world = World::with(&request(secrets, ""));
        let ran = world
            .pyro(["check", "request.pyro.toml", "--json"])
            .ended(2);
        assert_eq!(ran.json()["error"]["code"], code, "{}", ran.text());
        // A value in the place of a source is not repeated, but for the line that it stands in.
        assert!(
            !ran.json()["error"]["message"]
                .as_str()
                .expect("text")
                .contains("raw-secret")
        );
    }
}

#[test]
fn row_100_a_final_newline_of_the_file_changes_nothing() {
    let world = World::with(
        "pyro = 1\nworkspace.secrets.T = \"file:token\"\n\n[[step]]\n\
         exec = 'printf %s \"$(printf %s \"$T\")\"; printf %s \"$T\" | wc -c'\nsecrets = [\"T\"]\n\
         expect.stdout.equals = \"[REDACTED]18\\n\"\n",
    );
    world.write("token", format!("{VALUE}\n"));
    let ran = world.pyro(["apply", "request.pyro.toml"]).ended(0);
    unseen(&world, &ran);
}

const KEY: &str = "-----BEGIN TEST KEY-----\nMIIEvQIBADANBgkqhkiG9w0\n  indented-line-of-it\nend\n";

#[test]
fn row_101_a_terminal_changes_nothing() {
    let world = World::with(
        "pyro = 1\nworkspace.secrets.KEY = \"file:key\"\n\n[[step]]\nid = \"pty\"\n\
         exec = [\"python3\", \"-c\", \"import pty; pty.spawn(['sh', '-c', 'printf %s \\\"$KEY\\\"'])\"]\n\
         secrets = [\"KEY\"]\nexpect.stdout.equals = \"[REDACTED]\\r\\n\"\n\n\
         [[step]]\nid = \"fed\"\nexec = 'printf %s \"$KEY\" | sed \"s/$/\\r/\"; printf %s \"$KEY\" | grep MII'\n\
         secrets = [\"KEY\"]\nexpect.stdout.equals = \"[REDACTED]\\r\\n[REDACTED]\\n\"\n",
    );
    world.write("key", KEY);
    let ran = world.pyro(["apply", "request.pyro.toml"]).ended(0);
    assert!(!ran.text().contains("MIIEvQ"), "{}", ran.text());
    assert_eq!(holding(&world.state(), b"MIIEvQ"), Vec::<PathBuf>::new());
}

#[test]
fn row_102_a_value_split_over_two_writes_shows_no_part_of_it() {
    let world = World::with(&format!(
        "{TOKEN}
[[step]]
exec = 'printf \"key=%.8s\" \"$T\"; sleep 0.3; printf %s \"${{T#????????}}\"; echo \" tail\"'
secrets = {{ TOKEN = \"T\" }}
expect.stdout.equals = \"key=[REDACTED] tail\\n\"
"
    ));
    let ran = apply(&world, &["--events", "-"]).ended(0);
    unseen(&world, &ran);
    assert!(!ran.text().contains("s3cr3t"), "{}", ran.text());
    assert_eq!(holding(&world.state(), b"s3cr3t"), Vec::<PathBuf>::new());
}

// proves: H4 H6
#[test]
fn row_103_reads_diffs_and_listings_are_rid_of_it_and_say_so() {
    let world = World::with(&format!(
        "{TOKEN}
[[step]]
exec = 'printf \"a=%s\\nb\\n\" \"$TOKEN\" > conf; cp conf \"$(printf %s \"$TOKEN\" | tr / _)\"; mkdir -p \"d/$(dirname \"$TOKEN\")\"; : > \"d/$TOKEN\"'
secrets = [\"TOKEN\"]

[[step]]
read = \"conf\"
expect.content.equals = \"a=[REDACTED]\\nb\\n\"

[[step]]
read = \"conf\"
offset = 6
max_bytes = \"4B\"
expect.content.contains = \"[REDACTED]\"

[[step]]
diff = \"baseline\"
expect.text.contains = \"+a=[REDACTED]\"

[[step]]
list = \".\"
recursive = true
expect.text.contains = \"d/[REDACTED]\"

[[step]]
export = \"conf\"
to = \"out/conf\"
"
    ));
    let ran = apply(&world, &[]).ended(0);
    unseen(&world, &ran);
    let receipt = world.receipt();
    let steps = receipt["steps"].as_array().expect("steps");
    for step in &steps[1..5] {
        assert_eq!(step["redacted"], true, "{step:#}");
    }
    let read = &steps[1]["files"][0];
    assert_eq!(read["redacted"], true);
    assert!(read["after"].get("sha256").is_none(), "{read:#}");
    // What is exported is exact, and the receipt says what it has in it.
    let exported = fs::read_to_string(world.work().join("out/conf")).expect("exported");
    assert_eq!(exported, format!("a={VALUE}\nb\n"));
    let note = steps[5]["notes"][0].as_str().expect("a note");
    assert!(note.contains("has the secret TOKEN in it"), "{note}");
}

#[test]
fn row_104_the_text_of_a_command_is_rid_of_it() {
    let world = World::with(&format!(
        "{TOKEN}
[[step]]
exec = [\"echo\", \"{VALUE}\"]
env.A = \"{VALUE}\"
stdin = \"{VALUE}\"
expect.stdout.equals = \"{VALUE}\\n\"

[[step]]
always = true
exec = [\"./no-such-{VALUE}\"]
"
    ));
    let ran = apply(
        &world,
        &["--report", "junit=junit.xml", "--events", "events.jsonl"],
    )
    .ended(4);
    // The document itself may be pointed into: whoever reads that has it.
    let shown = ran.stdout();
    assert!(!shown.contains(VALUE), "{shown}");
    assert_eq!(
        holding(&world.state(), VALUE.as_bytes()),
        Vec::<PathBuf>::new()
    );
    for name in ["junit.xml", "events.jsonl"] {
        let text = fs::read_to_string(world.work().join(name)).expect(name);
        assert!(
            text.contains("[REDACTED]") && !text.contains(VALUE),
            "{name}: {text}"
        );
    }
    let receipt = world.receipt();
    assert_eq!(receipt["steps"][0]["summary"], "echo [REDACTED]");
    // What is compared is what can be seen, so a value that the request has in it never holds.
    let failure = &receipt["steps"][0]["failures"][0];
    assert_eq!(failure["pointer"], "/step/0/expect/stdout/equals");
    assert!(!failure.to_string().contains(VALUE));
}

// proves: H4
#[test]
fn row_105_encoded_forms_are_rid_of_it() {
    let world = World::with(&format!(
        "{TOKEN}workspace.secrets.LONG = \"file:long\"

[[step]]
exec = '''
printf %s \"$TOKEN\" | base64
echo \"$TOKEN\" | base64
printf 'user:%s' \"$TOKEN\" | base64
printf %s \"$LONG\" | base64
printf %s \"$TOKEN\" | od -An -tx1
printf %s \"$TOKEN\" | python3 -c 'import sys, json, urllib.parse as u, shlex, binascii
v = sys.stdin.read()
print(json.dumps(v), u.quote(v), u.quote(v, safe=\"\"), u.quote_plus(v), shlex.quote(v), repr(v), v.encode().hex())'
'''
secrets = [\"TOKEN\", \"LONG\"]
"
    ));
    world.write("long", "a long secret value, ".repeat(12));
    let ran = apply(&world, &[]).ended(0);
    unseen(&world, &ran);
    let receipt = world.receipt();
    let text = stdout(&receipt, 0);
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], ["[REDACTED]", "[REDACTED]"], "{text}");
    // What is left are the characters that have bits of what stands before it.
    assert_eq!(lines[2], "dXNlcjp[REDACTED]", "{text}");
    assert_eq!(lines[3], "[REDACTED]", "{text}");
    assert_eq!(lines[4], " [REDACTED]", "{text}");
    let printed =
        "\"[REDACTED]\" [REDACTED] [REDACTED] [REDACTED] [REDACTED] '[REDACTED]' [REDACTED]";
    assert_eq!(lines[5], printed, "{text}");
}

// proves: H5
#[test]
fn what_is_captured_hands_no_secret_on() {
    let world = World::with(&format!(
        "{TOKEN}
[[step]]
id = \"a\"
exec = 'echo \"got $TOKEN and 17\"'
secrets = [\"TOKEN\"]
capture.number.stdout.regex = '\\d+'
capture.token.stdout.regex = 'got (\\S+)'

[[step]]
always = true
exec = [\"echo\", \"x\"]
"
    ));
    let ran = apply(&world, &[]).ended(4);
    unseen(&world, &ran);
    let step = &world.receipt()["steps"][0];
    assert_eq!(step["captures"], serde_json::json!({"number": "17"}));
    let message = step["failures"][0]["message"].as_str().expect("why");
    assert!(message.contains("it has a secret in it"), "{message}");
}

#[test]
fn goldens_have_none() {
    let world = World::with(&format!(
        "{TOKEN}
[[step]]
exec = 'echo \"hello $TOKEN\"'
secrets = [\"TOKEN\"]
expect.stdout.golden = \"golden/out\"
"
    ));
    apply(&world, &["--update-goldens"]).ended(0);
    let golden = fs::read_to_string(world.work().join("golden/out")).expect("written");
    assert_eq!(golden, "hello [REDACTED]\n");
    unseen(&world, &apply(&world, &[]).ended(0));
    // One that somebody wrote with the value in it does not hold, and shows nothing.
    world.write("golden/out", format!("hello {VALUE}!\n"));
    let ran = apply(&world, &["--json"]).ended(4);
    unseen(&world, &ran);
}

#[test]
fn long_outputs_are_rid_of_it_where_they_are_kept() {
    let world = World::with(&format!(
        "{TOKEN}
[[step]]
exec = 'i=0; while [ $i -lt 4000 ]; do echo \"$i $TOKEN\"; i=$((i+1)); done'
secrets = [\"TOKEN\"]
max_output = \"4KiB\"
"
    ));
    let ran = apply(&world, &[]).ended(0);
    unseen(&world, &ran);
    let receipt = world.receipt();
    let stdout = &receipt["steps"][0]["stdout"];
    let kept = fs::read_to_string(stdout["file"].as_str().expect("a file")).expect("kept");
    assert_eq!(kept.lines().count(), 4000);
    assert_eq!(stdout["bytes"], kept.len());
    assert!(kept.lines().all(|line| line.ends_with(" [REDACTED]")));
    let digest = pyro::request::Digest::of(kept.as_bytes());
    assert_eq!(stdout["sha256"], digest.hex());
}

#[test]
fn a_value_that_is_gone_when_it_is_needed_starts_nothing() {
    let world = World::with(
        "pyro = 1\nworkspace.secrets.A = \"file:fifo\"\n\n[[step]]\nexec = [\"true\"]\n",
    );
    let fifo = world.work().join("fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        rustix::fs::Mode::from_raw_mode(0o600),
        0,
    )
    .expect("a pipe");
    // A pipe can be read once: the plan leaves that to the run.
    world.pyro(["plan", "request.pyro.toml"]).ended(0);
    let writes = std::thread::spawn(move || fs::write(fifo, "short\n").expect("somebody reads"));
    let ran = world
        .pyro(["apply", "request.pyro.toml", "--json"])
        .ended(3);
    writes.join().expect("wrote");
    assert_eq!(
        ran.json()["error"]["code"],
        "secret-unusable",
        "{}",
        ran.text()
    );
    assert!(world.runs().is_empty());
}
