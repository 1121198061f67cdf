//! What this host is, as far as sandboxes care. Everything here is optional: a missing file is an answer too.

use std::fs;

/// What this host is.
#[derive(Debug, Clone, Default)]
pub(super) struct Host {
    /// `PRETTY_NAME` of os-release.
    pub(super) distribution: String,
    pub(super) kernel: String,
    pub(super) user: u32,
    /// `docker`, `podman`, `container`.
    pub(super) container: Option<&'static str>,
    /// `kernel.unprivileged_userns_clone` (Debian, older Arch).
    pub(super) userns_clone: Option<u64>,
    /// `user.max_user_namespaces`.
    pub(super) max_user_namespaces: Option<u64>,
    /// `kernel.apparmor_restrict_unprivileged_userns` (Ubuntu 23.10 and later).
    pub(super) apparmor_restricts: Option<u64>,
    pub(super) kvm: bool,
    pub(super) cgroup: &'static str,
}

impl Host {
    pub(super) fn look() -> Self {
        let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
        let field = |name: &str| {
            let line = release
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            line.unwrap_or("").trim_matches('"').to_owned()
        };
        let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse().ok();
        let exists = |path: &str| fs::metadata(path).is_ok();
        Self {
            distribution: field("PRETTY_NAME"),
            kernel: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            user: rustix::process::geteuid().as_raw(),
            container: if exists("/.dockerenv") {
                Some("docker")
            } else if exists("/run/.containerenv") {
                Some("podman")
            } else if fs::read_to_string("/proc/1/environ")
                .is_ok_and(|text| text.contains("container="))
            {
                Some("container")
            } else {
                None
            },
            userns_clone: number("/proc/sys/kernel/unprivileged_userns_clone"),
            max_user_namespaces: number("/proc/sys/user/max_user_namespaces"),
            apparmor_restricts: number("/proc/sys/kernel/apparmor_restrict_unprivileged_userns"),
            kvm: fs::OpenOptions::new()
                .read(true)
                .write(true)
                .open("/dev/kvm")
                .is_ok(),
            cgroup: if exists("/sys/fs/cgroup/cgroup.controllers") {
                "v2"
            } else if exists("/sys/fs/cgroup/memory") {
                "v1"
            } else {
                "none"
            },
        }
    }

    /// For people, in order.
    pub(super) fn shown(&self) -> Vec<(&'static str, String)> {
        let user = if self.user == 0 {
            "root".to_owned()
        } else {
            format!("{} (an ordinary user)", self.user)
        };
        let mut shown = vec![
            ("pyro", env!("CARGO_PKG_VERSION").to_owned()),
            ("distribution", self.distribution.clone()),
            ("kernel", self.kernel.clone()),
            ("user", user),
        ];
        if let Some(container) = self.container {
            shown.push(("inside", container.to_owned()));
        }
        shown.push(("cgroups", self.cgroup.to_string()));
        let kvm = if self.kvm {
            "can be opened"
        } else {
            "cannot be opened"
        };
        shown.push((
            "/dev/kvm",
            format!("{kvm} (not used yet: there is no microVM machine)"),
        ));
        shown
    }
}
