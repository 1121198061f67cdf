//! Why a step failed, and the exact way out on this distribution.

use super::host::Host;
use pyro_protocol::boot::{BootFailure, BootStep};

const EPERM: i32 = 1;
const EACCES: i32 = 13;
const EINVAL: i32 = 22;
const ENOSPC: i32 = 28;
const ENOSYS: i32 = 38;
const EUSERS: i32 = 87;

/// Why something failed, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Cause {
    pub(super) why: String,
    /// Commands or sentences, in order.
    pub(super) fix: Vec<String>,
}

impl Cause {
    fn new(why: impl Into<String>, fix: &[&str]) -> Self {
        Self {
            why: why.into(),
            fix: fix.iter().map(|line| (*line).to_owned()).collect(),
        }
    }

    pub(super) fn state() -> Self {
        Self::new(
            "pyro's state directory cannot be used",
            &["choose one that you own, on a disk with room: --state-dir DIR, or PYRO_STATE_DIR"],
        )
    }

    /// There are no ids for a sandbox.
    pub(super) fn ids(host: &Host) -> Self {
        if host.user != 0 {
            return Self::state();
        }
        Self::new(
            "the ranges of ids for sandboxes, which /run/pyro/ids has locks of, cannot be had",
            &["look at what the line above names, or run pyro as an ordinary user"],
        )
    }

    pub(super) fn unknown() -> Self {
        Self::new(
            "not known to this version",
            &["please report it, with the lines above: that is a bug in `pyro doctor`"],
        )
    }

    /// The cause of a failed step, from the error number and what the host's settings say.
    pub(super) fn of(failure: &BootFailure, host: &Host) -> Self {
        let refused = matches!(failure.errno, EPERM | EACCES);
        let namespaces = matches!(
            failure.step,
            BootStep::OuterNamespaces | BootStep::InnerNamespaces
        );
        if namespaces && refused && host.userns_clone == Some(0) {
            return Self::sysctl(
                "kernel.unprivileged_userns_clone",
                "1",
                "ordinary users may not make user namespaces here",
            );
        }
        if host.max_user_namespaces == Some(0)
            || (namespaces && matches!(failure.errno, ENOSPC | EUSERS))
        {
            return Self::sysctl(
                "user.max_user_namespaces",
                "15000",
                "there may be no (more) user namespaces here",
            );
        }
        if refused && host.apparmor_restricts == Some(1) && host.user != 0 {
            return Self::apparmor();
        }
        if let (true, Some(container)) = (refused, host.container) {
            return Self::container(container, namespaces);
        }
        match (failure.step, failure.errno) {
            (BootStep::OuterNamespaces | BootStep::InnerNamespaces, ENOSYS | EINVAL) => Self::new(
                "this kernel was built without one of the namespaces (CONFIG_USER_NS, CONFIG_PID_NS, CONFIG_NET_NS)",
                &["boot a distribution kernel, 5.12 or later"],
            ),
            (BootStep::OuterNamespaces, EPERM | EACCES) => Self::new(
                "the kernel forbids user namespaces to this process: a security module, a seccomp filter or a chroot",
                &[
                    "run pyro outside of that confinement; `journalctl -k | grep -i denied` may name it",
                ],
            ),
            // Our own refusal.
            (BootStep::IdMap, 0) => Self::new(
                "this is the host's root in a user namespace without ids to give away (`unshare` run by root)",
                &["run pyro outside of that namespace, or as an ordinary user"],
            ),
            (BootStep::IdMap, _) => Self::new(
                "the id map was refused",
                &[
                    "check that /proc is mounted and writable here, and that no security module forbids it",
                ],
            ),
            (BootStep::AgentRoot | BootStep::InnerMounts, EPERM | EACCES) => Self::new(
                "parts of /proc are hidden by other mounts here, so the kernel lets nobody mount a new one",
                &[
                    "run pyro where /proc is whole (not in a container, or in one with unmasked paths)",
                ],
            ),
            (BootStep::SystemTree, EINVAL) if failure.detail.contains("overlay") => Self::new(
                "this kernel or file system cannot hold the changes to a `dir:` environment (overlayfs)",
                &["use a kernel of 5.11 or later, and a state directory on ext4, xfs or btrfs"],
            ),
            (BootStep::Seccomp, _) => Self::new(
                "this kernel was built without CONFIG_SECCOMP_FILTER",
                &["boot a distribution kernel"],
            ),
            (
                BootStep::Rlimits
                | BootStep::OuterNamespaces
                | BootStep::AgentRoot
                | BootStep::SystemTree
                | BootStep::Loopback
                | BootStep::InnerNamespaces
                | BootStep::InnerMounts
                | BootStep::Pivot
                | BootStep::Privileges,
                _,
            ) => Self::unknown(),
        }
    }

