//! Responsible for: how each server of a block shall stand, as the block that is there and what was asked for decide it
//! together. `block` gives it to the template, `proof` holds the result against it.
//!
//! Never: reads or writes text.

use super::{Server, Upstream, WantedBlock, same_address};
use crate::nouns::colour::{Colour, Each};

/// Percent, as the weight headers tell it. In a server line any number above 0 would do.
pub(super) const FULL_WEIGHT: u64 = 100;
/// For the weight headers and the template. In a server line nginx refuses it, and `down` is written.
pub(super) const NO_WEIGHT: u64 = 0;

/// What was asked for, of this block.
pub(super) struct Wish<'a> {
    pub(super) wanted: &'a WantedBlock<'a>,
    before: &'a Upstream,
    /// Where both sides are to get some: what makes weights of it.
    split: Option<Split>,
    /// Servers of the serving side that the block lacks.
    pub(super) missing: Vec<String>,
    /// What stands in the place of the block's only server: the same, or another one.
    pub(super) instead: Option<&'a str>,
    /// Whether one server is left that is not down. Beside a `down` server nginx does not treat it as a lone one: after a
    /// single dropped connection it would answer 502 for `fail_timeout`. Of several each is the other's way out, and what
    /// counts failures is how nginx finds it.
    pub(super) is_lone: bool,
}

/// What the servers of each side weigh together by themselves, and what all weights of a split can be divided by: the
/// smallest pair is the one that nginx comes round to soonest.
struct Split {
    sums: Each<u128>,
    unit: u128,
}

/// How a server shall stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stand {
    /// Of neither side: as it does.
    Stranger,
    /// In the block's only place, with nothing that tells sides apart.
    Only,
    Serves {
        weight: u64,
        /// Whether its weight is its own, one among several of its side.
        is_own: bool,
        may_be_backup: bool,
    },
    Down {
        keeps_weight: bool,
    },
}

impl<'a> Wish<'a> {
    pub(super) fn new(before: &'a Upstream, wanted: &'a WantedBlock<'a>) -> Wish<'a> {
        let missing = missing_servers(before, wanted);
        let mut wish = Wish { wanted, before, missing, split: None, instead: None, is_lone: false };
        if wanted.share.is_split() {
            wish.split = Some(wish.split());
            return wish;
        }
        wish.instead = wish.in_place_of_the_only_one();
        if wish.instead.is_some() {
            wish.missing.clear();
        }
        let not_down = |server: &&Server| match wanted.colour_of(&server.address) {
            Some(colour) => colour == wanted.serve,
            None => !server.is_down,
        };
        wish.is_lone = before.servers.iter().filter(not_down).count() + wish.missing.len() == 1;
        wish
    }

    pub(super) fn stand(&self, server: &Server) -> Stand {
        match self.wanted.colour_of(&server.address) {
            None => Stand::Stranger,
            Some(_) if self.instead.is_some() => Stand::Only,
            Some(colour) if self.split.is_some() => match self.takes_part(server, colour) {
                true => Stand::Serves {
                    weight: self.weight_of(self.own_weight(server, colour), colour),
                    is_own: false,
                    may_be_backup: self.has_more_than_backups(colour),
                },
                false => Stand::Down { keeps_weight: self.keeps_weights(colour) },
            },
            Some(colour) if colour == self.wanted.serve => {
                let is_own = self.keeps_weights(colour);
                let weight = if is_own { server.weight } else { FULL_WEIGHT };
                Stand::Serves { weight, is_own, may_be_backup: self.has_more_than_backups(colour) }
            }
            Some(colour) => Stand::Down { keeps_weight: self.keeps_weights(colour) },
        }
    }

    /// What takes the place of the block's only server, where that is another one.
    pub(super) fn replacement(&self) -> Option<&'a str> {
        let only = self.before.servers.first()?;
        self.instead.filter(|ours| !same_address(ours, &only.address))
    }

    /// What an added server gets: where the others have weights of their own, no more than any of them.
    pub(super) fn added_weight(&self) -> u64 {
        let colour = self.wanted.serve;
        match self.split {
            Some(_) => self.weight_of(self.own_added_weight(), colour),
            None if self.keeps_weights(colour) => self.own_added_weight(),
            None => FULL_WEIGHT,
        }
    }

