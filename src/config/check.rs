//! The documents with the place of every value: parsed, held against the schema, laid over each other,
//! their variables filled in; and every problem found on the way.
//! Never knows what a value means: that is `meaning`'s.

use std::collections::HashMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::Value;
use toml::de::{DeTable, DeValue};

use super::env_file::{is_variable_name, variable_of};
use super::file::RollbackToml;
use super::{Document, Problem, Reading, Understood};
use crate::nouns::inventory::Inventory;

/// Keys of one table that exclude each other. An overlay that names one takes the others away.
pub(super) const ALTERNATIVES: [&[&str]; 4] = [
    &["systemd", "docker", "compose", "process"],
    &["webhook_env", "webhook"],
    &["smtp_env", "smtp"],
    &["url_env", "url"],
];

/// The base is 0, the overlay 1.
type SourceIndex = usize;

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    source: SourceIndex,
    /// In bytes; `None` is the file as a whole.
    offset: Option<usize>,
}

impl Place {
    /// Where the base's missing tables are missing from.
    pub const BASE: Place = Place { source: 0, offset: None };
}

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

    fn type_name(&self) -> &'static str {
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
    fn to_json(&self) -> Option<Value> {
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

/// A file that was read, and which of its bytes no message may show.
struct Source<'a> {
    document: &'a Document,
    secrets: Vec<Range<usize>>,
}

/// What was found so far.
pub(super) struct Findings<'a> {
    sources: Vec<Source<'a>>,
    problems: Vec<(SourceIndex, Problem)>,
    warnings: Vec<(SourceIndex, Problem)>,
}

impl<'a> Findings<'a> {
    pub fn new(base: &'a Document, overlay: Option<&'a Document>) -> Self {
        let sources =
            [base].into_iter().chain(overlay).map(|document| Source { document, secrets: Vec::new() }).collect();
        Self { sources, problems: Vec::new(), warnings: Vec::new() }
    }

    pub fn problem(&mut self, place: Place, what: impl Into<String>) -> &mut Problem {
        let problem = self.at(place, what.into());
        &mut self.problems.push_mut((place.source, problem)).1
    }

    pub fn warning(&mut self, place: Place, what: impl Into<String>) -> &mut Problem {
        let warning = self.at(place, what.into());
        &mut self.warnings.push_mut((place.source, warning)).1
    }

    fn at(&self, place: Place, what: String) -> Problem {
        let source = &self.sources[place.source];
        let file = readable(&source.document.path.display().to_string());
        let (line, column, excerpt) = match place.offset {
            Some(offset) => source.position(offset),
            None => (1, 1, String::new()),
        };
        Problem { file, line, column, what, hint: None, excerpt }
    }

    /// The end of a reading: the config holds, or it has problems.
    pub fn finish(mut self, inventory: Option<Inventory>) -> Result<Understood, Vec<Problem>> {
        let sorted = |mut found: Vec<(SourceIndex, Problem)>| {
            found.sort_by_key(|(source, problem)| (*source, problem.line, problem.column));
            found.dedup();
            found.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>()
        };
        match inventory {
            Some(inventory) if self.problems.is_empty() => {
                Ok(Understood { inventory, warnings: sorted(self.warnings) })
            }
            _ => {
                if self.problems.is_empty() {
                    // A value that is refused and not reported would be a bug of ours; it must still not pass.
                    self.problem(Place::BASE, "the config cannot be used, and the reason is not known");
                }
                Err(sorted(self.problems))
            }
        }
    }
}

impl Source<'_> {
    /// The line and the column, from 1, and the line as it may be shown.
    fn position(&self, offset: usize) -> (usize, usize, String) {
        let text = &self.document.text;
        let offset = text.floor_char_boundary(offset.min(text.len()));
        let start = text[..offset].rfind('\n').map_or(0, |newline| newline + 1);
        let end = text[offset..].find('\n').map_or(text.len(), |newline| offset + newline);
        let line = text[..start].matches('\n').count() + 1;
        let column = text[start..offset].trim_start_matches('\u{feff}').chars().count() + 1;
        let shown: String = text[start..end]
            .char_indices()
            .map(|(index, c)| if self.secrets.iter().any(|secret| secret.contains(&(start + index))) { '*' } else { c })
            .collect();
        (line, column, readable(shown.trim_start_matches('\u{feff}').trim_end()))
    }
}

