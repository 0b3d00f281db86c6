//! Responsible for: where the requests of each site go, as far as what nginx has loaded says it: whom they reach now, and who
//! stands beside them and could. For a host that no config describes yet.
//!
//! Never: says which of them is blue. What it cannot follow is no route.

use std::collections::BTreeSet;

use super::found::{ConfigFile, parsed};
use super::grammar::{Parsed, Statement, normal_address};
use super::passes::{Given, is_pass, name_in, place_in, variable_in};

/// A ring of variables ends here.
const DEEPEST: usize = 4;
/// Values of a word that are looked at; a map may hold thousands.
const MOST: usize = 64;
/// What stands around the name of a variable.
const MARKS: [char; 3] = ['$', '{', '}'];

/// Where one upstream, or one word, sends requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// As nginx calls it: an upstream, a variable with its `$`, or an address.
    pub name: String,
    /// The file whose text decides, by the name under which it is loaded.
    pub file: String,
    pub context: RouteContext,
    /// Servers that get requests now, as written.
    pub now: Vec<String>,
    /// The word, or the upstream, by which they do.
    pub by: String,
    /// Those that get none and could, with what says so.
    pub beside: Option<OtherSide>,
    /// Who asks for it.
    pub sites: Vec<Frontage>,
}

/// In which part of nginx's configuration it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RouteContext {
    OfHttp,
    OfStream,
}

/// Who could serve in the place of those who do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OtherSide {
    pub servers: Vec<String>,
    /// The word or the upstream that would lead there.
    pub by: String,
    /// In words, for people.
    pub why: String,
    /// Whether that is no more than likely.
    pub is_guess: bool,
}

/// A `server` of nginx, as users reach it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frontage {
    pub file: String,
    /// Its place in the file; two of one file are two sites.
    pub line: usize,
    pub listens: Vec<Listening>,
    pub names: Vec<String>,
    /// The location that passes, `/` where there is none around it.
    pub location: String,
}

/// One `listen`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// `80`, `127.0.0.1:80`, `[::]:443`, `unix:/run/x.sock`.
    pub address: String,
    pub is_tls: bool,
    pub has_proxy_protocol: bool,
}

/// Every route; those of one name and one file are one, with the sites of all.
pub fn routes(files: &[ConfigFile]) -> Vec<Route> {
    let config = Loaded { files: parsed(files), paths_of_stream: paths_of_stream(files) };
    let mut found: Vec<Route> = Vec::new();
    for (path, file) in &config.files {
        // What decides for some requests only decides nothing.
        let passes = file.statements.iter().filter(|pass| is_pass(pass) && !file.is_in(pass, "if"));
        for pass in passes {
            for route in config.of_pass(path, file, pass) {
                match found.iter_mut().find(|known| known.name == route.name && known.now == route.now) {
                    Some(known) => {
                        let new = route.sites.into_iter().filter(|site| !known.sites.contains(site));
                        known.sites.extend(new.collect::<Vec<_>>());
                    }
                    None => found.push(route),
                }
            }
        }
    }
    config.without_those_for_checks(found)
}

/// Where a text sends to by itself: servers of its upstreams that take traffic, and addresses that are passed to. Nothing of
/// what is not understood.
pub fn sends_to(text: &str) -> Vec<String> {
    let Ok(file) = Parsed::from_text(text) else { return Vec::new() };
    let is_address = |to: &String| to.contains(':') && !to.contains('$');
    file.sent_to().into_iter().filter(is_address).collect()
}

/// How much two texts look alike: as many statements, of the same names.
pub fn are_alike(one: &str, other: &str) -> bool {
    let names = |text: &str| -> Option<Vec<String>> {
        Some(Parsed::from_text(text).ok()?.statements.iter().map(|of| of.name().to_owned()).collect())
    };
    matches!((names(one), names(other)), (Some(one), Some(other)) if one == other)
}

/// The other colour's name in the place of the one that a word has; none where it has no colour.
pub fn other_colours(word: &str) -> Option<String> {
    [("blue", "green"), ("green", "blue"), ("Blue", "Green"), ("Green", "Blue"), ("BLUE", "GREEN"), ("GREEN", "BLUE")]
        .into_iter()
        .find(|(colour, _)| word.contains(colour))
        .map(|(colour, other)| word.replace(colour, other))
}

