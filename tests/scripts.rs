//! The scripts that run on hosts, as they are sent: every shell that a host may have must read them, no argument may
//! ever be code, and a program that is cut on its way must not run at all. On this machine's own shells.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use proptest::prelude::*;
use rollback_prod::hosts::answer::{Frame, sections};
use rollback_prod::hosts::program::{Nonce, Program, shell_text};
use rollback_prod::steps::scripts;

/// Every shell that is /bin/sh somewhere.
const SHELLS: &[&[&str]] = &[&["dash"], &["bash", "--posix"], &["busybox", "ash"]];

/// What a host's login shell is given before the program; see `bootstrap` in remote/ssh.rs, which the tests of
/// tests/ssh.rs run for real.
fn bootstrap(seal: &Nonce) -> String {
    let source = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/src/hosts/ssh.rs")).expect("our source");
    // Taken from the source, so that what is tested here is what is sent: the text between `exec /bin/sh -c '` and `'`.
    let from = source.find("exec /bin/sh -c 'while").expect("the bootstrap stands in remote/ssh.rs")
        + "exec /bin/sh -c '".len();
    let literal: String = source[from..].chars().take_while(|c| *c != '\'').collect();
    // Undo what a Rust string literal and `format!` do to it.
    let mut text = String::new();
    let mut chars = literal.chars().peekable();
    while let Some(c) = chars.next() {
        match (c, chars.peek()) {
            ('\\', Some('\n')) => {
                while chars.peek().is_some_and(|c| c.is_whitespace()) {
                    chars.next();
                }
            }
            ('\\', Some(_)) => text.extend(chars.next()),
            ('{', Some('{')) | ('}', Some('}')) => text.extend(chars.next()),
            (c, _) => text.push(c),
        }
    }
    let text = text.replace("{seal}", seal.as_str());
    assert!(text.contains(seal.as_str()) && text.contains("eval \"$p\""), "the bootstrap was understood: {text}");
    text
}

/// A program as `bootstrap` takes it: how long, and then the program with the word that nobody can guess.
fn sealed(text: &str, seal: &Nonce) -> String {
    let text = format!("{text}#end-{seal}");
    format!("{}\n{text}", text.len())
}

fn run(words: &[&str], more: &[&str], input: &[u8]) -> Output {
    let mut child = Command::new(words[0])
        .args(&words[1..])
        .args(more)
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{}: {error} (hint: scripts/lab install)", words[0]));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || {
        // A shell that does not want it all has its reasons.
        let _ = stdin.write_all(&input);
    });
    let output = child.wait_with_output().expect("wait for the shell");
    writer.join().expect("the writer does not panic");
    output
}

fn program(parts: &'static [&'static str], arguments: Vec<String>) -> Program {
    Program { name: "test", parts, arguments, cargo: Default::default(), limit: Duration::from_secs(10) }
}

/// Names and contents, in order.
type Sections = Vec<(String, Vec<u8>)>;

/// Sends a program as it is sent over a line, and takes its answer apart: status, sections, noise.
fn send(shell: &[&str], program: &Program) -> (Option<i32>, Sections, String) {
    let nonce = Nonce::new();
    let text = sealed(&shell_text(program, &nonce), &nonce);
    let output = run(shell, &["-c", &bootstrap(&nonce)], text.as_bytes());
    let mut frame = Frame::new(&nonce);
    let mut content = Vec::new();
    frame
        .push(&output.stdout, &mut |bytes| {
            content.extend_from_slice(bytes);
            Ok(())
        })
        .expect("a vector takes everything");
    let noise = format!("{}{}", frame.noise(), String::from_utf8_lossy(&output.stderr));
    (frame.status(), sections(&content, &nonce), noise)
}

struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("rp-scripts-{}-{name}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).expect("make a folder");
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Every script put together as it is sent, in files.
fn assembled(folder: &Path) -> Vec<PathBuf> {
    assert!(scripts().count() > 10, "the scripts are there");
    scripts()
        .map(|(name, parts)| {
            let path = folder.join(format!("{name}.sh"));
            let text = shell_text(&program(parts, vec!["sudo=no".into(), "it's=a 'test'".into()]), &Nonce::new());
            std::fs::write(&path, text).expect("write a script");
            path
        })
        .collect()
}

#[test]
fn every_script_is_read_by_every_shell() {
    let folder = Folder::new("read");
    for path in assembled(&folder.0) {
        for shell in SHELLS {
            let output = run(shell, &["-n", path.to_str().expect("UTF-8")], b"");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{shell:?} {}: {said}", path.display());
        }
    }
}

#[test]
fn every_script_pleases_shellcheck() {
    let folder = Folder::new("check");
    let paths = assembled(&folder.0);
    // Comments are not sent, and with them go the few excuses; those are checked where they stand, below. Here only
    // what is wrong for sure counts.
    let mut words = vec!["shellcheck", "-s", "sh", "-S", "error", "-f", "gcc"];
    words.extend(paths.iter().map(|path| path.to_str().expect("UTF-8")));
    let output = run(&words, &[], b"");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));

    // With their comments, each as the body of a function behind the parts that it shares.
    for (name, parts) in scripts() {
        let (script, shared) = parts.split_last().expect("it has a part");
        let text = format!(
            "#!/bin/sh\nrp_nonce=0\nanswered() {{ :; }}\n{}\nrp_main() {{\n{script}\n}}\nrp_main \"$@\"\n",
            shared.concat()
        );
        // SC2317, SC2329: not every script uses every function of lib.sh. SC2034: nor each of its variables.
        let output =
            run(&["shellcheck", "-s", "sh", "-f", "gcc", "-e", "SC2317,SC2329,SC2034", "-"], &[], text.as_bytes());
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stdout));
    }
}

const ECHO: &[&str] = &[
    "section() { printf '\\n%s %s\\n' \"$rp_nonce\" \"$1\"; }\n",
    "for a in \"$@\"; do section arg; printf '%s' \"$a\"; done\nsection count\nprintf '%s' \"$#\"\nreturn 7\n",
];

#[track_caller]
fn arrive(shell: &[&str], arguments: &[String]) {
    let (status, sections, noise) = send(shell, &program(ECHO, arguments.to_vec()));
    assert_eq!(status, Some(7), "{shell:?}: {noise}");
    let seen: Vec<&[u8]> =
        sections.iter().filter(|(name, _)| name == "arg").map(|(_, bytes)| bytes.as_slice()).collect();
    let sent: Vec<&[u8]> = arguments.iter().map(String::as_bytes).collect();
    assert!(seen == sent, "{shell:?}: {seen:?} and not {sent:?}: {noise}");
    assert_eq!(noise, "", "{shell:?} says nothing else");
}

#[test]
fn hostile_arguments_arrive_as_they_were() {
    let nonce = "0123456789abcdef0123456789abcdef";
    let hostile = [
        String::new(),
        "'".into(),
        "'\\''".into(),
        "\"".into(),
        "`touch /tmp/x`".into(),
        "$(touch /tmp/x)".into(),
        "'; touch /tmp/x; '".into(),
        "a\nb\n\n".into(),
        "\n".into(),
        "\r\n".into(),
        "\t ".into(),
        "\\".into(),
        "\\n\\0\\c".into(),
        "%s%n".into(),
        "#end-".into(),
        format!("#end-{nonce}"),
        format!("a\n#end-{nonce}\ntouch /tmp/x\n"),
        format!("\n{nonce} end 0\n"),
        "}\nrp_main() { touch /tmp/x; }\n{".into(),
        "\nEOF\n".into(),
        "-n".into(),
        "--".into(),
        "*?[a]~!{a,b}".into(),
        "\u{1}\u{7f}\u{1b}]0;x\u{7}".into(),
        "ü€𝄞\u{202e}".into(),
        "#".into(),
        "x".repeat(100 << 10),
        "'".repeat(30_000),
        "a\n".repeat(10_000),
    ];
    for shell in SHELLS {
        arrive(shell, &hostile);
    }
}

proptest! {
    // 40 processes for each shell: a second or two.
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_argument_arrives_as_it_was(
        arguments in prop::collection::vec(
            prop_oneof![
                // anything but NUL, which no argument of a process can hold
                "[^\u{0}]{0,200}",
                // and what a shell gives a meaning, crowded
                "['\"\\\\$`\n\r #;&|(){}<>*?!~=%-]{0,100}",
            ],
            0..6,
        )
    ) {
        for shell in SHELLS {
            arrive(shell, &arguments);
        }
    }
}

