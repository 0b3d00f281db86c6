//! `[nginx]`: the file, the layout in which it says who serves, and the commands for it.

use std::path::PathBuf;

use super::words::optional;
use super::{Meaning, file};
use crate::config::file::{SwitchName, default};
use crate::nouns::colour::Each;
use crate::nouns::inventory::{Layout, Nginx, NginxContext, WordStands};
use crate::nouns::names::{ContainerName, RemotePath};

impl Meaning<'_, '_, '_> {
    pub(super) fn nginx(&mut self, nginx: &file::NginxTable) -> Option<Nginx> {
        let files = self.files(nginx);
        let layout = self.layout(nginx);
        let container = optional(&nginx.container, |word| self.word("nginx.container", word, ContainerName::new));
        let template = optional(&nginx.template, |text| self.template(text));
        let probe = self.url("nginx.probe", &nginx.probe);
        let probe_host = optional(&nginx.probe_host, |name| self.nginx_word("nginx.probe_host", name));
        let mut words = |path: &str, text: &str| {
            let words = self.command(path, text)?;
            let is_engine = |word: &String| ["docker", "podman"].contains(&word.as_str());
            if nginx.container.is_some() && words.iter().take(3).any(is_engine) {
                self.wrong(path, format!("{text:?} runs in nginx.container already: write what runs there"));
                return None;
            }
            Some(words)
        };
        let test = words("nginx.test", &nginx.test);
        let reload = match (&nginx.container, nginx.reload.as_str()) {
            (Some(_), default::RELOAD) => default::RELOAD_IN_CONTAINER,
            (_, reload) => reload,
        };
        let reload = words("nginx.reload", reload);
        let (file, also) = files?;
        Some(Nginx {
            file,
            also,
            layout: layout?,
            container: container.ok()?,
            template: template.ok()?,
            probe: probe?,
            probe_host: probe_host.ok()?,
            proxy_protocol: nginx.proxy_protocol,
            sudo: nginx.sudo,
            test: test?,
            reload: reload?,
        })
    }

    fn layout(&mut self, nginx: &file::NginxTable) -> Option<Layout> {
        let known = [
            ("weights", SwitchName::Weights),
            ("variable", SwitchName::Variable),
            ("pass", SwitchName::Pass),
            ("link", SwitchName::Link),
            ("file", SwitchName::File),
        ];
        let switch = self.one_of("nginx.switch", "layout", &nginx.switch, &known)?;
        // Keys that mean something in other layouts only.
        let foreign: &[&str] = match switch {
            SwitchName::Weights => &["blue", "green", "variable"],
            SwitchName::Variable => &["upstream", "upstreams", "context", "template"],
            SwitchName::Pass | SwitchName::Link | SwitchName::File => {
                &["upstream", "upstreams", "context", "template", "variable"]
            }
        };
        for path in
            foreign.iter().map(|key| format!("nginx.{key}")).filter(|path| self.is_written(path)).collect::<Vec<_>>()
        {
            self.wrong(&path, format!("it and nginx.switch = \"{}\" exclude each other", nginx.switch));
        }
        match switch {
            SwitchName::Weights if self.lacks_layout() => Some(Layout::NotSaid),
            SwitchName::Weights => {
                let contexts = [("http", NginxContext::Http), ("stream", NginxContext::Stream)];
                let context = optional(&nginx.context, |word| self.one_of("nginx.context", "context", word, &contexts));
                let upstreams = self.upstreams(nginx);
                Some(Layout::Weights { upstreams: upstreams?, context: context.ok()? })
            }
            SwitchName::Variable => {
                let words = self.sides(nginx, "", Self::nginx_word);
                let variable = optional(&nginx.variable, |name| self.nginx_word("nginx.variable", name));
                Some(Layout::Word { words: words?, stands: WordStands::InAVariable(variable.ok()?) })
            }
            SwitchName::Pass => {
                let words = self.sides(nginx, "", Self::nginx_word)?;
                Some(Layout::Word { words, stands: WordStands::InAPass })
            }
            SwitchName::Link => self.side_files(nginx).map(Layout::Link),
            SwitchName::File => self.side_files(nginx).map(Layout::Copy),
        }
    }

    /// The file, and those that are changed with it.
    fn files(&mut self, nginx: &file::NginxTable) -> Option<(RemotePath, Vec<RemotePath>)> {
        let Some(files) = &nginx.files else {
            let file = nginx.file.as_ref()?;
            return self.word("nginx.file", file, RemotePath::new).map(|file| (file, Vec::new()));
        };
        for key in ["nginx.file", "nginx.container"] {
            if self.is_written(key) {
                self.wrong("nginx.files", format!("it and {key} exclude each other"));
                return None;
            }
        }
        if nginx.upstreams.is_none() {
            self.wrong("nginx.files", "it needs nginx.upstreams, which stand in them");
            return None;
        }
        let files = self.each("nginx.files", files, |meaning, path, text| meaning.word(path, text, RemotePath::new))?;
        let twice = files.iter().enumerate().find(|(place, file)| files[..*place].contains(file));
        if let Some((place, file)) = twice {
            self.wrong(&format!("nginx.files.{place}"), format!("\"{file}\" stands twice"));
            return None;
        }
        let mut files = files.into_iter();
        let Some(first) = files.next() else {
            self.wrong("nginx.files", "names none");
            return None;
        };
        Some((first, files.collect()))
    }

    /// Whether the config says nothing of it, and may.
    fn lacks_layout(&self) -> bool {
        let keys = ["switch", "upstream", "upstreams", "context", "template"];
        self.reading.may_lack_layout && !keys.iter().any(|key| self.is_written(&format!("nginx.{key}")))
    }

    fn upstreams(&mut self, nginx: &file::NginxTable) -> Option<Vec<String>> {
        match (&nginx.upstream, &nginx.upstreams) {
            (Some(_), Some(_)) => {
                self.wrong("nginx.upstreams", "it and nginx.upstream exclude each other");
                None
            }
            (Some(name), None) => Some(vec![self.nginx_word("nginx.upstream", name)?]),
            (None, None) => {
                if !self.is_written("nginx.upstreams") {
                    let hint = "for example \"listings_backend\"; `rollback-prod check` finds out which layout it is";
                    self.missing_with_hint("nginx.upstream", hint.to_owned());
                }
                None
            }
            (None, Some(names)) => {
                let names = self.each("nginx.upstreams", names, Self::nginx_word)?;
                if names.is_empty() {
                    self.wrong("nginx.upstreams", "names none");
                    return None;
                }
                let twice = names.iter().enumerate().find(|(place, name)| names[..*place].contains(name));
                if let Some((place, name)) = twice {
                    self.wrong(&format!("nginx.upstreams.{place}"), format!("{name:?} stands twice"));
                    return None;
                }
                Some(names)
            }
        }
    }

    fn side_files(&mut self, nginx: &file::NginxTable) -> Option<Each<String>> {
        let files = self.sides(nginx, ".conf", Self::side_file)?;
        let file = nginx.file.as_deref().unwrap_or_default();
        let is_file = |name: &String| {
            name == file || file.strip_suffix(name.as_str()).is_some_and(|folder| folder.ends_with('/'))
        };
        if let Some(colour) = files.find(is_file) {
            self.wrong(&format!("nginx.{colour}"), format!("{:?} is nginx.file itself", files.of(colour)));
            return None;
        }
        Some(files)
    }

    /// A path on the hosts, or a name in the folder of `nginx.file`.
    fn side_file(&mut self, path: &str, text: &str) -> Option<String> {
        if text.starts_with('-') {
            self.wrong(path, format!("{text:?} starts with a dash, which ln would read as an option"));
            return None;
        }
        let name = if text.contains('/') { text.to_owned() } else { format!("/{text}") };
        let path = self.word(path, &name, RemotePath::new)?;
        let name = path.as_str();
        Some(if text.contains('/') { name } else { &name[1..] }.to_owned())
    }

    /// What the two sides are told apart by; `suffix` makes an example of each.
    fn sides(
        &mut self,
        nginx: &file::NginxTable,
        suffix: &str,
        read: fn(&mut Self, &str, &str) -> Option<String>,
    ) -> Option<Each<String>> {
        let mut side = |colour: &str, word: &Option<String>| {
            let path = format!("nginx.{colour}");
            match word {
                Some(word) => read(self, &path, word),
                None => {
                    self.missing(&path, &format!("listings_{colour}{suffix}"));
                    None
                }
            }
        };
        let (blue, green) = (side("blue", &nginx.blue), side("green", &nginx.green));
        let (blue, green) = (blue?, green?);
        if blue == green {
            self.wrong("nginx.green", format!("{green:?} is blue's, too"));
            return None;
        }
        Some(Each { blue, green })
    }

    fn template(&mut self, text: &str) -> Option<(PathBuf, String)> {
        let path = self.local_path("nginx.template", text)?;
        match (self.reading.read_file)(&path) {
            Ok(template) => Some((path, template)),
            Err(error) => {
                self.wrong("nginx.template", format!("cannot read {}", path.display())).hint = Some(error.to_string());
                None
            }
        }
    }
}
