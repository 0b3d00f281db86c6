//! From what was asked for, what the config means and what is, to a plan or to every reason against one. Pure: no
//! I/O, no clock, no waiting. The same facts always give the same plan.

use std::fmt;

use crate::hosts::facts::{self, AppFacts, Facts, NotKnown, Seen};
use crate::nginx::{self, Serving, Template, WantedBlock};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Host, Inventory, Role, Run};
use crate::nouns::names::HostName;
use crate::nouns::plan::{
    Action, FileChange, Guard, LeftOut, Phase, PhaseKind, Plan, Proof, Request, Step, Target, Undo,
};

/// Below this much free space beside the nginx file a switch is refused: the file is written beside itself first.
const FREE_KIB_NEEDED: u64 = 256;
/// A host whose clock is further off than this is named: its log times will not fit the report's.
const CLOCK_OFFSET_NOTED_MS: i64 = 2_000;
/// A lock whose last beat is younger than this is alive; `prepare.sh` says the same.
pub const LOCK_STALE_SECONDS: u64 = 10;

/// A reason not to begin. Nothing was changed when one is shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    pub host: Option<HostName>,
    pub why: String,
    /// The command to type.
    pub hint: Option<String>,
    /// Whether `--force` goes on past it.
    pub can_be_forced: bool,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(host) = &self.host {
            write!(f, "{host}: ")?;
        }
        f.write_str(&self.why)?;
        if self.can_be_forced {
            f.write_str(" (--force goes on past this)")?;
        }
        Ok(())
    }
}

/// Makes the plan.
///
/// # Errors
/// Every refusal at once.
pub fn plan(
    request: &Request,
    inventory: &Inventory,
    facts: &Facts,
    template: &Template,
) -> Result<Plan, Vec<Refusal>> {
    let mut planner = Planner { request, inventory, facts, template, refusals: Vec::new(), notes: Vec::new() };
    let plan = planner.plan();
    let refusals: Vec<Refusal> =
        planner.refusals.into_iter().filter(|refusal| !(request.is_forced && refusal.can_be_forced)).collect();
    if refusals.is_empty() { Ok(plan) } else { Err(refusals) }
}

/// What stands in the way on the hosts, and what an operator should know, without a plan: `check`.
pub fn check(
    request: &Request,
    inventory: &Inventory,
    facts: &Facts,
    template: &Template,
) -> (Vec<Refusal>, Vec<String>) {
    let mut planner = Planner { request, inventory, facts, template, refusals: Vec::new(), notes: Vec::new() };
    planner.plan();
    (planner.refusals, planner.notes)
}

struct Planner<'a> {
    request: &'a Request,
    inventory: &'a Inventory,
    facts: &'a Facts,
    template: &'a Template,
    refusals: Vec<Refusal>,
    notes: Vec<String>,
}

impl<'a> Planner<'a> {
    /// The colour that traffic goes to.
    fn to(&self) -> Colour {
        self.inventory.blue.colour
    }

