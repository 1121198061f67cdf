//! What programs cannot do: each wall is tried from inside.

use super::Test;
use super::client::{Host, boot_in, ids, start};
use super::probe;
use pyro_protocol::Bytes;
use pyro_protocol::boot::{BootEnvironment, BootReply, BootStep, Ids};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

pub(crate) const TESTS: &[Test] = &[
    ("system_calls_are_refused", system_calls_are_refused),
    ("the_host_is_out_of_sight", the_host_is_out_of_sight),
    (
        "nothing_of_the_system_is_writable",
        nothing_of_the_system_is_writable,
    ),
    (
        "init_and_agent_are_out_of_reach",
        init_and_agent_are_out_of_reach,
    ),
    ("setuid_gains_nothing", setuid_gains_nothing),
    ("limits_hold", limits_hold),
    (
        "what_the_user_has_elsewhere_is_left",
        what_the_user_has_elsewhere_is_left,
    ),
    ("two_sandboxes_do_not_meet", two_sandboxes_do_not_meet),
    ("exposed_paths_are_read_only", exposed_paths_are_read_only),
    (
        "some_places_cannot_be_exposed",
        some_places_cannot_be_exposed,
    ),
    (
        "a_directory_is_an_environment",
        a_directory_is_an_environment,
    ),
    (
        "an_image_of_somebody_else_boots",
        an_image_of_somebody_else_boots,
    ),
    (
        "an_image_without_a_shell_boots",
        an_image_without_a_shell_boots,
    ),
];

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;
const ENOSYS: i32 = 38;
const EPROTONOSUPPORT: i32 = 93;
const EAFNOSUPPORT: i32 = 97;
const ECONNREFUSED: i32 = 111;

#[rustfmt::skip]
const ATTEMPTS: &[(&str, i32)] = &[
    ("mount", EPERM), ("remount", EPERM), ("umount", EPERM), ("move_mount", EPERM), ("open_tree", EPERM),
    ("fsopen", EPERM), ("mount_setattr", EPERM), ("pivot_root", EPERM), ("chroot", EPERM),
    ("unshare_user", EPERM), ("unshare_mount", EPERM), ("unshare_net", EPERM),
    ("clone_user", EPERM), ("clone_user_high", EPERM), ("clone_pid", EPERM), ("clone_parent", EPERM), ("clone3", ENOSYS), ("setns", EPERM),
    ("bpf", EPERM), ("io_uring_setup", EPERM), ("io_uring_enter", EPERM), ("io_uring_register", EPERM),
    ("userfaultfd", EPERM), ("keyctl", EPERM), ("add_key", EPERM), ("request_key", EPERM), ("perf_event_open", EPERM),
    ("ptrace_init", EPERM), ("seize_init", EPERM), ("read_init", EPERM), ("pidfd_getfd", EPERM), ("kcmp", EPERM),
    ("raise_processes", EPERM), ("raise_files", EPERM), ("raise_memory", EPERM),
    ("raise_cores", EPERM),
    ("tiocsti", EPERM), ("tiocsti_high", EPERM), ("tioclinux", EPERM), ("tioclinux_high", EPERM),
    ("vsock", EAFNOSUPPORT), ("alg", EAFNOSUPPORT), ("packet", EAFNOSUPPORT), ("packet_high", EAFNOSUPPORT),
    ("raw", EPERM), ("raw6", EPERM), ("audit", EPROTONOSUPPORT), ("route", 0), ("tcp", 0), ("unix", 0),
    ("device", EPERM), ("disk", EPERM), ("fifo", 0), ("open_by_handle_at", EPERM), ("name_to_handle_at", EPERM),
    ("reboot", EPERM), ("kexec_load", EPERM), ("init_module", EPERM), ("swapon", EPERM), ("syslog", EPERM),
    ("acct", EPERM), ("quotactl", EPERM), ("settimeofday", EPERM), ("clock_settime", EPERM), ("sethostname", EPERM),
    ("personality", EPERM), ("nice", EACCES), ("realtime", EPERM), ("chown", 0), ("x32", ENOSYS),
    ("unheard_of", ENOSYS), ("abstract", ECONNREFUSED),
    ("clone_net", EPERM), ("clone_mount_high", EPERM), ("unshare_pid", EPERM), ("unshare_ipc", EPERM), ("unshare_uts", EPERM),
    ("unshare_cgroup", EPERM), ("unshare_time", EPERM), ("unshare_user_high", EPERM), ("setns_own", EPERM),
    ("parent_of_pids", EPERM), ("parent_of_users", EPERM), ("owner_of_net", EPERM), ("namespaces_of_init", EACCES),
    ("pidfd_of_init", EACCES), ("signal_init", 0), ("tiocsetd", EPERM), ("tiocsetd_high", EPERM),
    ("sctp", EPERM), ("sctp_by_name", EPROTONOSUPPORT), ("dccp", EPERM), ("mptcp", EPROTONOSUPPORT), ("udplite", EPROTONOSUPPORT),
    ("netfilter", EPROTONOSUPPORT), ("uevents", EPROTONOSUPPORT), ("transparent", EPERM), ("mark", EPERM),
    ("send_buffer", EPERM), ("packet_filter", EPERM), ("whiteout", EACCES), ("immutable", EPERM), ("freeze_disk", EPERM),
    ("shut_disk_down", EPERM), ("label_disk", EPERM), ("fanotify", EPERM), ("statmount", EPERM), ("listmount", EPERM),
    ("open_tree_attr", EPERM), ("fsmount", EPERM), ("fspick", EPERM), ("quotactl_fd", EPERM), ("set_mm", EPERM), ("ambient", EPERM),
    ("new_privileges", EINVAL), ("uid_map", EPERM), ("core_pattern", EACCES), ("user_limits", EACCES), ("oom_below", EACCES),
    ("init_memory", EACCES), ("init_root", EACCES), ("init_program", EACCES), ("kernel_log", EACCES),
    ("ioperm", EPERM), ("iopl", EPERM), ("modify_ldt", ENOSYS), ("move_pages", EPERM), ("migrate_pages", EPERM), ("adjtimex", EPERM),
    ("setdomainname", EPERM), ("kexec_file_load", EPERM), ("finit_module", EPERM), ("delete_module", EPERM), ("x32_clone", ENOSYS),
];

