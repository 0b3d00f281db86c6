//! What a host is asked of which nothing is known: one survey of it, and then whether paths that are mostly there answer.
//! Never reads an answer.

use std::time::Duration;

use crate::hosts::program::{Arguments, LIB, NGINX, Question, SHORT_PATIENCE, Script, program, script};

const SURVEY: Script = script!("survey");
pub const SCRIPTS: &[Script] = &[SURVEY];

/// What is asked again and again in a run, too: see `steps::verify`.
const REACH: Script = script!("health", LIB, NGINX);

/// Engines that hang, and a search for dumps on a slow disk, have bounds of their own below this.
const SURVEY_LIMIT: Duration = Duration::from_secs(90);
/// So many files beside nginx's own are told: those of a shop's sides are among them, of a farm of sites not all.
const MOST_BESIDE: u32 = 60;
/// A dozen paths that each take their second.
const REACH_LIMIT: Duration = Duration::from_secs(45);

/// Where services say how they are, likeliest first. The last is what everybody has.
pub const PATHS: &[&str] = &[
    "/health",
    "/healthz",
    "/health/ready",
    "/readyz",
    "/livez",
    "/api/health",
    "/actuator/health",
    "/status",
    "/up",
    "/ping",
    "/",
];

/// One GET: its name in the answer, the Host header, the URL as `fetch_all` in lib.sh takes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PathAsked {
    pub name: String,
    pub host: Option<String>,
    pub url: String,
}

pub fn survey() -> Question {
    let mut arguments = Arguments::of_no_config();
    arguments.set("most", MOST_BESIDE);
    Question(program(SURVEY, arguments, SURVEY_LIMIT))
}

/// Asks for all of it; `container` and `names` where only the container that nginx runs in knows the names.
pub fn reach(gets: &[PathAsked], container: Option<&str>, names: &[String]) -> Question {
    let mut arguments = Arguments::of_no_config();
    if let Some(container) = container {
        arguments.set("nginx_container", container);
        names.iter().for_each(|name| arguments.set("lookup", name));
    }
    for get in gets {
        arguments.get(&get.name, SHORT_PATIENCE, get.host.as_deref(), &get.url);
    }
    Question(program(REACH, arguments, REACH_LIMIT))
}
