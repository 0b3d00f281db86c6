//! Every problem that is found on the way, with its file, line and column, and the line as it may be shown. Never shows
//! a secret that stands in the file, nor a character that a terminal would obey.

use std::ops::Range;

use super::{Document, Problem, Understood};
use crate::nouns::service::Service;

/// The base is 0, the overlay 1.
pub(super) type SourceIndex = usize;

/// Where something stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub source: SourceIndex,
    /// In bytes; `None` is the file as a whole.
    pub offset: Option<usize>,
}

impl Place {
    /// Where the base's missing tables are missing from.
    pub const BASE: Place = Place { source: 0, offset: None };
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
    /// The service that is being read, where the file has several.
    service: Option<String>,
}

impl<'a> Findings<'a> {
    pub fn new(base: &'a Document, overlay: Option<&'a Document>) -> Self {
        let sources =
            [base].into_iter().chain(overlay).map(|document| Source { document, secrets: Vec::new() }).collect();
        Self { sources, problems: Vec::new(), warnings: Vec::new(), service: None }
    }

    pub fn problem(&mut self, place: Place, what: impl Into<String>) -> &mut Problem {
        let problem = self.at(place, what.into());
        &mut self.problems.push_mut((place.source, problem)).1
    }

    pub fn warning(&mut self, place: Place, what: impl Into<String>) -> &mut Problem {
        let warning = self.at(place, what.into());
        &mut self.warnings.push_mut((place.source, warning)).1
    }

    /// From now on this service is read.
    pub fn begin_service(&mut self, name: &str) {
        self.service = Some(name.to_owned());
    }

    /// What is missing is missing from a service, where the file has several.
    pub fn missing(&mut self, place: Place, what: String) -> &mut Problem {
        let of = self.service.as_ref().map(|name| format!(" (of the service {name})")).unwrap_or_default();
        self.problem(place, format!("missing {what}{of}"))
    }

    /// A problem, unless one was found on its line before.
    pub fn first_of_its_line(&mut self, place: Place, what: String) {
        let problem = self.at(place, what);
        if self.problems.iter().all(|(source, other)| (*source, other.line) != (place.source, problem.line)) {
            self.problems.push((place.source, problem));
        }
    }

    /// These bytes of a document are shown to nobody.
    pub fn hide(&mut self, source: SourceIndex, secrets: Vec<Range<usize>>) {
        self.sources[source].secrets = secrets;
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
    pub fn finish(mut self, services: Option<Vec<Service>>) -> Result<Understood, Vec<Problem>> {
        let sorted = |mut found: Vec<(SourceIndex, Problem)>| {
            found.sort_by_key(|(source, problem)| (*source, problem.line, problem.column));
            found.dedup();
            found.into_iter().map(|(_, problem)| problem).collect::<Vec<_>>()
        };
        match services {
            Some(services) if self.problems.is_empty() => Ok(Understood { services, warnings: sorted(self.warnings) }),
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
