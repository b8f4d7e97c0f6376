//! A question that many may ask at once, and that is put at most once a second.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// The shortest time between two questions. Who asks in between gets the last answer.
const AGAIN: Duration = Duration::from_secs(1);

/// A question and its last answer.
pub(super) struct Inquiry<T> {
    last: Mutex<Option<Asked<T>>>,
}

struct Asked<T> {
    at: Instant,
    answer: watch::Receiver<Option<T>>,
}

impl<T> Asked<T> {
    /// Whether the answer may still come.
    fn is_open(&self) -> bool {
        self.answer.borrow().is_none() && self.answer.has_changed().is_ok()
    }
}

impl<T: Clone> Inquiry<T> {
    pub(super) fn new() -> Self {
        Self { last: Mutex::new(None) }
    }

    /// Returns the last answer if it is young enough, and otherwise puts the question by `ask`, which answers through the sender.
    /// There is never more than one question at a time. Returns `None` if no answer comes within `patience`.
    pub(super) async fn answer(
        &self,
        ask: impl FnOnce(watch::Sender<Option<T>>),
        patience: Duration,
    ) -> Option<T> {
        let mut answer = self.asked(ask);
        let answered = tokio::time::timeout(patience, answer.wait_for(Option::is_some)).await;
        answered.ok()?.ok()?.clone()
    }

    fn asked(&self, ask: impl FnOnce(watch::Sender<Option<T>>)) -> watch::Receiver<Option<T>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(asked) = last.as_ref().filter(|asked| asked.at.elapsed() < AGAIN || asked.is_open()) {
            return asked.answer.clone();
        }
        let (sender, answer) = watch::channel(None);
        *last = Some(Asked { at: Instant::now(), answer: answer.clone() });
        ask(sender);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;
    use std::cell::{Cell, RefCell};

    #[tokio::test]
    async fn many_who_ask_at_once_put_one_question() {
        let (inquiry, asked, sender) = (Inquiry::new(), Cell::new(0), RefCell::new(None));
        let ask = |answer| {
            asked.set(asked.get() + 1);
            sender.replace(Some(answer));
        };
        let asking = join_all((0..1_000).map(|_| inquiry.answer(ask, Duration::from_secs(60))));
        let answering = async { sender.take().expect("a question was put").send(Some(17)) };
        let (answers, sent) = tokio::join!(asking, answering);
        sent.expect("somebody waits");
        assert_eq!((answers, asked.get()), (vec![Some(17); 1_000], 1));
    }

    #[tokio::test]
    async fn a_question_that_hangs_is_not_put_again() {
        let (inquiry, sender) = (Inquiry::<()>::new(), RefCell::new(None));
        let answer = inquiry.answer(|answer| drop(sender.replace(Some(answer))), Duration::ZERO).await;
        assert_eq!(answer, None);
        inquiry.last.lock().expect("no panic").as_mut().expect("it was put").at -= 10 * AGAIN;
        assert_eq!(inquiry.answer(|_| panic!("put again"), Duration::ZERO).await, None);
        // Without anybody to answer it, it is put again.
        drop(sender.take());
        let answer = inquiry.answer(|answer| answer.send(Some(())).expect("it waits"), AGAIN).await;
        assert_eq!(answer, Some(()));
    }
}
