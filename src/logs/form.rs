//! A `log_format` of nginx, and where in a line of it the values stand that are counted.
//!
//! A line is cut at the texts between two variables, as they come, and no other way fits: nginx writes a value so that what
//! may be in it is known (`escape=`). Only the lists of nginx's `$upstream_*` hold blanks and commas of their own
//! (`ngx_http_upstream_addr_variable`: `, ` between servers that were tried, ` : ` between groups), and are cut with that in
//! mind. A regular expression would do the same slower, and could not say the last thing.

use memchr::memmem::Finder;

/// What nginx does to a value before it writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    /// `"`, `\`, and what is no plain ASCII become `\xXX`.
    Default,
    /// As in a string of JSON.
    Json,
    /// Nothing: anything may be in there.
    Nothing,
}

/// In which form a moment is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// `1732150436.123`
    Msec,
    /// `2026-11-21T00:53:56+00:00`
    Iso,
    /// `21/Nov/2026:00:53:56 +0000`
    Local,
}

/// What a variable of a format tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    Moment(Stamp),
    Client,
    Status,
    RequestTime,
    /// The servers that were tried, in order; the lists below go with it.
    Servers,
    ServerStatuses,
    ServerTimes,
    Other,
}

impl Field {
    fn of(variable: &str) -> Field {
        match variable {
            "msec" => Field::Moment(Stamp::Msec),
            "time_iso8601" => Field::Moment(Stamp::Iso),
            "time_local" => Field::Moment(Stamp::Local),
            "remote_addr" => Field::Client,
            "status" => Field::Status,
            "request_time" => Field::RequestTime,
            "upstream_addr" => Field::Servers,
            "upstream_status" => Field::ServerStatuses,
            "upstream_response_time" => Field::ServerTimes,
            _ => Field::Other,
        }
    }

    fn is_list(self) -> bool {
        matches!(self, Field::Servers | Field::ServerStatuses | Field::ServerTimes)
    }
}

/// A format, ready to read lines of it.
#[derive(Debug, Clone)]
pub struct Form {
    escape: Escape,
    /// What a line begins with.
    head: Vec<u8>,
    values: Vec<Value>,
}

#[derive(Debug, Clone)]
struct Value {
    field: Field,
    /// What stands behind it; nothing behind the last one.
    until: Finder<'static>,
}

/// The values of one line that are counted; `None` where the format has none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Line<'l> {
    pub moment: Option<(Stamp, &'l [u8])>,
    pub client: Option<&'l [u8]>,
    pub status: Option<&'l [u8]>,
    pub request_time: Option<&'l [u8]>,
    pub servers: Option<&'l [u8]>,
    pub server_statuses: Option<&'l [u8]>,
    pub server_times: Option<&'l [u8]>,
}

/// What nginx logs where no format is named.
pub const COMBINED: &str = "$remote_addr - $remote_user [$time_local] \"$request\" $status $body_bytes_sent \"$http_referer\" \"$http_user_agent\"";

impl Form {
    /// Of the text of a `log_format`, its pieces put together.
    pub fn new(text: &str, escape: Escape) -> Form {
        let mut head = Vec::new();
        let mut values: Vec<(Field, Vec<u8>)> = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let dollar = rest.find('$').unwrap_or(rest.len());
            let literal = &rest.as_bytes()[..dollar];
            values.last_mut().map_or(&mut head, |(_, until)| until).extend_from_slice(literal);
            rest = &rest[dollar..];
            let Some((name, after)) = variable(rest) else {
                let sign = rest.len().min(1);
                values.last_mut().map_or(&mut head, |(_, until)| until).extend_from_slice(&rest.as_bytes()[..sign]);
                rest = &rest[sign..];
                continue;
            };
            rest = after;
            match values.last_mut() {
                // Nothing stands between them: where one ends and the other begins nobody can say.
                Some((field, until)) if until.is_empty() => *field = Field::Other,
                Some(_) | None => values.push((Field::of(name), Vec::new())),
            }
        }
        let ready = |(field, until): (Field, Vec<u8>)| Value { field, until: Finder::new(&until).into_owned() };
        Form { escape, head, values: values.into_iter().map(ready).collect() }
    }

    /// Whether a line says that.
    pub fn tells(&self, field: Field) -> bool {
        self.values.iter().any(|value| value.field == field)
    }

    /// Whether a line says when it was.
    pub fn tells_when(&self) -> bool {
        self.values.iter().any(|value| matches!(value.field, Field::Moment(_)))
    }

    /// The values of a line without its end; `None` for a line of another format.
    pub fn read<'l>(&self, line: &'l [u8]) -> Option<Line<'l>> {
        let mut rest = line.strip_prefix(self.head.as_slice())?;
        let mut read = Line::default();
        let last = self.values.len().checked_sub(1)?;
        for (n, value) in self.values.iter().enumerate() {
            let until = value.until.needle();
            // The last text ends the line, whatever looks like it before.
            let end = match n == last {
                true => rest.len().checked_sub(until.len()).filter(|end| rest[*end..] == *until)?,
                false => self.end_of(value, rest)?,
            };
            let said = &rest[..end];
            rest = &rest[end + until.len()..];
            let place = match value.field {
                Field::Moment(stamp) => {
                    read.moment.get_or_insert((stamp, said));
                    continue;
                }
                Field::Client => &mut read.client,
                Field::Status => &mut read.status,
                Field::RequestTime => &mut read.request_time,
                Field::Servers => &mut read.servers,
                Field::ServerStatuses => &mut read.server_statuses,
                Field::ServerTimes => &mut read.server_times,
                Field::Other => continue,
            };
            place.get_or_insert(said);
        }
        Some(read)
    }

    /// Where a value ends that something follows.
    fn end_of(&self, value: &Value, rest: &[u8]) -> Option<usize> {
        let until = value.until.needle();
        let mut from = 0;
        loop {
            let at = from + value.until.find(&rest[from..])?;
            let is_escaped = self.escape == Escape::Json
                && until.first() == Some(&b'"')
                && rest[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
            let is_inside = value.field.is_list() && is_inside_a_list(rest, at, until);
            if !is_escaped && !is_inside {
                return Some(at);
            }
            from = at + 1;
        }
    }
}

