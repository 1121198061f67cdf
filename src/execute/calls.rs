//! The guest's ops as plain functions.

use super::session::{Session, StepError};
use crate::machine::{CallEvent, CallId};
use pyro_protocol::Bytes;
use pyro_protocol::message::{
    Change, DataReport, FileRead, FileStat, FilesWrite, Op, Reply, Stat, TreeList, WriteEntry,
    Written,
};
use std::io;

/// Listings and change lists beyond this are refused: nobody reads them, and they would fill the memory.
const MAX_RECORDS: usize = 64 << 20;

impl Session<'_> {
    /// Looks at one path, a link itself; `None` where nothing is.
    pub(super) fn stat(&mut self, path: &[u8]) -> Result<Option<Stat>, StepError> {
        let op = Op::FileStat(FileStat {
            path: Bytes::from(path),
        });
        match self.call(op, None) {
            Ok((Reply::Stat(stat), _)) => Ok(Some(stat)),
            Ok((reply, _)) => Err(StepError::surprise(&reply)),
            // The wrong kind is that of a file in the place of a directory: below it there is nothing.
            Err(StepError::Refused(refusal))
                if matches!(&*refusal.code, "not-found" | "wrong-kind") =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Reads the first `length` bytes of a file (all of it without).
    pub(super) fn read_file(
        &mut self,
        path: &[u8],
        length: Option<u64>,
    ) -> Result<(Vec<u8>, DataReport), StepError> {
        self.read_range(path, 0, length)
    }

    /// Reads at most `length` bytes of a file, from `offset` on.
    pub(super) fn read_range(
        &mut self,
        path: &[u8],
        offset: u64,
        length: Option<u64>,
    ) -> Result<(Vec<u8>, DataReport), StepError> {
        let op = Op::FileRead(FileRead {
            path: Bytes::from(path),
            offset,
            length,
        });
        match self.call(op, None)? {
            (Reply::Data(report), bytes) => Ok((bytes, report)),
            (reply, _) => Err(StepError::surprise(&reply)),
        }
    }

    /// Applies a write set whose contents follow one another in `contents`.
    pub(super) fn write_set(
        &mut self,
        entries: Vec<WriteEntry>,
        contents: &[u8],
    ) -> Result<Vec<Written>, StepError> {
        match self.call(Op::FilesWrite(FilesWrite { entries }), Some(contents))? {
            (Reply::Written(written), _) => Ok(written),
            (reply, _) => Err(StepError::surprise(&reply)),
        }
    }

    /// Everything that differs from the baseline, sorted by path.
    pub(super) fn changes(&mut self) -> Result<Vec<Change>, StepError> {
        self.records(Op::TreeDiff)
    }

    /// What is in a directory.
    pub(super) fn tree_list(
        &mut self,
        path: &[u8],
        recursive: bool,
    ) -> Result<Vec<Stat>, StepError> {
        self.records(Op::TreeList(TreeList {
            path: Bytes::from(path),
            recursive,
        }))
    }

    /// Makes a call that streams JSON lines.
    pub(super) fn records<T: serde::de::DeserializeOwned>(
        &mut self,
        op: Op,
    ) -> Result<Vec<T>, StepError> {
        self.speaks(&op)?;
        let call = self.link.call(op);
        let mut data = Vec::new();
        loop {
            match self.next(call)? {
                CallEvent::Started => {}
                CallEvent::Data { bytes, .. } if data.len() + bytes.len() <= MAX_RECORDS => {
                    data.extend_from_slice(&bytes);
                }
                CallEvent::Data { .. } => {
                    self.link.cancel(call);
                    return Err(StepError::refused(
                        "too-large",
                        "the list is longer than 64 MiB",
                    ));
                }
                CallEvent::Done(_) => break,
                CallEvent::Failed(failure) => return Err(failure.into()),
            }
        }
        data.split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(serde_json::from_slice)
            .collect::<Result<_, _>>()
            .map_err(|error| {
                StepError::Lost(crate::machine::LinkError::Protocol(error.to_string()))
            })
    }
}

/// The output of a call as a reader, for code that wants one. Errors of the call end it.
pub(super) struct CallReader<'a, 'b> {
    session: &'a mut Session<'b>,
    call: CallId,
    piece: Vec<u8>,
    taken: usize,
    ended: Option<Result<(), StepError>>,
    /// What the agent had to leave out, once the call is done.
    left_out: Vec<Bytes>,
}

impl<'a, 'b> CallReader<'a, 'b> {
    pub(super) fn new(session: &'a mut Session<'b>, op: Op) -> Self {
        let call = session.link.call(op);
        Self {
            session,
            call,
            piece: Vec::new(),
            taken: 0,
            ended: None,
            left_out: Vec::new(),
        }
    }

    /// Takes what is left of the call and says how it ended, and what is not in it.
    pub(super) fn finish(mut self) -> Result<Vec<Bytes>, StepError> {
        if self.ended.is_none() {
            self.session.link.cancel(self.call);
        }
        while self.ended.is_none() {
            self.advance();
        }
        self.ended.take().unwrap_or(Ok(()))?;
        Ok(self.left_out)
    }

    fn advance(&mut self) {
        match self.session.next(self.call) {
            Ok(CallEvent::Started) => {}
            Ok(CallEvent::Data { bytes, .. }) => (self.piece, self.taken) = (bytes, 0),
            Ok(CallEvent::Done(reply)) => {
                if let Reply::Records(records) = reply {
                    self.left_out = records.left_out;
                }
                self.ended = Some(Ok(()));
            }
            Ok(CallEvent::Failed(failure)) => self.ended = Some(Err(failure.into())),
            Err(error) => self.ended = Some(Err(error.into())),
        }
    }
}

impl io::Read for CallReader<'_, '_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = &self.piece[self.taken..];
            if !left.is_empty() {
                let count = left.len().min(out.len());
                out[..count].copy_from_slice(&left[..count]);
                self.taken += count;
                return Ok(count);
            }
            match &self.ended {
                None => self.advance(),
                Some(Ok(())) => return Ok(0),
                Some(Err(_)) => return Err(io::Error::other("the guest ended the archive early")),
            }
        }
    }
}
