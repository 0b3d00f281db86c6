//! From `rollback.toml` to what it says of each service, or to all [`Problem`]s at once. `file` is what may be
//! written. `tree` reads the documents and lays one over the other, `check` holds them against the schema, `variables`
//! fills them in, `services` takes several services of one file apart, and `meaning` says what each comes to; `findings` collects what is wrong on the way.
//!
//! Never does I/O: texts, variables and the one file that the config can name (`nginx.template`) come
//! through [`Reading`]. Never repairs a value, and never stops at the first problem.

mod check;
mod env_file;
mod file;
mod findings;
mod meaning;
mod services;
mod tree;
mod value;
mod variables;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::nouns::names::Environment;
use crate::nouns::service::Service;
use file::RollbackToml;

pub use env_file::{EnvFile, parse_env_file};

/// The name that is looked for in the folder and its parents.
pub const FILE_NAME: &str = "rollback.toml";

/// One thing wrong with the config: `rollback.toml:12:3: unknown key "helth": did you mean "health"?`
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file as it was named to us.
    pub file: String,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    pub what: String,
    pub hint: Option<String>,
    /// The line of the file: control characters replaced, secrets starred out; empty where the
    /// problem is of the whole file.
    pub excerpt: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}: {}", self.file, self.line, self.column, self.what)?;
        match &self.hint {
            Some(hint) => write!(f, ": {hint}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// A file and what stands in it.
#[derive(Debug, Clone)]
pub struct Document {
    pub path: PathBuf,
    pub text: String,
}

/// Everything that reading the config needs; the caller does the I/O.
pub struct Reading<'a> {
    pub base: Document,
    /// The file at [`overlay_path`], where there is one.
    pub overlay: Option<Document>,
    pub environment: Environment,
    /// What `~` stands for.
    pub home: Option<PathBuf>,
    /// The process's environment, else `.env.deploy`.
    pub variable: &'a dyn Fn(&str) -> Option<String>,
    /// Whether the config may leave out in which way nginx's file says who serves: whoever only looks finds it out.
    pub may_lack_layout: bool,
    /// For `nginx.template`.
    pub read_file: &'a dyn Fn(&Path) -> std::io::Result<String>,
}

/// A config that holds.
#[derive(Debug, Clone)]
pub struct Understood {
    /// In the order of a rollback; never empty.
    pub services: Vec<Service>,
    /// What does not stand in the way: a message that cannot be sent, a secret in the file.
    pub warnings: Vec<Problem>,
}

/// From the texts to what they mean.
///
/// # Errors
/// All problems of both files, the base's first, each file's by line.
pub fn read(reading: &Reading) -> Result<Understood, Vec<Problem>> {
    let mut findings = findings::Findings::new(&reading.base, reading.overlay.as_ref());
    let services = check::tree(reading, &SCHEMA, &mut findings)
        .and_then(|tree| services::services(tree, &SCHEMA, reading, &mut findings));
    findings.finish(services)
}

/// `rollback.toml` in `start` or the nearest parent that has one.
pub fn find(start: &Path, exists: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
    start.ancestors().map(|folder| folder.join(FILE_NAME)).find(|path| exists(path))
}

/// `rollback.toml` and `staging` are `rollback.staging.toml`, in the same folder.
pub fn overlay_path(base: &Path, environment: &Environment) -> PathBuf {
    let mut name = base.file_stem().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(environment.as_str());
    if let Some(extension) = base.extension() {
        name.push(".");
        name.push(extension);
    }
    base.with_file_name(name)
}

/// The JSON Schema of `rollback.toml`, for editors; `docs/rollback.schema.json` is this text.
pub fn schema_json() -> String {
    let mut schema = SCHEMA.clone();
    // What a service must have may stand in its own table.
    if let Some(required) = schema["required"].as_array_mut() {
        let of_a_service = |key: &Value| file::OF_A_SERVICE.iter().any(|known| key == known);
        let own: Vec<Value> = required.extract_if(.., |key| of_a_service(key)).collect();
        schema["anyOf"] = serde_json::json!([{ "required": own }, { "required": ["services"] }]);
    }
    format!("{schema:#}\n")
}

/// The schema that the documents are checked against: no references and no nulls (TOML has neither).
/// Draft 7, because the editors' TOML plug-ins speak it.
static SCHEMA: LazyLock<Value> = LazyLock::new(|| {
    let settings = SchemaSettings::draft07().with(|settings| settings.inline_subschemas = true);
    let mut schema = settings.into_generator().into_root_schema_for::<RollbackToml>().to_value();
    remove_nulls(&mut schema);
    give_to_services(&mut schema);
    if let Some(object) = schema.as_object_mut() {
        // What a reader looks for first.
        for key in ["description", "title", "$schema"] {
            if let Some(value) = object.shift_remove(key) {
                object.shift_insert(0, key.into(), value);
            }
        }
    }
    schema
});

/// A service may have tables of the top of the file, of which it needs to say only what is its own.
fn give_to_services(schema: &mut Value) {
    let of_the_top = schema["properties"].clone();
    let Some(own) = schema["properties"]["services"]["additionalProperties"]["properties"].as_object_mut() else {
        return;
    };
    for key in file::OF_A_SERVICE {
        let mut table = of_the_top[key].clone();
        remove_required(&mut table);
        own.insert(key.to_owned(), table);
    }
}

fn remove_required(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            // A hook has a key of that name, which is none of the schema's words.
            for word in ["required", "anyOf"] {
                if object.get(word).is_some_and(Value::is_array) {
                    object.shift_remove(word);
                }
            }
            object.values_mut().for_each(remove_required);
        }
        Value::Array(items) => items.iter_mut().for_each(remove_required),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// An `Option` is a key that may be left out, not a key that may be `null`.
fn remove_nulls(schema: &mut Value) {
    if let Some(object) = schema.as_object_mut() {
        if object.get("default").is_some_and(Value::is_null) {
            object.shift_remove("default");
        }
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = types.as_slice() {
                let only = only.clone();
                object.insert("type".into(), only);
            }
        }
        if let Some(Value::Array(choices)) = object.get("anyOf")
            && let Some(Value::Object(choice)) = choices.iter().find(|choice| choice["type"] != "null")
        {
            let choice = choice.clone();
            object.shift_remove("anyOf");
            for (key, value) in choice {
                object.entry(key).or_insert(value);
            }
        }
    }
    match schema {
        Value::Object(object) => object.values_mut().for_each(remove_nulls),
        Value::Array(items) => items.iter_mut().for_each(remove_nulls),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
