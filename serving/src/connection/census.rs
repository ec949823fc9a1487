//! Who is connected: at most so many in all, and so many from one address.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Metrics;

/// Counts the open connections.
#[derive(Debug)]
pub(super) struct Census {
    seats: Arc<Semaphore>,
    max: usize,
    max_per_address: usize,
    by_address: Mutex<BTreeMap<IpAddr, usize>>,
    metrics: Arc<Metrics>,
}

/// Why a connection is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// The server holds as many as it may.
    Server,
    /// The address holds as many as it may.
    Address,
}

/// An open connection's place; dropping it frees the place.
#[derive(Debug)]
pub(super) struct Seat {
    census: Arc<Census>,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Census {
    pub(super) fn new(max: usize, max_per_address: usize, metrics: Arc<Metrics>) -> Arc<Self> {
        let seats = Arc::new(Semaphore::new(max));
        Arc::new(Self { seats, max, max_per_address, by_address: Mutex::default(), metrics })
    }

    /// Takes a place for a connection from an address.
    pub(super) fn enter(self: &Arc<Self>, address: IpAddr) -> Result<Seat, Full> {
        let permit = Arc::clone(&self.seats).try_acquire_owned().map_err(|_| Full::Server)?;
        let address = host(address);
        let mut by_address = self.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        let held = by_address.entry(address).or_insert(0);
        if *held >= self.max_per_address {
            return Err(Full::Address);
        }
        *held += 1;
        drop(by_address);
        self.metrics.count_connection_opened();
        Ok(Seat { census: Arc::clone(self), address, _permit: permit })
    }

    /// Ready when no connection is open.
    pub(super) async fn empty(&self) {
        // The semaphore is never closed, so only success comes back.
        let _ = self.seats.acquire_many(self.max as u32).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut by_address = self.census.by_address.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(held) = by_address.get_mut(&self.address) {
            *held -= 1;
            if *held == 0 {
                by_address.remove(&self.address);
            }
        }
        drop(by_address);
        self.census.metrics.count_connection_closed();
    }
}

/// Who an address belongs to: of IPv6 the first 64 bits, since whoever has one has the rest.
fn host(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let mut segments = address.segments();
            segments[4..].fill(0);
            IpAddr::V6(Ipv6Addr::from(segments))
        }
        address @ IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn places_are_counted_by_host_and_come_back() {
        let census = Census::new(3, 2, Arc::new(Metrics::default()));
        let enter = |address: &str| census.enter(address.parse().unwrap());
        let first = enter("2001:db8::1").unwrap();
        let second = enter("2001:db8::ffff:1").unwrap();
        assert_eq!(enter("2001:db8::3").unwrap_err(), Full::Address);
        let third = enter("192.0.2.1").unwrap();
        assert_eq!(enter("192.0.2.2").unwrap_err(), Full::Server);
        drop(first);
        let fourth = enter("::ffff:192.0.2.1").unwrap();
        drop((second, third));
        assert!(enter("192.0.2.1").is_ok());
        drop(fourth);
        census.empty().await;
        assert!(census.by_address.lock().unwrap().is_empty());
    }
}
