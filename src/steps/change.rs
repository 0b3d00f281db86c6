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
use crate::nouns::change::{ChangeWork, FilePut, Manner, NamedChange, is_here};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::Inventory;
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
    arguments.set("service", inventory.word_on_hosts());
    arguments.set("name", &change.name);
    for file in &change.files {
        arguments.set("file", format!("{}{UNIT}{}", String::from(file.put.clone()), file.into));
    }
    for words in [&change.run, &change.undo].into_iter().filter(|words| change.as_root && !words.is_empty()) {
        arguments.set("right", words.join(UNIT));
    }
    if !change.check.is_empty() {
        arguments.set("asks", "yes");
        set_words(&mut arguments, &change.check, &change.manner, env);
    } else {
        arguments.set("seconds", change.manner.seconds());
    }
    // A step that is at work, and then the words.
    Question(program(STANDING, arguments, change.manner.timeout * 2 + BESIDE))
}

/// Whether the program of a hook is there.
pub fn lacking(inventory: &Inventory, program_of: &str, manner: &Manner) -> Question {
    let mut arguments = Arguments::new(inventory);
    arguments.set("program", program_of);
    set_folder(&mut arguments, manner);
    Question(program(STANDING, arguments, BESIDE))
}

/// Why a program could not be run on a host, or here; `None` where it can, or nobody can say. Only asks.
pub(super) async fn lacks<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    host: &HostName,
    (program_of, manner): (&str, &Manner),
) -> Option<String> {
    if is_here(host) {
        return here::lacks(program_of, folder_here(inventory, manner));
    }
    let answer = fleet.ask(host, &lacking(inventory, program_of, manner)).await.ok()?;
    answer.text("lacking").filter(|why| !why.trim().is_empty())
}

/// Files and words of a change, or the words of a hook, on a host.
#[derive(Debug, Clone, Copy)]
pub struct WorkOnHost<'w> {
    /// What the step is called there.
    pub name: &'w str,
    pub is_back: bool,
    pub files: &'w [FilePut],
    pub words: &'w [String],
    pub as_root: bool,
    pub manner: &'w Manner,
    pub env: &'w [(String, String)],
}

pub fn work(inventory: &Inventory, tenure: &Tenure, work: &WorkOnHost<'_>) -> Change {
    let mut arguments = Arguments::new(inventory);
    arguments.set("service", inventory.word_on_hosts());
    arguments.tenure(tenure);
    arguments.set("run", &tenure.run);
    arguments.set("name", work.name);
    if work.is_back {
        arguments.set("back", "yes");
    }
    for file in work.files {
        let before = file.into_sha256.as_deref().unwrap_or("-");
        let put = String::from(file.put.clone());
        let words = [&put, &file.into, &file.put_sha256, before];
        arguments.set("file", words.join(UNIT));
    }
    set_words(&mut arguments, work.words, work.manner, work.env);
    if work.as_root {
        arguments.set("root", "yes");
    }
    Change(program(CHANGE, arguments, work.manner.timeout + BESIDE))
}

fn set_words(arguments: &mut Arguments, words: &[String], manner: &Manner, env: &[(String, String)]) {
    words.iter().for_each(|word| arguments.set("word", word));
    env.iter().for_each(|(name, value)| arguments.set("env", format!("{name}={value}")));
    set_folder(arguments, manner);
    arguments.set("seconds", manner.seconds());
}

