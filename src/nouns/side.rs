//! Where traffic goes and where it comes from. A colour says who somebody is; a side says what this run wants of him: a
//! rollback goes to blue, its undo to green, and neither is written into a name. Nothing else.

use serde::{Deserialize, Serialize};

use super::colour::Colour;

/// One of the two ends of a move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Side {
    /// What traffic goes to.
    To,
    /// What it leaves.
    From,
}

/// Which colour stands on which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Direction {
    to: Colour,
}

impl Direction {
    pub fn to(colour: Colour) -> Direction {
        Direction { to: colour }
    }

    pub fn colour(self, side: Side) -> Colour {
        match side {
            Side::To => self.to,
            Side::From => self.to.other(),
        }
    }

    pub fn side(self, colour: Colour) -> Side {
        if colour == self.to { Side::To } else { Side::From }
    }
}

impl Side {
    pub fn other(self) -> Side {
        match self {
            Side::To => Side::From,
            Side::From => Side::To,
        }
    }
}
