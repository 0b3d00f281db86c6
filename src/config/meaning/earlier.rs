//! Where blue's earlier releases are kept.

use super::Meaning;
use crate::config::env_file::is_variable_name;
use crate::config::file;
use crate::config::tree::ALTERNATIVES;
use crate::nouns::change::{ChangePlace, Manner, NamedChange, PutBack};
use crate::nouns::colour::Colour;
use crate::nouns::earlier::{self, ComposeService, Earlier, Kept};
use crate::nouns::inventory::{Host, Role, Run};
use crate::nouns::names::{ChangeName, RemotePath};

impl Meaning<'_, '_, '_> {
    /// `run`: what keeps blue running, where that is right.
    pub(super) fn earlier(
        &mut self,
        written: &file::RollbackToml,
        run: Option<&Run>,
        hosts: &[Host],
    ) -> Option<Option<Earlier>> {
        if written.green.as_ref().is_some_and(|green| green.earlier.is_some()) {
            self.wrong("green.earlier", "a rollback goes to blue, and green is not put back to anything");
            return None;
        }
        let Some(table) = written.blue.as_ref().and_then(|blue| blue.earlier.as_ref()) else { return Some(None) };
        let path = "blue.earlier";
        let at = |key: &str| format!("{path}.{key}");
        let timeout = self.wait(&at("timeout"), &table.timeout);
        self.exactly_one(path, ALTERNATIVES[6])?;
        if written.change.contains_key(earlier::CHANGE) {
            let path = format!("change.{}", earlier::CHANGE);
            self.wrong(&path, "this name is that of the change by which [blue] earlier puts blue back");
            return None;
        }
        for (key, of, is_written) in [
            ("link", "releases", table.link.is_some() && table.releases.is_none()),
            ("variable", "image", table.variable.is_some() && table.image.is_none()),
        ] {
            if is_written {
                self.wrong(&at(key), format!("it goes with {of}"));
                return None;
            }
        }
        let kept = self.kept(path, table, run);
        let manner = Manner {
            on: ChangePlace::On(hosts.iter().filter(|host| host.is(Role::App)).map(|host| host.name.clone()).collect()),
            named_by: vec![Role::App.word().to_owned()],
            cwd: None,
            env: Vec::new(),
            timeout: timeout?,
        };
        let change = NamedChange {
            name: ChangeName::new(earlier::CHANGE).ok()?,
            manner,
            files: Vec::new(),
            restart: Some(Colour::Blue),
            run: Vec::new(),
            undo: Vec::new(),
            check: Vec::new(),
            called: None,
            as_root: false,
        };
        Some(Some(Earlier { kept: kept?, change }))
    }

    fn kept(&mut self, path: &str, table: &file::EarlierTable, run: Option<&Run>) -> Option<Kept> {
        let at = |key: &str| format!("{path}.{key}");
        let lacks = |meaning: &mut Self, key: &str, example: &str| {
            meaning.wrong(path, format!("{key} is needed")).hint = Some(format!("{key} = {example:?}"));
        };
        if !table.files.is_empty() {
            let files = table.files.iter().enumerate();
            let files: Vec<Option<PutBack>> =
                files.map(|(n, put)| self.put_back(&at(&format!("files.{n}")), put)).collect();
            return files.into_iter().collect::<Option<Vec<PutBack>>>().map(Kept::Files);
        }
        if let Some(folder) = &table.releases {
            let folder = self.word(&at("releases"), folder, RemotePath::new);
            let Some(link) = &table.link else {
                lacks(self, "link", "/srv/listings/current");
                return None;
            };
            let link = self.word(&at("link"), link, RemotePath::new);
            return Some(Kept::Folders { folder: folder?, link: link? });
        }
        if let Some(image) = &table.image {
            let is_tagged = image.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
            if image.is_empty() || image.starts_with('-') || is_tagged || image.contains(char::is_whitespace) {
                self.wrong(&at("image"), format!("{image:?} is not the name of an image without a tag"));
                return None;
            }
            let Some(variable) = &table.variable else {
                lacks(self, "variable", "BLUE_TAG");
                return None;
            };
            if !is_variable_name(variable) {
                self.wrong(&at("variable"), format!("{variable:?} is not the name of a variable"));
                return None;
            }
            let Run::Compose { file, project, service } = run? else {
                self.wrong(
                    &at("image"),
                    "images are told by a compose file, and blue does not run by one ([blue] run.compose)",
                );
                return None;
            };
            let compose = ComposeService {
                file: file.clone(),
                project: project.as_ref().map_or("-".to_owned(), ToString::to_string),
                service: service.to_string(),
            };
            return Some(Kept::Images { name: image.clone(), compose, variable: variable.clone() });
        }
        let Some(package) = &table.deb else {
            self.wrong(&at("files"), "names no file");
            return None;
        };
        let is_name = package.len() > 1
            && package.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.:".contains(&b));
        if !is_name || package.starts_with(['-', '+', '.']) {
            self.wrong(&at("deb"), format!("{package:?} is not the name of a package"));
            return None;
        }
        Some(Kept::Packages(package.clone()))
    }
}
