//! A real browser that looks at pages: Chromium without a screen, and axe-core, which knows what people cannot see or reach.
#![allow(dead_code)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where pictures and copies of pages go: `target/tmp/pages`.
fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("pages");
    std::fs::create_dir_all(&folder).expect("a folder of the tests' own");
    folder
}

/// axe-core as its package for Python brings it: one file of JavaScript.
fn axe() -> String {
    let kept = folder().join("axe.min.js");
    if let Ok(text) = std::fs::read_to_string(&kept) {
        return text;
    }
    let unpacked = tempfile::tempdir().expect("a folder");
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--dest"]);
    let got = pip.arg(unpacked.path()).arg("axe-core-python==0.1.0").output().expect("python3 is there");
    assert!(got.status.success(), "axe-core cannot be had: {}", String::from_utf8_lossy(&got.stderr));
    let script = "import glob, sys, zipfile\nwheel = zipfile.ZipFile(glob.glob(sys.argv[1] + '/*.whl')[0])\n\
                  sys.stdout.buffer.write(wheel.read('axe_core_python/axe.min.js'))";
    let read = Command::new("python3").args(["-c", script]).arg(unpacked.path()).output().expect("python3 is there");
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    std::fs::write(&kept, &read.stdout).expect("a file of the tests' own");
    String::from_utf8(read.stdout).expect("JavaScript is text")
}

struct Seen {
    stdout: String,
    stderr: String,
}

/// Opens a page. It can reach nothing: every name and address but the file itself leads nowhere.
fn chromium(page: &Path, arguments: &[&str]) -> Seen {
    let profile = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("chromium");
    command.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-quic",
        "--disable-dev-shm-usage",
        "--no-first-run",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--hide-scrollbars",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        "--enable-logging=stderr",
        "--virtual-time-budget=20000",
    ]);
    command.arg(format!("--user-data-dir={}", profile.path().display())).args(arguments);
    let said =
        command.arg(format!("file://{}", page.display())).output().expect("chromium is installed: scripts/lab install");
    Seen {
        stdout: String::from_utf8_lossy(&said.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&said.stderr).into_owned(),
    }
}

