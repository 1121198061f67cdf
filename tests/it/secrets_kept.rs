//! Secrets of workspaces that live: kept in one file each, from creation to removal, and nowhere else.

use crate::harness::{Ran, World, wait_for};
use crate::living::{create, json, world, ws};
use crate::secrets::{VALUE, holding};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

/// `pyro workspace` with the value in a variable of the host.
fn with_value(world: &World, args: &[&str]) -> Ran {
    let mut command = world.command(["workspace"].iter().chain(args));
    command.env("TOKEN_OF_TEST", VALUE);
    world.ran(command.output().expect("pyro starts"))
}

/// The one file that the value is in.
fn kept(world: &World, id: &str) -> PathBuf {
    world
        .state()
        .join("workspaces")
        .join(id)
        .join("secrets/TOKEN")
}

#[track_caller]
fn only_in(world: &World, files: &[&Path]) {
    let mut found = holding(&world.state(), VALUE.as_bytes());
    found.sort();
    let mut wanted: Vec<_> = files.iter().map(|path| path.to_path_buf()).collect();
    wanted.sort();
    assert_eq!(found, wanted);
}

#[test]
fn every_source_is_kept_and_its_value_shown_nowhere() {
    let world = world();
    world.write("token", format!("{VALUE}\n"));
    let literal = format!("TOKEN={VALUE}");
    for (args, kind) in [
        (["--secret", &literal], "literal"),
        (["--secret-file", "TOKEN=token"], "file"),
        (["--secret-env", "TOKEN=TOKEN_OF_TEST"], "env"),
    ] {
        let ran = with_value(
            &world,
            &["create", "host", "--name", "w", args[0], args[1], "--json"],
        )
        .ended(0);
        let made: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        assert_eq!(
            made["secrets"],
            serde_json::json!([{"name": "TOKEN", "source_kind": kind}])
        );
        let id = made["workspace_id"].as_str().expect("an id");
        let exec = ws(
            &world,
            &[
                "exec",
                "w",
                "--secret-env",
                "TOKEN=T",
                "--json",
                "--",
                "sh",
                "-c",
                "echo $T $TOKEN",
            ],
        );
        let ran = json(&world, &["logs", "w", "--json"]);
        assert_eq!(ran["entries"][0]["stdout"], "[REDACTED]\n", "{ran:#}");
        assert!(!exec.text().contains(VALUE), "{}", exec.text());
        let payload: serde_json::Value =
            serde_json::from_slice(&exec.ended(0).stdout).expect("JSON");
        assert_eq!(payload["stdout"], "[REDACTED]\n");
        assert_eq!(payload["redacted"], true);
        let file = kept(&world, id);
        only_in(&world, &[&file]);
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&file), 0o600);
        assert_eq!(mode(file.parent().expect("a folder")), 0o700);
        let status = ws(&world, &["status", "w"]).ended(0);
        assert!(
            status.stdout().contains(&format!("TOKEN ({kind})")),
            "{}",
            status.text()
        );
        let request = ws(&world, &["history", "w", "--request"]).ended(0);
        let source = match kind {
            "literal" => "env:TOKEN".to_owned(),
            "file" => format!("file:{}", world.work().join("token").display()),
            _ => "env:TOKEN_OF_TEST".to_owned(),
        };
        assert!(request.stdout().contains(&source), "{}", request.text());
        assert!(!request.text().contains(VALUE));
        ws(&world, &["delete", "w"]).ended(0);
        only_in(&world, &[]);
    }
    // What a command stands for has no value in it either.
    let emitted = ws(
        &world,
        &["create", "host", "--secret", &literal, "--emit", "toml"],
    )
    .ended(0);
    assert!(emitted.stdout().contains("env:TOKEN") && !emitted.text().contains(VALUE));
}

