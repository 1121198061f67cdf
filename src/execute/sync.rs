//! `sync`: packs what the plan names and streams it to the guest, which moves it into place or leaves all as it was.

use super::chain;
use super::session::{Session, StepError};
use crate::exclude::Exclude;
use crate::machine::CallEvent;
use crate::plan::{Listed, PinnedKind, PlannedSeed, PlannedSync, contents, listing_digest};
use crate::receipt::{SeedReport, StepReport};
use crate::request::Digest;
use crate::workspace::{
    Hash, Pack, PackError, Packed, PackedKind, SeedError, remove_tree, unpack_source,
};
use pyro_protocol::Bytes;
use pyro_protocol::message::{Op, Records, Reply, TarIn};
use std::collections::BTreeMap;
use std::path::Path;

/// The source is not what it was.
const CHANGED: &str = "sync-changed";
/// The source cannot be read.
const UNREADABLE: &str = "sync-unreadable";

impl Session<'_> {
    pub(super) fn sync(
        &mut self,
        sync: &PlannedSync,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let source = &sync.source;
        let Some(archive) = source.archive else {
            return self.lay(sync, &source.path, &BTreeMap::new(), report);
        };
        // Read again from its beginning, by the same rules as when it was planned. Nothing of it is sent before it is
        // known to be the same archive to its last byte.
        let folder = self.run.path().join("unpacked");
        let laid = match unpack_source(&source.path, archive.bytes, &folder) {
            Ok(unpacked) if Digest(unpacked.whole.sha256) != archive.sha256 => {
                Err(StepError::refused(
                    CHANGED,
                    format!(
                        "the archive {} is not the one that was planned: {} -> {}",
                        source.shown,
                        archive.sha256.short(),
                        Digest(unpacked.whole.sha256).short()
                    ),
                ))
            }
            Ok(unpacked) => self.lay(sync, &folder, &unpacked.closed, report),
            Err(error) => Err(not_unpacked(&error)),
        };
        if let Err(error) = remove_tree(&folder) {
            // It goes with the run.
            log::debug!("could not remove {}: {error}", folder.display());
        }
        laid
    }

    /// Lays what is in a folder over the workspace.
    fn lay(
        &mut self,
        sync: &PlannedSync,
        folder: &Path,
        closed: &BTreeMap<Vec<u8>, u32>,
        report: &mut StepReport,
    ) -> Result<(), StepError> {
        let source = &sync.source;
        let exclude = Exclude::new(&source.exclude, source.respect_gitignore);
        let hash = match source.contents {
            Some(_) => Hash::Yes,
            None => Hash::No,
        };
        let mut pack =
            Pack::new(folder, &exclude, closed, hash).map_err(|error| not_packed(&error))?;
        let op = Op::TarIn(TarIn {
            to: Bytes::from(sync.to.as_bytes()),
        });
        self.speaks(&op)?;
        let call = self.link.call(op);
        let mut piece = Vec::new();
        let early = loop {
            piece.clear();
            match pack.piece(&mut piece) {
                Ok(true) => {}
                Ok(false) => break None,
                Err(error) => {
                    self.call_off(call)?;
                    return Err(not_packed(&error));
                }
            }
            if let Some(event) = self.feed(call, &piece)? {
                break Some(event);
            }
        };
        // The last byte of the archive is sent, but not that it was the last one: up to here all can be called off.
        let packed = pack.finish();
        if early.is_none() {
            match as_planned(source, &packed) {
                Same::Yes => {}
                Same::Listed => report.notes.push(
                    "the source changed since it was planned; what is there now was taken"
                        .to_owned(),
                ),
                Same::No => {
                    self.call_off(call)?;
                    return Err(StepError::refused(
                        CHANGED,
                        format!(
                            "{} is not what was planned; somebody changed it meanwhile",
                            source.shown
                        ),
                    ));
                }
            }
            self.link.end_input(call);
        }
        let mut event = early;
        let records = loop {
            let event = match event.take() {
                Some(event) => event,
                None => self.next(call)?,
            };
            match event {
                CallEvent::Started | CallEvent::Data { .. } => {}
                CallEvent::Done(Reply::Records(records)) => break records,
                CallEvent::Done(reply) => return Err(StepError::surprise(&reply)),
                CallEvent::Failed(failure) => return Err(failure.into()),
            }
        };
        report.sync = Some(told(source, &records));
        Ok(())
    }
}

fn told(source: &PlannedSeed, records: &Records) -> SeedReport {
    SeedReport {
        entries: records.entries,
        bytes: records.bytes,
        ..SeedReport::planned(source)
    }
}

/// How what was packed compares with what was planned.
enum Same {
    Yes,
    /// It does not, and nobody approved the contents.
    Listed,
    /// It does not, and the plan was approved.
    No,
}

fn as_planned(source: &PlannedSeed, packed: &[Packed]) -> Same {
    if source.archive.is_some() {
        // Compared whole.
        return Same::Yes;
    }
    if let Some(wanted) = source.contents {
        let pinned = packed.iter().map(|packed| {
            let kind = match &packed.kind {
                PackedKind::File(_) => PinnedKind::File(packed.mode),
                PackedKind::Directory => PinnedKind::Directory(packed.mode),
                PackedKind::Link(_) => PinnedKind::Link,
            };
            (packed.path.as_slice(), kind, packed.sha256)
        });
        return match contents(pinned) == wanted {
            true => Same::Yes,
            false => Same::No,
        };
    }
    let listed = packed.iter().map(|packed| {
        let listed = match &packed.kind {
            PackedKind::File(size) => Listed::File(*size, packed.mode & 0o100 != 0),
            PackedKind::Directory => Listed::Directory,
            PackedKind::Link(target) => Listed::Link(target),
        };
        (packed.path.as_slice(), listed)
    });
    match listing_digest(None, listed) == source.listing {
        true => Same::Yes,
        false => Same::Listed,
    }
}

fn not_packed(error: &PackError) -> StepError {
    let code = match error {
        PackError::Read { .. } => UNREADABLE,
        PackError::Changed { .. } => CHANGED,
    };
    StepError::refused(code, format!("{}; nothing was changed", chain(error)))
}

fn not_unpacked(error: &SeedError) -> StepError {
    match error {
        SeedError::Read { path, source } => StepError::refused(
            UNREADABLE,
            format!("could not read {}: {source}", path.display()),
        ),
        SeedError::Archive { .. } => StepError::refused(CHANGED, error.to_string()),
        SeedError::Write { .. } => StepError::refused("io", chain(error)),
    }
}