/// One line that a terminal shows as it stands: no control characters, none that turn the direction.
pub(super) fn readable(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '\t' => ' ',
            '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => char::REPLACEMENT_CHARACTER,
            c if c.is_control() => char::REPLACEMENT_CHARACTER,
            c => c,
        })
        .collect()
}

/// Both documents as one tree; `None` where one of them is not TOML, or the overlay is not there.
pub(super) fn tree(reading: &Reading, schema: &Value, findings: &mut Findings) -> Option<Node> {
    let base = document(0, &reading.base.text, schema, findings);
    let overlay = reading.overlay.as_ref().map(|overlay| document(1, &overlay.text, schema, findings));
    let mut tree = match overlay {
        Some(overlay) => merge(base?, overlay?),
        // A mistyped `--env stagin` must never be run against production's hosts.
        None if reading.environment.as_str() != "prod" => {
            let missing = super::overlay_path(&reading.base.path, &reading.environment);
            let what = format!("there is no {} for the environment {}", missing.display(), reading.environment);
            findings.problem(Place::BASE, readable(&what));
            return None;
        }
        None => base?,
    };
    require(&tree, schema, "", findings);
    fill_in(&mut tree, reading.variable, findings);
    Some(tree)
}

/// The tree as serde reads it.
pub(super) fn written(tree: &Node, findings: &mut Findings) -> Option<RollbackToml> {
    let json = tree.to_json()?;
    RollbackToml::deserialize(json)
        .map_err(|error| {
            findings.problem(Place::BASE, readable(&error.to_string()));
        })
        .ok()
}

fn document(source: SourceIndex, text: &str, schema: &Value, findings: &mut Findings) -> Option<Node> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let entries = entries_of(table.get_ref(), source, &mut findings.sources[source].secrets);
    let mut node = Node::new(Kind::Table(entries), Place { source, offset: None });
    if errors.is_empty() {
        check(&mut node, schema, "", &Tables::of(schema), findings);
        return Some(node);
    }
    // The first of each line: the parser goes on, and what follows on a broken line is its own echo.
    let mut lines = Vec::new();
    for error in errors {
        let place = Place { source, offset: Some(error.span().map_or(0, |span| span.start)) };
        let problem = findings.at(place, format!("not TOML: {}", readable(error.message())));
        if !lines.contains(&problem.line) {
            lines.push(problem.line);
            findings.problems.push((source, problem));
        }
    }
    None
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

/// Unknown keys and wrong types of one document, which may be a part of the whole.
fn check(node: &mut Node, schema: &Value, path: &str, tables: &Tables, findings: &mut Findings) {
    let expected = match schema["type"].as_str() {
        Some("object") => "a table",
        Some("array") => "an array",
        Some("string") => "a string",
        Some("integer") => "an integer",
        Some("boolean") => "a boolean",
        _ => return,
    };
    if node.type_name() != expected {
        let what = format!("{path}: expected {expected}, found {}", node.type_name());
        findings.problem(node.place, what).hint = match node.kind {
            Kind::Table(_) if schema["items"]["type"] == "object" => Some(format!("write [[{path}]]")),
            _ => example_hint(schema),
        };
        node.kind = Kind::Wrong;
        return;
    }
    match &mut node.kind {
        Kind::Table(entries) => {
            for entry in &mut *entries {
                let inner = &schema["properties"][&entry.key];
                if inner.is_null() {
                    let what = format!("unknown key {:?}", entry.key);
                    findings.problem(entry.place, what).hint = Some(tables.hint(path, &entry.key));
                } else {
                    check(&mut entry.node, inner, &join(path, &entry.key), tables, findings);
                }
            }
            entries.retain(|entry| !schema["properties"][&entry.key].is_null());
        }
        Kind::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                check(item, &schema["items"], &format!("{path}[{index}]"), tables, findings);
            }
            // The others keep their numbers only together: what is left of a list would be taken for all of it.
            if items.iter().any(|item| matches!(item.kind, Kind::Wrong)) {
                node.kind = Kind::Wrong;
            }
        }
        Kind::Integer(number) => {
            let least = schema["minimum"].as_f64().unwrap_or(f64::MIN);
            let most = schema["maximum"].as_f64().unwrap_or(f64::MAX);
            if !(least..=most).contains(&(*number as f64)) {
                let what = format!("{path}: {number} is not a number from {least} to {most}");
                findings.problem(node.place, what);
                node.kind = Kind::Wrong;
            }
        }
        Kind::Text(_) | Kind::Boolean(_) | Kind::Foreign(_) | Kind::Wrong => {}
    }
}

