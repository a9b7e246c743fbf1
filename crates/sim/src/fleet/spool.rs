//! Clients that stamp what they send, and send any of it again at any time, however late.

use anyhow::{Result, anyhow, ensure};
use engine::gateway::SourceStamp;
use engine::ports::{ErrorKind, EventLog};
use futures::executor::block_on;

use super::event::Said;
use super::{Fleet, FleetDone, GATEWAYS};

/// Number of such clients.
pub(super) const SPOOLS: usize = 2;

/// A client, and all that it ever sent.
pub(super) struct Spool {
    name: String,
    requests: Vec<Request>,
}

#[derive(Clone)]
struct Request {
    first: i64,
    events: Vec<Spooled>,
    /// Whether it was answered: until then it is the last one, and is sent again.
    is_answered: bool,
}

/// An event of a request.
#[derive(Clone)]
pub(super) struct Spooled {
    pub(super) said: Said,
    is_accepted: bool,
    /// The number of partitions when it was refused for its time first.
    refused_with: Option<u16>,
    /// It was refused, partitions were added, and then it was taken: nobody promises anything.
    is_open: bool,
}

impl Spooled {
    /// So often it counts, at least.
    pub(super) fn surely(&self) -> u64 {
        u64::from(self.is_accepted && !self.is_open)
    }

    /// So much more often it may count.
    pub(super) fn perhaps(&self) -> u64 {
        u64::from(self.is_accepted && self.is_open)
    }
}

impl Spool {
    pub(super) fn new(number: usize) -> Self {
        Self { name: format!("spool-{number}"), requests: Vec::new() }
    }

    /// Everything that it sent.
    pub(super) fn events(&self) -> impl Iterator<Item = &Spooled> {
        self.requests.iter().flat_map(|request| &request.events)
    }
}

impl Fleet {
    /// A client sends its next request, or one that it sent at any time.
    pub(super) fn spool(&mut self) -> Result<()> {
        let at = self.chance.index(SPOOLS);
        let requests = self.spools[at].requests.len();
        let is_open = self.spools[at].requests.last().is_some_and(|last| !last.is_answered);
        let which = match requests {
            0 => self.invent_request(at),
            _ if is_open => requests - 1,
            _ if self.chance.one_in(2) => self.chance.index(requests),
            _ => self.invent_request(at),
        };
        let gateway = self.chance.index(GATEWAYS);
        self.bring_stamped(gateway, at, which)
    }

    fn invent_request(&mut self, at: usize) -> usize {
        let requests = &self.spools[at].requests;
        let first = requests.last().map_or(0, |last| last.first + last.events.len() as i64);
        let count = 1 + self.chance.below(4);
        let events = (0..count).map(|_| self.invent_spooled()).collect();
        self.spools[at].requests.push(Request { first, events, is_answered: false });
        self.spools[at].requests.len() - 1
    }

    fn invent_spooled(&mut self) -> Spooled {
        let said = self.invent_said(180_000, true);
        let (is_accepted, refused_with, is_open) = Default::default();
        Spooled { said, is_accepted, refused_with, is_open }
    }

    fn bring_stamped(&mut self, gateway: usize, at: usize, which: usize) -> Result<()> {
        let mut request = self.spools[at].requests[which].clone();
        let stamp = SourceStamp { source: self.spools[at].name.clone(), first: request.first };
        let random = self.chance.draw();
        let begun = self.members[gateway].gateway.begin_stamped(stamp);
        let mut batch = begun.map_err(|refusal| anyhow!("{refusal}"))?;
        let mut taken = Vec::new();
        for (index, spooled) in (0..).zip(&request.events) {
            // The server's own id is another one every time.
            let event = spooled.said.event(batch.now(), || format!("made-{random:x}-{index}"));
            let repeats = spooled.said.repeats(self.bug);
            taken.push(batch.offer_repeatable(index, &event, repeats).is_ok());
        }
        let partitions = self.broker.partitions();
        match block_on(batch.commit()) {
            Ok(outcome) => {
                let offered = taken.iter().filter(|taken| **taken).count() as u64;
                ensure!((outcome.accepted, outcome.failed.len()) == (offered, 0), "{outcome:?}");
                for (spooled, is_taken) in request.events.iter_mut().zip(taken) {
                    let is_late = spooled.judged(is_taken, partitions);
                    self.report.done.add(FleetDone::Late, u64::from(is_late));
                }
                request.is_answered = true;
                self.report.done.add(FleetDone::Stamped, 1);
                self.spools[at].requests[which] = request;
            }
            Err(error) => {
                ensure!(error.kind == ErrorKind::Unavailable, "for no reason: {error}");
                self.report.done.add(FleetDone::Unsure, 1);
            }
        }
        Ok(())
    }

    /// Everything that was ever stamped is sent once more, and what waits for an answer gets one.
    pub(super) fn end_spools(&mut self) -> Result<()> {
        for at in 0..SPOOLS {
            for which in 0..self.spools[at].requests.len() {
                let gateway = self.chance.index(GATEWAYS);
                self.bring_stamped(gateway, at, which)?;
                let is_answered = self.spools[at].requests[which].is_answered;
                ensure!(is_answered, "a gateway that knows everything refuses");
            }
        }
        Ok(())
    }
}

impl Spooled {
    /// Notes a verdict; whether it is taken that was refused before.
    fn judged(&mut self, is_taken: bool, partitions: u16) -> bool {
        if !is_taken {
            self.refused_with.get_or_insert(partitions);
        } else if !self.is_accepted {
            self.is_accepted = true;
            self.is_open = self.refused_with.is_some_and(|with| with < partitions);
            return self.refused_with.is_some();
        }
        false
    }
}