#[test]
fn they_stay_over_stop_start_reset_and_fork_until_the_workspace_goes() {
    let world = world();
    let literal = format!("TOKEN={VALUE}");
    let id = create(&world, &["--secret", &literal, "--name", "one"]);
    let works = |name: &str| {
        let script = "test \"$TOKEN\" = s3cr3t-Value/42\"+x\" && echo ok";
        let args = [
            "exec",
            name,
            "--secret-env",
            "TOKEN",
            "--",
            "sh",
            "-c",
            script,
        ];
        assert_eq!(ws(&world, &args).ended(0).stdout(), "ok\n");
    };
    works("one");
    ws(&world, &["snapshot", "create", "one", "a"]).ended(0);
    ws(&world, &["stop", "one"]).ended(0);
    only_in(&world, &[&kept(&world, &id)]);
    ws(&world, &["start", "one"]).ended(0);
    works("one");
    ws(&world, &["reset", "one", "--snapshot", "a"]).ended(0);
    works("one");
    let forked = json(&world, &["fork", "one", "--name", "two", "--json"]);
    let fork = forked["workspace_id"].as_str().expect("an id").to_owned();
    works("two");
    only_in(&world, &[&kept(&world, &id), &kept(&world, &fork)]);
    ws(&world, &["delete", "one"]).ended(0);
    works("two");
    only_in(&world, &[&kept(&world, &fork)]);
    ws(&world, &["delete", "two"]).ended(0);
    only_in(&world, &[]);
}

#[test]
fn a_session_leaves_the_value_in_one_file_and_what_programs_wrote() {
    let world = world();
    let literal = format!("TOKEN={VALUE}");
    let id = create(&world, &["--secret", &literal]);
    let told = |args: &[&str]| {
        let ran = ws(&world, args);
        assert!(
            !ran.stdout().contains(VALUE) && !ran.stderr().contains(VALUE),
            "{}",
            ran.text()
        );
        ran
    };
    // Row 104: the text of the command, its status, its log.
    told(&[
        "exec",
        &id,
        "--env",
        &format!("A={VALUE}"),
        "--",
        "echo",
        VALUE,
    ])
    .ended(0);
    told(&["exec", &id, "--", &format!("./not-there-{VALUE}")]).ended(127);
    let status = told(&["status", &id, "--json"]).ended(0).stdout();
    assert!(status.contains("not-there-[REDACTED]"), "{status}");
    assert!(
        told(&["logs", &id])
            .ended(0)
            .stdout()
            .contains("[REDACTED]")
    );
    told(&["history", &id, "--json"]).ended(0);
    only_in(&world, &[&kept(&world, &id)]);

    // Row 103: what a program left in a file, however it is looked at.
    let script = "printf 'token=%s\\nmore\\n' \"$TOKEN\" > conf";
    told(&[
        "exec",
        &id,
        "--secret-env",
        "TOKEN",
        "--",
        "sh",
        "-c",
        script,
    ])
    .ended(0);
    let read = told(&["file", "read", &id, "conf", "--content-only"]).ended(0);
    assert_eq!(read.stdout(), "token=[REDACTED]\nmore\n");
    assert!(
        read.stderr().contains("do not write it back"),
        "{}",
        read.text()
    );
    let halves: Vec<_> = [("0", "12"), ("12", "40")]
        .iter()
        .map(|(offset, most)| {
            let args = [
                "file",
                "read",
                &id,
                "conf",
                "--offset",
                offset,
                "--max-bytes",
                most,
                "--content-only",
            ];
            told(&args).ended(0).stdout()
        })
        .collect();
    assert_eq!(halves, ["token=[REDACTED]", "[REDACTED]\nmore\n"]);
    let payload = json(&world, &["file", "read", &id, "conf", "--json"]);
    assert_eq!(payload["redacted"], true);
    assert_eq!(payload["size_bytes"], 12 + VALUE.len());
    // Nobody finds out by searching what it is: neither by what is found nor by how much was looked at.
    let searched = |regex: &str| {
        let mut found = json(&world, &["file", "search", &id, regex, "--json"]);
        found.as_object_mut().expect("an object").remove("regex");
        found.as_object_mut().expect("an object").remove("pattern");
        found
    };
    assert_eq!(searched("s3cr3t-Value"), searched("s3cr3t-Valve"));
    let diff = told(&["diff", &id, "--patch"]).ended(0);
    assert!(
        diff.stdout().contains("+token=[REDACTED]"),
        "{}",
        diff.text()
    );
    assert!(
        diff.stderr().contains("cannot be applied"),
        "{}",
        diff.text()
    );
    let payload = json(&world, &["diff", &id, "--json"]);
    assert_eq!(payload["redacted"], true, "{payload:#}");
    let patch = format!("--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+{VALUE}\n");
    let applied = told(&["patch", "apply", &id, "--patch", &patch, "--json"]).ended(0);
    assert!(
        applied.stdout().contains("+[REDACTED]"),
        "{}",
        applied.text()
    );
    told(&["file", "write", &id, "mine", "--text", VALUE, "--json"]).ended(0);
    told(&["export", &id, "conf", "--output", "exported"]).ended(0);
    assert!(
        fs::read_to_string(world.work().join("exported"))
            .expect("exact")
            .contains(VALUE)
    );

    // The files of the workspace are exact, and so is what is kept of them; all else has nothing.
    let home = world.state().join("workspaces").join(&id);
    let files: Vec<_> = ["conf", "new", "mine"]
        .map(|name| home.join("run/tree").join(name))
        .into();
    let mut all: Vec<&Path> = files.iter().map(PathBuf::as_path).collect();
    let secret = kept(&world, &id);
    all.push(&secret);
    only_in(&world, &all);

    // Stopped, the host reads them itself.
    ws(&world, &["stop", &id]).ended(0);
    let read = told(&["disk", "read", &id, "conf", "--content-only"]).ended(0);
    assert_eq!(read.stdout(), "token=[REDACTED]\nmore\n");
    let cut = told(&["disk", "read", &id, "conf", "--max-bytes", "10", "--json"]).ended(0);
    assert!(
        cut.stdout().contains("\"redacted\": true"),
        "{}",
        cut.text()
    );

    // What was done can be told and done again, but for what had the value in it.
    let request = told(&["history", &id, "--request"]).ended(0).stdout();
    assert!(request.contains("a secret stood in it"), "{request}");
    assert!(
        request.contains("printf 'token=") && !request.contains("\"mine\""),
        "{request}"
    );
}