/// `for example "20s"`: the default, else the example of the schema.
fn example_hint(schema: &Value) -> Option<String> {
    let example = schema.get("default").or_else(|| schema["examples"].get(0))?;
    (!example.as_array().is_some_and(Vec::is_empty)).then(|| format!("for example {}", toml_text(example)))
}

/// A value of the schema as it would stand in the file.
fn toml_text(value: &Value) -> String {
    match value {
        Value::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("{key} = {}", toml_text(value))).collect();
            format!("{{ {} }}", entries.join(", "))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => value.to_string(),
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.into() } else { format!("{path}.{key}") }
}

/// The keys of every table of the schema, by the table's path.
struct Tables(Vec<(String, Vec<String>)>);

impl Tables {
    fn of(schema: &Value) -> Self {
        fn walk(schema: &Value, path: &str, tables: &mut Vec<(String, Vec<String>)>) {
            if let Some(properties) = schema["properties"].as_object() {
                tables.push((path.into(), properties.keys().cloned().collect()));
                for (key, inner) in properties {
                    walk(inner, &join(path, key), tables);
                }
            } else if schema["items"].is_object() {
                walk(&schema["items"], path, tables);
            }
        }
        let mut tables = Vec::new();
        walk(schema, "", &mut tables);
        Self(tables)
    }

    /// What was meant by a key that its table does not have.
    fn hint(&self, path: &str, key: &str) -> String {
        // `host[1]` is of the same kind as every other host.
        let path: String =
            path.split('.').map(|step| step.split('[').next().unwrap_or(step)).collect::<Vec<_>>().join(".");
        let known = self.0.iter().find(|(table, _)| *table == path).map_or(&[][..], |(_, keys)| keys);
        if let Some(near) = nearest(key, known.iter().map(String::as_str)) {
            return format!("did you mean {near:?}?");
        }
        let homes: Vec<String> = self
            .0
            .iter()
            .filter(|(_, keys)| keys.iter().any(|known| known == key))
            .map(|(table, _)| match table.as_str() {
                "" => "the top of the file, before the first [table]".into(),
                "host" => "[[host]]".into(),
                table => format!("[{table}]"),
            })
            .collect();
        if homes.is_empty() {
            format!("known here: {}", known.join(", "))
        } else {
            format!("it belongs to {}", any_of(&homes))
        }
    }
}

/// `a, b or c`.
pub(super) fn any_of(words: &[impl AsRef<str>]) -> String {
    match words {
        [] => String::new(),
        [only] => only.as_ref().into(),
        [first @ .., last] => {
            let first: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
            format!("{} or {}", first.join(", "), last.as_ref())
        }
    }
}

/// The known word that was probably meant.
pub(super) fn nearest<'w>(word: &str, known: impl Iterator<Item = &'w str>) -> Option<&'w str> {
    // Case, dashes and underscores are habits of other tools, not other words.
    let plain = |word: &str| word.to_lowercase().replace(['-', '_'], "");
    let word = plain(word);
    // One slip in a short word, one in three letters of a long one: more is another word.
    let limit = (word.chars().count() / 3).max(1);
    known
        .map(|known| (strsim::damerau_levenshtein(&word, &plain(known)), known))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, known)| known)
}

/// The overlay over the base: tables key by key, everything else as a whole.
fn merge(base: Node, overlay: Node) -> Node {
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

/// Missing keys, of the whole.
fn require(node: &Node, schema: &Value, path: &str, findings: &mut Findings) {
    match &node.kind {
        Kind::Table(entries) => {
            for key in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
                if entries.iter().all(|entry| entry.key != key) {
                    missing(node.place, &schema["properties"][key], &join(path, key), findings);
                }
            }
            for entry in entries {
                require(&entry.node, &schema["properties"][&entry.key], &join(path, &entry.key), findings);
            }
        }
        Kind::List(items) => {
            for (index, item) in items.iter().enumerate() {
                require(item, &schema["items"], &format!("{path}[{index}]"), findings);
            }
        }
        Kind::Text(_) | Kind::Integer(_) | Kind::Boolean(_) | Kind::Foreign(_) | Kind::Wrong => {}
    }
}