    fn own_added_weight(&self) -> u64 {
        let colour = self.wanted.serve;
        let least = self.of(colour).map(|server| server.weight).min();
        least.filter(|_| self.keeps_weights(colour)).unwrap_or(1)
    }

    fn own_weight(&self, server: &Server, colour: Colour) -> u64 {
        if self.keeps_weights(colour) { server.weight } else { 1 }
    }

    /// Whether a server gets requests in a split: where some of its side do now, one that is down is so for a reason of its
    /// own.
    fn takes_part(&self, server: &Server, colour: Colour) -> bool {
        !server.is_down || self.of(colour).all(|server| server.is_down)
    }

    /// The side that has no server here has no share to give: a sum of 0.
    pub(super) fn lacks(&self) -> Option<Colour> {
        self.split.as_ref()?.sums.find(|sum| *sum == 0)
    }

    fn split(&self) -> Split {
        let own = |colour: Colour| {
            let counts = |server: &&Server| {
                self.takes_part(server, colour) && !(server.is_backup && self.has_more_than_backups(colour))
            };
            let stands = self.of(colour).filter(counts).map(move |server| self.own_weight(server, colour));
            let added = self.missing.iter().filter(|_| colour == self.wanted.serve).map(|_| self.own_added_weight());
            stands.chain(added).map(u128::from).collect::<Vec<u128>>()
        };
        let own = Each::from(own);
        let sums = Each::from(|colour| own.of(colour).iter().sum());
        let mut split = Split { sums, unit: 1 };
        let all = Colour::BOTH.into_iter().flat_map(|colour| own.of(colour).iter().map(move |own| (*own, colour)));
        let unit = all.map(|(own, colour)| split.weight(own, colour, self.wanted)).fold(0, gcd);
        split.unit = unit.max(1);
        split
    }

    fn weight_of(&self, own: u64, colour: Colour) -> u64 {
        let weight = self.split.as_ref().map(|split| split.weight(u128::from(own), colour, self.wanted));
        // Of weights that no nginx takes, which says so.
        weight.map_or(own, |weight| u64::try_from(weight).unwrap_or(u64::MAX))
    }

    /// Whether the servers of a side have different weights: what each of them can bear is not for us to change, and a
    /// number is written nowhere else. What says 0 is what a runbook left, and no weight.
    fn keeps_weights(&self, colour: Colour) -> bool {
        let mut weights = self.of(colour).map(|server| server.weight);
        let Some(first) = weights.next() else { return false };
        let mut differs = false;
        let mut is_known = first != 0;
        for weight in weights {
            differs |= weight != first;
            is_known &= weight != 0;
        }
        differs && is_known
    }

    /// Backups alone would be "no servers".
    fn has_more_than_backups(&self, colour: Colour) -> bool {
        self.of(colour).any(|server| !server.is_backup)
    }

    fn of(&self, colour: Colour) -> impl Iterator<Item = &Server> {
        self.before.servers.iter().filter(move |server| self.wanted.colour_of(&server.address) == Some(colour))
    }

    /// Nearly every deploy script that edits a block knows it by its one server, and the next deploy finds nothing in any
    /// other form.
    fn in_place_of_the_only_one(&self) -> Option<&'a str> {
        let ([only], [ours]) = (self.before.servers.as_slice(), self.wanted.addresses(self.wanted.serve)) else {
            return None;
        };
        (only.takes_traffic() && self.wanted.colour_of(&only.address).is_some()).then_some(ours.as_str())
    }
}

fn missing_servers(upstream: &Upstream, wanted: &WantedBlock<'_>) -> Vec<String> {
    let mut missing: Vec<String> = Vec::new();
    for address in wanted.addresses(wanted.serve) {
        let stands = upstream.servers.iter().any(|server| same_address(&server.address, address));
        if !stands && !missing.iter().any(|known| same_address(known, address)) {
            missing.push(address.clone());
        }
    }
    missing
}

impl Split {
    /// So that each side together weighs its share, whatever its servers weigh by themselves.
    fn weight(&self, own: u128, colour: Colour, wanted: &WantedBlock<'_>) -> u128 {
        let share = if colour == wanted.serve { wanted.share } else { wanted.share.rest() };
        own.saturating_mul(u128::from(share.as_percent())).saturating_mul(*self.sums.of(colour.other())) / self.unit
    }
}

fn gcd(a: u128, b: u128) -> u128 {
    if b == 0 { a } else { gcd(b, a % b) }
}
