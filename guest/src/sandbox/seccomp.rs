//! The system calls that programs may make, as a binary search over their numbers.
//!
//! A filter made of one comparison a rule costs ten times as much to install, and it is installed for every program.
//! Listed refusals say EPERM, what is in no list says ENOSYS, so that libraries fall back to older calls.

use super::syscalls::{ALLOWED, REFUSED};
use libc::{c_long, sock_filter};
use pyro_protocol::boot::Ids;

/// What a call gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Allow,
    /// EPERM.
    Refuse,
    /// ENOSYS.
    Unknown,
    /// 0, and nothing happens: with a single id there is nobody else to give a file to, or to become.
    Pretend,
    /// By its flags.
    Clone,
    /// By its request.
    Ioctl,
    /// By family, type and protocol.
    Socket,
    /// Unix only.
    Socketpair,
    /// By its argument.
    Personality,
}

/// Answered with 0 where only one id is mapped: package managers and archivers insist on these.
const PRETENDED: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setgroups,
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setfsuid,
    libc::SYS_setfsgid,
];

const JUDGED: &[(c_long, Verdict)] = &[
    (libc::SYS_clone, Verdict::Clone),
    // Its flags are in memory, where no filter looks: programs fall back to clone.
    (libc::SYS_clone3, Verdict::Unknown),
    (libc::SYS_ioctl, Verdict::Ioctl),
    (libc::SYS_socket, Verdict::Socket),
    (libc::SYS_socketpair, Verdict::Socketpair),
    (libc::SYS_personality, Verdict::Personality),
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;
const EPERM: u32 = ERRNO | 1;
const ENOSYS: u32 = ERRNO | 38;
const EPROTONOSUPPORT: u32 = ERRNO | 93;
const EAFNOSUPPORT: u32 = ERRNO | 97;

/// Offsets in `seccomp_data`.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
/// The low half of argument `index`. Only that half counts where the kernel takes an `int`: comparing the whole
/// would let a high bit through.
const fn argument(index: u32) -> u32 {
    16 + 8 * index
}

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const ANY_BIT: u16 = 0x45;
const AND: u16 = 0x54;
const RETURN: u16 = 0x06;

const fn instruction(code: u16, value: u32) -> sock_filter {
    sock_filter {
        code,
        jt: 0,
        jf: 0,
        k: value,
    }
}

/// Skips `jt` instructions when the comparison holds, `jf` when not.
const fn branch(code: u16, value: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code,
        jt,
        jf,
        k: value,
    }
}

const fn load(offset: u32) -> sock_filter {
    instruction(LOAD, offset)
}

const fn give(result: u32) -> sock_filter {
    instruction(RETURN, result)
}

/// The filter for programs (and init).
pub(crate) fn filter(ids: Ids) -> Vec<sock_filter> {
    build(ids, &[])
}

/// The same, where programs are held to some processors and could otherwise leave them.
pub(crate) fn filter_pinned(ids: Ids) -> Vec<sock_filter> {
    build(ids, &[libc::SYS_sched_setaffinity])
}

fn build(ids: Ids, refused: &[c_long]) -> Vec<sock_filter> {
    let mut program = vec![
        load(ARCH),
        branch(EQUAL, ARCHITECTURE, 1, 0),
        // Another architecture's numbers mean other calls.
        give(KILL),
        load(NUMBER),
    ];
    search(&spans(ids, refused), &mut program);
    program
}

