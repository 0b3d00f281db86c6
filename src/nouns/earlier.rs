//! What a colour could be put back to, as the config says where its earlier releases are kept. Never looks.

use super::change::{NamedChange, Put, PutBack};
use super::names::RemotePath;

/// The change that puts a colour back is called so; no change of the config may be.
pub const CHANGE: &str = "blue-release";

/// Asked for by this word: the release before the one that it is put to now.
pub const THE_ONE_BEFORE: &str = "earlier";

/// `[blue] earlier`.
#[derive(Debug, Clone)]
pub struct Earlier {
    pub kept: Kept,
    /// The change that puts it back, without what depends on the release: where, how long that may take, and what is started
    /// again.
    pub change: NamedChange,
}

/// How earlier releases are kept on the hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kept {
    /// Beside what is run: one.
    Files(Vec<PutBack>),
    /// In a folder each, and a link says which one is run.
    Folders { folder: RemotePath, link: RemotePath },
    /// As images of one name, by their tags; a variable in the `.env` beside the compose file says which one is run.
    Images { name: String, compose: ComposeService, variable: String },
    /// As versions of a package of Debian's kind.
    Packages(String),
}

/// Which service of which project is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComposeService {
    pub file: RemotePath,
    /// `-` lets compose derive it from the folder.
    pub project: String,
    pub service: String,
}

impl ComposeService {
    /// Where compose looks for the variables of its file.
    pub fn env_file(&self) -> Option<RemotePath> {
        let (folder, _) = self.file.as_str().rsplit_once('/')?;
        RemotePath::new(format!("{folder}/.env")).ok()
    }
}

/// Ends with 0 where a service's container is of that image: a compose file, a project, a service, an image.
const IS_OF_THE_IMAGE: &str = r#"set -- "$1" "$2" "$3" "$(docker image inspect -f '{{.Id}}' "$4")" && [ -n "$4" ] && if [ "$2" = - ]; then c=$(docker compose -f "$1" ps -q "$3"); else c=$(docker compose -p "$2" -f "$1" ps -q "$3"); fi && [ "$(docker inspect -f '{{.Image}}' "$c")" = "$4" ]"#;

/// Ends with 0 where that version of a package is installed: the package, the version.
const IS_OF_THE_VERSION: &str = r#"[ "$(dpkg-query -W -f='${db:Status-Status} ${Version}' "$1")" = "installed $2" ]"#;

impl Earlier {
    /// The change that puts it to a release, where it is put to `now`. `is_kept`: it is the one that is kept beside that;
    /// `is_way_back`: what it is put to now can be had again.
    pub fn change_to(&self, release: &str, now: Option<&str>, is_kept: bool, is_way_back: bool) -> NamedChange {
        let words = |words: &[&str]| -> Vec<String> { words.iter().map(|word| (*word).to_owned()).collect() };
        let mut change = self.change.clone();
        match &self.kept {
            // What is run now stands among them, and is nothing to put. Of several files each is looked at by itself.
            Kept::Files(files) if is_kept => change.files.clone_from(files),
            Kept::Files(_) => {}
            Kept::Folders { link, .. } => {
                // As it is written now: by its whole path, or from the link's folder.
                let before = now.and_then(|now| now.rsplit_once('/')).map_or("", |(before, _)| before);
                let target = if before.is_empty() { release.to_owned() } else { format!("{before}/{release}") };
                change.files = vec![PutBack { put: Put::Link(target), into: link.clone() }];
            }
            Kept::Images { name, compose, variable } => {
                let put = Put::Variable { name: variable.clone(), value: release.to_owned() };
                change.files = compose.env_file().into_iter().map(|into| PutBack { put: put.clone(), into }).collect();
                let image = format!("{name}:{release}");
                let has_it = r#"docker image inspect "$1" >/dev/null 2>&1 || docker pull -q "$1""#;
                change.run = words(&["sh", "-c", has_it, "sh", &image]);
                change.called = Some([format!("fetch {image} where it is not there"), String::new()]);
                let ComposeService { file, project, service } = compose;
                change.check = words(&["sh", "-c", IS_OF_THE_IMAGE, "sh", file.as_str(), project, service, &image]);
            }
            Kept::Packages(package) => {
                change.as_root = true;
                change.run = installation(package, release);
                let now = now.filter(|_| is_way_back);
                change.undo = now.map(|now| installation(package, now)).unwrap_or_default();
                let install = |version: &str| format!("install {package} {version}");
                change.called = Some([install(release), now.map(install).unwrap_or_default()]);
                change.check = words(&["sh", "-c", IS_OF_THE_VERSION, "sh", package, release]);
            }
        }
        change
    }
}

fn installation(package: &str, version: &str) -> Vec<String> {
    APT.iter().map(|word| (*word).to_owned()).chain([format!("{package}={version}")]).collect()
}

/// A configuration file that somebody changed stays as it is, nobody is asked, and nothing else goes for it.
const APT: [&str; 8] = [
    "apt-get",
    "-y",
    "-q",
    "--no-remove",
    "--allow-downgrades",
    "-oDpkg::Options::=--force-confdef",
    "-oDpkg::Options::=--force-confold",
    "install",
];

