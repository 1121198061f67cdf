//! What is kept in the state directory, how large it is, and removing it. Nothing that is alive is ever touched.

use super::remove::remove_tree;
use super::state::{DEAD, StateDir, StateError, io_error, open_run};
use super::{Kept, Timestamp};
use rustix::fs::{FlockOperation, flock};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// What a thing in the state directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum StoredKind {
    /// A receipt; long outputs lie beside it.
    Receipt,
    /// A work tree that outlived its run.
    Kept,
    /// A workspace that lives; removed by `workspace delete` and `prune` alone.
    Workspace,
    /// Contents of a baseline, which workspaces and runs share; they go with the last of those.
    Baseline,
    /// What a run left that was interrupted, and baselines that nobody uses any more.
    Leftover,
    /// A run that is going on, with its receipt; never removed.
    Running,
}

/// One thing in the state directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// What it is.
    pub kind: StoredKind,
    /// The run, 12 hex digits, or the name of a folder that is not ours.
    pub run: String,
    /// The folder.
    pub path: PathBuf,
    /// Since when it is there, as far as that is known.
    pub since: Timestamp,
    /// What it takes on the disk, as far as it can be read; what several share counts where it comes first.
    pub bytes: u64,
    /// Of a receipt: what of that are long outputs.
    pub output_bytes: u64,
    kept: Option<Kept>,
}

impl StateDir {
    /// Everything that is kept: receipts, kept trees, workspaces that live, what interrupted runs left, and runs that are
    /// going on.
    ///
    /// # Errors
    /// Where the directory cannot be read.
    pub fn stored(&self) -> Result<Vec<Stored>, StateError> {
        let mut all = Vec::new();
        // Receipts first: a run that begins after this has none in the list, one that began before is in the next.
        let receipts = names(&self.path().join("receipts"))?;
        let mut running = BTreeSet::new();
        let mut seen = BTreeSet::new();
        let baselines = self.baselines();
        let kept = baselines
            .all()
            .map_err(io_error("read", baselines.folder()))?;
        for (path, metadata) in kept {
            seen.insert((metadata.dev(), metadata.ino()));
            all.push(Stored {
                kind: match metadata.nlink() {
                    0 | 1 => StoredKind::Leftover,
                    2.. => StoredKind::Baseline,
                },
                run: name(&path),
                since: modified(&path),
                bytes: metadata.blocks() * 512,
                output_bytes: 0,
                kept: None,
                path,
            });
        }
        for path in names(&self.path().join("runs"))? {
            let alive = is_alive(&path);
            let run = name(&path).trim_start_matches(DEAD).to_owned();
            if alive {
                running.insert(run.clone());
            }
            all.push(Stored {
                kind: if alive {
                    StoredKind::Running
                } else {
                    StoredKind::Leftover
                },
                since: modified(&path),
                bytes: disk_usage(&path, &mut seen),
                output_bytes: 0,
                kept: None,
                run,
                path,
            });
        }
        for path in receipts {
            let name = name(&path);
            let run = name.rsplit('-').next().unwrap_or(&name).to_owned();
            let bytes = disk_usage(&path, &mut seen);
            if running.contains(&run) {
                let own = all.iter_mut().find(|one| one.run == run);
                if let Some(own) = own {
                    own.bytes += bytes;
                }
                continue;
            }
            all.push(Stored {
                kind: StoredKind::Receipt,
                since: name
                    .split_once('-')
                    .and_then(|(moment, _)| Timestamp::parse_compact(moment))
                    .unwrap_or_else(|| modified(&path)),
                bytes,
                output_bytes: bytes.saturating_sub(without_outputs(&path)),
                kept: None,
                run,
                path,
            });
        }
        for kept in self.kept()? {
            all.push(Stored {
                kind: StoredKind::Kept,
                run: kept.run.clone(),
                since: Timestamp::from_millis(kept.note.kept_at_ms),
                bytes: disk_usage(&kept.path, &mut seen),
                output_bytes: 0,
                path: kept.path.clone(),
                kept: Some(kept),
            });
        }
        for home in self.homes()? {
            let path = home.path().to_owned();
            all.push(Stored {
                kind: StoredKind::Workspace,
                run: home.id().to_owned(),
                since: modified(&path),
                bytes: disk_usage(&path, &mut seen),
                output_bytes: 0,
                kept: None,
                path,
            });
        }
        all.sort_by(|a, b| (a.kind, a.since, &a.path).cmp(&(b.kind, b.since, &b.path)));
        Ok(all)
    }

