//! Lines of `--json` held against the schema that is published for them, by a validator that nobody here wrote.
#![allow(dead_code)]

#[path = "wheel.rs"]
mod wheel;

use std::io::Write;
use std::process::{Command, Stdio};

/// The lines that are not as the schema says, each with the reason.
pub fn complaints(lines: &str) -> Vec<String> {
    let script = "import json, sys\nsys.path.insert(0, sys.argv[1])\nimport fastjsonschema\n\
                  check = fastjsonschema.compile(json.load(open(sys.argv[2])))\n\
                  for line in sys.stdin:\n    try:\n        check(json.loads(line))\n    \
                  except Exception as err:\n        print(err, '|', line.strip())\n";
    let schema = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/output.schema.json");
    let mut python = Command::new("python3");
    python.args(["-c", script]).arg(wheel::wheel("fastjsonschema", "2.21.2")).arg(schema);
    let mut running =
        python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("python3 is there");
    running.stdin.take().expect("it is piped").write_all(lines.as_bytes()).expect("python reads");
    let output = running.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}
