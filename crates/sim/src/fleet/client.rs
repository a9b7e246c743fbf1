//! Clients without stamps: what they send they send again, within the dedup window.

use anyhow::{Result, anyhow, ensure};
use engine::ports::ErrorKind;
use futures::executor::block_on;
use model::TimestampMs;

use super::event::Said;
use super::node::Member;
use super::{Fleet, FleetDone, GATEWAYS, WINDOW_MS};

/// An event that a client sends, and sends again.
#[derive(Clone)]
pub(super) struct Sent {
    pub(super) said: Said,
    /// When it was appended first, and the version in effect then.
    pub(super) first: Option<(TimestampMs, u32)>,
}

impl Fleet {
    /// A client sends some events, new ones and such that it sent within the window.
    pub(super) fn deliver(&mut self) -> Result<()> {
        let most = self.shape.request_events();
        let new = self.chance.below(most);
        let mut events: Vec<usize> = (0..new).map(|_| self.invent()).collect();
        for _ in 0..self.chance.below(most) {
            if !self.sent.is_empty() {
                let back = self.chance.index(self.sent.len().min(400));
                events.push(self.sent.len() - 1 - back);
            }
        }
        events.retain(|number| self.is_within_window(*number));
        let at = self.chance.index(GATEWAYS);
        self.bring(at, &events)
    }

    /// All gateways take everything that was sent within the window once more.
    pub(super) fn deliver_again(&mut self) -> Result<()> {
        for at in 0..GATEWAYS {
            let all = 0..self.sent.len();
            let events: Vec<usize> = all.filter(|number| self.is_within_window(*number)).collect();
            let unsure = self.report.done.of(FleetDone::Unsure);
            self.bring(at, &events)?;
            let is_known = self.report.done.of(FleetDone::Unsure) == unsure;
            ensure!(is_known, "a gateway that knows everything refuses");
        }
        Ok(())
    }

    fn is_within_window(&self, number: usize) -> bool {
        let now = self.broker.now();
        self.sent[number].first.is_none_or(|(first, _)| now.0 - first.0 <= WINDOW_MS)
    }

    fn bring(&mut self, at: usize, events: &[usize]) -> Result<()> {
        let Member { gateway, .. } = &self.members[at];
        let mut batch = gateway.begin().map_err(|refusal| anyhow!("{refusal}"))?;
        let mut offered = Vec::new();
        for (index, &number) in (0..).zip(events) {
            let said = &self.sent[number].said;
            let event = said.event(batch.now(), String::new);
            match batch.offer_repeatable(index, &event, said.repeats(self.bug)) {
                Ok(()) => offered.push(number),
                Err(_) => self.report.done.add(FleetDone::Refused, 1),
            }
        }
        match block_on(batch.commit()) {
            Ok(outcome) => {
                ensure!(outcome.accepted == offered.len() as u64, "the log does not fail");
                self.accepted(&offered);
            }
            Err(error) => {
                ensure!(error.kind == ErrorKind::Unavailable, "for no reason: {error}");
                self.report.done.add(FleetDone::Unsure, 1);
            }
        }
        Ok(())
    }

    fn accepted(&mut self, events: &[usize]) {
        let now = self.broker.now();
        let version = self.topic.in_effect(now);
        for &number in events {
            self.report.done.add(FleetDone::Accepted, 1);
            self.note(number as u64 ^ now.0 as u64);
            match self.sent[number].first {
                None => self.sent[number].first = Some((now, version)),
                Some((_, first)) => {
                    self.report.done.add(FleetDone::Across, u64::from(first != version));
                }
            }
        }
    }

    fn invent(&mut self) -> usize {
        let said = self.invent_said(60_000, false);
        self.report.done.add(FleetDone::Events, 1);
        self.sent.push(Sent { said, first: None });
        self.sent.len() - 1
    }
}