struct Loaded<'f> {
    files: Vec<(&'f str, Parsed<'f>)>,
    paths_of_stream: Vec<String>,
}

/// Whom a target of a pass means.
struct Meant {
    name: String,
    file: Option<String>,
    now: Vec<String>,
    idle: Vec<String>,
}

impl<'f> Loaded<'f> {
    fn of_pass(&self, path: &str, file: &Parsed<'_>, pass: &Statement) -> Vec<Route> {
        let word = pass.words[1].value.as_str();
        let variable = variable_in(word).map(|place| word[place].trim_matches(MARKS).to_owned());
        // nginx's own, behind the place that it leads to, are given nowhere.
        let variable = variable.filter(|variable| !self.words_of(variable, true).is_empty());
        let site = self.frontage(path, file, pass);
        let context = self.context(path, file, pass);
        let live = self.values(word, true, DEEPEST);
        let all = self.values(word, false, DEEPEST);
        let mut routes = Vec::new();
        for target in &live {
            let Some(meant) = self.meant(target, context) else { continue };
            if meant.now.is_empty() {
                continue;
            }
            let decides = variable.as_ref().and_then(|variable| self.file_that_gives(variable));
            let beside = self.beside(&meant, (target, context), &live, &all);
            let name = match &variable {
                Some(variable) => format!("${variable}"),
                None => meant.name.clone(),
            };
            let file = decides.or(meant.file.clone()).unwrap_or_else(|| path.to_owned());
            routes.push(Route {
                name,
                file,
                context,
                now: meant.now,
                by: meant.name,
                beside,
                sites: site.clone().into_iter().collect(),
            });
        }
        routes
    }

    /// Who could serve: who is down in the same upstream, whom another word of the same variable leads to, whom the other
    /// colour's name means, or the only upstream that nobody asks for.
    fn beside(
        &self,
        meant: &Meant,
        (target, context): (&str, RouteContext),
        live: &[String],
        all: &[String],
    ) -> Option<OtherSide> {
        if !meant.idle.is_empty() {
            return Some(OtherSide {
                servers: meant.idle.clone(),
                by: meant.name.clone(),
                why: format!("upstream {} has them, and gives them nothing", meant.name),
                is_guess: false,
            });
        }
        let of_other = |other: &str| self.meant(other, context).filter(|of| !of.now.is_empty() && of.now != meant.now);
        let words: Vec<Meant> =
            all.iter().filter(|other| !live.contains(other)).filter_map(|other| of_other(other)).collect();
        let colour = other_colours(target).and_then(|other| of_other(&other));
        if let Some(other) = colour {
            let why = format!("{} is the other one's name of {}", other.name, meant.name);
            return Some(OtherSide { servers: other.now, by: other.name, why, is_guess: false });
        }
        if let [other] = words.as_slice() {
            let why = format!("another word of the same variable leads to {}", other.name);
            return Some(OtherSide { servers: other.now.clone(), by: other.name.clone(), why, is_guess: false });
        }
        // An upstream that nothing is passed to has been put there for something.
        meant.file.as_ref()?;
        let passed = self.all_passed();
        let unasked: Vec<Meant> = self
            .upstreams()
            .filter(|(_, name)| !passed.contains(&name.to_ascii_lowercase()))
            .filter_map(|(_, name)| of_other(&format!("http://{name}")))
            .filter(|of| of.now.len() == meant.now.len())
            .collect();
        match unasked.as_slice() {
            [other] => {
                let why = format!("upstream {} is the only one that nothing is passed to", other.name);
                Some(OtherSide { servers: other.now.clone(), by: other.name.clone(), why, is_guess: true })
            }
            _ => None,
        }
    }

