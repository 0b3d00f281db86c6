//! An incident as a ticket's text, to be pasted or filed: what was, and what is to be done about it. In the markup of the
//! tracker that it goes to. Never sends it: see `filing`.

use crate::nouns::redact::{self, Redactor};
use crate::tell::captured::gaps;
use crate::tell::checklist::actions;
use crate::tell::impact::impact;
use crate::tell::report::summary_of;
use crate::tell::story::{Story, begun, ending, service_words, title};

/// Whose markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Tracker {
    /// Markdown
    Github,
    /// Wiki markup
    Jira,
}

impl Tracker {
    pub fn word(self) -> &'static str {
        match self {
            Tracker::Github => "github",
            Tracker::Jira => "jira",
        }
    }

    /// What the config needs to file there.
    pub fn example(self) -> &'static str {
        match self {
            Tracker::Github => "[tickets] github = { repository = \"example/listings\", token_env = \"GITHUB_TOKEN\" }",
            Tracker::Jira => {
                "[tickets] jira = { url = \"https://example.atlassian.net\", project = \"OPS\", user = \"bot@example.com\", token_env = \"JIRA_TOKEN\" }"
            }
        }
    }
}

/// A title, a blank line, and the text.
pub fn ticket(stories: &[Story<'_>], tracker: Tracker, redactor: &Redactor) -> String {
    let titles: Vec<String> = stories
        .iter()
        .map(|story| title(&service_words(begun(story.entries)), &ending(story.entries), begun(story.entries)))
        .collect();
    let mut text = format!("{}\n", redact::printable(&redactor.text(&titles.join("; "))));
    for story in stories {
        text.push('\n');
        text.push_str(&body(story, tracker, redactor));
    }
    text
}

fn body(story: &Story<'_>, tracker: Tracker, redactor: &Redactor) -> String {
    let ending = ending(story.entries);
    let plain = |text: &str| {
        let text = redactor.text(text);
        match tracker {
            Tracker::Github => redact::markdown(&text),
            Tracker::Jira => jira(&text),
        }
    };
    let heading = |words: &str| match tracker {
        Tracker::Github => format!("\n### {words}\n\n"),
        Tracker::Jira => format!("\nh3. {words}\n"),
    };
    let item = |text: &str| match tracker {
        Tracker::Github => format!("- {}\n", plain(text)),
        Tracker::Jira => format!("* {}\n", plain(text)),
    };
    let task = |text: &str| match tracker {
        Tracker::Github => format!("- [ ] {}\n", plain(text)),
        Tracker::Jira => format!("* {}\n", plain(text)),
    };
    let mut text = format!("{}\n", plain(&summary_of(story)));
    text.push_str(&heading("What is"));
    text.push_str(&item(&format!("Production: {}", ending.verdict.production)));
    if let Some(begun) = begun(story.entries) {
        text.push_str(&item(&format!("Reason given: {}", begun.reason)));
        text.push_str(&item(&format!("Incident {} on {}, by {}", begun.id, begun.laptop, begun.operator)));
        text.push_str(
            &begun.releases.as_ref().map_or(String::new(), |releases| item(&format!("Releases: {releases}"))),
        );
    }
    let impact = impact(story.entries);
    if !impact.is_empty() {
        text.push_str(&heading("Impact"));
        text.extend(impact.iter().map(|line| item(line)));
    }
    let (gaps, notes) = (gaps(story.entries), story.known.notes.clone());
    let mut actions = actions(&gaps, &notes, &ending);
    actions.push("Keep this cause from reaching production again: …".to_owned());
    actions.push("Notice it sooner: …".to_owned());
    text.push_str(&heading("To do"));
    text.extend(actions.iter().map(|action| task(action)));
    text
}

/// Words of others in wiki markup: nothing of it is a link, a macro, an image or a table.
fn jira(text: &str) -> String {
    let mut out = String::new();
    for c in redact::printable(text).chars() {
        if matches!(c, '\\' | '{' | '}' | '[' | ']' | '!' | '|' | '*' | '_' | '^' | '~' | '+' | '-' | '?' | '#' | '@') {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_jira_ticket_is_a_macro_or_calls_somebody() {
        assert_eq!(jira("{code}x{code} [~alice] !i.png! |"), "\\{code\\}x\\{code\\} \\[\\~alice\\] \\!i.png\\! \\|");
    }
}
