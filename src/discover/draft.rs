//! From what hosts said to what a config would say of them: which upstream it is, who is blue and who is green, what keeps
//! each, the probe, the database, each host's roles. Pure. A guess is marked as one, and what is missing is told with what to
//! do about it; of several possible services one is drafted and the others are named.

use std::collections::BTreeMap;

use super::apps::{Keeper, ServedBy, is_on, kept_at, sibling};
use super::survey::{NginxSeen, SudoSeen, Survey};
use crate::hosts::facts::first_of;
use crate::nginx::{
    Clues, ConfigFile, FoundLayout, Frontage, OtherSide, Route, RouteContext, are_alike, find, other_colours, routes,
    same_address, sends_to,
};
use crate::nouns::colour::{Colour, Each};
use crate::nouns::inventory::Role;
use crate::nouns::names::{HostName, ServerAddress, SshDestination};
use crate::nouns::redact::printable;

/// A word of the config, and why it is no more than likely where it was guessed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Likely<T> {
    pub value: T,
    pub guess: Option<String>,
}

impl<T> Likely<T> {
    fn known(value: T) -> Likely<T> {
        Likely { value, guess: None }
    }
}

/// What whoever was asked has said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    pub service: Option<String>,
    pub candidate: Option<usize>,
    /// Whether the sides are the other way round.
    pub are_swapped: Option<WayRound>,
    pub database: Option<String>,
}

/// Which way round the sides are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WayRound {
    AsFound,
    OtherWay,
}

/// What could not be found out, as a question with its answers, the likeliest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenQuestion {
    pub about: About,
    pub question: String,
    pub answers: Vec<String>,
}

/// What a doubt is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum About {
    WhichService,
    WhichSide,
    WhichDatabase,
}

/// What is missing on a host, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    pub host: Option<HostName>,
    pub why: String,
    pub hint: Option<String>,
}

#[derive(Debug, Clone)]
pub struct HostDraft {
    pub name: HostName,
    pub ssh: SshDestination,
    pub roles: Vec<Role>,
}

