//! A gateway of the fleet: a clock of its own, and what it knows of the routing.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use anyhow::Result;
use engine::admission::Admission;
use engine::gateway::Gateway;
use engine::ports::{Clock, EventLog};
use engine::routing::Routing;
use model::TimestampMs;
use model::append_time::ClockReading;

use super::MAX_EVENT_AGE_MS;
use super::broker::Broker;
use super::table::{Node, Topic};

/// A node's own clock: the true time, and how far it is off.
pub(super) struct NodeClock {
    broker: Arc<Broker>,
    off_ms: AtomicI64,
}

impl NodeClock {
    /// One that is right.
    pub(super) fn new(broker: &Arc<Broker>) -> Self {
        Self { broker: broker.clone(), off_ms: AtomicI64::new(0) }
    }

    /// Sets how far it is off, in milliseconds.
    pub(super) fn set_off(&self, ms: i64) {
        self.off_ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for NodeClock {
    fn now(&self) -> ClockReading {
        let passed = self.broker.now().0;
        let wall = TimestampMs(passed + self.off_ms.load(Ordering::Relaxed));
        ClockReading { wall, monotonic_ms: passed }
    }
}

/// See the module.
pub(super) struct Member {
    pub(super) clock: Arc<NodeClock>,
    pub(super) node: Arc<Node>,
    pub(super) routing: Arc<Routing>,
    pub(super) gateway: Gateway,
}

impl Member {
    pub(super) fn open(
        broker: &Arc<Broker>,
        topic: &Arc<Topic>,
        admission: &Arc<Admission>,
        is_trusting: bool,
    ) -> Result<Self> {
        let log: Arc<dyn EventLog> = broker.clone();
        let clock = Arc::new(NodeClock::new(broker));
        let node = Arc::new(Node::new(topic, is_trusting));
        let routing = Arc::new(Routing::new(node.clone(), log.clone())?);
        let gateway = Gateway::new(log, clock.clone(), admission.clone(), MAX_EVENT_AGE_MS);
        let gateway = gateway.with_routing(routing.clone(), None);
        Ok(Self { clock, node, routing, gateway })
    }
}
