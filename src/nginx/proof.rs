//! Responsible for: what the template gave. Reads the rendered block as if a stranger had written it and holds it
//! against what was asked for; says which line of a template is to blame.
//!
//! Never: mends what a template got wrong, or looks at what `block` gave it: only the file and the wish count.

use std::fmt::Write as _;

use super::grammar::{Parsed, Statement, says_share};
use super::text::{excerpt, listed};
use super::wish::{Stand, Wish};
use super::{NotUnderstood, Server, Template, Upstream, same_address};

/// What the rendered block is held against: the block as it was, and what was asked for.
pub(super) struct Expected<'a> {
    pub(super) file: &'a Parsed<'a>,
    pub(super) block: usize,
    pub(super) before: &'a Upstream,
    pub(super) wish: &'a Wish<'a>,
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
            let (now, now_written) = take(self.wish.instead.unwrap_or(&server.address))?;
            let stand = self.wish.stand(server);
            if stand == Stand::Stranger {
                if self.file.text[written.span.clone()] != after.text[now_written.span.clone()] {
                    let what = format!("changes server {}, which is neither blue nor green", now.address);
                    return Err(self.refused(after, now.line, &what));
                }
            } else {
                self.is_as_wanted(after, stand, now, now_written)?;
                self.parameters_are_kept(after, stand, written, now, now_written)?;
            }
        }
        let added = Stand::Serves { weight: self.wish.added_weight(), is_own: false, may_be_backup: false };
        for address in &self.wish.missing {
            let (now, now_written) = take(address)?;
            self.is_as_wanted(after, added, now, now_written)?;
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
        stand: Stand,
        server: &Server,
        written: &Statement,
    ) -> Result<(), NotUnderstood> {
        let Server { address, weight, is_down, is_backup, .. } = server;
        let serve = self.wish.wanted.colour_of(address).unwrap_or(self.wish.wanted.serve);
        // The last one counts, as it does for nginx.
        let max_fails = written.words.iter().rev().find_map(|word| word.value.strip_prefix("max_fails="));
        let as_one_that_serves = |may_be_backup: bool| {
            if *is_down {
                Some(format!("renders {serve}'s server {address} down, and it is the one to serve"))
            } else if *is_backup && !may_be_backup {
                Some(format!("renders {serve}'s server {address} as backup, and it is the one to serve"))
            } else {
                None
            }
        };
        let wrong = match stand {
            Stand::Stranger => None,
            Stand::Only => as_one_that_serves(false),
            Stand::Down { .. } => {
                (!is_down).then(|| format!("leaves {serve}'s server {address} in service; it must be down"))
            }
            Stand::Serves { weight: wanted, may_be_backup, .. } => as_one_that_serves(may_be_backup)
                .or_else(|| {
                    (*weight != wanted)
                        .then(|| format!("gives {serve}'s server {address} weight={weight}, not weight={wanted}"))
                })
                .or_else(|| {
                    (self.wish.is_lone && max_fails != Some("0")).then(|| {
                        format!(
                            "renders {serve}'s server {address} without max_fails=0; beside a down server one dropped \
                             connection would cost 502 for all"
                        )
                    })
                }),
        };
        match wrong {
            Some(what) => Err(self.refused(after, server.line, &what)),
            None => Ok(()),
        }
    }

    fn parameters_are_kept(
        &self,
        after: &Parsed<'_>,
        stand: Stand,
        written: &Statement,
        now: &Server,
        now_written: &Statement,
    ) -> Result<(), NotUnderstood> {
        let is_ours = |value: &str| match stand {
            Stand::Stranger => false,
            Stand::Only => value == "drain" || value == "weight=1",
            Stand::Down { keeps_weight } => value == "down" || (!keeps_weight && says_share(value)),
            Stand::Serves { is_own, may_be_backup, .. } => {
                value == "down"
                    || (!is_own && says_share(value))
                    || (self.wish.is_lone && value.starts_with("max_fails="))
                    || (value == "backup" && !may_be_backup)
                    || value == "drain"
            }
        };
        let mut left: Vec<&str> = now_written.words.iter().skip(2).map(|word| word.value.as_str()).collect();
        for word in written.words.iter().skip(2) {
            let value = word.value.as_str();
            if is_ours(value) {
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
