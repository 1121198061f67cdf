//! Something that goes on in a thread of its own: a future for any runtime, or a wait.

use crate::machine::Cancel;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

/// Something that goes on. It began when it was made, whether anybody polls it or not; dropped before its end, it is
/// cancelled, and ends by itself.
#[must_use = "dropped, it is cancelled"]
pub struct Task<T> {
    shared: Arc<Shared<T>>,
    cancel: Option<Cancel>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    ended: Condvar,
}

struct State<T> {
    result: Option<T>,
    waker: Option<Waker>,
    taken: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // Nothing in here can be half-done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> Task<T> {
    /// Begins to do something; `cancel` ends it early.
    pub(super) fn begin(cancel: Option<Cancel>, work: impl FnOnce() -> T + Send + 'static) -> Self {
        let shared = Arc::new(Shared {
            state: Mutex::new(State {
                result: None,
                waker: None,
                taken: false,
            }),
            ended: Condvar::new(),
        });
        let ours = Arc::clone(&shared);
        let end = move |result: T| {
            let mut state = ours.lock();
            state.result = Some(result);
            let waker = state.waker.take();
            drop(state);
            ours.ended.notify_all();
            if let Some(waker) = waker {
                waker.wake();
            }
        };
        // Where there can be no thread, it is done at once.
        let work = Arc::new(Mutex::new(Some((work, end))));
        let theirs = Arc::clone(&work);
        let run = move || {
            let taken = theirs.lock().unwrap_or_else(PoisonError::into_inner).take();
            if let Some((work, end)) = taken {
                end(work());
            }
        };
        let thread = std::thread::Builder::new().name("pyro-task".to_owned());
        if thread.spawn(run.clone()).is_err() {
            run();
        }
        Self { shared, cancel }
    }

    /// Waits for its end.
    pub fn wait(self) -> T {
        let mut state = self.shared.lock();
        loop {
            if let Some(result) = state.result.take() {
                state.taken = true;
                return result;
            }
            state = (self.shared.ended)
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl<T> Future for Task<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.shared.lock();
        match state.result.take() {
            Some(result) => {
                state.taken = true;
                Poll::Ready(result)
            }
            None => {
                state.waker = Some(context.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        let state = self.shared.lock();
        if !state.taken
            && state.result.is_none()
            && let Some(cancel) = &self.cancel
        {
            cancel.cancel();
        }
    }
}

impl<T> fmt::Debug for Task<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Task").finish_non_exhaustive()
    }
}
