//! A service far away, which preludes ask and which answers when the test says so.
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

/// Who has asked and was not answered, in the order of asking.
#[derive(Default)]
pub struct Service {
    asked: RefCell<BTreeMap<u64, Option<Waker>>>,
    questions: Cell<u64>,
}

impl Service {
    /// A question; it is asked now and not when it is polled.
    pub fn ask(self: &Rc<Self>) -> Answer {
        let id = self.questions.get();
        self.questions.set(id + 1);
        self.asked.borrow_mut().insert(id, None);
        Answer { service: Rc::clone(self), id }
    }

    /// How many wait for an answer.
    pub fn waiting(&self) -> usize {
        self.asked.borrow().len()
    }

    /// How many questions were asked.
    pub fn questions(&self) -> u64 {
        self.questions.get()
    }

    /// Answers one of those who wait.
    pub fn answer(&self, nth: usize) {
        let id = self.asked.borrow().keys().nth(nth).copied();
        let waker = id.and_then(|id| self.asked.borrow_mut().remove(&id)).flatten();
        waker.iter().for_each(Waker::wake_by_ref);
    }

    /// Answers all who wait, the last one first.
    pub fn answer_all(&self) {
        (0..self.waiting()).rev().for_each(|nth| self.answer(nth));
    }
}

/// Ready once the service has answered.
pub struct Answer {
    service: Rc<Service>,
    id: u64,
}

impl Future for Answer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.service.asked.borrow_mut().get_mut(&self.id) {
            None => Poll::Ready(()),
            Some(waker) => {
                *waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.service.asked.borrow_mut().remove(&self.id);
    }
}
