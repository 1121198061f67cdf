//! What differs from the baseline, as a patch.

use super::session::{Session, StepError};
use crate::patch::{self, Difference, Named, Which};
use crate::request::{Digest, Point};
use pyro_protocol::message::{Change, Kind, Version};

impl Session<'_> {
    /// The patch of all changes, which are sorted by path.
    pub(super) fn patch_of(
        &mut self,
        against: &Point,
        changes: &[Change],
    ) -> Result<Vec<u8>, StepError> {
        let differences: Vec<Difference> = changes
            .iter()
            .map(|change| Difference {
                path: change.path.to_vec(),
                old: change.before.as_ref().and_then(named),
                new: change.after.as_ref().and_then(named),
            })
            // Directories, and what is neither file nor link, have no place in a patch.
            .filter(|difference| difference.old.is_some() || difference.new.is_some())
            .collect();
        patch::whole_tree(&differences, &mut |which, difference| {
            let path = &difference.path;
            match which {
                Which::Old => match against {
                    Point::Baseline => self.baseline.contents(path).map(Some).map_err(|error| {
                        let name = String::from_utf8_lossy(path);
                        StepError::refused(
                            "baseline-unreadable",
                            format!("the baseline of {name} cannot be read: {error}"),
                        )
                    }),
                    Point::Snapshot(snapshot) => self.kept_contents(snapshot, path).map(Some),
                },
                Which::New => self.live_content(changes, difference),
            }
        })
    }

    fn live_content(
        &mut self,
        changes: &[Change],
        difference: &Difference,
    ) -> Result<Option<Vec<u8>>, StepError> {
        let path = &difference.path[..];
        let at = changes.binary_search_by(|change| change.path[..].cmp(path));
        let target = at
            .ok()
            .and_then(|at| changes[at].after.as_ref()?.target.as_ref());
        if let Some(target) = target {
            return Ok(Some(target.to_vec()));
        }
        // What has grown since the tree was compared is shown as far as it was promised to be.
        let size = difference.new.map_or(0, |side| side.size);
        match self.read_file(path, Some(size)) {
            Ok((bytes, _)) => Ok(Some(bytes)),
            // Gone or replaced by now; a program that runs on does such things.
            Err(StepError::Refused(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn named(version: &Version) -> Option<Named> {
    let mode = match version.kind {
        Kind::File => 0o100_000 | version.mode & 0o777,
        Kind::Symlink => 0o120_777,
        Kind::Directory | Kind::Other => return None,
    };
    let digest = version.sha256.as_deref().and_then(Digest::from_hex);
    Some(Named {
        size: version.size,
        sha256: digest.map(|digest| digest.0),
        mode,
    })
}