#[derive(Debug, Clone)]
pub struct NginxDraft {
    pub container: Option<String>,
    /// The lines of `[nginx]` that say which file it is and in which way it decides.
    pub lines: Vec<String>,
    pub layout: String,
    pub is_stream: bool,
    pub probe: Likely<String>,
    pub probe_host: Option<String>,
    /// Other paths of it that may reach the service.
    pub location: String,
    pub proxy_protocol: ProxyProtocol,
    pub uses_sudo: UsesSudo,
    pub reload: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyProtocol {
    Asked,
    NotAsked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UsesSudo {
    Through,
    Without,
}

#[derive(Debug, Clone)]
pub struct SideDraft {
    pub servers: Likely<Vec<String>>,
    pub kept: Likely<ServedBy>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DatabaseDraft {
    pub name: Likely<String>,
    pub user: String,
    pub admin: String,
    pub container: Option<String>,
    pub backups: Option<Likely<String>>,
}

#[derive(Debug, Clone)]
pub struct Draft {
    pub service: Likely<String>,
    pub hosts: Vec<HostDraft>,
    pub nginx: NginxDraft,
    pub sides: Each<SideDraft>,
    pub database: Option<DatabaseDraft>,
    /// What was found and why, a line each.
    pub found: Vec<String>,
    /// What is not in the way, and should be known.
    pub remarks: Vec<String>,
    /// What a person could still be asked.
    pub doubts: Vec<OpenQuestion>,
}

impl Draft {
    /// Names of servers, which only the container that nginx runs in may know.
    pub fn names(&self) -> Vec<String> {
        let all = self.sides.blue.servers.value.iter().chain(&self.sides.green.servers.value);
        let named = |server: &String| Some(ServerAddress::new(server.as_str()).ok()?.name()?.to_owned());
        all.filter_map(named).collect()
    }
}

/// A route with both its sides.
#[derive(Debug, Clone)]
struct Pair {
    route: Route,
    now: Vec<String>,
    other: Vec<String>,
    other_why: String,
    is_guess: bool,
    /// The words by which the sides go in nginx's files.
    words: (String, String),
    /// The files of the sides, where a link or a copy decides: what serves, and the other.
    side_files: Option<(ConfigFile, ConfigFile)>,
}

/// One service that could be meant.
#[derive(Debug, Clone)]
struct Possible {
    balancer: usize,
    nginx: usize,
    pairs: Vec<Pair>,
}

/// Everything there is to say, or everything that is missing.
///
/// # Errors
/// All that stands in the way of any config.
pub fn draft(surveys: &[Survey], variables: &BTreeMap<String, String>, wishes: &Wishes) -> Result<Draft, Vec<Missing>> {
    let mut missing = Vec::new();
    let mut possible = Vec::new();
    let mut halves = Vec::new();
    for (balancer, survey) in surveys.iter().enumerate() {
        for (nginx, seen) in survey.nginxes.iter().enumerate() {
            let (whole, half) = pairs(surveys, survey, seen);
            possible.extend(grouped(survey, whole).into_iter().map(|pairs| Possible { balancer, nginx, pairs }));
            halves.extend(half.into_iter().map(|missing| (balancer, missing)));
        }
    }
    if possible.is_empty() {
        missing.extend(without_nginx(surveys));
        missing.extend(halves.into_iter().map(|(_, missing)| missing));
        if missing.is_empty() {
            missing.push(Missing {
                host: None,
                why: "nginx passes requests to nobody on these hosts: no proxy_pass, and nothing like it".to_owned(),
                hint: Some(format!("ssh {} sudo nginx -T", surveys.first().map_or("HOST", |one| one.ssh.as_str()))),
            });
        }
        return Err(missing);
    }
    // Of two balancers with the same service it is one.
    let mut services: Vec<&Possible> = Vec::new();
    for one in &possible {
        if !services.iter().any(|known| is_same(known, one)) {
            services.push(one);
        }
    }
    services.sort_by_key(|one| std::cmp::Reverse(worth(one)));
    let at = wishes.candidate.unwrap_or_default().min(services.len() - 1);
    let chosen = services[at];
    let mut drafting = Drafting {
        surveys,
        variables,
        wishes,
        survey: &surveys[chosen.balancer],
        seen: &surveys[chosen.balancer].nginxes[chosen.nginx],
        found: Vec::new(),
        remarks: Vec::new(),
        doubts: Vec::new(),
        missing: Vec::new(),
    };
    if let Some(why) = &drafting.seen.refused {
        drafting.remarks.push(format!(
            "{}: nginx -T was refused ({}); its files were read as far as {} may",
            drafting.survey.name,
            why.lines().next_back().unwrap_or("it says nothing"),
            drafting.survey.user
        ));
    }
    if services.len() > 1 {
        let names: Vec<String> = services.iter().map(|one| title(one)).collect();
        let others: Vec<&str> =
            names.iter().enumerate().filter(|(place, _)| *place != at).map(|(_, name)| name.as_str()).collect();
        drafting.remarks.push(format!(
            "guessed: {} is the service that is meant; nginx sends to others, too: {}",
            names[at],
            others.join("; ")
        ));
        drafting.doubts.push(OpenQuestion {
            about: About::WhichService,
            question: "Which of them is the service?".to_owned(),
            answers: names,
        });
    }
    let balancers: Vec<usize> = (0..surveys.len())
        .filter(|index| possible.iter().any(|one| one.balancer == *index && is_same(one, chosen)))
        .collect();
    for (index, half) in halves {
        if !balancers.contains(&index) && surveys[index].listeners.is_empty() {
            drafting.missing.push(half);
        }
    }
    drafting.whole(chosen, &balancers)
}

/// Why no nginx says anything, host by host.
fn without_nginx(surveys: &[Survey]) -> Vec<Missing> {
    let of = |survey: &Survey| {
        let refused = survey.nginxes.iter().find_map(|seen| seen.refused.as_ref().map(|why| (seen, why)));
        if let Some((_, why)) = refused {
            let line = format!("{} ALL=(root) NOPASSWD: /usr/sbin/nginx -T", survey.user);
            return Some(Missing {
                host: Some(survey.name.clone()),
                why: format!(
                    "{} may not read what nginx has loaded: {}",
                    survey.user,
                    why.lines().next_back().unwrap_or("it says nothing")
                ),
                hint: Some(format!("in a file below /etc/sudoers.d on {}: {line}", survey.name)),
            });
        }
        survey.nginxes.is_empty().then(|| Missing {
            host: Some(survey.name.clone()),
            why: "no nginx runs there, neither on the host nor in a container that this account can see".to_owned(),
            hint: Some(format!("rollback-prod init {} BALANCER: name the host that nginx runs on, too", survey.ssh)),
        })
    };
    surveys.iter().filter_map(of).collect()
}

/// The routes of an nginx that have two sides; and of each other one what is missing.
fn pairs(surveys: &[Survey], survey: &Survey, seen: &NginxSeen) -> (Vec<Pair>, Vec<Missing>) {
    let routes = routes(&seen.files);
    let mut taken: Vec<String> = Vec::new();
    for route in &routes {
        taken.extend(route.now.iter().chain(route.beside.iter().flat_map(|beside| &beside.servers)).cloned());
    }
    let (mut whole, mut missing) = (Vec::new(), Vec::new());
    for route in routes {
        match pair(surveys, survey, seen, &route, &taken) {
            Ok(pair) => {
                taken.extend(pair.other.iter().cloned());
                whole.push(pair);
            }
            Err(why) => missing.push(Missing {
                host: Some(survey.name.clone()),
                why: format!("{}: {why}", route.name),
                hint: Some(
                    "start the other side once, beside the one that serves, and run init again; or write its servers \
                     into nginx's upstream as `down`"
                        .to_owned(),
                ),
            }),
        }
    }
    (whole, missing)
}

fn pair(
    surveys: &[Survey],
    survey: &Survey,
    seen: &NginxSeen,
    route: &Route,
    taken: &[String],
) -> Result<Pair, String> {
    let made = |now: Vec<String>, beside: OtherSide, side_files| Pair {
        route: route.clone(),
        now,
        other: beside.servers,
        other_why: beside.why,
        is_guess: beside.is_guess,
        words: (route.by.clone(), beside.by),
        side_files,
    };
    // What a link to a side's file says is that side's own: the link decides, whatever word stands behind it.
    if let Some((own, other)) = linked_sides(seen, route) {
        let sent = sends_to(&other.text);
        let known = route.beside.as_ref().map(|beside| beside.servers.clone()).unwrap_or_default();
        let servers = if sent.is_empty() { known } else { sent };
        if !servers.is_empty() {
            let why = format!("{} lies beside {}, and is the other one's name", other.path, own.path);
            let beside = OtherSide { servers, by: other.path.clone(), why, is_guess: false };
            let words = (own.path.clone(), other.path.clone());
            return Ok(Pair { words, ..made(route.now.clone(), beside, Some((own, other))) });
        }
    }
    if let Some(beside) = &route.beside {
        return Ok(made(route.now.clone(), beside.clone(), None));
    }
    let app_of = |server: &String| {
        let host = surveys.iter().find(|other| is_on(other, server, other.name == survey.name))?;
        Some((host, kept_at(host, server)?))
    };
    // Both get requests: then their names tell them apart, as in the middle of a switch.
    if route.now.len() > 1 {
        let label =
            |server: &String| format!("{server} {}", app_of(server).map(|(_, kept)| kept.label).unwrap_or_default());
        let of = |word: &str| -> Vec<String> {
            route.now.iter().filter(|server| label(server).to_lowercase().contains(word)).cloned().collect()
        };
        let (blue, green) = (of("blue"), of("green"));
        if !blue.is_empty() && !green.is_empty() && blue.len() + green.len() == route.now.len() {
            let why = "both get requests now, and their names tell them apart".to_owned();
            let beside = OtherSide { servers: blue, by: "blue".into(), why, is_guess: false };
            return Ok(Pair { words: ("green".into(), "blue".into()), ..made(green, beside, None) });
        }
    }
    if let Some((own, other)) = side_files(seen, route) {
        let servers: Vec<String> = sends_to(&other.text);
        let why = format!("{} lies beside {} and is like it", other.path, own.path);
        let is_guess = other_colours(file_name(&own.path)).is_none_or(|name| name != file_name(&other.path));
        let beside = OtherSide { servers, by: other.path.clone(), why, is_guess };
        let words = (own.path.clone(), other.path.clone());
        return Ok(Pair { words, ..made(route.now.clone(), beside, Some((own, other))) });
    }
    // The other side stands nowhere in nginx's files: it may run all the same.
    let mut others = Vec::new();
    let mut reason = (String::new(), false);
    for server in &route.now {
        let Some((host, kept)) = app_of(server) else {
            return Err(match surveys.iter().any(|other| is_on(other, server, other.name == survey.name)) {
                true => format!("it sends to {server}, where nobody listens that is known here, and to nobody else"),
                false => format!("it sends to {server}, which is on none of these hosts, and to nobody else"),
            });
        };
        let known: Vec<String> = taken.iter().chain(&others).cloned().collect();
        let Some(found) = sibling(host, server, &kept, &known) else {
            return Err(format!(
                "one side only: it sends to {server} ({}), and nothing on {} is its other side",
                kept.label, host.name
            ));
        };
        reason = (found.why, found.is_guess);
        others.push(found.server);
    }
    let (why, is_guess) = reason;
    Ok(made(route.now.clone(), OtherSide { servers: others, by: String::new(), why, is_guess }, None))
}

/// Where a link leads that could lead elsewhere: one to a file of its own name only says that a site is enabled.
fn turned<'s>(seen: &'s NginxSeen, route: &Route) -> Option<&'s String> {
    seen.links.get(&route.file).filter(|real| file_name(real) != file_name(&route.file))
}

/// The file that a link leads to and that of the other colour's name, which lies beside it.
fn linked_sides(seen: &NginxSeen, route: &Route) -> Option<(ConfigFile, ConfigFile)> {
    let real = turned(seen, route)?;
    let name = other_colours(file_name(real))?;
    let folder = real.strip_suffix(file_name(real))?;
    let own = seen.files.iter().find(|file| file.path == route.file)?;
    let other = seen.beside.iter().find(|file| file.path == format!("{folder}{name}"))?;
    Some((ConfigFile { path: real.clone(), text: own.text.clone() }, other.clone()))
}

/// The files of both sides, where what decides is a link to one of them, or a copy.
fn side_files(seen: &NginxSeen, route: &Route) -> Option<(ConfigFile, ConfigFile)> {
    let text = &seen.files.iter().find(|file| file.path == route.file)?.text;
    let own = match turned(seen, route) {
        Some(real) => ConfigFile { path: real.clone(), text: text.clone() },
        None => seen.beside.iter().find(|file| file.path != route.file && file.text.trim() == text.trim())?.clone(),
    };
    let sent = sends_to(&own.text);
    let is_other = |file: &&ConfigFile| {
        let others = sends_to(&file.text);
        file.path != own.path
            && file.path != route.file
            && !seen.links.contains_key(&file.path)
            && !others.is_empty()
            && others.iter().all(|one| !sent.iter().any(|own| same_address(own, one)))
    };
    let named = other_colours(file_name(&own.path));
    let by_name = seen.beside.iter().filter(is_other).find(|file| named.as_deref() == Some(file_name(&file.path)));
    let mut alike = seen.beside.iter().filter(is_other).filter(|file| are_alike(&file.text, &own.text));
    let other = by_name.or_else(|| alike.next().filter(|_| alike.next().is_none()))?;
    Some((own, other.clone()))
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Those that one site passes to and that the same programs serve are one service.
fn grouped(survey: &Survey, pairs: Vec<Pair>) -> Vec<Vec<Pair>> {
    let keepers = |pair: &Pair| {
        let of =
            |servers: &[String]| servers.first().and_then(|server| kept_at(survey, server)).map(|kept| kept.keeper);
        (of(&pair.now), of(&pair.other))
    };
    let mut groups: Vec<Vec<Pair>> = Vec::new();
    for pair in pairs {
        let own = keepers(&pair);
        let is_one = |group: &&mut Vec<Pair>| {
            let meets = |site: &Frontage| {
                let places =
                    |of: &Pair| of.route.sites.iter().any(|other| other.file == site.file && other.line == site.line);
                group.iter().any(places)
            };
            let is_upstream = |of: &Pair| of.side_files.is_none() && !of.route.name.starts_with('$');
            own.0.is_some()
                && pair.route.sites.iter().any(meets)
                && is_upstream(&pair)
                && group.iter().all(|other| is_upstream(other) && keepers(other) == own)
        };
        match groups.iter_mut().find(is_one) {
            Some(group) => group.push(pair),
            None => groups.push(vec![pair]),
        }
    }
    groups
}

fn is_same(one: &Possible, other: &Possible) -> bool {
    let servers = |of: &Possible| -> Vec<String> {
        of.pairs.iter().flat_map(|pair| pair.now.iter().chain(&pair.other)).cloned().collect()
    };
    let (a, b) = (servers(one), servers(other));
    one.pairs.len() == other.pairs.len() && a.iter().all(|one| b.iter().any(|other| same_address(one, other)))
}

/// The likelier service: known sides, all paths of its site, more sites, and no address of an admin's tool.
fn worth(one: &Possible) -> (usize, usize, usize) {
    let sites = || one.pairs.iter().flat_map(|pair| &pair.route.sites);
    let known = usize::from(one.pairs.iter().all(|pair| !pair.is_guess));
    (known, sites().filter(|site| site.location == "/").count(), sites().count())
}

fn title(one: &Possible) -> String {
    let names: Vec<&str> = one.pairs.iter().map(|pair| pair.route.name.as_str()).collect();
    let site = one.pairs.iter().flat_map(|pair| &pair.route.sites).find_map(|site| site.names.first());
    let now: Vec<&str> = one.pairs.iter().flat_map(|pair| &pair.now).map(String::as_str).collect();
    match site {
        Some(site) => format!("{} of {site}, which sends to {}", names.join(" and "), now.join(", ")),
        None => format!("{}, which sends to {}", names.join(" and "), now.join(", ")),
    }
}

struct Drafting<'a> {
    surveys: &'a [Survey],
    variables: &'a BTreeMap<String, String>,
    wishes: &'a Wishes,
    /// The balancer that is described.
    survey: &'a Survey,
    seen: &'a NginxSeen,
    found: Vec<String>,
    remarks: Vec<String>,
    doubts: Vec<OpenQuestion>,
    missing: Vec<Missing>,
}

impl Drafting<'_> {
    fn lacks(&mut self, host: Option<&HostName>, why: String, hint: Option<String>) {
        self.missing.push(Missing { host: host.cloned(), why, hint });
    }

