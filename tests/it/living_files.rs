//! Files of a workspace that lives: searched, added to, written if they are what somebody read, listed in parts.

use crate::harness::{Ran, World};
use crate::living::{create, json, world, ws};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

fn sh(world: &World, id: &str, script: &str) -> Ran {
    ws(
        world,
        &["exec", id, "--timeout", "5m", "--", "sh", "-c", script],
    )
    .ended(0)
}

fn search(world: &World, id: &str, more: &[&str]) -> Value {
    let args = [&["file", "search", id], more, &["--json"]].concat();
    let ran = ws(world, &args).ended(0);
    serde_json::from_slice(&ran.stdout).expect("JSON")
}

/// Path, line and column of each match.
fn places(found: &Value) -> Vec<(String, u64, u64)> {
    let number = |value: &Value| value.as_u64().expect("a number");
    let matches = found["matches"].as_array().expect("matches").iter();
    matches
        .map(|one| {
            let path = one["path"].as_str().expect("a path");
            let path = path.strip_prefix("/workspace/").expect("below it");
            (
                path.to_owned(),
                number(&one["line"]),
                number(&one["column"]),
            )
        })
        .collect()
}

fn place(path: &str, line: u64, column: u64) -> (String, u64, u64) {
    (path.to_owned(), line, column)
}

const STRANGE: &str = r#"
mkdir -p src/deep .git 'sp ace'
printf 'one\ntwo needle\r\n\nneedle needle\n' > src/a.txt
printf 'no end needle' > src/deep/b.rs
printf 'needle\n' > .git/config; printf 'needle\n' > 'sp ace/n'
printf '\377 needle \376\n' > src/latin
printf 'needle' > "src/$(printf 'odd\377')"
printf 'a\0b\nneedle\nneedle\n' > src/binary
printf 'needle\n' > "src/$(printf 'new\nline')"
head -c 3000000 /dev/zero | tr '\0' x > long; printf 'needle\nneedle\n' >> long
ln src/deep/b.rs twin
ln -s src link; ln -s /etc/passwd out; ln -s . src/loop; ln -s nowhere dangling
mkfifo pipe
chmod 000 'sp ace/n'
"#;

