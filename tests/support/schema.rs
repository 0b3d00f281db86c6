//! Lines of `--json` held against the schema that is published for them, by a validator that nobody here wrote.
#![allow(dead_code)]

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// fastjsonschema, as its package for Python brings it: one wheel that needs no other.
fn validator() -> PathBuf {
    let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("fastjsonschema-2.21.2");
    if std::fs::read_dir(&kept).is_ok_and(|mut files| files.next().is_some()) {
        return kept;
    }
    let unpacked = tempfile::tempdir().expect("a folder");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"]);
    let got = pip.arg(unpacked.path()).arg("fastjsonschema==2.21.2").output().expect("python3 is there");
    assert!(got.status.success(), "fastjsonschema cannot be had: {}", String::from_utf8_lossy(&got.stderr));
    std::fs::create_dir_all(&kept).expect("a folder of the tests' own");
    for wheel in std::fs::read_dir(unpacked.path()).expect("a folder").flatten() {
        std::fs::copy(wheel.path(), kept.join(wheel.file_name())).expect("a file of the tests' own");
    }
    kept
}

/// The lines that are not as the schema says, each with the reason.
pub fn complaints(lines: &str) -> Vec<String> {
    let script = "import glob, json, sys\nsys.path.insert(0, glob.glob(sys.argv[1] + '/*.whl')[0])\nimport fastjsonschema\n\
                  check = fastjsonschema.compile(json.load(open(sys.argv[2])))\n\
                  for line in sys.stdin:\n    try:\n        check(json.loads(line))\n    \
                  except Exception as err:\n        print(err, '|', line.strip())\n";
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/output.schema.json");
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(validator()).arg(schema);
    let mut running =
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("python3 is there");
    running.stdin.take().expect("it is piped").write_all(lines.as_bytes()).expect("python reads");
    let output = running.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
