//! What the documents say is true: the sudoers lines are the ones that the program asks for, and the way from the command line to the wire has the names that the tour gives.

mod support;

use std::path::{Path, PathBuf};

use support::lab::Lab;
use support::{Scene, rollback_prod};

fn repository() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn text(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|err| panic!("{path}: {err}"))
}

#[test]
fn the_books_sudoers_lines_are_those_that_the_program_asks_for() {
    let lab = Lab::up(&["web1"]);
    let config = lab.config("");
    lab.sh("web1", "echo '# nobody may do anything' >/etc/sudoers.d/deploy");
    let mut check = rollback_prod();
    check.arg("check").arg("--config").arg(&config);
    let scene = Scene::of(&mut check, lab.folder());
    let lines = |text: &str| -> Vec<String> {
        let mut lines: Vec<String> = text
            .lines()
            .map(str::trim)
            .filter(|line| line.starts_with("deploy ALL=(root)"))
            .map(str::to_owned)
            .collect();
        lines.sort();
        lines
    };
    // The page's last line is for the case that this lab is not: a process of another user. Those of a database are
    // held against the program where a database is (restore_hosts.rs).
    let written: Vec<String> =
        lines(&text("docs/start.md")).into_iter().filter(|line| !line.contains("/ss ")).collect();
    let asked = lines(&scene.stderr);
    scene.holds(!asked.is_empty(), "the program asks for something");
    scene.holds(written == asked, &format!("the page's lines are the program's:\n{}", written.join("\n")));
}

#[test]
fn every_test_that_the_security_notes_name_is_there() {
    let said = text("SECURITY.md");
    let named: Vec<&str> = said.split('`').filter(|word| word.starts_with("tests/")).collect();
    assert!(named.len() > 10, "they name tests: {named:?}");
    for test in named {
        assert!(repository().join(test).is_file(), "SECURITY.md names {test}, which is not there");
    }
}

#[test]
fn the_way_to_the_wire_is_the_one_that_the_tour_gives() {
    for (file, name) in [
        ("src/main.rs", "app::run("),
        ("src/app.rs", "run.rollback("),
        ("src/app/rollback.rs", "execute(context"),
        ("src/engine/run.rs", "Switch {"),
        ("src/steps/switch.rs", "fleet.apply("),
        ("src/hosts/ssh.rs", "async fn apply("),
        ("src/app.rs", "observe(fleet"),
        ("src/steps/observe.rs", "fleet.ask("),
    ] {
        assert!(text(file).contains(name), "{file} has no {name}");
    }
}

#[test]
fn the_runbooks_own_scripts_pass_everything_on() {
    let folder = tempfile::tempdir().expect("a folder");
    for (script, environment) in [("rollback-prod.sh", "prod"), ("rollback-staging.sh", "staging")] {
        let mut command = std::process::Command::new(repository().join("scripts").join(script));
        command.env("ROLLBACK_PROD", env!("CARGO_BIN_EXE_rollback-prod")).env_remove("ROLLBACK_CONFIG");
        command.current_dir(folder.path()).args(["--config", "none.toml", "--reason", "a b\"c"]);
        let scene = Scene::of(&mut command, folder.path());
        scene.exits(2).says("none.toml").says("nothing was changed");
        scene.holds(!scene.stderr.contains("unexpected argument"), &format!("{environment}: the flags arrive whole"));
    }
}

#[test]
fn the_runbooks_script_finds_the_program_wherever_cargo_puts_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let checkout = folder.path().join("a checkout");
    std::fs::create_dir_all(checkout.join("scripts")).expect("make a folder");
    std::fs::create_dir_all(checkout.join(".cargo")).expect("make a folder");
    // A checkout in which nothing was built: what runs comes from elsewhere, or is built with a word about it.
    for name in ["Cargo.toml", "Cargo.lock", "src", "benches", "tests"] {
        std::os::unix::fs::symlink(repository().join(name), checkout.join(name)).expect("make a link");
    }
    for name in ["rollback-prod.sh", "target-dir"] {
        let path = Path::new("scripts").join(name);
        std::fs::copy(repository().join(&path), checkout.join(&path)).expect("copy a script");
    }
    let elsewhere = folder.path().join("built \"here\"");
    std::fs::create_dir_all(elsewhere.join("release")).expect("make a folder");
    let program = elsewhere.join("release/rollback-prod");
    std::fs::hard_link(env!("CARGO_BIN_EXE_rollback-prod"), &program)
        .or_else(|_| std::fs::copy(env!("CARGO_BIN_EXE_rollback-prod"), &program).map(drop))
        .expect("put the program there");
    let run = |variable: Option<&Path>| {
        let mut command = std::process::Command::new(checkout.join("scripts/rollback-prod.sh"));
        command.env_remove("ROLLBACK_PROD").env_remove("CARGO_TARGET_DIR").env_remove("CARGO_BUILD_TARGET_DIR");
        command.envs(variable.map(|path| ("CARGO_TARGET_DIR", path))).current_dir(folder.path()).arg("--version");
        Scene::of(&mut command, folder.path())
    };
    run(Some(&elsewhere)).exits(0).says(env!("CARGO_PKG_VERSION")).never_says("building");
    let config = "[build]\ntarget-dir = '../built \"here\"'\n";
    std::fs::write(checkout.join(".cargo/config.toml"), config).expect("write a config");
    run(None).exits(0).says(env!("CARGO_PKG_VERSION")).never_says("building");
}

/// What cargo test prints, with a file that fails and one that is killed before its last line.
const PRINTED: &str =
    "\u{1b}[1m\u{1b}[92m     Running\u{1b}[0m unittests src/lib.rs (target/debug/deps/rollback_prod-1)

running 2 tests
test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.26s

     Running tests/switch.rs (target/debug/deps/switch-2)
test nobody_notices ... FAILED
test result: FAILED. 30 passed; 4 failed; 0 ignored; 0 measured; 1 filtered out; finished in 101.50s

     Running tests/faults.rs (target/debug/deps/faults-3)
   Doc-tests rollback_prod
test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

#[test]
fn the_slowest_test_file_is_named_first_and_what_did_not_end_before_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = std::process::Command::new(repository().join("scripts/slowest"));
    let scene = Scene::of_typing(&mut command, folder.path(), PRINTED);
    scene.exits(0);
    let wanted = "  seconds  tests  file
        ?      ?  tests/faults.rs: it did not come to its end
    101.5     34  tests/switch.rs: 4 failed
      0.3      2  src/lib.rs
      0.0      0  documentation of rollback_prod
    101.8     36  in all
";
    scene.holds(scene.stdout == wanted, &format!("the table is\n{wanted}"));
}

#[test]
fn the_pages_flags_of_every_command_are_those_of_the_program() {
    let help = Scene::of(rollback_prod().args(["status", "--help"]), &repository());
    let page = text("docs/screen.md");
    let rows = page.lines().skip_while(|line| *line != "| flag | everywhere |").skip(2);
    let named: Vec<&str> = rows.take_while(|line| line.starts_with('|')).flat_map(|row| row.split('`')).collect();
    let flags: Vec<&str> = named.into_iter().filter(|word| word.starts_with("--") && !word.contains(' ')).collect();
    help.holds(flags.len() >= 3, &format!("it names flags: {flags:?}"));
    for flag in flags {
        help.holds(help.stdout.split_whitespace().any(|word| word == flag), &format!("the program has {flag}"));
    }
}
