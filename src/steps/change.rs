//! Makes a change of the config on a host, or here, or takes it back: files, words, a restart, and the proof that it is in force.
//! What undoes it is the same the other way round.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;

use super::about::AboutRun;
use super::again::{self, Fetched};
use super::context::{Context, Outcome};
use super::here::{self, LocalWords};
use super::passes::{self, InARow};
use super::{start, stop};
use crate::hosts::answer::{Answer, Failure};
use crate::hosts::facts::{ChangeSeen, Facts, check_status};
use crate::hosts::program::{Arguments, Change, LIB, Question, Script, Tenure, UNIT, WORDS, program, script};
use crate::hosts::remote::{Apply, Ask};
use crate::incident::evidence;
use crate::nouns::change::{ChangeWork, FilePut, HERE, Manner, NamedChange};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Inventory, Run};
use crate::nouns::names::{ChangeName, HostName};
use crate::nouns::plan::Target;
use crate::nouns::record::{AppState, ChangeState, Status, StepWord, What};
use crate::nouns::redact::{Redactor, printable_lines};

pub(super) const CHANGE: Script = script!("change", LIB, WORDS);
pub(super) const STANDING: Script = script!("standing", LIB, WORDS);

/// What a script needs besides the time that words may take.
const BESIDE: Duration = Duration::from_secs(30);

/// What a change is on a host: its files, and whether it is in force.
pub fn standing(inventory: &Inventory, change: &NamedChange, env: &[(String, String)]) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("service", &inventory.service);
    arguments.set("name", &change.name);
    for file in &change.files {
        arguments.set("file", format!("{}{UNIT}{}", file.put, file.into));
    }
    if !change.check.is_empty() {
        arguments.set("asks", "yes");
        set_words(&mut arguments, &change.check, &change.manner, env);
    } else {
        arguments.set("seconds", change.timeout_seconds());
    }
    // A step that is at work, and then the words.
    Question(program(STANDING, arguments, change.manner.timeout * 2 + BESIDE))
}

/// Whether the program of a hook is there.
pub fn lacking(inventory: &Inventory, program_of: &str, manner: &Manner) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("program", program_of);
    if let Some(cwd) = &manner.cwd {
        arguments.set("cwd", cwd);
    }
    Question(program(STANDING, arguments, BESIDE))
}

/// Files and words of a change, or the words of a hook, on a host.
#[derive(Debug, Clone, Copy)]
pub struct WorkOnHost<'w> {
    /// What the step is called there.
    pub name: &'w str,
    pub is_back: bool,
    pub files: &'w [FilePut],
    pub words: &'w [String],
    pub manner: &'w Manner,
    pub env: &'w [(String, String)],
}

pub fn work(inventory: &Inventory, tenure: &Tenure, work: &WorkOnHost<'_>) -> Change {
    let mut arguments = Arguments::new(inventory);
    arguments.set("service", &inventory.service);
    arguments.tenure(tenure);
    arguments.set("run", &tenure.run);
    arguments.set("name", work.name);
    if work.is_back {
        arguments.set("back", "yes");
    }
    for file in work.files {
        let before = file.into_sha256.as_deref().unwrap_or("-");
        let words = [&file.put, &file.into, &file.put_sha256, before];
        arguments.set("file", words.join(UNIT));
    }
    set_words(&mut arguments, work.words, work.manner, work.env);
    Change(program(CHANGE, arguments, work.manner.timeout + BESIDE))
}

fn set_words(arguments: &mut Arguments, words: &[String], manner: &Manner, env: &[(String, String)]) {
    words.iter().for_each(|word| arguments.set("word", word));
    env.iter().for_each(|(name, value)| arguments.set("env", format!("{name}={value}")));
    if let Some(cwd) = &manner.cwd {
        arguments.set("cwd", cwd);
    }
    arguments.set("seconds", manner.timeout.as_secs().max(1));
}

/// How the changes of those names stand, on the hosts that were reached and here. Only asks.
pub async fn look<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    facts: &Facts,
    names: &[ChangeName],
    about: &AboutRun,
    redactor: &Redactor,
) -> Vec<ChangeSeen> {
    let all = names.iter().filter_map(|name| inventory.change(name)).flat_map(|change| {
        let hosts = change.manner.on.hosts().into_iter();
        hosts.filter(|host| is_here(host) || facts.seen(host).is_some()).map(move |host| (change, host))
    });
    let asked = all.map(|(change, host)| async move {
        let env = about.env(&format!("check {}", change.name), &change.manner);
        if is_here(&host) {
            let check = match change.check.is_empty() {
                true => None,
                false => Some(check_here(inventory, change, &env).await),
            };
            return ChangeSeen::here(change, check);
        }
        let answer = fleet.ask(&host, &standing(inventory, change, &env)).await;
        ChangeSeen::read(&host, change, answer, redactor)
    });
    join_all(asked).await
}

