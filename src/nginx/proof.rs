//! Responsible for: what the template gave. Reads the rendered block as if a stranger had written it and holds it
//! against what was asked for; says which line of a template is to blame.
//!
//! Never: mends what a template got wrong, or looks at what `block` gave it: only the file and the wish count.

use std::fmt::Write as _;

use super::grammar::{Parsed, Statement, says_share};
use super::text::{excerpt, listed};
use super::{FULL_WEIGHT, NotUnderstood, Server, Template, Upstream, WantedBlock, same_address};
use crate::nouns::colour::Colour;

/// What the rendered block is held against: the block as it was, and what was asked for.
pub(super) struct Expected<'a> {
    pub(super) file: &'a Parsed<'a>,
    pub(super) block: usize,
    pub(super) before: &'a Upstream,
    pub(super) wanted: &'a WantedBlock<'a>,
    pub(super) missing: &'a [String],
    pub(super) template: &'a Template,
}

impl Expected<'_> {
    /// The first thing that is not as it was asked for, with its line in the rendered block.
    pub(super) fn check(&self, rendered: &str) -> Result<(), NotUnderstood> {
        let by_template = |mut error: NotUnderstood| {
            error.what = format!("template {}: {}", self.template.name, error.what);
            error
        };
        let after = Parsed::from_text(rendered).map_err(by_template)?;
        let block = self.the_one_block(&after)?;
        let upstream = after.upstream(block).map_err(by_template)?;
        self.no_weight_is_zero(&after, &upstream)?;
        self.servers_are_as_wanted(&after, block, &upstream)?;
        self.directives_are_kept(&after, block)
    }

    fn refused(&self, after: &Parsed<'_>, line: usize, what: &str) -> NotUnderstood {
        after.refused_at_line(line, format!("template {} {what}", self.template.name))
    }

    fn the_one_block(&self, after: &Parsed<'_>) -> Result<usize, NotUnderstood> {
        let mut upper = after.statements.iter().enumerate().filter(|(_, statement)| statement.parent.is_none());
        let name = &self.before.name;
        let what = format!("does not render exactly one block `upstream {name} {{ … }}`, and nothing beside it");
        let (Some((index, only)), None) = (upper.next(), upper.next()) else {
            return Err(self.refused(after, 1, &what));
        };
        let is_it = only.is_upstream() && only.words[1].value.eq_ignore_ascii_case(name);
        // A comment beside the block would be written once more at every rollback.
        if is_it && only.span == (0..after.text.len()) { Ok(index) } else { Err(self.refused(after, 1, &what)) }
    }

    fn no_weight_is_zero(&self, after: &Parsed<'_>, upstream: &Upstream) -> Result<(), NotUnderstood> {
        match upstream.servers.iter().find(|server| server.weight == 0) {
            Some(server) => Err(self.refused(
                after,
                server.line,
                &format!(
                    "renders weight=0 for {}{}; nginx refuses \"weight=0\", write \"down\"",
                    server.address,
                    where_weight_is_written(&self.template.source)
                ),
            )),
            None => Ok(()),
        }
    }

    fn servers_are_as_wanted(
        &self,
        after: &Parsed<'_>,
        block: usize,
        upstream: &Upstream,
    ) -> Result<(), NotUnderstood> {
        let mut rendered: Vec<(&Server, &Statement)> = upstream.servers.iter().zip(after.servers_in(block)).collect();
        let mut take = |address: &str| -> Result<(&Server, &Statement), NotUnderstood> {
            match rendered.iter().position(|(server, _)| same_address(&server.address, address)) {
                Some(place) => Ok(rendered.remove(place)),
                None => Err(self.refused(after, upstream.line, &format!("loses server {address}"))),
            }
        };
        for (server, written) in self.before.servers.iter().zip(self.file.servers_in(self.block)) {
            let (now, now_written) = take(&server.address)?;
            match self.wanted.colour_of(&server.address) {
                Some(colour) => {
                    self.is_as_wanted(after, colour, now, now_written)?;
                    self.parameters_are_kept(after, colour, written, now, now_written)?;
                }
                None => {
                    if self.file.text[written.span.clone()] != after.text[now_written.span.clone()] {
                        let what = format!("changes server {}, which is neither blue nor green", now.address);
                        return Err(self.refused(after, now.line, &what));
                    }
                }
            }
        }
        for address in self.missing {
            let (now, now_written) = take(address)?;
            self.is_as_wanted(after, self.wanted.serve, now, now_written)?;
        }
        match rendered.first() {
            Some((extra, _)) => Err(self.refused(
                after,
                extra.line,
                &format!("renders server {}, which nobody asked for", extra.address),
            )),
            None => Ok(()),
        }
    }

    fn is_as_wanted(
        &self,
        after: &Parsed<'_>,
        colour: Colour,
        server: &Server,
        written: &Statement,
    ) -> Result<(), NotUnderstood> {
        let address = &server.address;
        // The last one counts, as it does for nginx.
        let max_fails = written.words.iter().rev().find_map(|word| word.value.strip_prefix("max_fails="));
        let wrong = if colour != self.wanted.serve {
            (!server.is_down).then(|| format!("leaves {colour}'s server {address} in service; it must be down"))
        } else if server.is_down {
            Some(format!("renders {colour}'s server {address} down, and it is the one to serve"))
        } else if server.is_backup {
            Some(format!("renders {colour}'s server {address} as backup, and it is the one to serve"))
        } else if server.weight != FULL_WEIGHT {
            Some(format!("gives {colour}'s server {address} weight={}, not weight={FULL_WEIGHT}", server.weight))
        } else if max_fails != Some("0") {
            Some(format!(
                "renders {colour}'s server {address} without max_fails=0; beside a down server one dropped \
                 connection would cost 502 for all"
            ))
        } else {
            None
        };
        match wrong {
            Some(what) => Err(self.refused(after, server.line, &what)),
            None => Ok(()),
        }
    }

    fn parameters_are_kept(
        &self,
        after: &Parsed<'_>,
        colour: Colour,
        written: &Statement,
        now: &Server,
        now_written: &Statement,
    ) -> Result<(), NotUnderstood> {
        let mut left: Vec<&str> = now_written.words.iter().skip(2).map(|word| word.value.as_str()).collect();
        for word in written.words.iter().skip(2) {
            let value = word.value.as_str();
            let is_ours = says_share(value)
                || (colour == self.wanted.serve
                    && (value.starts_with("max_fails=") || value == "backup" || value == "drain"));
            if is_ours {
                continue;
            }
            match left.iter().position(|other| *other == value) {
                Some(place) => {
                    left.remove(place);
                }
                None => {
                    return Err(self.refused(after, now.line, &format!("loses \"{value}\" of server {}", now.address)));
                }
            }
        }
        Ok(())
    }

    fn directives_are_kept(&self, after: &Parsed<'_>, block: usize) -> Result<(), NotUnderstood> {
        let mut rendered = after.children(block).filter(|statement| statement.name() != "server");
        for directive in self.file.children(self.block).filter(|statement| statement.name() != "server") {
            let says_the_same = |other: &Statement| match directive.body {
                // What Lua says is not for us to read.
                Some(_) => self.file.text[directive.span.clone()] == after.text[other.span.clone()],
                None => other.body.is_none() && directive.values().eq(other.values()),
            };
            if !rendered.any(says_the_same) {
                let what = format!("loses the directive {} or moves it", listed(&[directive.name()], ""));
                return Err(self.refused(after, after.line_of(after.statements[block].span.start), &what));
            }
        }
        Ok(())
    }
}

