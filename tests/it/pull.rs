//! What changed in a workspace goes home: all of it or nothing, and nothing of the host's own is lost.

use crate::harness::{Ran, World, is_root};
use crate::living::{create, json, world, ws};
use proptest::prelude::*;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Every path below a directory with what it is and holds.
fn tree(root: &Path) -> BTreeMap<String, String> {
    let mut seen = BTreeMap::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder).expect("reads").flatten() {
            let path = entry.path();
            let meta = fs::symlink_metadata(&path).expect("there");
            let mode = meta.mode() & 0o7777;
            let held = match () {
                () if meta.is_dir() => format!("{mode:o}/"),
                () if meta.is_symlink() => {
                    format!("-> {}", fs::read_link(&path).expect("a link").display())
                }
                () if !meta.is_file() => "special".to_owned(),
                () => format!("{mode:o} {:?}", fs::read(&path).expect("readable")),
            };
            let name = path.strip_prefix(root).expect("below");
            seen.insert(name.display().to_string(), held);
            if meta.is_dir() {
                waiting.push(path);
            }
        }
    }
    seen
}

fn sh(world: &World, id: &str, script: &str) -> Ran {
    ws(world, &["exec", id, "--", "sh", "-euc", script]).ended(0)
}

fn repo(world: &World) -> PathBuf {
    world.work().join("repo")
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("sets the mode");
}

fn lines(count: usize) -> String {
    (1..=count).map(|n| format!("line {n}\n")).collect()
}

/// A repository with something of everything.
fn rich() -> World {
    let world = world();
    for (name, text) in [
        ("src/main.c", lines(40)),
        ("src/old/one.c", "one\n".to_owned()),
        ("src/old/two.c", "two\n".to_owned()),
        ("turns/into-a-file", "x\n".to_owned()),
        ("was-a-file", "x\n".to_owned()),
        ("gone", "x\n".to_owned()),
        ("renamed", lines(10)),
        (".git/config", "[core]\n".to_owned()),
    ] {
        world.write(&format!("repo/{name}"), text);
    }
    world.write("repo/bin", b"\0binary\xff");
    symlink("note.txt", repo(&world).join("link")).expect("links");
    set_mode(&repo(&world).join("note.txt"), 0o444);
    world
}

const EDITS: &str = "
    sed -i 's/^line 20$/twenty/' src/main.c
    rm -r src/old gone turns; echo file > turns
    rm was-a-file; mkdir was-a-file; echo inner > was-a-file/inner
    mv renamed moved
    printf 'other\\000binary' > bin
    ln -sfn src/main.c link; ln -s ../elsewhere out
    rm -f note.txt; echo new > note.txt; chmod 0444 note.txt
    chmod 0700 src; chmod -x run.sh
    mkdir -p deep/er; echo new > deep/er/file; chmod 4755 deep/er/file
    mkfifo pipe
    echo evil > .git/config; mkdir -p sub/.GIT; echo evil > sub/.GIT/config
    echo log > build.log
";

fn payload(ran: &Ran) -> Value {
    serde_json::from_slice(&ran.stdout).unwrap_or_else(|_| panic!("JSON: {}", ran.text()))
}

/// What is in the workspace, but for what stays there.
fn inside(world: &World, id: &str) -> BTreeMap<String, String> {
    let mut seen = tree(&world.state().join("workspaces").join(id).join("run/tree"));
    seen.retain(|path, _| {
        let stays = ["build.log", "pipe", "sub"];
        let git = path
            .split('/')
            .any(|part| part.eq_ignore_ascii_case(".git"));
        !git && !stays.contains(&path.as_str())
    });
    // A bit that never comes along.
    let held = seen.get_mut("deep/er/file").expect("is there");
    *held = held.replace("4755", "755");
    seen
}

