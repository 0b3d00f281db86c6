//! Fills the templates of the report, the postmortem and the messages: the built-in ones, or those of the same names
//! in a folder of the operator's. Everything a template prints is inert in what it prints into, also where its author
//! forgot a filter. Never fails a run: a template that cannot be used is replaced by the built-in one, and said so.

use std::io::{self, Write};
use std::path::Path;
use std::sync::{LazyLock, Mutex, PoisonError};

use serde::Serialize;
use tera::{Context, Kwargs, State, Tera, Value};

use crate::nouns::redact::{self, Redactor};

/// The templates that can be replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    Report,
    /// The same with pictures.
    Page,
    /// What stands before the reports of several services.
    Services,
    Postmortem,
    Slack,
    Mail,
    Webhook,
    /// The page over all incidents.
    Incidents,
}

impl Name {
    pub const ALL: [Name; 8] = [
        Name::Report,
        Name::Page,
        Name::Services,
        Name::Postmortem,
        Name::Slack,
        Name::Mail,
        Name::Webhook,
        Name::Incidents,
    ];

    /// Its file, in the folder that replaces it and in ours.
    pub fn file(self) -> &'static str {
        match self {
            Name::Report => "report.md.tera",
            Name::Page => "report.html.tera",
            Name::Services => "services.md.tera",
            Name::Postmortem => "postmortem.md.tera",
            Name::Slack => "slack.json.tera",
            Name::Mail => "mail.txt.tera",
            Name::Webhook => "webhook.json.tera",
            Name::Incidents => "incidents.html.tera",
        }
    }

    fn built_in(self) -> &'static str {
        match self {
            Name::Report => include_str!("../../templates/report.md.tera"),
            Name::Page => include_str!("../../templates/report.html.tera"),
            Name::Services => include_str!("../../templates/services.md.tera"),
            Name::Postmortem => include_str!("../../templates/postmortem.md.tera"),
            Name::Slack => include_str!("../../templates/slack.json.tera"),
            Name::Mail => include_str!("../../templates/mail.txt.tera"),
            Name::Webhook => include_str!("../../templates/webhook.json.tera"),
            Name::Incidents => include_str!("../../templates/incidents.html.tera"),
        }
    }

    /// What is done to every value that no filter made safe.
    fn escape(self) -> fn(&str, &mut dyn Write) -> io::Result<()> {
        match self {
            Name::Report | Name::Services | Name::Postmortem => {
                |text, out| out.write_all(redact::markdown(text).as_bytes())
            }
            Name::Page | Name::Incidents => |text, out| out.write_all(redact::html(text).as_bytes()),
            Name::Slack | Name::Webhook => |text, out| out.write_all(inside_json(text).as_bytes()),
            Name::Mail => |text, out| out.write_all(redact::printable_lines(text).as_bytes()),
        }
    }

    /// A template by itself, or why it is none.
    fn parse(self, text: &str) -> Result<Tera, String> {
        let mut tera = Tera::new();
        tera.set_escape_fn(self.escape());
        tera.autoescape_on([".tera"]);
        tera.register_filter("md", |value: &Value, _: Kwargs, _: &State<'_>| safe(value, redact::markdown));
        tera.register_filter("code", |value: &Value, _: Kwargs, _: &State<'_>| safe(value, redact::code));
        tera.register_filter("fence", |value: &Value, kwargs: Kwargs, _: &State<'_>| -> tera::TeraResult<Value> {
            let language = kwargs.get::<String>("language")?.unwrap_or_default();
            let language: String = language.chars().filter(char::is_ascii_alphanumeric).collect();
            Ok(safe(value, |text| redact::fence_as(text, &language)))
        });
        tera.register_filter("spans", |value: &Value, _: Kwargs, _: &State<'_>| safe(value, spans));
        tera.register_filter("json", |value: &Value, _: Kwargs, _: &State<'_>| safe(value, inside_json));
        // Not safe by itself: it still has to get through JSON.
        tera.register_filter("mrkdwn", |value: &Value, kwargs: Kwargs, _: &State<'_>| -> tera::TeraResult<Value> {
            let limit = kwargs.get::<usize>("limit")?.unwrap_or(SLACK_SECTION);
            Ok(Value::from(mrkdwn(&plain(value), limit)))
        });
        tera.add_raw_template(self.file(), text).map_err(|err| chain(&err))?;
        Ok(tera)
    }
}

/// What can be rendered, and what was wrong with what the operator gave.
pub struct Templates {
    theirs: Vec<(Name, Tera)>,
    notes: Mutex<Vec<String>>,
}

/// More than any template that a person wrote.
const LARGEST_TEMPLATE: u64 = 256 * 1024;

/// What Slack takes in one section.
const SLACK_SECTION: usize = 3000;

static OURS: LazyLock<Vec<(Name, Tera)>> = LazyLock::new(|| {
    Name::ALL.into_iter().filter_map(|name| Some((name, name.parse(name.built_in()).ok()?))).collect()
});

impl Templates {
    /// The built-in ones.
    pub fn built_in() -> Templates {
        Templates { theirs: Vec::new(), notes: Mutex::default() }
    }

    /// Those in the folder `templates` beside the config, else the built-in ones.
    pub fn beside(config: Option<&Path>) -> Templates {
        match config.and_then(Path::parent) {
            Some(folder) => Templates::in_folder(&folder.join("templates")),
            None => Templates::built_in(),
        }
    }

    /// The built-in ones, but for those that `folder` has a file for. What cannot be used is in [`Templates::notes`].
    pub fn in_folder(folder: &Path) -> Templates {
        let templates = Templates::built_in();
        let mut theirs = Vec::new();
        for name in Name::ALL {
            let path = folder.join(name.file());
            let text = match std::fs::metadata(&path) {
                // A folder or a file that is not there replaces nothing.
                Err(err) if matches!(err.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => continue,
                Err(err) => Err(err.to_string()),
                Ok(found) if !found.is_file() => Err("is not a file".to_owned()),
                Ok(found) if found.len() > LARGEST_TEMPLATE => Err("is larger than 256 KiB".to_owned()),
                Ok(_) => std::fs::read_to_string(&path).map_err(|err| err.to_string()),
            };
            match text.and_then(|text| name.parse(&text)) {
                Ok(tera) => theirs.push((name, tera)),
                Err(why) => templates.note(format!("{}: {why}; the built-in template is used", path.display())),
            }
        }
        Templates { theirs, ..templates }
    }

    /// Which templates could not be used, and why; grows while they are rendered.
    pub fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The filled template. `accept` looks at what the operator's own one made, and turns it away with a reason.
    pub(crate) fn render<T>(
        &self,
        name: Name,
        context: &impl Serialize,
        accept: impl Fn(String) -> Result<T, String>,
        otherwise: impl FnOnce(String) -> T,
    ) -> T {
        let context = match Context::from_serialize(context) {
            Ok(context) => context,
            Err(err) => return otherwise(chain(&err)),
        };
        let fill = |tera: &Tera| {
            let text = tera.render(name.file(), &context).map_err(|err| chain(&err))?;
            accept(text)
        };
        if let Some((_, tera)) = self.theirs.iter().find(|(of, _)| *of == name) {
            match fill(tera) {
                Ok(made) => return made,
                Err(why) => self.note(format!("{}: {why}; the built-in template is used", name.file())),
            }
        }
        match OURS.iter().find(|(of, _)| *of == name).map(|(_, tera)| fill(tera)) {
            Some(Ok(made)) => made,
            Some(Err(why)) => otherwise(why),
            None => otherwise("the built-in template cannot be read".to_owned()),
        }
    }

    fn note(&self, note: String) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.contains(&note) {
            notes.push(note);
        }
    }
}

/// Every string in it without secrets. It is the one way into a template, so that no field can be forgotten.
pub(super) fn redacted(context: &impl Serialize, redactor: &Redactor) -> serde_json::Value {
    fn walk(value: &mut serde_json::Value, redactor: &Redactor) {
        match value {
            serde_json::Value::String(text) => *text = redactor.text(text),
            serde_json::Value::Array(values) => values.iter_mut().for_each(|value| walk(value, redactor)),
            serde_json::Value::Object(fields) => fields.values_mut().for_each(|value| walk(value, redactor)),
            serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {}
        }
    }
    // Plain data with string keys has a JSON form.
    let mut value = serde_json::to_value(context).unwrap_or_default();
    walk(&mut value, redactor);
    value
}

/// The lines of a document, each with whether it is what somebody wrote, from the opening of a fence to before its end.
pub(super) fn with_fences(text: &str) -> impl Iterator<Item = (&str, bool)> {
    let mut fence: Option<usize> = None;
    text.lines().map(move |line| {
        let ticks = line.bytes().take_while(|b| *b == b'`').count();
        match fence {
            Some(length) if ticks >= length && line.trim_end().len() == ticks => fence = None,
            None if ticks >= 3 => fence = Some(ticks),
            Some(_) | None => {}
        }
        (line, fence.is_some())
    })
}

/// Sections that were left out leave blank lines behind. One is enough, except within a fence, where every line is
/// what somebody wrote.
pub(super) fn tidy(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_blank = true;
    for (line, is_verbatim) in with_fences(text) {
        if !is_verbatim && line.trim().is_empty() {
            if !is_blank {
                out.push('\n');
            }
            is_blank = true;
            continue;
        }
        is_blank = false;
        out.push_str(if is_verbatim { line } else { line.trim_end() });
        out.push('\n');
    }
    format!("{}\n", out.trim_end_matches('\n'))
}

/// `& < >` are all that Slack reads as more than text; without `<` there is no `<!channel>`. Cut to `limit`
/// characters without cutting an entity in two.
pub fn mrkdwn(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len());
    let mut used = 0;
    for c in redact::printable_lines(text).chars() {
        let entity = match c {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            _ => "",
        };
        let length = entity.len().max(1);
        // one character of room for the sign that something is missing
        if used + length >= limit {
            out.push('…');
            return out;
        }
        used += length;
        if entity.is_empty() { out.push(c) } else { out.push_str(entity) }
    }
    out
}