/// Carries this program into the work tree, as `probe`.
fn carry_probe(host: &Host) {
    let probe = host.tree().join("probe");
    fs::copy(std::env::current_exe().expect("knows itself"), &probe).expect("copies");
    fs::set_permissions(&probe, fs::Permissions::from_mode(0o755)).expect("chmods");
}

fn system_calls_are_refused() {
    use std::os::linux::net::SocketAddrExt as _;
    let address =
        std::os::unix::net::SocketAddr::from_abstract_name(probe::ABSTRACT).expect("a name");
    // Kept when another run of this test has it: then that one listens.
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address);
    let mut host = Host::boot(|_, _| {});
    carry_probe(&host);
    let mut argv = vec!["./probe", "--probe"];
    argv.extend(ATTEMPTS.iter().map(|(name, _)| *name));
    let answer = host.run(&argv);
    let wanted: String = ATTEMPTS
        .iter()
        .map(|(name, errno)| format!("{name} {errno}\n"))
        .collect();
    assert_eq!(answer.code, 0, "{}", answer.out);
    for (got, wanted) in answer.out.lines().zip(wanted.lines()) {
        assert_eq!(got, wanted);
    }
    assert_eq!(answer.out.lines().count(), ATTEMPTS.len());
}

fn the_host_is_out_of_sight() {
    let mut host = Host::boot(|_, _| {});
    let secret = host.folder.path().join("secret");
    fs::write(&secret, "secret").expect("writes");
    host.fails(&format!("cat {}", secret.display()));
    host.fails(&format!("cat /workspace/../{}", secret.display()));
    host.fails("cat ../secret ../../secret /state/tree /inner/etc/passwd");
    for gone in [
        "/etc/shadow",
        "/sys",
        "/boot",
        "/media",
        "/proc/1/root/",
        "/proc/1/cwd/",
        "/proc/1/fd/",
    ] {
        host.fails(&format!("ls {gone}"));
    }
    assert_eq!(host.sh("ls /home /mnt /srv /root /etc/ssl/private /tmp /run 2>/dev/null | grep -v : | tr -d '\\n'"), "");
    // Only the sandbox's own, and none of ours.
    assert_eq!(host.sh("cat /proc/1/comm"), "init\n");
    let pids = host.sh("ls /proc | grep -c '^[0-9]'");
    assert!(pids.trim().parse::<u32>().expect("a number") < 8, "{pids}");
    assert_eq!(
        host.sh("exec ls /proc/self/fd"),
        "0\n1\n2\n3\n",
        "3 is the listing itself"
    );
    assert_eq!(
        host.run(&["env"]).out,
        "PATH=/usr/local/bin:/usr/bin:/bin\nHOME=/root\nLANG=C.UTF-8\n"
    );
    assert_eq!(
        host.sh("cat /proc/net/dev | grep -c :"),
        "1\n",
        "loopback only"
    );
    assert_eq!(host.sh("cut -d: -f3 /proc/self/cgroup | sort -u"), "/\n");
}

