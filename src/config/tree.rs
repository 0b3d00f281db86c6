//! The documents as trees, with the place of every value; and one tree laid over another. Never knows which keys there
//! are, but for those that exclude each other.

use std::ops::Range;

use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::env_file::{is_variable_name, variable_of};
use super::findings::{Findings, Place, SourceIndex, readable};

/// Keys of one table that exclude each other. An overlay that names one takes the others away.
pub(super) const ALTERNATIVES: [&[&str]; 7] = [
    &["systemd", "docker", "compose", "process", "command"],
    &["webhook_env", "webhook", "token_env"],
    &["smtp_env", "smtp"],
    &["url_env", "url"],
    &["file", "files"],
    &["upstream", "upstreams"],
    &["files", "releases", "image", "deb"],
];

/// A value of a document, or of both laid over each other.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub kind: Kind,
    pub place: Place,
    /// The variable that the text came from.
    pub variable: Option<String>,
}

#[derive(Debug, Clone)]
pub(super) enum Kind {
    Text(String),
    Integer(i64),
    Boolean(bool),
    List(Vec<Node>),
    Table(Vec<Entry>),
    /// No key of ours holds such a value; it is kept to be named.
    Foreign(&'static str),
    /// Already reported. It counts as written, so that it is not reported as missing too.
    Wrong,
}

#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub key: String,
    pub place: Place,
    pub node: Node,
}

impl Node {
    fn new(kind: Kind, place: Place) -> Self {
        Self { kind, place, variable: None }
    }

    /// The value under a dotted path (`blue.servers.0`), or its nearest parent where there is none.
    pub fn nearest(&self, path: &str) -> &Node {
        path.split('.').try_fold(self, |node, step| node.child(step).ok_or(node)).unwrap_or_else(|nearest| nearest)
    }

    /// The value under a dotted path.
    pub fn get(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(self, Node::child)
    }

    fn child(&self, step: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Table(entries) => entries.iter().find(|entry| entry.key == step).map(|entry| &entry.node),
            Kind::List(items) => step.parse::<usize>().ok().and_then(|index| items.get(index)),
            Kind::Text(_) | Kind::Integer(_) | Kind::Boolean(_) | Kind::Foreign(_) | Kind::Wrong => None,
        }
    }

    pub fn type_name(&self) -> &'static str {
        match &self.kind {
            Kind::Text(_) => "a string",
            Kind::Integer(_) => "an integer",
            Kind::Boolean(_) => "a boolean",
            Kind::List(_) => "an array",
            Kind::Table(_) => "a table",
            Kind::Foreign(name) => name,
            Kind::Wrong => "nothing of use",
        }
    }

    /// For serde; what is wrong is left out.
    pub fn to_json(&self) -> Option<Value> {
        match &self.kind {
            Kind::Text(text) => Some(text.as_str().into()),
            Kind::Integer(number) => Some((*number).into()),
            Kind::Boolean(claim) => Some((*claim).into()),
            Kind::List(items) => Some(items.iter().filter_map(Node::to_json).collect()),
            Kind::Table(entries) => {
                Some(entries.iter().filter_map(|entry| Some((entry.key.clone(), entry.node.to_json()?))).collect())
            }
            Kind::Foreign(_) | Kind::Wrong => None,
        }
    }
}

/// A document's tree; `None` where it is not TOML.
pub(super) fn parse(source: SourceIndex, text: &str, findings: &mut Findings) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut secrets = Vec::new();
    let entries = entries_of(table.get_ref(), source, &mut secrets);
    findings.hide(source, secrets);
    // The parser goes on, and what follows on a broken line is its own echo.
    for error in &errors {
        let place = Place { source, offset: Some(error.span().map_or(0, |span| span.start)) };
        findings.first_of_its_line(place, format!("not TOML: {}", readable(error.message())));
    }
    errors.is_empty().then(|| Node::new(Kind::Table(entries), Place { source, offset: None }))
}

fn entries_of(table: &DeTable<'_>, source: SourceIndex, secrets: &mut Vec<Range<usize>>) -> Vec<Entry> {
    let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
        let name: &std::borrow::Cow<'_, str> = key.get_ref();
        if let DeValue::String(text) = value.get_ref()
            && holds_secret(name, text)
        {
            secrets.push(value.span());
        }
        Entry {
            key: name.to_string(),
            place: Place { source, offset: Some(key.span().start) },
            node: node_of(value, source, secrets),
        }
    };
    table.iter().map(entry).collect()
}

fn node_of(value: &toml::Spanned<DeValue<'_>>, source: SourceIndex, secrets: &mut Vec<Range<usize>>) -> Node {
    let kind = match value.get_ref() {
        DeValue::String(text) => Kind::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Kind::Foreign("an integer of more than 64 bits"), Kind::Integer),
        DeValue::Float(_) => Kind::Foreign("a float"),
        DeValue::Boolean(claim) => Kind::Boolean(*claim),
        DeValue::Datetime(_) => Kind::Foreign("a date without quotes"),
        DeValue::Array(items) => Kind::List(items.iter().map(|item| node_of(item, source, secrets)).collect()),
        DeValue::Table(table) => Kind::Table(entries_of(table, source, secrets)),
    };
    Node::new(kind, Place { source, offset: Some(value.span().start) })
}

/// Whether a text under this key is the secret itself, and not the name of a variable.
fn holds_secret(key: &str, text: &str) -> bool {
    match key {
        "webhook" | "url" => variable_of(text).is_none(),
        "smtp" => text.contains('@'),
        key => key.ends_with("_env") && !is_variable_name(text),
    }
}

/// The overlay over the base: tables key by key, everything else as a whole.
pub(super) fn merge(base: Node, overlay: Node) -> Node {
    let (mut entries, place, over) = match (base, overlay) {
        // Where something is missing from the table, the base is where it should stand: its place stays.
        (Node { kind: Kind::Table(entries), place, .. }, Node { kind: Kind::Table(over), .. }) => {
            (entries, place, over)
        }
        (_, overlay) => return overlay,
    };
    let is_named = |key: &str| over.iter().any(|entry| entry.key == key);
    for alternatives in ALTERNATIVES.iter().filter(|keys| keys.iter().any(|key| is_named(key))) {
        entries.retain(|entry| !alternatives.contains(&entry.key.as_str()) || is_named(&entry.key));
    }
    for entry in over {
        match entries.iter().position(|known| known.key == entry.key) {
            Some(index) => {
                let known = entries.remove(index);
                entries.insert(index, Entry { node: merge(known.node, entry.node), ..known });
            }
            None => entries.push(entry),
        }
    }
    Node::new(Kind::Table(entries), place)
}
