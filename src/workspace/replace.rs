//! Replaces a small file of ours whole.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, linkat, open, renameat};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;

/// Writes `path` so that it holds either what it held before or all of `contents`.
///
/// The file has no name until it is whole, so a process that dies leaves nothing; only where something is to be
/// replaced does the whole file bear a name of its own for a moment.
///
/// # Errors
/// Where the disk refuses.
pub fn replace_file(path: &Path, contents: &[u8]) -> io::Result<()> {
    let folder = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let mode = Mode::RUSR | Mode::WUSR | Mode::RGRP | Mode::ROTH;
    let nameless = open(
        folder,
        OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC,
        mode,
    );
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(format!(".pyro-{}", std::process::id()));
    let Ok(nameless) = nameless else {
        // Not every file system has nameless files.
        let written = fs::write(&temporary, contents).and_then(|()| fs::rename(&temporary, path));
        if written.is_err() {
            let _gone = fs::remove_file(&temporary);
        }
        return written;
    };
    let mut file = File::from(nameless);
    file.write_all(contents)?;
    let name = |to: &Path| {
        linkat(
            CWD,
            format!("/proc/self/fd/{}", file.as_raw_fd()),
            CWD,
            to,
            AtFlags::SYMLINK_FOLLOW,
        )
    };
    match name(path) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => {
            name(Path::new(&temporary))?;
            renameat(CWD, &temporary, CWD, path).map_err(|errno| {
                let _gone = fs::remove_file(&temporary);
                errno.into()
            })
        }
        Err(errno) => Err(errno.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::replace_file;
    use std::fs;

    #[test]
    fn files_are_made_and_replaced_and_nothing_else_is_left() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("file");
        for contents in ["one", "two"] {
            replace_file(&path, contents.as_bytes()).expect("writes");
            assert_eq!(fs::read_to_string(&path).expect("reads"), contents);
        }
        replace_file(folder.path(), b"x").expect_err("a directory is in the way");
        replace_file(&folder.path().join("no/file"), b"x").expect_err("there is no such folder");
        assert_eq!(fs::read_dir(folder.path()).expect("reads").count(), 1);
    }
}