#[test]
fn a_search_finds_every_line_and_follows_no_link() {
    let world = world();
    let id = create(&world, &["--name", "searched"]);
    sh(&world, &id, STRANGE);
    let before = json(&world, &["status", &id, "--json"])["last_activity_at"].clone();
    let found = search(&world, &id, &["needle"]);
    assert_eq!(
        places(&found),
        [
            place(".git/config", 1, 1),
            place("long", 1, 3_000_001),
            place("long", 2, 1),
            place("sp ace/n", 1, 1),
            place("src/a.txt", 2, 5),
            place("src/a.txt", 4, 1),
            place("src/binary", 2, 1),
            place("src/deep/b.rs", 1, 8),
            place("src/latin", 1, 3),
            place("src/new\nline", 1, 1),
            place("src/odd\u{fffd}", 1, 1),
            place("twin", 1, 8),
        ],
        "{found:#}"
    );
    let of = |path: &str| -> Value {
        let all = found["matches"].as_array().expect("matches");
        let path = format!("/workspace/{path}");
        all.iter()
            .find(|one| one["path"] == *path)
            .expect("a match")
            .clone()
    };
    assert_eq!(
        of("src/a.txt")["text"],
        "two needle",
        "the end of a line is no part of it"
    );
    assert_eq!(of("src/binary")["text"], Value::Null);
    assert_eq!(of("src/binary")["binary"], true);
    assert_eq!(of("src/latin")["text_base64"], "/yBuZWVkbGUg/g==");
    assert_eq!(of("src/odd\u{fffd}")["path_base64"], "c3JjL29kZP8=");
    let long = of("long");
    assert_eq!(
        (long["cut"].clone(), long["start"].clone()),
        (json!(true), json!(2_999_873))
    );
    assert_eq!(long["text"].as_str().expect("a text").len(), 128 + 6);
    assert_eq!(
        (&found["count"], &found["truncated"]),
        (&json!(12), &json!(false))
    );
    assert_eq!(
        found["files_searched"], 12,
        "note.txt and run.sh, too, were looked at: {found:#}"
    );
    // It only looks.
    assert_eq!(
        json(&world, &["status", &id, "--json"])["last_activity_at"],
        before
    );

    // What grep finds in the text, in grep's form.
    let human = ws(
        &world,
        &[
            "file",
            "search",
            &id,
            "needle",
            "src/a.txt",
            "src/binary",
            "src/deep",
        ],
    )
    .ended(0);
    assert_eq!(
        human.stdout(),
        "src/a.txt:2:two needle\nsrc/a.txt:4:needle needle\nsrc/binary: matches in binary\nsrc/deep/b.rs:1:no end needle\n"
    );
    let grep = sh(
        &world,
        &id,
        "LC_ALL=C grep -rnI needle src/deep twin .git | LC_ALL=C sort",
    )
    .stdout();
    let ours = ws(
        &world,
        &["file", "search", &id, "needle", "twin", "src/deep", ".git"],
    )
    .ended(0);
    assert_eq!(ours.stdout(), grep);
    let long = ws(&world, &["file", "search", &id, "^x+needle", "long"])
        .ended(0)
        .stdout();
    assert!(
        long.starts_with("long:1:xxx") && long.ends_with("x\u{2026}\n"),
        "{long}"
    );
    assert!(long.len() < 1100, "{} bytes", long.len());

    // Include, exclude, anchors, case, what is not there.
    for (args, wanted) in [
        (
            &["^needle$", "--exclude", ".git", "--exclude", "long"][..],
            &["sp ace/n", "src/binary", "src/new\nline", "src/odd\u{fffd}"][..],
        ),
        (&["needle", "--include", "*.rs"], &["src/deep/b.rs"]),
        (
            &[
                "needle",
                "--include",
                "*",
                "--exclude",
                "src/",
                "--exclude",
                "/.git",
                "--exclude",
                "long",
            ],
            &["sp ace/n", "twin"],
        ),
        (&["(?i)NO END", "."], &["src/deep/b.rs", "twin"]),
        (&["^$", "src"], &["src/a.txt"]),
        (
            &["needle", "link/deep", "--exclude", "!x"],
            &["link/deep/b.rs"],
        ),
        (&["-dash"], &[]),
    ] {
        let found = search(&world, &id, args);
        let paths: Vec<_> = places(&found).into_iter().map(|(path, ..)| path).collect();
        assert_eq!(paths, wanted, "{args:?}");
    }
    let nothing = ws(&world, &["file", "search", &id, "nothing of it"]).ended(0);
    assert_eq!(nothing.stdout(), "");
    assert!(
        nothing.stderr().contains("nothing matches in 12 files"),
        "{}",
        nothing.text()
    );
    for (args, code, says) in [
        (&["needle", "no/such"][..], 1, "not-found"),
        (&["needle", "out"], 1, "outside"),
        (&["needle", "../up"], 2, "bad-path"),
        (&["(needle"], 2, "bad-regex"),
        (&["x{1000}{1000}{10}"], 2, "bad-regex"),
        (&["needle", "--include", "[z-a]"], 1, "pattern-invalid"),
    ] {
        let args = [&["file", "search", &id], args, &["--json"]].concat();
        let ran = ws(&world, &args).ended(code);
        assert!(
            ran.stdout().contains(&format!("\"{says}\"")),
            "{}",
            ran.text()
        );
    }
    let emitted = ws(
        &world,
        &[
            "file", "search", &id, "${1}", "src", "--after", "src/a", "--emit", "toml",
        ],
    )
    .ended(0);
    assert!(
        emitted
            .stdout()
            .contains("search = \"${1}\"\nin = \"src\"\n"),
        "{}",
        emitted.text()
    );
    let history = json(&world, &["history", &id, "--json"]);
    assert_eq!(
        history["entries"]
            .as_array()
            .expect("entries")
            .last()
            .expect("one")["kind"],
        "search"
    );
    let again = ws(&world, &["history", &id, "--request"]).ended(0).stdout();
    assert!(
        !again.contains("search = "),
        "what only looked is not done again: {again}"
    );
}

