//! An export as a hostile sandbox would send it. Whatever the archive is: the host has all of it below the target, or
//! nothing, and nothing anywhere else.

use super::tar::mended;
use pyro::request::{Digest, Overwrite};
use pyro::workspace::{HostTarget, RunDir, StateDir, unpack};
use pyro_protocol::message::Kind;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

/// More than a target takes.
const LIMIT: u64 = 1 << 16;

struct Place {
    folder: tempfile::TempDir,
    run: RunDir,
}

thread_local! {
    static PLACE: Place = place();
}

fn place() -> Place {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let state = StateDir::open(Some(&folder.path().join("state"))).expect("a state directory");
    let run = state.new_run().expect("a run");
    fs::create_dir(folder.path().join("near")).expect("a new folder");
    fs::write(folder.path().join("outside"), "as it was").expect("a new file");
    Place { folder, run }
}

/// Takes a tar archive; its checksums are made right.
pub fn export(data: &[u8]) {
    let archive = mended(data);
    PLACE.with(|place| {
        for kind in [Kind::Directory, Kind::File] {
            try_out(place, &archive, kind);
        }
    });
}

fn try_out(place: &Place, archive: &[u8], kind: Kind) {
    let near = place.folder.path().join("near");
    let path = near.join("target");
    let target = HostTarget {
        path: &path,
        overwrite: Overwrite::Refuse,
        kind,
        limit: LIMIT,
    };
    let names = |folder: &Path| {
        let mut names: Vec<_> = (fs::read_dir(folder).expect("a folder"))
            .map(|entry| entry.expect("an entry").file_name())
            .collect();
        names.sort();
        names
    };
    match unpack(archive, &target, &place.run) {
        Ok(files) => {
            assert_eq!(names(&near), ["target"]);
            let mut bytes = 0;
            for file in &files {
                assert!(file.path.starts_with(&path), "{}", file.path.display());
                let content = fs::read(&file.path).expect("an exported file");
                assert_eq!(content.len() as u64, file.size);
                assert_eq!(Digest::of(&content), file.sha256);
                bytes += file.size;
            }
            assert!(bytes <= LIMIT, "{bytes} bytes");
            let metadata = path.symlink_metadata().expect("the target");
            assert_eq!(metadata.is_dir(), kind == Kind::Directory);
            remove(&path);
        }
        Err(error) => assert_eq!(names(&near), [""; 0], "{error}"),
    }
    assert_eq!(names(place.folder.path()), ["near", "outside", "state"]);
    let outside = fs::read(place.folder.path().join("outside")).expect("still there");
    assert_eq!(outside, b"as it was");
}

/// Removes what was exported, and looks at each mode of it.
fn remove(path: &Path) {
    let metadata = path.symlink_metadata().expect("metadata");
    if metadata.is_symlink() {
        return fs::remove_file(path).expect("removed");
    }
    assert_eq!(
        metadata.permissions().mode() & 0o7000,
        0,
        "{}",
        path.display()
    );
    if !metadata.is_dir() {
        return fs::remove_file(path).expect("removed");
    }
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).expect("a mode");
    for entry in fs::read_dir(path).expect("a folder") {
        remove(&entry.expect("an entry").path());
    }
    fs::remove_dir(path).expect("removed");
}
