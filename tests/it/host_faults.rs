//! What goes wrong on the host, or is made to: full disks, folders that refuse, a guest that swaps what is exported.
//! Each time a clear error, and nothing changed.

use crate::harness::{Ran, World, binary, is_root};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs `pyro` where each of these folders is a file system of its own, of that many KiB and, except for what is
/// free in it, full. Nothing where this user may not mount.
fn with_full_disks(world: &World, disks: &[(&Path, u32, u32)], args: &[&str]) -> Option<Ran> {
    let mut script = String::new();
    for (folder, size, free) in disks {
        fs::create_dir_all(folder).expect("makes");
        // A state directory is its owner's alone.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700)).expect("closes");
        let (folder, fill) = (folder.display(), size - free);
        script.push_str(&format!(
            "mount -t tmpfs -o size={size}k,mode=0700 tmpfs '{folder}'\n\
             head -c {fill}k /dev/zero > '{folder}/filler'\n"
        ));
    }
    // Root of a user namespace has no ids to give away, so pyro runs as somebody else again.
    let (outer, inner): (&[&str], &str) = match is_root() {
        true => (&["-m"], ""),
        false => (&["-rm"], "unshare -U --map-user=1000 --map-group=1000 "),
    };
    let possible = Command::new("unshare")
        .args(outer)
        .args([
            "sh",
            "-ec",
            &format!("mount -t tmpfs tmpfs /mnt; {inner}true"),
        ])
        .output()
        .is_ok_and(|output| output.status.success());
    if !possible {
        return None;
    }
    script.push_str(&format!("exec {inner}\"$@\"\n"));
    let output = world
        .command(args)
        .get_envs()
        .fold(Command::new("unshare"), |mut command, (name, value)| {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
            command
        })
        .args(outer)
        .args(["sh", "-eu", "-c", &script, "sh"])
        .arg(binary())
        .args(args)
        .current_dir(world.work())
        .output();
    Some(world.ran(output.expect("unshare starts")))
}

#[expect(clippy::print_stdout, reason = "a skipped test says why")]
fn skipped() {
    println!("skipped: this user may not mount a file system of their own");
}

/// Names in a folder.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn a_full_disk_takes_no_half_of_an_export() {
    let world = World::with(
        "pyro = 1\n\n[[step]]\nexec = \"mkdir d; head -c 3000000 /dev/zero > d/big; echo small > d/small\"\n\n\
         [[step]]\nid = \"take\"\nexport = \"d\"\nto = \"full/sub/d\"\n\n\
         [[step]]\nalways = true\nexec = \"true\"\n",
    );
    let full = world.work().join("full");
    // What lies on the small disk is gone with it, so it is listed in there.
    world.write("list", "#!/bin/sh\n");
    let Some(ran) = with_full_disks(
        &world,
        &[(&full, 2048, 1024)],
        &["apply", "request.pyro.toml"],
    ) else {
        return skipped();
    };
    let ran = ran.ended(4);
    assert!(
        ran.text().contains("No space left on device"),
        "{}",
        ran.text()
    );
    let receipt = world.receipt();
    assert_eq!(receipt["steps"][1]["outcome"], "failed");
    assert_eq!(receipt["steps"][2]["outcome"], "passed");
    assert_eq!(receipt["host_files"], serde_json::json!([]));
    assert_eq!(world.runs(), Vec::<PathBuf>::new());
}

#[test]
fn a_full_disk_takes_no_half_of_a_pull() {
    let world = World::with(
        "pyro = 1\n\n[[step]]\nexec = \"mkdir a; echo small > a/small; head -c 3000000 /dev/zero > big\"\n\n\
         [[step]]\npull = \"full\"\n\n\
         [[step]]\nalways = true\nsync = \"full\"\nto = \"seen\"\n\n\
         [[step]]\nalways = true\nlist = \"seen\"\nrecursive = true\n",
    );
    let full = world.work().join("full");
    let Some(ran) = with_full_disks(
        &world,
        &[(&full, 2048, 1024)],
        &["apply", "request.pyro.toml"],
    ) else {
        return skipped();
    };
    ran.ended(4);
    let receipt = world.receipt();
    let refusal = &receipt["steps"][1]["refusal"];
    assert_eq!(refusal["code"], "pull-failed", "{refusal:#}");
    let message = refusal["message"].as_str().expect("text");
    assert!(message.contains("No space left on device"), "{message}");
    let seen = receipt["steps"][3]["text"].to_string();
    assert!(seen.contains("seen/filler"), "{seen}");
    assert_eq!(seen.matches("seen/").count(), 1, "{seen}");
    assert_eq!(receipt["host_files"], serde_json::json!([]));
    assert!(!world.state().join("pulls").exists());
    assert_eq!(world.runs(), Vec::<PathBuf>::new());
}

