//! One host file, read whole or not at all.

use super::facts::{FileFact, MAX_FILE};
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Reads a regular file; links are followed. Never waits for a pipe to be written to.
pub(super) fn read(path: &Path) -> FileFact {
    open_and_read(path, OFlags::empty())
}

/// Reads a regular file that is no link.
pub(super) fn read_no_follow(path: &Path) -> FileFact {
    open_and_read(path, OFlags::NOFOLLOW)
}

fn open_and_read(path: &Path, more: OFlags) -> FileFact {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | more;
    let mut file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(file) => File::from(file),
        Err(rustix::io::Errno::NOENT) => return FileFact::Missing,
        Err(error) => {
            return match std::fs::symlink_metadata(path) {
                // A socket cannot even be opened.
                Ok(meta) if !meta.is_file() && !meta.is_symlink() => {
                    FileFact::NotAFile(kind_word(&meta).to_owned())
                }
                Ok(_) | Err(_) => FileFact::Unreadable(why(&error.into())),
            };
        }
    };
    let meta = match file.metadata() {
        Ok(meta) => meta,
        Err(error) => return FileFact::Unreadable(why(&error)),
    };
    if !meta.is_file() {
        return FileFact::NotAFile(kind_word(&meta).to_owned());
    }
    if meta.len() > MAX_FILE {
        return FileFact::TooLarge(meta.len());
    }
    let mut content = Vec::with_capacity(usize::try_from(meta.len()).unwrap_or(0));
    match (&mut file).take(MAX_FILE + 1).read_to_end(&mut content) {
        Ok(size) if size as u64 > MAX_FILE => FileFact::TooLarge(size as u64),
        Ok(_) => FileFact::Content(content.into()),
        Err(error) => FileFact::Unreadable(why(&error)),
    }
}

/// What a path is, in one word.
pub(super) fn kind_word(meta: &std::fs::Metadata) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    let kind = meta.file_type();
    if kind.is_dir() {
        "directory"
    } else if kind.is_fifo() {
        "fifo"
    } else if kind.is_socket() {
        "socket"
    } else if kind.is_symlink() {
        "link"
    } else if kind.is_file() {
        "file"
    } else {
        "device"
    }
}

/// The error without its number: `permission denied`.
pub(super) fn why(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    let mut chars = text.chars();
    chars
        .next()
        .map(|first| first.to_lowercase().chain(chars).collect())
        .unwrap_or_default()
}
