//! Several services in one file: each is the top of the file with its own table laid over it. What must hold between them
//! is held here, and in which order they go back.

use serde_json::Value;

use super::check::{any_of, nearest, whole, written};
use super::findings::{Findings, readable};
use super::meaning;
use super::tree::{Entry, Kind, Node, merge};
use super::{Problem, Reading};
use crate::nouns::change::{ChangePlace, NamedChange};
use crate::nouns::inventory::{App, Host, Inventory, Layout, Nginx, Reach, Role, WordStands};
use crate::nouns::names::{ChangeName, HostName, ServiceName};
use crate::nouns::service::{Service, in_order};

/// Where they stand.
const TABLE: &str = "services";

/// One of several, as it is written.
struct Part {
    name: String,
    /// Where its name stands in the file.
    entry: Entry,
}

/// Every service of the file, in the order of a rollback. `None` when there is a problem, which is in `findings` then.
pub(super) fn services(tree: Node, schema: &Value, reading: &Reading, findings: &mut Findings) -> Option<Vec<Service>> {
    let (top, parts) = take_apart(tree);
    let Some(parts) = parts else {
        let inventory = inventory(top, schema, reading, findings)?;
        return Some(vec![Service { inventory, after: Vec::new(), shared: Vec::new() }]);
    };
    let read: Vec<Option<Service>> =
        parts.iter().map(|part| service(part, &parts, &top, (schema, reading), findings)).collect();
    let services: Vec<Service> = read.into_iter().collect::<Option<_>>()?;
    let place = |name: &ServiceName| {
        let part = parts.iter().find(|part| part.name == name.as_str());
        part.map_or(top.place, |part| part.entry.place)
    };
    for (at, one) in services.iter().enumerate() {
        for other in &services[..at] {
            for why in in_each_others_way(other, one) {
                findings.problem(place(one.name()), readable(&format!("{TABLE}.{}: {why}", one.name())));
            }
        }
    }
    match in_order(services) {
        Ok(services) => Some(services),
        Err(circle) => {
            let names: Vec<&str> = circle.iter().chain(circle.first()).map(ServiceName::as_str).collect();
            let at = circle.first().map_or(top.place, place);
            findings.problem(at, format!("each of these goes back after the next: {}", names.join(", ")));
            None
        }
    }
}

/// What a service's tree comes to.
fn inventory(tree: Node, schema: &Value, reading: &Reading, findings: &mut Findings) -> Option<Inventory> {
    let tree = whole(tree, schema, reading, findings);
    meaning::inventory(&written(&tree, findings)?, &tree, reading, findings)
}

/// The top of the file, and its services in the order in which they stand there.
fn take_apart(mut tree: Node) -> (Node, Option<Vec<Part>>) {
    let Kind::Table(entries) = &mut tree.kind else { return (tree, None) };
    let Some(at) = entries.iter().position(|entry| entry.key == TABLE) else { return (tree, None) };
    let Kind::Table(mut services) = entries.remove(at).node.kind else { return (tree, None) };
    if services.is_empty() {
        return (tree, None);
    }
    services.sort_by_key(|entry| (entry.place.source, entry.place.offset));
    let parts = services.into_iter().map(|entry| Part { name: entry.key.clone(), entry });
    (tree, Some(parts.collect()))
}

fn service(
    part: &Part,
    parts: &[Part],
    top: &Node,
    (schema, reading): (&Value, &Reading),
    findings: &mut Findings,
) -> Option<Service> {
    findings.begin_service(&part.name);
    let name = match ServiceName::new(part.name.clone()) {
        Ok(name) => Some(name),
        Err(err) => {
            findings.problem(part.entry.place, readable(&format!("{TABLE}: {err}")));
            None
        }
    };
    let after = after(part, parts, findings);
    let mut own = part.entry.node.clone();
    if let Kind::Table(entries) = &mut own.kind {
        entries.retain(|entry| !matches!(entry.key.as_str(), "after" | "hosts"));
    }
    // What restarts a colour is each one's own: whose colour that is differs.
    let is_shared = |name: &&str| {
        part.entry.node.get(&format!("change.{name}")).is_none() && top.get(&format!("change.{name}.restart")).is_none()
    };
    let shared = names_of_changes(top).into_iter().filter(is_shared);
    let shared: Vec<ChangeName> = shared.filter_map(|name| ChangeName::new(name).ok()).collect();
    let mut inventory = inventory(merge(top.clone(), own), schema, reading, findings)?;
    hosts_named(part, &mut inventory, &shared, findings)?;
    Some(Service { inventory: Inventory { service: name?, is_alone: false, ..inventory }, after: after?, shared })
}

