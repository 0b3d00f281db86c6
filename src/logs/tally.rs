//! From lines to counts. A line is one request of a client; an attempt is what nginx tried with one server for it, and
//! those are counted: a retry that saved the client is the server's error all the same.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, HashSet};
use std::hash::{Hash, Hasher};

use super::counts::{Attempts, Batch, MOST_CLIENTS, TICK, Tick, UNNAMED, shown};
use super::form::{Form, Line, Stamp, elements};
use super::moment;

/// Ticks whose clients are remembered: lines come in the order in which requests end, which is nearly that of their times.
const REMEMBERED: usize = 4;
/// Whoever errs is remembered for a tick, up to so many.
const MOST_ERRING: usize = 100_000;
/// Servers of a tick that are told apart: a log with more of them names no servers there.
const MOST_SERVERS: usize = 512;
/// Of a line that is not understood so much is shown.
const SHOWN: usize = 160;

/// Counts that go on.
#[derive(Debug, Default)]
pub struct Tally {
    /// What was not told yet.
    open: Batch,
    /// Limits for the time of an attempt, in milliseconds.
    limits: Vec<u64>,
    known: BTreeMap<u64, Known>,
    last_moment: (Vec<u8>, u64),
    /// Lines before that are not counted.
    since: u64,
}

#[derive(Debug, Default)]
struct Known {
    clients: HashSet<u64>,
    erring: HashSet<u64>,
}

impl Tally {
    pub fn new(limits: Vec<u64>, since: u64) -> Tally {
        Tally { limits, since, ..Tally::default() }
    }

    /// What was counted since the last time.
    pub fn take(&mut self) -> Batch {
        std::mem::take(&mut self.open)
    }

    pub fn note(&mut self, log: usize, note: &str) {
        self.open.notes.push((log, note.to_owned()));
    }

    pub fn place(&mut self, log: usize, place: super::counts::Place) {
        self.open.places.insert(log, place);
    }

    /// A line that is none, for it is too long.
    pub fn odd(&mut self, beginning: &[u8]) {
        self.open.odd += 1;
        let beginning = &beginning[..beginning.len().min(SHOWN)];
        self.open.first_odd.get_or_insert_with(|| shown(beginning));
    }

    /// Counts one line, without its end; `now` is when, where it does not say.
    pub fn line(&mut self, form: &Form, line: &[u8], now: u64) {
        self.open.read += 1;
        if form.read(line).and_then(|read| self.count(&read, now)).is_none() {
            self.odd(line);
        }
    }

    /// `None` where a value is none that nginx writes there.
    fn count(&mut self, line: &Line<'_>, now: u64) -> Option<()> {
        let at = match line.moment {
            Some((stamp, text)) => self.moment(stamp, text)?,
            None => now,
        };
        let status = line.status.map_or(Some(None), status_of)?;
        if at < self.since {
            return Some(());
        }
        let at = at / TICK * TICK;
        let client = line.client.map(hashed);
        let limits = std::mem::take(&mut self.limits);
        let tries = tries(line, status, &limits);
        self.limits = limits;
        let tries = tries?;
        let known = self.known.entry(at).or_default();
        if let Some(client) = client
            && known.clients.len() < MOST_CLIENTS
        {
            known.clients.insert(client);
        }
        let tick = self.open.ticks.entry(at).or_default();
        tick.requests += 1;
        tick.errors += u64::from(status.is_some_and(is_error));
        tick.clients = known.clients.len() as u64;
        for Try { server, mut attempts } in tries {
            if attempts.bad > 0 {
                let is_new = match client {
                    Some(client) if known.erring.len() < MOST_ERRING => known.erring.insert(hashed(&(client, server))),
                    Some(_) | None => true,
                };
                attempts.once = u64::from(is_new);
            }
            tick.server(server).merge(&attempts);
        }
        while self.known.len() > REMEMBERED {
            self.known.pop_first();
        }
        Some(())
    }

