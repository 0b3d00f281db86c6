//! Journals as runs would write them, with what was known before: for the tests of what people read. Each file that reads
//! them compiles this for itself and uses a part of it, hence the allowance below.
#![allow(dead_code)]

use chrono::{DateTime, FixedOffset, TimeDelta, Utc};
use rollback_prod::hosts::facts::{AppFacts, Facts, Get, HostFacts, NginxFacts, NotKnown, Seen, Supervision};
use rollback_prod::nginx::SideTexts;
use rollback_prod::nouns::colour::Colour;
use rollback_prod::nouns::names::{HostName, IncidentId};
use rollback_prod::nouns::plan::{
    Action, FileChange, Gate, Guard, Plan, Proof, Stage, StageName, Step, TakesOver, Undo,
};
use rollback_prod::nouns::production::Production;
use rollback_prod::nouns::record::{
    AppState, Balancer, Begun, Captured, Clients, Entry, ErrorShare, JOURNAL_VERSION, Pattern, Second, Status,
    StepWord, What,
};
use rollback_prod::nouns::redact::Redactor;
use rollback_prod::nouns::share::Share;
use rollback_prod::nouns::side::Direction;
use rollback_prod::tell::known::Known;
use rollback_prod::tell::story::Story;

pub fn host(name: &str) -> HostName {
    HostName::new(name).expect("a host's name")
}

pub fn began() -> DateTime<Utc> {
    "2026-11-20T21:15:03.412Z".parse().expect("a time")
}

pub fn no_secrets() -> Redactor {
    Redactor::new(&[], std::iter::empty())
}

/// A journal as a run would write it.
pub struct Told(pub Vec<Entry>);

impl Told {
    pub fn begin(reason: &str, hosts: &[&str]) -> Told {
        let hosts: Vec<HostName> = hosts.iter().map(|name| host(name)).collect();
        let begun = Begun {
            changes: Vec::new(),
            down_flag: None,
            to_release: None,
            restore_flags: None,
            id: "rollback-20261120-211503".into(),
            program: "rollback-prod 0.1.0".into(),
            service: "listings".into(),
            group: None,
            environment: "prod".into(),
            reason: reason.into(),
            severity: Some("P1".into()),
            operator: "alice".into(),
            laptop: "alice-laptop".into(),
            balancers: hosts.clone(),
            apps: hosts,
            green_is_kept: false,
            restores: None,
            undoes: None,
            direction: Direction::to(Colour::Blue),
            traffic_stays: false,
            releases: Some("green 1.4.0 → blue 1.3.2".to_owned()),
            gradual: None,
            oncall: Some("bob".into()),
            commander: None,
            escalate: Vec::new(),
            targets_ms: vec![
                ("traffic".into(), 60_000),
                ("rollback".into(), 120_000),
                ("restore".into(), 600_000),
                ("rto".into(), 900_000),
                ("rpo".into(), 300_000),
            ],
        };
        Told(Vec::new()).at(3, What::Begun(Box::new(begun)))
    }

    pub fn at(mut self, at_ms: u64, what: What) -> Told {
        let time = began() + TimeDelta::milliseconds(i64::try_from(at_ms).expect("a short run"));
        self.0.push(Entry { v: JOURNAL_VERSION, time, at_ms, service: None, what });
        self
    }

    pub fn intent(self, at_ms: u64, step: StepWord, on: &str) -> Told {
        self.at(at_ms, What::Intent { step, host: host(on), why: "because".into(), colour: None, of: None })
    }

    pub fn outcome(self, at_ms: u64, step: StepWord, on: &str, status: Status, ms: u64, detail: &str) -> Told {
        let host = (!on.is_empty()).then(|| host(on));
        self.at(at_ms, What::Outcome { step, host, of: None, status, ms, detail: detail.into() })
    }

    /// The last line, as the judge says.
    pub fn end(self, at_ms: u64) -> Told {
        let verdict = self.0.iter().collect::<Production>().verdict(false);
        self.at(at_ms, What::Ended { exit: verdict.exit, production: verdict.production, next: verdict.next })
    }

    pub fn story<'a>(&'a self, known: &'a Known) -> Story<'a> {
        Story { known, entries: &self.0, local_offset: FixedOffset::east_opt(3600).expect("an hour") }
    }
}

pub const BEFORE: &str =
    "upstream listings_backend {\n    server 127.0.0.1:8080 down;\n    server 127.0.0.1:8081 weight=100;\n}\n";
pub const AFTER: &str = "upstream listings_backend {\n    server 127.0.0.1:8080 weight=100 max_fails=0;\n    server 127.0.0.1:8081 down;\n}\n";