/// ` (written at line 7 of the template)`, for the lines that write a weight; empty if none is found.
fn where_weight_is_written(source: &str) -> String {
    let source = without_template_comments(source);
    let lines_with = |needle: &str| -> Vec<usize> {
        source.lines().zip(1..).filter(|(line, _)| line.contains(needle)).map(|(_, number)| number).collect()
    };
    let mut lines = lines_with("weight=0");
    if lines.is_empty() {
        lines = lines_with("weight=");
    }
    match lines.as_slice() {
        [] => String::new(),
        [line] => format!(" (written at line {line} of the template)"),
        several => {
            let numbers: Vec<String> = several.iter().map(usize::to_string).collect();
            format!(" (written at one of the lines {} of the template)", numbers.join(", "))
        }
    }
}

/// The template with its `{# … #}` blanked, every line still where it was.
fn without_template_comments(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{#") {
        let (before, comment) = rest.split_at(start);
        code.push_str(before);
        let end = comment.find("#}").map_or(comment.len(), |end| end + 2);
        code.extend(comment[..end].chars().filter(|c| *c == '\n'));
        rest = &comment[end..];
    }
    code.push_str(rest);
    code
}

/// A template error with the line of the template. Source: `tera::ErrorKind`.
pub(super) fn template_error(name: &str, source: &str, error: &tera::Error) -> NotUnderstood {
    let (line, column, message) = match error.kind() {
        tera::ErrorKind::SyntaxError(report) | tera::ErrorKind::RenderingError(report) => {
            (report.span().start_line, report.span().start_col + 1, report.message().to_owned())
        }
        // The kinds are tera's and may grow; none of the others has a place.
        other => (0, 0, other.to_string()),
    };
    let mut what = format!("template {name}: {message}");
    let mut cause = std::error::Error::source(error);
    while let Some(inner) = cause {
        let _ = write!(what, ": {inner}");
        cause = inner.source();
    }
    NotUnderstood { line, column, what, excerpt: excerpt(source.lines().nth(line.wrapping_sub(1)).unwrap_or_default()) }
}
