//! `INCIDENT_REPORT.html`: what the report says, with pictures, as one file that loads nothing and runs nothing. Gathers for
//! the template what `report` and `picture` made; concludes nothing by itself.

use serde::Serialize;
use serde_json::Value;

use crate::nouns::redact::{self, Redactor};
use crate::tell::picture::{Pictures, pictures};
use crate::tell::render::{Name, Templates, redacted};
use crate::tell::report::{Report, report};
use crate::tell::several::{self, Head};
use crate::tell::story::{Story, ending};

/// What all pages look like.
const STYLE: &str = include_str!("../../templates/page.css");

/// What the page's template gets.
#[derive(Debug, Serialize)]
struct Page {
    /// `h2`, or `h3` where each service has an `h2`.
    heading: &'static str,
    title: String,
    /// What stands before the sections of several services.
    head: Option<Head>,
    parts: Vec<Part>,
}

/// One service.
#[derive(Debug, Serialize)]
struct Part {
    #[serde(flatten)]
    report: Report,
    pictures: Pictures,
    /// ` of api` where there are several: what has a name of its own on the page needs one that no other has.
    of: String,
    /// How many hosts are as they should be, where there are too many to be shown one by one.
    many_hosts: Option<usize>,
    diffs: Vec<Diff>,
}

/// A file as it was to be changed.
#[derive(Debug, Serialize)]
struct Diff {
    path: String,
    hosts: String,
    lines: Vec<DiffLine>,
}

#[derive(Debug, Serialize)]
struct DiffLine {
    kind: &'static str,
    text: String,
}

/// The page of one incident, whatever services it had.
pub fn incident_page(stories: &[Story<'_>], templates: &Templates, redactor: &Redactor) -> String {
    let among = |story: &Story<'_>| match stories.len() {
        0 | 1 => String::new(),
        _ => format!(" of {}", several::name(story)),
    };
    let parts: Vec<Part> = stories.iter().map(|story| part(story, among(story))).collect();
    let head = (stories.len() > 1).then(|| several::head_of(stories));
    let title = head.as_ref().map(Head::title).or_else(|| parts.first().map(|part| part.report.title()));
    let title = title.unwrap_or_default().to_owned();
    let page = Page { heading: if head.is_some() { "h3" } else { "h2" }, title, head, parts };
    fill(Name::Page, &redacted(&page, redactor), templates)
}

/// Fills the template of a page; the bare facts where it cannot be filled.
pub(super) fn fill(name: Name, context: &Value, templates: &Templates) -> String {
    let mut context = context.clone();
    context["style"] = STYLE.into();
    let bare = |why: String| {
        let facts = serde_json::to_string_pretty(&context).unwrap_or_default();
        format!(
            "<!doctype html>\n<title>The template failed</title>\n<p>{}</p>\n<pre>{}</pre>\n",
            redact::html(&why),
            redact::html(&facts)
        )
    };
    templates.render(name, &context, Ok, bare)
}

fn part(story: &Story<'_>, of: String) -> Part {
    let diffs = story.known.changes.iter().map(|change| Diff {
        path: change.path.clone(),
        hosts: change.hosts.clone(),
        lines: change.diff.lines().map(diff_line).collect(),
    });
    let pictures = pictures(story.entries, &ending(story.entries));
    let report = report(story);
    let many_hosts = Some(report.good_hosts()).filter(|good| *good > HOSTS_SHOWN);
    Part { report, pictures, of, many_hosts, diffs: diffs.collect() }
}

/// More hosts that are as they should be are folded.
const HOSTS_SHOWN: usize = 12;

fn diff_line(line: &str) -> DiffLine {
    let kind = match line.as_bytes() {
        [b'+', b'+', b'+', ..] | [b'-', b'-', b'-', ..] | [b'@', b'@', ..] => "about",
        [b'+', ..] => "added",
        [b'-', ..] => "removed",
        _ => "kept",
    };
    // A line that is nothing but its place in the file is still one.
    DiffLine { kind, text: if line.is_empty() { " ".to_owned() } else { line.to_owned() } }
}
