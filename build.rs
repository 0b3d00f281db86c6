//! Builds `src/carried` for the hosts that this program may meet, linked statically so that it runs on any Linux of its
//! architecture, and packs it where `hosts::carried` takes it from. Where that cannot be built (no static C library, no
//! Linux) nothing is packed: the hosts then read and load dumps with psql, gzip and awk, and count in no log. Without a
//! static C library a warning here says so, and without Linux `check`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use flate2::Compression;
use flate2::write::GzEncoder;

const PACKAGE: &str = "rollback-prod-carried";

fn main() {
    for watched in ["src/carried", "src/dumps", "src/logs", "Cargo.toml", "Cargo.lock"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let out = PathBuf::from(variable("OUT_DIR"));
    // A laptop of another kind has no compiler for what hosts run; `check` says what that means.
    let is_linux = variable("CARGO_CFG_TARGET_OS") == "linux";
    let program = match if is_linux { built(&out) } else { Ok(Vec::new()) } {
        Ok(program) => program,
        Err(why) => {
            println!(
                "cargo::warning=hosts will read and load dumps with their own tools, slower, and count in no log: {why}"
            );
            // Tried again by the next build: what is missing may be there then.
            println!("cargo::rerun-if-changed={}", out.join("never-there").display());
            Vec::new()
        }
    };
    fs::write(out.join("carried.gz"), packed(&program)).expect("cargo's own folder can be written");
}

/// The program's bytes, or in one line why there are none.
fn built(out: &Path) -> Result<Vec<u8>, String> {
    let target = variable("TARGET");
    let folder = out.join("carried");
    let mut cargo = Command::new(variable("CARGO"));
    cargo.current_dir(variable("CARGO_MANIFEST_DIR"));
    cargo.args(["build", "--quiet", "--locked", "--package", PACKAGE, "--bin", PACKAGE]);
    cargo.args(["--profile", "carried", "--target", &target, "--target-dir"]).arg(&folder);
    cargo.env("CARGO_ENCODED_RUSTFLAGS", flags()).env("CARGO_INCREMENTAL", "0");
    // What holds for the outer build, and clippy in the compiler's place, is nothing to this one.
    for name in ["RUSTFLAGS", "CARGO_BUILD_TARGET", "RUSTC_WORKSPACE_WRAPPER", "RUSTC_WRAPPER"] {
        cargo.env_remove(name);
    }
    let output = cargo.output().map_err(|err| err.to_string())?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let error = said.lines().find(|line| line.starts_with("error")).unwrap_or("cargo could not build it");
        return Err(format!("{error} (a static C library is needed: Debian's libc6-dev, Fedora's glibc-static)"));
    }
    fs::read(folder.join(target).join("carried").join(PACKAGE)).map_err(|err| err.to_string())
}

/// The compiler's flags, as cargo wants them in one variable. Where the outer build takes the paths of its machine out of what it
/// makes, as scripts/package does, they are in nothing that goes to hosts either.
fn flags() -> String {
    let outer = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let mut flags = vec!["-C", "target-feature=+crt-static"];
    flags.extend(outer.split('\u{1f}').filter(|flag| flag.starts_with("--remap-path-prefix=")));
    flags.join("\u{1f}")
}

fn packed(program: &[u8]) -> Vec<u8> {
    if program.is_empty() {
        return Vec::new();
    }
    let mut packed = GzEncoder::new(Vec::new(), Compression::best());
    packed.write_all(program).and_then(|()| packed.finish()).expect("memory takes it")
}

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("cargo sets {name} for a build script"))
}