#[test]
fn a_full_disk_under_the_work_tree_loses_the_run_and_says_why() {
    let world = World::with("pyro = 1\nworkspace.seed = \"seed\"\n\n[[step]]\nexec = [\"true\"]\n");
    world.write("seed/big", vec![b'x'; 3_000_000]);
    fs::create_dir_all(world.state()).expect("makes");
    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o700)).expect("closes");
    let runs = world.state().join("runs");
    let Some(ran) = with_full_disks(
        &world,
        &[(&runs, 2048, 1024)],
        &["apply", "request.pyro.toml"],
    ) else {
        return skipped();
    };
    let ran = ran.ended(5);
    assert!(
        ran.text().contains("No space left on device"),
        "{}",
        ran.text()
    );
    let receipt = world.receipt();
    assert_eq!(receipt["outcome"], "lost");
    let lost = receipt["lost"].as_str().expect("a reason");
    assert!(lost.starts_with("could not fill the workspace"), "{lost}");
    assert_eq!(receipt["steps"][0]["outcome"], "not_run");
    assert_eq!(
        fs::read(world.work().join("seed/big"))
            .expect("is there")
            .len(),
        3_000_000
    );
}

#[test]
fn a_full_disk_takes_no_receipt_and_the_run_says_so() {
    let world = World::with("pyro = 1\n\n[[step]]\nexec = [\"true\"]\n");
    fs::create_dir_all(world.state()).expect("makes");
    fs::set_permissions(world.state(), fs::Permissions::from_mode(0o700)).expect("closes");
    let receipts = world.state().join("receipts");
    let Some(ran) = with_full_disks(
        &world,
        &[(&receipts, 256, 0)],
        &["apply", "request.pyro.toml"],
    ) else {
        return skipped();
    };
    let ran = ran.ended(5);
    let text = ran.text();
    assert!(
        text.contains("could not write the receipt") || text.contains("write the receipt"),
        "{text}"
    );
    assert!(text.contains("No space left on device"), "{text}");
    assert_eq!(world.runs(), Vec::<PathBuf>::new(), "{text}");
    // Where the user wants it as well: the run itself is not touched by that.
    let full = world.work().join("full");
    let args = [
        "apply",
        "request.pyro.toml",
        "--receipt",
        "full/receipt.json",
    ];
    let Some(ran) = with_full_disks(&world, &[(&full, 256, 0)], &args) else {
        return skipped();
    };
    let ran = ran.ended(5);
    assert!(
        ran.stderr().contains("could not write the receipt"),
        "{}",
        ran.text()
    );
    assert_eq!(world.receipt()["outcome"], "passed");
}

#[test]
fn ten_megabytes_of_arguments_are_told_and_nothing_starts() {
    let argument = "x".repeat(100_000);
    let list = vec![argument; 100];
    let request = serde_json::json!({
        "pyro": 1,
        "step": [
            { "exec": std::iter::once("true".to_owned()).chain(list).collect::<Vec<_>>() },
            { "exec": ["true"], "always": true },
        ],
    });
    let world = World::new();
    world.write("request.pyro.json", request.to_string());
    let ran = world.pyro(["apply", "request.pyro.json"]).ended(4);
    let receipt = world.receipt();
    let exec = &receipt["steps"][0]["exec"];
    let reason = exec["not_started"].as_str().unwrap_or_default();
    let refusal = receipt["steps"][0]["refusal"]["message"]
        .as_str()
        .unwrap_or_default();
    assert_eq!(receipt["steps"][0]["refusal"]["code"], "too-large");
    assert!(
        refusal.contains("a message has 4194304 at most") && reason.is_empty(),
        "{refusal}"
    );
    assert_eq!(receipt["steps"][1]["outcome"], "passed");
    assert!(ran.text().len() < 100_000, "a message is not ten megabytes");
}

