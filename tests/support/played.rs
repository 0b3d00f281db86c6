//! A whole run, from the first question to the verdict, played by the planner and the engine as they are against hosts in
//! memory. Each file that plays runs compiles this for itself and uses a part of it, hence the allowance below.
#![allow(dead_code)]

#[path = "config.rs"]
mod config;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::{LazyLock, Mutex, OnceLock};

use super::fleet::{Fleet, PATH};
use config::inventory_of;
use rollback_prod::engine::run::execute;
use rollback_prod::engine::turns::turns;
use rollback_prod::engine::{planner, safety};
use rollback_prod::hosts::program::Tenure;
use rollback_prod::incident::folder::Folder;
use rollback_prod::incident::journal::{Journal, Progress, Typed, Watcher};
use std::time::Duration;

use rollback_prod::nginx::Template;
use rollback_prod::nouns::clock::Clock;
use rollback_prod::nouns::colour::Colour;
use rollback_prod::nouns::consent::Confirmed;
use rollback_prod::nouns::inventory::{Inventory, Role};
use rollback_prod::nouns::names::{ChangeName, HostName, IncidentId};
use rollback_prod::nouns::plan::{FileChange, Plan, StageName, TakesOver};
use rollback_prod::nouns::production::{Production, Verdict};
use rollback_prod::nouns::record::{Balancer, Begun, Entry, Repeat, What};
use rollback_prod::nouns::redact::Redactor;
use rollback_prod::nouns::request::{Gradual, MadeChange, Request, Undoing};
use rollback_prod::nouns::rules::Judgement;
use rollback_prod::nouns::share::Share;
use rollback_prod::nouns::side::{Direction, Side};
use rollback_prod::steps::about::AboutRun;
use rollback_prod::steps::change;
use rollback_prod::steps::context::{Context, Files, Locks, SeenSince};
use rollback_prod::steps::observe::observe;

const FILE: &str = "upstream listings_backend {\n    server SERVER:8080 down;\n    server SERVER:8081 weight=100;\n}\nserver {\n    listen 80;\n    location / { proxy_pass http://listings_backend; }\n}\n";

/// How many hosts, and whether balancers and applications are the same ones.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// Each host sends to itself.
    Alike(usize),
    /// Two balancers before so many application hosts, whose servers have one address.
    InFront(usize),
}

pub fn inventory(shape: Shape) -> (Inventory, String) {
    let host =
        |name: String, roles: &str| format!("[[host]]\nname = \"{name}\"\nssh = \"{name}\"\nroles = [{roles}]\n\n");
    let (hosts, server): (String, &str) = match shape {
        Shape::Alike(count) => {
            ((1..=count).map(|n| host(format!("web{n}"), "\"balancer\", \"app\"")).collect(), "127.0.0.1")
        }
        Shape::InFront(apps) => {
            let lbs: String = (1..=2).map(|n| host(format!("lb{n}"), "\"balancer\"")).collect();
            let apps: String = (1..=apps).map(|n| host(format!("app{n}"), "\"app\"")).collect();
            (lbs + &apps, "10.0.0.1")
        }
    };
    let text = format!(
        r#"service = "listings"
{hosts}[nginx]
file = "{PATH}"
upstream = "listings_backend"
[blue]
servers = ["{server}:8080"]
health = ["http://{server}:8080/health"]
run.systemd = "listings-blue.service"
[green]
servers = ["{server}:8081"]
health = ["http://{server}:8081/health"]
run.systemd = "listings-green.service"
[change.word]
on = "app"
files = [{{ put = "/opt/word.old", in = "/opt/word" }}]
[drain]
timeout = "5s"
[verify]
passes = 2
interval = "100ms"
timeout = "3s"
"#
    );
    (inventory_of(Path::new("rollback.toml"), text), FILE.replace("SERVER", server))
}

/// Tells the hosts what the journal says before anything is done, and whoever watches beside.
struct Teller<'a>(&'a Fleet, Mutex<String>, Option<&'a dyn Watcher>);

impl Teller<'_> {
    fn say(&self, line: std::fmt::Arguments<'_>) {
        let _ = self.1.lock().expect("no test panics in there").write_fmt(line);
    }
}