/// Whether what was found there is what stands between two elements of a list.
fn is_inside_a_list(rest: &[u8], at: usize, until: &[u8]) -> bool {
    match until.first() {
        Some(b' ') => rest[..at].ends_with(b",") || rest[..at].ends_with(b" :") || rest[at..].starts_with(b" : "),
        Some(b',') => until.len() == 1 && rest[at + 1..].starts_with(b" "),
        Some(_) | None => false,
    }
}

/// The elements of a list of nginx's `$upstream_*`.
pub fn elements(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let words = list.split(|byte| *byte == b' ').filter(|word| !word.is_empty() && *word != b":");
    words.map(|word| word.strip_suffix(b",").unwrap_or(word))
}

/// The name of the variable that a text begins with, and what is behind it.
fn variable(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('$')?;
    if let Some(braced) = inner.strip_prefix('{') {
        return braced.split_once('}').filter(|(name, _)| !name.is_empty());
    }
    let end = inner.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(inner.len());
    (end > 0).then(|| inner.split_at(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(said: Option<&[u8]>) -> String {
        said.map_or("-none-".to_owned(), |said| String::from_utf8_lossy(said).into_owned())
    }

    #[test]
    fn combined_is_read_whatever_stands_in_the_request() {
        let form = Form::new(COMBINED, Escape::Default);
        let line = br#"10.0.0.7 - bob [21/Nov/2026:00:53:56 +0000] "GET /a] \x22b HTTP/1.1" 502 157 "-" "cur l/8""#;
        let read = form.read(line).expect("it is one");
        assert_eq!(text(read.client), "10.0.0.7");
        assert_eq!(text(read.status), "502");
        assert_eq!(read.moment, Some((Stamp::Local, b"21/Nov/2026:00:53:56 +0000".as_slice())));
        assert_eq!(read.servers, None);
        assert!(!form.tells(Field::Servers) && form.tells_when());
    }

    #[test]
    fn lists_of_servers_are_whole_whatever_stands_between_the_values() {
        let lists = ("10.0.0.1:80, unix:/run/b.sock : [::1]:81", "502, 504 : 200", "0.001, - : 1.250");
        for between in [" ", "|", ",", ", ", "\t", " - ", "\" \""] {
            let form = Form::new(
                &format!("$upstream_addr{between}$upstream_status{between}$upstream_response_time{between}$status"),
                Escape::Default,
            );
            let line = format!("{}{between}{}{between}{}{between}200", lists.0, lists.1, lists.2);
            let Some(read) = form.read(line.as_bytes()) else {
                // What stands between the elements of a list stands between two values there: nobody could say.
                assert_eq!(between, ", ", "{line}");
                continue;
            };
            if between == ", " {
                continue;
            }
            assert_eq!(text(read.servers), lists.0, "{line}");
            assert_eq!(text(read.server_statuses), lists.1, "{line}");
            assert_eq!(text(read.server_times), lists.2, "{line}");
            assert_eq!(text(read.status), "200", "{line}");
        }
        let all: Vec<String> = elements(lists.0.as_bytes()).map(|one| text(Some(one))).collect();
        assert_eq!(all, ["10.0.0.1:80", "unix:/run/b.sock", "[::1]:81"]);
    }

    #[test]
    fn json_is_read_by_its_own_escapes_and_with_values_that_are_not_there() {
        let form = Form::new(
            r#"{"t":"$time_iso8601","ua":"$http_user_agent","s":$status,"u":"$upstream_addr","rt":$upstream_response_time,"x":"${request_id}"}"#,
            Escape::Json,
        );
        let line = br#"{"t":"2026-11-21T00:53:56+00:00","ua":"a\",\"s\":999,\\","s":200,"u":"","rt":,"x":"e"}"#;
        let read = form.read(line).expect("it is one");
        assert_eq!(text(read.status), "200");
        assert_eq!(text(read.servers), "");
        assert_eq!(text(read.server_times), "");
    }

    #[test]
    fn what_is_of_another_format_is_none() {
        let form = Form::new("$msec|$status|$upstream_addr", Escape::Default);
        for line in ["", "1.000", "1.000|200", "\u{1b}[31m"] {
            assert_eq!(form.read(line.as_bytes()), None, "{line:?}");
        }
        assert!(form.read(b"1.000|200|").is_some());
        // Two values with nothing between them are one that says nothing.
        let form = Form::new("$remote_addr$status $request_time $", Escape::Default);
        assert!(!form.tells(Field::Client) && !form.tells(Field::Status) && form.tells(Field::RequestTime));
        assert_eq!(text(form.read(b"10.0.0.1200 0.5 $").and_then(|read| read.request_time)), "0.5");
    }
}
