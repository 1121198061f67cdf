//! Control groups that the caller may make: where, and for which resources. Looked at, not touched.
//!
//! A group for a run goes below the one that pyro itself is in, so that whatever holds pyro holds the run as well. With
//! version 2 it goes below the nearest group that is ours and already hands the controllers on to its members: a
//! group with processes in it cannot begin to.

use super::facts::{GroupFacts, GroupVersion};
use rustix::fs::{Access, AtFlags, CWD, accessat};
use std::fs;
use std::path::{Path, PathBuf};

/// What this host offers.
pub(super) fn groups() -> GroupFacts {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    find(&read("/proc/self/mountinfo"), &read("/proc/self/cgroup"))
}

/// From the mounts and the groups of a process, as the kernel writes them.
fn find(mounts: &str, own: &str) -> GroupFacts {
    let mounts: Vec<Mount> = mounts.lines().filter_map(Mount::parse).collect();
    let second = second(&mounts, own);
    match second.memory {
        Some(_) => second,
        None => {
            let first = first(&mounts, own);
            match (&first.memory, &first.cpu, &first.processes) {
                (None, None, None) => second,
                (_, _, _) => first,
            }
        }
    }
}

/// A hierarchy of groups, mounted.
#[derive(Debug)]
struct Mount {
    /// Of the hierarchy, what is shown.
    root: String,
    place: PathBuf,
    version: GroupVersion,
    /// Controllers, of version 1.
    options: String,
}

impl Mount {
    /// `31 23 0:28 ROOT PLACE OPTIONS [TAGS] - TYPE SOURCE OPTIONS`.
    fn parse(line: &str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(3);
        let (root, place) = (before.next()?, before.next()?);
        let mut after = after.split(' ');
        let version = match after.next()? {
            "cgroup" => GroupVersion::One,
            "cgroup2" => GroupVersion::Two,
            _ => return None,
        };
        Some(Self {
            root: root.to_owned(),
            // Nobody mounts these at a place with a space in it.
            place: PathBuf::from(place),
            version,
            options: after.nth(1).unwrap_or_default().to_owned(),
        })
    }

    /// Where the group `own` is to be seen, if it is below what is mounted.
    fn folder(&self, own: &str) -> Option<PathBuf> {
        let below = Path::new(own).strip_prefix(&self.root).ok()?;
        let folder = self.place.join(below);
        folder.is_dir().then_some(folder)
    }
}

/// The group of a process in the hierarchy of a controller; of version 2 for an empty name.
fn own_group<'a>(own: &'a str, controller: &str) -> Option<&'a str> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let named = controllers.split(',').any(|name| name == controller);
        named.then_some(path)
    })
}

/// Whether we may make groups in `folder` and move our processes into them, through `list`.
fn is_ours(folder: &Path, list: &str) -> bool {
    let may = |path: &Path, access| accessat(CWD, path, access, AtFlags::EACCESS).is_ok();
    may(folder, Access::WRITE_OK | Access::EXEC_OK) && may(&folder.join(list), Access::WRITE_OK)
}

fn first(mounts: &[Mount], own: &str) -> GroupFacts {
    let place = |controller: &str| {
        let own = own_group(own, controller)?;
        let mount = mounts.iter().find(|mount| {
            mount.version == GroupVersion::One
                && mount.options.split(',').any(|name| name == controller)
        })?;
        let folder = mount.folder(own)?;
        is_ours(&folder, "tasks").then_some(folder)
    };
    GroupFacts {
        version: Some(GroupVersion::One),
        memory: place("memory"),
        cpu: place("cpu"),
        processes: place("pids"),
    }
}

fn second(mounts: &[Mount], own: &str) -> GroupFacts {
    let nothing = GroupFacts::default();
    let Some(own) = own_group(own, "") else {
        return nothing;
    };
    let mount = mounts
        .iter()
        .find(|mount| mount.version == GroupVersion::Two);
    let Some((mount, own)) = mount.and_then(|mount| Some((mount, mount.folder(own)?))) else {
        return nothing;
    };
    for folder in own.ancestors() {
        if !folder.starts_with(&mount.place) || !is_ours(folder, "cgroup.procs") {
            // What lies above belongs to somebody else too, or is no group.
            return nothing;
        }
        let handed = fs::read_to_string(folder.join("cgroup.subtree_control")).unwrap_or_default();
        let has = |controller: &str| {
            let handed = handed.split_whitespace().any(|name| name == controller);
            handed.then(|| folder.to_owned())
        };
        if has("memory").is_some() {
            return GroupFacts {
                version: Some(GroupVersion::Two),
                memory: has("memory"),
                cpu: has("cpu"),
                processes: has("pids"),
            };
        }
    }
    nothing
}

#[cfg(test)]
mod tests {
    use super::{GroupFacts, GroupVersion, Path, find};
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    /// A folder that looks like a group.
    fn group(path: &Path, handed: &str) {
        fs::create_dir_all(path).expect("makes");
        for name in ["tasks", "cgroup.procs"] {
            fs::write(path.join(name), "").expect("writes");
        }
        fs::write(path.join("cgroup.subtree_control"), handed).expect("writes");
    }

    fn lock(path: &Path) {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).expect("closes");
    }

    #[test]
    fn groups_of_version_1_go_below_our_own() {
        let base = tempfile::tempdir().expect("a folder");
        let at = |name: &str| base.path().join(name);
        for name in ["memory", "memory/box/job", "cpu,cpuacct"] {
            group(&at(name), "");
        }
        let mounts = format!(
            "30 23 0:27 / {0} rw - tmpfs tmpfs rw\n\
             31 30 0:28 /box {0}/memory/box rw,relatime shared:9 - cgroup cgroup rw,memory\n\
             32 30 0:29 / {0}/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n",
            base.path().display()
        );
        let own = "8:pids:/\n4:memory:/box/job\n1:cpu,cpuacct:/\n0::/\n";
        let found = find(&mounts, own);
        assert_eq!(found.version, Some(GroupVersion::One));
        assert_eq!(found.memory, Some(at("memory/box/job")));
        assert_eq!(found.cpu, Some(at("cpu,cpuacct")));
        assert_eq!(found.processes, None);
    }

    #[test]
    fn groups_of_version_2_go_where_controllers_are_handed_on() {
        let base = tempfile::tempdir().expect("a folder");
        let at = |name: &str| base.path().join(name);
        group(base.path(), "cpu memory pids");
        group(&at("user"), "memory pids");
        group(&at("user/app"), "");
        let mounts = format!(
            "31 30 0:28 / {} rw - cgroup2 cgroup2 rw\n",
            base.path().display()
        );
        let found = find(&mounts, "0::/user/app\n");
        assert_eq!(
            found,
            GroupFacts {
                version: Some(GroupVersion::Two),
                memory: Some(at("user")),
                cpu: None,
                processes: Some(at("user")),
            }
        );
        // Of an own group that hands nothing on, below somebody else's.
        if !rustix::process::geteuid().is_root() {
            lock(&at("user"));
            assert_eq!(find(&mounts, "0::/user/app\n"), GroupFacts::default());
            let open = fs::Permissions::from_mode(0o755);
            fs::set_permissions(at("user"), open).expect("opens");
        }
        // A group that is not to be seen here: somebody else's namespace.
        assert_eq!(find(&mounts, "0::/../else\n"), GroupFacts::default());
        assert_eq!(find(&mounts, ""), GroupFacts::default());
        assert_eq!(find("", "0::/\n"), GroupFacts::default());
    }
}
