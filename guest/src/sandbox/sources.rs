//! What a sandbox takes from the host, as detached read-only mounts.
//!
//! With a range of ids the zygote opens them, while it is still the host's root: the way to a run folder may be
//! closed to everybody else. An ordinary user's child opens them in its own mount namespace, the only one where it
//! may copy mounts.

use super::idmap;
use super::mounts;
use super::report::{At as _, refusal};
use super::sys::{
    Attributes, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY,
    mount_setattr,
};
use pyro_protocol::Bytes;
use pyro_protocol::boot::{Boot, BootEnvironment, BootFailure, BootStep, Ids};
use rustix::fs::CWD;
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Shown from the host's root: whatever of these is a directory; links among them are made again.
const SYSTEM: [&str; 9] = [
    "usr",
    "opt",
    "bin",
    "sbin",
    "lib",
    "lib32",
    "lib64",
    "libx32",
    "nix/store",
];

/// Shown from the host's /etc, where everybody may read it. The rest is made up, see `system`.
const ETC: [&str; 16] = [
    "ssl",
    "ca-certificates",
    "pki",
    "crypto-policies",
    "alternatives",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "os-release",
    "services",
    "protocols",
    // Java keeps its whole configuration here, behind links from /usr.
    "java",
    "java-11-openjdk",
    "java-17-openjdk",
    "java-21-openjdk",
    "java-25-openjdk",
];

/// Device nodes that are shown: their permissions on the host are 0666 everywhere.
pub(crate) const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const READ_ONLY: u64 = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

/// A part of the host's system: where it goes, and what it is.
#[derive(Debug)]
pub(crate) enum Part {
    /// A tree, or else a file.
    Mount {
        path: PathBuf,
        mount: OwnedFd,
        is_directory: bool,
    },
    /// A link, made again.
    Link(PathBuf, PathBuf),
    /// A place that must stay empty.
    Hidden(PathBuf),
}

