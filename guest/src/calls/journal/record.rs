//! The journal on disk: a line of JSON for each change, written before the change is made.
//!
//! It lies in its corner of the stage under the name [`FILE`]. Where it is there, the changes are not finished and
//! are taken back; removing it is what makes them final. It is not synced: it is for processes that are killed, whose
//! writes the kernel has; after a power cut a workspace is not promised to be whole.

use pyro_protocol::Bytes;
use rustix::fs::{self, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::BorrowedFd;

/// The journal's name in its corner; nothing else there has this name.
pub(super) const FILE: &str = "journal";
/// What its records mean.
const VERSION: u32 = 1;

/// One change. Names are those of the corner, paths those of the tree.
///
/// From a record and what lies in the corner can be told whether the change was made, and whether it was taken back
/// already: so taking back may be interrupted and begun again any number of times.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Record {
    /// The first one.
    Begin {
        /// Of the meaning of the rest.
        version: u32,
    },
    /// The times of a directory before anything in it is changed, in seconds and nanoseconds.
    Times {
        path: Bytes,
        accessed: (i64, i64),
        modified: (i64, i64),
    },
    /// An empty directory moves from the corner to where nothing is.
    Made {
        path: Bytes,
        name: String,
        inode: u64,
    },
    /// Something moves from the corner to where nothing is.
    Placed { path: Bytes, name: String },
    /// What is in the corner (with this inode) and what is at the path change places.
    Exchanged {
        path: Bytes,
        name: String,
        inode: u64,
    },
    /// What is at the path moves to the corner. The mode is a directory's: it may be changed for the moment.
    Taken {
        path: Bytes,
        name: String,
        inode: u64,
        mode: Option<u32>,
    },
    /// What is at the path (with this inode) gets the other one, where nothing is. The name is free in the corner, the
    /// mode as in `Taken`.
    Moved {
        path: Bytes,
        to: Bytes,
        name: String,
        inode: u64,
        mode: Option<u32>,
    },
}

impl Record {
    pub(super) fn times(path: &[u8], stat: &fs::Stat) -> Self {
        let nanoseconds = |rest| i64::try_from(rest).unwrap_or(0);
        Self::Times {
            path: Bytes::from(path),
            accessed: (stat.st_atime, nanoseconds(stat.st_atime_nsec)),
            modified: (stat.st_mtime, nanoseconds(stat.st_mtime_nsec)),
        }
    }
}

/// Times as the kernel takes them.
pub(super) fn timestamps(accessed: (i64, i64), modified: (i64, i64)) -> Timestamps {
    let time = |(tv_sec, tv_nsec)| Timespec { tv_sec, tv_nsec };
    Timestamps {
        last_access: time(accessed),
        last_modification: time(modified),
    }
}

/// A journal that is being written.
#[derive(Debug)]
pub(super) struct Log(File);

impl Log {
    /// Makes the file in the corner.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn create(corner: BorrowedFd<'_>) -> Result<Self, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut log = Self(fs::openat(corner, FILE, flags, Mode::RUSR | Mode::WUSR)?.into());
        log.append(&Record::Begin { version: VERSION })?;
        Ok(log)
    }

    /// Adds a record. What was written of it in part counts for nothing.
    ///
    /// # Errors
    /// What the kernel says; then nothing may be added any more.
    pub(super) fn append(&mut self, record: &Record) -> Result<(), Errno> {
        let mut line = serde_json::to_vec(record).map_err(|_| Errno::INVAL)?;
        line.push(b'\n');
        self.0
            .write_all(&line)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    }
}

/// The records of a corner's journal; nothing where there is none.
///
/// # Errors
/// Where it cannot be read or is not ours.
pub(super) fn read(corner: BorrowedFd<'_>) -> io::Result<Option<Vec<Record>>> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let file = match fs::openat(corner, FILE, flags, Mode::empty()) {
        // A corner is a directory; what else lies on the stage has no journal.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        done => done?,
    };
    let mut bytes = Vec::new();
    File::from(file).read_to_end(&mut bytes)?;
    decode(&bytes).map(Some)
}

fn decode(bytes: &[u8]) -> io::Result<Vec<Record>> {
    // The last line was cut off where its writer was killed: its change was not made.
    let whole = bytes
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |end| end + 1);
    let mut records = Vec::new();
    for line in bytes[..whole].split_inclusive(|&byte| byte == b'\n') {
        match serde_json::from_slice(line)? {
            Record::Begin { version: VERSION } if records.is_empty() => {}
            Record::Begin { version } => {
                return Err(io::Error::other(format!(
                    "the journal is of version {version}; this agent knows {VERSION}"
                )));
            }
            record @ (Record::Times { .. }
            | Record::Made { .. }
            | Record::Placed { .. }
            | Record::Exchanged { .. }
            | Record::Taken { .. }
            | Record::Moved { .. }) => records.push(record),
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_record_counts_for_nothing_and_a_torn_other_one_is_told() {
        let record = Record::Placed {
            path: Bytes::from(&b"a\xff\nb"[..]),
            name: "1".to_owned(),
        };
        let line = [serde_json::to_vec(&record).expect("a line"), b"\n".to_vec()].concat();
        let begin = b"{\"begin\":{\"version\":1}}\n";
        let all = [&begin[..], &line, &line].concat();
        let end = all.len() - line.len();
        for cut in end..all.len() {
            let records = decode(&all[..cut]).expect("whole lines");
            assert_eq!(records, std::slice::from_ref(&record));
        }
        for cut in 0..=begin.len() {
            assert_eq!(decode(&all[..cut]).expect("no record"), []);
        }
        assert!(decode(&[&begin[..], b"{\"pla\n", &line].concat()).is_err());
        assert!(decode(b"{\"begin\":{\"version\":2}}\n").is_err());
    }
}