    fn sysctl(name: &str, value: &str, why: &str) -> Self {
        Self {
            why: format!("{name} forbids it: {why}"),
            fix: vec![
                format!("sudo sysctl -w {name}={value}"),
                format!(
                    "echo '{name}={value}' | sudo tee /etc/sysctl.d/50-pyro.conf   # to keep it"
                ),
            ],
        }
    }

    fn apparmor() -> Self {
        let program = std::env::current_exe().map_or_else(
            |_| "/usr/bin/pyro".to_owned(),
            |path| path.display().to_string(),
        );
        let profile = format!(
            "printf 'abi <abi/4.0>,\\ninclude <tunables/global>\\nprofile pyro \"{program}\" flags=(unconfined) {{\\n  userns,\\n}}\\n' \
             | sudo tee /etc/apparmor.d/pyro && sudo apparmor_parser -r /etc/apparmor.d/pyro"
        );
        Self {
            why: "AppArmor takes all privileges from user namespaces of unconfined programs \
                  (kernel.apparmor_restrict_unprivileged_userns=1, Ubuntu 23.10 and later)"
                .to_owned(),
            fix: vec![
                format!("give pyro a profile: {profile}"),
                "or for all programs: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0".to_owned(),
            ],
        }
    }

    fn container(name: &str, namespaces: bool) -> Self {
        let fix = match (name, namespaces) {
            ("docker", true) => {
                "start the container with: --security-opt seccomp=unconfined --security-opt apparmor=unconfined"
            }
            ("docker", false) => {
                "start the container with: --security-opt systempaths=unconfined --security-opt apparmor=unconfined"
            }
            ("podman", _) => {
                "start the container with: --security-opt unmask=ALL --security-opt seccomp=unconfined"
            }
            (_, _) => {
                "let the container make user namespaces and mount proc, or run pyro outside of it"
            }
        };
        Self::new(
            format!("this is a container ({name}) whose runtime forbids it"),
            &[fix],
        )
    }
}

#[cfg(test)]
mod tests {
    use super::{Cause, EACCES, ENOSPC, EPERM};
    use crate::cli::doctor::host::Host;
    use pyro_protocol::boot::{BootFailure, BootStep};

    fn cause(step: BootStep, errno: i32, host: &Host) -> Cause {
        Cause::of(
            &BootFailure {
                step,
                detail: "mount proc".to_owned(),
                errno,
            },
            host,
        )
    }

    #[test]
    fn settings_that_forbid_it_are_named_with_the_command_that_mends_them() {
        let host = Host {
            user: 1000,
            ..Host::default()
        };
        let debian = Host {
            userns_clone: Some(0),
            ..host.clone()
        };
        let found = cause(BootStep::OuterNamespaces, EPERM, &debian);
        assert_eq!(
            found.fix[0],
            "sudo sysctl -w kernel.unprivileged_userns_clone=1"
        );
        let none = Host {
            max_user_namespaces: Some(0),
            ..host.clone()
        };
        let found = cause(BootStep::OuterNamespaces, ENOSPC, &none);
        assert_eq!(
            found.fix[0],
            "sudo sysctl -w user.max_user_namespaces=15000"
        );
        let ubuntu = Host {
            apparmor_restricts: Some(1),
            ..host.clone()
        };
        let found = cause(BootStep::AgentRoot, EACCES, &ubuntu);
        assert!(
            found.why.contains("AppArmor") && found.fix[0].contains("apparmor_parser"),
            "{found:?}"
        );
        let docker = Host {
            container: Some("docker"),
            ..host.clone()
        };
        assert!(
            cause(BootStep::OuterNamespaces, EPERM, &docker).fix[0].contains("seccomp=unconfined")
        );
        assert!(
            cause(BootStep::InnerMounts, EPERM, &docker).fix[0].contains("systempaths=unconfined")
        );
        assert_eq!(cause(BootStep::Pivot, EPERM, &host), Cause::unknown());
    }
}
