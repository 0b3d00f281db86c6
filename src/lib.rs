pub mod colour;
pub mod inventory;
pub mod names;
