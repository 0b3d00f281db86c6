//! Finds the config, reads it and its variables, and says everything that is wrong with it. Reads files of this
//! machine only, and none that somebody else could have written: what stands in them is run on production.

use std::fs::{File, Metadata};
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::{self, Document, Problem, Reading};
use crate::nginx::Template;
use crate::nouns::inventory::Inventory;
use crate::nouns::names::{ChangeName, Environment};
use crate::nouns::service::Service;

/// What the config means for one service.
#[derive(Clone)]
pub struct Opened {
    pub inventory: Inventory,
    pub template: Template,
    /// Changes that it has as all the others have them.
    pub shared: Vec<ChangeName>,
    /// Whether it is another service that restores its database.
    pub shares_database: bool,
}

impl Opened {
    /// Whether it is this service that restores its database, where it has one.
    pub fn restores(&self) -> bool {
        self.inventory.database.is_some() && !self.shares_database
    }
}

/// What the config means, in the order of a rollback, and what should be said about it.
pub struct ConfigRead {
    pub services: Vec<Opened>,
    pub warnings: Vec<String>,
}

/// Reads the config that was named or found; see [`Reading::may_lack_layout`].
///
/// # Errors
/// Every problem, each ready to be printed.
pub fn load(named: Option<&Path>, environment: &str, may_lack_layout: bool) -> Result<ConfigRead, Vec<String>> {
    let environment = Environment::new(environment).map_err(|err| vec![format!("--env {err}")])?;
    let path = find(named)?;
    let read = |path: &Path| -> Result<Document, Vec<String>> {
        let text = trusted_text(path).map_err(|err| vec![cannot_read(path, &err)])?;
        Ok(Document { path: path.to_owned(), text })
    };
    let base = read(&path)?;
    let overlay = config::overlay_path(&path, &environment);
    let overlay = if overlay.exists() { Some(read(&overlay)?) } else { None };
    let variables = variables(&path)?;
    let variable = |name: &str| {
        std::env::var(name)
            .ok()
            .or_else(|| variables.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.clone()))
    };
    let reading = Reading {
        base,
        overlay,
        environment,
        may_lack_layout,
        home: std::env::var_os("HOME").map(PathBuf::from),
        variable: &variable,
        read_file: &trusted_text,
    };
    let said = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    let read = config::read(&reading).map_err(said)?;
    let services: Vec<Result<Opened, String>> = read.services.into_iter().map(opened).collect();
    let problems = services.iter().filter_map(|opened| opened.as_ref().err().cloned());
    let mut problems: Vec<String> = problems.collect();
    problems.dedup();
    let services: Vec<Opened> = services.into_iter().flatten().collect();
    if problems.is_empty() { Ok(ConfigRead { services, warnings: said(read.warnings) }) } else { Err(problems) }
}

fn opened(service: Service) -> Result<Opened, String> {
    let Service { inventory, shared, .. } = service;
    let template = match &inventory.nginx.template {
        None => Template::built_in(),
        Some((path, text)) => {
            Template::parse(&path.display().to_string(), text).map_err(|err| format!("{}: {err}", path.display()))?
        }
    };
    Ok(Opened { inventory, template, shared, shares_database: false })
}

fn find(named: Option<&Path>) -> Result<PathBuf, Vec<String>> {
    let from_environment = std::env::var_os("ROLLBACK_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    if let Some(path) = named.map(Path::to_owned).or(from_environment) {
        return std::path::absolute(&path).map_err(|err| vec![format!("cannot read {}: {err}", path.display())]);
    }
    let here = std::env::current_dir().map_err(|err| vec![format!("cannot tell the current folder: {err}")])?;
    config::find(&here, &|path| path.is_file()).ok_or_else(|| {
        vec![format!(
            "there is no {} in {} or above; name one with --config FILE or ROLLBACK_CONFIG",
            config::FILE_NAME,
            here.display()
        )]
    })
}

/// The variables of `.env.deploy` beside the config.
pub(super) fn variables(config: &Path) -> Result<config::EnvFile, Vec<String>> {
    let path = config.with_file_name(".env.deploy");
    let text = match trusted_text(&path) {
        Ok(text) => text,
        Err(err) if err.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(err) => return Err(vec![cannot_read(&path, &err)]),
    };
    config::parse_env_file(&text).map_err(|problems| {
        problems.into_iter().map(|(line, what)| format!("{}:{line}: {what}", path.display())).collect()
    })
}

fn cannot_read(path: &Path, err: &std::io::Error) -> String {
    format!("cannot read {}: {err}", path.display())
}

/// A file's text, unless somebody else may write it; the file that is judged is the one that is read.
fn trusted_text(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    if let Some(why) = distrust(&file.metadata()?, rustix::process::geteuid().as_raw()) {
        return Err(std::io::Error::other(why));
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    Ok(text)
}

/// Why a file is not to be believed by the user `me`, with what to type.
fn distrust(file: &Metadata, me: u32) -> Option<String> {
    // Where everybody has a group of their own, with the same number, an umask of 002 is usual and harmless.
    let is_private_group = file.gid() == file.uid();
    if file.mode() & 0o002 != 0 || (file.mode() & 0o020 != 0 && !is_private_group) {
        return Some(format!(
            "others may write it (mode {:o}), and it says what is run; chmod go-w it",
            file.mode() & 0o777
        ));
    }
    // Root reads files of people who called sudo, and of images that were unpacked as somebody.
    if file.uid() != me && file.uid() != 0 && me != 0 {
        return Some(format!("it belongs to user {}, and it says what is run; make it yours", file.uid()));
    }
    None
}
