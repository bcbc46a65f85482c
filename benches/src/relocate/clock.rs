//! Times inside a move of a whole tree, as the host sees them: each table begins with a request for a
//! frame, and each end of a batch with a shootdown.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

/// One step of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Move(Duration),
    End(Duration),
}

impl Step {
    pub fn of_move(&self) -> Option<Duration> {
        if let Self::Move(took) = *self { Some(took) } else { None }
    }

    pub fn of_end(&self) -> Option<Duration> {
        if let Self::End(took) = *self { Some(took) } else { None }
    }
}

/// What is noted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notes {
    #[default]
    Nothing,
    /// Ends of batches alone: to look at a clock for each table is a tenth of what moving it takes.
    Ends,
    /// When each step began.
    Steps,
}

/// Notes when things begin.
#[derive(Debug, Default)]
pub struct Clock {
    notes: Cell<Notes>,
    began: Cell<Option<Instant>>,
    /// When the end of the batch began that goes on now.
    ending: Cell<Option<Instant>>,
    ends: Cell<Duration>,
    /// When each step began, and whether it is the end of a batch.
    steps: RefCell<Vec<(Instant, bool)>>,
}

impl Clock {
    /// Begins.
    pub fn start(&self, notes: Notes) {
        self.notes.set(notes);
        self.ends.set(Duration::ZERO);
        self.ending.set(None);
        self.steps.borrow_mut().clear();
        self.began.set(Some(Instant::now()));
    }

    /// A table is about to be moved.
    #[inline]
    pub fn moves(&self) {
        if let Some(since) = self.ending.take() {
            self.ends.set(self.ends.get() + since.elapsed());
        }
        self.step(false);
    }

    /// A batch ends.
    #[inline]
    pub fn ends(&self) {
        if self.notes.get() == Notes::Ends {
            self.ending.set(Some(Instant::now()));
        }
        self.step(true);
    }

    #[inline]
    fn step(&self, end: bool) {
        if self.notes.get() == Notes::Steps {
            self.steps.borrow_mut().push((Instant::now(), end));
        }
    }

    /// Stops, and says how long all of it took, and how long without the ends of batches.
    pub fn stop(&self) -> (Duration, Duration) {
        let now = Instant::now();
        self.notes.set(Notes::Nothing);
        // What began last ends now.
        self.steps.borrow_mut().push((now, false));
        let last = self.ending.take().map_or(Duration::ZERO, |since| now - since);
        let whole = self.began.take().map_or(Duration::ZERO, |since| now - since);
        (whole, whole.saturating_sub(self.ends.get() + last))
    }

    /// Brings steps down to what they took now, where that is less.
    pub fn lessen(&self, least: &mut Vec<Step>) {
        let seen = self.steps.borrow();
        let took = seen.windows(2).map(|pair| (pair[1].0 - pair[0].0, pair[0].1));
        let step = |(took, end)| if end { Step::End(took) } else { Step::Move(took) };
        if least.is_empty() {
            least.extend(took.map(step));
            return;
        }
        assert_eq!(least.len() + 1, seen.len(), "the same tree moves in the same steps");
        for (least, now) in least.iter_mut().zip(took.map(step)) {
            match (least, now) {
                (Step::Move(least), Step::Move(now)) | (Step::End(least), Step::End(now)) => {
                    *least = now.min(*least);
                }
                _ => unreachable!("the same tree moves in the same steps"),
            }
        }
    }
}