    fn plan(&mut self) -> Plan {
        let left_out = self.left_out();
        let mut phases = vec![
            Phase { kind: PhaseKind::Lock, steps: Vec::new() },
            Phase { kind: PhaseKind::StartBlue, steps: Vec::new() },
            Phase { kind: PhaseKind::Switch, steps: Vec::new() },
            Phase { kind: PhaseKind::Drain, steps: Vec::new() },
        ];
        for (host, seen) in self.in_scope(Role::Balancer) {
            self.check_host(host, seen);
            if let Some((lock, switch, drain)) = self.balancer(host, seen) {
                phases[0].steps.push(lock);
                phases[2].steps.push(switch);
                phases[3].steps.push(drain);
            }
        }
        for (host, seen) in self.in_scope(Role::App) {
            if !host.is(Role::Balancer) {
                self.check_host(host, seen);
            }
            if self.moves_traffic()
                && let Some(step) = self.blue(host, seen)
            {
                phases[1].steps.push(step);
            }
        }
        if phases[0].steps.is_empty() && self.refusals.is_empty() {
            self.refuse(None, "no balancer could be reached, so traffic cannot be moved".into(), None);
        }
        if self.moves_traffic() {
            phases.push(Phase { kind: PhaseKind::StopGreen, steps: self.stop_green(&left_out) });
            phases.push(Phase { kind: PhaseKind::Verify, steps: self.verify() });
        } else {
            // The lock, and nothing else: it is the database's turn alone.
            phases.truncate(1);
        }
        phases.retain(|phase| !phase.steps.is_empty());
        if let Some(swap) = self.request.undo.as_ref().and_then(|undo| undo.swap.as_ref()) {
            self.notes.push(format!(
                "database {}: first, {} takes its place again once UNDO is typed; what is live now is kept",
                swap.live, swap.kept
            ));
        }
        if let (Some(wish), Some(database)) = (&self.request.restore, &self.inventory.database) {
            let dump = match (&wish.backup, &database.backups) {
                (Some(backup), _) => backup.to_string(),
                (None, Some(pattern)) => format!("the newest whole dump of {pattern}"),
                (None, None) => "a dump".to_owned(),
            };
            self.notes.push(format!(
                "database {}: {dump} is loaded aside once traffic is safe; it replaces the live one only after RESTORE is \
                 typed, and that one is kept",
                database.name
            ));
        }
        Plan {
            id: self.request.id.clone(),
            service: self.inventory.service.to_string(),
            environment: self.inventory.environment.to_string(),
            reason: self.request.reason.clone(),
            towards: self.to(),
            phases,
            notes: self.notes.clone(),
            left_out,
        }
    }

    /// The hosts of a role that the operator meant and that were reached.
    fn in_scope(&self, role: Role) -> Vec<(&'a Host, &'a Seen)> {
        let meant = |host: &&Host| self.request.only.is_empty() || self.request.only.contains(&host.name);
        self.inventory
            .with_role(role)
            .filter(meant)
            .filter_map(|host| Some((host, self.facts.seen(&host.name)?)))
            .collect()
    }

    fn refuse(&mut self, host: Option<&Host>, why: String, hint: Option<String>) {
        self.refusals.push(Refusal { host: host.map(|host| host.name.clone()), why, hint, can_be_forced: false });
    }

    fn refuse_unless_forced(&mut self, host: Option<&Host>, why: String, hint: Option<String>) {
        self.refusals.push(Refusal { host: host.map(|host| host.name.clone()), why, hint, can_be_forced: true });
    }

    fn refuse_unknown(&mut self, host: &Host, not_known: &NotKnown) {
        self.refuse(Some(host), not_known.why.clone(), not_known.hint.clone());
    }

    /// Hosts that this plan does not touch. An unreachable one is never dropped: it is named, and what depends on it
    /// is not done.
    fn left_out(&mut self) -> Vec<LeftOut> {
        let mut left_out = Vec::new();
        let mut unreached = Vec::new();
        for host in &self.inventory.hosts {
            let meant = self.request.only.is_empty() || self.request.only.contains(&host.name);
            let (why, is_on_blue) = match self.facts.host(&host.name).map(|facts| &facts.seen) {
                Some(Ok(_)) if meant => continue,
                Some(Ok(seen)) => ("left out by --hosts".to_owned(), self.is_on_blue(seen)),
                Some(Err(not_known)) => {
                    unreached.push((host, not_known.clone()));
                    (format!("not reached: {not_known}"), false)
                }
                None => ("not asked".to_owned(), false),
            };
            left_out.push(LeftOut { host: host.name.clone(), why, is_balancer: host.is(Role::Balancer), is_on_blue });
        }
        let reached_balancers = self.in_scope(Role::Balancer).len();
        for (host, not_known) in unreached {
            if reached_balancers == 0 && host.is(Role::Balancer) {
                self.refuse_unknown(host, &not_known);
            } else if host.is(Role::App) && !host.is(Role::Balancer) {
                let why = format!("not reached, so {} cannot be proven there: {}", self.to(), not_known.why);
                self.refuse_unless_forced(Some(host), why, not_known.hint.clone());
            } else {
                self.notes.push(format!("{}: not reached, its traffic stays as it is: {}", host.name, not_known.why));
            }
        }
        left_out
    }