fn nothing_of_the_system_is_writable() {
    let mut host = Host::boot(|_, _| {});
    for place in [
        "/x",
        "/etc/x",
        "/usr/x",
        "/opt/x",
        "/dev/x",
        "/home/x",
        "/proc/sys/kernel/panic",
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/etc/passwd",
    ] {
        host.fails(&format!("echo 1 > {place}"));
    }
    for place in [
        "/workspace/x",
        "/tmp/x",
        "/run/x",
        "/root/x",
        "/dev/shm/x",
        "/var/tmp/x",
        "/var/lib/x",
        "/var/cache/x",
        "/var/log/x",
    ] {
        host.sh(&format!("echo 1 > {place}"));
    }
    for masked in [
        "kcore",
        "kallsyms",
        "keys",
        "timer_list",
        "interrupts",
        "config.gz",
    ] {
        assert_eq!(
            host.sh(&format!("cat /proc/{masked} 2>/dev/null | wc -c")),
            "0\n",
            "{masked}"
        );
    }
    host.fails("cat /proc/kmsg | grep .");
    host.fails("mv /dev/null /dev/zero");
    host.fails("echo 0 > /proc/1/oom_score_adj");
}

fn init_and_agent_are_out_of_reach() {
    let mut host = Host::boot(|_, _| {});
    host.run(&[
        "sh",
        "-c",
        "kill -9 -1; kill -9 1; kill -STOP 1; kill -TERM 1; kill -SEGV 1",
    ]);
    assert_eq!(host.sh("echo alive"), "alive\n");
    host.fails("cat /proc/1/environ");
    host.fails("cat /proc/1/maps");
    host.fails("cat /proc/1/mem");
    host.fails("ls /proc/1/fd");
    assert_eq!(host.sh("echo $PPID"), "0\n", "the parent is outside");
}

fn setuid_gains_nothing() {
    let mut host = Host::boot(|_, _| {});
    host.sh("cp /usr/bin/id ./id && chown 1000:1000 id && chmod 6755 id");
    assert_eq!(
        host.sh("./id -u; grep NoNewPrivs /proc/self/status"),
        "0\nNoNewPrivs:\t1\n"
    );
    let caps = host.sh("grep -E 'Cap(Inh|Amb|Bnd)' /proc/self/status");
    assert_eq!(
        caps,
        "CapInh:\t0000000000000000\nCapBnd:\t00000000800005fb\nCapAmb:\t0000000000000000\n"
    );
    let map = host.sh("cat /proc/self/uid_map");
    let wanted: &[&str] = match ids() {
        Ids::Single => &["0", "0", "1"],
        Ids::Range { .. } => &["0", "1", "65536"],
    };
    assert_eq!(map.split_whitespace().collect::<Vec<_>>(), wanted);
}