    /// Beside what serves there is often one for each side, which only checks ask: a site whose servers another route has both
    /// of is none of its own.
    fn without_those_for_checks(&self, found: Vec<Route>) -> Vec<Route> {
        let known =
            |address: &String, of: &[String]| of.iter().any(|other| normal_address(other) == normal_address(address));
        let covers = |of: &Route, other: &Route| {
            let beside = of.beside.as_ref().map(|beside| beside.servers.as_slice()).unwrap_or_default();
            of.name != other.name && other.now.iter().all(|one| known(one, &of.now) || known(one, beside))
        };
        let is_own = |route: &Route| {
            !found.iter().any(|other| covers(other, route) && (!covers(route, other) || weighs(other) > weighs(route)))
        };
        let kept: Vec<Route> = found.iter().filter(|route| is_own(route)).cloned().collect();
        if kept.is_empty() { found } else { kept }
    }

    /// A name may stand in both, and means another upstream in each.
    fn context(&self, path: &str, file: &Parsed<'_>, statement: &Statement) -> RouteContext {
        match file.is_in(statement, "stream") || self.paths_of_stream.iter().any(|of| of == path) {
            true => RouteContext::OfStream,
            false => RouteContext::OfHttp,
        }
    }

    fn upstreams(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().flat_map(|(path, file)| {
            let blocks = file.statements.iter().filter(|statement| statement.is_upstream());
            blocks.map(move |block| (*path, block.words[1].value.as_str()))
        })
    }

    /// The names of all that anything can be passed to.
    fn all_passed(&self) -> BTreeSet<String> {
        let passes = self.files.iter().flat_map(|(_, file)| file.statements.iter().filter(|pass| is_pass(pass)));
        let targets = passes.flat_map(|pass| self.values(&pass.words[1].value, false, DEEPEST));
        targets.map(|target| name_in(&target).to_ascii_lowercase()).collect()
    }

    fn meant(&self, target: &str, context: RouteContext) -> Option<Meant> {
        let name = name_in(target);
        for (path, file) in &self.files {
            let is_it = |at: &usize| {
                let statement = &file.statements[*at];
                statement.is_upstream()
                    && statement.words[1].value.eq_ignore_ascii_case(name)
                    && self.context(path, file, statement) == context
            };
            let Some(at) = (0..file.statements.len()).find(is_it) else { continue };
            let upstream = file.upstream(at).ok()?;
            let plain = |server: &super::Server| super::grammar::bare(&server.address);
            let gets = |server: &&super::Server| !server.is_down && !server.is_backup && server.weight > 0;
            let now: Vec<String> = upstream.servers.iter().filter(gets).map(plain).collect();
            let idle = upstream.servers.iter().filter(|server| !gets(server)).map(plain).collect();
            return Some(Meant { name: upstream.name, file: Some((*path).to_owned()), now, idle });
        }
        let place = &target[place_in(target)];
        if let Some(socket) = target.find("unix:").map(|at| &target[at..]) {
            let path = socket.trim_start_matches("unix:").split(':').next().unwrap_or_default();
            let server = format!("unix:{path}");
            return Some(Meant { name: server.clone(), file: None, now: vec![server], idle: Vec::new() });
        }
        let is_address = !place.is_empty() && !place.contains('$');
        let has_port = place.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        let server = if has_port { place.to_owned() } else { format!("{place}:80") };
        is_address.then(|| Meant { name: place.to_owned(), file: None, now: vec![server], idle: Vec::new() })
    }

    /// The file in which a variable gets its word for all requests: that of the variable that a map looks at, where that has one.
    fn file_that_gives(&self, variable: &str) -> Option<String> {
        let of = |variable: &str| self.given().find(|(_, given)| given.variable == variable && given.is_for_all);
        let (path, given) = of(variable)?;
        let looked_at = given.entry.map(|(at, _)| at.trim_matches(MARKS));
        match looked_at.and_then(of) {
            Some((path, _)) => Some(path.to_owned()),
            None => Some(path.to_owned()),
        }
    }

    fn given(&self) -> impl Iterator<Item = (&str, Given<'_>)> {
        self.files.iter().flat_map(|(path, file)| file.given().map(move |given| (*path, given)))
    }

