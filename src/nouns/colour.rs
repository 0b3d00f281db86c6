//! The two colours of a deployment. Nothing else.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Blue is what a rollback goes back to; green is what it takes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    Blue,
    Green,
}

/// One for each colour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Each<T> {
    pub blue: T,
    pub green: T,
}

impl<T> Each<T> {
    pub fn from(mut make: impl FnMut(Colour) -> T) -> Each<T> {
        Each { blue: make(Colour::Blue), green: make(Colour::Green) }
    }

    pub fn of(&self, colour: Colour) -> &T {
        match colour {
            Colour::Blue => &self.blue,
            Colour::Green => &self.green,
        }
    }

    /// The first colour whose is like that.
    pub fn find(&self, is_it: impl Fn(&T) -> bool) -> Option<Colour> {
        Colour::BOTH.into_iter().find(|colour| is_it(self.of(*colour)))
    }
}

impl Colour {
    pub const BOTH: [Colour; 2] = [Colour::Blue, Colour::Green];

    pub fn other(self) -> Colour {
        match self {
            Colour::Blue => Colour::Green,
            Colour::Green => Colour::Blue,
        }
    }
}

impl fmt::Display for Colour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Colour::Blue => "blue",
            Colour::Green => "green",
        })
    }
}
