//! Who gets traffic by what was found: what is judged, and by what it is told that somebody moved it meanwhile.

use crate::hosts::facts::Facts;
use crate::nouns::colour::Colour;
use crate::nouns::production::Production;

/// Who gets traffic, over all balancers that were reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Serves {
    pub(super) blue: bool,
    pub(super) green: bool,
}

impl Serves {
    pub(super) fn of(production: &Production, facts: &Facts) -> Serves {
        let sends_to = |colour| facts.hosts.iter().any(|host| production.found_sending_to(&host.host, colour));
        Serves { blue: sends_to(Colour::Blue), green: sends_to(Colour::Green) }
    }

    pub(super) fn of_colour(self, colour: Colour) -> bool {
        match colour {
            Colour::Blue => self.blue,
            Colour::Green => self.green,
        }
    }

    pub(super) fn alone(self) -> Option<Colour> {
        match (self.blue, self.green) {
            (true, false) => Some(Colour::Blue),
            (false, true) => Some(Colour::Green),
            (true, true) | (false, false) => None,
        }
    }
}
