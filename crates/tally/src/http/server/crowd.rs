//! How many connections each address has.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::http::door::{AddressRange, group};

/// Counts connections, where they are bounded by address. Holds an entry for each address that is
/// connected, of which the total bounds the number.
pub(super) struct Crowd {
    most: Option<usize>,
    unbounded: Vec<AddressRange>,
    present: Mutex<HashMap<IpAddr, usize>>,
}

/// A connection that counts until this is dropped.
pub(super) struct Place(Option<(Arc<Crowd>, IpAddr)>);

impl Crowd {
    pub(super) fn new(most: Option<usize>, unbounded: Vec<AddressRange>) -> Self {
        Self { most, unbounded, present: Mutex::default() }
    }

    /// A place for one more connection; none where the address has as many as it may.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Option<Place> {
        let Some(most) = self.most else { return Some(Place(None)) };
        if self.unbounded.iter().any(|range| range.contains(address)) {
            return Some(Place(None));
        }
        let address = group(address);
        let mut present = self.present.lock();
        let count = present.entry(address).or_insert(0);
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Place(Some((self.clone(), address))))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some((crowd, address)) = self.0.take() else { return };
        let mut present = crowd.present.lock();
        if let Some(count) = present.get_mut(&address) {
            *count -= 1;
            if *count == 0 {
                present.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_and_leaves_nothing_behind() {
        let trusted = vec!["10.0.0.1".parse().unwrap()];
        let crowd = Arc::new(Crowd::new(Some(2), trusted));
        let enter = |text: &str| crowd.enter(text.parse().unwrap());
        let (first, second) = (enter("203.0.113.1"), enter("203.0.113.1"));
        assert!(first.is_some() && second.is_some());
        assert!(enter("203.0.113.1").is_none());
        assert!(enter("203.0.113.2").is_some());
        let proxied: Vec<_> = (0..10).map(|_| enter("10.0.0.1")).collect();
        assert!(proxied.iter().all(Option::is_some));
        drop(first);
        let third = enter("203.0.113.1");
        assert!(third.is_some());
        drop((second, third));
        assert!(crowd.present.lock().is_empty());
    }
}
