//! What a hostile program would try, one attempt a name, each answered with what the kernel said.
//!
//! The test program carries itself into the sandbox, so that nothing has to be installed there.

#![expect(
    unsafe_code,
    reason = "raw system calls with arguments that no library would pass"
)]

use std::io;

/// Makes the attempts named on the command line and prints `name errno` for each, 0 where it succeeded.
pub(crate) fn run(names: &[String]) -> String {
    names
        .iter()
        .map(|name| format!("{name} {}\n", attempt(name)))
        .collect()
}

fn call(number: i64, args: [i64; 6]) -> i64 {
    let [a, b, c, d, e, f] = args;
    // SAFETY: every attempt passes integers, null, or pointers to statics; the kernel checks them.
    unsafe { libc::syscall(number, a, b, c, d, e, f) }
}

fn text(text: &'static std::ffi::CStr) -> i64 {
    text.as_ptr() as i64
}

fn attempt(name: &str) -> i32 {
    let zero = [0; 6];
    let high = 1_i64 << 32;
    let first = |value: i64| [value, 0, 0, 0, 0, 0];
    let result = match name {
        "mount" => call(
            libc::SYS_mount,
            [text(c"none"), text(c"/tmp"), text(c"tmpfs"), 0, 0, 0],
        ),
        "remount" => call(libc::SYS_mount, [text(c"none"), text(c"/"), 0, 0x20, 0, 0]),
        "umount" => call(libc::SYS_umount2, [text(c"/proc/keys"), 2, 0, 0, 0, 0]),
        "move_mount" => call(libc::SYS_move_mount, first(-1)),
        "open_tree" => call(libc::SYS_open_tree, [-100, text(c"/"), 1, 0, 0, 0]),
        "fsopen" => call(libc::SYS_fsopen, [text(c"tmpfs"), 0, 0, 0, 0, 0]),
        "mount_setattr" => call(libc::SYS_mount_setattr, first(-1)),
        "pivot_root" => call(libc::SYS_pivot_root, [text(c"/"), text(c"/"), 0, 0, 0, 0]),
        "chroot" => call(libc::SYS_chroot, first(text(c"/tmp"))),
        "unshare_user" => call(libc::SYS_unshare, first(0x1000_0000)),
        "unshare_mount" => call(libc::SYS_unshare, first(0x2_0000)),
        "unshare_net" => call(libc::SYS_unshare, first(0x4000_0000)),
        "clone_user" => call(libc::SYS_clone, [0x1000_0011, 0, 0, 0, 0, 0]),
        "clone_user_high" => call(libc::SYS_clone, [0x1000_0011 | high, 0, 0, 0, 0, 0]),
        "clone_pid" => call(libc::SYS_clone, [0x2000_0011, 0, 0, 0, 0, 0]),
        "clone_parent" => call(libc::SYS_clone, [0x8011, 0, 0, 0, 0, 0]),
        "clone_net" => call(libc::SYS_clone, [0x4000_0011, 0, 0, 0, 0, 0]),
        "clone_mount_high" => call(libc::SYS_clone, [0x2_0011 | (high << 3), 0, 0, 0, 0, 0]),
        "unshare_pid" => call(libc::SYS_unshare, first(0x2000_0000)),
        "unshare_ipc" => call(libc::SYS_unshare, first(0x0800_0000)),
        "unshare_uts" => call(libc::SYS_unshare, first(0x0400_0000)),
        "unshare_cgroup" => call(libc::SYS_unshare, first(0x0200_0000)),
        "unshare_time" => call(libc::SYS_unshare, first(0x80)),
        "unshare_user_high" => call(libc::SYS_unshare, first(0x1000_0000 | high)),
        "setns_own" => on(c"/proc/self/ns/mnt", |fd| call(libc::SYS_setns, first(fd))),
        "parent_of_pids" => on(c"/proc/self/ns/pid", |fd| ioctl(fd, 0xb702, 0)),
        "parent_of_users" => on(c"/proc/self/ns/user", |fd| ioctl(fd, 0xb702, 0)),
        "owner_of_net" => on(c"/proc/self/ns/net", |fd| ioctl(fd, 0xb701, 0)),
        "namespaces_of_init" => on(c"/proc/1/ns/mnt", |_| 0),
        "pidfd_of_init" => {
            let init = call(libc::SYS_pidfd_open, first(1));
            // PIDFD_GET_USER_NAMESPACE
            ioctl(init, 0xff0a, 0)
        }
        "signal_init" => {
            let init = call(libc::SYS_pidfd_open, first(1));
            call(libc::SYS_pidfd_send_signal, [init, 9, 0, 0, 0, 0])
        }
        "clone3" => call(libc::SYS_clone3, zero),
        "setns" => call(libc::SYS_setns, zero),
        "bpf" => call(libc::SYS_bpf, zero),
        "io_uring_setup" => call(libc::SYS_io_uring_setup, first(8)),
        "io_uring_enter" => call(libc::SYS_io_uring_enter, first(-1)),
        "io_uring_register" => call(libc::SYS_io_uring_register, first(-1)),
        "userfaultfd" => call(libc::SYS_userfaultfd, first(1)),
        "keyctl" => call(libc::SYS_keyctl, zero),
        "add_key" => call(
            libc::SYS_add_key,
            [text(c"user"), text(c"a"), text(c"b"), 1, -3, 0],
        ),
        "request_key" => call(
            libc::SYS_request_key,
            [text(c"user"), text(c"a"), 0, -3, 0, 0],
        ),
        "perf_event_open" => call(libc::SYS_perf_event_open, zero),
        "ptrace_init" => call(libc::SYS_ptrace, [16, 1, 0, 0, 0, 0]),
        "seize_init" => call(libc::SYS_ptrace, [0x4206, 1, 0, 0, 0, 0]),
        "read_init" => read_init(),
        "pidfd_getfd" => call(libc::SYS_pidfd_getfd, zero),
        "kcmp" => call(libc::SYS_kcmp, [1, 1, 0, 0, 0, 0]),
        "raise_processes" => raise(6),
        "raise_files" => raise(7),
        "raise_memory" => raise(2),
        "raise_cores" => raise(4),
        "tiocsti" => call(libc::SYS_ioctl, [0, 0x5412, text(c"x"), 0, 0, 0]),
        "tiocsti_high" => call(libc::SYS_ioctl, [0, 0x5412 | high, text(c"x"), 0, 0, 0]),
        "tioclinux" => call(libc::SYS_ioctl, [0, 0x541c, text(c"x"), 0, 0, 0]),
        "tioclinux_high" => call(
            libc::SYS_ioctl,
            [0, 0x541c | (high << 7), text(c"x"), 0, 0, 0],
        ),
        "tiocsetd" => call(libc::SYS_ioctl, [0, 0x5423, text(c"x"), 0, 0, 0]),
        "tiocsetd_high" => call(
            libc::SYS_ioctl,
            [0, 0x5423 | (high << 9), text(c"x"), 0, 0, 0],
        ),
        "sctp" => call(libc::SYS_socket, [2, 5, 0, 0, 0, 0]),
        "sctp_by_name" => call(libc::SYS_socket, [2, 1, 132, 0, 0, 0]),
        "dccp" => call(libc::SYS_socket, [10, 6, 0, 0, 0, 0]),
        "mptcp" => call(libc::SYS_socket, [2, 1, 262, 0, 0, 0]),
        "udplite" => call(libc::SYS_socket, [2, 2, 136, 0, 0, 0]),
        "netfilter" => call(libc::SYS_socket, [16, 3, 12, 0, 0, 0]),
        "uevents" => call(libc::SYS_socket, [16, 2, 15, 0, 0, 0]),
        "transparent" => option(0, 19),
        "mark" => option(1, 36),
        "send_buffer" => option(1, 32),
        "packet_filter" => option(0, 64),
        "vsock" => call(libc::SYS_socket, [40, 1, 0, 0, 0, 0]),
        "alg" => call(libc::SYS_socket, [38, 5, 0, 0, 0, 0]),
        "packet" => call(libc::SYS_socket, [17, 3, 0, 0, 0, 0]),
        "packet_high" => call(libc::SYS_socket, [17 | high, 3, 0, 0, 0, 0]),
        "raw" => call(libc::SYS_socket, [2, 3, 1, 0, 0, 0]),
        "raw6" => call(libc::SYS_socket, [10, 3, 58, 0, 0, 0]),
        "audit" => call(libc::SYS_socket, [16, 3, 9, 0, 0, 0]),
        "route" => call(libc::SYS_socket, [16, 3, 0, 0, 0, 0]),
        "tcp" => call(libc::SYS_socket, [2, 1, 0, 0, 0, 0]),
        "unix" => call(libc::SYS_socket, [1, 1, 0, 0, 0, 0]),
        "device" => call(
            libc::SYS_mknodat,
            [-100, text(c"/workspace/null"), 0o20666, 0x103, 0, 0],
        ),
        "disk" => call(
            libc::SYS_mknodat,
            [-100, text(c"/workspace/disk"), 0o60666, 0xfe00, 0, 0],
        ),
        "fifo" => call(
            libc::SYS_mknodat,
            [-100, text(c"/workspace/fifo"), 0o10666, 0, 0, 0],
        ),
        "whiteout" => on(c"/dev/null", |_| {
            let path = text(c"/tmp/whiteout");
            call(libc::SYS_mknodat, [-100, path, 0o20666, 0, 0, 0]);
            call(libc::SYS_openat, [-100, path, 0, 0, 0, 0])
        }),
        "immutable" => in_workspace(|fd| ioctl(fd, 0x4008_6602, (&raw const IMMUTABLE) as i64)),
        "freeze_disk" => in_workspace(|fd| ioctl(fd, 0xc004_5877, 0)),
        "shut_disk_down" => {
            in_workspace(|fd| ioctl(fd, 0x8004_587d, (&raw const IMMUTABLE) as i64))
        }
        "label_disk" => in_workspace(|fd| ioctl(fd, 0x4100_9432, text(c"x"))),
        "fanotify" => call(libc::SYS_fanotify_init, zero),
        "statmount" => call(457, zero),
        "listmount" => call(458, zero),
        "open_tree_attr" => call(467, [-100, text(c"/"), 1, 0, 0, 0]),
        "fsmount" => call(libc::SYS_fsmount, zero),
        "fspick" => call(libc::SYS_fspick, [-100, text(c"/"), 0, 0, 0, 0]),
        "quotactl_fd" => call(libc::SYS_quotactl_fd, zero),
        "set_mm" => call(libc::SYS_prctl, [35, 1, 0, 0, 0, 0]),
        "ambient" => call(libc::SYS_prctl, [47, 2, 21, 0, 0, 0]),
        "new_privileges" => call(libc::SYS_prctl, [38, 0, 0, 0, 0, 0]),
        "uid_map" => write_to(c"/proc/self/uid_map", c"0 0 1"),
        "core_pattern" => write_to(c"/proc/sys/kernel/core_pattern", c"|/bin/sh"),
        "user_limits" => write_to(c"/proc/sys/user/max_user_namespaces", c"9"),
        "oom_below" => write_to(c"/proc/self/oom_score_adj", c"-1"),
        "init_memory" => on(c"/proc/1/mem", |_| 0),
        "init_root" => on(c"/proc/1/root/", |_| 0),
        "init_program" => on(c"/proc/1/exe", |_| 0),
        "kernel_log" => on(c"/proc/kmsg", |_| 0),
        "ioperm" => legacy(173),
        "iopl" => legacy(172),
        "modify_ldt" => legacy(154),
        "move_pages" => call(libc::SYS_move_pages, first(1)),
        "migrate_pages" => call(libc::SYS_migrate_pages, first(1)),
        "adjtimex" => call(libc::SYS_adjtimex, zero),
        "setdomainname" => call(libc::SYS_setdomainname, [text(c"x"), 1, 0, 0, 0, 0]),
        "kexec_file_load" => call(libc::SYS_kexec_file_load, zero),
        "finit_module" => call(libc::SYS_finit_module, zero),
        "delete_module" => call(libc::SYS_delete_module, [text(c"x"), 0, 0, 0, 0, 0]),
        "open_by_handle_at" => call(libc::SYS_open_by_handle_at, zero),
        "name_to_handle_at" => call(libc::SYS_name_to_handle_at, zero),
        "reboot" => call(libc::SYS_reboot, zero),
        "kexec_load" => call(libc::SYS_kexec_load, zero),
        "init_module" => call(libc::SYS_init_module, zero),
        "swapon" => call(libc::SYS_swapon, zero),
        "syslog" => call(libc::SYS_syslog, [3, 0, 0, 0, 0, 0]),
        "acct" => call(libc::SYS_acct, zero),
        "quotactl" => call(libc::SYS_quotactl, zero),
        "settimeofday" => call(libc::SYS_settimeofday, zero),
        "clock_settime" => call(libc::SYS_clock_settime, zero),
        "sethostname" => call(libc::SYS_sethostname, [text(c"x"), 1, 0, 0, 0, 0]),
        "personality" => call(libc::SYS_personality, first(0x0040_0000)),
        "nice" => call(libc::SYS_setpriority, [0, 0, -10, 0, 0, 0]),
        "realtime" => {
            let priority = 10_i32;
            call(
                libc::SYS_sched_setscheduler,
                [0, 1, (&raw const priority) as i64, 0, 0, 0],
            )
        }
        "chown" => call(libc::SYS_fchownat, [-100, text(c"/workspace"), 0, 0, 0, 0]),
        "x32" => call(0x4000_0027, zero),
        "x32_clone" => call(0x4000_0038, first(0x1000_0011)),
        "unheard_of" => call(999, zero),
        "abstract" => connect(ABSTRACT),
        "watches" => {
            let mut made = 0;
            // More than this would not prove a bound.
            while made < 100 && call(libc::SYS_inotify_init1, zero) >= 0 {
                made += 1;
            }
            if made < 100 { -1 } else { 0 }
        }
        "leave" => leave(),
        "meet_segment" => call(libc::SYS_shmget, [KEY, 4096, 0, 0, 0, 0]),
        "meet_queue" => call(libc::SYS_mq_open, [text(c"pyro-meet"), 0, 0, 0, 0, 0]),
        "meet_socket" => connect(MEET),
        other => panic!("no attempt is called {other}"),
    };
    if result < 0 {
        io::Error::last_os_error().raw_os_error().unwrap_or(-1)
    } else if name.starts_with("clone") && result == 0 {
        // Never two of us, whatever went wrong.
        std::process::exit(0)
    } else {
        0
    }
}