/// Our own words for a page: what stands in backticks is code.
fn spans(text: &str) -> String {
    let parts = text.split('`').enumerate().map(|(n, part)| match n % 2 {
        0 => redact::html(part),
        _ => format!("<code>{}</code>", redact::html(part)),
    });
    parts.collect()
}

/// What stands between the quotes of a JSON string.
fn inside_json(text: &str) -> String {
    // A string has a JSON form, whatever it holds.
    let quoted = serde_json::Value::from(text).to_string();
    quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default().to_owned()
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// A value through a filter that makes it safe; what is safe already stays.
fn safe(value: &Value, filter: impl Fn(&str) -> String) -> Value {
    if value.is_safe() { value.clone() } else { Value::safe_string(&filter(&plain(value))) }
}

/// An error with its causes on one line.
fn chain(err: &dyn std::error::Error) -> String {
    let mut text = err.to_string();
    let mut source = err.source();
    while let Some(err) = source {
        text = format!("{text}: {err}");
        source = err.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_template_parses() {
        for name in Name::ALL {
            if let Err(err) = name.parse(name.built_in()) {
                panic!("{}: {err}", name.file());
            }
        }
        assert_eq!(OURS.len(), Name::ALL.len());
    }

    #[test]
    fn a_value_without_a_filter_is_inert_all_the_same() {
        let of = |name: Name, text: &str| {
            let tera = name.parse(text).expect("the test's own template");
            let context = tera::context! { x => "a|<b>\"{{ 7*7 }}\n" };
            tera.render(name.file(), &context).expect("the test's own template")
        };
        assert_eq!(of(Name::Report, "{{ x }}"), "a\\|&lt;b&gt;\"{{ 7\\*7 }}⏎");
        assert_eq!(of(Name::Report, "{{ x | md }}"), "a\\|&lt;b&gt;\"{{ 7\\*7 }}⏎");
        assert_eq!(of(Name::Slack, "{{ x }}"), "a|<b>\\\"{{ 7*7 }}\\n");
        assert_eq!(of(Name::Slack, "{{ x | mrkdwn }}"), "a|&lt;b&gt;\\\"{{ 7*7 }}\\n");
        assert_eq!(of(Name::Slack, "{{ x | mrkdwn(limit=6) }}"), "a|…");
        assert_eq!(of(Name::Webhook, "{{ x | json }}"), "a|<b>\\\"{{ 7*7 }}\\n");
        assert_eq!(of(Name::Mail, "{{ x }}"), "a|<b>\"{{ 7*7 }}\n");
    }

    #[test]
    fn no_text_makes_slack_call_everybody() {
        assert_eq!(mrkdwn("<!channel> <@U1> a&b", 100), "&lt;!channel&gt; &lt;@U1&gt; a&amp;b");
        assert_eq!(mrkdwn("12345678", 5), "1234…");
    }

    #[test]
    fn blank_lines_stay_within_a_fence_only() {
        assert_eq!(tidy("\n\na\n\n\nb  \n```\nx\n\n\ny\n```\n\n\n"), "a\n\nb\n```\nx\n\n\ny\n```\n");
    }
}