fn limits_hold() {
    let mut host = Host::boot(|boot, _| boot.limits.memory = 256 << 20);
    assert_eq!(host.sh("ulimit -n; ulimit -c"), "1024\n0\n");
    // Far fewer than asked for; the shell says that it cannot fork and ends.
    host.run(&[
        "sh",
        "-c",
        "i=0; while [ $i -lt 400 ]; do sleep 60 >/dev/null 2>&1 & i=$((i+1)); done",
    ]);
    let answer = host.call(&["true"], "/", false);
    assert!(
        (90..=130).contains(&answer.processes.len()),
        "{:?}",
        answer.processes.len()
    );
    host.run(&["sh", "-c", "kill -9 -1"]);
    assert_eq!(host.sh("echo again"), "again\n");
    assert_eq!(host.sh("cat /proc/sys/kernel/shmall"), "32768\n");
    let terminals = "import os\ntry:\n for n in range(300): os.open('/dev/ptmx', os.O_RDWR)\n\
                     except OSError as error: print(n, error.strerror)";
    let answer = host.run(&["python3", "-c", terminals]);
    assert_eq!(answer.out, "256 No space left on device\n");
    host.fails("head -c 400M /dev/zero > /tmp/full");
    host.sh("rm /tmp/full");
}

/// Counted by the kernel for each user, not for each namespace.
fn what_the_user_has_elsewhere_is_left() {
    let mut host = Host::boot(|_, _| {});
    for (what, most) in [("pending signals", 4096), ("msgqueue size", 256 << 10)] {
        let limit = host.sh(&format!("grep 'Max {what}' /proc/self/limits"));
        let hard = limit.split_whitespace().rev().nth(1).expect("a limit");
        assert!(hard.parse::<u64>().expect("a number") <= most, "{limit}");
    }
    carry_probe(&host);
    let answer = host.run(&["./probe", "--probe", "watches"]);
    // EMFILE, and in time: a user has 128 on most systems.
    assert_eq!((answer.code, answer.out.as_str()), (0, "watches 24\n"));
}

fn two_sandboxes_do_not_meet() {
    let (mut one, mut two) = (Host::boot(|_, _| {}), Host::boot(|_, _| {}));
    let mark = format!("{}.9", 80_000 + std::process::id() % 10_000);
    carry_probe(&one);
    carry_probe(&two);
    one.call(&["sleep", &mark], "/", true);
    one.call(&["./probe", "--probe", "leave"], "/workspace", true);
    one.sh("echo 1 > /dev/shm/one; echo 1 > /tmp/one; until [ -e left ]; do sleep 0.01; done");
    // In brackets, so that the question is not its own answer.
    let (head, tail) = mark.split_at(1);
    two.fails(&format!(
        "cat /proc/[0-9]*/cmdline | grep -q '[{head}]{tail}'"
    ));
    two.fails("ls /dev/shm/one");
    two.fails("ls /tmp/one");
    two.run(&["sh", "-c", "kill -9 -1"]);
    let met = two.run(&[
        "./probe",
        "--probe",
        "meet_segment",
        "meet_queue",
        "meet_socket",
    ]);
    assert_eq!(met.out, "meet_segment 2\nmeet_queue 2\nmeet_socket 111\n");
    // The very same questions find something where it was left.
    let met = one.run(&[
        "./probe",
        "--probe",
        "meet_segment",
        "meet_queue",
        "meet_socket",
    ]);
    assert_eq!(met.out, "meet_segment 0\nmeet_queue 0\nmeet_socket 0\n");
    assert_eq!(one.sh("cat /proc/[0-9]*/comm | grep -c sleep"), "1\n");
}

fn place() -> tempfile::TempDir {
    // Not below /tmp, which nobody may expose.
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmods");
    fs::create_dir(folder.path().join("tools")).expect("makes a folder");
    fs::write(folder.path().join("tools/version"), "7\n").expect("writes");
    folder
}

fn exposed_paths_are_read_only() {
    let folder = place();
    let text = folder.path().to_str().expect("text").to_owned();
    let mut host = Host::boot(|boot, _| {
        boot.expose = vec![
            format!("{text}/tools").into(),
            format!("{text}/tools/version").into(),
            "/usr/bin/env".into(),
        ];
    });
    assert_eq!(
        host.sh(&format!("cat {text}/tools/version; ls {text}")),
        "7\ntools\n"
    );
    host.fails(&format!("echo 8 > {text}/tools/version"));
    host.fails(&format!("echo 8 > {text}/tools/other"));
    host.fails(&format!("rm {text}/tools/version"));
}