    fn whole(mut self, chosen: &Possible, balancers: &[usize]) -> Result<Draft, Vec<Missing>> {
        let (now, guess) = self.colour_of_now(&chosen.pairs);
        let own = |pair: &Pair, colour: Colour| if colour == now { pair.now.clone() } else { pair.other.clone() };
        let servers = Each::from(|colour| chosen.pairs.iter().flat_map(|pair| own(pair, colour)).collect::<Vec<_>>());
        for pair in &chosen.pairs {
            self.found.push(format!(
                "{}: {} sends to {} now, which is {now}; {} is {}: {}",
                self.survey.name,
                pair.route.name,
                pair.now.join(", "),
                pair.other.join(", "),
                now.other(),
                pair.other_why
            ));
        }
        if let Some(guess) = &guess {
            self.doubts.push(OpenQuestion {
                about: About::WhichSide,
                question: format!(
                    "{} serves now. Is that green, the release that a rollback takes out?",
                    own(&chosen.pairs[0], now).join(", ")
                ),
                answers: vec![format!("yes: {guess}"), "no, it is blue".to_owned()],
            });
        }
        let is_guess = chosen.pairs.iter().any(|pair| pair.is_guess);
        let other_guess =
            is_guess.then(|| chosen.pairs.iter().map(|pair| pair.other_why.as_str()).collect::<Vec<_>>().join("; "));
        let kept = Each::from(|colour| self.kept(colour, servers.of(colour)));
        let roles = self.roles(balancers, &servers);
        let service = self.service(&kept, &chosen.pairs);
        let database = self.database(&kept, &service.value);
        let nginx = self.nginx(chosen, &servers, now);
        let (Some(blue), Some(green), Some(nginx)) = (kept.blue, kept.green, nginx) else { return Err(self.missing) };
        self.one_process(&blue.value, &green.value);
        if !self.missing.is_empty() {
            return Err(self.missing);
        }
        let kept = Each { blue, green };
        let sides = Each::from(|colour| {
            let guess = match colour == now {
                true => guess.clone(),
                false => other_guess.clone().or_else(|| guess.clone()),
            };
            let servers = Likely { value: servers.of(colour).clone(), guess };
            SideDraft { servers, kept: kept.of(colour).clone() }
        });
        let mut hosts = roles;
        if let Some((host, _)) = &database {
            for draft in &mut hosts {
                if draft.name == *host {
                    draft.roles.push(Role::Database);
                }
            }
        }
        let database = database.map(|(_, database)| database);
        for host in &hosts {
            if host.roles.is_empty() {
                self.remarks.push(format!("{}: nothing of the service was found there, so it is left out", host.name));
            }
        }
        hosts.retain(|host| !host.roles.is_empty());
        let Drafting { found, remarks, doubts, .. } = self;
        Ok(Draft { service, hosts, nginx, sides, database, found, remarks, doubts })
    }

    /// Whose colour serves: what the names say, else green, since a rollback takes out what was put there last.
    fn colour_of_now(&self, pairs: &[Pair]) -> (Colour, Option<String>) {
        let says = |words: &[String]| {
            let has = |colour: &str| words.iter().any(|word| word.to_lowercase().contains(colour));
            match (has("blue"), has("green")) {
                (true, false) => Some(Colour::Blue),
                (false, true) => Some(Colour::Green),
                (_, _) => None,
            }
        };
        let labels = |servers: &[String]| -> Vec<String> {
            servers.iter().filter_map(|server| self.app_at(server)).map(|(_, kept)| kept.label).collect()
        };
        let now: Vec<String> = pairs.iter().flat_map(|pair| labels(&pair.now)).collect();
        let other: Vec<String> = pairs.iter().flat_map(|pair| labels(&pair.other)).collect();
        let words_now: Vec<String> = pairs.iter().map(|pair| pair.words.0.clone()).collect();
        let words_other: Vec<String> = pairs.iter().map(|pair| pair.words.1.clone()).collect();
        let servers = |of: fn(&Pair) -> &Vec<String>| pairs.iter().flat_map(of).cloned().collect::<Vec<String>>();
        let of_variables = || {
            let port = |name: &str| self.variables.get(name)?.parse::<u16>().ok();
            let is = |port: u16| {
                let now = servers(|pair| &pair.now);
                now.iter().any(|server| ServerAddress::new(server).ok().and_then(|one| one.port()) == Some(port))
            };
            let colour = |colour: Colour, name: &str| port(name).filter(|port| is(*port)).map(|_| colour);
            colour(Colour::Blue, "BLUE_PORT").or_else(|| colour(Colour::Green, "GREEN_PORT"))
        };
        let said = says(&words_now)
            .or_else(|| says(&words_other).map(Colour::other))
            .or_else(|| says(&now))
            .or_else(|| says(&other).map(Colour::other))
            .or_else(|| says(&servers(|pair| &pair.now)))
            .or_else(|| says(&servers(|pair| &pair.other)).map(Colour::other))
            .or_else(of_variables);
        match (said, self.wishes.are_swapped) {
            (Some(colour), _) => (colour, None),
            (None, Some(WayRound::OtherWay)) => (Colour::Blue, None),
            (None, Some(WayRound::AsFound)) => (Colour::Green, None),
            (None, None) => {
                (Colour::Green, Some("no name says a colour; who serves now is what a rollback takes out".to_owned()))
            }
        }
    }

