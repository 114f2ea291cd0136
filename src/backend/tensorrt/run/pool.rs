//! Which execution gets which context: a bounded number of slots, made when they are needed, each
//! in the hands of one thread at a time and only while it enqueues.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::error::{ErrorKind, Result};

/// What a pool must know of those in it.
pub(crate) trait Member {
    /// The stream that was given with its last work.
    fn last_user(&self) -> Option<u64>;

    /// Whether all its work is known to be over.
    fn is_idle(&mut self) -> bool;
}

/// The slots that nobody holds, and how many there are in all.
pub(crate) struct Pool<S> {
    state: Mutex<State<S>>,
    freed: Condvar,
    /// Whether a slot that is told other shapes loses what is dear to make again.
    shapes_are_dear: bool,
}

struct State<S> {
    /// The one that was given back longest ago first.
    free: Vec<S>,
    made: usize,
    max: usize,
    scarcity: Option<Scarcity>,
}

/// The device had no memory for another slot. It may have some later.
#[derive(Clone, Copy)]
struct Scarcity {
    /// No slot is made before.
    until: Instant,
    pause: Duration,
}

impl Scarcity {
    const FIRST_PAUSE: Duration = Duration::from_millis(100);
    const LONGEST_PAUSE: Duration = Duration::from_secs(10);

    fn after(before: Option<Self>) -> Self {
        let pause = match before {
            Some(Self { pause, .. }) => (2 * pause).min(Self::LONGEST_PAUSE),
            None => Self::FIRST_PAUSE,
        };
        Self { until: Instant::now() + pause, pause }
    }
}

impl<S> State<S> {
    /// Whether another slot may be made.
    fn has_room(&self) -> bool {
        let scarce = || self.scarcity.is_some_and(|scarcity| Instant::now() < scarcity.until);
        self.made < self.max && (self.made == 0 || !scarce())
    }
}

/// What somebody would like a slot for.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Wish {
    /// For work on a stream, by its id: one that worked there last waits for nothing.
    Stream(u64),
    /// For work that is waited for: one that is idle.
    Idle,
    /// For a question about shapes: any, and no new one if there is one.
    Any,
}

impl<S: Member> Pool<S> {
    /// An empty pool of at most `max` slots, at least 1.
    pub(crate) fn new(max: usize, shapes_are_dear: bool) -> Self {
        let state = State { free: Vec::new(), made: 0, max: max.max(1), scarcity: None };
        Self { state: Mutex::new(state), freed: Condvar::new(), shapes_are_dear }
    }

    /// The most slots there will be.
    pub(crate) fn max(&self) -> usize {
        self.lock().max
    }

    /// A slot of the stream or an idle one, one that `suits` the shapes if there is one; else a new one;
    /// else the one whose work is the oldest. Where shapes are dear, a new one comes before one that is told
    /// others. Blocks only while all of them are in the hands of other threads.
    ///
    /// # Errors
    /// Those of `make`. A device that has no memory for another slot makes do with those it has for a while.
    pub(crate) fn lease(
        &self,
        wish: Wish,
        suits: impl Fn(&S) -> bool,
        make: impl Fn() -> Result<S>,
    ) -> Result<SlotLease<'_, S>> {
        loop {
            let others = match self.choose(wish, &suits) {
                Ok(slot) => {
                    return Ok(SlotLease { pool: self, slot: Some(slot), keep: true });
                }
                Err(others) => others,
            };
            // Gives the place back if making the slot fails.
            let mut lease = SlotLease { pool: self, slot: None, keep: false };
            match make() {
                Ok(slot) => {
                    lease.slot = Some(slot);
                    lease.keep = true;
                    self.lock().scarcity = None;
                    return Ok(lease);
                }
                Err(e) if others > 0 && e.kind() == ErrorKind::Device => {
                    let mut state = self.lock();
                    let before = state.scarcity;
                    state.scarcity = Some(Scarcity::after(before));
                    drop(state);
                    if before.is_none() {
                        tracing::warn!(
                            target: "accelerant::tensorrt",
                            "{others} contexts must do for now, another one cannot be made: {e}"
                        );
                    }
                }
                Err(e) => return Err(e),
            }
        }
    }

    /// A slot that there is; else a place for a new one was reserved, and there are so many others.
    fn choose(&self, wish: Wish, suits: &impl Fn(&S) -> bool) -> Result<S, usize> {
        let mut state = self.lock();
        loop {
            let room = state.has_room();
            if let Some(i) = self.place(&mut state.free, room, wish, suits) {
                return Ok(state.free.remove(i));
            }
            if room {
                state.made += 1;
                return Err(state.made - 1);
            }
            state = self.freed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Where the slot to be taken is; none where a new one comes first, or none is free.
    fn place(
        &self,
        free: &mut [S],
        room: bool,
        wish: Wish,
        suits: &impl Fn(&S) -> bool,
    ) -> Option<usize> {
        let of_stream = |slot: &S| matches!(wish, Wish::Stream(id) if slot.last_user() == Some(id));
        let first = (!free.is_empty()).then_some(0);
        if wish == Wish::Any {
            return free.iter().rposition(suits).or(first);
        }
        let ready = free
            .iter()
            .rposition(|slot| of_stream(slot) && suits(slot))
            .or_else(|| free.iter_mut().rposition(|slot| suits(slot) && slot.is_idle()));
        let unwaited = || match (self.shapes_are_dear, room) {
            (true, true) => None,
            // The one whose shapes were wanted longest ago.
            (true, false) => free.iter_mut().position(S::is_idle),
            (false, _) => {
                free.iter().rposition(of_stream).or_else(|| free.iter_mut().position(S::is_idle))
            }
        };
        let found = ready.or_else(unwaited);
        if found.is_some() || room {
            return found;
        }
        free.iter().position(|slot| of_stream(slot) || suits(slot)).or(first)
    }

    /// Takes all slots that nobody holds.
    pub(crate) fn take(&self) -> Vec<S> {
        std::mem::take(&mut self.lock().free)
    }
}

impl<S> Pool<S> {
    fn lock(&self) -> MutexGuard<'_, State<S>> {
        // The state is whole at every point where a panic could leave it.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A slot out of the pool. It goes back unless it was [doubted](Self::doubt) last.
pub(crate) struct SlotLease<'a, S> {
    pool: &'a Pool<S>,
    slot: Option<S>,
    keep: bool,
}

impl<S> SlotLease<'_, S> {
    /// The slot, for what may fail without harm to it.
    pub(crate) fn slot(&mut self) -> Option<&mut S> {
        self.slot.as_mut()
    }

    /// The slot, which is thrown away unless [`trust`](Self::trust) is called: after a failure
    /// nobody knows what the context still does.
    pub(crate) fn doubt(&mut self) -> Option<&mut S> {
        self.keep = false;
        self.slot()
    }

    pub(crate) fn trust(mut self) {
        self.keep = true;
    }
}

