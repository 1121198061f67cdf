//! The tree that programs see, but for what needs their own namespaces (`/proc`, `/dev/pts`).
//!
//! ```text
//!  /                    read-only: a small tmpfs with binds of the host's programs, or an overlay on an image
//!  /workspace           the work tree
//!  /root /tmp /run ...  folders of one sized tmpfs, "scratch"
//!  /dev                 six device nodes, read-only
//! ```

use super::layer;
use super::mounts::{self, Tree};
use super::outer;
use super::report::At as _;
use super::sources::{Part, Sources, System};
use super::sys::{self, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY};
use pyro_protocol::boot::{Boot, BootFailure, BootStep};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::MountAttrFlags;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

/// Who is who inside; the host's own accounts are none of the sandbox's business.
const ETC: [(&str, &str); 5] = [
    (
        "passwd",
        "root:x:0:0:root:/root:/bin/sh\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\nbin:x:2:2:bin:/bin:/usr/sbin/nologin\nman:x:6:12:man:/var/cache/man:/usr/sbin/nologin\nwww-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
    ),
    (
        "group",
        "root:x:0:\ndaemon:x:1:\nbin:x:2:\nadm:x:4:\ntty:x:5:\ndisk:x:6:\nman:x:12:\nwww-data:x:33:\nstaff:x:50:\nusers:x:100:\nnogroup:x:65534:\n",
    ),
    (
        "nsswitch.conf",
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\nservices: files\n",
    ),
    ("host.conf", "multi on\n"),
    ("shells", "/bin/sh\n/bin/bash\n"),
];

/// The seed belongs to root here and to somebody else on the host: git must not mind, and commits need an author.
const GITCONFIG: &str = "[safe]\n\tdirectory = *\n[user]\n\tname = pyro\n\temail = pyro@localhost\n[init]\n\tdefaultBranch = main\n";

/// The places that are kept in scratch: name there, place in the tree, mode.
const SCRATCH_HOST: [(&str, &str, u32); 5] = [
    ("tmp", "tmp", 0o1777),
    ("run", "run", 0o755),
    ("root", "root", 0o700),
    ("shm", "dev/shm", 0o1777),
    ("var", "var", 0o755),
];
/// The same with an image, which has its own /var and /root (the last only where that is not root's inside).
const SCRATCH_DIR: [(&str, &str, u32); 4] = [
    ("tmp", "tmp", 0o1777),
    ("run", "run", 0o755),
    ("shm", "dev/shm", 0o1777),
    ("root", "root", 0o700),
];

/// Links in /dev, which every program expects.
const DEV_LINKS: [(&str, &str); 6] = [
    ("dev/fd", "/proc/self/fd"),
    ("dev/stdin", "/proc/self/fd/0"),
    ("dev/stdout", "/proc/self/fd/1"),
    ("dev/stderr", "/proc/self/fd/2"),
    ("dev/core", "/proc/kcore"),
    ("dev/ptmx", "pts/ptmx"),
];

const TMPFS: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NODEV);

/// What was built.
#[derive(Debug)]
pub(crate) struct SystemTree {
    pub(crate) tree: Tree,
    /// The folder of the writable layer, where it is an overlay.
    pub(crate) layer: Option<OwnedFd>,
    /// What is weaker than usual.
    pub(crate) notes: Vec<String>,
}