    /// What a word becomes: for all requests, or for any.
    fn values(&self, word: &str, is_for_all: bool, depth: usize) -> Vec<String> {
        let Some(place) = variable_in(word) else { return vec![word.to_owned()] };
        let name = word[place.clone()].trim_matches(MARKS);
        let words = if depth == 0 { Vec::new() } else { self.words_of(name, is_for_all) };
        if words.is_empty() {
            // What stands behind the place it leads to decides nothing: `http://shop$request_uri`.
            let before = &word[..place.start];
            let is_behind = before.find("://").is_some_and(|at| at + 3 < before.len());
            return if is_behind { vec![before.to_owned()] } else { Vec::new() };
        }
        let mut all: Vec<String> = Vec::new();
        for value in words {
            for value in self.values(&value, is_for_all, depth.saturating_sub(1)) {
                let whole = format!("{}{value}{}", &word[..place.start], &word[place.end..]);
                for whole in self.values(&whole, is_for_all, depth.saturating_sub(1)) {
                    if !all.contains(&whole) && all.len() < MOST {
                        all.push(whole);
                    }
                }
            }
        }
        all
    }

    fn words_of(&self, variable: &str, is_for_all: bool) -> Vec<String> {
        let own = || self.given().map(|(_, given)| given).filter(|given| given.variable == variable);
        if is_for_all {
            // A map that looks at a word that is known has that word's entry, and no default.
            let entry = own().find(|given| {
                given.entry.is_some_and(|(at, key)| {
                    let looked_at = at.trim_matches(MARKS);
                    looked_at != variable && self.words_of_all(looked_at).iter().any(|word| word == key)
                })
            });
            return match entry {
                Some(entry) => vec![entry.word.value.clone()],
                None => self.words_of_all(variable),
            };
        }
        own().map(|given| given.word.value.clone()).take(MOST).collect()
    }

    fn words_of_all(&self, variable: &str) -> Vec<String> {
        let own = self.given().map(|(_, given)| given);
        own.filter(|given| given.variable == variable && given.is_for_all)
            .map(|given| given.word.value.clone())
            .collect()
    }

    /// The `server` around a pass.
    fn frontage(&self, path: &str, file: &Parsed<'_>, pass: &Statement) -> Option<Frontage> {
        let mut location: Option<String> = None;
        let mut around = pass.parent;
        while let Some(at) = around {
            let block = &file.statements[at];
            if block.name() == "location" && location.is_none() {
                // A pattern is no path that anybody could ask for.
                let words: Vec<&str> = block.values().skip(1).collect();
                location = match words.as_slice() {
                    [path] | ["=" | "^~", path] if path.starts_with('/') => Some((*path).to_owned()),
                    _ => None,
                };
            }
            if block.name() == "server" {
                let own = |name: &'static str| file.children(at).filter(move |child| child.name() == name);
                let listens = own("listen").filter_map(|listen| {
                    let mut words = listen.values().skip(1);
                    let address = words.next()?.to_owned();
                    let rest: Vec<&str> = words.collect();
                    Some(Listening {
                        address,
                        is_tls: rest.contains(&"ssl"),
                        has_proxy_protocol: rest.contains(&"proxy_protocol"),
                    })
                });
                let names = own("server_name").flat_map(|names| names.values().skip(1));
                // A pattern, or what catches all others, is no name to ask by.
                let is_letter = |c: char| c.is_alphanumeric() || matches!(c, '.' | '-' | '_');
                let is_plain = |name: &&str| {
                    *name != "_" && name.starts_with(char::is_alphanumeric) && name.chars().all(is_letter)
                };
                return Some(Frontage {
                    file: path.to_owned(),
                    line: file.line_of(block.span.start),
                    listens: listens.collect(),
                    names: names.filter(is_plain).map(str::to_owned).collect(),
                    location: location.unwrap_or_else(|| "/".to_owned()),
                });
            }
            around = block.parent;
        }
        None
    }
}

/// Whom one would rather switch: what has both sides, and more who ask for it.
fn weighs(route: &Route) -> (bool, bool, usize) {
    let is_root = route.sites.iter().any(|site| site.location == "/");
    (route.beside.as_ref().is_some_and(|beside| !beside.is_guess), is_root, route.sites.len())
}