    /// What sudo does not allow of what this run may come to do: a green that is kept, as in an undo, is not stopped.
    fn missing_rights<'s>(&self, seen: &'s Seen) -> Result<Vec<&'s str>, &'s NotKnown> {
        let unused = match self.request.green_is_kept {
            true => facts::rights_to_stop(&self.inventory.green),
            false => Vec::new(),
        };
        let missing = seen.missing_rights.as_ref()?.iter().map(String::as_str);
        Ok(missing.filter(|right| !unused.iter().any(|words| words.join(" ") == *right)).collect())
    }

    fn is_on_blue(&self, seen: &Seen) -> bool {
        seen.nginx.as_ref().is_some_and(|nginx| {
            facts::serving(self.inventory, nginx) == Some(Serving::Blue)
                && nginx.probe_answered_by != Some(Colour::Green)
                && (200..500).contains(&nginx.probe.status)
        })
    }

    /// What holds for every host, whatever it does.
    fn check_host(&mut self, host: &'a Host, seen: &'a Seen) {
        match self.missing_rights(seen) {
            Err(not_known) => {
                let hint = format!(
                    "as root on {}: echo '{} ALL=(root) NOPASSWD: ALL' >/etc/sudoers.d/rollback-prod, or the few lines of README.md",
                    host.name, seen.user
                );
                self.refuse(Some(host), format!("we may not do what a switch needs: {}", not_known.why), Some(hint));
            }
            Ok(missing) if !missing.is_empty() => {
                let lines: Vec<String> = missing.iter().map(|words| sudoers_line(&seen.user, seen, words)).collect();
                self.refuse(
                    Some(host),
                    format!("sudo does not allow {}: {}", seen.user, missing.join("; ")),
                    Some(format!("visudo -f /etc/sudoers.d/rollback-prod\n{}", lines.join("\n"))),
                );
            }
            Ok(_) => {}
        }
        if !seen.has_tool("curl") && !seen.has_tool("wget") {
            self.refuse(Some(host), "it has neither curl nor wget, so nobody can be asked for an answer".into(), None);
        }
        match &seen.clock_offset_ms {
            Ok(offset) if offset.abs() > CLOCK_OFFSET_NOTED_MS => {
                self.notes.push(format!("{}: its clock is {:.1} s off ours", host.name, *offset as f64 / 1000.0));
            }
            Ok(_) | Err(_) => {}
        }
        for step in &seen.begun {
            self.notes.push(format!("{}: a step of an earlier run: {step}", host.name));
        }
        if let Some(lock) = &seen.lock {
            let is_alive = lock.age_seconds.is_some_and(|age| age < LOCK_STALE_SECONDS);
            if is_alive && self.request.takes_over {
                self.notes.push(format!("{}: the lock is taken over from the live run of {}", host.name, lock.holder));
            } else if is_alive {
                self.refuse(
                    Some(host),
                    format!("another run holds the lock: {}", lock.holder),
                    Some(
                        "ask them; if their run must stop before its next change, the same line with --take-over"
                            .into(),
                    ),
                );
            } else {
                self.notes.push(format!("{}: a stale lock is taken over from {}", host.name, lock.holder));
            }
        }
    }

    /// Lock, switch and drain of one balancer.
    fn balancer(&mut self, host: &'a Host, seen: &'a Seen) -> Option<(Step, Step, Step)> {
        let nginx = seen.nginx.as_ref()?;
        let inventory = self.inventory;
        let may_all = self.missing_rights(seen).is_ok_and(|missing| missing.is_empty());
        let path = match &nginx.path {
            Ok(path) => path,
            Err(not_known) => {
                self.refuse_unknown(host, not_known);
                return None;
            }
        };
        let text = match &nginx.text {
            Ok(text) => text,
            Err(not_known) => {
                // Without the right to read it, the right is what is asked for.
                if may_all {
                    self.refuse_unknown(host, not_known);
                }
                return None;
            }
        };
        if let Err(not_known) = &nginx.is_valid {
            // Without the right to run the test its words say nothing about the configuration.
            if may_all {
                self.refuse_unknown(host, not_known);
            }
        } else if nginx.is_loaded == Ok(false) {
            let hint = format!("ssh {} grep -rn include /etc/nginx", host.ssh);
            self.refuse(Some(host), format!("nginx does not read {path}: no include names it"), Some(hint));
        } else if let Err(not_known) = &nginx.is_loaded {
            self.notes.push(format!("{}: whether nginx reads {path} is not known: {not_known}", host.name));
        }
        if nginx.master.is_none() {
            let hint = format!("ssh {} sudo systemctl status nginx", host.ssh);
            self.refuse(Some(host), "nginx is not running there".into(), Some(hint));
        }
        for mention in &nginx.mentions {
            self.notes.push(format!("{}: another file sends to {} too: {mention}", host.name, self.to().other()));
        }
        self.check_space(host, seen, path);
        let to = self.to();
        let (blue, green) = (facts::addresses(&inventory.blue), facts::addresses(&inventory.green));
        let wanted = match to {
            Colour::Blue => WantedBlock { serve: to, blue: &blue, green: &green },
            Colour::Green => WantedBlock { serve: to, blue: &green, green: &blue },
        };
        let rewritten = match nginx::rewrite(text, &inventory.nginx.upstream, &wanted, self.template) {
            Ok(rewritten) => rewritten,
            Err(not_understood) => {
                let excerpt = if not_understood.excerpt.is_empty() {
                    String::new()
                } else {
                    format!("\n    {}", not_understood.excerpt)
                };
                let hint = format!("ssh {} cat {path}", host.ssh);
                self.refuse(Some(host), format!("{path}: {not_understood}{excerpt}"), Some(hint));
                return None;
            }
        };
        for stranger in &rewritten.strangers {
            let why = format!(
                "{path}: line {}: server {} is neither blue nor green and takes traffic",
                stranger.line, stranger.address
            );
            self.refuse_unless_forced(Some(host), why, Some(format!("ssh {} cat {path}", host.ssh)));
        }
        for added in &rewritten.added {
            self.notes.push(format!("{}: {to}'s server {added} is not in the block and is added", host.name));
        }
        if nginx.mark.is_none() && seen.blue.is_running.as_ref().is_ok_and(|running| *running) {
            self.notes.push(format!(
                "{}: answers of blue and green look alike; the switch counts as proven when no old worker accepts any more",
                host.name
            ));
        }
        let after = match self.moves_traffic() {
            true => self.before_the_incident(host, text).unwrap_or(rewritten.text),
            false => text.clone(),
        };
        let change = FileChange { path: path.clone(), before: text.clone(), after };
        let is_needed = change.is_needed();
        let sha256 = nginx.sha256.clone().unwrap_or_default();
        let step = |action: Action, guard: Guard, undo: Undo, why: String| Step {
            host: host.name.clone(),
            action,
            guard,
            undo,
            why,
        };
        Some((
            step(
                Action::Lock { candidate: is_needed.then(|| change.clone()) },
                Guard::NobodyElseHoldsTheLock,
                Undo::Released,
                "two runs must not write the same file; nginx must accept the new one before any host changes".into(),
            ),
            step(
                Action::Switch {
                    change,
                    proof: Proof {
                        pidfile: nginx.pidfile.clone(),
                        error_logs: nginx.error_logs.clone(),
                        access_logs: nginx.access_logs.clone(),
                        mark: nginx.mark.clone(),
                    },
                },
                Guard::FileIsUnchanged { sha256 },
                Undo::PutsFileBack,
                if is_needed {
                    format!("{path}: {to} weight=100, {} down; test, reload, wait until {to} answers", to.other())
                } else {
                    format!("{path} says so already: test, reload, wait until {to} answers")
                },
            ),
            step(
                Action::Drain,
                Guard::BalancersAreOnBlue,
                Undo::NothingToUndo,
                format!(
                    "requests in flight end on {}; {} s at most",
                    to.other(),
                    inventory.drain_timeout.as_secs_f64()
                ),
            ),
        ))
    }

    fn check_space(&mut self, host: &Host, seen: &Seen, path: &str) {
        let mount = seen
            .free_kib
            .iter()
            .filter(|(mount, _)| path.starts_with(mount.as_str()))
            .max_by_key(|(mount, _)| mount.len());
        if let Some((mount, free)) = mount.filter(|(_, free)| **free < FREE_KIB_NEEDED) {
            let hint = format!("ssh {} df -h {mount}", host.ssh);
            self.refuse(
                Some(host),
                format!("{mount} is full ({free} KiB free), {path} cannot be replaced"),
                Some(hint),
            );
        }
    }

    /// Whether traffic is to be moved at all: an incident may have changed the database alone.
    fn moves_traffic(&self) -> bool {
        self.request.undo.as_ref().is_none_or(|undo| !undo.files.is_empty())
    }

    /// In an undo, the file as it was before the incident, where it is still what the incident made of it.
    fn before_the_incident(&mut self, host: &Host, text: &str) -> Option<String> {
        let change = self.request.undo.as_ref()?.files.get(&host.name)?;
        if change.after == text || change.before == text {
            return Some(change.before.clone());
        }
        self.notes.push(format!(
            "{}: {} is not what the incident left any more; only the shares are changed, the rest stays as it is now",
            host.name, change.path
        ));
        None
    }

    /// The step that starts the colour we go to, where it is down.
    fn blue(&mut self, host: &'a Host, seen: &'a Seen) -> Option<Step> {
        let to = self.to();
        let blue = &seen.blue;
        let run = &self.inventory.blue.run;
        if blue.port_is_open && blue.listener_is_ours == Ok(false) {
            let who: Vec<String> =
                blue.listeners.iter().map(|l| format!("pid {} {} on port {}", l.pid, l.exe, l.port)).collect();
            self.refuse(
                Some(host),
                format!("{to}'s port is answered by somebody else: {} is not {}", who.join(", "), run.describe()),
                Some(format!("ssh {} sudo ss -ltnp", host.ssh)),
            );
            return None;
        }
        let is_running = match &blue.is_running {
            Ok(is_running) => *is_running,
            Err(not_known) if blue.is_healthy() => {
                self.notes.push(format!(
                    "{}: {to} answers, but its {} is not known: {not_known}",
                    host.name,
                    run.describe()
                ));
                true
            }
            Err(not_known) => {
                let hint = start_hint(host, run, "status");
                self.refuse(Some(host), format!("{to} cannot be judged: {not_known}; {}", blue.complaint()), hint);
                return None;
            }
        };
        if !is_running && !blue.port_is_open {
            if matches!(run, Run::Process { start: None, .. }) {
                let why =
                    format!("{to} is down, and the config does not say how to start it ([{to}] run.process.start)");
                self.refuse(Some(host), why, None);
                return None;
            }
            return Some(Step {
                host: host.name.clone(),
                action: Action::Start { colour: Colour::Blue },
                guard: Guard::WeHoldTheLock,
                undo: Undo::StopAgain,
                why: format!("{to} is down ({}): start {} and ask it", blue.state, run.describe()),
            });
        }
        if !blue.is_healthy() {
            let why = format!("{to} runs ({}) and is not well: {}", blue.state, blue.complaint());
            self.refuse(Some(host), why, start_hint(host, run, "status"));
            return None;
        }
        if let Err(not_known) = &blue.listener_is_ours {
            self.notes.push(format!("{}: who answers on {to}'s port is not known: {not_known}", host.name));
        }
        None
    }

    /// Green is stopped where no balancer can still send to it, known or not, and only if it is wanted and running.
    fn stop_green(&mut self, left_out: &[LeftOut]) -> Vec<Step> {
        if self.request.green_is_kept {
            return Vec::new();
        }
        let green = &self.inventory.green;
        let mut steps = Vec::new();
        for host in self.inventory.with_role(Role::App) {
            let Some(seen) = self.facts.seen(&host.name) else { continue };
            if !must_be_stopped(&green.run, &seen.green) {
                continue;
            }
            let senders: Vec<&str> = left_out
                .iter()
                .filter(|left| left.is_balancer && !left.is_on_blue && may_send_to(green, &left.host, &host.name))
                .map(|left| left.host.as_str())
                .collect();
            if !senders.is_empty() {
                self.notes.push(format!(
                    "{}: green is left running: {} may still send to it",
                    host.name,
                    senders.join(", ")
                ));
                continue;
            }
            let target = match (&green.run, seen.green.listeners.first()) {
                (Run::Systemd(_) | Run::Docker(_) | Run::Compose { .. }, _) => Target::Supervised,
                (Run::Process { exe, .. }, Some(listener)) if seen.green.listener_is_ours == Ok(true) => {
                    Target::Process { pid: listener.pid, started: listener.started.clone(), exe: exe.to_string() }
                }
                (Run::Process { exe, .. }, Some(listener)) => {
                    self.notes.push(format!(
                        "{}: green is left running: pid {} on its port is {}, not {exe}",
                        host.name, listener.pid, listener.exe
                    ));
                    continue;
                }
                (Run::Process { .. }, None) => {
                    self.notes.push(format!(
                        "{}: green is left running: the process on its port belongs to another user and sudo does not show it",
                        host.name
                    ));
                    continue;
                }
            };
            steps.push(Step {
                host: host.name.clone(),
                action: Action::Stop { colour: Colour::Green, target },
                guard: Guard::NobodyReachesGreen,
                undo: Undo::StartAgain,
                why: format!(
                    "{}: SIGTERM, after {} s SIGKILL, then its port must stay closed",
                    green.run.describe(),
                    green.stop_timeout.as_secs_f64()
                ),
            });
        }
        steps
    }

    fn verify(&self) -> Vec<Step> {
        let verify = &self.inventory.verify;
        self.inventory
            .hosts
            .iter()
            .filter(|host| self.request.only.is_empty() || self.request.only.contains(&host.name))
            .filter(|host| self.facts.seen(&host.name).is_some() && (host.is(Role::App) || host.is(Role::Balancer)))
            .map(|host| Step {
                host: host.name.clone(),
                action: Action::Verify,
                guard: Guard::Nothing,
                undo: Undo::NothingToUndo,
                why: format!(
                    "{} answers in a row {} s apart, public URLs and smoke command from here, nginx's error share",
                    verify.passes,
                    verify.interval.as_secs_f64()
                ),
            })
            .collect()
    }
}