#[test]
fn every_kind_of_change_comes_home_and_nothing_else() {
    let world = rich();
    let id = create(&world, &["--name", "work"]);
    sh(&world, &id, EDITS);
    let before = tree(&repo(&world));
    let pull = ["pull", "work", "--exclude", "*.log"];
    let looked = ws(&world, &[&pull[..], &["--dry-run"]].concat()).ended(0);
    assert_eq!(tree(&repo(&world)), before, "a dry run changes nothing");
    let shown = looked.stdout();
    for word in [
        "modified src/main.c",
        "deleted src/old/one.c",
        "added moved",
        "would bring",
        "-line 20\n+twenty\n",
        "rename from renamed\nrename to moved\n",
    ] {
        assert!(shown.contains(word), "{word}: {shown}");
    }
    let ran = ws(&world, &pull).ended(0);
    let told = ran.stderr();
    for word in [
        "stay in the workspace",
        "build.log",
        "pipe",
        "a link that leads out of the directory: out",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let mut after = tree(&repo(&world));
    assert_eq!(
        after.remove(".git/config"),
        before.get(".git/config").cloned()
    );
    after.remove(".git").expect("is there");
    // The directory is new in the workspace, so it is on the host; what git keeps in it is not.
    after.remove("sub").expect("is there");
    assert_eq!(after, inside(&world, &id));
    let again = ws(&world, &pull).ended(0);
    assert!(
        again.stdout().contains("nothing to bring home"),
        "{}",
        again.text()
    );
    assert!(!world.state().join("pulls").exists());
    let history = json(&world, &["history", &id, "--json"]);
    let kinds: Vec<_> = (history["entries"].as_array().expect("entries").iter())
        .map(|entry| entry["kind"].as_str().unwrap_or_default())
        .collect();
    assert_eq!(kinds, ["exec", "pull", "pull", "pull"]);
}

#[test]
fn what_was_pulled_is_the_base_of_the_next_pull() {
    let world = rich();
    let id = create(&world, &[]);
    sh(
        &world,
        &id,
        "sed -i 's/^line 20$/twenty/' src/main.c; echo 1 > made",
    );
    ws(&world, &["pull", &id]).ended(0);
    // The baseline has not moved.
    let diff = ws(&world, &["diff", &id, "--patch"]).ended(0).stdout();
    assert!(diff.contains("+twenty"), "{diff}");
    sh(
        &world,
        &id,
        "sed -i 's/^twenty$/vingt/; s/^line 30$/thirty/' src/main.c; echo 2 > made; rm gone",
    );
    ws(&world, &["pull", &id]).ended(0);
    let main = || fs::read_to_string(repo(&world).join("src/main.c")).expect("there");
    assert!(main().contains("vingt\n") && main().contains("thirty\n"));
    // The host goes on by itself, and so does the workspace.
    let text = main().replace("line 2\n", "two\n");
    fs::write(repo(&world).join("src/main.c"), text).expect("writes");
    sh(&world, &id, "sed -i 's/^line 40$/forty/' src/main.c");
    let ran = ws(&world, &["pull", &id, "--json"]).ended(0);
    assert_eq!(payload(&ran)["summary"]["merged"], 1, "{}", ran.text());
    sh(&world, &id, "sed -i 's/^line 10$/ten/' src/main.c");
    ws(&world, &["pull", &id]).ended(0);
    for word in ["two\n", "ten\n", "vingt\n", "thirty\n", "forty\n"] {
        assert!(main().contains(word), "{word}");
    }
    // What the host undoes is the host's; what the workspace undoes comes home.
    ws(&world, &["reset", &id]).ended(0);
    ws(&world, &["pull", &id]).ended(0);
    assert_eq!(main(), lines(40).replace("line 2\n", "two\n"));
    assert!(!repo(&world).join("made").exists() && repo(&world).join("gone").exists());
}

#[test]
fn all_conflicts_are_told_at_once_and_nothing_is_changed() {
    let world = rich();
    let id = create(&world, &[]);
    sh(&world, &id, EDITS);
    let host = repo(&world);
    let change = |path: &str, text: &str| {
        let path = host.join(path);
        let _gone = fs::remove_file(&path);
        fs::write(path, text).expect("writes");
    };
    // The very line; deleted there, changed here; binary; made on both sides; a link on the way; not empty.
    change("src/main.c", &lines(40).replace("line 20\n", "XX\n"));
    change("gone", "mine\n");
    change("bin", "mine\n");
    change("moved", "mine\n");
    change("turns/mine", "mine\n");
    fs::create_dir(world.work().join("elsewhere")).expect("makes");
    symlink(world.work().join("elsewhere"), host.join("deep")).expect("links");
    fs::remove_file(host.join("note.txt")).expect("removes");
    fs::remove_file(host.join("link")).expect("removes");
    symlink("mine", host.join("link")).expect("links");
    let before = tree(&host);
    let ran = ws(&world, &["pull", &id, "--json"]).ended(1);
    let error = &payload(&ran)["error"];
    assert_eq!(error["code"], "pull-conflict");
    let conflicts = error["conflicts"].as_array().expect("conflicts");
    let paths: Vec<_> = (conflicts.iter())
        .map(|conflict| conflict["path"].as_str().expect("a path"))
        .collect();
    let expected = [
        "bin",
        "deep",
        "deep/er",
        "deep/er/file",
        "gone",
        "link",
        "moved",
        "note.txt",
        "src/main.c",
        "turns",
    ];
    assert_eq!(paths, expected, "{error:#}");
    let reason = |path: &str| {
        let at = paths.iter().position(|known| *known == path).expect("told");
        conflicts[at]["reason"]
            .as_str()
            .expect("a reason")
            .to_owned()
    };
    assert!(reason("src/main.c").contains("at line 20"), "{error:#}");
    assert!(
        reason("deep/er").contains("`deep` is a link on the host"),
        "{error:#}"
    );
    assert!(reason("turns").contains("turns/mine"), "{error:#}");
    assert_eq!(tree(&host), before);
    let people = ws(&world, &["pull", &id, "--dry-run"]).ended(1);
    assert!(
        people.stderr().contains("10 paths do not go together"),
        "{}",
        people.text()
    );
    assert!(
        people.stdout().contains("added was-a-file/inner"),
        "{}",
        people.text()
    );
    assert_eq!(tree(&host), before);
    assert_eq!(tree(&world.work().join("elsewhere")), BTreeMap::new());
    assert!(!world.state().join("pulls").exists());
}

#[test]
fn changes_of_different_places_are_merged_unless_that_is_refused() {
    let world = rich();
    let id = create(&world, &[]);
    sh(
        &world,
        &id,
        "sed -i 's/^line 20$/twenty/' src/main.c; chmod 0755 renamed; chmod 0600 note.txt; echo more > was-a-file",
    );
    let host = repo(&world);
    let text = lines(40).replace("line 2\n", "two\nand a half\n");
    fs::write(host.join("src/main.c"), text).expect("writes");
    fs::write(host.join("renamed"), "mine\n").expect("writes");
    set_mode(&host.join("was-a-file"), 0o600);
    let before = tree(&host);
    let ran = ws(&world, &["pull", &id, "--exact"]).ended(1);
    assert!(ran.stderr().contains("merges nothing"), "{}", ran.text());
    assert_eq!(tree(&host), before);
    let ran = ws(&world, &["pull", &id]).ended(0);
    let told = ran.stdout();
    for word in [
        "merged src/main.c",
        "merged renamed",
        "merged was-a-file",
        "modified note.txt",
    ] {
        assert!(told.contains(word), "{word}: {told}");
    }
    let after = tree(&host);
    let merged = lines(40)
        .replace("line 2\n", "two\nand a half\n")
        .replace("line 20\n", "twenty\n");
    assert_eq!(after["src/main.c"], format!("644 {:?}", merged.as_bytes()));
    assert_eq!(after["renamed"], format!("755 {:?}", b"mine\n"));
    assert_eq!(after["was-a-file"], format!("600 {:?}", b"more\n"));
    assert_eq!(after["note.txt"], format!("600 {:?}", b"old\n"));
}

#[test]
fn the_host_may_have_a_change_already_and_another_directory_is_another_matter() {
    let world = rich();
    let id = create(&world, &["--name", "w"]);
    sh(
        &world,
        &id,
        "echo new > made; rm gone; sed -i 's/^line 20$/twenty/' src/main.c",
    );
    let copy = world.work().join("copy");
    let copied = Command::new("cp")
        .arg("-a")
        .args([&repo(&world), &copy])
        .status();
    assert!(copied.expect("cp is there").success());
    fs::write(copy.join("made"), "new\n").expect("writes");
    fs::remove_file(copy.join("gone")).expect("removes");
    let ran = ws(&world, &["pull", "w", "copy", "--json"]).ended(0);
    let told = payload(&ran);
    assert_eq!(told["summary"]["total"], 1, "{told:#}");
    assert_eq!(told["already"], 2, "{told:#}");
    ws(&world, &["pull", "w"]).ended(0);
    assert_eq!(tree(&repo(&world)), tree(&copy));
    // Without a directory to come from, one has to be said.
    let empty = world
        .pyro(["workspace", "create", "host", "--id-only"])
        .ended(0);
    let empty = empty.stdout().trim().to_owned();
    let ran = ws(&world, &["pull", &empty]).ended(2);
    assert!(ran.stderr().contains("has to be said"), "{}", ran.text());
    for (dir, code) in [
        ("missing", "pull-missing"),
        ("fix.patch", "pull-not-a-directory"),
    ] {
        let ran = ws(&world, &["pull", "w", dir, "--json"]).ended(1);
        assert!(ran.stdout().contains(code), "{}", ran.text());
    }
    let ran = ws(&world, &["pull", "w", "repo/.git", "--json"]).ended(1);
    assert!(ran.stdout().contains("pull-refused"), "{}", ran.text());
    let emitted = ws(&world, &["pull", "w", "copy", "--exact", "--emit", "toml"]).ended(0);
    assert!(
        emitted
            .stdout()
            .contains("pull = \"copy\"\nmatch = \"exact\"\n"),
        "{}",
        emitted.text()
    );
}

#[test]
fn a_fork_knows_what_its_origin_brought_home() {
    let world = rich();
    let id = create(&world, &[]);
    sh(
        &world,
        &id,
        "echo 1 > note2; sed -i 's/^line 20$/twenty/' src/main.c",
    );
    ws(&world, &["pull", &id]).ended(0);
    let fork = ws(&world, &["fork", &id, "--id-only"]).ended(0);
    let fork = fork.stdout().trim().to_owned();
    sh(
        &world,
        &fork,
        "echo 2 > note2; sed -i 's/^twenty$/vingt/' src/main.c",
    );
    ws(&world, &["pull", &fork]).ended(0);
    let note = fs::read_to_string(repo(&world).join("note2")).expect("there");
    assert_eq!(note, "2\n");
}

#[test]
fn a_directory_that_refuses_takes_nothing() {
    if is_root() {
        // Whom nothing refuses.
        return;
    }
    let world = rich();
    let id = create(&world, &[]);
    sh(
        &world,
        &id,
        "echo new > made; echo new > turns/made; echo new > src/made",
    );
    let closed = repo(&world).join("turns");
    set_mode(&closed, 0o555);
    let before = tree(&repo(&world));
    let ran = ws(&world, &["pull", &id, "--json"]).ended(1);
    let error = &payload(&ran)["error"];
    assert_eq!(error["code"], "pull-failed", "{error:#}");
    let message = error["message"].as_str().expect("text");
    assert!(
        message.contains("turns/made") && message.contains("denied"),
        "{message}"
    );
    assert_eq!(tree(&repo(&world)), before);
    set_mode(&closed, 0o755);
    ws(&world, &["pull", &id]).ended(0);
    assert!(repo(&world).join("turns/made").exists());
}

// proves: S40 S41 S42 S43 S44
#[test]
fn a_request_pulls_too_and_its_plan_says_what_it_writes() {
    let world = world();
    world.write("home/note.txt", "old\n");
    world.write(
        "request.pyro.toml",
        "pyro = 1\nworkspace.seed = \"repo\"\n\n[[step]]\nexec = \"echo new > note.txt\"\n\n\
         [[step]]\npull = \"home\"\ndry_run = true\n\n\
         [[step]]\npull = \"home\"\n\n[[step]]\nexec = \"echo newer > note.txt; mkdir .git; touch .git/x\"\n\n\
         [[step]]\npull = \"home\"\n\n[[step]]\npull = \"home\"\n",
    );
    let plan = world.pyro(["plan", "request.pyro.toml"]).ended(0).stdout();
    assert!(plan.contains("what changed -> home   HOST WRITE"), "{plan}");
    assert!(plan.contains("host writes 1"), "{plan}");
    world.pyro(["apply", "request.pyro.toml"]).ended(0);
    let note = fs::read_to_string(world.work().join("home/note.txt")).expect("there");
    assert_eq!(note, "newer\n");
    assert!(!world.work().join("home/.git").exists());
    let receipt = world.receipt();
    let pull = |step: usize| receipt["steps"][step]["pull"].clone();
    assert_eq!(pull(1)["changes"][0]["how"], "modified");
    assert_eq!(receipt["steps"][1]["host_files"], Value::Null);
    assert!(
        receipt["steps"][1]["text"]["text"]
            .as_str()
            .expect("a patch")
            .contains("+new")
    );
    assert_eq!(pull(2)["changes"][0]["path"]["text"], "note.txt");
    assert_eq!(receipt["host_files"].as_array().map(Vec::len), Some(2));
    assert_eq!(pull(5)["changes"], serde_json::json!([]));
    assert_eq!(
        receipt["steps"][5]["notes"][0],
        "2 changed paths of `.git` stay in the workspace"
    );
}

/// What files hold, by name; none where there is no such file.
type Files = BTreeMap<String, Option<String>>;

fn edit() -> impl Strategy<Value = (usize, u8, prop::sample::Index, u32)> {
    (
        0..4_usize,
        0..6_u8,
        any::<prop::sample::Index>(),
        0..100_u32,
    )
}

fn edited(files: &Files, edits: &[(usize, u8, prop::sample::Index, u32)], who: &str) -> Files {
    let mut files = files.clone();
    for (file, how, at, number) in edits {
        let held = files.entry(format!("d{}/f{file}", file % 2)).or_default();
        let mut lines: Vec<String> = held
            .as_deref()
            .unwrap_or_default()
            .split_inclusive('\n')
            .map(str::to_owned)
            .collect();
        let line = format!("{who} {number}\n");
        match how {
            0 => {
                *held = None;
                continue;
            }
            1 => lines.insert(at.index(lines.len() + 1), line),
            2 if !lines.is_empty() => drop(lines.remove(at.index(lines.len()))),
            _ if lines.is_empty() => lines.push(line),
            _ => {
                let at = at.index(lines.len());
                lines[at] = line;
            }
        }
        *held = Some(lines.concat());
    }
    files
}

fn lay(root: &Path, files: &Files) {
    fs::create_dir_all(root).expect("makes");
    for (name, text) in files {
        if let Some(text) = text {
            let path = root.join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
            fs::write(path, text).expect("writes");
        }
    }
}

fn found(root: &Path, files: &Files) -> Files {
    files
        .keys()
        .map(|name| (name.clone(), fs::read_to_string(root.join(name)).ok()))
        .collect()
}

/// What `git merge-file` makes of three texts, where it makes anything.
fn merged(folder: &Path, [base, theirs, ours]: [&str; 3]) -> Option<String> {
    for (name, text) in [("base", base), ("theirs", theirs), ("ours", ours)] {
        fs::write(folder.join(name), text).expect("writes");
    }
    let output = Command::new("git")
        .args(["merge-file", "-p", "ours", "base", "theirs"])
        .current_dir(folder)
        .output()
        .expect("git is there");
    (output.status.code() == Some(0)).then(|| String::from_utf8(output.stdout).expect("text"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// The result is the one of a merge by three ways, or nothing was changed.
    #[test]
    fn random_changes_of_both_sides_come_together_or_not_at_all(
        sizes in proptest::collection::vec(0..30_usize, 4),
        theirs in proptest::collection::vec(edit(), 0..6),
        ours in proptest::collection::vec(edit(), 0..6),
    ) {
        let base: Files = (sizes.iter().enumerate())
            .map(|(file, size)| (format!("d{}/f{file}", file % 2), (*size > 3).then(|| lines(*size))))
            .collect();
        let (theirs, ours) = (edited(&base, &theirs, "theirs"), edited(&base, &ours, "ours"));
        let world = World::new();
        lay(&world.work().join("seed"), &base);
        lay(&world.work().join("edit"), &theirs);
        let home = world.work().join("home");
        lay(&home, &ours);
        let mut gone: Vec<_> = theirs.iter().filter(|(_, text)| text.is_none()).collect();
        gone.retain(|(name, _)| base[*name].is_some());
        let gone: Vec<_> = gone.iter().map(|(name, _)| format!("\"{name}\"")).collect();
        let delete = match gone.is_empty() {
            true => String::new(),
            false => format!("[[step]]\ndelete = [{}]\nmissing = \"ignore\"\n\n", gone.join(", ")),
        };
        world.write(
            "request.pyro.toml",
            format!(
                "pyro = 1\nworkspace.seed = \"seed\"\n\n{delete}[[step]]\nsync = \"edit\"\n\n[[step]]\npull = \"home\"\n"
            ),
        );
        let ran = world.pyro(["apply", "request.pyro.toml"]);
        let after = found(&home, &base);
        let differ = |name: &String| {
            theirs[name] != base[name] && ours[name] != base[name] && ours[name] != theirs[name]
        };
        match ran.code {
            Some(0) => for (name, held) in &after {
                let expected = match (&base[name], &theirs[name], &ours[name]) {
                    (base, theirs, ours) if theirs == base => ours.clone(),
                    (base, theirs, ours) if ours == base || ours == theirs => theirs.clone(),
                    (Some(base), Some(theirs), Some(ours)) => {
                        merged(world.base(), [base, theirs, ours])
                    }
                    other => panic!("{name} is no conflict: {other:?}"),
                };
                prop_assert_eq!(held, &expected, "{}", name);
            },
            Some(4) => {
                prop_assert_eq!(&after, &ours);
                prop_assert!(base.keys().any(differ), "{}", ran.text());
                prop_assert!(ran.text().contains("go together"), "{}", ran.text());
            }
            other => panic!("{other:?}: {}", ran.text()),
        }
        prop_assert!(!world.state().join("pulls").exists());
    }
}

#[test]
fn two_pulls_into_one_directory_take_turns() {
    let world = rich();
    let (one, other) = (create(&world, &[]), create(&world, &[]));
    sh(
        &world,
        &one,
        "for n in $(seq 50); do echo one > one-$n; done; sed -i 's/^line 2$/one/' src/main.c",
    );
    sh(
        &world,
        &other,
        "for n in $(seq 50); do echo two > two-$n; done; sed -i 's/^line 30$/two/' src/main.c",
    );
    let first = crate::living::beside(&world, &["pull", &one]);
    let second = crate::living::beside(&world, &["pull", &other]);
    for child in [first, second] {
        world.ran(child.wait_with_output().expect("ends")).ended(0);
    }
    let main = fs::read_to_string(repo(&world).join("src/main.c")).expect("there");
    assert!(
        main.contains("\none\n") && main.contains("\ntwo\n"),
        "{main}"
    );
    assert_eq!(tree(&repo(&world)).len(), 100 + tree_of_rich());
    // Somebody who never lets go of it.
    let folder = fs::File::open(repo(&world)).expect("opens");
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::LockExclusive).expect("locks");
    sh(&world, &one, "echo more > more");
    let ran = ws(&world, &["pull", &one, "--json"]).ended(1);
    assert_eq!(
        payload(&ran)["error"]["code"],
        "pull-busy",
        "{}",
        ran.text()
    );
    assert!(!repo(&world).join("more").exists());
}

fn tree_of_rich() -> usize {
    tree(&repo(&rich())).len()
}

#[test]
fn what_a_program_writes_meanwhile_is_not_brought_home_by_half() {
    let world = rich();
    let id = create(&world, &[]);
    sh(
        &world,
        &id,
        "head -c 3000000 /dev/zero > busy; (while :; do echo x >> busy; done) > /dev/null 2>&1 &",
    );
    let mut before = tree(&repo(&world));
    let mut refused = 0;
    for _ in 0..20 {
        let ran = ws(&world, &["pull", &id, "--json"]);
        let told = payload(&ran);
        if ran.code == Some(0) {
            let taken = fs::read(repo(&world).join("busy")).expect("there");
            assert_eq!(told["entries"][0]["after"]["size"], taken.len());
            before = tree(&repo(&world));
            continue;
        }
        assert_eq!(tree(&repo(&world)), before);
        assert_eq!(told["error"]["code"], "pull-changed", "{}", ran.text());
        refused += 1;
    }
    assert!(refused > 0);
    assert!(!world.state().join("pulls").exists());
}

#[test]
fn an_owner_and_a_hard_link_of_the_host_are_what_they_were() {
    let world = rich();
    let id = create(&world, &[]);
    sh(&world, &id, "echo new > was-a-file");
    let path = repo(&world).join("was-a-file");
    let twin = world.work().join("twin");
    fs::hard_link(&path, &twin).expect("links");
    if is_root() {
        std::os::unix::fs::chown(&path, Some(4321), Some(4322)).expect("gives it away");
    }
    ws(&world, &["pull", &id]).ended(0);
    let meta = fs::metadata(&path).expect("there");
    if is_root() {
        assert_eq!((meta.uid(), meta.gid()), (4321, 4322));
    }
    assert_eq!(fs::read_to_string(&twin).expect("there"), "x\n");
    assert_eq!(fs::read_to_string(&path).expect("there"), "new\n");
}
