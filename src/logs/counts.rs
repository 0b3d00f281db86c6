//! What is counted, and how it goes over the line: by ten seconds of the log's own time and by server. All of it adds up,
//! over looks, files and hosts; the laptop says which server is whose.
//!
//! ```text
//! tick 1795222430 requests=412 errors=3 clients=57
//! server 10.0.0.1:8081 tried=41 bad=3 once=2 gone=0 timed=41 over=1,0 steps=4:30,51:11
//! at 0 2049:131:88412
//! note 0 the file was cut; it is read from its beginning
//! odd 2 \x1b[31m…
//! look read=9000
//! ```

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::latency::Latency;

/// Seconds of a tick.
pub const TICK: u64 = 10;

/// What was tried with one server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attempts {
    /// Attempts with an end: also those that nginx mended with another server. Those that a client gave up are not here.
    pub tried: u64,
    /// Of them those that ended in a 5xx, a refused connection or a time-out (nginx's 502 and 504).
    pub bad: u64,
    /// The same, each client once in a tick; as many as `bad` where the log does not say who asked.
    pub once: u64,
    /// Given up by the client, who waited no longer: neither good nor bad.
    pub gone: u64,
    /// Those with a known time, and how many of them took longer than each limit that was asked for.
    pub timed: u64,
    pub over: Vec<u64>,
    pub latency: Latency,
}

/// Ten seconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tick {
    pub requests: u64,
    /// Requests that the client got a 5xx for.
    pub errors: u64,
    /// How many clients were told apart, up to [`MOST_CLIENTS`]; 0 where the log does not say.
    pub clients: u64,
    /// By server as nginx names it; `-` where the log names none.
    pub servers: BTreeMap<String, Attempts>,
}

/// More need not be told apart.
pub const MOST_CLIENTS: usize = 64;

/// The name of whoever answered, where the log does not say.
pub const UNNAMED: &str = "-";

/// Where a file was read to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub device: u64,
    pub inode: u64,
    pub offset: u64,
}

/// What one look at all logs of a host brought.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Batch {
    pub ticks: BTreeMap<u64, Tick>,
    pub read: u64,
    /// Lines that are of another format than was told, and the beginning of the first one.
    pub odd: u64,
    pub first_odd: Option<String>,
    /// By the number of the log, in the order in which they were named.
    pub places: BTreeMap<usize, Place>,
    pub notes: Vec<(usize, String)>,
}

impl Attempts {
    pub fn merge(&mut self, other: &Attempts) {
        self.tried += other.tried;
        self.bad += other.bad;
        self.once += other.once;
        self.gone += other.gone;
        self.timed += other.timed;
        self.over.resize(self.over.len().max(other.over.len()), 0);
        for (sum, more) in self.over.iter_mut().zip(&other.over) {
            *sum += more;
        }
        self.latency.merge(&other.latency);
    }
}

impl Tick {
    pub fn merge(&mut self, other: &Tick) {
        self.requests += other.requests;
        self.errors += other.errors;
        // Of several looks at the same ten seconds each one knows all of its file's so far.
        self.clients = self.clients.max(other.clients);
        for (server, attempts) in &other.servers {
            self.servers.entry(server.clone()).or_default().merge(attempts);
        }
    }
}

impl Batch {
    pub fn merge(&mut self, other: Batch) {
        for (at, tick) in &other.ticks {
            self.ticks.entry(*at).or_default().merge(tick);
        }
        self.read += other.read;
        self.odd += other.odd;
        self.first_odd = self.first_odd.take().or(other.first_odd);
        self.places.extend(other.places);
        self.notes.extend(other.notes);
    }

