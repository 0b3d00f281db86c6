//! What the published description of a service's API allows in a body, and what is odd about one. A double that asks here
//! refuses what the description does not have: a missing field, another type, a word out of a list, a text that is too
//! long, a field that nobody would read. Each file that plays a service compiles this for itself and uses a part of it.
#![allow(dead_code)]

use serde_json::Value;

/// What a value may be.
pub enum Of {
    /// So many characters at least and at most.
    Text(usize, usize),
    Whole,
    Flag,
    /// One of these.
    Word(&'static [&'static str]),
    /// So many at least and at most, each like this.
    List(usize, usize, &'static Of),
    /// Whatever its keys are.
    Map(&'static Of),
    /// An object that is not described further.
    Object,
    Shape(&'static Shape),
    /// An object whose `type` says which of these shapes it has.
    ByType(&'static [(&'static str, Shape)]),
    /// RFC 3339, as `format: date-time`.
    Time,
    Nothing,
    Either(&'static Of, &'static Of),
}

/// An object: what it must have, and what it may have besides.
pub struct Shape {
    pub needs: &'static [(&'static str, Of)],
    pub may: &'static [(&'static str, Of)],
}

/// Any text; a description that gives no limit.
pub const TEXT: Of = Of::Text(0, usize::MAX);

/// Text that is there.
pub const WORDS: Of = Of::Text(1, usize::MAX);

/// What is odd first, with its place.
pub fn odd(value: &Value, of: &Of) -> Option<String> {
    odd_at("", value, of)
}

fn odd_at(at: &str, value: &Value, of: &Of) -> Option<String> {
    let says = |why: String| Some(format!("{}: {why}", if at.is_empty() { "the body" } else { at }));
    match (of, value) {
        (Of::Text(least, most), Value::String(text)) => {
            let length = text.chars().count();
            (length < *least || length > *most)
                .then(|| says(format!("{length} characters, and {least} to {most} are taken")))?
        }
        (Of::Whole, value) if value.is_i64() || value.is_u64() => None,
        (Of::Flag, Value::Bool(_)) | (Of::Object, Value::Object(_)) | (Of::Nothing, Value::Null) => None,
        (Of::Word(words), Value::String(text)) => {
            (!words.contains(&text.as_str())).then(|| says(format!("{text:?} is none of {words:?}")))?
        }
        (Of::List(least, most, each), Value::Array(all)) => {
            if all.len() < *least || all.len() > *most {
                return says(format!("{} of them, and {least} to {most} are taken", all.len()));
            }
            all.iter().enumerate().find_map(|(n, value)| odd_at(&format!("{at}[{n}]"), value, each))
        }
        (Of::Map(each), Value::Object(all)) => {
            all.iter().find_map(|(key, value)| odd_at(&format!("{at}.{key}"), value, each))
        }
        (Of::Shape(shape), Value::Object(_)) => odd_object(at, value, shape, &[]),
        (Of::ByType(shapes), Value::Object(_)) => {
            let word = value["type"].as_str().unwrap_or_default();
            match shapes.iter().find(|(of_type, _)| *of_type == word) {
                Some((_, shape)) => odd_object(at, value, shape, &["type"]),
                None => says(format!("no type {word:?} is known here")),
            }
        }
        (Of::Time, Value::String(text)) => {
            chrono::DateTime::parse_from_rfc3339(text).is_err().then(|| says(format!("{text:?} is no time")))?
        }
        (Of::Either(one, other), value) => odd_at(at, value, one).and_then(|_| odd_at(at, value, other)),
        (_, value) => says(format!("{value} is of another type")),
    }
}

fn odd_object(at: &str, value: &Value, shape: &Shape, known: &[&str]) -> Option<String> {
    let path = |key: &str| if at.is_empty() { key.to_owned() } else { format!("{at}.{key}") };
    for (key, of) in shape.needs {
        let Some(value) = value.get(key) else { return Some(format!("{}: missing", path(key))) };
        if let Some(why) = odd_at(&path(key), value, of) {
            return Some(why);
        }
    }
    for (key, value) in value.as_object().into_iter().flatten() {
        if known.contains(&key.as_str()) || shape.needs.iter().any(|(of_it, _)| of_it == key) {
            continue;
        }
        let Some((_, of)) = shape.may.iter().find(|(of_it, _)| of_it == key) else {
            return Some(format!("{}: nobody reads it there", path(key)));
        };
        if let Some(why) = odd_at(&path(key), value, of) {
            return Some(why);
        }
    }
    None
}