fn is_here(host: &HostName) -> bool {
    host.as_str() == HERE
}

/// The config's folder is where words are run here.
pub(super) fn folder_here<'i>(inventory: &'i Inventory, manner: &'i Manner) -> Option<&'i Path> {
    let configs = || inventory.sources.first().and_then(|path| path.parent());
    manner.cwd.as_deref().map(Path::new).or_else(configs)
}

/// Words on this machine, as a change or a hook has them.
pub(super) async fn words_here(
    inventory: &Inventory,
    words: &[String],
    manner: &Manner,
    env: &[(String, String)],
) -> here::RanHere {
    here::run(&LocalWords { words, folder: folder_here(inventory, manner), env, limit: manner.timeout }).await
}

async fn check_here(inventory: &Inventory, change: &NamedChange, env: &[(String, String)]) -> Result<i32, String> {
    let ran = words_here(inventory, &change.check, &change.manner, env).await;
    match ran.ended {
        Ok(status) => check_status(status.code(), change),
        Err(why) => Err(format!("it {why}")),
    }
}

/// What `change.sh` ended with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum WorkEnded {
    Done,
    /// A file is another than when it was looked at.
    FileIsAnother,
    NotWritten,
    WordsFailed,
    WordsTookTooLong,
    NotPutBack,
    Fenced,
    Otherwise(i32),
}

impl WorkEnded {
    fn with(status: i32) -> WorkEnded {
        match status {
            0 => WorkEnded::Done,
            10 => WorkEnded::FileIsAnother,
            12 => WorkEnded::NotWritten,
            20 => WorkEnded::WordsFailed,
            21 => WorkEnded::WordsTookTooLong,
            30 => WorkEnded::NotPutBack,
            93 => WorkEnded::Fenced,
            other => WorkEnded::Otherwise(other),
        }
    }
}

/// Why files and words did not come to their end, and what the change is then.
struct NotDone {
    status: Status,
    why: String,
    state: ChangeState,
}

impl NotDone {
    fn failed(why: impl Into<String>, state: ChangeState) -> NotDone {
        NotDone { status: Status::Failed, why: why.into(), state }
    }
}

/// Makes the change there, or takes it back.
pub async fn run<F: Apply>(run: &Context<'_, F>, host: &HostName, work: &ChangeWork) -> Outcome {
    let now = |state: ChangeState| What::Change { host: host.clone(), name: work.name.clone(), state };
    let Some(change) = run.inventory.change(&work.name) else {
        return Outcome::failed("the config has no such change any more").then(now(ChangeState::AsItWas));
    };
    keep_what_is_replaced(run, host, work);
    let step = if work.is_back { format!("undo {}", work.name) } else { format!("change {}", work.name) };
    let env = run.about().env(&step, &change.manner);
    let done = match is_here(host) {
        true => make_here(run, work, change, &env).await,
        false => make_there(run, host, work, change, &env).await,
    };
    if let Err(NotDone { status, why, state }) = done {
        // Words that fail may say with what they were called.
        return Outcome::new(status, run.redactor.text(&why)).then(now(state));
    }
    let mut outcome = Outcome::done(work.done_words());
    if let Some(colour) = work.restart {
        match restart(run, host, colour).await {
            Ok(follows) => outcome.follows.extend(follows),
            Err(mut failed) => {
                failed.follows.push(now(ChangeState::Unknown));
                return failed;
            }
        }
    }
    if !work.is_back && !work.check.is_empty() {
        let wanted = InARow { passes: 1, ..run.in_a_row() };
        let ask = async || match is_in_force(run, host, change, &env).await? {
            true => Ok(()),
            false => Err("its check says no".to_owned()),
        };
        if let Err(why) = passes::in_a_row(wanted, || run.interrupted() < 2, ask).await {
            let mut failed = Outcome::failed(format!("it is not in force: {why}"));
            failed.follows = outcome.follows;
            return failed.then(now(ChangeState::Unknown));
        }
    }
    outcome.then(now(if work.is_back { ChangeState::TakenBack } else { ChangeState::Made }))
}

/// Whether its check says that it is in force.
///
/// # Errors
/// Why it says nothing.
async fn is_in_force<F: Ask>(
    run: &Context<'_, F>,
    host: &HostName,
    change: &NamedChange,
    env: &[(String, String)],
) -> Result<bool, String> {
    let status = match is_here(host) {
        true => check_here(run.inventory, change, env).await?,
        false => {
            let answer = run.fleet.ask(host, &standing(run.inventory, change, env)).await;
            check_status(answer.map_err(|failure| failure.to_string())?.status_of("check"), change)?
        }
    };
    Ok(status == 0)
}