fn some_places_cannot_be_exposed() {
    let folder = tempfile::tempdir().expect("a folder");
    for path in [
        "/",
        "/workspace/x",
        "/proc/1",
        "/dev",
        "/tmp",
        "/run/user",
        "/etc/../proc",
        "relative",
        "/no/such/path",
        "/dev/null",
        "/bin/../../tmp",
    ] {
        let mut boot = boot_in(folder.path());
        boot.expose = vec![Bytes::from(path)];
        let (mut zygote, _control, _link, reply) = start(&boot);
        let BootReply::Failed(failure) = reply else {
            panic!("{path} was exposed");
        };
        assert_eq!(failure.step, BootStep::SystemTree, "{path}: {failure:?}");
        super::client::ends(&mut zygote);
    }
}

/// The smallest image with a shell: the host's, with its libraries.
pub(crate) fn image(folder: &Path, more: &[&str]) -> Bytes {
    let root = folder.join("image");
    fs::create_dir_all(root.join("bin")).expect("makes a folder");
    fs::create_dir_all(root.join("etc")).expect("makes a folder");
    // Links that point out of the image: nothing may follow them while the tree is built.
    std::os::unix::fs::symlink("/proc", root.join("run")).expect("links");
    std::os::unix::fs::symlink("../../../..", root.join("workspace")).expect("links");
    fs::write(root.join("etc/hostname"), "image\n").expect("writes");
    for program in ["sh", "cat", "ls", "mkdir", "rm", "mv"].iter().chain(more) {
        let path =
            ["/bin", "/usr/bin"].map(|folder| fs::canonicalize(format!("{folder}/{program}")));
        let path = path.into_iter().find_map(Result::ok).expect("is there");
        fs::copy(&path, root.join("bin").join(program)).expect("copies");
        let libraries = std::process::Command::new("ldd")
            .arg(&path)
            .output()
            .expect("runs");
        for library in String::from_utf8_lossy(&libraries.stdout).split_whitespace() {
            if let Some(inside) = library.strip_prefix('/') {
                let to = root.join(inside);
                fs::create_dir_all(to.parent().expect("has one")).expect("makes a folder");
                fs::copy(library, to).expect("copies");
            }
        }
    }
    fs::set_permissions(&root, fs::Permissions::from_mode(0o755)).expect("chmods");
    Bytes::from(root.to_str().expect("text"))
}

fn a_directory_is_an_environment() {
    let mut host = Host::boot(|boot, folder| {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("chmods");
        boot.environment = BootEnvironment::Dir(image(folder, &[]));
    });
    assert_eq!(host.ready.notes, Vec::<String>::new());
    assert_eq!(
        host.sh("cat /etc/hostname /etc/resolv.conf; pwd"),
        "image\n# This sandbox has no name server.\n/workspace\n"
    );
    host.sh("echo new > /bin/new; mkdir /usr2; rm /bin/rm; echo x > /workspace/y; echo z > /run/z; echo t > /tmp/t");
    host.fails("rm /bin/cat");
    host.fails("cat /proc/self/mountinfo | while read l; do case $l in *image*) exit 0;; esac; done; exit 1");
    let root = host.folder.path().join("image");
    assert!(root.join("bin/rm").exists() && !root.join("bin/new").exists());
    assert!(host.folder.path().join("run/system/upper/bin/new").exists());
    assert!(host.tree().join("y").exists());
}

/// As an ordinary user, an image of the host's root: its files are nobody's inside, and it works all the same.
fn an_image_of_somebody_else_boots() {
    let mut host = Host::boot(|boot, _| boot.environment = BootEnvironment::Dir("/usr".into()));
    assert_eq!(
        host.sh(
            "pwd; echo $HOME; echo x > /root/x; echo y > /tmp/y; echo z > /workspace/z; ls /bin/sh"
        ),
        "/workspace\n/root\n/bin/sh\n"
    );
}

fn an_image_without_a_shell_boots() {
    let mut host = Host::boot(|boot, folder| {
        let empty = folder.join("empty");
        fs::create_dir(&empty).expect("makes a folder");
        boot.environment = BootEnvironment::Dir(Bytes::from(empty.to_str().expect("text")));
    });
    let answer = host.run(&["sh", "-c", "true"]);
    assert_eq!(
        (answer.code, answer.out.as_str()),
        (2127, "no such program: sh")
    );
}
