//! What `--json` prints: one object a line, as types. The schema of `docs/output.schema.json` is made from them; a later version
//! may add keys and takes none away.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use schemars::{JsonSchema, Schema};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::nouns::names::{HostName, ServiceName};
use crate::nouns::record::{Status, StepWord};
use crate::nouns::refusal::{Refusal, RefusalName};
use crate::nouns::rules::Judgement;
use crate::nouns::units::stamp;

/// One line on standard output with `--json`.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(title = "a line of rollback-prod --json")]
pub struct OutputLine<'a> {
    /// The version of this format.
    #[schemars(extend("const" = 1))]
    v: u8,
    /// UTC, with milliseconds: `2026-11-20T21:15:03.412Z`.
    time: String,
    /// The run's name, which is its incident folder's; null of a command that is no run.
    run: Option<&'a str>,
    /// Whose it is, where a run has several services.
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(flatten)]
    event: OutputEvent<'a>,
}

/// What happened.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum OutputEvent<'a> {
    /// A step begins, is judged, or is over.
    Step {
        step: StepWord,
        /// Which one, where a host has several of the kind: the name of a change or a hook.
        #[serde(skip_serializing_if = "Option::is_none")]
        of: Option<&'a str>,
        /// The config's name of the host; left out where a step is not of one host.
        #[serde(skip_serializing_if = "Option::is_none")]
        host: Option<&'a str>,
        status: Status,
        /// How long it took, once it is over.
        #[serde(skip_serializing_if = "Option::is_none")]
        ms: Option<u64>,
        detail: &'a str,
        /// All figures of a judgement: the opinion, what each rule found, both sides.
        #[serde(skip_serializing_if = "Option::is_none")]
        #[schemars(with = "Option<Map<String, Value>>")]
        judgement: Option<&'a Judgement>,
    },
    /// Something to know: a remark, a gap, how far a step is, a reason not to begin, a row of a list.
    Note(Box<Note<'a>>),
    /// The last line, of every command but one that prints a text.
    End {
        /// The exit code.
        #[schemars(range(max = 130))]
        exit: u8,
        /// What production is now, in words.
        production: &'a str,
        /// From the start of the process until the last balancer was proven to serve; null where it was not.
        traffic_safe_ms: Option<u64>,
        total_ms: u64,
        /// The incident folder; null where there is none.
        incident: Option<String>,
        /// The one command to type.
        next: &'a str,
        /// What is not done.
        left: &'a [String],
    },
}

#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Note<'a> {
    /// Of which step, where it is of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step: Option<StepWord>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'a str>,
    /// In words. The lines of `status` and `releases` have a JSON text here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Cow<'a, str>>,
    /// How far a step is, 0 to 100; null where that is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<Option<u8>>,
    /// With the line that says that traffic is safe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub traffic_safe_ms: Option<u64>,
    /// The name of a reason not to begin, for `explain`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<RefusalName>,
    /// The command to type, with a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<&'a str>,
    /// Whether `--force` goes on past a refusal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub can_be_forced: Option<bool>,
    /// The columns of a list: of `backups` a dump's, of `history` an incident, of `explain` a section.
    #[serde(flatten)]
    pub more: Map<String, Value>,
}

impl<'a> OutputLine<'a> {
    pub fn new(
        time: DateTime<Utc>,
        run: Option<&'a str>,
        service: Option<&'a ServiceName>,
        event: OutputEvent<'a>,
    ) -> Self {
        OutputLine { v: 1, time: stamp(time), run, service: service.map(ServiceName::as_str), event }
    }
}

impl<'a> Note<'a> {
    pub fn in_words(host: Option<&'a HostName>, detail: impl Into<Cow<'a, str>>) -> Note<'a> {
        Note { host: host.map(HostName::as_str), detail: Some(detail.into()), ..Note::default() }
    }

    pub fn of(refusal: &'a Refusal) -> Note<'a> {
        Note {
            refusal: Some(refusal.name),
            hint: refusal.hint.as_deref(),
            can_be_forced: Some(refusal.can_be_forced),
            ..Note::in_words(refusal.host.as_ref(), refusal.why.as_str())
        }
    }
}

/// The JSON Schema of a line, in Draft 7, which every validator speaks; `docs/output.schema.json` is this text.
pub fn schema_json() -> String {
    let settings =
        SchemaSettings::draft07().for_serialize().with_transform(RecursiveTransform(|schema: &mut Schema| {
            // Rust's own words for integers, which a strict validator refuses.
            schema.remove("format");
        }));
    format!("{:#}\n", settings.into_generator().into_root_schema_for::<OutputLine<'_>>().to_value())
}
