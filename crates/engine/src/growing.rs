//! A list that only grows, and is read by many without a lock.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

/// Something for each partition, where partitions are added while others are at work.
#[derive(Debug)]
pub struct Growing<T> {
    /// Filled from the front.
    slots: Box<[OnceLock<T>]>,
    len: AtomicUsize,
    growing: Mutex<()>,
}

impl<T> Growing<T> {
    /// An empty list with room for so many.
    pub fn with_room(room: usize) -> Self {
        let slots = std::iter::repeat_with(OnceLock::new).take(room).collect();
        Self { slots, len: AtomicUsize::new(0), growing: Mutex::new(()) }
    }

    /// A list with room for something of each partition there may be.
    pub fn of_partitions(items: impl IntoIterator<Item = T>) -> Self {
        let growing = Self::with_room(usize::from(model::limits::PARTITIONS_MAX));
        for item in items {
            // More than there may be were refused where their number was decided.
            let _ = growing.push(item);
        }
        growing
    }

    /// Adds one at the end, where there is room.
    ///
    /// # Errors
    /// The thing itself where there is none.
    pub fn push(&self, item: T) -> Result<(), T> {
        let _alone = self.growing.lock();
        let len = self.len.load(Ordering::Relaxed);
        match self.slots.get(len) {
            Some(slot) => slot.set(item)?,
            None => return Err(item),
        }
        self.len.store(len + 1, Ordering::Release);
        Ok(())
    }

    /// The one at a place.
    pub fn get(&self, at: usize) -> Option<&T> {
        self.slots.get(at)?.get()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Acquire)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that are there now.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.slots[..self.len()].iter().filter_map(OnceLock::get)
    }
}

impl<T> std::ops::Index<usize> for Growing<T> {
    type Output = T;

    fn index(&self, at: usize) -> &T {
        self.get(at).expect("there is one at this place")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_stays_while_it_grows() {
        let list = Growing::with_room(3);
        assert!(list.is_empty() && list.get(0).is_none());
        assert_eq!(list.push("a"), Ok(()));
        let first = &list[0];
        assert_eq!((list.push("b"), list.push("c"), list.push("d")), (Ok(()), Ok(()), Err("d")));
        assert_eq!((*first, list.len(), list.get(3)), ("a", 3, None));
        assert_eq!(list.iter().copied().collect::<Vec<_>>(), ["a", "b", "c"]);
    }

    #[test]
    fn many_may_push_and_read_at_a_time() {
        let list = Growing::with_room(400);
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let list = &list;
                scope.spawn(move || {
                    for n in 0..100 {
                        assert_eq!(list.push(thread * 100 + n), Ok(()));
                        assert!(list.iter().count() > n);
                    }
                });
            }
        });
        let mut all: Vec<_> = list.iter().copied().collect();
        all.sort_unstable();
        assert_eq!(all, (0..400).collect::<Vec<_>>());
    }
}
