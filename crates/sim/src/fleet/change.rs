//! Changes of the routing, by those who may not know the newest, and of gateways' clocks.

use anyhow::{Result, ensure};
use engine::ports::{ErrorKind, EventLog};
use model::{RoutingChange, Rule, Strategy, Subject};

use super::event::item_name;
use super::{Fleet, FleetDone, GATEWAYS, SKEW_MS};

impl Fleet {
    /// A gateway hears of what was published.
    pub(super) fn ask_for_table(&mut self) {
        let at = self.chance.index(GATEWAYS);
        self.members[at].node.refresh();
    }

    pub(super) fn set_clock(&mut self) {
        let at = self.chance.index(GATEWAYS);
        let off = self.chance.below(2 * SKEW_MS) as i64 - SKEW_MS as i64;
        self.members[at].clock.set_off(off);
    }

    /// Somebody changes the routing, by what may be an old table.
    pub(super) fn change(&mut self) -> Result<()> {
        let at = self.chance.index(GATEWAYS);
        if self.chance.one_in(2) {
            self.members[at].node.refresh();
        }
        let partitions = match self.chance.below(4) {
            0 => Some(self.shape.least() + self.chance.below(self.shape.room()) as u16),
            _ => None,
        };
        let mut changes = vec![self.invent_change()];
        changes.retain(|_| partitions.is_none() || self.chance.one_in(2));
        let had = self.broker.partitions();
        let known = self.members[at].routing.table()?.version();
        match self.members[at].routing.change(changes, partitions, Some(known)) {
            Ok(table) => {
                self.report.done.add(FleetDone::Versions, 1);
                self.note(u64::from(table.version()));
            }
            Err(error) => {
                let is_explained = matches!(error.kind, ErrorKind::Conflict | ErrorKind::Invalid);
                ensure!(is_explained, "a change failed: {error}");
                self.report.done.add(FleetDone::Conflicts, 1);
            }
        }
        // Who counts begins with what was added before anything is routed there.
        self.counters.grow()?;
        self.report.done.add(FleetDone::Added, u64::from(self.broker.partitions() - had));
        Ok(())
    }

    fn invent_change(&mut self) -> RoutingChange {
        let most = u64::from(self.shape.most());
        let strategy = match self.chance.below(8) {
            0 | 1 => None,
            2 | 3 => Some(Strategy::Spread { over: 2 + self.chance.below(6) as u16 }),
            4 => Some(Strategy::ItemAndMinute),
            5 => Some(Strategy::Item),
            n => {
                let partitions = vec![self.chance.below(most) as u16];
                Some(match n {
                    6 => Strategy::Pinned { partitions },
                    _ => Strategy::Dedicated { partitions },
                })
            }
        };
        let subject = match self.chance.below(5) {
            0 => Subject::Prefix("item-".into()),
            1 => Subject::Item(item_name(self.chance.below(self.shape.items()))),
            _ => Subject::Item(item_name(0)),
        };
        let rule = strategy.map(|strategy| Rule { strategy, is_automatic: false });
        RoutingChange { subject, rule }
    }
}
