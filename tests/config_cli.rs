//! Where the program finds its config, and what the flags around it mean: environments, names, variables. No host is
//! asked; what is refused because of it is in `refusals`.

mod support;

use std::fs::Permissions;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use support::{LEAST_CONFIG, Scene, rollback_prod};

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().expect("a folder")).expect("make the folder");
    std::fs::write(path, text).expect("write a file");
}

fn named(service: &str) -> String {
    LEAST_CONFIG.replace("web1", service)
}

/// The manual names the hosts of whatever config was found, and connects to nobody.
fn manual(command: &mut Command, folder: &Path) -> Scene {
    Scene::of(command.arg("manual").current_dir(folder), folder)
}

#[test]
fn the_config_is_the_one_that_was_named_else_the_variables_else_the_nearest() {
    let root = tempfile::tempdir().expect("make a folder");
    let deep = root.path().join("a/b");
    write(&deep.join("file"), "");
    write(&root.path().join("rollback.toml"), &named("nearest"));
    write(&root.path().join("other/flag.toml"), &named("flag"));
    write(&root.path().join("other/variable.toml"), &named("variable"));
    let flag = root.path().join("other/flag.toml");
    let variable = root.path().join("other/variable.toml");

    manual(&mut rollback_prod(), &deep).exits(0).says("nearest");
    manual(rollback_prod().env("ROLLBACK_CONFIG", &variable), &deep).exits(0).says("variable").never_says("nearest");
    let both = manual(rollback_prod().env("ROLLBACK_CONFIG", &variable).arg("--config").arg(&flag), &deep);
    both.exits(0).says("flag").never_says("variable.invalid");
    // An empty variable is none.
    manual(rollback_prod().env("ROLLBACK_CONFIG", ""), &deep).exits(0).says("nearest");
}

#[test]
fn without_any_config_the_places_that_were_looked_at_are_named() {
    let folder = tempfile::tempdir().expect("make a folder");
    let scene = Scene::of(rollback_prod().args(["--reason", "x"]).current_dir(folder.path()), folder.path());
    scene.exits(2).says("rollback.toml").says("--config").says("ROLLBACK_CONFIG").says("nothing was changed");
}

#[test]
fn an_environment_is_laid_over_the_config_key_by_key() {
    let folder = tempfile::tempdir().expect("make a folder");
    write(&folder.path().join("rollback.toml"), LEAST_CONFIG);
    write(&folder.path().join("rollback.staging.toml"), "[nginx]\nupstream = \"staging_backend\"\n");
    let prod = manual(&mut rollback_prod(), folder.path());
    prod.exits(0).says("listings_backend").never_says("staging_backend");
    let staging = manual(rollback_prod().args(["--env", "staging"]), folder.path());
    staging.exits(0).says("staging_backend").says("/etc/nginx/sites-available/listings");
    // The runbook's second name means the same.
    let other_name = folder.path().join("rollback-staging");
    symlink(env!("CARGO_BIN_EXE_rollback-prod"), &other_name).expect("make a link");
    manual(&mut Command::new(&other_name), folder.path()).exits(0).says("staging_backend");
    let contradiction = Scene::of(
        Command::new(&other_name).args(["--env", "prod", "manual"]).current_dir(folder.path()),
        folder.path(),
    );
    contradiction.exits(2).says("staging");
    let no_reason = Scene::of(Command::new(&other_name).current_dir(folder.path()), folder.path());
    no_reason.exits(2).says("rollback-staging --reason");
}

#[test]
fn variables_come_from_the_environment_else_from_the_file_beside_the_config() {
    let folder = tempfile::tempdir().expect("make a folder");
    write(&folder.path().join("rollback.toml"), &LEAST_CONFIG.replace("deploy@web1.invalid", "$DEPLOY_AT"));
    let missing = manual(rollback_prod().env_remove("DEPLOY_AT"), folder.path());
    missing.exits(2).says("DEPLOY_AT").says("rollback.toml:4");
    write(&folder.path().join(".env.deploy"), "# who deploys\nexport DEPLOY_AT='from-file@web1.invalid'\n");
    manual(rollback_prod().env_remove("DEPLOY_AT"), folder.path()).exits(0).says("from-file@web1.invalid");
    let environment = manual(rollback_prod().env("DEPLOY_AT", "from-environment@web1.invalid"), folder.path());
    environment.exits(0).says("from-environment@web1.invalid").never_says("from-file");
}

#[test]
fn a_config_that_others_may_write_is_refused() {
    let folder = tempfile::tempdir().expect("make a folder");
    let config = folder.path().join("rollback.toml");
    let variables = folder.path().join(".env.deploy");
    write(&config, LEAST_CONFIG);
    write(&variables, "TOKEN=x\n");
    let mode = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, Permissions::from_mode(mode)).expect("change a mode");
    };
    for path in [&config, &variables] {
        mode(path, 0o646);
        let scene = manual(&mut rollback_prod(), folder.path());
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        scene.exits(2).says(name).says("others may write it (mode 646)").says("chmod go-w");
        mode(path, 0o600);
    }
    // A group of one's own, as where the umask is 002.
    let mine = std::fs::metadata(&config).expect("it is there");
    mode(&config, 0o664);
    std::os::unix::fs::chown(&config, None, Some(mine.uid())).expect("we are root");
    manual(&mut rollback_prod(), folder.path()).exits(0);
    std::os::unix::fs::chown(&config, None, Some(mine.uid() + 4711)).expect("we are root");
    manual(&mut rollback_prod(), folder.path()).exits(2).says("others may write it (mode 664)");
}

#[test]
fn a_config_of_another_user_is_refused() {
    let folder = tempfile::tempdir().expect("make a folder");
    std::fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).expect("change a mode");
    let config = folder.path().join("rollback.toml");
    write(&config, LEAST_CONFIG);
    let program = folder.path().join("rollback-prod");
    // By another process: a program that any thread's child may still hold open for writing cannot be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_rollback-prod")).arg(&program).status();
    assert!(copied.expect("cp starts").success(), "where everybody may run it");
    let mut as_nobody = Command::new(&program);
    as_nobody.uid(65534).gid(65534).env_clear();
    // Root's files are believed; what they say, root could have done anyway.
    manual(&mut as_nobody, folder.path()).exits(0);
    std::os::unix::fs::chown(&config, Some(4711), None).expect("we are root");
    let mut as_nobody = Command::new(&program);
    as_nobody.uid(65534).gid(65534).env_clear();
    manual(&mut as_nobody, folder.path()).exits(2).says("it belongs to user 4711");
}

#[test]
fn help_version_man_page_and_completions_need_no_config() {
    let folder = tempfile::tempdir().expect("make a folder");
    let cases: [(&[&str], &str); 5] = [
        (&["--help"], "--reason"),
        (&["-V"], env!("CARGO_PKG_VERSION")),
        (&["man"], ".TH rollback-prod"),
        (&["completions", "bash"], "complete -F"),
        (&["completions", "fish"], "complete -c rollback-prod"),
    ];
    for (words, says) in cases {
        let scene = Scene::of(rollback_prod().args(words).current_dir(folder.path()), folder.path());
        scene.exits(0).says(says);
        scene.holds(scene.stderr.is_empty(), "nothing on standard error");
    }
}
