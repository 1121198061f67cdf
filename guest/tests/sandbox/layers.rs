//! Marks and resets of a sandbox whose system tree is an overlay on an image.

use super::Test;
use super::client::boot_in;
use super::link::Server;
use super::walls::image;
use pyro_protocol::Bytes;
use pyro_protocol::boot::{Boot, BootEnvironment};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub(crate) const TESTS: &[Test] = &[
    (
        "what_programs_do_to_an_image_is_kept_and_put_back",
        what_programs_do_to_an_image_is_kept_and_put_back,
    ),
    (
        "a_reset_of_an_image_leaves_the_sandbox_as_it_was",
        a_reset_of_an_image_leaves_the_sandbox_as_it_was,
    ),
    (
        "another_agent_shows_the_same_image",
        another_agent_shows_the_same_image,
    ),
];

/// All that programs see of the image and of what is in memory: kinds, modes, owners, times, links, contents.
const PICTURE: &str = "find / \\( -path /proc -o -path /dev -o -path /workspace \\) -prune \
     -o -type d -printf '%p %y %m %U %G %T@\\n' -o -printf '%p %y %m %U %G %T@ %s %l\\n' | sort; \
     find / \\( -path /proc -o -path /dev -o -path /workspace \\) -prune -o -type f -exec sha256sum {} + | sort";

/// What a program may do to an image, one after the other.
const DAMAGE: &[&str] = &[
    // Files of the image: changed, with another mode, gone, with another name.
    "echo more >> /data/file; chmod 600 /data/mode; rm /data/gone; mv /data/old /data/new",
    // Whole directories: gone, gone and made again, a file in the place of one and the other way round.
    "rm -r /data/dir; mkdir /data/dir; echo x > /data/dir/x; rm -r /data/deep; rm /data/file; mkdir -p /data/file/in",
    "rm -r /data/dir2; echo file > /data/dir2",
    // What was new is gone, what was gone comes back as something else.
    "rm -rf /data/dir; ln -s /data /data/gone; ln /data/new /data/hard; touch -d '2001-02-03 04:05:06.789' /data /etc",
    "mkdir -p '/data/a b\\c/d'; echo new > /etc/new; rm /data/link; mkdir /data/link; mkdir -p /opt/app; echo t > /tmp/t",
    "rm -rf /data /opt /tmp/t; mkdir /opt",
];

fn boot(folder: &Path) -> Boot {
    let root = image_with_data(folder);
    boot_on(folder, &root)
}

/// A boot message for a sandbox on that image, which may be in use by others.
pub(crate) fn boot_on(folder: &Path, image: &Bytes) -> Boot {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("chmods");
    let mut boot = boot_in(folder);
    boot.environment = BootEnvironment::Dir(image.clone());
    boot
}

/// An image with something in it to be changed.
pub(crate) fn image_with_data(folder: &Path) -> Bytes {
    let programs = [
        "find",
        "sha256sum",
        "sort",
        "chmod",
        "touch",
        "ln",
        "mkfifo",
    ];
    let root = image(folder, &programs);
    let data = folder.join("image/data");
    for (path, text) in [
        ("file", "some text\n"),
        ("mode", "x"),
        ("gone", "soon"),
        ("old", "a name"),
        ("dir/one", "1"),
        ("dir/sub/two", "2"),
        ("dir2/three", "3"),
        ("deep/er/est", "4"),
    ] {
        let path = data.join(path);
        fs::create_dir_all(path.parent().expect("has one")).expect("makes a folder");
        fs::write(path, text).expect("writes");
    }
    std::os::unix::fs::symlink("file", data.join("link")).expect("links");
    root
}