impl Watcher for Teller<'_> {
    fn show(&self, entry: &Entry) {
        if let Some(beside) = self.2 {
            beside.show(entry);
        }
        match &entry.what {
            What::Intent { step, host, .. } => self.0.intent(step.as_str(), host),
            What::Outcome { step, host, status, detail, .. } => {
                self.say(format_args!("  {} {host:?} {status:?}: {detail}\n", step.as_str()));
            }
            What::Note { text } => self.say(format_args!("  note: {text}\n")),
            What::Answer { host, colour, is_good, detail } => {
                self.say(format_args!("  {host}: {colour} answers: {is_good} {detail}\n"));
            }
            _ => {}
        }
    }

    fn ask(&self, _text: &str, _question: &str) -> Typed {
        Box::pin(async { None })
    }

    fn progress(&self, progress: &Progress<'_>) {
        if let Some(beside) = self.2 {
            beside.progress(progress);
        }
    }

    fn judging(&self, judgement: &Judgement) {
        if let Some(beside) = self.2 {
            beside.judging(judgement);
        }
    }
}

pub fn request(number: u32, only: Vec<HostName>, undo: Option<Undoing>) -> Request {
    let clock = Clock::start();
    Request {
        id: IncidentId::new(format!("rollback-20261121-00000{number}")).expect("a name"),
        reason: "high error rate".into(),
        severity: None,
        operator: "op".into(),
        begun_at: clock.began_at(),
        only,
        direction: Direction::to(undo.as_ref().map_or(Colour::Blue, |undo| undo.to)),
        from_is_kept: undo.is_some(),
        is_forced: false,
        takes_over: TakesOver::Nobody,
        bake: None,
        changes: Vec::new(),
        migrate_down: None,
        to_release: None,
        is_partial: false,
        restore: None,
        undo,
        gradual: None,
        among: None,
    }
}

/// The same in steps, none of which is held: what is judged has tests of its own.
pub fn in_steps(request: Request) -> Request {
    let steps = [10, 50, 100].into_iter().filter_map(Share::percent).collect();
    let gradual = Gradual {
        steps,
        hold: Duration::ZERO,
        hold_max: Duration::ZERO,
        dead_man: Some(Duration::from_secs(600)),
        flags: String::new(),
    };
    Request { from_is_kept: true, gradual: Some(gradual), ..request }
}

/// A run that is over: what it says, what it changed, and its words on the way.
pub struct Ran {
    pub verdict: Verdict,
    pub production: Production,
    /// What an undo of it would put back.
    pub files: BTreeMap<HostName, FileChange>,
    pub between: BTreeMap<HostName, Vec<String>>,
    /// The changes that it made, or may have made.
    pub changes: Vec<MadeChange>,
    pub to: Colour,
    /// The files that it was to put back, where it was an undo.
    pub undoes: BTreeMap<HostName, String>,
    pub was_refused: bool,
    pub said: String,
    /// Where there was one.
    pub plan: Option<Plan>,
}

// Its rules take longer to compile than a run takes.
static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| Redactor::new(&[], std::iter::empty()));

/// The change of the config.
pub fn word() -> ChangeName {
    ChangeName::new("word").expect("a name")
}

/// One run, from the first question to the verdict.
pub async fn run(fleet: &Fleet, inventory: &Inventory, incidents: &Path, request: &Request) -> Ran {
    run_beside(fleet, inventory, incidents, request, None).await
}