#[test]
fn a_guest_that_swaps_directory_and_link_gives_nothing_of_elsewhere() {
    let mut request = String::from(
        "pyro = 1\n\n[[step]]\n\
         exec = \"mkdir d; echo inside > d/hosts; echo inside > d/passwd; (while :; do mv d e; ln -s /etc d; rm d; mv e d; done) >/dev/null 2>&1 &\"\n",
    );
    let rounds = 25;
    for round in 0..rounds {
        request.push_str(&format!(
            "\n[[step]]\nalways = true\nexport = \"d\"\nto = \"out/{round}\"\n\
             \n[[step]]\nalways = true\nexport = \"d/hosts\"\nto = \"file/{round}\"\n"
        ));
    }
    let world = World::with(&request);
    let ran = world.pyro(["apply", "request.pyro.toml"]);
    // Whether a step met the directory, the link or nothing is chance; what it took is not.
    assert!(matches!(ran.code, Some(0 | 4)), "{}", ran.text());
    for round in 0..rounds {
        let out = world.work().join(format!("out/{round}"));
        let taken = names(&out);
        let ours = ["hosts", "passwd"];
        assert!(
            taken.iter().all(|name| ours.contains(&&**name)),
            "{taken:?}"
        );
        let file = world.work().join(format!("file/{round}"));
        let files = taken.iter().map(|name| out.join(name)).chain([file]);
        for file in files.filter(|file| file.exists()) {
            assert_eq!(
                fs::read_to_string(&file).expect("readable"),
                "inside\n",
                "{file:?}"
            );
        }
    }
    for folder in ["out", "file"] {
        let left = names(&world.work().join(folder));
        assert!(
            left.iter().all(|name| !name.starts_with(".pyro-")),
            "{left:?}"
        );
    }
}

#[test]
fn a_host_that_swaps_the_target_for_a_link_during_the_run_is_not_written_through() {
    let world = World::with(
        "pyro = 1\n\n[[step]]\nexec = \"echo taken > f; touch started; while [ ! -e never ]; do sleep 0.05; test $((i=i+1)) -gt 40 && break; done; true\"\n\n\
         [[step]]\nexport = \"f\"\nto = \"out/f\"\n",
    );
    let elsewhere = world.base().join("elsewhere");
    fs::create_dir(&elsewhere).expect("makes");
    fs::create_dir(world.work().join("out")).expect("makes");
    let mut pyro = world
        .command(["apply", "request.pyro.toml"])
        .spawn()
        .expect("pyro starts");
    crate::harness::wait_for("the program", || {
        world
            .runs()
            .iter()
            .any(|run| run.join("tree/started").exists())
    });
    fs::remove_dir(world.work().join("out")).expect("removes");
    symlink(&elsewhere, world.work().join("out")).expect("links");
    let status = pyro.wait().expect("ends");
    assert_eq!(status.code(), Some(4));
    assert_eq!(names(&elsewhere), Vec::<String>::new());
    let message = world.receipt()["steps"][1]["refusal"]["message"].to_string();
    assert!(
        message.contains("nothing is written through links"),
        "{message}"
    );
}

#[test]
fn a_folder_that_refuses_is_told_before_anything_runs() {
    if is_root() {
        // Whom no folder refuses.
        return;
    }
    let world = World::with(
        "pyro = 1\n\n[[step]]\nexec = [\"true\"]\n\n[[step]]\nexport = \"f\"\nto = \"closed/f\"\n",
    );
    let closed = world.work().join("closed");
    fs::create_dir(&closed).expect("makes");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).expect("closes");
    let ran = world.pyro(["apply", "request.pyro.toml"]).ended(3);
    assert!(ran.stderr().contains("export-parent"), "{}", ran.text());
    assert!(
        !world.state().join("receipts").exists()
            || names(&world.state().join("receipts")).is_empty()
    );
}

/// Runs `pyro` where no file may have more than this many KiB.
fn with_small_files(world: &World, limit: u32, args: &[&str]) -> Ran {
    let command = world.command(args);
    let mut shell = Command::new("sh");
    // The unit of `ulimit -f` is 512 bytes.
    let script = format!("ulimit -f {} && exec \"$@\"", limit * 2);
    shell
        .args(["-c", &script, "sh"])
        .arg(binary())
        .args(args)
        .current_dir(world.work());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    world.ran(shell.output().expect("sh starts"))
}