fn names_of_changes(top: &Node) -> Vec<&str> {
    match top.get("change").map(|node| &node.kind) {
        Some(Kind::Table(entries)) => entries.iter().map(|entry| entry.key.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// The words of a list of the service's own table, each with its node.
fn words<'p>(part: &'p Part, key: &str) -> Vec<(&'p str, &'p Node)> {
    match part.entry.node.get(key).map(|node| &node.kind) {
        Some(Kind::List(items)) => items
            .iter()
            .filter_map(|item| match &item.kind {
                Kind::Text(text) => Some((text.as_str(), item)),
                _ => None,
            })
            .collect(),
        _ => Vec::new(),
    }
}

fn after(part: &Part, parts: &[Part], findings: &mut Findings) -> Option<Vec<ServiceName>> {
    let words = words(part, "after").into_iter().map(|(word, node)| {
        if word == part.name {
            findings.problem(node.place, format!("{TABLE}.{}.after: it names itself", part.name));
            return None;
        }
        if !parts.iter().any(|other| other.name == word) {
            let known: Vec<&str> =
                parts.iter().map(|part| part.name.as_str()).filter(|name| *name != part.name).collect();
            let what = format!("{TABLE}.{}.after: there is no service {word:?}", part.name);
            said_with(findings.problem(node.place, readable(&what)), word, &known);
            return None;
        }
        ServiceName::new(word).ok()
    });
    words.collect::<Vec<_>>().into_iter().collect()
}

fn said_with(problem: &mut Problem, word: &str, known: &[&str]) {
    problem.hint = match nearest(word, known.iter().copied()) {
        Some(near) => Some(format!("did you mean {near:?}?")),
        None if known.is_empty() => None,
        None => Some(format!("there is {}", any_of(known))),
    };
}

/// The hosts that the service names: nothing of it is on the others. `None` where it names one that is not there, or too few.
fn hosts_named(part: &Part, inventory: &mut Inventory, shared: &[ChangeName], findings: &mut Findings) -> Option<()> {
    let Some(named) = part.entry.node.get("hosts") else { return Some(()) };
    let wanted = words(part, "hosts");
    let known: Vec<&str> = inventory.hosts.iter().map(|host| host.name.as_str()).collect();
    let mut is_right = true;
    for (word, node) in wanted.iter().filter(|(word, _)| !known.contains(word)) {
        let what = format!("{TABLE}.{}.hosts: there is no host {word:?}", part.name);
        said_with(findings.problem(node.place, readable(&what)), word, &known);
        is_right = false;
    }
    let is_named = |host: &Host| wanted.iter().any(|(word, _)| *word == host.name.as_str());
    for role in [Role::Balancer, Role::App] {
        if is_right && !inventory.with_role(role).any(is_named) {
            let word = role.word();
            findings.problem(named.place, format!("{TABLE}.{}.hosts: none of them has the role {word:?}", part.name));
            is_right = false;
        }
    }
    let others: Vec<HostName> =
        inventory.hosts.iter().filter(|host| !is_named(host)).map(|host| host.name.clone()).collect();
    inventory.leave_out(&others, &[Role::Balancer, Role::App], shared);
    is_right.then_some(())
}

/// Why two services cannot both be what the file says, each in words.
fn in_each_others_way(one: &Service, other: &Service) -> Vec<String> {
    let (name, a, b) = (one.name(), &one.inventory, &other.inventory);
    let mut why = Vec::new();
    let share_balancers = common(a, b, |host| host.is(Role::Balancer));
    if share_balancers && let Some(what) = same_place(&a.nginx, &b.nginx) {
        why.push(format!("{what} is what {name} is switched by, too"));
    }
    if common(a, b, |host| host.is(Role::App)) {
        for (theirs, ours) in a.apps_beside(b).filter(|(theirs, ours)| may_be_on_one_host(theirs, ours)) {
            if theirs.run == ours.run {
                why.push(ours.runs_as(a, theirs));
            } else if let Some(server) = ours.servers.iter().find(|server| theirs.servers.contains(server)) {
                why.push(format!("{} is at {server}, and so is {name}'s {}", ours.colour, theirs.colour));
            }
        }
    }
    let is_shared = |change: &NamedChange| one.shared.contains(&change.name) && other.shared.contains(&change.name);
    for ours in &b.changes {
        for theirs in a.changes.iter().filter(|theirs| !(is_shared(ours) && is_shared(theirs))) {
            let file = ours.files.iter().find(|file| theirs.files.iter().any(|of| of.into == file.into));
            // Both have it from the top, each for its own colour: on hosts of their own they are two.
            let is_one = ours.name == theirs.name && ours.restart.is_some() && ours.restart == theirs.restart;
            let is_apart = is_one && !may_be_on_one_host(&a.blue, &b.blue) && !may_be_on_one_host(&a.green, &b.green);
            if let Some(file) = file.filter(|_| !is_apart && may_be_in_one_place(ours, theirs)) {
                why.push(format!("change {} writes {}, and so does {name}'s {}", ours.name, file.into, theirs.name));
            }
        }
    }
    why
}

/// Whether a host that both have is one of that kind.
fn common(a: &Inventory, b: &Inventory, is_one: impl Fn(&Host) -> bool) -> bool {
    a.hosts.iter().filter(|host| is_one(host)).any(|host| b.host(&host.name).is_some_and(&is_one))
}

/// What says who serves, where two services would both change it.
fn same_place(a: &Nginx, b: &Nginx) -> Option<String> {
    let files = |nginx: &Nginx| [&nginx.file].into_iter().chain(&nginx.also).cloned().collect::<Vec<_>>();
    let file = files(a).into_iter().find(|file| files(b).contains(file))?;
    match (&a.layout, &b.layout) {
        (
            Layout::Weights { upstreams: ours, context: of_ours },
            Layout::Weights { upstreams: theirs, context: of_theirs },
        ) => {
            let is_one_context = of_ours.is_none() || of_theirs.is_none() || of_ours == of_theirs;
            let upstream = ours.iter().find(|name| theirs.contains(name)).filter(|_| is_one_context)?;
            Some(format!("upstream {upstream} in {file}"))
        }
        (Layout::Word { stands: ours, .. }, Layout::Word { stands: theirs, .. }) => match (ours, theirs) {
            (WordStands::InAVariable(Some(ours)), WordStands::InAVariable(Some(theirs))) if ours != theirs => None,
            (WordStands::InAVariable(_), WordStands::InAPass) | (WordStands::InAPass, WordStands::InAVariable(_)) => {
                None
            }
            (WordStands::InAPass, WordStands::InAPass) if !same_words(a, b) => None,
            _ => Some(format!("the word in {file}")),
        },
        // Blocks of weights and a word stand in one file and are two things.
        (Layout::Weights { .. }, Layout::Word { .. }) | (Layout::Word { .. }, Layout::Weights { .. }) => None,
        (Layout::NotSaid, _) | (_, Layout::NotSaid) => None,
        (Layout::Link(_) | Layout::Copy(_), _) | (_, Layout::Link(_) | Layout::Copy(_)) => Some(file.to_string()),
    }
}

fn same_words(a: &Nginx, b: &Nginx) -> bool {
    match (&a.layout, &b.layout) {
        (Layout::Word { words: ours, .. }, Layout::Word { words: theirs, .. }) => {
            [&ours.blue, &ours.green].into_iter().any(|word| [&theirs.blue, &theirs.green].contains(&word))
        }
        _ => false,
    }
}

/// Whether a host runs both for all that the file says: what is known only of the hosts is looked at there.
fn may_be_on_one_host(a: &App, b: &App) -> bool {
    match (a.reach, b.reach) {
        (Reach::OwnHost, Reach::OwnHost) => true,
        (Reach::AnyBalancer, Reach::AnyBalancer) => {
            a.servers.iter().any(|server| b.servers.iter().any(|other| other.host() == server.host()))
        }
        (Reach::OwnHost, Reach::AnyBalancer) | (Reach::AnyBalancer, Reach::OwnHost) => false,
    }
}

fn may_be_in_one_place(a: &NamedChange, b: &NamedChange) -> bool {
    match (&a.manner.on, &b.manner.on) {
        (ChangePlace::On(a), ChangePlace::On(b)) => a.iter().any(|name| b.contains(name)),
        (ChangePlace::Here, ChangePlace::Here) => true,
        (ChangePlace::Here, ChangePlace::On(_)) | (ChangePlace::On(_), ChangePlace::Here) => false,
    }
}