/// A shell takes one program after the other, and none of them leaves anything behind for the next.
#[test]
fn programs_follow_each_other_in_one_shell() {
    const LEAVE: &[&str] = &[
        "section() { printf '\\n%s %s\\n' \"$rp_nonce\" \"$1\"; }\n",
        "section was; printf '%s' \"${left-nothing} $(pwd)\"; left=something; cd /; trap '' TERM; set -f; return 7\n",
    ];
    for shell in SHELLS {
        let seal = Nonce::new();
        let mut child = Command::new(shell[0])
            .args(&shell[1..])
            .args(["-c", &bootstrap(&seal)])
            .current_dir("/tmp")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start the shell");
        let (mut stdin, mut stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        for round in 0..3 {
            let nonce = Nonce::new();
            let text = sealed(&shell_text(&program(LEAVE, vec![]), &nonce), &seal);
            stdin.write_all(text.as_bytes()).expect("the shell reads");
            let mut frame = Frame::new(&nonce);
            let (mut content, mut chunk) = (Vec::new(), [0; 512]);
            while frame.status().is_none() {
                let n = stdout.read(&mut chunk).expect("the shell writes");
                assert_ne!(n, 0, "{shell:?} ended in round {round}");
                frame
                    .push(&chunk[..n], &mut |bytes| {
                        content.extend_from_slice(bytes);
                        Ok(())
                    })
                    .expect("a vector takes everything");
            }
            assert_eq!(frame.status(), Some(7), "{shell:?}, round {round}");
            assert_eq!(frame.noise(), "", "{shell:?}, round {round}");
            let said = sections(&content, &nonce);
            assert_eq!(said, [("was".to_owned(), b"nothing /tmp".to_vec())], "{shell:?}, round {round}");
        }
        // What is no program ends it, and runs nothing.
        stdin.write_all(b"5\nls -l\n").expect("the shell reads");
        assert!(child.wait().expect("it ends").success());
    }
}

/// A line that is cut while the program travels: nothing of it runs, wherever the cut is.
#[test]
fn a_program_that_is_cut_on_its_way_runs_nothing() {
    let folder = Folder::new("cut");
    let touched = folder.0.join("touched");
    let nonce = Nonce::new();
    const TOUCH: &[&str] = &["touch \"$1\"\n", "touch \"$1\"\n: >\"$1\"\n"];
    let program = program(TOUCH, vec![touched.to_str().expect("UTF-8").to_owned(), "it's\n#end-\n".into()]);
    let whole = sealed(&shell_text(&program, &nonce), &nonce);
    let bootstrap = bootstrap(&nonce);
    // Many prefixes for each shell: all of them for dash, which is quick to start, every 7th for the others.
    for (shell, step) in SHELLS.iter().zip([1, 7, 7]) {
        for end in (0..whole.len()).step_by(step) {
            run(shell, &["-c", &bootstrap], &whole.as_bytes()[..end]);
            assert!(!touched.exists(), "{shell:?} ran something of the first {end} of {} bytes", whole.len());
        }
        // The proof that this test could fail: the whole program does run.
        run(shell, &["-c", &bootstrap], whole.as_bytes());
        assert!(touched.exists(), "{shell:?} did not run the whole program");
        std::fs::remove_file(&touched).expect("it is there");
    }
}

/// The same of every real script: a prefix of it never even begins.
#[test]
fn a_real_script_that_is_cut_on_its_way_never_begins() {
    for (name, parts) in scripts() {
        let nonce = Nonce::new();
        let whole = sealed(&shell_text(&program(parts, vec!["sudo=no".into()]), &nonce), &nonce);
        let bootstrap = bootstrap(&nonce);
        let last = whole.len() - 1;
        // Around every end of a line near the end, where most of a program is there, and here and there before.
        let cuts = (0..last).step_by(499).chain(last.saturating_sub(40)..=last);
        for end in cuts {
            let output = run(SHELLS[0], &["-c", &bootstrap], &whole.as_bytes()[..end]);
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(!said.contains(nonce.as_str()), "{name} began after {end} of {} bytes: {said}", whole.len());
        }
    }
}

// --- stop.sh on processes of this machine ------------------------------------------------------------------------

struct Victim(std::process::Child);

impl Victim {
    fn new() -> Victim {
        Victim(Command::new("sleep").arg("1000").stdout(Stdio::null()).spawn().expect("start sleep"))
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    fn lives(&mut self) -> bool {
        self.0.try_wait().expect("look at it").is_none()
    }

    fn started(&self) -> String {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).expect("it runs");
        let (_, fields) = stat.rsplit_once(") ").expect("stat has a name in brackets");
        fields.split(' ').nth(19).expect("stat has its fields").to_owned()
    }

    fn exe(&self) -> String {
        let exe = || std::fs::read_link(format!("/proc/{}/exe", self.pid())).expect("it runs");
        let ours = std::env::current_exe().expect("we run");
        // Between fork and exec the child is still us.
        while exe() == ours {
            std::thread::yield_now();
        }
        exe().to_string_lossy().into_owned()
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn stop(shell: &[&str], service: &str, pid: u32, started: &str, exe: &str) -> (Option<i32>, String) {
    let (_, parts) = scripts().find(|(name, _)| *name == "stop").expect("there is stop.sh");
    let arguments = [
        "sudo=no".to_owned(),
        format!("service={service}"),
        "run=rollback-20260101-000000".into(),
        "kind=process".into(),
        "name=-".into(),
        "file=-".into(),
        "project=-".into(),
        format!("pid={pid}"),
        format!("started={started}"),
        format!("exe={exe}"),
        "grace=2".into(),
        "ports=".into(),
        "watch=0".into(),
    ];
    let (status, sections, noise) = send(shell, &program(parts, arguments.to_vec()));
    let said = sections.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes).into_owned()).collect::<String>();
    for base in ["/run/lock", "/dev/shm", "/tmp"] {
        // The folder that the script keeps its steps in, on this machine for once.
        let _ = std::fs::remove_dir_all(format!("{base}/rollback-prod-{service}-jobs-{}", uid()));
    }
    (status, said + &noise)
}

/// Parents like nginx's master, which has old children that end and new ones that come.
#[test]
fn children_are_found_with_the_kernels_list_and_without() {
    let family = "sleep 1000 & a=$!; sleep 1000 & b=$!; sleep 1000 & c=$!; echo; read -r line; kill $a $b $c";
    for shell in SHELLS {
        let mut parent = Command::new("sh")
            .args(["-c", family])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("start sh");
        let mut said = [0; 1];
        parent.stdout.as_mut().expect("piped").read_exact(&mut said).expect("it has its children");
        let pid = parent.id().to_string();
        let (_, parts) = scripts().find(|(name, _)| *name == "sample").expect("there is sample.sh");
        let shared = parts[0];
        assert!(shared.contains("/children"), "lib.sh reads the kernel's list");
        let asked = |lib: &str| {
            let text = format!("rp_nonce=x\n{lib}\nchildren_of {pid}\nprintf '%s\\n' $rp_children");
            let output = run(shell, &["-c", &text], b"");
            let mut pids: Vec<String> =
                String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect();
            pids.sort();
            pids
        };
        let with = asked(shared);
        let without = asked(&shared.replace("/children", "/no-such-file"));
        drop(parent.stdin.take());
        parent.wait().expect("it ends");
        assert_eq!(with.len(), 3, "{shell:?}: {with:?}");
        assert_eq!(with, without, "{shell:?}");
    }
}

fn uid() -> String {
    String::from_utf8_lossy(&run(&["id", "-u"], &[], b"").stdout).trim().to_owned()
}

#[test]
fn a_pid_that_is_another_program_by_now_is_never_killed() {
    for shell in SHELLS {
        let mut victim = Victim::new();
        let _ = victim.exe();
        let (status, said) =
            stop(shell, "rp-test-exe", victim.pid(), &victim.started(), "/opt/listings/bin/listings-green");
        assert_eq!(status, Some(40), "{shell:?}: {said}");
        assert!(victim.lives(), "{shell:?}: {said}");
    }
}

#[test]
fn a_pid_that_was_given_to_a_younger_process_is_never_killed() {
    for shell in SHELLS {
        let mut victim = Victim::new();
        let exe = victim.exe();
        let (status, said) = stop(shell, "rp-test-pid", victim.pid(), "1", &exe);
        assert_eq!(status, Some(0), "what was to be stopped is gone; {shell:?}: {said}");
        assert!(said.contains("gone already"), "{shell:?}: {said}");
        assert!(victim.lives(), "{shell:?}: {said}");
    }
}

#[test]
fn the_process_that_was_seen_is_stopped() {
    for shell in SHELLS {
        let mut victim = Victim::new();
        let (exe, started) = (victim.exe(), victim.started());
        let (status, said) = stop(shell, "rp-test-stop", victim.pid(), &started, &exe);
        assert_eq!(status, Some(0), "{shell:?}: {said}");
        assert!(!victim.lives(), "{shell:?}: {said}");
    }
}
