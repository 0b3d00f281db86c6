//! Whose an answer is: what tells those of blue from those of green, and what can be told without that. Never asks.

use serde::Serialize;

use super::Get;
use crate::nouns::colour::Colour;
use crate::nouns::plan::{Mark, StandsIn};
use crate::nouns::side::Side;

/// Header names whose values differ from answer to answer or from server to server for reasons of their own.
const VOLATILE: &[&str] = &[
    "date",
    "age",
    "expires",
    "etag",
    "last-modified",
    "set-cookie",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "x-request-id",
    "x-runtime",
    "x-response-time",
    "x-trace-id",
    "traceparent",
    "cf-ray",
    "server-timing",
];

/// What an answer of the side that traffic goes to has and one of the other has not: a header of the same name with
/// another value, or the body. It must not change from answer to answer, and nginx must pass it on: the probe's answer has
/// one or the other.
pub(super) fn mark(of: Colour, to: &[Get], from: &[Get], probe: &Get) -> Option<Mark> {
    let first = |gets: &[Get]| gets.first().filter(|get| get.status != 0).cloned();
    let (t, f) = (first(to)?, first(from)?);
    let header = t.head.iter().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let same_name = |other: &&String| other.split_once(':').is_some_and(|(n, _)| n.eq_ignore_ascii_case(name));
        let theirs = f.head.iter().find(same_name)?;
        let differs = theirs.split_once(':').is_some_and(|(_, v)| v.trim() != value.trim());
        let is_steady = to.iter().all(|get| get.head.contains(line));
        let is_passed_on = probe.head.iter().any(|l| l.eq_ignore_ascii_case(line) || l.eq_ignore_ascii_case(theirs));
        let is_mark = !VOLATILE.contains(&name.to_ascii_lowercase().as_str()) && differs && is_steady && is_passed_on;
        is_mark.then(|| Mark { of, stands_in: StandsIn::Header, ours: line.clone(), theirs: theirs.clone() })
    });
    if header.is_some() {
        return header;
    }
    let (ours, theirs) = (t.body.trim_end_matches('\n'), f.body.trim_end_matches('\n'));
    let is_steady = to.len() > 1 && to.iter().all(|get| get.body == t.body);
    let is_passed_on = probe.body == t.body || probe.body == f.body;
    // A page is compared whole by a shell on the host; beyond a few KiB it is not a mark but a page.
    let is_usable = |body: &str| body.len() <= 4096 && !body.contains(['\0', '\r']);
    let is_mark = !ours.is_empty() && t.status < 300 && is_usable(ours) && is_usable(theirs) && ours != theirs;
    (is_mark && is_steady && is_passed_on).then(|| Mark {
        of,
        stands_in: StandsIn::Body,
        ours: ours.to_owned(),
        theirs: theirs.to_owned(),
    })
}

/// How far an answer through nginx came from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// One of the colours gave it.
    App,
    /// nginx did, and asked nobody: a redirect, a page of its own, a `return`.
    NginxItself,
    #[default]
    NotKnown,
}

/// Where an answer through nginx comes from: it is compared with what the colours answer to the same question when they are
/// asked without nginx, and with the text of the site. Only what is certain is said: an application may answer otherwise
/// behind nginx, which adds headers of its own.
pub fn origin(through: &Get, direct: &[&Get], mark: Option<&Mark>, site: &str) -> Origin {
    if mark.is_some() {
        return Origin::App;
    }
    let heard: Vec<&&Get> = direct.iter().filter(|get| get.status != 0).collect();
    // A 502 is what nginx says of a colour that it did ask.
    if heard.is_empty() || !(200..500).contains(&through.status) {
        return Origin::NotKnown;
    }
    let is_nginx_page = |get: &Get| get.status >= 300 && get.body.contains("<hr><center>nginx");
    let body = through.body.trim();
    let returned = returned_by(site, through.status);
    if heard.iter().any(|get| get.status == through.status) {
        let is_same_body = !body.is_empty() && heard.iter().any(|get| get.body.trim() == body);
        let is_written = !body.is_empty() && returned.iter().any(|line| line.contains(body));
        return match (is_written, is_same_body && !is_nginx_page(through)) {
            (true, false) => Origin::NginxItself,
            (false, true) => Origin::App,
            (true, true) | (false, false) => Origin::NotKnown,
        };
    }
    let is_own_page = is_nginx_page(through) && !heard.iter().any(|get| is_nginx_page(get));
    if is_own_page || !returned.is_empty() { Origin::NginxItself } else { Origin::NotKnown }
}

/// Lines of a site with which nginx would answer with that status by itself.
fn returned_by(site: &str, status: u16) -> Vec<&str> {
    let answers = |line: &str| {
        let words: Vec<&str> = line.split([' ', '\t', ';', '{', '}']).filter(|word| !word.is_empty()).collect();
        let follows = |word: &str, next: &[&str]| {
            words.windows(2).any(|pair| pair[0] == word && next.iter().any(|next| pair[1].starts_with(next)))
        };
        match status {
            301 => words.contains(&"permanent") || follows("return", &["301"]),
            302 => words.contains(&"redirect") || follows("return", &["302", "http", "$scheme"]),
            401 => follows("auth_basic", &["\"", "'"]) || follows("return", &["401"]),
            other => follows("return", &[other.to_string().as_str()]),
        }
    };
    site.lines().map(str::trim).filter(|line| !line.starts_with('#') && answers(line)).collect()
}

