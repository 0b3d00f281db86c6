//! What a run with several services is together: the head of its report, before a section for each, and what its messages
//! say. Concludes nothing about production that `story` and the verdicts do not.

use serde::Serialize;

use crate::nouns::production::Verdict;
use crate::nouns::record::Begun;
use crate::nouns::redact::Redactor;
use crate::nouns::together::together;
use crate::nouns::units::duration;
use crate::tell::render::{Name, Templates, redacted, tidy, with_fences};
use crate::tell::story::{Standing, Story, begun, ending, ending_with, traffic_safe};

/// What the head's template gets.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Head {
    id: String,
    title: String,
    status: &'static str,
    tone: &'static str,
    production: String,
    exit: u8,
    next: String,
    reason: String,
    operator: String,
    laptop: String,
    left: Vec<String>,
    services: Vec<Row>,
}

/// A service, as it ended.
#[derive(Debug, Clone, Serialize)]
struct Row {
    name: String,
    status: &'static str,
    is_bad: bool,
    releases: Option<String>,
    production: String,
    traffic_safe: Option<String>,
}

/// What stands in the report before the sections.
pub(super) fn head(stories: &[Story<'_>], templates: &Templates, redactor: &Redactor) -> String {
    let head = head_of(stories);
    let context = redacted(&head, redactor);
    let bare = |_| format!("# {}\n", crate::nouns::redact::markdown(&head.title));
    templates.render(Name::Services, &context, |text| Ok(tidy(&text)), bare)
}

/// What all services come to.
pub(super) fn head_of(stories: &[Story<'_>]) -> Head {
    let verdict = verdict(stories);
    let standing = standing(stories, &verdict);
    let first = stories.first().and_then(|story| begun(story.entries));
    let said = |pick: fn(&Begun) -> &str| first.map_or("not known", pick).to_owned();
    Head {
        id: said(|begun| &begun.id),
        title: title(stories, &verdict),
        status: standing.word(),
        tone: standing.tone(),
        exit: verdict.exit,
        next: verdict.next,
        reason: said(|begun| &begun.reason),
        operator: said(|begun| &begun.operator),
        laptop: said(|begun| &begun.laptop),
        services: stories.iter().map(row).collect(),
        production: verdict.production,
        left: verdict.left,
    }
}

impl Head {
    pub(super) fn title(&self) -> &str {
        &self.title
    }
}

fn row(story: &Story<'_>) -> Row {
    let ending = ending(story.entries);
    Row {
        name: name(story).to_owned(),
        status: ending.standing.word(),
        is_bad: ending.standing != Standing::Resolved,
        releases: begun(story.entries).and_then(|begun| begun.releases.clone()),
        traffic_safe: traffic_safe(story.entries).map(|safe| duration(safe.at_ms)),
        production: ending.verdict.production,
    }
}

/// The service that a story is of.
pub(super) fn name<'s>(story: &Story<'s>) -> &'s str {
    begun(story.entries).map_or("not known", |begun| &begun.service)
}

/// How all of it ended, by the journals.
pub(super) fn verdict(stories: &[Story<'_>]) -> Verdict {
    together(stories.iter().map(|story| (name(story), ending(story.entries).verdict)).collect())
}

/// The services together, where the first of them has a word for that: `shop`, or `shop (staging)`.
pub(super) fn group_words(stories: &[Story<'_>]) -> String {
    let first = stories.first().and_then(|story| begun(story.entries));
    let group = first.map_or("rollback", |begun| begun.group.as_deref().unwrap_or(&begun.service));
    match first.map(|begun| begun.environment.as_str()) {
        None | Some("prod") => group.to_owned(),
        Some(environment) => format!("{group} ({environment})"),
    }
}

/// The names of the services in the order in which they went.
pub(super) fn names(stories: &[Story<'_>]) -> String {
    stories.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// How it ended in a few words.
pub(super) fn title(stories: &[Story<'_>], verdict: &Verdict) -> String {
    let (group, names) = (group_words(stories), names(stories));
    let first = stories.first().and_then(|story| begun(story.entries));
    if let Some(incident) = first.and_then(|begun| begun.undoes.as_deref()) {
        let what = match verdict.exit {
            0 => "is taken back",
            1 => "stays: the undo was refused, nothing was changed",
            3 => "stays: the undo failed and was put back",
            _ => "is taken back in part",
        };
        return format!("{group}: {incident} of {names} {what}");
    }
    let what = if first.is_some_and(Begun::is_partial) { "partial rollback" } else { "rollback" };
    let how = match verdict.exit {
        0 => "done",
        1 => "refused, nothing was changed",
        3 => "failed and put back: NOT mitigated",
        4 | 6 | 8 => "traffic on blue, not all is done",
        130 => "interrupted",
        _ => "incomplete: the services differ, or what one serves is NOT KNOWN",
    };
    format!("{group}: {what} of {names}: {how}")
}

/// How all of them stand: none better than the worst.
pub(super) fn standing(stories: &[Story<'_>], verdict: &Verdict) -> Standing {
    let each: Vec<Standing> = stories
        .iter()
        .map(|story| {
            let known = ending(story.entries);
            // Its last line is still to be written.
            if known.is_cut_off { ending_with(&known.verdict, story.entries).standing } else { known.standing }
        })
        .collect();
    match verdict.exit {
        0 => Standing::Resolved,
        _ if each.contains(&Standing::Unknown) => Standing::Unknown,
        _ if each.contains(&Standing::Failed) => Standing::Failed,
        _ => Standing::Mitigating,
    }
}

/// A document as a section of another one: every heading one step lower, except what somebody wrote within a fence.
pub(super) fn as_section(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for (line, is_verbatim) in with_fences(text) {
        if !is_verbatim && line.starts_with('#') {
            out.push('#');
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heading_becomes_one_of_a_section_and_a_comment_in_a_fence_stays() {
        assert_eq!(as_section("# a\n```\n# b\n```\n## c\n"), "## a\n```\n# b\n```\n### c\n");
    }
}