    /// As it goes over the line; the last line tells that it is whole.
    pub fn to_lines(&self) -> String {
        let mut lines = String::new();
        for (at, tick) in &self.ticks {
            let Tick { requests, errors, clients, servers } = tick;
            let _ = writeln!(lines, "tick {at} requests={requests} errors={errors} clients={clients}");
            for (server, attempts) in servers {
                let Attempts { tried, bad, once, gone, timed, over, latency } = attempts;
                let over: Vec<String> = over.iter().map(u64::to_string).collect();
                let steps: Vec<String> = latency.steps.iter().map(|(step, count)| format!("{step}:{count}")).collect();
                let _ = writeln!(
                    lines,
                    "server {} tried={tried} bad={bad} once={once} gone={gone} timed={timed} over={} steps={}",
                    shown(server.as_bytes()),
                    over.join(","),
                    steps.join(",")
                );
            }
        }
        for (log, place) in &self.places {
            let _ = writeln!(lines, "at {log} {}", place.to_word());
        }
        for (log, note) in &self.notes {
            let _ = writeln!(lines, "note {log} {note}");
        }
        if let Some(odd) = &self.first_odd {
            let _ = writeln!(lines, "odd {} {odd}", self.odd);
        }
        let _ = writeln!(lines, "look read={}", self.read);
        lines
    }
}

impl Place {
    pub fn to_word(self) -> String {
        format!("{}:{}:{}", self.device, self.inode, self.offset)
    }

    pub fn from_word(word: &str) -> Option<Place> {
        let mut numbers = word.split(':').map(|number| number.parse().ok());
        let place = Place { device: numbers.next()??, inode: numbers.next()??, offset: numbers.next()?? };
        numbers.next().is_none().then_some(place)
    }
}

/// Puts batches together from the pieces of a stream. What is no line of ours is left out: a host may say anything.
#[derive(Debug, Default)]
pub struct Batches {
    rest: Vec<u8>,
    open: Batch,
    tick: Option<u64>,
}

/// A line that is longer is none of ours.
const LONGEST_LINE: usize = 1 << 20;
/// A batch with more of anything is not: a host may say anything, and is not to fill our memory.
const MOST_TICKS: usize = 20_000;
const MOST_SERVERS: usize = 1_000;
const MOST_NOTES: usize = 100;

impl Batches {
    /// Those that are whole by now.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Batch> {
        let mut whole = Vec::new();
        self.rest.extend_from_slice(bytes);
        let mut from = 0;
        while let Some(end) = self.rest[from..].iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(&self.rest[from..from + end]).into_owned();
            from += end + 1;
            if self.line(&line).is_some_and(|is_end| is_end) {
                self.tick = None;
                whole.push(std::mem::take(&mut self.open));
            }
        }
        self.rest.drain(..from);
        if self.rest.len() > LONGEST_LINE {
            self.rest.clear();
        }
        whole
    }

    /// Whether the line ends a batch; `None` where it is none of ours.
    fn line(&mut self, line: &str) -> Option<bool> {
        let (what, rest) = line.split_once(' ')?;
        match what {
            "tick" => {
                let (at, rest) = rest.split_once(' ')?;
                let at = at.parse().ok()?;
                let number = |name: &str| named(rest, name)?.parse::<u64>().ok();
                let (requests, errors, clients) = (number("requests")?, number("errors")?, number("clients")?);
                if self.open.ticks.len() >= MOST_TICKS {
                    return None;
                }
                let said = Tick { requests, errors, clients, servers: BTreeMap::new() };
                self.open.ticks.entry(at).or_default().merge(&said);
                self.tick = Some(at);
            }
            "server" => {
                let (server, rest) = rest.split_once(' ')?;
                let number = |name: &str| named(rest, name)?.parse().ok();
                let mut latency = Latency::default();
                for pair in named(rest, "steps")?.split(',').filter(|pair| !pair.is_empty()) {
                    let (step, count) = pair.split_once(':')?;
                    latency.steps.insert(step.parse().ok()?, count.parse().ok()?);
                }
                let over = named(rest, "over")?.split(',').filter(|word| !word.is_empty());
                let attempts = Attempts {
                    tried: number("tried")?,
                    bad: number("bad")?,
                    once: number("once")?,
                    gone: number("gone")?,
                    timed: number("timed")?,
                    over: over.map(str::parse).collect::<Result<_, _>>().ok()?,
                    latency,
                };
                let tick = self.open.ticks.get_mut(&self.tick?)?;
                if tick.servers.len() < MOST_SERVERS {
                    tick.servers.entry(server.to_owned()).or_default().merge(&attempts);
                }
            }
            "at" => {
                let (log, place) = rest.split_once(' ')?;
                if self.open.places.len() < MOST_NOTES {
                    self.open.places.insert(log.parse().ok()?, Place::from_word(place)?);
                }
            }
            "note" => {
                let (log, note) = rest.split_once(' ')?;
                if self.open.notes.len() < MOST_NOTES {
                    self.open.notes.push((log.parse().ok()?, note.to_owned()));
                }
            }
            "odd" => {
                let (count, first) = rest.split_once(' ')?;
                self.open.odd += count.parse::<u64>().ok()?;
                self.open.first_odd.get_or_insert_with(|| first.to_owned());
            }
            "look" => {
                self.open.read += named(rest, "read")?.parse::<u64>().ok()?;
                return Some(true);
            }
            _ => return None,
        }
        Some(false)
    }
}