    fn app_at(&self, server: &str) -> Option<(&Survey, ServedBy)> {
        let on = self.surveys.iter().filter(|survey| is_on(survey, server, survey.name == self.survey.name));
        on.filter_map(|survey| Some((survey, kept_at(survey, server)?))).next()
    }

    /// What keeps a colour: the same for all its servers.
    fn kept(&mut self, colour: Colour, servers: &[String]) -> Option<Likely<ServedBy>> {
        let mut first: Option<ServedBy> = None;
        for server in servers {
            let Some((host, kept)) = self.app_at(server).map(|(host, kept)| (host.name.clone(), kept)) else {
                let is_known = self.surveys.iter().any(|of| is_on(of, server, of.name == self.survey.name));
                let (why, hint) = match is_known {
                    true => (
                        format!(
                            "{colour}'s {server}: nobody listens there, and no unit or container names it; what it runs by is not known"
                        ),
                        "start it once, as a deploy does, and run init again".to_owned(),
                    ),
                    false => (
                        format!("{colour}'s {server} is on none of these hosts"),
                        format!("rollback-prod init {} APP-HOST: name the host that it is on, too", self.names()),
                    ),
                };
                self.lacks(None, why, Some(hint));
                return None;
            };
            match &first {
                None => {
                    self.found.push(format!("{host}: {colour} at {server} is {}: {}", label(&kept.keeper), kept.why));
                    first = Some(kept);
                }
                Some(known) if is_one_keeper(&known.keeper, &kept.keeper) => {}
                Some(known) => self.remarks.push(format!(
                    "{colour}'s {server} is kept by {}, and not by {}: a config has one for each side",
                    label(&kept.keeper),
                    label(&known.keeper)
                )),
            }
        }
        first.map(|kept| match &kept.keeper {
            Keeper::Process { .. } => {
                let guess = "nothing that keeps it was found; the line is the one that it was started with".to_owned();
                Likely { value: kept, guess: Some(guess) }
            }
            Keeper::Unit(_) | Keeper::Container(_) | Keeper::Service { .. } | Keeper::Supervisor { .. }
                if kept.pids.is_empty() && kept.why.contains("in its command") =>
            {
                let guess = kept.why.clone();
                Likely { value: kept, guess: Some(guess) }
            }
            Keeper::Unit(_) | Keeper::Container(_) | Keeper::Service { .. } | Keeper::Supervisor { .. } => {
                Likely::known(kept)
            }
        })
    }

    fn names(&self) -> String {
        self.surveys.iter().map(|survey| survey.ssh.as_str()).collect::<Vec<_>>().join(" ")
    }

    /// To stop one must not stop the other.
    fn one_process(&mut self, blue: &ServedBy, green: &ServedBy) {
        let is_one = match (&blue.keeper, &green.keeper) {
            (Keeper::Process { .. }, Keeper::Process { .. }) => false,
            (one, other) => one == other,
        };
        let common = blue.pids.iter().find(|pid| green.pids.contains(pid));
        let name = self.survey.name.clone();
        match (common, is_one) {
            (Some(pid), _) => self.lacks(
                Some(&name),
                format!(
                    "both colours are one process (pid {pid}, {}): to stop green would stop blue",
                    label(&blue.keeper)
                ),
                Some("give each side a process of its own, and run init again".to_owned()),
            ),
            (None, true) => self.lacks(
                Some(&name),
                format!("both colours are {}: to stop green would stop blue", label(&blue.keeper)),
                Some("give each side a unit or a container of its own, and run init again".to_owned()),
            ),
            (None, false) => {}
        }
    }

    fn roles(&mut self, balancers: &[usize], servers: &Each<Vec<String>>) -> Vec<HostDraft> {
        let own = self.survey.name.clone();
        let all: Vec<&String> = servers.blue.iter().chain(&servers.green).collect();
        let of = |(index, survey): (usize, &Survey)| {
            let is_balancer = balancers.contains(&index);
            let is_beside = is_balancer || survey.name == own;
            let is_app = all.iter().any(|server| is_on(survey, server, is_beside) && kept_at(survey, server).is_some());
            let roles = [(is_balancer, Role::Balancer), (is_app, Role::App)];
            let roles = roles.into_iter().filter(|(is, _)| *is).map(|(_, role)| role).collect();
            HostDraft { name: survey.name.clone(), ssh: survey.ssh.clone(), roles }
        };
        self.surveys.iter().enumerate().map(of).collect()
    }

    /// Which file decides, and in which way.
    fn nginx(&mut self, chosen: &Possible, servers: &Each<Vec<String>>, now: Colour) -> Option<NginxDraft> {
        let first = &chosen.pairs[0];
        let route = &first.route;
        let real = |path: &str| self.seen.links.get(path).cloned().unwrap_or_else(|| path.to_owned());
        let behind = real(&route.file);
        let clues =
            Clues { named: &route.file, behind: &behind, is_link: false, loaded: &self.seen.files, beside: &[] };
        let name = self.survey.name.clone();
        let of_files = first.side_files.as_ref().map(|(own, other)| {
            let (blue, green) = if now == Colour::Blue { (own, other) } else { (other, own) };
            let (what, switch) = match turned(self.seen, route).is_some() {
                true => ("a link to a file of each side", "link"),
                false => ("a copy of a file of each side", "file"),
            };
            let lines = [("switch", switch), ("blue", &blue.path), ("green", &green.path)];
            let lines = lines.into_iter().map(|(key, value)| format!("{key} = {}", quoted(value))).collect();
            FoundLayout { what, lines }
        });
        let Some(layout) = of_files.or_else(|| find(clues, servers)) else {
            self.lacks(
                Some(&name),
                format!("in which way {behind} decides between {} and {} is none that is known here", servers.blue.join(", "), servers.green.join(", ")),
                Some("docs/layouts.md has those that are; write [nginx] by hand, and `rollback-prod check` says what it is missing".to_owned()),
            );
            return None;
        };
        let is_by_files = first.side_files.is_some();
        let mut lines = layout.lines;
        let said = lines.iter().position(|line| line.starts_with("file = "));
        let file = match said {
            Some(at) => real(lines.remove(at).trim_start_matches("file = ").trim_matches('"')),
            None if is_by_files => route.file.clone(),
            None => behind.clone(),
        };
        // Upstreams of one service in several files are changed as one.
        let files: Vec<String> = chosen.pairs.iter().fold(Vec::new(), |mut files, pair| {
            let path = real(&pair.route.file);
            if !files.contains(&path) {
                files.push(path);
            }
            files
        });
        if files.len() > 1 {
            let names: Vec<String> = chosen.pairs.iter().map(|pair| pair.route.name.clone()).collect();
            lines.retain(|line| !line.starts_with("upstream"));
            lines.insert(0, format!("upstreams = {}", list(&names)));
            lines.insert(0, format!("files = {}", list(&files)));
        } else {
            lines.insert(0, format!("file = {}", quoted(&file)));
        }
        let is_stream = route.context == RouteContext::OfStream;
        if is_stream {
            lines.push("context = \"stream\"".to_owned());
        }
        self.found.push(format!(
            "{name}: {} says who serves ({}), and it is {now} now",
            files.join(" and "),
            layout.what
        ));
        let sites: Vec<&Frontage> = chosen.pairs.iter().flat_map(|pair| &pair.route.sites).collect();
        let asked = self.probe(&sites, is_stream);
        let reload = self.reload();
        let is_privileged = match self.survey.sudo {
            SudoSeen::NotNeeded | SudoSeen::NotInstalled => UsesSudo::Without,
            SudoSeen::Everything | SudoSeen::Something | SudoSeen::Nothing => UsesSudo::Through,
        };
        Some(NginxDraft {
            container: self.seen.container.clone(),
            lines,
            layout: layout.what.to_owned(),
            is_stream,
            probe: asked.url,
            probe_host: asked.host,
            location: asked.location,
            proxy_protocol: asked.proxy_protocol,
            uses_sudo: is_privileged,
            reload,
        })
    }