static IMMUTABLE: i64 = 0x10;

fn ioctl(fd: i64, request: i64, argument: i64) -> i64 {
    call(libc::SYS_ioctl, [fd, request, argument, 0, 0, 0])
}

/// Opens a path for reading and goes on with it.
fn on(path: &'static std::ffi::CStr, then: impl FnOnce(i64) -> i64) -> i64 {
    match call(libc::SYS_openat, [-100, text(path), 0, 0, 0, 0]) {
        fd if fd < 0 => fd,
        fd => then(fd),
    }
}

fn in_workspace(then: impl FnOnce(i64) -> i64) -> i64 {
    let path = text(c"/workspace/ours");
    let flags = i64::from(libc::O_RDWR | libc::O_CREAT);
    match call(libc::SYS_openat, [-100, path, flags, 0o600, 0, 0]) {
        fd if fd < 0 => fd,
        fd => then(fd),
    }
}

fn write_to(path: &'static std::ffi::CStr, what: &'static std::ffi::CStr) -> i64 {
    match call(libc::SYS_openat, [-100, text(path), 1, 0, 0, 0]) {
        fd if fd < 0 => fd,
        fd => {
            let length = i64::try_from(what.count_bytes()).expect("short");
            call(libc::SYS_write, [fd, text(what), length, 0, 0, 0])
        }
    }
}