fn set_folder(arguments: &mut Arguments, manner: &Manner) {
    if let Some(cwd) = &manner.cwd {
        arguments.set("cwd", cwd);
    }
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
pub(super) enum WorkEnded {
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
    pub(super) fn with(status: i32) -> WorkEnded {
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

    fn unknown(why: String) -> NotDone {
        NotDone { status: Status::Unknown, why, state: ChangeState::Unknown }
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
    let making = Making { run, host, work, change, env: run.about().env(&step, &change.manner) };
    let done = match is_here(host) {
        true => making.here().await,
        false => making.there().await,
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
        let ask = async || match making.is_in_force().await? {
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

/// A change on its way on a host, or here.
struct Making<'m, 'a, F> {
    run: &'m Context<'a, F>,
    host: &'m HostName,
    work: &'m ChangeWork,
    change: &'m NamedChange,
    env: Vec<(String, String)>,
}

impl<F: Ask> Making<'_, '_, F> {
    /// Whether its check says that it is in force.
    ///
    /// # Errors
    /// Why it says nothing.
    async fn is_in_force(&self) -> Result<bool, String> {
        let status = match is_here(self.host) {
            true => check_here(self.run.inventory, self.change, &self.env).await?,
            false => {
                let asked = NamedChange { files: Vec::new(), ..self.asked() };
                let question = standing(self.run.inventory, &asked, &self.env);
                let answer = self.run.fleet.ask(self.host, &question).await;
                check_status(answer.map_err(|failure| failure.to_string())?.status_of("check"), self.change)?
            }
        };
        Ok(status == 0)
    }

    /// With the files of this work: those of a release are not in the config.
    fn asked(&self) -> NamedChange {
        let files = self.work.files.iter().filter_map(FilePut::asked).collect();
        let (check, run) = (self.work.check.clone(), Vec::new());
        NamedChange { files, check, run, undo: Vec::new(), ..self.change.clone() }
    }

    /// What its words printed.
    fn say(&self, said: &str) {
        say(self.run, StepWord::Change, self.host, self.work.name.as_str(), said);
    }

    /// Words that failed, and the state that they leave, as far as it is known.
    async fn words_failed(&self, why: String) -> NotDone {
        let before = if self.work.is_back { ChangeState::Made } else { ChangeState::TakenBack };
        let state = if !self.work.is_back && !self.work.opposite.is_empty() {
            // Whoever asked for words that take it back has them run.
            ChangeState::Unknown
        } else if !self.work.check.is_empty() {
            let is_as_before = self.is_in_force().await == Ok(self.work.is_back);
            if is_as_before { before } else { ChangeState::Unknown }
        } else if self.work.files.iter().any(FilePut::is_needed) {
            // Words that come with files put those into force.
            before
        } else {
            ChangeState::Unknown
        };
        NotDone::failed(why, state)
    }

    async fn here(&self) -> Result<(), NotDone> {
        if self.work.words.is_empty() {
            return Ok(());
        }
        let ran = words_here(self.run.inventory, &self.work.words, &self.change.manner, &self.env).await;
        self.say(&ran.said);
        match ran.result() {
            Ok(()) => Ok(()),
            Err(why) if matches!(ran.ended, Err(here::NotRun::NotStarted(_))) => {
                Err(NotDone::failed(format!("its command {why}"), ChangeState::AsItWas))
            }
            Err(why) => Err(self.words_failed(format!("its command failed: {why}")).await),
        }
    }

    async fn judged(&self, answer: &Answer) -> Result<(), NotDone> {
        self.say(&answer.text("said").unwrap_or_default());
        let why = || answer.text("why").map_or_else(|| answer.worst_line("said"), |why| why.trim().to_owned());
        match WorkEnded::with(answer.status) {
            WorkEnded::Done => Ok(()),
            WorkEnded::FileIsAnother if !self.work.is_back => Err(NotDone::failed(why(), ChangeState::AsItWas)),
            WorkEnded::NotWritten => Err(NotDone::failed(
                "a file could not be written beside the one that it replaces",
                ChangeState::AsItWas,
            )),
            WorkEnded::WordsFailed => {
                let status = answer.text("status").unwrap_or_default();
                let why = format!("its command ended with {}: {}", status.trim(), answer.worst_line("said"));
                Err(self.words_failed(why).await)
            }
            WorkEnded::WordsTookTooLong => {
                let seconds = self.change.manner.seconds();
                Err(self.words_failed(format!("its command had not ended after {seconds} s, and was ended")).await)
            }
            WorkEnded::FileIsAnother | WorkEnded::NotPutBack => Err(NotDone::failed(why(), ChangeState::Unknown)),
            WorkEnded::Fenced => {
                Err(NotDone::failed(format!("another run took the lock: {}", why()), ChangeState::AsItWas))
            }
            WorkEnded::Otherwise(status) => Err(NotDone::unknown(format!("the step ended with {status}: {}", why()))),
        }
    }

    /// The host knows nothing of the step: what its files say tells whether it came to its end, as far as they can.
    async fn read_again(&self) -> Result<(), NotDone> {
        let work = self.work;
        let asked = self.asked();
        let answer = self.run.fleet.ask(self.host, &standing(self.run.inventory, &asked, &self.env)).await;
        let seen = ChangeSeen::read(self.host, &asked, answer, self.run.redactor);
        let unknown = |why: &str| Err(NotDone::unknown(format!("read again: {why}")));
        let not_begun = || Err(NotDone::failed("read again: it did not begin there", ChangeState::AsItWas));
        if let Some(why) = &seen.unknown {
            return unknown(&why.to_string());
        }
        let now = |file: &FilePut| {
            let mut found = seen.files.iter().filter_map(|file| file.work.as_ref().ok());
            found.find(|found| found.into == file.into).map(|found| found.into_sha256.clone())
        };
        let needed = || work.files.iter().filter(|file| file.is_needed());
        let are_new = needed().all(|file| now(file) == Some(Some(file.put_sha256.clone())));
        let are_old = needed().all(|file| now(file) == Some(file.into_sha256.clone()));
        let is_done = if work.is_back { are_old } else { are_new };
        match (needed().next().is_some(), work.words.is_empty()) {
            (_, true) if is_done => Ok(()),
            (true, true) if are_new || are_old => not_begun(),
            (true, true) => unknown("some of its files are the new ones, some the old ones, or none of both"),
            // Words alone, and something that tells: what it says is what is.
            (false, false) if work.restart.is_none() => match seen.check {
                Some(Ok(status)) if (status == 0) != work.is_back => Ok(()),
                Some(Ok(_)) => not_begun(),
                Some(Err(_)) | None => unknown("whether its command was run is not known"),
            },
            _ => unknown("whether its command was run is not known"),
        }
    }
}

impl<F: Apply> Making<'_, '_, F> {
    async fn there(&self) -> Result<(), NotDone> {
        let Making { run, host, work, change, env } = self;
        // Each way has a name of its own: one that still runs there is not taken for the other.
        let name = format!("{}-{}", if work.is_back { "undo" } else { "change" }, work.name);
        let on_host = WorkOnHost {
            name: &name,
            is_back: work.is_back,
            files: &work.files,
            words: &work.words,
            as_root: work.as_root,
            manner: &change.manner,
            env,
        };
        let program = self::work(run.inventory, &run.tenure_on(host), &on_host);
        match again::apply(run, host, &program).await {
            Ok(answer) => self.judged(&answer).await,
            Err(failure @ Failure::NotSent { .. }) => {
                Err(NotDone::failed(format!("{failure}; nothing was sent"), ChangeState::AsItWas))
            }
            Err(failure @ Failure::Unknown { .. }) => {
                run.journal.note(format!("{host}: {failure}; looking again"));
                match again::result(run, host, &name, change.manner.timeout + BESIDE).await {
                    Fetched::Answer(answer) => self.judged(&answer).await,
                    Fetched::NoSuchStep => self.read_again().await,
                    Fetched::Nothing => Err(NotDone::unknown(format!("{failure}; the host has not come back"))),
                }
            }
        }
    }
}

/// Stops a colour and starts it again, proven. What follows for production.
///
/// # Errors
/// The outcome of what failed.
async fn restart<F: Apply>(run: &Context<'_, F>, host: &HostName, colour: Colour) -> Result<Vec<What>, Outcome> {
    let side = run.plan.direction.side(colour);
    let stopped = stop::run(run, host, side, &Target::later(&run.app(side).run), AppState::Stopped).await;
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
