//! Which release a colour is on one host: what the config says where to look, else its image, a commit in its folder, or
//! its program's digest. Never says whether that is the right one.

use std::collections::BTreeMap;

use serde::Serialize;

use super::Get;
use crate::hosts::answer::Answer;
use crate::nouns::inventory::{App, ReleaseSaid, Run};
use crate::nouns::redact::printable;
use crate::nouns::release::Release;

/// The program that a colour runs, or would.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProgramSeen {
    pub path: String,
    /// SHA-256, 64 hexadecimal digits.
    pub digest: String,
    /// The path of one that is kept beside it, `.old`, and is another.
    pub older: Option<String>,
}

/// Names longer than this are no names.
const LONGEST_NAME: usize = 64;
/// What a digest or a commit is shortened to; git's own guess for a large repository.
const SHORT: usize = 12;

pub(super) fn read(
    app: &App,
    answer: &Answer,
    gets: &BTreeMap<String, Vec<Get>>,
) -> (Option<Release>, Option<ProgramSeen>) {
    let colour = app.colour;
    let said = answer.text(&format!("{colour}.release")).unwrap_or_default();
    match (&app.release, &app.run) {
        (ReleaseSaid::ByUrl { header, .. }, _) => {
            let get = gets.get(&format!("{colour}.release")).and_then(|gets| gets.first());
            (get.and_then(|get| of_answer(get, header.as_deref())).map(Release::said), None)
        }
        (ReleaseSaid::InFile(_), _) => (name_in(&said).map(Release::said), None),
        (ReleaseSaid::Nowhere, Run::Docker(_) | Run::Compose { .. }) => {
            (of_image(&answer.text(&format!("{colour}.container")).unwrap_or_default()), None)
        }
        (ReleaseSaid::Nowhere, Run::Systemd(_) | Run::Process { .. } | Run::Command(_)) => found(&said),
    }
}

fn of_answer(get: &Get, header: Option<&str>) -> Option<String> {
    if !(200..300).contains(&get.status) {
        return None;
    }
    let Some(name) = header else { return name_in(&get.body) };
    let value = get.head.iter().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.eq_ignore_ascii_case(name).then_some(value)
    });
    value.and_then(name_in)
}

