//! `docs/layouts.md`, the page that says what to write for each layout: what it says is what is tried.
#![allow(dead_code)]

const PAGE: &str = include_str!("../../docs/layouts.md");

/// The blocks of a language in a section.
pub fn block(section: &'static str, language: &str) -> Option<&'static str> {
    let (_, rest) = section.split_once(&format!("```{language}\n"))?;
    rest.split_once("```").map(|(block, _)| block)
}

pub fn sections() -> impl Iterator<Item = (&'static str, &'static str)> {
    PAGE.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'))
}

/// The lab's config with the tables of a section in the place of its own keys.
pub fn with_tables(text: String, section: &str) -> String {
    let mut table = "";
    let mut text = text.replace("upstream = \"listings_backend\"\n", "");
    for line in section.lines() {
        match (line.starts_with('['), line.split_once(" = ")) {
            (true, _) => table = line,
            (false, None) => {}
            (false, Some((key, _))) => {
                let (before, rest) = text.split_once(&format!("{table}\n")).expect("the lab's config has all tables");
                let is_it = |known: &str| known.split_once(" = ").is_some_and(|(name, _)| name == key);
                let (own, behind) = rest.split_once("\n\n").expect("a blank line behind each");
                let own: Vec<&str> = own.lines().filter(|known| !is_it(known)).collect();
                text = format!("{before}{table}\n{}\n{line}\n\n{behind}", own.join("\n"));
            }
        }
    }
    text
}

/// The config of a section.
pub fn config_of(name: &str) -> &'static str {
    let section = sections().find(|(known, _)| *known == name).expect("a section of the page");
    block(section.1, "toml").expect("its config")
}