fn option(level: i64, name: i64) -> i64 {
    static ON: i32 = 1;
    let socket = call(libc::SYS_socket, [2, 1, 0, 0, 0, 0]);
    let on = (&raw const ON) as i64;
    call(libc::SYS_setsockopt, [socket, level, name, on, 4, 0])
}

/// By its number on x86-64; no other architecture has it.
fn legacy(number: i64) -> i64 {
    if cfg!(target_arch = "x86_64") {
        call(number, [0; 6])
    } else {
        call(999, [0; 6])
    }
}

fn raise(resource: i64) -> i64 {
    let limit = [u64::MAX, u64::MAX];
    call(
        libc::SYS_prlimit64,
        [0, resource, limit.as_ptr() as i64, 0, 0, 0],
    )
}

fn read_init() -> i64 {
    let mut byte = [0_u8; 8];
    let local = [byte.as_mut_ptr() as i64, 8];
    let remote = [0x40_0000_i64, 8];
    call(
        libc::SYS_process_vm_readv,
        [1, local.as_ptr() as i64, 1, remote.as_ptr() as i64, 1, 0],
    )
}

/// The abstract socket that the host side of the test listens on.
pub(crate) const ABSTRACT: &str = "pyro-sandbox-test";

/// What one sandbox leaves for another to find.
const KEY: i64 = 0x7079;
const MEET: &str = "pyro-sandbox-meet";

/// A segment of System V memory, a message queue and an abstract socket; stays until it is killed.
fn leave() -> i64 {
    use std::os::linux::net::SocketAddrExt as _;
    let create = i64::from(libc::IPC_CREAT) | 0o666;
    assert!(call(libc::SYS_shmget, [KEY, 4096, create, 0, 0, 0]) >= 0);
    let create = i64::from(libc::O_CREAT | libc::O_RDWR);
    let queue = [text(c"pyro-meet"), create, 0o666, 0, 0, 0];
    assert!(call(libc::SYS_mq_open, queue) >= 0);
    let address = std::os::unix::net::SocketAddr::from_abstract_name(MEET).expect("a name");
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).expect("binds");
    std::fs::write("/workspace/left", "").expect("writes");
    loop {
        std::thread::park();
    }
}

fn connect(name: &str) -> i64 {
    use std::os::linux::net::SocketAddrExt as _;
    let address = std::os::unix::net::SocketAddr::from_abstract_name(name).expect("a name");
    match std::os::unix::net::UnixStream::connect_addr(&address) {
        Ok(_) => 0,
        Err(_) => -1,
    }
}