#[test]
fn a_search_that_is_cut_off_goes_on() {
    let world = world();
    let id = create(&world, &[]);
    sh(
        &world,
        &id,
        r#"mkdir d "$(printf 'd/odd\377')"; for n in $(seq 40); do seq 5 > d/$n; seq 5 > "$(printf 'd/odd\377')/$n"; done; printf 'a\0' > d/bin; seq 5 >> d/bin"#,
    );
    let all = search(&world, &id, &[r"^\d$", "d"]);
    assert_eq!(
        (&all["count"], &all["truncated"]),
        (&json!(401), &json!(false)),
        "{all:#}"
    );
    for most in [
        ["--max-matches", "7"],
        ["--max-bytes", "9"],
        ["--max-matches", "400"],
    ] {
        let mut seen = Vec::new();
        let mut more: Vec<OsString> = Vec::new();
        for turn in 0..100 {
            let args = [
                "workspace",
                "file",
                "search",
                &id,
                r"^\d$",
                "d",
                "--json",
                most[0],
                most[1],
            ];
            let args = args.iter().map(OsString::from).chain(more.iter().cloned());
            let found = world.pyro(args).ended(0);
            let found: Value = serde_json::from_slice(&found.stdout).expect("JSON");
            seen.extend(
                found["matches"]
                    .as_array()
                    .expect("matches")
                    .iter()
                    .cloned(),
            );
            if found["truncated"] == false {
                assert!(turn > 0 && found["next_after"].is_null());
                break;
            }
            more = vec!["--after".into(), next(&found)];
            if let Some(line) = found["next_after_line"].as_u64() {
                more.extend(["--after-line".into(), line.to_string().into()]);
            }
        }
        assert!(
            seen == *all["matches"].as_array().expect("matches"),
            "{most:?}"
        );
    }
    // In a request, also after a name that is no text.
    let steps = json!({ "pyro": 1, "workspace": id, "step": [
        { "search": "1", "in": ["d"], "after": { "base64": "ZC9vZGT/Lzk=" }, "expect": { "text": { "empty": true } } },
        { "search": "1", "in": ["d/9", "d"], "after": "d/9", "expect": { "text": { "lines": 41 } } },
        { "search": "1", "max_matches": 2, "capture": { "first": { "text": { "regex": "^(.*):1:1\n" } } },
          "expect": { "text": { "contains": "d/1:1:1\n" } } },
        { "exec": ["echo", "${step.all.file}"] },
    ] });
    let mut steps = steps;
    steps["step"][2]["id"] = json!("all");
    steps["step"][2]["capture"] = json!({ "file": { "text": { "regex": "(d/\\d+):1:1\n" } } });
    world.write("use.pyro.json", steps.to_string());
    let ran = world.pyro(["apply", "use.pyro.json", "--json"]).ended(0);
    assert_eq!(ran.json()["steps"][3]["stdout"]["head"]["text"], "d/1\n");
    // Of lines that were not told, nothing is said.
    let steps = json!({ "pyro": 1, "workspace": id, "step": [
        { "search": "1", "max_matches": 2, "expect": { "text": { "lines": 2 } } },
    ] });
    world.write("use.pyro.json", steps.to_string());
    world.pyro(["apply", "use.pyro.json"]).ended(4);
}

