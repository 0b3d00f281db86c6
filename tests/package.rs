//! What is handed out does not rot between two releases: whatever the manifest, scripts/package and the workflows name is
//! there, and one version stands everywhere. `scripts/package --try` makes it and tries it on real systems.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
}

fn toml(path: &str) -> toml::Table {
    text(path).parse().unwrap_or_else(|err| panic!("{path}: {err}"))
}

/// Whether a file is there, or for `folder/*` and `folder/*.md` at least one.
fn is_there(path: &str) -> bool {
    let Some((folder, ending)) = path.split_once('*') else { return repository().join(path).is_file() };
    let entries = std::fs::read_dir(repository().join(folder)).unwrap_or_else(|err| panic!("{folder}: {err}"));
    entries.flatten().any(|entry| entry.file_name().to_string_lossy().ends_with(ending))
}

#[test]
fn one_version_stands_everywhere() {
    let version = env!("CARGO_PKG_VERSION");
    let changes = text("CHANGELOG.md");
    let top = changes.lines().filter_map(|line| line.strip_prefix("## ")).find(|heading| *heading != "Unreleased");
    assert_eq!(top, Some(version), "the newest version of CHANGELOG.md");
    for member in ["src/carried", "src/dumps", "src/logs"] {
        let manifest = toml(&format!("{member}/Cargo.toml"));
        assert_eq!(manifest["package"]["version"].as_str(), Some(version), "{member}");
    }
    let locked = toml("Cargo.lock");
    let ours = locked["package"].as_array().expect("a list").iter().filter(|package| package.get("source").is_none());
    for package in ours {
        assert_eq!(package["version"].as_str(), Some(version), "{package}");
    }
}

#[test]
fn every_file_that_the_deb_takes_is_there_or_made() {
    let manifest = toml("Cargo.toml");
    let script = text("scripts/package");
    let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array().expect("a list");
    let mut places = Vec::new();
    let mut links = Vec::new();
    for asset in assets {
        if let Some(link) = asset.get("link_name").and_then(toml::Value::as_str) {
            links.push((link, asset["dest"].as_str().expect("a path")));
            continue;
        }
        let asset: Vec<&str> = asset.as_array().expect("a list").iter().filter_map(toml::Value::as_str).collect();
        let [source, place, mode] = asset[..] else { panic!("{asset:?} is a source, a place and a mode") };
        match source.strip_prefix("target/release/") {
            Some("rollback-prod") => assert_eq!(mode, "755"),
            Some(made) => {
                let page = made.strip_prefix("package/").unwrap_or_else(|| panic!("{made} is made by nobody"));
                assert!(script.contains(&format!(">\"$pages/{page}\"")), "scripts/package makes no {page}");
            }
            None => assert!(is_there(source), "the .deb takes {source}, which is not there"),
        }
        let name = Path::new(source).file_name().expect("it has a name").to_string_lossy();
        places.push(if place.ends_with('/') { format!("{place}{name}") } else { place.to_owned() });
    }
    assert!(places.len() > 10, "{places:?}");
    for (link, place) in links {
        let leads = Path::new(place).with_file_name(link).to_string_lossy().into_owned();
        assert!(places.contains(&leads), "{place} leads to {leads}, which is not in the .deb");
    }
}

#[test]
fn what_is_downloaded_has_the_name_that_it_is_made_under() {
    let manifest = toml("Cargo.toml");
    let package = &manifest["package"];
    let repository = package["repository"].as_str().expect("an address");
    for document in ["docs/start.md", "docs/packages.md"] {
        let elsewhere = repository.replace("https://github.com/", "https://raw.githubusercontent.com/");
        let said = text(document);
        assert!(said.contains(repository) || said.contains(&elsewhere), "{document} names another than {repository}");
    }
    let script = text("scripts/package");
    for line in ["name=rollback-prod-$version", "archive=$name-$machine-linux", ">\"$out/$1.tar.gz\""] {
        assert!(script.contains(line), "scripts/package has no {line}");
    }
    for (target, taken) in package["metadata"]["binstall"]["overrides"].as_table().expect("a table") {
        let machine = target.split('-').next().expect("it begins with it");
        let folder = format!("{{ name }}-{{ version }}-{machine}-linux");
        let address = taken["pkg-url"].as_str().expect("an address");
        assert_eq!(address, format!("{{ repo }}/releases/download/v{{ version }}/{folder}.tar.gz"), "{target}");
        assert_eq!(taken["bin-dir"].as_str(), Some(format!("{folder}/{{ bin }}").as_str()), "{target}");
    }
    assert!(text("docs/packages.md").contains("rollback-prod-VERSION-x86_64-linux.tar.gz"));
}

#[test]
fn the_workflows_call_what_is_there_and_may_write_nothing_but_a_release() {
    for (workflow, calls) in [("ci.yml", ".ci/run"), ("release.yml", "scripts/package")] {
        let said = text(&format!(".github/workflows/{workflow}"));
        assert!(said.contains(calls) && repository().join(calls).is_file(), "{workflow} calls {calls}");
        assert!(said.contains("\npermissions:\n  contents: read\n"), "{workflow} reads");
        assert_eq!(said.matches(": write").count(), usize::from(workflow == "release.yml"), "{workflow}");
        for action in said.lines().filter_map(|line| line.split_once("uses: ")).map(|(_, action)| action) {
            let (_, version) = action.split_once("@v").unwrap_or_else(|| panic!("{workflow}: {action} has no version"));
            assert!(version.parse::<u32>().is_ok(), "{workflow}: {action} is held at a major version");
        }
        // The compiler is the one that the manifest wants.
        let wanted = format!("rustup toolchain install {} ", env!("CARGO_PKG_RUST_VERSION"));
        assert!(said.contains(&wanted), "{workflow}: {wanted}");
    }
}

#[test]
fn the_scripts_of_the_checkout_please_shellcheck() {
    let mut scripts = vec![repository().join(".ci/run")];
    let entries = std::fs::read_dir(repository().join("scripts")).expect("it can be listed");
    scripts.extend(entries.flatten().map(|entry| entry.path()).filter(|path| path.is_file()));
    assert!(scripts.iter().any(|path| path.ends_with("scripts/package")), "{scripts:?}");
    // Side by side: the long ones take a second each.
    let looking = scripts.into_iter().map(|path| {
        let mut shellcheck = Command::new("shellcheck");
        shellcheck.args(["-f", "gcc"]).arg(path).stdout(Stdio::piped()).spawn().expect("shellcheck runs")
    });
    for looked in looking.collect::<Vec<_>>() {
        let output = looked.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn who_types_something_else_is_told_what_there_is() {
    let output = Command::new(repository().join("scripts/package")).arg("--publish").output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("scripts/package --try"), "{said}");
}