/// A release that is kept on a host.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct KeptRelease {
    pub name: String,
    /// The same by another name: a commit, a file.
    pub also: Option<String>,
    /// What else is known of it, for people: how old it is.
    pub about: String,
    /// Whether it could be put there again once another has taken its place.
    pub can_be_had: bool,
}

/// What a host keeps, the latest first.
#[derive(Debug, Clone, Copy)]
pub struct KeptThere<'r> {
    pub releases: &'r [KeptRelease],
    /// What it is put to.
    pub now: Option<&'r str>,
    /// What it was put to before a rollback put it to that.
    pub before: Option<&'r str>,
}

/// The one that is meant.
///
/// # Errors
/// Why none is.
pub fn meant<'r>(there: KeptThere<'r>, wanted: &str) -> Result<&'r KeptRelease, String> {
    let KeptThere { releases, now, before } = there;
    let names = || match releases.is_empty() {
        true => "there is none at all".to_owned(),
        false => {
            let shown: Vec<&str> = releases.iter().take(MOST_SHOWN).map(|release| release.name.as_str()).collect();
            let more = if releases.len() > MOST_SHOWN { ", …" } else { "" };
            format!("there is {}{more}", shown.join(", "))
        }
    };
    if wanted == THE_ONE_BEFORE {
        let Some(now) = now else {
            return Err("which one it runs now is not known, so none is the one before".to_owned());
        };
        let last = |path: &'r str| path.rsplit('/').next().unwrap_or(path);
        let place_of = |name: &str| releases.iter().position(|release| release.name == name);
        let name = last(now);
        let place = place_of(name);
        let Some(place) = place else { return Err(format!("it runs {name} now, which is none of those; {}", names())) };
        // A run that was cut short has put it there already: the same line again means the same release.
        let place = before.and_then(|before| place_of(last(before))).filter(|before| *before < place).unwrap_or(place);
        return releases.get(place + 1).ok_or_else(|| format!("there is none before {name}; {}", names()));
    }
    if let Some(exact) = releases.iter().find(|release| release.name == wanted) {
        return Ok(exact);
    }
    // A number or a date is whole or another one; of a commit and a digest nobody types more than its beginning.
    let begins = |release: &&KeptRelease| {
        let digest = Some(&release.name).filter(|name| name.starts_with("sha256:"));
        [digest, release.also.as_ref()].into_iter().flatten().any(|name| name.starts_with(wanted))
    };
    let mut found = releases.iter().filter(begins);
    let first = found.next().filter(|_| wanted.len() >= LEAST_OF_A_NAME);
    let is_another = |other: &&KeptRelease| first.is_none_or(|first| first.name != other.name);
    match (first, found.find(is_another)) {
        (Some(one), None) => Ok(one),
        (Some(one), Some(other)) => Err(format!("{wanted} may be {} or {}", one.name, other.name)),
        (None, _) => Err(format!("there is no {wanted}; {}", names())),
    }
}

/// Fewer characters than that are no beginning of a name that anybody meant.
const LEAST_OF_A_NAME: usize = 4;
/// So many names are shown where none is the one.
const MOST_SHOWN: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(name: &str, also: Option<&str>) -> KeptRelease {
        KeptRelease { name: name.to_owned(), also: also.map(str::to_owned), about: String::new(), can_be_had: true }
    }

    #[test]
    fn the_release_that_is_meant_is_one_or_none() {
        let all = [kept("20261130", Some("ab12cd")), kept("20261129", None), kept("20261120", None)];
        let at = |now: Option<&'static str>, before: Option<&'static str>, wanted: &str| {
            meant(KeptThere { releases: &all, now, before }, wanted).map(|release| release.name.as_str())
        };
        let name = |now: Option<&'static str>, wanted: &str| at(now, None, wanted);
        assert_eq!(name(None, "20261129"), Ok("20261129"));
        assert_eq!(name(None, "ab12"), Ok("20261130"));
        assert_eq!(name(Some("/srv/releases/20261130"), "earlier"), Ok("20261129"));
        assert_eq!(
            name(Some("20261120"), "earlier"),
            Err("there is none before 20261120; there is 20261130, 20261129, 20261120".into())
        );
        assert!(name(None, "earlier").is_err());
        assert!(name(Some("x"), "earlier").is_err());
        // The beginning of a number is another number.
        assert!(name(None, "2026113").is_err());
        // Too short to be meant.
        assert!(name(None, "ab1").is_err());
        // Run twice it is the same one; what a rollback long ago replaced is older than what was deployed since.
        assert_eq!(at(Some("/r/20261129"), Some("/r/20261130"), "earlier"), Ok("20261129"));
        assert_eq!(at(Some("/r/20261129"), Some("/r/20261120"), "earlier"), Ok("20261120"));
        assert!(meant(KeptThere { releases: &[], now: None, before: None }, "1.2").is_err());
    }

    #[test]
    fn what_takes_a_files_place_is_read_back_as_it_was_told() {
        for put in [
            Put::File(RemotePath::new("/opt/l/blue.old").expect("a path")),
            Put::Variable { name: "TAG".into(), value: "1.3=2".into() },
            Put::Link("releases/20261120".into()),
        ] {
            assert_eq!(Put::try_from(String::from(put.clone())), Ok(put));
        }
        assert!(Put::try_from("=TAG".to_owned()).is_err());
        assert!(Put::try_from("relative".to_owned()).is_err());
    }
}
