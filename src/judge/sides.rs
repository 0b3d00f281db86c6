//! What both sides did, by ten seconds of their logs' own time. Counts of several hosts add up exactly.
//!
//! Memory stays the same however long one watches: what is older than the window is summed up.

use std::collections::BTreeMap;

use logs::counts::{Attempts, Batch, TICK, UNNAMED};

use super::interval::Counted;
use super::odds::Odds;
use crate::nouns::colour::{Colour, Each};

/// Fewer clients cannot be told from a proxy, a CDN or a load test in front: then each error counts.
const TOLD_APART: u64 = 8;
/// So many clients, and one in ten of those that were told apart, are no client that repeats an error: then each error counts.
const SPREAD: u64 = 5;
/// Ticks that later lines may still add to: a request ends when it ends, and hosts are read one after the other.
const STILL_OPEN: u64 = 60;

/// What both sides did in some time.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SidesTick {
    sides: Each<Attempts>,
    /// Of sums: the errors of their ticks, which are counted by ten seconds.
    errors: Each<Counted>,
    /// Of servers that are neither's, or that the log does not name.
    elsewhere: Attempts,
    clients: u64,
}

/// Since the last change of shares.
#[derive(Debug, Clone)]
pub struct Sides {
    /// Whose an address is.
    names: BTreeMap<String, Colour>,
    judged: Colour,
    /// Where the log does not name servers, and one side gets all.
    alone: Option<Colour>,
    /// Of that moment, in seconds since 1970: what was before does not count.
    since: u64,
    /// How long ticks are kept one by one, in seconds.
    kept: u64,
    ticks: BTreeMap<u64, SidesTick>,
    /// The sum of those that are not kept any more.
    settled: SidesTick,
    odds: Odds,
}

impl Sides {
    /// `names` says whose an address is, as nginx writes it.
    pub fn new(names: BTreeMap<String, Colour>, judged: Colour, window_seconds: u64) -> Sides {
        Sides {
            names,
            judged,
            alone: None,
            since: 0,
            kept: window_seconds.max(STILL_OPEN) + 2 * TICK,
            ticks: BTreeMap::new(),
            settled: SidesTick::default(),
            odds: Odds::default(),
        }
    }

    /// Begins, or begins anew; `alone` gets everything, where anybody does. What was counted before, under other shares, is no evidence any more.
    pub fn begin(&mut self, now: u64, alone: Option<Colour>) {
        self.since = now;
        self.alone = alone;
        self.ticks.clear();
        self.settled = SidesTick::default();
        self.odds = Odds::default();
    }

    pub fn judged(&self) -> Colour {
        self.judged
    }

    pub fn since(&self) -> u64 {
        self.since
    }

    /// Takes in what a look at one host brought.
    pub fn take(&mut self, batch: &Batch) {
        // Whoever reads begins with it, so what is in the tick of that moment came after.
        let first = self.since / TICK * TICK;
        for (at, tick) in batch.ticks.range(first..) {
            let here = self.ticks.entry(*at).or_default();
            here.clients = here.clients.max(tick.clients);
            for (server, attempts) in &tick.servers {
                let whose = match server.as_str() {
                    UNNAMED => self.alone,
                    name => self.names.get(name).copied(),
                };
                match whose {
                    Some(Colour::Blue) => here.sides.blue.merge(attempts),
                    Some(Colour::Green) => here.sides.green.merge(attempts),
                    None => here.elsewhere.merge(attempts),
                }
            }
        }
        self.settle();
    }

    /// What is too old to be looked at tick by tick becomes a sum.
    fn settle(&mut self) {
        let Some(newest) = self.ticks.last_key_value().map(|(at, _)| *at) else { return };
        let recent = self.ticks.split_off(&newest.saturating_sub(self.kept));
        for tick in std::mem::replace(&mut self.ticks, recent).values() {
            seen(&mut self.odds, tick, self.judged);
            self.settled.add(tick);
        }
    }

    /// The last so many seconds up to a moment, whole ticks.
    pub fn last(&self, seconds: u64, now: u64) -> SidesTick {
        let mut sum = SidesTick::default();
        let from = now.saturating_sub(seconds) / TICK * TICK;
        self.ticks.range(from..).for_each(|(_, tick)| sum.add(tick));
        sum
    }

    /// Everything since the beginning.
    pub fn all(&self) -> SidesTick {
        let mut sum = self.settled.clone();
        self.ticks.values().for_each(|tick| sum.add(tick));
        sum
    }

    /// The logarithm of how much speaks for it that the judged side is worse.
    pub fn ln_evidence(&self) -> f64 {
        let mut odds = self.odds;
        self.ticks.values().for_each(|tick| seen(&mut odds, tick, self.judged));
        odds.ln_evidence()
    }
}

fn seen(odds: &mut Odds, tick: &SidesTick, judged: Colour) {
    let (own, other) = (tick.counted(judged), tick.counted(judged.other()));
    let all = own.of + other.of;
    if all > 0 {
        odds.see(own.bad, other.bad, own.of as f64 / all as f64);
    }
}

impl SidesTick {
    /// One more tick to a sum of ticks.
    fn add(&mut self, other: &SidesTick) {
        self.errors = Each::from(|colour| *self.errors.of(colour) + other.counted(colour));
        self.sides.blue.merge(&other.sides.blue);
        self.sides.green.merge(&other.sides.green);
        self.elsewhere.merge(&other.elsewhere);
        self.clients = self.clients.max(other.clients);
    }

    pub fn of(&self, colour: Colour) -> &Attempts {
        self.sides.of(colour)
    }

    /// Whether clients can be told apart.
    pub fn tells_clients_apart(&self) -> bool {
        self.clients >= TOLD_APART
    }

    /// Errors among a side's attempts of ten seconds: once for each client where clients can be told apart and few of them err,
    /// since one who reloads a broken page is not eight.
    fn counted(&self, colour: Colour) -> Counted {
        let attempts = self.of(colour);
        let is_one_of_few = attempts.once < SPREAD || attempts.once * 10 < self.clients;
        let is_thinned = self.tells_clients_apart() && is_one_of_few;
        Counted { bad: if is_thinned { attempts.once } else { attempts.bad }, of: attempts.tried }
    }

    /// The same of all of its ticks.
    pub fn errors_of(&self, colour: Colour) -> Counted {
        *self.errors.of(colour)
    }

    /// Every error, whoever repeats it.
    pub fn raw_errors_of(&self, colour: Colour) -> Counted {
        let attempts = self.of(colour);
        Counted { bad: attempts.bad, of: attempts.tried }
    }

    /// Requests to nobody of ours, or whose server the log does not say.
    pub fn elsewhere(&self) -> &Attempts {
        &self.elsewhere
    }
}