/// Numbers from the first member on get the verdict, until the next span.
fn spans(ids: Ids, refused: &[c_long]) -> Vec<(u32, Verdict)> {
    let mut verdicts: Vec<(u32, Verdict)> = Vec::new();
    let mut say = |number: c_long, verdict: Verdict| {
        verdicts.push((u32::try_from(number).unwrap_or(u32::MAX), verdict));
    };
    for &number in ALLOWED {
        say(number, Verdict::Allow);
    }
    for &number in REFUSED {
        say(number, Verdict::Refuse);
    }
    for &(number, verdict) in JUDGED {
        say(number, verdict);
    }
    if ids == Ids::Single {
        for &number in PRETENDED {
            say(number, Verdict::Pretend);
        }
    }
    for &number in refused {
        say(number, Verdict::Refuse);
    }
    // Stable: of two verdicts on one number the later one counts.
    verdicts.sort_by_key(|(number, _)| *number);
    let mut spans = vec![(0, Verdict::Unknown)];
    let mut next = 0;
    for (index, &(number, verdict)) in verdicts.iter().enumerate() {
        if verdicts
            .get(index + 1)
            .is_some_and(|(after, _)| *after == number)
        {
            continue;
        }
        if number > next {
            open(&mut spans, next, Verdict::Unknown);
        }
        open(&mut spans, number, verdict);
        next = number + 1;
    }
    // The x32 numbers of x86-64 lie above all others.
    open(&mut spans, next, Verdict::Unknown);
    spans
}

fn open(spans: &mut Vec<(u32, Verdict)>, from: u32, verdict: Verdict) {
    if let Some(last) = spans.last_mut() {
        if last.0 == from {
            last.1 = verdict;
            return;
        }
        if last.1 == verdict {
            return;
        }
    }
    spans.push((from, verdict));
}

/// Appends code that ends with a verdict on the number in the accumulator.
fn search(spans: &[(u32, Verdict)], program: &mut Vec<sock_filter>) {
    if let [(_, verdict)] = spans {
        judge(*verdict, program);
        return;
    }
    let (low, high) = spans.split_at(spans.len() / 2);
    let mut below = Vec::new();
    search(low, &mut below);
    let pivot = high[0].0;
    if let Ok(distance) = u8::try_from(below.len()) {
        program.push(branch(AT_LEAST, pivot, distance, 0));
    } else {
        // Conditional jumps reach 255 instructions, unconditional ones any.
        let distance = u32::try_from(below.len()).unwrap_or(u32::MAX);
        program.push(branch(AT_LEAST, pivot, 0, 1));
        program.push(instruction(JUMP, distance));
    }
    program.append(&mut below);
    search(high, program);
}

fn judge(verdict: Verdict, program: &mut Vec<sock_filter>) {
    match verdict {
        Verdict::Allow => program.push(give(ALLOW)),
        Verdict::Refuse => program.push(give(EPERM)),
        Verdict::Unknown => program.push(give(ENOSYS)),
        Verdict::Pretend => program.push(give(ERRNO)),
        Verdict::Clone => {
            // NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET. NEWTIME is part of the exit signal here.
            // And PARENT: a program's parent is the agent, which wants no children that it has not made.
            program.extend([
                load(argument(0)),
                branch(ANY_BIT, 0x7e02_8000, 0, 1),
                give(EPERM),
                give(ALLOW),
            ]);
        }
        Verdict::Ioctl => {
            // TIOCSTI types on somebody's terminal, TIOCLINUX pastes there, TIOCSETD loads line disciplines.
            program.extend([
                load(argument(1)),
                branch(EQUAL, 0x5412, 3, 0),
                branch(EQUAL, 0x541c, 2, 0),
                branch(EQUAL, 0x5423, 1, 0),
                give(ALLOW),
                give(EPERM),
            ]);
        }
        Verdict::Socket => socket(program),
        Verdict::Socketpair => program.extend([
            load(argument(0)),
            branch(EQUAL, 1, 0, 1),
            give(ALLOW),
            give(EAFNOSUPPORT),
        ]),
        Verdict::Personality => {
            // Linux, 32-bit machine name, uname 2.6, both, "tell me", and no address randomisation for debuggers.
            program.extend([
                load(argument(0)),
                branch(EQUAL, 0, 6, 0),
                branch(EQUAL, 0x0008, 5, 0),
                branch(EQUAL, 0x0002_0000, 4, 0),
                branch(EQUAL, 0x0002_0008, 3, 0),
                branch(EQUAL, 0x0004_0000, 2, 0),
                branch(EQUAL, 0xffff_ffff, 1, 0),
                give(EPERM),
                give(ALLOW),
            ]);
        }
    }
}

