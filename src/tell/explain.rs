//! What a refusal or an exit code means, and what to do: the sections of two pages of the book, which the program carries with
//! it, so that the terminal and the book say the same.

use crate::nouns::refusal::RefusalName;

const REFUSALS: &str = include_str!("../../docs/refusals.md");
const EXIT_CODES: &str = include_str!("../../docs/exit-codes.md");

/// Every code that a run can end with, as it is typed.
const CODES: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "130"];

/// A refusal or an exit code, as it is typed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    Refusal(RefusalName),
    ExitCode(&'static str),
}

impl Topic {
    /// In the order of the pages.
    pub fn all() -> impl Iterator<Item = Topic> {
        let refusals = RefusalName::ALL.iter().copied().map(Topic::Refusal);
        refusals.chain(CODES.into_iter().map(Topic::ExitCode))
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Topic::Refusal(name) => name.as_str(),
            Topic::ExitCode(code) => code,
        }
    }

    /// That of this name, in letters of any size.
    pub fn named(name: &str) -> Option<Topic> {
        Topic::all().find(|topic| topic.as_str().eq_ignore_ascii_case(name))
    }

    /// Its section without the heading: what is so, why, what is true now, what to do. Markdown.
    pub fn section(self) -> &'static str {
        let page = match self {
            Topic::Refusal(_) => REFUSALS,
            Topic::ExitCode(_) => EXIT_CODES,
        };
        section(page, self.as_str()).unwrap_or_default()
    }

    /// The section as a terminal shows it.
    pub fn text(self) -> String {
        let heading = match self {
            Topic::Refusal(name) => name.to_string(),
            Topic::ExitCode(code) => format!("exit code {code}"),
        };
        let paragraphs = self.section().replace("**", "");
        let paragraphs: Vec<String> = paragraphs.split("\n\n").map(filled).collect();
        format!("{heading}\n\n{}\n", paragraphs.join("\n\n"))
    }

    /// One line for each: the name, and what is so.
    pub fn list() -> String {
        let line = |topic: Topic| {
            let first = topic.section().split("\n\n").next().unwrap_or_default().replace('\n', " ");
            format!("{:<22} {first}\n", topic.as_str())
        };
        Topic::all().map(line).collect()
    }
}

/// As wide as every terminal is.
const WIDTH: usize = 80;

/// A paragraph with its lines as long as they may be.
fn filled(paragraph: &str) -> String {
    let mut lines: Vec<String> = Vec::new();
    for word in paragraph.split_whitespace() {
        match lines.last_mut().filter(|line| line.chars().count() + 1 + word.chars().count() <= WIDTH) {
            Some(line) => {
                line.push(' ');
                line.push_str(word);
            }
            None => lines.push(word.to_owned()),
        }
    }
    lines.join("\n")
}

/// What stands under a heading of the second order.
fn section(page: &'static str, heading: &str) -> Option<&'static str> {
    let mut sections = page.split("\n## ").skip(1).filter_map(|section| section.split_once('\n'));
    let (_, text) = sections.find(|(name, _)| *name == heading)?;
    Some(text.split("\n# ").next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_refusal_and_every_code_is_explained_and_nothing_else_is() {
        for topic in Topic::all() {
            let parts: Vec<&str> = topic.section().split("\n\n").collect();
            let name = topic.as_str();
            assert!(parts.len() >= 3 && !parts[0].starts_with("**") && parts[0].ends_with('.'), "{name}: what is so");
            let starts = |word: &str| parts.iter().any(|part| part.starts_with(word));
            assert!(starts("**True now:**") && starts("**Do:**"), "{name}: what is true, and what to do");
            assert!(starts("**Why:**") || matches!(topic, Topic::ExitCode(_)), "{name}: why");
            assert_eq!(Topic::named(&name.to_lowercase()), Some(topic));
        }
        let headings = |page: &'static str| page.lines().filter_map(|line| line.strip_prefix("## "));
        let found: Vec<&str> = headings(REFUSALS).chain(headings(EXIT_CODES)).collect();
        let known: Vec<&str> = Topic::all().map(Topic::as_str).collect();
        assert_eq!(found, known, "the pages and the program have the same names, in the same order");
    }

    #[test]
    fn a_section_ends_where_the_next_begins() {
        let text = Topic::Refusal(RefusalName::Mistake).text();
        assert!(text.starts_with("E-MISTAKE\n\nA mistake in") && !text.contains("Hosts, and") && !text.contains("**"));
        assert!(text.lines().all(|line| line.chars().count() <= WIDTH), "{text}");
    }

    #[test]
    fn a_name_and_what_it_is_stand_on_one_line() {
        for (line, topic) in Topic::list().lines().zip(Topic::all()) {
            assert!(line.starts_with(&format!("{} ", topic.as_str())) && line.chars().count() <= 155, "{line}");
        }
        assert_eq!(Topic::list().lines().count(), Topic::all().count());
    }
}
