//! A call's streams in the shape of readers and writers, for the ops that want those.

use super::port::Port;
use pyro_protocol::frame::{CHUNK, STREAM_OUTPUT};
use pyro_protocol::message::Failure;
use std::io;

/// Any reader, until the call should stop.
#[derive(Debug)]
pub(crate) struct Stoppable<'a, R> {
    port: &'a Port,
    inner: R,
}

impl<'a, R: io::Read> Stoppable<'a, R> {
    pub(crate) fn new(port: &'a Port, inner: R) -> Self {
        Self { port, inner }
    }
}

impl<R: io::Read> io::Read for Stoppable<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.port
            .check()
            .map_err(|failure| io::Error::other(failure.message))?;
        self.inner.read(buffer)
    }
}

/// Stream 1 as a reader. A stopped call reads as an error; ask [`Port::check`] for the reason.
#[derive(Debug)]
pub(crate) struct Input<'a> {
    port: &'a Port,
    chunk: Vec<u8>,
    at: usize,
}

impl<'a> Input<'a> {
    pub(crate) fn new(port: &'a Port) -> Self {
        Self {
            port,
            chunk: Vec::new(),
            at: 0,
        }
    }

    /// What has arrived and was not read.
    pub(crate) fn rest(&self) -> usize {
        self.chunk.len() - self.at
    }
}

impl io::Read for Input<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.chunk.len() {
            self.chunk = self
                .port
                .read()
                .map_err(|failure| io::Error::other(failure.message))?;
            self.at = 0;
        }
        let count = buffer.len().min(self.rest());
        buffer[..count].copy_from_slice(&self.chunk[self.at..self.at + count]);
        self.at += count;
        Ok(count)
    }
}

/// Stream 2 as a writer that collects small pieces. [`Output::finish`] sends the rest and the end.
#[derive(Debug)]
pub(crate) struct Output<'a> {
    port: &'a Port,
    pending: Vec<u8>,
}

impl<'a> Output<'a> {
    pub(crate) fn new(port: &'a Port) -> Self {
        Self {
            port,
            pending: Vec::new(),
        }
    }

    /// Adds bytes.
    ///
    /// # Errors
    /// Where the call should stop.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK {
            self.port.send(STREAM_OUTPUT, &self.pending)?;
            self.pending.clear();
        }
        Ok(())
    }

    /// Sends the rest and the end.
    ///
    /// # Errors
    /// Where the call should stop.
    pub(crate) fn finish(self) -> Result<(), Failure> {
        self.port.send(STREAM_OUTPUT, &self.pending)?;
        self.port.end(STREAM_OUTPUT);
        Ok(())
    }
}

impl io::Write for Output<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes)
            .map_err(|failure| io::Error::other(failure.message))?;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