/// The files that a `stream` includes, by the folders of its patterns.
fn paths_of_stream(files: &[ConfigFile]) -> Vec<String> {
    let mut found = Vec::new();
    for (_, file) in parsed(files) {
        let includes = file.statements.iter().filter(|of| of.name() == "include" && file.is_in(of, "stream"));
        for pattern in includes.filter_map(|include| include.words.get(1)).map(|word| word.value.clone()) {
            let (before, behind) = pattern.split_once('*').unwrap_or((&pattern, ""));
            let is_it = |path: &&str| match pattern.contains('*') {
                true => path.starts_with(before) && path.ends_with(behind),
                false => *path == pattern,
            };
            found.extend(files.iter().map(|file| file.path.as_str()).filter(is_it).map(str::to_owned));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Vec<(String, Vec<String>, Vec<String>)> {
        let files = [ConfigFile { path: "/etc/nginx/x".into(), text: text.to_owned() }];
        let beside = |route: &Route| route.beside.clone().map(|beside| beside.servers).unwrap_or_default();
        routes(&files).into_iter().map(|route| (route.name.clone(), route.now.clone(), beside(&route))).collect()
    }

    fn one(name: &str, now: &[&str], beside: &[&str]) -> Vec<(String, Vec<String>, Vec<String>)> {
        let owned = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        vec![(name.to_owned(), owned(now), owned(beside))]
    }

    #[test]
    fn who_serves_and_who_could_is_read_from_every_layout() {
        let (a, b) = ("127.0.0.1:8080", "127.0.0.1:8081");
        let sides = "upstream shop_blue { server 127.0.0.1:8080; } upstream shop_green { server 127.0.0.1:8081; }\n";
        for (text, expected) in [
            ("upstream u { server 127.0.0.1:8080 down; server 127.0.0.1:8081 weight=9; } server { location / { proxy_pass http://u; } }".to_owned(), one("u", &[b], &[a])),
            ("upstream u { server 127.0.0.1:8081; } server { location / { proxy_pass http://u; } }".to_owned(), one("u", &[b], &[])),
            (format!("{sides}server {{ set $active shop_green; location / {{ proxy_pass http://$active; }} }}"), one("$active", &[b], &[a])),
            (format!("{sides}map $cookie_x $side {{ default green; on blue; }} server {{ location / {{ proxy_pass http://shop_$side; }} }}"), one("$side", &[b], &[a])),
            (format!("{sides}server {{ location / {{ proxy_pass http://shop_green$request_uri; }} }}"), one("shop_green", &[b], &[a])),
            ("server { set $url http://127.0.0.1:8081; location / { proxy_pass $url; } }".to_owned(), one("$url", &[b], &[])),
            ("server { location / { proxy_pass http://unix:/run/g.sock:/; } }".to_owned(), one("unix:/run/g.sock", &["unix:/run/g.sock"], &[])),
            ("upstream b { server 127.0.0.1:8080; } upstream g { server 127.0.0.1:8081; }\nmap $env $back { default b; blue b; green g; }\nmap $host $env { default green; }\nserver { location / { proxy_pass http://$back; } }".to_owned(), one("$back", &[b], &[a])),
            ("server { if ($x) { proxy_pass http://127.0.0.1:1; } }".to_owned(), vec![]),
        ] {
            assert_eq!(of(&text), expected, "{text}");
        }
    }

    /// The sites of tests/fixtures: in each of them it is seen where the requests for its upstream go.
    #[test]
    fn every_site_of_the_fixtures_has_its_route() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/nginx");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("the fixtures") {
            let path = entry.expect("a file").path();
            let text = std::fs::read_to_string(&path).expect("UTF-8");
            let found = of(&text);
            let (_, now, _) = found.first().unwrap_or_else(|| panic!("{}: no route", path.display()));
            assert!(!now.is_empty(), "{}: {found:?}", path.display());
            assert!(
                found.iter().any(|(name, ..)| name == "listings_backend" || name.starts_with('$')),
                "{}: {found:?}",
                path.display()
            );
            seen += 1;
        }
        assert!(seen > 10, "they are there");
    }

    #[test]
    fn what_only_checks_ask_is_no_route_of_its_own() {
        let text = "upstream u { server 127.0.0.1:8080 down; server 127.0.0.1:8081; } upstream b { server 127.0.0.1:8080; }\n\
                    server { location / { proxy_pass http://u; } location /b { proxy_pass http://b; } }";
        assert_eq!(of(text), one("u", &["127.0.0.1:8081"], &["127.0.0.1:8080"]));
    }
}