/// Whose answer it is, where that can be told.
pub(super) fn answered_by(probe: &Get, mark: Option<&Mark>) -> Option<Side> {
    let mark = mark?;
    let is_marked = match mark.stands_in {
        StandsIn::Header => probe.head.iter().any(|line| line.eq_ignore_ascii_case(&mark.ours)),
        StandsIn::Body => probe.body.trim_end_matches('\n') == mark.ours,
    };
    // A mark is only one if the probe's answer has that of the one or of the other.
    Some(if is_marked { Side::To } else { Side::From })
}

/// An answer of nobody in particular is the one side's where the other does not answer at all, and the other way round. One that
/// took too long, or of which an old curl does not say why, may answer all the same.
pub(super) fn only_one_answers(probe: &Get, to: &[Get], from: &[Get]) -> Option<Side> {
    let is_silent = |get: &Get| get.status == 0 && !get.error.is_empty() && !get.error.contains("timed out");
    let answers = |gets: &[Get]| gets.iter().any(|get| !is_silent(get));
    let is_good = (200..500).contains(&probe.status);
    match (answers(to), answers(from)) {
        (true, false) if is_good => Some(Side::To),
        (false, true) if is_good => Some(Side::From),
        (true, true | false) | (false, true | false) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(head: &[&str], body: &str) -> Get {
        Get {
            status: 200,
            head: head.iter().map(|s| (*s).to_owned()).collect(),
            body: body.into(),
            error: String::new(),
        }
    }

    #[test]
    fn a_header_that_differs_between_the_colours_is_the_mark() {
        let blue = [get(&["Date: 1", "X-Instance: blue"], "x"), get(&["Date: 2", "X-Instance: blue"], "x")];
        let green = [get(&["Date: 3", "X-Instance: green"], "x")];
        let probe = get(&["Server: nginx", "x-instance: green"], "x");
        let found = mark(Colour::Blue, &blue, &green, &probe);
        let in_header = |ours: &str, theirs: &str| Mark {
            of: Colour::Blue,
            stands_in: StandsIn::Header,
            ours: ours.into(),
            theirs: theirs.into(),
        };
        assert_eq!(found, Some(in_header("X-Instance: blue", "X-Instance: green")));
        assert_eq!(answered_by(&probe, found.as_ref()), Some(Side::From));
    }

    #[test]
    fn a_header_that_changes_or_that_nginx_drops_is_no_mark() {
        let counting = [get(&["X-Count: 1"], "same"), get(&["X-Count: 2"], "same")];
        assert_eq!(mark(Colour::Blue, &counting, &[get(&["X-Count: 9"], "same")], &get(&["X-Count: 9"], "same")), None);
        let servers = [get(&["Server: a"], "same"), get(&["Server: a"], "same")];
        assert_eq!(
            mark(Colour::Blue, &servers, &[get(&["Server: b"], "same")], &get(&["Server: nginx"], "same")),
            None
        );
    }

    #[test]
    fn bodies_are_the_mark_where_heads_are_alike() {
        let blue = [get(&[], "blue\n"), get(&[], "blue\n")];
        let found = mark(Colour::Blue, &blue, &[get(&[], "green\n")], &get(&[], "blue\n"));
        let found_in = found.as_ref().map(|mark| (mark.stands_in, mark.ours.as_str(), mark.theirs.as_str()));
        assert_eq!(found_in, Some((StandsIn::Body, "blue", "green")));
        assert_eq!(answered_by(&get(&[], "blue\n"), found.as_ref()), Some(Side::To));
    }

    #[test]
    fn an_answer_that_nginx_gives_by_itself_is_told_from_one_of_the_application() {
        let answer = |status: u16, body: &str| Get { status, ..get(&[], body) };
        let page = |status: u16| answer(status, "<html><center><h1>x</h1></center>\n<hr><center>nginx/1.22.1</center>");
        let home = answer(200, "home\n");
        let of = |through: &Get, direct: &[&Get], site: &str| origin(through, direct, None, site);
        for status in [301, 401, 403, 404] {
            assert_eq!(of(&page(status), &[&home], ""), Origin::NginxItself, "{status}");
        }
        assert_eq!(of(&answer(204, ""), &[&home], "location / { return 204; }"), Origin::NginxItself);
        assert_eq!(of(&answer(200, "up"), &[&home], "return 200 'up';"), Origin::NginxItself);
        assert_eq!(of(&home, &[&home], "return 301 https://x;"), Origin::App);
        // An application may redirect what did not come as https, and answer otherwise behind nginx.
        assert_eq!(of(&answer(301, ""), &[&home], ""), Origin::NotKnown);
        assert_eq!(of(&answer(301, "moved"), &[&home], "# return 301 https://x;"), Origin::NotKnown);
        // nginx says these of a colour that it did ask; an application may stand behind an nginx of its own.
        assert_eq!(of(&page(502), &[&home], ""), Origin::NotKnown);
        assert_eq!(of(&page(404), &[&page(301)], ""), Origin::NotKnown);
        assert_eq!(of(&page(404), &[&answer(404, "no")], ""), Origin::NotKnown);
        assert_eq!(of(&page(301), &[&answer(0, "")], "return 301 x;"), Origin::NotKnown);
        assert_eq!(of(&answer(200, "other"), &[&home], ""), Origin::NotKnown);
    }
}