/// The same, and somebody else sees what happens.
pub async fn run_beside(
    fleet: &Fleet,
    inventory: &Inventory,
    incidents: &Path,
    request: &Request,
    beside: Option<&dyn Watcher>,
) -> Ran {
    let teller = Teller(fleet, Mutex::default(), beside);
    let journal = Journal::new(Clock::start(), &teller);
    fleet.forget_intents();
    let interrupts = fleet.interrupts();
    let mut facts = observe(fleet, inventory, request.direction, &journal).await;
    if !request.changes.is_empty() {
        let about = AboutRun::of_request(request, inventory);
        facts.changes = change::look(fleet, inventory, &facts, &request.changes, &about, &REDACTOR).await;
    }
    let undoes: BTreeMap<HostName, String> = match &request.undo {
        Some(undo) => undo.files.iter().map(|(host, change)| (host.clone(), change.before.clone())).collect(),
        None => BTreeMap::new(),
    };
    let over = |exit: u8, why: String| {
        let undoes = undoes.clone();
        let production = journal.production(Clone::clone);
        let words = format!("nothing was changed; {}", production.words());
        let said = teller.1.lock().expect("no test panics in there").clone() + &why;
        let verdict = Verdict { exit, production: words, next: String::new(), left: Vec::new() };
        Ran {
            verdict,
            production,
            files: BTreeMap::new(),
            between: BTreeMap::new(),
            changes: Vec::new(),
            to: request.direction.colour(Side::To),
            undoes,
            was_refused: true,
            said,
            plan: None,
        }
    };
    if *interrupts.borrow() > 0 {
        return over(130, String::new());
    }
    // A run parses it once, and here are many.
    static TEMPLATE: LazyLock<Template> = LazyLock::new(Template::built_in);
    let plan = match planner::plan(request, inventory, &facts, &TEMPLATE) {
        Ok(plan) => plan,
        Err(refusals) => {
            let why: Vec<&str> = refusals.iter().map(|refusal| refusal.why.as_str()).collect();
            return over(1, why.join("; "));
        }
    };
    let violations = safety::check(&plan, inventory, &facts);
    if !violations.is_empty() {
        return over(2, format!("the plan is not safe: {violations:?}\n{plan}"));
    }
    journal.record(What::Begun(Box::new(begun(&plan, inventory, request))));
    let folder = Folder::create(incidents, &request.id).expect("a folder");
    let (locks, files) = (Locks::default(), Files::default());
    let context = Context {
        plan: &plan,
        inventory,
        facts: &facts,
        fleet,
        journal: &journal,
        folder: &folder,
        redactor: &REDACTOR,
        interrupts: interrupts.clone(),
        tenure: Tenure {
            run: request.id.clone(),
            services: vec![inventory.word_on_hosts()],
            holder: format!("op ({})", request.id),
            takes_over: TakesOver::Nobody,
            number: None,
        },
        locks: &locks,
        files: &files,
        seen_since: SeenSince::default(),
        stopped: OnceLock::new(),
    };
    let consent = Confirmed::by_reason(&plan).expect("it has a reason");
    let turns = turns(1, false);
    let engine = execute(&context, &consent, &turns[0]).await;
    // The report and the messages take a moment.
    engine.while_watched(tokio::time::sleep(std::time::Duration::from_millis(2500))).await;
    engine.settle().await;
    locks.release().await;
    let was_interrupted = *interrupts.borrow() > 0;
    let production = journal.production(Clone::clone);
    let mut files: BTreeMap<HostName, FileChange> = BTreeMap::new();
    let mut between: BTreeMap<HostName, Vec<String>> = BTreeMap::new();
    for (host, change) in plan.file_changes().filter(|(host, change)| {
        change.is_needed() && matches!(production.balancer(host), Some(Balancer::Shifted | Balancer::Unknown))
    }) {
        // Shares together are one change.
        let after = change.after.clone();
        between.entry(host.clone()).or_default().push(after.clone());
        files.entry(host.clone()).and_modify(|all| all.after = after).or_insert(change.clone());
    }
    let steps = plan.stages.iter().flat_map(|stage| stage.steps.iter().map(move |step| (stage.name, step)));
    let changes = steps
        .filter_map(|(stage, step)| Some((stage, &step.host, step.changes()?)))
        .filter(|(_, host, work)| production.changes_made().any(|made| made == (&work.name, *host)))
        .map(|(stage, host, work)| MadeChange {
            host: host.clone(),
            work: work.clone(),
            was_before: matches!(stage, StageName::Ready(_)),
        })
        .collect();
    let said = teller.1.lock().expect("no test panics in there").clone();
    let verdict = production.verdict(was_interrupted);
    Ran {
        verdict,
        production,
        files,
        between,
        changes,
        to: request.direction.colour(Side::To),
        undoes,
        was_refused: false,
        said,
        plan: Some(plan.clone()),
    }
}

fn begun(plan: &Plan, inventory: &Inventory, request: &Request) -> Begun {
    Begun {
        restore_flags: None,
        down_flag: None,
        to_release: None,
        changes: plan.changes.clone(),
        id: plan.id.to_string(),
        program: "simulation".into(),
        service: plan.service.clone(),
        group: None,
        environment: plan.environment.clone(),
        reason: request.reason.clone(),
        severity: None,
        operator: request.operator.clone(),
        laptop: "here".into(),
        balancers: plan.balancers.clone(),
        apps: inventory.with_role(Role::App).map(|host| host.name.clone()).collect(),
        green_is_kept: request.from_is_kept,
        undoes: request.undo.as_ref().map(|undo| undo.incident.to_string()),
        direction: plan.direction,
        traffic_stays: !plan.moves_traffic(),
        releases: None,
        gradual: request.gradual.as_ref().map(|_| Repeat { command: "switch --to blue".into(), last: Share::ALL }),
        restores: None,
        oncall: None,
        commander: None,
        escalate: Vec::new(),
        targets_ms: Default::default(),
    }
}