/// A release in a text: of JSON what is known for one, else its first line. A page is none.
fn name_in(text: &str) -> Option<String> {
    const KEYS: &[&str] = &["release", "version", "tag", "revision", "commit", "sha", "build"];
    let text = text.trim();
    if text.starts_with('<') {
        return None;
    }
    let name = match serde_json::from_str::<serde_json::Value>(text) {
        Ok(serde_json::Value::Object(object)) => KEYS.iter().find_map(|key| match object.get(*key)? {
            serde_json::Value::String(text) => Some(text.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        })?,
        _ => text.lines().next()?.to_owned(),
    };
    let name = printable(name.trim());
    (!name.is_empty() && name.chars().count() <= LONGEST_NAME).then_some(name)
}

/// The second line of what docker says of a container: its image's number, its name, and the labels.
fn of_image(said: &str) -> Option<Release> {
    let mut words = said.trim_start().lines().nth(1)?.splitn(3, ' ');
    let (id, image) = (words.next()?, words.next()?);
    let labels: BTreeMap<String, String> =
        words.next().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default();
    let label = ["org.opencontainers.image.version", "org.label-schema.version"]
        .iter()
        .find_map(|label| name_in(labels.get(*label)?));
    if let Some(name) = label {
        // Another image with the same label is another image.
        return Some(Release { proof: Some(format!("{name} {id}")), name, folder: None });
    }
    let named = image.rsplit('/').next().unwrap_or(image);
    let name = match named.split_once(':') {
        Some((name, tag)) if tag != "latest" && name != "sha256" => named.to_owned(),
        _ => short(id.strip_prefix("sha256:").unwrap_or(id), "sha256:")?,
    };
    // One image is often started twice, and what differs is how.
    Some(Release { name, proof: None, folder: None })
}

/// What `runs` in `facts.sh` found.
fn found(said: &str) -> (Option<Release>, Option<ProgramSeen>) {
    let mut programs = said.lines().filter_map(|line| line.strip_prefix("program ")?.split_once(' '));
    let program = programs.next().map(|(digest, path)| ProgramSeen {
        path: path.to_owned(),
        digest: digest.to_owned(),
        older: programs.next().filter(|(older, _)| *older != digest).map(|(_, path)| path.to_owned()),
    });
    let program = program.filter(|program| !is_an_interpreter(&program.path));
    let commit = said.lines().find_map(|line| line.strip_prefix("commit ")?.split_once(' '));
    let release = match (commit, &program) {
        (Some((commit, folder)), _) => name_in(commit).map(|name| {
            let is_commit = name.len() == 40 && name.bytes().all(|b| b.is_ascii_hexdigit());
            let shown = if is_commit { name.chars().take(SHORT).collect() } else { name.clone() };
            Release { name: shown, proof: Some(name), folder: Some(folder.to_owned()) }
        }),
        (None, Some(program)) => {
            short(&program.digest, "sha256:").map(|name| Release { name, proof: None, folder: None })
        }
        (None, None) => None,
    };
    (release, program)
}

fn short(digest: &str, before: &str) -> Option<String> {
    let is_digest = digest.len() >= SHORT && digest.bytes().all(|b| b.is_ascii_hexdigit());
    is_digest.then(|| format!("{before}{}", &digest[..SHORT]))
}

/// Whether a program runs what others wrote: its digest says nothing of them.
fn is_an_interpreter(path: &str) -> bool {
    const NAMES: &[&str] = &[
        "python",
        "pypy",
        "node",
        "nodejs",
        "bun",
        "deno",
        "java",
        "ruby",
        "php",
        "php-fpm",
        "perl",
        "dotnet",
        "mono",
        "beam.smp",
        "erl",
        "lua",
        "luajit",
        "sh",
        "bash",
        "dash",
        "busybox",
        "env",
        "uwsgi",
        "puma",
        "apache2",
        "httpd",
        "nginx",
        "catatonit",
        "docker-proxy",
        "systemd",
    ];
    let name = path.rsplit('/').next().unwrap_or(path);
    NAMES.contains(&name) || NAMES.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_a_line_or_what_json_calls_so() {
        let is = |text: &str, name: &str| assert_eq!(name_in(text).as_deref(), Some(name), "{text}");
        is("1.4.0\n", "1.4.0");
        is("\nv1.4.0-rc.1+5 (2026-11-20)\nmore\n", "v1.4.0-rc.1+5 (2026-11-20)");
        is("{\"status\":\"UP\",\"version\":\"1.4.0\"}", "1.4.0");
        is("{\"build\": 812}", "812");
        is("1.4", "1.4");
        for nothing in ["", "\n\n", "<html><h1>404</h1>", "{\"status\":\"UP\"}", &"x".repeat(65)] {
            assert_eq!(name_in(nothing), None, "{nothing}");
        }
        // What would colour the screen is shown, not done.
        assert!(!name_in("1.4\u{1b}[31m").unwrap_or_default().contains('\u{1b}'));
    }

    #[test]
    fn an_image_is_known_by_its_label_and_else_by_its_name() {
        let id = format!("sha256:{}", "ab12".repeat(16));
        let of = |image: &str, labels: &str| {
            of_image(&format!("true 7 no 0123 {{\"80/tcp\":null}}\n{id} {image} {labels}")).expect("a release")
        };
        let labelled = of("shop/listings:blue", "{\"org.opencontainers.image.version\":\"1.4.0\"}");
        assert_eq!(labelled.name, "1.4.0");
        assert!(labelled.is(&of("listings:green", "{\"org.opencontainers.image.version\":\"1.4.0\"}")));
        let tagged = of("registry:5000/shop/listings:1.3", "null");
        assert_eq!(tagged.name, "listings:1.3");
        assert!(!tagged.is(&tagged), "one image may be started in two ways");
        assert_eq!(of("listings", "null").name, "sha256:ab12ab12ab12");
        assert_eq!(of("listings:latest", "{}").name, "sha256:ab12ab12ab12");
        assert_eq!(of_image("false 0 none none null"), None);
    }

    #[test]
    fn a_commit_tells_two_folders_apart_and_a_program_two_copies() {
        let commit = "0123456789abcdef0123456789abcdef01234567";
        let digest = "c".repeat(64);
        let (blue, _) = found(&format!("program {digest} /usr/bin/python3.11\ncommit {commit} /srv/blue\n"));
        let (green, _) = found(&format!("commit {commit} /srv/green\n"));
        let (blue, green) = (blue.expect("a release"), green.expect("a release"));
        assert_eq!(blue.name, "0123456789ab");
        assert!(blue.is(&green) && !blue.is(&blue));
        let other = "d".repeat(64);
        let (release, program) =
            found(&format!("program {digest} /opt/l/bin/blue\nprogram {other} /opt/l/bin/blue.old\n"));
        assert_eq!(release.expect("a release").name, "sha256:cccccccccccc");
        assert_eq!(program.expect("a program").older.as_deref(), Some("/opt/l/bin/blue.old"));
        let same = format!("program {digest} /opt/l/bin/blue\nprogram {digest} /opt/l/bin/blue.old\n");
        assert_eq!(found(&same).1.expect("a program").older, None, "what is the same is no way back");
        assert_eq!(found(&format!("program {digest} /usr/bin/python3.11\n")), (None, None));
        assert_eq!(found(""), (None, None));
    }
}