/// Builds the tree at `place` (of the agent's root), from what was taken from the host.
///
/// `state` is the run's folder, attached; `owner` is root inside, as the agent numbers it.
pub(crate) fn build(
    boot: &Boot,
    sources: Sources,
    state: &OwnedFd,
    place: &OwnedFd,
    owner: u32,
) -> Result<SystemTree, BootFailure> {
    let step = BootStep::SystemTree;
    let Sources {
        run_dir: _,
        devices,
        system,
        expose,
        mut notes,
    } = sources;
    // Before the rights over other people's folders are gone, see below.
    let work = mounts::bind(
        state.as_fd(),
        c"tree",
        MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV,
        false,
    )
    .at(step, "bind the work tree")?;
    let (tree, layer) = match system {
        System::Host(parts) => (host(parts, devices, place, owner)?, None),
        System::Dir(lower) => {
            let (tree, folder) = image(&lower, boot, state, place, owner, &mut notes)?;
            dev(&tree, devices)?;
            (tree, Some(folder))
        }
    };
    let is_host = layer.is_none();
    let places: &[_] = if is_host {
        &SCRATCH_HOST
    } else if home_is_roots(&tree).at(step, "look at the image's /root")? {
        &SCRATCH_DIR[..3]
    } else {
        &SCRATCH_DIR
    };
    scratch(&tree, boot, places)?;
    let workspace = Path::new("workspace");
    if is_host {
        tree.fresh_mount(workspace, &work, true)
    } else {
        tree.mount(workspace, &work)
    }
    .at(step, "attach the work tree at /workspace")?;
    for (path, mount) in expose {
        tree.mount(&path, &mount).at(
            step,
            format!("expose /{}: make a place for it", path.display()),
        )?;
    }
    match named(&tree, boot) {
        // An image of somebody whose ids are not mapped: what it has is shown, and nothing can be added there.
        Err(Errno::ACCESS | Errno::PERM | Errno::OVERFLOW) if !is_host => {
            notes.push("the image's /etc belongs to somebody else: it is shown as it is".to_owned())
        }
        written => written.at(step, "write /etc/hosts and others")?,
    }
    if is_host {
        for (folder, mode) in [
            ("proc", 0o755),
            ("home", 0o755),
            ("mnt", 0o755),
            ("srv", 0o755),
            ("var/tmp", 0o1777),
            ("var/lib", 0o755),
            ("var/cache", 0o755),
            ("var/log", 0o755),
        ] {
            tree.fresh_directory(Path::new(folder), mode)
                .at(step, format!("make /{folder}"))?;
        }
        if owner != 0 {
            sys::make_files_as(0);
            outer::after_ids_changed().at(step, "take back the rights over files")?;
        }
        mounts::restrict(&tree.root, MOUNT_ATTR_RDONLY).at(step, "make the root read-only")?;
    }
    Ok(SystemTree { tree, layer, notes })
}

fn tmpfs(size: u64, inodes: u64) -> rustix::io::Result<OwnedFd> {
    let (size, inodes) = (size.to_string(), inodes.to_string());
    let options = [
        ("size", size.as_str()),
        ("nr_inodes", inodes.as_str()),
        ("mode", "0755"),
    ];
    mounts::new("tmpfs", &options, TMPFS)
}

/// A small tmpfs that nobody fills: it holds names, and files of a few lines.
pub(crate) fn skeleton() -> rustix::io::Result<OwnedFd> {
    tmpfs(4 << 20, 4096)
}