    fn moment(&mut self, stamp: Stamp, text: &[u8]) -> Option<u64> {
        // A busy log says the same second many times over.
        let key = if stamp == Stamp::Msec { text.split(|byte| *byte == b'.').next()? } else { text };
        if self.last_moment.0 != key || key.is_empty() {
            let seconds = moment::seconds(stamp, text)?;
            self.last_moment.0.clear();
            self.last_moment.0.extend_from_slice(key);
            self.last_moment.1 = seconds;
        }
        Some(self.last_moment.1)
    }
}

impl Tick {
    fn server(&mut self, name: &[u8]) -> &mut Attempts {
        let name = shown(name);
        let name = match self.servers.len() < MOST_SERVERS || self.servers.contains_key(&name) {
            true => name,
            false => UNNAMED.to_owned(),
        };
        self.servers.entry(name).or_default()
    }
}

struct Try<'l> {
    server: &'l [u8],
    attempts: Attempts,
}

/// What was tried for one request.
fn tries<'l>(line: &Line<'l>, status: Option<u16>, limits: &[u64]) -> Option<Vec<Try<'l>>> {
    let one = |server, status: Option<u16>, time: Option<u64>| {
        let is_gone = status.is_none_or(|status| status == 499 || status < 100);
        let bad = u64::from(!is_gone && status.is_some_and(is_error));
        let mut attempts = Attempts {
            tried: u64::from(!is_gone),
            bad,
            once: bad,
            gone: u64::from(is_gone),
            over: vec![0; limits.len()],
            ..Attempts::default()
        };
        // A connection that was handed over lasts as long as somebody wants.
        if let Some(ms) = time.filter(|_| status != Some(101)) {
            attempts.timed = 1;
            attempts.latency.add(ms);
            for (over, limit) in attempts.over.iter_mut().zip(limits) {
                *over = u64::from(ms > *limit);
            }
        }
        Try { server, attempts }
    };
    let request_time = match line.request_time {
        Some(text) => time_of(text)?,
        None => None,
    };
    let Some(servers) = line.servers else {
        return Some(vec![one(UNNAMED.as_bytes(), status, request_time)]);
    };
    let servers: Vec<&[u8]> = elements(servers).filter(|server| *server != b"-").collect();
    let mut statuses = line.server_statuses.map(elements);
    let mut times = line.server_times.map(elements);
    let last = servers.len().saturating_sub(1);
    let mut tries = Vec::with_capacity(servers.len());
    for (n, server) in servers.into_iter().enumerate() {
        let own = match &mut statuses {
            Some(statuses) => match status_of(statuses.next().unwrap_or_default())? {
                Some(own) => Some(own),
                // nginx has none where it had no answer: the client went, or what it did then.
                None => status.filter(|status| n == last && (*status == 499 || is_error(*status))),
            },
            None if n == last => status,
            // Whoever is not the last was left for another.
            None => Some(502),
        };
        let time = match &mut times {
            Some(times) => time_of(times.next().unwrap_or_default())?,
            None => request_time.filter(|_| last == 0),
        };
        tries.push(one(server, own, time));
    }
    Some(tries)
}

/// `Some(None)` where there is none; `None` for what is no status.
fn status_of(text: &[u8]) -> Option<Option<u16>> {
    match text {
        b"" | b"-" => Some(None),
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9'] => {
            Some(Some(u16::from(a - b'0') * 100 + u16::from(b - b'0') * 10 + u16::from(c - b'0')))
        }
        _ => None,
    }
}

fn time_of(text: &[u8]) -> Option<Option<u64>> {
    match text {
        b"" | b"-" => Some(None),
        text => moment::milliseconds(text).map(Some),
    }
}

fn is_error(status: u16) -> bool {
    (500..600).contains(&status)
}