// proves: H7
#[test]
fn requests_use_what_a_workspace_keeps() {
    let world = world();
    let literal = format!("TOKEN={VALUE}");
    create(&world, &["--secret", &literal, "--name", "lives"]);
    world.write(
        "request.pyro.toml",
        "pyro = 1\nworkspace = \"lives\"\n\n[[step]]\nexec = 'echo \"$T\"; cat note.txt'\nsecrets = { TOKEN = \"T\" }\n\
         expect.stdout.equals = \"[REDACTED]\\nold\\n\"\n",
    );
    let plan = world.pyro(["plan", "request.pyro.toml"]).ended(0);
    assert!(
        plan.stdout().contains("TOKEN, which it keeps"),
        "{}",
        plan.text()
    );
    world.pyro(["apply", "request.pyro.toml"]).ended(0);
    for (args, code) in [
        (
            &["exec", "lives", "--secret-env", "TOKEN2", "--", "true"][..],
            "secret-unknown",
        ),
        (
            &[
                "exec",
                "lives",
                "--secret-env",
                "TOKEN",
                "--env",
                "TOKEN=x",
                "--",
                "true",
            ],
            "secret-twice",
        ),
        (
            &[
                "exec",
                "lives",
                "--secret-env",
                "TOKEN",
                "--secret-env",
                "TOKEN=B",
                "--",
                "true",
            ],
            "usage",
        ),
    ] {
        let mut args = args.to_vec();
        args.insert(2, "--json");
        let ran = ws(&world, &args).ended(125);
        assert!(ran.stdout().contains(code), "{}", ran.text());
    }
    // A file that somebody damaged is no reason to run without it, for then it would be seen.
    let id = json(&world, &["status", "lives", "--json"])["workspace_id"]
        .as_str()
        .expect("an id")
        .to_owned();
    fs::write(kept(&world, &id), "x").expect("writes");
    let ran = ws(&world, &["exec", "lives", "--", "true"]);
    assert_eq!(ran.code, Some(125), "{}", ran.text());
    assert!(ran.stderr().contains("secret TOKEN"), "{}", ran.text());
}