    /// How nginx's users reach the site, from the host itself: rather without TLS, and rather all of it than a part.
    fn probe(&self, sites: &[&Frontage], is_stream: bool) -> Probed {
        let mut ways: Vec<Probed> = Vec::new();
        for site in sites {
            for listen in &site.listens {
                let Some(place) = self.reached(&listen.address, listen.is_tls) else { continue };
                let location = if is_stream { "/".to_owned() } else { site.location.clone() };
                let proxy_protocol =
                    if listen.has_proxy_protocol { ProxyProtocol::Asked } else { ProxyProtocol::NotAsked };
                ways.push(Probed {
                    url: Likely::known(format!("{place}{location}")),
                    host: site.names.first().cloned(),
                    location,
                    proxy_protocol,
                });
            }
        }
        let ease = |way: &Probed| {
            let is_v6 = way.url.value.contains("[::1]");
            (way.location != "/", way.proxy_protocol == ProxyProtocol::Asked, way.url.value.starts_with("https"), is_v6)
        };
        ways.sort_by_key(ease);
        let host = sites.iter().find_map(|site| site.names.first().cloned()).filter(|_| !is_stream);
        let location = sites.first().map_or_else(|| "/".to_owned(), |site| site.location.clone());
        let guess = Some("no `listen` that can be asked from the host was found".to_owned());
        ways.into_iter().next().unwrap_or(Probed {
            url: Likely { value: format!("http://127.0.0.1{location}"), guess },
            host,
            location,
            proxy_protocol: ProxyProtocol::NotAsked,
        })
    }

    /// `http://127.0.0.1:8080` for a `listen`.
    fn reached(&self, address: &str, is_tls: bool) -> Option<String> {
        if address.starts_with("unix:") {
            return None;
        }
        let scheme = if is_tls { "https" } else { "http" };
        let usual = if is_tls { 443 } else { 80 };
        let (host, port) = match address.parse::<u16>() {
            Ok(port) => ("127.0.0.1".to_owned(), port),
            Err(_) => {
                let (host, port) = match address.rsplit_once(':').filter(|_| !address.ends_with(']')) {
                    Some((host, port)) => (host, port.parse().ok()?),
                    None => (address, 80),
                };
                let host = match host {
                    "*" | "0.0.0.0" | "localhost" => "127.0.0.1",
                    "[::]" => "[::1]",
                    other => other,
                };
                (host.to_owned(), port)
            }
        };
        let port = match self
            .seen
            .container
            .as_ref()
            .and_then(|name| self.survey.containers.iter().find(|of| of.name == *name))
        {
            // A network of its own: what the host has of it is published.
            Some(container) if !container.inside.is_empty() => *container.inside.get(&port)?,
            Some(_) | None => port,
        };
        Some(if port == usual { format!("{scheme}://{host}") } else { format!("{scheme}://{host}:{port}") })
    }

    /// How nginx is told, where that is not by the unit that is called nginx.
    fn reload(&self) -> Option<String> {
        if self.seen.container.is_some() {
            return None;
        }
        let is_nginx = |name: &str| name.contains("nginx") || name.contains("openresty");
        let own: Vec<_> = self
            .survey
            .listeners
            .iter()
            .filter(|of| is_nginx(file_name(of.program())) && !of.program().ends_with("-proxy"))
            .cloned()
            .collect();
        let first = first_of(&own)?;
        match first.unit() {
            Some("nginx.service") => None,
            Some(unit) if is_nginx(unit) => Some(format!("systemctl reload {}", unit.trim_end_matches(".service"))),
            Some(_) | None => Some("nginx -s reload".to_owned()),
        }
    }

    /// How the service is called: what its sides have in common.
    fn service(&self, kept: &Each<Option<Likely<ServedBy>>>, pairs: &[Pair]) -> Likely<String> {
        if let Some(name) = &self.wishes.service {
            return Likely::known(name.clone());
        }
        if let Some(name) = ["SERVICE", "SERVICE_NAME", "APP_NAME"].iter().find_map(|name| self.variables.get(*name)) {
            return Likely::known(plain_name(name));
        }
        let label = |side: &Option<Likely<ServedBy>>| side.as_ref().map(|kept| file_name(&kept.value.label).to_owned());
        let common = match (label(&kept.blue), label(&kept.green)) {
            (Some(blue), Some(green)) => {
                without_colour(&blue).filter(|name| without_colour(&green).as_ref() == Some(name))
            }
            (_, _) => None,
        };
        let guess = |of: String, why: &str| Likely { value: of, guess: Some(why.to_owned()) };
        if let Some(Keeper::Service { project: Some(project), .. }) = kept.blue.as_ref().map(|kept| &kept.value.keeper)
        {
            return guess(plain_name(project), "the name of its compose project");
        }
        if let Some(name) = common.filter(|name| !SAYS_NOTHING.contains(&name.as_str())) {
            return guess(name, "what both sides' names have in common");
        }
        let upstream = pairs[0].route.name.trim_start_matches('$');
        let upstream = if pairs[0].route.name.starts_with('$') { pairs[0].words.0.as_str() } else { upstream };
        let stem = without_colour(upstream).unwrap_or_else(|| plain_name(upstream));
        let is_address =
            stem.starts_with(|c: char| c.is_ascii_digit()) || stem.starts_with("unix") || stem.starts_with("http");
        if !stem.is_empty() && !is_address && !SAYS_NOTHING.contains(&stem.as_str()) {
            return guess(stem, "the name of its upstream");
        }
        let site = pairs.iter().flat_map(|pair| &pair.route.sites).find_map(|site| site.names.first());
        match site.and_then(|site| site.split('.').find(|part| *part != "www")) {
            Some(name) => guess(plain_name(name), "the name of its site"),
            None => guess("service".to_owned(), "nothing has a name"),
        }
    }