/// The state that words which failed leave, as far as it is known.
async fn after_words<F: Ask>(
    run: &Context<'_, F>,
    host: &HostName,
    work: &ChangeWork,
    change: &NamedChange,
    env: &[(String, String)],
) -> ChangeState {
    let before = if work.is_back { ChangeState::Made } else { ChangeState::TakenBack };
    // Whoever asked for words that take it back has them run.
    if !work.is_back && !work.opposite.is_empty() {
        return ChangeState::Unknown;
    }
    if !work.check.is_empty() {
        let is_in_force = is_in_force(run, host, change, env).await;
        return if is_in_force == Ok(work.is_back) { before } else { ChangeState::Unknown };
    }
    // Words that come with files put those into force.
    if work.files.iter().any(FilePut::is_needed) { before } else { ChangeState::Unknown }
}

async fn make_here<F: Ask>(
    run: &Context<'_, F>,
    work: &ChangeWork,
    change: &NamedChange,
    env: &[(String, String)],
) -> Result<(), NotDone> {
    if work.words.is_empty() {
        return Ok(());
    }
    let here = crate::nouns::change::here();
    let ran = words_here(run.inventory, &work.words, &change.manner, env).await;
    say(run, StepWord::Change, &here, work.name.as_str(), &ran.said);
    match ran.result() {
        Ok(()) => Ok(()),
        Err(why) if matches!(ran.ended, Err(here::NotRun::NotStarted(_))) => {
            Err(NotDone::failed(format!("its command {why}"), ChangeState::AsItWas))
        }
        Err(why) => {
            let state = after_words(run, &here, work, change, env).await;
            Err(NotDone::failed(format!("its command failed: {why}"), state))
        }
    }
}

async fn make_there<F: Apply>(
    run: &Context<'_, F>,
    host: &HostName,
    work: &ChangeWork,
    change: &NamedChange,
    env: &[(String, String)],
) -> Result<(), NotDone> {
    // Each way has a name of its own: one that still runs there is not taken for the other.
    let name = format!("{}-{}", if work.is_back { "undo" } else { "change" }, work.name);
    let on_host = WorkOnHost {
        name: &name,
        is_back: work.is_back,
        files: &work.files,
        words: &work.words,
        manner: &change.manner,
        env,
    };
    let program = self::work(run.inventory, &run.tenure_on(host), &on_host);
    let answer = match run.fleet.apply(host, &program).await {
        // It certainly was not sent before.
        Err(Failure::NotSent { .. }) => run.fleet.apply(host, &program).await,
        other => other,
    };
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure @ Failure::NotSent { .. }) => {
            return Err(NotDone::failed(format!("{failure}; nothing was sent"), ChangeState::AsItWas));
        }
        Err(failure @ Failure::Unknown { .. }) => {
            run.journal.note(format!("{host}: {failure}; looking again"));
            match again::result(run, host, &name, change.manner.timeout + BESIDE).await {
                Fetched::Answer(answer) => answer,
                Fetched::NoSuchStep => return read_again(run, host, work, change, env).await,
                Fetched::Nothing => {
                    let why = format!("{failure}; the host has not come back");
                    return Err(NotDone { status: Status::Unknown, why, state: ChangeState::Unknown });
                }
            }
        }
    };
    judged(run, host, work, change, env, &answer).await
}

async fn judged<F: Ask>(
    run: &Context<'_, F>,
    host: &HostName,
    work: &ChangeWork,
    change: &NamedChange,
    env: &[(String, String)],
    answer: &Answer,
) -> Result<(), NotDone> {
    let said = answer.text("said").unwrap_or_default();
    say(run, StepWord::Change, host, work.name.as_str(), &said);
    let why = || answer.text("why").map_or_else(|| answer.worst_line("said"), |why| why.trim().to_owned());
    match WorkEnded::with(answer.status) {
        WorkEnded::Done => Ok(()),
        WorkEnded::FileIsAnother if !work.is_back => Err(NotDone::failed(why(), ChangeState::AsItWas)),
        WorkEnded::NotWritten => {
            Err(NotDone::failed("a file could not be written beside the one that it replaces", ChangeState::AsItWas))
        }
        WorkEnded::WordsFailed => {
            let status = answer.text("status").unwrap_or_default();
            let why = format!("its command ended with {}: {}", status.trim(), answer.worst_line("said"));
            Err(NotDone::failed(why, after_words(run, host, work, change, env).await))
        }
        WorkEnded::WordsTookTooLong => {
            let why = format!("its command had not ended after {} s, and was ended", change.timeout_seconds());
            Err(NotDone::failed(why, after_words(run, host, work, change, env).await))
        }
        WorkEnded::FileIsAnother | WorkEnded::NotPutBack => Err(NotDone::failed(why(), ChangeState::Unknown)),
        WorkEnded::Fenced => {
            Err(NotDone::failed(format!("another run took the lock: {}", why()), ChangeState::AsItWas))
        }
        WorkEnded::Otherwise(status) => {
            let why = format!("the step ended with {status}: {}", why());
            Err(NotDone { status: Status::Unknown, why, state: ChangeState::Unknown })
        }
    }
}