#[test]
fn row_106_short_ones_and_two_to_one_variable_are_refused() {
    let world = world();
    for (args, code, says) in [
        (&["--secret", "A=1234567"][..], 1, "fewer than 8 bytes"),
        (&["--secret", "A=1234567\n"], 1, "fewer than 8 bytes"),
        (&["--secret", "A="], 2, "neither of them empty"),
        (
            &["--secret", "A-B=12345678"],
            2,
            "is not the name of a secret",
        ),
        (
            &["--secret", "A=12345678", "--secret-env", "A=HOME"],
            2,
            "two secrets are called `A`",
        ),
        (&["--secret-file", "A=nothing"], 1, "not there"),
        (&["--secret-env", "A=NOT_SET_AT_ALL"], 1, "not set"),
    ] {
        let mut all = vec!["create", "host"];
        all.extend(args);
        let ran = ws(&world, &all).ended(code);
        assert!(ran.stderr().contains(says), "{says}: {}", ran.text());
        assert!(!ran.text().contains("1234567"), "{}", ran.text());
    }
    assert_eq!(json(&world, &["list", "--json"])["count"], 0);
}

#[test]
fn row_107_a_failed_create_leaves_nothing() {
    let world = world();
    let literal = format!("TOKEN={VALUE}");
    for _ in 0..3 {
        // One good, one badly named.
        ws(
            &world,
            &[
                "create",
                "host",
                "--secret",
                &literal,
                "--secret",
                "b-d=12345678",
            ],
        )
        .ended(2);
        only_in(&world, &[]);
    }
    // One that fails when the folder and the secret in it are there already: no file may be as large as it needs.
    world.write("large/file", vec![b'x'; 8 << 20]);
    for _ in 0..3 {
        let line = format!(
            "ulimit -f 4000; exec \"$0\" workspace create host --seed-path large --secret '{literal}'"
        );
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", &line])
            .arg(crate::harness::binary())
            .current_dir(world.work())
            .env("PYRO_STATE_DIR", world.state());
        let ran = world.ran(command.output().expect("starts"));
        assert_eq!(ran.code, Some(1), "{}", ran.text());
        assert!(ran.stderr().contains("File too large"), "{}", ran.text());
        only_in(&world, &[]);
        assert_eq!(json(&world, &["list", "--json"])["count"], 0);
    }
}

#[test]
fn row_107_a_killed_create_leaves_nothing_that_the_next_command_does_not_remove() {
    let world = world();
    for n in 0..300 {
        world.write(&format!("repo/many/{n}"), "x");
    }
    let literal = format!("TOKEN={VALUE}");
    let mut seen = 0;
    for delay in (0..16).map(|n| n * 12) {
        let mut child = world
            .command([
                "workspace",
                "create",
                "host",
                "--seed-path",
                "repo",
                "--secret",
                &literal,
                "--name",
                "k",
            ])
            .spawn()
            .expect("starts");
        std::thread::sleep(std::time::Duration::from_millis(delay));
        child.kill().expect("kills");
        let ended = child.wait().expect("ends");
        seen += usize::from(!holding(&world.state(), VALUE.as_bytes()).is_empty());
        if ended.success() {
            break;
        }
        ws(&world, &["list"]).ended(0);
        let left = json(&world, &["list", "--json"]);
        // It may have been through, but for saying so.
        if let Some(made) = left["workspaces"].as_array().expect("a list").first() {
            let id = made["workspace_id"].as_str().expect("an id");
            only_in(&world, &[&kept(&world, id)]);
            ws(&world, &["delete", id]).ended(0);
        }
        wait_for("nothing left", || {
            holding(&world.state(), VALUE.as_bytes()).is_empty()
        });
    }
    assert!(seen > 0, "none was killed while its secret was there");
}

