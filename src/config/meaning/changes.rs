//! What else a release changes, and what is run beside the steps: where, with which words, and what they are given. Never
//! fills a variable into a word: it would stand on a command line.

use std::collections::{BTreeMap, BTreeSet};

use super::Meaning;
use super::words::optional;
use crate::config::check::any_of;
use crate::config::env_file::{is_variable_name, variable_of};
use crate::config::file::{self, OneOrMore};
use crate::config::variables::look_up;
use crate::nouns::change::{ChangePlace, EnvVar, HERE, Hook, HookAt, HookPhase, Manner, NamedChange, Put, PutBack};
use crate::nouns::colour::Colour;
use crate::nouns::inventory::{Host, Role};
use crate::nouns::migration::{self, Migrations};
use crate::nouns::names::{ChangeName, HostName, RemotePath};
use crate::nouns::secret::Secret;

/// What the runbook's own deploy calls its hooks: each a line for a shell on this machine, and where it is run.
const OF_THE_RUNBOOK: [(&str, HookAt); 2] =
    [("PRE_ROLLBACK_HOOK", HookAt::Before(HookPhase::Lock)), ("POST_ROLLBACK_HOOK", HookAt::After(HookPhase::Report))];

fn words_of(on: &OneOrMore) -> Vec<String> {
    match on {
        OneOrMore::One(word) => vec![word.clone()],
        OneOrMore::More(words) => words.clone(),
    }
}

