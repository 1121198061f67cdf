//! Where pyro runs as somebody else than usual: as root of a user namespace, and where namespaces are forbidden.

use crate::harness::{Ran, World, binary, is_root};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::process::Command;

/// Somebody without a name and without files.
const NOBODY: u32 = 64123;

/// `pyro` started by a script of an ordinary user, `$PYRO`, in a new user namespace made with these flags of `unshare`.
fn as_user(world: &World, flags: &[&str], script: &str) -> Ran {
    let own = world.base().join("pyro");
    let state = world.state();
    let mut words = vec!["unshare", "--user"];
    words.extend(flags);
    words.extend(["sh", "-c", script]);
    if is_root() {
        fs::copy(binary(), &own).expect("a copy that others may run");
        fs::set_permissions(&own, fs::Permissions::from_mode(0o755)).expect("sets the mode");
        fs::create_dir_all(&state).expect("a new folder");
        chown(&state, Some(NOBODY), Some(NOBODY)).expect("gives it away");
        let ids = [
            "setpriv",
            "--reuid=64123",
            "--regid=64123",
            "--clear-groups",
        ];
        words.splice(0..0, ids);
    } else if !own.exists() {
        std::os::unix::fs::symlink(binary(), &own).expect("a link");
    }
    let output = Command::new(words[0])
        .args(&words[1..])
        .current_dir(world.base())
        .env("PYRO", &own)
        .env("PYRO_STATE_DIR", state)
        .env("HOME", world.base())
        .output();
    world.ran(output.expect("starts"))
}

#[expect(clippy::print_stdout, reason = "a skipped test says why")]
fn only_root() {
    println!("skipped: only root can be the host's root");
}

#[test]
fn root_of_a_user_namespace_is_an_ordinary_user() {
    let world = World::new();
    let script = "\"$PYRO\" workspace create host --name a --id-only >/dev/null \
                  && \"$PYRO\" workspace exec a -- sh -c 'id -u; echo 1 >/proc/sys/kernel/panic || echo refused' \
                  && \"$PYRO\" workspace delete a >/dev/null && \"$PYRO\" doctor";
    let ran = as_user(&world, &["--map-root-user"], script).ended(0);
    let shown = ran.stdout();
    assert!(shown.starts_with("0\nrefused\n"), "{}", ran.text());
    assert!(
        shown.contains("pyro works here: namespaces of an ordinary user"),
        "{}",
        ran.text()
    );
}

#[test]
fn the_hosts_root_is_nobodys_root_inside() {
    if !is_root() {
        only_root();
        return;
    }
    for number in ["0", "1000"] {
        let world = World::new();
        let output = Command::new("unshare")
            .args(["--user", "--map-user", number])
            .arg(binary())
            .arg("doctor")
            .env("PYRO_STATE_DIR", world.state())
            .output();
        let ran = world.ran(output.expect("starts")).ended(5);
        let shown = ran.stdout();
        assert!(
            shown.contains("\nid-map ") && shown.contains("this is the host's root"),
            "as {number}: {}",
            ran.text()
        );
    }
}

#[test]
fn the_doctor_names_what_is_forbidden_and_what_to_do() {
    let world = World::new();
    let forbidden = "echo 0 >/proc/sys/user/max_user_namespaces && exec \"$PYRO\"";
    let flags = ["--map-current-user", "--keep-caps"];
    let ran = as_user(&world, &flags, &format!("{forbidden} doctor")).ended(5);
    let shown = ran.stdout();
    assert!(
        shown.contains("\nouter-namespaces    FAILED")
            && shown.contains("sudo sysctl -w user.max_user_namespaces=15000"),
        "{}",
        ran.text()
    );
    let ran = as_user(&world, &flags, &format!("{forbidden} doctor --json")).ended(5);
    assert_eq!(ran.json()["ok"], false);
    // A run that cannot be sends there.
    let ran = as_user(&world, &flags, &format!("{forbidden} run host -- true")).ended(125);
    assert!(ran.stderr().contains("pyro doctor"), "{}", ran.text());
}