impl<S> Drop for SlotLease<'_, S> {
    fn drop(&mut self) {
        let slot = self.slot.take();
        let (kept, dropped) = if self.keep { (slot, None) } else { (None, slot) };
        // Outside the lock: it waits for the device.
        drop(dropped);
        let mut state = self.pool.lock();
        match kept {
            Some(slot) => state.free.push(slot),
            None => state.made -= 1,
        }
        drop(state);
        self.pool.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::thread;

    use super::*;
    use crate::error::Error;

    /// A slot with a number, for executions of one size.
    struct Slot {
        number: usize,
        size: Cell<usize>,
        user: Cell<Option<u64>>,
        busy: Cell<bool>,
    }

    impl Member for Slot {
        fn last_user(&self) -> Option<u64> {
            self.user.get()
        }

        fn is_idle(&mut self) -> bool {
            !self.busy.get()
        }
    }

    struct Slots {
        pool: Pool<Slot>,
        made: Cell<usize>,
    }

    impl Slots {
        fn new(max: usize, shapes_are_dear: bool) -> Self {
            Self { pool: Pool::new(max, shapes_are_dear), made: Cell::new(0) }
        }

        fn lease(&self, wish: Wish, size: usize) -> SlotLease<'_, Slot> {
            let make = || {
                let number = self.made.replace(self.made.get() + 1);
                let (size, user, busy) = (Cell::new(0), Cell::new(None), Cell::new(false));
                Ok(Slot { number, size, user, busy })
            };
            // One that was never used has no size to lose.
            self.pool.lease(wish, |slot| [0, size].contains(&slot.size.get()), make).unwrap()
        }

        /// Takes a slot for an execution, and gives its number.
        fn used(&self, wish: Wish, size: usize, busy: bool) -> usize {
            let mut lease = self.lease(wish, size);
            let slot = lease.slot().unwrap();
            slot.size.set(size);
            if let Wish::Stream(id) = wish {
                slot.user.set(Some(id));
            }
            slot.busy.set(busy);
            slot.number
        }

        /// Executions on a stream, all of them still on their way: stream and size, to slots.
        fn enqueued<const N: usize>(&self, runs: [(u64, usize); N]) -> [usize; N] {
            runs.map(|(stream, size)| self.used(Wish::Stream(stream), size, true))
        }
    }

    #[test]
    fn a_stream_keeps_its_slot_and_another_gets_its_own() {
        for dear in [false, true] {
            let slots = Slots::new(2, dear);
            let runs = [(7, 1), (8, 1), (7, 1), (8, 1), (8, 1), (7, 1)];
            assert_eq!(slots.enqueued(runs), [0, 1, 0, 1, 1, 0], "dear: {dear}");
        }
    }

    #[test]
    fn sizes_in_turn_have_a_slot_each_where_they_are_dear() {
        let runs = [(7, 1), (7, 8), (7, 1), (7, 8), (7, 8), (7, 1)];
        assert_eq!(Slots::new(2, true).enqueued(runs), [0, 1, 0, 1, 1, 0]);
        assert_eq!(Slots::new(2, false).enqueued(runs), [0; 6]);
        assert_eq!(Slots::new(1, true).enqueued(runs), [0; 6]);
        // One more than there are slots takes the one not used for longest.
        let runs = [(7, 1), (7, 8), (7, 1), (7, 32), (7, 1), (7, 8), (7, 1)];
        assert_eq!(Slots::new(2, true).enqueued(runs), [0, 1, 0, 1, 0, 1, 0]);
    }

    #[test]
    fn what_waits_takes_an_idle_slot_of_its_size() {
        let slots = Slots::new(3, true);
        assert_eq!(slots.used(Wish::Idle, 1, false), 0);
        assert_eq!(slots.used(Wish::Idle, 8, true), 1);
        assert_eq!(slots.used(Wish::Idle, 1, false), 0);
        // The one of this size is busy.
        assert_eq!(slots.used(Wish::Idle, 8, false), 2);
        assert_eq!(slots.used(Wish::Idle, 8, false), 2);
        // No more are made: an idle one changes its size.
        assert_eq!(slots.used(Wish::Idle, 32, false), 0);
    }

    #[test]
    fn a_slot_of_another_stream_is_taken_when_all_are_busy() {
        let slots = Slots::new(2, true);
        assert_eq!(slots.enqueued([(7, 1), (7, 8)]), [0, 1]);
        // The one of this size, not the one not used for longest.
        assert_eq!(slots.enqueued([(9, 8), (9, 8), (7, 1), (7, 8)]), [1, 1, 0, 1]);
        // None of this size: that of the stream, which waits for nothing.
        assert_eq!(slots.enqueued([(9, 1), (7, 32)]), [0, 1]);
    }

    #[test]
    fn a_question_makes_no_slot_and_disturbs_the_one_not_used_for_longest() {
        for dear in [false, true] {
            let slots = Slots::new(3, dear);
            assert_eq!(slots.used(Wish::Any, 1, false), 0);
            assert_eq!(slots.used(Wish::Any, 8, true), 0);
            // Two more, beside the first, which is busy.
            assert_eq!(slots.enqueued([(7, 1), (8, 32)]), [1, 2]);
            assert_eq!(slots.made.get(), 3);
            assert_eq!(slots.used(Wish::Any, 8, true), 0);
            assert_eq!(slots.used(Wish::Any, 5, true), 1);
        }
    }

    #[test]
    fn a_device_that_was_full_gets_its_slots_back() {
        let slots = Slots::new(8, true);
        let [first, second] = [0, 1].map(|_| slots.lease(Wish::Idle, 1));
        let tries = Cell::new(0);
        let full = || {
            tries.set(tries.get() + 1);
            Err(Error::new(ErrorKind::Device, "full"))
        };
        let wanted = |make: &dyn Fn() -> Result<Slot>| {
            // One comes back, which is taken where no other can be made.
            let mut lease = slots.pool.lease(Wish::Idle, |_| false, make).unwrap();
            lease.slot().unwrap().number
        };
        drop(first);
        assert_eq!(wanted(&full), 0);
        // Not tried again at once, nor is the number lowered for good.
        assert_eq!((wanted(&full), tries.get(), slots.pool.max()), (0, 1, 8));
        let pause = || slots.pool.lock().scarcity.map(|scarcity| scarcity.pause);
        assert_eq!(pause(), Some(Scarcity::FIRST_PAUSE));
        thread::sleep(Scarcity::FIRST_PAUSE);
        assert_eq!((wanted(&full), tries.get()), (0, 2));
        assert_eq!(pause(), Some(2 * Scarcity::FIRST_PAUSE));
        thread::sleep(2 * Scarcity::FIRST_PAUSE);
        let more: Vec<_> = (0..7).map(|_| slots.lease(Wish::Idle, 1)).collect();
        assert_eq!((slots.made.get(), pause()), (8, None));
        drop((second, more));
    }

    #[test]
    fn the_first_slot_is_always_tried() {
        let slots = Slots::new(2, true);
        let full = || Err(Error::new(ErrorKind::Device, "full"));
        for _ in 0..3 {
            let error = slots.pool.lease(Wish::Idle, |_| true, full).err();
            assert_eq!(error.map(|e| e.kind()), Some(ErrorKind::Device));
        }
        assert_eq!(slots.used(Wish::Idle, 1, false), 0);
    }

    #[test]
    fn a_slot_in_doubt_makes_room_for_another() {
        let slots = Slots::new(1, true);
        let mut lease = slots.lease(Wish::Idle, 1);
        assert_eq!(lease.doubt().unwrap().number, 0);
        drop(lease);
        let mut lease = slots.lease(Wish::Idle, 1);
        assert_eq!(lease.doubt().unwrap().number, 1);
        lease.trust();
        assert_eq!(slots.used(Wish::Idle, 1, false), 1);
    }
}