pub fn plan(reason: &str, hosts: &[&str]) -> Plan {
    let steps = hosts
        .iter()
        .map(|name| Step {
            host: host(name),
            action: Action::Switch {
                change: FileChange {
                    path: "/etc/nginx/sites-available/listings".into(),
                    before: BEFORE.into(),
                    after: AFTER.into(),
                    also: vec![],
                    mounted: None,
                },
                proof: Proof {
                    who: "blue".into(),
                    pidfile: "/run/nginx.pid".into(),
                    error_logs: vec![],
                    access_logs: vec![],
                    mark: None,
                },
                share: Share::ALL,
                says: "blue 100, green down".into(),
            },
            guard: Guard::FileIsUnchanged { sha256: "0".repeat(64) },
            undo: Undo::NothingToUndo,
            why: "blue 100, green down".into(),
        })
        .collect();
    Plan {
        down: None,
        changes: Vec::new(),
        hooks: Vec::new(),
        id: IncidentId::new("rollback-20261120-211503").expect("an incident"),
        service: "listings".into(),
        environment: "prod".into(),
        direction: Direction::to(Colour::Blue),
        releases: None,
        is_forced: false,
        takes_over: TakesOver::Nobody,
        is_gradual: false,
        among: None,
        balancers: hosts.iter().map(|name| host(name)).collect(),
        reason: reason.into(),
        stages: vec![Stage { name: StageName::Switch, gate: Gate::NoneFailed, steps }],
        notes: vec!["web2: answers cannot be told apart; proven by its workers".into()],
        left_out: vec![],
    }
}

pub fn unknown<T>() -> Result<T, NotKnown> {
    Err(NotKnown { why: "not asked".into(), hint: None })
}

pub fn facts(green_on: &[&str], unreachable: &[&str]) -> Facts {
    let app = || AppFacts {
        is_running: Ok(true),
        state: "active (running)".into(),
        listeners: vec![],
        port_is_open: true,
        listener_is_ours: Ok(true),
        health: vec![],
        log_bytes: Err(rollback_prod::hosts::facts::NoLog::NotAsked),
        release: None,
        program: None,
        supervision: Supervision::default(),
    };
    let seen = |name: &str| HostFacts {
        host: host(name),
        seen: Ok(Seen {
            rolled_back: Vec::new(),
            dead_men: Vec::new(),
            user: "deploy".into(),
            uid: 1000,
            login_shell: "/bin/sh".into(),
            system: "Linux".into(),
            noise: String::new(),
            held_up_by: None,
            key_exchange: Some("curve25519-sha256".into()),
            clock_offset_ms: Ok(-4200),
            tools: vec![],
            evidence: vec![],
            journal_is_closed: false,
            hides_processes: false,
            free_kib: Default::default(),
            wanted_rights: Vec::new(),
            missing_rights: Ok(vec![]),
            may_root_shell: false,
            lock: None,
            begun: vec![],
            addresses: vec![],
            nginx: Some(NginxFacts {
                path: unknown(),
                stat: String::new(),
                also: vec![],
                unread: vec![],
                left: None,
                read_instead: None,
                mounted: None,
                loaded: vec![],
                beside: vec![],
                is_link: false,
                known: std::collections::BTreeMap::new(),
                text: unknown(),
                sha256: None,
                is_valid: Ok(()),
                is_loaded: Ok(true),
                defined_in: vec![],
                pidfile: String::new(),
                master: None,
                workers: 2,
                error_logs: vec![],
                access_logs: vec![],
                mentions: vec![],
                kept_names: vec![],
                side_texts: SideTexts::default(),
                probe: Get::default(),
                probe_origin: Default::default(),
                probe_answered_by: Some(Colour::Green),
                mark: None,
            }),
            blue: app(),
            green: app(),
        }),
    };
    let why = || NotKnown { why: "connect: connection refused".into(), hint: None };
    let down = |name: &str| HostFacts { host: host(name), seen: Err(why()) };
    Facts::new(began(), green_on.iter().map(|n| seen(n)).chain(unreachable.iter().map(|n| down(n))).collect())
}

/// Ten requests a second for two minutes before traffic was safe, some of them errors, and for 90 s after it.
pub fn seconds(errors_before: u64, errors_after: u64) -> Vec<Second> {
    let began = began().timestamp();
    let second = |at: i64| {
        let left = if at < 0 { errors_before } else { errors_after };
        let errors = u64::try_from(at.rem_euclid(120)).is_ok_and(|at| at < left);
        Second { at: began + at, requests: 10, errors: u64::from(errors) }
    };
    (-120..90).map(second).collect()
}