fn named<'l>(rest: &'l str, name: &str) -> Option<&'l str> {
    rest.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
}

/// Bytes as they may stand in a line and on a screen: what is no plain sign becomes `\xXX`, a blank too.
pub fn shown(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            b'\\' => text.push_str("\\\\"),
            byte if byte.is_ascii_graphic() => text.push(char::from(*byte)),
            byte => {
                let _ = write!(text, "\\x{byte:02x}");
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch() -> Batch {
        let mut latency = Latency::default();
        for ms in [3, 3, 70, 900] {
            latency.add(ms);
        }
        let attempts = Attempts { tried: 40, bad: 3, once: 2, gone: 1, timed: 4, over: vec![1, 0], latency };
        let servers = [("10.0.0.1:80".to_owned(), attempts.clone()), (UNNAMED.to_owned(), attempts)];
        let tick = Tick { requests: 44, errors: 2, clients: 12, servers: servers.into() };
        Batch {
            ticks: [(1_795_222_430, tick)].into(),
            read: 45,
            odd: 1,
            first_odd: Some("\\x1b[31m".to_owned()),
            places: [(0, Place { device: 2049, inode: 131, offset: 88_412 })].into(),
            notes: vec![(0, "the file was cut; it is read from its beginning".to_owned())],
        }
    }

    #[test]
    fn a_batch_comes_back_as_it_went_in_whatever_pieces() {
        let lines = format!("motd of the host\n{}{}", batch().to_lines(), batch().to_lines());
        for size in [1, 7, 64, 100_000] {
            let mut batches = Batches::default();
            let whole: Vec<Batch> = lines.as_bytes().chunks(size).flat_map(|piece| batches.take(piece)).collect();
            assert_eq!(whole, [batch(), batch()], "in pieces of {size}");
        }
    }

    #[test]
    fn batches_add_up() {
        let mut sum = batch();
        sum.merge(batch());
        let tick = &sum.ticks[&1_795_222_430];
        assert_eq!((tick.requests, tick.errors, tick.clients), (88, 4, 12));
        let attempts = &tick.servers["10.0.0.1:80"];
        assert_eq!((attempts.tried, attempts.bad, attempts.over.as_slice()), (80, 6, [2, 0].as_slice()));
        assert_eq!(attempts.latency.count(), 8);
    }

    #[test]
    fn what_a_host_says_besides_is_left_out() {
        let mut batches = Batches::default();
        let noise = "tick x requests=1\nserver 1:1 tried=1\nat 0 1:2\nlook\nlook read=\ntick 1 requests=-1 errors=0 clients=0\n";
        assert_eq!(batches.take(noise.as_bytes()), []);
        assert_eq!(batches.take(&vec![b'x'; LONGEST_LINE + 1]), []);
        assert_eq!(batches.take(b"\nlook read=0\n"), [Batch::default()]);
    }
}