#[test]
fn a_limit_on_the_size_of_files_is_told_and_ends_nobody_but_programs() {
    let world = World::with(
        "pyro = 1\n\n[[step]]\nwrite.\"a\" = { from = \"big\" }\n\n\
         [[step]]\nalways = true\nexec = \"head -c 30000000 /dev/zero > b\"\nexpect.exit = 153\n\n\
         [[step]]\nalways = true\nexec = \"head -c 30000000 /dev/zero\"\n\n\
         [[step]]\nalways = true\nexec = \"test ! -e a && wc -c < b\"\nexpect.stdout.equals = \"20480000\\n\"\n",
    );
    world.write("big", vec![0; 30_000_000]);
    let ran = with_small_files(&world, 20_000, &["apply", "request.pyro.toml"]).ended(4);
    let receipt = world.receipt();
    let outcomes: Vec<_> = (0..4)
        .map(|step| receipt["steps"][step]["outcome"].as_str())
        .collect();
    let passed = Some("passed");
    assert_eq!(
        outcomes,
        [Some("failed"), passed, passed, passed],
        "{}",
        ran.text()
    );
    assert_eq!(receipt["steps"][0]["refusal"]["code"], "no-space");
    // A seed that does not fit: told, and nothing is left.
    world.write("seed/big", vec![0; 30_000_000]);
    world.write(
        "request.pyro.toml",
        "pyro = 1\nworkspace.seed = \"seed\"\n\n[[step]]\nexec = [\"true\"]\n",
    );
    let ran = with_small_files(&world, 20_000, &["apply", "request.pyro.toml"]).ended(5);
    assert!(ran.text().contains("File too large"), "{}", ran.text());
    assert_eq!(world.receipt()["outcome"], "lost");
    assert_eq!(world.runs(), Vec::<PathBuf>::new());
}

#[test]
fn a_baseline_that_is_gone_refuses_the_diff() {
    let world = World::with(
        "pyro = 1\nworkspace.seed = \"seed\"\n\n\
         [[step]]\nexec = \"echo new > f; touch started; until [ -e go ]; do sleep 0.01; done\"\n\n\
         [[step]]\ndiff = \"baseline\"\n",
    );
    world.write("seed/f", "old\n");
    let pyro = world
        .command(["apply", "request.pyro.toml"])
        .spawn()
        .expect("pyro starts");
    let started = || {
        let runs = world.runs().into_iter();
        runs.map(|run| run.join("tree"))
            .find(|tree| tree.join("started").exists())
    };
    crate::harness::wait_for("the program", || started().is_some());
    let tree = started().expect("it started");
    let run = tree.parent().expect("of a run");
    fs::OpenOptions::new()
        .write(true)
        .truncate(true)
        .open(run.join("pack"))
        .expect("empties");
    fs::write(tree.join("go"), "").expect("writes");
    world.ran(pyro.wait_with_output().expect("ends")).ended(4);
    let step = &world.receipt()["steps"][1];
    assert_eq!(step["refusal"]["code"], "baseline-unreadable", "{step:#}");
}

/// A process that ends with the test, however that ends.
struct Ended(std::process::Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_seed_that_changes_while_it_is_read_is_told() {
    let world = World::with("pyro = 1\nworkspace.seed = \"seed\"\n\n[[step]]\nexec = [\"true\"]\n");
    // Too small to be cloned, which takes a moment and no more.
    for number in 0..20 {
        world.write(&format!("seed/{number}"), vec![b'x'; 200_000]);
    }
    let writer = Command::new("sh")
        .args([
            "-c",
            "while :; do for file in seed/*; do echo >> $file; done; done",
        ])
        .current_dir(world.work())
        .spawn();
    let writer = Ended(writer.expect("sh starts"));
    let mut lost = None;
    crate::harness::wait_for("the copy to meet a change", || {
        let ran = world.pyro(["apply", "request.pyro.toml"]);
        if ran.code == Some(5) {
            lost = Some(ran);
        } else {
            assert_eq!(ran.code, Some(0), "{}", ran.text());
        }
        lost.is_some()
    });
    drop(writer);
    let told = lost.expect("it was waited for").text();
    assert!(told.contains("it changed while it was read"), "{told}");
    assert!(told.contains("/seed/"), "{told}");
    let receipt = world.receipt();
    assert_eq!(receipt["outcome"], "lost");
    assert_eq!(receipt["steps"][0]["outcome"], "not_run");
    assert_eq!(world.runs(), Vec::<PathBuf>::new());
}

#[test]
fn a_seed_that_leads_to_itself_is_told() {
    let world = World::with("pyro = 1\nworkspace.seed = \"seed\"\n");
    symlink("seed", world.work().join("seed")).expect("links");
    let ran = world.pyro(["apply", "request.pyro.toml"]).ended(3);
    assert!(
        ran.stderr().contains("Too many levels of symbolic links")
            || ran.stderr().contains("too many levels of symbolic links"),
        "{}",
        ran.text()
    );
    assert!(!world.state().join("receipts").exists(), "nothing ran");
}
