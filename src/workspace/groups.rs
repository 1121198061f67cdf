//! The control groups of a run: made with their limits, noted in the run's folder, and removed when it is over.
//!
//! ```text
//!  note in runs/ID/groups --> mkdir --> limits --> programs join --> all gone --> rmdir
//!         `---- killed at any moment: the next sweep reads the note and removes what is there
//! ```

use super::state::RunDir;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The run's note of what it made, one path a line.
const NOTE: &str = "groups";
/// Names of our groups begin with this, and end with the run's id.
const PREFIX: &str = "pyro-";
/// A killed process keeps its group for a moment.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why a group could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{what} {}", path.display())]
pub struct GroupError {
    what: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// A group to make.
#[derive(Debug, Clone, Copy)]
pub struct NewGroup<'a> {
    /// The group that it goes below.
    pub parent: &'a Path,
    /// Files of it and what to write there, in order. What the kernel does not have is passed over where that is
    /// allowed.
    pub settings: &'a [(String, String, IfMissing)],
}

/// What to do about a setting that the kernel does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IfMissing {
    /// It is what the group is for.
    Refuse,
    /// It only completes another one.
    PassOver,
}

impl RunDir {
    /// Makes a group for this run and says where it is; it goes with the run.
    ///
    /// # Errors
    /// Where the kernel refuses it or one of its settings.
    pub fn make_group(&self, group: NewGroup<'_>) -> Result<PathBuf, GroupError> {
        make_group(self.path(), self.id(), group)
    }
}

/// Makes a group for what lives in `folder` and has this id, and notes it there.
pub(super) fn make_group(
    folder: &Path,
    id: &str,
    group: NewGroup<'_>,
) -> Result<PathBuf, GroupError> {
    let NewGroup { parent, settings } = group;
    let path = parent.join(format!("{PREFIX}{id}"));
    let failed = |what, path: &Path| {
        let path = path.to_owned();
        move |source| GroupError { what, path, source }
    };
    let note = folder.join(NOTE);
    note_group(&note, &path).map_err(failed("write", &note))?;
    fs::create_dir(&path).map_err(failed("make the control group", &path))?;
    for (name, value, if_missing) in settings {
        let file = path.join(name);
        // Never made: the kernel has such a file or has it not.
        let opened = OpenOptions::new().write(true).open(&file);
        match opened.and_then(|mut file| file.write_all(value.as_bytes())) {
            Err(error)
                if *if_missing == IfMissing::PassOver
                    && error.kind() == io::ErrorKind::NotFound => {}
            written => written.map_err(failed("set the limit", &file))?,
        }
    }
    Ok(path)
}

fn note_group(note: &Path, group: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(note)?;
    let mut line = group.as_os_str().as_bytes().to_vec();
    line.push(b'\n');
    file.write_all(&line)
}

/// Removes the groups that were noted in a folder, whose processes are dead or dying, and the note. Only names of ours:
/// it may be cut off.
pub(super) fn remove_groups(folder: &Path) -> io::Result<()> {
    let path = folder.join(NOTE);
    let Ok(note) = fs::read(&path) else {
        return Ok(());
    };
    for line in note.split(|byte| *byte == b'\n') {
        let group = Path::new(std::ffi::OsStr::from_bytes(line));
        let ours = group
            .file_name()
            .is_some_and(|name| name.as_bytes().starts_with(PREFIX.as_bytes()));
        if ours && group.is_absolute() {
            remove_group(group)?;
        }
    }
    fs::remove_file(path)
}

fn remove_group(path: &Path) -> io::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match fs::remove_dir(path) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error)
                if error.kind() == io::ErrorKind::ResourceBusy && Instant::now() < deadline =>
            {
                std::thread::sleep(Duration::from_millis(2));
            }
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{IfMissing, NewGroup};
    use crate::workspace::{StateDir, Timestamp};
    use std::fs;

    #[test]
    fn groups_go_with_their_run_and_with_the_next_sweep() {
        let base = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(Some(&base.path().join("state"))).expect("opens");
        let parent = base.path().join("parent");
        fs::create_dir(&parent).expect("makes");
        let group = NewGroup {
            parent: &parent,
            settings: &[],
        };
        let run = state.new_run().expect("a run");
        let made = run.make_group(group).expect("makes a group");
        assert!(made.is_dir());
        run.remove().expect("removes");
        assert!(!made.exists());
        let killed = state.new_run().expect("a run");
        let left = killed.make_group(group).expect("makes a group");
        drop(killed);
        assert_eq!(state.sweep(Timestamp::now()).expect("sweeps").runs, 1);
        assert!(!left.exists() && parent.is_dir());
    }

    #[test]
    fn what_a_kernel_does_not_have_is_told_unless_it_may_be_missing() {
        let base = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(Some(&base.path().join("state"))).expect("opens");
        let make = |if_missing| {
            let run = state.new_run().expect("a run");
            run.make_group(NewGroup {
                parent: base.path(),
                settings: &[("no/such".to_owned(), "1".to_owned(), if_missing)],
            })
        };
        let error = make(IfMissing::Refuse).expect_err("refused");
        assert!(error.to_string().starts_with("set the limit "));
        make(IfMissing::PassOver).expect("makes a group");
    }
}