fn hashed<T: Hash + ?Sized>(what: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    what.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::Escape;

    fn counted(format: &str, lines: &[&str]) -> Batch {
        let form = Form::new(format, Escape::Default);
        let mut tally = Tally::new(vec![2000, 500], 0);
        for line in lines {
            tally.line(&form, line.as_bytes(), 50);
        }
        tally.take()
    }

    const FULL: &str = "$msec|$remote_addr|$status|$upstream_addr|$upstream_status|$upstream_response_time";

    #[test]
    fn an_attempt_that_another_server_mended_is_still_an_error_of_the_first() {
        let batch = counted(FULL, &["1000.100|c|200|g:1, b:1|502, 200|0.001, 2.001", "1009.999|c|200|b:1|200|0.600"]);
        let tick = &batch.ticks[&1000];
        assert_eq!((tick.requests, tick.errors, tick.clients, batch.odd), (2, 0, 1, 0));
        let (green, blue) = (&tick.servers["g:1"], &tick.servers["b:1"]);
        assert_eq!((green.tried, green.bad, green.once, green.timed), (1, 1, 1, 1));
        assert_eq!((blue.tried, blue.bad, blue.timed), (2, 0, 2));
        assert_eq!(blue.over, [1, 2]);
    }

    #[test]
    fn one_client_that_repeats_an_error_is_one_in_ten_seconds() {
        let lines: Vec<String> = (0..8).map(|n| format!("100{n}.000|c|500|g:1|500|0.001")).collect();
        let mut lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        lines.extend(["1003.000|d|500|g:1|500|0.001", "1011.000|c|500|g:1|500|0.001"]);
        let batch = counted(FULL, &lines);
        let (first, second) = (&batch.ticks[&1000], &batch.ticks[&1010]);
        assert_eq!((first.servers["g:1"].bad, first.servers["g:1"].once, first.clients), (9, 2, 2));
        assert_eq!((second.servers["g:1"].bad, second.servers["g:1"].once), (1, 1));
    }

    #[test]
    fn a_client_that_went_is_neither_good_nor_bad_and_nobody_to_send_to_has_a_name() {
        let batch = counted(
            FULL,
            &["1000.000|c|499|g:1|-|30.000", "1000.000|c|502|listings|502|0.000", "1000.000|c|304|-|-|-", "junk"],
        );
        let tick = &batch.ticks[&1000];
        let green = &tick.servers["g:1"];
        assert_eq!((green.tried, green.bad, green.gone, green.timed, green.over[0]), (0, 0, 1, 1, 1));
        assert_eq!(tick.servers["listings"].bad, 1);
        assert_eq!((tick.requests, tick.errors, tick.servers.len()), (3, 1, 2));
        assert_eq!((batch.read, batch.odd, batch.first_odd.as_deref()), (4, 1, Some("junk")));
    }

    #[test]
    fn less_is_told_by_less_of_a_format() {
        let batch = counted("$status $request_time", &["200 0.100", "503 3.000"]);
        let all = &batch.ticks[&50].servers[UNNAMED];
        assert_eq!((all.tried, all.bad, all.timed, all.over[0], batch.ticks[&50].clients), (2, 1, 2, 1, 0));
        let batch = counted("$upstream_addr $status", &["g:1, b:1 200", "b:1 500"]);
        let tick = &batch.ticks[&50];
        assert_eq!((tick.servers["g:1"].bad, tick.servers["b:1"].bad, tick.servers["b:1"].tried), (1, 1, 2));
    }

    #[test]
    fn hostile_lines_cost_nothing_but_themselves() {
        let many: Vec<String> = (0..2000).map(|n| format!("1000.000|c{n}|500|s{n}:1|500|0.001")).collect();
        let lines: Vec<&str> = many.iter().map(String::as_str).collect();
        let batch = counted(FULL, &lines);
        let tick = &batch.ticks[&1000];
        assert_eq!((tick.servers.len(), tick.clients), (MOST_SERVERS + 1, MOST_CLIENTS as u64));
        assert_eq!(tick.servers.values().map(|one| one.bad).sum::<u64>(), 2000);
        let batch = counted(
            FULL,
            &["\u{1b}]0;x|\u{7}", "1000.000|c|abc|g:1|500|0.001", "99999999999999999.0|c|200|g:1|200|0.1"],
        );
        assert_eq!((batch.odd, batch.ticks.len()), (3, 0));
        assert_eq!(batch.first_odd.as_deref(), Some("\\x1b]0;x|\\x07"));
    }
}