    /// Removes a receipt or a kept tree. What is left of interrupted runs is removed by [`StateDir::sweep`], and a
    /// run that is going on by nobody.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub fn remove_stored(&self, stored: &Stored) -> Result<(), StateError> {
        match (stored.kind, &stored.kept) {
            (StoredKind::Kept, Some(kept)) => self.remove_kept(kept),
            (StoredKind::Receipt, _) => {
                remove_tree(&stored.path).map_err(io_error("remove", &stored.path))
            }
            (
                StoredKind::Kept
                | StoredKind::Baseline
                | StoredKind::Workspace
                | StoredKind::Leftover
                | StoredKind::Running,
                _,
            ) => Ok(()),
        }
    }
}

/// Whether somebody holds the folder of a run. Where that cannot be told, somebody does.
fn is_alive(path: &Path) -> bool {
    match open_run(path) {
        Ok(folder) => flock(&folder, FlockOperation::NonBlockingLockShared).is_err(),
        Err(_) => path.is_dir(),
    }
}

fn names(folder: &Path) -> Result<Vec<PathBuf>, StateError> {
    let entries = fs::read_dir(folder).map_err(io_error("read", folder))?;
    Ok(entries.flatten().map(|entry| entry.path()).collect())
}

fn name(path: &Path) -> String {
    let name = path.file_name().map(|name| name.as_bytes());
    String::from_utf8_lossy(name.unwrap_or_default()).into_owned()
}

fn modified(path: &Path) -> Timestamp {
    let seconds = path
        .symlink_metadata()
        .map_or(0, |metadata| metadata.mtime());
    Timestamp::from_millis(u64::try_from(seconds).unwrap_or(0).saturating_mul(1000))
}

/// What a receipt takes: its folder and its file.
fn without_outputs(path: &Path) -> u64 {
    let own = path
        .symlink_metadata()
        .map_or(0, |metadata| metadata.blocks() * 512);
    let receipt = path.join("receipt.json").symlink_metadata();
    own + receipt.map_or(0, |metadata| metadata.blocks() * 512)
}

/// Bytes on the disk of everything below a path; a file with several names counts once, also where those lie apart. Links
/// are not followed.
fn disk_usage(path: &Path, seen: &mut BTreeSet<(u64, u64)>) -> u64 {
    let mut waiting = vec![path.to_owned()];
    let mut bytes = 0;
    while let Some(path) = waiting.pop() {
        let Ok(metadata) = path.symlink_metadata() else {
            continue;
        };
        if metadata.nlink() > 1
            && !metadata.is_dir()
            && !seen.insert((metadata.dev(), metadata.ino()))
        {
            continue;
        }
        bytes += metadata.blocks() * 512;
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).into_iter().flatten().flatten();
            waiting.extend(entries.map(|entry| entry.path()));
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::super::{StateDir, Timestamp};
    use super::StoredKind;
    use std::fs;

    #[test]
    fn what_is_alive_is_told_from_what_is_not() {
        let base = tempfile::tempdir().expect("a folder");
        let state = StateDir::open(Some(base.path())).expect("opens");
        let live = state.new_run().expect("a run");
        let dead = state.new_run().expect("a run");
        let moment = Timestamp::from_millis(1_795_339_800_123);
        for run in [live.id(), dead.id()] {
            let folder = state.new_receipt(moment, run).expect("a receipt");
            fs::write(folder.join("receipt.json"), "{}").expect("writes");
            fs::write(folder.join("1.stdout"), vec![b'x'; 100_000]).expect("writes");
        }
        drop(dead);
        let kinds = || {
            let all = state.stored().expect("reads");
            all.iter().map(|one| one.kind).collect::<Vec<_>>()
        };
        assert_eq!(
            kinds(),
            [
                StoredKind::Receipt,
                StoredKind::Leftover,
                StoredKind::Running
            ]
        );
        for one in state.stored().expect("reads") {
            if one.kind == StoredKind::Receipt {
                assert_eq!(one.since, moment);
                assert!(
                    one.output_bytes >= 100_000 && one.bytes > one.output_bytes,
                    "{one:?}"
                );
            }
            state.remove_stored(&one).expect("removes");
        }
        assert_eq!(kinds(), [StoredKind::Leftover, StoredKind::Running]);
        live.remove().expect("removes");
    }
}