/// Everything that comes from the host.
#[derive(Debug)]
pub(crate) struct Sources {
    /// The run's folder, writable.
    pub(crate) run_dir: OwnedFd,
    /// In the order of [`DEVICES`].
    pub(crate) devices: Vec<(&'static str, OwnedFd)>,
    /// The system tree.
    pub(crate) system: System,
    /// Exposed paths, relative to the root.
    pub(crate) expose: Vec<(PathBuf, OwnedFd)>,
    /// What is weaker than usual.
    pub(crate) notes: Vec<String>,
}

/// The system tree's parts.
#[derive(Debug)]
pub(crate) enum System {
    /// The host's own programs.
    Host(Vec<Part>),
    /// One directory, the lower layer of an overlay.
    Dir(OwnedFd),
}

impl Sources {
    /// Opens all of them.
    pub(crate) fn open(boot: &Boot) -> Result<Self, BootFailure> {
        let mut notes = Vec::new();
        let run_dir = mounts::bind_host(&boot.run_dir, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV).at(
            BootStep::AgentRoot,
            format!("open {}", boot.run_dir.lossy()),
        )?;
        let mut devices = Vec::new();
        for name in DEVICES {
            let node = device(name).at(BootStep::InnerMounts, format!("bind /dev/{name}"))?;
            devices.push((name, node));
        }
        let system = match &boot.environment {
            BootEnvironment::Host => System::Host(host_parts()?),
            BootEnvironment::Dir(path) => System::Dir(lower(path, boot.ids, &mut notes)?),
        };
        let mut expose = Vec::new();
        for path in &boot.expose {
            expose.push(exposed(path)?);
        }
        // A parent first: mounting it later would hide what lies below it.
        expose.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(Self {
            run_dir,
            devices,
            system,
            expose,
            notes,
        })
    }
}

fn device(name: &str) -> std::io::Result<OwnedFd> {
    let path = format!("/dev/{name}");
    // A container may have put something else there; only the real thing may go in.
    if !fs::symlink_metadata(&path)?.file_type().is_char_device() {
        return Err(Errno::NODEV.into());
    }
    let set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
    Ok(mounts::bind(CWD, path, set, false)?)
}

fn host_parts() -> Result<Vec<Part>, BootFailure> {
    let mut parts = Vec::new();
    for name in SYSTEM {
        part(Path::new(name), &mut parts)?;
    }
    let etc = Path::new("etc");
    for name in ETC {
        part(&etc.join(name), &mut parts)?;
    }
    Ok(parts)
}

fn part(relative: &Path, parts: &mut Vec<Part>) -> Result<(), BootFailure> {
    let path = Path::new("/").join(relative);
    let Ok(metadata) = fs::symlink_metadata(&path) else {
        return Ok(());
    };
    let kind = metadata.file_type();
    if kind.is_symlink() {
        if let Ok(target) = fs::read_link(&path) {
            parts.push(Part::Link(relative.to_path_buf(), target));
        }
        return Ok(());
    }
    let public = if kind.is_dir() { 0o005 } else { 0o004 };
    if metadata.permissions().mode() & public != public || !(kind.is_dir() || kind.is_file()) {
        return Ok(());
    }
    let mount = mounts::bind_host(path.as_os_str().as_bytes(), READ_ONLY)
        .at(BootStep::SystemTree, format!("bind {}", path.display()))?;
    parts.push(Part::Mount {
        path: relative.to_path_buf(),
        mount,
        is_directory: kind.is_dir(),
    });
    // Private keys: readable by nobody here in most cases, but there is no reason to show even their names.
    let private = relative.join("private");
    if relative == Path::new("etc/ssl") && path.join("private").is_dir() {
        parts.push(Part::Hidden(private));
    }
    Ok(())
}

fn lower(path: &Bytes, ids: Ids, notes: &mut Vec<String>) -> Result<OwnedFd, BootFailure> {
    let step = BootStep::SystemTree;
    // Not recursive: what is mounted below on the host is none of the image's business.
    let tree = mounts::bind(CWD, OsStr::from_bytes(path), READ_ONLY, false)
        .at(step, format!("open {}", path.lossy()))?;
    if let Ids::Range { base } = ids {
        let users = idmap::shifted(base).at(step, "make a user namespace for the id map")?;
        let attributes = Attributes {
            idmap: Some(std::os::fd::AsFd::as_fd(&users)),
            ..Attributes::default()
        };
        if let Err(error) = mount_setattr(&tree, attributes) {
            notes.push(format!(
                "files of {} show as nobody's: its file system cannot map ids ({error})",
                path.lossy()
            ));
        }
    }
    Ok(tree)
}

fn exposed(path: &Bytes) -> Result<(PathBuf, OwnedFd), BootFailure> {
    let step = BootStep::SystemTree;
    let shown = path.lossy();
    let full = Path::new(OsStr::from_bytes(path));
    let Ok(relative) = full.strip_prefix("/") else {
        return Err(refusal(step, format!("expose {shown}: not absolute")));
    };
    let Some(first) = relative.components().next() else {
        return Err(refusal(step, "expose /: the whole host"));
    };
    let plain = relative
        .components()
        .all(|component| matches!(component, std::path::Component::Normal(_)));
    let ours = ["workspace", "proc", "sys", "dev", "tmp", "run"];
    if !plain || ours.iter().any(|name| first.as_os_str() == *name) {
        return Err(refusal(
            step,
            format!("expose {shown}: the sandbox has its own"),
        ));
    }
    let metadata = fs::symlink_metadata(full).at(step, format!("expose {shown}"))?;
    if !(metadata.is_dir() || metadata.is_file()) {
        return Err(refusal(
            step,
            format!(
                "expose {shown}: neither a directory nor a file (mode {:o})",
                metadata.mode()
            ),
        ));
    }
    let mount = mounts::bind_host(path, READ_ONLY).at(step, format!("expose {shown}"))?;
    Ok((relative.to_path_buf(), mount))
}
