//! What blue could be put back to: the question to a host. That it is put back is a change, see [`super::change`].

use std::time::Duration;

use futures_util::future::join_all;

use super::about::AboutRun;
use super::change;
use crate::hosts::facts::{ChangeSeen, EarlierSeen, Facts};
use crate::hosts::program::{Arguments, LIB, Question, REVISION, Script, WORDS, program, script};
use crate::hosts::remote::Ask;
use crate::nouns::earlier::{Earlier, Kept};
use crate::nouns::inventory::{Inventory, Role};
use crate::nouns::redact::Redactor;

pub(super) const EARLIER: Script = script!("earlier", LIB, WORDS, REVISION);

/// A registry is asked for a tag.
const LIMIT: Duration = Duration::from_secs(60);

/// The releases that a host keeps; `wanted` is looked for where such are not all on the host.
pub fn releases(inventory: &Inventory, kept: &Kept, wanted: Option<&str>) -> Question {
    let mut arguments = Arguments::new(inventory);
    match kept {
        Kept::Files(files) => {
            arguments.set("kind", "files");
            // The first stands for all of them.
            if let Some(file) = files.first() {
                arguments.set("put", String::from(file.put.clone()));
                arguments.set("into", &file.into);
            }
        }
        Kept::Folders { folder, link } => {
            arguments.set("kind", "folders");
            arguments.set("folder", folder);
            arguments.set("link", link);
        }
        Kept::Images { name, compose, variable } => {
            arguments.set("kind", "images");
            arguments.set("name", name);
            arguments.set("variable", variable);
            if let Some(file) = compose.env_file() {
                arguments.set("into", file);
            }
            if let Some(wanted) = wanted {
                arguments.set("wanted", wanted);
            }
        }
        Kept::Packages(package) => {
            arguments.set("kind", "packages");
            arguments.set("name", package);
        }
    }
    Question(program(EARLIER, arguments, LIMIT))
}

/// The releases of all app hosts that were reached. Only asks.
pub async fn look<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    facts: &Facts,
    earlier: &Earlier,
    wanted: Option<&str>,
) -> Vec<EarlierSeen> {
    let hosts = inventory.with_role(Role::App).filter(|host| facts.seen(&host.name).is_some());
    let asked = hosts.map(|host| async {
        let answer = fleet.ask(&host.name, &releases(inventory, &earlier.kept, wanted)).await;
        EarlierSeen::read(&host.name, &earlier.kept, answer)
    });
    join_all(asked).await
}

/// How the change to the wanted release stands, on the hosts that keep it. Only asks.
pub async fn standing<F: Ask>(
    fleet: &F,
    inventory: &Inventory,
    facts: &Facts,
    (earlier, wanted): (&Earlier, &str),
    about: &AboutRun,
    redactor: &Redactor,
) -> Vec<ChangeSeen> {
    let asked = facts.earlier.iter().map(|kept| async {
        let (_, change) = kept.change_to(earlier, wanted).ok()?;
        let env = about.env(&format!("check {}", change.name), &change.manner);
        let answer = fleet.ask(&kept.host, &change::standing(inventory, &change, &env)).await;
        Some(ChangeSeen::read(&kept.host, &change, answer, redactor))
    });
    join_all(asked).await.into_iter().flatten().collect()
}