    /// The database that the application uses, else the only one, else the one that is called like it.
    fn database(&mut self, kept: &Each<Option<Likely<ServedBy>>>, service: &str) -> Option<(HostName, DatabaseDraft)> {
        let all: Vec<(&Survey, &super::survey::DatabaseSeen)> = self
            .surveys
            .iter()
            .flat_map(|survey| survey.databases.iter().map(move |database| (survey, database)))
            .filter(|(_, database)| database.name != database.admin && database.name != "postgres")
            .filter(|(_, database)| {
                ["_before_", "_copy_", "_undone_", "_drill_"].iter().all(|mark| !database.name.contains(mark))
            })
            .collect();
        if all.is_empty() {
            return None;
        }
        let of_app = Colour::BOTH.into_iter().find_map(|colour| kept.of(colour).as_ref()?.value.database.clone());
        let wished = self.wishes.database.clone().or_else(|| {
            ["DB_NAME", "DATABASE_NAME", "POSTGRES_DB", "PGDATABASE"]
                .iter()
                .find_map(|name| self.variables.get(*name).cloned())
        });
        if wished.as_deref() == Some("none") {
            return None;
        }
        let named = |name: &str| all.iter().find(|(_, database)| database.name == name);
        let like =
            || all.iter().filter(|(_, database)| database.name.starts_with(service)).max_by_key(|(_, of)| of.bytes);
        let (chosen, guess) =
            match (wished.as_deref().and_then(named), of_app.as_ref().and_then(|(name, _)| named(name))) {
                (Some(wished), _) => (wished, None),
                (None, Some(used)) => (used, None),
                (None, None) => match (all.as_slice(), like()) {
                    ([_], _) => (&all[0], Some("the only database there".to_owned())),
                    (_, Some(like)) => (like, Some(format!("it is called like {service}"))),
                    (several, None) => {
                        (several.iter().max_by_key(|(_, of)| of.bytes)?, Some("the largest of several".to_owned()))
                    }
                },
            };
        let (survey, database) = *chosen;
        if guess.is_some() && all.len() > 1 {
            let mut answers: Vec<String> = vec![database.name.clone()];
            answers.extend(all.iter().map(|(_, of)| of.name.clone()).filter(|name| *name != database.name));
            answers.push("none".to_owned());
            self.doubts.push(OpenQuestion {
                about: About::WhichDatabase,
                question: "Which is its database?".to_owned(),
                answers,
            });
        }
        self.found.push(format!(
            "{}: database {} of {}{}",
            survey.name,
            database.name,
            database.owner,
            database.container.as_ref().map(|name| format!(", in container {name}")).unwrap_or_default()
        ));
        let backups = dumps(survey, &database.name, service);
        match &backups {
            Some(backups) => self.found.push(format!("{}: dumps {}", survey.name, backups.value)),
            None => self.remarks.push(format!(
                "{}: no dump of {} was found; without one nothing can be restored",
                survey.name, database.name
            )),
        }
        let draft = DatabaseDraft {
            name: Likely { value: database.name.clone(), guess },
            user: database.owner.clone(),
            admin: database.admin.clone(),
            container: database.container.clone(),
            backups,
        };
        Some((survey.name.clone(), draft))
    }
}

/// Names that every service could have.
const SAYS_NOTHING: &[&str] = &[
    "app",
    "web",
    "server",
    "service",
    "backend",
    "upstream",
    "site",
    "main",
    "default",
    "prod",
    "production",
    "python",
    "node",
];

struct Probed {
    url: Likely<String>,
    host: Option<String>,
    location: String,
    proxy_protocol: ProxyProtocol,
}

/// The folder with the newest dump that may be of it, as a pattern.
fn dumps(survey: &Survey, database: &str, service: &str) -> Option<Likely<String>> {
    let named = survey.dumps.iter().filter(|dump| dump.path.contains(database) || dump.path.contains(service));
    let newest = |a: &&super::survey::DumpSeen, b: &&super::survey::DumpSeen| a.seconds.total_cmp(&b.seconds);
    let dump = named.max_by(newest).or_else(|| survey.dumps.iter().max_by(newest))?;
    let (folder, name) = dump.path.rsplit_once('/')?;
    let ending = name.find('.').map_or("", |dot| &name[dot..]);
    // A date in the name may have dots of its own.
    let ending = [".sql.gz", ".sql.zst", ".dump.gz", ".sql", ".dump", ".pgdump"]
        .into_iter()
        .find(|known| name.ends_with(known))
        .unwrap_or(ending);
    let guess = match name.contains(database) {
        true => None,
        false => Some(format!("the newest dump there is {name}; `rollback-prod backups` says what it holds")),
    };
    Some(Likely { value: format!("{folder}/*{ending}"), guess })
}

/// A name without its colour and what joins it: `listings-blue.service` → `listings`, `shop_green_1` → `shop`.
fn without_colour(name: &str) -> Option<String> {
    let name = name.trim_end_matches(".service").trim_end_matches(".conf");
    let lower = name.to_lowercase();
    let at = ["blue", "green"].iter().find_map(|colour| lower.find(colour).map(|at| at..at + colour.len()))?;
    let is_joint = |c: char| !c.is_ascii_alphanumeric();
    let (before, after) =
        (name.get(..at.start)?.trim_end_matches(is_joint), name.get(at.end..)?.trim_matches(is_joint));
    // The number of a container says nothing of what it is.
    let after = Some(after).filter(|after| !after.is_empty() && !after.chars().all(|c| c.is_ascii_digit()));
    let parts: Vec<&str> = [Some(before).filter(|before| !before.is_empty()), after].into_iter().flatten().collect();
    let stem = plain_name(&parts.join("-"));
    (!stem.is_empty()).then_some(stem)
}

/// What a service may be called, without what an upstream mostly ends with.
fn plain_name(name: &str) -> String {
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '-' }).collect();
    let mut name = name.trim_matches(['-', '_']);
    for ending in ["backend", "upstream", "servers", "server", "app", "active", "live"] {
        name = name
            .strip_suffix(ending)
            .map(|stem| stem.trim_matches(['-', '_']))
            .filter(|stem| !stem.is_empty())
            .unwrap_or(name);
    }
    name.to_owned()
}

fn is_one_keeper(one: &Keeper, other: &Keeper) -> bool {
    match (one, other) {
        (Keeper::Process { exe, .. }, Keeper::Process { exe: same, .. }) => exe == same,
        (one, other) => one == other,
    }
}

/// What keeps it, for people.
pub fn label(keeper: &Keeper) -> String {
    printable(&match keeper {
        Keeper::Unit(unit) => unit.clone(),
        Keeper::Container(name) => format!("container {name}"),
        Keeper::Service { service, file, .. } => format!("compose service {service} of {file}"),
        Keeper::Process { exe, port, .. } => format!("the process {exe} on port {port}"),
        Keeper::Supervisor { stop, .. } => format!("what `{}` stops", stop.join(" ")),
    })
}

/// Words as TOML has them.
pub fn list(words: &[String]) -> String {
    format!("[{}]", words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(", "))
}