/// The host knows nothing of the step: what its files say tells whether it came to its end, as far as they can.
async fn read_again<F: Ask>(
    run: &Context<'_, F>,
    host: &HostName,
    work: &ChangeWork,
    change: &NamedChange,
    env: &[(String, String)],
) -> Result<(), NotDone> {
    let answer = run.fleet.ask(host, &standing(run.inventory, change, env)).await;
    let seen = ChangeSeen::read(host, change, answer, run.redactor);
    let unknown = |why: &str| {
        let why = format!("read again: {why}");
        Err(NotDone { status: Status::Unknown, why, state: ChangeState::Unknown })
    };
    if let Some(why) = &seen.unknown {
        return unknown(&why.to_string());
    }
    let now = |file: &FilePut| {
        let found = seen.files.iter().filter_map(|file| file.work.as_ref().ok()).find(|found| found.into == file.into);
        found.map(|found| found.into_sha256.clone())
    };
    let needed = || work.files.iter().filter(|file| file.is_needed());
    let are_new = needed().all(|file| now(file) == Some(Some(file.put_sha256.clone())));
    let are_old = needed().all(|file| now(file) == Some(file.into_sha256.clone()));
    let is_done = if work.is_back { are_old } else { are_new };
    match (needed().next().is_some(), work.words.is_empty()) {
        (_, true) if is_done => Ok(()),
        (true, true) if are_new || are_old => {
            Err(NotDone::failed("read again: it did not begin there", ChangeState::AsItWas))
        }
        (true, true) => unknown("some of its files are the new ones, some the old ones, or none of both"),
        // Words alone, and something that tells: what it says is what is.
        (false, false) if work.restart.is_none() => match seen.check {
            Some(Ok(status)) if (status == 0) != work.is_back => Ok(()),
            Some(Ok(_)) => Err(NotDone::failed("read again: it did not begin there", ChangeState::AsItWas)),
            Some(Err(_)) | None => unknown("whether its command was run is not known"),
        },
        _ => unknown("whether its command was run is not known"),
    }
}

/// Stops a colour and starts it again, proven. What follows for production.
///
/// # Errors
/// The outcome of what failed.
async fn restart<F: Apply>(run: &Context<'_, F>, host: &HostName, colour: Colour) -> Result<Vec<What>, Outcome> {
    let side = run.plan.direction.side(colour);
    let target = match run.app(side).run {
        Run::Process { .. } => Target::Listener,
        Run::Systemd(_) | Run::Docker(_) | Run::Compose { .. } | Run::Command(_) => Target::Supervised,
    };
    let stopped = stop::run(run, host, side, &target, AppState::Stopped).await;
    if stopped.status != Status::Done {
        return Err(Outcome { detail: format!("{colour} was not started again: {}", stopped.detail), ..stopped });
    }
    let started = start::run_anew(run, host, side, AppState::StartedAgain).await;
    if started.status == Status::Done { Ok(started.follows) } else { Err(started) }
}

/// What is replaced goes into the incident folder, too: the host may lose it.
fn keep_what_is_replaced<F>(run: &Context<'_, F>, host: &HostName, work: &ChangeWork) {
    if work.is_back {
        return;
    }
    let seen = run.facts.change(&work.name, host);
    for (number, file) in work.files.iter().enumerate().filter(|(_, file)| file.is_needed()) {
        let replaced = seen.and_then(|seen| seen.files.get(number)).and_then(|file| file.replaced.as_ref());
        match (replaced, &file.into_sha256) {
            (_, None) => {}
            (Some(bytes), Some(_)) => {
                let name = format!("{host}.change-{}.{}.before", work.name, number + 1);
                evidence::keep_whole(run.folder, run.journal, Some(host), &name, &file.into, bytes);
            }
            (None, Some(_)) => {
                let why = "it is no text, or larger than 64 KiB; what it was is kept beside it on the host";
                run.journal.gap(Some(host), file.into.clone(), why);
            }
        }
    }
}

/// What words printed, for the journal: without secrets, and nothing in it acts.
pub(super) fn say<F>(run: &Context<'_, F>, step: StepWord, host: &HostName, of: &str, said: &str) {
    if let Some(said) = told(run.redactor, step, host, of, said) {
        run.journal.record(said);
    }
}

/// The same as an entry; `None` where they printed nothing.
pub(super) fn told(redactor: &Redactor, step: StepWord, host: &HostName, of: &str, said: &str) -> Option<What> {
    let text = printable_lines(&redactor.text(said.trim_end()));
    (!text.trim().is_empty()).then(|| What::Said { step, host: host.clone(), of: of.to_owned(), text })
}