/// What an answer says to go on with, as bytes.
fn next(found: &Value) -> OsString {
    use base64::Engine as _;
    let bytes = match found["next_after_base64"].as_str() {
        Some(base64) => base64::engine::general_purpose::STANDARD
            .decode(base64)
            .expect("base64"),
        None => found["next_after"]
            .as_str()
            .expect("a path")
            .as_bytes()
            .to_vec(),
    };
    OsString::from_vec(bytes)
}

#[test]
fn a_hundred_thousand_files_are_searched_and_told_in_parts() {
    let world = world();
    let id = create(&world, &[]);
    sh(
        &world,
        &id,
        "mkdir many && cd many && for d in $(seq 100 199); do mkdir $d; done; \
         seq 100 199 | while read d; do seq 1000 | sed \"s|^|$d/|\" | xargs touch; done; \
         echo needle > 150/500; echo needle > 199/999",
    );
    let found = search(&world, &id, &["needle"]);
    assert_eq!(
        places(&found),
        [place("many/150/500", 1, 1), place("many/199/999", 1, 1)]
    );
    assert_eq!(found["files_searched"], 100_002);
    let found = search(&world, &id, &["needle", "--after", "many/150/500"]);
    assert_eq!(places(&found), [place("many/199/999", 1, 1)]);
    assert!(
        found["files_searched"].as_u64().expect("a number") < 50_000,
        "{found}"
    );
}

#[test]
fn many_paths_are_listed_and_compared_in_parts() {
    let world = world();
    let id = create(&world, &[]);
    let make = "mkdir many && cd many && seq 10001 22500 | xargs touch && printf 'x\\0' > aaa && echo a > aab";
    sh(&world, &id, make);
    let list = |more: &[&str]| {
        let args = [&["file", "list", &id, "many", "--json"], more].concat();
        json(&world, &args)
    };
    let names = |listed: &Value| -> Vec<String> {
        let entries = listed["entries"].as_array().expect("entries").iter();
        entries
            .map(|entry| entry["path"].as_str().expect("a path").to_owned())
            .collect()
    };
    let first = list(&[]);
    assert_eq!(first["truncated"], true);
    assert_eq!(first["entries_left"], 2502);
    assert_eq!(first["next_after"], "/workspace/many/20000");
    let second = list(&["--after", "/workspace/many/20000"]);
    assert_eq!(second["truncated"], false);
    assert_eq!(second["entries_left"], Value::Null);
    let all = names(&list(&["--max-entries", "20000"]));
    assert_eq!(all.len(), 12_502);
    assert_eq!([names(&first), names(&second)].concat(), all);
    let shown = ws(&world, &["file", "list", &id, "many", "--max-entries", "1"]).ended(0);
    assert_eq!(shown.stdout().lines().count(), 1, "{}", shown.text());
    assert!(
        shown
            .stderr()
            .contains("12501 more: `--after 'many/10001'`"),
        "{}",
        shown.text()
    );
    // What is not told proves nothing.
    let request = |expect: &str| {
        format!(
            "pyro = 1\nworkspace = \"{id}\"\n[[step]]\nlist = \"many\"\nmax_entries = 3\nexpect.text.{expect}\n"
        )
    };
    for (expect, code) in [
        ("contains = \"many/10002\"", 0),
        ("lines = 3", 4),
        ("matches = \"aab\"", 4),
    ] {
        world.write("list.pyro.toml", request(expect));
        let ran = world.pyro(["apply", "-v", "list.pyro.toml"]).ended(code);
        let told = "12499 paths are not told: `after = \"many/10003\"` goes on";
        assert!(ran.text().contains(told), "{}", ran.text());
    }
    let diff = json(&world, &["diff", &id, "--json"]);
    assert_eq!(diff["entries"].as_array().map(Vec::len), Some(10_000));
    assert_eq!(diff["entries_left"], 2502);
    assert_eq!(diff["summary"]["total"], 12_502);
    assert_eq!(diff["summary"]["non_text"], 1);
    let few = json(&world, &["diff", &id, "--json", "--exclude", "many/[12]*"]);
    let entries = few["entries"].as_array().expect("entries");
    assert_eq!(entries.len(), 2);
    assert_eq!(entries[0]["text_patch"], Value::Null);
    let patch = entries[1]["text_patch"].as_str().expect("a patch");
    assert!(
        patch.starts_with("diff --git a/many/aab b/many/aab\n") && patch.ends_with("+a\n"),
        "{patch}"
    );
}