/// Whether there is anything to stop. A unit that waits for its restart is not running, and will be.
pub fn must_be_stopped(run: &Run, app: &AppFacts) -> bool {
    match run {
        Run::Systemd(_) => {
            app.port_is_open
                || !(app.state.starts_with("inactive") || app.state.starts_with("failed") || app.is_running.is_err())
        }
        Run::Docker(_) | Run::Compose { .. } => app.port_is_open || app.is_running == Ok(true),
        Run::Process { .. } => app.port_is_open,
    }
}

/// Whether a balancer can reach an app host's green: local servers are reached from their own host only.
pub fn may_send_to(green: &crate::nouns::inventory::App, balancer: &HostName, app: &HostName) -> bool {
    balancer == app || !green.servers.iter().all(crate::nouns::names::ServerAddress::is_local)
}

/// The command that tells more about a colour on a host.
fn start_hint(host: &Host, run: &Run, verb: &str) -> Option<String> {
    match run {
        Run::Systemd(unit) => Some(format!("ssh {} systemctl {verb} {unit}", host.ssh)),
        Run::Docker(name) => Some(format!("ssh {} docker logs --tail 50 {name}", host.ssh)),
        Run::Compose { file, service, .. } => {
            Some(format!("ssh {} docker compose -f {file} logs --tail 50 {service}", host.ssh))
        }
        Run::Process { port, .. } => Some(format!("ssh {} 'ss -ltnp | grep {port}'", host.ssh)),
    }
}

/// The line for a sudoers file that allows exactly these words, with what sudoers(5) gives a meaning escaped.
pub fn sudoers_line(user: &str, seen: &Seen, words: &str) -> String {
    let (program, rest) = words.split_once(' ').unwrap_or((words, ""));
    let path =
        seen.tools.iter().find(|path| path.rsplit('/').next() == Some(program)).cloned().unwrap_or_else(|| {
            if program.starts_with('/') { program.to_owned() } else { format!("/usr/bin/{program}") }
        });
    let mut escaped = String::new();
    for c in rest.chars() {
        if ",:=\\*?[]!".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    format!("{user} ALL=(root) NOPASSWD: {path} {escaped}").trim_end().to_owned()
}
