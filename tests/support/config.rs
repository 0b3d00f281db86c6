//! A config as the program reads it. A file of its own, so that a test or a bench includes it without the rest.

use std::path::Path;

use rollback_prod::config::{Document, Problem, Reading, read};
use rollback_prod::nouns::inventory::Inventory;
use rollback_prod::nouns::names::Environment;

/// What a text means that stands at a path; of `prod`, and with no variables.
pub fn inventory_of(path: &Path, text: String) -> Inventory {
    let reading = Reading {
        base: Document { path: path.to_owned(), text },
        overlay: None,
        environment: Environment::new("prod").expect("a word"),
        may_lack_layout: false,
        home: None,
        variable: &|_| None,
        read_file: &|path: &Path| std::fs::read_to_string(path),
    };
    let said = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    let read = read(&reading).unwrap_or_else(|problems| panic!("{}", said(problems)));
    read.services.into_iter().next().expect("a service").inventory
}
