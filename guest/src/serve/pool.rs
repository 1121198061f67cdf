//! Threads for file ops. Each takes one call at a time; a channel has only so many of them at once.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// File ops that run at the same time; further ones wait their turn.
const THREADS: usize = 32;
/// Of these, for each channel: one that reads nothing cannot hold up the others.
const PER_CHANNEL: usize = 8;

type Work = Box<dyn FnOnce() + Send>;

/// The threads and what waits for them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pool(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<(u32, Work)>,
    running: HashMap<u32, usize>,
    threads: Vec<JoinHandle<()>>,
    closed: bool,
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} waiting, {} threads",
            self.waiting.len(),
            self.threads.len()
        )
    }
}

impl Queue {
    /// The first piece of work whose channel has a thread left.
    fn next(&mut self) -> Option<(u32, Work)> {
        let at = self.waiting.iter().position(|(channel, _)| {
            self.running.get(channel).copied().unwrap_or(0) < PER_CHANNEL
        })?;
        self.waiting.remove(at)
    }
}

impl Pool {
    /// A pool with its first thread; the others are started when all are busy.
    ///
    /// # Errors
    /// Where there can be no thread.
    pub(crate) fn new() -> std::io::Result<Self> {
        let pool = Self::default();
        pool.grow(&mut pool.lock())?;
        Ok(pool)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn grow(&self, queue: &mut Queue) -> std::io::Result<()> {
        let pool = self.clone();
        let thread = std::thread::Builder::new()
            .name("op".to_owned())
            .stack_size(512 << 10)
            .spawn(move || pool.work())?;
        queue.threads.push(thread);
        Ok(())
    }

    /// Has `work` done on a thread.
    pub(crate) fn run(&self, channel: u32, work: Work) {
        let mut queue = self.lock();
        queue.waiting.push_back((channel, work));
        let busy: usize = queue.running.values().sum();
        let wanted = busy + queue.waiting.len();
        if wanted > queue.threads.len() && queue.threads.len() < THREADS && !queue.closed {
            // Without another thread the work waits for one of these.
            let _ = self.grow(&mut queue);
        }
        drop(queue);
        self.0.changed.notify_one();
    }

    fn work(&self) {
        let mut queue = self.lock();
        loop {
            if let Some((channel, work)) = queue.next() {
                *queue.running.entry(channel).or_default() += 1;
                drop(queue);
                work();
                queue = self.lock();
                if let Some(count) = queue.running.get_mut(&channel) {
                    *count -= 1;
                    if *count == 0 {
                        queue.running.remove(&channel);
                    }
                }
                continue;
            }
            if queue.closed {
                return;
            }
            queue = self
                .0
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Waits for all work that was given, then ends the threads.
    pub(crate) fn finish(&self) {
        loop {
            let threads = {
                let mut queue = self.lock();
                queue.closed = true;
                std::mem::take(&mut queue.threads)
            };
            self.0.changed.notify_all();
            if threads.is_empty() {
                return;
            }
            for thread in threads {
                let _ = thread.join();
            }
        }
    }
}
