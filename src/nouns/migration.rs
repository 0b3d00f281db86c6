//! How migrations are taken back, as the config says it. Which ones those are is judged by [`dumps::migrations`].

use dumps::migrations::{Down, Migration};
use serde::Serialize;

use super::change::NamedChange;
use super::names::HostName;

/// The change that takes migrations back is called so; no change of the config may be.
pub const CHANGE: &str = "migrations";

/// `[migrations]`.
#[derive(Debug, Clone)]
pub struct Migrations {
    /// Where and how it is run, with the words as they are written: `{to}` and `{steps}` stand for what they come to.
    pub change: NamedChange,
}

/// `--migrate-down`, and to which one; `None` is where the dump is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DownWish {
    pub to: Option<String>,
}

impl DownWish {
    /// The flag that says so.
    pub fn flag(&self) -> String {
        let to = self.to.iter().map(|to| format!(" {}", shell_words::quote(to)));
        format!("--migrate-down{}", to.collect::<String>())
    }
}

/// What the live database and the dump that a restore would take say of migrations.
#[derive(Debug, Clone, Serialize)]
pub struct MigrationsSeen {
    pub host: HostName,
    pub live: Vec<Migration>,
    /// `None` where there is no dump, or nobody can say soon.
    pub dump: Option<Vec<Migration>>,
}

impl Migrations {
    /// The change that takes these back.
    ///
    /// # Errors
    /// Why there is none.
    pub fn change_of(&self, down: &Down) -> Result<NamedChange, String> {
        let mut change = self.change.clone();
        let is_counted = |words: &[String]| words.iter().any(|word| word.contains("{steps}"));
        if !down.are_all && (is_counted(&change.run) || is_counted(&change.undo)) {
            return Err(format!("{} keeps its last one alone, so {{steps}} cannot be counted", down.tool));
        }
        let steps = down.newer.len().to_string();
        let filled = |words: &[String], to: &str| -> Vec<String> {
            words.iter().map(|word| word.replace("{to}", to).replace("{steps}", &steps)).collect()
        };
        (change.run, change.undo) = (filled(&change.run, &down.to), filled(&change.undo, &down.from));
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_flag_is_typed_again_as_it_was() {
        assert_eq!(DownWish { to: None }.flag(), "--migrate-down");
        assert_eq!(DownWish { to: Some("shop.0001 x".into()) }.flag(), "--migrate-down 'shop.0001 x'");
    }
}