fn missing(place: Place, schema: &Value, path: &str, findings: &mut Findings) {
    let required = |schema: &Value| {
        let keys: Vec<&str> = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        (!keys.is_empty()).then(|| format!("it needs {}", keys.join(" and ")))
    };
    match (schema["type"].as_str(), schema["items"]["type"].as_str()) {
        (Some("array"), Some("object")) => {
            findings.problem(place, format!("missing [[{path}]]")).hint = required(&schema["items"]);
        }
        (Some("object"), _) if !path.contains('.') => {
            findings.problem(place, format!("missing [{path}]")).hint = required(schema);
        }
        _ => findings.problem(place, format!("missing key {path}")).hint = example_hint(schema),
    }
}

/// Every text that is `$NAME` becomes what the variable holds.
fn fill_in(tree: &mut Node, variable: &dyn Fn(&str) -> Option<String>, findings: &mut Findings) {
    let mut asked = HashMap::new();
    let mut lookup = |name: &str| asked.entry(name.to_owned()).or_insert_with(|| look_up(variable, name)).clone();
    let Kind::Table(entries) = &mut tree.kind else { return };
    for entry in entries {
        let mut unset = Vec::new();
        match entry.key.as_str() {
            // Who is on call is good to know; not to know it is no reason to leave green in traffic.
            "contacts" => resolve(&mut entry.node, &mut lookup, &mut unset),
            "notify" => fill_in_channels(&mut entry.node, &mut lookup, findings),
            _ => {
                resolve(&mut entry.node, &mut lookup, &mut unset);
                for (place, why) in unset {
                    findings.problem(place, why);
                }
            }
        }
    }
}

type Lookup<'a> = dyn FnMut(&str) -> Result<String, String> + 'a;

/// The value, or why there is none.
pub(super) fn look_up(variable: &dyn Fn(&str) -> Option<String>, name: &str) -> Result<String, String> {
    match variable(name) {
        Some(value) if value.trim().is_empty() => Err(format!("the variable {name} is empty")),
        Some(value) => Ok(value),
        None => Err(format!("the variable {name} is not set (neither in the environment nor in .env.deploy)")),
    }
}

/// A channel whose variable is not set is left out, and the others are told.
fn fill_in_channels(notify: &mut Node, lookup: &mut Lookup, findings: &mut Findings) {
    let mut fill = |channel: &mut Node, name: &str| {
        let mut unset = Vec::new();
        resolve(channel, lookup, &mut unset);
        for (place, why) in &unset {
            findings.warning(*place, format!("{why}; {}", left_out(name)));
        }
        unset.is_empty()
    };
    let Kind::Table(entries) = &mut notify.kind else { return };
    for Entry { key, node, .. } in entries {
        if let Kind::List(items) = &mut node.kind {
            items.retain_mut(|item| fill(item, key));
        } else if !fill(node, key) {
            node.kind = Kind::Wrong;
        }
    }
}

/// How a warning about a channel ends.
pub(super) fn left_out(channel: &str) -> String {
    match channel {
        "slack" => "no message goes to Slack".into(),
        "email" => "no message goes out by email".into(),
        "webhook" => "no message goes to this webhook".into(),
        other => format!("the default of {other} is used"),
    }
}

fn resolve(node: &mut Node, lookup: &mut Lookup, unset: &mut Vec<(Place, String)>) {
    match &mut node.kind {
        Kind::Text(text) => {
            if let Some(name) = variable_of(text).map(str::to_owned) {
                match lookup(&name) {
                    Ok(value) => node.kind = Kind::Text(value),
                    Err(why) => {
                        unset.push((node.place, why));
                        node.kind = Kind::Wrong;
                    }
                }
                node.variable = Some(name);
            }
        }
        Kind::List(items) => {
            items.iter_mut().for_each(|item| resolve(item, lookup, unset));
            if items.iter().any(|item| matches!(item.kind, Kind::Wrong)) {
                node.kind = Kind::Wrong;
            }
        }
        // `webhook_env = "$NAME"` is refused later: filled in, it would be the secret as a variable's name.
        Kind::Table(entries) => entries
            .iter_mut()
            .filter(|entry| !entry.key.ends_with("_env"))
            .for_each(|entry| resolve(&mut entry.node, lookup, unset)),
        Kind::Integer(_) | Kind::Boolean(_) | Kind::Foreign(_) | Kind::Wrong => {}
    }
}