/// What a browser and a checker of accessibility say of pages, each with its name; all that is wrong with any of them at once.
pub fn holds_all(pages: &[(&str, String)]) {
    let folder = folder();
    for (name, page) in pages {
        std::fs::write(folder.join(format!("{name}.html")), page).expect("a file of the tests' own");
    }
    let wrong: Vec<String> = [pictures(&folder, pages), console(&folder, pages), checked(&folder, pages)].concat();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Pictures of the first one, to be looked at by people.
fn pictures(folder: &Path, pages: &[(&str, String)]) -> Vec<String> {
    let mut wrong = Vec::new();
    let (name, _) = pages[0];
    for (look, arguments) in [
        ("wide", &["--window-size=1200,3200"][..]),
        ("phone", &["--window-size=500,4000"]),
        ("dark", &["--window-size=1200,3200", "--blink-settings=preferredColorScheme=0"]),
    ] {
        let picture = folder.join(format!("{name}-{look}.png"));
        let _ = std::fs::remove_file(&picture);
        let shot = format!("--screenshot={}", picture.display());
        let seen = chromium(&folder.join(format!("{name}.html")), &[arguments, &[&shot]].concat());
        if std::fs::metadata(&picture).map_or(0, |found| found.len()) < 10_000 {
            wrong.push(format!("{name}, {look}: no picture of it: {}", seen.stderr));
        }
    }
    wrong
}

/// All of them with the policy that they have: what is loaded, run or broken is said on the console.
fn console(folder: &Path, pages: &[(&str, String)]) -> Vec<String> {
    let frames =
        pages.iter().map(|(name, _)| format!("<iframe src=\"{name}.html\" width=\"1200\" height=\"900\"></iframe>"));
    let all = folder.join("all.html");
    // One that is not ours and is bad: were nothing said of it, nothing would be heard of the others.
    let bad = "<iframe srcdoc=\"<meta http-equiv=Content-Security-Policy content=&quot;default-src 'none'&quot;><script>1</script>\"></iframe>";
    std::fs::write(&all, format!("<!doctype html>{}{bad}", frames.collect::<String>()))
        .expect("a file of the tests' own");
    let seen = chromium(&all, &["--dump-dom"]);
    let said: Vec<&str> = seen.stderr.lines().filter(|line| line.contains("CONSOLE")).collect();
    match said.len() {
        0 => vec![format!("the console is not heard: {}", seen.stderr)],
        1 => Vec::new(),
        _ => vec![format!("the console says {said:#?}")],
    }
}

/// Each in a frame with axe in it, light and dark, as wide as a screen and as a telephone.
fn checked(folder: &Path, pages: &[(&str, String)]) -> Vec<String> {
    let axe = axe();
    let mut wrong = Vec::new();
    for scheme in ["1", "0"] {
        let frames = pages.iter().flat_map(|(name, page)| [1200, 360].map(|width| frame(name, page, &axe, width)));
        let frames: String = frames.collect();
        let all = folder.join("checked.html");
        let script =
            "<script>addEventListener('message',e=>document.getElementById('found').append(e.data+'\\n'))</script>";
        let text =
            format!("<!doctype html><html lang=\"en\"><body><pre id=\"found\"></pre>{script}{frames}</body></html>");
        std::fs::write(&all, text).expect("a file of the tests' own");
        let seen = chromium(&all, &["--dump-dom", &format!("--blink-settings=preferredColorScheme={scheme}")]);
        let found = seen.stdout.split_once("<pre id=\"found\">").and_then(|(_, rest)| rest.split_once("</pre>"));
        let said: Vec<&str> = found.map_or(Vec::new(), |(said, _)| said.lines().collect());
        for (name, _) in pages {
            for width in [1200, 360] {
                let begins = format!("{name} {width}: ");
                let of_it: Vec<&&str> = said.iter().filter(|line| line.starts_with(&begins)).collect();
                match of_it[..] {
                    [said] if said.ends_with(": nothing") => {}
                    [] => wrong.push(format!("{begins}the checker did not end: {}", seen.stderr)),
                    _ => wrong.extend(of_it.iter().map(|line| format!("scheme {scheme}: {line}"))),
                }
            }
        }
    }
    wrong
}

/// The page in a frame of that width, in which axe looks for what is wrong; and whether anything is wider than the frame.
fn frame(name: &str, page: &str, axe: &str, width: u32) -> String {
    // A script of ours is not what the page allows.
    let page = page.replace("default-src 'none'; style-src 'unsafe-inline'", "default-src 'unsafe-inline'");
    let script = format!(
        "<script>{axe}</script><script>axe.run(document,{{resultTypes:['violations']}}).then(r=>{{\
         const wide=document.documentElement.scrollWidth>innerWidth?['it is '+document.documentElement.scrollWidth+' wide in '+innerWidth]:[];\
         const all=r.violations.map(v=>v.id+': '+v.help+': '+v.nodes.map(n=>n.html.slice(0,160)+' '+n.failureSummary).slice(0,3).join(' | ')).concat(wide);\
         parent.postMessage('{name} {width}: '+(all.join(' || ')||'nothing').replaceAll('\\n',' '),'*')\
         }})</script></body>"
    );
    let inner = page.replace("</body>", &script).replace('&', "&amp;").replace('"', "&quot;");
    format!(
        "<iframe title=\"{name} {width}\" width=\"{width}\" height=\"3000\" style=\"border:0\" srcdoc=\"{inner}\"></iframe>"
    )
}

/// On how many sheets of paper a page is printed.
pub fn sheets(page: &Path) -> usize {
    let printed = folder().join("sheets.pdf");
    let to = format!("--print-to-pdf={}", printed.display());
    let seen = chromium(page, &["--no-pdf-header-footer", &to]);
    let pdf = std::fs::read(&printed).unwrap_or_else(|err| panic!("nothing was printed: {err}\n{}", seen.stderr));
    // The dictionary of each page; that of all pages is of the type Pages.
    let kinds = pdf.windows(12).filter(|bytes| bytes.starts_with(b"/Type /Page") && bytes[11] != b's');
    kinds.count()
}
