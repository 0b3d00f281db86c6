//! How much of the traffic goes to whom. Nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::colour::Colour;

/// Percent of the traffic for the side that it goes to: a rollback is [`Share::ALL`], a canary a row of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Share(u8);

impl Share {
    pub const ALL: Share = Share(100);
    pub const NONE: Share = Share(0);

    /// `None` above 100.
    pub fn percent(percent: u32) -> Option<Share> {
        u8::try_from(percent).ok().filter(|percent| *percent <= 100).map(Share)
    }

    pub fn as_percent(self) -> u8 {
        self.0
    }

    /// What is left for the other side.
    pub fn rest(self) -> Share {
        Share(100 - self.0)
    }

    /// Whether both sides get some.
    pub fn is_split(self) -> bool {
        self != Share::ALL && self != Share::NONE
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", self.0)
    }
}

/// Who takes requests, by what a balancer's file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Serving {
    Blue,
    Green,
    Both,
    Neither,
}

impl Serving {
    pub fn of(blue: bool, green: bool) -> Serving {
        match (blue, green) {
            (true, true) => Serving::Both,
            (true, false) => Serving::Blue,
            (false, true) => Serving::Green,
            (false, false) => Serving::Neither,
        }
    }

    /// Whether that colour gets any.
    pub fn includes(self, colour: Colour) -> bool {
        match self {
            Serving::Both => true,
            Serving::Blue => colour == Colour::Blue,
            Serving::Green => colour == Colour::Green,
            Serving::Neither => false,
        }
    }

    /// Everything for one colour.
    pub fn only(colour: Colour) -> Serving {
        match colour {
            Colour::Blue => Serving::Blue,
            Colour::Green => Serving::Green,
        }
    }
}