/// A word as TOML has it.
pub fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, Document, Reading};
    use crate::discover::survey::read;
    use crate::discover::written::{Around, Learnt, written};
    use crate::hosts::answer::Answer;
    use crate::nouns::names::Environment;

    /// A host as it would answer: nginx's text, listeners as `PORT PID EXE UNIT`, and more sections.
    fn host(
        name: &str,
        address: &str,
        nginx: &str,
        listeners: &[(u16, u32, &str, &str)],
        more: &[(&str, &str)],
    ) -> Survey {
        let unit = '\u{1f}';
        let line = |(port, pid, exe, of): &(u16, u32, &str, &str)| {
            format!("{port:04X}{unit}{pid}{unit}00000000{unit}{exe}{unit}1{unit}0::/system.slice/{of}|{unit}systemd\n")
        };
        let mut sections = vec![
            ("who".to_owned(), b"1000\ndeploy\nweb1\n".to_vec()),
            ("rights".to_owned(), b"all".to_vec()),
            ("addresses".to_owned(), format!("127.0.0.1\n{address}\n").into_bytes()),
            ("listeners".to_owned(), listeners.iter().map(line).collect::<String>().into_bytes()),
        ];
        if !nginx.is_empty() {
            let dump = format!("# configuration file /etc/nginx/nginx.conf:\n{nginx}\n\n");
            sections.push(("nginx.dump".to_owned(), dump.into_bytes()));
            sections.push(("nginx.runs".to_owned(), format!("7{unit}0::/system.slice/nginx.service \n").into_bytes()));
        }
        sections.extend(more.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())));
        let answer = Answer { sections, ..Answer::default() };
        let (name, ssh) = (HostName::new(name).expect("a name"), SshDestination::new(name).expect("a destination"));
        read(name, ssh, &answer)
    }

    const TWO: &[(u16, u32, &str, &str)] =
        &[(8080, 10, "/opt/shop-blue", "shop-blue.service"), (8081, 11, "/opt/shop-green", "shop-green.service")];

    /// Every draft of these tests is written as a whole config.
    fn drafted(surveys: &[Survey]) -> Draft {
        let draft = draft(surveys, &BTreeMap::new(), &Wishes::default()).expect("a draft");
        is_whole(&draft);
        draft
    }

    fn is_whole(draft: &Draft) -> String {
        let text = written(draft, &Learnt::default(), &Around::default());
        let base = Document { path: "rollback.toml".into(), text: text.clone() };
        let reading = Reading {
            base,
            overlay: None,
            environment: Environment::new("prod").expect("a word"),
            home: None,
            variable: &|_| None,
            may_lack_layout: false,
            read_file: &|_| Err(std::io::Error::other("it names no file")),
        };
        let said =
            config::read(&reading).map_err(|problems| problems.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert!(said.is_ok(), "{said:?}\n{text}");
        text
    }

    fn lacking(surveys: &[Survey]) -> String {
        let missing = draft(surveys, &BTreeMap::new(), &Wishes::default()).expect_err("no draft");
        missing.into_iter().map(|one| one.why).collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn sides_are_told_by_names_and_where_none_says_one_it_is_a_guess() {
        let text = "upstream u { server 127.0.0.1:8080 down; server 127.0.0.1:8081; } server { listen 80; server_name a.example; location / { proxy_pass http://u; } }";
        let draft = drafted(&[host("web1", "10.0.0.1", text, TWO, &[])]);
        assert_eq!(
            (draft.sides.green.servers.value.as_slice(), draft.sides.green.servers.guess.clone()),
            (&["127.0.0.1:8081".to_owned()][..], None)
        );
        assert_eq!(draft.sides.blue.kept.value.keeper, Keeper::Unit("shop-blue.service".into()));
        assert_eq!((draft.service.value.as_str(), draft.nginx.probe.value.as_str()), ("shop", "http://127.0.0.1/"));
        assert!(draft.doubts.is_empty());
        // Blue serves, by its name: nothing is turned round.
        let turned = text.replace("8080 down", "8080").replace("8081;", "8081 down;");
        let draft = drafted(&[host("web1", "10.0.0.1", &turned, TWO, &[])]);
        assert_eq!(draft.sides.green.servers.value, ["127.0.0.1:8081"]);
        // Names that say nothing: who serves is what a rollback takes out, and that is asked.
        let unnamed: &[(u16, u32, &str, &str)] =
            &[(8080, 10, "/opt/a", "shop@1.service"), (8081, 11, "/opt/a", "shop@2.service")];
        let survey = [host("web1", "10.0.0.1", text, unnamed, &[])];
        let draft = drafted(&survey);
        assert!(draft.sides.green.servers.guess.is_some() && draft.sides.green.servers.value == ["127.0.0.1:8081"]);
        assert_eq!(draft.doubts.iter().map(|doubt| doubt.about).collect::<Vec<_>>(), [About::WhichSide]);
        let wishes = Wishes { are_swapped: Some(WayRound::OtherWay), ..Wishes::default() };
        let swapped = super::draft(&survey, &BTreeMap::new(), &wishes).expect("a draft");
        assert_eq!(swapped.sides.blue.servers.value, ["127.0.0.1:8081"]);
        // The runbook's variables say it.
        let variables = BTreeMap::from([("BLUE_PORT".to_owned(), "8081".to_owned())]);
        let said = super::draft(&survey, &variables, &Wishes::default()).expect("a draft");
        assert_eq!(
            (said.sides.blue.servers.value.as_slice(), said.doubts.len()),
            (&["127.0.0.1:8081".to_owned()][..], 0)
        );
    }

    #[test]
    fn each_thing_that_is_missing_has_a_sentence() {
        let pass = |servers: &str| {
            format!("upstream u {{ {servers} }} server {{ listen 80; location / {{ proxy_pass http://u; }} }}")
        };
        let pair = pass("server 127.0.0.1:8080 down; server 127.0.0.1:8081;");
        let one: &[(u16, u32, &str, &str)] = &[(8080, 10, "/opt/a", "a.service"), (8081, 10, "/opt/a", "a.service")];
        for (surveys, words) in [
            (vec![host("web1", "10.0.0.1", "", &[], &[])], "no nginx runs there"),
            (vec![host("web1", "10.0.0.1", "events {}", &[], &[])], "nginx passes requests to nobody"),
            (
                vec![host(
                    "web1",
                    "10.0.0.1",
                    "",
                    &[],
                    &[("nginx.dump", ""), ("nginx.refused", "sudo: a password is required")],
                )],
                "deploy may not read what nginx has loaded: sudo: a password",
            ),
            (vec![host("web1", "10.0.0.1", &pair, one, &[])], "both colours are one process (pid 10, a.service)"),
            (vec![host("web1", "10.0.0.1", &pair, &TWO[1..], &[])], "blue's 127.0.0.1:8080: nobody listens there"),
            (
                vec![host("web1", "10.0.0.1", &pass("server 127.0.0.1:8081;"), &TWO[1..], &[])],
                "one side only: it sends to 127.0.0.1:8081",
            ),
            (
                vec![host("web1", "10.0.0.1", &pass("server 10.0.0.9:8080 down; server 10.0.0.9:8081;"), &[], &[])],
                "10.0.0.9:8080 is on none of these hosts",
            ),
        ] {
            let said = lacking(&surveys);
            assert!(said.contains(words), "{words}: {said}");
        }
    }

    #[test]
    fn several_services_ipv6_sockets_and_hosts_each_get_their_part() {
        let text = "upstream shop { server [::1]:8080 down; server [::1]:8081; } upstream blog { server 127.0.0.1:9000 down; server 127.0.0.1:9001; }\n\
                    server { listen [::]:80; server_name shop.example; location / { proxy_pass http://shop; } }\n\
                    server { listen 443 ssl; server_name blog.example; location / { proxy_pass http://blog; } }";
        let all: Vec<(u16, u32, &str, &str)> = TWO
            .iter()
            .copied()
            .chain([
                (9000, 20, "/opt/blog-blue", "blog-blue.service"),
                (9001, 21, "/opt/blog-green", "blog-green.service"),
            ])
            .collect();
        let survey = [host("web1", "10.0.0.1", text, &all, &[])];
        let first = drafted(&survey);
        assert_eq!((first.service.value.as_str(), first.nginx.probe.value.as_str()), ("shop", "http://[::1]/"));
        assert!(first.remarks[0].contains("blog of blog.example"), "{:?}", first.remarks);
        let wishes = Wishes { candidate: Some(1), ..Wishes::default() };
        let second = super::draft(&survey, &BTreeMap::new(), &wishes).expect("a draft");
        assert_eq!((second.service.value.as_str(), second.nginx.probe.value.as_str()), ("blog", "https://127.0.0.1/"));
        assert_eq!(second.nginx.lines[1], "upstream = \"blog\"");

        let sockets = "upstream shop { server unix:/run/shop-blue.sock down; server unix:/run/shop-green.sock; } server { listen 80; location / { proxy_pass http://shop; } }";
        let units = "Id=shop-blue.service\nLoadState=loaded\nActiveState=active\nExecStart={ path=/a ; argv[]=/a --bind /run/shop-blue.sock ; x }\n\n\
                     Id=shop-green.service\nLoadState=loaded\nActiveState=active\nExecStart={ path=/a ; argv[]=/a --bind /run/shop-green.sock ; x }\n";
        let draft = drafted(&[host("web1", "10.0.0.1", sockets, &[], &[("units", units)])]);
        assert_eq!(draft.sides.blue.kept.value.keeper, Keeper::Unit("shop-blue.service".into()));
        assert!(draft.sides.blue.kept.guess.is_some(), "a command's words are no proof");

        let remote = "upstream shop { server 10.0.0.2:8080 down; server 10.0.0.2:8081; } server { listen 80; location / { proxy_pass http://shop; } }";
        let databases = "shop\u{1f}shop\u{1f}1000\npostgres\u{1f}postgres\u{1f}1\n";
        let surveys = [
            host("lb1", "10.0.0.1", remote, &[], &[]),
            host("lb2", "10.0.0.3", remote, &[], &[]),
            host("app1", "10.0.0.2", "", TWO, &[]),
            host(
                "db1",
                "10.0.0.4",
                "",
                &[],
                &[("database.here", databases), ("dumps", "3.5 9 /b/shop-1.sql.gz\n4.5 9 /x/other.dump\n")],
            ),
        ];
        let draft = drafted(&surveys);
        let roles: Vec<(&str, &[Role])> =
            draft.hosts.iter().map(|host| (host.name.as_str(), host.roles.as_slice())).collect();
        assert_eq!(
            roles,
            [
                ("lb1", &[Role::Balancer][..]),
                ("lb2", &[Role::Balancer]),
                ("app1", &[Role::App]),
                ("db1", &[Role::Database])
            ]
        );
        let database = draft.database.expect("a database");
        assert_eq!(
            (database.name.value.as_str(), database.backups.map(|of| of.value)),
            ("shop", Some("/b/*.sql.gz".to_owned()))
        );
    }

    /// As public repositories and guides write it, with whom they run.
    #[test]
    fn what_is_found_in_public_is_understood() {
        let site =
            |to: &str| format!("server {{ listen 80; server_name a.example; location / {{ proxy_pass {to}; }} }}");
        let sides = "upstream blue { server 127.0.0.1:8080; } upstream green { server 127.0.0.1:8081; }\n";
        let plain = |text: &str| text.to_owned();
        for (text, lines) in [
            // A third upstream that the deploy edits.
            (
                format!("{sides}upstream active {{ server 127.0.0.1:8081; }}\n{}", site("http://active")),
                vec!["upstream = \"active\""],
            ),
            // The name that proxy_pass has.
            (
                format!("{sides}{}", site("http://green")),
                vec!["switch = \"pass\"", "blue = \"blue\"", "green = \"green\""],
            ),
            // A map by the address, whose default is rewritten; in quotes.
            (
                format!("{sides}map $request_uri $backend {{ default \"green\"; }}\n{}", site("http://$backend")),
                vec!["switch = \"variable\"", "blue = \"blue\"", "green = \"green\"", "variable = \"backend\""],
            ),
            // The other side as a backup.
            (
                format!(
                    "upstream backend {{ server 127.0.0.1:8081 max_fails=1 fail_timeout=30s; server 127.0.0.1:8080 backup; }}\n{}",
                    site("http://backend")
                ),
                vec!["upstream = \"backend\""],
            ),
            // The other side in a comment, as deploys leave it: it is found by who runs.
            (
                format!(
                    "upstream backend {{\n server 127.0.0.1:8081; # green\n # server 127.0.0.1:8080; # blue\n keepalive 32; }}\n{}",
                    site("http://backend")
                ),
                vec!["upstream = \"backend\""],
            ),
            // A URL in a file that is included.
            (
                plain(
                    "server { listen 80; include /etc/nginx/conf.d/service-url.inc; location / { proxy_pass $service_url; } }\n\
                       # configuration file /etc/nginx/conf.d/service-url.inc:\nset $service_url http://127.0.0.1:8081;",
                ),
                vec!["switch = \"variable\"", "blue = \"http://127.0.0.1:8080\"", "green = \"http://127.0.0.1:8081\""],
            ),
        ] {
            let draft = drafted(&[host("web1", "10.0.0.1", &text, TWO, &[])]);
            let said = draft.nginx.lines.join("\n");
            assert!(lines.iter().all(|line| said.lines().any(|own| own == *line)), "{text}\n{said}");
            assert_eq!((draft.sides.blue.servers.value.len(), draft.sides.green.servers.value.len()), (1, 1), "{text}");
            assert_eq!(draft.sides.green.servers.value, ["127.0.0.1:8081"], "{text}");
        }
    }

    #[test]
    fn whatever_keeps_an_application_is_written_as_a_config_has_it() {
        let text = "upstream u { server 127.0.0.1:8080 down; server 127.0.0.1:8081; } server { listen 80; location / { proxy_pass http://u; } }";
        let plain: &[(u16, u32, &str, &str)] = &[
            (8080, 10, "/usr/bin/python3.11", "session-1.scope"),
            (8081, 11, "/usr/bin/python3.11", "session-1.scope"),
        ];
        let unit = '\u{1f}';
        let process = |pid: u32, port: u16| {
            format!(
                "{pid}\n/srv/shop\npython3{unit}app.py{unit}--port{unit}{port}{unit}\n1000\nlog /var/log/shop-{port}.log\n"
            )
        };
        let (blue, green) = (process(10, 8080), process(11, 8081));
        let processes = [("process", blue.as_str()), ("process", green.as_str())];
        let said = is_whole(&drafted(&[host("web1", "10.0.0.1", text, plain, &processes)]));
        for line in [
            "run.process.exe = \"/srv/shop/app.py\"",
            "run.process.start = \"cd /srv/shop && python3 app.py --port 8081\"",
            "log = \"/var/log/shop-8081.log\"",
            "# guessed: no name says a colour",
        ] {
            assert!(said.contains(line), "{line}\n{said}");
        }
        // Below supervisord and runit, and as root, who needs no sudo.
        let programs = "supervisorctl\nshop-blue RUNNING pid 10, uptime 1:0\nshop-green RUNNING pid 11, uptime 1:0\n";
        let said = is_whole(&drafted(&[host(
            "web1",
            "10.0.0.1",
            text,
            plain,
            &[("supervisor", programs), ("rights", "root")],
        )]));
        assert!(said.contains("run.command.stop = [\"supervisorctl\", \"stop\", \"shop-green\"]"), "{said}");
        let services =
            format!("sudo{unit}-n{unit}sv\n10{unit}/etc/service/shop-blue\n11{unit}/etc/service/shop-green\n");
        let said = is_whole(&drafted(&[host("web1", "10.0.0.1", text, plain, &[("runit", &services)])]));
        assert!(
            said.contains("run.command.start = [\"sudo\", \"-n\", \"sv\", \"start\", \"/etc/service/shop-green\"]"),
            "{said}"
        );
        // What a host says in a name is a comment's word and a text, and nothing else.
        let hostile = text.replace("location", "server_name 'a\nb\"#' a.example;\n location");
        let said = is_whole(&drafted(&[host("web1", "10.0.0.1", &hostile, TWO, &[])]));
        assert!(said.contains("probe_host = \"a.example\"\n"), "{said}");
    }

    #[test]
    fn a_service_is_called_what_its_sides_have_in_common() {
        for (name, expected) in [
            ("listings-blue.service", "listings"),
            ("shop_green_1", "shop"),
            ("blue-api", "api"),
            ("api-blue-worker", "api-worker"),
            ("GreenShop", "Shop"),
        ] {
            assert_eq!(without_colour(name).as_deref(), Some(expected), "{name}");
        }
        assert_eq!((without_colour("listings"), without_colour("blue")), (None, None));
        assert_eq!(plain_name("listings_backend"), "listings");
    }
}