#[test]
fn links_that_are_swapped_in_lead_no_search_out() {
    let world = world();
    let id = create(&world, &[]);
    sh(
        &world,
        &id,
        r"
echo secret > /root/secret; mkdir /root/dir a real; echo secret > /root/dir/secret; echo harmless > real/secret; echo harmless > f
(while :; do
  mv a b; ln -s /root/dir a; mv -T real swap; ln -s ../root/dir real; rm -f f; ln -s /root/secret f
  rm a real f; mv b a; mv -T swap real; echo harmless > f
done) > /dev/null 2>&1 & echo $! > pid",
    );
    let mut seen = BTreeSet::new();
    for _ in 0..40 {
        let found = search(&world, &id, &["secret|harmless"]);
        for one in found["matches"].as_array().expect("matches") {
            assert_eq!(one["text"], "harmless", "{found:#}");
            seen.insert(one["path"].to_string());
        }
    }
    assert!(!seen.is_empty());
    sh(&world, &id, "kill $(cat pid)");
}

#[test]
fn a_write_is_refused_where_the_file_is_not_what_was_read() {
    let world = world();
    let id = create(&world, &[]);
    let write = |path: &str, text: &str, more: &[&str]| {
        let args = [
            &["file", "write", &id, path, "--text", text, "--json"],
            more,
        ]
        .concat();
        ws(&world, &args)
    };
    let read = json(&world, &["file", "read", &id, "note.txt", "--json"]);
    let digest = read["sha256"].as_str().expect("a digest").to_owned();
    // Of a part, nothing is said: it would take reading all of it.
    let part = json(
        &world,
        &[
            "file",
            "read",
            &id,
            "note.txt",
            "--max-bytes",
            "1",
            "--json",
        ],
    );
    assert_eq!(part["sha256"], Value::Null);
    sh(&world, &id, "echo others > note.txt");
    let refused = write("note.txt", "mine\n", &["--if-sha256", &digest])
        .ended(1)
        .json();
    assert_eq!(refused["error"]["code"], "base-mismatch", "{refused:#}");
    let message = refused["error"]["message"].as_str().expect("a message");
    let now = json(&world, &["file", "read", &id, "note.txt", "--json"]);
    let present = now["sha256"].as_str().expect("a digest");
    assert!(
        message.contains(&digest) && message.contains(present),
        "{message}"
    );
    assert_eq!(now["content"], "others\n");
    let written = write("note.txt", "mine\n", &["--if-sha256", present])
        .ended(0)
        .json();
    assert_eq!(written["replaced"], true);
    let refused = write("note.txt", "again\n", &["--if-absent"])
        .ended(1)
        .json();
    assert_eq!(refused["error"]["code"], "base-mismatch", "{refused:#}");
    write("new/file", "new\n", &["--if-absent"]).ended(0);
    for (path, script) in [
        ("d", "mkdir d"),
        ("l", "ln -s note.txt l"),
        ("gone", "true"),
    ] {
        sh(&world, &id, script);
        let refused = write(path, "x", &["--if-sha256", &digest]).ended(1).json();
        assert_eq!(
            refused["error"]["code"], "base-mismatch",
            "{path}: {refused:#}"
        );
    }
    write("note.txt", "x", &["--if-sha256", "sha256:1"]).ended(2);
    // Added to, made, and both held against what was read.
    write("note.txt", "more\n", &["--append"]).ended(0);
    write("log/of/it", "first\n", &["--append", "--mode", "0600"]).ended(0);
    write("log/of/it", "second\n", &["--append"]).ended(0);
    let seen = sh(&world, &id, "cat note.txt log/of/it; stat -c %a log/of/it").stdout();
    assert_eq!(seen, "mine\nmore\nfirst\nsecond\n600\n");
    write("note.txt", "x", &["--append", "--if-sha256", &digest]).ended(1);
    write("d", "x", &["--append"]).ended(1);
    write("l", "x", &["--append"]).ended(1);
    assert_eq!(sh(&world, &id, "cat note.txt").stdout(), "mine\nmore\n");
    // The history does it again.
    let request = ws(&world, &["history", &id, "--request"]).ended(0).stdout();
    assert!(
        request.contains("append = ") && request.contains("= \"absent\""),
        "{request}"
    );
}