#[test]
fn row_120_other_programs_find_it_nowhere() {
    let world = world();
    // Of this test alone: others run beside it, and give theirs on command lines.
    let value = "another-Value/of-row-120";
    let id = create(&world, &["--secret", &format!("TOKEN={value}")]);
    ws(
        &world,
        &["exec", &id, "--secret-env", "TOKEN", "--", "true"],
    )
    .ended(0);
    // Nor has a process of the host it on its command line or in its environment, now that the programs are gone.
    for entry in fs::read_dir("/proc").expect("/proc").flatten() {
        for name in ["cmdline", "environ"] {
            let text = fs::read(entry.path().join(name)).unwrap_or_default();
            let has = memchr::memmem::find(&text, value.as_bytes()).is_some();
            assert!(!has, "{}/{name}", entry.path().display());
        }
    }
    // It would be taken out of an output, so the programs look for it themselves.
    let script = "
        want=$(printf 'another%s' -Value/of-row-120)
        env | grep -F \"$want\" && exit 1
        cat /proc/[0-9]*/environ 2>/dev/null | grep -aF \"$want\" && exit 2
        grep -rF \"$want\" /run /tmp /workspace /root /etc /dev/shm 2>/dev/null && exit 3
        exit 0";
    ws(
        &world,
        &["exec", &id, "--secret-env", "TOKEN", "--", "true"],
    )
    .ended(0);
    ws(&world, &["exec", &id, "--", "sh", "-c", script]).ended(0);
}

#[test]
fn rust_code_gives_and_maps_them() {
    use pyro::request::{Request, Step};
    use pyro::sdk::Pyro;
    use pyro::secret::Secret;

    // What keeps the workspace alive is found by a variable, which only another process can be given.
    if std::env::var_os("PYRO_BIN").is_none() {
        let test = std::env::current_exe().expect("a test program");
        let mut again = std::process::Command::new(test);
        again
            .args(["--exact", "secrets_kept::rust_code_gives_and_maps_them"])
            .env("PYRO_BIN", crate::harness::binary());
        let ran = again.output().expect("starts");
        let told = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success() && told.contains("1 passed"), "{told}");
        return;
    }
    let world = world();
    let state = world.state();
    let pyro = Pyro::open(Some(&state)).expect("opens");
    let secret = Secret::new(VALUE.as_bytes().to_vec()).expect("a secret");
    let made = pyro
        .create_workspace_with(
            Request::new("host").workspace_name("rust"),
            [("TOKEN".to_owned(), secret)].into(),
        )
        .wait();
    let workspace = made.expect("a workspace");
    let status = workspace.status().wait().expect("a status");
    assert_eq!(status.secrets[0].name, "TOKEN");
    assert_eq!(status.secrets[0].source_kind, "literal");
    let step = Step::exec(["sh", "-c", "echo \"$T\""]).secret_env("TOKEN", "T");
    let ran = workspace.exec_step(step).wait().expect("ran");
    assert_eq!(ran.stdout(), b"[REDACTED]\n");
    assert!(ran.report.redacted);
    let request = workspace.as_request().wait().expect("a request");
    assert!(!format!("{request:?}").contains(VALUE));
    only_in(&world, &[&kept(&world, status.id.as_str())]);
    workspace.delete().wait().expect("deletes");
    only_in(&world, &[]);
}