/// The tree itself is a folder of the agent's own tmpfs, seen through a mount of its own: a file system less.
fn host(
    parts: Vec<Part>,
    devices: Vec<(&'static str, OwnedFd)>,
    place: &OwnedFd,
    owner: u32,
) -> Result<Tree, BootFailure> {
    let step = BootStep::SystemTree;
    let tree = Tree {
        root: mounts::copy(place, false).at(step, "bind the root")?,
        owner,
        overrule: false,
    };
    rustix::fs::chmodat(CWD, c"inner", Mode::from_raw_mode(0o755), AtFlags::empty())
        .at(step, "open up the root")?;
    own(&tree).at(step, "own the root")?;
    mounts::attach(&tree.root, place).at(step, "attach the root")?;
    if owner != 0 {
        // From here on everything belongs to root inside, without being told one by one.
        sys::make_files_as(owner);
    }
    for part in parts {
        match part {
            Part::Mount {
                path,
                mount,
                is_directory,
            } => tree
                .fresh_mount(&path, &mount, is_directory)
                .at(step, format!("attach /{}", path.display()))?,
            Part::Link(path, target) => tree
                .fresh_link(&path, &target)
                .at(step, format!("link /{}", path.display()))?,
            Part::Hidden(path) => {
                let empty = mounts::handle(CWD, c"empty").at(step, "open /empty")?;
                let nothing = mounts::copy(&empty, false).at(step, "copy /empty")?;
                mounts::restrict(&nothing, MOUNT_ATTR_RDONLY).at(step, "make it read-only")?;
                // Below a mount of the host's: there the place is looked up with care.
                tree.mount(&path, &nothing)
                    .at(step, format!("hide /{}", path.display()))?;
            }
        }
    }
    let etc = Path::new("etc");
    for (name, text) in ETC {
        tree.fresh_file(&etc.join(name), text.as_bytes())
            .at(step, format!("write /etc/{name}"))?;
    }
    tree.fresh_link(&etc.join("mtab"), Path::new("/proc/self/mounts"))
        .at(step, "link /etc/mtab")?;
    tree.fresh_link(
        &etc.join("localtime"),
        Path::new("/usr/share/zoneinfo/Etc/UTC"),
    )
    .at(step, "link /etc/localtime")?;
    // Read-only with the root, so it needs no file system of its own.
    let folder = Path::new("dev");
    for (name, node) in devices {
        tree.fresh_mount(&folder.join(name), &node, false)
            .at(step, format!("attach /dev/{name}"))?;
    }
    for (path, target) in DEV_LINKS {
        tree.fresh_link(Path::new(path), Path::new(target))
            .at(step, format!("link /{path}"))?;
    }
    tree.fresh_directory(&folder.join("pts"), 0o755)
        .at(step, "make /dev/pts")?;
    Ok(tree)
}

fn home_is_roots(tree: &Tree) -> rustix::io::Result<bool> {
    let home = tree.directory(Path::new("root"), 0o700)?;
    Ok(rustix::fs::fstat(home)?.st_uid == tree.owner)
}

/// What names this machine; an image that has its own keeps it.
fn named(tree: &Tree, boot: &Boot) -> rustix::io::Result<()> {
    let name = &boot.hostname;
    let hosts = format!("127.0.0.1 localhost {name}\n::1 localhost ip6-localhost ip6-loopback\n");
    let file = |path: &str, text: &[u8]| {
        let path = Path::new(path);
        if tree.overrule {
            tree.file(path, text)
        } else {
            tree.fresh_file(path, text)
        }
    };
    file("etc/hosts", hosts.as_bytes())?;
    file("etc/hostname", format!("{name}\n").as_bytes())?;
    file("etc/resolv.conf", b"# This sandbox has no name server.\n")?;
    // Wherever git was installed to: most read the first, one with a prefix of its own only the second.
    file("etc/gitconfig", GITCONFIG.as_bytes())?;
    file("root/.config/git/config", GITCONFIG.as_bytes())
}

/// The top of a fresh file system belongs to the agent; inside, it is root's.
fn own(tree: &Tree) -> rustix::io::Result<()> {
    let (uid, gid) = (
        rustix::fs::Uid::from_raw(tree.owner),
        rustix::fs::Gid::from_raw(tree.owner),
    );
    rustix::fs::chownat(&tree.root, c"", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
}

fn image(
    lower: &OwnedFd,
    boot: &Boot,
    state: &OwnedFd,
    place: &OwnedFd,
    owner: u32,
    notes: &mut Vec<String>,
) -> Result<(Tree, OwnedFd), BootFailure> {
    let step = BootStep::SystemTree;
    // A lower layer is named by path, and has to be attached in this namespace: it hides under the root to come.
    mounts::attach(lower, place).at(step, "attach the image")?;
    let upper = rustix::fs::openat(
        state,
        c"system",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    );
    let on_disk = upper.and_then(|folder| Ok((overlay(&folder, owner)?, folder)));
    let (overlay, folder) = match on_disk {
        Ok(made) => made,
        Err(refused) => {
            let memory = tmpfs(
                boot.limits
                    .disk
                    .clamp(16 << 20, boot.limits.memory.max(16 << 20)),
                1 << 20,
            )
            .at(step, "make a tmpfs for the upper layer")?;
            let holder = mounts::handle(CWD, c"upper").at(step, "open /upper")?;
            mounts::attach(&memory, &holder).at(step, "attach the upper layer")?;
            let overlay = overlay(&memory, owner).at(step, "mount overlay")?;
            notes.push(format!(
                "changes to the system tree are kept in memory: the run folder's file system cannot hold them ({refused})"
            ));
            let folder = super::zygote::open_directory(c"/upper").at(step, "open /upper")?;
            (overlay, folder)
        }
    };
    let place = mounts::handle(CWD, c"inner").at(step, "open /inner")?;
    let root = overlay;
    mounts::attach(&root, &place).at(step, "attach the overlay")?;
    let tree = Tree {
        root,
        owner,
        overrule: true,
    };
    for folder in ["proc", "dev", "etc"] {
        tree.directory(Path::new(folder), 0o755)
            .at(step, format!("make /{folder} in the upper layer"))?;
    }
    Ok((tree, folder))
}

fn overlay(folder: &OwnedFd, owner: u32) -> rustix::io::Result<OwnedFd> {
    layer::prepare(folder, owner)?;
    layer::mount(folder)
}

fn dev(tree: &Tree, devices: Vec<(&'static str, OwnedFd)>) -> Result<(), BootFailure> {
    let step = BootStep::SystemTree;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let options = [("size", "64k"), ("nr_inodes", "64"), ("mode", "0755")];
    let mount = mounts::new("tmpfs", &options, attributes).at(step, "make a tmpfs for /dev")?;
    tree.mount(Path::new("dev"), &mount)
        .at(step, "attach /dev")?;
    let dev = Tree {
        root: mount,
        owner: tree.owner,
        overrule: false,
    };
    own(&dev).at(step, "own /dev")?;
    for (name, node) in devices {
        dev.mount(Path::new(name), &node)
            .at(step, format!("attach /dev/{name}"))?;
    }
    for (path, target) in DEV_LINKS {
        tree.link(Path::new(path), Path::new(target))
            .at(step, format!("link /{path}"))?;
    }
    for folder in ["pts", "shm"] {
        dev.directory(Path::new(folder), 0o755)
            .at(step, format!("make /dev/{folder}"))?;
    }
    mounts::restrict(&dev.root, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOEXEC)
        .at(step, "make /dev read-only")
}

fn scratch(tree: &Tree, boot: &Boot, places: &[(&str, &str, u32)]) -> Result<(), BootFailure> {
    let step = BootStep::SystemTree;
    // One file system for all of them, so that one number bounds what they take from memory together.
    let size = (boot.limits.memory / 2).max(16 << 20);
    let mount = tmpfs(size, 1 << 18).at(step, "make a tmpfs for /tmp and others")?;
    let holder = mounts::handle(CWD, c"scratch").at(step, "open /scratch")?;
    mounts::attach(&mount, &holder).at(step, "attach the tmpfs for /tmp and others")?;
    let inside = Tree {
        root: mount,
        owner: tree.owner,
        overrule: false,
    };
    for (name, place, mode) in places {
        let path = Path::new(name);
        inside
            .fresh_directory(path, *mode)
            .and_then(|()| inside.claim(inside.root.as_fd(), path.as_os_str()))
            .at(step, format!("make /{place}"))?;
        let bound = mounts::copy_at(&inside.root, path).at(step, format!("bind /{place}"))?;
        let place = Path::new(place);
        if tree.overrule {
            tree.mount(place, &bound)
        } else {
            tree.fresh_mount(place, &bound, true)
        }
        .at(step, format!("attach /{}", place.display()))?;
    }
    Ok(())
}