fn what_programs_do_to_an_image_is_kept_and_put_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = Server::boot(&boot(folder.path()));
    assert_eq!(server.ready.notes, Vec::<String>::new());
    server.mark("baseline");
    server.mark("m0");
    let mut pictures = vec![server.sh(PICTURE)];
    for (number, damage) in DAMAGE.iter().enumerate() {
        server.sh(damage);
        let damaged = server.sh(PICTURE);
        assert_ne!(damaged, pictures[number], "{damage}");
        pictures.push(damaged);
        server.mark(&format!("m{}", number + 1));
        // Back by one, and here again.
        for to in [number, number + 1] {
            assert!(server.reset(&format!("m{to}")) > 0);
            assert_eq!(server.sh(PICTURE), pictures[to], "to {to} after {damage}");
        }
        assert_eq!(server.reset(&format!("m{}", number + 1)), 0, "{damage}");
    }
    for to in [0, 6, 2, 5, 1, 4, 3, 0, 3, 6] {
        server.reset(&format!("m{to}"));
        assert_eq!(server.sh(PICTURE), pictures[to], "to {to}");
    }
    server.reset("baseline");
    assert_eq!(server.sh(PICTURE), pictures[0]);
    // The image itself was never written to, and nothing is left beside the layer.
    let image = folder.path().join("image/data");
    assert_eq!(fs::read(image.join("file")).expect("there"), b"some text\n");
    let beside = fs::read_dir(folder.path().join("run/system")).expect("there");
    let mut beside: Vec<_> = beside
        .map(|entry| entry.expect("an entry").file_name())
        .collect();
    beside.sort();
    assert_eq!(beside, ["upper", "work"]);
}

fn a_reset_of_an_image_leaves_the_sandbox_as_it_was() {
    let folder = tempfile::tempdir().expect("a folder");
    // Not below /tmp, of which the sandbox has its own.
    let other = tempfile::tempdir_in("/var/tmp").expect("a folder");
    fs::set_permissions(other.path(), fs::Permissions::from_mode(0o755)).expect("chmods");
    let exposed = other.path().join("exposed here");
    fs::create_dir(&exposed).expect("makes a folder");
    fs::write(exposed.join("file"), "shown").expect("writes");
    let mut boot = boot(folder.path());
    let exposed = exposed.to_str().expect("text").to_owned();
    boot.expose = vec![exposed.as_str().into()];
    let mut server = Server::boot(&boot);
    server.mark("baseline");
    // Without the numbers that every mount has of its own.
    let mounts = "cat /proc/self/mountinfo | while read id parent device rest; do echo \"$rest\"; done | sort";
    let before = server.sh(mounts);
    let see = format!("cat '{exposed}/file' /workspace/w; ls /dev /proc/self/fd; cat /tmp/t");
    server.sh("echo work > /workspace/w; echo t > /tmp/t; echo e > /etc/e");
    server.mark("m");
    let seen = server.sh(&see);
    for round in 0..20 {
        server.sh("echo x > /data/x; echo x > /workspace/w; rm /tmp/t; rm -rf /data/dir");
        // One that lives on is ended, wherever it stands.
        server.sh("cd /data; sleep_forever() { while :; do cat /proc/self/stat > /dev/null; done; }; sleep_forever &");
        assert!(server.reset("m") > 0);
        assert_eq!(server.sh(mounts), before, "round {round}");
        assert_eq!(server.sh(&see), seen, "round {round}");
        assert_eq!(server.sh("cat /etc/e; ls /data/dir"), "e\none\nsub\n");
    }
    // What is mounted in the agent's own namespace did not grow either.
    let agent = fs::read_to_string(format!("/proc/{}/mountinfo", server.ready.agent_pid));
    if let Ok(text) = agent {
        assert!(text.lines().count() < 40, "{text}");
    }
}

/// A layer is of the folder, not of the agent: the next one shows what the last one left, also in mid-change.
fn another_agent_shows_the_same_image() {
    let folder = tempfile::tempdir().expect("a folder");
    let boot = boot(folder.path());
    let mut server = Server::boot(&boot);
    server.mark("baseline");
    server.sh("echo more >> /data/file; rm -r /data/dir; mkdir /data/dir");
    let picture = server.sh("cat /data/file; ls -A /data/dir /etc");
    server.mark("m");
    drop(server);
    let system = folder.path().join("run/system");
    // Killed while what was in the old layer moved to the new one.
    fs::rename(system.join("upper"), system.join("upper.old")).expect("renames");
    let mut server = Server::boot(&boot);
    assert_eq!(server.ready.notes, Vec::<String>::new());
    assert_eq!(server.sh("cat /data/file; ls -A /data/dir /etc"), picture);
    server.sh("rm -r /data");
    drop(server);
    // Killed within a reset: the next one finishes it.
    fs::write(folder.path().join("run/marks/.resetting"), "m").expect("noted");
    let mut server = Server::boot(&boot);
    assert_eq!(server.sh("cat /data/file; ls -A /data/dir /etc"), picture);
    server.reset("baseline");
    assert_eq!(
        server.sh("cat /data/file; ls -A /data/dir"),
        "some text\none\nsub\n"
    );
}
