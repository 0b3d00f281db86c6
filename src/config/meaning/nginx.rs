//! `[nginx]`: the file, the layout in which it says who serves, and the commands for it.

use std::path::PathBuf;

use super::words::optional;
use super::{Meaning, file};
use crate::nouns::inventory::{Layout, Nginx, NginxContext, SideWords};
use crate::nouns::names::RemotePath;

/// The values of `nginx.switch`.
#[derive(Clone, Copy)]
enum Switch {
    Weights,
    Variable,
}

impl Meaning<'_, '_, '_> {
    pub(super) fn nginx(&mut self, nginx: &file::NginxTable) -> Option<Nginx> {
        let file = nginx.file.as_ref().and_then(|word| self.word("nginx.file", word, RemotePath::new));
        let layout = self.layout(nginx);
        let template = optional(&nginx.template, |text| self.template(text));
        let probe = self.url("nginx.probe", &nginx.probe);
        let probe_host = optional(&nginx.probe_host, |name| self.nginx_word("nginx.probe_host", name));
        let test = self.command("nginx.test", &nginx.test);
        let reload = self.command("nginx.reload", &nginx.reload);
        Some(Nginx {
            file: file?,
            layout: layout?,
            template: template.ok()?,
            probe: probe?,
            probe_host: probe_host.ok()?,
            sudo: nginx.sudo,
            test: test?,
            reload: reload?,
        })
    }

    fn layout(&mut self, nginx: &file::NginxTable) -> Option<Layout> {
        let known = [("weights", Switch::Weights), ("variable", Switch::Variable)];
        match self.one_of("nginx.switch", "layout", &nginx.switch, &known)? {
            Switch::Weights => {
                self.excluded_by("weights", &["blue", "green", "variable"]);
                let contexts = [("http", NginxContext::Http), ("stream", NginxContext::Stream)];
                let context = optional(&nginx.context, |word| self.one_of("nginx.context", "context", word, &contexts));
                let upstreams = self.upstreams(nginx);
                Some(Layout::Weights { upstreams: upstreams?, context: context.ok()? })
            }
            Switch::Variable => {
                self.excluded_by("variable", &["upstream", "upstreams", "context", "template"]);
                let blue = self.side_word("nginx.blue", &nginx.blue);
                let green = self.side_word("nginx.green", &nginx.green);
                let variable = optional(&nginx.variable, |name| self.nginx_word("nginx.variable", name));
                let (blue, green) = (blue?, green?);
                if blue == green {
                    self.wrong("nginx.green", format!("{green:?} is blue's word, too"));
                    return None;
                }
                Some(Layout::Word(SideWords { blue, green, variable: variable.ok()? }))
            }
        }
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
                    self.missing("nginx.upstream", "listings_backend");
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

    fn side_word(&mut self, path: &str, word: &Option<String>) -> Option<String> {
        match word {
            Some(word) => self.nginx_word(path, word),
            None => {
                self.missing(path, &format!("listings_{}", path.trim_start_matches("nginx.")));
                None
            }
        }
    }

    /// Keys that mean something in other layouts only.
    fn excluded_by(&mut self, layout: &str, keys: &[&str]) {
        for path in keys.iter().map(|key| format!("nginx.{key}")) {
            if self.is_written(&path) {
                self.wrong(&path, format!("it and nginx.switch = \"{layout}\" exclude each other"));
            }
        }
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