#[test]
fn what_many_add_at_once_is_all_there() {
    let world = world();
    let id = create(&world, &[]);
    std::thread::scope(|scope| {
        for one in 0..4 {
            let (world, id) = (&world, &id);
            scope.spawn(move || {
                for turn in 0..6 {
                    let text = format!("{one}.{turn}\n");
                    ws(
                        world,
                        &["file", "write", id, "log", "--append", "--text", &text],
                    )
                    .ended(0);
                }
            });
        }
    });
    let lines = sh(&world, &id, "sort log | uniq | wc -l; wc -l < log").stdout();
    assert_eq!(lines, "24\n24\n");
}

#[test]
fn nobody_finds_out_a_secret_by_searching() {
    let world = world();
    let secret = "s3cret-Value-of-22-chars";
    let id = create(&world, &["--secret", &format!("TOKEN={secret}")]);
    // By hand, so that no command of pyro has it in its text.
    let tree = world.state().join("workspaces").join(&id).join("run/tree");
    let long = "x".repeat(5000);
    std::fs::write(
        tree.join("kept"),
        format!("a {secret} b\n{long}{secret}{long}\n"),
    )
    .expect("writes");
    for regex in ["s3cret", "Value", "chars", "a s3"] {
        let found = search(&world, &id, &[regex]);
        assert_eq!(found["count"], 0, "{regex}: {found:#}");
    }
    for regex in ["^a .* b$", "x{2000}"] {
        let ran = ws(&world, &["file", "search", &id, regex, "--json"]).ended(0);
        assert!(!ran.stdout().contains("s3cret"), "{}", ran.text());
        let found: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        assert_eq!(found["count"], 1, "{found:#}");
    }
}

#[test]
fn programs_search_and_move_by_the_library() {
    let world = world();
    let id = create(&world, &[]);
    let pyro = pyro::sdk::Pyro::open(Some(&world.state())).expect("opens");
    let workspace = pyro.workspace(&id);
    let none: [&str; 0] = [];
    let found = workspace
        .search_files("(?-u:o).d", none)
        .wait()
        .expect("searches");
    let lines: Vec<_> = (found.matches.iter())
        .map(|one| (one.path.text.as_str(), one.line, one.column))
        .collect();
    assert_eq!(lines, [("note.txt", 1, 1)]);
    let found = workspace.search_files("ol.|${x}", ["note.txt"]).wait();
    assert!(found.is_err(), "an anchor cannot be repeated: {found:?}");
    let found = workspace
        .search_files("ol.", ["note.txt"])
        .wait()
        .expect("searches");
    assert_eq!((found.files, found.matches[0].column), (1, 1));
    let moved = workspace
        .move_file("note.txt", "deep/note")
        .wait()
        .expect("moves")
        .expect("a report");
    assert_eq!(
        (moved.from.text.as_str(), moved.to.text.as_str()),
        ("note.txt", "deep/note")
    );
    let step = pyro::Step::search("old").include("deep/").max_matches(1);
    let found = workspace.search_step(step).wait().expect("searches");
    assert_eq!(found.matches[0].path.text, "deep/note");
    assert!(!found.truncated);
}