/// Unix; netlink for routes, with which libraries look up addresses; TCP, UDP and ping over IP. No raw sockets.
fn socket(program: &mut Vec<sock_filter>) {
    program.extend([
        load(argument(0)),
        branch(EQUAL, 1, 0, 1), // AF_UNIX
        give(ALLOW),
        branch(EQUAL, 16, 0, 4), // AF_NETLINK
        load(argument(2)),
        branch(EQUAL, 0, 0, 1), // NETLINK_ROUTE
        give(ALLOW),
        give(EPROTONOSUPPORT),
        branch(EQUAL, 2, 2, 0),  // AF_INET
        branch(EQUAL, 10, 1, 0), // AF_INET6
        give(EAFNOSUPPORT),
        load(argument(1)),
        instruction(AND, 0xf),
        // With protocol 0 any other type would choose one of its own: SCTP or DCCP, where the kernel has them.
        branch(EQUAL, 1, 2, 0), // SOCK_STREAM
        branch(EQUAL, 2, 1, 0), // SOCK_DGRAM
        give(EPERM),
        load(argument(2)),
        branch(EQUAL, 0, 5, 0),
        branch(EQUAL, 6, 4, 0),
        branch(EQUAL, 17, 3, 0),
        branch(EQUAL, 1, 2, 0),
        branch(EQUAL, 58, 1, 0),
        give(EPROTONOSUPPORT),
        give(ALLOW),
    ]);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would.
    fn verdict(filter: &[sock_filter], arch: u32, number: c_long, args: [u64; 3]) -> u32 {
        let mut data = Vec::new();
        data.extend(u32::try_from(number).expect("small").to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend([0; 8]);
        for arg in args {
            data.extend(arg.to_le_bytes());
        }
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let sock_filter { code, jt, jf, k } = filter[at];
            at += 1;
            let jump = |taken: bool| usize::from(if taken { jt } else { jf });
            match code {
                LOAD => {
                    let from = k as usize;
                    accumulator =
                        u32::from_le_bytes(data[from..from + 4].try_into().expect("four bytes"));
                }
                EQUAL => at += jump(accumulator == k),
                AT_LEAST => at += jump(accumulator >= k),
                ANY_BIT => at += jump(accumulator & k != 0),
                AND => accumulator &= k,
                JUMP => at += k as usize,
                RETURN => return k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    fn with(ids: Ids, number: c_long, args: [u64; 3]) -> u32 {
        verdict(&filter(ids), ARCHITECTURE, number, args)
    }

    const RANGE: Ids = Ids::Range { base: 1 };

    #[test]
    fn every_listed_call_gets_its_verdict() {
        let (range, single) = (filter(RANGE), filter(Ids::Single));
        for &number in ALLOWED {
            assert_eq!(
                verdict(&range, ARCHITECTURE, number, [0; 3]),
                ALLOW,
                "{number}"
            );
        }
        for &number in REFUSED {
            assert_eq!(
                verdict(&range, ARCHITECTURE, number, [0; 3]),
                EPERM,
                "{number}"
            );
        }
        for &number in PRETENDED {
            assert_eq!(
                verdict(&range, ARCHITECTURE, number, [0; 3]),
                ALLOW,
                "{number}"
            );
            assert_eq!(
                verdict(&single, ARCHITECTURE, number, [0; 3]),
                ERRNO,
                "{number}"
            );
        }
        for &(number, _) in JUDGED {
            assert!(!ALLOWED.contains(&number) && !REFUSED.contains(&number));
        }
        assert!(ALLOWED.iter().all(|number| !REFUSED.contains(number)));
    }

    #[test]
    fn who_is_held_to_processors_stays_there() {
        let number = libc::SYS_sched_setaffinity;
        for ids in [RANGE, Ids::Single] {
            assert_eq!(with(ids, number, [0; 3]), ALLOW);
            let pinned = filter_pinned(ids);
            assert_eq!(verdict(&pinned, ARCHITECTURE, number, [0; 3]), EPERM);
            let other = libc::SYS_sched_getaffinity;
            assert_eq!(verdict(&pinned, ARCHITECTURE, other, [0; 3]), ALLOW);
        }
    }

    #[test]
    fn what_is_in_no_list_does_not_exist() {
        for number in [335, 423, 500, 4000, 0x4000_0000, 0x4000_0001, 0x4000_0029] {
            assert_eq!(with(RANGE, number, [0; 3]), ENOSYS, "{number:#x}");
        }
        assert_eq!(with(RANGE, libc::SYS_clone3, [0; 3]), ENOSYS);
        assert_eq!(verdict(&filter(RANGE), 0x4000_0003, 1, [0; 3]), KILL);
    }

    #[test]
    fn high_bits_of_an_int_change_nothing() {
        for request in [0x5412, 0x541c, 0x5423] {
            for high in [0, 1 << 32, u64::MAX << 32] {
                let args = [0, request | high, 0];
                assert_eq!(with(RANGE, libc::SYS_ioctl, args), EPERM);
            }
        }
        assert_eq!(with(RANGE, libc::SYS_ioctl, [0, 0x5401, 0]), ALLOW);
        let user = 0x1000_0000 | (1 << 40);
        assert_eq!(with(RANGE, libc::SYS_clone, [user, 0, 0]), EPERM);
        assert_eq!(with(RANGE, libc::SYS_clone, [0x8011, 0, 0]), EPERM);
        assert_eq!(with(RANGE, libc::SYS_clone, [0x003d_0f00, 0, 0]), ALLOW);
        let vsock = 40 | (1 << 33);
        assert_eq!(with(RANGE, libc::SYS_socket, [vsock, 1, 0]), EAFNOSUPPORT);
    }

    #[test]
    fn sockets_are_unix_routes_and_plain_ip() {
        let socket =
            |family, kind, protocol| with(RANGE, libc::SYS_socket, [family, kind, protocol]);
        let cloexec = 0x80000;
        assert_eq!(socket(1, 1 | cloexec, 0), ALLOW);
        assert_eq!(socket(2, 1 | cloexec, 6), ALLOW);
        assert_eq!(socket(10, 2, 17), ALLOW);
        assert_eq!(socket(16, 3 | cloexec, 0), ALLOW);
        assert_eq!(socket(16, 3, 9), EPROTONOSUPPORT); // audit
        assert_eq!(socket(2, 3 | cloexec, 1), EPERM); // raw
        assert_eq!(socket(10, 10, 0), EPERM);
        assert_eq!(socket(2, 5 | cloexec, 0), EPERM); // SCTP
        assert_eq!(socket(10, 6, 0), EPERM); // DCCP
        assert_eq!(socket(2, 1, 262), EPROTONOSUPPORT); // multipath TCP
        for family in [3, 17, 29, 31, 38, 40, 44] {
            assert_eq!(socket(family, 1, 0), EAFNOSUPPORT, "{family}");
        }
        assert_eq!(with(RANGE, libc::SYS_socketpair, [1, 1, 0]), ALLOW);
        assert_eq!(with(RANGE, libc::SYS_socketpair, [30, 1, 0]), EAFNOSUPPORT);
    }

    #[test]
    fn personalities_that_weaken_memory_are_refused() {
        for allowed in [0, 8, 0x0002_0000, 0x0002_0008, 0x0004_0000, 0xffff_ffff] {
            assert_eq!(with(RANGE, libc::SYS_personality, [allowed, 0, 0]), ALLOW);
        }
        // READ_IMPLIES_EXEC and MMAP_PAGE_ZERO
        for refused in [0x0040_0000, 0x0010_0000, 0x0040_0000 | 1 << 32] {
            assert_eq!(with(RANGE, libc::SYS_personality, [refused, 0, 0]), EPERM);
        }
    }

    #[test]
    fn the_filter_stays_small() {
        assert!(filter(RANGE).len() < 300, "{}", filter(RANGE).len());
    }
}
