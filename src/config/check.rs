//! From the documents to one tree that holds against the schema: unknown keys, wrong types, and what is missing, each
//! with what was probably meant. Never knows what a value means: that is `meaning`'s.

use serde::Deserialize;
use serde_json::Value;

use super::Reading;
use super::file::RollbackToml;
use super::findings::{Findings, Place, SourceIndex, readable};
use super::tree::{Kind, Node, merge, parse};
use super::variables::fill_in;

/// Both documents as one tree; `None` where one of them is not TOML, or the overlay is not there.
pub(super) fn tree(reading: &Reading, schema: &Value, findings: &mut Findings) -> Option<Node> {
    let base = document(0, &reading.base.text, schema, findings);
    let overlay = reading.overlay.as_ref().map(|overlay| document(1, &overlay.text, schema, findings));
    match overlay {
        Some(overlay) => Some(merge(base?, overlay?)),
        // A mistyped `--env stagin` must never be run against production's hosts.
        None if reading.environment.as_str() != "prod" => {
            let missing = super::overlay_path(&reading.base.path, &reading.environment);
            let what = format!("there is no {} for the environment {}", missing.display(), reading.environment);
            findings.problem(Place::BASE, readable(&what));
            None
        }
        None => base,
    }
}

/// A tree of which nothing is missing, with its variables filled in.
pub(super) fn whole(mut tree: Node, schema: &Value, reading: &Reading, findings: &mut Findings) -> Node {
    require(&tree, schema, "", findings);
    fill_in(&mut tree, reading.variable, findings);
    tree
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
    let mut node = parse(source, text, findings)?;
    check(&mut node, schema, "", &Tables::of(schema), findings);
    Some(node)
}

/// Unknown keys and wrong types of one document, which may be a part of the whole.
fn check(node: &mut Node, schema: &Value, path: &str, tables: &Tables, findings: &mut Findings) {
    let expected = expected(schema);
    if expected.is_empty() {
        return;
    }
    if !expected.contains(&node.type_name()) {
        let what = format!("{path}: expected {}, found {}", any_of(&expected), node.type_name());
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
                let inner = inner(schema, &entry.key);
                if inner.is_null() {
                    let what = format!("unknown key {:?}", entry.key);
                    findings.problem(entry.place, what).hint = Some(tables.hint(path, &entry.key));
                } else {
                    check(&mut entry.node, inner, &join(path, &entry.key), tables, findings);
                }
            }
            entries.retain(|entry| !inner(schema, &entry.key).is_null());
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

/// The types that a value may have, in words; none where the schema leaves that to serde.
fn expected(schema: &Value) -> Vec<&'static str> {
    let name = |of: &Value| match of.as_str() {
        Some("object") => Some("a table"),
        Some("array") => Some("an array"),
        Some("string") => Some("a string"),
        Some("integer") => Some("an integer"),
        Some("boolean") => Some("a boolean"),
        // What is neither a whole number nor one of these is for serde to judge.
        _ => None,
    };
    match &schema["type"] {
        Value::Array(types) => types.iter().map(name).collect::<Option<Vec<_>>>().unwrap_or_default(),
        of => name(of).into_iter().collect(),
    }
}

/// The schema of a key of a table: one that it names, or what it says of all that are named by whoever writes the file.
fn inner<'s>(schema: &'s Value, key: &str) -> &'s Value {
    let named = &schema["properties"][key];
    let any = &schema["additionalProperties"];
    if named.is_null() && any.is_object() { any } else { named }
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

/// Where whoever writes the file names the tables himself, one stands for all of them.
const ANY: &str = "NAME";

/// Whether a table of that path is one of that kind.
fn is_of(kind: &str, path: &str) -> bool {
    let steps = || kind.split('.').zip(path.split('.'));
    kind.split('.').count() == path.split('.').count() && steps().all(|(kind, step)| kind == step || kind == ANY)
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
            } else if schema["additionalProperties"].is_object() {
                walk(&schema["additionalProperties"], &join(path, ANY), tables);
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
        let known = self.0.iter().find(|(table, _)| is_of(table, &path)).map_or(&[][..], |(_, keys)| keys);
        if let Some(near) = nearest(key, known.iter().map(String::as_str)) {
            return format!("did you mean {near:?}?");
        }
        let homes: Vec<String> = self
            .0
            .iter()
            .filter(|(table, keys)| !table.starts_with("services.NAME.") && keys.iter().any(|known| known == key))
            .map(|(table, _)| match table.as_str() {
                "" => "the top of the file, before the first [table]".into(),
                "host" | "hook" => format!("[[{table}]]"),
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

/// Missing keys, of the whole.
fn require(node: &Node, schema: &Value, path: &str, findings: &mut Findings) {
    match &node.kind {
        Kind::Table(entries) => {
            for keys in needed(schema) {
                if entries.iter().all(|entry| !keys.contains(&entry.key.as_str())) {
                    missing(node.place, &schema["properties"][keys[0]], &join(path, keys[0]), findings);
                }
            }
            for entry in entries {
                require(&entry.node, inner(schema, &entry.key), &join(path, &entry.key), findings);
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

/// The keys that a table must have: of each list one, the first where it is missing.
fn needed(schema: &Value) -> impl Iterator<Item = Vec<&str>> {
    let one_of: Vec<&str> = schema["anyOf"].as_array().into_iter().flatten().flat_map(required).collect();
    required(schema).map(|key| vec![key]).chain(Some(one_of).filter(|keys| !keys.is_empty()))
}

fn required(schema: &Value) -> impl Iterator<Item = &str> {
    schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str)
}

fn missing(place: Place, schema: &Value, path: &str, findings: &mut Findings) {
    let hint = |schema: &Value| {
        let keys: Vec<&str> = needed(schema).map(|keys| keys[0]).collect();
        (!keys.is_empty()).then(|| format!("it needs {}", keys.join(" and ")))
    };
    match (schema["type"].as_str(), schema["items"]["type"].as_str()) {
        (Some("array"), Some("object")) => {
            findings.missing(place, format!("[[{path}]]")).hint = hint(&schema["items"]);
        }
        (Some("object"), _) if !path.contains('.') => {
            findings.missing(place, format!("[{path}]")).hint = hint(schema);
        }
        _ => findings.missing(place, format!("key {path}")).hint = example_hint(schema),
    }
}