impl Meaning<'_, '_, '_> {
    pub(super) fn changes(
        &mut self,
        written: &BTreeMap<String, file::ChangeTable>,
        hosts: &[Host],
    ) -> Option<Vec<NamedChange>> {
        let read: Vec<Option<NamedChange>> =
            written.iter().map(|(name, table)| self.named_change(name, table, hosts)).collect();
        read.into_iter().collect()
    }

    fn named_change(&mut self, name: &str, table: &file::ChangeTable, hosts: &[Host]) -> Option<NamedChange> {
        let path = format!("change.{name}");
        let at = |key: &str| format!("{path}.{key}");
        let named = self.word(&path, name, ChangeName::new);
        let on = table.on.as_ref().and_then(|on| self.change_place(&at("on"), on, hosts));
        let said = (on.clone(), table.on.as_ref().map(words_of).unwrap_or_default());
        let manner = self.manner(&path, said, &table.cwd, &table.env, &table.timeout);
        let run = self.words(&at("run"), &table.run);
        let undo = self.words(&at("undo"), &table.undo);
        let check = self.words(&at("check"), &table.check);
        let files: Vec<Option<PutBack>> =
            table.files.iter().enumerate().map(|(n, put)| self.put_back(&at(&format!("files.{n}")), put)).collect();
        let files: Option<Vec<PutBack>> = files.into_iter().collect();
        if table.files.is_empty() && table.run.is_empty() && table.restart.is_none() {
            self.wrong(&path, "changes nothing: one of files, run and restart is needed");
            return None;
        }
        if !table.undo.is_empty() && table.run.is_empty() {
            self.wrong(&at("undo"), "there is no run that it could take back");
            return None;
        }
        let colours = [("blue", Colour::Blue), ("green", Colour::Green)];
        let restart = optional(&table.restart, |word| self.one_of(&at("restart"), "colour", word, &colours));
        let is_here = on == Some(ChangePlace::Here);
        for (key, is_written) in [("files", !table.files.is_empty()), ("restart", table.restart.is_some())] {
            if is_here && is_written {
                self.wrong(&at(key), "it is of hosts, and this change is made here").hint =
                    Some(format!("{path}.on = \"app\""));
                return None;
            }
        }
        if let (true, Some(ChangePlace::On(names))) = (table.restart.is_some(), &on) {
            let runs_none = |name: &&HostName| hosts.iter().any(|host| host.name == **name && !host.is(Role::App));
            if let Some(name) = names.iter().find(runs_none) {
                self.wrong(&at("restart"), format!("{name} has not the role \"app\", so nothing runs there"));
                return None;
            }
        }
        let mut seen = BTreeSet::new();
        for (n, file) in files.iter().flatten().enumerate() {
            if !seen.insert(file.into.as_str()) || file.put == Put::File(file.into.clone()) {
                self.wrong(
                    &at(&format!("files.{n}.in")),
                    format!("{} would be what is put, too, or is put twice", file.into),
                );
                return None;
            }
        }
        Some(NamedChange {
            name: named?,
            manner: manner?,
            files: files?,
            restart: restart.ok()?,
            run: run?,
            undo: undo?,
            check: check?,
            called: None,
            as_root: false,
        })
    }

    pub(super) fn put_back(&mut self, path: &str, table: &file::PutTable) -> Option<PutBack> {
        let mut read =
            |key: &str, word: &Option<String>| self.word(&format!("{path}.{key}"), word.as_ref()?, RemotePath::new);
        let (put, into) = (read("put", &table.put), read("in", &table.into));
        Some(PutBack { put: Put::File(put?), into: into? })
    }

    /// How migrations are taken back; the same as a change, with other words.
    pub(super) fn migrations(&mut self, written: &file::RollbackToml, hosts: &[Host]) -> Option<Option<Migrations>> {
        let Some(table) = &written.migrations else { return Some(None) };
        let at = |key: &str| format!("migrations.{key}");
        if written.database.is_none() {
            self.wrong("migrations", "they are of a database, and there is no [database]");
            return None;
        }
        if written.change.contains_key(migration::CHANGE) {
            let path = format!("change.{}", migration::CHANGE);
            self.wrong(&path, "this name is that of the change by which [migrations] goes down");
            return None;
        }
        let on = self.change_place(&at("on"), &table.on, hosts);
        let said = (on, words_of(&table.on));
        let manner = self.manner("migrations", said, &table.cwd, &table.env, &table.timeout);
        let down = self.words(&at("down"), &table.down);
        let up = self.words(&at("up"), &table.up);
        if table.down.is_empty() {
            self.wrong(&at("down"), "names no command");
            return None;
        }
        let change = NamedChange {
            name: ChangeName::new(migration::CHANGE).ok()?,
            manner: manner?,
            files: Vec::new(),
            restart: None,
            run: down?,
            undo: up?,
            check: Vec::new(),
            called: None,
            as_root: false,
        };
        Some(Some(Migrations { change }))
    }

    pub(super) fn hooks(&mut self, written: &[file::HookTable], hosts: &[Host]) -> Option<Vec<Hook>> {
        let read: Vec<Option<Hook>> =
            written.iter().enumerate().map(|(n, table)| self.hook(&format!("hook.{n}"), table, hosts)).collect();
        let mut hooks: Vec<Hook> = read.into_iter().collect::<Option<_>>()?;
        let timeout = self.wait("hook", file::default::WORDS_TIMEOUT)?;
        for (name, at) in OF_THE_RUNBOOK {
            let Ok(line) = look_up(self.reading.variable, name) else { continue };
            let named_by = vec![HERE.to_owned()];
            let manner = Manner { on: ChangePlace::Here, named_by, cwd: None, env: Vec::new(), timeout };
            let run = ["sh", "-c", &line].map(str::to_owned).to_vec();
            hooks.push(Hook { at, manner, run, called: format!("${name}"), is_required: false });
        }
        Some(hooks)
    }

    fn hook(&mut self, path: &str, table: &file::HookTable, hosts: &[Host]) -> Option<Hook> {
        let at = |key: &str| format!("{path}.{key}");
        let when = table.at.as_ref().and_then(|text| self.hook_at(&at("at"), text));
        let on = self.change_place(&at("on"), &table.on, hosts);
        if let (Some(when), Some(ChangePlace::On(_))) = (when, &on)
            && when.is_of_this_machine()
        {
            self.wrong(&at("on"), format!("a hook {when} is run here: on hosts it would be in nobody's hands"));
            return None;
        }
        let run = table.run.as_ref().and_then(|words| self.words(&at("run"), words));
        if run.as_ref().is_some_and(Vec::is_empty) {
            self.wrong(&at("run"), "names no command");
            return None;
        }
        let said = (on, words_of(&table.on));
        let manner = self.manner(path, said, &table.cwd, &table.env, &table.timeout);
        let run = run?;
        Some(Hook { at: when?, manner: manner?, called: shell_words::join(&run), run, is_required: table.required })
    }

    fn hook_at(&mut self, path: &str, text: &str) -> Option<HookAt> {
        let mut words = text.split_whitespace();
        let phase = |name: &str| HookPhase::ALL.iter().find(|(known, _)| *known == name).map(|(_, phase)| *phase);
        let read = match (words.next(), words.next(), words.next()) {
            (Some("on"), Some("failure"), None) => Some(HookAt::OnFailure),
            (Some("before"), Some(name), None) => phase(name).map(HookAt::Before),
            (Some("after"), Some(name), None) => phase(name).map(HookAt::After),
            _ => None,
        };
        if read.is_none() {
            let phases = HookPhase::ALL.map(|(name, _)| name);
            self.wrong(path, format!("unknown moment {text:?}")).hint =
                Some(format!("\"before …\" or \"after …\" of {}, or \"on failure\"", any_of(&phases)));
        }
        read
    }

    fn change_place(&mut self, path: &str, on: &OneOrMore, hosts: &[Host]) -> Option<ChangePlace> {
        let words = words_of(on);
        if words == [HERE] {
            return Some(ChangePlace::Here);
        }
        let is_meant = |host: &&Host| {
            words.iter().any(|word| Role::of_word(word).map_or(host.name.as_str() == word, |role| host.is(role)))
        };
        let meant: Vec<HostName> = hosts.iter().filter(is_meant).map(|host| host.name.clone()).collect();
        let is_known = |word: &&String| {
            Role::of_word(word).is_some() || hosts.iter().any(|host| host.name.as_str() == word.as_str())
        };
        // What is wrong with the hosts was said with them.
        if let Some(unknown) = words.iter().find(|word| !is_known(word)).filter(|_| !hosts.is_empty()) {
            let what = match unknown == HERE {
                true => format!("{HERE:?} stands alone"),
                false => format!("{unknown:?} is neither a role nor a host"),
            };
            let names: Vec<&str> = hosts.iter().map(|host| host.name.as_str()).collect();
            self.wrong(path, what).hint = Some(format!("{HERE:?}, a role, or of {}", names.join(", ")));
            return None;
        }
        if meant.is_empty() {
            if !hosts.is_empty() {
                self.wrong(path, "names no host");
            }
            return None;
        }
        Some(ChangePlace::On(meant))
    }

    fn manner(
        &mut self,
        path: &str,
        (on, named_by): (Option<ChangePlace>, Vec<String>),
        cwd: &Option<String>,
        env: &BTreeMap<String, String>,
        timeout: &str,
    ) -> Option<Manner> {
        let at = |key: &str| format!("{path}.{key}");
        let cwd = optional(cwd, |text| match on {
            Some(ChangePlace::Here) => self.local_path(&at("cwd"), text).map(|path| path.display().to_string()),
            _ => self.word(&at("cwd"), text, RemotePath::new).map(|path| path.to_string()),
        });
        let timeout = self.wait(&at("timeout"), timeout);
        let env: Vec<Option<EnvVar>> =
            env.iter().map(|(name, text)| self.env_var(&at(&format!("env.{name}")), name, text)).collect();
        let env: Option<Vec<EnvVar>> = env.into_iter().collect();
        Some(Manner { on: on?, named_by, cwd: cwd.ok()?, env: env?, timeout: timeout? })
    }

    fn env_var(&mut self, path: &str, name: &str, text: &str) -> Option<EnvVar> {
        if !is_variable_name(name) {
            self.wrong(path, format!("{name:?} is not the name of a variable"));
            return None;
        }
        if name.starts_with("ROLLBACK_") || ["PATH", "IFS", "LD_PRELOAD", "ENV"].contains(&name) {
            self.wrong(path, format!("{name} is not for you to set: it says what the run is, or how words are found"));
            return None;
        }
        let variable = variable_of(text);
        let value = match variable {
            Some(variable) => look_up(self.reading.variable, variable),
            None => Ok(text.to_owned()),
        };
        if value.as_ref().is_ok_and(|value| value.contains('\0')) {
            self.wrong(path, "has a NUL in it");
            return None;
        }
        Some(EnvVar { name: name.to_owned(), value: value.map(Secret::new), is_hidden: variable.is_some() })
    }

    /// Words that are run without a shell; none where the key is left out.
    fn words(&mut self, path: &str, words: &[String]) -> Option<Vec<String>> {
        if words.first().is_some_and(|word| word.trim().is_empty()) {
            self.wrong(path, "names no command");
            return None;
        }
        self.each(path, words, |meaning, path, word| {
            if variable_of(word).is_some() {
                meaning.wrong(path, format!("{word:?} would stand on a command line, for all to read")).hint =
                    Some("give it by env, and let the command read it there".into());
                return None;
            }
            if word.contains('\0') {
                meaning.wrong(path, "has a NUL in it");
                return None;
            }
            Some(word.to_owned())
        })
    }
}