pub fn full_run() -> Told {
    let mut told = Told::begin("Error rate 12 % since the 21:04 deploy", &["web1", "web2"]);
    for (name, ms) in [("web1", 190), ("web2", 195)] {
        told = told.intent(160, StepWord::Lock, name).outcome(
            ms,
            StepWord::Lock,
            name,
            Status::Done,
            30,
            "candidate accepted",
        );
    }
    for (name, ms) in [("web1", 402), ("web2", 412)] {
        told = told
            .intent(200, StepWord::Switch, name)
            .outcome(ms, StepWord::Switch, name, Status::Done, 183, "blue 100, green down")
            .at(ms, What::Balancer { host: host(name), state: Balancer::Shifted, share: Share::ALL });
    }
    told = told.at(412, What::TrafficSafe { hosts: 2, to: Direction::to(Colour::Blue) });
    for name in ["web1", "web2"] {
        told = told
            .outcome(415, StepWord::Drain, name, Status::Started, 0, "")
            .outcome(2_431, StepWord::Drain, name, Status::Done, 2_016, "no connection to green, no old worker")
            .intent(2_440, StepWord::Stop, name)
            .outcome(4_012, StepWord::Stop, name, Status::Done, 1_570, "green stopped, its port stays closed")
            .at(4_012, What::App { host: host(name), colour: Colour::Green, state: AppState::Stopped });
    }
    for (name, before, after) in [("web1", 145, 1), ("web2", 139, 0)] {
        told = told.outcome(5_500, StepWord::Verify, name, Status::Done, 1_400, "blue answers 3 of 3").at(
            5_500,
            What::Errors {
                host: host(name),
                before: ErrorShare { requests: 1200, errors: before },
                after: ErrorShare { requests: 900, errors: after },
                seconds: seconds(before, after),
                clients_before: Some(Clients { count: before / 2, is_cut: false }),
                clients_after: Some(Clients { count: after, is_cut: false }),
            },
        );
    }
    told.outcome(
        6_900,
        StepWord::Verify,
        "",
        Status::Done,
        1_300,
        "https://listings.example.com/health answers, smoke command passes",
    )
    .at(
        7_000,
        What::Captured(Captured {
            host: Some(host("web1")),
            file: "green-rollback-web1-20261120-211503.log.gz".into(),
            of: "/opt/listings/logs/green.log".into(),
            bytes: 48_211,
            unpacked_bytes: 1_911_402,
            lines: 18_322,
            sha256: "9f2c".repeat(16),
            patterns: vec![
                Pattern {
                    kind: "query".into(),
                    count: 1_204,
                    example: "ERROR query failed: pq: relation \"listings_v2\" does not exist (SQLSTATE 42P01)".into(),
                },
                Pattern {
                    kind: "panic".into(),
                    count: 3,
                    example: "panic: runtime error: index out of range [5]".into(),
                },
            ],
        }),
    )
    .at(
        7_010,
        What::Gap {
            host: Some(host("web2")),
            what: "/opt/listings/logs/green.log".into(),
            why: "it may not be read there".into(),
        },
    )
    .outcome(7_020, StepWord::Evidence, "web1", Status::Done, 6_500, "1 file, 48 KiB, 0 gaps")
    .outcome(8_990, StepWord::Notify, "", Status::Done, 300, "slack, email")
    .end(9_031)
}

pub fn put_back_run() -> Told {
    let mut told = Told::begin("High error rate", &["web1", "web2"]);
    for name in ["web1", "web2"] {
        told = told
            .intent(200, StepWord::Switch, name)
            .outcome(
                2_300,
                StepWord::Switch,
                name,
                Status::Failed,
                2_100,
                "blue was not seen within 2 s; the old file is in place again",
            )
            .at(2_300, What::Balancer { host: host(name), state: Balancer::PutBack, share: Share::ALL });
    }
    told.end(2_400)
}

/// The process was killed while web2 was being switched.
pub fn killed_run() -> Told {
    Told::begin("High error rate", &["web1", "web2", "web3"])
        .intent(200, StepWord::Switch, "web1")
        .intent(200, StepWord::Switch, "web2")
        .outcome(390, StepWord::Switch, "web1", Status::Done, 183, "blue 100, green down")
        .at(390, What::Balancer { host: host("web1"), state: Balancer::Shifted, share: Share::ALL })
}

pub fn known(plan: Option<&Plan>, facts: Option<&Facts>) -> Known {
    let nobody = Facts::new(began(), Vec::new());
    plan.map_or_else(Known::default, |plan| Known::of(plan, facts.unwrap_or(&nobody)))
}
